#!/usr/bin/python3
"""`make bench`: the standard set, embedded and cluster, interleaved with the bare router, in several rounds.

Each round starts every server anew and then goes through the steps of plan.py; in each step the router, the server and
the cluster take their turns one after the other, so that what the machine does meanwhile befalls all. Writes all figures
to build/bench/results.json, and, when the whole set was run, docs/BENCHMARKS.md.

Parts that take long and set up servers of their own (part_*.py) are run one at a time, and only when they are asked for.
"""
import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PARTS = ("idle", "scaling", "flat", "soak")


def parse():
    import plan
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", required=True)
    p.add_argument("--rounds", type=int, help="3")
    p.add_argument("--seconds", type=float, help="of a step (4); of a part")
    p.add_argument("--clients", type=int, help="idle: connections of each load tool")
    p.add_argument("--accounts", type=int, help="flat: of the largest database")
    p.add_argument("--only", default="", help=f"words, separated by commas: {', '.join(plan.IDS)}; embedded, cluster; signals, messages; or one of {', '.join(PARTS)}")
    p.add_argument("--write", action="store_true", help="write docs/BENCHMARKS.md although only a part was run")
    args = p.parse_args()
    words = [w for w in args.only.replace(" ", ",").split(",") if w]
    args.part = next((w for w in PARTS if w in words), None)
    if args.part:
        if set(words) - {args.part, "embedded", "cluster"}:
            p.error(f"{args.part} is run by itself")
        args.hosts = [h for h in ("embedded", "cluster") if h in words] or ["embedded"]
        return args
    args.seconds, args.rounds = args.seconds or 4, args.rounds or 3
    known = [*plan.IDS, "router", "embedded", "cluster", "signals", "messages"]
    wrong = [w for w in words if w not in known]
    if wrong:
        p.error(f"no such part: {', '.join(wrong)}; there are {', '.join(known)}; and by itself one of {', '.join(PARTS)}")
    args.is_whole = not words
    args.steps = [s for s in plan.STEPS if s.id in words] or plan.STEPS
    args.hosts = [h for h in ("embedded", "cluster") if h in words] or ([] if "router" in words else ["embedded", "cluster"])
    args.kinds = [k for k in ("signals", "messages") if k in words] or ["signals", "messages"]
    return args


class Bench:
    def __init__(self, args, directory):
        self.args, self.dir, self.runs, self.problems = args, directory, [], []
        self.program = os.path.join(ROOT, args.build, "bytetalk-bench")
        self.hosts = []
        from hosts import LOADING, pin_to
        self.pin = pin_to([LOADING])

    def call(self, options, note):
        """One run of the load tool; its results, with the notes."""
        path = os.path.join(self.dir, "one.json")
        if os.path.exists(path):
            os.unlink(path)
        command = [self.program, "--quiet", "--json", path, *options]
        done = subprocess.run(command, preexec_fn=self.pin, capture_output=True, text=True, timeout=900, check=False)
        row = next((line for line in done.stdout.splitlines() if line), "")
        if done.returncode != 0:
            self.problems.append(f"{' '.join(map(str, note.values()))}: {done.stderr.strip()}")
            print(f"    {done.stderr.strip()}", flush=True)
            return
        print(f"    {row}", flush=True)
        with open(path, encoding="utf-8") as f:
            for result in json.load(f)["results"]:
                self.runs.append({**note, **result})
                self.check(note, result)

    def check(self, note, r):
        faults = [f"{n} {name}" for name, n in r["errors"].items()]
        if r["lost"]:
            faults.append(f"{r['lost']} connections broke")
        if note["host"] != "router" and r["ok"] + r["failed"] != r["sent"]:
            faults.append(f"{r['sent'] - r['ok'] - r['failed']} of {r['sent']} not answered")
        if r["delivered"] != r["expected"]:
            faults.append(f"{r['delivered']} of {r['expected']} deliveries came")
        if faults:
            self.problems.append(f"{note['host']} {note['step']} {r['kind']}, round {note['round'] + 1}: {', '.join(faults)}")

    def step(self, step, number):
        from hosts import PROCESSORS, SERVING, pin_process
        for host in self.hosts:
            if host.name not in step.hosts:
                continue
            if step.processors == "all":
                for pid in host.pids():
                    pin_process(pid, PROCESSORS)
            kinds = [k for k in host.kinds if k in self.args.kinds or host.name == "router"]
            if step.workload in ("idle", "login", "store", "drain"):
                kinds = kinds[-1:]
            if "--kind" in step.options:
                kinds = [k for k in kinds if k in step.options]
            for kind in kinds:
                print(f"  {step.id} {host.name}", flush=True)
                seconds = () if step.seconds is None else ("--seconds", str(self.args.seconds * step.seconds))
                options = [*host.options(step.id), "--kind", kind, *step.options, *seconds, step.workload]
                self.call(options, {"host": host.name, "step": step.id, "round": number})
            if step.processors == "all":
                for pid in host.pids():
                    pin_process(pid, [SERVING])

    def disk(self, number):
        print("  disk", flush=True)
        self.call(["--dir", self.dir, "--seconds", str(max(1, self.args.seconds / 2)), "disk"], {"host": "disk", "step": "disk", "round": number})

    def round(self, number):
        print(f"Round {number + 1}", flush=True)
        for host in self.hosts:
            host.stop()
        for host in self.hosts:
            host.start()
        for step in self.args.steps:
            self.step(step, number)
            if step.id == "paced":
                self.disk(number)


