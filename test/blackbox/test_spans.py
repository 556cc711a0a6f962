"""Spans of jobs, as a collector gets them; and jobs, whatever becomes of the collector."""
import contextlib
import os
import socket
import uuid

import pytest
from collector import Collector, check_tree
from conftest import COMPLETE, Api, problem, until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
WHOLE = ["submit", "wait", "attempt", "download", "run"]


@pytest.fixture
def collector():
    made = Collector()
    yield made
    made.close()
    assert not made.wrong, made.wrong


@pytest.fixture
def traced(collector, make_server):
    return make_server({"otlp_endpoint": collector.url, "backoff_base": "0s", "backoff_cap": "0s"})


@pytest.fixture
def api(traced):
    return Api(traced.url)


def counts(api):
    text = api.get("/metrics").text
    return tuple(int(line.split()[1]) for line in text.splitlines() if line.startswith("haul_trace_spans_total{"))


def test_a_job_that_succeeds(traced, api, collector, make_worker):
    make_worker(traced.url, {"t": {"command": ["/bin/sh", "-c", 'echo "$TRACEPARENT $TRACESTATE"; cp in/i out/o'], "verify": ["/bin/test", "-s", "out/o"]}})
    ref = api.put_blob(b"input")["ref"]
    job = api.post("/v1/jobs", {"task_type": "t", "queue": "q", "inputs": [{"name": "i", "ref": ref}]},
                   headers={"traceparent": PARENT, "tracestate": "rojo=1"}).json()
    done = api.wait(job["job_id"])
    assert done["status"] == "success"
    spans = collector.of_job(job["job_id"], *WHOLE, "verify", "upload")
    named = check_tree(spans, SPAN)
    assert {s.trace for s in spans} == {TRACE} and {s.state for s in spans} == {"rojo=1"}
    assert [named[n][0].kind for n in ("submit", "wait", "attempt", "run")] == ["producer", "internal", "consumer", "internal"]
    order = [named[n][0] for n in ("download", "run", "verify", "upload")]
    assert all(b.start + 2000 >= a.end for a, b in zip(order, order[1:]))
    assert not any(s.failed for s in spans)
    for s in spans:
        assert (s.attributes["messaging.system"], s.attributes["messaging.destination.name"], s.attributes["haul.task_type"]) == ("haul", "q", "t")
        assert (s.resource["service.name"] == "haul-worker") == (s.name in ("download", "run", "verify", "upload"))
    attempt, run = named["attempt"][0], named["run"][0]
    assert (attempt.attributes["haul.outcome"], attempt.attributes["haul.status"], attempt.attributes["haul.attempt"]) == ("success", "success", 1)
    assert attempt.attributes["haul.worker_id"] == done["owner_id"] == run.resource["service.instance.id"]
    assert api.log(job["job_id"]).text == f"00-{TRACE}-{run.id}-01 rojo=1\n"
    assert until(lambda: counts(api) == (7, 0))


def test_a_job_that_is_retried_and_fails(traced, api, collector, make_worker):
    make_worker(traced.url, {"t": 'echo "error no such film" >&3; exit 3'})
    job = api.submit("t", max_attempts=2)
    assert api.wait(job["job_id"])["status"] == "failed"
    spans = collector.of_job(job["job_id"], *WHOLE, "checkpoint", "wait", "attempt", "download", "run", "checkpoint")
    named = check_tree(spans)
    assert {s.trace for s in spans} == {job["job_id"].replace("-", "")}
    assert [s.attributes["haul.attempt"] for s in named["attempt"]] == [1, 2]
    assert [s.attributes["haul.status"] for s in named["attempt"]] == ["pending", "failed"]
    for s in named["attempt"] + named["run"]:
        assert s.failed and s.message.startswith("no such film\nexit status 3") and s.attributes["error.type"] == "error"
    assert not any(s.failed for s in named["submit"] + named["wait"] + named["download"] + named["checkpoint"])
    assert named["wait"][1].start >= named["attempt"][0].start and named["wait"][1].end == named["attempt"][1].start


def test_a_job_whose_input_cannot_be_had(traced, api, collector, make_worker):
    """The part that failed is told: no run, and none is said to have been."""
    ref = api.put_blob(b"input")["ref"]
    job = api.submit("t", max_attempts=1, inputs=[{"name": "i", "ref": ref}])
    for blob in (traced.data / "blobs").rglob(ref.removeprefix("blob:") + "*"):
        blob.unlink()
    make_worker(traced.url, {"t": "true"})
    assert api.wait(job["job_id"])["status"] == "failed"
    named = check_tree(collector.of_job(job["job_id"], "submit", "wait", "attempt", "download"))
    assert named["download"][0].failed and named["attempt"][0].failed


