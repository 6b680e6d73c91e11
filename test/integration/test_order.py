"""One order for everybody: many write at once, members come and go, and every device holds the same log."""
import pytest

from client import msg_id, wait_until
from device import Device, ident
from people import group_of
from server import MODES, new_name
from wire import GROUP, P, RESEND, key_of


def devices(server, *stems, each=1):
    made = []
    c = server.connect()
    for stem in stems:
        name = new_name(stem)
        c.register(name)
        made += [Device(server, name).connect() for _ in range(each)]
    return made


def flood(devs, target, n):
    """Every device sends n messages at once; their own ones are learnt from the replies."""
    calls = []
    for i in range(n):
        for d in devs:
            fields = {"client_msg_id": msg_id(), "body": b"%s %d" % (d.name.encode(), i)}
            calls.append((d, fields, d.client.start("Send", target=target, **fields)))
    return calls


def answered(calls, target):
    seqs = []
    for d, fields, call in calls:
        reply = d.client.wait(call)
        assert reply.status == "OK", reply
        hi, lo = key_of(d.user_id, target)
        d.learn(P.Message(hi=hi, lo=lo, seq=reply.msg.seq, sender_id=d.user_id, client_msg_id=fields["client_msg_id"],
                          sent_ms=reply.msg.sent_ms, kind=P.TEXT, body=fields["body"]))
        seqs.append((d, reply.msg.seq))
    return seqs


@pytest.mark.parametrize("mode", MODES)
def test_all_devices_hold_one_log(make_server, mode):
    server = make_server(mode=mode)
    devs = devices(server, "ann", "ben", "cat", each=2)
    ann = devs[0]
    target = group_of(ann.client, devs[2].client, devs[4].client)
    conv = (target & ~GROUP, 0)
    for d in devs:
        d.pull()
    seqs = answered(flood(devs, target, 40), target)
    head = max(s for _, s in seqs)
    assert sorted(s for _, s in seqs) == list(range(head - 239, head + 1))
    for d in devs:   # what one connection sends in order stands in order
        mine = [s for e, s in seqs if e is d]
        assert mine == sorted(mine)
    for d in devs:
        d.reach(conv, head)
        d.check(conv, head, d.first[conv])
        last = d.log(conv)[-240:]
        assert [ident(m) for m in last] == [ident(m) for m in ann.log(conv)[-240:]]
        assert [m.body for m in last] == [m.body for m in ann.log(conv)[-240:]]


def test_what_follows_an_acknowledgement_stands_behind_it(server):
    a, b = server.users("ann", "ben")
    group = group_of(a, b)
    last = 0
    for i in range(100):
        seq = (a, b)[i % 2].send(group, f"{i}")
        assert seq > last
        last = seq


def test_members_get_exactly_what_lies_in_their_time(make_server):
    server = make_server()
    ann, ben, cat, dan = devices(server, "ann", "ben", "cat", "dan")
    target = group_of(ann.client, ben.client, cat.client)
    conv = (target & ~GROUP, 0)
    for d in (ann, ben, cat):
        d.pull()
    dan.client.events.clear()
    before = flood([ann, ben], target, 30)
    kick = ann.client.start("Kick", target=target, user_id=cat.user_id)
    middle = flood([ann, ben], target, 15)
    answered(before, target)
    kicked = ann.client.wait(kick).msg.seq
    answered(middle, target)
    more = flood([ann, ben], target, 15)
    join = dan.client.start("JoinGroup", target=target)
    after = flood([ann, ben], target, 10)
    answered(more, target)
    joined = dan.client.wait(join).msg.seq
    answered(after, target)
    head = ann.say(target, "the last")
    for d in (ann, ben):
        d.fetch(conv)
        d.reach(conv, head)
        d.check(conv, head, d.first[conv])
    pushed = lambda d: [m.seq for n, m in d.client.events if n == "OnMessage" and (m.hi, m.lo) == conv]
    wait_until(lambda: dan.client.pump(0.05) or head in pushed(dan), what="the last message at the newcomer")
    assert pushed(dan) == list(range(joined + 1, head + 1)) or pushed(dan) == list(range(joined, head + 1))
    cat.client.settle()
    assert max(pushed(cat)) == kicked
    cat.take()
    cat.fetch(conv)
    cat.check(conv, kicked, cat.first[conv])
    assert [ident(m) for m in cat.log(conv)] == [ident(m) for m in ann.log(conv)[cat.first[conv] - ann.first[conv]:kicked - ann.first[conv] + 1]]
    dan.take()
    dan.load(conv)
    dan.check(conv, head, joined)


