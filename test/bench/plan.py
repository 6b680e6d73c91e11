"""What `make bench` runs, and what is promised about it."""
from collections import namedtuple

# processors "all": the server may use every processor, as users would let it; else it has one.
Step = namedtuple("Step", "id workload options hosts seconds processors what")

EVERY, OURS = ("router", "embedded", "cluster"), ("embedded", "cluster")

STEPS = [
    Step("I", "idle", (), EVERY, None, "one", "memory of an idle connection, logged in; of a server that was just started"),
    Step("A", "pairs", (), EVERY, 1, "one", "200 clients in pairs, 32 messages of each under way"),
    Step("A2", "pairs", ("--kind", "messages"), OURS, 1, "all", "the same messages, the server on all processors"),
    Step("B", "single", (), EVERY, 1, "one", "1000 clients in pairs, 1 message of each under way"),
    Step("F", "group", (), EVERY, 1, "one", "a group of 500, 8 messages under way, counted by deliveries"),
    Step("L", "login", (), EVERY, 1, "one", "connect, log in by token, leave; 64 under way"),
    Step("paced", "paced", (), EVERY, 1.5, "one", "5000 messages a second, whatever the answers"),
    Step("store", "store", (), OURS, 1, "all", "100 clients write to 100 who are away"),
    Step("drain", "drain", (), OURS, 0.75, "all", "those fetch what was stored"),
    Step("skew", "skew", (), EVERY, 1, "one", "1000 conversations of 200 clients, Zipf with s = 1"),
    Step("sizes", "pairs", ("--size", "64:80,1024:18,16384:2"), EVERY, 1, "one", "A with bodies of 64 (80 %), 1024 (18 %) and 16384 bytes"),
    Step("F5000", "group", ("--clients", "5000"), EVERY, 1, "one", "a group of 5000, all connected"),
    # The group has 501 members for the load tool; the others are written into the database (add_members in hosts.py).
    Step("F100k", "group", ("--members", "501"), OURS, 1, "one", "a group of 100,000, of whom 500 are connected"),
]
SEEDED, SEEDED_TO = 501, 100000
IDS = [s.id for s in STEPS]

# A target: in which host, what is looked at, what it may be, and in words. `m(host, step, kind)` gives medians of the
# figures of that, or None when it was not run.
Target = namedtuple("Target", "host what limit_text judge")


def _ratio(host, step, kind, limit):
    def judge(m):
        ours, router = m(host, step, kind), m("router", step, "messages")
        if not ours or not router or not router["cost"]:
            return None
        ratio = ours["cost"] / router["cost"]
        return f"{ours['cost']:.3g} s = {ratio:.2f} ×", ratio <= limit
    return Target(host, f"{step}, {kind}", f"≤ {limit:g} × router", judge)


def _cost(host, step, kind, limit, text=None):
    def judge(m):
        ours = m(host, step, kind)
        return ours and (f"{ours['cost']:.3g} s", ours["cost"] <= limit)
    return Target(host, text or f"{step}, {kind}", f"≤ {limit:g} s per million", judge)


def _rate(host, step, kind, limit, text):
    def judge(m):
        ours = m(host, step, kind)
        return ours and (f"{ours['rate'] / 1000:.1f} k/s", ours["rate"] >= limit)
    return Target(host, text, f"≥ {limit / 1000:g} k/s", judge)


def _idle(host):
    def judge(m):
        ours = m(host, "I", "messages")
        return ours and (f"{ours['bytes_each']:.0f} bytes", 0 < ours["bytes_each"] <= 700)
    return Target(host, "I", "≤ 700 bytes", judge)


def _login(host, limit):
    t = _ratio(host, "L", "messages", limit)
    return t._replace(what="L, resume by token")


def _paced_signals(host, limit):
    def judge(m):
        ours, router = m(host, "paced", "signals"), m("router", "paced", "messages")
        if not ours or not router:
            return None
        return f"{ours['p99_ms']:.2f} ms = {ours['p99_ms'] / router['p99_ms']:.2f} ×", ours["p99_ms"] <= limit * router["p99_ms"]
    return Target(host, "paced, signals, p99", f"≤ {limit:g} × router's", judge)


def _paced_messages(host, limit, syncs):
    def judge(m):
        ours, router, disk = m(host, "paced", "messages"), m("router", "paced", "messages"), m("disk", "disk", "messages")
        if not ours or not router or not disk:
            return None
        most = limit * router["p99_ms"] + syncs * disk["p99_ms"]
        return f"{ours['p99_ms']:.2f} ms, allowed {most:.2f}", ours["p99_ms"] <= most
    return Target(host, "paced, messages, p99", f"≤ {limit:g} × router's + {syncs} × the disk's", judge)


def _same_delivery(host, kind):
    """A delivery to many connections costs the router more too (caches, TCP): what counts is the ratio to it."""
    def judge(m):
        small, large, router, router_large = m(host, "F", kind), m(host, "F5000", kind), m("router", "F", "messages"), m("router", "F5000", "messages")
        if not small or not large or not router or not router_large:
            return None
        before, after = small["cost"] / router["cost"], large["cost"] / router_large["cost"]
        return f"{large['cost']:.3g} s = {after:.2f} × router, at 500 {small['cost']:.3g} s = {before:.2f} ×", after <= 1.1 * before
    return Target(host, f"group of 5000, {kind}", "the ratio as at 500 (≤ 1.1 ×)", judge)


def _absent(host, kind):
    """What a message costs more with 99,500 who are away, for each of them, as a share of a delivery."""
    def judge(m):
        few, many = m(host, "F", kind), m(host, "F100k", kind)
        if not few or not many:
            return None
        share = max(0, many["cost"] - few["cost"]) * 499 / 99500 / few["cost"]
        return f"{share * 100:.2f} %", share <= 0.01
    return Target(host, f"100,000 members, {kind}: an absent one", "≤ 1 % of a delivery", judge)


def _groups(host):
    return [judge(host, kind) for judge in (_same_delivery, _absent) for kind in ("signals", "messages")]


TARGETS = [
    _ratio("embedded", "A", "signals", 2.5),
    _cost("embedded", "A", "messages", 12, "A, messages stored and synced"),
    _rate("embedded", "A2", "messages", 60000, "A, messages, all processors"),
    _ratio("embedded", "B", "signals", 1.3),
    _ratio("embedded", "B", "messages", 3.5),
    _ratio("embedded", "F", "signals", 1.4),
    _ratio("embedded", "F", "messages", 1.4),
    _idle("embedded"),
    _login("embedded", 2),
    _paced_signals("embedded", 2),
    _paced_messages("embedded", 2, 2),
    _rate("embedded", "store", "messages", 60000, "offline store"),
    _rate("embedded", "drain", "messages", 150000, "offline drain"),
    *_groups("embedded"),
    _ratio("cluster", "A", "signals", 8),
    _cost("cluster", "A", "messages", 10, "A, messages stored and synced"),
    _ratio("cluster", "B", "signals", 4),
    _ratio("cluster", "B", "messages", 6),
    _ratio("cluster", "F", "signals", 2),
    _ratio("cluster", "F", "messages", 2),
    _idle("cluster")._replace(what="I, one proxy"),
    _login("cluster", 4),
    _paced_signals("cluster", 4),
    _paced_messages("cluster", 4, 3),
    _cost("cluster", "store", "messages", 25, "offline store"),
    _cost("cluster", "drain", "messages", 10, "offline drain"),
    *_groups("cluster"),
]
