"""Many jobs on the command line: what jobs list, cancel, retry and discard do with a filter."""
import datetime
import json
import os
import pty
import re
import subprocess

import pytest
from conftest import HAUL
from moody import Moody


@pytest.fixture
def cli(haul, server):
    return lambda *arguments, **kwargs: haul(*arguments, url=server.url, **kwargs)


def batch(api, jobs):
    """Submits them all; their ids."""
    ids = []
    for at in range(0, len(jobs), 1000):
        answer = api.post("/v1/jobs:batch", {"jobs": jobs[at:at + 1000]}).json()
        assert answer["refused"] == 0
        ids += [r["job_id"] for r in answer["results"]]
    return ids


def statuses(api, ids):
    return [api.job(i)["status"] for i in ids]


def count(api, **params):
    jobs, cursor = 0, None
    while True:
        page = api.get("/v1/jobs", params={"limit": 1000, **params, **({"cursor": cursor} if cursor else {})}).json()
        jobs += len(page["jobs"])
        cursor = page["next_cursor"]
        if not cursor:
            return jobs


@pytest.mark.parametrize("action", ["cancel", "retry", "discard"])
def test_neither_ids_nor_filter_is_a_usage_error_that_names_all(haul, action):
    run = haul("jobs", action)
    assert run.returncode == 2 and "--all" in run.stderr and run.stdout == ""


@pytest.mark.parametrize("arguments, word", [
    (["cancel", "01890000-0000-7000-8000-000000000000", "--type", "t"], "both"),
    (["cancel", "01890000-0000-7000-8000-000000000000", "--all"], "both"),
    (["cancel", "--all", "--queue", "q"], "both"),
    (["cancel", "--status", "success", "--yes"], "pending and running"),
    (["retry", "--status", "pending", "--yes"], "failed and cancelled"),
    (["discard", "--status", "running", "--yes"], "discarded"),
    (["cancel", "--status", "nonsense"], "pending"),
    (["cancel", "--label", "=x"], "--label"),
    (["cancel", "--created-after", "yesterday"], "--created-after"),
    (["cancel", "--created-before", "90"], "--created-before"),
    (["cancel", "--type", "t", "--limit", "0"], "--limit"),
    (["list", "--status", "nonsense"], "--status"),
    (["list", "--created-after", "2026-02-30"], "--created-after"),
])
def test_wrong_filters_exit_2_before_any_call(haul, arguments, word):
    run = haul("jobs", *arguments, url="http://127.0.0.1:1")
    assert run.returncode == 2 and word in run.stderr and run.stdout == "", run


def test_filter_takes_what_it_matches_and_nothing_else(cli, api):
    ours = batch(api, [{"task_type": "a", "queue": "q1"}] * 3 + [{"task_type": "b", "queue": "q1"}] * 2)
    others = batch(api, [{"task_type": "a", "queue": "q2"}] * 2)
    run = cli("jobs", "cancel", "--queue", "q1", "--yes")
    assert run.returncode == 0 and run.stdout == "5 jobs cancelled\n", run
    assert statuses(api, ours) == ["cancelled"] * 5 and statuses(api, others) == ["pending"] * 2
    run = cli("jobs", "retry", "--type", "b", "--yes")
    assert run.returncode == 0 and run.stdout == "2 jobs retried\n", run
    assert statuses(api, ours) == ["cancelled"] * 3 + ["pending"] * 2
    run = cli("jobs", "discard", "--all", "--yes")
    assert run.returncode == 0 and run.stdout == "3 jobs discarded\n", run
    assert count(api) == 4


