"""The whole cluster that the chaos test breaks: two units of nodes, the servers they lean on, a relay, each on a host of its own."""
import os
import subprocess
import time

from asker import Askers
from client import Client, Closed, msg_id
from netns import Network
from node_process import Host, Node, Supervisor
from relay import Relay
from servers import NotReady, free_port, wait_ready
from stores import Stores

UNITS = ("unit1", "unit2")
COUNTS = {"proxy": 2, "user": 1, "friend": 1, "group": 1, "offline": 1, "chat": 2}
END_ORDER = list(COUNTS)   # who calls goes before who is called


class Town:
    """`own_hosts`: as network namespaces, where the machine can do that. Nodes of unit2 reach the stores through the relay,
    and its second proxy and chat node are reached through it."""

    def __init__(self, directory, seed, build, own_hosts, has_mounts, preload, level):
        self.dir, self.seed, self.level = directory, seed, level
        self.logs = os.path.join(directory, "logs")
        os.makedirs(self.logs, exist_ok=True)
        self.net = Network() if own_hosts else None
        self.relay = self.stores = self.supervisor = self.askers = None
        self.nodes = []
        try:
            self._build(build, has_mounts, preload)
        except BaseException:
            self.end()
            raise

    def _host(self, name):
        return self.net.host(name) if self.net else None

    def _build(self, build, has_mounts, preload):
        self.hosts = {}

        def host_of(name):
            if name not in self.hosts:
                self.hosts[name] = self._host(name)
            return self.hosts[name]
        self.stores = Stores(os.path.join(self.dir, "servers"), host_of, has_mounts, preload)
        for unit in UNITS:
            for role, count in COUNTS.items():
                for number in range(1, count + 1):
                    name = f"{unit}-{role}-{number}"
                    self.nodes.append(Node(name, unit, role, number, host_of(name) or Host(), self.net is not None))
        self.relay_binary, self.relay_host = os.path.join(build, "test", "chaos-relay"), host_of("relay") or Host()
        self.clients_host = host_of("clients") or Host()
        secret = os.urandom(32).hex()
        self.secret_path = os.path.join(self.stores.dir, "node.secret")
        with open(self.secret_path, "w", encoding="ascii", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(secret + "\n")
        self.askers = Askers(secret.encode())

    def start(self):
        self.stores.start()
        self.stores.mariadb.sql("CREATE DATABASE test_probe")
        self._connect_relay()
        settings = {
            **self.stores.settings(),
            "data.dir": os.path.join(self.stores.dir, "data"),
            "node.secret_file": self.secret_path,
            "user.hash_memory": 8, "user.hash_ops": 1,
            "log.level": self.level,
        }
        for n in self.nodes:
            n.configure(self.dir, {**settings, **(self.relayed if n.unit == UNITS[1] else {})})
        done = subprocess.run(self.nodes[0].host.command([os.environ["BYTETALK"], f"--config={self.nodes[0].ini}", "--migrate"]), capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            raise NotReady(f"--migrate: {done.stderr}")
        self.supervisor = Supervisor(self.nodes, self.seed)
        self.supervisor.start()
        for n in self.nodes:
            wait_ready(lambda: n.process is not None, f"{n} is started")
            n.wait_ready()
        for n in self.of("proxy"):
            wait_ready(lambda: self.serves(n), lambda: f"{n} serves:\n{n.said()[-2000:]}", 30, 0.1)

    def _connect_relay(self):
        self.relay = Relay(self.relay_binary, self.relay_host, os.path.join(self.logs, "relay.log"))

        def link(name, target, number):
            return self.relay.listen(name, 7000 + number if self.net else free_port(), target)
        s = self.stores
        redis = [link("redis", p.host, i) for i, p in enumerate((s.redis, s.redis_replica))]
        mariadb = [link("mariadb", p.host, 10 + i) for i, p in enumerate(s.mariadbs)]
        self.relayed = s.urls(redis, mariadb)
        self.relayed_proxy, self.relayed_chat = self.named("unit2-proxy-2"), self.named("unit2-chat-2")
        self.relayed_proxy.clients_advertised = link("proxy", self.relayed_proxy.clients, 20)
        self.relayed_chat.advertised = link("chat", self.relayed_chat.address, 21)

    def end(self):
        """However it stands; nothing of it runs afterwards."""
        if self.askers:
            self.askers.close()
        if self.supervisor:
            self.supervisor.end()
        for n in self.nodes:
            if n.process is not None:
                n.process.kill()
                n.process.wait()
        if self.relay:
            self.relay.end()
        if self.stores:
            self.stores.keep_logs(self.logs)
            self.stores.end()
        if self.net:
            self.net.close()

    # ---- who there is

    def of(self, role=None, unit=None):
        return [n for n in self.nodes if role in (None, n.role) and unit in (None, n.unit)]

    def named(self, name):
        return next(n for n in self.nodes if n.name == name)

    @property
    def doors(self):
        """Where clients come in."""
        return [p.clients for p in self.of("proxy")]

    # ---- how it is

    def serves(self, proxy):
        """Whether a client that comes there finds every proxy, and each role answers."""
        try:
            c = Client(proxy.clients)
        except (OSError, Closed, AssertionError):
            return False
        login = {"name": f"visitor-{msg_id()}", "password": "correct horse"}
        try:
            for call, fields in (("Register", login), ("Login", login), ("ListFriends", {}), ("MyGroups", {}), ("ListConversations", {})):
                if c.call(call, **fields).status != "OK":
                    return False
            return {p.address for p in c.ok("Directory").proxies} == set(self.doors)
        except (AssertionError, Closed):
            return False
        finally:
            c.close()

    def is_registered(self, node):
        """Whether another one would choose it."""
        for p in self.of("proxy"):
            if p is not node and p.is_alive():
                seen = {x.name: x for x in self.askers.nodes(p)}
                return node.name in seen and seen[node.name].is_registered and not seen[node.name].is_passed_over
        return False

    def calls_at(self, node):
        """Calls that are open at a node, by what the proxies say; of a proxy, those that it has open at others."""
        if node.role == "proxy":
            return sum(x.outstanding for x in self.askers.nodes(node))
        return sum(x.outstanding for p in self.of("proxy") for x in self.askers.nodes(p) if x.name == node.name)

    def wait_healed(self, deadline=60.0):
        """Until everything runs that should, and every node is chosen again."""
        self.stores.wait_pair()
        end = time.monotonic() + deadline
        for n in self.nodes:
            wait_ready(lambda: n.is_ready() and self.is_registered(n), lambda: f"{n} is back:\n{n.said()[-1500:]}",
                       max(end - time.monotonic(), 1), 0.05)
