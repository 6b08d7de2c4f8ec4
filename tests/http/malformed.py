"""
Sends every case of malformed_cases.py to the service: malformed.py PORT PID [PREFIX], with a PREFIX
only those whose names begin so. Each must be answered as
the table says; behind each the same process must be alive, and no log and no record be there that was
not there before.
"""

import sys

import malformed_streams  # noqa: F401 -- adds to the cases
from malformed_cases import CASES
from wire import Connection, Service, Stuck

CASES_MIN = 150


def describe(answer):
    """As the table names it: "400", "400 lib", "closed"."""
    if answer is None:
        return "closed"
    if answer.status < 300:
        return str(answer.status)
    return str(answer.status) if answer.problem() else f"{answer.status} lib"


def is_allowed(got, wanted):
    return got == wanted or (wanted == "any" and len(got) == 3 and got[0] == "4")


def play(port, case):
    """What is answered: at least as much as the table has, and everything beyond it."""
    sent = case.sent if isinstance(case.sent, list) else [case.sent]
    wanted = max(option.count(",") + 1 for option in case.allowed)
    got = []
    with Connection(port) as connection:
        connection.send(*sent)
        if case.ends:
            connection.end()
        while not got or got[-1] != "closed":
            if len(got) == wanted:
                connection.end()
            got.append(describe(connection.answer()))
    return got


def check(service, case, before):
    """What is wrong with the outcome of a case; None if nothing is."""
    try:
        got = play(service.port, case)
    except Stuck:
        return "neither answered nor closed"
    for option in case.allowed:
        words = option.split(",")
        if words[-1] != "closed":
            words.append("closed")
        if len(words) == len(got) and all(map(is_allowed, got, words)):
            break
    else:
        return f"wanted {' or '.join(case.allowed)}, got {','.join(got)}"
    if not service.is_well():
        return "the service is not what it was"
    if not service.is_idle():
        return "a request is still in progress"
    after = service.holdings()
    return None if after == before else f"there were {before}, there are {after}"


def main():
    prefix = sys.argv[3] if len(sys.argv) > 3 else ""
    service = Service(int(sys.argv[1]), int(sys.argv[2]))
    for record in (b"one", b"two", b"three"):
        service.append("held", record)
    for name, kind, body in malformed_streams.STREAMS:
        service.make_stream(name, kind, body)
    service.close_stream("shut")
    names = [case.name for case in CASES]
    if len(set(names)) != len(names):
        sys.exit("FAILED: two cases have the same name")

    before = service.holdings()
    has_put = service.has_method("/logs/held", "PUT")
    played = failed = left_out = 0
    for case in CASES:
        if not case.name.startswith(prefix):
            continue
        if case.needs and not has_put:
            left_out += 1
            continue
        played += 1
        problem = check(service, case, before)
        if problem:
            failed += 1
            print(f"{case.name}: {problem}")
            before = service.holdings()
    print(f"{played} malformed requests, {failed} failed, {left_out} wait for PUT /logs/{{log}}")
    if failed or (not prefix and played < CASES_MIN):
        sys.exit("FAILED")


main()
