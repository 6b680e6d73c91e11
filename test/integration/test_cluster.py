"""What a cluster promises while parts of it come, go, stand still and are replaced; each test with its figures.

Load is steady and gentle (traffic.py), so that what is measured is the cluster's own time and not the machine's.
"""
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from cli import CLI, Person
from client import SLOW, msg_id, wait_until
from cluster import COUNTS, Backends
from node import NodeClient
from server import Server
from test_admin import Admin
from traffic import Traffic
from wire import NOT_DONE, PERHAPS, RESEND, ROOT, key_of

SESSION_S = 4           # [registry] session_ms
AWAY_S = 30             # how long ZooKeeper is gone


@pytest.fixture(scope="module")
def own_backends(tmp_path_factory):
    """Servers that tests may break; what they break stays broken for the next."""
    b = Backends(tmp_path_factory.mktemp("backends")).start()
    yield b
    b.kill()


def extra(cluster, role, unit="unit1", **settings):
    """A node of its own, which nobody starts again."""
    sets = {**cluster.settings, "node.unit": unit, "proxy.listen": "127.0.0.1:0", **{k.replace("__", "."): v for k, v in settings.items()}}
    return Server(os.path.join(cluster.dir, f"extra-{role}-{msg_id()}"), sets, roles=role, mode="cluster")


@pytest.fixture
def start_extra():
    started = []

    def start(*args, **kw):
        started.append(extra(*args, **kw).start())
        return started[-1]

    start.made = started
    yield start
    for s in started:
        if s.is_alive():
            s.process.send_signal(signal.SIGCONT)
            s.kill()


def received(node):
    """Bytes that came to a node from other nodes over the connections that stand. `node`: its port is looked at."""
    port = node.rsplit(":", 1)[1]
    out = subprocess.run(["ss", "-Htin", f"( sport = :{port} or dport = :{port} )"], capture_output=True, text=True, check=True).stdout
    return sum(int(n) for n in re.findall(r"bytes_received:(\d+)", out))


def registered(cluster):
    """What stands in ZooKeeper of this cluster, as unit/role/name."""
    root = cluster.settings["registry.url"].rsplit("/", 1)[1]
    return [e.split("/", 2)[2] for e in cluster.backends.zookeeper.entries() if e.startswith(f"/{root}/")]


# ---- nodes come and go ---------------------------------------------------------------------------------------------------

class Callers:
    """Clients that keep asking what any user node answers."""

    def __init__(self, cluster, doors, window=8):
        self.clients = [cluster.user("caller", address=d) for d in doors]
        self.window, self.open, self.done, self.failed = window, [], 0, Counter()
        self.slowest = 0.0

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = time.monotonic()
            for c in self.clients:
                c.pump(0.001)
                mine = [x for x in self.open if x[0] is c]
                for item in mine:
                    if item[1].reply is not None:
                        self.open.remove(item)
                        self._take(item[1], now)
                for _ in range(self.window - len([x for x in self.open if x[0] is c])):
                    self.open.append((c, c.start("GetProfile", timeout_ms=3000)))
        return self

    def _take(self, call, now):
        self.slowest = max(self.slowest, now - call.started)
        if call.reply.status == "OK":
            self.done += 1
        else:
            self.failed[call.reply.status] += 1

    def finish(self):
        for c, call in self.open:
            c.wait(call)
            self._take(call, time.monotonic())
        self.open.clear()
        return self


def shares(cluster, callers, seconds):
    """How the calls of some seconds spread over the user nodes, 1 being even."""
    nodes = cluster.nodes("user")
    before = [received(n.address) for n in nodes]
    callers.run(seconds)
    parts = [received(n.address) - b for n, b in zip(nodes, before)]
    even = sum(parts) / len(parts)
    return nodes, [p / even for p in parts]


