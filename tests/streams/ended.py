#!/usr/bin/env python3
"""ended.py WALD BACKEND FOLDER [--rounds N]: a stream that ends by itself may live on for a while after
a restart, since its last use is in memory; but not if anybody was told that it is gone. The program
is killed right after the first such answer."""

import argparse
import sys
import time

from family import Connection
from program import Failure, program_of

STREAMS = 20
END_S = 20


def target(number, which):
    return f"/v1/stream/ended-{number}-{which}"


def create(connection, number):
    for which in range(STREAMS):
        headers = {"Content-Type": "text/plain", "Stream-TTL": "1"}
        if which % 4 == 3:
            moment = time.gmtime(time.time() + 2)
            headers = {"Content-Type": "text/plain",
                       "Stream-Expires-At": time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)}
        status, _, _ = connection.exchange("PUT", target(number, which), headers, b"hello")
        if status != 201:
            raise Failure(f"PUT {target(number, which)}: {status}")


def first_gone(connection, number):
    """Those that one look at all of them, with requests that use no stream, finds gone."""
    end = time.monotonic() + END_S
    while time.monotonic() < end:
        gone = [which for which in range(STREAMS)
                if connection.exchange("HEAD", target(number, which))[0] == 404]
        if gone:
            return gone
    raise Failure(f"nothing has ended after {END_S} s")


def run(program, rounds):
    told = 0
    program.start()
    for number in range(rounds):
        connection = Connection(program.port)
        create(connection, number)
        gone = first_gone(connection, number)
        program.kill()
        program.start()
        connection = Connection(program.port)
        for which in gone:
            status, _, _ = connection.exchange("HEAD", target(number, which))
            if status != 404:
                raise Failure(f"{target(number, which)} was gone, and is there after a kill: {status}")
        told += len(gone)
    program.stop()
    print(f"{told} streams were told to have ended, and stayed so over {rounds} kills")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wald")
    parser.add_argument("backend")
    parser.add_argument("folder")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with program_of(options.wald, options.backend, options.folder) as program:
        run(program, options.rounds)
    print("passed")


if __name__ == "__main__":
    sys.exit(main())
