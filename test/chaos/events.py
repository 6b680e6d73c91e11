"""What happened inside, counted: from the logs of the nodes, the workload and the probes."""
import glob
import os
import re

from server import FAULTS

# What a node's line tells of. `resend` and `retry` are counted where they are made: by clients.
LINES = {
    "owner_change": r" chat: .*(owner|taken over|took over|no longer owned)",
    "fence": r" chat: .*fence: ",
    "stale_rights": r" chat: .*(rights (have )?changed|stale rights|stale members)",
    "presence_lost": r" chat: .*(presence lost|presence can't be read|presence was made anew|presence is made anew)",
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
                    if form.search(line):
                        found[name] += 1
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
