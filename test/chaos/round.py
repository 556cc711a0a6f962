"""One round: a new installation, load and faults for a while, then quiet, a measured loss of a worker, and the end of every job."""
import hashlib
import os
import random
import signal
import time

from clients import TERMINAL, Client, Load, row_members
from faults import ServerActor, WorkerActor
from ground import Disk
from history import History, process_events, stamps_read
from installation import ChaosServer, ChaosWorker
from wire import Wire

SLOTS = 4


class Round:
    def __init__(self, options, seed, folder, networks, missing, tally):
        self.options, self.seed, self.folder, self.networks, self.missing, self.tally = options, seed, folder, networks, missing, tally
        self.dice = random.Random(f"{seed} round")
        self.history, self.server, self.disk, self.wire, self.load = History(), None, None, None, None
        self.workers, self.actors, self.problems = [], [], []

    # --- the installation ---

    def config(self):
        lease = self.options.lease
        return {"lease": f"{int(lease * 1000)}ms", "heartbeat": f"{int(lease * 250)}ms", "confirm": f"{int(lease * 1000)}ms", "poll": "5s",
                "backoff_base": "50ms", "backoff_cap": "200ms", "max_losses": 1000, "max_interruptions": 1000,
                "retention": "400d", "dedup_window": "360d"}  # what a clock that is a day ahead must not end

    def build(self):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("HAUL_", "XDG_", "LD_PRELOAD"))}
        environment.update(HOME=str(self.folder), LC_ALL="C.UTF-8")
        lease_us = int(self.options.lease * 1e6)
        self.history.add("run", lease_us=lease_us, heartbeat_us=lease_us // 4)
        if "disk" not in self.missing:
            self.disk = Disk(self.folder)
        data = (self.disk.path if self.disk else self.folder) / "data"
        self.server = ChaosServer(self.folder, environment, self.config(), self.history, data)
        host, port = self.server.url.removeprefix("http://").split(":")
        self.wire = Wire(self.history, (host, int(port)))
        for i in range(self.options.workers):
            self.add_worker(i, environment)
        self.load = Load(self.server, self.history, self.seed, depth=SLOTS * (self.options.workers - 1))

    def add_worker(self, i, environment):
        who, network = f"w{i}", self.networks[i] if self.networks else None
        address = network.outside if network else "127.0.0.1"
        url = f"http://{address}:{self.wire.listen(address, who)}"
        handlers = {"work": {"version": "1", "isolation": "none",
                             "command": [str(self.options.build.resolve() / "test" / "chaos" / "chaos-handler"), str(self.folder / f"{who}.stamps")]}}
        self.workers.append(ChaosWorker(self.folder, who, environment, url, handlers, SLOTS, self.history, network))

    # --- its life ---

    def run(self):
        self.build()
        self.disturb()
        self.measure()
        self.finish()

    def disturb(self):
        common = (self.options.lease, self.missing)
        self.actors = [ServerActor(self.server, self.disk, self.folder, self.tally, random.Random(f"{self.seed} server"), common[0],
                                   ServerActor.WEIGHTS, common[1], 2.0)]
        for worker in self.workers:
            self.actors.append(WorkerActor(worker, self.wire, self.folder, self.tally, random.Random(f"{self.seed} {worker.who}"), common[0],
                                           WorkerActor.WEIGHTS, common[1], 0.6))
        for actor in self.actors:
            actor.start()
        end = time.monotonic() + self.options.seconds
        while time.monotonic() < end and not any(actor.failed for actor in self.actors):
            time.sleep(0.2)
        for actor in self.actors:
            actor.stop.set()
        for actor in self.actors:
            actor.join(60)
            if actor.failed or actor.is_alive():
                self.problems.append(f"harness: {type(actor).__name__}: {actor.failed or 'does not end'}")
        for worker in self.workers:
            worker.ensure()

    def measure(self):
        """How soon the jobs of a worker that was killed, and that nobody else disturbs, are given out again."""
        time.sleep(self.options.lease + 1)  # grace of what came before
        worker = self.dice.choice(self.workers)
        worker.kill_host()
        killed_us = self.history_now()
        lost = {job: attempt for job, (attempt, who) in list(self.wire.live.items()) if who == worker.who}
        self.tally.count("host kill")
        end = time.monotonic() + self.options.lease * 4
        times = {}
        while len(times) < len(lost) and time.monotonic() < end:
            time.sleep(0.05)
            for job, attempt in lost.items():
                later = [t for t, n, _ in self.wire.claims.get(job, ()) if n > attempt]
                if later:
                    times[job] = min(later)
        self.tally.recoveries += [(t - killed_us) / 1e6 / self.options.lease for t in times.values()]
        client = Client(self.server.url)
        for job in lost.keys() - times.keys():  # some had ended, which the worker was not told any more
            _, row = client("GET", f"/v1/jobs/{job}")
            if not row or row["status"] not in TERMINAL:
                self.tally.unclaimed += 1
        worker.launch()

    @staticmethod
    def history_now():
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000

    def finish(self):
        self.history.add("heal")
        self.load.stop()
        if not self.load.join(self.options.lease + 30):
            self.problems.append(f"not over after {self.options.lease + 30:.0f} s: {sorted(self.load.open)[:5]}")
            self.load.abandon()
        self.tally.server_recovery(self.server.recoveries)
        for worker in self.workers:
            worker.kill_host()
        self.look_at_all()
        for worker in self.workers:
            self.import_stamps(worker)
        self.history.add("end")

    # --- what is there at the end ---

    def look_at_all(self):
        client = Client(self.server.url, timeout=30)
        rows, cursor = [], None
        while True:
            status, page = client("GET", "/v1/jobs", params={"limit": 1000, **({"cursor": cursor} if cursor else {})})
            if status != 200:
                self.problems.append(f"the list of jobs is answered with {status}")
                return
            rows += page["jobs"]
            cursor = page["next_cursor"]
            if not cursor:
                break
        for row in rows:
            self.look_at_one(client, row["job_id"])
        self.tally.jobs += len(rows)

    def look_at_one(self, client, job):
        _, row = client("GET", f"/v1/jobs/{job}")
        _, outputs = client("GET", f"/v1/jobs/{job}/outputs")
        _, attempts = client("GET", f"/v1/jobs/{job}/attempts")
        if not row or outputs is None or attempts is None:
            self.problems.append(f"job {job} cannot be read")
            return
        verified = [self.verified(client, job, row, o) for o in outputs["outputs"]]
        self.history.add("final", **row_members(row), outputs=[v for v in verified if v])
        for attempt in attempts["attempts"]:
            self.history.add("attempt", job=job, attempt=attempt["attempt"], outcome=attempt["outcome"], who=attempt["worker_name"])
        self.tally.statuses[row["status"]] += 1
        self.tally.attempts += len(attempts["attempts"])
        if row["status"] == "success" and not outputs["outputs"]:
            self.problems.append(f"I7: {job} succeeded with nothing")

    def verified(self, client, job, row, output):
        """The output as its bytes are, None when they are not what was promised or not what the handler must have made of its input."""
        answer = client.session.get(client.url + output["url"], timeout=30)
        data = answer.content
        wanted = job.encode() + b"\n" + self.load.inputs.get(row["dedup_key"], b"")
        sha = hashlib.sha256(data).hexdigest()
        if answer.status_code != 200 or len(data) != output["size"] or sha != output["sha256"] or data != wanted:
            self.problems.append(f"I7: {job}'s '{output['name']}' is not what it should be")
            return None
        return {"name": output["name"], "size": len(data), "sha256": sha[:16]}

    def import_stamps(self, worker):
        stamps = list(stamps_read(self.folder / f"{worker.who}.stamps"))
        for event in process_events(stamps, worker.who):
            self.history.add(**event)
        self.tally.resumed(stamps)

    def close(self):
        if self.load:
            self.load.abandon()
        for actor in self.actors:
            actor.stop.set()
        for actor in self.actors:
            actor.join(20)
        for worker in self.workers:
            worker.network.heal() if worker.network else None
            worker.kill_host()
        if self.wire:
            self.wire.close()
        if self.server and self.server.popen.poll() is None:
            self.server.popen.send_signal(signal.SIGCONT)
            self.server.kill()
        if self.disk:
            self.disk.close()


__all__ = ["Round"]