def test_labels_and_times(cli, api):
    film = [{"task_type": "t", "labels": {"film": "7", "draft": "yes"}}, {"task_type": "t", "labels": {"film": "7"}},
            {"task_type": "t", "labels": {"film": "8", "draft": "ä=b"}}, {"task_type": "t"}]
    both, seven, eight, none = ids = batch(api, film)

    def matched(*filters):
        run = cli("jobs", "list", *filters, "--json")
        assert run.returncode == 0, run.stderr
        return {job["job_id"] for job in json.loads(run.stdout)["jobs"]}

    assert matched("--label", "film=7") == {both, seven}
    assert matched("--label", "film=7", "--label", "draft") == {both}
    assert matched("-l", "draft") == {both, eight}
    assert matched("--label", "draft=ä=b") == {eight}
    assert matched("--created-after", "1h") == matched("--created-before", "2100-01-01") == set(ids)
    assert matched("--created-after", "1h", "--created-before", "30m") == matched("--created-before", "1h") == set()
    created = [api.job(i)["created_at"] for i in ids]
    assert none in matched("--created-after", created[3])  # after is inclusive
    assert both not in matched("--created-before", created[0])  # before is not
    tomorrow = (datetime.date.today() + datetime.timedelta(days=1)).isoformat()
    assert matched("--created-after", tomorrow) == set()
    run = cli("jobs", "cancel", "--label", "film=7", "--created-after", "1h", "--yes")
    assert run.returncode == 0 and run.stdout == "2 jobs cancelled\n", run
    assert statuses(api, ids) == ["cancelled", "cancelled", "pending", "pending"]
    run = cli("jobs", "list", *[f"--label=k{i}" for i in range(9)])
    assert run.returncode == 11 and "label" in run.stderr


def test_a_page_that_is_empty_is_not_the_last(haul):
    job = {"job_id": "01890000-0000-7000-8000-000000000001", "status": "pending", "task_type": "a", "queue": "a", "attempt": 0}
    with Moody((200, {"jobs": [], "next_cursor": "c1"}), (200, {"jobs": [job], "next_cursor": "c2"}),
               (200, {"jobs": [], "next_cursor": None})) as server:
        run = haul("jobs", "list", "--label", "rare", "--json", url=server.url)
    assert run.returncode == 0 and len(json.loads(run.stdout)["jobs"]) == 1
    assert [a[0].partition("cursor=")[2] for a in server.asked] == ["", "c1", "c2"]
    with Moody(*[(200, {"jobs": [], "next_cursor": "same"})] * 2) as server:
        run = haul("jobs", "list", url=server.url)
    assert run.returncode == 10 and "same page" in run.stderr


def test_without_yes_nothing_is_done_where_nobody_can_be_asked(cli, api):
    ids = batch(api, [{"task_type": "a"}] * 3 + [{"task_type": "b"}])
    run = cli("jobs", "cancel", "--all")
    assert run.returncode == 2 and run.stdout == "", run
    assert "4 jobs would be cancelled" in run.stderr and "--yes" in run.stderr
    assert re.search(r"3\s+pending\s+a\n", run.stderr) and re.search(r"1\s+pending\s+b\n", run.stderr)
    assert statuses(api, ids) == ["pending"] * 4


def test_dry_run_only_counts(cli, api):
    ids = batch(api, [{"task_type": "a"}] * 3)
    run = cli("jobs", "cancel", "--type", "a", "--dry-run")
    assert run.returncode == 0 and "3 jobs would be cancelled" in run.stdout
    run = cli("jobs", "cancel", "--type", "a", "--dry-run", "--json")
    assert run.returncode == 0
    assert json.loads(run.stdout) == {"action": "cancel", "dry_run": True, "matched": 3, "done": 0, "asked_to_stop": 0,
                                      "refused": 0, "refusals": [],
                                      "by": [{"status": "pending", "task_type": "a", "jobs": 3}]}
    assert statuses(api, ids) == ["pending"] * 3


def test_a_filter_that_matches_nothing_says_so_and_is_no_error(cli, api):
    batch(api, [{"task_type": "a"}])
    run = cli("jobs", "cancel", "--type", "nobody", "--yes")
    assert run.returncode == 0 and run.stdout == "" and "no jobs match" in run.stderr
    run = cli("jobs", "retry", "--all", "--yes", "--json")
    assert run.returncode == 0 and json.loads(run.stdout)["matched"] == 0


def test_limit_takes_the_newest(cli, api):
    ids = batch(api, [{"task_type": "a"}])
    ids += batch(api, [{"task_type": "a"}])
    ids += batch(api, [{"task_type": "a"}])
    assert cli("jobs", "cancel", "--type", "a", "--limit", "2", "--yes").stdout == "2 jobs cancelled\n"
    assert statuses(api, ids) == ["pending", "cancelled", "cancelled"]


