"""Checkpoints of real handlers: kept by one worker's supervisor, found again by the next one's."""
import json
import re

import pytest
from conftest import Api, isolations, processes_of_job, until
from holding_proxy import HoldingProxy
from test_agent import SHORT, waits_for
from test_damage import flip, stored
from test_stop import stop  # noqa: F401

# The first attempt keeps two files and says so; the next one shows what it found.
KEEPS = """
if [ "$HAUL_RESUME" ]; then
    cat checkpoint/*; test -x checkpoint/tool && echo "resume $HAUL_RESUME"
else
    echo "progress 40" >&3
    printf 'part one,' > part && mv part checkpoint/part-1
    printf 'a tool,' > tool && chmod 755 tool && mv tool checkpoint/tool
    echo checkpoint >&3
    echo "progress 90" >&3
    exec sleep 1000
fi
"""


def checkpoint(api, job_id):
    answer = api.get(f"/v1/jobs/{job_id}/checkpoint")
    return answer.json() if answer.status_code == 200 else None


def names(kept):
    return [f["name"] for f in kept["files"]]


@pytest.mark.parametrize("isolation", isolations())
def test_P08_another_worker_goes_on_from_the_checkpoint_of_a_lost_one(make_server, make_worker, haul, isolation):
    server = make_server(SHORT)
    api = Api(server.url)
    handlers = {"steady": {"command": ["/bin/sh", "-c", KEEPS], "isolation": isolation}}
    worker = make_worker(server.url, handlers)
    job_id = api.submit("steady")["job_id"]
    kept = until(lambda: checkpoint(api, job_id))
    assert (kept["attempt"], kept["percent"], kept["bytes"], names(kept)) == (1, 40, 16, ["part-1", "tool"])
    assert [f["executable"] for f in kept["files"]] == [False, True]
    assert api.job(job_id)["checkpoint"] == {**kept, "files": 2}
    assert re.search(r"^checkpoint +40% done, of attempt 1 \(.*\): 2 files, 16 B$", haul("jobs", "show", job_id, url=server.url).stdout, re.M)
    api.wait(job_id, lambda j: j["progress"]["percent"] == 90)
    worker.kill_host()
    make_worker(server.url, handlers)
    job = api.wait(job_id)
    assert (job["status"], job["attempt"]) == ("success", 2)
    assert api.log(job_id).text == "part one,a tool,resume 1\n"
    assert checkpoint(api, job_id) is None and job["checkpoint"] is None  # a success needs none
    assert [a["redone"] for a in api.attempts(job_id)] == [None, 0.5]
    assert re.search(r"^ +2 .* 50% ", haul("jobs", "show", job_id, url=server.url).stdout, re.M)


def test_P05_stop_now_keeps_what_nobody_asked_for(make_server, make_worker, stop):  # noqa: F811
    server = make_server(SHORT)
    api = Api(server.url)
    handlers = {"steady": """
        test "$HAUL_RESUME" && exec cat checkpoint/state
        trap 'printf late > .s; mv .s checkpoint/state; exit 1' TERM
        echo up; sleep 1000 & wait"""}
    worker = make_worker(server.url, handlers)
    job_id = api.submit("steady")["job_id"]
    until(lambda: api.log(job_id).text)
    assert checkpoint(api, job_id) is None
    assert stop(worker, "--now").returncode == 0
    kept = checkpoint(api, job_id)
    assert (names(kept), kept["percent"]) == (["state"], None)
    assert [a["outcome"] for a in api.attempts(job_id)] == ["interrupted"]
    make_worker(server.url, handlers)
    assert api.wait(job_id)["status"] == "success" and api.log(job_id).text == "late"


@pytest.fixture
def make_proxy():
    made = []

    def make(server):
        made.append(HoldingProxy(server.url))
        return made[-1]
    yield make
    for proxy in made:
        proxy.close()


def puts(name, text="x"):
    return f"printf '{text}' > tmp; mv tmp checkpoint/{name}; "


SAYS = "echo checkpoint >&3; "


def test_only_what_changed_is_sent_also_by_the_next_attempt(make_server, make_worker, make_proxy, tmp_path):
    server = make_server(SHORT)
    proxy, api = make_proxy(server), Api(server.url)
    one, two, three = (tmp_path / n for n in ("one", "two", "three"))
    make_worker(proxy.url, {"steady": f"""
        if [ -z "$HAUL_RESUME" ]; then
            {puts("a")}{puts("b")}{SAYS}{waits_for(one)}
            {puts("b", "changed")}{SAYS}{waits_for(two)}
            exit 75
        fi
        {puts("c")}{SAYS}{waits_for(three)}"""})
    job_id = api.submit("steady")["job_id"]
    first = until(lambda: checkpoint(api, job_id))
    one.touch()
    second = until(lambda: (now := checkpoint(api, job_id))["at"] != first["at"] and now)
    assert proxy.count("POST /v1/blobs") == 3
    two.touch()
    third = until(lambda: (now := checkpoint(api, job_id))["attempt"] == 2 and now)
    three.touch()
    assert api.wait(job_id)["status"] == "success"
    assert names(second) == ["a", "b"] and names(third) == ["a", "b", "c"] and proxy.count("POST /v1/blobs") == 4
    refs = [[f["ref"] for f in kept["files"]] for kept in (first, second, third)]
    assert refs[0][0] == refs[1][0] and refs[0][1] != refs[1][1] and refs[1] == refs[2][:2]


