"""Remove the temporary files of killed writers, and shrink the user's own entries."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from ..cache import prefix
from ..cache.entries import ABANDONED_AFTER, EntryStore, entry_folders


class Removable(NamedTuple):
    """Something that `prune` removes, or would."""

    path: Path
    bytes: int
    why: str


def prune(
    *,
    dry_run: bool = False,
    max_size_gb: float | None = None,
    older_than: float = ABANDONED_AFTER,
    cache_dir: str | os.PathLike[str] | None = None,
) -> list[Removable]:
    """Remove temporary files of killed writers and corrupt entries that were set aside, and shrink the user's own entries.

    Parameters
    ----------
    dry_run
        Remove nothing; the result is the same.
    max_size_gb
        Remove least recently used entries until the user's own take at most this many GB.
    older_than
        Age in seconds from which a temporary file counts as abandoned.
    cache_dir
        The cache root; by default the one that is written to.

    Returns
    -------
    list of Removable
    """
    own = prefix.writable_layer(cache_dir)
    store = EntryStore(own.root)
    found = []
    for path in store.leftovers(older_than):
        why = "set aside as corrupt" if path.suffix == ".corrupt" else "left by a killed process"
        found.append(Removable(path, _size(path), why))
    if max_size_gb is not None:
        found += _least_used(store, int(max_size_gb * 1e9))
    if not dry_run:
        for item in found:
            if store.owns(item.path.name):
                store.remove(item.path.name)
            elif item.path.is_dir() and not item.path.is_symlink():
                shutil.rmtree(item.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    item.path.unlink()
    return found


def _least_used(store: EntryStore, limit: int) -> list[Removable]:
    entries = sorted((store.last_used(key) or 0.0, key) for key in store.own())
    total = sum(store.size(key) for _, key in entries)
    chosen = []
    for last_used, key in entries:
        if total <= limit:
            break
        size = store.size(key)
        day = time.strftime("%Y-%m-%d", time.localtime(last_used))
        chosen.append(Removable(entry_folders(store.folder, key)[0] / key, size, f"entry, last used {day}"))
        total -= size
    return chosen


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
        return path.lstat().st_size
    return 0
