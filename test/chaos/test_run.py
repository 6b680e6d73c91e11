"""The chaos test's short form: each quick fault once, on whatever this machine has to offer. The long form is `make chaos`."""
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SLOW = float(os.environ.get("BYTETALK_SLOW", "1"))


def test_every_quick_fault_once():
    build = os.environ.get("BYTETALK_BUILD", os.path.join(os.path.dirname(os.path.dirname(HERE)), "build", "release"))
    done = subprocess.run([sys.executable, os.path.join(HERE, "run.py"), f"--build={build}", "--short", "--seed=7",
                           *(["--sanitized"] if SLOW > 1 else [])], capture_output=True, text=True, timeout=600 * SLOW, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
