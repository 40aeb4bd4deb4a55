"""Look after what is installed: verify files, compare versions, remove libraries, sweep up, examine the machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .. import compat
from ..errors import CompatibilityError, FormatError, ModelNotFoundError
from ..files.names import MANIFEST_NAME, META_SUFFIX, MODEL_SUFFIXES, PREFIX_FOLDER
from ..files.staging import remove_folder, temporary_name
from ..symbolic_cache import SymbolicCache
from . import catalogue, prefix
from .catalogue import Library
from .entries import ABANDONED_AFTER, EntryStore
from .prefix import Layer


class Verified(NamedTuple):
    """The result of checking one library, or one entry of the cache."""

    name: str
    folder: Path
    files: int
    bytes: int
    problems: tuple[str, ...]
    remedy: str = ""


class Compatibility(NamedTuple):
    """One line of the table of compatibility."""

    category: str
    version: str
    folder: Path
    requires: str
    installed: str
    fits: bool
    reason: str
    remedy: str


class Swept(NamedTuple):
    """Something that `prune` removes, or would."""

    path: Path
    bytes: int
    why: str


class Finding(NamedTuple):
    """One line of the doctor's report; ``level`` is ``ok``, ``note`` or ``problem``."""

    level: str
    subject: str
    text: str


def library_folder(category: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of an installed library, at its first place.

    Raises
    ------
    ModelNotFoundError
        It is not installed.
    """
    layers = prefix.layers(cache_dir)
    for name, folder, _ in _library_folders(layers):
        if name == category:
            return folder
    raise ModelNotFoundError(
        f"the library {category!r} is not installed; ptd-cache install {category}; searched:\n{prefix.describe(layers)}"
    )


# -- verify -----------------------------------------------------------------------------------------------------------


def verify(
    names: list[str] | None = None, *, everything: bool = False, cache_dir: str | os.PathLike[str] | None = None
) -> Iterator[Verified]:
    """Check installed files: every checksum of the manifest, and every model against its graph hash.

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
    found = _library_folders(layers, hidden=everything)
    missing = sorted(set(names or ()) - {category for category, _, _ in found})
    if missing:
        raise ModelNotFoundError(
            f"not installed: {', '.join(missing)}. Install with: ptd-cache install {missing[0]}; searched:\n"
            f"{prefix.describe(layers)}"
        )
    for category, folder, layer in found:
        if not names or category in names:
            result = _verify_library(category, folder)
            yield result._replace(remedy=_remedy(category, layer, damaged=True) if result.problems else "")
    if everything and not names:
        for entry in SymbolicCache(cache_dir).list_entries():
            result = _verify_entry(entry.hash, entry.layer)
            yield result._replace(remedy=_remedy_of_entry(entry.layer, layers) if result.problems else "")


def _library_folders(layers: list[Layer], *, hidden: bool = False) -> list[tuple[str, Path, Layer]]:
    """List the folders with a manifest, readable or not, in look-up order."""
    found: list[tuple[str, Path, Layer]] = []
    seen: set[str] = set()
    for layer in layers:
        for category in catalogue.categories(layer):
            folder = layer.symbolic / category
            if (hidden or category not in seen) and (folder / MANIFEST_NAME).exists():
                seen.add(category)
                found.append((category, folder, layer))
    return found


def _verify_library(category: str, folder: Path) -> Verified:
    from ..formats import manifest_problems, open_dag, read_manifest, read_meta

    problems: list[str] = []
    files = size = 0
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
        problems += manifest_problems(folder, manifest)
        altered = {problem.split(": ", 1)[0] for problem in problems}
        library = Library(category, folder, Layer(folder.parent.parent, False, ""), manifest)
        for model in manifest.models:
            located = catalogue.Located(library, model)
            for suffix in (*MODEL_SUFFIXES, META_SUFFIX):
                path = located.path(suffix)
                if str(path) in altered or not path.is_file():
                    continue
                files, size = files + 1, size + path.stat().st_size
                try:
                    stated = read_meta(path).graph_hash if suffix == ".meta" else open_dag(path).graph.content_hash()
                    if stated != model.hash:
                        problems.append(f"{path}: has the graph {stated}, the manifest says {model.hash}")
                except FormatError as error:
                    problems.append(str(error))
    except FormatError as error:
        problems.append(str(error))
    except OSError as error:
        problems.append(f"{error.filename or folder}: cannot be read: {error.strerror or error}")
    return Verified(category, folder, files, size, tuple(problems))


def _verify_entry(key: str, folder: Path) -> Verified:
    from ..formats import open_dag

    problems: list[str] = []
    files = size = 0
    for suffix in MODEL_SUFFIXES:
        path = folder / (key + suffix)
        try:
            found = open_dag(path).graph.content_hash()
            if found != key:
                problems.append(f"{path}: holds the graph {found}, not the one that its name says")
            files, size = files + 1, size + path.stat().st_size
        except FileNotFoundError:
            continue
        except (FormatError, OSError) as error:
            problems.append(str(error))
    return Verified(key, folder, files, size, tuple(problems))


# -- how to mend ------------------------------------------------------------------------------------------------------


def _remedy(category: str, layer: Layer, *, damaged: bool) -> str:
    """Return the command that replaces a library where it lies; what a package manager installed is left to it."""
    if layer.origin not in ("sys.prefix", "CONDA_PREFIX"):
        # A shared folder comes before the home, so a good copy at home would not be found.
        explicit = f" --cache-dir {shlex.quote(str(layer.root))}"
        ordinary = layer.origin in ("home", prefix.CACHE_DIR_VARIABLE) and layer.writable
        return f"ptd-cache install {category}{'' if ordinary else explicit}"
    package = f"phasic-models-{category}"
    environment = layer.root.parents[PREFIX_FOLDER.count("/")]
    if ".pixi" in environment.parts:
        name = "" if environment.name == "default" else f" --environment {environment.name}"
        return f"pixi reinstall{name} {package}" if damaged else f"pixi upgrade {package}"
    where = f"--prefix {shlex.quote(str(environment))}"
    return f"conda install {where} --force-reinstall {package}" if damaged else f"conda update {where} {package}"


def _remedy_of_entry(folder: Path, layers: list[Layer]) -> str:
    if any(layer.writable and layer.symbolic == folder for layer in layers):
        return "nothing to do: it is set aside and computed again when it is next asked for"
    return "nothing to do: it is passed over and computed again in your own cache"


# -- validate ---------------------------------------------------------------------------------------------------------


def compatibility(*, cache_dir: str | os.PathLike[str] | None = None) -> list[Compatibility]:
    """Compare every installed library with the installed phasic and phasic-models, without using the network."""
    rows = []
    layers = prefix.layers(cache_dir)
    with warnings.catch_warnings():
        # The table itself has a line for what cannot be read.
        warnings.simplefilter("ignore")
        readable = {library.folder: library for library in catalogue.libraries(layers=layers)}
    for category, folder, layer in _library_folders(layers):
        library = readable.get(folder)
        if library is None:
            mend = _remedy(category, layer, damaged=True)
            rows.append(Compatibility(category, "?", folder, "?", "?", False, "its manifest.json is damaged", mend))
            continue
        manifest = library.manifest
        present = "; ".join(
            f"{package} {compat.installed_version(package) or 'not installed'}" for package in compat.PACKAGES
        )
        requires = reason = ""
        try:
            requires = compat.requirements(manifest)
            compat.check(manifest, source=category)
        except CompatibilityError as error:
            reason = str(error)
        mend = _remedy(category, layer, damaged=False) if reason else ""
        rows.append(Compatibility(category, manifest.version, folder, requires, present, not reason, reason, mend))
    return rows


# -- remove -----------------------------------------------------------------------------------------------------------


def remove_library(category: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Remove a library from the user's own layer.

    Returns
    -------
    Path
        The folder that was removed.

    Raises
    ------
    ModelNotFoundError
        It is not in that layer; where a package installed it, the message names the command that removes the package.
    """
    layers = prefix.layers(cache_dir)
    own = prefix.writable_layer(cache_dir)
    folders = {layer.root: folder for name, folder, layer in _library_folders(layers, hidden=True) if name == category}
    folder = folders.get(own.root)
    if folder is None:
        where = "".join(
            f"\n  {other} belongs to a read-only layer; if a package put it there: pixi remove phasic-models-{category}"
            for other in folders.values()
        )
        raise ModelNotFoundError(f"the library {category!r} is not in {own.symbolic}{where}")
    remove_folder(folder)
    catalogue.forget()
    return folder


# -- prune ------------------------------------------------------------------------------------------------------------


def prune(
    *,
    dry_run: bool = False,
    max_size_gb: float | None = None,
    older_than: float = ABANDONED_AFTER,
    cache_dir: str | os.PathLike[str] | None = None,
) -> list[Swept]:
    """Remove what killed writers left and corrupt entries that were set aside, and shrink the user's own entries.

    Parameters
    ----------
    dry_run
        Remove nothing; the result is the same.
    max_size_gb
        Remove least recently used entries until the user's own take at most this many GB.
    older_than
        Age in seconds from which a temporary file counts as abandoned.
    cache_dir
        The cache root; by default the one that is written to.

    Returns
    -------
    list of Swept
    """
    own = prefix.writable_layer(cache_dir)
    store = EntryStore(own.root)
    swept = []
    for path in store.leftovers(older_than):
        why = "set aside as corrupt" if path.suffix == ".corrupt" else "left by a killed process"
        swept.append(Swept(path, _size(path), why))
    if max_size_gb is not None:
        swept += _least_used(store, int(max_size_gb * 1e9))
    if not dry_run:
        for item in swept:
            if item.path.parent == store.folder and store.owns(item.path.name):
                store.remove(item.path.name)
            elif item.path.is_dir() and not item.path.is_symlink():
                shutil.rmtree(item.path, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    item.path.unlink()
    return swept


def _least_used(store: EntryStore, limit: int) -> list[Swept]:
    entries = sorted((store.last_used(key) or 0.0, key) for key in store.own())
    total = sum(store.size(key) for _, key in entries)
    chosen = []
    for last_used, key in entries:
        if total <= limit:
            break
        size = store.size(key)
        day = time.strftime("%Y-%m-%d", time.localtime(last_used))
        chosen.append(Swept(store.folder / key, size, f"entry, last used {day}"))
        total -= size
    return chosen


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            return sum(item.stat().st_size for item in path.rglob("*") if item.is_file())
        return path.lstat().st_size
    return 0


# -- doctor -----------------------------------------------------------------------------------------------------------


def examine(*, cache_dir: str | os.PathLike[str] | None = None) -> list[Finding]:
    """Examine whatever a working installation depends on, without the network and without changing anything."""
    findings = [
        Finding("ok", "python", f"{sys.version.split()[0]} in {sys.prefix}"),
        _toolkit(),
        _engine(),
    ]
    phasic = compat.installed_version("phasic")
    findings.append(Finding("ok", "phasic", phasic or "not installed (it is not needed)"))
    for name in (
        prefix.CACHE_DIR_VARIABLE,
        prefix.SHARED_DIRS_VARIABLE,
        "PHASIC_MODELS_INDEX",
        "PHASIC_MODELS_OFFLINE",
    ):
        if os.environ.get(name):
            findings.append(Finding("note", name, os.environ[name]))
    layers = prefix.layers(cache_dir)
    findings += [_layer(layer) for layer in layers]
    if not any(layer.writable for layer in layers):
        findings.append(
            Finding("problem", "cache", f"nowhere to write to; set {prefix.CACHE_DIR_VARIABLE} to a folder")
        )
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        rows = compatibility(cache_dir=cache_dir)
    for row in rows:
        if row.fits:
            findings.append(Finding("ok", row.category, f"{row.version} in {row.folder}"))
        else:
            findings.append(Finding("problem", row.category, f"{row.reason}. Mend it with: {row.remedy}"))
    if not rows:
        findings.append(
            Finding(
                "note", "libraries", "none installed; pixi add phasic-models-coalescent or ptd-cache install coalescent"
            )
        )
    swept = prune(dry_run=True, cache_dir=cache_dir) if any(layer.writable for layer in layers) else []
    if swept:
        size = sum(item.bytes for item in swept)
        findings.append(Finding("note", "leftovers", f"{len(swept)} ({size:,} bytes); `ptd-cache prune` removes them"))
    return findings


def _toolkit() -> Finding:
    version = compat.installed_version("phasic-models")
    here = Path(__file__).parents[1]
    if version is None:
        return Finding("note", "phasic-models", f"runs from its source in {here}; versions cannot be compared")
    return Finding("ok", "phasic-models", f"{version} in {here}")


def _engine() -> Finding:
    try:
        from ..graph import Graph

        def two_steps(state: list[int]) -> list[tuple[list[int], float]]:
            if len(state) == 0:
                return [([2], 1.0)]
            return [([state[0] - 1], 2.0)] if state[0] else []

        value = float(Graph(two_steps).model().expectation([]))
    except Exception as error:  # whatever is wrong with the compiled core, this command has to say it
        return Finding("problem", "engine", f"does not work: {type(error).__name__}: {error}; reinstall phasic-models")
    if value != 1.0:
        return Finding("problem", "engine", f"an expectation of 1 came out as {value!r}; reinstall phasic-models")
    return Finding("ok", "engine", "works")


def _layer(layer: Layer) -> Finding:
    subject = f"layer {layer.origin}"
    folder = layer.symbolic
    if not layer.writable:
        state = (
            "readable" if os.access(folder, os.R_OK | os.X_OK) else "cannot be read" if folder.exists() else "absent"
        )
        return Finding("problem" if state == "cannot be read" else "ok", subject, f"{folder}: {state}")
    existing = folder
    while not existing.exists() and existing.parent != existing:
        existing = existing.parent
    probe = temporary_name(existing)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        text = f"{folder}: cannot be written: {error.strerror or error}; models work, but nothing is kept"
        return Finding("problem", subject, text)
    free = shutil.disk_usage(existing).free
    level = "ok" if free > 100e6 else "problem"
    return Finding(level, subject, f"{folder}: writable, {free / 1e9:.1f} GB free")
