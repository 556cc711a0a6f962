"""A Redis of a test's own: in a folder of its own, on a Unix socket there (and a port, where asked); ended with the test.

    redis_server.py PROGRAM ARGS...    runs a program with HAUL_TEST_REDIS set to the URL; 77 where Redis is not installed
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile


def program():
    return shutil.which("redis-server")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    def __init__(self, *options, port=False):
        self.process = None
        # Not pytest's folder: a socket's path is short.
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="haul-redis-", dir="/tmp"))
        self.socket = self.dir / "s"
        self.with_port, self.port = port, 0
        self.options = [str(o) for o in options]
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    def start(self):
        """On a port another try is made with another one, should it be taken meanwhile; a second start keeps it."""
        for _ in range(5):
            if self.with_port and not self.port:
                self.port = free_port()
            self.log = self.dir / "log"
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [program(), "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket, "--dir", self.dir, "--save",
                     "", *self.options], cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            if self._up():
                return
            if self.with_port:
                self.port = 0
        raise RuntimeError(self.log.read_text(errors="replace"))

    def _up(self):
        while self.process.poll() is None:
            try:
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(str(self.socket))
                    s.sendall(b"PING\r\n")
                    if s.recv(64).startswith((b"+PONG", b"-NOAUTH")):
                        return True
            except OSError:
                pass
            signal.sigtimedwait([], 0.02)
        return False

    @property
    def url(self):
        return f"redis+unix://{self.socket}"

    @property
    def tcp(self):
        return f"127.0.0.1:{self.port}"

    def stop(self, how=signal.SIGKILL):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(how)
            self.process.wait()
        self.process = None

    def remove(self):
        self.stop()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    if not program():
        print("Redis is not installed")
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = Redis()
    try:
        return subprocess.run(sys.argv[1:], env={**os.environ, "HAUL_TEST_REDIS": server.url}, check=False).returncode
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
