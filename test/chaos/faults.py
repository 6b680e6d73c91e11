"""What faults have in common: their kinds, how one is noted, hit, mended and measured."""
import random
import threading
import time
from collections import namedtuple

from probes import now_us
from servers import NotReady

# name: in faults.jsonl; count: how often at least in a whole run; seconds: about how long one takes, mending and measuring
# included; domain: what it is done to, faults of two domains may overlap (a list: of each turn); is_quick: part of the short form;
# needs: of hosts, disk, faketime, what the machine must offer; run(hit): does it.
Kind = namedtuple("Kind", "name count seconds domain is_quick needs run")
KINDS = {}

CALLS_WAIT_S = 3.0      # for operations to be under way where a fault hits
RECOVERY_WAIT_S = 90.0  # for the probes; a fault that takes longer ends the run


def kind(name, *, seconds, domain, count=5, is_quick=False, needs=()):
    def keep(function):
        KINDS[name] = Kind(name, count, seconds, domain, is_quick, frozenset(needs), function)
        return function
    return keep


class Hit:
    """One fault, as it happens. `turn`: how many of its kind came before it; `rng`: its own, so that the same seed chooses
    the same part and the same times. `is_alone`: nothing else is broken or being mended meanwhile."""

    def __init__(self, kind_, turn, index, town, probes, is_alone=True):
        self.kind, self.turn, self.town, self.probes, self.is_alone = kind_, turn, town, probes, is_alone
        self.rng = random.Random(f"{town.seed} {index} {kind_.name} {turn}")
        self.part, self.detail = None, {}
        self.begin_us = self.end_us = self.recovered_us = None
        self.in_flight = 0
        self.apart = None         # conversations that are to notice nothing of it, and
        self.others = None        # how they fared; None: not measured

    # ---- for the functions that do it

    def at(self, part, **detail):
        self.part = str(part)
        self.detail.update(detail)
        return part

    def node(self, role, unit=None):
        """One of that role, chosen by the seed."""
        return self.at(self.rng.choice(self.town.of(role, unit)))

    def wait_calls(self, nodes=None):
        """Until operations are under way at one of the nodes, by default anywhere in the cluster; how many there are."""
        end = time.monotonic() + CALLS_WAIT_S
        while True:
            n = sum(self.town.calls_at(x) for x in (nodes or self.town.of("proxy")))
            if n > 0 or time.monotonic() > end:
                return n
            time.sleep(0.001)

    def strike(self, action, nodes=None, may_freeze=False):
        """Do it while operations are under way. Where they are so short and rare that none was met, a node that is to be killed
        anyhow is first held for a moment, until some wait in it."""
        self.in_flight = self.wait_calls(nodes)
        if self.in_flight == 0 and may_freeze:
            self.begin_us = now_us()
            for n in nodes:
                n.freeze()
            self.in_flight = self.wait_calls(nodes)
            self.detail["held_first"] = True
        self.begin_us = self.begin_us or now_us()
        action()

    def strike_node(self, action, node, may_freeze=False):
        """Likewise, of one node; it is measured how conversations fare that have nothing to do with it."""
        if self.is_alone:
            self.apart = self.probes.apart_from(node, self.town)
        self.strike(action, [node], may_freeze)

    def hold(self, seconds):
        self.detail["held_s"] = round(seconds, 2)
        time.sleep(seconds)

    def mended(self):
        self.end_us = now_us()

    # ---- for those who run it

    def run(self):
        """All of it, and the line for faults.jsonl."""
        self.kind.run(self)
        if self.end_us is None:
            self.mended()
        self._measure()
        return self.line()

    def _measure(self):
        end = time.monotonic() + RECOVERY_WAIT_S
        after = None
        while after is None:
            if time.monotonic() > end:
                raise NotReady(f"{RECOVERY_WAIT_S:g} s after {self.kind.name} of {self.part} the probes still can't send")
            time.sleep(0.05)
            after = self.probes.recovered_us(self.end_us)
        self.recovered_us = self.probes.recovered_us(self.begin_us)
        self.detail["recovered_after_end_us"] = after
        self.detail["slowest_probe_ms"] = self.probes.slowest_ms(self.begin_us, after)
        self.others = self.probes.seen(self.apart, self.begin_us, after) if self.apart is not None else None

    def line(self):
        return {"kind": self.kind.name, "part": self.part, "begin_us": self.begin_us, "end_us": self.end_us,
                "recovered_us": self.recovered_us, "in_flight": self.in_flight, "others": self.others, "detail": self.detail}


def together(*actions):
    """At the same time, each in a thread; none of them may start a process, for that would end with its thread."""
    errors = []

    def guarded(action):
        try:
            action()
        except BaseException as e:   # handed to the caller
            errors.append(e)
    threads = [threading.Thread(target=guarded, args=(a,)) for a in actions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
