"""What strangers do to a server: each thing ends in a clear status or a closed connection, and others chat on."""
import random
import resource
import select
import socket
import statistics
import struct
import time

import pytest

from client import SLOW, Client, Closed, msg_id, wait_until
from people import group_of
from server import new_name
from wire import CANCEL, EVENT, GROUP, METHODS, P, REPLY, REQUEST, STATUS, encode, xor

PING = METHODS["Ping"].id


@pytest.fixture
def healthy(server):
    """Two who chat before and after what the test does; nothing may disturb them."""
    a, b = server.users("ann", "ben")

    def chat():
        seq = a.send(b.user_id, "hello")
        b.event("OnMessage", lambda m: m.seq == seq)

    chat()
    yield chat
    chat()
    assert not a.is_closed and not b.is_closed


def closes(server, data, hello=True, user=False):
    """The server closes a connection that sends these bytes."""
    c = server.user() if user else server.connect(hello=hello)
    try:
        c.write(data)
    except Closed:
        pass
    c.wait_closed()
    return c


# ---- frames


def test_a_frame_over_the_limit_closes_the_connection(server, healthy):
    c = server.user()
    limit = c.hello.max_frame_bytes
    at_limit = c.call("Ping", payload=b"\x12" + varint(limit - 44 - 4) + b"x" * (limit - 44 - 4))
    assert at_limit.status == "OK", "a frame of just the limit is taken"
    closes(server, struct.pack(">I", limit + 1))
    closes(server, struct.pack(">I", 0xffffffff))
    closes(server, encode(PING, REQUEST, b"x" * (limit - 43), call=1))
    closes(server, encode(PING, REQUEST, b"x" * 8000, call=1))   # who has not logged in is given less room


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def test_a_frame_shorter_than_its_header_closes_the_connection(server, healthy):
    for length in (0, 1, 43):
        closes(server, struct.pack(">I", length) + bytes(length))


def test_a_truncated_header_harms_nobody(server, healthy):
    whole = encode(PING, REQUEST, call=1)
    for cut in (1, 3, 4, 5, 20, 47):
        c = server.connect()
        c.write(whole[:cut])
        healthy()
        c.close(reset=cut % 2 == 0)


def test_a_frame_may_come_byte_by_byte(server):
    c = server.connect()
    call, data = c.start("Ping", nonce=5, write=False)
    for i in range(len(data)):
        c.write(data[i:i + 1])
    assert c.wait(call).msg.nonce == 5


