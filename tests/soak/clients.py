"""Who uses the service while it is killed and told to reload: each a thread with a connection of its own."""

import json
import random
import re
import threading
import time

from service import Connection, Failure, Lost, request_bytes

JSON = {"Content-Type": "application/json"}
EVENTS = {"Accept": "text/event-stream"}
WRITERS = 4
LOGS = 3
KEPT_LOG, KEPT = f"w{WRITERS - 1}-{LOGS - 1}", 40  # this log keeps so many records


class Client(threading.Thread):
    """What runs beside the episodes, until it is told to end."""

    def __init__(self, soak, number):
        super().__init__(daemon=True)
        self.soak, self.number = soak, number
        self.random = random.Random(f"{soak.seed} {type(self).__name__} {number}")
        self.failure, self.done, self.lost, self.latency_s = None, 0, 0, 0.0
        self.connection = Connection(soak.program.port, soak.patience_s)

    def turn(self):
        raise NotImplementedError

    def meet(self):
        """The next connection is made with the program as it is now."""
        self.connection.port, self.connection.tls = self.soak.program.port, self.soak.program.tls

    def lose(self):
        self.lost += 1
        self.connection.close()

    def ask(self, method, target, headers=None, body=None):
        """The answer; None: the connection was lost, which only a kill may do."""
        begun = time.monotonic()
        try:
            self.meet()
            self.connection.send(request_bytes(method, target, headers, body))
            answer = self.connection.answer(method, f"{method} {target}")
        except Lost:
            self.lose()
            return None
        self.latency_s = max(self.latency_s, time.monotonic() - begun)
        self.soak.judge_answer(method, target, headers, answer)
        return answer

    def run(self):
        try:
            while not self.soak.ending.is_set():
                self.soak.open.wait(1)
                if not self.soak.open.is_set():
                    continue
                with self.soak.counted():
                    self.turn()
                time.sleep(0.001)
        except Exception as error:  # pylint: disable=broad-except # a thread tells nobody else
            self.failure = f"{type(self).__name__} {self.number}: {type(error).__name__} {error}"
        self.connection.close()


def may_go_below(log):
    """What retention may have taken: it knows of records whose answer was lost, too."""
    if log.name != KEPT_LOG:
        return 0
    return log.next_offset + sum(len(records) for records in log.uncertain) - KEPT


class Writer(Client):
    """Appends to its logs at the first door: one by one, in batches, with keys that are sent again."""

    def __init__(self, soak, number):
        super().__init__(soak, number)
        self.sequence = 0
        self.key = None  # (log, key, record): without an answer so far

    def record(self):
        self.sequence += 1
        size = self.random.choice((20, 200, 2000, 20000))
        return f"{self.number}:{self.sequence}:".encode() + b"w" * self.random.randrange(size)

    def retry(self):
        log, key, record = self.key
        answer = self.ask("POST", f"/logs/{log.name}", {"Idempotency-Key": key}, record)
        if answer is not None and answer.status == 200:
            if answer.body and "duplicate" in answer.json():
                raise Failure(f"a key was forgotten: {answer}")
            log.uncertain.remove([record])
            log.sent([record], answer)
            self.key = None
        elif answer is not None and answer.changed_nothing and answer.status != 503:
            self.key = None  # not stored now; whether it was at first stays open

    def turn(self):
        if self.key:
            self.retry()
            return
        log = self.soak.log(f"w{self.number}-{self.random.randrange(LOGS)}")
        choice = self.random.random()
        if choice < 0.2:
            record = self.record()
            self.key = (log, f'"{self.number}-{self.sequence}"', record)
            log.uncertain.append([record])
            self.retry()
            return
        records = [self.record() for _ in range(1 if choice < 0.7 else self.random.randrange(2, 20))]
        headers = {"Content-Type": "application/x-ndjson"} if len(records) > 1 else None
        answer = self.ask("POST", f"/logs/{log.name}", headers, b"\n".join(records))
        log.sent(records, answer)
        if answer is None or answer.status != 200:
            time.sleep(0.02)
            return
        self.done += len(records)
        self.read(log)

    def read(self, log):
        """A record that was acknowledged, at random."""
        offset = self.random.choice(list(log.acknowledged.items())[-200:])[0]
        answer = self.ask("GET", f"/logs/{log.name}/records/{offset}")
        if answer is not None and answer.status == 200 and answer.body != log.acknowledged[offset]:
            raise Failure(f"{log.name}, {offset}: {answer}")
        if answer is not None and answer.status == 410 and offset < may_go_below(log):
            return
        if answer is not None and answer.status not in (200, 503):
            raise Failure(f"{log.name}, {offset}, which was acknowledged: {answer}")


