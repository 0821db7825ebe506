"""aiomysql, each call on an event loop of its own thread. Like PyMySQL, whose code it builds on, it has no binary prepared
statements: `execute` puts the values into the text itself."""

import asyncio
import contextlib
import importlib.metadata
import ssl
import threading

import aiomysql
from pymysql.constants import CLIENT

import interpreter

LOOP = asyncio.new_event_loop()
threading.Thread(target=LOOP.run_forever, daemon=True).start()


def wait(coroutine):
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result()


class Connection(interpreter.Client):
    def __init__(self, connection):
        self.connection = connection

    def query(self, sql):
        return wait(self.run(sql, None))

    def execute(self, sql, params):
        return wait(self.run(sql.replace("%", "%%").replace("?", "%s"), params))

    async def run(self, sql, params):
        async with self.connection.cursor() as cursor:
            await cursor.execute(sql, params)
            shown = []
            while True:
                rows = await cursor.fetchall() if cursor.description else None
                result = self.connection._result
                shown.append(
                    interpreter.result_set(
                        cursor.description,
                        rows,
                        affected=cursor.rowcount,
                        last_id=cursor.lastrowid,
                        warnings=result.warning_count,
                        status=result.server_status,
                    )
                )
                try:
                    if not await cursor.nextset():
                        return shown
                except aiomysql.MySQLError as error:
                    return [*shown, {"error": interpreter.canonical(describe(error))}]

    def bulk(self, sql, rows):
        async def many():
            async with self.connection.cursor() as cursor:
                return await cursor.executemany(sql.replace("?", "%s"), rows)

        return wait(many())

    def begin(self, isolation, read_only):
        if isolation:
            self.query(f"SET TRANSACTION ISOLATION LEVEL {isolation}")
        self.query("START TRANSACTION READ ONLY") if read_only else wait(self.connection.begin())

    def commit(self):
        wait(self.connection.commit())

    def rollback(self):
        wait(self.connection.rollback())

    def ping(self):
        wait(self.connection.ping(reconnect=False))
        return "pong"

    def use(self, database):
        wait(self.connection.select_db(database))
        return "selected"

    def charset(self, name):
        wait(self.connection.set_charset(name))
        return self.connection.charset

    def abandon(self, sql):
        """An unbuffered result of which only the first row is read."""

        async def first():
            cursor = await self.connection.cursor(aiomysql.SSCursor)
            await cursor.execute(sql)
            row = await cursor.fetchone()
            await cursor.close()
            return len(row)

        return wait(first())

    def thread_id(self):
        return self.connection.thread_id()

    def close(self):
        self.connection.close()


def options(host, port, user, password, database, tls=None, compress=False, charset="utf8mb4"):
    if compress:
        raise interpreter.Unsupported
    given = {
        "host": host,
        "port": port,
        "user": user,
        "password": password,
        "db": database,
        "client_flag": CLIENT.MULTI_STATEMENTS,
        "local_infile": True,
        "autocommit": True,
        "connect_timeout": 20,
        "charset": charset,
    }
    if tls:
        given["ssl"] = ssl.create_default_context()
        given["ssl"].check_hostname = False
        given["ssl"].verify_mode = ssl.CERT_NONE
    return given


def connect(**given):
    return Connection(wait(aiomysql.connect(**options(**given))))


def pool(login, connections):
    made = wait(aiomysql.create_pool(minsize=1, maxsize=connections, **options(**login)))

    @contextlib.contextmanager
    def borrow():
        connection = wait(made.acquire())
        try:
            yield Connection(connection)
        finally:
            made.release(connection)

    return borrow


def describe(error):
    return {"class": type(error).__name__, "args": error.args}


def version():
    return f"aiomysql {importlib.metadata.version('aiomysql')}"


if __name__ == "__main__":
    import sys

    interpreter.main(sys.modules[__name__])