def test_load_over_equal_instances_is_even_and_follows_a_slow_one(make_cluster, figure):
    c = make_cluster(units=1, counts={"user": 3, "chat": 1}, has_nginx=False)
    callers = Callers(c, c.proxies)
    callers.run(5.5)   # until all are warm
    nodes, parts = shares(c, callers, 2.5)
    figure("load of 3 equal instances, furthest from even", 100 * max(abs(p - 1) for p in parts), 15, "%")
    slow = subprocess.Popen([sys.executable, "-c", SLOW_DOWN, str(nodes[0].pid)])
    try:
        callers.run(0.5)
        _, parts = shares(c, callers, 2.5)
    finally:
        slow.terminate()
        slow.wait()
        os.kill(nodes[0].pid, signal.SIGCONT)
    callers.finish()
    assert not callers.failed
    figure("... share of one that stands still half of the time, of even", 100 * parts[0], unit="%")
    assert parts[0] < 0.85


SLOW_DOWN = """
import os, signal, sys, time
pid = int(sys.argv[1])
while True:
    os.kill(pid, signal.SIGSTOP); time.sleep(0.02)
    os.kill(pid, signal.SIGCONT); time.sleep(0.02)
"""


def test_a_new_node_gets_work_at_once_and_is_not_flooded(make_cluster, start_extra, figure):
    c = make_cluster(units=1, counts={"user": 2, "chat": 1}, has_nginx=False)
    callers = Callers(c, c.proxies)
    callers.run(5.5)
    new = start_extra(c, "user")
    began, at_first = time.monotonic(), None
    others = [n.address for n in c.nodes("user")]
    base = [received(a) for a in others]
    while time.monotonic() < began + 1.5:
        callers.run(0.1)
        if at_first is None and received(new.nodes) > 5000:
            at_first = time.monotonic() - began
    early, rest = received(new.nodes), sum(received(a) - b for a, b in zip(others, base)) / 2
    assert at_first is not None, "the new node got nothing in 1.5 s"
    figure("a new node gets work after", at_first, 2)
    figure("... its share in the first 1.5 s, of an old one's", 100 * early / rest, 50, "%")
    callers.finish()
    assert not callers.failed


def test_a_killed_node_is_passed_over_and_leaves_every_view(make_cluster, start_extra, figure):
    c = make_cluster()
    nodes = {r: start_extra(c, r) for r in ("user", "proxy")}
    gone = nodes["proxy"].proxies[0]

    def views():
        return [{p.address for p in x.ok("Directory").proxies} for x in watchers]

    watchers = [c.connect(address=a) for a in c.proxies]
    wait_until(lambda: all(gone in v for v in views()), what="all proxies know the new one")
    callers = Callers(c, c.proxies)
    callers.run(3)
    callers.slowest = 0.0
    killed = time.monotonic()
    for s in nodes.values():
        s.kill()
    left = None
    while left is None:
        callers.run(0.05)
        if not any(gone in v for v in views()):
            left = time.monotonic() - killed
        assert time.monotonic() < killed + 40 * SLOW
    callers.finish()
    figure("a node killed -9 is out of every view after", left, SESSION_S + 1)
    figure("... the slowest of the calls since", callers.slowest, 2)
    assert not callers.failed and not [e for e in registered(c) if nodes["user"].nodes in e]


def test_a_node_that_stands_still_is_passed_over(make_cluster, start_extra, figure):
    """Its connections stand, so only its silence tells."""
    c = make_cluster(counts={"chat": 1})
    chat = start_extra(c, "chat")
    traffic = Traffic.of_pairs(c, 12)
    traffic.run(2)
    frozen = time.monotonic()
    chat.process.send_signal(signal.SIGSTOP)
    traffic.run(3 * SLOW)
    traffic.run_until(lambda: traffic.all_back(frozen), what="everybody writes again")
    figure("a chat node that stands still: the longest without an answer", traffic.silence(frozen), 2)
    chat.process.send_signal(signal.SIGCONT)
    traffic.run(1).finish()
    traffic.check(c)


