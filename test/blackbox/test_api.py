"""The HTTP API as docs/openapi.yaml describes it."""
import hashlib
import http.client
import os
import signal
import threading
import uuid

import pytest
from conftest import COMPLETE, Api, problem, until

OCTETS = {"Content-Type": "application/octet-stream"}


def test_a_job_from_submission_to_result(server, api, make_worker):
    data = os.urandom(3_000_000)
    blob = api.put_blob(data)
    assert blob["size"] == len(data) and blob["sha256"] == hashlib.sha256(data).hexdigest()
    answer = api.post("/v1/jobs", {"task_type": "copy", "payload": {"a": [1, 2]}, "payload_ref": blob["ref"],
                                   "inputs": [{"name": "clip.bin", "ref": blob["ref"]}], "labels": {"who": "me"}})
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['job_id']}"
    assert job["status"] == "pending" and job["queue"] == "copy" and job["labels"] == {"who": "me"}
    assert (job["priority"], job["max_attempts"], job["attempt"]) == (5, 5, 0)

    make_worker(server.url, {"copy": 'cp in/clip.bin out/copy; cat payload.json > out/payload; echo "to the log"; '
                                     'echo "progress 50 half way" >&3; env | grep ^HAUL_ | sort'})
    done = api.wait(job["job_id"])
    assert done["status"] == "success", done["error_log"]
    assert done["result_url"] == f"/v1/jobs/{job['job_id']}/outputs"
    outputs = {o["name"]: o for o in api.outputs(job["job_id"])}
    assert outputs["copy"]["sha256"] == blob["sha256"] and outputs["copy"]["size"] == len(data)
    assert api.get(outputs["copy"]["url"]).content == data
    assert api.get(outputs["payload"]["url"]).text.strip() == '{"a": [1, 2]}'
    log = api.log(job["job_id"])
    assert log.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert log.headers["X-Content-Type-Options"] == "nosniff"
    assert "to the log\n" in log.text and f"HAUL_JOB_ID={job['job_id']}\n" in log.text and "HAUL_ATTEMPT=1\n" in log.text
    (attempt,) = api.attempts(job["job_id"])
    assert attempt["outcome"] == "success" and attempt["exit_code"] == 0 and attempt["handler_version"] == "1"
    assert attempt["bytes_in"] == len(data) and attempt["bytes_out"] >= len(data)


def test_progress_is_seen_while_it_runs(server, api, make_worker, tmp_path):
    make_worker(server.url, {"slow": f'echo "progress 50 half way" >&3; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done'})
    job_id = api.submit("slow")["job_id"]
    job = api.wait(job_id, lambda j: j["progress"])
    assert (job["status"], job["progress"]["percent"], job["progress"]["message"]) == ("running", 50, "half way")
    (tmp_path / "go").touch()
    assert api.wait_status(job_id, "success")["attempt"] == 1


def test_one_output_is_the_result(server, api, make_worker):
    make_worker(server.url, {"one": "echo x > out/only", "none": "true"})
    one = api.wait(api.submit("one")["job_id"])
    assert one["result_url"].startswith("/v1/blobs/") and api.get(one["result_url"]).text == "x\n"
    assert api.wait(api.submit("none")["job_id"])["result_url"] is None


def test_retries_back_off_and_end_in_failed(make_server, make_worker):
    server = make_server({"backoff_base": "50ms"})
    api = Api(server.url)
    make_worker(server.url, {"bad": 'echo "error it is broken" >&3; echo more; exit 3'})
    job_id = api.submit("bad", max_attempts=3)["job_id"]
    job = api.wait(job_id)
    assert (job["status"], job["attempt"], job["retries"], job["outcome"]) == ("failed", 3, 2, "error")
    assert job["error_log"].startswith("it is broken") and "more" in job["error_log"]
    assert [a["outcome"] for a in api.attempts(job_id)] == ["error"] * 3

    assert api.post(f"/v1/jobs/{job_id}/retry").status_code == 200
    job = api.wait(job_id, lambda j: j["status"] == "failed" and j["attempt"] == 6)
    assert api.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    problem(api.get(f"/v1/jobs/{job_id}"), 404, "not_found")


