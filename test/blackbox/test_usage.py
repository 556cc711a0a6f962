"""What an attempt uses over time: measured by its worker while it runs, told with heartbeats and with its end, kept with the attempt."""
import json
import uuid

import pytest
from conftest import Api, COMPLETE, problem, until

QUICK = {"lease": "4s", "heartbeat": "600ms", "confirm": "4s"}


def usage(api, job_id, attempt=1):
    answer = api.get(f"/v1/jobs/{job_id}/attempts/{attempt}/usage")
    assert answer.status_code == 200, answer.text
    assert answer.json()["attempt"] == attempt
    return answer.json()["points"]


def beat(api, claim, *samples, **kwargs):
    return api.act(claim, "heartbeat", {"samples": [dict(zip(("at_s", "cpu", "memory_bytes"), s)) for s in samples]}, **kwargs)


def test_a_running_program_is_measured_and_what_it_used_is_kept(make_server, make_worker, haul, tmp_path):
    server = make_server(QUICK)
    api = Api(server.url)
    go = tmp_path / "go"
    script = f"""(x=$(head -c 40000000 /dev/zero | tr '\\0' x); while [ ! -e {go} ]; do :; done) & wait"""
    make_worker(server.url, {"busy": script})
    job_id = api.submit("busy")["job_id"]

    def measured():
        """samples of the program came, its child's memory among them"""
        points = usage(api, job_id) if api.job(job_id)["attempt"] else []
        return points if len(points) >= 3 and points[-1]["memory_bytes"]["most"] >= 40000000 else None
    live = until(measured)
    assert max(p["cpu"]["most"] for p in live) > 0
    go.write_text("")
    assert api.wait(job_id)["status"] == "success"
    kept = usage(api, job_id)
    assert kept[:len(live)] == live  # nothing that was told is told otherwise
    times = [p["at_s"] for p in kept]
    assert times == sorted(set(times)) and times[0] >= 0
    shown = haul("jobs", "show", job_id, url=server.url).stdout
    assert "cpu over time" in shown and "MiB" in next(line for line in shown.split("\n") if line.startswith("memory"))
    server.terminate()
    server.restart()
    assert usage(Api(server.url), job_id) == kept


def test_what_ends_before_the_next_heartbeat_is_told_with_the_end(make_server, make_worker):
    server = make_server({"lease": "60s", "heartbeat": "15s"})
    make_worker(server.url, {"brief": "sleep 1.6; exit 3"})
    api = Api(server.url)
    job_id = api.submit("brief", max_attempts=1)["job_id"]
    assert api.wait(job_id)["status"] == "failed"
    assert len(usage(api, job_id)) == 1


def test_repeats_and_what_comes_late_change_nothing(api):
    api.submit("t")
    claim = api.lease("t")[0]
    assert usage(api, claim["job_id"]) == []
    for _ in range(2):  # the answer to the first was lost
        assert beat(api, claim, (1, 0.5, 1000), (2, 1.5, 2000)).status_code == 200
    assert beat(api, claim, (1.5, 9, 9), (2, 9, 9), (86400, 9, 9), (2.0004, 9, 9), (3, 0, 0)).status_code == 200
    points = usage(api, claim["job_id"])
    assert [(p["at_s"], p["cpu"]["mean"], p["memory_bytes"]["mean"]) for p in points] == [(1, 0.5, 1000), (2, 1.5, 2000), (3, 0, 0)]

    stale = {**claim, "token": "1." + "0" * 32}
    problem(beat(api, stale, (4, 1, 1)), 409, "stale_token")
    problem(api.act(stale, "complete", {"outputs": [], **COMPLETE, "samples": [{"at_s": 4, "cpu": 1, "memory_bytes": 1}]}), 409, "stale_token")
    assert usage(api, claim["job_id"]) == points
    end = {"outputs": [], **COMPLETE, "samples": [{"at_s": 3, "cpu": 7, "memory_bytes": 7}, {"at_s": 4, "cpu": 1, "memory_bytes": 1}]}
    for _ in range(2):
        assert api.act(claim, "complete", end).status_code == 200
    assert [p["at_s"] for p in usage(api, claim["job_id"])] == [1, 2, 3, 4]


GOOD = {"at_s": 1, "cpu": 1, "memory_bytes": 1}


