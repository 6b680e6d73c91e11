"""deploy/compose as it stands, each container a host of its own: it comes up, and grows and shrinks under load."""
import re
import subprocess
import time
from collections import Counter

import pytest
from callers import Callers
from client import SLOW, wait_until
from compose import Project
from netns import Network
from server import Clients, new_name
from traffic import Traffic

pytestmark = pytest.mark.skipif(Network.missing() != "", reason=f"network namespaces: {Network.missing()}")
ROLES = {"proxy", "user", "friend", "group", "offline", "chat"}


class Composed(Clients):
    """What tests ask of a cluster."""

    def __init__(self, project):
        self.project, self.made = project, []

    @property
    def doors(self):
        """What the file publishes on the machine's address goes to these."""
        port = self.project.services["proxy"]["ports"][0].split(":")[1]
        return [f"{i.address}:{port}" for i in self.project.of("proxy")]

    @property
    def clients(self):
        return self.doors[0]

    def nodes(self):
        """role -> the addresses of its nodes, as the health check of one of them prints them."""
        lines = self.project.of("proxy")[0].health().stdout.splitlines()
        found = {}
        for line in lines:
            role = next((word for word in line.split() if word in ROLES), None)
            if role:
                found.setdefault(role, []).append(re.search(r"\d+\.\d+\.\d+\.\d+", line)[0])
        return found


def received(instance):
    """Bytes that came to it from other nodes over the connections that stand."""
    out = subprocess.run(instance.within(["ss", "-Htin", "( sport = :7500 or dport = :7500 )"]), capture_output=True, text=True,
                         check=True).stdout
    return sum(int(n) for n in re.findall(r"bytes_received:(\d+)", out))


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    with Network() as net:
        project = Project(tmp_path_factory.mktemp("compose"), net)
        try:
            composed = Composed(project.up())
            yield composed
            composed.close_clients()
            project.down()
        finally:
            project.kill()


def test_every_container_is_healthy_and_every_node_knows_the_others(composed):
    project = composed.project
    assert set(project.services) == ROLES | {"migrate", "zookeeper", "redis", "mariadb"}
    wanted = {role: [project.of(role)[0].address] for role in ROLES}
    wait_until(lambda: composed.nodes() == wanted, 5, lambda: f"{wanted} are the nodes:\n{project.of('proxy')[0].health()}")
    for role in ROLES:
        shown = project.of(role)[0].health()
        assert shown.returncode == 0
        assert all(f" {other}-1-1 " in shown.stdout for other in ROLES), "named after their containers, each being process 1 there"


def test_clients_are_told_the_address_that_is_published(composed):
    published = composed.project.services["proxy"]["ports"][0].split(":")[0]
    assert [p.address for p in composed.connect().ok("Directory").proxies] == [f"127.0.0.1:{published}"]


def test_chat_and_user_are_scaled_under_load_without_a_failed_send(composed, figure):
    """chat 1 -> 3 -> 1, user 1 -> 2."""
    project = composed.project
    traffic = Traffic.of_pairs(composed, 5)
    callers = Callers(composed, composed.doors, window=2)

    def go_on():
        traffic.run(0.05)
        callers.run(0.02)

    def until_known():
        wanted = Counter(i.service for i in project.instances if i.service in ROLES)
        wait_until(lambda: go_on() or {r: len(a) for r, a in composed.nodes().items()} == wanted, 10, f"{wanted} are the nodes")

    traffic.run(0.5)
    for service in ("chat", "chat", "user"):
        made = project.make(service).spawn()
        wait_until(lambda made=made: go_on() or made.is_ready(), 20, made.tail)
        until_known()
        for _ in range(20):
            go_on()
        assert received(made) > 2000, f"{made.name} got no work"
    drained = []
    for _ in range(2):
        drained.append(project.less("chat", go_on))
        until_known()
    assert [len(project.of(s)) for s in ("chat", "user")] == [1, 2]
    traffic.run(1).finish()
    callers.finish()
    acks = [a for t in traffic.talkers for a in t.acks]
    refused = sum((Counter(t.refused) for t in traffic.talkers), Counter())
    figure("compose, chat 1 -> 3 -> 1, user 1 -> 2: sends", len(acks), unit="")
    figure("... slowest", max(a.at - a.sent for a in acks), 2)
    figure("... failed", sum(refused.values()), 0, "")
    figure("... connections that broke", sum(t.breaks for t in traffic.talkers), 0, "")
    figure("... other calls that failed", sum(callers.failed.values()), 0, "")
    assert traffic.check(composed) == 2 * len(acks), "each log is read by both who write to it"
    figure("... slowest to end after TERM", max(drained), 6)
    assert len(acks) > 500 / SLOW


def test_containers_that_died_are_started_again_and_stay(composed, figure):
    """They come back at once, with the names and addresses that others still know them by, and which ZooKeeper still holds
    for the sessions that died with them."""
    project = composed.project
    everybody = sorted(sum(composed.nodes().values(), []))
    traffic = Traffic.of_pairs(composed, 2).run(0.5)
    for service in ("chat", "user", "proxy"):
        began = time.monotonic()
        for instance in project.of(service):
            instance.crash()
        traffic.run_until(lambda began=began: traffic.all_back(began + 0.1))
        wait_until(lambda: traffic.step() or can_log_in(composed), 15, "users can log in")
        figure(f"compose, {service} killed and started again: sends back", traffic.back_after(began), 3)
    wait_until(lambda: traffic.step() or all(i.is_ready() for i in project.instances if i.service in ROLES), 10, "all are healthy")
    # The sessions of those that died end after 4 s; nobody may take that for the end of those that live.
    while time.monotonic() < began + 6:
        traffic.run(0.3)
        assert sorted(sum(composed.nodes().values(), [])) == everybody
    traffic.finish()
    assert traffic.check(composed) == 2 * traffic.acked()


def can_log_in(composed):
    c, login = composed.connect(), {"name": new_name(), "password": "correct horse"}
    return all(c.call(call, **login).status == "OK" for call in ("Register", "Login"))
