"""PostgreSQL with a synchronous standby, and behind a pooler: whatever happens to it, an answer is right, or says that it is unknown."""
import concurrent.futures
import signal
import sys

import pytest
from conftest import TOP, Api, Databases, own_postgres, problem, until

sys.path.insert(0, str(TOP / "test" / "chaos"))
import postgres_kills  # noqa: E402

UNKNOWN_OUTCOME = 17
pytestmark = pytest.mark.timeout(400)  # a pair is made and mended: seconds, and on a machine that is busy, minutes


@pytest.fixture(scope="module")
def shared_pair():
    Databases.postgres()  # skips where there is none
    pair = own_postgres.Pair(own_postgres.bin_dir())
    yield pair
    pair.remove()


@pytest.fixture
def pair(shared_pair, request):
    """In order, and empty."""
    name = request.node.name.partition("[")[0][:60]
    shared_pair.primary.psql(f"DROP DATABASE IF EXISTS {name}")
    shared_pair.primary.psql(f"CREATE DATABASE {name}")
    until(lambda: shared_pair.standby.psql(f"SELECT count(*) FROM pg_database WHERE datname = '{name}'") == "1")  # a server may ask it first
    shared_pair.name = name
    return shared_pair


def test_failovers_and_kills_under_load(pair, make_server, tmp_path):
    """More of them: test/chaos/postgres_kills.py."""
    servers = postgres_kills.Servers(lambda n: make_server({"store": pair.url(pair.name)}, data=tmp_path / "shared"))
    result = postgres_kills.run(pair, servers, pair.name, failovers=1, kills=2, seed=3, pause=0.2)
    assert result["wrong"] == {}, result
    assert result["kills"] == 2 and result["jobs"] > 60, result


def test_host_that_takes_no_writes_any_more_is_left_for_the_one_that_does(pair, make_server):
    server = make_server({"store": pair.url(pair.name)})
    api = Api(server.url)
    before = api.submit("encode")
    assert api.job(before["job_id"])["status"] == "pending"  # there is a connection to read by, too
    pair.fence()
    pair.promote()
    try:
        after = until(lambda: (answer := api.post("/v1/jobs", {"task_type": "encode"})).status_code == 201 and answer.json())
        assert api.job(after["job_id"])["status"] == "pending"
        assert api.job(before["job_id"])["status"] == "pending"
        assert pair.primary.psql("SELECT count(*) FROM jobs", pair.name) == "2"
        assert server.popen.poll() is None
    finally:
        pair.repair()


@pytest.mark.parametrize("how", ["cancel", "terminate"])
def test_commit_that_no_standby_may_have_is_unknown(pair, make_server, how):
    pair.primary.psql(f"ALTER DATABASE {pair.name} SET client_min_messages = error")  # the warning is heard all the same
    server = make_server({"store": pair.url(pair.name)})
    api, key = Api(server.url), {"Idempotency-Key": "k"}
    pair.standby.stop(signal.SIGQUIT)
    try:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(api.post, "/v1/jobs", {"task_type": "encode"}, headers=key)
            waits_end = (f"SELECT count(pg_{how}_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
                         " AND query NOT LIKE 'INSERT INTO batches%'")  # which is how it is looked whether the standby has it
            until(lambda: pair.primary.psql(waits_end) and answer.done(), 60)
            # Unavailable: it was another batch whose commit was met, and none comes behind that.
            assert problem(answer.result(), 503)["code"] in ("unknown_outcome", "unavailable")
        assert server.popen.wait(30) == UNKNOWN_OUTCOME
    finally:
        pair.standby.start()
    server.restart()
    assert until(lambda: (again := api.post("/v1/jobs", {"task_type": "encode"}, headers=key)).status_code in (200, 201) and again.json())
    assert pair.primary.psql("SELECT count(*) FROM jobs", pair.name) == "1"


def test_pooler_that_restarts_under_load(make_server, tmp_path):
    if not own_postgres.pgbouncer():
        pytest.skip("PgBouncer is not installed")
    postgres = Databases.postgres()
    name = Databases.url_of(tmp_path) and Databases.made[tmp_path]
    pooler = own_postgres.Pooler(postgres)
    try:
        servers = [make_server({"store": pooler.url(name)}, data=tmp_path / "shared") for _ in range(2)]
        load = postgres_kills.Load([s.url for s in servers])
        for _ in range(2):
            before = len(load.completed)
            until(lambda before=before: len(load.completed) > before + 30, 60)
            pooler.stop()
            pooler.start()
        until(lambda: len(load.acknowledged) > 100, 60)
        assert load.end(lambda sql: postgres.psql(sql, name), 60) == {}
        assert [s.popen.poll() for s in servers] == [None, None]
    finally:
        pooler.stop()
