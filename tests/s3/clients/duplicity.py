"""duplicity, Debian's: full and incremental backups as volumes of tar, by boto3."""

from __future__ import annotations

from pathlib import Path

from . import tree as trees
from .client import Client

VOLUME_MB, PART_MIB = "25", "5"


class Duplicity(Client):
    """Each step has an archive folder of its own, so that it reads the catalogues from the bucket."""

    programs = ("duplicity",)
    makes_bucket = False
    keys = False
    _steps = 0

    def duplicity(self, *command: str | Path) -> str:
        self._steps += 1
        return self.run(
            *("/usr/bin/duplicity", *command, "--no-encryption"),
            *("--archive-dir", self.home / f"archive{self._steps}"),
            *("--s3-endpoint-url", self.site.access.endpoint),
            *("--volsize", VOLUME_MB, "--s3-multipart-chunk-size", PART_MIB),
            *("--num-retries", "1"),
            **self.keys_environ(),
        )

    @property
    def url(self) -> str:
        return f"boto3+s3://{self.site.bucket}/backups"

    def version(self) -> str:
        return self.run("/usr/bin/duplicity", "--version").strip()

    def upload(self, tree: Path) -> None:
        """The first is a full one, the next has what changed."""
        self.duplicity(tree, self.url)
        self.duplicity("verify", "--compare-data", self.url, tree)

    def listing(self) -> dict[str, int]:
        """It lists no sizes: they are those of the files it restores."""
        into = self.site.folder / f"listed{self._steps}"
        self.download(into)
        found = trees.sizes(into)
        said = self.duplicity("list-current-files", self.url)
        assert all(any(line.endswith(f" {name}") for line in said.splitlines()) for name in found)
        return found

    def download(self, into: Path) -> None:
        self.duplicity("restore", self.url, into)

    def delete(self, tree: Path, name: str) -> None:
        self.duplicity("full", tree, self.url)
        self.duplicity("remove-all-but-n-full", "1", "--force", self.url)

    def clear(self) -> None:
        """One full backup stays: it removes no last one."""
        self.duplicity("remove-older-than", "now", "--force", self.url)
