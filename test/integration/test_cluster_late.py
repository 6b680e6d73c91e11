"""A process that was frozen with a request in its socket, which somebody else did meanwhile, and a third undid: when it goes on,
what was undone is not done again."""
import os
import signal
import time

import pytest

from client import SLOW, Client, msg_id, wait_until
from cluster import Cluster
from node import NodeClient
from wire import GROUP, NOT_DONE, P

HUNG_S, TRIES = 0.5, 100   # a call that takes as long is stuck in the node that does not run
UNTIL_MS = 1 << 50


@pytest.fixture(scope="module")
def cluster(own_backends, tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("cluster"), own_backends, units=1, counts={"proxy": 2, "group": 2, "chat": 2}, has_nginx=False).start()
    yield c
    c._kill_all()


class Town:
    """A group of Ann's, with Ben, whom she mutes and lets speak again; she has a device at each proxy."""

    def __init__(self, cluster):
        self.devices = [self.device(cluster, n) for n in cluster.nodes("proxy")]
        self.ann, self.ben = self.devices[0], cluster.user("ben")
        self.group = self.ann.ok("CreateGroup", request_id=1, name="late").group_id | GROUP
        self.ann.ok("Invite", target=self.group, user_id=self.ben.user_id)
        self.ben.ok("JoinGroup", target=self.group)
        self.rows = self.written()

    def device(self, cluster, proxy):
        c = Client(proxy.clients)
        if getattr(self, "name", None) is None:
            user = cluster.user("ann")
            self.name, self.password = user.name, user.password
        c.login(self.name, self.password)
        return c

    def start(self, device, is_muted):
        return device.start("Mute", target=self.group, user_id=self.ben.user_id, until_ms=UNTIL_MS if is_muted else 0, timeout_ms=10000)

    def set(self, device, is_muted):
        """As a client does: what was not done is asked for again."""
        def asked():
            reply = device.wait(self.start(device, is_muted))
            assert reply.status in {"OK"} | NOT_DONE, reply
            return reply.status == "OK"
        wait_until(asked, 10, "a mute is set")

    def written(self):
        return [m.seq for m in self.ann.ok("History", target=self.group).messages]

    def muted_until(self):
        return [m.muted_until_ms for m in self.ann.ok("ListMembers", target=self.group).members if m.user_id == self.ben.user_id]

    def check(self, written, is_muted=False):
        assert self.muted_until() == [UNTIL_MS if is_muted else 0]
        assert self.written() == [*self.rows, *range(self.rows[-1] + 1, self.rows[-1] + 1 + written)]


def stood(cluster, node):
    """How often the node has noticed that it was frozen."""
    return sum(f"info {node.name} net: this process stood still" in x for x in cluster.log.splitlines())


def wait_going_on(cluster, node, before):
    wait_until(lambda: stood(cluster, node) > before, 10, lambda: f"{node.name} notices that it was frozen:\n" + cluster.log[-3000:])


def test_what_hung_in_a_frozen_group_node_is_not_done_after_it_was_undone(cluster, figure):
    town, (node, _) = Town(cluster), cluster.nodes("group")
    before, changes, is_muted, took = stood(cluster, node), 0, False, 0
    os.kill(node.pid, signal.SIGSTOP)
    try:
        while took < HUNG_S:   # until one is given to that node
            assert changes < TRIES, "none was ever given to the frozen node"
            began, is_muted = time.monotonic(), not is_muted
            town.set(town.ann, is_muted)
            took = time.monotonic() - began
            changes += 1
        is_muted = not is_muted
        town.set(town.ann, is_muted)
        changes += 1
    finally:
        os.kill(node.pid, signal.SIGCONT)
    wait_going_on(cluster, node, before)
    town.check(changes, is_muted)
    cluster.wait_log(f"node {node.address}: answers again")
    town.set(town.ann, not is_muted)
    town.check(changes + 1, not is_muted)
    figure("group node frozen with a change in its socket: how long that took elsewhere", took, unit="s")


def test_what_hung_in_a_frozen_proxy_is_not_done_after_it_was_done_and_undone_at_another(cluster):
    town, (proxy, _) = Town(cluster), cluster.nodes("proxy")
    before = stood(cluster, proxy)
    there, here = town.devices
    town.ann = here
    os.kill(proxy.pid, signal.SIGSTOP)
    try:
        late = town.start(there, True)
        town.set(here, True), town.set(here, False)
        wait_until(lambda: time.monotonic() > late.started + 1.5, 5)   # as long as others take to pass it over
    finally:
        os.kill(proxy.pid, signal.SIGCONT)
    wait_going_on(cluster, proxy, before)
    assert there.wait(late).status in NOT_DONE
    town.check(2)
    town.set(there, True), town.set(there, False)   # by asking again it is done
    town.check(4)


def test_a_whole_cluster_that_stood_still_goes_on(cluster, figure):
    town = Town(cluster)
    pids = [n.pid for n in cluster.nodes()]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    frozen = time.monotonic()
    late = town.start(town.ann, True)
    wait_until(lambda: time.monotonic() > frozen + 2, 5)
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    reply = town.ann.wait(late)
    assert reply.status in {"OK"} | NOT_DONE, reply
    town.set(town.ann, True), town.set(town.ann, False)
    took = time.monotonic() - began
    town.check(2)
    figure("a whole cluster stood still: a change and its undoing, asked for until done", took, 5 * SLOW)


@pytest.mark.parametrize("window", ["0", "64"])
def test_a_late_try_of_a_change_that_was_undone_changes_nothing(make_cluster, window):
    """Two owners, who get tries of one call; only the store, or what they remember of it, tells them so."""
    c = make_cluster({"node.secret_file": None, "chat.window": window}, units=1, counts={"proxy": 1, "chat": 2}, has_nginx=False)
    town = Town(c)
    first, second = owners = [NodeClient(n.address) for n in c.nodes("chat")]

    def apply(node, is_muted, trace):
        change = P.Membership(change=P.MUTED, user_id=town.ben.user_id, until_ms=UNTIL_MS if is_muted else 0)
        return node.ok("Apply", caller=town.ann.user_id, target=town.group, trace=trace, change=change).seq

    done, undone, again = msg_id(), msg_id(), msg_id()
    end = town.rows[-1]
    assert apply(first, True, done) == end + 1
    assert apply(second, False, undone) == end + 2
    for node in (second, first, second):
        assert apply(node, True, done) == end + 1
    town.check(2)
    town.ben.settle()
    town.ben.no_event("OnMessage", lambda m: m.seq > end + 2)
    assert apply(first, True, again) == end + 3   # another call is another
    assert apply(second, False, undone) == end + 2
    town.check(3, is_muted=True)
    for node in owners:
        node.close()
