"""What a cluster promises while its nodes come, go and stand still, its doors too, and `make cluster`; each test with its figures.

Load is steady and gentle (traffic.py), so that what is measured is the cluster's own time and not the machine's.
"""
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from callers import Callers, shares
from cli import CLI, Person
from client import SLOW, wait_until
from cluster import COUNTS, received, registered
from test_admin import Admin
from traffic import Traffic
from wire import ROOT

SESSION_S = 4           # [registry] session_ms


# ---- nodes come and go ---------------------------------------------------------------------------------------------------

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
    traffic = Traffic.of_pairs(c, 30)   # of ten a third node may own none
    callers = Callers(c, c.proxies, window=2)
    traffic.run(1)
    for role in ("chat", "chat", "user"):
        new = start_extra(c, role)
        wait_until(lambda: any(e.startswith(f"unit1/{role}/") for e in registered(c)), what="it is registered")
        began = time.monotonic()
        while received(new.nodes) <= 2000:
            traffic.run(0.1)
            callers.run(0.05)
            assert time.monotonic() < began + 10 * SLOW, f"the new {role} node got no work"
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
