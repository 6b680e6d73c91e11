"""One short chaos run for planted.py: the workload against a small town, what is done to the town meanwhile, and the verdict of the
checker over the files that both left."""
import json
import os
import platform
import subprocess
import sys
import threading
import time

from client import SLOW
from servers import _die_with_parent, wait_ready

HERE = os.path.dirname(os.path.abspath(__file__))
WORKLOAD = os.path.join(os.environ["BYTETALK_BUILD"], "test", "chaos-workload")
END_S = 90.0 * SLOW     # for QUIET and FINAL


def now_us():
    return time.monotonic_ns() // 1000


class Chat:
    """The workload's process and its lines. What is done to the town goes through `fault`, which notes it."""

    def __init__(self, folder, proxies, options):
        self.folder, self.lines, self.faults = folder, [], []
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.log_path = os.path.join(folder, "logs", "workload.log")
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen([WORKLOAD, "--servers", ",".join(proxies), "--stay", "--dir", folder, *words], stdin=subprocess.PIPE,
                                            stdout=subprocess.PIPE, stderr=log, text=True, preexec_fn=_die_with_parent)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def last(self, key):
        return self.lines[-1][key] if self.lines else None

    def _why(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f"{self.lines[-1:]}\n{f.read()[-2000:]}"

    def wait(self, cond, what, deadline):
        def met():
            assert self.process.poll() is None or cond(), f"the workload has ended:\n{self._why()}"
            return cond()
        wait_ready(met, lambda: f"{what}: {self._why()}", deadline, 0.02)

    def wait_load(self):
        self.wait(lambda: str(self.last("phase")).upper() == "LOAD", "LOAD begins", 30 * SLOW)

    def fault(self, kind, part, action, *args, **kw):
        begin = now_us()
        action(*args, **kw)
        self.faults.append({"kind": kind, "part": part, "begin_us": begin, "end_us": now_us(), "in_flight": self.last("open"), "detail": {}})

    def finish(self, settle_s):
        """QUIET, which lasts so long that what is late is seen to be; FINAL and END."""
        self.process.stdin.write("quiet\n")
        self.process.stdin.flush()
        time.sleep(settle_s)
        self.process.stdin.write("final\nend\n")
        self.process.stdin.close()
        try:
            code = self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the workload does not end: {self._why()}") from None
        self.reader.join()
        assert code == 0, f"the workload has ended with {code}: {self._why()}"

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # ---- what a run leaves

    def _recovered_us(self, end_us):
        """To the second of the workload's lines."""
        after = [line for line in self.lines if line["at_us"] >= end_us]
        for before, line in zip(after, after[1:]):
            if line["acked"] > before["acked"]:
                return line["at_us"]
        return end_us

    def write(self, seed, options, seconds):
        with open(os.path.join(self.folder, "faults.jsonl"), "w", encoding="utf-8") as f:
            for fault in self.faults:
                f.write(json.dumps({**fault, "recovered_us": self._recovered_us(fault["end_us"])}) + "\n")
        plan = {"seed": seed, "length": round(seconds), "size": options, "commit": "", "machine": platform.machine(), "versions": {}, "backfill": 50}
        for name, value in (("plan.json", plan), ("events.json", {})):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
                json.dump(value, f)


def judge(folder):
    """What the checker says: the violations by name, how often each; and in words."""
    done = subprocess.run([sys.executable, os.path.join(HERE, "check.py"), folder, "--short", "--min-rate=0", "--min-per-kind=0"],
                          capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 2), done.stdout + done.stderr
    with open(os.path.join(folder, "check.json"), encoding="utf-8") as f:
        found = json.load(f)["violations"]
    assert (done.returncode == 1) == bool(found), done.stdout
    return found, ", ".join(f"{n} x {check}" for check, n in sorted(found.items()))
