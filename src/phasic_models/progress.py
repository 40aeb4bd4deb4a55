"""Progress of transfers: a callback for programs, a bar for people at a terminal, silence in a pipe."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

Progress = Callable[[str, int, "int | None"], None]
"""Called with a label, the bytes so far, and the bytes in all where they are known."""


@contextlib.contextmanager
def reporting(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """Turn a ``progress`` argument into a callback.

    Parameters
    ----------
    progress : callable, bool or None
        A callback is used as it is. True asks for a bar, False for none; None gives a bar where standard error is a
        terminal.
    """
    if callable(progress):
        yield progress
        return
    wanted = sys.stderr.isatty() if progress is None else progress
    if not wanted:
        yield None
        return
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.progress import (
            Progress as Bars,
        )
    except ImportError:
        yield None
        return
    tasks: dict[str, Any] = {}
    lock = threading.Lock()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:

        def update(label: str, done: int, total: int | None) -> None:
            with lock:
                if label not in tasks:
                    tasks[label] = bars.add_task(label, total=total)
                bars.update(tasks[label], completed=done, total=total)

        yield update
