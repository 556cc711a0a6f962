"""make cluster, and the Compose file: the installation that packaging/ describes."""
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import urllib.request

import pytest
import yaml
from conftest import HAUL, TOP, Databases, until

COMPOSE = TOP / "packaging" / "compose"


@pytest.fixture
def cluster(environment, tmp_path):
    Databases.postgres()  # skips where there is none
    out = tmp_path / "cluster.out"
    with open(out, "wb") as said:
        process = subprocess.Popen([str(TOP / "scripts" / "cluster"), "--haul", str(HAUL)], stdout=said, stderr=said, env=environment,
                                   start_new_session=True)
    process.said = out.read_text
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(150)


def test_a_job_goes_through_it_and_nothing_stays(cluster, haul):
    def ready():
        """the cluster says that it is ready"""
        assert cluster.poll() is None, cluster.said()
        return "ready. Try:" in cluster.said()
    until(ready, 180)
    told = dict(re.findall(r"^(\w+) {2,}(\S+)", cluster.said(), re.M))
    done = haul("submit", "hello", "--payload", '{"n": 1}', "--wait", "--json", url=told["server"])
    assert done.returncode == 0, done.stderr
    assert json.loads(haul("status", "--json", url=told["server"]).stdout)["queues"][0]["success"] == 1
    if shutil.which("prometheus"):
        def scraped():
            """Prometheus has seen the server"""
            with urllib.request.urlopen(told["prometheus"] + "/api/v1/targets", timeout=10) as answer:
                return [t["health"] for t in json.load(answer)["data"]["activeTargets"]] == ["up"]
        until(scraped, 60)
    folder = pathlib.Path(told["logs"]).parent
    assert folder.is_dir()
    cluster.send_signal(signal.SIGINT)
    assert cluster.wait(150) == 0, cluster.said()
    assert not folder.exists()
    left = [p for p in os.listdir("/proc") if p.isdigit() and str(folder).encode() in command_of(p)]
    assert left == []


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


# --- the Compose file, where no container engine is ---

@pytest.fixture
def compose():
    return yaml.safe_load((COMPOSE / "compose.yaml").read_text())


KEYS = {"image", "build", "command", "environment", "volumes", "ports", "depends_on", "healthcheck", "restart", "security_opt",
        "stop_grace_period", "configs", "entrypoint", "init", "deploy"}


def test_compose_says_only_what_there_is(compose):
    assert set(compose) <= {"name", "services", "volumes", "configs"}
    for name, service in compose["services"].items():
        assert set(service) <= KEYS, (name, set(service) - KEYS)
        assert ("image" in service) or ("build" in service), name
        for other, how in service.get("depends_on", {}).items():
            assert other in compose["services"], (name, other)
            assert how["condition"] == "service_healthy" and "healthcheck" in compose["services"][other], (name, other)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in compose["volumes"], (name, volume)
        for config in service.get("configs", []):
            assert config["source"] in compose["configs"], (name, config)
    for config in compose["configs"].values():
        assert (COMPOSE / config["file"]).exists(), config
    assert set(compose["volumes"]) == {v.split(":")[0] for s in compose["services"].values() for v in s.get("volumes", []) if not v.startswith(".")}


def test_the_server_takes_what_compose_gives_it(compose, haul, tmp_path):
    """Its configuration is read to the end: what is wrong is only that no such database is here."""
    config = yaml.safe_load((COMPOSE / "haul.yaml").read_text())
    assert "@postgres/" in config["server"]["store"] and "postgres" in compose["services"]
    password = re.search(r":([^:@]+)@postgres", config["server"]["store"])[1]
    assert compose["services"]["postgres"]["environment"]["POSTGRES_PASSWORD"] == password
    config["server"] |= {"data": str(tmp_path / "data"), "store": "postgres://haul@127.0.0.1:1/haul"}
    (tmp_path / "haul.yaml").write_text(yaml.safe_dump(config))
    done = haul("server", "--config", tmp_path / "haul.yaml")
    assert done.returncode == 16 and "cannot reach the database" in done.stderr


def test_compose_commands_are_those_of_haul(compose, haul):
    for name, service in compose["services"].items():
        if service.get("image") == "haul":
            command = service["command"]
            told = haul("help", command[0])
            assert told.returncode == 0, name
            for word in command[1:]:
                assert not word.startswith("--") or word in told.stdout, (name, word)


@pytest.mark.skipif(not shutil.which("promtool"), reason="prometheus is not installed")
def test_prometheus_understands_its_configuration(tmp_path):
    for source in (COMPOSE / "prometheus.yml", TOP / "packaging" / "prometheus" / "haul.rules.yml"):
        shutil.copy(source, tmp_path)
    text = (tmp_path / "prometheus.yml").read_text().replace("/etc/prometheus/", f"{tmp_path}/")
    (tmp_path / "prometheus.yml").write_text(text)
    done = subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_builds_what_the_list_of_packages_allows():
    """What it installs to build and to run is Debian's, by names that the project's own list has."""
    lines = (COMPOSE / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    stages = [line.split() for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2 and all(stage[1].startswith("debian:") for stage in stages)
    copies = [line.split() for line in lines if line.startswith("COPY --from=")]
    assert copies and all(copy[1] == f"--from={stages[0][3]}" for copy in copies)
    assert any(line.startswith("USER ") for line in lines) and lines[-1].startswith("ENTRYPOINT")
