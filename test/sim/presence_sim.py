#!/usr/bin/python3
"""Presence: what a real Redis takes for the server's own calls, and what follows for many chat nodes.

Every chat node reads the whole log of who comes and goes, and keeps a copy of all. Measures (presence_cost.c, real Redis),
then prints where one Redis ends, and simulates what happens when all chat nodes have to read everything at once: a read that
is not answered within [presence] timeout_ms is given up and asked again, but Redis does its work nevertheless.
"""
import argparse
import heapq
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import inputs
from table import short, span, table

TRY_MIN_S, TRY_MAX_S = 0.05, 2.0   # store/presence_redis_link.c
GIVE_UP_S = 120
NODES, ONLINE = (2, 5, 10, 30, 100), (100_000, 1_000_000, 10_000_000)


# ---- measured

def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def measure(program, count):
    """Lines of presence-cost: name -> numbers."""
    if not shutil.which("redis-server"):
        raise SystemExit("presence_sim.py: no redis-server here")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bytetalk-sim-") as directory:
        redis = subprocess.Popen(["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], cwd=directory,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 10
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 0.5).close()
                    break
                except OSError:
                    if time.monotonic() > until or redis.poll() is not None:
                        raise
                    time.sleep(0.01)
            done = subprocess.run([program, str(port), str(redis.pid), str(count)], capture_output=True, text=True, timeout=60, check=False)
        finally:
            redis.kill()
            redis.wait()
    if done.returncode != 0:
        raise SystemExit(f"presence_sim.py: {done.stderr.strip()}")
    return {name: [int(n) for n in rest] for name, *rest in (line.split() for line in done.stdout.splitlines())}


def costs_of(lines):
    """Microseconds for each operation."""
    def each(name, which=1):
        return lines[name][which] / lines[name][0]
    few, many = each("read_changes_20"), each("read_changes_256")
    item = max((many - few) / 236, 0.01)
    own = max((each("read_changes_256", 2) - each("read_changes_20", 2)) / 236, 0.01)
    bare, large = each("apply_0", 2), each("apply_5000", 2)
    costs = {"set": each("set_one"), "set_many": each("set_storm"), "read": max(few - 20 * item, 1), "item": item,
             "full": each("read_full") / lines["users"][0], "chat_change": own + bare, "chat_large": (large - bare) / 5000}
    return {**{k: round(v, 4) for k, v in costs.items()}, **{k: v[0] for k, v in lines.items() if k.startswith("sizeof")}}


# ---- simulated

def read_all(nodes, full_s, timeout_s, seed=1):
    """All nodes ask for everything within the second in which they find out. (s until the last has it, asked in all); None: never."""
    rng = random.Random(seed)
    events = [(rng.random(), 0, n) for n in range(nodes)]   # (when it asks, after how many failures, who)
    heapq.heapify(events)
    free_s, asked, last_s = 0.0, 0, 0.0
    while events:
        now, tries, node = heapq.heappop(events)
        if now > GIVE_UP_S:
            return None, asked
        asked += 1
        free_s = max(free_s, now) + full_s   # Redis does one after the other, also those whose asker has gone
        if free_s - now <= timeout_s:
            last_s = max(last_s, free_s)
            continue
        ceiling_s = min(TRY_MIN_S * 2 ** tries, TRY_MAX_S)
        heapq.heappush(events, (now + timeout_s + ceiling_s / 2 + rng.random() * ceiling_s / 2, tries + 1, node))
    return last_s, asked


def rebuild_rows(full_us, timeout_s):
    rows = []
    for online in ONLINE:
        cells = []
        for nodes in NODES:
            took, asked = read_all(nodes, online * full_us / 1e6, timeout_s)
            cells.append("never" if took is None else span(took) + (f" ({asked} reads)" if asked > nodes else ""))
        rows.append([f"{short(online)} online, {timeout_s:g} s", *cells])
    return rows


def reader_rows(c, use):
    """How many chat nodes one Redis serves, by changes and batches a second."""
    rows = []
    for changes in (100, 1000, 10000):
        for batches in (20, 200):
            spare = use * 1e6 - changes * c["set"]
            rows.append([f"{changes:,}", batches, f"{max(spare, 0) / (batches * c['read'] + changes * c['item']):.0f}"])
    return rows


def report(c, use=0.4):
    print(table(["Redis and a chat node, CPU", "µs"], [
        ["a user comes or goes, alone", short(c["set"])], ["the same, 256 at a time", short(c["set_many"])], ["a look at the log", short(c["read"])],
        ["each change it brings", short(c["item"])], ["each user, when all is read", short(c["full"])],
        ["chat node: a change taken in", short(c["chat_change"])], ["chat node: the same, for each large group that is open", short(c["chat_large"])]]))
    print(f"\nChat nodes that one Redis serves at {100 * use:g} % of its processor:\n")
    print(table(["changes/s", "batches/s of a chat node", "chat nodes"], reader_rows(c, use)))
    print("\nAll chat nodes read everything anew; after how long the last of them has it:\n")
    print(table(["users, [presence] timeout_ms", *(f"{n} chat nodes" for n in NODES)], rebuild_rows(c["full"], 1) + rebuild_rows(c["full"], 60)))


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--program", help="presence-cost: measure now, instead of taking what was measured")
    p.add_argument("--users", type=int, default=100_000)
    p.add_argument("--write", action="store_true", help="into measured.json")
    args = p.parse_args()
    if args.program:
        c = costs_of(measure(args.program, args.users))
    else:
        c = inputs.read_measured()["presence"]
    if args.program and args.write:
        with open(inputs.MEASURED, encoding="utf-8") as f:
            m = json.load(f)
        m["presence"] = c
        with open(inputs.MEASURED, "w", encoding="utf-8") as f:
            f.write(json.dumps(m, indent=1) + "\n")
    report(c)


if __name__ == "__main__":
    sys.exit(main())
