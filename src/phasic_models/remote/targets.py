"""Places to publish to: a folder in an object store, a folder of this machine, a release on GitHub."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from ..errors import DownloadError, LibraryError
from ..files.addresses import local_path, scheme_of
from ..files.atomic import copy_synced, write_atomic
from ..files.checksums import sha256_file
from ..files.staging import temporary_name
from .clouds import azure_store, gcs_store, s3_store
from .download import download
from .folders import ObjectFolder, update
from .github import Repository
from .options import TransferOptions
from .retrying import ConflictError

TARGETS = "s3://bucket/folder, gs://bucket/folder, az://container/folder, file:///folder or github:owner/repo@tag"


class Target(Protocol):
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
        """Return the addresses of a file for the index."""

    def finish(self) -> bool:
        """Show what was published; False where there is nothing to do."""


def other_content(where: str, there: str, new: str) -> LibraryError:
    """Return the refusal to replace what is published; the last two are checksums."""
    return LibraryError(
        f"{where} is published already, with other content (SHA-256 {there}, the new one has {new}). "
        "A published file is never replaced: raise the version in library.yaml"
    )


class ObjectTarget:
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
            raise other_content(f"{self.url}/{name}", there, new)

    def change(self, name: str, by: Callable[[bytes | None], bytes]) -> bool:
        """Replace a small file by a function of its content; False where nothing changed."""
        return update(self.folder, name, by)

    def address(self, name: str) -> str:
        """Return the name alone, so that a copy of the whole folder is a mirror."""
        return name

    def finish(self) -> bool:
        """Show what was published: here it is seen as soon as it is written."""
        return False


class LocalTarget:
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
        temporary = temporary_name(self.folder)
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
            raise other_content(str(target), there, new)
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


class GitHubTarget:
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
            # The rest of an interrupted upload: it cannot be fetched.
            self.repository.delete(present)
            present = None
        if present is None:
            self.repository.upload(self.release, name, path)
            return True
        new = sha256_file(path)
        there = str(present.get("digest") or "").removeprefix("sha256:") or self.repository.sha256(present)
        if there != new:
            raise other_content(f"{self.url}/{name}", there, new)
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
        """Publish the release, which was a draft until now."""
        return self.repository.show(self.release)


def open_target(to: str, options: TransferOptions) -> Target:
    """Open a place to publish to: one of ``s3://``, ``gs://``, ``az://``, ``file://``, ``github:`` and paths."""
    if to.startswith("github:"):
        match = re.fullmatch(r"github:([^@]+)@(.+)", to)
        if match is None:
            raise DownloadError(f"{to!r}: write github:owner/repo@tag")
        return GitHubTarget(Repository(match.group(1), options), match.group(2))
    scheme = scheme_of(to)
    if scheme == "file":
        return LocalTarget(local_path(to))
    openers: dict[str, Callable[..., Any]] = {"s3": s3_store, "gs": gcs_store, "az": azure_store}
    parts = urlsplit(to)
    if scheme not in openers or not parts.netloc:
        raise DownloadError(f"{to!r}: cannot publish there; write {TARGETS}")
    store = openers[scheme](parts.netloc, options, writing=True)
    return ObjectTarget(ObjectFolder(store, unquote(parts.path).strip("/"), to.rstrip("/"), options))
