"""`haul worker stop`, `--drain` and `stop --now`: what an operator takes down costs no job an attempt."""
import subprocess

import pytest
from conftest import COMPLETE, HAUL, Api, isolations, processes_of_job, until
from test_agent import SHORT, make_container, supervisors, waits_for  # noqa: F401


@pytest.fixture
def stop(haul):
    def run(worker, *arguments, verb=("stop",), **kwargs):
        return haul("worker", *verb, "--state", worker.state, *arguments, **kwargs)
    return run


@pytest.fixture
def begin_stop(environment):
    """One that goes on while the test does something else."""
    begun = []

    def run(worker, *arguments):
        begun.append(subprocess.Popen([str(HAUL), "worker", "stop", "--state", worker.state, *arguments], env=environment, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        return begun[-1]
    yield run
    for popen in begun:
        popen.kill()
        popen.communicate()


def running(api, task_type, **fields):
    job_id = api.submit(task_type, **fields)["job_id"]
    api.wait_status(job_id, "running")
    until(lambda: api.log(job_id).text)
    return job_id


def test_P05_stop_waits_for_what_runs_and_claims_nothing_more(make_server, make_worker, begin_stop, tmp_path):
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": f"echo up; {waits_for(tmp_path / 'go')}"}, slots=2)
    job_id = running(api, "steady")
    stopping = begin_stop(worker)
    assert worker.popen.wait(30) == 0
    later = api.submit("steady")["job_id"]
    assert stopping.poll() is None and processes_of_job(job_id)
    (tmp_path / "go").touch()
    out, err = stopping.communicate(timeout=30)
    assert (stopping.returncode, err) == (0, ""), err
    assert "1 still running" in out and "no worker and no job runs here" in out
    job = api.wait(job_id)
    assert (job["status"], job["attempt"], job["interruptions"], job["losses"]) == ("success", 1, 0, 0)
    assert api.job(later)["attempt"] == 0


@pytest.mark.parametrize("verb", [("stop",), ("--drain",)])
def test_P05_stop_lets_go_on_what_runs_longer_than_its_timeout(make_server, make_worker, stop, tmp_path, verb):
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": f"echo up; {waits_for(tmp_path / 'go')}"})
    job_id = running(api, "steady")
    done = stop(worker, "--timeout", "1s", verb=verb)
    assert done.returncode == 18 and "1 job is still running, and will go on" in done.stderr, done
    assert worker.popen.wait(30) == 0 and processes_of_job(job_id)
    (tmp_path / "go").touch()
    assert (api.wait(job_id)["status"], api.job(job_id)["attempt"]) == ("success", 1)


@pytest.mark.parametrize("isolation", isolations())
def test_P05_stop_now_hands_back_what_another_worker_takes_at_once(make_server, make_worker, stop, tmp_path, isolation):
    server = make_server({**SHORT, "backoff_base": "1h"})
    api = Api(server.url)
    handlers = {"steady": {"command": ["/bin/sh", "-c", "echo up; test $HAUL_ATTEMPT -gt 1 || exec sleep 1000"], "isolation": isolation}}
    worker = make_worker(server.url, handlers, slots=2)
    jobs = [running(api, "steady", max_attempts=1) for _ in range(2)]
    done = stop(worker, "--now")
    assert done.returncode == 0 and "being handed back" in done.stdout, done
    assert worker.popen.wait(30) == 0
    until(lambda: not supervisors(worker))
    for job_id in jobs:
        job = api.job(job_id)
        assert (job["status"], job["interruptions"], job["retries"], job["losses"]) == ("pending", 1, 0, 0), job
        assert [a["outcome"] for a in api.attempts(job_id)] == ["interrupted"] and not processes_of_job(job_id)
    make_worker(server.url, handlers)
    for job_id in jobs:
        assert (api.wait(job_id)["status"], api.job(job_id)["attempt"]) == ("success", 2)


def test_P05_interruptions_have_a_budget_of_their_own(make_server, make_worker, stop):
    server = make_server({**SHORT, "max_interruptions": 2})
    api = Api(server.url)
    for status in ("pending", "failed"):
        worker = make_worker(server.url, {"steady": "echo up; exec sleep 1000"})
        job_id = running(api, "steady", max_attempts=1) if status == "pending" else job_id
        api.wait_status(job_id, "running")
        until(lambda: processes_of_job(job_id))
        assert stop(worker, "--now").returncode == 0
        assert api.job(job_id)["status"] == status
    assert [a["outcome"] for a in api.attempts(job_id)] == ["interrupted"] * 2
    assert "told to stop" in api.job(job_id)["error_log"]


def test_stop_now_ends_supervisors_whose_agent_is_gone(make_server, make_worker, stop):
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": "echo up; exec sleep 1000"})
    job_id = running(api, "steady")
    worker.kill()
    done = stop(worker)
    assert done.returncode == 12 and "its 1 jobs go on" in done.stderr, done
    assert processes_of_job(job_id)
    assert stop(worker, "--now").returncode == 0
    assert api.job(job_id)["status"] == "pending"


@pytest.mark.parametrize("arguments", [(), ("--now",)])
def test_stop_where_no_worker_runs(server, make_worker, stop, haul, tmp_path, arguments):
    worker = make_worker(server.url, {"steady": "exit 0"})
    until(lambda: "polling" in worker.said)
    assert worker.terminate() == 0
    for verb in (("stop",), ("--drain",)):
        done = stop(worker, *arguments, verb=verb)
        assert done.returncode == 12 and "no worker runs with the state folder" in done.stderr, done
    done = haul("worker", "stop", "--state", tmp_path / "never", *arguments)
    assert done.returncode == 12 and "no worker has run" in done.stderr, done


@pytest.mark.parametrize("timeout", ["-1s", "", "soon", "367d", "99999999999999999999h", "1s1s"])
def test_stop_refuses_a_duration_that_cannot_be_and_tells_nobody(server, make_worker, stop, timeout):
    worker = make_worker(server.url, {"steady": "exit 0"})
    until(lambda: "polling" in worker.said)
    done = stop(worker, f"--timeout={timeout}")
    assert done.returncode == 2 and "timeout" in done.stderr, done
    assert worker.popen.poll() is None


@pytest.mark.parametrize("arguments", [("--nwo",), ("here",), ("--timeout",)])
def test_stop_refuses_what_it_does_not_know(haul, arguments):
    done = haul("worker", "stop", *arguments)
    assert done.returncode == 2 and "haul worker stop --help" in done.stderr, done


def test_P05_stop_twice_in_a_container_only_drains(make_server, make_container, stop, tmp_path):  # noqa: F811
    server = make_server(SHORT)
    api = Api(server.url)
    worker, _ = make_container(server.url, {"steady": f"echo up; {waits_for(tmp_path / 'go')}"})
    job_id = running(api, "steady")
    for _ in range(2):
        assert stop(worker, "--timeout", "0").returncode == 0
        until(lambda: "draining" in worker.said)
    assert processes_of_job(job_id)
    (tmp_path / "go").touch()
    assert (api.wait(job_id)["status"], api.job(job_id)["interruptions"]) == ("success", 0)
    assert worker.popen.wait(30) == 0


def test_stop_now_in_a_container(make_server, make_container, stop):  # noqa: F811
    server = make_server(SHORT)
    api = Api(server.url)
    worker, _ = make_container(server.url, {"steady": "echo up; exec sleep 1000"})
    job_id = running(api, "steady")
    assert stop(worker, "--now").returncode == 0
    assert (api.job(job_id)["status"], api.job(job_id)["interruptions"]) == ("pending", 1)
    assert worker.popen.wait(30) == 0


# --- while the server is away ---

def journalled(worker, job_id):
    return (worker.state / "attempts" / f"{job_id}-1" / "completion.json").exists()


@pytest.mark.parametrize("isolation", isolations())
def test_P10_stop_now_without_a_server_ends_handlers_and_hands_back_when_it_is_there(make_server, make_worker, stop, isolation):
    server = make_server({**SHORT, "lease": "10m", "backoff_base": "1h"})
    api = Api(server.url)
    handlers = {"steady": {"command": ["/bin/sh", "-c", "echo up; test $HAUL_ATTEMPT -gt 1 || exec sleep 1000"], "isolation": isolation}}
    worker = make_worker(server.url, handlers)
    job_id = running(api, "steady", max_attempts=1)
    server.kill()
    done = stop(worker, "--now", "--timeout", "1s")
    assert done.returncode == 18 and "1 job is still running, and will be handed back" in done.stderr, done
    until(lambda: journalled(worker, job_id))
    assert worker.popen.wait(30) == 0 and not processes_of_job(job_id) and len(supervisors(worker)) == 1
    assert stop(worker, "--now", "--timeout", "0").returncode == 18  # asked again: it is being told still
    server.restart()
    assert stop(worker, "--now").returncode in (0, 12)  # waits for it; 12 when it was told by then
    job = api.job(job_id)
    assert (job["status"], job["interruptions"], job["retries"], job["losses"]) == ("pending", 1, 0, 0), job
    assert [a["outcome"] for a in api.attempts(job_id)] == ["interrupted"]
    make_worker(server.url, handlers)
    assert (api.wait(job_id)["status"], api.job(job_id)["attempt"]) == ("success", 2)


def test_P10_what_was_handed_back_without_a_server_outlives_the_machine(make_server, make_worker, stop):
    server = make_server({**SHORT, "lease": "10m", "backoff_base": "1h"})
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": "echo up; test $HAUL_ATTEMPT -gt 1 || exec sleep 1000"})
    job_id = running(api, "steady", max_attempts=1)
    server.kill()
    assert stop(worker, "--now", "--timeout", "1s").returncode == 18
    until(lambda: journalled(worker, job_id))
    worker.popen.wait(30)
    worker.kill_host()  # nobody is left who would tell
    server.restart()
    assert api.job(job_id)["status"] == "running"
    worker.launch()
    job = api.wait(job_id)
    assert (job["status"], job["attempt"], job["interruptions"], job["losses"]) == ("success", 2, 1, 0), job


def test_P03_what_was_handed_back_too_late_is_not_wanted_any_more(make_server, make_worker, stop):
    """The lease ended and another worker did the job: the old ending changes nothing, and its supervisor is done."""
    server = make_server({**SHORT, "lease": "2s", "heartbeat": "500ms"})
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": "echo up; exec sleep 1000"})
    job_id = running(api, "steady")
    server.kill()
    assert stop(worker, "--now", "--timeout", "1s").returncode == 18
    until(lambda: journalled(worker, job_id))
    worker.popen.wait(30)
    worker.kill_host()
    server.restart()
    claim = api.lease("steady")[0]
    assert (claim["job_id"], claim["attempt"]) == (job_id, 2)
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).status_code == 200  # before anybody else could take it
    worker.launch()
    until(lambda: not journalled(worker, job_id))
    assert [a["outcome"] for a in api.attempts(job_id)] == ["lost", "success"]
