"""The servers that the nodes lean on, and what an operator does with them: promote, replace, make a replica anew."""
import itertools
import os
import shutil
import subprocess
import threading
import time

from servers import MariaDB, NotReady, Redis, ZooKeeper, wait_ready

ZOOKEEPERS = 3
DISK_BYTES = 4 << 30     # of the bounded disk that the second MariaDB has
PORTS = {"zookeeper": 2181, "redis": 6379, "mariadb": 3306}
DATABASE = "bytetalk1"
# A replica applies without syncing, so that it keeps up: its server may be killed here, and no machine loses power. What it
# acknowledges is in its relay log.
HURRIED = "SET GLOBAL innodb_flush_log_at_trx_commit=2, sync_binlog=0"
DURABLE = "SET GLOBAL innodb_flush_log_at_trx_commit=1, sync_binlog=1"
SPARE_BYTES = 128 << 10
FOLLOWS_S = 120.0        # until a new replica has read what was written while it was made
UNLOGGED_ROWS = 5000     # at most, between the two figures of one statement: its snapshot and the log's end


class Stores:
    """`mariadb` and `redis` are those in charge by now, `mariadb_replica` and `redis_replica` the others."""

    def __init__(self, directory, host_of, has_mounts, preload=None):
        self.dir = directory
        place, port = (host_of, PORTS) if host_of("zookeeper1") else (lambda name: None, {})
        self.zookeeper = ZooKeeper(self._path("zookeeper"), ZOOKEEPERS, [place(f"zookeeper{i + 1}") for i in range(ZOOKEEPERS)],
                                   port.get("zookeeper"))
        self.redis = Redis(self._path("redis-1"), place=place("redis1"), port=port.get("redis"))
        self.redis_replica = Redis(self._path("redis-2"), replica_of=self.redis, place=place("redis2"), port=port.get("redis"))
        self.disk = self._path("mariadb-2")
        os.makedirs(self.disk, exist_ok=True)
        self.has_disk = has_mounts and self._mount()
        server = PatientMariaDB if preload else MariaDB
        self.mariadb = server(self._path("mariadb-1"), 1, is_waited=True, place=place("mariadb1"), port=port.get("mariadb"))
        self.mariadb_replica = server(self._path("mariadb-2"), 2, replica_of=self.mariadb, place=place("mariadb2"), port=port.get("mariadb"))
        self.mariadbs = [self.mariadb, self.mariadb_replica]
        for s in self.mariadbs:
            s.preload = preload
        self.server_ids = itertools.count(3)
        self.is_pair = threading.Event()   # a replica follows and is waited for
        self.is_pair.set()

    def _path(self, name):
        return os.path.join(self.dir, name)

    def programs(self):
        return [*self.zookeeper.members, self.redis, self.redis_replica, self.mariadb, self.mariadb_replica]

    def start(self):
        for p in self.programs():
            p.spawn()
        for p in (self.redis, self.redis_replica, self.mariadb, self.mariadb_replica):
            p.wait()
        self.mariadb.make_users()
        self.mariadb_replica.sql(HURRIED)
        self.mariadb_replica.replicate()
        self.zookeeper.wait()
        return self

    def end(self):
        for p in self.programs():
            p.kill()
        if self.has_disk:
            subprocess.run(["umount", "--lazy", self.disk], check=False)

    def settings(self):
        password = self._path("store.password")
        with open(password, "w", encoding="utf-8", opener=lambda p, f: os.open(p, f, 0o600)) as f:
            f.write(MariaDB.password + "\n")
        return {"registry.url": f"zookeeper://{self.zookeeper.host}/bytetalk", "store.password_file": password,
                **self.urls([s.host for s in (self.redis, self.redis_replica)], [s.host for s in self.mariadbs])}

    @staticmethod
    def urls(redis, mariadb):
        return {"presence.url": f"redis://{','.join(redis)}/0", "store.url": f"mariadb://{MariaDB.user}@{','.join(mariadb)}/{DATABASE}"}

    # ---- the disk of the second MariaDB

    def _mount(self):
        """In the mount namespace that run.py has made for itself, so it goes with the last process of the run."""
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "chaos", self.disk], check=False,
                              capture_output=True)
        return done.returncode == 0

    def fill_disk(self):
        """Leave as good as no room. What is written meanwhile may make the size too small to be taken."""
        for spare in (1, 2, 4, 8):
            used = os.statvfs(self.disk)
            try:
                return self._resize((used.f_blocks - used.f_bfree) * used.f_frsize + spare * SPARE_BYTES)
            except NotReady:
                if spare == 8:
                    raise

    def empty_disk(self):
        self._resize(DISK_BYTES)

    def _resize(self, size):
        done = subprocess.run(["mount", "-o", f"remount,size={size}", self.disk], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotReady(f"the disk's size: {done.stderr.strip()}")

    # ---- MariaDB

    def label(self, server):
        return f"mariadb-{self.mariadbs.index(server) + 1}"

    def can_write(self):
        """Whether the primary commits, which says nothing of the nodes."""
        return self.mariadb.sql("CREATE TABLE IF NOT EXISTS test_probe.probe (id INT PRIMARY KEY, at BIGINT)", check=False) is not None \
            and self.mariadb.sql(f"REPLACE INTO test_probe.probe VALUES (1, {time.time_ns()})", check=False) is not None

    def wake(self):
        """Whether the primary waited for its replica, and does no more. MariaDB 10.11's may go on waiting for ever after the two have
        connected again (the class of MDEV-36934); then an operator switches the waiting off, and on once the replica holds everything."""
        primary, replica = self.mariadb, self.mariadb_replica
        if not primary.is_waited:
            return False
        with open(os.path.join(self.dir, "woken.log"), "a", encoding="utf-8") as f:
            for server, text in ((primary, "SHOW PROCESSLIST"), (primary, "SHOW GLOBAL STATUS LIKE 'Rpl_semi%'"), (replica, "SHOW SLAVE STATUS")):
                f.write("\n".join("\t".join(row) for row in server.sql(text)) + "\n\n")
        try:
            primary.sql("SET GLOBAL rpl_semi_sync_master_enabled=OFF")
        except subprocess.TimeoutExpired:
            primary.kill()
            primary.start()
        replica.sql("STOP SLAVE IO_THREAD; START SLAVE IO_THREAD")
        wait_ready(lambda: self._has_followed(replica, primary), "the replica follows", FOLLOWS_S)
        self._be_waited_for(primary, replica)
        return True

    def mariadb_failover(self):
        """The primary dies, and the replica takes its place. Another replica is not made here."""
        self.is_pair.clear()
        self.mariadb.kill()
        self.mariadb_replica.sql(DURABLE)
        self.mariadb_replica.promote()
        self.mariadb_replica.is_waited = False
        self.mariadb, self.mariadb_replica = self.mariadb_replica, self.mariadb

    def make_replica(self):
        """Of what was the primary: it may hold what nobody was told of, so it begins with nothing, gets a copy of the primary's
        tables, and reads the log from there on, as a server with a new number: it would leave out what it wrote itself under the old one."""
        primary, replica = self.mariadb, self.mariadb_replica
        replica.number = next(self.server_ids)
        replica.kill()
        shutil.rmtree(replica.data, ignore_errors=True)
        replica.replica_of, replica.is_waited = primary, False
        replica.start()
        replica.sql(HURRIED)
        replica.make_users()
        replica.sql("RESET MASTER")
        self._copy(primary, replica)
        replica.sql(f"CHANGE MASTER TO master_host='{primary.address}', master_port={primary.port}, master_user='replica', "
                    f"master_password='{primary.password}', master_connect_retry=1, master_use_gtid=slave_pos; START SLAVE")
        # Twice: what was written while it read so far is little.
        for _ in range(2):
            wait_ready(lambda: self._has_followed(replica, primary), lambda: f"the replica follows: {replica.sql('SHOW SLAVE STATUS')}", FOLLOWS_S)
        self._be_waited_for(primary, replica)
        self.is_pair.set()

    @staticmethod
    def _be_waited_for(primary, replica):
        primary.is_waited = True
        primary.sql("SET GLOBAL rpl_semi_sync_master_enabled=ON")
        replica.sql("STOP SLAVE IO_THREAD; START SLAVE IO_THREAD")
        wait_ready(lambda: primary.status("Rpl_semi_sync_master_clients") == "1", "the primary waits for its replica")

    def _copy(self, primary, replica):
        """The tables as of one moment, and the replica's place in the log as of that moment. Nothing of it is logged there."""
        def client(program, server, *options):
            return [program, "--no-defaults", f"--socket={server.socket}", "--user=root", *options]

        databases = [name for name in (DATABASE, "test_probe") if primary.sql(f"SHOW DATABASES LIKE '{name}'")]
        dump = subprocess.Popen(client("mariadb-dump", primary, "--single-transaction", "--quick", "--gtid", "--master-data=1", "--databases", *databases),
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        load = subprocess.run(client("mariadb", replica, "--init-command=SET SESSION sql_log_bin=0, unique_checks=0"), stdin=dump.stdout,
                              capture_output=True, text=True, check=False)
        dump.stdout.close()
        said = dump.stderr.read().decode("utf-8", "replace") + load.stderr
        if dump.wait() != 0 or load.returncode != 0:
            raise NotReady(f"no copy of the primary: {said.strip()}")

    def wait_followed(self):
        """Until the replica has applied as good as everything."""
        wait_ready(lambda: self._has_followed(self.mariadb_replica, self.mariadb), "the replica follows", FOLLOWS_S)

    @staticmethod
    def _has_followed(replica, primary):
        """It has applied all that stood in the primary's log just now, and holds as much."""
        at, rows = primary.sql(f"SELECT @@gtid_binlog_pos, (SELECT COUNT(*) FROM {DATABASE}.message)")[0]
        if replica.sql(f"SELECT MASTER_GTID_WAIT('{at}', 10)", check=False) != [["0"]]:
            return False
        held = replica.sql(f"SELECT COUNT(*) FROM {DATABASE}.message")[0][0]
        if int(held) < int(rows) - UNLOGGED_ROWS:
            raise NotReady(f"the new replica holds {held} messages of {rows}")
        return True

    def wait_pair(self):
        if not self.is_pair.wait(FOLLOWS_S):
            raise NotReady("there is no replica")

    # ---- Redis

    def redis_failover(self):
        """The master dies, its replica is made one; what was the master comes back as its replica."""
        self.redis.kill()
        self.redis_replica.promote()
        self.redis, self.redis_replica = self.redis_replica, self.redis

    def redis_replace(self):
        self.redis_replica.replica_of = self.redis
        self.redis_replica.start()

    # ---- what the database holds in the end

    def dump(self, name, query):
        """A table as a file of tab-separated lines, in the run's directory."""
        with open(os.path.join(os.path.dirname(self.dir), name), "w", encoding="ascii") as f:
            subprocess.run(["mariadb", "--no-defaults", f"--socket={self.mariadb.socket}", "--user=root", "--batch", "--quick",
                            "--skip-column-names", DATABASE, "--execute", query], stdout=f, check=True)

    def keep_logs(self, directory):
        for p in self.programs():
            name = os.path.relpath(p.dir, self.dir).replace("/", "-")
            if os.path.exists(p.log_path):
                shutil.copyfile(p.log_path, os.path.join(directory, f"{name}.log"))
        if os.path.exists(self._path("woken.log")):
            shutil.copy(self._path("woken.log"), directory)


class PatientMariaDB(MariaDB):
    """One that looks every second whether its full disk has room again, not every minute."""

    preload = None

    def environ(self):
        return {**super().environ(), "LD_PRELOAD": self.preload}
