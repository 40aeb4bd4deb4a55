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
from ..files.checksums import sha256_file
from ..files.names import MANIFEST_NAME, MODEL_SUFFIXES, category_problem, is_junk
from ..files.staging import move_in, staging_folder
from ..files.wrong_content import explain_wrong_content
from ..formats import Manifest, decode_manifest, manifest_problems


@dataclass(frozen=True)
class InstalledLibrary(os.PathLike[str]):
    """The result of an installation.

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


@dataclass(frozen=True)
class CheckedLibrary:
    """A folder whose files are what its manifest says; only `check_library` makes one, and what is installed is one.

    Attributes
    ----------
    folder : pathlib.Path
        The folder. No other process writes to it, so that the checked files are the installed ones.
    manifest : Manifest
        Its manifest.
    """

    folder: Path
    manifest: Manifest

    @property
    def category(self) -> str:
        """The library's name."""
        return self.manifest.category

    @property
    def version(self) -> str:
        """The library's version."""
        return self.manifest.version

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a file; those that the manifest covers were hashed when the folder was checked."""
        known = self.manifest.checksums.get(name)
        return sha256_file(self.folder / name) if known is None else known.removeprefix("sha256:")


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


def check_library(folder: Path, *, source: str | None = None) -> CheckedLibrary:
    """Check a library folder against its manifest, file by file; every file is hashed once.

    Parameters
    ----------
    folder : pathlib.Path
        The folder with the manifest.json.
    source : str, optional
        Where it came from, for messages.

    Returns
    -------
    CheckedLibrary

    Raises
    ------
    FormatError
        A file is missing, altered or not covered by a checksum; the message lists all of them.
    """
    where = source or str(folder)
    try:
        manifest = decode_manifest((folder / MANIFEST_NAME).read_bytes(), source=f"{where}/{MANIFEST_NAME}")
    except FormatError as error:
        raise FormatError("; ".join([str(error), *_explanations(folder)])) from error
    problems = [problem.removeprefix(f"{folder}{os.sep}") for problem in manifest_problems(folder, manifest)]
    if reason := category_problem(manifest.category):
        problems.append(f"category {manifest.category!r} {reason}")
    for path in sorted(folder.iterdir()):
        if path.suffix in MODEL_SUFFIXES and path.name != MANIFEST_NAME and path.name not in manifest.checksums:
            problems.append(f"{path.name} is not in the manifest")
    if problems:
        problems += _explanations(folder)
        raise FormatError(f"{where}: library {manifest.category!r} does not match its manifest: " + "; ".join(problems))
    return CheckedLibrary(folder, manifest)


def _explanations(folder: Path) -> list[str]:
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
        A .tar.gz with its files at the top, or in one folder for each library.
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
        The archive is unsafe, damaged or not a model library. The installed libraries are not changed.
    """
    symbolic = Path(symbolic).expanduser()
    where = source or os.fspath(archive)
    if staging is None:
        with library_staging(symbolic) as folder:
            return install_archive(archive, symbolic, source=source, category=category, staging=folder, limits=limits)
    try:
        roots = unpack(archive, staging / "unpacked", limits)
    except FormatError as error:
        raise FormatError(str(error).replace(os.fspath(archive), where)) from error
    except OSError as error:
        raise _cannot_write(symbolic, error) from error
    if not roots:
        raise FormatError(f"{where}: it holds no {MANIFEST_NAME}, so it is not a model library")
    libraries = [check_library(root, source=where) for root in roots]
    if category is not None and [library.category for library in libraries] != [category]:
        found = ", ".join(library.category for library in libraries)
        raise FormatError(f"{where}: it holds {found}, not the library {category}")
    if len({library.category.casefold() for library in libraries}) != len(libraries):
        raise FormatError(f"{where}: it holds the same library twice")
    return [place(library, symbolic, staging, where) for library in libraries]


def install_folder(folder: str | os.PathLike[str], symbolic: str | os.PathLike[str]) -> InstalledLibrary:
    """Install a copy of a library folder, checked, into ``symbolic/<category>/``."""
    folder, symbolic = Path(folder).expanduser(), Path(symbolic).expanduser()
    with library_staging(symbolic) as staging:
        copy = copy_files(folder, staging / "copy")
        return place(check_library(copy, source=str(folder)), symbolic, staging, str(folder))


def unpack(archive: str | os.PathLike[str], folder: Path, limits: Limits = DEFAULT_LIMITS) -> list[Path]:
    """Unpack a tarball into a new folder, without what macOS adds, and return the libraries in it, not checked yet."""
    safe_extract(archive, folder, limits)
    remove_junk(folder)
    return find_libraries(folder)


def copy_files(folder: Path, target: Path) -> Path:
    """Copy the plain files of a folder into a new one, which no other process changes."""
    target.mkdir()
    for path in sorted(folder.iterdir()):
        if path.is_file() and not is_junk(path.name) and not path.name.startswith("."):
            copy_synced(path, target / path.name)
    return target


def place(library: CheckedLibrary, symbolic: Path, staging: Path, source: str) -> InstalledLibrary:
    """Move a checked library to its place; an older one is moved to the staging folder, and removed with it."""
    target = symbolic / library.category
    try:
        move_in(library.folder, target, aside=staging / f"old-{library.category}")
    except OSError as error:
        raise _cannot_write(symbolic, error) from error
    return InstalledLibrary(library.category, library.version, target, source=source)
