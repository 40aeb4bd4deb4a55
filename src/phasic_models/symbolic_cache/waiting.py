"""Let one process at a time eliminate a large graph, where file locks work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

#: A graph with fewer edges is eliminated sooner than a second process could be waited for.
LOCK_FROM_EDGES = 5_000
#: Longest wait for the lock, in seconds.
LOCK_PATIENCE = 10.0


@contextlib.contextmanager
def one_at_a_time(root: Path | None, key: str, edges: int) -> Iterator[bool]:
    """Let one process at a time compute a large entry, where locks work; yields whether another one was waited for.

    Without the lock, or where it is not given in time, the result is the same; it is only computed twice.
    """
    if root is None or edges < LOCK_FROM_EDGES:
        yield False
        return
    from filelock import FileLock

    waited = False
    lock = None
    # A fixed number of lock files, so that they do not pile up; two entries that share one cost a wait at worst.
    path = root / "locks" / f"{key[:2]}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except TimeoutError:
            waited = True
            lock.acquire(timeout=LOCK_PATIENCE)
    except (OSError, NotImplementedError):  # TimeoutError is an OSError; NFS and Lustre give others
        pass
    try:
        yield waited
    finally:
        if lock is not None:
            with contextlib.suppress(OSError, NotImplementedError):
                lock.release()
