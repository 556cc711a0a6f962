"""The worker's agent and supervisors come and go, crash and run out of space: what survives what."""
import datetime
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import uuid

import pytest
from conftest import HAUL, Api, held_still, isolations, processes, processes_of_job, until
from holding_proxy import HoldingProxy

SHORT = {"lease": "4s", "heartbeat": "1s", "confirm": "4s", "backoff_base": "100ms"}
QUICK = {"lease": "2s", "heartbeat": "500ms", "confirm": "2s", "backoff_base": "50ms"}


def supervisors(worker):
    """Process ids of the worker's supervisors."""
    state = str(worker.state).encode()
    return [pid for pid, _, _, command, _ in processes() if b"\0supervise\0" in command and state in command]


def kill_supervisor(worker):
    (pid,) = supervisors(worker)
    os.kill(pid, signal.SIGKILL)
    until(lambda: pid not in [p for p, _, state, *_ in processes() if state != "Z"])  # its connections are closed


def attempts_of(worker):
    """Names of the attempts' folders on the worker's disk."""
    folder = worker.state / "attempts"
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def waits_for(path):
    return f"while [ ! -e {path} ]; do sleep 0.05; done"


@pytest.fixture
def worker_status(haul):
    def status(worker, *arguments):
        answer = haul("worker", "status", "--state", worker.state, "--json", *arguments)
        assert answer.returncode in (0, 16), answer.stderr
        return json.loads(answer.stdout)
    return status


@pytest.fixture
def make_proxy():
    made = []

    def make(url):
        made.append(HoldingProxy(url))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


# --- reports ---


def test_the_last_report_lines_before_the_exit_are_never_lost(server, api, make_worker):
    """Each written just before the exit, the second without its newline; ten times, since it was a race."""
    make_worker(server.url, {"good": "echo 'progress 10 begun' >&3; echo 'progress 99 at the end' >&3",
                             "bad": "echo 'progress 42 so far' >&3; printf 'error it broke' >&3; exit 3"}, slots=2)
    good = [api.submit("good")["job_id"] for _ in range(10)]
    bad = [api.submit("bad", max_attempts=1)["job_id"] for _ in range(10)]
    for job_id in good:
        assert api.wait_status(job_id, "success")["progress"]["message"] == "at the end"
    for job_id in bad:
        job = api.wait_status(job_id, "failed")
        assert (job["progress"]["percent"], job["progress"]["message"]) == (42, "so far")
        assert job["error_log"].startswith("it broke\n")


# --- the agent restarts ---


@pytest.mark.parametrize("how", ["stopped", "killed", "upgraded"])
def test_P05_restarted_agent_finds_its_jobs_by_lock_and_socket(make_server, make_worker, worker_status, tmp_path, how):
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": f"echo 'progress 30' >&3; {waits_for(tmp_path / 'go')}"}, slots=2)
    ids = sorted(api.submit("steady")["job_id"] for _ in range(2))
    for job_id in ids:
        api.wait(job_id, lambda j: j["progress"])
    before = sorted(supervisors(worker))

    assert worker.kill() if how == "killed" else worker.terminate() == 0
    alone = worker_status(worker)
    assert alone["worker"] is None
    assert sorted(j["job_id"] for j in alone["jobs"]) == ids
    assert sorted(j["pid"] for j in alone["jobs"]) == before == sorted(supervisors(worker))
    assert {(j["attempt"], j["state"], j["percent"], j["task_type"]) for j in alone["jobs"]} == {(1, "running", 30, "steady")}

    if how == "upgraded":
        worker.binary = tmp_path / "haul-next"
        shutil.copy2(HAUL, worker.binary)
    worker.launch()
    until(lambda: worker.said.count("found a running job") == 2)
    waiting = api.submit("steady")["job_id"]
    # The restarted agent has told the server that it is full.
    until(lambda: [w["slots_busy"] for w in api.get("/v1/workers").json()["workers"]] == [2])
    now = worker_status(worker)
    assert (now["worker"]["state"], now["worker"]["slots_busy"], now["worker"]["pid"]) == ("full", 2, worker.pid)
    assert api.job(waiting)["attempt"] == 0

    (tmp_path / "go").touch()
    for job_id in [*ids, waiting]:
        job = api.wait_status(job_id, "success")
        assert (job["attempt"], job["losses"], job["interruptions"]) == (1, 0, 0)
    until(lambda: attempts_of(worker) == [])
    assert worker_status(worker)["jobs"] == []


