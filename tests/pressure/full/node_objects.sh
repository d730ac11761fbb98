#!/usr/bin/env bash
# node: objects, strings and arrays in the heap of its own that V8 maps, made, read and dropped, so that it collects.
# What it maps otherwise (the program itself, its code) is not weir's.
. "$(dirname "$0")/../common.sh"
need node

cat >"$room/script.js" <<'SCRIPT'
const crypto = require('crypto');
let x = 7;
const random = (n) => { x = (x * 1103515245 + 12345) % 2147483648; return x % n; };
let items = [];
for (let i = 0; i < 700000; ++i) items.push({id: i, name: 'item ' + i, tags: [i, i * 3 % 1009], next: null});
for (let i = 0; i < items.length; ++i) items[i].next = items[random(items.length)];
const digest = () => {
  const hash = crypto.createHash('sha256');
  for (let i = 0; i < items.length; i += 7) hash.update(items[i].name + items[i].tags.join() + items[i].next.id);
  return hash.digest('hex');
};
console.log(digest());
for (let round = 0; round < 3; ++round) {
  for (let n = 0; n < 100000; ++n) {
    const item = items[random(items.length)];
    item.tags.push(n);
    item.next.name += '.';
  }
  items = items.map((item, i) => i % 3 === round ? {id: -i, name: 'new ' + i, tags: [round], next: item.next} : item);
  console.log(digest());
}
SCRIPT
run_script() { "$limited" node "$room/script.js"; }
compare_limited "node, objects" run_script mapped
