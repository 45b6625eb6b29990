"""restic, Debian's: encrypted backups, deduplicated by content, in packs."""

from __future__ import annotations

import json
from pathlib import Path

from .client import Client


class Restic(Client):
    """Packs of up to 16 MiB leave in one request each: its parts would begin at 200 MiB."""

    programs = ("restic",)
    multipart = False
    keys = False

    def restic(self, *command: str | Path, within: Path | None = None) -> str:
        keys = self.keys_environ() | {
            "RESTIC_REPOSITORY": f"s3:{self.site.access.endpoint}/{self.site.bucket}",
            "RESTIC_PASSWORD": self.site.bucket,
        }
        return self.run("restic", "--no-cache", *command, within=within, **keys)

    def version(self) -> str:
        return " ".join(self.restic("version").split()[:2])

    def make_bucket(self) -> None:
        self.restic("init")

    def upload(self, tree: Path) -> None:
        self.restic("backup", ".", within=tree)
        self.restic("check", "--read-data")

    def listing(self) -> dict[str, int]:
        lines = map(json.loads, self.restic("ls", "--json", "latest").splitlines())
        files = [each for each in lines if each.get("type") == "file"]
        return {each["path"].removeprefix("/"): each.get("size", 0) for each in files}

    def download(self, into: Path) -> None:
        self.restic("restore", "latest", "--target", into)

    def delete(self, tree: Path, name: str) -> None:
        self.restic("backup", ".", within=tree)
        self.restic("forget", "--keep-last", "1", "--prune")
        self.restic("check")

    def clear(self) -> None:
        """It leaves its keys and its configuration: a repository ends with its bucket."""
        (snapshot,) = json.loads(self.restic("snapshots", "--json"))
        self.restic("forget", snapshot["id"], "--prune")