def test_P05_five_rolling_agent_restarts_under_load_lose_no_attempt(make_server, make_worker):
    server = make_server(SHORT)
    api = Api(server.url)
    workers = [make_worker(server.url, {"work": "sleep 0.4"}, slots=2) for _ in range(2)]
    ids = [api.submit("work")["job_id"] for _ in range(40)]
    for turn in range(5):
        for worker in workers:
            api.wait(ids[4 * turn], lambda j: j["status"] != "pending")  # the load goes on
            assert worker.terminate() == 0
            worker.launch()
            until(lambda: worker.said.count(" polling ") == turn + 2)  # before that a TERM only ends a program that has not begun
    for job_id in ids:
        job = api.wait_status(job_id, "success")
        assert (job["attempt"], job["losses"], job["interruptions"], job["retries"]) == (1, 0, 0, 0)


def test_killed_agents_under_load_lose_no_attempt_that_ran(make_server, make_worker, tmp_path):
    """kill -9 may hit between a claim and its supervisor: such a claim comes back at no charge and has run nothing."""
    server = make_server({**SHORT, "confirm": "1s"})
    api = Api(server.url)
    worker = make_worker(server.url, {"work": f"echo $HAUL_JOB_ID >> {tmp_path}/runs; sleep 0.3"}, slots=3)
    ids = [api.submit("work")["job_id"] for _ in range(15)]
    for turn in range(5):
        api.wait(ids[2 * turn], lambda j: j["status"] != "pending")
        worker.kill()
        worker.launch()
    for job_id in ids:
        job = api.wait_status(job_id, "success")
        assert (job["losses"], job["interruptions"], job["retries"]) == (0, 0, 0)
        assert {a["outcome"] for a in api.attempts(job_id)} <= {"success", "unconfirmed"}
    assert sorted((tmp_path / "runs").read_text().split()) == sorted(ids)


def test_status_for_people_and_what_it_refuses(server, api, make_worker, haul, tmp_path):
    worker = make_worker(server.url, {"steady": f"echo 'progress 12.5' >&3; {waits_for(tmp_path / 'go')}"})
    job_id = api.submit("steady")["job_id"]
    api.wait(job_id, lambda j: j["progress"])
    said = haul("worker", "status", "--state", worker.state).stdout
    assert re.search(rf"^worker   \S+, full, process {worker.pid}, ", said)
    assert re.search(r"^slots    1 of 1 busy$", said, re.M)
    assert re.search(rf"^{job_id} +1  running +12.5 +\d+  ....-..-..T..:..:.. +steady$", said, re.M), said
    worker.terminate()
    said = haul("worker", "status", "--state", worker.state).stdout
    assert said.startswith("worker   none runs") and job_id in said
    (tmp_path / "go").touch()
    until(lambda: "jobs     none" in haul("worker", "status", "--state", worker.state).stdout)

    absent = haul("worker", "status", "--state", tmp_path / "absent")
    assert absent.returncode == 12 and "--state" in absent.stderr
    for wrong in (["--max-age", "soon"], ["--slots", "1"], ["more"], ["--state"]):
        answer = haul("worker", "status", *wrong)
        assert answer.returncode == 2 and answer.stderr.startswith("haul worker status: "), answer
    assert haul("help", "worker", "status").stdout == haul("worker", "status", "--help").stdout != ""


def test_socket_is_for_the_owner_only_and_a_stopped_supervisor_is_told_apart(server, api, make_worker, worker_status, tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)  # longer than an address of a Unix socket
    deep.mkdir(parents=True)
    worker = make_worker(server.url, {"steady": waits_for(tmp_path / "go")}, extra=["--state", deep])
    worker.state = deep
    job_id = api.submit("steady")["job_id"]
    until(lambda: [j["state"] for j in worker_status(worker)["jobs"]] == ["running"])
    sockets = [deep / "socket", deep / "attempts" / f"{job_id}-1" / "socket"]
    assert [oct(s.stat().st_mode & 0o777) for s in sockets] == ["0o600", "0o600"]

    (pid,) = supervisors(worker)
    os.kill(pid, signal.SIGSTOP)
    (job,) = worker_status(worker)["jobs"]
    assert (job["job_id"], job["attempt"], job["state"], job["pid"]) == (job_id, 1, "silent", None)
    os.kill(pid, signal.SIGCONT)
    (tmp_path / "go").touch()
    api.wait_status(job_id, "success")


