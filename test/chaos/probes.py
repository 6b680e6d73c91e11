"""Users of the orchestrator's own, who find out when sends succeed again: raw clients, without the library's patience.

Each sends to some conversations, one message at a time in each, over one connection; what is not answered in time, or
refused, is sent again, over another proxy when the first is silent or gone. What they write is left out of dump.tsv.
"""
import itertools
import random
import threading
import time

from client import Client, Closed, msg_id
from wire import NOT_DONE, PERHAPS, RESEND

PAUSE_S = 0.25       # between two messages of a conversation
SILENT_S = 3.0       # an answer that takes longer is waited for no more
PING_S = 0.5         # how often the proxy is asked whether it lives
DEAD_S = 1.5         # one that leaves that unanswered is left, and comes last among those to connect to
PASSWORD = "correct horse"


def now_us():
    return time.monotonic_ns() // 1000


class Silent(Exception):
    """One conversation's answer does not come, though its proxy lives."""


class Talk:
    """One conversation of one probe. `done`: (begun, done) of what was acknowledged, in the order of the ends; `failed`: when a
    try to send was refused, or left without an answer."""

    def __init__(self, sender, target):
        self.key, self.target = (max(sender, target), min(sender, target)), target
        self.done, self.failed = [], []
        self.call = None          # under way
        self.id = self.begun_us = self.tried_us = None
        self.flags, self.due = 0, 0.0

    def seen(self, since_us, until_us):
        """In that time: (tries that failed, the slowest of the messages acknowledged that were under way then, the longest time
        without one), the times in microseconds."""
        ends, slowest = [], 0
        for begun, ended in reversed(self.done):
            ends.append(ended)
            if ended < since_us:
                break
            if begun <= until_us:
                slowest = max(slowest, ended - begun)
        times = sorted({since_us, until_us, *(t for t in ends if since_us < t < until_us)})
        return sum(since_us <= t <= until_us for t in self.failed), slowest, max((b - a for a, b in zip(times, times[1:])), default=0)


class Probe(threading.Thread):
    def __init__(self, number, doors, user, targets, seed):
        super().__init__(daemon=True)
        self.rng = random.Random(f"{seed} probe {number}")
        self.user, self.talks = user, [Talk(user.id, t) for t in targets]
        self.doors = [doors[(number + i) % len(doors)] for i in range(len(doors))]   # the best first
        self.client, self.is_leaving = None, False
        self.ping, self.ping_due = None, 0.0
        self.is_ending = threading.Event()
        self.resent = self.retried = 0
        self.faults = []          # refusals that no fault explains

    def run(self):
        while not self.is_ending.is_set():
            try:
                if self.client is None:
                    self._connect()
                self._turn()
            except Silent:
                self._leave()
            except (Closed, OSError, AssertionError):
                for t in self.talks:
                    if t.call:
                        t.failed.append(now_us())
                self._leave()
        if self.client:
            self.client.close()

    @property
    def door(self):
        """Where it is connected, and sends; None: nowhere just now."""
        return self.doors[-1] if self.client and not self.is_leaving else None

    def _connect(self):
        self.doors.append(self.doors.pop(0))   # should this one fail, the others come first
        self.client = Client(self.doors[-1], hello=False)
        login = {"name": self.user.name, "password": PASSWORD, "device_id": self.user.device, "device": "probe"}
        for call, fields, patience_s in (("Hello", {"version": 1, "client": "probe"}, DEAD_S), ("Login", login, SILENT_S)):
            assert self.client.wait(self.client.start(call, timeout_ms=2000, **fields), patience_s).status == "OK"
        self.is_leaving, self.ping, self.ping_due = False, None, time.monotonic() + PING_S

    def _leave(self):
        if self.client:
            self.client.close()
            self.client = None
        for t in self.talks:
            if t.call:
                t.call, t.flags, t.due = None, RESEND, 0.0
                self.resent += 1
        self.is_ending.wait(0.05)

    def _turn(self):
        if self.client.is_closed:
            raise Closed
        for t in self.talks:
            if t.call is None and time.monotonic() >= t.due and not self.is_leaving:
                self._send(t)
        self._ask_whether_alive()
        self.client.pump(0.02)
        for t in self.talks:
            if t.call is not None and t.call.reply is not None:
                self._answered(t, t.call.reply)
            elif t.call is not None and time.monotonic() - t.call.started > SILENT_S:
                t.failed.append(now_us())
                raise Silent
        self.is_leaving |= any(name == "OnGoAway" for name, _ in self.client.events)
        self.client.events.clear()
        if self.is_leaving and not any(t.call for t in self.talks):
            raise Closed

    def _ask_whether_alive(self):
        if self.ping and self.ping.reply:
            self.ping, self.ping_due = None, self.ping.started + PING_S
        if self.ping and time.monotonic() - self.ping.started > DEAD_S:
            raise Closed
        if not self.ping and time.monotonic() >= self.ping_due:
            self.ping = self.client.start("Ping", nonce=1)

    def _send(self, talk):
        if talk.id is None:
            talk.id, talk.begun_us, talk.flags = msg_id(), now_us(), 0
        talk.call = self.client.start("Send", target=talk.target, client_msg_id=talk.id, body=b"probe", flags=talk.flags, timeout_ms=2000)

    def _answered(self, talk, reply):
        talk.call = None
        if reply.status == "OK":
            talk.done.append((talk.begun_us, now_us()))
            talk.id, talk.due = None, time.monotonic() + PAUSE_S * self.rng.uniform(0.8, 1.2)
            return
        talk.due = time.monotonic() + 0.05
        talk.failed.append(now_us())
        if reply.status in PERHAPS:
            talk.flags = RESEND
            self.resent += 1
        elif reply.status in NOT_DONE:
            self.retried += 1
        else:
            self.faults.append(f"{reply}")


