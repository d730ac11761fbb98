#!/usr/bin/env bash
# The drop-in exports exactly what exports.map lists, needs nothing but the C library, keeps its thread-local storage
# small enough for dlopen, and carries the loader flags that it relies on.
# Usage: exports.sh LIBRARY EXPORTS_MAP
set -u
library=$1
map=$2
failures=0
fail() { echo "$*" >&2; failures=$((failures + 1)); }

listed=$(tr '\n' ' ' <"$map" | sed -E 's|/\*([^*]\|\*[^/])*\*/| |g' | grep -oE 'global:[^}]*' |
  sed -E 's/local:.*//; s/global://' | tr ';' '\n' | tr -d ' \t"' | sed '/^$/d' | sort -u)
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" {print $3}' | sed 's/@.*//' | sort -u)
[ -n "$listed" ] || fail "$(basename "$map") lists no global symbol"
differences=$(diff <(printf '%s\n' "$listed") <(printf '%s\n' "$exported"))
[ -z "$differences" ] || fail "listed (<) and exported (>) symbols differ:
$differences"

for needed in $(readelf -dW "$library" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p'); do
  case $needed in
    libc.so.6 | ld-linux*.so.*) ;;
    *) fail "the library needs $needed; only the C library is allowed" ;;
  esac
done
foreign=$(nm -D --undefined-only "$library" | awk '{print $2}' | grep -E '^(_ZSt|_ZNSt|_ZNKSt|__cxa_(throw|begin|end|all)|__gxx|_Unwind)')
[ -z "$foreign" ] || fail "symbols of the C++ runtime are wanted: $foreign"

# A library that comes by dlopen finds about 1.5 KiB of static thread-local storage; ours leaves it to others.
tls=$(readelf -lW "$library" | awk '$1 == "TLS" {print $6}')
[ -z "$tls" ] || [ $((tls)) -le 64 ] || fail "thread-local storage is $((tls)) bytes, more than 64"

flags=$(readelf -dW "$library" | grep -E '\((FLAGS|FLAGS_1)\)')
for flag in NOW NODELETE INITFIRST; do
  case $flags in *$flag*) ;; *) fail "the library is not linked with -z ${flag,,}" ;; esac
done

[ "$failures" = 0 ] || exit 1
echo "exports: $(printf '%s\n' "$exported" | wc -l) symbols, as listed; nothing but the C library needed"