def test_exit_codes_of_a_handler(server, api, make_worker):
    make_worker(server.url, {"permanent": {"command": ["/bin/sh", "-c", "exit 64"], "permanent_exit_codes": [64]},
                             "again": 'if [ "$HAUL_ATTEMPT" = 1 ]; then exit 75; fi'}, slots=2)
    permanent = api.wait(api.submit("permanent")["job_id"])
    assert (permanent["status"], permanent["attempt"]) == ("failed", 1)
    assert "exit status 64" in permanent["error_log"]
    again = api.submit("again")["job_id"]
    job = api.wait(again, lambda j: j["attempt"] == 1 and j["status"] == "pending")
    assert "backing off" in job["waiting_reason"]


def test_equal_causes_share_a_fingerprint(server, api, make_worker, haul):
    make_worker(server.url, {"bad": 'echo "error /in/$HAUL_JOB_ID.mp4: no frame $$ in \'clip of $$\'" >&3; echo "log of $HAUL_JOB_ID"; exit 3',
                             "other": "exit 3", "another": "exit 4"}, slots=2)
    ids = [api.submit(t, max_attempts=1)["job_id"] for t in ("bad", "bad", "other", "another")]
    jobs = [api.wait(i) for i in ids]
    prints = [j["fingerprint"] for j in jobs]
    assert jobs[0]["error_log"] != jobs[1]["error_log"] and prints[0] == prints[1]
    assert len(set(prints)) == 3
    listed = {j["job_id"]: j["fingerprint"] for j in api.get("/v1/jobs?status=failed").json()["jobs"]}
    assert [listed[i] for i in ids] == prints
    assert api.submit("waits")["fingerprint"] is None
    assert prints[0] in haul("jobs", "show", ids[0], url=server.url).stdout


def test_time_limit(server, api, make_worker):
    make_worker(server.url, {"slow": "exec sleep 600"})
    job = api.wait(api.submit("slow", timeout="1s", max_attempts=1)["job_id"])
    assert job["outcome"] == "timeout" and job["error_log"].startswith("time limit of 1s reached")


def test_cancel_before_it_runs_and_illegal_moves(api):
    job_id = api.submit("t")["job_id"]
    problem(api.post(f"/v1/jobs/{job_id}/retry"), 409, "illegal_state")
    answer = api.post(f"/v1/jobs/{job_id}/cancel")
    assert answer.status_code == 200 and answer.json()["status"] == "cancelled"
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    answer = api.post(f"/v1/jobs/{job_id}/retry", {})
    assert answer.status_code == 200 and answer.json()["status"] == "pending"


def test_scheduled_job_waits_and_says_so(api):
    job = api.submit("t", delay="1h")
    assert job["status"] == "pending" and "not due until" in api.job(job["job_id"])["waiting_reason"]
    at = api.submit("t", run_at="2099-01-01T00:00:00Z")
    assert at["run_at"].startswith("2099-01-01T00:00:00")
    assert api.lease("t", wait="0s") == []


def test_start_deadline(api):
    job = api.wait(api.submit("t", start_within="1s")["job_id"])
    assert (job["status"], job["outcome"]) == ("failed", "expired")


def test_priority_goes_first(api):
    low = api.submit("t", priority=1)["job_id"]
    high = api.submit("t", priority=9)["job_id"]
    middle = api.submit("t")["job_id"]
    claimed = [api.lease("t")[0]["job_id"] for _ in range(3)]
    assert claimed == [high, middle, low]


