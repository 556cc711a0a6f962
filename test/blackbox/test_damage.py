"""A byte that flips on the server's disk is reported, and never served as good, by whatever way it is read."""
import http.client
import os
import re
import socket
import sqlite3
import urllib.parse
import urllib.request

import pytest
from conftest import problem, until

SMALL, LARGE = 10_000, 3_000_000  # looked at before the answer begins; looked at while it is sent


def stored(server, ref):
    (path,) = [p for p in (server.data / "blobs").rglob(ref.removeprefix("blob:")) if p.is_file()]
    return path


def flip(path, at):
    path.chmod(0o600)
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def met(api):
    return int(re.search(r"^haul_blob_damage_total (\d+)$", api.get("/metrics").text, re.M)[1])


def raw(server, path):
    """All that comes back, cut or not."""
    where = urllib.parse.urlsplit(server.url)
    with socket.create_connection((where.hostname, where.port), 20) as s:
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: s.recv(1 << 20), b""))


def in_one(api, data):
    """The server keeps the sum of what it saw in a row."""
    return api.put_blob(data)["ref"]


def in_two(api, data):
    """Of this it has the SHA-256 only."""
    tus, half = {"Tus-Resumable": "1.0.0"}, len(data) // 2
    path = api.request("POST", "/v1/uploads", headers={**tus, "Upload-Length": str(len(data))}).headers["Location"]
    for at, piece in ((0, data[:half]), (half, data[half:])):
        answer = api.request("PATCH", path, data=piece, headers={**tus, "Upload-Offset": str(at), "Content-Type": "application/offset+octet-stream"})
        assert answer.status_code == 204, answer.text
    return answer.headers["Haul-Blob-Ref"]


@pytest.fixture(params=[(SMALL, 0, in_one), (SMALL, SMALL - 1, in_two), (LARGE, 0, in_one), (LARGE, LARGE // 2, in_one), (LARGE, LARGE // 2, in_two),
                        (LARGE, LARGE - 1, in_one)], ids=lambda p: f"{p[0]}-{p[1]}-{p[2].__name__}")
def damaged(request, server, api):
    size, at, put = request.param
    data = os.urandom(size)
    ref = put(api, data)
    flip(stored(server, ref), at)
    return ref, f"/v1/blobs/{ref.removeprefix('blob:')}", data


def test_P09_flipped_byte_is_never_served_whole(server, api, damaged):
    _, path, data = damaged
    answer = raw(server, path)
    head, _, body = answer.partition(b"\r\n\r\n")
    if len(data) == SMALL:
        assert head.startswith(b"HTTP/1.1 500") and b"damaged" in body
    else:
        assert int(re.search(rb"Content-Length: (\d+)", head)[1]) == len(data) and len(body) < len(data)
        with pytest.raises(http.client.IncompleteRead):
            urllib.request.urlopen(server.url + path, timeout=20).read()
    assert met(api) > 0
    until(lambda: "is damaged" in server.said)


def test_P09_flipped_byte_is_never_served_in_part(api, damaged):
    _, path, data = damaged
    for part, more in (("bytes=0-9", {}), (f"bytes={len(data) - 10}-", {}), ("bytes=100-200", {"Haul-Verify": "no"})):
        assert "damaged" in problem(api.get(path, headers={"Range": part, **more}), 500, "corrupt")["detail"]
    assert met(api) == 3


def test_P09_bytes_that_flip_after_a_good_read_are_met(server, api):
    data = os.urandom(LARGE)
    blob = api.put_blob(data)
    path = f"/v1/blobs/{blob['ref'].removeprefix('blob:')}"
    assert api.get(path).content == data
    assert api.get(path, headers={"Range": "bytes=5-9"}).content == data[5:10]
    flip(stored(server, blob["ref"]), 7)
    problem(api.get(path, headers={"Range": "bytes=5-9"}), 500, "corrupt")
    flip(stored(server, blob["ref"]), 7)
    assert api.get(path, headers={"Range": "bytes=5-9"}).content == data[5:10]
    assert met(api) == 1


@pytest.mark.skipif("HAUL_TEST_STORE" in os.environ, reason="writes into the embedded database")
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_P09_bytes_are_held_against_the_sum_where_it_is_kept(server, api, size):
    data = os.urandom(size)
    path = f"/v1/blobs/{in_one(api, data).removeprefix('blob:')}"

    def served(change):
        server.terminate()
        db = sqlite3.connect(server.data / "haul.db")
        with db:
            assert db.execute(f"UPDATE blobs SET {change}").rowcount == 1
        db.close()
        server.restart()
        return data in raw(server, path)
    assert served("sha256 = zeroblob(32)")
    assert not served("xxh128 = zeroblob(16)")
    assert not served("xxh128 = NULL")


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("by", [-1, 1])
def test_P09_blob_of_another_size_is_refused(server, api, size, by):
    blob = api.put_blob(os.urandom(size))
    path = stored(server, blob["ref"])
    path.chmod(0o600)
    os.truncate(path, size + by)
    assert "another size" in problem(api.get(f"/v1/blobs/{blob['ref'].removeprefix('blob:')}"), 500, "corrupt")["detail"]


def test_P09_command_line_reports_it_and_leaves_no_file(server, api, haul, damaged, tmp_path):
    ref, path, data = damaged
    told = {"Haul-Verify": "client"}
    taken = api.get(path, headers=told)  # what it gets, and looks at by itself
    assert taken.status_code == 200 and len(taken.content) == len(data) and taken.content != data
    assert api.get(path, headers={"Range": "bytes=0-9", **told}).status_code == 206
    assert met(api) == 0
    done = haul("blob", "get", ref, "-o", tmp_path / "file", url=server.url)
    assert done.returncode == 23 and "damaged" in done.stderr, done
    assert not (tmp_path / "file").exists()
    assert met(api) == 1  # it was asked to look, then


def test_P09_job_never_starts_on_a_damaged_input(server, api, make_worker, damaged):
    ref, _, _ = damaged
    make_worker(server.url, {"read": "cat in/data > out/copy"})
    job_id = api.submit("read", inputs=[{"name": "data", "ref": ref}], max_attempts=1)["job_id"]
    job = api.wait(job_id)
    assert job["status"] == "failed" and "damaged" in job["error_log"], job
    assert not api.outputs(job_id)


def test_P09_damaged_output_is_reported_to_who_fetches_it(server, api, make_worker, haul, tmp_path):
    make_worker(server.url, {"make": "head -c 2000000 /dev/urandom > out/result"})
    job_id = api.submit("make")["job_id"]
    assert api.wait(job_id)["status"] == "success"
    flip(stored(server, api.outputs(job_id)[0]["ref"]), 1_999_999)
    done = haul("jobs", "outputs", job_id, "-o", tmp_path / "got", url=server.url)
    assert done.returncode != 0 and "damaged" in done.stderr, done
    assert not (tmp_path / "got" / "result").exists()
