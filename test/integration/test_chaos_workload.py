"""The chaos test's workload program, for some seconds: what it writes down is whole, and it does all that it is there for."""
import collections
import json
import os
import resource
import signal
import struct
import subprocess
import time

import pytest

from client import SLOW
from server import BUILD

PROGRAM = os.path.join(os.path.abspath(os.environ.get("BYTETALK_BUILD", BUILD)), "test", "chaos-workload")
LIMIT_S = 60 * SLOW

# test/chaos/history.h
RECORD = struct.Struct("<7QI4B")
Record = collections.namedtuple("Record", "at target seq user op refers id device type what outcome status")
RUN, USER, DEVICE, OPEN, STATE, SYNCED, CLOSED, CALL, DONE, MESSAGE, PAGE, RECEIPT, MARKS, PHASE = range(1, 15)
REGISTER, LOGIN, SEND, EDIT, RECALL, SIGNAL, MARK_READ, HISTORY, LIST, FRIEND = range(1, 11)
CREATE, JOIN, LEAVE, INVITE, KICK, MUTE, ROLE, DISBAND = range(11, 19)
SETUP, LOAD, QUIET, FINAL, END = range(1, 6)
OK, NOT_DONE, UNSURE = range(3)
READY = 3
BAD_BODY = 2**64 - 1


def command(server, directory, *args):
    return [PROGRAM, "--servers", server.clients,
            "--dir", str(directory), *map(str, args)]


def records(directory, is_whole=True):
    with open(os.path.join(directory, "history.bin"), "rb") as f:
        data = f.read()
    over = len(data) % RECORD.size
    assert not over or not is_whole
    return [Record(*r) for r in RECORD.iter_unpack(data[:len(data) - over])]


def kinds_done(rows):
    """How often each kind of operation was answered OK."""
    what = {r.op: r.what for r in rows if r.type == CALL}
    return collections.Counter(what[r.op] for r in rows if r.type == DONE and r.outcome == OK)


def missing_kinds(rows):
    return set(range(REGISTER, DISBAND + 1)) - set(kinds_done(rows)) - {MARK_READ}