def test_dedup_key_and_idempotency_key(api):
    first = api.post("/v1/jobs", {"task_type": "t", "dedup_key": "k"})
    second = api.post("/v1/jobs", {"task_type": "t"}, headers={"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["job_id"] == second.json()["job_id"]
    problem(api.post("/v1/jobs", {"task_type": "other", "dedup_key": "k"}), 409, "conflict")
    problem(api.post("/v1/jobs", {"task_type": "t", "dedup_key": "k"}, headers={"Idempotency-Key": "l"}), 422, "invalid")


def test_list_pages_and_filters(api):
    ids = [api.submit("even" if i % 2 == 0 else "odd", queue="q")["job_id"] for i in range(7)]
    api.post(f"/v1/jobs/{ids[0]}/cancel")
    seen, cursor, pages = [], None, 0
    while True:
        params = {"limit": 3, **({"cursor": cursor} if cursor else {})}
        page = api.get("/v1/jobs", params=params).json()
        seen += [j["job_id"] for j in page["jobs"]]
        pages += 1
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert sorted(seen) == sorted(ids) and len(set(seen)) == 7 and pages >= 3
    assert "payload" not in page["jobs"][0]
    assert len(api.get("/v1/jobs", params={"task_type": "odd"}).json()["jobs"]) == 3
    assert len(api.get("/v1/jobs", params={"queue": "q", "status": "pending"}).json()["jobs"]) == 6
    assert [j["job_id"] for j in api.get("/v1/jobs", params={"status": "cancelled"}).json()["jobs"]] == [ids[0]]


def test_wait_answers_on_change(api):
    job = api.submit("t")
    answers = []
    waiter = threading.Thread(target=lambda: answers.append(
        api.get(f"/v1/jobs/{job['job_id']}", params={"wait": "30s", "version": job["version"]}).json()))
    waiter.start()
    api.post(f"/v1/jobs/{job['job_id']}/cancel")
    waiter.join(20)
    assert answers and answers[0]["status"] == "cancelled" and answers[0]["version"] > job["version"]


def test_blobs_have_ranges_and_etags(api):
    data = bytes(range(256)) * 1000
    blob = api.put_blob(data)
    url = "/v1/blobs/" + blob["ref"].removeprefix("blob:")
    head = api.request("HEAD", url)
    assert head.headers["ETag"] == f'"{blob["sha256"]}"' and head.headers["Content-Length"] == str(len(data))
    assert head.headers["Accept-Ranges"] == "bytes" and head.headers["X-Content-Type-Options"] == "nosniff"
    assert head.headers["Content-Disposition"].startswith("attachment")
    named = api.request("HEAD", url, params={"name": 'a "b" é.txt'})
    assert named.headers["Content-Disposition"] == "attachment; filename=\"a _b_ __.txt\"; filename*=UTF-8''a%20%22b%22%20%C3%A9.txt"
    for name in ("", "a/b", "..", "x" * 256):
        problem(api.get(url, params={"name": name}), 422, field="name")
    for text, start, end in [("bytes=0-9", 0, 10), ("bytes=1000-", 1000, None), ("bytes=-100", -100, None),
                             ("bytes=255999-999999", 255999, None)]:
        part = api.get(url, headers={"Range": text})
        assert part.status_code == 206 and part.content == data[start:end], text
        assert part.headers["Content-Range"].endswith(f"/{len(data)}")
    assert api.get(url, headers={"Range": "bytes=256000-"}).status_code == 416
    empty = api.put_blob(b"")
    assert api.get("/v1/blobs/" + empty["ref"].removeprefix("blob:")).content == b""


def test_logs_append_by_offset(api):
    job_id = api.submit("played")["job_id"]
    (claim,) = api.lease("played")
    assert api.act(claim, "heartbeat", {}).json()["cancel"] is False
    assert api.act(claim, "log?offset=0", data=b"one\n", headers=OCTETS).json()["next_offset"] == 4
    assert api.act(claim, "log?offset=0", data=b"one\n", headers=OCTETS).json()["next_offset"] == 4
    problem(api.act(claim, "log?offset=9", data=b"x", headers=OCTETS), 409, "conflict")
    problem(api.act(claim, "log?offset=4", data=b"x" * 65537, headers=OCTETS), 413, "too_large")
    api.act(claim, "log?offset=4", data=b"two\n", headers=OCTETS)
    assert api.log(job_id).text == "one\ntwo\n"
    part = api.get(f"/v1/jobs/{job_id}/log", headers={"Range": "bytes=4-"})
    assert (part.status_code, part.text) == (206, "two\n")
    following = []
    reader = threading.Thread(target=lambda: following.append(api.log(job_id, follow=1).text))
    reader.start()
    api.act(claim, "log?offset=8", data=b"three\n", headers=OCTETS)
    api.act(claim, "complete", {"outputs": [], **COMPLETE})
    reader.join(20)
    assert following == ["one\ntwo\nthree\n"]
    assert api.log(job_id).text == "one\ntwo\nthree\n"


def test_worker_calls_can_be_repeated(api):
    job_id = api.submit("played")["job_id"]
    worker_id, poll_id = str(uuid.uuid4()), uuid.uuid4().hex
    claims = [api.lease("played", worker_id=worker_id, poll_id=poll_id)[0] for _ in range(2)]
    assert claims[0] == claims[1] | {"lease_s": claims[0]["lease_s"]}
    for _ in range(2):
        answer = api.act(claims[0], "outputs/o", method="PUT", data=b"v", headers=OCTETS)
        assert answer.status_code == 201
    for _ in range(2):
        answer = api.act(claims[0], "complete", {"outputs": ["o"], **COMPLETE})
        assert (answer.status_code, answer.json()["status"]) == (200, "success")
    assert api.job(job_id)["attempt"] == 1 and len(api.outputs(job_id)) == 1


def test_complete_with_an_output_that_was_not_uploaded(api):
    job_id = api.submit("played")["job_id"]
    (claim,) = api.lease("played")
    api.act(claim, "heartbeat", {})
    answer = api.act(claim, "complete", {"outputs": ["missing"], **COMPLETE})
    assert answer.status_code in (409, 422), answer.text
    assert api.job(job_id)["status"] == "running"


def test_unconfirmed_claim_costs_nothing(make_server):
    server = make_server({"confirm": "1s", "lease": "2s", "heartbeat": "500ms"})
    api = Api(server.url)
    job_id = api.submit("played", max_attempts=1)["job_id"]
    api.lease("played")
    (second,) = api.lease("played")
    job = api.job(job_id)
    assert (second["attempt"], job["retries"], job["losses"], job["interruptions"]) == (2, 0, 0, 0)
    assert [a["outcome"] for a in api.attempts(job_id) if a["attempt"] == 1] == ["unconfirmed"]


def test_lapsed_lease_that_nobody_claimed_still_completes(make_server):
    server = make_server({"lease": "1s", "heartbeat": "250ms", "confirm": "1s"})
    api = Api(server.url)
    job_id = api.submit("played")["job_id"]
    (claim,) = api.lease("played")
    api.act(claim, "heartbeat", {})
    assert api.wait(job_id, lambda j: j["status"] == "pending")["losses"] <= 1
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).json()["status"] == "success"


def test_completion_of_a_cancelled_job_is_recorded_as_cancelled(api):
    job_id = api.submit("played")["job_id"]
    (claim,) = api.lease("played")
    api.act(claim, "heartbeat", {})
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code == 202
    assert api.act(claim, "heartbeat", {}).json()["cancel"] is True
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).json()["status"] == "cancelled"
    assert api.job(job_id)["status"] == "cancelled"


