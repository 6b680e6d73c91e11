"""What a good client does, on one device: it keeps the log of each conversation, moves its position over contiguous seqs
only, repairs gaps, pulls what it missed, and sends what was not answered again under the same id.

A device outlives its connections (`connect`, `disconnect`) and the server's processes.
"""
import random
import time
from collections import namedtuple

from client import SLOW, Closed, msg_id, wait_until
from wire import GROUP, NOT_DONE, P, PERHAPS, RESEND, key_of

Unanswered = namedtuple("Unanswered", "method target fields")


class Device:
    def __init__(self, server, name, password="correct horse", device_id=None):
        self.server, self.name, self.password = server, name, password
        self.device_id = device_id or random.getrandbits(63) | 1
        self.user_id, self.token, self.client = 0, None, None
        self.logs = {}      # key -> {seq: Message}: all from first[key] to pos[key]
        self.first, self.pos = {}, {}
        self.early = {}     # key -> {seq: Message} behind a gap
        self.gap_since = {}
        self.outbox = []    # Unanswered, in order
        self.summary = {}   # key -> Conversation, as last pulled
        self.repaired = 0   # gaps that were fetched

    # ---- connections

    def connect(self, catch_up=True, **kw):
        self.client = self.server.connect(**kw)
        if self.token:
            reply = self.client.resume(self.token)
        else:
            reply = self.client.login(self.name, self.password, self.device_id)
        self.user_id, self.token = reply.user_id, reply.token
        if catch_up:
            self.flush()
            self.pull()
        return self

    def disconnect(self):
        self.client.close()
        self.client = None

    # ---- writing

    def write(self, method, target, **fields):
        """Send, Edit or Recall; answers the seq. Not answered: it stays in the outbox, and the next flush sends it again."""
        fields.setdefault("client_msg_id", msg_id())
        item = Unanswered(method, target, fields)
        self.outbox.append(item)
        return self._try(item, 0)

    def _try(self, item, flags):
        reply = self.client.call(item.method, target=item.target, flags=flags, **item.fields)
        while reply.status in NOT_DONE | PERHAPS:
            flags |= RESEND if reply.status in PERHAPS else 0
            wait_until(lambda: True)
            reply = self.client.call(item.method, target=item.target, flags=flags, **item.fields)
        assert reply.status == "OK", reply
        self.outbox.remove(item)
        self.learn(self.own(item, reply.msg))
        return reply.msg.seq

    def flush(self):
        """Send what was not answered, in order, saying that it may stand already."""
        for item in list(self.outbox):
            self._try(item, RESEND)

    def own(self, item, reply):
        """A message that this device wrote, as others see it."""
        hi, lo = key_of(self.user_id, item.target)
        f = item.fields
        kind = {"Send": f.get("kind", P.TEXT), "Edit": P.EDIT, "Recall": P.RECALL}[item.method]
        return P.Message(hi=hi, lo=lo, seq=reply.seq, sender_id=self.user_id, client_msg_id=f["client_msg_id"],
                         sent_ms=reply.sent_ms, kind=kind, refers_to_seq=f.get("refers_to_seq", 0),
                         content_type=f.get("content_type", ""), body=f.get("body", b""))

    def say(self, target, text):
        return self.write("Send", target, body=text.encode())

    def edit(self, target, seq, text):
        return self.write("Edit", target, refers_to_seq=seq, body=text.encode())

    def recall(self, target, seq):
        return self.write("Recall", target, refers_to_seq=seq)

    # ---- learning

    def target_of(self, key):
        hi, lo = key
        if lo == 0:
            return hi | GROUP
        return hi if lo == self.user_id else lo

    def learn(self, msg):
        """One message, by reply, push or pull; in any order, any number of times."""
        key = (msg.hi, msg.lo)
        if key not in self.pos:   # a conversation that begins, or one of which the device holds nothing yet
            self.first[key] = msg.seq
            self.pos[key] = msg.seq - 1
            self.logs[key] = {}
            if msg.seq != 1:
                self.load(key)
        self.early.setdefault(key, {})[msg.seq] = msg
        self._advance(key)

    def _advance(self, key):
        early, log = self.early.get(key, {}), self.logs[key]
        while self.pos[key] + 1 in early:
            self.pos[key] += 1
            log[self.pos[key]] = early.pop(self.pos[key])
        for seq in [s for s in early if s <= self.pos[key]]:
            again = early.pop(seq)
            if seq >= self.first[key]:
                assert ident(again) == ident(log[seq]), f"seq {seq} of {key} is two messages: {log[seq]} and {again}"
        if early:
            self.gap_since.setdefault(key, time.monotonic())
        else:
            self.gap_since.pop(key, None)

    def take(self):
        """What was pushed; a gap that stays open for 200 ms is fetched; asked to compare, it does."""
        client = self.client
        client.drain()
        rest = []
        events, client.events[:] = list(client.events), []
        for name, msg in events:
            if name == "OnMessage":
                self.learn(msg)
            elif name == "OnResync":
                self.pull()
            else:
                rest.append((name, msg))
        client.events[:0] = rest
        for key, since in list(self.gap_since.items()):
            if time.monotonic() - since > 0.2:
                self.repaired += 1
                self.fetch(key)

    def fetch(self, key):
        """Read on from the position to the head."""
        while True:
            page = self.client.ok("History", target=self.target_of(key), from_seq=self.pos[key] + 1)
            for msg in page.messages:
                self.early.setdefault(key, {})[msg.seq] = msg
            self._advance(key)
            if not page.messages or self.pos[key] >= page.head_seq:
                return

    def load(self, key):
        """A conversation of which the device holds nothing: page back from the newest to the first."""
        before, found, first = 0, {}, 1
        while True:
            page = self.client.ok("History", target=self.target_of(key), before_seq=before, limit=7)
            first = page.first_seq
            seqs = [m.seq for m in page.messages]
            assert seqs == sorted(seqs) and len(seqs) <= 7
            found.update((m.seq, m) for m in page.messages)
            if not seqs or seqs[0] <= first:
                break
            before = seqs[0]
        self.logs[key] = {}
        self.first[key], self.pos[key] = first, first - 1
        self.early.setdefault(key, {}).update(found)
        self._advance(key)

    def pull(self, limit=0):
        """Compare positions with the server's heads and read what follows them."""
        after = None
        while True:
            positions = [P.Position(hi=hi, lo=lo, seq=seq) for (hi, lo), seq in sorted(self.pos.items())
                         if after is None or (hi, lo) > after]
            request = {"positions": positions, "limit": limit}
            if after is not None:
                request["after"] = P.ConversationKey(hi=after[0], lo=after[1])
            reply = self.client.ok("Pull", **request)
            keys = [(c.hi, c.lo) for c in reply.conversations]
            assert keys == sorted(set(keys)), f"conversations out of order: {keys}"
            assert all(after is None or k > after for k in keys), f"{keys} are not after {after}"
            for conv in reply.conversations:
                key = (conv.hi, conv.lo)
                self.summary[key] = conv
                if key not in self.pos:
                    assert not conv.messages
                    self.load(key)
                seqs = [m.seq for m in conv.messages]
                assert seqs == sorted(seqs)
                for msg in conv.messages:
                    self.learn(msg)
            if not reply.more:
                return
            after = (reply.next_after.hi, reply.next_after.lo)

    def reach(self, key, seq, deadline=10):
        """Wait until the device holds the conversation up to seq."""
        def there():
            self.take()
            return self.pos.get(key, 0) >= seq
        wait_until(there, deadline, f"{self.name} at seq {seq} of {key}")

    # ---- what the user sees

    def log(self, key):
        return [self.logs[key][s] for s in sorted(self.logs[key])]

    def view(self, key):
        """The log with its edits and recalls applied: [(seq, sender, kind, refers, text)]. Two devices that hold the same
        log show the same, whether they saw a message before its edit or after."""
        text = {}
        for m in self.log(key):
            if m.kind in (P.TEXT, P.APPLICATION):
                text[m.seq] = m.body
            elif m.kind == P.EDIT and m.body:
                text[m.refers_to_seq] = m.body
        for m in self.log(key):
            if m.kind == P.RECALL:
                text[m.refers_to_seq] = b""
        return [(m.seq, m.sender_id, m.kind, m.refers_to_seq, text.get(m.seq, b"")) for m in self.log(key)]

    def check(self, key, head, first=1):
        """The whole log is here, in order, without gaps."""
        assert sorted(self.logs[key]) == list(range(first, head + 1)), \
            f"{self.name} holds {sorted(self.logs[key])} of {key}, not {first}..{head}"
        ids = [(m.sender_id, m.client_msg_id) for m in self.log(key) if m.client_msg_id]
        assert len(ids) == len(set(ids)), "a message stands twice"
        times = [m.sent_ms for m in self.log(key)]
        assert times == sorted(times), "sent_ms falls"


def ident(m):
    """What of a message never changes."""
    return (m.hi, m.lo, m.seq, m.sender_id, m.client_msg_id, m.kind, m.refers_to_seq, m.sent_ms)


__all__ = ["Device", "Closed", "SLOW", "ident"]
