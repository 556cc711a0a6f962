"""bench/fill writes a store as the server would have: what it made is counted again, and a server works on it."""
import fcntl
import sqlite3
import struct
import subprocess

import packed
import pytest
from conftest import COMPLETE, HAUL, TOP, problem

FILL = TOP / "bench" / "fill"
QUEUED, HISTORY, TYPES = 90, 210, 3
CANCELLED = HISTORY // 50


def fill(folder, *arguments):
    return subprocess.run(["/usr/bin/python3", FILL, folder, "--haul", HAUL, *map(str, arguments)], capture_output=True, text=True, timeout=50)


def small(folder, *arguments):
    done = fill(folder, "--queued", QUEUED, "--history", HISTORY, "--types", TYPES, "--keys", 2, "--labels", 3, "--span-hours", 48, *arguments)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def filled(tmp_path):
    return small(tmp_path / "data")


def ask(folder, sql):
    db = sqlite3.connect(folder / "haul.db")
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def in_vain(folder, sql):
    assert ask(folder, sql) == [], sql


def assert_sound(folder):
    """What the store promises of its rows (src/store/README.md), counted by somebody else."""
    assert ask(folder, "PRAGMA integrity_check") == [("ok",)]
    everything = "(SELECT * FROM jobs UNION ALL SELECT * FROM history)"
    assert ask(folder, "SELECT queue, task_type, status, sum(n) FROM counters GROUP BY 1, 2, 3 ORDER BY 1, 2, 3") == ask(
        folder, f"SELECT queue, task_type, status, count(*) FROM {everything} GROUP BY 1, 2, 3 ORDER BY 1, 2, 3")
    in_vain(folder, "SELECT 1 FROM counters WHERE n <= 0")
    in_vain(folder, "SELECT 1 FROM jobs WHERE status NOT IN (0, 1, 3)")
    in_vain(folder, "SELECT 1 FROM history WHERE status NOT IN (2, 4) OR ready_seq IS NOT NULL OR token IS NOT NULL OR lease_until <> 0"
                    " OR finished_at < created_at")
    in_vain(folder, "SELECT 1 FROM jobs j JOIN history h ON h.job_id = j.job_id")
    in_vain(folder, "SELECT 1 FROM jobs j WHERE status = 0 AND NOT EXISTS (SELECT 1 FROM lanes l WHERE l.lane_id = j.lane_id AND"
                    " l.project = j.project AND l.queue = j.queue AND l.task_type = j.task_type AND l.priority = j.priority)")
    in_vain(folder, "SELECT ready_seq FROM jobs WHERE ready_seq IS NOT NULL GROUP BY 1 HAVING count(*) > 1")
    in_vain(folder, f"SELECT 1 FROM {everything} j WHERE attempt <> (SELECT count(*) FROM attempts a WHERE a.job_id = j.job_id)")
    in_vain(folder, "SELECT 1 FROM attempts a WHERE ended_at <> 0 AND (outcome = 0 OR log_state = 0)")
    labels = ask(folder, f"SELECT j.project, e.key, e.value, j.job_id FROM {everything} j, json_each(CAST(j.labels AS TEXT)) e")
    assert postings_of(folder) == sorted([(1, *row) for row in ask(folder, f"SELECT project, task_type, '', job_id FROM {everything}")]
                                         + [(2, project, key, "", job_id) for project, key, _, job_id in labels]
                                         + [(3, *row) for row in labels])
    keys = keys_of(folder)
    assert {(k["project"], k["key"], k["job_id"]) for k in keys} <= set(ask(folder, f"SELECT project, dedup_key, job_id FROM {everything}"))
    indexed = max((int(value) for value, in ask(folder, "SELECT value FROM meta WHERE key = 'keys_indexed'")), default=0)
    assert indexed_rows(folder) >= {k["row"] for k in keys if k["row"] <= indexed}


def unpacked(folder, how):
    db = sqlite3.connect(folder / "haul.db")
    try:
        return how(db)
    finally:
        db.close()


def keys_of(folder):
    return unpacked(folder, packed.keys)


def postings_of(folder):
    return unpacked(folder, packed.postings)


def indexed_rows(folder):
    chunks = ask(folder, "SELECT entries FROM key_chunks WHERE run IN (SELECT run FROM key_runs)")
    return {row for entries, in chunks for _, row in struct.iter_unpack("<qq", entries)}


def schema(folder):
    return ask(folder, "SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2")


