"""Put a library into a cache folder: unpacked beside its place, checked file by file, then moved in by one rename.

A failed or killed installation leaves what was there before.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DownloadError, FormatError
from ..formats import Manifest, manifest_problems, read_manifest
from ..packaging.archive import DEFAULT_LIMITS, Limits, path_problem, safe_extract
from .impostors import impostor
from .ownership import is_abandoned, tag

MANIFEST_NAME = "manifest.json"
STAGING_PREFIX = ".tmp-install-"
_MODEL_SUFFIXES = (".json", ".safetensors")
# A whole installation takes less time than this, so a staging folder that is older belongs to nobody who is alive.
_DEAD_SECONDS = 600.0


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
        if sub.is_dir() and not _is_junk(sub.name):
            found.extend(find_libraries(sub))
    return found


def _is_junk(name: str) -> bool:
    """Whether macOS added this name to an archive."""
    return name.startswith("._") or name in (".DS_Store", "__MACOSX")


def remove_junk(folder: Path) -> None:
    """Delete what macOS puts beside the real files (``._name``, ``.DS_Store``, ``__MACOSX``)."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if _is_junk(path.name):
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
    if reason := bad_category(manifest.category):
        problems.append(f"category {manifest.category!r} {reason}")
    for path in sorted(folder.iterdir()):
        if path.suffix in _MODEL_SUFFIXES and path.name != MANIFEST_NAME and path.name not in manifest.checksums:
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
                found = impostor(stream.read(1024))
            if found is not None:
                return [f"{path.name} is {found}"]
    return []


def bad_category(category: str) -> str | None:
    """Say why a category cannot be the name of a folder, or None where it can."""
    if "/" in category or category.startswith("."):
        return "is not the name of a folder"
    return path_problem(category)


@contextlib.contextmanager
def staging_folder(symbolic: Path) -> Iterator[Path]:
    """Yield a new folder beside the libraries, and remove it afterwards; remove those of killed runs first."""
    try:
        symbolic.mkdir(parents=True, exist_ok=True)
        _remove_stale(symbolic)
        folder = symbolic / (STAGING_PREFIX + tag())
        folder.mkdir()
    except OSError as error:
        raise _cannot_write(symbolic, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _cannot_write(symbolic: Path, error: OSError) -> DownloadError:
    refusal = DownloadError(
        f"cannot write to {symbolic}: {error.strerror or error}; "
        "name a folder that you may write with cache_dir=… (ptd-cache: --cache-dir) or PHASIC_CACHE_DIR"
    )
    refusal.errno = error.errno
    return refusal


def _remove_stale(symbolic: Path) -> None:
    for folder in symbolic.glob(STAGING_PREFIX + "*"):
        if is_abandoned(folder, folder.name.removeprefix(STAGING_PREFIX), dead_for=_DEAD_SECONDS):
            shutil.rmtree(folder, ignore_errors=True)


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
        with staging_folder(symbolic) as folder:
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
    with staging_folder(symbolic) as staging:
        copy = staging / "copy"
        copy.mkdir()
        for path in sorted(folder.iterdir()):
            if path.is_file() and not _is_junk(path.name) and not path.name.startswith("."):
                shutil.copyfile(path, copy / path.name)
                _sync_file(copy / path.name)
        manifest = check_library(copy, source=str(folder))
        target = symbolic / manifest.category
        move_in(copy, target, aside=staging / "old")
    return InstalledLibrary(manifest.category, manifest.version, target, source=str(folder))


def _sync_file(path: Path) -> None:
    with path.open("r+b") as stream:
        os.fsync(stream.fileno())


def move_in(new: Path, target: Path, *, aside: Path) -> None:
    """Let a folder take the place of another, which goes to ``aside``; a reader sees the one or the other.

    Where the system cannot exchange two folders in one step, the old one is moved away first, and put back if the
    second rename fails.
    """
    if not os.path.lexists(target):
        try:
            new.rename(target)
        except OSError as error:
            # Another process may have been faster; then there is something to exchange with.
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR) and not os.path.lexists(target):
                raise
        else:
            _sync_folder(target.parent)
            return
    if _exchange(new, target):
        new.rename(aside)
    else:
        target.rename(aside)
        try:
            new.rename(target)
        except OSError:
            aside.rename(target)
            raise
    _sync_folder(target.parent)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two names in one step (Linux, macOS); False where the system or file system cannot."""
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            swap, here, flags = libc.renameat2, -100, 2  # AT_FDCWD, RENAME_EXCHANGE
            arguments = (here, os.fsencode(first), here, os.fsencode(second), flags)
        elif sys.platform == "darwin":
            swap = libc.renamex_np
            arguments = (os.fsencode(first), os.fsencode(second), 2)  # RENAME_SWAP
        else:
            return False
    except (OSError, AttributeError, TypeError):
        return False
    return bool(swap(*arguments) == 0)


def _sync_folder(folder: Path) -> None:
    """Make renames in a folder durable, where folders can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
