"""The log against the operations: what was acknowledged stands once, where it was said, in order, and by somebody who might."""
from array import array

from check_format import (APPLICATION, BAD_BODY, BLOCK, EDIT, FRIEND, K_EDIT, K_RECALL, MEMBERSHIP, NEVER, NOT_DONE, OK, RECALL, SEND,
                          TEXT, UNBLOCK, WHATS)
from check_time import GRACE_US

KIND_OF = {SEND: (TEXT, APPLICATION), EDIT: (K_EDIT,), RECALL: (K_RECALL,)}
WHAT_OF = {TEXT: SEND, APPLICATION: SEND, K_EDIT: EDIT, K_RECALL: RECALL}


class LogCheck:
    def __init__(self, run, report, faults):
        self.run, self.report, self.faults = run, report, faults
        self.place = None     # operation -> seq, 0: not seen to stand
        self.stale_blocks = 0 # messages of a pair that came through after a block, at an owner that had not heard of it
        self.spare = {}       # (conv, user, what, refers) -> operations that may stand

    # ---- before the deliveries ------------------------------------------------------------------------------------------

    def prepare(self):
        """All that the deliveries are compared with."""
        run = self.run
        self.place = array("Q", bytes(8 * len(run.o_what)))
        for c in run.convs:
            self.open(c)
        for op, one, other in run.two_places:
            self.report.add("two_places", f"operation {op} was answered with seq {one} and with seq {other}", ops=(op,),
                            spots=((run.o_conv[op], one), (run.o_conv[op], other)))
        self.place_done()
        for c in run.convs:
            self.place_bodies(c)
        for c, seq, r in run.fact_clash:
            self.report.add("content", f"device {r[7]} saw another change at {c.name()} seq {seq} than others did",
                            spots=((c.index, seq),), device=r[7], at=r[0])

    def open(self, c):
        n = c.n + 1
        for seq, what in c.holes:
            self.report.add("log_gap", f"{c.name()}: seq {seq} {what}", spots=((c.index, seq - 1), (c.index, seq), (c.index, seq + 1)))
        c.op, c.call, c.acked = array("Q", bytes(8 * n)), array("q", bytes(8 * n)), array("q", bytes(8 * n))
        c.touched = bytearray(n)
        seen = set()
        for s in range(1, n):
            kind = c.kind[s]
            who = c.sender[s], c.cmid[s]
            if who in seen and kind:
                self.report.add("id_reused", f"{c.name()}: client_msg_id {who[1]} of user {who[0]} stands twice, the second time at seq {s}",
                                spots=((c.index, s),))
            seen.add(who)
            if kind != TEXT and kind != APPLICATION:
                c.touched[s] = 1
                if kind in (K_EDIT, K_RECALL):
                    self.refer(c, s, kind, c.refers[s])
                elif kind != MEMBERSHIP and kind:
                    self.report.add("damaged", f"{c.name()} seq {s} is of kind {kind}", spots=((c.index, s),))

    def refer(self, c, s, kind, old):
        wrong = None
        if not 0 < old < s or c.kind[old] not in ((TEXT,) if kind == K_EDIT else (TEXT, APPLICATION)):
            wrong = "which is none that it can change"
        elif old in c.recall:
            wrong = f"which was recalled at {c.recall[old]}"
        elif kind == K_EDIT and c.sender[old] != c.sender[s]:
            wrong = "which is another's"
        if wrong:
            self.report.add("refers", f"{c.name()} seq {s} changes {old}, {wrong}", spots=((c.index, s), (c.index, old)))
        if not 0 < old < s:
            return
        c.touched[old] = 1
        if kind == K_EDIT:
            c.edits.setdefault(old, []).append((s, 0))
        else:
            c.recall.setdefault(old, s)

    def place_done(self):
        run = self.run
        for op in range(1, len(run.o_what)):
            what = run.o_what[op]
            if what not in (SEND, EDIT, RECALL) or run.o_conv[op] < 0:
                continue
            c, user = run.convs[run.o_conv[op]], run.user(op)
            if run.o_outcome[op] != OK:
                self.spare.setdefault((c.index, user, what, run.o_refers[op]), []).append(op)
                continue
            s = run.o_made[op]
            problem = None
            if not 0 < s <= c.n or not c.kind[s]:
                check, problem = "lost", "is not in the log"
            elif c.sender[s] != user or c.kind[s] not in KIND_OF[what] or c.refers[s] != run.o_refers[op]:
                check, problem = "wrong_place", "is another message in the log"
            elif c.op[s]:
                check, problem = "shared_place", f"is also operation {c.op[s]}"
            if problem:
                self.report.add(check, f"operation {op} ({WHATS[what]} of user {user}) was acknowledged as {c.name()} seq {s}, which {problem}",
                                ops=(op, c.op[s]) if 0 < s <= c.n and c.op[s] else (op,), spots=((c.index, s),))
                continue
            self.claim(c, s, op)
            c.acked[s] = run.o_done[op]

    def claim(self, c, s, op):
        c.op[s], c.call[s] = op, self.run.o_call[op]
        self.place[op] = s
        if c.kind[s] == K_EDIT:
            c.edits[c.refers[s]] = [(e, op if e == s else o) for e, o in c.edits[c.refers[s]]]

    def place_bodies(self, c):
        for s in range(1, c.n + 1):
            kind, body = c.kind[s], c.body[s]
            if kind not in (TEXT, APPLICATION):
                continue
            if not c.touched[s]:
                if body == c.op[s] and body:
                    continue
                self.body_names(c, s, body, "in the database")
            elif body != self.final_body(c, s, NEVER) and not (body and self.may_be_edit(c, s, body)):
                self.wrong_body(c, s, body, "in the database")

    def body_names(self, c, s, body, where, device=0, at=0):
        """A text that nobody changed has this body: whose is it? True: it is right, and c.op[s] is known now."""
        run = self.run
        if body == 0 or body == BAD_BODY or c.op[s]:
            if body == c.op[s]:
                return True
            self.wrong_body(c, s, body, where, device, at)
            return False
        known = body < len(run.o_what) and run.o_what[body] == SEND and run.o_conv[body] == c.index and run.user(body) == c.sender[s]
        if not known:
            self.report.add("foreign", f"{c.name()} seq {s} {where} has the body of operation {body}, which user {c.sender[s]} never sent there",
                            ops=(body,), spots=((c.index, s),), device=device, at=at)
        elif self.place[body] or run.o_outcome[body] == OK:
            there = self.place[body] or run.o_made[body]
            self.report.add("doubled", f"operation {body} stands in {c.name()} at seq {there} and {where} at seq {s}",
                            ops=(body,), spots=((c.index, s), (c.index, there)), device=device, at=at)
        elif run.o_outcome[body] == NOT_DONE:
            self.report.add("not_done_stands", f"operation {body} was surely not done, and stands in {c.name()} at seq {s}",
                            ops=(body,), spots=((c.index, s),), device=device, at=at)
            self.claim(c, s, body)
        else:
            self.claim(c, s, body)
        return c.op[s] == body

    def may_be_edit(self, c, s, body):
        """An edit of s whose answer was not heard, and whose place is not known."""
        run = self.run
        return (body < len(run.o_what) and run.o_what[body] == EDIT and run.o_conv[body] == c.index and run.o_refers[body] == s
                and run.o_outcome[body] not in (OK, NOT_DONE) and any(not op for _, op in c.edits.get(s, ())))

    def final_body(self, c, s, last):
        """What a text, or an edit, says in the end to somebody who sees the log up to seq `last`."""
        old = c.refers[s] if c.kind[s] == K_EDIT else s
        if old in c.recall:
            return 0
        edits = c.edits.get(old)
        if not edits:
            return c.op[old]
        return edits[-1][1] if edits[-1][0] <= last else 0

    def wrong_body(self, c, s, body, where, device=0, at=0):
        run = self.run
        if body == BAD_BODY:
            check, text = "damaged", "has a damaged body"
        elif not body:
            check, text = "wrong_body", "has an empty body, though nobody recalled it"
        elif body < len(run.o_what) and run.o_what[body] == EDIT and run.o_outcome[body] == NOT_DONE and run.o_refers[body] in (s, c.refers[s]):
            check, text = "not_done_stands", f"has the text of operation {body}, which was surely not done"
        else:
            check, text = "wrong_body", f"has the body of operation {body}"
        expected = f" (it is operation {c.op[s]})" if c.op[s] and check == "wrong_body" else ""
        self.report.add(check, f"{c.name()} seq {s} {where} {text}{expected}", ops=tuple(o for o in (body, c.op[s]) if 0 < o < len(run.o_what)),
                        spots=((c.index, s),), device=device, at=at)

    def times(self):
        """When each row was due and could be; called when all operations are placed that can be."""
        for c in self.run.convs:
            c.due = array("q", [self.faults.due(t) if t else NEVER for t in c.acked])
            c.could = array("q", bytes(8 * (c.n + 1)))
            latest = 0
            for s, called in enumerate(c.call):
                if called > latest:
                    latest = called
                c.could[s] = latest

    # ---- after the deliveries ---------------------------------------------------------------------------------------------

    def finish(self):
        for c in self.run.convs:
            self.count_spare(c)
            self.check_order(c)
        self.check_blocks()

    def count_spare(self, c):
        """Rows whose operation nothing names: there must be as many that may have made them."""
        unknown = {}
        for s in range(1, c.n + 1):
            if not c.op[s] and c.kind[s] in WHAT_OF and (c.touched[s] or c.kind[s] not in (TEXT, APPLICATION)):
                unknown.setdefault((c.index, c.sender[s], WHAT_OF[c.kind[s]], c.refers[s]), []).append(s)
        for key, rows in unknown.items():
            ops = [op for op in self.spare.get(key, ()) if not self.place[op]]
            unsure = [op for op in ops if self.run.o_outcome[op] != NOT_DONE]
            if len(rows) <= len(unsure):
                if len(rows) == len(unsure) == 1:
                    self.claim(c, rows[0], unsure[0])
                continue
            check, why = ("not_done_stands", "though that was surely not done") if len(ops) > len(unsure) else ("foreign", "which he never called")
            self.report.add(check, f"{c.name()} seq {rows[-1]} is a {WHATS[key[2]]} of user {key[1]}, {why}", ops=tuple(ops[-3:]),
                            spots=tuple((c.index, s) for s in rows[-3:]))

    def check_order(self, c):
        first, at = NEVER, 0
        acked, call = c.acked, c.call
        for s in range(c.n, 0, -1):
            if call[s] > first:
                self.report.add("order", f"{c.name()}: operation {c.op[s]} was called after operation {c.op[at]} was acknowledged at seq {at}, "
                                f"and stands before it at seq {s}", ops=(c.op[s], c.op[at]), spots=((c.index, s), (c.index, at)))
            if acked[s] and acked[s] < first:
                first, at = acked[s], s

    def check_blocks(self):
        run = self.run
        blocks, unblocks = {}, {}
        for op in range(1, len(run.o_what)):
            if run.o_what[op] == FRIEND and run.o_arg[op] in (BLOCK, UNBLOCK):
                pair = run.user(op), run.o_about[op]
                if run.o_arg[op] == UNBLOCK and run.o_outcome[op] != NOT_DONE:
                    unblocks.setdefault(pair, []).append(op)
                elif run.o_arg[op] == BLOCK and run.o_outcome[op] == OK:
                    blocks.setdefault(pair, []).append(op)
        for pair, ops in blocks.items():
            at = run.conv_of.get((max(pair), min(pair)))
            if at is not None:
                for op in ops:
                    self.check_block(run.convs[at], pair, op, unblocks.get(pair, ()))

    def stale(self, block, called):
        """While parts fail, an owner that was not told of the block may go by what it read less than 5 s before."""
        run = self.run
        if called > run.o_done[block] + GRACE_US or not self.faults.around(run.o_call[block], called):
            return False
        self.stale_blocks += 1
        return True

    def check_block(self, c, pair, block, unblocks):
        run = self.run
        lifts = [(run.o_call[op], run.o_done[op] if run.o_outcome[op] == OK else NEVER) for op in unblocks]
        lifts = [lift for lift in lifts if lift[1] >= run.o_call[block]]
        for s in range(1, c.n + 1):
            if c.call[s] <= run.o_done[block] or not c.op[s]:
                continue
            end = c.acked[s] or NEVER
            if not any(begin <= end for begin, _ in lifts) and not self.stale(block, c.call[s]):
                self.report.add("blocked_wrote", f"{c.name()} seq {s}: operation {c.op[s]} of user {c.sender[s]} was called after user {pair[0]} had "
                                f"blocked user {pair[1]} (operation {block})", ops=(block, c.op[s]), spots=((c.index, s),))

