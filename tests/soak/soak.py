#!/usr/bin/env python3
"""soak.py WALD BACKEND FOLDER [--seconds N] [--seed N] [--plants]: mixed load at both doors for as long as
wanted, while every few seconds something happens to the program: kill -9, a stop in good order, a full
disk, damage in the files of a log, new certificates, broken ones, or nothing. Some lives speak TLS. Full
segments are packed meanwhile, everything is read again for damage, and one log keeps its newest records
only.

Held against each other are what was sent, what was answered and what is there: each acknowledged record is
there once, at its offset, byte for byte, in every later life; what was refused is not; what had no answer is
there whole or not at all; events come in order, without a gap or a double. Retention takes what it may, and
no more. A damaged log tells of its damage and loses nothing else. New connections get the newest
certificate, and no others are broken by that. Memory and descriptors may not grow from life to life. The
largest latency is printed, and so is everything that makes a run what it is: --seed repeats choices, but not
the timing."""

import argparse
import collections
import contextlib
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "faults"))

# pylint: disable=wrong-import-position # it lies beside it
from certificates import BREAKS, Certificates, serial_of, served_serial  # noqa: E402
from clients import (JSON, KEPT, KEPT_LOG, LOGS, WRITERS, Follower, StreamFollower,  # noqa: E402
                     Streamer, Writer, may_go_below)
from model import Log, place_of, read_all  # noqa: E402
from service import Connection, Failure, Judge, Lost, Program, request_bytes  # noqa: E402

MIB = 1 << 20
EPISODES = ["kill", "kill", "kill", "stop", "full", "damage", "reload", "broken", "quiet"]
DISK_BYTES = 512 * MIB
GROWTH_BYTES = 24 * MIB  # of memory, from the first lives to the last
RECORDS_MAX = 4000  # of a log, before it is deleted and made anew: an oracle remembers all
MESSAGES_MAX = 20000  # of a stream, likewise


