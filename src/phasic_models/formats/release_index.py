"""The release index ``index.json``: which libraries exist, in which versions, where, how large and with which checksums.

The index is itself checksummed: ``checksum`` is the SHA-256 of everything else in it, in a canonical JSON form, so that
a truncated or altered index is an error. Addresses may be relative to the index, so that a whole folder can be
mirrored.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ..errors import FormatError
from ..files.names import name_problem
from ..files.wrong_content import explain_wrong_content
from .records import Retraction

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
        Its addresses, in the order in which to try; relative addresses count from the index.
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
    """One model in the index.

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
        For a retracted model, why it must not be used any more, and the version of the library that corrects it.
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
