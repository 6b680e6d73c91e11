"""Sessions: several devices of one user, how they end, and who is told that one is there."""
import base64
import hashlib
import os
import struct
import time

import pytest

from client import msg_id, wait_until
from people import befriend
from server import new_name
from wire import P


def test_a_message_reaches_all_devices_but_the_one_that_sent_it(server):
    a, b = server.users("ann", "ben")
    a2, b2 = server.again(a), server.again(b)
    a.send(b.user_id, "to all of you")
    for c in (a2, b, b2):
        assert c.event("OnMessage").body == b"to all of you"
    a.no_event("OnMessage")


def test_a_device_that_logs_in_again_finds_its_session(server):
    u = server.user(device_id=77)
    again = server.connect()
    assert again.login(u.name, device_id=77).session_id == u.session_id
    u.wait_closed()   # a session has one connection: the newest
    other = server.connect()
    assert other.login(u.name, device_id=78).session_id != u.session_id
    assert len(other.ok("ListSessions").sessions) == 2
    fresh = {server.again(u).session_id for _ in range(2)}
    assert len(fresh | {u.session_id, other.session_id}) == 4


def test_the_oldest_of_too_many_sessions_ends(make_server):
    server = make_server({"user.max_sessions": 2})
    first = server.user()
    second = server.again(first)
    third = server.again(first)
    assert first.event("OnSessionEnded").why == P.REPLACED
    first.wait_closed()
    server.connect().refused("UNAUTHENTICATED", "Resume", token=first.token)
    assert {s.session_id for s in third.ok("ListSessions").sessions} == {second.session_id, third.session_id}
    second.ok("GetProfile")


def test_single_login(make_server):
    server = make_server({"user.max_sessions": 1})
    first = server.user()
    second = server.again(first)
    assert first.event("OnSessionEnded").why == P.REPLACED
    first.wait_closed()
    second.ok("GetProfile")


def test_a_session_survives_its_connection_and_the_server(make_server):
    server = make_server()
    u, v = server.users("ann", "ben")
    u.close()
    again = server.connect()
    assert again.resume(u.token).session_id == u.session_id
    v.send(u.user_id, "still there?")
    again.event("OnMessage")
    server.kill()
    server.start()
    third = server.connect()
    assert third.resume(u.token).session_id == u.session_id
    server.connect().resume(v.token)


def test_a_logout_ends_the_session_for_good(make_server):
    server = make_server()
    u = server.user()
    u.ok("Logout")
    server.kill()
    server.start()
    server.connect().refused("UNAUTHENTICATED", "Resume", token=u.token)


def signed(server, token, issued_ms, expires_ms):
    """The token with other times, signed with the server's own key."""
    path = os.path.join(server.dir, "token.keys")
    number, key, _ = open(path, encoding="ascii").read().split("\n")[0].split()
    assert os.stat(path).st_mode & 0o777 == 0o600
    body = bytearray(token[:-32])
    assert struct.unpack_from(">I", body, 1)[0] == int(number)
    struct.pack_into(">qq", body, 21, issued_ms, expires_ms)
    return bytes(body) + hashlib.blake2b(body, key=bytes.fromhex(key), digest_size=32).digest()


def test_a_token_expires(server):
    u = server.user()
    issued, expires = struct.unpack_from(">qq", u.token, 21)
    assert signed(server, u.token, issued, expires) == u.token
    day, now = 86_400_000, u.hello.now_ms
    assert server.connect().resume(signed(server, u.token, issued - day, now + day)).session_id == u.session_id
    for times in ((issued - day, now - 1000), (issued - 400 * day, now + day)):
        server.connect().refused("UNAUTHENTICATED", "Resume", token=signed(server, u.token, *times))


def test_tokens_of_another_server_are_refused(make_server):
    one, two = make_server(), make_server()
    u, v = one.user(), two.user()
    assert u.token != v.token
    two.connect().refused("UNAUTHENTICATED", "Resume", token=u.token)


