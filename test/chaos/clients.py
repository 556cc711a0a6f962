"""The load: clients that submit with a key until they are answered, follow what they submitted, and cancel some; each writes down what it saw."""
import random
import threading
import uuid

import requests
from history import boot_us

TERMINAL = {"success", "failed", "cancelled"}


class Client:
    """Asks a server that may be gone at any moment."""

    def __init__(self, url, timeout=5):
        self.url, self.timeout = url, timeout
        self.session = requests.Session()

    def __call__(self, method, path, **kwargs):
        """(status, JSON), both None where there was no answer."""
        try:
            answer = self.session.request(method, self.url + path, timeout=self.timeout, **kwargs)
            body = answer.json() if "json" in answer.headers.get("Content-Type", "") else None
        except (requests.RequestException, ValueError):
            self.session.close()
            self.session = requests.Session()
            return None, None
        return answer.status_code, body if isinstance(body, dict) else None


class Load:
    """Keeps about `depth` jobs on their way until stop() is called; `sent`: key -> what was asked, `jobs`: id -> key, of those answered."""

    def __init__(self, server, history, seed, depth, clients=3):
        self.server, self.history, self.depth = server, history, depth
        self.lock, self.stopped, self.quiet = threading.Lock(), threading.Event(), threading.Event()
        self.sent, self.jobs, self.open, self.inputs = {}, {}, {}, {}
        self.submitting = 0
        self.threads = [threading.Thread(target=self.submit_all, args=(random.Random(f"{seed} client {i}"), i), daemon=True) for i in range(clients)]
        self.threads.append(threading.Thread(target=self.follow_all, args=(random.Random(f"{seed} follower"),), daemon=True))
        for thread in self.threads:
            thread.start()

    def stop(self):
        """No new ones; what is unknown is asked until it is known, and what is known is followed to its end."""
        self.quiet.set()

    def join(self, timeout):
        """Everything that was submitted has come to its end, as far as anybody was told."""
        for thread in self.threads:
            thread.join(timeout)
        return not any(thread.is_alive() for thread in self.threads)

    def abandon(self):
        self.quiet.set()
        self.stopped.set()

    # --- submissions ---

    def room(self):
        with self.lock:
            if len(self.open) + self.submitting >= self.depth:
                return False
            self.submitting += 1
            return True

    def submit_all(self, dice, number):
        client, last = Client(self.server.url), None
        while not self.stopped.is_set() and not self.quiet.is_set():
            if not self.room():
                self.quiet.wait(0.05)
                continue
            try:
                if last and dice.random() < 0.1:
                    self.submit(client, *last)  # again, though it was answered: a client that forgot
                else:
                    last = self.ask(client, dice, number)
                    self.submit(client, *last)
            finally:
                with self.lock:
                    self.submitting -= 1

    def ask(self, client, dice, number):
        key = f"{number}-{uuid.UUID(int=dice.getrandbits(128)).hex[:16]}"
        body = {"task_type": "work", "max_attempts": 100, "dedup_key": key,
                "payload": {"steps": dice.choice((2, 5, 10, 20)), "fail": dice.choice((0,) * 8 + (1, 2))}}
        data = dice.randbytes(dice.choice((10, 5_000, 100_000))) if dice.random() < 0.25 else b""
        while data and not self.stopped.is_set():
            status, answer = client("POST", "/v1/blobs", data=data, headers={"Content-Type": "application/octet-stream"})
            if status == 201:
                body["inputs"] = [{"name": "data", "ref": answer["ref"]}]
                break
            self.stopped.wait(0.3)
        return key, body, data

    def submit(self, client, key, body, data):
        self.sent.setdefault(key, body)
        self.inputs[key] = data
        while not self.stopped.is_set():
            op = self.history.invoke("submit", key=key, max_attempts=body["max_attempts"])
            status, answer = client("POST", "/v1/jobs", json=body)
            job = (answer or {}).get("job_id") if status in (200, 201) else None
            self.history.answer("submit", op, status, answer, key=key, job=job)
            if job:
                with self.lock:
                    if job not in self.jobs:
                        self.jobs[job] = key
                        self.open[job] = {"seen_us": 0, "version": 0}
                return
            if status is not None and status < 500 and status != 429:
                raise RuntimeError(f"a submission was refused with {status}: {answer}")
            self.stopped.wait(0.3)

    # --- what becomes of them ---

    def follow_all(self, dice):
        client = Client(self.server.url)
        while not self.stopped.is_set():
            with self.lock:
                some, pending = list(self.open), self.submitting
            if not some and not pending and self.quiet.is_set() and not any(t.is_alive() for t in self.threads[:-1]):
                return
            for job in some:
                if self.stopped.is_set():
                    return
                self.look(client, job)
            if some and dice.random() < 0.02:
                self.cancel(client, dice.choice(some))
            self.stopped.wait(0.3)

    def look(self, client, job):
        asked_us = boot_us()
        status, row = client("GET", f"/v1/jobs/{job}")
        if status != 200 or not row:
            if status is None:
                self.stopped.wait(0.1)
            return
        known = self.open[job]
        if row["version"] != known["version"]:
            self.history.add("state", since_us=known["seen_us"], **row_members(row))
            self.history.add("news", job=job, version=row["version"], status=row["status"])
            known["version"] = row["version"]
        known["seen_us"] = asked_us
        if row["status"] in TERMINAL:
            with self.lock:
                self.open.pop(job, None)

    def cancel(self, client, job):
        op = self.history.invoke("cancel", job=job)
        status, answer = client("POST", f"/v1/jobs/{job}/cancel", json={})
        self.history.answer("cancel", op, status, answer, job=job, **({"status": answer["status"]} if status == 200 else {}))


def row_members(row):
    """A job as the API shows it -> members of `state` and `final`."""
    return {"job": row["job_id"], "key": row["dedup_key"], "cancel": int(bool(row["cancel_requested_at"])),
            **{k: row[k] for k in ("status", "attempt", "outcome", "retries", "losses", "interruptions", "max_attempts", "version")}}
