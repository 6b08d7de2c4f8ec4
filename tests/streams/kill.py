#!/usr/bin/env python3
"""kill.py WALD BACKEND FOLDER [--cycles N] [--seed N] [--plants]: kill -9 at random moments, on one
directory, under clients that make, append to, fork, close, delete and make again streams. After each
restart, what HEAD and GET show has to be a state that the answers allow (oracle.py).

With --plants, faults are pretended one after the other, and each has to be found. --seed repeats
contents and choices, but not the timing."""

import argparse
import os
import random
import shutil
import sys
import threading
import time

from crowd import Member, crowd_create, crowd_verify
from family import Family, Lost
from plant import PLANTS, Plant
from program import Failure, program_of

FAMILIES = 8
MEMBERS = 3
LOAD_S = 60


class Run:
    def __init__(self, program, seed, plant=None):
        self.program = program
        self.random = random.Random(seed)
        self.families = [Family(number, seed) for number in range(FAMILIES)]
        self.members = [Member(number) for number in range(MEMBERS)]
        self.failures = []
        self.rollback = plant == "rollback"
        if plant and not self.rollback:
            for family in self.families:
                family.plant = Plant(plant)

    @property
    def answered(self):
        return sum(family.answered for family in self.families)

    @property
    def appended(self):
        return sum(member.turn for member in self.members)

    def start(self):
        self.program.start()
        for client in self.families + self.members:
            client.connect(self.program.port)

    def together(self, work):
        """Threads that do this work, one for each (function, argument...)."""
        def guarded(function, *arguments):
            try:
                function(*arguments)
            except Failure as failure:
                self.failures.append(str(failure))
            except Lost:
                self.failures.append("a connection was lost without a kill")
            except Exception as error:  # pylint: disable=broad-except # a thread tells nobody else
                self.failures.append(f"{type(error).__name__}: {error}")
                raise

        threads = [threading.Thread(target=guarded, args=each, daemon=True) for each in work]
        for thread in threads:
            thread.start()
        return threads

    def join(self, threads):
        end = time.monotonic() + LOAD_S
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
            if thread.is_alive():
                self.failures.append(f"a client is stuck for {LOAD_S} s")
        if self.failures:
            raise Failure(self.failures[0])

    def load_until_killed(self):
        ending = threading.Event()
        before = self.answered
        threads = self.together([(client.load, ending) for client in self.families + self.members])
        end = time.monotonic() + LOAD_S
        while self.answered < before + FAMILIES and not self.failures:
            if time.monotonic() > end:
                raise Failure(f"{self.answered - before} answers in {LOAD_S} s")
            time.sleep(0.005)
        time.sleep(self.random.uniform(0.05, 0.8))
        if self.program.running():
            self.program.kill()
        else:
            self.failures.append(f"the program ended by itself: {self.program.process.returncode}")
        self.join(threads)

    def kill_starts(self):
        """Recovery itself may be killed, too."""
        for _ in range(self.random.randint(1, 3)):
            self.program.launch()
            time.sleep(self.random.uniform(0, 0.03))
            self.program.kill()

    def verify(self):
        for family in self.families:
            family.oracle.restarted()
        self.join(self.together([(family.verify,) for family in self.families] +
                                [(crowd_verify, self.program.port, self.members)]))

    def cycle(self, number):
        self.load_until_killed()
        if number % 7 == 3:
            self.kill_starts()
        if self.rollback:
            self.roll_back(number)
        self.start()
        self.verify()

    def roll_back(self, number):
        """A planted fault: the disk is as it was at an earlier kill."""
        earlier = os.path.join(self.program.folder, "earlier")
        if number == 0:
            shutil.copytree(self.program.data, earlier)
        else:
            shutil.rmtree(self.program.data)
            shutil.copytree(earlier, self.program.data)

    def run(self, cycles):
        self.start()
        crowd_create(self.program.port)
        for number in range(cycles):
            self.cycle(number)
        self.join(self.together([(family.ghosts_gone,) for family in self.families]))
        self.program.stop()


def run_kills(options):
    begun = time.monotonic()
    with program_of(options.wald, options.backend, options.folder) as program:
        run = Run(program, options.seed)
        try:
            run.run(options.cycles)
        except Failure as failure:
            raise Failure(f"{failure}\nseed {options.seed}") from failure
    print(f"{options.cycles} kills, {run.answered} answers of {FAMILIES} families and {run.appended} "
          f"appends of {MEMBERS} producers as allowed, {time.monotonic() - begun:.1f} s")


def find_plant(options, name):
    """Whether the pretended fault is found, and by which words."""
    with program_of(options.wald, options.backend, options.folder) as program:
        try:
            Run(program, options.seed, name).run(8)
        except Failure as failure:
            return str(failure).split("\n", maxsplit=1)[0]
    return None


def run_plants(options):
    found = 0
    for name, wanted in PLANTS.items():
        said = find_plant(options, name)
        fine = said is not None and any(words in said for words in wanted)
        found += fine
        print(f"{'found' if fine else 'NOT FOUND'} {name}: {said and said[:300]}")
    print(f"{found} of {len(PLANTS)} planted faults were found")
    if found != len(PLANTS):
        sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wald")
    parser.add_argument("backend")
    parser.add_argument("folder")
    parser.add_argument("--cycles", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plants", action="store_true")
    options = parser.parse_args()
    if options.plants:
        run_plants(options)
    else:
        run_kills(options)
    print("passed")


if __name__ == "__main__":
    main()
