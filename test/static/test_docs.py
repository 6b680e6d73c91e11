"""What the documentation says and can be checked: methods, the bytes of its example, links, the commands it names."""
import glob
import os
import re
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import wire  # noqa: E402

ROOT = wire.ROOT
PAGES = ["README.md", *(os.path.relpath(p, ROOT) for p in sorted(glob.glob(os.path.join(ROOT, "docs", "*.md"))))]


def text(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def test_the_protocol_page_lists_every_method_and_event():
    page = text("docs/PROTOCOL.md")
    listed = {(int(i, 16), name) for i, name in re.findall(r"^\| `(0x[0-9a-f]{4})` \| (\w+) \|", page, re.M)}
    assert listed == {(m.id, m.name) for m in wire.METHODS.values() if m.access != "NODE"}


def test_the_protocol_page_says_what_needs_a_login_and_how_it_repeats():
    rows = re.findall(r"^\| `0x\w+` \| (\w+) \| (\w+) \| (yes|no) \| (\w+) \|$", text("docs/PROTOCOL.md"), re.M)
    assert rows
    for name, service, login, repeat in rows:
        m = wire.METHODS[name]
        assert (service, login == "yes", repeat.upper()) == (m.service, m.access == "SESSION", m.repeat), name


def test_the_example_bytes_are_what_the_page_says():
    dumps = re.findall(r"^(\w+), call (\d+), (\d+) ms\n((?:[0-9a-f]{4}  .*\n)+)", text("docs/PROTOCOL.md"), re.M)
    assert [d[0] for d in dumps] == ["Hello", "Send"]
    frames = []
    for name, call, timeout_ms, lines in dumps:
        data = bytes.fromhex("".join(line[6:] for line in lines.splitlines()))
        frame, = wire.Splitter().feed(data)
        assert (frame.method, frame.kind, frame.flags) == (wire.METHODS[name].id, wire.REQUEST, 0)
        assert (frame.call, frame.timeout_ms) == (int(call), int(timeout_ms))
        frames.append((frame, wire.METHODS[name].request.FromString(frame.payload)))
    assert frames[0][1].client == "demo 1" and frames[0][1].version == 1
    assert frames[1][0].target == 1002 and frames[1][1].body == b"hi"


def test_the_statuses_are_those_of_the_wire():
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", text("docs/PROTOCOL.md"), re.M)
    assert [name for _, name in rows] == wire.STATUS and [int(n) for n, _ in rows] == list(range(len(wire.STATUS)))


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    lost = [link for link in re.findall(r"\]\(([^)#]+)", text(page))
            if not re.match(r"https?:", link) and not os.path.exists(os.path.join(ROOT, os.path.dirname(page), link))]
    assert not lost


def test_settings_that_pages_name_exist():
    ini = text("bytetalk.ini")
    keys, section = set(), ""
    for line in ini.splitlines():
        head, key = re.match(r"\[(\w+)\]", line), re.match(r"(\w+) =", line)
        if head:
            section = head.group(1)
        elif key:
            keys.add((section, key.group(1)))
    named = {(page, s, k) for page in [*PAGES, "proto/client.proto"] for s, k in re.findall(r"\[(\w+)\] (\w+)", text(page))}
    assert named and not [n for n in named if n[1:] not in keys]
