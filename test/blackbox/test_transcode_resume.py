"""transcode_v1 goes on where an attempt before it stopped, and the result is that of an undisturbed run."""

import json
import re
import shutil
import stat

import pytest

from conftest import Api, isolations, until
from test_agent import SHORT
from transcoding import (HANDLER, Run, ffmpeg, frames_decoded, make_clip, make_folder, probe, segment_path, set_state, state_of, times, truncate)

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")

NTSC = "testsrc2=size=96x64:rate=30000/1001:duration=18.37"
SINE = ["-f", "lavfi", "-i", "sine=duration=18"]
X264 = ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-pix_fmt", "yuv420p"]
UNEVEN = "select='not(eq(mod(n*n,7),1))*not(between(t,6.4,11.9))*if(between(t,14,16),not(mod(n,30)),1)',setpts=PTS+0.35/TB"
INPUTS = {
    "b_frames.mp4": ["-f", "lavfi", "-i", NTSC, *SINE, *X264, "-c:a", "aac"],
    "open_gop.mkv": ["-f", "lavfi", "-i", NTSC, *X264, "-x264-params", "open-gop=1:keyint=40"],
    "uneven.mp4": ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=60:duration=18", *SINE, "-vf", UNEVEN, "-fps_mode", "vfr", "-enc_time_base:v",
                   "1:90000", *X264, "-c:a", "aac"],
    "late_sound.mkv": ["-f", "lavfi", "-i", NTSC, "-itsoffset", "1.5", *SINE, *X264, "-c:a", "aac"],
    "no_index.ts": ["-f", "lavfi", "-i", NTSC, *SINE, *X264, "-c:a", "mp2"],
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("inputs"), {}

    def get(name):
        if name not in made:
            made[name] = folder / name
            ffmpeg(*INPUTS[name], made[name])
        return made[name]

    return get


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A folder in which everything was encoded, in five segments; a copy of it for each test."""
    clip = tmp_path_factory.mktemp("half") / "clip.mp4"
    make_clip(clip, seconds=15, size="96x64")
    folder = make_folder(clip.parent / "done", {"height": 64, "segment_s": 3}, clip)
    run = Run(folder)
    assert run.status == 0 and len(state_of(folder)["segments"]) == 5, run.log
    return folder


@pytest.fixture
def work(half, tmp_path):
    shutil.copytree(half, tmp_path / "work", symlinks=True)
    return tmp_path / "work"


def keep_segments(folder, n):
    """As if the attempt had been killed after its nth segment."""
    state = state_of(folder)
    for segment in state["segments"][n:]:
        segment_path(folder, segment).unlink()
    set_state(folder, {**state, "segments": state["segments"][:n], "end": None})


def identities(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (folder / "checkpoint").glob("*.mp4")}


def shape(path):
    _, seconds = probe(path)
    sound = times(path, "a") if "audio" in probe(path)[0] else []
    return {"seconds": seconds, "pictures": times(path), "sound": sound, "decoded": frames_decoded(path)}


@pytest.mark.parametrize("name, wish", [
    ("b_frames.mp4", {}),
    ("open_gop.mkv", {}),
    ("uneven.mp4", {"audio_codec": "opus"}),
    ("late_sound.mkv", {}),
    ("no_index.ts", {"audio_codec": "copy"}),
    ("uneven.mp4", {"video_codec": "hevc", "audio_codec": "none"}),
    ("b_frames.mp4", {"video_codec": "vp9", "preset": "ultrafast", "audio_codec": "opus"}),
])
def test_P08_a_resumed_video_has_every_frame_at_its_time(inputs, tmp_path, name, wish):
    source = inputs(name)
    folder = make_folder(tmp_path / "work", {"height": 64, "segment_s": 2, **wish}, source)
    run = Run(folder)
    assert run.status == 0, run.log
    undisturbed = shape(run.outputs[0])
    shown, given = undisturbed["pictures"], times(source)
    assert undisturbed["decoded"] == len(shown) == len(given)
    assert max(abs((a - shown[0]) - (b - given[0])) for a, b in zip(shown, given)) < 0.0021, "a frame is not where it was"
    state = state_of(folder)
    assert sum(s["frames"] for s in state["segments"]) == len(given)
    n = len(state["segments"])
    assert n >= 5

    keep_segments(folder, n - 2)  # lost: the last two; broken: one in the middle; the last ones are read from the middle of the input
    truncate(segment_path(folder, state["segments"][1]))
    run.outputs[0].unlink()
    again = Run(folder, resume=True)
    assert again.status == 0, again.log
    assert shape(again.outputs[0]) == undisturbed
    assert again.percents == sorted(again.percents) and again.percents[-1] == 100
    seeks = again.log.count(" -ss ")
    assert seeks == (0 if name.endswith(".ts") else 1), again.log  # the hole is near the beginning


def killing_ffmpeg(folder, frames, segments):
    """An ffmpeg that makes so many frames, waits until so many segments are kept, and then kills all processes of the attempt."""
    real = shutil.which("ffmpeg", path="/usr/local/bin:/usr/bin:/bin")
    shim = folder / "ffmpeg"
    shim.write_text(f"""#!/usr/bin/python3