# --- a supervisor is killed at each step of an attempt ---


def test_supervisor_killed_before_its_first_heartbeat(make_server, make_worker, make_proxy, tmp_path):
    server = make_server({**QUICK, "confirm": "1s"})
    api, proxy = Api(server.url), make_proxy(server.url)
    proxy.hold("/heartbeat$")
    worker = make_worker(proxy.url, {"work": f"echo $HAUL_ATTEMPT >> {tmp_path}/runs"})
    job_id = api.submit("work")["job_id"]
    proxy.held("/attempts/1/heartbeat")
    kill_supervisor(worker)
    api.wait(job_id, lambda j: j["attempt"] == 2)  # before the proxy lets the first one's heartbeat through after all
    proxy.release()
    job = api.wait_status(job_id, "success")
    assert (job["attempt"], job["losses"], job["retries"]) == (2, 0, 0)
    assert (tmp_path / "runs").read_text() == "2\n"
    until(lambda: attempts_of(worker) == [])


def test_supervisor_killed_while_it_fetches_inputs(make_server, make_worker, make_proxy, worker_status, tmp_path):
    server = make_server(QUICK)
    api, proxy = Api(server.url), make_proxy(server.url)
    proxy.hold("^GET /v1/blobs/")
    worker = make_worker(proxy.url, {"work": f"echo $HAUL_ATTEMPT >> {tmp_path}/runs; cp in/text out/copy"})
    blob = api.put_blob(b"some text\n")
    job_id = api.submit("work", inputs=[{"name": "text", "ref": blob["ref"]}])["job_id"]
    proxy.held("^GET /v1/blobs/")
    assert [j["state"] for j in worker_status(worker)["jobs"]] == ["fetching"]
    kill_supervisor(worker)
    proxy.release()
    job = api.wait_status(job_id, "success")
    assert (job["attempt"], job["losses"], job["retries"]) == (2, 1, 0)
    assert (tmp_path / "runs").read_text() == "2\n"
    assert api.get(job["result_url"]).content == b"some text\n"
    until(lambda: attempts_of(worker) == [])


@pytest.mark.parametrize("isolation", isolations())
def test_supervisor_killed_while_the_handler_runs_takes_the_handler_along(make_server, make_worker, isolation):
    server = make_server(QUICK)
    api = Api(server.url)
    script = "[ $HAUL_ATTEMPT -gt 1 ] && exit 0; (setsid sleep 1000 &); (sleep 1000 &); echo up; sleep 1000"
    worker = make_worker(server.url, {"work": {"command": ["/bin/sh", "-c", script], "isolation": isolation}})
    job_id = api.submit("work")["job_id"]
    until(lambda: len(processes_of_job(job_id)) >= 3)
    kill_supervisor(worker)
    until(lambda: processes_of_job(job_id) == [])
    until(lambda: f"{job_id}-1" not in attempts_of(worker))
    job = api.wait_status(job_id, "success")
    assert (job["attempt"], job["losses"], job["retries"]) == (2, 1, 0)
    until(lambda: attempts_of(worker) == [])


@pytest.mark.parametrize("step", ["/complete$", "^PUT .*/outputs/"], ids=["before_telling", "during_upload"])
def test_P10_supervisor_killed_after_journalling_tells_once(make_server, make_worker, make_proxy, tmp_path, step):
    server = make_server(SHORT)
    api, proxy = Api(server.url), make_proxy(server.url)
    proxy.hold(step)
    worker = make_worker(proxy.url, {"work": f"echo ran >> {tmp_path}/runs; echo made > out/result"})
    job_id = api.submit("work")["job_id"]
    proxy.held(step)
    assert (worker.state / "attempts" / f"{job_id}-1" / "completion.json").exists()
    kill_supervisor(worker)
    proxy.release()
    job = api.wait_status(job_id, "success")  # taken up at once: long before the lease ends
    assert (job["attempt"], job["losses"]) == (1, 0)
    assert api.get(job["result_url"]).text == "made\n"
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert [a["outcome"] for a in api.attempts(job_id)] == ["success"]
    until(lambda: attempts_of(worker) == [])


# --- the server is away ---


