"""What the operator does: look, set, check, back up, upgrade, stop."""
import os
import re
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import threading
import time

import pytest

from client import SLOW, Closed, msg_id, wait_until
from load import Ledger, Writer, run
from server import BYTETALK, Server
from wire import ROOT, key_of


def bytetalk(*args, cwd=None, stdin=None):
    env = {**os.environ, "ASAN_OPTIONS": "verify_asan_link_order=0"}
    return subprocess.run([BYTETALK, *args], capture_output=True, text=True, cwd=cwd, input=stdin, env=env, timeout=30 * SLOW,
                          check=False)


def test_version_and_help():
    done = bytetalk("--version")
    assert done.returncode == 0 and re.fullmatch(r"ByteTalk \d+\.\d+\.\d+\n", done.stdout)
    done = bytetalk("--help")
    assert done.returncode == 0
    for word in ("--role", "--set", "--check", "--passwd", "--disable", "--backup"):
        assert word in done.stdout


@pytest.mark.parametrize("args", [["--frobnicate"], ["--role=janitor"], ["--set", "chat.window"], ["--set", "chat.windov=3"],
                                  ["--set", "chat.window=many"], ["--set", "rpc.local=sometimes"], ["--config=/no/such.ini"],
                                  ["--set", "chat.window=-1"], ["stray"]], ids=" ".join)
