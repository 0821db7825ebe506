#!/usr/bin/env python3
"""Records what a real client and a real server say to each other, for protocol/tests/recordings.rs.

    record.py --server HOST:PORT --out pymysql.txt --about "PyMySQL 1.2.4" [--backend] -- python sessions/pymysql.py

The server needs TCP without TLS, root without a password and local_infile=ON; the schemas `shop` and `depot` and the
accounts `app` and `app2` on it are made anew. The client finds a port in $RECORD_PORT and runs in a directory with
`rows.tsv`; it must ask for one thing at a time. Lines of the file: `=` begins a connection, `C` is a packet of the
client and `S` one of the server, each with its sequence id and its payload, escaped. With --backend every command is
sent a second time as a proxy would, over a connection with DEPRECATE_EOF and SESSION_TRACK; `B` are those answers.

Never here: what the packets should be. The test says that.
"""

import argparse
import hashlib
import os
import select
import socket
import subprocess
import sys
import tempfile

import pymysql

SECONDS = 60  # a client or server that says nothing for this long has gone wrong
USERS = {b"root": b"", b"app": b"secret", b"app2": b"second secret"}
ROWS = b"11\tlocal one\t1.50\n12\tlocal two\t\\N\n"
ACCOUNTS = """
DROP USER IF EXISTS app, app2; CREATE USER app IDENTIFIED BY 'secret'; CREATE USER app2 IDENTIFIED BY 'second secret';
GRANT ALL ON shop.* TO app, app2; GRANT ALL ON depot.* TO app, app2; FLUSH PRIVILEGES
"""
SCHEMAS = """
DROP DATABASE IF EXISTS shop; CREATE DATABASE shop; DROP DATABASE IF EXISTS depot; CREATE DATABASE depot;
CREATE TABLE shop.item (id INT PRIMARY KEY, name VARCHAR(40), price DECIMAL(6,2)) CHARSET utf8mb4;
INSERT INTO shop.item VALUES (1, 'apple', 0.50), (2, NULL, 12.00), (3, 'pear', NULL);
CREATE PROCEDURE shop.both_ends(IN low INT, OUT total INT) BEGIN
 SELECT id, name FROM shop.item WHERE id >= low ORDER BY id; SELECT COUNT(*) INTO total FROM shop.item; SELECT total; END
"""

PROTOCOL_41, SSL, SECURE, PLUGIN_AUTH = 1 << 9, 1 << 11, 1 << 15, 1 << 19
CONNECT_WITH_DB, MULTI_STATEMENTS, MULTI_RESULTS, CONNECT_ATTRS = 1 << 3, 1 << 16, 1 << 17, 1 << 20
SESSION_TRACK, DEPRECATE_EOF, OPTIONAL_METADATA, QUERY_ATTRIBUTES = 1 << 23, 1 << 24, 1 << 25, 1 << 27
QUIT, QUERY, STATISTICS, CHANGE_USER = 0x01, 0x03, 0x09, 0x11
TRACK_MUCH = b"SET session_track_system_variables='*', session_track_state_change=ON, session_track_transaction_info=STATE"


class Frames:
    """Cuts one direction of a stream into (sequence, payload)."""

    def __init__(self):
        self.rest = b""

    def feed(self, data):
        self.rest += data
        while len(self.rest) >= 4 and len(self.rest) >= 4 + (end := int.from_bytes(self.rest[:3], "little")):
            yield self.rest[3], self.rest[4 : 4 + end]
            self.rest = self.rest[4 + end :]


def relay(client, server):
    """Passes everything on until the client goes; the packets in the order in which they came."""
    packets, frames = [], {client: ("C", Frames()), server: ("S", Frames())}
    while True:
        ready, _, _ = select.select([client, server], [], [], SECONDS)
        if not ready:
            raise TimeoutError("client and server are silent")
        for side in ready:
            data = side.recv(1 << 16)
            if not data:
                return packets
            name, cut = frames[side]
            packets += [(name, *packet) for packet in cut.feed(data)]
            (server if side is client else client).sendall(data)


def scramble(password, nonce):
    if not password:
        return b""
    once = hashlib.sha256(password).digest()
    mask = hashlib.sha256(hashlib.sha256(once).digest() + nonce).digest()
    return bytes(a ^ b for a, b in zip(once, mask))


