"""Reading a run: the operations of history.bin, the log in dump.tsv, members, faults, plan and what happened inside."""
import json
import mmap
import os
from array import array

from check_format import (BAD_BODY, CALL, CREATE, DEVICE, DONE, END, FINAL, LOAD, MEMBERSHIP, MESSAGE, OK, PAGE, PHASE, QUIET,
                          RECORD, RUN, UNENDED, UNSURE, USER, Broken, key_of)


class Conv:
    """A conversation's log: columns indexed by seq (0 is unused), and what the checks find out about each row."""
    __slots__ = ("hi", "lo", "index", "n", "sender", "cmid", "kind", "refers", "body", "op", "call", "acked", "due", "could", "touched",
                 "edits", "recall", "facts", "spans", "holes")

    def __init__(self, hi, lo, index):
        self.hi, self.lo, self.index, self.n = hi, lo, index, 0
        self.sender, self.cmid, self.refers, self.body = (array("Q", [0]) for _ in range(4))
        self.kind = bytearray(1)
        self.op = array("Q")       # the operation that made the row; 0: not known
        self.call = array("q")     # when it was called; 0: not known
        self.acked = array("q")    # when its OK came; 0: it did not, or is not known
        self.due = array("q")      # when every device that was ready must have it
        self.could = array("q")    # the log could be as long as this from then on
        self.touched = bytearray() # 1: edited, recalled, or not simply a text: looked at closely
        self.edits = {}            # seq -> [(seq of the edit, its operation or 0)], rising
        self.recall = {}           # seq -> seq of the recall
        self.facts = {}            # seq of a membership message -> (change, about, status), as devices saw it
        self.spans = {}            # user -> [(first seq, last seq)] that he may see; NEVER: still a member
        self.holes = []

    def name(self):
        return f"group {self.hi}" if self.lo == 0 else f"chat {self.hi}/{self.lo}"


class Run:
    """Everything that was read."""

    def __init__(self, folder):
        self.folder = folder
        self.convs, self.conv_of = [], {}
        self.members, self.faults, self.skipped = [], [], []
        self.plan, self.events = {}, {}
        self.users, self.user_of, self.inbox_of = set(), {}, {}
        self.phase = {}
        self.records = self.first_us = self.last_us = 0
        # Operations, indexed by their number.
        self.o_what, self.o_outcome, self.o_status, self.o_arg = bytearray(1), bytearray([UNENDED]), bytearray(1), bytearray(1)
        self.o_call, self.o_done = array("q", [0]), array("q", [0])
        self.o_device = array("I", [0])
        self.o_conv = array("i", [-1])
        self.o_seq, self.o_about, self.o_refers, self.o_made = (array("Q", [0]) for _ in range(4))
        self.o_made_refers, self.o_made_id = {}, {}
        self.two_places = []       # (operation, first seq, second seq)
        self.fact_clash = []       # (conv, seq, device)

    def conv(self, key):
        """The conversation's index; made if it is not known: one of which nothing is in the log."""
        at = self.conv_of.get(key)
        if at is None:
            at = self.conv_of[key] = len(self.convs)
            self.convs.append(Conv(key[0], key[1], at))
        return at

    def user(self, op):
        return self.user_of.get(self.o_device[op], 0)

    def history(self):
        """The records, from the start."""
        return RECORD.iter_unpack(self.data)


def read_json(folder, name, default=None):
    try:
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            return json.load(f)
    except FileNotFoundError:
        if default is not None:
            return default
        raise Broken(f"{name} is missing") from None
    except ValueError as e:
        raise Broken(f"{name}: {e}") from None


