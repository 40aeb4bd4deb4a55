"""The content of a library.yaml, as types: they are what is decoded, what is checked and what the JSON Schema says."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from ..formats import records

FORMAT_VERSION: Literal["1.0"] = "1.0"

# `$` also matches before a line feed at the end of a text; `(?!\n)` does not, and both dialects of JSON Schema know it.
Text = Annotated[str, Meta(pattern=r"\S", description="a text that is not empty")]
ModelName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z][a-z0-9_]{0,63}$(?!\n)",
        description="a name of at most 64 lower-case letters, digits and _, with a letter first",
    ),
]
Category = Annotated[
    str,
    Meta(
        pattern=r"^[a-z](?:-?[a-z0-9]){0,39}$(?!\n)",
        description="a name of at most 40 lower-case letters, digits and single -, with a letter first",
    ),
]
Identifier = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$(?!\n)",
        description="a Python name of at most 64 characters",
    ),
]
Version = Annotated[
    str,
    Meta(
        pattern=r"^(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)$(?!\n)",
        description="a version of three numbers such as 1.4.0",
    ),
]
Build = Annotated[int, Meta(ge=0, description="a build number, 0 or more")]
Range = Annotated[str, Meta(pattern=r"\S", description='a range of versions such as ">=0.21,<0.33"')]
Year = Annotated[int, Meta(ge=1600, le=2200, description="a year")]
Doi = Annotated[
    str,
    Meta(
        pattern=r"^10\.[0-9]{4,9}/\S+$(?!\n)",
        description="a DOI such as 10.1016/0304-4149(82)90011-4, without https://doi.org/",
    ),
]
Url = Annotated[str, Meta(pattern=r"^https?://\S+$(?!\n)", description="a URL that starts with https:// or http://")]
Date = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$(?!\n)", description="a date such as 2026-11-23")]
Number = Annotated[float, Meta(description="a number")]
Argument = bool | int | float | str | list[int | float]


# The records of the files, with what an author has to state and how it must look; a file of others may hold less.


class Citation(records.Citation, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Where a model is described: a `doi` or, where there is none, a `url`."""

    authors: Annotated[list[Text], Meta(min_length=1, description="a list of authors, one line with a - each")]
    year: Year
    title: Text
    doi: Doi | None = None
    url: Url | None = None


class Parameter(records.Parameter, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One entry of theta."""

    name: Identifier
    description: Text
    unit: Text
    example: Number


class Erratum(records.Erratum, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A mistake in a published version of a model."""

    description: Text
    affects: Range
    fixed_in: Version | None = None
    date: Date | None = None


class Retraction(records.Retraction, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Why a model must not be used, and the library version that corrects it."""

    reason: Text
    fixed_in: Version | None = None


class Compatible(Struct, frozen=True, forbid_unknown_fields=True, rename={"phasic_models": "phasic-models"}):
    """Ranges of versions with which the library works."""

    phasic: Range
    phasic_models: Range


class ModelSpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model: a function of models.py with its arguments, and what a reader wants to know."""

    name: ModelName
    function: Identifier
    description: Text
    parameters: list[Parameter]
    citation: Citation
    arguments: dict[str, Argument] = field(default_factory=dict)
    discrete: bool = False
    status: Literal["provisional", "verified", "retracted"] = "provisional"
    retraction: Retraction | None = None
    errata: list[Erratum] = field(default_factory=list)

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of theta."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def example(self) -> list[float]:
        """Theta of the example values."""
        return [parameter.example for parameter in self.parameters]


class LibrarySpec(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole library.yaml."""

    category: Category
    version: Version
    description: Text
    license: Text
    compatible: Compatible
    models: list[ModelSpec]
    format_version: Literal["1.0"] = FORMAT_VERSION
    build: Build = 0


def json_schema() -> bytes:
    """The published JSON Schema of library.yaml, as it stands in ``schemas/library.schema.json``."""
    schema = msgspec.json.schema(LibrarySpec)
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "library.yaml of phasic-models",
    } | schema
    return msgspec.json.format(msgspec.json.encode(schema, order="sorted"), indent=2) + b"\n"
