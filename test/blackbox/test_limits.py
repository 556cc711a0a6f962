"""Limits on silence, and the look at outputs before they count: what a handler's entry says, and what an attempt then says of it."""
import datetime
import re
import shutil
import subprocess

import pytest
from conftest import TOP, Api, isolations, processes_of_job, until


def ended(api, job_id, outcome, status="failed"):
    """The job, once its only attempt ended so."""
    job = api.wait(job_id)
    assert (job["status"], api.attempts(job_id)[0]["outcome"]) == (status, outcome), job
    return job


def test_P14_silent_handler_is_killed_and_the_limit_is_named(server, api, make_worker):
    make_worker(server.url, {"quiet": {"command": ["/bin/sh", "-c", "echo begun; while :; do sleep 600; done"],
                                       "no_progress_timeout": "1s", "timeout": "1h"}})
    job_id = api.submit("quiet", max_attempts=1)["job_id"]
    job = ended(api, job_id, "stalled")
    assert job["error_log"].startswith("no progress: neither a report nor a line of log for 1s (no_progress_timeout)\n"), job
    assert job["error_log"].rstrip().endswith("begun")
    assert not processes_of_job(job_id)


@pytest.mark.parametrize("sign", ["echo progress 1 >&3", "echo working"])
def test_P14_handler_that_says_anything_in_time_lives_on(server, api, make_worker, sign):
    work = f"for i in 1 2 3 4 5 6 7 8; do {sign}; sleep 0.5; done"
    make_worker(server.url, {"chatty": {"command": ["/bin/sh", "-c", work], "no_progress_timeout": "3s"}})
    ended(api, api.submit("chatty", max_attempts=1)["job_id"], "success", "success")


def test_P14_first_limit_that_is_reached_counts(server, api, make_worker):
    make_worker(server.url, {"slow": {"command": ["/bin/sh", "-c", "sleep 600"], "no_progress_timeout": "1h", "timeout": "1s"}})
    assert ended(api, api.submit("slow", max_attempts=1)["job_id"], "timeout")["error_log"].startswith("time limit of 1s reached")


def test_P14_job_may_name_its_own_limit_of_silence(server, api, make_worker):
    make_worker(server.url, {"quiet": {"command": ["/bin/sleep", "600"], "no_progress_timeout": "1h"}})
    job = ended(api, api.submit("quiet", max_attempts=1, no_progress_timeout="500ms")["job_id"], "stalled")
    assert job["no_progress_timeout_s"] == 0.5 and " for 500ms " in job["error_log"]


def test_cli_names_the_limits_of_a_job(server, api, haul):
    done = haul("submit", "quiet", "--no-progress-timeout", "5m", "--timeout", "2h", "--json", url=server.url)
    assert done.returncode == 0, done.stderr
    (job,) = api.get("/v1/jobs").json()["jobs"]
    assert (api.job(job["job_id"])["no_progress_timeout_s"], api.job(job["job_id"])["timeout_s"]) == (300, 7200)
    assert "no progress" in haul("jobs", "show", job["job_id"], url=server.url).stdout
    assert "--no-progress-timeout" in haul("submit", "quiet", "--no-progress-timeout", "-5m", url=server.url).stderr


def test_job_that_is_not_started_in_time_expires_and_says_so(server, api):
    job_id = api.submit("nobody", start_within="200ms")["job_id"]
    assert api.job(job_id)["start_deadline_at"]
    job = api.wait(job_id)
    assert (job["status"], job["outcome"], job["attempt"]) == ("failed", "expired", 0)
    assert "deadline" in job["error_log"]


# --- limits of a task type, on the server ---

def seconds_between(a, b):
    return (datetime.datetime.fromisoformat(b) - datetime.datetime.fromisoformat(a)).total_seconds()


