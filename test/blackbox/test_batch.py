"""Batches: POST /v1/jobs:batch, and the same done to many jobs: POST /v1/jobs:cancel, :retry, :discard."""
import itertools
import json
import threading
import uuid

import pytest
from conftest import COMPLETE, Api, problem

JSON = {"Content-Type": "application/json"}


def batch(api, jobs, key=None):
    return api.post("/v1/jobs:batch", {"jobs": jobs}, headers={"Idempotency-Key": key} if key else {})


def results(answer, created=0, duplicates=0, refused=0):
    """The results of a batch that was readable, in order, counted as expected."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert {k: v for k, v in body.items() if k != "results"} == {"created": created, "duplicates": duplicates, "refused": refused}
    assert [r["index"] for r in body["results"]] == list(range(created + duplicates + refused))
    return body["results"]


def is_problem(result, status, code, field=None):
    assert result["status"] == status, result
    assert "job_id" not in result
    p = result["problem"]
    assert p["status"] == status and p["code"] == code and p["type"] == f"urn:haul:problem:{code}" and p["title"], p
    assert p.get("field") == field, p
    return p


def test_every_item_has_an_outcome_of_its_own(api):
    jobs = [{"task_type": "t", "payload": {"i": i}} if i % 2 == 0 else {"task_type": "t", "priority": 10} for i in range(1000)]
    answer = batch(api, jobs)
    out = results(answer, created=500, refused=500)
    for i, result in enumerate(out):
        if i % 2 == 0:
            assert result == {"index": i, "status": 201, "job_id": result["job_id"], "duplicate": False}
        else:
            single = problem(api.post("/v1/jobs", jobs[i], headers={"X-Request-Id": "single"}), 422, "invalid", "priority") \
                if i == 1 else single
            p = is_problem(result, 422, "invalid", "priority")
            assert {**p, "request_id": "single"} == single  # the same problem document
    assert len({r["job_id"] for r in out[::2]}) == 500
    assert api.job(out[998]["job_id"])["payload"] == {"i": 998}
    (stats,) = api.get("/v1/stats").json()["queues"]
    assert stats["pending"] == 500


def test_kinds_of_wrong_items(api):
    deep = "[" * 40 + "]" * 40
    items = ['{"task_type":"t"}', '7', 'null', '[]', '"x"', '{}', '{"task_type":"t","x":1}', '{"task_type":"t","task_type":"u"}',
             '{"task_type":"t","payload":%s}' % deep, '{"task_type":"t","payload":1e999}', '{"task_type":"t","payload":"%s"}' % ("x" * 65536),
             '{"task_type":"t","payload_ref":"blob:%s"}' % uuid.uuid4(), '{"task_type":"t","payload":"\\u0000"}',
             '{"task_type":"t","payload":"%s"}' % ("x" * 1100000), '{"task_type":"t"}']
    answer = api.post("/v1/jobs:batch", data='{"jobs":[' + ",".join(items) + "]}", headers=JSON)
    out = results(answer, created=3, refused=12)
    assert [r["status"] for r in out] == [201, 422, 422, 422, 422, 422, 422, 400, 400, 400, 413, 422, 201, 413, 201]
    is_problem(out[5], 422, "invalid", "task_type")
    is_problem(out[6], 422, "invalid", "x")
    is_problem(out[10], 413, "too_large", "payload")
    is_problem(out[11], 422, "invalid", "payload_ref")


def test_payloads_are_kept_byte_for_byte(api):
    raw = ['{"b": 1.50,\n  "a": "\\u00e9é"}', "[1, 2 ]", "null", "-0.0"]
    body = ' {\n"jobs" : [ ' + " ,\n ".join('{"payload" :%s , "task_type":"t"}' % r for r in raw) + " ] }\n"
    out = results(api.post("/v1/jobs:batch", data=body.encode(), headers=JSON), created=4)
    for text, result in zip(raw, out):
        assert text in api.get(f"/v1/jobs/{result['job_id']}").text


def test_what_is_no_batch_is_refused_whole(api):
    def refused(text, status, code, field=None):
        return problem(api.post("/v1/jobs:batch", data=text, headers=JSON), status, code, field)["detail"]

    good = '{"task_type":"t"}'
    refused("", 400, "malformed")
    refused("7", 422, "invalid")
    refused("{}", 422, "invalid", "jobs")
    refused('{"jobs":null}', 422, "invalid", "jobs")
    refused('{"jobs":{}}', 422, "invalid", "jobs")
    refused('{"jobs":[]}', 422, "invalid", "jobs")
    refused(f'{{"jobs":[{good}],"x":1}}', 422, "invalid", "x")
    refused(f'{{"jobs":[{good}],"jobs":[{good}]}}', 400, "malformed")
    refused(f'{{"jobs":[{good}]', 400, "malformed")
    refused(f'{{"jobs":[{good},', 400, "malformed")
    refused(f'{{"jobs":[{good},]}}', 400, "malformed")
    refused(f'{{"jobs":[{good} {good}]}}', 400, "malformed")
    refused(f'{{"jobs":[{good}}}]', 400, "malformed")
    refused(f'{{"jobs":[{good}]}} x', 400, "malformed")
    assert "jobs[1]" in refused(f'{{"jobs":[{good},{{"task_type":tru}}]}}', 400, "malformed")
    assert "jobs[1]" in refused(b'{"jobs":[{"task_type":"t"},{"task_type":"\xff"}]}', 400, "malformed")
    refused(f'{{"jobs":[{good}],"x":"{"y" * 5000}"}}', 413, "too_large")
    problem(api.post("/v1/jobs:batch?x=1", {"jobs": [{"task_type": "t"}]}), 422, "invalid", "x")
    problem(api.post("/v1/jobs:batch", data='{"jobs":[]}', headers={"Content-Type": "text/plain"}), 415)
    assert api.get("/v1/jobs:batch").status_code == 405
    assert api.get("/v1/jobs").json()["jobs"] == []


def test_more_than_a_thousand_or_than_16_mib(api):
    detail = problem(batch(api, [{"task_type": "t"}] * 1001), 413, "too_large", "jobs")["detail"]
    assert "1001" in detail and "1000" in detail and "split" in detail
    big = {"task_type": "t", "payload": "x" * 60000}
    answer = batch(api, [big] * 300)
    assert problem(answer, 413, "too_large")["detail"].count("16777216") == 1
    assert api.get("/v1/jobs").json()["jobs"] == []
    results(batch(api, [big] * 270), created=270)  # just under


def test_same_key_twice_in_a_batch(api):
    one, other = {"task_type": "t", "dedup_key": "k", "payload": 1}, {"task_type": "t", "dedup_key": "k", "payload": 2}
    out = results(batch(api, [one, one, other, {"task_type": "t"}]), created=2, duplicates=1, refused=1)
    assert out[1] == {"index": 1, "status": 200, "job_id": out[0]["job_id"], "duplicate": True}
    assert out[0]["job_id"] in is_problem(out[2], 409, "conflict")["detail"]
    # and against what was there before, whoever brought it
    again = results(batch(api, [other, one]), duplicates=1, refused=1)
    assert again[1]["job_id"] == out[0]["job_id"] == api.submit("t", dedup_key="k", payload=1)["job_id"]


def test_a_repeated_batch_gives_the_same_ids(api):
    jobs = [{"task_type": "t", "payload": i} for i in range(1000)]
    first = results(batch(api, jobs, "nightly"), created=1000)
    second = results(batch(api, jobs, "nightly"), duplicates=1000)
    assert [r["job_id"] for r in first] == [r["job_id"] for r in second]
    assert api.job(first[7]["job_id"])["dedup_key"] == "nightly/7"
    assert api.submit("t", payload=7, dedup_key="nightly/7")["job_id"] == first[7]["job_id"]
    jobs[3] = {"task_type": "t", "payload": "another"}
    third = results(batch(api, jobs, "nightly"), duplicates=999, refused=1)
    is_problem(third[3], 409, "conflict")
    # an item with a key of its own keeps it, so that a file of jobs may name some of them
    own = [{"task_type": "t", "dedup_key": "own"}, {"task_type": "t"}, {"task_type": "t", "dedup_key": "own"}]
    first = results(batch(api, own, "k"), created=2, duplicates=1)
    assert [r["job_id"] for r in results(batch(api, own, "k"), duplicates=3)] == [r["job_id"] for r in first]
    assert [api.job(first[i]["job_id"])["dedup_key"] for i in (0, 1)] == ["own", "k/1"]
    problem(batch(api, [{"task_type": "t"}], "x" * 252), 422, "invalid", "Idempotency-Key")
    results(batch(api, [{"task_type": "t"}], "x" * 251), created=1)


def test_P26_parallel_batches_with_one_key_make_each_job_once(server, api):
    jobs = [{"task_type": "t", "payload": i} for i in range(200)]
    seen = []

    def go():
        seen.append(Api(server.url).post("/v1/jobs:batch", {"jobs": jobs}, headers={"Idempotency-Key": "one"}).json())
    threads = [threading.Thread(target=go) for _ in range(8)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(seen) == 8 and all(b["refused"] == 0 for b in seen)
    assert sum(b["created"] for b in seen) == 200 and sum(b["duplicates"] for b in seen) == 1400
    for per_index in zip(*(b["results"] for b in seen)):
        assert len({r["job_id"] for r in per_index}) == 1
    (stats,) = api.get("/v1/stats").json()["queues"]
    assert stats["pending"] == 200


def test_inputs_of_a_batch_hold_their_blobs(api):
    blob = api.put_blob(b"bytes")
    out = results(batch(api, [{"task_type": "t", "inputs": [{"name": "a", "ref": blob["ref"]}]}] * 3), created=3)
    assert api.job(out[2]["job_id"])["inputs"] == [{"name": "a", "ref": blob["ref"]}]


def test_jobs_of_a_batch_run_in_their_order(server, api, make_worker, tmp_path):
    make_worker(server.url, {"note": f"cat payload.json >> {tmp_path}/order; echo >> {tmp_path}/order"})
    out = results(batch(api, [{"task_type": "note", "payload": i} for i in range(5)]), created=5)
    for result in out:
        assert api.wait(result["job_id"])["status"] == "success"
    assert (tmp_path / "order").read_text().split() == list("01234")


def test_a_client_that_leaves_harms_nobody(server, api):
    """The body is whole, the answer goes nowhere: the jobs are there, and the server goes on (leaks are seen at its exit)."""
    import socket
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"jobs": [{"task_type": "t", "payload": i} for i in range(1000)]}).encode()
    for i in range(3):
        with socket.create_connection((host, int(port))) as s:
            s.sendall(b"POST /v1/jobs:batch HTTP/1.1\r\nHost: %s\r\nIdempotency-Key: k\r\nContent-Type: application/json\r\n"
                      b"Content-Length: %d\r\n\r\n" % (server.url.removeprefix("http://").encode(), len(body)) + body)
    results(api.post("/v1/jobs:batch", data=body, headers={**JSON, "Idempotency-Key": "other"}), created=1000)
    again = api.post("/v1/jobs:batch", data=body, headers={**JSON, "Idempotency-Key": "k"})
    assert again.status_code == 200 and again.json()["refused"] == 0


def test_a_batch_survives_a_kill(server, api):
    jobs = [{"task_type": "t", "payload": i} for i in range(1000)]
    first = results(batch(api, jobs, "k"), created=1000)
    server.kill()
    server.restart()
    assert [r["job_id"] for r in results(batch(api, jobs, "k"), duplicates=1000)] == [r["job_id"] for r in first]


# --- many jobs at once ---

def bulk(api, verb, ids):
    return api.post(f"/v1/jobs:{verb}", {"job_ids": ids})


def done(answer, n, refused=0):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["done"], body["refused"]) == (n, refused), body
    return body["results"]


def test_bulk_cancel(api):
    pending = [r["job_id"] for r in results(batch(api, [{"task_type": "wait"}] * 3), created=3)]
    finished = api.submit("quick")["job_id"]
    (claim,) = api.lease("quick")
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).status_code == 200
    running = api.submit("run")["job_id"]
    (claim,) = api.lease("run")
    unknown = str(uuid.uuid4())
    out = done(bulk(api, "cancel", [pending[0], unknown, finished, running, pending[1]]), 3, 2)
    assert out[0] == {"job_id": pending[0], "status": 200, "job_status": "cancelled"}
    assert out[1]["job_id"] == unknown and out[1]["status"] == out[1]["problem"]["status"] == 404
    assert out[2]["job_id"] == finished and out[2]["status"] == 409 and out[2]["problem"]["code"] == "illegal_state"
    assert out[3] == {"job_id": running, "status": 202, "job_status": "running"}
    assert out[4]["status"] == 200
    assert [api.job(j)["status"] for j in (*pending, finished, running)] == ["cancelled", "cancelled", "pending", "success", "running"]
    assert api.act(claim, "heartbeat").json()["cancel"] is True
    done(bulk(api, "cancel", pending[:2]), 2)  # again: still cancelled


def test_bulk_retry_and_discard(api):
    ids = [r["job_id"] for r in results(batch(api, [{"task_type": "t", "payload": "x" * 60000}] * 200), created=200)]
    done(bulk(api, "cancel", ids), 200)
    out = done(bulk(api, "retry", ids[:100]), 100)
    assert all(r["job_status"] == "pending" for r in out)
    assert done(bulk(api, "retry", ids[:1]), 0, 1)[0]["problem"]["code"] == "illegal_state"
    out = done(bulk(api, "discard", ids), 100, 100)
    assert out[0]["status"] == 409 and out[100] == {"job_id": ids[100], "status": 200}
    assert api.get(f"/v1/jobs/{ids[150]}").status_code == 404
    job = api.job(ids[0])
    assert job["status"] == "pending" and job["payload"] == "x" * 60000
    (stats,) = api.get("/v1/stats").json()["queues"]
    assert (stats["pending"], stats["cancelled"]) == (100, 0)


@pytest.mark.parametrize("verb", ["cancel", "retry", "discard"])
def test_bulk_input_is_checked(api, verb):
    ids = [api.submit("t")["job_id"], str(uuid.uuid4())]
    problem(bulk(api, verb, []), 422, "invalid", "job_ids")
    problem(bulk(api, verb, None), 422, "invalid", "job_ids")
    problem(bulk(api, verb, [*ids, "x"]), 422, "invalid", "job_ids[2]")
    problem(bulk(api, verb, [*ids, 7]), 422, "invalid", "job_ids[2]")
    assert "job_ids[0]" in problem(bulk(api, verb, [*ids, ids[0].upper()]), 422, "invalid", "job_ids[2]")["detail"]
    assert "split" in problem(bulk(api, verb, [str(uuid.uuid4()) for _ in range(1001)]), 413, "too_large", "job_ids")["detail"]
    problem(api.post(f"/v1/jobs:{verb}", {"job_ids": ids, "x": 1}), 422, "invalid", "x")
    problem(api.post(f"/v1/jobs:{verb}", data="{", headers=JSON), 400, "malformed")
    problem(api.post(f"/v1/jobs:{verb}"), 400, "malformed")
    assert api.job(ids[0])["status"] == "pending"


def test_bulk_of_a_thousand(api):
    ids = list(itertools.chain.from_iterable(
        (r["job_id"] for r in results(batch(api, [{"task_type": "t"}] * 500), created=500)) for _ in range(2)))
    assert [r["job_id"] for r in done(bulk(api, "cancel", ids), 1000)] == ids