def test_nodes_are_added_and_drained_without_a_failed_send(make_cluster, start_extra, figure):
    """chat 1 -> 3 -> 1 and user 1 -> 2 -> 1, under load."""
    c = make_cluster(units=1, counts={"chat": 1})
    traffic = Traffic.of_pairs(c, 10)
    callers = Callers(c, c.proxies, window=2)
    traffic.run(1)
    for role in ("chat", "chat", "user"):
        new = start_extra(c, role)
        wait_until(lambda: any(e.startswith(f"unit1/{role}/") for e in registered(c)), what="it is registered")
        for _ in range(10):
            traffic.run(0.1)
            callers.run(0.05)
        assert received(new.nodes) > 2000, f"the new {role} node got no work"
    extras = start_extra.made
    for s in extras:
        s.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        while s.is_alive():
            traffic.run(0.1)
            callers.run(0.05)
            assert time.monotonic() < began + 15 * SLOW, s.log
        assert s.wait_end() == 0
    traffic.run(1).finish()
    callers.finish()
    refused = sum((Counter(t.refused) for t in traffic.talkers), Counter())
    figure("chat 1 -> 3 -> 1, user 1 -> 2 -> 1: sends that failed", sum(refused.values()), 0, "")
    figure("... other calls that failed", sum(callers.failed.values()), 0, "")
    figure("... messages, none lost or twice", traffic.check(c), unit="")


def test_a_whole_unit_is_killed_and_the_other_serves(make_cluster, figure):
    c = make_cluster()
    traffic = Traffic.of_pairs(c, 5)
    traffic.run(2)
    killed = time.monotonic()
    c.units[0].kill()
    traffic.run(4)
    traffic.run_until(lambda: traffic.all_back(killed), what="everybody writes again")
    figure("a whole unit killed: the longest without an answer", traffic.silence(killed), 3)
    traffic.run(SESSION_S)
    figure("... until every message is pushed in time", traffic.pushes_back_after(killed), SESSION_S + 3)
    traffic.finish()
    del c.units[0]
    figure("... messages, none lost or twice", traffic.check(c), unit="")


# ---- nginx ---------------------------------------------------------------------------------------------------------------

def is_zombie(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        return f.read().rpartition(")")[2].split()[0] == "Z"


def test_a_proxy_killed_behind_nginx_is_passed_over(make_cluster, figure):
    c = make_cluster()
    victim = c.nodes("proxy")[0]
    c.units[0].process.send_signal(signal.SIGSTOP)   # nobody starts it again
    try:
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: is_zombie(victim.pid), what="the end of the proxy: until then the kernel takes connections for it")
        slowest = 0.0
        for _ in range(30):
            began = time.monotonic()
            x = c.connect(address=c.nginx.host)
            x.close()
            slowest = max(slowest, time.monotonic() - began)
    finally:
        c.units[0].process.send_signal(signal.SIGCONT)
    figure("a proxy killed behind nginx: slowest of 30 connections", slowest, 1)


def test_a_reload_of_nginx_loses_no_connection(make_cluster, figure):
    c = make_cluster()
    users = [c.user("stay", address=c.nginx.host) for _ in range(20)]
    for _ in range(3):
        c.nginx.reload()
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            for u in users:
                u.send(users[0].user_id, "still here")
    for u in users:
        u.settle()
        assert not u.is_closed
    late = c.user("late", address=c.nginx.host)
    late.send(users[0].user_id, "and a new one")
    figure("nginx -s reload, 3 times: connections lost of 20", sum(u.is_closed for u in users), 0, "")


# ---- ZooKeeper -----------------------------------------------------------------------------------------------------------

