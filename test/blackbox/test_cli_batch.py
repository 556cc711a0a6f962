"""haul submit --batch: every line becomes one job, whatever happens on the way."""
import datetime
import json
import os
import pty
import re
import signal
import subprocess
import threading

import pytest
from conftest import HAUL, Api, until
from moody import Moody

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def cli(haul, server):
    return lambda *arguments, **kwargs: haul(*arguments, url=server.url, **kwargs)


def ndjson(path, lines):
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    return path


def numbered(n, **more):
    return [{"task_type": "t", "payload": i, **more} for i in range(n)]


def jobs(api, **params):
    """All of them, oldest first; the list has no payloads, the ids do. The first page is held to docs/openapi.yaml: of many thousand
    jobs that would take longer than the test."""
    params = {"limit": 1000, **params}
    page = api.get("/v1/jobs", params=params).json()
    found = page["jobs"]
    while page["next_cursor"]:
        page = api.session.get(api.url + "/v1/jobs", params={**params, "cursor": page["next_cursor"]}, timeout=75).json()
        found += page["jobs"]
    return found[::-1]


def one_job_per_line(api, n):
    """Each line carried its number as a label."""
    assert sorted(int(job["labels"]["i"]) for job in jobs(api)) == list(range(n))


def labelled(n):
    return [{"task_type": "t", "labels": {"i": str(i)}} for i in range(n)]


def summary(run):
    return json.loads(run.stdout)


def counts(run):
    s = summary(run)
    return s["created"], s["duplicates"], s["refused"]


def state_of(path):
    return path.with_name(path.name + ".haul-state")


def start(environment, url, *arguments, **kwargs):
    kwargs = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **kwargs}
    return subprocess.Popen([str(HAUL), "submit", *map(str, arguments)], env={**environment, "HAUL_SERVER": url}, **kwargs)


def acknowledged(path, lines):
    """Waits until a run's state file says that it came so far."""
    def far():
        """the batch comes that far"""
        try:
            return json.loads(state_of(path).read_text())["line"] >= lines
        except FileNotFoundError:
            return False
    until(far)


def test_every_line_becomes_a_job_in_order(cli, api, tmp_path):
    path = ndjson(tmp_path / "jobs", numbered(2500))
    run = cli("submit", "--batch", path, "--ids", tmp_path / "ids")
    assert run.returncode == 0 and run.stderr == "", run
    assert re.fullmatch(r"2500 created, 0 duplicates, 0 refused \(2500 lines, \d+/s\)\n", run.stdout)
    ids = (tmp_path / "ids").read_text().splitlines()
    assert len(ids) == len(set(ids)) == 2500
    assert [api.job(ids[i])["payload"] for i in (0, 999, 1000, 2499)] == [0, 999, 1000, 2499]
    assert not state_of(path).exists()


def test_twice_is_twice_unless_a_key_names_the_run(cli, api, tmp_path):
    path = ndjson(tmp_path / "jobs", numbered(10))
    assert counts(cli("submit", "--batch", path, "--json")) == (10, 0, 0)
    assert counts(cli("submit", "--batch", path, "--json", "--key", "k")) == (10, 0, 0)
    assert counts(cli("submit", "--batch", path, "--json", "--key", "k")) == (0, 10, 0)
    assert len(jobs(api)) == 20


def test_options_are_for_lines_that_do_not_say_it(cli, api, tmp_path):
    path = ndjson(tmp_path / "jobs", [{}, {"task_type": "own", "queue": "o", "priority": 1, "labels": {"who": "me"}, "delay": "1h"}])
    run = cli("submit", "t", "--batch", path, "--queue", "q", "--priority", "7", "--label", "who=all", "--label", "night=1", "-p",
              "size=64", "--max-attempts", "2", "--run-at", "2030-01-01T00:00Z", "--ids", "-")
    assert run.returncode == 0 and "2 created" in run.stderr, run
    first, second = (api.job(i) for i in run.stdout.split())
    assert (first["task_type"], first["queue"], first["priority"], first["max_attempts"]) == ("t", "q", 7, 2)
    assert first["labels"] == {"who": "all", "night": "1"} and first["payload"] == {"size": 64}
    assert first["run_at"] == "2030-01-01T00:00:00Z"
    assert (second["task_type"], second["queue"], second["priority"], second["max_attempts"]) == ("own", "o", 1, 2)
    assert second["labels"] == {"who": "me", "night": "1"} and not second["run_at"].startswith("2030-01-01T00")


