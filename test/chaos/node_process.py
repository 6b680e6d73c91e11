"""One node of the town: a process of one role on a host of its own, started again when it ends, as systemd would."""
import os
import random
import re
import signal
import subprocess
import threading
import time

from server import READY
from servers import _die_with_parent, free_port, wait_ready

NODES_PORT, CLIENTS_PORT = 7500, 7400   # where a node that has a host of its own listens
ENDS_IN_S = 25.0                        # a node told to end is given up after that: node.drain_ms and something


class Host:
    """Where there are no network namespaces: this machine's loopback."""

    address = "127.0.0.1"

    def command(self, argv):
        return list(argv)


class Node:
    """`ends`: (time, status, what was expected, the last lines) of each of its processes."""

    def __init__(self, name, unit, role, number, host, is_own_host):
        self.name, self.unit, self.role, self.number, self.host = name, unit, role, number, host
        self.port = NODES_PORT if is_own_host else free_port()
        self.clients_port = CLIENTS_PORT if is_own_host else free_port()
        self.advertised = self.clients_advertised = None   # where it is told to be, if not where it listens
        self.env = {}
        self.process, self.offset = None, 0
        self.struck = None        # the process that was killed or told to end last
        self.delay = None         # fixed: how long until it is started again
        self.expected, self.ends = set(), []
        self.is_wanted = False
        self.ready_start = 0      # the last start that was seen to be ready
        self.start_at = None
        self.starts = 0
        self.lock = threading.RLock()

    def __repr__(self):
        return self.name

    @property
    def address(self):
        """Where other nodes reach it."""
        return self.advertised or f"{self.host.address}:{self.port}"

    @property
    def clients(self):
        return self.clients_advertised or f"{self.host.address}:{self.clients_port}"

    def configure(self, directory, settings):
        self.dir = directory
        self.ini = os.path.join(directory, "nodes", f"{self.name}.ini")
        self.log_path = os.path.join(directory, "logs", f"{self.name}.log")
        mine = {**settings, "node.name": self.name, "node.unit": self.unit, "node.listen": f"{self.host.address}:{self.port}",
                "proxy.listen": f"{self.host.address}:{self.clients_port}"}
        if self.advertised:
            mine["node.advertise"] = self.advertised
        if self.clients_advertised:
            mine["proxy.advertise"] = self.clients_advertised
        sections = {}
        for key, value in mine.items():
            section, name = key.split(".")
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        os.makedirs(os.path.dirname(self.ini), exist_ok=True)
        with open(self.ini, "w", encoding="utf-8") as f:
            f.write("\n".join(f"[{s}]\n" + "".join(lines) for s, lines in sections.items()))

    # ---- its process

    def spawn(self):
        with self.lock:
            self.expected = set()
            self.starts += 1
            self.start_at = None
            binary = os.environ["BYTETALK"]
            with open(self.log_path, "ab") as log:
                self.offset = log.tell()
                self.process = subprocess.Popen(self.host.command([binary, f"--role={self.role}", f"--config={self.ini}"]),
                                                cwd=os.path.dirname(self.ini), env=self._environ(), stdin=subprocess.DEVNULL,
                                                stdout=log, stderr=log, preexec_fn=_die_with_parent)

    def _environ(self):
        env = {**os.environ, **self.env}
        env["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + env.get("ASAN_OPTIONS", "")
        return env

    @property
    def pid(self):
        return self.process.pid

    def is_alive(self):
        with self.lock:
            return self.process is not None and self.process.poll() is None

    def said(self):
        """What its process, the last one, has logged."""
        with open(self.log_path, "rb") as f:
            f.seek(self.offset)
            return f.read().decode("utf-8", "replace")

    def is_ready(self):
        with self.lock:
            if self.is_alive() and self.ready_start != self.starts and re.search(READY, self.said()):
                self.ready_start = self.starts
            return self.is_alive() and self.ready_start == self.starts

    def wait_ready(self, deadline=30.0):
        wait_ready(self.is_ready, lambda: f"{self.name} serves:\n{self.said()[-2000:]}", deadline, 0.02)

    def reap(self, rng):
        """Called often: takes note of an end, and starts it anew when its time has come."""
        with self.lock:
            if self.process is not None and self.process.poll() is not None:
                was_ready = self.ready_start == self.starts or re.search(READY, self.said()) is not None
                self.ends.append((time.monotonic(), self.process.returncode, set(self.expected), was_ready, self.said()[-3000:]))
                self.process = None
                self.start_at = time.monotonic() + (rng.uniform(0.5, 2.0) if self.delay is None else self.delay)
            if self.is_wanted and self.process is None and (self.start_at is None or time.monotonic() >= self.start_at):
                self.spawn()

    def faulty_ends(self):
        """Those that nobody asked for. One that ended with 1 before it served was refused its start, by a store that was away,
        say, and is tried again."""
        return [(code, tail) for _, code, expected, was_ready, tail in self.ends
                if code not in expected and not (code == 1 and not was_ready)]

    # ---- what is done to it

    def signal(self, signum):
        with self.lock:
            if self.process is not None and self.process.poll() is None:
                self.process.send_signal(signum)

    def kill(self):
        with self.lock:
            self.struck = self.process
            self.expected.add(-signal.SIGKILL)
            self.signal(signal.SIGKILL)

    def terminate(self):
        with self.lock:
            self.struck = self.process
            self.expected.add(0)
            self.signal(signal.SIGTERM)

    def wait_gone(self, deadline=ENDS_IN_S):
        """Until what was struck is gone; false: not in time."""
        try:
            if self.struck is not None:
                self.struck.wait(deadline)
        except subprocess.TimeoutExpired:
            return False
        return True

    def freeze(self):
        self.signal(signal.SIGSTOP)

    def thaw(self):
        self.signal(signal.SIGCONT)


class Supervisor:
    """Starts again what ends, in a thread that lives as long as the nodes: the kernel ends them with it."""

    def __init__(self, nodes, seed):
        self.nodes, self.rng = nodes, random.Random(f"{seed} supervisor")
        self.is_ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        for n in self.nodes:
            n.is_wanted = True
        self.thread.start()

    def _run(self):
        while not self.is_ending.wait(0.02):
            for n in self.nodes:
                n.reap(self.rng)

    def let_go(self):
        """From now on what ends stays ended. The thread stays."""
        for n in self.nodes:
            n.is_wanted = False

    def end(self):
        self.let_go()
        self.is_ending.set()
        if self.thread.is_alive():
            self.thread.join()