def test_zookeepers_leader_is_killed_then_all_of_it_stopped(make_cluster, own_backends, start_extra, figure):
    c = make_cluster(on=own_backends)
    chat = start_extra(c, "chat", unit="unit2")
    traffic = Traffic.of_pairs(c, 6)
    traffic.run(2)
    everybody = set(registered(c))
    ensemble = own_backends.zookeeper
    killed = time.monotonic()
    leader = ensemble.leader()
    leader.kill()
    traffic.run(2)
    figure("ZooKeeper's leader killed: the longest without an answer", traffic.silence(killed), 2)
    leader.start()
    assert set(registered(c)) == everybody, "sessions outlive the leader"

    stopped = time.monotonic()
    ensemble.kill()
    others = Callers(c, c.proxies, window=1)
    traffic.run(AWAY_S / 3)
    figure("ZooKeeper gone: the longest without an answer", traffic.silence(stopped), 2)
    killed = time.monotonic()
    chat.kill()
    new = extra(c, "user")
    start_extra.made.append(new)
    new.spawn()   # it has to wait
    for _ in range(20):
        traffic.run(AWAY_S / 60)
        others.run(0.05)
    traffic.run_until(lambda: traffic.all_back(killed), what="everybody writes again")
    figure("... a chat node killed meanwhile: the longest without an answer", traffic.silence(killed), 2)
    late = [c.user("late", address=door) for door in c.proxies]   # they register, log in and write
    for x in late:
        assert x.send(late[0].user_id, "nobody is in charge") > 0
    traffic.run(max(0, stopped + AWAY_S - time.monotonic()))
    others.finish()
    figure("... other calls that failed", sum(others.failed.values()), 0, "")
    figure("... gone for", time.monotonic() - stopped)
    assert new.is_alive(), new.log
    ensemble.start()
    back = time.monotonic()
    gone = {e for e in everybody if e.startswith("unit2/chat/") and "unit2-chat-" not in e}
    assert len(gone) == 1

    def joined():
        return set(registered(c)) - everybody

    took = traffic.run_until(lambda: set(registered(c)) - joined() == everybody - gone and len(joined()) == 1, 30,
                             "all are registered again, and only they, and the new one")
    figure("... all are registered again, after its return, and a new one is", took, SESSION_S + 3)
    figure("... the longest without an answer since", traffic.silence(back), 2)
    assert joined().pop().startswith("unit1/user/")
    traffic.finish()
    traffic.check(c)


# ---- Redis ---------------------------------------------------------------------------------------------------------------

def test_redis_is_emptied_killed_and_replaced(make_cluster, own_backends, figure):
    c = make_cluster(on=own_backends)
    traffic = Traffic.of_pairs(c, 5)
    traffic.run(1)
    master, replica = own_backends.redis, own_backends.redis_replica

    began = time.monotonic()
    assert master.ask("flushall") == "OK"
    traffic.run(0.5).move(4).run(4.5)   # some come anew meanwhile
    figure("Redis FLUSHALL: until every message is pushed in time", traffic.pushes_back_after(began), 3)
    figure("... the longest without an answer", traffic.silence(began), 2)

    began = time.monotonic()
    master.kill()
    traffic.run(0.5).move(4).run(4.5)   # some come anew meanwhile
    figure("Redis killed: until every message is pushed in time", traffic.pushes_back_after(began), 3)
    figure("... the longest without an answer", traffic.silence(began), 2)

    began = time.monotonic()
    replica.promote()
    traffic.run(0.5).move(4).run(4.5)   # some come anew meanwhile
    figure("Redis's replica promoted: until every message is pushed in time", traffic.pushes_back_after(began), 3)
    figure("... the longest without an answer", traffic.silence(began), 2)
    traffic.finish()
    traffic.check(c)


# ---- MariaDB -------------------------------------------------------------------------------------------------------------

