"""The trace that a job is part of: from its submission to its handler."""
import socket

import pytest
from conftest import Api, problem

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
OTHER = f"00-{TRACE}-00f067aa0ba902b8-00"
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"


def trace_of(job):
    return job["traceparent"], job["tracestate"]


def submitted(api, headers, **body):
    answer = api.post("/v1/jobs", {"task_type": "t", **body}, headers=headers)
    assert answer.status_code == 201, answer.text
    assert trace_of(api.job(answer.json()["job_id"])) == trace_of(answer.json())
    return answer.json()


def test_headers_of_a_submission_are_kept_with_the_job(api):
    assert trace_of(submitted(api, {"traceparent": PARENT, "tracestate": STATE})) == (PARENT, STATE)
    assert trace_of(submitted(api, {"Traceparent": PARENT})) == (PARENT, None)
    assert trace_of(submitted(api, {"traceparent": f"cc-{TRACE}-00f067aa0ba902b7-01-later"})) == (PARENT, None)
    assert trace_of(submitted(api, {})) == (None, None)
    assert trace_of(submitted(api, {"tracestate": STATE})) == (None, None)
    assert trace_of(submitted(api, {"traceparent": PARENT, "tracestate": STATE}, traceparent=OTHER)) == (OTHER, None)
    assert trace_of(submitted(api, {}, traceparent=OTHER, tracestate=STATE)) == (OTHER, STATE)
    assert trace_of(api.get("/v1/jobs").json()["jobs"][0]) == (OTHER, STATE)


@pytest.mark.parametrize("header", ["", "x", PARENT.upper(), PARENT + "-more", PARENT.replace("00-", "ff-"), f"00-{'0' * 32}-00f067aa0ba902b7-01"])
def test_a_header_that_breaks_the_rules_is_ignored(api, header):
    assert trace_of(submitted(api, {"traceparent": header, "tracestate": STATE})) == (None, None)


@pytest.mark.parametrize("state", ["x", "A=1", "k=" + "v" * 257, ",".join(f"k{i}=1" for i in range(33)), f"a={'v' * 255},b={'v' * 255}"])
def test_a_tracestate_that_breaks_the_rules_leaves_the_trace(api, state):
    assert trace_of(submitted(api, {"traceparent": PARENT, "tracestate": state})) == (PARENT, None)


