"""Chromium without a window, told what to do over a pair of pipes: the DevTools protocol, which ends each
message with a NUL there and so needs no library."""

import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

PROGRAMS = ("chromium-headless-shell", "chromium")

# The pages are our own, and no sandbox can be had by root and in containers. Nothing is asked of the world
# outside; and what newer browsers do by themselves for services on the loopback (they ask their user) is
# off: the service has to hold without it.
OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--no-proxy-server", "--disable-popup-blocking", "--remote-debugging-pipe",
           "--disable-features=LocalNetworkAccessChecks,PrivateNetworkAccessSendPreflights,"
           "BlockInsecurePrivateNetworkRequests")


class Broken(Exception):
    """The browser is not there, or does not do what it is told in time."""


def find():
    """The path of a browser; None: there is none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Chromium:
    """One process, with a profile of its own. Whatever it is asked has to be done before `deadline`."""

    def __init__(self, path, parent, deadline, rules):
        """`rules`: a list of those of --host-resolver-rules. Other names lead nowhere."""
        self.deadline, self.last, self.buffer, self.answers = deadline, 0, b"", {}
        self.profile = tempfile.mkdtemp(prefix="chromium.", dir=parent)
        theirs_in, self.commands = os.pipe()
        self.events, theirs_out = os.pipe()
        # Out of the way of 3 and 4, where the browser looks for them.
        high_in, high_out = (fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out))
        rules = ", ".join([*rules, "EXCLUDE localhost", "EXCLUDE 127.0.0.1", "MAP * ~NOTFOUND"])
        with open(os.path.join(self.profile, "said"), "wb") as said:
            # pylint: disable=consider-using-with # it outlives this function
            self.process = subprocess.Popen(
                ["/bin/bash", "-c", f'exec "$0" "$@" 3<&{high_in} 4>&{high_out}', path, *OPTIONS,
                 f"--user-data-dir={self.profile}", f"--host-resolver-rules={rules}", "about:blank"],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=(high_in, high_out),
                env=dict(os.environ, HOME=self.profile), start_new_session=True)
        for fd in (theirs_in, theirs_out, high_in, high_out):
            os.close(fd)

    def said(self):
        with open(os.path.join(self.profile, "said"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def send(self, method, session=None, **parameters):
        """Returns the number of its answer."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        try:
            os.write(self.commands, json.dumps(message).encode() + b"\0")
        except BrokenPipeError as error:
            raise Broken("the browser has ended: " + self.said()[-2000:]) from error
        return self.last

    def receive(self):
        """Waits for something from the browser, and keeps what is an answer."""
        left = self.deadline - time.monotonic()
        if left <= 0 or not select.select([self.events], [], [], left)[0]:
            raise Broken("the browser has taken too long")
        data = os.read(self.events, 1 << 20)
        if not data:
            raise Broken("the browser has ended: " + self.said()[-2000:])
        *messages, self.buffer = (self.buffer + data).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.answers[message["id"]] = message

    def answer(self, number):
        while number not in self.answers:
            self.receive()
        message = self.answers.pop(number)
        if "error" in message:
            raise Broken(f"the browser refuses: {message['error']}")
        return message["result"]

    def ask(self, method, session=None, **parameters):
        return self.answer(self.send(method, session, **parameters))

    def open(self, url):
        """A page; returns its session once it is there and has read its script."""
        target = self.ask("Target.createTarget", url=url)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        while not self.evaluate(session, "typeof attack == 'function' && document.readyState == 'complete'"):
            time.sleep(0.05)
        return session

    def begin(self, session, expression):
        """Returns what value() gets the value of, or that of its promise, by."""
        return self.send("Runtime.evaluate", session, expression=expression, awaitPromise=True,
                         returnByValue=True, userGesture=True)

    def value(self, number):
        result = self.answer(number)
        if "exceptionDetails" in result:
            raise Broken(f"the page failed: {result['exceptionDetails']}")
        return result["result"].get("value")

    def evaluate(self, session, expression):
        return self.value(self.begin(session, expression))

    def close(self):
        """It and all that it has started are gone, whatever state they were in."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.commands)
        os.close(self.events)
        shutil.rmtree(self.profile, ignore_errors=True)
