"""Hurts the files of logs in one place at a time, and holds the program against each.

    damage.py WALD DATA FOLDER [--all]

DATA is a data directory with the logs "a" and "b", closed in good order. Each case is a copy of it in
FOLDER in which one thing is wrong. `wald verify` has to name the place and change nothing. For some of
the cases (each, with --all) the service is started: no wrong byte may be served, and all that verify
did not name has to be; then `wald repair --yes` has to keep the damaged bytes, and the log has to take
appends again, with everything that was served before.
"""

import argparse
import base64
import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import time

BLOCK = 4096


class Failure(Exception):
    """What a case found."""


class Service:
    """The program on a data directory, until the end of the block."""

    def __init__(self, wald, data, log):
        self.log = open(log, "wb")
        self.process = subprocess.Popen(
            [wald, "serve", "--data", data, "--listen", "127.0.0.1:0", "--io", "posix"],
            stderr=self.log,
        )
        self.connection = None
        for _ in range(600):
            with open(log, encoding="utf-8") as said:
                for line in said:
                    if "event=ready" in line:
                        port = int(line.split("listen=127.0.0.1:")[1].split()[0])
                        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                        return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.process.kill()
        raise Failure("the service did not become ready")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.process.terminate()
        status = self.process.wait(60)
        self.log.close()
        if status != 0 and sys.exc_info()[0] is None:
            raise Failure(f"the service ended with {status}")

    def ask(self, method, target, body=None):
        self.connection.request(method, target, body)
        answer = self.connection.getresponse()
        return answer.status, answer.read(), answer.headers

    def read_all(self, log):
        """(records by offset, offsets told as gaps, the offset behind the last one)"""
        records, gaps, offset = {}, set(), 0
        for _ in range(2000):
            status, body, headers = self.ask("GET", f"/v1/logs/{log}/records?offset={offset}")
            if status == 404:
                status, body, headers = self.ask("GET", f"/logs/{log}/records?offset={offset}")
            if status == 200:
                for line in body.splitlines():
                    record = json.loads(line)
                    data = record.get("data_base64")
                    data = base64.b64decode(data) if data is not None else record["data"].encode()
                    records[record["offset"]] = data
                after = int(headers["Log-Next-Offset"])
                if after == offset:
                    return records, gaps, offset
                offset = after
                continue
            problem = json.loads(body)
            if "gap_end" not in problem:
                raise Failure(f"{log} at {offset}: {status} {problem}")
            gaps.update(range(offset, problem["gap_end"]))
            offset = problem["gap_end"]
        raise Failure("the reading has no end")


def run(arguments, allowed):
    done = subprocess.run(arguments, capture_output=True, timeout=120, check=False)
    if done.returncode not in allowed:
        raise Failure(f"{arguments[1:3]}: {done.returncode} {done.stdout} {done.stderr}")
    return done.returncode, done.stdout


def tree_hash(folder):
    """Of all names, sizes, times and bytes."""
    total = hashlib.sha256()
    for path, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            full = os.path.join(path, name)
            about = os.stat(full)
            total.update(f"{full} {about.st_size} {about.st_mtime_ns}\n".encode())
            with open(full, "rb") as file:
                total.update(file.read())
    return total.hexdigest()


def patch(path, position, data):
    with open(path, "r+b") as file:
        file.seek(position)
        file.write(data)


