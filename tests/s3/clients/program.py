"""Clients that are libraries: a program in `programs` does with each what the test asks for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from .client import Client

PROGRAMS = Path(__file__).parent / "programs"


class Program(Client):
    """`program ACTION BUCKET [ARGUMENT]` with endpoint and keys in the environment."""

    program: ClassVar[str]

    def interpreter(self) -> Path:
        """What runs the program."""
        assert self.site.environment is not None
        return self.site.environment / "bin" / "python"

    def act(self, action: str, *arguments: str | Path) -> str:
        """Run the program; its output."""
        return self.run(
            self.interpreter(),
            PROGRAMS / self.program,
            action,
            self.site.bucket,
            *arguments,
            **self.keys_environ(),
        )

    def version(self) -> str:
        return self.act("version").strip()

    def make_bucket(self) -> None:
        self.act("make")

    def upload(self, tree: Path) -> None:
        self.act("upload", tree)

    def listing(self) -> dict[str, int]:
        found: dict[str, int] = json.loads(self.act("list"))
        return found

    def download(self, into: Path) -> None:
        self.act("download", into)

    def delete(self, tree: Path, name: str) -> None:
        self.act("delete", name)

    def clear(self) -> None:
        self.act("clear")