def lapse(lease_until, leases, lease_s):
    """Waits until a lease that ended at lease_until would have ended so many times more."""
    at = datetime.datetime.fromisoformat(lease_until.replace("Z", "+00:00")) + datetime.timedelta(seconds=leases * lease_s)
    until(lambda: datetime.datetime.now(datetime.timezone.utc) > at)


@pytest.mark.parametrize("agent", ["stays", "goes_too", "is_killed_too"])
def test_P03_server_down_for_leases_in_mid_job_costs_time_only(make_server, make_worker, worker_status, tmp_path, agent):
    server = make_server(QUICK)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": f"echo ran >> {tmp_path}/runs; {waits_for(tmp_path / 'go')}; echo made > out/result"})
    job_id = api.submit("steady")["job_id"]
    job = api.wait_status(job_id, "running")
    until((tmp_path / "runs").exists)
    server.kill()
    if agent == "goes_too":
        worker.terminate()
    elif agent == "is_killed_too":
        worker.kill()
    until(lambda: held_still(job_id))
    lapse(job["lease_until"], 2, 2)
    (tmp_path / "go").touch()
    assert held_still(job_id)
    assert [(j["job_id"], j["state"]) for j in worker_status(worker)["jobs"]] == [(job_id, "frozen")]
    server.restart()
    if agent != "stays":
        worker.launch()
    job = api.wait_status(job_id, "success")
    assert (job["attempt"], job["losses"], job["retries"]) == (1, 0, 0)
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert api.get(job["result_url"]).text == "made\n"
    assert [a["outcome"] for a in api.attempts(job_id)] == ["success"]


def test_P03_nothing_begins_past_its_lease(make_server, make_worker, make_proxy, tmp_path):
    server = make_server({"lease": "2s", "heartbeat": "500ms", "confirm": "2s"})
    api, proxy = Api(server.url), make_proxy(server.url)
    worker = make_worker(proxy.url, {"fed": f'echo "$HAUL_ATTEMPT" >> {tmp_path}/runs'})
    proxy.hold("GET /v1/blobs/")
    job_id = api.submit("fed", inputs=[{"name": "data", "ref": api.put_blob(b"food")["ref"]}])["job_id"]
    proxy.held("GET /v1/blobs/")
    proxy.hold("/heartbeat")
    api.wait_status(job_id, "pending")  # lost while its inputs are on their way
    proxy.release("GET /v1/blobs/")

    until(lambda: "it waits for a renewal" in worker.said)
    assert not (tmp_path / "runs").exists()
    proxy.release("/heartbeat")
    assert api.wait_status(job_id, "success")["attempt"] >= 1
    assert len((tmp_path / "runs").read_text().split()) == 1


def test_P10_server_down_for_leases_at_the_finish(make_server, make_worker, tmp_path):
    server = make_server(QUICK)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": f"echo ran >> {tmp_path}/runs; {waits_for(tmp_path / 'go')}; echo made > out/result"})
    job_id = api.submit("steady")["job_id"]
    job = api.wait_status(job_id, "running")
    until((tmp_path / "runs").exists)
    server.kill()
    (tmp_path / "go").touch()
    until((worker.state / "attempts" / f"{job_id}-1" / "completion.json").exists)
    lapse(job["lease_until"], 2, 2)
    kill_supervisor(worker)  # even so: the journal is what counts
    server.restart()
    job = api.wait_status(job_id, "success")
    assert (job["attempt"], job["losses"]) == (1, 0)
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_server_agent_and_supervisor_gone_in_mid_job_runs_it_again(make_server, make_worker, tmp_path):
    server = make_server(QUICK)
    api = Api(server.url)
    worker = make_worker(server.url, {"work": f"echo $HAUL_ATTEMPT >> {tmp_path}/runs; [ $HAUL_ATTEMPT -gt 1 ] || sleep 1000"})
    job_id = api.submit("work")["job_id"]
    until((tmp_path / "runs").exists)
    server.kill()
    worker.kill_host()
    until(lambda: processes_of_job(job_id) == [])
    assert attempts_of(worker) == [f"{job_id}-1"]
    server.restart()
    worker.launch()
    job = api.wait_status(job_id, "success")
    assert job["attempt"] == 2
    assert (tmp_path / "runs").read_text() == "1\n2\n"
    until(lambda: attempts_of(worker) == [])


# --- promises ---


