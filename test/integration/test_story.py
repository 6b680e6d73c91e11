"""The story: three people meet, chat, one goes away and comes back on two devices; told in every way to put a server together."""
import pytest

from client import msg_id, wait_until
from device import Device
from server import MODES, new_name
from wire import GROUP, P


def key(a, b):
    return max(a.user_id, b.user_id), min(a.user_id, b.user_id)


def device(server, name):
    return Device(server, name).connect()


def unread(dev):
    return {(c.hi, c.lo): c.unread for c in dev.client.ok("ListConversations").conversations}


def same_everywhere(devices, conv, head):
    """All hold the conversation up to head, each from where its user came in, and see the same."""
    for d in devices:
        d.reach(conv, head)
    for d in devices:
        d.check(conv, head, d.first[conv])
        for e in devices:
            first = max(d.first[conv], e.first[conv])
            assert d.view(conv)[first - d.first[conv]:] == e.view(conv)[first - e.first[conv]:], f"{d.name}, {e.name}, {conv}"


@pytest.mark.parametrize("mode", MODES)
def test_the_story(make_server, mode):
    server = make_server(mode=mode)
    names = [new_name(n) for n in ("ann", "ben", "cat", "dan")]
    c = server.connect()
    for n in names:
        c.register(n)
    ann, ben, cat, dan = (device(server, n) for n in names)

    # They become friends.
    for other in (ben, cat):
        ann.client.ok("AddFriend", target=other.user_id)
        asked = other.client.event("OnFriend")
        assert (asked.user_id, asked.state) == (ann.user_id, P.REQUEST_RECEIVED)
        other.client.ok("AcceptFriend", target=ann.user_id)
        assert ann.client.event("OnFriend").state == P.FRIENDS
    assert [(f.user_id, f.online) for f in ann.client.ok("ListFriends").friends] == [
        (ben.user_id, True), (cat.user_id, True)]

    # They chat: pairs, and a group that Ann makes.
    ab, bc = key(ann, ben), key(ben, cat)
    for i in range(4):
        ann.say(ben.user_id, f"to ben {i}")
        ben.say(ann.user_id, f"to ann {i}")
    ann.say(cat.user_id, "hello cat")
    made = ann.client.ok("CreateGroup", request_id=msg_id(), name="three of us", join_mode=P.BY_INVITATION)
    g, group = (made.group_id, 0), made.group_id | GROUP
    for other in (ben, cat):
        ann.client.ok("Invite", target=group, user_id=other.user_id)
        other.client.event("OnGroup", lambda m: m.pending == P.INVITED)
        other.client.ok("JoinGroup", target=group)
    ann.fetch(g) if g in ann.pos else ann.load(g)
    first_words = ann.say(group, "welcome to the group")
    ben.say(group, "thanks")
    cat.say(group, "hi all")
    group_head = cat.say(group, "what's up")
    for d in (ann, ben, cat):
        d.reach(g, group_head)

    # Ben reads what there is; Ann sees it.
    ben.reach(ab, 8)
    ben.client.ok("Mark", marks=[P.Mark(hi=ab[0], lo=ab[1], read_seq=8), P.Mark(hi=g[0], lo=0, read_seq=group_head)])
    receipt = ann.client.event("OnReceipt", lambda m: m.read_seq == 8)
    assert (receipt.user_id, (receipt.hi, receipt.lo)) == (ben.user_id, ab)
    assert unread(ben) == {ab: 0, g: 0}

    # Ben goes. What he misses begins, then his first device sees half of it.
    ben.disconnect()
    wait_until(lambda: not ann.client.ok("ListFriends").friends[0].online, what="Ben is away")
    ann.say(ben.user_id, "are you there?")
    cat.say(ben.user_id, "a message from cat, the first")
    to_edit = ann.say(ben.user_id, "see you at eihgt")
    to_recall = ann.say(ben.user_id, "the code is 1234")
    cat.say(group, "ben is away")
    slip = cat.say(group, "a slip of the tongue")
    ben.connect()
    half = {k: ben.pos[k] for k in (ab, bc, g)}
    assert half == {ab: 11, bc: 1, g: slip}
    ben.disconnect()

    ann.edit(ben.user_id, to_edit, "see you at eight")
    ann.recall(ben.user_id, to_recall)
    cat.recall(group, slip)
    late = cat.say(group, "forget wat I said")
    cat.edit(group, late, "forget what I said")
    ab_head = ann.say(ben.user_id, "good night")
    bc_head = cat.say(ben.user_id, "good night, ben")
    group_head = ann.say(group, "good night, all")

    # He comes back on a device that has seen nothing, and on the one that has seen half.
    fresh = device(server, ben.name)
    ben.connect()
    assert ben.repaired == 0
    for d in (fresh, ben):
        same_everywhere([ann, d], ab, ab_head)
        same_everywhere([cat, d], bc, bc_head)
        same_everywhere([ann, cat, d], g, group_head)
        assert d.first[ab] == d.first[bc] == 1
        texts = [row[4] for k in (ab, bc, g) for row in d.view(k)]
        assert b"see you at eight" in texts and b"see you at eihgt" not in texts and b"the code is 1234" not in texts
    assert fresh.first[g] > 1, "Ben was served what was written before he came"
    raw = b"".join(m.SerializeToString() for k in (ab, bc, g) for m in fresh.log(k))
    assert b"1234" not in raw and b"slip" not in raw

    # Unread: others' messages behind the mark; edits, recalls and what was recalled do not count.
    counts = unread(fresh)
    assert counts[bc] == 2
    assert counts[ab] == 3                          # are you there, eight, good night; not what was taken back
    assert counts[g] == 3                           # away, forget, good night
    fresh.client.ok("Mark", marks=[P.Mark(hi=k[0], lo=k[1], read_seq=h) for k, h in sorted(((ab, ab_head), (bc, bc_head),
                                                                                         (g, group_head)))])
    assert ann.client.event("OnReceipt", lambda m: m.read_seq == ab_head).user_id == ben.user_id
    assert cat.client.event("OnReceipt", lambda m: m.read_seq == bc_head).user_id == ben.user_id
    own = ben.client.event("OnReceipt", lambda m: (m.hi, m.lo) == ab and m.read_seq == ab_head)
    assert own.user_id == ben.user_id, "the other device is told what was read"
    wait_until(lambda: set(unread(ben).values()) == {0}, what="nothing unread on either device")
    wait_until(lambda: ann.client.ok("GetReceipts", target=group, seq=group_head).read_count == 1, what="read by Ben")

    # Both of Ben's devices take part; what one writes the other is pushed.
    ab_head = fresh.say(ann.user_id, "from the new device")
    ab_head = ben.say(ann.user_id, "from the old device")
    same_everywhere([ann, ben, fresh], ab, ab_head)

    # Cat is removed: pushed and served nothing more. Dan comes in: nothing from before.
    ann.take()
    kicked = ann.client.ok("Kick", target=group, user_id=cat.user_id).seq
    cat.reach(g, kicked)
    ann.client.ok("Invite", target=group, user_id=dan.user_id)
    came = dan.client.ok("JoinGroup", target=group).seq
    ann.fetch(g)
    group_head = ann.say(group, "welcome dan")
    dan.reach(g, group_head)
    same_everywhere([ann, ben, fresh], g, group_head)
    dan.check(g, group_head, came)
    page = dan.client.ok("History", target=group, from_seq=1)
    assert page.first_seq == came and [m.seq for m in page.messages] == list(range(came, group_head + 1))
    assert not dan.client.ok("History", target=group, before_seq=came).messages
    cat.client.refused("PERMISSION_DENIED", "Send", target=group, client_msg_id=msg_id(), body=b"let me in")
    cat.client.settle()
    assert not [m for n, m in cat.client.events if n == "OnMessage" and m.hi == g[0] and m.seq > kicked]
    page = cat.client.ok("History", target=group, from_seq=first_words)
    assert page.head_seq == kicked and page.messages[-1].seq == kicked
    pulled = cat.client.ok("Pull", positions=[P.Position(hi=g[0], lo=0, seq=slip)])
    assert max((m.seq for c in pulled.conversations if (c.hi, c.lo) == g for m in c.messages)) == kicked
    again = device(server, cat.name)
    assert again.pos[g] == kicked and again.summary[g].left_seq == kicked
    assert again.view(g) == cat.view(g)[again.first[g] - cat.first[g]:]

    # A restart changes nothing of all this.
    for d in (ann, ben, fresh, cat, dan, again):
        d.disconnect()
    assert server.stop() == 0
    server.start()
    after = device(server, ben.name)
    for k in (ab, bc, g):
        assert after.view(k) == ben.view(k)
    ann.connect()
    assert ann.say(group, "after the night") == group_head + 1
    after.reach(g, group_head + 1)


@pytest.mark.parametrize("mode", MODES)
def test_a_push_that_was_missed_is_found_by_comparing_numbers(make_server, mode):
    server = make_server(mode=mode)
    names = [new_name(n) for n in ("ann", "ben")]
    c = server.connect()
    for n in names:
        c.register(n)
    ann, ben = (device(server, n) for n in names)
    k = key(ann, ben)
    ann.say(ben.user_id, "one")
    ben.reach(k, 1)
    ann.say(ben.user_id, "two")
    ben.client.event("OnMessage", lambda m: m.seq == 2)   # taken away: as if it had been lost
    ann.say(ben.user_id, "three")
    ben.reach(k, 3)
    assert ben.repaired == 1
    ben.check(k, 3)
