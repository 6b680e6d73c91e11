"""The checker on servers that do wrong all the time, on runs that say too little, and on files that are no run."""
import json
import os
import sys

import pytest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import check  # noqa: E402
import check_format as f  # noqa: E402
from model import S, Model  # noqa: E402
from model_parts import write_run  # noqa: E402
from check_case import Case, judge  # noqa: E402

# ---- servers that do wrong --------------------------------------------------------------------------------------------------


class MutedWrite(Model):
    """A stale owner that has not heard of the mute."""

    def may_write(self, c, user):
        return c.role.get(user, 0) > 0 and not c.disbanded and not c.blocks

    def group_write(self, d, c, what, about, flag, op):
        super().group_write(d, c, what, about, flag, op)
        if what == f.JOIN and not c.muted and c.role.get(about) == f.MEMBER: # somebody is muted early
            owner = next(e for e in self.devices if c.role.get(e.user) == f.OWNER)
            self.soon(self.group_op, owner, c, f.MUTE, about, 1)


class OutsidersWrite(Model):
    """A stale owner that has not heard that somebody left."""

    def may_write(self, c, user):
        return user in c.spans and user not in c.muted and not c.disbanded and not c.blocks


class BlockedWrite(Model):
    def may_write(self, c, user):
        return c.role.get(user, 0) > 0 and user not in c.muted and not c.disbanded


class WritesOn(Model):
    """A stale owner that has not heard of the group's end."""

    def may_write(self, c, user):
        return c.role.get(user, 0) > 0 and user not in c.muted and not c.blocks

    def group_op(self, d, c, what, about, flag):
        owner = next((e for e in self.devices if c.role.get(e.user) == f.OWNER), None)
        if len(c.rows) > 40 and owner and not c.disbanded:
            d, what = owner, f.DISBAND
        super().group_op(d, c, what, about, flag)


class AnybodyRecalls(Model):
    """Members take back what others wrote."""

    def begin_write(self, d, c, what, refers=0):
        others = [r.seq for r in c.rows if r.kind == f.TEXT and r.sender != d.user and not r.recalled]
        if what == f.RECALL and not c.lo and c.role.get(d.user) == f.MEMBER and others:
            refers = others[-1]
        super().begin_write(d, c, what, refers)


class AnybodyKicks(Model):
    """Members remove each other."""

    def group_op(self, d, c, what, about, flag):
        others = [u for u, r in c.role.items() if r == f.MEMBER and u != d.user]
        if what == f.JOIN and c.role.get(d.user) == f.MEMBER and others:
            what, about = f.KICK, self.rng.choice(others)
        super().group_op(d, c, what, about, flag)

    def group_write(self, d, c, what, about, flag, op):
        if what == f.KICK and c.role.get(d.user) == c.role.get(about) == f.MEMBER:
            self.apply(c, d.user, f.KICKED, about)
            self.soon(self.done, d, op, f.OK)
        else:
            super().group_write(d, c, what, about, flag, op)


class LeavesNothing(Model):
    """Leaving is answered, and nothing done."""

    def group_write(self, d, c, what, about, flag, op):
        if what == f.LEAVE:
            self.soon(self.done, d, op, f.OK)
        else:
            super().group_write(d, c, what, about, flag, op)


class TellsLeavers(Model):
    """Who has left goes on getting messages."""

    def hand_over(self, d, c):
        spans = c.spans[d.user]
        c.spans[d.user] = [[spans[-1][0], f.NEVER]]
        super().hand_over(d, c)
        c.spans[d.user] = spans


class TellsNewcomers(Model):
    """Who comes in gets what was written before."""

    def hand_over(self, d, c):
        spans = c.spans[d.user]
        c.spans[d.user] = [[1, spans[-1][1]]]
        super().hand_over(d, c)
        c.spans[d.user] = spans


class MarksWithhold(Model):
    """What another device has read is not sent to a device that comes back."""

    def hand_over(self, d, c):
        key = c.hi, c.lo
        if key in d.pos and not d.is_synced:
            d.pos[key] = max(d.pos[key], c.marks[d.user][1])
        super().hand_over(d, c)

    def ready(self, d):
        d.is_synced = False
        super().ready(d)


class LatePushes(Model):
    def push(self, d, c):
        self.at(self.now + 9 * S, super().push, d, c)


class NoPushes(Model):
    """A device gets nothing until it connects again."""

    def push(self, d, c):
        pass


class LosesAcked(Model):
    """The last commit of each log is lost by a fail-over, and its seq given anew."""

    def commit(self, c, row):
        if row.kind == f.TEXT and c.rows and c.rows[-1].kind == f.TEXT and row.seq % 7 == 0 and not c.rows[-1].edits and not c.rows[-1].recalled:
            row.seq -= 1
            c.rows.pop()
        super().commit(c, row)


class StoresTwice(Model):
    """A message that is sent again is stored again."""

    def commit(self, c, row):
        super().commit(c, row)
        if row.kind == f.TEXT and row.seq % 11 == 0:
            super().commit(c, self.row(c, row.sender, f.TEXT, op=row.op))


