"""Writers that get in each other's way: two nodes that both own everything, one that repeats old messages for ever, and what
all that costs the database in syncs; each test with its figures.
"""
import hashlib
import hmac
import os
import random
import re
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections import Counter, defaultdict

import pytest

from client import SLOW, msg_id
from cluster import Cluster
from node import NodeClient
from traffic import Traffic
from wire import GROUP, P, RESEND, key_of

PAIRS, GROUPS, ROUNDS = 80, 20, 24
IN_FLIGHT = 64


@pytest.fixture(scope="module")
def one_chat(backends, tmp_path_factory):
    """A cluster with one chat node, so that everybody's messages are written by the same one."""
    c = Cluster(tmp_path_factory.mktemp("cluster"), backends, units=1, counts={"chat": 1}, has_nginx=False).start()
    yield c
    c.end()


# ---- two owners ----------------------------------------------------------------------------------------------------------

class Proven(NodeClient):
    """A node that proves that it knows the secret, and then calls what only nodes may."""

    def __init__(self, address, secret):
        super().__init__(address, hello=False)
        own, epoch, nonce = f"127.0.0.1:{self.sock.getsockname()[1]}", int(time.time() * 1000), os.urandom(32)
        theirs = self.ok("NodeHello", version=1, address=own, epoch=epoch, nonce=nonce)
        mac = hmac.new(secret, b"bytetalk node dialler 1".ljust(24, b"\0"), hashlib.sha256)
        for n, e, a in ((nonce, epoch, own), (theirs.nonce, theirs.epoch, theirs.address)):
            mac.update(n + struct.pack(">QQ", e, len(a)) + a.encode())
        self.ok("NodeProve", proof=mac.digest())


class Owner:
    """Writes through one chat node, whoever owns what; many sends are under way."""

    def __init__(self, address, secret):
        self.node, self.open = Proven(address, secret), {}
        self.acked, self.said, self.times = {}, Counter(), []

    def send(self, caller, target, cmid):
        call = self.node.start("Send", caller=caller, target=target, client_msg_id=cmid, body=b"one of two %d" % cmid)
        self.open[call] = key_of(caller, target), caller, cmid, time.monotonic()

    def take(self):
        self.node.pump(0.002)
        for call in [x for x in self.open if x.reply is not None]:
            key, caller, cmid, sent = self.open.pop(call)
            self.said[call.reply.status] += 1
            self.times.append(time.monotonic() - sent)
            if call.reply.status == "OK":
                self.acked[key, caller, cmid] = call.reply.msg.seq


def conversations_of(users):
    """Pairs, and groups of three: (who writes, to whom)."""
    pairs = [(a.user_id, b.user_id) for i, a in enumerate(users) for b in users[:i]][:PAIRS]
    assert len(pairs) == PAIRS
    groups = []
    for i in range(GROUPS):
        owner, *members = users[i % len(users)], users[(i + 1) % len(users)], users[(i + 2) % len(users)]
        group = owner.ok("CreateGroup", request_id=msg_id(), name=f"group {i}").group_id | GROUP
        for m in members:
            m.ok("JoinGroup", target=group)
        groups.append((owner.user_id, group))
    return pairs + groups


def share_out(conversations):
    """(who, to whom, id, through which owners): every conversation in every round through the one and the other in turn, and each
    fourth message through both at once, as when a client has heard nothing and tries elsewhere."""
    made = []
    for r in range(ROUNDS):
        for i, (a, b) in enumerate(random.sample(conversations, len(conversations))):
            made.append((a, b, msg_id(), (0, 1) if i % 4 == 0 else ((r + i) % 2,)))
    return made


def write_all(owners, todo):
    """Until all is answered. Both have as many under way, so that neither runs ahead."""
    began = time.monotonic()
    while todo or any(x.open for x in owners):
        while todo and all(len(x.open) < IN_FLIGHT for x in owners):
            caller, target, cmid, sides = todo.pop()
            for side in sides:
                owners[side].send(caller, target, cmid)
        for x in owners:
            x.take()
        assert time.monotonic() < began + 40 * SLOW, [(x.said, len(x.open)) for x in owners]
    return time.monotonic() - began


