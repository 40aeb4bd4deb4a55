"""Which versions of phasic and of this package a library may be used beside.

A library states one range for each package in its library.yaml, such as ``>=0.21,<0.33``. `VersionRange` turns it
into the fields of the metadata files and into the constraint of the conda package, so that these cannot drift apart;
`check` refuses a model at load, because a phasic that pip installed was never seen by the solver.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .errors import CompatibilityError, LibraryError

if TYPE_CHECKING:
    from packaging.version import Version

    from .formats import Manifest, ModelMeta

_BOUND = re.compile(r" *(>=|<) *([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))? *\Z")
_PLAIN = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,5}\Z")
_SERIES = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))?(?:\.x)?\Z")


@dataclass(frozen=True)
class VersionRange:
    """A range of versions, from `lower` (included) to `upper` (excluded).

    Attributes
    ----------
    lower : tuple of int
        Major, minor and patch number.
    upper : tuple of int
        Major and minor number; a new series begins there.
    """

    lower: tuple[int, int, int]
    upper: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> VersionRange:
        """Read a range such as ``>=0.21,<0.33``.

        Both bounds are required: nobody knows yet what an open end will let in.

        Raises
        ------
        LibraryError
            The text is not such a range, or the range is empty.
        """
        bounds: dict[str, tuple[int, int, int]] = {}
        for part in text.split(","):
            match = _BOUND.match(part)
            if match is None or match[1] in bounds:
                raise LibraryError(f"{text!r} is not a version range such as '>=0.21,<0.33'")
            bounds[match[1]] = (int(match[2]), int(match[3] or 0), int(match[4] or 0))
        if len(bounds) != 2:
            raise LibraryError(f"{text!r} has an open end; a version range has two bounds, such as '>=0.21,<0.33'")
        if bounds["<"][2]:
            raise LibraryError(f"{text!r} ends within a series; the upper bound names a series, such as '<0.33'")
        if bounds[">="] >= bounds["<"]:
            raise LibraryError(f"{text!r} is empty: the lower bound is not below the upper one")
        return cls(bounds[">="], bounds["<"][:2])

    @property
    def min_version(self) -> str:
        """The lowest version, such as ``0.21.0``."""
        return ".".join(map(str, self.lower))

    @property
    def max_version(self) -> str:
        """The last series, such as ``0.32.x``."""
        major, minor = self.upper
        return f"{major}.{minor - 1}.x" if minor else f"{major - 1}.x"

    @property
    def compatible_versions(self) -> list[str]:
        """Every series of the range, such as ``["0.21.x", "0.22.x"]``; whole major series where the range spans them.

        Raises
        ------
        LibraryError
            The range begins within a major series and ends in a later one, so that its series cannot be listed.
        """
        (first, minor, _), (last, end) = self.lower, self.upper
        if first == last:
            return [f"{first}.{series}.x" for series in range(minor, end)]
        if minor:
            raise LibraryError(
                f"the series from {self.min_version} to {self.max_version} cannot be listed; end the range within "
                f"major version {first}, such as '<{first}.{minor + 1}'"
            )
        return [f"{series}.x" for series in range(first, last)] + [f"{last}.{series}.x" for series in range(end)]

    @property
    def specifier(self) -> str:
        """The range as pip and humans write it, such as ``>=0.21,<0.33``."""
        return f">={_short(self.lower)},<{_short(self.upper)}"

    @property
    def conda_constraint(self) -> str:
        """The range for conda, such as ``>=0.21,<0.33.0a0``.

        conda counts 0.33.0rc1 as less than 0.33; the suffix keeps pre-releases of the excluded series out, as pip does.
        """
        major, minor = self.upper
        return f">={_short(self.lower)},<{major}.{minor}.0a0" if minor else f">={_short(self.lower)},<{major}.0a0"

    def contains(self, version: str | Version) -> bool:
        """Whether a version lies in the range; a pre-release is before its release, yet part of its series."""
        return _inside(version, self.lower, self.upper)


def _inside(version: str | Version, lower: tuple[int, ...], upper: tuple[int, ...] | None) -> bool:
    """Whether ``lower <= version < upper``; 0.33.0rc1 is in no range that ends or begins at 0.33."""
    release, early = _release(version)
    bound = (*lower, 0, 0, 0)[: len(release)]
    if release < bound or (early and release == bound):
        return False
    return upper is None or release[: len(upper)] < upper


def _release(version: str | Version) -> tuple[tuple[int, ...], bool]:
    """The numbers of a version, at least three, and whether it comes before the release of these numbers.

    Raises
    ------
    packaging.version.InvalidVersion
        The text is not a version.
    """
    if isinstance(version, str) and _PLAIN.match(version):
        numbers, early = tuple(map(int, version.split("."))), False
    else:
        from packaging.version import Version  # for the rare forms only: its import takes milliseconds

        parsed = Version(version) if isinstance(version, str) else version
        numbers, early = parsed.release, parsed.is_prerelease
    return numbers + (0,) * (3 - len(numbers)), early


class Ranges(Protocol):
    """What library.yaml says under ``compatible``."""

    @property
    def phasic(self) -> str:
        """Range of phasic versions."""

    @property
    def phasic_models(self) -> str:
        """Range of versions of this package."""


def metadata_fields(compatible: Ranges) -> dict[str, Any]:
    """Return the fields of `ModelMeta` and `Manifest` that follow from a library's ranges, as keyword arguments.

    Raises
    ------
    LibraryError
        A range is not one, see `VersionRange.parse` and `VersionRange.compatible_versions`.
    """
    phasic, toolkit = VersionRange.parse(compatible.phasic), VersionRange.parse(compatible.phasic_models)
    return {
        "compatible_versions": phasic.compatible_versions,
        "phasic_min_version": phasic.min_version,
        "phasic_max_version": phasic.max_version,
        "phasic_models_min_version": toolkit.min_version,
        "phasic_models_max_version": toolkit.max_version,
    }


def _short(numbers: tuple[int, ...]) -> str:
    """The version without trailing zeros, but with its major number."""
    kept = list(numbers)
    while len(kept) > 1 and not kept[-1]:
        kept.pop()
    return ".".join(map(str, kept))


def check(meta: ModelMeta | Manifest, *, source: str | None = None) -> None:
    """Refuse a model or library that was not made for the installed versions.

    Parameters
    ----------
    meta : ModelMeta or Manifest
        Its metadata. What they leave open is not checked.
    source : str, optional
        File name for the message; by default the name of the model or library.

    Raises
    ------
    CompatibilityError
        The installed phasic, or this package, is outside the stated versions; the message says which version to
        install. A phasic that is not installed is no obstacle: it is not needed.
    """
    name = source or str(getattr(meta, "model_name", None) or getattr(meta, "category", "model"))
    allowed = meta.compatible_versions if meta.phasic_min_version is None and meta.phasic_max_version is None else []
    _check_package(
        "phasic", installed_version("phasic"), meta.phasic_min_version, meta.phasic_max_version, allowed, name
    )
    _check_package(
        "phasic-models",
        installed_version("phasic-models"),
        meta.phasic_models_min_version,
        meta.phasic_models_max_version,
        [],
        name,
    )


def _check_package(
    package: str, installed: str | None, lowest: str | None, highest: str | None, allowed: list[str], source: str
) -> None:
    ranges: list[tuple[tuple[int, ...], tuple[int, ...] | None]]
    if lowest or highest:
        ranges = [(_series(lowest or "0", source)[0], _series(highest, source)[1] if highest else None)]
    else:
        ranges = [_series(text, source) for text in allowed]
    if installed is None or not ranges:
        return
    try:
        fits = any(_inside(installed, lower, upper) for lower, upper in ranges)
    except ValueError:
        return  # nothing can be said of a package without a proper version
    if fits:
        return
    texts = [f">={_short(lower)}" + (f",<{_short(upper)}" if upper else "") for lower, upper in ranges]
    raise CompatibilityError(
        f"{source} was made for {package} {' or '.join(texts)}, but {package} {installed} is installed. "
        f"Install one that fits (pixi add '{package} {texts[-1]}' or pip install '{package}{texts[-1]}'), "
        "or a newer release of the library"
    )


def _series(text: str, source: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First version of a series such as ``0.32.x``, or of an exact version, and the first version after it."""
    match = _SERIES.match(text)
    if match is None:
        raise CompatibilityError(f"{source}: {text!r} is not a version such as '0.21.0' or '0.32.x'")
    numbers = tuple(int(group) for group in match.groups() if group is not None)
    return numbers, (*numbers[:-1], numbers[-1] + 1)


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, or None if there is none."""
    return _installed_version(package, tuple(sys.path))


@lru_cache(maxsize=64)
def _installed_version(package: str, path: tuple[str, ...]) -> str | None:
    """Look the version up once for each search path.

    importlib.metadata takes longer to import than a model of 500 states takes to open. So the names of the folders
    that pip, conda and uv leave behind are read first, and it is asked about older forms only.
    """
    stem = "[-_.]".join(map(re.escape, re.split("[-_.]", package)))
    current = re.compile(rf"{stem}-([^-]+)\.dist-info\Z", re.IGNORECASE)
    older = re.compile(rf"{stem}(-[^-]+)?(-py[0-9.]+)?\.egg-(info|link)\Z", re.IGNORECASE)
    for folder in path:
        try:
            with os.scandir(folder or ".") as items:
                names = [item.name for item in items]
        except (OSError, TypeError):  # zip files, and what import hooks put there
            continue
        for name in names:
            match = current.match(name)
            if match is not None and Path(folder, name, "METADATA").is_file():
                return match[1]
            if older.match(name):
                return _slow_installed_version(package)
    return None


def _slow_installed_version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None
