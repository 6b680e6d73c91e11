#!/usr/bin/python3
"""`make chaos`: a whole cluster, users who chat through it, one fault after another, and whether every promise held.

README.md beside this file says what a run leaves and when it counts. Exit status: 0 OK, 1 a violation, 2 inconclusive.
"""
import argparse
import atexit
import ctypes
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "test", "integration")]

USERS, RATE = 240, 900
SHORT_USERS, SHORT_RATE = 60, 300
SHORT_PAUSE_S = 1.0
GRACE_S, SHORT_GRACE_S = 5, 15
# Promised: a killed, frozen or ended node holds sends up for 5 s at most, and in conversations that have nothing to do with it none
# fails or takes longer than 1 s; a rolling restart holds none up for longer than 5 s. The short form runs on whatever machine builds
# this, beside whatever else: there, three times that is a violation, and for the others 1.5 s, which is how long a frozen node is waited for.
PROMISED_S, SHORT_PROMISED_S = 5, 15
OTHERS_S, SHORT_OTHERS_S = 1, 1.5
TIMES_IF_SANITIZED = 4   # others only: the whole cluster is as much slower, whatever is broken
NODE_KINDS = ["kill", "freeze", "term"]
UNIT_KINDS = ["kill_unit", "freeze_unit", "term_unit"]   # nothing is promised of half of the cluster at once; noted


def promises(args):
    limit_s = PROMISED_S if args.is_whole else SHORT_PROMISED_S
    others_s = (OTHERS_S if args.is_whole else SHORT_OTHERS_S) * (TIMES_IF_SANITIZED if args.sanitized else 1)
    return [{"kinds": NODE_KINDS, "recovered_within_s": limit_s, "others_failed": 0, "others_slowest_s": others_s},
            {"kinds": ["rolling"], "failed_sends": 0, "slowest_send_s": limit_s}]


CLONE_NEWNS = 0x00020000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


class Asked(Exception):
    """A signal asked for the end."""


def on_signal(signum, frame):
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, signal.SIG_IGN)   # once is enough: ending has its own time limits
    raise Asked(signal.Signals(signum).name)


