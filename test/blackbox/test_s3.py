"""Blobs in S3, through the server: a real S3 server that checks signatures, other people's client beside ours, and a proxy that fails.
P19: transfers resume, are hash-checked, and unfinished ones are swept."""
import atexit
import datetime
import hashlib
import http.server
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import uuid

import pytest
import requests
import shim
from conftest import HAUL, Api, problem, until
from s3_proxy import S3Proxy
from test_uploads import Tus

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
import s3 as own_s3  # noqa: E402

MIB = 1 << 20
UNAVAILABLE, INVALID, CONFLICT, CORRUPT = 16, 11, 13, 23


def some_bytes(n, seed=1):
    return random.Random(seed).randbytes(n)


class Shared:
    """One S3 server for this process of pytest."""
    server = None

    @classmethod
    def get(cls):
        if not cls.server:
            why = own_s3.missing()
            if why:
                pytest.skip(why)
            cls.server = own_s3.S3()
            atexit.register(cls.server.remove)
        return cls.server


@pytest.fixture
def s3(environment):
    server = Shared.get()
    for name in list(environment):
        if name.startswith("AWS_"):
            del environment[name]
    environment.update(server.env)
    return server


@pytest.fixture
def bucket(s3):
    name = f"b-{uuid.uuid4().hex[:20]}"
    s3.make_bucket(name)
    return name


@pytest.fixture
def proxy(s3):
    made = S3Proxy(s3.port)
    yield made
    made.close()


def keys(s3, bucket, prefix=""):
    found = s3.client().list_objects_v2(Bucket=bucket, Prefix=prefix)
    return sorted(item["Key"] for item in found.get("Contents", []))


def multiparts(s3, bucket):
    return s3.client().list_multipart_uploads(Bucket=bucket).get("Uploads") or []


def blob_path(ref):
    return "/v1/blobs/" + ref.removeprefix("blob:")


def test_a_job_with_input_checkpoint_output_and_a_long_log(s3, bucket, make_server, make_worker):
    server = make_server({"blob": s3.url(bucket, "a/prefix"), "backoff_base": "0s"})
    api = Api(server.url)
    data = some_bytes(9 * MIB + 7)
    part = api.put_blob(data)
    handler = ("[ -e checkpoint/half ] || { cp in/part half; mv half checkpoint/half; echo checkpoint >&3; exit 75; }; "
               "seq 1 60000; cat checkpoint/half in/part > out/twice")
    make_worker(server.url, {"double": handler})
    job_id = api.submit("double", inputs=[{"name": "part", "ref": part["ref"]}], max_attempts=5)["job_id"]
    job = api.wait_status(job_id, "success", 90)
    output = api.outputs(job_id)[0]
    assert output["sha256"] == hashlib.sha256(data + data).hexdigest(), job
    assert requests.get(server.url + blob_path(output["ref"]), timeout=60).content == data + data
    last = api.attempts(job_id)[-1]["attempt"]
    log = "".join(f"{i}\n" for i in range(1, 60001)).encode()

    def packed():
        """input, output, log"""
        return len(keys(s3, bucket, "a/prefix/blobs/")) >= 3
    until(packed, 60)
    assert api.get(f"/v1/jobs/{job_id}/log", params={"attempt": last}).content == log
    assert keys(s3, bucket, "a/prefix/uploads/") == [] and multiparts(s3, bucket) == []
    server.terminate()
    server.restart()
    assert requests.get(server.url + blob_path(output["ref"]), headers={"Range": "bytes=9437180-9437190"}, timeout=60).content == (data + data)[9437180:9437191]


def test_P19_an_upload_goes_on_after_the_server_was_killed(s3, bucket, make_server):
    server = make_server({"blob": s3.url(bucket)})
    api = Api(server.url)
    data = some_bytes(21 * MIB + 3)
    tus = Tus(api)
    path = tus.begin(len(data), sha256=hashlib.sha256(data).hexdigest())
    assert tus.patch(path, 0, data[:17 * MIB + 1]).status_code == 204
    os.kill(server.pid, signal.SIGKILL)
    server.popen.wait()
    assert len(keys(s3, bucket, "uploads/")) == 1
    server.restart()
    api = Api(server.url)
    tus = Tus(api)
    assert tus.offset(path) == 17 * MIB + 1
    answer = tus.patch(path, 17 * MIB + 1, data[17 * MIB + 1:])
    assert answer.status_code == 204
    ref = answer.headers["Haul-Blob-Ref"]
    assert requests.get(server.url + blob_path(ref), timeout=60).content == data
    assert keys(s3, bucket, "uploads/") == [] and multiparts(s3, bucket) == []


