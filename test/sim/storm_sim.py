#!/usr/bin/python3
"""Proxies die, their clients come back: how long until all are there, and how long until all have compared positions.

In steps of 10 ms. A client does what libbytetalk does: it waits a random time up to 100 ms, twice as long after each failure, at
most 15 s (client/client_backoff.c), dials for 3 s, waits 10 s for the answers to Hello and Resume. A proxy takes from its
listen queue (4096), serves one after the other, does the work also for those who have given up, and closes at once who comes
beyond [proxy] max_connections. [proxy] logins of each proxy are resumed at once, by user nodes and Redis; others are given a time to
ask again, one behind the other (roles/proxy_shed.c). Who is in compares positions: [offline] max_reads at a time for each offline
node, others are refused and come again after AGAIN_MIN_S to AGAIN_MAX_S (client/client_call.c); what the database can read limits the rest. Where there are more than
SAMPLE clients each stands for several.
"""
import random
import sys
from collections import deque

import inputs
from table import percent, short, span, table

STEP_S, LIMIT_S, SAMPLE, SEED = 0.01, 600, 40_000, 7
BACKOFF_MIN_S, BACKOFF_MAX_S, DIAL_S, GREET_S, SYN_AGAIN_S = 0.1, 15, 3, 10, 1
AGAIN_MIN_S, AGAIN_MAX_S = 0.1, 2   # roles/offline.c says the one, client/client_internal.h the other
BACKLOG, MAX_CONNECTIONS, MAX_READS, LOGINS = 4096, 100_000, 256, 512
SHED_SPAN_S, EACH_FIRST_S, EACH_MIN_S, WAIT_MIN_S, WAIT_MAX_S = 0.1, 1e-3, 20e-6, 0.05, 10   # roles/proxy_shed.c
RESTART_S = 1.0


class Bins:
    """Who does something in which step: how many, by what is known of them."""

    def __init__(self, rng):
        self.rng, self.bins = rng, {}

    def add(self, step, what, n=1):
        at = self.bins.setdefault(step, {})
        at[what] = at.get(what, 0) + n

    def wait(self, step, tries, n, least_s=0, most_s=BACKOFF_MAX_S):
        """So many have failed so often, and wait as client_backoff_next() tells each of them."""
        ceiling = min(BACKOFF_MIN_S * 2 ** min(tries, 20), most_s)
        for _ in range(n):
            self.add(step + 1 + int(max(self.rng.random() * ceiling, least_s) / STEP_S), tries + 1)

    def take(self, step):
        return sorted(self.bins.pop(step, {}).items())


class Queue:
    """First come, first served; as much work in a step as there is time for. After `patience_s` people leave, and their work stays."""

    def __init__(self, per_second, patience_s=None):
        self.per_step, self.patience, self.spare = per_second * STEP_S, patience_s and int(patience_s / STEP_S), 0.0
        self.line, self.clock, self.length = deque(), deque(), 0

    def put(self, step, tries, n):
        if n:
            entry = [step, tries, n]
            self.line.append(entry)
            self.clock.append(entry)
            self.length += n

    def serve(self):
        """(tries, how many) of those who are served now; tries None: they have left."""
        self.spare = min(self.spare, 1) + self.per_step
        while self.line and self.spare >= 1:
            head = self.line[0]
            n = min(head[2], int(self.spare))
            self.spare -= n
            self.length -= n
            head[2] -= n
            if not head[2]:
                self.line.popleft()
            yield head[1], n

    def leave(self, step):
        """(tries, how many) of those whose patience ends now."""
        while self.patience and self.clock and self.clock[0][0] + self.patience <= step:
            entry = self.clock.popleft()
            if entry[2]:
                tries, entry[1] = entry[1], None
                yield tries, entry[2]


