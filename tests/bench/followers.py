#!/usr/bin/env python3
"""What idle followers cost: followers.py WALD [options].

Many connections follow many streams by SSE, and nothing comes; meanwhile other clients append to a
stream of their own. Rounds with and without the followers alternate on one running program, so that
drifts of the machine meet both. Nothing is asserted. It wants the program wrk."""

import argparse
import collections
import http.client
import os
import re
import resource
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "streams"))
from program import Failure, program_of  # noqa: E402 # pylint: disable=wrong-import-position

# Descriptors that the program and its clients need for something else.
SPARE_FILES = 200
AT_A_TIME = 200

Sample = collections.namedtuple("Sample", "rate p50 p99 cpu")


# ---- the followers: a process of their own, which reads, and comes back when it is sent away ----


class Followers:
    """Connections that wait for events. Used in a child process, told what to do by lines."""

    def __init__(self, port, count, logs):
        self.port, self.count, self.logs = port, count, logs
        self.epoll = select.epoll()
        self.sockets = {}
        self.started = set()
        self.again = 0

    def connect(self, number):
        made = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        made.sendall(b"GET /v1/stream/idle-%d?offset=now&live=sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" %
                     (number % self.logs))
        made.setblocking(False)
        self.sockets[made.fileno()] = (made, number)
        self.epoll.register(made, select.EPOLLIN)

    def turn(self, timeout):
        for descriptor, _ in self.epoll.poll(timeout):
            made, number = self.sockets[descriptor]
            try:
                data = made.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if data:
                if number not in self.started:
                    if b" 200 " not in data[:20]:
                        raise SystemExit("a follower was answered " + repr(data[:300]))
                    self.started.add(number)
                continue
            del self.sockets[descriptor]
            made.close()
            self.again += 1
            self.connect(number)

    def run(self):
        for number in range(self.count):
            self.connect(number)
            if number % AT_A_TIME == AT_A_TIME - 1:
                self.turn(0)
        while len(self.started) < self.count:
            self.turn(1)
        print("following", flush=True)
        self.epoll.register(0, select.EPOLLIN)
        self.sockets[0] = None
        while True:
            ready = self.epoll.poll(1)
            if any(descriptor == 0 for descriptor, _ in ready):
                print(self.again, flush=True)
                return
            self.turn(0)