def test_every_second_line_wrong(cli, api, tmp_path):
    path = tmp_path / "jobs"
    wrong = ["nonsense", '{"task_type":"t","priority":99}', "[1]", '{"payload":1}']
    path.write_text("".join(f'{{"task_type":"t","payload":{i}}}\n' if i % 2 == 0 else wrong[i // 2 % 4] + "\n" for i in range(3000)))
    run = cli("submit", "--batch", path, "--json", "--max-errors", "1500", "--rejects", tmp_path / "rejects", "--ids", tmp_path / "ids")
    assert run.returncode == 11, run.stderr[-2000:]
    assert counts(run) == (1500, 0, 1500) and summary(run)["complete"] is True
    told = run.stderr.splitlines()
    assert len(told) == 1500
    for line, word in ((2, "JSON"), (4, "priority"), (6, "object"), (8, "task_type")):
        assert told[line // 2 - 1].startswith(f"haul: {path}:{line}: ") and word in told[line // 2 - 1], told[line // 2 - 1]
    assert told[1] == f"haul: {path}:4: priority: must be 0 to 9, got 99"
    assert (tmp_path / "rejects").read_text() == "".join(wrong[i // 2 % 4] + "\n" for i in range(1, 3000, 2))
    ids = (tmp_path / "ids").read_text().splitlines()
    assert [api.job(ids[i])["payload"] for i in (0, 700, 1499)] == [0, 1400, 2998]
    assert len(jobs(api)) == 1500


def test_max_errors_stops_and_the_rest_can_follow(cli, api, tmp_path):
    path = tmp_path / "jobs"
    path.write_text("".join('{"task_type":"t"}\n' if i % 10 else "wrong\n" for i in range(3000)))
    run = cli("submit", "--batch", path, "--json")  # 100 are allowed, and the first thousand lines have 100
    assert run.returncode == 11 and "more than 100 lines" in run.stderr and "goes on" in run.stderr
    assert counts(run) == (1800, 0, 200) and summary(run)["complete"] is False
    run = cli("submit", "--batch", path, "--json")
    assert run.returncode == 11 and "behind line 2000" in run.stderr
    assert counts(run) == (2700, 0, 300) and summary(run)["complete"] is True
    assert len(jobs(api)) == 2700 and not state_of(path).exists()
    run = cli("submit", "--batch", path, "--json", "--max-errors", "0")
    assert run.returncode == 11 and "more than 0 lines" in run.stderr and counts(run) == (900, 0, 100)


def test_a_dedup_key_that_is_there_twice(cli, api, tmp_path):
    a, b = {"task_type": "t", "dedup_key": "a"}, {"task_type": "t", "dedup_key": "b", "payload": 1}
    path = ndjson(tmp_path / "jobs", [a, {"task_type": "t"}, a, b, {**b, "payload": 2}])
    run = cli("submit", "--batch", path, "--json", "--ids", tmp_path / "ids")
    assert run.returncode == 11 and counts(run) == (3, 1, 1) and f"{path}:5: " in run.stderr
    ids = (tmp_path / "ids").read_text().split()
    assert len(ids) == 4 and ids[0] == ids[2] and len(set(ids)) == 3


def test_bom_crlf_blank_lines_and_no_newline_at_the_end(cli, api, tmp_path):
    path = tmp_path / "jobs"
    path.write_bytes(b'\xef\xbb\xbf{"task_type":"a"}\r\n\r\n  \n{"task_type":"b"}\r\nwrong\r\n{"task_type":"c"}')
    run = cli("submit", "--batch", path, "--rejects", tmp_path / "rejects")
    assert run.returncode == 11 and f"{path}:5: " in run.stderr
    assert sorted(job["task_type"] for job in jobs(api)) == ["a", "b", "c"]
    assert (tmp_path / "rejects").read_bytes() == b"wrong\r\n"


def test_empty_file_is_no_error(cli, tmp_path):
    (tmp_path / "jobs").write_text("\n")
    run = cli("submit", "--batch", tmp_path / "jobs")
    assert run.returncode == 0 and run.stdout.startswith("0 created")


def test_a_line_too_long_is_told_and_the_rest_goes_on(cli, api, tmp_path):
    path = tmp_path / "jobs"
    path.write_text('{"task_type":"a"}\n{"task_type":"' + "x" * 3_000_000 + '"}\n{"task_type":"b"}\n')
    run = cli("submit", "--batch", path)
    assert run.returncode == 11 and f"{path}:2: has 3000016 bytes, at most 1048576" in run.stderr
    assert [job["task_type"] for job in jobs(api)] == ["a", "b"]


def test_an_endless_line_is_an_error(server, api, environment):
    process = start(environment, server.url, "--batch", "-", stdin=subprocess.PIPE, text=False)

    def pour():
        try:
            process.stdin.write(b'{"task_type":"a"}\n')
            while True:
                process.stdin.write(b"x" * 65536)
        except BrokenPipeError:
            pass
    thread = threading.Thread(target=pour)
    thread.start()
    err = process.stderr.read()
    assert process.wait(40) == 14, err
    thread.join()
    assert b"line 2 does not end" in err
    assert [job["task_type"] for job in jobs(api)] == ["a"]


def test_stdin(cli, api):
    run = cli("submit", "t", "--batch", "-", "--ids", "-", stdin="{}\n" * 1500)
    assert run.returncode == 0 and len(set(run.stdout.split())) == 1500 and "1500 created" in run.stderr
    text = "".join(f'{{"payload":{i}}}\n' for i in range(1200))
    first = cli("submit", "t", "--batch", "-", "--key", "night", "--ids", "-", stdin=text)
    second = cli("submit", "t", "--batch", "-", "--key", "night", "--ids", "-", stdin=text)
    assert first.stdout == second.stdout and "0 created, 1200 duplicates" in second.stderr
    assert len(jobs(api)) == 2700


def test_lines_that_trickle_in_do_not_wait_for_a_thousand(server, api, environment):
    process = start(environment, server.url, "t", "--batch", "-", stdin=subprocess.PIPE)
    try:
        process.stdin.write("{}\n{}\n")
        process.stdin.flush()
        until(lambda: len(jobs(api)) == 2)
        process.stdin.write("{}\n")
        out, err = process.communicate(timeout=30)
        assert process.returncode == 0 and out.startswith("3 created"), (out, err)
    finally:
        process.kill()
        process.communicate()


def test_kill_9_in_the_middle_and_the_same_command_again(server, api, environment, tmp_path):
    """25,000 lines, killed three times: one job a line, one id a line in order, each refusal once."""
    lines = labelled(25000)
    path = ndjson(tmp_path / "jobs", lines)
    text = path.read_text().splitlines(keepends=True)
    for at in (24000, 12345, 3):
        text.insert(at, f"wrong {at}\n")
    path.write_text("".join(text))
    arguments = ["--batch", path, "--ids", tmp_path / "ids", "--rejects", tmp_path / "rejects"]
    for at in (1, 8000, 17000):
        process = start(environment, server.url, *arguments)
        acknowledged(path, at)
        process.kill()
        process.communicate()
        assert state_of(path).exists(), "it was to be killed in the middle"
    process = start(environment, server.url, *arguments, "--json")
    out, err = process.communicate(timeout=50)
    assert process.returncode == 11 and "going on behind line" in err, err
    end = json.loads(out)
    assert (end["created"], end["duplicates"], end["refused"], end["lines"]) == (25000, 0, 3, 25003)
    of_id = {job["job_id"]: int(job["labels"]["i"]) for job in jobs(api)}
    assert sorted(of_id.values()) == list(range(25000))
    assert [of_id[i] for i in (tmp_path / "ids").read_text().split()] == list(range(25000))
    assert sorted((tmp_path / "rejects").read_text().splitlines()) == sorted(f"wrong {at}" for at in (24000, 12345, 3))
    assert not state_of(path).exists()


def test_a_restart_of_the_server_in_the_middle(server, environment, tmp_path):
    path = ndjson(tmp_path / "jobs", labelled(15000))
    process = start(environment, server.url, "--batch", path, "--json")
    acknowledged(path, 3000)
    server.kill()
    server.restart()
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0, err
    assert json.loads(out)["created"] == 15000
    one_job_per_line(Api(server.url), 15000)


def test_an_interrupt_leaves_a_state_and_says_how_to_go_on(server, api, environment, tmp_path):
    path = ndjson(tmp_path / "jobs", labelled(12000))
    process = start(environment, server.url, "--batch", path)
    acknowledged(path, 1000)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT and "the same command goes on from there" in err, err
    done = json.loads(state_of(path).read_text())
    assert done["line"] == len(jobs(api)) < 12000 and done["under_way"] is False
    process = start(environment, server.url, "--batch", path)
    out, err = process.communicate(timeout=50)
    assert process.returncode == 0 and f"behind line {done['line']}" in err
    one_job_per_line(api, 12000)


def job_id(i):
    return f"01890000-0000-7000-8000-{i:012}"


def refusal(status, code):
    return {"status": status, "problem": {"code": code, "title": "no", "detail": f"is {code}", "status": status}}


def test_a_batch_is_repeated_under_its_key_until_every_line_is_decided(haul, tmp_path):
    created = [{"index": i, "status": 201, "job_id": job_id(i), "duplicate": False} for i in range(3)]
    known = [{**r, "status": 200, "duplicate": True} for r in created]
    with Moody((503, refusal(503, "busy")["problem"]),  # all of it
               (200, {"results": [created[0], {"index": 1, **refusal(503, "busy")}, {"index": 2, **refusal(422, "invalid")}]}),
               None,
               (200, {"results": [known[0], {"index": 1, **refusal(503, "unknown_outcome")}, {"index": 2, **refusal(422, "invalid")}]}),
               (200, {"results": [known[0], known[1], {"index": 2, **refusal(422, "invalid")}]})) as server:
        run = haul("submit", "--batch", ndjson(tmp_path / "jobs", numbered(3)), "--json", url=server.url)
    assert run.returncode == 11 and counts(run) == (2, 0, 1), run  # what is there already is ours: nobody else has this key
    assert "busy; trying again" in run.stderr and run.stderr.count("jobs:3: is invalid") == 1
    assert len(server.asked) == 5 and all(asked == server.asked[0] for asked in server.asked)
    path, key, body = server.asked[0]
    assert path == "/v1/jobs:batch" and re.fullmatch(r"[0-9a-f]{32}:1", key) and body == {"jobs": numbered(3)}


def test_an_answer_that_tells_of_too_few_jobs_is_an_error(haul, tmp_path):
    with Moody((200, {"results": [{"index": 0, "status": 201, "job_id": job_id(0), "duplicate": False}]})) as server:
        run = haul("submit", "--batch", ndjson(tmp_path / "jobs", numbered(2)), url=server.url)
    assert run.returncode == 10 and "1 jobs, not of 2" in run.stderr
    assert json.loads(state_of(tmp_path / "jobs").read_text())["line"] == 0


def test_bulk_calls_are_repeated_for_what_is_undecided(haul):
    done = [{"job_id": job_id(i), "status": 200, "job_status": "cancelled"} for i in range(3)]
    with Moody((200, {"results": [done[0], {"job_id": job_id(1), **refusal(503, "busy")}, done[2]]}),
               (200, {"results": [done[1]]})) as server:
        run = haul("jobs", "cancel", *map(job_id, range(3)), url=server.url)
    assert run.returncode == 0 and sorted(run.stdout.split()) == sorted([*map(job_id, range(3)), *["cancelled"] * 3])
    assert [asked[2]["job_ids"] for asked in server.asked] == [[*map(job_id, range(3))], [job_id(1)]]


@pytest.mark.parametrize("action, refused", [("retry", (409, "illegal_state")), ("discard", (404, "not_found"))])
def test_what_a_lost_answer_was_about_is_done(haul, action, refused):
    answer = (200, {"results": [{"job_id": job_id(1), **refusal(*refused)}]})
    with Moody(None, answer) as server:
        assert haul("jobs", action, job_id(1), url=server.url).returncode == 0
    with Moody(answer) as server:
        assert haul("jobs", action, job_id(1), url=server.url).returncode == (13 if action == "retry" else 12)


@pytest.fixture
def stopped(cli, tmp_path):
    """A batch that stopped in the middle."""
    path = tmp_path / "jobs"
    path.write_text("".join('{"task_type":"t"}\n' if i != 500 else "wrong\n" for i in range(1500)))
    run = cli("submit", "--batch", path, "--max-errors", "0")
    assert run.returncode == 11 and state_of(path).exists()
    return path


@pytest.mark.parametrize("change", ["appended", "touched", "content"])
def test_a_changed_file_is_refused(cli, api, stopped, change):
    if change == "appended":
        with stopped.open("a") as f:
            f.write('{"task_type":"t"}\n')
    elif change == "touched":
        os.utime(stopped, ns=(0, 1))
    else:
        before = stopped.stat().st_mtime_ns
        text = stopped.read_text()
        stopped.write_text(text.replace('"t"', '"u"'))
        os.utime(stopped, ns=(before, before))
    run = cli("submit", "--batch", stopped, "--max-errors", "0")
    assert run.returncode == 13 and "changed" in run.stderr and "--restart" in run.stderr and "line 1000" in run.stderr
    assert len(jobs(api)) == 999
    run = cli("submit", "--batch", stopped, "--restart", "--json")
    assert run.returncode == 11 and summary(run)["first_line"] == 1 and summary(run)["created"] >= 1499
    assert not state_of(stopped).exists()


def test_other_options_server_or_key_are_refused(cli, haul, stopped, make_server):
    for more in (["--priority", "9"], ["other"], ["--key", "k"]):
        run = cli("submit", "--batch", stopped, *more)
        assert run.returncode == 13 and "--restart" in run.stderr, run
    assert haul("submit", "--batch", stopped, url=make_server().url).returncode == 13
    assert cli("submit", "--batch", stopped, "--json").returncode == 11


def test_a_damaged_state_is_told(cli, stopped):
    state_of(stopped).write_text("{}")
    run = cli("submit", "--batch", stopped)
    assert run.returncode == 23 and "haul-state" in run.stderr and "--restart" in run.stderr


def test_going_on_after_the_keys_are_forgotten_is_warned_of(cli, stopped):
    """Only when a batch may have been on its way."""
    def age(under_way):
        state = json.loads(state_of(stopped).read_text())
        then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=25)
        state.update(saved_at=then.strftime("%Y-%m-%dT%H:%M:%SZ"), under_way=under_way)
        state_of(stopped).write_text(json.dumps(state))
    saved = state_of(stopped).read_bytes()
    age(under_way=True)
    run = cli("submit", "--batch", stopped)
    assert run.returncode == 11 and "24 h" in run.stderr and "behind line 1000" in run.stderr, run
    state_of(stopped).write_bytes(saved)
    age(under_way=False)
    run = cli("submit", "--batch", stopped)
    assert run.returncode == 11 and "24 h" not in run.stderr


def test_a_file_that_changes_while_it_is_read_stops_the_run(server, api, environment, tmp_path):
    path = ndjson(tmp_path / "jobs", labelled(12000))
    process = start(environment, server.url, "--batch", path)
    try:
        acknowledged(path, 1)
        process.send_signal(signal.SIGSTOP)
        with path.open("a") as f:
            f.write("{}\n")
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=50)
        assert process.returncode == 13 and "being changed" in err, err
    finally:
        process.kill()
        process.communicate()


def test_ids_that_lost_their_beginning_are_refused(cli, tmp_path):
    path = tmp_path / "jobs"
    path.write_text("wrong\n" + '{"task_type":"t"}\n' * 1500)
    assert cli("submit", "--batch", path, "--max-errors", "0", "--ids", tmp_path / "ids").returncode == 11
    (tmp_path / "ids").write_text("")
    run = cli("submit", "--batch", path, "--ids", tmp_path / "ids")
    assert run.returncode == 13 and "--ids" in run.stderr


def test_two_at_once_on_one_file_are_refused(server, api, environment, cli, tmp_path):
    path = ndjson(tmp_path / "jobs", labelled(12000))
    process = start(environment, server.url, "--batch", path)
    try:
        acknowledged(path, 1)
        os.kill(process.pid, signal.SIGSTOP)
        run = cli("submit", "--batch", path)
        assert run.returncode == 21 and "another" in run.stderr
        os.kill(process.pid, signal.SIGCONT)
        assert process.wait(50) == 0
    finally:
        process.kill()
        process.communicate()
    one_job_per_line(api, 12000)


def test_no_server_leaves_nothing_behind(haul, tmp_path):
    path = ndjson(tmp_path / "jobs", numbered(3))
    run = haul("submit", "--batch", path, url=NOBODY)
    assert run.returncode == 16 and "haul server" in run.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["home", "jobs"]


@pytest.mark.parametrize("options", [["--ids", "jobs"], ["--rejects", "jobs"], ["--state", "jobs"], ["--state", "link"],
                                     ["--ids", "out", "--rejects", "out"], ["--ids", "out", "--state", "out"]])
def test_a_file_in_two_places_is_refused_and_not_touched(cli, api, tmp_path, options):
    path = ndjson(tmp_path / "jobs", numbered(3))
    (tmp_path / "link").symlink_to(path)
    before = path.read_bytes()
    for more in ([], ["--restart"]):
        run = cli("submit", "--batch", path, *more, *options)
        assert run.returncode == 2 and "same file" in run.stderr
    assert path.read_bytes() == before and jobs(api) == []


def test_an_interrupt_ends_the_wait_for_a_pipe(server, api, environment):
    process = start(environment, server.url, "t", "--batch", "-", "--key", "k", "--ids", "-", stdin=subprocess.PIPE)
    try:
        process.stdin.write("{}\n" * 1000)
        process.stdin.flush()
        until(lambda: len(jobs(api)) == 1000)
        process.stdin.write("{}\n")
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        err = process.stderr.read()
        assert "stopped behind line 1000" in err and "the key makes" in err
        assert len(process.stdout.read().split()) == 1000 == len(jobs(api))
    finally:
        process.kill()
        process.communicate()


def test_state_elsewhere(cli, tmp_path):
    path = tmp_path / "jobs"
    path.write_text("wrong\n" + '{"task_type":"t"}\n' * 1500)
    assert cli("submit", "--batch", path, "--max-errors", "0", "--state", tmp_path / "state").returncode == 11
    assert (tmp_path / "state").exists() and not state_of(path).exists()
    assert cli("submit", "--batch", path, "--state", tmp_path / "state").returncode == 11
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("arguments, word", [
    (["--batch", "FILE", "--input", "FILE"], "--input"), (["--batch", "FILE", "--wait"], "--wait"),
    (["--batch", "FILE", "--out", "d"], "--out"), (["--batch", "FILE", "--dedup-key", "k"], "--dedup-key"),
    (["--batch", "FILE", "--payload-ref", "blob:x"], "--payload-ref"), (["--batch", "FILE", "--json", "--ids", "-"], "--ids"),
    (["--batch", "FILE", "--max-errors", "-1"], "--max-errors"), (["--batch", "FILE", "--key", "a b"], "--key"),
    (["--batch", "FILE", "--key", ""], "--key"), (["--batch", "-", "--restart"], "--restart"), (["t", "--ids", "x"], "--batch"),
    (["--batch", "-", "--state", "x"], "--state"), (["--ids", "x"], "TASK_TYPE"),
])
def test_wrong_command_lines_exit_2(haul, tmp_path, arguments, word):
    path = ndjson(tmp_path / "jobs", numbered(1))
    run = haul("submit", *[str(path) if a == "FILE" else a for a in arguments], url=NOBODY)
    assert run.returncode == 2 and word in run.stderr and run.stdout == "", run


def test_files_that_cannot_be_read(cli, tmp_path):
    assert cli("submit", "--batch", tmp_path / "absent").returncode == 19
    assert cli("submit", "--batch", tmp_path).returncode == 19
    path = ndjson(tmp_path / "jobs", numbered(1))
    assert cli("submit", "--batch", path, "--ids", tmp_path / "no" / "ids").returncode == 19


def test_a_terminal_sees_a_bar(server, environment, tmp_path):
    path = ndjson(tmp_path / "jobs", numbered(3000))
    lead, follow = pty.openpty()
    process = start(environment, server.url, "--batch", path, stderr=follow, stdout=follow)
    os.close(follow)
    screen = ""
    try:
        while piece := os.read(lead, 4096).decode():
            screen += piece
    except OSError:  # the other end is closed
        pass
    os.close(lead)
    assert process.wait(30) == 0
    assert re.search(r"#+\.+ +\d\d% 1000 lines, \d+/s", screen), screen
    assert "3000 created" in screen


def test_a_second_file_is_no_task_type(cli, tmp_path):
    """`--batch *.ndjson` with two of them: neither is half done."""
    for name in ("a.ndjson", "b.ndjson"):
        (tmp_path / name).write_text('{"task_type": "t"}\n')
    done = cli("submit", "--batch", "a.ndjson", "b.ndjson")
    assert done.returncode == 2 and "one FILE, and 'b.ndjson'" in done.stderr, done.stderr
    assert cli("jobs", "list", "--json").stdout.count('"job_id"') == 0
