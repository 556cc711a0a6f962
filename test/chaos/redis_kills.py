#!/usr/bin/python3
"""P23: many jobs while servers and Redis are killed at random; in the end every job ran, once, and streams and pending lists are empty.

    redis_kills.py --jobs 1000000 --kills 200 --seed 1     (HAUL_BIN: the binary; prints a JSON object; status 1 when it does not hold)
                   --servers 2                             (so many over one PostgreSQL, which crashes, too; else one over SQLite)
                   --backlog 1000000                       (so many jobs may wait: beyond some 10,000 a lane not all are announced)
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import uuid

import judgement
import redis
from lines import Line, ask_all, post

BATCH = 100  # of a submission
SLOTS = 64   # of a poll
TYPES = [f"type{k}" for k in range(3)]
COMPLETE = {"exit_code": 0, "cpu_s": 0.1, "peak_memory_bytes": 1, "bytes_in": 0, "bytes_out": 0}
UNKNOWN_OUTCOME = 17  # a server's exit status: it ends, to be started again


def poll(worker, slots, wait):
    return post("/v1/lease", {"worker_id": worker, "poll_id": uuid.uuid4().hex, "name": "played", "host": "test", "version": "0",
                              "isolation": "none", "handlers": {name: "1" for name in TYPES}, "slots": slots, "slots_total": slots,
                              "slots_busy": 0, "wait": wait})


class Load:
    """Submits and works through jobs at whichever server answers. The answers are kept, to be judged."""

    def __init__(self, urls, jobs, backlog, submitters, workers):
        self.urls, self.jobs, self.backlog = urls, jobs, backlog
        self.run = f"{uuid.uuid4()}"
        self.lock, self.stop = threading.Lock(), threading.Event()
        self.left = list(range(0, jobs, BATCH))
        self.acknowledged, self.completed, self.wrong = {}, [], []
        self.stale = 0  # completions that were refused: the job is claimed again
        self.threads = [threading.Thread(target=self.submit, args=(n,), daemon=True) for n in range(submitters)]
        self.threads += [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(workers)]
        for t in self.threads:
            t.start()

    def submit(self, n):
        lines = [Line(self.urls, n)]
        while not self.stop.is_set():
            if len(self.acknowledged) > len(self.completed) + self.backlog:
                self.stop.wait(0.005)
                continue
            with self.lock:
                if not self.left:
                    return
                first = self.left.pop()
            todo = [{"task_type": TYPES[i % 3], "priority": i % 10, "dedup_key": f"{self.run}/{i}"}
                    for i in range(first, min(first + BATCH, self.jobs))]
            while todo and not self.stop.is_set():
                todo = self.note(todo, ask_all(lines, [post("/v1/jobs:batch", {"jobs": todo})], self.stop)[0])

    def note(self, jobs, answer):
        """Those that are to be submitted again: their outcome is not known, or there was no room."""
        status, body = answer or (0, {})
        if status != 200:
            self.wrong += [f"batch: {status} {body}"] if answer else []
            return []
        again = []
        for job, result in zip(jobs, body["results"]):
            if result["status"] in (200, 201):
                self.acknowledged[job["dedup_key"]] = result["job_id"]
            elif result["status"] in (429, 503):
                again.append(job)
            else:
                self.wrong.append(f"{job['dedup_key']}: {result}")
        return again

    def work(self, n):
        lines, worker = [Line(self.urls, n + k) for k in range(SLOTS)], str(uuid.uuid4())
        while len(self.completed) < self.jobs and not self.stop.is_set():
            answer, = ask_all(lines[:1], [poll(worker, SLOTS, "1s")], self.stop)
            claims = answer[1]["jobs"] if answer else []
            done = ask_all(lines, [post(f"/v1/jobs/{claim['job_id']}/attempts/{claim['attempt']}/complete", COMPLETE, Haul_Token=claim["token"])
                                   for claim in claims], self.stop)
            for claim, (status, body) in zip(claims, (answer or (0, {}) for answer in done)):
                if status == 200:
                    self.completed.append(claim["job_id"])
                elif status == 409:
                    self.stale += 1
                elif status:
                    self.wrong.append(f"complete {claim['job_id']}: {status} {body}")

    def ended(self):
        return not any(t.is_alive() for t in self.threads)


class Place:
    """What is killed: `servers` (of test/blackbox), their Redis, and the PostgreSQL that they may share."""

    def __init__(self, servers, broker, postgres=None, database="postgres"):
        self.servers, self.broker, self.postgres, self.database = servers, broker, postgres, database
        self.ended = 0  # servers that ended by themselves, as they do when they cannot know what became of a commit

    def revive(self):
        for server in self.servers:
            status = server.popen.poll()
            if status is not None:
                assert status == UNKNOWN_OUTCOME, f"a server ended with {status}: {server.said[-1000:]}"
                self.ended += 1
                server.restart()

    def disturb(self, dice):
        what = dice.choice(["server", "server", "pause", "redis", "flush", "hang"] + (["postgres"] if self.postgres else []))
        server = dice.choice(self.servers)
        if what == "server":
            server.kill()
            server.restart()
        elif what == "pause":
            self._hold(server.popen, dice.uniform(0, 3))
        elif what == "redis":
            self.broker.stop()
            signal.sigtimedwait([], dice.uniform(0, 0.5))
            self.broker.start()
        elif what == "flush":
            self.redis().flushall()
        elif what == "hang":
            self._hold(self.broker.process, dice.uniform(0, 0.5))
        else:
            self.postgres.stop(signal.SIGQUIT)
            self.postgres.start()
        return what

    @staticmethod
    def _hold(process, seconds):
        process.send_signal(signal.SIGSTOP)
        signal.sigtimedwait([], seconds)
        process.send_signal(signal.SIGCONT)

    def redis(self):
        return redis.Redis(unix_socket_path=str(self.broker.socket))

    def left(self):
        """What stands in streams and pending lists."""
        streams = list(self.redis().scan_iter("haul:*:jobs:*"))
        return sum(self.redis().xlen(s) for s in streams) + sum(g["pending"] for s in streams for g in self.redis().xinfo_groups(s))

    def judge(self, load):
        if self.postgres:
            return judgement.judge(judgement.of_postgres(lambda sql: self.postgres.psql(sql, self.database)), load.acknowledged, load.completed)
        with contextlib.closing(sqlite3.connect(f"file:{self.servers[0].data}/haul.db?mode=ro", uri=True)) as connection:
            return judgement.judge(judgement.of_sqlite(connection), load.acknowledged, load.completed)


def drain(place):
    """Workers that wait are what reads the rest of the streams away; how much is left."""
    stop = threading.Event()
    lines = [[Line([server.url], 0)] for server in place.servers]
    waiting = [threading.Thread(target=ask_all, args=(line, [poll(str(uuid.uuid4()), 1, "20s")], stop), daemon=True) for line in lines]
    for t in waiting:
        t.start()
    while (left := place.left()) and any(t.is_alive() for t in waiting):
        signal.sigtimedwait([], 0.05)
    stop.set()
    return left


def run(place, jobs, kills, seed, limit=600, backlog=5000, workers=4, say=lambda line: None):
    dice, began, did = random.Random(seed), time.monotonic(), []
    load = Load([s.url for s in place.servers], jobs, backlog, 2, workers)

    def goes_on():
        place.revive()
        signal.sigtimedwait([], 0.02)
        return time.monotonic() < began + limit and not load.ended()
    for k in range(kills):
        while len(load.completed) < jobs * (k + 1) // (kills + 1) and goes_on():
            pass
        did.append(place.disturb(dice))
        say(f"{time.monotonic() - began:8.1f} s  {len(load.completed):8} done  {did[-1]}")
    while goes_on():
        pass
    took = time.monotonic() - began
    load.stop.set()
    for t in load.threads:
        t.join(60)
    wrong = place.judge(load)
    wrong.update({what: n for what, n in {"wrong answers": load.wrong[:5], "not completed": jobs - len(load.completed),
                                          "left in Redis": drain(place)}.items() if n})
    return {"wrong": wrong, "jobs": jobs, "done": len(load.completed), "stale completions": load.stale, "seconds": round(took, 1), "seed": seed,
            "servers that ended by themselves": place.ended, "disturbances": {what: did.count(what) for what in sorted(set(did))}}


def main():
    top = pathlib.Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(top / "test"), str(top / "test" / "blackbox")]
    import postgres
    import redis_server
    from conftest import Server
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--backlog", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--limit", type=int, default=24 * 3600, help="seconds")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as at_end:
        own = redis_server.Redis()
        at_end.callback(own.remove)
        database = postgres.Postgres(postgres.bin_dir()) if args.servers > 1 else None
        if database:
            at_end.callback(database.remove)
        folder = pathlib.Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        config = {"broker": own.url + "?reclaim=1s", **({"store": database.url()} if database else {})}

        def make(n):
            (folder / str(n)).mkdir()
            server = Server(folder / str(n), {**os.environ, "HOME": str(folder)}, config, data=folder / "data")
            at_end.callback(server.terminate)
            return server
        place = Place([make(n) for n in range(args.servers)], own, database)
        result = run(place, args.jobs, args.kills, args.seed, args.limit, args.backlog, args.workers,
                     lambda line: print(line, file=sys.stderr, flush=True))
    print(json.dumps(result))
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