class Crowd:
    """The processes with all followers."""

    def __init__(self, options, port):
        self.children = []
        for share in range(options.processes):
            count = options.followers // options.processes
            self.children.append(subprocess.Popen(
                [sys.executable, os.path.abspath(__file__), "--follow", str(port), str(count),
                 str(options.logs), str(share)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                text=True))
        for child in self.children:
            if child.stdout.readline().strip() != "following":
                raise Failure("the followers could not connect")

    def end(self):
        """How often followers were sent away and came back."""
        again = 0
        for child in self.children:
            again += int(child.communicate("end\n", timeout=60)[0] or 0)
        return again


# ---- the load ----

POST_SCRIPT = """wrk.method = "POST"
wrk.body = string.rep("x", %d)
wrk.headers["Content-Type"] = "application/octet-stream"
"""


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def in_ms(text):
    number, unit = re.match(r"([\d.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]


def load(program, options, script):
    """Appends to a stream that nobody follows, for a while."""
    before = cpu_seconds(program.process.pid)
    said = subprocess.run(
        ["wrk", "-t1", f"-c{options.clients}", f"-d{options.seconds}s", "--latency", "-s", script,
         f"{program.url}/v1/stream/busy"], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise Failure(said)
    rate = float(re.search(r"Requests/sec: *([\d.]+)", said)[1])
    latency = {which: in_ms(re.search(rf"{which}% *(\S+)", said)[1]) for which in (50, 99)}
    used = cpu_seconds(program.process.pid) - before
    return Sample(rate, latency[50], latency[99], used / (rate * options.seconds) * 1e6)


# ---- memory ----


def memory(pid):
    """Bytes: resident in the program; held by TCP sockets for data, and in the kernel's tables, of the
    whole machine."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    with open("/proc/net/sockstat", encoding="ascii") as file:
        buffers = int(re.search(r"TCP:.* mem (\d+)", file.read())[1]) * os.sysconf("SC_PAGESIZE")
    with open("/proc/meminfo", encoding="ascii") as file:
        slab = int(re.search(r"Slab: *(\d+)", file.read())[1]) * 1024
    return {"resident": resident, "socket buffers": buffers, "kernel tables": slab}


def prepare(program, options):
    connection = http.client.HTTPConnection("127.0.0.1", program.port, timeout=60)
    for name in [f"idle-{number}" for number in range(options.logs)] + ["busy"]:
        connection.request("PUT", f"/v1/stream/{name}", b"a first message",
                           {"Content-Type": "application/octet-stream"})
        response = connection.getresponse()
        response.read()
        if response.status != 201:
            raise Failure(f"PUT {name}: {response.status}")
    connection.close()


def measure(program, options, script):
    samples = {"without": [], "with": []}
    first = None
    load(program, options, script)  # warm
    for number in range(options.rounds):
        samples["without"].append(load(program, options, script))
        before = memory(program.process.pid)
        begun = time.monotonic()
        crowd = Crowd(options, program.port)
        connected = time.monotonic() - begun
        time.sleep(1)
        after = memory(program.process.pid)
        samples["with"].append(load(program, options, script))
        again = crowd.end()
        if first is None:
            first = {name: after[name] - before[name] for name in before}
        ratio = samples["with"][-1].rate / samples["without"][-1].rate
        print(f"round {number + 1}: {samples['without'][-1].rate:,.0f}/s without, "
              f"{samples['with'][-1].rate:,.0f}/s with ({ratio:.2f}); connected in {connected:.1f} s, "
              f"{again} came back", flush=True)
        time.sleep(1)
    return samples, first


def report(options, samples, growth):
    print(f"\n{options.followers} followers of {options.logs} streams; {options.clients} clients append "
          f"{options.bytes} bytes each to another; {options.backend}; medians of {options.rounds} rounds")
    print("| followers | appends/s | p50 ms | p99 ms | cpu us/append |\n|---|---|---|---|---|")
    for name, visits in samples.items():
        middle = Sample(*(statistics.median(values) for values in zip(*visits)))
        low, high = min(visit.rate for visit in visits), max(visit.rate for visit in visits)
        print(f"| {name} | {middle.rate:,.0f} ({low:,.0f} to {high:,.0f}) | {middle.p50:.2f} | "
              f"{middle.p99:.2f} | {middle.cpu:.1f} |")
    ratios = [a.rate / b.rate for a, b in zip(samples["with"], samples["without"])]
    print(f"\nratio, round by round: {statistics.median(ratios):.3f}")
    for name, grown in growth.items():
        whose = "of the program" if name == "resident" else "of the machine, both ends of a connection"
        print(f"{name}, {whose}: {grown / options.followers:,.0f} bytes a follower")


def files_raise():
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    return limit[1]


def main():
    if sys.argv[1:2] == ["--follow"]:
        files_raise()
        Followers(int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])).run()
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("wald")
    parser.add_argument("--backend", choices=("uring", "posix"), default="uring")
    parser.add_argument("--dir", default=".")
    parser.add_argument("--followers", type=int, default=10000)
    parser.add_argument("--logs", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--bytes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("there is no wrk; apt-get install wrk")
    if files_raise() < options.followers + options.logs + options.clients + SPARE_FILES:
        sys.exit("the limit of open files (ulimit -Hn) is too low for so many")
    with program_of(options.wald, options.backend, options.dir, "--connections-max", "1000",
                    "--followers-max", str(options.followers + SPARE_FILES)) as program, \
            tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(POST_SCRIPT % options.bytes)
        script.flush()
        program.start()
        prepare(program, options)
        samples, growth = measure(program, options, script.name)
        report(options, samples, growth)
        program.stop()


if __name__ == "__main__":
    main()
