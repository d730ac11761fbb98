# nginx_site.bash: sourced by tests that run nginx, after common.sh: what it serves and its configuration.
#
#   write_nginx_site WORKERS FILES [DIRECTIVE]   in the working directory: nginx.conf for $port, and files/1.txt and on,
#                                                the larger the higher their number, also below again/ by way of a proxy
write_nginx_site() {
  local workers=$1 files=$2 directive=${3:-} i
  mkdir -p files logs
  for i in $(seq "$files"); do seq $((i * i * 20)) >"files/$i.txt"; done
  cat >nginx.conf <<TEXT
daemon off; master_process on; worker_processes $workers; pid $PWD/pid; error_log $PWD/logs/error; $directive
events { worker_connections 200; }
http {
  access_log off; gzip on; gzip_types text/plain; gzip_min_length 100; default_type text/plain;
  client_body_temp_path $PWD/1; proxy_temp_path $PWD/2; fastcgi_temp_path $PWD/3; uwsgi_temp_path $PWD/4;
  scgi_temp_path $PWD/5;
  server { listen 127.0.0.1:$port; root $PWD/files; location /again/ { proxy_pass http://127.0.0.1:$port/; } }
}
TEXT
}
