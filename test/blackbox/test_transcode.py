"""handlers/transcode_v1 on real clips, run as haul runs it: a folder, payload.json, in/, out/, report lines on a descriptor."""

import os
import re
import shutil

import pytest

from transcoding import Run, ffmpeg, make_clip, make_folder, probe

SECONDS = 4

pytestmark = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, seconds=SECONDS)
    return path


@pytest.fixture
def transcode(tmp_path):
    return lambda payload, *files: Run(make_folder(tmp_path / "work", payload, *files))


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
    ({"segment_s": 0}, ["payload.segment_s", "1 to 3600"]),
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
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", sound)
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
