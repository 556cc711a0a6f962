"""One build meets another: on the wire, in the database, in a worker's state folder, and in mid-run. docs/upgrading.md says what is promised."""
import base64
import json
import lzma
import os
import re
import sqlite3
import subprocess

import pytest
from conftest import COMPLETE, HAUL, TOP, Api, Process, problem, processes_of_job, until
from holding_proxy import HoldingProxy
from test_agent import attempts_of, kill_supervisor, supervisors, waits_for

CALM = {"lease": "10m", "confirm": "5m", "heartbeat": "300ms", "backoff_base": "100ms"}  # no slow machine loses a job
FUTURE = {"zz_new": {"of": ["a", "later", {"build": None}], "n": 1.5}, "zz_more": "text"}


# --- on the wire: members that the other side does not know yet ---


def with_future(value, where=()):
    """The same JSON with members that only a later build knows, in every object but the user's own."""
    if isinstance(value, list):
        return [with_future(v, where) for v in value]
    if not isinstance(value, dict):
        return value
    return {**{k: v if k in ("payload", "labels", "handlers") else with_future(v, (*where, k)) for k, v in value.items()}, **FUTURE}


class FutureProxy(HoldingProxy):
    """Makes of the worker or of the server behind it a later build's, as far as members go."""

    def __init__(self, upstream, newer_worker=False, newer_server=False):
        self.newer_worker, self.newer_server = newer_worker, newer_server
        super().__init__(upstream)

    def request_passes(self, path, headers, body):
        if self.newer_worker:
            headers["Haul-Protocol"] = str(1 + int(headers.get("Haul-Protocol", 0)))
            if path.endswith("/heartbeat"):
                body, headers["Content-Type"] = body or b"{}", "application/json"
        if self.newer_worker and headers.get("Content-Type") == "application/json" and (path == "/v1/lease" or "/attempts/" in path):
            body = json.dumps(with_future(json.loads(body))).encode()
        return body

    def answer_passes(self, path, answer):
        kind = answer.headers.get("Content-Type", "")
        if self.newer_server and kind in ("application/json", "application/problem+json"):
            return json.dumps(with_future(answer.json())).encode()
        return answer.content


@pytest.fixture
def make_future():
    made = []

    def make(url, **which):
        made.append(FutureProxy(url, **which))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.mark.parametrize("which", [{"newer_worker": True}, {"newer_server": True}], ids=lambda w: next(iter(w)))
def test_members_of_a_later_build_are_passed_over(make_server, make_worker, make_future, tmp_path, which):
    server = make_server(CALM)
    api = Api(server.url)
    proxy = make_future(server.url, **which)
    work = ("cat in/text > out/result; echo 'progress 40 half of it' >&3; echo a line of log; "
            f"test $HAUL_ATTEMPT = 1 && exit 3; {waits_for(tmp_path / 'go')}")
    make_worker(proxy.url, {"works": {"command": ["/bin/sh", "-c", work], "verify": ["/usr/bin/test", "-s", "out/result"]},
                            "fails": "echo it broke >&2; exit 9", "hangs": "echo up; exec sleep 1000"}, slots=3)
    works = api.submit("works", inputs=[{"name": "text", "ref": api.put_blob(b"some text")["ref"]}], payload={"a": 1.50})["job_id"]
    fails, hangs = api.submit("fails", max_attempts=1)["job_id"], api.submit("hangs")["job_id"]
    api.wait(works, lambda j: j["attempt"] == 2 and j["progress"])
    before = proxy.count("heartbeat")
    until(lambda: proxy.count("heartbeat") > before + 2)
    (tmp_path / "go").touch()
    job = api.wait(works)
    assert (job["status"], job["attempt"], job["losses"]) == ("success", 2, 0)
    assert api.get(job["result_url"]).content == b"some text" and api.log(works).text == "a line of log\n"
    assert [a["outcome"] for a in api.attempts(works)] == ["error", "success"]
    assert "exit status 9" in api.wait(fails)["error_log"]
    until(lambda: processes_of_job(hangs))
    api.post(f"/v1/jobs/{hangs}/cancel")
    assert api.wait(hangs)["status"] == "cancelled"