def test_P04_lease_survives_burning_cores_and_a_cut_log_stream(make_server, make_worker, make_proxy):
    server = make_server(SHORT)
    api, proxy = Api(server.url), make_proxy(server.url)
    proxy.hold("/log[?]")
    burn = "timeout 9 sh -c 'while :; do :; done' & " * (2 * (os.cpu_count() or 2))
    worker = make_worker(proxy.url, {"burn": f"echo started; {burn} timeout 9 yes > /dev/stdout; wait; echo ended"})
    job_id = api.submit("burn")["job_id"]
    first = api.wait_status(job_id, "running")["lease_until"]
    proxy.held("/log[?]")
    api.wait(job_id, lambda j: j["status"] == "running" and j["lease_until"] > first)
    lapse(first, 1, 4)
    job = api.job(job_id)
    assert (job["status"], job["attempt"]) == ("running", 1)
    until(lambda: supervisors(worker) and not processes_of_job(job_id))
    proxy.release()
    job = api.wait_status(job_id, "success")
    assert (job["attempt"], job["losses"]) == (1, 0)
    assert "handler is held still" not in worker.said


def test_P15_fast_jobs_pass_a_slow_one(server, api, make_worker, tmp_path):
    handlers = {"slow": waits_for(tmp_path / "go"), "fast": "exit 0"}
    for _ in range(2):
        make_worker(server.url, handlers)
    slow = api.submit("slow")["job_id"]
    api.wait_status(slow, "running")
    for job_id in [api.submit("fast")["job_id"] for _ in range(9)]:
        assert api.wait_status(job_id, "success")["attempt"] == 1
    assert api.job(slow)["status"] == "running"
    (tmp_path / "go").touch()
    assert api.wait_status(slow, "success")["attempt"] == 1


def test_P15_nothing_is_claimed_beyond_free_slots(server, api, make_worker, tmp_path):
    handlers = {"slow": waits_for(tmp_path / "go"), "fast": "exit 0"}
    make_worker(server.url, handlers, slots=2)
    busy = [api.submit("slow")["job_id"] for _ in range(2)]
    for job_id in busy:
        api.wait_status(job_id, "running")
    waiting = [api.submit("fast")["job_id"] for _ in range(5)]
    until(lambda: [w["slots_busy"] for w in api.get("/v1/workers").json()["workers"]] == [2])
    assert {api.job(job_id)["attempt"] for job_id in waiting} == {0}
    make_worker(server.url, handlers)
    for job_id in waiting:
        assert api.wait_status(job_id, "success")["attempt"] == 1
    assert {api.job(job_id)["status"] for job_id in busy} == {"running"}
    (tmp_path / "go").touch()


@pytest.mark.timeout(3600 if "HAUL_TEST_RESTARTS" in os.environ else 600)  # a start takes seconds under a sanitizer
def test_P16_worker_resumes_after_every_server_restart(make_server, make_worker, worker_status, haul):
    """HAUL_TEST_RESTARTS=100 for more than the few that fit an ordinary run."""
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"quick": "exit 0"})
    api.wait_status(api.submit("quick")["job_id"], "success")
    for turn in range(int(os.environ.get("HAUL_TEST_RESTARTS", 20))):
        server.kill() if turn % 2 else server.terminate()
        server.restart()
        job = api.wait_status(api.submit("quick")["job_id"], "success", deadline=30)
        assert job["attempt"] == 1
    health = worker_status(worker)["worker"]
    assert health["state"] in ("polling", "full") and health["last_poll_age_s"] < 30
    assert haul("worker", "status", "--state", worker.state, "--max-age", "30s").returncode == 0

    server.kill()
    sick = until(lambda: (h := haul("worker", "status", "--state", worker.state, "--max-age", "1s")).returncode and h)
    assert sick.returncode == 16 and "last successful poll" in sick.stderr
    worker.kill()
    gone = haul("worker", "status", "--state", worker.state, "--max-age", "1s")
    assert gone.returncode == 16 and "no worker runs" in gone.stderr


def test_P16_a_worker_that_just_began_is_not_ill_yet(make_worker, worker_status, haul):
    """An idle worker's first poll is held for half a minute: its own age counts until then."""
    worker = make_worker("http://127.0.0.1:1", {"quick": "exit 0"})
    until(lambda: "poll failed" in worker.said)
    who = worker_status(worker)["worker"]
    assert who["last_poll_age_s"] is None and who["uptime_s"] >= 0
    assert haul("worker", "status", "--state", worker.state, "--max-age", "1h").returncode == 0
    ill = haul("worker", "status", "--state", worker.state, "--max-age", "1ms")
    assert ill.returncode == 16 and "no poll of this worker was answered since it began" in ill.stderr


