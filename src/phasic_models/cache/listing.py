"""The sub-folders of a folder that may hold very many files besides.

A ``symbolic`` folder has a few libraries and perhaps 100,000 entries, and its time changes with every entry that is
saved, so listing it anew at each change would make a look-up the slower the fuller the cache is. Most file systems
count a folder's sub-folders in its number of links; where they do, an unchanged number and the presence of every known
sub-folder say that a listing still holds, and a listing that was slow is kept in a file for the next process.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

#: A listing that takes longer than this many seconds is worth remembering by the number of links.
SLOW = 0.005
#: A link to a folder does not count as a sub-folder, so a remembered listing is believed for this many seconds only.
BELIEVED = 600.0
#: Where links do not count, a slow listing is repeated at the earliest after this many times its own duration.
PATIENCE = 50.0
#: Times of files are as fine as the system's clock tick; what changed this recently may change again under the same
#: time.
_RECENT = 2.0


class Listing(msgspec.Struct):
    """A folder's sub-folders as they were at a time."""

    links: int
    modified: int
    at: float
    duration: float
    counted: bool
    names: list[str]


class _State(NamedTuple):
    links: int
    modified: int


_known: dict[Path, Listing] = {}


def forget() -> None:
    """Drop what this process remembers."""
    _known.clear()


def subfolders(folder: Path, note: Path, *, keep: bool) -> list[str]:
    """List the names of a folder's sub-folders, those of hidden ones included.

    Parameters
    ----------
    folder
        The folder; where it cannot be listed the result is empty.
    note
        A file, outside of `folder`, in which a slow listing is kept for other processes.
    keep
        Whether that file may be written.
    """
    try:
        status = folder.stat()
    except OSError:
        return []
    state = _State(status.st_nlink, status.st_mtime_ns)
    listing = _known.get(folder)
    if listing is None:
        listing = _read(note)
    if listing is None or not _holds(listing, folder, state):
        listing = _list(folder, state)
        if keep and listing.counted and listing.duration > SLOW:
            _write(note, listing)
    _known[folder] = listing
    return listing.names


def _holds(listing: Listing, folder: Path, state: _State) -> bool:
    if state.modified == listing.modified and listing.at - state.modified / 1e9 > _RECENT:
        return True
    if listing.duration <= SLOW:
        return False
    age = time.time() - listing.at
    if not listing.counted:
        return 0 <= age < PATIENCE * listing.duration
    return (
        0 <= age < BELIEVED and state.links == listing.links and all((folder / name).is_dir() for name in listing.names)
    )


def _list(folder: Path, state: _State) -> Listing:
    at, started = time.time(), time.perf_counter()
    names = _names(folder)
    duration = time.perf_counter() - started
    # The parent is on the same file system and has sub-folders, this one at least: does it count them?
    counted = duration > SLOW and _counts(folder.parent) and _links(folder) == state.links
    return Listing(state.links, state.modified, at, duration, counted, names)


def _names(folder: Path) -> list[str]:
    names = []
    with contextlib.suppress(OSError), os.scandir(folder) as items:
        # Entries have longer names than this; asking for the kind of each would cost more than the listing.
        names = [item.name for item in items if len(item.name) < 64 and item.is_dir()]
    return sorted(names)


def _links(folder: Path) -> int:
    try:
        return folder.stat().st_nlink
    except OSError:
        return 0


def _counts(folder: Path) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as items:
        return _links(folder) == 2 + sum(item.is_dir(follow_symlinks=False) for item in items)
    return False


def _read(note: Path) -> Listing | None:
    try:
        return msgspec.json.decode(note.read_bytes(), type=Listing)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _write(note: Path, listing: Listing) -> None:
    from ..files.atomic import write_atomic

    with contextlib.suppress(OSError):
        write_atomic(note, msgspec.json.encode(listing))
