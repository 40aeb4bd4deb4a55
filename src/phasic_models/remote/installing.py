"""Install a library from a release index: choose its version, fetch it unless it is there, put it in its place."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..cache.installation import InstalledLibrary, check_library, install_archive, library_staging
from ..cache.prefix import layers, writable_layer
from ..errors import FormatError, OfflineError
from ..files.addresses import is_remote
from ..files.archive import DEFAULT_LIMITS
from ..files.checksums import sha256_file
from ..files.names import MANIFEST_NAME
from ..formats.release_index import Artefact
from ..progress import Progress
from .choosing import Requirement, retracted_models, select
from .download import download_first
from .index_sources import artefact_addresses, read_first
from .options import TransferOptions


def install_from_index(
    requirement: Requirement,
    addresses: Sequence[str],
    *,
    options: TransferOptions,
    cache_dir: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> InstalledLibrary:
    """Install the newest version that fits; see :func:`phasic_models.cloud_cache.install_model_library`.

    Parameters
    ----------
    requirement : Requirement
        The library, and which versions of it.
    addresses : sequence of str
        Of the index, in the order in which to try them.
    options : TransferOptions
        How patiently.
    cache_dir : path, optional
        Cache root to install into.
    progress : callable, optional
        Called with the progress of the transfer.
    """
    if options.offline and all(is_remote(address) for address in addresses):
        return _already_installed(requirement, cache_dir, addresses)
    index, home = read_first(addresses, options)
    chosen = select(index, requirement)
    artefact = next(artefact for artefact in chosen.release.artefacts if artefact.kind == "tar.gz")
    stated = retracted_models(index.libraries[chosen.name], chosen.version)
    done = InstalledLibrary(
        chosen.name,
        chosen.version,
        writable_layer(cache_dir).symbolic / chosen.name,
        source=home,
        passed_over=chosen.passed_over,
        retracted=[(model, str(retraction)) for model, retraction in stated.items()],
    )
    present = _find_installed(chosen.name, artefact.manifest_sha256, cache_dir)
    if present is not None:
        return replace(done, path=present, changed=False)
    placed = _fetch(artefact, artefact_addresses(artefact, home), done, options, progress)
    return replace(done, version=placed.version, path=placed.path, shadowed_by=_shadow(placed.path, cache_dir))


def _fetch(
    artefact: Artefact,
    addresses: Sequence[str],
    wanted: InstalledLibrary,
    options: TransferOptions,
    progress: Progress | None,
) -> InstalledLibrary:
    symbolic = wanted.path.parent
    with library_staging(symbolic) as staging:
        archive = download_first(
            addresses,
            staging / artefact.file,
            size=artefact.size,
            room=artefact.size + artefact.unpacked_size,
            sha256=artefact.sha256,
            progress=progress,
            options=options,
            expect="archive",
            part_folder=symbolic.parent / "downloads",
        )
        limits = replace(DEFAULT_LIMITS, max_bytes=artefact.unpacked_size)
        [placed] = install_archive(
            archive, symbolic, source=artefact.file, category=wanted.category, staging=staging, limits=limits
        )
        return placed


def _find_installed(category: str, manifest_sha256: str, cache_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the copy of a library that is found first, if it is the wanted one, complete and unaltered."""
    searched = layers(cache_dir)
    # Layers that are searched after the one that is installed into do not count: they may be missing for those who will use this
    # one.
    last = next((number for number, layer in enumerate(searched) if layer.writable), len(searched))
    for layer in searched[: last + 1]:
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
    for layer in layers(cache_dir):
        folder = layer.symbolic / installed.name
        if folder == installed:
            return None
        if (folder / MANIFEST_NAME).is_file():
            return folder
    return None


def _already_installed(
    requirement: Requirement, cache_dir: str | os.PathLike[str] | None, addresses: Sequence[str]
) -> InstalledLibrary:
    """Answer without the network: a fitting version that is installed, or OfflineError."""
    wanted, specifier = requirement
    found = ""
    for layer in layers(cache_dir):
        folder = layer.symbolic / wanted
        if not (folder / MANIFEST_NAME).is_file():
            continue
        version = check_library(folder).version
        if specifier.contains(version, prereleases=True):
            return InstalledLibrary(wanted, version, folder, False, str(folder))
        found = f" ({wanted} {version} is installed in {folder})"
        break
    raise OfflineError(
        f"{wanted}{specifier} is not installed{found} and the network is switched off (PHASIC_MODELS_OFFLINE or --offline), "
        f"so {addresses[0]} was not asked. Unset it, or name a local index with --index or PHASIC_MODELS_INDEX."
    )