def test_the_command_line_passes_over_members_of_a_later_server(make_server, make_worker, make_future, haul, tmp_path):
    server = make_server()
    make_worker(server.url, {"works": "echo made > out/result"})
    url = make_future(server.url, newer_server=True).url
    (tmp_path / "input").write_bytes(bytes(9 << 20))  # goes up by pieces
    done = haul("submit", "works", "--input", tmp_path / "input", "--wait", "--json", url=url)
    assert done.returncode == 0, done.stderr
    job_id = json.loads(done.stdout.splitlines()[-1])["job_id"]
    for command in (["jobs", "list"], ["jobs", "show", job_id], ["jobs", "outputs", job_id, "--out", tmp_path / "fetched"], ["workers"], ["status"],
                    ["dlq", "list"], ["jobs", "log", job_id]):
        done = haul(*command, url=url)
        assert done.returncode == 0, (command, done.stderr)
    (tmp_path / "batch").write_text('{"task_type": "waits"}\n' * 3)
    assert haul("submit", "--batch", tmp_path / "batch", url=url).returncode == 0
    assert haul("jobs", "cancel", "--all", "--yes", url=url).returncode == 0


def test_an_outcome_of_a_later_build_counts_as_an_error(api):
    job_id = api.submit("t", max_attempts=1)["job_id"]
    claim = api.lease("t")[0]
    body = {"outcome": "melted", "error_log": "it melted", "zz_new": 1}
    problem(api.act(claim, "fail", body), 422, "invalid", "outcome")
    for number in ("1", "2", "0", "-2", "", "two", "99999999999999999999"):  # not newer, or no number at all: what is unknown is a mistake
        problem(api.act(claim, "fail", body, headers={"Haul-Protocol": number}), 422, "invalid", "outcome")
        problem(api.act(claim, "complete", {"outputs": [], **COMPLETE, "zz_new": 1}, headers={"Haul-Protocol": number}), 422, "invalid", "zz_new")
    problem(api.act(claim, "fail", {"outcome": "lost"}, headers={"Haul-Protocol": "3"}), 422, "invalid", "outcome")
    assert api.act(claim, "fail", body, headers={"Haul-Protocol": "3"}).status_code == 200
    job = api.job(job_id)
    assert (job["status"], job["outcome"], job["error_log"]) == ("failed", "error", "it melted")
    problem(api.post("/v1/jobs", {"task_type": "t", "zz_new": 1}, headers={"Haul-Protocol": "3"}), 422, "invalid", "zz_new")


# --- the database: what the last build of every earlier schema left, as test/upgrade/record wrote it down ---

RECORDINGS = sorted((TOP / "test" / "upgrade").glob("schema-*.json.xz"))
YEARS = {"lease": "1h", "retention": "3650d", "dedup_window": "3650d", "blob_keep": "3650d", "upload_keep": "3650d"}
MOVES = {"waiting_reason", "lease_until"}  # a running job is given one lease of grace, which no slow machine outlasts


