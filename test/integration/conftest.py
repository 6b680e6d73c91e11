"""Fixtures: `server`, one for all tests that disturb nobody; `make_server` for those that need their own; `backends`, the
servers that clusters lean on. In mode "cluster" a server is a whole cluster; a test that starts a part of one (certain
roles, an environment, arguments) gets a process of its own in any mode."""
import os
import signal
import sys

import pytest

FIGURES = []

sys.path.insert(0, os.path.dirname(__file__))

from cli import Person, Terminal  # noqa: E402
from client import SLOW  # noqa: E402
from cluster import Backends, Cluster, extra  # noqa: E402
from server import MODE, Server  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


def pytest_collection_modifyitems(items):
    # What looks at the whole run comes last.
    items.sort(key=lambda item: item.path.name == "test_coverage.py")


def pytest_terminal_summary(terminalreporter):
    if FIGURES:
        terminalreporter.section("figures")
        for line in FIGURES:
            terminalreporter.write_line(line)


@pytest.fixture
def figure():
    """figure("new node gets work", seconds, 2): keeps a figure for the end of the run. Machines are noisy: beyond three times
    what is promised the test fails."""
    def note(what, value, promise=None, unit="s"):
        slow = SLOW if unit == "s" else 1
        is_kept = promise is None or value <= 3 * promise * slow
        FIGURES.append(f"{what + ':':<64} {value:8.2f} {unit:<4}"
                       + (f" promised {promise:g}" if promise is not None else "") + ("" if is_kept else "   BROKEN"))
        assert is_kept, FIGURES[-1]
        return value
    return note


class Shared:
    """Servers that live as long as the run, by name; one that a test has killed is started anew for the next."""

    def __init__(self, factory, request):
        self.factory, self.request, self.by_name = factory, request, {}

    def get(self, name, settings, **kw):
        server = self.by_name.get(name)
        if server is None or not server.is_alive():
            server = _new(self.request, self.factory.mktemp(name), settings, **kw).start()
            self.by_name[name] = server
        return server


def _new(request, directory, settings, mode=MODE, **kw):
    if mode == "cluster" and not kw:
        return Cluster(directory, request.getfixturevalue("backends"), settings)
    return Server(directory, settings, mode=mode, **kw)


@pytest.fixture(scope="session")
def shared(request, tmp_path_factory, nothing_left):
    shared = Shared(tmp_path_factory, request)
    yield shared
    problems = []
    for server in shared.by_name.values():
        try:
            server.end()
        except AssertionError as e:
            problems.append(str(e))
    assert not problems, "\n".join(problems)
    assert not Server.running, "servers were left running"


def _lend(shared, name, settings, **kw):
    server = shared.get(name, settings, **kw)
    yield server
    assert server.is_alive(), "the server died:\n" + server.log[-4000:]
    server.check_log()


@pytest.fixture
def server(shared):
    yield from _lend(shared, "all", {})


@pytest.fixture
def make_server(request, tmp_path_factory):
    """make_server({"section.key": value}, roles=…) starts one of the test's own; it must end cleanly after the test."""
    made = []

    def make(settings=None, start=True, directory=None, **kw):
        s = _new(request, directory or tmp_path_factory.mktemp("server"), settings, **kw)
        made.append(s)
        return s.start() if start else s

    yield make
    problems = []
    for s in made:
        try:
            s.end()
        except AssertionError as e:
            problems.append(str(e))
    assert not problems, "\n".join(problems)


@pytest.fixture
def people(server, tmp_path):
    """people(n) are users who have registered, each at a machine of his own."""
    names = iter(range(100))

    def make(n=1, address=None):
        made = [Person(address or server.clients, tmp_path / f"home{next(names)}").register() for _ in range(n)]
        return made if n > 1 else made[0]

    return make


@pytest.fixture
def terminal():
    """terminal(person, command…) opens bytetalk-cli at a terminal of its own."""
    open_ones = []

    def make(person, *words, **kw):
        open_ones.append(Terminal(person, *words, **kw))
        return open_ones[-1]

    yield make
    for t in open_ones:
        t.kill()


@pytest.fixture
def make_cluster(backends, tmp_path_factory):
    """make_cluster({"section.key": value}, units=…, counts=…) starts one of the test's own; what lives of it must end cleanly."""
    made = []

    def make(settings=None, on=None, start=True, **kw):
        c = Cluster(tmp_path_factory.mktemp("cluster"), on or backends, settings, **kw)
        made.append(c)
        return c.start() if start else c

    yield make
    problems = []
    for c in made:
        try:
            c.end()
        except AssertionError as e:
            problems.append(str(e))
    assert not problems, "\n".join(problems)


@pytest.fixture(scope="session")
def backends(tmp_path_factory, nothing_left):
    b = Backends(tmp_path_factory.mktemp("backends")).start()
    yield b
    b.kill()


@pytest.fixture(scope="module")
def own_backends(tmp_path_factory):
    """Servers that tests may break; what they break stays broken for the next."""
    b = Backends(tmp_path_factory.mktemp("backends")).start()
    yield b
    b.kill()


@pytest.fixture
def start_extra():
    """start_extra(…) starts what extra() makes; `made` are those to be killed after the test."""
    started = []

    def start(*args, **kw):
        started.append(extra(*args, **kw).start())
        return started[-1]

    start.made = started
    yield start
    for s in started:
        if s.is_alive():
            s.process.send_signal(signal.SIGCONT)
            s.kill()


@pytest.fixture(scope="session", autouse=True)
def nothing_left():
    yield
    for s in list(Server.running):
        s.process.kill()
        s.process.wait()
