"""Which faults come in which order: from the seed alone. And the thread that lets them come."""
import concurrent.futures
import json
import os
import random
import threading
import time
from collections import namedtuple

from faults import KINDS, Hit

PAUSE_S = 6.5          # from a fault's end, or its measure's, to the next one: so that it is seen what came of it
OVERLAP = 0.5          # of the last third's faults, begin while the one before is on, where both can be
ROUNDS = 5
LATEST = 1.25          # of the time that was given, until the schedule is done

Item = namedtuple("Item", "kind turn index is_overlapping")


def domain_of(item):
    domain = item.kind.domain
    return domain if isinstance(domain, str) else domain[item.turn % len(domain)]


def may_overlap(one, other):
    """Without the database nobody can send, so a node's fault beside that would say nothing of the node."""
    domains = {domain_of(one), domain_of(other)}
    return "all" not in domains and len(domains) == 2 and domains != {"node", "mariadb"}


def plan(seed, kinds, rounds=ROUNDS):
    """Each kind comes in each round, so that a run that ends early has seen something of each."""
    rng, items, turns = random.Random(f"{seed} schedule"), [], {k.name: 0 for k in kinds}
    for r in range(rounds):
        names = []
        for k in kinds:
            count = k.count * rounds // ROUNDS if rounds > 1 else 1
            names += [k.name] * (count * (r + 1) // rounds - count * r // rounds)
        rng.shuffle(names)
        _order(names, r)
        for name in names:
            items.append(Item(KINDS[name], turns[name], len(items), False))
            turns[name] += 1
    third = len(items) * 2 // 3
    for i in range(third, len(items)):
        before = items[i - 1]
        if may_overlap(items[i], before) and not before.is_overlapping and rng.random() < OVERLAP:
            items[i] = items[i]._replace(is_overlapping=True)
    return items


def _order(names, r):
    """The first MariaDB is primary in the beginning; the second's disk is to be full while that is it."""
    if "full_disk" in names and "mariadb_failover" in names:
        places = sorted((names.index("full_disk"), names.index("mariadb_failover")))
        pair = ["mariadb_failover", "full_disk"] if r % 2 == 0 else ["full_disk", "mariadb_failover"]
        for place, name in zip(places, pair):
            names[place] = name


def seconds(items, pause_s=PAUSE_S):
    """About how long they take."""
    return sum(0 if i.is_overlapping else i.kind.seconds - 6.5 + pause_s for i in items)


class Runner:
    """Hits one after the other. Threads that start processes live as long as this object: the kernel ends those with them."""

    def __init__(self, town, probes, directory, is_asked_to_end, pause_s=PAUSE_S):
        self.town, self.probes, self.pause_s, self.is_asked_to_end = town, probes, pause_s, is_asked_to_end
        self.path = os.path.join(directory, "faults.jsonl")
        self.pool = concurrent.futures.ThreadPoolExecutor(6)
        self.lines, self.problems, self.background = [], [], []
        self.is_broken = False       # something can't be mended: nothing more is to be learnt
        self.lock = threading.Lock()
        town.later = self.later

    def later(self, function):
        """Do it while the test goes on."""
        self.background.append(self.pool.submit(function))

    def note(self, line):
        with self.lock:
            self.lines.append(line)
            with open(self.path, "a", encoding="utf-8") as f:
                f.write(json.dumps(line) + "\n")

    def skip(self, name, why):
        self.note({"kind": name, "skipped": why})
        print(f"  {name:<18} SKIPPED: {why}", flush=True)

    def run(self, items, until):
        """All of them, or until that time."""
        waiting = list(items)
        while waiting and not self.is_broken and not self.is_asked_to_end():
            if time.monotonic() > until:
                return
            together = [waiting.pop(0)]
            if waiting and waiting[0].is_overlapping and may_overlap(waiting[0], together[0]):
                together.append(waiting.pop(0))
            is_alone = len(together) == 1 and all(f.done() for f in self.background)
            for f in [self.pool.submit(self._one, i, is_alone) for i in together]:
                f.result()
            self._check_background()
            time.sleep(self.pause_s)

    def _one(self, item, is_alone):
        hit = Hit(item.kind, item.turn, item.index, self.town, self.probes, is_alone)
        try:
            line = hit.run()
        except Exception as e:   # whatever it is, the run goes on to its report
            line = {**hit.line(), "failed": f"{type(e).__name__}: {e}"}
            line["end_us"] = line["end_us"] or time.monotonic_ns() // 1000
            line["begin_us"] = line["begin_us"] or line["end_us"]
            self.problems.append(f"{item.kind.name} of {hit.part}: {e}")
            self.is_broken |= item.kind.domain == "mariadb"   # without the database there is nothing to be seen
        self.note(line)
        print(f"  {time.strftime('%H:%M:%S')} {item.kind.name:<18} {line['part'] or '':<18} {told(line)}", flush=True)

    def _check_background(self):
        for f in [f for f in self.background if f.done()]:
            self.background.remove(f)
            if f.exception():
                self.is_broken = True
                self.problems.append(f"mending: {f.exception()}")
                print(f"  mending: {f.exception()}", flush=True)

    def finish(self):
        for f in self.background:
            f.exception()
        self._check_background()

    def end(self, is_hurried):
        """Hurried: what is under way is not waited for; whoever wants that ends the process."""
        self.pool.shutdown(wait=not is_hurried, cancel_futures=True)


def told(line):
    if "failed" in line:
        return "FAILED: " + line["failed"].splitlines()[0]
    begin = line["begin_us"]
    return (f"{line['in_flight']:4} in flight, lasted {(line['end_us'] - begin) / 1e6:5.1f} s, sends back after "
            f"{(line['recovered_us'] - begin) / 1e6:5.2f} s, slowest {line['detail']['slowest_probe_ms']} ms")
