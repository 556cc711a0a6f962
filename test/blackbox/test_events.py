"""GET /v1/events: what changes, as it changes. Readers that are fast, slow, gone, many, and come again."""
import json
import queue
import socket
import threading
import uuid

import jsonschema
import pytest
from conftest import COMPLETE, Api, problem, until
from contract import SPEC, resolved, strict

OCTETS = {"Content-Type": "application/octet-stream"}
JOB = jsonschema.Draft202012Validator(strict(resolved(SPEC["components"]["schemas"]["JobSummary"])))


class Stream:
    """Reads events on a thread of its own, as an EventSource would."""

    def __init__(self, api, last_event_id=None, **params):
        headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
        self.answer = api.get("/v1/events", params=params, headers=headers, stream=True, timeout=120)
        assert self.answer.status_code == 200, self.answer.text
        assert self.answer.headers["Content-Type"] == "text/event-stream"
        assert self.answer.headers["Cache-Control"] == "no-store"
        self.events, self.last_id, self.comments = queue.Queue(), None, 0
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        event = {}
        try:
            for line in self.lines():
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(": ")
                    assert name in ("id", "event", "data", "retry") and name not in event, line
                    event[name] = value
                elif "event" in event:
                    self.events.put((event["event"], json.loads(event["data"]), event["id"]))
                    event = {}
                else:
                    event = {}
            self.events.put(None)
        except Exception as cut:  # noqa: BLE001 - told to the test below
            self.events.put(cut)

    def lines(self):
        rest = b""
        for piece in self.answer.iter_content(None):
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.decode() for line in whole)

    def next(self):
        event = self.events.get(timeout=30)
        assert isinstance(event, tuple), event
        name, data, self.last_id = event
        if name == "job":
            JOB.validate(data)
        return name, data

    def until(self, name, fits=lambda data: True):
        """The next event of that name and kind; others are passed over."""
        while True:
            got, data = self.next()
            if got == name and fits(data):
                return data

    def close(self):
        self.answer.raw.connection.sock.shutdown(socket.SHUT_RDWR)  # close() would wait for the thread that reads


def opened(api, **params):
    """A stream that has begun: what happens from now on is told."""
    stream = Stream(api, **params)
    assert stream.next() == ("reset", {"reason": "new"})
    return stream


def ended(api, claim, verb="complete", **body):
    assert api.act(claim, verb, body or {"outputs": [], **COMPLETE}).status_code == 200


def test_a_jobs_life_is_told(api):
    stream = opened(api, jobs=1)
    job = api.submit("film", labels={"a": "b"})
    (claim,) = api.lease("film")
    api.act(claim, "progress", {"percent": 50, "message": "half"})
    told = stream.until("job", lambda j: j["job_id"] == job["job_id"] and j["progress"])
    assert told["progress"]["message"] == "half" and told["status"] == "running" and told["labels"] == {"a": "b"}
    ended(api, claim)
    assert stream.until("job", lambda j: j["status"] == "success")["job_id"] == job["job_id"]
    stream.close()


def test_a_filter_tells_of_its_own_and_of_those_that_left_it(api):
    stream = opened(api, jobs=1, status="pending", task_type="film", queue="night", label=["a=b", "c"])
    other = [api.submit("film", queue="night", labels={"a": "b"}), api.submit("film", queue="night", labels={"a": "x", "c": ""}),
             api.submit("film", labels={"a": "b", "c": ""}), api.submit("song", queue="night", labels={"a": "b", "c": ""})]
    job = api.submit("film", queue="night", labels={"a": "b", "c": ""})
    assert stream.next()[1]["job_id"] == job["job_id"]
    for each in [*other, job]:
        assert api.post(f"/v1/jobs/{each['job_id']}/cancel", {}).status_code == 200
    assert stream.next() == ("left", {"job_id": job["job_id"], "status": "cancelled"})
    stream.close()


