"""What the programs for transcoding share: report lines, ffprobe, exit statuses."""

import json
import os
import subprocess
import sys

EX_DATA = 65  # the input or the payload is wrong, and no retry helps
EX_TEMPFAIL = 75  # try again


class Refused(Exception):
    """The input or the payload is wrong: a retry would end the same way."""


class Unreadable(Exception):
    """ffprobe cannot make sense of a file. Its text is ffprobe's complaint."""


def report(line):
    """One line to haul; run by hand, without the descriptor, to stderr."""
    line = " ".join(line.split())
    try:
        os.write(int(os.environ.get("HAUL_REPORT_FD", "2")), (line + "\n").encode()[:4000])
    except (OSError, ValueError):
        print(line, file=sys.stderr)


def last_line(lines):
    lines = [line.strip() for line in lines if line.strip()]
    return lines[-1] if lines else "no reason given"


def ffprobe(path, *arguments):
    done = subprocess.run(["ffprobe", "-v", "error", "-of", "json", *arguments, f"file:{path}"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        raise Unreadable(last_line(done.stderr.splitlines()))
    return json.loads(done.stdout)


def describe(path):
    """Format and streams, as ffprobe names them."""
    return ffprobe(path, "-show_format", "-show_streams")


def streams(info, kind):
    return [s for s in info.get("streams", []) if s.get("codec_type") == kind and not s.get("disposition", {}).get("attached_pic")]


def number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def clock_seconds(text):
    """Of "00:01:02.5", as Matroska writes lengths."""
    try:
        hours, minutes, seconds = str(text).split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        return None


def video_seconds(info):
    """How long the pictures last, or None when the file tells only of the whole."""
    video = (streams(info, "video") or [{}])[0]
    return number(video.get("duration")) or clock_seconds(video.get("tags", {}).get("DURATION"))


def duration_of(info):
    """Seconds, or None when nothing in the file says."""
    return number(info.get("format", {}).get("duration")) or video_seconds(info)