def prepare(bench, users, has_large_group):
    """Accounts, and a group that is too large to be joined member by member: the servers that are measured are started after."""
    import plan
    for host in bench.hosts:
        if host.name == "router":
            continue
        host.start()
        options = [bench.program, "--quiet", *host.options("prepare"), "--users", str(users)]
        done = subprocess.run([*options, "prepare"], check=False)
        if done.returncode == 0 and has_large_group:
            done = subprocess.run([*options, "--members", str(plan.SEEDED), "--kind", "signals", "--seconds", "0.1", "group"],
                                  stdout=subprocess.DEVNULL, check=False)
        host.stop()
        if done.returncode != 0:
            raise SystemExit(f"make bench: no accounts could be made on {host.name}")
        if has_large_group:
            host.add_members(plan.SEEDED, plan.SEEDED_TO)


def run_part(args, directory):
    """A part's section: printed, and with WRITE=1 put into the page."""
    import parts
    part = importlib.import_module(f"part_{args.part}")
    print(f"{part.WHAT}; load average {os.getloadavg()[0]:.1f}", flush=True)
    text = part.run(args, directory)
    print("\n" + text)
    if args.write:
        parts.write_section(args.part, text)


def main():
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    args = parse()
    directory = os.path.join(ROOT, "build", "bench")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory, mode=0o700)
    os.environ["BYTETALK_BUILD"] = os.path.join(ROOT, args.build)
    os.environ["BYTETALK"] = os.path.join(ROOT, args.build, "bytetalk")
    import hosts
    import report
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("make bench: told to end"))
    if args.part:
        run_part(args, directory)
        return 0
    bench, began, before = Bench(args, directory), time.time(), os.getloadavg()
    try:
        for name in ("router", *args.hosts):
            print(f"Starting {name}", flush=True)
            bench.hosts.append(hosts.KINDS[name](directory))
        ids = [s.id for s in args.steps]
        prepare(bench, 19000 if "I" in ids else 5000 if "F5000" in ids else 1000, "F100k" in ids)
        for number in range(args.rounds):
            bench.round(number)
    finally:
        for host in bench.hosts:
            host.end()
    figures = report.Figures(bench.runs, bench.problems, args, {"began": began, "seconds": time.time() - began, "load": [before, os.getloadavg()]})
    with open(os.path.join(directory, "results.json"), "w", encoding="utf-8") as f:
        json.dump({"machine": report.machine(), "runs": bench.runs, "problems": bench.problems}, f, indent=1)
    print("\n" + figures.text())
    if args.is_whole or args.write:
        figures.write(os.path.join(ROOT, "docs", "BENCHMARKS.md"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
