"""The real server, started for tests: on free ports, in a scratch directory, with what it logs kept for the tests."""
import itertools
import os
import re
import signal
import subprocess
import threading
import time

from client import SLOW, Client
from wire import ROOT

BUILD = os.path.join(ROOT, "build", "release")
BYTETALK = os.path.abspath(os.environ.get("BYTETALK", os.path.join(BUILD, "bytetalk")))

# Password hashes that cost nothing and farewells that take no time, where a test is not about them.
FAST = {"user.hash_memory": 8, "user.hash_ops": 1, "proxy.drain_spread_ms": 0, "proxy.resync_spread_ms": 0}

# The ways in which the same server can be put together; the story runs in all of them.
MODES = {
    "direct": {},
    "socket": {"rpc.local": "socket"},
    "layer": {"proxy.test_layer": "xor"},
    "window0": {"chat.window": 0},
    "cluster": {},   # see cluster.py
}
# What the other tests run in; all of them can be run in another: BYTETALK_MODE=socket.
MODE = os.environ.get("BYTETALK_MODE", "direct")

FAULTS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:", "Assertion `", "WARNING: ThreadSanitizer")
READY = r"\bready\b.*\b(clients|nodes)="
_names = itertools.count(1)


def new_name(stem="user"):
    return f"{stem}-{next(_names)}"


class Clients:
    """What makes clients of what serves at `clients`; those `made` are closed before it ends, so that nothing is waited for."""

    layer = False

    def connect(self, address=None, **kw):
        c = Client(address or self.clients, layer=self.layer, **kw)
        self.made.append(c)
        return c

    def user(self, stem="user", password="correct horse", device_id=0, **kw):
        """A new account, logged in."""
        c = self.connect(**kw)
        name = new_name(stem)
        c.register(name, password)
        c.login(name, password, device_id)
        return c

    def users(self, *stems):
        return [self.user(s) for s in stems]

    def again(self, user, device_id=0):
        """Another device of a client's user."""
        c = self.connect()
        c.login(user.name, user.password, device_id)
        return c

    def close_clients(self):
        for c in self.made:
            c.close()
        self.made.clear()


class Server(Clients):
    """One server process on one data directory; it can be killed and started again. It runs in that directory, so that
    no bytetalk.ini but one given counts."""

    running = set()
    popen = {}
    tee = None               # a binary file that gets every line too

    def __init__(self, directory, settings=None, *, roles="all", mode=MODE, env=None, args=()):
        self.dir = str(directory)
        self.settings = {**FAST, **MODES[mode], **(settings or {})}
        self.roles, self.env, self.args = roles, dict(env or {}), list(args)
        self.layer = self.settings.get("proxy.test_layer") == "xor"
        self.process = None
        self.lines = []          # of all its processes
        self.news = threading.Condition()
        self.clients = self.nodes = None
        self.made = []
        os.makedirs(self.dir, exist_ok=True)

    def command(self, extra=()):
        base = {"data.dir": self.dir, "proxy.listen": "127.0.0.1:0"}
        sets = {k: v for k, v in {**base, **self.settings}.items() if v is not None}
        return [BYTETALK, f"--role={self.roles}", *self.args,
                *itertools.chain.from_iterable(("--set", f"{k}={v}") for k, v in sets.items()), *extra]

    def environ(self):
        env = {**os.environ, **self.env}
        env["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + env.get("ASAN_OPTIONS", "")
        return env

    # ---- start and stop

    def spawn(self):
        """Start it and do not wait."""
        assert self.process is None
        self.first_line = len(self.lines)
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, env=self.environ(), cwd=self.dir, **self.popen)
        self.reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self.reader.start()
        Server.running.add(self)
        return self

    def start(self):
        self.spawn()
        try:
            self.wait_ready()
        except AssertionError:
            if self.process.poll() is None:
                self.process.kill()
            self._gone()
            raise
        return self

    def wait_ready(self):
        line = self.wait_log(READY, since=self.first_line)
        found = dict(re.findall(r"\b(clients|nodes)=([\d.]+:\d+)", line))
        self.clients, self.nodes = found.get("clients"), found.get("nodes")

    def _read(self, process):
        for line in process.stderr:
            if self.tee:
                self.tee.write(line)
            with self.news:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.news.notify_all()

    @property
    def log(self):
        return "\n".join(self.lines)

    def wait_log(self, pattern, since=0, deadline=10):
        """The first line that matches, among those after the first `since`."""
        end = time.monotonic() + deadline * SLOW
        with self.news:
            while True:
                for line in self.lines[since:]:
                    if re.search(pattern, line):
                        return line
                since = len(self.lines)
                gone = self.process is None or self.process.poll() is not None
                if gone and not self.reader.is_alive() or time.monotonic() > end:
                    raise AssertionError(f"no line like {pattern!r}{' (the server has ended)' if gone else ''}:\n"
                                         + "\n".join(self.lines[-40:]))
                self.news.wait(0.05)

    def _gone(self, timeout=15):
        """Wait for the end of the process; its status."""
        try:
            code = self.process.wait(timeout * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("the server does not end:\n" + self.log[-4000:]) from None
        finally:
            self.reader.join(5)
            self.process.stderr.close()
            self.process = None
            Server.running.discard(self)
        self.check_log()
        return code

    def check_log(self):
        for fault in FAULTS:
            assert fault not in self.log, f"{fault}\n" + self.log[self.log.index(fault) - 2000 if len(self.log) > 2000 else 0:][:8000]

    def kill(self):
        """As a crash of the machine's kernel would: no signal handler, nothing flushed."""
        self.process.kill()
        return self._gone()

    def stop(self):
        """Clients leave, then SIGTERM; the exit status."""
        self.close_clients()
        self.process.send_signal(signal.SIGTERM)
        return self._gone()

    def wait_end(self, timeout=15):
        """It is expected to end by itself; the exit status."""
        return self._gone(timeout)

    @property
    def proxies(self):
        """Where clients may connect."""
        return [self.clients]

    def memory(self):
        """Resident bytes."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as f:
            return int(f.read().split()[1]) * 4096

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def end(self):
        """However it stands: end it. A living one must end cleanly."""
        if self.process is None:
            return
        if not self.is_alive():
            code = self._gone()
            raise AssertionError(f"the server had ended with {code}:\n" + self.log[-4000:])
        code = self.stop()
        assert code == 0, f"SIGTERM ended it with {code}:\n" + self.log[-4000:]

    # ---- the operator's side

    def run(self, *args, stdin=None, settings=True):
        """Run the binary with the same settings and other arguments; the CompletedProcess, its output as text."""
        command = [BYTETALK, *args]
        if settings:
            command = [BYTETALK, *self.command()[2:], *args]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, env=self.environ(), cwd=self.dir,
                              timeout=30 * SLOW, check=False)
