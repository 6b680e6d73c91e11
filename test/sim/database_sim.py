#!/usr/bin/python3
"""Many chat nodes write to one database: latency against load.

A chat node has `[chat] batches` under way; what comes meanwhile makes its next batch. The database gives each batch a processor
for `db_batch + rows * db_row`, then the batch waits for the sync under way and shares the next one with all others that are ready
(group commit). Messages arrive at random. Beside it: what measure.py saw on this machine.
"""
import heapq
import random
import sys

import inputs
from table import short, table

ROWS_MAX, MESSAGES, SEED = 2000, 15000, 5   # [chat] batch_rows; messages in a run
ARRIVE, READY, SYNCED = range(3)


class Database:
    """Processors that take batches in their order; one sync at a time, for all that are ready."""

    def __init__(self, processors, sync_s, batch_us, row_us):
        self.free, self.sync_s, self.batch_s, self.row_s = [0.0] * processors, sync_s, batch_us / 1e6, row_us / 1e6
        self.waiting, self.is_syncing, self.syncs, self.commits = [], False, 0, 0

    def take(self, now, rows):
        """When a batch that comes now is ready to be synced."""
        self.commits += 1
        ready = max(now, self.free[0]) + self.batch_s + rows * self.row_s
        heapq.heapreplace(self.free, ready)
        return ready


class Run:
    def __init__(self, rate, nodes, batches, processors, sync_s, batch_us, row_us, messages=MESSAGES, seed=SEED):
        self.rng, self.each, self.batches = random.Random(seed), rate / nodes, batches
        self.db = Database(processors, sync_s, batch_us, row_us)
        self.queues, self.flying, self.events, self.number = [[] for _ in range(nodes)], [0] * nodes, [], 0
        self.latencies, self.end_s = [], messages / rate
        for n in range(nodes):
            self.push(self.rng.expovariate(self.each), ARRIVE, n)
        while self.events and self.events[0][0] <= self.end_s:
            now, _, kind, what = heapq.heappop(self.events)
            (self.arrive, self.ready, self.synced)[kind](now, what)
        self.latencies.sort()

    def push(self, at, kind, what):
        self.number += 1   # of two at the same time the one that was made first
        heapq.heappush(self.events, (at, self.number, kind, what))

    def arrive(self, now, n):
        self.queues[n].append(now)
        self.push(now + self.rng.expovariate(self.each), ARRIVE, n)
        self.write(now, n)

    def write(self, now, n):
        if self.flying[n] < self.batches and self.queues[n]:
            rows, self.queues[n] = self.queues[n][:ROWS_MAX], self.queues[n][ROWS_MAX:]
            self.flying[n] += 1
            self.push(self.db.take(now, len(rows)), READY, (n, rows))

    def ready(self, now, batch):
        self.db.waiting.append(batch)
        if not self.db.is_syncing:
            self.sync(now)

    def sync(self, now):
        self.db.is_syncing, group = True, self.db.waiting
        self.db.waiting, self.db.syncs = [], self.db.syncs + 1
        self.push(now + self.db.sync_s, SYNCED, group)

    def synced(self, now, group):
        self.db.is_syncing = False
        if self.db.waiting:
            self.sync(now)
        for n, rows in group:
            self.latencies += [now - t for t in rows]
            self.flying[n] -= 1
            self.write(now, n)

    # ---- figures

    def ms(self, part):
        return 1000 * self.latencies[min(int(part * len(self.latencies)), len(self.latencies) - 1)] if self.latencies else float("inf")

    @property
    def rows(self):
        return len(self.latencies) / max(self.db.commits, 1)

    @property
    def share(self):
        """Written, of what came: the rest waits, and at a load that can be carried it is little."""
        return len(self.latencies) / max(len(self.latencies) + sum(map(len, self.queues)), 1)


def most(processors, batch_us, row_us):
    """Messages a second, full batches, processors alone."""
    return processors * 1e6 / (batch_us / ROWS_MAX + row_us)


LOADS = (500, 2000, 10_000, 50_000, 200_000)
HOUSES = ((2, 1, 8), (10, 1, 8), (10, 4, 8), (100, 1, 32))   # chat nodes, [chat] batches, the database's processors


def load_rows(i, sync_ms):
    rows = []
    for nodes, batches, processors in HOUSES:
        cells = []
        for rate in LOADS:
            r = Run(rate, nodes, batches, processors, sync_ms / 1000, i["db_batch"], i["db_row"])
            cells.append(f"{short(r.ms(0.5))} / {short(r.ms(0.99))} ({short(r.rows)})" if r.share > 0.9 else "not carried")
        rows.append([f"{nodes}, {batches}, {processors}", *cells])
    return rows


def compare_rows(m):
    """The same in two chat nodes and on two processors, as measured; the sync as this machine's disk had it."""
    rows, fit = [], m["fit"]
    for name in ("paced", "paced_more"):
        seen = m[name]
        r = Run(seen["rate"], 2, 1, 2, 2 * m["sync_ms"] / 1000, fit["batch"], fit["row"])
        rows.append([f"{seen['rate']:.0f}", short(seen["rows_per_commit"]), short(r.rows), short(seen["p50_ms"]), short(r.ms(0.5))])
    return rows


def main():
    i, m = {r.name: r.value for r in inputs.inputs().values()}, inputs.read_measured()
    for sync_ms in (i["batch_ms"] - 1, 1):
        print(f"One database; a group's sync takes {sync_ms:g} ms. Milliseconds until the answer, p50 / p99 (messages in a batch), at so many messages/s:\n")
        print(table(["chat nodes, batches, its processors", *(f"{r:,}/s" for r in LOADS)], load_rows(i, sync_ms)) + "\n")
    print("Processors alone would carry " + ", ".join(f"{short(most(p, i['db_batch'], i['db_row']))} messages/s with {p}" for p in (2, 8, 32)) +
          f"; seen: {short(i['db_primary'])}, with 2 that were shared with everything.\n")
    print(f"Measured under load by others (load average {m['when']['load']:.0f}, {m['when']['processors']} processors), and simulated without:\n")
    print(table(["messages/s", "messages in a batch", "simulated", "p50 ms", "simulated"], compare_rows(m)))


if __name__ == "__main__":
    sys.exit(main())
