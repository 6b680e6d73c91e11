"""Faults of the network: cuts between hosts, expired sessions, two owners of one conversation, slow links."""
from faults import kind
from town import UNITS


def heal(pairs):
    for a, b in pairs:
        a.heal(b)


def cut(pairs):
    for a, b in pairs:
        a.cut(b)


def hold_cut(hit, pairs, nodes, seconds):
    hit.strike(lambda: cut(pairs), nodes)
    try:
        hit.hold(seconds)
    finally:
        heal(pairs)
    hit.mended()


@kind("cut", count=6, seconds=15, domain="node", needs={"hosts"})
def cut_between(hit):
    """Two nodes, or a chat node and a store; a node and everybody."""
    town, rng = hit.town, hit.rng
    what = hit.turn % 6
    if what == 0:
        a, b = rng.choice(town.of("proxy")), rng.choice(town.of("chat"))
        pairs, nodes = [(a.host, b.host)], [b]
    elif what == 1:
        a = rng.choice(town.of("chat"))
        pairs, nodes = [(a.host, p.place) for p in town.stores.mariadbs], [a]
        b = "mariadb"
    elif what == 2:
        a, b = rng.choice(town.of("proxy")), rng.choice(town.of(rng.choice(["user", "group", "offline"])))
        pairs, nodes = [(a.host, b.host)], [a]
    elif what == 3:
        a = rng.choice(town.of("chat"))
        pairs, nodes = [(a.host, p.place) for p in (town.stores.redis, town.stores.redis_replica)], [a]
        b = "redis"
    elif what == 4:
        a = rng.choice(town.of("chat"))
        pairs, nodes = [(a.host, h) for h in town.net.hosts if h is not a.host], [a]
        b = "everybody"
    else:
        a, b = town.of("group")
        b = rng.choice(town.of("chat", b.unit))
        pairs, nodes = [(a.host, b.host)], [a]
    if a.unit == UNITS[1] and b in ("mariadb", "redis"):
        pairs = [(a.host, town.relay_host)]   # by which its road goes
    hit.at(a, **{"from": str(b)})
    hold_cut(hit, pairs, nodes, rng.uniform(3, 8))


@kind("zookeeper_expired", count=6, seconds=16, domain="zookeeper", needs={"hosts"})
def zookeeper_expired(hit):
    """A node that ZooKeeper gives up, while it serves on."""
    node = hit.node(["chat", "proxy", "chat", "group", "user"][hit.turn % 5])
    pairs = [(node.host, m.place) for m in hit.town.stores.zookeeper.members]
    hold_cut(hit, pairs, [node], hit.rng.uniform(6, 9))


@kind("double_owner", seconds=16, domain="node", needs={"hosts"})
def double_owner(hit):
    """A chat node that one unit's callers don't reach, and the others do: the former take the ring's next, so two nodes
    believe that they own the same conversations."""
    node = hit.node("chat")
    unit = UNITS[hit.turn % 2]
    hit.detail["cut_from"] = unit
    callers = [n for n in hit.town.of(unit=unit) if n.role != "chat"]
    pairs = [(n.host, node.host) for n in callers]
    if node is hit.town.relayed_chat:
        pairs += [(n.host, hit.town.relay_host) for n in callers if unit == UNITS[0]]
    hold_cut(hit, pairs, [node], hit.rng.uniform(5, 8))


@kind("delay", seconds=15, domain="relay", is_quick=True)
def delay(hit):
    """A road of 20 to 150 ms, half as much jitter."""
    name = hit.at(["chat", "redis", "mariadb", "proxy"][hit.turn % 4], road="relay")
    ms = hit.rng.randint(20, 150)
    hit.detail.update(delay_ms=ms, jitter_ms=ms // 2)
    hit.strike(lambda: hit.town.relay.slow(name, delay_ms=ms, jitter_ms=ms // 2))
    try:
        hit.hold(hit.rng.uniform(4, 8) if not hit.town.is_short else 2)
    finally:
        hit.town.relay.slow(name)
    hit.mended()


SLOWED = ["redis", "chat", "proxy", "mariadb"]


# The database over too narrow a road is as good as away.
@kind("slow", seconds=15, domain=["mariadb" if road == "mariadb" else "relay" for road in SLOWED])
def slow(hit):
    """A road for little more than what goes there, or less."""
    name = hit.at(SLOWED[hit.turn % 4], road="relay")
    rate = hit.rng.choice([32, 64, 128]) * 1024
    hit.detail["bytes_per_s"] = rate
    hit.strike(lambda: hit.town.relay.slow(name, bytes_per_s=rate))
    try:
        hit.hold(hit.rng.uniform(4, 8))
    finally:
        hit.town.relay.slow(name)
    hit.mended()
