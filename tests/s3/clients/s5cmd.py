"""s5cmd: many operations at once, on the SDK for Go, version 1."""

from __future__ import annotations

import json
from pathlib import Path

from .client import Client

PART_MIB = "5"  # as shipped, 50


class S5cmd(Client):
    """`--raw` where a name is meant as it stands, not as a pattern."""

    environment = "others"

    def s5cmd(self, *command: str | Path) -> str:
        environ = self.keys_environ() | {"S3_ENDPOINT_URL": self.site.access.endpoint}
        return self.run("s5cmd", "--json", *command, **environ)

    @property
    def url(self) -> str:
        return f"s3://{self.site.bucket}"

    def version(self) -> str:
        return f"s5cmd {self.s5cmd('version').strip()}"

    def make_bucket(self) -> None:
        self.s5cmd("mb", self.url)

    def upload(self, tree: Path) -> None:
        self.s5cmd("cp", "--part-size", PART_MIB, f"{tree}/", f"{self.url}/")

    def listing(self) -> dict[str, int]:
        """Of an empty file it says no size."""
        objects = map(json.loads, self.s5cmd("ls", f"{self.url}/*").splitlines())
        return {each["key"].removeprefix(f"{self.url}/"): each.get("size", 0) for each in objects}

    def download(self, into: Path) -> None:
        self.s5cmd("cp", "--part-size", PART_MIB, f"{self.url}/*", f"{into}/")

    def delete(self, tree: Path, name: str) -> None:
        self.s5cmd("rm", "--raw", f"{self.url}/{name}")

    def clear(self) -> None:
        self.s5cmd("rm", f"{self.url}/*")
        self.s5cmd("rb", self.url)
