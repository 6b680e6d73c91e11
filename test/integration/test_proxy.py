"""The proxy towards clients that do not behave, or leave in the middle: nobody else pays for it."""
import contextlib
import random
import signal
import sqlite3
import statistics
import struct
import time

import pytest

from client import SLOW, Closed, msg_id, wait_until
from node import Peer
from people import befriend
from server import new_name
from servers import Redis
from test_peer import cluster, peers
from wire import CANCEL, EVENT, GROUP, METHODS, N, P, PUSHED, REQUEST, encode, key_of


def test_no_push_is_lost_with_the_connection_of_the_sender(make_server):
    server = make_server({"rpc.local": "socket"}, mode="direct")
    a, b = server.users("ann", "ben")
    a.send(b.user_id, "the first")
    usual = statistics.median(took(a, b) for _ in range(20))
    for i in range(200):
        leaving = server.connect()
        leaving.resume(a.token)
        leaving.start("Send", target=b.user_id, body=b"%d" % i, client_msg_id=msg_id())
        due = time.perf_counter() + usual * random.uniform(0.3, 1.2)   # about when the answer passes
        while time.perf_counter() < due:
            pass
        leaving.close(reset=True)
        server.made.remove(leaving)
    last = server.again(a).send(b.user_id, "the last")
    assert last > 20, "most of those who left had been heard"
    seen = {b.event("OnMessage", lambda m: m.seq == last).seq}
    wait_until(lambda: b.drain() or len(seen | seqs(b)) == last, deadline=3,
               what=lambda: f"missing {sorted(set(range(1, last + 1)) - seqs(b) - seen)}")


def test_a_push_that_came_with_an_answer_outlives_the_sender(make_server):
    with contextlib.closing(Peer()) as owner:
        server = make_server({"rpc.local": "socket", "registry.nodes": f"chat@{owner.address}"}, roles="proxy,user,friend,group,offline")
        a, b = server.users("ann", "ben")
        a.start("Send", target=b.user_id, body=b"and away", client_msg_id=msg_id())
        asked, = owner.wait("Send")
        a.close(reset=True)
        owner.wait("cancel", kind=CANCEL)   # it crosses the answer
        hi, lo = key_of(a.user_id, b.user_id)
        message = P.Message(hi=hi, lo=lo, seq=1, sender_id=a.user_id, body=b"and away")
        push = N.PushEvent(users=[b.user_id], method=METHODS["OnMessage"].id, event=message.SerializeToString())
        answer = P.SendReply(seq=1, sent_ms=1).SerializeToString()
        asked.reply(flags=PUSHED, payload=struct.pack(">I", len(answer)) + answer + push.SerializeToString())
        assert b.event("OnMessage").body == b"and away"


def took(a, b):
    began = time.perf_counter()
    a.send(b.user_id, "a sample")
    return time.perf_counter() - began


def seqs(client):
    return {m.seq for name, m in client.events if name == "OnMessage"}


def test_leaving_and_joining_again_does_not_lift_a_mute(server):
    owner, m = server.users("owner", "member")
    group = GROUP | owner.ok("CreateGroup", request_id=msg_id(), name="g", join_mode=P.OPEN).group_id
    m.ok("JoinGroup", target=group)
    m.send(group, "before")
    owner.ok("Mute", target=group, user_id=m.user_id, until_ms=int(time.time() * 1000) + 10 ** 9)
    m.refused("PERMISSION_DENIED", "Send", target=group, body=b"x", client_msg_id=msg_id())
    m.ok("LeaveGroup", target=group)
    m.ok("JoinGroup", target=group)
    m.refused("PERMISSION_DENIED", "Send", target=group, body=b"x", client_msg_id=msg_id())
    owner.ok("Mute", target=group, user_id=m.user_id, until_ms=0)
    m.send(group, "after")


def test_byte_after_byte_does_not_keep_a_connection_that_never_says_hello(make_server):
    server = make_server({"proxy.hello_timeout_ms": 200})
    stranger = server.connect(hello=False)
    frame = encode(METHODS["Hello"].id, REQUEST, b"\x12\x40" + b"x" * 64, call=1)
    began = time.monotonic()
    for i in range(len(frame) - 1):   # never whole
        try:
            stranger.write(frame[i:i + 1])
        except Closed:
            break
        stranger.pump(0.1)
        if stranger.is_closed:
            break
    assert stranger.is_closed and time.monotonic() - began < 5 * SLOW


def guesses(c, method, **kw):
    """Statuses of wrong guesses until the connection is closed."""
    got = []
    try:
        for i in range(10):
            got.append(c.call(method, **{k: v if v is not None else f"wrong guess {i}" for k, v in kw.items()}).status)
    except Closed:
        pass
    return got


