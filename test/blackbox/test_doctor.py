"""haul doctor: every check, with a fault that is really there."""
import ctypes
import json
import os
import pathlib
import re
import shutil
import socket
import sqlite3
import subprocess
import tempfile
import uuid

import pytest
import yaml
from conftest import HAUL, Databases, namespaces_work, own_postgres, own_redis
from test_s3 import bucket, keys, multiparts, proxy, s3  # noqa: F401  pylint: disable=unused-import


@pytest.fixture
def postgres():
    return Databases.postgres()


@pytest.fixture
def look(haul, tmp_path):
    """The findings, by check, for a server section; and the exit status."""
    def run(*more, **server):
        config = tmp_path / "haul.yaml"
        config.write_text(yaml.safe_dump({"server": {"data": str(tmp_path / "data"), **server}}))
        done = haul("doctor", "--config", config, "--json", *more)
        assert done.returncode in (0, 1), done.stderr
        told = json.loads(done.stdout)
        assert told["ok"] == (done.returncode == 0) == all(c["status"] != "fail" for c in told["checks"])
        for check in told["checks"]:
            assert check["status"] == "ok" or check["remedy"], check
        return {check["check"]: check for check in told["checks"]}
    return run


def failed(found, check, *words):
    assert found[check]["status"] == "fail", found
    for word in words:
        assert word in found[check]["said"] + found[check]["remedy"], found[check]


def warned(found, check, *words):
    assert found[check]["status"] == "warn", found
    for word in words:
        assert word in found[check]["said"] + found[check]["remedy"], found[check]


def test_nothing_is_there_yet(look, tmp_path):
    found = look()
    assert {k: v["status"] for k, v in found.items() if k in ("configuration", "data folder", "database")} == {
        "configuration": "ok", "data folder": "ok", "database": "ok"}
    assert not (tmp_path / "data").exists()  # it only looked


def test_after_a_server_ran_and_while_it_runs(look, make_server, tmp_path):
    server = make_server({}, data=tmp_path / "data") if os.environ.get("HAUL_TEST_STORE") != "postgres" else pytest.skip("the embedded store's")
    running = look("--server", server.url)
    assert "a server uses the data folder" in running["in use"]["said"]
    assert running["server"]["status"] == "ok" and "database" not in running
    server.terminate()
    found = look("--server", server.url)
    assert "SQLite, schema" in found["database"]["said"] and "written, read and removed" in found["blobs"]["said"]
    failed(found, "server", "start it")
    before = sorted(p for p in (tmp_path / "data").rglob("*"))
    look()
    assert [p for p in sorted((tmp_path / "data").rglob("*")) if p not in before and not p.name.startswith("haul.db-")] == []

    # Faults of what it left.
    (tmp_path / "data").chmod(0o755)
    warned(look(), "data folder", "chmod 700")
    (tmp_path / "data").chmod(0o700)
    with sqlite3.connect(tmp_path / "data" / "haul.db") as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        db.execute("PRAGMA user_version = 9999")
    failed(look(), "database", "schema 9999", "newer")
    with sqlite3.connect(tmp_path / "data" / "haul.db") as db:
        db.execute(f"PRAGMA user_version = {version - 1}")
    assert f"schema {version - 1}, which the next start brings to {version}" in look()["database"]["said"]
    with sqlite3.connect(tmp_path / "data" / "haul.db") as db:
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("INSERT INTO meta VALUES ('move', '{}')")
    failed(look(), "move", "haul migrate")
    folder = tmp_path / "data" / "blobs"
    folder.rename(tmp_path / "kept")
    failed(look(), "blobs", "there is none", "mount or copy")
    (tmp_path / "data" / "haul.db").write_bytes(b"nothing of a database" * 1000)
    failed(look(), "database", "no database", "restore")


def test_another_databases_blobs(look, make_server, tmp_path):
    if os.environ.get("HAUL_TEST_STORE") == "postgres":
        pytest.skip("the embedded store's")
    make_server({}, data=tmp_path / "data").terminate()
    make_server({}, data=tmp_path / "other").terminate()
    shutil.rmtree(tmp_path / "data" / "blobs")
    (tmp_path / "other" / "blobs").rename(tmp_path / "data" / "blobs")
    failed(look(), "blobs", "but the database belongs to")


def test_a_configuration_with_a_mistake(haul, tmp_path):
    (tmp_path / "bad.yaml").write_text("server:\n  dataa: /x\n")
    done = haul("doctor", "--config", tmp_path / "bad.yaml")
    assert done.returncode == 1 and done.stdout.startswith("FAIL  configuration") and "dataa" in done.stdout
    assert "FAIL" in haul("doctor", "--config", tmp_path / "none.yaml").stdout


