"""Runs a compose file without Docker: each instance of a service on a Host of its own, with the commands that stand there.

A ByteTalk instance gets what a container gets: a root file system with what the image holds and what the file mounts, process
id 1, a host name, the addresses of all services by their names, the user that the file names, and nothing of our environment.
ZooKeeper, Redis and MariaDB are Debian's, run in place of the official images; what those images do with their
environment stands here, what the file says is taken from it.
"""
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import yaml
from client import SLOW
from server import BYTETALK, FAULTS
from servers import LOOPBACK, MariaDB, NotReady, Program, ZooKeeperMember, wait_ready
from wire import ROOT

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CLI = os.path.abspath(os.environ.get("BYTETALK_CLI", os.path.join(os.path.dirname(BYTETALK), "bytetalk-cli")))
OWNER = 4711   # of the secrets, and so of the nodes: nobody whom the image knows


def dockerfile_says(word):
    """The last such line of the Dockerfile, a list as a list."""
    with open(os.path.join(ROOT, "deploy", "Dockerfile"), encoding="utf-8") as f:
        value = re.findall(rf"^{word} (.+)$", f.read(), re.M)[-1]
    return json.loads(value) if value.startswith("[") else value


def seconds(duration):
    return float(duration.removesuffix("s"))


class Instance(Program):
    """One container. `spec`: its service, as the file has it."""

    def __init__(self, project, service, number):
        self.project, self.service, self.spec = project, service, project.services[service]
        self.name = f"{service}-{number}"
        place = project.net.host(self.name)
        place.ip(f"route add default via {project.net.here}")
        super().__init__(os.path.join(project.dir, self.name), place=place, **self.program)

    program = {}   # what the program is made with

    def secret(self, name):
        """The file behind /run/secrets/name."""
        assert name in self.spec["secrets"], f"{self.service} is not given {name}"
        return self.project.path(self.project.file["secrets"][name]["file"])

    def health_command(self):
        """The check as it runs inside."""
        kind, *argv = self.spec["healthcheck"]["test"]
        assert kind == "CMD"
        return self.within(argv)

    def health(self):
        return subprocess.run(self.health_command(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                              timeout=seconds(self.spec["healthcheck"].get("timeout", "30s")) * SLOW)

    def is_ready(self):
        return self.health().returncode == 0


class Node(Instance):
    """The image that deploy/Dockerfile describes."""

    def __init__(self, *args):
        super().__init__(*args)
        self.user = self.spec["user"].split(":")
        self.root = os.path.join(self.dir, "root")
        self.hosts_file = os.path.join(self.dir, "hosts")
        os.makedirs(self.root, exist_ok=True)

    def write_hosts(self):
        # In place: what is mounted is this very file.
        with open(self.hosts_file, "w", encoding="ascii") as f:
            f.write(f"127.0.0.1 localhost\n{self.address} {self.name}\n"
                    + "".join(f"{i.address} {i.service}\n" for i in self.project.instances))

    def mounts(self):
        """(what, where) of the files that the service is given."""
        for volume in self.spec.get("volumes", ()):
            source, target, mode = volume.split(":")
            assert mode == "ro"
            yield self.project.path(source), target
        for name in self.spec["secrets"]:
            yield self.secret(name), f"/run/secrets/{name}"
        yield self.hosts_file, "/etc/hosts"

    def build(self):
        """Shell lines that make the root file system, in a mount namespace of its own."""
        root, home = shlex.quote(self.root), dockerfile_says("WORKDIR")
        lines = [f"mount -t tmpfs tmpfs {root}", f"cd {root}", "mkdir -p usr/bin usr/lib usr/lib64 etc run tmp proc dev" f" .{home}",
                 "ln -s usr/lib usr/lib64 usr/bin .", "chmod 1777 tmp", f"chown 100:100 .{home}", "mount -t proc proc proc",
                 "mount --rbind /dev dev", f"mount --bind -o ro {shlex.quote(self.project.image)} usr/bin",
                 *(f"mount --bind -o ro /usr/{d} usr/{d}" for d in ("lib", "lib64") if os.path.isdir(f"/usr/{d}"))]
        for source, target in self.mounts():
            lines += [f"mkdir -p .{os.path.dirname(target)}", f"touch .{target}", f"mount --bind -o ro {shlex.quote(source)} .{target}"]
        return [*lines, f"echo {self.name} >/proc/sys/kernel/hostname"]

    def command(self):
        self.write_hosts()
        user, group = self.user
        program = [*dockerfile_says("ENTRYPOINT"), *self.spec["command"]]
        inside = ["env", "-i", f"PATH={PATH}", f"HOSTNAME={self.name}", "unshare", f"--root={self.root}",
                  f"--wd={dockerfile_says('WORKDIR')}", f"--setgid={group}", f"--setuid={user}", "--", *program]
        script = "\n".join([*self.build(), "cd /", f"exec {shlex.join(inside)}"])
        return ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--", "sh", "-euc", script]

    @property
    def pid(self):
        """Of the program, where we see it; inside it is 1."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            return int(f.read())

    def inside(self, argv):
        """Run it as `docker exec` would."""
        user, group = self.user
        return ["env", "-i", f"PATH={PATH}", "nsenter", f"--target={self.pid}", "--mount", "--uts", "--net", "--pid", "--root", "--wd",
                f"--setgid={group}", f"--setuid={user}", "--", *argv]

    def health_command(self):
        return self.inside(self.spec["healthcheck"]["test"][1:])

    def is_ready(self):
        try:
            # Until then it is the shell that mounts, and what would be entered is half made.
            return os.readlink(f"/proc/{self.pid}/exe").endswith("/bytetalk") and super().is_ready()
        except (OSError, ValueError):
            return False

    def end(self, meanwhile=lambda: time.sleep(0.01)):
        """As compose stops one: TERM, and as long as the file says to end in order, in which `meanwhile` is called again and
        again. Answers how long it took, in seconds."""
        grace, began = seconds(self.spec["stop_grace_period"]) * SLOW, time.monotonic()
        os.kill(self.pid, signal.SIGTERM)
        while self.process.poll() is None:
            if time.monotonic() > began + grace:
                raise NotReady(f"{self.name} still runs {grace:g} s after TERM:\n{self.tail()}")
            meanwhile()
        took, code = time.monotonic() - began, self.process.returncode
        self._gone()
        self.check_log()
        assert code == 0, f"{self.name} has ended with {code}:\n{self.tail()}"
        return took

    def complete(self):
        """Run it to its end."""
        self.spawn()
        code = self.process.wait(60 * SLOW)
        self._gone()
        if code != 0:
            raise NotReady(f"{self.name} has ended with {code}:\n{self.tail()}")

    def crash(self):
        """Killed, and started again as compose does: the same container."""
        assert self.spec["restart"] == "unless-stopped"
        os.kill(self.pid, signal.SIGKILL)
        self._gone()
        self.spawn()

    def check_log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            log = f.read()
        for fault in FAULTS:
            assert fault not in log, f"{self.name}: {log[-6000:]}"


class ZooKeeperImage(Instance, ZooKeeperMember):
    program = {"port": 2181, "number": 1, "members": ()}

    def command(self):
        argv = super().command()
        given = self.spec["environment"]
        with open(os.path.join(self.dir, "zoo.cfg"), "w", encoding="utf-8") as f:
            f.write(f"dataDir={self.dir}\nclientPort=2181\ninitLimit=5\nsyncLimit=2\n"
                    f"tickTime={given['ZOO_TICK_TIME']}\nmaxClientCnxns={given['ZOO_MAX_CLIENT_CNXNS']}\n"
                    f"admin.enableServer={given['ZOO_ADMINSERVER_ENABLED']}\n"
                    f"4lw.commands.whitelist={given['ZOO_4LW_COMMANDS_WHITELIST']}\n")
        return argv


class RedisImage(Instance):
    program = {"port": 6379}

    def command(self):
        return [*self.spec["command"], "--protected-mode", "no", "--dir", self.dir]


class MariaDBImage(Instance, MariaDB):
    program = {"port": 3306}

    def __init__(self, project, service, number):
        super().__init__(project, service, number)
        self.socket = f"/tmp/bytetalk-{os.getpid()}-{self.name}.sock"

    def command(self):
        self.install()
        given = self.spec["environment"]
        with open(self.secret(os.path.basename(given["MARIADB_PASSWORD_FILE"])), encoding="ascii") as f:
            password = f.read().rstrip("\n")
        first = os.path.join(self.dir, "first.sql")
        user, database = given["MARIADB_USER"], given["MARIADB_DATABASE"]
        with open(first, "w", encoding="ascii") as f:
            f.write(f"CREATE DATABASE IF NOT EXISTS `{database}`;\nCREATE USER IF NOT EXISTS '{user}'@'%' IDENTIFIED BY '{password}';\n"
                    f"GRANT ALL ON `{database}`.* TO '{user}'@'%';\n")
        return ["mariadbd", "--no-defaults", *self._user(), f"--datadir={self.data}", f"--socket={self.socket}",
                f"--pid-file={self.dir}/pid", f"--init-file={first}", "--skip-name-resolve", *self.spec["command"]]

    def health_command(self):
        """healthcheck.sh is the image's own; this asks what it asks with these arguments."""
        assert self.spec["healthcheck"]["test"][1:] == ["healthcheck.sh", "--connect", "--innodb_initialized"]
        return self.within(["mariadb-admin", "--no-defaults", f"--host={LOOPBACK}", "--user=root", "ping"])


IMAGES = {"bytetalk": Node, "zookeeper": ZooKeeperImage, "redis": RedisImage, "mariadb": MariaDBImage}


class Project:
    """deploy/compose, copied into `directory`, its secrets made; `net`: a Network."""

    def __init__(self, directory, net):
        self.dir, self.net, self.instances = str(directory), net, []
        self.source = os.path.join(self.dir, "compose")
        shutil.copytree(os.path.join(ROOT, "deploy", "compose"), self.source,
                        ignore=lambda _, names: [n for n in names if n not in ("compose.yaml", "bytetalk.ini", "secrets")])
        self.image = os.path.join(self.dir, "image")
        os.mkdir(self.image)
        for program in (BYTETALK, CLI):
            shutil.copy(program, self.image)
        self.make_secrets()
        self.read()

    def make_secrets(self):
        """As the operator does, who is not root."""
        script = os.path.join(self.source, "secrets")
        subprocess.run([script], stdout=subprocess.DEVNULL, check=True)
        for name in os.listdir(self.source):
            if not os.stat(self.path(name)).st_mode & 0o077:
                os.chown(self.path(name), OWNER, OWNER)
        subprocess.run([script], stdout=subprocess.DEVNULL, check=True)   # there already; it looks who owns them

    def path(self, name):
        return os.path.normpath(os.path.join(self.source, name))

    def read(self):
        with open(self.path(".env"), encoding="ascii") as f:
            values = dict(line.rstrip("\n").split("=", 1) for line in f)

        def value(match):
            name, default = match["name"], match["default"]
            assert name in values or default is not None, f"{match[0]} is not in .env"
            return values.get(name, default)

        with open(self.path("compose.yaml"), encoding="utf-8") as f:
            text = re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*)|:\?[^}]*)?\}", value, f.read())
        self.file = yaml.safe_load(text)
        self.services = self.file["services"]

    def of(self, service):
        return [i for i in self.instances if i.service == service]

    def make(self, service):
        image = self.services[service]["image"].split(":")[0]
        made = IMAGES[image](self, service, len(self.of(service)) + 1)
        self.instances.append(made)
        for i in self.instances:
            if isinstance(i, Node):
                i.write_hosts()
        return made

    # ---- what compose does

    def up(self):
        """Every service, those that another waits for before it."""
        done, left = set(), dict(self.services)
        while left:
            ready = [s for s, spec in left.items() if set(spec.get("depends_on", ())) <= done]
            assert ready, f"these wait for each other: {list(left)}"
            conditions = {s: c["condition"] for spec in self.services.values() for s, c in spec.get("depends_on", {}).items()}
            started = []
            for service in ready:
                instance = self.make(service)
                if conditions.get(service) == "service_completed_successfully":
                    instance.complete()
                else:
                    started.append(instance.spawn())
                del left[service]
            for instance in started:
                instance.wait(60 * SLOW)
            done.update(ready)
        return self

    def less(self, service, meanwhile):
        """One less, the youngest. How long it took to end."""
        took = self.of(service)[-1].end(meanwhile)
        self.instances.remove(self.of(service)[-1])
        return took

    def down(self):
        """The other way round than it came up; every node ends by itself and cleanly."""
        for instance in reversed(self.instances):
            if isinstance(instance, Node) and instance.process is not None:
                instance.end()

    def kill(self):
        for instance in self.instances:
            instance.kill()
