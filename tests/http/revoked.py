#!/usr/bin/env python3
"""Requests that were let in by a token which then goes from the file, or loses a right.

    revoked.py PORT PID TOKENS FOLDER

FOLDER has the tokens, in files NAME.token: "staying", and those whose lines in TOKENS are replaced here.
Long polls at both doors, parked and not, and requests whose bodies are still to come are refused from
then on: nothing that is appended afterwards is told, and nothing is appended.
"""

import json
import os
import signal
import sys
import time

import wire

HOST = b"Host: localhost\r\n"
LONG = b"2m"


def want(condition, what):
    if not condition:
        sys.exit(what)


def token(folder, name):
    with open(f"{folder}/{name}.token", "rb") as file:
        return b"Authorization: Bearer " + file.read().strip() + b"\r\n"


def ask(port, credentials, method, target, body=b"", headers=b""):
    return wire.request(port, method, target, body, (headers + credentials).decode())


POLLS = (
    b"GET /logs/orders/records?offset=latest&wait=" + LONG,
    b"GET /logs/orders/offsets?wait_for=1000000&timeout=" + LONG,
    b"GET /v1/stream/orders?offset=now&live=long-poll",
)


def begin_polls(port, credentials):
    """Parked; and with another request behind it, which keeps it in the library."""
    begun = []
    for poll in POLLS:
        for behind in b"", b"GET /version HTTP/1.1\r\n" + HOST + credentials + b"\r\n":
            connection = wire.Connection(port)
            connection.send(poll + b" HTTP/1.1\r\n" + HOST + credentials + b"\r\n" + behind)
            begun.append(connection)
    return begun


def begin_appends(port, credentials):
    """All but the last byte of each, and that byte."""
    octets = b"Content-Type: application/octet-stream\r\n"
    rows = (
        (b"POST /logs/orders", b"Content-Length: 7\r\n\r\nrevoke", b"d"),
        (b"POST /v1/stream/orders", b"Transfer-Encoding: chunked\r\n\r\n7\r\nrevoked\r\n0\r\n\r", b"\n"),
        (b"PUT /v1/stream/made", b"Content-Length: 7\r\n\r\nrevoke", b"d"),
    )
    begun = []
    for line, sent, last in rows:
        connection = wire.Connection(port)
        connection.send(line + b" HTTP/1.1\r\n" + HOST + octets + credentials + sent)
        begun.append((connection, last))
    return begun


def until_parked(port, staying, count):
    for _ in range(400):
        stats = json.loads(ask(port, staying, "GET", "/stats").body)
        if stats["connections_parked"] == count:
            return
        time.sleep(0.05)
    sys.exit(f"not {count} parked: {stats}")


def times_read(log):
    with open(log, encoding="utf-8") as file:
        return file.read().count("event=tokens_read ")


def reload(pid, tokens, lines, log):
    """As whoever takes care does: the new file takes the place of the old one at once."""
    with open(tokens + ".new", "w", encoding="ascii") as file:
        file.writelines(lines)
    os.chmod(tokens + ".new", 0o600)
    before = times_read(log)
    os.rename(tokens + ".new", tokens)
    os.kill(pid, signal.SIGHUP)
    for _ in range(400):
        if times_read(log) > before:
            return
        time.sleep(0.05)
    sys.exit("the tokens were not read again")


def revoke(port, pid, tokens, folder, name, change, status):
    """`change` makes another line of that of the token."""
    credentials, staying = token(folder, name), token(folder, "staying")
    polls, appends = begin_polls(port, credentials), begin_appends(port, credentials)
    others = begin_polls(port, staying)[::2]
    until_parked(port, staying, len(POLLS) + len(others))
    with open(tokens, encoding="ascii") as file:
        lines = [change(line) if line.startswith(name + " ") else line for line in file]
    reload(pid, tokens, lines, f"{folder}/log")

    for connection in polls:
        answer = connection.answer()
        want(answer and answer.status == status, f"{name}: a poll: {answer and answer.status}")
        connection.socket.close()
    for connection, last in appends:
        connection.send(last)
        answer = connection.answer()
        want(answer and answer.status == status, f"{name}: an append: {answer and answer.status}")
        connection.socket.close()
    # Who stays has noticed nothing.
    want(ask(port, staying, "POST", "/logs/orders", b"after").status == 200, "an append")
    for connection, target in zip(others, ("records", "offsets", "stream")):
        if target != "offsets":
            answer = connection.answer()
            want(answer.status == 200 and b"after" in answer.body, f"{target}: {answer.body}")
        connection.socket.close()
    answer = ask(port, staying, "GET", "/logs/orders/records")
    want(b"revoked" not in answer.body, "appended by a token that was taken out")
    want(ask(port, staying, "GET", "/logs/made").status == 404, "made by a token that was taken out")


def main(port, pid, tokens, folder):
    arguments = (int(port), int(pid), tokens, folder)
    revoke(*arguments, "leaving", lambda line: "", 401)
    revoke(*arguments, "lessened", lambda line: line.replace("read,append", "admin"), 403)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
