#!/usr/bin/env python3
"""Whether the tests in tests/http saw all that openapi.yaml describes.

    coverage.py OPENAPI FOLDER SCRIPT...

FOLDER has a file seen.SCRIPT-BACKEND for each script that has passed, from exchanges.py. Each
operation has to have been answered with each of its statuses, and each type of problem has to have
been there; but for those that only a failing machine brings about. Skips (exit status 77) as long
as a script has not passed with either backend.
"""

import glob
import sys

from contract import Contract, load
from lint import ALWAYS
from routes import problem_types

# What no script can bring about at will on a sound machine. Other tests show it on a simulated one.
RARE_STATUSES = {"500", "507"}
RARE_PROBLEMS = {
    "busy",
    "disk-failed",
    "newer-format",
    "no-memory",
    "no-space",
    "not-ready",
    "outcome-unknown",
    "read-failed",
    "record-damaged",
    "log-damaged",
    "log-failed",
    "state-full",
    "too-many-files",
    "too-many-producers",
    # Answers to half a request, which drain.sh and deadlines.sh judge by themselves.
    "stopping",
    "timeout",
}


def expected(contract):
    """The lines that have to be there."""
    for path, method, operation in contract.operations():
        if method in ("head", "options"):
            continue
        for status in operation["responses"]:
            if status not in ALWAYS | RARE_STATUSES:
                yield f"{method.upper()} {path} {status}"
    for name, _ in problem_types(contract):
        if name.rpartition("/")[2] not in RARE_PROBLEMS:
            yield f"problem {name}"


def missing(contract, seen):
    return sorted(set(expected(contract)) - seen)


def main(openapi, folder, *scripts):
    seen = set()
    for script in scripts:
        files = glob.glob(f"{glob.escape(folder)}/seen.{script}-*")
        if not files:
            print(f"tests/http/{script}.sh has not passed here yet")
            sys.exit(77)
        for name in files:
            with open(name, encoding="utf-8") as file:
                seen |= set(file.read().splitlines())
    contract = Contract(load(openapi))
    faults = missing(contract, seen)
    for fault in faults:
        print(f"no test was answered: {fault}")
    if faults:
        sys.exit(f"{len(faults)} answers that openapi.yaml describes were never seen")
    print(f"{len(set(expected(contract)))} answers that openapi.yaml describes were seen")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