def test_task_type_has_a_start_deadline_that_its_jobs_may_replace(make_server, haul):
    server = make_server({"task_types": {"news": {"start_deadline": "300ms"}}})
    api = Api(server.url)
    late = api.submit("news")
    assert seconds_between(late["created_at"], late["start_deadline_at"]) == 0.3
    own, other = api.submit("news", start_within="1h"), api.submit("olds")
    assert (seconds_between(own["created_at"], own["start_deadline_at"]), other["start_deadline_at"]) == (3600, None)
    job = api.wait(late["job_id"])
    assert (job["status"], job["outcome"], job["attempt"]) == ("failed", "expired", 0)
    assert {api.job(j["job_id"])["status"] for j in (own, other)} == {"pending"}
    batch = api.post("/v1/jobs:batch", {"jobs": [{"task_type": "news", "delay": "1h"}]}).json()
    waits = api.job(batch["results"][0]["job_id"])  # it counts from when the job may start
    assert seconds_between(waits["run_at"], waits["start_deadline_at"]) == 0.3 and seconds_between(waits["created_at"], waits["run_at"]) == 3600
    assert "start deadline" in haul("jobs", "show", late["job_id"], url=server.url).stdout


@pytest.mark.parametrize("limit, outcome", [("timeout", "timeout"), ("no_progress_timeout", "stalled")])
def test_P14_task_type_has_limits_that_its_jobs_may_replace(make_server, make_worker, limit, outcome):
    server = make_server({"task_types": {"slow": {limit: "1s", "max_attempts": 1}}})
    api = Api(server.url)
    make_worker(server.url, {"slow": {"command": ["/bin/sh", "-c", "sleep 2"], limit: "1h"}}, slots=2)
    own = api.submit("slow", **{limit: "1h", "max_attempts": 2})
    job = ended(api, api.submit("slow")["job_id"], outcome)
    assert (job[limit + "_s"], job["max_attempts"], limit == "timeout" or f"({limit})" in job["error_log"]) == (1, 1, True)
    assert (own[limit + "_s"], own["max_attempts"]) == (3600, 2)
    ended(api, own["job_id"], "success", "success")


def test_key_is_the_same_requests_whatever_the_server_fills_in(make_server):
    """An upgrade may change what is configured between a request and its repetition."""
    server = make_server({"task_types": {"t": {"timeout": "1h"}}})
    api = Api(server.url)

    def submit():
        return api.submit("t", dedup_key="k", inputs=[{"name": "in", "ref": api.put_blob(b'same')['ref']}])
    first = submit()
    server.terminate()
    server.config.write_text("server:\n  max_attempts: 7\ntask_types:\n  t:\n    timeout: 2h\n    start_deadline: 3h\n")
    server.restart()
    again = submit()  # uploaded again, too: the request is another one, its content is not
    assert (again["job_id"], again["timeout_s"], again["max_attempts"]) == (first["job_id"], 3600, 5)
    fresh = api.submit("t")
    assert (fresh["timeout_s"], fresh["max_attempts"]) == (7200, 7)


BAD_LIMITS = [("t: {start_deadline: 0}", "start_deadline: must be 1ms to 3650d, got 0s"), ("t: {start_deadline: -1s}", "start_deadline"),
              ("t: {start_deadline: soon}", "start_deadline: not a duration"), ("t: {start_deadline: 3651d}", "got 3651d"),
              ("t: {timeout: 0}", "timeout: must be 1ms"), ("t: {no_progress_timeout: 99999999999999999999h}", "no_progress_timeout"),
              ("t: {max_attempts: 0}", "max_attempts: must be 1 to 100, got 0"), ("t: {max_attempts: 101}", "1 to 100"),
              ("t: {start_within: 1m}", "known: start_deadline, timeout, no_progress_timeout, max_attempts"),
              ("t: {timeout: [1s]}", "one value, not a list"), ("t: 10m", "with a map of limits"), ("'a b': {timeout: 1s}", "must be a task type"),
              ("[t]", "must be a map of task types"), ("t: {}\n  t: {}", "given twice")]


