"""Load for crash tests: writers that keep sending, remember what was acknowledged, and send the rest again afterwards."""
import select
import time
from collections import deque

from client import Closed, msg_id
from wire import P, RESEND, key_of


class Writer:
    """One user's connection, writing to several targets with several sends under way. It lives through restarts."""

    def __init__(self, user, targets, window=8):
        self.user_id, self.name, self.token, self.client = user.user_id, user.name, user.token, user
        self.targets, self.window = list(targets), window
        self.turn = 0
        self.open = deque()     # (call, target, id, body)
        self.unanswered = []    # (target, id, body) of a connection that broke
        self.acked = {}         # (key, id) -> seq, since the last check

    def resume(self, server):
        self.client = server.connect(hello=False)
        made = [self.client.start("Hello", version=1, client="writer", write=False),
                self.client.start("Resume", token=self.token, write=False)]
        self.client.write(b"".join(data for _, data in made))
        for call, _ in made:
            assert self.client.wait(call).status == "OK", call.reply

    def resend(self):
        """What was not answered before the crash goes again, flagged: it has one seq, whether it was written or not."""
        for target, i, body in self.unanswered:
            self._start(target, i, body, RESEND)
        self.unanswered = []
        while self.open:
            self.client.pump(1)
            self.collect(strict=True)

    def _start(self, target, i, body, flags=0):
        call = self.client.start("Send", target=target, client_msg_id=i, body=body, flags=flags)
        self.open.append((call, target, i, body))

    def fill(self):
        while len(self.open) < self.window:
            target = self.targets[self.turn % len(self.targets)]
            self.turn += 1
            i = msg_id()
            self._start(target, i, b"%s %d" % (self.name.encode(), i))

    def collect(self, strict=False):
        """Take the answers that have come; true when there was one."""
        self.client.drain()
        rest, some = deque(), False
        for item in self.open:
            call, target, i, body = item
            if call.reply is None:
                rest.append(item)
                continue
            some = True
            if call.reply.status == "OK":
                self.acked[key_of(self.user_id, target), i] = call.reply.msg.seq
            else:
                assert not strict and call.reply.status in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "UNKNOWN", "ABORTED",
                                                            "DEADLINE_EXCEEDED"), call.reply
                self.unanswered.append((target, i, body))
        self.open = rest
        self.client.events.clear()
        return some

    def broke(self):
        """The server is gone: what it still said counts, the rest is to be sent again."""
        while not self.client.is_closed:
            self.client.pump(1)
        self.collect()
        self.unanswered += [(target, i, body) for _, target, i, body in self.open]
        self.open.clear()
        self.client.close()


def run(writers, seconds):
    """Let them write for that long; answers how many sends were acknowledged."""
    end, before = time.monotonic() + seconds, sum(len(w.acked) for w in writers)
    poll = select.poll()
    for w in writers:
        poll.register(w.client.sock, select.POLLIN)
    try:
        while time.monotonic() < end:
            for w in writers:
                w.fill()
            poll.poll(20)
            for w in writers:
                w.collect()
    except Closed:
        pass
    return sum(len(w.acked) for w in writers) - before


class Ledger:
    """What the logs of some conversations must hold, checked on from where the last check ended."""

    def __init__(self):
        self.seen = {}     # key -> {(sender, id): seq}
        self.checked = {}  # key -> seq
        self.lost = []

    def check(self, key, target, reader, writers, whole=False):
        """Read what is new (or all), through `reader`; what was acknowledged must stand at its seq, once."""
        at = 0 if whole else self.checked.get(key, 0)
        ids = {} if whole else self.seen.setdefault(key, {})
        while True:
            page = reader.ok("History", target=target, from_seq=at + 1, limit=500)
            at = max(at, page.first_seq - 1)   # the reader came to a group later than its first messages
            for m in page.messages:
                if m.seq != at + 1:
                    self.lost.append(f"{key}: after seq {at} comes {m.seq}")
                at = m.seq
                if (m.sender_id, m.client_msg_id) in ids and m.kind == P.TEXT:
                    self.lost.append(f"{key}: seq {m.seq} stands twice, first at {ids[m.sender_id, m.client_msg_id]}")
                ids[m.sender_id, m.client_msg_id] = m.seq
            if at >= page.head_seq:
                break
        self.checked[key] = at
        for w in writers:
            for (k, i), seq in w.acked.items():
                if k == key and ids.get((w.user_id, i)) != seq:
                    self.lost.append(f"{key}: acknowledged at {seq}, stands at {ids.get((w.user_id, i))}")
        if whole and ids != self.seen.get(key, ids):
            self.lost.append(f"{key}: what was there before has changed")
        return ids
