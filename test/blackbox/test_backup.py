"""haul backup and haul restore: the archive of a running server, and what is refused instead of being restored."""
import hashlib
import http.server
import io
import json
import os
import pathlib
import shutil
import signal
import sqlite3
import subprocess
import tarfile
import threading

import pytest
import requests
import urllib3
from conftest import COMPLETE, HAUL, READY, Api, problem, until

TAIL = 2048
CORRUPT, UNSUPPORTED, CONFLICT, LOCKED, BUSY = 23, 22, 13, 21, 16


def leftovers(folder):
    """Names beside FILE or DIR that a call which failed should not have left."""
    return [p.name for p in pathlib.Path(folder).iterdir() if "restoring" in p.name or "partial" in p.name]


def entries(archive):
    """[(TarInfo, bytes)] without the last entry."""
    with tarfile.open(archive) as tar:
        return [(member, tar.extractfile(member).read()) for member in tar if member.name != "complete.json"]


def block(info, data=b""):
    info.size = len(data)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


def sealed(head, **more):
    """The bytes with a last entry that is right about them."""
    text = json.dumps({"complete": True, "bytes": len(head), "sha256": hashlib.sha256(head).hexdigest(), "damaged_blobs": 0, **more})
    return head + block(tarfile.TarInfo("complete.json"), text.encode().ljust(512)) + bytes(1024)


def blob_file(server, ref):
    return server.data / "blobs" / ref[-2:] / ref.removeprefix("blob:")


def snapshot_folder(server):
    return server.data / "backup.tmp"


@pytest.fixture
def stocked(api):
    """A server with something of everything: (api, ids of jobs, refs of blobs)."""
    refs = [api.put_blob(bytes([i]) * (1000 + i))["ref"] for i in range(3)]
    ids = [api.submit("t", payload_ref=ref)["job_id"] for ref in refs] + [api.submit("u", payload={"a": 1})["job_id"]]
    return api, ids, refs


@pytest.fixture
def archive(stocked, haul, tmp_path):
    """A good backup of it."""
    file = tmp_path / "good.tar"
    made = haul("backup", file, url=stocked[0].url)
    assert made.returncode == 0, made.stderr
    return file


