"""Mistakes in a library folder: collected, so that an author sees all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import LibraryError


@dataclass(frozen=True)
class Mistake:
    """One mistake: where it is, and what was expected there; `details` is a traceback, where there is one."""

    file: str
    line: int | None
    key: str
    message: str
    details: str = field(default="", compare=False)

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}"


class LibraryMistakes(LibraryError):
    """A library folder is wrong; `mistakes` holds every mistake that was found, the message lists them.

    Parameters
    ----------
    mistakes : sequence of Mistake
        At least one.
    """

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line or 0)))
        lines = [str(mistake) for mistake in self.mistakes]
        super().__init__(lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} mistakes:", *lines]))

    def __reduce__(self) -> tuple[type[LibraryMistakes], tuple[tuple[Mistake, ...]]]:
        # An exception is pickled by its message; a build in several processes needs the mistakes themselves.
        return (LibraryMistakes, (self.mistakes,))
