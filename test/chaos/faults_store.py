"""Faults of what the nodes lean on: MariaDB, Redis, ZooKeeper."""
import subprocess

from faults import kind
from servers import NotReady, wait_ready

WEDGED_S = 45.0   # a database that is well commits within seconds


def writable(hit):
    """Until the database commits again; then it is mended, whatever the nodes make of it."""
    def can():
        try:
            return hit.town.stores.can_write()
        except subprocess.TimeoutExpired:
            return False
    try:
        wait_ready(can, "the database commits again", WEDGED_S, 0.02)
    except NotReady:
        if not hit.town.stores.wake():
            raise
        hit.detail["woken"] = True
        wait_ready(can, "the database commits again", WEDGED_S, 0.02)
    hit.mended()


@kind("mariadb_kill", seconds=11, domain="mariadb", is_quick=True)
def mariadb_kill(hit):
    stores = hit.town.stores
    stores.wait_pair()
    server = stores.mariadb
    hit.at(stores.label(server))
    hit.strike(server.kill)
    hit.hold(hit.rng.uniform(0.2, 2))
    server.start()
    writable(hit)


@kind("mariadb_freeze", seconds=24, domain="mariadb")
def mariadb_freeze(hit):
    stores = hit.town.stores
    stores.wait_pair()
    server = stores.mariadb
    hit.at(stores.label(server))
    hit.strike(server.freeze)
    try:
        hit.hold(15)
    finally:
        server.thaw()
    writable(hit)


@kind("mariadb_failover", seconds=14, domain="mariadb", is_quick=True)
def mariadb_failover(hit):
    """The new replica is made while the test goes on; the next fault of MariaDB waits for it."""
    stores = hit.town.stores
    stores.wait_pair()
    stores.wait_followed()
    hit.at(stores.label(stores.mariadb), to=stores.label(stores.mariadb_replica))
    hit.strike(stores.mariadb_failover)
    writable(hit)
    hit.town.later(stores.make_replica)


@kind("full_disk", seconds=16, domain="mariadb", needs={"disk"})
def full_disk(hit):
    """Of the second MariaDB, which has a disk of bounded size. Where it is the replica by now, the primary waits for it."""
    stores = hit.town.stores
    stores.wait_pair()
    hit.at("mariadb-2", is_primary=stores.mariadb is stores.mariadbs[1])
    hit.strike(stores.fill_disk)
    try:
        hit.hold(hit.rng.uniform(4, 8))
    finally:
        stores.empty_disk()
    writable(hit)


@kind("redis_kill", seconds=10, domain="redis", is_quick=True)
def redis_kill(hit):
    """All that it holds is gone with it."""
    server = hit.town.stores.redis
    hit.at("redis")
    hit.strike(server.kill)
    hit.hold(hit.rng.uniform(0.2, 3))
    server.start()
    hit.mended()


@kind("redis_flush", seconds=8, domain="redis", is_quick=True)
def redis_flush(hit):
    hit.at("redis")
    hit.strike(lambda: hit.town.stores.redis.ask("flushall"))
    hit.mended()


@kind("redis_freeze", seconds=12, domain="redis")
def redis_freeze(hit):
    server = hit.town.stores.redis
    hit.at("redis")
    hit.strike(server.freeze)
    try:
        hit.hold(hit.rng.uniform(2, 6))
    finally:
        server.thaw()
    hit.mended()


@kind("redis_failover", seconds=10, domain="redis", is_quick=True)
def redis_failover(hit):
    stores = hit.town.stores
    hit.at("redis")
    hit.strike(stores.redis_failover)
    hit.mended()
    stores.redis_replace()


@kind("zookeeper_leader", seconds=11, domain="zookeeper", is_quick=True)
def zookeeper_leader(hit):
    leader = hit.town.stores.zookeeper.leader()
    hit.at(f"zookeeper-{leader.number}")
    hit.strike(leader.kill)
    hit.hold(hit.rng.uniform(0.5, 2))
    leader.start()
    hit.mended()


@kind("zookeeper_away", seconds=18, domain="zookeeper")
def zookeeper_away(hit):
    """The whole ensemble, now killed, now frozen, for longer than a session lasts."""
    members = hit.town.stores.zookeeper.members
    is_killed = hit.turn % 2 == 0
    hit.at("zookeeper", how="killed" if is_killed else "frozen")

    def strike():
        for m in members:
            if is_killed:
                m.kill()
            else:
                m.freeze()
    hit.strike(strike)
    try:
        hit.hold(hit.rng.uniform(6, 9))
    finally:
        for m in members:
            if is_killed:
                m.spawn()
            else:
                m.thaw()
    hit.town.stores.zookeeper.wait()
    hit.town.stores.zookeeper.leader()
    hit.mended()