@pytest.mark.parametrize("isolation", isolations())
def test_P18_scratch_is_removed_on_every_ending(make_server, make_worker, isolation):
    server = make_server(QUICK)
    api = Api(server.url)
    fill = "head -c 100000 /dev/zero > big; mkdir -p a/b; chmod 0 a; "
    entry = {"isolation": isolation}
    worker = make_worker(server.url, {
        "success": {**entry, "command": ["/bin/sh", "-c", fill + "exit 0"]},
        "failure": {**entry, "command": ["/bin/sh", "-c", fill + "exit 3"]},
        "timeout": {**entry, "command": ["/bin/sh", "-c", fill + "sleep 1000"], "timeout": "500ms"},
        "cancel": {**entry, "command": ["/bin/sh", "-c", fill + "echo up; sleep 1000"]},
        "killed": {**entry, "command": ["/bin/sh", "-c", fill + "[ $HAUL_ATTEMPT -gt 1 ] || sleep 1000"]}}, slots=2)
    ends = {"success": "success", "failure": "failed", "timeout": "failed", "cancel": "cancelled", "killed": "success"}
    for task_type, end in ends.items():
        job_id = api.submit(task_type, max_attempts=1)["job_id"]
        if task_type == "cancel":
            until(lambda: api.log(job_id).text)
            api.post(f"/v1/jobs/{job_id}/cancel")
        if task_type == "killed":
            until(lambda: len(processes_of_job(job_id)) >= 1)
            kill_supervisor(worker)
        assert api.wait(job_id)["status"] == end
        until(lambda: attempts_of(worker) == [])
        assert processes_of_job(job_id) == []


def test_P18_start_up_sweeps_what_is_dead_and_nothing_else(make_server, make_worker, worker_status, tmp_path):
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": waits_for(tmp_path / "go"), "quick": "echo made > out/result"}, slots=2)
    held = api.submit("steady")["job_id"]
    api.wait_status(held, "running")
    until(lambda: processes_of_job(held))
    job = api.wait_status(api.submit("quick")["job_id"], "success")
    until(lambda: attempts_of(worker) == [f"{held}-1"])
    worker.terminate()

    attempts = worker.state / "attempts"
    dead, damaged = f"{uuid.uuid4()}-1", f"{uuid.uuid4()}-2"
    (attempts / dead / "scratch" / "in").mkdir(parents=True)
    (attempts / damaged).mkdir()
    (attempts / damaged / "completion.json").write_text("{")
    (attempts / "lost+found").mkdir()
    (attempts / "notes").write_text("not haul's")
    (worker.state / ".tmp-abcdef").write_text("half")
    (worker.state / ".haul-probe-abcdef").mkdir()
    told = {j["job_id"]: j["state"] for j in worker_status(worker)["jobs"]}
    assert told == {held: "running", dead[:36]: "dead", damaged[:36]: "unreported"}

    worker.launch()
    until(lambda: not (attempts / dead).exists())
    assert not [p.name for p in worker.state.iterdir() if p.name.startswith(".")]
    # Nobody's: left alone. Not readable: kept for people, and it costs no slot.
    until(lambda: "attempt given up" in worker.said)
    assert set(attempts_of(worker)) == {f"{held}-1", damaged, "lost+found", "notes"}
    assert api.wait_status(api.submit("quick")["job_id"], "success")["attempt"] == 1
    assert processes_of_job(held)
    (tmp_path / "go").touch()
    assert api.wait_status(held, "success")["attempt"] == 1
    assert job["attempt"] == 1


def test_P18_nothing_is_claimed_below_the_free_space_mark(server, api, make_worker, worker_status):
    worker = make_worker(server.url, {"quick": "exit 0"}, extra=["--min-free", "1000000TiB"])
    until(lambda: "polling" in worker.said)
    assert worker_status(worker)["worker"]["state"] == "no_room"
    job_id = api.submit("quick")["job_id"]
    # It polls all the same, so that the server knows it; and asks for nothing.
    until(lambda: api.get("/v1/workers").json()["workers"])
    assert api.job(job_id)["attempt"] == 0
    until(lambda: worker.said.count("no room for another job") == 1)
    worker.terminate()
    worker.arguments[-1] = "0"
    worker.launch()
    assert api.wait_status(job_id, "success")["attempt"] == 1