@pytest.mark.parametrize("text, says", BAD_LIMITS)
def test_limit_of_a_task_type_that_cannot_be_is_refused_with_its_place(haul, tmp_path, text, says):
    config = tmp_path / "haul.yaml"
    config.write_text(f"task_types:\n  {text}\n")
    done = haul("server", "--config", config, "--data", tmp_path / "data", "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and re.search(rf"{config}:[123]:\d+: ", done.stderr) and says in done.stderr, done.stderr


@pytest.mark.parametrize("key", ["no_progress_timeout", "verify_timeout", "timeout"])
@pytest.mark.parametrize("value", ["-1s", "367d", "soon", "99999999999999999999h"])
def test_limit_that_cannot_be_is_refused_with_its_place(haul, tmp_path, key, value):
    entry = tmp_path / "handlers.yaml"
    entry.write_text(f"handlers:\n  t:\n    command: [/bin/true]\n    {key}: {value}\n")
    done = haul("worker", "--handlers", entry, "--state", tmp_path / "state")
    assert done.returncode != 0 and f"{entry}:4:" in done.stderr and key in done.stderr, done.stderr


# --- verify ---

def verified(make_worker, url, verify, work="echo made > out/result; echo working", **entry):
    return make_worker(url, {"made": {"command": ["/bin/sh", "-c", work], "verify": ["/bin/sh", "-c", verify], **entry}})


@pytest.mark.parametrize("isolation", isolations())
def test_P09_verify_sees_what_the_handler_left_and_its_log_is_marked(server, api, make_worker, isolation):
    verified(make_worker, server.url, "cat out/result; echo of $HAUL_JOB_ID; test -f payload.json; printf end", isolation=isolation,
             work="echo made > out/result; printf 'no end of line'")
    job_id = api.submit("made")["job_id"]
    ended(api, job_id, "success", "success")
    assert api.log(job_id).text == f"no end of line\nverify: made\nverify: of {job_id}\nverify: end"
    assert [o["name"] for o in api.outputs(job_id)] == ["result"]


@pytest.mark.parametrize("isolation", isolations())
def test_P09_truncated_output_fails_in_the_words_of_verify(server, api, make_worker, isolation):
    verified(make_worker, server.url, "n=$(wc -c < out/result); "
             "test $n -eq 100 || { echo \"error result has $n bytes, not 100\" >&3; echo looked; exit 3; }",
             work="echo 'error all is well' >&3; head -c 60 /dev/zero > out/result", isolation=isolation)
    job_id = api.submit("made", max_attempts=1)["job_id"]
    job = ended(api, job_id, "error")
    assert job["error_log"].startswith("result has 60 bytes, not 100\nverify: exit status 3\n"), job["error_log"]
    assert job["error_log"].rstrip().endswith("verify: looked")
    assert not job["result_url"] and not api.outputs(job_id)
    assert api.attempts(job_id)[0]["exit_code"] == 3


def test_P09_failed_verify_is_tried_again_unless_its_status_is_permanent(make_server, make_worker):
    server = make_server({"backoff_base": "100ms"})
    api = Api(server.url)
    verified(make_worker, server.url, "exit $HAUL_ATTEMPT", permanent_exit_codes=["2"])
    job = api.wait(api.submit("made", max_attempts=5)["job_id"])
    assert (job["status"], job["attempt"], job["retries"]) == ("failed", 2, 1), job


def test_verify_that_hangs_is_killed_at_its_limit_and_the_lease_lives(make_server, make_worker):
    server = make_server({"lease": "2s", "heartbeat": "500ms"})
    api = Api(server.url)
    verified(make_worker, server.url, "sleep 600", verify_timeout="5s")
    job_id = api.submit("made", max_attempts=1)["job_id"]
    job = ended(api, job_id, "timeout")
    assert job["error_log"].startswith("verify: time limit of 5s reached\n"), job["error_log"]
    assert len(api.attempts(job_id)) == 1 and not processes_of_job(job_id)


@pytest.mark.parametrize("isolation", isolations())
def test_verify_that_crashes_says_by_which_signal(server, api, make_worker, isolation):
    verified(make_worker, server.url, "kill -SEGV $$", isolation=isolation)
    job = ended(api, api.submit("made", max_attempts=1)["job_id"], "signal")
    assert job["error_log"].startswith("verify: killed by signal 11 (SIGSEGV)\n"), job["error_log"]


@pytest.mark.parametrize("isolation", isolations())
def test_verify_that_is_missing_is_named(server, api, make_worker, isolation):
    make_worker(server.url, {"made": {"command": ["/bin/sh", "-c", "echo made > out/result"], "isolation": isolation,
                                      "verify": ["/nowhere/verify"]}})
    job = ended(api, api.submit("made", max_attempts=1)["job_id"], "error")
    assert "/nowhere/verify" in job["error_log"], job["error_log"]


def test_status_shows_what_is_verified_and_cancel_ends_it(server, api, make_worker, haul):
    worker = verified(make_worker, server.url, "echo looking; sleep 600")
    job_id = api.submit("made")["job_id"]
    until(lambda: "verifying" in haul("worker", "status", "--state", worker.state).stdout)
    until(lambda: "looking" in api.log(job_id).text)
    assert api.post(f"/v1/jobs/{job_id}/cancel").status_code in (200, 202)
    assert api.wait(job_id)["status"] == "cancelled"
    assert not processes_of_job(job_id)


# --- the one that transcode_v1 names ---

def clip(path, seconds=4, sound=True, size="320x240"):
    sources = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}"]
    if sound:
        sources += ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    subprocess.run(["ffmpeg", "-v", "error", "-y", *sources, "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac",
                    "-movflags", "+faststart", str(path)], check=True, stdin=subprocess.DEVNULL)


