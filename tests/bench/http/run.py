#!/usr/bin/python3
"""Durable appends over HTTP, beside peers and beside the bare machine, in one run.

  cmake --preset release && cmake --build --preset release
  tests/bench/http/run.py                    everything that is installed: about half an hour
  tests/bench/http/run.py --quick            every point once, briefly: to see that it works
  tests/bench/http/run.py --only clients     one group; --list names them
  tests/bench/http/run.py --only 'clients 128 B'

All servers of a group run side by side, and the one that is measured is alone in having work. Rounds
alternate over all of them, so that a ratio compares neighbours in time; a ratio is taken round by round,
and what is printed is the median, with the lowest and the highest round. Peers that are not installed are
named and left out. Nothing is asserted.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request

import disk
import servers

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), "../../.."))


class Point:
    """A row: what is asked of which server, how often per round."""

    def __init__(self, group, label, server, visit, unit="appends/s", factor=1):
        self.group, self.label, self.server, self.visit = group, label, server, visit
        self.unit, self.factor = unit, factor
        self.samples = []
        self.trouble = None

    @property
    def name(self):
        return f"{self.group} {self.label} {self.server}"

    def rates(self):
        return [sample["rate"] * self.factor for sample in self.samples]


class Target:
    """A figure to reach: one point's rate divided by another's, or a percentile by another."""

    def __init__(self, text, over, under, bound, figure="rate", at_most=False):
        self.text, self.over, self.under, self.bound = text, over, under, bound
        self.figure, self.at_most = figure, at_most


def size_text(size):
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB" if size >= 1024 else f"{size} B"


def plan():
    points, targets = [], []

    def appends(group, label, names, connections, size, logs=1, records=0):
        for name in names:
            points.append(Point(group, label, name,
                                lambda server, c=connections, s=size, n=logs, r=records: server.append(c, s, n, r),
                                "records/s" if records else "appends/s", max(records, 1)))

    def bare(group, label, size, growing):
        points.append(Point(group, label, "bare disk",
                            lambda bench, s=size, g=growing: disk.measure(bench.folder, s, bench.seconds, g),
                            "writes/s"))

    ours = ["wald uring", "wald posix"]
    alone = "libmicrohttpd alone"
    for size in (128, 1024):
        for connections in (1, 64, 128, 500, 2000):
            label = f"{size_text(size)} c{connections}"
            peers = ["Redis Streams"] if connections in (1, 64, 500) else []
            if connections == 64 and size == 128:
                peers += ["PostgreSQL", "etcd", "Node reference"]
            appends("clients", label, [*ours, alone, *peers], connections, size)
            for name in ours:
                if connections in (64, 500):
                    targets.append(Target(f"{label}, {name} ÷ {alone}", f"clients {label} {name}",
                                          f"clients {label} {alone}", 0.70))
        if size == 128:
            bare("clients", "4 KiB, one at a time, overwriting zeros", 4096, False)
    for name in ours:
        at64, at500 = f"clients 128 B c64 {name}", f"clients 128 B c500 {name}"
        for peer, bound in (("Redis Streams", 1.5), ("PostgreSQL", 4.5), ("etcd", 7), ("Node reference", 80)):
            targets.append(Target(f"128 B c64, {name} ÷ {peer}", at64, f"clients 128 B c64 {peer}", bound))
        targets.append(Target(f"128 B c500, {name} ÷ Redis Streams", at500, "clients 128 B c500 Redis Streams", 1.15))
        targets.append(Target(f"one client, p50 ÷ bare p50, {name}", f"clients 128 B c1 {name}",
                              "clients 4 KiB, one at a time, overwriting zeros bare disk", 1.35, "p50_us", True))
        targets.append(Target(f"64 clients, p99 ÷ p50, {name}", at64, at64, 3, "p99_us/p50_us", True))

    appends("sizes", "64 KiB c64", [*ours, alone], 64, 65536)
    appends("sizes", "1 MiB c8", [*ours, alone], 8, 1 << 20)
    bare("sizes", "1 MiB, one at a time, growing", 1 << 20, True)
    appends("batches", "100 x 128 B c64", ours, 64, 128, 1, 100)
    for logs in (1, 16, 256, 1000, 10000):
        appends("logs", f"128 B c64 l{logs}", ours, 64, 128, logs)
    for name in ours:
        targets.append(Target(f"1 MiB bodies ÷ bare disk, {name}", f"sizes 1 MiB c8 {name}",
                              "sizes 1 MiB, one at a time, growing bare disk", 0.6))
        targets.append(Target(f"batches of 100, records/s, {name}", f"batches 100 x 128 B c64 {name}", None, 1e6))
        for logs, bound in ((16, 0.75), (256, 0.5)):
            targets.append(Target(f"{logs} logs ÷ one log, {name}", f"logs 128 B c64 l{logs} {name}",
                                  f"logs 128 B c64 l1 {name}", bound))

    points.append(Point("reads", "64 KiB c64", "nginx", read_chunks, "reads/s"))
    for writers, how in ((64, "committed together"), (1, "committed one by one")):
        points.append(Point("reads", f"64 KiB c64, {how}", "wald uring",
                            lambda server, w=writers: read_chunks(server, w), "reads/s"))
        targets.append(Target(f"catch-up reads of 64 KiB, {how} ÷ nginx",
                              f"reads 64 KiB c64, {how} wald uring", "reads 64 KiB c64 nginx", 0.7))
    return points, targets


def read_chunks(server, writers=0):
    """The same bytes from a log and from a file: the log has them as records of 1 KiB. Those that so many
    writers append share frames; those of one have a block of 4 KiB each, until they are packed."""
    if isinstance(server, servers.Nginx):
        with open(os.path.join(server.folder, "chunk"), "wb") as file:
            file.write(os.urandom(65536))
        path = "/chunk"
    else:
        path = f"/v1/stream/reads-{writers}?offset={server.bench.read_offset(server, writers)}"
    return server.load("--method", "GET", "--connections", 64, "--path", path)


class Bench:
    def __init__(self, options):
        build = os.path.dirname(options.wald)
        self.wald, self.seconds = options.wald, options.seconds
        self.load = os.path.join(build, "tests", "http_load")
        self.baseline = os.path.join(build, "tests", "mhd_baseline")
        self.folder = tempfile.mkdtemp(prefix="bench.", dir=options.dir)
        os.chmod(self.folder, 0o755)
        self.offsets = {}

    def make(self, name):
        folder = tempfile.mkdtemp(prefix=name.replace(" ", "-") + ".", dir=self.folder)
        os.chmod(folder, 0o755)
        kinds = {kind.name: kind for kind in (servers.Baseline, servers.Redis, servers.Postgres, servers.Etcd,
                                              servers.NodeReference, servers.Nginx)}
        if name.startswith("wald "):
            return servers.Wald(self, folder, name.split()[1])
        return kinds[name](self, folder)

    def read_offset(self, server, writers):
        """Fills a log for the reads, once, and says where its last 64 KiB begin: a read answers with all there
        is, up to 1 MiB."""
        if (server, writers) not in self.offsets:
            target = f"/v1/stream/reads-{writers}"
            for method, arguments in (("PUT", ["--body", ""]), ("POST", ["--body-bytes", "1024"])):
                subprocess.run([self.load, "--port", str(server.port), "--method", method, "--connections",
                                "1" if method == "PUT" else str(writers), "--warmup", "0", "--seconds",
                                "0.01" if method == "PUT" else "1", "--path", target,
                                "--header", "Content-Type: application/octet-stream",
                                *arguments], stdout=subprocess.DEVNULL, check=True)
            url = f"http://127.0.0.1:{server.port}{target}"
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=10) as answer:
                records, total = map(int, answer.headers["Stream-Next-Offset"].split("_"))
            self.offsets[server, writers] = f"{records - 64:016}_{total - 65536:016}"
        return self.offsets[server, writers]


def command_text(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "?"


def describe(bench, options):
    source = command_text("findmnt", "-no", "SOURCE,FSTYPE,OPTIONS", "-T", bench.folder)
    with open("/proc/cpuinfo", encoding="ascii") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "?")
    print(f"# {os.cpu_count()} x {model}, Linux {platform.release()}, {source}")
    print(f"# {command_text(bench.wald, '--version')}; answered when durable (ack=committed);"
          f" {options.rounds} rounds of {options.seconds} s a point; load generator on the same cores")


def run_group(bench, points, options):
    running = {}
    try:
        for name in dict.fromkeys(point.server for point in points):
            if name == "bare disk":
                continue
            server = bench.make(name)
            running[name] = server
            try:
                server.start()
            except (servers.Unavailable, OSError, subprocess.CalledProcessError) as error:
                print(f"# {name} is left out: {error}", flush=True)
                server.stop()
                del running[name]
        for turn in range(options.rounds):
            for point in points:
                subject = bench if point.server == "bare disk" else running.get(point.server)
                if subject is None or point.trouble:
                    continue
                try:
                    point.samples.append(point.visit(subject))
                except (subprocess.SubprocessError, OSError, ValueError) as error:
                    point.trouble = f"round {turn + 1}: {error}"
                    print(f"# {point.name} stopped: {point.trouble}", flush=True)
    finally:
        for server in running.values():
            server.stop()
            shutil.rmtree(server.folder, ignore_errors=True)


def middle(values):
    return statistics.median(values) if values else float("nan")


def spread(values, form="{:,.0f}"):
    return f"{form.format(middle(values))} ({form.format(min(values))}–{form.format(max(values))})"


def column(point, figure):
    values = [sample[figure] for sample in point.samples if figure in sample]
    return f"{middle(values):,.0f}" if values and middle(values) >= 100 else f"{middle(values):.1f}" if values else ""


def report_points(points):
    print("\n| what | server | rate | p50 µs | p99 µs | server CPU µs | errors |\n|---|---|---|---|---|---|---|")
    for point in points:
        if not point.samples:
            continue
        errors = sum(sample.get("errors", 0) for sample in point.samples)
        print(f"| {point.group} {point.label} | {point.server} | {spread(point.rates())} {point.unit} |"
              f" {column(point, 'p50_us')} | {column(point, 'p99_us')} | {column(point, 'server_cpu_us')} |"
              f" {errors} |")


def ratios(target, by_name):
    over = by_name.get(target.over)
    under = by_name.get(target.under) if target.under else None
    if not over or not over.samples or (target.under and (not under or not under.samples)):
        return []
    if target.figure == "p99_us/p50_us":
        return [sample["p99_us"] / sample["p50_us"] for sample in over.samples]
    if target.figure == "p50_us":
        return [a["p50_us"] / b["p50_us"] for a, b in zip(over.samples, under.samples)]
    if not under:
        return over.rates()
    return [a / b for a, b in zip(over.rates(), under.rates())]


def report_targets(targets, by_name):
    print("\n| target | bound | measured | |\n|---|---|---|---|")
    for target in targets:
        values = ratios(target, by_name)
        if not values:
            continue
        reached = middle(values) <= target.bound if target.at_most else middle(values) >= target.bound
        form = "{:,.0f}" if target.bound > 1000 else "{:.2f}"
        print(f"| {target.text} | {'≤' if target.at_most else '≥'} {target.bound:,} | {spread(values, form)} |"
              f" {'' if reached else '**missed**'} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one visit")
    parser.add_argument("--only", default="", help="a group, or the beginning of a point's name")
    parser.add_argument("--quick", action="store_true", help="one round of half a second")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--wald", default=os.path.join(ROOT, "build/release/wald"))
    parser.add_argument("--dir", default=os.getcwd(), help="where the data goes: a disk")
    parser.add_argument("--json", help="every sample, to this file")
    options = parser.parse_args()
    options.wald = os.path.realpath(options.wald)
    if options.quick:
        options.rounds, options.seconds = 1, 0.5

    points, targets = plan()
    by_name = {point.name: point for point in points}
    chosen = [point for point in points if point.name.startswith(options.only)]
    if options.list or not chosen:
        print("\n".join(point.name for point in points))
        return 0 if options.list else 64

    bench = Bench(options)
    try:
        describe(bench, options)
        for group in dict.fromkeys(point.group for point in chosen):
            run_group(bench, [point for point in chosen if point.group == group], options)
    finally:
        shutil.rmtree(bench.folder, ignore_errors=True)
    report_points(chosen)
    report_targets(targets, by_name)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({point.name: point.samples for point in chosen}, file, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