class Soak:
    """A directory, the lives of the program on it, and its clients."""

    def __init__(self, options, program):
        self.options, self.program, self.seed = options, program, options.seed
        self.random = random.Random(options.seed)
        self.patience_s = 30
        self.judge = Judge()
        self.lock = threading.Lock()
        self.logs = {}
        self.ending, self.open = threading.Event(), threading.Event()
        self.active = 0
        self.clients = []
        self.episodes = collections.Counter()
        self.measures = {False: [], True: []}  # (memory, files) of each life, without TLS and with it
        self.certificates = Certificates(os.path.join(program.folder, "tls"))
        self.reloads = 0
        self.damaged = 0
        self.is_disturbed = False  # in this life a disk was full, or a file was damaged
        self.beside = collections.Counter()  # what went on in the background, in each life at most

    # ---- for clients ----

    def log(self, name):
        with self.lock:
            return self.logs.setdefault(name, Log(name))

    def counted(self):
        soak = self

        class Counted:
            """While a client has a turn."""

            def __enter__(self):
                with soak.lock:
                    soak.active += 1

            def __exit__(self, *_):
                with soak.lock:
                    soak.active -= 1

        return Counted()

    def judge_answer(self, method, target, headers, answer):
        with self.lock:
            # To hold each against the schema would take most of the time.
            if answer.status >= 300 or self.judge.counts.get(str(answer.status), 0) % 50 == 0:
                self.judge.judge(method, target, headers, answer)
            else:
                self.judge.count(str(answer.status))

    # ---- episodes ----

    def start(self, tls=None):
        """With TLS or without it: that, too, is chosen."""
        if tls is None:
            tls = self.random.random() < 0.5
        self.program.tls = self.certificates.context if tls else None
        self.is_disturbed = False
        self.program.start("--heartbeat", "1s", "--followers-max", "50", "--idle-timeout", "10s",
                           "--stream-life", "2s", "--segment-bytes",
                           self.random.choice(("64KiB", "64KiB", "256KiB", "1MiB")),
                           "--space-floor", "0KiB", "--retain-interval", "200ms", "--pack", "on",
                           "--scrub-rate", "32MiB", "--scrub-interval", "300ms",
                           *(self.certificates.arguments() if tls else []))

    def pause(self):
        """Clients finish what they have begun, and begin nothing."""
        self.open.clear()
        end = time.monotonic() + self.patience_s + 10
        while self.active:
            if time.monotonic() > end:
                raise Failure(f"{self.active} clients are stuck")
            self.look()
            time.sleep(0.01)

    def look(self):
        for client in self.clients:
            if client.failure:
                raise Failure(client.failure)

    def work(self, seconds):
        self.open.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            if not self.program.running():
                raise Failure(f"the program ended by itself: {self.program.process.returncode}")
            time.sleep(0.05)

    def measure(self):
        """At rest: streams of events are closed, nothing is asked."""
        for client in self.clients:
            client.connection.close()
            if isinstance(client, Follower):
                client.is_open = False
        end = time.monotonic() + 20
        while True:
            stats = self.program.stats()
            files = self.program.files() - stats["write_handles"]
            if stats["requests_in_progress"] <= 1 and stats["appends_waiting"] == 0 and \
                    stats["followers"] == 0 and stats["connections"] <= 1:
                break
            if time.monotonic() > end:
                raise Failure(f"something is left waiting: {stats}")
            time.sleep(0.05)
        self.measures[self.program.tls is not None].append((self.program.memory(), files))
        self.check_beside(stats)

    def check_beside(self, stats):
        """What goes on in the background finds nothing where there is nothing."""
        scrub = stats["scrub"]
        strangers = [log for log in re.findall(r"event=damage_found log=(\S+)", self.program.said())
                     if not log.startswith("victim-")]
        if strangers or (scrub["found"] and not self.is_disturbed):
            raise Failure(f"damage is said to be in {strangers or scrub}")
        if not self.is_disturbed and (scrub["errors"] or stats["pack_failures"]):
            raise Failure(f"{stats['pack_failures']} segments were not packed: {scrub}")
        for what, count in (("segments packed", stats["packed_segments"]),
                            ("passes of the scrub", scrub["passes"]),
                            ("trims by retention", stats["trims"]["records"]["count"])):
            self.beside[what] = max(self.beside[what], count)

    def verify(self):
        """All that is there, held against all that was sent. No client is active."""
        connection = Connection(self.program.port, self.patience_s, self.program.tls)

        def ask(target):
            connection.send(request_bytes("GET", target))
            return connection.answer("GET", target)

        for name, log in list(self.logs.items()):
            if name == KEPT_LOG:
                self.wait_for_retention(log, ask)
            found, first = read_all(ask, name)
            if found is None:
                if log.acknowledged:
                    raise Failure(f"the log {name} is gone")
                continue
            log.check(found, first)
            self.learn(log, found)
            for offset in [offset for offset in log.acknowledged if offset < first]:
                del log.acknowledged[offset]
        connection.close()
        for client in self.clients:
            if isinstance(client, Streamer) and client.made:
                client.check()

    def wait_for_retention(self, log, ask):
        """It takes all that it may, and nothing else. What it is comes through every life."""
        kept = KEPT + (1 if self.options.plant == "retention" else 0)
        end = time.monotonic() + self.patience_s
        while True:
            about = ask(f"/logs/{log.name}").json()
            if about["settings"].get("retention") != {"records": KEPT}:
                raise Failure(f"{log.name} has forgotten what it keeps: {about}")
            wanted = max(about["committed_offset"] - kept, log.trimmed)
            if about["first_offset"] > wanted:
                raise Failure(f"{log.name} begins at {about['first_offset']}, and not at {wanted}")
            if about["first_offset"] == wanted:
                break
            if time.monotonic() > end:
                raise Failure(f"{log.name} begins at {about['first_offset']}, and still not at {wanted}")
            time.sleep(0.05)
        if wanted > max(may_go_below(log), log.trimmed):
            raise Failure(f"{log.name} has {about['committed_offset']} records, which nobody sent")
        log.trimmed = wanted

    def learn(self, log, found):
        """What had no answer is settled now: it stays as it is for ever."""
        pending = [client.key[2] for client in self.clients
                   if isinstance(client, Writer) and client.key and client.key[0] is log]
        there = {data: offset for offset, data in found.items()}
        kept = []
        for records in log.uncertain:
            begin = place_of(records, there)
            if records[0] in pending:
                kept.append(records)
            elif begin is not None:
                log.acknowledge(begin, records)
            else:
                log.refused.update(records)
        log.uncertain = kept

    def kill(self):
        self.work(self.random.uniform(0.5, self.options.episode))
        self.program.kill()
        self.pause()
        self.start()

    def stop(self):
        self.work(self.random.uniform(0.5, self.options.episode))
        self.stop_in_order()
        self.start()

    def stop_in_order(self):
        self.measure_quietly()
        self.program.terminate()
        if self.program.wait_end(60) != 0 or "event=stopped" not in self.program.said():
            raise Failure(f"it stopped with {self.program.process.returncode}")

    def reload(self):
        """New certificates, by rename and SIGHUP, once or a few times. At last another one, and the end of
        the program right then."""
        with self.undisturbed():
            for _ in range(self.random.randrange(1, 4)):
                before = self.served() - (1 if self.options.plant == "serial" else 0)
                self.certificates.replace()
                self.hang_up("certificate_read")
                if self.served() != before + 1:
                    raise Failure(f"new connections have the certificate {self.served()} after that of "
                                  f"{before}")
                self.work(self.random.uniform(0.1, 0.5))
        ending = self.random.choice((None, signal.SIGKILL, signal.SIGTERM))
        if ending:
            self.certificates.replace()
            self.program.process.send_signal(signal.SIGHUP)
            time.sleep(self.random.choice((0, 0.0005, 0.002)))
            self.program.process.send_signal(ending)
            status = self.program.wait_end(60)
            if status != (0 if ending == signal.SIGTERM else -ending):
                raise Failure(f"it ended with {status} in a reload")
            self.pause()
            self.start()

    def broken(self):
        """Certificates that are none: the one before goes on, and the log says why."""
        with self.undisturbed():
            before = self.served()
            for how in self.random.sample(sorted(BREAKS), 2):
                self.certificates.spoil(how)
                self.hang_up("certificate_not_read", BREAKS[how])
                if self.served() != before:
                    raise Failure(f"new connections have the certificate {self.served()} after that of "
                                  f"{before}, and none has come: {how}")
                self.work(self.random.uniform(0.1, 0.5))
            self.certificates.replace()
            self.hang_up("certificate_read")
            if self.served() != self.certificates.serial:
                raise Failure(f"new connections have the certificate {self.served()}")

    def served(self):
        return served_serial(self.program, self.patience_s)

    @contextlib.contextmanager
    def undisturbed(self):
        """With TLS; nobody loses a connection meanwhile, and who has been there keeps his certificate."""
        if not self.program.tls:
            self.stop_in_order()
            self.start(tls=True)
        self.work(0.3)
        lost = [client.lost for client in self.clients]
        old = Connection(self.program.port, self.patience_s, self.program.tls)
        try:
            serial = serial_of(old)
            yield
            self.work(0.3)
            old.send(request_bytes("GET", "/livez"))
            if old.answer("GET", "/livez").status != 200 or serial_of(old) != serial:
                raise Failure("a connection from before a reload")
        except Lost as loss:
            raise Failure(f"a connection from before a reload is lost: {loss}") from loss
        finally:
            old.close()
        self.look()
        for client, before in zip(self.clients, lost):
            if client.lost != before:
                raise Failure(f"{type(client).__name__} {client.number} lost its connection in a reload")

    def hang_up(self, event, text=""):
        """SIGHUP, and what the program says about it."""
        before = len(self.program.said())
        self.program.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + self.patience_s
        said = None
        while not said:
            self.work(0.01)
            if time.monotonic() > end:
                raise Failure("nothing is said about SIGHUP")
            said = re.search(r"event=(certificate_\w+) .*\n", self.program.said()[before:])
        if said[1] != event or text not in said[0]:
            raise Failure(f"after SIGHUP {event} was wanted, {text!r}: {said[0]}")
        self.reloads += 1

    def measure_quietly(self):
        self.pause()
        self.measure()

    def full(self):
        """The disk is full for a while: a file takes what is left of it. Where there is no small disk, no
        file may grow any more, which is no more than like it, and ends with another start."""
        self.work(0.3)
        if self.options.disk:
            self.fill()
            self.append_again()
            return
        self.is_disturbed = True
        pid = self.program.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (65536 + 4096 * self.random.randrange(200),
                                                      before[1]))
        self.work(self.random.uniform(0.5, self.options.episode))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        self.pause()
        self.program.terminate()
        self.program.wait_end(60)
        if "event=stopped" not in self.program.said():
            raise Failure(f"it stopped with {self.program.process.returncode}")
        self.start()
        self.append_again()

    def fill(self):
        self.is_disturbed = True
        path = os.path.join(self.options.disk, "ballast")
        before = self.judge.counts.get("507 no-space", 0)
        with open(path, "wb") as ballast:
            space = os.statvfs(self.options.disk)
            end = time.monotonic() + 20
            while time.monotonic() < end and self.judge.counts.get("507 no-space", 0) == before:
                with contextlib.suppress(OSError):
                    space = os.statvfs(self.options.disk)
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size,
                                       max(space.f_bavail * space.f_frsize, 4096))
                self.work(0.2)
            self.work(self.random.uniform(0.2, self.options.episode))
        os.remove(path)
        self.work(0.5)
        self.pause()
        if self.judge.counts.get("507 no-space", 0) == before:
            raise Failure("the disk was full, and nobody was told")

    def append_again(self):
        """To each log, without another start."""
        self.append(["full"] + [f"w{number}-{log}" for number in range(WRITERS) for log in range(LOGS)])

    def append(self, names):
        for name in names:
            data = f"again {name} {time.monotonic_ns()}".encode()
            answer = self.program.ask("POST", f"/logs/{name}", None, data)
            self.log(name).sent([data], answer)
            if answer.status != 200:
                raise Failure(f"an append to {name} where there is room: {answer}")

    def damage(self):
        """A byte of a log that nobody writes to any more is turned, between two lives."""
        self.work(0.3)
        self.pause()
        name = f"victim-{self.damaged}"
        records = [f"{name} {number}".encode() * 20 for number in range(40)]
        for record in records:
            answer = self.program.ask("POST", f"/logs/{name}", None, record)
            if answer.status != 200:
                raise Failure(f"{name}: {answer}")
        self.program.terminate()
        if self.program.wait_end(60) != 0:
            raise Failure(f"it stopped with {self.program.process.returncode}")
        victim = self.random.randrange(len(records) - 1)
        last, path = self.file_of(records[-1]), self.file_of(records[victim])
        self.turn_byte(path, records[victim])
        self.start()
        self.is_disturbed = True
        self.damaged += 1
        self.check_damage(name, records, victim, path == last)

    def file_of(self, data):
        """The one that has this, wherever it lies."""
        for folder, _, files in os.walk(self.program.data):
            for file in files:
                path = os.path.join(folder, file)
                with open(path, "rb") as opened:
                    if data in opened.read():
                        return path
        raise Failure(f"{data[:40]!r} is in no file")

    def turn_byte(self, path, data):
        with open(path, "r+b") as opened:
            opened.seek(opened.read().find(data) + len(data) // 2)
            opened.write(b"\xff")

    def check_damage(self, name, records, victim, is_last):
        """`is_last`: in the last file of the log, the one that is read when it is opened."""
        self.wait_for_scrub(name)
        for offset, record in enumerate(records):
            answer = self.program.ask("GET", f"/logs/{name}/records/{offset}")
            if offset == victim:
                if answer.status != 500 or answer.problem != "record-damaged":
                    raise Failure(f"{name}, {offset}, which is damaged: {answer}")
            elif answer.status == 200 and answer.body != record:
                raise Failure(f"{name}, {offset}, beside the damage: {answer}")
            elif answer.status not in (200, 500):
                raise Failure(f"{name}, {offset}, beside the damage: {answer}")
        answer = self.program.ask("POST", f"/logs/{name}", None, b"more")
        if is_last and (answer.status != 503 or answer.problem != "log-damaged"):
            raise Failure(f"an append to {name}, which is damaged: {answer}")
        if not is_last and answer.status != 200:
            raise Failure(f"an append to {name}, which is damaged further up: {answer}")
        answer = self.program.ask("DELETE", f"/logs/{name}")
        if answer.status != 204:
            raise Failure(f"DELETE of {name}: {answer}")

    def wait_for_scrub(self, name):
        """It finds the damage before anybody has read there."""
        end = time.monotonic() + self.patience_s
        while f"event=damage_found log={name} " not in self.program.said():
            if time.monotonic() > end:
                raise Failure(f"the damage of {name} is not found: {self.program.stats()['scrub']}")
            time.sleep(0.05)

    def quiet(self):
        self.work(self.random.uniform(0.5, self.options.episode))

    def renew(self):
        """Logs that have grown large begin anew."""
        for name, log in list(self.logs.items()):
            pending = any(isinstance(client, Writer) and client.key and client.key[0] is log
                          for client in self.clients)
            if len(log.acknowledged) < RECORDS_MAX or pending or name == KEPT_LOG:
                continue
            answer = self.program.ask("DELETE", f"/logs/{name}")
            if answer.status != 204:
                raise Failure(f"DELETE of {name}: {answer}")
            # The same object stays with whoever holds it.
            log.__init__(name)
            for client in self.clients:
                if isinstance(client, Follower) and client.name == name:
                    client.begin()
                    client.connection.close()
        for client in self.clients:
            if isinstance(client, Streamer) and len(client.messages) > MESSAGES_MAX:
                answer = self.program.ask("DELETE", client.path)
                if answer.status != 204:
                    raise Failure(f"DELETE of {client.path}: {answer}")
                client.messages, client.sequence, client.made = [], 0, False
                for other in self.clients:
                    if isinstance(other, StreamFollower) and other.number == client.number:
                        other.begin()

    def run(self):
        self.start()
        answer = self.program.ask("PUT", f"/logs/{KEPT_LOG}", JSON,
                                  json.dumps({"retention": {"records": KEPT}}).encode())
        if answer.status != 201:
            raise Failure(f"PUT of {KEPT_LOG}: {answer}")
        self.clients = [Writer(self, number) for number in range(WRITERS)] + \
            [Streamer(self, number) for number in range(2)] + \
            [Follower(self, number) for number in range(3)] + \
            [StreamFollower(self, number) for number in range(2)]
        for client in self.clients:
            client.start()
        begun = time.monotonic()
        deck = []
        least = 2 if self.options.plant else 1  # some are found by clients, who go on behind them
        while time.monotonic() < begun + self.options.seconds or self.episodes.total() < least:
            if not deck:
                deck = self.random.sample(self.options.episodes, len(self.options.episodes))
            episode = deck.pop()
            getattr(self, episode)()
            self.episodes[episode] += 1
            self.pause()
            self.plant()
            self.verify()
            self.measure()
            self.renew()
        self.ending.set()
        self.open.set()
        for client in self.clients:
            client.join(self.patience_s + 10)
        self.look()
        self.check_growth()
        self.program.stop()

    def check_growth(self):
        """From the lives of the first third to those of the last."""
        for measures in self.measures.values():
            if measures:
                self.check_growth_of(measures)

    def check_growth_of(self, measures):
        third = max(len(measures) // 3, 1)
        early, late = measures[:third], measures[-third:]
        memory = min(memory for memory, _ in late) - max(memory for memory, _ in early)
        files = min(files for _, files in late) - max(files for _, files in early)
        if self.options.plant == "growth":
            files += 100
        if files > 8 or (memory > GROWTH_BYTES and not self.options.sanitized):
            raise Failure(f"{memory / MIB:.1f} MiB and {files} files more in the last lives than in "
                          "the first")

    def plant(self):
        """A violation that is pretended."""
        log = self.log("w0-0")
        if self.options.plant == "loss" and log.acknowledged:
            log.acknowledge(log.next_offset + 1000, [b"never sent"])
        elif self.options.plant == "change" and log.acknowledged:
            log.acknowledged[0] = b"something else"
        elif self.options.plant == "stream":
            self.clients[WRITERS].messages.append("never sent")
        elif self.options.plant == "events":
            self.clients[-1].next += 1
        elif self.options.plant == "retention":  # there is something to be trimmed, however slow it goes
            self.append([KEPT_LOG] * (KEPT + 2))

    def told(self):
        appended = sum(client.done for client in self.clients if isinstance(client, Writer))
        messages = sum(client.done for client in self.clients if isinstance(client, Streamer))
        events = sum(client.done for client in self.clients if isinstance(client, Follower))
        latency = max((client.latency_s for client in self.clients), default=0)
        measures = self.measures[False] + self.measures[True]
        memory = [memory / MIB for memory, _ in measures] or [0]
        files = [files for _, files in measures] or [0]
        beside = ", ".join(f"{count} {what}" for what, count in self.beside.items())
        return (f"{sum(self.episodes.values())} episodes {dict(self.episodes)}; {appended} records, "
                f"{messages} messages, {events} events; longest answer {latency * 1e3:.0f} ms; "
                f"{self.reloads} reloads; in a life up to {beside}; "
                f"{min(memory):.1f} to {max(memory):.1f} MiB, {min(files)} to {max(files)} files; "
                f"{self.judge}; 0 violations")


@contextlib.contextmanager
def small_disk(options, program):
    """options.disk is where a file system of its own is mounted, for the data; or None."""
    options.disk = None
    mounted, image = os.path.join(program.folder, "disk"), os.path.join(program.folder, "image")
    quiet = {"check": False, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if os.geteuid() == 0:
        os.mkdir(mounted)
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        if subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], **quiet).returncode == 0 and \
                subprocess.run(["mount", "-o", "loop", image, mounted], **quiet).returncode == 0:
            options.disk = mounted
            program.data = os.path.join(mounted, "data")
    try:
        yield
    finally:
        if program.running():
            program.process.kill()
            program.process.wait()
        if options.disk:
            subprocess.run(["umount", "-l", mounted], **quiet)


def run(options):
    """None, or the failure."""
    program = Program(options.wald, options.backend, options.folder, "soak")
    try:
        with small_disk(options, program):
            return run_on(options, program)
    finally:
        program.remove()


def run_on(options, program):
    soak = Soak(options, program)
    try:
        soak.run()
        print(soak.told())
        return None
    except (Failure, Lost, OSError, KeyError, ValueError) as failure:
        soak.ending.set()
        said = "\n".join(program.said().split("\n")[-30:])
        return f"{type(failure).__name__} {failure}\nseed {options.seed}, {dict(soak.episodes)}\n" \
               f"--- what the program said last:\n{said}"
    finally:
        soak.ending.set()


def find_plants(options):
    """Whether each pretended violation is found, by the right words."""
    options.seconds = 4
    for plant, wanted in {"loss": "acknowledged record", "change": "acknowledged record",
                          "stream": "that were", "growth": "files more", "retention": "and not at",
                          "events": "is next", "serial": "have the certificate"}.items():
        options.plant = plant
        options.episodes = ["reload"] if plant == "serial" else EPISODES
        failure = run(options)
        if failure is None or wanted not in failure:
            return f"{plant} was not found: {failure}"
        print(f"found {plant}: {failure.splitlines()[0][:150]}")
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wald")
    parser.add_argument("backend")
    parser.add_argument("folder")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--episode", type=float, default=3, help="seconds of each at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sanitized", action="store_true", help="memory is the sanitizer's")
    parser.add_argument("--plants", action="store_true", help="pretended violations are found")
    parser.add_argument("--plant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.episodes = EPISODES
    failure = find_plants(options) if options.plants else run(options)
    if failure:
        print(f"FAILED: {failure}")
        sys.exit(1)
    print("passed")


if __name__ == "__main__":
    main()
