"""Groups: who was in when, by the log; what the operations on groups promised; who might write."""
from bisect import bisect_right

from check_format import (ADMIN, CHANGES, CREATE, CREATED, DISBAND, DISBANDED, INVITE, JOIN, JOINED, KICK, KICKED, LEAVE, LEFT, MEMBER, MEMBERSHIP,
                          MUTE, MUTED, NEVER, NOT_DONE, OK, OWNER, ROLE, ROLE_SET, TRANSFERRED, UPDATED, WHATS, name_of)

# Which operation makes which change; the change is about the caller (True) or the one that he named.
MAKES = {CREATE: (CREATED, True), JOIN: (JOINED, True), INVITE: (JOINED, False), LEAVE: (LEFT, True), KICK: (KICKED, False),
         MUTE: (MUTED, False), ROLE: (ROLE_SET, False), DISBAND: (DISBANDED, None)}


class Group:
    """One group's history of rights: (seq, state) of each user, from that seq on."""

    def __init__(self):
        self.role, self.muted, self.disbanded = {}, set(), False
        self.steps = {}    # user -> [(seq, role, is muted)]
        self.ended = NEVER # the seq of DISBANDED
        self.whole = True  # every change is known

    def step(self, seq, user):
        self.steps.setdefault(user, []).append((seq, self.role.get(user, 0), user in self.muted))

    def states(self, user, low, high):
        """What (role, is muted) the user had behind the rows low..high."""
        steps = self.steps.get(user, [])
        at = bisect_right(steps, (low, NEVER))
        yield steps[at - 1][1:] if at else (0, False)
        for seq, role, muted in steps[at:]:
            if seq > high:
                return
            yield role, muted


