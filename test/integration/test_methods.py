"""Each client method: with OK, and with each refusal that stands above it in client.proto; here connections, accounts and
sessions, and what any method may answer. test_coverage.py compares."""
import pytest

from client import wait_until
from people import LATIN, NOBODY, text_field
from server import new_name
from wire import CLIENT_CALLS, METHODS, P, REQUEST, SESSION_CALLS, STATUS, encode


# ---- connection


def test_hello_tells_version_and_limits(server):
    c = server.connect()
    assert c.hello.version == 1
    assert c.hello.max_body_bytes == 65536
    assert c.hello.max_frame_bytes > c.hello.max_body_bytes
    assert c.hello.max_calls > 0 and c.hello.idle_timeout_ms > 0 and c.hello.now_ms > 1.6e12
    assert c.hello.server.startswith("ByteTalk ")


def test_a_newer_client_is_answered_with_the_servers_version(server):
    c = server.connect(hello=False)
    assert c.ok("Hello", version=7, client="of the future").version == 1


def test_hello_without_a_common_version_ends_the_connection(server):
    c = server.connect(hello=False)
    c.refused("FAILED_PRECONDITION", "Hello", version=0)
    c.wait_closed()


def test_ping_answers_the_nonce(server):
    assert server.connect().ok("Ping", nonce=0xdeadbeef).nonce == 0xdeadbeef


def test_directory_names_this_proxy(server):
    reply = server.connect().ok("Directory")
    assert sorted(p.address for p in reply.proxies) == sorted(server.proxies)
    assert reply.proxies[0].connections >= 1 and reply.proxies[0].weight > 0


# ---- accounts and sessions


def test_register_again_with_the_right_password_is_ok(server):
    c, name = server.connect(), new_name()
    first = c.register(name, "one password")
    assert first > 0
    assert c.register(name, "one password") == first
    c.refused("ALREADY_EXISTS", "Register", name=name, password="another password")


def test_names_are_unique_without_regard_to_case_and_form(server):
    c, stem = server.connect(), new_name()
    c.register("Zoë-" + stem)
    c.refused("ALREADY_EXISTS", "Register", name="ZOË-" + stem, password="another password")
    c.refused("ALREADY_EXISTS", "Register", name="zoe\u0308-" + stem, password="another password")
    u = server.user()
    assert u.ok("FindUser", name="zOe\u0308-" + stem.upper()).name == "Zoë-" + stem


@pytest.mark.parametrize("fields", [
    {"name": "", "password": "long enough"}, {"name": "x" * 65, "password": "long enough"},
    {"name": "short-pw", "password": "1234567"}, {"name": "long-pw", "password": "p" * 1025},
    {"name": "tab\tin it", "password": "long enough"}, {"name": "nul\0in it", "password": "long enough"},
    {"name": "   ", "password": "long enough"},
], ids=lambda f: repr(f["name"][:10]))
def test_register_refuses_bad_names_and_passwords(server, fields):
    server.connect().refused("INVALID_ARGUMENT", "Register", **fields)


def test_register_refuses_what_is_not_utf8(server):
    c = server.connect()
    c.refused("INVALID_ARGUMENT", "Register", payload=text_field(1, LATIN) + text_field(2, b"long enough"))
    c.refused("INVALID_ARGUMENT", "Register", payload=text_field(1, new_name().encode()) + text_field(2, LATIN * 4))


def test_login_binds_the_connection(server):
    c, name = server.connect(), new_name()
    user_id = c.register(name)
    reply = c.login(name, device="my phone")
    assert reply.user_id == user_id and reply.session_id and 0 < len(reply.token) <= 256
    assert reply.name == name and reply.token_expires_ms > reply.now_ms > 1.6e12
    assert c.ok("GetProfile").user_id == user_id
    c.refused("FAILED_PRECONDITION", "Login", name=name, password="correct horse")
    c.refused("FAILED_PRECONDITION", "Resume", token=c.token)


def test_login_refuses_unknown_names_and_wrong_passwords_alike(server):
    c, name = server.connect(), new_name()
    c.register(name)
    wrong = c.refused("UNAUTHENTICATED", "Login", name=name, password="wrong horse")
    unknown = c.refused("UNAUTHENTICATED", "Login", name=new_name(), password="wrong horse")
    assert wrong == unknown, "the answer tells which names exist"


def test_login_of_a_disabled_account_is_denied(server):
    u = server.user()
    done = server.run("--disable", u.name)
    assert done.returncode == 0, done.stderr
    server.connect().refused("PERMISSION_DENIED", "Login", name=u.name, password=u.password)
    assert u.event("OnSessionEnded").why == P.DISABLED


def test_resume_needs_a_token_of_a_living_session(server):
    u = server.user()
    again = server.connect()
    assert again.resume(u.token).session_id == u.session_id
    forged = bytearray(u.token)
    forged[-1] ^= 1
    for token in (b"", b"x" * 40, bytes(forged), u.token[:-1], u.token + b"\0"):
        server.connect().refused("UNAUTHENTICATED", "Resume", token=token)


def test_logout_leaves_the_connection_without_a_login(server):
    u = server.user()
    u.ok("Logout")
    u.refused("UNAUTHENTICATED", "GetProfile")
    assert u.ok("Ping", nonce=1).nonce == 1
    # Other nodes than the one that ended the session learn of it within 2 s.
    wait_until(lambda: server.connect().call("Resume", token=u.token).status == "UNAUTHENTICATED", 2, "the session has ended")
    u.login(u.name)


