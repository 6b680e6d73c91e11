"""A node is killed, stands still or ends: conversations that have nothing to do with it notice nothing. Who has nothing to do with
it: another chat node owns the conversation, and the client is at another proxy."""
import os
import signal
import time
from collections import Counter

import pytest

from client import wait_until
from cluster import Cluster
from test_admin import Admin
from traffic import Traffic
from wire import key_of

PROMISED_S = 0.5        # for the slowest send of theirs; three times that is how long a frozen node is waited for. Not one fails
FROZEN_S = 2.5          # longer than a node may be silent before it is passed over
PAIRS = 12
CASES = [(role, how) for role in ("chat", "proxy") for how in ("kill", "freeze", "term")] + [("user", "kill"), ("group", "kill"), ("offline", "kill")]
TOLD = {"kill": "killed", "freeze": "frozen", "term": "told to end"}


@pytest.fixture(scope="module")
def cluster(backends, tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("cluster"), backends, units=1, counts={"proxy": 3, "chat": 3}, has_nginx=False).start()
    yield c
    c._kill_all()


@pytest.fixture(scope="module")
def traffic(cluster):
    return Traffic.of_pairs(cluster, PAIRS, pace_s=0.1, window=2).run(0.5)


def owners(cluster, traffic, directory):
    """Of each conversation, by its key, the address of the node that owns it now."""
    node = cluster.nodes("proxy")[0].address
    admin = Admin(directory, "--node", node, "--secret-file", cluster.settings["node.secret_file"])
    keys = sorted({key_of(t.user_id, t.targets[0]) for t in traffic.talkers})
    told = admin.json("owner", "-", told="".join(f"#{hi} #{lo}\n" for hi, lo in keys))
    assert [(o["hi"], o["lo"]) for o in told] == keys
    return {(o["hi"], o["lo"]): next(n["address"] for n in o["nodes"] if not n["passed_over"]) for o in told}


def choose(cluster, role, places):
    """A node that some have to do with, and others have not."""
    there = Counter(places.get(role, ()))
    used = sorted((n for n in cluster.nodes(role) if there[n.address] + there[n.clients] > 0 or role not in places),
                  key=lambda n: there[n.address] + there[n.clients])
    return used[0]


def wait_whole(cluster, traffic, was, role):
    """Until as many nodes as before serve, and none of them is the one that is gone."""
    def is_back():
        now = cluster.nodes(role)
        return len(now) == cluster.counts[role] and all(n.address for n in now) and was not in {n.pid for n in now}
    traffic.run_until(is_back, what="it is started again")


class Watch:
    """What some talkers go through from now on."""

    def __init__(self, talkers):
        self.began, self.talkers = time.monotonic(), list(talkers)
        self.failed_before = self._failed()

    def _failed(self):
        return sum(sum(t.refused.values()) + t.breaks for t in self.talkers)

    def failed(self):
        return self._failed() - self.failed_before

    def slowest(self):
        """Of the sends that were under way since, those not answered so far included."""
        now = time.monotonic()
        took = [a.at - a.sent for t in self.talkers for a in t.acks if a.at >= self.began]
        took += [now - item[3] for t in self.talkers for item in t.open.values()]
        return max(took)


def strike(cluster, traffic, victim, how):
    """Until it is over: what was hit serves again, or another in its place."""
    if how == "freeze":
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            traffic.run(FROZEN_S)
        finally:
            os.kill(victim.pid, signal.SIGCONT)
    else:
        os.kill(victim.pid, signal.SIGKILL if how == "kill" else signal.SIGTERM)
        wait_whole(cluster, traffic, victim.pid, victim.role)
    over = time.monotonic()
    traffic.run_until(lambda: traffic.all_back(over), 30, "everybody writes again")
    traffic.run(0.5)


@pytest.mark.parametrize("role, how", CASES, ids=[f"{role}-{how}" for role, how in CASES])
def test_who_has_nothing_to_do_with_it_notices_nothing(cluster, traffic, tmp_path, figure, role, how):
    wait_until(lambda: traffic.step() or all(t.client and not t.greeting for t in traffic.talkers), 15, "everybody is connected")
    owner = owners(cluster, traffic, tmp_path)
    places = {"chat": [owner[key_of(t.user_id, t.targets[0])] for t in traffic.talkers], "proxy": [t.client.address for t in traffic.talkers]}
    victim = choose(cluster, role, places)
    touched = [t for t, *where in zip(traffic.talkers, *places.values()) if victim.address in where or victim.clients in where]
    apart = [t for t in traffic.talkers if t not in touched]
    assert len(apart) >= PAIRS / 2 and (touched or role not in ("chat", "proxy")), (len(apart), len(touched))
    watch, hit = Watch(apart), Watch(touched or apart)
    strike(cluster, traffic, victim, how)
    figure(f"{role} node {TOLD[how]}: slowest send of {len(apart)} apart from it", watch.slowest(), PROMISED_S)
    figure("... of their sends that failed", watch.failed(), 0, "")
    if touched:
        figure(f"... slowest send of the {len(touched)} others", hit.slowest())


def test_nothing_was_lost_by_any_of_it(cluster, traffic, figure):
    traffic.finish()
    figure("nodes killed, frozen, ended: messages, none lost or twice", traffic.check(cluster), unit="")
    assert cluster.is_alive()
