"""PyMySQL. It has no binary prepared statements: `execute` puts the values into the text itself."""

import pymysql
from pymysql.constants import CLIENT

import interpreter


class Connection(interpreter.Client):
    def __init__(self, connection):
        self.connection = connection

    def query(self, sql):
        with self.connection.cursor() as cursor:
            return self.results(cursor, lambda: cursor.execute(sql))

    def execute(self, sql, params):
        with self.connection.cursor() as cursor:
            return self.results(cursor, lambda: cursor.execute(sql.replace("%", "%%").replace("?", "%s"), params))

    def results(self, cursor, run):
        run()
        shown = []
        while True:
            rows = cursor.fetchall() if cursor.description else None
            result = self.connection._result
            shown.append(
                interpreter.result_set(
                    cursor.description,
                    rows,
                    affected=cursor.rowcount,
                    last_id=cursor.lastrowid,
                    warnings=result.warning_count,
                    status=result.server_status,
                    info=result.message,
                )
            )
            try:
                if not cursor.nextset():
                    return shown
            except pymysql.MySQLError as error:
                return [*shown, {"error": interpreter.canonical(describe(error))}]

    def bulk(self, sql, rows):
        with self.connection.cursor() as cursor:
            return cursor.executemany(sql.replace("?", "%s"), rows)

    def begin(self, isolation, read_only):
        if isolation:
            self.connection.query(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        self.connection.query("START TRANSACTION READ ONLY") if read_only else self.connection.begin()

    def commit(self):
        self.connection.commit()

    def rollback(self):
        self.connection.rollback()

    def ping(self):
        self.connection.ping(reconnect=False)
        return "pong"

    def use(self, database):
        self.connection.select_db(database)
        return "selected"

    def charset(self, name):
        self.connection.set_character_set(name)
        return self.connection.character_set_name()

    def abandon(self, sql):
        """An unbuffered result of which only the first row is read."""
        cursor = self.connection.cursor(pymysql.cursors.SSCursor)
        cursor.execute(sql)
        row = cursor.fetchone()
        cursor.close()
        return len(row)

    def thread_id(self):
        return self.connection.thread_id()

    def close(self):
        self.connection.close()


def connect(host, port, user, password, database, tls=None, compress=False, charset="utf8mb4"):
    if compress:
        raise interpreter.Unsupported
    encryption = {None: {}, True: {"ssl": {"check_hostname": False}}, False: {"ssl_disabled": True}}[tls]
    connection = pymysql.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        database=database,
        client_flag=CLIENT.MULTI_STATEMENTS,
        local_infile=True,
        autocommit=None,
        max_allowed_packet=64 << 20,
        connect_timeout=20,
        read_timeout=60,
        charset=charset,
        **encryption,
    )
    return Connection(connection)


def describe(error):
    return {"class": type(error).__name__, "args": error.args}


def version():
    return f"PyMySQL {pymysql.VERSION_STRING}"


if __name__ == "__main__":
    import sys

    interpreter.main(sys.modules[__name__])