def test_profiles(server):
    a, b = server.users("ann", "ben")
    p = a.ok("UpdateProfile", about="I chat", avatar="https://example.org/a.png")
    assert (p.about, p.avatar, p.name) == ("I chat", "https://example.org/a.png", a.name)
    assert a.ok("UpdateProfile", about="").avatar == "https://example.org/a.png"
    seen = b.ok("GetProfile", target=a.user_id)
    assert (seen.user_id, seen.about, seen.avatar) == (a.user_id, "", "https://example.org/a.png")
    assert seen.created_ms > 1.6e12
    b.refused("NOT_FOUND", "GetProfile", target=NOBODY)
    a.refused("INVALID_ARGUMENT", "UpdateProfile", about="x" * 1025)
    a.refused("INVALID_ARGUMENT", "UpdateProfile", avatar="x" * 1025)
    a.refused("INVALID_ARGUMENT", "UpdateProfile", payload=text_field(1, LATIN))


def test_find_user_and_get_users(server):
    a, b = server.users("Ann", "Ben")
    assert a.ok("FindUser", name=b.name.upper()).user_id == b.user_id
    a.refused("NOT_FOUND", "FindUser", name=new_name("nobody"))
    got = a.ok("GetUsers", user_ids=[b.user_id, NOBODY, a.user_id]).users
    assert {(u.user_id, u.name) for u in got} == {(a.user_id, a.name), (b.user_id, b.name)}
    a.refused("INVALID_ARGUMENT", "GetUsers", user_ids=range(1, 202))


def test_change_password(server):
    u = server.user()
    u.refused("PERMISSION_DENIED", "ChangePassword", old_password="wrong horse", new_password="battery staple")
    u.refused("INVALID_ARGUMENT", "ChangePassword", old_password=u.password, new_password="short")
    u.ok("ChangePassword", old_password=u.password, new_password="battery staple")
    c = server.connect()
    c.refused("UNAUTHENTICATED", "Login", name=u.name, password="correct horse")
    c.login(u.name, "battery staple")
    u.ok("GetProfile")


def test_list_and_end_sessions(server):
    u = server.user()
    other = server.connect()
    other.login(u.name, device="tablet")
    sessions = u.ok("ListSessions").sessions
    assert {(s.session_id, s.device, s.is_this) for s in sessions} == {
        (other.session_id, "tablet", False), (u.session_id, "test", True)}
    assert sessions[0].created_ms >= sessions[1].created_ms > 1.6e12, "newest first"
    u.refused("NOT_FOUND", "EndSession", session_id=NOBODY)
    stranger = server.user()
    stranger.refused("NOT_FOUND", "EndSession", session_id=other.session_id)
    u.ok("EndSession", session_id=other.session_id)
    assert other.event("OnSessionEnded").why == P.ENDED
    other.wait_closed()
    assert [s.session_id for s in u.ok("ListSessions").sessions] == [u.session_id]


# ---- what any method may answer


@pytest.mark.parametrize("name", [m.name for m in SESSION_CALLS])
def test_before_a_login_there_is_nothing(server, name):
    server.connect().refused("UNAUTHENTICATED", name, target=1)


@pytest.mark.parametrize("name", [m.name for m in CLIENT_CALLS])
def test_garbage_is_no_message(server, name):
    c = server.connect() if METHODS[name].access == "PUBLIC" else server.user()
    target = c.user_id or 0
    for garbage in (b"\xff" * 20, b"\x0a\x7fshort", b"\x07"):
        c.refused("INVALID_ARGUMENT", name, target=target, payload=garbage)
    c.ok("Ping", nonce=1)


def test_methods_that_do_not_exist(server):
    u = server.user()
    for number in (0, 1, 0x01ff, 0x0701, 0x7fff, 0xffff):
        u.write(encode(number, REQUEST, call=900))
        wait_until(lambda: u.pump(0.1) or u.strays)
        assert STATUS[u.strays.pop().status] == "UNIMPLEMENTED"
    u.ok("Ping", nonce=1)


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if m.access == "NODE" and not m.event])
def test_node_methods_do_not_exist_for_clients(server, name):
    u = server.user()
    u.refused("UNIMPLEMENTED", name, target=u.user_id)


def guess(server, name, wrong, until):
    """Guess over connections of their own until the answer changes; what that says."""
    for _ in range(60):   # each node counts for itself
        reply = server.connect().call(name, **wrong)
        if reply.status == until:
            return reply.msg
        assert reply.status in ("UNAUTHENTICATED", "ALREADY_EXISTS", "PERMISSION_DENIED"), reply
    raise AssertionError(f"{name} can be tried for ever")


def test_passwords_can_be_guessed_a_few_times_only(server):
    a = server.user("ann")
    nobody = new_name("nobody")
    for name in (a.name, nobody):   # nothing tells whether somebody has the name
        told = guess(server, "Login", {"name": name, "password": "a wrong guess"}, "RESOURCE_EXHAUSTED")
        assert 0 < told.retry_after_ms <= 6001 and told.detail == "too many wrong passwords"
    guess(server, "Register", {"name": a.name, "password": "a wrong guess"}, "RESOURCE_EXHAUSTED")
    b = server.user("ben")
    statuses = []
    while "RESOURCE_EXHAUSTED" not in statuses and len(statuses) < 60:
        other = server.connect()
        other.resume(b.token)
        statuses += [other.call("ChangePassword", old_password="a wrong guess", new_password="another one").status for _ in range(4)]
    assert set(statuses) == {"PERMISSION_DENIED", "RESOURCE_EXHAUSTED"}
    assert server.connect().resume(a.token).user_id == a.user_id   # is not affected
