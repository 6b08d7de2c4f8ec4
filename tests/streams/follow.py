#!/usr/bin/env python3
"""follow.py WALD BACKEND FOLDER [--messages N] [--seed N]: followers of busy streams, which lose their
connections all the time, often in the middle of an event, and go on at the last offset they were told.
Each has to see every message once and in order: what reading the whole stream shows."""

import argparse
import base64
import http.client
import itertools
import json
import random
import sys
import threading
import time

from family import Connection, Lost
from program import Failure, program_of

TYPES = {"json": "application/json", "text": "text/plain", "bytes": "application/octet-stream"}
WRITERS = 3
SSE_FOLLOWERS = 4
POLLERS = 2
END_S = 120


class Board:
    """What threads tell the main one."""

    def __init__(self, total):
        self.total = total
        self.failures = []
        self.followed = {}
        self.events = itertools.count()
        self.drops = itertools.count()


def message(writer, number, pad):
    return {"w": writer, "n": number, "pad": "é\u2028" * (pad % 40)}


def write(board, port, name, writer, seed):
    """One of several writers: some messages a request."""
    choose, connection, number = random.Random(seed), Connection(port), 0
    share = board.total // WRITERS
    while number < share and not board.failures:
        count = min(choose.randint(1, 3), share - number)
        made = [message(writer, number + i, choose.randint(0, 200)) for i in range(count)]
        lines = [json.dumps(each, ensure_ascii=False) for each in made]
        body = f"[{','.join(lines)}]" if name == "json" else "".join(line + "\r\n" for line in lines)
        status, _, _ = connection.exchange("POST", f"/v1/stream/{name}",
                                           {"Content-Type": TYPES[name]}, body.encode())
        if status != 204:
            raise Failure(f"POST to {name}: {status}")
        number += count
        if choose.random() < 0.1:
            time.sleep(choose.uniform(0, 0.02))


def events_of(response):
    """(kind, data) for each event that has come whole."""
    kind, data = None, []
    while True:
        line = response.readline()
        if not line.endswith(b"\n"):
            return
        line = line[:-1]
        if line == b"":
            if kind:
                yield kind, b"\n".join(data)
            kind, data = None, []
        elif line.startswith(b"event:"):
            kind = line[6:].strip()
        elif line.startswith(b"data:"):
            data.append(line[5:])


