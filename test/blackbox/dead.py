"""Dead letters to play with: a played worker lets jobs fail for good."""


def fail(api, *task_types, error="exit status 3", n=None):
    """Every job that waits of these types fails (or the first `n`); how many."""
    done = 0
    while (n is None or done < n) and (claims := api.lease(*task_types, wait="0s", slots=64 if n is None else min(64, n - done))):
        for claim in claims:
            text = error(done) if callable(error) else error
            assert api.act(claim, "fail", {"outcome": "error", "permanent": True, "error_log": text}).status_code == 200
            done += 1
    return done


def submit(api, n, task_type, **fields):
    answer = api.post("/v1/jobs:batch", {"jobs": [{"task_type": task_type, **fields}] * n}).json()
    assert answer["refused"] == 0
    return [r["job_id"] for r in answer["results"]]


def dead(api, n, task_type="t", error="exit status 3", **fields):
    """So many dead letters of one cause: their ids and their fingerprint."""
    ids = submit(api, n, task_type, **fields)
    assert fail(api, task_type, error=error) == n
    (fingerprint,) = {api.job(i)["fingerprint"] for i in ids}
    return ids, fingerprint


def statuses(api, ids):
    return [api.job(i)["status"] for i in ids]


def pending(api):
    return len(api.get("/v1/jobs", params={"status": "pending", "limit": 1000}).json()["jobs"])
