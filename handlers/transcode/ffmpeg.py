"""How ffmpeg is called and followed, and what its failures mean."""

import subprocess
import sys
import threading
from collections import deque

from transcode.common import EX_DATA, EX_TEMPFAIL, last_line, report
from transcode.payload import PRESETS

VIDEO_ENCODERS = {"h264": "libx264", "hevc": "libx265", "vp9": "libvpx-vp9", "av1": "libsvtav1"}
AUDIO_ENCODERS = {"aac": ["aac", "-b:a", "160k"], "opus": ["libopus", "-b:a", "128k"]}
DAMAGE = ("Invalid data", "moov atom", "error while decoding", "Error while decoding", "partial file", "corrupt", "Truncated",
          "truncated", "Error splitting", "Invalid NAL", "File ended prematurely", "Error submitting packet")


def version():
    done = subprocess.run(["ffmpeg", "-hide_banner", "-version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].split(" Copyright")[0]


def read_strictly(source):
    """-xerror and explode: damage ends the run instead of becoming grey frames that look like success."""
    return ["-xerror", "-err_detect", "explode", "-i", f"file:{source}"]


def video_encoder(wish):
    codec, crf, preset = wish["video_codec"], wish["crf"], wish["preset"]
    arguments = ["-c:v", VIDEO_ENCODERS[codec], "-crf", str(crf), "-pix_fmt", "yuv420p", *video_tag(wish)]
    if codec in ("h264", "hevc"):
        arguments += ["-preset", preset, "-forced-idr", "1"]
    if codec == "hevc":  # x265 would let frames before a cut lean on frames behind it
        arguments += ["-x265-params", "log-level=error:open-gop=0"]
    if codec == "vp9":
        arguments += ["-b:v", "0", "-row-mt", "1", "-deadline", "good", "-cpu-used", str(max(0, 5 - PRESETS.index(preset) // 2))]
    if codec == "av1":
        arguments += ["-preset", str(12 - PRESETS.index(preset))]
        arguments += ["-svtav1-params", "fps-num=30:fps-denom=1"]  # nominal: ffmpeg 7 tells it the time base, which it refuses
    return arguments


def video_tag(wish):
    return ["-tag:v", "hvc1"] if wish["video_codec"] == "hevc" else []


def audio_encoder(wish):
    return ["-c:a", *AUDIO_ENCODERS[wish["audio_codec"]]]


def follow(pipe, look):
    """ffmpeg's own report, key=value lines: calls look(seconds of output, speed) at the end of each block."""
    at_s, speed = 0.0, ""
    for line in pipe:
        key, _, value = line.strip().partition("=")
        if key in ("out_time_us", "out_time_ms") and value.lstrip("-").isdigit():  # both are microseconds
            at_s = max(0.0, int(value) / 1e6)
        elif key == "speed":
            speed = value.strip() if value.strip() != "N/A" else ""
        elif key == "progress":
            look(at_s, speed)


def run(arguments, look):
    """Exit status and ffmpeg's last complaints, which also go to the log."""
    command = ["ffmpeg", "-hide_banner", "-nostdin", "-y", "-loglevel", "warning", "-progress", "pipe:1", "-nostats", *arguments]
    complaints = deque(maxlen=20)

    def log_lines(pipe):
        for line in pipe:
            sys.stderr.write(line)
            sys.stderr.flush()
            complaints.append(line)

    print("+", " ".join(command), flush=True)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="replace") as process:
        try:
            logger = threading.Thread(target=log_lines, args=(process.stderr,))
            logger.start()
            follow(process.stdout, look)
            logger.join()
            return process.wait(), complaints
        except BaseException:
            process.kill()
            raise


def damage_in(complaints):
    return next((line.strip() for line in complaints if any(word in line for word in DAMAGE)), None)


def judge_failure(status, complaints, source):
    """Says on the report line why ffmpeg failed; the exit status that follows from it."""
    if "No space left on device" in "".join(complaints):
        report("error no space left on the worker's disk")
        return EX_TEMPFAIL
    if status < 0:
        report(f"error ffmpeg was ended by signal {-status}")
        return 1
    why = damage_in(complaints)
    if why:
        report(f"error input '{source.name}' is damaged or cut off: {why}")
        return EX_DATA
    report(f"error ffmpeg failed with exit status {status}: {last_line(complaints)}")
    return 1
