"""A progress bar on a terminal, silence elsewhere; and one summary line of a put."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
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
        progress.BarColumn(),
        progress.DownloadColumn(binary_units=True),
        progress.TextColumn("{task.fields[speed]}", style="progress.data.speed"),
        progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )


class Progress:
    """Counts bytes of all files of one command; safe to use when nothing is shown."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: RichProgress | None = None
        self._told = False
        self.files = 0
        self.logical_bytes = self.sent_bytes = self.chunks = self.deduplicated = 0
        self.stored_copies = 0

    def __enter__(self) -> Self:
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("", total=None, speed="")
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
        """How much there is; None when that is not known (a pipe). The first call counts: the
        size of a tree is told before those of its files."""
        if self._bar is not None and not self._told:
            self._bar.update(self._task, total=size_bytes)
        self._told = True

    async def counted(self, blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The blocks, each counted once it was taken."""
        async for block in blocks:
            yield block
            self.moved(len(block))

    def say(self, text: str) -> None:
        """A line beside the bar; nothing when quiet."""
        if self._quiet:
            return
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            click.echo(text, err=True)

    def moved(self, count_bytes: int) -> None:
        """Bytes that went through."""
        if self._bar is not None:
            self._bar.advance(self._task, count_bytes)
            speed = self._bar.tasks[self._task].speed
            self._bar.update(self._task, speed=f"{size_text(int(speed))}/s" if speed else "")

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
        noun = "object" if self.files == 1 else "objects"
        text = f"stored {self.files} {noun}, {size_text(self.logical_bytes)}"
        if self.chunks:
            text += (
                f"; {self.chunks} chunks: sent {size_text(self.sent_bytes)}, "
                f"{self.deduplicated} chunks were there already, "
                f"{self.stored_copies} copies written"
            )
        self.say(text)
