"""What every test may ask for: `require(capability)`.

Some tests need more of a machine than Python: namespaces, multicast, the compiled modules, loop
mounts, other programs. Where one is missing they skip; where REPLICAST_REQUIRE names it (comma
separated, or `all`) they fail instead, so that a run that should prove something cannot pass by
skipping it.

Property tests draw the same examples at every run and know no deadline: a run says whether this
commit is right, not how lucky or how busy the machine was. REPLICAST_EXPLORE=1 (`make explore`)
draws new ones, and keeps those that failed in .hypothesis.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import HealthCheck, settings

EXPLORE = "REPLICAST_EXPLORE"
UNTIMED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("same", derandomize=True, database=None, **UNTIMED)
settings.register_profile("explore", **UNTIMED)
settings.load_profile("explore" if os.environ.get(EXPLORE) else "same")

# A shell has what it starts in the background ignore Ctrl-C, which the programs that tests interrupt
# would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REQUIRE = "REPLICAST_REQUIRE"
PROBE_SECONDS = 20
PROBE_GROUP = "239.192.255.254"


def _runs(*command: str) -> bool:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=PROBE_SECONDS, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _missing_netns() -> str | None:
    if shutil.which("ip") is None:
        return "no `ip` command"
    name = f"rcprobe{os.getpid()}x{secrets.token_hex(3)}"
    if not _runs("ip", "netns", "add", name):
        return "network namespaces cannot be made (not root?)"
    inside = ("ip", "-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1")
    made = _runs(*inside)
    _runs("ip", "netns", "del", name)
    return None if made else "veth pairs cannot be made"


def _missing_tap() -> str | None:
    """A TAP interface, for a network in user space."""
    name = f"rcp{os.getpid()}"
    made = _runs("ip", "tuntap", "add", "name", name, "mode", "tap")
    _runs("ip", "link", "del", name)
    return None if made else "TAP interfaces cannot be made"


def _missing_packet_filter() -> str | None:
    return None if _runs("nft", "list", "tables") else "no working `nft` command"


def _missing_multicast() -> str | None:
    """Does a datagram to a group come back over the loopback interface?"""
    interface = socket.inet_aton("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(2)
        try:
            probe.bind((PROBE_GROUP, 0))
            membership = socket.inet_aton(PROBE_GROUP) + interface
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            probe.sendto(b"probe", probe.getsockname())
            return None if probe.recv(16) == b"probe" else "a stranger answered"
        except OSError as error:
            return f"multicast on loopback: {error}"


def _missing_native() -> str | None:
    from replicast.cli.extensions import require_native
    from replicast.errors import InvalidRequest
    from replicast.native import PURE

    if PURE:
        return "REPLICAST_PURE is set"
    try:
        require_native()
    except InvalidRequest as error:
        return str(error)
    return None


def _missing_loop_mount() -> str | None:
    if shutil.which("mkfs.ext4") is None:
        return "no mkfs.ext4"
    with tempfile.TemporaryDirectory() as folder:
        image, place = Path(folder) / "image", Path(folder) / "mounted"
        place.mkdir()
        with open(image, "wb") as file:
            file.truncate(4 << 20)
        if not _runs("mkfs.ext4", "-q", str(image)):
            return "mkfs.ext4 fails"
        if not _runs("mount", "-o", "loop", str(image), str(place)):
            return "loop devices cannot be mounted"
        _runs("umount", str(place))
    return None


PROBES: dict[str, Callable[[], str | None]] = {
    "netns": _missing_netns,
    "tap": _missing_tap,
    "nft": _missing_packet_filter,
    "multicast": _missing_multicast,
    "native": _missing_native,
    "loopmount": _missing_loop_mount,
    "strace": lambda: None if _runs("strace", "-f", "true") else "strace cannot trace",
}


def _program_missing(name: str) -> str | None:
    return None if shutil.which(name) else f"no `{name}` command"


def go_without(capability: str, missing: str) -> NoReturn:
    """Skip the test, or fail it where REPLICAST_REQUIRE demands the capability."""
    demanded = os.environ.get(REQUIRE, "").replace(" ", "").split(",")
    if capability in demanded or "all" in demanded:
        pytest.fail(f"{REQUIRE} demands {capability}: {missing}", pytrace=False)
    pytest.skip(f"{capability}: {missing}")


@pytest.fixture(scope="session")
def require() -> Callable[[str], None]:
    """require("netns"): go on where the machine can do it; else skip, or fail when demanded.

    A name that is not in PROBES is a program that has to be in PATH.
    """
    known: dict[str, str | None] = {}

    def ask(capability: str) -> None:
        if capability not in known:
            probe = PROBES.get(capability, lambda: _program_missing(capability))
            known[capability] = probe()
        missing = known[capability]
        if missing is not None:
            go_without(capability, missing)

    return ask