class Shed:
    """What proxies tell those whom they can't resume now: when to ask again. `width` proxies, each row standing for `scale` clients."""

    def __init__(self, rng, width, scale):
        self.rng, self.unit = rng, scale / width
        self.each_s, self.slot_s, self.since_s, self.done, self.has_shed, self.is_known = EACH_FIRST_S, 0.0, 0.0, 0, False, False

    def count(self, now_s, done):
        self.done += done
        if now_s - self.since_s < SHED_SPAN_S:
            return
        if self.has_shed and self.done:
            each_s = (now_s - self.since_s) / (self.done * self.unit)
            self.each_s = max((self.each_s + each_s) / 2 if self.is_known else each_s, EACH_MIN_S)
            self.is_known = True
        self.has_shed, self.done, self.since_s = False, 0, now_s

    def when(self, now_s):
        self.has_shed = True
        self.slot_s = max(self.slot_s, now_s)
        if self.slot_s < now_s + WAIT_MAX_S:
            self.slot_s += self.each_s * self.unit
        wait_s = self.slot_s - now_s + WAIT_MIN_S
        return wait_s * (1 + self.rng.random() / 4)


class Storm:
    """`clients` look for a place at `proxies`, which have `held` others already. Proxies are alike, so they are one queue."""

    def __init__(self, i, clients, proxies, held=0, down_s=0.0, users=2, offline=2, db_processors=8):
        scale = max(1, clients / SAMPLE)
        rng, self.clients = random.Random(SEED), round(clients / scale)
        self.room, self.backlog = int((MAX_CONNECTIONS * proxies - held) / scale), BACKLOG * proxies / scale
        self.down_step = int(down_s / STEP_S)
        self.door = Queue(1e6 * proxies / i["proxy_connect"] / scale, GREET_S)
        pull_us = i["db_pull"] * i["conversations"] / 20 + i["db_connect"]
        self.pulls = Queue(min(1e6 * db_processors / pull_us, 1e6 * offline / i["offline_pull"]) / scale)
        self.reads = max(1, MAX_READS * offline / scale)
        self.binding = Queue(min(users * 1e6 / i["user_resume"], 1e6 / i["redis_set_many"]) / scale)
        self.logins, self.shed, self.asks_again = max(1, LOGINS * proxies / scale), Shed(rng, proxies, scale), Bins(rng)
        self.dial, self.again, self.ask = Bins(rng), Bins(rng), Bins(rng)   # again: whose SYN was lost
        self.came = self.bound = self.put_off = self.synced = self.wasted = self.closed = self.refused = 0
        self.half_s = self.all_s = self.synced_s = None
        self.scale = scale

    def knock(self, step):
        places = self.backlog + self.door.per_step   # what one turn of their loops leaves in the listen queues and takes out
        for is_last, bins in ((False, self.dial), (True, self.again)):
            for tries, n in bins.take(step):
                if step < self.down_step:
                    self.dial.wait(step, tries, n)
                    continue
                fits = min(n, max(int(places), 0))
                places -= fits
                self.door.put(step, tries, fits)
                if is_last:
                    self.dial.wait(step + int((DIAL_S - SYN_AGAIN_S) / STEP_S), tries, n - fits)
                elif n > fits:
                    self.again.add(step + int(SYN_AGAIN_S / STEP_S), tries, n - fits)

    def greet(self, step):
        for tries, n in self.door.leave(step):
            self.dial.wait(step, tries, n)
        for tries, n in self.door.serve():
            if tries is None:
                self.wasted += n
                continue
            fits = min(n, self.room - self.came)
            self.came += fits
            self.closed += n - fits
            self.dial.wait(step, tries, n - fits)
            self.resume(step, fits)
        for _, n in self.asks_again.take(step):
            self.door.spare -= n   # they are read once more
            self.resume(step, n)
        done = sum(n for _, n in self.binding.serve())
        self.shed.count(step * STEP_S, done)
        self.bound += done
        self.ask.add(step + 1, 0, done)

    def resume(self, step, n):
        fits = min(n, max(int(self.logins - self.binding.length), 0))
        self.binding.put(step, 0, fits)
        for _ in range(n - fits):
            self.asks_again.add(step + 1 + int(self.shed.when(step * STEP_S) / STEP_S), 0)
        self.put_off += n - fits

    def compare(self, step):
        for tries, n in self.ask.take(step):
            fits = min(n, max(int(self.reads - self.pulls.length), 0))
            self.pulls.put(step, tries, fits)
            self.refused += n - fits
            self.ask.wait(step, tries, n - fits, AGAIN_MIN_S, AGAIN_MAX_S)
        for _, n in self.pulls.serve():
            self.synced += n

    def run(self):
        self.dial.wait(0, 0, self.clients)
        step, last_room = 0, self.room < self.clients
        while self.synced < self.clients and step * STEP_S < LIMIT_S and not (last_room and self.synced >= self.room):
            self.knock(step)
            self.greet(step)
            self.compare(step)
            step += 1
            now = step * STEP_S
            if self.bound >= self.clients / 2:
                self.half_s = self.half_s or now
            if self.bound >= self.clients:
                self.all_s = self.all_s or now
        self.synced_s = step * STEP_S if self.synced >= self.clients else None
        return self

    def cells(self):
        if self.room < self.clients:
            return ["no room", f"{100 * self.room / self.clients:.0f} % find a place", "–", "–", "–", "–"]
        return [span(self.half_s) if self.half_s else "–", span(self.all_s) if self.all_s else f"not in {LIMIT_S} s", percent(self.wasted / self.clients),
                percent(self.put_off / self.clients),
                span(self.synced_s) if self.synced_s else f"not in {LIMIT_S} s", short(self.refused / self.clients)]