def test_P19_what_nobody_finishes_is_swept(s3, bucket, make_server):
    data = some_bytes(10 * MIB)
    server = make_server({"blob": s3.url(bucket, more="&abandoned=1s"), "upload_keep": "2s"})
    tus = Tus(Api(server.url))

    def half_there():
        """half of an upload; on a busy machine one may be swept before its first bytes came"""
        return tus.patch(tus.begin(2 * len(data)), 0, data).status_code == 204
    until(half_there)
    left = s3.client().create_multipart_upload(Bucket=bucket, Key=f"blobs/00/{uuid.uuid4()}")["UploadId"]
    others = s3.client().create_multipart_upload(Bucket=bucket, Key="of-other-people")["UploadId"]

    def swept():
        """a server's that died, and one whose row expired, but nobody else's"""
        ids = {u["UploadId"] for u in multiparts(s3, bucket)}
        return others in ids and left not in ids and len(ids) == 1 and keys(s3, bucket, "uploads/") == []
    until(swept, 60)


def test_objects_are_other_peoples_too(s3, bucket, make_server):
    server = make_server({"blob": s3.url(bucket)})
    api = Api(server.url)
    large, small = some_bytes(17 * MIB + 1), b"small"
    for data in (large, small, b""):
        ref = api.put_blob(data)["ref"].removeprefix("blob:")
        key = f"blobs/{ref[-2:]}/{ref}"
        assert s3.client().get_object(Bucket=bucket, Key=key)["Body"].read() == data
    # Put back by somebody else's hand, from a copy of the bucket, say: ours again. Other bytes are never passed off as ours.
    s3.client().delete_object(Bucket=bucket, Key=key)
    problem(api.get("/v1/blobs/" + ref, headers={"Haul-Direct": "no"}), 404)
    s3.client().put_object(Bucket=bucket, Key=key, Body=b"")
    assert requests.get(api.url + "/v1/blobs/" + ref, timeout=60).content == b""


def test_a_damaged_object_is_not_served(s3, bucket, make_server):
    api = Api(make_server({"blob": s3.url(bucket, more="&direct=no")}).url)
    ref = api.put_blob(b"right")["ref"].removeprefix("blob:")
    s3.client().put_object(Bucket=bucket, Key=f"blobs/{ref[-2:]}/{ref}", Body=b"wrong")
    problem(api.get("/v1/blobs/" + ref), 500, "corrupt")


@shim.needed
def test_memory_does_not_grow_with_what_passes(s3, bucket, make_server):
    """Three parts of an upload, a window of a download; and it goes back to the system, whichever thread had it."""
    server = make_server({"blob": s3.url(bucket)})
    api = Api(server.url)
    status = pathlib.Path(f"/proc/{server.pid}/status")

    def mib(field):
        return int(re.search(rf"{field}:\s+(\d+) kB", status.read_text())[1]) / 1024
    api.put_blob(b"small")
    before = mib("VmRSS")
    data = some_bytes(28 * MIB)
    paths = [blob_path(api.put_blob(data)["ref"]) for _ in range(2)]
    for path in paths:
        assert api.get(path, headers={"Haul-Direct": "no"}).content == data
    assert mib("VmHWM") - before < 38 and mib("VmRSS") - before < 16


def test_a_backup_is_refused(s3, bucket, make_server):
    api = Api(make_server({"blob": s3.url(bucket)}).url)
    assert "tools of their own" in problem(api.get("/v1/backup"), 501, "unsupported")["detail"]


# --- downloads straight from S3 ---

