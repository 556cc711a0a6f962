"""The worker's agent and supervisors come and go, crash and run out of space: what survives what."""
from conftest import Api


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
