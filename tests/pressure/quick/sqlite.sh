#!/usr/bin/env bash
# sqlite3 with a database in memory of about 100 MiB: indices, joins, updates, deletions, an integrity check.
. "$(dirname "$0")/../common.sh"
need sqlite3

cat >"$room/script.sql" <<'SCRIPT'
create table item(id integer primary key, name text, note text, price real, grp int);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 300000)
  insert into item select i, 'name ' || ((i * 7919) % 100003), hex(i * i) || ' note of item ' || i || ' and of ' || (i * 31),
    (i % 997) / 10.0, i % 113 from n;
create index by_name on item(name);
create index by_group on item(grp, price);
create index by_note on item(note);
select grp, count(*), round(sum(price), 1), max(name) from item group by grp order by 3 desc limit 5;
select count(*) from item a join item b on a.name = b.name and a.id < b.id;
update item set note = upper(note) || name where grp in (3, 5, 7, 60);
delete from item where id % 10 = 4;
pragma integrity_check;
select count(*), sum(price), sum(id), sum(length(note)) from item;
SCRIPT
use_sqlite() { "$limited" sqlite3 :memory: <"$room/script.sql"; }
compare_limited "sqlite3 in memory" use_sqlite
