"""Faults of nodes: killed, frozen, told to end; whole units; a rolling restart; a wrong clock."""
import glob

from faults import kind, together
from servers import NotReady, wait_ready
from town import END_ORDER, UNITS

# Which role the n-th fault of a kind hits: each comes, and what carries the messages comes more often.
TURNS = ["chat", "proxy", "group", "chat", "user", "proxy", "offline", "chat", "friend", "proxy", "chat", "user"]
FAKETIME = sorted(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1"))

CLOCKS = [("an hour ahead", {"FAKETIME": "+3600"}), ("an hour behind", {"FAKETIME": "-3600"}),
          ("running at double speed", {"FAKETIME": "+0 x2"})]


def role_of(hit):
    return TURNS[hit.turn % len(TURNS)]


def back(hit, nodes):
    """Until the supervisor has started them again and they serve."""
    for n in nodes:
        wait_ready(n.is_ready, lambda: f"{n} is back:\n{n.said()[-2000:]}", 40, 0.02)
    hit.mended()


def gone(node):
    if not node.wait_gone():
        raise NotReady(f"{node} does not end at SIGTERM:\n{node.said()[-2000:]}")


@kind("kill", count=12, seconds=9, domain="node", is_quick=True)
def kill(hit):
    node = hit.node(role_of(hit))
    hit.strike_node(node.kill, node, may_freeze=True)
    gone(node)
    back(hit, [node])


@kind("freeze", count=8, seconds=15, domain="node", is_quick=True)
def freeze(hit):
    node = hit.node(role_of(hit))
    seconds = 20.0 if hit.turn % 8 == 3 else hit.rng.uniform(1, 4) if hit.turn % 2 else hit.rng.uniform(4, 12)
    hit.strike_node(node.freeze, node)
    try:
        hit.hold(seconds if not hit.town.is_short else 2.5)
    finally:
        node.thaw()
    hit.mended()


@kind("term", count=10, seconds=12, domain="node", is_quick=True)
def term(hit):
    node = hit.node(role_of(hit))
    hit.strike_node(node.terminate, node)
    gone(node)
    back(hit, [node])


@kind("kill_unit", seconds=10, domain="node", is_quick=True)
def kill_unit(hit):
    unit = hit.at(UNITS[hit.turn % 2])
    nodes = hit.town.of(unit=unit)

    def strike():
        for n in nodes:
            n.kill()
    hit.strike(strike, nodes)
    for n in nodes:
        gone(n)
    back(hit, nodes)


@kind("freeze_unit", seconds=13, domain="node")
def freeze_unit(hit):
    unit = hit.at(UNITS[hit.turn % 2])
    nodes = hit.town.of(unit=unit)

    def strike():
        for n in nodes:
            n.freeze()
    hit.strike(strike, nodes)
    try:
        hit.hold(hit.rng.uniform(2, 8))
    finally:
        for n in nodes:
            n.thaw()
    hit.mended()


@kind("term_unit", seconds=18, domain="node")
def term_unit(hit):
    """As `bytetalk --unit` does it: who calls goes before who is called."""
    unit = hit.at(UNITS[hit.turn % 2])
    nodes = hit.town.of(unit=unit)

    def end_one(n):
        n.terminate()
        gone(n)

    def strike():
        for n in nodes:
            n.is_wanted = False
        try:
            for role in END_ORDER:
                together(*(lambda n=n: end_one(n) for n in hit.town.of(role, unit)))
        finally:
            for n in nodes:
                n.is_wanted = True
    hit.strike(strike, nodes)
    back(hit, nodes)


@kind("rolling", seconds=50, domain="all")
def rolling(hit):
    """Every node once, by SIGTERM; two at a time, of different units and roles, the next when these are chosen again."""
    hit.at("all nodes")
    one, two = hit.town.of(unit=UNITS[0]), hit.town.of(unit=UNITS[1])
    two = two[3:] + two[:3]

    def strike():
        for pair in zip(one, two):
            for n in pair:
                n.terminate()
            for n in pair:
                gone(n)
            for n in pair:
                wait_ready(lambda: n.is_ready() and hit.town.is_registered(n), lambda: f"{n} is back:\n{n.said()[-2000:]}", 40, 0.05)
    for n in one + two:
        n.delay = 0.0
    try:
        hit.strike(strike)
    finally:
        for n in one + two:
            n.delay = None
    hit.mended()


@kind("clock", seconds=18, domain="node", needs={"faketime"})
def clock(hit):
    """A node that is started again with a wrong clock, for a while. Deadlines and leases count on the monotonic clock, which
    stays right; what the time of day is, only the database has to know."""
    node = hit.node(TURNS[hit.turn % len(TURNS)])
    name, env = CLOCKS[hit.turn % len(CLOCKS)]
    hit.detail["clock"] = name
    node.env = {**env, "LD_PRELOAD": FAKETIME[0], "FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_DONT_RESET": "1"}
    try:
        hit.strike(node.terminate, [node])
        gone(node)
        wait_ready(node.is_ready, lambda: f"{node} is back with a wrong clock:\n{node.said()[-2000:]}", 40, 0.02)
        hit.hold(hit.rng.uniform(4, 6))
    finally:
        node.env = {}
    node.terminate()
    gone(node)
    back(hit, [node])
