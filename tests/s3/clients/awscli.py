"""awscli: `aws s3` for files, `aws s3api` for what it lists by page."""

from __future__ import annotations

import json
from pathlib import Path

from .client import Client


class AwsCli(Client):
    """Version 1, which pip installs."""

    environment = "awscli"

    def aws(self, *command: str | Path) -> str:
        return self.run("aws", *command, **self.keys_environ())

    def version(self) -> str:
        return self.aws("--version").split()[0]

    @property
    def url(self) -> str:
        return f"s3://{self.site.bucket}"

    def make_bucket(self) -> None:
        self.aws("s3", "mb", self.url)

    def upload(self, tree: Path) -> None:
        self.aws("s3", "sync", "--no-progress", tree, self.url)

    def listing(self) -> dict[str, int]:
        said = self.aws("s3api", "list-objects-v2", "--bucket", self.site.bucket)
        return {each["Key"]: each["Size"] for each in json.loads(said)["Contents"]}

    def download(self, into: Path) -> None:
        self.aws("s3", "cp", "--recursive", "--no-progress", self.url, into)

    def delete(self, tree: Path, name: str) -> None:
        self.aws("s3", "sync", "--delete", "--no-progress", tree, self.url)

    def clear(self) -> None:
        self.aws("s3", "rb", "--force", self.url)
