"""Lists from hot standbys (ADR 33): they are read there, and never show less than who asks must find; whatever becomes of a standby."""
import os
import pathlib
import re
import signal

import pytest
from conftest import Api, Databases, own_postgres, until
from test_events import Stream

pytestmark = pytest.mark.timeout(300)


class Both:
    """A primary and an asynchronous standby of it."""

    def __init__(self):
        self.primary = own_postgres.Postgres(own_postgres.bin_dir())
        try:
            self.standby = own_postgres.Postgres(own_postgres.bin_dir(), standby_of=self.primary)
        except BaseException:
            self.primary.remove()
            raise
        self.count = 0

    def database(self):
        """A new one, in both."""
        self.count += 1
        name = f"haul{self.count}"
        self.primary.psql(f"CREATE DATABASE {name}")
        until(lambda: self.standby.psql(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == "1")
        return name

    def remove(self):
        self.standby.remove()
        self.primary.remove()


@pytest.fixture(scope="module")
def shared():
    Databases.postgres()  # skips where there is none
    both = Both()
    yield both
    both.remove()


@pytest.fixture
def own():
    """To be broken for good."""
    Databases.postgres()
    both = Both()
    yield both
    both.remove()


def standbys(api):
    return api.get("/healthz").json()["standbys"]


def states(api):
    return [standby["status"] for standby in standbys(api)]


def reads(api):
    """Of standbys, and those that they missed."""
    text = api.get("/metrics").text
    return (sum(int(n) for n in re.findall(r'^haul_store_standby_reads_total\{.*\} (\d+)$', text, re.M)),
            int(re.search(r"^haul_store_standby_misses_total (\d+)$", text, re.M)[1]))


def listed(api, **params):
    answer = api.get("/v1/jobs", params={"limit": 1000, **params})
    assert answer.status_code == 200, answer.text
    return {job["job_id"] for job in answer.json()["jobs"]}


def start(make_server, both, name, read=None, **more):
    server = make_server({"store": both.primary.url(name), "store_read": read or both.standby.url(name)}, **more)
    return Api(server.url)


def ready(make_server, both, **more):
    api = start(make_server, both, both.database(), **more)
    until(lambda: states(api) == ["ok"])
    return api


def test_lists_are_read_there_and_show_what_was_just_written(make_server, shared):
    api = ready(make_server, shared)
    for i in range(30):
        job = api.submit("encode", labels={"n": f"needle{i}x"})
        assert job["job_id"] in listed(api)
        assert listed(api, label=f"n=needle{i}x") == listed(api, text=f"needle{i}x") == {job["job_id"]}
    dead = api.submit("encode")
    claim = next(claim for claim in api.lease("encode", slots=31) if claim["job_id"] == dead["job_id"])
    assert api.act(claim, "fail", {"outcome": "error", "permanent": True, "error_log": "it broke"}).status_code == 200
    assert [group["jobs"] for group in api.get("/v1/dlq").json()["groups"]] == [1]
    redrive = api.post("/v1/redrives", {"action": "retry", "filter": {}}).json()
    assert [r["redrive_id"] for r in api.get("/v1/redrives").json()["redrives"]] == [redrive["redrive_id"]]
    asked, missed = reads(api)
    assert asked > 0 and asked + missed >= 30 * 3 + 2  # a miss is one that was behind for longer than it is waited for
    (state,) = standbys(api)
    assert state["age_s"] < 5 and "detail" not in state and "secret" not in str(state)


def test_one_that_lags_is_passed_over_until_it_has_come_up(make_server, shared):
    api = ready(make_server, shared)
    shared.standby.psql("SELECT pg_wal_replay_pause()")
    try:
        before = reads(api)
        job = api.submit("encode")
        assert listed(api) == {job["job_id"]}
        assert reads(api) == (before[0], before[1] + 1)
        until(lambda: states(api) == ["behind"])
        assert "more than 5 s behind" in standbys(api)[0]["detail"]
        assert listed(api) == {job["job_id"]}
    finally:
        shared.standby.psql("SELECT pg_wal_replay_resume()")
    until(lambda: states(api) == ["ok"])
    before = reads(api)
    assert listed(api) == {job["job_id"]}
    assert reads(api) == (before[0] + 1, before[1])


def test_one_that_stops_hangs_and_comes_back(make_server, shared):
    api, own = ready(make_server, shared), shared
    job = api.submit("encode")
    own.standby.stop(signal.SIGQUIT)
    try:
        assert listed(api) == {job["job_id"]}
        until(lambda: states(api) == ["lost"])
        assert "detail" in standbys(api)[0] and standbys(api)[0]["age_s"] is None
        assert listed(api) == {job["job_id"]}
    finally:
        own.standby.start()
    until(lambda: states(api) == ["ok"])
    stopped = [own.standby.process.pid, *map(int, pathlib.Path(f"/proc/{own.standby.process.pid}/task/{own.standby.process.pid}/children")
                                             .read_text(encoding="ascii").split())]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert listed(api) == {job["job_id"]}
        until(lambda: states(api) == ["lost"])
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    until(lambda: states(api) == ["ok"])


def test_one_that_is_promoted_is_left(make_server, own):
    api = ready(make_server, own)
    job = api.submit("encode")
    own.standby.psql("SELECT pg_promote()")
    later = api.submit("encode")
    assert listed(api) == {job["job_id"], later["job_id"]}
    until(lambda: states(api) == ["primary"])
    assert listed(api) == {job["job_id"], later["job_id"]}


def test_another_database_is_never_believed(make_server, shared, tmp_path):
    name, other, empty = shared.database(), shared.database(), shared.database()
    stranger = Api(make_server({"store": shared.primary.url(other)}, data=tmp_path / "other").url)  # of the same number there
    stranger.submit("encode")
    for theirs in (other, empty):
        api = start(make_server, shared, name, read=shared.standby.url(theirs), data=tmp_path / "ours")
        until(lambda api=api: states(api) == ["foreign"])
        assert listed(api) == set()
        assert reads(api)[0] == 0
        assert "does not know this server" in standbys(api)[0]["detail"]


def test_several(make_server, shared, tmp_path):
    """The first one is not there, the last one is the primary."""
    name = shared.database()
    hosts = f"{tmp_path},{shared.standby.dir},{shared.primary.dir}"
    api = start(make_server, shared, name, read=f"postgres:///{name}?host={hosts}&user=haul")
    until(lambda: states(api) == ["lost", "ok", "primary"])
    assert [standby["host"] for standby in standbys(api)] == hosts.split(",")
    job = api.submit("encode")
    assert listed(api) == {job["job_id"]}
    text = api.get("/metrics").text
    assert [f'haul_store_standby_up{{standby="{host}"}} {up}' in text for host, up in zip(hosts.split(","), (0, 1, 0))] == [True] * 3
    assert re.search(rf'^haul_store_standby_reads_total{{standby="{shared.standby.dir}"}} 1$', text, re.M), text
    assert set(re.findall(r'^haul_store_standby_age_seconds{standby="(.*)"}', text, re.M)) == set(hosts.split(",")[1:])


def test_what_an_event_tells_of_another_server_is_in_the_list(make_server, shared, tmp_path):
    name, data = shared.database(), tmp_path / "blobs"
    a, b = (start(make_server, shared, name, data=data) for _ in range(2))
    until(lambda: states(a) == states(b) == ["ok"])
    events = Stream(b, jobs=1)
    assert events.next() == ("reset", {"reason": "new"})
    shared.standby.psql("SELECT pg_wal_replay_pause()")
    try:
        job = a.submit("encode")
        events.until("reset", lambda data: data["reason"] == "elsewhere")
        assert listed(b) == {job["job_id"]}
    finally:
        shared.standby.psql("SELECT pg_wal_replay_resume()")
        events.close()


@pytest.mark.parametrize("config, said", [
    ({"store_read": "postgres://standby/haul"}, "store_read: needs a database in PostgreSQL"),
    ({"store": "postgres://db/haul", "store_read": "mysql://haul:secret@standby/haul"}, "store_read: must begin with postgres://"),
    ({"store": "postgres://db/haul", "store_read": "postgres://haul:secret@a/haul?often=1"}, 'store_read: invalid URI query parameter: "often"'),
    ({"store": "postgres://db/haul", "store_read": "postgres:///haul?host=a,b,c&port=1,2"}, "store_read: names 3 hosts and 2 ports"),
    ({"store": "postgres://db/haul", "store_read": f"postgres://{','.join('abcdefghi')}/haul"}, "store_read: names 9 hosts, at most 8"),
])
def test_bad_configurations(haul, tmp_path, config, said):
    flags = [word for key, value in config.items() for word in (f"--{key.replace('_', '-')}", value)]
    done = haul("server", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", *flags, timeout=30)
    assert done.returncode == 11 and said in done.stderr and "secret" not in done.stderr, done.stderr
