"""What the promises of the project say, broken down to something that can be seen from outside."""
import concurrent.futures
import http.server
import json
import os
import signal
import threading
import uuid

import pytest
from conftest import COMPLETE, Api, held_still, isolations, problem, processes, processes_of_job, states_of_job, until

SHORT = {"lease": "4s", "heartbeat": "1s", "confirm": "4s", "backoff_base": "100ms"}


def test_P02_killed_worker_is_claimable_again(make_server, make_worker):
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"long": "echo started; exec sleep 600"})
    job = api.submit("long")
    running = api.wait(job["job_id"], lambda j: j["status"] == "running" and api.log(j["job_id"]).text)
    assert running["attempt"] == 1 and running["lease_until"] and running["owner_id"]

    worker.kill_host()
    # Two lease lengths: this poll ends empty when the promise does not hold.
    (claim,) = api.lease("long", wait="8s")

    assert (claim["job_id"], claim["attempt"]) == (job["job_id"], 2)
    after = api.job(job["job_id"])
    assert (after["status"], after["losses"], after["retries"]) == ("running", 1, 0)
    lost = [a for a in api.attempts(job["job_id"]) if a["attempt"] == 1]
    assert [a["outcome"] for a in lost] == ["lost"] and lost[0]["ended_at"]


def test_P02_running_never_without_a_lease(make_server, make_worker):
    server = make_server(SHORT)
    api = Api(server.url)
    make_worker(server.url, {"quick": "exit 0"}, slots=2)
    ids = [api.submit("quick")["job_id"] for _ in range(10)]
    for job_id in ids:
        api.wait(job_id, lambda j: (j["status"] != "running" or (j["lease_until"] and j["owner_id"]))
                 and j["status"] == "success")


def test_P03_stale_token_is_refused_and_changes_nothing(make_server):
    server = make_server({"lease": "1s", "heartbeat": "250ms", "confirm": "1s", "backoff_base": "50ms"})
    api = Api(server.url)
    job_id = api.submit("played")["job_id"]
    (first,) = api.lease("played")
    assert api.act(first, "heartbeat", {}).status_code == 200
    # The first worker says nothing more; another gets the job once the lease has lapsed.
    (second,) = api.lease("played")
    assert (second["job_id"], second["attempt"]) == (job_id, 2)
    assert second["token"] != first["token"]

    def everything():
        return (api.job(job_id) | {"lease_until": None, "version": None}, api.attempts(job_id), api.outputs(job_id),
                api.log(job_id, attempt=1).text, api.log(job_id, attempt=2).text)

    def stale_writes():
        octets = {"Content-Type": "application/octet-stream"}
        problem(api.act(first, "heartbeat", {}), 409, "stale_token")
        problem(api.act(first, "progress", {"percent": 99, "message": "stale"}), 409, "stale_token")
        problem(api.act(first, "log?offset=0", data=b"stale\n", headers=octets), 409, "stale_token")
        problem(api.act(first, "outputs/result", method="PUT", data=b"stale", headers=octets), 409, "stale_token")
        problem(api.act(first, "checkpoint", {"files": []}, method="PUT"), 409, "stale_token")
        problem(api.act(first, "complete", {"outputs": [], **COMPLETE}), 409, "stale_token")
        problem(api.act(first, "fail", {"outcome": "error", "permanent": True, "error_log": "stale"}), 409, "stale_token")
        forged = {**first, "attempt": 2, "token": "2." + "0" * 32}
        problem(api.act(forged, "complete", {"outputs": [], **COMPLETE}), 409, "stale_token")

    assert api.act(second, "heartbeat", {}).status_code == 200
    before = everything()
    stale_writes()
    assert everything() == before

    assert api.act(second, "heartbeat", {}).status_code == 200
    assert api.act(second, "outputs/result", method="PUT", data=b"good",
                   headers={"Content-Type": "application/octet-stream"}).status_code == 201
    assert api.act(second, "complete", {"outputs": ["result"], **COMPLETE}).json()["status"] == "success"
    before = everything()
    stale_writes()
    assert everything() == before
    (output,) = api.outputs(job_id)
    assert api.get(output["url"]).content == b"good"


