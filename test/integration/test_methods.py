"""Each client method: with OK, and with each refusal that stands above it in client.proto. test_coverage.py compares."""
import pytest

from client import msg_id, wait_until
from server import new_name
from wire import CLIENT_CALLS, GROUP, METHODS, P, SESSION_CALLS

NOBODY = 1 << 60          # an id that nobody has
NO_GROUP = NOBODY | GROUP
LATIN = b"\xe4\xf6\xfc"   # not UTF-8


def befriend(a, b):
    a.ok("AddFriend", target=b.user_id)
    assert b.ok("AcceptFriend", target=a.user_id).state == P.FRIENDS


def group_of(owner, *members, **fields):
    """A group's target, with members in it."""
    fields.setdefault("name", "a group")
    made = owner.ok("CreateGroup", request_id=msg_id(), **fields)
    target = made.group_id | GROUP
    for m in members:
        owner.ok("Invite", target=target, user_id=m.user_id)
        m.ok("JoinGroup", target=target)
    return target


def text_field(number, data):
    """A protobuf field of bytes, made by hand: the library refuses to write bad UTF-8."""
    return bytes([number << 3 | 2, len(data)]) + data


@pytest.fixture
def small(shared):
    """A server on which every limit is soon reached."""
    yield shared.get("small", {"friend.max_friends": 2, "group.max_joined": 2, "group.max_members": 3})


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


# ---- friends


def test_friends_ask_accept_list_and_remove(server):
    a, b = server.users("ann", "ben")
    assert a.ok("AddFriend", target=b.user_id).state == P.REQUEST_SENT
    assert a.ok("AddFriend", target=b.user_id).state == P.REQUEST_SENT
    asked = b.event("OnFriend")
    assert (asked.user_id, asked.name, asked.state) == (a.user_id, a.name, P.REQUEST_RECEIVED)
    assert b.ok("AcceptFriend", target=a.user_id).state == P.FRIENDS
    assert b.ok("AcceptFriend", target=a.user_id).state == P.FRIENDS
    assert a.event("OnFriend").state == P.FRIENDS
    friend, = a.ok("ListFriends").friends
    assert (friend.user_id, friend.name, friend.state, friend.online) == (b.user_id, b.name, P.FRIENDS, True)
    a.refused("FAILED_PRECONDITION", "DeclineFriend", target=b.user_id)
    assert a.ok("RemoveFriend", target=b.user_id).state == P.NO_FRIEND
    assert a.ok("RemoveFriend", target=b.user_id).state == P.NO_FRIEND
    assert b.event("OnFriend", lambda m: m.state == P.NO_FRIEND).user_id == a.user_id
    assert not b.ok("ListFriends").friends


def test_a_crossing_request_is_an_accept(server):
    a, b = server.users("ann", "ben")
    a.ok("AddFriend", target=b.user_id)
    assert b.ok("AddFriend", target=a.user_id).state == P.FRIENDS


def test_requests_are_declined_and_taken_back(server):
    a, b = server.users("ann", "ben")
    a.ok("AddFriend", target=b.user_id)
    assert b.ok("DeclineFriend", target=a.user_id).state == P.NO_FRIEND
    assert b.ok("DeclineFriend", target=a.user_id).state == P.NO_FRIEND
    assert a.event("OnFriend").state == P.NO_FRIEND
    a.ok("AddFriend", target=b.user_id)
    assert a.ok("DeclineFriend", target=b.user_id).state == P.NO_FRIEND
    b.refused("FAILED_PRECONDITION", "AcceptFriend", target=a.user_id)


def test_friend_calls_refuse_oneself_groups_and_nobody(server):
    a = server.user("ann")
    group = group_of(a)
    for method in ("AddFriend", "Block"):
        a.refused("INVALID_ARGUMENT", method, target=a.user_id)
        a.refused("INVALID_ARGUMENT", method, target=group)
        a.refused("NOT_FOUND", method, target=NOBODY)


