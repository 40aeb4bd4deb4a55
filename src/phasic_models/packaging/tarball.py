"""The tarball of a library: its name, its time and its compressor, so that whoever packs it gets the same bytes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from ..errors import FormatError
from ..files.archive import make_tarball
from ..formats import read_meta

__all__ = ["library_time", "pack_library", "tarball_name"]


def tarball_name(category: str, version: str) -> str:
    """Return the name under which a library's tarball is published."""
    return f"{category}_models_v{version}.tar.gz"


def pack_library(folder: Path, target: Path) -> Path:
    """Pack a library folder: a build's, or a copy of it that was installed, which gives the same bytes.

    Parameters
    ----------
    folder
        The library; its own name becomes the first component of every path.
    target
        The tarball to write.
    """
    return make_tarball(folder, target, mtime=library_time(folder), compress=_pinned_compressor())


def library_time(folder: Path) -> int:
    """Return when the youngest model of a library was made, in seconds since 1970.

    Unlike the time in library.lock it is in the files themselves, so that those who install a library know it too.
    """
    moments = [0]
    for path in folder.glob("*.meta"):
        with contextlib.suppress(FormatError, ValueError):
            created = datetime.fromisoformat((read_meta(path).created or "").replace("Z", "+00:00"))
            moments.append(int(created.replace(tzinfo=created.tzinfo or timezone.utc).timestamp()))
    return max(moments)


def _pinned_compressor() -> Callable[[bytes], bytes | bytearray] | None:
    """Return the compressor of the releases where it is installed: zlib's bytes differ from one Python to the next."""
    try:
        from deflate import gzip_compress
    except ImportError:
        return None
    return lambda data: gzip_compress(data, 9)
