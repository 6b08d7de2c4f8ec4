"""Several producers of one stream at a time: each message is there once, in its producer's order."""

import json
import time

from family import Connection, Lost
from program import Failure

TARGET = "/v1/stream/crowd"


class Member:
    """A producer that sends again what got no answer. Used by one thread at a time."""

    def __init__(self, number):
        self.number = number
        self.turn = 0  # the number of the append under way, or next
        self.sent = 0  # messages, with those of the append under way
        self.acknowledged = 0
        self.connection = None
        self.open = None  # the append that has no answer

    def connect(self, port):
        if self.connection:
            self.connection.close()
        self.connection = Connection(port)

    def append(self):
        if self.open is None:
            count = 1 + self.turn % 3
            self.open = [{"p": self.number, "n": self.sent + i} for i in range(count)]
            self.sent += count
        status, headers, _ = self.connection.exchange(
            "POST", TARGET, {"Content-Type": "application/json", "Producer-Id": f"m{self.number}",
                             "Producer-Epoch": "0", "Producer-Seq": str(self.turn)},
            json.dumps(self.open).encode())
        if status not in (200, 204):
            raise Failure(f"producer {self.number}, append {self.turn}: {status} {headers}")
        self.open = None
        self.turn += 1
        self.acknowledged = self.sent

    def load(self, ending):
        try:
            while not ending.is_set():
                self.append()
                time.sleep(0.002)
        except Lost:
            pass


def crowd_create(port):
    status, _, _ = Connection(port).exchange("PUT", TARGET, {"Content-Type": "application/json"})
    if status != 201:
        raise Failure(f"PUT {TARGET}: {status}")


def crowd_verify(port, members):
    """All that was acknowledged and nothing that was not sent, without a gap, once."""
    connection, offset, came = Connection(port), "-1", {member.number: 0 for member in members}
    for _ in range(10000):
        status, headers, body = connection.exchange("GET", f"{TARGET}?offset={offset}")
        if status != 200:
            raise Failure(f"GET {TARGET}: {status}")
        for message in json.loads(body or b"[]"):
            if message["n"] != came[message["p"]]:
                raise Failure(f"producer {message['p']}: message {message['n']} stands where "
                              f"{came[message['p']]} belongs")
            came[message["p"]] += 1
        offset = headers["stream-next-offset"]
        if headers.get("stream-up-to-date") == "true":
            break
    connection.close()
    for member in members:
        if came[member.number] < member.acknowledged:
            raise Failure(f"producer {member.number}: {member.acknowledged} messages were "
                          f"acknowledged, and {came[member.number]} are there")
        if came[member.number] > member.sent or (member.open is None and
                                                 came[member.number] != member.sent):
            raise Failure(f"producer {member.number}: {came[member.number]} messages are there, "
                          f"and {member.sent} were sent")