def test_friends_are_listed_in_pages(server):
    a = server.user("ann")
    others = [server.user("other") for _ in range(3)]
    for o in others:
        befriend(a, o)
    ids, after, pages = [], 0, 0
    while True:
        page = a.ok("ListFriends", after_user_id=after, limit=2)
        ids += [f.user_id for f in page.friends]
        pages += 1
        if not page.more:
            break
        after = ids[-1]
    assert ids == sorted(o.user_id for o in others) and pages == 2


def test_block_is_in_force_when_answered(server):
    a, b = server.users("ann", "ben")
    befriend(a, b)
    b.send(a.user_id, "still friends")
    reply = a.ok("Block", target=b.user_id)
    assert reply.blocked and reply.state == P.NO_FRIEND
    b.refused("PERMISSION_DENIED", "Send", target=a.user_id, client_msg_id=msg_id(), body=b"hello?")
    b.refused("PERMISSION_DENIED", "Signal", target=a.user_id, type="typing")
    b.refused("PERMISSION_DENIED", "AddFriend", target=a.user_id)
    assert not a.ok("Unblock", target=b.user_id).blocked
    assert not a.ok("Unblock", target=b.user_id).blocked
    b.send(a.user_id, "again")
    assert a.event("OnMessage", lambda m: m.body == b"again")


def test_friendships_have_a_limit_for_both_sides(small):
    a, b, c, d = small.users("ann", "ben", "cat", "dan")
    befriend(a, b)
    befriend(a, c)
    a.refused("RESOURCE_EXHAUSTED", "AddFriend", target=d.user_id)
    d.refused("RESOURCE_EXHAUSTED", "AddFriend", target=a.user_id)


# ---- groups


def test_create_group_again_finds_the_group(server):
    a = server.user("ann")
    request_id = msg_id()
    g = a.ok("CreateGroup", request_id=request_id, name="Gardeners", about="all that grows", join_mode=P.BY_REQUEST)
    assert (g.name, g.about, g.join_mode, g.member_count) == ("Gardeners", "all that grows", P.BY_REQUEST, 1)
    assert (g.owner_id, g.my_role, g.disbanded) == (a.user_id, P.GROUP_OWNER, False)
    again = a.ok("CreateGroup", request_id=request_id, name="Gardeners", about="all that grows", join_mode=P.BY_REQUEST)
    assert again.group_id == g.group_id
    a.refused("ALREADY_EXISTS", "CreateGroup", request_id=request_id, name="Cooks")
    a.refused("INVALID_ARGUMENT", "CreateGroup", request_id=0, name="Cooks")
    a.refused("INVALID_ARGUMENT", "CreateGroup", request_id=msg_id(), name="")
    a.refused("INVALID_ARGUMENT", "CreateGroup", request_id=msg_id(), name="x" * 257)
    a.refused("INVALID_ARGUMENT", "CreateGroup", payload=b"\x08\x01" + text_field(2, LATIN))
    same_name = a.ok("CreateGroup", request_id=msg_id(), name="Gardeners")
    assert same_name.group_id != g.group_id


def test_update_group(server):
    a, b = server.users("ann", "ben")
    group = group_of(a, b)
    a.ok("SetRole", target=group, user_id=b.user_id, role=P.ADMIN)
    g = b.ok("UpdateGroup", target=group, name="renamed", join_mode=P.BY_INVITATION)
    assert (g.name, g.join_mode, g.my_role) == ("renamed", P.BY_INVITATION, P.ADMIN)
    change = P.Membership.FromString(a.event("OnMessage", lambda m: P.Membership.FromString(m.body).change == P.UPDATED).body)
    assert (change.name, change.join_mode) == ("renamed", P.BY_INVITATION)
    a.refused("INVALID_ARGUMENT", "UpdateGroup", target=group, name="")
    a.refused("INVALID_ARGUMENT", "UpdateGroup", target=group, about="x" * 1025)
    a.refused("NOT_FOUND", "UpdateGroup", target=NO_GROUP, name="x")
    a.ok("SetRole", target=group, user_id=b.user_id, role=P.MEMBER)
    b.refused("PERMISSION_DENIED", "UpdateGroup", target=group, name="mine")


