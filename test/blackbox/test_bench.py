"""`haul bench`: its figures are what the server counted, and what goes wrong is told with what was acknowledged before."""
import errno
import json
import os
import pathlib
import signal
import socket
import subprocess
import threading

import pytest
import shim
from conftest import HAUL, Api, Databases, processes, until
from shim import SHIM, faults

USAGE, INVALID, UNAVAILABLE, CORRUPT = 2, 11, 16, 23


@pytest.fixture
def bench(haul, tmp_path):
    """Runs it, and reads its report when it ended well."""
    def run(what, *arguments, status=0):
        short = () if what == "start" or "--jobs" in arguments else ("--seconds", "1")  # of two the last one counts
        ended = haul("bench", what, "--json", "--data", tmp_path, *short, *arguments)
        assert ended.returncode == status, f"{ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        report = json.loads(ended.stdout) if ended.stdout else None
        return report if status == 0 else (report, ended.stderr)
    return run


def counts(api, queue):
    return next(q for q in api.get("/v1/stats").json()["queues"] if q["queue"] == queue)


def well_formed(latency):
    assert 0 < latency["p50_us"] <= latency["p95_us"] <= latency["p99_us"] <= latency["max_us"], latency


# --- what it measures is there

@pytest.mark.parametrize("batch", [1, 7])
def test_submissions_acknowledged_are_those_the_server_counts(server, api, bench, batch):
    report = bench("submit", "--server", server.url, "--connections", "5", "--batch", batch, "--jobs", "350")
    assert report["acknowledged"] == report["counted_by_server"] == 350
    assert counts(api, report["queue"])["pending"] == 350
    assert report["requests"] == report["latency"]["submit"]["n"] == 350 // batch
    assert report["repeats"] == report["broken"] == 0 and report["jobs_per_s"] > 0
    assert report["client_cpu_ms_per_1000"] > 0 and report["server_cpu_ms_per_1000"] is None
    well_formed(report["latency"]["submit"])


def test_a_submission_is_that_of_an_ordinary_client(server, api, bench):
    report = bench("submit", "--server", server.url, "--connections", "2", "--jobs", "2", "--queue", "here")
    jobs = [api.job(job["job_id"]) for job in api.get("/v1/jobs", params={"queue": "here"}).json()["jobs"]]
    assert report["queue"] == "here" and len(jobs) == 2
    assert len({job["dedup_key"] for job in jobs}) == 2  # a key, so that asking again is safe
    for job in jobs:
        assert job["payload"]["url"].startswith("s3://bucket/clip-") and job["labels"] == {"customer": "acme"}
        assert len(json.dumps(job["payload"])) > 90


def test_the_bare_limits_stand_beside_it(bench):
    report = bench("submit", "--jobs", "100", "--batch", "10", "--connections", "2")
    bare = report["bare"]
    assert [row["batch"] for row in bare["sqlite"]] == [1, 100, 10]
    for row in [bare["synced_writes"], *bare["sqlite"]]:
        assert row["per_s"] > 0 and row["p50_us"] > 0
        assert row["ratio"] == pytest.approx(report["jobs_per_s"] / row["per_s"])
    assert report["own_server"] and report["server_cpu_ms_per_1000"] > 0
    assert 1 << 20 < report["server_peak_bytes"] < 1 << 40


@pytest.mark.parametrize("batch", [1, 10])
def test_whole_lives_end_as_success(server, api, bench, batch):
    report = bench("life", "--server", server.url, "--connections", "8", "--batch", batch, "--jobs", "400")
    row = counts(api, report["queue"])
    assert report["acknowledged"] == report["counted_by_server"] == row["success"] == 400
    assert row["pending"] == row["running"] == row["failed"] == 0
    assert report["latency"]["life"]["n"] == report["latency"]["complete"]["n"] == 400
    for name in ("life", "submit", "lease", "complete"):
        well_formed(report["latency"][name])


