"""A Ceph cluster on this machine, made by hand from Debian's packages: what bench/peers.py compares with.

One monitor, one manager, three OSDs (BlueStore on sparse files) and, once asked for, one S3 gateway, as
processes of this one, on 127.0.0.1, in a folder of their own. Nothing of the system's is used or changed: no
service, no /etc/ceph. In the end all are killed by pid and the folder is removed: the data are thrown away
anyhow, and to end in order takes some of them more than ten seconds. bench/ceph_settings.py has the settings.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ceph_settings import (
    CAPS,
    COPIES,
    HOST,
    POOL,
    POOL_PGS,
    Place,
    conf_text,
    daemon_command,
    keyring_text,
)
from s3_endpoints import Endpoint

from replicast.cli.ports import free_ports

PROGRAMS = ("ceph", "ceph-mon", "ceph-mgr", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin")
PACKAGES = "ceph-osd ceph-mon ceph-mgr ceph-common radosgw python3-rados"
SYSTEM_PYTHON = "/usr/bin/python3"  # python3-rados is a module of the distribution's
START_SECONDS, LOOK_SECONDS = 120.0, 0.1
CONNECT_SECONDS = 30
LAST_LINES = 5


class CephFailed(Exception):
    """A daemon ended, or did not get ready."""


def lacking() -> str | None:
    """In one line what has to be installed; None: nothing."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    probe = [SYSTEM_PYTHON, "-c", "import rados"]
    if not missing and subprocess.run(probe, check=False, capture_output=True).returncode != 0:
        missing = ["python3-rados"]
    if not missing:
        return None
    command = f"apt-get install -y --no-install-recommends {PACKAGES}"
    return f"Ceph is needed, {missing[0]} is missing: run  {command}"


def version() -> str:
    """16.2.15, for example."""
    said = subprocess.run(["ceph", "--version"], check=True, stdout=subprocess.PIPE, text=True)
    return said.stdout.split()[2]


class CephCluster:
    """One that runs."""

    def __init__(self, folder: Path) -> None:
        ports = free_ports(HOST, 2, random.Random())
        self.place = Place(folder, str(uuid.uuid4()), *ports)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._secrets = secrets.token_hex(10), secrets.token_hex(20)

    def endpoint(self, name: str) -> Endpoint:
        """Of the gateway; CPU seconds are those of all daemons."""
        url = f"http://{HOST}:{self.place.gateway_port}"
        return Endpoint(name, url, *self._secrets, self.pids)

    def pids(self) -> list[int]:
        """Of all daemons."""
        return [process.pid for process in self._daemons.values()]

    def start(self) -> None:
        """Without the gateway: until all placement groups have all their copies."""
        place = self.place
        place.conf.write_text(conf_text(place))
        place.keyring.write_text(keyring_text(CAPS))
        monmap = place.folder / "monmap"
        address = f"[v2:{HOST}:{place.mon_port}/0]"
        self._run(*("monmaptool", "--create", "--fsid", place.fsid, "--addv", "a", address, monmap))
        conf = "-c", place.conf
        made = "--monmap", monmap, "--keyring", place.keyring
        self._run("ceph-mon", *conf, "-i", "a", "--mkfs", *made)
        self._start("mon.a")
        self._start("mgr.x")
        with ThreadPoolExecutor(COPIES) as threads:
            list(threads.map(self._make_osd, range(COPIES)))
        self._wait(lambda: self._ask("osd", "stat")["num_up_osds"] == COPIES, "OSDs")
        pgs = str(POOL_PGS)
        self._ceph("osd", "pool", "create", POOL, pgs, pgs, "replicated")
        self._ceph("osd", "pool", "application", "enable", POOL, "bench")
        self._wait(self._clean, "placement groups")

    def start_gateway(self) -> None:
        """With one user: until it answers and all placement groups have all their copies."""
        key_id, secret = self._secrets
        user = "--uid", "bench", "--display-name", "bench"
        keys = "--access-key", key_id, "--secret-key", secret
        who = "-n", "client.rgw", "-c", self.place.conf
        self._run("radosgw-admin", *who, "user", "create", *user, *keys)
        self._start("client.rgw")
        self._wait(self._listens, "the gateway")
        self._wait(self._clean, "placement groups")

    def stop(self) -> None:
        """By pid; what they stored is lost."""
        for process in self._daemons.values():
            process.kill()
        for process in self._daemons.values():
            process.wait()
        self._daemons.clear()

    def _make_osd(self, number: int) -> None:
        osd_uuid, daemon = str(uuid.uuid4()), f"osd.{number}"
        self._ceph("osd", "new", osd_uuid, str(number))
        self.place.data(daemon).mkdir()
        conf = "-c", self.place.conf
        self._run("ceph-osd", *conf, "-i", str(number), "--mkfs", "--osd-uuid", osd_uuid)
        self._start(daemon)

    def _start(self, daemon: str) -> None:
        self.place.data(daemon).mkdir(exist_ok=True)
        with self.place.log(f"{daemon}.out").open("wb") as out:
            # In a session of its own: Ctrl-C is for this process, which then ends it.
            self._daemons[daemon] = subprocess.Popen(
                daemon_command(self.place, daemon),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait(self, ready: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + START_SECONDS
        while not ready():
            for daemon, process in self._daemons.items():
                if process.poll() is not None:
                    raise CephFailed(f"{daemon} ended: {self._last_words(daemon)}")
            if time.monotonic() > end:
                raise CephFailed(f"{what} not ready within {START_SECONDS:g} s")
            time.sleep(LOOK_SECONDS)

    def _last_words(self, daemon: str) -> str:
        said = self.place.log(f"{daemon}.out").read_text(errors="replace").splitlines()
        return " / ".join(said[-LAST_LINES:])

    def _clean(self) -> bool:
        groups = self._ask("pg", "stat")["pg_summary"]
        states = {each["name"]: each["num"] for each in groups["num_pg_by_state"]}
        return set(states) == {"active+clean"} and groups["num_pgs"] >= POOL_PGS

    def _listens(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((HOST, self.place.gateway_port), CONNECT_SECONDS).close()
            return True
        return False

    def _ask(self, *command: str) -> Any:
        return json.loads(self._ceph(*command, "--format", "json"))

    def _ceph(self, *command: str) -> str:
        timeout = "--connect-timeout", str(CONNECT_SECONDS)
        return self._run("ceph", "-c", self.place.conf, *timeout, *command)

    def _run(self, *command: str | Path) -> str:
        environ = os.environ | {"CEPH_ARGS": ""}
        try:
            done = subprocess.run(
                command, env=environ, timeout=START_SECONDS, capture_output=True, text=True
            )
        except subprocess.TimeoutExpired as error:
            raise CephFailed(f"{command[0]} did not end: {error}") from None
        if done.returncode != 0:
            said = done.stderr.strip().splitlines()[-LAST_LINES:]
            raise CephFailed(f"{command[0]} ended with {done.returncode}: {' / '.join(said)}")
        return done.stdout


@contextlib.contextmanager
def ceph_cluster(with_gateway: bool) -> Iterator[CephCluster]:
    """A new one in a new folder; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="replicast-bench-") as folder:
        cluster = CephCluster(Path(folder))
        try:
            cluster.start()
            if with_gateway:
                cluster.start_gateway()
            yield cluster
        finally:
            cluster.stop()
