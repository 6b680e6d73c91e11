"""Servers for planted.py that are there within a second: one process over SQLite, or a few over MariaDB and Redis; and cables
between them that can be cut."""
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time

from server import BYTETALK, Server
from servers import LOOPBACK, MariaDB, Redis, _die_with_parent, free_port

CUTVFS = os.path.join(os.environ["BYTETALK_BUILD"], "test", "cutvfs.so")


class Cable:
    """What dials its address reaches `target`. It can be deaf for a while, and be cut; a slow one lets what is asked wait."""

    def __init__(self, target):
        self.target, self.slow_s = target, 0.0
        self.port = free_port()
        self.address = f"{LOOPBACK}:{self.port}"
        self.loses = set()      # "there": what the dialler writes; "back": what it is answered
        self.open, self.lock = [], threading.Lock()
        self.listener = socket.create_server((LOOPBACK, self.port), backlog=64)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                host, port = self.target.rsplit(":", 1)
                far = socket.create_connection((host, int(port)), 1)
            except OSError:
                near.close()
                continue
            for s in (near, far):
                s.settimeout(None)
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open.append((near, far))
            for way, whence, to in (("there", near, far), ("back", far, near)):
                threading.Thread(target=self._pump, args=(way, whence, to), daemon=True).start()

    def _pump(self, way, whence, to):
        try:
            while data := whence.recv(1 << 16):
                if way == "there" and self.slow_s:
                    time.sleep(self.slow_s)
                if way not in self.loses:
                    to.sendall(data)
        except OSError:
            pass
        for s in (whence, to):
            self._close(s)

    @staticmethod
    def _close(s):
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def cut(self, lost_s, ways=("there", "back")):
        """All that is under way on it, and what is written for so long, is lost; then its connections break."""
        self.loses = set(ways)
        time.sleep(lost_s)
        with self.lock:
            old, self.open = self.open, []
        for pair in old:
            for s in pair:
                self._close(s)
        self.loses = set()

    def end(self):
        self.listener.close()
        self.cut(0)


class Town:
    """`proxies`: where clients come in. Every process has the bug, if one is given."""

    def __init__(self, directory, bug, settings=None):
        self.dir = directory
        self.env = {"BYTETALK_BUG": bug or ""}
        self.settings = settings or {}
        os.makedirs(directory, exist_ok=True)

    def process(self, name, roles, settings, env=None):
        server = Server(os.path.join(self.dir, name), {**self.settings, **settings}, roles=roles, mode="direct", env={**self.env, **(env or {})})
        server.popen = {"preexec_fn": _die_with_parent}
        server.tee = open(os.path.join(self.dir, f"{name}.log"), "wb", buffering=0)
        return server

    def write(self, folder, name, rows):
        with open(os.path.join(folder, name), "w", encoding="ascii") as f:
            for row in rows:
                f.write("\t".join(map(str, row)) + "\n")


MEMBERS = "SELECT hi, lo, user_id, role, joined_seq, left_seq, delivered_seq, read_seq FROM member WHERE joined_seq > 0 ORDER BY hi, lo, user_id"


class Alone(Town):
    """Everything in one process. With `power_cuts` a kill loses what was not synced."""

    def __init__(self, directory, bug, settings=None, power_cuts=False):
        super().__init__(directory, bug, settings)
        address = f"{LOOPBACK}:{free_port()}"
        self.proxies = [address]
        self.control = os.path.join(directory, "cutvfs.control")
        env = {"LD_PRELOAD": CUTVFS, "CUTVFS_CONTROL": self.control} if power_cuts else {}
        self.server = self.process("server", "all", {"proxy.listen": address}, env)

    def start(self):
        self.server.start()
        return self

    def crash(self):
        self.server.kill()
        self.server.start()

    def disk(self, word):
        """What goes wrong with it from now on; see test/cutvfs."""
        with open(self.control, "w", encoding="ascii") as f:
            f.write(word)

    def stop(self):
        assert self.server.stop() == 0, self.server.log[-3000:]

    def end(self):
        if self.server.is_alive():
            self.server.kill()

    def dump(self, folder):
        db = sqlite3.connect(os.path.join(self.server.dir, "bytetalk.db"))
        rows = db.execute("SELECT hi, lo, seq, sender_id, client_msg_id, kind, refers_to_seq, body FROM message ORDER BY hi, lo, seq")
        self.write(folder, "dump.tsv", ((*row[:7], named(row[7], row[5])) for row in rows))
        self.write(folder, "members.tsv", db.execute(MEMBERS))
        db.close()


