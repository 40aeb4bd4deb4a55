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
    from collections.abc import Iterable

    from packaging.version import Version

#: The packages that a library states a range for.
PACKAGES = ("phasic", "phasic-models")

_BOUND = re.compile(r" *(>=|<) *([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))? *\Z")
_PLAIN = re.compile(r"[0-9]{1,6}(?:\.[0-9]{1,6}){0,5}\Z")
_SERIES = re.compile(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))?(?:\.x)?\Z")


@dataclass(frozen=True)
class VersionRange:
    """A range of versions, from `lower` (included) to `upper` (excluded).

    Attributes
    ----------
    lower : tuple of int or None
        Numbers of the lowest version, at least three; None where any is low enough.
    upper : tuple of int or None
        Numbers at which the first series begins that is too high, without zeros at the end; None where any is high enough.
    """

    lower: tuple[int, ...] | None
    upper: tuple[int, ...] | None

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
        return cls(bounds[">="], _short(bounds["<"]))

    @classmethod
    def from_fields(cls, lowest: str | None, highest: str | None, source: str) -> VersionRange | None:
        """Read the two fields of a metadata file, such as ``0.21.0`` and ``0.32.x``; None where it has neither.

        Raises
        ------
        CompatibilityError
            A field is not a version; the message begins with `source`.
        """
        if not lowest and not highest:
            return None
        lower = _padded(_numbers(lowest, source)) if lowest else None
        if not highest:
            return cls(lower, None)
        *first, last = _numbers(highest, source)
        return cls(lower, _short((*first, last + 1)))

    def fields(self, package: str) -> dict[str, str]:
        """Return the range as the fields of a metadata file; ``package`` is their first word."""
        ends = {"min": self.min_version, "max": self.max_version}
        return {f"{package}_{end}_version": version for end, version in ends.items() if version}

    @property
    def min_version(self) -> str:
        """The lowest version, such as ``0.21.0``; empty where there is none."""
        return _text(self.lower or ())

    @property
    def max_version(self) -> str:
        """The last series, such as ``0.32.x``; empty where there is none."""
        if self.upper is None:
            return ""
        *first, last = self.upper
        return _text((*first, last - 1)) + (".x" if len(self.upper) < 3 else "")

    @property
    def compatible_versions(self) -> list[str]:
        """Every series of the range, such as ``["0.21.x", "0.22.x"]``; whole major series where the range spans them.

        Raises
        ------
        LibraryError
            The range is open, or begins within a major series and ends in a later one, so that it cannot be listed.
        """
        if self.lower is None or self.upper is None:
            raise LibraryError(f"the series of {self.specifier!r} cannot be listed: it has an open end")
        first, minor, *_ = self.lower
        last, end, *_ = _padded(self.upper)
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
        lower = None if self.lower is None else ">=" + _text(_short(self.lower))
        upper = None if self.upper is None else "<" + _text(self.upper)
        return ",".join(part for part in (lower, upper) if part)

    @property
    def conda_constraint(self) -> str:
        """The range for conda, such as ``>=0.21,<0.33.0a0``.

        conda counts 0.33.0rc1 as less than 0.33; the suffix keeps pre-releases of the excluded series out, as pip does.
        """
        return self.specifier + ("" if self.upper is None else ".0a0")

    def allows(self, version: str | Version) -> bool:
        """Whether a version is in the range; a pre-release is before its release, yet part of its series.

        Raises
        ------
        packaging.version.InvalidVersion
            The text is not a version.
        """
        release, early = _release(version)
        lower = (*(self.lower or ()), 0, 0, 0)[: len(release)]
        # 0.33.0rc1 is in no range that ends or begins at 0.33.
        if release < lower or (early and release == lower):
            return False
        return self.upper is None or release[: len(self.upper)] < self.upper


