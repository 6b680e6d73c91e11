"""`make soak`: an hour of load, and whether a message costs as much at the end as at the beginning, and memory is what it was.

The hour is cut into segments, each of messages at an even pace, then a group's signals, then logins; then everybody leaves, and what
the processes hold is looked at. The first segment is for caches to fill. A tenth of the others at the beginning is compared with a
tenth at the end.
"""
import json
import os
import statistics
import time

import hosts
from parts import Tool, cost, faults, memory_of, moment, say, table

WHAT = "an hour of load: cost and memory at the beginning and at the end"
HOSTS = ("embedded", "cluster")
SECONDS, SEGMENT_S, SEGMENTS_MIN = 3600, 60, 5
RATE = 3000                      # messages a second: an hour of them is 3 GB
LIMIT = 1.2
# what, options, its share of a segment
LOADS = [
    ("a message, paced", ("paced", "--kind", "messages", "--rate", RATE, "--warm", 1), 0.7),
    ("a delivery in a group, signals", ("group", "--kind", "signals", "--clients", 100, "--warm", 0.5), 0.1),
    ("a login by token", ("login", "--warm", 0.5), 0.1),
]


def memory_at_rest(host):
    """Once what the last clients set going is done."""
    before, end = None, time.monotonic() + 10
    while time.monotonic() < end:
        now = sum(memory_of(pid) for pid in host.pids())
        if now == before:
            break
        before = now
        time.sleep(0.5)
    return now


def segment(host, tool, seconds):
    """What one costs: {load: CPU seconds per million}, memory in bytes, what did not add up."""
    costs, wrong = {}, []
    for name, (workload, *options), share in LOADS:
        r, = tool.run(*map(str, options), "--seconds", f"{seconds * share:.2f}", workload)
        costs[name] = cost(r)
        wrong += [f"{name}: {x}" for x in faults(r)]
    return {"costs": costs, "memory": memory_at_rest(host), "wrong": wrong}


def measure(host, directory, seconds):
    count = max(SEGMENTS_MIN, round(seconds / SEGMENT_S))
    tool, segments = Tool(directory, f"soak-{host.name}", host.options("soak")), []
    try:
        tool.run("prepare")
        for number in range(count):
            segments.append(segment(host, tool, seconds / count))
            now = segments[-1]
            say(f"  {host.name}, segment {number + 1} of {count}: " + ", ".join(f"{k} {v:.2f} s/M" for k, v in now["costs"].items())
                + f", {now['memory'] / 1e6:.1f} MB" + "".join(f"; {x}" for x in now["wrong"]))
    finally:
        tool.kill()
    return segments


def ends(segments, of):
    """Medians of a figure at the beginning and at the end."""
    counted = segments[1:]
    some = max(1, len(counted) // 10)
    return [statistics.median(of(s) for s in part) for part in (counted[:some], counted[-some:])]


def text_of(name, segments, seconds):
    rows, values = [], [(f"{load}, s per million", lambda s, load=load: s["costs"][load]) for load, _, _ in LOADS]
    for what, of in [*values, ("memory without clients, MB", lambda s: s["memory"] / 1e6)]:
        first, last = ends(segments, of)
        every = [of(s) for s in segments[1:]]
        rows.append([what, f"{first:.2f}", f"{last:.2f}", f"{last / first:.2f} ×", f"{min(every):.2f} – {max(every):.2f}",
                     "reached" if last <= LIMIT * first else "**missed**"])
    wrong = [f"segment {i + 1}, {x}" for i, s in enumerate(segments) for x in s["wrong"]]
    title = {"embedded": "One process, SQLite", "cluster": "Cluster"}[name]
    lines = [f"{title}: {seconds / 60:.0f} minutes in {len(segments)} segments, {moment()}.", "",
             *table(["", "at the beginning", "at the end", "", "least – most", f"≤ {LIMIT} ×"], rows), ""]
    return "\n".join(lines + [f"- did not add up: {x}" for x in wrong])


def run(args, directory):
    seconds, texts = args.seconds or SECONDS, []
    for name in args.hosts:
        host = hosts.KINDS[name](directory)
        try:
            host.start()
            segments = measure(host, directory, seconds)
        finally:
            host.end()
        with open(os.path.join(directory, f"soak-{name}.json"), "w", encoding="utf-8") as f:
            json.dump(segments, f, indent=1)
        texts.append(text_of(name, segments, seconds))
    return "\n".join(texts)
