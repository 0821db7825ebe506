"""PyMySQL. It has no binary prepared statements and no COM_CHANGE_USER."""

import os
import sys

sys.path.pop(0)  # this file is not the library
import pymysql
from pymysql.constants import CLIENT


def connect():
    return pymysql.connect(
        host="127.0.0.1",
        port=int(os.environ["RECORD_PORT"]),
        user="app",
        password="secret",
        database="shop",
        client_flag=CLIENT.MULTI_STATEMENTS,
        local_infile=True,
        ssl_disabled=True,
    )


def run(connection, sql, values=None):
    with connection.cursor() as cursor:
        try:
            cursor.execute(sql, values)
            rows = [cursor.fetchall()]
            while cursor.nextset():
                rows.append(cursor.fetchall())
            return rows
        except pymysql.MySQLError as error:
            return error


connect().close()
connection = connect()
run(connection, "SELECT id, name, price FROM item ORDER BY id")
run(connection, "SELECT * FROM missing")
run(connection, "SELECT id, %s AS given FROM item WHERE id > %s", (None, 1))
with connection.cursor() as cursor:
    cursor.callproc("both_ends", (2, 0))
    while cursor.nextset():
        pass
run(connection, "SELECT @_both_ends_1")
run(connection, "SELECT 1; SELECT 2 FROM item WHERE id = 0; DO 1; SELECT nothing; SELECT 3")
connection.begin()
run(connection, "INSERT INTO item VALUES (21, 'plum', 3.25), (22, 'fig', NULL)")
connection.rollback()
connection.autocommit(False)
run(connection, "DELETE FROM item WHERE id = 3")
connection.commit()
connection.ping(reconnect=False)
run(connection, "SELECT id FROM item; LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE item; SELECT 4")
run(connection, "LOAD DATA LOCAL INFILE 'no-such-file.tsv' INTO TABLE item")
connection.select_db("depot")
run(connection, "SELECT DATABASE()")
connection.close()
