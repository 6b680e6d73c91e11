"""What a message costs the server, counted in instructions rather than seconds: the count is the same on a busy machine.

The embedded server runs under callgrind. Requests come in bursts of which each fills one turn and is answered before the next comes, so
that the work is the same in every run; only instructions in the server's own code count, not those of libraries, which differ from
machine to machine. The figures to compare with are in test/bench/instructions.json, with the compiler that they are of: another one's
code is another count. `make instructions` writes them anew, for a change that is worth what it costs.
"""
import glob
import json
import os
import re
import shutil
import subprocess

import pytest

from client import Client, msg_id
from people import group_of
from server import BYTETALK, Server
from wire import ROOT

FIGURES = os.path.join(ROOT, "test", "bench", "instructions.json")
IS_WRITING = os.environ.get("BYTETALK_INSTRUCTIONS") == "write"
GROWTH_MAX = 1.10
BURST, MEMBERS = 64, 32
BODY = b"a body of some hundred bytes, as people write them: not long, not short, and all of it in one language. "


def compilers():
    with open(BYTETALK, "rb") as f:
        data = f.read()
    return sorted({m.decode() for m in re.findall(rb"GCC: \([^)]+\) [\d.]+|clang version [\d.]+", data)}), b"__asan_init" in data


def own_instructions(path):
    """The sum over the functions of the server itself in a dump of callgrind's."""
    names, total, is_own, is_callee = {}, 0, False, False
    for line in open(path, encoding="utf-8", errors="replace"):
        if line.startswith("ob="):
            number, name = re.match(r"ob=\((\d+)\)(?: (.*))?", line).groups()
            names.setdefault(number, name)
            is_own = os.path.basename(names[number].strip()) == "bytetalk"
        elif line.startswith("cob="):
            number, name = re.match(r"cob=\((\d+)\)(?: (.*))?", line).groups()
            names.setdefault(number, name)
        elif line.startswith("calls="):
            is_callee = True   # the next line says what the callee cost, which stands with the callee too
        elif line[0] in "0123456789+-*":
            if is_own and not is_callee:
                total += int(line.split()[1])
            is_callee = False
    return total


class Counted(Server):
    """A server of which every instruction is counted."""

    def command(self, extra=()):
        return ["valgrind", "-q", "--tool=callgrind", f"--callgrind-out-file={self.dir}/callgrind.out", *super().command(extra)]

    def _dump(self):
        subprocess.run(["callgrind_control", "--dump", str(self.process.pid)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return max(glob.glob(f"{self.dir}/callgrind.out.*"), key=lambda p: int(p.rsplit(".", 1)[1]))

    def count(self, run, n):
        """Own instructions of each of the n things that run() does; once before, so that buffers have grown."""
        run()
        self._dump()
        run()
        return own_instructions(self._dump()) / n


def burst(sender, receivers, method, event, target, n):
    """n requests in one write; all are answered and pushed before this returns."""
    calls = [sender.start(method, target=target, write=False, **FIELDS[method]()) for _ in range(n)]
    sender.write(b"".join(data for _, data in calls))
    for call, _ in calls:
        assert sender.wait(call).status == "OK"
    for r in receivers:
        for _ in range(n):
            r.event(event)


FIELDS = {"Signal": lambda: {"type": "typing", "body": BODY}, "Send": lambda: {"client_msg_id": msg_id(), "body": BODY}}


def resume_all(server, tokens):
    for token in tokens:
        c = Client(server.clients)
        c.resume(token)
        c.close()


def measure(server):
    def repeat(times, *args):
        return lambda: [burst(*args) for _ in range(times)]

    users = server.users(*["member"] * MEMBERS)
    a, b = users[:2]
    a.send(b.user_id, "the conversation stands")
    b.event("OnMessage")
    found = {
        "pair signal": server.count(repeat(10, a, [b], "Signal", "OnSignal", b.user_id, BURST), 10 * BURST),
        "pair message": server.count(repeat(10, a, [b], "Send", "OnMessage", b.user_id, BURST), 10 * BURST),
    }
    group = group_of(*users)
    for u in users:
        u.settle()
        u.events.clear()
    found["group delivery"] = server.count(repeat(5, a, users[1:], "Send", "OnMessage", group, 8), 5 * 8 * (MEMBERS - 1))
    found["resume"] = server.count(lambda: resume_all(server, [u.token for u in users] * 2), 2 * MEMBERS)
    return {what: round(n) for what, n in found.items()}


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_no_message_costs_more_than_it_did(tmp_path, figure):
    compiled_by, is_sanitized = compilers()
    if is_sanitized:
        pytest.skip("the sanitizers' own instructions would be counted")
    if not IS_WRITING:
        with open(FIGURES, encoding="utf-8") as f:
            known = json.load(f)
        if known["compiler"] != compiled_by:
            pytest.skip(f"the figures are of {known['compiler']}, this is {compiled_by}")
    # No CPU's own instructions, of which callgrind may not know the newest.
    server = Counted(tmp_path, mode="direct", env={"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX"})
    server.settings["proxy.idle_timeout_ms"] = 600000
    server.spawn()
    server.wait_log(r"\bready\b", deadline=60)
    server.wait_ready()
    found = measure(server)
    assert server.stop() == 0
    for what, n in found.items():
        figure(f"instructions of a {what}", n, unit="")
    if IS_WRITING:
        with open(FIGURES, "w", encoding="utf-8") as f:
            json.dump({"compiler": compiled_by, "instructions": found}, f, indent=2)
            f.write("\n")
        return
    grown = [f"{what}: {n}, was {known['instructions'][what]}" for what, n in found.items() if n > GROWTH_MAX * known["instructions"][what]]
    assert not grown, "; ".join(grown)
