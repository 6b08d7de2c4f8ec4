"""Certificates of the service under test: made by openssl, put in place by rename, and broken."""

import os
import ssl
import subprocess

from service import Connection, Failure

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]
# How a certificate is broken, and what is told of it.
BREAKS = {"garbage": "to be a certificate", "empty": "the file is empty", "missing": "No such file",
          "cut": "", "stranger": "not the key"}


class Certificates:
    """A root, and the pair that the service reads. `serial` is that of the newest whole pair."""

    def __init__(self, folder):
        self.folder, self.serial = folder, 0
        os.mkdir(folder)
        self.openssl("/CN=root", "root")
        self.context = ssl.create_default_context(cafile=self.path("root.cert"))
        self.replace()

    def path(self, name):
        return os.path.join(self.folder, name)

    def openssl(self, subject, name, *more):
        done = subprocess.run(["openssl", "req", "-x509", *CURVE, "-subj", subject, *more,
                               "-keyout", self.path(f"{name}.key"), "-out", self.path(f"{name}.cert")],
                              check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failure(f"openssl: {done.stderr}")

    def arguments(self):
        return ["--tls-cert", self.path("cert.pem"), "--tls-key", self.path("key.pem")]

    def make(self):
        """A new pair, beside the one that is read."""
        self.openssl("/CN=localhost", "next", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                     "-CA", self.path("root.cert"), "-CAkey", self.path("root.key"),
                     "-set_serial", str(self.serial + 1))

    def replace(self):
        """As whoever renews certificates does it: by rename."""
        self.make()
        os.replace(self.path("next.cert"), self.path("cert.pem"))
        os.replace(self.path("next.key"), self.path("key.pem"))
        self.serial += 1

    def spoil(self, how):
        """The next reload has nothing that it could use; a replacement mends it."""
        path = self.path("cert.pem")
        if how == "missing":
            os.remove(path)
        elif how == "stranger":  # of another key
            self.make()
            os.replace(self.path("next.cert"), path)
        else:
            with open(self.path("root.cert"), "rb") as file:
                whole = file.read()
            text = {"garbage": b"garbage\n", "empty": b"", "cut": whole[:len(whole) // 2]}[how]
            with open(self.path("next.cert"), "wb") as file:
                file.write(text)
            os.replace(self.path("next.cert"), path)


def serial_of(connection):
    """Of the certificate that a connection was made with."""
    connection.open()
    return int(connection.socket.getpeercert()["serialNumber"], 16)


def served_serial(program, patience_s):
    """What a new connection gets."""
    connection = Connection(program.port, patience_s, program.tls)
    try:
        return serial_of(connection)
    finally:
        connection.close()