def test_a_life_of_one_connection_and_one_worker(bench):
    report = bench("life", "--connections", "1", "--workers", "1", "--jobs", "20")
    assert report["acknowledged"] == report["counted_by_server"] == 20


def test_lives_among_the_jobs_of_others(server, api, bench):
    """The queue holds jobs that are not of this run: they are done too, and its own are not waited for."""
    bench("submit", "--server", server.url, "--jobs", "3000", "--batch", "100", "--queue", "deep")
    report = bench("life", "--server", server.url, "--jobs", "500", "--queue", "deep")
    row = counts(api, "deep")
    assert report["counted_by_server"] == report["acknowledged"] == row["success"]
    assert row["running"] == 0


def test_the_time_ends_it_and_what_was_begun_is_brought_to_its_end(server, api, bench):
    report = bench("life", "--server", server.url, "--seconds", "1")
    row = counts(api, report["queue"])
    assert 0.9 < report["elapsed_s"] and row["success"] == report["acknowledged"] > 0
    assert row["pending"] == row["running"] == 0


@pytest.mark.parametrize("given", [False, True])
def test_an_idle_system_answers_leases_and_runs(bench, make_server, given):
    report = bench("start", "--samples", "3", *(["--server", make_server().url] if given else []))
    for name, latency in report["latency"].items():
        assert latency["n"] == 3, name
        well_formed(latency)
    assert {"submit", "sync", "lease", "handler_unconfined"} <= report["latency"].keys()
    assert report["bare"]["synced_writes"]["p50_us"] > 0


def test_a_steady_load_makes_due_what_it_was_asked_to(server, api, bench):
    report = bench("submit", "--server", server.url, "--rate", "200", "--seconds", "1")
    assert report["acknowledged"] + report["unsent"] == 200 and report["acknowledged"] > 0
    assert counts(api, report["queue"])["pending"] == report["acknowledged"]


def test_a_steady_load_of_so_many_jobs_ends_with_the_last(bench):
    report = bench("submit", "--rate", "1000", "--jobs", "60", "--seconds", "8", "--batch", "10")
    assert report["acknowledged"] == 60 and report["unsent"] == 0 and report["elapsed_s"] < 6


def test_as_many_connections_as_may_be_asked_for(server, bench):
    report = bench("submit", "--server", server.url, "--connections", "1000", "--jobs", "2000")
    assert report["acknowledged"] == report["counted_by_server"] == 2000 and report["broken"] == 0


def test_a_person_reads_figures_limits_and_ratios(haul, tmp_path):
    ended = haul("bench", "submit", "--jobs", "50", "--data", tmp_path)
    assert ended.returncode == 0, ended.stderr
    for text in ("50 acknowledged", "p99", "CPU per 1000 jobs", "synced writes", "SQLite, 100 a commit", "jobs reach"):
        assert text in ended.stdout, ended.stdout


# --- several servers

@pytest.fixture
def two(make_server, tmp_path):
    """Two servers over one PostgreSQL."""
    store = Databases.url_of(tmp_path)
    return [make_server({"store": store}, data=tmp_path / "shared") for _ in range(2)]


def listed(servers):
    return ",".join(s.url for s in servers)


def answered(server, route):
    """Successes of a route, as the server's own metrics count them."""
    lines = Api(server.url).get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines
               if line.startswith("haul_http_requests_total{") and f'route="{route}"' in line and 'code="2xx"' in line)


@pytest.mark.parametrize("more", [["--connections", "4"], ["--connections", "50"], ["--connections", "50", "--rate", "200", "--seconds", "30"]],
                         ids=["four", "more than are needed", "steady"])
def test_submissions_reach_each_server_of_a_list(two, bench, more):
    report = bench("submit", "--server", f"{two[0].url}/ , {two[1].url}", "--jobs", "60", *more)
    assert report["acknowledged"] == report["counted_by_server"] == 60 and report["server"] == listed(two)
    of_each = [answered(server, "/v1/jobs") for server in two]
    assert sum(of_each) == 60 and min(of_each) >= int(more[1]) // 2, of_each  # at least once on each of its connections