class RecallForgets(Model):
    """A recall leaves the body where it is."""

    def write(self, d, c, what, op, refers, is_heard):
        super().write(d, c, what, op, refers, is_heard)
        for row in c.rows:
            row.recalled = 0


class MarksFall(Model):
    """The mark set last wins."""

    def mark(self, d, c):
        key = c.hi, c.lo
        has = d.pos.get(key, 0)
        if d.user in c.marks and has > 6 and self.rng.random() < .5:
            c.marks[d.user], d.pos[key] = [0, 0], 3
            super().mark(d, c)
            d.pos[key] = has
        else:
            super().mark(d, c)


class OrderByChance(Model):
    """Messages come to stand where there is room, not behind what was acknowledged before."""

    def commit(self, c, row):
        if row.kind == f.TEXT and row.seq > 6 and row.seq % 5 == 0 and all(r.kind == f.TEXT for r in c.rows[-3:]) and c.lo:
            at = row.seq - 3
            for r in c.rows[at - 1:]:
                r.seq += 1
            row.seq = at
            c.rows.insert(at - 1, row)
        else:
            c.rows.append(row)


BUGS = [(MutedWrite, {"muted_wrote"}), (OutsidersWrite, {"outsider_wrote"}), (WritesOn, {"outsider_wrote"}), (AnybodyRecalls, {"rights"}), (BlockedWrite, {"blocked_wrote"}), (AnybodyKicks, {"rights"}),
        (LeavesNothing, {"not_carried_out"}), (TellsLeavers, {"not_a_member"}), (TellsNewcomers, {"not_a_member"}), (MarksWithhold, {"gap"}),
        (LatePushes, {"late"}), (NoPushes, {"undelivered"}), (LosesAcked, {"shared_place"}), (StoresTwice, {"doubled"}),
        (RecallForgets, {"wrong_body"}), (MarksFall, {"mark_fell", "mark_lost"}), (OrderByChance, {"order"})]


@pytest.mark.parametrize("bug, expected", BUGS, ids=[bug.__name__ for bug, _ in BUGS])
def test_a_server_that_does_wrong_is_found(bug, expected, tmp_path):
    m = bug(21, actions=900)
    write_run(tmp_path, m, m.records, *m.tables())
    status, counts, text = judge(tmp_path)
    assert status == 1 and expected <= set(counts), text


@pytest.mark.parametrize("bug", [MutedWrite, OutsidersWrite, WritesOn, AnybodyRecalls, BlockedWrite, AnybodyKicks, LeavesNothing], ids=lambda bug: bug.__name__)
def test_rights_are_told_from_all_else(bug, tmp_path):
    m = bug(21, actions=900)
    write_run(tmp_path, m, m.records, *m.tables())
    assert set(judge(tmp_path)[1]) == dict(BUGS)[bug]


def test_a_violation_comes_with_its_history(tmp_path):
    m = LosesAcked(21, actions=900)
    write_run(tmp_path, m, m.records, *m.tables())
    text = judge(tmp_path)[2]
    assert (tmp_path / "check.txt").read_text() == text
    result = json.loads((tmp_path / "check.json").read_text())
    assert result["verdict"] == "VIOLATION" and result["violations"]["shared_place"] > 0
    story = "\n".join(next(v for v in result["kept"] if v["check"] == "shared_place")["lines"])
    assert story.count("calls send") == 2 and story.count("done, status 0") == 2 and "log  " in story and "is handed" in story


# ---- runs that say too little ---------------------------------------------------------------------------------------------------


def no_event(name):
    def lack(c):
        c.events[name] = 0
    return lack


def few_faults(c):
    c.faults = c.faults[:-1]


def idle_faults(c):
    c.faults[0]["in_flight"] = 0


def no_faults(c):
    c.faults.clear()
    c.plan["kinds"] = []


def a_kind_is_lacking(c):
    c.plan["kinds"].append("cut_cable")


def others_unseen(c):
    for x in c.faults:
        x["others"] = None


LACKS = [(no_event(name), "no " + name.replace("_", " ")) for name in ("resend", "retry", "owner_change", "fence", "stale_rights", "presence_lost")]
LACKS += [(few_faults, "4 faults of kind stop_proxy"), (idle_faults, "4 faults of kind kill_chat"), (no_faults, "no faults at all"),
          (a_kind_is_lacking, "0 faults of kind cut_cable"),
          (others_unseen, "no fault of kind kill_chat at which other conversations were watched")]


@pytest.mark.parametrize("lack, said", LACKS, ids=[said.replace(" ", "_") for _, said in LACKS])
def test_a_run_that_lacks_something_does_not_count(lack, said, tmp_path):
    c = Case(3)
    lack(c)
    c.write(tmp_path)
    status, counts, text = judge(tmp_path)
    assert (status, counts) == (2, {}) and text.startswith("INCONCLUSIVE") and said in text, text


def test_a_slow_run_does_not_count(tmp_path):
    Case(3).write(tmp_path)
    status, text = check.check(check.options([str(tmp_path)]))
    assert status == 2 and "acknowledged sends per second, 500 are needed" in text, text


