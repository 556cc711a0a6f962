"""Resumable uploads: the tus protocol by plain requests, cut, killed, raced and lied to. P19: transfers resume, are hash-checked, and unfinished
ones are swept."""
import base64
import hashlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import uuid

import pytest
from conftest import HAUL, Api, problem, until

TUS = {"Tus-Resumable": "1.0.0"}
OFFSET_TYPE = "application/offset+octet-stream"


def some_bytes(n, seed=1):
    return random.Random(seed).randbytes(n)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def metadata(**pairs):
    return ",".join(f"{k} {base64.b64encode(v.encode()).decode()}" for k, v in pairs.items())


class Tus:
    """A client of the protocol in the plainest words."""

    def __init__(self, api):
        self.api = api

    def post(self, length, headers=None, **pairs):
        headers = {**TUS, "Upload-Length": str(length), **(headers or {})}
        if pairs:
            headers["Upload-Metadata"] = metadata(**pairs)
        return self.api.request("POST", "/v1/uploads", headers=headers)

    def begin(self, length, **pairs):
        answer = self.post(length, **pairs)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    def patch(self, path, offset, data, headers=None, method="PATCH"):
        return self.api.request(method, path, data=data, headers={**TUS, "Upload-Offset": str(offset), "Content-Type": OFFSET_TYPE, **(headers or {})})

    def head(self, path):
        return self.api.request("HEAD", path, headers=TUS)

    def delete(self, path):
        return self.api.request("DELETE", path, headers=TUS)

    def offset(self, path):
        """What a client that goes on asks first; it asks again while it is told to."""
        def told():
            answer = self.head(path)
            assert answer.status_code in (200, 503), answer.status_code
            return answer if answer.status_code == 200 else None
        return int(until(told).headers["Upload-Offset"])

    def finish(self, path, data):
        """Goes on from wherever it stands to the end. The blob's ref."""
        at = self.offset(path)
        answer = self.patch(path, at, data[at:])
        assert answer.status_code == 204, answer.text
        return self.whole(path, data)

    def whole(self, path, data):
        """It is the blob that `data` is."""
        head = self.head(path)
        assert head.status_code == 200
        assert head.headers["Upload-Offset"] == head.headers["Upload-Length"] == str(len(data))
        assert head.headers["Haul-Sha256"] == sha256(data)
        ref = head.headers["Haul-Blob-Ref"]
        assert self.api.get("/v1/blobs/" + ref.removeprefix("blob:")).content == data
        return ref


@pytest.fixture
def tus(api):
    return Tus(api)


def xxh128(data):
    return subprocess.run(["xxhsum", "-H2"], input=data, stdout=subprocess.PIPE, check=True).stdout.split()[0].decode()


