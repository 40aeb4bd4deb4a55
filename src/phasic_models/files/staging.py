"""Folders that appear, change and vanish as a whole: made beside their place, moved in by one rename, swept up after a kill."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from .atomic import TEMPORARY_PREFIX, sync_folder
from .ownership import is_abandoned, owner_tag

# A process that fills a folder writes to it more often than this, so the owner of an older one has ended.
_DEAD_SECONDS = 600.0


def temporary_name(home: Path) -> Path:
    """Return a name in a folder that nobody else uses, and that says whose it is."""
    return home / (TEMPORARY_PREFIX + owner_tag())


@contextlib.contextmanager
def staging_folder(home: Path) -> Iterator[Path]:
    """Yield a new folder in `home`, and remove it afterwards; those of killed processes are removed first.

    Where `home` is missing it is made. If the work fails, what was made for it and is still empty goes again.

    Raises
    ------
    OSError
        `home` cannot be written.
    """
    made = [folder for folder in (home, *home.parents) if not folder.exists()]
    home.mkdir(parents=True, exist_ok=True)
    for folder in home.glob(TEMPORARY_PREFIX + "*"):
        tag = folder.name.removeprefix(TEMPORARY_PREFIX)
        if is_abandoned(folder, tag, dead_for=_DEAD_SECONDS) and folder.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
    folder = temporary_name(home)
    folder.mkdir()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        for empty in made:
            with contextlib.suppress(OSError):  # somebody else may have put a file there meanwhile
                empty.rmdir()
        raise
    shutil.rmtree(folder, ignore_errors=True)


def move_in(new: Path, target: Path, *, aside: Path) -> None:
    """Let a folder take the place of another, which goes to ``aside``; a reader sees the one or the other.

    Where the system cannot exchange two folders in one step, the old one is moved away first, and put back if the
    second rename fails.
    """
    if not os.path.lexists(target):
        try:
            new.rename(target)
        except OSError as error:
            # Another process may have been faster; then there is something to exchange with.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) and not os.path.lexists(target):
                raise
        else:
            sync_folder(target.parent)
            return
    if _exchange(new, target):
        new.rename(aside)
    else:
        target.rename(aside)
        try:
            new.rename(target)
        except OSError:
            aside.rename(target)
            raise
    sync_folder(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder: it is renamed first, in one step, so that no reader sees a part of it."""
    aside = temporary_name(folder.parent)
    folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step (Linux, macOS); False where the system or file system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            swap, here, flags = libc.renameat2, -100, 2  # AT_FDCWD, RENAME_EXCHANGE
            arguments = (here, os.fsencode(first), here, os.fsencode(second), flags)
        elif sys.platform == "darwin":
            swap = libc.renamex_np
            arguments = (os.fsencode(first), os.fsencode(second), 2)  # RENAME_SWAP
        else:
            return False
    except (OSError, AttributeError, TypeError):
        return False
    return bool(swap(*arguments) == 0)
