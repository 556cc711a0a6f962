"""The PostgreSQL store through the server: what it refuses to start on, and what it says; what happens when the database goes away.
(That it is the same store as the embedded one is the contract's matter, and that of this suite with HAUL_TEST_STORE=postgres.)"""
import concurrent.futures
import os
import pathlib
import signal
import socket
import struct
import threading
import uuid

import pytest
import requests
from conftest import COMPLETE, Api, Databases, own_postgres, problem, until


@pytest.fixture
def postgres():
    return Databases.postgres()


@pytest.fixture
def url(tmp_path):
    """A database of the test's own."""
    return Databases.url_of(tmp_path)


@pytest.fixture
def own(tmp_path):
    """A PostgreSQL of the test's own, which it may stop."""
    Databases.postgres()  # skips where there is none
    server = own_postgres.Postgres(own_postgres.bin_dir())
    yield server
    server.remove()


@pytest.fixture
def refused(haul, tmp_path):
    """What a server says that does not start."""
    def start(store, status):
        done = haul("server", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "--store", store, timeout=30)
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        assert "secret" not in done.stderr
        return done.stderr
    return start


UNAVAILABLE, FORBIDDEN, NOT_FOUND, UNSUPPORTED, INVALID = 16, 15, 12, 22, 11


def test_unreachable(refused, tmp_path):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        said = refused(f"postgres://haul:secret@127.0.0.1:{taken.getsockname()[1]}/haul", UNAVAILABLE)
    assert "cannot reach the database" in said and "refused" in said


@pytest.mark.parametrize("store", ["mysql://haul:secret@localhost/haul", "haul.db", "postgres"])
def test_another_kind_of_store(refused, store):
    assert "must begin with postgres://" in refused(store, INVALID)


def test_url_that_is_none(refused):
    assert "the store's URL" in refused("postgres://host:notaport/haul?user=x&sslmode=often", INVALID)


def test_wrong_password(refused, own):
    own.psql("CREATE ROLE guarded LOGIN PASSWORD 'right'")
    (own.data / "pg_hba.conf").write_text("local all guarded scram-sha-256\nlocal all all trust\n")
    own.psql("SELECT pg_reload_conf()")
    until(lambda: "scram" in own.psql("SELECT auth_method FROM pg_hba_file_rules LIMIT 1"))
    said = refused(own.url(user="guarded") + "&password=secret", FORBIDDEN)
    assert "does not let haul in" in said and "password authentication failed" in said


def test_wrong_database(refused, postgres):
    assert "there is no such database" in refused(postgres.url("nowhere"), NOT_FOUND)


def test_missing_rights(refused, postgres, url, tmp_path):
    postgres.psql("DROP ROLE IF EXISTS guest; CREATE ROLE guest LOGIN")
    name = Databases.made[tmp_path]
    said = refused(postgres.url(name, user="guest"), FORBIDDEN)
    assert "permission denied for schema public" in said
    assert postgres.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "0"


def test_rights_to_read_only(refused, make_server, postgres, url, tmp_path):
    make_server({"store": url}).terminate()
    postgres.psql("DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN; GRANT pg_read_all_data TO reader")
    assert "permission denied for table servers" in refused(postgres.url(Databases.made[tmp_path], user="reader"), FORBIDDEN)


def test_another_encoding(refused, postgres):
    name = f"ascii{uuid.uuid4().hex[:8]}"
    postgres.psql(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    assert "encoding is SQL_ASCII, haul needs UTF8" in refused(postgres.url(name), UNSUPPORTED)


def test_schema_of_a_newer_haul(refused, make_server, postgres, url, tmp_path):
    first = make_server({"store": url})
    first.terminate()
    name = Databases.made[tmp_path]
    postgres.psql("INSERT INTO haul_schema (version) VALUES (9999)", name)
    assert "the database has schema 9999" in refused(url, UNSUPPORTED)
    postgres.psql("DELETE FROM haul_schema WHERE version = 9999", name)
    make_server({"store": url}, data=first.data)  # and it was left alone


def test_tables_of_somebody_else(refused, postgres, url, tmp_path):
    name = Databases.made[tmp_path]
    postgres.psql("CREATE TABLE jobs (id int)", name)
    assert 'relation "jobs" already exists' in refused(url, 10)
    assert postgres.psql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name) == "1"  # nothing was left behind


def test_standby_as_the_only_host(refused, own):
    own.stop()
    (own.data / "standby.signal").touch()
    own.start()
    assert "no host of the store takes writes" in refused(own.url(), UNAVAILABLE)


