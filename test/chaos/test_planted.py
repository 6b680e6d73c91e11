"""The checker finds each planted bug; the short form of planted.py, as many runs at once as the time asks for."""
import os

import planted
import pytest

BUILD = os.environ.get("BYTETALK_BUILD", os.path.join(planted.ROOT, "build", "release"))
planted.prepare(BUILD)
from planted_runs import RUNS  # noqa: E402

SEED = 7
WITHOUT = "mark-withholds"   # the others' runs without their bug are left to make chaos-planted


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    whats = [(name, True) for name in RUNS] + [(WITHOUT, False)]
    return dict(planted.attempts(str(tmp_path_factory.mktemp("planted")), whats, SEED, len(whats)))


@pytest.mark.parametrize("name", RUNS)
def test_the_checker_finds(results, name):
    is_right, line = results[name, True]
    print(line)
    assert is_right, line


def test_the_checker_finds_nothing_without_a_bug(results):
    is_right, line = results[WITHOUT, False]
    print(line)
    assert is_right, line
