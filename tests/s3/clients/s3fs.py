"""s3fs: the bucket as a file system, mounted with FUSE."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import tree as trees
from .client import Client

FUSE = Path("/dev/fuse")
PASSWORDS = "passwords"


class S3fs(Client):
    """Mounted anew for each step, so that nothing is read from what it remembers. Folders are objects
    of their own to it."""

    programs = ("s3fs", "fusermount")
    makes_bucket = False

    @classmethod
    def missing(cls) -> str | None:
        return super().missing() or (None if FUSE.exists() else f"no {FUSE}")

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Until the end of the block; all is stored by then."""
        access, folder = self.site.access, self.site.folder / "mounted"
        folder.mkdir(exist_ok=True)
        keys = self.home / PASSWORDS
        keys.write_text(f"{access.key_id}:{access.secret}\n")
        keys.chmod(0o600)
        options = (
            f"passwd_file={keys}",
            f"url={access.endpoint}",
            f"endpoint={access.region}",
            "use_path_request_style",
            "multipart_size=5",
            "retries=1",
        )
        given = [word for option in options for word in ("-o", option)]
        self.run("s3fs", self.site.bucket, folder, *given)
        try:
            yield folder
        finally:
            self.run("fusermount", "-u", folder)

    def version(self) -> str:
        return self.run("s3fs", "--version").splitlines()[0].split(" (")[0]

    def upload(self, tree: Path) -> None:
        with self.mounted() as folder:
            files = sorted(
                tree.iterdir()
            )  # times and modes become metadata, those of the root cannot
            self.run("cp", "-r", "--preserve=mode,timestamps", *files, folder)

    def listing(self) -> dict[str, int]:
        with self.mounted() as folder:
            return trees.sizes(folder)

    def download(self, into: Path) -> None:
        with self.mounted() as folder:
            self.run("cp", "-r", folder, into)

    def delete(self, tree: Path, name: str) -> None:
        with self.mounted() as folder:
            (folder / name).unlink()

    def clear(self) -> None:
        with self.mounted() as folder:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def close(self) -> None:
        folder = self.site.folder / "mounted"
        if folder.is_mount():  # a step has failed
            subprocess.run(["fusermount", "-uz", folder], check=False)
