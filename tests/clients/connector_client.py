"""mysql-connector-python in its pure Python form, with binary prepared statements."""

import mysql.connector
from mysql.connector.constants import ClientFlag

import interpreter


class Connection(interpreter.Client):
    def __init__(self, connection):
        self.connection = connection

    def query(self, sql):
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql)
            shown = []
            while True:
                shown.append(self.result(cursor))
                try:
                    if not cursor.nextset():
                        return shown
                except mysql.connector.Error as error:
                    return [*shown, {"error": interpreter.canonical(describe(error))}]
        finally:
            close(cursor)

    def execute(self, sql, params):
        cursor = self.connection.cursor(prepared=True)
        try:
            cursor.execute(sql, params)
            return [self.result(cursor)]
        finally:
            close(cursor)

    def result(self, cursor):
        rows = cursor.fetchall() if cursor.with_rows else None
        return interpreter.result_set(
            cursor.description,
            rows,
            affected=cursor.rowcount,
            last_id=cursor.lastrowid,
            warnings=cursor.warning_count,
            in_transaction=self.connection.in_transaction,
        )

    def ping(self):
        self.connection.ping(reconnect=False)
        return "pong"

    def reset(self):
        self.connection.cmd_reset_connection()
        return "reset"

    def change_user(self, user, password, database):
        self.connection.cmd_change_user(username=user, password=password, database=database)
        return "changed"

    def use(self, database):
        self.connection.database = database
        return "selected"

    def charset(self, name):
        self.connection.set_charset_collation(name)
        return self.connection.charset

    def cursor(self, sql, fetch):
        """A read-only cursor on the server, fetched in pieces (COM_STMT_FETCH)."""
        connection = self.connection
        statement = connection.cmd_stmt_prepare(sql.encode())
        number = statement["statement_id"]
        answer = connection.cmd_stmt_execute(number, flags=1)
        columns = answer[1]
        pieces = []
        while True:
            connection.cmd_stmt_fetch(number, fetch)
            rows, end = connection.get_rows(binary=True, columns=columns)
            pieces.append(interpreter.canonical(rows))
            if end is None or end["status_flag"] & 0x80 or not rows:  # SERVER_STATUS_LAST_ROW_SENT
                connection.cmd_stmt_close(number)
                return pieces

    def abandon(self, sql):
        raise interpreter.Unsupported

    def missing_infile(self, table):
        raise interpreter.Unsupported  # it leaves the server waiting for the file until both time out

    def thread_id(self):
        return self.connection.connection_id

    def close(self):
        self.connection.close()


def close(cursor):
    try:
        cursor.close()
    except mysql.connector.Error:
        pass  # the statement's own error is what counts


def connect(host, port, user, password, database):
    connection = mysql.connector.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        database=database,
        use_pure=True,
        autocommit=True,
        allow_local_infile=True,
        client_flags=[ClientFlag.MULTI_STATEMENTS, ClientFlag.MULTI_RESULTS],
        connection_timeout=60,
    )
    return Connection(connection)


def describe(error):
    shown = {"class": type(error).__name__}
    if isinstance(error, mysql.connector.Error):
        shown.update(code=error.errno, sqlstate=error.sqlstate, message=error.msg)
    else:
        shown.update(message=str(error))
    return shown


if __name__ == "__main__":
    import sys

    interpreter.main(sys.modules[__name__])
