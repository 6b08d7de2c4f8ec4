#!/usr/bin/env python3
"""What TLS has to stand: tls.py SCENARIO PORT ARGUMENT..., with WIRE_CERTIFICATE set.

Each scenario fails with a sentence, or says nothing.
"""

import os
import random
import socket
import ssl
import struct
import sys
import threading
import time

from wire import CERTIFICATE, PATIENCE_S, connect, request

HELLO = bytes.fromhex("16030100c8010000c40303")  # how a ClientHello begins


def fail(text):
    sys.exit(text)


def raw(port):
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def read_to_end(client, bytes_max=1 << 24):
    data = b""
    try:
        while len(data) < bytes_max:
            got = client.recv(65536)
            if not got:
                break
            data += got
    except (ConnectionError, ssl.SSLError):
        pass
    return data


def answer_of(client, head):
    client.sendall(head)
    return read_to_end(client)


def alive(port):
    answer = request(port, "GET", "/livez")
    if answer.status != 200:
        fail(f"the service is not well: {answer.status} {answer.body}")


def garbage(port):
    """Whatever comes, the connection ends, and others go on."""
    rng = random.Random(1)
    pieces = [
        b"GET /logs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\0" * 100,
        HELLO,
        HELLO + bytes(200),
        struct.pack(">BHH", 22, 0x0301, 0xFFFF) + bytes(70000),
        struct.pack(">BHH", 21, 0x0303, 2) + b"\x02\x28",
        struct.pack(">BHH", 23, 0x0303, 5) + b"hello",
        struct.pack(">BHH", 22, 0x0300, 4) + b"\x01\0\0\0",
        b"\x80\x2e\x01\0\x02" + bytes(60),
    ]
    pieces += [rng.randbytes(rng.randrange(1, 300)) for _ in range(150)]
    for piece in pieces:
        with raw(port) as client:
            try:
                client.sendall(piece)
                client.shutdown(socket.SHUT_WR)
            except OSError:
                continue
            answer = read_to_end(client)
            if b"HTTP/1.1" in answer:
                fail(f"plain text was answered: {piece[:40]!r}: {answer[:100]!r}")
    alive(port)
    # The same behind a handshake: records that are none.
    for _ in range(20):
        client = connect(port)
        plain = socket.socket(fileno=os.dup(client.fileno()))
        plain.settimeout(PATIENCE_S)
        try:
            plain.sendall(rng.randbytes(rng.randrange(1, 200)))
            plain.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        read_to_end(plain)
        plain.close()
        client.close()
    alive(port)


def late(port):
    """Who does not finish the handshake is cut off, also if he goes on dripping."""
    idle, half = raw(port), raw(port)
    half.sendall(HELLO)
    dripping = raw(port)
    end = time.monotonic() + PATIENCE_S
    try:
        for byte in HELLO + bytes(1000):
            dripping.sendall(bytes([byte]))
            time.sleep(0.1)
            if time.monotonic() > end:
                fail("a handshake that drips is never cut off")
    except OSError:
        pass
    for client in idle, half:
        if read_to_end(client):
            fail("an answer to half a handshake")
    # A handshake is not the end of deadlines: a request has one, as without TLS.
    client = connect(port)
    answer = answer_of(client, b"GET /logs HTTP/1.1\r\nHost: ")
    if not answer.startswith(b"HTTP/1.1 408 "):
        fail(f"half a request: {answer[:100]!r}")
    alive(port)


def cut(port):
    """A body that is cut is no body, with a goodbye or without, and nothing of it is kept."""
    head = b"POST /logs/cut HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n12345"
    for goodbye in True, False:
        client = connect(port)
        client.sendall(head)
        if goodbye:
            try:
                client.settimeout(1)
                client.unwrap()
            except (OSError, ssl.SSLError):
                pass
        client.close()
    deadline = time.monotonic() + PATIENCE_S
    while request(port, "GET", "/logs/cut").status != 404:
        if time.monotonic() > deadline:
            fail("half a body was kept")
        time.sleep(0.1)


