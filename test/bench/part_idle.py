"""`make bench ONLY=idle`: as many idle logged-in connections as descriptors allow, on three proxies, and then a message to each.

Three load tools with CLIENTS connections each (19,000, as a process may have 20,000 descriptors here), a third of each at every
proxy; who write to each other are at different proxies. Memory of the nodes is what smaps_rollup calls theirs (PSS), before anybody
is connected and with all; the kernel's is by how much its slabs have grown, and half of that is an end's, as both are on this machine.
"""
import json
import os
import resource
import time

from parts import OwnCluster, Tool, faults, memory_of, moment, pid_options, say, slabs, socket_buffers, table

WHAT = "57,000 idle connections at three proxies, then a message to each"
TOOLS, PROXIES, SPARE = 3, 3, 900   # descriptors beside the clients': of the node itself
COUNTS = {"proxy": PROXIES, "chat": 2}


def most_clients():
    """Of one process; even, as they talk in pairs."""
    return (min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 20000) - SPARE) // 100 * 100


class Use:
    """What nodes and kernel use at a moment."""

    def __init__(self, cluster):
        self.by_role = {}
        for n in cluster.nodes():
            self.by_role[n.role] = self.by_role.get(n.role, 0) + memory_of(n.pid)
        self.slabs, self.buffers = slabs(), socket_buffers()


def settled(cluster, seconds=30):
    """When all that the logins set going is done: memory stands still, or time is up."""
    before, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        now = sum(memory_of(n.pid) for n in cluster.nodes())
        if abs(now - before) < 64 * 1024:
            break
        before = now
        time.sleep(2)
    return Use(cluster)


def connect(tools, each):
    """All at once; how long that took."""
    began = time.monotonic()
    for t in tools:
        t.spawn("--clients", each, "--hold", "idle")
    for t in tools:
        line = t.process.stdout.readline()
        if line != f"connected {each}\n":
            t.wait(60)
            raise SystemExit(f"bytetalk-bench said {line!r}")
    return time.monotonic() - began


def measure(cluster, directory, each):
    """The figures, as a dictionary."""
    proxies = cluster.proxies
    tools = [Tool(directory, f"idle-{i}", ["--server", ",".join(proxies[i:] + proxies[:i]), "--warm", "0.5",
                                           *pid_options({"proxy": [n.pid for n in cluster.nodes("proxy")]})]) for i in range(TOOLS)]
    try:
        for t in tools:
            t.spawn("--users", each, "prepare")
        for t in tools:
            t.wait()
        say(f"  {TOOLS * each} accounts are made")
        before = settled(cluster)
        seconds = connect(tools, each)
        say(f"  {TOOLS * each} connections stand after {seconds:.1f} s")
        after = settled(cluster)
        for t in tools:
            t.process.stdin.write("a message to each\n")
            t.process.stdin.flush()
        results = [t.wait()[0] for t in tools]
    finally:
        for t in tools:
            t.kill()
    return figures(TOOLS * each, seconds, before, after, results)


def figures(count, seconds, before, after, results):
    grown = {k: (after.slabs.get(k, 0) - before.slabs.get(k, 0)) / count / 2 for k in after.slabs}
    return {
        "connections": count, "seconds": seconds,
        "bytes": {role: (after.by_role[role] - before.by_role[role]) / count for role in after.by_role},
        "kernel": sum(grown.values()), "buffers": (after.buffers - before.buffers) / count / 2,
        "slabs": dict(sorted(((k, v) for k, v in grown.items() if v >= 8), key=lambda x: -x[1])),
        "delivered": sum(r["delivered"] for r in results), "sent": sum(r["sent"] for r in results), "ok": sum(r["ok"] for r in results),
        "p50_ms": max(r["delivered_us"]["p50"] for r in results) / 1000, "p99_ms": max(r["delivered_us"]["p99"] for r in results) / 1000,
        "max_ms": max(r["delivered_us"]["max"] for r in results) / 1000,
        "faults": [f for r in results for f in faults(r)],
    }


def text_of(f):
    ours = sum(v for role, v in f["bytes"].items() if role != "proxy")
    rows = [["a proxy", f"{f['bytes']['proxy']:.0f}"], ["all other nodes together", f"{ours:.0f}"],
            ["the kernel, for the proxy's end", f"{f['kernel']:.0f}"], *([f"… of it `{k}`", f"{v:.0f}"] for k, v in f["slabs"].items())]
    lines = [f"{f['connections']:,} connections, {PROXIES} proxies, {TOOLS} load tools, {moment()}. All were logged in after {f['seconds']:.1f} s.", "",
             *table(["bytes for each idle connection", ""], rows), "",
             f"Then each was sent a message: {f['ok']:,} of {f['sent']:,} were acknowledged, {f['delivered']:,} came. From sending to coming p50 "
             f"{f['p50_ms']:.1f} ms, p99 {f['p99_ms']:.1f} ms, at most {f['max_ms']:.0f} ms, with 200 under way from each tool."]
    return "\n".join(lines + [f"- did not add up: {x}" for x in f["faults"]])


def run(args, directory):
    each = args.clients or most_clients()
    with OwnCluster(directory) as own:
        f = measure(own.start(COUNTS), directory, each)
    with open(os.path.join(directory, "idle.json"), "w", encoding="utf-8") as out:
        json.dump(f, out, indent=1)
    return text_of(f)
