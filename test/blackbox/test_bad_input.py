"""Everything that comes in wrong, and the answer that says so."""
import shlex
import socket
import stat

import pytest
from conftest import isolations, problem, processes_of_job, until

JSON = {"Content-Type": "application/json"}


def raw(server, data, read=True):
    """Sends bytes that no client library would; the answer's bytes."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=20) as sock:
        sock.sendall(data)
        answer = b""
        while read:
            try:
                piece = sock.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            answer += piece
        return answer


# --- JSON

@pytest.mark.parametrize("body", [b"", b"{", b'{"task_type": "x"} trailing', b'{"task_type": "x", "task_type": "y"}', b"nonsense",
                                  b'{"task_type": "x", "payload": NaN}', b'{"task_type": "x", "payload": [12\x00, 3]}', b"[" * 5000, b'{"task_type": "\xff\xfe"}',
                                  b'{"task_type": "x", "payload": "\xc3\x28"}', b'{"a": ' * 40 + b"1" + b"}" * 40])
def test_malformed_json_is_refused(api, body):
    problem(api.post("/v1/jobs", data=body, headers=JSON), 400, "malformed")
    assert api.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null"])
def test_json_that_is_no_object_is_refused(api, body):
    answer = api.post("/v1/jobs", data=body, headers=JSON)
    assert answer.status_code in (400, 422)
    problem(answer, answer.status_code)


@pytest.mark.parametrize("field, value", [
    ("task_type", 1), ("task_type", ""), ("task_type", "a" * 129), ("task_type", "with space"), ("task_type", "a\u0000b"), ("labels", {"k": "a\u0000b"}), ("dedup_key", "a\u0000b"),
    ("task_type", None), ("task_type", ["x"]),
    ("queue", 5), ("queue", "q" * 129), ("queue", ""),
    ("labels", []), ("labels", {"k": 1}), ("labels", {"k" * 64: "v"}), ("labels", {"k": "v" * 256}),
    ("labels", {f"k{i}": "v" for i in range(65)}),
    ("dedup_key", 1), ("dedup_key", "k" * 256), ("dedup_key", ""),
    ("priority", 10), ("priority", -1), ("priority", "high"), ("priority", 1.5), ("priority", True),
    ("max_attempts", 0), ("max_attempts", 101), ("max_attempts", "5"),
    ("timeout", "soon"), ("timeout", -1), ("timeout", {}), ("delay", "x"), ("delay", -5), ("run_at", "yesterday"), ("run_at", 5),
    ("start_within", "never"),
    ("inputs", {}), ("inputs", ["x"]), ("inputs", [{"name": "a"}]), ("inputs", [{"name": "../a", "ref": "blob:x"}]),
    ("payload_ref", 5), ("payload_ref", "nonsense"),
    ("payload_ref", "s3://bucket/key"), ("payload_ref", "https://example.com/x"), ("payload_ref", "file:///etc/passwd"),
    ("nonsense", 1), ("status", "success"), ("job_id", "x"),
])
def test_wrong_field_is_named(api, field, value):
    answer = api.post("/v1/jobs", {"task_type": "t", field: value})
    body = problem(answer, 422, "invalid")
    assert body["field"].startswith(field), body
    assert api.get("/v1/jobs").json()["jobs"] == []


def test_only_blob_references_are_accepted_and_it_says_so(api):
    body = problem(api.post("/v1/jobs", {"task_type": "t", "payload_ref": "s3://bucket/key"}), 422, "invalid", "payload_ref")
    assert "blob:" in body["detail"]


def test_task_type_is_required(api):
    problem(api.post("/v1/jobs", {}), 422, "invalid", "task_type")


def test_delay_and_run_at_exclude_each_other(api):
    problem(api.post("/v1/jobs", {"task_type": "t", "delay": "1h", "run_at": "2099-01-01T00:00:00Z"}), 422, "invalid")


def test_reference_to_a_blob_that_is_not_there(api):
    missing = "blob:01890000-0000-7000-8000-000000000000"
    answer = api.post("/v1/jobs", {"task_type": "t", "payload_ref": missing})
    assert answer.status_code in (404, 422)
    assert missing[5:] in problem(answer, answer.status_code)["detail"] or answer.json()["field"] == "payload_ref"
    assert api.get("/v1/jobs").json()["jobs"] == []


def test_inputs_of_the_same_name(api):
    ref = api.put_blob(b"x")["ref"]
    inputs = [{"name": "a", "ref": ref}, {"name": "a", "ref": ref}]
    body = problem(api.post("/v1/jobs", {"task_type": "t", "inputs": inputs}), 422, "invalid")
    assert body["field"].startswith("inputs")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "a\u0000b", "x" * 256, "new\nline"])
def test_input_names_are_file_names(api, name):
    ref = api.put_blob(b"x")["ref"]
    body = problem(api.post("/v1/jobs", {"task_type": "t", "inputs": [{"name": name, "ref": ref}]}), 422, "invalid")
    assert body["field"].startswith("inputs")


def test_unknown_query_parameters_are_refused(api):
    problem(api.get("/v1/jobs", params={"colour": "red"}), 422, "invalid", "colour")
    problem(api.get("/v1/jobs", params={"status": "sleeping"}), 422, "invalid", "status")
    problem(api.get("/v1/jobs", params={"limit": "0"}), 422, "invalid", "limit")
    problem(api.get("/v1/jobs", params={"limit": "1001"}), 422, "invalid", "limit")
    problem(api.get("/v1/jobs", params={"cursor": "nonsense"}), 422, "invalid", "cursor")


# --- bounds

def test_inline_payload_over_64_kib(api):
    body = problem(api.post("/v1/jobs", {"task_type": "t", "payload": "x" * 65536}), 413, "too_large", "payload")
    assert "65536" in body["detail"] or "64 KiB" in body["detail"]
    api.submit("t", payload="x" * (65536 - 2))


def test_body_over_1_mib(api):
    answer = api.post("/v1/jobs", data=b'{"task_type": "t", "payload": "' + b"x" * (1 << 20) + b'"}', headers=JSON)
    problem(answer, 413, "too_large")


def test_headers_over_16_kib(server, api):
    answer = raw(server, b"GET /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
                 + b"".join(b"X-%d: %s\r\n" % (i, b"y" * 1000) for i in range(20)) + b"\r\n")
    assert answer.split(b" ", 2)[1] == b"431"
    assert api.get("/healthz").status_code == 200


def test_payload_comes_back_as_it_was_written(api):
    payload = b'{ "z": 9223372036854775807, "real": 1.10, "a": "\\u0000 \\u00e4 \xc3\xa4", "e": 1E5 }'
    answer = api.post("/v1/jobs", data=b'{"task_type": "t", "payload": ' + payload + b"}", headers=JSON)
    assert answer.status_code == 201
    again = api.get(f"/v1/jobs/{answer.json()['job_id']}")
    assert payload in again.content


# --- HTTP

def test_content_type_is_required(api):
    problem(api.post("/v1/jobs", data=b'{"task_type": "t"}', headers={"Content-Type": "text/plain"}), 415)
    problem(api.post("/v1/jobs", data=b'{"task_type": "t"}'), 415)


def test_foreign_origin_and_host_are_refused(api):
    problem(api.post("/v1/jobs", {"task_type": "t"}, headers={"Origin": "https://evil.example"}), 403, "forbidden")
    problem(api.get("/v1/jobs", headers={"Host": "evil.example"}), 421, "misdirected")
    assert api.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("request_bytes", [
    b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Content-Length: 3\r\n\r\n{} ",
    b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length : 2\r\n\r\n{}",
])
def test_smuggled_requests_get_400_and_close(server, request_bytes):
    assert raw(server, request_bytes).split(b" ", 2)[1] == b"400"


def test_unknown_routes_methods_and_ids(api):
    problem(api.get("/v1/nothing"), 404, "not_found")
    problem(api.get("/v1/jobs/01890000-0000-7000-8000-000000000000"), 404, "not_found")
    problem(api.get("/v1/blobs/01890000-0000-7000-8000-000000000000"), 404, "not_found")
    assert api.get("/v1/jobs/nonsense").status_code in (404, 422)
    problem(api.request("PUT", "/v1/jobs"), 405, "method_not_allowed")


def test_request_ids_are_echoed(api):
    body = problem(api.get("/v1/nothing"), 404)
    assert body["request_id"]


# --- uploads

def blob_files(server):
    return [f for f in (server.data / "blobs").rglob("*") if f.is_file() and f.name != "folder-id"]


def test_upload_cut_in_the_middle_leaves_nothing(server, api):
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(b"POST /v1/blobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/octet-stream\r\n"
                     b"Content-Length: 10000000\r\n\r\n" + b"x" * 300000)
        until(lambda: blob_files(server))  # it has begun
    until(lambda: not blob_files(server))


def test_upload_with_another_hash_is_refused(server, api):
    answer = api.post("/v1/blobs", data=b"data", headers={"Content-Type": "application/octet-stream", "Haul-Sha256": "0" * 64})
    problem(answer, 422, "invalid")
    assert blob_files(server) == []


# --- jobs that nobody can run, handlers that misbehave

def test_unknown_task_type_is_accepted_and_waits_visibly(server, api, make_worker):
    make_worker(server.url, {"known": "exit 0"})
    job_id = api.submit("unknown")["job_id"]
    api.wait(api.submit("known")["job_id"])
    job = api.job(job_id)
    assert job["status"] == "pending"
    assert "unknown" in job["waiting_reason"]


@pytest.mark.parametrize("isolation", isolations())
def test_handler_that_does_not_exist(server, api, make_worker, isolation):
    make_worker(server.url, {"gone": {"command": ["/nowhere/handler"], "isolation": isolation}})
    job = api.wait(api.submit("gone", max_attempts=1)["job_id"])
    assert job["status"] == "failed" and "/nowhere/handler" in job["error_log"]


@pytest.mark.parametrize("isolation", isolations())
def test_handler_that_is_not_executable(server, api, make_worker, tmp_path, isolation):
    handler = tmp_path / "handler"
    handler.write_text("#!/bin/sh\nexit 0\n")
    handler.chmod(stat.S_IRUSR | stat.S_IWUSR)
    make_worker(server.url, {"plain": {"command": [str(handler)], "isolation": isolation}})
    job = api.wait(api.submit("plain", max_attempts=1)["job_id"])
    assert job["status"] == "failed" and str(handler) in job["error_log"]


@pytest.mark.parametrize("isolation", isolations())
def test_handler_that_ends_by_a_signal(server, api, make_worker, isolation):
    make_worker(server.url, {"crash": {"command": ["/bin/sh", "-c", "echo before; kill -SEGV $$"], "isolation": isolation}})
    job_id = api.submit("crash", max_attempts=1)["job_id"]
    job = api.wait(job_id)
    (attempt,) = api.attempts(job_id)
    assert (job["status"], attempt["outcome"], attempt["signal"]) == ("failed", "signal", 11)
    assert "SIGSEGV" in job["error_log"] and "before" in job["error_log"]


@pytest.mark.parametrize("isolation", isolations())
def test_handler_that_ignores_sigterm_is_killed_at_its_time_limit(server, api, make_worker, isolation):
    script = "trap '' TERM; echo deaf; while :; do sleep 1; done"
    make_worker(server.url, {"deaf": {"command": ["/bin/sh", "-c", script], "isolation": isolation}})
    job_id = api.submit("deaf", max_attempts=1, timeout="1s")["job_id"]
    job = api.wait(job_id)
    (attempt,) = api.attempts(job_id)
    assert (job["status"], attempt["outcome"]) == ("failed", "timeout")
    assert "time limit" in job["error_log"]
    assert processes_of_job(job_id) == []


def test_handler_that_writes_links_and_fifos_publishes_files_only(server, api, make_worker):
    make_worker(server.url, {"sly": "ln -s /etc/passwd out/link; mkfifo out/fifo; echo ok > out/file"})
    job_id = api.submit("sly", max_attempts=1)["job_id"]
    job = api.wait(job_id)
    assert "root:" not in "".join(api.get(o["url"]).text for o in api.outputs(job_id))
    assert [o["name"] for o in api.outputs(job_id)] in ([], ["file"]), job


# --- the machine is not as expected

def test_port_in_use(server, haul, tmp_path):
    port = server.url.rsplit(":", 1)[1]
    run = haul("server", "--listen", f"127.0.0.1:{port}", "--data", tmp_path / "other")
    assert run.returncode not in (0, -6, -11)
    assert port in run.stderr and "in use" in run.stderr


def test_second_server_on_the_same_data(server, haul):
    run = haul("server", "--listen", "127.0.0.1:0", "--data", server.data)
    assert run.returncode == 21, run
    assert str(server.data) in run.stderr


def test_second_worker_on_the_same_state(server, haul, make_worker):
    worker = make_worker(server.url, {"x": "exit 0"})
    until((worker.state / "worker-id").exists)
    run = haul("worker", "--server", server.url, "--handlers", worker.handlers, "--state", worker.state)
    assert run.returncode == 21, run
    assert str(worker.state) in run.stderr


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0"])
def test_listening_beyond_loopback_is_refused(haul, tmp_path, listen):
    run = haul("server", "--listen", listen, "--data", tmp_path / "open")
    assert run.returncode not in (0, -6, -11)
    assert "--insecure" in run.stderr


@pytest.mark.parametrize("text, says", [
    ("server:\n  lease: soon\n", "2:3: lease: "),
    ("server:\n  lease: [1]\n", "2:3: lease: must be one value, not a list"),
    ("server:\n  nonsense: 1\n", "2:3: nonsense: unknown; known: listen, data, "),
    ("server: [\n", "2:1: "),
    ("surprise: {}\n", "1:1: unknown section 'surprise'; known: server, task_types, objectives, alerts, alert_receivers, worker, client"),
    ("server:\n  lease: 5s\n  lease: 6s\n", "3:3: key 'lease' is given twice (first in line 2): remove one"),
    ("server: {lease: &a 5s}\n", "1:17: anchors are not allowed: write the value out"),
    ("server:\n\tlease: 5s\n", "2:1: a tab: YAML is indented with spaces"),
])
def test_bad_configuration_names_file_line_column_and_remedy(haul, tmp_path, text, says):
    config = tmp_path / "haul.yaml"
    config.write_text(text)
    run = haul("server", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--config", config)
    assert run.returncode == 11, run.stderr
    assert f"haul.yaml:{says}" in run.stderr


def test_every_command_refuses_a_file_that_is_no_configuration(server, haul, tmp_path):
    config, handlers = tmp_path / "haul.yaml", tmp_path / "handlers.yaml"
    config.write_text("surprise: {}\n")
    handlers.write_text("handlers: {t: {command: [/bin/true]}}\n")
    for command in (("server", "--data", tmp_path / "data"), ("jobs",), ("worker", "--handlers", handlers, "--state", tmp_path / "state")):
        run = haul(*command, "--config", config)
        assert run.returncode == 11 and "haul.yaml:1:1: unknown section" in run.stderr, (command, run.stderr)


def test_bad_handlers_file(server, haul, tmp_path):
    for text in ("handlers: {x: {}}\n", "handlers: {x: {command: []}}\n", "handlers: {x: {command: [/bin/true], colour: red}}\n",
                 "", "handlers: {}\n"):
        (tmp_path / "handlers.yaml").write_text(text)
        run = haul("worker", "--server", server.url, "--handlers", tmp_path / "handlers.yaml", "--state", tmp_path / "state")
        assert run.returncode not in (0, -6, -11), text
        assert "handlers.yaml" in run.stderr
    run = haul("worker", "--server", server.url, "--handlers", tmp_path / "missing.yaml", "--state", tmp_path / "state")
    assert run.returncode not in (0, -6, -11) and "missing.yaml" in run.stderr


def test_data_folder_that_is_not_writable(haul, tmp_path):
    (tmp_path / "file").write_text("")
    run = haul("server", "--listen", "127.0.0.1:0", "--data", tmp_path / "file")
    assert run.returncode not in (0, -6, -11) and "file" in run.stderr


def test_names_of_outputs_are_kept_as_they_are_or_refused(server, api, make_worker, haul, tmp_path):
    odd = ["<img src=x onerror=alert(1)>.txt", "a\"b'c; d.txt", "%2e%2e.txt", "naïve ☃.txt", "-rf"]
    script = "\n".join(f"printf %s {shlex.quote(name)} > ./out/{shlex.quote(name)}" for name in odd)
    make_worker(server.url, {"odd": script, "broken": "echo x > \"out/two\nlines\""})
    job_id = api.wait(api.submit("odd")["job_id"])["job_id"]
    outputs = {o["name"]: o for o in api.outputs(job_id)}
    assert set(outputs) == set(odd)
    for name, output in outputs.items():
        answer = api.get(output["url"])
        assert answer.content == name.encode()
        assert "\n" not in answer.headers.get("Content-Disposition", "")
    assert haul("jobs", "outputs", job_id, "--out", tmp_path / "got", url=server.url).returncode == 0
    assert {p.name: p.read_text() for p in (tmp_path / "got").iterdir()} == {name: name for name in odd}
    failed = api.wait(api.submit("broken", max_attempts=1)["job_id"])
    assert (failed["status"], failed["error_log"]) == ("failed", "an output's name must be UTF-8 without control characters")
