"""What is between the browser and the service: the site that hostile pages come from, and a relay that
sees what was asked, and can lead to another place than it did before."""

import http.server
import os
import re
import socket
import threading
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
REQUEST = re.compile(rb"[A-Z]+ (/[^ \r\n]*) HTTP/1\.1\r\n")


class Relay:
    """A port of the loopback. Bytes go through unchanged, to where `port` says when a connection begins:
    to a browser that is one host, whoever answers there."""

    def __init__(self, port):
        self.port, self.lock, self.connections, self.heard = port, threading.Lock(), set(), []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.own_port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.port), 20)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            heard = bytearray()
            with self.lock:
                self.connections |= {near, far}
                self.heard.append(heard)
            for source, sink, copy in (near, far, heard), (far, near, bytearray()):
                threading.Thread(target=self.pump, args=(source, sink, copy), daemon=True).start()

    def pump(self, source, sink, copy):
        try:
            while data := source.recv(1 << 16):
                with self.lock:
                    copy += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def lead_to(self, port):
        """From now on; connections that there are end, and what came by them is forgotten."""
        self.port = port
        with self.lock:
            ended, self.connections, self.heard = self.connections, set(), []
        for connection in ended:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def targets(self):
        """What all the requests that came through were for."""
        with self.lock:
            heard = [bytes(each) for each in self.heard]
        return {target.decode() for each in heard for target in REQUEST.findall(each)}


class Pages(http.server.BaseHTTPRequestHandler):
    """The site of somebody who means harm; it answers to every name."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, headers, body=b""):
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def do_GET(self):
        path, _, query = self.path.partition("?")
        to = urllib.parse.unquote(query)
        html = {"Content-Type": "text/html; charset=utf-8"}
        if path == "/page":
            self.reply(200, html, b'<!doctype html><script src="/attempts.js"></script><body>')
        elif path == "/opaque":  # a page of the origin "null"
            policy = {"Content-Security-Policy": "sandbox allow-scripts allow-forms"}
            self.reply(200, html | policy, b'<!doctype html><script src="/attempts.js"></script><body>')
        elif path == "/attempts.js":
            with open(os.path.join(HERE, "attempts.js"), "rb") as file:
                self.reply(200, {"Content-Type": "text/javascript"}, file.read())
        elif path == "/report":  # has the browser tell `to` of a breach of its policy
            policy = {"Content-Security-Policy": f"img-src 'none'; report-uri {to}"}
            self.reply(200, html | policy, b'<!doctype html><img src="/x">')
        elif path == "/redirect":
            self.reply(307, {"Location": to})
        else:
            self.reply(404, {})

    do_POST = do_GET


def serve_pages():
    """Returns the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port
