"""GET /metrics: what it says, how it says it, and that the documentation says the same. promtool (Debian's prometheus) is the judge."""
import concurrent.futures
import re
import shutil
import subprocess

import pytest
from conftest import COMPLETE, TOP, Api, problem

PROMTOOL = shutil.which("promtool")
SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
DOC = TOP / "docs" / "metrics.md"


def scrape(api):
    answer = api.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def parse(text):
    """{name: (type, help)}, {(name, labels): value}; every line must be understood, no sample may be there twice."""
    families, samples = {}, {}
    for line in text.splitlines():
        if line.startswith("# HELP "):
            name, _, help_text = line[7:].partition(" ")
            assert name not in families
            families[name] = (None, help_text)
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split()
            families[name] = (kind, families[name][1])
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            key = match[1], frozenset(re.findall(r'([a-z_]+)="((?:[^"\\]|\\.)*)"', match[2] or ""))
            assert key not in samples, line
            samples[key] = float(match[3])
    return families, samples


def value(samples, name, **labels):
    return samples[name, frozenset(labels.items())]


def promtool(*arguments, **kwargs):
    assert PROMTOOL, "promtool is missing: run 'make packages'"
    done = subprocess.run([PROMTOOL, *map(str, arguments)], capture_output=True, text=True, timeout=60, **kwargs)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documented():
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| (.*?) \| (.*) \|$", DOC.read_text(), re.M)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels)), text) for name, kind, labels, text in rows}


def family_of(name, families):
    return name if name in families else re.sub(r"_(bucket|sum|count)$", "", name)


def life(api):
    """One job of each kind of ending, a duplicate, a refusal."""
    api.submit("film", dedup_key="k")
    api.submit("film", dedup_key="k")
    problem(api.post("/v1/jobs", {"task_type": "film", "dedup_key": "k", "payload": {"other": 1}}), 409)
    (claim,) = api.lease("film")
    assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).status_code == 200
    api.submit("film", queue="night", max_attempts=1)
    (claim,) = api.lease("film")
    assert api.act(claim, "fail", {"outcome": "oom", "error_log": "too much", **COMPLETE}).status_code == 200
    api.submit("film", queue="night")
    api.put_blob(b"12345")


def test_slis_tell_what_happened(api):
    slis = api.get("/v1/slis").json()["all"]
    assert slis["queue_depth"] == 0 and slis["job_success_rate_1m"] is None and slis["job_start_latency_p95_s"] is None
    life(api)
    slis = api.get("/v1/slis").json()["all"]
    assert slis["queue_depth"] == 1
    assert slis["job_success_rate_1m"] == slis["job_success_rate_5m"] == 0.5
    assert slis["job_start_latency_p95_s"] > 0 and slis["job_completion_latency_p99_s"] > 0
    assert slis["started_per_s"] > 0 and slis["finished_per_s"] > 0
    problem(api.get("/v1/slis?window=1h"), 422, field="window")


def test_metrics_tell_what_happened(api):
    life(api)
    _, samples = parse(scrape(api))

    film, night = {"queue": "film", "task_type": "film"}, {"queue": "night", "task_type": "film"}
    assert value(samples, "haul_jobs", status="success", **film) == 1
    assert value(samples, "haul_jobs", status="pending", **film) == 0
    assert value(samples, "haul_jobs", status="failed", **night) == 1
    assert value(samples, "haul_jobs", status="pending", **night) == 1
    assert value(samples, "haul_submissions_total", result="accepted", **film) == 1
    assert value(samples, "haul_submissions_total", result="duplicate", **film) == 1
    assert value(samples, "haul_submissions_total", result="refused", **film) == 1
    assert value(samples, "haul_attempts_ended_total", outcome="success", **film) == 1
    assert value(samples, "haul_attempts_ended_total", outcome="oom", **night) == 1
    assert value(samples, "haul_job_start_latency_seconds_count", **film) == 1
    assert value(samples, "haul_attempt_duration_seconds_count", **night) == 1
    assert value(samples, "haul_job_completion_latency_seconds_count", **film) == 1
    assert value(samples, "haul_job_completion_latency_seconds_count", **night) == 0
    assert value(samples, "haul_jobs_finished_total", status="success", **film) == 1
    assert value(samples, "haul_jobs_finished_total", status="failed", **night) == 1
    assert value(samples, "haul_ready_jobs", **night) == 1
    assert value(samples, "haul_oldest_ready_age_seconds", **night) > 0
    assert value(samples, "haul_oldest_ready_age_seconds", **film) == 0
    assert value(samples, "haul_blobs") == 1 and value(samples, "haul_blob_bytes") == 5
    assert value(samples, "haul_workers") == value(samples, "haul_workers_live") == 2
    assert value(samples, "haul_commits_failed_total") == 0
    assert value(samples, "haul_database_log_bytes") > 0
    post = {"method": "POST", "route": "/v1/jobs"}
    assert value(samples, "haul_http_requests_total", code="2xx", **post) == 4
    assert value(samples, "haul_http_requests_total", code="4xx", **post) == 1
    assert value(samples, "haul_http_request_duration_seconds_count", **post) == 5
    assert value(samples, "process_open_fds") > 3 and value(samples, "process_cpu_seconds_total") > 0
    for (name, labels), number in samples.items():
        if name.endswith("_count"):
            bound = (name.replace("_count", "_bucket"), labels | {("le", "+Inf")})
            assert samples[bound] == number


