"""
Looks for a way to hide a request in another: smuggling.py PORT [--variants N] [--seed S] [--only I]
[--prove]. Every variant is a request whose framing has been tampered with, and a second request, an
append to a log that nothing else writes to, where some reader could take it for a request of its own.

A strict reader of RFC 9112 (read_strictly below) says of every variant which requests it holds beyond
doubt. The service may run fewer. If it runs any other, that is a find: the offset of the log tells.
With --prove the service is one with faults put in on purpose, and finding nothing is the failure.
"""

import argparse
import random
import re
import select
import sys
import threading

from wire import Connection, request

WORKERS = 4
QUIET_S = 0.012
PATIENCE_S = 3
HOST = b"Host: localhost\r\n"
TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TEXT = rb"[\t\x20-\x7e\x80-\xff]*"


# ---- the strict reader ----


class Unclear(Exception):
    """From here on two readers could differ."""


class Reader:
    """Takes what it is asked for from the front of the bytes, or finds them unclear."""

    def __init__(self, data):
        self.data = data

    def take(self, pattern):
        found = re.match(pattern, self.data, re.DOTALL)
        if not found:
            raise Unclear()
        self.data = self.data[found.end():]
        return found

    def bytes(self, count):
        if len(self.data) < count:
            raise Unclear()
        self.data = self.data[count:]

    def fields(self):
        """Field lines up to the empty one, as (lower-case name, value)."""
        fields = []
        while not self.data.startswith(b"\r\n"):
            line = self.take(rb"(" + TOKEN + rb"):[ \t]*(" + TEXT + rb")\r\n")
            fields.append((line[1].lower(), line[2].rstrip(b" \t")))
        self.take(b"\r\n")
        return fields

    def chunked_body(self):
        while True:
            size = int(self.take(rb"([0-9A-Fa-f]+)(?:;" + TEXT + rb")?\r\n")[1], 16)
            if size == 0:
                self.fields()
                return
            self.bytes(size)
            self.take(b"\r\n")

    def request(self):
        """Its target, and whether the connection may go on behind it."""
        self.take(rb"(?:\r\n)*")
        line = self.take(rb"(" + TOKEN + rb") ([!-~]+) HTTP/1\.([01])\r\n")
        fields = self.fields()
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value for name, value in fields if name == b"transfer-encoding"]
        hosts = [value for name, value in fields if name == b"host"]
        if len(lengths) + len(codings) > 1 or len(hosts) > 1:
            raise Unclear()
        if line[3] == b"1" and not hosts:
            raise Unclear()
        if codings:
            if codings[0].lower() != b"chunked" or line[3] == b"0":
                raise Unclear()
            self.chunked_body()
        elif lengths:
            if not re.fullmatch(rb"[0-9]+", lengths[0]):
                raise Unclear()
            self.bytes(int(lengths[0]))
        closes = any(name == b"connection" and b"close" in value.lower() for name, value in fields)
        return line[1] + b" " + line[2], line[3] == b"1" and not closes


def read_strictly(data):
    """What the bytes ask for beyond doubt, request by request."""
    reader = Reader(data)
    requests = []
    try:
        goes_on = True
        while goes_on and reader.data:
            wanted, goes_on = reader.request()
            requests.append(wanted)
    except Unclear:
        pass
    return requests


# ---- the variants ----

LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\n", b"\0\r\n", b" \r\n", b"\t\n", b"\x0b\r\n", b""]
NAME_BEFORE = [b" ", b"\t", b"\0", b"\x0b", b"\r", b"\n", b"X: a\n", b"X: a\r", b"X: a\0\n", b"\0\r\n",
               b":", b": \r\n", b"X: a\r\n ", b"X:\r\n\t", b"X-", b"\x85", b"\xa0"]
NAME_BEHIND = [b" ", b"\t", b"\0", b"\x0b", b"\r", b"\n", b"\r\n ", b"_", b"\xa0", b" x", b";"]
VALUE_BEFORE = [b"", b"\t", b" \t ", b"\x0b", b"\0", b"\r", b"\n", b"\r\n ", b"\r\n\t", b"\xa0", b",",
                b'"', b"+", b"-", b"\n "]
VALUE_BEHIND = [b" ", b"\t", b"\0", b"\x0b", b"\r", b"\n", b",", b";", b"\r\n ", b"\0x", b"\xa0", b'"',
                b" x", b", identity", b";a=b", b"\r\n x"]
CODINGS = [b"chunked"] * 12 + [b"Chunked", b"CHUNKED", b"identity", b"gzip", b"xchunked", b"chunke",
           b"chunked, identity", b"identity, chunked", b"chunked, chunked", b"chu\r\n nked", b""]