def test_a_download_is_sent_to_s3(s3, bucket, make_server, tmp_path):
    api = Api(make_server({"blob": s3.url(bucket)}).url)
    data = some_bytes(9 * MIB + 1)
    path = blob_path(api.put_blob(data)["ref"])
    answer = api.get(path, allow_redirects=False)
    assert answer.status_code == 307 and answer.headers["Location"].startswith(s3.endpoint) and answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["ETag"] == f'"{hashlib.sha256(data).hexdigest()}"'
    got = subprocess.run(["curl", "-sSfL", "-r", "100-199", api.url + path], check=True, capture_output=True).stdout
    assert got == data[100:200]
    subprocess.run(["curl", "-sSfLOJ", api.url + path], check=True, cwd=tmp_path)
    assert (tmp_path / path.rpartition("/")[2]).read_bytes() == data
    # What the server answers itself.
    assert api.request("HEAD", path, allow_redirects=False).headers["Content-Length"] == str(len(data))
    assert api.get(path, headers={"If-None-Match": answer.headers["ETag"]}, allow_redirects=False).status_code == 304
    through = api.get(path, headers={"Haul-Direct": "no"}, allow_redirects=False)
    assert through.content == data and "Haul-Xxh128" not in through.headers  # others may write to S3: the SHA-256 is to be compared
    problem(api.get(f"/v1/blobs/{uuid.uuid4()}", allow_redirects=False), 404)


@pytest.mark.parametrize("how, times, direct", [
    (None, 0, True),
    ("truncate", 1, False),  # goes on from where it was cut, through the server
    ("reset", 1, False),
    ("403 AccessDenied", 1, False),  # the URL's time is over
])
def test_haul_fetches_from_s3_and_else_through_the_server(s3, bucket, proxy, make_server, haul, tmp_path, how, times, direct):
    server = make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint)})
    data = some_bytes(9 * MIB + 1)
    ref = Api(server.url).put_blob(data)["ref"]
    proxy.seen.clear()
    if how:
        proxy.fail(r"^GET /.*X-Amz-Signature", how, times)
    done = haul("blob", "get", ref, "--output", tmp_path / "got", url=server.url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "got").read_bytes() == data
    gets = [line for line in proxy.seen if re.search(r"^GET /.*blobs/", line)]
    assert len([g for g in gets if "X-Amz-Signature" in g]) == 1
    assert (len(gets) == 1) == direct


def test_haul_does_not_take_other_bytes_from_s3(s3, bucket, make_server, haul, tmp_path):
    server = make_server({"blob": s3.url(bucket)})
    ref = Api(server.url).put_blob(b"right")["ref"].removeprefix("blob:")
    s3.client().put_object(Bucket=bucket, Key=f"blobs/{ref[-2:]}/{ref}", Body=b"wrong")
    done = haul("blob", "get", f"blob:{ref}", "--output", tmp_path / "got", url=server.url)
    assert done.returncode != 0 and "SHA-256" in done.stderr


# --- what goes wrong on the way ---

PUTS = r"^PUT /[^?]*\?partNumber"


@pytest.mark.parametrize("pattern, how, times", [
    (PUTS, "503 SlowDown", 2),
    (PUTS, "500 InternalError", 2),
    (PUTS, "reset", 2),
    (PUTS, "lost", 1),
    (r"^POST /.*\?uploads", "503 ServiceUnavailable", 1),
    (r"^POST /.*\?uploadId", "503 SlowDown", 1),
    (r"^POST /.*\?uploadId", "200 InternalError", 1),  # said after it had begun to answer
    (r"^POST /.*\?uploadId", "lost", 1),  # done, and nobody heard
    (r"^HEAD /", "503 SlowDown", 2),
])
def test_an_upload_passes_by_faults(s3, bucket, proxy, make_server, pattern, how, times):
    server = make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint)})
    data = some_bytes(17 * MIB)
    proxy.fail(pattern, how, times)
    ref = Api(server.url).put_blob(data)["ref"].removeprefix("blob:")
    assert proxy.met[how] == times
    assert s3.client().get_object(Bucket=bucket, Key=f"blobs/{ref[-2:]}/{ref}")["Body"].read() == data