def logs_of(cluster):
    """The texts of every conversation, after the check that it has no gap and nothing twice: key -> {(sender, id): seq}."""
    database = cluster.settings["store.url"].rsplit("/", 1)[1]
    logs, heads, seen = defaultdict(dict), Counter(), set()
    for row in cluster.backends.mariadb.sql(f"SELECT hi, lo, seq, sender_id, client_msg_id, kind FROM {database}.message ORDER BY hi, lo, seq"):
        hi, lo, seq, sender, cmid, kind = map(int, row)
        heads[hi, lo] += 1
        assert seq == heads[hi, lo], f"a gap in {hi}, {lo}: {seq} is number {heads[hi, lo]}"
        assert (hi, lo, sender, cmid) not in seen, f"{cmid} of {sender} stands twice in {hi}, {lo}"
        seen.add((hi, lo, sender, cmid))
        if kind == P.TEXT:
            logs[hi, lo][sender, cmid] = seq
    return logs


def test_two_owners_write_the_same_conversations_and_some_messages_both(make_cluster, figure):
    c = make_cluster({"log.level": "debug"}, units=1, counts={"proxy": 1, "chat": 2}, has_nginx=False)
    conversations = conversations_of([c.user("pair") for _ in range(14)])
    with open(c.settings["node.secret_file"], "rb") as f:
        secret = f.read().strip()
    todo, deadlocks = share_out(conversations), int(c.backends.mariadb.status("Innodb_deadlocks"))
    messages, calls = len(todo), sum(len(sides) for *_, sides in todo)
    owners = [Owner(n.address, secret) for n in c.nodes("chat")]
    took = write_all(owners, todo)

    said = sum((x.said for x in owners), Counter())
    assert said == {"OK": calls}, f"a client would see that: {said}"
    logs = logs_of(c)
    for x in owners:
        wrong = [(k, seq) for k, seq in x.acked.items() if logs[k[0]].get(k[1:]) != seq]
        assert not wrong, f"acknowledged, and not there: {wrong[:5]} of {len(wrong)}"
    both = owners[0].acked.keys() & owners[1].acked.keys()
    assert len(both) == messages // 4
    assert len(logs) == PAIRS + GROUPS and sum(map(len, logs.values())) == messages
    fence = re.findall(r"fence: a batch of (\d+) messages", c.log)
    assert fence, "the two never met, so nothing was tried"
    times = sorted(t for x in owners for t in x.times)
    figure("two owners, 80 pairs and 20 groups: messages a second", messages / took, unit="/s")
    figure("... of them asked for at both at once, one seq each", len(both), unit="")
    figure("... batches that met the fence", len(fence), unit="")
    figure("... the median time of a send", times[len(times) // 2])
    figure("... the longest", times[-1])
    figure("... answers that were not OK", calls - said["OK"], unit="")
    figure("... deadlocks in the database, none seen by a client",
           int(c.backends.mariadb.status("Innodb_deadlocks")) - deadlocks, unit="")


# ---- one who repeats -----------------------------------------------------------------------------------------------------

# Writes far more than what a chat node remembers of a conversation; then does what it reads from its standard input, a line each:
# "repeat", the oldest for ever, as fast as it is answered; "ping N", as many Pings a second; or "rest". Having stopped the one
# before it says how much of it was answered, how many of that not as it must be, and for how long it went.
ABUSER = """
import os, select, sys, time
sys.path.insert(0, sys.argv[1])
from client import Client, msg_id
from wire import METHODS, RESEND
_, _, address, token, target, in_flight = sys.argv
me = Client(address)
me.resume(bytes.fromhex(token))
body = b"heard before"
old = [(i, me.send(int(target), body, client_msg_id=i)) for i in (msg_id() for _ in range(400))][:250]
print("ready", flush=True)
what, rate, began, asked, answered, wrong, turn, calls, has_input, line = "rest", 0, time.monotonic(), 0, 0, 0, 0, {}, False, ""
while True:
    has_input = has_input or bool(select.select([0], [], [], 0)[0])
    while not has_input and len(calls) < int(in_flight) and (what == "repeat" or (what == "ping" and asked < rate * (time.monotonic() - began))):
        if what == "repeat":
            i, seq = old[turn % len(old)]
            turn += 1
            calls[me.start("Send", target=int(target), client_msg_id=i, body=body, flags=RESEND if turn % 2 else 0)] = seq
        else:
            calls[me.start("Ping")] = None
        asked += 1
    if calls or what == "ping":
        me.pump(0.005)
    else:
        select.select([0, me.sock], [], [], 1)
        me.drain()
    for call in [x for x in calls if x.reply is not None]:
        seq = calls.pop(call)
        answered += 1
        wrong += call.reply.status != "OK" or (seq is not None and call.reply.msg.seq != seq)
    if has_input and not calls:
        line, has_input = sys.stdin.readline().split(), False
        print(answered, wrong, time.monotonic() - began, flush=True)   # after that the next line may come
        if not line:
            sys.exit(0)
        what, rate, began, asked, answered, wrong = line[0], float(line[1]) if line[1:] else 0, time.monotonic(), 0, 0, 0
"""


class Abuser:
    IN_FLIGHT = 60

    def __init__(self, cluster):
        self.user, other = cluster.user("abuser", address=cluster.proxies[0]), cluster.user("victim", address=cluster.proxies[0])
        here = os.path.dirname(os.path.abspath(__file__))
        self.process = subprocess.Popen([sys.executable, "-c", ABUSER, here, cluster.proxies[0], self.user.token.hex(), str(other.user_id),
                                         str(self.IN_FLIGHT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def wait_ready(self):
        assert self.process.stdout.readline() == "ready\n"

    def do(self, what):
        """The next thing; how many a second were answered of what it did until now."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answered, wrong, took = self.process.stdout.readline().split()
        assert wrong == "0", f"{wrong} of {answered} were not answered as before"
        return int(answered), float(took)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


ROUNDS_OF_SLICES = 4


class Slices:
    """What others achieved in short slices of time, in turns without the abuser, with his repeats, and with as many Pings of his."""

    def __init__(self, traffic, abuser, slice_s):
        self.traffic, self.abuser, self.slice_s = traffic, abuser, slice_s
        self.rates, self.times, self.repeats = defaultdict(list), defaultdict(list), []
        for i in range(ROUNDS_OF_SLICES):
            kinds = ["rest", "repeat", "ping"]
            for kind in kinds if i % 2 == 0 else ["repeat", "ping", "rest"]:   # so that what drifts with time hits all alike
                self._one(kind)

    def _one(self, kind):
        rate = self.repeats[-1] if self.repeats else 0
        self.abuser.do(f"ping {rate}" if kind == "ping" else kind)
        self.traffic.run(0.05)
        before, began = [len(t.acks) for t in self.traffic.talkers], time.monotonic()
        self.traffic.run(self.slice_s)
        new = [ack for t, n in zip(self.traffic.talkers, before) for ack in t.acks[n:]]
        self.rates[kind].append(len(new) / (time.monotonic() - began))
        self.times[kind] += [1000 * (ack.at - ack.sent) for ack in new]
        answered, took = self.abuser.do("rest")
        if kind == "repeat":
            self.repeats.append(answered / took)

    def rate(self, kind):
        return statistics.median(self.rates[kind])

    def slower(self, kind, than):
        return max(0, 100 * (1 - self.rate(kind) / self.rate(than)))

    def tell(self, who, figure):
        for kind, what in (("rest", f"{who} others' sends a second, nobody repeats"), ("repeat", "... while one repeats ancient ids"),
                           ("ping", "... while one sends as many Pings")):
            figure(what, self.rate(kind), unit="/s")
            figure("...    their median time", statistics.median(self.times[kind]), unit="ms")


REPEATS = 256   # [chat] repeats


def test_one_who_repeats_ancient_ids_slows_nobody_else(one_chat, figure):
    """Of others who write at a steady pace nearly all must still be written. Others who take all that the machine gives share its
    processors with the one who repeats: they may lose what any other frame of his would cost them too, and hardly more."""
    traffic, abuser = Traffic.of_pairs(one_chat, 6, pace_s=0.005, window=2), Abuser(one_chat)
    try:
        abuser.wait_ready()
        traffic.run(0.5)
        steady = Slices(traffic, abuser, 0.6)
        for t in traffic.talkers:
            t.pace_s = 0
        greedy = Slices(traffic, abuser, 0.4)
        traffic.finish()
    finally:
        abuser.end()
    traffic.check(one_chat)
    steady.tell("steady", figure)
    figure("... steady others are slower than without the repeats by", steady.slower("repeat", "rest"), 20, "%")
    greedy.tell("greedy", figure)
    figure("... greedy others are slower than without the repeats by", greedy.slower("repeat", "rest"), unit="%")
    figure("... greedy others are slower than with the Pings by", greedy.slower("repeat", "ping"), 20, "%")
    repeats = statistics.median(steady.repeats + greedy.repeats)
    figure("... repeats a second meanwhile", repeats, unit="/s")
    # What is free at once after a rest, and as many as are free in a second, in slices that are shorter.
    assert repeats < REPEATS / 0.4 + 2 * REPEATS, "more was looked for than one sender may ask"


def test_a_device_that_comes_back_repeats_all_that_it_has_open(one_chat, figure):
    c = one_chat
    ann, ben = c.user("ann", address=c.proxies[0]), c.user("ben")
    open_sends = [(msg_id(), b"open %d" % i) for i in range(64)]
    seqs = [ann.send(ben.user_id, body, client_msg_id=i) for i, body in open_sends[::2]]   # half of them had been written
    for i in range(70):
        ben.send(ann.user_id, f"later {i}")                                             # and are out of the window
    for _ in range(3):                                                                  # its connection breaks again and again
        again = c.connect(address=c.proxies[0])
        again.resume(ann.token)
        began = time.monotonic()
        made = [again.start("Send", target=ben.user_id, client_msg_id=i, body=body, flags=RESEND, write=False) for i, body in open_sends]
        again.write(b"".join(data for _, data in made))
        replies = [again.wait(call) for call, _ in made]
        took = time.monotonic() - began
        assert Counter(r.status for r in replies) == {"OK": 64}
        assert [r.msg.seq for r in replies[::2]] == seqs
        assert [r.msg.seq for r in replies[1::2]] == list(range(103, 135)), "in the order in which they were sent"
        again.close()
    figure("64 open sends, repeated by a device that came back, answered in", took)


# ---- syncs ---------------------------------------------------------------------------------------------------------------

class Strace:
    """Counts the syncs of a process until it is told to stop."""

    def __init__(self, pid, directory):
        self.out = os.path.join(directory, "strace")
        self.process = subprocess.Popen(["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-o", self.out, "-p", str(pid)],
                                        stderr=subprocess.PIPE, text=True)

    def wait_attached(self):
        """None when it counts, else why it can't."""
        if not select.select([self.process.stderr], [], [], 10 * SLOW)[0]:
            return "strace says nothing"
        said = self.process.stderr.readline().strip()
        return None if "attached" in said else said or "strace has ended"

    def finish(self):
        self.process.send_signal(signal.SIGINT)
        self.process.communicate(timeout=10 * SLOW)
        with open(self.out, encoding="utf-8") as f:
            rows = [line.split() for line in f]
        return {row[-1]: int(row[3]) for row in rows if row and row[-1] in ("fsync", "fdatasync")}

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()


OWN_SYNCS = 60


def test_many_messages_share_a_sync(one_chat, figure, tmp_path):
    if not shutil.which("strace"):
        pytest.skip("strace is not here")
    c, primary = one_chat, one_chat.backends.mariadb
    traffic = Traffic.of_pairs(c, 6, pace_s=0, window=8).run(0.5)
    strace = Strace(primary.process.pid, tmp_path)
    try:
        reason = strace.wait_attached()
        if reason:
            traffic.finish()
            pytest.skip(f"mariadbd can't be traced: {reason}")
        traffic.finish()   # what is acknowledged from here on was synced before the eyes of strace
        acked, groups = traffic.acked(), int(primary.status("Binlog_group_commits"))
        traffic.run(2).finish()
        acked, groups = traffic.acked() - acked, int(primary.status("Binlog_group_commits")) - groups
        calls = strace.finish()
    finally:
        strace.kill()
    traffic.check(c)
    syncs = sum(calls.values())
    figure("messages acknowledged under strace", acked, unit="")
    figure("... syncs of mariadbd (fsync, fdatasync)", syncs, unit="")
    figure("... commit groups", groups, unit="")
    figure("... syncs per commit group", syncs / max(groups, 1), unit="")
    figure("... messages per sync", acked / max(syncs, 1), unit="")
    assert syncs > 0, "messages were acknowledged, and nothing was synced"
    assert syncs < acked, f"{syncs} syncs for {acked} messages: they are not written together"
    assert syncs >= groups > 0, f"{syncs} syncs for {groups} commit groups: some were acknowledged without one"
    # One of the binary log and one of the redo log each, and those of its own that the server makes now and then.
    assert syncs <= 3 * groups + OWN_SYNCS, f"{syncs} syncs for {groups} commit groups"
