"""haul migrate: everything of a stopped server is in the other store afterwards, however often the move was killed; and what is refused."""
import hashlib
import json
import os
import re
import signal
import sqlite3
import subprocess

import packed
import pytest
import yaml
from conftest import COMPLETE, HAUL, Api, Databases, Server, until
from dead import dead
from test_s3 import bucket, keys, multiparts, s3  # noqa: F401  pylint: disable=unused-import

INVALID, NOT_FOUND, CONFLICT, UNAVAILABLE, LOCKED, UNSUPPORTED, CORRUPT, USAGE = 11, 12, 13, 16, 21, 22, 23, 2
YEARS = {"retention": "3650d", "dedup_window": "3650d", "blob_keep": "3650d", "upload_keep": "3650d"}


@pytest.fixture
def postgres():
    return Databases.postgres()


@pytest.fixture
def make_config(tmp_path):
    """A configuration file: of the data folder `data`, with the database `store`."""
    def make(name, **server):
        file = tmp_path / f"{name}.yaml"
        file.write_text(yaml.safe_dump({"server": {"data": str(tmp_path / name), **YEARS, **server}}))
        return file
    return make


@pytest.fixture
def embedded(make_config):
    return make_config("embedded")


@pytest.fixture
def database(postgres, make_config, tmp_path):
    """The configuration of a PostgreSQL with a folder of its own."""
    return make_config("pg", store=Databases.url_of(tmp_path / "pg"))


@pytest.fixture
def serve(tmp_path, environment):
    """Starts a server with a configuration file, and stops it."""
    running = []

    class Configured(Server):
        def __init__(self, config):
            folder = tmp_path / f"run{len(running)}"
            folder.mkdir()
            super(Server, self).__init__(folder, "server", ["server", "--listen", "127.0.0.1:0", "--config", config], environment)
            running.append(self)
            self.wait_ready()
            self.api = Api(self.url)

    yield Configured
    for server in running:
        server.kill() if server.popen.poll() is None else None
        for sanitizer in ("AddressSanitizer", "ThreadSanitizer", "runtime error:"):
            assert sanitizer not in server.said


@pytest.fixture
def migrate(haul):
    def run(source, target, *more, status=0, **kwargs):
        done = haul("migrate", "--from", source, "--to", target, *more, **kwargs)
        assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done
    return run


@pytest.fixture
def unmark(haul):
    def run(config, *more, status=0):
        done = haul("migrate", "--unmark", config, *more)
        assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done
    return run


OCTETS = {"Content-Type": "application/octet-stream"}
TUS = {"Tus-Resumable": "1.0.0"}


def fill(api):
    """Something of everything that a store keeps. Returns what the test goes on with."""
    blob = api.put_blob(b"some input" * 1000)
    labels = {"team": "video", "batch": "7"}
    done = api.submit("work", payload={"n": 1, "text": "ü\t"}, labels=labels, dedup_key="first", inputs=[{"name": "in.txt", "ref": blob["ref"]}])
    claim, = api.lease("work")
    assert api.act(claim, "log", data=b"line of a log\n" * 4000, params={"offset": 0}, headers=OCTETS).status_code == 200
    assert api.act(claim, "outputs/result.bin", method="PUT", data=os.urandom(50000), headers=OCTETS).status_code == 201
    assert api.act(claim, "complete", {**COMPLETE, "outputs": ["result.bin"]}).status_code == 200
    dead(api, 3, "dying", "no such codec", labels={"team": "audio"})
    dead(api, 1, "dying", "out of cheese")
    made = api.post("/v1/redrives", {"action": "retry", "filter": {}, "dry_run": True}).json()
    until(lambda: api.get("/v1/redrives/" + made["redrive_id"]).json()["state"] == "done")
    api.post("/v1/queues/held/pause", {"by": "ada", "reason": "until it has moved"})
    drained = api.get("/v1/workers").json()["workers"][-1]["worker_id"]
    assert api.post(f"/v1/workers/{drained}/drain", {"by": "ada"}).status_code == 200
    api.submit("later", payload=None, run_at="2099-01-01T00:00:00Z")
    for n in range(5):
        api.submit("waiting", payload={"n": n}, priority=n, queue="slow", labels={"batch": "7"}, dedup_key=f"w{n}")
    cancelled = api.submit("waiting", payload={})["job_id"]
    assert api.post(f"/v1/jobs/{cancelled}/cancel").status_code == 200
    api.submit("running", payload={"x": "y"})
    running, = api.lease("running")
    assert api.act(running, "heartbeat", {}).status_code == 200
    part = api.put_blob(b"half of it")
    assert api.act(running, "checkpoint", {"percent": 50, "files": [{"name": "part", "ref": part["ref"]}]}, method="PUT").status_code == 204
    upload = api.request("POST", "/v1/uploads", headers={**TUS, "Upload-Length": "20"})
    assert upload.status_code == 201
    return {"done": done["job_id"], "running": running, "blob": blob["ref"], "upload": upload.headers["Location"]}


