"""Gentle, steady load by good clients that live through whatever happens to the cluster, and what they saw of it.

One thread drives all of them. A talker writes to its targets, with few sends under way; what is refused or not answered goes
again under the same id; a connection that breaks is replaced through another door. It notes when what was acknowledged,
and when what was pushed.
"""
import itertools
import select
import time
from collections import defaultdict, namedtuple

from client import SLOW, Client, Closed, msg_id
from wire import NOT_DONE, P, PERHAPS, RESEND, key_of

Ack = namedtuple("Ack", "at sent key seq")
PATIENCE_S = 2.0      # for a connection, and for Hello and Resume
TIMEOUT_MS = 4000


class Talker:
    def __init__(self, doors, user, pace_s=0.02, window=4):
        """`user`: a client that is logged in; its connection is used until it breaks. `doors`: where to go then, in turn."""
        self.user_id, self.name, self.token, self.client = user.user_id, user.name, user.token, user
        self.doors = itertools.cycle(doors)
        self.targets, self.turn = [], 0
        self.pace_s, self.window, self.next_send = pace_s, window, 0.0
        self.open = {}        # Call -> (target, id, body, first sent)
        self.again = []       # (when, target, id, body, first sent, flags)
        self.greeting = None  # the call that makes the connection ours, and until when
        self.retry_at = 0.0
        self.acks = []
        self.ids = {}         # (key, id) -> seq
        self.pushed = {}      # (key, seq) -> when
        self.refused = defaultdict(int)
        self.breaks = 0

    # ---- the connection

    def _broke(self):
        now = time.monotonic()
        self.again += [(now, *item, RESEND) for item in self.open.values()]
        self.open.clear()
        self.client.close()
        self.client, self.greeting = None, None
        self.retry_at = now
        self.breaks += 1

    def _connect(self):
        try:
            self.client = Client(next(self.doors), hello=False)
            hello, first = self.client.start("Hello", version=1, client="talker", write=False)
            resume, second = self.client.start("Resume", token=self.token, write=False)
            self.client.write(first + second)
            self.greeting = resume, time.monotonic() + PATIENCE_S * SLOW
        except (OSError, Closed):
            if self.client:
                self.client.close()
            self.client = None
            self.retry_at = time.monotonic() + 0.05

    def _greet(self):
        call, until = self.greeting
        if call.reply is not None and call.reply.status == "OK":
            self.greeting = None
        elif call.reply is not None or self.client.is_closed or time.monotonic() > until:
            self._broke()
            self.retry_at += 0.05

    # ---- one step

    def step(self, may_send):
        if self.client is None:
            if time.monotonic() >= self.retry_at:
                self._connect()
            return
        try:
            self.client.drain()
            self._take_events()
            if self.greeting:
                self._greet()
                return
            self._take_replies()
            if self.client.is_closed:
                self._broke()
            else:
                self._send(may_send)
        except Closed:
            self._broke()

    def _take_events(self):
        now = time.monotonic()
        for name, msg in self.client.events:
            if name == "OnMessage":
                self.pushed.setdefault(((msg.hi, msg.lo), msg.seq), now)
        away = any(name == "OnGoAway" for name, _ in self.client.events)
        self.client.events.clear()
        if away:
            self.client.is_closed = True   # elsewhere, at once

    def _take_replies(self):
        now = time.monotonic()
        for call in [c for c in self.open if c.reply is not None]:
            target, cmid, body, sent = self.open.pop(call)
            status = call.reply.status
            if status == "OK":
                key = key_of(self.user_id, target)
                self.acks.append(Ack(now, sent, key, call.reply.msg.seq))
                self.ids[key, cmid] = call.reply.msg.seq
                continue
            assert status in NOT_DONE | PERHAPS, call.reply
            self.refused[status] += 1
            pause = max(call.reply.msg.retry_after_ms / 1000, 0.05)
            self.again.append((now + pause, target, cmid, body, sent, RESEND if status in PERHAPS else 0))

    def _send(self, may_send):
        now = time.monotonic()
        due = [item for item in self.again if item[0] <= now]
        self.again = [item for item in self.again if item[0] > now]
        for _, target, cmid, body, sent, flags in due:
            self._start(target, cmid, body, sent, flags)
        if may_send and self.targets and now >= self.next_send and len(self.open) + len(self.again) < self.window:
            target = self.targets[self.turn % len(self.targets)]
            self.turn += 1
            cmid = msg_id()
            self._start(target, cmid, b"%s %d" % (self.name.encode(), cmid), now, 0)
            self.next_send = now + self.pace_s

    def _start(self, target, cmid, body, sent, flags):
        call, data = self.client.start("Send", target=target, client_msg_id=cmid, body=body, flags=flags, timeout_ms=TIMEOUT_MS,
                                       write=False)
        self.open[call] = target, cmid, body, sent
        self.client.write(data)


