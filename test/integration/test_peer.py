"""The server among other nodes: one role is played by peers written in Python, which answer, stall, break and lie."""
import contextlib
import random
import socket
import struct
import time

import pytest

from client import SLOW, Closed, msg_id, wait_until
from node import NodeClient, Peer
from people import group_of
from wire import (CANCEL, EVENT, GROUP, METHODS, N, P, REPLY, REQUEST, RESEND, STATUS, encode)

ALL = ["proxy", "user", "friend", "group", "offline", "chat"]
HEADERS_LATE_MS = 60   # how far a deadline may be off: the timer wheel's ticks, and the machine


@contextlib.contextmanager
def peers(n, **kw):
    made = [Peer(**kw) for _ in range(n)]
    try:
        yield made
    finally:
        for p in made:
            p.close()


def cluster(make_server, role, nodes, settings=None):
    """A server of all roles but one, which the peers play."""
    return make_server({"rpc.local": "socket", "registry.nodes": ",".join(f"{role}@{p.address}" for p in nodes), **(settings or {})},
                       roles=",".join(r for r in ALL if r != role))


def sent(arrived, seq=1):
    arrived.reply(P.SendReply(seq=seq, sent_ms=1))


def test_a_request_arrives_whole(make_server):
    with peers(1) as (peer,):
        peer.serve["Send"] = sent
        server = cluster(make_server, "chat", [peer])
        a, b = server.users("ann", "ben")
        i = msg_id()
        assert a.ok("Send", target=b.user_id, client_msg_id=i, body=b"hello", timeout_ms=3000).seq == 1
        arrived, = peer.wait("Send")
        frame = arrived.frame
        assert (frame.caller, frame.session, frame.target) == (a.user_id, a.session_id, b.user_id)
        assert 0 < frame.timeout_ms <= 3000 * SLOW and frame.flags == 0 and frame.trace != 0
        assert (arrived.msg.client_msg_id, arrived.msg.body) == (i, b"hello")
        assert peer.hellos == 1


def test_status_and_error_come_back_as_they_were(make_server):
    with peers(1) as (peer,):
        server = cluster(make_server, "chat", [peer])
        a, b = server.users("ann", "ben")
        for status in ("INVALID_ARGUMENT", "NOT_FOUND", "PERMISSION_DENIED", "ALREADY_EXISTS", "FAILED_PRECONDITION"):
            peer.serve["Send"] = lambda arrived: arrived.reply(status=status)
            reply = a.call("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
            assert (reply.status, reply.msg.detail) == (status, "the peer says so")
        assert len(peer.of("Send")) == 5, "a refusal is no reason to ask again"


def test_a_deadline_shrinks_over_two_hops(make_server):
    """Client to proxy to group role to chat role: each hop gives what is left, a second try still less."""
    with peers(1) as (peer,):
        server = cluster(make_server, "chat", [peer])
        a = server.user("ann")
        tries = []

        def refuse_late(arrived):
            tries.append(arrived)
            if len(tries) == 1:
                wait_for(0.4)
                arrived.reply(status="UNAVAILABLE")

        peer.serve["Apply"] = refuse_late
        start = time.monotonic()
        reply = a.call("CreateGroup", request_id=msg_id(), name="never made", timeout_ms=1500)
        took = time.monotonic() - start
        assert reply.status == "DEADLINE_EXCEEDED", reply
        assert 1.4 * SLOW < took < 1.5 * SLOW + 0.5
        first, second = tries[:2]
        assert first.frame.timeout_ms <= 1500 * SLOW
        assert second.frame.timeout_ms <= first.frame.timeout_ms - 400 + HEADERS_LATE_MS
        # What each was told agrees with when it came: all end at one time.
        ends = [t.at + t.frame.timeout_ms / 1000 for t in (first, second)]
        assert abs(ends[0] - ends[1]) < 0.2
        assert ends[0] <= start + 1.5 * SLOW + HEADERS_LATE_MS / 1000
        assert len({t.frame.trace for t in tries}) == 1 and tries[0].frame.trace
        assert {t.frame.caller for t in tries} == {a.user_id}
        # And nobody works on: the call that stands was cancelled.
        wait_until(lambda: second.frame.call in [c.frame.call for c in peer.of("cancel", CANCEL)], what="the cancel")


def wait_for(seconds):
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 5)


