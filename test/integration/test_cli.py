"""bytetalk-cli as scripts use it, one command at a time and from a pipe, and what then counts as read."""
import base64
import json
import os
import re
import subprocess
import time

import pytest

from cli import CLI, PASSWORD, Person, not_over_the_layer
from client import SLOW
from server import new_name
from servers import free_port

pytestmark = not_over_the_layer


# ---- one command at a time


def test_a_session_is_kept_for_later_commands(people):
    alice = people()
    no_password = {k: v for k, v in alice.environ().items() if k != "BYTETALK_PASSWORD"}
    assert f"Logged in as {alice.name}" in alice.text("login", env=no_password)
    assert alice.text("whois", alice.name, env=no_password).startswith(f"{alice.name}, user #")
    alice.run("logout", env=no_password)
    alice.run("friends", env=no_password, code=2)
    assert "BYTETALK_PASSWORD" in alice.errors
    alice.run("friends")


def test_a_message_gets_its_number_and_arrives_once(people):
    alice, bob = people(2)
    assert alice.text("send", bob.name, "hello bob") == "#1\n"
    assert alice.json("send", bob.name, "and again")[0]["seq"] == 2
    first = bob.json("tail", "--count", "1", "--timeout", "10")
    assert [(m["seq"], m["sender"], m["body"]) for m in first] == [(1, alice.name, "hello bob")]
    rest = bob.json("tail", "--count", "1", "--timeout", "10")
    assert [(m["seq"], m["body"]) for m in rest] == [(2, "and again")]
    bob.run("tail", "--count", "1", "--timeout", "1", code=1)


def test_tail_waits_for_what_comes(people):
    alice, bob = people(2)
    tail = subprocess.Popen(bob.argv("tail", "--json", "--count", "2", "--timeout", "20"), stdout=subprocess.PIPE, env=bob.environ())
    alice.run("send", bob.name, "one")
    assert json.loads(tail.stdout.readline())["body"] == "one"
    alice.run("send", bob.name, "two")
    assert json.loads(tail.stdout.readline())["body"] == "two"
    assert tail.wait(10 * SLOW) == 0
    tail.stdout.close()


def test_tail_from_the_start_tells_everything_each_time(people):
    alice, bob = people(2)
    for n in range(5):
        alice.run("send", bob.name, f"message {n}")
    for _ in range(2):
        told = bob.json("tail", "--from-start", "--count", "5", "--timeout", "10")
        assert [m["body"] for m in told] == [f"message {n}" for n in range(5)]


@pytest.mark.parametrize("body", [b"\x00\x01\x02", b"\xff\xfe", b'"quotes" \\ back', "Grüße 🎉".encode(), b"\x1b[31mred\x07\x7f",
                                  b"two\nlines\n"])
def test_any_bytes_come_through_as_json(people, body):
    alice, bob = people(2)
    alice.run("send", bob.name, "-", stdin=body)
    m = alice.json("history", bob.name)[0]
    assert (m["body"].encode() if "body" in m else base64.b64decode(m["body_base64"])) == body


def test_no_text_commands_the_terminal(people):
    alice, bob = people(2)
    alice.run("send", bob.name, "\x1b]0;title\x07\x1b[2J \u202egnp \x9b31m bell\x07\r\nfake line")
    for out in (bob.run("history", alice.name), bob.run("conversations"), bob.run("tail", "--count", "1", "--timeout", "10")):
        assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae", out), out
    assert "\\x1b[2J" in bob.text("history", alice.name)


def test_edits_and_recalls_are_shown_as_such(people):
    alice, bob = people(2)
    alice.run("send", bob.name, "teh text")
    alice.run("send", bob.name, "a secret")
    assert alice.text("edit", bob.name, "1", "the text") == "#3\n"
    alice.run("recall", bob.name, "2")
    shown = bob.text("history", alice.name).splitlines()
    assert shown[0].endswith("#1: the text (edited)")
    assert "secret" not in "".join(shown)
    assert shown[2].endswith("#3: (edits #1) the text")
    assert shown[3].endswith("#4: (took back #2)")
    assert [m["kind"] for m in bob.json("history", alice.name)] == ["text", "text", "edit", "recall"]


