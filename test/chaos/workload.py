"""The workload program as the orchestrator holds it: its lines of each second, and what it is told."""
import json
import os
import statistics
import subprocess
import threading

from servers import NotReady, _die_with_parent, wait_ready


class Workload:
    def __init__(self, binary, host, doors, directory, seed, users, rate):
        self.lines, self.lock = [], threading.Lock()
        self.log_path = os.path.join(directory, "logs", "workload.log")
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                host.command([binary, "--servers", ",".join(doors), "--seed", str(seed), "--users", str(users), "--rate", str(rate),
                              "--dir", directory]),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1, preexec_fn=_die_with_parent)
        self.out = open(os.path.join(directory, "logs", "workload.jsonl"), "w", encoding="utf-8")
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        for text in self.process.stdout:
            self.out.write(text)
            try:
                line = json.loads(text)
            except ValueError:
                continue
            with self.lock:
                self.lines.append(line)
        self.out.flush()

    @property
    def last(self):
        with self.lock:
            return self.lines[-1] if self.lines else {}

    def wait(self, cond, what, deadline):
        """For a line that cond likes."""
        def met():
            if self.process.poll() is not None and not cond(self.last):
                with open(self.log_path, encoding="utf-8", errors="replace") as f:
                    raise NotReady(f"the workload has ended with {self.process.returncode}:\n{f.read()[-3000:]}")
            return cond(self.last)
        wait_ready(met, lambda: f"the workload: {what}: {self.last}", deadline, 0.1)

    def wait_phase(self, phase, deadline):
        self.wait(lambda line: line.get("phase", "").upper() == phase, f"phase {phase}", deadline)

    def tell(self, word):
        self.process.stdin.write(word + "\n")

    def wait_end(self, deadline):
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise NotReady(f"the workload does not end: {self.last}") from None
        self.thread.join()
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()

    def per_second(self):
        """What was acknowledged in each second of LOAD."""
        with self.lock:
            load = [x for x in self.lines if x.get("phase", "").upper() == "LOAD"]
        return [(b["acked"] - a["acked"]) * 1e6 / (b["at_us"] - a["at_us"]) for a, b in zip(load, load[1:]) if b["at_us"] > a["at_us"]]

    def median(self):
        rates = self.per_second()
        return statistics.median(rates) if rates else 0.0

    def finish(self, phase, deadline):
        """Told to begin a phase: until that has done its part."""
        self.tell(phase.lower())
        self.wait(lambda line: line.get("phase", "").upper() == phase and line.get("done"), f"{phase} is done", deadline)
