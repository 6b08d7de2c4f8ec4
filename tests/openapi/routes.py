#!/usr/bin/env python3
"""Holds the router's table against openapi.yaml, in both directions.

    routes.py OPENAPI ROUTES

ROUTES is the program of routes.c. Each operation, query parameter, body, header that is acted on,
and type of problem in one has to be in the other. Prints what is not, and fails then.
"""

import json
import subprocess
import sys

from contract import Contract, load

BODIES = {
    "none": set(),
    "json": {"application/json", "*/*"},
    "records": {"application/x-ndjson", "*/*"},
    "stream": {"application/json", "*/*"},
}


def problem_types(contract):
    """(type, status) of each alternative that the schema Problem lists."""
    found = set()
    for kind in contract.at("#/components/schemas/Problem")["oneOf"]:
        properties = kind["properties"]
        for name in properties["type"]["enum"]:
            found.add((name, properties["status"]["const"]))
    return found


def headers_of(contract, path, operation):
    """The header parameters, and Accept, for which OpenAPI has none: 406 stands for it."""
    names = set(contract.parameters(path, operation, "header")) - {"Content-Encoding"}
    if "406" in operation["responses"]:
        names.add("Accept")
    return names


def differ(what, table, described):
    for entry in sorted(table - described):
        yield f"{what}: {entry} is not described"
    for entry in sorted(described - table):
        yield f"{what}: {entry} is described, and the service does not know it"


def compare_operation(contract, route, operation):
    path = route["path"]
    place = f"{route['method'].upper()} {path}"
    query = set(contract.parameters(path, operation, "query"))
    yield from differ(f"{place}: parameter", set(route["parameters"]), query)
    if operation.get("x-ignores-other-parameters", False) != route["ignores"]:
        yield f"{place}: what it does with other parameters"
    for name in "right", "open":
        if operation.get(f"x-{name}") != route[name]:
            yield f"{place}: x-{name} is {operation.get(f'x-{name}')}, wanted {route[name]}"
    headers = headers_of(contract, path, operation)
    yield from differ(f"{place}: header", set(route["headers"]), headers)
    body = contract.resolve(operation.get("requestBody", {}))
    content = set(body.get("content", {}))
    yield from differ(f"{place}: body", BODIES[route["body"]], content)
    encoded = "Content-Encoding" in contract.parameters(path, operation, "header")
    if encoded != (route["body"] in ("records", "stream")):
        yield f"{place}: Content-Encoding is for bodies of records"


def compare(document, lines):
    """Where the table, as lines of JSON, and the document differ, as lines."""
    contract = Contract(document)
    entries = [json.loads(line) for line in lines]
    routes = {(e["path"], e["method"]): e for e in entries if "path" in e}
    operations = {
        (path, method): operation
        for path, method, operation in contract.operations()
        if method not in ("head", "options")
    }
    faults = list(
        differ(
            "operation",
            {f"{method.upper()} {path}" for path, method in routes},
            {f"{method.upper()} {path}" for path, method in operations},
        )
    )
    for key in sorted(set(routes) & set(operations)):
        faults += compare_operation(contract, routes[key], operations[key])
    problems = {(e["problem"], e["status"]) for e in entries if "problem" in e}
    faults += differ("problem", problems, problem_types(contract))
    return faults


def main(openapi, routes):
    run = subprocess.run([routes], stdout=subprocess.PIPE, check=True, text=True)
    lines = run.stdout.splitlines()
    if not lines:
        sys.exit("there are no routes")
    faults = compare(load(openapi), lines)
    for fault in faults:
        print(fault)
    if faults:
        sys.exit(f"the routes and openapi.yaml differ in {len(faults)} places")
    print(f"{len(lines)} routes and problems are as openapi.yaml says")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