def test_what_is_asked_for_is_stored_before_a_failure_is_reported(make_server, make_worker, make_proxy):
    server = make_server(SHORT)
    proxy, api = make_proxy(server), Api(server.url)
    proxy.hold("PUT .*/checkpoint")
    make_worker(proxy.url, {"steady": f"test $HAUL_RESUME && exec cat checkpoint/a; {puts('a')}{SAYS}exit 75"})
    job_id = api.submit("steady")["job_id"]
    proxy.held("PUT .*/checkpoint")
    assert api.job(job_id)["status"] == "running" and not processes_of_job(job_id)
    proxy.release()
    assert api.wait(job_id)["status"] == "success" and api.log(job_id).text == "x"


def test_an_interval_stores_what_changed_unasked(make_server, make_worker, make_proxy, tmp_path):
    server = make_server(SHORT)
    proxy, api = make_proxy(server), Api(server.url)
    more = tmp_path / "more"
    make_worker(proxy.url, {"steady": {"command": ["/bin/sh", "-c", puts("a") + waits_for(more) + "; " + puts("b") + "exec sleep 1000"],
                                       "checkpoint_interval": "100ms"}})
    job_id = api.submit("steady")["job_id"]
    assert names(until(lambda: checkpoint(api, job_id))) == ["a"]
    beats = proxy.count("POST .*/heartbeat")
    until(lambda: proxy.count("POST .*/heartbeat") > beats + 1)  # a second and more, in which nothing changes
    assert proxy.count("PUT .*/checkpoint") == 1
    more.touch()
    until(lambda: names(checkpoint(api, job_id)) == ["a", "b"])
    assert proxy.count("PUT .*/checkpoint") == 2


def test_P04_an_upload_that_hangs_holds_up_neither_lease_nor_log_nor_the_end(make_server, make_worker, make_proxy, tmp_path):
    server = make_server(SHORT)
    proxy, api = make_proxy(server), Api(server.url)
    proxy.hold("POST /v1/blobs")
    make_worker(proxy.url, {"steady": f"{puts('a')}{SAYS}{waits_for(tmp_path / 'say')}; echo said; {waits_for(tmp_path / 'end')}"})
    job_id = api.submit("steady")["job_id"]
    proxy.held("POST /v1/blobs")
    lease = api.job(job_id)["lease_until"]
    beats = proxy.count("POST .*/heartbeat")
    until(lambda: proxy.count("POST .*/heartbeat") > beats + 1 and api.job(job_id)["lease_until"] > lease)
    (tmp_path / "say").touch()
    until(lambda: api.log(job_id).text == "said\n")
    (tmp_path / "end").touch()
    job = api.wait(job_id)
    assert (job["status"], job["attempt"]) == ("success", 1)


def test_what_cannot_be_a_checkpoint_leaves_the_one_before_and_costs_the_job_nothing(make_server, make_worker, tmp_path):
    server = make_server(SHORT)
    api = Api(server.url)
    bad = [("ln -s /etc/passwd checkpoint/bad", "checkpoint/bad is a symbolic link"),
           ("mkfifo checkpoint/bad", "checkpoint/bad is a pipe"),
           ("mkdir checkpoint/bad", "checkpoint/bad is a folder"),
           ("head -c 1100 /dev/zero > checkpoint/bad", "it is larger than 1024 bytes (checkpoint_max)")]
    steps = "".join(f"rm -rf checkpoint/bad; {what}; {SAYS}{waits_for(tmp_path / str(i))}; " for i, (what, _) in enumerate(bad))
    make_worker(server.url, {"steady": {"command": ["/bin/sh", "-c", f"{puts('a')}{SAYS}{waits_for(tmp_path / 'go')}; printf half; {steps} echo end"],
                                        "checkpoint_max": "1KiB"}})
    job_id = api.submit("steady")["job_id"]
    kept = until(lambda: checkpoint(api, job_id))
    (tmp_path / "go").touch()
    for i, (what, why) in enumerate(bad):
        until(lambda: why in api.log(job_id).text)
        assert checkpoint(api, job_id) == kept, what
        (tmp_path / str(i)).touch()
    job = api.wait(job_id)
    assert (job["status"], job["attempt"]) == ("success", 1)
    lines = api.log(job_id).text.splitlines()
    assert lines[0] == "half" and lines[-1] == "end" and len(lines) == len(bad) + 2
    assert all(line.startswith("haul: no checkpoint was taken, the one before stays: ") for line in lines[1:-1])


