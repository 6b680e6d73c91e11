"""Nodes that share a secret prove it to each other before anything else; the proof written anew from proto/node.proto."""
import hashlib
import hmac
import os
import socket
import struct
import time

import pytest

from node import NodeClient
from test_peer import low_port
from wire import GROUP, METHODS

SECRET = b"a secret of more than sixteen bytes"


@pytest.fixture
def guarded(make_server, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET + b"\n")
    path.chmod(0o600)
    return make_server({"rpc.local": "socket", "node.secret_file": str(path)}, mode="direct")


class Dialler(NodeClient):
    def __init__(self, server, address=None):
        super().__init__(server.nodes, hello=False)
        self.own = address or f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.epoch, self.nonce = int(time.time() * 1000), os.urandom(32)

    def greet(self):
        self.theirs = self.ok("NodeHello", version=1, address=self.own, epoch=self.epoch, nonce=self.nonce)
        return self.theirs

    def proof(self, label, secret=SECRET, nonce=None):
        mac = hmac.new(secret, label.ljust(24, b"\0"), hashlib.sha256)
        for n, epoch, address in ((nonce or self.nonce, self.epoch, self.own), (self.theirs.nonce, self.theirs.epoch, self.theirs.address)):
            mac.update(n + struct.pack(">QQ", epoch, len(address)) + address.encode())
        return mac.digest()


def dialler_proof(d, **kw):
    return d.proof(b"bytetalk node dialler 1", **kw)


def test_who_knows_the_secret_is_served(guarded):
    d = Dialler(guarded)
    assert d.greet().proof == d.proof(b"bytetalk node accept. 1"), "the other side proves itself too"
    d.ok("NodeProve", proof=dialler_proof(d))
    assert d.ok("EndedSince", since_ms=0).now_ms > 0


def test_of_two_dialled_at_once_the_one_of_the_smaller_address_stays(make_server, tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as mute:   # takes the server's connection, and says nothing on it
        address = "127.0.0.1:%d" % mute.getsockname()[1]
        server = make_server({"rpc.local": "socket", "node.secret_file": str(path), "node.listen": f"127.0.0.1:{low_port()}",
                              "registry.nodes": f"chat@{address}"}, mode="direct", roles="proxy,user,friend,group,offline")
        ann = server.user("ann")
        ann.start("Send", target=1, client_msg_id=1, body=b"x")
        with mute.accept()[0]:
            d = Dialler(server, address)
            d.greet()
            d.refused("FAILED_PRECONDITION", "NodeProve", proof=dialler_proof(d))
            d.wait_closed()


@pytest.mark.parametrize("name", ["EndedSince", "Login", "Send", "Apply", "NodePing", "AdminNodes"])
def test_nothing_is_served_before_the_proof(guarded, name):
    if name not in METHODS:
        pytest.skip("no such method")
    for greets in (False, True):
        d = Dialler(guarded)
        if greets:
            d.greet()
        d.refused("UNAUTHENTICATED", name, caller=1, target=2)
        d.wait_closed()


def test_wrong_proofs_are_refused(guarded):
    user = guarded.user("ann")
    seen = Dialler(guarded)
    seen.greet()
    replayed = dialler_proof(seen)
    wrong = {
        "none": lambda d: b"",
        "short": lambda d: dialler_proof(d)[:31],
        "another secret": lambda d: dialler_proof(d, secret=b"another secret of some length"),
        "reflected": lambda d: d.theirs.proof,
        "replayed": lambda d: replayed,
        "another nonce": lambda d: dialler_proof(d, nonce=bytes(32)),
    }
    for why, make in wrong.items():
        d = Dialler(guarded)
        d.greet()
        d.refused("UNAUTHENTICATED", "NodeProve", proof=make(d))
        d.wait_closed()
        assert d.is_closed, why
    group = user.ok("CreateGroup", request_id=7, name="untouched").group_id
    assert user.ok("GetGroup", target=group | GROUP).member_count == 1


def test_a_hello_without_a_nonce_is_refused(guarded):
    d = Dialler(guarded)
    d.refused("UNAUTHENTICATED", "NodeHello", version=1, address=d.own, epoch=d.epoch)
    d.wait_closed()


@pytest.mark.parametrize("content, mode", [(b"short", 0o600), (SECRET, 0o644)])
def test_a_bad_secret_file_stops_the_start(make_server, tmp_path, content, mode):
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    server = make_server({"rpc.local": "socket", "node.secret_file": str(path)}, start=False)
    done = server.run()
    assert done.returncode != 0 and "secret_file" in done.stderr


def test_without_a_secret_nodes_listen_on_loopback_only(make_server):
    server = make_server({"rpc.local": "socket", "node.listen": "0.0.0.0:0"}, start=False)
    done = server.run()
    assert done.returncode != 0 and "secret" in done.stderr