def test_garbage_closes_the_connection(server, healthy):
    rng = random.Random(1)
    for _ in range(30):
        # Its first bit set makes the length too long for any limit; other garbage waits for the rest of its frame.
        closes(server, bytes([rng.randrange(128, 256)]) + rng.randbytes(rng.randrange(60, 500)), hello=rng.random() < 0.5)
    closes(server, b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", hello=False)
    closes(server, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(300), hello=False)


def test_unknown_kinds_and_flags_close_the_connection(server, healthy):
    for kind in (0, 5, 15):
        closes(server, encode(PING, kind, call=1))
    for flag in (0x20, 0x40, 0x80):
        closes(server, encode(PING, REQUEST | flag, call=1))


def test_replies_events_and_cancels_that_belong_to_nothing_are_dropped(server):
    u = server.user()
    u.write(encode(PING, REPLY, b"\xff\xff", call=999))
    u.write(encode(METHODS["OnMessage"].id, EVENT, b"\xff\xff"))
    u.write(encode(METHODS["Push"].id, EVENT, b"\xff\xff"))
    u.write(encode(PING, CANCEL, call=12345))
    u.settle()


def test_an_unknown_method_is_unimplemented(server, healthy):
    u = server.user()
    u.write(encode(0x6666, REQUEST, b"what", call=5))
    wait_until(lambda: u.pump(0.1) or u.strays)
    assert STATUS[u.strays[0].status] == "UNIMPLEMENTED" and u.strays[0].call == 5
    u.settle()


def test_the_first_frame_must_be_hello(server, healthy):
    for name in ("Ping", "Directory", "Login", "Send"):
        c = server.connect(hello=False)
        try:
            assert c.call(name).status in ("FAILED_PRECONDITION", "UNAUTHENTICATED")
        except Closed:
            pass
        c.wait_closed()


def test_hello_may_travel_with_what_follows(server):
    name = new_name()
    server.connect().register(name)
    c = server.connect(hello=False)
    made = [c.start("Hello", version=1, client="quick", write=False),
            c.start("Login", name=name, password="correct horse", write=False),
            c.start("GetProfile", write=False)]
    c.write(b"".join(data for _, data in made))
    hello, login, profile = (c.wait(call) for call, _ in made)
    assert (hello.status, login.status) == ("OK", "OK")
    # What follows a Login in one write is served after it, or told to log in: never as somebody else.
    assert profile.status in ("OK", "UNAUTHENTICATED")
    if profile.status == "OK":
        assert profile.msg.user_id == login.msg.user_id


def test_a_second_request_with_an_open_id_closes_the_connection(server, healthy):
    u = server.user()
    _, one = u.start("GetUsers", call=7, user_ids=[u.user_id], write=False)   # read in another thread: open for a while
    _, two = u.start("Ping", call=7, nonce=1, write=False)
    try:
        u.write(one + two)
    except Closed:
        pass
    u.wait_closed()


def test_more_calls_than_allowed_are_refused(server, healthy):
    u = server.user()
    n = u.hello.max_calls + 50
    made = [u.start("GetUsers", user_ids=[u.user_id], write=False) for _ in range(n)]
    u.write(b"".join(data for _, data in made))
    statuses = [u.wait(call).status for call, _ in made]
    assert statuses.count("OK") >= u.hello.max_calls
    assert set(statuses) <= {"OK", "RESOURCE_EXHAUSTED"}
    u.ok("GetUsers", user_ids=[u.user_id])


# ---- pretending


def test_caller_and_session_in_the_header_are_ignored(server, healthy):
    a, b, c = server.users("ann", "ben", "cat")
    assert a.ok("GetProfile", caller=b.user_id, session=b.session_id).user_id == a.user_id
    a.ok("Send", target=c.user_id, caller=b.user_id, session=b.session_id, client_msg_id=msg_id(), body=b"who am I")
    assert c.event("OnMessage").sender_id == a.user_id
    anonymous = server.connect()
    anonymous.refused("UNAUTHENTICATED", "GetProfile", caller=b.user_id, session=b.session_id)
    anonymous.refused("UNAUTHENTICATED", "Send", target=c.user_id, caller=b.user_id, session=b.session_id,
                      client_msg_id=msg_id(), body=b"x")
    a.ok("Logout", caller=b.user_id, session=b.session_id)
    b.ok("GetProfile")


def test_node_methods_are_not_there_for_clients(server, healthy):
    u = server.user()
    for m in METHODS.values():
        if m.access != "NODE":
            continue
        if m.event:
            u.write(encode(m.id, EVENT, m.request().SerializeToString(), caller=u.user_id))
        u.refused("UNIMPLEMENTED", m.name, target=u.user_id)
    u.settle()


def test_targets_that_are_nothing(server, healthy):
    u = server.user()
    for target in (0, GROUP, 1 << 62, (1 << 63) - 1, (1 << 64) - 1):
        for name, fields in (("Send", {"client_msg_id": msg_id(), "body": b"x"}), ("History", {}), ("AddFriend", {}),
                             ("JoinGroup", {}), ("Kick", {"user_id": 1 << 63}), ("Signal", {"type": "x"})):
            assert u.call(name, target=target, **fields).status in ("INVALID_ARGUMENT", "NOT_FOUND"), (name, hex(target))
    for seq in (1 << 62, 1 << 63, (1 << 64) - 1):
        u.send(u.user_id, "note")
        assert not u.ok("History", target=u.user_id, from_seq=seq).messages
        assert u.call("History", target=u.user_id, before_seq=seq).status in ("OK", "INVALID_ARGUMENT")
        assert u.call("Edit", target=u.user_id, client_msg_id=msg_id(), refers_to_seq=seq,
                      body=b"x").status in ("NOT_FOUND", "INVALID_ARGUMENT")
        assert u.call("ListFriends", after_user_id=seq).status in ("OK", "INVALID_ARGUMENT")
        u.ok("Mark", marks=[P.Mark(hi=u.user_id, lo=u.user_id, read_seq=seq)])
    assert u.call("Send", target=u.user_id, client_msg_id=(1 << 64) - 1, body=b"x").status in ("OK", "INVALID_ARGUMENT")
    u.ok("ListConversations")


SQL = ["'; DROP TABLE message; --", "\" OR 1=1 --", "x' UNION SELECT password_hash FROM account --", "%' LIKE '%", "?1 :a @b $c",
       "Robert'); DELETE FROM account;--", "\\'; --"]


def test_sql_is_only_text(server, healthy):
    u, v = server.users("ann", "ben")
    for sql in SQL:
        c, name = server.connect(), sql + new_name()
        user_id = c.register(name, sql + " password")
        c.refused("UNAUTHENTICATED", "Login", name=name, password=sql)
        c.refused("UNAUTHENTICATED", "Login", name=name + "' OR '1'='1", password=sql + " password")
        c.login(name, sql + " password", device=sql)
        assert c.ok("ListSessions").sessions[0].device == sql
        profile = c.ok("UpdateProfile", about=sql, avatar=sql)
        assert (profile.about, profile.avatar, profile.name) == (sql, sql, name)
        assert u.ok("FindUser", name=name).user_id == user_id
        u.refused("NOT_FOUND", "FindUser", name=sql)
        c.ok("ChangePassword", old_password=sql + " password", new_password=sql + " another")
        group = group_of(c, v, name=sql, about=sql)
        info = v.ok("GetGroup", target=group)
        assert (info.name, info.about) == (sql, sql)
        c.ok("UpdateGroup", target=group, name=sql + "2", about=sql)
        seq = c.ok("Send", target=group, client_msg_id=msg_id(), content_type=sql, body=sql.encode()).seq
        got = v.event("OnMessage", lambda m: m.kind == P.TEXT)
        assert (got.body, got.content_type) == (sql.encode(), sql)
        c.ok("Edit", target=group, client_msg_id=msg_id(), refers_to_seq=seq, body=sql.encode() + b"2")
        c.ok("Signal", target=group, type=sql, body=sql.encode())
        assert v.event("OnSignal").type == sql
        server.connect(hello=False).ok("Hello", version=1, client=sql)
        server.connect().refused("UNAUTHENTICATED", "Resume", token=sql.encode())
    assert u.ok("FindUser", name=v.name).user_id == v.user_id


# ---- passwords


def test_a_wrong_password_takes_as_long_as_an_unknown_name(make_server):
    server = make_server({"user.hash_memory": None, "user.hash_ops": None, "proxy.login_tries": 100, "user.wrong_tries": 0})
    c, name = server.connect(), new_name()
    c.register(name)

    def took(c, who):
        start = time.perf_counter()
        c.refused("UNAUTHENTICATED", "Login", name=who, password="not the password")
        return time.perf_counter() - start

    took(c, name), took(c, new_name())
    for _ in range(3):   # the machine may be busy with other things
        wrong, unknown = [], []
        one, two = server.connect(), server.connect()
        for _ in range(50):
            wrong.append(took(one, name))
            unknown.append(took(two, new_name("nobody")))
        wrong, unknown = statistics.median(wrong), statistics.median(unknown)
        if abs(wrong - unknown) <= 0.2 * max(wrong, unknown):
            return
    raise AssertionError(f"medians: wrong password {wrong * 1000:.1f} ms, unknown name {unknown * 1000:.1f} ms")


def test_a_flood_of_logins_is_refused_and_others_go_on(make_server):
    server = make_server({"user.hash_memory": None, "user.hash_ops": None, "proxy.login_tries": 100, "user.wrong_tries": 0})
    a, b = server.users("ann", "ben")
    crowd = [server.connect() for _ in range(20)]
    calls = []
    for c in crowd:
        for _ in range(10):
            calls.append((c, c.start("Login", name=a.name, password="not the password", timeout_ms=30000)))
    start = time.monotonic()
    for i in range(20):
        a.send(b.user_id, f"{i}")
    assert time.monotonic() - start < 3 * SLOW, "logins hold up the chat"
    statuses = {c.wait(call, 60).status for c, call in calls}
    assert statuses <= {"UNAUTHENTICATED", "RESOURCE_EXHAUSTED"} and "UNAUTHENTICATED" in statuses


def test_a_connection_that_guesses_is_closed(make_server):
    server = make_server({"proxy.login_tries": 3})
    c, name = server.connect(), new_name()
    c.register(name)
    for i in range(3):
        c.refused("UNAUTHENTICATED", "Login", name=name, password=f"guess number {i}")
    c.wait_closed()
    server.connect().login(name)


# ---- floods


def test_a_slow_reader_is_closed_and_others_go_on(make_server):
    server = make_server({"proxy.out_high_bytes": 1 << 20})
    a, b = server.users("ann", "ben")
    slow = server.user("slow", rcvbuf=4096)
    body = b"x" * 65000
    end = time.monotonic() + 30 * SLOW
    rounds = 0
    while "reads too slowly" not in server.log:
        calls = [a.start("Send", target=slow.user_id, client_msg_id=msg_id(), kind=P.APPLICATION, body=body) for _ in range(8)]
        for call in calls:
            assert a.wait(call).status == "OK"
        seq = a.send(b.user_id, "meanwhile")
        b.event("OnMessage", lambda m: m.seq == seq, deadline=5)
        rounds += 1
        assert time.monotonic() < end, "the slow reader is never closed"
    assert rounds > 1
    slow.wait_closed()
    # Nothing is lost for him: it is in the log.
    again = server.connect()
    again.resume(slow.token)
    assert again.ok("History", target=a.user_id, limit=1).head_seq == rounds * 8


def test_a_client_that_reads_nothing_of_what_it_asks_is_held_back(make_server):
    server = make_server({"proxy.out_high_bytes": 1 << 20})
    a, b = server.users("ann", "ben")
    for _ in range(20):
        a.send(a.user_id, b"y" * 60000)
    a.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    request = b"".join(a.start("History", target=a.user_id, limit=20, write=False)[1] for _ in range(100))
    a.sock.setblocking(False)
    sent = 0
    try:
        while sent < len(request):
            sent += a.sock.send(xor(request[sent:]) if a.layer else request[sent:])
    except (BlockingIOError, ConnectionError):
        pass
    for i in range(20):
        b.send(b.user_id, f"{i}")
    rss = server.memory()
    assert rss < (100 << 20) * (8 if SLOW > 1 else 1), f"the server holds {rss >> 20} MiB for one who does not read"
    a.close(reset=True)
    b.settle()


def test_connections_that_say_nothing(make_server):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    want = 10_000 if SLOW == 1 else 2_000
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(hard, want + 500), max(hard, want + 500)))
    except (ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(want, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    if n < want:
        print(f"only {n} descriptors are to be had")
    server = make_server({"proxy.max_connections": n + 100, "proxy.hello_timeout_ms": int(4000 * SLOW)})
    host, port = server.clients.split(":")
    a, b = server.users("ann", "ben")
    silent = []
    try:
        start = time.monotonic()
        for _ in range(n):
            s = socket.socket()
            s.connect((host, int(port)))
            silent.append(s)
        opened = time.monotonic()
        a.send(b.user_id, "in the crowd")
        b.event("OnMessage", deadline=2)
        print(f"{n} silent connections in {opened - start:.1f} s")
        poll = select.poll()
        for s in silent:
            poll.register(s, select.POLLIN)
        closed = 0
        while closed < n:
            ready = poll.poll(1000)
            assert ready or time.monotonic() - opened < 15 * SLOW, f"{n - closed} are still open"
            for fd, _ in ready:
                poll.unregister(fd)
                closed += 1
        assert time.monotonic() - start > 3
    finally:
        for s in silent:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    a.send(b.user_id, "after the crowd")
    b.event("OnMessage")


def test_more_connections_than_allowed_are_turned_away(make_server):
    server = make_server({"proxy.max_connections": 5})
    door = server.proxies[0]
    a, b = (server.user(n, address=door) for n in ("ann", "ben"))
    rest, turned_away = [], 0
    for _ in range(10):
        c = Client(door, hello=False, layer=server.layer)
        try:
            c.ok("Hello", version=1, client="crowd")
            rest.append(c)
        except (Closed, AssertionError):
            turned_away += 1
    assert (len(rest), turned_away) == (3, 7)
    a.send(b.user_id, "we stay")
    b.event("OnMessage")
    rest[0].close()
    def admitted():
        c = Client(door, hello=False, layer=server.layer)
        try:
            return c.call("Hello", version=1, client="late").status == "OK"
        except Closed:
            return False
    wait_until(admitted, what="a place that became free")