def test_join_an_open_group(server):
    a, b = server.users("ann", "ben")
    group = group_of(a)
    reply = b.ok("JoinGroup", target=group)
    assert not reply.pending and reply.seq > 0
    again = b.ok("JoinGroup", target=group)
    assert not again.pending
    b.refused("NOT_FOUND", "JoinGroup", target=NO_GROUP)
    joined = P.Membership.FromString(a.event("OnMessage", lambda m: m.sender_id == b.user_id).body)
    assert (joined.change, joined.user_id) == (P.JOINED, b.user_id)


def test_join_by_request_and_by_invitation(server):
    a, b, c = server.users("ann", "ben", "cat")
    group = group_of(a, join_mode=P.BY_REQUEST)
    assert b.ok("JoinGroup", target=group).pending
    asked = a.event("OnGroup", lambda m: m.pending == P.ASKING)
    assert (asked.group_id | GROUP, asked.user_id) == (group, b.user_id)
    assert [m.user_id for m in a.ok("ListMembers", target=group, pending=P.ASKING).members] == [b.user_id]
    a.ok("Invite", target=group, user_id=b.user_id)
    assert b.ok("GetGroup", target=group).my_role == P.MEMBER
    assert c.ok("JoinGroup", target=group).pending
    a.ok("Refuse", target=group, user_id=c.user_id)
    a.ok("Refuse", target=group, user_id=c.user_id)
    assert c.event("OnGroup", lambda m: m.pending == P.NOT_PENDING).group_id | GROUP == group
    a.ok("UpdateGroup", target=group, join_mode=P.BY_INVITATION)
    c.refused("PERMISSION_DENIED", "JoinGroup", target=group)
    a.ok("Invite", target=group, user_id=c.user_id)
    invited = c.event("OnGroup", lambda m: m.pending == P.INVITED)
    assert (invited.group_id | GROUP, invited.user_id, invited.about_user_id) == (group, a.user_id, c.user_id)
    assert c.ok("GetGroup", target=group).my_pending == P.INVITED
    assert [g.group_id | GROUP for g in c.ok("MyGroups").groups] == [group]
    assert not c.ok("JoinGroup", target=group).pending
    assert c.ok("GetGroup", target=group).member_count == 3


def test_an_invitation_is_refused(server):
    a, b = server.users("ann", "ben")
    group = group_of(a, join_mode=P.BY_INVITATION)
    a.ok("Invite", target=group, user_id=b.user_id)
    b.ok("Refuse", target=group)
    b.refused("PERMISSION_DENIED", "JoinGroup", target=group)
    assert not b.ok("MyGroups").groups


def test_invite_and_refuse_refusals(server):
    a, b, c, d = server.users("ann", "ben", "cat", "dan")
    group = group_of(a, b, join_mode=P.BY_REQUEST)
    a.refused("NOT_FOUND", "Invite", target=NO_GROUP, user_id=c.user_id)
    a.refused("NOT_FOUND", "Invite", target=group, user_id=NOBODY)
    b.refused("PERMISSION_DENIED", "Invite", target=group, user_id=c.user_id)
    c.ok("Block", target=a.user_id)
    a.refused("PERMISSION_DENIED", "Invite", target=group, user_id=c.user_id)
    d.ok("JoinGroup", target=group)
    b.refused("PERMISSION_DENIED", "Refuse", target=group, user_id=d.user_id)
    a.refused("NOT_FOUND", "Refuse", target=NO_GROUP, user_id=d.user_id)


def test_leave_group(server):
    a, b = server.users("ann", "ben")
    group = group_of(a, b)
    a.refused("FAILED_PRECONDITION", "LeaveGroup", target=group)
    assert b.ok("LeaveGroup", target=group).seq > 0
    assert b.ok("LeaveGroup", target=group).seq == 0
    b.refused("NOT_FOUND", "LeaveGroup", target=NO_GROUP)
    b.refused("PERMISSION_DENIED", "Send", target=group, client_msg_id=msg_id(), body=b"x")
    left = P.Membership.FromString(
        a.event("OnMessage", lambda m: P.Membership.FromString(m.body).change == P.LEFT).body)
    assert left.user_id == b.user_id


