"""Clients that keep asking, and how their calls spread over the nodes that answer."""
import time
from collections import Counter

from cluster import received


class Callers:
    """Clients that keep asking what any user node answers."""

    def __init__(self, cluster, doors, window=8):
        self.clients = [cluster.user("caller", address=d) for d in doors]
        self.window, self.open, self.done, self.failed = window, [], 0, Counter()
        self.slowest = 0.0

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            now = time.monotonic()
            for c in self.clients:
                c.pump(0.001)
                mine = [x for x in self.open if x[0] is c]
                for item in mine:
                    if item[1].reply is not None:
                        self.open.remove(item)
                        self._take(item[1], now)
                for _ in range(self.window - len([x for x in self.open if x[0] is c])):
                    self.open.append((c, c.start("GetProfile", timeout_ms=3000)))
        return self

    def _take(self, call, now):
        self.slowest = max(self.slowest, now - call.started)
        if call.reply.status == "OK":
            self.done += 1
        else:
            self.failed[call.reply.status] += 1

    def finish(self):
        for c, call in self.open:
            c.wait(call)
            self._take(call, time.monotonic())
        self.open.clear()
        return self


def shares(cluster, callers, seconds):
    """How the calls of some seconds spread over the user nodes, 1 being even."""
    nodes = cluster.nodes("user")
    before = [received(n.address) for n in nodes]
    callers.run(seconds)
    parts = [received(n.address) - b for n, b in zip(nodes, before)]
    even = sum(parts) / len(parts)
    return nodes, [p / even for p in parts]
