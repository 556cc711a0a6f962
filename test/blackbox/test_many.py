"""Several servers over one PostgreSQL: each serves every request, and any of them may be killed at any time."""
import concurrent.futures
import itertools
import json
import os
import signal
import statistics
import threading
import time

import pytest
import requests
from conftest import COMPLETE, Api, Databases, own_postgres, until
from test_events import Stream


@pytest.fixture
def url(tmp_path):
    """A database of the test's own."""
    return Databases.url_of(tmp_path)


@pytest.fixture
def sql(tmp_path, url):
    return lambda text: Databases.postgres().psql(text, Databases.made[tmp_path])


@pytest.fixture
def make_servers(make_server, url, tmp_path):
    """n servers over one database and one blob folder."""
    def make(n, **config):
        return [make_server({"store": url, **config}, data=tmp_path / "shared") for _ in range(n)]
    return make


def apis(servers):
    return [Api(s.url) for s in servers]


# --- together ---

def test_job_of_one_server_starts_at_another(make_servers):
    a, b = apis(make_servers(2))
    job = a.submit("encode", payload={"n": 1})
    claim, = b.lease("encode")
    assert claim["job_id"] == job["job_id"]
    assert a.job(job["job_id"])["status"] == "running"
    assert b.act(claim, "complete", COMPLETE).status_code == 200
    assert a.wait_status(job["job_id"], "success")["status"] == "success"


def test_waiting_worker_of_another_server_is_woken(make_servers):
    a, b = apis(make_servers(2))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for _ in range(3):  # a lane that is new to the other server, and one it knows
            lease = pool.submit(b.lease, "encode", wait="30s")
            until(lambda: 'haul_held_polls 1' in b.get("/metrics").text or lease.done())
            job = a.submit("encode")
            assert lease.result(20)[0]["job_id"] == job["job_id"]


def metric(api, name):
    return sum(float(line.rpartition(" ")[2]) for line in api.get("/metrics").text.splitlines() if line.startswith(name))


RECEIVED = 'haul_broker_messages_total{result="received"}'


def hinted(a, b):
    """A job of one server, claimed at another that waits. It may have looked by itself before it heard; that it heard is counted."""
    before = metric(b, RECEIVED)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        lease = pool.submit(b.lease, "encode", wait="30s")
        until(lambda: "haul_held_polls 1" in b.get("/metrics").text)
        job = a.submit("encode")
        claim, = lease.result(30)
    assert claim["job_id"] == job["job_id"]
    assert b.act(claim, "complete", COMPLETE).status_code == 200
    return metric(b, RECEIVED) > before


@pytest.mark.skipif("HAUL_TEST_POOLER" in os.environ, reason="LISTEN does not pass a pooler")
def test_servers_tell_one_another_of_jobs(make_servers, sql):
    servers = make_servers(2)
    a, b = apis(servers)
    assert b.get("/readyz").json()["broker"] == {"driver": "notify", "status": "ok"}
    until(lambda: hinted(a, b))  # the first ones are submitted before it is known that somebody waits
    sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'haul hints' AND datname = current_database()")
    until(lambda: metric(a, "haul_broker_lost_total") >= 1 and metric(b, "haul_broker_lost_total") >= 1)
    until(lambda: a.get("/healthz").json()["broker"]["status"] == b.get("/healthz").json()["broker"]["status"] == "ok")
    until(lambda: hinted(a, b))
    assert metric(a, RECEIVED) == 0  # its own are no news


def test_behind_a_pooler_servers_look_by_themselves(make_server, tmp_path, url):
    if not own_postgres.pgbouncer():
        pytest.skip("PgBouncer is not installed")
    pooler = own_postgres.Pooler(Databases.postgres())
    try:
        a, b = apis([make_server({"store": pooler.url(Databases.made[tmp_path])}, data=tmp_path / "shared") for _ in range(2)])
        broker = a.get("/healthz").json()["broker"]
        assert (broker["driver"], broker["status"]) == ("notify", "lost")
        assert "a pooler is between" in broker["detail"]
        assert not hinted(a, b)  # it was claimed all the same
        assert (metric(a, "haul_broker_up"), metric(a, "haul_broker_lost_total")) == (0, 0)
    finally:
        pooler.stop()


