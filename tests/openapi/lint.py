#!/usr/bin/env python3
"""Judges openapi.yaml by itself: is it OpenAPI 3.1, and does it keep to the rules of this service?

    lint.py OPENAPI VERSION

VERSION is the program's. Prints what is wrong, and fails if anything is.
"""

import re
import sys

import jsonschema
from contract import METHODS, Contract, ContractError, load

# The objects of OpenAPI 3.1.0 (https://spec.openapis.org/oas/v3.1.0, chapter 4.8), without the
# parts that there is no use for here: variables, callbacks, links, encodings. A field
# that has to be there ends in "!". A value is a type, or the name of another object, alone or in a
# list or a map.
OBJECTS = {
    "openapi": {
        "openapi!": str, "info!": "info", "servers": ["server"], "paths!": {"": "path"},
        "components": "components", "security": [dict], "tags": ["tag"],
        "externalDocs": "documents",
    },
    "scheme": {"type!": str, "scheme!": str, "description!": str},
    "info": {
        "title!": str, "summary": str, "description": str, "termsOfService": str,
        "contact": dict, "license": "license", "version!": str,
    },
    "license": {"name!": str, "identifier": str, "url": str},
    "server": {"url!": str, "description": str},
    "documents": {"description": str, "url!": str},
    "tag": {"name!": str, "description": str, "externalDocs": "documents"},
    "path": {
        "summary": str, "description": str, "parameters": ["parameter"],
        **{method: "operation" for method in METHODS},
    },
    "operation": {
        "tags": [str], "summary!": str, "description": str, "externalDocs": "documents",
        "operationId": str, "parameters": ["parameter"], "requestBody": "body",
        "responses!": {"": "response"}, "deprecated": bool,
    },
    "parameter": {
        "name!": str, "in!": str, "description!": str, "required": bool, "deprecated": bool,
        "allowEmptyValue": bool, "style": str, "explode": bool, "allowReserved": bool,
        "schema!": "schema", "example": object, "examples": {"": "example"},
    },
    "header": {
        "description!": str, "required": bool, "deprecated": bool, "schema!": "schema",
        "example": object, "examples": {"": "example"},
    },
    "body": {"description": str, "content!": {"": "media"}, "required": bool},
    "media": {"schema!": "schema", "example": object, "examples": {"": "example"}},
    "response": {"description!": str, "headers": {"": "header"}, "content": {"": "media"}},
    "example": {"summary": str, "description": str, "value!": object},
    "components": {
        "schemas": {"": "schema"}, "responses": {"": "response"}, "parameters": {"": "parameter"},
        "examples": {"": "example"}, "requestBodies": {"": "body"}, "headers": {"": "header"},
        "securitySchemes": {"": "scheme"},
    },
    "schema": {},
}  # fmt: skip
REFERABLE = ("parameter", "header", "body", "response", "example")

# The keywords of JSON Schema 2020-12 that may be used. A misspelt one would check nothing.
KEYWORDS = set(
    """$ref $comment type enum const multipleOf maximum exclusiveMaximum minimum exclusiveMinimum
    maxLength minLength pattern maxItems minItems uniqueItems maxProperties minProperties required
    dependentRequired allOf anyOf oneOf not if then else properties patternProperties
    additionalProperties items prefixItems contains format contentEncoding contentMediaType title
    description default deprecated readOnly writeOnly examples""".split()
)
FORMATS = {"int64", "date-time"}

# What any request can be answered with, whatever it asks for.
ALWAYS = {"400", "401", "403", "408", "414", "415", "421", "429", "431", "503"}


