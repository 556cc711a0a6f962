"""The command line: what it prints, where, and with which exit status (docs/exit-codes.md)."""
import datetime
import hashlib
import json
import os
import pty
import re
import subprocess

import pytest
from conftest import HAUL, Api, until
from moody import Moody

NOBODY = "http://127.0.0.1:1"  # a port on which nobody listens


@pytest.fixture
def cli(haul, server):
    """The CLI pointed at a running server by HAUL_SERVER."""
    return lambda *arguments, **kwargs: haul(*arguments, url=server.url, **kwargs)


def seconds_between(first, second):
    first, second = (datetime.datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (first, second))
    return (second - first).total_seconds()


def one_json(run):
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_version_and_help(haul):
    run = haul("version")
    assert run.returncode == 0 and "0.1.0" in run.stdout
    run = haul("help")
    assert run.returncode == 0
    for command in ("server", "worker", "submit", "jobs", "workers", "blob", "status", "version"):
        assert command in run.stdout
    run = haul("submit", "--help")
    assert run.returncode == 0 and "--dedup-key" in run.stdout and run.stderr == ""


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["jobs", "nonsense"], ["submit"], ["submit", "t", "--nonsense"], ["submit", "t", "--priority", "high"],
    ["submit", "t", "--payload", "{}", "-p", "a=1"], ["submit", "t", "-p", "no-equals-sign"], ["submit", "t", "--label", "x"],
    ["jobs", "show"], ["jobs", "show", "nonsense"], ["blob", "put"], ["server", "--nonsense"], ["worker", "--slots", "many"],
])
def test_wrong_command_lines_exit_2_and_say_why(haul, arguments):
    run = haul(*arguments)
    assert run.returncode == 2, run
    assert run.stderr and run.stdout == ""


def test_no_server_exits_16_and_says_what_to_do(haul):
    run = haul("status", url=NOBODY)
    assert run.returncode == 16, run
    assert "127.0.0.1:1" in run.stderr and run.stdout == ""


def test_submit_prints_the_job_id(cli, api):
    run = cli("submit", "t", "-p", "height=480", "-p", "name=clip", "-p", "deep=true", "--label", "who=me", "--queue", "q",
              "--priority", "7", "--max-attempts", "2", "--timeout", "1h")
    assert run.returncode == 0, run.stderr
    job = api.job(run.stdout.strip())
    assert job["payload"]["height"] == 480 and job["payload"]["name"] == "clip"
    assert (job["labels"], job["queue"], job["priority"], job["max_attempts"], job["timeout_s"]) == ({"who": "me"}, "q", 7, 2, 3600)


def test_submit_understands_human_times(cli, api):
    def submitted(*options, **kwargs):
        run = cli("submit", "t", *options, **kwargs)
        assert run.returncode == 0, run.stderr
        return api.job(run.stdout.strip())

    assert submitted("--run-at", "2030-12-01 10:00", env={"TZ": "CET-1"})["run_at"] == "2030-12-01T09:00:00Z"
    assert submitted("--run-at", "2030-12-01T10:00Z", env={"TZ": "CET-1"})["run_at"] == "2030-12-01T10:00:00Z"
    assert submitted("--run-at", "2030-12-01")["run_at"].startswith("2030-1")
    job = submitted("--run-at", "10m", "--start-within", "1h")
    assert seconds_between(job["created_at"], job["run_at"]) == pytest.approx(600, abs=5)
    assert job["start_deadline_at"]


@pytest.mark.parametrize("options", [
    ["--run-at", "yesterday"], ["--run-at", "90"], ["--run-at", "2030-02-30"], ["--run-at", "10m", "--delay", "10m"],
    ["--delay", "2030-01-01"], ["--start-within", "soon"], ["--start-within", "1h", "--delay", "1h"],
    ["--start-within", "1h", "--run-at", "2h"],
])
def test_bad_times_exit_2_and_name_the_option(haul, options):
    run = haul("submit", "t", *options, url=NOBODY)
    assert run.returncode == 2 and options[0] in run.stderr, run


def test_submit_with_payload_and_json(cli, api):
    job = one_json(cli("submit", "t", "--payload", '{"a": [1.10]}', "--json"))
    assert job["status"] == "pending" and job["payload"] == {"a": [1.1]}
    assert cli("submit", "t", "--payload", "{nonsense").returncode in (2, 11)


def test_dedup_key(cli):
    first = cli("submit", "t", "--dedup-key", "k")
    second = cli("submit", "t", "--dedup-key", "k")
    assert first.stdout == second.stdout and second.returncode == 0
    assert cli("submit", "other", "--dedup-key", "k").returncode == 13


def test_refused_submission_names_the_field(cli):
    run = cli("submit", "not a name")
    assert run.returncode == 11 and "task_type" in run.stderr
    run = cli("submit", "t", "--payload-ref", "s3://bucket/key")
    assert run.returncode == 11 and "payload_ref" in run.stderr and "blob:" in run.stderr


