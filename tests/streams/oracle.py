"""What answers of /v1/stream allow: every state that a family of streams can be in.

A family is a few names, and one client that sends one request at a time to them. The oracle keeps all
states that fit what was answered so far. A request turns a state into one or more *outcomes*: an answer
that it would have, and the state after it. An answer keeps the states it fits; when none is left, it was
one that the protocol does not allow, or what was acknowledged is not there. A request that a kill has
left without an answer may have happened or not, so it keeps all states before it and all after it."""

import dataclasses
import json
import math
from dataclasses import dataclass, replace

# A stream that has expired may be found a moment longer: the clocks are read at different times.
SLACK_S = 0.3


@dataclass(frozen=True)
class Stream:
    """A state of one stream. `content` is bytes, or a tuple of messages if it is JSON."""

    birth: int
    type: str
    content: object
    token: object = None  # the offset of its end, once an answer has told it
    marks: tuple = ()  # (token, length of the content before it), those that were told
    closed: bool = False
    closed_by: object = None  # the producer's tuple
    seq: object = None
    producers: tuple = ()  # of (producer, (epoch, number)), sorted
    ttl: object = None
    expires: object = None
    expires_from: float = math.inf  # before that it is there
    expires_by: float = math.inf  # after that it is not
    source: object = None  # of a fork: (name, birth)
    asked: object = None  # of a fork: what it was asked to be
    deleted: bool = False  # softly: only its forks hold it

    @property
    def is_json(self):
        return self.type == "application/json"


@dataclass(frozen=True)
class Operation:
    """A request, as the oracle sees it. `number` is unique in its family."""

    kind: str  # create, append, delete, fork, head, get
    name: str
    number: int = 0
    type: object = None
    items: tuple = ()
    close: bool = False
    seq: object = None
    producer: object = None  # (id, epoch, number)
    ttl: object = None
    expires: object = None  # (text, seconds since 1970)
    source: object = None
    mark: object = None  # of the source, or None: its end
    sub: int = 0


@dataclass(frozen=True)
class Outcome:
    statuses: tuple
    state: dict
    name: object = None  # whose token the answer tells
    checks: tuple = ()  # (header, value; None: it must not be there)
    content: object = None


def empty_of(media_type):
    return () if media_type == "application/json" else b""


def joined(content, items):
    return content + tuple(items) if isinstance(content, tuple) else content + b"".join(items)


def put(state, name, stream):
    changed = dict(state)
    changed[name] = stream
    return changed


def without(state, name):
    changed = dict(state)
    del changed[name]
    return changed


def holders(state, name):
    stream = state[name]
    return [other for other, fork in state.items() if fork.source == (name, stream.birth)]


def is_ghost(state, name):
    """Deleted, with no fork left that holds it for certain: it is there, or already gone."""
    return state[name].deleted and not any(
        not state[fork].deleted or not is_ghost(state, fork) for fork in holders(state, name))


def views(state, name, sent, answered):
    """What a request can find under this name: (state, stream or None)."""
    stream = state.get(name)
    if stream is None:
        return [(state, None)]
    if stream.deleted:
        found = [(state, stream)]
        if is_ghost(state, name):
            found.append((without(state, name), None))
        return found
    found = []
    if sent < stream.expires_by + SLACK_S:
        found.append((state, stream))
    if answered >= stream.expires_from:
        found.append((without(state, name), None))
    return found


def renewed(stream, sent, answered):
    if stream.ttl is None:
        return stream
    return replace(stream, expires_from=max(stream.expires_from, sent + stream.ttl),
                   expires_by=answered + stream.ttl)


def closed_header(stream):
    return ("stream-closed", "true" if stream.closed else None)


# ---- one function for each kind of request: the outcomes that a state allows ----


def create(state, stream, operation, sent, answered):
    name, media_type = operation.name, operation.type
    if stream is None:
        made = Stream(birth=operation.number, type=media_type, closed=operation.close,
                      content=joined(empty_of(media_type), operation.items))
        if operation.ttl is not None:
            made = replace(made, ttl=operation.ttl, expires_from=sent + operation.ttl,
                           expires_by=answered + operation.ttl)
        if operation.expires:
            text, moment = operation.expires
            made = replace(made, expires=text, expires_from=moment - 0.05, expires_by=moment)
        return [Outcome((201,), put(state, name, made), name, (closed_header(made),))]
    if stream.deleted:
        return [Outcome((409,), state)]
    expires = operation.expires[0] if operation.expires else None
    same = (stream.type == media_type and stream.closed == operation.close and
            stream.ttl == operation.ttl and stream.expires == expires and not stream.source)
    # Whether that renews a TTL is nowhere said.
    if stream.ttl is not None:
        stream = replace(stream, expires_by=max(stream.expires_by, answered + stream.ttl))
    return [Outcome((200,) if same else (409,), put(state, name, stream),
                    name if same else None)]


