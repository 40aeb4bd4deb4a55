"""Addresses of files: what kind one is of, which path it names, and how one counts from another."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

from ..errors import DownloadError

REMOTE_SCHEMES = ("http", "https", "s3", "gs", "az")


def scheme_of(address: str | os.PathLike[str]) -> str:
    """Return the scheme of an address: 'file' for plain paths, Windows drive letters included."""
    scheme = urlsplit(os.fspath(address)).scheme.lower()
    return "file" if len(scheme) <= 1 else scheme


def is_remote(address: str | os.PathLike[str]) -> bool:
    """Return whether reading ``address`` needs the network."""
    return scheme_of(address) != "file"


def local_path(address: str | os.PathLike[str]) -> Path:
    """Return the path that a file:// address or a plain path names."""
    text = os.fspath(address)
    if not text.lower().startswith("file:"):
        return Path(text).expanduser()
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise DownloadError(f"{text}: a file address has three slashes, as in file:///folder/index.json")
    path = unquote(parts.path)
    if os.name == "nt" and path.startswith("/"):
        path = path.lstrip("/")
    return Path(path)


def join(base: str, relative: str) -> str:
    """Return ``relative`` as seen from the file ``base`` (both addresses); an absolute ``relative`` is returned as it is."""
    if len(urlsplit(relative).scheme) > 1:
        return relative
    scheme = scheme_of(base)
    if scheme == "file":
        return str(local_path(base).parent / relative)
    if scheme in ("http", "https"):
        return urljoin(base, quote(relative, safe="/%:@!$&'()*+,;=~?"))
    return base.rsplit("/", 1)[0] + "/" + relative.lstrip("/")
