"""mysql-connector-python with binary prepared statements: its pure Python form, and with `--compiled` its C extension."""

import contextlib
import datetime
import sys
import threading

import mysql.connector
import mysql.connector.pooling
from mysql.connector.constants import ClientFlag

import interpreter

COMPILED = "--compiled" in sys.argv
if COMPILED:
    sys.argv.remove("--compiled")


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
            cursor.execute(sql, [bindable(value) for value in params])
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

    def bulk(self, sql, rows):
        with self.connection.cursor() as cursor:
            cursor.executemany(sql.replace("?", "%s"), rows)
            return cursor.rowcount

    def begin(self, isolation, read_only):
        self.connection.start_transaction(isolation_level=isolation, readonly=read_only or None)

    def commit(self):
        self.connection.commit()

    def rollback(self):
        self.connection.rollback()

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
        if COMPILED:
            raise interpreter.Unsupported
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


def bindable(value):
    """The C extension (26.10) binds a timedelta as whatever stands in memory: it gets dates and times as text."""
    temporal = isinstance(value, (datetime.date, datetime.timedelta))
    return str(value) if COMPILED and temporal else value


def close(cursor):
    try:
        cursor.close()
    except mysql.connector.Error:
        pass  # the statement's own error is what counts


def options(host, port, user, password, database, tls=None, compress=False, charset=None):
    given = {
        "host": host,
        "port": port,
        "user": user,
        "password": password,
        "database": database,
        "use_pure": not COMPILED,
        "autocommit": True,
        "allow_local_infile": True,
        "client_flags": [ClientFlag.MULTI_STATEMENTS, ClientFlag.MULTI_RESULTS],
        "connection_timeout": 60,
        # The pure form reads on in vain where a packet spans more than two compressed frames.
        "read_timeout": 5 if compress and not COMPILED else 15,
        "compress": compress,
    }
    if tls is not None:
        given["ssl_disabled"] = not tls
    if charset is not None:
        given["charset"] = charset
    return given


def connect(**given):
    return Connection(mysql.connector.connect(**options(**given)))


def pool(login, connections):
    """What borrows from the driver's pool. It never waits for a connection, so a semaphore does."""
    pooled = mysql.connector.pooling.MySQLConnectionPool(pool_size=connections, **options(**login))
    free = threading.Semaphore(connections)

    @contextlib.contextmanager
    def borrow():
        with free:
            connection = Connection(pooled.get_connection())
            try:
                yield connection
            finally:
                connection.close()

    return borrow


def describe(error):
    shown = {"class": type(error).__name__}
    if isinstance(error, mysql.connector.Error):
        shown.update(code=error.errno, sqlstate=error.sqlstate, message=error.msg)
    else:
        shown.update(message=str(error))
    return shown


def version():
    return f"mysql-connector-python {mysql.connector.__version__} ({'C extension' if COMPILED else 'pure'})"


if __name__ == "__main__":
    interpreter.main(sys.modules[__name__])
