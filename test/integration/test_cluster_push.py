"""What pushing costs in a cluster while presence is away, and whom it finds."""
import time

from client import msg_id, wait_until
from cluster import received
from wire import GROUP

GROUP_ID, FIRST_MEMBER, MEMBERS = 900_000_000, 910_000_000, 5000


def make_group(cluster, users):
    """Of many who are away, and these. Straight into the database: to bring in so many by asking takes minutes."""
    database = cluster.settings["store.url"].rsplit("/", 1)[1]
    columns = "(hi, lo, user_id, role, joined_seq)"
    cluster.backends.mariadb.sql(
        f"USE {database};"
        f"INSERT INTO chat_group (group_id, creator_id, request_id, name, about, join_mode, created_ms) VALUES ({GROUP_ID}, 1, 1, 'g', '', 0, 1);"
        f"INSERT INTO member {columns} SELECT {GROUP_ID}, 0, {FIRST_MEMBER} + seq, 1, 1 FROM seq_1_to_{MEMBERS};"
        f"INSERT INTO member {columns} VALUES " + ", ".join(f"({GROUP_ID}, 0, {u.user_id}, 1, 1)" for u in users) + ";"
        f"UPDATE chat_group SET member_count = {MEMBERS + len(users)} WHERE group_id = {GROUP_ID}")


def pushed(user, seq):
    user.drain()
    return any(name == "OnMessage" and m.hi == GROUP_ID and m.seq == seq for name, m in user.events)


def say(sender, readers, n):
    """So many messages, each seen by all; the longest that took."""
    slowest = 0.0
    for _ in range(n):
        began = time.monotonic()
        seq = sender.ok("Send", target=GROUP_ID | GROUP, client_msg_id=msg_id(), body=b"to all of you").seq
        wait_until(lambda: all(pushed(u, seq) for u in readers), 5, "everybody is pushed it")
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def test_a_large_group_while_redis_is_away(make_cluster, own_backends, figure):
    c = make_cluster(on=own_backends, has_nginx=False)
    users = [c.user("member", address=door) for door in c.proxies for _ in range(3)]
    make_group(c, users)
    say(users[0], users[1:], 3)
    proxies = [n.address for n in c.nodes("proxy")]

    def bytes_of(n):
        before = sum(map(received, proxies))
        slowest = say(users[0], users[1:], n)
        return (sum(map(received, proxies)) - before) / n, slowest

    usual, _ = bytes_of(30)
    own_backends.redis.kill()
    own_backends.redis_replica.kill()
    say(users[0], users[1:], 3)
    cost, slowest = bytes_of(30)
    late = [c.again(u) for u in users[-4:]]   # who comes meanwhile is found too, wherever that is
    say(users[0], [*users[1:], *late], 1)
    figure(f"a group of {MEMBERS}: bytes that come to {len(proxies)} proxies for a message", usual, unit="B")
    figure("... while Redis is away", cost, unit="B")
    figure("... until all who are connected have it", slowest, 1)
    assert cost < 8 * MEMBERS, "members who are away cost nothing"
