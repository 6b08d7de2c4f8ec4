#!/usr/bin/env python3
"""load.py WALD BACKEND FOLDER [SCENARIO...]: what clients and the machine can do to the service. Each
scenario begins a fault while polite clients append and read, lets it last, and ends it. Every answer has
to be as openapi.yaml describes it and nobody may be stuck; then everything has to work as before, with
no descriptor lost, and after another start each acknowledged record has to be there.

Without a SCENARIO each has its turn, for a short time; --whole is the long form."""

import argparse
import contextlib
import gzip
import multiprocessing
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time

from model import Log, read_all
from service import Connection, Failure, Judge, Lost, Program, request_bytes

# pylint: disable=wrong-import-order # where it lies the service's own module knows
from program import SKIPPED  # noqa: I001

MIB = 1 << 20
LINES = {"Content-Type": "application/x-ndjson"}
EVENTS = {"Accept": "text/event-stream"}


class Skip(Exception):
    """This scenario cannot be had here, and why."""


class Polite(threading.Thread):
    """Appends to a log of its own, and reads back each record, until it is told to end."""

    def __init__(self, scene, name, pause_s=0.002):
        super().__init__(daemon=True)
        self.scene, self.log, self.pause_s = scene, scene.log(name), pause_s
        self.ending = threading.Event()
        self.latencies, self.failure, self.number = [], None, 0

    def one(self, connection):
        """Returns whether it was acknowledged."""
        self.number += 1
        data = f"{self.log.name} {self.number} ".encode() + b"." * 100
        begun = time.monotonic()
        answer = self.scene.ask("POST", f"/logs/{self.log.name}", body=data, over=connection)
        self.latencies.append(time.monotonic() - begun)
        self.log.sent([data], answer)
        if answer is None or answer.status != 200:
            return False
        offset = answer.json()["offset"]
        answer = self.scene.ask("GET", f"/logs/{self.log.name}/records/{offset}", over=connection)
        if answer is not None and answer.status == 200 and answer.body != data:
            raise Failure(f"{self.log.name}, record {offset}: {answer}, and sent was {data!r}")
        return True

    def run(self):
        connection = Connection(self.scene.program.port, self.scene.patience_s)
        try:
            while not self.ending.is_set():
                if not self.one(connection):
                    time.sleep(0.05)
                time.sleep(self.pause_s)
        except Exception as error:  # pylint: disable=broad-except # a thread tells nobody else
            self.failure = f"{self.log.name}: {type(error).__name__} {error}"
        connection.close()

    def end(self):
        self.ending.set()
        self.join(self.scene.patience_s + 5)
        if self.is_alive():
            raise Failure(f"{self.log.name}: a polite client is stuck")
        if self.failure:
            raise Failure(self.failure)


