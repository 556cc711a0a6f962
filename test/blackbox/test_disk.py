"""Disks that are full, broken or hold what they should not: nothing acknowledged is lost, nothing is made worse, and it says what to do."""
import errno
import hashlib
import sqlite3
import subprocess

import pytest
from conftest import problem, until
import shim
from shim import SHIM, Client, answered, faults

CORRUPT, UNSUPPORTED, UNKNOWN_OUTCOME = 23, 22, 17


@pytest.fixture
def shim_server(make_server, environment, faults, tmp_path):
    environment["LD_PRELOAD"], environment["HAUL_SHIM"] = str(SHIM), str(tmp_path / "shim")
    return make_server


@pytest.fixture
def small_disk(tmp_path):
    """A filesystem of 24 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting needs root")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(folder):
    """Takes every byte that is left."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:  # what a buffer kept of a write that failed would fail the close
        try:
            while True:
                file.write(bytes(65536))
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return path


def test_a_full_disk_refuses_writes_serves_reads_and_recovers_by_itself(make_server, small_disk):
    server = make_server(data=small_disk / "data")
    client = Client(server.url)
    kept = answered(client, "POST", "/v1/jobs", (201,), json={"task_type": "t"}).json()["job_id"]
    filler = fill(small_disk)
    refused = None
    for _ in range(2000):  # what the database has room for in the pages it holds already is still taken
        answer = client("POST", "/v1/jobs", json={"task_type": "t", "payload": "x" * 8000})
        if answer.status_code != 201:
            refused = answer
            break
    body = problem(refused, 503)
    assert "disk" in body["detail"] or "full" in body["detail"], body
    assert refused.headers["Retry-After"]
    problem(client("POST", "/v1/blobs", data=bytes(1_000_000), headers={"Content-Type": "application/octet-stream"}), 503)
    assert answered(client, "GET", f"/v1/jobs/{kept}", (200,)).json()["status"] == "pending"
    before = answered(client, "GET", "/v1/stats", (200,)).json()["queues"][0]["pending"]
    filler.unlink()
    answered(client, "POST", "/v1/jobs", (201,), json={"task_type": "t"})
    assert answered(client, "GET", "/v1/stats", (200,)).json()["queues"][0]["pending"] == before + 1  # the refused ones are not there
    assert server.popen.poll() is None


def test_P19_an_upload_that_met_a_full_disk_goes_on_when_there_is_room(make_server, small_disk):
    server = make_server(data=small_disk / "data")
    client, tus = Client(server.url), {"Tus-Resumable": "1.0.0"}
    data = hashlib.sha256(b"seed").digest() * 200_000  # 6.4 MB
    path = answered(client, "POST", "/v1/uploads", (201,), headers={**tus, "Upload-Length": str(len(data))}).headers["Location"]

    def patch(offset, piece):
        return client("PATCH", path, data=piece, headers={**tus, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"})

    assert patch(0, data[:1_000_000]).status_code == 204
    filler = fill(small_disk)
    problem(patch(1_000_000, data[1_000_000:]), 503, "no_space")
    head = until(lambda: (answer := client("HEAD", path, headers=tus)).status_code == 200 and answer)
    at = int(head.headers["Upload-Offset"])
    assert 1_000_000 <= at < len(data)
    filler.unlink()
    last = patch(at, data[at:])
    assert last.status_code == 204 and last.headers["Haul-Sha256"] == hashlib.sha256(data).hexdigest()


@shim.needed
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failed_sync_ends_the_server_and_the_next_start_knows(shim_server, faults, nth):
    """After a failed sync nobody can say what the disk holds: the server ends, and reads it at its next start."""
    server = shim_server()
    client = Client(server.url)
    kept = [answered(client, "POST", "/v1/jobs", (201,), json={"task_type": "t"}).json()["job_id"] for _ in range(3)]
    faults.arm("sync", nth, errno.EIO)
    unsure = []
    for i in range(10):
        key = f"key-{i}"
        answer = client("POST", "/v1/jobs", json={"task_type": "t"}, headers={"Idempotency-Key": key})
        if answer is not None and answer.status_code == 201:
            kept.append(answer.json()["job_id"])
            continue
        unsure.append(key)
        if answer is not None:
            assert problem(answer, 503)["code"] in ("unknown_outcome", "unavailable")
        break
    assert unsure, "the sync did not fail"
    assert server.popen.wait(20) == UNKNOWN_OUTCOME
    assert "sync failed" in server.said
    faults.disarm("sync")
    server.restart()
    for job in kept:
        assert answered(client, "GET", f"/v1/jobs/{job}", (200,)).json()["status"] == "pending"
    again = answered(client, "POST", "/v1/jobs", (200, 201), json={"task_type": "t"}, headers={"Idempotency-Key": unsure[0]}).json()["job_id"]
    total = answered(client, "GET", "/v1/jobs", (200,), params={"limit": 1000}).json()["jobs"]
    assert len(total) == len(kept) + 1 and again in {j["job_id"] for j in total}


# --- a database that is not what it was ---

def contents(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def database(make_server):
    """The database of a server that has stopped, with a few hundred jobs."""
    server = make_server()
    client = Client(server.url)
    for _ in range(3):
        answered(client, "POST", "/v1/jobs:batch", (200,), json={"jobs": [{"task_type": "t", "payload": "x" * 500}] * 200})
    assert server.terminate() == 0
    return server, server.data / "haul.db"


def cut(path):
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2 // 4096 * 4096])


def cut_in_a_page(path):
    data = path.read_bytes()
    path.write_bytes(data[:-1000])


def overwrite_header(path):
    with open(path, "r+b") as file:
        file.write(b"not a database at all" * 10)


def overwrite_middle(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(bytes(range(256)) * 64)


def empty(path):
    path.write_bytes(b"")


def make_newer(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()


def make_foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA application_id = 7")
    db.close()


@pytest.mark.parametrize("damage, status, says", [
    (cut, CORRUPT, "restore"), (cut_in_a_page, CORRUPT, "restore"), (overwrite_header, CORRUPT, "restore"), (overwrite_middle, CORRUPT, "restore"),
    (empty, CORRUPT, "restore"), (make_newer, UNSUPPORTED, "newer"), (make_foreign, CORRUPT, "not haul's"),
], ids=lambda value: getattr(value, "__name__", None))
def test_a_damaged_or_newer_database_is_refused_and_not_touched(database, haul, damage, status, says):
    server, path = database
    damage(path)
    before = contents(path)
    run = haul("server", "--listen", "127.0.0.1:0", "--data", server.data, timeout=30)
    assert run.returncode == status, run.stderr
    assert says in run.stderr and str(server.data) in run.stderr, run.stderr
    assert contents(path) == before


def test_a_database_under_a_data_folder_that_lost_it_is_missed(database, haul):
    """The blobs are there and the database is gone: a fresh start would take them for unreferenced."""
    server, path = database
    for part in server.data.glob("haul.db*"):
        part.unlink()
    run = haul("server", "--listen", "127.0.0.1:0", "--data", server.data, timeout=30)
    assert run.returncode == CORRUPT, (run.returncode, run.stderr)
    assert not path.exists()
