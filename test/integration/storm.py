"""Drives the load program test/storm: clients by the thousand, whose lines are read as they come."""
import json
import os
import queue
import subprocess
import threading
import time

from client import SLOW
from servers import _die_with_parent

PROGRAM = os.path.join(os.environ.get("BYTETALK_BUILD", "build/release"), "test", "storm")


class Storm:
    def __init__(self, *args):
        self.process = subprocess.Popen([PROGRAM, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                        preexec_fn=_die_with_parent)
        self.lines, self.events = queue.Queue(), []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(json.loads(line))
        self.lines.put(None)

    def say(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def wait(self, event, seconds, each=None):
        """Until that event; what came before it stands in `events`. `each` is called about four times a second."""
        end, self.events = time.monotonic() + seconds * SLOW, []
        while True:
            try:
                line = self.lines.get(timeout=0.25)
            except queue.Empty:
                line = {"event": "nothing"}
            if each:
                each()
            assert line is not None, f"the load program has ended with {self.process.wait()}"
            if line["event"] != "nothing":
                self.events.append(line)
            if line["event"] == event:
                return line
            assert time.monotonic() < end, f"after {seconds} s no {event!r}: {self.events[-3:]}"

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stdout.close()
