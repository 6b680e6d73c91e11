"""A whole cluster on this machine: the servers it leans on, units of nodes, nginx in front. For `make cluster` and the tests.

`Backends` are the real servers, shared by any number of clusters; a `Cluster` is units that have a registry, a presence and
a store of their own on them, and looks to tests like a Server whose clients come in through another door each time.
"""
import itertools
import os
import re
import signal
import stat
import subprocess
from collections import namedtuple

from client import Client, Closed, msg_id, wait_until
from server import FAST, READY, Clients, Server
from servers import LOOPBACK, MariaDB, Nginx, Redis, ZooKeeper, _die_with_parent, free_port

# A unit, as the issue of a small installation: what there is most of is what all clients pass through.
COUNTS = {"proxy": 2, "user": 1, "friend": 1, "group": 1, "offline": 1, "chat": 2}

Node = namedtuple("Node", "unit role number name pid address clients")


class Backends:
    """ZooKeeper, Redis with a replica, MariaDB with a semi-synchronous replica."""

    def __init__(self, directory, zookeepers=3):
        self.dir = str(directory)
        self.zookeeper = ZooKeeper(self._path("zookeeper"), zookeepers)
        self.redis = Redis(self._path("redis-1"))
        self.redis_replica = Redis(self._path("redis-2"), replica_of=self.redis)
        self.mariadb = MariaDB(self._path("mariadb-1"), 1, is_waited=True)
        self.mariadb_replica = MariaDB(self._path("mariadb-2"), 2, replica_of=self.mariadb)
        self.numbers = itertools.count(1)

    def _path(self, name):
        return os.path.join(self.dir, name)

    def programs(self):
        return [*self.zookeeper.members, self.redis, self.redis_replica, self.mariadb, self.mariadb_replica]

    def start(self):
        try:
            for p in self.programs():
                p.spawn()
            for p in (self.redis, self.redis_replica, self.mariadb, self.mariadb_replica):
                p.wait()
            self.mariadb.make_users()
            self.mariadb_replica.replicate()
            self.zookeeper.wait()
        except BaseException:
            self.kill()
            raise
        return self

    def kill(self):
        """What they hold is of no use afterwards, so there is nothing to wait for."""
        for p in self.programs():
            p.kill()

    def stop(self):
        for p in reversed(self.programs()):
            p.stop()

    def settings(self, directory):
        """For a cluster of its own."""
        number = next(self.numbers)
        password = os.path.join(directory, "store.password")
        with open(password, "w", encoding="utf-8", opener=_private) as f:
            f.write(MariaDB.password + "\n")
        return {
            "registry.url": f"zookeeper://{self.zookeeper.hosts}/bytetalk{number}",
            "presence.url": f"redis://{self.redis.host},{self.redis_replica.host}/{number % self.redis.databases}",
            "store.url": f"mariadb://{MariaDB.user}@{self.mariadb.host},{self.mariadb_replica.host}/bytetalk{number}",
            "store.password_file": password,
        }


def _private(path, flags):
    return os.open(path, flags, stat.S_IRUSR | stat.S_IWUSR)