def test_history_is_paged(people):
    alice, bob = people(2)
    lines = "".join(f"chat {bob.name} line {n}\n" for n in range(1, 31))
    alice.run(stdin=lines.encode())
    assert [m["seq"] for m in bob.json("history", alice.name, "5")] == [26, 27, 28, 29, 30]
    assert [m["seq"] for m in bob.json("history", alice.name, "before", "26", "3")] == [23, 24, 25]
    assert [m["body"] for m in bob.json("history", alice.name, "from", "29")] == ["line 29", "line 30"]
    assert len(bob.run("history", alice.name, "--json", "7").splitlines()) == 7
    bob.run("history", alice.name, "501", code=2)


def test_friends(people):
    alice, bob = people(2)
    assert "no answer yet" in alice.text("addfriend", bob.name)
    assert [(f["name"], f["state"]) for f in bob.json("friends")] == [(alice.name, "request_received")]
    assert "friend" in bob.text("accept", alice.name)
    assert [(f["name"], f["state"]) for f in alice.json("showfriendlist")] == [(bob.name, "friends")]
    bob.run("block", alice.name)
    alice.run("send", bob.name, "hello?", code=1)
    assert "PERMISSION_DENIED" in alice.errors
    bob.run("unblock", alice.name)
    alice.run("send", bob.name, "hello!")
    alice.run("delfriend", bob.name)


def test_groups(people):
    alice, bob, carol = people(3)
    name = new_name("club")
    gid = alice.json("creategroup", name, "invitation")[0]["group_id"]
    carol.run("join", f"#{gid}", code=1)
    alice.run("invite", name, bob.name)
    assert [(g["name"], g["my_pending"]) for g in bob.json("groups")] == [(name, "invited")]
    assert bob.text("join", name) == "Joined.\n"
    alice.run("invite", name, carol.name)
    carol.run("refuse", name)
    assert alice.text("send", "--group", name, "welcome") == "#3\n"
    assert [m["kind"] for m in bob.json("history", "--group", name)][-1] == "text"
    assert bob.text("groupchat", name, "thanks") == ""
    assert [m["body"] for m in alice.json("history", "--group", name, "1")] == ["thanks"]
    alice.run("mute", name, bob.name, "10m")
    bob.run("send", "--group", name, "mmm", code=1)
    alice.run("unmute", name, bob.name)
    alice.run("role", name, bob.name, "admin")
    assert {m["name"]: m["role"] for m in bob.json("members", name)} == {alice.name: "owner", bob.name: "admin"}
    alice.run("setgroup", name, "about", "what it is about")
    assert bob.json("group", name)[0]["about"] == "what it is about"
    alice.run("leave", name, code=1)
    alice.run("transfer", name, bob.name)
    alice.run("leave", name)
    bob.run("disband", name)
    bob.run("send", "--group", f"#{gid}", "anyone?", code=1)


def test_a_name_that_is_not_unique_is_asked_about(people):
    alice = people()
    name = new_name("twin")
    ids = [alice.json("creategroup", name)[0]["group_id"] for _ in range(2)]
    listed = alice.text("send", "--group", name, "to whom?", code=2)
    assert all(f"#{i}" in listed for i in ids)
    assert alice.text("send", "--group", f"#{ids[1]}", "to you") == "#2\n"


def test_exit_codes(people, tmp_path):
    alice = people()
    nowhere = Person(f"127.0.0.1:{free_port()}", tmp_path / "nowhere")
    nowhere.run("register", code=3)
    assert "No server was reached" in nowhere.errors
    alice.run("send", "nobody-by-this-name", "hello", code=1)
    alice.run("frobnicate", code=2)
    alice.run("send", code=2)
    alice.run("friends", user=False, code=2)
    wrong = Person(alice.address, tmp_path / "wrong", alice.name)
    wrong.run("login", env=wrong.environ(BYTETALK_PASSWORD="not this one"), code=1)
    assert "wrong" in wrong.errors
    assert subprocess.run([CLI, "--nonsense"], capture_output=True).returncode == 2
    assert b"Exit codes" in subprocess.run([CLI, "--help"], capture_output=True, check=True).stdout
    assert subprocess.run([CLI, "--version"], capture_output=True, check=True).stdout.startswith(b"bytetalk-cli ")