def test_a_store_of_another_kind(look):
    failed(look(store="mysql://somewhere/haul"), "store", "postgres://")


def test_a_data_folder_that_is_a_file(look, tmp_path):
    (tmp_path / "data").write_text("")
    failed(look(), "data folder", "is not a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_data_folder_that_may_not_be_written(look, tmp_path):
    (tmp_path / "data").mkdir(mode=0o500)
    failed(look(), "data folder", "cannot be written by this user", "chown")


def test_a_file_system_in_memory(look):
    memory = pathlib.Path("/dev/shm")
    if not os.access(memory, os.W_OK) or subprocess.run(["stat", "-fc", "%T", memory], capture_output=True, text=True).stdout.strip() != "tmpfs":
        pytest.skip("no tmpfs to write to")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        found = look(data=folder)
        warned(found, "file system", "tmpfs", "gone when the machine restarts")


def test_little_room(look, tmp_path):
    """A disk of 8 MiB, in a user's own mount namespace."""
    if not namespaces_work():
        pytest.skip("no namespaces here")
    (tmp_path / "data").mkdir()
    config = tmp_path / "haul.yaml"
    config.write_text(yaml.safe_dump({"server": {"data": str(tmp_path / "data")}}))
    done = subprocess.run(["unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=8m none "$1" && exec "$2" doctor --json --config "$3"', "sh",
                           tmp_path / "data", HAUL, config], capture_output=True, text=True)
    if not done.stdout:
        pytest.skip(f"no mount here: {done.stderr}")
    found = {c["check"]: c for c in json.loads(done.stdout)["checks"]}
    failed(found, "free space", "make room")


@pytest.mark.parametrize("limit, status", [(100, "fail"), (1000, "warn"), (5000, "ok")])
def test_open_files(environment, tmp_path, limit, status):
    done = subprocess.run(["sh", "-c", f'ulimit -n {limit}; exec "$1" doctor --json', "sh", HAUL], env=environment, capture_output=True, text=True)
    found = {c["check"]: c for c in json.loads(done.stdout)["checks"]}
    assert found["open files"]["status"] == status and str(limit) in found["open files"]["said"]


def test_time(look):
    """Against what the kernel says to another program."""
    buffer = (ctypes.c_long * 64)()
    state = ctypes.CDLL(None).adjtimex(buffer)
    unsynchronised = state == 5 or bool((buffer[5] & 0xFFFFFFFF) & 0x40)
    assert look()["time"]["status"] == ("warn" if unsynchronised else "ok")


def test_isolation(haul, environment, tmp_path):
    found = {c["check"]: c for c in json.loads(haul("doctor", "--json").stdout)["checks"]}
    assert found["isolation"]["status"] == ("ok" if namespaces_work() else "warn")
    blind = haul("doctor", "--json", env={"PATH": str(tmp_path), "TMPDIR": str(tmp_path / "nowhere")})
    found = {c["check"]: c for c in json.loads(blind.stdout)["checks"]}
    warned(found, "isolation", "probe")


def test_people_get_a_line_a_check(haul, tmp_path):
    (tmp_path / "haul.yaml").write_text(yaml.safe_dump({"server": {"data": str(tmp_path / "data")}}))
    done = haul("doctor", "--config", tmp_path / "haul.yaml")
    assert all(line.split()[0] in ("ok", "warn", "FAIL") for line in done.stdout.splitlines()) and len(done.stdout.splitlines()) >= 7


@pytest.mark.parametrize("arguments, said", [(["--config"], "needs a value"), (["--confg", "x"], "no such option"), (["x"], "one argument too many")])
def test_a_wrong_command_line(haul, arguments, said):
    done = haul("doctor", *arguments)
    assert done.returncode == 2 and said in done.stderr
    assert "Exit status 1" in haul("help", "doctor").stdout


# --- PostgreSQL ---

@pytest.fixture
def url(postgres, tmp_path):
    return Databases.url_of(tmp_path)


def test_a_new_database(look, url):
    found = look(store=url)
    for check in ("database", "version", "schema", "rights", "clock", "connections", "round trip"):
        assert check in found and found[check]["status"] in ("ok", "warn"), found
    assert "no tables yet" in found["schema"]["said"] and "may make its tables" in found["rights"]["said"]
    warned(found, "durability", "fsync", "power cut")  # as the tests run theirs


def test_a_database_that_was_used(look, url, make_server, postgres, tmp_path):
    make_server({"store": url}, data=tmp_path / "data").terminate()
    found = look(store=url)
    assert "of" in found["schema"]["said"] and found["rights"]["status"] == "ok" and found["blobs"]["status"] == "ok"
    assert found["history"]["status"] == "ok" and "days ahead" in found["history"]["said"]
    name = Databases.made[tmp_path]
    postgres.psql("DROP ROLE IF EXISTS writer; CREATE ROLE writer LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO writer", name)
    warned(look(store=postgres.url(name, user="writer")), "history", "coming days", "the role that made the tables")
    postgres.psql("INSERT INTO meta VALUES ('move', '{}')", name)
    failed(look(store=url), "move", "haul migrate")
    postgres.psql("DROP ROLE IF EXISTS looker; CREATE ROLE looker LOGIN; GRANT pg_read_all_data TO looker")
    failed(look(store=postgres.url(name, user="looker")), "rights", "may not write")
    postgres.psql("INSERT INTO haul_schema (version) VALUES (9999)", name)
    failed(look(store=url), "schema", "schema 9999", "newer")


def test_unreachable_wrong_and_foreign(look, postgres, url, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        failed(look(store=f"postgres://haul:secret@127.0.0.1:{taken.getsockname()[1]}/haul"), "database", "cannot reach", "is it running?")
    failed(look(store=postgres.url("nowhere")), "database", "no such database", "createdb")
    failed(look(store=postgres.url("postgres", user="nobody_here")), "database", "let haul in", "pg_hba.conf")
    failed(look(store="postgres://host:notaport/haul"), "database", "URL")
    postgres.psql("CREATE TABLE jobs (id int)", Databases.made[tmp_path])
    failed(look(store=url), "schema", "other tables lie there")


def test_rights_encoding_and_clock(look, postgres, url, tmp_path):
    name = Databases.made[tmp_path]
    postgres.psql("DROP ROLE IF EXISTS visitor; CREATE ROLE visitor LOGIN")
    failed(look(store=postgres.url(name, user="visitor")), "rights", "may not make its tables")
    ascii_name = f"ascii{uuid.uuid4().hex[:8]}"
    postgres.psql(f"CREATE DATABASE {ascii_name} ENCODING 'SQL_ASCII' TEMPLATE template0")
    failed(look(store=postgres.url(ascii_name)), "encoding", "SQL_ASCII", "createdb")
    # A clock that is an hour behind, for whoever looks by this search path.
    postgres.psql("CREATE SCHEMA wrong; CREATE FUNCTION wrong.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
                  " AS $$ SELECT pg_catalog.clock_timestamp() - interval '1 hour' $$", name)
    found = look(store=url + "&options=-csearch_path%3Dwrong,pg_catalog,public")
    warned(found, "clock", " s behind this machine's", "chrony")


def test_a_standby_and_few_connections(look, postgres):
    own = own_postgres.Postgres(own_postgres.bin_dir())
    try:
        own.options += ["-c", "max_connections=15"]
        own.stop()
        own.start()
        warned(look(store=own.url()), "connections", "max_connections")
        own.stop()
        (own.data / "standby.signal").touch()
        own.start()
        failed(look(store=own.url()), "database", "takes writes", "promote")
    finally:
        own.remove()


# --- Redis, S3 ---

@pytest.fixture
def redis():
    if not own_redis.program():
        pytest.skip("Redis is not installed")
    server = own_redis.Redis()
    server.client = pytest.importorskip("redis").Redis(unix_socket_path=str(server.socket))
    yield server
    server.remove()


def test_the_broker(look, redis):
    found = look(broker=redis.url)["broker"]
    assert found["status"] == "ok" and re.match(r"Redis \d+\.\d+\.\d+, a primary, maxmemory-policy noeviction$", found["said"])
    redis.client.config_set("maxmemory-policy", "allkeys-lru")
    warned(look(broker=redis.url), "broker", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction")
    redis.client.replicaof("127.0.0.1", "1")
    failed(look(broker=redis.url), "broker", "replica", "name its primary")
    redis.stop()
    failed(look(broker=redis.url), "broker", "is it running?")
    failed(look(broker="kafka://host"), "broker", "redis://")
    assert "broker" not in look()


NEEDS = "xadd xreadgroup xack xdel xautoclaim xgroup xinfo zadd zrangebyscore expire set multi exec info ping select client"


def test_the_rights_of_the_brokers_user(look, redis):  # noqa: ARG001  it is installed
    """As docs/redis.md says what is needed; what lacks is named, to be granted as it stands."""
    server = own_redis.Redis(port=True)
    try:
        def user(rules):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(server.socket))
                s.sendall(f"ACL SETUSER haul reset on >secret {rules}\r\n".encode())
                assert s.recv(200) == b"+OK\r\n"
            return look(broker=f"redis://haul:secret@{server.tcp}", broker_intake="submissions")

        all_of_it = " ".join(f"+{name}" for name in NEEDS.split())
        keys = "~haul:* ~submissions ~submissions:dead"
        found = user(f"{all_of_it} {keys}")
        assert (found["broker"]["status"], found["broker rights"]["status"]) == ("ok", "ok")
        for name in NEEDS.split():
            found = user(f"{all_of_it} {keys} -{name}")
            if name in ("info", "select", "client"):  # without these none is opened
                assert found["broker"]["status"] == "fail" or name == "select"
            else:
                failed(found, "broker rights", f"+{name.upper()} lacking", f"ACL SETUSER haul +{name.upper()}")
        for key in keys.split():
            failed(user(f"{all_of_it} {keys.replace(key, '~other', 1)}"), "broker rights", key, "ACL SETUSER haul")
        failed(user(f"{all_of_it} -xadd -zadd ~other"), "broker rights", "ACL SETUSER haul +XADD +ZADD ~haul:* ~submissions ~submissions:dead")
    finally:
        server.remove()


def test_a_database_a_broker_and_a_bucket_together(look, url, redis, s3, bucket, proxy):  # noqa: F811
    def at(endpoint):
        return look(store=url, broker=redis.url, blob=s3.url(bucket, "jobs", endpoint=endpoint))
    found = at(s3.endpoint)
    assert {check: found[check]["status"] for check in ("database", "broker", "broker rights", "blobs", "bucket rights", "bucket clock")} == {
        "database": "ok", "broker": "ok", "broker rights": "ok", "blobs": "ok", "bucket rights": "ok", "bucket clock": "ok"}
    assert keys(s3, bucket) == ["jobs/haul-blobs"] and multiparts(s3, bucket) == []
    for pattern, fault, check, words in [
            (r"^PUT /.*/blobs/", "403 AccessDenied", "blobs", "write a blob"),
            (r"^GET /.*/blobs/", "403 AccessDenied", "blobs", "read a blob"),
            (r"^DELETE /.*/blobs/", "403 AccessDenied", "blobs", "remove a blob"),
            (r"^GET /[^?]*\?list-type", "403 AccessDenied", "bucket rights", "s3:ListBucket"),
            (r"^GET /[^?]*\?prefix=jobs%2Fuploads%2F&uploads=", "403 AccessDenied", "bucket rights", "s3:ListBucketMultipartUploads"),
            (r"^POST /[^?]*\?uploads", "403 AccessDenied", "bucket rights", "begin a multipart upload"),
            (r"^DELETE /.*\?uploadId", "403 AccessDenied", "bucket rights", "s3:AbortMultipartUpload")]:
        proxy.fail(pattern, fault)
        failed(at(proxy.endpoint), check, words)
        assert proxy.met[fault] == 1, pattern
        proxy.met.clear()
    proxy.fail(r"max-keys=1", "skew")
    warned(at(proxy.endpoint), "bucket clock", " s ahead of this machine's", "15 minutes")
    failed(look(blob=s3.url("nobody-made-it")), "blobs", "has no bucket")


def test_standbys(look, postgres, url, make_server, tmp_path):  # pylint: disable=unused-argument
    primary, standby = own_postgres.Postgres(own_postgres.bin_dir()), None
    try:
        standby = own_postgres.Postgres(own_postgres.bin_dir(), standby_of=primary)
        def found(read):
            return look(store=primary.url(), store_read=read)
        state = found(standby.url())["standby"]
        assert state["status"] == "ok" and "has all that it has" in state["said"]
        failed(found(standby.url("template1")), "standby", "another database than the store's")
        failed(found(url), "standby", "another database than the store's")
        warned(found(primary.url()), "standby", "it is no standby")
        failed(found(f"postgres:///postgres?host={tmp_path}&user=haul&password=secret"), "standby", str(tmp_path), "is it running")
        failed(found("postgres:///postgres?host=a,b&port=1,2,3"), "standby", "2 hosts and 3 ports", "store_read")
        standby.psql("SELECT pg_wal_replay_pause()")
        primary.psql("CREATE TABLE more (n int); INSERT INTO more SELECT generate_series(1, 1000)")
        warned(found(standby.url()), "standby", "bytes behind", "paused", "pg_wal_replay_resume")
        standby.psql("SELECT pg_wal_replay_resume()")
        assert found(standby.url())["standby"]["status"] == "ok"
    finally:
        for server in filter(None, (standby, primary)):
            server.remove()
