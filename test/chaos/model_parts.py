"""What the model of the tests is made of: records that can be changed, logs, devices; and a run's files."""
import json
import os

from check_format import K_EDIT, K_RECALL, GROUP, MEMBER, MEMBERSHIP, NEVER, RECORD


class Rec:
    """A record that can be changed."""
    __slots__ = ("at", "target", "seq", "user", "op", "refers", "id", "device", "type", "what", "outcome", "status")

    def __init__(self, at, type_, **fields):
        for name in self.__slots__:
            setattr(self, name, 0)
        self.at, self.type = at, type_
        for name, value in fields.items():
            setattr(self, name, value)

    def packed(self):
        return RECORD.pack(*(getattr(self, name) for name in self.__slots__))

    def copy(self, **fields):
        new = Rec(self.at, self.type, **{n: getattr(self, n) for n in self.__slots__ if n not in ("at", "type")})
        for name, value in fields.items():
            setattr(new, name, value)
        return new


class Row:
    """A message of the log."""

    def __init__(self, seq, sender, cmid, kind, refers=0, op=0, change=0, about=0, status=0):
        self.seq, self.sender, self.cmid, self.kind, self.refers, self.op = seq, sender, cmid, kind, refers, op
        self.change, self.about, self.status = change, about, status
        self.edits, self.recalled = [], 0  # of a text: rows of its edits; the seq of its recall


class Conv:
    def __init__(self, hi, lo):
        self.hi, self.lo, self.rows = hi, lo, []
        self.spans, self.role, self.muted, self.marks = {}, {}, set(), {}
        self.disbanded, self.blocks = False, set()
        if lo:
            for user in (hi, lo):
                self.spans[user], self.role[user], self.marks[user] = [[1, NEVER]], MEMBER, [0, 0]

    def target(self, user):
        return self.hi | GROUP if not self.lo else self.lo if user == self.hi else self.hi

    def sees(self, user):
        """The part of the log that the user may see now."""
        first, last = self.spans[user][-1]
        return first, min(last, len(self.rows))

    def shown(self, row, last):
        """The operation that the body names to one who sees the log up to last."""
        if row.kind in (MEMBERSHIP, K_RECALL):
            return 0
        text = self.rows[row.refers - 1] if row.kind == K_EDIT else row
        if text.recalled:
            return 0
        if text.edits:
            return text.edits[-1].op if text.edits[-1].seq <= last else 0
        return text.op


class Device:
    def __init__(self, number, user, inbox):
        self.number, self.user, self.inbox = number, user, inbox
        self.opens, self.is_open, self.is_ready, self.is_synced, self.pos = 0, False, False, False, {}


def write_run(folder, model, records, dump, members):
    """A run's files; what tests have changed is given."""
    with open(os.path.join(folder, "history.bin"), "wb") as f:
        f.write(b"".join(r.packed() for r in sorted(records, key=lambda r: r.at)))
    with open(os.path.join(folder, "dump.tsv"), "w", encoding="utf-8") as f:
        for *row, body in dump:
            f.write("\t".join(map(str, row)) + f"\t{body:016x}\n" if body else "\t".join(map(str, row)) + "\t-\n")
    with open(os.path.join(folder, "members.tsv"), "w", encoding="utf-8") as f:
        f.writelines("\t".join(map(str, row)) + "\n" for row in members)
    with open(os.path.join(folder, "faults.jsonl"), "w", encoding="utf-8") as f:
        f.writelines(json.dumps(row) + "\n" for row in model.faults)
    for name, value in (("plan.json", model.plan), ("events.json", model.events)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            json.dump(value, f)
