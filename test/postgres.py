"""A PostgreSQL of a test's own: in a folder of its own, on a Unix socket there; ended with the test.

    postgres.py [--pooler] PROGRAM ARGS...    runs a program with HAUL_TEST_POSTGRES set to the connection string; 77 where PostgreSQL is not
                                              installed. --pooler: through PgBouncer in transaction mode, where that is installed
"""
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile


def bin_dir():
    """Debian's newest, or None."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    return found[-1].parent if found else None


class Postgres:
    def __init__(self, bin_path, sync=False, prefix="haul-pg-", standby_of=None, where="/tmp"):
        self.bin = bin_path
        self.process = None
        # Not pytest's folder: a socket's path is short, and the server's user must be able to reach it.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=where))
        self.user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        if self.user:
            who = pwd.getpwnam(self.user)
            os.chown(self.dir, who.pw_uid, who.pw_gid)
        self.data = self.dir / "data"
        try:
            if standby_of:
                self._copy(standby_of)
            else:
                self._run("initdb", "-D", self.data, "-U", "haul", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
            self.options = ["-c", f"unix_socket_directories={self.dir}", "-c", "listen_addresses=", "-c", "max_connections=60",
                            "-c", "shared_buffers=32MB", "-c", f"fsync={'on' if sync else 'off'}", "-c", "log_min_messages=fatal"]
            self.start()
        except BaseException:
            self.remove()
            raise

    def _run(self, name, *args):
        subprocess.run([self.bin / name, *args], check=True, user=self.user, group=self._group(), extra_groups=[] if self.user else None,
                       cwd=self.dir, stdout=subprocess.DEVNULL)

    def _copy(self, primary):
        """A standby in an empty folder, asynchronous until its primary waits for it; promoted, it waits for nobody."""
        self._run("pg_basebackup", "-D", self.data, "-d", primary.url(), "-R", "-c", "fast", "--no-sync")
        with open(self.data / "postgresql.auto.conf", "a", encoding="utf-8") as conf:
            conf.write("synchronous_standby_names = ''\n")

    def follow(self, primary):
        """What it had is dropped."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.data)
        self._copy(primary)
        self.start()

    def _group(self):
        return pwd.getpwnam(self.user).pw_gid if self.user else None

    def spawn(self, command, log):
        """As the server's user."""
        return subprocess.Popen(command, user=self.user, group=self._group(), extra_groups=[] if self.user else None, cwd=self.dir, stdout=log,
                                stderr=log)

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = self.spawn([self.bin / "postgres", "-D", self.data, *self.options], log)
        self._wait()

    def _wait(self):
        ready = [self.bin / "pg_isready", "-q", "-h", self.dir, "-U", "haul", "-d", "postgres"]
        while subprocess.run(ready, check=False).returncode != 0:
            if self.process.poll() is not None:
                raise RuntimeError((self.dir / "log").read_text(errors="replace"))
            signal.sigtimedwait([], 0.05)

    def url(self, database="postgres", user="haul"):
        return f"postgresql:///{database}?host={self.dir}&user={user}"

    def psql(self, sql, database="postgres"):
        done = subprocess.run([self.bin / "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-d", self.url(database), "-c", sql], check=True,
                              capture_output=True, text=True)
        return done.stdout.strip()

    def stop(self, how=signal.SIGINT):
        """SIGINT: at once, in order. SIGQUIT: as a crash."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait()
        self.process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


class Pair:
    """Two, the second a synchronous standby of the first."""

    def __init__(self, bin_path, prefix="haul-pg-"):
        self.failovers = 0
        self.primary = Postgres(bin_path, prefix=prefix)
        try:
            self.standby = Postgres(bin_path, prefix=prefix, standby_of=self.primary)
            self.hosts = self.primary.dir, self.standby.dir
            self.wait_for_standby()
        except BaseException:
            self.remove()
            raise

    def wait_for_standby(self):
        """From now on nothing is committed that the standby does not have; nor was before."""
        self.primary.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.primary.psql("SELECT pg_reload_conf()")
        while self.primary.psql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync' AND flush_lsn >= pg_current_wal_flush_lsn()"
                                ) == "0":
            signal.sigtimedwait([], 0.05)

    def url(self, database="postgres", user="haul"):
        """Both hosts, in an order that stays."""
        return f"postgresql:///{database}?host={','.join(map(str, self.hosts))}&user={user}"

    def fence(self):
        """The primary lives on, and begins no more transactions that write."""
        self.primary.psql("ALTER SYSTEM SET default_transaction_read_only = on")
        self.primary.psql("SELECT pg_reload_conf()")

    def promote(self):
        """The standby, whether or not the primary lives; which is the other way round from now on."""
        self.standby.psql("SELECT pg_promote()")
        self.primary, self.standby = self.standby, self.primary
        self.failovers += 1

    def fail_over(self):
        """The primary dies as in a crash."""
        self.primary.stop(signal.SIGQUIT)
        self.promote()

    def repair(self):
        """The former primary becomes a standby."""
        self.standby.follow(self.primary)
        self.wait_for_standby()

    def remove(self):
        for server in (self.primary, getattr(self, "standby", None)):
            if server:
                server.stop(signal.SIGQUIT)
                server.remove()


def pgbouncer():
    """Where it is, or None."""
    return shutil.which("pgbouncer", path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")


class Pooler:
    """A PgBouncer before a server, in transaction mode: each transaction gets another session than the one before."""

    def __init__(self, server):
        self.server, self.process = server, None
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="pool-", dir=server.dir))
        (self.dir / "users").write_text('"haul" ""\n')
        (self.dir / "pgbouncer.ini").write_text(f"""[databases]
* = host={server.dir}
[pgbouncer]
unix_socket_dir = {self.dir}
listen_port = 5432
auth_type = trust
auth_file = {self.dir}/users
admin_users = haul
pool_mode = transaction
server_round_robin = 1
min_pool_size = 3
default_pool_size = 20
server_login_retry = 0.1
""")
        if server.user:
            for path in (self.dir, *self.dir.iterdir()):
                os.chown(path, pwd.getpwnam(server.user).pw_uid, -1)
        self.start()

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = self.server.spawn([pgbouncer(), self.dir / "pgbouncer.ini"], log)
        while not (self.dir / ".s.PGSQL.5432").exists():
            if self.process.poll() is not None:
                raise RuntimeError((self.dir / "log").read_text(errors="replace"))
            signal.sigtimedwait([], 0.05)

    def url(self, database="postgres", user="haul"):
        return f"postgresql:///{database}?host={self.dir}&user={user}"

    def stop(self):
        """At once: it has nothing to lose."""
        self.process.kill()
        self.process.wait()
        (self.dir / ".s.PGSQL.5432").unlink(missing_ok=True)


def main():
    found, arguments = bin_dir(), sys.argv[1:]
    if not found:
        print("PostgreSQL is not installed")
        return 77
    through = arguments[0] == "--pooler"
    if through:
        arguments.pop(0)
        if not pgbouncer():
            print("PgBouncer is not installed: straight to PostgreSQL")
            through = False
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a time limit of the caller's: what was started goes, too
    server, pooler = Postgres(found), None
    try:
        pooler = Pooler(server) if through else None
        return subprocess.run(arguments, env={**os.environ, "HAUL_TEST_POSTGRES": (pooler or server).url()}, check=False).returncode
    finally:
        if pooler:
            pooler.stop()
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