def _release(version: str | Version) -> tuple[tuple[int, ...], bool]:
    """The numbers of a version, at least three, and whether it comes before the release of these numbers."""
    if isinstance(version, str) and _PLAIN.match(version):
        numbers, early = tuple(map(int, version.split("."))), False
    else:
        from packaging.version import Version  # for the rare forms only: its import takes milliseconds

        parsed = Version(version) if isinstance(version, str) else version
        numbers, early = parsed.release, parsed.is_prerelease
    return _padded(numbers), early


class Ranges(Protocol):
    """The ranges of versions under ``compatible`` in library.yaml."""

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
        **phasic.fields("phasic"),
        **toolkit.fields("phasic_models"),
    }


def _padded(numbers: tuple[int, ...]) -> tuple[int, ...]:
    return numbers + (0,) * (3 - len(numbers))


def _short(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers without zeros at the end, but with the first one."""
    while len(numbers) > 1 and not numbers[-1]:
        numbers = numbers[:-1]
    return numbers


def _text(numbers: Iterable[int]) -> str:
    return ".".join(map(str, numbers))


def _numbers(text: str, source: str) -> tuple[int, ...]:
    """The numbers of a version, or of a series such as ``0.32.x``."""
    match = _SERIES.match(text)
    if match is None:
        raise CompatibilityError(f"{source}: {text!r} is not a version such as '0.21.0' or '0.32.x'")
    return tuple(int(group) for group in match.groups() if group is not None)


class Stated(Protocol):
    """The ranges of versions in metadata; see `phasic_models.formats.ModelMeta`."""

    compatible_versions: list[str]
    phasic_min_version: str | None
    phasic_max_version: str | None
    phasic_models_min_version: str | None
    phasic_models_max_version: str | None


def stated_ranges(stated: Stated, source: str = "metadata") -> dict[str, VersionRange]:
    """Return the ranges that metadata state, by package; a package of which they say nothing is missing.

    Raises
    ------
    CompatibilityError
        A field is not a version; the message begins with `source`.
    """
    ranges = {
        "phasic": VersionRange.from_fields(stated.phasic_min_version, stated.phasic_max_version, source),
        "phasic-models": VersionRange.from_fields(
            stated.phasic_models_min_version, stated.phasic_models_max_version, source
        ),
    }
    return {package: allowed for package, allowed in ranges.items() if allowed is not None}


def requirements(stated: Stated) -> str:
    """Return the ranges that metadata state for a person to read, such as ``phasic >=0.21,<0.33``."""
    return "; ".join(f"{package} {allowed.specifier}" for package, allowed in stated_ranges(stated).items())


def check(stated: Stated, *, source: str | None = None) -> None:
    """Refuse a model or library that was not made for the installed versions.

    Parameters
    ----------
    stated : ModelMeta or Manifest
        Its metadata. Ranges that they leave open are not checked.
    source : str, optional
        File name for the message; by default the name of the model or library.

    Raises
    ------
    CompatibilityError
        The installed phasic, or this package, is outside the stated versions; the message says which version to
        install. A phasic that is not installed is no obstacle: it is not needed.
    """
    name = source or str(getattr(stated, "model_name", None) or getattr(stated, "category", "model"))
    ranges = {package: [allowed] for package, allowed in stated_ranges(stated, name).items()}
    series = [VersionRange.from_fields(text, text, name) for text in stated.compatible_versions]
    ranges.setdefault("phasic", [allowed for allowed in series if allowed is not None])
    for package, allowed in ranges.items():
        _check_package(package, installed_version(package), allowed, name)


def _check_package(package: str, installed: str | None, allowed: list[VersionRange], source: str) -> None:
    if installed is None or not allowed:
        return
    try:
        fits = any(one.allows(installed) for one in allowed)
    except ValueError:
        return  # nothing can be said of a package without a proper version
    if fits:
        return
    texts = [one.specifier for one in allowed]
    raise CompatibilityError(
        f"{source} was made for {package} {' or '.join(texts)}, but {package} {installed} is installed. "
        f"Install one that fits (pixi add '{package} {texts[-1]}' or pip install '{package}{texts[-1]}'), "
        "or a newer release of the library"
    )


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
