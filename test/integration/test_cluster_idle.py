"""Idle logged-in connections at three proxies, and then a message to each: `make bench ONLY=idle` with 1,500 of them instead of 57,000."""
import os
import sys

from test_instructions import compilers
from wire import ROOT

sys.path.insert(0, os.path.join(ROOT, "test", "bench"))
import part_idle  # noqa: E402

EACH = 500


def test_idle_connections_cost_little_and_get_a_message_each(make_cluster, tmp_path, figure):
    cluster = make_cluster(units=1, counts=part_idle.COUNTS, has_nginx=False)
    f = part_idle.measure(cluster, str(tmp_path), EACH)
    count = EACH * part_idle.TOOLS
    assert f["connections"] == f["sent"] == f["ok"] == f["delivered"] == count and not f["faults"]
    is_sanitized = compilers()[1]
    # With as few as these a good part is what a proxy takes once, whatever the number.
    figure(f"{count} idle connections, each at its proxy", f["bytes"]["proxy"], None if is_sanitized else 700, unit="B")
    figure("... in the kernel, for the proxy's end", f["kernel"], unit="B")
    figure("... a message to each: the slowest", f["max_ms"] / 1000, unit="s")
    text = part_idle.text_of(f)
    assert f"{count:,} of {count:,} were acknowledged, {count:,} came" in text and "did not add up" not in text
