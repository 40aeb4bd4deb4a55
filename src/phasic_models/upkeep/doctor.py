"""Examine whatever a working installation depends on."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import NamedTuple

from .. import compat
from ..cache import prefix
from ..cache.prefix import Layer
from ..files.staging import temporary_name
from .compatibility import compatibility
from .pruning import prune


class Check(NamedTuple):
    """One line of the doctor's report; ``level`` is ``ok``, ``note`` or ``problem``."""

    level: str
    subject: str
    text: str


def examine(*, cache_dir: str | os.PathLike[str] | None = None) -> list[Check]:
    """Examine whatever a working installation depends on, without the network and without changing anything."""
    findings = [
        Check("ok", "python", f"{sys.version.split()[0]} in {sys.prefix}"),
        _toolkit(),
        _engine(),
    ]
    phasic = compat.installed_version("phasic")
    findings.append(Check("ok", "phasic", phasic or "not installed (it is not needed)"))
    for name in (
        prefix.CACHE_DIR_VARIABLE,
        prefix.SHARED_DIRS_VARIABLE,
        "PHASIC_MODELS_INDEX",
        "PHASIC_MODELS_OFFLINE",
    ):
        if os.environ.get(name):
            findings.append(Check("note", name, os.environ[name]))
    layers = prefix.layers(cache_dir)
    findings += [_layer(layer) for layer in layers]
    if not any(layer.writable for layer in layers):
        findings.append(Check("problem", "cache", f"nowhere to write to; set {prefix.CACHE_DIR_VARIABLE} to a folder"))
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        rows = compatibility(cache_dir=cache_dir)
    for row in rows:
        if row.fits:
            findings.append(Check("ok", row.category, f"{row.version} in {row.folder}"))
        else:
            findings.append(Check("problem", row.category, f"{row.reason}. Repair it with: {row.remedy}"))
    if not rows:
        findings.append(
            Check(
                "note", "libraries", "none installed; pixi add phasic-models-coalescent or ptd-cache install coalescent"
            )
        )
    leftovers = prune(dry_run=True, cache_dir=cache_dir) if any(layer.writable for layer in layers) else []
    if leftovers:
        size = sum(item.bytes for item in leftovers)
        findings.append(
            Check("note", "leftovers", f"{len(leftovers)} ({size:,} bytes); `ptd-cache prune` removes them")
        )
    return findings


def _toolkit() -> Check:
    version = compat.installed_version("phasic-models")
    here = Path(__file__).parents[1]
    if version is None:
        return Check("note", "phasic-models", f"runs from its source in {here}; versions cannot be compared")
    return Check("ok", "phasic-models", f"{version} in {here}")


def _engine() -> Check:
    try:
        from ..graph import Graph

        def two_steps(state: list[int]) -> list[tuple[list[int], float]]:
            if len(state) == 0:
                return [([2], 1.0)]
            return [([state[0] - 1], 2.0)] if state[0] else []

        value = float(Graph(two_steps).model().expectation([]))
    except Exception as error:  # whatever is wrong with the compiled core, this command has to say it
        return Check("problem", "engine", f"does not work: {type(error).__name__}: {error}; reinstall phasic-models")
    if value != 1.0:
        return Check("problem", "engine", f"an expectation of 1 came out as {value!r}; reinstall phasic-models")
    return Check("ok", "engine", "works")


def _layer(layer: Layer) -> Check:
    subject = f"layer {layer.origin}"
    folder = layer.symbolic
    if not layer.writable:
        state = (
            "readable" if os.access(folder, os.R_OK | os.X_OK) else "cannot be read" if folder.exists() else "absent"
        )
        return Check("problem" if state == "cannot be read" else "ok", subject, f"{folder}: {state}")
    existing = folder
    while not existing.exists() and existing.parent != existing:
        existing = existing.parent
    probe = temporary_name(existing)
    try:
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        text = f"{folder}: cannot be written: {error.strerror or error}; models work, but nothing is kept"
        return Check("problem", subject, text)
    free = shutil.disk_usage(existing).free
    level = "ok" if free > 100e6 else "problem"
    return Check(level, subject, f"{folder}: writable, {free / 1e9:.1f} GB free")