def test_headers_that_are_there_twice(server, api):
    """Requests cannot send one header twice."""
    body = b'{"task_type": "t"}'
    for headers, kept in ((f"traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\n", (None, None)),
                          (f"traceparent: {PARENT}\r\ntracestate: a=1\r\ntracestate: b=2\r\n", (PARENT, "a=1,b=2"))):
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as s:
            s.sendall(f"POST /v1/jobs HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nConnection: close\r\n{headers}"
                      f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            said = b"".join(iter(lambda: s.recv(65536), b""))
        assert said.startswith(b"HTTP/1.1 201 "), said
        assert trace_of(api.get("/v1/jobs", params={"limit": 1}).json()["jobs"][0]) == kept


@pytest.mark.parametrize("member, field", [
    ({"traceparent": PARENT.upper()}, "traceparent"), ({"traceparent": ""}, "traceparent"), ({"traceparent": "x" * 513}, "traceparent"),
    ({"traceparent": 7}, "traceparent"), ({"tracestate": STATE}, "tracestate"), ({"traceparent": PARENT, "tracestate": "x"}, "tracestate"),
    ({"traceparent": PARENT, "tracestate": "a=" + "v" * 511}, "tracestate")])
def test_a_member_that_breaks_the_rules_is_named(api, member, field):
    answer = api.post("/v1/jobs", {"task_type": "t", **member}, headers={"traceparent": PARENT})
    problem(answer, 422, field=field)


def test_a_batch_has_its_header_for_items_without_a_trace_of_their_own(api):
    items = [{"task_type": "a"}, {"task_type": "b", "traceparent": OTHER}, {"task_type": "c", "traceparent": "x"}]
    results = api.post("/v1/jobs:batch", {"jobs": items}, headers={"traceparent": PARENT, "tracestate": STATE}).json()["results"]
    assert [trace_of(api.job(r["job_id"])) for r in results[:2]] == [(PARENT, STATE), (OTHER, None)]
    assert results[2]["problem"]["field"] == "traceparent"


def test_the_same_request_in_another_trace_is_the_same_request(api):
    first = api.post("/v1/jobs", {"task_type": "t", "dedup_key": "k"}, headers={"traceparent": PARENT})
    again = api.post("/v1/jobs", {"task_type": "t", "dedup_key": "k"}, headers={"traceparent": OTHER})
    assert (first.status_code, again.status_code) == (201, 200)
    assert trace_of(again.json()) == (PARENT, None)


ENVIRONMENT = 'printf "%s %s\\n" "$TRACEPARENT" "${TRACESTATE-none}"'


def test_the_handler_is_told_its_trace(server, api, make_worker):
    make_worker(server.url, {"t": ENVIRONMENT})
    for headers, said in (({"traceparent": PARENT, "tracestate": STATE}, f"{PARENT} {STATE}\n"), ({"traceparent": OTHER}, f"{OTHER} none\n"),
                          ({}, " none\n")):
        job = submitted(api, headers)
        assert api.wait(job["job_id"])["status"] == "success"
        assert api.log(job["job_id"]).text == said


def test_an_entry_may_set_the_variable_itself(server, api, make_worker):
    make_worker(server.url, {"t": {"command": ["/bin/sh", "-c", ENVIRONMENT], "env": {"TRACEPARENT": "mine"}}})
    job = submitted(api, {"traceparent": PARENT})
    assert api.wait(job["job_id"])["status"] == "success"
    assert api.log(job["job_id"]).text == "mine none\n"


def submit(haul, api, *arguments, **variables):
    done = haul("submit", "t", *arguments, url=api.url, env=variables)
    assert done.returncode == 0, done.stderr
    return api.job(done.stdout.strip())


def test_haul_submit_takes_the_trace_of_its_environment(api, haul):
    job = submit(haul, api, TRACEPARENT=PARENT, TRACESTATE=STATE)
    assert trace_of(job) == (PARENT, STATE)
    shown = haul("jobs", "show", job["job_id"], url=api.url).stdout
    assert PARENT in shown and STATE in shown
    assert trace_of(submit(haul, api, "--traceparent", OTHER, TRACEPARENT=PARENT, TRACESTATE=STATE)) == (OTHER, None)
    for broken in ("", "x", PARENT + "\r\nX-Evil: 1", "x" * 3000):
        assert trace_of(submit(haul, api, TRACEPARENT=broken, TRACESTATE=STATE)) == (None, None)
    assert trace_of(submit(haul, api, TRACEPARENT=PARENT, TRACESTATE="x" * 3000)) == (PARENT, None)
    assert "traceparent" not in haul("jobs", "show", submit(haul, api)["job_id"], url=api.url).stdout
    refused = haul("submit", "t", "--traceparent", "x", url=api.url)
    assert refused.returncode != 0 and "traceparent" in refused.stderr and "00-TRACE_ID-PARENT_ID-FLAGS" in refused.stderr


def test_haul_submit_batch_takes_it_too(api, haul, tmp_path):
    (tmp_path / "jobs.ndjson").write_text('{"task_type": "a"}\n{"task_type": "b", "traceparent": "%s"}\n' % OTHER)
    done = haul("submit", "--batch", "jobs.ndjson", "--ids", "ids", url=api.url, env={"TRACEPARENT": PARENT})
    assert done.returncode == 0, done.stderr
    assert [trace_of(api.job(i)) for i in (tmp_path / "ids").read_text().split()] == [(PARENT, None), (OTHER, None)]
