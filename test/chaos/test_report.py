"""What the chaos test measures by its probes, and what its report makes of a run: the parts that need no cluster."""
import ast
import json
import os
import sys
from types import SimpleNamespace

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import run  # noqa: E402
from probes import Probes, Talk  # noqa: E402
import table  # noqa: E402
from report import INCONCLUSIVE, OK, VIOLATION, Report  # noqa: E402

PLAN = {"seed": 1, "loaded_s": 1800, "commit": "c0ffee", "machine": "one"}

# ---- how conversations fare that have nothing to do with a fault --------------------------------------------------------------


def talk(*done, failed=()):
    t = Talk(2, 1)
    t.done, t.failed = [(a * 1000, b * 1000) for a, b in done], [x * 1000 for x in failed]
    return t


def seen(*talks, since=1000, until=3000):
    return Probes.seen(talks, since * 1000, until * 1000)


def test_what_was_acknowledged_in_that_time_counts_and_nothing_else():
    quick = [(1100, 1110), (1400, 1410), (1700, 1710), (2000, 2010), (2300, 2310), (2600, 2610), (2900, 2910)]
    assert seen(talk((100, 900), *quick, (3100, 4200))) == {"talks": 1, "failed": 0, "slowest_ms": 10, "longest_ms": 300}


def test_a_message_under_way_when_it_began_counts_and_so_does_one_that_ends_later():
    assert seen(talk((500, 1200), (1400, 1500), (2900, 3400)))["slowest_ms"] == 700
    assert seen(talk((1400, 1500), (2900, 3600)))["slowest_ms"] == 700


def test_a_conversation_without_any_is_silent_all_the_time():
    assert seen(talk((100, 200)), talk((1500, 1600), (2500, 2600)))["longest_ms"] == 2000
    assert seen(talk((900, 990), (1900, 1950), (2500, 2600)))["longest_ms"] == 950


def test_failed_tries_are_counted_of_that_time():
    assert seen(talk((1100, 1200), failed=[999, 1000, 2000, 3001]), talk(failed=[2500]))["failed"] == 3


def test_nobody_to_be_watched_is_told():
    assert seen() == {"talks": 0, "failed": 0, "slowest_ms": 0, "longest_ms": 0}


def node(role, number):
    return SimpleNamespace(role=role, address=f"{role}{number}", clients=f"door{number}")


def test_those_are_watched_that_have_another_owner_and_another_proxy():
    proxies, chats = [node("proxy", 1), node("proxy", 2)], [node("chat", 1), node("chat", 2)]
    owners = {(2, 1): "chat1", (3, 1): "chat2", (4, 1): None}
    asked = []

    def owner(proxy, hi, lo):
        asked.append(proxy)
        return owners[hi, lo]
    town = SimpleNamespace(of=lambda role: proxies, askers=SimpleNamespace(owner=owner))
    probes = Probes.__new__(Probes)
    one, two, other = Talk(1, 2), Talk(3, 1), Talk(1, 4)
    probes.probes = [SimpleNamespace(door="door1", talks=[one]), SimpleNamespace(door="door2", talks=[two, other]), SimpleNamespace(door=None, talks=[Talk(1, 9)])]
    assert probes.apart_from(chats[0], town) == [two] and asked == [proxies[0], proxies[1], proxies[1]]
    assert probes.apart_from(chats[1], town) == [one]
    assert probes.apart_from(proxies[0], town) == [two, other]
    assert probes.apart_from(node("user", 1), town) == [one, two, other]


# ---- what is promised -----------------------------------------------------------------------------------------------------------


def promised(is_whole, is_sanitized=False):
    nodes, rolling = run.promises(SimpleNamespace(is_whole=is_whole, sanitized=is_sanitized))
    assert nodes["kinds"] == ["kill", "freeze", "term"] and rolling["kinds"] == ["rolling"] and nodes["others_failed"] == rolling["failed_sends"] == 0
    return nodes["recovered_within_s"], nodes["others_slowest_s"], rolling["slowest_send_s"]


def test_a_short_run_promises_less():
    assert promised(True) == (5, 1, 5)
    assert promised(False) == (15, 1.5, 15)
    assert promised(False, True) == (15, 6, 15)


# ---- the report -----------------------------------------------------------------------------------------------------------------


def fault(kind, others=None):
    return {"kind": kind, "part": "unit1-chat-1", "begin_us": 10**6, "end_us": 3 * 10**6, "recovered_us": 2 * 10**6, "in_flight": 3, "others": others,
            "detail": {"slowest_probe_ms": 900}}


@pytest.mark.parametrize("checker, violations, result", [(0, [], OK), (1, [], VIOLATION), (2, [], INCONCLUSIVE), (3, [], INCONCLUSIVE), (None, [], INCONCLUSIVE),
                                                         (0, ["a node died"], VIOLATION), (2, ["a node died"], VIOLATION)])