def test_a_device_pulls_many_conversations_in_small_pages(server):
    ann, = devices(server, "ann")
    others = [server.user("other") for _ in range(12)]
    for n, o in enumerate(others):
        for i in range(n % 4 + 1):
            o.send(ann.user_id, f"{i}")
    ann.disconnect()
    late = server.again(ann)
    for o in others[::2]:
        for i in range(5):
            o.send(ann.user_id, f"later {i}")
    ann.connect(catch_up=False)
    ann.pull(limit=3)
    fresh = Device(server, ann.name).connect(catch_up=False)
    fresh.pull(limit=3)
    for n, o in enumerate(others):
        conv = key_of(ann.user_id, o.user_id)
        head = n % 4 + 1 + (5 if n % 2 == 0 else 0)
        for d in (ann, fresh):
            d.check(conv, head)
            assert d.view(conv) == ann.view(conv)
    assert len(late.ok("ListConversations", limit=200).conversations) == 12


def test_a_log_larger_than_a_reply_comes_in_pieces(server):
    ann, ben = devices(server, "ann", "ben")
    conv = key_of(ann.user_id, ben.user_id)
    ann.say(ben.user_id, "first")
    ben.reach(conv, 1)
    ben.disconnect()
    for i in range(30):
        ann.write("Send", ben.user_id, kind=P.APPLICATION, body=bytes([i]) * 60000)
    ben.connect()
    fresh = Device(server, ben.name).connect()
    for d in (ben, fresh):
        d.fetch(conv)
        d.check(conv, 31)
        assert [m.body for m in d.log(conv)[1:]] == [bytes([i]) * 60000 for i in range(30)]


@pytest.mark.parametrize("mode", MODES)
def test_a_repeat_has_one_seq_whatever_road_it_takes(make_server, mode):
    """Twice in one write, on two connections at once, flagged or not, before and after a restart."""
    server = make_server(mode=mode)
    a, b = server.users("ann", "ben")
    other = server.again(a)
    ids = [msg_id() for _ in range(20)]
    fields = [{"target": b.user_id, "client_msg_id": i, "body": b"%d" % i} for i in ids]
    calls = []
    for f in fields:
        calls.append([a.start("Send", **f), a.start("Send", flags=RESEND, **f), other.start("Send", **f)])
    first = []
    for three in calls:
        replies = [c.wait(call) for c, call in zip((a, a, other), three)]
        assert {r.status for r in replies} == {"OK"}, replies
        assert len({r.msg.seq for r in replies}) == 1
        first.append(replies[0].msg.seq)
    assert sorted(first) == list(range(1, 21))
    server.kill()
    server.start()
    c = server.connect()
    c.resume(a.token)
    for f, seq in zip(fields, first):
        assert c.ok("Send", flags=RESEND, **f).seq == seq
        assert c.ok("Send", **f).seq == seq
    log = c.ok("History", target=b.user_id, limit=500).messages
    assert len(log) == 20
    c.refused("ALREADY_EXISTS", "Send", **{**fields[0], "body": b"another"})


@pytest.mark.parametrize("flags", [0, RESEND], ids=["unflagged", "flagged"])
@pytest.mark.parametrize("mode", ["direct", "window0"])
def test_edits_recalls_and_groups_are_repeated_safely(make_server, mode, flags):
    """Whatever happened since, and whether the server remembers the id or finds it under its unique key."""
    server = make_server(mode=mode)
    a, b = server.users("ann", "ben")
    seq = a.send(b.user_id, "teh text")
    edit = {"target": b.user_id, "client_msg_id": msg_id(), "refers_to_seq": seq, "body": b"the text"}
    recall = {"target": b.user_id, "client_msg_id": msg_id(), "refers_to_seq": seq}
    group = {"request_id": msg_id(), "name": "made once"}
    edited = a.ok("Edit", **edit)
    recalled = a.ok("Recall", **recall)
    made = a.ok("CreateGroup", **group)

    def again(c):
        for _ in range(2):
            assert c.ok("Recall", flags=flags, **recall) == recalled
            assert c.ok("Edit", flags=flags, **edit) == edited
            assert c.ok("CreateGroup", flags=flags, **group).group_id == made.group_id

    again(a)
    server.kill()
    server.start()
    c = server.connect()
    c.resume(a.token)
    again(c)
    log = c.ok("History", target=b.user_id).messages
    assert [(m.seq, m.kind, m.body) for m in log] == [(1, P.TEXT, b""), (2, P.EDIT, b""), (3, P.RECALL, b"")]
