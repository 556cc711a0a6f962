"""handlers/transcode_v1 on real clips, run as haul runs it: a folder, payload.json, in/, out/, report lines on a descriptor."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HANDLER = Path(__file__).resolve().parents[2] / "handlers" / "transcode_v1"
SECONDS = 4

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


def make_clip(path, sound=True, seconds=SECONDS, extra=()):
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", f"testsrc2=size=320x240:rate=25:duration={seconds}"]
    if sound:
        command += ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", *extra, str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path)
    return path


class Run:
    def __init__(self, folder, payload, files):
        for name in ("in", "out", "checkpoint"):
            (folder / name).mkdir()
        text = payload if isinstance(payload, str) else json.dumps(payload)
        (folder / "payload.json").write_text(text, encoding="utf-8")
        for source in files:
            shutil.copy(source, folder / "in" / source.name)
        with open(folder / "report", "w+b") as reports:
            environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HAUL_REPORT_FD": str(reports.fileno())}
            done = subprocess.run([HANDLER], cwd=folder, env=environment, pass_fds=[reports.fileno()], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, check=False, timeout=300)
            reports.seek(0)
            self.reports = reports.read().decode().splitlines()
        self.status = done.returncode
        self.log = done.stdout + done.stderr
        self.outputs = sorted((folder / "out").iterdir())
        self.errors = [line[6:] for line in self.reports if line.startswith("error ")]
        self.percents = [float(line.split()[1]) for line in self.reports if line.startswith("progress ")]


@pytest.fixture
def transcode(tmp_path):
    def run(payload, *files):
        folder = tmp_path / "work"
        folder.mkdir()
        return Run(folder, payload, files)

    return run


def probe(path):
    text = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", str(path)], check=True,
                          capture_output=True, text=True).stdout
    info = json.loads(text)
    return {s["codec_type"]: s for s in info["streams"]}, float(info["format"]["duration"])


def assert_refused(run, *words):
    assert run.status == 65, run.log
    assert run.outputs == []
    assert len(run.errors) == 1
    for word in words:
        assert word in run.errors[0], run.errors[0]


def test_a_clip_becomes_what_was_asked_for(transcode, clip):
    run = transcode({"height": 120}, clip)
    assert run.status == 0, run.log
    assert [path.name for path in run.outputs] == ["clip-120p.mp4"]
    streams, seconds = probe(run.outputs[0])
    assert (streams["video"]["codec_name"], streams["video"]["height"], streams["video"]["width"]) == ("h264", 120, 160)
    assert streams["audio"]["codec_name"] == "aac"
    assert abs(seconds - SECONDS) <= 1


def test_progress_is_ffmpegs_own_and_rises_to_100(transcode, clip):
    run = transcode({"height": 240, "preset": "veryslow"}, clip)
    assert run.status == 0, run.log
    assert run.percents == sorted(run.percents)
    assert run.percents[0] == 0 and run.percents[-1] == 100
    assert any(re.match(r"progress [\d.]+ \d+ of 4 s", line) for line in run.reports)


@pytest.mark.parametrize("payload, video, audio, suffix", [
    ({"video_codec": "hevc"}, "hevc", "aac", ".mp4"),
    ({"video_codec": "vp9", "audio_codec": "opus"}, "vp9", "opus", ".webm"),
    ({"video_codec": "vp9", "audio_codec": "copy"}, "vp9", "aac", ".mkv"),
    ({"video_codec": "av1", "preset": "ultrafast"}, "av1", "aac", ".mp4"),
    ({"audio_codec": "copy"}, "h264", "aac", ".mp4"),
    ({"audio_codec": "none"}, "h264", None, ".mp4"),
])
def test_codecs(transcode, clip, payload, video, audio, suffix):
    run = transcode({"height": 120, **payload}, clip)
    assert run.status == 0, run.log
    streams, _ = probe(run.outputs[0])
    assert run.outputs[0].suffix == suffix
    assert streams["video"]["codec_name"] == video
    assert streams.get("audio", {}).get("codec_name") == audio


def test_no_audio_is_no_error(transcode, tmp_path):
    silent = tmp_path / "silent.mp4"
    make_clip(silent, sound=False)
    run = transcode({"height": 120}, silent)
    assert run.status == 0, run.log
    assert set(probe(run.outputs[0])[0]) == {"video"}


def test_an_awkward_name(transcode, tmp_path, clip):
    odd = tmp_path / "-i clip: 100% 'ok' é.mp4"
    shutil.copy(clip, odd)
    run = transcode({"height": 120}, odd)
    assert run.status == 0, run.log
    assert len(run.outputs) == 1


@pytest.mark.parametrize("payload, words", [
    ({"height": 15}, ["payload.height", "16", "4320"]),
    ({"height": 4322}, ["payload.height", "4320", "4322"]),
    ({"height": 121}, ["payload.height", "even"]),
    ({"height": "tall"}, ["payload.height", '"tall"']),
    ({"height": True}, ["payload.height"]),
    ({"height": 120.5}, ["payload.height"]),
    ({"crf": 52}, ["payload.crf", "0 to 51"]),
    ({"crf": -1}, ["payload.crf"]),
    ({"video_codec": "mpeg2"}, ["payload.video_codec", "h264", "av1"]),
    ({"audio_codec": None}, ["payload.audio_codec", "opus"]),
    ({"preset": "warp"}, ["payload.preset", "veryfast"]),
    ({"hight": 720}, ["payload.hight", "height"]),
    ([720], ["JSON object"]),
    ("{", ["payload.json"]),
])
def test_a_wrong_payload_is_refused_by_name(transcode, clip, payload, words):
    assert_refused(transcode(payload, clip), *words)


def test_not_a_video(transcode, tmp_path):
    text = tmp_path / "notes.mp4"
    text.write_text("this is no video\n" * 1000, encoding="utf-8")
    assert_refused(transcode({}, text), "notes.mp4", "not a video")


def test_random_bytes(transcode, tmp_path):
    noise = tmp_path / "noise.bin"
    noise.write_bytes(os.urandom(100_000))
    assert transcode({}, noise).status == 65


def test_sound_alone_is_not_a_video(transcode, tmp_path):
    sound = tmp_path / "sound.wav"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=duration=1", str(sound)], check=True)
    assert_refused(transcode({}, sound), "sound.wav", "no video stream")


def test_an_empty_file(transcode, tmp_path):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert_refused(transcode({}, empty), "empty")


def test_no_input_and_two_inputs(transcode, tmp_path, clip):
    assert_refused(transcode({}), "exactly one input", "got 0")


def cut(source, target, share):
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * share)])


def test_a_truncated_mp4_without_its_index(transcode, tmp_path, clip):
    short = tmp_path / "short.mp4"
    cut(clip, short, 0.6)
    assert_refused(transcode({}, short), "short.mp4", "cut off")


@pytest.mark.parametrize("share", [0.9, 0.5])
def test_a_truncated_mp4_with_its_index_in_front(transcode, tmp_path, share):
    whole, short = tmp_path / "whole.mp4", tmp_path / "short.mp4"
    make_clip(whole, extra=["-movflags", "+faststart"])
    cut(whole, short, share)
    assert_refused(transcode({"height": 120}, short), "short.mp4", "damaged or cut off")


@pytest.mark.parametrize("share", [0.5])
def test_a_truncated_mkv(transcode, tmp_path, share):
    whole, short = tmp_path / "whole.mkv", tmp_path / "short.mkv"
    make_clip(whole)
    cut(whole, short, share)
    assert_refused(transcode({"height": 120}, short), "short.mkv", "damaged or cut off")