class Scene:
    """One program and its polite clients."""

    def __init__(self, options, program, judge):
        self.options, self.program, self.judge = options, program, judge
        self.patience_s = 20
        self.logs, self.polite, self.lock = {}, [], threading.Lock()
        self.limits = []  # (which, soft, hard) to be put back

    def log(self, name):
        return self.logs.setdefault(name, Log(name))

    def ask(self, method, target, headers=None, body=None, over=None, patience_s=None):
        # pylint: disable=too-many-arguments
        """The answer, held against openapi.yaml; None: the connection was closed without one."""
        connection = over or Connection(self.program.port, patience_s or self.patience_s)
        try:
            connection.send(request_bytes(method, target, headers, body))
            answer = connection.answer(method, f"{method} {target}")
        except Lost:
            with self.lock:
                self.judge.count("lost")
            return None
        finally:
            if over is None:
                connection.close()
        with self.lock:
            self.judge.judge(method, target, headers, answer, True)
        return answer

    def wanted(self, status, method, target, headers=None, body=None):
        answer = self.ask(method, target, headers, body)
        if answer is None or answer.status != status:
            raise Failure(f"{method} {target}: wanted {status}, got {answer}")
        return answer

    def append(self, name, data, status=200):
        answer = self.wanted(status, "POST", f"/logs/{name}", body=data)
        self.log(name).sent([data], answer)
        return answer

    def start(self, *arguments, before=None, polite=2):
        self.program.start(*arguments, before=before)
        self.append("before", b"before")
        for number in range(polite):
            self.polite.append(Polite(self, f"polite-{number}"))
            self.append(f"polite-{number}", f"first of {number}".encode())
        self.files = self.program.files()
        self.memory = self.program.memory()
        for polite in self.polite:
            polite.start()

    def settle(self):
        """Nothing is left waiting, and descriptors are given back."""
        end = time.monotonic() + 20
        while True:
            stats = self.program.stats()
            files = self.program.files()
            if stats["requests_in_progress"] <= 1 and stats["appends_waiting"] == 0 and \
                    stats["followers"] == 0 and files <= self.files + stats["write_handles"] + 16:
                return
            if time.monotonic() > end:
                raise Failure(f"{files} files, and {self.files} before; something waits: {stats}")
            time.sleep(0.05)

    def percentiles(self):
        times = sorted(sum((polite.latencies for polite in self.polite), []))
        if not times:
            return "no polite append"
        return (f"{len(times)} polite appends, p50 {times[len(times) // 2] * 1e3:.1f} ms, p99 "
                f"{times[len(times) * 99 // 100] * 1e3:.1f} ms, max {times[-1] * 1e3:.1f} ms")

    def finish(self):
        """The fault has ended: all is as before, also after another start."""
        if not self.program.running():
            raise Failure(f"the program ended by itself: {self.program.process.returncode}")
        for polite in self.polite:
            polite.end()
        for polite in self.polite:
            if not polite.one(Connection(self.program.port)):
                raise Failure(f"{polite.log.name}: a polite append is refused after the fault")
        self.append("after", b"after")
        self.wanted(200, "GET", "/readyz")
        self.settle()
        self.program.stop()
        self.program.start()
        for name, log in self.logs.items():
            found, first = read_all(lambda target: self.program.ask("GET", target), name)
            if found is not None:
                log.check(found, first)
            elif log.acknowledged:
                raise Failure(f"the log {name} is gone")
        self.program.stop()

    def limit(self, which, soft):
        """A limit of the program that is running; None: as it was."""
        pid = self.program.process.pid
        before = resource.prlimit(pid, which)
        if soft is None:
            soft = next(old for kind, old in self.limits if kind == which)
        else:
            self.limits.append((which, before[0]))
        resource.prlimit(pid, which, (soft, before[1]))


# ---- slow and idle ----

def hold(port, count, seconds, tell):
    """In a process of its own: connections that are silent, or send a byte now and then. Tells how many
    there were, and how many were closed by the other side."""
    beginnings = [b"", b"POST /logs/slo", b"POST /logs/slow HTTP/1.1\r\nHost: localhost\r\nX: ",
                  b"POST /logs/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nhalf",
                  b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    held, closed, refused = [], 0, 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 100)), hard))
    for number in range(count):
        try:
            connection = socket.socket()
            connection.bind((f"127.0.0.{2 + number % 100}", 0))
            connection.settimeout(5)
            connection.connect(("127.0.0.1", port))
            connection.send(beginnings[number % len(beginnings)])
            connection.setblocking(False)
            held.append(connection)
        except OSError:
            refused += 1
    tell.put(("held", len(held), refused))
    end = time.monotonic() + seconds
    while time.monotonic() < end and closed < len(held):
        time.sleep(0.5)
        for number, connection in enumerate(held):
            if connection.fileno() < 0:
                continue
            try:
                while connection.recv(4096):
                    pass
                closed += 1
                connection.close()
            except BlockingIOError:
                with contextlib.suppress(OSError):
                    if number % 5 in (2, 3):
                        connection.send(b".")
            except OSError:
                closed += 1
                connection.close()
    for connection in held:
        connection.close()
    tell.put(("closed", closed, 0))


