"""Remove a library from the layer that its user owns."""

from __future__ import annotations

import os
from pathlib import Path

from ..cache import catalogue, prefix
from ..errors import ModelNotFoundError
from ..files.staging import remove_folder


def remove_library(category: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Remove a library from the user's own layer.

    Returns
    -------
    Path
        The folder that was removed.

    Raises
    ------
    ModelNotFoundError
        It is not in that layer; where a package installed it, the message names the command that removes the package.
    """
    layers = prefix.layers(cache_dir)
    own = prefix.writable_layer(cache_dir)
    folders = {
        layer.root: folder for name, folder, layer in catalogue.library_folders(layers, hidden=True) if name == category
    }
    folder = folders.get(own.root)
    if folder is None:
        where = "".join(
            f"\n  {other} belongs to a read-only layer; if a package put it there: pixi remove phasic-models-{category}"
            for other in folders.values()
        )
        raise ModelNotFoundError(f"the library {category!r} is not in {own.symbolic}{where}")
    remove_folder(folder)
    catalogue.forget()
    return folder
