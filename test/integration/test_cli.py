"""bytetalk-cli as people and scripts use it: one command at a time, from a pipe, and at a (pseudo) terminal."""
import base64
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from client import SLOW
from server import BYTETALK, FAULTS, MODE, new_name
from servers import free_port

CLI = os.path.abspath(os.environ.get("BYTETALK_CLI", os.path.join(os.path.dirname(BYTETALK), "bytetalk-cli")))
PASSWORD = "correct horse"

pytestmark = pytest.mark.skipif(MODE == "layer", reason="the command line does not speak the test layer")


class Person:
    """A user at a machine of his own: a state directory."""

    def __init__(self, address, state, name=None):
        self.address, self.state, self.name = address, str(state), name or new_name("cli")

    def environ(self, **more):
        keep = {k: v for k, v in os.environ.items() if not k.startswith("BYTETALK_")}
        return {**keep, "XDG_STATE_HOME": self.state, "BYTETALK_PASSWORD": PASSWORD, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}

    def argv(self, *words, user=True):
        return [CLI, "-s", self.address, *(["-u", self.name] if user else []), *words]

    def run(self, *words, stdin=b"", user=True, code=0, env=None, timeout=30):
        """Run a command; its standard output, bytes. The exit code must be `code`."""
        done = subprocess.run(self.argv(*words, user=user), input=stdin, capture_output=True, env=env or self.environ(),
                              timeout=timeout * SLOW)
        assert not any(f.encode() in done.stderr for f in FAULTS), done.stderr.decode()
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        self.errors = done.stderr.decode()
        return done.stdout

    def text(self, *words, **kw):
        return self.run(*words, **kw).decode()

    def json(self, *words, **kw):
        return [json.loads(line) for line in self.run("--json", *words, **kw).splitlines()]

    def register(self):
        self.run("register")
        return self


@pytest.fixture
def people(server, tmp_path):
    names = iter(range(100))

    def make(n=1, address=None):
        made = [Person(address or server.clients, tmp_path / f"home{next(names)}").register() for _ in range(n)]
        return made if n > 1 else made[0]

    return make


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


# ---- at a terminal


class Terminal:
    """bytetalk-cli on a pseudo-terminal, and what it has drawn so far."""

    def __init__(self, person, *words, user=True, env=None):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(CLI, person.argv(*words, user=user), env or person.environ(TERM="xterm", NO_COLOR="1"))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.seen = 0

    def _read(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # it has ended
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern, timeout=10):
        """Wait until something new matches."""
        end = time.monotonic() + timeout * SLOW
        while True:
            m = re.search(pattern, self.text[self.seen:])
            if m:
                self.seen += m.end()
                return m
            if not self._read(max(0.0, min(0.2, end - time.monotonic()))) and time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} in {self.text[self.seen:]!r}; before: {self.text[:self.seen][-500:]!r}")

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def line(self, text):
        self.type(text + "\r")

    def end(self):
        """Its exit code."""
        end = time.monotonic() + 10 * SLOW
        while time.monotonic() < end:
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                self.pid = 0
                assert not any(f in self.text for f in FAULTS), self.text
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("it does not end: " + self.text[-500:])

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)


@pytest.fixture
def terminal():
    open_ones = []

    def make(person, *words, **kw):
        open_ones.append(Terminal(person, *words, **kw))
        return open_ones[-1]

    yield make
    for t in open_ones:
        t.kill()


def test_two_people_chat(people, terminal):
    alice, bob = people(2)
    a, b = terminal(alice), terminal(bob)
    a.expect(f"{alice.name}> ")
    b.expect(f"{bob.name}> ")
    a.line(f"chat {bob.name}")
    a.expect(f"{bob.name}> ")
    a.line("hello there")
    a.expect(f"you > {bob.name} #1: hello there")
    b.expect(f"{alice.name} #1: hello there")
    b.line(f"chat {alice.name} hi yourself")
    a.expect(f"{bob.name} #2: hi yourself")
    a.line("/history")
    a.expect(f"#1: hello there(.|\n)*#2: hi yourself")
    a.line("/close")
    a.expect(f"{alice.name}> ")
    a.line("quit")
    assert a.end() == 0
    b.type("\x04")
    assert b.end() == 0


