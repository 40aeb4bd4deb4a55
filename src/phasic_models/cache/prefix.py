"""The layered cache prefix: which folders are searched, in which order, and which one may be written.

A *root* holds ``symbolic/`` (libraries in ``symbolic/<category>/`` and the user's own entries beside them). Several
roots are searched, first hit wins:

1. an explicit argument,
2. ``PHASIC_CACHE_DIR``,
3. ``<sys.prefix>/share/phasic_cache``, then ``$CONDA_PREFIX/share/phasic_cache`` (a notebook kernel runs without
   activation,
   so neither alone will do),
4. the folders of ``PHASIC_SHARED_CACHE_DIRS`` (separated by ``os.pathsep``),
5. ``~/.phasic_cache``.

Only one is written: the explicit argument, else ``PHASIC_CACHE_DIR``, else ``~/.phasic_cache``. All others are
read-only, whatever their permissions say, because package clients hard-link the files of several environments to one
copy.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

from ..files.names import PREFIX_FOLDER, SYMBOLIC_FOLDER

CACHE_DIR_VARIABLE = "PHASIC_CACHE_DIR"
SHARED_DIRS_VARIABLE = "PHASIC_SHARED_CACHE_DIRS"
HOME_FOLDER = ".phasic_cache"


class Layer(NamedTuple):
    """One root of the layered cache.

    Attributes
    ----------
    root
        The folder that holds ``symbolic/``; it need not exist.
    writable
        Whether this is the one layer that the user's own entries and installed libraries are written to.
    origin
        The source of this root, for messages: ``"argument"``, a variable's name, ``"sys.prefix"`` or ``"home"``.
    """

    root: Path
    writable: bool
    origin: str

    @property
    def symbolic(self) -> Path:
        """The folder of this layer's libraries and entries."""
        return self.root / SYMBOLIC_FOLDER


def _absolute(path: str | os.PathLike[str]) -> Path:
    """Expand ``~`` and make `path` absolute, without touching the disk or following links."""
    text = os.path.expanduser(os.fspath(path))  # noqa: PTH111 - Path.expanduser raises where no home is known
    return Path(os.path.abspath(text))  # noqa: PTH100 - Path.absolute keeps "..", and then one folder has two names


def _home() -> Path | None:
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home raises where no home is known
    return Path(home) / HOME_FOLDER if os.path.isabs(home) else None  # noqa: PTH117


def _explicit_root(path: str | os.PathLike[str]) -> Path:
    # `SymbolicCache.cache_dir` is the folder `symbolic`; handing it back must name the same cache.
    given = _absolute(path)
    return given.parent if given.name == SYMBOLIC_FOLDER else given


def layers(explicit: str | os.PathLike[str] | None = None) -> list[Layer]:
    """List the cache's layers in look-up order.

    Parameters
    ----------
    explicit
        A cache root (or its ``symbolic`` folder) that is searched first and written to.

    Returns
    -------
    list of Layer
        Each folder once, at its first place. At most one layer is writable; none is where neither an argument nor
        ``PHASIC_CACHE_DIR`` is given and no home folder is known.
    """
    environment = os.environ
    candidates: list[tuple[Path, str]] = []
    if explicit is not None:
        if not os.fspath(explicit):
            raise ValueError("the cache directory is an empty string; name a folder, or leave it out for the default")
        candidates.append((_explicit_root(explicit), "argument"))
    if environment.get(CACHE_DIR_VARIABLE):
        candidates.append((_explicit_root(environment[CACHE_DIR_VARIABLE]), CACHE_DIR_VARIABLE))
    own = candidates[0][0] if candidates else _home()
    candidates.append((_absolute(sys.prefix) / PREFIX_FOLDER, "sys.prefix"))
    if environment.get("CONDA_PREFIX"):
        candidates.append((_absolute(environment["CONDA_PREFIX"]) / PREFIX_FOLDER, "CONDA_PREFIX"))
    for shared in environment.get(SHARED_DIRS_VARIABLE, "").split(os.pathsep):
        if shared:
            candidates.append((_explicit_root(shared), SHARED_DIRS_VARIABLE))
    home = _home()
    if home is not None:
        candidates.append((home, "home"))

    found: dict[Path, Layer] = {}
    for root, origin in candidates:
        if root not in found:
            found[root] = Layer(root, root == own, origin)
    return list(found.values())


def writable_layer(explicit: str | os.PathLike[str] | None = None) -> Layer:
    """Return the one layer that may be written.

    Raises
    ------
    OSError
        If no home folder is known and neither an argument nor ``PHASIC_CACHE_DIR`` names a root.
    """
    for layer in layers(explicit):
        if layer.writable:
            return layer
    raise OSError(f"no home folder is known; set {CACHE_DIR_VARIABLE} to a folder that may be written")


def describe(searched: list[Layer]) -> str:
    """Describe layers in a message, one to a line, in look-up order."""
    lines = []
    for layer in searched:
        missing = "" if layer.symbolic.is_dir() else ", does not exist"
        lines.append(f"  {layer.symbolic}  ({layer.origin}{', writable' if layer.writable else ''}{missing})")
    return "\n".join(lines)
