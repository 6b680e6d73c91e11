"""The real servers that a cluster leans on, started from Debian's packages: ZooKeeper, Redis, MariaDB, nginx.

Each runs in the foreground as a child of this process, in a scratch directory, and dies with it: on loopback and on a port
of its own, or with a `place`, a Host of netns.py, there and on that host's address. They can be killed, frozen and started
again on what they had; for `make cluster` and for the tests.
"""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import time

LOOPBACK = "127.0.0.1"
_libc = ctypes.CDLL(None, use_errno=True)
_given = set()


class NotReady(AssertionError):
    """A server did not come up; what it wrote is in the message."""


def free_port(run=1):
    """The first of `run` ports in a row that nobody has. Below those that the kernel gives to outgoing connections, so that
    a server that was killed finds its port free."""
    while True:
        port = random.randrange(10000, 32000 - run)
        ports = range(port, port + run)
        if not _given.intersection(ports) and all(_is_free(p) for p in ports):
            _given.update(ports)
            return port


def _is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def wait_ready(cond, what, deadline=30.0, step=0.01):
    """Call cond until it is true, and answer that."""
    end = time.monotonic() + deadline
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > end:
            raise NotReady(f"after {deadline:g} s still not: {what() if callable(what) else what}")
        time.sleep(step)


def _die_with_parent(signum=signal.SIGKILL):
    _libc.prctl(1, signum)   # PR_SET_PDEATHSIG
    os.setpgid(0, 0)         # Control-C is for us, who end it in order


class Program:
    """A server's process. A subclass says how it is started (`command`), when it serves (`is_ready`), how it is ended."""

    name = "server"
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGKILL   # sent by the kernel when we die

    def __init__(self, directory, place=None, port=None):
        self.dir = str(directory)
        self.process = None
        self.place = place
        self.address = place.address if place else LOOPBACK
        self.port = port or free_port()
        os.makedirs(self.dir, exist_ok=True)

    @property
    def host(self):
        """Where it serves, as the nodes' settings name it."""
        return f"{self.address}:{self.port}"

    @property
    def bound(self):
        """The address to listen at: on a host of its own nobody else is there."""
        return "0.0.0.0" if self.place else LOOPBACK

    def within(self, argv):
        """The command as it runs where the server runs."""
        return self.place.command(argv) if self.place else argv

    def connect(self, timeout=0.5):
        """From the server's own host, so that no cut between hosts is in the way."""
        return self.place.connect(self.port, timeout=timeout) if self.place else socket.create_connection((LOOPBACK, self.port), timeout)

    def command(self):
        raise NotImplementedError

    def is_ready(self):
        raise NotImplementedError

    def environ(self):
        """A directory for temporary files of its own: MariaDB removes from a shared one what others are using."""
        path = os.path.join(self.dir, "tmp")
        os.makedirs(path, exist_ok=True)
        return {**os.environ, "TMPDIR": path}

    # ---- start and stop

    @property
    def log_path(self):
        return os.path.join(self.dir, "log")

    def tail(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()[-3000:]

    def spawn(self):
        """Start it and do not wait."""
        assert self.process is None
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(self.within(self.command()), cwd=self.dir, env=self.environ(), stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, preexec_fn=lambda: _die_with_parent(self.death_signal))
        return self

    def wait(self, deadline=30.0):
        def cond():
            if self.process.poll() is not None:
                raise NotReady(f"{self.name} has ended with {self.process.returncode}:\n{self.tail()}")
            return self.is_ready()
        wait_ready(cond, lambda: f"{self.name} serves:\n{self.tail()}", deadline)
        return self

    def start(self):
        return self.spawn().wait()

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self._gone()

    def _gone(self):
        self.process.wait()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)   # what it started and left
        except ProcessLookupError:
            pass
        self.process = None

    def stop(self, deadline=10):
        """In order; killed when that takes too long."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._gone()

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)


# ---- ZooKeeper -----------------------------------------------------------------------------------------------------------

class ZooKeeperMember(Program):
    name = "ZooKeeper"

    def __init__(self, directory, number, members, place=None, port=None):
        super().__init__(directory, place, port)
        self.number = number
        self.peer_ports = free_port(2)
        self.members = members

    def command(self):
        lines = ["tickTime=500", "minSessionTimeout=1000", "maxSessionTimeout=60000", "initLimit=10", "syncLimit=4",
                 f"dataDir={self.dir}", f"clientPort={self.port}", f"clientPortAddress={self.bound}", "admin.enableServer=false",
                 "4lw.commands.whitelist=*", "maxClientCnxns=0"]
        if len(self.members) > 1:
            lines += [f"server.{m.number}={m.address}:{m.peer_ports}:{m.peer_ports + 1}" for m in self.members]
        with open(os.path.join(self.dir, "zoo.cfg"), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
        with open(os.path.join(self.dir, "myid"), "w", encoding="utf-8") as f:
            f.write(f"{self.number}\n")
        return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto", "-Dzookeeper.forceSync=no",
                "-cp", "/usr/share/java/zookeeper.jar:/usr/share/java/slf4j-simple.jar",
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", "zoo.cfg"]

    def ask(self, word):
        """The answer to one of ZooKeeper's four-letter words; empty when it does not serve."""
        try:
            with self.connect() as s:
                s.settimeout(1)
                s.sendall(word.encode())
                data = b""
                while chunk := s.recv(1 << 16):
                    data += chunk
                return data.decode()
        except OSError:
            return ""

    def mode(self):
        """"leader", "follower", "standalone", or empty."""
        return next((line[6:] for line in self.ask("srvr").splitlines() if line.startswith("Mode: ")), "")

    def is_ready(self):
        return self.mode() != ""