# --- the state folder ---


def mounted(size, options=""):
    """A command's prefix: a small disk of its own at the folder that is its first argument."""
    rootless = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *rootless, "/bin/sh", "-c",
            f'folder=$1; shift; mount -t tmpfs -o size={size}{options} none "$folder" && exec "$@"', "sh"]


def can_mount(tmp_path):
    (tmp_path / "try").mkdir(exist_ok=True)
    return subprocess.run([*mounted("1m"), tmp_path / "try", "/bin/true"], capture_output=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    if not can_mount(tmp_path):
        pytest.skip("no mounts are allowed here")
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


def seen_by(worker, path):
    """A path as the worker's mount namespace has it."""
    return pathlib.Path(f"/proc/{worker.pid}/root{path}")


def test_P18_disk_fills_and_empties_in_mid_run(server, api, make_worker, worker_status, disk):
    worker = make_worker(server.url, {"quick": "exit 0"}, extra=["--min-free", "32MiB", "--state", disk],
                         prefix=[*mounted("64m"), disk])
    assert api.wait_status(api.submit("quick")["job_id"], "success")["attempt"] == 1
    ballast = seen_by(worker, disk) / "ballast"
    ballast.write_bytes(bytes(48 << 20))
    until(lambda: "no room for another job" in worker.said)
    job_id = api.submit("quick")["job_id"]
    until(lambda: [w["slots_busy"] for w in api.get("/v1/workers").json()["workers"]] == [0])
    assert api.job(job_id)["attempt"] == 0
    ballast.unlink()
    assert api.wait_status(job_id, "success")["attempt"] == 1
    assert "there is room again" in worker.said


def test_ending_is_told_although_the_disk_is_full(server, api, make_worker, disk):
    """The handler itself fills the disk: what is not needed any more makes room for the journal."""
    fill = "cat /dev/zero > out/big 2>/dev/null; cat /dev/zero > in/more 2>/dev/null; exit 3"
    worker = make_worker(server.url, {"fill": fill}, extra=["--min-free", "1MiB", "--state", disk],
                         prefix=[*mounted("8m"), disk])
    job = api.wait_status(api.submit("fill", max_attempts=1)["job_id"], "failed")
    assert (job["attempt"], job["losses"]) == (1, 0)
    assert job["error_log"].startswith("exit status 3")
    until(lambda: list((seen_by(worker, disk) / "attempts").iterdir()) == [])


@pytest.fixture
def start(haul, tmp_path):
    """Starts a worker that is expected to refuse."""
    handlers = tmp_path / "h.yaml"
    handlers.write_text("handlers: {x: {command: [/bin/true], isolation: none}}\n")

    def run(state, prefix=()):
        command = [*prefix, str(HAUL), "worker", "--handlers", handlers, "--state", state]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=tmp_path)
    return run


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*") if not p.is_socket()}


@pytest.fixture
def used_state(server, make_worker, tmp_path):
    """The state folder of a worker that has run, with an ending that was not told."""
    worker = make_worker(server.url, {"x": "exit 0"})
    until(lambda: "polling" in worker.said)
    worker.terminate()
    attempt = worker.state / "attempts" / f"{uuid.uuid4()}-1"
    attempt.mkdir()
    (attempt / "completion.json").write_text("{}")
    return worker.state


def test_state_of_another_machine_is_refused_and_left_alone(start, used_state):
    assert len((used_state / "host").read_text().strip()) == 64
    (used_state / "host").write_text("0" * 64 + "\n")
    before = contents(used_state)
    refused = start(used_state)
    assert refused.returncode == 13
    assert "another machine" in refused.stderr and "--state" in refused.stderr and "'host'" in refused.stderr
    assert contents(used_state) == before


def test_state_of_a_newer_haul_is_refused_and_an_older_one_is_taken_over(start, used_state, make_worker, server, api):
    (used_state / "format").write_text("99\n")
    before = contents(used_state)
    refused = start(used_state)
    assert refused.returncode == 22
    assert "newer haul" in refused.stderr and "99" in refused.stderr
    assert contents(used_state) == before

    for name in ("format", "host"):  # as the first releases left it
        (used_state / name).unlink()
    identity = (used_state / "worker-id").read_text()
    worker = make_worker(server.url, {"x": "exit 0"}, extra=["--state", used_state])
    api.wait_status(api.submit("x")["job_id"], "success")
    assert (used_state / "worker-id").read_text() == identity
    assert (used_state / "format").read_text() == "1\n"
    worker.terminate()


