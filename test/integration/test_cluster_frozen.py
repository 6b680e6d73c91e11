"""Each method that clients have, while a part that it needs is frozen: every call ends by its deadline, and all works again
when the part goes on."""
import os
import select
import signal
import time

import pytest

from client import SLOW, msg_id, wait_until
from cluster import Cluster
from server import new_name
from wire import CLIENT_CALLS, GROUP, P

DEADLINE_S, GRACE_S = 1.5, 0.5
FROZEN = ["MariaDB", "Redis", "chat", "user", "offline", "friend", "group"]


@pytest.fixture(scope="module")
def cluster(own_backends, tmp_path_factory):
    c = Cluster(tmp_path_factory.mktemp("cluster"), own_backends, units=1, counts={"proxy": 1, "chat": 2}, has_nginx=False).start()
    yield c
    c._kill_all()


def pid_of(cluster, part):
    if part == "MariaDB":
        return cluster.backends.mariadb.process.pid
    if part == "Redis":
        return cluster.backends.redis.process.pid
    return cluster.nodes(part)[0].pid


class Asked:
    """One of each method, all at once; those about a connection's login each over a connection of their own."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.a, self.b, self.c = cluster.users("ann", "ben", "cy")
        self.a.ok("Send", target=self.b.user_id, client_msg_id=msg_id(), body=b"first")
        self.open_group = self.a.ok("CreateGroup", request_id=msg_id(), name="g").group_id | GROUP
        self.own_group = self.a.ok("CreateGroup", request_id=msg_id(), name="h").group_id | GROUP
        self.alone = cluster.again(self.a), cluster.again(self.b), cluster.again(self.c)
        self.calls = []

    def fields(self, name):
        me, you = self.a, self.b
        group = {"target": self.own_group}
        conv = {"target": you.user_id}
        return {
            "Hello": {"version": 1}, "Ping": {"nonce": 1}, "Register": {"name": new_name("new"), "password": "correct horse"},
            "Login": {"name": me.name, "password": me.password}, "Resume": {"token": self.c.token},
            "GetProfile": {"target": you.user_id}, "EndSession": {"session_id": self.alone[2].session_id},
            "ChangePassword": {"old_password": me.password, "new_password": me.password},
            "FindUser": {"name": you.name}, "GetUsers": {"user_ids": [you.user_id]},
            "CreateGroup": {"request_id": msg_id(), "name": "k"}, "UpdateGroup": {**group, "name": "hh"},
            "JoinGroup": {"target": self.open_group}, "LeaveGroup": {"target": self.open_group},
            "Invite": {**group, "user_id": you.user_id}, "Refuse": {**group, "user_id": you.user_id}, "Kick": {**group, "user_id": you.user_id},
            "Mute": {**group, "user_id": you.user_id, "until_ms": 0}, "SetRole": {**group, "user_id": you.user_id, "role": P.ADMIN},
            "Transfer": {**group, "user_id": you.user_id}, "Disband": group, "GetGroup": group, "ListMembers": group,
            "History": conv, "GetReceipts": {**conv, "seq": 1},
            "Mark": {"marks": [P.Mark(hi=max(me.user_id, you.user_id), lo=min(me.user_id, you.user_id), delivered_seq=1)]},
            "Send": {**conv, "client_msg_id": msg_id(), "body": b"x"}, "Edit": {**conv, "client_msg_id": msg_id(), "refers_to_seq": 1, "body": b"y"},
            "Recall": {**conv, "client_msg_id": msg_id(), "refers_to_seq": 1}, "Signal": {**conv, "type": "typing"},
        }.get(name, {"target": you.user_id} if name.endswith("Friend") or name in ("Block", "Unblock") else {})

    def known(self, method):
        return {k: v for k, v in self.fields(method.name).items() if k == "target" or k in method.request.DESCRIPTOR.fields_by_name}

    def ask(self):
        for m in CLIENT_CALLS:
            if m.name == "Logout":
                client = self.alone[1]
            elif m.name == "Hello":
                client = self.cluster.connect(hello=False)
            elif m.access == "PUBLIC" and m.name not in ("Ping", "Directory"):
                client = self.cluster.connect()
            else:
                client = self.a
            self.calls.append((client, client.start(m.name, timeout_ms=DEADLINE_S * 1000, **self.known(m))))

    def wait(self):
        """How long each took; one that has no answer in good time: None."""
        took, end = {}, time.monotonic() + (DEADLINE_S + 3 * GRACE_S) * SLOW + 1
        clients = {c.sock: c for c, _ in self.calls}
        while len(took) < len(self.calls) and time.monotonic() < end:
            for sock in select.select(list(clients), [], [], 0.05)[0]:
                clients[sock].pump(0)
                if clients[sock].is_closed:
                    del clients[sock]
            for _, call in self.calls:
                if call.reply is not None and call.method.name not in took:
                    took[call.method.name] = time.monotonic() - call.started
        return {call.method.name: took.get(call.method.name) for _, call in self.calls}


def works(cluster):
    try:
        u, v = cluster.users("eve", "fay")
        u.ok("Send", target=v.user_id, client_msg_id=msg_id(), body=b"again", timeout_ms=2000)
        u.ok("ListFriends"), u.ok("MyGroups"), u.ok("Pull")
        u.close(), v.close()
        return True
    except AssertionError:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("part", FROZEN)
def test_no_call_outlives_its_deadline(cluster, part, figure):
    wait_until(lambda: works(cluster), 30, "all works")
    asked = Asked(cluster)
    pid = pid_of(cluster, part)
    os.kill(pid, signal.SIGSTOP)
    try:
        asked.ask()
        took = asked.wait()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert len(took) == len(CLIENT_CALLS)
    hung = [(k.method.name, f"closed after {c.events}" if c.is_closed else "open") for c, k in asked.calls if k.reply is None]
    assert not hung, f"{part} frozen: no answer to these, with their connections: {hung}"
    slowest = max(took, key=took.get)
    print(f"{part} frozen: the slowest of {len(took)} was {slowest}, {took[slowest]:.2f} s; statuses: "
          f"{sorted({c.reply.status for _, c in asked.calls})}")
    figure(f"{part} frozen: slowest call beyond its deadline", max(0, took[slowest] / SLOW - DEADLINE_S), GRACE_S)
    wait_until(lambda: works(cluster), 30, f"all works again after {part} was frozen")
