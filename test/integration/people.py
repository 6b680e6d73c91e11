"""Users who know each other, and what nobody is or can read: what tests of methods begin with."""
from client import msg_id
from wire import GROUP, P

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
