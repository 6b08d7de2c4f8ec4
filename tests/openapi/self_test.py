#!/usr/bin/env python3
"""Plants a fault of each kind, and fails if one goes unseen.

    self_test.py OPENAPI ROUTES
"""

import copy
import json
import os
import subprocess
import sys
import tempfile

import coverage
import exchanges
import lint
import routes
from contract import Contract, load

HEADERS = {
    "Date": "Mon, 23 Nov 2026 10:00:00 GMT",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Connection": "Keep-Alive",
}
OFFSETS = {"log": "orders", "first_offset": 0, "committed_offset": 2, "next_offset": 2}
PROBLEM = {
    "type": "/problems/log-not-found",
    "title": "There is no log of this name",
    "status": 404,
    "detail": "The first append to it makes it.",
}
RECORD = {"offset": 0, "timestamp": "2026-11-22T10:00:00.000123Z", "data": "hello"}
PAGE = {
    "Content_Type": "application/x-ndjson",
    "Log_Next_Offset": "2",
    "Log_Committed_Offset": "2",
}

unseen = []


def wanted(what, faults, text):
    """Exactly the faults that were planted: some with this text, or none at all."""
    found = [fault for fault in faults if text and text in fault]
    if bool(found) != bool(text) or (not text and faults):
        unseen.append(f"{what}: wanted {text!r}, got {faults[:3]}")


# ---- exchanges ----


def write(folder, request, status, body, headers):
    """One exchange as tests/http/lib.sh records it, with curl and byte for byte."""
    head = [f"HTTP/1.1 {status} X"]
    head += [f"{name}: {value}" for name, value in headers.items() if value is not None]
    head = "\r\n".join(head) + "\r\n\r\n"
    trace = "".join(f"> {line}\r\n" for line in request)
    files = {
        "curl": {"trace": trace, "headers": head, "body": body},
        "raw": {"request": "\r\n".join(request) + "\r\n\r\n", "response": head + body},
    }
    for kind, contents in files.items():
        os.makedirs(f"{folder}/{kind}")
        for name, text in contents.items():
            with open(f"{folder}/{kind}/{name}", "w", encoding="utf-8", newline="") as file:
                file.write(text)


