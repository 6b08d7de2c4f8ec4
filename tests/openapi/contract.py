"""openapi.yaml as something to ask: its operations, what they refer to, and validators of values.

Needs PyYAML and jsonschema, as Debian has them: python3-yaml, python3-jsonschema.
"""

import json
import re
import warnings

import jsonschema
import yaml

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

try:
    Loader = yaml.CSafeLoader  # ten times as fast
except AttributeError:
    Loader = yaml.SafeLoader


class ContractError(Exception):
    """The description itself is wrong."""


# ---- formats: those that the description uses, and no more, since a format that nobody checks is
# a promise that nobody keeps ----

formats = jsonschema.FormatChecker(formats=())


@formats.checks("int64")
def is_int64(value):
    return not isinstance(value, int) or -(2**63) <= value < 2**63


@formats.checks("date-time")
def is_date_time(value):
    pattern = (
        r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"[Tt]([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
        r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
    )
    return not isinstance(value, str) or re.fullmatch(pattern, value) is not None


def load(path):
    with open(path, encoding="utf-8") as file:
        return yaml.load(file, Loader)


def parse_json(text):
    """JSON and nothing but JSON: no NaN, and no member twice."""

    def members(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a member is there twice")
        return found

    def no_constant(name):
        raise ValueError(f"{name} is not JSON")

    return json.loads(text, object_pairs_hook=members, parse_constant=no_constant)


def essence(media_type):
    """A media type without its parameters."""
    return media_type.split(";")[0].strip().lower()


def closed(node):
    """A copy in which objects have the members that are described, and no others. A client has to
    cope with members it does not know; the service may not have any that are not described."""
    if isinstance(node, list):
        return [closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {name: closed(value) for name, value in node.items()}
    if node.get("type") == "object" and "properties" in node:
        result.setdefault("additionalProperties", False)
    return result


def read_events(text):
    """(name, data) of each server-sent event, read as the HTML standard says, but more strictly: it
    has to end, to have data, and no other fields than those there are."""
    lines = re.split(r"\r\n|\r|\n", text)
    if lines.pop() or (lines and lines[-1]):
        raise ValueError("the last event does not end")
    kind, data = "message", []
    for line in lines:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            kind = value
        elif name == "data":
            data.append(value)
        elif line == "" and (data or kind != "message"):
            yield kind, "\n".join(data)
            kind, data = "message", []
        elif name not in ("", "id", "retry"):
            raise ValueError(f"the field {name} in {line[:80]!r}")


class Contract:
    def __init__(self, document):
        self.document = document
        self.closed_components = closed(document.get("components", {}))
        self.validators = {}
        # Segments that are words go before those that stand for any.
        self.paths = sorted(
            document["paths"], key=lambda path: [part[:1] == "{" for part in path.split("/")]
        )

    # ---- references ----

    def resolve(self, node):
        """What a node refers to, or the node itself."""
        seen = 0
        while isinstance(node, dict) and "$ref" in node:
            seen += 1
            if seen > 8:
                raise ContractError(f"{node['$ref']}: refers to itself")
            node = self.at(node["$ref"])
        return node

    def at(self, reference):
        if not reference.startswith("#/"):
            raise ContractError(f"{reference}: not in this file")
        node = self.document
        for part in reference[2:].split("/"):
            part = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or part not in node:
                raise ContractError(f"{reference}: there is no such part")
            node = node[part]
        return node

    # ---- operations ----

    def operations(self):
        """(path, method, operation) of each."""
        for path, item in self.document["paths"].items():
            for method in METHODS:
                if method in item:
                    yield path, method, item[method]

    def find_path(self, path):
        """The template that a path is of, or None."""
        segments = path.split("/")
        for template in self.paths:
            pattern = template.split("/")
            if len(pattern) == len(segments) and all(
                p[:1] == "{" or p == s for p, s in zip(pattern, segments)
            ):
                return template
        return None

    def parameters(self, path, operation, place=None):
        """Name to parameter, those of the path included; of one place ("query", ...) or of all."""
        given = self.document["paths"][path].get("parameters", []) + operation.get("parameters", [])
        found = [self.resolve(parameter) for parameter in given]
        return {p["name"]: p for p in found if place in (None, p["in"])}

    # ---- values ----

    def errors(self, schema, value, strict=False):
        """What is wrong with a value, as lines; strict: members that are not described are, too."""
        key = (id(schema), strict)
        if key not in self.validators:
            components = self.closed_components if strict else self.document.get("components", {})
            root = {"allOf": [closed(schema) if strict else schema], "components": components}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of newer releases, about how others are called
                validator = jsonschema.Draft202012Validator(root, format_checker=formats)
            self.validators[key] = (validator, schema)  # the schema, so that its id stays its own
        validator = self.validators[key][0]
        return [describe(error) for error in validator.iter_errors(value)]

    def text_errors(self, schema, text):
        """The same for what arrives as text: a parameter, or the value of a header."""
        wanted = self.resolve(schema).get("type")
        value = text
        if wanted in ("integer", "number") and re.fullmatch(r"-?(0|[1-9][0-9]*)", text):
            value = int(text)
        elif wanted == "boolean" and text in ("true", "false"):
            value = text == "true"
        return self.errors(schema, value)

    def body_errors(self, media, media_type, body):
        """What is wrong with a body of a media type (an entry of `content`), as lines."""
        schema = media.get("schema", {})
        kind = essence(media_type)
        try:
            if kind == "application/json" or kind.endswith("+json"):
                return self.errors(schema, parse_json(body), strict=True)
            if kind == "application/x-ndjson" and "x-itemSchema" in media:
                return self.line_errors(media, body)
            if kind == "text/event-stream" and "x-events" in media:
                return self.event_errors(media, body)
            if kind.startswith("text/") or kind == "application/yaml":
                return self.errors(schema, body.decode("utf-8"))
        except ValueError as error:
            return [f"not {kind}: {error}"]
        return []

    def event_errors(self, media, body):
        """Each event is of a kind that is described, and has the data of that kind."""
        found = []
        for kind, data in read_events(body.decode("utf-8")):
            schema = media["x-events"].get(kind)
            if schema is None:
                found.append(f"the event {kind} is not described")
            elif schema != {"type": "string"}:
                found += self.errors(schema, parse_json(data), strict=True)
        return found[:5]

    def line_errors(self, media, body):
        if body and not body.endswith(b"\n"):
            return ["the last line does not end"]
        lines = body.split(b"\n")[:-1]
        values = [parse_json(line) for line in lines]
        if len(values) > 200:  # thousands would take seconds; both ends are where things change
            values = values[:100] + values[-100:]
        schema = media["x-itemSchema"]
        return [error for value in values for error in self.errors(schema, value, strict=True)][:5]


def describe(error):
    """One line. Of alternatives, what the nearest of them misses."""
    where = "/".join(str(part) for part in error.absolute_path)
    detail = jsonschema.exceptions.best_match([error]) if error.context else error
    message = detail.message
    if len(message) > 300:
        message = message[:300] + "…"
    return f"{where or 'the whole'}: {message}"