def test_a_new_password_ends_the_other_sessions_within_two_seconds(server):
    u = server.user()
    others = [server.again(u) for _ in range(3)]
    start = time.monotonic()
    u.ok("ChangePassword", old_password=u.password, new_password="battery staple")
    for o in others:
        assert o.event("OnSessionEnded", deadline=2.5).why == P.PASSWORD_CHANGED
        o.wait_closed()
        server.connect().refused("UNAUTHENTICATED", "Resume", token=o.token)
    assert time.monotonic() - start < 2.5
    u.ok("GetProfile")


def test_passwd_beside_a_running_server(server):
    u = server.user()
    done = server.run("--passwd", u.name, stdin="battery staple\n")
    assert done.returncode == 0, done.stderr
    assert u.event("OnSessionEnded", deadline=3).why == P.PASSWORD_CHANGED
    u.wait_closed()
    c = server.connect()
    c.refused("UNAUTHENTICATED", "Login", name=u.name, password=u.password)
    c.login(u.name, "battery staple")


def test_disable_beside_a_running_server(server):
    u, friend = server.users("ann", "ben")
    befriend(u, friend)
    done = server.run("--disable", u.name)
    assert done.returncode == 0, done.stderr
    assert u.event("OnSessionEnded", deadline=3).why == P.DISABLED
    u.wait_closed()
    c = server.connect()
    c.refused("PERMISSION_DENIED", "Login", name=u.name, password=u.password)
    c.refused("UNAUTHENTICATED", "Resume", token=u.token)
    assert server.run("--disable", new_name("nobody")).returncode != 0


def test_friends_see_who_comes_and_goes(server):
    a, b = server.users("ann", "ben")
    befriend(a, b)
    b.close()
    gone = a.event("OnPresence", lambda m: m.user_id == b.user_id)
    assert not gone.online
    wait_until(lambda: not a.ok("ListFriends").friends[0].online)
    back = server.connect()
    back.resume(b.token)
    assert a.event("OnPresence", lambda m: m.user_id == b.user_id).online
    second = server.again(b)
    second.close()
    back.send(a.user_id, "still here")
    a.event("OnMessage")
    a.no_event("OnPresence")


def test_strangers_do_not_see_who_is_there(server):
    a, b = server.users("ann", "ben")
    a.ok("AddFriend", target=b.user_id)
    assert not a.ok("ListFriends").friends[0].online
    b.close()
    c = server.again(b)
    c.send(a.user_id, "x")
    a.event("OnMessage")
    a.no_event("OnPresence")


def test_an_idle_connection_is_closed_and_a_ping_keeps_it(make_server):
    server = make_server({"proxy.idle_timeout_ms": 1000})
    idle, kept = server.users("ann", "ben")
    assert idle.hello.idle_timeout_ms == 1000
    start = time.monotonic()
    while not idle.is_closed:
        kept.ok("Ping", nonce=1)
        idle.pump(0.1)
        assert time.monotonic() - start < 10
    assert time.monotonic() - start > 0.8
    kept.ok("Ping", nonce=2)


def test_secrets_stay_out_of_the_log(make_server):
    server = make_server({"log.level": "debug"})
    a, b = server.user("ann", password="a very secret password"), server.user("ben")
    a.send(b.user_id, "a very private word")
    a.refused("ALREADY_EXISTS", "Register", name=a.name, password="a wrong guess")
    a.ok("ChangePassword", old_password=a.password, new_password="another secret password")
    assert server.stop() == 0
    token = bytes(a.token)
    for secret in ("a very secret password", "a very private word", "a wrong guess", "another secret password",
                   token.hex(), base64.b64encode(token).decode().rstrip("=")):
        assert secret not in server.log


@pytest.mark.parametrize("devices", [8])
def test_many_devices_each_hear_all(server, devices):
    a, b = server.users("ann", "ben")
    others = [server.again(b) for _ in range(devices)]
    i = [a.start("Send", target=b.user_id, client_msg_id=msg_id(), body=b"%d" % n) for n in range(50)]
    seqs = [a.wait(c).msg.seq for c in i]
    assert seqs == list(range(1, 51))
    for o in (b, *others):
        assert [o.event("OnMessage").seq for _ in range(50)] == seqs