def test_single_jobs_are_followed_and_one_that_is_deleted_is_told(api):
    job, unwatched = api.submit("film"), api.submit("film")
    stream = opened(api, job=[job["job_id"], str(uuid.uuid4())])
    api.post(f"/v1/jobs/{unwatched['job_id']}/cancel", {})
    (claim,) = api.lease("film")
    assert stream.next()[1]["status"] == "running"
    ended(api, claim, "fail", outcome="error", permanent=True)
    assert stream.until("job", lambda j: j["status"] == "failed")["job_id"] == job["job_id"]
    assert api.request("DELETE", f"/v1/jobs/{job['job_id']}").status_code in (200, 204)
    assert stream.until("left") == {"job_id": job["job_id"], "status": None}
    stream.close()


def test_a_stream_goes_on_where_it_was_cut_or_says_that_it_cannot(api, server):
    stream = opened(api, jobs=1)
    first = api.submit("film")["job_id"]
    assert stream.next()[1]["job_id"] == first
    stream.close()
    missed = [api.submit("film")["job_id"] for _ in range(3)]
    for how in ({"last_event_id": stream.last_id}, {}):
        again = Stream(api, jobs=1, **how) if how else Stream(api, **{"jobs": 1, "last_event_id": stream.last_id})
        assert [again.next()[1]["job_id"] for _ in missed] == missed  # no reset before
        again.close()
    for wrong in ("7", "x" * 5000, stream.last_id + "0" * 30, stream.last_id[:17] + "99999999-0-0"):
        again = Stream(api, wrong, jobs=1)
        name, data = again.next()
        assert name == "reset" and data["reason"] in ("restarted", "behind")
        again.close()
    server.kill()
    server.restart()
    again = Stream(api, stream.last_id, jobs=1)
    assert again.next() == ("reset", {"reason": "restarted"})
    again.close()


def test_many_changes_become_one_reset(api):
    stream = opened(api, jobs=1)
    api.post("/v1/jobs:batch", {"jobs": [{"task_type": "film"}] * 500})
    assert stream.until("reset")["reason"] == "many"
    job = api.submit("film")["job_id"]  # and then it goes on, one by one or by another reset
    until(lambda: stream.next()[0] == "reset" or api.job(job))
    stream.close()


def test_counts_and_workers_come_at_once_and_when_they_change(api):
    api.submit("film")
    stream = opened(api, counts=1, workers=1)
    assert stream.until("workers") == {"workers": [], "more": False}
    (row,) = stream.until("counts", lambda c: c["queues"])["queues"]
    assert (row["task_type"], row["pending"], row["ready"]) == ("film", 1, 1)
    (claim,) = api.lease("film")
    told = {"counts": {"queues": [row]}}
    while not ("workers" in told and told["counts"]["queues"][0]["running"]):  # in whichever order
        told.update([stream.next()])
    (row,) = told["counts"]["queues"]
    assert (row["pending"], row["running"]) == (0, 1)
    assert len(told["workers"]["workers"]) == 1
    slis = opened(api, slis=1)
    assert slis.until("slis", lambda s: s["all"]["started_per_s"])["all"]["queue_depth"] == 0
    late = opened(api, counts=1)
    assert late.until("counts")["queues"][0]["running"] == 1
    for each in (stream, late):
        each.close()


def append(api, claim, offset, data):
    assert api.act(claim, f"log?offset={offset}", data=data, headers=OCTETS).status_code == 200
    return offset + len(data)


def text_until(stream, part):
    text = ""
    while part not in text:
        name, data = stream.next()
        if name == "log":
            text += data["text"]
    return text


def test_P30_a_log_is_told_as_it_grows_through_attempts(api):
    job = api.submit("film", max_attempts=2)["job_id"]
    stream = opened(api, log=job)
    (claim,) = api.lease("film")
    at = append(api, claim, 0, "eins \x1b[31mrot ä".encode()[:-1])  # the last character is half
    assert text_until(stream, "rot ") == "eins \x1b[31mrot "
    at = append(api, claim, at, "ä".encode()[1:] + b"\0\xff<b>")
    assert text_until(stream, "<b>") == "ä\0?<b>"
    place = stream.last_id
    at = append(api, claim, at, b"more")
    assert text_until(stream, "more") == "more"
    again = Stream(api, place, log=job)
    assert text_until(again, "more") == "more"
    ended(api, claim, "fail", outcome="error", retry_after="0s")
    assert stream.until("log_end") == {"job_id": job, "attempt": 1, "next_offset": at}
    (claim,) = api.lease("film")
    append(api, claim, 0, b"second")
    data = stream.until("log")
    assert (data["attempt"], data["offset"], data["next_offset"], data["text"]) == (2, 0, 6, "second")
    ended(api, claim)
    assert stream.until("log_end")["attempt"] == 2
    one = opened(api, log=job, log_attempt=1, log_offset=at - 4)
    assert one.until("log")["text"] == "more"
    assert one.until("log_end")["attempt"] == 1
    for each in (stream, again, one):
        each.close()


