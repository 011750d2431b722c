-- Tables filled by recursion, indices, joins, aggregates, windows, text functions, an update.
create table person(id integer primary key, name text, city integer, score real);
create table city(id integer primary key, name text);
with recursive n(i) as (select 1 union all select i + 1 from n where i < 300)
insert into city select i, 'city' || substr('abcdefghij', i % 10 + 1, 1) || i from n;
with recursive n(i) as (select 1 union all select i + 1 from n where i < 60000)
insert into person
select i, 'name' || (i * 7919 % 60013), i * 31 % 300 + 1, (i * 104729 % 10007) / 100.0 from n;
create index by_name on person(name);
create index by_city on person(city, score);
select count(*), sum(score), min(name), max(name) from person;
select c.name, count(*), round(avg(p.score), 3) from person p join city c on c.id = p.city
group by c.name order by 3 desc limit 5;
select name, score from
(select name, score, rank() over (partition by city order by score desc, name) as place from person)
where place = 1 order by score desc, name limit 5;
select count(*) from person a join person b on a.name = 'name' || (b.id % 60013);
update person set name = upper(name) || '-' || length(name), score = score * 1.5 where city % 3 = 0;
select count(*), sum(length(name)), round(sum(score), 3) from person where name like '%9-%';
delete from person where id in (select id from person order by score limit 20000);
select count(*), round(total(score), 3) from person;
with recursive fib(a, b, n) as (select 0, 1, 1 union all select b, (a + b) % 1000003, n + 1 from fib
where n < 300000) select sum(a) from fib;