def test_a_run_is_what_the_checker_says_and_a_violation_comes_first(checker, violations, result, tmp_path):
    r = Report(dict(PLAN))
    r.checker, r.violations = checker, list(violations)
    r.judge()
    r.write(tmp_path)
    word = {OK: "OK", VIOLATION: "VIOLATION", INCONCLUSIVE: "INCONCLUSIVE"}[result]
    assert r.result == result and (tmp_path / "report.txt").read_text().splitlines()[-1] == word
    assert json.loads((tmp_path / "report.json").read_text())["result"] == word


def test_other_conversations_are_shown_by_the_kind_of_fault():
    r = Report(dict(PLAN))
    r.faults = [fault("kill", {"talks": 9, "failed": 1, "slowest_ms": 40, "longest_ms": 400}), fault("kill", {"talks": 8, "failed": 0, "slowest_ms": 60, "longest_ms": 350}),
                fault("kill"), fault("term", {"talks": 0, "failed": 0, "slowest_ms": 0, "longest_ms": 0}), {"kind": "clock", "skipped": "no clock"}]
    lines = r.text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("other conversations"))
    assert lines[at + 1].split() == ["kill", "2", "17", "1", "50", "60", "375", "400"] and lines[at + 2] == ""


def test_what_was_slower_than_promised_is_noted():
    assert run.slow_ones([fault("kill", {"talks": 9, "failed": 0, "slowest_ms": 1000, "longest_ms": 0})]) == []
    note, = run.slow_ones([fault("kill", {"talks": 9, "failed": 0, "slowest_ms": 1400, "longest_ms": 0})])
    assert "1400 ms" in note


# ---- the page's table -------------------------------------------------------------------------------------------------------------


def whole_run(directory, seed, result="OK", **changed):
    directory.mkdir()
    plan = {**PLAN, "seed": seed, "time_s": 1800, "rounds": 5, "grace_s": 5, "short": False, "only": "", "sanitized": False, **changed}
    faults = [fault("kill", {"talks": 9, "failed": 0, "slowest_ms": 40 * seed, "longest_ms": 400}), fault("rolling"), {"kind": "clock", "skipped": "no clock"}]
    (directory / "report.json").write_text(json.dumps({"result": result, "plan": plan, "faults": faults}))
    (directory / "check.json").write_text(json.dumps({"acked": 1500000, "rate": 870.4, "handed": 14000000, "violations": {}}))
    return str(directory)


def test_whole_runs_stand_in_a_table_and_their_faults_together(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- chaos: by table.py -->\nold\n<!-- end of chaos -->\nafter\n")
    monkeypatch.setattr(sys, "argv", ["table.py", "--page", str(page), whole_run(tmp_path / "b", 2), whole_run(tmp_path / "a", 1)])
    table.main()
    text = page.read_text()
    assert "| 1 | c0ffee | 1,500,000 | 870 | 14,000,000 | 3 | 0 | 0.90 s |\n| 2 | c0ffee |" in text
    assert "| `kill` | 2 | 2 | 2.0 | 1.00 | 1.00 | 0 of 18, 0.08 s |" in text and "| `clock` | 2 | skipped: no clock |" in text
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and text.count("<!--") == 2
    assert capsys.readouterr().out.strip() in text


@pytest.mark.parametrize("lacks", [{"result": "VIOLATION"}, {"result": "INCONCLUSIVE"}, {"short": True}, {"only": "kill"}, {"rounds": 2}, {"time_s": 600},
                                   {"grace_s": 10}, {"sanitized": True}])
def test_only_whole_runs_that_kept_every_promise_stand_there(lacks, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["table.py", whole_run(tmp_path / "a", 1, **lacks)])
    with pytest.raises(SystemExit, match="only whole runs"):
        table.main()


def test_the_directory_of_a_run_that_did_not_end_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["table.py", str(tmp_path)])
    with pytest.raises(SystemExit, match="report.json"):
        table.main()


# ---- the checker is on its own ----------------------------------------------------------------------------------------------------


def test_the_checker_imports_nothing_of_the_server_or_of_what_breaks_it():
    for name in sorted(os.listdir(HERE)):
        if not name.startswith("check") or not name.endswith(".py") or name == "check_case.py":
            continue
        with open(os.path.join(HERE, name), encoding="utf-8") as f:
            tree = ast.parse(f.read())
        named = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        named |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        foreign = {m for m in named if m.split(".")[0] not in sys.stdlib_module_names and not m.startswith("check_")}
        assert not foreign and "check_case" not in named, (name, foreign)
        assert not named & {"subprocess", "ctypes", "socket", "importlib"}, name
