"""Marks: they never fall, never run ahead of the log, and a list is never behind what was known before it was asked for."""
from bisect import bisect_left, bisect_right

from check_format import NEVER, key_of

KEEP_STEPS = 64 # of a user's marks in a conversation: those that lists under way may have missed


class MarkCheck:
    def __init__(self, run, report):
        self.run, self.report = run, report
        self.told = {}    # (device, target, user) -> [delivered, read] of the last receipt
        self.best = {}    # (user, conv) -> [(when it was seen, delivered, read)], rising
        self.heads = {}   # conv -> (when rows were acknowledged, the highest of them)
        self.receipts = self.lists = 0

    def could_be(self, c, at):
        """How long the log could be at a time."""
        return bisect_right(c.could, at) - 1

    def ahead(self, c, seq, at):
        return seq > c.n or (seq and c.could[seq] > at)

    def seen(self, c, user, at, delivered, read):
        steps = self.best.get((user, c.index))
        if steps is None:
            self.best[user, c.index] = [(0, 0, 0), (at, delivered, read)]
            return
        _, d, r = steps[-1]
        if delivered > d or read > r:
            steps.append((at, max(delivered, d), max(read, r)))
            if len(steps) > 2 * KEEP_STEPS:
                del steps[:KEEP_STEPS]

    def receipt(self, at, target, delivered, user, read, device):
        self.receipts += 1
        c = self.run.convs[self.run.conv(key_of(self.run.user_of.get(device, 0), target))]
        key = device, target, user
        last = self.told.get(key)
        if last is None:
            self.told[key] = [delivered, read]
        else:
            if delivered < last[0] or read < last[1]:
                self.report.add("mark_fell", f"device {device} was told that user {user} in {c.name()} has delivered {delivered}, read {read}, after "
                                f"it had been told {last[0]} and {last[1]}", marks=(c.index, user), device=device, at=at)
            last[0], last[1] = max(delivered, last[0]), max(read, last[1])
        self.limits(c, user, delivered, read, device, at)
        self.seen(c, user, at, delivered, read)

    def limits(self, c, user, delivered, read, device, at):
        top = max(delivered, read)
        if self.ahead(c, top, at):
            self.report.add("mark_ahead", f"device {device} was told that user {user} in {c.name()} is at {top}, and the log could not be longer than "
                            f"{self.could_be(c, at)} then", spots=((c.index, top),), marks=(c.index, user), device=device, at=at)
        if read > delivered:
            self.report.add("mark_ahead", f"user {user} in {c.name()} has read {read} and was delivered {delivered}",
                            marks=(c.index, user), device=device, at=at)

    def listed(self, at, target, delivered, op, read, head, device):
        """A row of a list of conversations that operation op asked for."""
        self.lists += 1
        run = self.run
        user = run.user_of.get(device, 0)
        c = run.convs[run.conv(key_of(user, target))]
        called = run.o_call[op] if op < len(run.o_call) else 0
        steps = self.best.get((user, c.index))
        if steps:
            _, d, r = steps[max(bisect_left(steps, (called,)) - 1, 0)]
            if steps[0][0] < called and (delivered < d or read < r):
                self.report.add("mark_lost", f"device {device} listed {c.name()} with delivered {delivered}, read {read}; user {user} was at {d} and {r} "
                                f"before it asked", ops=(op,), marks=(c.index, user), device=device, at=at)
        self.limits(c, user, delivered, read, device, at)
        if self.ahead(c, head, at):
            self.report.add("mark_ahead", f"device {device} listed {c.name()} with head {head}, and the log could not be longer than "
                            f"{self.could_be(c, at)} then", ops=(op,), device=device, at=at)
        self.head_is(c, user, head, op, device, at)
        self.seen(c, user, at, delivered, read)

    def head_is(self, c, user, head, op, device=0, at=0):
        """An answer named the log's end: at least what was acknowledged before it was asked for."""
        spans = c.spans.get(user)
        if not spans or spans[-1][1] != NEVER or len(spans) > 1:
            return
        known = self.heads.get(c.index)
        if known is None:
            rows = sorted((t, s) for s, t in enumerate(c.acked) if t)
            top, best = [], 0
            for _, s in rows:
                best = max(best, s)
                top.append(best)
            known = self.heads[c.index] = [t for t, _ in rows], top
        n = bisect_left(known[0], self.run.o_call[op])
        if n and known[1][n - 1] > head >= spans[0][0]:
            self.report.add("list_behind", f"operation {op} found {c.name()} up to seq {head}, though seq {known[1][n - 1]} had been acknowledged before",
                            ops=(op,), spots=((c.index, known[1][n - 1]),), device=device, at=at)

    def finish(self):
        """The table of members has every mark that anybody was told of."""
        run = self.run
        table = {}
        for hi, lo, user, _, _, _, delivered, read in run.members:
            at = run.conv_of.get((hi, lo))
            if at is None:
                continue
            table[user, at] = True
            c = run.convs[at]
            steps = self.best.get((user, at))
            if steps and (delivered < steps[-1][1] or read < steps[-1][2]):
                self.report.add("mark_lost", f"user {user} in {c.name()} is at delivered {delivered}, read {read} in the end, and was at {steps[-1][1]} and "
                                f"{steps[-1][2]} before", marks=(at, user), at=steps[-1][0])
            if max(delivered, read) > c.n or read > delivered:
                self.report.add("mark_ahead", f"user {user} in {c.name()} has delivered {delivered} and read {read} of {c.n} in the end", marks=(at, user))