class Traffic:
    def __init__(self, talkers):
        self.talkers = list(talkers)

    @classmethod
    def of_pairs(cls, cluster, pairs, **kw):
        """So many pairs who write to each other, each coming in through a door of its own."""
        doors = cluster.doors
        users = [cluster.user("talker", address=doors[i % len(doors)]) for i in range(2 * pairs)]
        talkers = [Talker(doors[i % len(doors):] + doors[:i % len(doors)], u, **kw) for i, u in enumerate(users)]
        for a, b in zip(talkers[::2], talkers[1::2]):
            a.targets, b.targets = [b.user_id], [a.user_id]
        return cls(talkers)

    def step(self, may_send=True):
        poll = select.poll()
        for t in self.talkers:
            if t.client:
                poll.register(t.client.sock, select.POLLIN)
        poll.poll(5)
        for t in self.talkers:
            t.step(may_send)

    def run(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.step()
        return self

    def run_until(self, cond, deadline=20, what=None):
        """Go on until cond; how long that took."""
        began = time.monotonic()
        while not cond():
            assert time.monotonic() < began + deadline * SLOW, f"after {deadline} s still not: {what or cond}"
            self.step()
        return time.monotonic() - began

    def finish(self, deadline=30):
        """Send nothing new, until all that was sent is acknowledged."""
        end = time.monotonic() + deadline * SLOW
        while any(t.open or t.again or t.client is None or t.greeting for t in self.talkers):
            assert time.monotonic() < end, "not answered: " + str([(t.name, len(t.open), len(t.again), dict(t.refused))
                                                                  for t in self.talkers if t.open or t.again or not t.client])
            self.step(may_send=False)
        return self

    def move(self, n):
        """Let n of them come in through another door."""
        for t in self.talkers[:n]:
            t._broke()
        return self

    # ---- what they saw

    def acked(self):
        return sum(len(t.acks) for t in self.talkers)

    def silence(self, since):
        """The longest that any of them went without an acknowledgement, from `since` until now."""
        worst, now = 0.0, time.monotonic()
        for t in self.talkers:
            at = since
            for ack in t.acks:
                if ack.at > since:
                    worst, at = max(worst, ack.at - at), ack.at
            worst = max(worst, now - at)
        return worst

    def back_after(self, since):
        """Until each of them had something acknowledged that it sent after `since`."""
        firsts = [min((a.at for a in t.acks if a.sent >= since), default=None) for t in self.talkers]
        assert None not in firsts, "somebody writes no more"
        return max(firsts) - since

    def all_back(self, since):
        return all(any(a.sent >= since for a in t.acks[-20:]) for t in self.talkers)

    def pushes_back_after(self, since, late_s=0.5):
        """Until everything was pushed in time: from `since` to the sending of the last one that was not, or came late."""
        last, reader = since, {t.user_id: t for t in self.talkers}
        self.run(2 * late_s * SLOW)   # what has just been acknowledged may yet be pushed in time
        until = time.monotonic() - late_s * SLOW
        for t in self.talkers:
            for ack in t.acks:
                if ack.sent < since or ack.at > until:
                    continue
                other = reader.get(next(u for u in ack.key if u != t.user_id))
                seen = other.pushed.get((ack.key, ack.seq)) if other else None
                if other and (seen is None or seen - ack.at > late_s * SLOW):
                    last = max(last, ack.at)
        return last - since

    def check(self, cluster):
        """Every log is read whole: no gap, nothing twice, all that was acknowledged at its seq. How many messages stand."""
        total = 0
        for t in self.talkers:
            reader = cluster.connect()
            reader.resume(t.token)
            for target in set(t.targets):
                key = key_of(t.user_id, target)
                total += self._check_log(reader, key, target)
            reader.close()
        return total

    def _check_log(self, reader, key, target):
        at, ids = 0, {}
        while True:
            page = reader.ok("History", target=target, from_seq=at + 1, limit=500)
            for m in page.messages:
                assert m.seq == at + 1, f"{key}: after seq {at} comes {m.seq}"
                at = m.seq
                assert (m.sender_id, m.client_msg_id) not in ids or m.kind != P.TEXT, f"{key}: {m.seq} stands twice"
                ids[m.sender_id, m.client_msg_id] = m.seq
            if at >= page.head_seq:
                break
        for t in self.talkers:
            lost = [(i, seq) for (k, i), seq in t.ids.items() if k == key and ids.get((t.user_id, i)) != seq]
            assert not lost, f"{key}: acknowledged, and not there: {lost[:5]} of {len(lost)}"
        return at
