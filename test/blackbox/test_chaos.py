"""What test/chaos takes from a run, and that its judge sees what is broken in it. The run itself is `make chaos`."""
import http.server
import json
import pathlib
import sqlite3
import subprocess
import sys
import threading

import pytest
import requests
from conftest import HAUL, TOP

sys.path.insert(0, str(TOP / "test" / "chaos"))
import judgement  # noqa: E402
from history import History, process_events, stamps_read  # noqa: E402
from results import Tally, judge  # noqa: E402
from wire import Wire  # noqa: E402

JOB = "018f0000-0000-7000-8000-00000000000a"
SEC = 1_000_000
OUTPUT = {"name": "result", "size": 3, "sha256": "ba7816bf8f01cfea"}

needs_judge = pytest.mark.skipif(not (HAUL.parent / "test" / "sim" / "haul-sim").exists(), reason="built without the simulator")


def stamps(attempt, first_s, last_s, gap=()):
    """As a handler makes them, ten a second; none in `gap`."""
    times = [first_s + i / 10 for i in range(round((last_s - first_s) * 10) + 1)]
    return [{"job": JOB, "attempt": attempt, "what": "alive", "pid": 7, "step": 0, "t": round(t * SEC)} for t in times
            if not gap or not gap[0] < t < gap[1]]