def test_state_that_is_damaged_read_only_or_full_is_refused(start, used_state, disk):
    (used_state / "format").write_text("haul\n")
    refused = start(used_state)
    assert refused.returncode == 23 and "format" in refused.stderr
    (used_state / "format").unlink()
    (used_state / "worker-id").write_text("nobody\n")
    refused = start(used_state)
    assert refused.returncode == 23 and "worker-id" in refused.stderr and "remove it" in refused.stderr

    read_only = start(disk, [*mounted("1m", ",ro"), disk])
    assert read_only.returncode == 19, read_only.stderr
    assert "read-only" in read_only.stderr.lower() and "--state" in read_only.stderr
    full = start(disk, [*mounted("8k", ",nr_inodes=2"), disk])
    assert full.returncode == 16, full.stderr
    assert "no space left" in full.stderr and "--state" in full.stderr


WITHOUT_OPENAT2 = """
import ctypes, os, struct, sys
def step(code, jt, jf, k): return struct.pack("HBBI", code, jt, jf, k)
program = step(0x20, 0, 0, 0) + step(0x15, 0, 1, 437) + step(0x06, 0, 0, 0x00050000 | 38) + step(0x06, 0, 0, 0x7fff0000)
text = ctypes.create_string_buffer(program)
filter = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(text)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_host_that_cannot_read_outputs_safely_is_refused_at_the_start(start, tmp_path):
    """As systemd's RestrictSUIDSGID= does: openat2 is answered with ENOSYS (38)."""
    refused = start(tmp_path / "state", ["/usr/bin/python3", "-c", WITHOUT_OPENAT2])
    assert refused.returncode == 22, refused.stderr
    assert "openat2" in refused.stderr and "RestrictSUIDSGID" in refused.stderr


# --- PID 1 of a container ---


def as_pid_1():
    rootless = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *rootless, "--pid", "--fork", "--mount-proc"]


@pytest.fixture
def make_container(make_worker, tmp_path):
    """A worker as PID 1 of a namespace: what `docker run` makes of it. Gives it and the agent's process id out here."""
    if subprocess.run([*as_pid_1(), "/bin/true"], capture_output=True).returncode:
        pytest.skip("no PID namespaces are allowed here")

    def make(url, handlers, **kwargs):
        worker = make_worker(url, handlers, prefix=as_pid_1(), **kwargs)
        until(lambda: "polling" in worker.said)
        (agent,) = [pid for pid, parent, *_ in processes() if parent == worker.pid]
        return worker, agent
    return make


def test_P05_pid_1_of_a_container_drains(make_server, make_container, tmp_path):
    server = make_server(SHORT)
    api = Api(server.url)
    worker, agent = make_container(server.url, {"steady": f"{waits_for(tmp_path / 'go')}; echo made > out/result"}, slots=2)
    job_id = api.submit("steady")["job_id"]
    api.wait_status(job_id, "running")
    until(lambda: processes_of_job(job_id))
    os.kill(agent, signal.SIGTERM)
    until(lambda: "draining" in worker.said)
    later = api.submit("steady")["job_id"]
    (tmp_path / "go").touch()
    job = api.wait_status(job_id, "success")
    assert (job["attempt"], job["interruptions"], job["losses"]) == (1, 0, 0)
    assert worker.popen.wait(30) == 0
    assert api.job(later)["attempt"] == 0
    assert api.get(job["result_url"]).text == "made\n"


def test_second_term_hands_the_jobs_of_a_container_back(make_server, make_container):
    server = make_server(SHORT)
    api = Api(server.url)
    worker, agent = make_container(server.url, {"steady": "echo up; exec sleep 1000"})
    job_id = api.submit("steady", max_attempts=1)["job_id"]
    until(lambda: api.log(job_id).text)
    os.kill(agent, signal.SIGTERM)
    until(lambda: "draining" in worker.said)
    assert processes_of_job(job_id)
    os.kill(agent, signal.SIGTERM)
    job = api.wait_status(job_id, "pending")
    assert (job["interruptions"], job["losses"], job["retries"]) == (1, 0, 0)
    assert worker.popen.wait(30) == 0
    assert [a["outcome"] for a in api.attempts(job_id)] == ["interrupted"]
