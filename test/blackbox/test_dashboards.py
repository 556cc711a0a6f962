"""P24: dashboards under load. Readers hammer while jobs are submitted, run and completed, with payloads large enough that a write-ahead
log nobody truncates would pass the promised size."""
import collections
import concurrent.futures
import threading
import uuid

import pytest
import requests
from conftest import COMPLETE

JOBS, BATCH, SUBMITTERS = 4400, 50, 3
RUNS, WORKERS, READERS = 150, 3, 4
PAYLOAD = "x" * 62_000  # 270 MB in all; what runs is written again by its claim and by its end
WAL_MAX = 256 << 20


class Client:
    """One connection; remembers every answer's status. Not conftest's Api: checking each answer's form is slower than the server."""

    def __init__(self, url, statuses):
        self.url, self.session, self.statuses = url, requests.Session(), statuses

    def call(self, method, path, **kwargs):
        answer = self.session.request(method, self.url + path, timeout=60, **kwargs)
        self.statuses[answer.status_code, method + " " + path.split("?")[0].split("/")[-1],
                      "" if answer.ok else answer.text[:300]] += 1
        return answer


def submit(client, numbers):
    for n in numbers:
        jobs = [{"task_type": f"type-{n % 4}", "payload": PAYLOAD, "labels": {"batch": str(n)}} for _ in range(BATCH)]
        answer = client.call("POST", "/v1/jobs:batch", json={"jobs": jobs}, headers={"Idempotency-Key": f"batch-{n}"}).json()
        assert answer["created"] == BATCH


def work(client):
    """Plays a worker that runs its share."""
    me, todo, polls = str(uuid.uuid4()), RUNS // WORKERS, 0
    while todo:
        polls += 1
        answer = client.call("POST", "/v1/lease", json={
            "worker_id": me, "poll_id": str(polls), "name": "played", "host": "test", "version": "0", "isolation": "none",
            "handlers": {f"type-{i}": "1" for i in range(4)}, "slots": min(4, todo), "slots_total": 4, "slots_busy": 0,
            "wait": "60s"})
        for claim in answer.json()["jobs"]:
            attempt, token = f"/v1/jobs/{claim['job_id']}/attempts/{claim['attempt']}", {"Haul-Token": claim["token"]}
            client.call("POST", attempt + "/complete", json={"outputs": [], **COMPLETE}, headers=token)
            todo -= 1


def read(client, left):
    """What a dashboard asks for, again and again."""
    rounds = 0
    while not left.is_set():
        page = client.call("GET", "/v1/jobs?limit=50").json()["jobs"]
        client.call("GET", "/v1/jobs?status=success&task_type=type-1&limit=20")
        client.call("GET", "/v1/jobs?status=pending&queue=type-2&limit=20")
        client.call("GET", f"/v1/jobs?label=batch={rounds % (JOBS // BATCH)}&limit=20")
        client.call("GET", "/v1/stats")
        client.call("GET", "/v1/workers")
        client.call("GET", "/metrics")
        for job in page[:2]:
            client.call("GET", f"/v1/jobs/{job['job_id']}")
            client.call("GET", f"/v1/jobs/{job['job_id']}/attempts")
        rounds += 1
    return rounds


def watch(path, left):
    """The largest the log became."""
    most = 0
    while not left.wait(0.01):
        most = max(most, path.stat().st_size if path.exists() else 0)
    return most


@pytest.mark.timeout(240)  # some seconds; with sanitizers, minutes
def test_P24_dashboards_under_load_meet_no_lock_and_the_log_stays_small(make_server):
    server = make_server({"lease": "10m", "confirm": "5m"})  # no claim may lapse, however slow the machine
    statuses = collections.Counter()
    left = threading.Event()  # set when everything was submitted and enough was run
    with concurrent.futures.ThreadPoolExecutor(SUBMITTERS + WORKERS + READERS + 1) as pool:
        try:
            largest = pool.submit(watch, server.data / "haul.db-wal", left)
            reading = [pool.submit(read, Client(server.url, statuses), left) for _ in range(READERS)]
            working = [pool.submit(work, Client(server.url, statuses)) for _ in range(WORKERS)]
            submitting = [pool.submit(submit, Client(server.url, statuses), range(i, JOBS // BATCH, SUBMITTERS))
                          for i in range(SUBMITTERS)]
            for future in [*submitting, *working]:
                future.result()
        finally:
            left.set()
        assert all(future.result() > 0 for future in reading)
    # A read that a busy machine does not get done within its bound is told so (504); what waited for a lock would be 503.
    unwelcome = {what: n for what, n in statuses.items() if not 200 <= what[0] < 300 and not (what[0] == 504 and what[1].startswith("GET "))}
    assert not unwelcome
    stats = Client(server.url, statuses).call("GET", "/v1/stats").json()["queues"]
    assert sum(q["success"] for q in stats) == RUNS
    assert sum(sum(q[status] for status in ("pending", "running", "success")) for q in stats) == JOBS
    written = sum(f.stat().st_size for f in server.data.glob("haul.db*"))
    assert 0 < largest.result() < WAL_MAX, f"{largest.result()} bytes of log; database and log are {written}"
    print(sum(statuses.values()), "answers; largest log", largest.result())