def own_mounts():
    """A mount namespace of our own, so that what is mounted goes with us. False: this machine or user can't."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(CLONE_NEWNS) != 0:
        return False
    return libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) == 0


def commit():
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True, check=False).stdout.strip()
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")


def version_of(*command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return (done.stdout or done.stderr).strip().splitlines()[0]


class Run:
    def __init__(self, args, directory, has_mounts):
        from netns import Network
        from town import Town

        self.args, self.dir, self.is_asked = args, directory, False
        self.why_no_hosts = Network.missing() if not args.loopback else "asked to run on loopback"
        preload = os.path.join(args.build, "test", "chaos-patience.so")
        self.town = Town(directory, args.seed, args.build, not self.why_no_hosts, has_mounts, preload, args.level)
        self.town.is_short = args.short
        self.has_disk = self.town.stores.has_disk
        self.probes = self.workload = self.runner = None

    def missing(self, kind):
        """Why this machine can't do that fault; None when it can."""
        from faults_node import FAKETIME

        if "hosts" in kind.needs and self.why_no_hosts:
            return self.why_no_hosts
        if "disk" in kind.needs and not self.has_disk:
            return "a disk of bounded size needs root and a mount namespace"
        if "faketime" in kind.needs and not FAKETIME:
            return "libfaketime is not installed (package faketime)"
        if "faketime" in kind.needs and self.args.sanitized:
            return "libfaketime and the address sanitizer do not go together"
        return None

    def choose(self):
        """The kinds of this run, and those that it can't do."""
        from faults import KINDS

        kinds = [k for k in KINDS.values() if not self.args.short or k.is_quick]
        if self.args.only:
            names = self.args.only.split(",")
            unknown = [n for n in names if n not in KINDS]
            if unknown:
                sys.exit(f"ONLY={','.join(unknown)}: there are {', '.join(KINDS)}")
            kinds = [KINDS[n] for n in names]
        return [k for k in kinds if not self.missing(k)], [k for k in kinds if self.missing(k)]

    # ---- the parts of a run

    def go(self, report):
        import schedule
        from probes import Probes
        from workload import Workload

        args = self.args
        kinds, skipped = self.choose()
        items = schedule.plan(args.seed, kinds, args.rounds)
        pause = SHORT_PAUSE_S if args.short else schedule.PAUSE_S
        print(f"{len(items)} faults of {len(kinds)} kinds, about {schedule.seconds(items, pause):.0f} s of {args.time} s; seed {args.seed}", flush=True)
        print("Starting ZooKeeper, Redis, MariaDB, two units …", flush=True)
        self.town.start()
        self.probes = Probes(self.town, talks=8 if args.short else 12)
        binary = os.path.join(args.build, "test", "chaos-workload")
        self.workload = Workload(binary, self.town.clients_host, self.town.doors, self.dir, args.seed, args.users, args.rate)
        self.workload.wait_phase("LOAD", 120)
        began = time.monotonic()
        print(f"The load is on. Faults go to {os.path.relpath(self.dir, ROOT)}/faults.jsonl", flush=True)
        self.runner = schedule.Runner(self.town, self.probes, self.dir, lambda: not self.workload_lives(), pause)
        open(self.runner.path, "a", encoding="utf-8").close()
        for k in skipped:
            self.runner.skip(k.name, self.missing(k))
        time.sleep(2)
        report.faults = self.runner.lines
        report.plan["kinds"] = [k.name for k in kinds]
        self.runner.run(items, began + args.time * schedule.LATEST)
        while time.monotonic() < began + args.time and self.fills_time() and self.workload_lives():
            time.sleep(0.5)
        report.plan["loaded_s"] = round(time.monotonic() - began)
        self.settle(report)
        self.finish(report)

    def fills_time(self):
        """A whole run loads as long as it was told to; others end with their faults."""
        return self.args.is_whole and not self.runner.is_broken

    def workload_lives(self):
        return self.workload.process.poll() is None

    def settle(self, report):
        """Everything mended; everybody catches up; what the database holds is written down."""
        from servers import NotReady

        print("Mending the rest, then everybody catches up …", flush=True)
        self.runner.finish()
        if self.runner.is_broken:
            raise NotReady("what was broken could not be mended")
        self.town.wait_healed()
        report.violations += self.runner.problems
        self.probes.end()
        self.workload.finish("QUIET", 120)
        self.workload.finish("FINAL", 600)
        self.dump()
        self.workload.tell("end")
        code = self.workload.wait_end(60)
        if code != 0:
            report.violations.append(f"the workload has ended with {code}: see logs/workload.log")

    def dump(self):
        ids = ",".join(map(str, self.probes.ids()))
        ours = f"hi NOT IN ({ids}) AND lo NOT IN ({ids})"
        # A body that names no operation is shown as damaged, and a membership message's own is nobody's.
        body = ("CASE WHEN LENGTH(body) = 0 OR kind = 4 THEN '-' WHEN body REGEXP '^c[0-9a-f]{16}:' THEN SUBSTR(body, 2, 16) "
                "ELSE 'damaged' END")
        self.town.stores.dump("dump.tsv", f"SELECT hi, lo, seq, sender_id, client_msg_id, kind, refers_to_seq, {body} FROM message "
                                          f"WHERE {ours}")
        self.town.stores.dump("members.tsv", "SELECT hi, lo, user_id, role, joined_seq, left_seq, delivered_seq, read_seq FROM member "
                                             f"WHERE {ours}")

    def finish(self, report):
        """The nodes end as they should, and the checker speaks."""
        from events import count, faults_in_logs
        from faults import together
        from town import END_ORDER

        def end_one(n):
            n.terminate()
            if not n.wait_gone():
                report.violations.append(f"{n} did not end at SIGTERM")
        self.town.supervisor.let_go()
        for role in END_ORDER:
            together(*(lambda n=n: end_one(n) for n in self.town.of(role)))
        time.sleep(0.2)   # for the supervisor to take note
        for n in self.town.nodes:
            report.violations += [f"{n} ended with {code}, which nobody asked for:\n{tail[-1500:]}" for code, tail in n.faulty_ends()]
        report.violations += faults_in_logs(self.dir)
        report.violations += [f"a probe was answered {f}" for f in sorted(set(self.probes.faults))[:5]]
        report.notes += slow_ones(report.faults)
        report.median, report.rates = self.workload.median(), self.workload.per_second()
        report.events = {**count(self.dir), "resend": self.probes.resent, "retry": self.probes.retried + self.workload.last.get("retried", 0)}
        write_json(self.dir, "events.json", report.events)
        write_json(self.dir, "plan.json", report.plan)
        self.check(report)

    def check(self, report):
        checker = os.path.join(HERE, "check.py")
        short = [f"--grace-s={self.args.grace_s}"] + ([] if self.args.is_whole else ["--short"])
        done = subprocess.run([sys.executable, checker, self.dir, *short], capture_output=True, text=True, check=False)
        report.checker, report.checker_text = done.returncode, done.stdout + done.stderr

    def end(self, is_hurried):
        if self.runner:
            self.runner.end(is_hurried)
        if self.probes:
            self.probes.end()
        if self.workload and self.workload.process.poll() is None:
            self.workload.kill()
        self.town.end()
        shutil.rmtree(self.town.stores.dir, ignore_errors=True)