def test_histograms_rise_to_their_count(api):
    life(api)
    families, samples = parse(scrape(api))
    buckets = {}
    for (name, labels), number in samples.items():
        if name.endswith("_bucket"):
            le = dict(labels)["le"]
            buckets.setdefault((name, labels - {("le", le)}), []).append((float(le), number))
    assert {family_of(name, families) for name, _ in buckets} == {n for n, (kind, _) in families.items() if kind == "histogram"}
    for series in buckets.values():
        counts = [number for _, number in sorted(series)]
        assert counts == sorted(counts) and len(counts) >= 10


def test_promtool_finds_nothing_to_complain_about(api):
    life(api)
    assert promtool("check", "metrics", input=scrape(api)) == ""


def test_documentation_and_server_agree(make_server):
    api = Api(make_server({"objectives": {"o": {"success": 0.9}}, "alert_receivers": {"r": {"command": ["true"]}}}).url)
    life(api)
    families, samples = parse(scrape(api))
    docs = documented()
    assert {name: (kind, text) for name, (kind, _, text) in docs.items()} == families
    seen = {name: set() for name in families}
    for name, labels in samples:
        seen[family_of(name, families)] |= {label for label, _ in labels} - {"le"}
    assert seen == {name: labels - {"standby"} for name, (_, labels, _) in docs.items()}  # those of standbys: test_standbys.py


def test_rules_and_queries_are_valid(tmp_path):
    rules = TOP / "packaging" / "prometheus" / "haul.rules.yml"
    assert "SUCCESS" in promtool("check", "rules", rules)
    assert "SUCCESS" in promtool("test", "rules", TOP / "test" / "blackbox" / "haul.rules.test.yml")
    queries = re.findall(r"```promql\n(.*?)```", DOC.read_text(), re.S)
    assert len(queries) >= 2
    written = tmp_path / "queries.yml"
    written.write_text("groups:\n  - name: queries\n    rules:\n" + "".join(
        f"      - record: query:{i}\n        expr: >-\n" + "".join(f"          {line}\n" for line in query.splitlines())
        for i, query in enumerate(queries)))
    assert "SUCCESS" in promtool("check", "rules", written)
    names = set(documented())
    for text in [rules.read_text(), *queries]:
        used = {re.sub(r"_(bucket|sum|count)$", "", n) for n in re.findall(r"(?<![:\w])haul_\w+", text)}
        assert used <= names


def test_scrape_config_is_valid(tmp_path):
    config = re.search(r"```yaml\n(.*?)```", DOC.read_text(), re.S)[1]
    (tmp_path / "prometheus.yml").write_text(config)
    shutil.copy(TOP / "packaging" / "prometheus" / "haul.rules.yml", tmp_path)
    promtool("check", "config", tmp_path / "prometheus.yml")


def test_label_values_are_bounded(server):
    api = Api(server.url)
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(lambda i: api.submit(f"type-{i}"), range(1010)))
    text = scrape(api)
    families, samples = parse(text)
    types = {dict(labels)["task_type"] for _, labels in samples if "task_type" in dict(labels)}
    assert len(types) == 1001 and "other" in types
    assert value(samples, "haul_jobs", queue="other", task_type="other", status="pending") == 10
    assert value(samples, "haul_ready_jobs", queue="other", task_type="other") == 10
    assert sum(n for (name, _), n in samples.items() if name == "haul_ready_jobs") == 1010
    told = [row["submitted_per_min"] for row in api.get("/v1/stats").json()["queues"]]
    assert told.count(None) == 10 and all(n is None or n > 0 for n in told)
    assert len(text) < 16 << 20
    # promtool 2.53 needs minutes for all of it: one type of the thousand, "other", and whatever has no type
    some = [line for line in text.splitlines() if '="type-' not in line or '="type-7"' in line]
    assert len(some) < 2000
    assert promtool("check", "metrics", input="\n".join(some) + "\n") == ""


def test_stats_and_status_tell_how_long_jobs_wait(api, server, haul):
    life(api)
    night, film = sorted(api.get("/v1/stats").json()["queues"], key=lambda q: q["queue"], reverse=True)
    assert (night["queue"], night["pending"], night["ready"]) == ("night", 1, 1) and night["oldest_ready_age_s"] > 0
    assert (film["queue"], film["ready"], film["oldest_ready_age_s"]) == ("film", 0, 0)
    later = api.submit("film", delay="1h")
    assert later["status"] == "pending"
    film = next(q for q in api.get("/v1/stats").json()["queues"] if q["queue"] == "film")
    assert (film["pending"], film["ready"]) == (1, 0)

    shown = haul("status", url=server.url).stdout
    header, *rows = [line.split() for line in shown.splitlines() if "film" in line or "QUEUE" in line]
    assert header[:4] == ["QUEUE", "TYPE", "PENDING", "WAITS"]
    assert any(re.fullmatch(r"night film 1 \d+s 0 0 1 0", " ".join(row)) for row in rows)
    assert any(" ".join(row) == "film film 1 0 1 0 0" for row in rows)  # not due: nothing waits


def test_unknown_parameters_are_refused(api):
    problem(api.get("/metrics", params={"name": "x"}), 422, field="name")


def test_counts_of_jobs_survive_a_restart(server):
    life(Api(server.url))
    server.terminate()
    server.restart()
    _, samples = parse(scrape(Api(server.url)))
    assert value(samples, "haul_jobs", queue="night", task_type="film", status="failed") == 1
    assert value(samples, "haul_ready_jobs", queue="night", task_type="film") == 1
    assert value(samples, "haul_submissions_total", queue="night", task_type="film", result="accepted") == 0
    assert value(samples, "haul_blobs") == 1 and value(samples, "haul_blob_bytes") == 5
