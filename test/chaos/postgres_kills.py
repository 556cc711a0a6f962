#!/usr/bin/python3
"""Two servers over a PostgreSQL with a synchronous standby: under load the database fails over and servers are killed, at random. In the end every
job that was acknowledged ran, once.

    postgres_kills.py --failovers 100 --kills 100 --seed 1    (HAUL_BIN: the binary; prints a JSON object; status 1 when it does not hold)
                      --seconds 600                           (fewer, if it takes longer)
"""
import argparse
import itertools
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

import judgement
import requests

BATCH = 10
BACKLOG = 300  # jobs that wait: more are not submitted
COMPLETE = {"exit_code": 0, "cpu_s": 0.1, "peak_memory_bytes": 1, "bytes_in": 0, "bytes_out": 0}
UNKNOWN_OUTCOME = 17  # a server's exit status: it ends, to be started again


class Load:
    """Submits and works through jobs at whichever server answers. The answers are kept, to be judged."""

    def __init__(self, urls, submitters=3, workers=3):
        self.urls = urls  # may change meanwhile
        self.run = f"{uuid.uuid4()}"
        self.numbers, self.full, self.stop = itertools.count(), threading.Event(), threading.Event()
        self.acknowledged, self.completed, self.wrong = {}, [], []
        self.submitters = [threading.Thread(target=self.submit, args=(n,), daemon=True) for n in range(submitters)]
        self.workers = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(workers)]
        for t in self.submitters + self.workers:
            t.start()

    def patiently(self, session, first, path, body, **headers):
        """At one server after the other, until there is an answer that counts: each call here is safe to repeat. None: it was stopped."""
        for n in itertools.count(first):
            try:
                answer = session.post(self.urls[n % len(self.urls)] + path, json=body, headers=headers, timeout=30)
                statuses = {answer.status_code} | {result["status"] for result in answer.json().get("results", [])}
                if max(statuses) < 500:
                    return answer
                self.wrong += [answer.text] if statuses - {200, 201, 503} else []
            except requests.RequestException:
                pass
            if self.stop.is_set():
                return None
            signal.sigtimedwait([], 0.02)

    def submit(self, n):
        """By turns in a batch, and one by one."""
        session = requests.Session()
        while not self.full.is_set():
            if len(self.acknowledged) > len(self.completed) + BACKLOG:
                self.full.wait(0.05)
                continue
            turn = next(self.numbers)
            keys = [f"{self.run}/{turn}/{i}" for i in range(BATCH)]
            if turn % 2:
                jobs = [{"task_type": f"type{i % 3}", "dedup_key": key} for i, key in enumerate(keys)]
                answer = self.patiently(session, n, "/v1/jobs:batch", {"jobs": jobs})
                self.note(keys, [(r["status"], r) for r in answer.json()["results"]] if answer else [])
                continue
            for i, key in enumerate(keys):
                answer = self.patiently(session, n + i, "/v1/jobs", {"task_type": f"type{i % 3}"}, **{"Idempotency-Key": key})
                self.note([key], [(answer.status_code, answer.json())] if answer else [])

    def note(self, keys, answers):
        for key, (status, job) in zip(keys, answers):
            if status in (200, 201):
                self.acknowledged[key] = job["job_id"]
            else:
                self.wrong.append(f"{key}: {status} {job}")

    def work(self, n):
        session, worker = requests.Session(), str(uuid.uuid4())
        while not self.stop.is_set():
            poll = {"worker_id": worker, "poll_id": uuid.uuid4().hex, "name": "played", "host": "test", "version": "0", "isolation": "none",
                    "handlers": {f"type{k}": "1" for k in range(3)}, "slots": 8, "slots_total": 8, "slots_busy": 0, "wait": "1s"}
            answer = self.patiently(session, n, "/v1/lease", poll)
            for claim in answer.json()["jobs"] if answer else []:
                done = self.patiently(session, n + 1, f"/v1/jobs/{claim['job_id']}/attempts/{claim['attempt']}/complete", COMPLETE,
                                      **{"Haul-Token": claim["token"]})
                if done is not None and done.status_code == 200:
                    self.completed.append(claim["job_id"])

    def end(self, sql, limit):
        """No more jobs; waits until the database knows none that is left. What was wrong, by name; and {} is what is hoped for."""
        until = time.monotonic() + limit
        self.full.set()
        for t in self.submitters:
            t.join(max(0, until - time.monotonic()))
        while sql("SELECT count(*) FROM jobs") != "0" and time.monotonic() < until:
            signal.sigtimedwait([], 0.1)
        self.stop.set()
        for t in self.workers:
            t.join(60)
        found = judgement.judge(judgement.of_postgres(sql), self.acknowledged, self.completed)
        return {**found, "wrong answers": self.wrong[:5]} if self.wrong else found