HEAD = ["half are back", "all are back", "served in vain", "put off", "all have compared", "refused, each"]
ONE = ((15_000, 3), (15_000, 10), (100_000, 3), (100_000, 10), (100_000, 30), (1_000_000, 10), (1_000_000, 30), (1_000_000, 100))
ALL = ((45_000, 3), (300_000, 10), (1_000_000, 10), (1_000_000, 30))

# One run of make chaos-storm, 2026-11-21: nodes, database and all clients on two processors that others used too.
SEEN = {"clients": 15_000, "proxies": 3, "most": 7218, "half_s": 2.42, "all_s": 5.33, "put_off": 0.31}


def seen_rows(i):
    free = Storm(i, SEEN["clients"], SEEN["proxies"] - 1).run()
    slow = Storm({**i, "proxy_connect": 1e6 * (SEEN["proxies"] - 1) / SEEN["most"]}, SEEN["clients"], SEEN["proxies"] - 1).run()
    return [["simulated, each proxy with a processor of its own", *free.cells()[:2], percent(free.put_off / free.clients)],
            [f"simulated, no more than {SEEN['most']} a second, as was seen", *slow.cells()[:2], percent(slow.put_off / slow.clients)],
            ["seen", span(SEEN["half_s"]), span(SEEN["all_s"]), percent(SEEN["put_off"])]]


def one_rows(i):
    """A proxy dies with its clients; the others hold as many as leave room, at most 50,000 each."""
    return [[f"{clients:,}", n, *Storm(i, clients, n - 1, held=min(clients, 50_000) * (n - 1)).run().cells()] for clients, n in ONE]


def all_rows(i):
    return [[f"{clients:,}", n, *Storm(i, clients, n, down_s=RESTART_S).run().cells()] for clients, n in ALL]


def main():
    i = {r.name: r.value for r in inputs.inputs().values()}
    print("A proxy dies; N-1 others take its clients. Two offline nodes, a database of 8 processors:\n")
    print(table(["clients", "N", *HEAD], one_rows(i)))
    print(f"\nAll proxies die and are back after {RESTART_S:g} s:\n")
    print(table(["clients", "N", *HEAD], all_rows(i)))
    print(f"\nBeside real clients ({SEEN['clients']:,}, {SEEN['proxies']} proxies, one dies; everything on two processors):\n")
    print(table(["", "half are back", "all are back", "put off"], seen_rows(i)))


if __name__ == "__main__":
    sys.exit(main())
