"""notify.py WALD FOLDER INTRUDER: the service under a service manager that is this script.

It hears READY when requests are answered, WATCHDOG as long as the loop turns and not while it does not,
and STOPPING; and it hands over listening sockets. No systemd is needed; where there is
systemd-socket-activate, that hands one over, too.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

wald, folder, intruder = (os.path.abspath(argument) for argument in sys.argv[1:4])
os.makedirs(folder, exist_ok=True)
work = tempfile.mkdtemp(dir=folder)
children = []


def check(condition, what):
    if not condition:
        raise AssertionError(what)


class Manager:
    """A socket that is told how the service does."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1) if address[0] == "@" else address)
        self.address = address

    def hear(self, seconds):
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(4096).decode().split("\n")
        except TimeoutError:
            return []

    def wait_for(self, line, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if line in (heard := self.hear(1)):
                return heard
        raise AssertionError(f"the manager did not hear {line}")

    def forget(self):
        while self.hear(0.001):
            pass


def start(environment, *arguments, **options):
    child = subprocess.Popen(
        [wald, "serve", "--data", work + "/data", "--shutdown-timeout", "5s", *arguments],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )
    children.append(child)
    return child


def stop(child):
    child.send_signal(signal.SIGTERM)
    return stopped(child)


def stopped(child):
    errors = child.communicate(timeout=60)[1]
    check(child.returncode == 0, f"exit status {child.returncode}: {errors}")
    return errors


def answers(address, family=socket.AF_INET):
    """Whether a request over a new connection is answered with 200."""
    connection = http.client.HTTPConnection("localhost", timeout=30)
    connection.sock = socket.socket(family)
    connection.sock.settimeout(30)
    connection.sock.connect(address)
    connection.request("GET", "/livez")
    return connection.getresponse().status == 200


def port_of(status):
    return int(status.rpartition(":")[2])


def tells_its_manager(address):
    manager = Manager(address)
    child = start({"NOTIFY_SOCKET": address}, "--listen", "127.0.0.1:0")
    heard = manager.wait_for("READY=1")
    status = next(line for line in heard if line.startswith("STATUS="))
    check(answers(("127.0.0.1", port_of(status))), "ready, and does not answer")
    check(not any("WATCHDOG" in line for line in manager.hear(1)), "a watchdog nobody asked for")
    child.send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    stopped(child)


def tells_that_its_loop_turns():
    manager = Manager(work + "/watchdog")
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000000"}
    if intruder_fits():
        environment["LD_PRELOAD"] = intruder
    child = start(environment, "--listen", "127.0.0.1:0")
    manager.wait_for("READY=1")
    for _ in range(3):
        manager.wait_for("WATCHDOG=1", 30)
    if intruder_fits():
        # The process lives, its other threads too, and its loop does not turn.
        child.send_signal(signal.SIGUSR1)
        time.sleep(0.5)
        manager.forget()
        check(not manager.hear(1.5), "WATCHDOG=1 from a loop that does not turn")
        manager.wait_for("WATCHDOG=1")
    stop(child)

    other = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    manager.forget()
    child = start(other, "--listen", "127.0.0.1:0")
    manager.wait_for("READY=1")
    check(not manager.hear(0.5), "a watchdog that was meant for another process")
    stop(child)


def intruder_fits():
    libraries = subprocess.run(["ldd", wald], capture_output=True, text=True, check=False).stdout
    return "libasan" not in libraries and "libtsan" not in libraries


def hand_over(listeners, environment=None, count=None):
    """Starts it with these sockets from descriptor 3 on, as a service manager does."""
    numbers = [listener.fileno() for listener in listeners]

    def prepare():
        for i, number in enumerate(numbers):
            os.dup2(number, 100 + i)
        for i in range(len(numbers)):
            os.dup2(100 + i, 3 + i)
        os.environ["LISTEN_PID"] = str(os.getpid())
        os.environ["LISTEN_FDS"] = str(count if count is not None else len(numbers))
        os.environ.update(environment or {})

    # execv() takes the environment as prepare() leaves it.
    child_pid = os.fork()
    if child_pid == 0:
        prepare()
        error = os.open(work + "/errors", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(error, 2)
        os.execv(wald, [wald, "serve", "--data", work + "/data", "--listen", "192.0.2.1:1"])
    return child_pid


def ended(pid, send=None):
    if send:
        os.kill(pid, send)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def errors():
    with open(work + "/errors", encoding="utf-8") as file:
        return file.read()


def takes_a_socket(family, address):
    listener = socket.socket(family)
    listener.bind(address)
    listener.listen(16)
    # Before it is started a connection is taken, and waits.
    early = socket.socket(family)
    early.connect(listener.getsockname())
    early.settimeout(60)
    early.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    pid = hand_over([listener])
    check(early.recv(100).startswith(b"HTTP/1.1 200 "), "what waited was not answered")
    check(answers(listener.getsockname(), family), "no answer over the socket handed over")
    check(ended(pid, signal.SIGTERM) == 0, errors())
    check("event=stopped" in errors(), errors())
    # It is still open, so nobody is refused until the next start.
    late = socket.socket(family)
    late.connect(listener.getsockname())


def refuses_what_is_no_listener():
    one = socket.socket()
    one.bind(("127.0.0.1", 0))
    check(ended(hand_over([one])) == 1, "a socket that does not listen")
    check("does not listen for connections" in errors(), errors())
    one.listen()
    check(ended(hand_over([one, one])) == 1, "two sockets")
    check("LISTEN_FDS is not 1" in errors(), errors())
    # Meant for another process: it opens its own, and cannot.
    pid = hand_over([one], {"LISTEN_PID": "1"})
    check(ended(pid) == 1 and "192.0.2.1" in errors(), errors())


def works_under_socket_activate():
    program = shutil.which("systemd-socket-activate")
    if not program:
        return "without systemd-socket-activate"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    child = subprocess.Popen(
        [program, f"--listen=127.0.0.1:{port}", wald, "serve", "--data", work + "/data"],
        stderr=subprocess.PIPE,
        text=True,
    )
    children.append(child)
    for _ in range(600):
        try:
            check(answers(("127.0.0.1", port)), "no answer under systemd-socket-activate")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    check(f"listen=127.0.0.1:{port} " in stop(child), "another address")
    return "with systemd-socket-activate"


def wrong_manager():
    child = start({"NOTIFY_SOCKET": work + "/nobody"}, "--listen", "127.0.0.1:0")
    errors_of_child = child.communicate(timeout=60)[1]
    check(child.returncode == 1 and "NOTIFY_SOCKET" in errors_of_child, errors_of_child)


try:
    tells_its_manager(work + "/notify")
    tells_its_manager(f"@wald-test-{os.getpid()}")
    tells_that_its_loop_turns()
    takes_a_socket(socket.AF_INET, ("127.0.0.1", 0))
    takes_a_socket(socket.AF_UNIX, work + "/listener")
    refuses_what_is_no_listener()
    wrong_manager()
    how = works_under_socket_activate()
finally:
    for process in children:
        if process.poll() is None:
            process.kill()
            process.communicate()
    shutil.rmtree(work)
print(f"passed, {how}")