def left_by_an_earlier_build(path, data):
    """Makes the data folder of a recording."""
    recorded = json.loads(lzma.decompress(path.read_bytes()))
    for name, content in recorded["files"].items():
        (data / name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        (data / name).write_bytes(base64.b64decode(content))
    db = sqlite3.connect(data / "haul.db")
    db.executescript("PRAGMA synchronous = OFF;\n" + "\n".join(recorded["sql"]))
    db.close()
    return recorded


def same(was, now, where):
    """Whatever was answered is answered still; there may be more."""
    if isinstance(was, dict):
        for key in was.keys() - MOVES:
            assert key in now, (where, key)
            same(was[key], now[key], f"{where}.{key}")
    elif isinstance(was, list):
        assert len(was) == len(now), where
        for i, (a, b) in enumerate(zip(was, now)):
            same(a, b, f"{where}[{i}]")
    else:
        assert was == now, where


def tables_of(data):
    db = sqlite3.connect(f"file:{data}/haul.db?mode=ro", uri=True)
    found = sorted(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'"))
    version = db.execute("PRAGMA user_version").fetchone()
    db.close()
    return version, found


def ask_all(api, recorded):
    for path, was in recorded["answers"].items():
        answer = api.get(path)
        assert answer.status_code == 200, (path, answer.text)
        if path == "/v1/workers":
            was, now = ([{k: v for k, v in w.items() if k != "state"} for w in sorted(d["workers"], key=lambda w: w["worker_id"])]
                        for d in (was, answer.json()))
        else:
            now = answer.text if isinstance(was, str) else answer.json()
        same(was, now, path)


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda p: p.name[:11])
def test_what_every_earlier_schema_held_is_answered_and_goes_on(make_server, tmp_path, path):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    recorded = left_by_an_earlier_build(path, data)
    jobs, claim = recorded["jobs"], recorded["claim"]
    server = make_server(YEARS, data=data)
    api = Api(server.url)
    told = re.findall(r'"message":"the database is brought forward","schema":"(\d+)"', server.said)
    assert told == [str(i) for i in range(recorded["schema"] + 1, int(told[-1]) + 1)]
    ask_all(api, recorded)
    assert api.get(api.job(jobs["success"])["result_url"]).content == b"some text"

    # The attempt that was running goes on: its token is good, its log and what it staged are there.
    assert api.act(claim, "heartbeat").status_code == 200
    octets = {"Content-Type": "application/octet-stream"}
    assert api.act(claim, "log?offset=9", data=b"ne", headers=octets).json() == {"next_offset": 11}
    assert api.act(claim, "complete", {"outputs": ["early.bin"], **COMPLETE}).json() == {"status": "success"}
    assert api.log(jobs["running"]).text == "half a line" and api.get(api.job(jobs["running"])["result_url"]).content == b"early"

    for what, attempt in (("pending", 1), ("unconfirmed", 2)):  # what waited is claimed
        claimed = api.lease(what)[0]
        assert (claimed["job_id"], claimed["attempt"]) == (jobs[what], attempt)
        assert api.act(claimed, "complete", {"outputs": [], **COMPLETE}).status_code == 200
    for what in ("failed", "dead", "expired"):  # dead letters are retried
        assert api.post(f"/v1/jobs/{jobs[what]}/retry").json()["status"] == "pending"
    for what in ("scheduled", "backing off"):
        assert api.post(f"/v1/jobs/{jobs[what]}/cancel").json()["status"] == "cancelled"
    # Keys are remembered, and what the same request is.
    assert api.submit("running", dedup_key="running")["job_id"] == jobs["running"]
    problem(api.post("/v1/jobs", {"task_type": "other", "dedup_key": "recorded"}), 409, "conflict")
    if recorded["upload"]:
        tus = {"Tus-Resumable": "1.0.0"}
        assert api.request("HEAD", recorded["upload"], headers=tus).headers["Upload-Offset"] == "5"
        assert api.request("PATCH", recorded["upload"], data=b"whole", headers={
            **tus, "Upload-Offset": "5", "Content-Type": "application/offset+octet-stream"}).status_code == 204
    queues = api.get("/v1/stats").json()["queues"]
    counts = [sum(q[status] for q in queues) for status in ("pending", "running", "success", "failed", "cancelled")]
    assert counts == [3, 0, 4, 0, 3], queues
    assert server.terminate() == 0

    fresh = make_server()
    assert tables_of(data) == tables_of(fresh.data)
    server.restart()
    assert api.job(jobs["running"])["status"] == "success"


def test_a_database_of_a_later_schema_is_refused_and_left_alone(make_server, haul, tmp_path):
    server = make_server()
    api = Api(server.url)
    job_id = api.submit("t")["job_id"]
    assert server.terminate() == 0
    database = server.data / "haul.db"
    db = sqlite3.connect(database)
    (version,) = db.execute("PRAGMA user_version").fetchone()
    db.execute(f"PRAGMA user_version = {version + 1}")
    db.close()
    before = database.read_bytes()
    done = haul("server", "--data", server.data, "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and f"the database has schema {version + 1}, this program knows up to {version}: use a newer one" in done.stderr
    assert database.read_bytes() == before
    db = sqlite3.connect(database)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    server.restart()
    assert api.job(job_id)["status"] == "pending"


# --- two builds in mid-run ---

def version_of(binary):
    return subprocess.run([binary, "version"], capture_output=True, text=True, check=True).stdout.split()[1]


@pytest.fixture(scope="module")
def sibling(tmp_path_factory):
    """Today's build under another version: there is always one."""
    binary = tmp_path_factory.mktemp("sibling") / "haul"
    version = version_of(HAUL).encode()
    other = version.replace(b"0", b"9")
    binary.write_bytes(HAUL.read_bytes().replace(version, other))
    binary.chmod(0o755)
    assert version_of(binary) == other.decode()
    return binary


@pytest.fixture(scope="module")
def previous():
    """The build of test/upgrade/previous; where this checkout has no history there is none."""
    done = subprocess.run([TOP / "scripts" / "previous-build"], capture_output=True, text=True)
    if done.returncode == 77:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["sibling", "previous"])
def other(request):
    return request.getfixturevalue(request.param)


class AnyApi(Api):
    """Of a build whose answers another description may describe."""

    def request(self, method, path, **kwargs):
        return self.session.request(method, self.url + path, **{"timeout": 75, **kwargs})


@pytest.fixture
def builds(make_server, make_worker, other, tmp_path):
    """start(server, worker): both as the named binaries, and a way to exchange either while they run."""
    work = ("cat in/text > out/result; echo before; echo 'progress 40 half of it' >&3; "
            "if [ -d checkpoint ]; then echo kept > checkpoint/part; echo checkpoint >&3; fi; "  # which not every server takes
            f"{waits_for(tmp_path / 'go')}; echo after")

    class Builds:
        def start(self, server, worker):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(Process, "binary", server)
                self.server = make_server(CALM)
                self.server.binary = server
                patch.setattr(Process, "binary", worker)
                self.worker = make_worker(self.server.url, {"works": work, "quick": "echo made > out/result", "fails": "exit 9"}, slots=4)
                self.worker.binary = worker
            self.api = AnyApi(self.server.url)

        def begin(self):
            """A job that runs until go()."""
            ref = self.api.put_blob(b"some text")["ref"]
            job_id = self.api.submit("works", inputs=[{"name": "text", "ref": ref}])["job_id"]
            self.api.wait(job_id, lambda j: j["progress"])
            return job_id

        def server_becomes(self, binary):
            assert self.server.terminate() == 0
            self.server.binary = binary
            self.server.restart()

        def worker_becomes(self, binary):
            found = self.worker.said.count("found a running job")
            assert self.worker.terminate() == 0
            self.worker.binary = binary
            self.worker.launch()
            running = len(supervisors(self.worker))
            until(lambda: self.worker.said.count("found a running job") == found + running)
            until(lambda: [w["version"] for w in self.api.get("/v1/workers").json()["workers"]] == [version_of(binary)])

        def quick(self):
            """Whatever builds are together do their work."""
            made, failed = self.api.submit("quick")["job_id"], self.api.submit("fails", max_attempts=1)["job_id"]
            assert self.api.get(self.api.wait_status(made, "success")["result_url"]).content == b"made\n"
            assert "exit status 9" in self.api.wait_status(failed, "failed")["error_log"]

        def go(self, *jobs):
            (tmp_path / "go").touch()
            for job_id in jobs:
                job = self.api.wait_status(job_id, "success")
                assert (job["attempt"], job["losses"], job["interruptions"], job["retries"]) == (1, 0, 0, 0)
                assert self.api.get(job["result_url"]).content == b"some text"
                assert [line for line in self.api.log(job_id).text.splitlines() if not line.startswith("haul: ")] == ["before", "after"]
            until(lambda: attempts_of(self.worker) == [])

    return Builds()


def binaries_of_supervisors(worker):
    return {os.path.realpath(f"/proc/{pid}/exe") for pid in supervisors(worker)}


@pytest.mark.timeout(900)  # the other build may have to be built first
def test_P05_job_of_an_older_supervisor_ends_under_the_new_server_and_agent(builds, other, haul):
    builds.start(other, other)
    first = builds.begin()
    builds.server_becomes(HAUL)  # which brings the database forward
    builds.quick()
    second = builds.begin()
    assert version_of(other) in haul("workers", url=builds.server.url).stdout
    builds.worker_becomes(HAUL)
    assert version_of(other) not in haul("workers", url=builds.server.url).stdout
    assert binaries_of_supervisors(builds.worker) == {os.path.realpath(other)}
    builds.quick()
    third = builds.begin()
    builds.go(first, second, third)


@pytest.mark.timeout(900)
def test_P05_job_of_a_newer_supervisor_ends_under_the_older_server_and_agent(builds, other):
    """A worker that was upgraded first, or taken back."""
    builds.start(other, HAUL)
    builds.quick()
    first = builds.begin()
    builds.worker_becomes(other)
    assert binaries_of_supervisors(builds.worker) == {str(HAUL)}
    second = builds.begin()
    builds.quick()
    builds.go(first, second)


@pytest.mark.timeout(900)
def test_P10_ending_that_an_older_supervisor_could_not_tell_is_told_by_the_new_agent(builds, other, tmp_path):
    builds.start(other, other)
    job_id = builds.begin()
    assert builds.server.terminate() == 0
    (tmp_path / "go").touch()
    until(lambda: (builds.worker.state / "attempts" / f"{job_id}-1" / "completion.json").exists())
    builds.worker.terminate()
    kill_supervisor(builds.worker)
    builds.server.binary = builds.worker.binary = HAUL
    builds.server.restart()
    builds.worker.launch()
    builds.go(job_id)


@pytest.mark.timeout(900)
def test_a_server_is_taken_back_only_to_a_build_that_knows_its_schema(builds, other, haul):
    builds.start(HAUL, HAUL)
    job_id = builds.begin()
    assert builds.server.terminate() == 0
    before = (builds.server.data / "haul.db").read_bytes()
    if "sibling" in str(other):
        builds.server.binary = other
        builds.server.restart()
    else:
        refused = subprocess.run([other, "server", "--data", builds.server.data, "--listen", "127.0.0.1:0"], capture_output=True, text=True)
        assert refused.returncode != 0 and "use a newer one" in refused.stderr, refused
        assert (builds.server.data / "haul.db").read_bytes() == before
        builds.server.restart()
    builds.go(job_id)
