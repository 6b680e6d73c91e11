"""What happened inside, counted: from the logs of the nodes, the workload and the probes."""
import glob
import os
import re

from server import FAULTS

# What a node's line tells of; a number in the line is how often. `resend` and `retry` are counted where messages are sent again: what
# was not answered, or by a perhaps (probes), and what was refused with the promise that nothing was done (probes and raw connections).
LINES = {
    "looked_for": r" chat: conv \d+/\d+: (\d+) repeats looked for in the store",
    "owner_change": r" chat: conv \d+/\d+: another node has written behind seq",
    "fence": r" chat: fence: a batch of \d+ messages .* met rows that stand",
    "stale_rights": r" chat: conv \d+/\d+: its rights have changed unheard",
    "presence_lost": r" chat: presence lost",
    "presence_anew": r" chat: presence was made anew",
    "session_expired": r" the session in ZooKeeper had expired",
    "outcome_unknown": r"outcome unknown, writing it again",
}


def node_logs(directory):
    return sorted(glob.glob(os.path.join(directory, "logs", "unit*.log")))


def count(directory):
    found = {name: 0 for name in LINES}
    forms = {name: re.compile(form) for name, form in LINES.items()}
    for path in node_logs(directory):
        with open(path, encoding="utf-8", errors="replace") as f:
            for line in f:
                for name, form in forms.items():
                    match = form.search(line)
                    if match:
                        found[name] += int(match.group(1)) if form.groups else 1
    return found


def faults_in_logs(directory):
    """What sanitizers and assertions have to say, with its place."""
    found = []
    for path in [*node_logs(directory), *glob.glob(os.path.join(directory, "logs", "workload.log"))]:
        with open(path, encoding="utf-8", errors="replace") as f:
            for number, line in enumerate(f, 1):
                if any(fault in line for fault in FAULTS):
                    found.append(f"{os.path.basename(path)}:{number}: {line.strip()[:300]}")
    return found
