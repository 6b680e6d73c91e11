"""Proxies of one host on one port ([proxy] share_port): clients spread over them, and come back through it when one of them goes."""
import os
import re
import select
import signal
import subprocess
import time

import pytest

from cli import Person
from client import SLOW, wait_until
from traffic import Traffic

PROXIES = 3


@pytest.fixture
def sharing(make_cluster):
    return make_cluster({"proxy.share_port": "yes", "proxy.drain_spread_ms": 1000}, units=1, has_nginx=False, counts={"proxy": PROXIES, "chat": 1})


def loads(cluster):
    """Connected clients of each proxy, as one of them tells."""
    c = cluster.connect(address=cluster.proxies[0])
    told = [p.connections for p in c.ok("Directory").proxies]
    c.close()
    return told


def proxies_of(cluster):
    return [n for n in cluster.nodes("proxy") if n.address]


def test_clients_spread_over_all_proxies_of_the_port(sharing, figure):
    port, = set(sharing.proxies)
    assert [n.clients for n in proxies_of(sharing)] == [port] * PROXIES
    users = [sharing.user("one", address=port) for _ in range(20 * PROXIES)]

    def all_counted():   # the others' by what they last told
        told = loads(sharing)
        return len(told) == PROXIES and sum(told) >= len(users) and told

    counted = wait_until(all_counted, what="all are counted")
    figure("60 clients of 3 proxies on one port: the fewest at one", min(counted), unit="")
    assert min(counted) >= 3   # less, by chance: once in ten million runs
    for sender, receiver in zip(users, users[1:]):
        sender.send(receiver.user_id, b"across")
    for receiver in users[1:]:
        receiver.event("OnMessage")


def test_clients_of_a_killed_proxy_come_back_through_the_port(sharing, figure):
    traffic = Traffic.of_pairs(sharing, 10)
    traffic.run(1)
    killed = time.monotonic()
    os.kill(proxies_of(sharing)[0].pid, signal.SIGKILL)
    traffic.run(1)
    traffic.run_until(lambda: traffic.all_back(killed), what="everybody writes again")
    assert sum(t.breaks for t in traffic.talkers) > 0
    figure("a proxy of a shared port killed -9: all write again after", traffic.back_after(killed), 2)
    traffic.finish()
    assert traffic.check(sharing) > 0
    wait_until(lambda: len(proxies_of(sharing)) == PROXIES, what="another one has joined")


@pytest.mark.parametrize("writers", [1, 5])
def test_proxies_of_one_port_are_drained_one_after_the_other_without_a_failed_send(sharing, tmp_path, figure, writers):
    """All of them, so that every client was at one of those; by the client library, which never was without a connection. One
    writer: a proxy's only client is given as much time as one of many."""
    port = sharing.proxies[0]
    reader, *people = [Person(port, tmp_path / f"p{i}").register() for i in range(writers + 1)]
    senders = [subprocess.Popen(p.argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=p.environ()) for p in people]
    fds = {s: s.stdout.fileno() for s in senders}   # closed ones have none
    said = {fd: b"" for fd in fds.values()}
    sent = 0

    def send():
        nonlocal sent
        sent += 1
        for s in senders:
            s.stdin.write(f"chat {reader.name} message {sent}\n".encode())
            s.stdin.flush()
        for fd in select.select(list(said), [], [], 0.02)[0]:
            said[fd] += os.read(fd, 65536)

    def send_until(cond, deadline):
        end = time.monotonic() + deadline * SLOW
        while not cond():
            assert time.monotonic() < end, "not drained:\n" + sharing.log[-4000:]
            send()

    send_until(lambda: all(b"Logged in" in told for told in said.values()), 20)
    send_until(lambda n=sent: sent >= n + 20, 10)
    slowest = 0
    for old in proxies_of(sharing):
        began = time.monotonic()
        os.kill(old.pid, signal.SIGTERM)
        send_until(lambda: re.search(rf"proxy {old.number}: ended pid={old.pid} status=0", sharing.log), 30)
        slowest = max(slowest, time.monotonic() - began)
        send_until(lambda: any(n.number == old.number and n.pid != old.pid for n in proxies_of(sharing)), 20)
        wait_until(lambda: len(loads(sharing)) == PROXIES, what="the new one is known")
    figure(f"drain of a proxy of a shared port, {writers} writing, slowest", slowest, 6)
    for s in senders:
        rest, _ = s.communicate(timeout=60 * SLOW)
        told = said.pop(fds[s]) + rest
        assert s.returncode == 0 and b"connection is lost" not in told, told.decode()
    for writer in people:
        bodies = [m["body"] for m in reader.json("history", writer.name, str(sent + 1)) if m["kind"] == "text"]
        assert bodies == [f"message {n + 1}" for n in range(sent)]
