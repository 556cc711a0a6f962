"""Debian's Prometheus beside a server: its rules and the server's own alerts agree, and every query of the Grafana dashboard has an answer."""
import json
import re
import signal
import socket
import subprocess

import pytest
import requests
import yaml
from conftest import TOP, Api, until
from dead import fail
from test_alerts import alerts, succeed
from test_metrics import promtool

RULES = {"queue_depth": "HaulQueueDepth", "job_failure_rate": "HaulJobFailureRate", "dlq_growth": "HaulDlqGrowth", "succeeds:fast_burn": "HaulFastBurn"}
CONFIG = {"objectives": {"succeeds": {"success": 0.9}},
          "alerts": {"every": "200ms", "queue_depth": {"above": 2, "clear_at": 1, "for": "1s"}, "job_failure_rate": {"above": "40%", "clear_at": "20%", "for": 0},
                     "dlq_growth": {"above": 0}}}


class Prometheus:
    def __init__(self, folder, target, rules):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{s.getsockname()[1]}"
        (folder / "rules.yml").write_text(rules)
        (folder / "prometheus.yml").write_text(yaml.safe_dump({
            "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"}, "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "haul", "static_configs": [{"targets": [target.removeprefix("http://")]}]}]}))
        self.log = open(folder / "prometheus.log", "wb")
        self.process = subprocess.Popen(["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb",
                                         f"--web.listen-address={self.url.removeprefix('http://')}"], stdout=self.log, stderr=self.log)

    def query(self, expr):
        answer = requests.get(self.url + "/api/v1/query", params={"query": expr}, timeout=30).json()
        assert answer["status"] == "success", (expr, answer)
        return answer["data"]["result"]

    def up(self):
        """Prometheus has scraped the server"""
        try:
            ready = requests.get(self.url + "/-/ready", timeout=30).status_code == 200
            return ready and self.query("haul_build_info")
        except requests.ConnectionError:
            assert self.process.poll() is None, open(self.log.name).read()
            return None

    def firing(self):
        found = requests.get(self.url + "/api/v1/alerts", timeout=30).json()["data"]["alerts"]
        return {a["labels"]["alertname"] for a in found if a["state"] == "firing"}

    def looks_again(self):
        """Twice: the second time it knows what the first one wrote."""
        for _ in range(2):
            before = self.looked()
            until(lambda: self.looked() != before, 60)

    def looked(self):
        (group,) = requests.get(self.url + "/api/v1/rules", timeout=30).json()["data"]["groups"]
        return group["lastEvaluation"]

    def sees(self, expr, number):
        def seen():
            """Prometheus knows it"""
            return [r for r in self.query(expr) if float(r["value"][1]) == number]
        return until(seen, 60)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        self.log.close()


@pytest.fixture
def both(make_server, haul, tmp_path):
    server = make_server(CONFIG)
    rules = haul("alerts", "--prometheus-rules", url=server.url).stdout
    (tmp_path / "prometheus").mkdir()
    (tmp_path / "own.yml").write_text(rules)
    assert "SUCCESS: 5 rules found" in promtool("check", "rules", tmp_path / "own.yml")
    prometheus = Prometheus(tmp_path / "prometheus", server.url, rules)
    try:
        until(prometheus.up, 60)
        yield Api(server.url), prometheus
    finally:
        prometheus.end()


def agree(api, prometheus, firing):
    """Both come to say that these fire, and no others."""
    def agreed():
        """server and Prometheus agree"""
        own = {RULES[n] for n, a in alerts(api).items() if a["state"] == "firing" and n in RULES}
        return own == firing and prometheus.firing() - {"HaulSlowBurn"} == firing
    until(agreed, 60)


def test_prometheus_and_the_server_agree(both):
    api, prometheus = both
    agree(api, prometheus, set())
    for _ in range(3):
        api.submit("film", max_attempts=1)
    agree(api, prometheus, {"HaulQueueDepth"})
    succeed(api, "film")  # between the two bounds: it holds
    prometheus.sees("sum(haul_ready_jobs)", 2)
    prometheus.looks_again()
    until(lambda: alerts(api)["queue_depth"]["value"] == 2)
    agree(api, prometheus, {"HaulQueueDepth"})
    fail(api, "film", n=2)
    agree(api, prometheus, {"HaulJobFailureRate", "HaulDlqGrowth", "HaulFastBurn"})
    for _ in range(20):
        api.submit("film")
        succeed(api, "film")
    agree(api, prometheus, {"HaulDlqGrowth"})

    dashboard = json.loads((TOP / "packaging" / "grafana" / "haul.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            expr = re.sub(r"\$__rate_interval", "1m", target["expr"]).replace("$instance", ".*")
            assert prometheus.query(expr), (panel["title"], expr)


def test_the_packaged_rules_are_those_of_a_fresh_server(server, haul):
    made = haul("alerts", "--prometheus-rules", url=server.url).stdout
    assert made == (TOP / "packaging" / "prometheus" / "haul.alerts.yml").read_text()
