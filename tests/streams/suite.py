#!/usr/bin/env python3
"""suite.py WALD BACKEND FOLDER NPM_FOLDER: the published suite of the Durable Streams protocol.

It passes when all of TOTAL tests have passed, none more and none fewer, and the program has come
through it. The tests of the optional subscriptions, which are off, are skipped by the suite."""

import collections
import json
import os
import subprocess
import sys

from program import Failure, npm_folder_check, program_of

TOTAL = 332
SUITE_S = 280


def vitest(npm_folder, url, report):
    """The exit status of the suite, and what it printed."""
    command = ["node", "node_modules/vitest/vitest.mjs", "run", "--reporter=json",
               f"--outputFile={report}"]
    environment = dict(os.environ, CONFORMANCE_TEST_URL=url)
    try:
        done = subprocess.run(command, cwd=npm_folder, env=environment, timeout=SUITE_S, check=False,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
    except subprocess.TimeoutExpired as error:
        raise Failure(f"the suite has not ended after {SUITE_S} s") from error
    return done.returncode, done.stdout


def read_report(path, said):
    try:
        with open(path, encoding="utf-8") as file:
            files = json.load(file)["testResults"]
    except FileNotFoundError as error:
        raise Failure("the suite made no report: " + said[-2000:]) from error
    return [test for file in files for test in file["assertionResults"]]


def judge(tests, exit_status, said):
    counts = collections.Counter(test["status"] for test in tests)
    passed, ran = counts["passed"], len(tests) - counts["skipped"] - counts["pending"]
    for test in tests:
        if test["status"] == "failed":
            reason = (test["failureMessages"] or ["?"])[0].split("\n")[0]
            print(f"  failed: {test['fullName']}: {reason[:200]}")
    print(f"{passed} of {TOTAL}")
    if ran != TOTAL:
        raise Failure(f"the suite ran {ran} tests and not {TOTAL}")
    if passed != TOTAL:
        raise Failure(f"{TOTAL - passed} tests failed")
    if exit_status != 0:
        raise Failure(f"all passed, and yet it ended with {exit_status}: " + said[-2000:])


def main():
    wald, backend, folder, npm_folder = sys.argv[1:]
    npm_folder_check(npm_folder)
    # Two tests sit out a whole wait at the end of a log.
    with program_of(wald, backend, folder, "--long-poll-timeout", "500ms") as program:
        program.start()
        report = os.path.join(program.folder, "report.json")
        exit_status, said = vitest(npm_folder, program.url, report)
        if not program.running():
            raise Failure(f"the program ended by itself: {program.process.returncode}")
        judge(read_report(report, said), exit_status, said)
        program.stop()
    print("passed")


if __name__ == "__main__":
    main()
