"""The program under test, asked over plain sockets; and what every answer is held against."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "openapi"))
sys.path.append(os.path.join(ROOT, "tests", "streams"))

# pylint: disable=wrong-import-position # they lie beside it
from contract import Contract, load  # noqa: E402
from exchanges import Checker, Exchange, parse_headers  # noqa: E402
from program import READY_S, Failure, Process  # noqa: E402

PATIENCE_S = 20  # whoever has got no answer by then is stuck


class Lost(Exception):
    """The connection was closed without a whole answer."""


class Answer:
    """status, headers (lower case to list of values), body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def header(self, name):
        return self.headers.get(name, [None])[0]

    def json(self):
        return json.loads(self.body)

    @property
    def problem(self):
        """The last word of its type, or an empty string."""
        if self.header("content-type") != "application/problem+json" or not self.body:
            return ""
        return self.json()["type"].rsplit("/", 1)[1]

    @property
    def changed_nothing(self):
        """Whether it is a promise that nothing has been done."""
        return 400 <= self.status < 500 or b"Nothing was changed" in self.body

    def __str__(self):
        return f"{self.status} {self.body[:300]!r}"


class Connection:
    """One connection, which is made when it is needed. `tls`: an SSLContext, or None for plain text."""

    def __init__(self, port, patience_s=PATIENCE_S, tls=None):
        self.port, self.patience_s, self.tls = port, patience_s, tls
        self.socket, self.buffer = None, b""

    def open(self):
        if self.socket is None:
            try:
                self.socket = socket.create_connection(("127.0.0.1", self.port), self.patience_s)
            except OSError as error:
                raise Lost(str(error)) from error
            self.buffer = b""
            if self.tls:
                self.shake_hands()

    def shake_hands(self):
        try:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname="localhost")
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise Failure(f"a certificate that nobody believes: {error}") from error
        except socket.timeout as error:
            self.close()
            raise Failure(f"no answer in {self.patience_s} s: a handshake") from error
        except OSError as error:
            self.close()
            raise Lost(str(error)) from error

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None

    def send(self, data):
        self.open()
        try:
            self.socket.sendall(data)
        except socket.timeout as error:
            raise Failure(f"nobody takes the request: {data[:80]!r}") from error
        except OSError:
            pass  # there may be an answer all the same

    def more(self, wanted):
        """Reads on; `wanted` says what for."""
        try:
            data = self.socket.recv(1 << 16)
        except socket.timeout as error:
            raise Failure(f"no answer in {self.patience_s} s: {wanted}") from error
        except OSError as error:
            self.close()
            raise Lost(str(error)) from error
        if not data:
            self.close()
            raise Lost("closed")
        self.buffer += data

    def until(self, mark, wanted):
        while mark not in self.buffer:
            self.more(wanted)
        taken, _, self.buffer = self.buffer.partition(mark)
        return taken

    def exactly(self, count, wanted):
        while len(self.buffer) < count:
            self.more(wanted)
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def head(self, wanted):
        """Status and headers of the next final answer."""
        while True:
            lines = self.until(b"\r\n\r\n", wanted).decode("latin-1").split("\r\n")
            match = re.match(r"HTTP/1\.[01] ([0-9]{3})", lines[0])
            if not match:
                raise Failure(f"not a status line: {lines[0]!r}")
            if match[1] != "100":
                return int(match[1]), parse_headers(lines[1:])

    def chunk(self, wanted):
        """The next one of a body in chunks; empty: the last."""
        size = int(self.until(b"\r\n", wanted), 16)
        data = self.exactly(size, wanted)
        self.until(b"\r\n", wanted)
        return data

    def answer(self, method, wanted):
        status, headers = self.head(wanted)
        body = b""
        if "chunked" in headers.get("transfer-encoding", []):
            while chunk := self.chunk(wanted):
                body += chunk
        elif method != "HEAD" and status not in (204, 304):
            body = self.exactly(int(headers.get("content-length", ["0"])[0]), wanted)
        if "close" in headers.get("connection", []):
            self.close()
        return Answer(status, headers, body)


