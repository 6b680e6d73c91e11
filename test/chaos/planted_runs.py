"""What provokes each planted bug, and as what the checker must find it."""
import os
import random
import time
from collections import namedtuple

from planted_chat import Chat, judge
from planted_town import Alone, Few

# town(directory, bug): where; load: of the workload, beyond USUAL; trouble(town, chat, rng): what happens meanwhile;
# settle_s: how long QUIET lasts at least; finds: the violations of which at least one must be found with the bug.
Run = namedtuple("Run", "town load trouble settle_s finds")

USUAL = {"users": 40, "rate": 200, "stay-ms": 4000, "send-timeout-ms": 20000, "resend-raw": 0}


def calm(seconds):
    def trouble(_town, _chat, _rng):
        time.sleep(seconds)
    return trouble


# ---- one process ----------------------------------------------------------------------------------------------------------


def power_cuts(town, chat, rng):
    """What was not synced is gone with the process; with a slow disk there is always something."""
    town.disk("slow")
    for _ in range(5):
        time.sleep(rng.uniform(0.5, 1.0))
        chat.fault("power cut", "server", town.crash)
    town.disk("")


# ---- a few processes ------------------------------------------------------------------------------------------------------


def lost_commits(town, chat, rng):
    """The database has done what it was asked, and the answer is lost."""
    for _ in range(8):
        time.sleep(rng.uniform(0.6, 0.9))
        chat.fault("cable cut", "database", town.database.cut, 0.1, ["back"])


def two_owners(town, chat, rng):
    """A chat node is frozen, the other takes its conversations; it comes back and believes what it knew."""
    for n in range(6):
        time.sleep(rng.uniform(0.8, 1.2))
        chat.fault("freeze", f"chat{n % 2 + 1}", town.freeze, n % 2, 2.5)


def slow_commits(town, _chat, _rng):
    """So that there is time to come in between."""
    town.database.slow_s = 0.25
    time.sleep(12)
    town.database.slow_s = 0.0


def lost_pushes(town, chat, rng):
    """Of what chat nodes write to proxies some is lost; then their connections break, and soon nobody writes any more."""
    for _ in range(4):
        time.sleep(rng.uniform(0.8, 1.2))
        chat.fault("cable cut", "chat", town.cut, 0.4)


RUNS = {
    "early-ack": Run(lambda d, b: Alone(d, b, power_cuts=True), {}, power_cuts, 0, {"lost", "wrong_place", "shared_place"}),
    "no-key": Run(lambda d, b: Alone(d, b, {"chat.window": 0}), {"resend-raw": 50}, calm(3), 0, {"id_reused", "doubled", "two_places"}),
    "blind-retry": Run(lambda d, b: Few(d, b, 1, {"chat.window": 0, "chat.batches": 8}), {"send-timeout-ms": 4000, "stay-ms": 20000}, lost_commits, 0, {"not_done_stands"}),
    "stale-rights": Run(Few, {"others": 800}, two_owners, 0, {"outsider_wrote", "muted_wrote", "not_a_member"}),
    "early-presence": Run(lambda d, b: Few(d, b, 1), {"rate": 80, "stay-ms": 6000}, slow_commits, 7, {"undelivered"}),
    "no-resync": Run(Few, {"stay-ms": 60000}, lost_pushes, 7, {"undelivered"}),
    "pull-by-time": Run(lambda d, b: Alone(d, b), {}, calm(8), 0, {"ends_short"}),
    "mark-withholds": Run(lambda d, b: Alone(d, b), {}, calm(4), 0, {"ends_short"}),
}


def run(name, bug, folder, seed):
    """One run, judged: (whether it is right, in words). With the bug one of its violations must be found, without it none at all."""
    what, start = RUNS[name], time.monotonic()
    options = {**USUAL, **what.load, "seed": seed, "catch-up-ms": 3000 if bug else 30000}   # what a bug withholds never comes
    os.makedirs(os.path.join(folder, "logs"))
    town, chat = what.town(os.path.join(folder, "logs"), bug), None
    try:
        town.start()
        chat = Chat(folder, town.proxies, options)
        chat.wait_load()
        what.trouble(town, chat, random.Random(f"{seed} {name}"))
        chat.finish(what.settle_s)
        chat.write(seed, options, time.monotonic() - start)
        if not bug:   # one with a bug may not come to an end
            town.stop()
        town.dump(folder)
    finally:
        if chat:
            chat.end()
        town.end()
    found, text = judge(folder)
    if not bug:
        return not found, text or "nothing"
    return bool(what.finds & set(found)), f"found: {text}" if what.finds & set(found) else f"NOT FOUND: {text or 'nothing'}"
