"""A job's log, end to end: live to many readers, bounded, cut in the middle with both ends exact, the same after the end."""
import json
import queue
import re
import shutil
import subprocess
import threading

import pytest

from conftest import COMPLETE, HAUL, problem, until

OCTETS = {"Content-Type": "application/octet-stream"}
MIB = 1 << 20
HEAD = TAIL = 8 * MIB
MARKER = re.compile(rb"\n\[\.\.\. haul left out (\d+) bytes here \.\.\.\]\n")


class Follower:
    """Reads a log as it grows, on a thread of its own."""

    def __init__(self, api, job_id, **params):
        self.answer = api.get(f"/v1/jobs/{job_id}/log", params={"follow": 1, **params}, stream=True, timeout=120)
        assert self.answer.status_code == 200
        self.news = queue.Queue()
        self.text = bytearray()  # megabytes, in small pieces
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        try:
            for piece in self.answer.iter_content(None):
                self.news.put(piece)
            self.news.put(None)
        except Exception as cut:  # noqa: BLE001 - told to the test below
            self.news.put(cut)

    def until(self, part):
        """Reads on until `part` is in the text."""
        looked = 0
        while self.text.find(part, looked) < 0:
            looked = max(0, len(self.text) - len(part))
            piece = self.news.get(timeout=30)
            assert isinstance(piece, bytes), (piece, self.text[-200:])
            self.text += piece
        return self.text

    def end(self):
        """Reads on to the end of the stream, which must be a regular one."""
        while (piece := self.news.get(timeout=60)) is not None:
            assert isinstance(piece, bytes), piece
            self.text += piece
        return self.text


@pytest.fixture
def gates(tmp_path):
    """Places where a handler waits until the test lets it go on: gates(i) is shell text, gates.open(i) opens."""
    class Gates:
        def __call__(self, name):
            return f"while [ ! -e {tmp_path}/gate-{name} ]; do sleep 0.05; done"

        def open(self, name):
            (tmp_path / f"gate-{name}").touch()
    return Gates()


def lines(first, last):
    """What `seq -f 'line %012.0f' FIRST LAST` prints: 18 bytes a line."""
    return b"".join(b"line %012d\n" % i for i in range(first, last + 1))


def seq(first, last):
    return f"seq -f 'line %012.0f' {first} {last}"


def running(api, job_id):
    return api.wait(job_id, lambda j: j["status"] == "running")


def assert_ends(text, whole, tail_min=TAIL):
    """`text` is what was kept of `whole`: head to the byte, one marker that tells the truth, and at least the last 8 MiB."""
    found = MARKER.findall(text)
    assert len(found) == 1, found
    head, left_out, tail = MARKER.split(text)
    assert head == whole[:HEAD]
    assert len(head) + int(left_out) + len(tail) == len(whole)
    assert tail_min <= len(tail) <= TAIL + 65536
    assert tail == whole[-len(tail):]


def test_P30_several_readers_see_the_same_bytes_live(api, server, make_worker, gates):
    make_worker(server.url, {"talk": f"echo first; {gates(1)}; printf 'second'; {gates(2)}; echo; echo third"})
    job_id = api.submit("talk")["job_id"]
    early = [Follower(api, job_id) for _ in range(20)]  # the attempt is yet to come, or has just begun
    for follower in early:
        follower.until(b"first\n")
    late = [Follower(api, job_id) for _ in range(20)]
    gates.open(1)
    for follower in early + late:  # the handler waits: what it wrote is seen before it goes on
        assert follower.until(b"second") == b"first\nsecond"
    gates.open(2)
    for follower in early + late:
        assert follower.end() == b"first\nsecond\nthird\n"
    assert api.wait(job_id)["status"] == "success"


