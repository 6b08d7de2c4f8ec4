"""One client of /v1/stream and its family of names: what it asks for, and what it was answered."""

import collections
import http.client
import json
import random
import time
from dataclasses import replace

from oracle import Answer, Operation, Oracle, content_read, holders, is_ghost
from program import Failure

PATIENCE_S = 30
CONTENT_MAX = 30000
# One family in eight has streams that take a while to be copied for a fork.
LARGE_CONTENT_MAX = 6000000
PADS = (0, 0, 7, 60, 900)
LARGE_PADS = (0, 900, 100000, 300000)
TYPES = ("text/plain", "application/octet-stream", "application/json")
LONG_TTL_S = 5000
HISTORY = 25


class Lost(Exception):
    """The connection broke before the answer was there."""

    def __init__(self, was_sent):
        super().__init__()
        self.was_sent = was_sent


class Connection:
    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def exchange(self, method, target, headers=(), body=None):
        """Status, headers with names in lower case, body."""
        connected = False
        try:
            if self.connection.sock is None:
                self.connection.connect()
            connected = True
            self.connection.request(method, target, body, dict(headers))
            response = self.connection.getresponse()
            body = response.read()
        except TimeoutError as error:
            raise Failure(f"{method} {target}: no answer after {PATIENCE_S} s") from error
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise Lost(connected) from error
        return response.status, {name.lower(): value for name, value in response.getheaders()}, body

    def close(self):
        self.connection.close()


def headers_of(operation):
    headers = {}
    if operation.type:
        headers["Content-Type"] = operation.type
    if operation.close:
        headers["Stream-Closed"] = "true"
    if operation.seq is not None:
        headers["Stream-Seq"] = operation.seq
    if operation.producer:
        who, epoch, number = operation.producer
        headers.update({"Producer-Id": who, "Producer-Epoch": str(epoch),
                        "Producer-Seq": str(number)})
    if operation.ttl is not None:
        headers["Stream-TTL"] = str(operation.ttl)
    if operation.expires:
        headers["Stream-Expires-At"] = operation.expires[0]
    if operation.source:
        headers["Stream-Forked-From"] = f"/v1/stream/{operation.source}"
        if operation.mark:
            headers["Stream-Fork-Offset"] = operation.mark[0]
        if operation.sub:
            headers["Stream-Fork-Sub-Offset"] = str(operation.sub)
    return headers


def body_of(operation, media_type):
    if not operation.items:
        return None
    if media_type == "application/json":
        return b"[" + b",".join(operation.items) + b"]"
    return b"".join(operation.items)


METHODS = {"create": "PUT", "fork": "PUT", "append": "POST", "delete": "DELETE", "head": "HEAD"}


