"""haul top: on a terminal, and printed once."""
import json
import signal

import pytest
from conftest import HAUL, until
from terminal import Terminal

NOBODY = "http://127.0.0.1:1"  # a port on which nobody listens
BAD = "\x1b]0;owned\x07\x1b[2J\u202egnp.exe\u009b31m"  # sets a title, clears the screen, turns the line round, and red


@pytest.fixture
def top(server, environment):
    opened = []

    def start(*arguments, width=80, height=24, env=None, url=None):
        full = {**environment, "TERM": "xterm", "LANG": "en_US.UTF-8", "HAUL_SERVER": url or server.url, **(env or {})}
        for name in ("LC_ALL", "LC_CTYPE", "NO_COLOR"):
            if name not in (env or {}):
                full.pop(name, None)
        opened.append(Terminal([str(HAUL), "top", "--every", "250ms", *arguments], full, width, height))
        return opened[-1]

    yield start
    for terminal in opened:
        terminal.close()


def chosen(screen, text):
    """The pane that is active begins with '>'."""
    return any(line.startswith(">") and text in line for line in screen.splitlines())


def test_it_shows_queues_jobs_and_workers_and_gives_the_terminal_back(top, api):
    running = api.submit("film", queue="video")["job_id"]
    [claim] = api.lease("film")
    api.submit("film", queue="video")
    api.act(claim, "progress", {"percent": 40, "message": "scene 7"})
    t = top(width=140)
    screen = t.shows(lambda text: "scene 7" in text and "Workers (1)" in text)
    assert "40%" in screen and "████░░░░░░" in screen and running in screen
    lines = screen.splitlines()
    assert next(line for line in lines if line.startswith("video")).split()[1:5] == ["1", "1", "1", "0"]  # ready waiting running dead
    assert "ready 1  running 1" in lines[1] and "no alerts" in lines[2] and chosen(screen, "Jobs running (1)")
    assert t.modes >= {b"1049"} and not t.restored()
    api.act(claim, "progress", {"percent": 80, "message": "scene 9"})
    t.shows(lambda text: "80%" in text and "scene 9" in text)
    t.type("q")
    assert t.ended() == 0 and t.restored() and b"25" in t.modes


def test_a_job_is_opened_with_why_it_waits_and_its_log(top, api):
    api.submit("film", queue="video")
    [claim] = api.lease("film")
    log = "".join(f"line {i}\n" for i in range(3000)) + "the last\rover it " + BAD + "\n"
    assert api.request("POST", f"/v1/jobs/{claim['job_id']}/attempts/1/log?offset=0", data=log.encode("utf-8", "surrogateescape"),
                       headers={"Haul-Token": claim["token"], "Content-Type": "application/octet-stream"}).ok
    waiting = api.submit("nobody-knows", queue="video")["job_id"]
    t = top(width=100)
    t.shows("Jobs running (1)")
    t.type("\r")
    screen = t.shows("the last")
    assert f"Job {claim['job_id']}" in screen and "line 2999" in screen and "over it \\x1b]0;owned\\x07" in screen
    t.type("\033")
    t.shows("Jobs running (1)")
    t.type("w")
    t.shows("Jobs pending (1)")
    t.type("\r")
    screen = t.shows("why it waits")
    assert f"Job {waiting}" in screen and "nobody-knows" in screen
    t.type("?")
    assert "cancel the job (asks first)" in t.shows("Ctrl-L")
    t.type(" q")
    assert t.ended() == 0


