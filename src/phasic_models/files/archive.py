"""Tarballs of model libraries: written the same way every time, and read with suspicion.

A tarball holds one library folder (``coalescent/manifest.json``, …), so that unpacking it into a cache root's
``symbolic`` folder is all that an installation takes.
"""

from __future__ import annotations

import gzip
import io
import os
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ..errors import FormatError
from .atomic import write_atomic
from .names import path_problem
from .staging import staging_folder

__all__ = ["DEFAULT_LIMITS", "Limits", "make_tarball", "safe_extract"]

_CHUNK = 256 * 1024
#: Far above the header of any usual tarball; a larger single read would be an attempt to fill the memory.
_LARGEST_READ = 1024 * 1024
#: Headers, padding and the two closing blocks of a member.
_OVERHEAD_PER_MEMBER = 4096


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to.

    Attributes
    ----------
    max_bytes
        Bytes of all files together, unpacked.
    max_files
        Number of entries, folders included.
    """

    max_bytes: int = 8 * 1024**3
    max_files: int = 20_000


DEFAULT_LIMITS = Limits()


def make_tarball(
    folder: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    mtime: int = 0,
    compress: Callable[[bytes], bytes | bytearray] | None = None,
) -> Path:
    """Pack a library folder so that the same files always give the same bytes.

    Order, owner, mode and time of the entries are fixed; what is left is the compressor.

    Parameters
    ----------
    folder
        The folder; its own name becomes the first component of every path in the tarball.
    target
        The ``.tar.gz`` to write; it appears only when it is complete.
    mtime
        Modification time of every entry, in seconds since 1970.
    compress
        From the bytes of the tar file to those of the gzip file. By default the zlib of this Python, whose output
        differs between implementations of zlib; a release passes a pinned compressor.

    Returns
    -------
    Path
        `target`.

    Raises
    ------
    FormatError
        Where the folder holds something other than plain files with portable names, or nothing at all.
    """
    folder, target = Path(folder), Path(target)
    files = sorted(_plain_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not files:
        raise FormatError(f"{folder}: there is no file to pack")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in files:
            entry = tarfile.TarInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}")
            if problem := path_problem(entry.name):
                raise FormatError(f"{path}: its path in a tarball, {entry.name!r}, {problem}")
            entry.size = path.stat().st_size
            entry.mode = 0o644
            entry.mtime = mtime
            with path.open("rb") as stream:
                tar.addfile(entry, stream)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, bytes((compress or _gzip)(buffer.getvalue())))
    return target


def safe_extract(
    archive: str | os.PathLike[str], target: str | os.PathLike[str], limits: Limits = DEFAULT_LIMITS
) -> list[Path]:
    """Unpack a tarball (``.tar.gz`` or ``.tar``) from an unknown source, checking every entry.

    Only plain files and folders with portable relative paths are accepted: no link, no device, no absolute path, no
    ``..``, no path twice. Everything is unpacked beside its place first; a refused archive leaves nothing behind.

    Parameters
    ----------
    archive
        The file to unpack.
    target
        The folder to unpack into; it is made where it is missing, and files of the same name in it are replaced.
    limits
        How much may be unpacked.

    Returns
    -------
    list of Path
        The unpacked files, relative to `target`, in the order of the archive.

    Raises
    ------
    FormatError
        Where the archive is damaged, too large, or holds anything else than the above; the message names the entry.
    """
    archive, target = Path(archive), Path(target)
    with staging_folder(target) as staging:
        files = _extract(archive, staging, limits)
        for path in files:
            (target / path).parent.mkdir(parents=True, exist_ok=True)
            (staging / path).replace(target / path)
    return files


def _plain_files(folder: Path) -> Iterable[Path]:
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            yield path
        elif not stat.S_ISDIR(mode):
            raise FormatError(f"{path}: only plain files can be packed, and this is a link or a device")


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=9, mtime=0)


class _Guard(io.RawIOBase):
    """The stream that tarfile reads; it raises at reads that only a malicious archive causes.

    `tarfile` reads a whole extended header at once, as long as the header says, and has followed negative sizes
    backwards for ever (CVE-2025-8194).
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self._stream = stream
        self._left = limit

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        here = self._stream.tell()
        if whence != os.SEEK_SET or offset < here - tarfile.BLOCKSIZE:
            raise FormatError("an entry leads backwards")
        self._spend(max(0, offset - here))
        return self._stream.seek(offset)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_READ:
            raise FormatError("a header is longer than any usual one")
        data = self._stream.read(size)
        self._spend(len(data))
        return data

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise FormatError("it unpacks to more than is allowed")


