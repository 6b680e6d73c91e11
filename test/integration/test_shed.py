"""What a proxy does with more logins, and more calls, than it takes at once."""
import time

from client import wait_until
from server import new_name


def test_logins_beyond_the_limit_are_told_when_to_come_again(make_server):
    s = make_server({"proxy.logins": 1})
    names = [s.user().name for _ in range(2)]
    clients = [s.connect() for _ in range(12)]
    calls = [(c, c.start("Login", name=names[i % 2], password=s.made[i % 2].password)) for i, c in enumerate(clients)]
    for c, call in calls:
        c.wait(call)
    refused = [(c, call) for c, call in calls if call.reply.status == "RESOURCE_EXHAUSTED"]
    assert {call.reply.status for _, call in calls} == {"OK", "RESOURCE_EXHAUSTED"}
    assert all(50 <= call.reply.msg.retry_after_ms <= 12600 for _, call in refused)
    # Nothing was done, the connection stands, and who comes again is let in.
    for c, call in refused:
        wait_until(lambda: c.call("Login", name=names[0], password=s.made[0].password).status == "OK", 10)


def test_calls_beyond_the_limit_are_refused_and_the_others_answered(make_server):
    s = make_server({"proxy.max_forwards": 2})
    u = s.user()
    calls = [u.start("GetProfile") for _ in range(40)]
    for call in calls:
        u.wait(call)
    said = [call.reply.status for call in calls]
    assert set(said) == {"OK", "RESOURCE_EXHAUSTED"}, said
    assert all(call.reply.msg.retry_after_ms > 0 for call in calls if call.reply.status != "OK")
    u.ok("GetProfile")
