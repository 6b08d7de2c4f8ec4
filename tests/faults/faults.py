#!/usr/bin/env python3
"""faults.py WALD BACKEND FOLDER LIBRARY [KIND...]: lets the Nth call of a kind fail, in the program and
in the libraries it uses, while it goes through a scenario: start, every kind of request at both doors,
stop. N goes up from 1 until nothing fails any more; --sample K takes K of them, chosen by --seed.

No call may end the program by a signal or a sanitizer, leave a client without answer or anything
waiting, or make an answer that openapi.yaml does not describe. When no more calls fail, everything has
to work as before. After another start each acknowledged record is there once, at its offset, and no
refused one. Without a KIND each of them has its turn: malloc, open, accept, ring, thread, epoll."""

import argparse
import concurrent.futures
import gzip
import json
import mmap
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import time

from model import Log, read_all
from service import Connection, Failure, Judge, Lost, Program, request_bytes

KINDS = ["malloc", "open", "accept", "ring", "thread", "epoll"]  # as in fault.c
EVENTS = {"Accept": "text/event-stream"}
LINES = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
SERVE = ["--heartbeat", "500ms", "--long-poll-timeout", "200ms", "--shutdown-timeout", "1s"]


class Faults:
    """The file that fault.c maps, too."""

    def __init__(self, path):
        self.path = path
        with open(path, "wb") as file:
            file.truncate(mmap.PAGESIZE)
        with open(path, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    def field(self, field, kind):
        return 8 * (field * len(KINDS) + KINDS.index(kind))

    def get(self, field, kind):
        return struct.unpack_from("=Q", self.memory, self.field(field, kind))[0]

    def fail(self, kind, first, last):
        struct.pack_into("=Q", self.memory, self.field(0, kind), first)
        struct.pack_into("=Q", self.memory, self.field(1, kind), last)

    def end(self, kind):
        self.fail(kind, 0, 0)

    def calls(self, kind):
        return self.get(2, kind)

    def failed(self, kind):
        return self.get(3, kind)


class Follower:
    """A stream of events of a log at /logs, from its beginning."""

    def __init__(self, scenario, log, begin):
        self.connection = Connection(scenario.program.port)
        self.log, self.next, self.is_open = log, begin, False
        headers = dict(EVENTS)
        target = f"/logs/{log.name}/records?offset={begin}"
        try:
            self.connection.send(request_bytes("GET", target, headers))
            status, fields = self.connection.head(target)
            self.is_open = status == 200
            if status != 200:
                length = int(fields.get("content-length", ["0"])[0])
                body = self.connection.exactly(length, target)
                scenario.judge_answer("GET", target, headers, status, fields, body)
                self.close()
        except Lost:
            scenario.judge.count("lost")

    def close(self):
        self.is_open = False
        self.connection.close()

    def read_to(self, offset):
        """Until it has been told of everything below this offset; or its stream is ended."""
        try:
            while self.is_open and self.next < offset:
                for event in self.connection.chunk(f"events of {self.log.name}").decode().split("\n\n"):
                    self.take(event)
        except (Lost, ValueError):
            self.close()

    def take(self, event):
        number = re.search(r"^id: (\d+)$", event, re.M)
        data = "\n".join(re.findall(r"^data: ?(.*)$", event, re.M))
        if not number or not data or re.search(r"^event: (?!record)", event, re.M):
            return
        # The id is where to go on from: the offset behind the record.
        record = json.loads(data)
        if record["offset"] != self.next:
            raise Failure(f"an event of {self.log.name} has offset {record['offset']}, and "
                          f"{self.next} is next")
        if self.log.acknowledged.get(self.next, record["data"].encode()) != record["data"].encode():
            raise Failure(f"an event of {self.log.name} has at {self.next} {record['data']!r}")
        self.next += 1


class Scenario:
    """One life of the program under faults, and what is left of it."""

    def __init__(self, program, judge, faults, kind):
        self.program, self.judge, self.faults, self.kind = program, judge, faults, kind
        self.strict = False  # whether everything has to work
        self.number = 0
        self.logs = {}
        self.exists = {}  # name: True, False, or None: it may be
        self.streams = {}  # name: messages, at least, or None
        self.connection = None
        self.plant = None
        self.calls_before_stop = {}

    def log(self, name):
        return self.logs.setdefault(name, Log(name))

    def record(self):
        self.number += 1
        return f"record-{self.number}".encode()

    def judge_answer(self, method, target, headers, status, fields, body):
        # pylint: disable=too-many-arguments
        from service import Answer  # pylint: disable=import-outside-toplevel
        answer = Answer(status, fields, body)
        self.judge.judge(method, target, headers, answer)
        return answer

    def ask(self, wanted, method, target, headers=None, body=None):
        """The answer; None: there was none. If nothing fails its status is among the wanted."""
        if self.connection is None:
            self.connection = Connection(self.program.port)
        if self.connection.socket is None:
            fresh = True
        else:
            fresh = False
        try:
            self.connection.send(request_bytes(method, target, headers, body))
            answer = self.connection.answer(method, f"{method} {target}")
        except Lost as lost:
            self.judge.count("lost")
            if self.strict:
                raise Failure(f"{method} {target}: {lost}, and nothing failed any more"
                              f"{'' if fresh else ' (a connection from before)'}") from lost
            return None
        self.judge.judge(method, target, headers, answer, not self.strict)
        if answer.status not in wanted and (self.strict or answer.status < 500):
            raise Failure(f"{method} {target}: wanted {wanted}, got {answer}")
        return answer

    # ---- what clients do ----

    def append(self, name, records=None, target="", **headers):
        records = records or [self.record()]
        headers = {key.replace("_", "-"): value for key, value in headers.items()}
        body = b"\n".join(records)
        if len(records) > 1:
            headers.update(LINES)
        if headers.get("Content-Encoding"):
            body = gzip.compress(body)
        before = self.exists.get(name, False)
        answer = self.ask([200, 202], "POST", f"/logs/{name}{target}", headers, body)
        self.log(name).sent(records, answer)
        if answer is not None and answer.status < 300:
            self.exists[name] = True
        elif before is False:
            self.exists[name] = None
        return answer

    def retry(self, name):
        """With a key, until it is answered: it must be there once."""
        record, key = self.record(), f'"key-{self.number}"'
        for _ in range(3):
            answer = self.ask([200], "POST", f"/logs/{name}", {"Idempotency-Key": key}, record)
            if answer is not None and answer.status == 200:
                self.log(name).sent([record], answer)
                again = self.ask([200], "POST", f"/logs/{name}", {"Idempotency-Key": key}, record)
                if again and again.status == 200 and again.body and answer.body:
                    if again.json()["offset"] != answer.json()["offset"]:
                        raise Failure(f"a retry was stored again: {answer}, {again}")
                return
        self.log(name).uncertain.append([record])

    def create(self, name):
        answer = self.ask([201, 200], "PUT", f"/logs/{name}", JSON, b'{"durability":"committed"}')
        self.exists[name] = True if answer is not None and answer.status < 300 else None

    def delete(self, name):
        answer = self.ask([204, 404], "DELETE", f"/logs/{name}")
        if answer is not None and answer.status == 404 and self.exists.get(name):
            raise Failure(f"DELETE of {name}, which is there: {answer}")
        if answer is not None and answer.status < 300:
            self.exists[name] = False
        elif answer is None or not answer.changed_nothing:
            self.exists[name] = None

    def get(self, target, headers=None, method="GET", wanted=(200,)):
        return self.ask(wanted, method, target, headers)

    def page(self, name, begin=0):
        wanted = [200] if self.exists.get(name) else [200, 404]
        answer = self.ask(wanted, "GET", f"/logs/{name}/records?offset={begin}&limit=1000")
        if answer is not None and answer.status == 200:
            self.log(name).check_page(max(begin, self.log(name).trimmed), answer.body.splitlines())

    def one(self, name, offset):
        acknowledged = self.log(name).acknowledged.get(offset)
        answer = self.ask([200] if acknowledged else [200, 404], "GET",
                          f"/logs/{name}/records/{offset}")
        if answer is not None and answer.status == 200 and acknowledged not in (None, answer.body):
            raise Failure(f"record {offset} of {name} was {acknowledged!r}: {answer}")

    def list(self):
        answer = self.get("/logs?limit=1000")
        if answer is None or answer.status != 200:
            return
        names = [log["name"] for log in answer.json()["logs"]]
        for name, exists in self.exists.items():
            if exists is not None and (name in names) != exists:
                raise Failure(f"{name} is {'there' if exists else 'gone'}, and listed are {names}")

    def trim(self, name, before):
        wanted = [200] if self.exists.get(name) and before <= self.log(name).next_offset else \
            [200, 404, 400, 409, 416]
        self.log(name).trimmed = max(self.log(name).trimmed, before)
        self.ask(wanted, "POST", f"/logs/{name}/trim?before={before}")

    def stream(self, name):
        """A stream of JSON, from its making to its end."""
        path = f"/v1/stream/{name}"
        self.exists[name] = None
        made = self.ask([201, 200], "PUT", path, JSON, b"[]")
        there = made is not None and made.status < 300
        self.exists[name] = True if there else None
        wanted = [204, 200] if there else [204, 200, 404, 409]
        messages = [self.record().decode() for _ in range(2)]
        answer = self.ask(wanted, "POST", path, JSON, json.dumps(messages).encode())
        self.log(name).sent([f'"{message}"'.encode() for message in messages], answer, False)
        if answer is not None and answer.status < 300:
            self.log(name).uncertain.append([f'"{message}"'.encode() for message in messages])
            self.streams[name] = messages
        answer = self.ask(wanted, "GET", path)
        if answer is not None and answer.status == 200 and name in self.streams:
            if self.streams[name] != answer.json():
                raise Failure(f"GET {path}: {answer}, and sent was {messages}")
        self.ask(wanted, "HEAD", path)
        self.ask([200, 204] + wanted, "GET", path + "?offset=now&live=long-poll")
        self.ask([201, 200] if there else [201, 200, 404], "PUT", f"{path}-fork",
                 {"Stream-Forked-From": path, **JSON})
        self.exists[f"{name}-fork"] = None
        self.ask(wanted, "POST", path, {"Stream-Closed": "true", **JSON}, b'["last"]')
        self.log(name).uncertain.append([b'"last"'])

    def follow(self, name):
        """A stream of events, and one that waits for a page, both told of the next append."""
        log = self.log(name)
        begin = log.next_offset
        follower = Follower(self, log, begin)
        waiting = Connection(self.program.port)
        target = f"/logs/{name}/records?offset={begin}&wait=1s"
        waiting.send(request_bytes("GET", target))
        answer = self.append(name)
        try:
            page = waiting.answer("GET", target)
            self.judge.judge("GET", target, None, page)
        except Lost:
            self.judge.count("lost")
            if self.strict:
                raise Failure(f"GET {target} was closed, and nothing failed any more") from None
        waiting.close()
        if begin in log.acknowledged:
            follower.read_to(begin + 1)
        if self.strict and not follower.is_open:
            raise Failure(f"a stream of events of {name} was ended, and nothing failed any more")
        return follower

    def all_requests(self, name):
        """Every kind of request, with this name for what is made."""
        for _ in range(2):
            self.append(name)
        self.append(name, [self.record() for _ in range(3)])
        self.append(name, [self.record() for _ in range(3)], Content_Encoding="gzip")
        self.append(name, target="?ack=none")
        self.retry(name)
        self.append("old")
        self.ask([200] if self.exists.get(name) else [200, 404], "POST", f"/logs/{name}/sync")
        self.page(name)
        self.page("old")
        self.one(name, 0)
        self.get(f"/logs/{name}/records/1", {"Range": "bytes=1-3"}, wanted=(206, 404))
        self.get(f"/logs/{name}/records?offset=-2", {"Accept": "application/json"}, wanted=(200, 404))
        wanted = (200,) if self.exists.get(name) else (200, 404)
        for target in ("", "/offsets", "/stats"):
            self.get(f"/logs/{name}{target}", wanted=wanted)
        self.get(f"/logs/{name}", method="HEAD", wanted=wanted)
        for target in ("/stats", "/metrics", "/readyz?verbose", "/version", "/openapi.yaml"):
            self.get(target)
        self.list()
        self.create(f"{name}-made")
        self.append(f"{name}-made")
        self.stream(f"{name}-stream")
        follower = self.follow(name)
        self.trim(name, 1)
        self.delete(f"{name}-made")
        self.list()
        follower.close()

    def settle(self):
        """Nothing is left waiting."""
        end = time.monotonic() + 10
        while True:
            stats = self.program.stats()
            if stats["requests_in_progress"] <= 1 and stats["appends_waiting"] == 0 and \
                    stats["followers"] == 0:
                return
            if time.monotonic() > end:
                raise Failure(f"something is left waiting: {stats}")
            time.sleep(0.01)

    # ---- lives ----

    def prepare(self):
        """A log that is there before the life with faults."""
        self.strict = True
        self.program.start(*SERVE)
        for _ in range(5):
            self.append("old")
        self.append("old", [self.record() for _ in range(4)])
        self.connection.close()
        self.program.stop()
        self.strict = False

    def live(self):
        """Under faults, from the start to the stop. False: it did not become ready."""
        trace = os.path.join(self.program.folder, "trace")
        self.program.launch(*SERVE, environment={
            "LD_PRELOAD": self.program.library, "FAULTS_FILE": self.faults.path,
            "FAULTS_TRACE": trace})
        if not self.program.wait_ready():
            said = self.program.said()
            status = self.program.process.returncode
            if not (status == 1 and "event=start_failed" in said) and \
                    not (status == 2 and "memory" in said):
                raise Failure(f"it did not start, ended with {status}, and did not say why")
            self.judge.count("start failed")
            return
        self.all_requests("new")
        if self.plant == "crash":
            self.program.process.send_signal(11)
        if self.faults.failed(self.kind) > 0:
            self.faults.end(self.kind)
            self.connection.close()
            self.settle()
            self.strict = True
            self.all_requests("after")
            self.append("old")
            if self.exists.get("new"):
                self.append("new")
            self.strict = False
        self.stop()

    def stop(self):
        """With one who waits and one who follows."""
        self.calls_before_stop = {kind: self.faults.calls(kind) for kind in KINDS}
        follower = Follower(self, self.log("old"), self.log("old").next_offset)
        waiting = Connection(self.program.port)
        target = f"/logs/old/records?offset={self.log('old').next_offset + 5}&wait=2s"
        waiting.send(request_bytes("GET", target))
        self.program.terminate()
        try:
            self.judge.judge("GET", target, None, waiting.answer("GET", target))
        except Lost:
            self.judge.count("lost")
        self.check_end(self.program.wait_end(20), 0)
        if "event=stopped" not in self.program.said():
            raise Failure("it stopped without a word")
        follower.close()
        self.connection.close()

    def check_end(self, status, wanted):
        if status != wanted:
            raise Failure(f"it ended with {status}")

    def verify(self):
        """Another life, without faults."""
        self.program.start(*SERVE)
        self.judge.judge("GET", "/logs", None, listed := self.program.ask("GET", "/logs?limit=1000"))
        names = {log["name"] for log in listed.json()["logs"]}
        for name, exists in self.exists.items():
            if exists is not None and (name in names) != exists:
                raise Failure(f"{name} has to be {'there' if exists else 'gone'}: {sorted(names)}")
        for name, log in self.logs.items():
            found, first = read_all(lambda target: self.program.ask("GET", target), name)
            if found is not None:
                log.check(found, first)
            elif self.exists.get(name):
                raise Failure(f"the log {name} is gone")
        for name, messages in self.streams.items():
            answer = self.program.ask("GET", f"/v1/stream/{name}")
            if answer.status != 200 or answer.json()[:len(messages)] != messages:
                raise Failure(f"the stream {name} was {messages}: {answer}")
        self.program.stop()


def explain(trace):
    """The functions that a failed call came from, where addr2line can tell."""
    lines = []
    try:
        with open(trace, encoding="utf-8") as file:
            for line in file:
                match = re.match(r"(\S+?)\((?:[^+)]*)\+(0x[0-9a-f]+)\)", line)
                if match and os.path.basename(match[1]) == "wald":
                    line = subprocess.run(
                        ["addr2line", "-fpsCe", match[1], match[2]], check=False,
                        capture_output=True, text=True).stdout
                lines.append(line.rstrip())
    except OSError:
        pass
    return "\n".join(lines[:60])


class Case:
    """The calls `first` to `last` of a kind fail, on a directory of its own."""

    def __init__(self, options, judge, template):
        self.options, self.judge, self.template = options, judge, template

    def plant(self, scenario):
        """Pretends a violation, if that is wanted."""
        log = scenario.log("old")
        if self.options.plant == "loss":
            log.acknowledge(log.next_offset, [b"never sent"])
        elif self.options.plant == "lie":
            log.refused.add(log.acknowledged[0])
        elif self.options.plant == "gone":
            scenario.exists["never-made"] = True

    def run(self, kind, first, last):
        """How many calls failed."""
        program = Program(self.options.wald, self.options.backend, self.options.folder)
        program.library = os.path.abspath(self.options.library)
        faults = Faults(os.path.join(program.folder, "faults"))
        try:
            shutil.copytree(self.template.data, program.data)
            scenario = Scenario(program, self.judge, faults, kind)
            scenario.number = self.template.scenario.number
            scenario.logs["old"] = Log("old")
            scenario.logs["old"].acknowledged = dict(self.template.scenario.log("old").acknowledged)
            scenario.exists["old"] = True
            faults.fail(kind, first, last)
            scenario.plant = self.options.plant
            scenario.live()
            failed = faults.failed(kind)
            faults.end(kind)
            self.plant(scenario)
            scenario.verify()
            return failed
        except (Failure, Lost, KeyError, ValueError) as failure:
            trace = explain(os.path.join(program.folder, "trace"))
            raise Failure(f"{kind} {first} to {last}: {type(failure).__name__} {failure}\n{trace}\n"
                          f"--- what the program said last:\n{program.said()[-6000:]}") from failure
        finally:
            program.remove()


def numbers_of(options, kind, count):
    """The calls to fail: all of them, or a sample."""
    if options.only:
        return [options.only]
    numbers = range(1, count + 1)
    if options.stop:
        numbers = range(min(options.before_stop[kind] + 1, count), count + 1)
    if options.sample and options.sample < count:
        sample = random.Random(f"{options.seed} {kind}").sample(numbers, options.sample)
        # The first are those of the settings, and cost next to nothing.
        numbers = sorted(set(sample) | set(numbers[:4]))
    return numbers


def run_kind(options, case, judge, kind):
    """The failures that were found."""
    begun = time.monotonic()
    count = case.count(kind)
    failures, triggered, done = [], 0, 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {pool.submit(case.run, kind, number, number + options.window - 1): number
                for number in numbers_of(options, kind, count)}
        for run in concurrent.futures.as_completed(runs):
            done += 1
            try:
                triggered += run.result() > 0
            except Failure as failure:
                failures.append(str(failure))
                print(f"FAILED: {failure}", flush=True)
                if len(failures) >= options.failures:
                    for other in runs:
                        other.cancel()
                    break
    print(f"{kind}: {count} calls, {done} lives, a call failed in {triggered}, {len(failures)} "
          f"violations, {time.monotonic() - begun:.1f} s; {judge}", flush=True)
    return failures


def count_calls(options, case, judge, template):
    """How often the scenario makes each kind of call, with some to spare: chance has a part in it."""
    program = Program(options.wald, options.backend, options.folder)
    program.library = os.path.abspath(options.library)
    faults = Faults(os.path.join(program.folder, "faults"))
    try:
        shutil.copytree(template.data, program.data)
        scenario = Scenario(program, judge, faults, "malloc")
        scenario.number = template.scenario.number
        scenario.logs["old"] = Log("old")
        scenario.logs["old"].acknowledged = dict(template.scenario.log("old").acknowledged)
        scenario.exists["old"] = True
        scenario.strict = True
        scenario.live()
        scenario.strict = False
        counts = {kind: faults.calls(kind) for kind in KINDS}
        if counts["malloc"] == 0:
            raise Failure(f"{program.library} is not loaded: {program.said()}")
        options.before_stop = scenario.calls_before_stop
        scenario.verify()
    finally:
        program.remove()
    return counts


def find_plants(options, case):
    """Exits with 1 if one of the pretended violations is not found."""
    for plant, wanted in {"loss": "acknowledged record", "lie": "was refused",
                          "gone": "has to be there", "crash": "refused"}.items():
        options.plant = plant
        said = None
        try:
            case.run("malloc", 1 << 40, 1 << 40)
        except Failure as failure:
            said = str(failure)
        if said is None or wanted not in said:
            raise Failure(f"{plant} was not found: {said}")
        print(f"found {plant}")
    print("passed")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wald")
    parser.add_argument("backend")
    parser.add_argument("folder")
    parser.add_argument("library", help="what is made of fault.c")
    parser.add_argument("kinds", nargs="*", metavar="KIND")
    parser.add_argument("--sample", type=int, help="so many of each kind, and not all")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--window", type=int, default=1, help="so many in a row fail")
    parser.add_argument("--only", type=int, metavar="N", help="no other than the Nth")
    parser.add_argument("--stop", action="store_true", help="only while it stops")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--plant", choices=["loss", "lie", "gone", "crash"], help="pretend that")
    parser.add_argument("--plants", action="store_true", help="each of them has to be found")
    parser.add_argument("--failures", type=int, default=1, help="stop at so many")
    options = parser.parse_args()
    judge = Judge()
    template = Program(options.wald, options.backend, options.folder)
    try:
        template.scenario = Scenario(template, judge, None, None)
        template.scenario.prepare()
        case = Case(options, judge, template)
        counts = count_calls(options, case, judge, template)
        case.count = counts.get
        judge.counts = {}
        if options.plants:
            find_plants(options, case)
            return
        failures = []
        for kind in options.kinds or KINDS:
            failures += run_kind(options, case, judge, kind)
            judge.counts = {}
    except Failure as failure:
        print(f"FAILED: {failure}\n--- what the program said last:\n{template.said()[-3000:]}")
        failures = [failure]
    finally:
        template.remove()
    if failures:
        sys.exit(1)
    print("passed")


if __name__ == "__main__":
    main()