def told(api):
    """All that a client can ask for."""
    jobs, cursor = [], None
    while True:
        page = api.get("/v1/jobs", params={"limit": 7, **({"cursor": cursor} if cursor else {})}).json()
        jobs += [job["job_id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    return {"jobs": {job_id: about(api, job_id) for job_id in jobs}, "order": jobs,
            "stats": counts_of(api),
            "workers": api.get("/v1/workers").json()["workers"],
            "labels": [j["job_id"] for j in api.get("/v1/jobs", params={"label": "batch=7"}).json()["jobs"]],
            "dead": api.get("/v1/dlq").json(), "redrives": api.get("/v1/redrives").json(),
            "paused": [(q["queue"], q["paused_at"], q["paused_by"], q["paused_reason"]) for q in api.get("/v1/queues").json()["queues"]]}


def counts_of(api):
    """By queue and task type; without what goes on with time."""
    return sorted(json.dumps({k: v for k, v in row.items() if k != "oldest_ready_age_s" and not k.endswith("_per_min")}, sort_keys=True) for row in api.get("/v1/stats").json()["queues"])


def about(api, job_id):
    outputs = api.outputs(job_id)
    job = api.job(job_id)
    checkpoint = api.get(f"/v1/jobs/{job_id}/checkpoint")
    return {"job": job, "attempts": api.attempts(job_id), "outputs": outputs,
            "bytes": [hashlib.sha256(api.get("/v1/blobs/" + o["ref"].removeprefix("blob:")).content).hexdigest() == o["sha256"] for o in outputs],
            "log": api.log(job_id).content if job["attempt"] else None,
            "checkpoint": checkpoint.json() if checkpoint.status_code == 200 else None}


def same(got, want, where=""):
    """Names the first difference, where pytest would show all of it."""
    if isinstance(want, dict):
        assert got.keys() == want.keys(), where
        for key in want:
            same(got[key], want[key], f"{where}.{key}")
    else:
        assert got == want, where


@pytest.fixture
def filled(serve, embedded):
    """A stopped embedded server with something of everything, and what it told."""
    server = serve(embedded)
    kept = fill(server.api)
    kept["told"] = told(server.api)
    assert server.terminate() == 0
    return kept


def goes_on(api, kept):
    """What came along is not only shown, it works."""
    again = api.post("/v1/jobs", {"task_type": "work", "payload": {"n": 1, "text": "ü\t"}, "labels": {"team": "video", "batch": "7"},
                                  "dedup_key": "first", "inputs": [{"name": "in.txt", "ref": kept["blob"]}]})
    assert (again.status_code, again.json()["job_id"]) == (200, kept["done"])
    assert api.act(kept["running"], "heartbeat", {}).status_code == 200
    assert api.act(kept["running"], "complete", {**COMPLETE, "outputs": []}).json()["status"] == "success"
    assert api.lease("waiting")[0]["payload"] == {"n": 4}  # the highest priority first
    assert sorted(c["payload"]["n"] for c in api.lease("waiting", slots=64)) == [0, 1, 2, 3]
    answer = api.request("HEAD", kept["upload"], headers=TUS)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (200, "0")
    sent = api.request("PATCH", kept["upload"], data=b"x" * 20,
                       headers={**TUS, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"})
    assert sent.status_code == 204


def test_there_and_back(serve, migrate, embedded, database, make_config, filled):
    done = json.loads(migrate(embedded, database, "--json").stdout)
    assert not done["resumed"] and not done["dry_run"] and done["damaged_blobs"] == 0
    assert all(n > 0 for n in done["tables"].values()), done["tables"]
    server = serve(database)
    same(told(server.api), filled["told"])
    assert server.terminate() == 0

    back = make_config("back")
    done = migrate(database, back)
    assert "the target holds what the source holds" in done.stdout
    server = serve(back)
    same(told(server.api), filled["told"])
    goes_on(server.api, filled)


def test_what_came_along_works_in_postgres(serve, migrate, embedded, database, filled, haul):
    said = migrate(embedded, database)
    assert "68 rows and 3 blobs" in said.stdout and "of 68" not in said.stdout
    assert "rows: 68 of 68 rows" in said.stderr and "compared: 68 of 68 rows" in said.stderr and "blobs: " in said.stderr
    server = serve(database)
    goes_on(server.api, filled)
    # The counts that a server keeps are those of the rows.
    rows = server.api.get("/v1/stats").json()["queues"]
    assert {s: sum(row[s] for row in rows) for s in ("pending", "running", "success", "failed", "cancelled")} == {
        "pending": 1, "running": 5, "success": 2, "failed": 4, "cancelled": 1}


def test_the_same_data_folder_keeps_its_blobs(serve, migrate, embedded, make_config, filled, tmp_path):
    """Three changed lines: the database goes to PostgreSQL, the blobs stay where they are."""
    to = make_config("same", data=str(tmp_path / "embedded"), store=Databases.url_of(tmp_path / "same"))
    done = migrate(embedded, to)
    assert "which stay in their folder" in done.stdout
    server = serve(to)
    same(told(server.api), filled["told"])
    goes_on(server.api, filled)


def test_blobs_go_to_s3_and_come_back(serve, migrate, unmark, embedded, make_config, filled, tmp_path, s3, bucket):  # noqa: F811
    server = serve(embedded)
    large = os.urandom(9 << 20)  # in parts
    ref = server.api.put_blob(large)["ref"]
    assert server.terminate() == 0
    there = make_config("there", store=Databases.url_of(tmp_path / "there"), blob=s3.url(bucket, "moved", more="&direct=no"))
    migrate(embedded, there)
    objects = keys(s3, bucket, "moved/blobs/")
    assert len(objects) == 4 and multiparts(s3, bucket) == []
    key = next(k for k in objects if k.endswith(ref.removeprefix("blob:")))
    assert s3.client().get_object(Bucket=bucket, Key=key)["Body"].read() == large
    server = serve(there)
    same(told(server.api), filled["told"])
    assert server.terminate() == 0

    back = make_config("back")
    migrate(there, back)
    server = serve(back)
    same(told(server.api), filled["told"])
    assert server.api.get("/v1/blobs/" + ref.removeprefix("blob:")).content == large
    goes_on(server.api, filled)
    assert server.terminate() == 0

    # What S3 holds is compared with what the database says of it, as a folder's bytes are.
    unmark(there)
    s3.client().put_object(Bucket=bucket, Key=key, Body=b"others")
    assert "missing or damaged" in migrate(there, make_config("again"), status=CORRUPT).stderr


def test_the_source_is_only_read_but_for_the_note(serve, migrate, unmark, embedded, database, filled, tmp_path):
    def dump():
        with sqlite3.connect(f"file:{tmp_path / 'embedded' / 'haul.db'}?mode=ro", uri=True) as db:
            return list(db.iterdump())
    before = dump()
    migrate(embedded, database)
    more = [line for line in dump() if line not in before]
    assert len(more) == 1 and more[0].startswith('INSERT INTO "meta" VALUES(\'moved\'')
    unmark(embedded)
    assert dump() == before
    server = serve(embedded)
    same(told(server.api), filled["told"])


def test_a_dry_run_changes_nothing(migrate, unmark, embedded, database, postgres, filled, tmp_path):
    name = Databases.made[tmp_path / "pg"]
    done = migrate(embedded, database, "--dry-run")
    assert "This would be moved, in about" in done.stdout and "Nothing was changed" in done.stdout
    assert postgres.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "0"
    assert not (tmp_path / "pg").exists()
    told_so = json.loads(migrate(embedded, database, "--dry-run", "--json").stdout)
    assert told_so["dry_run"] and told_so["expected_s"] >= 0 and told_so["tables"]["jobs"] >= 9
    migrate(embedded, database)
    unmark(embedded)
    assert "the target is not empty" in migrate(embedded, database, "--dry-run", status=CONFLICT).stderr


def kill_often(environment, source, target, mark, kills=6):
    """Runs the move and kills it each time its mark has moved on; how often it was killed half-way."""
    killed = 0
    for _ in range(kills):
        before = mark()
        process = subprocess.Popen([str(HAUL), "migrate", "--from", str(source), "--to", str(target)], env=environment,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(lambda: process.poll() is not None or mark() not in (before, ""), 60)
        process.kill()
        if process.wait() == -signal.SIGKILL and mark():
            killed += 1
    return killed


@pytest.fixture
def many(serve, embedded):
    """So much that a move takes a while."""
    server = serve(embedded)
    kept = fill(server.api)
    for n in range(12):
        api_jobs = [{"task_type": f"t{n}", "payload": {"text": "x" * 1000}, "dedup_key": f"many{n}-{i}", "labels": {"n": str(i % 5)}} for i in range(1000)]
        assert server.api.post("/v1/jobs:batch", {"jobs": api_jobs}).json()["refused"] == 0
    for n in range(300):
        server.api.put_blob(b"%d " % n * 5000)
    stats = counts_of(server.api)
    assert server.terminate() == 0
    return kept, stats


def test_P01_killed_anywhere_it_goes_on(serve, haul, migrate, environment, embedded, database, make_config, postgres, many, tmp_path):
    kept, stats = many
    name = Databases.made[tmp_path / "pg"]

    def mark_pg():
        if postgres.psql("SELECT to_regclass('meta') IS NULL", name) == "t":
            return ""
        return postgres.psql("SELECT value FROM meta WHERE key = 'move'", name)
    assert kill_often(environment, embedded, database, mark_pg) >= 2
    refused = haul("server", "--config", database, "--listen", "127.0.0.1:0")
    assert refused.returncode == CONFLICT and "run 'haul migrate' again" in refused.stderr
    assert json.loads(migrate(embedded, database, "--json").stdout)["resumed"]
    assert mark_pg() == ""
    server = serve(database)
    assert counts_of(server.api) == stats
    assert server.terminate() == 0

    back = make_config("back")

    def mark_sqlite():
        try:
            with sqlite3.connect(f"file:{tmp_path / 'back' / 'haul.db'}?mode=ro", uri=True) as db:
                return "".join(row[0] for row in db.execute("SELECT value FROM meta WHERE key = 'move'"))
        except sqlite3.OperationalError:
            return ""
    assert kill_often(environment, database, back, mark_sqlite) >= 2
    migrate(database, back)
    assert bare(keys_in(tmp_path / "back")) == bare(keys_in(tmp_path / "embedded"))
    assert postings_in(tmp_path / "back") == postings_in(tmp_path / "embedded")
    server = serve(back)
    assert counts_of(server.api) == stats
    goes_on(server.api, kept)
    assert server.api.get("/v1/blobs/" + kept["blob"].removeprefix("blob:")).content == b"some input" * 1000


def keys_in(folder):
    with sqlite3.connect(f"file:{folder / 'haul.db'}?mode=ro", uri=True) as db:
        return packed.keys(db)


def postings_in(folder):
    with sqlite3.connect(f"file:{folder / 'haul.db'}?mode=ro", uri=True) as db:
        return packed.postings(db)


def bare(keys):
    """In whatever rows they lie."""
    return sorted(tuple(key[column] for column in ("project", "key", "job_id", "request_hash", "content_hash", "expires_at")) for key in keys)


def test_keys_that_share_a_row_are_moved_one_by_one(serve, migrate, embedded, database, make_config, postgres, tmp_path):
    """Some were forgotten: they leave no trace. In SQLite they are packed again, in the order in which their time comes."""
    server = serve(embedded)
    ref = server.api.put_blob(b"some input")["ref"]
    for n in range(3):
        jobs = [{"task_type": "t", "payload": {}, "dedup_key": f"{'long ' * (i % 48)}{n}-{i}", "inputs": [{"name": "in", "ref": ref}] if i % 50 == 0 else []}
                for i in range(300)]
        assert server.api.post("/v1/jobs:batch", {"jobs": jobs}).json()["refused"] == 0
    assert server.terminate() == 0
    whole = keys_in(tmp_path / "embedded")
    assert len(whole) == 900 and sum(any(key["request_hash"]) for key in whole) == 18
    with sqlite3.connect(tmp_path / "embedded" / "haul.db") as db:
        rows = db.execute("SELECT row, entries FROM key_rows").fetchall()
        for row, entries in rows[::2]:  # the first of every second row
            db.execute("UPDATE key_rows SET entries = ? WHERE row = ?", (entries[:2] + bytes(16) + entries[18:], row))
    db.close()
    left = keys_in(tmp_path / "embedded")
    assert len(left) == 900 - len(rows[::2])
    assert "the target holds what the source holds" in migrate(embedded, database).stdout
    assert postgres.psql("SELECT count(*) FROM dedup", Databases.made[tmp_path / "pg"]) == str(len(left))
    back = make_config("back")
    migrate(database, back)
    again = keys_in(tmp_path / "back")
    assert bare(again) == bare(left)
    assert [key["row"] for key in again] == list(range(1, len(left) + 1))
    assert [key["expires_at"] for key in again] == sorted(key["expires_at"] for key in left)
    with sqlite3.connect(tmp_path / "back" / "haul.db") as db:
        assert db.execute("SELECT count(*) < 200 FROM key_rows").fetchone() == (1,)
    api = serve(back).api
    gone = next(key for key in whole if key["row"] == rows[0][0])["key"]
    for key in (left[0]["key"], left[-1]["key"], gone):
        answer = api.post("/v1/jobs", {"task_type": "other", "dedup_key": key})
        assert answer.status_code == (201 if key == gone else 409), (key, answer.text)


# --- what was moved does not start by accident ---

def refused_start(haul, config):
    done = haul("server", "--config", config, "--listen", "127.0.0.1:0")
    assert done.returncode == CONFLICT and "haul migrate --unmark" in done.stderr, done.stderr
    return done.stderr


def move_finding(haul, config):
    done = haul("doctor", "--config", config, "--json")
    return next((f for f in json.loads(done.stdout)["checks"] if f["check"] == "move"), None)


AT = r" at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_a_source_that_was_moved_does_not_start(serve, haul, migrate, unmark, embedded, database, make_config, filled, tmp_path):
    """In both directions: the word says what was moved where and when, and no password."""
    url = yaml.safe_load(database.read_text())["server"]["store"]
    secret = make_config("secret", data=str(tmp_path / "pg"), store=url + "&password=hushhush")
    done = migrate(embedded, secret)
    assert "none starts with the old one any more" in done.stdout
    name = Databases.made[tmp_path / "pg"]
    for said in (refused_start(haul, embedded), move_finding(haul, embedded)["said"]):
        assert re.search("moved to the database " + name + " on .*" + AT, said) and "hushhush" not in said, said
    assert move_finding(haul, embedded)["status"] == "fail" and "--unmark" in move_finding(haul, embedded)["remedy"]
    assert move_finding(haul, database) is None
    serve(database).terminate()

    back = make_config("back")
    migrate(database, back)
    for said in (refused_start(haul, database), move_finding(haul, database)["said"]):
        assert re.search(f"moved to the data folder {tmp_path / 'back'}" + AT, said), said
    server = serve(back)
    same(told(server.api), filled["told"])
    assert "a server uses the data folder" in unmark(back, status=LOCKED).stderr
    assert server.terminate() == 0

    # The way out, of both.
    done = unmark(database)
    assert "may start" in done.stdout and f"the data folder {tmp_path / 'back'}" in done.stdout
    assert json.loads(unmark(embedded, "--json").stdout)["unmarked"] is True
    assert move_finding(haul, database) is None and move_finding(haul, embedded) is None
    for config in (database, embedded):
        server = serve(config)
        same(told(server.api), filled["told"])
        assert server.terminate() == 0


def test_moved_again_only_when_unmarked(migrate, unmark, embedded, database, make_config, filled):
    migrate(embedded, database)
    again = make_config("again")
    assert "all was moved out of the source to the database" in migrate(embedded, again, status=CONFLICT).stderr
    assert "all was moved out of the source to the database" in migrate(embedded, again, "--dry-run", status=CONFLICT).stderr
    unmark(embedded)
    migrate(embedded, again)


@pytest.mark.parametrize("emptied", ["rows", "fresh"])
def test_back_into_the_store_that_was_left(serve, migrate, haul, embedded, database, filled, postgres, tmp_path, emptied):
    """A note in an emptied target goes when the move into it is done."""
    migrate(embedded, database)
    assert "the target is not empty" in migrate(database, embedded, status=CONFLICT).stderr
    if emptied == "fresh":
        (tmp_path / "embedded").rename(tmp_path / "away")
    else:
        with sqlite3.connect(tmp_path / "embedded" / "haul.db") as db:
            for table, in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'").fetchall():
                db.execute(f"DELETE FROM {table}") if table != "meta" else None
    migrate(database, embedded)
    refused_start(haul, database)
    server = serve(embedded)
    same(told(server.api), filled["told"])
    assert server.terminate() == 0
    name = Databases.made[tmp_path / "pg"]
    tables = postgres.psql("SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN ('meta', 'haul_schema', 'days', 'sweepers', 'totals')", name)
    postgres.psql(f"TRUNCATE {tables}", name)
    migrate(embedded, database)
    refused_start(haul, embedded)
    same(told(serve(database).api), filled["told"])


def test_killed_between_the_note_and_the_end(serve, haul, migrate, embedded, database, postgres, filled, tmp_path):
    """What a kill there leaves: the source is noted, the target not whole. None starts, and the same command ends it."""
    migrate(embedded, database)
    name = Databases.made[tmp_path / "pg"]
    with sqlite3.connect(tmp_path / "embedded" / "haul.db") as db:
        source = db.execute("SELECT value FROM meta WHERE key = 'blob_folder_id'").fetchone()[0]
    blobs = postgres.psql("SELECT value FROM meta WHERE key = 'blob_folder_id'", name)
    mark = json.dumps({"source": source, "blobs": blobs, "table": "", "rows": 0, "blob_bytes": 0, "cursor": ""})
    postgres.psql(f"INSERT INTO meta VALUES ('move', '{mark}')", name)
    refused_start(haul, embedded)
    assert haul("server", "--config", database, "--listen", "127.0.0.1:0").returncode == CONFLICT
    assert json.loads(migrate(embedded, database, "--json").stdout)["resumed"]
    same(told(serve(database).api), filled["told"])


def test_a_move_that_failed_leaves_no_note(serve, migrate, embedded, filled, make_config):
    migrate(embedded, make_config("away", store="postgres://haul@127.0.0.1:1/haul"), status=UNAVAILABLE)
    serve(embedded)


def test_unmark_is_refused(haul, unmark, embedded, database, make_config, filled, postgres, tmp_path):
    assert "nothing says that it was moved" in unmark(embedded, status=NOT_FOUND).stderr
    assert "there is no data folder" in unmark(make_config("nothing"), status=NOT_FOUND).stderr
    (tmp_path / "pg").mkdir()
    assert "there are no tables" in unmark(database, status=NOT_FOUND).stderr
    (tmp_path / "bare").mkdir()
    assert "there is no database" in unmark(make_config("bare"), status=NOT_FOUND).stderr
    assert not (tmp_path / "bare" / "haul.db").exists()
    assert "nowhere.yaml" in unmark(tmp_path / "nowhere.yaml", status=NOT_FOUND).stderr


# --- refused ---

@pytest.mark.parametrize("arguments, said", [
    (["--from", "a.yaml"], "--to: is missing"), (["--to", "a.yaml"], "--from: is missing"), (["--from"], "needs a value"),
    (["--from", "a", "--to", "b", "c"], "one argument too many"), (["--form", "a"], "no such option"), (["--unmark"], "needs a value"), (["--unmark", ""], "--unmark: takes a configuration file"),
    (["--unmark", "a", "--to", "b"], "no other option but --json"), (["--unmark", "a", "--dry-run"], "no other option but --json")])
def test_a_wrong_command_line(haul, arguments, said):
    done = haul("migrate", *arguments)
    assert done.returncode == USAGE and said in done.stderr and "haul help migrate" in done.stderr


def test_help(haul):
    for arguments in (["migrate", "--help"], ["help", "migrate"]):
        done = haul(*arguments)
        assert done.returncode == 0 and "--dry-run" in done.stdout and "Both servers must be stopped" in done.stdout


def test_the_same_on_both_sides(migrate, embedded, make_config, filled, tmp_path, database, serve):
    assert "name the same database" in migrate(embedded, embedded, status=INVALID).stderr
    (tmp_path / "link").symlink_to(tmp_path / "embedded")
    assert "name the same database" in migrate(embedded, make_config("link"), status=INVALID).stderr
    serve(database).terminate()
    other_words = make_config("words", data=str(tmp_path / "pg"), store=Databases.url_of(tmp_path / "pg") + "&connect_timeout=3")
    assert "name the same database" in migrate(database, other_words, status=INVALID).stderr


def test_no_such_configuration_or_folder(migrate, embedded, database, make_config, tmp_path):
    assert "nowhere.yaml" in migrate(tmp_path / "nowhere.yaml", database, status=NOT_FOUND).stderr
    assert "source: there is no data folder" in migrate(make_config("nothing"), database, status=NOT_FOUND).stderr
    (tmp_path / "embedded").mkdir()
    assert "source: store in" in migrate(embedded, database, status=NOT_FOUND).stderr


def test_a_target_that_is_not_empty(serve, migrate, embedded, database, filled):
    server = serve(database)
    server.api.submit("mine")
    assert server.terminate() == 0
    assert "the target is not empty, it holds" in migrate(embedded, database, status=CONFLICT).stderr
    server = serve(database)  # and it was left alone
    assert len(server.api.get("/v1/jobs").json()["jobs"]) == 1


def test_a_target_where_a_server_was_started_only(serve, migrate, embedded, database, filled):
    serve(database).terminate()
    migrate(embedded, database)
    same(told(serve(database).api), filled["told"])


def test_a_source_or_target_in_use(serve, migrate, embedded, database, make_config, filled):
    server = serve(embedded)
    assert "source: a server uses the data folder" in migrate(embedded, database, status=LOCKED).stderr
    server.terminate()
    server = serve(database)
    said = migrate(embedded, make_config("elsewhere", store=yaml.safe_load(database.read_text())["server"]["store"]), status=LOCKED).stderr
    assert "target: a server uses the data" in said or "target: store: a server uses the data" in said or "a server uses the database" in said
    said = migrate(make_config("elsewhere", store=yaml.safe_load(database.read_text())["server"]["store"]), make_config("third"), status=LOCKED).stderr
    assert "source" in said and "a server uses the database" in said


def test_unreachable(migrate, embedded, filled, make_config):
    said = migrate(embedded, make_config("away", store="postgres://haul:secret@127.0.0.1:1/haul"), status=UNAVAILABLE).stderr
    assert "target" in said and "cannot reach the database" in said and "secret" not in said


def test_a_newer_schema(serve, migrate, embedded, database, postgres, filled, tmp_path):
    serve(database).terminate()
    name = Databases.made[tmp_path / "pg"]
    postgres.psql("INSERT INTO haul_schema (version) VALUES (9999)", name)
    assert "the database has schema 9999" in migrate(embedded, database, status=UNSUPPORTED).stderr
    with sqlite3.connect(tmp_path / "embedded" / "haul.db") as db:
        db.execute("PRAGMA user_version = 9999")
    assert "the database has schema 9999" in migrate(embedded, database, status=UNSUPPORTED).stderr


def test_an_older_schema(migrate, embedded, database, filled, tmp_path):
    with sqlite3.connect(tmp_path / "embedded" / "haul.db") as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute(f"PRAGMA user_version = {version - 1}")
    said = migrate(embedded, database, status=UNSUPPORTED).stderr
    assert f"the source has schema {version - 1}" in said and "start this haul's server on it once" in said


def test_another_source_than_the_move_began_with(serve, migrate, embedded, database, make_config, postgres, filled, tmp_path):
    migrate(embedded, database)
    name = Databases.made[tmp_path / "pg"]
    postgres.psql("""INSERT INTO meta VALUES ('move', '{"source":"another","blobs":"","table":"jobs","rows":0,"blob_bytes":0,"cursor":""}')""", name)
    assert "the unfinished move of another source (another)" in migrate(embedded, database, status=CONFLICT).stderr


def test_rows_that_differ_are_found(migrate, environment, embedded, database, postgres, filled, tmp_path):
    """A target that was changed behind the move's back: its mark says that all is there."""
    migrate(embedded, database)
    name = Databases.made[tmp_path / "pg"]
    with sqlite3.connect(tmp_path / "embedded" / "haul.db") as db:
        source = db.execute("SELECT value FROM meta WHERE key = 'blob_folder_id'").fetchone()[0]
    blobs = postgres.psql("SELECT value FROM meta WHERE key = 'blob_folder_id'", name)
    mark = json.dumps({"source": source, "blobs": blobs, "table": "", "rows": 0, "blob_bytes": 0, "cursor": ""})
    postgres.psql(f"INSERT INTO meta VALUES ('move', '{mark}'); UPDATE jobs SET priority = priority + 1 WHERE task_type = 'later'", name)
    assert "jobs differs" in migrate(embedded, database, status=CORRUPT).stderr
    postgres.psql("UPDATE jobs SET priority = priority - 1 WHERE task_type = 'later'", name)
    migrate(embedded, database)


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_a_damaged_blob(serve, migrate, embedded, database, filled, tmp_path, harm):
    ref = filled["blob"]
    file = tmp_path / "embedded" / "blobs" / ref[-2:] / ref.removeprefix("blob:")
    good = file.read_bytes()
    file.chmod(0o600)
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b"X" + good[1:])
    said = migrate(embedded, database, status=CORRUPT).stderr
    assert f"1 blobs of the source are missing or damaged, the first is {ref.removeprefix('blob:')}" in said
    if harm == "gone":
        done = migrate(embedded, database, "--allow-damaged")
        assert "1 blobs are missing or damaged, as they were in the source" in done.stdout
    else:
        file.write_bytes(good)  # from a backup: the same command then finds it whole
        migrate(embedded, database)
        same(told(serve(database).api), filled["told"])


def test_a_full_disk(migrate, embedded, database, make_config, filled, tmp_path):
    """RLIMIT_FSIZE is what a test can have of a full disk."""
    back = make_config("back")
    done = subprocess.run(["/bin/sh", "-c", 'ulimit -f 100; trap "" XFSZ; exec "$@"', "sh", str(HAUL), "migrate", "--from", str(embedded), "--to", str(back)],
                          capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)})
    assert done.returncode in (16, 19), done.stderr
    assert "target" in done.stderr
    migrate(embedded, back)


def columns_of_sqlite(file):
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as db:
        tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")]
        return {table: {row[1] for row in db.execute(f"PRAGMA table_info({table})")} for table in tables}


def test_every_table_and_column_is_moved(serve, migrate, embedded, database, postgres, filled, tmp_path):
    """Both databases have the same ones but for those that each makes by itself; and where a column is, its values are the source's."""
    migrate(embedded, database)
    ours = columns_of_sqlite(tmp_path / "embedded" / "haul.db")
    name = Databases.made[tmp_path / "pg"]
    theirs = {}
    for line in postgres.psql("SELECT relname || ' ' || attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid WHERE relkind IN ('r', 'p')"
                              " AND relnamespace = CAST('public' AS regnamespace) AND NOT relispartition AND attnum > 0 AND NOT attisdropped", name).split("\n"):
        theirs.setdefault(line.split()[0], set()).add(line.split()[1])
    made_anew = {"meta", "batches", "counters", "days", "key_chunks", "key_runs", "servers", "sweepers", "totals", "haul_schema"}
    theirs["attempts"].remove("finished_at")  # told by history
    del ours["key_rows"], ours["postings"]
    ours["dedup"] = {"project", "key", "job_id", "request_hash", "content_hash", "expires_at"}
    ours["labels"] = {"project", "key", "value", "job_id"}
    moved = {t: c for t, c in ours.items() if t not in made_anew}
    assert moved == {t: c for t, c in theirs.items() if t not in made_anew}
    with sqlite3.connect(f"file:{tmp_path / 'embedded' / 'haul.db'}?mode=ro", uri=True) as db:
        for table, columns in moved.items():
            rows = json.loads(postgres.psql(f"SELECT json_agg(t) FROM {table} t", name))
            unpack = {"dedup": packed.keys, "labels": packed.labels}.get(table)
            lie = unpack(db) if unpack else None
            assert lie is None or lie, table
            for column in columns:
                want = sorted(plain(v[column]) for v in lie) if unpack else sorted(plain(v) for v, in db.execute(f"SELECT {column} FROM {table}"))
                assert sorted(plain(row[column]) for row in rows) == want, (table, column)


def test_finished_jobs_get_the_tables_of_their_days(migrate, embedded, database, postgres, filled, tmp_path):
    with sqlite3.connect(tmp_path / "embedded" / "haul.db") as db:
        db.execute("UPDATE history SET finished_at = finished_at - 86400000000 * (rowid % 5)")
        days = {at // 86400000000 for at, in db.execute("SELECT finished_at FROM history")}
        count, = db.execute("SELECT count(*) FROM history").fetchone()
        tried, = db.execute("SELECT count(*) FROM attempts WHERE job_id IN (SELECT job_id FROM history)").fetchone()
    db.close()
    assert len(days) > 1 and tried
    migrate(embedded, database)
    name = Databases.made[tmp_path / "pg"]
    assert postgres.psql("SELECT count(*) FROM history", name) == str(count)
    assert postgres.psql("SELECT count(*) FROM history_default", name) == "0"
    assert postgres.psql("SELECT count(DISTINCT tableoid) FROM history", name) == str(len(days))
    assert postgres.psql("SELECT count(*) FROM attempts a JOIN history h USING (job_id, finished_at)", name) == str(tried)
    assert postgres.psql("SELECT count(*) FROM attempts WHERE finished_at <> 0", name) == str(tried)
    assert postgres.psql("SELECT count(*) FROM attempts_default", name) == "0"


def plain(value):
    """A value of either database in one way: bytes and ids in hex."""
    if isinstance(value, bytes):
        return value.hex()
    text = "" if value is None else str(float(value)) if isinstance(value, (int, float)) and abs(value) < 2**53 else str(value)
    return text.replace("\\x", "").replace("-", "")
