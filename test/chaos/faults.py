"""What is done to the processes. A fault is a method whose name begins with its actor's kind; it heals what it broke before it returns, and
returns whether it struck. An actor does one after the other: each of its kinds once, in an order of the dice, and then by weight."""
import os
import signal
import threading
import time

import ground
from clients import Client
from history import boot_us
from installation import Strace, job_of, signal_to, state_of

SERVER_CALLS = ("fdatasync", "fdatasync", "pwrite64", "openat", "fsync", "sendmsg", "recvfrom", "accept4", "renameat2", "unlinkat", "futex", "write",
                "epoll_wait")
AGENT_CALLS = ("sendto", "recvfrom", "openat", "fsync", "renameat2", "clone", "clone3", "execve", "fcntl", "mkdirat", "unlinkat", "poll", "write", "close")
CLOCKS = ("+1h", "-1h", "+1d", "-1d")


class Actor(threading.Thread):
    """`weights`: fault -> how often. Faults whose ground is `missing` are counted as skipped, with the reason."""

    def __init__(self, folder, tally, dice, lease_s, weights, missing, rest_s):
        super().__init__(daemon=True)
        self.folder, self.tally, self.dice, self.lease_s, self.rest_s = folder, tally, dice, lease_s, rest_s
        self.stop, self.failed = threading.Event(), None
        self.weights = {}
        for fault, weight in weights.items():
            why = next((missing[need] for need in getattr(self, fault.replace(" ", "_")).needs if need in missing), None)
            if why:
                tally.skipped[fault] = why
            else:
                self.weights[fault] = weight

    def run(self):
        first = list(self.weights)
        self.dice.shuffle(first)
        try:
            while not self.stop.is_set():
                fault = first.pop() if first else self.dice.choices(list(self.weights), list(self.weights.values()))[0]
                self.note(fault)
                struck = getattr(self, fault.replace(" ", "_"))()
                self.note(f"{fault}: {'done' if struck else 'did not strike'}")
                if struck:
                    self.tally.count(fault)
                self.stop.wait(self.dice.uniform(0.3, 1.0) * self.rest_s)
        except BaseException as error:  # pytest's failures are no Exceptions
            self.failed = error

    def note(self, text):
        """For who looks into a round that failed: when what was done."""
        with open(self.folder / "faults", "a") as file:
            file.write(f"{boot_us()} {self.name} {text}\n")

    def past_lease_s(self):
        return self.lease_s * self.dice.uniform(1.2, 1.6)


def needs(*what):
    def mark(method):
        method.needs = what
        return method
    return mark


class ServerActor(Actor):
    WEIGHTS = {"server kill": 3, "server kill at a call": 3, "server sync fails": 2, "server pause": 2, "server descriptors": 1, "server disk full": 1,
               "server power cut": 4, "server clock jump": 1}

    def __init__(self, server, disk, folder, *rest):
        super().__init__(folder, *rest)
        self.name, self.server, self.disk, self.clock = "server", server, disk, folder / "server-clock"

    def kill(self):
        self.server.kill()
        return time.monotonic()

    @needs()
    def server_kill(self):
        self.server.start(self.kill())
        return True

    def at_call(self, syscall, action, when, seconds):
        """The server with strace at it, until it ends; whether it did."""
        trace = Strace(self.server.pid, syscall, action, when)
        struck = self.ends(seconds)
        trace.detach()
        struck = struck or self.ends(1)  # it had begun to
        if struck:
            self.server.start(time.monotonic())
        return struck

    def ends(self, seconds):
        end = time.monotonic() + seconds
        while self.server.popen.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        return self.server.popen.poll() is not None

    @needs("strace")
    def server_kill_at_a_call(self):
        syscall = self.dice.choice(SERVER_CALLS)
        self.note(f"kill at {syscall}")
        return self.at_call(syscall, "signal=KILL", self.dice.randint(1, 12), 3)

    @needs("strace")
    def server_sync_fails(self):
        return self.at_call("fdatasync,fsync", "error=EIO", f"{self.dice.randint(1, 8)}+", 4)

    @needs()
    def server_pause(self):
        self.server.pause(self.past_lease_s(), threading.Event())
        return True

    @needs("descriptors")
    def server_descriptors(self):
        """As many as it has open, and no more: nobody new gets in until they are given back."""
        pid = str(self.server.pid)
        before = ground.run("prlimit", "--pid", pid, "--nofile", "--noheadings", "--raw", "--output", "SOFT,HARD").stdout.split()
        count = len(os.listdir(f"/proc/{pid}/fd"))
        ground.run("prlimit", "--pid", pid, f"--nofile={count}:{before[1]}")
        held = [Client(self.server.url, timeout=1) for _ in range(4)]
        for client in held:
            client("GET", "/healthz")
        self.stop.wait(self.lease_s / 2)
        ground.run("prlimit", "--pid", pid, f"--nofile={before[0]}:{before[1]}")
        return True

    @needs("disk")
    def server_disk_full(self):
        filler = ground.fill(self.disk.path)
        self.stop.wait(self.lease_s / 2)
        filler.unlink()
        if self.server.popen.poll() is not None:
            self.server.start()
        return True

    @needs("disk")
    def server_power_cut(self):
        self.disk.cut(self.dice.choice((ground.LOGFLUSH, ground.NOLOGFLUSH)))
        ended = self.kill()
        self.disk.umount()
        self.disk.mount()
        self.server.start(ended)
        return True

    @needs("clock")
    def server_clock_jump(self):
        """It starts with a clock that is wrong, which then jumps twice while it runs; the next start has the right one again."""
        self.server.clock = self.clock
        self.server.jump(self.dice.choice(CLOCKS))
        self.server.start(self.kill())
        for _ in range(2):
            self.stop.wait(self.lease_s / 3)
            self.server.jump(self.dice.choice((*CLOCKS, "+0")))
        self.stop.wait(self.lease_s / 3)
        self.server.clock = None
        self.server.start(self.kill())
        return True


