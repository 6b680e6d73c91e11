"""The checker on histories that are right, and on the same ones broken in one place each."""
import copy
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check  # noqa: E402
import check_format as f  # noqa: E402
from model import S, Model  # noqa: E402
from model_parts import Rec, write_run  # noqa: E402

MODELS = {}


def model(seed):
    if seed not in MODELS:
        MODELS[seed] = Model(seed, actions=900)
    return MODELS[seed]


def judge(folder, *more):
    """(exit status, {check: how often}, the report's text)"""
    status, text = check.check(check.options([str(folder), "--min-rate", "1", *more]))
    counts = {}
    for line in text.splitlines()[1:]:
        if " x " not in line or not line.startswith("  "):
            break
        n, name = line.split(" x ")
        counts[name] = int(n)
    return status, counts, text


class Case:
    """A right history, to be broken."""

    def __init__(self, seed):
        self.m = m = model(seed)
        self.records = [r.copy() for r in m.records]
        self.dump, self.members = m.tables()
        self.user_of = {d.number: d.user for d in [*m.devices, *m.raw]}
        self.final_at = next(r.at for r in m.records if r.type == f.PHASE and r.what == f.FINAL)
        self.faults, self.plan, self.events = (copy.deepcopy(v) for v in (m.faults, m.plan, m.events))
        self.convs = {(c.hi, c.lo): c for c in m.convs}
        self.calls = {r.op: r for r in self.records if r.type == f.CALL}
        self.heard = {r.op: r.at for r in self.records if r.type == f.DONE and r.outcome == f.OK}

    def write(self, folder):
        write_run(folder, self, self.records, self.dump, self.members)

    # ---- finding ------------------------------------------------------------------------------------------------------------

    def conv(self, r):
        return self.convs[f.key_of(self.user_of[r.device], r.target)]

    def text(self, r):
        """The row of the log that a record is about."""
        return self.conv(r).rows[r.seq - 1]

    def all(self, type_, test=lambda r: True, **fields):
        rows = [r for r in self.records if r.type == type_ and all(getattr(r, k) == v for k, v in fields.items()) and test(r)]
        assert rows, "the model made none: take another seed"
        return rows

    def pick(self, type_, test=lambda r: True, **fields):
        rows = self.all(type_, test, **fields)
        return rows[len(rows) // 2]

    def call(self, op):
        return self.calls[op]

    def done(self, what, test=lambda r: True, outcome=f.OK):
        """A DONE of an operation of that kind, not a raw sender's."""
        ops = {r.op: r for r in self.records if r.type == f.CALL and r.what == what and r.device not in {d.number for d in self.m.raw}}
        r = self.pick(f.DONE, lambda r: r.op in ops and test(r), outcome=outcome)
        r.target = ops[r.op].target
        return r

    def plain(self, r):
        """The DONE of a text that nobody edited or recalled."""
        row = self.text_of_done(r)
        return row.kind == f.TEXT and not row.edits and not row.recalled

    def text_of_done(self, r):
        return self.convs[f.key_of(self.user_of[r.device], self.call(r.op).target)].rows[r.seq - 1]

    def conv_of_done(self, r):
        return self.convs[f.key_of(self.user_of[r.device], self.call(r.op).target)]

    def acked_seqs(self, r):
        """Of the DONE's conversation: seq -> when it was acknowledged."""
        conv, times = self.conv_of_done(r), {}
        for row in conv.rows:
            if row.op in self.heard:
                times[row.seq] = self.heard[row.op]
        return times

    def heard_recall(self, row, conv):
        """The recall of a text was acknowledged."""
        return any(r.type == f.DONE and r.outcome == f.OK and r.seq == row.recalled and self.call(r.op).what == f.RECALL and self.conv_of_done(r) is conv
                   for r in self.records)

    def row(self, conv, seq):
        return next(row for row in self.dump if row[:3] == [conv.hi, conv.lo, seq])

    def row_of(self, r):
        return self.row(self.conv(r), r.seq)

    def drop(self, test):
        before = len(self.records)
        self.records = [r for r in self.records if not test(r)]
        assert len(self.records) < before

    def after_all(self, r, **fields):
        """A copy of a record, written just before the end."""
        self.records.append(r.copy(at=self.records[-1].at - 1, **fields))


BREAKS = []


def breaks(*expected, only=False):
    """A way to break a history, and the checks that are to find it."""
    def add(function):
        BREAKS.append(pytest.param(function, expected, only, id=function.__name__))
        return function
    return add


# ---- the log ------------------------------------------------------------------------------------------------------------------


@breaks("lost")
def an_acknowledged_message_is_not_in_the_log(c):
    r = c.done(f.SEND, lambda r: r.seq == len(c.convs[f.key_of(c.user_of[r.device], c.call(r.op).target)].rows))
    c.dump.remove(c.row_of(r))


@breaks("log_gap", "lost")
def a_seq_is_missing(c):
    c.dump.remove(c.row_of(c.done(f.SEND, c.plain)))


@breaks("log_gap", only=True)
def a_seq_stands_twice(c):
    c.dump.append(list(c.row_of(c.done(f.SEND, c.plain))))


@breaks("id_reused")
def a_client_msg_id_stands_twice(c):
    row = c.row_of(c.done(f.SEND, c.plain))
    other = next(o for o in c.dump if o[:2] == row[:2] and o[3] == row[3] and o is not row)
    other[4] = row[4]


@breaks("doubled")
def an_operation_stands_twice(c):
    row = c.row_of(c.done(f.SEND, c.plain))
    last = max(o[2] for o in c.dump if o[:2] == row[:2])
    c.dump.append([*row[:2], last + 1, row[3], 7, *row[5:]])


@breaks("wrong_body", only=True)
def an_operation_stands_in_the_place_of_another(c):
    r = c.done(f.SEND, lambda r: c.plain(r) and r.seq > 1)
    conv = c.conv(r)
    other = next(x for x in conv.rows if x.kind == f.TEXT and x.sender == c.user_of[r.device] and x.seq != r.seq and not x.edits and not x.recalled)
    c.row(conv, other.seq)[7] = r.op


@breaks("two_places", only=True)
def two_answers_name_two_places(c):
    raw = c.m.raw[0].number
    c.all(f.DONE, device=raw, outcome=f.OK)[1].seq += 1


@breaks("wrong_place")
def an_answer_names_the_place_of_another_user(c):
    r = c.done(f.SEND, lambda r: c.plain(r) and r.seq > 1 and c.text_of_done(r).sender != c.conv_of_done(r).rows[r.seq - 2].sender)
    r.seq -= 1


@breaks("shared_place")
def two_operations_have_one_place(c):
    r = c.done(f.SEND, lambda r: c.plain(r) and r.seq > 1 and c.conv_of_done(r).rows[r.seq - 2].sender == c.text_of_done(r).sender
               and c.conv_of_done(r).rows[r.seq - 2].kind == f.TEXT)
    other = c.conv(r).rows[r.seq - 2].op
    c.all(f.DONE, op=other)[0].seq = r.seq


@breaks("order", only=True)
def a_message_stands_before_one_acknowledged_before_its_call(c):
    r = c.done(f.SEND, lambda r: c.plain(r) and c.conv_of_done(r).lo and r.seq + 3 < len(c.conv_of_done(r).rows) and r.seq + 1 in c.acked_seqs(r))
    call, later = c.call(r.op), c.acked_seqs(r)[r.seq + 1]
    c.drop(lambda x: x.type in (f.RECEIPT, f.MARKS))
    call.at = later + 1
    r.at = max(r.at, later + 2)


@breaks("not_done_stands", only=True)
def what_was_surely_not_done_stands(c):
    r = c.done(f.SEND, c.plain)
    r.outcome, r.seq, r.status = f.NOT_DONE, 0, 14


@breaks("not_done_stands")
def an_edit_that_was_surely_not_done_stands(c):
    r = c.done(f.EDIT, lambda r: c.conv_of_done(r).rows[c.text_of_done(r).refers - 1].edits[-1].op == r.op
               and not c.conv_of_done(r).rows[c.text_of_done(r).refers - 1].recalled)
    r.outcome, r.seq, r.status = f.NOT_DONE, 0, 14


@breaks("not_done_stands", only=True)
def a_recall_that_was_surely_not_done_stands(c):
    r = c.done(f.RECALL)
    r.outcome, r.seq, r.status = f.NOT_DONE, 0, 14


@breaks("not_done_stands", only=True)
def a_role_that_was_surely_not_given_stands(c):
    rows = {(r.user, r.refers, r.target, r.status) for r in c.all(f.MESSAGE, what=f.MEMBERSHIP, outcome=f.ROLE_SET)}
    ops = [r for r in c.all(f.CALL, what=f.ROLE) if (c.user_of[r.device], r.user, r.target, r.status) in rows]
    for r in c.all(f.DONE, lambda r: r.op in {o.op for o in ops}):
        r.outcome, r.status = f.NOT_DONE, 14


@breaks("foreign")
def a_text_is_of_an_operation_of_another(c):
    r = c.done(f.SEND, lambda r: c.plain(r) and c.text_of_done(r).sender != c.conv_of_done(r).hi)
    c.drop(lambda x: x.op == r.op and x.type in (f.CALL, f.DONE))


@breaks("foreign")
def a_recall_that_nobody_called(c):
    op = c.done(f.RECALL).op
    c.drop(lambda r: r.op == op and r.type in (f.CALL, f.DONE))


@breaks("foreign", only=True)
def a_leaving_that_nobody_called(c):
    ops = {r.op for r in c.all(f.CALL, what=f.LEAVE)}
    c.drop(lambda r: r.op in ops and r.type in (f.CALL, f.DONE))


@breaks("damaged", only=True)
def a_body_in_the_database_is_damaged(c):
    c.row_of(c.done(f.SEND, c.plain))[7] = f.BAD_BODY


@breaks("wrong_body", only=True)
def a_body_in_the_database_is_empty(c):
    c.row_of(c.done(f.SEND, c.plain))[7] = 0


@breaks("wrong_body", only=True)
def an_edit_is_not_in_the_database(c):
    r = c.done(f.SEND, lambda r: c.text_of_done(r).edits and not c.text_of_done(r).recalled)
    c.row_of(r)[7] = r.op


@breaks("wrong_body", only=True)
def a_recalled_body_is_in_the_database(c):
    r = c.done(f.SEND, lambda r: c.text_of_done(r).recalled)
    c.row_of(r)[7] = r.op


@breaks("refers")
def an_edit_is_of_what_stands_behind_it(c):
    c.row_of(c.done(f.EDIT))[6] += 100000


@breaks("members", only=True)
def the_table_of_members_has_another_role(c):
    next(row for row in c.members if row[1] == 0 and row[3])[3] ^= 3


@breaks("members", only=True)
def the_table_of_members_has_another_time(c):
    next(row for row in c.members if row[1] == 0)[4] += 1


@breaks("members", only=True)
def the_table_of_members_lacks_one(c):
    c.members.remove(next(row for row in c.members if row[1] == 0))


@breaks("not_carried_out", only=True)
def a_refused_mute_was_answered_ok(c):
    def test(r):
        call = c.call(r.op)
        return call.seq and call.user not in {x.about for x in c.conv(call).rows if x.change == f.MUTED}
    r = c.done(f.MUTE, test, f.NOT_DONE)
    r.outcome = r.status = 0


@breaks("not_carried_out")
def a_leaving_was_answered_ok_and_is_not_in_the_log(c):
    """The message of it says something else, so that the seqs stay."""
    row = next(x for g in c.m.convs for x in g.rows if x.change == f.LEFT)
    conv = next(g for g in c.m.convs if row in g.rows)
    for r in c.all(f.MESSAGE, lambda r: c.conv(r) is conv and r.seq == row.seq) + c.all(f.PAGE, lambda r: c.conv(r) is conv and r.seq == row.seq):
        r.outcome, r.status = f.UPDATED, 0


@breaks("unseen")
def a_change_that_no_device_saw(c):
    r = c.pick(f.MESSAGE, what=f.MEMBERSHIP, outcome=f.JOINED)
    conv, seq = c.conv(r), r.seq
    c.drop(lambda r: r.type in (f.MESSAGE, f.PAGE) and r.seq == seq and c.conv(r) is conv)


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


# ---- marks ------------------------------------------------------------------------------------------------------------------------


@breaks("mark_fell", only=True)
def a_mark_falls(c):
    rows = c.all(f.RECEIPT, lambda r: r.seq > 3)
    r = next(b for n, b in enumerate(rows) if any((a.device, a.target, a.user) == (b.device, b.target, b.user) and a.seq > 1 for a in rows[:n]))
    r.seq = r.refers = 1


@breaks("mark_ahead")
def a_mark_is_beyond_the_log(c):
    r = c.pick(f.RECEIPT)
    r.seq = len(c.conv(r).rows) + 1


@breaks("mark_ahead")
def a_mark_is_beyond_the_log_of_its_time(c):
    r = c.all(f.RECEIPT, lambda r: r.seq + 3 < len(c.conv(r).rows))[0]
    r.seq = len(c.conv(r).rows)


@breaks("mark_ahead", only=True)
def more_is_read_than_delivered(c):
    r = c.pick(f.MARKS, lambda r: r.at > c.final_at and r.seq > 1)
    r.seq, r.refers = 0, r.refers
    c.drop(lambda x: x.type == f.RECEIPT or (x.type == f.MARKS and x is not r))


@breaks("mark_lost", only=True)
def a_list_has_older_marks(c):
    seen = {(r.user, id(c.conv(r))) for r in c.all(f.RECEIPT)}
    r = c.pick(f.MARKS, lambda r: r.at > c.final_at and (c.user_of[r.device], id(c.conv(r))) in seen and r.seq > 1)
    r.seq = r.refers = 0


@breaks("mark_lost", only=True)
def the_table_has_older_marks(c):
    r = c.pick(f.RECEIPT)
    row = next(m for m in c.members if m[:3] == [c.conv(r).hi, c.conv(r).lo, r.user])
    row[6] = row[7] = 0


@breaks("mark_ahead", only=True)
def the_table_has_a_mark_beyond_the_log(c):
    c.members[0][6] = 100000


@breaks("list_behind", only=True)
def a_list_does_not_know_an_acknowledged_message(c):
    r = c.pick(f.MARKS, lambda r: r.at > c.final_at and c.conv(r).lo and r.seq < r.id - 3 and any(x.op in c.heard for x in c.conv(r).rows[-2:]))
    r.id -= 3


@breaks("list_behind")
def a_page_does_not_know_an_acknowledged_message(c):
    def test(r):
        call = c.call(r.op)
        return call.what == f.HISTORY and r.at > c.final_at and c.conv(call).lo and any(x.op in c.heard for x in c.conv(call).rows[-2:])
    c.pick(f.DONE, test).seq -= 3


# ---- what a plan promises ---------------------------------------------------------------------------------------------------------


@breaks("promise", only=True)
def a_fault_is_not_recovered_in_time(c):
    fault = next(x for x in c.faults if x["kind"] == "kill_chat")
    fault["recovered_us"] = fault["begin_us"] + 6 * S


@breaks("promise", only=True)
def a_fault_is_never_recovered(c):
    next(x for x in c.faults if x["kind"] == "kill_chat")["recovered_us"] = None


@breaks("promise", only=True)
def a_send_fails_during_a_rolling_restart(c):
    call = c.call(c.done(f.SEND, outcome=f.UNSURE).op)
    fault = next(x for x in c.faults if x["kind"] == "stop_proxy")
    fault["begin_us"], fault["end_us"] = call.at - 1, call.at + 1
    c.plan["promises"][1]["failed_sends"] = 0


@breaks("promise")
def a_send_is_slow_during_a_rolling_restart(c):
    r = c.done(f.SEND, c.plain)
    call = c.call(r.op)
    fault = next(x for x in c.faults if x["kind"] == "stop_proxy")
    fault["begin_us"], fault["end_us"] = call.at - 1, call.at + 1
    r.at += 6 * S


# ---- the tests ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(1, 11))
def test_nothing_is_found_in_a_right_history(seed, tmp_path):
    c = Case(seed)
    c.write(tmp_path)
    status, counts, text = judge(tmp_path)
    assert (status, counts) == (0, {}), text
    assert text.startswith("OK: every promise was kept")


@pytest.mark.parametrize("break_it, expected, only", BREAKS)
def test_it_finds_that(break_it, expected, only, tmp_path):
    c = Case(3)
    break_it(c)
    c.write(tmp_path)
    status, counts, text = judge(tmp_path)
    assert status == 1 and text.startswith("VIOLATION"), text
    assert set(expected) <= set(counts), text
    if only:
        assert set(counts) == set(expected), text
