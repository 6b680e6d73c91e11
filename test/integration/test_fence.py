"""The keys of the database are the fence: another writer of the same conversations, who knows nothing of this process.

It writes straight into the database, as another node would that believes it owns the conversation too.
"""
import os
import sqlite3
import time

import pytest

from client import msg_id, wait_until
from wire import GROUP, P, RESEND, key_of

WINDOWS = {"window": {}, "no-window": {"chat.window": "0"}}


@pytest.fixture(params=WINDOWS)
def fenced(request, make_server):
    return make_server(WINDOWS[request.param])


class Other:
    """The other writer."""

    def __init__(self, server):
        self.db = sqlite3.connect(os.path.join(server.dir, "bytetalk.db"), timeout=10, isolation_level=None)

    def execute(self, *statements):
        self.db.execute("BEGIN IMMEDIATE")
        for sql, *values in statements:
            assert self.db.execute(sql, values).rowcount == 1, sql
        self.db.execute("COMMIT")

    def message(self, key, seq, sender, body, cmid=None, kind=P.TEXT):
        return ("INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, refers_to_seq, digest, content_type, body)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 0, 77, x'', ?)", *key, seq, sender, cmid or msg_id(), int(time.time() * 1000), kind, body)

    def rows(self, key):
        return self.db.execute("SELECT seq, sender_id, client_msg_id, CAST(body AS TEXT) FROM message WHERE hi = ? AND lo = ? ORDER BY seq",
                               key).fetchall()

    def whole(self, key):
        """The log, after the check that it has no gap and nothing twice."""
        rows = self.rows(key)
        assert [r[0] for r in rows] == list(range(1, len(rows) + 1))
        assert len({r[1:3] for r in rows}) == len(rows)
        return [r[3] for r in rows]


def test_a_seq_that_another_owner_took_is_not_given_again(fenced):
    ann, ben = fenced.users("ann", "ben")
    other, key = Other(fenced), key_of(ann.user_id, ben.user_id)
    assert ann.send(ben.user_id, "one") == 1
    other.execute(other.message(key, 2, ben.user_id, b"from elsewhere"))
    assert ann.send(ben.user_id, "two") == 3
    other.execute(other.message(key, 4, ben.user_id, b"again"), other.message(key, 5, ben.user_id, b"and again"))
    assert ann.send(ben.user_id, "three") == 6
    assert other.whole(key) == ["one", "from elsewhere", "two", "again", "and again", "three"]
    assert [ben.event("OnMessage").seq for _ in range(3)] == [1, 3, 6]


def test_a_full_pipeline_meets_another_owner_and_keeps_its_order(fenced):
    ann, ben, cat = fenced.users("ann", "ben", "cat")
    other, key = Other(fenced), key_of(ann.user_id, ben.user_id)
    ann.send(ben.user_id, "m0")
    cat.send(ann.user_id, "c0")
    other.execute(other.message(key, 2, ben.user_id, b"x"))
    calls = [ann.start("Send", target=ben.user_id, client_msg_id=msg_id(), body=f"m{i}".encode()) for i in range(1, 41)]
    calls_c = [cat.start("Send", target=ann.user_id, client_msg_id=msg_id(), body=f"c{i}".encode()) for i in range(1, 41)]
    seqs = [ann.wait(c).msg.seq for c in calls]
    assert seqs == list(range(3, 43))
    assert [cat.wait(c).msg.seq for c in calls_c] == list(range(2, 42))
    assert other.whole(key) == ["m0", "x"] + [f"m{i}" for i in range(1, 41)]
    assert other.whole(key_of(ann.user_id, cat.user_id)) == [f"c{i}" for i in range(41)]


def test_an_id_that_stands_already_is_answered_with_its_seq_and_pushed(fenced):
    ann, ben = fenced.users("ann", "ben")
    other, key = Other(fenced), key_of(ann.user_id, ben.user_id)
    first = msg_id()
    assert ann.send(ben.user_id, "one", client_msg_id=first) == 1
    # The same message, under its id, through another node that was faster: the digest is that of the first.
    digest = other.db.execute("SELECT digest FROM message WHERE hi = ? AND lo = ?", key).fetchone()[0]
    again = msg_id()
    sql, *values = other.message(key, 2, ann.user_id, b"one", again)
    other.execute((sql.replace("77", str(digest)), *values))
    assert ann.send(ben.user_id, "one", client_msg_id=again) == 2
    assert [ben.event("OnMessage").seq for _ in range(2)] == [1, 2]
    assert ann.send(ben.user_id, "two") == 3
    assert other.whole(key) == ["one", "one", "two"]


def test_repeats_in_one_write_stand_once(fenced):
    ann, ben = fenced.users("ann", "ben")
    other, key = Other(fenced), key_of(ann.user_id, ben.user_id)
    one, two = msg_id(), msg_id()
    ann.send(ben.user_id, "zero")
    data, calls = b"", []
    for cmid, body in [(one, b"a"), (one, b"a"), (two, b"b"), (one, b"other"), (two, b"b"), (one, b"a")]:
        call, frame = ann.start("Send", target=ben.user_id, client_msg_id=cmid, body=body, write=False)
        data += frame
        calls.append(call)
    ann.write(data)
    replies = [ann.wait(c) for c in calls]
    assert [r.status for r in replies] == ["OK", "OK", "OK", "ALREADY_EXISTS", "OK", "OK"]
    assert [r.msg.seq for r in replies if r.status == "OK"] == [2, 2, 3, 3, 2]
    assert other.whole(key) == ["zero", "a", "b"]


