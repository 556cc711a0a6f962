"""The wire when clients are many, broken, or gone."""
import os
import resource
import socket
import uuid

import pytest
from conftest import Api, until

JSON_HEAD = b"POST /v1/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
NEXT = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def connect(server):
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=30)


def everything(sock):
    """What the server sends until it closes."""
    answer = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:
            return answer
        if not piece:
            return answer
        answer += piece


@pytest.mark.parametrize("chunks", [
    b"zz\r\n{}\r\n0\r\n\r\n",
    b"-2\r\n{}\r\n0\r\n\r\n",
    b"0x2\r\n{}\r\n0\r\n\r\n",
    b" 2\r\n{}\r\n0\r\n\r\n",
    b"2 2\r\n{}\r\n0\r\n\r\n",
    b"fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}0\r\n\r\n",
    b"2\r\n{}xx0\r\n\r\n",
    b"\r\n{}\r\n0\r\n\r\n",
])
def test_bad_chunks_end_the_connection(server, api, chunks):
    """No job, no second request out of what follows, and the connection is closed."""
    with connect(server) as sock:
        sock.sendall(JSON_HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + NEXT)
        answer = everything(sock)
    assert answer == b"" or answer[:13] in (b"HTTP/1.1 400 ", b"HTTP/1.1 413 "), answer
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert api.get("/v1/jobs").json()["jobs"] == []


@pytest.mark.parametrize("head", [
    b"GET /v1/jobs/../healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /v1/jobs/%2e%2e/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /v1/blobs/..%2f..%2fetc%2fpasswd HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /v1/blobs/%252e%252e%252f HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /v1/jobs/a%00b HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /v1/jobs/a%c0%ae%c0%ae HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /v1/jobs/a\\..\\b HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET http://127.0.0.1/healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n",
    b"GET /healthz HTTP/1.1\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: 127.0.0.1\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Y : z\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(1000)),
    b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: " + b"y" * 40000 + b"\r\n",
    b"GET /healthz?" + b"a" * 40000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n",
])
def test_bad_heads_are_refused(server, head):
    with connect(server) as sock:
        sock.sendall(head + b"Connection: close\r\n\r\n")
        answer = everything(sock)
    assert answer == b"" or 400 <= int(answer.split(b" ", 2)[1]) < 500, answer
    assert b"root:" not in answer


def test_an_abandoned_poll_gets_no_job(server, api):
    """The client of a long poll is gone when work arrives: the job goes to one who is there."""
    poll = ('{"worker_id": "%s", "poll_id": "p", "handlers": {"t": "1"}, "slots": 1, "wait": "60s"}' % uuid.uuid4()).encode()
    with connect(server) as sock:
        sock.sendall(b"POST /v1/lease HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                     % (len(poll), poll))
        until(lambda: api.get("/v1/workers").json()["workers"])  # the poll is held: the store knows its worker
    job = api.submit("t")
    assert [(c["job_id"], c["attempt"]) for c in api.lease("t")] == [(job["job_id"], 1)]


@pytest.fixture
def many_descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_five_thousand_idle_connections(server, api, many_descriptors, make_worker):
    """They cost nothing but their descriptors: jobs are submitted, run and watched meanwhile."""
    make_worker(server.url, {"t": "true"}, slots=2)
    idle = [connect(server) for _ in range(5000)]
    try:
        until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) > 5000)  # the server has them all
        jobs = [api.submit("t") for _ in range(10)]
        for job in jobs:
            assert api.wait(job["job_id"])["status"] == "success"
    finally:
        for sock in idle:
            sock.close()
    assert api.get("/healthz").status_code == 200


def test_descriptors_used_up_and_back(server, api):
    """New connections wait until there is room; those that are open go on; nothing has to be restarted."""
    job = api.submit("t")  # its connection stays open
    limit = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (8, limit[1]))  # fewer than it has open: no more can be made
    with connect(server) as waiting:  # the kernel takes it, the server cannot
        waiting.sendall(NEXT)
        assert api.job(job["job_id"])["status"] == "pending"  # over the connection that there was
        with pytest.raises(TimeoutError):
            waiting.settimeout(0.5)
            waiting.recv(1)
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limit)
        waiting.settimeout(30)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert Api(server.url).get("/healthz").status_code == 200