class Family:
    """Used by one thread at a time."""

    def __init__(self, number, seed):
        self.number = number
        self.random = random.Random(f"{seed}.{number}")
        self.large = number % 8 == 0
        self.names = [f"f{number}-{letter}" for letter in "abcd"]
        self.expiring = f"f{number}-t"
        self.oracle = Oracle()
        self.connection = None
        self.lost = None
        self.operations = 0
        self.answered = 0
        self.plant = None
        self.history = collections.deque(maxlen=HISTORY)

    # ---- asking ----

    def connect(self, port):
        if self.connection:
            self.connection.close()
        self.connection = Connection(port)

    def perform(self, operation):
        """Sends it and holds the answer against what is allowed; raises Lost where there is none."""
        sent = time.time()
        try:
            answer = self.send(operation)
        except Lost as lost:
            self.history.append((operation, "lost" if lost.was_sent else "not sent"))
            if lost.was_sent:
                self.oracle.lose(operation, sent, time.time())
                self.lost = operation
            raise
        self.history.append((operation, f"{answer.status} "
                             f"{answer.headers.get('stream-next-offset', '')}"))
        reason = self.oracle.observe(operation, answer, sent, time.time())
        if reason:
            raise Failure(f"{operation.kind} {operation.name}: {reason}\n{self.recent(operation.name)}")
        self.answered += 1
        return answer

    def recent(self, name):
        return "\n".join(f"  {asked.kind} {asked.name} #{asked.number} {headers_of(asked)} "
                         f"+{sum(map(len, asked.items))}: {answer}" for asked, answer in self.history
                         if name in (asked.name, asked.source))

    def send(self, operation):
        if self.plant:
            operation, invented = self.plant.disturb(operation, self.state.get(operation.name))
            if invented:
                return invented
        target = f"/v1/stream/{operation.name}"
        if operation.kind == "get":
            return self.read(target)
        # A fork inherits the type; only the form of a body depends on it.
        media_type = operation.type or self.type_of(operation.source)
        status, headers, _ = self.connection.exchange(
            METHODS[operation.kind], target, headers_of(operation), body_of(operation, media_type))
        return Answer(status, headers)

    def type_of(self, name):
        stream = self.state.get(name)
        return stream.type if stream else None

    def read(self, target):
        pages, offset = [], "-1"
        for _ in range(1000):
            status, headers, body = self.connection.exchange("GET", f"{target}?offset={offset}")
            if status != 200:
                return Answer(status, headers)
            pages.append(body)
            offset = headers.get("stream-next-offset")
            if headers.get("stream-up-to-date") == "true":
                content = content_read(headers.get("content-type"), pages)
                if self.plant:
                    content = self.plant.disturb_content(content)
                return Answer(status, headers, content)
        raise Failure(f"{target} has no end")

    # ---- choosing ----

    @property
    def state(self):
        """One that is possible: what is chosen has to make sense, not to be right."""
        return self.oracle.states[0]

    def next_number(self):
        self.operations += 1
        return self.operations

    def items(self, media_type, low, high):
        """Bytes that occur nowhere else, so that those of a stream that is gone would be known."""
        made = []
        for i in range(self.random.randint(low, high)):
            tag = f"f{self.number}.{self.operations}.{i}"
            pad = "x" * self.random.choice(LARGE_PADS if self.large else PADS)
            if media_type == "application/json":
                made.append(json.dumps({"id": tag, "pad": pad}, sort_keys=True).encode())
            else:
                made.append(f"<{tag} {pad}>".encode())
        return tuple(made)

    def choose(self):
        if self.random.random() < 0.12:
            return self.choose_expiring()
        name = self.random.choice(self.names)
        stream = self.state.get(name)
        self.next_number()
        if stream is None:
            return self.choose_absent(name)
        if stream.deleted:
            return self.choose_deleted(name)
        if self.is_long(stream) or (stream.closed and self.random.random() < 0.3):
            return Operation("delete", name)
        return self.choose_present(name, stream)

    def is_long(self, stream):
        size = sum(map(len, stream.content)) if stream.is_json else len(stream.content)
        return size > (LARGE_CONTENT_MAX if self.large else CONTENT_MAX) or len(stream.marks) > 40

    def choose_any(self, name, media_type):
        kind = self.random.choice(("head", "get", "create", "append", "delete"))
        if kind == "create":
            return self.creation(name)
        if kind == "append":
            return Operation("append", name, type=media_type, items=self.items(media_type, 1, 1))
        return Operation(kind, name)

    def choose_deleted(self, name):
        """Its name is free again when its forks have gone."""
        forks = holders(self.state, name)
        if forks and self.random.random() < 0.5:
            return Operation("delete", self.random.choice(sorted(forks)))
        return self.choose_any(name, "text/plain")

    def creation(self, name):
        media_type = self.random.choice(TYPES)
        return Operation("create", name, self.operations, type=media_type,
                         items=self.items(media_type, 0, 3), close=self.random.random() < 0.08,
                         ttl=LONG_TTL_S if self.random.random() < 0.2 else None)

    def choose_absent(self, name):
        dice = self.random.random()
        if dice < 0.1:
            return self.choose_any(name, "text/plain")
        sources = [other for other, stream in self.state.items()
                   if not stream.deleted and stream.ttl is None and other in self.names]
        if dice < 0.55 and sources:
            return self.fork(name, self.random.choice(sorted(sources)))
        return self.creation(name)

    def fork(self, name, source):
        stream = self.state[source]
        mark, sub = None, 0
        if stream.marks and self.random.random() < 0.6:
            mark = self.random.choice(stream.marks)
            behind = [length for _, length in stream.marks if length > mark[1]]
            if behind and self.random.random() < 0.4:
                sub = self.random.randint(0, min(behind) - mark[1])
                # Not every append's end was told: beyond one message is not certain to be allowed.
                sub = min(sub, 1)
        return Operation("fork", name, self.operations, source=source, mark=mark, sub=sub,
                         items=self.items(stream.type, 0, 2))

    def choose_present(self, name, stream):
        choices = (("plain", 22), ("seq", 12), ("producer", 26), ("again", 8), ("odd", 6),
                   ("close", 5), ("delete", 9), ("create", 4), ("wrong", 2), ("head", 4), ("get", 5))
        kind = self.random.choices([choice for choice, _ in choices],
                                   [weight for _, weight in choices])[0]
        if kind in ("delete", "head", "get"):
            return Operation(kind, name)
        if kind == "create":
            return self.creation(name)
        plain = Operation("append", name, type=stream.type, items=self.items(stream.type, 1, 3))
        if kind == "wrong":
            return replace(plain, type="text/css")
        if kind == "seq":
            number = int(stream.seq or "0") + self.random.choice((1, 1, 1, 2, 0, -1))
            return replace(plain, seq=f"{max(number, 0):08d}")
        if kind == "close":
            return self.closing(plain, stream)
        if kind in ("producer", "again", "odd"):
            return replace(plain, producer=self.producer(stream, kind))
        return plain

    def closing(self, plain, stream):
        dice = self.random.random()
        if dice < 0.3:
            return replace(plain, close=True, type=None, items=())
        if dice < 0.6:
            return replace(plain, close=True)
        return replace(plain, close=True, producer=self.producer(stream, "producer"))

    def producer(self, stream, kind):
        who = self.random.choice(("p", "q"))
        epoch, number = dict(stream.producers).get(who, (0, -1))
        if kind == "again" and number >= 0:
            return (who, epoch, self.random.choice((number, max(number - 1, 0))))
        if kind == "odd":
            return self.random.choice(((who, epoch + 1, 0), (who, epoch, number + 3),
                                       (who, max(epoch - 1, 0), number + 1), (who, epoch + 1, 4)))
        return (who, epoch, number + 1)

    def choose_expiring(self):
        """Streams that end by themselves are never the source of a fork."""
        stream = self.state.get(self.expiring)
        self.next_number()
        kind = self.random.choice(("head", "get", "append", "append"))
        if stream is None:
            kind = self.random.choice(("create", "create", "create", "head"))
        if kind == "append":
            return Operation("append", self.expiring, type="text/plain",
                             items=self.items("text/plain", 1, 1))
        if kind != "create":
            return Operation(kind, self.expiring)
        made = Operation("create", self.expiring, self.operations, type="text/plain",
                         items=self.items("text/plain", 1, 1))
        if self.random.random() < 0.5:
            return replace(made, ttl=self.random.choice((1, 2)))
        moment = round(time.time() + self.random.uniform(0.2, 2), 3)
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
        return replace(made, expires=(f"{text}.{round(moment * 1000) % 1000:03d}Z", moment))

    # ---- turns ----

    def load(self, ending):
        """Random requests until the connection breaks, or the event is set."""
        try:
            while not ending.is_set():
                self.perform(self.choose())
        except Lost:
            pass

    def verify(self):
        """After a restart: what is there is what the answers allow, before and after the request
        that had none is sent again."""
        for name in self.names + [self.expiring]:
            self.perform(Operation("head", name))
            self.perform(Operation("get", name))
        if self.lost and (self.lost.producer or self.lost.kind in ("create", "fork")):
            again, self.lost = self.lost, None
            self.perform(again)
            self.perform(Operation("get", again.name))
        self.lost = None

    def ghosts_gone(self):
        """A deleted source goes, sooner or later, when its last fork has gone."""
        end = time.monotonic() + PATIENCE_S
        while any(is_ghost(self.state, name) for name in self.state):
            for name in [name for name in self.state if is_ghost(self.state, name)]:
                self.perform(Operation("head", name))
            if time.monotonic() > end:
                raise Failure(f"a deleted stream without forks stays: {self.state}")
            time.sleep(0.05)
