"""bytetalk-cli admin: what those who run the servers ask of nodes, with the secret that nodes share."""
import json
import os
import signal
import subprocess
import time

import pytest

from cli import CLI
from client import SLOW, wait_until
from node import NodeClient
from server import FAULTS
from servers import free_port
from wire import N

SECRET = "a secret that only nodes know"


@pytest.fixture
def secret(tmp_path):
    return write_secret(tmp_path / "node.secret", SECRET)


def write_secret(path, text):
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


class Admin:
    """An operator, in a directory of his own."""

    def __init__(self, directory, *options):
        self.dir, self.options, self.errors = str(directory), list(options), ""

    def run(self, *words, code=0, told=""):
        """`told`: what stands in its input."""
        env = {k: v for k, v in os.environ.items() if not k.startswith("BYTETALK_")}
        done = subprocess.run([CLI, "admin", *self.options, *words], input=told, capture_output=True, text=True,
                              cwd=self.dir, env={**env, "LC_ALL": "C.UTF-8", "TZ": "UTC"}, timeout=30 * SLOW)
        assert not any(f in done.stderr for f in FAULTS), done.stderr
        assert done.returncode == code, (words, done)
        self.errors = done.stderr
        return done.stdout

    def json(self, *words, told=""):
        return [json.loads(line) for line in self.run("--json", *words, told=told).splitlines()]


@pytest.fixture
def alone(make_server, secret, tmp_path):
    """One server that other nodes could reach, and an operator with its secret."""
    server = make_server({"rpc.local": "socket", "node.secret_file": secret, "node.name": "one"}, roles="all")
    return server, Admin(tmp_path, "--node", server.nodes, "--secret-file", secret)


@pytest.fixture
def two(make_server, secret, tmp_path):
    """Two nodes that know each other from their settings: one for clients, one that owns conversations."""
    near, far = (f"127.0.0.1:{free_port()}" for _ in range(2))
    common = {"registry.nodes": f"proxy+friend@{near},user+group+offline+chat@{far}", "node.secret_file": secret,
              "store.url": f"sqlite:{tmp_path}/store.db"}
    proxy = make_server({**common, "node.listen": near, "node.name": "near"}, roles="proxy,friend", start=False)
    chat = make_server({**common, "node.listen": far, "node.name": "far"}, roles="user,group,offline,chat", start=False)
    chat.start()
    proxy.start()
    return proxy, chat, Admin(tmp_path, "--node", proxy.nodes, "--secret-file", secret)


# ---- one node


def test_nodes_are_shown_with_their_load(alone):
    server, admin = alone
    server.user("ann")
    node, = admin.json("nodes")
    assert {k: node[k] for k in ("name", "unit", "address", "clients_at", "load", "weight", "state", "registered", "passed_over", "self")} == \
        {"name": "one", "unit": "unit1", "address": server.nodes, "clients_at": server.clients, "load": 1, "weight": 1, "state": "asked",
         "registered": True, "passed_over": False, "self": True}
    assert set(node["roles"]) == {"proxy", "user", "friend", "group", "offline", "chat"}
    head, row = admin.run("nodes").splitlines()
    assert head.split()[:4] == ["UNIT", "NODE", "ROLES", "ADDRESS"] and row.split()[1] == "one"
    assert head.index("ADDRESS") == row.index(server.nodes)


def test_sessions_and_where_a_user_is_connected(alone):
    server, admin = alone
    ann = server.user("ann")
    again = server.again(ann)
    user, = admin.json("sessions", ann.name)
    assert (user["user_id"], user["name"], user["disabled_ms"]) == (ann.user_id, ann.name, 0)
    assert {s["session_id"] for s in user["sessions"]} == {ann.session_id, again.session_id}
    for s in user["sessions"]:
        client = ann if s["session_id"] == ann.session_id else again
        assert (s["device"], s["connected_to"], s["from"]) == ("test", server.nodes, "{}:{}".format(*client.sock.getsockname()))
        assert s["begun_ms"] - 2000 <= s["since_ms"] <= time.time() * 1000 + 1000
    assert [p["address"] for p in user["connected_at"]] == [server.nodes]
    assert admin.json("sessions", f"#{ann.user_id}") == [user]
    text = admin.run("sessions", ann.name)
    assert f"User {ann.name} #{ann.user_id}" in text and f"Connected at node {server.nodes}" in text
    assert text.splitlines()[1].split() == ["SESSION", "BEGUN", "DEVICE", "CONNECTED", "TO", "SINCE", "FROM"]
    assert all(server.nodes in line for line in text.splitlines()[2:4])
    again.close()

    def connected():
        return {s["session_id"]: s["connected_to"] for s in admin.json("sessions", ann.name)[0]["sessions"]}

    wait_until(lambda: connected() == {ann.session_id: server.nodes, again.session_id: ""}, what="one to be shown as away")
    ann.close()
    wait_until(lambda: admin.json("sessions", ann.name)[0]["connected_at"] == [], 10, "the user to be away")
    assert "Not connected." in admin.run("sessions", ann.name)
    admin.run("sessions", "nobody-by-this-name", code=1)
    assert "NOT_FOUND" in admin.errors
    admin.run("sessions", "#999999", code=1)