def producer_verdict(stream, producer):
    """None: its turn; or the status of the refusal, 204 for a duplicate."""
    who, epoch, number = producer
    known = dict(stream.producers).get(who)
    if known is None:
        return None if number == 0 else 409
    if epoch != known[0]:
        if epoch < known[0]:
            return 403
        return None if number == 0 else 400
    if number <= known[1]:
        return 204
    return None if number == known[1] + 1 else 409


def append_to_closed(state, stream, operation):
    """A refusal tells the final end. A producer's retry may be known again, whoever closed it."""
    told = (closed_header(stream),)
    refused = [Outcome((409,), state, operation.name, told)]
    if operation.producer is None:
        close_only = operation.close and not operation.items
        return [Outcome((204,), state, operation.name, told)] if close_only else refused
    known = [Outcome((204,), state, None, told)]
    if operation.producer == stream.closed_by:
        return known
    verdict = producer_verdict(stream, operation.producer)
    return refused + (known if verdict == 204 else [Outcome((403,), state)] if verdict == 403 else [])


def append(state, stream, operation, sent, answered):
    name = operation.name
    if stream is None:
        return [Outcome((404,), state)]
    if stream.deleted:
        return [Outcome((410,), state)]
    # Which refusals renew a TTL is nowhere said; those streams only get what is accepted.
    if stream.closed:
        return append_to_closed(state, stream, operation)
    if operation.items and operation.type != stream.type:
        return [Outcome((409,), state)]
    if operation.producer:
        verdict = producer_verdict(stream, operation.producer)
        if verdict is not None:
            return [Outcome((verdict,), put(state, name, renewed(stream, sent, answered)))]
    if operation.seq is not None and stream.seq is not None and operation.seq <= stream.seq:
        return [Outcome((409,), state)]

    changed = renewed(stream, sent, answered)
    changed = replace(changed, content=joined(stream.content, operation.items),
                      token=None if operation.items else stream.token, closed=operation.close,
                      seq=stream.seq if operation.seq is None else operation.seq)
    statuses = (204,)
    if operation.producer:
        who, epoch, number = operation.producer
        producers = dict(stream.producers)
        producers[who] = (epoch, number)
        changed = replace(changed, producers=tuple(sorted(producers.items())),
                          closed_by=operation.producer if operation.close else None)
        statuses = (200,) if operation.items else (200, 204)
    return [Outcome(statuses, put(state, name, changed), name, (closed_header(changed),))]


def delete(state, stream, operation, _sent, _answered):
    if stream is None:
        return [Outcome((404,), state)]
    if stream.deleted:
        return [Outcome((410,), state)]
    if holders(state, operation.name):
        return [Outcome((204,), put(state, operation.name, replace(stream, deleted=True)))]
    return [Outcome((204,), without(state, operation.name))]


def fork(state, stream, operation, sent, answered):
    name = operation.name
    asked = (operation.source, operation.mark, operation.sub)
    if stream is not None and stream.deleted:
        return [Outcome((404, 409), state)]
    if stream is not None:
        same = stream.source and stream.asked == asked
        return [Outcome((200,) if same else (200, 400, 404, 409), state)]

    outcomes = []
    for found, source in views(state, operation.source, sent, answered):
        if source is None:
            outcomes.append(Outcome((404,), found))
        elif source.deleted:
            outcomes.append(Outcome((409,), found))
        else:
            outcomes.append(fork_of(found, source, operation, asked))
    return outcomes


def fork_of(state, source, operation, asked):
    token, length = operation.mark or (source.token, len(source.content))
    cut = length + operation.sub
    made = Stream(birth=operation.number, type=source.type,
                  content=joined(source.content[:cut], operation.items),
                  marks=tuple(mark for mark in source.marks if mark[1] <= length),
                  source=(operation.source, source.birth), asked=asked)
    checks = (closed_header(made),)
    if token and not operation.sub and not operation.items:
        checks += (("stream-next-offset", token),)
    return Outcome((201,), put(state, operation.name, made), operation.name, checks)