@pytest.mark.timeout(600)  # 48 MiB go through two readers
def test_log_is_live_past_its_head_and_both_ends_are_exact(api, server, make_worker, gates):
    make_worker(server.url, {"long": f"{seq(1, 524288)}; echo waiting; {gates(1)}; {seq(524289, 1400000)}"})
    job_id = api.submit("long")["job_id"]
    follower = Follower(api, job_id)
    follower.until(b"waiting\n")  # 9 MiB were written, and the attempt runs
    assert follower.text == lines(1, 524288) + b"waiting\n"
    gates.open(1)
    assert api.wait(job_id)["status"] == "success"
    whole = lines(1, 524288) + b"waiting\n" + lines(524289, 1400000)  # 24 MiB
    text = api.log(job_id).content
    assert_ends(text, whole)
    assert api.attempts(job_id)[0]["log_bytes"] == len(whole)
    assert follower.end()[-TAIL:] == whole[-TAIL:]
    assert api.log(job_id).content == text
    # parts of the text as it stands, the marker's line included
    for first, last in ((0, 9), (HEAD - 5, HEAD + 60), (HEAD + 3, HEAD + 10), (HEAD + 100, HEAD + 200), (len(text) - 7, len(text) - 1)):
        part = api.get(f"/v1/jobs/{job_id}/log", headers={"Range": f"bytes={first}-{last}"})
        assert part.status_code == 206 and part.content == text[first:last + 1]
        assert part.headers["Content-Range"] == f"bytes {first}-{last}/{len(text)}"
    # and from an offset, which counts what the handler wrote
    assert api.log(job_id, offset=len(whole) - 1000).content == whole[-1000:]
    assert api.log(job_id, offset=100).content == text[100:]
    left_out = len(whole) - HEAD - 1000
    in_cut = api.log(job_id, offset=HEAD + 1000).content
    assert MARKER.match(in_cut) and in_cut.endswith(whole[-TAIL:])
    assert int(MARKER.match(in_cut)[1]) == left_out - len(in_cut[MARKER.match(in_cut).end():])
    assert api.log(job_id, offset=len(whole)).content == b""
    problem(api.log(job_id, offset=len(whole) + 1), 416)
    follow = Follower(api, job_id, offset=len(whole) - 20)
    assert follow.end() == whole[-20:]


def blobs_of(server):
    return [f for f in (server.data / "blobs").glob("??/*") if f.is_file()]


def test_packed_log_is_what_was_live_and_goes_with_its_job(api, server, make_worker, haul):
    make_worker(server.url, {"long": f"{seq(1, 60000)}; printf '\\377\\0 end'", "short": "echo short"})
    short = api.submit("short")["job_id"]
    job_id = api.submit("long")["job_id"]
    live = Follower(api, job_id)
    expected = lines(1, 60000) + b"\xff\0 end"
    assert live.end() == expected
    assert api.wait(job_id)["status"] == "success" and api.wait(short)["status"] == "success"

    def packed():
        """the long log lies in one blob, the short one in none"""
        return len(blobs_of(server)) == 1
    until(packed)
    assert blobs_of(server)[0].stat().st_size < len(expected) / 5
    plain = subprocess.run(["zstd", "-dc", blobs_of(server)[0]], capture_output=True) if shutil.which("zstd") else None
    assert plain is None or plain.stdout == expected
    assert api.log(job_id).content == expected
    assert Follower(api, job_id).end() == expected
    assert api.log(job_id, offset=500000).content == expected[500000:]
    part = api.get(f"/v1/jobs/{job_id}/log", headers={"Range": "bytes=300000-300099"})
    assert part.status_code == 206 and part.content == expected[300000:300100] and part.headers["Content-Length"] == "100"
    assert api.log(short).text == "short\n"
    server.kill()
    server.restart()
    assert api.log(job_id).content == expected
    assert haul("jobs", "discard", job_id, "--yes", url=server.url).returncode == 0

    def gone():
        """the blob went with its job"""
        return not blobs_of(server)
    until(gone)
    problem(api.log(job_id), 404)


def test_skipped_bytes_are_owned_up_to(api):
    job_id = api.submit("played")["job_id"]
    claim = api.lease("played")[0]
    follower = Follower(api, job_id)
    assert api.act(claim, "log?offset=0", data=b"head", headers=OCTETS).json()["next_offset"] == 4
    follower.until(b"head")
    problem(api.act(claim, "log?offset=1000", data=b"x", headers=OCTETS), 409, "conflict")
    problem(api.act(claim, "log?offset=4&skipped=5", data=b"x", headers=OCTETS), 422, "invalid", "skipped")
    problem(api.act(claim, "log?offset=4&skipped=-1", data=b"x", headers=OCTETS), 422, "invalid", "skipped")
    for _ in range(2):  # and again: an answer was lost
        answer = api.act(claim, "log?offset=1000&skipped=996", data=b"tail", headers=OCTETS)
        assert answer.json()["next_offset"] == 1004
    expected = b"head\n[... haul left out 996 bytes here ...]\ntail"
    assert follower.until(b"tail") == expected
    assert api.log(job_id).content == expected
    # while it grows its text may be cut anew: a range is answered with all of it
    whole = api.get(f"/v1/jobs/{job_id}/log", headers={"Range": "bytes=2-3"})
    assert whole.status_code == 200 and whole.content == expected
    api.act(claim, "complete", {"outputs": [], **COMPLETE})
    assert follower.end() == expected
    part = api.get(f"/v1/jobs/{job_id}/log", headers={"Range": "bytes=2-10"})
    assert part.status_code == 206 and part.content == expected[2:11]
    problem(api.act(claim, "log?offset=1004", data=b"late", headers=OCTETS), 409, "stale_token")