class Writer(threading.Thread):
    """Appends over one connection, as long as it is told to."""

    def __init__(self, port):
        super().__init__()
        self.client = connect(port)
        self.serial = self.client.getpeercert()["serialNumber"]
        self.count, self.trouble, self.ending = 0, None, False
        self.head = b"POST /logs/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"

    def run(self):
        stream = self.client.makefile("rb")
        try:
            while not self.ending:
                self.client.sendall(self.head)
                line = stream.readline()
                if not line.startswith(b"HTTP/1.1 200"):
                    self.trouble = f"answered {line!r}"
                    return
                size = 0
                while (header := stream.readline()) != b"\r\n":
                    if header.lower().startswith(b"content-length:"):
                        size = int(header.split(b":")[1])
                stream.read(size)
                self.count += 1
        except OSError as error:
            self.trouble = str(error)


def reload(port, pid, folder, log):
    """Certificates are replaced while connections append: none of them is lost, and new ones get the
    new certificate. FOLDER has pairs 0.cert, 0.key ... that all are signed by WIRE_CERTIFICATE."""
    port, pid = int(port), int(pid)
    writers = [Writer(port) for _ in range(8)]
    for writer in writers:
        writer.start()
    serials = {writer.serial for writer in writers}
    for i in range(1, 9):
        for kind in "cert", "key":
            os.replace(f"{folder}/{i}.{kind}", f"{folder}/{kind}.pem")
        os.kill(pid, 1)
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with open(log, encoding="utf-8") as file:
                if file.read().count("event=certificate_read ") >= i:
                    break
            if time.monotonic() > deadline:
                fail("a new certificate was not read")
            time.sleep(0.02)
        with connect(port) as client:
            serials.add(client.getpeercert()["serialNumber"])
        if len(serials) != i + 1:
            fail(f"new connections have {len(serials)} certificates after {i} reloads")
    for writer in writers:
        writer.ending = True
    for writer in writers:
        writer.join(PATIENCE_S)
        if writer.trouble or writer.count == 0:
            fail(f"an old connection: {writer.trouble}, after {writer.count} appends")


def greedy(port, path, size):
    """A client that takes nothing for long is cut off; one that is slow gets all of it."""
    port, size = int(port), int(size)
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()

    def small(room):
        plain = socket.socket()
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        plain.settimeout(PATIENCE_S)
        plain.connect(("127.0.0.1", port))
        context = ssl.create_default_context(cafile=CERTIFICATE)
        return context.wrap_socket(plain, server_hostname="localhost")

    stuck, slow = small(4096), small(262144)
    stuck.sendall(head)
    slow.sendall(head)
    taken = b""
    begin = time.monotonic()
    while time.monotonic() - begin < 1:
        taken += slow.recv(16384)
        time.sleep(0.05)
    taken += read_to_end(slow)
    body = taken.partition(b"\r\n\r\n")[2]
    if len(body) != size:
        fail(f"a slow client got {len(body)} bytes of {size}")
    time.sleep(max(0, begin + 8 - time.monotonic()))  # it may take nothing for 5 s
    rest = read_to_end(stuck).partition(b"\r\n\r\n")[2]
    if len(rest) >= size:
        fail("a client that took nothing for longer than it may was served")
    alive(port)


def crowd(port, count):
    """So many at a time from one address: handshakes count."""
    port, count = int(port), int(count)
    idle = [raw(port) for _ in range(count)]
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            with raw(port) as client:
                client.settimeout(1)
                if client.recv(1) == b"":
                    break
        except ConnectionError:
            break
        except TimeoutError:
            pass
        if time.monotonic() > deadline:
            fail("one more than there may be is not closed")
    for client in idle:
        client.close()
    while True:
        try:
            alive(port)
            return
        except (AssertionError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def stop(port, pid, path, size):
    """What was answered before a stop is taken after it, whole."""
    port, pid, size = int(port), int(pid), int(size)
    client = connect(port)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    first = client.recv(1000)
    os.kill(pid, 15)
    time.sleep(0.3)
    body = (first + read_to_end(client)).partition(b"\r\n\r\n")[2]
    if len(body) != size:
        fail(f"{len(body)} bytes of {size} arrived of an answer that was begun before a stop")


if __name__ == "__main__":
    scenario = {
        "garbage": lambda port: garbage(int(port)),
        "late": lambda port: late(int(port)),
        "cut": lambda port: cut(int(port)),
        "reload": reload,
        "greedy": greedy,
        "crowd": crowd,
        "stop": stop,
    }[sys.argv[1]]
    scenario(*sys.argv[2:])