import json, os, signal, subprocess, sys, time
from pathlib import Path
arguments = sys.argv[1:]
if "-segment_list" not in arguments:
    os.execv({real!r}, ["ffmpeg", *arguments])
at = arguments.index("-fps_mode")
subprocess.run([{real!r}, *arguments[:at], "-frames:v", {str(frames)!r}, *arguments[at:]], check=True)
while len(json.loads(Path("checkpoint/segments.json").read_text())["segments"]) < {segments}:
    print("progress=continue", flush=True)
    time.sleep(0.01)
os.killpg(0, signal.SIGKILL)
""", encoding="utf-8")
    shim.chmod(shim.stat().st_mode | stat.S_IXUSR)
    return f"{folder}:/usr/local/bin:/usr/bin:/bin"


def test_P08_killed_at_90_percent_redoes_only_the_last_segment(half, tmp_path):
    clip = half / "in" / "clip.mp4"
    folder = make_folder(tmp_path / "work", {"height": 64, "segment_s": 1}, clip)
    killed = Run(folder, path=killing_ffmpeg(tmp_path, frames=round(0.9 * 15 * 25), segments=13))
    assert killed.status == -9, killed.log
    kept = state_of(folder)["segments"]
    assert [s["frames"] for s in kept] == [25] * 13  # 13.5 s were encoded: half a segment is lost
    listed = {segment_path(folder, s).name for s in kept} | {"segments.json", "audio.mp4"}
    assert {path.name for path in (folder / "checkpoint").iterdir()} == listed, "a checkpoint holds finished files only"
    before = identities(folder)

    resumed = Run(folder, resume=True)
    assert resumed.status == 0, resumed.log
    assert len(state_of(folder)["segments"]) == 15
    assert {name: identities(folder)[name] for name in before} == before, "none of what was kept is made again"
    assert resumed.percents[0] > 80 and resumed.percents == sorted(resumed.percents)
    assert killed.percents == sorted(killed.percents)
    assert frames_decoded(resumed.outputs[0]) == 375
    assert shape(resumed.outputs[0]) == shape(half / "out" / "clip-64p.mp4")


SHIM = """#!/usr/bin/python3
import os, shutil, signal, subprocess, sys
arguments = sys.argv[1:]
os.environ["PATH"] = "/usr/local/bin:/usr/bin:/bin"
if "-segment_list" not in arguments or "HAUL_RESUME" in os.environ:
    os.execv(shutil.which("ffmpeg"), ["ffmpeg", *arguments])
at = arguments.index("-fps_mode")
subprocess.run([shutil.which("ffmpeg"), *arguments[:at], "-frames:v", "90", *arguments[at:]], check=True)
while True:
    print("progress=continue", flush=True)
    signal.sigtimedwait([], 0.05)
