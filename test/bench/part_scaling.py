"""`make bench ONLY=scaling`: what a message costs with one proxy and one chat node, and with more of them.

Few processors can't show how throughput grows, but CPU per message shows what growing costs: more connections between nodes,
smaller batches. All proxies share one port. Nodes are on the first processor and the load tool on the last, as in the standard set.
"""
import statistics

from hosts import SERVING, pin_to
from parts import OwnCluster, Tool, cost, faults, moment, pid_options, say, table

WHAT = "CPU per message from one proxy and chat node to four of each"
SIZES = [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2), (4, 4)]   # proxies, chat nodes
LOADS = [("A, signals", "pairs", "signals"), ("A, messages", "pairs", "messages"),
         ("B, signals", "single", "signals"), ("B, messages", "single", "messages")]
OURS = ("proxy", "chat", "others")


def groups_of(cluster):
    pids = {"proxy": [], "chat": [], "others": []}
    for n in cluster.nodes():
        pids[n.role if n.role in pids else "others"].append(n.pid)
    b = cluster.backends
    return {**pids, "mariadb": [b.mariadb.process.pid, b.mariadb_replica.process.pid]}


def one(tool, cluster, workload, kind, seconds):
    """CPU seconds per million messages by group, and what did not add up."""
    r, = tool.run("--server", cluster.proxies[0], *pid_options(groups_of(cluster)), "--kind", kind, "--seconds", seconds, workload)
    return {g: cost(r, g) for g in r["cpu_s"]}, faults(r)


def measure(own, directory, sizes, rounds, seconds):
    """{(proxies, chat nodes, load): [costs of each round]}, and what did not add up."""
    found, wrong = {}, []
    for number in range(rounds):
        for proxies, chats in sizes:
            cluster = own.start({"proxy": proxies, "chat": chats}, {"proxy.share_port": "yes"}, popen={"preexec_fn": pin_to([SERVING])})
            tool = Tool(directory, f"scaling-{number}-{proxies}-{chats}", [])
            try:
                for name, workload, kind in LOADS:
                    costs, bad = one(tool, cluster, workload, kind, seconds)
                    found.setdefault((proxies, chats, name), []).append(costs)
                    wrong += [f"{proxies} + {chats}, {name}, round {number + 1}: {x}" for x in bad]
                    say(f"  round {number + 1}: {proxies} proxies, {chats} chat nodes, {name}: "
                        + ", ".join(f"{g} {c:.2f}" for g, c in costs.items()))
            finally:
                tool.kill()
            own.stop()
    return found, wrong


def median(found, key):
    return {g: statistics.median(c[g] for c in found[key]) for g in found[key][0]}


def total(costs):
    return sum(costs[g] for g in OURS)


def text_of(found, wrong, sizes, rounds, seconds):
    rows = []
    for p, c in sizes:
        cells = []
        for name, _, _ in LOADS:
            now, base = median(found, (p, c, name)), median(found, (*sizes[0], name))
            cells.append(f"{total(now):.2f} = {now['proxy']:.2f} + {now['chat']:.2f} ({total(now) / total(base):.2f} ×)")
        rows.append([p, c, *cells])
    lines = [f"CPU seconds per million messages of all our nodes = of the proxies + of the chat nodes (+ a little of others), and how many times that of one of each. "
             f"{moment()}, medians of {rounds} rounds of {seconds:g} s.", "",
             *table(["proxies", "chat nodes", *(name for name, _, _ in LOADS)], rows)]
    return "\n".join(lines + ([""] if wrong else []) + [f"- did not add up: {x}" for x in wrong])


def run(args, directory):
    rounds, seconds = args.rounds or 3, args.seconds or 3
    with OwnCluster(directory) as own:
        found, wrong = measure(own, directory, SIZES, rounds, seconds)
    return text_of(found, wrong, SIZES, rounds, seconds)
