#!/usr/bin/env bash
# node: about 200 MiB of buffers, which it takes from malloc, written and read in random order, compressed, and worker
# threads, each of which has a heap of V8's that is mapped.
. "$(dirname "$0")/../common.sh"
need node

cat >"$room/script.js" <<'SCRIPT'
const crypto = require('crypto'), zlib = require('zlib');
const {Worker, isMainThread, parentPort, workerData} = require('worker_threads');
function work(count, seed) {
  const buffers = [];
  for (let i = 0; i < count; ++i) {
    const b = Buffer.alloc(9000 + (i * 37) % 60000, `${seed}:${i},`);
    buffers.push(b);
  }
  let x = seed;
  for (let n = 0; n < count * 4; ++n) {
    x = (x * 1103515245 + 12345) % 2147483648;
    const b = buffers[x % count];
    b.writeUInt32LE(x >>> 0, (x % 2000) * 4);
  }
  const hash = crypto.createHash('sha256');
  for (let i = 0; i < count; i += 50) hash.update(zlib.gunzipSync(zlib.gzipSync(buffers[i])));
  for (const b of buffers) hash.update(b);
  return hash.digest('hex');
}
if (!isMainThread) {
  parentPort.postMessage(work(1000, workerData));
} else {
  console.log(work(4500, 1));
  const results = {};
  let left = 3;
  for (let n = 1; n <= 3; ++n) {
    new Worker(__filename, {workerData: n}).on('message', (m) => { results[n] = m; }).on('exit', (code) => {
      if (--left === 0) console.log(code, JSON.stringify(Object.entries(results).sort()));
    });
  }
}
SCRIPT
run_script() { "$limited" node "$room/script.js"; }
compare_limited "node" run_script mapped
