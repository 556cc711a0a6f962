"""What a run found and did, over all its rounds; and the judge's word on one."""
import collections
import re
import subprocess
import threading



class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.faults, self.skipped, self.statuses, self.broken = (collections.Counter(), {}, collections.Counter(), collections.Counter())
        self.jobs = self.attempts = self.events = self.unclaimed = 0
        self.recoveries, self.server_recoveries = [], []
        self.starts = self.resumes = 0

    def count(self, fault):
        with self.lock:
            self.faults[fault] += 1

    def server_recovery(self, seconds):
        self.server_recoveries += seconds

    def resumed(self, stamps):
        """Attempts that had one before them, and those of them that went on where it was."""
        seen = {}
        for stamp in stamps:
            if stamp["what"] == "start" and stamp["attempt"] > 1:
                seen[stamp["job"], stamp["attempt"]] = stamp["step"] > 0
        self.starts += len(seen)
        self.resumes += sum(seen.values())

    def sum(self, pattern):
        return sum(n for fault, n in self.faults.items() if re.search(pattern, fault))

    def line(self, seconds):
        return (f"{seconds / 60:.0f} min, {self.jobs} jobs, {self.sum('kill')} kills, {self.sum('pause')} pauses, {self.sum('partition')} partitions, "
                f"{self.sum('power cut')} power cuts, {sum(self.broken.values())} broken")

    def summary(self, options, rounds, bad, seconds):
        lines = ["", f"chaos: {rounds} rounds from seed {options.seed} in {seconds / 60:.1f} min, lease {options.lease:g} s, {bad} broken", "",
                 "faults injected"]
        lines += [f"  {n:6}  {fault}" for fault, n in sorted(self.faults.items())]
        lines += [f"  skipped: {fault}: {why}" for fault, why in sorted(self.skipped.items())]
        lines += [f"  in sum: {self.sum('kill')} kills, {self.sum('pause')} pauses, {self.sum('partition')} partitions, "
                  f"{self.sum('power cut')} power cuts", ""]
        ended = ", ".join(f"{n} {status}" for status, n in sorted(self.statuses.items()))
        lines += [f"jobs               {self.jobs} ({ended}), {self.attempts} attempts, {self.events} events judged",
                  f"lost               {self.broken['I1']}", f"duplicated         {self.broken['I2'] + self.broken['I3']}",
                  f"invariants broken  {', '.join(f'{k}: {n}' for k, n in sorted(self.broken.items())) or 0}",
                  f"resumed            {share(self.resumes, self.starts)} of {self.starts} attempts after another one began where a checkpoint was",
                  f"worker lost        {spread(self.recoveries, 'leases')} until its jobs were claimed again; {self.unclaimed} not within four",
                  f"server lost        {spread(self.server_recoveries, 's')} until it was ready again"]
        return "\n".join(lines)


def share(part, whole):
    return f"{100 * part / whole:.0f} %" if whole else "-"


def spread(values, unit):
    if not values:
        return "not measured"
    values = sorted(values)
    return f"p50 {values[len(values) // 2]:.2f}, max {values[-1]:.2f} {unit} ({len(values)} times)"


def judge(build, run, tally):
    """What is wrong with a round, in words: by test/sim's checker, and what the harness saw itself."""
    path = run.folder / "history"
    tally.events += run.history.write(path)
    found = subprocess.run([build / "test" / "sim" / "haul-sim", "check", path], capture_output=True, text=True)
    findings = list(run.problems)
    if found.returncode:
        findings += re.findall(r"^  (I\d+, .*)$", found.stdout, re.MULTILINE) or [f"haul-sim check: {found.stdout}{found.stderr}"[:2000]]
        (run.folder / "findings").write_text(found.stdout)
    for finding in findings:
        name = re.match(r"I\d+", finding)
        tally.broken[name[0] if name else "harness"] += 1
    for process in (run.server, *run.workers):
        for path in run.folder.glob(f"{process.stem}-*.err"):
            if re.search(r"(Address|Thread|Leak)Sanitizer|runtime error:", path.read_text(errors="replace")):
                findings.append(f"a sanitizer in {path.name}")
    return findings