class Old(threading.Thread):
    """Says what a PostgreSQL 12 says to whoever connects."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / ".s.PGSQL.5432"))
        self.listener.listen()

    @staticmethod
    def message(kind, body):
        return kind + struct.pack("!i", len(body) + 4) + body

    def run(self):
        while True:
            client, _ = self.listener.accept()
            with client:
                client.recv(4096)
                said = {"server_version": "12.22", "server_encoding": "UTF8", "client_encoding": "UTF8", "in_hot_standby": "off",
                        "default_transaction_read_only": "off"}
                client.sendall(self.message(b"R", struct.pack("!i", 0)) +
                               b"".join(self.message(b"S", f"{k}\0{v}\0".encode()) for k, v in said.items()) + self.message(b"Z", b"I"))
                client.recv(4096)


def test_too_old(refused, own):
    folder = own.dir / "old"  # short enough for a socket's name
    folder.mkdir()
    Old(folder).start()
    assert "the database is PostgreSQL 12, haul needs 13 or newer" in refused(f"postgres:///haul?host={folder}&user=haul", UNSUPPORTED)


# --- the database goes away ---

def test_P25_database_restarts_in_mid_job(make_server, own):
    server = make_server({"store": own.url()})
    api = Api(server.url)
    job = api.submit("encode")
    claim, = api.lease("encode")
    own.stop(signal.SIGQUIT)
    problem(api.post("/v1/jobs", {"task_type": "encode"}), 503, "unavailable")
    problem(api.get(f"/v1/jobs/{job['job_id']}"), 503, "unavailable")
    own.start()
    until(lambda: api.act(claim, "heartbeat", {}).status_code == 200)
    assert api.act(claim, "complete", COMPLETE).status_code == 200
    done = api.job(job["job_id"])
    assert (done["status"], done["attempt"]) == ("success", 1)
    assert server.popen.poll() is None


def test_connections_cut_under_load_lose_and_double_nothing(make_server, postgres, url, tmp_path):
    server = make_server({"store": url})
    name = Databases.made[tmp_path]
    stop = threading.Event()

    def cut():
        for _ in range(12):
            if stop.wait(0.2):
                return
            postgres.psql(f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'"
                          " AND application_name = 'haul'")

    def submit(n):
        """Until it is acknowledged."""
        api = Api(server.url)
        return until(lambda: (answer := api.post("/v1/jobs", {"task_type": "encode"}, headers={"Idempotency-Key": f"k{n}"}))
                     .status_code in (200, 201) and answer.json()["job_id"])

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(submit, range(60)))
    finally:
        stop.set()
        cutter.join()
    assert len(set(ids)) == 60
    assert postgres.psql("SELECT count(*) FROM jobs", name) == "60"
    assert server.popen.poll() is None
    api = Api(server.url)
    until(lambda: api.post("/v1/jobs", {"task_type": "last"}).status_code == 201)
    assert postgres.psql("SELECT sum(n) FROM counters", name) == "61"
    assert len(api.lease("encode", slots=60)) == 60


# --- values ---

def test_short_leases_lapse(make_server, url):
    """A lease as short as is allowed: looks at it that are a second apart must not count as an outage, in which none lapses."""
    server = make_server({"store": url, "lease": "1s", "heartbeat": "250ms", "confirm": "1s"})
    api = Api(server.url)
    job_id = api.submit("played")["job_id"]
    (claim,) = api.lease("played")
    api.act(claim, "heartbeat", {})
    assert api.wait(job_id, lambda j: j["status"] == "pending")["losses"] == 1
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).json()["status"] == "success"


def test_zero_characters_stay_outside(make_server, url):
    api = Api(make_server({"store": url}).url)
    for body in ({"task_type": "a\0b"}, {"task_type": "encode", "labels": {"k": "a\0b"}}, {"task_type": "encode", "dedup_key": "a\0"}):
        assert api.post("/v1/jobs", body).status_code in (400, 422)
    job = api.post("/v1/jobs", data='{"task_type": "encode", "payload": {"s": "a\\u0001b", "n": 1e400}}',
                   headers={"Content-Type": "application/json"})
    assert job.status_code in (201, 400, 422)
    problem(api.get("/v1/jobs", params={"queue": b"\xff"}), 400)


def test_backup_is_left_to_the_database(make_server, url):
    problem(requests.get(make_server({"store": url}).url + "/v1/backup", timeout=30), 501, "unsupported")