def named(body, kind):
    """The operation that a body names."""
    return "-" if kind == 4 or not body else bytes(body)[1:17].decode("ascii", "replace")


ROLES = "proxy,user,friend,group,offline"


class Few(Town):
    """One process with all roles but chat, some that are chat nodes, and a second proxy, to which what the first one's users write
    is pushed by itself, not in an answer; none is in a registry, all know all. Cables: to each of them, and from the chat nodes to the database."""

    def __init__(self, directory, bug, chats=2, settings=None):
        super().__init__(directory, bug, settings)
        self.mariadb, self.redis = MariaDB(os.path.join(directory, "mariadb")), Redis(os.path.join(directory, "redis"))
        self.database = Cable(self.mariadb.host)
        self.nodes = [f"{LOOPBACK}:{free_port()}" for _ in range(chats + 2)]
        self.cables = [Cable(node) for node in self.nodes]   # the first one's, then the chat nodes', then the second proxy's
        self.proxies = [f"{LOOPBACK}:{free_port()}" for _ in range(2)]
        roles = [ROLES.replace(",", "+"), *["chat"] * chats, "proxy"]
        password = os.path.join(directory, "store.password")
        with open(password, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(MariaDB.password + "\n")
        self.settings = {
            "presence.url": f"redis://{self.redis.host}/0",
            "store.url": f"mariadb://{MariaDB.user}@{self.mariadb.host}/bytetalk",
            "store.password_file": password,
            "registry.nodes": ", ".join(f"{role}@{c.address}" for role, c in zip(roles, self.cables)),
            "rpc.silent_ms": 600,
            **self.settings,
        }
        self.front = self.process("front", ROLES, {"node.listen": self.nodes[0], "node.advertise": self.cables[0].address, "proxy.listen": self.proxies[0]})
        store = f"mariadb://{MariaDB.user}@{self.database.address}/bytetalk"
        self.chats = [self.process(f"chat{n}", "chat", {"node.listen": self.nodes[n], "node.advertise": self.cables[n].address, "store.url": store})
                      for n in range(1, chats + 1)]
        self.door = self.process("door", "proxy", {"node.listen": self.nodes[-1], "node.advertise": self.cables[-1].address,
                                                   "proxy.listen": self.proxies[1]})

    def start(self):
        for program in (self.mariadb, self.redis):
            program.spawn()
        for program in (self.mariadb, self.redis):
            program.wait()
        self.mariadb.make_users()
        made = self.front.run("--migrate")
        assert made.returncode == 0, made.stderr
        for s in (*self.chats, self.front, self.door):
            s.spawn()
        for s in (*self.chats, self.front, self.door):
            s.wait_ready()
        return self

    def freeze(self, chat, seconds):
        process = self.chats[chat].process
        process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        process.send_signal(signal.SIGCONT)

    def cut(self, lost_s):
        """Between all of them, at once. What chat nodes write to proxies is lost while what they are asked arrives: were both lost, hardly a
        message would be written whose push is missing."""
        ways = [("there",), *[("back",)] * len(self.chats), ("there",)]
        threads = [threading.Thread(target=c.cut, args=(lost_s, w)) for c, w in zip(self.cables, ways)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def stop(self):
        for s in (self.door, self.front, *self.chats):
            assert s.stop() == 0, s.log[-3000:]

    def end(self):
        for s in (self.door, self.front, *self.chats):
            if s.is_alive():
                s.kill()
        for c in (self.database, *self.cables):
            c.end()
        for program in (self.mariadb, self.redis):
            program.kill()

    def dump(self, folder):
        self._query(folder, "dump.tsv", "SELECT hi, lo, seq, sender_id, client_msg_id, kind, refers_to_seq,"
                    " IF(kind = 4 OR LENGTH(body) = 0, '-', SUBSTR(body, 2, 16)) FROM message ORDER BY hi, lo, seq")
        self._query(folder, "members.tsv", MEMBERS)

    def _query(self, folder, name, sql):
        with open(os.path.join(folder, name), "wb") as f:
            subprocess.run(["mariadb", "--no-defaults", f"--socket={self.mariadb.socket}", "--user=root", "--batch", "--quick",
                            "--skip-column-names", "bytetalk", "--execute", sql], stdout=f, check=True)


__all__ = ["BYTETALK", "Alone", "Cable", "Few"]