NAMES_OF_CODING = [b"Transfer-Encoding"] * 8 + [b"transfer-encoding", b"TRANSFER-ENCODING",
                   b"Transfer_Encoding", b"Transfer-\r\n Encoding", b"Transfer", b"TE"]
NAMES_OF_LENGTH = [b"Content-Length"] * 8 + [b"content-length", b"CONTENT-LENGTH", b"Content_Length",
                   b"Content-\r\n Length", b"Content"]
EXTENSIONS = [b"", b"", b"", b";a", b";a=b", b';a="b"', b" ;a", b";\n", b";a\nb", b";a\rb", b";\0",
              b"; ", b";" + b"a" * 300, b"\0", b" ", b"\t", b";a\r\r", b"\r", b"\x0b"]
SIZE_BEFORE = [b"", b"", b"", b"", b"0", b"0" * 20, b"0x", b"+", b"-", b" ", b"\t", b"\n", b"\r\n"]
TRAILERS = [b"", b"", b"", b"X: a\r\n", b"X: a\n", b" X: a\r\n", b"X\r\n", b": a\r\n", b"\0\r\n",
            b"\0X: a\r\n", b"X: a\0\r\n", b"X: a\r\n b\r\n", b"X y: a\r\n", b"Content-Length: 3\r\n",
            b"X: a\rb\r\n", b"\n", b"\0\n"]


