"""The Redis broker through the server, with a real Redis and python3-redis as the other client: what it refuses to start on, what it says
and does while Redis is away, what is left in Redis, and the intake stream."""
import importlib
import json
import signal
import subprocess
import threading
import time
import uuid

import pytest
from conftest import COMPLETE, TOP, Api, Databases, own_postgres, own_redis, until

redis = pytest.importorskip("redis")

pytestmark = pytest.mark.skipif(not own_redis.program(), reason="Redis is not installed")
UNAVAILABLE, FORBIDDEN, NOT_FOUND, UNSUPPORTED, INVALID = 16, 15, 12, 22, 11


@pytest.fixture
def make_redis():
    made = []

    def make(*options, **kwargs):
        made.append(own_redis.Redis(*options, **kwargs))
        return made[-1]
    yield make
    for server in made:
        server.remove()


@pytest.fixture
def own(make_redis):
    return make_redis()


def client(server, **kwargs):
    return redis.Redis(unix_socket_path=str(server.socket), decode_responses=True, **kwargs)


def broker(server, **extra):
    return {"broker": f"{server.url}?reclaim=1s", **extra}


def streams(r):
    return sorted(r.scan_iter("haul:*:jobs:*"))


def left(r):
    """What stands in streams and pending lists."""
    entries = sum(r.xlen(s) for s in streams(r))
    return entries + sum(g["pending"] for s in streams(r) for g in r.xinfo_groups(s))


def health(api):
    return api.get("/readyz").json()["broker"]


def metric(api, name, **labels):
    want = name + ("{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}" if labels else "")
    for line in api.get("/metrics").text.splitlines():
        if line.startswith(want + " "):
            return float(line.rpartition(" ")[2])
    raise AssertionError(want)


def run_jobs(api, task_type, n, slots=8):
    """A worker that the test plays: claims and completes until it has done n."""
    done = []
    while len(done) < n:
        for claim in api.lease(task_type, slots=slots, wait="20s"):
            assert api.act(claim, "complete", COMPLETE).status_code == 200
            done.append(claim["job_id"])
    return done


# --- refused at the start ---

@pytest.fixture
def refused(haul, tmp_path):
    def start(url, status, *more):
        done = haul("server", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "--broker", url, *more, timeout=30)
        assert done.returncode == status, done.stderr
        assert done.stdout == ""
        assert "secret" not in done.stderr
        return done.stderr
    return start


@pytest.mark.parametrize("url, says", [
    ("amqp://user:secret@localhost", "must begin with redis://"),
    ("redis", "must begin with redis://"),
    ("redis://", "a host is missing"),
    ("redis://:secret@", "a host is missing"),
    ("redis://user@localhost", "a user needs a password"),
    ("redis://:secr%zzet@localhost", "a % that is no %XX"),
    ("redis://localhost:no", "the port must be"),
    ("redis://localhost:70000", "the port must be"),
    ("redis://localhost/one", "the database must be"),
    ("redis://localhost?secret=1", "the options are"),
    ("redis://localhost?ca=/x", "ca is for rediss://"),
    ("redis://localhost?reclaim=never", "reclaim"),
    ("redis://[::1", "a ] is missing"),
    ("redis+unix://relative", "absolute path"),
])
def test_url_that_is_none(refused, url, says):
    said = refused(url, INVALID)
    assert "broker" in said and says in said


def test_intake_needs_a_broker(haul, tmp_path):
    done = haul("server", "--data", tmp_path / "data", "--broker-intake", "in")
    assert done.returncode == INVALID and "needs a broker" in done.stderr


def test_intake_may_not_be_among_the_own_streams(refused, own):
    assert "must not begin with haul:" in refused(own.url, INVALID, "--broker-intake", "haul:x")


def test_wrong_password(refused, make_redis):
    server = make_redis("--requirepass", "right")
    assert "wants a password" in refused(server.url, FORBIDDEN)
    with_port = make_redis("--requirepass", "right", port=True)
    assert "does not let haul in" in refused(f"redis://:secret@{with_port.tcp}/0", FORBIDDEN)