def test_P03_stopped_worker_does_not_overwrite_the_second_attempt(make_server, make_worker, tmp_path):
    server = make_server({"lease": "2s", "heartbeat": "500ms", "confirm": "2s", "backoff_base": "50ms"})
    api = Api(server.url)
    script = f'echo "$HAUL_ATTEMPT" > out/result; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done'
    first = make_worker(server.url, {"slow": script}, name="first")
    job_id = api.submit("slow")["job_id"]
    api.wait(job_id, lambda j: j["status"] == "running")
    until(lambda: processes_of_job(job_id))
    first.signal_family(signal.SIGSTOP)

    make_worker(server.url, {"slow": script}, name="second")
    api.wait(job_id, lambda j: j["status"] == "running" and j["attempt"] == 2)
    first.signal_family(signal.SIGCONT)
    (tmp_path / "go").touch()
    job = api.wait_status(job_id, "success")
    assert api.get(job["result_url"]).text == "2\n"
    assert [a["outcome"] for a in sorted(api.attempts(job_id), key=lambda a: a["attempt"])] == ["lost", "success"]


@pytest.mark.parametrize("agent_too", [False, True], ids=["server", "server_and_agent"])
def test_P10_completion_survives_server_outage(server, make_worker, tmp_path, agent_too):
    api = Api(server.url)
    handler = (f"echo ran >> {tmp_path}/runs; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; "
               "echo finished > out/result; echo the end")
    worker = make_worker(server.url, {"precious": handler})
    job_id = api.submit("precious")["job_id"]
    api.wait_status(job_id, "running")
    until(lambda: (tmp_path / "runs").exists())

    server.kill()
    (tmp_path / "go").touch()
    journal = worker.state / "attempts" / f"{job_id}-1" / "completion.json"
    until(journal.exists)
    if agent_too:  # the whole worker goes down as well: only the journal is left
        worker.kill_host()
        worker.launch()
    server.restart()

    job = api.wait_status(job_id, "success")
    assert job["attempt"] == 1
    assert api.get(job["result_url"]).text == "finished\n"
    assert (tmp_path / "runs").read_text() == "ran\n"
    until(lambda: not journal.parent.exists())  # scratch is removed once the completion was answered


DOUBLE_FORK = "(setsid sh -c '(setsid sleep 1000 &) ; sleep 1000 &' &) ; (sleep 1000 &) ; "


@pytest.mark.parametrize("isolation", isolations())
@pytest.mark.parametrize("ending", ["exit 0", "exit 3", "kill -KILL $$"], ids=["success", "failure", "signal"])
def test_P11_double_forking_handler_leaves_nothing(server, make_worker, isolation, ending):
    api = Api(server.url)
    make_worker(server.url, {"forking": {"command": ["/bin/sh", "-c", DOUBLE_FORK + "sleep 0.2; " + ending],
                                         "isolation": isolation}})
    job_id = api.submit("forking", max_attempts=1)["job_id"]
    job = api.wait(job_id)
    assert job["status"] == ("success" if ending == "exit 0" else "failed"), job
    assert processes_of_job(job_id) == []


def test_P11_handler_that_kills_its_own_init_ends_like_any_other(server, make_worker):
    api = Api(server.url)
    make_worker(server.url, {"rude": DOUBLE_FORK + "kill -KILL $PPID; sleep 1000"})  # without isolation nothing forbids it
    job_id = api.submit("rude", max_attempts=1)["job_id"]
    job = api.wait(job_id)
    assert (job["status"], job["losses"]) == ("failed", 0), job
    assert [a["outcome"] for a in api.attempts(job_id)] == ["signal"]
    assert processes_of_job(job_id) == []


@pytest.mark.parametrize("isolation", isolations())
def test_P11_cancel_ends_the_whole_tree(make_server, make_worker, isolation):
    server = make_server({"heartbeat": "500ms", "lease": "5s"})
    api = Api(server.url)
    make_worker(server.url, {"forking": {"command": ["/bin/sh", "-c", DOUBLE_FORK + "echo up; sleep 1000"],
                                         "isolation": isolation}})
    job_id = api.submit("forking")["job_id"]
    api.wait(job_id, lambda j: j["status"] == "running" and api.log(job_id).text)
    until(lambda: len(processes_of_job(job_id)) >= 4)
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code in (200, 202)
    job = api.wait_status(job_id, "cancelled")
    assert job["cancel_requested_at"] and job["finished_at"]
    assert processes_of_job(job_id) == []


