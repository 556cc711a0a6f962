"""A proxy in front of an S3 server that does to chosen requests what networks and storage services do."""
import collections
import email.utils
import http.client
import http.server
import re
import socket
import ssl
import struct
import threading
import time

ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>by the test</Message></Error>"


class S3Proxy:
    """fail(pattern, how, times): the next requests whose "METHOD /path?query" matches meet `how`:
    a status and code like "503 SlowDown"; "reset" before an answer; "lost": S3 does it, the answer is reset; "truncate" the body half way;
    "etag": another ETag in the answer; "trickle" a byte a second; "html"; "skew": a Date an hour ahead. seen: what was asked for."""

    def __init__(self, port, tls=None):
        """@param tls  files of a certificate and its key"""
        self.upstream_port = port
        self.faults, self.seen, self.met, self.lock = [], [], collections.Counter(), threading.Lock()
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                proxy.answer(self, body, proxy.fault_of(f"{self.command} {self.path}"))

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = pass_on

            def log_message(self, *_):
                pass

        class Listener(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, *_):
                pass

        self.listener = Listener(("127.0.0.1", 0), Handler)
        self.endpoint = f"http{'s' if tls else ''}://127.0.0.1:{self.listener.server_address[1]}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self.listener.socket = context.wrap_socket(self.listener.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def close(self):
        self.listener.shutdown()
        self.listener.server_close()

    def fail(self, pattern, how, times=1):
        with self.lock:
            self.faults.append([re.compile(pattern), how, times])

    def heal(self):
        with self.lock:
            self.faults.clear()

    def fault_of(self, line):
        with self.lock:
            self.seen.append(line)
            for fault in self.faults:
                if fault[2] > 0 and fault[0].search(line):
                    fault[2] -= 1
                    self.met[fault[1]] += 1
                    return fault[1]
        return None

    def answer(self, handler, body, fault):
        if fault == "reset":
            self.reset(handler)
        elif fault == "html":
            self.send(handler, 200, {"Content-Type": "text/html"}, b"<!DOCTYPE html><html><p>hello</html>")
        elif fault and fault[0].isdigit():
            status, code = fault.split(" ", 1)
            self.send(handler, int(status), {}, ERROR.format(code).encode())
        else:
            self.forward(handler, body, fault)

    def forward(self, handler, body, fault):
        upstream = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=60)
        try:
            upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() != "connection":
                    upstream.putheader(name, value)
            upstream.putheader("Connection", "close")
            upstream.endheaders(body or None)
            answer = upstream.getresponse()
            data = answer.read()
            headers = {k: v for k, v in answer.getheaders() if k.lower() not in ("connection", "transfer-encoding", "content-length")}
            length = answer.getheader("Content-Length") if handler.command == "HEAD" else len(data)
        finally:
            upstream.close()
        if fault == "lost":
            self.reset(handler)
            return
        if fault == "etag":
            headers["ETag"] = '"00000000000000000000000000000000"'
        if fault == "skew":
            headers["Date"] = email.utils.formatdate(time.time() + 3600, usegmt=True)
        self.send(handler, answer.status, headers, data, length, fault)

    @staticmethod
    def send(handler, status, headers, data, length=None, fault=None):
        handler.send_response_only(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(data) if length is None else length))
        handler.end_headers()
        if handler.command == "HEAD":
            return
        if fault == "truncate":
            handler.wfile.write(data[:len(data) // 2])
            handler.close_connection = True
        elif fault == "trickle":
            for at in range(len(data)):
                handler.wfile.write(data[at:at + 1])
                handler.wfile.flush()
                time.sleep(1)
        else:
            handler.wfile.write(data)

    @staticmethod
    def reset(handler):
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.close_connection = True
        handler.wfile.close()
        handler.rfile.close()
        handler.connection.close()