def test_kick(server):
    a, b, c, d = server.users("ann", "ben", "cat", "dan")
    group = group_of(a, b, c, d)
    a.ok("SetRole", target=group, user_id=b.user_id, role=P.ADMIN)
    a.refused("INVALID_ARGUMENT", "Kick", target=group, user_id=a.user_id)
    a.refused("NOT_FOUND", "Kick", target=NO_GROUP, user_id=b.user_id)
    c.refused("PERMISSION_DENIED", "Kick", target=group, user_id=d.user_id)
    b.refused("PERMISSION_DENIED", "Kick", target=group, user_id=a.user_id)
    assert b.ok("Kick", target=group, user_id=c.user_id).seq > 0
    assert b.ok("Kick", target=group, user_id=c.user_id).seq == 0
    change = P.Membership.FromString(
        c.event("OnMessage", lambda m: P.Membership.FromString(m.body).change == P.KICKED).body)
    assert change.user_id == c.user_id
    assert a.ok("Kick", target=group, user_id=b.user_id).seq > 0


def test_mute(server):
    a, b = server.users("ann", "ben")
    group = group_of(a, b)
    until = a.hello.now_ms + 3_600_000
    a.ok("Mute", target=group, user_id=b.user_id, until_ms=until)
    b.refused("PERMISSION_DENIED", "Send", target=group, client_msg_id=msg_id(), body=b"x")
    muted, = [m for m in a.ok("ListMembers", target=group).members if m.user_id == b.user_id]
    assert muted.muted_until_ms == until
    a.ok("Mute", target=group, user_id=b.user_id, until_ms=0)
    b.send(group, "free again")
    a.refused("NOT_FOUND", "Mute", target=NO_GROUP, user_id=b.user_id, until_ms=until)
    a.refused("NOT_FOUND", "Mute", target=group, user_id=NOBODY, until_ms=until)
    b.refused("PERMISSION_DENIED", "Mute", target=group, user_id=a.user_id, until_ms=until)


def test_set_role_and_transfer(server):
    a, b, c = server.users("ann", "ben", "cat")
    group = group_of(a, b)
    for method, fields in (("SetRole", {"role": P.ADMIN}), ("Transfer", {})):
        a.refused("NOT_FOUND", method, target=NO_GROUP, user_id=b.user_id, **fields)
        a.refused("NOT_FOUND", method, target=group, user_id=c.user_id, **fields)
        b.refused("PERMISSION_DENIED", method, target=group, user_id=a.user_id, **fields)
    a.refused("INVALID_ARGUMENT", "SetRole", target=group, user_id=b.user_id, role=P.GROUP_OWNER)
    a.refused("INVALID_ARGUMENT", "SetRole", target=group, user_id=b.user_id, role=P.NOT_A_MEMBER)
    a.refused("INVALID_ARGUMENT", "SetRole", target=group, user_id=a.user_id, role=P.MEMBER)
    assert a.ok("SetRole", target=group, user_id=b.user_id, role=P.ADMIN).seq > 0
    assert a.ok("SetRole", target=group, user_id=b.user_id, role=P.ADMIN).seq == 0
    a.ok("Transfer", target=group, user_id=b.user_id)
    a.ok("Transfer", target=group, user_id=b.user_id)
    roles = {m.user_id: m.role for m in b.ok("ListMembers", target=group).members}
    assert roles == {a.user_id: P.ADMIN, b.user_id: P.GROUP_OWNER}
    a.ok("LeaveGroup", target=group)


def test_get_group_and_list_members(server):
    a, b, c = server.users("ann", "ben", "cat")
    group = group_of(a, b)
    assert c.ok("GetGroup", target=group).my_role == P.NOT_A_MEMBER
    c.refused("NOT_FOUND", "GetGroup", target=NO_GROUP)
    hidden = group_of(a, join_mode=P.BY_INVITATION)
    c.refused("NOT_FOUND", "GetGroup", target=hidden)
    first = a.ok("ListMembers", target=group, limit=1)
    assert first.more and [m.user_id for m in first.members] == [min(a.user_id, b.user_id)]
    rest = a.ok("ListMembers", target=group, limit=1, after_user_id=first.members[0].user_id)
    assert not rest.more and [m.user_id for m in rest.members] == [max(a.user_id, b.user_id)]
    assert {m.name for m in (*first.members, *rest.members)} == {a.name, b.name}
    a.refused("NOT_FOUND", "ListMembers", target=NO_GROUP)
    c.refused("PERMISSION_DENIED", "ListMembers", target=group)
    b.refused("PERMISSION_DENIED", "ListMembers", target=group, pending=P.ASKING)


