"""Runs checks.json with one Python client and prints one JSON line per check.

A client is a class with the methods that `Client` lists; it raises whatever its driver raises. What can differ from
run to run for reasons that are nobody's fault (connection ids, paths of temporary files) must not reach the
result; everything else must. Never here: what a result should be. The runner compares two runs.
"""

import argparse
import datetime
import decimal
import hashlib
import json
import os
import tempfile
import threading

LONG = 200  # longer texts are shown as length and digest
KILL_SECONDS = 30  # a statement that is not gone by then was not killed
MANY_ROWS = 200  # more rows are shown as count and digest


class Unsupported(Exception):
    """This client can't do such a step at all."""


class Client:
    """One connection. Every method returns what the client shows, as plain values."""

    def query(self, sql):
        raise Unsupported

    def execute(self, sql, params):
        raise Unsupported

    def ping(self):
        raise Unsupported

    def reset(self):
        raise Unsupported

    def change_user(self, user, password, database):
        raise Unsupported

    def use(self, database):
        raise Unsupported

    def charset(self, name):
        raise Unsupported

    def cursor(self, sql, fetch):
        raise Unsupported

    def abandon(self, sql):
        raise Unsupported

    def bulk(self, sql, rows):
        raise Unsupported

    def begin(self, isolation, read_only):
        raise Unsupported

    def commit(self):
        raise Unsupported

    def rollback(self):
        raise Unsupported

    def missing_infile(self, table):
        return self.query(f"LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE {table}")

    def thread_id(self):
        raise Unsupported

    def close(self):
        raise Unsupported


