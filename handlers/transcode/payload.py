"""payload.json of transcode_v1: what may stand in it, and what is meant when it does not."""

import json
from pathlib import Path

from transcode.common import Refused

PRESETS = ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"]
VIDEO_CODECS = ["h264", "hevc", "vp9", "av1"]
AUDIO_CODECS = ["aac", "opus", "copy", "none"]
DEFAULTS = {"height": 720, "video_codec": "h264", "audio_codec": "aac", "crf": 23, "preset": "veryfast", "segment_s": 30}


def whole_number(payload, name, low, high):
    value = payload[name]
    if isinstance(value, str) and value.isdigit():  # `haul submit -p height=480` may send text
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise Refused(f"payload.{name} must be a whole number from {low} to {high}, got {json.dumps(payload[name])}")
    return value


def one_of(payload, name, allowed):
    value = payload[name]
    if not isinstance(value, str) or value not in allowed:
        raise Refused(f"payload.{name} must be one of {', '.join(allowed)}, got {json.dumps(value)}")
    return value


def read_payload():
    """What is wished for, every field of DEFAULTS; Refused says which field is wrong."""
    try:
        given = json.loads(Path("payload.json").read_text(encoding="utf-8") or "{}")
    except (OSError, ValueError) as error:
        raise Refused(f"payload.json cannot be read: {error}") from None
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise Refused("payload must be a JSON object, such as {\"height\": 720}")
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise Refused(f"payload.{unknown[0]} is not known; known are {', '.join(sorted(DEFAULTS))}")
    payload = {**DEFAULTS, **given}
    wish = {
        "height": whole_number(payload, "height", 16, 4320),
        "crf": whole_number(payload, "crf", 0, 51),
        "video_codec": one_of(payload, "video_codec", VIDEO_CODECS),
        "audio_codec": one_of(payload, "audio_codec", AUDIO_CODECS),
        "preset": one_of(payload, "preset", PRESETS),
        "segment_s": whole_number(payload, "segment_s", 1, 3600),
    }
    if wish["height"] % 2:
        raise Refused(f"payload.height must be even (video frames are stored in pairs of lines), got {wish['height']}")
    return wish