class Process:
    """The program, told on its standard input how far to go."""

    def __init__(self, *args):
        self.p = subprocess.Popen(command(*args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []

    def until(self, cond):
        for text in self.p.stdout:
            self.lines.append(json.loads(text))
            if cond(self.lines[-1]):
                return
        raise AssertionError(self.p.stderr.read())

    def tell(self, *words):
        self.p.stdin.write("".join(w + "\n" for w in words))
        self.p.stdin.flush()

    def end(self):
        out, err = self.p.communicate(timeout=LIMIT_S)
        self.lines += [json.loads(text) for text in out.splitlines()]
        return self.p.returncode, err


@pytest.fixture(scope="module")
def run(request, tmp_path_factory):
    """One run, looked at by several tests: (records, lines)."""
    from conftest import _new
    server = _new(request, tmp_path_factory.mktemp("server"), {}, mode="direct").start()
    directory = tmp_path_factory.mktemp("run")
    try:
        p = Process(server, directory, "--users", 30, "--rate", 250, "--stay-ms", 1500, "--others", 800, "--resend-raw", 50)
        # Some seconds, usually: the rare kinds take turns.
        deadline = time.monotonic() + LIMIT_S
        p.until(lambda line: line["phase"] == "load" and line["operations"] > 1800 and
                (not missing_kinds(records(directory, is_whole=False)) or time.monotonic() > deadline))
        p.tell("quiet")
        p.until(lambda line: line["phase"] == "quiet" and line["done"])
        p.tell("final", "end")
        code, err = p.end()
    finally:
        server.end()
    assert code == 0, err
    return records(directory), p.lines


def test_what_is_written_down_is_well_formed(run):
    rows, _ = run
    assert rows[0].type == RUN and rows[0].op == 1
    assert all(a.at <= b.at for a, b in zip(rows, rows[1:]))
    assert [r.what for r in rows if r.type == PHASE] == [SETUP, LOAD, QUIET, FINAL, END]
    users = {r.user for r in rows if r.type == USER}
    devices = {r.device: r.user for r in rows if r.type == DEVICE}
    assert len(users) == 30 and set(devices.values()) == users and sorted(devices) == list(range(1, len(devices) + 1))
    assert {r.device for r in rows if r.device} <= set(devices)


def test_every_operation_has_one_call_and_then_one_end(run):
    rows, _ = run
    calls = [r for r in rows if r.type == CALL]
    assert [r.op for r in calls] == list(range(1, len(calls) + 1))
    called = {}
    for r in rows:
        if r.type == CALL:
            called[r.op] = r
        elif r.type == DONE:
            assert called.pop(r.op).device == r.device
    assert not called


def test_a_device_is_handed_messages_only_while_it_is_open_and_each_once(run):
    rows, _ = run
    is_open, last = set(), {}
    for r in rows:
        if r.type == OPEN:
            assert r.device not in is_open
            is_open.add(r.device)
            last = {k: v for k, v in last.items() if k[0] != r.device}
        elif r.type == CLOSED:
            is_open.remove(r.device)
        elif r.type in (MESSAGE, STATE, SYNCED):
            assert r.device in is_open
        if r.type == MESSAGE:
            assert r.seq > last.get((r.device, r.target), 0) and r.op != BAD_BODY
            last[r.device, r.target] = r.seq


def test_every_kind_of_operation_succeeds_sometimes(run):
    rows, _ = run
    what = {r.op: r.what for r in rows if r.type == CALL}
    assert not missing_kinds(rows) and MARK_READ in what.values()
    # Blocks, strangers and those who were kicked: some is refused too, and nothing is unsure but where a connection was left.
    raw = {r.device for r in rows if r.type == DEVICE and r.what == 3}
    assert any(r.type == DONE and r.outcome == NOT_DONE for r in rows)
    assert all(r.status == 1 for r in rows
               if r.type == DONE and r.outcome == UNSURE and what[r.op] != MARK_READ and r.device not in raw)


def test_devices_leave_come_back_and_are_handed_some_messages_again(run):
    rows, _ = run
    load, quiet, final = (next(i for i, r in enumerate(rows) if r.type == PHASE and r.what == p) for p in (LOAD, QUIET, FINAL))
    assert sum(r.type == CLOSED for r in rows[load:quiet]) > 10
    handed = collections.Counter((r.device, r.target, r.seq) for r in rows if r.type == MESSAGE)
    assert max(handed.values()) > 1
    raw = {r.device for r in rows if r.type == DEVICE and r.what == 3}
    assert {r.device for r in rows[final:] if r.type == STATE and r.what == READY} == {r.device for r in rows if r.type == DEVICE} - raw
    assert any(r.type == DONE and r.device in raw and r.outcome == OK for r in rows)


def test_in_the_end_the_sender_reads_all_that_was_acknowledged(run):
    rows, _ = run
    user_of = {r.device: r.user for r in rows if r.type == DEVICE}
    calls = {r.op: r for r in rows if r.type == CALL}
    final = next(r.at for r in rows if r.type == PHASE and r.what == FINAL)
    read = {(user_of[r.device], r.target, r.seq): r.op for r in rows if r.type == PAGE and r.at > final}
    sent = {(user_of[r.device], calls[r.op].target, r.seq): r.op for r in rows
            if r.type == DONE and calls[r.op].what == SEND and r.outcome == OK}
    changed = {(calls[r.op].target, calls[r.op].refers) for r in rows if r.type == DONE and calls[r.op].what in (EDIT, RECALL)}
    # Who has left a group since reads it up to there; whose first device is not the one that sent reads it all the same.
    group = 1 << 63
    private = {k: op for k, op in sent.items() if not k[1] & group}
    assert len(private) > 200
    for (user, target, seq), op in private.items():
        assert read[user, target, seq] == op or (target, seq) in changed or (user, seq) in changed


def test_a_line_each_second_says_how_far_it_is(run):
    _, lines = run
    assert [p for i, p in enumerate(x["phase"] for x in lines) if i == 0 or lines[i - 1]["phase"] != p] == ["setup", "load", "quiet", "final", "end"]
    for name in ("at_us", "acked", "not_done", "unsure", "messages", "operations"):
        assert all(a[name] <= b[name] for a, b in zip(lines, lines[1:]))
    assert lines[-1]["open"] == 0 and lines[-1]["acked"] > 300
    assert all(x["queued"] <= x["open"] and x["slowest_ms"] >= 0 and x["devices_ready"] >= 0 for x in lines)


def plan_of(rows):
    """Who there is, without the numbers that the server gave."""
    users = {r.user: n for n, r in enumerate(r for r in rows if r.type == USER)}
    user_of = {r.device: users[r.user] for r in rows if r.type == DEVICE}
    load = next(r.at for r in rows if r.type == PHASE and r.what == LOAD)
    calls = [r for r in rows if r.type == CALL and r.at < load]
    groups = collections.defaultdict(set)
    for r in calls:
        if r.what == JOIN:
            groups[r.target].add(user_of[r.device])
    return ([(r.device, users[r.user], r.what) for r in rows if r.type == DEVICE], sorted(map(sorted, groups.values())),
            sorted(r.device for r in calls if r.what == LOGIN))


def test_a_seed_gives_the_same_users_again_and_a_signal_ends_it_with_what_was_recorded(run, make_server, tmp_path):
    server = make_server(mode="direct")
    p = Process(server, tmp_path, "--users", 30, "--rate", 250)
    p.until(lambda line: line["phase"] == "load")
    p.p.send_signal(signal.SIGTERM)
    code, err = p.end()
    assert code == 1 and "ended by signal" in err
    assert plan_of(records(tmp_path)) == plan_of(run[0])

    # Another seed is another town; a history that can't be written ends the run.
    def small_files():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
    full = subprocess.run(command(server, tmp_path / "full", "--users", 8, "--seed", 2, "--seconds", 30), preexec_fn=small_files,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=LIMIT_S)
    assert full.returncode == 1 and "history.bin: " in full.stderr


def test_it_says_what_is_wrong_with_its_arguments():
    for args in ([], ["--servers", "nowhere", "--dir", "x"], ["--servers", "h:1", "--dir", "x", "--rate", "fast"], ["--frobnicate"]):
        p = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=LIMIT_S)
        assert p.returncode == 2 and p.stderr
    p = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, timeout=LIMIT_S)
    assert p.returncode == 0 and "--servers" in p.stdout
