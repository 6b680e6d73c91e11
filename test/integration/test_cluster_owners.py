"""Two nodes that both believe that they own conversations: what the store refuses, and what it holds up."""
import os
import random
import signal
import time
from collections import Counter

from client import SLOW, msg_id, wait_until
from node import NodeClient
from wire import NOT_DONE, PERHAPS, RESEND, key_of

ROUNDS = 20


class OwnerLoad:
    """A node that believes that another one owns all of some conversations."""

    def __init__(self, address, pairs, rounds=ROUNDS, method="Send", window=64, **fields):
        self.node, self.open = NodeClient(address), {}
        self.pairs, self.todo = pairs, []
        for _ in range(rounds):
            self.add_round()
        self.acked, self.said = {}, Counter()
        self.method, self.window, self.fields = method, window, fields

    def add_round(self):
        self.todo[:0] = [(a, b, msg_id(), 0) for a, b in random.sample(self.pairs, len(self.pairs))]

    def step(self):
        while self.todo and len(self.open) < self.window:
            a, b, cmid, flags = item = self.todo.pop()
            call = self.node.start(self.method, caller=a, target=b, client_msg_id=cmid, body=b"one of two", flags=flags, timeout_ms=5000,
                                   **self.fields)
            self.open[call] = item
        self.node.pump(0.01)
        self.take()

    def take(self):
        for call in [x for x in self.open if x.reply is not None]:
            a, b, cmid, _ = self.open.pop(call)
            self.said[call.reply.status] += 1
            if call.reply.status == "OK":
                self.acked[key_of(a, b), cmid] = call.reply.msg.seq
            else:
                assert call.reply.status in NOT_DONE | PERHAPS, call.reply
                self.todo.append((a, b, cmid, RESEND if call.reply.status in PERHAPS else 0))

    @property
    def is_done(self):
        return not self.todo and not self.open


def check_rows(cluster):
    """All logs as the database has them: {key: {id: seq}}. No gap, nothing twice."""
    database = cluster.settings["store.url"].rsplit("/", 1)[1]
    logs = {}
    for hi, lo, seq, cmid in (map(int, row) for row in cluster.backends.mariadb.sql(
            f"SELECT hi, lo, seq, client_msg_id FROM {database}.message ORDER BY hi, lo, seq")):
        log = logs.setdefault((hi, lo), {})
        assert seq == len(log) + 1, f"a gap in {hi}, {lo}: {seq} after {len(log)}"
        assert cmid not in log, f"{cmid} stands twice in {hi}, {lo}"
        log[cmid] = seq
    return logs


def test_two_writers_of_the_same_conversations(make_cluster, figure):
    """Each is asked for all of 100 conversations, in another order, as if both were the owner."""
    c = make_cluster({"node.secret_file": None}, units=1, counts={"proxy": 1, "chat": 2}, has_nginx=False)
    users = [c.user("pair") for _ in range(15)]
    ids = [u.user_id for u in users]
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[:i]][:100]
    deadlocks = int(c.backends.mariadb.status("Innodb_deadlocks"))
    began = time.monotonic()
    loads = [OwnerLoad(n.address, pairs) for n in c.nodes("chat")]
    while not all(x.is_done for x in loads):
        for x in loads:
            x.step()
        assert time.monotonic() < began + 60 * SLOW, [(x.said, len(x.todo)) for x in loads]
    took, said = time.monotonic() - began, sum((x.said for x in loads), Counter())
    logs = check_rows(c)
    acked = {k: v for x in loads for k, v in x.acked.items()}
    assert len(logs) == len(pairs) and all(logs[key][cmid] == seq for (key, cmid), seq in acked.items())
    assert sum(map(len, logs.values())) == len(acked) == 2 * ROUNDS * len(pairs)
    figure("two writers of the same 100 conversations: messages a second", len(acked) / took, unit="/s")
    figure("... refusals that clients would see", sum(said.values()) - said["OK"], 0, "")
    figure("... deadlocks in the database", int(c.backends.mariadb.status("Innodb_deadlocks")) - deadlocks, unit="")


def open_writes(cluster):
    """Transactions that wait for their client's next word, and hold rows. MariaDB shows them as they were up to 0.1 s ago."""
    time.sleep(0.11)
    database = cluster.settings["store.url"].rsplit("/", 1)[1]
    return int(cluster.backends.mariadb.sql(
        "SELECT COUNT(*) FROM information_schema.innodb_trx t JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id"
        f" WHERE p.db = '{database}' AND p.command = 'Sleep' AND t.trx_rows_modified > 0")[0][0])


def stop_inside_a_write(cluster, pid, load):
    """Stop the process at a moment when it has rows locked; how many it has. It goes on in between, so that it can write."""
    for attempt in range(100):
        for _ in range(3):
            while len(load.todo) < load.window:
                load.add_round()
            load.step()
        time.sleep(random.random() / 200)   # not at the same point of every turn
        os.kill(pid, signal.SIGSTOP)
        if n := open_writes(cluster):
            return n
        os.kill(pid, signal.SIGCONT)
    raise AssertionError(f"it was never inside a write, at {attempt + 1} looks")


def test_a_node_stopped_inside_a_write_holds_nobody_up(make_cluster, figure):
    """It holds rows of conversations in MariaDB, to which others write through another owner."""
    c = make_cluster({"node.secret_file": None}, units=1, counts={"proxy": 1, "chat": 2}, has_nginx=False)
    ids = [c.user("pair").user_id for _ in range(6)]
    pairs = [(a, b) for i, a in enumerate(ids) for b in ids[:i]]
    stopped, other = c.nodes("chat")
    first = OwnerLoad(other.address, pairs, rounds=1)   # what is edited
    while not first.is_done:
        first.step()
    edits = OwnerLoad(stopped.address, pairs, rounds=0, method="Edit", refers_to_seq=1)
    try:
        held = stop_inside_a_write(c, stopped.pid, edits)
        began, after = time.monotonic(), OwnerLoad(other.address, pairs, rounds=1)
        while not after.is_done:
            after.step()
            assert time.monotonic() < began + 30 * SLOW, after.said
        took = time.monotonic() - began
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    figure("a node stopped inside a write: transactions that it held open", held, unit="")
    figure("... until all wrote to its conversations through another", took, 3)
    edits.todo.clear()
    wait_until(lambda: edits.step() or edits.is_done, 20, "what it had under way is settled")
    logs, acked = check_rows(c), {**first.acked, **edits.acked, **after.acked}
    assert all(logs[key][cmid] == seq for (key, cmid), seq in acked.items())
    figure("... messages acknowledged, all there once", len(acked), unit="")
