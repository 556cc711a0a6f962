"""Dead letters over HTTP: grouped by cause, listed by fingerprint, redriven by the server."""
import sqlite3
import uuid

import pytest
from conftest import Api, problem, until
from dead import dead, fail, pending, statuses, submit

UNKNOWN = "0123456789abcdef"


def groups(api, **params):
    answer = api.get("/v1/dlq", params=params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def of(api, fingerprint, **params):
    answer = api.get("/v1/jobs", params={"fingerprint": fingerprint, **params})
    assert answer.status_code == 200, answer.text
    return [job["job_id"] for job in answer.json()["jobs"]]


def test_groups_and_their_jobs(server, api):
    assert groups(api) == {"groups": [], "next_cursor": None, "complete": True}
    many, of_many = dead(api, 3, "film", error=lambda n: f"no frame {n} in /in/{n}.mp4\n\nlast lines {n}")
    few, of_few = dead(api, 1, "film", error="disk full")
    other, of_other = dead(api, 2, "scale", error="disk full")
    submit(api, 1, "waits")
    jobs = sorted((api.job(i) for i in many), key=lambda job: job["finished_at"])
    first, second, third = groups(api)["groups"]
    assert first == {"fingerprint": of_many, "task_type": "film", "jobs": 3, "first_failed_at": jobs[0]["finished_at"],
                     "last_failed_at": jobs[2]["finished_at"], "job_id": jobs[2]["job_id"], "outcome": "error", "error_log": jobs[2]["error_log"]}
    assert (second["fingerprint"], second["jobs"], third["fingerprint"], third["job_id"]) == (of_other, 2, of_few, few[0])
    assert groups(api, task_type="scale")["groups"] == groups(api, fingerprint=of_other)["groups"] == [second]
    assert groups(api, fingerprint=UNKNOWN)["groups"] == groups(api, task_type="film", fingerprint=of_other)["groups"] == []

    page = groups(api, limit=2)
    assert [g["fingerprint"] for g in page["groups"]] == [of_many, of_other]
    last = groups(api, limit=2, cursor=page["next_cursor"])
    assert [g["fingerprint"] for g in last["groups"]] == [of_few] and last["next_cursor"] is None

    assert of(api, of_many) == sorted(many, reverse=True) and of(api, of_many, status="failed", queue="film", limit=2) == sorted(many, reverse=True)[:2]
    assert of(api, of_many, task_type="scale") == of(api, UNKNOWN) == []

    server.kill()
    server.restart()
    api = Api(server.url)
    assert groups(api)["groups"] == [first, second, third]
    api.post("/v1/jobs:retry", {"job_ids": many})
    assert of(api, of_many) == [] and [g["fingerprint"] for g in groups(api)["groups"]] == [of_other, of_few]
    assert fail(api, "film", error="no frame 8 in /elsewhere") == 3
    assert sorted(of(api, of_many)) == sorted(many)
    api.post("/v1/jobs:discard", {"job_ids": other})
    assert {g["fingerprint"]: g["jobs"] for g in groups(api)["groups"]} == {of_many: 3, of_few: 1}


@pytest.mark.parametrize("path, field", [
    ("/v1/dlq?fingerprint=nonsense", "fingerprint"), ("/v1/dlq?fingerprint=", "fingerprint"), ("/v1/dlq?cursor=nonsense", "cursor"),
    ("/v1/dlq?cursor=0-0123456789abcdef", "cursor"), ("/v1/dlq?cursor=3-0123", "cursor"), ("/v1/dlq?cursor=" + "9" * 40 + "-0123456789abcdef", "cursor"),
    ("/v1/dlq?limit=0", "limit"), ("/v1/dlq?task_type=%20", "task_type"), ("/v1/dlq?status=failed", "status"),
    ("/v1/jobs?fingerprint=0123456789ABCDEF", "fingerprint"), (f"/v1/jobs?fingerprint={UNKNOWN}&status=pending", "status"),
])
def test_what_is_asked_wrongly_is_named(api, path, field):
    assert problem(api.get(path), 422, "invalid")["field"] == field


# --- redrives ---

def redrive(api, action="retry", headers=None, **request):
    answer = api.post("/v1/redrives", {"action": action, "filter": {}, **request}, headers=headers)
    assert answer.status_code == 201, answer.text
    assert answer.headers["Location"] == "/v1/redrives/" + answer.json()["redrive_id"]
    return answer.json()


def look(api, made):
    answer = api.get("/v1/redrives/" + made["redrive_id"])
    assert answer.status_code == 200, answer.text
    return answer.json()


def over(api, made):
    def ended():
        """the redrive has ended"""
        return look(api, made)["state"] != "running"
    until(ended)
    return look(api, made)


def counts(made):
    return tuple(made[name] for name in ("state", "matched", "done", "skipped"))


def metric(api, line):
    (value,) = [text.rpartition(" ")[2] for text in api.get("/metrics").text.splitlines() if text.startswith(line + " ")]
    return int(value)


def test_a_redrive_takes_what_matched_when_it_was_made(api):
    ours, fingerprint = dead(api, 70, error="disk full", labels={"film": "7"})
    others, _ = dead(api, 2, error="no frame")
    made = redrive(api, filter={"fingerprint": fingerprint, "labels": ["film=7", "film"], "task_type": "t", "queue": "t"})
    assert made["filter"] == {"fingerprint": fingerprint, "labels": ["film=7", "film"], "task_type": "t", "queue": "t", "created_after": None,
                              "created_before": None, "failed_before": made["created_at"]}
    assert (made["state"], made["matched"], made["done"], made["limit"], made["rate"], made["dry_run"]) == ("running", None, 0, None, None, False)
    end = over(api, made)
    assert counts(end) == ("done", 70, 70, 0) and end["ended_at"] >= end["created_at"]
    assert pending(api) == 70 and statuses(api, others) == ["failed"] * 2
    assert fail(api, "t", error="disk full") == 70  # once more, and left alone
    assert counts(over(api, redrive(api, "discard", filter={"fingerprint": fingerprint}, limit=3))) == ("done", 3, 3, 0)
    assert [api.get(f"/v1/jobs/{i}").status_code for i in sorted(ours)[-4:]] == [200, 404, 404, 404]
    assert counts(over(api, redrive(api, dry_run=True))) == ("done", 69, 0, 0)
    assert [len(api.attempts(i)) for i in sorted(ours)[:67]] == [2] * 67
    assert metric(api, 'haul_jobs_redriven_total{action="retry"}') == 70 and metric(api, 'haul_jobs_redriven_total{action="discard"}') == 3
    assert metric(api, "haul_redrives_running") == 0

    first = api.get("/v1/redrives", params={"limit": 2}).json()
    rest = api.get("/v1/redrives", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [r["action"] for r in first["redrives"] + rest["redrives"]] == ["retry", "discard", "retry"] and rest["next_cursor"] is None


def test_at_its_rate_until_it_is_cancelled(api):
    dead(api, 5)
    made = redrive(api, rate="1/h")

    def begun():
        """the first was taken"""
        return look(api, made)["done"] == 1
    until(begun)
    assert counts(look(api, made)) == ("running", 5, 1, 0) and metric(api, "haul_redrives_running") == 1
    path = f"/v1/redrives/{made['redrive_id']}/cancel"
    first, again = api.post(path), api.post(path)
    assert counts(first.json()) == ("cancelled", 5, 1, 0) and again.json() == first.json() and first.json()["ended_at"]
    done = over(api, redrive(api, dry_run=True))
    problem(api.post(f"/v1/redrives/{done['redrive_id']}/cancel"), 409, "illegal_state")
    assert pending(api) == 1


def test_two_people_retry_the_same_group(api):
    ids, fingerprint = dead(api, 150)
    both = [redrive(api, filter={"fingerprint": fingerprint}, rate="100/s"), redrive(api, filter={"fingerprint": fingerprint})]
    ends = [over(api, made) for made in both]
    assert sum(end["done"] for end in ends) == 150
    assert all(end["done"] + end["skipped"] == end["matched"] for end in ends)
    before = {api.job(i)["version"] for i in ids}
    assert len(before) == 1  # one retry each


def test_a_key_makes_one_redrive(api):
    dead(api, 2)
    key = {"Idempotency-Key": "ours"}
    made = redrive(api, headers=key)
    again = api.post("/v1/redrives", {"action": "retry", "filter": {}}, headers=key)
    assert again.status_code == 200 and again.json()["redrive_id"] == made["redrive_id"]
    problem(api.post("/v1/redrives", {"action": "discard", "filter": {}}, headers=key), 409, "conflict")
    assert over(api, made)["done"] == 2


@pytest.mark.parametrize("request_, field", [
    ({}, "action"), ({"action": "mend", "filter": {}}, "action"), ({"action": "retry"}, "filter"), ({"action": "retry", "filter": []}, "filter"),
    ({"action": "retry", "filter": {"status": "failed"}}, "filter.status"), ({"action": "retry", "filter": {"fingerprint": "nonsense"}}, "filter.fingerprint"),
    ({"action": "retry", "filter": {"task_type": " "}}, "filter.task_type"), ({"action": "retry", "filter": {"labels": ["=x"]}}, "filter.labels[0]"),
    ({"action": "retry", "filter": {"labels": [str(i) for i in range(9)]}}, "labels"), ({"action": "retry", "filter": {"failed_before": "now"}}, "filter.failed_before"),
    ({"action": "retry", "filter": {}, "rate": "0/s"}, "rate"), ({"action": "retry", "filter": {}, "rate": "0"}, "rate"),
    ({"action": "retry", "filter": {}, "rate": 2}, "rate"), ({"action": "retry", "filter": {}, "limit": 0}, "limit"),
    ({"action": "retry", "filter": {}, "nonsense": 1}, "nonsense"),
])
def test_a_redrive_that_is_asked_wrongly(api, request_, field):
    assert problem(api.post("/v1/redrives", request_), 422, "invalid")["field"] == field
    assert api.get("/v1/redrives").json()["redrives"] == []


def test_a_redrive_of_what_is_not_there(api):
    problem(api.post("/v1/redrives", {"action": "retry", "filter": {"fingerprint": UNKNOWN}}), 404, "not_found")
    assert counts(over(api, redrive(api))) == ("done", 0, 0, 0)
    for wrong in (str(uuid.UUID(int=7)), str(uuid.UUID(int=0)), "nonsense"):
        problem(api.get("/v1/redrives/" + wrong), 404, "not_found")
        problem(api.post(f"/v1/redrives/{wrong}/cancel"), 404, "not_found")


MANY = 100_000


def multiply(folder, n):
    """Makes n dead letters of the one that is there, as the server would have written them."""
    db = sqlite3.connect(folder / "haul.db")
    db.execute("PRAGMA synchronous = OFF")
    columns = [row[1] for row in db.execute("PRAGMA table_info(jobs)") if row[1] != "job_id"]
    with db:
        (first,) = db.execute("SELECT job_id FROM jobs").fetchone()
        db.create_function("id_of", 1, lambda i: first[:8] + i.to_bytes(8, "big"), deterministic=True)
        db.execute("WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) INSERT INTO jobs (job_id, {0})"
                   " SELECT id_of(i), {0} FROM n, jobs WHERE job_id = ?2".format(", ".join(columns)), (n, first))
        db.execute("INSERT OR IGNORE INTO dead_letters SELECT project, fingerprint, job_id FROM jobs")
        db.execute("UPDATE dead_groups SET jobs = ?1", (n,))
        db.execute("UPDATE counters SET n = ?1 WHERE status = 3", (n,))
    db.close()


def versions(folder):
    db = sqlite3.connect(folder / "haul.db")
    try:
        return db.execute("SELECT status, version, count(*) FROM jobs GROUP BY 1, 2 ORDER BY 1").fetchall()
    finally:
        db.close()


def test_a_redrive_of_100000_that_is_cut_off_takes_each_once(server, api):
    _, fingerprint = dead(api, 1)
    ((_, version, _),) = versions(server.data)
    server.kill()
    multiply(server.data, MANY)
    server.restart()
    api = Api(server.url)
    made = redrive(api, filter={"fingerprint": fingerprint}, rate="2000/s")  # else it might end before this test looks

    def further_than(done):
        def goes_on():
            """it has taken more"""
            return look(api, made)["done"] > done
        until(goes_on)

    further_than(0)
    server.kill()
    ((_, failed, left), (_, pending_, taken)) = sorted(versions(server.data), reverse=True)
    assert (failed, pending_, left + taken) == (version, version + 1, MANY)
    server.restart()
    api = Api(server.url)
    assert look(api, made)["state"] == "running" and look(api, made)["matched"] == MANY
    further_than(taken)
    end = api.post(f"/v1/redrives/{made['redrive_id']}/cancel").json()  # how it comes to its end test/contract/store shows
    assert end["state"] == "cancelled" and taken < end["done"] < MANY
    assert versions(server.data) == [(0, version + 1, end["done"]), (3, version, MANY - end["done"])]