def request_bytes(method, target, headers=None, body=None):
    head = f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
    for name, value in (headers or {}).items():
        head += f"{name}: {value}\r\n"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (body or b"")


class Judge:
    """Holds answers against openapi.yaml, and counts them."""

    def __init__(self):
        self.checker = Checker(Contract(load(os.path.join(ROOT, "openapi.yaml"))))
        self.counts = {}

    def judge(self, method, target, headers, answer, without_words=False):
        """`without_words`: for want of memory the status may have to do, and where a record is."""
        if without_words and target.startswith("/logs") and method in ("POST", "PUT") and not answer.body and \
                answer.status in (200, 201, 202) and answer.header("location"):
            self.count(f"{answer.status} without words")
            return
        if without_words and answer.status == 503 and not answer.body:
            self.count("503 without words")
            return
        exchange = Exchange()
        exchange.name = f"{method} {target}"
        exchange.method, exchange.target = method, target
        exchange.request_headers = {name.lower(): [value] for name, value in (headers or {}).items()}
        exchange.status, exchange.headers, exchange.body = answer.status, answer.headers, answer.body
        faults = self.checker.check(exchange)
        if faults:
            raise Failure(f"{method} {target}: {answer}: {'; '.join(faults)}")
        self.count(f"{answer.status} {answer.problem}".strip())

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def __str__(self):
        return ", ".join(f"{count} × {what}" for what, count in sorted(self.counts.items()))


class Program(Process):
    """One directory of logs, and the process that serves it, if there is one."""

    def __init__(self, wald, backend, parent, name="faults"):
        super().__init__(wald, backend, parent, name)
        self.tls = None  # an SSLContext, where it is told to speak TLS

    def launch(self, *arguments, environment=None, before=None):
        """`before` runs in the new process: limits."""
        surroundings = dict(os.environ, **(environment or {}))
        options = ":".join(filter(None, [surroundings.get("ASAN_OPTIONS"), "exitcode=99",
                                         "verify_asan_link_order=0", "allocator_may_return_null=1"]))
        surroundings["ASAN_OPTIONS"] = options
        with open(self.log, "wb") as log:
            # pylint: disable=consider-using-with,subprocess-popen-preexec-fn # it outlives this
            self.process = subprocess.Popen(
                [self.wald, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}",
                 "--io", self.backend, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=surroundings,
                preexec_fn=before)

    def wait_ready(self):
        """False: it ended instead."""
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            running = self.running()
            ready = re.search(r"event=ready .*listen=127\.0\.0\.1:(\d+) ", self.said())
            if ready and running:
                self.port = int(ready[1])
                return True
            if not running:
                return False
            time.sleep(0.003)
        raise Failure("the program neither became ready nor ended")

    def start(self, *arguments, environment=None, before=None):
        """Returns when it is ready. Exits with 77 where this backend cannot be had."""
        self.launch(*arguments, environment=environment, before=before)
        if self.wait_ready():
            return
        said = self.said()
        self.skip_without_backend(said)
        raise Failure(f"the program did not become ready: {said[-2000:]}")

    def ask(self, method, target, headers=None, body=None, patience_s=PATIENCE_S):
        """One request over a connection of its own."""
        connection = Connection(self.port, patience_s, self.tls)
        try:
            connection.send(request_bytes(method, target, headers, body))
            return connection.answer(method, f"{method} {target}")
        finally:
            connection.close()

    def stats(self):
        return self.ask("GET", "/stats").json()

    def files(self):
        """Descriptors. In the sandbox only root may look; others are told, with those of the question."""
        try:
            return len(os.listdir(f"/proc/{self.process.pid}/fd"))
        except PermissionError:
            return self.stats()["process"]["open_fds"] - (3 if self.tls else 1)

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
