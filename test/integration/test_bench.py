"""bytetalk-bench, for a moment of each workload: what it counts adds up, and what it can't do it says. No speeds."""
import json
import os
import re
import stat
import subprocess

import pytest

from client import SLOW
from server import BUILD, Server
from servers import _die_with_parent

BENCH = os.path.join(os.environ.get("BYTETALK_BUILD", BUILD), "bytetalk-bench")
ROUTER = os.path.join(os.environ.get("BYTETALK_BUILD", BUILD), "test", "router")
SHORT = ("--seconds", "0.15", "--warm", "0.1", "--users", "60")


@pytest.fixture(scope="module")
def benched(tmp_path_factory):
    """A server that nobody else uses, and where the accounts on it are kept."""
    directory = tmp_path_factory.mktemp("bench")
    server = Server(directory / "data", mode="direct").start()
    server.state = str(directory / "state")
    yield server
    server.end()


@pytest.fixture(scope="module")
def router():
    process = subprocess.Popen([ROUTER, "127.0.0.1:0"], stdout=subprocess.PIPE, text=True, preexec_fn=_die_with_parent)
    yield process.stdout.readline().split()[1]
    process.terminate()
    assert process.wait(10 * SLOW) == 0
    process.stdout.close()


def bench(*args):
    return subprocess.run([BENCH, *map(str, args)], capture_output=True, text=True, timeout=60 * SLOW, check=False)


@pytest.fixture
def results(benched, tmp_path):
    """results(arguments): those of the runs that they ask for, against the server."""
    def run(*args, server=benched, status=0):
        path = tmp_path / "results.json"
        done = bench("--server", server.clients, "--pid", server.process.pid, "--state", server.state, "--json", path, *SHORT, *args)
        assert done.returncode == status, done.stderr
        return json.loads(path.read_text(encoding="utf-8"))["results"]
    return run


def check_counts(r):
    assert r["units"] > 0 and r["sent"] > 0
    assert r["failed"] == 0 and not r["errors"] and r["lost"] == 0
    if r["target"] == "server":
        assert r["ok"] == r["sent"]
        assert r["cpu_s"]["server"] > 0 and r["memory"] > 0
    assert r["delivered"] == r["expected"] > 0
    assert r["units"] <= r["delivered"] == r["sent"] * (r["clients"] - 1 if r["workload"] == "group" else 1)
    assert 0 < r["delivered_us"]["count"] <= r["delivered"]
    assert 0 < r["delivered_us"]["p50"] <= r["delivered_us"]["p99"] <= r["delivered_us"]["max"]


@pytest.mark.parametrize("workload, options", [
    ("pairs", ("--clients", 8)),
    ("single", ("--clients", 20)),
    ("group", ("--clients", 10)),
    ("paced", ("--clients", 8, "--rate", 2000)),
    ("skew", ("--clients", 10, "--conversations", 30)),
    ("pairs", ("--clients", 8, "--window", 4, "--size", "16:3,64:2,4000:1")),
])
def test_what_is_sent_is_answered_and_delivered(results, router, workload, options):
    runs = results("--router", router, *options, workload)
    assert [(r["target"], r["kind"]) for r in runs] == [("server", "signals"), ("server", "messages"), ("router", "messages")]
    for r in runs:
        check_counts(r)


def test_several_addresses_rounds_and_letters(results, benched):
    runs = results("--server", benched.clients, "--rounds", 2, "--kind", "signals", "--clients", 4, "A", "B")
    assert [(r["workload"], r["round"]) for r in runs] == [("pairs", 0), ("single", 0), ("pairs", 1), ("single", 1)]
    for r in runs:
        check_counts(r)


def test_as_many_messages_as_asked_for(results):
    run, = results("--kind", "messages", "--clients", 4, "--messages", 500, "pairs")
    check_counts(run)
    assert 500 <= run["units"] < 500 + 4 * 32


def test_members_of_a_group_who_are_away_get_nothing(results):
    run, = results("--kind", "signals", "--clients", 6, "--members", 12, "group")
    check_counts(run)


def test_what_is_stored_for_those_who_are_away_is_fetched(results):
    stored, drained = results("--clients", 8, "store", "drain")
    assert stored["ok"] == stored["sent"] >= stored["units"] > 0 and stored["delivered"] == 0
    assert drained["units"] == drained["delivered"] == drained["expected"] == drained["ok"] > 0