def exchange(contract, text, line, status, body="", sent=(), **headers):
    """Both ways of recording have to be judged alike."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    if not isinstance(body, str):
        body = json.dumps(body)
    with tempfile.TemporaryDirectory() as folder:
        write(folder, [f"{line} HTTP/1.1", *sent], status, body, {**HEADERS, **headers})
        count, faults = exchanges.check_folder(exchanges.Checker(contract), folder)
        assert count == 2
        for kind in "curl", "raw":
            found = [fault for name, _, fault in faults if name == kind]
            wanted(f"{kind}: {line} -> {status}", found, text)


def test_statuses(contract):
    ok = {"body": "ok\n", "Content_Type": "text/plain; charset=utf-8"}
    problem = {"body": PROBLEM, "Content_Type": "application/problem+json"}
    exchange(contract, "", "GET /livez", 200, **ok)
    exchange(contract, "status 202 is not declared", "GET /livez", 202, **ok)
    exchange(contract, "status 404 is not declared", "GET /livez", 404, **problem)
    exchange(contract, "although no operation", "GET /livet", 200, **ok)
    exchange(contract, "although no operation", "PATCH /livez", 200, **ok)
    exchange(contract, "although no operation", "get /livez", 200, **ok)
    exchange(contract, "404 although the path is described", "PATCH /livez", 404, **problem)
    exchange(contract, "", "GET /logs/orders/offsets", 404, **problem)
    exchange(contract, "", "HEAD /livez", 200, Content_Type=ok["Content_Type"])
    exchange(contract, "a body where there must be none", "HEAD /livez", 200, **ok)
    exchange(contract, "no x-content-type", "GET /livez", 200, **ok, X_Content_Type_Options=None)
    exchange(contract, "", "GET /livez", 413, X_Content_Type_Options=None)
    exchange(contract, "", "BREW /tea", 505, X_Content_Type_Options=None, Cache_Control=None)
    exchange(contract, "although no", "BREW /tea", 500, X_Content_Type_Options="nosniff")


def test_headers(contract):
    ok = {"body": "ok\n", "Content_Type": "text/plain; charset=utf-8"}
    refused = {**PROBLEM, "type": "/problems/busy", "status": 503}
    busy = {"body": refused, "Content_Type": "application/problem+json"}
    exchange(contract, "there is no cache-control", "GET /livez", 200, **ok, Cache_Control=None)
    exchange(contract, "cache-control: ", "GET /livez", 200, **ok, Cache_Control="public")
    exchange(contract, "the header server is not described", "GET /livez", 200, **ok, Server="x")
    exchange(contract, "", "GET /livez", 503, **busy, Retry_After="1")
    exchange(contract, "there is no retry-after", "GET /livez", 503, **busy)
    exchange(contract, "retry-after: ", "GET /livez", 503, **busy, Retry_After="soon")
    exchange(contract, "retry-after: ", "GET /livez", 503, **busy, Retry_After="0")
    allowed = {**PROBLEM, "type": "/problems/method-not-allowed", "status": 405}
    allow = {"body": allowed, "Content_Type": "application/problem+json"}
    exchange(contract, "", "PUT /livez", 405, **allow, Allow="GET, HEAD, OPTIONS")
    exchange(contract, "Allow lists", "PUT /livez", 405, **allow, Allow="GET, HEAD, POST, OPTIONS")
    exchange(contract, "there is no allow", "PUT /livez", 405, **allow)


def test_bodies(contract):
    path = "GET /logs/orders/offsets"
    json_type = {"Content_Type": "application/json"}
    exchange(contract, "", path, 200, OFFSETS, **json_type)
    exchange(contract, "wanted one", path, 200, OFFSETS)
    exchange(contract, "Content-Type text/html", path, 200, OFFSETS, Content_Type="text/html")
    exchange(contract, "not application/json", path, 200, "{", **json_type)
    exchange(contract, "not application/json", path, 200, '{"log":"a","log":"a"}', **json_type)
    exchange(contract, "not application/json", path, 200, '{"next_offset":NaN}', **json_type)
    exchange(contract, "next_offset", path, 200, {**OFFSETS, "next_offset": "2"}, **json_type)
    exchange(contract, "next_offset", path, 200, {**OFFSETS, "next_offset": -1}, **json_type)
    exchange(contract, "next_offset", path, 200, {**OFFSETS, "next_offset": 2**63}, **json_type)
    exchange(contract, "'more' was unexpected", path, 200, {**OFFSETS, "more": 1}, **json_type)
    fewer = {name: value for name, value in OFFSETS.items() if name != "log"}
    exchange(contract, "'log' is a required", path, 200, fewer, **json_type)
    exchange(contract, "", "DELETE /logs/orders", 204)
    exchange(contract, "none is described", "DELETE /logs/orders", 204, OFFSETS, **json_type)


def test_minimal(contract):
    path, minimal = "POST /logs/orders?ack=none", {"Preference_Applied": "return=minimal"}
    exchange(contract, "", path, 202, **minimal)
    exchange(contract, "wanted one", path, 202)
    body = {"body": "{}", "Content_Type": "application/json"}
    exchange(contract, "says that it was left out", path, 202, **body, **minimal)


def test_problems(contract):
    path = "GET /logs/orders/offsets"
    kind = {"Content_Type": "application/problem+json"}
    exchange(contract, "the problem says status", path, 400, PROBLEM, **kind)
    exchange(contract, "", path, 404, PROBLEM, **kind)
    for name in "type", "title", "detail":
        fewer = {member: value for member, value in PROBLEM.items() if member != name}
        exchange(contract, f"'{name}' is a required", path, 404, fewer, **kind)
    strange = {**PROBLEM, "type": "/problems/strange"}
    exchange(contract, "the whole: ", path, 404, strange, **kind)
    other = {**PROBLEM, "type": "/problems/bad-name"}  # which is a 400
    exchange(contract, "the whole: ", path, 404, other, **kind)
    plain = {"Content_Type": "application/json"}
    exchange(contract, "Content-Type application/json", path, 404, PROBLEM, **plain)


def test_lines(contract):
    path = "GET /logs/orders/records"
    more = {**PAGE}
    line = json.dumps(RECORD)
    exchange(contract, "", path, 200, f"{line}\n{line}\n", **more)
    exchange(contract, "", path, 200, "", **more)
    exchange(contract, "the last line does not end", path, 200, f"{line}\n{line}", **more)
    exchange(contract, "not application/x-ndjson", path, 200, f"{line}\nx\n", **more)
    both = json.dumps({**RECORD, "data_base64": "AA=="})
    exchange(contract, "the whole: ", path, 200, f"{line}\n{both}\n", **more)
    late = json.dumps({**RECORD, "timestamp": "yesterday"})
    exchange(contract, "timestamp: ", path, 200, f"{line}\n" * 300 + f"{late}\n", **more)
    more["Log_Next_Offset"] = None
    exchange(contract, "there is no log-next-offset", path, 200, f"{line}\n", **more)


def test_events(contract):
    path = "GET /logs/orders/records"
    more = {"Content_Type": "text/event-stream"}
    event = f"retry: 1\n\nid: 0\ndata: {json.dumps(RECORD)}\n\n:\n\n"
    exchange(contract, "", path, 200, event, **more)
    exchange(contract, "the last event does not end", path, 200, event[:-1], **more)
    exchange(contract, "the event other", path, 200, "event: other\ndata: {}\n\n", **more)
    exchange(contract, "'end' is a required", path, 200, 'event: gap\ndata: {"begin":1}\n\n', **more)
    exchange(contract, "the field name", path, 200, "name: x\n\n", **more)
    exchange(contract, "not text/event-stream", path, 200, "data: x\n\n", **more)
    more["Log_Next_Offset"] = "2"
    exchange(contract, "the header log-next-offset is not", path, 200, event, **more)


def test_requests(contract):
    path = "GET /logs/orders/records"
    more = {**PAGE}
    exchange(contract, "", f"{path}?offset=-2&limit=1", 200, **more)
    exchange(contract, "accepted the parameter colour", f"{path}?colour=red", 200, **more)
    exchange(contract, "accepted the parameter limit=0", f"{path}?limit=0", 200, **more)
    exchange(contract, "accepted the parameter offset=+1", f"{path}?offset=+1", 200, **more)


def test_coverage(contract):
    seen = set(coverage.expected(contract))
    wanted("all was seen", coverage.missing(contract, seen), "")
    for line in "GET /livez 200", "problem /problems/trimmed":
        assert line in seen
        wanted(f"never saw {line}", coverage.missing(contract, seen - {line}), line)


# ---- the document ----

DROP = object()


def test_lint(document, version):
    wanted("the document as it is", lint.lint(document, version), "")

    def plant(text, where, name, value):
        """In a copy, sets one field of what `where` leads to, or drops it."""
        node = planted = copy.deepcopy(document)
        for part in where.split():
            node = node[int(part)] if isinstance(node, list) else node[part]
        if value is DROP:
            del node[name]
        elif isinstance(node, list):
            node.append(value)
        else:
            node[name] = value
        wanted(f"planted {name} at {where}", lint.lint(planted, version), text)

    livez, schemas, responses = "paths /livez get", "components schemas", "components responses"
    version_body = "paths /version get responses 200 content application/json"
    offset = "paths /logs/{log}/records/{offset} parameters"
    anything = {"description": "x"}
    plant("wanted 3.1", "", "openapi", "3.0.3")
    plant("the program is", "info", "version", "9")
    plant("not a field of operation", livez, "sumary", "x")
    plant("operation without responses", livez, "responses", DROP)
    plant("response without description", f"{responses} Ok", "description", DROP)
    plant("not str", livez, "summary", 1)
    plant("there is no such part", f"{livez} responses", "200", {"$ref": "#/components/x/X"})
    plant("is not a response", f"{livez} responses", "200", {"$ref": "#/components/schemas/Count"})
    plant("more than a reference", f"{livez} responses 400", "headers", {})
    plant("nothing refers to it", schemas, "New", {})
    plant("not a keyword", f"{schemas} Count", "minimun", 0)
    plant("nobody checks the format", f"{schemas} Count", "format", "int46")
    plant("is not valid under any", f"{schemas} Count", "type", "integre")
    plant("which it does not have", f"{schemas} Offsets required", "", "colour")
    plant("its example", f"{schemas} Count", "examples", [-1])
    plant("the example", version_body, "example", {})
    plant("no example", version_body, "example", DROP)
    plant("HEAD is wherever", "paths /livez", "head", DROP)
    plant("HEAD says what", "paths /livez head", "responses", {"204": anything})
    plant("OPTIONS is everywhere", "paths /livez", "options", DROP)
    plant("the same as", "paths", "/logs/{name}", document["paths"]["/logs/{log}"])
    plant("operationId", livez, "operationId", "getReadyz")
    plant("operationId", livez, "operationId", DROP)
    plant("does not declare 421", f"{livez} responses", "421", DROP)
    plant("the parameters of its path", offset, 1, DROP)
    plant("offset is not required", f"{offset} 1", "required", DROP)
    plant("has a body", livez, "requestBody", {"content": {}})
    plant("not a status by itself", f"{livez} responses", "default", anything)
    plant("is a problem document", f"{livez} responses", "409", anything)
    plant("without Retry-After", "components headers RetryAfter", "required", DROP)


# ---- the routes ----


def test_routes(document, lines):
    wanted("the routes as they are", routes.compare(document, lines), "")

    def plant(text, old, new):
        planted = [line.replace(old, new) for line in lines] if old else [*lines, new]
        assert planted != lines, old
        wanted(f"planted {new!r} for {old!r}", routes.compare(document, planted), text)

    plant("GET /livex is not described", "/livez", "/livex")
    plant("GET /livez is described", "/livez", "/livex")
    plant("parameter: colour is not described", '"prefix"', '"prefix","colour"')
    plant("parameter: prefix is described", '"prefix",', "")
    plant("header: If-None-Match is described", '"If-None-Match"', '"Prefer"')
    plant("header: If-Range is not described", '"headers":[]', '"headers":["If-Range"]')
    plant("body: application/json is not described", '"body":"none"', '"body":"json"')
    plant("body: */* is described", '"body":"records"', '"body":"none"')
    plant("('/problems/busy', 500) is not described", 'busy","status":503', 'busy","status":500')
    plant("('/problems/new', 400) is not described", "", '{"problem":"/problems/new","status":400}')
    plant("('/problems/busy', 503) is described", "/problems/busy", "/problems/trimmed")


def main(openapi, program):
    document = load(openapi)
    contract = Contract(document)
    for test in (
        test_statuses,
        test_headers,
        test_bodies,
        test_minimal,
        test_problems,
        test_lines,
        test_events,
        test_requests,
        test_coverage,
    ):
        test(contract)
    test_lint(document, document["info"]["version"])
    run = subprocess.run([program], stdout=subprocess.PIPE, check=True, text=True)
    test_routes(document, run.stdout.splitlines())
    for fault in unseen:
        print(fault)
    if unseen:
        sys.exit(f"{len(unseen)} planted faults went unseen, or sound things were blamed")
    print("every planted fault was seen")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
