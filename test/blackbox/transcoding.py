"""handlers/transcode_v1 run as haul runs it: a folder with payload.json, in/, out/ and checkpoint/, report lines on a descriptor."""

import json
import os
import shutil
import subprocess
from pathlib import Path

HANDLER = Path(__file__).resolve().parents[2] / "handlers" / "transcode_v1"


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True, stdin=subprocess.DEVNULL)


def make_clip(path, sound=True, seconds=4, size="320x240", extra=()):
    sources = ["-f", "lavfi", "-i", f"testsrc2=size={size}:rate=25:duration={seconds}"]
    if sound:
        sources += ["-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}"]
    ffmpeg(*sources, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", *extra, path)


def ffprobe(path, *arguments):
    text = subprocess.run(["ffprobe", "-v", "error", "-of", "json", *arguments, str(path)], check=True, capture_output=True, text=True).stdout
    return json.loads(text)


def probe(path):
    info = ffprobe(path, "-show_format", "-show_streams")
    return {s["codec_type"]: s for s in info["streams"]}, float(info["format"]["duration"])


class Run:
    """One attempt in a folder: to its end, or until something ends it."""

    def __init__(self, folder, resume=False, path="/usr/local/bin:/usr/bin:/bin"):
        environment = {"PATH": path, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **({"HAUL_RESUME": "1"} if resume else {})}
        with open(folder / "report", "w+b") as reports:
            environment["HAUL_REPORT_FD"] = str(reports.fileno())
            done = subprocess.run([HANDLER], cwd=folder, env=environment, pass_fds=[reports.fileno()], stdin=subprocess.DEVNULL,
                                  capture_output=True, text=True, check=False, timeout=300, start_new_session=True)
            reports.seek(0)
            self.reports = reports.read().decode().splitlines()
        self.status = done.returncode
        self.log = done.stdout + done.stderr
        self.outputs = sorted((folder / "out").iterdir())
        self.errors = [line[6:] for line in self.reports if line.startswith("error ")]
        self.percents = [float(line.split()[1]) for line in self.reports if line.startswith("progress ")]


def make_folder(folder, payload, *files):
    for name in ("in", "out", "checkpoint"):
        (folder / name).mkdir(parents=True)
    text = payload if isinstance(payload, str) else json.dumps(payload)
    (folder / "payload.json").write_text(text, encoding="utf-8")
    for source in files:
        shutil.copy(source, folder / "in" / source.name)
    return folder


def state_of(folder):
    return json.loads((folder / "checkpoint" / "segments.json").read_text(encoding="utf-8"))


def set_state(folder, state):
    (folder / "checkpoint" / "segments.json").write_text(json.dumps(state), encoding="utf-8")


def segment_path(folder, segment):
    return folder / "checkpoint" / f"video-{segment['start']:015d}.mp4"


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def times(path, kind="v"):
    """When each packet is shown, sorted."""
    packets = ffprobe(path, "-select_streams", f"{kind}:0", "-show_entries", "packet=pts_time")["packets"]
    return sorted(float(p["pts_time"]) for p in packets)


def frames_decoded(path):
    return int(ffprobe(path, "-count_frames", "-select_streams", "v:0", "-show_entries", "stream=nb_read_frames")["streams"][0]["nb_read_frames"])