def test_a_job_that_is_cancelled(traced, api, collector, make_worker):
    make_worker(traced.url, {"t": "sleep 600"})
    job = api.submit("t")
    api.wait_status(job["job_id"], "running")
    api.post(f"/v1/jobs/{job['job_id']}/cancel", {})
    api.wait_status(job["job_id"], "cancelled")
    spans = collector.of_job(job["job_id"], *WHOLE)
    assert check_tree(spans)["attempt"][0].attributes["haul.outcome"] == "cancelled" and not any(s.failed for s in spans)


def test_attempts_that_nobody_reports(collector, make_server):
    api = Api(make_server({"otlp_endpoint": collector.url + "/", "lease": "2s", "heartbeat": "500ms", "confirm": "2s"}).url)
    lost = api.submit("t", dedup_key="k")
    (claim,) = api.lease("t")
    api.act(claim, "heartbeat", {})
    named = check_tree(collector.of_job(lost["job_id"], "submit", "wait", "attempt", "run"))
    assert (named["attempt"][0].message, named["run"][0].message) == ("lost", "lost")
    assert claim["traceparent"] == f"00-{named['run'][0].trace}-{named['run'][0].id}-03"
    again = api.post("/v1/jobs", {"task_type": "t", "dedup_key": "k"})
    assert again.status_code == 200  # a repetition is no second submission
    expired = api.submit("nobody", start_within="50ms")
    named = check_tree(collector.of_job(expired["job_id"], "submit", "wait"))
    assert named["wait"][0].failed and named["wait"][0].attributes["error.type"] == "expired"
    assert sum(s.name == "submit" for s in collector.spans) == 2


def test_what_a_report_says_of_its_time(api, collector):
    """The worker's clock does not count, and nothing lies outside of the attempt."""
    job = api.submit("t")
    (claim,) = api.lease("t")
    for phases, field in (([{"name": "nap"}], "phases[0].name"), ([{"at_s": 1}], "phases[0].name"), ([{"name": "run", "at_s": -1}], "phases[0].at_s"),
                          ([{"name": "run", "took_s": "x"}], "phases[0].took_s"), ([{"name": "run"}] * 9, "phases"), ({}, "phases"),
                          ([{"name": "run", "more": 1}], "phases[0].more"), ([7], "phases[0]")):
        for verb, body in (("complete", {"outputs": [], **COMPLETE}), ("fail", {"outcome": "error"})):
            assert problem(api.act(claim, verb, {**body, "phases": phases}), 422)["field"].startswith(field)
    phases = [{"name": "download", "at_s": 0, "took_s": 1e6}, {"name": "run", "at_s": 1e6, "took_s": 1e6}]
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE, "phases": phases}).status_code == 200
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE, "phases": phases}).status_code == 200  # again: said once
    named = check_tree(collector.of_job(job["job_id"], *WHOLE))
    assert named["download"][0].end == named["run"][0].start == named["attempt"][0].end


def test_which_jobs_are_recorded(collector, make_server):
    api = Api(make_server({"otlp_endpoint": collector.url, "trace_sample": "0%"}).url)
    plain, told = api.submit("t"), api.submit("u", traceparent=PARENT)
    quiet = api.submit("v", traceparent=PARENT[:-2] + "00")
    claims = {c["job_id"]: c for c in api.lease("t", "u", "v", slots=3, worker_id=str(uuid.uuid4()))}
    while len(claims) < 3:
        claims |= {c["job_id"]: c for c in api.lease("t", "u", "v", slots=3)}
    trace_id = plain["job_id"].replace("-", "")
    assert claims[plain["job_id"]]["traceparent"].startswith(f"00-{trace_id}-") and claims[plain["job_id"]]["traceparent"].endswith("-02")
    assert claims[quiet["job_id"]]["traceparent"] == PARENT[:-2] + "00"
    assert claims[told["job_id"]]["traceparent"][:36] == PARENT[:36] and SPAN not in claims[told["job_id"]]["traceparent"]
    collector.of_job(told["job_id"], "submit", "wait")
    assert {s.attributes["messaging.message.id"] for s in collector.spans} == {told["job_id"]}


