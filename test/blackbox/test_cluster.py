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
import requests
import yaml
from conftest import HAUL, TOP, Api, Databases, own_redis, until
from test_s3 import own_s3

COMPOSE = TOP / "packaging" / "compose"


@pytest.fixture
def cluster(environment, tmp_path):
    Databases.postgres()  # skips where there is none
    if why := own_s3.missing():
        pytest.skip(why)
    if not own_redis.program():
        pytest.skip("Redis is not installed")
    out = tmp_path / "cluster.out"
    with open(out, "wb") as said:
        process = subprocess.Popen([str(TOP / "scripts" / "cluster"), "--haul", str(HAUL), "--workers", "1"], stdout=said, stderr=said, env=environment,
                                   start_new_session=True)
    process.said = out.read_text
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.wait(150)


def test_a_job_goes_from_one_server_to_a_worker_of_the_other_and_nothing_stays(cluster, haul, tmp_path):
    def ready():
        """the cluster says that it is ready"""
        assert cluster.poll() is None, cluster.said()
        return "ready. Try:" in cluster.said()
    until(ready, 180)
    told = dict(re.findall(r"^(\w+) {2,}(\S+)", cluster.said(), re.M))
    first, second = told["server1"], told["server2"]
    (tmp_path / "data.bin").write_bytes(os.urandom(100_000))
    done = haul("submit", "hello", "--payload", '{"n": 1}', "--input", f"data.bin={tmp_path / 'data.bin'}", "--wait", "--json", url=first)
    assert done.returncode == 0, done.stdout + done.stderr
    job = json.loads(done.stdout)
    outputs = {o["name"]: o for o in Api(second).outputs(job["job_id"])}
    assert outputs.keys() == {"payload.json", "data.bin"}
    for url in (first, second):
        assert requests.get(f"{url}/v1/blobs/{outputs['data.bin']['ref'].removeprefix('blob:')}", timeout=60).content == (tmp_path / "data.bin").read_bytes()
        assert json.loads(haul("status", "--json", url=url).stdout)["queues"][0]["success"] == 1
        assert Api(url).get("/readyz").json()["broker"]["driver"] == "redis"
    assert told["s3"].startswith("s3://haul/") and told["postgres"].startswith("postgres")
    if shutil.which("prometheus"):
        def scraped():
            """Prometheus has seen both servers"""
            with urllib.request.urlopen(told["prometheus"] + "/api/v1/targets", timeout=10) as answer:
                return [t["health"] for t in json.load(answer)["data"]["activeTargets"]] == ["up", "up"]
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
            ends = how["condition"] == "service_completed_successfully" and "restart" not in compose["services"][other]
            assert ends or (how["condition"] == "service_healthy" and "healthcheck" in compose["services"][other]), (name, other)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (COMPOSE / source).exists() if source.startswith(".") else source in compose["volumes"], (name, volume)
        for config in service.get("configs", []):
            assert config["source"] in compose["configs"], (name, config)
    for config in compose["configs"].values():
        assert (COMPOSE / config["file"]).exists(), config
    assert set(compose["volumes"]) == {v.split(":")[0] for s in compose["services"].values() for v in s.get("volumes", []) if not v.startswith(".")}


def test_the_servers_take_what_compose_gives_them(compose, haul, tmp_path):
    """Their configuration is read to the end: what is wrong is only that none of that is here."""
    config, services = yaml.safe_load((COMPOSE / "haul.yaml").read_text())["server"], compose["services"]
    for url, service in ((config["store"], "postgres"), (config["broker"], "redis"), (config["blob"], "s3")):
        assert re.search(rf"(//|@){service}[:/]|//{service}$", url) and service in services, url
    password = re.search(r":([^:@]+)@postgres", config["store"])[1]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == password
    keys = services["server1"]["environment"]
    assert services["s3"]["environment"] == {"MINIO_ROOT_USER": keys["AWS_ACCESS_KEY_ID"], "MINIO_ROOT_PASSWORD": keys["AWS_SECRET_ACCESS_KEY"]}
    made = services["bucket"]["entrypoint"][-1]
    assert f"{keys['AWS_ACCESS_KEY_ID']} {keys['AWS_SECRET_ACCESS_KEY']}" in made and made.endswith("s3/" + re.match(r"s3://(\w+)", config["blob"])[1])
    servers = [name for name, service in services.items() if service.get("command", [""])[0] == "server" and service["image"] == "haul"]
    assert servers == config["hosts"] == ["server1", "server2"]
    assert all(f"http://{name}:8420" in services["worker"]["command"][2].split(",") for name in servers)
    nowhere = {"store": "postgres://haul@127.0.0.1:1/haul", "broker": "redis://127.0.0.1:1", "blob": config["blob"].replace("http://s3:9000", "http://127.0.0.1:1")}
    (tmp_path / "haul.yaml").write_text(yaml.safe_dump({"server": {**config, "data": str(tmp_path / "data"), **nowhere}}))
    found = {c["check"]: c for c in json.loads(haul("doctor", "--config", tmp_path / "haul.yaml", "--json", env=keys).stdout)["checks"]}
    for check, said in (("database", "cannot reach"), ("broker", ""), ("blobs", "cannot be reached")):
        assert found[check]["status"] == "fail" and said in found[check]["said"], found


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
    builds, runs = ([word for line in part.splitlines() if " install " in line for word in line.split()]
                    for part in "\n".join(lines).split("COPY --from=")[0].rsplit("FROM ", 1))
    listed = (TOP / "packaging" / "debian-packages.txt").read_text()
    assert set(listed.partition("# build\n")[2].partition("# run\n")[0].split()) - {"libcmocka-dev"} <= set(builds)
    needed = subprocess.run(["readelf", "-d", HAUL], capture_output=True, text=True, check=True).stdout
    for library in re.findall(r"NEEDED.*\[(lib[a-z]+)", needed):
        name = {"libcrypto": "libssl", "libc": "ffmpeg"}.get(library, library)  # the C library comes by itself
        assert any(package.startswith(name) for package in runs), library
    assert any(line.startswith("USER ") for line in lines) and lines[-1].startswith("ENTRYPOINT")
