"""From the input to the output: sound in one go, pictures in segments, and all of it joined without encoding again.

The pictures of a run come from one ffmpeg, which cuts at key frames; nothing is lost to the cuts. A run that fills a gap takes exactly the
frames whose time stamps lie in it, wherever it began to read."""

import re
import shutil
from fractions import Fraction
from pathlib import Path

from transcode import ffmpeg
from transcode.checkpoint import AUDIO, Segment, packets
from transcode.common import describe, duration_of, report, streams

UNFINISHED = Path("unfinished")
FIRST = UNFINISHED / "first.txt"
# Writes the time stamp of the first frame that passes to FIRST, in ticks
TELL_FIRST = [r"metadata=add:key=first:value=1:enable=eq(n\,0)", f"metadata=print:key=first:direct=1:file={FIRST}"]
SEGMENTS_MAX = 500  # a checkpoint may have 1,000 files
UNKNOWN_LENGTH_SEGMENT_S = 300  # for inputs that do not say how long they are
SEEKABLE = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}  # formats with an index and time stamps that never jump
SEEK_MARGIN_S = 10  # a decoder starts that much before the first frame that counts
AUDIO_PERCENT, VIDEO_PERCENT = 3.0, 99.0  # where sound ends, and pictures; then comes the joining


class Progress:
    """Percent of the whole, never falling."""

    def __init__(self, total_s):
        self.total_s = total_s
        self.shown = -1.0

    def show(self, low, high, at_s, word):
        if not self.total_s:
            return
        percent = low + (high - low) * min(1.0, at_s / self.total_s)
        if percent > self.shown:
            self.shown = percent
            report(f"progress {percent:.1f} {at_s:.0f} of {self.total_s:.0f} s" + (f", {word}" if word else ""))


def time_base_of(info):
    """In what the encode counts time: as the input does, unless that is too fine to be written down in microseconds."""
    claimed = Fraction(streams(info, "video")[0].get("time_base", "0/1").replace("/0", "/1"))
    return claimed if claimed >= Fraction(1, 100_000) else Fraction(1, 90_000)


def clear_unfinished():
    shutil.rmtree(UNFINISHED, ignore_errors=True)
    UNFINISHED.mkdir()


def same_clock(stream, kind):
    """A second output that takes one packet of another stream: formats such as MPEG-TS count time from the first of the streams in use, and
    sound and pictures must count from the same."""
    return ["-map", stream, "-c", "copy", f"-frames:{kind}", "1", "-f", "null", "-"]


class HandOver:
    """Takes a run's segments to the checkpoint. One is finished when ffmpeg began the next, or ended well; the list says where it begins."""

    def __init__(self, kept, gap, time_base):
        self.kept, self.gap, self.time_base = kept, gap, time_base
        self.after = gap.after
        self.taken = 0

    def made(self, index):
        return UNFINISHED / f"{index:06d}.mp4"

    def take_finished(self, ended):
        listed = UNFINISHED / "list.csv"
        rows = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
        while self.taken < len(rows) and (ended or self.made(self.taken + 1).exists()):
            self.take(Fraction(rows[self.taken].split(",")[1]), last=ended and self.taken + 1 == len(rows))

    def take(self, begin_s, last):
        """@param begin_s  counted from the run's first frame   @param last  whether it is the run's last"""
        ticks, base = packets(self.made(self.taken), "v")
        begin = int(re.search(r"pts:(\d+)", FIRST.read_text(encoding="utf-8"))[1])
        first, final = (begin + round((begin_s + tick * Fraction(base)) / self.time_base) for tick in (ticks[0], ticks[-1]))
        if last and self.gap.before is None:
            self.kept.end = final
        self.kept.add(Segment(self.after, first, final, len(ticks)), self.made(self.taken))
        self.after = final
        self.taken += 1