def test_submit_waits_and_downloads(cli, api, server, make_worker, tmp_path):
    make_worker(server.url, {"upper": "tr a-z A-Z < in/text.txt > out/result.txt; cat in/second > out/second"})
    (tmp_path / "text.txt").write_text("hello\n")
    (tmp_path / "other").write_text("other\n")
    run = cli("submit", "upper", "--input", tmp_path / "text.txt", "--input", f"second={tmp_path / 'other'}", "--wait", "--out",
              tmp_path / "got")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "got" / "result.txt").read_text() == "HELLO\n"
    assert (tmp_path / "got" / "second").read_text() == "other\n"
    (job,) = api.get("/v1/jobs").json()["jobs"]
    assert [i["name"] for i in job["inputs"]] == ["text.txt", "second"]
    assert job["payload_ref"] == job["inputs"][0]["ref"]


def test_wait_exit_status_tells_the_outcome(cli, api, server, make_worker):
    make_worker(server.url, {"good": "exit 0", "bad": 'echo "error it is broken" >&3; exit 3'})
    assert cli("submit", "good", "--wait").returncode == 0
    run = cli("submit", "bad", "--max-attempts", "1", "--wait")
    assert run.returncode == 1 and "it is broken" in run.stderr + run.stdout
    job_id = cli("submit", "nobody").stdout.strip()
    assert cli("jobs", "cancel", job_id).returncode == 0
    assert cli("jobs", "wait", job_id).returncode == 3
    failed = api.get("/v1/jobs", params={"status": "failed"}).json()["jobs"][0]["job_id"]
    assert cli("jobs", "wait", failed).returncode == 1


def test_missing_input_file_uploads_nothing(cli, api, tmp_path):
    run = cli("submit", "t", "--input", tmp_path / "absent.mp4")
    assert run.returncode != 0 and "absent.mp4" in run.stderr
    assert api.get("/v1/jobs").json()["jobs"] == []


def test_jobs_list_is_plain_when_piped_and_json_on_demand(cli, api):
    ids = {api.submit("t")["job_id"] for _ in range(3)}
    run = cli("jobs", "list")
    assert run.returncode == 0 and "\x1b" not in run.stdout
    assert all(job_id in run.stdout for job_id in ids)
    aged = re.compile(r"\d+s ago")  # a second may pass between the two
    assert aged.sub("ago", cli("jobs").stdout) == aged.sub("ago", run.stdout)
    assert {j["job_id"] for j in one_json(cli("jobs", "list", "--json"))["jobs"]} == ids


def test_jobs_show_log_outputs(cli, api, server, make_worker):
    make_worker(server.url, {"one": "echo to the log; echo x > out/only"})
    job_id = api.wait(api.submit("one")["job_id"])["job_id"]
    run = cli("jobs", "show", job_id)
    assert run.returncode == 0 and job_id in run.stdout and "success" in run.stdout
    assert one_json(cli("jobs", "show", job_id, "--json"))["status"] == "success"
    assert cli("jobs", "log", job_id).stdout == "to the log\n"
    run = cli("jobs", "outputs", job_id)
    assert run.returncode == 0 and "only" in run.stdout
    assert one_json(cli("jobs", "outputs", job_id, "--json"))["outputs"][0]["name"] == "only"


def test_cancel_retry_discard(cli, api):
    job_id = api.submit("t")["job_id"]
    assert cli("jobs", "retry", job_id).returncode == 13
    assert cli("jobs", "cancel", job_id).returncode == 0
    assert cli("jobs", "retry", job_id).returncode == 0
    assert api.job(job_id)["status"] == "pending"
    assert cli("jobs", "cancel", job_id).returncode == 0
    assert cli("jobs", "discard", job_id).returncode == 0
    run = cli("jobs", "show", job_id)
    assert run.returncode == 12 and job_id in run.stderr


def test_blob_put_and_get(cli, tmp_path):
    (tmp_path / "file").write_bytes(b"data" * 100000)
    blob = one_json(cli("blob", "put", tmp_path / "file", "--json"))
    assert blob["sha256"] == hashlib.sha256(b"data" * 100000).hexdigest()
    assert cli("blob", "put", tmp_path / "file").stdout.strip().startswith("blob:")
    run = cli("blob", "get", blob["ref"], tmp_path / "back")
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "back").read_bytes() == b"data" * 100000
    assert cli("blob", "get", "blob:01890000-0000-7000-8000-000000000000", tmp_path / "none").returncode == 12
    assert not (tmp_path / "none").exists()


def test_workers_and_status(cli, api, server, make_worker):
    make_worker(server.url, {"one": "exit 0"})
    api.wait(api.submit("one")["job_id"])
    run = cli("workers")
    assert run.returncode == 0 and "one" in run.stdout
    assert len(one_json(cli("workers", "--json"))["workers"]) == 1
    assert cli("status").returncode == 0
    assert one_json(cli("status", "--json"))