class Servers:
    """Started again when they end, as an init system would."""

    def __init__(self, make, count=2):
        self.all = [make(n) for n in range(count)]
        self.urls = [s.url for s in self.all]
        self.kills = self.ended = 0

    def kill(self, n):
        self.all[n].kill()
        self.all[n].restart()
        self.kills += 1

    def revive(self):
        for server in self.all:
            status = server.popen.poll()
            if status is not None:
                assert status == UNKNOWN_OUTCOME, f"a server ended with {status}: {server.said[-1000:]}"
                self.ended += 1
                server.restart()


def fail_over(pair, dice):
    """As in a crash, or fenced and alive, with sessions that are still at it."""
    if dice.random() < 0.7:
        pair.fail_over()
    else:
        pair.fence()
        pair.promote()
    signal.sigtimedwait([], dice.uniform(0, 0.3))
    pair.repair()


def run(pair, servers, database, failovers, kills, seed, pause=1.0, limit=120, seconds=float("inf")):
    """`pair`: of test/postgres.py. Of each kind so many, in an order of the seed's, while there are seconds left. What does not go on within
    `limit` is broken."""
    dice, began = random.Random(seed), time.monotonic()
    load = Load(servers.urls)
    plan = ["failover"] * failovers + ["kill"] * kills
    dice.shuffle(plan)
    for what in plan:
        if time.monotonic() > began + seconds:
            break
        before, until = len(load.acknowledged), time.monotonic() + limit
        while len(load.acknowledged) < before + 20 and time.monotonic() < until:  # it works again
            servers.revive()
            signal.sigtimedwait([], 0.02)
        if time.monotonic() > until:
            load.wrong.append(f"nothing was acknowledged for {limit} s")
            break
        signal.sigtimedwait([], dice.uniform(0, pause))
        servers.revive()
        if what == "kill":
            servers.kill(dice.randrange(len(servers.all)))
        else:
            fail_over(pair, dice)
    wrong = load.end(lambda sql: pair.primary.psql(sql, database), limit)
    servers.revive()
    return {"wrong": wrong, "jobs": len(load.acknowledged), "failovers": pair.failovers, "kills": servers.kills,
            "servers that ended by themselves": servers.ended, "seconds": round(time.monotonic() - began, 1), "seed": seed}


def main():
    top = pathlib.Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(top / "test"), str(top / "test" / "blackbox")]
    import postgres
    from conftest import Server
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failovers", type=int, default=100)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    pair, servers = postgres.Pair(postgres.bin_dir()), None
    with tempfile.TemporaryDirectory() as folder:
        def make(n):
            own = pathlib.Path(folder) / str(n)
            own.mkdir()
            return Server(own, {**os.environ, "HOME": folder}, {"store": pair.url(), "lease": "20s", "heartbeat": "4s"}, data=own.parent / "data")
        try:
            servers = Servers(make)
            result = run(pair, servers, "postgres", args.failovers, args.kills, args.seed, seconds=args.seconds)
        finally:
            for server in servers.all if servers else []:
                server.terminate()
            pair.remove()
    print(json.dumps(result))
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