class Line:
    """A PATCH by hand, that can stop anywhere."""

    def __init__(self, url, path, offset, length, headers=""):
        host = urllib.parse.urlsplit(url)
        self.socket = socket.create_connection((host.hostname, host.port), timeout=30)
        self.socket.sendall(f"PATCH {path} HTTP/1.1\r\nHost: {host.netloc}\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: {offset}\r\n"
                            f"Content-Type: {OFFSET_TYPE}\r\nContent-Length: {length}\r\n{headers}\r\n".encode())

    def send(self, data):
        self.socket.sendall(data)

    def status(self):
        """Of the answer, which may come before all was sent."""
        text = b""
        while b"\r\n" not in text:
            more = self.socket.recv(65536)
            assert more, f"closed after {text!r}"
            text += more
        return int(text.split()[1])

    def close(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()


# --- the protocol ---

def test_what_is_understood(api):
    answer = api.request("OPTIONS", "/v1/uploads")
    assert answer.status_code == 204
    assert answer.headers["Tus-Version"] == "1.0.0"
    assert answer.headers["Tus-Extension"] == "creation,expiration,termination"


def test_an_upload_in_pieces_becomes_a_blob(api, tus):
    data = some_bytes(300_000)
    path = tus.begin(len(data), filename="clip.mp4", sha256=sha256(data))
    head = tus.head(path)
    assert (head.headers["Upload-Offset"], head.headers["Upload-Length"]) == ("0", "300000")
    assert head.headers["Upload-Metadata"] == metadata(filename="clip.mp4", sha256=sha256(data))
    assert head.headers["Cache-Control"] == "no-store" and head.headers["Upload-Expires"].endswith("GMT")
    assert "Haul-Blob-Ref" not in head.headers
    at = 0
    for step in (1, 0, 63, 64, 65, 99_807, 100_000):
        answer = tus.patch(path, at, data[at:at + step])
        assert answer.status_code == 204, answer.text
        at += step
        assert answer.headers["Upload-Offset"] == str(at) == str(tus.offset(path))
        assert answer.headers["Upload-Expires"] and "Haul-Blob-Ref" not in answer.headers
    last = tus.patch(path, at, data[at:])
    assert last.headers["Haul-Sha256"] == sha256(data) and last.headers["Upload-Offset"] == "300000"
    ref = tus.whole(path, data)
    assert ref == last.headers["Haul-Blob-Ref"]
    job = api.submit("x", inputs=[{"name": "clip.mp4", "ref": ref}])
    assert job["inputs"][0]["ref"] == ref


def test_an_upload_of_nothing_is_a_blob_at_once(tus):
    answer = tus.post(0, filename="empty")
    assert answer.status_code == 201 and answer.headers["Upload-Offset"] == "0"
    assert answer.headers["Haul-Blob-Ref"] == tus.whole(answer.headers["Location"], b"")
    problem(tus.post(0, sha256=sha256(b"something")), 422, "invalid", "Upload-Metadata")
    assert tus.post(0, sha256=sha256(b"")).status_code == 201


def test_post_may_stand_for_other_methods(tus, api):
    path = tus.begin(4)
    assert tus.patch(path, 0, b"fo", {"X-HTTP-Method-Override": "PATCH"}, "POST").headers["Upload-Offset"] == "2"
    assert api.request("POST", path, headers={**TUS, "X-HTTP-Method-Override": "DELETE"}).status_code == 204
    assert tus.head(path).status_code == 404
    problem(api.request("POST", path, headers={**TUS, "X-HTTP-Method-Override": "GET"}), 405)
    job = api.submit("x")  # nowhere else
    problem(api.request("POST", f"/v1/jobs/{job['job_id']}", headers={"X-HTTP-Method-Override": "DELETE"}), 405)


def test_a_blob_that_came_otherwise_answers_as_finished(api, tus):
    blob = api.put_blob(b"bytes")
    head = tus.head("/v1/uploads/" + blob["ref"].removeprefix("blob:"))
    assert head.headers["Haul-Blob-Ref"] == blob["ref"] and head.headers["Upload-Length"] == "5"


def test_an_upload_is_given_up(server, tus):
    path = tus.begin(10)
    tus.patch(path, 0, b"12345")
    answer = tus.delete(path)
    assert answer.status_code == 204 and answer.headers["Tus-Resumable"] == "1.0.0"
    problem(tus.delete(path), 404, "not_found")
    problem(tus.patch(path, 5, b"67890"), 404, "not_found")
    assert tus.head(path).status_code == 404
    assert not list((server.data / "blobs" / "uploads").iterdir())


# --- bad input ---

def test_wrong_versions(api, tus):
    path = tus.begin(4)
    for version in ({}, {"Tus-Resumable": "0.2.2"}, {"Tus-Resumable": "1.0.1"}):
        for method, where in (("POST", "/v1/uploads"), ("PATCH", path), ("DELETE", path)):
            answer = api.request(method, where, headers={**version, "Upload-Length": "4", "Upload-Offset": "0", "Content-Type": OFFSET_TYPE})
            problem(answer, 412, "unsupported_version")
            assert answer.headers["Tus-Version"] == "1.0.0"
        assert api.request("HEAD", path, headers=version).status_code == 412
    assert tus.offset(path) == 0


@pytest.mark.parametrize("length", [None, "", "-1", "x", "1.5", "9223372036854775808", "4x"])
def test_wrong_lengths(api, length):
    headers = {**TUS, **({} if length is None else {"Upload-Length": length})}
    problem(api.request("POST", "/v1/uploads", headers=headers), 422, "invalid", "Upload-Length")


def test_wrong_creations(tus, api):
    problem(api.request("POST", "/v1/uploads", headers={**TUS, "Upload-Defer-Length": "1"}), 422, "invalid", "Upload-Defer-Length")
    problem(tus.post(4, {"Upload-Metadata": "filename not*base64"}), 422, "invalid", "Upload-Metadata")
    problem(tus.post(4, sha256="abc"), 422, "invalid", "Upload-Metadata")
    problem(api.request("POST", "/v1/uploads", headers={**TUS, "Upload-Length": "4"}, data=b"four"), 413, "too_large")
    problem(api.request("POST", "/v1/uploads?x=1", headers={**TUS, "Upload-Length": "4"}), 422, "invalid", "x")
    problem(api.request("PUT", "/v1/uploads", headers=TUS), 405)


def test_wrong_offsets_change_nothing(tus):
    path = tus.begin(10)
    assert tus.patch(path, 0, b"01234").status_code == 204
    for offset in (0, 4, 6, 10, 11, 2**62):
        answer = tus.patch(path, offset, b"xxx")
        problem(answer, 409, "conflict", "Upload-Offset")
        assert answer.headers["Upload-Offset"] == "5"
    for offset in ("", "-1", "x", "9223372036854775808"):
        problem(tus.patch(path, offset, b"xxx"), 422, "invalid", "Upload-Offset")
    problem(tus.patch(path, 5, b"xxx", {"Upload-Offset": None}), 422, "invalid", "Upload-Offset")
    problem(tus.patch(path, 5, b"xxx", {"Content-Type": "application/octet-stream"}), 415)
    tus.finish(path, b"0123456789")


def test_more_than_announced_is_not_taken(server, tus):
    path = tus.begin(10)
    problem(tus.patch(path, 0, b"0123456789x"), 413, "too_large")
    assert tus.offset(path) == 0
    assert tus.patch(path, 0, b"01234").status_code == 204
    problem(tus.patch(path, 5, iter([b"56", b"789x"])), 413, "too_large")  # chunked: its length is not known before
    assert 5 <= tus.offset(path) < 10
    tus.finish(path, b"0123456789")


def test_a_finished_upload_takes_no_more(tus):
    path = tus.begin(4)
    ref = tus.finish(path, b"four")
    for offset, data in ((4, b""), (4, b"x"), (0, b"four")):
        answer = tus.patch(path, offset, data)
        problem(answer, 409, "conflict")
        assert answer.headers["Haul-Blob-Ref"] == ref
    answer = tus.delete(path)
    problem(answer, 409, "conflict")
    assert answer.headers["Haul-Blob-Ref"] == ref
    tus.whole(path, b"four")


def test_other_bytes_than_announced_are_refused_at_the_end(server, tus):
    path = tus.begin(10, sha256=sha256(b"0123456789"))
    assert tus.patch(path, 0, b"01234").status_code == 204
    problem(tus.patch(path, 5, b"56788"), 422, "invalid", "Upload-Metadata")
    assert tus.head(path).status_code == 404
    assert not list((server.data / "blobs" / "uploads").iterdir())
    assert not list((server.data / "blobs").glob("??/*-*"))


def test_unknown_uploads(tus):
    for path in (f"/v1/uploads/{uuid.uuid4()}", "/v1/uploads/no-id"):
        assert tus.head(path).status_code == 404
        problem(tus.patch(path, 0, b"x"), 404, "not_found")
        problem(tus.delete(path), 404, "not_found")


# --- cuts ---

@pytest.mark.parametrize("how", ["close", "reset"])
def test_P19_what_came_before_a_cut_is_kept(server, tus, how):
    data = some_bytes(1_000_003)
    path = tus.begin(len(data), sha256=sha256(data))
    at = 0
    for step in (1, 64, 4095, 65_537, 262_144, 300_000):
        line = Line(server.url, path, at, len(data) - at)
        line.send(data[at:at + step])
        until(lambda: tus.offset(path) == at + step)
        getattr(line, how)()
        at += step
    tus.finish(path, data)


def test_an_answer_that_was_lost_is_learnt_by_head(server, tus):
    path = tus.begin(4)
    line = Line(server.url, path, 0, 4)
    line.send(b"four")
    line.reset()

    def settled():
        """whether the bytes came to the server whole, in part or not at all, HEAD and PATCH lead to the blob"""
        head = tus.head(path)
        if head.status_code == 200 and "Haul-Blob-Ref" not in head.headers:
            at = int(head.headers["Upload-Offset"])
            tus.patch(path, at, b"four"[at:])
        return "Haul-Blob-Ref" in head.headers
    until(settled)
    tus.whole(path, b"four")


def test_P19_resumed_after_kills_of_the_server(make_server):
    server = make_server()
    tus = Tus(Api(server.url))
    data = some_bytes(5_000_000)
    path = tus.begin(len(data), sha256=sha256(data))
    assert tus.patch(path, 0, data[:1_000_000]).status_code == 204  # acknowledged: durable
    acknowledged = 1_000_000
    for way in ("kill", "terminate", "kill"):
        line = Line(server.url, path, acknowledged, len(data) - acknowledged)
        line.send(data[acknowledged:acknowledged + 700_000])
        until(lambda: tus.offset(path) == acknowledged + 700_000)
        getattr(server, way)()
        line.close()
        server.restart()
        at = tus.offset(path)
        assert acknowledged <= at <= acknowledged + 700_000
        if way == "terminate":
            assert at == acknowledged + 700_000  # a server that stops puts it away
        answer = tus.patch(path, at, data[at:at + 500_000])
        assert answer.status_code == 204, answer.text
        acknowledged = at + 500_000
    tus.finish(path, data)
    server.kill()
    server.restart()
    tus.whole(path, data)


def test_bytes_behind_the_mark_are_not_believed(make_server):
    """As after a power cut: the file is longer than what was synced, and ends in zeros."""
    server = make_server()
    tus = Tus(Api(server.url))
    data = some_bytes(100_000)
    path = tus.begin(len(data))
    tus.patch(path, 0, data[:50_000])
    server.kill()
    os.truncate(server.data / "blobs" / "uploads" / path.rpartition("/")[2], 90_000)
    server.restart()
    assert tus.offset(path) == 50_000
    tus.finish(path, data)


def test_a_commit_whose_row_was_never_written(make_server):
    """A kill between the last byte's name and its row, which is all that is left to do. The bytes stay where they are: over a database that many
    share another server may be about to write that row."""
    server = make_server()
    tus = Tus(Api(server.url))
    data = some_bytes(100_000)
    path = tus.begin(len(data))
    tus.patch(path, 0, data[:50_000])
    server.kill()
    name = path.rpartition("/")[2]
    blobs = server.data / "blobs"
    (blobs / "uploads" / name).rename(blobs / name[-2:] / name)
    with open(blobs / name[-2:] / name, "r+b") as f:
        f.seek(50_000)
        f.write(data[50_000:])
    server.restart()
    assert tus.offset(path) == 50_000
    problem(tus.patch(path, 40_000, data[40_000:] + b"more"), 413, "too_large")
    assert (blobs / name[-2:] / name).read_bytes() == data
    answer = tus.patch(path, 50_000, data[50_000:70_000])
    assert "Haul-Body-Xxh128" not in answer.headers  # it came, and is not what is stored
    assert answer.status_code == 204 and answer.headers["Upload-Offset"] == "100000"
    tus.whole(path, data)


# --- two writers ---

@pytest.mark.parametrize("size", [0, 100_000, 9_000_000])
def test_answers_tell_what_arrived(server, api, tus, size):
    data = some_bytes(size)
    answer = api.post("/v1/blobs", data=data, headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 201 and answer.headers["Haul-Body-Xxh128"] == xxh128(data)
    if size:
        path = tus.begin(size + 10)
        assert tus.patch(path, 0, data).headers["Haul-Body-Xxh128"] == xxh128(data)
        assert tus.offset(path) == size  # nothing but this request's bytes counts in the next sum
        last = tus.patch(path, size, b"10 of them")
        assert last.headers["Haul-Body-Xxh128"] == xxh128(b"10 of them")
        assert last.headers["Haul-Sha256"] == sha256(data + b"10 of them")
    api.submit("put")
    (claim,) = api.lease("put")
    path = f"/v1/jobs/{claim['job_id']}/attempts/{claim['attempt']}/outputs/file"
    staged = api.request("PUT", path, data=data, headers={"Content-Type": "application/octet-stream", "Haul-Token": claim["token"]})
    assert staged.status_code == 201 and staged.headers["Haul-Body-Xxh128"] == xxh128(data), staged.text


def test_a_download_tells_the_sum_of_what_came_in_one_request(server, api, tus):
    data = some_bytes(9_000_000)
    once, twice = tus.begin(len(data)), tus.begin(len(data))
    in_one = tus.patch(once, 0, data).headers["Haul-Blob-Ref"]
    tus.patch(twice, 0, data[:5_000_000])
    in_two = tus.patch(twice, 5_000_000, data[5_000_000:]).headers["Haul-Blob-Ref"]
    for ref in (in_one, api.put_blob(data)["ref"]):
        path = "/v1/blobs/" + ref.removeprefix("blob:")
        for answer in (api.get(path), api.get(path, headers={"Range": "bytes=5-9", "Haul-Verify": "client"}), api.request("HEAD", path)):
            assert answer.headers["Haul-Xxh128"] == xxh128(data)
    answer = api.get("/v1/blobs/" + in_two.removeprefix("blob:"))
    assert answer.content == data and "Haul-Xxh128" not in answer.headers  # its bytes were never seen in a row


def test_a_second_writer_is_refused_while_the_first_sends(server, tus):
    data = some_bytes(400_000)
    path = tus.begin(len(data))
    first = Line(server.url, path, 0, len(data))
    for sent in range(0, 5000, 1000):
        first.send(data[sent:sent + 1000])
        until(lambda: tus.offset(path) == sent + 1000)
        answer = tus.patch(path, sent + 1000, b"from the second")
        problem(answer, 409, "locked")
        assert answer.headers["Retry-After"] == "1"
    first.send(data[5000:])
    assert first.status() == 204
    tus.whole(path, data)


def test_a_writer_that_vanished_holds_nobody_up(server, tus):
    """Its network is gone, so no end of its connection ever comes: whoever comes back takes over, and it can do nothing more."""
    data = some_bytes(200_000)
    path = tus.begin(len(data))
    gone = Line(server.url, path, 0, len(data))
    gone.send(data[:100_000])
    until(lambda: tus.offset(path) == 100_000)

    def taken_over():
        """the upload goes on"""
        answer = tus.patch(path, 100_000, data[100_000:150_000])
        assert answer.status_code in (204, 409), answer.text
        if answer.status_code == 204:  # of what came from it, not from the one that vanished
            assert answer.headers["Haul-Body-Xxh128"] == xxh128(data[100_000:150_000])
        return answer.status_code == 204
    until(taken_over, 9)  # before the server would cut a silent connection
    assert tus.offset(path) == 150_000
    try:
        gone.send(b"x" * 100_000)
        assert gone.status() == 409
    except OSError:
        pass  # cut already
    assert tus.offset(path) == 150_000
    tus.finish(path, data)


def test_a_writer_whose_connection_ended_holds_nobody_up_at_all(server, tus):
    path = tus.begin(10)
    line = Line(server.url, path, 0, 10)
    line.send(b"01234")
    until(lambda: tus.offset(path) == 5)
    line.close()
    tus.finish(path, b"0123456789")


def test_many_writers_and_one_truth(server, tus):
    """Eight clients go on with the same upload as soon as they may: the bytes are those of the file, whoever sent them."""
    data = some_bytes(1_500_000)
    path = tus.begin(len(data), sha256=sha256(data))
    faults = []

    def client(seed):
        dice = random.Random(seed)
        mine = Tus(Api(server.url))
        while True:
            head = mine.head(path)
            if head.status_code == 200 and "Haul-Blob-Ref" in head.headers:
                return
            if head.status_code == 503:
                continue
            at = int(head.headers["Upload-Offset"])
            answer = mine.patch(path, at, data[at:at + dice.randrange(1, 200_000)])
            if answer.status_code not in (204, 409, 503):
                faults.append(answer.text)
                return

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(45)
    assert not faults and not any(t.is_alive() for t in threads)
    tus.whole(path, data)


def test_given_up_under_its_writers_hands(server, tus):
    path = tus.begin(1_000_000)
    line = Line(server.url, path, 0, 1_000_000)
    line.send(bytes(1000))
    until(lambda: tus.offset(path) == 1000)
    assert tus.delete(path).status_code == 204
    try:
        line.send(bytes(900_000))
        assert line.status() == 409
    except OSError:
        pass
    assert tus.head(path).status_code == 404
    until(lambda: not list((server.data / "blobs" / "uploads").iterdir()))


# --- time and room ---

def test_P19_an_upload_that_rests_too_long_is_gone(make_server):
    server = make_server({"upload_keep": "1s", "blob_keep": "1s"})
    tus = Tus(Api(server.url))
    path = tus.begin(10)
    tus.patch(path, 0, b"01234")
    until(lambda: tus.head(path).status_code == 404)
    problem(tus.patch(path, 5, b"56789"), 404, "not_found")
    problem(tus.delete(path), 404, "not_found")
    until(lambda: not list((server.data / "blobs" / "uploads").iterdir()))
    # finished, it waits for its submission as long as any blob
    path = tus.begin(4)
    tus.finish(path, b"four")
    until(lambda: tus.head(path).status_code == 404)
    until(lambda: not list((server.data / "blobs").glob("??/*-*")))


def test_a_resume_of_what_expired_while_the_server_was_away(make_server):
    server = make_server({"upload_keep": "1s"})
    tus = Tus(Api(server.url))
    path = tus.begin(10)
    tus.patch(path, 0, b"01234")
    server.kill()
    expired = time.monotonic() + 1.1
    until(lambda: time.monotonic() > expired)
    server.restart()
    problem(tus.patch(path, 5, b"56789"), 404, "not_found")
    assert tus.head(path).status_code == 404


def test_a_backup_leaves_unfinished_uploads_out(make_server, haul, tmp_path):
    server = make_server()
    tus = Tus(Api(server.url))
    path = tus.begin(10)
    tus.patch(path, 0, b"01234")
    whole = tus.begin(4)
    tus.finish(whole, b"four")
    done = haul("backup", tmp_path / "b.tar", url=server.url)
    assert done.returncode == 0, done.stderr
    assert tus.patch(path, 5, b"56789").status_code == 204
    restored = tmp_path / "restored"
    done = haul("restore", tmp_path / "b.tar", "--data", restored)
    assert done.returncode == 0, done.stderr
    other = make_server(data=restored)
    tus = Tus(Api(other.url))
    tus.whole(whole, b"four")
    assert tus.offset(path) == 0  # its row came along, its bytes did not: a client begins it again, and it ends well
    tus.finish(path, b"0123456789")


# --- the command line ---

class CuttingProxy:
    """Between a client and a server: closes a connection that brought so many bytes, once for each of `cuts`; then holds the one that brings
    `hold`, if given, until release()."""

    def __init__(self, upstream, cuts=(), hold=None):
        self.upstream, self.cuts, self.hold = urllib.parse.urlsplit(upstream), list(cuts), hold
        self.up = 0  # bytes that went to the server
        self.held, self.go = threading.Event(), threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            server = socket.create_connection((self.upstream.hostname, self.upstream.port))
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 << 10)  # what lies in it when it is cut is lost
        except OSError:
            client.close()
            return
        threading.Thread(target=self.pass_back, args=(server, client), daemon=True).start()
        brought = 0
        try:
            while data := client.recv(65536):
                if self.cuts and brought + len(data) > self.cuts[0]:
                    self.cuts.pop(0)
                    break
                if not self.cuts and self.hold and brought + len(data) > self.hold:
                    self.hold = None
                    self.held.set()
                    self.go.wait(60)
                server.sendall(data)
                brought += len(data)
                self.up += len(data)
        except OSError:
            pass
        for end in (server, client):
            try:
                end.shutdown(socket.SHUT_RDWR)  # wakes pass_back
            except OSError:
                pass
            end.close()  # with what was not read: to its sender the connection is broken, not only ended

    def pass_back(self, server, client):
        try:
            while data := server.recv(65536):
                text = data.replace(self.upstream.netloc.encode(), self.url.removeprefix("http://").encode())
                client.sendall(text)
        except OSError:
            pass

    def release(self):
        self.go.set()

    def close(self):
        self.listener.close()
        self.go.set()


@pytest.fixture
def cutting(make_server):
    """cutting(cuts, hold) -> (server, proxy); the server answers for the proxy's name, too."""
    made = []

    def make(cuts=(), hold=None):
        server = make_server()
        made.append(CuttingProxy(server.url, cuts, hold))
        return server, made[-1]

    yield make
    for proxy in made:
        proxy.close()


@pytest.fixture
def film(tmp_path):
    """A file, and what it holds."""
    data = some_bytes(1 << 20) * 48
    path = tmp_path / "film.mp4"
    path.write_bytes(data)
    return path, data


def stored(server, ref, data):
    assert Api(server.url).get("/v1/blobs/" + ref.strip().removeprefix("blob:")).content == data


def states(environment):
    folder = pathlib.Path(environment["HOME"]) / ".local/state/haul/uploads"
    return list(folder.iterdir()) if folder.exists() else []


def heed_interrupts():
    """A shell that starts the tests in the background has SIGINT ignored in all of them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


SLACK = 9 << 20  # of a cut: what was on its way (a socket of the kernel's takes 6 MiB), or in the server's memory


def test_P19_blob_put_goes_on_after_cuts(cutting, haul, film, environment):
    path, data = film
    server, proxy = cutting([100, 12 << 20, 12 << 20, 12 << 20])
    done = haul("blob", "put", path, url=proxy.url)
    assert done.returncode == 0, done.stderr
    stored(server, done.stdout, data)
    assert not proxy.cuts and proxy.up < len(data) + 3 * SLACK
    assert not states(environment)


def test_P19_submit_goes_on_after_a_kill_of_the_server(cutting, haul, film):
    path, data = film
    server, proxy = cutting([20 << 20], hold=5 << 20)
    results = []
    run = threading.Thread(target=lambda: results.append(haul("submit", "x", "--input", path, url=proxy.url)))
    run.start()
    assert proxy.held.wait(30), results
    server.kill()
    server.restart()
    proxy.release()
    run.join(50)
    assert results and results[0].returncode == 0, results
    job = Api(server.url).job(results[0].stdout.strip())
    stored(server, job["inputs"][0]["ref"], data)
    assert proxy.up < len(data) + (5 << 20) + 2 * SLACK  # what was put away after the cut was not sent again


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_P19_a_second_run_goes_on_where_the_first_was_stopped(cutting, haul, film, environment, end):
    path, data = film
    server, proxy = cutting(hold=20 << 20)
    first = subprocess.Popen([HAUL, "blob", "put", path], env={**environment, "HAUL_SERVER": proxy.url}, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, preexec_fn=heed_interrupts)
    assert proxy.held.wait(30)
    assert len(states(environment)) == 1
    first.send_signal(end)
    assert first.wait(60) != 0
    proxy.release()
    before = proxy.up
    done = haul("blob", "put", path, url=proxy.url)
    assert done.returncode == 0, done.stderr
    stored(server, done.stdout, data)
    assert proxy.up < len(data) + SLACK and proxy.up - before < len(data) - (10 << 20)
    assert not states(environment)


def test_a_file_that_changed_is_another_upload(cutting, haul, film, environment):
    path, data = film
    server, proxy = cutting(hold=15 << 20)
    first = subprocess.Popen([HAUL, "blob", "put", path], env={**environment, "HAUL_SERVER": proxy.url}, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, preexec_fn=heed_interrupts)
    assert proxy.held.wait(30)
    first.kill()
    first.wait(10)
    proxy.release()
    data = data[::-1]
    path.write_bytes(data)
    done = haul("blob", "put", path, url=proxy.url)
    assert done.returncode == 0, done.stderr
    stored(server, done.stdout, data)


def test_a_state_file_that_is_none_does_no_harm(server, haul, film, environment):
    path, data = film
    done = haul("blob", "put", path, url=server.url)
    stored(server, done.stdout, data)
    blocked = pathlib.Path(environment["HOME"]) / ".local/state/haul"
    shutil.rmtree(blocked)
    blocked.write_text("a file where the folder should be")
    done = haul("blob", "put", path, url=server.url)
    assert done.returncode == 0, done.stderr
    stored(server, done.stdout, data)


def test_small_files_and_pipes_go_in_one_request(server, haul, tmp_path, film):
    small = tmp_path / "small"
    small.write_bytes(b"small")
    done = haul("blob", "put", small, url=server.url)
    stored(server, done.stdout, b"small")
    done = subprocess.run(f"cat {film[0]} | {HAUL} --server {server.url} blob put -", shell=True, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    stored(server, done.stdout, film[1])
    text = Api(server.url).get("/metrics").text
    assert 'route="/v1/uploads"' not in "".join(line for line in text.splitlines() if line.endswith(" 1"))


# --- other people's client ---

def test_tuspy(server, tus, film):
    """Debian's python3-tuspy, where it is installed."""
    client = pytest.importorskip("tusclient.client")
    path, data = film
    tus_client = client.TusClient(server.url + "/v1/uploads")
    uploader = tus_client.uploader(str(path), chunk_size=5 << 20, metadata={"filename": "film.mp4"})
    uploader.upload(stop_at=11 << 20)
    again = tus_client.uploader(str(path), chunk_size=7 << 20, url=uploader.url)
    again.upload()
    tus.whole(urllib.parse.urlsplit(again.url).path, data)
