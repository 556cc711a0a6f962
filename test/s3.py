"""An S3 server of a test's own, which checks signatures: OpenStack Swift with its s3api, on a folder and free ports; ended with the test.

    s3.py PROGRAM ARGS...    runs a program with HAUL_TEST_S3 set to a bucket's URL, and credentials in AWS_...; 77 where Swift is missing
"""
import contextlib
import ctypes
import importlib.util
import os
import pathlib
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

KEY_ID, SECRET, REGION = "test:tester", "testing", "us-east-1"
STORAGE = ("account", "container", "object")
PROXY = """
[DEFAULT]
user = {user}
swift_dir = {dir}
workers = 0
log_level = ERROR
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache bulk s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
log_level = ERROR
conn_timeout = 5
node_timeout = 60
recoverable_node_timeout = 60
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
min_segment_size = 5242880
storage_domain = s3.localhost
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
[filter:dlo]
use = egg:swift#dlo
"""
SERVER = """
[DEFAULT]
user = {user}
swift_dir = {dir}
devices = {dir}/devices
mount_check = false
workers = 0
log_level = ERROR
fallocate_reserve = 0
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
log_level = ERROR
"""


def _extended_attributes(folder):
    """Swift keeps what it knows of an object in them."""
    probe = pathlib.Path(folder) / "probe"
    probe.touch()
    with contextlib.suppress(OSError):
        os.setxattr(probe, b"user.haul", b"x")
        return True
    return False


def missing():
    """Why there is no S3 server here; None: there is."""
    if not pathlib.Path("/usr/bin/swift-proxy-server").exists() or not shutil.which("memcached"):
        return "Swift (swift-proxy, swift-account, swift-container, swift-object) or memcached is not installed"
    with tempfile.TemporaryDirectory(prefix="haul-s3-", dir="/tmp") as folder:
        return None if _extended_attributes(folder) else "/tmp has no extended attributes, which Swift needs"


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _ring(folder, kind, port):
    from swift.common.ring import RingBuilder  # pylint: disable=import-outside-toplevel,import-error
    builder = RingBuilder(2, 1, 0)
    builder.add_dev({"id": 0, "region": 1, "zone": 1, "weight": 1.0, "ip": "127.0.0.1", "port": port, "device": "d1",
                     "replication_ip": "127.0.0.1", "replication_port": port, "meta": ""})
    builder.rebalance(seed="1")
    builder.get_ring().save(str(folder / f"{kind}.ring.gz"))


def _run_server(folder, kind, sock):
    from swift.common import wsgi  # pylint: disable=import-outside-toplevel,import-error
    from swift.common.utils import get_logger  # pylint: disable=import-outside-toplevel,import-error
    path = str(folder / f"{kind}.conf")
    conf = wsgi.appconfig(path, name=f"{kind}-server")
    wsgi.run_server(conf, get_logger(conf, log_to_console=True), sock, global_conf={"log_name": kind})


def serve(folder):
    """In a process of its own: three storage servers as children, the proxy itself. Prints the proxy's port."""
    import eventlet  # pylint: disable=import-outside-toplevel,import-error
    import swift.common.utils  # pylint: disable=import-outside-toplevel,import-error
    user = pwd.getpwuid(os.geteuid()).pw_name
    (folder / "devices" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_suffix = haul\n[storage-policy:0]\nname = one\ndefault = yes\n"
                                       "[swift-constraints]\nmax_header_size = 16384\n")
    swift.common.utils.SWIFT_CONF_FILE = str(folder / "swift.conf")  # else the machine's
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        memcached = probe.getsockname()[1]
    subprocess.Popen(["memcached", "-u", user, "-l", "127.0.0.1", "-p", str(memcached), "-m", "16"], preexec_fn=_die_with_parent,
                     stdin=subprocess.DEVNULL)
    socks = {kind: eventlet.listen(("127.0.0.1", 0), backlog=512) for kind in (*STORAGE, "proxy")}
    for kind in STORAGE:
        _ring(folder, kind, socks[kind].getsockname()[1])
        (folder / f"{kind}.conf").write_text(SERVER.format(kind=kind, dir=folder, user=user))
    (folder / "proxy.conf").write_text(PROXY.format(dir=folder, user=user, memcached=memcached))
    for kind in STORAGE:
        if os.fork() == 0:
            _die_with_parent()
            _run_server(folder, kind, socks[kind])
            os._exit(0)
    print(socks["proxy"].getsockname()[1], flush=True)
    _run_server(folder, "proxy", socks["proxy"])


class S3:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="haul-s3-", dir="/tmp"))
        self.log = self.dir / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(["/usr/bin/python3", __file__, "--serve", self.dir], stdout=subprocess.PIPE, stderr=log,
                                            stdin=subprocess.DEVNULL, start_new_session=True)
        line = self.process.stdout.readline()
        if not line:
            said = self.log.read_text(errors="replace")
            self.remove()
            raise RuntimeError(said)
        self.port = int(line)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.env = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET}

    def client(self, endpoint=None):
        """Somebody else's."""
        import boto3  # pylint: disable=import-outside-toplevel,import-error
        from botocore.config import Config  # pylint: disable=import-outside-toplevel,import-error
        return boto3.client("s3", endpoint_url=endpoint or self.endpoint, aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET,
                            region_name=REGION, config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 8}))

    def make_bucket(self, name):
        self.client().create_bucket(Bucket=name)
        return self.url(name)

    def url(self, bucket, prefix="", endpoint=None, more=""):
        return f"s3://{bucket}/{prefix}?endpoint={endpoint or self.endpoint}&region={REGION}&style=path{more}"

    def remove(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    if len(sys.argv) > 2 and sys.argv[1] == "--serve":
        serve(pathlib.Path(sys.argv[2]))
        return 0
    why = missing()
    if why:
        print(why)
        return 77
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a time limit of the caller's: what was started goes, too
    server = S3()
    try:
        url = server.make_bucket("haul-test")
        return subprocess.run(sys.argv[1:], env={**os.environ, **server.env, "HAUL_TEST_S3": url}, check=False).returncode
    finally:
        server.remove()


if __name__ == "__main__":
    sys.exit(main())
