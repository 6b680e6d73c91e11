"""The methods of friends and groups, as in test_methods.py."""
import pytest

from client import msg_id
from people import LATIN, NOBODY, NO_GROUP, befriend, group_of, text_field
from wire import GROUP, P


@pytest.fixture
def small(shared):
    """A server on which every limit is soon reached."""
    yield shared.get("small", {"friend.max_friends": 2, "group.max_joined": 2, "group.max_members": 3})


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
    a, b, c, d, e = small.users("ann", "ben", "cat", "dan", "eve")
    e.ok("AddFriend", target=a.user_id)
    befriend(a, b)
    befriend(a, c)
    a.refused("RESOURCE_EXHAUSTED", "AddFriend", target=d.user_id)
    d.refused("RESOURCE_EXHAUSTED", "AddFriend", target=a.user_id)
    a.refused("RESOURCE_EXHAUSTED", "AcceptFriend", target=e.user_id)


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


def test_a_disbanded_group_is_left_by_its_owner_too(server):
    a, b = server.users("ann", "ben")
    group = group_of(a, b)
    a.refused("FAILED_PRECONDITION", "LeaveGroup", target=group)
    end = a.ok("Disband", target=group).seq
    assert [g.disbanded for g in a.ok("MyGroups").groups] == [True]
    assert a.ok("LeaveGroup", target=group).seq == end + 1
    assert a.ok("LeaveGroup", target=group).seq == 0
    assert not a.ok("MyGroups").groups
    assert [(g.member_count, g.owner_id) for g in b.ok("MyGroups").groups] == [(1, 0)]
    assert a.ok("History", target=group).messages[-1].seq == end + 1 # what was written while he was in stays his
    a.refused("PERMISSION_DENIED", "Disband", target=group)
    assert b.ok("LeaveGroup", target=group).seq == end + 2
    assert not b.ok("MyGroups").groups


def test_groups_have_limits(small):
    a, b, c, d = small.users("ann", "ben", "cat", "dan")
    group = group_of(a, b, c)
    d.refused("RESOURCE_EXHAUSTED", "JoinGroup", target=group)
    a.refused("RESOURCE_EXHAUSTED", "Invite", target=group, user_id=d.user_id)
    group_of(a)
    a.refused("RESOURCE_EXHAUSTED", "CreateGroup", request_id=msg_id(), name="one too many")
