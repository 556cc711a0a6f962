"""Uploads whose parts go straight to S3, by URLs that the server signs: a real S3 server that checks signatures and MD5s, and a proxy that fails.
P19: URLs are signed at use, per part; transfers resume and are hash-checked; unfinished uploads are recorded and swept."""
import base64
import hashlib
import os
import re
import signal
import subprocess
import threading
import uuid

import pytest
import requests
from conftest import COMPLETE, HAUL, Api, Databases, problem, until
from test_s3 import MIB, blob_path, bucket, keys, multiparts, proxy, s3, some_bytes  # noqa: F401
from test_uploads import Tus, heed_interrupts

PART = 16 * MIB


def md5(data):
    return hashlib.md5(data).hexdigest()


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class Parts:
    """A client in the plainest words."""

    def __init__(self, api, data, **pairs):
        self.api, self.data = api, data
        answer = Tus(api).post(len(data), **pairs)
        assert answer.status_code == 201, answer.text
        self.path, self.size = answer.headers["Location"], int(answer.headers["Haul-Part-Size"])
        self.count = -(-len(data) // self.size)

    @property
    def key(self):
        name = self.path.rpartition("/")[2]
        return f"blobs/{name[-2:]}/{name}"

    def bytes_of(self, number):
        return self.data[(number - 1) * self.size:number * self.size]

    def ask(self, *numbers, of=None):
        return self.api.post(self.path + "/parts", {"parts": [{"number": n, "md5": md5(of or self.bytes_of(n))} for n in numbers]})

    def urls(self, *numbers, of=None):
        answer = self.ask(*numbers, of=of)
        assert answer.status_code == 200, answer.text
        assert answer.json()["valid_s"] == 900
        return answer.json()["parts"]

    def send(self, *numbers):
        for part in self.urls(*numbers):
            answer = requests.put(part["url"], data=self.bytes_of(part["number"]), headers=part["headers"], timeout=60)
            assert answer.status_code == 200, answer.text

    def send_all(self):
        self.send(*range(1, self.count + 1))

    def there(self):
        answer = self.api.get(self.path + "/parts")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def complete(self):
        return self.api.post(self.path + "/complete", {})

    def whole(self):
        """It is the blob."""
        answer = self.complete()
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"ref": "blob:" + self.path.rpartition("/")[2], "size": len(self.data), "sha256": sha256(self.data)}
        assert answer.headers["Haul-Blob-Ref"] == answer.json()["ref"] and answer.headers["Haul-Sha256"] == answer.json()["sha256"]
        return answer.json()["ref"]


@pytest.fixture
def server(s3, bucket, make_server):
    return make_server({"blob": s3.url(bucket)})


@pytest.fixture
def api(server):
    return Api(server.url)


DATA = some_bytes(2 * PART + 12345)


def nothing_is_left(s3, bucket, blobs=0):
    assert len(keys(s3, bucket, "blobs/")) == blobs and keys(s3, bucket, "uploads/") == [] and multiparts(s3, bucket) == []


def test_parts_become_a_blob(s3, bucket, api):
    parts = Parts(api, DATA, sha256=sha256(DATA))
    assert parts.size == PART and parts.there() == {"size": len(DATA), "part_size": PART, "parts": [], "assembled": False}
    assert multiparts(s3, bucket) == []
    urls = parts.urls(3, 1)
    assert [(p["number"], p["size"]) for p in urls] == [(3, 12345), (1, PART)]
    assert urls[0]["headers"] == {"Content-MD5": base64.b64encode(hashlib.md5(parts.bytes_of(3)).digest()).decode()}
    assert len(multiparts(s3, bucket)) == 1 and keys(s3, bucket, "uploads/") == ["uploads/" + parts.path.rpartition("/")[2]]  # before any byte
    parts.send(3, 1)
    parts.send(2, 1)  # again: no harm
    head = Tus(api).head(parts.path)
    assert head.headers["Upload-Offset"] == "0" and head.headers["Haul-Part-Size"] == str(PART)
    assert parts.there()["parts"] == [{"number": n, "size": len(parts.bytes_of(n)), "md5": md5(parts.bytes_of(n))} for n in (1, 2, 3)]
    ref = parts.whole()
    assert s3.client().get_object(Bucket=bucket, Key=parts.key)["Body"].read() == DATA
    assert requests.get(api.url + blob_path(ref), timeout=60).content == DATA
    nothing_is_left(s3, bucket, blobs=1)
    assert parts.whole() == ref  # whoever heard no answer asks again
    assert Tus(api).head(parts.path).headers["Haul-Blob-Ref"] == ref
    for answer in (parts.ask(1), api.get(parts.path + "/parts"), Tus(api).delete(parts.path)):
        problem(answer, 409, "conflict")
        assert answer.headers["Haul-Blob-Ref"] == ref


