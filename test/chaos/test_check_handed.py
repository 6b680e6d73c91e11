"""The checker on histories broken in one place: what a device was handed, what it read, what it has in the end."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_format as f  # noqa: E402
from check_case import Breaks, finds  # noqa: E402
from model_parts import Rec  # noqa: E402

breaks = Breaks()

# ---- what devices got -----------------------------------------------------------------------------------------------------------


def quiet_text(c):
    """A text that a device got in the middle of its time: the same connection brought the ones around it."""
    def test(r):
        row, conv = c.text(r), c.conv(r)
        near = [x for x in c.records if x.type in (f.MESSAGE, f.OPEN) and x.device == r.device and (x.type == f.OPEN or x.target == r.target)]
        at = near.index(r)
        return (row.kind == f.TEXT and not row.edits and not row.recalled and 0 < at < len(near) - 1 and near[at - 1].seq == r.seq - 1
                and near[at + 1].seq == r.seq + 1 and near[at - 1].type == near[at + 1].type == f.MESSAGE and r.seq < len(conv.rows) - 2)
    rows = [r for r in c.records if r.type == f.MESSAGE and r.device == c.m.devices[0].number]
    return next(r for r in rows[len(rows) // 2:] if test(r))


@breaks("gap")
def a_device_misses_one(c):
    gone = quiet_text(c)
    c.drop(lambda r: r is gone)


@breaks("repeat", only=True)
def a_device_gets_one_twice(c):
    c.records.append(quiet_text(c).copy())
    c.records.sort(key=lambda r: r.at)


@breaks("gap", "repeat", only=True)
def a_device_gets_two_in_the_wrong_order(c):
    r = quiet_text(c)
    after = next(x for x in c.records if x.type == f.MESSAGE and x.device == r.device and x.target == r.target and x.seq == r.seq + 1 and x.at >= r.at)
    one, other = c.records.index(r), c.records.index(after)
    r.at, after.at = after.at, r.at
    c.records[one], c.records[other] = after, r


@breaks("content", only=True)
def two_devices_have_two_texts_at_one_place_by_sender(c):
    quiet_text(c).user += 1


@breaks("content", only=True)
def a_message_has_another_id(c):
    quiet_text(c).id += 1


@breaks("content", only=True)
def a_message_is_of_another_kind(c):
    quiet_text(c).what = f.K_RECALL


@breaks("content", only=True)
def a_change_is_told_in_two_ways(c):
    c.pick(f.MESSAGE, what=f.MEMBERSHIP, outcome=f.JOINED).refers += 1


@breaks("damaged", only=True)
def a_device_gets_a_damaged_body(c):
    quiet_text(c).op = f.BAD_BODY


@breaks("wrong_body", only=True)
def a_device_gets_an_empty_body(c):
    quiet_text(c).op = 0


@breaks("wrong_body", only=True)
def a_device_gets_the_text_of_another_message(c):
    r = quiet_text(c)
    r.op = next(x.op for x in c.conv(r).rows if x.kind == f.TEXT and x.op != r.op)


@breaks("wrong_body")
def an_edit_brings_an_older_text(c):
    def two(r):
        row = c.text(r)
        edits = c.conv(r).rows[row.refers - 1].edits
        return len(edits) > 1 and edits[0].seq < row.seq
    r = c.pick(f.MESSAGE, lambda r: r.op and two(r), what=f.K_EDIT)
    r.op = c.conv(r).rows[c.text(r).refers - 1].edits[0].op


@breaks("not_done_stands", only=True)
def a_device_gets_the_text_of_an_edit_that_was_not_done(c):
    def test(r):
        call = c.call(r.op)
        return any(x.type == f.MESSAGE and x.seq == call.refers and x.target == call.target and x.op for x in c.records)
    call = c.call(c.done(f.EDIT, test, f.NOT_DONE).op)
    conv = c.conv(call)
    c.pick(f.MESSAGE, lambda r: r.seq == call.refers and c.conv(r) is conv and r.op and not c.text(r).recalled).op = call.op


@breaks("not_in_log", only=True)
def a_device_gets_what_is_not_in_the_log(c):
    r = c.all(f.MESSAGE)[-1]
    c.after_all(r, seq=len(c.conv(r).rows) + 1)


@breaks("not_in_log")
def a_page_has_what_is_not_in_the_log(c):
    r = c.all(f.PAGE)[-1]
    c.after_all(r, seq=len(c.conv(r).rows) + 1)


@breaks("content", only=True)
def a_device_that_nobody_knows_gets_a_message(c):
    c.after_all(c.all(f.MESSAGE)[-1], device=60000)


@breaks("content", only=True)
def a_page_is_of_an_operation_that_reads_nothing(c):
    c.after_all(c.all(f.PAGE)[-1], id=c.done(f.SEND).op)


@breaks("not_a_member", only=True)
def a_device_gets_what_is_none_of_its_business(c):
    group, user = next((g, u) for g in c.m.convs if g.lo for u in c.m.users if u not in g.spans)
    d = next(d for d in c.m.devices if d.user == user)
    group = next((g for g in c.m.convs if not g.lo and g.spans.get(user, [[0, 0]])[0][0] > 1), None)
    assert group, "everybody was in from the start"
    row = group.rows[0]
    c.after_all(Rec(0, f.MESSAGE), device=d.number, target=group.hi | f.GROUP, seq=1, user=row.sender, what=row.kind, id=row.cmid, refers=row.about,
                outcome=row.change, status=row.status)


@breaks("not_a_member", only=True)
def a_page_has_what_is_none_of_its_readers_business(c):
    r = next(r for r in c.records if r.type == f.PAGE and not c.conv(r).lo and c.conv(r).spans[c.user_of[r.device]][0][0] > 1)
    row = c.conv(r).rows[0]
    c.after_all(r, seq=1, user=row.sender, what=row.kind, op=row.op, refers=row.about, outcome=row.change, status=row.status)


@breaks("ends_short")
def a_device_ends_short(c):
    r = c.all(f.MESSAGE)[-1]
    last, conv, device = r.seq, c.conv(r), r.device
    c.drop(lambda x: x.type == f.MESSAGE and x.device == device and c.conv(x) is conv and x.seq == last)


@breaks("ends_short")
def a_device_has_nothing_of_a_conversation(c):
    r = c.all(f.MESSAGE, lambda r: len(c.conv(r).rows) > 3)[-1]
    c.drop(lambda x: x.type == f.MESSAGE and x.device == r.device and x.target == r.target)


@breaks("gap")
def a_new_device_gets_less_than_it_was_to_get(c):
    d = next(d for d in c.m.devices if d.inbox == f.FRESH)
    last = c.all(f.OPEN, device=d.number)[-1]
    r = next(x for x in c.records if x.type == f.MESSAGE and x.device == d.number and x.at > last.at and x.seq > 2 and x.seq < len(c.conv(x).rows) - 4)
    seq = r.seq
    c.drop(lambda x: x.type == f.MESSAGE and x.device == d.number and x.at > last.at and x.target == r.target and x.seq <= seq + 1)


@breaks("never_back", only=True)
def a_device_does_not_come_back(c):
    d = c.m.devices[0]
    c.drop(lambda r: r.device == d.number and r.type == f.STATE and r.what == f.READY)


@breaks("closed", only=True)
def a_closed_client_hands_over(c):
    r = c.all(f.MESSAGE)[-1]
    at = c.records[-1].at - 2
    c.after_all(r)
    c.records.append(Rec(at, f.CLOSED, device=r.device))


@breaks("recalled_body", only=True)
def a_page_has_a_recalled_body(c):
    r = c.pick(f.PAGE, lambda r: r.at > c.final_at and c.text(r).recalled and c.text(r).op in c.heard and c.heard_recall(c.text(r), c.conv(r)))
    r.op = c.text(r).op


@breaks("recalled_body", only=True)
def a_device_opened_since_gets_a_recalled_body(c):
    r = c.pick(f.MESSAGE, lambda r: r.at > c.final_at and r.what != f.K_EDIT and c.text(r).recalled and c.heard_recall(c.text(r), c.conv(r)))
    r.op = c.text(r).op


@breaks("recalled_body", only=True)
def a_page_has_the_text_of_an_edit_of_what_was_recalled(c):
    def test(r):
        old = c.conv(r).rows[r.refers - 1]
        return r.at > c.final_at and old.recalled and c.heard_recall(old, c.conv(r))
    r = c.pick(f.PAGE, test, what=f.K_EDIT)
    r.op = c.text(r).op


@breaks("text_after_leaving", only=True)
def a_text_has_what_was_written_after_its_reader_left(c):
    def test(r):
        row, last = c.text(r), c.conv(r).spans[c.user_of[r.device]][-1][1]
        return row.seq <= last and row.edits and row.edits[-1].seq > last and not row.recalled and r.what == f.TEXT
    r = c.pick(f.MESSAGE, test)
    r.op = c.text(r).edits[-1].op


@breaks("gap", only=True)
def a_page_lacks_a_row(c):
    rows = c.all(f.PAGE, lambda r: r.at < c.final_at)
    gone = next(b for a, b, d in zip(rows, rows[1:], rows[2:]) if a.id == b.id == d.id)
    c.drop(lambda r: r is gone)
    c.all(f.DONE, op=gone.id)[0].id -= 1


@breaks("gap", only=True)
def a_page_begins_behind_what_was_asked_for(c):
    op = c.done(f.HISTORY, lambda r: r.at < c.final_at and r.id > 1 and c.call(r.op).seq >= r.refers).op
    gone = c.all(f.PAGE, id=op)[0]
    c.drop(lambda r: r is gone)
    c.all(f.DONE, op=op)[0].id -= 1


@breaks("gap", only=True)
def a_page_has_two_in_the_wrong_order(c):
    one, other = next((a, b) for a, b in zip(c.all(f.PAGE), c.all(f.PAGE)[1:]) if a.id == b.id and a.seq > c.call(a.id).seq and a.at < c.final_at)
    one.at, other.at = other.at, one.at
    n = c.records.index(one)
    c.records.remove(other)
    c.records.insert(n, other)


@breaks("gap")
def a_page_ends_before_it_says(c):
    r = c.all(f.DONE, lambda r: r.id > 3)[-1]
    last = max(x.seq for x in c.records if x.type == f.PAGE and x.id == r.op)
    c.drop(lambda x: x.type == f.PAGE and x.id == r.op and x.seq == last)


@breaks("gap")
def a_page_is_empty_though_there_is_something(c):
    r = next(r for r in c.records if r.type == f.DONE and r.id > 3 and r.at < c.final_at)
    c.drop(lambda x: x.type == f.PAGE and x.id == r.op)
    r.id = 0


@breaks("final_unread", only=True)
def the_end_of_a_log_was_not_read(c):
    r = c.pick(f.PAGE, lambda r: r.at > c.final_at and c.conv(r).spans[c.user_of[r.device]][-1][1] == f.NEVER)
    ops = {x.id for x in c.records if x.type == f.PAGE and x.at > c.final_at and x.device == r.device and x.target == r.target}
    c.drop(lambda x: (x.type == f.PAGE and x.id in ops) or (x.type in (f.CALL, f.DONE) and x.op in ops))


@breaks("final_differs", only=True)
def the_log_read_in_the_end_lacks_an_edit(c):
    r = c.pick(f.PAGE, lambda r: r.at > c.final_at and c.text(r).edits and r.op == c.text(r).edits[-1].op and c.text(r).op in c.heard, what=f.TEXT)
    r.op = c.text(r).op


# ---- the tests ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("break_it, expected, only", breaks.ways)
def test_it_finds_that(break_it, expected, only, tmp_path):
    finds(break_it, expected, only, tmp_path)
