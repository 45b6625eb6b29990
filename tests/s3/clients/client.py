"""What every client under test can do; one file for each says how."""

from __future__ import annotations

import os
import shutil
import subprocess
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from replicast.cli.s3_access import S3Access

COMMAND_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Site:
    """Where a client works: endpoint and keys, a bucket of its own, a scratch folder."""

    access: S3Access
    bucket: str
    folder: Path
    environment: Path | None  # of environments.py, where the client has one

    @property
    def address(self) -> str:
        """host:port."""
        return self.access.endpoint.removeprefix("http://")


class Client(ABC):
    """One client. `makes_bucket`: it can; `multipart`: it sends the large file in parts;
    `keys`: it stores each file under its name."""

    environment: ClassVar[str] = ""
    programs: ClassVar[tuple[str, ...]] = ()
    makes_bucket: ClassVar[bool] = True
    multipart: ClassVar[bool] = True
    keys: ClassVar[bool] = True

    def __init__(self, site: Site) -> None:
        self.site = site
        self.home = site.folder / "home"
        self.home.mkdir()

    @classmethod
    def missing(cls) -> str | None:
        """What this machine lacks for it; an environment is no part of that."""
        lacking = [f"no `{name}` command" for name in cls.programs if shutil.which(name) is None]
        return ", ".join(lacking) or None

    @abstractmethod
    def version(self) -> str:
        """As it says it."""

    def make_bucket(self) -> None:  # noqa: B027  # some have nothing to make
        """Make the bucket, and what the client keeps in one."""

    @abstractmethod
    def upload(self, tree: Path) -> None:
        """All files under `tree`; some may be there from an upload before."""

    @abstractmethod
    def listing(self) -> dict[str, int]:
        """Names of files and their bytes."""

    @abstractmethod
    def download(self, into: Path) -> None:
        """Everything, to a folder that is new."""

    @abstractmethod
    def delete(self, tree: Path, name: str) -> None:
        """One file, which `tree` has no more."""

    @abstractmethod
    def clear(self) -> None:
        """All that is left, in the client's own way; the bucket, too, where it can."""

    def close(self) -> None:  # noqa: B027  # few leave anything open
        """Called at the end, whatever happened."""

    def run(self, *command: str | Path, within: Path | None = None, **environ: str) -> str:
        """Run a command that must succeed, in a folder; its output. It sees no settings of this machine: other
        keys, proxies and authorities (with one, Debian's rclone says 'unsupported transport')."""
        done = subprocess.run(
            command,
            capture_output=True,
            timeout=COMMAND_SECONDS,
            env=self._environ() | environ,
            cwd=within or self.site.folder,
            check=False,
        )
        said = done.stdout.decode()
        assert done.returncode == 0, (command, done.returncode, said, done.stderr.decode())
        return said

    def _environ(self) -> dict[str, str]:
        path = os.environ["PATH"]
        if self.site.environment is not None:
            path = f"{self.site.environment / 'bin'}:{path}"
        return {
            "PATH": path,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.site.folder),
        }

    def keys_environ(self) -> dict[str, str]:
        """As `replicast env --s3` says it."""
        return self.site.access.environment()
