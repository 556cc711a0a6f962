"""Real processes under load while they are killed and paused: what was acknowledged ends once, and is accounted for.

CHAOS_SEED reproduces the choice of faults, CHAOS_ROUNDS says how many (default 12)."""
import collections
import hashlib
import os
import random
import signal
import uuid

import requests
from conftest import Api, until

QUICK = {"lease": "2s", "heartbeat": "500ms", "confirm": "2s", "backoff_base": "50ms", "backoff_cap": "200ms"}
HANDLER = 'sleep 0.3; printf %s "$HAUL_JOB_ID" >out/result'


def submit(api, key):
    """The job's id, or None when the outcome is not known."""
    try:
        answer = api.post("/v1/jobs", {"task_type": "work", "max_attempts": 20}, headers={"Idempotency-Key": key}, timeout=5)
    except requests.RequestException:
        return None
    return answer.json()["job_id"] if answer.status_code in (200, 201) else None


def kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def inject(kind, dice, server, worker, api, key):
    """One fault; a submission meets it where the server is what fails. Returns what is known of that submission."""
    job_id = None
    if kind == "kill server":
        server.kill()
        job_id = submit(api, key)  # refused: unknown until it is repeated
        server.restart()
    elif kind == "kill agent":
        worker.kill()
        worker.launch()
    elif kind == "kill one of the worker's":
        others = sorted(worker.family() - {worker.pid})
        if others:
            kill(dice.choice(others))
    elif kind == "kill host":
        worker.kill_host()
        worker.launch()
    elif kind == "pause server":
        server.popen.send_signal(signal.SIGSTOP)
        job_id = submit(api, key)  # ends by its time-out, beyond the lease
        server.popen.send_signal(signal.SIGCONT)
    return job_id


KINDS = ["kill server", "kill agent", "kill one of the worker's", "kill host", "pause server"]


def test_P02_P03_what_was_acknowledged_ends_once_whatever_is_killed(make_server, make_worker):
    seed = int(os.environ.get("CHAOS_SEED", "1"))
    dice, counted = random.Random(seed), collections.Counter()
    print(f"CHAOS_SEED={seed}")
    server = make_server(QUICK)
    api = Api(server.url)
    workers = [make_worker(server.url, {"work": HANDLER}, slots=3) for _ in range(2)]
    sent = {}  # key -> the id that was acknowledged, or None: unknown
    for turn in range(int(os.environ.get("CHAOS_ROUNDS", "12"))):
        for _ in range(4):
            key = uuid.uuid4().hex
            sent[key] = submit(api, key)
        kind = KINDS[turn] if turn < len(KINDS) else dice.choice(KINDS)  # each at least once
        key = uuid.uuid4().hex
        sent[key] = inject(kind, dice, server, dice.choice(workers), api, key)
        counted[kind] += 1

    ended = collections.Counter()
    for key, known in sent.items():
        job_id = until(lambda key=key: submit(api, key))  # repeated: the same job, or the first of that key
        assert known in (None, job_id), f"I2: {key} was {known} and is {job_id}"
        job = api.wait(job_id, deadline=90)
        ended[job["status"]] += 1
        won = [a for a in api.attempts(job_id) if a["outcome"] == "success"]
        assert len(won) == (job["status"] == "success"), f"I3: {job_id}: {won}"
        if job["status"] != "success":
            assert job["status"] == "failed" and job["error_log"], f"not accounted for: {job}"
            continue
        (output,) = api.outputs(job_id)
        got = api.get(output["url"], stream=True).content
        assert got == job_id.encode() and output["size"] == len(got), f"I7: {job_id}: {output}"
        assert output["sha256"] == hashlib.sha256(got).hexdigest(), f"I7: {job_id}: {output}"
    print(dict(counted), dict(ended))