"""


def handlers_that_pause(folder):
    """transcode_v1, whose first attempt makes 90 frames of video and then waits for its end."""
    shutil.copytree(HANDLER.parent, folder)
    (folder / "ffmpeg").write_text(SHIM, encoding="utf-8")
    (folder / "start").write_text('#!/bin/sh\nd=$(dirname "$0"); PATH=$d:$PATH exec "$d/transcode_v1"\n', encoding="utf-8")
    for name in ("ffmpeg", "start"):
        (folder / name).chmod(0o755)
    return {"transcode_v1": {"command": [str(folder / "start")], "verify": [str(folder / "verify_transcode")], "isolation": isolations()[-1]}}


@pytest.mark.parametrize("end", ["stopped", "lost"])
def test_P08_another_worker_encodes_only_what_is_missing(half, make_server, make_worker, haul, tmp_path, end):
    server = make_server(SHORT)
    api = Api(server.url)
    handlers = handlers_that_pause(tmp_path / "handlers")
    worker = make_worker(server.url, handlers)
    clip = api.put_blob((half / "in" / "clip.mp4").read_bytes())
    job_id = api.submit("transcode_v1", payload={"height": 64, "segment_s": 1}, inputs=[{"name": "clip.mp4", "ref": clip["ref"]}])["job_id"]

    def kept():
        answer = api.get(f"/v1/jobs/{job_id}/checkpoint")
        return [f["name"] for f in answer.json()["files"]] if answer.status_code == 200 else []

    until(lambda: sum(name.startswith("video-") for name in kept()) >= 3, deadline=120)
    assert {"audio.mp4", "segments.json", *(f"video-{tick:015d}.mp4" for tick in (0, 12800, 25600))} <= set(kept())
    if end == "stopped":
        assert haul("worker", "stop", "--state", worker.state, "--now").returncode == 0
    else:
        worker.kill_host()
    make_worker(server.url, handlers)
    job = api.wait(job_id, deadline=120)
    assert job["status"] == "success", job["error_log"]
    log = api.log(job_id).text
    assert int(re.search(r"resumed: (\d+) segments", log)[1]) >= 3 and "trim=start_pts=" in log and "0:a:0 -c:a" not in log, log
    result = tmp_path / "result.mp4"
    result.write_bytes(api.get("/v1/blobs/" + api.outputs(job_id)[0]["ref"].removeprefix("blob:")).content)
    assert shape(result) == shape(half / "out" / "clip-64p.mp4")
    outcomes = [a["outcome"] for a in api.attempts(job_id)]
    assert ("interrupted" if end == "stopped" else "lost") in outcomes[:-1] and outcomes[-1] == "success"


def test_an_input_shorter_than_a_segment(tmp_path):
    clip = tmp_path / "short.mp4"
    make_clip(clip, seconds=0.52, size="96x64", sound=False)
    folder = make_folder(tmp_path / "work", {"height": 64}, clip)
    run = Run(folder)
    assert run.status == 0, run.log
    assert frames_decoded(run.outputs[0]) == 13 and len(state_of(folder)["segments"]) == 1
    again = Run(folder, resume=True)  # everything was finished but the end itself
    assert again.status == 0 and " -segment_list " not in again.log, again.log


def change(folder, **values):
    state = state_of(folder)
    set_state(folder, {**state, "made_with": {**state["made_with"], **values}})


def other_input(folder):
    make_clip(folder / "in" / "clip.mp4", seconds=15, size="96x64", extra=["-crf", "40"])


@pytest.mark.parametrize("spoil, why", [
    (lambda f: (f / "payload.json").write_text(json.dumps({"height": 64, "segment_s": 3, "crf": 40})), "payload was"),
    (other_input, "input was"),
    (lambda f: change(f, ffmpeg="ffmpeg version 0.5"), "ffmpeg was"),
    (lambda f: (f / "checkpoint" / "segments.json").write_text("{"), "segments.json cannot be used"),
    (lambda f: (f / "checkpoint" / "segments.json").write_text("[1]"), "segments.json cannot be used"),
    (lambda f: set_state(f, {"made_with": state_of(f)["made_with"]}), "segments.json cannot be used"),
    (lambda f: (f / "checkpoint" / "segments.json").unlink(), "segments.json cannot be used"),
], ids=["payload", "input", "ffmpeg", "no json", "a list", "half", "none"])
def test_a_checkpoint_that_does_not_fit_is_put_aside(work, spoil, why):
    before = identities(work)
    spoil(work)
    run = Run(work, resume=True)
    assert run.status == 0, run.log
    assert "put aside" in run.log and why in run.log, run.log
    assert {path.name for path in (work / "checkpoint.unfit").glob("*.mp4")} == set(before)
    assert not set(identities(work).values()) & set(before.values())
    assert run.percents[0] == 0 and run.percents == sorted(run.percents)
    assert frames_decoded(run.outputs[0]) == 375


def test_without_HAUL_RESUME_nothing_is_gone_on_with(work):
    run = Run(work)
    assert run.status == 0 and "put aside" in run.log, run.log
    assert "HAUL_RESUME" in run.log


def test_a_broken_segment_is_made_again_and_no_other(work):
    before = identities(work)
    broken = [segment_path(work, state_of(work)["segments"][2]), work / "checkpoint" / "audio.mp4"]
    for path in broken:
        truncate(path)
    (work / "checkpoint" / "stray").touch()
    run = Run(work, resume=True)
    assert run.status == 0, run.log
    after = identities(work)
    assert {name for name in before if before[name] != after[name]} == {path.name for path in broken}
    assert set(after) == set(before) and not (work / "checkpoint" / "stray").exists()
    for path in broken:
        assert f"checkpoint/{path.name} is broken" in run.log
    assert frames_decoded(run.outputs[0]) == 375


def test_where_reading_cannot_begin_in_the_middle_it_begins_at_the_beginning(work, tmp_path):
    keep_segments(work, 4)
    real = shutil.which("ffmpeg", path="/usr/local/bin:/usr/bin:/bin")
    shim = tmp_path / "ffmpeg"
    shim.write_text(f'#!/bin/sh\ncase "$*" in *" -ss "*) echo "Invalid data found when processing input" >&2; exit 1;; esac\nexec {real} "$@"\n',
                    encoding="utf-8")
    shim.chmod(0o755)
    run = Run(work, resume=True, path=f"{tmp_path}:/usr/local/bin:/usr/bin:/bin")
    assert run.status == 0, run.log
    assert "from the beginning, then" in run.log and run.log.count(" -segment_list ") == 2
    assert frames_decoded(run.outputs[0]) == 375


def test_segments_that_make_no_good_whole_are_dropped(work):
    state = state_of(work)
    set_state(work, {**state, "segments": state["segments"][:3], "end": state["segments"][2]["last"]})  # it claims to be the end
    run = Run(work, resume=True)
    assert run.status == 75 and not run.outputs, run.log
    assert "begins again" in run.errors[-1]
    assert not list((work / "checkpoint").iterdir()) and run.reports[-2:][0] == "checkpoint"
    again = Run(work, resume=True)
    assert again.status == 0, again.log
    assert frames_decoded(again.outputs[0]) == 375
