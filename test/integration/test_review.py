"""What users could do to one another, and what two could undo of each other, before it was seen to."""
import os
import time

from client import msg_id
from people import group_of
from wire import P


def test_who_was_removed_reads_no_text_that_was_written_after(server):
    a, b = server.users("ann", "ben")
    g = group_of(a, b)
    s = a.send(g, "before")
    e = a.ok("Edit", target=g, client_msg_id=msg_id(), refers_to_seq=s, body=b"edited while he was in").seq
    kept = a.send(g, "another")
    a.ok("Kick", target=g, user_id=b.user_id)
    a.ok("Edit", target=g, client_msg_id=msg_id(), refers_to_seq=s, body=b"edited after")
    got = {m.seq: m for m in b.ok("History", target=g, from_seq=1, limit=50).messages}
    assert got[s].body == got[e].body == b"" and got[kept].body == b"another"
    pull = b.ok("Pull", positions=[P.Position(hi=got[s].hi, lo=0, seq=s - 1)], limit=50).conversations
    assert [m.body for c in pull for m in c.messages if m.seq in (s, e)] == [b"", b""]
    assert {m.seq: m.body for m in a.ok("History", target=g, from_seq=1, limit=50).messages}[s] == b"edited after"


def test_two_who_change_a_group_at_once_change_it_both(server):
    a, b = server.users("ann", "ben")
    g = group_of(a, b)
    a.ok("SetRole", target=g, user_id=b.user_id, role=P.ADMIN)
    for i in range(20):
        x = a.start("UpdateGroup", target=g, name=f"name{i}")
        y = b.start("UpdateGroup", target=g, about=f"about{i}")
        assert a.wait(x).status == b.wait(y).status == "OK"
        now = a.ok("GetGroup", target=g)
        assert (now.name, now.about) == (f"name{i}", f"about{i}")


def test_a_key_that_is_still_to_come_does_not_sign(make_server):
    s = make_server(roles="all")  # of one process, whose data directory is known
    u = s.user("ann")
    path = os.path.join(s.dir, "token.keys")
    with open(path, "a") as f:
        f.write(f"2 {'ab' * 32} {int(time.time() * 1000) + 3600_000}\n")
    s.wait_log(r"token\.keys changed")
    assert int.from_bytes(s.connect().login(u.name).token[1:5], "big") == 1


def test_a_store_that_may_answer_too_late_is_refused(make_server):
    """Else a session's end might be committed so late that nobody looks back to it."""
    s = make_server({"store.timeout_ms": 6001}, start=False, roles="all")
    s.spawn()
    assert s.wait_end() == 1
    assert "[store] timeout_ms" in s.log
