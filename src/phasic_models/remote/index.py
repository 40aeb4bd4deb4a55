"""The release index ``index.json``: which libraries exist, in which versions, where, how large and with which checksums.

The index is itself checksummed: ``checksum`` is the SHA-256 of everything else in it, in a canonical JSON form, so that
a truncated or altered index is never believed. Addresses may be relative to the index, so that a whole folder can be
mirrored.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ..errors import CompatibilityError, DownloadError, FormatError, LibraryError, ModelNotFoundError
from ..files.addresses import is_remote, join, local_path
from ..files.names import CHECKSUMS_NAME, INDEX_NAME, MANIFEST_NAME, name_problem
from ..files.wrong_content import explain_wrong_content
from ..formats import Retraction, read_meta
from .stores import TransferOptions, require_online

if TYPE_CHECKING:
    from ..formats import Manifest

DEFAULT_INDEX = "https://github.com/munch-group/phasic-models/releases/latest/download/index.json"
INDEX_VERSION = "1.0"

Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, msgspec.Meta(ge=0)]


class Artefact(msgspec.Struct, frozen=True, kw_only=True):
    """One published file.

    Attributes
    ----------
    file : str
        Its name, without folders.
    urls : list of str
        Where it lies, in the order in which to try; relative addresses count from the index.
    size : int
        Its size in bytes.
    sha256 : str
        Its SHA-256 in hexadecimal.
    unpacked_size : int
        The size of all files in it together.
    manifest_sha256 : str
        SHA-256 of the manifest.json in it, by which an installed library is recognised.
    content_sha256 : str
        SHA-256 over the names and contents of all files in it (see `content_digest`): equal for two packings of one library.
    kind : str
        'tar.gz'; a reader passes over kinds that it does not know.
    """

    file: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=200)]
    urls: Annotated[list[str], msgspec.Meta(min_length=1)]
    size: Count
    sha256: Sha256
    unpacked_size: Count
    manifest_sha256: Sha256
    content_sha256: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""
    kind: str = "tar.gz"


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the index says of one model.

    Attributes
    ----------
    name, description : str
        The model.
    vertices : int
        Its size.
    parameters : list of str
        The names of θ.
    hash : str
        Its graph hash, by which the same model is known in other versions of the library.
    retraction : Retraction, optional
        For a retracted model, why it must not be used any more, and the version of the library that mends it.
    """

    name: str
    description: str = ""
    vertices: Count = 0
    parameters: list[str] = []
    hash: str = ""
    retraction: Retraction | None = None


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a library.

    Attributes
    ----------
    artefacts : list of Artefact
        The files that hold it; any one of them is enough.
    format_version : str
        The file format inside.
    compatible : dict
        From a package's name ('phasic', 'phasic-models') to the range of its versions, as in ``>=0.21,<0.33``.
    models : list of ModelEntry
        Its models.
    retracted : str
        Why it should not be used any more; empty where it may.
    """

    artefacts: Annotated[list[Artefact], msgspec.Meta(min_length=1)]
    format_version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+$")]
    compatible: dict[str, str] = {}
    models: list[ModelEntry] = []
    retracted: str = ""


class LibraryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A library and its versions."""

    description: str = ""
    versions: Annotated[dict[str, Release], msgspec.Meta(min_length=1)]


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """A whole release index."""

    index_version: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+$")] = INDEX_VERSION
    libraries: dict[str, LibraryEntry] = {}
    checksum: str = ""


@dataclass(frozen=True)
class Selection:
    """The version that was chosen, and what was passed over.

    Attributes
    ----------
    name, version : str
        Library and version.
    release : Release
        Its entry.
    passed_over : list of (str, str)
        Newer versions and why each was not taken.
    """

    name: str
    version: str
    release: Release
    passed_over: list[tuple[str, str]] = field(default_factory=list)


# -- reading and writing ------------------------------------------------------------------------------------------


