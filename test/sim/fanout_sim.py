#!/usr/bin/python3
"""A group's message: how many proxies are pushed to, how many bytes that is, and what it costs, by members online and proxies.

Members are dealt to proxies at random, as clients choose them; costs are those of the inputs. A push is one frame for each proxy
that holds a receiver, with 8 bytes for each receiver there; each receiver's connection then gets a frame of its own.
"""
import random
import sys

import inputs
from table import short, size, span, table

PROXIES, ONLINE, SEED = (2, 4, 30, 300), (5, 50, 500, 5000, 20000, 100000), 3
PUSH_BYTES, USER_BYTES, EVENT_BYTES = 100, 8, 110   # a node's frame with TCP; a receiver in it; a client's frame and event


def pushes(online, proxies, rng):
    """Proxies that hold at least one of them, and what the fullest holds."""
    held = [0] * proxies
    for _ in range(online):
        held[rng.randrange(proxies)] += 1
    return sum(1 for n in held if n), max(held)


class Message:
    def __init__(self, i, online, proxies, rng):
        self.pushes, self.fullest = pushes(online, proxies, rng)
        self.node_bytes = self.pushes * (PUSH_BYTES + i["body"]) + online * USER_BYTES
        self.client_bytes = online * (EVENT_BYTES + i["body"])
        self.chat_s = (i["chat_message"] + online * i["chat_receiver"] + self.pushes * i["chat_signal"]) / 1e6
        self.proxy_s = online * i["proxy_push"] / 1e6
        self.last_s = self.chat_s + self.fullest * i["proxy_push"] / 1e6   # until the fullest proxy has served its last


def push_rows(i):
    rng = random.Random(SEED)
    rows = []
    for online in ONLINE:
        ms = [Message(i, online, p, rng) for p in PROXIES]
        rows.append([f"{online:,}", *(f"{m.pushes}, {size(m.node_bytes)}" for m in ms), size(ms[0].client_bytes)])
    return rows


def cost_rows(i):
    rng = random.Random(SEED)
    rows = []
    for online in ONLINE:
        ms = [Message(i, online, p, rng) for p in PROXIES]
        rows.append([f"{online:,}", span(ms[0].chat_s), span(ms[0].proxy_s), *(span(m.last_s) for m in ms), short(i["use"] / ms[0].chat_s)])
    return rows


def main():
    i = {r.name: r.value for r in inputs.inputs().values()}
    heads = [f"{p} proxies" for p in PROXIES]
    print("A message to a group: pushes to proxies, and bytes between nodes:\n")
    print(table(["members online", *heads, "bytes to clients"], push_rows(i)))
    print(f"\nWhat it costs, and when the fullest proxy has served the last of them; a node may be busy {100 * i['use']:g} % of its time:\n")
    print(table(["members online", "chat node", "proxies, in all", *(f"last, {h}" for h in heads), "messages/s that the owner can push"], cost_rows(i)))


if __name__ == "__main__":
    sys.exit(main())
