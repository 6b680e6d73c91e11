"""What devices were handed and what they read, against the log: the second pass over history.bin, made for millions of records."""
from check_format import (APPLICATION, CLOSED, FINAL, FRESH, HISTORY, K_EDIT, KEEP, MARKS, MEMBERSHIP, MESSAGE, NEVER, OK, OPEN, PAGE, PHASE,
                          READY, RECEIPT, SEND, STATE, TEXT, GROUP, key_of)

# A device's state in a conversation: the conversation, the seq that comes next (0: whatever, after an OPEN), the last seq
# that it may be handed, the log's columns, and the highest seq that it was ever handed.
NEXT, LAST, HELD = 1, 2, 9


class Device:
    __slots__ = ("number", "user", "inbox", "is_open", "opened_at", "ready_at", "was_back", "states", "opens")

    def __init__(self, number, user, inbox):
        self.number, self.user, self.inbox = number, user, inbox
        self.is_open = self.was_back = False
        self.opened_at = self.ready_at = self.opens = 0
        self.states = {}


def state_of(c):
    return [c, 0, 0, c.touched, c.op, c.cmid, c.sender, c.due, c.kind, 0]


def span_of(c, user, seq):
    for span in c.spans.get(user, ()):
        if span[0] <= seq <= span[1]:
            return span
    return None


