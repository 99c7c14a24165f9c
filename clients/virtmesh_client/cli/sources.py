"""What a command copies from: a file or standard input, and a bar that shows how far it is."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, BinaryIO, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from virtmesh_client.cli.settings import Settings

STANDARD = "-"
"""The name of standard input, and of standard output."""


@contextlib.contextmanager
def progress_bar(
    settings: Settings, title: str, total: int | None
) -> Iterator[Callable[[int], object]]:
    """Show a progress bar on standard error while the body runs, if that is a terminal.

    Yields a function that gets the number of bytes done.
    """
    if not settings.progress:
        yield lambda _done: None
        return
    from rich.console import Console  # noqa: PLC0415 - it takes time, and few need it
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextlib.contextmanager
def open_source(name: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input for "-", unbuffered."""
    source: int | str = sys.stdin.fileno() if name == STANDARD else name
    with open(source, "rb", buffering=0, closefd=name != STANDARD) as file:
        yield cast("BinaryIO", file)
