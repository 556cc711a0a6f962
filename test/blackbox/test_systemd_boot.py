"""A real systemd, PID 1 of namespaces of its own, runs the installed units: hardening and sandboxes get along, and what the worker's unit
promises holds. Needs root; whatever is made is gone with the namespaces."""
import json
import os
import pathlib
import shutil
import subprocess

import pytest
from conftest import HAUL, TOP, processes, until

SYSTEMD = "/lib/systemd/systemd"
BOOT = r"""
set -e
echo $$ > "$1/cgroup.procs"
exec unshare --cgroup --pid --fork --kill-child --mount --uts --ipc --net /bin/sh -ec '
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
cp /etc/passwd /etc/group /run/
for user in haul:64995 haul-worker:64994; do
    id=${user#*:} name=${user%%:*}
    echo "$name:x:$id:$id::/var/lib/$name:/bin/false" >> /run/passwd; echo "$name:x:$id:" >> /run/group
done
mount --bind /run/passwd /etc/passwd
mount --bind /run/group /etc/group
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /opt
cp -a "$1"/opt/. /opt/
if [ "$2" = v2 ]; then
    mount -t cgroup2 none /sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
fi
export container=other SYSTEMD_UNIT_PATH="$1/units"
exec """ + SYSTEMD + r""" --system --unit=haul-test.target --show-status=no --log-target=null
' sh "$2" "$3"
"""
HANDLERS = """
handlers:
  boxed: {command: [/bin/sh, -c, "id -u; while [ ! -e in/go ]; do sleep 0.1; done; echo made > out/result"]}
"""


def cgroup():
    """Where a group for the test can be made, and of which version; None where there is no such place."""
    for folder, version in (("/sys/fs/cgroup/systemd", "v1"), ("/sys/fs/cgroup", "v2")):
        if os.access(f"{folder}/cgroup.procs", os.W_OK):
            return pathlib.Path(folder) / f"haul-test-{os.getpid()}", version
    return None, None


def lay_out(folder):
    """Units, program and handlers, as an installation has them but for the program's place; the logs go to files."""
    (folder / "units").mkdir()
    (folder / "opt").mkdir()
    shutil.copy2(HAUL, folder / "opt" / "haul")
    (folder / "opt" / "handlers.yaml").write_text(HANDLERS)
    for name in ("server", "worker"):
        text = (TOP / "packaging" / "systemd" / f"haul-{name}.service.in").read_text().replace("@bindir@", "/opt")
        text = text.replace("Type=exec", f"Type=exec\nStandardOutput=append:/run/{name}.log\nStandardError=append:/run/{name}.log")
        (folder / "units" / f"haul-{name}.service").write_text(text.replace("haul worker", "haul worker --handlers /opt/handlers.yaml"))
    for target in ("haul-test", "sysinit", "basic", "shutdown", "network-online", "umount"):
        wants = "Wants=haul-server.service haul-worker.service\n" if target == "haul-test" else ""
        (folder / "units" / f"{target}.target").write_text(f"[Unit]\nDescription={target}\nDefaultDependencies=no\n{wants}")


class Machine:
    def __init__(self, folder):
        self.folder = folder
        self.cgroup, version = cgroup()
        self.cgroup.mkdir()
        self.popen = subprocess.Popen(["/bin/sh", "-c", BOOT, "sh", self.cgroup, folder, version], stdin=subprocess.DEVNULL,
                                      stdout=open(folder / "boot.log", "wb"), stderr=subprocess.STDOUT)

    @property
    def init(self):
        return next((pid for pid, parent, *_ in processes() if parent == self.popen.pid), None)

    def run(self, *command):
        """Inside; what it says, or None when it fails."""
        answer = subprocess.run(["nsenter", "-t", str(self.init), "-m", "-p", "-i", "-u", "-n", "--", *command],
                                capture_output=True, text=True, timeout=50)
        return answer.stdout if answer.returncode == 0 else None

    def file(self, path):
        return pathlib.Path(f"/proc/{self.init}/root{path}")

    def haul(self, *command):
        said = self.run("/opt/haul", *command, "--json")
        return json.loads(said) if said else None

    def stop(self):
        init = self.init
        self.popen.kill()
        self.popen.wait()
        until(lambda: init not in [pid for pid, *_ in processes()])
        until(self.cgroup_removed)

    def cgroup_removed(self):
        for folder, *_ in os.walk(self.cgroup, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                return False
        return True


@pytest.fixture
def machine(tmp_path):
    if os.geteuid() != 0 or not os.path.exists(SYSTEMD) or not shutil.which("nsenter"):
        pytest.skip("needs root, systemd and nsenter")
    if not cgroup()[0]:
        pytest.skip("no cgroup of ours can be made here")
    if b"libasan" in (linked := subprocess.run(["ldd", HAUL], capture_output=True).stdout) or b"libtsan" in linked:
        pytest.skip("sanitizers need what the server's unit takes away")
    lay_out(tmp_path)
    machine = Machine(tmp_path)
    try:
        until(lambda: machine.popen.poll() is not None or (machine.init and machine.run("systemctl", "list-jobs") is not None), 20)
        if machine.popen.poll() is not None:
            pytest.skip(f"systemd cannot be booted here: {(tmp_path / 'boot.log').read_text()[-300:]}")
        yield machine
        for name in ("server", "worker"):
            log = machine.file(f"/run/{name}.log")
            print(f"--- {name}\n{log.read_text() if log.exists() else machine.run('systemctl', 'status', f'haul-{name}')}")
    finally:
        machine.stop()


def test_P05_units_run_a_sandboxed_job_through_restarts_and_kills_of_both(machine):
    def both_up():
        """both units are active and the worker polls"""
        return machine.run("systemctl", "is-active", "haul-server", "haul-worker") == "active\nactive\n" and (
            "isolation: namespaces" in machine.file("/run/worker.log").read_text())
    until(both_up)
    job_id = until(lambda: machine.haul("submit", "boxed"))["job_id"]
    until(lambda: (machine.run("/opt/haul", "jobs", "log", job_id) or "").startswith("64994"))

    def jobs():
        status = machine.haul("worker", "status", "--state", "/var/lib/haul-worker")
        return [(j["job_id"], j["attempt"], j["state"]) for j in status["jobs"]]
    assert machine.run("systemctl", "stop", "haul-worker") is not None
    assert jobs() == [(job_id, 1, "running")]
    assert machine.run("systemctl", "start", "haul-worker") is not None
    until(lambda: "found a running job" in machine.file("/run/worker.log").read_text())
    for unit in ("haul-worker", "haul-server"):
        assert machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=main", unit) is not None
        until(lambda: int((machine.run("systemctl", "show", "-P", "NRestarts", unit) or "0")) == 1)
        until(lambda: machine.run("systemctl", "is-active", unit) == "active\n")
    assert machine.run("systemctl", "restart", "haul-server") is not None
    assert jobs() == [(job_id, 1, "running")]

    machine.file(f"/var/lib/haul-worker/attempts/{job_id}-1/scratch/in/go").touch()
    job = until(lambda: (j := machine.haul("jobs", "show", job_id)) and j["status"] == "success" and j)
    assert (job["attempt"], job["losses"], job["interruptions"]) == (1, 0, 0)
    until(lambda: jobs() == [])
