"""The page's table of whole chaos runs, from what they left: python3 test/chaos/table.py [--page docs/GUARANTEES.md] build/chaos/DIRECTORY..."""
import argparse
import json
import os
import re
import statistics
import sys

MARKS = re.compile(r"(<!-- chaos: .*?-->\n)(.*?)(<!-- end of chaos -->)", re.S)


def load(directory):
    """What one run left; only whole runs that kept every promise may stand in the table."""
    found = {}
    for name in ("report", "check"):
        path = os.path.join(directory, f"{name}.json")
        try:
            with open(path, encoding="utf-8") as f:
                found[name] = json.load(f)
        except (OSError, ValueError) as err:
            raise SystemExit(f"table.py: {path}: {err}; is this the directory of a run that ended?") from err
    plan, result = found["report"]["plan"], found["report"]["result"]
    if result != "OK" or plan["short"] or plan["only"] or plan["rounds"] < 5 or plan["time_s"] < 1800 or plan["grace_s"] > 5 or plan["sanitized"]:
        raise SystemExit(f"table.py: {directory} ended as {result} after {plan['time_s']} s: only whole runs that kept every promise belong here")
    return found


def thousands(n):
    return f"{n:,}"


def runs_table(runs):
    out = ["| seed | commit | messages acknowledged | a second, median | handed over to devices | faults | violations | slowest send of a rolling restart |",
           "|---|---|---|---|---|---|---|---|"]
    for r in runs:
        plan, check = r["report"]["plan"], r["check"]
        rolling = [f["detail"] for f in r["report"]["faults"] if f["kind"] == "rolling" and "skipped" not in f]
        slowest = f"{max(d['slowest_probe_ms'] for d in rolling) / 1000:.2f} s" if rolling else "–"
        out.append(f"| {plan['seed']} | {plan['commit'][:7]} | {thousands(check['acked'])} | {check['rate']:.0f} | {thousands(check['handed'])} | "
                   f"{len(r['report']['faults'])} | {sum(check['violations'].values())} | "
                   f"{slowest} |")
    return out


def kind_row(name, faults):
    skipped = [f for f in faults if "skipped" in f]
    if skipped:
        return f"| `{name}` | {len(faults)} | skipped: {skipped[0]['skipped']} | | | | |"
    lasted = statistics.median((f["end_us"] - f["begin_us"]) / 1e6 for f in faults)
    back = [(f["recovered_us"] - f["begin_us"]) / 1e6 for f in faults]
    others = [f["others"] for f in faults if (f.get("others") or {}).get("talks")]
    seen = f"{sum(o['failed'] for o in others)} of {sum(o['talks'] for o in others)}, {max(o['slowest_ms'] for o in others) / 1000:.2f} s" if others else ""
    return (f"| `{name}` | {len(faults)} | {sum(f['in_flight'] > 0 for f in faults)} | {lasted:.1f} | {statistics.median(back):.2f} | {max(back):.2f} | {seen} |")


def kinds_table(runs):
    faults = [f for r in runs for f in r["report"]["faults"]]
    out = ["| fault | times | with calls under way | it lasted, s | sends back after, s: median | worst | other conversations: disturbed, slowest send |", "|---|---|---|---|---|---|---|"]
    return out + [kind_row(name, [f for f in faults if f["kind"] == name]) for name in sorted({f["kind"] for f in faults})]


def tables(runs):
    runs = sorted(runs, key=lambda r: r["report"]["plan"]["seed"])
    machines = sorted({r["report"]["plan"]["machine"] for r in runs})
    return "\n".join([*runs_table(runs), "", f"On {'; '.join(machines)}. All runs together, by the kind of fault:", "", *kinds_table(runs)])


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--page", help="write it there, between the marks")
    p.add_argument("runs", nargs="+", metavar="DIRECTORY")
    args = p.parse_args()
    text = tables([load(d) for d in args.runs])
    print(text)
    if args.page:
        with open(args.page, encoding="utf-8") as f:
            page = f.read()
        if not MARKS.search(page):
            raise SystemExit(f"table.py: {args.page} has no part chaos")
        with open(args.page, "w", encoding="utf-8") as f:
            f.write(MARKS.sub(lambda m: f"{m.group(1)}\n{text}\n\n{m.group(3)}", page))


if __name__ == "__main__":
    sys.exit(main())
