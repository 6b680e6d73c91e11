"""bytetalk-cli: run by a user at a machine of his own, and at a (pseudo) terminal."""
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import pytest

from client import SLOW
from server import BYTETALK, FAULTS, MODE, new_name

CLI = os.path.abspath(os.environ.get("BYTETALK_CLI", os.path.join(os.path.dirname(BYTETALK), "bytetalk-cli")))
PASSWORD = "correct horse"

not_over_the_layer = pytest.mark.skipif(MODE == "layer", reason="the command line does not speak the test layer")


class Person:
    """A user at a machine of his own: a state directory."""

    def __init__(self, address, state, name=None):
        self.address, self.state, self.name = address, str(state), name or new_name("cli")

    def environ(self, **more):
        keep = {k: v for k, v in os.environ.items() if not k.startswith("BYTETALK_")}
        return {**keep, "XDG_STATE_HOME": self.state, "BYTETALK_PASSWORD": PASSWORD, "LC_ALL": "C.UTF-8", "TZ": "UTC", **more}

    def argv(self, *words, user=True):
        return [CLI, "-s", self.address, *(["-u", self.name] if user else []), *words]

    def run(self, *words, stdin=b"", user=True, code=0, env=None, timeout=30):
        """Run a command; its standard output, bytes. The exit code must be `code`."""
        done = subprocess.run(self.argv(*words, user=user), input=stdin, capture_output=True, env=env or self.environ(),
                              timeout=timeout * SLOW)
        assert not any(f.encode() in done.stderr for f in FAULTS), done.stderr.decode()
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        self.errors = done.stderr.decode()
        return done.stdout

    def text(self, *words, **kw):
        return self.run(*words, **kw).decode()

    def json(self, *words, **kw):
        return [json.loads(line) for line in self.run("--json", *words, **kw).splitlines()]

    def register(self):
        self.run("register")
        return self


class Terminal:
    """bytetalk-cli on a pseudo-terminal, and what it has drawn so far."""

    def __init__(self, person, *words, user=True, env=None):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execve(CLI, person.argv(*words, user=user), env or person.environ(TERM="xterm", NO_COLOR="1"))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.seen = 0

    def _read(self, timeout):
        if not select.select([self.fd], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # it has ended
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern, timeout=10):
        """Wait until something new matches."""
        end = time.monotonic() + timeout * SLOW
        while True:
            m = re.search(pattern, self.text[self.seen:])
            if m:
                self.seen += m.end()
                return m
            if not self._read(max(0.0, min(0.2, end - time.monotonic()))) and time.monotonic() > end:
                raise AssertionError(f"no {pattern!r} in {self.text[self.seen:]!r}; before: {self.text[:self.seen][-500:]!r}")

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def line(self, text):
        self.type(text + "\r")

    def end(self):
        """Its exit code."""
        end = time.monotonic() + 10 * SLOW
        while time.monotonic() < end:
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.fd)
                self.pid = 0
                assert not any(f in self.text for f in FAULTS), self.text
                return os.waitstatus_to_exitcode(status)
        raise AssertionError("it does not end: " + self.text[-500:])

    def kill(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            os.close(self.fd)
