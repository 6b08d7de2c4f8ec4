"""What may be in the logs, by what was sent and what was answered; and whether it is."""

import json

from service import Failure


class Log:
    """The records that were sent to one log. Each is sent once, so its bytes tell which it is."""

    def __init__(self, name):
        self.name = name
        self.acknowledged = {}  # offset: data
        self.uncertain = []  # lists of data: each is there whole, once, or not at all
        self.refused = set()
        self.trimmed = 0  # offsets below may be gone

    @property
    def next_offset(self):
        return max(self.acknowledged, default=-1) + 1

    def acknowledge(self, offset, records):
        for number, data in enumerate(records, offset):
            if self.acknowledged.get(number, data) != data:
                raise Failure(f"{self.name}: offset {number} was given to {data!r} and to "
                              f"{self.acknowledged[number]!r}")
            self.acknowledged[number] = data

    def sent(self, records, answer, is_told=True):
        """`answer`: None if there was none. `is_told`: a 2xx has the offset in a receipt."""
        if answer is None or (answer.status >= 500 and not answer.changed_nothing):
            self.uncertain.append(records)
        elif answer.status >= 300:
            self.refused.update(records)
        elif is_told and not answer.body:  # no memory for the words
            offset = int(answer.header("location").rsplit("/", 1)[1])
            if answer.status == 200:
                self.acknowledge(offset, records)
            else:
                self.uncertain.append(records)
        elif is_told:
            receipt = answer.json()
            if receipt["count"] != len(records):
                raise Failure(f"{self.name}: {len(records)} records were sent: {answer}")
            if receipt["durability"] == "committed":
                self.acknowledge(receipt["offset"], records)
            else:
                self.uncertain.append(records)

    def check(self, found, first_offset=0):
        """`found`: offset to data, all that there is."""
        offsets = sorted(found)
        for offset, data in self.acknowledged.items():
            if offset >= first_offset and found.get(offset) != data:
                raise Failure(f"{self.name}: the acknowledged record {offset} was {data!r}, and is "
                              f"{found.get(offset)!r}")
        if first_offset > self.trimmed:
            raise Failure(f"{self.name}: trimmed to {first_offset}, and wanted was {self.trimmed}")
        if offsets and offsets != list(range(offsets[0], offsets[0] + len(offsets))):
            raise Failure(f"{self.name}: a gap in the offsets {offsets}")
        seen = {}
        for offset, data in found.items():
            if data in seen:
                raise Failure(f"{self.name}: {data!r} is there twice, at {seen[data]} and {offset}")
            seen[data] = offset
            if data in self.refused:
                raise Failure(f"{self.name}: {data!r} was refused, and is at {offset}")
        known = set(self.acknowledged.values())
        for records in self.uncertain:
            known.update(records)
            begin = place_of(records, seen)
            if begin is None:
                continue
            there = [seen.get(data) for data in records]
            whole = range(begin, begin + len(records))
            if there != [offset if offset >= first_offset else None for offset in whole]:
                raise Failure(f"{self.name}: a part of a batch is there: {there}")
        for data, offset in seen.items():
            if data not in known:
                raise Failure(f"{self.name}: at {offset} is {data!r}, which nobody sent")

    def check_page(self, begin, lines):
        """The lines of an answer while the service runs: no more than a part of all that there is."""
        known = set(self.acknowledged.values())
        for records in self.uncertain:
            known.update(records)
        for number, line in enumerate(lines, begin):
            record = json.loads(line)
            if record["offset"] != number or record["data"].encode() not in known:
                raise Failure(f"{self.name}: at {number} in a page is {line!r}")
            if self.acknowledged.get(number, record["data"].encode()) != record["data"].encode():
                raise Failure(f"{self.name}: the page has at {number} {record['data']!r}")


def place_of(records, seen):
    """Where a batch begins of which something is there, also if its beginning has been trimmed; or None.
    `seen`: data to offset."""
    for number, data in enumerate(records):
        if data in seen:
            return seen[data] - number
    return None


def read_all(ask, name):
    """(offset to data, first offset) of a log; None: there is none. `ask(target)` gives an Answer."""
    answer = ask(f"/logs/{name}/offsets")
    if answer.status in (404, 410):
        return None, 0
    if answer.status != 200:
        raise Failure(f"{name}/offsets: {answer}")
    offsets = answer.json()
    found, at = {}, offsets["first_offset"]
    while at < offsets["committed_offset"]:
        page = ask(f"/logs/{name}/records?offset={at}&limit=1000")
        if page.status != 200 or not page.body:
            raise Failure(f"{name} from {at} on: {page}")
        for line in page.body.decode().splitlines():
            record = json.loads(line)
            if "data" not in record:
                raise Failure(f"{name} from {at} on: {line!r}")
            found[record["offset"]] = record["data"].encode()
        at = max(found) + 1
    return found, offsets["first_offset"]
