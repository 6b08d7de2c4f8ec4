"""A proxy for one service that loses connections, in turn before, in and behind an answer.

lossy.py PORT: listens on a free port, which it prints, and passes on what comes to PORT on this
machine. What the client sends always arrives; of what it is answered only so many bytes come back,
after which its connection is closed. So much of what is asked for is done without anybody being told.
"""

import itertools
import socket
import sys
import threading

ANSWERED_BYTES = (0, 400, 3000000, 70000, 90, 3000000, 2000)


def pass_on(source, target):
    """All of it, to the end of the request's side."""
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def pass_back(service, client, left):
    """At most so many bytes; then both connections are closed."""
    try:
        while data := service.recv(65536):
            client.sendall(data[:left])
            left -= len(data)
            if left <= 0:
                break
    except OSError:
        pass
    for end in (service, client):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        end.close()


def main():
    """One pair of threads for each connection."""
    port = int(sys.argv[1])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    for left in itertools.cycle(ANSWERED_BYTES):
        client, _ = listener.accept()
        try:
            service = socket.create_connection(("127.0.0.1", port))
        except OSError:
            client.close()
            continue
        for work in ((pass_on, client, service), (pass_back, service, client, left)):
            threading.Thread(target=work[0], args=work[1:], daemon=True).start()


main()
