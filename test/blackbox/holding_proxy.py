"""An HTTP proxy between a worker and its server that holds back the requests a test names: so that a test can act at a chosen step."""
import http.server
import re
import socket
import threading
import urllib.parse

import requests


class HoldingProxy:
    """hold(pattern) keeps every request whose "METHOD /path" matches; waiting for one is held(pattern); release() lets them go on."""

    def __init__(self, upstream):
        self.upstream = upstream
        self.patterns, self.seen, self.changed, self.closed = [], [], threading.Condition(), False
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.read_body()
                if proxy.gate(f"{self.command} {self.path}") and self.client_waits():
                    proxy.forward(self, body)
                else:
                    self.close_connection = True

            def client_waits(self):
                try:
                    return self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
                except BlockingIOError:
                    return True
                except OSError:
                    return False

            def read_body(self):
                if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                    body = b""
                    while size := int(self.rfile.readline().split(b";")[0], 16):
                        body += self.rfile.read(size)
                        self.rfile.readline()
                    self.rfile.readline()
                    return body
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))

            do_GET = do_POST = do_PUT = do_HEAD = do_PATCH = do_DELETE = pass_on

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass  # a worker that was killed hangs up

        self.listener = Listener(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.listener.server_address[1]}"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def gate(self, request):
        """True when the request may go on."""
        with self.changed:
            self.seen.append(request)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.closed or not any(re.search(p, request) for p in self.patterns))
            return not self.closed

    def forward(self, handler, body):
        headers = {k: v for k, v in handler.headers.items()
                   if k.lower() not in ("connection", "transfer-encoding", "content-length")}
        headers["Host"] = urllib.parse.urlsplit(self.upstream).netloc
        body = self.request_passes(handler.path, headers, body)
        try:
            answer = requests.request(handler.command, self.upstream + handler.path, data=body, headers=headers, timeout=75)
        except requests.RequestException:
            handler.close_connection = True
            return
        handler.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                handler.send_header(name, value)
        content = self.answer_passes(handler.path, answer)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    def request_passes(self, path, headers, body):
        """The body that goes on; a subclass may change it, and the headers."""
        return body

    def answer_passes(self, path, answer):
        """The bytes that go back; a subclass may change them."""
        return answer.content

    def hold(self, *patterns):
        with self.changed:
            self.patterns += patterns

    def held(self, pattern, timeout=30):
        with self.changed:
            assert self.changed.wait_for(lambda: any(re.search(pattern, r) for r in self.seen), timeout), self.seen

    def release(self, *patterns):
        """Those, or all."""
        with self.changed:
            self.patterns[:] = [p for p in self.patterns if patterns and p not in patterns]
            self.changed.notify_all()

    def count(self, pattern):
        with self.changed:
            return sum(bool(re.search(pattern, r)) for r in self.seen)

    def close(self):
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        self.listener.shutdown()
        self.listener.server_close()