def test_other_peoples_clients_send_parts(api, tmp_path):
    """curl: nothing but the URL and its header."""
    parts = Parts(api, DATA[:20 * MIB])
    for part in parts.urls(1, 2):
        (tmp_path / "part").write_bytes(parts.bytes_of(part["number"]))
        subprocess.run(["curl", "-sSf", "-T", tmp_path / "part", "-H", f"Content-MD5: {part['headers']['Content-MD5']}", part["url"]], check=True)
    parts.whole()


# --- bad input ---

def test_wrong_md5s_are_refused_by_s3(s3, bucket, api):
    parts = Parts(api, DATA)
    wrong = parts.urls(1, of=b"other bytes")[0]
    answer = requests.put(wrong["url"], data=parts.bytes_of(1), headers=wrong["headers"], timeout=60)
    assert answer.status_code == 400 and "BadDigest" in answer.text
    right = parts.urls(1)[0]
    for headers in ({}, wrong["headers"]):  # what was signed is not what is said
        assert requests.put(right["url"], data=parts.bytes_of(1), headers=headers, timeout=60).status_code == 403
    assert requests.put(right["url"], data=b"short", headers=right["headers"], timeout=60).status_code in (400, 403)
    assert parts.there()["parts"] == []


def test_another_sha256_ends_the_upload(s3, bucket, api):
    parts = Parts(api, DATA, sha256="0" * 64)
    parts.send_all()
    problem(parts.complete(), 422, "invalid", "Upload-Metadata")
    nothing_is_left(s3, bucket)
    problem(parts.complete(), 404, "not_found")


def test_missing_parts_are_named_and_can_follow(s3, bucket, api):
    parts = Parts(api, DATA)
    assert "no part" in problem(parts.complete(), 409, "conflict")["detail"]
    parts.send(1, 3)
    assert "part 2 of 3" in problem(parts.complete(), 409, "conflict")["detail"]
    parts.send(2)
    parts.whole()


def test_a_part_of_another_length_is_named(s3, bucket, api):
    """By S3's own means, past the signature."""
    parts = Parts(api, DATA)
    parts.send_all()
    upload = multiparts(s3, bucket)[0]["UploadId"]
    s3.client().upload_part(Bucket=bucket, Key=parts.key, UploadId=upload, PartNumber=3, Body=b"short")
    assert "part 3 of 3 has 5 bytes in place of 12345" in problem(parts.complete(), 409, "conflict")["detail"]
    parts.send(3)
    parts.whole()


@pytest.mark.parametrize("body, field", [
    ({}, "parts"), ({"parts": []}, "parts"), ({"parts": [{"number": 1, "md5": md5(b"")}] * 101}, "parts"),
    ({"parts": [{"number": 0, "md5": md5(b"")}]}, "parts[0].number"), ({"parts": [{"number": 4, "md5": md5(b"")}]}, "parts[0].number"),
    ({"parts": [{"number": 1, "md5": md5(b"")}] * 2}, "parts[1].number"), ({"parts": [{"md5": md5(b"")}]}, "parts[0].number"),
    ({"parts": [{"number": 1}]}, "parts[0].md5"), ({"parts": [{"number": 1, "md5": "x" * 32}]}, "parts[0].md5"),
    ({"parts": [{"number": 1, "md5": "00"}]}, "parts[0].md5"), ({"parts": [{"number": 1, "md5": md5(b""), "size": 1}]}, "parts[0].size"),
])
def test_bad_questions(api, body, field):
    parts = Parts(api, DATA)
    problem(api.post(parts.path + "/parts", body), 422, "invalid", field)


