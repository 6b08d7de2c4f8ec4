#!/usr/bin/env python3
"""Clients that wait for a log, and look closely at what becomes of their connections.

    park.py PORT PID SCENE
"""

import itertools
import json
import os
import resource
import select
import socket
import struct
import sys
import time

import wire
from wire import Connection, request

HOST = b"Host: localhost\r\n"
LONG = "wait=10m"


def get(target, headers=b"", method=b"GET", version=b"1.1"):
    return method + b" " + target.encode() + b" HTTP/" + version + b"\r\n" + HOST + headers + b"\r\n"


def poll(log, offset, wait=LONG):
    return get(f"/logs/{log}/records?offset={offset}&{wait}")


def want(condition, what):
    if not condition:
        sys.exit(f"FAILED: {what}")


def want_status(answer, status, what):
    want(answer is not None, f"{what}: no answer")
    want(answer.status == status, f"{what}: {answer.status}: {answer.body[:300]}")
    return answer


class Scene:
    def __init__(self, port, pid):
        self.port = port
        self.pid = pid

    def append(self, log, body):
        answer = request(self.port, "POST", f"/logs/{log}", body)
        want_status(answer, 200, f"append to {log}")

    def stats(self, connection=None):
        if connection is None:
            answer = request(self.port, "GET", "/stats")
        else:
            connection.send(get("/stats"))
            answer = connection.answer()
        return json.loads(want_status(answer, 200, "stats").body)

    def until(self, name, value, connection=None):
        for _ in range(1200):
            stats = self.stats(connection)
            if stats[name] == value:
                return stats
            time.sleep(0.05)
        sys.exit(f"FAILED: {name} is {stats[name]}, wanted {value}")

    def connect(self):
        return Connection(self.port)

    def leave(self, connection, reset=False):
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.stream.close()
        connection.socket.close()

    # ---- one connection ----

    def keep_alive(self):
        """Poll after poll on one connection, each answered once, with the record it waited for."""
        self.append("k", b"0")
        before = self.stats()
        with self.connect() as reader:
            for offset in range(1, 6):
                reader.send(poll("k", offset if offset % 2 else "latest"))
                self.until("connections_parked", 1)
                self.append("k", str(offset).encode())
                answer = want_status(reader.answer(), 200, "a poll")
                want(b'"offset":%d,' % offset in answer.body, f"record {offset}: {answer.body}")
                want(answer.body.count(b"\n") == 1, f"one record: {answer.body}")
                want("connection" not in answer.headers, "the connection ends")
                want(answer.headers["log-next-offset"] == str(offset + 1), "where to go on")
            reader.send(get("/livez"))
            want_status(reader.answer(), 200, "another request")
            after = self.stats(reader)
            own = after["connections_total"] - before["connections_total"]
            # ours, and one for each append and each question in between
            want(own == after["requests"] - before["requests"] - 5 - 2 + 1, f"{own} connections")
            want(after["connections_parked"] == 0, "nobody waits")
            sum_answers = sum(after["answers"].values())
            want(after["requests"] == sum_answers + after["requests_in_progress"], f"{after}")

    def polls(self):
        """Every kind of long poll, in every version; time runs out, or what it waits for comes."""
        self.append("p", b"0")
        request(self.port, "PUT", "/v1/stream/s", headers="Content-Type: text/plain\r\n")
        stream = "/v1/stream/s?live=long-poll&offset="
        with self.connect() as reader:
            for _ in range(2):
                for method in b"GET", b"HEAD":
                    reader.send(get("/logs/p/records?offset=1&wait=30ms", method=method))
                    answer = want_status(reader.answer(method == b"GET"), 200, "in vain")
                    want(answer.body == b"", f"a page of nothing: {answer.body}")
                reader.send(get("/logs/p/offsets?wait_for=2&timeout=30ms"))
                answer = want_status(reader.answer(), 200, "in vain")
                want(b'"committed_offset":1' in answer.body, f"{answer.body}")
            reader.send(get("/logs/p/offsets?wait_for=2"))
            self.until("connections_parked", 1)
            self.append("p", b"1")
            want(b'"committed_offset":2' in want_status(reader.answer(), 200, "news").body, "two")
            reader.send(get(stream + "now"))
            self.until("connections_parked", 1)
            text = "Content-Type: text/plain\r\n"
            request(self.port, "POST", "/v1/stream/s", b"hello", text)
            answer = want_status(reader.answer(), 200, "a stream")
            want(answer.body == b"hello", f"{answer.body}")
            tail = answer.headers["stream-next-offset"]
            reader.send(get(stream + tail))
            self.until("connections_parked", 1)
            request(self.port, "POST", "/v1/stream/s", headers="Stream-Closed: true\r\n")
            answer = want_status(reader.answer(False), 204, "the close of a stream")
            want(answer.headers["stream-closed"] == "true", f"{answer.headers}")
        for headers, stays in (b"", False), (b"Connection: keep-alive\r\n", True):
            with self.connect() as reader:
                for _ in range(2 if stays else 1):
                    reader.send(get("/logs/p/records?offset=2&wait=20ms", headers, version=b"1.0"))
                    want_status(reader.answer(), 200, "HTTP/1.0")
                if not stays:
                    want(reader.answer() is None, "HTTP/1.0 goes on")
        with self.connect() as reader:
            reader.send(get("/logs/p/records?offset=2&wait=20ms", b"Connection: close\r\n"))
            want_status(reader.answer(), 200, "close")
            want(reader.answer() is None, "it goes on")
        with self.connect() as reader:
            reader.send(get("/logs/p/records?offset=2&wait=50ms", b"Expect: 100-continue\r\n"))
            status = [reader.answer().status]
            if status == [100]:
                status.append(reader.answer().status)
            want(status in ([200], [100, 200]), f"a client that asks for leave: {status}")
            reader.send(get("/livez"))
            want_status(reader.answer(), 200, "after it")

    def pipelined(self):
        """What is sent with a poll, behind it, is answered behind it."""
        self.append("q", b"0")
        for behind in get("/livez"), get("/livez") + poll("q", "latest", "wait=20ms"), b"\r\n":
            with self.connect() as reader:
                reader.send(poll("q", "latest", "wait=50ms") + behind + get("/version"))
                for _ in range(behind.count(b"GET") + 2):
                    want_status(reader.answer(), 200, "pipelined")
        with self.connect() as reader:  # a part of the next request
            reader.send(poll("q", "latest", "wait=50ms") + b"GET /ver")
            want_status(reader.answer(), 200, "the first")
            reader.send(b"sion HTTP/1.1\r\n" + HOST + b"\r\n")
            want(b"version" in want_status(reader.answer(), 200, "the second").body, "which")

    def meanwhile(self):
        """What is sent while a poll waits is answered behind it, be it much or nonsense."""
        self.append("m", b"0")
        for behind, statuses in (
            (get("/version"), [200]),
            (get("/version") * 300, [200] * 300),
            (get("/livez") + get("/none"), [200, 404]),
            (b"POST /logs/m HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc", [200]),
            (b"G\0T / HTTP/1.1\r\n\r\n", [400]),
        ):
            with self.connect() as reader:
                reader.send(poll("m", "latest"))
                self.until("connections_parked", 1)
                reader.send(behind)
                self.append("m", b"1")
                want_status(reader.answer(), 200, "the poll")
                for status in statuses:
                    want_status(reader.answer(), status, f"behind it: {behind[:40]}")
                want(statuses != [400] or reader.answer() is None, "it goes on")

    def hang_up(self):
        """Who hangs up is noticed, and its place and its log are free."""
        self.append("h", b"0")
        for reset in False, True:
            readers = [self.connect() for _ in range(20)]
            for reader in readers:
                reader.send(poll("h", 1))
            self.until("connections_parked", len(readers))
            for reader in readers:
                self.leave(reader, reset)
            self.until("requests_in_progress", 1)
            stats = self.until("connections", 1)
            want(stats["connections_parked"] == 0, f"{stats}")
        # In the same moment as the news.
        for _ in range(20):
            readers = [self.connect() for _ in range(5)]
            for reader in readers:
                reader.send(poll("h", "latest"))
            self.until("connections_parked", len(readers))
            with self.connect() as writer:
                writer.send(b"POST /logs/h HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx")
                for reader in readers:
                    self.leave(reader, reset=True)
                want_status(writer.answer(), 200, "the append")
        self.until("requests_in_progress", 1)
        self.until("connections", 1)

    def half_close(self):
        """Who sends no more gets its answer at once: it could not be told from one who is gone."""
        self.append("e", b"0")
        with self.connect() as reader:
            reader.send(poll("e", 1))
            self.until("connections_parked", 1)
            reader.socket.shutdown(socket.SHUT_WR)
            want(want_status(reader.answer(), 200, "half closed").body == b"", "a record")
        self.until("connections", 1)
        # An append whose log is made first waits twice.
        writers = [self.connect() for _ in range(30)]
        for writer in writers:
            writer.send(b"".join(self.post("/logs/new", b"x")))
            writer.socket.shutdown(socket.SHUT_WR)
        for writer in writers:
            want_status(writer.answer(), 200, "an append, half closed")
            self.leave(writer)
        want(self.end_of("new") == len(writers), "not every record is there")

    def deleted(self):
        """The log is deleted and made anew: that is another one."""
        self.append("d", b"0")
        with self.connect() as reader:
            reader.send(poll("d", 1))
            self.until("connections_parked", 1)
            want_status(request(self.port, "DELETE", "/logs/d"), 204, "the deletion")
            self.append("d", b"0")
            self.append("d", b"1")
            answer = want_status(reader.answer(), 404, "a poll of a log that is gone")
            want(answer.problem() == "/problems/log-not-found", f"{answer.body}")
            reader.send(poll("d", 1))
            want(b'"data":"1"' in want_status(reader.answer(), 200, "the new one").body, "which")

    # ---- many ----

    def crowd(self):
        """All who wait for one log are answered by one commit, and their connections go on."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        count = min(2000, hard // 5 - 16)
        wire.EXCHANGES = None
        self.append("c", b"0")
        readers = [self.connect() for _ in range(count)]
        for turn in range(2):
            for reader in readers:
                reader.send(poll("c", 1 + turn))
            stats = self.until("connections_parked", count)
            want(stats["requests_in_progress"] == count + 1, f"{stats}")
            want(stats["connections"] == count + 1, f"{stats}")
            self.append("c", b"x")
            for reader in readers:
                answer = want_status(reader.answer(), 200, "one of many")
                want(b'"offset":%d,' % (1 + turn) in answer.body, f"{answer.body}")
        for reader in readers:
            reader.__exit__()
        self.until("connections", 1)

    # ---- settings ----

    def headers(self):
        self.append("o", b"0")
        origin = b"Origin: https://app.example.com\r\n"
        with self.connect() as reader:
            for _ in range(2):
                reader.send(get("/logs/o/records?offset=1&wait=20ms", origin))
                answer = want_status(reader.answer(), 200, "a page's poll")
                allowed = answer.headers.get("access-control-allow-origin")
                want(allowed == "https://app.example.com", f"{answer.headers}")
            reader.send(get("/logs/o/records?offset=1&wait=20ms"))
            answer = want_status(reader.answer(), 200, "nobody's poll")
            want("access-control-allow-origin" not in answer.headers, f"{answer.headers}")
            many = b"".join(b"A-%d: %s\r\n" % (i, b"v" * 80) for i in range(30))
            reader.send(get("/logs/o/records?offset=1&wait=20ms", many + b"Cookie: a=b; c=d\r\n"))
            want_status(reader.answer(), 200, "a long head")

    def limit(self):
        self.append("l", b"0")
        with self.connect() as fourth:
            fourth.send(get("/livez"))
            want_status(fourth.answer(), 200, "the first to come")
            readers = [self.connect() for _ in range(3)]
            for reader in readers:
                reader.send(poll("l", 1))
            self.until("connections_parked", 3, fourth)
            with self.connect() as fifth:
                fifth.send(get("/livez"))
                want(not select.select([fifth.socket], [], [], 0.5)[0], "a fifth is served")
                append = b"POST /logs/l HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
                fourth.send(append)
                want_status(fourth.answer(), 200, "an append among them")
                for reader in readers:
                    want_status(reader.answer(), 200, "a poll")
                want(not select.select([fifth.socket], [], [], 0.2)[0], "a fifth is served")
                for reader in readers:
                    reader.send(poll("l", 2))
                self.until("connections_parked", 3, fourth)
                readers[0].__exit__()
                want_status(fifth.answer(), 200, "the fifth, in place of one that hung up")
                want(self.stats(fourth)["connections"] == 4, "four")
                for reader in readers[1:]:
                    reader.__exit__()
        self.until("connections", 1)

    def alone(self):
        self.append("a", b"0")
        with self.connect() as reader:
            for _ in range(3):
                reader.send(poll("a", 1, "wait=100ms"))
                want_status(reader.answer(), 200, "the only one")

    def held(self):
        """More appends than are held without being suspended; some clients reset their connections,
        some hang up, and the loop sleeps."""
        wire.EXCHANGES = None
        count = 600
        want_status(request(self.port, "PUT", "/logs/w"), 201, "the log")
        with self.connect() as asker:
            writers = [self.connect() for _ in range(count)]
            for number, writer in enumerate(writers):
                key = b"" if number % 2 else b"Idempotency-Key: k-%d\r\n" % number
                writer.send(
                    b"POST /logs/w HTTP/1.1\r\n" + HOST + key + b"Content-Length: 1\r\n\r\nx"
                )
            self.until("pending_entries", count, asker)
            for number, writer in enumerate(writers):
                if number % 3 == 0:
                    self.leave(writer, reset=number % 2 == 0)
            self.stats(asker)
            before = self.stats(asker)["turns"]
            time.sleep(0.5)
            stats = self.stats(asker)
            turns = stats["turns"] - before
            want(stats["requests_in_progress"] == count + 1, f"too late to look: {stats}")
            want(turns < 100, f"{turns} turns with nothing to do")
            for number, writer in enumerate(writers):
                if number % 3 > 0:
                    want_status(writer.answer(), 200, "an append")
                    self.leave(writer)
            self.until("requests_in_progress", 1, asker)
            asker.send(get("/logs/w/offsets"))
            body = want_status(asker.answer(), 200, "the log").body
            want(json.loads(body)["committed_offset"] == count, f"not every record is there: {body}")

    # ---- whole requests whose clients do not wait ----

    def send_and_leave(self, requests):
        """Each on a connection of its own, which is closed or, once it has been read, reset."""
        wire.EXCHANGES = None
        with self.connect() as asker:
            before = self.stats(asker)
            resets = []
            for number, parts in enumerate(requests):
                client = self.connect()
                client.send(b"".join(parts))
                if number % 2 and len(parts[1]) < 1000:  # of a larger one, a part may be lost
                    resets.append(client)
                else:
                    self.leave(client)
            for _ in range(1200):
                stats = self.stats(asker)
                asked = stats["requests"] - before["requests"]
                before["requests"] += 1
                if asked > len(requests):
                    break
            want(asked == len(requests) + 1, f"{asked - 1} of {len(requests)} requests have come")
            for client in resets:
                self.leave(client, reset=True)
            stats = self.until("requests_in_progress", 1, asker)
            left = stats["requests_aborted"] - before["requests_aborted"]
            print(f"{left} of {len(requests)} clients were gone before their answer")
            self.until("connections", 1, asker)

    def post(self, target, body, *headers, method="POST"):
        head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
        return (head + "".join(line + "\r\n" for line in headers) + "\r\n").encode(), body

    def end_of(self, log):
        answer = want_status(request(self.port, "GET", f"/logs/{log}/offsets"), 200, log)
        return json.loads(answer.body)["committed_offset"]

    LEAVERS = 120

    def gone(self):
        """The log is made for the request; what its headers say holds for it, whoever is there."""
        lines = "Content-Type: application/x-ndjson"
        text = "Content-Type: text/plain"
        requests = []
        for number in range(self.LEAVERS):
            requests += [
                self.post(f"/logs/g-{number}", b"a\nb\nc\n", lines, f'Idempotency-Key: "k-{number}"'),
                self.post(f"/v1/stream/t-{number}", b"hello", text, "Stream-Closed: true", method="PUT"),
            ]
        requests += [self.post("/logs/large", b"x" * 900000) for _ in range(10)]
        requests += [self.post("/logs/bad", b"", lines) for _ in range(10)]
        self.send_and_leave(requests)
        want(self.end_of("large") == 10, "not every large record is there")
        for number in range(self.LEAVERS):
            want(self.end_of(f"g-{number}") == 3, f"not every line is in g-{number}")
            answer = request(
                self.port,
                "POST",
                f"/logs/g-{number}",
                b"a\nb\nc\n",
                f'{lines}\r\nIdempotency-Key: "k-{number}"\r\n',
            )
            want_status(answer, 200, "the retry")
            want(answer.headers.get("idempotency-replayed") == "true", f"it was new: {answer.body}")
            answer = want_status(request(self.port, "GET", f"/v1/stream/t-{number}"), 200, "stream")
            want(answer.body == b"hello", f"t-{number}: {answer.body}")
            want(answer.headers["content-type"] == "text/plain", f"{answer.headers}")
            want(answer.headers.get("stream-closed") == "true", f"{answer.headers}")
        want_status(request(self.port, "GET", "/logs/bad/offsets"), 404, "an empty append")

    def gone_again(self):
        """The log of gone() is there, and has to be opened."""
        requests = []
        for number in range(self.LEAVERS):
            requests += [
                self.post(f"/logs/g-{number}", b"d", f'If-Match: "{3 + number % 3 // 2}"'),
                self.post(f"/logs/t-{number}", b"", method="DELETE"),
            ]
        self.send_and_leave(requests)
        for number in range(self.LEAVERS):
            end = 3 + (number % 3 < 2)
            want(self.end_of(f"g-{number}") == end, f"g-{number} does not end at {end}")
            answer = request(self.port, "GET", f"/v1/stream/t-{number}")
            want_status(answer, 404, "a stream that was deleted")

    # ---- the end ----

    def drain(self):
        self.append("z", b"0")
        readers = [self.connect() for _ in range(60)]
        for number, reader in enumerate(readers):
            behind = get("/livez") if number >= 50 else b""
            reader.send(poll("z", 1) + behind)
        for number, reader in enumerate(readers):
            answer = want_status(reader.answer(), 200, "at the end")
            want(answer.body == b"", f"{answer.body}")
            want(answer.headers.get("connection", "").lower() == "close", f"{answer.headers}")
            want(reader.answer() is None, "it goes on")


def main():
    wire.numbers = itertools.count(os.getpid() * 1000000)  # there are others beside this one
    scene = Scene(int(sys.argv[1]), int(sys.argv[2]))
    getattr(scene, sys.argv[3].replace("-", "_"))()
    print(f"park {sys.argv[3]}: fine")


if __name__ == "__main__":
    main()
