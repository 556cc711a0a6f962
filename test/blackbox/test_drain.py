"""Workers that are drained by the server: over HTTP and by haul workers, played ones and a real one, and over restarts."""
import json
import sqlite3
import uuid

import pytest
from conftest import COMPLETE, Api, Databases, problem, until


def turn(api, worker, verb, body=None):
    answer = api.post(f"/v1/workers/{worker}/{verb}", body or {})
    assert answer.status_code == 200, answer.text
    return answer.json()


def row(api, worker):
    return next(w for w in api.get("/v1/workers").json()["workers"] if w["worker_id"] == worker)


def test_a_drained_worker_is_given_nothing_and_what_it_runs_goes_on(server, api, haul):
    me, other = str(uuid.uuid4()), str(uuid.uuid4())
    running = api.submit("film")["job_id"]
    (claim,) = api.lease("film", worker_id=me)
    waits = api.submit("film")["job_id"]
    made = turn(api, me, "drain", {"by": "ada"})
    assert (made["worker_id"], made["drained_by"], made["changed"]) == (me, "ada", True)
    again = turn(api, me, "drain", {"by": "bob"})
    assert again == {**made, "changed": False}
    seen = row(api, me)
    assert (seen["state"], seen["drained_at"], seen["drained_by"]) == ("draining", made["drained_at"], "ada")
    assert api.lease("film", worker_id=me, wait="0s") == [] and api.job(waits)["status"] == "pending"
    assert row(api, me)["state"] == "drained"  # it said that nothing runs
    why = api.get(f"/v1/jobs/{waits}/explain").json()
    assert (why["reason"], why["workers"]["live"], why["workers"]["serving"], why["workers"]["drained"]) == ("workers_drained", 1, 0, 1)
    assert f"is drained; resume one or start another: played" in why["text"] and why["likely_start_at"] is None
    shown = haul("jobs", "explain", waits, url=server.url).stdout
    assert "workers_drained" in shown and "played" in shown and "1 live ones that run its type are drained" in shown
    assert api.job(waits)["waiting_reason"] == "all workers that can run task type 'film' are drained"
    other_type = api.submit("song")["job_id"]
    assert api.job(other_type)["waiting_reason"] == "no worker that is known can run task type 'song'"
    assert api.get(f"/v1/jobs/{other_type}/explain").json()["reason"] == "no_worker"  # it would not run that
    assert "haul_workers_live 1" in api.get("/metrics").text and "haul_worker_slots 0" in api.get("/metrics").text
    assert "\nhaul_workers_drained 1\n" in api.get("/metrics").text

    assert api.act(claim, "heartbeat").status_code == 200
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).json()["status"] == "success"
    assert api.job(running)["status"] == "success"

    server.kill()
    server.restart()
    assert api.lease("film", worker_id=me, wait="0s") == [] and row(api, me)["drained_by"] == "ada"
    (claim,) = api.lease("film", worker_id=other)
    assert claim["job_id"] == waits
    assert turn(api, me, "resume") == {"worker_id": me, "drained_at": None, "drained_by": None, "changed": True}
    assert turn(api, me, "resume")["changed"] is False
    third = api.submit("film")["job_id"]
    assert api.lease("film", worker_id=me)[0]["job_id"] == third and row(api, me)["drained_at"] is None


def test_the_answer_says_so(server, api):
    me = str(uuid.uuid4())
    poll = {"worker_id": me, "handlers": {"film": "1"}, "slots": 1, "wait": "0s"}

    def polled():
        return api.post("/v1/lease", {**poll, "poll_id": uuid.uuid4().hex}).json()
    assert polled() == {"jobs": []}
    turn(api, me, "drain")
    assert polled() == {"jobs": [], "drained": True}


@pytest.mark.parametrize("body,field", [({"by": ""}, "by"), ({"by": 1}, "by"), ({"by": "x" * 201}, "by"), ({"who": "me"}, "who")])
def test_bad_bodies_name_the_field(server, api, body, field):
    me = str(uuid.uuid4())
    api.lease("film", worker_id=me, wait="0s")
    problem(api.post(f"/v1/workers/{me}/drain", body), 422, "invalid", field)
    assert row(api, me)["drained_at"] is None


def test_who_is_not_there_cannot_be_drained(server, api):
    for worker in (str(uuid.uuid4()), "nonsense", str(uuid.UUID(int=0))):
        for verb in ("drain", "resume"):
            assert worker in problem(api.post(f"/v1/workers/{worker}/{verb}", {}), 404, "not_found")["detail"]
    me = str(uuid.uuid4())
    api.lease("film", worker_id=me, wait="0s")
    server.terminate()
    with sqlite3.connect(server.data / "haul.db") as db:
        db.execute("UPDATE workers SET last_seen = last_seen - 600000000")
    server.restart()
    assert row(api, me)["state"] == "gone"
    assert "gone" in problem(api.post(f"/v1/workers/{me}/drain", {}), 409, "illegal_state")["detail"]
    assert turn(api, me, "resume")["changed"] is False


def test_a_real_worker_stays_and_goes_on(server, api, haul, make_worker, tmp_path):
    worker = make_worker(server.url, {"film": "true"})
    seen = until(lambda: api.get("/v1/workers").json()["workers"])[0]
    run = haul("workers", "drain", seen["name"], url=server.url)
    assert (run.returncode, run.stdout) == (0, f"{seen['name']} gets no more jobs\n"), run
    assert haul("workers", "drain", seen["worker_id"], url=server.url).stdout == f"{seen['worker_id']} was drained before\n"
    waits = api.submit("film")["job_id"]
    until(lambda: "drained by the server" in worker.said, 60)
    assert worker.pid and api.job(waits)["status"] == "pending"
    listed = haul("workers", url=server.url)
    assert "drained" in listed.stdout and seen["worker_id"] in listed.stdout
    run = haul("workers", "resume", seen["name"], "--json", url=server.url)
    assert json.loads(run.stdout)["changed"] is True
    api.wait_status(waits, "success")
    until(lambda: "no longer drained" in worker.said)


def test_the_command_says_what_is_wrong(haul, server, api):
    for me in (str(uuid.uuid4()), str(uuid.uuid4())):
        api.lease("film", worker_id=me, wait="0s")  # both are called "played"
    run = haul("workers", "drain", "played", url=server.url)
    assert run.returncode == 2 and "2 workers have the name 'played'" in run.stderr
    run = haul("workers", "drain", "nobody", str(uuid.uuid4()), url=server.url)
    assert run.returncode == 12 and "'nobody' is neither" in run.stderr and "there is no worker" in run.stderr and run.stdout == ""
    assert haul("workers", "drain", url=server.url).returncode == 2




def test_it_holds_at_every_server_of_a_database(make_server, tmp_path):
    url = Databases.url_of(tmp_path)
    one = make_server({"store": url})
    here, there = Api(one.url), Api(make_server({"store": url}, data=one.data).url)
    me = str(uuid.uuid4())
    first = here.submit("film")["job_id"]
    assert [c["job_id"] for c in there.lease("film", worker_id=me)] == [first]  # it knows the lane
    turn(here, me, "drain")
    assert row(there, me)["drained_at"]
    waits = there.submit("film")["job_id"]
    assert here.lease("film", worker_id=me, wait="0s") == [] and there.lease("film", worker_id=me, wait="0s") == []
    assert there.lease("film", worker_id=me, wait="50s") == []  # a poll does not wait for long: the resume is made elsewhere
    turn(here, me, "resume")
    assert [c["job_id"] for c in there.lease("film", worker_id=me)] == [waits]
