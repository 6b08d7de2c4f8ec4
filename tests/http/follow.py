#!/usr/bin/env python3
"""Clients that follow a log, as follow.sh wants them: what curl cannot do.

    follow.py PORT SCENARIO ARGUMENT...

Nothing here asserts a time; whatever does not come within PATIENCE_S is missing.
"""

import json
import os
import re
import socket
import sys
import time
import urllib.request

PATIENCE_S = 60


def fail(what):
    sys.exit(f"FAILED: {what}")


class Body:
    """The chunks of a body, without their framing; `ended` behind the last one."""

    def __init__(self, stream, plain=False):
        self.stream = stream
        self.plain = plain
        self.ended = False

    def read(self):
        """More of it, or nothing at its end. An end of the connection before that is an error."""
        if self.plain:
            data = self.stream.read1(65536)
            self.ended = not data
            return data
        line = self.stream.readline()
        if not re.fullmatch(rb"[0-9a-f]+\r\n", line):
            raise ConnectionError(f"not the size of a chunk: {line!r}")
        size = int(line, 16)
        data = self.stream.read(size)
        end = self.stream.read(2)
        if len(data) < size or end != b"\r\n":
            raise ConnectionError("cut off in a chunk")
        self.ended = size == 0
        return data


class Follower:
    """One stream, as a client of the standard reads it."""

    def __init__(self, port, log, query="", last=None, version="1.1", behind=b"", small=False):
        self.socket = socket.socket()
        self.socket.settimeout(PATIENCE_S)
        if small:  # of what the kernel takes for a client that does not read
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.connect(("127.0.0.1", port))
        more = f"Last-Event-ID: {last}\r\n" if last is not None else ""
        self.socket.sendall(
            f"GET /logs/{log}/records{query} HTTP/{version}\r\nHost: localhost\r\n"
            f"Accept: text/event-stream\r\n{more}\r\n".encode() + behind
        )
        self.last = last
        self.text = b""
        self.stream = self.socket.makefile("rb")
        self.body = None
        self.plain = version == "1.0"

    def read_head(self):
        line = self.stream.readline()
        if not line.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the answer begins with {line!r}")
        while self.stream.readline() not in (b"\r\n", b""):
            pass
        self.body = Body(self.stream, self.plain)

    def events(self):
        """(name, id, data) of each, until the end of the body."""
        if not self.body:
            self.read_head()
        while not self.body.ended:
            self.text += self.body.read()
            *blocks, self.text = self.text.split(b"\n\n")
            for block in blocks:
                fields = dict(
                    line.split(b": ", 1) for line in block.split(b"\n") if not line.startswith(b":")
                )
                if b"data" not in fields:
                    continue
                self.last = fields.get(b"id", self.last)
                yield fields.get(b"event", b"message").decode(), self.last, fields[b"data"]
        if self.text:
            fail(f"the body ends in an event: {self.text!r}")

    def records(self, count):
        """The next `count` records; nothing else may come before them."""
        found = []
        for name, number, data in self.events():
            if name != "message":
                fail(f"an event {name}: {data!r}")
            record = json.loads(data)
            if record["offset"] != int(number):
                fail(f"the id {number!r} of {record}")
            found.append(record)
            if len(found) == count:
                return found
        fail(f"the stream ended behind {len(found)} records of {count}")

    def is_at_end(self):
        """Nothing behind the body, and no error either."""
        return self.stream.read(1) == b""

    def close(self):
        self.stream.close()
        self.socket.close()


