"""What is said of a run in the end."""
import json
import os
import statistics

OK, VIOLATION, INCONCLUSIVE = 0, 1, 2
WORDS = {OK: "OK", VIOLATION: "VIOLATION", INCONCLUSIVE: "INCONCLUSIVE"}


class Report:
    def __init__(self, plan):
        self.plan, self.lines, self.faults, self.events = plan, [], [], {}
        self.violations, self.doubts, self.notes = [], [], []
        self.median = 0.0
        self.rates = []
        self.checker = None          # its exit status
        self.checker_text = ""

    def judge(self):
        """By what the checker says: whether the run counts, too."""
        if self.checker == 1:
            self.violations.append("the checker has found some, see there")
        elif self.checker != 0:
            self.doubts.append("see what the checker says" if self.checker == 2 else f"the checker ended with {self.checker}")

    @property
    def result(self):
        return VIOLATION if self.violations else INCONCLUSIVE if self.doubts else OK

    def text(self, checker_lines=None):
        """All of it, or with so many lines of the checker's."""
        p = self.plan
        out = [f"chaos: seed {p['seed']}, {p['loaded_s']} s of load, commit {p['commit']}, {p['machine']}", ""]
        if self.rates:
            out += [f"acknowledged sends/s: median {self.median:.0f}, seconds without any: {sum(r < 1 for r in self.rates)} of {len(self.rates)}", ""]
        out += [f"{'fault':<18} times  in flight  lasted s      sends back after s: median  worst    slowest probe ms"]
        for name in sorted({f["kind"] for f in self.faults}):
            out.append(self._row(name))
        out += self._others()
        out += ["", "events: " + ", ".join(f"{k} {v}" for k, v in self.events.items()), ""]
        out += [f"note: {n}" for n in self.notes]
        if self.checker_text:
            said = self.checker_text.splitlines()
            out += ["checker:", *("  " + line for line in said[:checker_lines])]
            out += [f"  … {len(said) - checker_lines} more lines in report.txt", ""] if checker_lines and len(said) > checker_lines else [""]
        out += [f"VIOLATION: {v}" for v in self.violations] + [f"not enough: {d}" for d in self.doubts]
        out += ["", f"{WORDS[self.result]}"]
        return "\n".join(out) + "\n"

    def _row(self, name):
        rows = [f for f in self.faults if f["kind"] == name]
        skipped = [f for f in rows if "skipped" in f]
        if skipped:
            return f"{name:<18} SKIPPED: {skipped[0]['skipped']}"
        good = [f for f in rows if f.get("recovered_us")]
        text = f"{name:<18} {len(rows):5}"
        if good:
            back = [(f["recovered_us"] - f["begin_us"]) / 1e6 for f in good]
            lasted = [(f["end_us"] - f["begin_us"]) / 1e6 for f in good]
            text += (f"  {min(f['in_flight'] for f in good):4}..{max(f['in_flight'] for f in good):<4} {statistics.median(lasted):7.1f}"
                     f"{'':20}{statistics.median(back):12.2f}  {max(back):6.2f} {max(f['detail']['slowest_probe_ms'] for f in good):13}")
        if len(good) < len(rows):
            text += f"   FAILED {len(rows) - len(good)}"
        return text

    def _others(self):
        """How conversations fared that have nothing to do with the node hit."""
        out = ["", f"{'other conversations':<20} times  watched  failed    slowest send ms: median  worst    longest without one ms: median  worst"]
        kinds = {}
        for f in self.faults:
            if (f.get("others") or {}).get("talks"):
                kinds.setdefault(f["kind"], []).append(f["others"])
        for name, rows in sorted(kinds.items()):
            slowest, longest = [r["slowest_ms"] for r in rows], [r["longest_ms"] for r in rows]
            out.append(f"{name:<20} {len(rows):5}  {sum(r['talks'] for r in rows):7}  {sum(r['failed'] for r in rows):6}"
                       f"{'':20}{statistics.median(slowest):11.0f}  {max(slowest):5}{'':27}{statistics.median(longest):11.0f}  {max(longest):5}")
        return out if kinds else []

    def write(self, directory):
        with open(os.path.join(directory, "report.txt"), "w", encoding="utf-8") as f:
            f.write(self.text())
        with open(os.path.join(directory, "report.json"), "w", encoding="utf-8") as f:
            json.dump({"result": WORDS[self.result], "plan": self.plan, "median_acked": self.median, "events": self.events,
                       "violations": self.violations, "doubts": self.doubts, "notes": self.notes, "checker": self.checker,
                       "faults": self.faults}, f, indent=1)
            f.write("\n")
