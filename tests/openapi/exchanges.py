#!/usr/bin/env python3
"""Holds recorded exchanges with the service against openapi.yaml.

    exchanges.py OPENAPI FOLDER [SEEN]

SEEN is a file to write, with a line for each operation and status that was there, and each type of
problem: what coverage.py reads.

FOLDER has a folder for each exchange, written by tests/http/lib.sh:

    trace              what curl -v says: the head of the request, as sent
    headers, body      the head and the body of the response
  or
    request, response  what went over the connection, byte for byte

Prints what does not agree, and fails if anything does not, or if there is nothing to check.
"""

import os
import re
import sys

from contract import METHODS, Contract, ContractError, essence, load, parse_json


class Exchange:
    """method, target, request_headers, status, headers (lower case to list of values), body."""


def parse_headers(lines):
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return headers


def parse_head(text):
    """The last block of a head that may begin with interim responses."""
    blocks = [block for block in re.split(r"\r?\n\r?\n", text) if block.strip()]
    if not blocks:
        return 0, {}
    lines = [line.rstrip("\r") for line in blocks[-1].strip("\r\n").split("\n")]
    match = re.match(r"HTTP/[0-9.]+ ([0-9]{3})", lines[0])
    if not match:
        raise ValueError(f"not a status line: {lines[0]!r}")
    return int(match[1]), parse_headers(lines[1:])


def parse_request(lines):
    """The request line may be anything at all: then there is no method."""
    match = re.fullmatch(r"([!-~]+) ([!-~]+) HTTP/1\.[01]", lines[0] if lines else "")
    method, target = (match[1], match[2]) if match else (None, None)
    return method, target, parse_headers(lines[1:])


def dechunk(data):
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        count = int(size.split(b";")[0], 16)
        if count == 0:
            return body
        body += data[:count]
        data = data[count + 2 :]


