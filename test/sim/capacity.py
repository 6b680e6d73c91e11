#!/usr/bin/python3
"""From costs and habits to machines: the table of docs/CAPACITY.md.

    capacity.py                         the inputs and what follows from them
    capacity.py --set messages_day=60   with another profile; any input can be set, several times
    capacity.py --page docs/CAPACITY.md with the inputs that the page names; --write writes both tables into it

Arithmetic on measured costs: nothing here was run with more users than one machine can carry.
"""
import argparse
import math
import re
import sys

import inputs
from table import parse, percent, short, size, span, table, users

USERS = (10_000, 100_000, 1_000_000, 10_000_000, 100_000_000)
LOG_ENTRIES = 65536   # [presence] log
DAY = 86400


class Load:
    """What so many users do at the peak, each a second."""

    def __init__(self, i, count):
        self.users = count
        self.online = count * i["online"]
        self.connections = self.online * i["devices"]
        self.messages = count * i["messages_day"] / DAY * i["peak"]
        self.signals = self.messages * (1 - i["group_share"]) * i["signals"]
        self.connects = self.connections * i["connects_hour"] / 3600
        # Some have a second device connected, so that one coming or going changes nothing.
        self.changes = 2 * self.connects / i["devices"]
        mix = [tuple(map(float, part.split(":"))) for part in i["group_mix"].split()]
        total = sum(share for _, share in mix)
        self.members_online = sum(members * share for members, share in mix) / total * i["group_online"]
        self.to_groups = self.messages * i["group_share"]
        # In a 1:1: the other one's devices if he is online, and the sender's other ones.
        per_pair = i["devices"] * max(i["online"], i["group_online"]) + i["devices"] - 1
        self.receivers = self.to_groups * self.members_online
        self.deliveries = (self.messages - self.to_groups) * per_pair + self.receivers * i["devices"]
        self.told = self.changes * i["friends_online"] * i["devices"]
        self.large_groups = count * i["large_groups"] / i["large_size"]


class Plan:
    """The nodes, and what the servers they lean on have to do. `i` maps names of inputs to values."""

    def __init__(self, i, count):
        self.i, self.load = i, Load(i, count)
        self.proxies = self._proxies()
        self.chats, self.chat_bend = self._chats()
        self.user = self._nodes(self.load.connects * i["user_resume"])
        self.friend = self._nodes(self.load.connects * i["friend_tell"])
        self.offline = self._nodes(self.load.connects * i["offline_pull"] * self._pull_factor())
        self.group = 2
        self.nodes = self.proxies + self.chats + self.user + self.friend + self.offline + self.group
        self.machines = max(math.ceil(self.nodes / i["cores"]), 2 if count <= 100_000 else 3)
        self._database()
        self._redis()
        self.proxy_memory = self.load.connections / self.proxies * (i["proxy_bytes"] + i["kernel"])
        self.chat_memory = self.load.online * i["chat_trace"]

    def _nodes(self, us):
        """Two at least, so that one may die; and one more than the load needs."""
        return max(2, math.ceil(us / 1e6 / self.i["use"]) + (1 if us / 1e6 > self.i["use"] else 0))

    def _pull_factor(self):
        """Measured with 20 conversations; it grows with them."""
        return self.i["conversations"] / 20

    def _proxies(self):
        i, load = self.i, self.load
        us = (load.messages + load.signals) * i["proxy_message"] + (load.deliveries + load.told) * i["proxy_push"]
        us += load.connects * (i["proxy_connect"] + i["proxy_pull"])
        return max(self._nodes(us), math.ceil(load.connections / i["proxy_connections"]) + 1)

    def _chat_us(self, n):
        """Of one of n chat nodes, a second: its share, and what each does for all."""
        i, load = self.i, self.load
        own = (load.messages * i["chat_message"] + load.signals * i["chat_signal"] + load.receivers * i["chat_receiver"]) / n
        copy = load.changes * i["chat_change"]
        return own, copy, load.changes * load.large_groups / n * i["chat_large"]

    def _chats(self):
        limit, n = self.i["use"] * 1e6, 1
        copy = self.load.changes * self.i["chat_change"]
        if copy >= limit:
            return math.inf, "copy"
        own, _, large = self._chat_us(1)
        n = math.ceil((own + large) / (limit - copy))
        return max(2, n + (1 if n > 1 else 0)), "large groups" if large > own else "messages"

    def _database(self):
        i, load = self.i, self.load
        batches = min(load.messages, self.chats * 1000 / i["batch_ms"])
        us = batches * i["db_batch"] + load.messages * i["db_row"] + load.connects * (i["db_connect"] + i["db_pull"] * self._pull_factor())
        self.db_cores = us / 1e6
        self.db_write = load.messages / (i["db_primary"] * i["use"])
        self.storage_year = self.load.users * i["messages_day"] * 365 * (i["db_bytes"] + i["body"])
        self.log_day = self.load.users * i["messages_day"] * (i["log_bytes"] + i["body"])
        self.db_disk = self.storage_year / (i["db_disk"] * 1e12)
        self.primaries = math.ceil(max(self.db_write, self.db_disk, self.db_cores / (i["db_cores"] * i["use"]), 1))
        self.batches = batches

    def _redis(self):
        i, load = self.i, self.load
        # Each chat node looks once a batch, and those that write little still have to take every change.
        looks = min(self.batches, self.chats * 1000 / i["batch_ms"])
        us = load.changes * i["redis_set"] + looks * i["redis_read"] + self.chats * load.changes * i["redis_item"]
        self.redis = us / 1e6
        self.full_s = load.online * i["redis_full"] / 1e6
        self.log_s = LOG_ENTRIES / load.changes

    def network(self):
        """To and from clients, bits a second."""
        i, load = self.i, self.load
        frames = (load.messages + load.deliveries) * (i["wire"] + i["body"]) + (load.messages + load.signals * 2 + load.told) * i["wire"]
        return 8 * (frames + load.connects * (3000 + 24 * i["conversations"]))


