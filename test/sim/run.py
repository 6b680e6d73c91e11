#!/usr/bin/python3
"""`make sim`: every simulation, then the table of docs/CAPACITY.md. With --measure what things cost is measured first; --write puts all into the page."""
import argparse
import contextlib
import io
import os
import subprocess
import sys
import time

import capacity
import database_sim
import fanout_sim
import inputs
import presence_sim
import storm_sim

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(inputs.ROOT, "docs", "CAPACITY.md")


def text_of(function):
    """What it prints."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        function()
    return out.getvalue().strip()


def parts(programs):
    """(name, what makes its text)"""
    return [
        ("ring", lambda: subprocess.run([os.path.join(programs, "ring-sim")], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()),
        ("presence", lambda: text_of(lambda: presence_sim.report(inputs.read_measured()["presence"]))),
        ("fanout", lambda: text_of(fanout_sim.main)),
        ("storm", lambda: text_of(storm_sim.main)),
        ("database", lambda: text_of(database_sim.main)),
    ]


def measure(build, programs):
    subprocess.run([sys.executable, os.path.join(HERE, "measure.py"), f"--build={build}"], check=True)
    subprocess.run([sys.executable, os.path.join(HERE, "presence_sim.py"), "--program", os.path.join(programs, "presence-cost"), "--users", "200000", "--write"],
                   check=True)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    p.add_argument("--build", required=True)
    p.add_argument("--measure", action="store_true")
    p.add_argument("--write", action="store_true", help="into docs/CAPACITY.md; without it the page's own inputs are used for its table")
    args = p.parse_args()
    programs = os.path.join(inputs.ROOT, args.build, "test")
    if args.measure:
        measure(args.build, programs)
    with open(PAGE, encoding="utf-8") as f:
        page = f.read()
    for name, make in parts(programs):
        began = time.monotonic()
        said = make()
        print(f"=== {name}, {time.monotonic() - began:.1f} s\n\n{said}\n", flush=True)
        page = capacity.put(page, name, said)
    rows = list(inputs.inputs().values()) if args.write else capacity.page_inputs(page)
    result = capacity.result_table(capacity.values_of(rows))
    print(f"=== capacity\n\n{result}")
    if args.write:
        page = capacity.put(capacity.put(page, "inputs", capacity.inputs_table(rows)), "result", result)
        with open(PAGE, "w", encoding="utf-8") as f:
            f.write(page)


if __name__ == "__main__":
    sys.exit(main())