def _extract(archive: Path, staging: Path, limits: Limits) -> list[Path]:
    """Unpack into a new folder, entry by entry, and return the relative paths of the files."""
    files: list[Path] = []
    kinds: dict[str, str] = {}
    total = 0
    try:
        with archive.open("rb") as raw:
            compressed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if compressed else raw
            guard = _Guard(stream, limits.max_bytes + limits.max_files * _OVERHEAD_PER_MEMBER)
            with tarfile.open(fileobj=cast("IO[bytes]", guard), mode="r:") as tar:
                for count, entry in enumerate(tar, start=1):
                    if count > limits.max_files:
                        raise FormatError(f"it has more than {limits.max_files:,} entries")
                    path = _checked_path(entry, kinds)
                    total += entry.size
                    if total > limits.max_bytes:
                        raise FormatError(f"it unpacks to more than {limits.max_bytes:,} bytes")
                    if path is not None:
                        (staging / path).parent.mkdir(parents=True, exist_ok=True)
                        _copy(tar, entry, staging / path)
                        files.append(Path(path))
                # tarfile takes a damaged header, or the end of the file, for the end of the archive.
                guard.seek(tar.offset)
                if guard.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise EOFError("the archive ends without its closing blocks")
                while guard.read(_CHUNK):  # to the end of the gzip stream, where its checksum is
                    pass
    except FormatError as error:
        raise FormatError(f"{archive}: refused, {error}; nothing was unpacked") from None
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile, ValueError, OverflowError) as error:
        raise FormatError(f"{archive}: not a complete .tar.gz or .tar file ({error}); fetch it again") from error
    if not files:
        raise FormatError(f"{archive}: refused, it holds no file")
    return files


def _checked_path(entry: tarfile.TarInfo, kinds: dict[str, str]) -> PurePosixPath | None:
    """Check one entry against those before it; its path if it is a file, None if it is a folder."""
    shown = ascii(entry.name)
    if entry.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE) or entry.issparse():
        raise FormatError(f"entry {shown} is a link, a device or another special file")
    if entry.size < 0:
        raise FormatError(f"entry {shown} has a negative size")
    kind = "folder" if entry.isdir() else "file"
    name = entry.name.rstrip("/") if kind == "folder" else entry.name
    while name.startswith("./"):
        name = name[2:]
    if kind == "folder" and name in ("", "."):
        return None
    if problem := path_problem(name):
        raise FormatError(f"the path of entry {shown} {problem}")
    folded = name.casefold()  # the target may take upper and lower case for the same
    for parent in list(PurePosixPath(folded).parents)[:-1]:
        if kinds.setdefault(str(parent), "folder") != "folder":
            raise FormatError(f"entry {shown} is inside an entry that is a file")
    if folded in kinds and (kind, kinds[folded]) != ("folder", "folder"):
        raise FormatError(f"entry {shown} takes the place of an earlier one")
    kinds[folded] = kind
    return PurePosixPath(name) if kind == "file" else None


def _copy(tar: tarfile.TarFile, entry: tarfile.TarInfo, target: Path) -> None:
    source = tar.extractfile(entry)
    assert source is not None  # only links and special files have no content
    left = entry.size
    with source, target.open("xb") as sink:
        while left:
            chunk = source.read(min(left, _CHUNK))
            if not chunk:
                raise EOFError("the archive ends inside an entry")
            sink.write(chunk)
            left -= len(chunk)
        sink.flush()
        os.fsync(sink.fileno())
