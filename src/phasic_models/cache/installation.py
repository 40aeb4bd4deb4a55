"""Put a library into a cache folder: unpacked beside its place, checked file by file, then moved in by one rename.

A failed or killed installation leaves what was there before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DownloadError, FormatError
from ..files.archive import DEFAULT_LIMITS, Limits, safe_extract
from ..files.atomic import copy_synced
from ..files.names import MANIFEST_NAME, MODEL_SUFFIXES, is_junk, name_problem
from ..files.staging import move_in, staging_folder
from ..files.wrong_content import explain_wrong_content
from ..formats import Manifest, manifest_problems, read_manifest


@dataclass(frozen=True)
class InstalledLibrary(os.PathLike[str]):
    """What an installation did.

    Attributes
    ----------
    category, version : str
        The library.
    path : pathlib.Path
        Its folder.
    changed : bool
        False where it was there already, complete and right.
    source : str
        The address or file that it came from.
    passed_over : list of (str, str)
        Newer versions that were not taken, and why.
    shadowed_by : pathlib.Path, optional
        Another copy of the same library that is found first, so that this one is not used.
    retracted : list of (str, str)
        Its models that must not be used any more by what the index says, and why.
    """

    category: str
    version: str
    path: Path
    changed: bool = True
    source: str = ""
    passed_over: list[tuple[str, str]] = field(default_factory=list)
    shadowed_by: Path | None = None
    retracted: list[tuple[str, str]] = field(default_factory=list)

    def __fspath__(self) -> str:
        return str(self.path)


def find_libraries(folder: Path) -> list[Path]:
    """Return the folders with a manifest.json: ``folder`` itself, or its sub-folders."""
    if (folder / MANIFEST_NAME).is_file():
        return [folder]
    found: list[Path] = []
    for sub in sorted(folder.iterdir()):
        if sub.is_dir() and not is_junk(sub.name):
            found.extend(find_libraries(sub))
    return found


def remove_junk(folder: Path) -> None:
    """Delete what macOS puts beside the real files (``._name``, ``.DS_Store``, ``__MACOSX``)."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if is_junk(path.name):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.exists() or path.is_symlink():
                path.unlink()


def check_library(folder: Path, *, source: str | None = None) -> Manifest:
    """Check a library folder against its manifest, file by file.

    Parameters
    ----------
    folder : pathlib.Path
        The folder with the manifest.json.
    source : str, optional
        Where it came from, for messages.

    Returns
    -------
    Manifest
        Its manifest.

    Raises
    ------
    FormatError
        A file is missing, altered or not covered by a checksum; the message lists all of them.
    """
    where = source or str(folder)
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
    except FormatError as error:
        raise FormatError("; ".join([str(error), *_impostors(folder)])) from error
    problems = manifest_problems(folder, manifest)
    if reason := name_problem(manifest.category):
        problems.append(f"category {manifest.category!r} {reason}")
    for path in sorted(folder.iterdir()):
        if path.suffix in MODEL_SUFFIXES and path.name != MANIFEST_NAME and path.name not in manifest.checksums:
            problems.append(f"{path.name} is not in the manifest")
    if problems:
        problems += _impostors(folder)
        raise FormatError(f"{where}: library {manifest.category!r} does not match its manifest: " + "; ".join(problems))
    return manifest


def _impostors(folder: Path) -> list[str]:
    """Return what explains wrong files: the first of them that is not data at all."""
    for path in sorted(folder.glob("*")):
        if path.is_file():
            with path.open("rb") as stream:
                found = explain_wrong_content(stream.read(1024))
            if found is not None:
                return [f"{path.name} is {found}"]
    return []


@contextlib.contextmanager
def library_staging(symbolic: Path) -> Iterator[Path]:
    """Yield a new folder beside the libraries, and remove it afterwards; remove those of killed runs first."""
    with contextlib.ExitStack() as stack:
        try:
            symbolic.mkdir(parents=True, exist_ok=True)
            folder = stack.enter_context(staging_folder(symbolic))
        except OSError as error:
            raise _cannot_write(symbolic, error) from error
        yield folder


def _cannot_write(symbolic: Path, error: OSError) -> DownloadError:
    refusal = DownloadError(
        f"cannot write to {symbolic}: {error.strerror or error}; "
        "name a folder that you may write with cache_dir=… (ptd-cache: --cache-dir) or PHASIC_CACHE_DIR"
    )
    refusal.errno = error.errno
    return refusal


def install_archive(
    archive: str | os.PathLike[str],
    symbolic: str | os.PathLike[str],
    *,
    source: str | None = None,
    category: str | None = None,
    staging: Path | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> list[InstalledLibrary]:
    """Install every library that a tarball holds into ``symbolic/<category>/``.

    Parameters
    ----------
    archive : path
        A .tar.gz whose files lie at the top, or in one folder for each library.
    symbolic : path
        The ``symbolic`` folder of a cache root.
    source : str, optional
        Where the archive came from, for messages.
    category : str, optional
        The library that it must hold.
    staging : pathlib.Path, optional
        A folder in ``symbolic`` to work in.
    limits : Limits
        How much it may unpack to.

    Returns
    -------
    list of InstalledLibrary

    Raises
    ------
    FormatError
        The archive is unsafe, damaged or not a model library. What was installed before is untouched.
    """
    symbolic = Path(symbolic).expanduser()
    where = source or os.fspath(archive)
    if staging is None:
        with library_staging(symbolic) as folder:
            return install_archive(archive, symbolic, source=source, category=category, staging=folder, limits=limits)
    unpacked = staging / "unpacked"
    try:
        safe_extract(archive, unpacked, limits)
    except FormatError as error:
        raise FormatError(str(error).replace(os.fspath(archive), where)) from error
    except OSError as error:
        raise _cannot_write(symbolic, error) from error
    remove_junk(unpacked)
    roots = find_libraries(unpacked)
    if not roots:
        raise FormatError(f"{where}: it holds no {MANIFEST_NAME}, so it is not a model library")
    manifests = [check_library(root, source=where) for root in roots]
    if category is not None and [m.category for m in manifests] != [category]:
        raise FormatError(f"{where}: it holds {', '.join(m.category for m in manifests)}, not the library {category}")
    names = [manifest.category.casefold() for manifest in manifests]
    if len(set(names)) != len(names):
        raise FormatError(f"{where}: it holds the same library twice")
    installed = []
    for root, manifest in zip(roots, manifests, strict=True):
        target = symbolic / manifest.category
        try:
            move_in(root, target, aside=staging / f"old-{manifest.category}")
        except OSError as error:
            raise _cannot_write(symbolic, error) from error
        installed.append(InstalledLibrary(manifest.category, manifest.version, target, source=where))
    return installed


def install_folder(folder: str | os.PathLike[str], symbolic: str | os.PathLike[str]) -> InstalledLibrary:
    """Install a copy of a library folder, checked, into ``symbolic/<category>/``."""
    folder, symbolic = Path(folder).expanduser(), Path(symbolic).expanduser()
    check_library(folder)
    with library_staging(symbolic) as staging:
        copy = staging / "copy"
        copy.mkdir()
        for path in sorted(folder.iterdir()):
            if path.is_file() and not is_junk(path.name) and not path.name.startswith("."):
                copy_synced(path, copy / path.name)
        manifest = check_library(copy, source=str(folder))
        target = symbolic / manifest.category
        move_in(copy, target, aside=staging / "old")
    return InstalledLibrary(manifest.category, manifest.version, target, source=str(folder))