def test_workers_and_stats(server, api, make_worker):
    api.submit("nobody")
    make_worker(server.url, {"job": "exit 0"}, slots=3)
    api.wait(api.submit("job")["job_id"])
    (worker,) = api.get("/v1/workers").json()["workers"]
    assert worker["state"] == "live" and worker["slots_total"] == 3 and worker["handlers"] == {"job": "1"}
    stats = api.get("/v1/stats").json()
    by_type = {q["task_type"]: q for q in stats["queues"]}
    assert by_type["job"]["success"] == 1 and by_type["nobody"]["pending"] == 1
    assert stats["server"]["version"]
    assert api.get("/healthz").json()["status"] == "ok"
    assert api.get("/readyz").status_code == 200


def test_nothing_acknowledged_is_lost_by_kill_9(server, api):
    ids = [api.submit("t", dedup_key=f"k{i}")["job_id"] for i in range(50)]
    blob = api.put_blob(b"kept")
    server.kill()
    server.restart()
    api = Api(server.url)  # the kept connections died with the old server
    assert sorted(j["job_id"] for j in api.get("/v1/jobs", params={"limit": 100}).json()["jobs"]) == sorted(ids)
    assert api.get("/v1/blobs/" + blob["ref"].removeprefix("blob:")).content == b"kept"
    assert api.submit("t", dedup_key="k7")["job_id"] == ids[7]


def test_sigterm_drains_and_exits_0(server, api):
    job = api.submit("t")
    poll = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    poll.request("GET", f"/v1/jobs/{job['job_id']}?wait=60s&version={job['version']}")
    ports = server.url.rpartition(":")[2], poll.sock.getsockname()[1]

    def taken():
        """the server has read the request: its end of the connection holds no unread byte"""
        with open("/proc/net/tcp", encoding="ascii") as table:
            ends = [line.split()[1:5] for line in list(table)[1:]]
        return any((int(own[-4:], 16), int(peer[-4:], 16)) == (int(ports[0]), ports[1]) and queues.endswith(":00000000")
                   for own, peer, _, queues in ends)
    until(taken)
    assert server.terminate() == 0
    assert poll.getresponse().status in (200, 503)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_idle_worker_stops_on_a_signal(server, api, make_worker, stop):
    worker = make_worker(server.url, {"t": "exit 0"})
    api.wait(api.submit("t")["job_id"])
    worker.popen.send_signal(stop)
    assert worker.popen.wait(30) == 0
