"""A node that drains is left by its clients without one failed send: seen through the client library, and by clients that send each
message only once, under load, by each of the roles that a send or a session goes through."""
import os
import sys
import time
from types import SimpleNamespace

import pytest

from client import SLOW, msg_id
from test_admin import Admin
from test_chaos_workload import CALL, DEVICE, DONE, NOT_DONE, OK, READY, SEND, STATE, UNSURE, Process, records

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "chaos"))
from probes import Probe, User  # noqa: E402

NONE = 3                                # a device that speaks the protocol by itself
RIGHTFUL = {1, 3, 5, 6, 7, 9, 16}       # refusals for good, and clients that the workload itself closed
PROMISED_S = 5                          # for the slowest send
USERS, RATE = 60, 200
DRAINED = ["proxy", "chat", "user"]


class Mover(Probe):
    """Counts how often it went over to another proxy."""

    moves = -1

    def _connect(self):
        super()._connect()
        self.moves += 1


def start_probes(cluster):
    """One at each proxy, in eight conversations."""
    doors = cluster.proxies
    users = [User(doors[i % len(doors)], f"probe-{i}-{msg_id()}") for i in range(8 + len(doors))]
    probes = [Mover(i, doors, users[i], [u.id for u in users[len(doors):]], 1) for i in range(len(doors))]
    for probe in probes:
        probe.start()
    return probes


class Sends:
    """What clients of the library went through, as history.bin tells."""

    def __init__(self, directory):
        rows = records(directory)
        inbox = {r.device: r.what for r in rows if r.type == DEVICE}
        calls = {r.op: r for r in rows if r.type == CALL and r.what == SEND and inbox[r.device] != NONE}
        self.came = [r.at for r in rows if r.type == STATE and r.what == READY]
        self.ended = [(calls[r.op], r) for r in rows if r.type == DONE and r.op in calls]
        self.unended = len(calls) - len(self.ended)
        self.done = [(call, end) for call, end in self.ended if end.outcome == OK]
        self.failed = [(call.at, end.outcome, end.status) for call, end in self.ended
                       if end.outcome in (NOT_DONE, UNSURE) and end.status not in RIGHTFUL]

    def slowest_s(self, begin_us, end_us):
        """(of those done in that time, how many there are, how many devices came with their session)"""
        took = [end.at - call.at for call, end in self.done if end.at >= begin_us and call.at <= end_us]
        assert took, "nobody sent anything meanwhile"
        return max(took) / 1e6, len(took), sum(begin_us <= at <= end_us for at in self.came)


def busy(cluster, admin, role):
    """A node of that role that has something to leave: a proxy's clients, a chat node's calls under way."""
    end = time.monotonic() + 10 * SLOW
    while time.monotonic() < end:
        if role == "user":   # what it is asked is over at once; those who came are counted afterwards
            return cluster.nodes(role)[0], 0
        here = {n.name for n in cluster.nodes(role)}
        loaded = [n for n in admin.json("nodes") if n["name"] in here and n["registered"] and n["load"] > 0]
        if loaded:
            most = max(loaded, key=lambda n: n["load"])
            return next(n for n in cluster.nodes(role) if n.name == most["name"]), most["load"]
    raise AssertionError(f"no {role} node has anything to do")


def drain(cluster, admin, role, until):
    """Ask a node to drain, and wait until it has ended, and serves again. (what it had to do, when it was asked, when it was back)"""
    node, load = busy(cluster, admin, role)
    began = time.monotonic_ns() // 1000
    admin.run("drain", node.name)
    until(lambda: node.pid not in {n.pid for n in cluster.nodes(role)}, f"{node.name} ends")
    ended = cluster.wait_log(rf"{role} {node.number}: ended pid={node.pid} ")
    assert "status=0" in ended, ended
    until(lambda: len([n for n in cluster.nodes(role) if n.address]) == cluster.counts[role], f"{node.name} is started again")
    return load, began, time.monotonic_ns() // 1000


@pytest.mark.slow
def test_a_drained_node_is_left_without_one_failed_send(make_cluster, tmp_path, figure):
    c = make_cluster({"proxy.drain_spread_ms": None}, units=1, counts={"proxy": 3, "chat": 2, "user": 2}, has_nginx=False)
    admin = Admin(tmp_path, "--node", c.nodes("friend")[0].address, "--secret-file", c.settings["node.secret_file"])
    p = Process(SimpleNamespace(clients=",".join(c.proxies)), tmp_path / "run", "--users", USERS, "--rate", RATE, "--stay-ms", 8000)

    def until(cond, what):
        end = time.monotonic() + 40 * SLOW
        while not cond():
            p.until(lambda line: True)   # a line each second: it loads on
            assert time.monotonic() < end, what

    probes = start_probes(c)
    try:
        p.until(lambda line: line["phase"] == "load" and line["acked"] > RATE)
        drained = [(role, *drain(c, admin, role, until)) for role in DRAINED]
        p.tell("quiet")
        p.until(lambda line: line["phase"] == "quiet" and line["done"])
    finally:
        for probe in probes:
            probe.is_ending.set()
        for probe in probes:
            probe.join()
        p.p.terminate()
        p.p.wait()
    sends = Sends(tmp_path / "run")
    for role, load, begin, end in drained:
        slowest, n, came = sends.slowest_s(begin, end)
        figure(f"a drained {role} node: slowest of {n} sends", slowest, PROMISED_S)
        print(f"{role}: load {load}, {came} devices came")
        assert came > 0, f"nobody came while a {role} node drained"
    figure("... sends that failed", len(sends.failed), 0, "")
    assert not sends.failed and not sends.unended, (sends.failed[:5], sends.unended)
    # The library sends again what was not answered. Those who do not: each try was answered OK.
    tries = [t for probe in probes for t in probe.talks]
    figure(f"... of {sum(len(t.done) for t in tries)} tries without the library, failed", sum(len(t.failed) for t in tries), 0, "")
    assert all(t.done for t in tries) and sum(probe.moves for probe in probes) > 0, "none of them was at a proxy that drained"
    assert len(sends.done) > RATE * len(DRAINED), "that was no load"