class Walk:
    """Every object of the document, as (place, kind, node), and what is wrong with their shapes."""

    def __init__(self, document):
        self.found, self.faults, self.references = [], [], []
        self.enter("", "openapi", document)
        self.enter_extensions(document)

    def enter_extensions(self, document):
        every = document.get("x-every-response", {})
        self.enter_value("/x-every-response/headers", {"": "header"}, every.get("headers"))
        for name in "x-no-operation", "x-answered-by-the-library":
            place = f"/{name}/responses"
            self.enter_value(place, {"": "response"}, document.get(name, {}).get("responses"))

    def fault(self, place, text):
        self.faults.append(f"{place or '/'}: {text}")

    def enter(self, place, kind, node):
        if not isinstance(node, dict):
            self.fault(place, f"not {kind}: {node!r}")
            return
        if kind == "schema":
            self.enter_schema(place, node)
            return
        if "$ref" in node and kind in REFERABLE:
            self.references.append((place, kind, node["$ref"]))
            if set(node) - {"$ref", "description", "summary"}:
                self.fault(place, "more than a reference")
            return
        self.found.append((place, kind, node))
        fields = {name.rstrip("!"): wanted for name, wanted in OBJECTS[kind].items()}
        for name in OBJECTS[kind]:
            if name.endswith("!") and name[:-1] not in node:
                self.fault(place, f"{kind} without {name[:-1]}")
        for name, value in node.items():
            inside = f"{place}/{name.replace('~', '~0').replace('/', '~1')}"
            if name in fields:
                self.enter_value(inside, fields[name], value)
            elif name == "x-itemSchema" and kind == "media":
                self.enter(inside, "schema", value)
            elif name == "x-events" and kind == "media":
                for event, schema in value.items():
                    self.enter(f"{inside}/{event}", "schema", schema)
            elif not name.startswith("x-"):
                self.fault(inside, f"not a field of {kind}")

    def enter_value(self, place, wanted, value):
        if isinstance(wanted, str):
            self.enter(place, wanted, value)
        elif isinstance(wanted, list):
            if not isinstance(value, list):
                self.fault(place, "not a list")
                return
            for i, item in enumerate(value):
                self.enter_value(f"{place}/{i}", wanted[0], item)
        elif isinstance(wanted, dict):
            if not isinstance(value, dict):
                self.fault(place, "not a map")
                return
            for name, item in value.items():
                name = str(name).replace("~", "~0").replace("/", "~1")
                self.enter_value(f"{place}/{name}", wanted[""], item)
        elif not isinstance(value, wanted):
            self.fault(place, f"not {wanted.__name__}: {value!r}")

    def enter_schema(self, place, node):
        self.found.append((place, "schema", node))
        for keyword, value in node.items():
            inside = f"{place}/{keyword}"
            if keyword not in KEYWORDS:
                self.fault(inside, "not a keyword that is known here")
            elif keyword == "$ref":
                self.references.append((place, "schema", value))
            elif keyword == "format" and value not in FORMATS:
                self.fault(inside, f"nobody checks the format {value}")
            elif keyword in ("properties", "patternProperties"):
                for name, item in value.items():
                    self.enter(f"{inside}/{name}", "schema", item)
            elif keyword in ("allOf", "anyOf", "oneOf", "prefixItems"):
                for i, item in enumerate(value):
                    self.enter(f"{inside}/{i}", "schema", item)
            elif keyword in ("items", "not", "if", "then", "else", "contains") or (
                keyword == "additionalProperties" and isinstance(value, dict)
            ):
                self.enter(inside, "schema", value)


def check_references(contract, walk):
    used = set()
    for place, kind, reference in walk.references:
        used.add(reference)
        try:
            contract.at(reference)
        except ContractError as error:
            yield f"{place}: {error}"
            continue
        folder = {"body": "requestBodies"}.get(kind, kind + "s")
        if not reference.startswith(f"#/components/{folder}/"):
            yield f"{place}: {reference} is not a {kind}"
    for wanted in contract.document.get("security", []):
        used |= {f"#/components/securitySchemes/{name}" for name in wanted}
    for folder, entries in contract.document.get("components", {}).items():
        for name in entries:
            if f"#/components/{folder}/{name}" not in used:
                yield f"/components/{folder}/{name}: nothing refers to it"


def check_schemas(walk):
    judge = jsonschema.Draft202012Validator(jsonschema.Draft202012Validator.META_SCHEMA)
    for place, kind, node in walk.found:
        if kind != "schema":
            continue
        for error in judge.iter_errors(node):
            yield f"{place}: {error.message}"
        missing = set(node.get("required", [])) - set(node.get("properties", {}))
        if "properties" in node and missing:
            yield f"{place}: requires {sorted(missing)}, which it does not have"


def check_values(contract, walk):
    """The examples and defaults of schemas."""
    for place, kind, node in walk.found:
        if kind != "schema":
            continue
        values = node.get("examples", []) + ([node["default"]] if "default" in node else [])
        for value in values:
            for error in contract.errors(node, value):
                yield f"{place}: its example {value!r}: {error}"


