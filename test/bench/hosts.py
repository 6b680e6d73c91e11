"""What `make bench` measures: the bare router, a server with all roles, a whole cluster. Each is pinned to the first processor."""
import os
import re
import sqlite3
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "integration"))

from cluster import Backends, Cluster  # noqa: E402
from server import FAST, Server  # noqa: E402
from servers import LOOPBACK, _die_with_parent  # noqa: E402

BUILD = os.environ["BYTETALK_BUILD"]
PROCESSORS = sorted(os.sched_getaffinity(0))
SERVING, LOADING = PROCESSORS[0], PROCESSORS[-1]   # the same one where there is but one
SETTINGS = {**FAST, "group.max_members": 200000, "chat.signal_max": 65536}


def pin_to(processors):
    def pin():
        _die_with_parent()
        os.sched_setaffinity(0, processors)
    return pin


def pin_process(pid, processors):
    """All threads of a running process."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(thread), processors)
        except ProcessLookupError:
            pass


AWAY_FROM = 1 << 50   # ids of users that are nothing but members


def group_in(state, members):
    """The group of so many members that the load tool made."""
    with open(state, encoding="utf-8") as f:
        return int(re.search(rf"^group (\d+) {members}$", f.read(), re.M)[1])


class Router:
    name, kinds = "router", ("messages",)

    def __init__(self, directory):
        self.process = None

    def start(self):
        self.process = subprocess.Popen([os.path.join(BUILD, "test", "router"), f"{LOOPBACK}:0"], stdout=subprocess.PIPE, text=True,
                                        preexec_fn=pin_to([SERVING]))
        self.address = self.process.stdout.readline().split()[1]

    def options(self, step):
        return ["--router", self.address, "--router-pid", str(self.process.pid)]

    def pids(self):
        return [self.process.pid]

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    end = stop


class Embedded:
    """All roles in one process, on SQLite."""

    name, kinds = "embedded", ("signals", "messages")

    def __init__(self, directory):
        self.state = os.path.join(directory, "embedded.state")
        self.server = Server(os.path.join(directory, "embedded"), SETTINGS, mode="direct")
        self.server.popen = {"preexec_fn": pin_to([SERVING])}

    def start(self):
        self.server.start()

    def options(self, step):
        return ["--server", self.server.clients, "--pid", str(self.server.process.pid), "--state", self.state]

    def pids(self):
        return [self.server.process.pid]

    def add_members(self, known, count):
        """Make the group of `known` members one of `count`; the server is not running."""
        group = group_in(self.state, known)
        db = sqlite3.connect(os.path.join(self.server.dir, "bytetalk.db"))
        with db:
            db.executemany("INSERT INTO member (hi, lo, user_id, role, joined_seq) VALUES (?, 0, ?, 1, 1)",
                           ((group, AWAY_FROM + n) for n in range(count - known)))
        db.close()

    def stop(self):
        if self.server.process:
            self.server.stop()

    end = stop


class ClusterHost:
    """One unit: two proxies, two chat nodes, one of each other role; MariaDB and Redis with their replicas, three ZooKeepers."""

    name, kinds = "cluster", ("signals", "messages")

    def __init__(self, directory):
        self.state = os.path.join(directory, "cluster.state")
        self.backends = Backends(os.path.join(directory, "servers")).start()
        try:
            self.cluster = Cluster(os.path.join(directory, "nodes"), self.backends, SETTINGS, units=1, has_nginx=False)
        except BaseException:
            self.backends.kill()
            raise
        for u in self.cluster.units:
            u.popen = {"preexec_fn": pin_to([SERVING])}

    def start(self):
        self.cluster.start()

    def pids(self):
        return [u.process.pid for u in self.cluster.units] + [n.pid for n in self.cluster.nodes()]

    def options(self, step):
        b, proxies = self.backends, self.cluster.proxies
        groups = {"nodes": self.pids(), "mariadb": [b.mariadb.process.pid, b.mariadb_replica.process.pid],
                  "redis": [b.redis.process.pid, b.redis_replica.process.pid],
                  "zookeeper": [m.process.pid for m in b.zookeeper.members]}
        if step == "I":   # of one proxy
            proxies = proxies[:1]
            groups = {"proxy": [n.pid for n in self.cluster.nodes("proxy") if n.clients == proxies[0]]}
        pids = [o for label, ids in groups.items() for o in ("--pid", f"{label}={','.join(map(str, ids))}")]
        return ["--server", ",".join(proxies), *pids, "--state", self.state]

    def add_members(self, known, count):
        group, database = group_in(self.state, known), self.cluster.settings["store.url"].rsplit("/", 1)[1]
        self.backends.mariadb.sql(f"USE {database}; INSERT INTO member (hi, lo, user_id, role, joined_seq) "
                                  f"SELECT {group}, 0, {AWAY_FROM} + seq, 1, 1 FROM seq_1_to_{count - known}")

    def stop(self):
        if any(u.process for u in self.cluster.units):
            self.cluster.stop()

    def end(self):
        try:
            self.cluster.end()
        finally:
            self.backends.stop()


KINDS = {h.name: h for h in (Router, Embedded, ClusterHost)}
