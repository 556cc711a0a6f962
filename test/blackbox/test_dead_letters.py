"""Dead letters over HTTP: grouped by cause, listed by fingerprint."""
import pytest
from conftest import Api, problem
from dead import dead, fail, submit

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
