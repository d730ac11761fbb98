#!/usr/bin/env bash
# ruby: hashes, strings and arrays, whose headers lie in a heap that it maps in pieces of 32 KiB and cuts to size (up to
# 3.1), and whose content malloc gives; collections that look at all of it, and forked workers.
. "$(dirname "$0")/../common.sh"
need ruby

cat >"$room/script.rb" <<'SCRIPT'
table = {}
150_000.times { |i| table["key #{i}"] = [i, "name #{i * 7919 % 100_003}" * (i % 9 + 1), [i % 13, i.to_s]] }
GC.start
sum = 0
300_000.times do |n|
  entry = table["key #{n * 7919 % 150_000}"]
  sum += entry[0] + entry[1].size
  entry[2] << n if n % 5 == 0
end
workers = (1..2).map do |w|
  read, write = IO.pipe
  fork do
    read.close
    mine = (0...20_000).map { |i| table["key #{i * w}"][1].reverse }
    write.puts mine.sum(&:size), mine.hash == mine.dup.hash, table.size
    write.close
    exit!(0)
  end
  write.close
  read
end
puts workers.map(&:read)
Process.waitall.each { |_, status| puts status.exitstatus }
table.delete_if { |key, entry| entry[0] % 3 == 0 }
GC.start
puts sum, table.size, table.sum { |_, entry| entry[2].size }
SCRIPT
run_script() { "$limited" ruby "$room/script.rb"; }
compare_limited "ruby" run_script mapped