def test_the_ring_and_what_a_change_would_move(alone):
    server, admin = alone
    assert admin.json("ring") == [{"address": server.nodes, "weight": 1, "virtual_nodes": 160, "share": 1}]
    lines = admin.json("ring", "add", "10.0.0.9:7500", "2")
    members, moves = [m for m in lines if "then" in m], [m for m in lines if "moved" in m]
    new, = (m for m in members if m["address"] == "10.0.0.9:7500")
    assert (new["weight"], new["then"]["weight"], new["then"]["virtual_nodes"]) == (0, 2, 320)
    assert 0.55 < new["then"]["share"] < 0.78
    move, = moves
    assert (move["from"], move["to"]) == (server.nodes, "10.0.0.9:7500")
    assert abs(move["moved"] - new["then"]["share"]) < 0.01
    assert "Nothing was changed. It would move about" in admin.run("ring", "add", "10.0.0.9:7500", "2")
    assert "No chat node would be left" in admin.run("ring", "del", server.nodes)
    assert len(admin.json("ring")) == 1   # it was not done
    admin.run("ring", "del", "10.0.0.9:7500", code=1)
    for words in (("ring", "add"), ("ring", "move", "10.0.0.9:7500"), ("ring", "add", "10.0.0.9:7500", "0"), ("ring", "add", "10.0.0.9:7500", "x")):
        admin.run(*words, code=2)


def test_who_owns_a_conversation(alone):
    server, admin = alone
    ann, ben = server.users("ann", "ben")
    owner, = admin.json("owner", ann.name, f"#{ben.user_id}")
    assert owner == {"hi": max(ann.user_id, ben.user_id), "lo": min(ann.user_id, ben.user_id),
                     "nodes": [{"address": server.nodes, "passed_over": False}]}
    assert admin.json("owner", "#12")[0]["lo"] == 0
    assert "owner" in admin.run("owner", "12")
    admin.run("owner", ann.name, ann.name, code=2)
    admin.run("owner", ann.name, code=2)
    admin.run("owner", "nobody-by-this-name", ann.name, code=1)
    many = admin.json("owner", "-", told=f"#12\n\n{ann.name} #{ben.user_id}\n")
    assert [(o["hi"], o["lo"]) for o in many] == [(12, 0), (owner["hi"], owner["lo"])]
    assert admin.run("owner", "-") == ""
    admin.run("owner", "-", told="#1 #2 #3\n", code=2)


def test_draining_finishes_what_was_begun_and_ends(alone):
    server, admin = alone
    ann, ben = server.users("ann", "ben")
    ann.send(ben.user_id, "before")
    admin.run("drain", "two", code=1)
    assert "no node two" in admin.errors
    assert "drains" in admin.run("drain", "one")
    server.close_clients()
    assert server.wait_end() == 0
    assert "an operator asks it to drain" in server.log
    admin.run("nodes", code=3)
    assert "No node answers at" in admin.errors
    server.start()


# ---- two nodes