def test_a_handler_that_writes_as_fast_as_it_can(api, server, make_worker):
    make_worker(server.url, {"flood": "yes 'never the same river' | head -c 209715200; echo; echo the end"})
    job_id = api.submit("flood")["job_id"]
    job = api.wait(job_id, deadline=120)
    assert job["status"] == "success"
    assert api.attempts(job_id)[0]["log_bytes"] == 200 * MIB + len(b"\nthe end\n")
    text = api.log(job_id).content
    whole_end = (b"never the same river\n" * 500000)[:200 * MIB % 21 + 21 * 450000] + b"\nthe end\n"
    head, left_out, tail = MARKER.split(text)
    assert head == (b"never the same river\n" * 400000)[:HEAD]
    assert tail[-TAIL:] == whole_end[-TAIL:]
    assert len(head) + int(left_out) + len(tail) == 200 * MIB + len(b"\nthe end\n")
    stored = sum(f.stat().st_size for f in server.data.rglob("*") if f.is_file())
    assert stored < 120 * MIB, "the store's file, its log of writes, and the blob"


HOSTILE = {
    "endless": ("head -c 3000000 /dev/zero | tr '\\0' x", b"x" * 3000000),
    "nul": ("printf 'a\\0b\\0\\0c\\n\\0'", b"a\0b\0\0c\n\0"),
    "utf8": (r"printf '\377\376 \303 \355\240\200 \360\237\222 end\303'", b"\xff\xfe \xc3 \xed\xa0\x80 \xf0\x9f\x92 end\xc3"),
    "escapes": (r"printf '\033[2J\033]0;title\007\r\b\b\2333m'", b"\x1b[2J\x1b]0;title\x07\r\b\b\x9b3m"),
    "marker": (r"printf '\n[... haul left out 12 bytes here ...]\n'", b"\n[... haul left out 12 bytes here ...]\n"),
}


def test_hostile_bytes_come_out_as_they_went_in(api, server, make_worker, haul):
    make_worker(server.url, {name: text for name, (text, _) in HOSTILE.items()}, slots=5)
    jobs = {name: api.submit(name)["job_id"] for name in HOSTILE}
    for name, job_id in jobs.items():
        expected = HOSTILE[name][1]
        assert api.wait(job_id)["status"] == "success", name
        assert api.log(job_id).content == expected, name
        piped = subprocess.run([str(HAUL), "jobs", "log", job_id, "--server", server.url], capture_output=True, timeout=30)
        assert piped.stdout == expected, name
        document = haul("jobs", "log", job_id, "--json", url=server.url).stdout
        readable = [re.sub("\ufffd+", "?", text) for text in (json.loads(document)["log"], expected.decode("utf-8", "replace"))]
        assert readable[0] == readable[1], name  # how many stand for a broken sequence is each library's own


def test_hostile_bytes_in_an_error_log(api, server, make_worker):
    """Its tail stays readable, and a failure is always reported, whatever the handler wrote last."""
    last_words = "head -c 300000 /dev/zero | tr '\\0' '\\377'; printf '\\0\\377\\033[31mlast words\\n'"
    long_error = "echo error $(head -c 5000 /dev/zero | tr '\\0' e) >&3"
    make_worker(server.url, {"bad": f"{long_error}; {last_words}; exit 3"})
    job = api.wait(api.submit("bad", max_attempts=1)["job_id"])
    assert job["status"] == "failed"
    assert job["error_log"].startswith("eeee") and "last words\n" in job["error_log"], job["error_log"]


def test_a_handler_that_closes_its_output(api, server, make_worker):
    make_worker(server.url, {"mute": "echo said; exec >&- 2>&-; echo 'progress 50 still here' >&3; exit 3"})
    job = api.wait(api.submit("mute", max_attempts=1)["job_id"])
    assert job["status"] == "failed" and "exit status 3" in job["error_log"]
    assert job["progress"]["percent"] == 50
    assert api.log(job["job_id"]).text == "said\n"