def content_checksum(document: Mapping[str, Any]) -> str:
    """Return ``sha256:…`` over everything but ``checksum`` itself: keys sorted, no spaces, UTF-8."""
    rest = {key: value for key, value in document.items() if key != "checksum"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse_index(data: bytes, *, source: str = "index.json") -> Index:
    """Decode and check an index.

    Parameters
    ----------
    data : bytes
        The content of an index.json.
    source : str
        Where it came from, for messages.

    Raises
    ------
    FormatError
        It is no index, of an unknown major version, or its checksum is wrong.
    """
    try:
        document = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{source}: not a release index: {error}{_hint(data)}") from error
    if not isinstance(document, dict) or "index_version" not in document:
        raise FormatError(f"{source}: not a release index: it has no 'index_version'")
    version = document["index_version"]
    if not (isinstance(version, str) and re.fullmatch(r"[0-9]+\.[0-9]+", version)):
        raise FormatError(f"{source}: $.index_version is {version!r}; it must look like '1.0'")
    if version.split(".")[0] != INDEX_VERSION.split(".")[0]:
        raise FormatError(
            f"{source}: the index has version {version} and this phasic-models reads {INDEX_VERSION.split('.')[0]}.x; "
            "install a newer phasic-models"
        )
    stated = document.get("checksum")
    actual = content_checksum(document)
    if stated != actual:
        raise FormatError(
            f"{source}: the index is damaged or was edited by hand: it states checksum {stated!r}, its content has {actual!r}. "
            "Fetch it again, or write it anew with `ptd-cache publish`"
        )
    try:
        index = msgspec.convert(document, Index)
    except msgspec.ValidationError as error:
        raise FormatError(f"{source}: {error}") from error
    for name, library in index.libraries.items():
        if problem := name_problem(name):
            raise FormatError(f"{source}: $.libraries: {name!r} is not a library's name: it {problem}")
        for number, release in library.versions.items():
            where = f"{source}: $.libraries.{name}.versions.{number}"
            try:
                Version(number)
                for package, specifier in release.compatible.items():
                    where = f"{source}: $.libraries.{name}.versions.{number}.compatible.{package}"
                    SpecifierSet(specifier)
            except (InvalidVersion, InvalidSpecifier) as error:
                raise FormatError(f"{where}: {error}") from error
    return index


def _hint(data: bytes) -> str:
    if not data.strip():
        return " (it is empty)"
    found = explain_wrong_content(data[:4096])
    return f" (it is {found})" if found else ""


def encode_index(index: Index) -> bytes:
    """Return the bytes of an index.json: keys sorted, newest version first, checksum renewed; equal content, equal bytes."""
    document: dict[str, Any] = msgspec.to_builtins(index)
    document["libraries"] = {
        name: {
            **library,
            "versions": dict(sorted(library["versions"].items(), key=lambda v: Version(v[0]), reverse=True)),
        }
        for name, library in sorted(document["libraries"].items())
    }
    document["checksum"] = content_checksum(document)
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def index_schema() -> dict[str, Any]:
    """Return the JSON Schema of index.json (what schemas/index.schema.json holds)."""
    schema = msgspec.json.schema(Index)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "phasic-models release index"
    schema["$defs"]["Index"]["required"] = ["index_version", "libraries", "checksum"]
    schema["$defs"]["Index"]["properties"]["checksum"] = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
    return schema


# -- finding ------------------------------------------------------------------------------------------------------


def config_path() -> Path:
    """Return the user's configuration file (PHASIC_MODELS_CONFIG names another)."""
    named = os.environ.get("PHASIC_MODELS_CONFIG", "").strip()
    if named:
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("phasic-models", appauthor=False) / "config.yaml"


def index_addresses(index: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None) -> list[str]:
    """Return where to look for the index, in order.

    An argument comes first, then PHASIC_MODELS_INDEX, then ``index:`` (one address or a list of mirrors) in the
    configuration file, then the project's GitHub release. A folder stands for the index.json in it.
    """
    if index is None:
        named = os.environ.get("PHASIC_MODELS_INDEX", "").strip()
        found: Any = [named] if named else _configured() or [DEFAULT_INDEX]
    else:
        found = [index] if isinstance(index, (str, os.PathLike)) else list(index)
    if not found:
        raise DownloadError("an empty list of index addresses was given")
    return [_index_file(os.fspath(address)) for address in found]


def _configured() -> list[str]:
    path = config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FormatError(f"{path}: not valid YAML: {error}") from error
    value = document.get("index") if isinstance(document, dict) else None
    if document is not None and not isinstance(document, dict):
        raise FormatError(f"{path}: it must hold keys and values, as in 'index: https://example.org/index.json'")
    if value is None:
        return []
    addresses = [value] if isinstance(value, str) else value
    if not isinstance(addresses, list) or not all(isinstance(a, str) and a for a in addresses):
        raise FormatError(f"{path}: 'index' must be an address or a list of addresses")
    return addresses


def _index_file(address: str) -> str:
    if is_remote(address):
        return address + INDEX_NAME if address.endswith("/") else address
    path = local_path(address)
    return str(path / INDEX_NAME) if path.is_dir() else str(path)


def read_index(
    index: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    options: TransferOptions | None = None,
) -> tuple[Index, str]:
    """Read the first index that can be had.

    Parameters
    ----------
    index : address, path or list of them, optional
        See `index_addresses`.
    options : TransferOptions, optional
        How patiently.

    Returns
    -------
    (Index, str)
        The index, and the address it came from (relative addresses in it count from there).
    """
    from .download import fetch_bytes

    options = options or TransferOptions.from_environment()
    addresses = index_addresses(index)
    failures: list[DownloadError | FormatError] = []
    for address in addresses:
        try:
            if is_remote(address):
                require_online(address, options)
            return parse_index(fetch_bytes(address, options=options, expect="index"), source=address), address
        except (DownloadError, FormatError) as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    listed = "\n".join(f"  - {failure}" for failure in failures)
    raise DownloadError(f"none of {len(addresses)} indexes could be read:\n{listed}")


# -- choosing a version -------------------------------------------------------------------------------------------


def parse_requirement(text: str, version: str | None = None) -> tuple[str, SpecifierSet]:
    """Split ``coalescent``, ``coalescent==1.2.0`` or ``coalescent>=1.1,<2`` into name and range.

    A plain number in ``version`` means exactly that version.
    """
    match = re.fullmatch(r"\s*([A-Za-z0-9][A-Za-z0-9_-]*)\s*(.*?)\s*", text)
    if match is None:
        raise LibraryError(f"{text!r} does not name a library; write coalescent, coalescent==1.2.0 or coalescent>=1.1")
    name, rest = match.group(1).lower(), match.group(2)
    # Conda's package names are what many will type.
    name = name.removeprefix("phasic-models-") or name
    parts = [rest] if rest else []
    if version:
        parts.append(version if version.strip()[0] in "<>=!~" else f"=={version.strip()}")
    # One '=' is how conda writes it.
    specifier = re.sub(r"(?<![<>=!~])=(?!=)", "==", ",".join(parts))
    try:
        return name, SpecifierSet(specifier)
    except InvalidSpecifier as error:
        raise LibraryError(
            f"{', '.join(parts)!r} is not a range of versions; write coalescent==1.2.0, coalescent>=1.1 or coalescent>=1.1,<2"
        ) from error


def installed_versions() -> dict[str, Version]:
    """Return the installed versions of phasic and phasic-models, as far as they are installed."""
    from ..compat import installed_version

    versions = {}
    for package in ("phasic", "phasic-models"):
        try:
            versions[package] = Version(installed_version(package) or "")
        except InvalidVersion:  # not installed, or a version that says nothing
            continue
    return versions


def why_not(release: Release, installed: Mapping[str, Version] | None = None) -> str:
    """Return why a release cannot be used here, or an empty string."""
    from ..formats import FORMAT_VERSION

    if release.retracted:
        return f"it was retracted: {release.retracted}"
    major = FORMAT_VERSION.split(".")[0]
    if release.format_version.split(".")[0] != major:
        return f"its files have format {release.format_version} and this phasic-models reads {major}.x"
    if not any(artefact.kind == "tar.gz" for artefact in release.artefacts):
        return f"it is published only as {', '.join(sorted({a.kind for a in release.artefacts}))}"
    for package, specifier in sorted(release.compatible.items()):
        present = (installed_versions() if installed is None else installed).get(package)
        if present is not None and not SpecifierSet(specifier).contains(present, prereleases=True):
            return f"it needs {package} {specifier} and {present} is installed"
    return ""


def select(
    index: Index, requirement: str, version: str | None = None, *, installed: Mapping[str, Version] | None = None
) -> Selection:
    """Choose the newest version that fits the requirement and what is installed.

    Raises
    ------
    ModelNotFoundError
        The index has no such library or version.
    CompatibilityError
        It has, but none that works here; the message says why for each.
    """
    name, specifier = parse_requirement(requirement, version)
    library = index.libraries.get(name)
    if library is None:
        close = difflib.get_close_matches(name, index.libraries, n=3)
        known = ", ".join(sorted(index.libraries)) or "none at all"
        raise ModelNotFoundError(
            f"the index has no library {name!r}"
            + (f"; did you mean {' or '.join(close)}?" if close else f"; it has {known}")
        )
    installed = installed_versions() if installed is None else installed
    newest_first = sorted(library.versions, key=Version, reverse=True)
    # A pre-release is taken only where it is asked for, or where there is nothing else.
    fitting = list(specifier.filter(newest_first))
    passed_over: list[tuple[str, str]] = []
    for number in newest_first:
        release = library.versions[number]
        if number not in fitting:
            outside = (
                "it is a pre-release" if specifier.contains(number, prereleases=True) else f"it is not {specifier}"
            )
            passed_over.append((number, outside))
            continue
        reason = why_not(release, installed)
        if not reason:
            return Selection(name, number, release, passed_over)
        passed_over.append((number, reason))
    listed = "\n".join(f"  - {name} {number}: {reason}" for number, reason in passed_over)
    if not fitting:
        raise ModelNotFoundError(f"no version of {name} is {specifier}; the index has {', '.join(newest_first)}")
    raise CompatibilityError(f"no version of {name} can be used here:\n{listed}")


def retracted_models(library: LibraryEntry, version: str) -> dict[str, Retraction]:
    """Return which models of a version are retracted, and why, by name.

    A retraction in a later version counts for an earlier one where both hold the very same graph: what is published
    never changes, so the index is the only place where an old version can be said to be wrong.
    """
    later = sorted((number for number in library.versions if Version(number) > Version(version)), key=Version)
    found: dict[str, Retraction] = {}
    for model in library.versions[version].models:
        same = [
            other
            for number in later
            for other in library.versions[number].models
            if model.hash and (other.name, other.hash) == (model.name, model.hash)
        ]
        for entry in (model, *same):
            if entry.retraction is not None:
                found.setdefault(model.name, entry.retraction)
    return found


def artefact_addresses(artefact: Artefact, index_address: str) -> list[str]:
    """Return an artefact's mirrors as absolute addresses, in the order in which to try them."""
    addresses = [join(index_address, url) for url in artefact.urls]
    if is_remote(index_address):
        # A stranger's index has no business with the files of this machine.
        addresses = [address for address in addresses if is_remote(address)]
    return addresses


def absolute(index: Index, address: str) -> Index:
    """Return an index that may lie elsewhere than at ``address``: all addresses in it are absolute."""
    libraries = {}
    for name, entry in index.libraries.items():
        versions = {}
        for number, release in entry.versions.items():
            artefacts = [
                msgspec.structs.replace(artefact, urls=list(dict.fromkeys(artefact_addresses(artefact, address))))
                for artefact in release.artefacts
            ]
            versions[number] = msgspec.structs.replace(release, artefacts=artefacts)
        libraries[name] = msgspec.structs.replace(entry, versions=versions)
    return msgspec.structs.replace(index, libraries=libraries, checksum="")


# -- making an index ----------------------------------------------------------------------------------------------


def content_digest(folder: Path) -> str:
    """Return the SHA-256 of what ``sha256sum`` prints for all files of a folder, sorted by name.

    Unlike the SHA-256 of a tarball it depends neither on the compressor nor on the times of files.
    """
    from ..files.checksums import sha256_file

    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    listing = "".join(f"{sha256_file(path)}  {name}\n" for name, path in files)
    return hashlib.sha256(listing.encode("utf-8", "surrogateescape")).hexdigest()


def describe_tarball(path: Path, urls: Iterable[str] | None = None) -> tuple[str, str, str, Release]:
    """Unpack a tarball, check it file by file, and return (library, version, description, its index entry)."""
    from ..cache.installation import check_library, find_libraries
    from ..files.archive import safe_extract
    from ..files.checksums import sha256_file

    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        folder = Path(scratch)
        safe_extract(path, folder)
        roots = find_libraries(folder)
        if len(roots) != 1:
            raise LibraryError(f"{path}: a published tarball holds one library, and this one holds {len(roots)}")
        manifest = check_library(roots[0], source=str(path))
        unpacked = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        compatible = _compatible(manifest)
        retractions = _retractions(roots[0], manifest)
        manifest_sha256 = sha256_file(roots[0] / MANIFEST_NAME)
        content_sha256 = content_digest(roots[0])
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


def _compatible(manifest: Manifest) -> dict[str, str]:
    """Return the ranges of a manifest as specifiers: '0.21.0' to '0.32.x' becomes '>=0.21.0,<0.33'."""
    ranges = {
        "phasic": (manifest.phasic_min_version, manifest.phasic_max_version),
        "phasic-models": (manifest.phasic_models_min_version, manifest.phasic_models_max_version),
    }
    found = {}
    for package, (lowest, highest) in ranges.items():
        parts = [f">={lowest}"] if lowest else []
        if highest and highest.endswith(".x"):
            numbers = [int(part) for part in highest.removesuffix(".x").split(".")]
            numbers[-1] += 1
            parts.append("<" + ".".join(map(str, numbers)))
        elif highest:
            parts.append(f"<={highest}")
        if parts:
            found[package] = ",".join(parts)
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
    from ..files.atomic import write_atomic
    from ..files.checksums import write_checksums

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