def test_unknown_uploads(api):
    for name in (uuid.uuid4(), "nonsense"):
        path = f"/v1/uploads/{name}"
        for answer in (api.post(path + "/parts", {"parts": [{"number": 1, "md5": md5(b"")}]}), api.get(path + "/parts"), api.post(path + "/complete", {})):
            problem(answer, 404, "not_found")


def patched_whole(api, path, offset=0):
    answer = Tus(api).patch(path, offset, DATA[offset:])
    assert answer.status_code == 204 and answer.headers["Haul-Sha256"] == sha256(DATA), answer.text


def test_where_bytes_come_through_the_server_only(s3, bucket, make_server):
    for blob in ({}, {"blob": s3.url(bucket, more="&direct=downloads")}):
        api = Api(make_server(blob).url)
        answer = Tus(api).post(len(DATA))
        assert "Haul-Part-Size" not in answer.headers
        path = answer.headers["Location"]
        for answer in (api.post(path + "/parts", {"parts": [{"number": 1, "md5": md5(b"")}]}), api.get(path + "/parts")):
            problem(answer, 501, "unsupported")
        assert api.post(path + "/complete", {}).status_code in (409, 501)
        patched_whole(api, path)


def test_patch_and_parts_exclude_one_another(s3, bucket, api):
    tus, parts = Tus(api), Parts(api, DATA)
    parts.send(1)
    assert "parts go to S3" in problem(tus.patch(parts.path, 0, DATA[:10]), 409, "conflict")["detail"]
    parts.send(2, 3)
    parts.whole()
    patched = Parts(api, DATA)
    assert tus.patch(patched.path, 0, DATA[:10]).status_code == 204
    for answer in (patched.ask(1), patched.complete(), api.get(patched.path + "/parts")):
        assert "by PATCH" in problem(answer, 409, "conflict")["detail"]
    assert "Haul-Part-Size" not in tus.head(patched.path).headers
    patched_whole(api, patched.path, 10)
    nothing_is_left(s3, bucket, blobs=2)


# --- crashes, cuts, two at once ---

def test_P19_parts_outlive_a_kill_of_the_server(s3, bucket, server):
    parts = Parts(Api(server.url), DATA)
    parts.send(1, 2)
    server.kill()
    server.restart()
    parts.api = Api(server.url)
    assert [p["number"] for p in parts.there()["parts"]] == [1, 2]
    parts.send(3)
    parts.whole()
    nothing_is_left(s3, bucket, blobs=1)


def test_P19_a_completion_goes_on_after_a_kill_of_the_server(s3, bucket, proxy, make_server):
    """The object is made, and the row is not: nobody but the next completion may make it a blob."""
    server = make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint), "backoff_base": "0s"})
    parts = Parts(Api(server.url), DATA)
    parts.send_all()
    proxy.fail(r"^GET /[^?]*blobs/[^?]*$", "trickle", 1)
    run = threading.Thread(target=lambda: pytest.raises(requests.RequestException, requests.post, server.url + parts.path + "/complete", json={}, timeout=60))
    run.start()
    until(lambda: proxy.met["trickle"], 30)
    problem(parts.complete(), 503, "busy")
    assert Tus(parts.api).head(parts.path).status_code == 503
    server.kill()
    run.join(30)
    assert keys(s3, bucket, "blobs/") == [parts.key]
    server.restart()
    parts.api = Api(server.url)
    assert parts.there()["assembled"] is True
    assert "complete" in problem(parts.ask(1), 409, "conflict")["detail"]
    assert "parts go to S3" in problem(Tus(parts.api).patch(parts.path, 0, b"x"), 409, "conflict")["detail"]
    ref = parts.whole()
    assert requests.get(server.url + blob_path(ref), timeout=60).content == DATA
    nothing_is_left(s3, bucket, blobs=1)


