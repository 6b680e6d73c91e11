"""Violations with the history around them, and the report in two forms."""
import json
import os
import statistics

from check_format import (CALL, CLOSED, DONE, KINDS, MARKS, MESSAGE, OPEN, PAGE, RECEIPT, STATE, BAD_BODY, describe, key_of, name_of)
from check_time import recoveries

KEPT, SHOWN, LINES = 50, 5, 24  # violations kept and shown with their history, of each check; lines of history of each
MARK_LINES = 8                  # of marks


class Violation:
    __slots__ = ("check", "text", "ops", "spots", "device", "at", "since", "marks", "lines")

    def __init__(self, check, text, ops, spots, device, at, since, marks):
        self.check, self.text, self.device, self.at, self.since, self.marks = check, text, device, at, since, marks
        self.ops, self.spots, self.lines = {op for op in ops if op}, set(spots), []


class Report:
    def __init__(self):
        self.run = self.faults = None
        self.counts, self.kept = {}, []

    def add(self, check, text, ops=(), spots=(), device=0, at=0, since=0, marks=None):
        n = self.counts[check] = self.counts.get(check, 0) + 1
        if n <= KEPT:
            self.kept.append(Violation(check, text, ops, spots, device, at, since, marks))

    def time(self, at):
        s = (at - self.run.first_us) / 1e6
        return f"{int(s // 60)}:{s % 60:06.3f}"

    # ---- the history around a violation ---------------------------------------------------------------------------------------

    def shown(self):
        seen, rows = {}, []
        for v in self.kept:
            seen[v.check] = seen.get(v.check, 0) + 1
            if seen[v.check] <= SHOWN:
                rows.append(v)
        return rows

    def explain(self):
        """One more pass over the history, for the lines that tell each violation."""
        run, shown = self.run, self.shown()
        if not shown:
            return
        by_op, by_spot, by_device, by_marks = {}, {}, {}, {}
        for v in shown:
            for conv, s in v.spots:
                c = run.convs[conv] if 0 <= conv < len(run.convs) else None
                if c and 0 < s <= c.n and c.op is not None and c.op[s]:
                    v.ops.add(c.op[s])
                by_spot.setdefault(s, []).append((conv, v))
            for op in v.ops:
                by_op.setdefault(op, []).append(v)
            if v.device:
                by_device.setdefault(v.device, []).append(v)
            if v.marks:
                by_marks.setdefault(v.marks[0], []).append(v)
        for r in run.history():
            type_ = r[8]
            if type_ in (MESSAGE, PAGE):
                if r[2] in by_spot:
                    self.at_spot(r, by_spot[r[2]])
            elif type_ in (CALL, DONE):
                for v in by_op.get(r[4], ()):
                    v.lines.append(r)
            elif type_ in (OPEN, CLOSED, STATE):
                for v in by_device.get(r[7], ()):
                    v.lines.append(r)
            elif type_ in (RECEIPT, MARKS) and by_marks:
                conv = run.conv_of.get(key_of(run.user_of.get(r[7], 0), r[1]))
                for v in by_marks.get(conv, ()):
                    if v.marks[1] == (r[3] if type_ == RECEIPT else run.user_of.get(r[7])) and v.device in (0, r[7]):
                        v.lines.append(r)

    def at_spot(self, r, rows):
        conv = self.run.conv_of.get(key_of(self.run.user_of.get(r[7], 0), r[1]))
        for spot, v in rows:
            if spot == conv and (not v.device or v.device == r[7] or len(v.lines) < 4):
                v.lines.append(r)

    def lines_of(self, v):
        """In the order of time, those next to the violation, in words."""
        rows = v.lines
        most = MARK_LINES if v.marks else LINES
        if len(rows) > most:
            at = v.at or rows[0][0]
            # What happened at the device long before says less than the operations themselves.
            rows = sorted(rows, key=lambda r: (r[8] not in (CALL, DONE), abs(r[0] - at)))[:most]
        said = [(r[0], describe(r, self.run.user_of)) for r in rows]
        for f in self.faults.around(min([v.since or v.at] + [t for t, _ in said]), v.at) if v.at and v.check in ("late", "undelivered", "promise") else ():
            end = "never" if f["end_us"] is None else self.time(f["end_us"])
            said.append((f["begin_us"], f"fault {f['kind']} of {f.get('part')} begins, ends {end}"))
        said = [f"{self.time(t):>10}  {text}" for t, text in sorted(said)]
        return said + [f"{'log':>10}  {line}" for conv, s in sorted(v.spots) for line in self.log_row(conv, s)]

    def log_row(self, conv, s):
        if not 0 <= conv < len(self.run.convs):
            return
        c = self.run.convs[conv]
        if 0 < s <= c.n:
            body = "an empty body" if not c.body[s] else "a damaged body" if c.body[s] == BAD_BODY else f"the body of operation {c.body[s]}"
            made = f", operation {c.op[s]}" if c.op[s] else ""
            yield (f"{c.name()} seq {s}: {name_of(c.kind[s], KINDS)} of user {c.sender[s]}" + (f" for {c.refers[s]}" if c.refers[s] else "")
                   + f", {body}{made}")

    # ---- the two forms ---------------------------------------------------------------------------------------------------------------

    def write(self, verdict, missed, counts, delivery, marks, stale_blocks, took_s):
        run = self.run
        kinds = recoveries(run)
        lines = [verdict]
        lines += [f"  {n} x {check}" for check, n in sorted(self.counts.items())]
        lines += [f"  {what}" for what in missed]
        rows = sum(c.n for c in run.convs)
        lines += ["", f"run of {(run.last_us - run.first_us) / 1e6:.0f} s, load of {(counts.end - counts.begin) / 1e6:.0f} s; times are minutes:seconds "
                  "since the first record", f"{run.records} records; {len(run.user_of)} devices; {len(run.convs)} conversations with {rows} messages; "
                  f"{delivery.handed} handed over, {delivery.paged} read; {marks.receipts} receipts, {marks.lists} rows of lists",
                  f"acknowledged sends: {counts.load_acked} in the load, median {counts.rate:g}/s; slowest {counts.slowest / 1e6:.2f} s (operation "
                  f"{counts.slowest_op}); longest time without one {counts.silence / 1e6:.2f} s at {self.time(counts.silence_at)}",
                  f"messages let through after a block, for less than 5 s while parts failed: {stale_blocks}", f"checked in {took_s:.1f} s", "", f"{'operation':<14}{'done':>10}{'not done':>10}{'unsure':>10}{'unended':>10}"]
        lines += [f"{what:<14}" + "".join(f"{n:>10}" for n in row.values()) for what, row in counts.table.items()]
        lines += ["", f"{'fault':<28}{'times':>6}{'with calls':>12}{'recovered after: median':>26}{'most':>9}"]
        for kind, row in sorted(kinds.items()):
            s = row["recovery_s"]
            times = f"{statistics.median(s):>24.2f} s{max(s):>7.2f} s" if s else f"{'-':>26}{'-':>9}"
            lines.append(f"{kind:<28}{row['count']:>6}{row['with_calls']:>12}{times}" + (f"  {row['never']} never" if row["never"] else ""))
        lines += [f"{row.get('kind', '?'):<28}left out: {row['skipped']}" for row in run.skipped]
        lines += ["", "inside: " + ", ".join(f"{name} {n}" for name, n in run.events.items())]
        for v in self.shown():
            lines += ["", f"{v.check}: {v.text}" + (f" (at {self.time(v.at)})" if v.at else "")]
            lines += [f"  {line}" for line in self.lines_of(v)]
        text = "\n".join(lines) + "\n"
        with open(os.path.join(run.folder, "check.txt"), "w", encoding="utf-8") as f:
            f.write(text)
        with open(os.path.join(run.folder, "check.json"), "w", encoding="utf-8") as f:
            json.dump({
                "verdict": verdict.split(":")[0], "missed": missed, "violations": self.counts,
                "kept": [{"check": v.check, "text": v.text, "at_us": v.at, "lines": self.lines_of(v) if v.lines else []} for v in self.kept],
                "operations": counts.table, "rate": counts.rate, "acked": counts.load_acked, "slowest_send_us": counts.slowest,
                "longest_silence_us": counts.silence, "faults": kinds, "skipped": run.skipped, "events": run.events,
                "records": run.records, "messages": rows, "stale_blocks": stale_blocks, "handed": delivery.handed, "read": delivery.paged, "checked_s": round(took_s, 1),
            }, f, indent=1)
            f.write("\n")
        return text
