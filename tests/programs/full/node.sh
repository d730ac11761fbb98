#!/usr/bin/env bash
# node: objects, buffers outside its own heap, worker threads, streams, child processes, compression.
. "$(dirname "$0")/../common.sh"
need node

cat >"$room/script.js" <<'SCRIPT'
// The program under test: everything it prints is the same on every run.
const crypto = require('crypto'), zlib = require('zlib'), cp = require('child_process');
const {Worker, isMainThread, parentPort, workerData} = require('worker_threads');
function work(n) {
  const map = new Map();
  for (let i = 0; i < n; ++i) map.set('key' + (i * 7919) % 10007, {i, text: 'x'.repeat(i % 40)});
  const buffers = [];
  for (let i = 0; i < 2000; ++i) buffers.push(Buffer.alloc((i * 37) % 9000, i % 256));
  for (let i = 0; i < 2000; i += 3) buffers[i] = Buffer.allocUnsafe(5000).fill(7);
  const packed = zlib.gzipSync(Buffer.concat(buffers));
  const back = zlib.gunzipSync(packed);
  return crypto.createHash('sha256').update(JSON.stringify([...map])).update(back).digest('hex');
}
if (!isMainThread) {
  parentPort.postMessage(work(workerData));
} else {
  console.log(work(100000));
  const results = {};
  let left = 6;
  for (let n = 1; n <= 6; ++n) {
    new Worker(__filename, {workerData: n * 5000}).on('message', (m) => { results[n] = m; }).on('exit', (code) => {
      if (--left === 0) {
        console.log(code, JSON.stringify(Object.entries(results).sort()));
        console.log(cp.execFileSync(process.execPath, ['-e', 'console.log([...Array(1e5).keys()].length)']).toString());
      }
    });
  }
}
SCRIPT
run_script() { node "$room/script.js"; }
compare "node" run_script