class Encode:
    """One input on its way to one output. Its steps give an exit status, 0 or what to end with; why is reported then."""

    def __init__(self, wish, source, info, kept):
        self.wish, self.source, self.info, self.kept = wish, source, info, kept
        self.total_s = duration_of(info)
        self.time_base = time_base_of(info)
        self.progress = Progress(self.total_s)
        self.has_audio = wish["audio_codec"] != "none" and bool(streams(info, "audio"))
        self.own_audio = self.has_audio and wish["audio_codec"] != "copy"
        self.video_from = AUDIO_PERCENT if self.own_audio else 0.0
        self.seek = info["format"].get("format_name") in SEEKABLE

    def seconds(self, tick):
        return float(tick * self.time_base)

    def done_s(self):
        return sum(self.seconds(s.last - s.start) for s in self.kept.segments)

    def segment_s(self):
        wished = self.wish["segment_s"]
        return max(wished, self.total_s / SEGMENTS_MAX) if self.total_s else max(wished, UNKNOWN_LENGTH_SEGMENT_S)

    def begin(self):
        clear_unfinished()
        if not self.kept.segments:
            report("progress 0 starting")
            return
        print(f"resumed: {len(self.kept.segments)} segments and {self.done_s():.0f} s of video are there already", flush=True)
        self.progress.show(self.video_from, VIDEO_PERCENT, self.done_s(), "resumed")

    # --- sound: in one go, because an encoder's priming would be a gap at every joint ---

    def encode_audio(self):
        if not self.own_audio or self.kept.audio_frames:
            return 0
        made = UNFINISHED / "audio.mp4"
        status, complaints = ffmpeg.run(
            [*ffmpeg.read_strictly(self.source), "-map", "0:a:0", *ffmpeg.audio_encoder(self.wish), "-map_metadata", "-1",
             "-map_chapters", "-1", "-movie_timescale", "90000", f"file:{made}", *same_clock("0:V:0", "v")],
            lambda at_s, speed: self.progress.show(0.0, AUDIO_PERCENT, at_s, "sound"))
        if status:
            return ffmpeg.judge_failure(status, complaints, self.source)
        self.kept.add_audio(made)
        return 0

    # --- pictures ---

    def encode_video(self):
        while gap := self.kept.next_gap():
            status, complaints = self.fill(gap)
            if status > 0 and self.seek and ffmpeg.damage_in(complaints) and self.start_of_reading(gap):
                print("reading from the middle failed; from the beginning, then", flush=True)
                self.seek = False
            elif status:
                return ffmpeg.judge_failure(status, complaints, self.source)
            elif gap == self.kept.next_gap():
                report(f"error ffmpeg found no frames in input '{self.source.name}' to fill {gap}")
                return 1
        return 0

    def start_of_reading(self, gap):
        """Whole seconds into the input; 0: its beginning."""
        first_s = self.seconds(gap.after or 0)
        return max(0, int(first_s) - SEEK_MARGIN_S) if self.seek else 0

    def fill(self, gap):
        """Encodes a gap's frames and hands each segment over when it is finished."""
        clear_unfinished()
        done_s = self.done_s()
        hand_over = HandOver(self.kept, gap, self.time_base)

        def look(at_s, speed):
            hand_over.take_finished(ended=False)
            self.progress.show(self.video_from, VIDEO_PERCENT, done_s + at_s, speed)

        status, complaints = ffmpeg.run(self.video_arguments(gap), look)
        if status == 0:
            hand_over.take_finished(ended=True)
        return status, complaints

    def video_arguments(self, gap):
        start_s = self.start_of_reading(gap)
        # with both, the time stamps are those of a run from the beginning
        read = ["-itsoffset", str(start_s), "-ss", str(start_s), "-noaccurate_seek"] if start_s else []
        read += ffmpeg.read_strictly(self.source)
        base = f"{self.time_base.numerator}/{self.time_base.denominator}"
        bounds = [f"start_pts={gap.after + 1}"] if gap.after is not None else []
        bounds += [f"end_pts={gap.before}"] if gap.before is not None else []
        filters = [f"settb={base}", *(["trim=" + ":".join(bounds)] if bounds else []), *TELL_FIRST, "setpts=PTS-STARTPTS",
                   f"scale=-2:{self.wish['height']}"]
        every_s = self.segment_s()
        cuts = ["-segment_time", "1000000000"]  # what fills a hole is one segment
        if gap.before is None:
            cuts = ["-force_key_frames", f"expr:if(isnan(prev_forced_t),1,gte(t,prev_forced_t+{every_s:.3f}))", "-segment_time", f"{every_s:.3f}"]
        return [*read, "-map", "0:V:0", "-vf", ",".join(filters), "-fps_mode", "vfr", "-enc_time_base:v", base,
                *ffmpeg.video_encoder(self.wish), "-map_metadata", "-1", "-map_chapters", "-1", *cuts,
                "-f", "segment", "-segment_format", "mp4",
                "-avoid_negative_ts", "disabled", "-reset_timestamps", "1", "-segment_list", f"file:{UNFINISHED / 'list.csv'}", "-segment_list_type", "csv",
                f"file:{UNFINISHED}/%06d.mp4", *(same_clock("0:a:0", "a") if self.has_audio else [])]

    # --- all of it ---

    def join(self, target):
        """Copies, encodes nothing. The input itself gives its metadata, chapters, and sound that is only copied."""
        first_s = self.seconds(self.kept.segments[0].start)
        inputs = ["-itsoffset", f"{first_s:.6f}", "-f", "concat", "-safe", "0", "-i", f"file:{self.write_concat()}", "-i", f"file:{self.source}"]
        maps, clock = ["-map", "0:v:0"], []
        if self.own_audio:
            start_s = describe(AUDIO)["format"].get("start_time", "0")  # ffmpeg would begin at 0
            inputs += ["-itsoffset", start_s, "-i", f"file:{AUDIO}"]
            maps += ["-map", "2:a:0", "-map_metadata:s:a:0", "1:s:a:0"]
        elif self.has_audio:
            maps += ["-map", "1:a:0"]
            clock = same_clock("1:V:0", "v")
        status, complaints = ffmpeg.run(
            [*inputs, *maps, "-c", "copy", *ffmpeg.video_tag(self.wish), "-map_metadata", "1", "-map_metadata:s:v:0", "1:s:v:0",
             "-map_chapters", "1", *(["-movflags", "+faststart"] if target.suffix == ".mp4" else []), f"file:{target}", *clock],
            lambda at_s, _: report(f"progress {VIDEO_PERCENT:.0f} joining, {at_s:.0f} s"))
        return ffmpeg.judge_failure(status, complaints, self.source) if status else 0

    def write_concat(self):
        """Each segment begins where its first frame was, whatever the one before it claims to last."""
        path = UNFINISHED / "join.txt"
        lines = ["ffconcat version 1.0"]
        for segment, following in zip(self.kept.segments, [*self.kept.segments[1:], None]):
            lines.append(f"file '../{segment.path}'")
            if following:
                lines.append(f"duration {self.seconds(following.start - segment.start):.6f}")
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path
