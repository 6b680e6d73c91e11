"""The methods that write messages and read what was missed, as in test_methods.py."""
from client import msg_id, wait_until
from people import LATIN, NOBODY, NO_GROUP, befriend, group_of
from wire import GROUP, P


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
    assert (at[key].head_seq, at[key].first_seq, at[key].name) == (5, 1, a.name)
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
    seq = a.send(b.user_id, "a secret", content_type="text/x-secret")
    a.ok("Edit", target=b.user_id, client_msg_id=msg_id(), refers_to_seq=seq, content_type="text/x-worse-secret", body=b"a worse secret")

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