def test_a_cancel_goes_all_the_way(make_server):
    with peers(1) as (peer,):
        server = cluster(make_server, "chat", [peer])
        a, b = server.users("ann", "ben")
        call = a.start("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=20000)
        arrived, = peer.wait("Send")
        a.cancel(call)
        cancelled, = peer.wait("cancel", kind=CANCEL)
        assert cancelled.frame.call == arrived.frame.call
        a.settle()
        # A connection that goes cancels what it asked for.
        a.start("Send", target=b.user_id, client_msg_id=msg_id(), body=b"y", timeout_ms=20000)
        second = peer.wait("Send", 2)[1]
        a.close(reset=True)
        assert peer.wait("cancel", 2, kind=CANCEL)[1].frame.call == second.frame.call


def test_a_call_that_never_left_is_tried_elsewhere(make_server):
    with peers(2) as (one, two):
        server = cluster(make_server, "chat", [one, two])
        a, b = server.users("ann", "ben")
        for p in (one, two):
            p.serve["Send"] = sent
        one.refuse()
        for i in range(10):
            other = server.user()
            assert other.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=5000).seq == 1
        assert all(arrived.frame.flags == 0 for arrived in two.of("Send")), "it never left: no resend flag"
        assert len(two.of("Send")) == 10
        two.refuse()
        start = time.monotonic()
        reply = a.call("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=1000)
        assert reply.status == "UNAVAILABLE", "surely not done, and says so"
        assert time.monotonic() - start < 1.5 * SLOW
        one.listen()
        def served():
            return a.call("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=1000).status == "OK"
        wait_until(served, 5, "the node that is back is asked again")


def test_what_a_node_refuses_as_not_done_is_tried_elsewhere(make_server):
    with peers(2) as (one, two):
        server = cluster(make_server, "chat", [one, two])
        b = server.user("ben")
        one.serve["Send"] = lambda arrived: arrived.reply(status="UNAVAILABLE")
        two.serve["Send"] = sent
        for _ in range(10):
            server.user().ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        assert len(two.of("Send")) == 10
        assert all(arrived.frame.flags == 0 for arrived in two.of("Send"))


def test_a_call_that_may_have_run_is_repeated_with_the_resend_flag(make_server):
    with peers(1) as (peer,):
        server = cluster(make_server, "chat", [peer])
        a, b = server.users("ann", "ben")

        def break_once(arrived):
            if len(peer.of("Send")) == 1:
                peer.drop(reset=True)
            else:
                sent(arrived, 7)

        peer.serve["Send"] = break_once
        i = msg_id()
        assert a.ok("Send", target=b.user_id, client_msg_id=i, body=b"x", timeout_ms=8000).seq == 7
        first, second = peer.of("Send")
        assert first.frame.flags == 0 and second.frame.flags == RESEND
        assert first.frame.payload == second.frame.payload


def test_an_event_that_may_have_arrived_is_not_repeated(make_server):
    with peers(2) as nodes:
        for p in nodes:
            p.serve["PresenceChanged"] = lambda arrived: arrived.conn.close(reset=True)
            p.serve["ListFriends"] = lambda arrived: arrived.reply()
        server = cluster(make_server, "friend", nodes)
        a = server.user("ann")
        wait_until(lambda: sum(len(p.of("PresenceChanged", EVENT)) for p in nodes) >= 1, what="the event")
        for _ in range(20):
            a.ok("ListFriends")
        events = [x for p in nodes for x in p.of("PresenceChanged", EVENT) if x.msg.user_id == a.user_id]
        assert len(events) == 1 and events[0].msg.online


def test_a_thousand_calls_on_one_connection_answered_out_of_order(make_server):
    with peers(1) as (peer,):
        server = cluster(make_server, "friend", [peer], {"proxy.max_calls": 200})
        clients = [server.user() for _ in range(5)]
        calls = [(c, n, c.start("ListFriends", after_user_id=n, timeout_ms=30000)) for c in clients for n in range(200)]
        arrived = peer.wait("ListFriends", 1000)
        assert len(peer.of("ListFriends")) == 1000
        assert len({x.conn for x in arrived}) == 1, "two nodes share one connection"
        assert len({x.frame.call for x in arrived}) == 1000
        for c in clients:   # what one sends arrives in order
            mine = [x.msg.after_user_id for x in arrived if x.frame.caller == c.user_id]
            assert mine == list(range(200))
        random.Random(3).shuffle(arrived)
        for x in arrived:
            x.reply(P.ListFriendsReply(friends=[P.FriendInfo(user_id=x.frame.caller, changed_ms=x.msg.after_user_id)]))
        for c, n, call in calls:
            friend, = c.wait(call, 30).msg.friends
            assert (friend.user_id, friend.changed_ms) == (c.user_id, n)


def test_a_peer_that_stops_reading_holds_up_nobody_else(make_server):
    with peers(2, rcvbuf=8192) as (one, two):
        server = cluster(make_server, "chat", [one, two])
        b = server.user("ben")
        for p in (one, two):
            p.serve["Send"] = sent
        writers = [server.user() for _ in range(6)]
        for w in writers:
            w.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        for _ in range(30):   # until one of them writes to each node
            if not one.of("Send") or not two.of("Send"):
                writers[-1] = w = server.user()
                w.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        assert one.of("Send") and two.of("Send"), "the ring gives both something"
        one.reading.clear()
        start = time.monotonic()
        body = b"z" * 60000
        calls = [(w, w.start("Send", target=b.user_id, client_msg_id=msg_id(), body=body, timeout_ms=10000))
                 for _ in range(30) for w in writers]
        writers[0].ok("ListFriends")
        assert time.monotonic() - start < 3 * SLOW, "another role is as quick as ever"
        statuses = [w.wait(c, 20).status for w, c in calls]
        # The silent node is passed over for the other one; what its queue did not take was refused, and says so.
        assert statuses.count("OK") > 100, {s: statuses.count(s) for s in statuses}
        assert set(statuses) <= {"OK", "RESOURCE_EXHAUSTED", "UNAVAILABLE"}
        rss = int(open(f"/proc/{server.process.pid}/statm").read().split()[1]) * 4096
        assert rss < (200 << 20) * (8 if SLOW > 1 else 1)
        one.reading.set()
        for w in writers:
            w.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")


def test_a_reply_that_is_no_reply_harms_nobody(make_server):
    with peers(1) as (peer,):
        server = cluster(make_server, "chat", [peer])
        a, b = server.users("ann", "ben")
        peer.serve["Send"] = lambda x: x.reply(payload=b"\xff\xff\xff")
        reply = a.start("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        with contextlib.suppress(Exception):   # the proxy hands on bytes as they came: they are no SendReply
            a.wait(reply)
        peer.serve["Send"] = sent
        a.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        peer.serve["Send"] = lambda x: x.conn.write(b"\xff" * 100)
        assert a.call("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=1500).status in (
            "UNKNOWN", "DEADLINE_EXCEEDED", "UNAVAILABLE")
        peer.serve["Send"] = sent
        wait_until(lambda: a.call("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x").status == "OK", 8)
        peer.serve["Send"] = lambda x: x.reply(payload=b"\xff\xff\xff\xff\x00", flags=0x20)   # a push longer than its reply
        reply = a.call("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=1500)
        assert reply.status != "OK"
        a.settle()


# ---- what comes in at the node listener


@pytest.fixture
def node(shared):
    """A server of all roles with a node listener."""
    yield shared.get("node", {"rpc.local": "socket", "node.listen": "127.0.0.1:0", "group.max_members": 3})


def test_no_hello_no_service(node):
    for name in ("NodePing", "WhoIsOnline", "Apply", "GetProfile"):
        c = NodeClient(node.nodes, hello=False)
        try:
            assert c.call(name, caller=1, target=1).status in ("UNAUTHENTICATED", "FAILED_PRECONDITION")
        except Closed:
            pass
        c.wait_closed()
    a, b = node.users("ann", "ben")
    c = NodeClient(node.nodes, hello=False)
    c.tell("Notify", N.PushEvent(users=[a.user_id], method=METHODS["OnPresence"].id,
                                 event=P.PresenceEvent(user_id=1).SerializeToString()))
    c.wait_closed()
    b.send(a.user_id, "fine")
    a.event("OnMessage")
    a.no_event("OnPresence")


def test_a_hello_must_be_of_this_version(node):
    c = NodeClient(node.nodes, hello=False)
    c.refused("FAILED_PRECONDITION", "NodeHello", version=0, address="127.0.0.1:1", epoch=1)
    c.wait_closed()


def test_garbage_at_the_node_listener(node):
    a = node.user("ann")
    rng = random.Random(2)
    for hello in (False, True):
        for data in (rng.randbytes(200), struct.pack(">I", 0xffffffff), struct.pack(">I", 3) + b"abc", b"\x80" + rng.randbytes(90),
                     encode(METHODS["NodePing"].id, 9, call=1), encode(METHODS["NodePing"].id, REQUEST | 0x40, call=1)):
            c = NodeClient(node.nodes, hello=hello)
            with contextlib.suppress(Closed):
                c.write(b"\xff" + data if data[0] < 0x80 and len(data) == 200 else data)
            c.wait_closed()
    c = NodeClient(node.nodes)
    for m in METHODS.values():   # an honest node that sends nonsense
        if m.event and m.access == "NODE":
            c.write(encode(m.id, EVENT, b"\xff\xff\xff"))
        elif not m.event and m.name not in ("NodeHello", "Hello"):
            reply = c.call(m.name, payload=b"\xff\xff\xff", caller=a.user_id, target=a.user_id)
            assert reply.status in ("INVALID_ARGUMENT", "UNIMPLEMENTED"), reply
    c.write(encode(0x7777, REQUEST, call=4000))
    wait_until(lambda: c.pump(0.1) or c.strays)
    assert STATUS[c.strays[0].status] == "UNIMPLEMENTED"
    c.ok("NodePing", nonce=3)
    a.settle()


def test_node_methods(node):
    c = NodeClient(node.nodes)
    assert c.ok("NodePing", nonce=9).nonce == 9
    a, b = node.users("ann", "ben")
    gone = node.user("gone")
    gone.close()
    def online():
        return sorted(c.ok("WhoIsOnline", users=[a.user_id, b.user_id, gone.user_id]).users)
    wait_until(lambda: online() == sorted([a.user_id, b.user_id]), what="who is online")
    now = c.ok("EndedSince", since_ms=0).now_ms
    assert now > 1.6e12
    a2 = node.again(a)
    a.ok("EndSession", session_id=a2.session_id)
    ended = c.ok("EndedSince", since_ms=now).sessions
    assert (a.user_id, a2.session_id) in [(s.user_id, s.session_id) for s in ended]
    c.ok("DropRights", caller=a.user_id, target=b.user_id)


def test_events_from_nodes_reach_sessions(node):
    c = NodeClient(node.nodes)
    a, b = node.users("ann", "ben")
    event = P.SignalEvent(hi=2, lo=1, sender_id=1, type="from a node").SerializeToString()
    c.tell("Notify", N.PushEvent(users=[a.user_id, b.user_id], method=METHODS["OnSignal"].id, event=event))
    for u in (a, b):
        assert u.event("OnSignal").type == "from a node"
    c.tell("Push", N.PushEvent(users=[a.user_id, b.user_id], method=METHODS["OnSignal"].id, event=event,
                               except_session=b.session_id))
    assert a.event("OnSignal").type == "from a node"
    b.no_event("OnSignal")
    b.ok("AddFriend", target=a.user_id)
    a.ok("AcceptFriend", target=b.user_id)
    c.tell("PresenceChanged", P.PresenceEvent(user_id=b.user_id, online=True))
    assert a.event("OnPresence").user_id == b.user_id
    c.tell("PushLost", N.PushLostEvent())
    for u in (a, b):
        u.event("OnResync", deadline=15)


def test_apply_checks_what_nodes_ask(node):
    c = NodeClient(node.nodes)
    a, b, d = node.users("ann", "ben", "dan")
    group = group_of(a, b)

    def apply(status, change, who=a, target=group, **kw):
        reply = c.call("Apply", caller=who.user_id, session=who.session_id, target=target, change=P.Membership(**change), **kw)
        assert reply.status == status, reply

    apply("OK", {"change": P.UPDATED, "name": "by a node", "join_mode": P.OPEN})
    assert b.ok("GetGroup", target=group).name == "by a node"
    apply("NOT_FOUND", {"change": P.KICKED, "user_id": b.user_id}, target=(1 << 60) | GROUP)
    apply("PERMISSION_DENIED", {"change": P.KICKED, "user_id": a.user_id}, who=b)
    d.ok("JoinGroup", target=group)
    e = node.user("eve")
    apply("RESOURCE_EXHAUSTED", {"change": P.JOINED, "user_id": e.user_id}, who=e)
    i = msg_id()
    apply("ALREADY_EXISTS", {"change": P.CREATED, "user_id": a.user_id, "name": "again"}, request_id=i)
    apply("OK", {"change": P.DISBANDED})
    apply("FAILED_PRECONDITION", {"change": P.UPDATED, "name": "too late"})


held = []   # bound sockets that do not listen: in nobody's way who reuses addresses, and in everybody else's


def low_port():
    """A port whose address is smaller, as text, than that of any port the system gives; nobody else gets it until the tests end."""
    for port in range(10001, 11000):
        s = socket.socket()
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            s.close()
            continue
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.append(s)
        return port
    raise AssertionError("no free port")


def test_of_two_connections_the_one_dialled_by_the_smaller_address_stays(make_server):
    with peers(1) as (peer,):
        peer.serve["Send"] = sent
        server = cluster(make_server, "chat", [peer], {"node.listen": f"127.0.0.1:{low_port()}"})
        a, b = server.users("ann", "ben")
        a.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        late = NodeClient(server.nodes, hello=False)
        late.refused("FAILED_PRECONDITION", "NodeHello", version=1, address=peer.address, epoch=1, nonce=b"n" * 16)
        late.wait_closed()
        a.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        assert peer.hellos == 1

    with peers(1, port=low_port()) as (peer,):
        peer.serve["Send"] = sent
        server = cluster(make_server, "chat", [peer], {"node.listen": "127.0.0.1:0"})
        a, b = server.users("ann", "ben")
        a.ok("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
        mine = NodeClient(server.nodes, hello=False)
        mine.ok("NodeHello", version=1, address=peer.address, epoch=1, nonce=b"n" * 16)
        call = a.start("Send", target=b.user_id, client_msg_id=msg_id(), body=b"on the other connection")
        wait_until(lambda: mine.pump(0.05) or mine.strays or call.reply or a.pump(0.01))
        for frame in mine.strays:
            mine.write(encode(frame.method, REPLY, P.SendReply(seq=2).SerializeToString(), call=frame.call))
        assert a.wait(call).status == "OK"
        assert peer.hellos == 1


def test_a_peer_that_leaves_pings_unanswered_is_passed_over(make_server):
    with peers(2) as (mute, fine):
        server = cluster(make_server, "chat", [mute, fine])
        mute.serve.clear()
        fine.serve["Send"] = sent
        b = server.user("ben")
        for _ in range(6):
            u = server.user()
            assert u.call("Send", target=b.user_id, client_msg_id=msg_id(), body=b"x", timeout_ms=8000).status == "OK"
        assert len(fine.of("Send")) == 6