def test_a_primary_that_stands_still_is_waited_for(make_cluster, own_backends, figure):
    c = make_cluster(on=own_backends)
    traffic = Traffic.of_pairs(c, 4)
    traffic.run(1)
    own_backends.mariadb.freeze()
    traffic.run(2)
    own_backends.mariadb.thaw()
    thawed = time.monotonic()
    traffic.run_until(lambda: traffic.all_back(thawed), 30, "everybody writes again")
    figure("MariaDB stood still for 2 s: until everybody's sends are back", traffic.back_after(thawed), 5)
    traffic.finish()
    traffic.check(c)


def test_mariadbs_primary_is_killed_and_its_replica_promoted(make_cluster, own_backends, figure):
    c = make_cluster(on=own_backends)
    traffic = Traffic.of_pairs(c, 6, pace_s=0.005, window=8)
    traffic.run(2)
    before = traffic.acked()
    own_backends.mariadb.kill()
    traffic.run(1.5)
    promoted = time.monotonic()
    own_backends.mariadb_replica.promote()
    traffic.run_until(lambda: traffic.all_back(promoted), 30, "everybody writes again")
    figure("MariaDB's replica promoted: until everybody's sends are back", traffic.back_after(promoted), 5)
    traffic.run(1).finish()
    figure("... acknowledged before, none lost", before, unit="")
    figure("... messages, none twice, no gap", traffic.check(c), unit="")


# ---- two owners ----------------------------------------------------------------------------------------------------------

ROUNDS = 20


class OwnerLoad:
    """A node that believes that another one owns all of some conversations."""

    def __init__(self, address, pairs, rounds=ROUNDS, method="Send", window=64, **fields):
        self.node, self.open = NodeClient(address), {}
        self.pairs, self.todo = pairs, []
        for _ in range(rounds):
            self.add_round()
        self.acked, self.said = {}, Counter()
        self.method, self.window, self.fields = method, window, fields

    def add_round(self):
        self.todo[:0] = [(a, b, msg_id(), 0) for a, b in random.sample(self.pairs, len(self.pairs))]

    def step(self):
        while self.todo and len(self.open) < self.window:
            a, b, cmid, flags = item = self.todo.pop()
            call = self.node.start(self.method, caller=a, target=b, client_msg_id=cmid, body=b"one of two", flags=flags, timeout_ms=5000,
                                   **self.fields)
            self.open[call] = item
        self.node.pump(0.01)
        self.take()

    def take(self):
        for call in [x for x in self.open if x.reply is not None]:
            a, b, cmid, _ = self.open.pop(call)
            self.said[call.reply.status] += 1
            if call.reply.status == "OK":
                self.acked[key_of(a, b), cmid] = call.reply.msg.seq
            else:
                assert call.reply.status in NOT_DONE | PERHAPS, call.reply
                self.todo.append((a, b, cmid, RESEND if call.reply.status in PERHAPS else 0))

    @property
    def is_done(self):
        return not self.todo and not self.open


def check_rows(cluster):
    """All logs as the database has them: {key: {id: seq}}. No gap, nothing twice."""
    database = cluster.settings["store.url"].rsplit("/", 1)[1]
    logs = {}
    for hi, lo, seq, cmid in (map(int, row) for row in cluster.backends.mariadb.sql(
            f"SELECT hi, lo, seq, client_msg_id FROM {database}.message ORDER BY hi, lo, seq")):
        log = logs.setdefault((hi, lo), {})
        assert seq == len(log) + 1, f"a gap in {hi}, {lo}: {seq} after {len(log)}"
        assert cmid not in log, f"{cmid} stands twice in {hi}, {lo}"
        log[cmid] = seq
    return logs


