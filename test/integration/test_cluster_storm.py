"""A proxy dies under thousands of clients: how soon all are back with their sessions, and what that costs. make chaos-storm
runs it with 15,000."""
import os
import re
import signal
import time

import pytest

from client import wait_until
from cluster import Cluster
from storm import Storm

USERS = int(os.environ.get("STORM_USERS", "200"))
DEVICES = int(os.environ.get("STORM_DEVICES", "10"))
BACK_S = 30
TABLES = ("account", "session", "friend", "member", "message")


def cpu_s(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Statements:
    """What the database is asked meanwhile, by whomever, from its own log."""

    def __init__(self, mariadb):
        self.mariadb, self.path = mariadb, os.path.join(mariadb.dir, "general.log")

    def __enter__(self):
        self.mariadb.sql(f"SET GLOBAL general_log_file='{self.path}'; SET GLOBAL general_log=ON")
        self.began = time.monotonic()
        return self

    def __exit__(self, *_):
        self.mariadb.sql("SET GLOBAL general_log=OFF")
        self.seconds = time.monotonic() - self.began
        with open(self.path, encoding="utf-8", errors="replace") as f:
            self.executed = re.findall(r"\bExecute\t(.*)", f.read())
        os.unlink(self.path)

    def of(self, table):
        return [s for s in self.executed if re.search(rf"\b(FROM|INTO|UPDATE|JOIN)\s+{table}\b", s)]


class Hashes:
    """Passwords that the user nodes hash from now on, each a line of their log, which tells that much from now on."""

    def __init__(self, cluster):
        self.unit, before = cluster.units[0], len(cluster.units[0].lines)
        self.unit.settings["log.level"] = "debug"
        self.unit.write_ini()
        nodes = cluster.nodes("user")
        for n in nodes:
            os.kill(n.pid, signal.SIGHUP)
        wait_until(lambda: sum("reload: log level is debug" in line for line in self.unit.lines[before:]) == len(nodes), what="the user nodes tell all")
        self.since = len(self.unit.lines)

    def count(self):
        return sum(" user: a password was hashed " in line for line in self.unit.lines[self.since:])


def herd(cluster, victim, *more):
    s = Storm("-s", ",".join(cluster.proxies), "-o", victim, "-u", USERS, "-d", DEVICES, *more, "herd")
    s.wait("ready", 120)
    return s


@pytest.mark.slow
@pytest.mark.parametrize("has_pull", [False, True], ids=["resume", "resume-and-compare"])
def test_everyone_comes_back_from_a_proxy_that_died(own_backends, tmp_path, figure, has_pull):
    cluster = Cluster(tmp_path, own_backends, {"proxy.resync_spread_ms": 3000}, units=1, counts={"proxy": 3}, has_nginx=False).start()
    try:
        victim = next(n for n in cluster.nodes("proxy") if n.number == 1)
        s = herd(cluster, victim.clients, *(["-p"] if has_pull else []))
        watched = [n for n in cluster.nodes() if n.role in ("proxy", "user") and n.pid != victim.pid]
        before = {n.name: cpu_s(n.pid) for n in watched}
        hashes = Hashes(cluster)
        with Statements(own_backends.mariadb) as statements:
            began = time.monotonic()
            os.kill(victim.pid, signal.SIGKILL)
            back = s.wait("back", 3 * BACK_S)
            took = time.monotonic() - began
        for e in s.events:
            print(e)
        spent = {n.name: cpu_s(n.pid) - before[n.name] for n in watched}
        print("CPU seconds: " + ", ".join(f"{k} {v:.2f}" for k, v in spent.items()))
        print(f"statements in {statements.seconds:.1f} s: " + ", ".join(f"{t} {len(statements.of(t))}" for t in TABLES))
        assert back["clients"] == USERS * DEVICES and back["wrong"] == 0, back
        figure(f"{back['clients']} clients back with their sessions", took, BACK_S)
        figure(f"{back['clients']} clients back, the middle one", back["p50_ms"] / 1000)
        figure(f"{back['clients']} clients back, the last of 100", back["p99_ms"] / 1000)
        figure(f"{back['clients']} clients back, most in a second", back["peak"], unit="")
        figure(f"{back['clients']} clients back, told to come later", back["shed"], unit="")

        # To resume a session nothing is read. What is read besides: the list of ended sessions, as often as ever, and, once when a user
        # is gone and once when he is back, however many his devices, whom to tell.
        ended, friends = statements.of("session"), statements.of("friend")
        assert all("ended_ms" in x for x in ended) and len(ended) <= (len(watched) + 2) * (statements.seconds + 2), (len(ended), ended[:3])
        assert len(friends) <= 2 * USERS, (len(friends), friends[:3])
        assert statements.of("account") == [], statements.of("account")[:3]
        assert has_pull or len(statements.executed) == len(ended) + len(friends), set(statements.executed) - {*ended, *friends}
        with Statements(own_backends.mariadb) as statements:
            s.say("check")
            checked = s.wait("checked", 60)
        assert checked["failed"] == 0, checked
        assert len(statements.of("account")) >= USERS, "what is read does not show"
        # One user who registers and logs in has two passwords hashed: those are all there were.
        cluster.user("late", address=cluster.proxies[1])
        wait_until(lambda: hashes.count() >= 2, what="the hashes of a login show")
        figure(f"{back['clients']} clients back, passwords hashed", hashes.count() - 2, 0, unit="")
        s.end()
        assert cluster.stop() == 0
    finally:
        cluster._kill_all()
