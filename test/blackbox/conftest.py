"""Drives the real binary: servers and workers as processes, a client that speaks HTTP by itself.

HAUL_BIN names the binary (default build/haul). HAUL_TEST_STORE=postgres has every server use a database of its own on a PostgreSQL of the
test's own, where a test says nothing else; with HAUL_TEST_POOLER=1 through PgBouncer in transaction mode.
Nothing here sleeps where the server can tell: waiting is GET ?wait=.
Whatever a test starts is stopped by its process id at the test's end."""
import atexit
import itertools
import json
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid

import contract
import pytest
import requests
import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "test"))
import postgres as own_postgres  # noqa: E402
import redis_server as own_redis  # noqa: E402

HAUL = pathlib.Path(os.environ.get("HAUL_BIN", TOP / "build" / "haul")).resolve()
READY = re.compile(r"haul server listening on (http://\S+)")
TERMINAL = {"success", "failed", "cancelled"}


def until(what, deadline=30):
    """Looks until what() is true and returns it: for states of the machine that nothing announces."""
    end = time.monotonic() + deadline
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"did not happen within {deadline} s: {getattr(what, '__doc__', None) or what}")
        time.sleep(0.02)


def processes():
    """(pid, parent, state, command line, environment) of every process that can be read."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
                command = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
                environment = pathlib.Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:
                continue
            yield int(entry), int(fields[1]), fields[0], command, environment


def processes_of_job(job_id):
    """Process ids of a job's handler and its descendants, wherever they were re-parented to."""
    return [pid for pid, _ in family_of_job(job_id)]


def states_of_job(job_id):
    """The kernel's word for each of them: 'T' is stopped."""
    return [state for _, state in family_of_job(job_id)]


def held_still(job_id):
    """Its processes are stopped, whatever they were doing: a shell whose child was stopped before its exec waits for that in 'D'."""
    states = set(states_of_job(job_id))
    return "T" in states and states <= {"T", "D"}


def family_of_job(job_id):
    mark = f"HAUL_JOB_ID={job_id}".encode()
    return [(pid, state) for pid, _, state, _, environment in processes() if state != "Z" and mark in environment]


