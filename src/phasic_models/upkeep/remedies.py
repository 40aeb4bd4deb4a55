"""The command that repairs a library: it depends on how the library was installed."""

from __future__ import annotations

import shlex
from pathlib import Path

from ..cache import prefix
from ..cache.prefix import Layer
from ..files.names import PREFIX_FOLDER


def remedy(category: str, layer: Layer, *, damaged: bool) -> str:
    """Return the command that replaces a library in its place; a package manager replaces its own."""
    if layer.origin not in ("sys.prefix", "CONDA_PREFIX"):
        # A shared folder comes before the home, so a good copy at home would not be found.
        explicit = f" --cache-dir {shlex.quote(str(layer.root))}"
        ordinary = layer.origin in ("home", prefix.CACHE_DIR_VARIABLE) and layer.writable
        return f"ptd-cache install {category}{'' if ordinary else explicit}"
    package = f"phasic-models-{category}"
    environment = layer.root.parents[PREFIX_FOLDER.count("/")]
    if ".pixi" in environment.parts:
        name = "" if environment.name == "default" else f" --environment {environment.name}"
        return f"pixi reinstall{name} {package}" if damaged else f"pixi upgrade {package}"
    where = f"--prefix {shlex.quote(str(environment))}"
    return f"conda install {where} --force-reinstall {package}" if damaged else f"conda update {where} {package}"


def remedy_of_entry(folder: Path, layers: list[Layer]) -> str:
    """Say what becomes of a damaged entry of the cache."""
    if any(layer.writable and layer.symbolic == folder for layer in layers):
        return "nothing to do: it is set aside and computed again when it is next asked for"
    return "nothing to do: it is passed over and computed again in your own cache"