def test_two_completions_are_one(s3, bucket, api):
    parts = Parts(api, DATA)
    parts.send_all()
    answers = []
    runs = [threading.Thread(target=lambda: answers.append(requests.post(api.url + parts.path + "/complete", json={}, timeout=60))) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    good = [a for a in answers if a.status_code == 200]
    assert good and all(a.json() == good[0].json() for a in good)
    assert all(a.status_code == 503 and a.json()["code"] == "busy" for a in answers if a.status_code != 200)
    parts.whole()
    nothing_is_left(s3, bucket, blobs=1)


def test_the_parts_of_an_upload_that_s3_gave_up_are_sent_again(s3, bucket, api):
    """A life cycle rule does so."""
    parts = Parts(api, DATA)
    parts.send(1, 2)
    upload = multiparts(s3, bucket)[0]["UploadId"]
    s3.client().abort_multipart_upload(Bucket=bucket, Key=parts.key, UploadId=upload)
    assert parts.there()["parts"] == []
    problem(parts.complete(), 409, "conflict")
    parts.send_all()
    parts.whole()
    nothing_is_left(s3, bucket, blobs=1)


def test_P19_parts_that_nobody_finishes_are_swept(s3, bucket, make_server):
    api = Api(make_server({"blob": s3.url(bucket, more="&abandoned=1s"), "upload_keep": "3s"}).url)
    parts = Parts(api, DATA)
    parts.send(1)
    until(lambda: not multiparts(s3, bucket) and not keys(s3, bucket, "uploads/"), 60)
    problem(parts.ask(1), 404, "not_found")
    nothing_is_left(s3, bucket)


def test_P19_an_upload_that_is_under_way_is_not_swept(s3, bucket, make_server):
    """Its multipart upload is as old as those that are given up, but named."""
    server = make_server({"blob": s3.url(bucket, more="&abandoned=1s")})
    parts = Parts(Api(server.url), DATA)
    parts.send(1, 2)
    left = s3.client().create_multipart_upload(Bucket=bucket, Key=f"blobs/00/{uuid.uuid4()}")["UploadId"]
    until(lambda: left not in {u["UploadId"] for u in multiparts(s3, bucket)}, 60)
    parts.send(3)
    parts.whole()


def test_a_lie_about_an_etag_makes_no_blob(s3, bucket, proxy, make_server):
    """Of a part that somebody wrote over between the list and the end."""
    api = Api(make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint)}).url)
    parts = Parts(api, DATA)
    parts.send_all()
    proxy.fail(r"^POST /.*\?uploadId", "400 InvalidPart", 1)
    problem(parts.complete(), 503, "unavailable")
    assert keys(s3, bucket, "blobs/") == []
    parts.whole()


@pytest.mark.parametrize("pattern, how", [
    (r"^POST /.*\?uploads", "503 SlowDown"), (r"^POST /.*\?uploadId", "503 SlowDown"), (r"^POST /.*\?uploadId", "lost"),
    (r"^GET /[^?]*\?.*uploadId", "truncate"), (r"^GET /[^?]*blobs/[^?]*$", "truncate"), (r"^GET /[^?]*blobs/[^?]*$", "500 InternalError"),
    (r"^PUT /[^?]*uploads/", "reset"), (r"^HEAD /", "503 SlowDown"),
])
def test_the_servers_part_passes_by_faults(s3, bucket, proxy, make_server, pattern, how):
    api = Api(make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint)}).url)
    proxy.fail(pattern, how, 1)
    parts = Parts(api, DATA)
    parts.send_all()
    parts.whole()
    assert proxy.met[how] == 1
    nothing_is_left(s3, bucket, blobs=1)