def test_each_attempt_has_its_log(api, server, make_worker, haul):
    make_worker(server.url, {"again": "echo attempt $HAUL_ATTEMPT; [ $HAUL_ATTEMPT = 2 ]"})
    job_id = api.submit("again")["job_id"]
    api.wait(job_id, lambda j: j["retries"] == 1 or j["status"] == "success")
    assert api.wait(job_id, deadline=60)["status"] == "success"
    assert haul("jobs", "log", job_id, url=server.url).stdout == "attempt 2\n"
    for n in (1, 2):
        assert haul("jobs", "log", job_id, "--attempt", n, url=server.url).stdout == f"attempt {n}\n"
        assert haul("jobs", "log", job_id, "-f", "--attempt", n, url=server.url).stdout == f"attempt {n}\n"
    assert haul("jobs", "log", job_id, "--attempt", 3, url=server.url).returncode != 0


@pytest.mark.parametrize("how", ["terminate", "kill"])
def test_a_follower_outlives_a_restart_of_the_server(api, server, make_worker, gates, environment, tmp_path, how):
    """Also behind a cut nothing is printed twice and nothing is missing."""
    make_worker(server.url, {"talk": f"{seq(1, 1100000)}; echo one; {gates(1)}; echo two"})
    job_id = api.submit("talk")["job_id"]
    out = tmp_path / "followed"
    with open(out, "wb") as file:
        follower = subprocess.Popen([str(HAUL), "jobs", "log", "-f", job_id, "--server", server.url], stdout=file,
                                    env=environment)
    try:
        def seen():
            """the follower printed what the handler wrote before it waits"""
            return out.read_bytes().endswith(b"one\n")
        until(seen, 60)
        getattr(server, how)()
        server.restart()
        gates.open(1)
        assert api.wait(job_id)["status"] == "success"
        assert follower.wait(60) == 0
    finally:
        follower.kill()
    text = out.read_bytes()
    assert text.endswith(lines(1100000, 1100000) + b"one\ntwo\n") and text.count(b"one\n") == 1
    written = lines(1, 1100000) + b"one\ntwo\n"
    position = 0
    for piece in MARKER.split(text)[0::2]:  # what was printed is the log, in order, each byte once at most
        position = written.index(piece, position) + len(piece)
    assert position == len(written)


def test_log_is_whole_after_the_server_was_restored(api, server, make_worker, gates, tmp_path):
    """A server that comes back with less than it had gets the rest again: the worker still has it."""
    make_worker(server.url, {"talk": f"echo one; {gates(1)}; echo two; {gates(2)}; echo three"})
    job_id = api.submit("talk")["job_id"]
    Follower(api, job_id).until(b"one\n")
    server.terminate()
    shutil.copytree(server.data, tmp_path / "older")
    server.restart()
    gates.open(1)
    Follower(api, job_id).until(b"two\n")
    server.kill()
    shutil.rmtree(server.data)
    shutil.copytree(tmp_path / "older", server.data)
    server.restart()
    assert api.log(job_id).text == "one\n"
    gates.open(2)
    assert api.wait(job_id)["status"] == "success"
    assert api.log(job_id).text == "one\ntwo\nthree\n"


def test_packed_log_is_in_a_backup(api, server, make_server, make_worker, haul, tmp_path):
    make_worker(server.url, {"long": seq(1, 20000)})
    job_id = api.submit("long")["job_id"]
    assert api.wait(job_id)["status"] == "success"
    until(lambda: blobs_of(server))
    done = haul("backup", tmp_path / "backup.tar", url=server.url)
    assert done.returncode == 0, done.stderr
    done = haul("restore", tmp_path / "backup.tar", "--data", tmp_path / "restored")
    assert done.returncode == 0, done.stderr
    restored = make_server(data=tmp_path / "restored")
    assert len(blobs_of(restored)) == 1
    assert haul("jobs", "log", job_id, url=restored.url).stdout.encode() == lines(1, 20000)


def test_hostile_report_lines(api, server, make_worker, gates):
    """What is no report costs nothing; what is one arrives, whatever its message is made of."""
    broken = r"printf 'progress 30 '; head -c 300 /dev/zero | tr '\0' '\377'; printf '\033[31m\r\n'"
    noise = r"echo progress 101; echo progress; echo hello; printf '\0\0\n\n'; head -c 100000 /dev/zero | tr '\0' x; echo"
    make_worker(server.url, {"noisy": f"{{ {broken}; {noise}; }} >&3; {gates(1)}; printf 'progress 42 la\\0st' >&3; exit 3"})
    job_id = api.submit("noisy", max_attempts=1)["job_id"]
    seen = api.wait(job_id, lambda job: job["progress"] is not None)["progress"]
    assert seen["percent"] == 30 and set(seen["message"]) == {"?"} and 250 < len(seen["message"]) <= 256
    gates.open(1)
    job = api.wait(job_id)
    assert job["status"] == "failed" and job["progress"]["percent"] == 42 and job["progress"]["message"] == "last"
