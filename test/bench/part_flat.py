"""`make bench ONLY=flat`: whether a message costs the same in a small database and in one of a million accounts and conversations.

The load is the same in all: 1,000 users are connected and write to each other in 10,000 conversations, all equally likely. They are
spread evenly over the ids of all accounts, so that what they touch lies between what nobody touches. Accounts and conversations
nobody uses are written into the database while no server runs. All sizes are measured in every round, one after the other.
"""
import os
import sqlite3
import statistics
import time

import hosts
from parts import Tool, cost, faults, moment, say, table

WHAT = "the same load on databases of 1,000 to 1,000,000 accounts"
SIZES = (1000, 10000, 100000, 1000000)
ACTIVE, CONVERSATIONS = 1000, 10000
LIMIT = 1.2
LOADS = ("messages", "signals")


def numbers(n):
    return f"(WITH RECURSIVE one(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM one WHERE i < {n}) SELECT i FROM one)"


# Account i talks to one of up to 5,000 before it: a conversation with two members and two messages. Those of active users are left to them.
PEER = "i - 1 - (i * 7919) % MIN(i - 1, 5000)"
IDLE = "WHERE i > 1 AND i % :apart <> 0"
FILL = [
    "INSERT INTO account SELECT i, 'idle-' || i, :hash, '', '', 1, 0 FROM {numbers} WHERE i % :apart <> 0",
    "INSERT INTO account_name SELECT 'idle-' || i, i FROM {numbers} WHERE i % :apart <> 0 ORDER BY 1",
    f"INSERT INTO member (hi, lo, user_id, role) SELECT i, {PEER}, i, 1 FROM {{numbers}} {IDLE}",
    f"INSERT INTO member (hi, lo, user_id, role) SELECT i, {PEER}, {PEER}, 1 FROM {{numbers}} {IDLE}",
    *(f"INSERT INTO message (hi, lo, seq, sender_id, client_msg_id, sent_ms, kind, digest, content_type, body) "
      f"SELECT i, {PEER}, {seq}, i, i * 2 + {seq}, 1, 1, i, 'text/plain', zeroblob(64) FROM {{numbers}} {IDLE}" for seq in (1, 2)),
]


def fill(path, state, accounts):
    """Make the database one of so many accounts, of which one in every accounts / ACTIVE is the load tool's."""
    apart = accounts // ACTIVE
    with open(state, encoding="utf-8") as f:
        head = f.readlines()[:3]
    tag = head[1].split()[1]
    db = sqlite3.connect(path, isolation_level=None)
    password_hash, = db.execute("SELECT password_hash FROM account").fetchone()
    db.execute("PRAGMA journal_mode = DELETE")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("PRAGMA cache_size = -400000")
    db.execute("BEGIN")
    for name in ("account", "account_name", "session", "member", "message"):
        db.execute(f"DELETE FROM {name}")
    users = [(f"bench-{tag}-{n}".encode(), (n + 1) * apart) for n in range(ACTIVE)]
    db.executemany("INSERT INTO account VALUES (?, ?, ?, '', '', 1, 0)", [(i, name, password_hash) for name, i in users])
    db.executemany("INSERT INTO account_name VALUES (?, ?)", users)
    if apart > 1:
        for text in FILL:
            db.execute(text.format(numbers=numbers(accounts)), {"hash": password_hash, "apart": apart})
    db.execute("UPDATE id_range SET next_id = MAX(next_id, ?)", (accounts + 1,))
    db.execute("COMMIT")
    counts = [db.execute(f"SELECT COUNT(*) FROM {name}").fetchone()[0] for name in ("account", "member", "message")]
    db.execute("PRAGMA journal_mode = WAL")
    db.close()
    with open(state, "w", encoding="utf-8") as f:
        f.writelines(head)   # its users have other ids now: it logs in anew
    return counts


class Sized:
    """An embedded server whose database has so many accounts."""

    def __init__(self, directory, accounts):
        self.accounts = accounts
        directory = os.path.join(directory, f"flat-{accounts}")
        os.makedirs(directory)
        self.host = hosts.Embedded(directory)
        self.tool = None

    def prepare(self):
        self.host.start()
        self._tool().run("--users", 1, "prepare")   # so that there is a password
        self.host.stop()
        began = time.monotonic()
        counts = fill(os.path.join(self.host.server.dir, "bytetalk.db"), self.host.state, self.accounts)
        say(f"  {counts[0]} accounts, {counts[1] // 2} conversations, {counts[2]} messages, made in {time.monotonic() - began:.1f} s")
        self.host.start()
        self._tool().run("--users", ACTIVE, "prepare")
        self.host.stop()

    def _tool(self):
        self.tool = Tool(os.path.dirname(self.host.state), "flat", self.host.options("flat"))
        return self.tool

    def measure(self, warm, seconds):
        """{kind: CPU seconds per million}, and what did not add up."""
        self.host.start()
        try:
            tool, costs, wrong = self._tool(), {}, []
            for kind in LOADS:
                r, = tool.run("--clients", ACTIVE, "--conversations", CONVERSATIONS, "--zipf", 0.01, "--window", 1, "--kind", kind,
                              "--warm", warm, "--seconds", seconds, "skew")
                costs[kind] = cost(r)
                wrong += [f"{self.accounts} accounts, {kind}: {x}" for x in faults(r)]
            return costs, wrong
        finally:
            self.host.stop()

    def end(self):
        if self.tool:
            self.tool.kill()
        self.host.end()


def measure(directory, sizes, rounds, seconds):
    sized, costs, wrong = [], {}, []
    try:
        for n in sizes:
            sized.append(Sized(directory, n))
            sized[-1].prepare()
        for number in range(rounds):
            for s in sized:
                found, bad = s.measure(min(5, seconds), seconds)
                costs.setdefault(s.accounts, []).append(found)
                wrong += bad
                say(f"  round {number + 1}, {s.accounts} accounts: " + ", ".join(f"{k} {v:.2f} s/M" for k, v in found.items()))
    finally:
        for s in sized:
            s.end()
    return costs, wrong


def text_of(costs, wrong, rounds, seconds):
    sizes, rows = sorted(costs), []
    for kind in LOADS:
        medians = [statistics.median(c[kind] for c in costs[n]) for n in sizes]
        ratio = max(medians[1:]) / medians[0]
        rows.append([kind, *(f"{m:.2f}" for m in medians), f"{ratio:.2f} ×", "reached" if ratio <= LIMIT else "**missed**"])
    lines = [f"CPU seconds of the server per million, {moment()}, medians of {rounds} rounds of {seconds:g} s.", "",
             *table(["", *(f"{n:,} accounts" for n in sizes), "the dearest to the smallest", f"≤ {LIMIT} ×"], rows), ""]
    return "\n".join(lines + [f"- did not add up: {x}" for x in wrong])


def run(args, directory):
    rounds, seconds = args.rounds or 3, args.seconds or 10
    sizes = [n for n in SIZES if n <= (args.accounts or SIZES[-1])]
    return text_of(*measure(directory, sizes, rounds, seconds), rounds, seconds)