def test_password_that_nobody_asked_for(refused, make_redis):
    server = make_redis(port=True)
    assert "does not let haul in" in refused(f"redis://:secret@{server.tcp}", FORBIDDEN)


def test_user_password_and_database_are_used(make_server, make_redis):
    server = make_redis("--user", "hauler", "on", ">p@ss/word%", "~*", "&*", "+@all", port=True)
    api = Api(make_server({"broker": f"redis://hauler:p%40ss%2Fword%25@{server.tcp}/3"}).url)
    api.submit("encode")
    assert run_jobs(api, "encode", 1)
    assert health(api) == {"driver": "redis", "status": "ok"}
    assert until(lambda: streams(client(server, db=3)))
    assert not streams(client(server, db=0))


def test_user_without_rights(refused, make_redis):
    server = make_redis("--user", "hauler", "on", ">secret", "~*", "-@all", "+ping", port=True)
    assert "does not allow what haul needs" in refused(f"redis://hauler:secret@{server.tcp}", FORBIDDEN)


def test_database_that_is_not_there(refused, own):
    assert "no such database" in refused(own.url + "?db=99", NOT_FOUND)


def test_replica(refused, make_redis):
    primary = make_redis(port=True)
    replica = make_redis("--replicaof", "127.0.0.1", str(primary.port))
    assert "is a replica" in refused(replica.url, UNSUPPORTED)


def test_cluster(refused, make_redis):
    server = make_redis("--cluster-enabled", "yes", port=True)
    assert "is a cluster" in refused(server.url, UNSUPPORTED)


class Pretender:
    """Something on a port that is no Redis of today."""

    def __init__(self, answer):
        import socketserver

        class Handler(socketserver.BaseRequestHandler):
            def handle(self):
                while True:
                    data = self.request.recv(4096)
                    if not data:
                        return
                    said = answer(data)
                    if said is None:
                        return
                    self.request.sendall(said)
        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def tcp(self):
        return f"127.0.0.1:{self.server.server_address[1]}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def bulk(text):
    return f"${len(text)}\r\n{text}\r\n".encode()


@pytest.mark.parametrize("answer, says", [
    (lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n", "not a Redis"),
    (lambda data: bulk("redis_version:6.0.16\r\nrole:master\r\n") if b"INFO" in data else b":1\r\n" if b"\r\nID" in data else b"+OK\r\n",
     "Redis 6.0.16 is too old, haul needs 7.0 or newer"),
    (lambda data: bulk("hello") if b"INFO" in data else b":1\r\n" if b"\r\nID" in data else b"+OK\r\n", "does not tell its version"),
])
def test_something_else_answers(refused, answer, says):
    server = Pretender(answer)
    try:
        assert says in refused(f"redis://{server.tcp}", UNSUPPORTED)
    finally:
        server.close()


def test_something_without_tls_answers(refused):
    server = Pretender(lambda data: b"-ERR what?\r\n")
    try:
        assert "does not speak TLS" in refused(f"rediss://{server.tcp}", UNSUPPORTED)
    finally:
        server.close()


def test_tls(make_server, refused, make_redis, tmp_path):
    for name, subject, more in (("ca", "/CN=test", []), ("server", "/CN=127.0.0.1", ["-addext", "subjectAltName=IP:127.0.0.1"])):
        sign = [] if name == "ca" else ["-CA", tmp_path / "ca.crt", "-CAkey", tmp_path / "ca.key"]
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", subject, "-keyout",
                        tmp_path / f"{name}.key", "-out", tmp_path / f"{name}.crt", *more, *sign], check=True, capture_output=True)
    server = make_redis(port=True)
    port = own_redis.free_port()
    r = client(server)
    r.config_set("tls-cert-file", str(tmp_path / "server.crt"))
    r.config_set("tls-key-file", str(tmp_path / "server.key"))
    r.config_set("tls-ca-cert-file", str(tmp_path / "ca.crt"))
    r.config_set("tls-auth-clients", "no")
    r.config_set("tls-port", str(port))
    assert "not trusted" in refused(f"rediss://127.0.0.1:{port}", FORBIDDEN)
    assert "cannot read the certificates" in refused(f"rediss://127.0.0.1:{port}?ca=/nowhere", INVALID)
    api = Api(make_server({"broker": f"rediss://127.0.0.1:{port}?ca={tmp_path / 'ca.crt'}", "broker_intake": "in"}).url)
    r.xadd("in", {"task_type": "encode"})
    assert run_jobs(api, "encode", 1)
    assert health(api)["status"] == "ok"


