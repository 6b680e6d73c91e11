"""A tiny chat server with its users, in simulated time: writes histories that are right, to be broken by tests and judged by the checker."""
import heapq
import random

from check_format import (ADMIN, APPLICATION, BLOCK, CALL, CLOSED, CREATE, CREATED, DEVICE, DISBAND, DISBANDED, DONE, EDIT, END, FINAL, FRESH,
                          FRIEND, GROUP, HISTORY, JOIN, JOINED, K_EDIT, K_RECALL, KEEP, KICK, KICKED, LEAVE, LEFT, LIST, LOAD, MARK_READ, MARKS,
                          MEMBER, MEMBERSHIP, MESSAGE, MUTE, MUTED, NEVER, NONE, NOT_DONE, OK, OPEN, OWNER, PAGE, PHASE, QUIET, READY, RECALL,
                          RECEIPT, ROLE, ROLE_SET, RUN, SEND, SETUP, STATE, SYNCED, TEXT, UNBLOCK, UNSURE, USER)
from model_parts import Conv, Device, Rec, Row

MS, S = 1000, 1000000
DENIED, UNAVAILABLE, UNKNOWN = 7, 14, 2
MUTE_UNTIL = 4102444800000


class Model:
    def __init__(self, seed, seconds=150, actions=1500, users=6, backfill=8):
        self.rng, self.now, self.count, self.queue = random.Random(seed), 1000 * S, 0, []
        self.records, self.convs, self.ops, self.cmid, self.backfill = [], [], 0, 0, backfill
        self.users = [1001 + n for n in range(users)]
        self.devices, self.raw = [], []
        self.plan = {"seed": seed, "backfill": backfill, "kinds": ["kill_chat", "stop_proxy"], "promises": [
            {"kinds": ["kill_chat"], "recovered_within_s": 5, "others_failed": 0, "others_slowest_s": 1}, {"kinds": ["stop_proxy"], "failed_sends": 1000, "slowest_send_s": 5}]}
        self.events = {"resend": 5, "retry": 3, "owner_change": 2, "fence": 1, "stale_rights": 1, "presence_lost": 1}
        self.faults = []
        self.load, self.quiet = self.now + 5 * S, self.now + (5 + seconds) * S
        self.setup(seed)
        for n in range(10):
            begin = self.load + 10 * S + n * (seconds - 20) * S // 10
            self.faults.append({"kind": self.plan["kinds"][n % 2], "part": f"node{n}", "begin_us": begin, "end_us": begin + 800 * MS,
                                "recovered_us": begin + 1200 * MS, "in_flight": 3, "detail": "",
                                "others": {"talks": 4, "failed": 0, "slowest_ms": 30, "longest_ms": 300}})
        for _ in range(actions):
            self.at(self.rng.randrange(self.load, self.quiet - 200 * MS), self.act)
        for d in self.devices:
            self.at(self.rng.randrange(self.load, self.quiet), self.away, d)
        self.at(self.quiet, self.phase, QUIET)
        self.at(self.quiet + 8 * S, self.final)
        self.run()

    # ---- time ---------------------------------------------------------------------------------------------------------------

    def at(self, when, call, *args):
        self.count += 1
        heapq.heappush(self.queue, (when, self.count, call, args))

    def soon(self, call, *args, most_ms=40):
        self.at(self.now + self.rng.randrange(1, most_ms * MS), call, *args)

    def run(self):
        while self.queue:
            self.now, _, call, args = heapq.heappop(self.queue)
            call(*args)

    def write_down(self, type_, **fields):
        self.records.append(Rec(self.now, type_, **fields))
        return self.records[-1]

    def phase(self, what):
        self.write_down(PHASE, what=what)

    # ---- who there is ---------------------------------------------------------------------------------------------------------

    def setup(self, seed):
        self.write_down(RUN, op=seed)
        self.phase(SETUP)
        for user in self.users:
            self.write_down(USER, user=user)
            for inbox in (KEEP, FRESH, KEEP)[:self.rng.randint(2, 3)]:
                self.devices.append(Device(len(self.devices) + 1, user, inbox))
                self.write_down(DEVICE, device=len(self.devices), user=user, what=inbox)
                self.at(self.now + self.rng.randrange(10 * MS, S), self.open, self.devices[-1])
        self.raw = [Device(len(self.devices) + 1, self.users[0], NONE)]
        self.raw[0].is_open = self.raw[0].is_ready = True
        self.write_down(DEVICE, device=self.raw[0].number, user=self.users[0], what=NONE)
        for a in range(len(self.users) - 1):
            self.convs.append(Conv(self.users[a + 1], self.users[a]))
        for n in range(3):
            self.at(self.now + 2 * S, self.create, self.devices[n * 4 % len(self.devices)], 2001 + n)
        self.at(self.load, self.phase, LOAD)

    def create(self, d, group):
        c = Conv(group, 0)
        op = self.call(d, CREATE)
        self.convs.append(c)
        self.apply(c, d.user, CREATED, d.user)
        self.done(d, op, OK, target=group | GROUP)
        for user in self.users:
            if user != d.user and self.rng.random() < .8:
                other = next(e for e in self.devices if e.user == user)
                self.soon(self.group_op, other, c, JOIN, user, 0)

    def open(self, d):
        if d.is_open:
            return
        d.opens += 1
        d.is_open = True
        if d.inbox == FRESH:
            d.pos, d.is_synced = {}, False
        elif d.pos and self.rng.random() < .5: # it lost what it had saved last
            lost = self.rng.choice(sorted(d.pos))
            d.pos[lost] = max(d.pos[lost] - 3, 0)
        self.write_down(OPEN, device=d.number, op=d.opens)
        self.write_down(STATE, device=d.number, what=0)
        self.soon(self.ready, d)

    def ready(self, d):
        if not d.is_open or d.is_ready:
            return
        d.is_ready = True
        self.write_down(STATE, device=d.number, what=READY)
        self.soon(self.catch_up, d)

    def catch_up(self, d):
        if not d.is_ready:
            return
        for c in self.convs:
            if d.user in c.spans:
                self.hand_over(d, c)
        d.is_synced = True
        self.write_down(SYNCED, device=d.number)

    def away(self, d):
        if not d.is_ready or self.now >= self.quiet:
            return
        self.write_down(STATE, device=d.number, what=0)
        d.is_ready = False
        if self.rng.random() < .3: # only the connection
            self.at(self.now + self.rng.randrange(S), self.ready, d)
        else:
            d.is_open = False
            self.write_down(CLOSED, device=d.number)
            self.at(self.now + self.rng.randrange(10 * S), self.open, d)
        self.at(self.now + self.rng.randrange(10 * S, 30 * S), self.away, d)

    # ---- the log ----------------------------------------------------------------------------------------------------------------

    def commit(self, c, row):
        c.rows.append(row)
        for d in self.devices:
            if d.user in c.spans:
                end = next((f["end_us"] for f in self.faults if f["begin_us"] <= self.now < f["end_us"]), self.now)
                self.at(end + self.rng.randrange(1, 60 * MS), self.push, d, c)

    def push(self, d, c):
        if d.is_ready and d.is_synced:
            self.hand_over(d, c)

    def hand_over(self, d, c):
        first, last = c.sees(d.user)
        key = c.hi, c.lo
        if key not in d.pos:
            d.pos[key] = first - 1 if d.is_synced else max(first - 1, last - self.backfill)
        d.pos[key] = max(d.pos[key], first - 1)
        for s in range(d.pos[key] + 1, last + 1):
            self.record_row(d, c, c.rows[s - 1], last if c.spans[d.user][-1][1] != NEVER else NEVER, MESSAGE)
            d.pos[key] = s

    def record_row(self, d, c, row, last, type_, call=0):
        op = c.shown(row, last)
        text = c.rows[row.refers - 1] if row.kind == K_EDIT else row
        if type_ == MESSAGE and op and not text.recalled and row.kind in (TEXT, K_EDIT) and self.rng.random() < .3:
            op = row.op # as it was pushed
        fields = {"refers": row.refers, "op": op}
        if row.kind == MEMBERSHIP:
            fields = {"refers": row.about, "outcome": row.change, "status": row.status}
        self.write_down(type_, device=d.number, target=c.target(d.user), seq=row.seq, user=row.sender, what=row.kind,
                        id=call or row.cmid, **fields)

    def row(self, c, sender, kind, **more):
        self.cmid += 1
        return Row(len(c.rows) + 1, sender, self.cmid, kind, **more)

    def apply(self, c, actor, change, about, status=0):
        row = self.row(c, actor, MEMBERSHIP, change=change, about=about, status=status)
        if change in (CREATED, JOINED):
            c.role[about] = OWNER if change == CREATED else MEMBER
            c.spans.setdefault(about, []).append([row.seq, NEVER])
            c.marks[about] = [row.seq - 1, row.seq - 1]
        elif change in (LEFT, KICKED):
            c.role[about] = 0
            c.spans[about][-1][1] = row.seq
        elif change == MUTED:
            (c.muted.add if status else c.muted.discard)(about)
        elif change == ROLE_SET:
            c.role[about] = status
        else:
            c.disbanded = True
        self.commit(c, row)

    # ---- operations -----------------------------------------------------------------------------------------------------------------

    def call(self, d, what, **fields):
        self.ops += 1
        self.write_down(CALL, device=d.number, op=self.ops, what=what, **fields)
        return self.ops

    def done(self, d, op, outcome, status=None, **made):
        self.write_down(DONE, device=d.number, op=op, outcome=outcome, status={OK: 0, NOT_DONE: UNAVAILABLE, UNSURE: UNKNOWN}[outcome]
                        if status is None else status, **made)

    def may_write(self, c, user):
        return c.role.get(user, 0) > 0 and user not in c.muted and not c.disbanded and not c.blocks

    def act(self):
        ready = [d for d in self.devices if d.is_ready]
        if not ready:
            return
        d = self.rng.choice(ready)
        c = self.rng.choice([c for c in self.convs if d.user in c.spans] or self.convs)
        way = self.rng.random()
        if way < .55:
            self.begin_write(d if self.rng.random() < .9 or d.user != self.users[0] else self.raw[0], c, SEND)
        elif way < .75:
            mine = [r for r in c.rows if r.kind == TEXT and r.sender == d.user and r.op]
            if mine:
                self.begin_write(d, c, EDIT if way < .68 else RECALL, self.rng.choice(mine[-6:]).seq)
        elif way < .82:
            self.mark(d, c)
        elif way < .86:
            self.list(d)
        elif way < .90 and d.user in c.spans:
            self.read(d, c, self.rng.randint(1, max(len(c.rows), 1)), 20, None)
        elif way < .94 and c.lo:
            self.block(d, c)
        elif not c.lo:
            what = self.rng.choice((JOIN, JOIN, JOIN, LEAVE, KICK, MUTE, MUTE, ROLE, ROLE) + (DISBAND,) * (len(c.rows) > 150))
            able = [e for e in ready if c.role.get(e.user, 0) >= ADMIN]
            if what in (KICK, MUTE, ROLE) and able and self.rng.random() < .8:
                d = self.rng.choice(able)
            self.group_op(d, c, what, self.rng.choice(self.users), self.rng.randint(0, 1))

    def begin_write(self, d, c, what, refers=0):
        if d.user not in c.spans and c.lo:
            return
        op = self.call(d, what, target=c.target(d.user), refers=refers)
        way = self.rng.random()
        if way < .04:
            self.soon(self.done, d, op, NOT_DONE)
        elif way < .08:
            self.soon(self.done, d, op, UNSURE, most_ms=2000)
            if way < .06:
                self.soon(self.write, d, c, what, op, refers, False, most_ms=100)
        else:
            self.soon(self.write, d, c, what, op, refers, True)

    def write(self, d, c, what, op, refers, is_heard):
        text = c.rows[refers - 1] if refers else None
        if not self.may_write(c, d.user) or (text and (text.recalled or c.spans[d.user][-1][1] != NEVER)):
            if is_heard:
                self.soon(self.done, d, op, NOT_DONE, DENIED)
            return
        kind = {SEND: TEXT if self.rng.random() < .9 else APPLICATION, EDIT: K_EDIT, RECALL: K_RECALL}[what]
        row = self.row(c, d.user, kind, refers=refers, op=0 if what == RECALL else op)
        if what == EDIT:
            text.edits.append(row)
        elif what == RECALL:
            text.recalled = row.seq
        self.commit(c, row)
        if is_heard:
            self.heard(d, op, row.seq)

    def heard(self, d, op, seq):
        when = self.now + self.rng.randrange(1, 40 * MS)
        for n in range(2 if d.inbox == NONE else 1): # a raw sender asks twice
            self.at(when + n * 5 * MS, lambda: self.done(d, op, OK, seq=seq))

    def group_op(self, d, c, what, about, flag):
        about = d.user if what in (JOIN, LEAVE) else about
        fields = {"user": 0 if what in (JOIN, LEAVE, DISBAND) else about}
        if what == MUTE:
            fields["seq"] = MUTE_UNTIL * flag
        elif what == ROLE:
            fields["status"] = MEMBER + flag
        op = self.call(d, what, target=c.hi | GROUP, **fields)
        self.soon(self.group_write, d, c, what, about, flag, op)

    def group_write(self, d, c, what, about, flag, op):
        mine, other = c.role.get(d.user, 0), c.role.get(about, 0)
        above = mine >= ADMIN and mine > other
        may, change, is_change = {
            JOIN: (True, JOINED, not other), LEAVE: (mine != OWNER, LEFT, mine > 0), KICK: (above and about != d.user, KICKED, other > 0),
            MUTE: (above and other > 0, MUTED, (about in c.muted) != bool(flag)),
            ROLE: (mine == OWNER and 0 < other < OWNER, ROLE_SET, other != MEMBER + flag), DISBAND: (mine == OWNER, DISBANDED, True),
        }[what]
        if not may or c.disbanded:
            self.soon(self.done, d, op, NOT_DONE, DENIED)
            return
        if is_change:
            self.apply(c, d.user, change, 0 if change == DISBANDED else about, {MUTED: flag, ROLE_SET: MEMBER + flag}.get(change, 0))
        self.soon(self.done, d, op, OK)

    def block(self, d, c):
        peer = c.target(d.user)
        lifts = d.user in c.blocks
        op = self.call(d, FRIEND, user=peer, status=UNBLOCK if lifts else BLOCK)
        (c.blocks.discard if lifts else c.blocks.add)(d.user)
        self.soon(self.done, d, op, OK)
        if not lifts:
            self.at(self.now + 2 * S, self.unblock, d, c)

    def unblock(self, d, c):
        if d.user in c.blocks:
            self.block(d, c)

    def mark(self, d, c):
        """Confirm what this device has; told at once to the user's devices and, in a chat, to the other's."""
        has = min(d.pos.get((c.hi, c.lo), 0), len(c.rows))
        if d.user not in c.marks or not has:
            return
        op = self.call(d, MARK_READ, target=c.target(d.user), seq=has)
        self.done(d, op, UNSURE)
        delivered, read = c.marks[d.user]
        c.marks[d.user] = [max(delivered, has), max(read, has)]
        for e in self.devices:
            if e.is_ready and e is not d and (e.user == d.user or (c.lo and e.user in c.spans)):
                self.write_down(RECEIPT, device=e.number, target=c.target(e.user), user=d.user, seq=c.marks[d.user][0], refers=c.marks[d.user][1])

    def list(self, d):
        self.soon(self.listed, d, self.call(d, LIST))

    def listed(self, d, op):
        for c in self.convs:
            if d.user in c.spans and c.rows:
                self.write_down(MARKS, device=d.number, op=op, target=c.target(d.user), seq=c.marks[d.user][0], refers=c.marks[d.user][1],
                                id=c.sees(d.user)[1])
        self.done(d, op, OK)

    def read(self, d, c, start, limit, then):
        op = self.call(d, HISTORY, target=c.target(d.user), seq=start, refers=limit)
        self.soon(self.page, d, c, op, start, limit, then)

    def page(self, d, c, op, start, limit, then):
        first, last = c.sees(d.user)
        rows = c.rows[max(start, first) - 1:last][:limit]
        for row in rows:
            self.record_row(d, c, row, last if c.spans[d.user][-1][1] != NEVER else NEVER, PAGE, op)
        self.done(d, op, OK, seq=last, refers=first, id=len(rows))
        if then is not None and rows and rows[-1].seq < last:
            self.read(d, c, rows[-1].seq + 1, limit, then)

    # ---- the end ----------------------------------------------------------------------------------------------------------------

    def final(self):
        self.phase(FINAL)
        for d in self.devices:
            if d.is_ready: # it comes back like all others
                self.write_down(STATE, device=d.number, what=0)
                self.write_down(CLOSED, device=d.number)
                d.is_ready = d.is_open = False
            self.open(d)
        self.at(self.now + 2 * S, self.read_all)
        self.at(self.now + 20 * S, self.phase, END)

    def read_all(self):
        for user in self.users:
            d = next(e for e in self.devices if e.user == user)
            for c in self.convs:
                if user in c.spans and c.rows:
                    self.read(d, c, c.spans[user][-1][0], 50, True)
            self.list(d)

    # ---- files --------------------------------------------------------------------------------------------------------------------

    def tables(self):
        """(dump, members) as lists of columns."""
        dump = [[c.hi, c.lo, r.seq, r.sender, r.cmid, r.kind, r.refers, c.shown(r, NEVER) if r.kind in (TEXT, APPLICATION) else 0]
                for c in self.convs for r in c.rows]
        members = [[c.hi, c.lo, user, c.role[user], spans[-1][0], 0 if spans[-1][1] == NEVER else spans[-1][1], *c.marks[user]]
                   for c in self.convs if c.rows for user, spans in c.spans.items()]
        return dump, members