def test_nothing_is_changed_unasked(top, api):
    api.submit("film", queue="video")
    [claim] = api.lease("film")
    t = top()
    t.shows("Jobs running (1)")
    t.type("c")
    t.shows(f"Cancel job {claim['job_id']}?")
    t.type("\r")  # no yes
    t.shows("nothing was done")
    assert api.job(claim["job_id"])["cancel_requested_at"] is None
    t.type("c")
    t.shows("Cancel job")
    t.type("y")
    t.shows("is being cancelled")
    assert api.job(claim["job_id"])["cancel_requested_at"]
    t.shows("being cancelled  ")
    t.type("\t\t")  # workers, queues
    t.shows(lambda text: chosen(text, "Queues"))
    t.type("P")
    t.shows("Pause queue video?")
    t.type("y")
    t.shows("video is paused")
    t.shows(lambda text: any(line.startswith("video ") and " paused" in line and " is " not in line for line in text.splitlines()))
    assert api.get("/v1/queues/video").json()["paused_at"]
    t.type("P")
    t.shows("Resume queue video?")
    t.type("y")
    t.shows("video goes on")
    assert not api.get("/v1/queues/video").json()["paused_at"]
    t.type("\033[D")  # workers
    t.shows(lambda text: chosen(text, "Workers"))
    t.type("d")
    t.shows("Drain worker")
    t.type("y")
    t.shows(lambda text: any(line.startswith("played ") and " draining " in line for line in text.splitlines()))
    assert api.get("/v1/workers").json()["workers"][0]["drained_at"]
    t.type("d")
    t.shows("Give jobs again to worker")
    t.type("y")
    t.shows(lambda text: "gets jobs again" in text and " live " in text)


def test_a_dead_letter_is_retried_and_what_is_refused_is_told(top, api):
    api.submit("film", max_attempts=1)
    [claim] = api.lease("film")
    assert api.act(claim, "fail", {"outcome": "error", "permanent": True, "error_log": "no"}).ok
    t = top()
    t.shows("Jobs running (0)")
    t.type("r")
    t.shows("choose a job first")
    t.type("ww")
    t.shows("Jobs failed (1)")
    t.type("r")
    t.shows("Retry job")
    t.type("y")
    t.shows("runs again")
    assert api.job(claim["job_id"])["status"] == "pending"
    t.shows("Jobs failed (0)")
    t.type("w")
    t.shows("Jobs success (0)")


def test_queues_filter_and_sort(top, api):
    for queue, type_ in (("audio", "song"), ("video", "film"), ("video", "clip")):
        api.submit(type_, queue=queue)
    for type_ in ("song", "film", "clip"):
        api.lease(type_)
    t = top()
    t.shows("Jobs running (3)")
    t.type("fFIL\r")

    def types(text):
        return [word for line in text.splitlines() for word in line.split()[:1] if word in ("song", "film", "clip")]
    assert types(t.shows("filter 'FIL': 1")) == ["film"]
    t.type("\033")
    t.shows(lambda text: len(types(text)) == 3)
    t.type("s")
    assert types(t.shows("TYPE+")) == ["clip", "film", "song"]
    t.type("\033[Z")
    t.shows(lambda text: chosen(text, "Queues"))
    t.type("G\r")
    screen = t.shows("Jobs running (2)  queue video")
    assert chosen(screen, "Jobs") and types(screen) == ["clip", "film"]
    t.type("\033")
    t.shows("Jobs running (3)")
    t.type("p")
    t.shows("held")
    api.submit("more")
    api.lease("more")
    t.type("p")
    t.shows("Jobs running (4)")


@pytest.mark.parametrize("env,bar", [({"NO_COLOR": "1"}, "███"), ({"LANG": "C"}, "####......")])
def test_without_colour_and_without_utf8_in_80_columns(top, api, env, bar):
    api.submit("film" + "x" * 60, queue="video")
    [claim] = api.lease("film" + "x" * 60)
    api.act(claim, "progress", {"percent": 40, "message": "für"})
    t = top(env=env)
    screen = t.shows("PROGRESS")
    t.shows(bar)
    assert max(len(line) for line in screen.splitlines()) <= 80 and "WORKER" in screen
    colours = {b"31", b"32", b"33", b"34", b"2"}
    assert not t.styles & colours if "NO_COLOR" in env else t.styles & colours
    if env.get("LANG") == "C":
        assert t.bytes.isascii()


def test_another_size_and_a_tiny_one(top, api):
    api.submit("film", queue="video")
    api.lease("film")
    t = top()
    t.shows("Jobs running (1)")
    t.resize(120, 40)
    t.shows(lambda text: "Workers (1)" in text and "HANDLERS" in text)
    for width, height in ((30, 8), (3, 2), (1, 1)):
        t.resize(width, height)
        t.shows(lambda text: text.strip())
    t.resize(80, 12)
    assert "Workers" not in t.shows("Jobs running (1)")
    t.type("\t")
    t.shows("Workers (1)")


