"""More messages than the cluster can take: it refuses the newest, bounds its memory, goes on with what it can, and recovers by
itself. make chaos-overload runs it for a minute."""
import os
import re

import pytest

from client import SLOW
from cluster import Cluster
from storm import Storm

SECONDS = int(os.environ.get("OVERLOAD_S", "10"))
USERS = int(os.environ.get("OVERLOAD_USERS", "1000"))
TIMEOUT_MS = 5000
WAIT_S = 2               # [chat] wait_ms, and as much for the road and for who offers the load
WARM_S, CAPACITY_S, AFTER_S, BACK_S, TIMES = 4, 5, 6, 5, 3
# What is acknowledged meanwhile, of the capacity: 0.6 and more is seen where nothing else runs, but who offers three times as much, and
# whoever else is there, takes the processors too. What depends less on that: the processor time that a refusal costs the nodes, of what
# a message costs that is taken; 0.3 is seen, more where small batches make it noisy.
GOODPUT, REFUSAL = 0.3, 1
PROXIES, CHATS = 2, 2
MB = 1 << 20
# What bounds a node's memory, smaller than it usually is, so that a queue without an end would show.
LIMITS = {"chat.queue_bytes": 8 * MB, "chat.batch_bytes": 4 * MB, "rpc.queue_bytes": 16 * MB, "proxy.out_high_bytes": 64 << 10,
          "proxy.max_forwards": 20000}
FORWARD_BYTES = 512      # a call under way at a proxy, its message apart
SPARE_MB = 16 if SLOW == 1 else 400   # what the allocator keeps (the sanitizers' keeps what was freed), conversations, connections


def most_mb(role):
    """What a node may grow by when every queue is full."""
    peers = LIMITS["rpc.queue_bytes"] * {"chat": PROXIES, "proxy": CHATS}.get(role, 1)
    own = {"chat": LIMITS["chat.queue_bytes"] + LIMITS["chat.batch_bytes"],
           "proxy": LIMITS["proxy.out_high_bytes"] * USERS // PROXIES + LIMITS["proxy.max_forwards"] * FORWARD_BYTES}.get(role, 0)
    return (peers + own) / MB + SPARE_MB


def peak_mb(pid):
    """The most memory that it ever held."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1)) / 1024


def cpu_s(nodes):
    """What they all have used so far."""
    total = 0
    for n in nodes:
        with open(f"/proc/{n.pid}/stat", encoding="ascii") as f:
            total += sum(map(int, f.read().rsplit(")", 1)[1].split()[11:13]))
    return total / os.sysconf("SC_CLK_TCK")


def show(events):
    for e in events:
        if e["event"] in ("second", "phase"):
            print("  " + " ".join(f"{k}={e[k]}" for k in e if k != "event"), flush=True)


def part(share, of):
    return f"{share / max(of, 1):.0%}"


@pytest.mark.slow
def test_three_times_what_it_can_take(backends, tmp_path, figure):
    cluster = Cluster(tmp_path, backends, LIMITS, units=1, counts={"proxy": PROXIES, "chat": CHATS}, has_nginx=False).start()

    def phase(command, seconds):
        began = cpu_s(nodes)
        s.say(f"{command} {seconds}")
        end = s.wait("phase", seconds + 60)
        end["cpu_s"] = cpu_s(nodes) - began
        show(s.events)
        return end, [e for e in s.events if e["event"] == "second"]

    try:
        s = Storm("-s", ",".join(cluster.proxies), "-u", USERS, "-t", TIMEOUT_MS, "-f", TIMES, "flood")
        s.wait("ready", 120)
        nodes = cluster.nodes()
        phase("closed", WARM_S)
        alone, _ = phase("closed", CAPACITY_S)
        capacity = alone["ok_s"]
        before = {n.name: peak_mb(n.pid) for n in nodes}
        during, seconds = phase("open", SECONDS)
        after, recovery = phase("closed", AFTER_S)
        s.end()
        assert {n.pid for n in nodes} == {m.pid for m in cluster.nodes()}, "a node has ended"
        most = {n.name: peak_mb(n.pid) for n in nodes}
        cost_us = alone["cpu_s"] / alone["ok"] * 1e6
        refusal_us = (during["cpu_s"] * 1e6 - during["ok"] * cost_us) / max(during["exhausted"], 1)
        print(f"capacity {capacity:.0f}/s; offered {during['sent'] / SECONDS:.0f}/s for {SECONDS} s: {during['ok_s']:.0f}/s acknowledged "
              f"({part(during['ok_s'], capacity)}), {part(during['exhausted'], during['sent'])} refused, {during['other']} otherwise, "
              f"slowest answer {during['max_ms']:.0f} ms; a message costs the nodes {cost_us:.1f} us, a refusal {refusal_us:.1f} us "
              f"({part(refusal_us, cost_us)}); afterwards {[round(e['ok_s']) for e in recovery]}")
        print("memory: " + ", ".join(f"{k} {before[k]:.0f} -> {v:.0f} MB" for k, v in most.items()))

        # It was an overload.
        assert during["sent"] >= 2 * capacity * SECONDS and during["exhausted"] + during["unavailable"] >= during["sent"] / 4, (capacity, during)
        # Who is refused hears it in time, and by the right word; nobody waits for ever.
        assert during["unanswered"] == after["unanswered"] == 0 and during["lost"] == after["lost"] == 0, (during, after)
        assert during["other"] <= during["sent"] / 100, during
        assert 0 < during["refused_p99_ms"] <= TIMEOUT_MS * SLOW, during
        figure("slowest refusal, overloaded", during["refused_max_ms"] / 1000, WAIT_S)
        figure("slowest answer beyond its deadline, overloaded", max(0, during["max_ms"] - TIMEOUT_MS) / 1000, 1)
        # It goes on with what it can.
        assert during["ok_s"] >= capacity * GOODPUT, during
        assert refusal_us <= cost_us * REFUSAL, (cost_us, refusal_us)
        # Memory: what the queues may hold.
        for n in nodes:
            assert most[n.name] <= before[n.name] + most_mb(n.role), (n.name, before[n.name], most[n.name], most_mb(n.role))
        # And is itself again at once, and stays it.
        back = next((i for i, e in enumerate(recovery) if e["ok_s"] >= 0.8 * capacity), None)
        assert back is not None, f"throughput is not back after {AFTER_S} s: {[e['ok_s'] for e in recovery]}, capacity {capacity:.0f}"
        figure("full throughput after an overload", recovery[back]["at"], BACK_S)
        rest = [e["ok_s"] for e in recovery[back:]]
        assert sum(rest) / len(rest) >= 0.5 * capacity, (capacity, rest)
        cluster.check_log()
        assert cluster.stop() == 0
    finally:
        cluster._kill_all()
