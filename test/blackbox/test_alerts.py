"""Objectives and alerts of the server's own: declared, counted, judged, shown; and what is wrong with a declaration."""
import json

import pytest
from conftest import COMPLETE, Api, problem, until
from dead import fail
from test_metrics import parse, scrape, value

PROMISES = {"starts": {"start_within": "1h", "objective": "99%"},
            "succeeds": {"task_type": "film", "queue": "film", "success": 0.999, "window": "7d"},
            "kept": {"success": "0.9", "dead_letters": "keep"}}
QUICK = {"every": "100ms", "queue_depth": {"above": 1, "clear_at": 1, "for": "200ms"}, "dlq_growth": {"above": 0, "severity": "info"},
         "job_failure_rate": "off", "oldest_ready_age": {"above": "1d"}}


def alerts(api):
    return {a["name"]: a for a in api.get("/v1/alerts").json()["alerts"]}


def objectives(api):
    return {o["name"]: o for o in api.get("/v1/slis").json()["objectives"]}


def reached(api, name, state):
    def there():
        """the alert is in that state"""
        alert = alerts(api)[name]
        return alert if alert["state"] == state else None
    return until(there)


def succeed(api, task_type):
    (claim,) = api.lease(task_type)
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).status_code == 200


def test_alerts_come_with_the_server(api):
    found = alerts(api)
    assert {n: (a["above"], a["clear_at"], a["for_s"], a["window_s"], a["severity"]) for n, a in found.items()} == {
        "queue_depth": (500, 450, 60, None, "critical"), "job_failure_rate": (0.03, 0.027, 60, 300, "warning"),
        "dlq_growth": (10, 9, 0, 3600, "warning")}
    assert {a["state"] for a in found.values()} == {"ok"} and objectives(api) == {}
    problem(api.get("/v1/alerts?state=firing"), 422, field="state")


def test_promises_are_counted_and_alerts_fire(make_server, haul):
    server = make_server({"objectives": PROMISES, "alerts": QUICK})
    api = Api(server.url)
    assert objectives(api)["succeeds"] == {
        "name": "succeeds", "task_type": "film", "queue": "film", "kind": "success", "within_s": None, "dead_letters": "fail", "objective": 0.999,
        "window_s": 604800, "good": 0, "bad": 0, "budget_left": 1, "burn_5m": None, "burn_30m": None, "burn_1h": None, "burn_6h": None, "state": "ok"}
    assert set(alerts(api)) == {"queue_depth", "dlq_growth", "oldest_ready_age"} | {f"{o}:{b}_burn" for o in PROMISES for b in ("fast", "slow")}
    for _ in range(3):
        api.submit("film", max_attempts=1)
    depth = reached(api, "queue_depth", "firing")
    assert depth["value"] == 3 and depth["fired_at"] == depth["since"] and depth["resolved_at"] is None
    _, samples = parse(scrape(api))
    assert value(samples, "haul_alert_firing", alert="queue_depth", severity="critical") == 1

    succeed(api, "film")
    fail(api, "film", n=1)
    assert reached(api, "queue_depth", "resolved")["resolved_at"]
    growth = reached(api, "dlq_growth", "firing")
    assert (growth["value"], growth["severity"], growth["objective"]) == (1, "info", None)
    burn = reached(api, "succeeds:fast_burn", "firing")
    assert burn["objective"] == "succeeds" and burn["what"] == "fast_burn" and burn["above"] == pytest.approx(3.36)
    promised = objectives(api)
    assert {n: (o["good"], o["bad"], o["state"]) for n, o in promised.items()} == {
        "starts": (2, 0, "ok"), "succeeds": (1, 1, "fast_burn"), "kept": (2, 0, "ok")}
    assert promised["succeeds"]["budget_left"] == pytest.approx(-499) and promised["succeeds"]["burn_6h"] == pytest.approx(500)
    _, samples = parse(scrape(api))
    assert value(samples, "haul_objective_events_total", objective="succeeds", result="bad") == 1
    assert value(samples, "haul_objective_error_budget_left_ratio", objective="succeeds") == pytest.approx(-499)

    shown = haul("alerts", url=server.url).stdout
    assert "queue_depth" in shown and "resolved" in shown and "firing" in shown
    assert len(json.loads(haul("alerts", "--json", url=server.url).stdout)["alerts"]) == 9
    shown = haul("objectives", url=server.url).stdout
    assert "99% start within" in shown and "fast_burn" in shown and "-49900.0%" in shown
    assert len(json.loads(haul("objectives", "--json", url=server.url).stdout)["objectives"]) == 3

    server.terminate()
    server.restart()
    again = objectives(Api(server.url))
    assert {n: (o["good"], o["bad"]) for n, o in again.items()} == {"starts": (2, 0), "succeeds": (1, 1), "kept": (2, 0)}
    reached(Api(server.url), "dlq_growth", "firing")