def test_one_node_tells_of_all(two):
    proxy, chat, admin = two
    ann, ben = proxy.users("ann", "ben")
    ann.send(ben.user_id, "over there")
    nodes = {n["address"]: n for n in admin.json("nodes")}
    assert set(nodes) == {proxy.nodes, chat.nodes}
    assert nodes[proxy.nodes]["self"] and nodes[proxy.nodes]["state"] == "asked"
    assert not nodes[chat.nodes]["self"] and nodes[chat.nodes]["state"] == "answers"
    assert [m["address"] for m in admin.json("ring")] == [chat.nodes]
    assert admin.json("owner", ann.name, ben.name)[0]["nodes"] == [{"address": chat.nodes, "passed_over": False}]
    user, = admin.json("sessions", ann.name)
    assert [s["session_id"] for s in user["sessions"]] == [ann.session_id]


def test_a_node_that_does_not_answer_is_shown_as_passed_over(two):
    proxy, chat, admin = two
    proxy.user("ann")
    chat.process.send_signal(signal.SIGSTOP)
    wait_until(lambda: {n["address"]: n["state"] for n in admin.json("nodes")}[chat.nodes] == "passed over", 10, "the node to be passed over")
    assert admin.json("owner", "#12")[0]["nodes"] == [{"address": chat.nodes, "passed_over": True}]
    chat.process.send_signal(signal.SIGCONT)
    wait_until(lambda: {n["address"]: n["state"] for n in admin.json("nodes")}[chat.nodes] == "answers", 10, "the node to answer")


def test_another_node_is_drained_by_its_address(two):
    proxy, chat, admin = two
    admin.run("drain", chat.nodes)
    assert chat.wait_end() == 0
    assert proxy.is_alive()
    chat.start()


# ---- who may ask


def test_who_does_not_know_the_secret_is_refused(alone, tmp_path):
    server, _ = alone
    wrong = write_secret(tmp_path / "wrong", SECRET + "!")
    for what in ("nodes",), ("ring",), ("drain", "one"), ("sessions", "ann"):
        admin = Admin(tmp_path, "--node", server.nodes, "--secret-file", wrong)
        admin.run(*what, code=1)
        assert "not the same" in admin.errors
        admin = Admin(tmp_path, "--node", server.nodes)
        admin.run(*what, code=1)
        assert "--secret-file" in admin.errors
    guest = NodeClient(server.nodes, hello=False)
    guest.ok("NodeHello", version=1, address="guest", epoch=1, nonce=b"n" * 32, is_guest=True)
    guest.refused("UNAUTHENTICATED", "NodeProve", proof=b"p" * 32)
    guest.wait_closed()
    early = NodeClient(server.nodes, hello=False)
    early.refused("UNAUTHENTICATED", "AdminDrain")
    early.wait_closed()
    assert server.is_alive() and "drain:" not in server.log


def test_a_secret_that_others_may_read_is_not_used(alone, tmp_path):
    server, _ = alone
    open_to_all = tmp_path / "open"
    open_to_all.write_text(SECRET)
    open_to_all.chmod(0o644)
    admin = Admin(tmp_path, "--node", server.nodes, "--secret-file", str(open_to_all))
    admin.run("nodes", code=1)
    assert str(open_to_all) in admin.errors


def test_clients_may_ask_nothing_of_this(server):
    ann = server.user("ann")
    for name in ("AdminNodes", "AdminDrain", "AdminSessions", "SessionsOf", "WhoIsWhere"):
        ann.refused("UNIMPLEMENTED", name)