def test_single_server_tells_nobody(make_servers):
    a, = apis(make_servers(1))
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        lease = pool.submit(a.lease, "encode", wait="30s")
        a.submit("encode")
        assert len(lease.result(30)) == 1
    a.submit("encode")
    assert metric(a, "haul_broker_jobs_total") == 0
    assert metric(a, "haul_broker_up") == 1


def test_long_poll_of_a_job_hears_of_another_servers_change(make_servers):
    a, b = apis(make_servers(2))
    job = a.submit("encode")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        news = pool.submit(a.get, f"/v1/jobs/{job['job_id']}", params={"wait": "30s", "version": job["version"]})
        claim, = b.lease("encode")
        assert news.result(20).json()["status"] == "running"
        assert b.act(claim, "complete", COMPLETE).status_code == 200


def test_cancel_at_one_server_reaches_the_worker_at_another(make_servers):
    a, b = apis(make_servers(2))
    job = a.submit("encode")
    claim, = b.lease("encode")
    assert a.post(f"/v1/jobs/{job['job_id']}/cancel", {}).status_code in (200, 202)
    answer = b.act(claim, "heartbeat", {})
    assert answer.json()["cancel"] is True


def test_live_log_is_followed_at_another_server(make_servers):
    a, b = apis(make_servers(2))
    job = a.submit("encode")
    claim, = b.lease("encode")
    with requests.get(f"{a.url}/v1/jobs/{job['job_id']}/log", params={"follow": 1}, stream=True, timeout=60) as log:
        lines = log.iter_lines()
        for n in range(3):
            line = f"line {n}\n".encode()
            answer = b.act(claim, f"log?offset={n * len(line)}", data=line, headers={"Content-Type": "application/octet-stream"})
            assert answer.status_code == 200, answer.text
            assert next(lines) == line.strip()
        assert b.act(claim, "complete", COMPLETE).status_code == 200
        assert list(lines) == []