def test_P06_poison_job_ends_in_the_dead_letters_and_others_live_on(make_server, make_worker, tmp_path):
    server = make_server({**SHORT, "max_losses": 2})
    api = Api(server.url)
    make_worker(server.url, {"steady": f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo made > out/result"})
    steady = api.submit("steady")["job_id"]
    api.wait_status(steady, "running")
    poison = api.submit("poison")["job_id"]

    attempt = 0
    while api.job(poison)["status"] != "failed":  # a machine under test may stall a healthy worker: such a loss is excused
        attempt += 1
        assert attempt <= 6, api.job(poison)
        victim = make_worker(server.url, {"poison": "echo drunk; sleep 1000"})
        api.wait(poison, lambda j: j["status"] == "running" and j["attempt"] == attempt and api.log(poison).text)
        assert api.attempts(poison)[-1]["outcome"] in (None, "")  # counted by the claim, before anything else happens
        victim.kill_host()
        api.wait(poison, lambda j: j["status"] in ("pending", "failed"))

    job = api.job(poison)
    assert job["attempt"] == attempt >= 2
    assert (job["losses"], job["retries"], job["interruptions"]) == (2, 0, 0)
    assert "lost with its worker" in job["error_log"]
    assert [a["outcome"] for a in api.attempts(poison)] == ["lost"] * attempt
    assert [j["job_id"] for j in api.get("/v1/jobs", params={"status": "failed"}).json()["jobs"]] == [poison]

    (tmp_path / "go").touch()
    job = api.wait_status(steady, "success")
    assert (job["attempt"], job["losses"]) == (1, 0)


def test_P06_handler_that_kills_its_supervisor_ends_in_the_dead_letters(make_server, make_worker, tmp_path):
    server = make_server({**SHORT, "max_losses": 2})
    api = Api(server.url)
    make_worker(server.url, {"steady": f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done",
                             "rude": "kill -KILL $(cut -d ' ' -f 4 /proc/$PPID/stat); sleep 1000"}, slots=2)
    steady = api.submit("steady")["job_id"]
    api.wait_status(steady, "running")
    rude = api.submit("rude")["job_id"]
    job = api.wait_status(rude, "failed")
    assert (job["losses"], job["retries"]) == (2, 0)
    assert {a["outcome"] for a in api.attempts(rude)} == {"lost"}
    assert "lost with its worker" in job["error_log"]
    until(lambda: processes_of_job(rude) == [])
    (tmp_path / "go").touch()
    job = api.wait_status(steady, "success")  # on the same worker
    assert (job["attempt"], job["losses"]) == (1, 0)


def test_P06_outage_of_several_workers_costs_no_job_anything(make_server, make_worker, tmp_path):
    server = make_server({**SHORT, "max_losses": 1})  # one charge would be the end
    api = Api(server.url)
    script = f"echo up; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"
    workers = [make_worker(server.url, {"healthy": script}) for _ in range(3)]
    ids = [api.submit("healthy")["job_id"] for _ in workers]
    for outage in range(2):
        for job_id in ids:
            api.wait(job_id, lambda j: j["status"] == "running" and j["attempt"] == outage + 1 and api.log(job_id).text)
        for worker in workers:
            worker.kill_host()
        for job_id in ids:
            api.wait(job_id, lambda j: j["status"] != "running")
        for worker in workers:
            worker.launch()
    (tmp_path / "go").touch()
    for job_id in ids:
        job = api.wait_status(job_id, "success")
        assert (job["losses"], job["interruptions"], job["retries"]) == (0, 0, 0)
        assert [a["outcome"] for a in api.attempts(job_id)] == ["lost", "lost", "success"]


def test_P26_thousand_parallel_submissions_one_job(server):
    api = Api(server.url)
    body = {"task_type": "unique", "payload": {"n": 1}, "dedup_key": f"only-{uuid.uuid4()}"}
    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        answers = list(pool.map(lambda _: api.post("/v1/jobs", body), range(1000)))
    assert {a.status_code for a in answers} == {200, 201}
    assert sum(a.status_code == 201 for a in answers) == 1
    assert len({a.json()["job_id"] for a in answers}) == 1
    assert len(api.get("/v1/jobs", params={"task_type": "unique"}).json()["jobs"]) == 1
    problem(api.post("/v1/jobs", {**body, "payload": {"n": 2}}), 409, "conflict")
    assert api.post("/v1/jobs", body).json()["job_id"] == answers[0].json()["job_id"]


def test_P03_job_is_frozen_while_its_lease_cannot_be_renewed_and_goes_on(make_server, make_worker, tmp_path):
    server = make_server(SHORT)
    api = Api(server.url)
    make_worker(server.url, {"steady": f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo made > out/result"})
    job_id = api.submit("steady")["job_id"]
    api.wait_status(job_id, "running")
    until(lambda: "T" not in states_of_job(job_id) and states_of_job(job_id))

    server.kill()
    until(lambda: held_still(job_id))  # before the lease ends, whatever the handler is doing
    (tmp_path / "go").touch()
    server.restart()

    job = api.wait_status(job_id, "success")  # thawed by the first renewal
    assert (job["attempt"], job["losses"], job["retries"]) == (1, 0, 0)
    assert api.get(job["result_url"]).text == "made\n"


@pytest.mark.parametrize("isolation", isolations())
def test_P03_a_stopped_supervisor_lets_nothing_run_past_its_lease(make_server, make_worker, isolation):
    server = make_server({"lease": "2s", "heartbeat": "500ms", "confirm": "2s", "backoff_base": "50ms"})
    api = Api(server.url)
    first = make_worker(server.url, {"steady": {"command": ["/bin/sh", "-c", "exec sleep 600"], "isolation": isolation}})
    job_id = api.submit("steady")["job_id"]
    api.wait_status(job_id, "running")
    until(lambda: set(states_of_job(job_id)) - {"T"})
    family = first.family()
    (supervisor,) = [pid for pid, _, _, command, _ in processes() if pid in family and b"supervise" in command.split(b"\0")[1:2]]
    os.kill(supervisor, signal.SIGSTOP)  # it alone: who watches the lease does not run

    until(lambda: held_still(job_id))
    make_worker(server.url, {"steady": "true"})
    won = api.wait_status(job_id, "success")["attempt"]
    assert won > 1
    os.kill(supervisor, signal.SIGCONT)
    until(lambda: not processes_of_job(job_id))  # ended, and never thawed: its lease is lost
    assert api.job(job_id)["attempt"] == won


def test_P21_a_payload_over_the_bound_is_refused_once_and_for_all(server, api, haul, tmp_path):
    """413, and whoever gets one does not try again: the answer would be the same."""
    most, over = '"' + "x" * 65534 + '"', '"' + "x" * 65535 + '"'
    headers = {"Content-Type": "application/json"}
    assert api.post("/v1/jobs", data='{"task_type":"t","payload":%s}' % most, headers=headers).status_code == 201
    said = problem(api.post("/v1/jobs", data='{"task_type":"t","payload":%s}' % over, headers=headers), 413, "too_large", "payload")
    assert "65537" in said["detail"] and "65536" in said["detail"] and "payload_ref" in said["detail"]
    (tmp_path / "over.json").write_text(over)
    assert haul("submit", "t", "--payload", "@over.json", url=server.url).returncode == 14
    asked = []

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps(said).encode()
            self.send_response(413)
            self.send_header("Content-Type", "application/problem+json")
            self.send_header("Retry-After", "0")  # even so
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as stub:
        threading.Thread(target=stub.serve_forever, daemon=True).start()
        done = haul("submit", "t", "--payload", '"small"', url=f"http://127.0.0.1:{stub.server_address[1]}")
        stub.shutdown()
    assert done.returncode == 14 and "payload_ref" in done.stderr
    assert asked == ["/v1/jobs"]


def test_P21_lists_hold_no_payloads(api):
    payload = "x" * 60000
    answer = api.post("/v1/jobs:batch", {"jobs": [{"task_type": "t", "payload": payload} for _ in range(200)]})
    assert answer.json()["created"] == 200
    listed, cursor = [], None
    while cursor or not listed:  # a page may be short where the machine is slow
        page = api.get("/v1/jobs", params={"limit": 1000, **({"cursor": cursor} if cursor else {})})
        listed, cursor = listed + page.json()["jobs"], page.json()["next_cursor"]
        assert len(page.content) < 300_000
    assert len(listed) == 200 and all("payload" not in job for job in listed)
    assert api.job(listed[0]["job_id"])["payload"] == payload
