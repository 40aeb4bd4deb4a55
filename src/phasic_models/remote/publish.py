"""Publish a library: tarball first, then SHA256SUMS, then the index, so that no reader sees a pointer to what is not there.

A published file is never replaced. Publishing the same content again changes nothing, so after an interrupted run,
the same command completes the publication.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache.installation import check_library, remove_junk
from ..errors import LibraryError
from ..files.checksums import merged_checksums, sha256_file
from ..files.names import CHECKSUMS_NAME, INDEX_NAME, MANIFEST_NAME
from ..formats.release_index import Index, encode_index, parse_index
from ..packaging.indexing import describe_tarball, merge, write_release_files
from ..packaging.tarball import pack_library, tarball_name
from .github import Repository
from .index_sources import absolute
from .options import TransferOptions
from .targets import GitHubTarget, Target, open_target, other_content


@dataclass(frozen=True)
class Publication:
    """The result of a publication.

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
        Use no network; by default PHASIC_MODELS_OFFLINE.

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
        target = open_target(to, options)
        there = Path(scratch) / "there" / name
        if target.fetch(name, there):
            published = describe_tarball(there)[3]
            if published.artefacts[0].content_sha256 != release.artefacts[0].content_sha256:
                raise other_content(f"{target.url}/{name}", sha256_file(there), sha256_file(tarball))
            # The same files, perhaps packed by another compressor: what is published stays.
            tarball, release = there, published
        artefact = release.artefacts[0]
        entry = _renamed(release, name, target.address(name))
        # Before anything is written: a version that is published otherwise is refused without a trace.
        merge(_base(target, target.read(INDEX_NAME)), category, version, description, entry)
        created = target.create(name, tarball)
        changed = target.change(
            CHECKSUMS_NAME, lambda old: merged_checksums(old, {name: artefact.sha256}, f"{target.url}/{CHECKSUMS_NAME}")
        )
        indexed = target.change(
            INDEX_NAME,
            lambda old: encode_index(merge(_base(target, old), category, version, description, entry)),
        )
        return Publication(
            category,
            version,
            name,
            artefact.sha256,
            f"{target.url}/{name}",
            f"{target.url}/{INDEX_NAME}",
            any((created, changed, indexed, target.finish())),
        )


def _renamed(release: Any, name: str, address: str) -> Any:
    import msgspec

    artefact = msgspec.structs.replace(release.artefacts[0], file=name, urls=[address])
    return msgspec.structs.replace(release, artefacts=[artefact])


def _base(target: Target, content: bytes | None) -> Index:
    """Return the index to continue: the one there, or for a new GitHub release that of the latest one."""
    if content is not None:
        return parse_index(content, source=f"{target.url}/{INDEX_NAME}")
    if isinstance(target, GitHubTarget):
        return _latest_index(target.repository)
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
        Use no network; by default PHASIC_MODELS_OFFLINE.

    Returns
    -------
    pathlib.Path
        The index; SHA256SUMS is stored beside it.
    """
    repository = Repository(repo, TransferOptions.from_environment(offline))
    home = repository.download_url(tag, "x").removesuffix("/x")
    return write_release_files(folder, mirrors=[home, *mirrors], base=_latest_index(repository))[0]
