"""What turns.sh does to the program: a crowd of requests of one kind that each take long, and one small
append behind them. PORT PID. While the program is stopped all of them arrive; the append has to be
answered while some of the crowd still wait."""

import gzip
import os
import select
import signal
import socket
import sys
import time

CROWD = 32
LINES = "Content-Type: application/x-ndjson\r\n"

port, pid = int(sys.argv[1]), int(sys.argv[2])


def connect():
    connection = socket.create_connection(("127.0.0.1", port))
    connection.settimeout(120)
    return connection


def send(connection, method, target, headers="", body=b""):
    if method == "POST":
        headers += f"Content-Length: {len(body)}\r\n"
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
    connection.sendall(head.encode() + body)


def status(connection):
    """Of the answer; the rest of it, which may be long, is left."""
    return int(connection.recv(12, socket.MSG_WAITALL).split()[1])


def append(body, headers=""):
    connection = connect()
    send(connection, "POST", "/logs/large", headers, body)
    if status(connection) != 200:
        sys.exit("the append of many records failed")


def answered(crowd):
    return len(select.select(crowd, [], [], 0)[0])


def see(what, crowd, meanwhile):
    small = connect()
    meanwhile(small)
    if status(small) != 200:
        sys.exit(f"{what}: the append failed")
    before = answered(crowd)
    print(f"{what}: {before} of {len(crowd)} were answered before the append")
    for connection in crowd:
        if status(connection) != 200:
            sys.exit(f"{what}: one of the crowd failed")
        connection.close()
    return before < len(crowd) * 3 // 4


def together(what, method, target, headers="", body=b""):
    crowd = [connect() for _ in range(CROWD)]
    time.sleep(0.2)  # all of them are accepted

    def meanwhile(small):
        os.kill(pid, signal.SIGSTOP)
        for connection in crowd:
            send(connection, method, target, headers, body)
        send(small, "POST", "/logs/small", "", b"x")
        os.kill(pid, signal.SIGCONT)

    return see(what, crowd, meanwhile)


def after_one_commit():
    crowd = [connect() for _ in range(CROWD)]
    for connection in crowd:
        target = "/logs/large/records?offset=65536&wait=30s&limit=10000&max_bytes=4194304"
        send(connection, "GET", target)
    time.sleep(0.5)  # all of them wait

    def meanwhile(small):
        append(many, LINES)
        send(small, "POST", "/logs/small", "", b"x")

    return see("pages that waited for one commit", crowd, meanwhile)


many = (b"a" * 200 + b"\n") * 65536
append(many, LINES)
packed = gzip.compress(b"a" * 200 + b"\n" * (12 << 20))

fine = [
    together("records in a large frame", "GET", "/logs/large/records/65535"),
    together("small bodies that inflate", "POST", "/logs/packed",
             LINES + "Content-Encoding: gzip\r\nIdempotency-Key: k\r\n", packed),
    after_one_commit(),
]
sys.exit(0 if all(fine) else 1)
