#!/bin/sh
# The `mysql` command line client ($MYSQL, or the one on PATH). It has no binary prepared statements.
set -eu
run() {
    "${MYSQL:-mysql}" --no-defaults --host=127.0.0.1 --port="$RECORD_PORT" --user=app --password=secret \
        --ssl-mode=DISABLED --get-server-public-key --local-infile=1 --no-auto-rehash --commands --force shop
}
echo 'SELECT 1;' | run
run <<'SQL'
SELECT id, name, price FROM item ORDER BY id;
SELECT * FROM missing;
query_attributes trace 00-1 kind test
SELECT 'with attributes';
PREPARE one FROM 'SELECT id, ? AS given FROM item WHERE id > ?';
SET @text = NULL, @low = 1;
EXECUTE one USING @text, @low;
DEALLOCATE PREPARE one;
CALL both_ends(2, @total);
delimiter //
SELECT 1; SELECT 2 FROM item WHERE id = 0; DO 1; SELECT nothing; SELECT 3//
delimiter ;
START TRANSACTION;
INSERT INTO item VALUES (21, 'plum', 3.25), (22, 'fig', NULL);
ROLLBACK;
SET autocommit = 0;
DELETE FROM item WHERE id = 3;
COMMIT;
LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE item;
LOAD DATA LOCAL INFILE 'no-such-file.tsv' INTO TABLE item;
use depot
SET time_zone = '+00:00';
status
resetconnection
SELECT @@time_zone;
SQL
