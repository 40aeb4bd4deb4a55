"""Reports of a long exploration: its progress, and the entry of the state that grows without end."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .keys import states_of

if TYPE_CHECKING:
    from types import TracebackType

    import numpy.typing as npt

# States between two calls of a progress callback, seconds before the first line on a terminal, and between two lines.
_EVERY = 4096
_SILENT = 2.0
_PAUSE = 0.5
# States looked at to see which entry grows.
_SAMPLE = 4096


class Growth(NamedTuple):
    """An entry of the state whose extreme value in the second half of the states is beyond that in the first."""

    entry: int
    extreme: str
    early: int
    late: int

    def __str__(self) -> str:
        return (
            f"entry {self.entry} of the state grows: the {self.extreme} value is {self.early} in the first half of the states "
            f"and {self.late} in the second"
        )


def growing_entry(keys: Sequence[bytes], length: int) -> Growth | None:
    """Return which entry of the states grows most as they are found, None where none does.

    Parameters
    ----------
    keys
        Keys of the states, in the order in which they were found.
    length
        Entries of a state.
    """
    half = len(keys) // 2
    if half == 0:
        return None
    early, late = _extremes(keys, 0, half, length), _extremes(keys, half, len(keys), length)
    # As float64, since a difference of 64-bit integers may not fit.
    width = (early[1] - early[0]).astype(np.float64)
    rises = late[1].astype(np.float64) - early[1].astype(np.float64)
    falls = early[0].astype(np.float64) - late[0].astype(np.float64)
    growth = np.maximum(rises, falls) / np.maximum(width, 1.0)
    entry = int(growth.argmax())
    # An entry that is bounded keeps the range of the first half, or nearly so.
    if growth[entry] < 0.1:
        return None
    side = 1 if rises[entry] >= falls[entry] else 0
    return Growth(entry, "largest" if side else "smallest", int(early[side][entry]), int(late[side][entry]))


def _extremes(
    keys: Sequence[bytes], begin: int, end: int, length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    step = max(1, (end - begin) // _SAMPLE)
    # From the end, so that the last state found is among those looked at.
    states = states_of(keys[end - 1 : begin - 1 if begin else None : -step], length)
    return states.min(axis=0), states.max(axis=0)


class Watch:
    """Reports an exploration: to a callback, or after two seconds to a terminal.

    Parameters
    ----------
    progress
        Called as ``progress(explored, found)``; None writes to standard error if that is a terminal or a notebook.
    growing
        Says which entry of the state grows.
    """

    def __init__(self, progress: Callable[[int, int], object] | None, growing: Callable[[], Growth | None]) -> None:
        self.progress = progress
        self.growing = growing
        self.told = 0
        self.last = (0, 0)
        self.next = time.monotonic() + _SILENT
        self.shown = 0

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.progress is not None and kind is None:
            self.progress(*self.last)
        if self.shown:
            sys.stderr.write("\r" + " " * self.shown + "\r")
            sys.stderr.flush()

    def __call__(self, explored: int, found: int) -> None:
        """Report, where it is time to."""
        self.last = (explored, found)
        if self.progress is not None:
            if explored - self.told >= _EVERY:
                self.told = explored
                self.progress(explored, found)
        elif time.monotonic() >= self.next:
            self.next = time.monotonic() + _PAUSE
            if sys.stderr is not None and (sys.stderr.isatty() or "ipykernel" in sys.modules):
                self._write(f"{found:,} states found, {explored:,} explored", self.growing())

    def _write(self, text: str, growth: Growth | None) -> None:
        if growth is not None:
            text += f"; entry {growth.entry} of the state grows, now {growth.late}"
        # A line that is wrapped could not be written over.
        line = text[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write("\r" + line.ljust(self.shown))
        sys.stderr.flush()
        self.shown = len(line)