class Unit(Server):
    """One `bytetalk --unit`, with its ini, and the nodes that it started."""

    popen = {"preexec_fn": _die_with_parent}

    def __init__(self, directory, name, settings, counts):
        super().__init__(directory, mode="cluster")
        self.name, self.counts = name, dict(counts)
        self.settings = {"node.unit": name, "node.name": name, **settings, **{f"unit.{k}": v for k, v in counts.items()}}
        self.ini = os.path.join(self.dir, f"{name}.ini")
        self.is_frozen = False

    def write_ini(self):
        sections = {}
        for key, value in self.settings.items():
            section, name = key.split(".")
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        with open(self.ini, "w", encoding="utf-8", opener=_private) as f:
            f.write("\n".join(f"[{s}]\n" + "".join(lines) for s, lines in sections.items()))

    def command(self, extra=()):
        return [*super().command()[:1], "--unit", f"--config={self.ini}", *self.args, *extra]

    def spawn(self):
        self.write_ini()
        return super().spawn()

    def wait_ready(self):
        wait_until(lambda: len(self._ready_lines()) >= sum(self.counts.values()) or not self.is_alive(), 20,
                   lambda: "the unit is ready:\n" + self.log[-4000:])
        assert self.is_alive(), "the unit has ended:\n" + self.log[-4000:]

    def _ready_lines(self):
        return [line for line in self.lines[self.first_line:] if re.search(READY, line)]

    def nodes_now(self):
        """The nodes as they run by now; one that is being started anew has no address yet."""
        nodes, ready = {}, {}
        for line in self.lines[self.first_line:]:
            started = re.search(r" unit: (\w+) (\d+): started pid=(\d+)", line)
            ended = re.search(r" unit: (\w+) (\d+): ended pid=", line)
            served = re.search(r" info (\S+) node: ready .*clients=(\S+) nodes=(\S+)", line)
            if started:
                role, number, pid = started.groups()
                nodes[role, int(number)] = int(pid)   # written by the unit: perhaps after the node's own first lines
            elif ended:
                nodes.pop((ended[1], int(ended[2])), None)
                ready.pop(f"{self.name}-{ended[1]}-{ended[2]}", None)
            elif served:
                ready[served[1]] = served[2], served[3]
        made = []
        for (role, number), pid in nodes.items():
            name = f"{self.name}-{role}-{number}"
            clients, address = ready.get(name, ("-", None))
            made.append(Node(self.name, role, number, name, pid, address, clients if clients != "-" else None))
        return made

    def kill(self):
        """All at once, as if the power of its machine had failed."""
        self.process.send_signal(signal.SIGSTOP)   # so that it starts none anew
        for n in self.nodes_now():
            _kill(n.pid)
        self.process.kill()
        return self._gone()


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Cluster(Clients):
    """Units and nginx on backends. `directory`: of its own."""

    def __init__(self, directory, backends, settings=None, *, units=2, counts=None, fast=True, has_nginx=True):
        self.dir, self.backends = str(directory), backends
        os.makedirs(self.dir, exist_ok=True)
        self.counts = {**COUNTS, **(counts or {})}
        self.settings = {
            **(FAST if fast else {}),
            **backends.settings(self.dir),
            "data.dir": os.path.join(self.dir, "data"),
            "node.secret_file": self._secret(),
            "proxy.trusted": LOOPBACK,
            **{k: v for k, v in (settings or {}).items() if v is not None},
        }
        for key in [k for k, v in (settings or {}).items() if v is None]:
            self.settings.pop(key, None)
        self.units = [self._unit(f"unit{i + 1}") for i in range(units)]
        self.nginx = Nginx(os.path.join(self.dir, "nginx"), self.proxies) if has_nginx else None
        self.made = []
        self.turn = itertools.count()
        self.is_migrated = False

    def _secret(self):
        path = os.path.join(self.dir, "node.secret")
        with open(path, "w", encoding="ascii", opener=_private) as f:
            f.write(os.urandom(32).hex() + "\n")
        return path

    def _unit(self, name):
        port = free_port(1 if self.settings.get("proxy.share_port") == "yes" else self.counts["proxy"])
        return Unit(self.dir, name, {**self.settings, "proxy.listen": f"{LOOPBACK}:{port}"}, self.counts)

    # ---- start and stop

    def start(self):
        try:
            if not self.is_migrated:
                done = self.run("--migrate")
                assert done.returncode == 0, done.stderr
                self.is_migrated = True
            for u in self.units:
                u.spawn()
            for u in self.units:
                u.wait_ready()
            if self.nginx and not self.nginx.is_alive():
                self.nginx.start()
            self.wait_serving()
        except BaseException:
            self._kill_all()
            raise
        return self

    def wait_serving(self):
        """Until every proxy knows everybody: it is asked for what each of the roles does."""
        for address in self.proxies:
            wait_until(lambda: self._serves(address), 15, lambda: f"{address} serves:\n{self.log[-4000:]}")

    def _serves(self, address):
        """Whether a client that comes there finds every proxy, and each role answers."""
        try:
            c = Client(address)
        except (OSError, Closed):
            return False
        name = f"probe-{msg_id()}"
        login = {"name": name, "password": "correct horse"}
        try:
            for call, fields in (("Register", login), ("Login", login), ("ListFriends", {}), ("MyGroups", {}),
                                 ("ListConversations", {})):
                if c.call(call, **fields).status != "OK":
                    return False
            known = [p.address for p in c.ok("Directory").proxies]
            return set(known) == set(self.proxies) and len(known) >= len(self.proxies)
        except (AssertionError, Closed):
            return False
        finally:
            c.close()

    def _kill_all(self):
        for u in self.units:
            if u.process is not None:
                u.kill()
        if self.nginx:
            self.nginx.kill()

    def kill(self):
        """Every node at once; nginx stays."""
        for u in self.units:
            if u.process is not None:
                u.kill()

    def stop(self):
        """In order; 0 when all ended well."""
        self.close_clients()
        running = [u for u in self.units if u.process is not None]
        for u in running:
            u.process.send_signal(signal.SIGTERM)
        return max([u.wait_end(30) for u in running], default=0)

    def end(self):
        """However it stands: end it. What lives must end cleanly."""
        try:
            dead = [u for u in self.units if u.process is not None and not u.is_alive()]
            assert not dead, "a unit had ended:\n" + self.log[-4000:]
            assert self.stop() == 0, "did not end cleanly:\n" + self.log[-6000:]
        finally:
            self._kill_all()

    def is_alive(self):
        return all(u.is_alive() for u in self.units)

    # ---- what tests ask of a Server

    @property
    def doors(self):
        """All that clients can connect to."""
        return ([self.nginx.host] if self.nginx else []) + self.proxies

    @property
    def clients(self):
        """Through nginx, then directly to a proxy of each unit in turn, and so on."""
        by_unit = [[self.proxies_of(u)[i] for u in self.units] for i in range(self.counts["proxy"])]
        doors = ([self.nginx.host] if self.nginx else []) + list(itertools.chain.from_iterable(by_unit))
        return doors[next(self.turn) % len(doors)]

    @staticmethod
    def proxies_of(unit):
        host, port = unit.settings["proxy.listen"].split(":")
        is_shared = unit.settings.get("proxy.share_port") == "yes"
        return [f"{host}:{int(port) + (0 if is_shared else i)}" for i in range(unit.counts["proxy"])]

    @property
    def proxies(self):
        return list(itertools.chain.from_iterable(self.proxies_of(u) for u in self.units))

    def nodes(self, role=None, unit=None):
        return [n for u in self.units if unit in (None, u.name) and u.process is not None for n in u.nodes_now()
                if role in (None, n.role)]

    @property
    def log(self):
        return "\n".join(sorted(itertools.chain.from_iterable(u.lines for u in self.units)))

    def wait_log(self, pattern, deadline=10):
        return wait_until(lambda: next((x for x in self.log.splitlines() if re.search(pattern, x)), None), deadline,
                          f"a line like {pattern}")

    def check_log(self):
        for u in self.units:
            u.check_log()
        assert not re.search(r" unit: .*starting it again", self.log), "a node died:\n" + self.log[-6000:]

    def memory(self):
        """Resident bytes of the largest node."""
        sizes = []
        for n in self.nodes():
            with open(f"/proc/{n.pid}/statm", encoding="ascii") as f:
                sizes.append(int(f.read().split()[1]) * 4096)
        return max(sizes)

    def run(self, *args, **kw):
        """Run the binary with the settings of the first unit."""
        unit = self.units[0]
        unit.write_ini()
        return Server.run(unit, f"--config={unit.ini}", *args, settings=False, **kw)


def extra(cluster, role, unit="unit1", **settings):
    """A node of its own, which nobody starts again. settings: section__key=value."""
    sets = {**cluster.settings, "node.unit": unit, "proxy.listen": "127.0.0.1:0", **{k.replace("__", "."): v for k, v in settings.items()}}
    return Server(os.path.join(cluster.dir, f"extra-{role}-{msg_id()}"), sets, roles=role, mode="cluster")


def received(node):
    """Bytes that came to a node from other nodes over the connections that stand. `node`: its port is looked at."""
    port = node.rsplit(":", 1)[1]
    out = subprocess.run(["ss", "-Htin", f"( sport = :{port} or dport = :{port} )"], capture_output=True, text=True, check=True).stdout
    return sum(int(n) for n in re.findall(r"bytes_received:(\d+)", out))


def registered(cluster):
    """What stands in ZooKeeper of this cluster, as unit/role/name."""
    root = cluster.settings["registry.url"].rsplit("/", 1)[1]
    return [e.split("/", 2)[2] for e in cluster.backends.zookeeper.entries() if e.startswith(f"/{root}/")]