def test_bytes_that_changed_in_s3_are_hashed_as_they_are(s3, bucket, api):
    """What the server says is of the bytes that it read, not of those that were announced by MD5."""
    parts = Parts(api, DATA)
    parts.send_all()
    upload = multiparts(s3, bucket)[0]["UploadId"]
    s3.client().upload_part(Bucket=bucket, Key=parts.key, UploadId=upload, PartNumber=3, Body=b"y" * 12345)
    answer = parts.complete()
    assert answer.json()["sha256"] == sha256(DATA[:2 * PART] + b"y" * 12345)


# --- haul's own client ---

PUTS = r"^PUT /[^?]*\?.*X-Amz-Signature"


@pytest.fixture
def film(tmp_path):
    data = some_bytes(MIB) * 70
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    return path, data


@pytest.fixture
def proxied(s3, bucket, proxy, make_server):
    return make_server({"blob": s3.url(bucket, endpoint=proxy.endpoint), "backoff_base": "0s"})


def sent(proxy):
    """By number, each as often as it was sent straight."""
    return sorted(int(re.search(r"partNumber=(\d+)", line)[1]) for line in proxy.seen if re.search(PUTS, line))


def stored(server, ref, data):
    assert requests.get(server.url + blob_path(ref.strip()), timeout=60).content == data


def through(server):
    """PATCHes that the server had."""
    return sum('method="PATCH"' in line and not line.endswith(" 0") for line in Api(server.url).get("/metrics").text.splitlines())


def test_haul_sends_parts(s3, bucket, proxy, proxied, haul, film):
    path, data = film
    done = haul("blob", "put", path, url=proxied.url)
    assert done.returncode == 0, done.stderr
    stored(proxied, done.stdout, data)
    assert sent(proxy) == [1, 2, 3, 4, 5] and not through(proxied)
    nothing_is_left(s3, bucket, blobs=1)
    done = haul("submit", "x", "--input", path, url=proxied.url)
    assert done.returncode == 0, done.stderr
    stored(proxied, Api(proxied.url).job(done.stdout.strip())["inputs"][0]["ref"], data)
    assert sent(proxy) == sorted(2 * [1, 2, 3, 4, 5]) and not through(proxied)


@pytest.mark.parametrize("how, times", [("503 SlowDown", 3), ("500 InternalError", 2), ("reset", 3), ("lost", 2), ("403 AccessDenied", 2),
                                        ("403 ExpiredToken", 1), ("400 BadDigest", 1)])
def test_hauls_parts_pass_by_faults(s3, bucket, proxy, proxied, haul, film, how, times):
    path, data = film
    proxy.fail(PUTS, how, times)
    done = haul("blob", "put", path, url=proxied.url)
    assert done.returncode == 0, done.stderr
    stored(proxied, done.stdout, data)
    assert proxy.met[how] == times and len(sent(proxy)) == 5 + times and not through(proxied)


def test_a_url_whose_time_is_over_is_asked_for_again(s3, bucket, proxy, proxied, haul, film):
    """S3's word for it, and the part comes by another request for a URL."""
    path, data = film
    proxy.fail(PUTS, "403 AccessDenied", 1)
    done = haul("blob", "put", path, url=proxied.url)
    assert done.returncode == 0, done.stderr
    urls = [line.split(" ", 1)[1] for line in proxy.seen if re.search(PUTS, line)]
    number = re.search(r"partNumber=(\d+)", urls[0])[1]
    assert len([u for u in urls if f"partNumber={number}&" in u]) == 2
    stored(proxied, done.stdout, data)