def test_running_jobs_are_asked_to_stop(cli, api):
    batch(api, [{"task_type": "a"}] * 2)
    assert len(api.lease("a")) == 1
    run = cli("jobs", "cancel", "--all", "--yes")
    assert run.returncode == 0 and run.stdout == "1 job cancelled, 1 running asked to stop\n", run
    assert count(api, status="running") == 1


def test_more_than_a_thousand_go_in_several_calls(cli, api):
    batch(api, [{"task_type": "a"}] * 2500)
    run = cli("jobs", "cancel", "--type", "a", "--yes", "--json")
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    assert (summary["matched"], summary["done"], summary["refused"]) == (2500, 2500, 0)
    assert count(api, status="cancelled") == 2500


def test_ids_each_have_their_line_and_the_first_refusal_is_the_exit_status(cli, api):
    ids = batch(api, [{"task_type": "a"}] * 3)
    assert api.post(f"/v1/jobs/{ids[1]}/cancel").status_code == 200
    run = cli("jobs", "retry", *ids, ids[0])  # one of them twice
    assert run.returncode == 13 and run.stdout == f"{ids[1]} pending\n", run
    assert ids[0] in run.stderr and ids[2] in run.stderr
    absent = "01890000-0000-7000-8000-000000000000"
    run = cli("jobs", "cancel", absent, ids[0], "--json")
    assert run.returncode == 12
    first, second = json.loads(run.stdout)
    assert (first["job_id"], first["ok"], first["code"]) == (absent, False, "not_found")
    assert second == {"job_id": ids[0], "ok": True, "status": "cancelled"}


class Terminal:
    """haul on a terminal: what it shows, and what is typed."""

    def __init__(self, environment, url, *arguments):
        self.lead, follow = pty.openpty()
        self.shown = ""
        self.process = subprocess.Popen([str(HAUL), *arguments], env={**environment, "HAUL_SERVER": url}, stdin=follow,
                                        stdout=follow, stderr=follow)
        os.close(follow)

    def until(self, text):
        while text not in self.shown:
            try:
                piece = os.read(self.lead, 4096).decode()
            except OSError:  # the other end is closed
                piece = ""
            assert piece, self.shown
            self.shown += piece

    def type(self, text):
        os.write(self.lead, text.encode())

    def end(self):
        try:
            while piece := os.read(self.lead, 4096).decode():
                self.shown += piece
        except OSError:
            pass
        os.close(self.lead)
        return self.process.wait(30)


@pytest.mark.parametrize("answer, done", [("y\n", True), ("yes\n", True), ("n\n", False), ("\n", False), ("yellow\n", False),
                                          ("\x04", False)])
def test_a_terminal_is_asked(server, api, environment, answer, done):
    ids = batch(api, [{"task_type": "a"}] * 2)
    terminal = Terminal(environment, server.url, "jobs", "cancel", "--type", "a")
    terminal.until("Cancel 2 jobs? [y/N] ")
    terminal.type(answer)
    assert terminal.end() == (0 if done else 20), terminal.shown
    assert ("2 jobs cancelled" if done else "nothing was done") in terminal.shown
    assert statuses(api, ids) == ["cancelled" if done else "pending"] * 2


def test_exactly_what_was_counted_is_acted_upon(server, api, environment):
    """A job that comes while the question stands is not taken; one that has ended meanwhile is refused and told."""
    ids = batch(api, [{"task_type": "a"}] * 2)
    assert [api.post(f"/v1/jobs/{i}/cancel").status_code for i in ids] == [200, 200]
    terminal = Terminal(environment, server.url, "jobs", "retry", "--type", "a")
    terminal.until("Retry 2 jobs? [y/N] ")
    (late,) = batch(api, [{"task_type": "a"}])
    assert api.post(f"/v1/jobs/{late}/cancel").status_code == 200
    assert api.post(f"/v1/jobs/{ids[0]}/retry").status_code == 200
    terminal.type("y\n")
    assert terminal.end() == 13, terminal.shown
    assert "1 job retried, 1 refused" in terminal.shown and f"haul: {ids[0]}: " in terminal.shown
    assert statuses(api, [*ids, late]) == ["pending", "pending", "cancelled"]
