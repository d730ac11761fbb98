#!/usr/bin/env bash
# sqlite3: tables of some hundred thousand rows on disk and in memory, indices, joins, full text, integrity, dump.
. "$(dirname "$0")/../common.sh"
need sqlite3

cat >"$room/script.sql" <<'SCRIPT'
create table item(id integer primary key, name text, price real, grp int);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 200000)
  insert into item select i, 'name ' || ((i * 7919) % 100003), (i % 997) / 10.0, i % 113 from n;
create index by_name on item(name);
create index by_group on item(grp, price);
select grp, count(*), round(sum(price), 1), max(name) from item group by grp order by 3 desc limit 5;
select count(*) from item a join item b on a.name = b.name and a.id < b.id;
update item set price = price * 2 where grp in (3, 5, 7);
delete from item where id % 10 = 4;
select json_group_array(name) from (select name from item order by price desc, id limit 5);
select sum(length(names)) from (select group_concat(name) as names from item group by grp);
vacuum;
pragma integrity_check;
select count(*), sum(price), sum(id) from item;
SCRIPT
use_sqlite() {
  sqlite3 data.db <"$room/script.sql" || return 1
  sqlite3 data.db .dump | sha256sum
  sqlite3 :memory: <"$room/script.sql" | sha256sum
}
compare "sqlite3" use_sqlite