def test_a_guest_is_served_and_never_called(make_server):
    server = make_server({"rpc.local": "socket"}, roles="all")
    guests = [NodeClient(server.nodes, hello=False) for _ in range(3)]
    for guest in guests:   # of one name: they do not take each other's place
        guest.ok("NodeHello", version=1, address="guest", epoch=7, is_guest=True)
    ann = server.user("ann")
    for guest in guests:
        me, = guest.ok("AdminNodes").nodes
        assert me.is_self and me.is_registered and me.load == 1
        assert guest.ok("AdminOwner", hi=12).nodes[0].address == server.nodes
        guest.refused("INVALID_ARGUMENT", "AdminOwner", hi=12, lo=12)
        for name in ("AdminSessions", "SessionsOf"):
            assert [s.session_id for s in guest.ok(name, name=ann.name).sessions] == [ann.session_id]
            guest.refused("NOT_FOUND", name, name="nobody-by-this-name")
            guest.refused("NOT_FOUND", name, name="\a")
        for name in ("AdminWhere", "WhoIsWhere"):
            place, = guest.ok(name, users=[ann.user_id, ann.user_id + 1]).places
            assert (place.user_id, place.address, place.epoch) == (ann.user_id, server.nodes, me.epoch)
        here, = guest.ok("SessionsHere", user_id=ann.user_id).sessions
        assert here.session_id == ann.session_id and getattr(here, "from").startswith("127.0.0.1:")
        assert not guest.ok("SessionsHere", user_id=ann.user_id + 1).sessions
        all_here = guest.ok("UsersHere")
        assert all_here.is_full and list(all_here.here) == [ann.user_id] and not all_here.gone and all_here.epoch == me.epoch
        assert guest.ok("UsersHere", epoch=me.epoch + 1, position=all_here.position) == all_here   # of another start
        news = guest.ok("UsersHere", epoch=me.epoch, position=all_here.position)
        assert not news.is_full and not news.here and not news.gone and news.position == all_here.position
    ben = server.user("ben")
    came = guests[0].ok("UsersHere", epoch=me.epoch, position=all_here.position)
    assert not came.is_full and list(came.here) == [ben.user_id] and not came.gone
    ben.close()
    wait_until(lambda: list(guests[0].ok("UsersHere", epoch=me.epoch, position=came.position).gone) == [ben.user_id], what="ben to be gone")
    for _ in range(600):   # more than is remembered
        c = server.connect()
        c.resume(ben.token)
        c.close()
        del server.made[-1]
    assert guests[0].ok("UsersHere", epoch=me.epoch, position=all_here.position).is_full
    assert guests[0].ok("AdminDrain") == N.AdminDrainReply()
    assert guests[1].ok("AdminDrain") == N.AdminDrainReply()   # it drains already
    for guest in guests:
        guest.close()
    server.close_clients()
    assert server.wait_end() == 0
    server.start()


# ---- where the node is


def ini(tmp_path, text):
    path = tmp_path / "bytetalk.ini"
    path.write_text(text)
    return path


def test_the_ini_says_where_the_node_is_and_what_its_secret_is(make_server, secret, tmp_path):
    port = free_port()
    path = ini(tmp_path, f"# ours\n[rpc]\nlocal = socket\n[node]\nlisten = 0.0.0.0:{port} ; all\nsecret_file = {secret}\n[data]\ndir = {tmp_path}/data\n")
    make_server({"rpc.local": "socket", "node.listen": f"0.0.0.0:{port}", "node.secret_file": secret, "node.name": "one"}, roles="all")
    assert Admin(tmp_path, "--config", str(path)).json("nodes")[0]["name"] == "one"
    assert Admin(tmp_path).json("nodes")[0]["name"] == "one"   # the one in this directory


def test_what_is_missing_is_said_with_what_to_do(tmp_path, server):
    admin = Admin(tmp_path)
    admin.run("nodes", code=2)
    assert "--node HOST:PORT" in admin.errors and "--config FILE" in admin.errors
    ini(tmp_path, "[proxy]\nlisten = 127.0.0.1:7400\n")
    admin.run("nodes", code=2)
    assert "[rpc] local = socket" in admin.errors and "[node] listen = 127.0.0.1:7500" in admin.errors
    ini(tmp_path, "[rpc]\nlocal = socket\n")
    admin.run("nodes", code=2)
    assert "free port" in admin.errors and "--node HOST:PORT" in admin.errors
    admin.run("--config", str(tmp_path / "missing.ini"), "nodes", code=2)
    assert "missing.ini" in admin.errors
    for words in ((), ("frobnicate",), ("--frobnicate", "nodes"), ("nodes", "more"), ("sessions",), ("--node", "here", "nodes")):
        admin.run(*words, code=2)
    admin.run("--node", f"127.0.0.1:{free_port()}", "nodes", code=3)
    assert "No node answers at" in admin.errors
    admin.run("--node", server.clients, "nodes", code=3)
    assert "clients" in admin.errors


def test_help_lists_what_can_be_asked(tmp_path):
    words = ("nodes", "ring", "sessions", "owner", "drain", "--node", "--config", "--secret-file", "--json")
    assert all(w in Admin(tmp_path).run("--help") for w in words)
    whole = subprocess.run([CLI, "--help"], capture_output=True, text=True, check=True).stdout
    assert all(f"admin {w}" in whole for w in words[:5])