def test_backup_under_load_keeps_what_was_acknowledged(make_server, make_worker, haul, tmp_path):
    server = make_server()
    api = Api(server.url)
    make_worker(server.url, {"work": "head -c 20000 /dev/urandom > out/a; cat out/a out/a > out/b"}, slots=3)
    acknowledged, stop = [], threading.Event()

    def submit_on():
        mine = Api(server.url)
        while not stop.is_set():
            ref = mine.put_blob(os.urandom(5000))["ref"]
            acknowledged.append(mine.submit("work", payload_ref=ref)["job_id"])
            acknowledged.append(mine.submit("idle", payload={"text": "x" * 50000})["job_id"])

    threads = [threading.Thread(target=submit_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        until(lambda: len(acknowledged) > 200)
        until(lambda: api.get("/v1/jobs", params={"status": "success"}).json()["jobs"])
        before = list(acknowledged)
        made = haul("backup", tmp_path / "load.tar", "--json", url=server.url)
        assert len(acknowledged) > len(before)  # it went on meanwhile
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert made.returncode == 0, made.stderr
    summary = json.loads(made.stdout)
    assert summary["damaged_blobs"] == 0 and summary["bytes"] == (tmp_path / "load.tar").stat().st_size
    assert not snapshot_folder(server).exists()
    server.terminate()

    restored = haul("restore", tmp_path / "load.tar", "--data", tmp_path / "restored")
    assert restored.returncode == 0, restored.stderr
    copy = Api(make_server(data=tmp_path / "restored").url)
    jobs = {job_id: copy.job(job_id) for job_id in before}
    assert len(jobs) <= summary["jobs"]
    done, page = [], copy.get("/v1/jobs", params={"status": "success", "limit": 1000}).json()
    for job in page["jobs"]:
        outputs = copy.outputs(job["job_id"])
        assert {o["name"] for o in outputs} == {"a", "b"}
        for output in outputs:
            content = copy.get(output["url"]).content
            assert len(content) == output["size"] and hashlib.sha256(content).hexdigest() == output["sha256"]
        done.append(job)
    assert done
    queues = copy.get("/v1/stats").json()["queues"]
    statuses = ("pending", "running", "success", "failed", "cancelled")
    assert sum(q[s] for q in queues for s in statuses) == summary["jobs"]
    claims = copy.lease("idle")  # and it works on
    assert copy.act(claims[0], "complete", {"outputs": [], **COMPLETE}).json()["status"] == "success"


def test_packed_logs_are_in_it(server, api, make_worker, make_server, haul, tmp_path):
    """A long log becomes a blob of the server's own, which is backed up as any other."""
    make_worker(server.url, {"long": "seq 1 60000"})
    job_id = api.submit("long")["job_id"]
    api.wait_status(job_id, "success")
    whole = api.log(job_id).content
    until(lambda: any(f.is_file() for f in (server.data / "blobs").glob("??/*")))
    assert haul("backup", tmp_path / "b.tar", url=api.url).returncode == 0
    server.terminate()
    assert haul("restore", tmp_path / "b.tar", "--data", tmp_path / "r").returncode == 0
    assert Api(make_server(data=tmp_path / "r").url).log(job_id).content == whole != b""


def test_what_ran_goes_on_and_what_began_later_is_refused(server, api, make_server, haul, tmp_path):
    early, late = api.submit("early"), api.submit("late")
    (running,) = api.lease("early")
    assert api.act(running, "heartbeat", {}).status_code == 200
    assert haul("backup", tmp_path / "b.tar", url=api.url).returncode == 0
    (after,) = api.lease("late")
    unknown = api.submit("unknown")
    (nowhere,) = api.lease("unknown")
    server.terminate()
    assert haul("restore", tmp_path / "b.tar", "--data", tmp_path / "r").returncode == 0
    copy = Api(make_server(data=tmp_path / "r").url)
    assert copy.job(early["job_id"])["status"] == "running" and copy.job(late["job_id"])["status"] == "pending"
    assert copy.act(running, "heartbeat", {}).status_code == 200
    assert copy.act(running, "complete", {"outputs": [], **COMPLETE}).json()["status"] == "success"
    problem(copy.act(after, "heartbeat", {}), 409, "stale_token")
    problem(copy.act(nowhere, "heartbeat", {}), 404)
    (again,) = copy.lease("late")
    assert again["attempt"] == after["attempt"] and again["token"] != after["token"]
    problem(copy.act(after, "complete", {"outputs": [], **COMPLETE}), 409, "stale_token")
    assert copy.get(f"/v1/jobs/{unknown['job_id']}").status_code == 404


def test_the_archive_is_a_plain_tar_of_a_data_folder(archive, stocked):
    api, ids, refs = stocked
    names = subprocess.run(["tar", "tf", archive], capture_output=True, text=True, check=True).stdout.split()
    assert names[:3] == ["manifest.json", "haul.db", "blobs/folder-id"] and names[-1] == "complete.json"
    blobs = [name.rpartition("/")[2] for name in names[3:-1]]
    assert blobs == sorted(ref.removeprefix("blob:") for ref in refs)
    with tarfile.open(archive) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))
        end = json.load(tar.extractfile("complete.json"))
    assert (manifest["format"], manifest["jobs"], manifest["blobs"]) == (1, len(ids), len(refs))
    data = archive.read_bytes()
    assert manifest["archive_bytes"] == len(data)
    assert end["sha256"] == hashlib.sha256(data[:-TAIL]).hexdigest() and end["bytes"] == len(data) - TAIL
    assert archive.stat().st_mode & 0o777 == 0o600
    answer = api.get("/v1/backup")
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/x-tar"
    assert int(answer.headers["Haul-Backup-Bytes"]) == len(answer.content)
    assert api.request("HEAD", "/v1/backup").status_code == 405
    problem(api.get("/v1/backup?x=1"), 422)
    problem(api.get("/v1/backup", headers={"Sec-Fetch-Site": "cross-site"}), 403, "forbidden")  # <img src=...> sends no Origin
    assert api.get("/v1/backup", headers={"Sec-Fetch-Site": "none"}).status_code == 200  # the address bar


