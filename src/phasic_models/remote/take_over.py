"""Take over a library from a path or an address."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import FormatError
from ..files.addresses import is_remote, local_path
from ..files.checksums import normalise_sha256, sha256_file
from ..symbolic_cache import SymbolicCache
from .download import download
from .options import TransferOptions


def import_from(
    source: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    offline: bool | None = None,
) -> list[str]:
    """Take over a folder, an archive or an address of one.

    Parameters
    ----------
    source
        A path, or an address that :mod:`phasic_models.cloud_cache` can fetch.
    cache_dir
        The cache root to write to.
    sha256
        The checksum that an archive must have.
    offline
        Use no network; by default PHASIC_MODELS_OFFLINE.

    Returns
    -------
    list of str
        The graph hashes that are now there.
    """
    cache = SymbolicCache(cache_dir)
    if not is_remote(source):
        path = local_path(source)
        if sha256 is not None and path.is_file() and sha256_file(path) != normalise_sha256(sha256):
            raise FormatError(f"{path}: its SHA-256 is {sha256_file(path)}, expected {sha256}")
        return cache.import_library(path)
    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        archive = download(
            source,
            Path(scratch) / "archive.tar.gz",
            sha256=sha256,
            options=TransferOptions.from_environment(offline),
            expect="archive",
        )
        return cache.import_library(archive)
