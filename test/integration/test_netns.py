"""The hosts that tests make of network namespaces: they reach each other, lose each other, and leave nothing behind."""
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from client import SLOW, wait_until
from netns import Network, sweep
from servers import MariaDB, Nginx, Redis, ZooKeeper

pytestmark = pytest.mark.skipif(Network.missing() != "", reason=f"network namespaces: {Network.missing()}")

PATIENCE = 0.4   # what has not come by then does not come


@pytest.fixture
def net():
    with Network() as net:
        yield net


def listen(host):
    s = host.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host.address, 7400))
    s.listen()
    s.settimeout(10)
    return s


def link(a, b):
    """A connection from a to b: its two ends."""
    with listen(b) as server:
        here = a.connect(7400, b.address, 10)
        there, peer = server.accept()
        assert peer[0] == a.address
        there.settimeout(10)
        return here, there


def is_silent(s):
    s.settimeout(PATIENCE)
    try:
        s.recv(100)
    except TimeoutError:
        s.settimeout(10)
        return True
    return False


def links():
    return {name for name in os.listdir("/sys/class/net") if name.startswith("bt-")}


def test_hosts_reach_each_other_and_us(net):
    a, b = net.host("a"), net.host("b")
    assert [a.address, b.address] == [f"{net.prefix}.1", f"{net.prefix}.2"]
    for one, other in ((a, b), (b, a), (net.me, a), (b, net.me)):
        for s in link(one, other):
            s.close()


def test_what_a_host_listens_to_on_loopback_is_its_own(net):
    a, b = net.host("a"), net.host("b")
    with a.socket() as s:
        s.bind(("127.0.0.1", 7400))
        s.listen()
        a.connect(7400).close()
        with pytest.raises(ConnectionRefusedError):
            b.connect(7400)


def test_a_command_keeps_its_pid_and_what_was_set_for_it(net):
    a = net.host("a")
    script = "import os; print(os.getpid(), os.getpgid(0), os.readlink('/proc/self/ns/net'))"
    p = subprocess.Popen(a.command([sys.executable, "-c", script]), stdout=subprocess.PIPE, text=True, preexec_fn=os.setpgrp)
    pid, group, namespace = p.communicate(timeout=20)[0].split()
    assert int(pid) == int(group) == p.pid
    assert namespace != os.readlink("/proc/self/ns/net")


def test_a_cut_connection_stalls_until_it_is_healed(net):
    a, b, c = net.host("a"), net.host("b"), net.host("c")
    here, there = link(a, b)
    here.sendall(b"before")
    assert there.recv(100) == b"before"
    a.cut(b)
    here.sendall(b"from a")
    there.sendall(b"from b")
    assert is_silent(there) and is_silent(here)
    with listen(b):
        with pytest.raises(TimeoutError):   # not refused, and no error at once
            a.connect(7400, b.address, PATIENCE)
    for one, other in ((a, c), (b, c), (net.me, a)):
        for s in link(one, other):
            s.close()
    a.heal(b)
    assert there.recv(100) == b"from a"
    assert here.recv(100) == b"from b"
    for s in (here, there):
        s.close()


def test_one_direction_alone_can_be_cut(net):
    a, b = net.host("a"), net.host("b")
    for s in link(a, b):   # so that they know each other
        s.close()
    one, other = a.socket(kind=socket.SOCK_DGRAM), b.socket(kind=socket.SOCK_DGRAM)
    one.bind((a.address, 7400))
    other.bind((b.address, 7400))
    a.cut(b, both=False)
    one.sendto(b"lost", (b.address, 7400))
    other.sendto(b"comes", (a.address, 7400))
    one.settimeout(10)
    assert one.recv(100) == b"comes"
    assert is_silent(other)
    a.heal()
    one.sendto(b"again", (b.address, 7400))
    assert other.recv(100) == b"again"
    one.close()
    other.close()


def test_a_host_can_be_cut_from_us_and_heals_from_all(net):
    a, b = net.host("a"), net.host("b")
    here, there = link(net.me, a)
    a.cut(net.here)
    a.cut(b)
    here.sendall(b"late")
    assert is_silent(there)
    a.heal()
    assert there.recv(100) == b"late"
    for s in (here, there, *link(a, b)):
        s.close()


def test_networks_do_not_get_in_each_others_way(net):
    with Network(net.prefix) as other:
        assert other.prefix != net.prefix
        for n in (net, other):
            for s in link(n.me, n.host("a")):
                s.close()


def test_closing_leaves_nothing():
    descriptors, before = len(os.listdir("/proc/self/fd")), links()
    with Network() as net:
        a = net.host("a")
        a.cut(net.here)
        namespace = os.readlink(a.path)
        device = net.me.device
        assert device in links()
    assert device not in links() and links() <= before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    held = subprocess.run(["lsns", "--type", "net", "--noheadings", "--output", "NS"], capture_output=True, text=True, check=True).stdout
    assert namespace[len("net:["):-1] not in held.split()


def test_a_killed_process_leaves_nothing():
    script = ("import netns, subprocess, sys; net = netns.Network();"
              "p = subprocess.Popen(net.host('a').command(['sleep', '60']), stdout=subprocess.DEVNULL);"
              "print(net.me.device, p.pid, flush=True); sys.stdin.read()")
    p = subprocess.Popen([sys.executable, "-c", script], cwd=os.path.dirname(__file__), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         text=True)
    device, sleeper = p.stdout.readline().split()
    assert device in links()
    p.kill()
    p.communicate()
    sweep()   # what still runs there keeps the namespace
    assert device not in links()
    os.kill(int(sleeper), signal.SIGKILL)


def test_twenty_five_hosts_come_up_quickly(net, figure):
    began = time.monotonic()
    hosts = [net.host(f"host{i}") for i in range(25)]
    figure("25 hosts in namespaces", time.monotonic() - began, 3)
    assert len({h.address for h in hosts}) == 25
    wait_until(lambda: link(hosts[0], hosts[-1]), 5 * SLOW, "the last is reached")


def test_the_servers_run_on_hosts_of_their_own(net, tmp_path):
    hosts = [net.host(name) for name in ("zookeeper1", "zookeeper2", "zookeeper3", "redis1", "redis2", "mariadb1", "mariadb2", "nginx")]
    zookeeper = ZooKeeper(tmp_path / "zookeeper", places=hosts[:3], port=2181)
    redis = Redis(tmp_path / "redis1", place=hosts[3])
    redis_replica = Redis(tmp_path / "redis2", replica_of=redis, place=hosts[4])
    mariadb = MariaDB(tmp_path / "mariadb1", 1, is_waited=True, place=hosts[5])
    mariadb_replica = MariaDB(tmp_path / "mariadb2", 2, replica_of=mariadb, place=hosts[6])
    nginx = Nginx(tmp_path / "nginx", [redis.host], place=hosts[7])
    programs = [*zookeeper.members, redis, redis_replica, mariadb, mariadb_replica, nginx]
    try:
        for p in programs:
            p.spawn()
        for p in programs:
            p.wait()
        assert zookeeper.host == ",".join(f"{h.address}:2181" for h in hosts[:3])
        assert zookeeper.leader().mode() == "leader"
        mariadb.make_users()
        mariadb_replica.replicate()
        for p in programs:
            address, port = p.host.split(":")
            assert address == p.place.address
            socket.create_connection((address, int(port)), 5).close()
        hosts[3].cut(net.here)
        assert redis.ask("ping") == "PONG", "it is asked from its own host"
    finally:
        for p in programs:
            p.kill()
