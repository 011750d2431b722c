-- Tables, indexes, joins, transactions, recursion, text, dates and JSON of SQLite.
PRAGMA journal_mode = DELETE;
CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT UNIQUE, weight REAL, kind INT, data BLOB);
CREATE TABLE kind(id INTEGER PRIMARY KEY, title TEXT NOT NULL);
INSERT INTO kind VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (3, 'three'), (4, NULL);
INSERT INTO kind VALUES (0, 'zero'), (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four');
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
INSERT INTO item SELECT i, 'item' || (i * 7919 % 5003), i * 0.37 / (i % 11 + 1), i % 5, zeroblob(i % 40)
FROM n;
CREATE INDEX by_kind ON item(kind, weight DESC);
SELECT count(*), sum(id), round(avg(weight), 9), min(name), max(name) FROM item;
SELECT title, count(*), printf('%.6f', total(weight)), sum(length(data))
FROM item JOIN kind ON kind.id = item.kind GROUP BY title ORDER BY title;
EXPLAIN QUERY PLAN SELECT * FROM item WHERE kind = 3 AND weight > 10;
BEGIN; DELETE FROM item WHERE id % 2; SELECT changes(); ROLLBACK; SELECT count(*) FROM item;
BEGIN; UPDATE item SET weight = weight * 2 WHERE kind = 1; COMMIT;
SELECT printf('%.9e', sum(weight)) FROM item;
SELECT name, rank() OVER (PARTITION BY kind ORDER BY weight DESC, id) AS place
FROM item WHERE id < 12 ORDER BY kind, place;
WITH RECURSIVE queens(n, board) AS (
  SELECT 0, '' UNION ALL
  SELECT n + 1, board || c FROM queens, (SELECT value AS c FROM json_each('["1","2","3","4","5","6"]'))
  WHERE n < 6 AND NOT EXISTS (
    WITH RECURSIVE k(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM k WHERE k < n)
    SELECT 1 FROM k WHERE k <= n AND (
      substr(board, k, 1) = c OR abs(CAST(substr(board, k, 1) AS INT) - c) = n + 1 - k)))
SELECT group_concat(board, ' ') FROM queens WHERE n = 6;
SELECT upper('straße'), length('straße'), hex('é'), unicode('€'), 'a' < 'B', 'abc' LIKE 'A%', 'x' GLOB '[w-z]';
SELECT date('2024-02-29', '+1 year'), strftime('%s %j %W', '2001-02-03 04:05:06'), julianday('2000-01-01');
SELECT json_extract('{"a": [1, {"b": 2.5}]}', '$.a[1].b'), json_group_array(id) FROM kind;
SELECT 9223372036854775807 + 1, -7 / 2, -7 % 3, 1e308 * 10, 0.1 + 0.2, CAST('12abc' AS INT), 1 / 0;
SELECT round(sin(1), 12), round(exp(1), 12), round(pow(2, 0.5), 12), round(ln(10), 12);
CREATE VIRTUAL TABLE words USING fts5(body);
INSERT INTO words SELECT name || ' ' || title FROM item JOIN kind ON kind.id = item.kind;
SELECT count(*) FROM words WHERE words MATCH 'three AND item1*';
CREATE TRIGGER keep BEFORE DELETE ON kind BEGIN SELECT RAISE(ABORT, 'kinds stay'); END;
DELETE FROM kind WHERE id = 1;
INSERT INTO item(name) VALUES ('item1');
SELECT * FROM nothing;
PRAGMA integrity_check;
VACUUM;
.tables
.mode csv
SELECT id, name, weight, quote(data) FROM item ORDER BY id LIMIT 5;
.sha3sum