@pytest.mark.parametrize("flags", [0, RESEND])
def test_an_ancient_id_finds_its_seq_and_holds_nobody_up(make_server, flags):
    server = make_server({"chat.window": "4"})
    ann, ben, cat = server.users("ann", "ben", "cat")
    ids = [msg_id() for _ in range(30)]
    assert [ann.send(ben.user_id, f"m{i}", client_msg_id=ids[i]) for i in range(30)] == list(range(1, 31))
    for i in range(0, 30, 3):
        repeat = ann.start("Send", target=ben.user_id, client_msg_id=ids[i], body=f"m{i}".encode(), flags=flags)
        fresh = cat.start("Send", target=ann.user_id, client_msg_id=msg_id(), body=b"fresh")
        assert ann.wait(repeat).msg.seq == i + 1
        assert cat.wait(fresh).msg.seq == i // 3 + 1
    ann.refused("ALREADY_EXISTS", "Send", target=ben.user_id, client_msg_id=ids[0], body=b"something else", flags=flags)
    assert len(Other(server).whole(key_of(ann.user_id, ben.user_id))) == 30


def test_a_repeat_after_an_edit_or_recall_is_still_a_repeat(fenced):
    ann, ben = fenced.users("ann", "ben")
    one, two, edit = msg_id(), msg_id(), msg_id()
    ann.send(ben.user_id, "wrng", client_msg_id=one)
    ann.send(ben.user_id, "secret", client_msg_id=two)
    assert ann.ok("Edit", target=ben.user_id, client_msg_id=edit, refers_to_seq=1, body=b"wrong").seq == 3
    ann.ok("Recall", target=ben.user_id, client_msg_id=msg_id(), refers_to_seq=2)
    for flags in (0, RESEND):
        assert ann.send(ben.user_id, "wrng", client_msg_id=one, flags=flags) == 1
        assert ann.send(ben.user_id, "secret", client_msg_id=two, flags=flags) == 2
        assert ann.ok("Edit", target=ben.user_id, client_msg_id=edit, refers_to_seq=1, body=b"wrong", flags=flags).seq == 3
    assert Other(fenced).whole(key_of(ann.user_id, ben.user_id)) == ["wrong", "", "", ""]


def test_edits_and_recalls_meet_the_fence_too(fenced):
    ann, ben = fenced.users("ann", "ben")
    other, key = Other(fenced), key_of(ann.user_id, ben.user_id)
    ann.send(ben.user_id, "one")
    other.execute(other.message(key, 2, ben.user_id, b"x"))
    assert ann.ok("Edit", target=ben.user_id, client_msg_id=msg_id(), refers_to_seq=1, body=b"uno").seq == 3
    other.execute(other.message(key, 4, ben.user_id, b"y"))
    assert ann.ok("Recall", target=ben.user_id, client_msg_id=msg_id(), refers_to_seq=1).seq == 5
    assert other.whole(key) == ["", "x", "", "y", ""]


def group_of(owner, *members):
    group = owner.ok("CreateGroup", request_id=msg_id(), name="the group").group_id
    for m in members:
        m.ok("JoinGroup", target=group | GROUP)
    return group


def membership(other, group, seq, actor, change, user):
    body = P.Membership(change=change, user_id=user).SerializeToString()
    return other.message((group, 0), seq, actor, body, kind=P.MEMBERSHIP)


def test_who_was_removed_through_another_owner_writes_nothing_more(fenced):
    ann, ben = fenced.users("ann", "ben")
    group = group_of(ann, ben)
    other = Other(fenced)
    assert ben.send(group | GROUP, "hello") == 3
    other.execute(membership(other, group, 4, ann.user_id, P.KICKED, ben.user_id),
                  ("UPDATE member SET role = 0, left_seq = 4 WHERE hi = ? AND lo = 0 AND user_id = ?", group, ben.user_id))
    # The owner's copy still holds him as a member: his write fails at the fence, and then for want of rights.
    ben.refused("PERMISSION_DENIED", "Send", target=group | GROUP, client_msg_id=msg_id(), body=b"still here?")
    assert ann.send(group | GROUP, "gone") == 5
    ann.settle()
    ben.no_event("OnMessage", lambda m: m.seq > 4)


def test_who_joined_through_another_owner_may_write(fenced):
    ann, ben = fenced.users("ann", "ben")
    group = group_of(ann)
    other = Other(fenced)
    ben.refused("PERMISSION_DENIED", "Send", target=group | GROUP, client_msg_id=msg_id(), body=b"let me in")
    other.execute(membership(other, group, 2, ben.user_id, P.JOINED, ben.user_id),
                  ("INSERT INTO member (hi, lo, user_id, role, joined_seq, delivered_seq, read_seq) VALUES (?, 0, ?, 1, 2, 1, 1)", group, ben.user_id))

    def may_write():
        return ben.call("Send", target=group | GROUP, client_msg_id=msg_id(), body=b"hello").status == "OK"
    wait_until(may_write, 5)
    assert ann.event("OnMessage", lambda m: m.kind == P.TEXT).seq == 3


def test_a_first_message_races_another_owner(fenced):
    ann, ben = fenced.users("ann", "ben")
    other, key = Other(fenced), key_of(ann.user_id, ben.user_id)
    # Whatever makes the conversation known here without a message: a signal opens it.
    ann.ok("Signal", target=ben.user_id, type="typing")
    insert = "INSERT INTO member (hi, lo, user_id, role, joined_seq) VALUES (?, ?, ?, 1, 1)"
    other.execute((insert, *key, ann.user_id), (insert, *key, ben.user_id), other.message(key, 1, ben.user_id, b"first"))
    assert ann.send(ben.user_id, "second") == 2
    assert other.whole(key) == ["first", "second"]
    assert ben.event("OnMessage").seq == 2
