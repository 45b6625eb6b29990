"""A progress bar on a terminal, silence elsewhere; and one summary line of a put."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from replicast.cli.text import size_text

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress


def _bar() -> RichProgress:
    # Loaded for a terminal only: a script that puts many small files waits for each import.
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TransferSpeedColumn(),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class Progress:
    """Counts bytes of all files of one command; safe to use when nothing is shown."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: RichProgress | None = None
        self._expected = 0
        self._unknown = False
        self.files = 0
        self.logical_bytes = self.sent_bytes = self.chunks = self.deduplicated = 0
        self.stored_copies = 0

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def expect(self, size_bytes: int | None) -> None:
        """One more file; None when its size is not known (a pipe)."""
        self._unknown = self._unknown or size_bytes is None
        self._expected += size_bytes or 0
        if self._bar is not None:
            self._bar.update(self._task, total=None if self._unknown else self._expected)

    def moved(self, count_bytes: int) -> None:
        """Bytes that went through."""
        if self._bar is not None:
            self._bar.advance(self._task, count_bytes)

    def stored(self, answer: dict[str, Any]) -> None:
        """The gateway's report of one finished put."""
        self.files += 1
        self.logical_bytes += answer["size_bytes"]
        self.sent_bytes += answer["sent_bytes"]
        self.chunks += answer["chunks"]
        self.deduplicated += answer["chunks_deduplicated"]
        self.stored_copies += answer["stored_copies"]

    def put_summary(self) -> None:
        """What was stored and what deduplication saved."""
        if self._quiet or not self.files:
            return
        noun = "object" if self.files == 1 else "objects"
        text = f"stored {self.files} {noun}, {size_text(self.logical_bytes)}"
        if self.chunks:
            text += (
                f"; {self.chunks} chunks: sent {size_text(self.sent_bytes)}, "
                f"{self.deduplicated} chunks were there already, "
                f"{self.stored_copies} copies written"
            )
        click.echo(text, err=True)
