"""Compare every installed library with the installed versions of phasic and of this package."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import NamedTuple

from .. import compat
from ..cache import catalogue, prefix
from ..errors import CompatibilityError
from .remedies import remedy


class Compatibility(NamedTuple):
    """One line of the table of compatibility."""

    category: str
    version: str
    folder: Path
    requires: str
    installed: str
    fits: bool
    reason: str
    remedy: str


def compatibility(*, cache_dir: str | os.PathLike[str] | None = None) -> list[Compatibility]:
    """Compare every installed library with the installed phasic and phasic-models, without using the network."""
    rows = []
    layers = prefix.layers(cache_dir)
    with warnings.catch_warnings():
        # The table itself has a line for what cannot be read.
        warnings.simplefilter("ignore")
        readable = {library.folder: library for library in catalogue.libraries(layers=layers)}
    for category, folder, layer in catalogue.library_folders(layers):
        library = readable.get(folder)
        if library is None:
            command = remedy(category, layer, damaged=True)
            rows.append(Compatibility(category, "?", folder, "?", "?", False, "its manifest.json is damaged", command))
            continue
        manifest = library.manifest
        present = "; ".join(
            f"{package} {compat.installed_version(package) or 'not installed'}" for package in compat.PACKAGES
        )
        requires = reason = ""
        try:
            requires = compat.requirements(manifest)
            compat.check(manifest, source=category)
        except CompatibilityError as error:
            reason = str(error)
        command = remedy(category, layer, damaged=False) if reason else ""
        rows.append(Compatibility(category, manifest.version, folder, requires, present, not reason, reason, command))
    return rows