class MemberCheck:
    def __init__(self, run, report):
        self.run, self.report = run, report
        self.groups = {}
        self.ops = {}      # conv -> operations on the group
        self.unsure_makers = set() # users who may have made a group without knowing which

    def spans(self):
        """Who may see what; needed by the deliveries."""
        run = self.run
        for op in range(1, len(run.o_what)):
            if run.o_what[op] in MAKES and run.o_conv[op] >= 0:
                self.ops.setdefault(run.o_conv[op], []).append(op)
            elif run.o_what[op] == CREATE and run.o_outcome[op] != NOT_DONE:
                self.unsure_makers.add(run.user(op))
        for c in run.convs:
            if c.lo:
                for user in {c.hi, c.lo}:
                    c.spans[user] = [(1, NEVER)]
            else:
                self.groups[c.index] = self.replay(c)
                self.match(c)

    # ---- the log tells who was in -------------------------------------------------------------------------------------------

    def replay(self, c):
        g = Group()
        for s in range(1, c.n + 1):
            if c.kind[s] == MEMBERSHIP:
                fact = c.facts.get(s)
                if fact is None:
                    g.whole = False
                    self.report.add("unseen", f"{c.name()} seq {s} is a membership message that no device ever saw", spots=((c.index, s),))
                else:
                    self.change(c, g, s, fact)
            elif g.whole and c.kind[s]:
                self.may_write(c, g, s)
        return g

    def may_write(self, c, g, s):
        who = c.sender[s]
        if not g.role.get(who):
            self.report.add("outsider_wrote", f"{c.name()} seq {s} is by user {who}, who was no member then",
                            ops=(c.op[s],), spots=((c.index, s), *self.last_step(c, g, who)))
        elif who in g.muted:
            self.report.add("muted_wrote", f"{c.name()} seq {s} is by user {who}, who was muted then",
                            ops=(c.op[s],), spots=((c.index, s), *self.last_step(c, g, who)))
        elif g.disbanded:
            self.report.add("outsider_wrote", f"{c.name()} seq {s} stands behind the end of the group", ops=(c.op[s],),
                            spots=((c.index, s), (c.index, g.ended)))
        old = c.refers[s]
        if 0 < old < s and c.sender[old] != who and g.role.get(who, 0) < ADMIN:
            self.report.add("rights", f"{c.name()} seq {s}: user {who} changes another's message and was no admin then",
                            ops=(c.op[s],), spots=((c.index, s), (c.index, old), *self.last_step(c, g, who)))

    def last_step(self, c, g, user):
        steps = g.steps.get(user)
        return ((c.index, steps[-1][0]),) if steps else ()

    def change(self, c, g, s, fact):
        change, about, status = fact
        actor = c.sender[s]
        wrong = g.whole and self.forbidden(g, s, actor, change, about)
        if wrong:
            self.report.add("rights", f"{c.name()} seq {s}: {name_of(change, CHANGES)} of user {about} by user {actor}, who {wrong}",
                            spots=((c.index, s), *self.last_step(c, g, actor)))
        if change in (CREATED, JOINED):
            g.role[about] = OWNER if change == CREATED else MEMBER
            c.spans.setdefault(about, []).append((s, NEVER))
        elif change in (LEFT, KICKED):
            g.role[about] = 0
            spans = c.spans.get(about)
            if spans and spans[-1][1] == NEVER:
                spans[-1] = (spans[-1][0], s)
        elif change == MUTED:
            (g.muted.add if status else g.muted.discard)(about)
        elif change == ROLE_SET:
            g.role[about] = status
        elif change == TRANSFERRED:
            g.role[actor], g.role[about] = ADMIN, OWNER
            g.step(s, actor)
        elif change == DISBANDED:
            g.disbanded, g.ended = True, s
        g.step(s, about)

    def forbidden(self, g, s, actor, change, about):
        mine, other = g.role.get(actor, 0), g.role.get(about, 0)
        if g.disbanded and change not in (LEFT,):
            return "changes a group that has ended"
        if change == CREATED:
            return "" if s == 1 and actor == about else "makes a group that there is"
        if change in (KICKED, MUTED):
            return "" if mine >= ADMIN and mine > other > 0 else "had no right over him then"
        if change in (ROLE_SET, TRANSFERRED, DISBANDED):
            return "" if mine == OWNER else "was not the owner then"
        if change == JOINED:
            return "lets in one who is in" if other else "" if actor == about or mine >= ADMIN else "was no admin then"
        if change == LEFT:
            return "" if actor == about and mine else "was no member then"
        return "" if change != UPDATED or mine >= ADMIN else "was no admin then"

    # ---- operations and their messages ---------------------------------------------------------------------------------------

    def made_by(self, op):
        """The change that an operation makes: what the message would say, as match() keys it."""
        run = self.run
        change, is_self = MAKES[run.o_what[op]]
        about = run.user(op) if is_self else run.o_about[op]
        detail = (1 if run.o_seq[op] else 0) if change == MUTED else run.o_arg[op] if change == ROLE_SET else 0
        return change, run.user(op), 0 if change == DISBANDED else about, detail

    def match(self, c):
        """Every change has an operation that may have made it; one that surely made it gives its times."""
        run = self.run
        rows, ops = {}, {}
        for s, (change, about, status) in c.facts.items():
            if s <= c.n and change not in (TRANSFERRED, UPDATED) and 0 < s:
                detail = (1 if status else 0) if change == MUTED else status if change == ROLE_SET else 0
                rows.setdefault((change, c.sender[s], 0 if change == DISBANDED else about, detail), []).append(s)
        for op in self.ops.get(c.index, ()):
            ops.setdefault(self.made_by(op), []).append(op)
        for key, seqs in rows.items():
            able = [op for op in ops.get(key, ()) if run.o_outcome[op] != NOT_DONE]
            if len(seqs) > len(able) and key[0] == CREATED and key[1] in self.unsure_makers:
                continue
            if len(seqs) > len(able):
                refused = len(ops.get(key, ())) > len(able)
                self.report.add("not_done_stands" if refused else "foreign",
                                f"{c.name()} seq {max(seqs)}: {CHANGES[key[0]]} of user {key[2]} by user {key[1]}, "
                                + ("which was surely not done" if refused else "which he never called"),
                                ops=tuple(ops.get(key, ())[-3:]), spots=((c.index, max(seqs)),))
            elif len(seqs) == len(able) == 1:
                c.op[seqs[0]], c.call[seqs[0]] = able[0], run.o_call[able[0]]
                if run.o_outcome[able[0]] == OK:
                    c.acked[seqs[0]] = run.o_done[able[0]]

    def finish(self):
        for c in self.run.convs:
            if not c.lo:
                self.check_effects(c)
        self.check_members()

    def check_effects(self, c):
        """What was acknowledged was so at some time between call and answer."""
        run, g = self.run, self.groups[c.index]
        if not g.whole or c.index not in self.ops:
            return
        acked = sorted((t, s) for s, t in enumerate(c.acked) if t)
        top, best = [], 0
        for _, s in acked:
            best = max(best, s)
            top.append(best)
        for op in self.ops[c.index]:
            what = run.o_what[op]
            if run.o_outcome[op] != OK or what == INVITE or (what == JOIN and run.o_made_id.get(op) == 1):
                continue
            at = bisect_right(acked, (run.o_call[op], NEVER))
            low, high = top[at - 1] if at else 0, bisect_right(c.could, run.o_done[op]) - 1
            if not self.was_so(g, op, low, high):
                self.report.add("not_carried_out", f"operation {op} ({WHATS[what]} in {c.name()}) was acknowledged and does not show in the log",
                                ops=(op,), spots=tuple((c.index, s) for s in range(max(low, 1), min(high, low + 3) + 1)))

    def was_so(self, g, op, low, high):
        change, _, about, detail = self.made_by(op)
        if change == DISBANDED:
            return g.ended <= high
        states = list(g.states(about, low, high))
        if change in (CREATED, JOINED):
            return any(role for role, _ in states)
        if change in (LEFT, KICKED):
            return any(not role for role, _ in states)
        if change == MUTED:
            return any(muted == bool(detail) for _, muted in states)
        return any(role == detail for role, _ in states)

    def check_members(self):
        """The table of members says the same as the log."""
        run = self.run
        rows = {}
        for hi, lo, user, role, joined, left, _, _ in run.members:
            rows.setdefault((hi, lo), {})[user] = role, joined, left
        for c in run.convs:
            g = self.groups.get(c.index)
            if g is None or not g.whole:
                continue
            table = rows.get((c.hi, c.lo), {})
            for user, spans in c.spans.items():
                first, last = spans[-1]
                want = g.role.get(user, 0), first, 0 if last == NEVER else last
                have = table.get(user)
                if have != want:
                    self.report.add("members", f"{c.name()}: the log has user {user} with (role, joined, left) {want}, the table of members {have}",
                                    spots=((c.index, first), (c.index, want[2])))
            for user, (role, _, _) in table.items():
                if role and user not in c.spans:
                    self.report.add("members", f"{c.name()}: the table of members has user {user}, the log has not")
