"""Queues that are paused and resumed: over HTTP and by haul queues, with workers that the test plays, and over restarts."""
import json
import re
import threading
import uuid

import pytest
from conftest import COMPLETE, Api, Databases, own_redis, problem, until


def pause(api, queue, **body):
    answer = api.post(f"/v1/queues/{queue}/pause", body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def resume(api, queue):
    answer = api.post(f"/v1/queues/{queue}/resume", {})
    assert answer.status_code == 200, answer.text
    return answer.json()


def queue(api, name):
    return api.get(f"/v1/queues/{name}").json()


def test_a_paused_queue_starts_nothing_and_loses_nothing(server, api):
    running = api.submit("film")["job_id"]
    me = str(uuid.uuid4())
    (claim,) = api.lease("film", worker_id=me)
    made = pause(api, "film", reason="the disk is full", by="ada")
    assert (made["queue"], made["paused_by"], made["paused_reason"], made["changed"]) == ("film", "ada", "the disk is full", True)
    waits = api.submit("film")["job_id"]
    other = api.submit("song")["job_id"]
    (second,) = api.lease("film", "song", worker_id=me, slots=4)
    assert second["job_id"] == other and api.lease("film", worker_id=me, wait="0s") == []

    seen = queue(api, "film")
    assert (seen["paused_at"], seen["pending"], seen["running"]) == (made["paused_at"], 1, 1)
    why = api.get(f"/v1/jobs/{waits}/explain").json()
    assert why["reason"] == "queue_paused" and "by ada: the disk is full" in why["text"] and why["likely_start_at"] is None
    assert api.get("/v1/stats").json()["paused"] == ["film"]
    metrics = api.get("/metrics").text
    assert 'haul_queue_paused{queue="film"} 1' in metrics and 'haul_queue_paused{queue="song"} 0' in metrics

    assert api.act(claim, "heartbeat").status_code == 200  # what runs goes on, and its end counts
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).json()["status"] == "success"
    assert api.job(running)["status"] == "success" and queue(api, "film")["success"] == 1

    server.kill()
    server.restart()
    assert queue(api, "film")["paused_reason"] == "the disk is full"
    assert api.lease("film", worker_id=me, wait="0s") == [] and api.job(waits)["status"] == "pending"
    got = []
    waiting = threading.Thread(target=lambda: got.extend(api.lease("film", worker_id=me, wait="50s")))
    waiting.start()
    until(lambda: any(w["worker_id"] == me and w["slots_busy"] == 0 for w in api.get("/v1/workers").json()["workers"]))
    assert resume(api, "film") == {"queue": "film", "paused_at": None, "paused_by": None, "paused_reason": None, "changed": True}
    waiting.join(20)  # long before its poll ends by itself
    assert [c["job_id"] for c in got] == [waits]
    assert 'haul_queue_paused{queue="film"} 0' in api.get("/metrics").text


def test_a_second_time_changes_nothing(api):
    first = pause(api, "film", reason="first")
    again = pause(api, "film", reason="second", by="eve")
    assert again == {**first, "changed": False}
    assert [q["queue"] for q in api.get("/v1/queues").json()["queues"]] == ["film"]  # no job of it was ever submitted
    assert resume(api, "film")["changed"] and not resume(api, "film")["changed"]
    assert api.get("/v1/queues").json() == {"queues": []}


def test_the_list_is_of_all_queues_by_name(api):
    for task_type, name in (("b", "video"), ("a", "video"), ("c", "audio")):
        api.submit(task_type, queue=name)
    pause(api, "text")
    pause(api, "audio")
    seen = api.get("/v1/queues").json()["queues"]
    assert [(q["queue"], bool(q["paused_at"]), q["pending"], q["ready"]) for q in seen] == \
        [("audio", True, 1, 1), ("text", True, 0, 0), ("video", False, 2, 2)]
    assert seen[2]["oldest_ready_age_s"] > 0


def rates(row):
    return [row[f"{what}_per_min"] for what in ("submitted", "succeeded", "failed")]


def test_rates_are_told_for_each_type_and_sum_up(server, api, haul):
    for task_type, name in (("film", "video"), ("clip", "video"), ("song", "audio")):
        for _ in range(4):
            api.submit(task_type, queue=name, max_attempts=1)
    for task_type, verb, body in (("film", "complete", {"outputs": [], **COMPLETE}), ("film", "complete", {"outputs": [], **COMPLETE}), ("clip", "fail", {"outcome": "error", "permanent": True})):
        (claim,) = api.lease(task_type)
        assert api.act(claim, verb, body).status_code == 200
    # all of them are counted over the same time, some minute or minutes: their ratios are exact, but for the last digit
    by_type = {row["task_type"]: rates(row) for row in api.get("/v1/stats").json()["queues"]}
    submitted, succeeded, failed = by_type["film"]
    assert 0.8 <= submitted <= 4 and succeeded == pytest.approx(submitted / 2, abs=0.001) and failed == 0
    submitted, succeeded, failed = by_type["clip"]
    assert 0.8 <= submitted <= 4 and succeeded == 0 and failed == pytest.approx(submitted / 4, abs=0.001)
    assert by_type["song"][0] >= 0.8 and by_type["song"][1:] == [0, 0]
    submitted, succeeded, failed = rates(queue(api, "video"))
    assert 1.6 <= submitted <= 8 and succeeded == pytest.approx(submitted / 4, abs=0.001) and failed == pytest.approx(submitted / 8, abs=0.001)
    head, *shown = [re.split(r"  +", line.strip()) for line in haul("queues", url=server.url).stdout.splitlines()]
    at = head.index("IN/MIN")
    assert head[at:at + 3] == ["IN/MIN", "OK/MIN", "FAIL/MIN"]
    (video,) = [row for row in shown if row[0] == "video"]
    assert float(video[at]) >= 1.6 and float(video[at + 1]) > 0 and float(video[at + 2]) > 0
    server.kill()
    server.restart()  # what the server before it decided is not this one's
    assert rates(queue(api, "video")) == [0, 0, 0]


