#!/usr/bin/python3
"""`make chaos-planted`: does the checker find what it is there to find?

For each bug of net/planted.h a short run that provokes it: with the bug, which the checker must find as what it is, and without, which
must pass. The same workload and the same checker as in `make chaos`; the towns are small, and only those faults happen that the bug is about.
"""
import argparse
import concurrent.futures
import os
import shutil
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIMIT_S = 180.0    # for finding one: as many runs as that takes, each with a seed of its own


def prepare(build):
    """Before anything of the tests is imported: they read it then. `build`: of the workload; beside it is the server that has the bugs."""
    build = os.path.abspath(build)
    planted = os.path.join(os.path.dirname(build) if os.path.basename(build) == "release" else build, "planted", "bytetalk")
    if not os.path.exists(planted):
        sys.exit(f"{planted} is missing: make PLANTED=1 all")
    os.environ["BYTETALK_BUILD"], os.environ["BYTETALK"] = build, planted
    sys.path[:0] = [os.path.join(ROOT, "test", "integration"), os.path.join(ROOT, "test", "chaos")]


def attempt(directory, name, is_planted, seed):
    """(whether it went as it must, the line to print): with the bug, run until it is found or the time is over; once without."""
    from planted_runs import run   # not before it is known where everything is

    start, tries = time.monotonic(), 0
    while True:
        folder = os.path.join(directory, name, f"planted-{tries + 1}" if is_planted else "without")
        shutil.rmtree(folder, ignore_errors=True)
        try:
            is_right, text = run(name, name if is_planted else None, folder, seed + tries)
        except (AssertionError, OSError) as e:   # of one run: the others go on
            is_right, text = False, f"{type(e).__name__}: {e}"
        tries, took = tries + 1, time.monotonic() - start
        if is_right or not is_planted or took * (tries + 1) / tries > LIMIT_S:
            break
    line = f"{name:<16}{'planted' if is_planted else 'without':<9}{took:6.1f} s  {text}" + (f", in run {tries}" if tries > 1 else "")
    return is_right and took <= LIMIT_S, line


def attempts(directory, whats, seed, jobs):
    """Of (name, is_planted): yields each with what attempt() answers, as they end."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(attempt, directory, name, is_planted, seed): (name, is_planted) for name, is_planted in whats}
        for f in concurrent.futures.as_completed(futures):
            yield futures[f], f.result()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bugs", nargs="*", help="by name; all, if none is given")
    parser.add_argument("--build", default=os.path.join(ROOT, "build", "release"))
    parser.add_argument("--dir", default=os.path.join(ROOT, "build", "chaos", "planted"), help="where the runs are left")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="runs at once; they mostly wait")
    args = parser.parse_args()
    prepare(args.build)
    from planted_runs import RUNS

    for name in args.bugs:
        if name not in RUNS:
            sys.exit(f"{name} is none of {' '.join(RUNS)}")
    whats = [(name, is_planted) for name in args.bugs or RUNS for is_planted in (True, False)]
    began, wrong = time.monotonic(), []
    for (name, _), (is_right, line) in attempts(args.dir, whats, args.seed, args.jobs):
        print(line, flush=True)
        wrong += [] if is_right else [name]
    print(f"{len(whats) // 2} bugs in {time.monotonic() - began:.0f} s: " + (f"wrong: {' '.join(sorted(set(wrong)))}" if wrong else "each was found, "
          "and nothing without it"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
