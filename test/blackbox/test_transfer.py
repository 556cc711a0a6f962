"""Blobs up and down: by ranges, on conditions, with other people's clients, and as `bench/blobs` measures them."""
import email.utils
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from conftest import HAUL, Api, problem, until

TOP = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20


def path_of(blob):
    return "/v1/blobs/" + blob["ref"].removeprefix("blob:")


def blob_file(server, ref):
    return server.data / "blobs" / ref[-2:] / ref.removeprefix("blob:")


@pytest.fixture
def data():
    return os.urandom(5 * MIB + 4711)


@pytest.fixture
def blob(api, data):
    return api.put_blob(data)


@pytest.fixture
def tool(api, blob, tmp_path):
    """Runs another client to its end; (the file that it was to write, what it said)."""
    def run(*command):
        if not shutil.which(command[0]):
            pytest.skip(f"{command[0]} is not installed")
        done = subprocess.run([*command, api.url + path_of(blob)], capture_output=True, text=True, timeout=50, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        return (tmp_path / "got").read_bytes(), done.stdout + done.stderr
    return run


def test_conditions_count_in_the_order_of_the_rfc(api, blob, data):
    url, etag = path_of(blob), f'"{blob["sha256"]}"'
    whole = api.get(url)
    assert whole.content == data and whole.headers["ETag"] == etag
    when = whole.headers["Last-Modified"]
    stored = email.utils.parsedate_to_datetime(when)
    assert abs((email.utils.parsedate_to_datetime(whole.headers["Date"]) - stored).total_seconds()) < 60
    day_before = email.utils.format_datetime(stored.replace(year=stored.year - 1), usegmt=True)
    for headers, status in [
            ({"If-None-Match": etag}, 304), ({"If-None-Match": "W/" + etag}, 304), ({"If-None-Match": "*"}, 304),
            ({"If-None-Match": f'"x", {etag}'}, 304), ({"If-None-Match": '"x"'}, 200), ({"If-None-Match": "nonsense"}, 200),
            ({"If-Match": etag}, 200), ({"If-Match": "*"}, 200), ({"If-Match": '"x"'}, 412), ({"If-Match": "W/" + etag}, 412),
            ({"If-Modified-Since": when}, 304), ({"If-Modified-Since": day_before}, 200), ({"If-Modified-Since": "nonsense"}, 200),
            ({"If-Unmodified-Since": when}, 200), ({"If-Unmodified-Since": day_before}, 412),
            ({"If-None-Match": '"x"', "If-Modified-Since": when}, 200), ({"If-Match": etag, "If-Unmodified-Since": day_before}, 200),
            ({"If-Match": '"x"', "If-None-Match": etag}, 412), ({"If-None-Match": etag, "Range": "bytes=0-1"}, 304)]:
        for method in ("GET", "HEAD"):
            answer = api.request(method, url, headers=headers)
            assert answer.status_code == status, (method, headers)
            assert answer.headers["ETag"] == etag and answer.headers["Last-Modified"] == when
            # RFC 9110, 8.6: a 304 has the length of what it stands for, or none
            if status == 304:
                assert answer.headers.get("Content-Length", str(len(data))) == str(len(data)) and not answer.content
    refused = problem(api.get(url, headers={"If-Match": '"x"'}), 412, "precondition_failed")
    assert "If-Match" in refused["detail"] and blob["sha256"] in refused["detail"]


def test_a_download_goes_on_only_with_the_same_bytes(api, blob, data):
    url, etag = path_of(blob), f'"{blob["sha256"]}"'
    when = api.request("HEAD", url).headers["Last-Modified"]
    for if_range, status in [(etag, 206), (when, 206), ('"x"', 200), ("W/" + etag, 200), ("Thu, 01 Jan 1970 00:00:00 GMT", 200), ("nonsense", 200)]:
        answer = api.get(url, headers={"Range": "bytes=1000-", "If-Range": if_range})
        assert answer.status_code == status, if_range
        assert answer.content == (data[1000:] if status == 206 else data)
    assert api.get(url, headers={"Range": "bytes=9999999-", "If-Range": '"x"'}).status_code == 200
    assert problem(api.get(url, headers={"Range": "bytes=9999999-", "If-Range": etag}), 416)["detail"]


def test_ranges_that_are_no_single_range_get_the_whole(api, blob, data):
    for text in ["bytes=0-1,5-6", "bytes=-1,0-0", "bytes=5-4", "bytes=a-b", "bytes=", "bytes=-", "lines=0-1", "bytes 0-1", "bytes=+1-2"]:
        answer = api.get(path_of(blob), headers={"Range": text})
        assert answer.status_code == 200 and answer.content == data, text
    empty = api.put_blob(b"")
    assert api.get(path_of(empty), headers={"Range": "bytes=-5"}).status_code == 200
    problem(api.get(path_of(empty), headers={"Range": "bytes=0-"}), 416)


def test_conditions_on_what_is_not_there(api):
    url = "/v1/blobs/01936d5e-7b11-7aaa-8bbb-5a6b7c8d9e0f"
    for headers in ({"If-None-Match": "*"}, {"If-Match": "*"}, {"Range": "bytes=0-1"}):
        problem(api.get(url, headers=headers), 404, "not_found")


def test_curl_goes_on_where_it_was_cut(tool, data, tmp_path):
    (tmp_path / "got").write_bytes(data[:3 * MIB + 1])
    got, said = tool("curl", "-sSv", "-C", "-", "-o", "got")
    assert got == data and f"Range: bytes={3 * MIB + 1}-" in said and "206 Partial Content" in said


def test_curl_does_not_fetch_what_it_has(tool, blob, data, tmp_path):
    (tmp_path / "tag").write_text(f'"{blob["sha256"]}"')
    (tmp_path / "got").write_bytes(data)
    got, said = tool("curl", "-sSv", "--etag-compare", "tag", "-o", "got")
    assert got == data and "304 Not Modified" in said


def test_aria2_takes_it_in_parts_at_once(tool, data):
    got, _ = tool("aria2c", "--split=4", "--max-connection-per-server=4", "--min-split-size=1M", "--dir=.", "--out=got", "--no-conf")
    assert got == data


def test_aria2_goes_on_where_it_was_cut(tool, data, tmp_path):
    (tmp_path / "got").write_bytes(data[:2 * MIB])
    got, _ = tool("aria2c", "--continue", "--split=1", "--dir=.", "--out=got", "--no-conf")
    assert got == data


# Around what the client and the server gather on the way: 16, 64, 128 and 256 KiB.
@pytest.mark.parametrize("size", [0, 1, 4095, 4097, 65536, 131071, 262143, 262144, 262145, 1048576 + 17, 3 * MIB + 5])
def test_sizes_there_and_back(server, haul, tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "up").write_bytes(data)
    put = haul("blob", "put", "up", url=server.url)
    assert put.returncode == 0, put.stderr
    assert haul("blob", "get", put.stdout.strip(), "down", url=server.url).returncode == 0
    assert (tmp_path / "down").read_bytes() == data


def bench(*arguments, haul=HAUL):
    return subprocess.run([sys.executable, TOP / "bench" / "blobs", "--haul", haul, *map(str, arguments)], capture_output=True, text=True,
                          timeout=100)


def test_bench_prints_a_table(tmp_path):
    done = bench("--size", "300K", "--runs", "1", "--cache", "cold", "--check", "--dir", tmp_path)
    assert done.returncode == 0, done.stderr
    rows = {line[:10].strip(): line[10:].split() for line in done.stdout.splitlines()[2:]}
    assert list(rows) == ["cp up", "sha256", "haul up", "curl up", "cp down", "haul down", "curl down"]
    assert float(rows["haul up"][-1]) > 1, "the server's memory"
    assert list(tmp_path.iterdir()) == [], "nothing is left"


@pytest.mark.parametrize("arguments, said", [
    (["--size", "0"], "is no size"), (["--size", "4X"], "is no size"), (["--runs", "0"], "from 1 to 1000"),
    (["--cache", "hot"], "invalid choice"), (["--dir", "/nowhere"], "is no folder"), (["--size", "9999999G"], "not three times")])
def test_bench_refuses(arguments, said):
    done = bench(*arguments)
    assert done.returncode != 0 and said in done.stderr


def test_bench_without_a_server_to_measure(tmp_path):
    done = bench("--haul", "/nowhere/haul")
    assert done.returncode != 0 and "is no program" in done.stderr
    done = bench("--size", "1K", "--dir", tmp_path, haul="/bin/false")
    assert done.returncode != 0 and "did not start" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_blob_that_nobody_refers_to_expires(make_server, data):
    """Not one that a job needs; and who reads it when it goes gets all of it."""
    server = make_server({"blob_keep": "3s"})
    api = Api(server.url)
    kept = api.put_blob(b"kept")
    api.submit("t", payload_ref=kept["ref"])
    lost = api.put_blob(data)
    reading = api.session.get(api.url + path_of(lost), stream=True, timeout=60)
    begin = reading.raw.read(1000)
    until(lambda: not blob_file(server, lost["ref"]).exists())
    assert begin + reading.raw.read() == data
    problem(api.get(path_of(lost)), 404, "not_found")
    assert api.post("/v1/jobs", {"task_type": "t", "payload_ref": lost["ref"]}).status_code == 422
    assert api.get(path_of(kept)).content == b"kept"
    assert blob_file(server, kept["ref"]).exists()