def read_faults(run):
    path = os.path.join(run.folder, "faults.jsonl")
    if not os.path.exists(path):
        raise Broken("faults.jsonl is missing")
    with open(path, encoding="utf-8") as f:
        for n, line in enumerate(f, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                if "skipped" in row:
                    run.skipped.append(row)
                    continue
                row["kind"], row["begin_us"] = str(row["kind"]), int(row["begin_us"])
                row["end_us"] = int(row["end_us"]) if row.get("end_us") is not None else None
            except (ValueError, KeyError, TypeError) as e:
                raise Broken(f"faults.jsonl, line {n}: {e}") from None
            run.faults.append(row)
    run.faults.sort(key=lambda f: f["begin_us"])


def body_of(word):
    if word == "-":
        return 0
    try:
        return int(word, 16)
    except ValueError:
        return BAD_BODY


def read_dump(run):
    """The log by the database. Rows are brought into order; what is missing or doubled is left in conv.holes."""
    rows = {}
    try:
        with open(os.path.join(run.folder, "dump.tsv"), encoding="utf-8") as f:
            for line in f:
                hi, lo, seq, sender, cmid, kind, refers, body = line.split()
                at = run.conv((int(hi), int(lo)))
                c, seq = run.convs[at], int(seq)
                if seq == c.n + 1:
                    c.n = seq
                    c.sender.append(int(sender))
                    c.cmid.append(int(cmid))
                    c.kind.append(int(kind))
                    c.refers.append(int(refers))
                    c.body.append(body_of(body) if kind != "4" else 0)
                else:
                    rows.setdefault(at, []).append((seq, int(sender), int(cmid), int(kind), int(refers), body_of(body)))
    except FileNotFoundError:
        raise Broken("dump.tsv is missing") from None
    except (ValueError, OverflowError) as e:
        raise Broken(f"dump.tsv: {e}") from None
    for at, late in rows.items():
        for row in sorted(late):
            add_late(run.convs[at], row)


def add_late(c, row):
    seq = row[0]
    if seq <= c.n:
        c.holes.append((seq, "stands twice"))
        return
    if seq - c.n > 1000000:
        raise Broken(f"dump.tsv: {c.name()} jumps from seq {c.n} to {seq}")
    while c.n < seq - 1:
        c.n += 1
        c.holes.append((c.n, "is missing"))
        append(c, (0, 0, 0, 0, 0))
    c.n = seq
    append(c, row[1:])


def append(c, row):
    for column, value in zip((c.sender, c.cmid, c.kind, c.refers, c.body), row):
        column.append(value)


def read_members(run):
    try:
        with open(os.path.join(run.folder, "members.tsv"), encoding="utf-8") as f:
            for line in f:
                row = tuple(int(word) for word in line.split())
                if len(row) != 8:
                    raise ValueError(f"a line of {len(row)} columns")
                run.members.append(row)
    except FileNotFoundError:
        raise Broken("members.tsv is missing") from None
    except ValueError as e:
        raise Broken(f"members.tsv: {e}") from None


def make_room(run, op):
    """Operations up to op, not called so far."""
    if op > 1 << 32:
        raise Broken(f"history.bin: an operation has the number {op}")
    n = op + 1 - len(run.o_what)
    for column in (run.o_what, run.o_status, run.o_arg):
        column.extend(bytes(n))
    run.o_outcome.extend(bytes([UNENDED]) * n)
    for column in (run.o_call, run.o_done, run.o_device, run.o_seq, run.o_about, run.o_refers, run.o_made):
        column.frombytes(bytes(n * column.itemsize))
    run.o_conv.extend([-1] * n)


def take_call(run, r):
    at, target, seq, user, op, refers, _, device, _, what, _, status = r
    if op >= len(run.o_what):
        make_room(run, op)
    if run.o_what[op]:
        raise Broken(f"history.bin: operation {op} is called twice")
    run.o_what[op], run.o_call[op], run.o_device[op] = what, at, device
    run.o_seq[op], run.o_about[op], run.o_refers[op], run.o_arg[op] = seq, user, refers, status
    if target:
        if device not in run.user_of:
            raise Broken(f"history.bin: operation {op} is called by device {device}, of which nothing is known")
        run.o_conv[op] = run.conv(key_of(run.user_of[device], target))


def take_done(run, r):
    at, target, seq, user, op, refers, ident, device, _, _, outcome, status = r
    if op >= len(run.o_what) or not run.o_what[op]:
        raise Broken(f"history.bin: operation {op} ended without a call")
    if outcome > UNSURE:
        raise Broken(f"history.bin: operation {op} has outcome {outcome}")
    before = run.o_outcome[op]
    if before == OK:
        if outcome == OK and run.o_made[op] != seq:
            run.two_places.append((op, run.o_made[op], seq))
        return
    if before != UNENDED and outcome != OK:
        return # a second answer that knows no more than the first
    run.o_outcome[op], run.o_done[op], run.o_status[op], run.o_made[op] = outcome, at, status, seq
    if run.o_what[op] == CREATE and outcome == OK and target:
        run.o_conv[op] = run.conv(key_of(0, target))
    if refers:
        run.o_made_refers[op] = refers
    if ident:
        run.o_made_id[op] = ident


def take_fact(run, r):
    """What changed in a group is told by devices only: a dump does not open the body."""
    key = key_of(run.user_of.get(r[7], 0), r[1])
    c = run.convs[run.conv(key)]
    fact = (r[10], r[5], r[11])
    if c.facts.setdefault(r[2], fact) != fact:
        run.fact_clash.append((c, r[2], r))


def read_history(run):
    """The first pass: all but what was handed over and read."""
    path = os.path.join(run.folder, "history.bin")
    try:
        size = os.path.getsize(path)
    except OSError:
        raise Broken("history.bin is missing") from None
    if size == 0 or size % RECORD.size:
        raise Broken(f"history.bin: {size} bytes are no number of records")
    with open(path, "rb") as f:
        run.data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
    run.records = size // RECORD.size
    run.first_us, run.last_us = RECORD.unpack_from(run.data, 0)[0], RECORD.unpack_from(run.data, size - RECORD.size)[0]
    before = 0
    for r in run.history():
        at, type_ = r[0], r[8]
        if at < before:
            raise Broken(f"history.bin: a record of {at} stands behind one of {before}")
        before = at
        if type_ == MESSAGE or type_ == PAGE:
            if r[9] == MEMBERSHIP:
                take_fact(run, r)
        elif type_ == CALL:
            take_call(run, r)
        elif type_ == DONE:
            take_done(run, r)
        elif type_ == DEVICE:
            run.user_of[r[7]], run.inbox_of[r[7]] = r[3], r[9]
        elif type_ == USER:
            run.users.add(r[3])
        elif type_ == PHASE:
            run.phase.setdefault(r[9], at)
        elif not RUN <= type_ <= PHASE:
            raise Broken(f"history.bin: a record of type {type_}")
    for what, name in ((LOAD, "LOAD"), (QUIET, "QUIET"), (FINAL, "FINAL"), (END, "END")):
        if what not in run.phase:
            raise Broken(f"history.bin: phase {name} never began")


def read_run(folder):
    run = Run(folder)
    run.plan = read_json(folder, "plan.json")
    run.events = read_json(folder, "events.json", {})
    read_faults(run)
    read_dump(run)
    read_members(run)
    read_history(run)
    return run
