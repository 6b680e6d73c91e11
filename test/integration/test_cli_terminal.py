"""bytetalk-cli as people use it, at a (pseudo) terminal, also beside another one of the same user."""
import os
import subprocess
import time

from cli import Person, not_over_the_layer
from client import SLOW
from server import new_name
from servers import free_port

pytestmark = not_over_the_layer


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