class ZooKeeper:
    """An ensemble; with `places`, of one member on each."""

    def __init__(self, directory, size=3, places=None, port=None):
        self.members = []
        for i, place in enumerate(places or [None] * size):
            self.members.append(ZooKeeperMember(os.path.join(str(directory), str(i + 1)), i + 1, self.members, place, port))

    @property
    def host(self):
        """Where its members serve."""
        return ",".join(m.host for m in self.members)

    @property
    def hosts(self):
        return self.host

    def spawn(self):
        for m in self.members:
            m.spawn()
        return self

    def wait(self):
        for m in self.members:
            m.wait()
        return self

    def start(self):
        return self.spawn().wait()

    def leader(self):
        return wait_ready(lambda: next((m for m in self.members if m.is_alive() and m.mode() in ("leader", "standalone")), None),
                          "ZooKeeper has a leader")

    def entries(self):
        """The paths of all ephemeral nodes, as the leader has them."""
        return [line.strip() for line in self.leader().ask("dump").splitlines() if line.startswith("\t/")]

    def stop(self):
        for m in self.members:
            m.stop()

    def kill(self):
        for m in self.members:
            m.kill()


# ---- Redis ---------------------------------------------------------------------------------------------------------------

class Redis(Program):
    name = "Redis"

    def __init__(self, directory, replica_of=None, databases=256, place=None, port=None):
        super().__init__(directory, place, port)
        self.replica_of, self.databases = replica_of, databases

    def command(self):
        options = ["--port", self.port, "--bind", self.bound, "--protected-mode", "no", "--dir", self.dir, "--save", "", "--appendonly", "no",
                   "--databases", self.databases, "--repl-diskless-sync-delay", 0]
        if self.replica_of:
            options += ["--replicaof", self.replica_of.address, self.replica_of.port]
        return ["redis-server", *map(str, options)]

    def ask(self, *words):
        """The answer as text; None when nobody answers."""
        p = subprocess.run(self.within(["redis-cli", "-h", LOOPBACK, "-p", str(self.port), *map(str, words)]), capture_output=True,
                           text=True, timeout=10, check=False)
        return p.stdout.strip() if p.returncode == 0 else None

    def is_ready(self):
        if self.replica_of and self.replica_of.is_alive():
            return "master_link_status:up" in (self.ask("info", "replication") or "")
        return self.ask("ping") == "PONG"

    def promote(self):
        """Make the replica a master; the old one must be dead, or is told nothing."""
        assert self.ask("replicaof", "no", "one") == "OK"
        self.replica_of = None


# ---- MariaDB -------------------------------------------------------------------------------------------------------------