class Variant:
    """One tampered request and the one behind it, chosen by a seed of its own."""

    def __init__(self, seed, outer, canary):
        self.chance = random.Random(seed)
        # Most variants are right but for one thing or two.
        self.tampering = self.chance.choice([0.0, 0.03, 0.06, 0.06, 0.12, 0.25])
        self.hidden = b"POST " + canary + b" HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\nx"
        self.outer = outer

    def tamper(self, right, wrong):
        return self.chance.choice(wrong) if self.chance.random() < self.tampering else right

    def line_end(self):
        return self.tamper(b"\r\n", LINE_ENDS)

    def field(self, name, value):
        return (self.tamper(b"", NAME_BEFORE) + name + self.tamper(b"", NAME_BEHIND) + b":" +
                self.tamper(b" ", VALUE_BEFORE) + value + self.tamper(b"", VALUE_BEHIND) +
                self.line_end())

    def length(self, body):
        right = len(body)
        others = [0, 1, right + 1, max(right - 1, 0), right + len(self.hidden), right // 2, 10 * right]
        forms = ["%d", "%d", "%d", "0%d", "+%d", "-%d", "%x", "0x%x", "%d.0", "%d,%d", "%d, 0", "%d 0",
                 "%de0", "%d_", " %d", "%d\r\n 0", "18446744073709551616%d", "00000000000000000000%d"]
        form = self.tamper("%d", forms)
        number = self.tamper(right, others)
        text = form % ((number,) * form.count("%"))
        return self.field(self.tamper(b"Content-Length", NAMES_OF_LENGTH), text.encode())

    def coding(self):
        return self.field(self.tamper(b"Transfer-Encoding", NAMES_OF_CODING),
                          self.tamper(b"chunked", CODINGS))

    def chunk(self, data):
        size = self.tamper(len(data), [0, 1, len(data) + 1, max(len(data) - 1, 0), 2**64 + len(data),
                                       2**32 + len(data)])
        return (self.tamper(b"", SIZE_BEFORE) + b"%x" % size + self.tamper(b"", EXTENSIONS) +
                self.line_end() + data + self.line_end())

    def chunks(self):
        parts = [b"hello", self.hidden, b"0\r\n\r\n", b"0\r\n\r\n" + self.hidden, b"\r\n"]
        body = b"".join(self.chunk(self.chance.choice(parts)) for _ in range(self.chance.randint(0, 2)))
        return (body + self.tamper(b"", SIZE_BEFORE) + b"0" + self.tamper(b"", EXTENSIONS) +
                self.line_end() + self.tamper(b"", TRAILERS) + self.line_end())

    def body(self, chunked):
        if chunked:
            return self.chunks()
        return self.chance.choice([b"hello", b"x", self.hidden, b"0\r\n\r\n" + self.hidden,
                                   b"x" + self.hidden + b"\r\n", self.chunks()])

    def framing(self):
        """The headers of the framing, in any order, and a body that at least one of them fits."""
        kind = self.chance.choice(["length", "chunked", "chunked", "both", "two", "none"])
        if self.chance.random() >= 4 * self.tampering:
            kind = self.chance.choice(["length", "chunked"])
        body = self.body(kind in ("chunked", "both"))
        fields = {
            "length": lambda: [self.length(body)],
            "chunked": lambda: [self.coding()],
            "both": lambda: [self.length(self.chance.choice([body, body + self.hidden, b"0\r\n\r\n"])),
                             self.coding()],
            "two": lambda: [self.length(body), self.length(body + self.hidden)],
            "none": lambda: [],
        }[kind]()
        self.chance.shuffle(fields)
        return fields, body

    def bytes(self):
        fields, body = self.framing()
        fields.insert(self.chance.randint(0, len(fields)), HOST)
        if self.chance.random() < 0.2:
            fields.insert(self.chance.randint(0, len(fields)), self.field(b"X", b"a"))
        version = self.tamper(b"HTTP/1.1", [b"HTTP/1.0", b"HTTP/1.1 ", b"HTTP/1.2", b"http/1.1", b""])
        space = self.tamper(b" ", [b"  ", b"\t", b"\x0b", b" \t"])
        head = (self.tamper(b"", [b"\r\n", b"\n", b"\0\r\n", b"\r", b"\0\n", b" "]) + b"POST" + space +
                self.outer + b" " + version + self.line_end() + b"".join(fields) + self.line_end())
        between = self.tamper(b"", [b"\r\n", b"\n", b"\0\r\n", b"\0\n", b"\r", b" ", b"x", b"\0",
                                    b"GET /livez HTTP/1.1\r\nX: ", b"X: a\r\n"])
        return head + body + between + self.hidden


# ---- the service ----


def play(port, data, cut, answers):
    """Sends a variant, in one piece or in two, and waits until the service has done with it: so many
    answers are due, and more may come."""
    with Connection(port) as connection:
        connection.send(*([data[:cut], data[cut:]] if cut else [data]))
        for _ in range(answers):
            if connection.answer() is None:
                return
        while True:
            ready, _, _ = select.select([connection.socket], [], [], QUIET_S)
            if not ready:
                break
            try:
                if not connection.socket.recv(65536):
                    return
            except ConnectionError:
                return
        connection.end(0)
        connection.socket.settimeout(PATIENCE_S)
        try:
            while connection.socket.recv(65536):
                pass
        except (ConnectionError, TimeoutError):
            pass  # on a busy machine the end may go unnoticed, but by now all else has been read


class Worker(threading.Thread):
    """Plays its share of the variants against two logs of its own."""

    def __init__(self, options, number):
        super().__init__()
        self.options = options
        self.number = number
        self.outer = b"/logs/outer%d" % number
        self.canary = b"/logs/canary%d" % number
        self.played = self.clear = self.run_clear = 0
        self.finds = []
        self.error = None

    def run(self):
        try:
            self.work()
        except Exception as error:  # told by main(), in whose hands the exit status is
            self.error = error

    def count(self, log):
        answer = request(self.options.port, "GET", log.decode() + "/offsets")
        found = re.search(rb'"next_offset":(\d+)', answer.body)
        return int(found[1])

    def work(self):
        for log in (self.outer, self.canary):
            request(self.options.port, "POST", log.decode(), b"first")
        before = {log: self.count(log) for log in (self.outer, self.canary)}
        numbers = range(self.number, self.options.variants, WORKERS)
        if self.options.only is not None:
            numbers = [self.options.only] if self.options.only % WORKERS == self.number else []
        for i in numbers:
            self.try_variant(i, before)

    def try_variant(self, i, before):
        variant = Variant(f"{self.options.seed}:{i}", self.outer, self.canary)
        data = variant.bytes()
        wanted = read_strictly(data)
        cut = variant.chance.randrange(1, len(data)) if variant.chance.random() < 0.1 else 0
        play(self.options.port, data, cut, len(wanted))
        self.played += 1
        for log in (self.outer, self.canary):
            may = wanted.count(b"POST " + log)
            after = self.count(log)
            done = after - before[log]
            before[log] = after
            if log == self.canary:
                self.clear += may
                self.run_clear += min(done, may)
            if done > may:
                self.finds.append((i, log, done, may, data))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--variants", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", type=int)
    parser.add_argument("--prove", action="store_true")
    options = parser.parse_args()

    workers = [Worker(options, number) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        if worker.error:
            raise worker.error
    finds = [find for worker in workers for find in worker.finds]
    for i, log, done, may, data in finds[:2 if options.prove else 20]:
        print(f"--seed {options.seed} --only {i}: {log.decode()} was written to {done} times, "
              f"{may} of them beyond doubt: {data!r}")
    played = sum(worker.played for worker in workers)
    clear = sum(worker.clear for worker in workers)
    run_clear = sum(worker.run_clear for worker in workers)
    print(f"{played} variants: {clear} second requests beyond doubt, {run_clear} of them run; "
          f"{len(finds)} runs of hidden requests")
    # Refusing everything would be safe, and no test.
    if options.prove:
        sys.exit(0 if len(finds) >= played // 200 else "FAILED: the planted faults were not found")
    if options.only is None and (played < options.variants or run_clear < clear * 9 // 10):
        sys.exit("FAILED: too little was tried")
    if finds:
        sys.exit("FAILED")


main()
