"""What happened, as lines that `haul-sim check` judges (test/sim/README.md has the format): a recorder for many threads, and the importer of
the handlers' stamps. One clock for everything: CLOCK_BOOTTIME, in microseconds."""
import itertools
import json
import threading
import time

GAP_US = 500_000  # a handler stamps every 100 ms: without one for so long it is not known to have run


def boot_us():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.events = []
        self.ops = itertools.count(1)

    def add(self, event, t=None, **members):
        """What is None or zero is not said."""
        line = {"event": event, "t": boot_us() if t is None else t, **{k: v for k, v in members.items() if v}}
        with self.lock:
            self.events.append(line)

    def invoke(self, event, **members):
        """An op is asked; the rest of its story is told by answer()."""
        op = next(self.ops)
        self.add(event, phase="invoke", op=op, **members)
        return op

    def answer(self, event, op, code, body, **members):
        """`code`: HTTP's, None where there was no answer. A 5xx may have been done."""
        if code is None or code >= 500:
            self.add(event, phase="unknown", op=op, **members)
        elif code >= 400:
            self.add(event, phase="refused", op=op, code=(body or {}).get("code", str(code))[:23], **members)
        else:
            self.add(event, phase="ok", op=op, **members)

    def write(self, path):
        """Sorted by time, its first and its last line first and last."""
        with self.lock:
            events = sorted(self.events, key=lambda e: (e["event"] == "end", e["event"] != "run", e["t"]))
        with open(path, "w") as file:
            for event in events:
                file.write(json.dumps(event, separators=(",", ":")) + "\n")
        return len(events)


def stamps_read(path):
    """The handlers' lines; one that a power cut or a kill left half is none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        try:
            stamp = json.loads(line)
        except ValueError:
            continue
        yield stamp


def process_events(stamps, who):
    """Stamps of one worker -> `process` events: an attempt runs from its first stamp to its last, whoever of its tree made them; where there
    was none for GAP_US it is frozen, for all that is known, and the next one shows that it goes on."""
    attempts = {}
    for stamp in stamps:
        attempts.setdefault((stamp["job"], stamp["attempt"]), []).append(stamp["t"])
    for (job, attempt), times in attempts.items():
        times.sort()

        def event(what, t, job=job, attempt=attempt):
            return {"event": "process", "what": what, "t": t, "job": job, "attempt": attempt, "who": who}
        yield event("start", times[0])
        for before, t in zip(times, times[1:]):
            if t - before > GAP_US:
                yield event("freeze", before)
                yield event("thaw", t)
            elif t != times[-1]:
                yield event("alive", t)
        yield event("end", times[-1])
