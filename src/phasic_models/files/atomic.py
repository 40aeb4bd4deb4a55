"""Writing whole files atomically."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from pathlib import Path

TEMPORARY_PREFIX = ".tmp-"


def write_atomic(path: str | os.PathLike[str], data: bytes | str) -> None:
    """Write a file so that a reader sees either the old content or the new, whatever happens in between.

    The bytes go to a uniquely named temporary file in the same folder, reach the disk, and then take the place of
    `path` in one rename. No lock is taken: on network file systems locks are not reliable. Where the target is a hard
    link, the other names keep the old content.

    Parameters
    ----------
    path : path-like
        Target; its folder must exist.
    data : bytes or str
        Content; text is written as UTF-8.

    Raises
    ------
    OSError
        The folder is missing or not writable, or the disk is full. No temporary file remains and the target is not changed.
    """
    target = Path(path)
    if isinstance(data, str):
        data = data.encode("utf-8")
    temporary = target.with_name(TEMPORARY_PREFIX + secrets.token_hex(8))
    # Not tempfile.mkstemp, whose files only their owner may read: a shared cache must obey the umask.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where a folder can be opened (not on Windows, nor on some network file systems)."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def copy_synced(source: Path, target: Path) -> None:
    """Copy a file's content, and have it on the disk when this returns."""
    shutil.copyfile(source, target)
    with target.open("r+b") as stream:
        os.fsync(stream.fileno())