@pytest.mark.parametrize("samples, field", [
    ({}, "samples"),
    (None, None),  # as if it was not there
    ([7], "samples[0]"),
    ([GOOD, {**GOOD, "at_s": -1}], "samples[1].at_s"),
    ([{**GOOD, "at_s": 1e18}], "samples[0].at_s"),
    ([{**GOOD, "at_s": "1"}], "samples[0].at_s"),
    ([{"cpu": 1, "memory_bytes": 1}], "samples[0].at_s"),
    ([{"at_s": 1, "memory_bytes": 1}], "samples[0].cpu"),
    ([{"at_s": 1, "cpu": 1}], "samples[0].memory_bytes"),
    ([{**GOOD, "cpu": -0.5}], "samples[0].cpu"),
    ([{**GOOD, "cpu": 1e30}], "samples[0].cpu"),
    ([{**GOOD, "memory_bytes": -1}], "samples[0].memory_bytes"),
    ([{**GOOD, "memory_bytes": 1.5}], "samples[0].memory_bytes"),
    ([{**GOOD, "memory_bytes": 2 ** 62}], "samples[0].memory_bytes"),
    ([{**GOOD, "gpu": 1}], "samples[0].gpu"),
    ([{**GOOD, "at_s": i} for i in range(101)], "samples"),
    ([{**GOOD, "at_s": i} for i in range(10000)], "samples"),
])
def test_samples_out_of_bounds_are_refused_with_all_of_the_call(api, samples, field):
    api.submit("t")
    claim = api.lease("t")[0]
    assert beat(api, claim, (0.5, 1, 1)).status_code == 200
    before = api.job(claim["job_id"])
    if field is None:
        assert api.act(claim, "heartbeat", {"samples": samples}).status_code == 200
        return
    for verb, rest in (("heartbeat", {}), ("complete", {"outputs": []}), ("fail", {"outcome": "error"})):
        problem(api.act(claim, verb, {**rest, "samples": samples}), 422, "invalid", field)
    assert len(usage(api, claim["job_id"])) == 1
    assert api.job(claim["job_id"]) == before


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_no_json(api, text):
    api.submit("t")
    claim = api.lease("t")[0]
    body = json.dumps({"samples": [GOOD]}).replace('"cpu": 1', f'"cpu": {text}')
    problem(api.act(claim, "heartbeat", data=body, headers={"Content-Type": "application/json"}), 400, "malformed")
    assert usage(api, claim["job_id"]) == []


def test_what_is_not_there(api):
    job_id = api.submit("t")["job_id"]
    for attempt in ("1", "0", "-1", "x", "4294967296", "99999999999999999999"):
        problem(api.get(f"/v1/jobs/{job_id}/attempts/{attempt}/usage"), 404, "not_found")
    problem(api.get(f"/v1/jobs/{uuid.uuid4()}/attempts/1/usage"), 404, "not_found")
    problem(api.get("/v1/jobs/nonsense/attempts/1/usage"), 404, "not_found")
    claim = api.lease("t")[0]
    assert usage(api, job_id) == []
    problem(api.get(f"/v1/jobs/{job_id}/attempts/1/usage?since=1"), 422, "invalid", "since")
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).status_code == 200
    assert usage(api, job_id) == []


def poll(api, load):
    return api.post("/v1/lease", {"worker_id": str(uuid.uuid4()), "poll_id": "p", "handlers": {"t": "1"}, "slots": 0, "wait": "0s", "load": load})


def test_a_worker_tells_how_busy_its_host_is(api, server, make_worker, haul):
    make_worker(server.url, {"one": "exit 0"})

    def told():
        """it polls behind each job"""
        api.wait(api.submit("one")["job_id"])
        return api.get("/v1/workers").json()["workers"][0]["load"]
    load = until(told)
    assert 0 <= load["cpu"] <= load["cpus"] and 0 < load["memory_bytes"] < load["memory_total_bytes"]
    shown = haul("workers", url=server.url).stdout
    assert "CPU" in shown and f"/{load['cpus']} " in shown


@pytest.mark.parametrize("load, field", [
    (7, "load"), ({}, "load"), ({"cpus": 1, "cpu": 1, "memory_bytes": 1}, "load"), ({"cpus": 0, "cpu": 1, "memory_bytes": 1, "memory_total_bytes": 1}, "load.cpus"),
    ({"cpus": 1, "cpu": -1, "memory_bytes": 1, "memory_total_bytes": 1}, "load.cpu"), ({"cpus": 1, "cpu": 1e300, "memory_bytes": 1, "memory_total_bytes": 1}, "load.cpu"),
    ({"cpus": 1, "cpu": 1, "memory_bytes": -1, "memory_total_bytes": 1}, "load.memory_bytes"),
    ({"cpus": 1, "cpu": 1, "memory_bytes": 1, "memory_total_bytes": 1, "gpus": 1}, "load.gpus")])
def test_load_that_is_refused(api, load, field):
    problem(poll(api, load), 422, "invalid", field)
    assert api.get("/v1/workers").json()["workers"] == []
    assert poll(api, None).status_code == 200
    assert api.get("/v1/workers").json()["workers"][0]["load"] is None
