"""The program under test: started on a port and a folder of its own, killed, started again."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

READY_S = 60
SKIPPED = 77


class Failure(Exception):
    """What was seen contradicts what was promised."""


class Process:
    """One directory of logs, what the process that serves it says, and how it ends."""

    def __init__(self, wald, backend, parent, name):
        self.wald, self.backend = wald, backend
        self.folder = tempfile.mkdtemp(prefix=f"{name}.", dir=parent)
        self.data = os.path.join(self.folder, "data")
        self.log = os.path.join(self.folder, "log")
        self.port = 0
        self.process = None

    def said(self):
        try:
            with open(self.log, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def skip_without_backend(self, said):
        """Exits with 77 if it did not start since this backend cannot be had."""
        if self.backend == "uring" and "io_uring" in said:
            self.remove()
            print("skipped:", said.strip().split("\n")[-1])
            sys.exit(SKIPPED)

    def running(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """As the power does it, but for the page cache: tests/power is about that."""
        if not self.running():
            raise Failure(f"the program ended by itself: {self.process.returncode}")
        self.process.kill()
        self.process.wait()

    def terminate(self):
        if self.running():
            self.process.send_signal(signal.SIGTERM)

    def wait_end(self, patience_s=60):
        """Its exit status."""
        try:
            return self.process.wait(patience_s)
        except subprocess.TimeoutExpired as error:
            raise Failure("it does not stop") from error

    def stop(self):
        """The end in good order, which is also when sanitizers have their say."""
        if not self.running():
            raise Failure(f"the program ended by itself: {self.process.returncode}")
        self.terminate()
        status = self.wait_end()
        if status != 0 or "event=stopped" not in self.said():
            raise Failure(f"exit status {status} after SIGTERM")

    def remove(self):
        if self.running():
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Program(Process):
    """It can be killed any number of times; the port stays the same, so that clients find it again."""

    def __init__(self, wald, backend, parent, *arguments):
        super().__init__(wald, backend, parent, "streams")
        self.arguments = arguments

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def launch(self):
        with open(self.log, "wb") as log:
            # pylint: disable=consider-using-with # it outlives this function
            self.process = subprocess.Popen(
                [self.wald, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}",
                 "--io", self.backend, *self.arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start(self):
        """Returns when it is ready. Exits with 77 where this backend cannot be had."""
        end = time.monotonic() + READY_S
        while True:
            self.launch()
            ready = self.wait_ready(end)
            if ready:
                self.port = int(ready[1])
                return
            said = self.said()
            self.skip_without_backend(said)
            # A connection of someone else's can have taken the port while nobody listened there.
            if "ddress already in use" not in said or time.monotonic() > end:
                raise Failure("the program did not become ready")
            time.sleep(0.1)

    def wait_ready(self, end):
        while time.monotonic() < end:
            running = self.running()
            ready = re.search(r"event=ready .*listen=127\.0\.0\.1:(\d+) ", self.said())
            if ready and running:
                return ready
            if not running:
                return None
            time.sleep(0.01)
        return None


@contextlib.contextmanager
def program_of(wald, backend, parent, *arguments):
    """A Program that is gone at the end. Exits with 1 and what it said last if something failed."""
    program = Program(wald, backend, parent, *arguments)
    try:
        yield program
    except Failure as failure:
        print(f"FAILED: {failure}")
        print("--- what the program said last:")
        print("\n".join(program.said().split("\n")[-40:]))
        sys.exit(1)
    finally:
        program.remove()


def npm_folder_check(folder):
    """Exits, as tests/npm.sh says, where that has not installed what the scripts in `folder` need."""
    if os.path.exists(os.path.join(folder, "installed")):
        return
    if os.environ.get("NPM_REQUIRED") == "1":
        print("FAILED: there is nothing in", folder)
        sys.exit(1)
    print("skipped: the packages of tests/streams are not installed")
    sys.exit(SKIPPED)
