"""What a cluster promises while ZooKeeper, Redis and MariaDB lose a part or are away; each test with its figures.

Load is steady and gentle (traffic.py), so that what is measured is the cluster's own time and not the machine's.
"""
import time

from callers import Callers
from cluster import extra, registered
from traffic import Traffic

SESSION_S = 4           # [registry] session_ms
AWAY_S = 30             # how long ZooKeeper is gone


# ---- ZooKeeper -----------------------------------------------------------------------------------------------------------

def test_zookeepers_leader_is_killed_then_all_of_it_stopped(make_cluster, own_backends, start_extra, figure):
    c = make_cluster(on=own_backends)
    chat = start_extra(c, "chat", unit="unit2")
    traffic = Traffic.of_pairs(c, 6)
    traffic.run(2)
    everybody = set(registered(c))
    ensemble = own_backends.zookeeper
    killed = time.monotonic()
    leader = ensemble.leader()
    leader.kill()
    traffic.run(2)
    figure("ZooKeeper's leader killed: the longest without an answer", traffic.silence(killed), 2)
    leader.start()
    assert set(registered(c)) == everybody, "sessions outlive the leader"

    stopped = time.monotonic()
    ensemble.kill()
    others = Callers(c, c.proxies, window=1)
    traffic.run(AWAY_S / 3)
    figure("ZooKeeper gone: the longest without an answer", traffic.silence(stopped), 2)
    killed = time.monotonic()
    chat.kill()
    new = extra(c, "user")
    start_extra.made.append(new)
    new.spawn()   # it has to wait
    for _ in range(20):
        traffic.run(AWAY_S / 60)
        others.run(0.05)
    traffic.run_until(lambda: traffic.all_back(killed), what="everybody writes again")
    figure("... a chat node killed meanwhile: the longest without an answer", traffic.silence(killed), 2)
    late = [c.user("late", address=door) for door in c.proxies]   # they register, log in and write
    for x in late:
        assert x.send(late[0].user_id, "nobody is in charge") > 0
    traffic.run(max(0, stopped + AWAY_S - time.monotonic()))
    others.finish()
    figure("... other calls that failed", sum(others.failed.values()), 0, "")
    figure("... gone for", time.monotonic() - stopped)
    assert new.is_alive(), new.log
    ensemble.start()
    back = time.monotonic()
    gone = {e for e in everybody if e.startswith("unit2/chat/") and "unit2-chat-" not in e}
    assert len(gone) == 1

    def joined():
        return set(registered(c)) - everybody

    took = traffic.run_until(lambda: set(registered(c)) - joined() == everybody - gone and len(joined()) == 1, 30,
                             "all are registered again, and only they, and the new one")
    figure("... all are registered again, after its return, and a new one is", took, SESSION_S + 3)
    figure("... the longest without an answer since", traffic.silence(back), 2)
    assert joined().pop().startswith("unit1/user/")
    traffic.finish()
    traffic.check(c)


# ---- Redis ---------------------------------------------------------------------------------------------------------------

def test_redis_is_emptied_killed_and_replaced(make_cluster, own_backends, figure):
    c = make_cluster(on=own_backends)
    traffic = Traffic.of_pairs(c, 5)
    traffic.run(1)
    master, replica = own_backends.redis, own_backends.redis_replica

    began = time.monotonic()
    assert master.ask("flushall") == "OK"
    traffic.run(0.5).move(4).run(4.5)   # some come anew meanwhile
    figure("Redis FLUSHALL: until every message is pushed in time", traffic.pushes_back_after(began), 3)
    figure("... the longest without an answer", traffic.silence(began), 2)

    began = time.monotonic()
    master.kill()
    traffic.run(0.5).move(4).run(4.5)   # some come anew meanwhile
    figure("Redis killed: until every message is pushed in time", traffic.pushes_back_after(began), 3)
    figure("... the longest without an answer", traffic.silence(began), 2)

    began = time.monotonic()
    replica.promote()
    traffic.run(0.5).move(4).run(4.5)   # some come anew meanwhile
    figure("Redis's replica promoted: until every message is pushed in time", traffic.pushes_back_after(began), 3)
    figure("... the longest without an answer", traffic.silence(began), 2)
    traffic.finish()
    traffic.check(c)


# ---- MariaDB -------------------------------------------------------------------------------------------------------------

def test_a_primary_that_stands_still_is_waited_for(make_cluster, own_backends, figure):
    c = make_cluster(on=own_backends)
    traffic = Traffic.of_pairs(c, 4)
    traffic.run(1)
    own_backends.mariadb.freeze()
    traffic.run(2)
    own_backends.mariadb.thaw()
    thawed = time.monotonic()
    traffic.run_until(lambda: traffic.all_back(thawed), 30, "everybody writes again")
    figure("MariaDB stood still for 2 s: until everybody's sends are back", traffic.back_after(thawed), 5)
    traffic.finish()
    traffic.check(c)


def test_mariadbs_primary_is_killed_and_its_replica_promoted(make_cluster, own_backends, figure):
    c = make_cluster(on=own_backends)
    traffic = Traffic.of_pairs(c, 6, pace_s=0.005, window=8)
    traffic.run(2)
    before = traffic.acked()
    own_backends.mariadb.kill()
    traffic.run(1.5)
    promoted = time.monotonic()
    own_backends.mariadb_replica.promote()
    traffic.run_until(lambda: traffic.all_back(promoted), 30, "everybody writes again")
    figure("MariaDB's replica promoted: until everybody's sends are back", traffic.back_after(promoted), 5)
    traffic.run(1).finish()
    figure("... acknowledged before, none lost", before, unit="")
    figure("... messages, none twice, no gap", traffic.check(c), unit="")
