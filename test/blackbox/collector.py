"""A collector of traces that takes nothing but what OTLP over HTTP with JSON allows: fields, types and spellings of the Protobuf JSON mapping."""
import http.server
import json
import re
import threading

HEX = {16: re.compile(r"[0-9a-f]{16}"), 32: re.compile(r"[0-9a-f]{32}")}
KINDS = {1: "internal", 4: "producer", 5: "consumer"}
SPAN = {"traceId", "spanId", "flags", "name", "kind", "startTimeUnixNano", "endTimeUnixNano", "attributes"}
MAY = {"parentSpanId", "traceState", "status"}


def keys(value, must, may=()):
    assert isinstance(value, dict) and set(must) <= set(value) <= set(must) | set(may), value
    return value


def attributes(items):
    assert isinstance(items, list)
    read = {}
    for item in items:
        keys(item, {"key", "value"})
        ((kind, value),) = item["value"].items()
        assert item["key"] and item["key"] not in read, item
        assert isinstance(value, str) and (kind == "stringValue" or (kind == "intValue" and re.fullmatch(r"-?\d+", value))), item
        read[item["key"]] = int(value) if kind == "intValue" else value
    return read


def identity(text, digits):
    assert HEX[digits].fullmatch(text) and set(text) != {"0"}, text
    return text


def nanos(text):
    assert isinstance(text, str) and re.fullmatch(r"\d{19}", text), text
    return int(text)


class Span:
    def __init__(self, raw, resource):
        keys(raw, SPAN, MAY)
        self.resource, self.name = resource, raw["name"]
        self.trace, self.id = identity(raw["traceId"], 32), identity(raw["spanId"], 16)
        self.parent = identity(raw["parentSpanId"], 16) if "parentSpanId" in raw else None
        self.state = raw.get("traceState")
        self.start, self.end = nanos(raw["startTimeUnixNano"]), nanos(raw["endTimeUnixNano"])
        self.kind, self.attributes = KINDS[raw["kind"]], attributes(raw["attributes"])
        assert self.name and self.start <= self.end and raw["flags"] & 1, raw
        status = keys(raw.get("status", {"code": 0}), {"code"}, {"message"})
        assert status["code"] in (0, 2) and (status["code"] == 0 or status["message"]), status
        self.failed, self.message = status["code"] == 2, status.get("message")

    def __repr__(self):
        return f"{self.name}({self.attributes.get('haul.attempt', '')})"


def spans_of(body):
    for group in keys(body, {"resourceSpans"})["resourceSpans"]:
        keys(group, {"resource", "scopeSpans"})
        resource = attributes(keys(group["resource"], {"attributes"})["attributes"])
        assert resource["service.name"] in ("haul-server", "haul-worker") and resource["service.version"] and resource["service.instance.id"], resource
        for scope in group["scopeSpans"]:
            keys(scope, {"scope", "spans"})
            assert keys(scope["scope"], {"name", "version"})["name"] == "haul"
            assert scope["spans"]
            yield from (Span(raw, resource) for raw in scope["spans"])


class Collector:
    """answers: statuses to give, in order, before 200; `free`: it reads, and answers nothing while that is clear; `headers`: of the last request."""

    def __init__(self, *answers):
        self.answers, self.spans, self.wrong, self.calls, self.headers = list(answers), [], [], 0, None
        self.changed, self.free = threading.Condition(), threading.Event()
        self.free.set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                status = collector.take(self.path, self.headers, body)
                collector.free.wait()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"{}")
                except OSError:
                    pass

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        with self.changed:
            self.calls, self.headers = self.calls + 1, headers
            status = self.answers.pop(0) if self.answers else 200
            try:
                assert (path, headers.get_all("Content-Type")) == ("/v1/traces", ["application/json"]), (path, headers)
                taken = list(spans_of(json.loads(body)))
                if status == 200:
                    self.spans += taken
            except Exception as e:  # told to the test, which waits elsewhere
                self.wrong.append(repr(e))
            self.changed.notify_all()
        return status

    def wait(self, reached, deadline=30):
        with self.changed:
            assert self.changed.wait_for(lambda: self.wrong or reached(), deadline), (self.calls, self.spans)
            assert not self.wrong, self.wrong

    def of_job(self, job_id, *names):
        """All spans of a job, once those names are there, each as often as it is said."""
        def mine():
            return [s for s in self.spans if s.attributes["messaging.message.id"] == job_id]
        self.wait(lambda: all(sum(s.name == n for s in mine()) >= names.count(n) for n in names))
        assert sorted(s.name for s in mine()) == sorted(names), mine()
        return mine()

    def close(self):
        self.free.set()
        self.http.shutdown()
        self.http.server_close()


def check_tree(spans, remote=None):
    """One trace; every parent is there; parts lie within the attempt. @return {name: [spans in order]}"""
    ids = {s.id: s for s in spans}
    assert len(ids) == len(spans) and len({s.trace for s in spans}) == 1
    named = {}
    for s in sorted(spans, key=lambda s: s.start):
        named.setdefault(s.name, []).append(s)
        parent = {"submit": None, "wait": "submit", "attempt": "submit"}.get(s.name, "attempt")
        if parent is None:
            assert s.parent == remote
            continue
        assert ids[s.parent].name == parent and ids[s.parent].start <= s.start, s
        if parent == "attempt":
            assert s.end <= ids[s.parent].end and s.attributes["haul.attempt"] == ids[s.parent].attributes["haul.attempt"], s
    return named
