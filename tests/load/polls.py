#!/usr/bin/env python3
"""Measures long polls: so many that wait for other logs, and appends beside them.

    polls.py HOST PORT PID COUNT APPENDS

Twice, first without and then beside COUNT long polls, 100 for each of so many other logs: appends APPENDS
records to a log, one after the other; and then, as often, appends a record that a single poll waits for.
After that one append to each of the other logs answers its polls. Prints in one line: the memory of the
process (PID) for each poll; without and with polls the median, the largest time and the rate of the
appends, and the median and the largest time from an append until its poll was answered, with the median
of the processor time of both; and the time until the last of a log's 100 polls was answered. Nothing is asserted but that each poll is answered once,
with its record.
"""

import re
import select
import socket
import statistics
import sys
import time

EACH = 100


class Client:
    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.host = f"Host: {host}:{port}\r\n"

    def send(self, line, body=""):
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.socket.sendall(f"{line} HTTP/1.1\r\n{self.host}{length}\r\n{body}".encode())

    def receive(self, wanted=b" 200 "):
        answer = self.socket.recv(65536)
        if answer[8:13] != wanted:
            sys.exit(f"wanted{wanted.decode()}: {answer.decode()}")
        return answer

    def append(self, log):
        begin = time.monotonic()
        self.send(f"POST /logs/{log}", 128 * "x")
        self.receive()
        return time.monotonic() - begin

    def poll(self, log, offset):
        self.send(f"GET /logs/{log}/records?offset={offset}&wait=10m")


def status(pid, name):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(name + r":\s+(\d+) kB", file.read())[1]) * 1024


def in_progress(client):
    client.send("GET /stats")
    return int(re.search(rb'"requests_in_progress":(\d+)', client.receive())[1]) - 1


def milliseconds(times):
    return f"{statistics.median(times) * 1e3:.2f}/{max(times) * 1e3:.2f}"


def series(appender, log, appends):
    times = [appender.append(log) for _ in range(appends)]
    return f"{milliseconds(times)}/{appends / sum(times):.0f}"


def processor(pid):
    """Microseconds of the thread that serves."""
    with open(f"/proc/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1000


def relay(pid, appender, reader, waiting, appends):
    times, used = [], []
    appender.append("relay")
    appender.send("GET /logs/relay/offsets")
    first = int(re.search(rb'"committed_offset":(\d+)', appender.receive())[1])
    for offset in range(first, first + appends):
        reader.poll("relay", offset)
        while in_progress(appender) < waiting + 1:
            pass
        before = processor(pid)
        begin = time.monotonic()
        appender.send("POST /logs/relay", "x")
        reader.receive()
        times.append(time.monotonic() - begin)
        appender.receive()
        used.append(processor(pid) - before)
    return f"{milliseconds(times)}/{statistics.median(used):.0f}us"


def answer_all(appender, logs, polls):
    times = []
    for number, log in enumerate(logs):
        begin = time.monotonic()
        appender.append(log)
        for poll in polls[number * EACH : (number + 1) * EACH]:
            if b'"offset":1,' not in poll.receive():
                sys.exit("the answer of a poll is not its record")
        times.append(time.monotonic() - begin)
    return milliseconds(times)


def main(host, port, pid, count, appends):
    appender, reader = Client(host, port), Client(host, port)
    alone = series(appender, "beside", appends)
    relay_alone = relay(pid, appender, reader, 0, appends)
    logs = [f"polled-{number}" for number in range((count + EACH - 1) // EACH)]
    for log in logs:
        appender.append(log)
    before = status(pid, "VmRSS")
    polls = []
    for number in range(count):
        polls.append(Client(host, port))
        polls[-1].poll(logs[number // EACH], 1)
    while in_progress(appender) < count:
        time.sleep(0.05)
    bytes_each = (status(pid, "VmRSS") - before) / max(count, 1)
    beside = series(appender, "beside", appends)
    relay_beside = relay(pid, appender, reader, count, appends)
    print(
        f"polls={count} bytes_each={bytes_each:.0f} append_alone_ms={alone} "
        f"append_beside_ms={beside} relay_alone_ms={relay_alone} relay_beside_ms={relay_beside} "
        f"answered_100_ms={answer_all(appender, logs, polls)}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:]))
