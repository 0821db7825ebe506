"""The `mysql` command line client: one process per check, its standard input the statements of the check.

A step that needs more than SQL is either done as the program's user would (Ctrl-C instead of KILL QUERY) or
not supported. Results are what the program prints, line by line. Never here: what a result should be.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile

import interpreter

END = "//"  # the delimiter, so that `;` stays inside a statement
ANSWER_SECONDS = 120
MANY_LINES = 300  # more output is shown as count and digest
WATCH = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP(20)%' AND info NOT LIKE '%like%'"


class Program:
    def __init__(self, given):
        self.given = given

    def command(self, **more):
        login = {"user": self.given.user, "password": self.given.password, "database": self.given.database, **more}
        command = [
            self.given.mysql,
            "--no-defaults",
            "--protocol=TCP",
            f"--host={self.given.host}",
            f"--port={self.given.port}",
            f"--user={login['user']}",
            "--batch",
            "--table",
            "-vv",
            "--force",
            "--unbuffered",
            "--column-type-info",
            f"--default-character-set={login.get('charset', 'utf8mb4')}",
            "--max-allowed-packet=64M",
            "--local-infile=1",
            "--loose-commands=ON",  # `use` and the like, which newer programs refuse unless asked
            f"--delimiter={END}",
        ]
        if "tls" in login:
            command.append(f"--ssl-mode={'REQUIRED' if login['tls'] else 'DISABLED'}")
        if login.get("tls") is False:
            command.append("--get-server-public-key")
        if login.get("compress"):
            command.append("--compression-algorithms=zlib")
        if login["database"]:
            command.append(f"--database={login['database']}")
        return command, {**os.environ, "MYSQL_PWD": login["password"]}

    def run(self, text, **more):
        command, environment = self.command(**more)
        done = subprocess.run(
            command,
            input=text.encode(),
            env=environment,
            capture_output=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
        return shown(done.stdout, done.stderr, done.returncode)

    def interrupted(self, before, sql):
        """Ctrl-C while `sql` runs: the program kills the query over a second connection of its own."""
        command, environment = self.command()
        pipe = subprocess.PIPE
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
        process.stdin.write(f"{before}{sql}\n{END}\nSELECT 'alive'\n{END}\n".encode())
        process.stdin.flush()
        process.stdin.close()
        for _ in range(600):
            # Inside a transaction, so that it is asked where `sql` runs: on the primary.
            watch = self.run(f"START TRANSACTION{END}\n{WATCH}{END}\nROLLBACK{END}\n")
            if any(line.strip() == "|        1 |" for line in watch["stdout"]):
                break
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.stdout.read(), process.stderr.read()
        result = shown(stdout, stderr, process.wait(timeout=ANSWER_SECONDS))
        result["stdout"] = [re.sub(r"KILL QUERY \d+", "KILL QUERY id", line) for line in result["stdout"]]
        return result


def shown(stdout, stderr, code):
    return {"stdout": lines(stdout), "stderr": lines(stderr), "exit": code}


def lines(raw):
    text = [interpreter.shortened(line) for line in raw.decode("utf-8", "replace").splitlines()]
    if len(text) <= MANY_LINES:
        return text
    return {"lines": len(text), "digest": interpreter.shortened(json.dumps(text))}


def run_check(program, steps):
    text, files, unsupported, more = "", [], [], {}
    try:
        for step in steps:
            if "query" in step and step.get("on") in (None, "other"):
                text += f"{interpreter.with_big(step, step['query'])}\n{END}\n"
            elif "infile" in step:
                file = tempfile.NamedTemporaryFile("w", suffix=".tsv", delete=False)
                with file:
                    file.write(step["infile"])
                files.append(file.name)
                text += f"LOAD DATA LOCAL INFILE '{file.name}' INTO TABLE {step['into']}\n{END}\n"
            elif "missing_infile" in step:
                text += f"LOAD DATA LOCAL INFILE '/nonexistent/file.tsv' INTO TABLE {step['missing_infile']}\n{END}\n"
            elif "use" in step:
                text += f"use {step['use']}{END}\n"
            elif "charset" in step:
                text += f"\\C {step['charset']}\n"
            elif "reset" in step:
                text += "\\x\n"  # resetconnection
            elif "kill_query" in step:
                return program.interrupted(text, on_the_primary(step["kill_query"]))
            elif "connect" in step:
                more = step["connect"]
                text += f"SELECT DATABASE(), CURRENT_USER()\n{END}\n"
            else:
                unsupported.append(next(iter(step)))
        result = program.run(text, **more)
        result["unsupported"] = unsupported
        # The names of temporary files are nobody's result.
        return json.loads(replaced(json.dumps(result), files))
    finally:
        for file in files:
            os.unlink(file)


def on_the_primary(sql):
    """A locking read instead of a plain one, so that it is known where to look for it."""
    return f"{sql} FOR UPDATE" if sql.startswith("SELECT") else sql


def replaced(text, names):
    for name in names:
        text = text.replace(name, "FILE")
    return text


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--mysql", default=os.environ.get("MYSQL_CLIENT", "mysql"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--user", default="clients")
    parser.add_argument("--password", default="")
    parser.add_argument("--database", default="clients")
    parser.add_argument("checks", nargs="*", help="names; all if none are given")
    given = parser.parse_args()
    program = Program(given)
    banner = subprocess.run([given.mysql, "--version"], capture_output=True, check=True, text=True).stdout
    print(json.dumps({"version": " ".join(banner.split()[1:4])}), flush=True)
    for check in interpreter.checks(given.checks):
        result = run_check(program, check["steps"])
        print(json.dumps({"check": check["check"], "result": [result]}, sort_keys=True), flush=True)


if __name__ == "__main__":
    sys.exit(main())
