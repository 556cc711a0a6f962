"""Dead letters on the command line: grouped by cause, shown, redriven at a pace, discarded."""
import json
import re
import signal
import subprocess
import uuid

import pytest
from conftest import HAUL, Api, until
from dead import dead, fail, pending, statuses, submit

UNKNOWN = "0123456789abcdef"


@pytest.fixture
def cli(haul, server):
    return lambda *arguments, **kwargs: haul("dlq", *arguments, url=server.url, **kwargs)


def start(environment, url, *arguments):
    return subprocess.Popen([str(HAUL), "dlq", *arguments], env={**environment, "HAUL_SERVER": url}, stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("arguments, word", [
    (["retry", "--all", "--yes", "--rate", "0"], "--rate"),
    (["retry", "--all", "--yes", "--rate", "0/s"], "never come to an end"),
    (["retry", "--all", "--yes", "--rate", "2"], "2/s, 30/m or 100/h"),
    (["retry", "--all", "--yes", "--rate", "-2/s"], "--rate"),
    (["retry", "--all", "--yes", "--rate", "0.5/s"], "--rate"),
    (["retry", "--all", "--yes", "--rate", "2/d"], "--rate"),
    (["retry", "--all", "--yes", "--rate", ""], "--rate"),
    (["discard", "--all", "--yes", "--rate", "99999999999999999999/s"], "at most"),
    (["retry"], "--group"),
    (["discard"], "--all"),
    (["retry", "--all", "--group", UNKNOWN], "both"),
    (["retry", "--group", "nonsense"], "fingerprint"),
    (["discard", "--group", UNKNOWN.upper()], "fingerprint"),
    (["retry", "--all", str(uuid.UUID(int=1))], "too many"),
    (["retry", "--failed-before", "yesterday", "--yes"], "--failed-before"),
    (["list", "--limit", "100001"], "--limit"),
    (["retry", "--all", "--detach", "--dry-run"], "--detach"),
    (["retry", "--label", "=x", "--yes"], "--label"),
    (["redrives", "nonsense"], "36 characters"),
    (["redrives", "--follow"], "--follow"),
    (["cancel", "nonsense"], "36 characters"),
    (["cancel"], "missing"),
    (["show"], "missing"),
    (["show", "nonsense"], "neither"),
])
def test_wrong_usage_exits_2_before_any_call(haul, arguments, word):
    run = haul("dlq", *arguments, url="http://127.0.0.1:1")
    assert run.returncode == 2 and word in run.stderr and run.stdout == "", run


def test_a_fingerprint_that_no_dead_letter_has(cli, api):
    _, fingerprint = dead(api, 1)
    for arguments in (["show", UNKNOWN], ["retry", "--group", UNKNOWN, "--yes"], ["discard", "--group", UNKNOWN, "--yes"],
                      ["retry", "--group", UNKNOWN, "--dry-run"], ["retry", "--group", UNKNOWN]):
        run = cli(*arguments)
        assert run.returncode == 12 and UNKNOWN in run.stderr and run.stdout == "", run
    run = cli("retry", "--group", fingerprint, "--queue", "elsewhere", "--yes")
    assert run.returncode == 12 and "that the filter matches" in run.stderr, run
    assert pending(api) == 0


def test_groups_are_counted(cli, api):
    many, of_many = dead(api, 3, "film", error=lambda n: f"no frame {n} in /in/{n}.mp4\n\nlast lines {n}")
    few, of_few = dead(api, 1, "film", error="disk full", queue="small")
    assert of_many != of_few
    submit(api, 1, "waits")
    run = cli("list", "--group", "--json")
    assert run.returncode == 0, run
    answer = json.loads(run.stdout)
    assert (answer["more"], answer["complete"]) == (False, True)
    first, second = answer["groups"]
    jobs = sorted((api.job(i) for i in many), key=lambda job: job["finished_at"])
    assert first == {"fingerprint": of_many, "task_type": "film", "jobs": 3, "first_failed_at": jobs[0]["finished_at"], "outcome": "error",
                     "last_failed_at": jobs[2]["finished_at"], "job_id": jobs[2]["job_id"], "error_log": jobs[2]["error_log"]}
    assert (second["fingerprint"], second["jobs"], second["job_id"], second["error_log"]) == (of_few, 1, few[0], "disk full")
    table = cli("list", "--group").stdout.splitlines()
    assert len(table) == 3 and table[1].split()[:3] == ["3", of_many, "film"] and table[2].endswith("disk full")
    assert json.loads(cli("list", "--group", "--type", "other", "--json").stdout)["groups"] == []
    # a condition that the server keeps no count for is counted here, alike
    assert json.loads(cli("list", "--group", "--type", "film", "--created-after", "1h", "--json").stdout)["groups"] == [first, second]
    assert json.loads(cli("list", "--group", "--queue", "small", "--json").stdout)["groups"] == [second]
    for narrow in ([], ["--created-after", "1h"]):
        run = cli("list", "--group", "--limit", "1", *narrow)
        assert run.returncode == 0 and len(run.stdout.splitlines()) == 2 and "more groups" in run.stderr, run


def test_list_and_show(cli, api):
    assert "no dead letters" in cli("list").stderr and "no dead letters" in cli("list", "--group").stderr
    ids, fingerprint = dead(api, 22, error="exit status 3\x1b[31m")
    listed = json.loads(cli("list", "--json").stdout)
    assert {job["job_id"] for job in listed["jobs"]} == set(ids) and listed["next_cursor"] is None
    assert fingerprint in cli("list").stdout and "\x1b" not in cli("list").stdout
    shown = cli("show", fingerprint)
    assert shown.returncode == 0 and "\x1b" not in shown.stdout and "and 2 more" in shown.stdout, shown
    assert sum(i in shown.stdout.split("\nand 2 more")[0] for i in ids) == 20
    group = json.loads(cli("show", fingerprint, "--json").stdout)
    assert (group["jobs"], len(group["newest"])) == (22, 20)
    run = cli("list", "--limit", "2")
    assert len(run.stdout.splitlines()) == 3 and "there are more" in run.stderr, run
    one = cli("show", ids[0])
    assert one.returncode == 0 and fingerprint in one.stdout and "exit status 3" in one.stdout, one
    assert json.loads(cli("show", ids[0], "--json").stdout)["job_id"] == ids[0]
    (waits,) = submit(api, 1, "waits")
    run = cli("show", waits)
    assert run.returncode == 12 and "is no dead letter, it is pending" in run.stderr, run
    assert cli("show", str(uuid.UUID(int=1))).returncode == 12


def test_retry_takes_one_group_and_the_limit_counts_what_is_of_it(cli, api):
    ours, fingerprint = dead(api, 3, error="disk full")
    others, _ = dead(api, 3, error="no frame")  # newer
    cancelled = submit(api, 1, "t")
    assert api.post(f"/v1/jobs/{cancelled[0]}/cancel").status_code == 200
    run = cli("retry", "--group", fingerprint, "--limit", "2", "--dry-run")
    assert run.returncode == 0 and "2 jobs would be retried" in run.stdout, run
    run = cli("retry", "--group", fingerprint, "--limit", "2", "--yes")
    assert run.returncode == 0 and run.stdout == "2 jobs retried\n", run
    assert sorted(statuses(api, ours)) == ["failed", "pending", "pending"]
    assert statuses(api, others) == ["failed"] * 3
    run = cli("retry", "--all", "--yes", "--json")
    assert json.loads(run.stdout)["done"] == 4
    assert statuses(api, ours + others) == ["pending"] * 6 and statuses(api, cancelled) == ["cancelled"]


def test_filters(cli, api):
    ours, _ = dead(api, 2, queue="q1", labels={"film": "7"})
    others, _ = dead(api, 2, queue="q2")
    assert cli("retry", "--queue", "q1", "--label", "film=7", "--type", "t", "--yes").stdout == "2 jobs retried\n"
    assert statuses(api, ours + others) == ["pending"] * 2 + ["failed"] * 2
    middle = sorted(api.job(i)["finished_at"] for i in others)[1]
    assert cli("discard", "--failed-before", middle, "--yes").stdout == "1 job discarded\n"  # before is exclusive
    run = cli("retry", "--failed-before", "1h", "--yes")
    assert run.returncode == 0 and "no dead letters match" in run.stderr, run


@pytest.mark.parametrize("action", ["retry", "discard"])
def test_without_yes_nothing_is_done_where_nobody_can_be_asked(cli, api, action):
    ids, fingerprint = dead(api, 2)
    run = cli(action, "--group", fingerprint)
    assert run.returncode == 2 and "--yes" in run.stderr and run.stdout == "", run
    assert statuses(api, ids) == ["failed"] * 2


def test_discard_takes_one_group(cli, api):
    ours, fingerprint = dead(api, 2, error="disk full")
    others, _ = dead(api, 1, error="no frame")
    run = cli("discard", "--group", fingerprint, "--yes", "--rate", "1000/s")
    assert run.returncode == 0 and run.stdout == "2 jobs discarded\n", run
    assert [api.get(f"/v1/jobs/{i}").status_code for i in ours] == [404] * 2 and statuses(api, others) == ["failed"]


def redrives(cli, *arguments):
    run = cli("redrives", *arguments, "--json")
    assert run.returncode == 0, run
    return json.loads(run.stdout)


def test_an_interrupt_leaves_it_running_until_it_is_cancelled(server, api, environment, cli):
    ids, fingerprint = dead(api, 5)
    process = start(environment, server.url, "retry", "--group", fingerprint, "--rate", "1/h", "--yes")

    def begun():
        """the first was taken"""
        return pending(api) == 1
    until(begun)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT, err
    told = re.search(r"'haul dlq redrives (\S+)' shows it, 'haul dlq cancel (\S+)' ends it", err)
    assert told and told[1] == told[2], err
    redrive = redrives(cli, told[1])
    assert (redrive["state"], redrive["matched"], redrive["done"], redrive["rate"]) == ("running", 5, 1, "1/h")
    shown = cli("redrives").stdout.splitlines()
    assert len(shown) == 2 and shown[1].split()[:6] == [told[1], "retry", "running", "1", "5", "1/h"] and shown[1].endswith("group=" + fingerprint)
    run = cli("cancel", told[1])
    assert run.returncode == 0 and "cancelled; 1 jobs were taken" in run.stdout, run
    run = cli("redrives", told[1], "--follow")
    assert run.returncode != 0 and "was cancelled" in run.stderr and run.stdout == "1 job retried\n", run
    assert pending(api) == 1
    assert cli("cancel", str(uuid.UUID(int=7))).returncode == cli("redrives", str(uuid.UUID(int=7))).returncode == 12


def test_detached_it_prints_its_id(cli, api):
    ids, fingerprint = dead(api, 3)
    run = cli("retry", "--group", fingerprint, "--yes", "--detach")
    assert run.returncode == 0 and uuid.UUID(run.stdout.strip()), run
    run = cli("redrives", run.stdout.strip(), "--follow")
    assert run.returncode == 0 and run.stdout == "3 jobs retried\n", run
    run = cli("cancel", redrives(cli)["redrives"][0]["redrive_id"])
    assert run.returncode != 0 and "done" in run.stderr, run
    assert statuses(api, ids) == ["pending"] * 3


def test_a_retry_outlives_a_server_that_is_killed(server, api, environment):
    ids, fingerprint = dead(api, 12)
    process = start(environment, server.url, "retry", "--group", fingerprint, "--rate", "8/s", "--yes", "--json")

    def begun():
        """the retry has begun"""
        return pending(api) >= 2
    until(begun)
    server.kill()
    server.restart()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    redrive = json.loads(out)
    assert (redrive["state"], redrive["matched"], redrive["done"], redrive["skipped"]) == ("done", 12, 12, 0), redrive
    assert statuses(Api(server.url), ids) == ["pending"] * 12


def test_a_job_that_fails_again_meanwhile_is_not_taken_again(server, api, environment):
    """While a paced retry runs, what it has retried fails again at once: still one more attempt each."""
    ids, fingerprint = dead(api, 6)
    process = start(environment, server.url, "retry", "--group", fingerprint, "--rate", "8/s", "--yes", "--json")
    failed = 0
    while failed < 6:
        for claim in api.lease("t", wait="30s", slots=64):
            assert api.act(claim, "fail", {"outcome": "error", "permanent": True, "error_log": "exit status 3"}).status_code == 200
            failed += 1
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and json.loads(out)["done"] == 6, err
    assert pending(api) == 0 and [len(api.attempts(i)) for i in ids] == [2] * 6