class DeliveryCheck:
    def __init__(self, run, report, faults, log, marks):
        self.run, self.report, self.faults, self.log, self.marks = run, report, faults, log, marks
        self.devices = {n: Device(n, user, run.inbox_of[n]) for n, user in run.user_of.items()}
        self.states = {n: d.states for n, d in self.devices.items()}
        self.convs = {}        # user -> conversations that he was ever in
        for c in run.convs:
            for user in c.spans:
                self.convs.setdefault(user, []).append(c)
        self.pages = {}        # operation -> [conv, next seq, last seq, columns ..., what FINAL has read of it, when it was called]
        self.read = {}         # (user, conv) -> a byte for each seq: 1: read in FINAL
        self.scratch = bytearray(max((c.n for c in run.convs), default=0) + 1)
        self.final_at = run.phase[FINAL]
        self.backfill = run.plan.get("backfill")
        self.handed = self.paged = 0

    def check(self):
        """The loop over all records: nothing is called for a message that is the next one and as the log has it."""
        states, pages, handed, paged = self.states, self.pages, 0, 0
        for r in self.run.history():
            at, target, seq, user, op, refers, ident, device, type_, what, outcome, status = r
            if type_ == MESSAGE:
                handed += 1
                st = states[device].get(target) if device in states else None
                if st is not None and st[1] == seq and seq <= st[2] and not st[3][seq]:
                    if (op == st[4][seq] and ident == st[5][seq] and user == st[6][seq] and at <= st[7][seq] and what == st[8][seq]
                            and not refers):
                        st[1] = seq + 1
                        continue
                self.message(r)
            elif type_ == PAGE:
                paged += 1
                pg = pages.get(ident)
                if pg is not None and pg[1] == seq and seq <= pg[2] and not pg[3][seq]:
                    if op == pg[4][seq] and user == pg[6][seq] and what == pg[8][seq] and not refers:
                        pg[1] = seq + 1
                        pg[10][seq] = 1
                        continue
                self.page(r)
            elif type_ == RECEIPT:
                self.marks.receipt(at, target, seq, user, refers, device)
            elif type_ == MARKS:
                self.marks.listed(at, target, seq, op, refers, ident, device)
            elif type_ in (STATE, OPEN, CLOSED) and device in self.devices:
                self.moved(self.devices[device], at, type_, what)
            elif type_ == PHASE and what == FINAL:
                for d in self.devices.values():
                    d.was_back |= d.ready_at > 0
                    self.pending(d, at)
        self.handed, self.paged = handed, paged
        self.ends()

    # ---- devices come and go ------------------------------------------------------------------------------------------------

    def moved(self, d, at, type_, what):
        if type_ == STATE and what == READY:
            d.ready_at = d.ready_at or at
            d.was_back |= at >= self.final_at
            return
        if d.ready_at:
            self.pending(d, at)
            d.ready_at = 0
        if type_ == STATE:
            return
        d.is_open = type_ == OPEN
        for st in d.states.values():
            if st[NEXT]:
                st[HELD] = max(st[HELD], st[NEXT] - 1)
                st[NEXT] = 0
        if d.is_open:
            d.opened_at = at
            d.opens += 1
            if d.inbox == FRESH:
                d.states.clear()

    def pending(self, d, at):
        """The device is going, or the load has ended: what was due before has been handed over."""
        if not d.ready_at or d.inbox not in (KEEP, FRESH) or d.ready_at >= self.final_at:
            return
        for c in self.convs.get(d.user, ()):
            st = d.states.get(self.target(c, d.user))
            if st is not None:
                s = self.missing(c, d.user, st[NEXT] or st[HELD] + 1)
            else:
                s = self.missing(c, d.user, 1)
                if s and c.acked[s] < d.ready_at: # where a device begins in an old conversation is its own affair
                    s = 0
            if s and self.faults.due(max(c.acked[s], d.ready_at)) < at:
                self.report.add("undelivered", f"{c.name()} seq {s} was acknowledged, and device {d.number} of user {d.user}, connected since "
                                f"{self.report.time(d.ready_at)}, had not got it when it left", spots=((c.index, s),), device=d.number, at=at,
                                since=max(c.acked[s], d.ready_at))

    def missing(self, c, user, low):
        """The first acknowledged row from low on that the user may see; 0: none."""
        for first, last in c.spans.get(user, ()):
            for s in range(max(low, first), min(last, c.n) + 1):
                if c.acked[s]:
                    return s
        return 0

    @staticmethod
    def target(c, user):
        return c.hi | GROUP if not c.lo else c.lo if user == c.hi else c.hi

    def span_there(self, c, d, s, verb, here):
        """The time of membership that the seq is of. None: it has no business with that device, which is reported."""
        if not 0 < s <= c.n:
            self.report.add("not_in_log", f"device {d.number} {verb} {c.name()} seq {s}, which is not in the log", **here)
            return None
        span = span_of(c, d.user, s)
        if span is None:
            self.report.add("not_a_member", f"device {d.number} of user {d.user} {verb} {c.name()} seq {s}, of a time in which he was no member", **here)
        return span

    # ---- a message --------------------------------------------------------------------------------------------------------------

    def message(self, r):
        at, target, s, device = r[0], r[1], r[2], r[7]
        d = self.devices.get(device)
        if d is None:
            self.report.add("content", f"device {device} is handed a message, and nothing is known of it", device=device, at=at)
            return
        c = self.run.convs[self.run.conv(key_of(d.user, target))]
        here = {"spots": ((c.index, s),), "device": device, "at": at}
        if not d.is_open:
            self.report.add("closed", f"device {device} is handed {c.name()} seq {s} though its client is gone", **here)
        span = self.span_there(c, d, s, "was handed", here)
        if span is None:
            return
        if r[6] != c.cmid[s]:
            self.report.add("content", f"device {device} was handed {c.name()} seq {s} with client_msg_id {r[6]}, the log has {c.cmid[s]}", **here)
        self.content(c, r, span[1], d.opened_at, here, False)
        st = d.states.get(target)
        if st is None:
            st = d.states[target] = state_of(c)
            self.begins(c, d, s, at, here)
        else:
            self.position(c, d, st, s, here)
        st[NEXT], st[LAST], st[HELD] = s + 1, min(span[1], c.n), max(st[HELD], s)
        if at > c.due[s] and d.ready_at:
            self.late(c, d, s, at, here)

    def begins(self, c, d, s, at, here):
        first = c.spans[d.user][-1][0]
        if self.backfill is None or d.opens == 0:
            return
        head = min(c.n, self.marks.could_be(c, at))
        if s > max(first, head - self.backfill + 1):
            self.report.add("gap", f"device {d.number} begins in {c.name()} at seq {s}, though it was to get the last {self.backfill} of {head}", **here)

    def position(self, c, d, st, s, here):
        held = st[NEXT] - 1 if st[NEXT] else st[HELD]
        if s <= held:
            if st[NEXT]:
                self.report.add("repeat", f"device {d.number} was handed {c.name()} seq {s} after seq {held}, without having been opened anew", **here)
            return
        for first, last in c.spans[d.user]:
            if last <= held or first >= s:
                continue
            low, high = max(first, held + 1), min(last, s - 1)
            if low <= high and not (last < s and self.excused(c, d, low, high, s)):
                self.report.add("gap", f"device {d.number} was handed {c.name()} seq {s} after seq {held}: seq {low} is missing",
                                spots=((c.index, low), (c.index, s)), device=here["device"], at=here["at"])
                return

    def excused(self, c, d, low, high, s):
        """It left and joined again before the device got all: then that is not its to see any more."""
        join = span_of(c, d.user, s)[0]
        known = c.acked[join] or c.call[join]
        return not known or not any(c.acked[k] and self.faults.due(max(c.acked[k], d.ready_at)) < known for k in range(low, high + 1))

    def late(self, c, d, s, at, here):
        base = max(c.acked[s], d.ready_at)
        due = self.faults.due(base)
        if at > due and base < self.final_at:
            self.report.add("late", f"device {d.number} of user {d.user} was handed {c.name()} seq {s} {(at - base) / 1e6:.1f} s after it was "
                            f"acknowledged and the device ready, {(at - due) / 1e6:.1f} s too late", since=base, **here)

    # ---- what a message says -------------------------------------------------------------------------------------------------------

    def content(self, c, r, last, begun_at, here, is_final):
        """last: up to where this user sees the log; begun_at: when the client was opened, or the page asked for."""
        s, user, op, refers, what = r[2], r[3], r[4], r[5], r[9]
        if user != c.sender[s] or what != c.kind[s] or (what != MEMBERSHIP and refers != c.refers[s]):
            self.report.add("content", f"device {r[7]} saw {c.name()} seq {s} as of user {user}, kind {what}, for {refers}; the log has user "
                            f"{c.sender[s]}, kind {c.kind[s]}, for {c.refers[s]}", **here)
        elif what in (TEXT, APPLICATION) and not c.touched[s]:
            if op != c.op[s] or not op:
                self.log.body_names(c, s, op, f"at device {r[7]}", r[7], r[0])
        elif what in (TEXT, APPLICATION, K_EDIT):
            self.touched(c, s, op, last, begun_at, here, is_final)

    def touched(self, c, s, op, last, begun_at, here, is_final):
        old = c.refers[s] if c.kind[s] == K_EDIT else s
        where, edits = f"at device {here['device']}", c.edits.get(old, ())
        seq = next((e for e, o in edits if o == op and op), 0)
        if op and old in c.recall and 0 < c.acked[c.recall[old]] < begun_at:
            self.report.add("recalled_body", f"{where} {c.name()} seq {s} has the body of operation {op}, after its recall was acknowledged at seq "
                            f"{c.recall[old]}", ops=(op,), spots=((c.index, s), (c.index, c.recall[old])), device=here["device"], at=here["at"])
        elif seq > last:
            self.report.add("text_after_leaving", f"{where} {c.name()} seq {s} has the text of the edit at seq {seq}, made after its user left at {last}",
                            ops=(op,), spots=((c.index, s), (c.index, seq)), device=here["device"], at=here["at"])
        elif is_final and op != self.log.final_body(c, s, last) and all(o for _, o in edits) and c.op[old]:
            if op:
                self.report.add("final_differs", f"{where} {c.name()} seq {s} in the end has the body of operation {op}, the log says "
                                f"{self.log.final_body(c, s, last) or 'none'}", ops=(op,), spots=((c.index, s),), device=here["device"], at=here["at"])
            else:
                self.log.wrong_body(c, s, 0, where, here["device"], here["at"])
        elif not op:
            if old not in c.recall and not any(e > last for e, _ in edits):
                self.log.wrong_body(c, s, 0, where, here["device"], here["at"])
        elif not (seq >= s or (op == c.op[s] and c.kind[s] != K_EDIT) or self.log.may_be_edit(c, old, op) or self.is_own(c, s, op)):
            self.log.wrong_body(c, s, op, where, here["device"], here["at"])

    def is_own(self, c, s, op):
        """A text, changed since, whose operation nothing has named so far."""
        run = self.run
        return (c.kind[s] != K_EDIT and not c.op[s] and op < len(run.o_what) and run.o_what[op] == SEND
                and self.log.body_names(c, s, op, "at a device"))

    # ---- pages ------------------------------------------------------------------------------------------------------------------------

    def page(self, r):
        at, target, s, ident, device = r[0], r[1], r[2], r[6], r[7]
        run = self.run
        d = self.devices.get(device)
        if d is None or ident >= len(run.o_what) or run.o_what[ident] != HISTORY:
            self.report.add("content", f"a page of operation {ident}, which reads nothing", device=device, at=at)
            return
        c = run.convs[run.conv(key_of(d.user, target))]
        here = {"ops": (ident,), "spots": ((c.index, s),), "device": device, "at": at}
        span = self.span_there(c, d, s, "read", here)
        if span is None:
            return
        pg = self.pages.get(ident)
        if pg is None:
            pg = self.pages[ident] = state_of(c)
            pg[HELD] = s
            is_final = run.o_call[ident] >= self.final_at
            pg.append(self.read.setdefault((d.user, c.index), bytearray(c.n + 1)) if is_final else self.scratch)
            wanted = run.o_seq[ident]
            if wanted and s != max(wanted, span[0]):
                self.report.add("gap", f"device {device} read {c.name()} from seq {wanted} on (operation {ident}) and got it from {s} on", **here)
        elif s != pg[NEXT]:
            self.report.add("gap", f"device {device} read {c.name()} seq {s} behind seq {pg[NEXT] - 1} in one page (operation {ident})", **here)
        here.pop("ops")
        self.content(c, r, span[1], run.o_call[ident], here, run.o_call[ident] >= self.final_at)
        pg[NEXT], pg[LAST] = s + 1, min(span[1], c.n)
        pg[10][s] = 1

    # ---- the end ------------------------------------------------------------------------------------------------------------------------

    def ends(self):
        for d in self.devices.values():
            if d.inbox not in (KEEP, FRESH):
                continue
            if not d.was_back:
                self.report.add("never_back", f"device {d.number} of user {d.user} was not connected in the end", device=d.number, at=self.final_at)
                continue
            for c in self.convs.get(d.user, ()):
                self.end_of(d, c)
        for c in self.run.convs:
            for user, spans in c.spans.items():
                if spans[-1][1] == NEVER and c.n and user in self.run.users:
                    self.final_read(c, user, spans[-1][0])
        for op in range(1, len(self.run.o_what)):
            if self.run.o_what[op] == HISTORY and self.run.o_outcome[op] == OK:
                self.page_ended(op)

    def end_of(self, d, c):
        end = min(c.spans[d.user][-1][1], c.n)
        st = d.states.get(self.target(c, d.user))
        has = 0 if st is None else st[NEXT] - 1 if st[NEXT] else st[HELD]
        if has < end and not (st is None and self.backfill == 0):
            self.report.add("ends_short", f"device {d.number} of user {d.user} has {c.name()} up to seq {has} in the end, and may see it up to {end}",
                            spots=((c.index, has + 1), (c.index, end)), device=d.number, at=self.run.last_us)

    def final_read(self, c, user, first):
        read = self.read.get((user, c.index))
        lost = read.find(0, first) if read else first
        if lost >= 0 and lost <= c.n:
            self.report.add("final_unread", f"user {user} could not read {c.name()} to its end: seq {lost} of {c.n} never came", spots=((c.index, lost),),
                            at=self.final_at)

    def page_ended(self, op):
        """A page has the rows that it said, and says the log's end."""
        run = self.run
        pg, head = self.pages.get(op), run.o_made[op]
        rows = pg[NEXT] - pg[HELD] if pg else 0
        start = max(run.o_seq[op], run.o_made_refers.get(op, 0))
        if rows != run.o_made_id.get(op, 0) and op in run.o_made_id:
            self.report.add("gap", f"operation {op} read {run.o_made_id[op]} rows, {rows} were recorded", ops=(op,))
        elif run.o_seq[op] and not rows and start <= head: # fewer than asked for is no fault: an answer has a size
            self.report.add("gap", f"operation {op} read from seq {start} on and got nothing, though the log went up to {head}", ops=(op,))
        if run.o_conv[op] >= 0 and head:
            self.marks.head_is(run.convs[run.o_conv[op]], run.user(op), head, op)