class WorkerActor(Actor):
    WEIGHTS = {"agent kill": 3, "supervisor kill": 6, "init kill": 3, "handler kill": 3, "host kill": 3, "agent kill at a call": 2,
               "supervisor kill at a call": 4, "agent pause": 1, "supervisor pause": 1, "handler pause": 1, "host pause": 2, "worker clock jump": 1,
               "partition drop": 1, "partition drop in": 1, "partition drop out": 1, "partition reset": 1, "partition loss": 1}

    def __init__(self, worker, wire, folder, *rest):
        super().__init__(folder, *rest)
        self.name, self.worker, self.wire, self.clock = worker.who, worker, wire, folder / f"{worker.who}-clock"

    def one(self, role):
        """A process of that role, or None where there is none just now."""
        for _ in range(20):
            found = self.worker.parts()[role]
            if found:
                return self.dice.choice(found)
            if self.stop.wait(0.1):
                return None
        return None

    def kill_one(self, role):
        pid = self.one(role)
        self.note(f"kill {pid}")
        struck = pid is not None and signal_to(pid, signal.SIGKILL)
        if role == "agent":
            self.worker.popen.wait(10)
            self.worker.launch()
        return struck

    @needs()
    def agent_kill(self):
        return self.kill_one("agent")

    @needs()
    def supervisor_kill(self):
        return self.kill_one("supervisor")

    @needs("sight")
    def init_kill(self):
        return self.kill_one("init")

    @needs("sight")
    def handler_kill(self):
        return self.kill_one("handler")

    @needs()
    def host_kill(self):
        """All at once, as when its machine loses power."""
        self.worker.kill_host()
        self.stop.wait(self.dice.choice((0, 0.5, self.lease_s)))
        self.worker.launch()
        return True

    def at_call(self, role, seconds=2):
        pid = self.one(role)
        if pid is None:
            return False
        syscall = self.dice.choice(AGENT_CALLS)
        self.note(f"kill {pid} at {syscall}")
        trace = Strace(pid, syscall, "signal=KILL", self.dice.randint(1, 6))
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end and os.path.exists(f"/proc/{pid}") and self.worker.popen.poll() is None:
                time.sleep(0.01)
            return self.worker.popen.poll() is not None if role == "agent" else trace.popen.poll() is not None
        finally:
            trace.detach()
            self.worker.ensure()

    @needs("strace")
    def agent_kill_at_a_call(self):
        return self.at_call("agent")

    @needs("strace")
    def supervisor_kill_at_a_call(self):
        return self.at_call("supervisor", 1)

    def hold(self, pids):
        """Stops them, handlers last, when nobody else can any more. Who is held still already is haul's: it is left so, and let go by haul
        alone. Those whom it stopped."""
        self.note(f"stop {sorted(pids)}")
        stopped = []
        for pid in sorted(pids, key=lambda pid: job_of(pid) is not None):
            if state_of(pid) not in ("T", None) and signal_to(pid, signal.SIGSTOP):
                stopped.append(pid)
        return stopped

    def pause_all(self, pids, seconds):
        stopped = self.hold(pids)
        try:
            self.stop.wait(seconds)
        finally:
            self.worker.wake(stopped)
        return bool(stopped)

    @needs()
    def agent_pause(self):
        return self.pause_all([self.worker.pid], self.past_lease_s())

    @needs()
    def supervisor_pause(self):
        """The handler is not stopped: whoever watches its lease has to."""
        pid = self.one("supervisor")
        return pid is not None and self.pause_all([pid], self.past_lease_s())

    @needs("sight")
    def handler_pause(self):
        """The supervisor is not stopped, and goes on renewing. Where it could not, meanwhile, it holds the handler and will let it go."""
        pid = self.one("handler")
        job = pid and job_of(pid)
        self.note(f"stop {pid}")
        if not job or state_of(pid) in ("T", None) or not signal_to(pid, signal.SIGSTOP):
            return False
        self.stop.wait(self.lease_s / 2)
        if self.wire.renewed.get(job, 0) > boot_us() - self.lease_s * 500_000:
            self.worker.wake([pid])
        return True

    @needs()
    def host_pause(self):
        """All of it, and those that were being born."""
        _, stopped = self.worker.hold_all(self.hold)
        try:
            self.stop.wait(self.past_lease_s())
        finally:
            self.worker.wake(stopped)
        return bool(stopped)

    @needs("clock")
    def worker_clock_jump(self):
        """The agent and those it starts from then on."""
        self.worker.clock = self.clock
        self.worker.jump(self.dice.choice(CLOCKS))
        self.kill_one("agent")
        for _ in range(2):
            self.stop.wait(self.lease_s / 3)
            self.worker.jump(self.dice.choice((*CLOCKS, "+0")))
        self.worker.clock = None
        return self.kill_one("agent")

    def partition(self, kind):
        self.worker.network.cut(kind)
        try:
            self.stop.wait(self.lease_s * self.dice.choice((0.3, 0.8, 1.3)))
        finally:
            self.worker.network.heal()
        return True

    @needs("network")
    def partition_drop(self):
        return self.partition("drop")

    @needs("network")
    def partition_drop_in(self):
        return self.partition("drop in")

    @needs("network")
    def partition_drop_out(self):
        return self.partition("drop out")

    @needs("network")
    def partition_reset(self):
        return self.partition("reset")

    @needs("network")
    def partition_loss(self):
        return self.partition("loss")


__all__ = ["ServerActor", "WorkerActor"]
