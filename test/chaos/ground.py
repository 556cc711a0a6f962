"""What a run stands on that needs root: a disk whose power can be cut, and for each worker a network of its own. Their names carry the
process id of the run, so that what a killed one left is found and cleared away by the next."""
import errno
import fcntl
import glob
import os
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import time

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
LOGFLUSH, NOLOGFLUSH = 1, 2     # with what is in the journal's memory, or without
NAMES = "haul-chaos"


def run(*command, stdin=None, check=True):
    return subprocess.run([str(c) for c in command], input=stdin, text=True, capture_output=True, check=check)


def works(*command):
    try:
        return run(*command, check=False).returncode == 0
    except OSError:
        return False


class Disk:
    """An ext4 on a loop device, in a file of `size_mib`, mounted on `folder`/disk."""

    def __init__(self, folder, size_mib=192):
        self.image, self.path = folder / "disk.img", folder / "disk"
        self.path.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(size_mib << 20)
        run("mkfs.ext4", "-q", "-F", "-O", "^metadata_csum_seed", self.image)
        self.mount()

    def mount(self):
        run("mount", "-o", "loop", self.image, self.path)

    def umount(self):
        """Until nobody has it any more: a sandbox that is being made may hold a copy of all mounts for a moment."""
        end = time.monotonic() + 20
        while os.path.ismount(self.path) and not works("umount", self.path) or run("losetup", "-j", self.image).stdout:
            if time.monotonic() > end:
                raise RuntimeError(f"{self.path} cannot be unmounted")
            time.sleep(0.02)

    def cut(self, flags):
        """From here on nothing reaches the disk; what was not there is gone once it is mounted again."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", flags))
        finally:
            os.close(fd)

    def close(self):
        works("umount", "-l", self.path)
        self.image.unlink(missing_ok=True)


def fill(folder):
    """Takes every byte that is left; the file that holds them."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:  # what a buffer kept of a write that failed would fail the close
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return path


RULES = {"drop": ("drop", "drop"), "drop in": ("drop", "accept"), "drop out": ("accept", "drop"),
         "reset": ("meta l4proto tcp reject with tcp reset",) * 2, "loss": ("numgen random mod 100 < 30 drop",) * 2}


class Network:
    """A namespace and a pair of interfaces: the worker inside at .2, its way to the server outside at .1."""

    def __init__(self, number):
        self.name = f"{NAMES}-{os.getpid()}-{number}"
        tag = f"hc{os.getpid()}"
        base = os.getpid() % 4096 * 32 + number * 4  # of 198.18.0.0/15, which is for tests of networks
        net = f"198.{18 + (base >> 16)}.{base >> 8 & 255}"
        self.outside, inside = f"{net}.{base % 256 + 1}", f"{net}.{base % 256 + 2}"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", f"{tag}o{number}", "type", "veth", "peer", "name", f"{tag}i{number}", "netns", self.name)
        run("ip", "addr", "add", f"{self.outside}/30", "dev", f"{tag}o{number}")
        run("ip", "link", "set", f"{tag}o{number}", "up")
        run("ip", "-n", self.name, "addr", "add", f"{inside}/30", "dev", f"{tag}i{number}")
        run("ip", "-n", self.name, "link", "set", f"{tag}i{number}", "up")
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        self.prefix = ("nsenter", f"--net=/run/netns/{self.name}")

    def cut(self, kind):
        arrives, leaves = RULES[kind]
        run(*self.prefix, "nft", "-f", "-", stdin="table inet chaos {\n"
            f"chain arrives {{ type filter hook input priority 0; {arrives}; }}\nchain leaves {{ type filter hook output priority 0; {leaves}; }}\n}}\n")

    def heal(self):
        run(*self.prefix, "nft", "delete", "table", "inet", "chaos", check=False)

    def close(self):
        run("ip", "netns", "del", self.name, check=False)  # its interfaces and tables go with it


def missing():
    """kind of ground -> why it is not to be had here."""
    why = {}
    root = os.geteuid() == 0
    for tool, what in (("strace", "strace"), ("nft", "network"), ("ip", "network"), ("nsenter", "network"), ("mkfs.ext4", "disk"), ("mount", "disk"),
                       ("prlimit", "descriptors")):
        if not shutil.which(tool):
            why[what] = f"no {tool}"
    if not root:
        why.update(dict.fromkeys(("network", "disk", "strace", "sight"), "needs root"))  # sight: of what a sandbox's init hides
    if not faketime():
        why["clock"] = "no libfaketime"
    if "network" not in why and not works("ip", "netns", "list"):
        why["network"] = "no network namespaces"
    if "disk" not in why and not works("losetup", "--find"):
        why["disk"] = "no loop devices"
    return why


def faketime():
    return next(iter(sorted(glob.glob("/usr/lib/*/faketime/libfaketime.so.1"))), None)


def enter():
    """Root's mounts, those of networks too, are seen by this process and its children only: so they end with them, however they end, and no
    other's namespace holds a disk that is to lose its power."""
    if os.geteuid() == 0 and shutil.which("unshare") and "HAUL_CHAOS_INSIDE" not in os.environ:
        os.environ["HAUL_CHAOS_INSIDE"] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv])


def forget_clocks():
    """What libfaketime leaves of processes that were killed: it would pile up, and a lock among it hang the next process of that number."""
    for path in (*pathlib.Path("/dev/shm").glob("faketime_shm_*"), *pathlib.Path("/dev/shm").glob("sem.faketime_sem_*")):
        if not os.path.exists(f"/proc/{path.name.rpartition('_')[2]}") and os.access(path, os.W_OK):
            path.unlink(missing_ok=True)


def leftovers(parent):
    """Clears away what is left of runs that were killed."""
    forget_clocks()
    for path in pathlib.Path("/run/netns").glob(f"{NAMES}-*"):
        if (found := re.fullmatch(NAMES + r"-(\d+)-\d+", path.name)) and not os.path.exists(f"/proc/{found[1]}") and os.access(path, os.W_OK):
            path.unlink()
    for folder in parent.glob(f"{NAMES}-*"):
        found = re.fullmatch(NAMES + r"-(\d+)", folder.name)
        if not found or os.path.exists(f"/proc/{found[1]}"):
            continue
        shutil.rmtree(folder, ignore_errors=True)