def test_the_server_goes_and_comes_back(top, server, api):
    api.submit("film", queue="video")
    api.lease("film")
    t = top()
    t.shows("Jobs running (1)")
    server.kill()
    screen = t.shows("trying again")
    assert "Jobs running (1)" in screen  # what was known
    t.type("j?")
    t.shows("Ctrl-L")  # keys work meanwhile
    t.type("x")
    server.restart()
    t.shows("no alerts")
    t.type("q")
    assert t.ended() == 0


def test_it_starts_while_the_server_is_away(top):
    t = top(url=NOBODY)
    t.shows("trying again")
    t.type("q")
    assert t.ended() == 0 and t.restored()


def test_what_jobs_say_cannot_act_on_the_terminal(top, api):
    api.submit("film")
    [claim] = api.lease("film")
    assert api.act(claim, "progress", {"percent": 1, "message": "\u202egnp.exe\u009b31m"}).ok
    t = top(width=200)
    t.shows("\\xe2\\x80\\xaegnp.exe\\xc2\\x9b31m")  # and Terminal knows no other sequence than ours
    t.type("\r")
    t.shows("1.0%")


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGABRT, signal.SIGSEGV])
def test_the_terminal_is_given_back_whatever_ends_it(top, environment, sig):
    for name in ("ASAN_OPTIONS", "TSAN_OPTIONS"):  # no finding: it is we who send it
        environment[name] = f"{environment.get(name, '')}:handle_segv=0:handle_abort=0"
    t = top()
    t.shows("Jobs running (0)")
    if sig == signal.SIGINT:
        t.type("\x03")
    else:
        t.process.send_signal(sig)
    status = t.ended()
    assert status == -sig, status
    assert t.restored()


def test_it_is_stopped_and_goes_on(top):
    t = top()
    t.shows("Jobs running (0)")
    t.process.send_signal(signal.SIGTSTP)

    def state():
        t.read(0.01)
        return open(f"/proc/{t.process.pid}/stat").read().rsplit(") ", 1)[1][0]
    until(lambda: state() == "T")
    while t.read(0):
        pass
    assert t.restored()
    t.process.send_signal(signal.SIGCONT)
    t.shows(lambda text: b"1049" in t.modes and "Jobs running" in text)
    t.type("q")
    assert t.ended() == 0


def test_once_prints_a_picture_or_json(haul, server, api):
    api.submit("film", queue="video")
    [claim] = api.lease("film")
    api.act(claim, "progress", {"percent": 40, "message": "scene 7"})
    for arguments in (("top",), ("top", "--once", "--queue", "video")):
        run = haul(*arguments, url=server.url)
        assert run.returncode == 0 and run.stderr == "" and "\033" not in run.stdout
        for part in ("Queues (1)", "Jobs running (1)", "Workers (1)", "40%", "scene 7", claim["job_id"]):
            assert part in run.stdout, run.stdout
    assert "Jobs running (0)  queue other" in haul("top", "--once", "--queue", "other", url=server.url).stdout
    document = json.loads(haul("top", "--json", url=server.url).stdout)
    assert document["jobs"][0]["job_id"] == claim["job_id"] and document["queues"][0]["queue"] == "video"
    assert document["all"]["queue_depth"] == 0 and len(document["workers"]) == 1


@pytest.mark.parametrize("arguments,told", [(("--every", "1ms"), "from 250ms to 1h"), (("--every", "soon"), "must be a duration"),
                                            (("--queue", "q" * 200), "no queue has so long a name"), (("x",), "one argument too many")])
def test_wrong_command_lines(haul, arguments, told):
    run = haul("top", *arguments)
    assert run.returncode == 2 and told in run.stderr and run.stdout == ""


def test_once_without_a_server_fails(haul, server):
    run = haul("top", url=NOBODY)
    assert run.returncode == 16 and "127.0.0.1:1" in run.stderr and run.stdout == ""
    run = haul("top", "--queue", "no name!", url=server.url)
    assert run.returncode == 11 and "queue" in run.stderr and run.stdout == "", run