def test_two_writers_of_the_same_conversations(make_cluster, figure):
    """Each is asked for all of 100 conversations, in another order, as if both were the owner."""
    c = make_cluster({"node.secret_file": None}, units=1, counts={"proxy": 1, "chat": 2}, has_nginx=False)
    users = [c.user("pair") for _ in range(15)]
    ids = [u.user_id for u in users]
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[:i]][:100]
    deadlocks = int(c.backends.mariadb.status("Innodb_deadlocks"))
    began = time.monotonic()
    loads = [OwnerLoad(n.address, pairs) for n in c.nodes("chat")]
    while not all(x.is_done for x in loads):
        for x in loads:
            x.step()
        assert time.monotonic() < began + 60 * SLOW, [(x.said, len(x.todo)) for x in loads]
    took, said = time.monotonic() - began, sum((x.said for x in loads), Counter())
    logs = check_rows(c)
    acked = {k: v for x in loads for k, v in x.acked.items()}
    assert len(logs) == len(pairs) and all(logs[key][cmid] == seq for (key, cmid), seq in acked.items())
    assert sum(map(len, logs.values())) == len(acked) == 2 * ROUNDS * len(pairs)
    figure("two writers of the same 100 conversations: messages a second", len(acked) / took, unit="/s")
    figure("... refusals that clients would see", sum(said.values()) - said["OK"], 0, "")
    figure("... deadlocks in the database", int(c.backends.mariadb.status("Innodb_deadlocks")) - deadlocks, unit="")


def open_writes(cluster):
    """Transactions that wait for their client's next word, and hold rows. MariaDB shows them as they were up to 0.1 s ago."""
    time.sleep(0.11)
    database = cluster.settings["store.url"].rsplit("/", 1)[1]
    return int(cluster.backends.mariadb.sql(
        "SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id"
        f" WHERE p.db = '{database}' AND p.command = 'Sleep' AND t.trx_rows_modified > 0")[0][0])


def stop_inside_a_write(cluster, pid, load):
    """Stop the process at a moment when it has rows locked; how many it has. It goes on in between, so that it can write."""
    for attempt in range(100):
        for _ in range(3):
            while len(load.todo) < load.window:
                load.add_round()
            load.step()
        time.sleep(random.random() / 200)   # not at the same point of every turn
        os.kill(pid, signal.SIGSTOP)
        if n := open_writes(cluster):
            return n
        os.kill(pid, signal.SIGCONT)
    raise AssertionError(f"it was never inside a write, at {attempt + 1} looks")


def test_a_node_stopped_inside_a_write_holds_nobody_up(make_cluster, figure):
    """It holds rows of conversations in MariaDB, to which others write through another owner."""
    c = make_cluster({"node.secret_file": None}, units=1, counts={"proxy": 1, "chat": 2}, has_nginx=False)
    ids = [c.user("pair").user_id for _ in range(6)]
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[:i]]
    stopped, other = c.nodes("chat")
    first = OwnerLoad(other.address, pairs, rounds=1)   # what is edited
    while not first.is_done:
        first.step()
    edits = OwnerLoad(stopped.address, pairs, rounds=0, method="Edit", refers_to_seq=1)
    try:
        held = stop_inside_a_write(c, stopped.pid, edits)
        began, after = time.monotonic(), OwnerLoad(other.address, pairs, rounds=1)
        while not after.is_done:
            after.step()
            assert time.monotonic() < began + 30 * SLOW, after.said
        took = time.monotonic() - began
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    figure("a node stopped inside a write: transactions that it held open", held, unit="")
    figure("... until all wrote to its conversations through another", took, 3)
    edits.todo.clear()
    wait_until(lambda: edits.step() or edits.is_done, 20, "what it had under way is settled")
    logs, acked = check_rows(c), {**first.acked, **edits.acked, **after.acked}
    assert all(logs[key][cmid] == seq for (key, cmid), seq in acked.items())
    figure("... messages acknowledged, all there once", len(acked), unit="")


# ---- the ring ------------------------------------------------------------------------------------------------------------

