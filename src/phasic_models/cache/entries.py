"""The user's own cache entries, as bytes in a folder: write, mark as used, set aside, remove, keep below a size.

An entry is up to three files, ``<hash>.json``, ``<hash>.meta`` and ``<hash>.safetensors``, in ``symbolic/entries/``, and
there in a folder that is named by the first two digits. Files directly in ``symbolic/``, where earlier versions put them, are
read as well. Each file is complete and checkable by itself and two writers of one hash write the same content, so no
reader needs a lock and any subset that a killed writer leaves is still right.

An entry that this cache wrote itself has an empty marker ``own/<hash>`` beside ``symbolic/``; the marker's time is the entry's
last use. Eviction goes by the markers, so it can neither touch an installed library nor files that were put there
by hand.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ..files.atomic import TEMPORARY_PREFIX, write_atomic
from ..files.names import ENTRIES_FOLDER, FILE_SUFFIXES, MODEL_SUFFIXES, SYMBOLIC_FOLDER

MARKER_FOLDER = "own"
#: Remembered graphs, ``<key of the callback>.safetensors``; they have markers like entries, and are evicted like them.
GRAPH_FOLDER = "graphs"
SET_ASIDE_SUFFIX = ".corrupt"
#: A running writer renames its temporary file long before this many seconds have passed.
ABANDONED_AFTER = 3600.0
_HASH = re.compile(r"[0-9a-f]{64}\Z")
_CACHEDIR_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n# This is a cache of phasic-models; backups may skip it.\n"
)


class CacheWarning(UserWarning):
    """The cache could not do its work (corrupt entry, full disk, read-only folder); results are right all the same."""


def is_hash(text: object) -> bool:
    """Whether `text` is a graph hash: 64 lower-case hexadecimal digits."""
    return isinstance(text, str) and _HASH.match(text) is not None


class Stamp(NamedTuple):
    """Distinguishes one version of a file from the next one that is renamed into its place."""

    inode: int
    size: int
    modified: int


def stamp(path: Path) -> Stamp | None:
    """Return the stamp of a file, or None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def entry_folders(symbolic: Path, key: str) -> tuple[Path, Path]:
    """Return the folders that may hold an entry's files: the one that is written to, and that of earlier versions."""
    return symbolic / ENTRIES_FOLDER / key[:2], symbolic


def entry_file(symbolic: Path, key: str, suffix: str) -> Path:
    """Return the path of one file of an entry: where it is, or else where it would be written."""
    new, old = (folder / (key + suffix) for folder in entry_folders(symbolic, key))
    return old if stamp(new) is None and stamp(old) is not None else new


def stored_keys(symbolic: Path) -> Iterator[str]:
    """Yield the hashes of the entries that have a model file in a layer, in no particular order; some of them twice."""
    folders = [symbolic]
    with contextlib.suppress(OSError), os.scandir(symbolic / ENTRIES_FOLDER) as items:
        folders += [Path(item.path) for item in items if item.is_dir()]
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as items:
            for item in items:
                stem, dot, suffix = item.name.partition(".")
                if is_hash(stem) and dot + suffix in MODEL_SUFFIXES:
                    yield stem


