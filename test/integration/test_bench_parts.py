"""The long parts of `make bench`, for a moment of each: that they measure what they say. No speeds."""
import os
import sqlite3
import sys

import pytest

from wire import ROOT

sys.path.insert(0, os.path.join(ROOT, "test", "bench"))
import hosts  # noqa: E402
import part_flat  # noqa: E402
import part_scaling  # noqa: E402
import part_soak  # noqa: E402
import parts  # noqa: E402


def test_a_large_database_holds_the_load_tools_users_between_the_others(tmp_path):
    accounts = 3 * part_flat.ACTIVE
    sized = part_flat.Sized(str(tmp_path), accounts)
    try:
        sized.prepare()
        db = sqlite3.connect(os.path.join(sized.host.server.dir, "bytetalk.db"))
        assert db.execute("SELECT COUNT(*), MIN(user_id), MAX(user_id) FROM account").fetchone() == (accounts, 1, accounts)
        assert db.execute("SELECT COUNT(*) FROM session").fetchone()[0] == part_flat.ACTIVE, "they logged in, under the ids that they were given"
        assert db.execute("SELECT COUNT(*) FROM session WHERE user_id % 3 <> 0").fetchone()[0] == 0
        conversations = accounts - part_flat.ACTIVE - 1   # user 1 has nobody before him
        assert db.execute("SELECT COUNT(*) FROM (SELECT DISTINCT hi, lo FROM member)").fetchone()[0] == conversations
        assert db.execute("SELECT COUNT(*), COUNT(DISTINCT sender_id) FROM message").fetchone() == (2 * conversations, conversations)
        assert db.execute("SELECT COUNT(*) FROM member WHERE lo < 1 OR lo >= hi OR user_id NOT IN (hi, lo)").fetchone()[0] == 0
        costs, _ = sized.measure(0.5, 0.3)   # on a busy machine some may be refused
        assert set(costs) == set(part_flat.LOADS) and all(c > 0 for c in costs.values())
        used = "FROM message WHERE hi % 3 = 0 AND sent_ms > 1"
        assert db.execute(f"SELECT COUNT(*) {used}").fetchone()[0] > 0 and db.execute(f"SELECT COUNT(*) {used} AND lo % 3 <> 0").fetchone()[0] == 0
        db.close()
    finally:
        sized.end()


def test_a_segment_of_the_soak_counts_every_load_and_the_memory_left(tmp_path):
    host = hosts.Embedded(str(tmp_path))
    host.start()
    try:
        tool = parts.Tool(str(tmp_path), "soak", host.options("soak"))
        tool.run("prepare")
        s = part_soak.segment(host, tool, 3)
        assert set(s["costs"]) == {name for name, _, _ in part_soak.LOADS} and all(c > 0 for c in s["costs"].values())
        assert s["memory"] == pytest.approx(parts.memory_of(host.server.process.pid), rel=0.2)
    finally:
        host.end()


def segments(costs, memory):
    return [{"costs": {name: c for name, _, _ in part_soak.LOADS}, "memory": m, "wrong": []} for c, m in zip(costs, memory)]


def test_the_soak_compares_the_end_with_the_beginning_but_for_the_first_segment():
    flat = part_soak.text_of("embedded", segments([9] + [1.0] * 20 + [1.1], [1] + [1e6] * 21), 3600)
    assert flat.count("reached") == 4 and "missed" not in flat
    grown = part_soak.text_of("embedded", segments([1] + [1.0] * 19 + [1.3] * 2, [1e6] * 22), 3600)
    assert grown.count("**missed**") == 3 and "| 1.00 | 1.30 | 1.30 × |" in grown
    fat = part_soak.text_of("cluster", segments([1] * 22, [1e6] * 20 + [2e6] * 2), 3600)
    assert fat.count("**missed**") == 1


def test_flat_is_judged_by_the_dearest_size():
    def text(largest):
        return part_flat.text_of({n: [{k: c for k in part_flat.LOADS}] for n, c in ((1000, 10.0), (10000, 11.0), (100000, largest))}, [], 1, 1)
    assert text(11.9).count("reached") == 2 and text(12.1).count("**missed**") == 2 and "1.21 ×" in text(12.1)


def test_scaling_adds_up_our_nodes_and_leaves_the_database_out():
    costs = {"proxy": 2.0, "chat": 1.0, "others": 0.5, "mariadb": 100.0}
    found = {(p, c, name): [{g: v * (p + c) / 2 for g, v in costs.items()}] for p, c in part_scaling.SIZES for name, _, _ in part_scaling.LOADS}
    rows = part_scaling.text_of(found, [], part_scaling.SIZES, 1, 1).splitlines()
    assert "| 1 | 1 | " + " | ".join(["3.50 = 2.00 + 1.00 (1.00 ×)"] * 4) + " |" in rows
    assert "| 4 | 4 | " + " | ".join(["14.00 = 8.00 + 4.00 (4.00 ×)"] * 4) + " |" in rows


def test_a_section_of_the_page_is_replaced_and_nothing_else(tmp_path, monkeypatch):
    with open(parts.PAGE, encoding="utf-8") as f:
        page = f.read()
    copy = tmp_path / "page.md"
    monkeypatch.setattr(parts, "PAGE", str(copy))
    for name in ("idle", "scaling", "flat", "soak"):
        copy.write_text(page, encoding="utf-8")
        parts.write_section(name, "FIRST")
        parts.write_section(name, "a \\1 table")
        text = copy.read_text(encoding="utf-8")
        start, end = text.index(f"<!-- {name}: "), text.index(f"<!-- end of {name} -->")
        assert "\\1 table" in text[start:end] and "FIRST" not in text
        assert text[:start] == page[:start] and text[end:] == page[page.index(f"<!-- end of {name} -->"):]


def test_parts_are_run_by_themselves(monkeypatch):
    import run_bench
    monkeypatch.setattr(sys, "argv", ["run_bench.py", "--build=x", "--only=soak,cluster", "--seconds=60"])
    args = run_bench.parse()
    assert (args.part, args.hosts, args.seconds) == ("soak", ["cluster"], 60)
    monkeypatch.setattr(sys, "argv", ["run_bench.py", "--build=x", "--only=idle,A"])
    with pytest.raises(SystemExit):
        run_bench.parse()
    monkeypatch.setattr(sys, "argv", ["run_bench.py", "--build=x", "--only=A"])
    args = run_bench.parse()
    assert args.part is None and (args.seconds, args.rounds) == (4, 3)
    assert [s.id for s in args.steps] == ["A"]
