"""mysql-connector-python: `python connector.py pure`, or `c` for its extension over libmysqlclient."""

import io
import os
import socket
import sys

socket.gethostname = lambda: "client"  # it is sent as a connection attribute
import mysql.connector
from mysql.connector.constants import ClientFlag

pure = sys.argv[1] == "pure"


def connect():
    return mysql.connector.connect(
        host="127.0.0.1",
        port=int(os.environ["RECORD_PORT"]),
        user="app",
        password="secret",
        database="shop",
        use_pure=pure,
        ssl_disabled=True,
        allow_local_infile=True,
        autocommit=True,
        client_flags=[ClientFlag.MULTI_STATEMENTS],
    )


def run(connection, sql, values=None, prepared=False):
    cursor = connection.cursor(prepared=prepared)
    try:
        cursor.execute(sql, values)
        rows = []
        while True:
            rows.append(cursor.fetchall() if cursor.with_rows else None)
            if prepared or not cursor.nextset():
                return rows
    except mysql.connector.Error as error:
        return error
    finally:
        try:
            cursor.close()
        except mysql.connector.Error:
            pass


connect().close()
connection = connect()
run(connection, "SELECT id, name, price FROM item ORDER BY id")
run(connection, "SELECT * FROM missing")
cursor = connection.cursor(prepared=True)
for values in [(None, 1, b"\x00\xff"), ("text", 0, None), (2.5, 2, b"")]:
    cursor.execute("SELECT id, ? AS given FROM item WHERE id > ? AND id <> COALESCE(?, 9)", values)
    cursor.fetchall()
cursor.close()
run(connection, "INSERT INTO item VALUES (?, ?, ?)", (31, None, "4.75"), prepared=True)
run(connection, "INSERT INTO item VALUES (?, ?, ?)", (31, None, None), prepared=True)
run(connection, "SELECT * FROM missing WHERE id = ?", (1,), prepared=True)
if pure:
    run(connection, "SELECT LENGTH(?), ?", (io.BytesIO(b"long data in one piece"), 5), prepared=True)
    statement = connection.cmd_stmt_prepare(b"SELECT id, name FROM item ORDER BY id")["statement_id"]
    _, columns, _ = connection.cmd_stmt_execute(statement, flags=1)  # a cursor
    for _ in range(3):
        connection.cmd_stmt_fetch(statement, 2)
        connection.get_rows(binary=True, columns=columns)
    connection.cmd_stmt_close(statement)
with connection.cursor() as cursor:
    cursor.callproc("both_ends", (2, 0))
run(connection, "SELECT 1; SELECT 2 FROM item WHERE id = 0; DO 1; SELECT 3")
connection.start_transaction()
run(connection, "INSERT INTO item VALUES (21, 'plum', 3.25), (22, 'fig', NULL)")
connection.rollback()
connection.autocommit = False
run(connection, "DELETE FROM item WHERE id = 3")
connection.commit()
connection.ping()
run(connection, "LOAD DATA LOCAL INFILE 'rows.tsv' INTO TABLE item")
connection.database = "depot"
connection.cmd_reset_connection()
connection.cmd_change_user("app2", "second secret", "shop")
run(connection, "SELECT CURRENT_USER()")
connection.close()
