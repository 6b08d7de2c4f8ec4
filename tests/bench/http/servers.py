"""The servers that run.py measures: how each is started in a folder of its own, asked, and stopped."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time

START_SECONDS = 60
RECEIPT_BYTES = 128


class Unavailable(Exception):
    """This server cannot be measured here; the text says why."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, process):
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Unavailable(f"it ended with status {process.returncode} while it started")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise Unavailable("it did not listen in time")


def find(program, *folders):
    for folder in folders:
        path = os.path.join(folder, program)
        if os.access(path, os.X_OK):
            return path
    path = shutil.which(program)
    if not path:
        raise Unavailable(f"{program} is not installed")
    return path


def as_unprivileged(user, folder):
    """Some servers refuse to run as root: the words in front of a command, for a user who has the folder."""
    if os.geteuid() != 0:
        return []
    subprocess.run(["chown", "-R", user, folder], check=True)
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]


class Server:
    """One process. start() leaves self.port and self.pid; append() asks and returns a measurement."""

    name = ""
    promise = "each append is on the disk before it is answered"

    def __init__(self, bench, folder):
        self.bench = bench
        self.folder = folder
        self.process = None
        self.port = None

    @property
    def pid(self):
        return self.process.pid

    def spawn(self, command, **options):
        log = open(os.path.join(self.folder, "log"), "ab")
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        cwd=self.folder, **options)
        log.close()

    def stop(self):
        if not self.process:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def load(self, *arguments):
        """One visit by http_load."""
        out = subprocess.run([self.bench.load, "--port", str(self.port), "--pid", str(self.pid),
                              "--seconds", str(self.bench.seconds), *map(str, arguments)],
                             stdout=subprocess.PIPE, check=True, timeout=600).stdout
        return json.loads(out)

    def append(self, connections, size, logs=1, records=0):
        raise NotImplementedError


class Wald(Server):
    def __init__(self, bench, folder, backend):
        super().__init__(bench, folder)
        self.backend = backend
        self.name = f"wald {backend}"

    def start(self):
        self.spawn([self.bench.wald, "serve", "--data", os.path.join(self.folder, "data"), "--listen",
                    "127.0.0.1:0", "--io", self.backend, "--max-record-bytes", "16MiB"])
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with open(os.path.join(self.folder, "log"), encoding="utf-8") as log:
                ready = re.search(r"event=ready listen=127\.0\.0\.1:(\d+)", log.read())
            if ready:
                self.port = int(ready.group(1))
                return
            if self.process.poll() is not None:
                raise Unavailable(f"--io {self.backend} does not start here")
            time.sleep(0.05)
        raise Unavailable("it was not ready in time")

    def append(self, connections, size, logs=1, records=0):
        arguments = ["--connections", connections, "--body-bytes", size, "--logs", logs,
                     "--path", f"/logs/b{size}-{logs}-{records}"]
        if records:
            arguments += ["--records", records]
        if logs > 1:  # the first append to each makes it, which is not what is measured
            arguments += ["--warmup", self.bench.seconds]
        return self.load(*arguments)


class Baseline(Server):
    name = "libmicrohttpd alone"
    promise = "nothing: it answers at once, without a disk"

    def start(self):
        self.process = subprocess.Popen([self.bench.baseline], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE)
        self.port = int(self.process.stdout.readline())

    def append(self, connections, size, logs=1, records=0):
        arguments = ["--connections", connections, "--body-bytes", size]
        return self.load(*arguments, *(["--records", records] if records else []))