class User:
    def __init__(self, door, name):
        c = Client(door)
        self.name, self.device = name, msg_id() >> 1
        self.id = c.register(name, PASSWORD)
        c.close()


class Probes:
    """Their conversations are spread over the owners, as many at each as can be had."""

    def __init__(self, town, number=4, talks=12):
        self.users = [User(town.doors[0], f"probe-{i}-{msg_id()}") for i in range(number * 3)]
        pairs = self._spread(town, talks)
        doors, self.probes = town.doors, []
        senders = sorted({a for a, _ in pairs}, key=lambda u: u.id)
        for i, sender in enumerate(senders):
            self.probes.append(Probe(i, doors, sender, [b.id for a, b in pairs if a is sender], town.seed))
        for p in self.probes:
            p.start()

    def _spread(self, town, talks):
        self.owners = {}
        by_owner = {}
        senders, others = self.users[:len(self.users) // 3], self.users[len(self.users) // 3:]
        for a, b in itertools.product(senders, others):
            owner = town.askers.owner(town.of("proxy")[0], max(a.id, b.id), min(a.id, b.id))
            by_owner.setdefault(owner, []).append((a, b))
        chosen = []
        for row in itertools.zip_longest(*by_owner.values()):
            chosen += [pair for pair in row if pair]
        return chosen[:talks]

    @property
    def talks(self):
        return [t for p in self.probes for t in p.talks]

    def recovered_us(self, since_us):
        """When each conversation had had a message acknowledged that was under way then or begun later; None: not yet."""
        first = []
        for t in self.talks:
            done = None
            for begun, ended in reversed(t.done):
                if ended < since_us:
                    break
                if begun >= since_us - 1:
                    done = ended
            if done is None:
                return None
            first.append(done)
        return max(first)

    def slowest_ms(self, from_us, to_us):
        """The longest that a message took that was under way at some time in between."""
        return max((ended - begun for t in self.talks for begun, ended in t.done[-400:] if ended >= from_us and begun <= to_us),
                   default=0) // 1000

    def apart_from(self, node, town):
        """The conversations that have nothing to do with a node: others own them, and their senders are at other proxies."""
        proxies = {p.clients: p for p in town.of("proxy")}
        found = []
        for p in self.probes:
            proxy = proxies.get(p.door)
            if proxy is None or proxy is node:
                continue
            if node.role != "chat":
                found += p.talks
                continue
            owners = [(t, town.askers.owner(proxy, *t.key)) for t in p.talks]
            found += [t for t, owner in owners if owner not in (None, node.address)]
        return found

    @staticmethod
    def seen(talks, since_us, until_us):
        """How some conversations fared in that time, for faults.jsonl."""
        rows = [t.seen(since_us, until_us) for t in talks]
        failed, slowest, longest = (list(column) for column in zip(*rows)) if rows else ([], [0], [0])
        return {"talks": len(rows), "failed": sum(failed), "slowest_ms": max(slowest) // 1000, "longest_ms": max(longest) // 1000}

    @property
    def resent(self):
        return sum(p.resent for p in self.probes)

    @property
    def retried(self):
        return sum(p.retried for p in self.probes)

    @property
    def faults(self):
        return [f for p in self.probes for f in p.faults]

    def ids(self):
        return [u.id for u in self.users]

    def end(self):
        for p in self.probes:
            p.is_ending.set()
        for p in self.probes:
            if p.is_alive():
                p.join(10)
