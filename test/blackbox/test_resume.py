"""Checkpoints of real handlers: kept by one worker's supervisor, found again by the next one's."""
import os
import re

import pytest
from conftest import Api, isolations, processes_of_job, until
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
    worker.kill_host()
    make_worker(server.url, handlers)
    job = api.wait(job_id)
    assert (job["status"], job["attempt"]) == ("success", 2)
    assert api.log(job_id).text == "part one,a tool,resume 1\n"
    assert checkpoint(api, job_id) is None and job["checkpoint"] is None  # a success needs none
    assert [a["redone"] for a in api.attempts(job_id)] == [None, 0]


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