def check_examples(contract, walk):
    """Those of parameters, headers and bodies."""
    for place, kind, node in walk.found:
        if kind not in ("parameter", "header", "media"):
            continue
        examples = [contract.resolve(example) for example in node.get("examples", {}).values()]
        values = [example["value"] for example in examples if "value" in example]
        if "example" in node:
            values.append(node["example"])
        media_type = place.split("/")[-1].replace("~1", "/")
        for value in values:
            if kind == "media" and isinstance(value, str) and not media_type.endswith("+json"):
                errors = contract.body_errors(node, media_type, value.encode())
            else:
                errors = contract.errors(node.get("schema", {}), value, strict=True)
            for error in errors:
                yield f"{place}: the example {str(value)[:60]!r}: {error}"
        if kind == "media" and not values and re.search(r"json", media_type):
            yield f"{place}: no example"


def check_paths(contract):
    shapes = {}
    for path, item in contract.document["paths"].items():
        if not path.startswith("/"):
            yield f"{path}: a path begins with /"
        shape = re.sub(r"\{[^}]*\}", "{}", path)
        if shape in shapes:
            yield f"{path}: the same as {shapes[shape]}"
        shapes[shape] = path
        if ("get" in item) != ("head" in item):
            yield f"{path}: HEAD is wherever GET is"
        if "options" not in item:
            yield f"{path}: OPTIONS is everywhere"
        if set(item.get("head", {}).get("responses", {"default"})) != {"default"}:
            yield f"{path}: HEAD says what GET does, and nothing by itself"


def check_operations(contract):
    names = {}
    for path, method, operation in contract.operations():
        place = f"{method.upper()} {path}"
        name = operation.get("operationId")
        if method not in ("head", "options"):
            if not name or not re.fullmatch(r"[a-z][A-Za-z]*", name):
                yield f"{place}: operationId {name!r}"
            elif name in names:
                yield f"{place}: operationId {name}, which is that of {names[name]}"
            names[name] = place
            for status in sorted(ALWAYS - set(operation["responses"])):
                yield f"{place}: does not declare {status}, which any request may get"
        declared = set(contract.parameters(path, operation, "path"))
        if declared != set(re.findall(r"\{([^}]*)\}", path)):
            yield f"{place}: the parameters of its path are declared as {sorted(declared)}"
        for parameter in contract.parameters(path, operation).values():
            if parameter["in"] == "path" and parameter.get("required") is not True:
                yield f"{place}: {parameter['name']} is not required"
        if method in ("get", "delete") and "requestBody" in operation:
            yield f"{place}: has a body"


def check_responses(contract):
    given = [
        (f"{method.upper()} {path}", operation["responses"])
        for path, method, operation in contract.operations()
        if method != "head"  # described as "what GET would say"
    ]
    given.append(("x-no-operation", contract.document["x-no-operation"]["responses"]))
    for place, responses in given:
        for status, response in responses.items():
            response = contract.resolve(response)
            if not re.fullmatch(r"[2345][0-9][0-9]", str(status)):
                yield f"{place} {status}: not a status by itself"
                continue
            content = set(response.get("content", {}))
            if str(status) >= "400" and content != {"application/problem+json"}:
                yield f"{place} {status}: a refusal is a problem document, not {sorted(content)}"
            for wanted, header in ("503", "Retry-After"), ("405", "Allow"), ("201", "Location"):
                if str(status) == wanted and not contract.resolve(
                    response.get("headers", {}).get(header, {})
                ).get("required"):
                    yield f"{place} {status}: without {header}"


def lint(document, version):
    """What is wrong with the document, as lines."""
    walk = Walk(document)
    if walk.faults:  # the rest relies on the shapes
        return walk.faults
    contract = Contract(document)
    faults = list(check_references(contract, walk)) + list(check_schemas(walk))
    if faults:
        return faults
    if not document["openapi"].startswith("3.1."):
        faults.append(f"/openapi: {document['openapi']}, wanted 3.1")
    if document["info"]["version"] != version:
        faults.append(f"/info/version: {document['info']['version']}, the program is {version}")
    faults += check_values(contract, walk)
    faults += check_examples(contract, walk)
    faults += check_paths(contract)
    faults += check_operations(contract)
    faults += check_responses(contract)
    return faults


def main(openapi, version):
    faults = lint(load(openapi), version)
    for fault in faults:
        print(f"openapi.yaml: {fault}")
    if faults:
        sys.exit(f"openapi.yaml: {len(faults)} faults")
    print("openapi.yaml is fine")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2])
