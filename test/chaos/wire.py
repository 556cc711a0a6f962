"""Between a worker and its server: passes every request on as it is, and writes down what the worker asked and what it was answered, as the
wire showed it. A connection that ends on one side is ended on the other, so nobody is told more than without it."""
import asyncio
import hashlib
import json
import re
import threading

from history import boot_us

ATTEMPT = re.compile(r"/v1/jobs/([0-9a-f-]{36})/attempts/(\d+)/(\w+)(?:/([^?]+))?")
KINDS = {"heartbeat": "beat", "complete": "complete", "fail": "fail"}  # all else that a worker writes is an "output"


def parsed(body):
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Message:
    def __init__(self, first, headers, body, raw_body):
        self.first, self.headers, self.body, self.raw_body = first, headers, body, raw_body

    def bytes(self, host=None):
        lines = [self.first] + [f"{k}: {host if host and k.lower() == 'host' else v}" for k, v in self.headers if k.lower() != "expect"]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + self.raw_body

    def header(self, name):
        return next((v for k, v in self.headers if k.lower() == name), "")


async def read_body(reader, length, chunked):
    """(what it says, as it was sent)"""
    if not chunked:
        body = await reader.readexactly(length)
        return body, body
    body, raw = b"", b""
    while True:
        line = await reader.readline()
        size = int(line.split(b";")[0], 16)
        piece = await reader.readexactly(size + 2)
        body, raw = body + piece[:-2], raw + line + piece
        if not size:
            return body, raw


async def read_message(reader, writer=None, bodyless=False):
    """The next one, or None at the end. `writer`: where to say that a body may come."""
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    message = Message(first, [tuple(line.split(": ", 1)) if ": " in line else (line.rstrip(":"), "") for line in lines], b"", b"")
    if writer and message.header("expect"):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
    if not bodyless:
        message.body, message.raw_body = await read_body(reader, int(message.header("content-length") or 0),
                                                         "chunked" in message.header("transfer-encoding").lower())
    return message


class Wire:
    """listen(address, who) gives a worker its port. `live`: job -> (attempt, who) that was told and has not reported; `claims`: job ->
    [(t, attempt, who)]; `renewed`: job -> when its latest good heartbeat was asked."""

    def __init__(self, history, upstream):
        self.history, self.upstream = history, upstream
        self.live, self.claims, self.sent, self.renewed = {}, {}, {}, {}
        self.host = f"{upstream[0]}:{upstream[1]}"
        self.loop = asyncio.new_event_loop()
        self.servers = []
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def listen(self, address, who):
        async def start():
            return await asyncio.start_server(lambda r, w: self.serve(r, w, who), address, 0, limit=1 << 20)
        server = asyncio.run_coroutine_threadsafe(start(), self.loop).result(10)
        self.servers.append(server)
        return server.sockets[0].getsockname()[1]

    def close(self):
        async def end():
            for server in self.servers:
                server.close()
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    async def serve(self, reader, writer, who):
        up = None
        try:
            while True:
                request = await read_message(reader, writer)
                if not up:
                    up = await asyncio.open_connection(*self.upstream, limit=1 << 20)
                if not await self.exchange(request, reader, writer, up, who):
                    return
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort() if writer.transport.is_closing() else writer.close()
            if up:
                up[1].close()

    async def exchange(self, request, reader, writer, up, who):
        method, path = request.first.split(" ")[:2]
        tell = self.asked(method, path, request.body, who)
        answer = None
        try:
            up[1].write(request.bytes(self.host))
            await up[1].drain()
            answered = asyncio.ensure_future(read_message(up[0], bodyless=method == "HEAD"))
            hung_up = asyncio.ensure_future(reader.read(1))  # nothing is sent before the answer: only an end can come
            done, _ = await asyncio.wait({answered, hung_up}, return_when=asyncio.FIRST_COMPLETED)
            if answered not in done:
                answered.cancel()
                return False
            hung_up.cancel()
            await asyncio.wait({hung_up})
            answer = answered.result()
        finally:
            status = int(answer.first.split(" ")[1]) if answer else None
            tell(status, parsed(answer.body) if answer else None)
        writer.write(answer.bytes())
        await writer.drain()
        return "close" not in answer.header("connection").lower()

    def asked(self, method, path, body, who):
        """Writes the question down; what it gives writes down the answer."""
        if method == "POST" and path == "/v1/lease":
            return lambda status, answer: self.told(status, answer, who)
        found = ATTEMPT.match(path)
        if not found or method == "GET":
            return lambda status, answer: None
        job, attempt, verb, name = found[1], int(found[2]), found[3], found[4]
        kind = KINDS.get(verb, "output")
        members = {"job": job, "attempt": attempt}
        said = parsed(body) if kind != "output" else {}
        asked = {"outcome": said.get("outcome")} if kind == "fail" else {}
        if verb == "outputs" and method == "PUT":
            self.sent[job, attempt, name] = {"name": name, "size": len(body), "sha256": hashlib.sha256(body).hexdigest()[:16]}
        if kind == "complete":
            asked["outputs"] = [self.sent[job, attempt, n] for n in said.get("outputs", ()) if (job, attempt, n) in self.sent]
        op, asked_us = self.history.invoke(kind, **members, **asked), boot_us()

        def tell(status, answer):
            more = {"status": answer.get("status")} if answer and status == 200 and kind in ("complete", "fail") else {}
            self.history.answer(kind, op, status, answer, **members, **more)
            if kind == "beat" and status == 200:
                self.renewed[job] = asked_us
            if kind in ("complete", "fail") and status and status < 500 and self.live.get(job, (None,))[0] == attempt:
                self.live.pop(job, None)
        return tell

    def told(self, status, answer, who):
        for job in (answer or {}).get("jobs", ()) if status == 200 else ():
            self.history.add("claim", who=who, job=job["job_id"], attempt=job["attempt"], token=job["token"])
            self.live[job["job_id"]] = (job["attempt"], who)
            self.claims.setdefault(job["job_id"], []).append((self.history.events[-1]["t"], job["attempt"], who))
