#!/usr/bin/python3
"""P23: many jobs while server and Redis are killed at random; in the end every job ran, and streams and pending lists are empty.

    redis_kills.py --jobs 1000000 --kills 200 --seed 1     (HAUL_BIN: the binary; prints a JSON object; status 1 when it does not hold)
"""
import argparse
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
import uuid

import redis
import requests

BATCH = 100
COMPLETE = {"exit_code": 0, "cpu_s": 0.1, "peak_memory_bytes": 1, "bytes_in": 0, "bytes_out": 0}


class Load:
    def __init__(self, url, jobs, submitters, workers):
        self.url, self.jobs = url, jobs
        self.lock = threading.Lock()
        self.left = list(range(0, jobs, BATCH))
        self.run = f"{uuid.uuid4()}"
        self.done = 0
        self.threads = [threading.Thread(target=self.submit, daemon=True) for _ in range(submitters)]
        self.threads += [threading.Thread(target=self.work, daemon=True) for _ in range(workers)]
        for t in self.threads:
            t.start()

    def patiently(self, session, path, body, **headers):
        """Until there is an answer that counts: servers are killed all the time, and every call here is safe to repeat."""
        while True:
            try:
                answer = session.post(self.url + path, json=body, headers=headers, timeout=30)
                if answer.status_code < 500:
                    return answer
            except requests.RequestException:
                pass
            signal.sigtimedwait([], 0.02)

    def submit(self):
        session = requests.Session()
        while True:
            with self.lock:
                if not self.left:
                    return
                first = self.left.pop()
            jobs = [{"task_type": f"type{i % 3}", "priority": i % 10, "dedup_key": f"{self.run}/{i}"}
                    for i in range(first, min(first + BATCH, self.jobs))]
            answer = self.patiently(session, "/v1/jobs:batch", {"jobs": jobs})
            assert answer.status_code == 200, answer.text
            assert all(r["status"] in (200, 201) for r in answer.json()["results"]), answer.text

    def work(self):
        session, worker = requests.Session(), str(uuid.uuid4())
        while self.done < self.jobs:
            poll = {"worker_id": worker, "poll_id": uuid.uuid4().hex, "name": "played", "host": "test", "version": "0", "isolation": "none",
                    "handlers": {f"type{k}": "1" for k in range(3)}, "slots": 16, "slots_total": 16, "slots_busy": 0, "wait": "1s"}
            for claim in self.patiently(session, "/v1/lease", poll).json()["jobs"]:
                answer = self.patiently(session, f"/v1/jobs/{claim['job_id']}/attempts/{claim['attempt']}/complete", COMPLETE,
                                        **{"Haul-Token": claim["token"]})
                with self.lock:
                    self.done += answer.status_code == 200

    def ended(self):
        return not any(t.is_alive() for t in self.threads)


def left(r):
    streams = list(r.scan_iter("haul:*:jobs:*"))
    return sum(r.xlen(s) for s in streams) + sum(g["pending"] for s in streams for g in r.xinfo_groups(s))


def disturb(server, own, dice):
    what = dice.choice(["server", "redis", "flush", "hang"])
    if what == "server":
        server.kill()
        server.restart()
    elif what == "redis":
        own.stop()
        signal.sigtimedwait([], dice.uniform(0, 0.5))
        own.start()
    elif what == "flush":
        redis.Redis(unix_socket_path=str(own.socket)).flushall()
    else:
        own.process.send_signal(signal.SIGSTOP)
        signal.sigtimedwait([], dice.uniform(0, 0.5))
        own.process.send_signal(signal.SIGCONT)
    return what


def run(server, own, jobs, kills, seed, limit=600):
    dice, began, did = random.Random(seed), time.monotonic(), []
    load = Load(server.url, jobs, 2, 4)
    for k in range(kills):
        while load.done < jobs * (k + 1) // (kills + 1) and not load.ended():
            if time.monotonic() - began > limit:
                break
            signal.sigtimedwait([], 0.02)
        did.append(disturb(server, own, dice))
    for t in load.threads:
        t.join(max(0, limit - (time.monotonic() - began)))
    took = time.monotonic() - began
    session, r = requests.Session(), redis.Redis(unix_socket_path=str(own.socket))
    counts = session.get(server.url + "/v1/stats", timeout=60).json()
    # Workers that wait are what reads the rest away.
    poll = {"worker_id": str(uuid.uuid4()), "poll_id": uuid.uuid4().hex, "name": "played", "host": "test", "version": "0", "isolation": "none",
            "handlers": {f"type{k}": "1" for k in range(3)}, "slots": 1, "slots_total": 1, "slots_busy": 0, "wait": "60s"}
    last = threading.Thread(target=lambda: session.post(server.url + "/v1/lease", json=poll, timeout=75), daemon=True)
    last.start()
    while left(r) and last.is_alive():
        signal.sigtimedwait([], 0.05)
    lost = [q for q in counts["queues"] if sum(q[s] for s in ("pending", "running", "failed", "cancelled"))]
    return {"jobs": jobs, "done": load.done, "lost": lost, "left": left(r), "seconds": round(took, 1), "seed": seed, "disturbances": did}


def main():
    top = pathlib.Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(top / "test"), str(top / "test" / "blackbox")]
    import redis_server
    from conftest import Server
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=24 * 3600, help="seconds")
    args = parser.parse_args()
    own = redis_server.Redis()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(pathlib.Path(folder), {**os.environ, "HOME": folder}, {"broker": own.url + "?reclaim=1s"})
        try:
            result = run(server, own, args.jobs, args.kills, args.seed, args.limit)
        finally:
            server.terminate()
            own.remove()
    print(json.dumps(result))
    return 0 if not result["lost"] and not result["left"] and result["done"] >= args.jobs else 1


if __name__ == "__main__":
    sys.exit(main())