def test_what_comes_does_not_tear_the_line_being_typed(people, terminal):
    alice, bob = people(2)
    b = terminal(bob)
    b.expect(f"{bob.name}> ")
    b.type("help ch")
    b.expect("help ch")
    alice.run("send", bob.name, "knock knock")
    # The line goes, the message comes, the line is drawn anew: prompt and text.
    b.expect(r"\r\x1b\[J" + r"\S+ " + alice.name + r" #1: knock knock\r\n" + bob.name + "> help ch")
    b.type("at\r")
    b.expect(r"chat \[NAME \[TEXT\]\]")
    b.line("quit")
    assert b.end() == 0


def test_a_long_line_is_taken_off_the_screen_whole(people, terminal):
    alice, bob = people(2)
    b = terminal(bob)
    b.expect(f"{bob.name}> ")
    b.type("x" * 200)
    b.expect("x{20}")
    time.sleep(0.2)
    alice.run("send", bob.name, "knock")
    b.expect(r"\r(\x1b\[A){2}\x1b\[J\S+ " + alice.name + " #1: knock")
    b.type("\x15")
    b.line("quit")
    assert b.end() == 0


def test_completion_knows_commands_and_names(people, tmp_path, terminal):
    alice = people()
    bob = Person(alice.address, tmp_path / "zoe", new_name("zoe")).register()
    alice.run("addfriend", bob.name)
    bob.run("accept", alice.name)
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    a.line("friends")
    a.expect(bob.name)
    a.expect("> ")
    a.type("whoi\tzo\t\r")
    a.expect(f"{bob.name}, user #")
    a.type("tr\t\r")
    a.expect("transfer needs more")
    a.type("un\t")
    a.expect("unblock +unmute")
    a.type("\x15")
    a.line("quit")
    assert a.end() == 0


def test_registering_at_the_terminal_shows_no_password(server, tmp_path, terminal):
    alice = Person(server.clients, tmp_path / "home")
    env = {**alice.environ(TERM="xterm", NO_COLOR="1")}
    del env["BYTETALK_PASSWORD"]
    name = alice.name
    t = terminal(alice, user=False, env=env)
    t.expect("bytetalk> ")
    t.line(f"register {name}")
    t.expect(f"Password of {name}: ")
    t.line("a secret of mine")
    t.expect("The same again: ")
    t.line("a secret of mine")
    t.expect(f"Logged in as {name}")
    t.expect(f"{name}> ")
    t.line("logout")
    t.expect("Logged out")
    t.line(f"login {name}")
    t.expect(f"Password of {name}: ")
    t.line("a secret of mine")
    t.expect(f"Logged in as {name}")
    t.line("quit")
    assert t.end() == 0
    assert "secret of mine" not in t.text
    for root, _, files in os.walk(alice.state):
        for f in files:
            assert b"secret of mine" not in open(os.path.join(root, f), "rb").read()


def test_lines_typed_are_had_again_in_the_next_run(people, terminal):
    alice = people()
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    a.line("help history")
    a.expect("Show messages of a conversation")
    a.line("quit")
    assert a.end() == 0
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    a.type("\x1b[A\x1b[A")
    a.expect("help history")
    a.type("\r")
    a.expect("Show messages of a conversation")
    a.line("quit")
    assert a.end() == 0