def test_guesses_at_passwords_close_the_connection_whichever_method_makes_them(make_server):
    server = make_server({"proxy.login_tries": 3})
    u = server.user()
    for method, kw, status in (("Register", {"name": u.name, "password": None}, "ALREADY_EXISTS"),
                               ("Login", {"name": u.name, "password": None}, "UNAUTHENTICATED")):
        c = server.connect()
        assert guesses(c, method, **kw) == [status] * 3
        c.wait_closed()
    c = server.again(u)
    got = guesses(c, "ChangePassword", old_password=None, new_password="another one")
    assert len(got) == 3 and set(got) == {"PERMISSION_DENIED"}
    c.wait_closed()
    assert server.again(u).user_id == u.user_id
    u.ok("ListSessions")


def test_a_drain_ends_although_a_client_goes_on_calling(make_server):
    """Nothing new is taken at the end, and what was taken is answered: who was registered was told so."""
    server = make_server({"user.hash_memory": 16384, "user.hash_ops": 2}, mode="direct")   # slow enough that some is always under way
    c = server.connect()
    server.process.send_signal(signal.SIGTERM)
    began, calls, at = time.monotonic(), [], 0
    try:
        while time.monotonic() - began < 6 * SLOW:
            calls.append(c.start("Register", name=new_name("late"), password="correct horse"))
            if len(calls) > 8:
                c.wait(calls[at])
                at += 1
    except Closed:
        c.drain()
    assert c.is_closed and time.monotonic() - began < 5 * SLOW
    assert server.wait_end() == 0
    replies = [call.reply for call in calls if call.reply]
    told = [reply.msg.user_id for reply in replies if reply.status == "OK"]
    assert told and {reply.status for reply in replies} <= {"OK", "UNAVAILABLE"}
    assert sorted(told) == accounts(server)
    server.start()


def test_who_has_not_logged_in_is_given_small_frames(server):
    stranger = server.connect()
    head = len(encode(0, REQUEST)) - 4
    at_limit = b"\x12" + varint(4096 - head - 3) + b"x" * (4096 - head - 3)
    assert head + len(at_limit) == 4096
    assert stranger.call("Ping", payload=at_limit).status == "OK"
    stranger.write(struct.pack(">I", 4097))   # told by the length word alone, before anything is kept
    stranger.wait_closed()
    user = server.user()
    assert user.call("Ping", payload=b"\x12" + varint(8000) + b"x" * 8000).status == "OK"


def varint(n):
    out = b""
    while n >= 128:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def test_friends_hear_of_a_second_login_when_the_first_was_given_up(make_server, redis):
    """A device that gave up connects again while presence is still being written for its first connection."""
    server = make_server({"presence.url": f"redis://{redis.host}/0", "presence.timeout_ms": 5000}, mode="direct")
    a, b = server.users("ann", "ben")
    befriend(a, b)
    b.ok("Logout")
    b.close()
    a.event("OnPresence", lambda m: m.user_id == b.user_id and not m.online)
    a.events.clear()
    redis.process.send_signal(signal.SIGSTOP)
    try:
        login = {"name": b.name, "password": b.password, "device_id": 1, "device": "test"}
        first, second = server.connect(), server.connect()
        first.start("Login", **login)
        wait_until(lambda: sessions(server, b), what="the first login is written")
        a.settle()   # and its answer has come back to the proxy
        call = second.start("Login", **login)
        first.wait_closed()
        a.settle()
        assert call.reply is None
    finally:
        redis.process.send_signal(signal.SIGCONT)
    assert second.wait(call).status == "OK"
    assert a.event("OnPresence", lambda m: m.user_id == b.user_id).online


def test_friends_are_told_that_one_went_after_it_is_written(make_server, redis):
    """Whoever hears it asks presence whether it is so."""
    with peers(1) as (friend,):
        friend.serve["ListFriends"] = lambda arrived: arrived.reply()
        server = cluster(make_server, "friend", [friend], {"presence.url": f"redis://{redis.host}/0", "presence.timeout_ms": 30000})
        a, b = server.users("ann", "ben")
        friend.wait("PresenceChanged", 2, kind=EVENT)
        redis.freeze()
        try:
            b.close()
            wait_until(lambda: a.ok("Directory").proxies[0].connections == 1, what="the proxy knows that he has gone")
            a.ok("ListFriends")   # takes the same way, behind what was told
            assert len(friend.of("PresenceChanged", kind=EVENT)) == 2
        finally:
            redis.thaw()
        told = friend.wait("PresenceChanged", 3, kind=EVENT)[2].msg
        assert (told.user_id, told.online) == (b.user_id, False)


def accounts(server):
    with sqlite3.connect(f"file:{server.dir}/bytetalk.db?mode=ro", uri=True) as db:
        return sorted(user_id for user_id, in db.execute("SELECT user_id FROM account"))


def sessions(server, user):
    with sqlite3.connect(f"file:{server.dir}/bytetalk.db?mode=ro", uri=True) as db:
        return db.execute("SELECT session_id FROM session WHERE user_id = ? AND ended_ms = 0", (user.user_id,)).fetchall()


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path / "redis").start()
    yield server
    server.kill()
