"""A byte that flips on the server's disk is reported, and never served as good, by whatever way it is read."""
import http.client
import os
import re
import socket
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


@pytest.fixture(params=[(SMALL, 0), (SMALL, SMALL - 1), (LARGE, 0), (LARGE, LARGE // 2), (LARGE, LARGE - 1)], ids=str)
def damaged(request, server, api):
    size, at = request.param
    data = os.urandom(size)
    blob = api.put_blob(data)
    flip(stored(server, blob["ref"]), at)
    return blob["ref"], f"/v1/blobs/{blob['ref'].removeprefix('blob:')}", data


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
