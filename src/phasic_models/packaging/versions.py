"""Versions of libraries: which one is due, judged by the content, and which ones work beside which phasic.

A removed or changed model, or another format, breaks what somebody has computed: major. A new model: minor. Anything
else, such as a description: patch. A change of the packaging alone: the build number.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from ..compat import VersionRange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..library import LibraryBuild, LibrarySpec, Lock

__all__ = ["Change", "bumped", "change_between", "compatibility_text", "version_due"]


class Change(IntEnum):
    """How much a library changed."""

    NONE = 0
    PATCH = 1
    MINOR = 2
    MAJOR = 3


def change_between(lock: Lock, build: LibraryBuild) -> tuple[Change, list[str]]:
    """Compare a build with the locked content.

    Parameters
    ----------
    lock
        The published library.
    build
        The new build.

    Returns
    -------
    tuple
        The largest change, and one phrase for each changed model of that size.
    """
    changes: list[tuple[Change, str]] = []
    built = {model.name: model for model in build.models}
    changes += [(Change.MAJOR, f"{name} is gone") for name in lock.models if name not in built]
    for name, model in built.items():
        locked = lock.models.get(name)
        if locked is None:
            changes.append((Change.MINOR, f"{name} is new"))
        elif model.graph_hash != locked.graph_hash:
            changes.append((Change.MAJOR, f"{name} is another model"))
        elif _without_meta(model.files) != _without_meta(locked.files):
            changes.append((Change.MAJOR, f"{name} is stored differently"))
        elif model.files != locked.files:
            changes.append((Change.PATCH, f"{name} is described differently"))
    if not changes and build.manifest != lock.manifest and (build.version, build.build) == (lock.version, lock.build):
        changes.append((Change.PATCH, "the library is described differently"))
    largest = max((change for change, _ in changes), default=Change.NONE)
    return largest, [phrase for change, phrase in changes if change is largest]


def bumped(version: str, change: Change) -> str:
    """Return the version that a change makes due.

    Parameters
    ----------
    version
        Three numbers with dots.
    change
        How much changed. Before 1.0.0, a major change raises the minor number, as usual.
    """
    major, minor, patch = map(int, version.split("."))
    if change is Change.MAJOR and major:
        return f"{major + 1}.0.0"
    if change is Change.MINOR or change is Change.MAJOR:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}" if change is Change.PATCH else version


def version_due(lock: Lock, build: LibraryBuild) -> list[str]:
    """Say which version is due, where library.yaml has a lower one.

    Parameters
    ----------
    lock
        The published library.
    build
        The new build.

    Returns
    -------
    list of str
        One sentence, or none.
    """
    change, phrases = change_between(lock, build)
    due = bumped(lock.version, change)
    if change is Change.NONE or _key(build.version) >= _key(due):
        return []
    shown = ", ".join(phrases[:3]) + (f" and {len(phrases) - 3} more" if len(phrases) > 3 else "")
    return [
        f"{build.category}: version {due} is due once {lock.version} is published, library.yaml has {build.version} "
        f"({change.name.lower()}: {shown})"
    ]


def compatibility_text(specs: Iterable[LibrarySpec]) -> str:
    """Write the page that says which library works beside which versions.

    Parameters
    ----------
    specs
        Every library.

    Returns
    -------
    str
        ``docs/compatibility.md``.
    """
    ordered = sorted(specs, key=lambda spec: spec.category)
    ranges = {spec.category: VersionRange.parse(spec.compatible.phasic) for spec in ordered}
    # A series such as 0.22.x sorts by its numbers.
    series = sorted(
        {version for allowed in ranges.values() for version in allowed.compatible_versions},
        key=lambda version: [int(part) for part in version.removesuffix(".x").split(".")],
    )
    rows = []
    for version in series:
        fits = (version in ranges[spec.category].compatible_versions for spec in ordered)
        rows.append(f"| {version} | " + " | ".join("yes" if fit else "no" for fit in fits) + " |")
    heading = "| phasic | " + " | ".join(f"{spec.category} {spec.version}" for spec in ordered) + " |"
    toolkit = " | ".join(VersionRange.parse(spec.compatible.phasic_models).specifier for spec in ordered)
    formats = " | ".join(spec.format_version for spec in ordered)
    return "\n".join(
        [
            "<!-- Written by build_models.py --update-lock from every libraries/*/library.yaml. -->",
            "# Which versions work together",
            "",
            "phasic need not be installed; if it is, a solver refuses a library beside any version that is not listed, and",
            "so does the toolkit when it loads a model.",
            "",
            heading,
            "|---" * (len(ordered) + 1) + "|",
            *rows,
            f"| toolkit | {toolkit} |",
            f"| format of the files | {formats} |",
            "",
        ]
    )


def _key(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _without_meta(files: dict[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in files.items() if not name.endswith(".meta")}
