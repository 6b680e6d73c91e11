"""What the capacity model reckons with: who uses it and how, what things cost, how full a machine may be.

Costs come from measured.json (measure.py: by role; presence_sim.py: Redis), the highest rate that one database was seen to
write from the figures of `make bench` when there are any. Times are CPU microseconds.
"""
import json
import os
from collections import namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
MEASURED = os.path.join(HERE, "measured.json")
BENCH = os.path.join(ROOT, "build", "bench", "results.json")

Input = namedtuple("Input", "name value unit whence")

# Written where make bench has not been run to its end here: its run of 2026-11-22.
BENCH_PRIMARY, BENCH_PROXY_BYTES = 95800, 604

PROFILE = [
    ("online", 0.1, "of all users", "connected at the peak"),
    ("devices", 1.5, "per online user", "connected at once"),
    ("messages_day", 20, "per user and day", "of all users, the idle ones included"),
    ("peak", 3, "×", "the busiest second over the mean one"),
    ("group_share", 0.4, "of messages", "written to groups"),
    ("group_mix", "10:0.70 100:0.25 1000:0.048 10000:0.002", "members:share", "of messages to groups, by the size of the group"),
    ("group_online", 0.2, "of members", "of the groups that are written to, connected"),
    ("large_groups", 1, "per user", "groups of more than 64 members that a user is in, written to at the peak"),
    ("large_size", 150, "members", "of those, on average"),
    ("signals", 1, "per message", "typing and the like, in 1:1 only"),
    ("connects_hour", 2, "per device and hour", "a telephone sleeps and wakes"),
    ("conversations", 30, "per user", "compared at every connect"),
    ("friends_online", 5, "per user", "who are told of his coming and going"),
    ("body", 120, "bytes", "of a message"),
]

PLAN = [
    ("use", 0.4, "of a processor", "how busy a node may be at the peak; the rest is for bursts and for the death of others"),
    ("proxy_connections", 50000, "per proxy", "planned; [proxy] max_connections refuses beyond 100,000"),
    ("cores", 16, "per machine", "for nodes; one thread each"),
    ("db_cores", 32, "per primary", ""),
    ("db_disk", 16, "TB per primary", "what one machine is given for messages"),
    ("batch_ms", 5, "ms", "from a batch's insert to its answer: two syncs and a semi-synchronous replica near by"),
    ("kernel", 4219, "bytes", "of an idle connection in the kernel: `make bench ONLY=idle`"),
    ("wire", 160, "bytes", "a frame's header and fields, TCP and IP, beside its body"),
]


def measured_costs(m, bench):
    """(name, value, unit, whence) of everything that was measured."""
    road, p = m["single"], m["presence"]
    rows, pulled = m["fit"], m["pull"]
    primary = bench.get("primary", BENCH_PRIMARY)
    return [
        ("proxy_message", road["proxy"], "µs", "a message in, its answer and one push out; 1000 clients with one each under way"),
        ("proxy_push", road["proxy"] / 3, "µs", "a push to one more connection: a third of that"),
        ("proxy_connect", m["login"]["proxy"], "µs", "connect, resume, leave"),
        ("proxy_pull", pulled["proxy"], "µs", "a comparison of positions passed on"),
        ("proxy_bytes", bench.get("idle", BENCH_PROXY_BYTES), "bytes", "an idle connection, logged in"),
        ("chat_message", road["chat"], "µs", "a stored message"),
        ("chat_signal", m["signals"]["chat"], "µs", "a signal"),
        ("chat_receiver", m["group"]["chat"], "µs", "each connected receiver of a group's message"),
        ("chat_change", p["chat_change"], "µs", "a user who comes or goes, in a chat node's copy"),
        ("chat_large", p["chat_large"], "µs", "the same, for each large group that the node has open"),
        ("chat_trace", 2.5 * p["sizeof_trace"], "bytes", "an online user in that copy: its table is a fifth to a half full"),
        ("user_resume", m["login"]["user"], "µs", "a resume"),
        ("friend_tell", m["login"]["friend"], "µs", "a coming and a going, no friends"),
        ("offline_pull", pulled["offline"], "µs", f"a comparison of {pulled['conversations']:g} positions"),
        ("db_batch", rows["batch"], "µs", "a batch of messages, whatever its size"),
        ("db_row", rows["row"], "µs", "each message in it"),
        ("db_connect", m["login"]["mariadb"], "µs", "a coming and a going (the friends are read)"),
        ("db_pull", pulled["mariadb"], "µs", f"a comparison of {pulled['conversations']:g} positions"),
        ("db_primary", primary, "messages/s", "the most that one primary was seen to write, on two processors that it shared with everything else"),
        ("db_bytes", m["disk"]["table_bytes"] - m["disk"]["body_bytes"], "bytes", "a row and its keys on disk, beside its body"),
        ("log_bytes", m["disk"]["log_bytes"] - m["disk"]["body_bytes"], "bytes", "the same in the binary log"),
        ("redis_set", p["set"], "µs", "a user who comes or goes, alone"),
        ("redis_set_many", p["set_many"], "µs", "the same, 256 at a time"),
        ("redis_read", p["read"], "µs", "a chat node's look at the log"),
        ("redis_item", p["item"], "µs", "each change that it brings"),
        ("redis_full", p["full"], "µs", "each user, when all is read"),
    ]


def fit_batches(points):
    """Cost = batch / rows + row, by least squares of the relative errors. points: (rows per commit, cost of a row)."""
    sxx = sxy = sx = sy = n = 0
    for rows, cost in points:
        w = 1 / cost ** 2
        x = 1 / rows
        sxx, sxy, sx, sy, n = sxx + w * x * x, sxy + w * x * cost, sx + w * x, sy + w * cost, n + w
    batch = (n * sxy - sx * sy) / (n * sxx - sx * sx)
    return {"batch": batch, "row": max((sy - batch * sx) / n, 0.1)}


def read_bench(path=BENCH):
    """What make bench says: the median rate of stored messages in the cluster, and a proxy's bytes for a connection."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as f:
        runs = json.load(f)["runs"]
    found = {}
    rates = sorted(r["units"] / r["seconds"] for r in runs if (r["host"], r["step"], r["kind"]) == ("cluster", "A", "messages"))
    sizes = sorted(r["bytes_each"] for r in runs if (r["host"], r["step"]) == ("cluster", "I"))
    if rates:
        found["primary"] = rates[len(rates) // 2]
    if sizes:
        found["idle"] = sizes[len(sizes) // 2]
    return found


def rounded(value):
    return value if isinstance(value, str) else float(f"{value:.3g}")


def read_measured(path=MEASURED):
    with open(path, encoding="utf-8") as f:
        m = json.load(f)
    if "fit" not in m:
        m["fit"] = fit_batches([(m[k]["rows_per_commit"], m[k]["mariadb"]) for k in ("pairs", "store", "paced", "paced_more")])
    return m


def inputs(path=MEASURED, bench=BENCH):
    rows = [Input(*r) for r in PROFILE + PLAN] + [Input(*r) for r in measured_costs(read_measured(path), read_bench(bench))]
    return {r.name: r._replace(value=rounded(r.value)) for r in rows}
