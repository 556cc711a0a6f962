"""A PostgreSQL of a test's own: in a folder of its own, on a Unix socket there; ended with the test.

    postgres.py PROGRAM ARGS...    runs a program with HAUL_TEST_POSTGRES set to the connection string; 77 where PostgreSQL is not installed
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
    def __init__(self, bin_path, sync=False, prefix="haul-pg-"):
        self.bin = bin_path
        self.process = None
        # Not pytest's folder: a socket's path is short, and the server's user must be able to reach it.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
        self.user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
        if self.user:
            who = pwd.getpwnam(self.user)
            os.chown(self.dir, who.pw_uid, who.pw_gid)
        self.data = self.dir / "data"
        try:
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

    def _group(self):
        return pwd.getpwnam(self.user).pw_gid if self.user else None

    def start(self):
        with open(self.dir / "log", "ab") as log:
            self.process = subprocess.Popen([self.bin / "postgres", "-D", self.data, *self.options], user=self.user, group=self._group(),
                                            extra_groups=[] if self.user else None, cwd=self.dir, stdout=log, stderr=log)
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


def main():
    found = bin_dir()
    if not found:
        print("PostgreSQL is not installed")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a time limit of the caller's: what was started goes, too
    server = Postgres(found)
    try:
        return subprocess.run(sys.argv[1:], env={**os.environ, "HAUL_TEST_POSTGRES": server.url()}, check=False).returncode
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
