"""A server and its workers as real processes, each started again after whatever was done to it. The processes are test/blackbox's."""
import itertools
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "blackbox"))
from conftest import READY, Process, Server, Worker, processes  # noqa: E402
from ground import faketime, forget_clocks  # noqa: E402
from history import boot_us  # noqa: E402


def signal_to(pid, sig):
    """False when it was gone already."""
    try:
        os.kill(pid, sig)
    except ProcessLookupError:
        return False
    return True


def state_of(pid):
    """The kernel's letter, None when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None


def job_of(pid):
    """Of a handler's process; None for all others."""
    try:
        found = re.search(rb"(?:^|\0)HAUL_JOB_ID=([^\0]+)", pathlib.Path(f"/proc/{pid}/environ").read_bytes())
    except OSError:
        return None
    return found[1].decode() if found else None


class Lived:
    """A process with an output file for each of its lives; only the latest are kept."""
    lives, clock = None, None

    def launch(self):
        if self.lives is None:
            self.lives, self.folder, self.stem, self.plain = itertools.count(), self.out_path.parent, self.out_path.stem, self.environment
        life = next(self.lives)
        for path in (self.folder / f"{self.stem}-{life - 20}.out", self.folder / f"{self.stem}-{life - 20}.err"):
            path.unlink(missing_ok=True)
        self.out_path, self.err_path = self.folder / f"{self.stem}-{life}.out", self.folder / f"{self.stem}-{life}.err"
        self.environment = self.plain if self.clock is None else {
            **self.plain, "LD_PRELOAD": faketime(), "FAKETIME_TIMESTAMP_FILE": str(self.clock), "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        if self.clock is not None:
            forget_clocks()
        super().launch()

    def jump(self, offset):
        """The process's wall clock from now on, such as "+1h"; only CLOCK_REALTIME, as when somebody sets it."""
        staging = self.clock.with_suffix(".new")
        staging.write_text(offset + "\n")
        staging.rename(self.clock)


class ChaosServer(Lived, Server):
    """`history` is told when it starts and goes on; `recoveries`: seconds from its end to its being ready."""

    def __init__(self, folder, environment, config, history, data):
        self.history, self.recoveries, self.began_us = history, [], 0
        super().__init__(folder, environment, config, data=data)

    def launch(self):
        self.began_us = boot_us()
        self.history.add("server", what="start", t=self.began_us)
        super().launch()

    def start(self, ended=None):
        """Starts it until it is there: a start itself may meet a full disk, or a fault that is not over."""
        ended = ended or time.monotonic()
        self.arguments[self.arguments.index("--listen") + 1] = self.url.removeprefix("http://")
        end = time.monotonic() + 60
        while True:
            self.launch()
            while self.popen.poll() is None and not READY.search(self.said) and time.monotonic() < end:
                time.sleep(0.02)
            if self.popen.poll() is None and READY.search(self.said):
                self.recoveries.append(time.monotonic() - ended)
                return
            if time.monotonic() > end:
                raise RuntimeError(f"the server does not start:\n{self.said[-3000:]}")
            time.sleep(0.1)

    def pause(self, seconds, stop):
        signal_to(self.pid, signal.SIGSTOP)
        try:
            stop.wait(seconds)
        finally:
            signal_to(self.pid, signal.SIGCONT)
        self.began_us = boot_us()
        self.history.add("server", what="resume", t=self.began_us)


class ChaosWorker(Lived, Worker):
    """Where `network` is given it lives in there."""

    def __init__(self, folder, name, environment, url, handlers, slots, history, network=None):
        self.who, self.history, self.network = name, history, network
        super().__init__(folder, name, environment, url, handlers, slots, ("--name", name, "--min-free", "0"),
                         network.prefix if network else ())

    def family(self):
        """Those, too, that were left without a parent: a handler's home is in the state folder."""
        home = b"\0HOME=" + str(self.state).encode() + b"/"
        return super().family() | {pid for pid, _, state, _, environment in processes() if state != "Z" and home in b"\0" + environment}

    def hold_all(self, hold):
        """hold(pids) stops them and gives those it stopped: again, until nobody was born meanwhile."""
        everybody, stopped = set(), []
        while new := self.family() - everybody:
            everybody |= new
            stopped += hold(new)
        return everybody, stopped

    def kill_host(self):
        """What a power cut does to a worker's machine: everything is gone at once."""
        everybody, _ = self.hold_all(lambda pids: [pid for pid in pids if signal_to(pid, signal.SIGSTOP)])
        for pid in everybody:
            signal_to(pid, signal.SIGKILL)
        self.popen.wait(10)

    def parts(self):
        """role -> process ids: agent, supervisor, init (of a sandbox), handler."""
        family, found = self.family(), {"agent": [], "supervisor": [], "init": [], "handler": []}
        for pid, _, state, command, _ in processes():
            if pid not in family or state == "Z":
                continue
            words = command.split(b"\0")
            role = ("handler" if words[0].endswith(b"chaos-handler") else "init" if b"init" in words[0] else
                    "supervisor" if b"supervise" in words[1:2] else "agent" if pid == self.pid else None)
            if role:
                found[role].append(pid)
        return found

    def ensure(self):
        """The agent runs."""
        if self.popen.poll() is not None:
            self.launch()

    def wake(self, pids):
        self.history.add("worker", what="resume", who=self.who)
        for pid in pids:
            signal_to(pid, signal.SIGCONT)


class Strace:
    """Attached to each thread of a process, and to none of its children: what happens at a chosen system call."""

    def __init__(self, pid, syscall, action, when):
        try:
            threads = [f"-p{thread}" for thread in os.listdir(f"/proc/{pid}/task")]
        except FileNotFoundError:
            threads = [f"-p{pid}"]
        self.popen = subprocess.Popen(["strace", "-qq", "-o", "/dev/null", *threads, "-e", f"trace={syscall}", "-e",
                                       f"inject={syscall}:{action}:when={when}"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)

    def detach(self):
        """SIGINT lets go of the process."""
        self.popen.send_signal(signal.SIGINT)
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait(5)


__all__ = ["ChaosServer", "ChaosWorker", "Process", "Strace", "job_of", "signal_to", "state_of"]