def cut_in_half(source, path):
    shutil.copy(source, path)
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size // 2)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize("what, words", [("whole", None), ("truncated", "ends after"), ("short", "lasts 2.0 s, the input 4.0 s"),
                                         ("silent", "no sound"), ("small", "120 lines high instead of 240"), ("none", "0 files"), ("text", "cannot be read")])
def test_P09_transcode_outputs_are_verified(tmp_path, what, words):
    """handlers/verify_transcode, run as haul runs it."""
    for folder in ("in", "out"):
        (tmp_path / folder).mkdir()
    (tmp_path / "payload.json").write_text('{"height": 240}')
    clip(tmp_path / "in" / "clip.mp4")
    output = tmp_path / "out" / "clip.mp4"
    if what == "whole":
        shutil.copy(tmp_path / "in" / "clip.mp4", output)
    elif what == "truncated":
        cut_in_half(tmp_path / "in" / "clip.mp4", output)
    elif what == "text":
        output.write_text("no video")
    elif what != "none":
        clip(output, seconds=2 if what == "short" else 4, sound=what != "silent", size="160x120" if what == "small" else "320x240")
    done = subprocess.run([TOP / "handlers" / "verify_transcode"], cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False, env={"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"})
    assert done.returncode == (1 if words else 0), done
    assert not words or words in done.stderr, done


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_P09_truncated_video_never_becomes_a_result(server, api, make_worker, tmp_path):
    clip(tmp_path / "clip.mp4")
    blob = api.put_blob((tmp_path / "clip.mp4").read_bytes())
    work = "f=in/clip.mp4; head -c $(($(wc -c < $f) / 2)) $f > out/clip.mp4; echo progress 100 done >&3"
    make_worker(server.url, {"cut": {"command": ["/bin/sh", "-c", work], "verify": [str(TOP / "handlers" / "verify_transcode")],
                                     "isolation": isolations()[-1]}})
    job_id = api.submit("cut", payload={"height": 240}, max_attempts=1, inputs=[{"name": "clip.mp4", "ref": blob["ref"]}])["job_id"]
    job = ended(api, job_id, "error")
    assert "verify: exit status 1" in job["error_log"] and "'clip.mp4'" in job["error_log"], job["error_log"]
    assert not api.outputs(job_id)
