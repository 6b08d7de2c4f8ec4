"""Exact bytes to the service and its answers back, with no HTTP library in between."""

import itertools
import json
import os
import socket
import ssl
import time

# Long enough for the slowest build on a busy machine; shorter than the service's own patience with
# a connection on which nothing happens, so that waiting for that counts as a failure.
PATIENCE_S = 30


# The certificate of the service, if it speaks TLS.
CERTIFICATE = os.environ.get("WIRE_CERTIFICATE")

# Where tests/openapi/exchanges.py finds what it holds against openapi.yaml.
EXCHANGES = os.environ.get("EXCHANGES")
numbers = itertools.count()


def connect(port):
    """A socket, with TLS on it if that is what the service speaks."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not CERTIFICATE:
        return plain
    context = ssl.create_default_context(cafile=CERTIFICATE)
    return context.wrap_socket(plain, server_hostname="localhost", suppress_ragged_eofs=True)


def record(sent, received):
    """A request and its answer, byte for byte."""
    folder = f"{EXCHANGES}/wire.{os.getpid()}.{next(numbers)}"
    os.mkdir(folder)
    for name, data in ("request", sent), ("response", received):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(data)


class Stuck(Exception):
    """Neither an answer nor the end of the connection has come."""


class Answer:
    """One answer: its status, its headers by lower-case name, and its body."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body

    def problem(self):
        """The type of the problem document it is, or None."""
        if self.headers.get("content-type") != "application/problem+json":
            return None
        document = json.loads(self.body)
        if document["status"] != self.status or len(document["detail"]) < 10:
            return None
        return document["type"]


class Connection:
    """A connection of its own. The far side may close it at any moment; then answers end. The first
    answer is recorded: which bytes of a malformed request a further one answers is not certain."""

    def __init__(self, port):
        self.sent = b"" if EXCHANGES else None
        self.socket = connect(port)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, *pieces):
        """Each piece by itself, so that it is likely to be received by itself."""
        for i, piece in enumerate(pieces):
            if i > 0:
                time.sleep(0.01)
            if self.sent is not None:
                self.sent += piece
            try:
                self.socket.sendall(piece)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
                return

    def end(self, after_s=0.02):
        """Nothing more is going to be sent. An end that arrives together with the last bytes is
        noticed by the library only when its patience ends, so it comes a little later."""
        time.sleep(after_s)
        try:
            if CERTIFICATE:  # Python would leave TLS, and read what is behind it
                with socket.socket(fileno=os.dup(self.socket.fileno())) as plain:
                    plain.shutdown(socket.SHUT_WR)
            else:
                self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def answer(self, has_body=True):
        """The next answer, or None at the end of the connection."""
        try:
            line = self.stream.readline()
            if not line.endswith(b"\n"):
                return None
            headers = {}
            head = line
            while True:
                header = self.stream.readline()
                head += header
                if header in (b"\r\n", b""):
                    break
                name, _, value = header.decode("latin-1").partition(":")
                headers[name.lower()] = value.strip()
            size = int(headers.get("content-length", 0)) if has_body else 0
            answer = Answer(int(line.split()[1]), headers, self.stream.read(size))
            if self.sent is not None and answer.status >= 200:
                record(self.sent, head + answer.body)
                self.sent = None
            return answer
        except TimeoutError as error:
            raise Stuck() from error
        except (ConnectionError, ssl.SSLEOFError):
            return None


def request(port, method, target, body=b"", headers=""):
    """A request as it should be. Further headers are lines with their ends."""
    with Connection(port) as connection:
        connection.send(
            f"{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body
        )
        answer = connection.answer(method != "HEAD")
    if answer is None:
        raise AssertionError(f"{method} {target}: no answer")
    return answer


class Service:
    """The service under test, looked at from outside."""

    def __init__(self, port, pid):
        self.port = port
        self.pid = pid
        self.began = self._began()

    def _began(self):
        with open(f"/proc/{self.pid}/stat", encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]

    def is_well(self):
        """The same process, alive and answering."""
        began = self._began()
        return began == self.began and request(self.port, "GET", "/livez").status == 200

    def offsets(self, log):
        """The positions of a log; None if there is none."""
        answer = request(self.port, "GET", f"/logs/{log}/offsets")
        return json.loads(answer.body) if answer.status == 200 else None

    def holdings(self):
        """Every log there is, with its positions."""
        logs = json.loads(request(self.port, "GET", "/logs?limit=10000").body)["logs"]
        return {log["name"]: self.offsets(log["name"]) for log in logs}

    def is_idle(self):
        """Whether nothing is left of earlier requests, which may take a moment."""
        for _ in range(200):
            stats = json.loads(request(self.port, "GET", "/stats").body)
            if stats["requests_in_progress"] == 1 and stats["appends_waiting"] == 0:
                return True
            time.sleep(0.01)
        return False

    def append(self, log, body):
        answer = request(self.port, "POST", f"/logs/{log}", body)
        if answer.status != 200:
            raise AssertionError(f"an append to {log} was answered with {answer.status}")

    def make_stream(self, name, kind, body):
        headers = f"Content-Type: {kind}\r\n"
        answer = request(self.port, "PUT", f"/v1/stream/{name}", body, headers)
        if answer.status != 201:
            raise AssertionError(f"the stream {name}: {answer.status}")

    def close_stream(self, name):
        answer = request(self.port, "POST", f"/v1/stream/{name}", headers="Stream-Closed: true\r\n")
        if answer.status != 204:
            raise AssertionError(f"closing {name}: {answer.status}")

    def has_method(self, target, method):
        return method in request(self.port, "OPTIONS", target).headers.get("allow", "")