class Redis(Server):
    name = "Redis Streams"
    promise = "appendfsync always"

    def start(self):
        self.port = free_port()
        self.client = find("redis-benchmark")
        self.spawn([find("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--appendonly",
                    "yes", "--appendfsync", "always", "--save", "", "--dir", self.folder,
                    "--auto-aof-rewrite-percentage", "0", "--maxclients", "4096"])
        wait_for_port(self.port, self.process)
        self.guess = 20000

    def append(self, connections, size, logs=1, records=0):
        """Its own generator has no duration: as many requests as the visit before says it takes."""
        count = max(int(self.guess * self.bench.seconds), 500)
        begin = time.monotonic()
        out = subprocess.run([self.client, "-p", str(self.port), "-c", str(connections), "-n", str(count),
                              "--precision", "3", "--csv", "-d", str(size), "XADD", "bench", "*", "d",
                              "x" * size], stdout=subprocess.PIPE, check=True, text=True, timeout=600).stdout
        fields = [field.strip('"') for field in out.strip().splitlines()[-1].split('","')]
        rate, p50, p99 = float(fields[-7].strip('"')), float(fields[-4]), float(fields[-2])
        self.guess = count / max(time.monotonic() - begin, 0.01)
        return {"rate": rate, "p50_us": p50 * 1e3, "p99_us": p99 * 1e3, "errors": 0}


class Postgres(Server):
    name = "PostgreSQL"
    promise = "synchronous_commit on, an INSERT a transaction"

    def start(self):
        folders = sorted(os.path.join("/usr/lib/postgresql", version, "bin")
                         for version in os.listdir("/usr/lib/postgresql")) \
            if os.path.isdir("/usr/lib/postgresql") else []
        initdb = find("initdb", *reversed(folders))
        self.pgbench = find("pgbench", *reversed(folders))
        psql = find("psql", *reversed(folders))
        self.port = free_port()
        self.as_user = as_unprivileged("postgres", self.folder)
        data = os.path.join(self.folder, "data")
        self.environment = {**os.environ, "PGHOST": "127.0.0.1", "PGPORT": str(self.port),
                            "PGUSER": "bench", "PGDATABASE": "postgres"}
        subprocess.run([*self.as_user, initdb, "-D", data, "-U", "bench", "-A", "trust"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, check=True, cwd=self.folder)
        self.spawn([*self.as_user, find("postgres", *reversed(folders)), "-D", data, "-p", str(self.port), "-h",
                    "127.0.0.1", "-k", self.folder, "-c", "max_connections=2100", "-c", "shared_buffers=512MB"])
        wait_for_port(self.port, self.process)
        for _ in range(100):
            done = subprocess.run([psql, "-qc", "CREATE TABLE log (id bigserial PRIMARY KEY, data bytea)"],
                                  env=self.environment, stderr=subprocess.DEVNULL, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.1)
        raise Unavailable("it takes no commands")

    def stop(self):
        if self.process:  # at once: not before the last client has gone
            self.process.send_signal(signal.SIGINT)
            self.process.wait(60)
            self.process = None

    def append(self, connections, size, logs=1, records=0):
        script = os.path.join(self.folder, "insert.sql")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"INSERT INTO log (data) VALUES ('{'x' * size}');\n")
        out = subprocess.run([self.pgbench, "-n", "-f", script, "-c", str(connections), "-j", "1", "-T",
                              str(max(int(self.bench.seconds), 1)), "-M", "prepared"], env=self.environment,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, text=True,
                             timeout=600).stdout
        return {"rate": float(re.search(r"tps = ([\d.]+)", out).group(1)),
                "p50_us": float(re.search(r"latency average = ([\d.]+)", out).group(1)) * 1e3, "errors": 0}


class Etcd(Server):
    name = "etcd"
    promise = "a put through its JSON gateway"

    def start(self):
        self.port = free_port()
        url, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{free_port()}"
        self.spawn([find("etcd"), "--data-dir", os.path.join(self.folder, "data"), "--listen-client-urls", url,
                    "--advertise-client-urls", url, "--listen-peer-urls", peer, "--initial-advertise-peer-urls",
                    peer, "--initial-cluster", f"default={peer}", "--logger", "zap", "--log-level", "error"])
        wait_for_port(self.port, self.process)
        time.sleep(2)  # it has to elect itself

    def append(self, connections, size, logs=1, records=0):
        body = json.dumps({"key": "YmVuY2g=", "value": "eHh4" * (size // 3)})
        return self.load("--connections", connections, "--path", "/v3/kv/put", "--body", body, "--header",
                         "Content-Type: application/json")


class NodeReference(Server):
    """The reference server of the Durable Streams protocol: `npm install @durable-streams/server` in a folder
    that BENCH_NODE_REFERENCE names."""

    name = "Node reference"
    promise = "its file-backed store"

    def start(self):
        home = os.environ.get("BENCH_NODE_REFERENCE")
        if not home:
            raise Unavailable("BENCH_NODE_REFERENCE names no folder with @durable-streams/server in it")
        self.port = free_port()
        script = os.path.join(self.folder, "serve.mjs")
        with open(script, "w", encoding="ascii") as file:
            file.write(f"""import {{ createRequire }} from "node:module"
import {{ pathToFileURL }} from "node:url"
const require = createRequire("{home}/package.json")
const entry = require.resolve("@durable-streams/server")
const {{ DurableStreamTestServer }} = await import(pathToFileURL(entry))
await new DurableStreamTestServer({{ port: {self.port}, host: "127.0.0.1", dataDir: "{self.folder}/data" }}).start()
""")
        self.spawn([find("node"), script])
        wait_for_port(self.port, self.process)

    def append(self, connections, size, logs=1, records=0):
        path = "/v1/stream/bench"
        plain = ["--header", "Content-Type: text/plain"]
        subprocess.run([self.bench.load, "--port", str(self.port), "--connections", "1", "--seconds", "0.01",
                        "--warmup", "0", "--method", "PUT", "--path", path, "--body", "", *plain],
                       stdout=subprocess.DEVNULL, check=True)
        return self.load("--connections", connections, "--body-bytes", size, "--path", path, *plain)


class Nginx(Server):
    name = "nginx"
    promise = "nothing is written: the same bytes from a file"

    def start(self):
        self.port = free_port()
        configuration = os.path.join(self.folder, "nginx.conf")
        # One process, whose CPU time can be told.
        with open(configuration, "w", encoding="ascii") as file:
            file.write(f"""daemon off; master_process off; pid {self.folder}/pid; error_log {self.folder}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000000; default_type application/octet-stream;
  client_body_temp_path {self.folder}/b; proxy_temp_path {self.folder}/p; fastcgi_temp_path {self.folder}/f;
  uwsgi_temp_path {self.folder}/u; scgi_temp_path {self.folder}/s;
  server {{ listen 127.0.0.1:{self.port}; root {self.folder}; }} }}
""")
        self.spawn([find("nginx", "/usr/sbin"), "-c", configuration, "-p", self.folder])
        wait_for_port(self.port, self.process)