# --- what is announced, and what is left ---

def test_message_has_the_format_of_the_brief_and_streams_are_by_queue_and_class(make_server, own):
    r = client(own)
    api = Api(make_server(broker(own)).url)
    blob = api.put_blob(b"x")["ref"]
    ids = [api.submit("encode", payload_ref=blob)["job_id"], api.submit("encode", queue="night", priority=9)["job_id"],
           api.submit("encode", priority=0)["job_id"]]
    until(lambda: len(streams(r)) == 3)
    by_name = {s.split(":", 3)[3]: r.xrange(s) for s in streams(r)}
    assert set(by_name) == {"normal:encode/encode", "high:night/encode", "low:encode/encode"}
    said = [entries[0][1] for entries in (by_name["normal:encode/encode"], by_name["high:night/encode"], by_name["low:encode/encode"])]
    assert [s["job_id"] for s in said] == ids
    assert said[0] == {"job_id": ids[0], "task_type": "encode", "payload_ref": blob, "retries": "0", "priority": "5"}
    assert all(r.ttl(s) > 3600 for s in streams(r))  # a queue that is used no more leaves nothing behind
    # No worker waits: nothing is read, so that another server could.
    assert all(not r.xinfo_groups(s) or r.xinfo_groups(s)[0]["pending"] == 0 for s in streams(r))
    assert sorted(run_jobs(api, "encode", 3)) == sorted(ids)
    waiting = threading.Thread(target=api.lease, args=("encode",), kwargs={"wait": "10s"})
    waiting.start()
    until(lambda: left(r) == 0)
    api.submit("encode")
    waiting.join()
    assert metric(api, "haul_broker_jobs_total", result="announced") >= 3


def test_messages_that_nobody_knows_are_dropped(make_server, own):
    r = client(own)
    api = Api(make_server(broker(own)).url)
    api.submit("encode")
    stream = until(lambda: streams(r))[0]
    run_jobs(api, "encode", 1)
    for i in range(100):  # of a job that is over, of one that never was, of another lane, of no format
        r.xadd(stream, {"job_id": str(uuid.uuid4()), "task_type": "encode", "payload_ref": "", "retries": "0", "priority": "5"})
        r.xadd(stream, {"job_id": str(uuid.uuid4()), "task_type": "encode", "payload_ref": "", "retries": "0", "priority": "4"})
        r.xadd(stream, {"job_id": "1", "priority": "high"})
        r.xadd(stream, {"some": "thing"})
    waiting = threading.Thread(target=api.lease, args=("encode",), kwargs={"wait": "20s"})
    waiting.start()
    until(lambda: left(r) == 0)
    assert metric(api, "haul_broker_messages_total", result="dropped") >= 390
    api.submit("encode")
    waiting.join()


def test_messages_of_a_dead_server_are_taken_over(make_server, own):
    r = client(own)
    api = Api(make_server(broker(own)).url)
    api.submit("encode")
    stream = until(lambda: streams(r))[0]
    group = stream.split(":jobs:")[0]
    r.xgroup_create(stream, group, id="0", mkstream=True)
    assert r.xreadgroup(group, "server-dead", {stream: ">"})
    run_jobs(api, "encode", 1)
    waiting = threading.Thread(target=api.lease, args=("encode",), kwargs={"wait": "20s"})
    waiting.start()
    until(lambda: left(r) == 0)
    api.submit("encode")
    waiting.join()


# --- Redis goes away ---

def test_redis_is_not_there_at_the_start(make_server, own):
    own.stop()
    server = make_server(broker(own))
    api = Api(server.url)
    assert health(api)["status"] == "lost" and "cannot reach Redis" in health(api)["detail"]
    assert "servers claim from the store directly" in server.said
    assert metric(api, "haul_broker_up") == 0
    api.submit("encode")
    assert len(run_jobs(api, "encode", 1)) == 1
    own.start()
    until(lambda: health(api)["status"] == "ok")
    assert metric(api, "haul_broker_up") == 1


