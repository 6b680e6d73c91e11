#!/usr/bin/python3
"""Check what a chaos run left behind against what the server promises: 0 OK, 1 a promise was broken, 2 the run says too little, 3 no run.

Knows nothing of the server's code: history.h and README.md say what the files mean, docs/GUARANTEES.md and docs/PROTOCOL.md what is right.
"""
import argparse
import gc
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from check_delivery import DeliveryCheck  # noqa: E402
from check_format import Broken  # noqa: E402
from check_log import LogCheck  # noqa: E402
from check_marks import MarkCheck  # noqa: E402
from check_member import MemberCheck  # noqa: E402
from check_read import read_run  # noqa: E402
from check_report import Report  # noqa: E402
from check_time import Counts, Faults, check_promises, missed_conditions  # noqa: E402


def options(argv):
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("dir", help="the folder that the run left")
    p.add_argument("--short", action="store_true", help="a short run: lower rate, each fault once, none of the rare events; the checks stay")
    p.add_argument("--min-rate", type=float, help="acknowledged sends per second (median) that a run needs to count; 500, short: 50")
    p.add_argument("--min-per-kind", type=int, help="faults of each kind, with calls in flight, likewise; 5, short: 1")
    p.add_argument("--grace-s", type=float, default=5.0, help="how late a message may be at a connected device; 5. A slow machine may need more")
    p.add_argument("--max-silence-s", type=float, help="a violation: so long without any acknowledged send")
    p.add_argument("--max-send-s", type=float, help="a violation: a send that was acknowledged only after so long")
    args = p.parse_args(argv)
    if args.min_rate is None:
        args.min_rate = 50 if args.short else 500
    if args.min_per_kind is None:
        args.min_per_kind = 1 if args.short else 5
    return args


def check_limits(args, counts, report):
    if args.max_silence_s is not None and counts.silence > args.max_silence_s * 1e6:
        report.add("silence", f"no send was acknowledged for {counts.silence / 1e6:.1f} s", at=counts.silence_at)
    if args.max_send_s is not None and counts.slowest > args.max_send_s * 1e6:
        report.add("slow_send", f"operation {counts.slowest_op} was acknowledged after {counts.slowest / 1e6:.1f} s", ops=(counts.slowest_op,),
                   at=report.run.o_call[counts.slowest_op])


def check(args):
    """(exit status, the report's text)"""
    start = time.monotonic()
    report = Report()
    run = report.run = read_run(args.dir)
    faults = report.faults = Faults(run, int(args.grace_s * 1e6))
    log, members = LogCheck(run, report, faults), MemberCheck(run, report)
    marks = MarkCheck(run, report)
    log.prepare()
    members.spans()
    log.times()
    delivery = DeliveryCheck(run, report, faults, log, marks)
    delivery.check()
    log.finish()
    members.finish()
    marks.finish()
    counts = Counts(run)
    check_promises(run, report)
    check_limits(args, counts, report)
    report.explain()
    missed = missed_conditions(run, counts, args)
    broken = sum(report.counts.values())
    verdict = (f"VIOLATION: {broken} found" if broken else "INCONCLUSIVE: the run does not count" if missed else "OK: every promise was kept")
    text = report.write(verdict, missed, counts, delivery, marks, log.stale_blocks, time.monotonic() - start)
    return (1 if broken else 2 if missed else 0), text


def main(argv=None):
    args = options(argv)
    gc.disable() # millions of numbers, and hardly a cycle among them
    try:
        status, text = check(args)
    except Broken as e:
        print(f"BROKEN: {e}", file=sys.stderr)
        return 3
    print(text, end="")
    return status


if __name__ == "__main__":
    sys.exit(main())
