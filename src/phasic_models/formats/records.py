"""The records beside a model: ``<name>.meta``, and the ``manifest.json`` of a folder of models."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from ..errors import FormatError
from ..files.atomic import write_atomic
from ..files.names import name_problem
from .decoding import FORMAT_VERSION, decode_json

Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Status = Literal["provisional", "verified", "retracted"]
NonEmpty = Annotated[str, msgspec.Meta(min_length=1)]

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}\Z")


class Parameter(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One entry of θ."""

    name: NonEmpty
    description: str = ""
    unit: str = ""
    example: float | None = None


class Citation(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where a model comes from."""

    authors: list[str] = []
    year: int | None = None
    title: str = ""
    doi: str | None = None
    url: str | None = None

    @property
    def link(self) -> str:
        """Address of the source, empty where none is known."""
        return f"https://doi.org/{self.doi}" if self.doi else self.url or ""

    def text(self) -> str:
        """One line that names the source; what is not known is left out."""
        *first, last = self.authors or [""]
        authors = f"{', '.join(first)} and {last}" if first else last
        who = " ".join(part for part in (authors, f"({self.year})" if self.year is not None else "") if part)
        return ". ".join(part for part in (who, self.title, self.link) if part)


class Erratum(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A mistake in a published model: the library versions that it affects, and the one that corrects it."""

    description: str
    affects: str | None = None
    fixed_in: str | None = None
    date: str | None = None


class Retraction(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Why a model must not be used any more, and the library version that corrects it."""

    reason: NonEmpty
    fixed_in: str | None = None

    def __str__(self) -> str:
        """Return the reason and the version that corrects it, as a text."""
        return f"{self.reason} (corrected in {self.fixed_in})" if self.fixed_in else self.reason


class Stats(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Size of a model and cost of its elimination."""

    vertices: Count | None = None
    edges: Count | None = None
    operations: Count | None = None
    elimination_time_ms: float | None = None


class ModelMeta(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Metadata of one model: the content of ``<name>.meta``.

    Attributes
    ----------
    model_name, description : str
        Name and description of the model.
    phasic_version : str
        The phasic release whose conventions the model follows.
    created : str
        When the model was first made, as ISO 8601 in UTC.
    graph_hash : str
        Content hash of the graph; equals that of the model files.
    stats : Stats
        Size and cost.
    parameters : dict
        The arguments that the graph was built with, by name.
    theta : list of Parameter
        The entries of θ, in order.
    compatible_versions, phasic_min_version, phasic_max_version
        The phasic versions that the model may be used beside; see `phasic_models.compat`.
    phasic_models_min_version, phasic_models_max_version
        The same for this package.
    format_version : str
        Version of the file formats.
    is_discrete : bool
        Whether time is discrete.
    status : str
        ``provisional``, ``verified`` or ``retracted``; for the last, `retraction` gives the reason.
    """

    model_name: NonEmpty
    description: str = ""
    format_version: str | None = None
    phasic_version: str | None = None
    created: str | None = None
    graph_hash: NonEmpty
    stats: Stats | None = None
    parameters: dict[str, Any] = {}
    compatible_versions: list[str] = []
    phasic_min_version: str | None = None
    phasic_max_version: str | None = None
    phasic_models_min_version: str | None = None
    phasic_models_max_version: str | None = None
    is_discrete: bool | None = None
    theta: list[Parameter] = []
    license: str | None = None
    citation: Citation | None = None
    status: Status | None = None
    retraction: Retraction | None = None
    errata: list[Erratum] = []


class ManifestModel(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One model in a manifest."""

    name: NonEmpty
    hash: NonEmpty
    description: str = ""
    vertices: Count | None = None
    parameters: list[str] = []
    status: Status | None = None


class Manifest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Table of contents of a folder of models: the content of ``manifest.json``.

    Attributes
    ----------
    category, description, version : str
        The library.
    models : list of ManifestModel
        Its models; `ManifestModel.parameters` are the names of θ.
    checksums : dict of str to str
        File name to ``"sha256:"`` and 64 hexadecimal digits.
    """

    category: NonEmpty
    description: str = ""
    version: str = "0.0.0"
    format_version: str | None = None
    license: str | None = None
    phasic_min_version: str | None = None
    phasic_max_version: str | None = None
    phasic_models_min_version: str | None = None
    phasic_models_max_version: str | None = None
    compatible_versions: list[str] = []
    models: list[ManifestModel]
    checksums: dict[str, str] = {}


def decode_meta(data: bytes, *, source: str = "<bytes>") -> ModelMeta:
    """Decode the content of a ``.meta`` file; a missing format version means 1.0, as in hand-written files."""
    return decode_json(data, ModelMeta, source, unversioned=FORMAT_VERSION)


def encode_meta(meta: ModelMeta) -> bytes:
    """Return the text of a ``.meta`` file: fixed key order, two spaces of indentation."""
    return _encode(meta, meta.model_name)


def read_meta(path: str | os.PathLike[str]) -> ModelMeta:
    """Read a ``.meta`` file.

    Raises
    ------
    FormatError
        The message names the file and the place in it.
    OSError
        The file cannot be read.
    """
    return decode_meta(Path(path).read_bytes(), source=os.fspath(path))


def write_meta(path: str | os.PathLike[str], meta: ModelMeta) -> None:
    """Write a ``.meta`` file atomically."""
    write_atomic(path, encode_meta(meta))


def decode_manifest(data: bytes, *, source: str = "<bytes>") -> Manifest:
    """Decode the content of a ``manifest.json``; names and checksums are checked for their form."""
    manifest = decode_json(data, Manifest, source, unversioned=FORMAT_VERSION)
    seen: set[str] = set()
    for index, model in enumerate(manifest.models):
        if problem := name_problem(model.name):
            raise FormatError(
                f"{source}: {model.name!r} cannot be a file name: it {problem} - at `$.models[{index}].name`"
            )
        if model.name in seen:
            raise FormatError(f"{source}: {model.name!r} is listed twice - at `$.models[{index}].name`")
        seen.add(model.name)
    for name, checksum in manifest.checksums.items():
        if problem := name_problem(name):
            raise FormatError(f"{source}: {name!r} cannot be a file name: it {problem} - at `$.checksums`")
        if not _CHECKSUM.match(checksum):
            raise FormatError(
                f"{source}: {checksum!r} is not 'sha256:' and 64 hexadecimal digits - at `$.checksums[{name!r}]`"
            )
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the text of a ``manifest.json``: fixed key order, checksums by file name, two spaces of indentation."""
    checksums = dict(sorted(manifest.checksums.items()))
    return _encode(msgspec.structs.replace(manifest, checksums=checksums), manifest.category)


def read_manifest(path: str | os.PathLike[str]) -> Manifest:
    """Read a ``manifest.json``.

    Raises
    ------
    FormatError
        The message names the file and the place in it.
    OSError
        The file cannot be read.
    """
    return decode_manifest(Path(path).read_bytes(), source=os.fspath(path))


def _encode(record: msgspec.Struct, name: str) -> bytes:
    plain = msgspec.to_builtins(record)
    _refuse_non_finite(plain, name, "$")
    try:
        return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    except UnicodeEncodeError as error:
        raise FormatError(f"{name}: not valid Unicode: {error}") from None


def _refuse_non_finite(value: Any, name: str, path: str) -> None:
    """JSON has no NaN and no infinity, and msgspec would write null without an error."""
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{name}: {value} cannot be written as JSON - at `{path}`")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, name, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_non_finite(item, name, f"{path}[{index}]")