def test_through_a_pipe(stocked, tmp_path, environment):
    command = f'"{HAUL}" backup --json - --server {stocked[0].url} 2> "{tmp_path}/summary" | "{HAUL}" restore - --verify-only --json'
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, env={**environment, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    told, saved = json.loads(done.stdout), json.loads((tmp_path / "summary").read_text())
    assert told["jobs"] == saved["jobs"] == 4 and told["bytes"] == saved["bytes"] and told["data"] is None
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("haul-verify")]


def test_a_file_that_is_there_is_kept(archive, stocked, haul, tmp_path):
    url = stocked[0].url
    archive.write_text("precious")
    refused = haul("backup", archive, url=url)
    assert refused.returncode == CONFLICT and "--force" in refused.stderr
    assert archive.read_text() == "precious"
    (tmp_path / "link").symlink_to("nowhere")
    assert haul("backup", tmp_path / "link", url=url).returncode == CONFLICT
    assert haul("backup", tmp_path, url=url).returncode == 19
    assert haul("backup", archive, "--force", url=url).returncode == 0
    assert haul("restore", archive, "--verify-only").returncode == 0
    assert haul("backup", tmp_path / "absent" / "file", url=url).returncode == 19
    assert not leftovers(tmp_path)


def test_folders_that_are_not_restored_into(server, archive, haul, tmp_path):
    used = haul("restore", archive, "--data", server.data)
    assert used.returncode == LOCKED and "uses" in used.stderr
    full = tmp_path / "full"
    full.mkdir()
    (full / ".hidden").touch()
    refused = haul("restore", archive, "--data", full)
    assert refused.returncode == CONFLICT and "not empty" in refused.stderr
    assert list(full.iterdir()) == [full / ".hidden"]
    assert haul("restore", archive, "--data", archive).returncode == 19  # a file
    assert haul("restore", tmp_path / "absent.tar", "--data", tmp_path / "x").returncode == 19
    assert haul("restore", archive).returncode == 2
    assert haul("restore", archive, "--data", tmp_path / "x", "more").returncode == 2
    assert haul("restore", archive, "--date", tmp_path / "x").returncode == 2
    assert haul("restore", archive, "--verify-only", "--data", tmp_path / "x").returncode == 2 and not (tmp_path / "x").exists()
    assert haul("restore", archive, "--data", tmp_path / "no" / "parent").returncode == 19
    empty = tmp_path / "empty"
    empty.mkdir()
    good = haul("restore", archive, "--data", f"{empty}/")
    assert good.returncode == 0, good.stderr
    assert (empty / "haul.db").exists() and empty.stat().st_mode & 0o777 == 0o700
    again = haul("restore", archive, "--data", empty)
    assert again.returncode == CONFLICT
    assert not leftovers(tmp_path)


def test_a_mount_point_is_told(archive, environment, tmp_path):
    point = tmp_path / "point"
    point.mkdir()
    script = f'mount -t tmpfs none "{point}" || exit 99; "{HAUL}" restore "{archive}" --data "{point}"; s=$?; ls -A "{point}"; exit $s'
    done = subprocess.run(["unshare", "-Urm", "sh", "-c", script], env=environment, capture_output=True, text=True)
    if done.returncode in (1, 99):
        pytest.skip("no mounts of our own here")
    assert done.returncode == CONFLICT and "mount point" in done.stderr and done.stdout == ""
    assert not leftovers(tmp_path)


def offset_of(archive, name):
    with tarfile.open(archive) as tar:
        return tar.getmember(name).offset_data