def read(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return b""
    with open(path, "rb") as file:
        return file.read()


def read_exchange(folder):
    exchange = Exchange()
    exchange.name = os.path.basename(folder)
    if os.path.exists(os.path.join(folder, "trace")):
        sent = read(folder, "trace").decode("latin-1").split("\n")
        sent = [line[2:].rstrip("\r") for line in sent if line.startswith("> ")]
        head, exchange.body = read(folder, "headers"), read(folder, "body")
        if exchange.body == head:  # curl -I says the head twice
            exchange.body = b""
    else:
        sent = read(folder, "request").split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
        head, _, exchange.body = read(folder, "response").partition(b"\r\n\r\n")
        while re.match(rb"HTTP/1\.[01] 1", head):
            head, _, exchange.body = exchange.body.partition(b"\r\n\r\n")
    exchange.method, exchange.target, exchange.request_headers = parse_request(
        [line for line in sent if line]
    )
    exchange.status, exchange.headers = parse_head(head.decode("latin-1"))
    if "trace" not in os.listdir(folder) and "transfer-encoding" in exchange.headers:
        exchange.body = dechunk(exchange.body)
    return exchange


class Checker:
    def __init__(self, contract):
        self.contract = contract
        self.everywhere = contract.document["x-every-response"]["headers"]
        self.elsewhere = contract.document["x-no-operation"]["responses"]
        self.library = contract.document["x-answered-by-the-library"]["responses"]
        self.seen = set()

    def check(self, exchange):
        """What does not agree, as lines."""
        if self.is_of_the_library(exchange):
            return []
        return list(self.find_faults(exchange))

    def is_of_the_library(self, exchange):
        """Whatever the service itself answers says so with a header that the library has not."""
        return (
            "x-content-type-options" not in exchange.headers
            and "application/problem+json" not in exchange.headers.get("content-type", [])
            and str(exchange.status) in self.library
        )

    def find_faults(self, exchange):
        path = exchange.target.split("?")[0] if exchange.target else None
        template = self.contract.find_path(path) if path else None
        item = self.contract.document["paths"].get(template, {})
        method = (exchange.method or "").lower()
        if method not in item or not (exchange.method or "").isupper():
            yield from self.check_elsewhere(exchange, item)
            return

        # HEAD is described once, as "what GET would say": so GET's description is asked.
        operation = item["get" if method == "head" else method]
        response = operation["responses"].get(str(exchange.status))
        if response is None:
            yield f"status {exchange.status} is not declared"
            return
        self.seen.add(f"{method.upper()} {template} {exchange.status}")
        response = self.contract.resolve(response)
        yield from self.check_response(exchange, response)
        if exchange.status < 300:
            yield from self.check_request(exchange, template, operation)

    def check_elsewhere(self, exchange, item):
        """No operation: nothing but a refusal can be right."""
        if str(exchange.status) not in self.elsewhere:
            yield f"status {exchange.status} although no operation is described"
            return
        response = self.contract.resolve(self.elsewhere[str(exchange.status)])
        yield from self.check_response(exchange, response)
        if exchange.status == 405:
            declared = {method.upper() for method in item if method in METHODS}
            allowed = set(exchange.headers.get("allow", [""])[0].split(", "))
            if declared != allowed:
                yield f"Allow lists {sorted(allowed)}, described are {sorted(declared)}"
        elif exchange.status == 404 and item:
            yield "404 although the path is described"

    # ---- the response ----

    def check_response(self, exchange, response):
        content = response.get("content", {})
        sent = exchange.headers.get("content-type", [])
        declared = {**self.everywhere, **response.get("headers", {})}
        for name in self.find_media(content, sent[0] if sent else "").get("x-without-headers", []):
            declared.pop(name)
        yield from self.check_headers(exchange, declared)
        if exchange.method == "HEAD" or exchange.status == 304:
            if exchange.body:
                yield "a body where there must be none"
            if exchange.status != 304 and bool(content) != bool(sent):
                yield f"Content-Type {sent} where described are {list(content)}"
            return
        if not content:
            if exchange.body or sent:
                yield f"a body or a Content-Type {sent} where none is described"
            return
        if exchange.headers.get("preference-applied") == ["return=minimal"]:
            if exchange.body or sent:
                yield "a body although Preference-Applied says that it was left out"
            return
        if len(sent) != 1:
            yield f"Content-Type {sent}: wanted one"
            return
        media = self.find_media(content, sent[0])
        if not media:
            yield f"Content-Type {sent[0]}: described are {list(content)}"
            return
        if exchange.body or media is not content.get("*/*"):
            yield from self.contract.body_errors(media, sent[0], exchange.body)
        if essence(sent[0]) == "application/problem+json":
            yield from self.check_problem(exchange)

    def find_media(self, content, sent):
        if sent in content:
            return content[sent]
        return content.get(essence(sent), content.get("*/*", {}))

    def check_problem(self, exchange):
        try:
            problem = parse_json(exchange.body)
            status, kind = problem.get("status"), problem.get("type")
        except (ValueError, AttributeError):
            return  # told already
        self.seen.add(f"problem {kind}")
        if status != exchange.status:
            yield f"the problem says status {status}, the response {exchange.status}"

    def check_headers(self, exchange, declared):
        names = {name.lower(): self.contract.resolve(header) for name, header in declared.items()}
        for name, header in names.items():
            values = exchange.headers.get(name, [])
            if header.get("required") and not values:
                yield f"there is no {name}"
            if len(values) > 1:
                yield f"{name} is there {len(values)} times"
            for value in values[:1]:
                for error in self.contract.text_errors(header["schema"], value):
                    yield f"{name}: {error}"
        for name in exchange.headers:
            if name not in names and name not in ("content-type", "content-length"):
                yield f"the header {name} is not described"

    # ---- the request: what the service accepts has to be described ----

    def check_request(self, exchange, path, operation):
        query = exchange.target.partition("?")[2]
        declared = self.contract.parameters(path, operation, "query")
        for part in filter(None, query.split("&")):
            name, _, value = part.partition("=")
            if name not in declared and operation.get("x-ignores-other-parameters"):
                continue
            if name not in declared:
                yield f"accepted the parameter {name}, which is not described"
                continue
            for error in self.contract.text_errors(declared[name]["schema"], value):
                yield f"accepted the parameter {name}={value}: {error}"
        for name, header in self.contract.parameters(path, operation, "header").items():
            for value in exchange.request_headers.get(name.lower(), []):
                for error in self.contract.text_errors(header["schema"], value):
                    yield f"accepted {name}: {value}: {error}"
        body = self.contract.resolve(operation.get("requestBody", {}))
        sent = exchange.request_headers.get("content-type", [None])[0]
        if body and sent and not self.find_media(body["content"], sent):
            yield f"accepted a body of {sent}, which is not described"


def check_folder(checker, folder):
    """The number of exchanges, and (name, what was asked for, what is wrong) of each fault."""
    count, faults = 0, []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        count += 1
        try:
            exchange = read_exchange(entry.path)
            asked = f"{exchange.method} {exchange.target} -> {exchange.status}"
            faults += [(entry.name, asked, fault) for fault in checker.check(exchange)]
        except ValueError as error:
            faults.append((entry.name, "unreadable", str(error)))
    return count, faults


def main(openapi, folder, seen=None):
    try:
        checker = Checker(Contract(load(openapi)))
        count, faults = check_folder(checker, folder)
    except ContractError as error:
        sys.exit(f"openapi.yaml: {error}")
    for _, asked, fault in faults[:40]:
        print(f"openapi.yaml: {asked[:200]}: {fault}")
    if count == 0:
        sys.exit("openapi.yaml: no exchange was recorded")
    if faults:
        sys.exit(f"openapi.yaml: {len(faults)} faults in {count} exchanges")
    if seen:
        with open(seen, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in sorted(checker.seen))
    print(f"{count} exchanges are as openapi.yaml says")


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
