"""Publish a library: tarball first, then SHA256SUMS, then the index, so that no reader sees a pointer to what is not there.

A published file is never replaced. Publishing the same content again changes nothing, so a run that was killed is
completed by the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from ..cache.installation import check_library, remove_junk
from ..errors import DownloadError, LibraryError
from ..files.addresses import local_path, scheme_of
from ..files.atomic import TEMPORARY_PREFIX, copy_synced, write_atomic
from ..files.checksums import merged_checksums, sha256_file
from ..files.names import CHECKSUMS_NAME, INDEX_NAME, MANIFEST_NAME
from ..formats.release_index import Index, encode_index, parse_index
from ..packaging.indexing import describe_tarball, merge, write_release_files
from ..packaging.tarball import pack_library, tarball_name
from .clouds import azure_store, gcs_store, s3_store
from .download import download
from .folders import ObjectFolder, update
from .github import Repository
from .index_sources import absolute
from .options import TransferOptions
from .retrying import ConflictError

TARGETS = "s3://bucket/folder, gs://bucket/folder, az://container/folder, file:///folder or github:owner/repo@tag"


@dataclass(frozen=True)
class Publication:
    """What was published.

    Attributes
    ----------
    category, version : str
        The library.
    file : str
        The tarball's name.
    sha256 : str
        Its SHA-256.
    url : str
        Its address.
    index : str
        The address of the index that lists it.
    changed : bool
        False where all of it was published already.
    """

    category: str
    version: str
    file: str
    sha256: str
    url: str
    index: str
    changed: bool


class Shelf(Protocol):
    """A place to publish to."""

    url: str

    def read(self, name: str) -> bytes | None:
        """Return a small file's content, or None where there is no such file."""

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a published file, if there is one of that name."""

    def create(self, name: str, path: Path) -> bool:
        """Put a file that must not be there; False where the same content is there already."""

    def change(self, name: str, by: Callable[[bytes | None], bytes]) -> bool:
        """Replace a small file by a function of its content; False where nothing changed."""

    def address(self, name: str) -> str:
        """Return what the index says of where a file lies."""

    def finish(self) -> bool:
        """Show what was published; False where there is nothing to do."""


def _refuse_other_content(where: str, there: str, new: str) -> LibraryError:
    return LibraryError(
        f"{where} is published already, with other content (SHA-256 {there}, the new one has {new}). "
        "A published file is never replaced: raise the version in library.yaml"
    )


class ObjectShelf:
    """A folder in an object store."""

    def __init__(self, folder: ObjectFolder) -> None:
        self.folder = folder
        self.url = folder.url.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """Return a small file's content, or None where there is no such file."""
        found = self.folder.read(name)
        return None if found is None else found[0]

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a published file, if there is one of that name."""
        if self.folder.size(name) is None:
            return False
        download(self.folder.object(name), target, options=self.folder.options)
        return True

    def create(self, name: str, path: Path) -> bool:
        """Put a file that must not be there; False where the same content is there already."""
        try:
            self.folder.write(name, path, mode="create")
        except ConflictError:
            self._compare(name, path)
            return False
        except NotImplementedError:
            # A store without conditional writes.
            if self.folder.size(name) is not None:
                self._compare(name, path)
                return False
            self.folder.write(name, path)
        return True

    def _compare(self, name: str, path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
            there = sha256_file(
                download(self.folder.object(name), Path(scratch) / "there", options=self.folder.options)
            )
        if there != (new := sha256_file(path)):
            raise _refuse_other_content(f"{self.url}/{name}", there, new)

    def change(self, name: str, by: Callable[[bytes | None], bytes]) -> bool:
        """Replace a small file by a function of its content; False where nothing changed."""
        return update(self.folder, name, by)

    def address(self, name: str) -> str:
        """Return the name alone, so that a copy of the whole folder is a mirror."""
        return name

    def finish(self) -> bool:
        """Show what was published: here it is seen as soon as it is written."""
        return False


class LocalShelf:
    """A folder on this machine or a file server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = str(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DownloadError(f"cannot publish to {folder}: {error.strerror or error}") from error

    def read(self, name: str) -> bytes | None:
        """Return a small file's content, or None where there is no such file."""
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a published file, if there is one of that name."""
        if not (self.folder / name).is_file():
            return False
        download(str(self.folder / name), target)
        return True

    def create(self, name: str, path: Path) -> bool:
        """Put a file that must not be there; False where the same content is there already."""
        target = self.folder / name
        temporary = self.folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        try:
            copy_synced(path, temporary)
            try:
                # A link, unlike a rename, fails where the name is taken.
                os.link(temporary, target)
            except FileExistsError:
                return self._same(target, path)
            except OSError:
                if target.exists():
                    return self._same(target, path)
                temporary.rename(target)
        except OSError as error:
            raise DownloadError(f"cannot publish {target}: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _same(self, target: Path, path: Path) -> bool:
        there, new = sha256_file(target), sha256_file(path)
        if there != new:
            raise _refuse_other_content(str(target), there, new)
        return False

    def change(self, name: str, by: Callable[[bytes | None], bytes]) -> bool:
        """Replace a small file by a function of its content; False where nothing changed."""
        from filelock import FileLock

        lock = FileLock(self.folder / f".{name}.lock", timeout=30)
        with contextlib.ExitStack() as stack:
            # On file systems without working locks two publishers at once are caught by the look afterwards, mostly.
            with contextlib.suppress(OSError, NotImplementedError):
                stack.enter_context(lock)
            for _ in range(5):
                old = self.read(name)
                new = by(old)
                if new == old:
                    return False
                try:
                    write_atomic(self.folder / name, new)
                except OSError as error:
                    raise DownloadError(f"cannot publish {self.folder / name}: {error.strerror or error}") from error
                if self.read(name) == new:
                    return True
        raise DownloadError(f"{self.folder / name}: others keep changing it; try again later")

    def address(self, name: str) -> str:
        """Return the name alone, so that a copy of the whole folder is a mirror."""
        return name

    def finish(self) -> bool:
        """Show what was published: here it is seen as soon as it is written."""
        return False


class GitHubShelf:
    """The files attached to a release on GitHub."""

    def __init__(self, repository: Repository, tag: str) -> None:
        repository.require_token()
        self.repository = repository
        self.tag = tag
        self.release = repository.ensure_release(tag)
        self.url = f"{repository.server}/{repository.name}/releases/download/{tag}"

    def read(self, name: str) -> bytes | None:
        """Return a small file's content, or None where there is no such file."""
        asset = self.repository.assets(self.release).get(name)
        return None if asset is None else self._content(asset)

    def _content(self, asset: dict[str, Any]) -> bytes:
        return self.repository.content(asset)

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a published file, if there is one of that name."""
        present = self.repository.assets(self.release).get(name)
        if present is None or present.get("state", "uploaded") != "uploaded":
            return False
        self.repository.fetch(present, target)
        return True

    def create(self, name: str, path: Path) -> bool:
        """Put a file that must not be there; False where the same content is there already."""
        present = self.repository.assets(self.release).get(name)
        if present is not None and present.get("state", "uploaded") != "uploaded":
            # What an interrupted upload leaves: nobody can fetch it.
            self.repository.delete(present)
            present = None
        if present is None:
            self.repository.upload(self.release, name, path)
            return True
        new = sha256_file(path)
        there = str(present.get("digest") or "").removeprefix("sha256:") or self.repository.sha256(present)
        if there != new:
            raise _refuse_other_content(f"{self.url}/{name}", there, new)
        return False

    def change(self, name: str, by: Callable[[bytes | None], bytes]) -> bool:
        """Replace a small file by a function of its content; False where nothing changed.

        GitHub cannot replace a file in one step: the new one is attached under another name, the old one removed, and
        the new one renamed. A reader in between finds no index, never a wrong one; a killed run is completed by the
        next.
        """
        assets = self.repository.assets(self.release)
        pending = sorted(asset for asset in assets if re.fullmatch(rf"{re.escape(name)}\.new-[0-9a-f]{{16}}", asset))
        old = self._content(assets[name]) if name in assets else None
        if old is None and pending:
            old = self._content(assets[pending[-1]])
        content = by(old)
        changed = name not in assets or content != old
        if changed:
            fresh = self.repository.upload(self.release, f"{name}.new-{secrets.token_hex(8)}", content)
            if name in assets:
                self.repository.delete(assets[name])
            self.repository.rename(fresh, name)
        for leftover in pending:
            self.repository.delete(assets[leftover])
        return changed

    def address(self, name: str) -> str:
        """Return the whole address, because every release has a folder of its own."""
        return self.repository.download_url(self.tag, name)

    def finish(self) -> bool:
        """Let the release, a draft until now, be seen."""
        return self.repository.show(self.release)


def open_shelf(to: str, options: TransferOptions) -> Shelf:
    """Open a place to publish to: one of ``s3://``, ``gs://``, ``az://``, ``file://``, ``github:`` and paths."""
    if to.startswith("github:"):
        match = re.fullmatch(r"github:([^@]+)@(.+)", to)
        if match is None:
            raise DownloadError(f"{to!r}: write github:owner/repo@tag")
        return GitHubShelf(Repository(match.group(1), options), match.group(2))
    scheme = scheme_of(to)
    if scheme == "file":
        return LocalShelf(local_path(to))
    openers: dict[str, Callable[..., Any]] = {"s3": s3_store, "gs": gcs_store, "az": azure_store}
    parts = urlsplit(to)
    if scheme not in openers or not parts.netloc:
        raise DownloadError(f"{to!r}: cannot publish there; write {TARGETS}")
    store = openers[scheme](parts.netloc, options, writing=True)
    return ObjectShelf(ObjectFolder(store, unquote(parts.path).strip("/"), to.rstrip("/"), options))


def pack(library: str | os.PathLike[str], folder: Path, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return a library's tarball, packed into ``folder`` where it is not one already.

    Parameters
    ----------
    library : str or path
        A .tar.gz, a folder with a manifest.json, or the name of an installed library.
    folder : pathlib.Path
        Where to pack.
    cache_dir : path, optional
        Cache root in which an installed library is looked up first.
    """
    from ..cache.prefix import layers

    path = Path(library).expanduser()
    if path.is_file():
        return path
    candidates = [path, *(layer.symbolic / os.fspath(library) for layer in layers(cache_dir))]
    source = next((candidate for candidate in candidates if (candidate / MANIFEST_NAME).is_file()), None)
    if source is None:
        raise LibraryError(
            f"{os.fspath(library)!r} is neither a .tar.gz, nor a folder with a {MANIFEST_NAME}, nor an installed library; "
            "`ptd-cache list` shows those"
        )
    checked = check_library(source)
    copy = folder / checked.category
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns(".*", "*.lock", CHECKSUMS_NAME))
    remove_junk(copy)
    return pack_library(copy, folder / tarball_name(checked.category, checked.version))


def publish(
    library: str | os.PathLike[str],
    to: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
) -> Publication:
    """Publish one library.

    Parameters
    ----------
    library : str or path
        A .tar.gz, a folder with a manifest.json, or the name of an installed library.
    to : str
        ``s3://bucket/folder``, ``gs://bucket/folder``, ``az://container/folder``, ``file:///folder`` or a path, or
        ``github:owner/repo@tag``.
    cache_dir : path, optional
        Cache root in which an installed library is looked up first.
    offline : bool, optional
        Contact nobody; by default PHASIC_MODELS_OFFLINE.

    Returns
    -------
    Publication

    Raises
    ------
    LibraryError
        This version is published already with other content, or there is no such library.
    DownloadError
        The place cannot be written.
    """
    options = TransferOptions.from_environment(offline)
    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        tarball = pack(library, Path(scratch), cache_dir)
        category, version, description, release = describe_tarball(tarball)
        name = tarball_name(category, version)
        shelf = open_shelf(to, options)
        there = Path(scratch) / "there" / name
        if shelf.fetch(name, there):
            published = describe_tarball(there)[3]
            if published.artefacts[0].content_sha256 != release.artefacts[0].content_sha256:
                raise _refuse_other_content(f"{shelf.url}/{name}", sha256_file(there), sha256_file(tarball))
            # The same files, perhaps packed by another compressor: what is published stays.
            tarball, release = there, published
        artefact = release.artefacts[0]
        entry = _renamed(release, name, shelf.address(name))
        # Before anything is written: a version that is published otherwise is refused without a trace.
        merge(_base(shelf, shelf.read(INDEX_NAME)), category, version, description, entry)
        created = shelf.create(name, tarball)
        changed = shelf.change(
            CHECKSUMS_NAME, lambda old: merged_checksums(old, {name: artefact.sha256}, f"{shelf.url}/{CHECKSUMS_NAME}")
        )
        indexed = shelf.change(
            INDEX_NAME,
            lambda old: encode_index(merge(_base(shelf, old), category, version, description, entry)),
        )
        return Publication(
            category,
            version,
            name,
            artefact.sha256,
            f"{shelf.url}/{name}",
            f"{shelf.url}/{INDEX_NAME}",
            any((created, changed, indexed, shelf.finish())),
        )


def _renamed(release: Any, name: str, address: str) -> Any:
    import msgspec

    artefact = msgspec.structs.replace(release.artefacts[0], file=name, urls=[address])
    return msgspec.structs.replace(release, artefacts=[artefact])


def _base(shelf: Shelf, content: bytes | None) -> Index:
    """Return the index to continue: the one there, or for a new GitHub release that of the latest one."""
    if content is not None:
        return parse_index(content, source=f"{shelf.url}/{INDEX_NAME}")
    if isinstance(shelf, GitHubShelf):
        return _latest_index(shelf.repository)
    return Index()


def _latest_index(repository: Repository) -> Index:
    """Return the index of a repository's latest release, with addresses that hold in another one too."""
    latest = repository.latest_content(INDEX_NAME)
    if latest is None:
        return Index()
    content, address = latest
    return absolute(parse_index(content, source=address), address)


def write_github_index(
    folder: str | os.PathLike[str],
    repo: str,
    tag: str,
    *,
    mirrors: Sequence[str] = (),
    offline: bool | None = None,
) -> Path:
    """Write the index.json of a release to come, for the tarballs of a folder, continuing that of the latest release.

    Parameters
    ----------
    folder : path
        A folder with the tarballs that will be attached.
    repo, tag : str
        ``owner/name``, and the release to come.
    mirrors : sequence of str
        Addresses of folders that have the same tarballs, to be tried after the release itself.
    offline : bool, optional
        Contact nobody; by default PHASIC_MODELS_OFFLINE.

    Returns
    -------
    pathlib.Path
        The index; SHA256SUMS lies beside it.
    """
    repository = Repository(repo, TransferOptions.from_environment(offline))
    home = repository.download_url(tag, "x").removesuffix("/x")
    return write_release_files(folder, mirrors=[home, *mirrors], base=_latest_index(repository))[0]
