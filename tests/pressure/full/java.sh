#!/usr/bin/env bash
# java: objects, strings and arrays in the heap that the virtual machine lays out in address space of its own, made,
# read and dropped by several threads, so that it collects; with each of its collectors but ZGC, whose heap is a file.
. "$(dirname "$0")/../common.sh"
need java
need javac

cat >"$room/Objects.java" <<'JAVA'
import java.util.*;

public class Objects {
  static final int kThreads = 3, kItems = 150000;

  static class Item {
    String name;
    long[] tags;
    Item next;
  }

  static long work(int seed) {
    Random random = new Random(seed);
    List<Item> items = new ArrayList<>();
    for (int i = 0; i < kItems; ++i) {
      Item item = new Item();
      item.name = "item " + i;
      item.tags = new long[1 + random.nextInt(60)];
      Arrays.fill(item.tags, i);
      item.next = items.isEmpty() ? item : items.get(random.nextInt(items.size()));
      items.add(item);
    }
    long sum = 0;
    for (int round = 0; round < 3; ++round) {
      for (int n = 0; n < kItems; ++n) {
        Item item = items.get(random.nextInt(items.size()));
        item.tags[n % item.tags.length] += n;
        item.next.name = "renamed " + n;
      }
      Map<Integer, Integer> lengths = new TreeMap<>();
      for (Item item : items) {
        lengths.merge(item.name.length(), 1, Integer::sum);
        for (long tag : item.tags) sum = sum * 31 + tag;
      }
      sum = sum * 31 + lengths.hashCode();
      for (int i = round; i < kItems; i += 3) {
        Item item = new Item();
        item.name = "new " + i;
        item.tags = new long[20];
        item.next = items.get(random.nextInt(kItems));
        items.set(i, item);
      }
    }
    return sum;
  }

  public static void main(String[] args) throws Exception {
    long[] sums = new long[kThreads];
    Thread[] threads = new Thread[kThreads];
    for (int i = 0; i < kThreads; ++i) {
      final int self = i;
      threads[i] = new Thread(() -> sums[self] = work(self));
      threads[i].start();
    }
    for (Thread thread : threads) thread.join();
    System.out.println(Arrays.toString(sums));
  }
}
JAVA
javac -d "$room" "$room/Objects.java" || fail "the program cannot be compiled"
run_objects() { "$limited" java -Xmx1g "$collector" -cp "$room" Objects; }
for each in Serial Parallel G1 Shenandoah; do
  collector=-XX:+Use${each}GC
  compare_limited "java, $each" run_objects mapped
done