def test_a_chat_node_that_goes_moves_its_share_of_the_conversations(make_cluster, start_extra, figure, tmp_path):
    """By what nodes of both units answer to an operator."""
    c = make_cluster(counts={"chat": 1, "proxy": 1}, has_nginx=False)
    goes = [start_extra(c, "chat", unit=u.name) for u in c.units][0]
    keys = [(hi, lo) for hi in range(1000, 1050) for lo in range(500, 540)]
    told = "".join(f"#{hi} #{lo}\n" for hi, lo in keys)
    admins = [Admin(tmp_path, "--node", n.address, "--secret-file", c.settings["node.secret_file"]) for n in c.nodes("proxy")]

    def owners(admin):
        return [o["nodes"][0]["address"] for o in admin.json("owner", "-", told=told)]

    wait_until(lambda: all(len(a.json("ring")) == 4 for a in admins), what="all know four chat nodes")
    before = owners(admins[0])
    assert len(before) == len(keys) and owners(admins[1]) == before
    goes.kill()
    wait_until(lambda: all(len(a.json("ring")) == 3 for a in admins), 20, "all know that one has gone")
    after = owners(admins[0])
    moved = [(b, a) for b, a in zip(before, after) if a != b]
    assert owners(admins[1]) == after and {b for b, _ in moved} == {goes.nodes} and len(moved) == before.count(goes.nodes)
    figure(f"one of 4 chat nodes killed: owners of {len(keys)} conversations moved, of 1/4", 4 * len(moved) / len(keys), 1.3, "")
    assert 4 * len(moved) <= 1.3 * len(keys)


# ---- make cluster --------------------------------------------------------------------------------------------------------

@pytest.fixture
def made_cluster():
    """What `make cluster` runs; (its process, what it said)."""
    build = os.environ.get("BYTETALK_BUILD", os.path.join(ROOT, "build", "release"))
    p = subprocess.Popen([sys.executable, os.path.join(ROOT, "test", "run_cluster"), f"--build={build}"], text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = []
    for line in p.stdout:
        lines.append(line)
        if "Control-C ends everything" in line:
            break
    yield p, "".join(lines)
    p.terminate()
    p.stdout.close()
    p.wait(60)


def group_of(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_make_cluster_serves_two_clients_at_two_units_and_leaves_nothing(made_cluster, tmp_path):
    process, said = made_cluster
    doors = re.findall(r"--state (\S+)/(\w+)\s+-s (\S+) ", said)
    assert [d[1] for d in doors] == ["alice", "bob"], said
    people = {name: Person(address, tmp_path / name, name) for _, name, address in doors}
    alice, bob = people["alice"].register(), people["bob"].register()
    alice.run("addfriend", "bob")
    bob.run("accept", "alice")
    assert [(f["name"], f["state"]) for f in alice.json("friends")] == [("bob", "friends")]
    for i in range(3):
        alice.run("send", "bob", f"missed {i}")
    group = f"#{alice.json('creategroup', 'we two', 'open')[0]['group_id']}"
    bob.run("join", group)
    bob.run("send", "--group", group, "hello from the other unit")
    assert [m["body"] for m in bob.json("history", "alice") if m["kind"] == "text"] == ["missed 0", "missed 1", "missed 2"]
    assert alice.json("history", "--group", group)[-1]["body"] == "hello from the other unit"
    admin = re.search(r"bytetalk-cli (admin nodes --config \S+ --node \S+)", said)[1]
    nodes = subprocess.run([CLI, *admin.split()], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30).stdout
    assert all(f"unit{u}-{role}-{i}" in nodes for u in (1, 2) for role, n in COUNTS.items() for i in range(1, n + 1)), nodes
    pids = [int(p) for p in re.findall(r"\bpid (\d+)", said)]
    groups = {os.getpgid(p) for p in pids}
    assert len(pids) == 26 and all(os.path.exists(f"/proc/{p}") for p in pids), said
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(60) == 0 and "All is down." in rest, rest
    assert not [p for p in pids if os.path.exists(f"/proc/{p}")]
    wait_until(lambda: not [p for p in filter(str.isdigit, os.listdir("/proc")) if group_of(int(p)) in groups], 5,
               "what the servers started has ended too")
