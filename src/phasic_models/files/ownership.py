"""Whether the process that made a temporary file still runs: decided by name and age of the file, without any lock.

On network file systems locks are not reliable. Here a name ends in a *tag* (host, process, random part). A file of an ended
process is taken over by a rename, which succeeds for one process only.
"""

from __future__ import annotations

import os
import secrets
import socket
import zlib
from pathlib import Path
from time import time

# A file that was not written to for so long is abandoned; one of an ended process of this host is abandoned sooner.
_STALE_SECONDS = 24 * 3600
_NOBODY = 0


def owner_tag(process: int | None = None) -> str:
    """Return a tag of this process: ``host-process-random``."""
    return f"{_host()}-{os.getpid() if process is None else process}-{secrets.token_hex(4)}"


def released_tag() -> str:
    """Return a tag that says: whoever wants may take this over."""
    return owner_tag(_NOBODY)


def is_abandoned(path: Path, tag_of: str, *, dead_for: float = 0.0) -> bool:
    """Return whether the owner of a temporary file or folder has ended.

    Parameters
    ----------
    path : pathlib.Path
        The file or folder.
    tag_of : str
        The tag in its name.
    dead_for : float
        Seconds without a change after which an invisible process of this host counts as ended: in containers that
        share a folder and a host name, it may still run.
    """
    try:
        age = time() - path.stat().st_mtime
        host, process = tag_of.split("-")[:2]
        number = int(process)
    except (OSError, ValueError):
        return False
    if number == _NOBODY or age > _STALE_SECONDS:
        return True
    return host == _host() and age >= dead_for and not _alive(number)


def _host() -> str:
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _alive(process: int) -> bool:
    if os.name == "nt":  # os.kill would end the process there
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