def test_whole_lives_pass_through_each_server_of_a_list(two, bench):
    report = bench("life", "--server", listed(two), "--connections", "8", "--jobs", "300")
    assert report["acknowledged"] == report["counted_by_server"] == 300
    assert min(answered(server, "/v1/jobs") for server in two) > 0


def test_a_start_across_two_servers(two, bench):
    report = bench("start", "--server", listed(two), "--samples", "3")
    first, second = two
    assert (report["submitted_at"], report["leased_at"]) == (first.url, second.url)
    assert answered(first, "/v1/jobs") > 0 and answered(second, "/v1/jobs") == 0
    assert answered(first, "/v1/lease") == 0 and answered(second, "/v1/lease") > 0
    for name in ("submit", "lease", "handler_unconfined"):
        assert report["latency"][name]["n"] == 3
        well_formed(report["latency"][name])


def test_a_person_reads_where_a_start_was_submitted_and_leased(two, haul, tmp_path):
    ended = haul("bench", "start", "--server", listed(two), "--samples", "1", "--data", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert f"submitted at {two[0].url}, leased at {two[1].url}" in ended.stdout
    assert f"--server {listed(two)}" in ended.stderr  # how its jobs are cancelled


@pytest.mark.parametrize("what", ["submit", "life", "start"])
@pytest.mark.parametrize("which", [0, 1])
def test_the_server_of_a_list_that_is_not_there_is_named(server, bench, what, which):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        urls = [server.url]
        urls.insert(which, f"http://127.0.0.1:{closed.getsockname()[1]}")
    report, said = bench(what, "--server", ",".join(urls), status=UNAVAILABLE)
    assert urls[which].removeprefix("http://") in said and "Connection refused" in said
    assert server.url.removeprefix("http://") not in said.partition("The jobs stay")[0]


def test_the_server_of_a_list_that_closes_its_connections_is_named(server, bench):
    with Strange(lambda n: None) as strange:
        _, said = bench("submit", "--server", f"{server.url},{strange.url}", "--connections", "2", status=UNAVAILABLE)
    assert f"the server at {strange.url.removeprefix('http://')} closed the connection" in said


# --- nothing is left

def remains(folder):
    return [p for p in pathlib.Path(folder).glob("haul-bench-*")], [c for _, _, s, c, _ in processes() if str(folder).encode() in c and s != "Z"]


def test_its_own_server_and_folder_go_with_it(bench, tmp_path):
    bench("submit", "--jobs", "10")
    assert remains(tmp_path) == ([], [])


def started(environment, tmp_path, *arguments):
    running = subprocess.Popen([HAUL, "bench", "submit", "--seconds", "40", "--data", tmp_path, *arguments], env=environment,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return running


def test_ctrl_c_ends_it_cleanly(environment, tmp_path):
    running = started(environment, tmp_path)
    until(lambda: remains(tmp_path)[1][1:])  # bench and its server
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=30)
    assert running.returncode == -signal.SIGINT  # so that a shell's loop stops too
    assert remains(tmp_path) == ([], [])


def test_a_bench_that_is_killed_takes_its_server_with_it(environment, tmp_path):
    running = started(environment, tmp_path)
    until(lambda: remains(tmp_path)[1][1:])
    running.kill()
    running.communicate(timeout=30)
    until(lambda: not remains(tmp_path)[1])


# --- bad input

@pytest.mark.parametrize("arguments, bounds", [
    (["--connections", "0"], "from 1 to 1000"), (["--connections", "1001"], "from 1 to 1000"),
    (["--batch", "0"], "from 1 to 1000"), (["--batch", "1001"], "from 1 to 1000"), (["--batch", "ten"], "from 1 to 1000"),
    (["--seconds", "0"], "from 1 to 86400"), (["--seconds", "-1"], "from 1 to 86400"), (["--jobs", "0"], "from 1 to"),
    (["--rate", "0"], "from 1 to"), (["--queue", "two words"], "cannot be a queue"),
    (["--server", "https://127.0.0.1:1"], "plain http"), (["--server", "nonsense"], "not a server's URL"),
    (["--server", "http://127.0.0.1:port"], "not a server's URL"), (["--server", ""], "not a server's URL"),
    (["--server", "http://127.0.0.1:1,nonsense"], "'nonsense' is not a server's URL"),
    (["--server", "http://127.0.0.1:1,https://127.0.0.1:2"], "'https://127.0.0.1:2': bench speaks plain http"),
    (["--server", "http://127.0.0.1:1,,http://127.0.0.1:2"], "server 2 of the list"),
    (["--server", ",http://127.0.0.1:1"], "server 1 of the list"), (["--server", "http://127.0.0.1:1, "], "server 2 of the list"),
    (["--server", "http://127.0.0.1:1,http://127.0.0.1:1/"], "twice in the list"),
    (["--server", ",".join(f"http://127.0.0.1:{port}" for port in range(1, 18))], "more than 16 servers"),
    (["--server", "http://127.0.0.1:1,http://127.0.0.1:" + "1" * 400], "longer than 399 bytes"),
    (["--server", "http://127.0.0.1:1,http://127.0.0.1:2", "--connections", "1"], "do not reach the 2 servers")])
def test_a_wrong_command_line_is_refused_before_anything_starts(bench, tmp_path, arguments, bounds):
    report, said = bench("submit", *arguments, status=USAGE)
    assert report is None and bounds in said
    assert remains(tmp_path) == ([], [])


def test_a_start_takes_two_servers_and_no_more(bench, tmp_path):
    report, said = bench("start", "--server", "http://127.0.0.1:1,http://127.0.0.1:2,http://127.0.0.1:3", status=USAGE)
    assert report is None and "at most two" in said
    assert remains(tmp_path) == ([], [])


@pytest.mark.parametrize("what", ["submit", "life", "start"])
def test_no_server_at_the_address(bench, what):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    report, said = bench(what, "--server", f"http://127.0.0.1:{port}", status=UNAVAILABLE)
    assert report is None and f"127.0.0.1:{port}" in said and "Connection refused" in said


def test_a_folder_that_is_not_there(bench):
    report, said = bench("submit", "--data", "/nowhere/at/all", status=19)
    assert report is None and "/nowhere/at/all" in said


@pytest.mark.parametrize("what", ["submit", "life"])
def test_a_server_that_dies_in_the_middle(server, environment, tmp_path, what):
    """What was acknowledged is told, and is there when the server is back."""
    running = subprocess.Popen([HAUL, "bench", what, "--json", "--seconds", "30", "--server", server.url, "--data", tmp_path, "--queue", "q"],
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    api = Api(server.url)
    counted = "success" if what == "life" else "pending"
    until(lambda: any(q[counted] > 100 for q in api.get("/v1/stats").json()["queues"]))
    server.kill()
    out, said = running.communicate(timeout=30)
    assert running.returncode == UNAVAILABLE, said
    assert server.url in said
    report = json.loads(out)
    assert report["acknowledged"] > 0 and report["counted_by_server"] is None
    server.restart()
    assert counts(Api(server.url), "q")[counted] >= report["acknowledged"]


def test_its_own_server_that_dies(environment, tmp_path):
    running = started(environment, tmp_path)
    ours = until(lambda: [pid for pid, _, _, c, _ in processes() if c.startswith(b"haul\0server") and str(tmp_path).encode() in c])
    os.kill(ours[0], signal.SIGKILL)
    out, said = running.communicate(timeout=30)
    assert running.returncode == UNAVAILABLE and "ended (signal 9)" in said, said
    assert remains(tmp_path) == ([], [])


class Strange:
    """A server that answers POSTs as it is told, and GET /v1/stats as one of haul's would."""

    def __init__(self, answer):
        self.answer, self.asked = answer, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        try:
            self.converse(connection)
        except ConnectionError:
            pass  # the bench has ended

    def converse(self, connection):
        with connection, connection.makefile("rb") as lines:
            while True:
                first, headers = lines.readline(), {}
                if not first:
                    return
                while (line := lines.readline().strip()):
                    name, _, value = line.partition(b":")
                    headers[name.lower()] = value.strip()
                lines.read(int(headers.get(b"content-length", 0)))
                if first.startswith(b"GET"):
                    jobs = json.dumps({"queues": [{"queue": "q", "pending": len(self.asked)}]}).encode()
                    connection.sendall(ok(b"200 OK", jobs))
                    continue
                self.asked.append(headers.get(b"idempotency-key"))
                answer = self.answer(len(self.asked))
                if answer is None:
                    return
                connection.sendall(answer)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def ok(status, body, more=b""):
    return b"HTTP/1.1 " + status + b"\r\n" + more + b"Content-Length: %d\r\n\r\n" % len(body) + body


CREATED = ok(b"201 Created", b"{}")


@pytest.mark.parametrize("answer, words", [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "no HTTP/1.1 status line"),
    (b"\0\1\2\3\xff\xfe garbage that is long enough\r\n\r\n", "no HTTP/1.1 status line"),
    (b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "no Content-Length"),
    (b"HTTP/1.1 201 Created\r\nContent-Length: 99999999999999999999\r\n\r\n", "Content-Length"),
    (b"HTTP/1.1 201 Created\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
    (CREATED + b"more", "more bytes than its Content-Length"),
    (b"HTTP/1.1 201 Created\r\nX: " + b"x" * 70000, "its head has no end")],
    ids=["another protocol", "garbage", "chunked", "too long", "less than nothing", "too much", "no end"])
def test_an_answer_that_is_none_of_hauls(bench, answer, words):
    with Strange(lambda n: CREATED if n == 1 else answer) as strange:
        report, said = bench("submit", "--server", strange.url, "--connections", "1", "--queue", "q", status=CORRUPT)
    assert report["acknowledged"] == 1 and words in said


def test_a_batch_answered_with_something_else(bench):
    with Strange(lambda n: ok(b"200 OK", b'{"results":[],"created":0,"duplicates":0,"refused":0}')) as strange:
        report, said = bench("submit", "--server", strange.url, "--batch", "3", status=CORRUPT)
    assert report["acknowledged"] == 0 and "its 3 jobs" in said


@pytest.mark.parametrize("body", [b"{}", b'{"jobs":[', b'{"jobs":[{"job_id":1}]}', b'{"jobs":[{}]}', b'{"jobs":[{"job_id":"x","token":"y","attempt":0}]}'])
def test_a_lease_answered_with_something_else(bench, body):
    with Strange(lambda n: CREATED if n == 1 else ok(b"200 OK", body)) as strange:
        report, said = bench("life", "--server", strange.url, "--connections", "1", "--jobs", "1", status=CORRUPT)
    assert report["acknowledged"] == 0 and "lease" in said


def refusal(status, code):
    body = json.dumps({"type": "t", "title": "t", "status": status, "detail": "so it is", "code": code}).encode()
    return ok(b"%d Refused" % status, body)


def test_a_server_that_refuses_ends_it(bench):
    with Strange(lambda n: CREATED if n < 5 else refusal(422, "invalid")) as strange:
        report, said = bench("submit", "--server", strange.url, "--connections", "1", "--queue", "q", status=INVALID)
    assert report["acknowledged"] == 4 and "422" in said and "so it is" in said


def test_a_server_that_was_busy_is_asked_again_with_the_same_key(bench):
    with Strange(lambda n: refusal(503, "busy") if n in (2, 3) else CREATED) as strange:
        report = bench("submit", "--server", strange.url, "--connections", "1", "--jobs", "3", "--queue", "q")
    assert report["acknowledged"] == 3 and report["repeats"] == 2
    assert strange.asked[1] == strange.asked[2] == strange.asked[3] and len(set(strange.asked)) == 3
    assert report["latency"]["submit"]["max_us"] > 200_000  # its client waited


def test_a_server_that_stays_busy_ends_it(bench):
    with Strange(lambda n: CREATED if n < 3 else refusal(503, "busy")) as strange:
        report, said = bench("submit", "--server", strange.url, "--connections", "2", "--queue", "q", "--seconds", "30", status=UNAVAILABLE)
    assert report["acknowledged"] == 2 and report["repeats"] > 2
    assert "nothing was acknowledged for 5 s" in said and "503" in said and "so it is" in said


def test_a_connection_that_breaks_before_its_answer_is_asked_again_with_the_same_key(bench):
    with Strange(lambda n: None if n == 2 else CREATED) as strange:
        report = bench("submit", "--server", strange.url, "--connections", "1", "--jobs", "3", "--queue", "q")
    assert report["acknowledged"] == 3 and report["broken"] == 1
    assert strange.asked[1] == strange.asked[2] and len(set(strange.asked)) == 3


def test_a_connection_that_always_breaks_ends_it(bench):
    with Strange(lambda n: None) as strange:
        report, said = bench("submit", "--server", strange.url, "--connections", "1", status=UNAVAILABLE)
    assert report["acknowledged"] == 0 and report["broken"] == 3 and "closed the connection" in said


def test_a_server_that_closes_behind_each_answer_is_no_error(bench):
    with Strange(lambda n: ok(b"201 Created", b"{}", b"Connection: close\r\n")) as strange:
        report = bench("submit", "--server", strange.url, "--connections", "2", "--jobs", "10", "--queue", "q")
    assert report["acknowledged"] == 10 and report["broken"] == 0


def test_a_server_that_counts_less_than_it_acknowledged_is_told(bench):
    with Strange(lambda n: CREATED) as strange:
        report, said = bench("submit", "--server", strange.url, "--jobs", "10", "--queue", "another", status=CORRUPT)
    assert report["acknowledged"] == 10 and "acknowledged 10 jobs and counts 0" in said


def test_its_own_disk_that_fills(haul, tmp_path):
    """A filesystem of 12 MiB: whoever meets its end first, server or SQLite alone, says so, and the folder is gone."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "none", disk], capture_output=True).returncode:
        pytest.skip("mounting needs root")
    try:
        ended = haul("bench", "submit", "--seconds", "30", "--batch", "100", "--data", disk)
        assert ended.returncode == UNAVAILABLE, ended.stderr
        assert "full" in ended.stderr or "No space" in ended.stderr, ended.stderr
        assert not any(disk.iterdir())
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@shim.needed
def test_a_disk_that_fills(make_server, environment, faults, haul, tmp_path):
    """Everything acknowledged before is told and there; the reason is the server's."""
    plain = dict(environment)
    environment["LD_PRELOAD"], environment["HAUL_SHIM"] = str(SHIM), str(tmp_path / "shim")
    server = make_server()
    running = subprocess.Popen([HAUL, "bench", "submit", "--json", "--seconds", "30", "--server", server.url, "--data", tmp_path, "--queue", "q"],
                               env=plain, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    api = Api(server.url)
    until(lambda: any(q["pending"] > 100 for q in api.get("/v1/stats").json()["queues"]))
    faults.arm("write", 1, errno.ENOSPC, onwards=True)
    out, said = running.communicate(timeout=40)
    faults.disarm("write")
    assert running.returncode == UNAVAILABLE and "503" in said, said
    report = json.loads(out)
    assert report["acknowledged"] > 0 and report["repeats"] > 0
    assert counts(api, "q")["pending"] >= report["acknowledged"]
