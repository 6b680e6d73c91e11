"""What is said of a run in the end, and whether it counts."""
import json
import os
import statistics

LEAST_ACKED = 500        # sends acknowledged per second, as a median
LEAST_OF_A_KIND = 5
NODE_KINDS = ("kill", "freeze", "term", "kill_unit", "freeze_unit", "term_unit")   # sends are back within 5 s of these
BACK_S = 5.0
WANTED_EVENTS = ("resend", "retry", "owner_change", "fence", "stale_rights", "presence_lost")

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

    def judge(self, kinds, is_whole):
        """What keeps this run from counting. A short one, or one of some kinds only, is not asked how much it did."""
        if self.checker == 1:
            self.violations.append("the checker found violations")
        elif self.checker != 0:
            self.doubts.append("the checker could not say" if self.checker == 2 else f"the checker ended with {self.checker}")
        if not is_whole:
            return
        if self.median < LEAST_ACKED:
            self.doubts.append(f"{self.median:.0f} acknowledged sends/s, not {LEAST_ACKED}")
        for name in kinds:
            hits = [f for f in self.faults if f["kind"] == name and "skipped" not in f and "failed" not in f]
            busy = [f for f in hits if f["in_flight"] > 0]
            if len(busy) < LEAST_OF_A_KIND:
                self.doubts.append(f"{name}: {len(hits)} times, {len(busy)} of them with calls in flight")
        for name in WANTED_EVENTS:
            if not self.events.get(name):
                self.doubts.append(f"no {name}")

    @property
    def result(self):
        return VIOLATION if self.violations else INCONCLUSIVE if self.doubts else OK

    def text(self):
        p = self.plan
        out = [f"chaos: seed {p['seed']}, {p['loaded_s']} s of load, commit {p['commit']}, {p['machine']}", ""]
        if self.rates:
            out += [f"acknowledged sends/s: median {self.median:.0f}, seconds without any: {sum(r < 1 for r in self.rates)} of {len(self.rates)}", ""]
        out += [f"{'fault':<18} times  in flight  lasted s      sends back after s: median  worst    slowest probe ms"]
        for name in sorted({f["kind"] for f in self.faults}):
            out.append(self._row(name))
        out += ["", "events: " + ", ".join(f"{k} {v}" for k, v in self.events.items()), ""]
        out += [f"note: {n}" for n in self.notes]
        if self.checker_text:
            out += ["checker:", *("  " + line for line in self.checker_text.splitlines()), ""]
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

    def write(self, directory):
        with open(os.path.join(directory, "report.txt"), "w", encoding="utf-8") as f:
            f.write(self.text())
        with open(os.path.join(directory, "report.json"), "w", encoding="utf-8") as f:
            json.dump({"result": WORDS[self.result], "plan": self.plan, "median_acked": self.median, "events": self.events,
                       "violations": self.violations, "doubts": self.doubts, "notes": self.notes, "checker": self.checker,
                       "faults": self.faults}, f, indent=1)
            f.write("\n")