def test_a_filled_store_is_sound_and_a_server_works_on_it(filled, tmp_path, make_server):
    from conftest import Api
    assert_sound(filled)
    fill(tmp_path / "empty")
    assert schema(filled) == schema(tmp_path / "empty")
    key = keys_of(filled)[0]["key"]

    server = make_server(data=filled)
    api = Api(server.url)
    queues = api.get("/v1/stats").json()["queues"]
    want = {"pending": QUEUED, "running": 0, "success": HISTORY - CANCELLED, "failed": 0, "cancelled": CANCELLED}
    assert {status: sum(queue[status] for queue in queues) for status in want} == want
    assert len(api.get("/v1/jobs", params={"limit": 1000}).json()["jobs"]) == QUEUED + HISTORY
    assert len(api.get("/v1/jobs", params={"label": "color", "limit": 1000}).json()["jobs"]) == QUEUED // 3 + HISTORY // 3
    problem(api.post("/v1/jobs", {"task_type": "fill_0"}, headers={"Idempotency-Key": key}), 409)
    done = api.get("/v1/jobs", params={"status": "success", "limit": 1}).json()["jobs"][0]
    assert [a["outcome"] for a in api.attempts(done["job_id"])] == ["success"]

    claims = []
    while len(claims) < QUEUED:
        got = api.lease(*(f"fill_{i}" for i in range(TYPES)), slots=64, wait="5s")
        assert got, f"only {len(claims)} of {QUEUED} were given"
        claims += got
    for claim in claims:
        assert api.act(claim, "complete", COMPLETE).json() == {"status": "success"}
    assert api.lease("fill_0", wait="0s") == []
    server.terminate()
    assert_sound(filled)
    assert ask(filled, "SELECT count(*) FROM jobs") == [(0,)]


def test_the_keys_of_a_filled_store_are_indexed_by_its_start(tmp_path, make_server):
    from conftest import Api
    keys, portion = 50_000, 49_152  # src/store/sqlite/keys.c
    done = fill(tmp_path / "data", "--history", keys, "--keys", 1, "--span-hours", 2)
    assert done.returncode == 0, done.stderr
    assert indexed_rows(tmp_path / "data") == set()
    [key] = [k["key"] for k in keys_of(tmp_path / "data") if k["row"] == 7]
    assert ask(tmp_path / "data", "SELECT count(*) FROM key_rows")[0][0] < keys / 10
    server = make_server(data=tmp_path / "data")
    problem(Api(server.url).post("/v1/jobs", {"task_type": "fill_0"}, headers={"Idempotency-Key": key}), 409)
    server.terminate()
    assert len(indexed_rows(tmp_path / "data")) == portion
    assert_sound(tmp_path / "data")


def test_retention_empties_a_filled_store(filled, make_server):
    from conftest import Api, until
    server = make_server({"retention": "1s"}, data=filled)
    api = Api(server.url)

    def gone():
        """nothing that is done is left"""
        return not api.get("/v1/jobs", params={"status": "success"}).json()["jobs"]
    until(gone)
    server.terminate()
    assert_sound(filled)
    assert ask(filled, "SELECT count(*) FROM attempts") == [(0,)]


def test_a_store_is_filled_twice(filled):
    small(filled, "--seed", 2)
    assert_sound(filled)
    assert ask(filled, "SELECT count(*) FROM jobs") == [(2 * QUEUED,)]


def test_soak_tells_how_the_memory_goes(filled):
    done = subprocess.run(["/usr/bin/python3", TOP / "bench" / "soak", "--data", filled, "--haul", HAUL, "--minutes", "0.05", "--every", "1",
                           "--most", "2000"], capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "MiB an hour; most" in done.stdout
    done = subprocess.run(["/usr/bin/python3", TOP / "bench" / "soak", "--data", filled, "--haul", HAUL, "--minutes", "0"],
                          capture_output=True, text=True, timeout=50)
    assert done.returncode == 2 and "--minutes" in done.stderr


def test_what_fill_refuses(filled):
    with open(filled / "lock", "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = fill(filled, "--queued", 1)
        assert done.returncode != 0 and "a server runs on" in done.stderr
    for wrong in (("--queued", "-1"), ("--history", "many"), ("--types", "0")):
        assert fill(filled, *wrong).returncode == 2
    assert ask(filled, "SELECT count(*) FROM jobs") == [(QUEUED,)]