def test_my_groups_in_pages(server):
    a = server.user("ann")
    made = [group_of(a) & ~GROUP for _ in range(3)]
    first = a.ok("MyGroups", limit=2)
    assert first.more and [g.group_id for g in first.groups] == made[:2]
    rest = a.ok("MyGroups", after_group_id=made[1], limit=2)
    assert not rest.more and [g.group_id for g in rest.groups] == made[2:]


def test_a_disbanded_group_takes_no_changes(server):
    a, b, c = server.users("ann", "ben", "cat")
    group = group_of(a, b)
    seq = b.send(group, "keep this")
    b.refused("PERMISSION_DENIED", "Disband", target=group)
    a.refused("NOT_FOUND", "Disband", target=NO_GROUP)
    assert a.ok("Disband", target=group).seq > 0
    assert a.ok("Disband", target=group).seq == 0
    for method, fields in (
            ("UpdateGroup", {"name": "x"}), ("Invite", {"user_id": c.user_id}), ("Kick", {"user_id": b.user_id}),
            ("Mute", {"user_id": b.user_id, "until_ms": 1 << 50}), ("SetRole", {"user_id": b.user_id, "role": P.ADMIN}),
            ("Transfer", {"user_id": b.user_id}), ("Send", {"client_msg_id": msg_id(), "body": b"x"}),
            ("Signal", {"type": "typing"})):
        a.refused("FAILED_PRECONDITION", method, target=group, **fields)
    c.refused("FAILED_PRECONDITION", "JoinGroup", target=group)
    b.refused("FAILED_PRECONDITION", "Edit", target=group, client_msg_id=msg_id(), refers_to_seq=seq, body=b"x")
    b.refused("FAILED_PRECONDITION", "Recall", target=group, client_msg_id=msg_id(), refers_to_seq=seq)
    assert a.ok("GetGroup", target=group).disbanded
    assert b"keep this" in [m.body for m in b.ok("History", target=group).messages]


def test_groups_have_limits(small):
    a, b, c, d = small.users("ann", "ben", "cat", "dan")
    group = group_of(a, b, c)
    d.refused("RESOURCE_EXHAUSTED", "JoinGroup", target=group)
    a.refused("RESOURCE_EXHAUSTED", "Invite", target=group, user_id=d.user_id)
    group_of(a)
    a.refused("RESOURCE_EXHAUSTED", "CreateGroup", request_id=msg_id(), name="one too many")


# ---- what was missed


def test_pull_follows_positions(server):
    a, b, c = server.users("ann", "ben", "cat")
    seqs = [a.send(b.user_id, f"{i}") for i in range(5)]
    c.send(b.user_id, "from cat")
    assert seqs == [1, 2, 3, 4, 5]
    key, other = (max(a.user_id, b.user_id), min(a.user_id, b.user_id)), (max(c.user_id, b.user_id), min(c.user_id, b.user_id))
    reply = b.ok("Pull")
    assert [(x.hi, x.lo) for x in reply.conversations] == sorted([key, other])
    assert all(not x.messages for x in reply.conversations) and not reply.more
    at = {(x.hi, x.lo): x for x in reply.conversations}
    assert (at[key].head_seq, at[key].first_seq, at[key].unread, at[key].name) == (5, 1, 5, a.name)
    positions = sorted([(*key, 3), (*other, 1)])
    reply = b.ok("Pull", positions=[P.Position(hi=h, lo=l, seq=s) for h, l, s in positions])
    assert [m.body for x in reply.conversations for m in x.messages] == [b"3", b"4"]
    first = b.ok("Pull", positions=[P.Position(hi=h, lo=l, seq=0) for h, l, _ in positions], limit=2)
    assert first.more and sum(len(x.messages) for x in first.conversations) == 2
    b.refused("INVALID_ARGUMENT", "Pull", positions=[P.Position(hi=h, lo=l, seq=0) for h, l, _ in reversed(positions)])
    b.refused("INVALID_ARGUMENT", "Pull", positions=[P.Position(hi=i, lo=1) for i in range(2, 15000)])


