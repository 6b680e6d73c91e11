"""What `make bench` says: the targets, all figures, and on what machine they were measured."""
import os
import re
import statistics
import subprocess
import time

import plan

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MARK = "<!-- From here on: written by make bench. -->\n"


def _first_line(command):
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        return (done.stdout or done.stderr).strip().splitlines()[0]
    except (OSError, IndexError):
        return "unknown"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    with open("/proc/meminfo", encoding="utf-8") as f:
        memory = int(re.search(r"MemTotal:\s+(\d+)", f.read())[1]) / 1024 / 1024
    return {
        "processors": f"{len(os.sched_getaffinity(0))} × {model[1] if model else 'unknown'}, {memory:.1f} GiB",
        "kernel": os.uname().release,
        "ByteTalk": _first_line([os.environ["BYTETALK"], "--version"]) + ", commit " + _first_line(["git", "rev-parse", "--short", "HEAD"]),
        "compiler": _first_line(["gcc", "--version"]),
        "SQLite": _first_line(["pkg-config", "--modversion", "sqlite3"]),
        "libuv": _first_line(["pkg-config", "--modversion", "libuv"]),
        "MariaDB": _first_line(["mariadbd", "--version"]),
        "Redis": _first_line(["redis-server", "--version"]),
    }


def figures_of(run):
    """What is compared of one run."""
    millions = run["units"] / 1e6
    groups = run["cpu_s"]
    first = next(iter(groups), None)
    worse = max(run["answered_us"]["p99"], run["delivered_us"]["p99"]) / 1000
    f = {"rate": run["units"] / run["seconds"], "cost": groups[first] / millions if first and millions else 0,
         "own": run["own_cpu_s"] / millions if millions else 0, "busy": groups[first] / run["seconds"] if first else 0,
         "own_busy": run["own_cpu_s"] / run["seconds"], "p99_ms": worse, "bytes_each": run["bytes_each"],
         "p50_ms": max(run["answered_us"]["p50"], run["delivered_us"]["p50"]) / 1000}
    for label in list(groups)[1:]:
        f["cpu " + label] = groups[label] / millions if millions else 0
    return f


class Figures:
    def __init__(self, runs, problems, args, course):
        self.problems, self.args, self.course = problems, args, course
        self.by_key = {}
        for run in runs:
            self.by_key.setdefault((run["host"], run["step"], run["kind"]), []).append(figures_of(run))

    def medians(self, host, step, kind):
        rounds = self.by_key.get((host, step, kind))
        return rounds and {k: statistics.median(r[k] for r in rounds) for k in rounds[0]}

    def spread(self, key, what):
        values = [r[what] for r in self.by_key[key]]
        return min(values), max(values)

    # ---- tables

    def targets(self, host):
        lines = ["| what | figure | target | |", "|---|---|---|---|"]
        for t in plan.TARGETS:
            if t.host == host:
                judged = t.judge(self.medians)
                if judged:
                    lines.append(f"| {t.what} | {judged[0]} | {t.limit_text} | {'reached' if judged[1] else '**missed**'} |")
        return lines if len(lines) > 2 else []

    def table(self, host):
        lines = ["| | kind | units/s | cost | min – max | busy | p50 ms | p99 ms | × router | own cost | own busy | beside |",
                 "|---|---|---|---|---|---|---|---|---|---|---|---|"]
        for step in plan.STEPS:
            for kind in ("signals", "messages"):
                m = self.medians(host, step.id, kind)
                if m:
                    lines.append(self.row(host, step, kind, m))
        return lines

    def row(self, host, step, kind, m):
        what, unit = ("bytes_each", " B") if step.id == "I" else ("cost", "")
        low, high = self.spread((host, step.id, kind), what)
        router = self.medians("router", step.id, "messages")
        ratio = f"{m[what] / router[what]:.2f}" if host != "router" and router and router[what] else ""
        times = (f"{m['p50_ms']:.2f}", f"{m['p99_ms']:.2f}") if m["p99_ms"] else ("", "")
        beside = ", ".join(f"{k[4:]} {v:.2f}" for k, v in m.items() if k.startswith("cpu "))
        shown = kind if host != "router" and step.workload not in ("idle", "login") else ""
        cells = (step.id, shown, f"{m['rate']:.0f}", f"{m[what]:.3g}{unit}", f"{low:.3g} – {high:.3g}", f"{m['busy'] * 100:.0f} %", *times, ratio,
                 f"{m['own']:.3g}", f"{m['own_busy'] * 100:.0f} %", beside)
        return f"| {' | '.join(cells)} |"

    def text(self):
        parts = ["## Figures", ""]
        for name, value in machine().items():
            parts.append(f"- {name}: {value}")
        began = time.strftime("%Y-%m-%d %H:%M", time.gmtime(self.course["began"]))
        load = " and ".join(f"{x[0]:.1f}" for x in self.course["load"])
        parts += [f"- {began} UTC, {self.args.rounds} rounds of {self.args.seconds:g} s a step, {self.course['seconds'] / 60:.0f} minutes; "
                  f"load average before and after {load} (two or so is its own)",
                  "- the server, the router and the nodes on the first processor, the load tool on the last; steps A2, store and drain: the server on all",
                  "- MariaDB, Redis (a replica each) and ZooKeeper (three) on the same machine, free to run anywhere", ""]
        for host, title in (("embedded", "One process, SQLite"), ("cluster", "Cluster")):
            if self.targets(host):
                parts += [f"### {title}: targets", "", *self.targets(host), ""]
        disk = self.medians("disk", "disk", "messages")
        if disk:
            parts += [f"The disk by itself, 4096 bytes appended and synced: p50 {disk['p50_ms']:.2f} ms, p99 {disk['p99_ms']:.2f} ms.", ""]
        for host, title in (("router", "The bare router"), ("embedded", "One process, SQLite"), ("cluster", "Cluster")):
            if any(k[0] == host for k in self.by_key):
                parts += [f"### {title}: all figures", "", *self.table(host), ""]
        parts += ["Medians of the rounds. Cost: CPU seconds per million units (I: bytes for each connection) of the server, the router or our",
                  "nodes; busy: of one processor. Own: the load tool's. Beside: CPU seconds per million of what the cluster leans on. Times are of",
                  "answers or deliveries, whichever took longer.", "",
                  "| | |", "|---|---|", *(f"| {s.id} | {s.what} |" for s in plan.STEPS), ""]
        if self.problems:
            parts += ["What did not add up:", "", *(f"- {p}" for p in self.problems), ""]
        return "\n".join(parts)

    def write(self, path):
        """The page keeps what stands above the mark."""
        with open(path, encoding="utf-8") as f:
            head = f.read().split(MARK)[0]
        with open(path, "w", encoding="utf-8") as f:
            f.write(head + MARK + "\n" + self.text())
