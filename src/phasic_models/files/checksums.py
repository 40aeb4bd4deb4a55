"""SHA-256 of files, and ``SHA256SUMS``."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import DownloadError, FormatError
from .atomic import write_atomic
from .names import CHECKSUMS_NAME


def sha256_file(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's content, as 64 lower-case hexadecimal digits; the file is read in pieces."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def write_checksums(files: Iterable[str | os.PathLike[str]], target: str | os.PathLike[str]) -> Path:
    """Write ``SHA256SUMS`` for some files, in the form that ``sha256sum --check`` reads.

    Parameters
    ----------
    files
        Files in the folder of `target`; they are listed by name, sorted.
    target
        The file to write.

    Returns
    -------
    Path
        `target`.
    """
    write_atomic(target, _listing({path.name: sha256_file(path) for path in map(Path, files)}))
    return Path(target)


def read_checksums(text: str, *, source: str = CHECKSUMS_NAME) -> Mapping[str, str]:
    """Read what `write_checksums` or ``sha256sum`` wrote.

    Parameters
    ----------
    text
        Lines of a SHA-256 sum, two spaces (or a space and an asterisk) and a file name.
    source
        Where the text came from, for messages.

    Returns
    -------
    Mapping
        From file name to 64 lower-case hexadecimal digits.

    Raises
    ------
    FormatError
        Where a line has another form, or two lines name the same file with different sums.
    """
    sums: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        digest, name = line[:64].lower(), line[66:]
        if line[64:66] not in ("  ", " *") or not name or len(digest) != 64 or set(digest) - set("0123456789abcdef"):
            raise FormatError(f"{source}, line {number}: expected '<64 hexadecimal digits>  <file name>'")
        if sums.setdefault(name, digest) != digest:
            raise FormatError(f"{source}, line {number}: a second, different checksum for {name!r}")
    return sums


def merged_checksums(old: bytes | None, new: Mapping[str, str], source: str) -> bytes:
    """Return the content of a SHA256SUMS with lines added or renewed."""
    known = dict(read_checksums((old or b"").decode("utf-8", "replace"), source=source))
    known.update(new)
    return _listing(known).encode()


def normalise_sha256(text: str, what: str = "checksum") -> str:
    """Return a SHA-256 in lower case without a ``sha256:`` prefix, or raise DownloadError."""
    value = text.strip().lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise DownloadError(f"{what} {text!r} is not a SHA-256: it must have 64 hexadecimal digits")
    return value


def _listing(sums: Mapping[str, str]) -> str:
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