def test_a_stream_brings_alerts(make_server):
    api = Api(make_server({"alerts": QUICK}).url)
    with api.get("/v1/events?alerts=1", stream=True) as stream:
        lines = stream.iter_lines()
        for line in lines:
            if line == b"event: alerts":
                assert json.loads(next(lines).removeprefix(b"data: "))["alerts"][0]["name"] == "queue_depth"
                return


@pytest.mark.parametrize("text, says", [
    ("objectives: []", "1:1: must be a map of objectives"),
    ("objectives: {'a b': {success: 0.9}}", "'a b' must be a name"),
    ("objectives: {a: 0.9}", "'a' must be a name (letters, digits, _ . : -) with a map of what is promised"),
    ("objectives: {a: {}}", "start_within: give either start_within (with objective) or success"),
    ("objectives: {a: {success: 0.9, start_within: 5m}}", "success: give either start_within (with objective) or success"),
    ("objectives: {a: {start_within: 5m}}", "objective: is required with start_within"),
    ("objectives: {a: {success: 0.9, objective: 0.9}}", "objective: belongs to start_within"),
    ("objectives: {a: {success: 1}}", "success: must be 0.01 to 0.99999 (1% to 99.999%), got '1'"),
    ("objectives: {a: {success: 99.99999%}}", "success: must be 0.01 to 0.99999"),
    ("objectives: {a: {success: most}}", "success: 'most' is no share: write 0.99 or 99%"),
    ("objectives: {a: {success: nan}}", "success: 'nan' is no share"),
    ("objectives: {a: {success: 0.9, dead_letters: maybe}}", "dead_letters: must be fail or keep, got 'maybe'"),
    ("objectives: {a: {start_within: 5m, objective: 0.9, dead_letters: keep}}", "dead_letters: belongs to success"),
    ("objectives: {a: {success: 0.9, window: 31d}}", "window: must be 1h to 30d, got 31d"),
    ("objectives: {a: {start_within: soon, objective: 0.9}}", "start_within: "),
    ("objectives: {a: {success: 0.9, task_type: 'a b'}}", "task_type: must be a name"),
    ("objectives: {a: {success: 0.9, colour: red}}", "colour: unknown; known: task_type, queue, start_within, objective, success"),
    ("objectives: {" + ", ".join(f"o{i}: {{success: 0.9}}" for i in range(33)) + "}", "at most 32 objectives, got 33"),
    ("alerts: 5", "1:1: must be a map of alerts"),
    ("alerts: {every: 1ms}", "every: must be 100ms to 1h, got 1ms"),
    ("alerts: {every: [1s]}", "every must be a duration"),
    ("alerts: {queue_deep: off}", "unknown alert 'queue_deep'; known: every, queue_depth, job_failure_rate"),
    ("alerts: {queue_depth: loud}", "queue_depth must be off, or a map with above"),
    ("alerts: {queue_depth: {above: -1}}", "above: must be a whole number, 0 to 1000000000000, got '-1'"),
    ("alerts: {queue_depth: {above: 5, clear_at: 6}}", "clear_at: must be at most above"),
    ("alerts: {queue_depth: {window: 5m}}", "window: unknown; known: for, severity, above, clear_at"),
    ("alerts: {queue_depth: {severity: P1}}", "severity: must be critical, warning or info, got 'P1'"),
    ("alerts: {job_failure_rate: {above: 101%}}", "above: must be 0 to 1 (0% to 100%), got '101%'"),
    ("alerts: {job_failure_rate: {window: 1s}}", "window: must be 1m to 30d, got 1s"),
    ("alerts: {oldest_ready_age: {above: long}}", "above: "),
    ("alerts: {fast_burn: {above: 3}}", "above: unknown; known: for, severity"),
])
def test_a_bad_declaration_names_its_place_and_the_remedy(haul, tmp_path, text, says):
    (tmp_path / "haul.yaml").write_text(text + "\n")
    run = haul("server", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", "--config", tmp_path / "haul.yaml")
    assert run.returncode == 11, run.stderr
    assert "haul.yaml:1:" in run.stderr and says in run.stderr, run.stderr