def count_text(n):
    return "–" if n == math.inf else f"{n:,}"


def result_rows(i):
    plans = [Plan(i, n) for n in USERS]
    rows = [
        ("connections", lambda p: short(p.load.connections)),
        ("messages/s", lambda p: short(p.load.messages)),
        ("deliveries/s", lambda p: short(p.load.deliveries)),
        ("connects/s", lambda p: short(p.load.connects)),
        ("presence changes/s", lambda p: short(p.load.changes)),
        ("clients' network, Mbit/s", lambda p: short(p.network() / 1e6)),
        ("proxy nodes", lambda p: count_text(p.proxies)),
        ("chat nodes", lambda p: count_text(p.chats)),
        ("… more of their time goes into", lambda p: p.chat_bend),
        ("user, friend, group, offline nodes", lambda p: f"{p.user}, {p.friend}, {p.group}, {p.offline}"),
        ("machines for nodes", lambda p: count_text(p.machines)),
        ("memory of a proxy's connections", lambda p: size(p.proxy_memory)),
        ("memory of a chat node's presence", lambda p: size(p.chat_memory)),
        ("database: processors", lambda p: short(p.db_cores)),
        ("database: messages/s, of what one primary may", lambda p: percent(p.db_write)),
        ("database: messages of a year", lambda p: size(p.storage_year)),
        ("database: binary log of a day", lambda p: size(p.log_day)),
        ("database: primaries that would be needed", lambda p: count_text(p.primaries)),
        ("Redis: of its one processor", lambda p: percent(p.redis)),
        ("Redis: busy for one full read", lambda p: span(p.full_s)),
        ("Redis: busy when all chat nodes read all", lambda p: span(p.full_s * p.chats)),
        ("a chat node that did not look for so long reads all", lambda p: span(p.log_s)),
    ]
    return [(name, *(cell(p) for p in plans)) for name, cell in rows]


def result_table(i):
    return table(["users", *map(users, USERS)], result_rows(i))


def inputs_table(rows):
    return table(["name", "value", "unit", "what"], [(f"`{r.name}`", r.value if isinstance(r.value, str) else f"{r.value:g}", r.unit, r.whence) for r in rows])


def values_of(rows):
    return {r.name: r.value for r in rows}


# ---- the page

def section(text, name):
    """What stands between the marks of that name on a page."""
    found = re.search(rf"(<!-- {name}: .*?-->\n)(.*?)(<!-- end of {name} -->)", text, re.S)
    if not found:
        raise SystemExit(f"capacity.py: the page has no part {name}")
    return found


def put(text, name, content):
    found = section(text, name)
    return text[:found.start(2)] + "\n" + content + "\n\n" + text[found.end(2):]


def page_inputs(text):
    rows = []
    for name, value, unit, whence in parse(section(text, "inputs").group(2)):
        rows.append(inputs.Input(name.strip("`"), value if ":" in value else float(value), unit, whence))
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--page", help="a page with the inputs: these are used")
    p.add_argument("--write", action="store_true", help="write the result into the page")
    p.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    args = p.parse_args()
    text = ""
    if args.page:
        with open(args.page, encoding="utf-8") as f:
            text = f.read()
    rows = page_inputs(text) if args.page else list(inputs.inputs().values())
    for assignment in args.set:
        name, _, value = assignment.partition("=")
        if name not in {r.name for r in rows}:
            p.error(f"no input {name}")
        rows = [r._replace(value=value if ":" in value else float(value)) if r.name == name else r for r in rows]
    result = result_table(values_of(rows))
    print(inputs_table(rows) + "\n\n" + result)
    if args.page and args.write:
        with open(args.page, "w", encoding="utf-8") as f:
            f.write(put(put(text, "inputs", inputs_table(rows)), "result", result))


if __name__ == "__main__":
    sys.exit(main())