@pytest.mark.parametrize("how", ["503 SlowDown", "reset", "truncate", "trickle"])
def test_a_download_passes_by_faults(s3, bucket, proxy, make_server, how):
    server = make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint, more="&direct=no&timeout=1s")})
    data = some_bytes(9 * MIB)
    ref = Api(server.url).put_blob(data)["ref"]
    proxy.fail(r"^GET /.*blobs/", how, 2)
    assert requests.get(server.url + blob_path(ref), timeout=60).content == data
    assert proxy.met[how] == 2


def test_a_lie_about_an_etag_makes_no_blob(s3, bucket, proxy, make_server):
    server = make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint)})
    api = Api(server.url)
    proxy.fail(PUTS, "etag", 1)
    answer = api.post("/v1/blobs", data=some_bytes(17 * MIB), headers={"Content-Type": "application/octet-stream"})
    problem(answer, 503, "unavailable")
    assert keys(s3, bucket, "blobs/") == [] and multiparts(s3, bucket) == []


def test_an_outage_is_a_503_that_may_be_repeated(s3, bucket, proxy, make_server):
    server = make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint)})
    api = Api(server.url)
    proxy.fail(r"PUT", "403 AccessDenied", 1)
    answer = api.post("/v1/blobs", data=b"bytes", headers={"Content-Type": "application/octet-stream"})
    assert "denies PUT" in problem(answer, 503, "unavailable")["detail"]
    assert api.put_blob(b"bytes")["size"] == 5


# --- what a server does not start on ---

@pytest.fixture
def refused(haul, tmp_path, s3):
    def start(url, status=UNAVAILABLE, env=None):
        done = haul("server", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "--blob", url, timeout=60, env=env)
        assert done.returncode == status, done.stderr
        assert done.stdout == "" and s3.env["AWS_SECRET_ACCESS_KEY"] not in done.stderr
        return done.stderr
    return start


@pytest.mark.parametrize("url", ["gs://bucket", "bucket", "file:///tmp/x"])
def test_another_kind_of_blobs(refused, url):
    assert "must begin with s3://" in refused(url, INVALID)


def test_no_such_bucket(refused, s3):
    assert "has no bucket 'nobody-made-it'" in refused(s3.url("nobody-made-it"))


@pytest.mark.parametrize("env", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ACCESS_KEY_ID": "who"}])
def test_wrong_credentials(refused, s3, bucket, env):
    said = refused(s3.url(bucket), env=env)
    assert "does not know these credentials" in said or "denies" in said


def test_no_credentials(refused, s3, bucket):
    env = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    assert "no credentials for S3" in refused(s3.url(bucket), INVALID, env=env)


def test_unreachable(refused, s3, bucket):
    assert "cannot be reached" in refused(s3.url(bucket, endpoint="http://127.0.0.1:1"))


@pytest.mark.parametrize("fault, says", [
    ("403 RequestTimeTooSkewed", "clock is off"),
    ("301 PermanentRedirect", "another region"),
    ("403 AccessDenied", "denies"),
    ("html", "no S3 server"),
])
def test_refusals_say_what_to_do(refused, s3, bucket, proxy, fault, says):
    proxy.fail("haul-blobs", fault, 100)
    assert says in refused(s3.url(bucket, endpoint=proxy.endpoint), CORRUPT if fault == "html" else UNAVAILABLE)


def certificate(folder, name):
    """Its own authority, for 127.0.0.1."""
    files = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


def test_tls_is_verified(refused, s3, bucket, make_server, haul, tmp_path):
    ours, others = certificate(tmp_path, "ours"), certificate(tmp_path, "others")
    proxy = S3Proxy(s3.port, tls=ours)
    try:
        for more in ("", f"&ca={others[0]}"):
            assert "certificate" in refused(s3.url(bucket, endpoint=proxy.endpoint, more=more))
        assert proxy.seen == []  # nothing was told to somebody who is not trusted
        assert "ca" in refused(s3.url(bucket, endpoint=proxy.endpoint, more="&ca=/nowhere"))
        server = make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint, more=f"&ca={ours[0]}")})
        data = some_bytes(9 * MIB)
        ref = Api(server.url).put_blob(data)["ref"]
        done = haul("blob", "get", ref, "--output", tmp_path / "got", url=server.url)  # who does not know the authority gets it from the server
        assert done.returncode == 0 and (tmp_path / "got").read_bytes() == data, done.stderr
    finally:
        proxy.close()


