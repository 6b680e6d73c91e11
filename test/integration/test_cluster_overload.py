"""More messages than the cluster can take: it refuses the newest, bounds its memory, goes on with what it can, and recovers by
itself. make chaos-overload runs it for a minute."""
import os

import pytest

from cluster import Cluster
from storm import Storm

SECONDS = int(os.environ.get("OVERLOAD_S", "10"))
USERS = int(os.environ.get("OVERLOAD_USERS", "1000"))
TIMEOUT_MS = 5000
WARM_S, CAPACITY_S, AFTER_S, BACK_S, TIMES = 4, 5, 6, 5, 3
GOODPUT = 0.25           # aimed at 0.8; the machine is noisy, and the clients take their part of it
MOST_MB = 400            # [chat] queue_bytes, [rpc] queue_bytes, and calls and what clients have not read yet


def resident(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096 / 1e6


def show(events):
    for e in events:
        if e["event"] in ("second", "phase"):
            print("  " + " ".join(f"{k}={e[k]}" for k in e if k != "event"), flush=True)


def part(share, of):
    return f"{share / max(of, 1):.0%}"


@pytest.mark.slow
def test_three_times_what_it_can_take(backends, tmp_path, figure):
    cluster = Cluster(tmp_path, backends, units=1, counts={"proxy": 2, "chat": 2}, has_nginx=False).start()
    most = {}

    def sample():
        for n in nodes:
            most[n.name] = max(most.get(n.name, 0), resident(n.pid))

    def phase(command, seconds):
        s.say(f"{command} {seconds}")
        end = s.wait("phase", seconds + 60, sample)
        show(s.events)
        return end, [e for e in s.events if e["event"] == "second"]

    try:
        s = Storm("-s", ",".join(cluster.proxies), "-u", USERS, "-t", TIMEOUT_MS, "-f", TIMES, "flood")
        s.wait("ready", 120)
        nodes = cluster.nodes()
        phase("closed", WARM_S)
        capacity = phase("closed", CAPACITY_S)[0]["ok_s"]
        before = dict(most)
        during, seconds = phase("open", SECONDS)
        after, recovery = phase("closed", AFTER_S)
        s.end()
        print(f"capacity {capacity:.0f}/s; offered {during['sent'] / SECONDS:.0f}/s for {SECONDS} s: {during['ok_s']:.0f}/s acknowledged "
              f"({part(during['ok_s'], capacity)}), {part(during['exhausted'], during['sent'])} refused, {during['other']} otherwise, "
              f"slowest answer {during['max_ms']:.0f} ms; then {[round(e['ok_s']) for e in recovery]}")
        print("memory: " + ", ".join(f"{k} {before[k]:.0f} -> {v:.0f} MB" for k, v in most.items()))

        # Who is refused hears it in time, and by the right word; nobody waits for ever.
        assert during["exhausted"] + during["unavailable"] > 0, "it was no overload"
        assert during["unanswered"] == after["unanswered"] == 0 and during["lost"] == after["lost"] == 0, (during, after)
        assert during["other"] <= during["sent"] / 100, during
        figure("slowest answer beyond its deadline, overloaded", max(0, during["max_ms"] - TIMEOUT_MS) / 1000, 1)
        # It goes on with what it can: the processors are shared with who offers the load.
        assert during["ok_s"] >= capacity * GOODPUT, during
        # Memory: what the queues may hold.
        for name, size in most.items():
            assert size <= before[name] + MOST_MB, (name, before[name], size)
        # And is itself again at once.
        back_s = next((e["at"] for e in recovery if e["ok_s"] >= 0.8 * capacity), AFTER_S * 10)
        figure("full throughput after an overload", back_s, BACK_S)
        assert all(n.pid in {m.pid for m in cluster.nodes()} for n in nodes), "a node has ended"
        cluster.check_log()
        assert cluster.stop() == 0
    finally:
        cluster._kill_all()
