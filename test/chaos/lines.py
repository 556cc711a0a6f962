"""Hundreds of requests at once from one thread, and little of the processor for each: what is asked for jobs by the million."""
import json
import re
import signal
import socket
import struct
import urllib.parse

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
PATIENCE = struct.pack("ll", 30, 0)  # struct timeval


def post(path, body, **headers):
    """A request as it goes over the wire. Headers' names with _ for -."""
    body = json.dumps(body).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}\r\n".encode() + body


class Line:
    """A connection that is kept, to one server after the other: the next one when this one fails."""

    def __init__(self, urls, first):
        self.urls, self.n, self.socket = urls, first, None  # urls may change meanwhile

    def send(self, request):
        """False: nobody was there."""
        try:
            if not self.socket:
                at = urllib.parse.urlsplit(self.urls[self.n % len(self.urls)])
                self.socket = socket.create_connection((at.hostname, at.port))
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, PATIENCE)
            self.socket.sendall(request)
            return True
        except OSError:
            self.close()
            return False

    def receive(self):
        """Status and body of an answer that counts, below 500; else None, and the request may be repeated."""
        try:
            data = self.socket.recv(65536)
            while b"\r\n\r\n" not in data:
                data += self._more()
            end = data.index(b"\r\n\r\n") + 4
            status, whole = int(data[9:12]), end + int(LENGTH.search(data, 0, end)[1])
            while len(data) < whole:
                data += self._more()
            if status < 500:
                return status, json.loads(data[end:])
        except OSError:
            pass
        self.close()
        return None

    def _more(self):
        data = self.socket.recv(1 << 20)
        if not data:
            raise ConnectionError
        return data

    def close(self):
        """The next request goes to the next server."""
        if self.socket:
            self.socket.close()
        self.socket, self.n = None, self.n + 1


def ask_all(lines, requests, stop):
    """Each until it is answered, as many at once as there are lines: so each must be safe to repeat. An answer is None when `stop` was set before."""
    answers = [None] * len(requests)
    todo = list(range(len(requests)))
    while todo and not stop.is_set():
        sent = [(i, line) for i, line in zip(todo, lines) if line.send(requests[i])]
        for i, line in sent:
            answers[i] = line.receive()
        before, todo = todo, [i for i in todo if answers[i] is None]
        if len(before) - len(todo) < min(len(lines), len(before)):
            signal.sigtimedwait([], 0.02)
    return answers