def test_P22_redis_is_stopped_comes_back_empty_and_is_flushed_in_mid_run(make_server, own):
    server = make_server(broker(own))
    api = Api(server.url)
    done = []
    worker = threading.Thread(target=lambda: done.extend(run_jobs(Api(server.url), "encode", 300, slots=4)))
    worker.start()
    ids = []
    for i in range(300):
        ids.append(api.submit("encode")["job_id"])
        if i == 60:
            client(own).flushall()
        if i == 120:
            own.stop()
        if i == 180:
            own.start()
        if i == 240:
            client(own).flushall()
    worker.join(60)
    assert sorted(done) == sorted(ids)
    until(lambda: health(api)["status"] == "ok")
    waiting = threading.Thread(target=api.lease, args=("encode",), kwargs={"wait": "20s"})
    waiting.start()
    until(lambda: left(client(own)) == 0)
    api.submit("encode")
    waiting.join()


def test_redis_hangs(make_server, own):
    api = Api(make_server(broker(own)).url)
    assert health(api)["status"] == "ok"
    own.process.send_signal(signal.SIGSTOP)
    ids = [api.submit("encode")["job_id"] for _ in range(20)]
    assert sorted(run_jobs(api, "encode", 20)) == sorted(ids)
    until(lambda: health(api)["status"] == "lost")
    assert metric(api, "haul_broker_lost_total") >= 1
    own.process.send_signal(signal.SIGCONT)
    until(lambda: health(api)["status"] == "ok")


def test_redis_is_full(make_server, own):
    r = client(own)
    api = Api(make_server(broker(own)).url)
    api.submit("encode")
    until(lambda: streams(r))
    r.config_set("maxmemory", "1")
    ids = [api.submit("encode")["job_id"] for _ in range(5)]
    until(lambda: health(api)["status"] == "lost")
    assert "memory is full" in health(api)["detail"]
    assert metric(api, "haul_broker_jobs_total", result="unannounced") >= 1
    assert set(ids) <= set(run_jobs(api, "encode", 6))
    r.config_set("maxmemory", "0")
    until(lambda: health(api)["status"] == "ok")


