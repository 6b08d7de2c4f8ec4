"""Faults that are pretended, so that the oracle can be seen to find them.

They sit between a family and the service: a request is left out or altered, and the family hears what
it would have heard of one that was carried out."""

from dataclasses import replace

from oracle import Answer, producer_verdict

# The name, and words of the violation one of which has to be in it.
PLANTS = {
    "lost append": ("its content is", "its end is"),
    "undead": ("in place of 404", "in place of 410", "in place of 201"),
    "unclosed": ("stream-closed: None in place of true", "in place of 409"),
    "double": ("its content is", "its end is"),
    "forgotten seq": ("204 in place of 409",),
    "old bytes": ("its content is",),
    "short fork": ("its content is", "its end is", "stream-next-offset"),
    "no ttl": ("stream-ttl: None", "409 in place of 200"),
    "changed": ("its content is",),
    "rollback": ("in place of", "are there", "stands where"),
}


def invented(status, operation):
    headers = {"stream-closed": "true"} if operation.close else {}
    return Answer(status, headers, invented=True)


class Plant:
    """One fault of a family, after a while."""

    def __init__(self, name):
        self.name = name
        self.function = getattr(self, name.replace(" ", "_"), None)
        self.wait = 2  # occasions that are let pass
        self.gone = None

    def disturb(self, operation, stream):
        """The request that is sent in its place, and the answer that is invented in place of one.
        `stream` is what its name holds, as far as is known."""
        if self.function is None:
            return operation, None
        return self.function(operation, stream)

    def disturb_content(self, content):
        if self.name != "changed" or not isinstance(content, bytes) or not content or self.is_early():
            return content
        return content[:-1] + bytes([content[-1] ^ 1])

    def is_early(self):
        self.wait -= 1
        return self.wait >= 0

    @staticmethod
    def is_accepted(operation, stream):
        """A plain append, or a close, that nothing speaks against."""
        return (operation.kind == "append" and stream and not stream.deleted and not stream.closed and
                not operation.producer and operation.seq is None and
                operation.type in (None, stream.type))

    def lost_append(self, operation, stream):
        if self.is_accepted(operation, stream) and not operation.close and not self.is_early():
            return operation, invented(204, operation)
        return operation, None

    def undead(self, operation, stream):
        if operation.kind == "delete" and stream and not stream.deleted and not self.is_early():
            return operation, invented(204, operation)
        return operation, None

    def unclosed(self, operation, stream):
        if not (self.is_accepted(operation, stream) and operation.close) or operation.items:
            return operation, None
        return operation, invented(204, operation)

    def double(self, operation, stream):
        """A producer's retry is taken as if it was none."""
        if operation.kind == "append" and operation.producer and stream and not stream.closed and (
                producer_verdict(stream, operation.producer) == 204):
            return replace(operation, producer=None), None
        return operation, None

    def forgotten_seq(self, operation, _stream):
        if operation.kind == "append" and operation.seq is not None:
            return replace(operation, seq=None), None
        return operation, None

    def old_bytes(self, operation, stream):
        """A stream that is made again begins with what it was before."""
        if operation.kind == "delete" and stream and not stream.deleted and stream.content:
            self.gone = (operation.name, stream)
        if operation.kind != "create" or stream or not self.gone:
            return operation, None
        name, old = self.gone
        if name != operation.name or old.type != operation.type:
            return operation, None
        content = old.content if old.is_json else (old.content,)
        return replace(operation, items=content + operation.items), None

    def short_fork(self, operation, _stream):
        if operation.kind == "fork" and not self.is_early():
            return replace(operation, mark=("0000000000000000_0000000000000000", 0), sub=0), None
        return operation, None

    def no_ttl(self, operation, _stream):
        if operation.kind == "create" and operation.ttl:
            return replace(operation, ttl=None), None
        return operation, None
