"""A cluster that is set up wrongly: the start stops, or a line says what is missing and what to do."""
import os
import re

import pytest

from client import wait_until
from server import Server
from servers import MariaDB

NOWHERE = "127.0.0.1:1"


@pytest.fixture
def node(make_cluster, tmp_path):
    """node("chat", {"section.key": value}): one with a cluster's settings, these changed; not started."""
    cluster = make_cluster(start=False, units=1, has_nginx=False)
    assert cluster.run("--migrate").returncode == 0
    made = []

    def make(role, changed):
        s = Server(tmp_path / f"node{len(made)}", {**cluster.settings, "proxy.listen": "127.0.0.1:0", **changed}, roles=role, mode="cluster")
        s.cluster = cluster
        made.append(s)
        return s

    yield make
    for s in made:
        if s.process is not None:
            s.kill()


def stops(s, code, *words):
    s.spawn()
    assert s.wait_end(20) == code, s.log
    assert all(re.search(w, s.log) for w in words), s.log


def says(s, *words):
    """It goes on, as what is missing may come; and says what that is."""
    s.spawn()
    for w in words:
        s.wait_log(w, deadline=15)
    assert s.is_alive(), s.log


def test_servers_that_cannot_be_reached(node):
    says(node("proxy", {"registry.url": f"zookeeper://{NOWHERE}/x", "presence.url": f"redis://{NOWHERE}/0"}),
         rf"ZooKeeper is not reached at {NOWHERE}: is it running, and is \[registry\] url right\?", r"presence.*(refused|away)")
    says(node("user", {"store.url": f"mariadb://bytetalk@{NOWHERE}/x"}), rf"mariadb: {NOWHERE}: .*is it running, and is \[store\] url right\?")


def test_a_wrong_password_for_the_store(node, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not the password\n")
    os.chmod(wrong, 0o600)
    stops(node("user", {"store.password_file": str(wrong)}), 1, r"start: .*Access denied.*password")


def test_a_missing_schema(node):
    s = node("user", {})
    s.settings["store.url"] += "_without"
    s.cluster.backends.mariadb.sql("CREATE DATABASE IF NOT EXISTS " + s.settings["store.url"].rsplit("/", 1)[1])
    stops(s, 1, r"start: .*bytetalk --migrate")


def test_a_mariadb_that_may_lose_commits(node):
    primary = node("user", {}).cluster.backends.mariadb
    primary.sql("SET GLOBAL sync_binlog=0")
    try:
        stops(node("user", {}), 1, r"start: .*set sync_binlog=1")
        s = node("user", {"store.durable": "no"})
        s.start()
    finally:
        primary.sql("SET GLOBAL sync_binlog=1")


def test_two_writable_hosts_are_both_refused(node):
    replica = node("user", {}).cluster.backends.mariadb_replica
    replica.sql("SET GLOBAL read_only=OFF")
    try:
        s = node("user", {})
        s.spawn()
        wait_until(lambda: re.search(r"writable", s.log) and re.search(r"(two|both|more than one|2) .*writable", s.log), 15,
                   lambda: "it says that two are writable:\n" + s.log)
    finally:
        replica.sql("SET GLOBAL read_only=ON")


def test_a_role_that_does_not_exist(node):
    stops(node("chatt", {}), 2, r"no such role: chatt")


def test_two_nodes_on_one_port(node):
    first = node("proxy", {})
    first.start()
    stops(node("proxy", {"node.listen": first.nodes}), 1, rf"\[node\] listen = {first.nodes}: .*(another|exists|in use)")
    stops(node("proxy", {"proxy.listen": first.clients}), 1, rf"\[proxy\] listen = {first.clients}: another process listens there; stop it")
    stops(node("proxy", {"proxy.listen": first.clients, "proxy.share_port": "yes"}), 1,
          rf"\[proxy\] listen = {first.clients}: another process listens there which does not share the port")
    sharing = node("proxy", {"proxy.share_port": "yes"})
    sharing.start()
    stops(node("proxy", {"proxy.listen": sharing.clients}), 1, rf"\[proxy\] listen = {sharing.clients}: another process listens there; stop it")


def test_a_missing_secret(node, tmp_path):
    stops(node("user", {"node.secret_file": str(tmp_path / "none")}), 1, r"\[node\] secret_file: .*none: No such file")
    stops(node("user", {"node.secret_file": None, "node.listen": "0.0.0.0:0"}), 1,
          r"\[node\] listen = 0.0.0.0:0: without \[node\] secret_file only a loopback address is safe")


def test_nodes_with_different_secrets_do_not_talk_and_say_so(node, tmp_path):
    other = tmp_path / "secret"
    other.write_text("another secret of the same length as all\n")
    os.chmod(other, 0o600)
    node("user", {}).start()
    proxy = node("proxy", {"node.secret_file": str(other)}).start()
    proxy.wait_log(r"secret", deadline=15)
    c = proxy.connect(hello=False)
    c.ok("Hello", version=1, client="test")
    c.refused("UNAVAILABLE", "Register", name="nobody", password="correct horse", timeout_ms=1500)


def test_the_password_is_in_no_log(node):
    s = node("user", {})
    s.start()
    host = s.cluster.backends.mariadb.host
    s.settings["store.url"] = f"mariadb://{MariaDB.user}:{MariaDB.password.replace(' ', '%20')}@{host}/nothing"
    s.settings["store.password_file"] = ""
    s.kill()
    s.spawn()
    s.wait_end(20)
    assert "the tests" not in s.log and "%20" not in s.log, s.log
