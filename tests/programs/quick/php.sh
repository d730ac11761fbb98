#!/usr/bin/env bash
# php: arrays, strings, sorting, JSON, regular expressions, and extensions, which it loads with RTLD_DEEPBIND.
. "$(dirname "$0")/../common.sh"
need php

cat >"$room/script.php" <<'SCRIPT'
<?php
ini_set('memory_limit', '-1');
$items = [];
for ($i = 0; $i < 300000; $i++) $items[] = ['id' => $i, 'name' => 'item ' . ($i * 7919 % 100003) . str_repeat('x', $i % 40)];
usort($items, fn($a, $b) => strcmp($a['name'], $b['name']) ?: $a['id'] <=> $b['id']);
echo $items[1000]['name'], ' ', $items[200000]['id'], "\n";
$json = json_encode(array_slice($items, 0, 50000));
echo strlen($json), ' ', md5($json), ' ', count(json_decode($json, true)), "\n";
$groups = [];
foreach ($items as $item) $groups[$item['id'] % 997][] = $item['name'];
ksort($groups);
echo md5(serialize($groups)), "\n";
$text = implode("\n", array_column($items, 'name'));
echo preg_match_all('/\d+5(x+)$/m', $text, $found), ' ', strlen(implode($found[1])), "\n";
foreach (['pdo', 'ctype', 'iconv', 'fileinfo', 'sockets'] as $each) if (extension_loaded($each)) echo $each, "\n";
if (function_exists('iconv')) echo md5(iconv('UTF-8', 'UTF-16', $text)), "\n";
SCRIPT
use_php() {
  php "$room/script.php"
}
compare "php" use_php
