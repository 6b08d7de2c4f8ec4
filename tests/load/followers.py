#!/usr/bin/env python3
"""Measures followers: so many streams of events of one log, and appends beside them.

    followers.py HOST PORT PID LOG COUNT APPENDS

Opens COUNT streams of LOG from its end, appends APPENDS records one after the other, and prints, in
one line: the memory of the process (PID) for each follower; for the appends without and with
followers the median and the largest time to the receipt; and for the fan-out the median and the
largest time from the beginning of an append until the last follower had it. Nothing is asserted but
that each follower gets each record once and in order.
"""

import re
import select
import socket
import statistics
import sys
import time

EVENT = re.compile(rb"id: (\d+)\n")


class Follower:
    def __init__(self, host, port, log):
        self.socket = socket.create_connection((host, port))
        self.socket.sendall(
            f"GET /logs/{log}/records?offset=latest HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Accept: text/event-stream\r\n\r\n".encode()
        )
        self.socket.setblocking(False)
        self.tail = b""
        self.next = None

    def read(self):
        """The number of records that came."""
        data = self.tail + self.socket.recv(1 << 20)
        end = data.rfind(b"\n\n") + 2
        self.tail = data[end:] if end >= 2 else data
        count = 0
        for found in EVENT.finditer(data[:end]):
            offset = int(found[1])
            if self.next not in (None, offset):
                sys.exit(f"a follower got {offset} and waited for {self.next}")
            self.next = offset + 1
            count += 1
        return count


class Appender:
    def __init__(self, host, port, log):
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = (
            f"POST /logs/{log} HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Content-Length: 128\r\n\r\n" + 128 * "x"
        ).encode()

    def append(self):
        begin = time.monotonic()
        self.socket.sendall(self.request)
        answer = self.socket.recv(65536)
        if not answer.startswith(b"HTTP/1.1 200 "):
            sys.exit(answer.decode())
        return time.monotonic() - begin


def memory(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) * 1024


def fan_out(poll, followers, appender):
    """How long one append takes to be answered, and to be with all."""
    begin = time.monotonic()
    receipt = appender.append()
    missing = len(followers)
    while missing > 0:
        events = poll.poll(30)
        if not events:
            sys.exit(f"{missing} followers have waited for 30 s")
        for fd, _ in events:
            missing -= followers[fd].read()
    return receipt, time.monotonic() - begin


def milliseconds(times):
    return f"{statistics.median(times) * 1e3:.1f}/{max(times) * 1e3:.1f}"


def main(host, port, pid, log, count, appends):
    appender = Appender(host, port, log)
    alone = [appender.append() for _ in range(appends)]
    before = memory(pid)
    poll = select.epoll()
    followers = {}
    for _ in range(count):
        follower = Follower(host, port, log)
        followers[follower.socket.fileno()] = follower
        poll.register(follower.socket, select.EPOLLIN)
    seen = set()  # each has its head: all of them follow
    while len(seen) < count:
        for fd, _ in poll.poll(30):
            followers[fd].read()
            seen.add(fd)
    bytes_each = (memory(pid) - before) / count
    times = [fan_out(poll, followers, appender) for _ in range(appends)]
    print(
        f"followers={count} bytes_each={bytes_each:.0f} "
        f"append_alone_ms={milliseconds(alone)} "
        f"append_beside_ms={milliseconds([receipt for receipt, _ in times])} "
        f"fan_out_ms={milliseconds([whole for _, whole in times])} "
        f"bytes_each_behind={(memory(pid) - before) / count:.0f}"
    )


if __name__ == "__main__":
    if len(sys.argv) != 7:
        sys.exit(__doc__)
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], *map(int, sys.argv[5:]))
