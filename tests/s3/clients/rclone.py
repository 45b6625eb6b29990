"""rclone: the one of Debian 12 and the newest one of pip."""

from __future__ import annotations

import json
from pathlib import Path

from .client import Client

CUTOFF, PART = "8Mi", "5Mi"  # as shipped, parts begin at 200 MiB


class Rclone(Client):
    """Debian's: before SDKs sent checksums of their own."""

    programs = ("rclone",)

    @property
    def program(self) -> Path:
        return Path("/usr/bin/rclone")

    def rclone(self, *command: str | Path) -> str:
        access = self.site.access
        return self.run(
            *(self.program, *command),
            *("--s3-upload-cutoff", CUTOFF, "--s3-chunk-size", PART, "--retries", "1"),
            RCLONE_CONFIG="/dev/null",
            RCLONE_CONFIG_HERE_TYPE="s3",
            RCLONE_CONFIG_HERE_PROVIDER="Other",
            RCLONE_CONFIG_HERE_ENDPOINT=access.endpoint,
            RCLONE_CONFIG_HERE_REGION=access.region,
            RCLONE_CONFIG_HERE_ACCESS_KEY_ID=access.key_id,
            RCLONE_CONFIG_HERE_SECRET_ACCESS_KEY=access.secret,
        )

    @property
    def remote(self) -> str:
        return f"here:{self.site.bucket}"

    def version(self) -> str:
        return self.rclone("version").splitlines()[0]

    def make_bucket(self) -> None:
        self.rclone("mkdir", self.remote)

    def upload(self, tree: Path) -> None:
        self.rclone("copy", tree, self.remote)
        self.rclone("check", "--download", tree, self.remote)

    def listing(self) -> dict[str, int]:
        said = self.rclone("lsjson", "-R", "--files-only", self.remote)
        return {each["Path"]: each["Size"] for each in json.loads(said)}

    def download(self, into: Path) -> None:
        self.rclone("copy", self.remote, into)

    def delete(self, tree: Path, name: str) -> None:
        self.rclone("deletefile", f"{self.remote}/{name}")

    def clear(self) -> None:
        self.rclone("purge", self.remote)


class RcloneOfPip(Rclone):
    """On the SDK for Go, version 2, with checksums."""

    environment = "others"
    programs = ()

    @property
    def program(self) -> Path:
        assert self.site.environment is not None
        return self.site.environment / "bin" / "rclone"