class Streamer(Client):
    """Appends JSON messages to a stream at the second door, as a producer that sends again until it is
    answered, and reads all of it now and then."""

    def __init__(self, soak, number):
        super().__init__(soak, number)
        self.path, self.messages, self.sequence, self.made = f"/v1/stream/s{number}", [], 0, False

    def turn(self):
        if not self.made:
            answer = self.ask("PUT", self.path, JSON)
            self.made = answer is not None and answer.status in (200, 201)
            return
        message = f"{self.number}-{self.sequence}"
        headers = dict(JSON, **{"Producer-Id": "soak", "Producer-Epoch": "0",
                                "Producer-Seq": str(self.sequence)})
        answer = self.ask("POST", self.path, headers, json.dumps([message]).encode())
        if answer is None or answer.status >= 500:
            time.sleep(0.02)
            return
        if answer.status not in (200, 204):
            raise Failure(f"message {message} of {self.path}: {answer}")
        self.messages.append(message)
        self.sequence += 1
        self.done += 1
        if self.sequence % 200 == 0:
            self.check()

    def check(self):
        """All that is there, from the beginning."""
        found, target = [], self.path
        while True:
            answer = self.ask("GET", target)
            if answer is None or answer.status == 503:
                return
            if answer.status != 200:
                raise Failure(f"{target}: {answer}")
            found += answer.json()
            if answer.header("stream-up-to-date") == "true":
                break
            target = f"{self.path}?offset={answer.header('stream-next-offset')}"
        # The newest may be there and not be acknowledged yet.
        pending = [f"{self.number}-{self.sequence}"]
        if found not in (self.messages, self.messages + pending):
            raise Failure(f"{self.path}: {len(found)} messages, of {len(self.messages)} that were "
                          f"acknowledged; the last are {found[-3:]} and {self.messages[-3:]}")


class Follower(Client):
    """Follows a log by events, and comes again where its stream was broken off."""

    def __init__(self, soak, number):
        super().__init__(soak, number)
        self.connection.patience_s = 2
        self.begin()

    def begin(self):
        """From the beginning of the log."""
        self.next, self.is_open = 0, False

    @property
    def name(self):
        return KEPT_LOG if self.number == 0 else f"w{self.number % WRITERS}-0"

    def target(self):
        return f"/logs/{self.name}/records?offset={self.next}"

    def open(self):
        target = self.target()
        self.meet()
        self.connection.send(request_bytes("GET", target, EVENTS))
        status, headers = self.connection.head(target)
        if status != 200:
            body = self.connection.exactly(int(headers.get("content-length", ["0"])[0]), target)
            if status == 410:
                self.skip(json.loads(body)["first_offset"])
            time.sleep(0.1)
        self.is_open = status == 200

    def skip(self, first_offset):
        """What lies between has been trimmed: only where that was asked for, and never backwards."""
        if self.name != KEPT_LOG or first_offset <= self.next:
            raise Failure(f"{self.name} is said to begin at {first_offset}, and {self.next} was next")
        self.next = first_offset

    def turn(self):
        try:
            if not self.is_open:
                self.open()
                return
            chunk = self.connection.chunk("events").decode()
            for event in chunk.split("\n\n"):
                self.take(event)
            if not chunk:
                self.is_open = False  # a stream of events of the second door ends in good order
                self.connection.close()
        except (Lost, ValueError):
            self.is_open = False
            self.lose()
        except Failure as failure:
            if "no answer" not in str(failure):
                raise
            self.is_open = False  # heartbeats come once a second: it is being killed or stalls
            self.connection.close()

    def take(self, event):
        if re.search(r"^event: ?trimmed$", event, re.M):
            self.skip(int(re.search(r"^id: ?(\d+)$", event, re.M)[1]) + 1)
        data = re.search(r"^data: ?(\{\"offset\".*)$", event, re.M)
        if not data:
            return
        record = json.loads(data[1])
        if record["offset"] != self.next:
            raise Failure(f"an event of {self.name} has offset {record['offset']}, and {self.next} "
                          "is next")
        wanted = self.soak.log(self.name).acknowledged.get(self.next)
        if wanted is not None and wanted != record["data"].encode():
            raise Failure(f"an event of {self.name} has at {self.next} {record['data'][:80]!r}")
        self.next += 1
        self.done += 1


class StreamFollower(Follower):
    """The same at the second door, where an event tells what goes before it has been taken."""

    def begin(self):
        super().begin()
        self.token, self.messages = "-1", []

    @property
    def name(self):
        return f"/v1/stream/s{self.number}"

    def target(self):
        self.messages = []
        return f"{self.name}?offset={self.token}&live=sse"

    def take(self, event):
        data = "\n".join(re.findall(r"^data: ?(.*)$", event, re.M))
        if re.search(r"^event: ?data$", event, re.M):
            self.messages += json.loads(data)
        if not re.search(r"^event: ?control$", event, re.M):
            return
        for message in self.messages:
            if message != f"{self.number}-{self.next}":
                raise Failure(f"an event of {self.name} has {message!r}, and message {self.next} is next")
            self.next += 1
            self.done += 1
        self.token, self.messages = json.loads(data)["streamNextOffset"], []
