"""Publish libraries to, and fetch them from, S3, Google Cloud Storage, Azure, GitHub releases and any address.

One engine (obstore) carries every protocol. Everything that arrives is checked against a size and a SHA-256 before it takes
its place, and ``PHASIC_MODELS_OFFLINE=1`` contacts nobody.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .download import check_free_space, download_first
from .errors import FormatError, OfflineError
from .formats import sha256_file
from .index import artefact_addresses, index_addresses, parse_requirement, read_index, select
from .install import MANIFEST_NAME, InstalledLibrary, check_library, install_archive, staging_folder
from .progress import Progress, reporting
from .stores import TransferOptions, is_remote

__all__ = [
    "InstalledLibrary",
    "download_from_url",
    "install_model_library",
]


def install_model_library(
    name: str,
    version: str | None = None,
    index: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    progress: Progress | bool | None = None,
) -> InstalledLibrary:
    """Install a library from a release index into the user's cache.

    Parameters
    ----------
    name : str
        ``coalescent``, ``coalescent==1.2.0`` or ``coalescent>=1.1``: the newest version that works with the installed phasic
        and this toolkit.
    version : str, optional
        A version or range, in place of one in ``name``.
    index : str, path or list of them, optional
        An index.json: an address (http, https, s3, gs, az, file) or a path; a list is tried in order. By default
        PHASIC_MODELS_INDEX, the configuration file, then the project's GitHub release.
    cache_dir : path, optional
        Cache root to install into; by default PHASIC_CACHE_DIR, then ``~/.phasic_cache``.
    offline : bool, optional
        Contact nobody; by default PHASIC_MODELS_OFFLINE.
    progress : callable, bool, optional
        ``progress(label, done, total)``; True or False forces or suppresses the bar, which by default appears at a terminal.

    Returns
    -------
    InstalledLibrary
        What is installed now, and where. Nothing is fetched where the same version is there already, complete and unaltered.

    Raises
    ------
    ModelNotFoundError, CompatibilityError
        The index has no such library or version, or none that works here (the message says why of each).
    DownloadError, OfflineError
        It could not be fetched, or what came is not what the index says.
    FormatError
        The index or the library in the archive is damaged.
    """
    from .prefix import writable_layer

    options = TransferOptions.from_environment(offline)
    addresses = index_addresses(index)
    if options.offline and all(is_remote(address) for address in addresses):
        return _already_installed(name, version, cache_dir, addresses)
    found, index_address = read_index(addresses, options=options)
    selection = select(found, name, version)
    artefact = next(a for a in selection.release.artefacts if a.kind == "tar.gz")
    present = _find_installed(selection.name, artefact.manifest_sha256, cache_dir)
    symbolic = writable_layer(cache_dir).symbolic
    if present is not None:
        return InstalledLibrary(
            selection.name, selection.version, present, False, index_address, selection.passed_over
        )
    addresses = artefact_addresses(artefact, index_address)
    with staging_folder(symbolic) as staging, reporting(progress) as report:
        check_free_space(staging, artefact.size + artefact.unpacked_size, f"{selection.name} {selection.version}")
        archive = download_first(
            addresses,
            staging / artefact.file,
            size=artefact.size,
            sha256=artefact.sha256,
            progress=report,
            options=options,
            expect="archive",
            part_folder=symbolic.parent / "downloads",
        )
        [installed] = install_archive(
            archive, symbolic, source=artefact.file, category=selection.name, staging=staging
        )
    return InstalledLibrary(
        installed.category,
        installed.version,
        installed.path,
        True,
        index_address,
        selection.passed_over,
        _shadow(installed.path, cache_dir),
    )


def _find_installed(
    category: str, manifest_sha256: str, cache_dir: str | os.PathLike[str] | None
) -> Path | None:
    """Return the copy of a library that is found first, if it is the wanted one, complete and unaltered."""
    from .prefix import layers

    for layer in layers(cache_dir):
        folder = layer.symbolic / category
        try:
            if not (folder / MANIFEST_NAME).is_file():
                continue
            if sha256_file(folder / MANIFEST_NAME) != manifest_sha256:
                return None
            check_library(folder)
        except (OSError, FormatError):
            return None
        return folder
    return None


def _shadow(installed: Path, cache_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the copy of a library that look-ups find before the one just installed."""
    from .prefix import layers

    for layer in layers(cache_dir):
        folder = layer.symbolic / installed.name
        if folder == installed:
            return None
        if (folder / MANIFEST_NAME).is_file():
            return folder
    return None


def _already_installed(
    name: str, version: str | None, cache_dir: str | os.PathLike[str] | None, addresses: Sequence[str]
) -> InstalledLibrary:
    """Answer without the network: a fitting version that is installed, or OfflineError."""
    from .prefix import layers

    wanted, specifier = parse_requirement(name, version)
    found = ""
    for layer in layers(cache_dir):
        folder = layer.symbolic / wanted
        if not (folder / MANIFEST_NAME).is_file():
            continue
        manifest = check_library(folder)
        if specifier.contains(manifest.version, prereleases=True):
            return InstalledLibrary(wanted, manifest.version, folder, False, str(folder))
        found = f" ({wanted} {manifest.version} is installed in {folder})"
        break
    raise OfflineError(
        f"{wanted}{specifier} is not installed{found} and the network is switched off (PHASIC_MODELS_OFFLINE or --offline), "
        f"so {addresses[0]} was not asked. Unset it, or name a local index with --index or PHASIC_MODELS_INDEX."
    )