def test_events_tell_of_it(api):
    with api.get("/v1/events?counts=1", stream=True) as stream:
        lines = stream.iter_lines(decode_unicode=True)
        told = (json.loads(line[5:]) for line in lines if line.startswith("data:") and "paused" in line)
        assert next(told)["paused"] == []
        pause(api, "film")
        assert next(told)["paused"] == ["film"]
        resume(api, "film")
        assert next(told)["paused"] == []


def test_what_is_wrong_is_said(api):
    for name in ("no%20spaces", "%C3%A9", "x" * 129, "-x"):
        for verb in ("pause", "resume"):
            problem(api.post(f"/v1/queues/{name}/{verb}", {}), 422, field="queue")
        problem(api.get(f"/v1/queues/{name}"), 422, field="queue")
    problem(api.get("/v1/queues/film"), 404)
    problem(api.post("/v1/queues/film/pause", {"reason": "x" * 1001}), 422, field="reason")
    problem(api.post("/v1/queues/film/pause", {"by": ""}), 422, field="by")
    problem(api.post("/v1/queues/film/pause", {"why": "x"}), 422, field="why")
    problem(api.post("/v1/queues/film/resume", {"reason": "x"}), 422, field="reason")
    assert api.get("/v1/queues").json() == {"queues": []}


def test_by_the_command_line(server, api, haul):
    def run(*words):
        return haul(*words, url=server.url)
    assert "no queues" in run("queues").stderr
    job = api.submit("film")["job_id"]
    done = run("queues", "pause", "film", "song", "--reason", "maintenance until noon")
    assert (done.returncode, done.stdout) == (0, "film paused\nsong paused\n"), done
    assert run("queues", "pause", "film").stdout == "film was paused\n"
    for words in (("queues",), ("queues", "list")):
        shown = run(*words).stdout
        assert "maintenance until noon" in shown and "film" in shown and "paused" in shown
    assert json.loads(run("--json", "queues", "list").stdout)["queues"][0]["paused_by"]
    assert "maintenance until noon" in run("jobs", "explain", job).stdout
    assert run("queues", "resume", "film", "song").stdout == "film resumed\nsong resumed\n"
    assert run("queues", "resume", "song").stdout == "song was not paused\n"
    assert not json.loads(run("--json", "queues", "resume", "film").stdout)["changed"]
    bad = run("queues", "resume", "no name", "film")
    assert bad.returncode == 11 and "queue" in bad.stderr and bad.stdout == "film was not paused\n"
    assert run("queues", "pause").returncode == 2


# --- several servers, a broker ---

class Waiting:
    """A worker that the test plays, at a long poll."""
    def __init__(self, api, task_type):
        self.me, self.claims = str(uuid.uuid4()), []
        self.thread = threading.Thread(target=lambda: self.claims.extend(api.lease(task_type, worker_id=self.me, wait="50s")))
        self.thread.start()
        until(lambda: any(w["worker_id"] == self.me for w in api.get("/v1/workers").json()["workers"]))

    def jobs(self):
        self.thread.join(20)  # long before the poll ends by itself
        assert not self.thread.is_alive()
        return [c["job_id"] for c in self.claims]


def test_a_pause_holds_at_every_server_of_a_database(make_server, tmp_path):
    url = Databases.url_of(tmp_path)
    one = make_server({"store": url})
    here, there = Api(one.url), Api(make_server({"store": url}, data=one.data).url)
    first = here.submit("film")["job_id"]
    assert [c["job_id"] for c in there.lease("film")] == [first]  # it knows the lane
    pause(here, "film", reason="a test")
    assert queue(there, "film")["paused_reason"] == "a test"
    waiting = Waiting(there, "film")
    second = there.submit("film")["job_id"]
    assert here.lease("film", wait="0s") == [] and there.lease("film", wait="0s") == []
    assert there.get(f"/v1/jobs/{second}/explain").json()["reason"] == "queue_paused"
    resume(here, "film")
    assert waiting.jobs() == [second]


def test_a_brokers_messages_of_a_paused_queue_are_neither_held_nor_passed_round(make_server):
    if not own_redis.program():
        pytest.skip("Redis is not installed")
    redis = pytest.importorskip("redis")
    own = own_redis.Redis()
    try:
        r = redis.Redis(unix_socket_path=str(own.socket), decode_responses=True)
        api = Api(make_server({"broker": f"{own.url}?reclaim=1s"}).url)
        pause(api, "film")
        waiting = Waiting(api, "film")  # its wish has the messages read
        jobs = {api.submit("film")["job_id"] for _ in range(5)}
        until(lambda: sum(r.xlen(s) for s in r.scan_iter("haul:*:jobs:*")) == 0)
        dropped = [line for line in api.get("/metrics").text.splitlines() if line.startswith("haul_broker_messages_total")]
        assert 'haul_broker_messages_total{result="returned"} 0' in dropped, dropped
        assert api.job(min(jobs))["status"] == "pending"
        resume(api, "film")
        got = waiting.jobs()
        while len(got) < 5:
            got += [c["job_id"] for c in api.lease("film", wait="20s", slots=8)]
        assert set(got) == jobs
    finally:
        own.remove()
