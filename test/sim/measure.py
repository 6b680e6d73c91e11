#!/usr/bin/python3
"""What one operation costs each role, MariaDB and Redis: a small cluster on this machine under bytetalk-bench, for about a minute.

`make bench` counts all nodes together; here each role's processes are a group of their own, so that a purchase can be
divided by role. CPU seconds are counted, not throughput, so that a busy machine makes the figures worse (its caches are
shared) but not meaningless. Writes test/sim/measured.json, from which inputs.py takes what is "measured".
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CONVERSATIONS, PULLS, PIPELINE = 20, 1500, 30


class Measure:
    def __init__(self, directory, build):
        from cluster import Backends, Cluster
        from server import FAST
        self.dir, self.bench = directory, os.path.join(build, "bytetalk-bench")
        self.backends = Backends(os.path.join(directory, "servers"), zookeepers=1).start()
        self.cluster = Cluster(os.path.join(directory, "nodes"), self.backends, {**FAST, "group.max_members": 20000}, units=1, has_nginx=False)
        self.out = {}

    def pids(self, role):
        return {"mariadb": lambda: [self.backends.mariadb.process.pid], "redis": lambda: [self.backends.redis.process.pid]}.get(
            role, lambda: [n.pid for n in self.cluster.nodes(role)])()

    def run(self, workload, *options, groups):
        """One run; microseconds of CPU of each group for a unit, and the run's own figures."""
        path = os.path.join(self.dir, "one.json")
        marks = [o for g in groups for o in ("--pid", f"{g}={','.join(map(str, self.pids(g)))}")]
        commits = int(self.backends.mariadb.status("Binlog_commits")), int(self.backends.mariadb.status("Binlog_group_commits"))
        done = subprocess.run([self.bench, "--quiet", "--json", path, "--state", os.path.join(self.dir, "bench.state"),
                               "--server", ",".join(self.cluster.proxies), *marks, *map(str, options), workload],
                              capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            raise SystemExit(f"measure.py: {workload}: {done.stderr.strip()}")
        print(done.stdout.strip(), flush=True)
        with open(path, encoding="utf-8") as f:
            r = json.load(f)["results"][0]
        costs = {g: r["cpu_s"][g] / r["units"] * 1e6 for g in groups}
        costs["rate"], costs["p50_ms"] = r["units"] / r["seconds"], r["answered_us"]["p50"] / 1000
        costs["commits"] = int(self.backends.mariadb.status("Binlog_commits")) - commits[0]
        costs["groups"] = int(self.backends.mariadb.status("Binlog_group_commits")) - commits[1]
        costs["rows_per_commit"], costs["commits_per_group"] = r["ok"] / max(costs["commits"], 1), costs["commits"] / max(costs["groups"], 1)
        return costs

    def keep(self, name, costs):
        self.out[name] = {k: round(v, 3) for k, v in costs.items()}

    def messages(self):
        road = ("proxy", "chat", "mariadb", "redis")
        self.keep("signals", self.run("pairs", "--kind", "signals", "--seconds", 2, groups=road))
        self.keep("pairs", self.run("pairs", "--kind", "messages", "--seconds", 2, groups=road))
        self.keep("single", self.run("single", "--kind", "messages", "--seconds", 2, groups=road))
        self.keep("paced", self.run("paced", "--kind", "messages", "--rate", 2000, "--seconds", 3, groups=road))
        self.keep("paced_more", self.run("paced", "--kind", "messages", "--rate", 8000, "--seconds", 2, groups=road))
        self.keep("group", self.run("group", "--kind", "messages", "--seconds", 3, groups=road))
        self.keep("login", self.run("login", "--seconds", 2, groups=("proxy", "user", "friend", "mariadb")))
        self.keep("login_redis", self.run("login", "--seconds", 2, groups=("redis", "chat")))
        self.keep("store", self.run("store", "--seconds", 1, groups=road))
        self.keep("drain", self.run("drain", "--seconds", 1, groups=("proxy", "offline", "mariadb")))

    def cpu_us(self, role):
        total = 0
        for pid in self.pids(role):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as f:
                    total += int(f.read().split()[0])
        return total / 1000

    def pulls(self):
        """A device that compares positions in so many conversations, and has missed nothing."""
        from wire import P
        c = self.cluster
        me = c.user("pull", address=c.proxies[0])
        for _ in range(CONVERSATIONS):
            me.send(c.user("peer", address=c.proxies[0]).user_id, "hello")
        first = me.ok("ListConversations", limit=100)
        at = [P.Position(hi=v.hi, lo=v.lo, seq=1) for v in first.conversations]
        assert len(at) == CONVERSATIONS, len(at)
        roles = ("proxy", "offline", "mariadb")
        before = {r: self.cpu_us(r) for r in roles}
        for _ in range(PULLS // PIPELINE):
            made = [me.start("Pull", positions=at, write=False) for _ in range(PIPELINE)]
            me.write(b"".join(data for _, data in made))
            for call, _ in made:
                assert not me.wait(call).msg.conversations
        self.keep("pull", {**{r: (self.cpu_us(r) - before[r]) / PULLS for r in roles}, "conversations": CONVERSATIONS})

    def sizes(self):
        """What a message takes on disk: the table with its index, and the binary log."""
        m, database = self.backends.mariadb, self.cluster.settings["store.url"].rsplit("/", 1)[1]
        rows = int(m.sql(f"SELECT COUNT(*) FROM {database}.message")[0][0])
        table = os.path.getsize(os.path.join(m.data, database, "message.ibd"))
        log = sum(os.path.getsize(os.path.join(m.data, f)) for f in os.listdir(m.data) if f.startswith("bin."))
        self.keep("disk", {"rows": rows, "table_bytes": table / rows, "log_bytes": log / rows, "body_bytes": 64})

    def disk(self):
        """What a sync of this disk takes, by itself."""
        path = os.path.join(self.dir, "disk.json")
        subprocess.run([self.bench, "--quiet", "--json", path, "--dir", self.dir, "--seconds", "1", "disk"], check=True)
        with open(path, encoding="utf-8") as f:
            self.out["sync_ms"] = json.load(f)["results"][0]["answered_us"]["p50"] / 1000

    def all(self):
        self.cluster.start()
        self.disk()
        self.messages()
        self.pulls()
        self.sizes()

    def end(self):
        try:
            self.cluster._kill_all()
        finally:
            self.backends.kill()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", required=True)
    p.add_argument("--out", default=os.path.join(HERE, "measured.json"))
    args = p.parse_args()
    build = os.path.abspath(args.build)
    os.environ["BYTETALK"], os.environ["BYTETALK_BUILD"] = os.path.join(build, "bytetalk"), build
    sys.path.insert(0, os.path.join(ROOT, "test", "integration"))
    with tempfile.TemporaryDirectory(prefix="bytetalk-sim-") as directory:
        m = Measure(directory, build)
        try:
            m.all()
        finally:
            m.end()
    if os.path.exists(args.out):
        with open(args.out, encoding="utf-8") as f:
            m.out = {**json.load(f), **m.out}   # presence_sim.py writes into it too
    m.out["when"] = {"utc": time.strftime("%Y-%m-%d %H:%M", time.gmtime()), "load": os.getloadavg()[0], "processors": os.cpu_count()}
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(m.out, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