@pytest.mark.parametrize("how", ["reset", "403 AccessDenied", "404 NoSuchThing"])
def test_haul_sends_by_patch_where_s3_does_not_answer_it(s3, bucket, proxy, proxied, haul, film, environment, how):
    path, data = film
    proxy.fail(PUTS, how, 10 ** 6)
    done = haul("blob", "put", path, url=proxied.url)
    assert done.returncode == 0, done.stderr
    stored(proxied, done.stdout, data)
    assert through(proxied)
    nothing_is_left(s3, bucket, blobs=1)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_P19_a_second_run_sends_what_is_not_there(s3, bucket, proxy, proxied, haul, film, environment, end):
    path, data = film
    proxy.fail(r"^PUT /[^?]*\?.*partNumber=[45].*X-Amz-Signature", "503 SlowDown", 10 ** 6)
    first = subprocess.Popen([HAUL, "blob", "put", path], env={**environment, "HAUL_SERVER": proxied.url}, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, preexec_fn=heed_interrupts)
    (upload,) = until(lambda: multiparts(s3, bucket), 30)

    def arrived():
        listed = s3.client().list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", [])
        return {p["PartNumber"] for p in listed} == {1, 2, 3}
    until(arrived, 60)
    first.send_signal(end)
    assert first.wait(60) != 0
    proxy.heal()
    proxy.seen.clear()
    done = haul("blob", "put", path, url=proxied.url)
    assert done.returncode == 0, done.stderr
    stored(proxied, done.stdout, data)
    assert sent(proxy) == [4, 5]
    nothing_is_left(s3, bucket, blobs=1)


def test_P19_hauls_parts_go_on_after_a_kill_of_the_server(s3, bucket, proxy, proxied, haul, film):
    path, data = film
    proxy.fail(r"^PUT /[^?]*\?.*partNumber=[45].*X-Amz-Signature", "503 SlowDown", 10 ** 6)
    results = []
    run = threading.Thread(target=lambda: results.append(haul("blob", "put", path, url=proxied.url, timeout=120)))
    run.start()
    until(lambda: proxy.met["503 SlowDown"] > 1, 30)
    proxied.kill()
    proxy.heal()
    proxied.restart()
    run.join(120)
    assert results and results[0].returncode == 0, results
    stored(proxied, results[0].stdout, data)
    assert not through(proxied)
    nothing_is_left(s3, bucket, blobs=1)


def test_hauls_completion_passes_by_faults(s3, bucket, proxy, proxied, haul, film):
    path, data = film
    proxy.fail(r"^POST /.*\?uploadId", "lost", 1)
    proxy.fail(r"^GET /[^?]*blobs/[^?]*$", "500 InternalError", 2)
    done = haul("blob", "put", path, url=proxied.url)
    assert done.returncode == 0, done.stderr
    stored(proxied, done.stdout, data)


def test_a_file_that_changes_while_it_is_sent_is_no_success(s3, bucket, proxy, proxied, haul, film):
    path, data = film
    proxy.fail(r"^PUT /[^?]*\?.*partNumber=1&.*X-Amz-Signature", "503 SlowDown", 10 ** 6)  # it was read and hashed by then
    results = []
    run = threading.Thread(target=lambda: results.append(haul("blob", "put", path, url=proxied.url, timeout=120)))
    run.start()
    until(lambda: proxy.met["503 SlowDown"] > 0 and len(set(sent(proxy))) > 1, 30)
    with open(path, "r+b") as file:
        for at in range(0, len(data), MIB):
            file.seek(at)
            file.write(os.urandom(8))
    proxy.heal()
    run.join(120)
    assert results and results[0].returncode != 0 and "changed" in results[0].stderr, results


# --- the worker ---

def test_a_workers_checkpoint_and_outputs_go_in_parts(s3, bucket, proxy, proxied, make_worker):
    api = Api(proxied.url)
    data = some_bytes(17 * MIB + 7)
    part = api.put_blob(data)
    proxy.seen.clear()
    make_worker(proxied.url, {"twice": "[ -e checkpoint/half ] || { cp in/part half; mv half checkpoint/half; echo checkpoint >&3; exit 75; }; "
                                       "cat checkpoint/half in/part > 'out/two ones'; echo small > out/small"})
    job_id = api.submit("twice", inputs=[{"name": "part", "ref": part["ref"]}], max_attempts=5)["job_id"]
    job = api.wait_status(job_id, "success", 120)
    outputs = {o["name"]: o for o in api.outputs(job_id)}
    assert outputs["two ones"]["sha256"] == sha256(data + data) and outputs["small"]["size"] == 6, job
    stored(proxied, outputs["two ones"]["ref"], data + data)
    assert sent(proxy) == [1, 1, 2, 2, 3] and not through(proxied)
    assert keys(s3, bucket, "uploads/") == [] and multiparts(s3, bucket) == []


