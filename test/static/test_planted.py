"""Planted bugs are in the build that is made to have them, and in no other."""
import os
import re

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("BYTETALK_BUILD", os.path.join(ROOT, "build", "release"))
# Where make PLANTED=1 puts it; PLANTED_D in the Makefile.
PLANTED = os.path.join(ROOT, "build", "planted") if os.path.basename(BUILD) == "release" else os.path.join(BUILD, "planted")


def words():
    """What tells such a program: the variable, and the names of the bugs."""
    with open(os.path.join(ROOT, "net", "planted.h"), encoding="utf-8") as f:
        text = f.read()
    variable, = re.findall(r'getenv\("(\w+)"\)', text)
    names = re.findall(r'\[PLANTED_\w+\]\s*=\s*"([a-z-]+)"', text)
    assert len(names) == len(re.findall(r"^    PLANTED_\w+,", text, re.M)) == 8
    return [variable, *names]


def found_in(path):
    with open(path, "rb") as f:
        program = f.read()
    return [w for w in words() if w.encode() in program]


def test_the_normal_programs_have_no_planted_bug():
    for name in ("bytetalk", "bytetalk-cli", "libbytetalk.a"):
        assert found_in(os.path.join(BUILD, name)) == []


def test_the_planted_program_has_them_all():
    assert found_in(os.path.join(PLANTED, "bytetalk")) == words()
