"""Check installed files: every checksum of a manifest, and every model against its graph hash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..cache import catalogue, prefix
from ..cache.catalogue import Library
from ..cache.entries import entry_file
from ..cache.identity import Identity, listed, of_entry
from ..cache.prefix import Layer
from ..errors import FormatError, ModelNotFoundError
from ..files.names import MANIFEST_NAME, META_SUFFIX, MODEL_SUFFIXES
from ..formats import Manifest, ManifestModel, foreign_files, manifest_problems, open_dag, read_manifest
from ..symbolic_cache import SymbolicCache
from .remedies import remedy, remedy_of_entry


class Verified(NamedTuple):
    """The result of checking one library, or one entry of the cache."""

    name: str
    folder: Path
    files: int
    bytes: int
    problems: tuple[str, ...]
    remedy: str = ""


def verify(
    names: list[str] | None = None, *, everything: bool = False, cache_dir: str | os.PathLike[str] | None = None
) -> Iterator[Verified]:
    """Check installed files: the manifest and every checksum in it, every model against its graph hash and labels, and
    that the folder holds nothing else.

    Parameters
    ----------
    names
        Categories; by default all libraries.
    everything
        Check the user's own cache entries as well, and the copies of a library that an earlier layer hides.
    cache_dir
        A cache root to search first.

    Raises
    ------
    ModelNotFoundError
        A category is not installed.
    """
    layers = prefix.layers(cache_dir)
    found = catalogue.library_folders(layers, hidden=everything)
    missing = sorted(set(names or ()) - {category for category, _, _ in found})
    if missing:
        raise ModelNotFoundError(
            f"not installed: {', '.join(missing)}. Install with: ptd-cache install {missing[0]}; searched:\n"
            f"{prefix.describe(layers)}"
        )
    for category, folder, layer in found:
        if not names or category in names:
            result = _verify_library(category, folder)
            yield result._replace(remedy=remedy(category, layer, damaged=True) if result.problems else "")
    if everything and not names:
        for entry in SymbolicCache(cache_dir).list_entries():
            result = _verify_entry(entry.hash, entry.layer)
            yield result._replace(remedy=remedy_of_entry(entry.layer, layers) if result.problems else "")


def _verify_library(category: str, folder: Path) -> Verified:
    problems: list[str] = []
    files = size = 0
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
        problems += manifest_problems(folder, manifest)
        altered = {problem.split(": ", 1)[0] for problem in problems}
        problems += [f"{path}: does not belong to the library; remove it" for path in foreign_files(folder, manifest)]
        library = Library(category, folder, Layer(folder.parent.parent, False, ""), manifest)
        for model in manifest.models:
            base = catalogue.Located(library, model).base
            found = _verify_model(manifest, model, base, altered)
            files, size = files + len(found.sizes), size + sum(found.sizes)
            problems += found.problems
    except FormatError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename or folder}: cannot be read: {error.strerror or error}")
    return Verified(category, folder, files, size, tuple(problems))


class _Checked(NamedTuple):
    sizes: list[int]
    problems: list[str]


def _verify_model(manifest: Manifest, model: ManifestModel, base: Path, altered: set[str]) -> _Checked:
    """Compare manifest, metadata and files of one model; what has a wrong checksum was reported before."""
    checked = _Checked([], [])
    identity = None
    meta = base.parent / (base.name + META_SUFFIX)
    if str(meta) not in altered:
        try:
            _, identity = listed(manifest, model, base)
            checked.sizes.append(meta.stat().st_size)
        except FormatError as error:
            checked.problems.append(str(error))
    for suffix in MODEL_SUFFIXES:
        path = base.parent / (base.name + suffix)
        if str(path) in altered or not path.is_file():
            continue
        checked.sizes.append(path.stat().st_size)
        expected = identity or Identity(MANIFEST_NAME, model.hash)
        try:
            problem = expected.problem(open_dag(path, format_version=expected.format_version), path)
        except FormatError as error:
            problem = str(error)
        if problem is not None:
            checked.problems.append(problem)
    return checked


def _verify_entry(key: str, folder: Path) -> Verified:
    problems: list[str] = []
    files = size = 0
    try:
        identity = of_entry(entry_file(folder, key, META_SUFFIX).with_suffix(""))
    except (FormatError, OSError) as error:
        problems.append(str(error))
        identity = Identity("its name", key)
    for suffix in MODEL_SUFFIXES:
        path = entry_file(folder, key, suffix)
        try:
            problem = identity.problem(open_dag(path, format_version=identity.format_version), path)
            if problem is not None:
                problems.append(problem)
            files, size = files + 1, size + path.stat().st_size
        except FileNotFoundError:
            continue
        except (FormatError, OSError) as error:
            problems.append(str(error))
    return Verified(key, folder, files, size, tuple(problems))