def test_half_of_them(collector, make_server):
    api = Api(make_server({"otlp_endpoint": collector.url, "trace_sample": "0.5"}).url)
    answer = api.post("/v1/jobs:batch", {"jobs": [{"task_type": "t"}] * 600}).json()
    half = [r["job_id"] for r in answer["results"] if int(r["job_id"].replace("-", "")[-14:], 16) >= 1 << 55]
    collector.wait(lambda: len(collector.spans) >= len(half))
    assert sorted(s.attributes["messaging.message.id"] for s in collector.spans) == sorted(half)
    assert collector.calls <= 3


def test_no_collector_no_trace(server):
    api = Api(server.url)
    api.submit("t")
    (claim,) = api.lease("t")
    assert claim["traceparent"] is None and counts(api) == (0, 0)


def test_a_collector_that_has_no_time_is_asked_again(make_server):
    with contextlib.closing(Collector(503)) as collector:
        api = Api(make_server({"otlp_endpoint": collector.url}).url)
        job = api.submit("t")
        collector.of_job(job["job_id"], "submit")
        assert until(lambda: counts(api) == (1, 0)) and collector.calls == 2


def test_what_a_collector_refuses_is_dropped_and_counted(make_server):
    with contextlib.closing(Collector(400)) as collector:
        server = make_server({"otlp_endpoint": collector.url})
        api = Api(server.url)
        api.submit("t")
        assert until(lambda: counts(api) == (0, 1))
        job = api.submit("t")
        collector.of_job(job["job_id"], "submit")
        assert "HTTP status 400" in server.said


@contextlib.contextmanager
def nobody():
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def hanging():
    collector = Collector()
    collector.free.clear()
    yield collector.url
    collector.close()


@contextlib.contextmanager
def silent():
    with socket.create_server(("127.0.0.1", 0)) as s:  # connections are never accepted
        yield f"http://127.0.0.1:{s.getsockname()[1]}"


@pytest.mark.parametrize("where", [nobody, hanging, silent])
def test_jobs_do_not_wait_for_a_collector(make_server, make_worker, where):
    with where() as url:
        server = make_server({"otlp_endpoint": url})
        api = Api(server.url)
        make_worker(server.url, {"t": "true"}, slots=2)
        for _ in range(3):
            assert api.wait(api.submit("t")["job_id"], deadline=20)["status"] == "success"
        assert server.terminate(20) == 0


def test_what_is_left_is_sent_at_the_end(traced, api, collector):
    job = api.submit("t")
    assert traced.terminate(20) == 0
    collector.of_job(job["job_id"], "submit")


