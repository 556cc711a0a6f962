"""checkpoint/: the finished parts of an encode, and segments.json, which says what they are and what they were made with.

Only finished files ever stand there: each is made elsewhere and renamed. Times are whole ticks of the encode's time base, and a segment
says which frame came before it, so that a lost one shows as a gap."""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from transcode.common import Unreadable, ffprobe, report

FOLDER = Path("checkpoint")
UNFIT = Path("checkpoint.unfit")
INDEX = FOLDER / "segments.json"
AUDIO = FOLDER / "audio.mp4"


@dataclass
class Segment:
    """One file: a key frame first, then whatever leans on it and on nothing outside."""

    after: int | None  # tick of the frame before its first; None: it is the video's first
    start: int  # tick of its first frame
    last: int  # tick of its last frame
    frames: int

    @property
    def path(self):
        return FOLDER / f"video-{self.start:015d}.mp4"


@dataclass
class Gap:
    """Frames that are still to be encoded: all behind `after` and before `before`; None: from the first, to the last."""

    after: int | None
    before: int | None


def packets(path, kind):
    """Ticks of all packets, sorted, and the time base they count in. A file that was cut off is Unreadable."""
    found = ffprobe(path, "-select_streams", f"{kind}:0", "-show_entries", "stream=time_base:packet=pts")
    ticks = sorted(p["pts"] for p in found.get("packets", []) if "pts" in p)
    if not ticks:
        raise Unreadable("it holds no frames")
    return ticks, found["streams"][0]["time_base"]


def is_whole(path, kind, frames):
    try:
        found = len(packets(path, kind)[0])
        why = "" if found == frames else f"it holds {found} frames of {frames}"
    except Unreadable as error:
        why = str(error)
    if why:
        print(f"{path} is broken ({why}) and made again", flush=True)
    return not why


class Checkpoint:
    """What is finished. `made_with`: all that must be the same for two parts to fit together, as JSON can say it."""

    def __init__(self, made_with):
        self.made_with = made_with
        self.segments = []
        self.end = None  # tick of the video's last frame, when it is known
        self.audio_frames = 0

    def next_gap(self):
        """The first frames that are missing, or None: the video is whole."""
        after = None
        for segment in self.segments:
            if segment.after != after:
                return Gap(after, segment.start)
            after = segment.last
        return None if self.segments and self.end == after else Gap(after, None)

    def add(self, segment, made):
        """Takes over a finished file."""
        made.rename(segment.path)
        self.segments = sorted([*self.segments, segment], key=lambda s: s.start)
        self.save()

    def add_audio(self, made):
        self.audio_frames = len(packets(made, "a")[0])
        made.rename(AUDIO)
        self.save()

    def save(self):
        """segments.json as it is now, in one step, and a word to the worker."""
        state = {"made_with": self.made_with, "end": self.end, "audio_frames": self.audio_frames,
                 "segments": [asdict(s) for s in self.segments]}
        whole = Path("segments.json.new")
        whole.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        whole.rename(INDEX)
        report("checkpoint")

    def take(self, state):
        """From segments.json, without what is missing or broken."""
        self.end = state["end"]
        listed = [Segment(**entry) for entry in state["segments"]]
        self.segments = [s for s in listed if is_whole(s.path, "v", s.frames)]
        if state["audio_frames"] and is_whole(AUDIO, "a", state["audio_frames"]):
            self.audio_frames = state["audio_frames"]
        keep = {INDEX, *(s.path for s in self.segments), *([AUDIO] if self.audio_frames else [])}
        for stray in set(FOLDER.iterdir()) - keep:
            stray.unlink()

    def forget(self):
        """Its parts do not make a good whole: the next attempt begins again."""
        for path in FOLDER.iterdir():
            path.unlink()
        report("checkpoint")


def why_unfit(made_with):
    """What is wrong with segments.json for this encode, or "", and what it says."""
    try:
        state = json.loads(INDEX.read_text(encoding="utf-8"))
        before = state["made_with"]
        if before == made_with:
            return "", state
        name = next(name for name in {**made_with, **before} if before.get(name) != made_with.get(name))
        return f"{name} was {json.dumps(before.get(name))} and is {json.dumps(made_with.get(name))}", state
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return f"{INDEX.name} cannot be used: {error!r}", None


def put_aside(why):
    print(f"the checkpoint does not fit and is put aside in {UNFIT}/, encoding begins again: {why}", flush=True)
    shutil.rmtree(UNFIT, ignore_errors=True)
    UNFIT.mkdir()
    for path in list(FOLDER.iterdir()):
        path.rename(UNFIT / path.name)


def open_checkpoint(made_with, resume):
    """What an attempt before this one left, as far as it fits and is whole; else an empty one."""
    FOLDER.mkdir(exist_ok=True)
    kept = Checkpoint(made_with)
    if not any(FOLDER.iterdir()):
        return kept
    why, state = why_unfit(made_with) if resume else ("HAUL_RESUME is not set", None)
    if not why:
        try:
            kept.take(state)
            return kept
        except (KeyError, TypeError, AttributeError) as error:
            why, kept = f"{INDEX.name} cannot be used: {error!r}", Checkpoint(made_with)
    put_aside(why)
    return kept
