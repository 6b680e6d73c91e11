"""bytetalk --unit: starts the nodes of a unit, keeps them running, ends them in order, leaves nothing behind."""
import os
import re
import signal
import time

import pytest

from client import SLOW, wait_until

ROLES = ("proxy", "user", "friend", "group", "offline", "chat")


@pytest.fixture
def unit(make_cluster):
    """One unit: two proxies, one node of each other role."""
    return make_cluster(units=1, has_nginx=False, counts={"chat": 1}).units[0]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False


def children(pid):
    """(pid, state) of a process's children."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{entry}/stat", encoding="ascii", errors="replace") as f:
                fields = f.read().rsplit(") ", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if fields[1] == str(pid):
            found.append((int(entry), fields[0]))
    return found


def node(unit, role, number=1):
    return next((n for n in unit.nodes_now() if (n.role, n.number) == (role, number) and n.address), None)


def test_it_runs_as_many_as_the_ini_says(unit):
    assert sorted((n.role, n.number) for n in unit.nodes_now()) == sorted([(r, 1) for r in ROLES] + [("proxy", 2)])
    assert len(children(unit.process.pid)) == 7
    one, two = (node(unit, "proxy", i).clients for i in (1, 2))
    assert int(two.split(":")[1]) == int(one.split(":")[1]) + 1


def test_who_dies_is_started_again_after_growing_pauses(unit):
    for pause in (100, 200, 400):
        pid = wait_until(lambda: node(unit, "user"), what="a user node").pid
        os.kill(pid, signal.SIGKILL)
        unit.wait_log(rf"user 1: ended pid={pid} signal=9; starting it again in {pause} ms")
        wait_until(lambda: node(unit, "user") and node(unit, "user").pid != pid, what="another user node")
    assert not [c for c in children(unit.process.pid) if c[1] == "Z"]
    assert len(children(unit.process.pid)) == 7


def test_who_was_told_to_end_is_started_again(unit):
    """So nodes are replaced by a new version one after the other."""
    old = node(unit, "friend")
    os.kill(old.pid, signal.SIGTERM)
    unit.wait_log(rf"friend 1: ended pid={old.pid} status=0; starting it again in 100 ms", deadline=20)
    wait_until(lambda: node(unit, "friend") and node(unit, "friend").pid != old.pid, what="another friend node")


def test_proxies_end_first_and_chat_last(unit):
    assert unit.stop() == 0
    ended = re.findall(r" unit: (\w+) \d+: ended pid=\d+ status=0$", unit.log, re.M)
    assert sorted(ended) == sorted([*ROLES, "proxy"])
    assert ended[:2] == ["proxy", "proxy"] and ended[-1] == "chat"


def test_a_second_signal_kills(unit):
    pids = [n.pid for n in unit.nodes_now()]
    os.kill(node(unit, "proxy").pid, signal.SIGSTOP)   # this one does not drain
    unit.process.send_signal(signal.SIGINT)
    unit.wait_log("ending: proxies first")
    unit.process.send_signal(signal.SIGINT)
    assert unit.wait_end(5) == 1
    assert not [p for p in pids if is_running(p)]


def test_who_does_not_end_is_killed(make_cluster):
    unit = make_cluster({"node.drain_ms": 100}, units=1, has_nginx=False).units[0]
    stuck = node(unit, "chat", 2)
    os.kill(stuck.pid, signal.SIGSTOP)
    unit.process.send_signal(signal.SIGTERM)
    unit.wait_log(rf"chat 2: does not end; killed pid={stuck.pid}", deadline=20)
    assert unit.wait_end(10) == 1


def test_hup_goes_to_all(unit):
    unit.settings["log.level"] = "debug"
    unit.write_ini()
    unit.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(re.findall("reload: log level is debug", unit.log)) == 7, what="all have read the ini anew")


def test_nothing_outlives_a_supervisor_that_was_killed(unit):
    pids = [n.pid for n in unit.nodes_now()]
    unit.process.kill()
    began = time.monotonic()
    wait_until(lambda: not [p for p in pids if is_running(p)], 15, "all nodes have ended")
    assert time.monotonic() - began < 15 * SLOW
    unit._gone()


@pytest.mark.parametrize("sets, what", [
    ({}, r"\[registry\] url = local:"),
    ({"registry.url": "zookeeper://127.0.0.1:1/x"}, r"\[presence\] url = memory:"),
    ({"registry.url": "zookeeper://127.0.0.1:1/x", "presence.url": "redis://127.0.0.1:1/0"}, r"\[store\] url = sqlite:"),
    ({"registry.url": "zookeeper://127.0.0.1:1/x", "presence.url": "redis://127.0.0.1:1/0", "store.url": "mariadb://a@127.0.0.1:1/x",
      **{f"unit.{r}": 0 for r in ROLES}}, r"\[unit\] says to start nothing"),
])
def test_settings_with_which_no_unit_can_work_are_refused(make_server, sets, what):
    server = make_server(start=False, mode="direct")
    done = server.run("--unit", *[a for k, v in sets.items() for a in ("--set", f"{k}={v}")], settings=False)
    assert done.returncode == 2 and re.search(what, done.stderr), done.stderr