def test_the_environment_names_a_collector(collector, make_server, environment):
    for name, value in (("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.url + "/v1/traces")):
        environment[name] = value
        job = Api(make_server().url).submit("t")
        collector.of_job(job["job_id"], "submit")
    environment["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = "http://127.0.0.1:1/what/the/environment/says"
    job = Api(make_server({"otlp_endpoint": collector.url}).url).submit("t")
    collector.of_job(job["job_id"], "submit")


KEY = "Bearer s3cr3t,k=y%"
SECRET = "s3cr3t"
WRITTEN = "Bearer%20s3cr3t%2Ck=y%25"


def test_a_collector_gets_the_headers_of_a_file_and_nobody_else_does(make_server, tmp_path):
    """Also not who reads the log, when the collector refuses them."""
    with contextlib.closing(Collector(401)) as collector:
        (tmp_path / "headers").write_text(f"authorization={WRITTEN}\n x-scope = a b , X-Org=%C3%A4\n\n")
        server = make_server({"otlp_endpoint": collector.url, "otlp_headers_file": str(tmp_path / "headers")})
        api = Api(server.url)
        api.submit("t")
        assert until(lambda: counts(api) == (0, 1))
        collector.of_job(api.submit("t")["job_id"], "submit")
        assert collector.headers.get_all("Authorization") == [KEY]
        assert collector.headers["X-Scope"] == "a b" and collector.headers["x-org"].encode("latin-1") == "ä".encode()
        assert server.terminate(20) == 0 and "HTTP status 401" in server.said and SECRET not in server.said
        assert not [f for f in server.data.rglob("*") if f.is_file() and SECRET.encode() in f.read_bytes()]


def test_a_collector_gets_the_headers_of_the_environment(collector, make_server, environment, tmp_path):
    """Those for traces alone go before, and the configuration before both."""
    def sent(config):
        api = Api(make_server({"otlp_endpoint": collector.url, **config}).url)
        collector.of_job(api.submit("t")["job_id"], "submit")
        return collector.headers["authorization"]
    environment["OTEL_EXPORTER_OTLP_HEADERS"] = f"authorization={WRITTEN},"
    assert sent({}) == KEY
    environment["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] = "authorization=traces"
    assert sent({}) == "traces"
    (tmp_path / "headers").write_text("authorization=file")
    assert sent({"otlp_headers_file": str(tmp_path / "headers")}) == "file"


@pytest.mark.parametrize("text, why", [
    (f"x-key: {SECRET}", "header 1 is not name=value"), (f"a=b,{SECRET}", "header 2 is not name=value"), (f"x {SECRET}=1", "header 1 has a name that no header can have"),
    (f"={SECRET}", "header 1 has a name that no header can have"), (f"a:={SECRET}", "header 1 has a name that no header can have"), (f"{SECRET}=", "header 1 has no value"),
    (f"a={SECRET}%0D%0Ab: c", "header 1 has a control character"), (f"a={SECRET}\rb", "header 1 has a control character"), (f"a={SECRET}%00", "header 1 has a control character"),
    (f"a={SECRET}%2", "header 1 has a % that"), (f"a={SECRET}%zz", "header 1 has a % that"), (f"a={SECRET}%20", "header 1 has a value that begins or ends"),
    (f"a={SECRET}%ff", "header 1 has a value that is not UTF-8"), (f"a={SECRET},A=2", "header 2 has the name of one before it"),
    (f"content-type={SECRET}", "header 1 is one that haul sets itself"), (",".join(f"a{i}={SECRET}" for i in range(33)), "header 33 is one too many"),
    ("a=" + SECRET * 1400, "longer than 8192 bytes"), (" , ", "names no header")])
def test_headers_that_cannot_be_are_refused(haul, tmp_path, text, why):
    """By file and environment, before anything is made, and without repeating them."""
    (tmp_path / "headers").write_bytes(text.encode())
    common = ["server", "--otlp-endpoint", "http://127.0.0.1:4318", "--data", tmp_path / "data", "--listen", "127.0.0.1:0"]
    for field, done in (("otlp_headers_file", haul(*common, "--otlp-headers-file", tmp_path / "headers")),
                        ("OTEL_EXPORTER_OTLP_HEADERS", haul(*common, env={"OTEL_EXPORTER_OTLP_HEADERS": text}))):
        assert done.returncode != 0 and field in done.stderr and why in done.stderr
        assert SECRET not in done.stderr + done.stdout and not (tmp_path / "data").exists()


def test_a_headers_file_that_cannot_be_is_refused(haul, tmp_path):
    def refused(*more):
        done = haul("server", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--otlp-headers-file", tmp_path / "headers", *more)
        assert done.returncode != 0 and "otlp_headers_file" in done.stderr
        return done.stderr
    collector = ("--otlp-endpoint", "http://127.0.0.1:4318")
    assert "No such file" in refused(*collector)
    for content, why in ((b"", "names no header"), (b"a=\0", "NUL"), (b"a=b\nOTHER\n", "header 2 is not"), (b"a=b\r\n", "header 1 has a control character")):
        (tmp_path / "headers").write_bytes(content)
        assert why in refused(*collector)
    assert "set otlp_endpoint, too" in refused()


@pytest.mark.parametrize("url", [f"http://me:{SECRET}@h:4318", f"https://{SECRET}@h", f"http://me:{SECRET}@h:99999"])
def test_an_address_with_credentials_is_refused_and_not_repeated(haul, tmp_path, url):
    done = haul("server", "--otlp-endpoint", url, "--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and "otlp_headers_file" in done.stderr and SECRET not in done.stderr


@pytest.mark.parametrize("url", ["x", "127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://h:99999", "http://h/?x=1", "http://h/#x", "file:///etc/passwd"])
def test_an_address_that_cannot_be_is_refused(haul, tmp_path, url):
    done = haul("server", "--otlp-endpoint", url, "--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and "otlp_endpoint" in done.stderr and "http://127.0.0.1:4318" in done.stderr
    done = haul("server", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", env={"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    assert done.returncode != 0 and "OTEL_EXPORTER_OTLP_ENDPOINT" in done.stderr


@pytest.mark.parametrize("share", ["-1", "1.1", "101%", "x", ""])
def test_a_share_that_cannot_be_is_refused(haul, tmp_path, share):
    done = haul("server", f"--trace-sample={share}", "--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and "trace_sample" in done.stderr
