#!/usr/bin/env bash
# java: the compiler and a program with threads, direct buffers (malloc), compression, and every collector.
. "$(dirname "$0")/../common.sh"
need java javac

cat >"$room/Main.java" <<'SCRIPT'
// The program under test: everything it prints is the same on every run.
import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.zip.*;

public class Main {
  static String work(int n) throws Exception {
    MessageDigest digest = MessageDigest.getInstance("SHA-256");
    TreeMap<String, int[]> map = new TreeMap<>();
    for (int i = 0; i < n; ++i) map.put("key" + (i * 7919) % 10007, new int[i % 100]);
    for (Map.Entry<String, int[]> e : map.entrySet()) digest.update((e.getKey() + e.getValue().length).getBytes());
    for (int i = 0; i < 300; ++i) {
      ByteBuffer direct = ByteBuffer.allocateDirect(1000 * i + 1);
      while (direct.hasRemaining()) direct.put((byte) i);
      direct.flip();
      digest.update(direct);
      Deflater deflater = new Deflater();
      deflater.setInput(new byte[i * 100]);
      deflater.finish();
      digest.update((byte) deflater.deflate(new byte[100000]));
      deflater.end();
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  public static void main(String[] args) throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(8);
    List<Future<String>> results = new ArrayList<>();
    for (int i = 1; i <= 16; ++i) {
      int n = i * 1000;
      results.add(pool.submit(() -> work(n)));
    }
    for (Future<String> result : results) System.out.println(result.get());
    pool.shutdown();
  }
}
SCRIPT
run_java() {
  javac -d . "$room/Main.java" || return 1
  local collector
  for collector in UseSerialGC UseParallelGC UseG1GC; do
    java -XX:+$collector -Xmx256m -cp . Main | sha256sum
  done
  java -Xmx128m -cp . Main
}
compare "javac and java" run_java