@pytest.mark.parametrize("where", ["manifest", "database", "database_late", "blob", "padding", "last_blob", "end"])
def test_a_flipped_bit_is_refused(archive, haul, tmp_path, where):
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    at = {"manifest": members[0].offset_data + 20, "database": members[1].offset_data + 30,
          "database_late": members[1].offset_data + members[1].size - 100, "blob": members[3].offset_data + 7,
          "padding": members[3].offset_data + members[3].size + 1, "last_blob": members[-2].offset_data,
          "end": members[-1].offset_data + 40}[where]
    data = bytearray(archive.read_bytes())
    data[at] ^= 4
    archive.write_bytes(data)
    for arguments in (["--data", tmp_path / "r"], ["--verify-only"]):
        refused = haul("restore", archive, *arguments)
        assert refused.returncode == CORRUPT, refused.stderr
        assert "haul restore: " in refused.stderr
    assert not (tmp_path / "r").exists() and not leftovers(tmp_path)


def test_a_cut_archive_is_refused(archive, haul, tmp_path):
    data = archive.read_bytes()
    cuts = [0, 1, 511, 512, 1024, offset_of(archive, "haul.db") + 100, offset_of(archive, "blobs/folder-id"), len(data) - TAIL,
            len(data) - 1024, len(data) - 1]
    for cut in cuts:
        archive.write_bytes(data[:cut])
        refused = haul("restore", archive, "--data", tmp_path / "r")
        assert refused.returncode == CORRUPT, (cut, refused.stderr)
    archive.write_bytes(data + b"\0")
    assert haul("restore", archive, "--data", tmp_path / "r").returncode == CORRUPT
    assert not (tmp_path / "r").exists() and not leftovers(tmp_path)


