"""The units for systemd: correct, as hard as they can be, and without what would break sandboxes or end jobs."""
import configparser
import json
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import HAUL, TOP

UNITS = ["haul-server.service", "haul-server@.service", "haul-worker.service"]
THRESHOLD = {"haul-server.service": 12, "haul-server@.service": 12, "haul-worker.service": 55}  # tenths of what `systemd-analyze security` says

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")


def unit_file(name, folder):
    """The unit as it is installed, but for the path of the program. One of several servers is made from the server's."""
    text = (TOP / "packaging" / "systemd" / f"{name.replace('@', '')}.in").read_text()
    text = text.replace("@instance@", "-%i" if "@" in name else "").replace("@of@", " %i" if "@" in name else "")
    assert text.count("@bindir@/haul") == 1
    path = folder / name
    path.write_text(text.replace("@bindir@/haul", str(HAUL)))
    return path


@pytest.fixture(params=UNITS)
def unit(request, tmp_path):
    return unit_file(request.param, tmp_path)


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", "--no-pager", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"})


def settings(unit):
    """What is set, each key with its last value."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(unit)
    return parser["Service"]


def test_unit_verifies_without_a_word(unit):
    answer = analyze("verify", "--man=no", unit)
    about_it = [line for line in (answer.stdout + answer.stderr).splitlines() if unit.name in line]
    assert (answer.returncode, about_it) == (0, [])


def test_verify_would_see_a_mistake(unit):
    unit.write_text(unit.read_text().replace("Restart=always", "Restart=allways"))
    answer = analyze("verify", "--man=no", unit)
    assert "allways" in answer.stdout + answer.stderr


def test_unit_is_hardened(unit):
    answer = analyze("security", "--offline=true", f"--threshold={THRESHOLD[unit.name]}", unit)
    level = re.search(r"Overall exposure level.*", answer.stdout)
    assert answer.returncode == 0, level and level[0]


def test_units_restart_and_run_as_users_that_sysusers_makes(unit):
    s = settings(unit)
    users = re.findall(r"^u (\S+)", (TOP / "packaging" / "systemd" / "haul.sysusers").read_text(), re.M)
    assert s["User"] in users and s["Restart"] == "always"
    folder = f"/var/lib/{s['StateDirectory']}"
    assert folder in s["ExecStart"].split()


def test_P05_stopping_the_workers_unit_leaves_its_jobs_and_sandboxes_alone(tmp_path):
    s = settings(unit_file("haul-worker.service", tmp_path))
    assert (s["KillMode"], s["Delegate"], s["OOMPolicy"]) == ("process", "yes", "continue")
    breaks_bubblewrap = {"ProtectKernelTunables", "ProtectKernelLogs", "ProtectProc", "ProcSubset", "ProtectControlGroups",
                         "RestrictNamespaces", "PrivateUsers", "ProtectHostname", "SystemCallFilter", "RestrictSUIDSGID"}
    breaks_jobs = {"PrivateTmp", "MemoryDenyWriteExecute", "PrivateDevices", "DynamicUser", "RuntimeDirectory"}
    assert not set(s) & (breaks_bubblewrap | breaks_jobs)


def test_units_users_and_handlers_are_installed():
    build = HAUL.parent
    if not (build / "build.ninja").exists() or not shutil.which("meson"):
        pytest.skip("the binary lies in no build folder")
    plan = json.loads(subprocess.run(["meson", "introspect", "--installed", build], capture_output=True, text=True,
                                     check=True).stdout)
    ends = [str(pathlib.PurePath(p)) for p in plan.values()]
    for wanted in ["bin/haul", *(f"lib/systemd/system/{u}" for u in UNITS), "lib/sysusers.d/haul.conf",
                   "share/haul/handlers/handlers.yaml", "share/haul/handlers/transcode_v1",
                   "share/haul/handlers/verify_transcode",
                   *("share/haul/" + str(path.relative_to(TOP)) for path in (TOP / "handlers" / "transcode").glob("*.py"))]:
        assert any(p.endswith("/" + wanted) for p in ends), wanted
    for name in UNITS:
        assert "/bin/haul " in (build / "packaging" / name).read_text()