def slow(scene):
    """Connections that are silent or slow, of which each is closed when its time is up."""
    count, seconds = (10000, 90) if scene.options.whole else (400, 30)
    count = scene.options.connections or count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < count + 2000:
        raise Skip(f"{hard} files may be open")
    deadline = "10s" if scene.options.whole else "1s"
    scene.start("--connections-max", str(count + 500), "--followers-max", "100",
                "--header-timeout", deadline, "--body-timeout", deadline, "--idle-timeout", deadline)
    tell = multiprocessing.Queue()
    holder = multiprocessing.Process(target=hold, args=(scene.program.port, count, seconds, tell))
    holder.start()
    _, held, refused = tell.get(timeout=120)
    memory = scene.program.memory() - scene.memory
    if refused or held != count:
        raise Failure(f"{refused} of {count} connections were not taken")
    _, closed, _ = tell.get(timeout=seconds + 120)
    holder.join(10)
    if closed != held:
        raise Failure(f"{held - closed} of {held} slow connections were not closed")
    return f"{held} slow connections, all closed by their deadlines; {memory / MIB:.1f} MiB more"


# ---- readers that never read ----

def deaf(scene):
    """Followers and readers of large pages who take nothing: cut off, and not at others' cost."""
    count = 200 if scene.options.whole else 20
    scene.start("--answer-timeout", "1s", "--idle-timeout", "2s", "--answer-memory", "8MiB", "--followers-max", str(count),
                "--heartbeat", "1s")
    data = b"x" * 60000
    for _ in range(20):
        scene.append("large", data[:-20] + os.urandom(10).hex().encode())
    sockets = []
    for number in range(2 * count):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", scene.program.port))
        target = f"/logs/large/records?offset=0&limit={number + 1 if number % 2 else 1000}"
        connection.sendall(request_bytes("GET", target, EVENTS if number % 2 else None))
        sockets.append(connection)
    end = time.monotonic() + (30 if scene.options.whole else 3)
    peak = 0
    while time.monotonic() < end:
        peak = max(peak, scene.program.memory() - scene.memory)
        scene.append("large", data[:-20] + os.urandom(10).hex().encode())
        time.sleep(0.05)
    scene.settle()  # before they hang up
    for connection in sockets:
        connection.close()
    return f"{count} readers and {count} followers who read nothing, {peak / MIB:.1f} MiB more at most"


# ---- beyond every limit ----

class Flood(threading.Thread):
    """Asks for too much of everything, again and again."""

    def __init__(self, scene, number, end):
        super().__init__(daemon=True)
        self.scene, self.number, self.end, self.failure = scene, number, end, None

    def once(self, turn):
        scene = self.scene
        name = f"flood-{(self.number + turn) % 12}"
        kind = (self.number + turn) % 7
        if kind in (0, 1):
            data = f"{self.number} {turn} ".encode() + b"f" * (3000 if kind else 60000)
            answer = scene.ask("POST", f"/logs/{name}", body=data)
            with scene.lock:
                scene.log(name).sent([data], answer)
        elif kind == 2:
            scene.ask("GET", f"/logs/{name}/records?offset=0&limit=1000")
        elif kind == 3:
            scene.ask("GET", f"/logs/{name}/records?offset=999999&wait=200ms")
        elif kind == 4:
            scene.ask("POST", f"/logs/{name}", LINES, b"x\n" * 70000)
        elif kind == 5:
            scene.ask("POST", f"/logs/{name}", {"X-Large": "a" * 5000}, b"x" * 200000)
        else:
            self.follow(name)

    def follow(self, name):
        connection = Connection(self.scene.program.port)
        target = f"/logs/{name}/records?limit=3"
        try:
            connection.send(request_bytes("GET", target, EVENTS))
            status, _ = connection.head(target)
            with self.scene.lock:
                self.scene.judge.count(f"{status} of a stream of events")
            if status == 200:
                time.sleep(0.1)
        except Lost:
            pass
        connection.close()

    def run(self):
        turn = 0
        try:
            while time.monotonic() < self.end:
                self.once(turn)
                turn += 1
        except Exception as error:  # pylint: disable=broad-except # a thread tells nobody else
            self.failure = f"{type(error).__name__} {error}"