def test_list_conversations_in_pages(server):
    a, b, c = server.users("ann", "ben", "cat")
    b.send(a.user_id, "hello")
    c.send(a.user_id, "hi")
    c.send(a.user_id, "there")
    first = a.ok("ListConversations", limit=1)
    assert first.more
    conv, = first.conversations
    rest = a.ok("ListConversations", after=P.ConversationKey(hi=conv.hi, lo=conv.lo))
    assert not rest.more
    both = [conv, *rest.conversations]
    assert {x.name: (x.head_seq, x.unread, [m.body for m in x.messages]) for x in both} == {
        b.name: (1, 1, [b"hello"]), c.name: (2, 2, [b"there"])}


def test_history_pages(server):
    a, b, c = server.users("ann", "ben", "cat")
    for i in range(1, 11):
        a.send(b.user_id, f"{i}")
    def seqs(**kw):
        return [m.seq for m in b.ok("History", target=a.user_id, **kw).messages]
    assert seqs(limit=3) == [8, 9, 10]
    assert seqs(before_seq=8, limit=3) == [5, 6, 7]
    assert seqs(before_seq=2) == [1]
    assert seqs(from_seq=4, limit=2) == [4, 5]
    assert seqs(from_seq=11) == []
    page = b.ok("History", target=a.user_id)
    assert (page.head_seq, page.first_seq) == (10, 1)
    b.refused("NOT_FOUND", "History", target=c.user_id)
    b.refused("NOT_FOUND", "History", target=NOBODY)
    c.refused("NOT_FOUND", "History", target=group_of(a))


def test_marks_make_receipts(server):
    a, b = server.users("ann", "ben")
    hi, lo = max(a.user_id, b.user_id), min(a.user_id, b.user_id)
    for i in range(3):
        a.send(b.user_id, f"{i}")
    b.ok("Mark", marks=[P.Mark(hi=hi, lo=lo, delivered_seq=99, read_seq=2), P.Mark(hi=NOBODY, lo=0, read_seq=1)])
    receipt = a.event("OnReceipt", lambda m: m.read_seq == 2)
    assert (receipt.user_id, receipt.delivered_seq, receipt.hi, receipt.lo) == (b.user_id, 3, hi, lo)
    b.ok("Mark", marks=[P.Mark(hi=hi, lo=lo, delivered_seq=1, read_seq=1)])
    mine, = b.ok("ListConversations").conversations
    assert (mine.delivered_seq, mine.read_seq, mine.unread) == (3, 2, 1)
    hers, = a.ok("ListConversations").conversations
    assert (hers.peer_delivered_seq, hers.peer_read_seq, hers.unread) == (3, 2, 0)


def test_receipts_in_a_group_are_asked_for(server):
    a, b, c = server.users("ann", "ben", "cat")
    group = group_of(a, b, c)
    seq = a.send(group, "who reads this")
    b.ok("Mark", marks=[P.Mark(hi=group & ~GROUP, lo=0, read_seq=seq)])
    c.ok("Mark", marks=[P.Mark(hi=group & ~GROUP, lo=0, delivered_seq=seq)])
    def receipts():
        got = a.ok("GetReceipts", target=group, seq=seq)
        return got if (got.delivered_count, got.read_count) == (2, 1) else None
    got = wait_until(receipts, what="both receipts")
    assert got.member_count == 2
    assert {(r.user_id, r.delivered, r.read) for r in got.receipts if r.delivered} == {
        (b.user_id, True, True), (c.user_id, True, False)}
    a.refused("NOT_FOUND", "GetReceipts", target=group, seq=seq + 100)
    a.refused("NOT_FOUND", "GetReceipts", target=NO_GROUP, seq=1)
    server.user().refused("NOT_FOUND", "GetReceipts", target=group, seq=seq)


