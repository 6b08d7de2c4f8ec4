"""Faults that are pretended, so that the oracle can be seen to find them.

They sit between a family and the service: a request is left out or altered, and the family hears what
it would have heard of one that was carried out."""

from dataclasses import replace

from oracle import Answer

# The name, and words of the violation one of which has to be in it.
PLANTS = {
    "lost append": ("in place of",),
    "undead": ("200 in place of 404", "204 in place of 404", "409 in place of 201",
               "200 in place of 201", "409 in place of 404"),
    "unclosed": ("stream-closed: None in place of true", "in place of 409"),
    "double": ("its content is", "its end is"),
    "forgotten seq": ("204 in place of 409", "200 in place of 409"),
    "old bytes": ("its content is", "its end is", "in place of"),
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
        self.wait = 5  # occasions that are let pass
        self.gone = None

    def disturb(self, operation):
        """The request that is sent in its place, and the answer that is invented in place of one."""
        if self.function is None:
            return operation, None
        return self.function(operation)

    def disturb_content(self, content):
        if self.name != "changed" or not isinstance(content, bytes) or not content or self.is_early():
            return content
        return content[:-1] + bytes([content[-1] ^ 1])

    def is_early(self):
        self.wait -= 1
        return self.wait >= 0

    @staticmethod
    def is_plain(operation):
        return operation.kind == "append" and not operation.producer and operation.seq is None

    def lost_append(self, operation):
        if self.is_plain(operation) and not operation.close and not self.is_early():
            return operation, invented(204, operation)
        return operation, None

    def undead(self, operation):
        if operation.kind == "delete" and not self.is_early():
            return operation, invented(204, operation)
        return operation, None

    def unclosed(self, operation):
        if operation.kind == "append" and operation.close and not operation.producer and (
                not self.is_early()):
            return replace(operation, close=False) if operation.items else operation, (
                None if operation.items else invented(204, operation))
        return operation, None

    def double(self, operation):
        """What a producer sends is taken without its number, so its retry is taken as well."""
        if operation.kind == "append" and operation.producer and operation.items and (
                operation.producer == self.gone):
            return replace(operation, producer=None), None
        if operation.kind == "append" and operation.producer:
            self.gone = operation.producer
        return operation, None

    def forgotten_seq(self, operation):
        if operation.kind == "append" and operation.seq is not None:
            return replace(operation, seq=None), None
        return operation, None

    def old_bytes(self, operation):
        """A stream that is deleted and made again stays what it was."""
        if operation.kind == "delete" and self.gone is None and not self.is_early():
            self.gone = operation.name
            return operation, invented(204, operation)
        if operation.kind == "create" and operation.name == self.gone:
            return operation, invented(201, operation)
        return operation, None

    def short_fork(self, operation):
        if operation.kind == "fork" and not self.is_early():
            return replace(operation, mark=("0000000000000000_0000000000000000", 0), sub=0), None
        return operation, None

    def no_ttl(self, operation):
        if operation.kind == "create" and operation.ttl:
            return replace(operation, ttl=None), None
        return operation, None
