#!/usr/bin/env bash
# coreutils and their companions: sorting with threads and with temporary files, checksums, text tools, archives.
. "$(dirname "$0")/../common.sh"
need sort sha256sum awk sed grep tar gzip xz find xargs

texts() {
  awk 'BEGIN { for (i = 0; i < 300000; ++i) printf "%d %s %x\n", (i * 7919) % 1000003, "word" i % 977, i * i }' >lines
  sort -n lines | sha256sum
  sort -k2,2 -k1,1n --parallel=2 lines | sha256sum
  sort -S 1M -r lines | sha256sum
  cut -d' ' -f2 lines | sort | uniq -c | sort -rn | head -n 5
  join <(sort -k2,2 lines | head -n 2000) <(sort lines | head -n 2000) | wc -l
  tac lines | tail -n 2
  wc lines
  tr a-z A-Z <lines | md5sum
  od -An -tx1 lines | tail -n 1
  base64 lines | base64 -d | cmp - lines && echo base64
  split -l 10000 lines part. && cat part.* | cmp - lines && echo split
  grep -cE 'word(1|2)[0-9]* .*f$' lines
  sed -E 's/word([0-9]+) (.*)/\2-\1/' lines | b2sum
  awk '{ sum[$2] += $1 } END { for (w in sum) print w, sum[w] }' lines | sort | sha256sum
  factor 123456789012345678901 1000000007000000063
  shuf --random-source=lines -n 3 lines
}

trees() {
  ls -lR /usr/share/doc | sha256sum
  find /usr/share -type f -size -20k -print0 | sort -z | head -z -n 2000 | xargs -0 cat | sha512sum
  du -s --apparent-size /usr/share/doc | cut -f1
  tar --sort=name --mtime=@0 --owner=0 --group=0 -C /usr/share -cf tree.tar doc/bash doc/libc6 common-licenses 2>/dev/null
  sha256sum <tree.tar
  tar -tf tree.tar | wc -l
  gzip -n9 <tree.tar | sha256sum
  xz -T2 -1 <tree.tar | xz -d | cmp - tree.tar && echo xz
}
compare "text tools" texts
compare "file trees" trees