# ---- writing


def test_send_again_answers_the_same_seq(server):
    a, b = server.users("ann", "ben")
    i = msg_id()
    first = a.ok("Send", target=b.user_id, client_msg_id=i, body=b"once")
    again = a.ok("Send", target=b.user_id, client_msg_id=i, body=b"once")
    assert (first.seq, first.sent_ms) == (again.seq, again.sent_ms)
    flagged = a.ok("Send", target=b.user_id, client_msg_id=i, body=b"once", flags=0x10)
    assert flagged.seq == first.seq
    a.refused("ALREADY_EXISTS", "Send", target=b.user_id, client_msg_id=i, body=b"something else")
    a.refused("ALREADY_EXISTS", "Send", target=b.user_id, client_msg_id=i, body=b"something else", flags=0x10)
    assert a.send(b.user_id, "next") == first.seq + 1
    assert [m.body for m in b.ok("History", target=a.user_id).messages] == [b"once", b"next"]


def test_send_refusals(server):
    a, b = server.users("ann", "ben")
    def bad(status, **kw):
        a.refused(status, "Send", **{"target": b.user_id, "client_msg_id": msg_id(), "body": b"x", **kw})
    bad("INVALID_ARGUMENT", client_msg_id=0)
    bad("INVALID_ARGUMENT", body=b"x" * 65537)
    bad("INVALID_ARGUMENT", body=LATIN)
    bad("INVALID_ARGUMENT", content_type="x" * 129)
    for kind in (P.EDIT, P.RECALL, P.MEMBERSHIP, 9):
        bad("INVALID_ARGUMENT", kind=kind)
    bad("NOT_FOUND", target=NOBODY)
    bad("NOT_FOUND", target=NO_GROUP)
    bad("PERMISSION_DENIED", target=group_of(b))
    assert a.send(b.user_id, b"x" * 65536) == 1
    assert a.send(b.user_id, LATIN, kind=P.APPLICATION, content_type="image/x-test") == 2
    got = b.event("OnMessage", lambda m: m.kind == P.APPLICATION)
    assert (got.body, got.content_type) == (LATIN, "image/x-test")


def test_strangers_may_be_kept_out(make_server):
    server = make_server({"chat.strangers": "no"})
    a, b = server.users("ann", "ben")
    a.refused("PERMISSION_DENIED", "Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")
    befriend(a, b)
    assert a.send(b.user_id, "now") == 1
    a.ok("RemoveFriend", target=b.user_id)
    a.refused("PERMISSION_DENIED", "Send", target=b.user_id, client_msg_id=msg_id(), body=b"x")


def test_a_chat_with_oneself(server):
    a = server.user("ann")
    other = server.again(a)
    assert a.send(a.user_id, "a note") == 1
    assert other.event("OnMessage").body == b"a note"
    assert [m.body for m in a.ok("History", target=a.user_id).messages] == [b"a note"]


def test_edit(server):
    a, b = server.users("ann", "ben")
    seq = a.send(b.user_id, "teh text")
    i = msg_id()
    edit = a.ok("Edit", target=b.user_id, client_msg_id=i, refers_to_seq=seq, body=b"the text")
    assert edit.seq == seq + 1
    assert a.ok("Edit", target=b.user_id, client_msg_id=i, refers_to_seq=seq, body=b"the text").seq == edit.seq
    got = b.event("OnMessage", lambda m: m.kind == P.EDIT)
    assert (got.refers_to_seq, got.body, got.seq) == (seq, b"the text", edit.seq)
    assert b.ok("History", target=a.user_id).messages[0].body == b"the text"
    a.ok("Edit", target=b.user_id, client_msg_id=msg_id(), refers_to_seq=seq, body=b"the final text")
    assert b.ok("History", target=a.user_id).messages[0].body == b"the final text"

    def bad(status, who=a, **kw):
        who.refused(status, "Edit", **{"target": (b if who is a else a).user_id, "client_msg_id": msg_id(),
                                       "refers_to_seq": seq, "body": b"x", **kw})
    bad("INVALID_ARGUMENT", client_msg_id=0)
    bad("INVALID_ARGUMENT", body=b"x" * 65537)
    bad("INVALID_ARGUMENT", body=LATIN)
    bad("NOT_FOUND", target=NOBODY)
    bad("NOT_FOUND", refers_to_seq=99)
    bad("PERMISSION_DENIED", who=b)
    bad("ALREADY_EXISTS", client_msg_id=i, body=b"yet another text")
    bad("FAILED_PRECONDITION", refers_to_seq=edit.seq)
    a.ok("Recall", target=b.user_id, client_msg_id=msg_id(), refers_to_seq=seq)
    bad("FAILED_PRECONDITION")


