"""The identity of a model: manifest, metadata and model file must agree on it.

The graph hash covers everything but the names of the parameters and their order, on which the meaning of θ depends; so
these are compared one by one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FormatError

if TYPE_CHECKING:
    from ..dag import SymbolicDAG
    from ..formats import Manifest, ManifestModel, ModelMeta

#: Fields of a library that both manifest and metadata hold.
_SHARED = (
    "format_version",
    "compatible_versions",
    "phasic_min_version",
    "phasic_max_version",
    "phasic_models_min_version",
    "phasic_models_max_version",
)


class Identity(NamedTuple):
    """The required content of a model file.

    Attributes
    ----------
    source
        The file that says so, for messages.
    graph_hash
        The hash of its graph.
    param_names
        The names of its parameters, in order; None where nothing states them.
    format_version
        The version of the file's format; None where nothing states it.
    """

    source: str
    graph_hash: str
    param_names: tuple[str, ...] | None = None
    format_version: str | None = None

    def problem(self, dag: SymbolicDAG, path: Path) -> str | None:
        """Return how an opened file differs from the expected model; None if it does not."""
        found = dag.content_hash()
        if found != self.graph_hash:
            return f"{path}: holds another model: its graph hash is {found}, and {self.source} says {self.graph_hash}"
        names = dag.graph.param_names
        if self.param_names is not None and names != self.param_names:
            return f"{path}: its parameters are ({_list(names)}), and {self.source} says ({_list(self.param_names)})"
        return None


def listed(manifest: Manifest, model: ManifestModel, base: Path) -> tuple[ModelMeta, Identity]:
    """Return the metadata of a model that a manifest lists, and what its file must hold.

    Parameters
    ----------
    manifest, model
        The manifest, and the model's entry in it.
    base
        Path of the model's files, without suffix.

    Raises
    ------
    FormatError
        The metadata are missing or damaged, or contradict the manifest.
    OSError
        They cannot be read.
    """
    from ..formats import read_meta

    path = base.parent / (base.name + ".meta")
    try:
        meta = read_meta(path)
    except FileNotFoundError:
        raise FormatError(f"{path}: missing") from None
    problems = meta_problems(manifest, model, meta, path)
    if problems:
        raise FormatError("; ".join(problems))
    # Where people complete the metadata by hand, θ may be described in one of the two places only.
    whole = is_built(manifest, path.name)
    names = [parameter.name for parameter in meta.theta] or model.parameters
    known = tuple(names) if names or whole else None
    return meta, Identity(path.name, meta.graph_hash, known, meta.format_version or manifest.format_version)


def is_built(manifest: Manifest, meta_name: str) -> bool:
    """Whether a build wrote a ``.meta``: then a checksum covers it, and it is complete."""
    return meta_name in manifest.checksums


def meta_problems(manifest: Manifest, model: ManifestModel, meta: ModelMeta, path: Path) -> list[str]:
    """Say in what a model's metadata and its manifest contradict each other.

    Metadata that a build wrote must hold all that the manifest does; others, which people complete by hand, must not
    contradict it.
    """
    built = is_built(manifest, path.name)
    names = [parameter.name for parameter in meta.theta]
    pairs = [
        ("graph_hash", meta.graph_hash, model.hash),
        ("status", meta.status, model.status),
        *((field, getattr(meta, field), getattr(manifest, field)) for field in _SHARED),
    ]
    if built:
        pairs.append(("model_name", meta.model_name, model.name))
    problems = [
        f"{path}: its {field} is {here!r}, and manifest.json says {there!r}"
        for field, here, there in pairs
        if here != there and (built or (here and there))
    ]
    if names != model.parameters and (built or (names and model.parameters)):
        problems.append(
            f"{path}: its parameters are ({_list(names)}), and manifest.json says ({_list(model.parameters)})"
        )
    return problems


def of_entry(base: Path) -> Identity:
    """Return what the file of a user's own entry must hold: the graph that its name says, and the labels of its ``.meta``.

    Raises
    ------
    FormatError
        There is a ``.meta`` that is damaged, or of another graph.
    """
    from ..formats import read_meta

    path = base.parent / (base.name + ".meta")
    try:
        meta = read_meta(path)
    except FileNotFoundError:
        # A writer that was killed leaves less than all files, each of which is right.
        return Identity("its name", base.name)
    if meta.graph_hash != base.name:
        raise FormatError(f"{path}: its graph_hash is {meta.graph_hash}, not the one that its name says")
    names = tuple(parameter.name for parameter in meta.theta)
    return Identity(path.name, base.name, names or None, meta.format_version)


def _list(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
