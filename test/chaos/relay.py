"""The relay program, in whose hands some links are, and its settings."""
import subprocess
import threading

from servers import NotReady, _die_with_parent


class Relay:
    """Each link has a name and an address of its own; `slow` changes what it does to all that passes."""

    def __init__(self, binary, host, log_path):
        with open(log_path, "ab") as log:
            self.process = subprocess.Popen(host.command([binary]), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                                            bufsize=1, preexec_fn=_die_with_parent)
        self.host, self.lock = host, threading.Lock()

    def listen(self, name, port, target):
        """Pass on to target what comes to port; answers the address. Several may have one name."""
        to, to_port = target.split(":")
        self._tell(f"listen {name} {self.host.address} {port} {to} {to_port}")
        said = self.process.stdout.readline().strip()
        if said != f"listening {name}":
            raise NotReady(f"the relay: {said or 'has ended'}")
        return f"{self.host.address}:{port}"

    def slow(self, name, delay_ms=0, jitter_ms=0, bytes_per_s=0):
        self._tell(f"set {name} {delay_ms} {jitter_ms} {bytes_per_s}")

    def _tell(self, line):
        with self.lock:
            self.process.stdin.write(line + "\n")

    def end(self):
        self.process.kill()
        self.process.wait()
