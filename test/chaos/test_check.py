"""The checker on histories that are right, and on such as are broken in one place: the log, marks, what a plan promises."""
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check_format as f  # noqa: E402
from check_case import Breaks, Case, finds, judge  # noqa: E402
from model import S  # noqa: E402

breaks = Breaks()

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


def stand_twice(c, conv, row):
    c.dump.append([conv.hi, conv.lo, len(conv.rows) + 1, row.sender, 7, *c.row(conv, row.seq)[5:]])


@breaks("doubled")
def a_send_of_unknown_outcome_stands_twice(c):
    unsure = {r.op for r in c.all(f.DONE, outcome=f.UNSURE)}
    stand_twice(c, *next((g, x) for g in c.m.convs for x in g.rows if x.kind == f.TEXT and x.op in unsure))


@breaks("doubled")
def a_send_that_was_never_answered_stands_twice(c):
    r = c.done(f.SEND, c.plain)
    stand_twice(c, c.conv(r), c.text(r))
    c.drop(lambda x: x is r)


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


@breaks("damaged")
def a_kind_in_the_database_is_damaged(c):
    c.row_of(c.done(f.SEND, c.plain))[5] = 9


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


@breaks("members", only=True)
def the_table_of_members_has_one_that_the_log_has_not(c):
    row = next(row for row in c.members if row[1] == 0 and row[3])
    c.members.append([*row[:2], 999, *row[3:]])


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


@breaks("mark_ahead", only=True)
def a_list_knows_more_than_the_log(c):
    c.pick(f.MARKS, lambda r: r.at > c.final_at).id += 1


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
def a_send_fails_in_a_conversation_that_has_nothing_to_do_with_a_killed_node(c):
    next(x for x in c.faults if x["kind"] == "kill_chat")["others"]["failed"] = 1


@breaks("promise", only=True)
def a_send_is_slow_in_a_conversation_that_has_nothing_to_do_with_a_killed_node(c):
    next(x for x in c.faults if x["kind"] == "kill_chat")["others"]["slowest_ms"] = 1001


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


@pytest.mark.parametrize("break_it, expected, only", breaks.ways)
def test_it_finds_that(break_it, expected, only, tmp_path):
    finds(break_it, expected, only, tmp_path)
