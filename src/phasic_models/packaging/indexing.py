"""Make the release index of tarballs: describe each by its content, and add it to what is published already."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from packaging.version import Version

from ..cache.installation import CheckedLibrary, check_library, unpack
from ..compat import stated_ranges
from ..errors import LibraryError
from ..files.atomic import write_atomic
from ..files.checksums import sha256_file, write_checksums
from ..files.names import CHECKSUMS_NAME, INDEX_NAME, MANIFEST_NAME
from ..formats import Manifest, Retraction, read_meta
from ..formats.release_index import Artefact, Index, LibraryEntry, ModelEntry, Release, encode_index


def content_digest(library: CheckedLibrary) -> str:
    """Return the SHA-256 of what ``sha256sum`` prints for all files of a library, sorted by name.

    Unlike the SHA-256 of a tarball it depends neither on the compressor nor on the times of files.
    """
    files = (path.relative_to(library.folder).as_posix() for path in library.folder.rglob("*") if path.is_file())
    listing = "".join(f"{library.sha256(name)}  {name}\n" for name in sorted(files))
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def describe_tarball(path: Path, urls: Iterable[str] | None = None) -> tuple[str, str, str, Release]:
    """Unpack a tarball, check it file by file, and return (library, version, description, its index entry)."""
    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        folder = Path(scratch)
        roots = unpack(path, folder)
        if len(roots) != 1:
            raise LibraryError(f"{path}: a published tarball holds one library, and this one holds {len(roots)}")
        library = check_library(roots[0], source=str(path))
        manifest = library.manifest
        unpacked = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        compatible = {package: allowed.specifier for package, allowed in stated_ranges(manifest, str(path)).items()}
        retractions = _retractions(roots[0], manifest)
        manifest_sha256 = library.sha256(MANIFEST_NAME)
        content_sha256 = content_digest(library)
    artefact = Artefact(
        file=path.name,
        urls=list(urls) if urls is not None else [path.name],
        size=path.stat().st_size,
        sha256=sha256_file(path),
        unpacked_size=unpacked,
        manifest_sha256=manifest_sha256,
        content_sha256=content_sha256,
    )
    models = [
        ModelEntry(
            name=model.name,
            description=model.description or "",
            vertices=model.vertices or 0,
            parameters=list(model.parameters or []),
            hash=model.hash,
            retraction=retractions.get(model.name),
        )
        for model in manifest.models
    ]
    release = Release(
        artefacts=[artefact], format_version=manifest.format_version or "1.0", compatible=compatible, models=models
    )
    return manifest.category, manifest.version, manifest.description or "", release


def _retractions(folder: Path, manifest: Manifest) -> dict[str, Retraction]:
    """Return why models of a library are retracted, by name."""
    found = {}
    for model in manifest.models:
        if model.status == "retracted":
            # Files of an exported library bear the hash instead of the name.
            paths = [folder / f"{stem}.meta" for stem in (model.name, model.hash)]
            metas = [read_meta(path) for path in paths if path.is_file()]
            reasons = [meta.retraction for meta in metas if meta.retraction is not None]
            found[model.name] = reasons[0] if reasons else Retraction(reason="its authors give no reason")
    return found


def merge(old: Index, name: str, version: str, description: str, release: Release) -> Index:
    """Return an index with one more version; what is published already stays as it is.

    Raises
    ------
    LibraryError
        The version is published with other content.
    """
    libraries = dict(old.libraries)
    entry = libraries.get(name)
    versions = dict(entry.versions) if entry else {}
    present = versions.get(version)
    if present is not None:
        if _same_content(present, release):
            return old
        known = {artefact.file: artefact.sha256 for artefact in present.artefacts}
        for artefact in release.artefacts:
            if known.get(artefact.file, artefact.sha256) != artefact.sha256:
                raise LibraryError(
                    f"{name} {version} is published already, with other content ({artefact.file} has SHA-256 "
                    f"{known[artefact.file]}, the new one {artefact.sha256}). A published file is never replaced: "
                    "raise the version in library.yaml"
                )
        artefacts = [_more_mirrors(a, release.artefacts) for a in present.artefacts]
        artefacts += [a for a in release.artefacts if a.file not in known]
        release = msgspec.structs.replace(present, artefacts=artefacts)
    versions[version] = release
    newest = max(versions, key=Version)
    text = description if newest == version or entry is None else entry.description
    libraries[name] = LibraryEntry(description=text, versions=versions)
    return msgspec.structs.replace(old, libraries=libraries, checksum="")


def _same_content(one: Release, other: Release) -> bool:
    """Whether two releases hold the same files, packed in different ways; the published packing then stays."""
    contents = [{artefact.content_sha256 for artefact in release.artefacts} for release in (one, other)]
    packings = [{artefact.sha256 for artefact in release.artefacts} for release in (one, other)]
    return packings[0] != packings[1] and contents[0] == contents[1] and "" not in contents[0]


def _more_mirrors(artefact: Artefact, new: Sequence[Artefact]) -> Artefact:
    urls = list(artefact.urls)
    for other in new:
        if other.file == artefact.file:
            urls += [url for url in other.urls if url not in urls]
    return msgspec.structs.replace(artefact, urls=urls)


def write_release_files(
    folder: str | os.PathLike[str], *, mirrors: Sequence[str] = (), base: Index | None = None
) -> tuple[Path, Path]:
    """Write index.json and SHA256SUMS for the tarballs of a folder.

    Parameters
    ----------
    folder : path
        A folder with .tar.gz files, one library each.
    mirrors : sequence of str
        Addresses of folders from which the same tarballs can be had, tried before the index's own folder.
    base : Index, optional
        An index to continue, whose versions are kept.

    Returns
    -------
    (Path, Path)
        The paths of index.json and SHA256SUMS. The same tarballs always give the same bytes.
    """
    root = Path(folder)
    tarballs = sorted(path for path in root.glob("*.tar.gz") if not path.name.startswith("."))
    if not tarballs:
        raise LibraryError(f"{root}: there is no .tar.gz file to index")
    index = base or Index()
    for path in tarballs:
        urls = [f"{mirror.rstrip('/')}/{path.name}" for mirror in mirrors] + [path.name]
        index = merge(index, *describe_tarball(path, urls))
    sums = write_checksums(tarballs, root / CHECKSUMS_NAME)
    target = root / INDEX_NAME
    write_atomic(target, encode_index(index))
    return target, sums
