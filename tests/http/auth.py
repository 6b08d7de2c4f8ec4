#!/usr/bin/env python3
"""Every operation of openapi.yaml by every kind of token.

    auth.py OPENAPI PORT FOLDER

FOLDER has the tokens, in files NAME.token. Which right an operation wants is its x-right, which
tests/openapi holds against the router's table; who has that right, and a request for each operation,
stands here. An operation without a row is a failure, and so is a cell that is not as the rows say.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../openapi"))

# pylint: disable=wrong-import-position
import wire  # noqa: E402
from contract import Contract, load  # noqa: E402

BYTES = "Content-Type: application/octet-stream\r\n"

# Of each operation: the status if it is allowed, and a request for it.
ROWS = {
    "listLogs": (200, "/logs"),
    "describeLog": (200, "/logs/orders"),
    "createLog": (200, "/logs/orders"),
    "changeLog": (200, "/logs/orders", b"{}"),
    "append": (200, "/logs/orders", b"x"),
    "deleteLog": (204, "/logs/orders"),
    "getOffsets": (200, "/logs/orders/offsets"),
    "readRecords": (200, "/logs/orders/records"),
    "readRecord": (200, "/logs/orders/records/0"),
    "getLogStats": (200, "/logs/orders/stats"),
    "syncLog": (200, "/logs/orders/sync"),
    "trimLog": (200, "/logs/orders/trim?before=0"),
    "readStream": (200, "/v1/stream/orders"),
    "createStream": (200, "/v1/stream/orders", b"", BYTES),
    "appendToStream": (204, "/v1/stream/orders", b"x", BYTES),
    "deleteStream": (204, "/v1/stream/orders"),
    "getStats": (200, "/stats"),
    "getMetrics": (200, "/metrics"),
    "getLivez": (200, "/livez"),
    "getHealthz": (200, "/healthz"),
    "getReadyz": (200, "/readyz"),
    "getVersion": (200, "/version"),
    "getDescription": (200, "/openapi.yaml"),
}

STRANGERS = {"none", "unknown", "basic"}
KNOWN = {"reader", "writer", "admin", "prefix", "other", "all", "readall"}
HOLDERS = {
    "read": {"reader", "prefix", "all", "readall"},
    "append": {"writer", "prefix", "all"},
    "admin": {"admin", "prefix", "all"},
    "read-any": {"reader", "prefix", "other", "all", "readall"},
    "read-all": {"all", "readall"},
    "token": KNOWN,
}
OPEN = {"health"}  # without being told so


class Table:
    def __init__(self, port, folder):
        self.port, self.folder, self.cells = port, folder, 0

    def credentials(self, who):
        if who == "none":
            return ""
        if who == "unknown":
            return f"Authorization: Bearer wald_{'A' * 43}\r\n"
        if who == "basic":
            return "Authorization: Basic YTpi\r\n"
        with open(f"{self.folder}/{who}.token", encoding="ascii") as file:
            return f"Authorization: Bearer {file.read().strip()}\r\n"

    def ask(self, who, method, target, body=b"", headers=""):
        headers += self.credentials(who)
        return wire.request(self.port, method, target, body, headers)

    def cell(self, who, method, operation, status, target, *rest):
        self.cells += 1
        answer = self.ask(who, method, target, *rest)
        allowed = who in HOLDERS[operation["x-right"]] or operation.get("x-open") in OPEN
        wanted, kind, challenge = status, None, None
        if not allowed and who in STRANGERS:
            wanted, kind = 401, "/problems/unauthorized"
            challenge = 'Bearer realm="wald"'
            challenge += ', error="invalid_token"' if who != "none" else ""
        elif not allowed:
            wanted, kind = 403, "/problems/forbidden"
            challenge = 'Bearer realm="wald", error="insufficient_scope", scope="'
        place = f"{method} {target} by {who}"
        if not answer or answer.status != wanted:
            sys.exit(f"{place}: wanted {wanted}, got {answer and (answer.status, answer.body)}")
        if kind and method != "HEAD" and answer.problem() != kind:
            sys.exit(f"{place}: wanted {kind}, got {answer.body}")
        if not answer.headers.get("www-authenticate", "").startswith(challenge or ""):
            sys.exit(f"{place}: www-authenticate: {answer.headers}")
        if method == "DELETE" and allowed:  # for the next
            self.ask("all", "POST", "/logs/orders", b"zero")


def main(openapi, port, folder):
    contract = Contract(load(openapi))
    table = Table(int(port), folder)
    for path, method, operation in contract.operations():
        if method in ("head", "options"):
            continue
        if operation["operationId"] not in ROWS:
            sys.exit(f"no row for {operation['operationId']}, {method.upper()} {path}")
        row = ROWS[operation["operationId"]]
        for who in sorted(STRANGERS | KNOWN):
            table.cell(who, method.upper(), operation, *row)
            if method == "get":
                table.cell(who, "HEAD", operation, *row)
        options = table.ask("none", "OPTIONS", row[1].partition("?")[0])
        if options.status != 200:
            sys.exit(f"OPTIONS {row[1]}: {options.status}")
    if table.cells < 10 * len(ROWS):
        sys.exit(f"only {table.cells} cells")
    print(f"{table.cells} cells")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