def special(kind, name, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


EVIL = {
    "parent": lambda e: e[:3] + [(tarfile.TarInfo("../evil"), b"x")] + e[3:],
    "parent_inside": lambda e: e[:3] + [(tarfile.TarInfo("blobs/../../evil"), b"x")] + e[3:],
    "absolute": lambda e: e[:3] + [(tarfile.TarInfo("/tmp/haul-evil"), b"x")] + e[3:],
    "extra": lambda e: e[:3] + [(tarfile.TarInfo("lock"), b"x")] + e[3:],
    "extra_at_the_end": lambda e: e + [(tarfile.TarInfo("blobs/00/00000000-0000-7000-8000-000000000000"), b"x")],
    "symlink_for_a_blob": lambda e: e[:3] + [(special(tarfile.SYMTYPE, e[3][0].name, "/etc/passwd"), b"")] + e[4:],
    "hardlink_for_a_blob": lambda e: e[:3] + [(special(tarfile.LNKTYPE, e[3][0].name, "haul.db"), b"")] + e[4:],
    "symlink_for_the_folder": lambda e: e[:2] + [(special(tarfile.SYMTYPE, "blobs", "/tmp"), b"")] + e[2:],
    "symlink_for_the_database": lambda e: e[:1] + [(special(tarfile.SYMTYPE, "haul.db", "/etc/passwd"), b"")] + e[1:],
    "device": lambda e: e[:3] + [(special(tarfile.CHRTYPE, e[3][0].name), b"")] + e[4:],
    "fifo": lambda e: e[:3] + [(special(tarfile.FIFOTYPE, e[3][0].name), b"")] + e[4:],
    "folder": lambda e: e[:2] + [(special(tarfile.DIRTYPE, "blobs/"), b"")] + e[2:],
    "blob_twice": lambda e: e[:4] + e[3:],
    "blob_gone": lambda e: e[:3] + e[4:],
    "blobs_in_another_order": lambda e: e[:3] + [e[4], e[3]] + e[5:],
    "blob_of_other_bytes": lambda e: e[:3] + [(e[3][0], b"y" * len(e[3][1]))] + e[4:],
    "blob_shorter": lambda e: e[:3] + [(e[3][0], e[3][1][:-1])] + e[4:],
    "blob_longer": lambda e: e[:3] + [(e[3][0], e[3][1] + b"y")] + e[4:],
    "another_folder_id": lambda e: e[:2] + [(e[2][0], b"01a211c7-1ad1-7ec8-ac13-8fcb6b5b8390\n")] + e[3:],
    "no_manifest": lambda e: e[1:],
    "no_database": lambda e: e[:1] + e[2:],
    "manifest_of_another": lambda e: [(e[0][0], e[0][1].replace(b'"jobs":4', b'"jobs":5'))] + e[1:],
    "a_huge_claim": lambda e: [(e[0][0], e[0][1].replace(b'"blob_bytes":', b'"blob_bytes":9223372036854'))] + e[1:],
    "not_sqlite": lambda e: e[:1] + [(e[1][0], b"x" * len(e[1][1]))] + e[2:],
}


@pytest.mark.parametrize("evil", EVIL)
def test_an_archive_made_by_somebody_else_is_refused(archive, haul, tmp_path, evil):
    """Its last entry is right: only what is in it is not."""
    bad = tmp_path / "bad.tar"
    bad.write_bytes(sealed(b"".join(block(info, data) for info, data in EVIL[evil](entries(archive)))))
    for arguments in (["--data", tmp_path / "r"], ["--data", tmp_path / "r", "--allow-damaged"], ["--verify-only"]):
        refused = haul("restore", bad, *arguments)
        assert refused.returncode in ((CORRUPT, BUSY) if evil == "a_huge_claim" else (CORRUPT,)), refused.stderr
    assert not (tmp_path / "r").exists() and not leftovers(tmp_path)
    assert not (tmp_path / "evil").exists() and not pathlib.Path("/tmp/haul-evil").exists()


def with_database(archive, tmp_path, sql):
    """The archive with a database that was changed."""
    parts = entries(archive)
    path = tmp_path / "changed.db"
    path.write_bytes(parts[1][1])
    db = sqlite3.connect(path)
    db.executescript(sql)
    db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    parts[1] = (parts[1][0], path.read_bytes())
    manifest = json.loads(parts[0][1])
    manifest["database_bytes"] = len(parts[1][1])
    version = sqlite3.connect(path).execute("PRAGMA user_version").fetchone()[0]
    manifest["schema"] = version
    parts[0] = (parts[0][0], json.dumps(manifest).encode() + b"\n")
    return sealed(b"".join(block(info, data) for info, data in parts))


@pytest.mark.parametrize("sql, status, word", [
    ("SELECT 1", 0, ""),
    ("PRAGMA user_version = 9999", UNSUPPORTED, "newer"),
    ("PRAGMA user_version = 0", CORRUPT, ""),
    ("PRAGMA application_id = 5", CORRUPT, "not haul's"),
    ("CREATE TRIGGER evil AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END", CORRUPT, "triggers"),
    ("DROP TABLE counters", CORRUPT, "tables"),
    ("DELETE FROM jobs", CORRUPT, "belong"),
    ("UPDATE meta SET value = '00000000-0000-7000-8000-000000000000' WHERE key = 'blob_folder_id'", CORRUPT, "belong"),
    ("UPDATE blobs SET size = size + 1", CORRUPT, "belong"),
    ("UPDATE blobs SET size = 2002 - size", CORRUPT, "the database says"),
])
def test_databases_that_are_not_restored(archive, haul, tmp_path, sql, status, word):
    changed = tmp_path / "changed.tar"
    changed.write_bytes(with_database(archive, tmp_path, sql))
    done = haul("restore", changed, "--data", tmp_path / "r")
    assert done.returncode == status, done.stderr
    assert word in done.stderr
    assert (tmp_path / "r").exists() == (status == 0) and not leftovers(tmp_path)


def test_a_newer_format_is_refused(archive, haul, tmp_path):
    parts = entries(archive)
    parts[0] = (parts[0][0], b'{"format":2,"everything":"else is different"}\n')
    newer = tmp_path / "newer.tar"
    newer.write_bytes(sealed(b"".join(block(info, data) for info, data in parts)))
    refused = haul("restore", newer, "--data", tmp_path / "r")
    assert refused.returncode == UNSUPPORTED and "newer haul" in refused.stderr
    for other in (b"", b"hello, this is no tar at all\n" * 100):
        newer.write_bytes(other)
        assert haul("restore", newer, "--data", tmp_path / "r").returncode == CORRUPT
    shutil.copy(archive, newer)
    subprocess.run(["gzip", newer], check=True)  # nothing is uncompressed that might not end
    assert haul("restore", tmp_path / "newer.tar.gz", "--data", tmp_path / "r").returncode == CORRUPT
    assert not (tmp_path / "r").exists() and not leftovers(tmp_path)


def test_damage_on_the_servers_disk_does_not_stop_a_backup(server, stocked, make_server, haul, tmp_path):
    api, _, refs = stocked
    wrong, gone, good = refs
    path = blob_file(server, wrong)
    path.chmod(0o600)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    blob_file(server, gone).unlink()
    made = haul("backup", tmp_path / "b.tar", "--json", url=api.url)
    assert made.returncode == CORRUPT and "2 blobs" in made.stderr
    assert json.loads(made.stdout)["damaged_blobs"] == 2
    assert wrong.removeprefix("blob:") in server.said and gone.removeprefix("blob:") in server.said
    refused = haul("restore", tmp_path / "b.tar", "--data", tmp_path / "r")
    assert refused.returncode == CORRUPT and "--allow-damaged" in refused.stderr
    assert not (tmp_path / "r").exists()
    taken = haul("restore", tmp_path / "b.tar", "--data", tmp_path / "r", "--allow-damaged")
    assert taken.returncode == 0, taken.stderr
    server.terminate()
    copy = Api(make_server(data=tmp_path / "r").url)
    assert copy.get("/v1/blobs/" + good.removeprefix("blob:")).content == b"\2" * 1002
    assert copy.get("/v1/blobs/" + gone.removeprefix("blob:")).status_code == 404


@pytest.fixture
def held(api):
    """A backup whose client does not read on: more than the sockets between them hold."""
    api.put_blob(b"\0" * (48 << 20))
    answer = api.session.get(api.url + "/v1/backup", stream=True, timeout=60)
    assert answer.status_code == 200
    yield answer
    answer.close()


def test_one_backup_at_a_time(server, api, held, haul, tmp_path):
    problem(api.get("/v1/backup"), 409, "conflict")
    refused = haul("backup", tmp_path / "second.tar", url=api.url)
    assert refused.returncode == CONFLICT and "already" in refused.stderr
    assert not (tmp_path / "second.tar").exists() and not leftovers(tmp_path)
    first = held.raw.read()  # it goes on to its end, and then there is room for another
    assert len(first) == int(held.headers["Haul-Backup-Bytes"])
    assert hashlib.sha256(first[:-TAIL]).hexdigest() in first[-TAIL:].decode()
    assert haul("backup", tmp_path / "second.tar", url=api.url).returncode == 0


def test_a_client_that_leaves_leaves_nothing_behind(server, api, held, haul, tmp_path):
    assert snapshot_folder(server).exists()
    held.close()
    until(lambda: not snapshot_folder(server).exists())
    until(lambda: haul("backup", tmp_path / "next.tar", "--force", url=api.url).returncode == 0)


def test_a_killed_server_sweeps_at_its_start(server, api, held):
    server.kill()
    assert (snapshot_folder(server) / "haul.db").exists()
    server.restart()
    assert not snapshot_folder(server).exists()


def test_a_server_that_stops_cuts_the_backup(server, api, held):
    assert server.terminate() == 0
    assert not snapshot_folder(server).exists()
    with pytest.raises((OSError, requests.exceptions.RequestException, urllib3.exceptions.HTTPError)):
        while held.raw.read(1 << 20):
            pass


def test_blobs_of_the_snapshot_outlive_their_sweep(server, api, haul, tmp_path):
    """They may be removed while the backup is sent."""
    ref = api.put_blob(os.urandom(48 << 20))["ref"]
    job = api.submit("t", payload_ref=ref)["job_id"]
    answer = api.session.get(api.url + "/v1/backup", stream=True, timeout=60)
    blob_file(server, ref).unlink()  # what the sweeper would do by now
    assert api.post(f"/v1/jobs/{job}/cancel").status_code == 200
    (tmp_path / "b.tar").write_bytes(answer.raw.read())
    assert haul("restore", tmp_path / "b.tar", "--data", tmp_path / "r").returncode == 0


def test_a_full_disk_is_said_and_the_server_goes_on(environment, haul, tmp_path):
    """A data folder on a file system of 24 MiB, which only the server sees."""
    small = tmp_path / "small"
    small.mkdir()
    script = f'mount -t tmpfs -o size=24m none "{small}" && exec "{HAUL}" server --listen 127.0.0.1:0 --data "{small}/data"'
    if subprocess.run(["unshare", "-Urm", "sh", "-c", f'mount -t tmpfs -o size=1m none "{small}"'], capture_output=True).returncode:
        pytest.skip("no mounts of our own here")
    out = tmp_path / "out"
    with open(out, "wb") as file:
        process = subprocess.Popen(["unshare", "-Urm", "sh", "-c", script], stdout=file, stderr=file, env=environment)
    try:
        url = until(lambda: READY.findall(out.read_text())[:1])[0]
        api = Api(url)
        api.put_blob(b"x" * (10 << 20))
        refused = haul("backup", tmp_path / "b.tar", url=url)
        assert refused.returncode == BUSY, refused.stderr
        assert "MiB" in refused.stderr and "needs" in refused.stderr
        assert not (tmp_path / "b.tar").exists()
        problem(api.get("/v1/backup"), 503, "no_space")
        job = api.submit("t")
        (claim,) = api.lease("t")
        assert api.act(claim, "complete", {"outputs": [], **COMPLETE}).status_code == 200
        assert api.job(job["job_id"])["status"] == "success"
        assert not pathlib.Path(f"/proc/{process.pid}/root{small}/data/backup.tmp").exists()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


class Fake(http.server.BaseHTTPRequestHandler):
    """A server that sends what the test gave it, and then perhaps nothing more for ever."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-tar")
        self.send_header("Content-Length", str(self.server.claims or len(self.server.content)))
        self.end_headers()
        self.wfile.write(self.server.content)
        self.wfile.flush()
        self.server.sent.set()
        if self.server.hang:
            self.server.release.wait(30)

    def log_message(self, *_):
        pass


@pytest.fixture
def fake():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    server.content, server.claims, server.hang = b"", None, False
    server.sent, server.release = threading.Event(), threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield server
    server.release.set()
    server.shutdown()
    server.server_close()


def test_what_came_damaged_gets_no_name(archive, fake, haul, tmp_path):
    data = archive.read_bytes()
    flipped = bytearray(data)
    flipped[5000] ^= 1
    failed = sealed(data[:-TAIL], error="read haul.db: Input/output error", complete=False)
    other = sealed(b"x" * 5120)  # whole, but no backup
    for content, status, word in [(data[:-512], CORRUPT, "cut"), (data[:-TAIL], CORRUPT, "cut"), (b"", CORRUPT, "cut"),
                                  (bytes(flipped), CORRUPT, "damaged"), (failed, 19, "Input/output error"),
                                  (other, CORRUPT, "not a backup")]:
        fake.content = content
        refused = haul("backup", tmp_path / "x.tar", url=fake.url)
        assert refused.returncode == status and word in refused.stderr, refused.stderr
    fake.content, fake.claims = data[:-TAIL], len(data)  # the connection is cut
    assert haul("backup", tmp_path / "x.tar", url=fake.url).returncode == BUSY
    assert not (tmp_path / "x.tar").exists() and not leftovers(tmp_path)
    fake.content, fake.claims = data, None
    assert haul("backup", tmp_path / "x.tar", url=fake.url).returncode == 0
    assert (tmp_path / "x.tar").read_bytes() == data


def test_an_interrupted_backup_leaves_nothing(archive, fake, environment, tmp_path):
    data = archive.read_bytes()
    fake.content, fake.claims, fake.hang = data[:2000], len(data), True
    process = subprocess.Popen([HAUL, "backup", tmp_path / "x.tar", "--server", fake.url], env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert fake.sent.wait(20)
    until(lambda: leftovers(tmp_path))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    assert not (tmp_path / "x.tar").exists() and not leftovers(tmp_path)


def test_help_and_wrong_usage(haul):
    for command in ("backup", "restore"):
        assert haul("help", command).stdout == haul(command, "--help").stdout != ""
        assert command in haul("help").stdout
        assert haul(command).returncode == 2
    assert io.StringIO(haul("help", "restore").stdout).readline().startswith("Usage: haul restore FILE --data DIR")