@pytest.fixture
def claim(api):
    api.submit("t")
    return api.lease("t")[0]


def act_output(api, claim, body):
    return api.act(claim, "outputs", body)


def test_an_output_by_its_ref(api, claim):
    ref = api.put_blob(b"bytes")["ref"]
    for _ in range(2):
        answer = act_output(api, claim, {"name": "o", "ref": ref})
        assert answer.status_code == 201 and answer.json() == {"ref": ref, "size": 5, "sha256": sha256(b"bytes")}
    other = api.put_blob(b"other")["ref"]
    assert act_output(api, claim, {"name": "o", "ref": other}).status_code == 201
    assert api.act(claim, "complete", {"outputs": ["o"], **COMPLETE}).status_code == 200
    assert [(o["name"], o["ref"]) for o in api.outputs(claim["job_id"])] == [("o", other)]


@pytest.mark.parametrize("body, field", [
    ({"ref": "blob:" + str(uuid.UUID(int=7))}, "name"), ({"name": "a/b", "ref": "blob:" + str(uuid.UUID(int=7))}, "name"), ({"name": "o"}, "ref"),
    ({"name": "o", "ref": "s3://b/k"}, "ref"), ({"name": "o", "ref": "blob:" + str(uuid.UUID(int=7))}, "ref"), ({"name": "o", "ref": "blob:x", "size": 1}, "size"),
])
def test_bad_outputs_by_ref(api, claim, body, field):
    problem(act_output(api, claim, body), 422, "invalid", field)


def test_P03_an_output_by_ref_with_a_stale_token_is_refused(api, claim):
    ref = api.put_blob(b"bytes")["ref"]
    problem(act_output(api, {**claim, "token": "1." + "0" * 32}, {"name": "o", "ref": ref}), 409, "stale_token")


# --- two servers ---

@pytest.fixture
def two(s3, bucket, proxy, make_server, tmp_path):
    """Over one database; the second one speaks to S3 through the proxy."""
    config = {"store": Databases.url_of(tmp_path)}
    return [Api(make_server({**config, "blob": blob}, data=tmp_path / "shared").url)
            for blob in (s3.url(bucket), s3.url(bucket, endpoint=proxy.endpoint))]


def test_two_servers_complete_one_upload(s3, bucket, two):
    parts = Parts(two[0], DATA)
    parts.send(1)
    parts.api = two[1]
    parts.send(2, 3)
    answers = []
    runs = [threading.Thread(target=lambda api=api: answers.append(requests.post(api.url + parts.path + "/complete", json={}, timeout=60))) for api in two]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert {a.status_code for a in answers} <= {200, 409} and 200 in {a.status_code for a in answers}, [a.text for a in answers]  # 409: it looked when the other one was done
    for parts.api in two:
        ref = parts.whole()
    assert requests.get(two[0].url + blob_path(ref), timeout=60).content == DATA
    nothing_is_left(s3, bucket, blobs=1)


def test_a_server_that_lags_behind_takes_nothing_away(s3, bucket, proxy, two):
    """It saw the upload's row, and then no state of it, since another server made it a blob meanwhile."""
    data = DATA[:MIB]
    parts = Parts(two[0], data)
    parts.send(1)
    answers = []
    proxy.fail(r"^GET /[^?]*uploads/", "503 SlowDown", 10 ** 6)
    run = threading.Thread(target=lambda: answers.append(requests.post(two[1].url + parts.path + "/parts", json={"parts": [{"number": 1, "md5": md5(data)}]}, timeout=60)))
    run.start()
    until(lambda: proxy.met["503 SlowDown"], 30)
    ref = parts.whole()
    proxy.heal()
    run.join()
    assert answers[0].status_code in (404, 409, 503), answers[0].text
    assert requests.get(two[0].url + blob_path(ref), timeout=60).content == data
    nothing_is_left(s3, bucket, blobs=1)