def test_a_short_run_needs_less_and_is_checked_as_well(tmp_path):
    c = Case(3)
    c.faults, c.events = c.faults[:2], {}
    c.write(tmp_path)
    assert judge(tmp_path, "--short")[0] == 0
    c.dump.pop()
    c.write(tmp_path)
    assert judge(tmp_path, "--short")[0] == 1


def test_a_kind_that_the_machine_cannot_do_is_named_and_not_needed(tmp_path):
    c = Case(3)
    a_kind_is_lacking(c)
    c.faults.append({"kind": "cut_cable", "skipped": "no such cable"})
    c.write(tmp_path)
    status, _, text = judge(tmp_path)
    assert status == 0 and "left out: no such cable" in text, text


@pytest.mark.parametrize("option, found", [("--max-silence-s", "silence"), ("--max-send-s", "slow_send")])
def test_limits_are_judged_when_given(option, found, tmp_path):
    Case(3).write(tmp_path)
    assert judge(tmp_path, option, "100")[0] == 0
    status, counts, text = judge(tmp_path, option, "0.01")
    assert status == 1 and set(counts) == {found}, text


def test_a_violation_comes_before_what_a_run_lacks(tmp_path):
    c = Case(3)
    c.events = {}
    c.dump.pop()
    c.write(tmp_path)
    assert judge(tmp_path)[0] == 1


def test_how_late_is_too_late_can_be_set(tmp_path):
    m = LatePushes(21, actions=500)
    write_run(tmp_path, m, m.records, *m.tables())
    assert "late" in judge(tmp_path, "--grace-s", "8")[1]
    assert judge(tmp_path, "--grace-s", "10")[0] == 0


def test_a_message_may_be_late_while_something_is_broken(tmp_path):
    """Pushes take 9 s, and one fault lasts as long as the load."""
    m = LatePushes(21, actions=500)
    m.faults = [{**m.faults[0], "begin_us": m.records[0].at, "recovered_us": m.records[0].at, "end_us": m.quiet + 5 * S}, *m.faults[1:]]
    write_run(tmp_path, m, m.records, *m.tables())
    status, counts, text = judge(tmp_path)
    assert (status, counts) == (0, {}), text


class BlocksLate(BlockedWrite):
    """Blocks are lifted after 4 s, and no owner hears of any."""

    def unblock(self, d, c):
        self.at(self.now + 2 * S, super().unblock, d, c)


@pytest.mark.parametrize("is_broken", [False, True])
def test_a_block_may_be_unheard_of_for_a_while_only_while_something_is_broken(is_broken, tmp_path):
    m = BlocksLate(21, actions=900)
    if is_broken:
        m.faults = [{**m.faults[0], "begin_us": m.records[0].at, "recovered_us": m.records[0].at, "end_us": m.quiet + 5 * S}, *m.faults[1:]]
    write_run(tmp_path, m, m.records, *m.tables())
    status, counts, text = judge(tmp_path)
    assert (status, set(counts)) == ((0, set()) if is_broken else (1, {"blocked_wrote"})), text
    assert not is_broken or "while parts failed: 0" not in text


# ---- files that are no run ----------------------------------------------------------------------------------------------------------


def cut_history(folder):
    with open(folder / "history.bin", "r+b") as h:
        h.truncate(1001)


def empty_history(folder):
    (folder / "history.bin").write_bytes(b"")


def without_calls(folder):
    rows = [r for r in f.RECORD.iter_unpack((folder / "history.bin").read_bytes()) if r[8] != f.CALL]
    (folder / "history.bin").write_bytes(b"".join(f.RECORD.pack(*r) for r in rows))


def backwards(folder):
    data = (folder / "history.bin").read_bytes()
    (folder / "history.bin").write_bytes(data[-64:] + data[:-64])


def without_end(folder):
    rows = [r for r in f.RECORD.iter_unpack((folder / "history.bin").read_bytes()) if r[8] != f.PHASE]
    (folder / "history.bin").write_bytes(b"".join(f.RECORD.pack(*r) for r in rows))


def lacking(name):
    return lambda folder: (folder / name).unlink()


def garbled(name):
    def garble(folder):
        with open(folder / name, "a", encoding="utf-8") as h:
            h.write("what is this\n")
    return garble


FILES = ["history.bin", "dump.tsv", "members.tsv", "faults.jsonl", "plan.json"]
NO_RUN = [("cut_history", cut_history), ("empty_history", empty_history), ("without_calls", without_calls), ("backwards", backwards),
          ("without_end", without_end), *((f"without_{n}", lacking(n)) for n in FILES), *((f"garbled_{n}", garbled(n)) for n in FILES[1:])]


@pytest.mark.parametrize("spoil", [s for _, s in NO_RUN], ids=[n for n, _ in NO_RUN])
def test_files_that_are_no_run_are_told(spoil, tmp_path, capsys):
    Case(3).write(tmp_path)
    spoil(tmp_path)
    assert check.main([str(tmp_path), "--min-rate", "1"]) == 3
    assert capsys.readouterr().err.startswith("BROKEN: ")