def follow_once(board, port, name, place, choose):
    """One connection, for a few events: it is given up behind a control event, or between the data and
    the control event that belongs to it. Returns whether the stream has ended."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", f"/v1/stream/{name}?offset={place['offset']}&live=sse")
    response = connection.getresponse()
    if response.status != 200:
        raise Failure(f"following {name}: {response.status}")
    encoded = response.headers.get("stream-sse-data-encoding") == "base64"
    if encoded != (name == "bytes"):
        raise Failure(f"{name}: stream-sse-data-encoding is there, or missing, and should not")
    left, between, pending = choose.randint(1, 20), choose.random() < 0.5, b""
    for kind, data in events_of(response):
        next(board.events)
        if kind == b"data":
            if left == 0:
                break
            pending += base64.b64decode(data, validate=True) if encoded else (
                data if name == "text" else json_lines(data))
        else:
            control = json.loads(data)
            place["seen"] += pending
            place["offset"], pending = control["streamNextOffset"], b""
            if control.get("streamClosed"):
                connection.close()
                return True
            left -= 1
            if left == 0 and not between:
                break
        if choose.random() < place["slow"]:
            time.sleep(choose.uniform(0, 0.05))
    next(board.drops)
    response.close()
    connection.close()
    return False


def json_lines(data):
    return b"".join(json.dumps(each).encode() + b"\n" for each in json.loads(data))


def follow(board, port, name, who, seed):
    choose = random.Random(seed)
    place = {"offset": "-1", "seen": b"", "slow": choose.choice((0, 0, 0.2))}
    while not board.failures and not follow_once(board, port, name, place, choose):
        pass
    board.followed[f"{name} by SSE, {who}"] = (name, place["seen"])


def poll(board, port, name, who, seed):
    """The same with requests that wait."""
    choose, connection, offset, seen = random.Random(seed), Connection(port), "-1", b""
    while not board.failures:
        status, headers, body = connection.exchange(
            "GET", f"/v1/stream/{name}?offset={offset}&live=long-poll")
        if status not in (200, 204):
            raise Failure(f"waiting for {name}: {status}")
        if body:
            seen += json_lines(body) if name == "json" else body
        offset = headers["stream-next-offset"]
        if headers.get("stream-closed") == "true":
            break
        if choose.random() < 0.1:
            connection.close()
    board.followed[f"{name} by long polling, {who}"] = (name, seen)


def read_whole(port, name):
    connection, offset, whole = Connection(port), "-1", b""
    while True:
        status, headers, body = connection.exchange("GET", f"/v1/stream/{name}?offset={offset}")
        if status != 200:
            raise Failure(f"reading {name}: {status}")
        whole += json_lines(body) if name == "json" else body
        offset = headers["stream-next-offset"]
        if headers.get("stream-up-to-date") == "true":
            return whole


def check(board, port):
    """The whole has each writer's messages in order, and every follower has seen the whole. A client of
    SSE cannot tell CR LF from LF."""
    wholes = {name: read_whole(port, name).replace(b"\r\n", b"\n") for name in TYPES}
    for name, whole in wholes.items():
        numbers = {writer: 0 for writer in range(WRITERS)}
        for line in whole.decode().split("\n")[:-1]:
            each = json.loads(line)
            if each["n"] != numbers[each["w"]]:
                raise Failure(f"{name}: writer {each['w']}: {each['n']} is out of order")
            numbers[each["w"]] += 1
        if sum(numbers.values()) != board.total:
            raise Failure(f"{name}: {sum(numbers.values())} messages of {board.total}")
    wanted = len(TYPES) * (SSE_FOLLOWERS + POLLERS)
    if len(board.followed) != wanted:
        raise Failure(f"{len(board.followed)} followers of {wanted} have come to the end")
    for who, (name, seen) in board.followed.items():
        seen = seen.replace(b"\r\n", b"\n")
        if seen != wholes[name]:
            at = next((i for i, (a, b) in enumerate(zip(seen, wholes[name])) if a != b),
                      min(len(seen), len(wholes[name])))
            raise Failure(f"{who}: {len(seen)} bytes of {len(wholes[name])}; they differ at {at}: "
                          f"{seen[at:at + 80]} in place of {wholes[name][at:at + 80]}")


def threads_of(board, work):
    def guarded(function, *arguments):
        try:
            function(board, *arguments)
        except (Failure, Lost, OSError, http.client.HTTPException, ValueError) as error:
            board.failures.append(f"{function.__name__} {arguments[1:]}: {type(error).__name__} {error}")

    threads = [threading.Thread(target=guarded, args=each, daemon=True) for each in work]
    for thread in threads:
        thread.start()
    return threads


def join(board, threads):
    end = time.monotonic() + END_S
    for thread in threads:
        thread.join(max(end - time.monotonic(), 0))
        if thread.is_alive():
            board.failures.append(f"not at the end after {END_S} s")
    if board.failures:
        raise Failure(board.failures[0])


def run(program, options):
    program.start()
    board = Board(options.messages - options.messages % WRITERS)
    port = program.port
    connection = Connection(port)
    for name, media_type in TYPES.items():
        status, _, _ = connection.exchange("PUT", f"/v1/stream/{name}", {"Content-Type": media_type})
        if status != 201:
            raise Failure(f"PUT {name}: {status}")
    seeds = itertools.count(options.seed * 1000)
    readers = threads_of(board, [
        (function, port, name, who, next(seeds)) for name in TYPES
        for function, count in ((follow, SSE_FOLLOWERS), (poll, POLLERS)) for who in range(count)])
    join(board, threads_of(board, [(write, port, name, writer, next(seeds))
                                   for name in TYPES for writer in range(WRITERS)]))
    for name in TYPES:
        status, _, _ = connection.exchange("POST", f"/v1/stream/{name}", {"Stream-Closed": "true"})
        if status != 204:
            raise Failure(f"closing {name}: {status}")
    join(board, readers)
    check(board, port)
    program.stop()
    print(f"{len(board.followed)} followers have seen {board.total} messages each, once and in order, "
          f"in {next(board.events)} events over {next(board.drops)} lost connections")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wald")
    parser.add_argument("backend")
    parser.add_argument("folder")
    parser.add_argument("--messages", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with program_of(options.wald, options.backend, options.folder,
                    "--long-poll-timeout", "2s") as program:
        run(program, options)
    print("passed")


if __name__ == "__main__":
    sys.exit(main())