def slow_ones(faults):
    """What took longer than is promised, and why."""
    def back_s(f):
        return (f["recovered_us"] - f["begin_us"]) / 1e6
    return [*(f"{f['kind']} of {f['part']}: sends were back after {back_s(f):.1f} s, promised are {PROMISED_S} s"
              for f in faults if f["kind"] in [*NODE_KINDS, *UNIT_KINDS] and f.get("recovered_us") and back_s(f) > PROMISED_S),
            *(f"{f['kind']} of {f['part']}: other conversations' slowest send took {f['others']['slowest_ms']} ms, promised are {OTHERS_S} s"
              for f in faults if f.get("others") and f["others"]["slowest_ms"] > OTHERS_S * 1000),
            *(f"{f['kind']} of {f['part']}: MariaDB went on waiting for a replica that had everything, until it was switched off and on (logs/woken.log)"
              for f in faults if f["detail"].get("woken"))]


def write_json(directory, name, value):
    with open(os.path.join(directory, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1)
        f.write("\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", required=True, help="the build tree")
    parser.add_argument("--seed", type=int, default=0, help="0: one of the clock's")
    parser.add_argument("--time", type=int, default=1800, help="seconds of load")
    parser.add_argument("--only", default="", help="these kinds of faults, separated by commas")
    parser.add_argument("--rounds", type=int, default=5, help="fewer: each kind that many times, or little more")
    parser.add_argument("--short", action="store_true", help="each quick kind once")
    parser.add_argument("--grace-s", type=float, help=f"how late a message may be at a connected device; {GRACE_S}, short: {SHORT_GRACE_S}")
    parser.add_argument("--loopback", action="store_true", help="as on a machine without network namespaces")
    parser.add_argument("--users", type=int)
    parser.add_argument("--rate", type=int, help="sends per second aimed at")
    parser.add_argument("--level", default="debug", help="of the nodes' logs")
    parser.add_argument("--sanitized", action="store_true")
    args = parser.parse_args()
    args.build = os.path.join(ROOT, args.build)
    args.seed = args.seed or int(time.time()) % 100000
    args.rounds = 1 if args.short else args.rounds
    args.is_whole = not args.only and args.rounds >= 5
    args.grace_s = args.grace_s or (SHORT_GRACE_S if args.short else GRACE_S)
    args.users = args.users or (SHORT_USERS if args.short else USERS)
    args.rate = args.rate or (SHORT_RATE if args.short else RATE)
    os.environ.setdefault("BYTETALK", os.path.join(args.build, "bytetalk"))
    return args


def plan_of(args):
    return {"seed": args.seed, "time_s": args.time, "loaded_s": 0, "users": args.users, "rate": args.rate, "commit": commit(),
            "promises": promises(args), "short": args.short, "rounds": args.rounds, "grace_s": args.grace_s, "only": args.only, "sanitized": args.sanitized, "binary": os.environ["BYTETALK"],
            "machine": f"{os.cpu_count()} cores, {platform.platform()}",
            "versions": {"mariadb": version_of("mariadbd", "--version"), "redis": version_of("redis-server", "--version"),
                         "python": platform.python_version()}}


def main():
    args = arguments()
    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(s, on_signal)
    has_mounts = own_mounts()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    directory = os.path.join(ROOT, "build", "chaos", f"{args.seed}-{time.strftime('%m%d-%H%M%S')}")
    os.makedirs(directory)
    import faults_net    # noqa: F401  (each registers its kinds)
    import faults_node   # noqa: F401
    import faults_store  # noqa: F401
    from report import OK, VIOLATION, Report
    from servers import NotReady

    report, run = Report(plan_of(args)), None
    try:
        run = Run(args, directory, has_mounts)
        try:
            run.go(report)
        except Asked:
            run.end(is_hurried=True)
            raise
        except BaseException:
            run.end(is_hurried=False)
            raise
        run.end(is_hurried=False)
    except Asked as why:
        print(f"{why}: ended", file=sys.stderr, flush=True)
        atexit._run_exitfuncs()
        os._exit(VIOLATION)   # threads may be in the midst of a fault; what they have started ends with them
    except (NotReady, AssertionError, OSError, subprocess.SubprocessError) as e:
        report.violations.append(f"the run came to no end: {type(e).__name__}: {e}")
        if run and run.runner:
            report.violations += run.runner.problems
    report.judge()
    report.write(directory)
    print(report.text(60))
    print(f"All of it is in {os.path.relpath(directory, ROOT)}; again: make chaos SEED={args.seed}" + (" SHORT=1" if args.short else ""))
    return report.result if report.result != OK else 0


if __name__ == "__main__":
    sys.exit(main())