def test_one_endless_line_comes_in_pieces_and_a_log_that_was_cut_says_so(api):
    job = api.submit("film")["job_id"]
    (claim,) = api.lease("film")
    at = 0
    for _ in range(17 * 16):
        at = append(api, claim, at, b"\xc3\xa4" * 32768)
    ended(api, claim)
    stream = opened(api, log=job)
    text, expected = "", 0
    while True:
        name, data = stream.next()
        if name == "log_end":
            break
        assert data["offset"] == expected and len(data["text"]) <= 16384
        expected = data["next_offset"]
        text += data["text"]
    assert "[... haul left out" in text and set(text.replace("ä", "")) <= set("\n[]. haulefotbyrs0123456789?")
    assert data["next_offset"] == expected == at
    stream.close()


@pytest.mark.parametrize("query, field", [
    ("", "jobs"), ("jobs=0", "jobs"), ("jobs=2", "jobs"), ("jobs=yes", "jobs"), ("status=pending", "jobs"), ("jobs=1&status=odd", "status"),
    ("jobs=1&task_type=a%20b", "task_type"), ("jobs=1&queue=a/b", "queue"), ("jobs=1&label==x", "label"), ("job=7", "job"),
    ("job=00000000-0000-0000-0000-000000000000", "job"), ("&".join(["job=" + str(uuid.UUID(int=i + 1)) for i in range(21)]), "job"),
    ("log=%3Cscript%3E", "log"), ("log_offset=1&counts=1", "log"), ("log_attempt=0&counts=1", "log_attempt"),
    (f"log={uuid.UUID(int=1)}&log_offset=-1", "log_offset"), ("counts=1&workers=no", "workers"), ("counts=1&other=1", "other"),
    ("&".join(["jobs=1"] + [f"label=k{i}" for i in range(9)]), "label")])
def test_what_cannot_be_meant_is_refused(api, query, field):
    problem(api.get("/v1/events?" + query), 422, field=field)


def test_more_streams_than_the_bound_are_refused_and_a_closed_one_makes_room(make_server):
    server = make_server({"event_streams": 3})
    api = Api(server.url)
    streams = [opened(api, counts=1) for _ in range(3)]
    refused = api.get("/v1/events?counts=1")
    assert "event_streams" in problem(refused, 503)["detail"] and refused.headers["Retry-After"]
    streams[0].close()

    def there_is_room():
        """the server noticed that a stream was closed"""
        answer = api.get("/v1/events?counts=1", stream=True)
        answer.close()
        return answer.status_code == 200
    until(there_is_room)


def unread(server, path):
    """A browser that never reads."""
    host, port = server.url.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect((host, int(port)))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    return sock


def test_a_thousand_streams_nobody_reads_hold_nobody_up(make_server):
    server = make_server({"event_streams": 1000})
    api = Api(server.url)
    deaf = [unread(server, "/v1/events?jobs=1&counts=1&workers=1") for _ in range(1000)]
    metrics = lambda: api.get("/metrics").text  # noqa: E731

    def all_are_open():
        """every stream is open"""
        return "haul_event_streams 1000\n" in metrics()
    until(all_are_open, 60)
    problem(api.get("/v1/events?jobs=1"), 503)
    for _ in range(20):
        api.post("/v1/jobs:batch", {"jobs": [{"task_type": "film", "labels": {"x": "y" * 200}}] * 100})
    (claim,) = api.lease("film")
    ended(api, claim)
    assert api.job(claim["job_id"])["status"] == "success"
    for sock in deaf:
        sock.close()


def test_a_server_that_stops_ends_its_streams(api, server):
    stream = opened(api, jobs=1)
    assert server.terminate() == 0
    event = ()
    while isinstance(event, tuple):  # ended or cut: an EventSource comes again after either
        event = stream.events.get(timeout=30)