def test_idle_connections_and_logins(results, router):
    runs = results("--router", router, "--clients", 40, "idle", "login")
    assert [(r["workload"], r["target"]) for r in runs] == [(w, t) for w in ("idle", "login") for t in ("server", "router")]
    for r in runs:
        assert r["lost"] == 0 and r["units"] == 30 if r["workload"] == "idle" else r["units"] > 0


def test_idle_connections_that_are_held_get_a_message_each(benched, router, tmp_path):
    for to in ("--server", benched.clients, "--state", benched.state), ("--router", router):
        held = subprocess.Popen([BENCH, *to, "--json", tmp_path / "json", *SHORT, "--clients", "40", "--hold", "idle"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_die_with_parent)
        assert held.stdout.readline() == "connected 40\n"
        held.communicate("go on\n", timeout=60 * SLOW)
        assert held.returncode == 0
        run, = json.loads((tmp_path / "json").read_text(encoding="utf-8"))["results"]
        assert run["sent"] == run["delivered"] == run["expected"] == run["delivered_us"]["count"] == 40
        assert run["lost"] == run["stray"] == run["failed"] == 0 and not run["errors"]
        assert run["ok"] == (0 if run["target"] == "router" else 40)


def test_the_disk_needs_no_server(tmp_path):
    done = bench("--server", "127.0.0.1:1", "--dir", tmp_path, "--messages", 3, "--state", tmp_path / "state", "--json", tmp_path / "json", "disk")
    assert done.returncode == 0, done.stderr
    run, = json.loads((tmp_path / "json").read_text(encoding="utf-8"))["results"]
    assert run["units"] == run["answered_us"]["count"] == 3
    assert [p.name for p in tmp_path.iterdir()] == ["json"], "it leaves no file behind"


def test_accounts_are_made_once_and_kept_for_their_user_alone(benched, results):
    done = bench("--server", benched.clients, "--state", benched.state, "--users", 60, "prepare")
    assert done.returncode == 0 and "60 accounts" in done.stdout
    assert stat.S_IMODE(os.stat(benched.state).st_mode) == 0o600
    with open(benched.state, encoding="utf-8") as f:
        before = f.read()
    results("--clients", 8, "--kind", "signals", "pairs")
    with open(benched.state, encoding="utf-8") as f:
        assert f.read() == before


def test_refusals_are_counted_and_waited_for(tmp_path, results):
    server = Server(tmp_path / "small", {"chat.queue": 16}, mode="direct").start()
    server.state = str(tmp_path / "small.state")
    try:
        run, = results("--clients", 20, "--kind", "messages", "pairs", server=server)
        assert run["errors"]["RESOURCE_EXHAUSTED"] == run["failed"] > 0
        assert run["ok"] + run["failed"] == run["sent"] and run["delivered"] == run["expected"] == run["ok"] > 0
    finally:
        server.end()


def test_accounts_of_another_server_are_not_taken_for_its_own(benched, tmp_path):
    server = Server(tmp_path / "other", mode="direct").start()
    try:
        done = bench("--server", server.clients, "--state", benched.state, *SHORT, "--clients", 4, "pairs")
        assert done.returncode == 1 and "another server" in done.stderr
    finally:
        server.end()


def test_nobody_there_is_said(tmp_path):
    done = bench("--server", "127.0.0.1:1", "--state", tmp_path / "state", "pairs")
    assert done.returncode == 1 and "bytetalk-bench: a connection to the server broke" in done.stderr
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("args", [
    (), ("nothing",), ("--clients", "0", "pairs"), ("--size", "3", "pairs"), ("--size", "64:0", "pairs"), ("--kind", "both-of-them", "pairs"),
    ("--server", "nowhere", "pairs"), ("--pid", "x", "pairs"), ("--router-pid", "1,", "pairs"), ("--seconds", "long", "pairs"), ("--no-such", "pairs"),
])
def test_wrong_usage_is_told(args):
    done = bench(*args)
    assert done.returncode == 2 and re.fullmatch(r"bytetalk-bench: .*See bytetalk-bench --help\.\n", done.stderr), done.stderr


def test_help_names_every_option_and_workload():
    text = bench("--help").stdout
    for word in ("server", "pid", "router", "router-pid", "kind", "clients", "window", "size", "seconds", "warm", "messages", "rounds", "rate", "members",
                 "conversations", "zipf", "users", "hold", "dir", "bytes", "state", "json", "quiet", "help", "version"):
        assert f"--{word}" in text
    for workload in ("pairs", "single", "group", "idle", "login", "paced", "skew", "store", "drain", "disk", "prepare"):
        assert re.search(rf"^  {workload} ", text, re.M)
