"""A right history that tests of the checker break in one place, and the checker's word on it."""
import copy

import pytest

import check
import check_format as f
from model import Model
from model_parts import write_run

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


class Breaks:
    """The ways to break a history that a file of tests has."""

    def __init__(self):
        self.ways = []

    def __call__(self, *expected, only=False):
        """A way, and the checks that are to find it; only: and no others."""
        def add(function):
            self.ways.append(pytest.param(function, expected, only, id=function.__name__))
            return function
        return add


def finds(break_it, expected, only, folder):
    """Break a history, and assert that the checker finds what it is to find."""
    c = Case(3)
    break_it(c)
    c.write(folder)
    status, counts, text = judge(folder)
    assert status == 1 and text.startswith("VIOLATION"), text
    assert set(expected) <= set(counts), text
    if only:
        assert set(counts) == set(expected), text