class Server:
    """A connection as a proxy would have it; logs in with caching_sha2_password's fast way only."""

    def __init__(self, address, user, capabilities, collation=255):
        self.socket = socket.create_connection(address, SECONDS)
        self.frames, self.read = Frames(), []
        _, greeting = self.packet()
        at = greeting.index(b"\0") + 5
        nonce = greeting[at : at + 8] + greeting[at + 27 : at + 39]
        self.capabilities, self.collation = capabilities, bytes([collation])
        prefix = capabilities.to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + self.collation + bytes(23)
        proof = scramble(USERS[user], nonce)
        body = user + b"\0" + bytes([len(proof)]) + proof
        if capabilities & CONNECT_WITH_DB:
            body += b"shop\0"
        self.send(1, prefix + body + b"caching_sha2_password\0")
        self.prove(USERS[user])

    def packet(self):
        while not self.read:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError("the server has closed the connection")
            self.read += self.frames.feed(data)
        return self.read.pop(0)

    def send(self, sequence, payload):
        self.socket.sendall(len(payload).to_bytes(3, "little") + bytes([sequence]) + payload)

    def prove(self, password):
        while True:
            sequence, payload = self.packet()
            if payload[0] == 0xFE:
                self.send(sequence + 1, scramble(password, payload.split(b"\0", 1)[1][:20]))
            elif payload[0] == 0x00:
                return
            elif payload != b"\x01\x03":
                raise PermissionError(payload)

    def change_user(self, payload):
        user = payload[1:].split(b"\0")[0]
        self.send(0, bytes([CHANGE_USER]) + user + b"\0\0shop\0" + self.collation + b"\0caching_sha2_password\0")
        self.prove(USERS[user])

    def ask(self, command, file=()):
        """All packets of the answer. COM_STATISTICS sent behind tells where it ends without understanding it."""
        self.send(0, command)
        answer = []
        if file:
            while not answer or answer[-1][1][:1] != b"\xfb":
                answer.append(self.packet())
            for offset, part in enumerate(file, 1):
                self.send(answer[-1][0] + offset, part)
        self.send(0, bytes([STATISTICS]))
        while True:
            packet = self.packet()
            if packet[0] == 1 and packet[1].startswith(b"Uptime: "):
                return answer
            answer.append(packet)

    def run(self, sql):
        attributes = b"\0\1" if self.capabilities & QUERY_ATTRIBUTES else b""
        answer = self.ask(bytes([QUERY]) + attributes + sql)
        if answer[0][1][0] == 0xFF:
            raise ValueError(sql, answer)


def exchanges(packets):
    """The login, then each command with what belongs to it."""
    parts = []
    for packet in packets:
        if not parts or (packet[0] == "C" and packet[1] == 0):
            parts.append([])
        parts[-1].append(packet)
    return parts


def with_backend_answers(address, login, commands):
    """The same commands on a connection of our own; its answers are put behind those that the client got."""
    response = next(payload for name, _, payload in login if name == "C")
    capabilities = int.from_bytes(response[:4], "little")
    capabilities |= PROTOCOL_41 | SECURE | PLUGIN_AUTH | DEPRECATE_EOF | SESSION_TRACK | CONNECT_WITH_DB
    capabilities &= ~(CONNECT_ATTRS | OPTIONAL_METADATA | SSL)
    server = Server(address, response[32:].split(b"\0")[0], capabilities, collation=response[8])
    tracked = int.from_bytes(response[:4], "little") & SESSION_TRACK
    if not tracked:
        server.run(TRACK_MUCH)
    for exchange in commands:
        command = exchange[0][2]
        if command[0] == QUIT:
            server.send(0, command)
        elif command[0] == CHANGE_USER:
            server.change_user(command)
        else:
            file = [payload for name, sequence, payload in exchange if name == "C" and sequence > 0]
            exchange += [("B", *packet) for packet in server.ask(command, file)]
    server.socket.close()


def escaped(payload):
    return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in payload)


def as_root(address, statements):
    flags = PROTOCOL_41 | SECURE | PLUGIN_AUTH | DEPRECATE_EOF | SESSION_TRACK | MULTI_STATEMENTS | MULTI_RESULTS
    Server(address, b"root", flags).run(statements.encode())


def warm(address, user):
    """Has the server remember the account's password, so that it takes the fast way from now on."""
    pymysql.connect(host=address[0], port=address[1], user=user, password=USERS[user.encode()].decode()).close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--about", required=True)
    parser.add_argument("--backend", action="store_true")
    parser.add_argument("--warm", action="store_true", help="for a client without RSA")
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    host, port = options.server.split(":")
    address = (host, int(port))
    as_root(address, SCHEMAS)
    as_root(address, ACCOUNTS)
    for user in ["app", "app2"] if options.warm else ["app2"]:
        warm(address, user)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(SECONDS)
    recorded = []
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, "rows.tsv"), "wb") as file:
            file.write(ROWS)
        environment = os.environ | {"RECORD_PORT": str(listener.getsockname()[1])}
        command = [os.path.abspath(part) if os.path.exists(part) else part for part in options.command]
        client = subprocess.Popen(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL)
        for _ in range(2):  # every session logs in twice: once with the server's cache cold, then for its commands
            accepted, _ = listener.accept()
            with accepted, socket.create_connection(address, SECONDS) as server:
                recorded.append(exchanges(relay(accepted, server)))
        if client.wait(SECONDS) != 0:
            sys.exit("the client failed")
    if options.backend:
        as_root(address, SCHEMAS)
        for login, *commands in recorded:
            with_backend_answers(address, login, commands)
    with open(options.out, "w", encoding="ascii") as out:
        out.write(f"# {options.about}; made by record.py\n")
        for parts in recorded:
            out.write("=\n")
            for name, sequence, payload in (packet for part in parts for packet in part):
                out.write(f"{name} {sequence} {escaped(payload)}\n")


if __name__ == "__main__":
    main()