def test_events_tell_of_what_other_servers_did(make_servers):
    a, b = apis(make_servers(2))
    job, other = a.submit("encode"), a.submit("other")
    single, all_jobs, log = Stream(a, job=[job["job_id"]]), Stream(a, jobs=1), Stream(a, log=job["job_id"])
    for stream in (single, all_jobs, log):
        assert stream.next() == ("reset", {"reason": "new"})
    claim, = b.lease("encode")
    assert single.until("job")["status"] == "running"
    all_jobs.until("reset", lambda data: data["reason"] == "elsewhere")
    answer = b.act(claim, "log?offset=0", data=b"a line\n", headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 200
    assert log.until("log")["text"] == "a line\n"
    b.act(claim, "progress", {"percent": 50})
    assert single.until("job", lambda j: j["progress"])["progress"]["percent"] == 50
    assert b.act(claim, "complete", COMPLETE).status_code == 200
    assert single.until("job", lambda j: j["status"] == "success")
    log.until("log_end")
    b.post(f"/v1/jobs/{other['job_id']}/cancel", {})
    all_jobs.until("reset", lambda data: data["reason"] == "elsewhere")
    for stream in (single, all_jobs, log):
        stream.close()


def test_P26_one_key_sent_to_two_servers_at_once_is_one_job(make_servers, sql):
    servers = apis(make_servers(2))
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for n in range(10):
            gate = threading.Barrier(16)

            def submit(i, n=n, gate=gate):
                gate.wait()
                answer = servers[i % 2].post("/v1/jobs", {"task_type": "encode"}, headers={"Idempotency-Key": f"k{n}"})
                assert answer.status_code in (200, 201), answer.text
                return answer.json()["job_id"]
            assert len(set(pool.map(submit, range(16)))) == 1
    assert sql("SELECT count(*) FROM jobs") == "10"
    assert sql("SELECT sum(n) FROM counters") == "10"


def test_two_servers_give_no_job_twice(make_servers, sql):
    servers = apis(make_servers(3))
    known = 300
    for n in range(30):
        assert servers[n % 3].post("/v1/jobs:batch", {"jobs": [{"task_type": "encode"}] * 10}).status_code == 200
    assert int(sql("SELECT count(*) FROM jobs")) == known
    given = []

    def work(i):
        while claims := servers[i % 3].lease("encode", slots=7, wait="1s"):
            for claim in claims:
                given.append(claim["job_id"])
                assert servers[(i + 1) % 3].act(claim, "complete", COMPLETE).status_code == 200
    with concurrent.futures.ThreadPoolExecutor(9) as pool:
        list(pool.map(work, range(9)))
    assert len(given) == len(set(given)) == known
    assert sql("SELECT count(*) FROM history") == str(known)
    assert sql("SELECT string_agg(status || '=' || n, ' ') FROM (SELECT status, sum(n) n FROM counters GROUP BY status HAVING sum(n) <> 0) k"
               ) == f"2={known}"
    def counts(api):  # rates are what each server decided itself
        return [{k: v for k, v in q.items() if not k.endswith("_per_min")} for q in api.get("/v1/stats").json()["queues"]]
    assert counts(servers[0]) == counts(servers[1])


def test_blob_of_one_server_is_read_at_another(make_servers):
    a, b = apis(make_servers(2))
    blob = a.put_blob(b"bytes")
    assert b.submit("encode", payload_ref=blob["ref"])["payload_ref"] == blob["ref"]
    assert b.get("/v1/blobs/" + blob["ref"].removeprefix("blob:")).content == b"bytes"


def test_private_blob_folders_are_refused(make_servers, haul, url, tmp_path):
    make_servers(1)
    done = haul("server", "--listen", "127.0.0.1:0", "--data", tmp_path / "private", "--store", url, timeout=30)
    assert done.returncode != 0
    assert "but the database belongs to" in done.stderr


def test_embedded_server_does_not_share_a_data_folder(make_servers, haul, tmp_path):
    make_servers(1)
    done = haul("server", "--listen", "127.0.0.1:0", "--data", tmp_path / "shared", timeout=30)
    assert done.returncode != 0
    assert "another server uses the data folder" in done.stderr


def test_stricter_default_of_the_database_is_overruled(make_servers, sql, tmp_path):
    sql(f"ALTER DATABASE {Databases.made[tmp_path]} SET default_transaction_isolation = serializable")
    a, b = apis(make_servers(2))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(job["status"] == "pending" for job in pool.map(lambda i: (a, b)[i % 2].submit("encode"), range(40)))


# --- one dies ---

def test_worker_goes_on_through_the_next_server(make_servers, make_worker, haul, sql, tmp_path):
    servers = make_servers(2, lease="6s", heartbeat="1s")
    a, b = apis(servers)
    worker = make_worker(f"{a.url},{b.url}", {"steady": f"while [ ! -e {tmp_path / 'go'} ]; do sleep 0.05; done; echo done"}, slots=2)
    running = a.submit("steady")["job_id"]
    a.wait_status(running, "running")
    servers[0].kill()
    lease = lambda: int(sql(f"SELECT lease_until FROM jobs WHERE job_id = '{running}'"))  # noqa: E731
    last = lease()
    until(lambda: lease() > last)  # renewed through the other
    other = b.submit("steady")["job_id"]  # the long poll went on, too
    b.wait_status(other, "running")
    (tmp_path / "go").touch()
    for job_id in (running, other):
        assert b.wait_status(job_id, "success")["attempt"] == 1
    assert "done" in b.get(f"/v1/jobs/{running}/log").text
    assert f'"using another server","server":"{b.url}","before":"{a.url}"' in worker.said
    status = json.loads(haul("worker", "status", "--state", worker.state, "--json").stdout)["worker"]
    assert (status["server"], status["servers"]) == (b.url, f"{a.url},{b.url}")


def test_worker_leaves_a_server_that_stops(make_servers, make_worker):
    servers = make_servers(2)
    a, b = apis(servers)
    make_worker(f"{a.url},{b.url}", {"quick": "true"})
    a.wait_status(a.submit("quick")["job_id"], "success")
    assert servers[0].terminate() == 0
    b.wait_status(b.submit("quick")["job_id"], "success")


def test_command_asks_the_next_server(make_servers, haul):
    servers = make_servers(2)
    urls = f"{servers[0].url},{servers[1].url}"
    servers[0].kill()
    done = haul("submit", "encode", "--server", urls, "--json")
    assert done.returncode == 0, done.stderr
    listed = haul("jobs", "list", "--json", url=urls)
    assert listed.returncode == 0, listed.stderr
    assert json.loads(done.stdout)["job_id"] in listed.stdout
    servers[1].kill()
    gone = haul("jobs", "list", url=urls)
    assert gone.returncode == 16
    assert f"none of 2 servers can be used; the last: cannot talk to {servers[1].url}" in gone.stderr


@pytest.mark.parametrize("urls, says", [("http://127.0.0.1:1,", "server 2 of the list"), ("http://127.0.0.1:1,nonsense", "'nonsense' is not a server's URL"),
                                        (",".join(f"http://127.0.0.1:{n}" for n in range(1, 18)), "more than 16 servers")])
def test_bad_list_of_servers_is_refused(haul, tmp_path, urls, says):
    (tmp_path / "handlers.yaml").write_text("handlers: {x: {command: [/bin/true], version: '1', isolation: none}}")
    for command in (("jobs", "list"), ("worker", "--handlers", tmp_path / "handlers.yaml", "--state", tmp_path / "state")):
        done = haul(*command, url=urls)
        assert done.returncode == 11, done.stderr
        assert says in done.stderr


def test_servers_are_listed(make_servers, haul):
    servers = make_servers(2)
    a, b = apis(servers)
    listed = b.get("/v1/stats").json()["servers"]
    assert [s["self"] for s in listed] == [False, True]
    assert [s["state"] for s in listed] == ["live", "live"]
    assert [s["name"].endswith(f", process {p.pid}") for s, p in zip(listed, servers)] == [True, True]
    servers[0].kill()
    until(lambda: [s["state"] for s in b.get("/v1/stats").json()["servers"]] == ["gone", "live"])
    text = haul("status", url=b.url).stdout
    assert f"process {servers[0].pid}, version {listed[0]['version']}, gone\n" in text
    assert f"process {servers[1].pid}, version {listed[0]['version']}, live (this one answered)\n" in text
    assert json.loads(haul("status", "--json", url=b.url).stdout)["servers"][1]["self"]


def test_killed_server_is_not_missed(make_servers, sql):
    servers = make_servers(2)
    a, b = apis(servers)
    job = a.submit("encode")
    claim, = a.lease("encode")
    servers[0].kill()
    assert b.act(claim, "heartbeat", {}).status_code == 200
    assert b.act(claim, "complete", COMPLETE).status_code == 200
    assert b.job(job["job_id"])["status"] == "success"
    assert b.submit("encode")["status"] == "pending"


def test_sweeps_move_when_their_server_dies(make_servers, sql):
    servers = make_servers(1)
    holder = lambda: sql("SELECT server_id FROM sweepers WHERE name = 'due'")  # noqa: E731
    first = until(lambda: (h := holder()) != "0" and h)
    servers += make_servers(1)
    a, b = apis(servers)
    later = a.submit("encode", delay="3s")
    servers[0].kill()
    claim, = b.lease("encode", wait="40s")
    assert claim["job_id"] == later["job_id"]
    assert holder() != first


def test_lease_expires_at_another_server(make_servers):
    servers = make_servers(2, lease="6s", heartbeat="1s")
    a, b = apis(servers)
    job = b.submit("encode")
    claim, = b.lease("encode")
    assert b.act(claim, "heartbeat", {}).status_code == 200
    servers[1].kill()
    again, = a.lease("encode", wait="40s")
    assert (again["job_id"], again["attempt"]) == (job["job_id"], 2)


def test_server_that_was_stopped_for_long_expires_nothing_that_others_saw_renewed(make_servers):
    servers = make_servers(2, lease="6s", heartbeat="1s")
    a, b = apis(servers)
    job = b.submit("encode")
    claim, = b.lease("encode")
    servers[0].popen.send_signal(signal.SIGSTOP)
    end = time.monotonic() + 9
    while time.monotonic() < end:
        assert b.act(claim, "heartbeat", {}).status_code == 200
        time.sleep(0.5)
    servers[0].popen.send_signal(signal.SIGCONT)
    for _ in range(6):
        assert a.act(claim, "heartbeat", {}).status_code == 200
        time.sleep(0.5)
    assert a.job(job["job_id"])["attempt"] == 1
    assert a.act(claim, "complete", COMPLETE).status_code == 200


def test_kills_under_load_lose_and_double_nothing(make_servers, make_server, url, tmp_path, sql):
    servers = make_servers(3)
    urls = [s.url for s in servers]
    stop = threading.Event()
    acknowledged, errors = [], []
    numbers = itertools.count()

    def call(n, key, path, body, headers=None):
        """At one server after the other until one answers. What is not an answer may be repeated: that is checked."""
        for i in itertools.count(n):
            try:
                answer = requests.post(urls[i % 3] + path, json=body, headers={"Idempotency-Key": key, **(headers or {})} if key else headers,
                                       timeout=30)
            except requests.RequestException:
                continue
            if answer.status_code != 503:
                return answer
            time.sleep(0.02)
        return None

    def submit(i):
        while not stop.is_set():
            answer = call(i, f"k{next(numbers)}", "/v1/jobs", {"task_type": "encode"})
            if answer.status_code in (200, 201):
                acknowledged.append(answer.json()["job_id"])
            else:
                errors.append(answer.text)

    done = []

    def work(i):
        worker, empty = f"0192f0c0-0000-7000-8000-00000000000{i}", 0
        while not stop.is_set() or empty < 3:
            answer = call(i, None, "/v1/lease", {
                "worker_id": worker, "poll_id": f"p{i}-{next(numbers)}", "name": "w", "host": "h", "version": "0", "isolation": "none",
                "handlers": {"encode": "1"}, "slots": 8, "slots_total": 8, "slots_busy": 0, "wait": "1s"})
            if answer.status_code != 200:
                errors.append(answer.text)
                continue
            jobs = answer.json()["jobs"]
            empty = 0 if jobs else empty + 1
            for claim in jobs:
                answer = call(i + 1, None, f"/v1/jobs/{claim['job_id']}/attempts/{claim['attempt']}/complete", COMPLETE,
                              {"Haul-Token": claim["token"]})
                if answer.status_code == 200:
                    done.append(claim["job_id"])
                elif answer.status_code != 409:
                    errors.append(answer.text)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(submit, i) for i in range(4)] + [pool.submit(work, i) for i in range(4)]
        try:
            for n in range(6):
                before = len(acknowledged)
                until(lambda before=before: len(acknowledged) > before + 40, 60)
                servers[n % 3].kill()
                servers[n % 3] = make_server({"store": url}, data=tmp_path / "shared")
                urls[n % 3] = servers[n % 3].url
        finally:
            stop.set()
        for future in futures:
            future.result(90)
    assert not errors, errors[:3]
    assert len(acknowledged) == len(set(acknowledged))
    assert len(done) == len(set(done))
    rows = int(sql("SELECT (SELECT count(*) FROM jobs) + (SELECT count(*) FROM history)"))
    assert rows == len(acknowledged)
    assert int(sql("SELECT sum(n) FROM counters")) == rows
    assert int(sql("SELECT count(*) FROM history WHERE status = 2")) == len(set(done))


def test_start_latency_across_two_servers(make_servers, record_property):
    a, b = apis(make_servers(2))
    took = []
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        for _ in range(20):
            lease = pool.submit(lambda: (b.lease("encode", wait="30s"), time.monotonic()))
            until(lambda lease=lease: 'haul_held_polls 1' in b.get("/metrics").text or lease.done())
            began = time.monotonic()
            a.submit("encode")
            claims, at = lease.result(30)
            assert len(claims) == 1
            assert b.act(claims[0], "complete", COMPLETE).status_code == 200  # else it is ready again in a while
            took.append(at - began)
    record_property("start_latency_p50_ms", statistics.median(took) * 1000)
    print(f"start latency across two servers: p50 {statistics.median(took) * 1000:.1f} ms, worst {max(took) * 1000:.1f} ms")