def append(port, log, body, lines=True):
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/logs/{log}",
        body,
        {"Content-Type": "application/x-ndjson" if lines else "text/plain"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def stats(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=PATIENCE_S) as answer:
        return json.load(answer)[name]


def until_followers(port, count):
    end = time.monotonic() + PATIENCE_S
    while stats(port, "followers") != count:
        if time.monotonic() > end:
            fail(f"{stats(port, 'followers')} followers, wanted {count}")
        time.sleep(0.05)


def check(records, begin):
    offsets = [record["offset"] for record in records]
    if offsets != list(range(begin, begin + len(records))):
        fail(f"from {begin} on came {offsets[:20]}...")


# ---- scenarios ----


def crowd(port, count):
    """All get every record once and in order; those who vanish are noticed."""
    append(port, "crowd", b"zero\n")
    followers = [Follower(port, "crowd", "?offset=latest") for _ in range(count)]
    until_followers(port, count)
    for i in range(20):
        append(port, "crowd", f"{i} one\n{i} two\n".encode())
    for follower in followers:
        records = follower.records(40)
        check(records, 1)
        if records[0]["data"] != "0 one" or records[39]["data"] != "19 two":
            fail(f"{records[0]} to {records[39]}")
    for follower in followers[count // 2 :]:
        follower.close()
    until_followers(port, count // 2)
    append(port, "crowd", b"last\n")
    for follower in followers[: count // 2]:
        check(follower.records(1), 41)
        follower.close()
    until_followers(port, 0)


def slow(port):
    """Who does not read holds nobody up and misses nothing."""
    lines = b"".join(b"%d %s\n" % (i, b"x" * 1000) for i in range(2000))
    append(port, "slow", b"zero\n")
    sleeper = Follower(port, "slow", small=True)
    reader = Follower(port, "slow")
    until_followers(port, 2)
    for i in range(5):
        append(port, "slow", lines)
        check(reader.records(2001 if i == 0 else 2000), 2000 * i + (i > 0))
    check(sleeper.records(10001), 0)
    sleeper.close()
    reader.close()
    until_followers(port, 0)


def unread(port):
    """Who takes nothing for too long is cut off, whatever it was sent: here nothing else can end it."""
    append(port, "unread", b"".join(b"%d %s\n" % (i, b"x" * 1000) for i in range(10000)))
    follower = Follower(port, "unread", small=True)
    until_followers(port, 1)
    until_followers(port, 0)
    try:
        for _ in follower.events():
            pass
    except ConnectionError:
        return
    fail("the stream came to a good end")


def trimmed(port):
    """What was trimmed away before it was sent is told, and the stream goes on."""
    lines = b"".join(b"%d %s\n" % (i, b"x" * 1000) for i in range(15000))
    append(port, "trimmed", lines)
    follower = Follower(port, "trimmed", small=True)
    until_followers(port, 1)
    time.sleep(0.2)  # the socket is full
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/logs/trimmed/trim?before=14990", method="POST"
    )
    urllib.request.urlopen(request, timeout=PATIENCE_S).close()
    following, gaps = 0, 0
    for name, number, data in follower.events():
        if name == "trimmed":
            gaps += 1
            following = json.loads(data)["first_offset"]
            if following != 14990 or int(number) != 14989:
                fail(f"trimmed: {data!r}, id {number!r}")
            continue
        if int(number) != following:
            fail(f"{number!r} came where {following} should")
        following += 1
        if following == 15000:
            break
    if gaps != 1:
        fail(f"{gaps} events say that something was trimmed away")
    follower.close()


def behind(port):
    """What is sent on the connection behind the request is not acted on, and harms nothing."""
    append(port, "behind", b"zero\n")
    post = b"POST /logs/behind HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\none"
    follower = Follower(port, "behind", "?limit=2", behind=post)
    check(follower.records(1), 0)
    follower.socket.sendall(post)
    time.sleep(0.2)
    if append(port, "behind", b"two\n")["offset"] != 1:
        fail("a request behind the stream was acted on")
    names = [name for name, _, _ in follower.events()]
    if names != ["message", "end"] or not follower.is_at_end():
        fail(f"the end of the stream: {names}")
    follower.close()
    # Before it there may be others, which are answered first.
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as both:
        both.sendall(
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /logs/behind/records?limit=1 "
            b"HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        )
        stream = both.makefile("rb")
        answer = stream.read()
        if answer.count(b"HTTP/1.1 200 OK\r\n") != 2 or not answer.endswith(b"0\r\n\r\n"):
            fail(f"two requests at once: {answer!r}")
    # One that sends and sends is cut off.
    flood = Follower(port, "behind", "?offset=latest")
    try:
        for _ in range(1000):
            flood.socket.sendall(b"x" * 65536)
        fail("a client may send without end behind its request")
    except ConnectionError:
        pass
    flood.close()
    until_followers(port, 0)


def half(port):
    """Who will send no more gets what is there, and then the end."""
    append(port, "half", b"zero\none\n")
    for version in "1.1", "1.0":
        follower = Follower(port, "half", version=version)
        follower.socket.shutdown(socket.SHUT_WR)
        events = list(follower.events())
        if [int(number) for _, number, _ in events] != [0, 1] or not follower.is_at_end():
            fail(f"HTTP/{version}: {events}")
        follower.close()
    until_followers(port, 0)


def resume(_, folder, total):
    """Follows through kills and restarts, as a browser does, until `total` records have come. The port
    is in a file, and changes. Writes "offset data" of each to another."""
    last = None
    with open(f"{folder}/followed", "w", encoding="utf-8") as out:
        end = time.monotonic() + 3 * PATIENCE_S
        count = 0
        while count < total and time.monotonic() < end:
            try:
                with open(f"{folder}/port", encoding="ascii") as file:
                    follower = Follower(int(file.read()), "kept", last=last)
                for name, number, data in follower.events():
                    if name == "message":
                        last = int(number)
                        count += 1
                        out.write(f"{last} {json.loads(data)['data']}\n")
                    if count == total:
                        return
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
    fail(f"{count} records of {total} came")


def main(port, scenario, *arguments):
    scenarios = {
        function.__name__: function
        for function in (crowd, slow, unread, trimmed, behind, half, resume)
    }
    arguments = [int(part) if part.isdigit() else part for part in arguments]
    scenarios[scenario](int(port), *arguments)


if __name__ == "__main__":
    os.environ.pop("http_proxy", None)
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
