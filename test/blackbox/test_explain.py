"""Why is it waiting? GET /v1/jobs/{id}/explain and haul jobs explain, at each reason there is."""
import json
import uuid

from conftest import COMPLETE, problem


def explained(api, job_id):
    answer = api.get(f"/v1/jobs/{job_id}/explain")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_reason_and_the_place_in_the_lane(api, haul, server):
    first, second, third = (api.submit("film")["job_id"] for _ in range(3))
    why = explained(api, third)
    assert (why["reason"], why["position"], why["likely_start_at"]) == ("no_worker", 3, None)
    assert "none of the 0 live workers runs 'film'" in why["text"]
    api.lease("song", wait="0s")  # a worker of another type
    assert explained(api, third)["workers"] == {"live": 1, "serving": 0, "drained": 0, "slots": 0, "free_slots": 0}
    me = str(uuid.uuid4())
    (claim,) = api.lease("film", worker_id=me)
    assert claim["job_id"] == first and explained(api, first)["reason"] == "running"
    why = explained(api, third)
    assert (why["position"], why["position_exact"]) == (2, True) and why["reason"] in ("behind_others", "no_free_slot")
    assert why["run_mean_s"] is None and why["likely_start_at"] is None
    api.act(claim, "complete", {"outputs": [], **COMPLETE})
    assert explained(api, first)["reason"] == "finished" and explained(api, first)["position"] is None
    why = explained(api, third)
    assert why["run_mean_s"] >= 0 and why["likely_start_at"]
    assert explained(api, second)["position"] == 1
    other_lane = api.submit("film", priority=9)["job_id"]
    assert explained(api, other_lane)["position"] == 1

    later = explained(api, api.submit("film", delay="1h", start_within="2h")["job_id"])
    assert (later["reason"], later["position"]) == ("scheduled", None) and later["until"] and later["start_deadline_at"]
    (claim,) = api.lease("film", worker_id=me)
    api.act(claim, "fail", {"outcome": "error", "retry_after": "1h"})
    back = explained(api, claim["job_id"])
    assert back["reason"] == "backing_off" and back["until"]

    shown = haul("jobs", "explain", third, url=server.url)
    assert shown.returncode == 0 and "position" in shown.stdout and third in shown.stdout, shown
    assert json.loads(haul("--json", "jobs", "explain", third, url=server.url).stdout)["position"] == 2


def test_unknown_jobs_and_wrong_words_are_refused(api, haul, server):
    problem(api.get(f"/v1/jobs/{uuid.uuid4()}/explain"), 404)
    problem(api.get("/v1/jobs/x/explain"), 404)
    problem(api.get(f"/v1/jobs/{uuid.uuid4()}/explain?deep=1"), 422, field="deep")
    assert haul("jobs", "explain", str(uuid.uuid4()), url=server.url).returncode == 12
    assert haul("jobs", "explain", "x", url=server.url).returncode == 2
    assert haul("jobs", "explain", url=server.url).returncode == 2