class Test:
    def __init__(self, options):
        self.wald, self.source, self.folder = options.wald, options.data, options.folder
        self.all = options.all
        self.counts = {"cases": 0, "served": 0, "repaired": 0}
        self.frames = {"a": {}, "b": {}}
        for log in self.frames:
            _, out = run([self.wald, "dump", "--json", "--headers", "--log", log, self.source], {0})
            for line in out.splitlines():
                item = json.loads(line)
                if item["kind"] == "frame":
                    self.frames[log].setdefault(item["segment"], []).append(item)
        with Service(self.wald, self.copy("whole"), os.path.join(self.folder, "log")) as service:
            self.expected, gaps, self.end = service.read_all("a")
        if gaps or len(self.frames["a"]) < 4:
            raise Failure("the logs are not what this test needs")

    def copy(self, name):
        to = os.path.join(self.folder, name)
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.source, to)
        return to

    def segment(self, data, number, log="a"):
        return os.path.join(data, "logs", log, f"{number:020}.seg")

    def used(self, number, log="a"):
        last = self.frames[log][number][-1]
        return last["position"] + last["bytes"]

    def last(self):
        return max(self.frames["a"])

    def verify(self, data, log="a"):
        before = tree_hash(data)
        status, out = run([self.wald, "verify", "--json", "--log", log, data], {0, 1, 2})
        if tree_hash(data) != before:
            raise Failure("verify has changed something")
        return status, json.loads(out)["logs"][0]

    def is_named(self, found, number, begin, end):
        file = f"{number:020}.seg"
        places = list(found["damages"]) + ([found["torn"]] if "torn" in found else [])
        return any(p["file"] == file and p["position"] < end and p["end"] > begin for p in places)

    def check_served(self, data, found, name):
        """What the service makes of it. Returns the records."""
        named = set()
        for damage in found["damages"]:
            end = damage["offset_end"] if damage["offset_end"] is not None else self.end
            named.update(range(damage["offset"], end))
        with Service(self.wald, data, os.path.join(self.folder, "log")) as service:
            records, gaps, end = service.read_all("a")
        for offset, body in records.items():
            if self.expected.get(offset) != body:
                raise Failure(f"{name}: a wrong byte at {offset}")
        for offset in self.expected:
            if offset not in records and offset not in named and offset < found["next_offset"]:
                raise Failure(f"{name}: {offset} is intact and was not served")
            if offset not in records and offset not in gaps and offset < end:
                raise Failure(f"{name}: {offset} is missing without a word")
        self.counts["served"] += 1
        return records

    def kept(self, data, file, begin, end):
        """What is kept of a place, which may have grown when a file got its length again. Or None."""
        folder = os.path.join(data, "logs", "a")
        for name in os.listdir(folder):
            if not name.startswith(f"{file}.damaged."):
                continue
            kept_begin, kept_end = map(int, name.rsplit(".", 1)[1].split("-"))
            if kept_begin <= begin and end <= kept_end:
                with open(os.path.join(folder, name), "rb") as copy:
                    return copy.read()[begin - kept_begin : end - kept_begin]
        return None

    def check_set_aside(self, data, hurt, found, after, case):
        """What is known to be damaged has its copy. And nothing is lost of what was found before: of a
        frame that was cut off the header may be whole, once its file has its length again, and stays."""
        for damage in after["damages"] + found["damages"]:
            file, begin, end = damage["file"], damage["position"], damage["end"]
            kept = self.kept(data, file, begin, end)
            if kept is None and damage in found["damages"]:
                with open(os.path.join(data, "logs", "a", file), "rb") as segment:
                    kept = segment.read()[begin:end]
            if kept is None:
                raise Failure(f"{case}: {begin} to {end} of {file} were not set aside")
            # What a file lacks is as good as zeros.
            if kept.rstrip(b"\0") != hurt.get(file, b"")[begin:end].rstrip(b"\0"):
                raise Failure(f"{case}: {begin} to {end} of {file} are not kept as they were")

    def check_repair(self, data, found, records, name):
        hurt = {}
        for file in os.listdir(os.path.join(data, "logs", "a")):
            with open(os.path.join(data, "logs", "a", file), "rb") as bytes_of:
                hurt[file] = bytes_of.read()
        before = tree_hash(data)
        run([self.wald, "repair", "--log", "a", data], {0, 1, 2})
        if tree_hash(data) != before:
            raise Failure(f"{name}: a dry run has changed something")
        run([self.wald, "repair", "--yes", "--log", "a", data], {0})
        status, after = self.verify(data)
        if status != 0 or not all(damage["known"] for damage in after["damages"]):
            raise Failure(f"{name}: after the repair: {after}")
        if after["next_offset"] < found["next_offset"]:
            raise Failure(f"{name}: offsets are given again")
        self.check_set_aside(data, hurt, found, after, name)
        with Service(self.wald, data, os.path.join(self.folder, "log")) as service:
            status, body, _ = service.ask("POST", "/logs/a", b"after the repair")
            if status != 200:
                raise Failure(f"{name}: no append after the repair: {status} {body}")
            offset = json.loads(body)["offset"]
            now, gaps, _ = service.read_all("a")
        if offset < found["next_offset"] or now.get(offset) != b"after the repair":
            raise Failure(f"{name}: the append after the repair is not there")
        for old, body in records.items():
            if now.get(old) != body:
                raise Failure(f"{name}: {old} was served before the repair")
        if any(old not in now and old not in gaps for old in range(found["next_offset"])):
            raise Failure(f"{name}: a gap is not told of")
        self.counts["repaired"] += 1

    def case(self, name, number, begin, end, hurt, serve, may_hide=False):
        """`hurt` changes [begin, end) of a segment of log a."""
        data = self.copy("case")
        hurt(data)
        status, found = self.verify(data)
        self.counts["cases"] += 1
        if not may_hide and (status == 0 or not self.is_named(found, number, begin, end)):
            raise Failure(f"{name}: not named: {found}")
        if not (serve or self.all):
            return
        records = self.check_served(data, found, name)
        # A service that opened the log has cleared a torn end meanwhile.
        status, found = self.verify(data)
        if status == 1:
            self.check_repair(data, found, records, name)

    def zeros(self):
        for number in self.frames["a"]:
            for at in range(0, self.used(number), BLOCK):
                is_end = number == self.last() and at >= self.frames["a"][number][-1]["position"]
                self.case(
                    f"zeros in {number} at {at}", number, at, at + BLOCK,
                    lambda data: patch(self.segment(data, number), at, bytes(BLOCK)),
                    serve=at // BLOCK % 3 == 0, may_hide=is_end,
                )

    def cuts(self):
        for number in self.frames["a"]:
            used = self.used(number)
            odd = [] if number % 2 else [1, BLOCK - 1, BLOCK + 97, used // 2 + 1]
            for at in sorted([*range(0, used, BLOCK), *odd]):
                # Where frames end, the end of the last file looks like the end of the log.
                self.case(
                    f"{number} cut at {at}", number, at, self.used(number),
                    lambda data: os.truncate(self.segment(data, number), at),
                    serve=at // BLOCK % 5 == 1,
                    may_hide=number == self.last() and at > BLOCK,
                )

    def flips(self):
        step = 251 if self.all else 1021
        for number in self.frames["a"]:
            with open(self.segment(self.source, number), "rb") as file:
                content = file.read()
            for at in range(number % step, self.used(number), step):
                self.case(
                    f"byte {at} of {number} turned", number, at, at + 1,
                    lambda data: patch(self.segment(data, number), at, bytes([content[at] ^ 0xFF])),
                    serve=at % 23 == 0,
                )

    def swaps(self):
        """Blocks of other places: of another segment, and of another log."""
        for log, other in (("a", 1), ("a", 0), ("b", 0)):
            for number in (0, 2, self.last()):
                if log == "a" and number == other:
                    continue
                for at in range(0, min(self.used(number), self.used(other, log)), BLOCK):
                    is_end = (number == self.last() and
                              at >= self.frames["a"][number][-1]["position"])

                    def swap(data):
                        with open(self.segment(data, other, log), "rb") as file:
                            file.seek(at)
                            stray = file.read(BLOCK)
                        with open(self.segment(data, number), "rb") as file:
                            file.seek(at)
                            own = file.read(BLOCK)
                        patch(self.segment(data, number), at, stray)
                        patch(self.segment(data, other, log), at, own)

                    self.case(f"block {at} of {number} and of {log}/{other} swapped", number, at,
                              at + BLOCK, swap, serve=at // BLOCK % 4 == 1, may_hide=is_end)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wald")
    parser.add_argument("data")
    parser.add_argument("folder")
    parser.add_argument("--all", action="store_true", help="more bytes, and every case served")
    test = Test(parser.parse_args())
    for part in (test.zeros, test.cuts, test.flips, test.swaps):
        part()
        print(part.__name__, test.counts, flush=True)


try:
    main()
except Failure as failure:
    print(f"FAILED: {failure}")
    sys.exit(1)