class MariaDB(Program):
    """A server with settings that lose nothing; with `replica_of`, its semi-synchronous replica. A primary that `is_waited`
    acknowledges no commit before a replica has it, however long that takes."""

    name = "MariaDB"
    user, password = "bytetalk", "a password of the tests"

    def __init__(self, directory, number=1, replica_of=None, is_waited=False, place=None, port=None):
        super().__init__(directory, place, port)
        self.number, self.replica_of, self.is_waited = number, replica_of, is_waited
        self.socket = os.path.join(self.dir, "socket")
        if len(self.socket) > 100:   # 107 bytes are the most
            self.socket = f"/tmp/bytetalk-{os.getpid()}-{self.port}.sock"

    @property
    def data(self):
        return os.path.join(self.dir, "data")

    def install(self):
        if os.path.exists(self.data):
            return
        with open(self.log_path, "ab") as log:
            done = subprocess.run(["mariadb-install-db", "--no-defaults", *self._user(), f"--datadir={self.data}",
                                   "--auth-root-authentication-method=normal", "--skip-test-db"], env=self.environ(), stdout=log, stderr=log,
                                  check=False)
        if done.returncode != 0:
            raise NotReady(f"mariadb-install-db has ended with {done.returncode}:\n{self.tail()}")

    @staticmethod
    def _user():
        return ["--user=root"] if os.geteuid() == 0 else []

    def command(self):
        self.install()
        return ["mariadbd", "--no-defaults", *self._user(), f"--datadir={self.data}", f"--socket={self.socket}",
                f"--pid-file={self.dir}/pid", f"--port={self.port}", f"--bind-address={self.bound}", "--skip-name-resolve",
                "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=64M", "--performance-schema=OFF", "--max-connections=400",
                "--innodb-flush-log-at-trx-commit=1", "--log-bin=bin", "--sync-binlog=1", "--binlog-format=ROW",
                f"--server-id={self.number}", "--log-slave-updates=ON", "--slave-net-timeout=5", "--rpl-semi-sync-slave-enabled=ON",
                f"--rpl-semi-sync-master-enabled={'ON' if self.is_waited else 'OFF'}", "--rpl-semi-sync-master-wait-point=AFTER_SYNC",
                "--rpl-semi-sync-master-timeout=18446744073709551615", f"--read-only={'ON' if self.replica_of else 'OFF'}"]

    def sql(self, text, check=True):
        """Run it as the server's owner; the rows as lists of text."""
        p = subprocess.run(["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "--skip-column-names",
                            "--execute", text], capture_output=True, text=True, timeout=30, check=False)
        if p.returncode != 0:
            if check:
                raise NotReady(f"{text}: {p.stderr.strip()}")
            return None
        return [line.split("\t") for line in p.stdout.splitlines()]

    def status(self, name):
        rows = self.sql(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return rows[0][1] if rows else None

    def is_ready(self):
        return self.sql("SELECT 1", check=False) is not None

    def _gone(self):
        super()._gone()
        try:
            os.unlink(self.socket)
        except FileNotFoundError:
            pass

    # ---- a pair

    def replicate(self):
        """After both have started: follow the primary, from its first statement on."""
        self.sql(f"CHANGE MASTER TO master_host='{self.replica_of.address}', master_port={self.replica_of.port}, master_user='replica', "
                 f"master_password='{self.password}', master_connect_retry=1, master_use_gtid=slave_pos; START SLAVE")
        wait_ready(lambda: self.replica_of.status("Rpl_semi_sync_master_clients") == "1",
                   lambda: f"MariaDB's replica follows: {self.sql('SHOW SLAVE STATUS')}")

    def make_users(self):
        """Before a replica follows, so while nothing waits for one."""
        whence = "%" if self.place else LOOPBACK
        self.sql("SET GLOBAL rpl_semi_sync_master_enabled=OFF;"
                 f"CREATE USER '{self.user}'@'{whence}' IDENTIFIED BY '{self.password}';"
                 f"GRANT ALL ON `bytetalk%`.* TO '{self.user}'@'{whence}';"
                 f"CREATE USER 'replica'@'{whence}' IDENTIFIED BY '{self.password}';"
                 f"GRANT REPLICATION SLAVE ON *.* TO 'replica'@'{whence}';"
                 f"SET GLOBAL rpl_semi_sync_master_enabled={'ON' if self.is_waited else 'OFF'}")

    def promote(self):
        """Let the replica be the primary, once it has applied all that it got; it waits for no replica of its own. The old
        primary must never serve again: it may hold commits that nobody was told of."""
        self.sql("STOP SLAVE IO_THREAD")
        wait_ready(lambda: any("has read all relay log" in " ".join(row) for row in self.sql("SHOW PROCESSLIST")),
                   "the replica has applied all that it got")
        self.sql("STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only=OFF")
        self.replica_of = None


# ---- nginx ---------------------------------------------------------------------------------------------------------------

class Nginx(Program):
    """A stream proxy in front of several addresses, which it tells who really connects. One that refuses is passed over."""

    name = "nginx"
    death_signal = signal.SIGTERM   # of a master that was killed the workers would stay

    def __init__(self, directory, targets, place=None, port=None):
        super().__init__(directory, place, port)
        self.targets = list(targets)

    def configure(self):
        servers = "".join(f"        server {t} weight=1 max_fails=1 fail_timeout=5s;\n" for t in self.targets)
        with open(os.path.join(self.dir, "nginx.conf"), "w", encoding="utf-8") as f:
            f.write("load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
                    f"daemon off;\npid {self.dir}/nginx.pid;\nerror_log {self.dir}/error.log;\nworker_processes 1;\n"
                    "worker_rlimit_nofile 8192;\nevents {\n    worker_connections 4000;\n}\n"
                    f"stream {{\n    upstream bytetalk {{\n{servers}    }}\n"
                    f"    server {{\n        listen {self.bound}:{self.port} backlog=1024;\n        proxy_pass bytetalk;\n        proxy_protocol on;\n"
                    "        proxy_connect_timeout 1s;\n        proxy_timeout 10m;\n        tcp_nodelay on;\n    }\n}\n")

    def command(self):
        self.configure()
        return [shutil.which("nginx") or "/usr/sbin/nginx", "-p", self.dir, "-c", "nginx.conf", "-e", "error.log"]

    def is_ready(self):
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def reload(self):
        """Read the configuration anew; new connections go to new workers, the old ones serve theirs to the end."""
        self.configure()
        self.process.send_signal(signal.SIGHUP)