def test_recall(server):
    a, b = server.users("ann", "ben")
    seq = a.send(b.user_id, "a secret")
    a.ok("Edit", target=b.user_id, client_msg_id=msg_id(), refers_to_seq=seq, body=b"a worse secret")

    def bad(status, who=a, **kw):
        who.refused(status, "Recall", **{"target": (b if who is a else a).user_id, "client_msg_id": msg_id(),
                                         "refers_to_seq": seq, **kw})
    bad("INVALID_ARGUMENT", client_msg_id=0)
    bad("NOT_FOUND", target=NOBODY)
    bad("NOT_FOUND", refers_to_seq=99)
    bad("PERMISSION_DENIED", who=b)
    i = msg_id()
    recall = a.ok("Recall", target=b.user_id, client_msg_id=i, refers_to_seq=seq)
    assert a.ok("Recall", target=b.user_id, client_msg_id=i, refers_to_seq=seq).seq == recall.seq
    got = b.event("OnMessage", lambda m: m.kind == P.RECALL)
    assert (got.refers_to_seq, got.body) == (seq, b"")
    bad("ALREADY_EXISTS", client_msg_id=i, refers_to_seq=seq + 1)
    bad("FAILED_PRECONDITION", refers_to_seq=recall.seq)
    for page in (a.ok("History", target=b.user_id), b.ok("History", target=a.user_id)):
        assert b"secret" not in page.SerializeToString()
    pulled = b.ok("Pull", positions=[P.Position(hi=max(a.user_id, b.user_id), lo=min(a.user_id, b.user_id), seq=0)])
    assert b"secret" not in pulled.SerializeToString()
    assert len(pulled.conversations[0].messages) == 3


def test_admins_recall_in_groups(server):
    a, b, c = server.users("ann", "ben", "cat")
    group = group_of(a, b, c)
    by_owner, by_member = a.send(group, "by the owner"), b.send(group, "by a member")
    c.refused("PERMISSION_DENIED", "Recall", target=group, client_msg_id=msg_id(), refers_to_seq=by_member)
    a.ok("SetRole", target=group, user_id=c.user_id, role=P.ADMIN)
    c.ok("Recall", target=group, client_msg_id=msg_id(), refers_to_seq=by_member)
    a.ok("Recall", target=group, client_msg_id=msg_id(), refers_to_seq=by_owner)
    stranger = server.user()
    stranger.refused("PERMISSION_DENIED", "Recall", target=group, client_msg_id=msg_id(), refers_to_seq=by_member)


def test_signals_reach_who_is_there_and_are_not_kept(server):
    a, b = server.users("ann", "ben")
    a.ok("Signal", target=b.user_id, type="typing", body=b"...")
    got = b.event("OnSignal")
    assert (got.sender_id, got.type, got.body) == (a.user_id, "typing", b"...")
    group = group_of(a, b)
    b.ok("Signal", target=group, type="typing")
    assert a.event("OnSignal").hi == group & ~GROUP
    a.refused("INVALID_ARGUMENT", "Signal", target=b.user_id, type="x" * 65)
    a.refused("INVALID_ARGUMENT", "Signal", target=b.user_id, type="file", body=b"x" * 65536)
    a.refused("NOT_FOUND", "Signal", target=NOBODY, type="typing")
    server.user().refused("PERMISSION_DENIED", "Signal", target=group, type="typing")
    assert all(m.kind == P.MEMBERSHIP for m in a.ok("History", target=group).messages)


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
        from wire import REQUEST, STATUS, encode
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
