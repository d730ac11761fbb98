#!/usr/bin/env bash
# nginx: files of many sizes served by several workers, with compression, a reload in between, a clean end.
. "$(dirname "$0")/../common.sh"
. "$(dirname "$0")/../nginx_site.bash"
export PATH=$PATH:/usr/sbin
need nginx curl

fetch_all() {
  local path
  for path in "" again/; do
    env -u LD_PRELOAD curl -s --compressed --parallel --parallel-max 20 "http://127.0.0.1:$port/$path[1-60].txt" -o 'got#1'
    cat $(seq -f 'got%g' 60) | sha256sum
  done
  env -u LD_PRELOAD curl -s -o /dev/null -w '%{http_code}\n' "http://127.0.0.1:$port/none"
}

use_nginx() {
  port=$(free_port) || return 1
  write_nginx_site 2 60 "user root;"
  nginx -p "$PWD" -c "$PWD/nginx.conf" -e "$PWD/logs/error" &
  local server=$!
  trap 'kill $server 2>/dev/null; wait $server' EXIT
  wait_for bash -c ": </dev/tcp/127.0.0.1/$port" || { cat logs/error >&2; return 1; }
  fetch_all
  kill -HUP "$server"
  sleep 1
  fetch_all
  kill -QUIT "$server"
  wait "$server"
  echo "server ended with $?"
  trap - EXIT
  grep -aE 'emerg|alert|signal 1?[0-9] ' logs/error | grep -vE 'signal (1|3|15|17|29) '
  return 0
}
compare "nginx" use_nginx