def head(state, stream, operation, _sent, _answered):
    if stream is None:
        return [Outcome((404,), state)]
    if stream.deleted:
        return [Outcome((410,), state)]
    ttl = None if stream.ttl is None else str(stream.ttl)
    checks = (closed_header(stream), ("content-type", stream.type), ("stream-ttl", ttl),
              ("stream-expires-at", stream.expires))
    return [Outcome((200,), state, operation.name, checks)]


def get(state, stream, operation, sent, answered):
    if stream is None:
        return [Outcome((404,), state)]
    if stream.deleted:
        return [Outcome((410,), state)]
    return [Outcome((200,), put(state, operation.name, renewed(stream, sent, answered)),
                    operation.name, (closed_header(stream), ("content-type", stream.type)),
                    stream.content)]


KINDS = {"create": create, "append": append, "delete": delete, "fork": fork, "head": head, "get": get}


# ---- answers ----


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict
    content: object = None
    invented: bool = False  # a planted fault: the service never sent it


def content_read(media_type, pages):
    """The bodies of the pages of one read, as `content` of a Stream."""
    if media_type == "application/json":
        return tuple(json.dumps(message, sort_keys=True).encode() for page in pages
                     for message in json.loads(page or b"[]"))
    return b"".join(pages)


def misfit(outcome, answer):
    """Why the answer is not this one; None if it is."""
    if answer.status not in outcome.statuses:
        return f"{answer.status} in place of {' or '.join(map(str, outcome.statuses))}"
    if answer.invented:
        return None
    for header, value in outcome.checks:
        if answer.headers.get(header) != value:
            return f"{header}: {answer.headers.get(header)} in place of {value}"
    if outcome.content is not None and answer.content != outcome.content:
        return f"its content is {shown(answer.content)} in place of {shown(outcome.content)}"
    if outcome.name is None:
        return None
    token = answer.headers.get("stream-next-offset")
    known = outcome.state[outcome.name].token
    if token is None:
        return "Stream-Next-Offset is missing"
    return None if known in (None, token) else f"its end is {token} in place of {known}"


def shown(content):
    pieces = content if isinstance(content, tuple) else (content,)
    if sum(map(len, pieces)) <= 200:
        return repr(content)
    return f"({len(content)}) {b' '.join(pieces)[:60]!r}…{b' '.join(pieces)[-100:]!r}"


def learned(outcome, answer):
    """The state of the outcome, with the end of the stream as it was told."""
    token = answer.headers.get("stream-next-offset")
    if outcome.name is None or token is None:
        return outcome.state
    stream = outcome.state[outcome.name]
    mark = (token, len(stream.content))
    marks = stream.marks if mark in stream.marks else stream.marks + (mark,)
    return put(outcome.state, outcome.name, replace(stream, token=token, marks=marks))


class Oracle:
    """All states of one family that fit what was answered."""

    def __init__(self):
        self.states = [{}]

    def outcomes(self, operation, sent, answered):
        function = KINDS[operation.kind]
        return [outcome for state in self.states
                for found, stream in views(state, operation.name, sent, answered)
                for outcome in function(found, stream, operation, sent, answered)]

    def observe(self, operation, answer, sent, answered):
        """None, or why no state allows this answer."""
        fitting, reasons = [], []
        for outcome in self.outcomes(operation, sent, answered):
            reason = misfit(outcome, answer)
            if reason:
                reasons.append(reason)
            else:
                fitting.append(learned(outcome, answer))
        if not fitting:
            return "; or ".join(dict.fromkeys(reasons)) or "nothing is allowed"
        self.keep(fitting)
        return None

    def lose(self, operation, sent, lost):
        """It may have happened, or not."""
        self.keep(self.states + [outcome.state for outcome in self.outcomes(operation, sent, lost)])

    def keep(self, states):
        self.states = []
        for state in states:
            if state not in self.states:
                self.states.append(state)

    def restarted(self):
        """When a stream was read last, only memory knows; so a whole TTL begins at some moment."""
        def forget(stream):
            return stream if stream.ttl is None else dataclasses.replace(stream, expires_by=math.inf)

        self.keep([{name: forget(stream) for name, stream in state.items()}
                   for state in self.states])
