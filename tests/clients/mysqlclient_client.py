"""mysqlclient (MySQLdb). It has no binary prepared statements: `execute` puts the values into the text itself."""

import MySQLdb
import MySQLdb.cursors
from MySQLdb.constants import CLIENT

import interpreter


class Connection(interpreter.Client):
    def __init__(self, connection):
        self.connection = connection

    def query(self, sql):
        return self.run(sql, None)

    def execute(self, sql, params):
        return self.run(sql.replace("%", "%%").replace("?", "%s"), params)

    def run(self, sql, params):
        cursor = self.connection.cursor()
        try:
            cursor.execute(sql, params)
            shown = []
            while True:
                rows = cursor.fetchall() if cursor.description else None
                shown.append(
                    interpreter.result_set(
                        cursor.description,
                        rows,
                        flags=cursor.description_flags,
                        affected=cursor.rowcount,
                        last_id=cursor.lastrowid,
                        warnings=self.connection.warning_count(),
                        info=self.connection.info(),
                    )
                )
                try:
                    if cursor.nextset() is None:
                        return shown
                except MySQLdb.Error as error:
                    return [*shown, {"error": interpreter.canonical(describe(error))}]
        finally:
            try:
                cursor.close()
            except MySQLdb.Error:
                pass  # the statement's own error is what counts

    def bulk(self, sql, rows):
        with self.connection.cursor() as cursor:
            return cursor.executemany(sql.replace("?", "%s"), rows)

    def begin(self, isolation, read_only):
        if isolation:
            self.connection.query(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        self.connection.query("START TRANSACTION READ ONLY" if read_only else "START TRANSACTION")

    def commit(self):
        self.connection.commit()

    def rollback(self):
        self.connection.rollback()

    def ping(self):
        self.connection.ping()
        return "pong"

    def use(self, database):
        self.connection.select_db(database)
        return "selected"

    def change_user(self, user, password, database):
        self.connection.change_user(user, password, database)
        return "changed"

    def charset(self, name):
        self.connection.set_character_set(name)
        return self.connection.character_set_name()

    def abandon(self, sql):
        """An unbuffered result of which only the first row is read."""
        cursor = MySQLdb.cursors.SSCursor(self.connection)
        cursor.execute(sql)
        row = cursor.fetchone()
        cursor.close()
        return len(row)

    def thread_id(self):
        return self.connection.thread_id()

    def close(self):
        self.connection.close()


def connect(host, port, user, password, database, tls=None, compress=False, charset="utf8mb4"):
    if tls is False:
        raise interpreter.Unsupported  # the library uses TLS whenever the server offers it
    # A cipher to choose from switches TLS on; Connector/C from 3.4 on uses it anyway.
    encryption = {"ssl": {"cipher": "DEFAULT"}} if tls else {}
    connection = MySQLdb.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        database=database or "",
        client_flag=CLIENT.MULTI_STATEMENTS,
        local_infile=1,
        autocommit=True,
        connect_timeout=20,
        read_timeout=90,
        charset=charset,
        compress=compress,
        **encryption,
    )
    return Connection(connection)


def describe(error):
    return {"class": type(error).__name__, "args": error.args}


def version():
    return f"mysqlclient {MySQLdb.__version__}, Connector/C {MySQLdb.get_client_info()}"


if __name__ == "__main__":
    import sys

    interpreter.main(sys.modules[__name__])
