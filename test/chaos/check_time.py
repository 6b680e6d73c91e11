"""Times: when faults were, when a message was due, how fast sends came back, and whether the run says enough to count."""
import statistics
from bisect import bisect_right

from check_format import LOAD, NONE, NOT_DONE, OK, OUTCOMES, QUIET, SEND, UNSURE, WHATS

GRACE_US = 5000000
EVENTS = ("resend", "retry", "owner_change", "fence", "stale_rights", "presence_lost")
# Refusals that are the server's right answer, and a client that the workload closed: no failed send.
NO_FAILURE = {1, 3, 5, 6, 7, 9, 16}


class Faults:
    """When something was broken. Faults nearer to each other than the grace are one."""

    def __init__(self, run, grace_us=GRACE_US):
        self.rows, self.grace_us = run.faults, grace_us
        self.begins, self.ends = [], []
        for f in self.rows:
            begin = f["begin_us"]
            end = run.last_us if f["end_us"] is None else f["end_us"]
            if self.ends and begin <= self.ends[-1] + self.grace_us:
                self.ends[-1] = max(self.ends[-1], end)
            else:
                self.begins.append(begin)
                self.ends.append(end)

    def due(self, base):
        """The latest time for what could begin at base: the grace, counted from the end of faults that touch it."""
        due = base + self.grace_us
        at = bisect_right(self.begins, due) - 1
        if at >= 0:
            due = max(due, self.ends[at] + self.grace_us)
        return due

    def around(self, since, until):
        return [f for f in self.rows if f["begin_us"] <= until and (f["end_us"] is None or f["end_us"] + self.grace_us >= since)]


class Counts:
    """What the run did, in numbers."""

    def __init__(self, run):
        self.run = run
        self.begin, self.end = run.phase[LOAD], run.phase[QUIET]
        self.table = {}
        self.slowest = self.slowest_op = 0
        acked = []
        for op in range(1, len(run.o_what)):
            what = run.o_what[op]
            row = self.table.setdefault(WHATS[what] if what < len(WHATS) else str(what), dict.fromkeys(OUTCOMES, 0))
            row[OUTCOMES[run.o_outcome[op]]] += 1
            if what == SEND and run.o_outcome[op] == OK:
                took = run.o_done[op] - run.o_call[op]
                if took > self.slowest:
                    self.slowest, self.slowest_op = took, op
                if self.begin <= run.o_done[op] < self.end:
                    acked.append(run.o_done[op])
        self.seconds(sorted(acked))

    def seconds(self, acked):
        buckets = [0] * ((self.end - self.begin) // 1000000)
        for t in acked:
            at = (t - self.begin) // 1000000
            if at < len(buckets):
                buckets[at] += 1
        self.rate = statistics.median(buckets) if buckets else 0
        self.load_acked = len(acked)
        times = [self.begin, *acked, self.end]
        self.silence, self.silence_at = max((b - a, a) for a, b in zip(times, times[1:]))


def recoveries(run):
    """kind -> how often, how often with calls in flight, seconds until sends went again."""
    kinds = {}
    for f in run.faults:
        row = kinds.setdefault(f["kind"], {"count": 0, "with_calls": 0, "recovery_s": [], "never": 0})
        row["count"] += 1
        row["with_calls"] += int(f.get("in_flight") or 0) > 0
        if f.get("recovered_us") is None:
            row["never"] += 1
        else:
            row["recovery_s"].append(max(0.0, (f["recovered_us"] - f["begin_us"]) / 1e6))
    return kinds


def check_promises(run, report):
    """What the plan promises of kinds of faults: a list of {"kinds", "recovered_within_s", "failed_sends", "slowest_send_s",
    "others_failed", "others_slowest_s"}."""
    for promise in run.plan.get("promises", []):
        kinds = set(promise["kinds"])
        faults = [f for f in run.faults if f["kind"] in kinds]
        limit = promise.get("recovered_within_s")
        for f in faults if limit is not None else ():
            took = None if f.get("recovered_us") is None else (f["recovered_us"] - f["begin_us"]) / 1e6
            if took is None or took > limit:
                report.add("promise", f"{f['kind']} of {f.get('part')}: sends through it succeeded again "
                           + ("never" if took is None else f"after {took:.1f} s") + f", promised within {limit:g} s", at=f["begin_us"])
        if "failed_sends" in promise or "slowest_send_s" in promise:
            for f in faults:
                check_sends(run, report, f, promise)
        for f in faults:
            check_others(report, f, promise)


def check_others(report, fault, promise):
    """What was measured of conversations that have nothing to do with the part hit."""
    seen, failed, limit = fault.get("others"), promise.get("others_failed"), promise.get("others_slowest_s")
    where = f"{fault['kind']} of {fault.get('part')}: in conversations that have nothing to do with it"
    if seen and failed is not None and seen["failed"] > failed:
        report.add("promise", f"{where} {seen['failed']} sends failed, promised at most {failed}", at=fault["begin_us"])
    if seen and limit is not None and seen["slowest_ms"] > limit * 1000:
        report.add("promise", f"{where} one took {seen['slowest_ms'] / 1000:.1f} s, promised at most {limit:g} s", at=fault["begin_us"])


def check_sends(run, report, fault, promise):
    begin, end = fault["begin_us"], run.last_us if fault["end_us"] is None else fault["end_us"]
    limit, failed = promise.get("slowest_send_s"), []
    for op in range(1, len(run.o_what)):
        if run.o_what[op] != SEND or not begin <= run.o_call[op] <= end or run.inbox_of.get(run.o_device[op]) == NONE:
            continue
        took = (run.o_done[op] - run.o_call[op]) / 1e6
        if run.o_outcome[op] in (NOT_DONE, UNSURE) and run.o_status[op] not in NO_FAILURE:
            failed.append(op)
        elif run.o_outcome[op] == OK and limit is not None and took > limit:
            report.add("promise", f"{fault['kind']} of {fault.get('part')}: operation {op} took {took:.1f} s, promised at most {limit:g} s", ops=(op,),
                       at=run.o_call[op])
    if "failed_sends" in promise and len(failed) > promise["failed_sends"]:
        report.add("promise", f"{fault['kind']} of {fault.get('part')}: {len(failed)} sends failed, promised at most {promise['failed_sends']}",
                   ops=tuple(failed[:3]), at=begin)


def missed_conditions(run, counts, args):
    """What the run lacks to count, in words."""
    missed = []
    if counts.rate < args.min_rate:
        missed.append(f"a median of {counts.rate:g} acknowledged sends per second, {args.min_rate:g} are needed")
    kinds = recoveries(run)
    skipped = {row["kind"] for row in run.skipped if "kind" in row}
    for kind in sorted({*kinds, *run.plan.get("kinds", [])} - (skipped - set(kinds))):
        n = kinds.get(kind, {"with_calls": 0})["with_calls"]
        if n < args.min_per_kind:
            missed.append(f"{n} faults of kind {kind} with calls in flight, {args.min_per_kind} are needed")
    if not kinds and args.min_per_kind:
        missed.append("no faults at all")
    for kind in sorted({k for p in run.plan.get("promises", []) if "others_slowest_s" in p for k in p["kinds"]} & set(kinds)) if not args.short else ():
        if not any(f["kind"] == kind and (f.get("others") or {}).get("talks") for f in run.faults):
            missed.append(f"no fault of kind {kind} at which other conversations were watched")
    for name in EVENTS if not args.short else ():
        if not run.events.get(name):
            missed.append(f"no {name.replace('_', ' ')}")
    return missed
