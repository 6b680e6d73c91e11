"""What the schedule of faults keeps to, whatever the seed."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]
import faults_net  # noqa: E402
import faults_node  # noqa: E402, F401  each puts its kinds into KINDS
import faults_store  # noqa: E402, F401
import schedule  # noqa: E402
from faults import KINDS  # noqa: E402

SEEDS = range(200)


def pairs(seed):
    items = schedule.plan(seed, list(KINDS.values()))
    return [(before, item) for before, item in zip(items, items[1:]) if item.is_overlapping]


def test_no_node_is_hit_while_the_database_is_as_good_as_away():
    """A node's recovery would be the database's: sends have to be back within 5 s after a node's fault."""
    seen = {frozenset((schedule.domain_of(a), schedule.domain_of(b))) for seed in SEEDS for a, b in pairs(seed)}
    assert frozenset(("node", "mariadb")) not in seen
    assert frozenset(("node", "relay")) in seen and frozenset(("node", "redis")) in seen
    narrow = [(a, b) for seed in SEEDS for a, b in pairs(seed) for one in (a, b)
              if one.kind.name == "slow" and faults_net.SLOWED[one.turn % 4] == "mariadb"]
    assert narrow and not any(schedule.domain_of(one) == "node" for pair in narrow for one in pair)


def test_each_kind_comes_as_often_as_a_whole_run_needs():
    for seed in SEEDS:
        items = schedule.plan(seed, list(KINDS.values()))
        for kind in KINDS.values():
            assert sum(i.kind is kind for i in items) >= kind.count
