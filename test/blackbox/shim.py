"""The shim of test/torture from the outside: a file that the server and the test both map, in which the test says which call is to fail. And the
client for such a server: it takes a closed connection for an answer that nobody knows, and asks again."""
import ctypes
import mmap

import pytest
import requests
from conftest import HAUL

SHIM = HAUL.parent / "test" / "torture" / "libhaul-shim.so"
KINDS = ("alloc", "write", "sync", "open", "name")  # as enum shim_kind in test/torture/shim.h

needed = pytest.mark.skipif(not SHIM.exists(), reason="built with a sanitizer, which has an allocator of its own")


class Point(ctypes.Structure):
    _fields_ = [("countdown", ctypes.c_int64), ("onwards", ctypes.c_int64), ("error", ctypes.c_int64), ("calls", ctypes.c_int64),
                ("failed", ctypes.c_int64)]


class Shim(ctypes.Structure):
    _fields_ = [("points", Point * len(KINDS)), ("live", ctypes.c_int64)]


class Faults:
    """The file that the shim in the server looks at."""

    def __init__(self, path):
        path.write_bytes(bytes(4096))
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), 4096)
        self.shim = Shim.from_buffer(self.map)

    def point(self, kind):
        return self.shim.points[KINDS.index(kind)]

    def arm(self, kind, n, error, onwards=False):
        point = self.point(kind)
        point.countdown, point.onwards, point.error, point.failed = 0, int(onwards), error, 0
        point.countdown = n

    def disarm(self, kind):
        """Whether it struck."""
        point = self.point(kind)
        point.countdown = point.onwards = 0
        return point.failed > 0


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path / "shim")


class Client:
    """Plain requests: an answer, or None when the connection ended without one."""

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()

    def __call__(self, method, path, **kwargs):
        try:
            return self.session.request(method, self.url + path, timeout=20, **kwargs)
        except requests.exceptions.Timeout:
            pytest.fail(f"{method} {path} hangs")
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None


def answered(client, method, path, wanted, **kwargs):
    """Repeats a call that can be repeated until it is answered as wanted: what a client does after a failure."""
    for _ in range(10):
        answer = client(method, path, **kwargs)
        if answer is not None and answer.status_code in wanted:
            return answer
        assert answer is None or answer.status_code >= 500, f"{method} {path}: {answer.status_code} {answer.text}"
    pytest.fail(f"{method} {path}: no answer")
    return None