def canonical(value):
    """A value with its type, so that 1, 1.0, "1" and Decimal("1") differ."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": shortened(bytes(value).hex())}
    if isinstance(value, str):
        return shortened(value)
    if isinstance(value, (int, float, decimal.Decimal, datetime.date, datetime.timedelta)):
        return {type(value).__name__: str(value)}
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(map(str, value))}
    if isinstance(value, dict):
        return {str(key): canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    return {type(value).__name__: str(value)}


def shortened(text):
    if len(text) <= LONG:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return {"length": len(text), "sha256": digest}


def result_set(columns, rows, **more):
    """What `query` and `execute` return per result; `rows` is None for a statement without one."""
    shown = {"columns": canonical(columns), **canonical(more)}
    if rows is not None:
        rows = [canonical(row) for row in rows]
        if len(rows) > MANY_ROWS:
            digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
            rows = {"rows": len(rows), "sha256": digest}
        shown["rows"] = rows
    return shown


def parameter(spec):
    ((kind, value),) = spec.items()
    if kind == "null":
        return None
    if kind == "bytes":
        return bytes.fromhex(value)
    if kind == "decimal":
        return decimal.Decimal(value)
    if kind == "date":
        return datetime.date.fromisoformat(value)
    if kind == "datetime":
        return datetime.datetime.fromisoformat(value)
    if kind == "time":
        clock = datetime.time.fromisoformat(value)
        return datetime.timedelta(hours=clock.hour, minutes=clock.minute, seconds=clock.second)
    if kind == "repeat":
        return value[0] * value[1]
    return value  # int, float, str


def with_big(step, sql):
    if "big" in step:
        character, times = step["big"]
        return sql.replace("$big", character * times)
    return sql


class Check:
    """One check: its own connections, closed at the end."""

    def __init__(self, driver, login):
        self.driver = driver
        self.login = login
        self.connections = {}

    def connection(self, name):
        if name not in self.connections:
            self.connections[name] = self.driver.connect(**self.login)
        return self.connections[name]

    def run(self, step):
        try:
            return self.step(step)
        except Unsupported:
            return "unsupported"
        except Exception as error:  # drivers also fail by IndexError and the like
            return {"error": canonical(self.driver.describe(error))}

    def step(self, step):
        name = step.get("on", "a")
        if "connect" in step:
            connection = self.driver.connect(**{**self.login, **step["connect"]})
            self.connections["other"] = connection
            return connection.query("SELECT DATABASE(), CURRENT_USER()")
        if "open" in step:
            self.connection(step["open"])
            return "open"
        connection = self.connection(name)
        if "query" in step:
            return connection.query(with_big(step, step["query"]))
        if "execute" in step:
            return connection.execute(step["execute"], [parameter(spec) for spec in step["params"]])
        if "ping" in step:
            return connection.ping()
        if "reset" in step:
            return connection.reset()
        if "change_user" in step:
            user = step["change_user"]
            return connection.change_user(user, self.login["password"], self.login["database"])
        if "use" in step:
            return connection.use(step["use"])
        if "charset" in step:
            return connection.charset(step["charset"])
        if "cursor" in step:
            return connection.cursor(step["cursor"], step["fetch"])
        if "abandon" in step:
            return connection.abandon(step["abandon"])
        if "infile" in step:
            return infile(connection, step["infile"], step["into"])
        if "missing_infile" in step:
            return connection.missing_infile(step["missing_infile"])
        if "kill_query" in step:
            return self.kill_query(connection, step["kill_query"])
        if "bulk" in step:
            rows = [[parameter(spec) for spec in row] for row in step["bulk"]["rows"]]
            return connection.bulk(step["bulk"]["sql"], rows)
        if "transaction" in step:
            return self.transaction(connection, step["transaction"])
        if "pool" in step:
            return pooled(self.driver, self.login, step["pool"])
        raise ValueError(f"checks.json has a step nobody knows: {step}")

    def transaction(self, connection, plan):
        connection.begin(plan.get("isolation"), plan.get("read_only", False))
        results = [self.caught(connection, sql) for sql in plan["queries"]]
        connection.commit() if plan["end"] == "commit" else connection.rollback()
        return results

    def kill_query(self, connection, sql):
        """KILL QUERY by the id that the client knows, again and again until the statement is gone.

        A statement that has not begun yet is not hurt by a KILL, so it is repeated.
        """
        outcome = []
        victim = threading.Thread(target=lambda: outcome.append(self.caught(connection, sql)), daemon=True)
        killer = self.connection("killer")
        number = connection.thread_id()
        victim.start()
        for _ in range(KILL_SECONDS * 10):
            killer.query(f"KILL QUERY {number}")
            victim.join(0.1)
            if not victim.is_alive():
                return outcome[0]
        return f"not killed within {KILL_SECONDS} s"

    def caught(self, connection, sql):
        try:
            return connection.query(sql)
        except Exception as error:  # drivers also fail by IndexError and the like
            return {"error": canonical(self.driver.describe(error))}

    def close(self):
        for connection in self.connections.values():
            try:
                connection.close()
            except Exception:
                pass  # a check may have ended it on purpose


def pooled(driver, login, plan):
    """Many threads with transactions on the few connections of the driver's pool, if it has one."""
    if not hasattr(driver, "pool"):
        raise Unsupported
    borrow = driver.pool(login, plan["connections"])
    outcomes = [None] * plan["workers"]

    def work(worker):
        try:
            for _ in range(plan["rounds"]):
                with borrow() as connection:
                    connection.begin(None, False)
                    connection.query(f"INSERT INTO {plan['table']} (worker) VALUES ({worker})")
                    connection.commit()
            outcomes[worker] = "done"
        except Exception as error:  # drivers also fail by IndexError and the like
            outcomes[worker] = canonical(driver.describe(error))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(plan["workers"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def infile(connection, content, table):
    file = tempfile.NamedTemporaryFile("w", suffix=".tsv", delete=False)
    try:
        with file:
            file.write(content)
        return connection.query(f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE {table}")
    finally:
        os.unlink(file.name)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="clients")
    parser.add_argument("--password", default="")
    parser.add_argument("--database", default="clients")
    parser.add_argument("checks", nargs="*", help="names; all if none are given")
    return parser.parse_args()


def checks(names):
    beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "checks.json")
    path = os.environ.get("CHECKS_JSON", beside)
    with open(path, encoding="utf-8") as file:
        return [check for check in json.load(file) if not names or check["check"] in names]


def main(driver):
    given = arguments()
    login = {
        "host": given.host,
        "port": given.port,
        "user": given.user,
        "password": given.password,
        "database": given.database,
    }
    print(json.dumps({"version": driver.version()}), flush=True)
    for check in checks(given.checks):
        run = Check(driver, login)
        result = [run.run(step) for step in check["steps"]]
        run.close()
        print(json.dumps({"check": check["check"], "result": result}, sort_keys=True), flush=True)
