"""The capacity model and the simulations behind docs/CAPACITY.md: that the page says what they say, and that what it concludes holds."""
import os
import subprocess
import sys

import pytest

from client import SLOW
from wire import ROOT

sys.path.insert(0, os.path.join(ROOT, "test", "sim"))
import capacity  # noqa: E402
import database_sim  # noqa: E402
import fanout_sim  # noqa: E402
import inputs  # noqa: E402
import presence_sim  # noqa: E402
import storm_sim  # noqa: E402
from table import parse  # noqa: E402

BUILD = os.environ["BYTETALK_BUILD"]


@pytest.fixture(scope="module")
def page():
    with open(os.path.join(ROOT, "docs", "CAPACITY.md"), encoding="utf-8") as f:
        return f.read()


@pytest.fixture(scope="module")
def values(page):
    return capacity.values_of(capacity.page_inputs(page))


# ---- the model

def test_the_pages_table_is_what_the_program_prints_from_the_pages_inputs(page, values):
    assert capacity.section(page, "result").group(2).strip() == capacity.result_table(values)


def test_the_page_names_every_input_of_the_program(values):
    assert set(values) == set(inputs.inputs(bench="none"))


def test_the_program_finds_a_wrong_page(page, values):
    wrong = page.replace("| connections | ", "| connections | 1", 1)
    assert capacity.section(wrong, "result").group(2).strip() != capacity.result_table(values)
    assert capacity.result_table({**values, "messages_day": 40}) != capacity.result_table(values)


def test_more_users_never_need_less(values):
    plans = [capacity.Plan(values, n) for n in capacity.USERS]
    for what in ("proxies", "chats", "machines", "primaries", "storage_year", "redis"):
        figures = [getattr(p, what) for p in plans]
        assert figures == sorted(figures), what


def test_what_bends_first_is_what_the_page_says(values):
    """A million users fit; at ten million large groups take most of the chat nodes, and one database no longer holds a year."""
    one, ten = (capacity.Plan(values, n) for n in (1_000_000, 10_000_000))
    assert one.primaries == 1 and one.chats <= 4 and one.redis < values["use"]
    assert ten.chat_bend == "large groups" and ten.primaries > 1
    assert capacity.Plan({**values, "large_groups": 0}, 10_000_000).chats < ten.chats / 3


# ---- the ring

def test_a_node_that_dies_or_joins_moves_its_own_conversations_only():
    done = subprocess.run([os.path.join(BUILD, "test", "ring-sim")], capture_output=True, text=True, timeout=30 * SLOW, check=True)
    moves, reads = (parse(part) for part in done.stdout.split("\n\n"))
    assert [int(row[0]) for row in moves] == [3, 5, 10, 30, 100, 300]
    for nodes, _, died, _, heirs, _, joined, _, needless in moves:
        n = int(nodes)
        assert needless == "0"
        assert float(died.split()[0]) < 1.5 * 100 / n and float(joined.split()[0]) < 1.5 * 100 / (n + 1)
        assert int(heirs) >= min(n - 1, 50)
    per_second = [int(row[1]) for row in reads]
    assert per_second == sorted(per_second, reverse=True), "reads become fewer as conversations are opened"
    assert 5000 < per_second[0] <= 3 * 5000, "three reads for each first message, at most"


# ---- presence

@pytest.fixture(scope="module")
def presence_cost():
    return presence_sim.costs_of(presence_sim.measure(os.path.join(BUILD, "test", "presence-cost"), 20_000))


def test_a_real_redis_takes_the_servers_own_calls(presence_cost, figure):
    for name, what in (("set", "a user comes or goes"), ("set_many", "the same, 256 at a time"), ("read", "a look at the log"),
                       ("item", "each change in it"), ("full", "each user, when all is read"), ("chat_large", "a change, for each large group")):
        figure(f"presence: {what}", presence_cost[name], unit="µs")
    assert presence_cost["set_many"] < presence_cost["set"], "many users written at once do not share a call"
    assert presence_cost["item"] < presence_cost["read"]
    assert presence_cost["sizeof_trace"] == 16


def test_a_change_costs_a_chat_node_more_the_more_large_groups_it_has_open(presence_cost):
    assert 5000 * presence_cost["chat_large"] > 10 * presence_cost["chat_change"]


def test_full_reads_of_many_nodes_end_only_if_they_fit_into_the_timeout():
    took, asked = presence_sim.read_all(10, 0.2, 1.0)
    assert took < 3 and asked < 15
    assert presence_sim.read_all(10, 0.9, 1.0)[0] is None, "each node gives up while Redis works for those who have given up before"
    assert presence_sim.read_all(10, 0.9, 60.0)[0] < 12, "a longer timeout ends it"


# ---- groups

def test_a_groups_message_costs_one_push_for_each_proxy_that_holds_a_receiver(values):
    import random
    for online, proxies in ((5, 300), (500, 30), (20000, 30)):
        n, fullest = fanout_sim.pushes(online, proxies, random.Random(1))
        assert n <= min(online, proxies) and n > 0.6 * min(online, proxies) and fullest >= online / proxies
    small, large = (fanout_sim.Message(values, n, 30, random.Random(1)) for n in (5000, 20000))
    assert 3.5 < large.chat_s / small.chat_s < 4.5 and large.pushes == small.pushes == 30


# ---- reconnects

def test_all_come_back_from_a_proxy_that_died_and_the_database_is_last(values):
    s = storm_sim.Storm(values, 15_000, 3).run()
    assert s.all_s < 5 and s.wasted == 0 and s.synced_s >= s.all_s
    assert storm_sim.Storm(values, 15_000, 3, db_processors=1).run().synced_s > 1.5 * s.all_s
    slower = storm_sim.Storm({**values, "proxy_connect": 40 * values["proxy_connect"]}, 15_000, 2).run()
    assert slower.wasted > 0, "who waits for more than 10 s goes, and is served in vain"


def test_who_finds_no_room_is_told_so(values):
    s = storm_sim.Storm(values, 300_000, 2).run()
    assert s.all_s is None and s.came == s.room < s.clients


# ---- the database

def test_batches_grow_with_the_load_and_latency_does_not(values):
    def run(rate, **more):
        return database_sim.Run(rate, 10, 1, 8, 0.004, values["db_batch"], values["db_row"], messages=15_000, **more)
    few, many = run(2_000), run(50_000)
    assert many.rows > 8 * few.rows and many.ms(0.5) < 2 * few.ms(0.5) and many.share > 0.9
    assert 4 < few.ms(0.5) < 3 * 4 + 2, "one to two syncs"


def test_beyond_its_processors_the_database_carries_no_more(values):
    limit = database_sim.most(1, values["db_batch"], values["db_row"])
    over = database_sim.Run(3 * limit, 10, 1, 1, 0.001, values["db_batch"], values["db_row"], messages=40_000)
    assert over.share < 0.7
