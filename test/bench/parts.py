"""What the long parts of `make bench` share: the load tool, what processes and the kernel use, and the page's sections.

A part is a module part_NAME.py with WHAT, a line about it, and run(args, directory), which answers the text of its section.
"""
import json
import os
import re
import subprocess
import time

from hosts import BUILD, ROOT, Backends, Cluster, SETTINGS
from servers import _die_with_parent

PAGE = os.path.join(ROOT, "docs", "BENCHMARKS.md")
PROGRAM = os.path.join(BUILD, "bytetalk-bench")
PAGE_BYTES = os.sysconf("SC_PAGESIZE")
NOT_OF_CONNECTIONS = ("proc_inode_cache", "tw_sock_TCP")   # of looking into /proc, and of connections that have ended


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head), *("| " + " | ".join(map(str, r)) + " |" for r in rows)]


def write_section(name, text):
    """The section's marks stand in the page; all between them is replaced."""
    with open(PAGE, encoding="utf-8") as f:
        page = f.read()
    page, n = re.subn(rf"(<!-- {name}: .*? -->\n).*?(<!-- end of {name} -->)", lambda m: f"{m[1]}\n{text.strip()}\n\n{m[2]}", page, flags=re.S)
    assert n == 1, f"{PAGE} has no section {name}"
    with open(PAGE, "w", encoding="utf-8") as f:
        f.write(page)


def say(text):
    print(text, flush=True)


# ---- the load tool

class Tool:
    """One process of bytetalk-bench, with the accounts that it made."""

    def __init__(self, directory, name, options):
        self.state, self.json = os.path.join(directory, f"{name}.state"), os.path.join(directory, f"{name}.json")
        self.options, self.process = ["--state", self.state, *map(str, options)], None

    def spawn(self, *words):
        if os.path.exists(self.json):
            os.unlink(self.json)
        self.process = subprocess.Popen([PROGRAM, "--quiet", "--json", self.json, *self.options, *map(str, words)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=_die_with_parent)
        return self

    def wait(self, seconds=3600):
        """Its results, once it has ended."""
        out, err = self.process.communicate(timeout=seconds)
        if self.process.returncode != 0:
            raise SystemExit(f"bytetalk-bench {' '.join(self.process.args[4:])}: {err.strip() or out.strip()}")
        if not os.path.exists(self.json):
            return []
        with open(self.json, encoding="utf-8") as f:
            return json.load(f)["results"]

    def run(self, *words):
        return self.spawn(*words).wait()

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


def cost(r, group=None):
    """CPU seconds of a group of processes, the first unless another is named, per million of what was done."""
    return r["cpu_s"][group or next(iter(r["cpu_s"]))] / max(r["units"], 1) * 1e6


def faults(r):
    """What did not add up in a result."""
    found = [f"{n} times {name}" for name, n in r["errors"].items()]
    if not r["units"]:
        found.append("nothing was done")
    if r["lost"]:
        found.append(f"{r['lost']} connections broke")
    if r["delivered"] != r["expected"]:
        found.append(f"{r['delivered']} of {r['expected']} deliveries came")
    return found


# ---- what is used

def memory_of(pid):
    """Bytes that are a process's own: shared pages are divided among those who share them."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return int(re.search(r"^Pss:\s+(\d+) kB", f.read(), re.M)[1]) * 1024


def slabs():
    """Bytes of the kernel's own memory by kind; where that can't be read, all in one."""
    try:
        with open("/proc/slabinfo", encoding="ascii") as f:
            rows = [line.split() for line in f if not line.startswith(("slabinfo", "#"))]
        return {r[0]: int(r[14]) * int(r[5]) * PAGE_BYTES for r in rows if r[0] not in NOT_OF_CONNECTIONS}
    except PermissionError:
        with open("/proc/meminfo", encoding="ascii") as f:
            return {"all": int(re.search(r"^Slab:\s+(\d+) kB", f.read(), re.M)[1]) * 1024}


def socket_buffers():
    """Bytes that wait in TCP's queues."""
    with open("/proc/net/sockstat", encoding="ascii") as f:
        return int(re.search(r"^TCP:.* mem (\d+)", f.read(), re.M)[1]) * PAGE_BYTES


# ---- a cluster of any size

class OwnCluster:
    """with OwnCluster(directory) as own: servers of its own; own.start(counts) makes a unit on an empty database, own.stop() ends it."""

    def __init__(self, directory):
        self.dir, self.made, self.cluster = directory, 0, None

    def __enter__(self):
        self.backends = Backends(os.path.join(self.dir, "servers")).start()
        return self

    def start(self, counts, settings=None, popen=None):
        self.made += 1
        self.cluster = Cluster(os.path.join(self.dir, f"nodes-{self.made}"), self.backends, {**SETTINGS, **(settings or {})}, units=1,
                               counts=counts, has_nginx=False)
        for u in self.cluster.units:
            u.popen = {**u.popen, **(popen or {})}
        return self.cluster.start()

    def stop(self):
        cluster, self.cluster = self.cluster, None
        cluster.end()

    def __exit__(self, *_):
        try:
            if self.cluster:
                self.cluster.end()
        finally:
            self.backends.stop()


def pid_options(groups):
    return [o for label, pids in groups.items() for o in ("--pid", f"{label}={','.join(map(str, pids))}")]


def moment():
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
