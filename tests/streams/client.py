#!/usr/bin/env python3
"""client.py WALD BACKEND FOLDER NPM_FOLDER: the protocol's JavaScript client over kill -9.

client.mjs writes and follows, and this kills and restarts the program under it at random moments.
Whatever has been acknowledged, and whatever is sent again, is there once and in order."""

import argparse
import os
import random
import subprocess
import sys
import time

from program import Failure, npm_folder_check, program_of

CLIENT_S = 120


def client_says(output, wanted, process, seconds):
    """Waits until the client has written this to its output."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended = process.poll() is not None
        with open(output, encoding="utf-8") as file:
            said = file.read()
        if wanted in said:
            return said
        if ended:
            raise Failure("the client gave up:\n" + said[-3000:])
        time.sleep(0.02)
    raise Failure(f"the client has not said {wanted} after {seconds} s:\n" + said[-3000:])


def interrupt(program, client, options):
    """Kills and starts the program again and again while the client works."""
    choose = random.Random(options.seed)
    for _ in range(options.kills):
        time.sleep(choose.uniform(0.1, 0.8))
        if client.poll() is not None:
            return
        program.kill()
        time.sleep(choose.choice((0, 0, 0.2)))
        program.start()


def run(program, options):
    program.start()
    output = os.path.join(program.folder, "client")
    with open(output, "wb") as file, subprocess.Popen(
            ["node", "client.mjs", program.url], cwd=options.npm_folder, stdin=subprocess.PIPE,
            stdout=file, stderr=file) as client:
        try:
            client_says(output, "event=writing", client, CLIENT_S)
            interrupt(program, client, options)
            if client.poll() is None:
                client.stdin.write(b"enough\n")
                client.stdin.flush()
            said = client_says(output, "event=done", client, CLIENT_S)
        finally:
            client.kill()
    program.stop()
    again = int(said.rsplit("requests_again=", 1)[1].split()[0])
    if again == 0:
        raise Failure("no kill has met a request: that proves nothing")
    print(said.strip().split("\n")[-1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("wald")
    parser.add_argument("backend")
    parser.add_argument("folder")
    parser.add_argument("npm_folder")
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    npm_folder_check(options.npm_folder)
    with program_of(options.wald, options.backend, options.folder, "--long-poll-timeout", "2s") as program:
        run(program, options)
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