def test_server_comes_from_flag_environment_and_file(haul, server, tmp_path):
    config = tmp_path / "client.yaml"
    config.write_text(f"client: {{server: '{server.url}'}}\n")
    assert haul("status", "--config", config).returncode == 0
    assert haul("status", "--config", config, url=NOBODY).returncode == 16
    assert haul("status", "--server", server.url, url=NOBODY).returncode == 0
    home = tmp_path / "home" / ".config" / "haul"
    home.mkdir(parents=True)
    (home / "haul.yaml").write_text(config.read_text())
    assert haul("status").returncode == 0


def test_wait_survives_a_restart_of_the_server(server, environment, make_worker, tmp_path):
    api = Api(server.url)
    make_worker(server.url, {"slow": f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"})
    waiting = subprocess.Popen([str(HAUL), "submit", "slow", "--wait"], env={**environment, "HAUL_SERVER": server.url},
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: api.get("/v1/jobs", params={"status": "running"}).json()["jobs"])
        server.kill()
        server.restart()
        (tmp_path / "go").touch()
        assert waiting.wait(40) == 0, waiting.stderr.read()
    finally:
        waiting.kill()
        waiting.communicate()


def test_wait_tells_percent_rate_and_time_left(server, environment, make_worker, tmp_path):
    """Piped: a line for each tenth. On a terminal: a bar, redrawn."""
    api = Api(server.url)
    make_worker(server.url, {"steps": f"for i in 10 20 30 40 50; do echo \"progress $i\" >&3; while [ ! -e {tmp_path}/$i ]; "
                                      "do sleep 0.02; done; done"})
    job_id = api.submit("steps")["job_id"]
    lead, follow = pty.openpty()
    env = {**environment, "HAUL_SERVER": server.url}
    shown = subprocess.Popen([str(HAUL), "jobs", "wait", job_id, job_id], env=env, stdout=subprocess.DEVNULL, stderr=follow)
    piped = subprocess.Popen([str(HAUL), "jobs", "wait", job_id], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                             text=True)
    os.close(follow)
    screen, lines = "", []
    try:
        for step in (10, 20, 30, 40, 50):
            while f"running {step}%" not in "".join(lines):
                lines.append(piped.stderr.readline())
                assert lines[-1], lines
            while f" {step}% " not in screen:
                screen += os.read(lead, 4096).decode()
            (tmp_path / str(step)).touch()
        assert shown.wait(30) == 0 and piped.wait(30) == 0
    finally:
        for process in (shown, piped):
            process.kill()
        piped.communicate()
        os.close(lead)
    assert re.search(r"running 50%, \d+\.\d+ %/(s|min), left \d+", "".join(lines)), lines
    assert re.search(r"\[1/2\] \S+ #+\.+  50% \d+\.\d+ %/(s|min), left \d+", screen), screen


def test_no_rate_is_made_of_a_percentage_that_was_there_before(haul):
    """Nobody knows since when it has been 50 %: what comes a moment later says nothing about the pace."""
    def job(status, version, **more):
        return 200, {"job_id": "0" * 8 + "-0000-7000-8000-" + "0" * 12, "status": status, "attempt": 1, "version": version, **more}
    with Moody(job("running", 1, progress={"percent": 50}), job("running", 2, progress={"percent": 60}),
               job("running", 3, progress={"percent": 70}), job("success", 4)) as server:
        done = haul("jobs", "wait", job("", 0)[1]["job_id"], url=server.url)
    told = [line for line in done.stderr.splitlines() if "%" in line]
    assert len(told) == 3 and told[0].endswith("running 50%") and told[1].endswith("running 60%"), told
    assert re.search(r"running 70%, \S+ %/", told[2]), told


def test_what_cannot_be_is_said_once(cli):
    unknown = "01936d5e-7a2b-7c3d-8e4f-5a6b7c8d9e0f"
    assert cli("jobs", "show", unknown).stderr == f"haul: there is no job {unknown}\n"
    said = cli("jobs", "list", "--created-after", "2026").stderr
    assert said.startswith("haul jobs list: --created-after: not a time: '2026' (like 10m or 2d for so long ago, "), said
    said = cli("submit", "t", "--run-at", "soon").stderr
    assert said.startswith("haul submit: --run-at: not a time: 'soon' (like 10m or 2d from now, "), said


def test_wait_timeout_has_the_same_name_everywhere(cli, server):
    job_id = Api(server.url).submit("nobody-runs-this")["job_id"]
    assert cli("jobs", "wait", "--wait-timeout", "1", job_id).returncode == 4


@pytest.mark.parametrize("command, option", [("server", "--max-attempts"), ("worker", "--orphan-limit")])
def test_help_of_a_command_is_what_the_command_itself_says(haul, command, option):
    told, own = haul("help", command), haul(command, "--help")
    assert (told.returncode, own.returncode) == (0, 0)
    assert told.stdout == own.stdout and option in own.stdout