def test_unread_messages_are_told_at_login(people, terminal):
    alice, bob = people(2)
    for n in range(3):
        alice.run("send", bob.name, f"message {n}")
    b = terminal(bob)
    b.expect(f"3 unread from {alice.name}")
    b.line(f"chat {alice.name}")
    b.expect(f"{alice.name}> ")
    b.line("/quit")
    assert b.end() == 0
    b = terminal(bob)
    b.expect(f"{bob.name}> ")
    b.line("unread")
    b.expect(f"{alice.name} +0 unread")
    b.line("quit")
    assert b.end() == 0


def test_a_lost_server_is_told_and_what_was_typed_is_sent_later(make_server, tmp_path, terminal):
    server = make_server({"proxy.listen": f"127.0.0.1:{free_port()}"})
    alice, bob = (Person(server.clients, tmp_path / n).register() for n in ("a", "b"))
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    a.line(f"chat {bob.name}")
    a.expect(f"{bob.name}> ")
    server.kill()
    a.expect("connection is lost")
    a.line("into the dark")
    server.start()
    a.expect("Connected again")
    a.expect("#1: into the dark")
    a.line("/quit")
    assert a.end() == 0
    assert [m["body"] for m in bob.json("history", alice.name)] == ["into the dark"]


def test_ctrl_c_gives_a_fresh_line_and_ctrl_d_ends(people, terminal):
    alice = people()
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    a.type("half a comm")
    a.expect("half a comm")
    a.type("\x03")
    a.expect(rf"\^C\r\n{alice.name}> ")
    a.line("help quit")
    a.expect("the session stays")
    a.type("\x04")
    assert a.end() == 0


# ---- two programs of one user on one machine


def test_a_command_beside_an_open_chat_leaves_it_alone(people, terminal):
    alice, bob = people(2)
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    for n in range(3):
        assert alice.text("send", bob.name, f"from beside {n}") == f"#{n + 1}\n"
    assert len(alice.json("sessions")) == 2  # the chat's, and its own
    a.line(f"chat {bob.name} from inside")
    a.expect("#4: from inside")
    assert "connection is lost" not in a.text
    alice.run("logout", code=1)
    assert "Another bytetalk-cli" in alice.errors
    a.line("sessions")
    a.expect(r"\(this one\)")
    a.line("quit")
    assert a.end() == 0
    assert "connection is lost" not in a.text
    assert len(alice.json("sessions")) == 1  # what the commands began, they ended


def test_a_command_beside_an_open_chat_needs_the_password(people, terminal):
    alice, bob = people(2)
    no_password = {k: v for k, v in alice.environ().items() if k != "BYTETALK_PASSWORD"}
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    alice.run("send", bob.name, "hello", env=no_password, code=2)
    assert f"Another bytetalk-cli is at work in the session that {alice.name} has here" in alice.errors
    assert "BYTETALK_PASSWORD" in alice.errors
    a.line("quit")
    assert a.end() == 0
    assert alice.text("send", bob.name, "hello", env=no_password) == "#1\n"


def test_two_chats_of_one_user_do_not_throw_each_other_out(people, terminal):
    alice, bob = people(2)
    a = terminal(alice)
    a.expect(f"{alice.name}> ")
    b = terminal(alice)
    b.expect("Another bytetalk-cli is at work", timeout=15)
    b.expect("Logged in as")
    bob.run("send", alice.name, "to both")
    a.expect("#1: to both")
    b.expect("#1: to both")
    b.line(f"chat {bob.name} from the second")
    a.expect("#2: from the second")
    for t in (b, a):
        t.line("quit")
        assert t.end() == 0
        assert "connection is lost" not in t.text
    assert len(alice.json("sessions")) == 1


def test_many_commands_at_once_all_succeed(people):
    alice, bob = people(2)
    running = [subprocess.Popen(alice.argv("send", bob.name, f"{n}"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=alice.environ())
               for n in range(6)]
    done = [(p.communicate(timeout=30 * SLOW), p.returncode) for p in running]
    assert all(code == 0 for _, code in done), done
    assert sorted(m["seq"] for m in bob.json("history", alice.name)) == [1, 2, 3, 4, 5, 6]


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
