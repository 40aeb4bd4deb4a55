"""Strict, typed decoding of JSON: any input gives a checked object or a FormatError that names the place."""

from __future__ import annotations

import json
from typing import Any, TypeVar

import msgspec

from ..errors import FormatError

FORMAT_VERSION = "1.0"
"""The format version that this package writes."""

_MAJOR = FORMAT_VERSION.split(".")[0]

T = TypeVar("T")


class _VersionOnly(msgspec.Struct):
    format_version: str | None = None


def encode_text(text: str, source: str) -> bytes:
    """UTF-8 bytes of a text; a lone surrogate, which no file can hold, is a FormatError."""
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise FormatError(f"{source}: not valid Unicode: {error}") from None


def decode_json(
    data: bytes, kind: type[T], source: str, *, unversioned: str = "0", bulk: str = "", version: str | None = None
) -> T:
    """Decode a JSON document into a typed object.

    Parameters
    ----------
    data : bytes
        The document, UTF-8 without a byte-order mark.
    kind : type
        A msgspec Struct.
    source : str
        File name or other origin, for messages.
    unversioned : str
        The format version of a document that states none.
    bulk : str
        Key of a long top-level array that, by `kind`, holds no objects; it is not searched for keys that occur twice.
    version : str, optional
        The format version that it must have; by default any that can be read.

    Raises
    ------
    FormatError
        The bytes are not JSON or not of this type (the message has the JSON path), a key occurs twice in one object,
        or the major format version is unknown.
    """
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:  # the decoder below would not look into what it skips
        raise FormatError(f"{source}: not valid UTF-8 (altered?): {error}") from None
    # The version first: a document of another format shall be named as such, not by the first key that differs.
    stated = _decode(data, _VersionOnly, source).format_version
    check_version(unversioned if stated is None else stated, source, version)
    result = _decode(data, kind, source)
    if bulk:
        # The array's text holds unescaped quotes or is empty, so what is replaced is never part of a string.
        array = _decode(data, dict[str, msgspec.Raw], source)[bulk]
        data = data.replace(bytes(array), b"[]", 1)
    _refuse_duplicate_keys(data, source)
    return result


def _decode(data: bytes, kind: type[T], source: str) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError as error:
        raise FormatError(f"{source}: {error}") from None
    except msgspec.DecodeError as error:
        raise FormatError(f"{source}: not valid JSON (truncated or altered?): {error}") from None
    except RecursionError:
        raise FormatError(f"{source}: not a phasic-models document: nested too deeply") from None


def _refuse_duplicate_keys(data: bytes, source: str) -> None:
    """Raise at two equal keys: readers may disagree on which of them counts."""

    def check(pairs: list[tuple[str, Any]]) -> None:
        if len(pairs) > 1:
            seen: set[str] = set()
            for key, _ in pairs:
                if key in seen:
                    raise FormatError(f"{source}: the key {key!r} occurs twice in one object")
                seen.add(key)

    try:
        # Numbers are not needed here, and an int of thousands of digits under an unknown key must not raise.
        json.loads(data, object_pairs_hook=check, parse_int=_ignore, parse_float=_ignore)
    except json.JSONDecodeError as error:  # in what the typed decoder skips, it is less strict
        raise FormatError(f"{source}: not valid JSON (altered?): {error}") from None
    except RecursionError:
        raise FormatError(f"{source}: not a phasic-models document: nested too deeply") from None


def _ignore(_: str) -> None:
    return None


def check_version(version: str, source: str, expected: str | None = None) -> None:
    """Refuse a document of another major format version, or of another one than is `expected`.

    Raises
    ------
    FormatError
        The message names the command that converts the document.
    """
    major, dot, minor = version.partition(".")
    if major == _MAJOR and (not dot or (minor.isascii() and minor.isdigit())):
        if expected is not None and version != expected:
            raise FormatError(f"{source}: its format version is {version!r}, and its metadata say {expected!r}")
        return
    if version == "0" or (major == "0" and dot):
        raise FormatError(
            f"{source}: format version {version!r} is older than {_MAJOR}.x, which this phasic-models reads; "
            "convert the file with 'ptd-cache migrate'"
        )
    if major.isascii() and major.isdigit() and int(major[:9]) > int(_MAJOR):
        raise FormatError(
            f"{source}: format version {version!r} is newer than {_MAJOR}.x, which this phasic-models reads; "
            "update phasic-models, or convert the file with 'ptd-cache migrate' of a version that knows both"
        )
    raise FormatError(
        f"{source}: format version {version!r} is not one that phasic-models reads ({_MAJOR}.x); "
        "'ptd-cache migrate' converts files of other versions"
    )