def test_the_password_comes_from_a_file_too(people, tmp_path):
    alice = people()
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\nsecond line\n")
    other = Person(alice.address, tmp_path / "other", alice.name)
    env = {k: v for k, v in other.environ().items() if k != "BYTETALK_PASSWORD"}
    other.run("--password-file", str(secret), "login", env=env)
    assert len(other.json("sessions", env=env)) == 2


def test_the_state_is_private(people):
    alice = people()
    found = []
    for root, dirs, files in os.walk(os.path.join(alice.state, "bytetalk")):
        found += files
        for name in dirs + files:
            assert os.stat(os.path.join(root, name)).st_mode & 0o077 == 0, name
    assert "state" in found


# ---- from a pipe


def test_commands_from_a_pipe_run_one_after_the_other(people):
    alice, bob = people(2)
    script = f"login {alice.name}\nchat {bob.name} piped\nhistory {bob.name}\nno-such-command\nchat {bob.name} still here\n"
    out = alice.text(stdin=script.encode(), user=False, code=2)
    assert "#1: piped" in out
    assert "no-such-command" in alice.errors
    assert [m["body"] for m in bob.json("history", alice.name)] == ["piped", "still here"]


def test_what_was_sent_survives_crashes_in_order_and_once(make_server, tmp_path):
    server = make_server({"proxy.listen": f"127.0.0.1:{free_port()}"})
    alice, bob = (Person(server.clients, tmp_path / n).register() for n in ("a", "b"))
    count = 150
    sender = subprocess.Popen(alice.argv(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=alice.environ())
    tail = subprocess.Popen(bob.argv("tail", "--json", "--count", str(count), "--timeout", "90"), stdout=subprocess.PIPE, env=bob.environ())
    sender.stdin.write("".join(f"chat {bob.name} message {n}\n" for n in range(count)).encode())
    sender.stdin.close()
    told = []
    for n, line in enumerate(tail.stdout):
        told.append(json.loads(line))
        if n in (20, 60, 100):
            server.kill()
            server.start()
    assert tail.wait(10) == 0
    assert sender.wait(60 * SLOW) == 0, sender.stderr.read()
    sender.stderr.close()
    tail.stdout.close()
    assert [m["body"] for m in told] == [f"message {n}" for n in range(count)]
    assert [m["seq"] for m in told] == list(range(1, count + 1))


# ---- what counts as read


def unread(person):
    return sum(c["unread"] for c in person.json("conversations"))


def wait_until_all_is_read(person):
    end = time.monotonic() + 10 * SLOW
    while unread(person):
        assert time.monotonic() < end, person.text("conversations")


def test_what_was_printed_at_a_terminal_counts_as_read(people, terminal):
    alice, bob = people(2)
    alice.run("send", bob.name, "while away")
    assert unread(bob) == 1
    b = terminal(bob)
    b.expect("#1: while away")
    alice.run("send", bob.name, "and now")
    b.expect("#2: and now")
    wait_until_all_is_read(bob)
    b.line("quit")
    assert b.end() == 0


def test_what_a_script_read_counts_as_read_only_if_it_says_so(people):
    alice, bob = people(2)
    for n in range(2):
        alice.run("send", bob.name, "hello")
    bob.run("history", alice.name)
    bob.run("tail", "--count", "1", "--timeout", "10")
    assert unread(bob) == 2
    bob.run("tail", "--count", "1", "--timeout", "10", "--mark-read")
    assert unread(bob) == 0
    alice.run("send", bob.name, "again")
    assert bob.json("history", alice.name, "--mark-read")[-1]["body"] == "again"
    assert unread(bob) == 0


COMMANDS = ("help register login chat groupchat addfriend accept delfriend showfriendlist creategroup addgroup leavegroup delgroup "
            "members history recall edit loginout quit")


def test_the_commands_that_people_know_are_there():
    for word in COMMANDS.split():
        done = subprocess.run([CLI, "help", word], capture_output=True, timeout=10 * SLOW)
        assert done.returncode == 0 and done.stdout, (word, done.stderr)
