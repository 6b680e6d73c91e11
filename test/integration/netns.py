"""Hosts of a test's own: network namespaces on one bridge, each with an address, whose cables can be cut.

    with Network() as net:
        a, b = net.host("a"), net.host("b")
        subprocess.Popen(a.command(["bytetalk", …]))
        a.cut(b)

Namespaces have no names: file descriptors of this process hold them, so that what a killed run leaves behind is what is
still running in them. All that this machine gets to see is one interface, `bt-10.77.0`, by which this process is on the
network too. Needs root, iproute2 and nsenter; Network.missing() says what is not there.
"""
import ctypes
import functools
import itertools
import json
import os
import shutil
import socket
import subprocess
import threading

HERE = 254                       # the last number of the address that this process has
NOWHERE = "02:00:00:00:de:ad"    # no interface has it: what is sent there is lost
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class Refused(OSError):
    """`ip` or the kernel said no; the message says to what."""


def _in_thread(function):
    """Run it in a thread that ends with it, whose namespace may so be changed; answer what it answers."""
    result = []

    def run():
        try:
            result.append((function(), None))
        except OSError as e:
            result.append((None, e))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    value, error = result[0]
    if error:
        raise error
    return value


def _check(returned, what):
    if returned != 0:
        raise Refused(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _new_namespace():
    """A file descriptor that holds it."""
    def make():
        _check(_libc.unshare(CLONE_NEWNET), "a network namespace")
        try:
            with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "w", encoding="ascii") as f:
                f.write("1")
        except OSError:
            pass   # a kernel without IPv6
        return os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    return _in_thread(make)


class Place:
    """A namespace: what runs in it, and how it is set up. `fd` None: the one that this process runs in."""

    def __init__(self, fd=None):
        self.fd = fd

    @property
    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    def command(self, argv):
        """The same, run in there; a process keeps its pid on the way."""
        return list(argv) if self.fd is None else ["nsenter", f"--net={self.path}", "--", *argv]

    def ip(self, *lines):
        p = subprocess.run(self.command(["ip", "-batch", "-"]), input="".join(f"{line}\n" for line in lines), capture_output=True,
                           text=True, check=False)
        if p.returncode != 0:
            raise Refused(f"ip {'; '.join(lines)}: {p.stderr.strip()}")

    def socket(self, family=socket.AF_INET, kind=socket.SOCK_STREAM):
        """A socket in there, usable by this process."""
        def make():
            if self.fd is not None:
                _check(_libc.setns(self.fd, CLONE_NEWNET), "entering a network namespace")
            return socket.socket(family, kind)
        return _in_thread(make)

    def connect(self, port, address="127.0.0.1", timeout=None):
        """A connection that begins in there, by default to what listens there too."""
        s = self.socket()
        try:
            s.settimeout(timeout)
            s.connect((address, port))
        except BaseException:
            s.close()
            raise
        return s

    def close(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


class Host(Place):
    """A namespace with an address on the network."""

    def __init__(self, network, fd, name, address, device):
        super().__init__(fd)
        self.network, self.name, self.address, self.device = network, name, address, device
        self.lost = set()   # addresses to which nothing goes

    def __repr__(self):
        return f"{self.name} ({self.address})"

    def cut(self, other, both=True):
        """From now on all that goes to `other`, a Host or an address, is lost on the way, and with `both` what comes from
        there: silently, as on a dead cable. Connections stand still, and new ones wait for their timeouts."""
        self._lose(self.network.at(other))
        if both:
            self.network.at(other)._lose(self)

    def _lose(self, other):
        self.ip(f"neigh replace {other.address} lladdr {NOWHERE} nud permanent dev {self.device}")
        self.lost.add(other.address)

    def heal(self, other=None):
        """Join both ways to `other`, or to all. TCP finds out when it next sends anew: for a cut of some seconds, within as
        many again."""
        for host in [self.network.at(other)] if other else self.network.everybody():
            self._find(host)
            host._find(self)

    def _find(self, other):
        if other.address in self.lost:
            self.ip(f"neigh del {other.address} dev {self.device}")
            self.lost.remove(other.address)


class Network:
    """A bridge in a namespace of its own, and hosts on it. `prefix`: the first three numbers of the addresses; while another
    Network has them, the next that are free."""

    def __init__(self, prefix="10.77.0"):
        self.prefix = self.me = self.bridge = None
        self.hosts, self.numbers = [], itertools.count(1)
        try:
            self.bridge = Place(_new_namespace())
            self.bridge.ip("link set lo up", "link add bridge type bridge", "link set bridge up")
            self._join(prefix)
        except BaseException:
            self.close()
            raise

    def start(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _join(self, prefix):
        """Be on it ourselves. The kernel refuses a name that is taken, so no two Networks get one prefix."""
        sweep()
        first, third = prefix.rsplit(".", 1)
        for n in range(int(third), 256):
            self.prefix, device = f"{first}.{n}", f"bt-{first}.{n}"
            try:
                Place().ip(f"link add {device} type veth peer name here netns {self.bridge.path}")
            except Refused as e:
                if "File exists" not in str(e):
                    raise
                continue
            self.me = Host(self, None, "here", f"{self.prefix}.{HERE}", device)
            Place().ip(f"link set {device} alias bytetalk-{os.getpid()}", f"addr add {self.here}/24 dev {device}", f"link set {device} up")
            self.bridge.ip("link set here master bridge up")
            return
        raise Refused(f"no addresses left after {prefix}")

    @property
    def here(self):
        """The address that this process has on the network."""
        return self.me.address

    def host(self, name):
        """A new one, with the next free address."""
        number = next(self.numbers)
        assert number < HERE
        host = Host(self, _new_namespace(), name, f"{self.prefix}.{number}", "eth0")
        self.hosts.append(host)
        self.bridge.ip(f"link add p{number} type veth peer name eth0 netns {host.path}", f"link set p{number} master bridge up")
        host.ip("link set lo up", f"addr add {host.address}/24 dev eth0", "link set eth0 up")
        return host

    def everybody(self):
        return [self.me, *self.hosts]

    def at(self, host):
        """The host at an address."""
        return host if isinstance(host, Host) else next(h for h in self.everybody() if h.address == host)

    def close(self):
        """End it. What still runs on a host stays where it is, alone. Also removes what a Network that died left behind."""
        if self.me:
            _remove(self.me.device)
        for place in [*self.hosts, self.bridge]:
            if place:
                place.close()
        self.hosts, self.me, self.bridge = [], None, None
        sweep()

    @staticmethod
    @functools.lru_cache(None)
    def missing():
        """Why there can be none on this machine; empty when there can."""
        for program in ("ip", "nsenter"):
            if not shutil.which(program):
                return f"no program {program}"
        if os.geteuid() != 0:
            return "network namespaces need root"
        try:
            with Network() as net:
                net.host("probe")
        except OSError as e:
            return str(e)
        return ""


def _remove(device):
    # It may have gone already, together with the namespaces of a process that was killed.
    subprocess.run(["ip", "link", "del", device], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def sweep():
    """Remove the interfaces of processes that died while something else still ran in their namespaces."""
    if not shutil.which("ip"):
        return
    found = subprocess.run(["ip", "-json", "link", "show", "type", "veth"], capture_output=True, text=True, check=False).stdout
    for link in json.loads(found or "[]"):
        pid = link.get("ifalias", "").removeprefix("bytetalk-")
        if link.get("ifname", "").startswith("bt-") and pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            _remove(link["ifname"])
