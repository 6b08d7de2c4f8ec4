#!/usr/bin/env python3
"""pages.py WALD FOLDER: pages of other origins in a real browser, each of which tries everything that
attempts.js knows against the service. They come from another port of this machine, another site, nowhere
(the origin "null"), and a site whose name leads to the service once the page is there (DNS rebinding).

Each attempt has to come to the service, so that it is not the browser alone that refuses it; none may get
anything, and nothing may be different afterwards. That this can fail is shown by the same page where
--cors-origin lets it in: what cannot be done even then is listed here, in NEVER."""

import contextlib
import http.client
import itertools
import json
import os
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "streams"))

# pylint: disable=wrong-import-position # it lies there
import chromium  # noqa: E402
import network  # noqa: E402
from program import SKIPPED, Failure, Program  # noqa: E402

DEADLINE_S = 60
ARRIVAL_S = 10
SECRET = "the secret of this service"
PAGE = (f"<script>parent.postMessage('{SECRET}', '*');"
        "fetch('/logs/kept', {method: 'POST', body: '!'})</script>")
IMAGE = '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="5"/>'
STREAMS = {
    "kept": ("text/plain", SECRET),
    "code": ("text/javascript", f"self.stolen = '{SECRET}'"),
    "style": ("text/css", "#mark { width: 77px }"),
    "image": ("image/svg+xml", IMAGE),
    "page": ("text/html", PAGE),
}
HARMS = ("append", "append-stream", "trim", "close", "delete", "delete-stream", "delete-xhr", "patch")

# What shows that an attempt to read has got something.
GOT = re.compile(r"secret|loaded|event |told |opaque|(basic|cors|default|xhr) 2\d\d")

# What pages of allowed origins cannot do either: send cookies along, look into a frame, speak WebSocket,
# send a stream another type than its own or a header that it does not know.
NEVER = {f"read {name}" for name in (
    "lines-credentials", "lines-frame", "stream-frame", "page-frame", "lines-socket", "stream-socket")} | {
    f"change-stream {name}" for name in (
        "beacon-form", "fetch-typeless", "fetch-urlencoded", "fetch-multipart", "fetch-json", "fetch-header",
        "form-urlencoded", "form-multipart", "ping", "report")}


class Service:
    """The program with logs to read and to harm, and a relay in front of it that sees what comes."""

    def __init__(self, wald, folder, *arguments):
        self.program = Program(wald, "posix", folder, *arguments)
        self.relay = None
        self.before = {}

    def start(self, runs):
        """Makes logs to read, and some for each of these runs to harm."""
        self.program.start()
        self.relay = network.Relay(self.program.port)
        streams = STREAMS | {f"{run.name}.{name}": ("text/plain", "first")
                             for run in runs for name in ("stream", *HARMS)}
        for name, (kind, text) in streams.items():
            self.must("PUT", f"/v1/stream/{name}", text, {"Content-Type": kind})
        for run in runs:
            self.must("POST", f"/logs/{run.name}.patch", "second")
        self.before = self.state()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.relay.own_port}"

    def must(self, method, target, body=None, headers=None):
        """What is answered to a request that is fine, not by way of the relay."""
        connection = http.client.HTTPConnection("127.0.0.1", self.program.port, timeout=20)
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            text = answer.read().decode()
        finally:
            connection.close()
        if answer.status not in (200, 201, 204):
            raise Failure(f"{method} {target}: {answer.status} {text}")
        return text

    def state(self):
        """All that could be different after an attempt."""
        count = re.search("^wald_committed_records_total.*", self.must("GET", "/metrics"), re.MULTILINE)
        found = {"": count[0]}
        for log in json.loads(self.must("GET", "/logs?limit=1000"))["logs"]:
            name = log["name"]
            found[name] = self.must("GET", f"/logs/{name}") + self.must("GET", f"/logs/{name}/records")
        return found

    def changed(self):
        """The names of the logs that are not what they were, or were not there."""
        after = self.state()
        return {name for name in self.before.keys() | after.keys()
                if self.before.get(name) != after.get(name)}


class Run:
    """One page, and what it tries. `url` is where the page comes from."""

    count = itertools.count(1)

    def __init__(self, name, url, service, helper=None):
        """`helper`: another server of its author, of another origin; else its own helps it."""
        self.name, self.url, self.service, self.helper = name, url, service, helper
        self.first = 100 * next(Run.count)
        self.outcomes, self.number, self.session = {}, None, None

    @property
    def relay(self):
        return self.service.relay

    @property
    def target(self):
        return self.service.url

    def open(self, browser):
        self.session = browser.open(self.url)

    def begin(self, browser):
        site = self.helper or re.match("http://[^/]*", self.url)[0]
        arguments = ", ".join(json.dumps(each) for each in (self.target, site, self.name, self.first))
        self.number = browser.begin(self.session, f"attack({arguments})")

    def finish(self, browser):
        self.outcomes = browser.value(self.number)

    def got(self):
        """The attempts that got something."""
        return {name for name, outcome in self.outcomes.items() if GOT.search(outcome)}

    def missing(self, browser):
        """The attempts with a target of their own of which nothing came to the service, not even the
        question of the browser whether they are allowed."""
        targets = self.relay.targets()
        reads = browser.evaluate(
            self.session, "Object.entries(reads).map(([name, begin]) => [name, begin.length > 1])")
        found = {f"read {name}" for n, (name, own) in enumerate(reads, self.first)
                 if not own or any(re.search(f"[?&](limit|cursor)={n}$", target) for target in targets)}
        found |= {f"change {target.removeprefix(f'/logs/{self.name}.')}" for target in targets}
        return {name for name in self.outcomes if re.match("(read|change) ", name)} - found - {"read sizes"}

    def wait_arrived(self, browser):
        """What is sent by the way, such as a beacon, may come last."""
        end = time.monotonic() + ARRIVAL_S
        while missing := self.missing(browser):
            if time.monotonic() > end:
                raise Failure(f"{self.name}: the browser itself held back: {sorted(missing)}")
            time.sleep(0.1)