@pytest.mark.skipif(not shutil.which("faketime"), reason="faketime is not installed")
@shim.needed
def test_a_clock_that_is_an_hour_off(s3, bucket, environment, tmp_path):
    done = subprocess.run(["faketime", "-f", "+1h", HAUL, "server", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "--blob", s3.url(bucket)],
                          env={**environment, "DONT_FAKE_MONOTONIC": "1"}, capture_output=True, text=True, timeout=60)
    assert done.returncode == UNAVAILABLE and "this machine's clock is off" in done.stderr and "set the clock" in done.stderr, done.stderr


# --- where keys come from, and how a bucket is named ---

class Metadata:
    """What an instance asks for its role's keys: only in the second version's way."""

    def __init__(self, s3, lasts_s):
        self.served, self.refused = 0, 0
        metadata = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, status, text):
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def do_PUT(self):
                good = self.path == "/latest/api/token" and int(self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", 0)) > 0
                self.answer(200 if good else 400, "session" if good else "")

            def do_GET(self):
                roles = "/latest/meta-data/iam/security-credentials/"
                if self.headers.get("X-aws-ec2-metadata-token") != "session":
                    metadata.refused += 1
                    self.answer(401, "")
                elif self.path == roles:
                    self.answer(200, "a-role\n")
                elif self.path == roles + "a-role":
                    metadata.served += 1
                    ends = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=lasts_s)
                    self.answer(200, json.dumps({"Code": "Success", "AccessKeyId": s3.env["AWS_ACCESS_KEY_ID"], "Token": "of-the-role",
                                                 "SecretAccessKey": s3.env["AWS_SECRET_ACCESS_KEY"], "Expiration": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}))
                else:
                    self.answer(404, "")

            def log_message(self, *_):
                pass

        self.listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self.listener.server_address[1]}"
        threading.Thread(target=self.listener.serve_forever, daemon=True).start()

    def close(self):
        self.listener.shutdown()
        self.listener.server_close()


@pytest.mark.parametrize("lasts_s, asked_again", [(6 * 3600, False), (2, True)])
def test_keys_of_the_instance(s3, bucket, make_server, environment, tmp_path, lasts_s, asked_again):
    metadata = Metadata(s3, lasts_s)
    try:
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        environment.update({"HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.endpoint})
        api = Api(make_server({"blob": s3.url(bucket)}).url)
        asked = metadata.served
        assert asked > 0 and metadata.refused == 0
        api.put_blob(b"bytes")
        assert (metadata.served > asked) == asked_again
    finally:
        metadata.close()


def test_a_bucket_named_by_its_host(s3, bucket, make_server, haul, tmp_path):
    """*.localhost is this machine, to curl and so to haul."""
    endpoint = f"http://s3.localhost:{s3.port}"
    server = make_server({"blob": s3.url(bucket, endpoint=endpoint).replace("style=path", "style=virtual")})
    data = some_bytes(9 * MIB)
    path = blob_path(Api(server.url).put_blob(data)["ref"])
    key = f"blobs/{path[-2:]}/{path.rpartition('/')[2]}"
    assert s3.client().get_object(Bucket=bucket, Key=key)["Body"].read() == data
    location = requests.get(server.url + path, allow_redirects=False, timeout=60).headers["Location"]
    assert location.startswith(f"http://{bucket}.s3.localhost:{s3.port}/{key}?")
    done = haul("blob", "get", "blob:" + path.rpartition("/")[2], "--output", tmp_path / "got", url=server.url)
    assert done.returncode == 0 and (tmp_path / "got").read_bytes() == data, done.stderr


def test_a_bucket_of_another_database(s3, bucket, make_server, refused, tmp_path):
    make_server({"blob": s3.url(bucket)}).terminate()
    own = make_server({"blob": s3.url(bucket, "other")}, data=tmp_path / "data")
    own.terminate()
    assert "belongs to" in refused(s3.url(bucket), CONFLICT)
