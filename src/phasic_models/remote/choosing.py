"""Choose the version of a library that is asked for, works here and was not retracted."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ..compat import PACKAGES, installed_version
from ..errors import CompatibilityError, LibraryError, ModelNotFoundError
from ..formats import FORMAT_VERSION, Retraction
from ..formats.release_index import Index, LibraryEntry, Release


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


class Requirement(NamedTuple):
    """A library, and which versions of it will do."""

    name: str
    specifier: SpecifierSet


def parse_requirement(text: str, version: str | None = None) -> Requirement:
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
        return Requirement(name, SpecifierSet(specifier))
    except InvalidSpecifier as error:
        raise LibraryError(
            f"{', '.join(parts)!r} is not a range of versions; write coalescent==1.2.0, coalescent>=1.1 or coalescent>=1.1,<2"
        ) from error


def installed_versions() -> dict[str, Version]:
    """Return the installed versions of phasic and phasic-models, as far as they are installed."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = Version(installed_version(package) or "")
        except InvalidVersion:  # not installed, or a version that says nothing
            continue
    return versions


def why_not(release: Release, installed: Mapping[str, Version] | None = None) -> str:
    """Return why a release cannot be used here, or an empty string."""
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


def select(index: Index, requirement: Requirement, *, installed: Mapping[str, Version] | None = None) -> Selection:
    """Choose the newest version that fits the requirement and what is installed.

    Raises
    ------
    ModelNotFoundError
        The index has no such library or version.
    CompatibilityError
        It has, but none that works here; the message says why for each.
    """
    name, specifier = requirement
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