def flood(scene):
    """More of everything than the limits allow, at the same time."""
    count, seconds = (200, 60) if scene.options.whole else (40, 4)
    scene.start("--connections-max", "24", "--body-memory", "1MiB", "--answer-memory", "128KiB",
                "--queue-bytes", "128KiB", "--queue-memory", "1MiB", "--followers-max", "4",
                "--logs-max", "8", "--max-record-bytes", "64KiB", "--max-batch-bytes", "100KiB",
                "--max-header-bytes", "4KiB", polite=1)
    end = time.monotonic() + seconds
    crowd = [Flood(scene, number, end) for number in range(count)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(seconds + 60)
        if one.is_alive():
            raise Failure("a client of the flood is stuck")
        if one.failure:
            raise Failure(one.failure)
    return f"{count} clients beyond every limit"


# ---- what runs short ----

def no_files(scene):
    """No descriptor is left: neither for connections nor for logs."""
    scene.start()
    for number in range(8):
        scene.append(f"old-{number}", b"old")
    scene.limit(resource.RLIMIT_NOFILE, scene.program.files() + 1)
    refused = 0
    end = time.monotonic() + (20 if scene.options.whole else 2)
    number = 0
    while time.monotonic() < end:
        number += 1
        data = f"short {number}".encode()
        answer = scene.ask("POST", f"/logs/new-{number % 50}", body=data)
        scene.log(f"new-{number % 50}").sent([data], answer)
        refused += answer is None or answer.status == 503
    scene.limit(resource.RLIMIT_NOFILE, None)
    if not refused:
        raise Failure("nothing was refused without descriptors")
    return f"{refused} of {number} requests for new logs refused without descriptors"


def no_memory(scene):
    """Memory is limited to little more than there is in use."""
    if scene.options.sanitized:
        raise Skip("sanitizers reserve too much memory to limit it")
    scene.start()
    with open(f"/proc/{scene.program.process.pid}/statm", encoding="ascii") as file:
        virtual = int(file.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    refused, number = 0, 0
    end = time.monotonic() + (20 if scene.options.whole else 2)
    scene.limit(resource.RLIMIT_AS, virtual + 2 * MIB)
    while time.monotonic() < end:
        number += 1
        data = f"{number} ".encode() + b"m" * 1000000
        answer = scene.ask("POST", f"/logs/memory-{number % 20}", body=data)
        scene.log(f"memory-{number % 20}").sent([data], answer)
        refused += answer is None or answer.status == 503
        answer = scene.ask("GET", f"/logs/memory-{number % 20}/records?limit=1000")
        refused += answer is None or answer.status == 503
    scene.limit(resource.RLIMIT_AS, None)
    return f"{refused} of {2 * number} requests refused without memory"


def new_logs(scene):
    """Appends to more and more logs that are not there yet."""
    count = scene.options.logs or (100000 if scene.options.whole else 300)
    free = shutil.disk_usage(scene.program.folder).free
    if count * 70000 > free / 2:
        raise Skip(f"{count} logs want more than half of the {free // MIB} MiB that are free")
    scene.start("--space-floor", "0KiB")
    statuses = {}
    numbers = iter(range(count))

    def make():
        connection = Connection(scene.program.port, 60)
        for number in numbers:
            data = b"first"
            connection.send(request_bytes("POST", f"/logs/n{number}", None, data))
            answer = connection.answer("POST", "a new log")
            statuses[answer.status] = statuses.get(answer.status, 0) + 1
            if number % 97 == 0:
                with scene.lock:
                    scene.log(f"n{number}").sent([data], answer)
        connection.close()

    failures = []

    def guarded():
        try:
            make()
        except Exception as error:  # pylint: disable=broad-except # a thread tells nobody else
            failures.append(f"{type(error).__name__} {error}")

    lock = threading.Lock()
    plain = numbers

    class Shared:
        """The same numbers for all threads."""

        def __iter__(self):
            return self

        def __next__(self):
            with lock:
                return next(plain)

    numbers = Shared()
    threads = [threading.Thread(target=guarded, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3600)
    if failures:
        raise Failure(failures[0])
    if not set(statuses) <= {200, 503, 507}:
        raise Failure(f"{statuses}")
    memory = scene.program.memory() - scene.memory
    return f"{count} new logs: {statuses}; {memory / MIB:.1f} MiB and {scene.program.files()} files"


def giants(scene):
    """Bodies of a GiB: announced, in chunks, and compressed to a MiB."""
    scene.start()
    peak = 0
    zeros = b"0" * MIB
    for _ in range(5 if scene.options.whole else 1):
        connection = Connection(scene.program.port)
        connection.send(b"POST /logs/giant HTTP/1.1\r\nHost: localhost\r\nContent-Length: "
                        b"1073741824\r\n\r\n" + zeros)
        answer = connection.answer("POST", "1 GiB announced")
        scene.judge.judge("POST", "/logs/giant", None, answer)
        if answer.status != 413:
            raise Failure(f"a body of 1 GiB: {answer}")
        connection.close()

        connection = Connection(scene.program.port)
        connection.send(b"POST /logs/giant HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
                        b"chunked\r\n\r\n")
        sent = 0
        with contextlib.suppress(OSError):
            for _ in range(1024):
                connection.socket.sendall(b"100000\r\n" + zeros + b"\r\n")
                sent += MIB
                peak = max(peak, scene.program.memory() - scene.memory)
        connection.close()
        if sent >= 512 * MIB:
            raise Failure(f"{sent // MIB} MiB of a body in chunks were taken")

        packed = gzip.compress(bytes(1 << 30), 1) if scene.options.whole else \
            gzip.compress(bytes(64 * MIB), 9)
        for headers in ({"Content-Encoding": "gzip"}, dict(LINES, **{"Content-Encoding": "gzip"})):
            answer = scene.ask("POST", "/logs/giant", headers, packed)
            peak = max(peak, scene.program.memory() - scene.memory)
            if answer is not None and answer.status != 413:
                raise Failure(f"a bomb of gzip: {answer}")
    scene.wanted(404, "GET", "/logs/giant/offsets")
    if peak > 64 * MIB and not scene.options.sanitized:
        raise Failure(f"{peak / MIB:.1f} MiB for bodies that are refused")
    return f"{sent // MIB} MiB in chunks sent until cut off; {peak / MIB:.1f} MiB more at most"


@contextlib.contextmanager
def small_disk(scene, mebibytes):
    """The data are on a file system of their own, which is made here."""
    if os.geteuid() != 0:
        raise Skip("mounting a disk needs root")
    image = os.path.join(scene.program.folder, "image")
    mounted = os.path.join(scene.program.folder, "disk")
    os.mkdir(mounted)
    with open(image, "wb") as file:
        file.truncate(mebibytes * MIB)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if subprocess.run(["mkfs.ext4", "-q", image], check=False, **quiet).returncode != 0 or \
            subprocess.run(["mount", "-o", "loop", image, mounted], check=False,
                           **quiet).returncode != 0:
        raise Skip("loop devices do not work here")
    scene.program.data = os.path.join(mounted, "data")
    try:
        yield mounted
    finally:
        subprocess.run(["fsfreeze", "-u", mounted], check=False, **quiet)
        if scene.program.running():
            scene.program.process.kill()
            scene.program.process.wait()
        subprocess.run(["umount", "-l", mounted], check=False, **quiet)


class Waiting(threading.Thread):
    """One append, which may have to wait for the disk."""

    def __init__(self, scene, number):
        super().__init__(daemon=True)
        self.scene, self.number, self.answer, self.failure = scene, number, None, None

    def run(self):
        data = f"stalled {self.number} ".encode() + b"s" * 3000
        try:
            self.answer = self.scene.ask("POST", "/logs/before", body=data)
            with self.scene.lock:
                self.scene.log("before").sent([data], self.answer)
        except Exception as error:  # pylint: disable=broad-except # a thread tells nobody else
            self.failure = f"{type(error).__name__} {error}"


def stalled_disk(scene):
    """The disk takes nothing for a while: a frozen file system. Appends wait, and are acknowledged when
    it goes on. With io_uring what needs no disk is answered meanwhile, and beyond the queue there is
    503; with plain system calls the loop itself waits for the disk, and everybody with it."""
    seconds = 20 if scene.options.whole else 2
    with small_disk(scene, 128) as mounted:
        scene.patience_s = seconds + 30
        scene.start("--queue-bytes", "64KiB", "--header-timeout", "5s", polite=2)
        for polite in scene.polite:
            polite.ending.wait(0.3)
        if subprocess.run(["fsfreeze", "-f", mounted], check=False).returncode != 0:
            raise Skip("file systems cannot be frozen here")
        time.sleep(0.2)
        begun = time.monotonic()
        crowd = [Waiting(scene, number) for number in range(60)]
        for one in crowd:
            one.start()
        answered = 0
        while time.monotonic() < begun + seconds:
            if scene.program.backend == "posix":
                time.sleep(0.1)
                continue
            for target in ("/livez", "/logs/before/records/0", "/logs/before/offsets", "/stats"):
                answer = scene.ask("GET", target, patience_s=5)
                if answer is None or answer.status != 200:
                    raise Failure(f"GET {target} while the disk stalls: {answer}")
                answered += 1
            time.sleep(0.1)
        early = [one.answer.status for one in crowd if one.answer]
        subprocess.run(["fsfreeze", "-u", mounted], check=True)
        for one in crowd:
            one.join(30)
            if one.is_alive() or one.failure:
                raise Failure(f"an append during the stall: {one.failure or 'stuck'}")
        if 200 in early or (503 not in early and scene.program.backend == "uring"):
            raise Failure(f"appends were answered {early} while the disk took nothing")
        scene.finish()
    return (f"{answered} requests answered while the disk stalled for {seconds} s; of {len(crowd)} "
            f"appends {len(early)} were refused, the others acknowledged after it")


SCENARIOS = {"slow": slow, "deaf": deaf, "flood": flood, "no-files": no_files,
             "no-memory": no_memory, "new-logs": new_logs, "giants": giants,
             "stalled-disk": stalled_disk}


def run(options, name):
    """Whether it went as it should."""
    judge = Judge()
    program = Program(options.wald, options.backend, options.folder, "load")
    scene = Scene(options, program, judge)
    begun = time.monotonic()
    try:
        said = SCENARIOS[name](scene)
        if program.running():
            scene.finish()
        print(f"{name}: {said}; {scene.percentiles()}; {judge}; {time.monotonic() - begun:.1f} s",
              flush=True)
    except Skip as skip:
        print(f"skipped: {name}: {skip}", flush=True)
        return SKIPPED
    except (Failure, Lost, OSError, KeyError, ValueError) as failure:
        print(f"FAILED: {name}: {type(failure).__name__} {failure}\n--- what the program said last:\n"
              f"{program.said()[-4000:]}", flush=True)
        return 1
    finally:
        program.remove()
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wald")
    parser.add_argument("backend")
    parser.add_argument("folder")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--whole", action="store_true", help="as much and as long as it takes")
    parser.add_argument("--connections", type=int, help="of the slow ones")
    parser.add_argument("--logs", type=int, help="of the new ones")
    parser.add_argument("--sanitized", action="store_true", help="memory is the sanitizer's")
    options = parser.parse_args()
    results = [run(options, name) for name in options.scenarios or SCENARIOS]
    if 1 in results:
        sys.exit(1)
    if all(result == SKIPPED for result in results):
        sys.exit(SKIPPED)
    print("passed")


if __name__ == "__main__":
    main()