class EntryStore:
    """The entries that this user's cache wrote below one root.

    Parameters
    ----------
    root
        A cache root, as :func:`phasic_models.cache.prefix.layers` names it. Created at the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / SYMBOLIC_FOLDER
        self.graphs = root / GRAPH_FOLDER
        self._markers = root / MARKER_FOLDER
        # A heap of (last use, hash) as the last scan saw it; checked again before anything is removed.
        self._oldest: list[tuple[int, str]] = []
        self._bytes: int | None = None

    def path(self, key: str, suffix: str) -> Path:
        """Path of one file of an entry: where it is, or else where it is written."""
        return entry_file(self.folder, key, suffix)

    def graph_path(self, key: str) -> Path:
        """Path of the graph that is remembered under the key of a callback."""
        return self.graphs / (key + ".safetensors")

    def put_graph(self, key: str, data: bytes) -> None:
        """Write a remembered graph; as `put`."""
        self._prepare(self.graphs)
        write_atomic(self.graph_path(key), data)
        self._mark(key, len(data))

    def _paths(self, key: str) -> list[Path]:
        """All places of the files under a key, those of earlier versions too, the model files first."""
        folders = entry_folders(self.folder, key)
        files = [folder / (key + suffix) for folder in folders for suffix in reversed(FILE_SUFFIXES)]
        return [self.graph_path(key), *files]

    def _mark(self, key: str, size: int) -> None:
        (self._markers / key).touch()
        if self._bytes is not None:
            self._bytes += size

    def put(self, key: str, files: Mapping[str, bytes | str]) -> None:
        """Write an entry's files, each atomically, and mark it as this cache's own.

        Raises
        ------
        OSError
            The disk is full or the folder is not writable. No torn file is left.
        """
        folder = entry_folders(self.folder, key)[0]
        self._prepare(folder)
        for suffix in FILE_SUFFIXES:
            if suffix in files:
                write_atomic(folder / (key + suffix), files[suffix])
        self._mark(key, sum(len(data.encode()) if isinstance(data, str) else len(data) for data in files.values()))

    def _prepare(self, folder: Path) -> None:
        created = not self.root.exists()
        folder.mkdir(parents=True, exist_ok=True)
        self._markers.mkdir(exist_ok=True)
        if created:
            with contextlib.suppress(OSError):
                write_atomic(self.root / "CACHEDIR.TAG", _CACHEDIR_TAG)

    def touch(self, key: str) -> None:
        """Record that an entry was used now; an error in doing so is ignored."""
        with contextlib.suppress(OSError):
            os.utime(self._markers / key)

    def owns(self, key: str) -> bool:
        """Whether this cache wrote the entry itself."""
        return (self._markers / key).exists()

    def last_used(self, key: str) -> float | None:
        """Time of last use in seconds since the epoch; None for an entry that this cache did not write."""
        mark = stamp(self._markers / key)
        return None if mark is None else mark.modified / 1e9

    def size(self, key: str) -> int:
        """Bytes of an entry's files; 0 where there are none."""
        return sum(status.size for path in self._paths(key) if (status := stamp(path)) is not None)

    def set_aside(self, path: Path, seen: Stamp | None) -> bool:
        """Rename a file that turned out to be corrupt, so that the next look-up misses and its owner can inspect it.

        Parameters
        ----------
        path
            The file.
        seen
            Its stamp from before it was read: a file that another process has replaced since is left alone.

        Returns
        -------
        bool
            Whether the file was renamed.
        """
        if seen is None or stamp(path) != seen:
            return False
        try:
            path.replace(path.with_name(path.name + SET_ASIDE_SUFFIX))
        except OSError:
            return False
        return True

    def remove(self, key: str) -> int:
        """Remove an entry and return the bytes freed. A file that cannot be removed is left, with its marker."""
        freed = 0
        complete = True
        for path in self._paths(key):
            try:
                size = path.stat().st_size
                path.unlink()
            except FileNotFoundError:
                continue
            except OSError:
                complete = False
            else:
                freed += size
        if complete:
            with contextlib.suppress(OSError):
                (self._markers / key).unlink()
        if self._bytes is not None:
            self._bytes = max(0, self._bytes - freed)
        return freed

    def own(self) -> Iterator[str]:
        """Hashes of the entries that this cache wrote, in no particular order."""
        with contextlib.suppress(OSError), os.scandir(self._markers) as items:
            for item in items:
                if is_hash(item.name):
                    yield item.name

    def evict(self, limit: int, keep: str) -> list[str]:
        """Remove the least recently used own entries until all own entries together take at most `limit` bytes.

        Parameters
        ----------
        limit
            Bytes.
        keep
            The entry that was just written: it goes last.

        Returns
        -------
        list of str
            The hashes removed.

        Notes
        -----
        The folder is scanned once and its total then carried along; it is scanned again only when the carried list is
        used up, so that the cost of a save does not grow with the number of entries.
        """
        if self._bytes is None:
            self._scan()
        removed: list[str] = []
        scanned = False
        while self._bytes is not None and self._bytes > limit:
            if not self._oldest:
                if scanned:
                    break
                scanned = True
                self._scan()
                continue
            noted, key = heapq.heappop(self._oldest)
            mark = stamp(self._markers / key)
            # Entries that were used, saved or removed since the scan are newer than the rest of the list; the next scan sees them.
            if mark is not None and mark.modified == noted and key != keep:
                self.remove(key)
                removed.append(key)
        return removed

    def _scan(self) -> None:
        total = 0
        found = []
        for key in self.own():
            mark = stamp(self._markers / key)
            if mark is not None:
                total += self.size(key)
                found.append((mark.modified, key))
        heapq.heapify(found)
        self._oldest = found
        self._bytes = total

    def leftovers(self, older_than: float = ABANDONED_AFTER) -> list[Path]:
        """List what killed writers and corrupt entries left: temporary files, files set aside, markers without files.

        Parameters
        ----------
        older_than
            Age in seconds from which a temporary file or folder counts as abandoned.
        """
        now = time.time()

        def abandoned(item: os.DirEntry[str]) -> bool:
            if item.name.startswith(TEMPORARY_PREFIX):
                # A folder is an installation at work, which a slow line keeps busy for longer than writing a file.
                patience = 24 * older_than if item.is_dir(follow_symlinks=False) else older_than
                return now - item.stat(follow_symlinks=False).st_mtime >= patience
            return item.name.endswith(SET_ASIDE_SUFFIX) and is_hash(item.name.split(".", 1)[0])

        def orphan(item: os.DirEntry[str]) -> bool:
            old = now - item.stat(follow_symlinks=False).st_mtime >= older_than
            return old and not any(stamp(path) is not None for path in self._paths(item.name))

        folders = [self.root, self.folder, self.graphs, *sorted((self.folder / ENTRIES_FOLDER).glob("*/"))]
        return [path for folder in folders for path in _matching(folder, abandoned)] + _matching(self._markers, orphan)

    def remembered(self) -> list[str]:
        """Keys of the remembered graphs."""
        return [path.stem for path in _matching(self.graphs, lambda item: is_hash(Path(item.name).stem))]


def _matching(folder: Path, wanted: Callable[[os.DirEntry[str]], bool]) -> list[Path]:
    found: list[Path] = []
    with contextlib.suppress(OSError), os.scandir(folder) as items:
        for item in items:
            with contextlib.suppress(FileNotFoundError):
                if wanted(item):
                    found.append(Path(item.path))
    return sorted(found)