def history(first=stamps(1, 2.2, 3.8), second=stamps(2, 5.2, 6), final=({"status": "success"},), resumed=()):
    """One job, lost with w0 after 4 s, done by w1; what the arguments name is planted."""
    h = History()
    h.add("run", t=1, lease_us=2 * SEC, heartbeat_us=SEC // 2)
    h.add("server", t=2, what="start")

    def op(event, t, answer="ok", answered=(), **members):
        number = next(h.ops)
        h.add(event, t=round(t * SEC), phase="invoke", op=number, **members)
        h.add(event, t=round(t * SEC) + 1000, phase=answer, op=number, **members, **dict(answered))
    op("submit", 1, key="k", answered={"job": JOB})
    for t, attempt, who in ((2, 1, "w0"), (5, 2, "w1")):
        h.add("claim", t=t * SEC, who=who, job=JOB, attempt=attempt, token=f"{attempt}.aa")
        op("beat", t + 0.1, job=JOB, attempt=attempt)
    for who, seen in (("w0", first), ("w1", second)):
        for event in process_events(seen, who):
            h.add(**event)
    for t, who in resumed:
        h.add("worker", t=round(t * SEC), what="resume", who=who)
    op("complete", 6.1, job=JOB, attempt=2, outputs=[OUTPUT], answered={"status": "success"})
    h.add("heal", t=7 * SEC)
    for members in final:
        h.add("final", t=8 * SEC, **{"job": JOB, "key": "k", "status": "success", "attempt": 2, "outcome": "success", "losses": 1, "version": 5,
                                     "outputs": [OUTPUT], **members})
    for attempt, outcome in ((1, "lost"), (2, "success")):
        h.add("attempt", t=8 * SEC, job=JOB, attempt=attempt, outcome=outcome)
    h.add("news", t=round(6.5 * SEC), job=JOB, status="success", version=5)
    h.add("end", t=9 * SEC)
    return h


class Run:
    """As much of a round as the judge looks at."""
    workers, problems = (), ()

    def __init__(self, folder, told):
        self.folder, self.history, self.server = folder, told, self
        self.stem = "server"


def findings(tmp_path, told):
    return judge(HAUL.parent, Run(tmp_path, told), Tally())


@needs_judge
def test_a_run_without_a_flaw_is_judged_so(tmp_path):
    assert findings(tmp_path, history()) == []


@needs_judge
@pytest.mark.parametrize("planted, invariant", [
    ({"final": ()}, "I1"),
    ({"final": [{"status": "pending"}]}, "I6"),
    ({"final": [{"outputs": [{**OUTPUT, "sha256": "00"}]}]}, "I7"),
    ({"final": [{"retries": 1}]}, "I9"),
    ({"first": stamps(1, 2.2, 5.5)}, "I10"),                       # past its lease, beside the second
    ({"first": stamps(1, 2.2, 5.5, gap=(3.8, 5.3))}, "I10"),       # it was held still, and let go too late
    ({"second": stamps(2, 5.2, 9)}, "I10"),                        # whoever comes after
    ({"first": stamps(1, 2.2, 7, gap=(3.8, 5.3)), "resumed": [(5.29, "w0")]}, "I10"),  # its machine woke, and nobody held it
    ({"first": stamps(1, 2.2, 5.5, gap=(3.8, 5.3)), "resumed": [(5.29, "w1")]}, "I10"),  # another's did
], ids=str)
def test_what_is_planted_in_a_run_is_seen(tmp_path, planted, invariant):
    found = findings(tmp_path, history(**planted))
    assert any(f.startswith(f"{invariant},") for f in found), found


@needs_judge
def test_a_process_that_wakes_with_its_machine_and_is_held_at_once_is_no_flaw(tmp_path):
    assert findings(tmp_path, history(first=stamps(1, 2.2, 5.5, gap=(3.8, 5.3)), resumed=[(5.29, "w0")])) == []


@needs_judge
def test_what_the_harness_saw_itself_and_a_sanitizers_word_count_too(tmp_path):
    run = Run(tmp_path, history())
    run.problems = ["I7: not what was promised"]
    (tmp_path / "server-0.err").write_text("==1==ERROR: AddressSanitizer: heap-use-after-free\n")
    tally = Tally()
    assert len(judge(HAUL.parent, run, tally)) == 2 and tally.broken["I7"] == 1


def test_a_stamp_that_a_kill_left_half_is_none(tmp_path):
    path = tmp_path / "w0.stamps"
    path.write_text(json.dumps(stamps(1, 2, 2)[0]) + "\n" + '{"job":"018f')
    assert len(list(stamps_read(path))) == 1 and not list(stamps_read(tmp_path / "none"))


# --- the wire ---

@pytest.fixture
def upstream():
    """Answers as a test says: path -> (status, body), or None: it hangs up."""
    answers, seen = {}, []

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            seen.append((self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length", 0))), self.headers["Host"]))
            if answers[self.path] is None:
                self.close_connection = True
                return
            status, body = answers[self.path]
            data = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_POST = do_PUT = answer

        def log_message(self, *_):
            pass

    listener = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listener.daemon_threads = True
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    yield listener.server_address, answers, seen
    listener.shutdown()
    listener.server_close()


def test_the_wire_passes_on_and_tells_what_was_asked_and_answered(upstream):
    address, answers, seen = upstream
    told = History()
    wire = Wire(told, address)
    url = f"http://127.0.0.1:{wire.listen('127.0.0.1', 'w0')}"
    base = f"/v1/jobs/{JOB}/attempts/1/"
    answers["/v1/lease"] = (200, {"jobs": [{"job_id": JOB, "attempt": 1, "token": "1.aa"}]})
    answers[base + "heartbeat"] = (200, {"lease_s": 2})
    answers[base + "outputs/result"] = (201, {})
    answers[base + "log?offset=0"] = (503, {"code": "unavailable"})
    answers[base + "complete"] = None
    client = requests.Session()
    assert client.post(url + "/v1/lease", json={}).json()["jobs"]
    assert wire.live == {JOB: (1, "w0")}
    assert client.post(url + base + "heartbeat", json={}).status_code == 200
    assert client.put(url + base + "outputs/result", data=b"abc").status_code == 201
    assert client.post(url + base + "log?offset=0", data=b"x").status_code == 503
    with pytest.raises(requests.ConnectionError):
        client.post(url + base + "complete", json={"outputs": ["result"]})
    answers[base + "complete"] = (409, {"code": "stale_token"})
    assert client.post(url + base + "complete", json={"outputs": ["result"]}).status_code == 409
    wire.close()
    assert [(e["event"], e.get("phase")) for e in told.events] == [
        ("claim", None), ("beat", "invoke"), ("beat", "ok"), ("output", "invoke"), ("output", "ok"), ("output", "invoke"), ("output", "unknown"),
        ("complete", "invoke"), ("complete", "unknown"), ("complete", "invoke"), ("complete", "refused")]
    assert told.events[-1]["code"] == "stale_token" and told.events[-2]["outputs"] == [OUTPUT]
    assert not wire.live
    assert {host for *_, host in seen} == {f"{address[0]}:{address[1]}"} and (b"abc" in {body for _, _, body, _ in seen})


def test_the_harness_compiles_and_says_how_it_is_called():
    chaos = pathlib.Path(TOP / "test" / "chaos" / "chaos.py")
    said = subprocess.run([sys.executable, chaos, "--help"], capture_output=True, text=True, timeout=60)
    assert said.returncode == 0 and "--hours" in said.stdout
    assert subprocess.run([sys.executable, chaos, "--workers", "1"], capture_output=True, timeout=60).returncode == 2


# --- what redis_kills.py and postgres_kills.py judge by ---

KEYS = {f"k{i}": f"018f0000-0000-7000-8000-00000000000{i}" for i in range(3)}


def judged(planted=(), acknowledged=None, completed=tuple(KEYS.values())):
    """Three jobs that were acknowledged, and done once; and what is planted, in SQL."""
    with sqlite3.connect(":memory:") as db:
        db.executescript("CREATE TABLE jobs (job_id BLOB, status INTEGER); CREATE TABLE history (job_id BLOB, status INTEGER);"
                         "CREATE TABLE attempts (job_id BLOB, attempt INTEGER, outcome INTEGER); CREATE TABLE counters (n INTEGER);"
                         "INSERT INTO counters VALUES (1), (2);")
        for job_id in KEYS.values():
            db.execute("INSERT INTO history VALUES (?, 2)", [bytes.fromhex(job_id.replace("-", ""))])
            db.execute("INSERT INTO attempts VALUES (?, 1, 1)", [bytes.fromhex(job_id.replace("-", ""))])
        for sql in planted:
            db.execute(sql)
        return set(judgement.judge(judgement.of_sqlite(db), KEYS if acknowledged is None else acknowledged, list(completed)))


@pytest.mark.parametrize("found, planted", [
    (set(), {}),
    ({"lost", "miscounted", "completed, and not"}, {"planted": ["DELETE FROM history WHERE rowid = 1"]}),
    ({"completed, and not", "not done"}, {"planted": ["INSERT INTO jobs SELECT job_id, 0 FROM history WHERE rowid = 1", "DELETE FROM history WHERE rowid = 1"]}),
    ({"known twice", "not done", "miscounted"}, {"planted": ["INSERT INTO jobs SELECT job_id, 0 FROM history WHERE rowid = 1"]}),
    ({"completed, and not", "lost"}, {"planted": ["UPDATE history SET status = 4 WHERE rowid = 1", "UPDATE counters SET n = 1 WHERE n = 2"]}),
    ({"succeeded twice"}, {"planted": ["INSERT INTO attempts SELECT job_id, 2, 1 FROM attempts WHERE rowid = 1"]}),
    ({"miscounted"}, {"planted": ["UPDATE counters SET n = 7 WHERE n = 2"]}),
    ({"duplicated"}, {"acknowledged": dict(list(KEYS.items())[:2])}),
    ({"two keys, one job"}, {"acknowledged": {**KEYS, "another": KEYS["k0"]}}),
    ({"completed twice"}, {"completed": [*KEYS.values(), KEYS["k0"]]}),
])
def test_what_is_wrong_in_a_database_is_told(found, planted):
    assert judged(**planted) == found