def test_redis_that_evicts_is_warned_of(make_server, make_redis):
    server = make_server(broker(make_redis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")))
    assert "maxmemory-policy is allkeys-lru" in health(Api(server.url))["warning"]
    assert "maxmemory-policy is allkeys-lru" in server.said


@pytest.fixture
def redis_kills(monkeypatch):
    """Some thousand jobs here; as a program for a million."""
    monkeypatch.syspath_prepend(str(TOP / "test" / "chaos"))
    return importlib.import_module("redis_kills")


def test_P23_kills_of_server_and_redis_leave_nothing_behind(make_server, own, redis_kills):
    result = redis_kills.run(redis_kills.Place([make_server(broker(own))], own), jobs=2000, kills=4, seed=7)
    assert result["wrong"] == {}, result


def test_P23_kills_of_two_servers_over_one_postgresql_leave_nothing_behind(make_server, own, redis_kills, tmp_path):
    postgres, url = Databases.postgres(), Databases.url_of(tmp_path)
    servers = [make_server(broker(own, store=url), data=tmp_path / "shared") for _ in range(2)]
    result = redis_kills.run(redis_kills.Place(servers, own, postgres, Databases.made[tmp_path]), jobs=1000, kills=5, seed=7)
    assert result["wrong"] == {}, result
    assert len(result["disturbances"]) > 2, result


# --- intake ---

def intake(make_server, own, **more):
    return make_server(broker(own, broker_intake="in", **more))


def dead(r):
    return [fields for _, fields in r.xrange("in:dead")]


def empty(r):
    return until(lambda: r.xlen("in") == 0 and all(g["pending"] == 0 for g in r.xinfo_groups("in")) or None)


def jobs(api, **params):
    return api.get("/v1/jobs", params=params).json()["jobs"]


def test_submissions_are_admitted_in_the_format_of_the_brief(make_server, own):
    r = client(own)
    r.xadd("in", {"job_id": str(uuid.uuid4()), "task_type": "early", "payload_ref": "", "retries": "0"})  # before the group was there
    api = Api(intake(make_server, own).url)
    blob = api.put_blob(b"x")["ref"]
    key = str(uuid.uuid4())
    r.xadd("in", {"job_id": key.upper(), "task_type": "transcode_v1", "payload_ref": blob, "retries": "3"})
    r.xadd("in", {"task_type": "batch_report_v2", "queue": "night", "payload": '{"rows": [1, 2]}', "labels": '{"team": "a"}', "priority": "9",
                  "max_attempts": "2", "timeout": "1h", "dedup_key": "report-1"})
    r.xadd("in", {"json": json.dumps({"task_type": "whole", "payload": {"deep": [None]}, "retries": 0})})
    empty(r)
    by_type = {j["task_type"]: api.job(j["job_id"]) for j in jobs(api)}
    assert set(by_type) == {"early", "transcode_v1", "batch_report_v2", "whole"}
    one = by_type["transcode_v1"]
    assert (one["payload_ref"], one["retries"], one["dedup_key"], one["status"]) == (blob, 0, key, "pending")
    two = by_type["batch_report_v2"]
    assert (two["queue"], two["payload"], two["labels"], two["priority"], two["max_attempts"], two["dedup_key"]) == (
        "night", {"rows": [1, 2]}, {"team": "a"}, 9, 2, "report-1")
    assert by_type["whole"]["payload"] == {"deep": [None]}
    assert dead(r) == []
    again = api.post("/v1/jobs", {"task_type": "transcode_v1", "payload_ref": blob, "dedup_key": key})
    assert (again.status_code, again.json()["job_id"]) == (200, one["job_id"])  # keys are the same as over HTTP


def test_one_message_a_thousand_times_is_one_job(make_server, own):
    r = client(own)
    api = Api(intake(make_server, own).url)
    key = str(uuid.uuid4())
    for _ in range(1000):
        r.xadd("in", {"job_id": key, "task_type": "encode", "payload_ref": "", "retries": "0"})
    empty(r)
    assert len(jobs(api)) == 1 and dead(r) == []
    until(lambda: metric(api, "haul_broker_submissions_total", result="admitted") == 1000)


@pytest.mark.parametrize("fields, reason", [
    ({"job_id": str(uuid.uuid4()), "payload_ref": "", "retries": "0"}, "task_type: "),
    ({"job_id": "17", "task_type": "encode"}, "job_id: must be a UUID"),
    ({"task_type": "no such type!"}, "task_type: must be a name"),
    ({"task_type": "encode", "payload": "{not json"}, "payload: is not JSON"),
    ({"task_type": "encode", "retries": "many"}, "retries: is not JSON"),
    ({"task_type": "encode", "retries": "-1"}, "retries: "),
    ({"task_type": "encode", "priority": "12"}, "priority: "),
    ({"task_type": "encode", "payload_ref": "s3://bucket/key"}, "payload_ref: only blob:"),
    ({"task_type": "encode", "payload_ref": f"blob:{uuid.uuid4()}"}, "payload_ref"),
    ({"task_type": "encode", "colour": "red"}, "colour"),
    ({"task_type": "encode", "priority": '1,"queue":"q"'}, "priority: is not JSON"),
    ({"json": "no JSON at all"}, "JSON"),
    ({"json": "[1, 2]"}, ""),
    ({"json": ""}, "JSON"),
    ({"task_type": b"\xff\xfe"}, "task_type: is not UTF-8"),
    ({"task_type": "encode", "payload": '"' + "x" * 600_000 + '"'}, "payload"),
    ({"task_type": "encode", "payload": '"' + "x" * 1_500_000 + '"'}, "more than"),
])
def test_bad_messages_go_to_the_dead_stream_with_the_reason(make_server, own, fields, reason):
    r = redis.Redis(unix_socket_path=str(own.socket))
    api = Api(intake(make_server, own).url)
    entry = r.xadd("in", fields)
    until(lambda: r.xlen("in:dead") == 1)
    (_, said), = r.xrange("in:dead")
    assert reason.encode() in said[b"reason"], said[b"reason"]
    assert said[b"message_id"] == entry
    if "more than" not in reason:  # what it said is kept
        assert {k.encode(): v if isinstance(v, bytes) else v.encode() for k, v in fields.items()}.items() <= said.items()
    until(lambda: r.xlen("in") == 0)
    assert jobs(api) == []
    assert metric(api, "haul_broker_submissions_total", result="refused") == 1


def test_a_key_of_another_request_goes_to_the_dead_stream(make_server, own):
    r = client(own)
    api = Api(intake(make_server, own).url)
    key = str(uuid.uuid4())
    r.xadd("in", {"job_id": key, "task_type": "encode"})
    r.xadd("in", {"job_id": key, "task_type": "other"})
    empty(r)
    assert [j["task_type"] for j in jobs(api)] == ["encode"]
    assert "the key belongs to another request" in dead(r)[0]["reason"]


def test_what_is_older_than_the_memory_of_keys_is_not_admitted(make_server, own):
    r = client(own)
    old = int(time.time() * 1000) - 3 * 3600_000
    r.xadd("in", {"job_id": str(uuid.uuid4()), "task_type": "encode"}, id=f"{old}-0")
    r.xadd("in", {"job_id": str(uuid.uuid4()), "task_type": "encode"}, id=f"{old + 2 * 3600_000}-0")
    api = Api(intake(make_server, own, dedup_window="2h").url)
    empty(r)
    assert len(jobs(api)) == 1
    assert "older than keys are remembered (dedup_window, 2h)" in dead(r)[0]["reason"]


def test_messages_read_by_a_server_that_died_are_admitted(make_server, own):
    r = client(own)
    api = Api(intake(make_server, own).url)
    r.xadd("in", {"task_type": "first"})
    empty(r)
    group = r.xinfo_groups("in")[0]["name"]
    own.process.send_signal(signal.SIGSTOP)  # the server's own read comes behind ours
    own.process.send_signal(signal.SIGCONT)
    with r.pipeline(transaction=True) as p:
        p.xadd("in", {"task_type": "second"})
        p.xreadgroup(group, "server-dead", {"in": ">"})
        p.execute()
    until(lambda: len(jobs(api)) == 2)
    empty(r)


def test_a_server_that_dies_admits_each_once(make_server, own):
    r = client(own)
    server = intake(make_server, own)
    for i in range(600):
        r.xadd("in", {"job_id": str(uuid.uuid4()), "task_type": "encode", "payload": str(i)})
        if i % 200 == 150:
            server.kill()
            server.restart()
    empty(r)
    api = Api(server.url)
    found = jobs(api, limit=1000)
    assert len(found) == 600 and dead(r) == []


def test_intake_key_that_is_no_stream(make_server, own):
    r = client(own)
    r.set("in", "text")
    api = Api(intake(make_server, own).url)
    until(lambda: health(api)["status"] == "lost")
    assert "no stream" in health(api)["detail"]
    r.delete("in")
    r.xadd("in", {"task_type": "encode"})
    until(lambda: jobs(api))
    until(lambda: health(api)["status"] == "ok")


def test_messages_wait_while_the_store_is_away(make_server, own):
    Databases.postgres()
    r = client(own)
    database = own_postgres.Postgres(own_postgres.bin_dir())
    try:
        api = Api(intake(make_server, own, store=database.url()).url)
        r.xadd("in", {"task_type": "first"})
        empty(r)
        database.stop()
        for i in range(50):
            r.xadd("in", {"job_id": str(uuid.uuid4()), "task_type": "encode"})
        until(lambda: r.xinfo_groups("in")[0]["pending"] > 0)  # they were read, and the store does not answer
        assert r.xlen("in") == 50 and dead(r) == []
        database.start()
        empty(r)
        assert len(jobs(api, limit=1000)) == 51 and dead(r) == []
    finally:
        database.remove()


def test_intake_outlives_flushall(make_server, own):
    r = client(own)
    api = Api(intake(make_server, own).url)
    r.xadd("in", {"task_type": "first"})
    empty(r)
    r.flushall()
    r.xadd("in", {"task_type": "second"})
    until(lambda: len(jobs(api)) == 2)