class Process:
    """A running haul whose output is kept in files."""
    binary = HAUL  # another one after an upgrade
    prefix = ()    # a command that runs it, such as unshare

    def __init__(self, folder, name, arguments, environment):
        self.arguments, self.environment = [str(a) for a in arguments], environment
        self.out_path, self.err_path = folder / f"{name}.out", folder / f"{name}.err"
        self.launch()

    def launch(self):
        with open(self.out_path, "ab") as out, open(self.err_path, "ab") as err:
            self.popen = subprocess.Popen([*self.prefix, str(self.binary), *self.arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                          env=self.environment)

    @property
    def pid(self):
        return self.popen.pid

    @property
    def said(self):
        return self.out_path.read_text(errors="replace") + self.err_path.read_text(errors="replace")

    def terminate(self, timeout=30):
        """SIGTERM; the exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(timeout)

    def kill(self):
        self.popen.kill()
        return self.popen.wait(10)


class Databases:
    """One PostgreSQL for this process of pytest, started when first asked for."""
    server = pooler = None
    made = {}

    @classmethod
    def postgres(cls):
        if not cls.server:
            found = own_postgres.bin_dir()
            if not found:
                pytest.skip("PostgreSQL is not installed")
            cls.server = own_postgres.Postgres(found)
            atexit.register(cls.server.remove)
            if os.environ.get("HAUL_TEST_POOLER"):
                cls.pooler = own_postgres.Pooler(cls.server)
                atexit.register(cls.pooler.stop)
        return cls.server

    @classmethod
    def url_of(cls, folder):
        """The database of a data folder; made when first asked for."""
        server = cls.postgres()
        if folder not in cls.made:
            cls.made[folder] = f"haul{len(cls.made)}"
            server.psql(f"CREATE DATABASE {cls.made[folder]}")
        return (cls.pooler or server).url(cls.made[folder])


class Server(Process):
    def __init__(self, folder, environment, config, listen="127.0.0.1:0", data=None):
        self.data = data or folder / "data"
        self.config = folder / "haul.yaml"
        config = dict(config or {})  # keys of section `server`, and perhaps other sections
        sections = {name: config.pop(name) for name in ("task_types", "objectives", "alerts", "alert_receivers") if name in config}
        if os.environ.get("HAUL_TEST_STORE") == "postgres":
            config.setdefault("store", Databases.url_of(self.data))
        self.config.write_text(yaml.safe_dump({"server": config, **sections}))
        self.url = None
        super().__init__(folder, "server", ["server", "--listen", listen, "--data", self.data, "--config", self.config],
                         environment)
        self.wait_ready()

    def wait_ready(self):
        def ready():
            """the server says where it listens"""
            found = READY.findall(self.said)
            if len(found) >= self.starts:
                return found[-1]
            assert self.popen.poll() is None, f"the server ended with {self.popen.returncode}:\n{self.said}"
            return None
        self.url = until(ready, 60).rstrip("/")

    starts = 1

    def restart(self):
        """Starts again on the same address and folder, after kill() or terminate()."""
        self.starts = len(READY.findall(self.said)) + 1
        self.arguments[self.arguments.index("--listen") + 1] = self.url.removeprefix("http://")
        self.launch()
        self.wait_ready()


class Worker(Process):
    def __init__(self, folder, name, environment, url, handlers, slots, extra, prefix=()):
        self.prefix = prefix
        self.state = folder / f"{name}-state"
        self.handlers = folder / f"{name}.yaml"
        self.handlers.write_text(yaml.safe_dump({"handlers": handlers}))
        super().__init__(folder, name, ["worker", "--server", url, "--handlers", self.handlers, "--slots", slots, "--state",
                                        self.state, *extra], environment)

    def family(self):
        """Agent, supervisors, sandboxes and handlers: whatever descends from the agent or names its state folder."""
        everything = list(processes())
        state = str(self.state).encode()
        found = {self.pid} | {pid for pid, _, _, command, _ in everything if state in command}
        while True:
            more = {pid for pid, parent, _, _, _ in everything if parent in found} - found
            if not more:
                return found
            found |= more

    def kill_host(self):
        """What a power cut does to a worker's machine: everything is gone at once."""
        family = self.family()
        for sig in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that nobody reports somebody's death
            for pid in family:
                try:
                    os.kill(pid, sig)
                except ProcessLookupError:
                    pass
        self.popen.wait(10)

    def signal_family(self, sig):
        for pid in self.family():
            try:
                os.kill(pid, sig)
            except ProcessLookupError:
                pass


class Api:
    """A client of the HTTP API that shares no line with haul's own."""

    def __init__(self, url):
        self.url = url
        self.session = requests.Session()
        self.session.mount("http://", requests.adapters.HTTPAdapter(pool_connections=4, pool_maxsize=128))

    def request(self, method, path, **kwargs):
        """Every answer is held to docs/openapi.yaml, but those that the test reads as a stream."""
        kwargs.setdefault("timeout", 75)
        answer = self.session.request(method, self.url + path, **kwargs)
        return answer if kwargs.get("stream") else contract.check(answer)

    def get(self, path, **kwargs):
        return self.request("GET", path, **kwargs)

    def post(self, path, body=None, **kwargs):
        if body is not None:
            kwargs["json"] = body
        return self.request("POST", path, **kwargs)

    def submit(self, task_type, **fields):
        answer = self.post("/v1/jobs", {"task_type": task_type, **fields})
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    def job(self, job_id):
        answer = self.get(f"/v1/jobs/{job_id}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def wait(self, job_id, reached=lambda job: job["status"] in TERMINAL, deadline=120):
        """Follows a job by long polls until it is where the test wants it."""
        end = time.monotonic() + deadline
        job = self.job(job_id)
        while not reached(job):
            assert time.monotonic() < end, f"job never got there within {deadline} s: {json.dumps(job, indent=1)}"
            answer = self.get(f"/v1/jobs/{job_id}", params={"wait": "5s", "version": job["version"]})
            assert answer.status_code == 200, answer.text
            job = answer.json()
        return job

    def wait_status(self, job_id, status, deadline=45):
        return self.wait(job_id, lambda job: job["status"] == status, deadline)

    def attempts(self, job_id):
        return self.get(f"/v1/jobs/{job_id}/attempts").json()["attempts"]

    def outputs(self, job_id):
        return self.get(f"/v1/jobs/{job_id}/outputs").json()["outputs"]

    def log(self, job_id, **params):
        return self.get(f"/v1/jobs/{job_id}/log", params=params)

    def put_blob(self, data):
        answer = self.post("/v1/blobs", data=data, headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 201, answer.text
        return answer.json()

    def lease(self, *task_types, wait="30s", worker_id=None, slots=1, poll_id=None):
        """One long poll of a worker that the test plays itself."""
        answer = self.post("/v1/lease", {
            "worker_id": worker_id or str(uuid.uuid4()), "poll_id": poll_id or uuid.uuid4().hex, "name": "played",
            "host": "test", "version": "0", "isolation": "none", "handlers": {t: "1" for t in task_types}, "slots": slots,
            "slots_total": slots, "slots_busy": 0, "wait": wait})
        assert answer.status_code == 200, answer.text
        return answer.json()["jobs"]

    def act(self, claim, verb, body=None, **kwargs):
        """A write of the attempt that `claim` stands for."""
        headers = {"Haul-Token": claim["token"], **kwargs.pop("headers", {})}
        method = kwargs.pop("method", "POST")
        path = f"/v1/jobs/{claim['job_id']}/attempts/{claim['attempt']}/{verb}"
        if body is not None:
            kwargs["json"] = body
        return self.request(method, path, headers=headers, **kwargs)


COMPLETE = {"exit_code": 0, "cpu_s": 0.1, "peak_memory_bytes": 1, "bytes_in": 0, "bytes_out": 0}


def problem(answer, status, code=None, field=None):
    """Asserts an RFC 9457 problem and returns it."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["Content-Type"].startswith("application/problem+json"), answer.headers
    body = answer.json()
    assert body["status"] == status
    assert body["title"] and body["detail"] and body["code"]
    assert body["type"] == f"urn:haul:problem:{body['code']}"
    if code:
        assert body["code"] == code, body
    if field:
        assert body.get("field") == field, body
    return body


@pytest.fixture(scope="session", autouse=True)
def binary():
    if not HAUL.exists():
        pytest.exit(f"{HAUL} is not built: run make", 1)
    return HAUL


@pytest.fixture
def environment(tmp_path):
    """A user's environment without anything of haul's in it, and a home of its own."""
    (tmp_path / "home").mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HAUL_", "XDG_", "TRACE", "OTEL_"))}
    return {**kept, "HOME": str(tmp_path / "home"), "LC_ALL": "C.UTF-8", "NO_COLOR": "1"}


@pytest.fixture
def make_server(tmp_path, environment):
    made = []
    count = itertools.count()

    def make(config=None, **kwargs):
        folder = tmp_path / f"server{next(count)}"
        folder.mkdir()
        made.append(Server(folder, environment, config, **kwargs))
        return made[-1]

    yield make
    for server in made:
        try:
            server.terminate(10)  # not killed: leaks are found at the exit
        except subprocess.TimeoutExpired:
            server.kill()
        print(f"--- server\n{server.said[-6000:]}")
        for sanitizer in ("AddressSanitizer", "ThreadSanitizer", "runtime error:"):
            assert sanitizer not in server.said


@pytest.fixture
def server(make_server):
    return make_server()


@pytest.fixture
def api(server):
    return Api(server.url)


@pytest.fixture
def make_worker(tmp_path, environment):
    """make(url, {"type": "shell text" or {entry}}): shell text runs without isolation, so that it can meet the test's files."""
    made = []
    count = itertools.count()

    def make(url, handlers, slots=1, extra=(), name=None, prefix=()):
        entries = {}
        for task_type, entry in handlers.items():
            if isinstance(entry, str):
                entry = {"command": ["/bin/sh", "-c", entry]}
            entries[task_type] = {"version": "1", "isolation": "none", **entry}
        made.append(Worker(tmp_path, name or f"worker{next(count)}", environment, url, entries, slots, extra, prefix))
        return made[-1]

    yield make
    for worker in made:
        worker.kill_host()
        print(f"--- worker\n{worker.said[-6000:]}")
        for sanitizer in ("AddressSanitizer", "ThreadSanitizer", "runtime error:"):
            assert sanitizer not in worker.said


@pytest.fixture
def haul(environment, tmp_path):
    """Runs a command of the CLI to its end."""
    def run(*arguments, url=None, stdin=None, timeout=50, env=None):
        full = {**environment, **(env or {})}
        if url:
            full["HAUL_SERVER"] = url
        return subprocess.run([str(HAUL), *map(str, arguments)], env=full, input=stdin, capture_output=True, text=True,
                              timeout=timeout, cwd=tmp_path)
    return run


def namespaces_work():
    """Can bubblewrap make what a sandbox needs on this machine?"""
    bwrap = shutil.which("bwrap")
    return bool(bwrap) and subprocess.run(
        [bwrap, "--unshare-all", "--unshare-user", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "true"],
        capture_output=True).returncode == 0


def isolations():
    """Every level this machine can give: a test that is about processes holds on each."""
    return ["none", "namespaces"] if namespaces_work() else ["none"]