def test_wrong_arguments_stop_the_start(args, tmp_path):
    done = bytetalk(*args, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("bytetalk: ") or "bytetalk" in done.stderr
    assert not os.listdir(tmp_path), "nothing is made before the settings are right"


@pytest.mark.parametrize("line, word", [("windov = 3", "windov"), ("window = many", "window"), ("[chad]\nwindow = 3", "chad"),
                                        ("window = 3\nwindow = 4", "window"), ("window", "value")])
def test_a_mistake_in_the_ini_names_file_and_line(tmp_path, line, word):
    ini = tmp_path / "my.ini"
    ini.write_text("# a comment\n[chat]\nbody_max = 65536\n" + line + "\n")
    done = bytetalk(f"--config={ini}", cwd=tmp_path)
    assert done.returncode == 2
    at = re.search(r"my\.ini:(\d+)", done.stderr)
    assert at and int(at.group(1)) in (4, 5) and word in done.stderr, done.stderr
    assert os.listdir(tmp_path) == ["my.ini"]


def test_set_wins_over_the_file(tmp_path, make_server):
    (tmp_path / "bytetalk.ini").write_text("[chat]\nstrangers = no\nbody_max = 100\n")
    server = make_server({"chat.strangers": "yes"}, args=[f"--config={tmp_path}/bytetalk.ini"])
    a, b = server.users("ann", "ben")
    a.send(b.user_id, "strangers may")
    assert a.hello.max_body_bytes == 100
    a.refused("INVALID_ARGUMENT", "Send", target=b.user_id, client_msg_id=msg_id(), body=b"x" * 101)


def test_the_ini_that_is_shipped_shows_every_default():
    printed = bytetalk("--print-config").stdout
    with open(os.path.join(ROOT, "bytetalk.ini"), encoding="utf-8") as f:
        assert f.read() == printed, "bytetalk --print-config > bytetalk.ini makes it right"


def test_check_says_what_would_run_and_changes_nothing(tmp_path):
    d = tmp_path / "data"
    done = bytetalk("--check", "--set", f"data.dir={d}", "--set", "proxy.listen=127.0.0.1:0", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("proxy", "user", "friend", "group", "offline", "chat", "sqlite:bytetalk.db"):
        assert word in done.stdout
    assert not os.listdir(tmp_path)
    done = bytetalk("--check", "--set", f"data.dir={d}", "--set", "proxy.listen=nowhere", cwd=tmp_path)
    assert done.returncode != 0 and "nowhere" in done.stdout + done.stderr


def test_check_beside_a_running_server(server):
    assert server.run("--check").returncode == 0
    server.user()


def test_a_second_process_is_refused_with_the_first_ones_pid(server):
    done = server.run()
    assert done.returncode == 1
    assert str(server.process.pid) in done.stderr
    server.user()


def test_a_killed_server_leaves_no_lock(make_server):
    server = make_server()
    server.kill()
    server.start()


def test_the_data_directory_is_for_nobody_else(make_server):
    server = make_server()
    server.user()
    for name in os.listdir(server.dir):
        mode = stat.S_IMODE(os.stat(os.path.join(server.dir, name)).st_mode)
        assert mode & 0o077 == 0, f"{name} is {mode:o}"


def test_listening_beyond_loopback_is_warned_of(make_server):
    server = make_server({"proxy.listen": "0.0.0.0:0"})
    assert re.search(r"warn.*(TLS|encrypt)", server.log, re.I)
    assert not re.search(r"warn.*(TLS|encrypt)", make_server().log, re.I)


def test_backup_of_a_running_server_is_restored(make_server, tmp_path):
    server = make_server()
    a, b, c = server.users("ann", "ben", "cat")
    writers = [Writer(a, [b.user_id]), Writer(b, [c.user_id])]
    run(writers, 0.2)
    before = {k: seq for w in writers for k, seq in w.acked.items()}
    copy = tmp_path / "backup.db"
    done = []
    thread = threading.Thread(target=lambda: done.append(server.run(f"--backup={copy}")))
    thread.start()
    while thread.is_alive():
        run(writers, 0.05)
    thread.join()
    assert done[0].returncode == 0, done[0].stderr
    assert stat.S_IMODE(os.stat(copy).st_mode) & 0o077 == 0
    assert server.run(f"--backup={copy}").returncode != 0, "it does not write over a file"
    run(writers, 0.1)
    assert server.stop() == 0
    for w in writers:
        w.broke()

    restored = make_server(start=False)
    shutil.copy(copy, os.path.join(restored.dir, "bytetalk.db"))
    restored.start()
    ledger = Ledger()
    people = {}
    for w in writers:
        people[w.user_id] = restored.connect()
        people[w.user_id].login(w.name)
    for w in writers:
        w.acked = {k: seq for k, seq in w.acked.items() if k in before}
        ledger.check(key_of(w.user_id, w.targets[0]), w.targets[0], people[w.user_id], [w])
    assert not ledger.lost, ledger.lost[:5]
    c2 = restored.connect()
    c2.login(c.name)
    people[a.user_id].send(c.user_id, "life goes on")
    c2.event("OnMessage")


def db(server):
    return os.path.join(server.dir, "bytetalk.db")


def test_a_newer_schema_is_refused(make_server):
    server = make_server()
    server.user()
    assert server.stop() == 0
    with sqlite3.connect(db(server)) as con:
        version, = con.execute("SELECT version FROM schema_version").fetchone()
        con.execute("UPDATE schema_version SET version = ?", (version + 1,))
    con.close()
    server.spawn()
    assert server.wait_end() == 1
    assert "newer" in server.log
    assert server.run("--check").returncode != 0
    with sqlite3.connect(db(server)) as con:
        con.execute("UPDATE schema_version SET version = ?", (version,))
    con.close()
    server.start()


def test_sigterm_drains(make_server):
    """Clients are told to go, what was taken is answered, and the process ends with 0."""
    server = make_server({"proxy.drain_spread_ms": 300})
    a, b = server.users("ann", "ben")
    calls = [a.start("Send", target=b.user_id, client_msg_id=msg_id(), body=b"%d" % i) for i in range(60)]
    server.process.send_signal(signal.SIGTERM)
    bye = a.event("OnGoAway")
    assert bye.within_ms > 0
    b.event("OnGoAway")
    for call in calls:
        reply = a.wait(call)
        assert reply.status in ("OK", "UNAVAILABLE"), reply
    acked = [c.reply.msg.seq for c in calls if c.reply.status == "OK"]
    a.wait_closed()
    assert server.wait_end() == 0
    server.start()
    again = server.connect()
    again.resume(a.token)
    log = []
    while True:
        page = again.ok("History", target=b.user_id, from_seq=len(log) + 1)
        log += page.messages
        if len(log) >= page.head_seq:
            break
    assert len(log) == len(acked) and [m.seq for m in log] == acked


def test_new_connections_are_not_taken_while_draining(make_server):
    server = make_server()
    a = server.user()
    server.process.send_signal(signal.SIGTERM)
    a.event("OnGoAway")
    def refused():
        try:
            server.connect()
            return False
        except (OSError, Closed, AssertionError):
            return True
    wait_until(refused, 3)
    assert server.wait_end() == 0


def test_a_second_sigterm_ends_at_once(make_server):
    server = make_server({"node.drain_ms": 60000})
    a = server.user()
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    a.event("OnGoAway")
    server.process.send_signal(signal.SIGTERM)
    assert server.wait_end() == 1
    assert time.monotonic() - start < 2 * SLOW
    server.start()


def test_a_port_that_is_taken_is_named(make_server):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)
        address = f"127.0.0.1:{s.getsockname()[1]}"
        server = make_server({"proxy.listen": address}, start=False)
        server.spawn()
        assert server.wait_end() == 1
        assert address in server.log


def test_a_directory_that_cannot_be_written_is_named(make_server, tmp_path):
    f = tmp_path / "a file"
    f.write_text("")
    server = Server(tmp_path / "d", {"data.dir": f / "data"})
    server.spawn()
    assert server.wait_end() in (1, 2)
    assert "a file" in server.log


def test_roles_can_be_left_out(make_server):
    server = make_server(roles="proxy,user")
    c = server.user()
    assert c.call("Send", target=c.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=2000).status == "UNAVAILABLE"
    assert c.ok("GetProfile").user_id == c.user_id
