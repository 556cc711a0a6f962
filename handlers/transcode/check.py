"""Is the output what was asked for? transcode_v1 asks before it says that it is done, verify_transcode when nothing of it runs any more."""

from transcode.common import Unreadable, describe, duration_of, ffprobe, number, streams

SLACK_S = 1.0
LOOK_BACK_S = 10.0


class Bad(Exception):
    """The output is not what it should be."""


class TooShort(Bad):
    """It lacks seconds that the input claims to have."""


def look(path):
    try:
        return describe(path)
    except Unreadable as why:
        raise Bad(f"'{path.name}' cannot be read: {why}") from None


def pictures_s(path, info):
    """From the first picture to the end of the last that is really there: a header can claim seconds that were cut off."""
    first_s = number(streams(info, "video")[0].get("start_time")) or 0.0
    from_s = first_s + max(0.0, (duration_of(info) or 0.0) - LOOK_BACK_S)
    try:
        found = ffprobe(path, "-select_streams", "V:0", "-show_entries", "packet=pts_time,duration_time", "-read_intervals", f"{from_s:.3f}%")
    except Unreadable as why:
        raise Bad(f"'{path.name}' cannot be read to its end: {why}") from None
    ends = [number(p.get("pts_time")) + (number(p.get("duration_time")) or 0.0) for p in found.get("packets", [])
            if number(p.get("pts_time")) is not None]
    return max(ends, default=first_s) - first_s


def wants_sound(wish, source_info):
    return wish["audio_codec"] != "none" and bool(streams(source_info, "audio"))


def check_streams(name, info, wish, source_info):
    video = streams(info, "video")
    if not video:
        raise Bad(f"'{name}' has no video stream")
    if video[0].get("height") != wish["height"]:
        raise Bad(f"'{name}' is {video[0].get('height')} lines high instead of {wish['height']}")
    if wants_sound(wish, source_info) != bool(streams(info, "audio")):
        raise Bad(f"'{name}' has no sound" if wants_sound(wish, source_info) else f"'{name}' has sound that nobody asked for")


def check_length(name, info, wish, source_info):
    expected_s, got_s = duration_of(source_info), duration_of(info)
    if got_s is None:
        raise Bad(f"'{name}' does not say how long it is")
    # sound that is left out may have been longer than the pictures, or have begun before them
    if wants_sound(wish, source_info) and expected_s and abs(got_s - expected_s) > SLACK_S:
        kind = TooShort if got_s < expected_s else Bad
        raise kind(f"'{name}' lasts {got_s:.1f} s, the input {expected_s:.1f} s")
    return got_s


def check_pictures(output, info, source, source_info):
    wanted_s, there_s = pictures_s(source, source_info), pictures_s(output, info)
    if there_s < wanted_s - SLACK_S:
        raise TooShort(f"'{output.name}' ends after {there_s:.1f} s of pictures, the input after {wanted_s:.1f} s")


def check(output, wish, source, source_info):
    """One line that describes a good output; Bad says what is wrong with another."""
    info = look(output)
    check_streams(output.name, info, wish, source_info)
    got_s = check_length(output.name, info, wish, source_info)
    check_pictures(output, info, source, source_info)
    video = streams(info, "video")[0]
    return f"{video.get('width')}x{video.get('height')}, {got_s:.1f} s"