def test_files_that_change_while_they_are_read_are_not_published(make_server, make_worker, make_proxy, tmp_path):
    server = make_server(SHORT)
    proxy, api = make_proxy(server), Api(server.url)
    again = tmp_path / "again"
    worker = make_worker(proxy.url, {"steady": f"{puts('a')}{SAYS}{waits_for(again)}; {SAYS}exec sleep 1000"})
    restless, gate = True, proxy.gate

    def touching_gate(request):
        if request == "POST /v1/blobs" and restless:
            (path,) = (worker.state / "attempts").glob("*/scratch/checkpoint/a")
            path.write_text("y")
        return gate(request)
    proxy.gate = touching_gate
    job_id = api.submit("steady")["job_id"]
    until(lambda: "haul: no checkpoint was taken, the one before stays: its files changed while they were read" in api.log(job_id).text)
    assert checkpoint(api, job_id) is None and not proxy.count("PUT .*/checkpoint")
    restless = False
    again.touch()
    assert names(until(lambda: checkpoint(api, job_id))) == ["a"]


def test_a_report_while_the_server_is_away_is_kept_until_it_is_back(make_server, make_worker, tmp_path):
    server = make_server(SHORT)
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": f"""
        test $HAUL_RESUME && exec cat checkpoint/a
        echo up; {waits_for(tmp_path / 'go')}; {puts("a")}{SAYS}exit 75"""})
    job_id = api.submit("steady")["job_id"]
    until(lambda: api.log(job_id).text)
    server.terminate()
    (tmp_path / "go").touch()
    until(lambda: "checkpoint not stored yet" in worker.said)
    server.restart()
    assert Api(server.url).wait(job_id)["status"] == "success"
    assert Api(server.url).log(job_id).text == "x"


def test_a_report_that_no_server_ever_takes_is_given_up_clearly(make_server, make_worker, tmp_path):
    server = make_server({**SHORT, "lease": "3s", "heartbeat": "500ms"})
    api = Api(server.url)
    worker = make_worker(server.url, {"steady": f"""
        test $HAUL_ATTEMPT -gt 1 && exit 0
        echo up; {waits_for(tmp_path / 'go')}; {puts("a")}{SAYS}exec sleep 1000"""}, extra=("--orphan-limit", "1s"))
    job_id = api.submit("steady")["job_id"]
    until(lambda: api.log(job_id).text)
    server.terminate()
    (tmp_path / "go").touch()
    (log,) = (worker.state / "attempts").glob("*/log.kept")
    until(lambda: "haul: a checkpoint was given up, the one before stays: " in log.read_text())
    server.restart()
    assert Api(server.url).wait(job_id)["status"] == "success"


def test_P09_a_damaged_checkpoint_is_not_used(make_server, make_worker, tmp_path):
    server = make_server(SHORT)
    api = Api(server.url)
    make_worker(server.url, {"steady": f"""
        if [ $HAUL_ATTEMPT -gt 1 ]; then ls checkpoint; echo "resume ${{HAUL_RESUME-no}}"; exit 0; fi
        {puts("a")}{puts("b", "bytes")}{SAYS}{waits_for(tmp_path / 'go')}; exit 75"""})
    job_id = api.submit("steady")["job_id"]
    kept = until(lambda: checkpoint(api, job_id))
    flip(stored(server, kept["files"][1]["ref"]), 2)
    (tmp_path / "go").touch()
    assert api.wait(job_id)["status"] == "success"
    said, *rest = api.log(job_id).text.splitlines()
    assert said.startswith("haul: the checkpoint is not used: checkpoint's file 'b'") and rest == ["resume no"]


def test_a_server_that_names_a_file_outside_of_the_folder_is_not_followed(make_server, make_worker, make_proxy):
    server = make_server({**SHORT, "backoff_base": "10ms"})
    proxy, api = make_proxy(server), Api(server.url)
    bad = ["..", "../bad", "/tmp/bad", "a/../../bad", ""]
    make_worker(proxy.url, {"steady": f"""
        ls checkpoint .; echo "resume ${{HAUL_RESUME-no}}"; test $HAUL_ATTEMPT -gt {len(bad)} && exit 0
        {puts("a")}{SAYS}exit 75"""})

    def answer_passes(path, answer):
        if not path.endswith("/checkpoint") or not answer.content:
            return answer.content
        value = answer.json()
        value["files"][0]["name"] = bad.pop()
        return json.dumps(value).encode()
    proxy.answer_passes = answer_passes
    job_id = api.submit("steady", max_attempts=9)["job_id"]
    job = api.wait(job_id)
    assert (job["status"], job["attempt"], bad) == ("success", 6, [])
    for attempt in range(2, 7):
        said, rest = api.log(job_id, attempt=attempt).text.split("\n", 1)
        assert said.startswith("haul: the checkpoint is not used: the server sent a file that cannot be"), said
        assert rest == ".:\ncheckpoint\nin\nout\npayload.json\n\ncheckpoint:\nresume no\n"