class Rebound(Run):
    """Its page comes from a name that leads to the service from then on, so that the browser takes them
    for one and lets it read everything: refusals, that is."""

    def __init__(self, name, url, service, helper, relay):
        super().__init__(name, url, service, helper)
        self.own_relay = relay

    @property
    def relay(self):
        return self.own_relay

    @property
    def target(self):
        return self.url.removesuffix("/page")

    def open(self, browser):
        super().open(browser)
        self.relay.lead_to(self.service.program.port)

    def got(self):
        return {name for name in super().got()
                if not self.outcomes[name].startswith("opaque") and name != "read sizes"}


class Named(Run):
    """Asks the service by a name that is no name of the loopback. Browsers send no Sec-Fetch-Site there
    without TLS: what a page embeds is answered then, kept from it, and seen to be there."""

    target = "http://wald.test"

    def got(self):
        return super().got() - {"read object"}


def check_strangers(runs, services, browser):
    for run in runs:
        run.wait_arrived(browser)
    wrong = [f"{run.name} got something by {name}: {run.outcomes[name][:200]}"
             for run in runs for name in sorted(run.got())]
    wrong += [f"changed: {name}" for service in services for name in sorted(service.changed())]
    if wrong:
        print(*wrong, sep="\n")
        raise Failure(f"pages of strangers were let in: {len(wrong)} signs of it")
    for run in runs:
        print(f"{run.name}, {run.url}: {len(run.outcomes)} attempts have come to nothing")


def able(run):
    """What a page could do, by what it got and what there is now."""
    changed = run.service.changed()
    texts = run.service.must("GET", f"/v1/stream/{run.name}.stream")
    found = run.got()
    for name in run.outcomes:
        kind, _, attempt = name.partition(" ")
        log = f"{run.name}.{attempt}"
        if kind == "change-stream":
            done = log in texts or f"{log}.stream" in changed
        else:
            done = kind in ("change", "harm") and log in changed
        if done:
            found.add(name)
        elif kind != "read":
            found.discard(name)
    return found


def check_friends(runs):
    """An attempt that is refused to strangers shows something only if it can succeed."""
    attempts = runs[0].outcomes.keys()
    end = time.monotonic() + ARRIVAL_S
    while wrong := attempts - (found := set().union(*map(able, runs))) ^ NEVER:
        if time.monotonic() > end:
            for name in sorted(wrong):
                print(*(f"{name}: {run.outcomes.get(name, '')[:300]}" for run in runs), sep="\n")
            raise Failure(f"pages that may do everything should be able to, or not: {sorted(wrong)}")
        time.sleep(0.1)
    print(f"{' and '.join(run.url for run in runs)}: {len(found)} attempts succeed where they may")


def attack(runs, browser):
    for run in runs:
        run.open(browser)
    for run in runs:
        run.begin(browser)
    for run in runs:
        run.finish(browser)


def explore(wald, folder, path, cleanup):
    port = network.serve_pages()
    rebinding = network.Relay(port)
    closed, some, every = services = [
        Service(wald, folder, *arguments)
        for arguments in (("--host", "wald.test"), ("--cors-origin", "http://friend.test"), ("--cors-origin", "*"))]
    here = f"http://127.0.0.1:{port}"
    strangers = [
        Run("port", f"{here}/page", closed),
        Run("name", f"http://localhost:{port}/page", closed, here),
        Run("site", "http://evil.test/page", closed),
        Run("opaque", "http://evil.test/opaque", closed, here),
        Rebound("rebound", "http://rebound.test/page", closed, here, rebinding),
        Named("named", "http://evil.test/page", closed),
        Run("stranger", "http://evil.test/page", some),
    ]
    friends = [Run("friend", "http://friend.test/page", some), Run("anybody", "http://evil.test/page", every)]
    for service in services:
        cleanup.callback(service.program.remove)
        service.start([run for run in strangers + friends if run.service is service])
    browser = chromium.Chromium(path, folder, time.monotonic() + DEADLINE_S, [
        f"MAP evil.test 127.0.0.1:{port}", f"MAP friend.test 127.0.0.1:{port}",
        f"MAP rebound.test 127.0.0.1:{rebinding.own_port}",
        f"MAP wald.test 127.0.0.1:{closed.relay.own_port}"])
    cleanup.callback(browser.close)

    attack(strangers, browser)
    check_strangers(strangers, services, browser)
    attack(friends, browser)
    for run in friends:
        run.wait_arrived(browser)
    check_friends(friends)
    check_strangers([], [closed], browser)  # nor did anything come of it later
    for service in services:
        service.program.stop()


def main():
    wald, folder = sys.argv[1:]
    path = chromium.find()
    if not path:
        if os.environ.get("NPM_REQUIRED") == "1":
            print("FAILED: there is no Chromium")
            return 1
        print("skipped: there is no Chromium; apt-get install chromium-headless-shell")
        return SKIPPED
    with contextlib.ExitStack() as cleanup:
        try:
            explore(wald, folder, path, cleanup)
        except (Failure, chromium.Broken) as error:
            print("FAILED:", error)
            return 1
    print("passed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
