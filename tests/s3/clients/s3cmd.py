"""s3cmd, Debian's: one process, one request after the other, its own code for S3."""

from __future__ import annotations

import re
from pathlib import Path

from .client import Client

LINE = re.compile(r"[\d-]+ [\d:]+ +(\d+) +(s3://.*)")


class S3cmd(Client):
    """Parts of 15 MiB, as shipped. host_bucket without %(bucket) is how it is told path style."""

    programs = ("s3cmd",)

    def s3cmd(self, *command: str | Path) -> str:
        access, address = self.site.access, self.site.address
        settings = {
            "access_key": access.key_id,
            "secret_key": access.secret,
            "host_base": address,
            "host_bucket": address,
            "bucket_location": access.region,
            "use_https": "False",
        }
        file = self.home / "s3cfg"
        lines = [f"{name} = {value}" for name, value in settings.items()]
        file.write_text("\n".join(["[default]", *lines, ""]))
        return self.run("s3cmd", "-c", file, "--no-progress", *command)

    @property
    def url(self) -> str:
        return f"s3://{self.site.bucket}"

    def version(self) -> str:
        return self.s3cmd("--version").strip()

    def make_bucket(self) -> None:
        self.s3cmd("mb", self.url)

    def upload(self, tree: Path) -> None:
        self.s3cmd("sync", f"{tree}/", f"{self.url}/")

    def listing(self) -> dict[str, int]:
        said = self.s3cmd("ls", "--recursive", f"{self.url}/")
        lines = [match for match in map(LINE.fullmatch, said.splitlines()) if match is not None]
        return {line[2].removeprefix(f"{self.url}/"): int(line[1]) for line in lines}

    def download(self, into: Path) -> None:
        into.mkdir()
        self.s3cmd("sync", f"{self.url}/", f"{into}/")

    def delete(self, tree: Path, name: str) -> None:
        self.s3cmd("del", f"{self.url}/{name}")

    def clear(self) -> None:
        self.s3cmd("rb", "--recursive", "--force", self.url)
