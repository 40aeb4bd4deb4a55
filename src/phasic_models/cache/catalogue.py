"""Find models by name: ``category/model`` in the libraries of every cache layer.

A library is a folder ``symbolic/<category>/`` with a ``manifest.json``, which is remembered until the file changes. A
model is only opened where manifest, metadata and model file agree on what it is; see `identity`.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import FormatError, ModelNotFoundError
from ..files.names import MANIFEST_NAME, MODEL_SUFFIXES, category_problem, name_problem
from . import prefix
from .entries import Stamp, entry_folders, is_hash, stamp
from .identity import listed, of_entry
from .warn import warn_user

if TYPE_CHECKING:
    from ..dag import SymbolicDAG
    from ..formats import Manifest, ManifestModel, ModelMeta
    from ..model import Model
    from .identity import Identity
    from .prefix import Layer


class Library(NamedTuple):
    """One library in one layer."""

    category: str
    folder: Path
    layer: Layer
    manifest: Manifest


class Located(NamedTuple):
    """One model in one library."""

    library: Library
    model: ManifestModel

    @property
    def name(self) -> str:
        """The name that :func:`load_model` takes."""
        return f"{self.library.category}/{self.model.name}"

    def path(self, suffix: str) -> Path:
        """Path of one of the model's files; exported libraries name them by hash."""
        return self.library.folder / (self.base.name + suffix)

    @property
    def base(self) -> Path:
        """Path of the model's files, without suffix."""
        by_name = self.library.folder / self.model.name
        if is_hash(self.model.hash) and not _has_files(by_name):
            by_hash = self.library.folder / self.model.hash
            if _has_files(by_hash):
                return by_hash
        return by_name


class Found(NamedTuple):
    """An opened model, and the place where it was found."""

    dag: SymbolicDAG
    base: Path
    layer: Layer
    name: str
    category: str | None
    meta: ModelMeta | None = None


_manifests: dict[Path, tuple[Stamp, Manifest | FormatError]] = {}


def forget() -> None:
    """Drop what is remembered of the layers; called after a library was placed or removed."""
    _manifests.clear()


def categories(layer: Layer) -> list[str]:
    """List the folders of one layer that may be libraries, by name."""
    names: list[str] = []
    with contextlib.suppress(OSError), os.scandir(layer.symbolic) as items:
        names = [item.name for item in items if item.is_dir() and category_problem(item.name) is None]
    return sorted(names)


def _read_manifest(folder: Path) -> Manifest | FormatError | None:
    """Return the manifest of a folder, or why it cannot be read; None where there is none."""
    path = folder / MANIFEST_NAME
    seen = stamp(path)
    if seen is None:
        _manifests.pop(path, None)
        return None
    remembered = _manifests.get(path)
    if remembered is not None and remembered[0] == seen:
        return remembered[1]
    from ..formats import read_manifest

    found: Manifest | FormatError
    try:
        found = read_manifest(path)
    except FormatError as error:
        found = error
    except OSError as error:
        found = FormatError(f"{path}: cannot be read: {error.strerror or error}")
    _manifests[path] = (seen, found)
    return found


def libraries(
    *, cache_dir: str | os.PathLike[str] | None = None, layers: list[Layer] | None = None
) -> Iterator[Library]:
    """Yield every library of every layer, in look-up order; a category may come once per layer.

    Parameters
    ----------
    cache_dir
        A cache root to search first.
    layers
        The layers, where the caller has them already.
    """
    for layer in prefix.layers(cache_dir) if layers is None else layers:
        for category in categories(layer):
            folder = layer.symbolic / category
            manifest = _read_manifest(folder)
            if isinstance(manifest, FormatError):
                warn_user(
                    f"skipped the library in {folder}: {manifest}. `ptd-cache verify` checks what is installed; "
                    "reinstall it"
                )
            elif manifest is not None:
                yield Library(category, folder, layer, manifest)


def models(*, cache_dir: str | os.PathLike[str] | None = None, layers: list[Layer] | None = None) -> Iterator[Located]:
    """Yield every model that :func:`load_model` would load, each name once, at its first place in look-up order."""
    seen = set()
    for library in libraries(cache_dir=cache_dir, layers=layers):
        for model in library.manifest.models:
            located = Located(library, model)
            if located.name not in seen:
                seen.add(located.name)
                yield located


def list_models(category: str | None = None, *, cache_dir: str | os.PathLike[str] | None = None) -> list[str]:
    """List the names of all models in the installed libraries.

    Parameters
    ----------
    category
        Only this library's models.
    cache_dir
        A cache root to search before the usual layers.

    Returns
    -------
    list of str
        Names that :func:`load_model` takes, sorted, with numbers in numerical order.
    """
    names = (located.name for located in models(cache_dir=cache_dir))
    return sorted((name for name in names if category in (None, name.split("/")[0])), key=natural_key)


def natural_key(text: str) -> list[tuple[bool, int, str]]:
    """Key for sorting names so that n_3 comes before n_10."""
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]


def find_by_hash(key: str, layers: list[Layer]) -> Iterator[Located]:
    """Yield the library models with this graph hash, in look-up order."""
    for library in libraries(layers=layers):
        for model in library.manifest.models:
            if model.hash == key:
                yield Located(library, model)


def load_model(name: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Model:
    """Load a model from the first cache layer that holds it.

    Parameters
    ----------
    name
        ``"coalescent/n_samples_10"``; the model's own name alone, where only one library has it; or a graph hash.
    cache_dir
        A cache root to search before the usual layers.

    Returns
    -------
    Model
        Ready to be evaluated.

    Raises
    ------
    ModelNotFoundError
        No layer holds it. The message lists near matches, the layers searched and the command that installs the
        library.
    CompatibilityError
        The library was made for other versions of phasic or phasic-models than the installed ones.
    FormatError
        Every copy found is corrupt, of an unknown format, or not what its manifest and metadata say: another graph, other
        names of parameters, other versions.

    Examples
    --------
    >>> import phasic_models as pm
    >>> model = pm.load_model("coalescent/n_samples_3")
    >>> round(model.expectation([1.0]), 6)
    1.333333
    """
    from ..model import Model

    layers = prefix.layers(cache_dir)
    return Model(find_model(name, layers).dag)


def find_model(name: str, layers: list[Layer]) -> Found:
    """Find and open a model; see :func:`load_model` for names and exceptions."""
    parts = name.split("/") if isinstance(name, str) else []
    if len(parts) not in (1, 2) or any(name_problem(part) for part in parts):
        raise ModelNotFoundError(
            f"{name!r} is not a model's name; write category/model, as in 'coalescent/n_samples_10'. "
            "list_models() and `ptd-cache list` show what is installed"
        )
    if len(parts) == 1:
        if is_hash(name):
            found = _load_hash(name, layers)
            if found.meta is not None:
                _check_use(found.meta, found.base)
            return found
        parts = list(_complete(name, layers))
    failures: list[FormatError] = []
    for layer in layers:
        opened = _in_layer(layer, parts[0], parts[1], failures)
        if opened is not None:
            for failure in failures:
                warn_user(f"passed over a corrupt file: {failure}")
            if opened.meta is not None:
                _check_use(opened.meta, opened.base)
            return opened
    if failures:
        listed = "\n".join(f"  {failure}" for failure in failures)
        raise FormatError(
            f"{parts[0]}/{parts[1]}: no copy of it is intact. `ptd-cache verify {parts[0]}` lists what is damaged; "
            f"reinstall the library with your package manager or `ptd-cache install {parts[0]}`:\n{listed}"
        )
    raise _not_found("/".join(parts), layers)


def _in_layer(layer: Layer, category: str, name: str, failures: list[FormatError]) -> Found | None:
    """Open a model of one layer's library; None where it is not there, or not intact, which is added to `failures`."""
    folder = layer.symbolic / category
    manifest = _read_manifest(folder)
    if isinstance(manifest, FormatError):
        failures.append(manifest)
        return None
    located = None if manifest is None else _located(Library(category, folder, layer, manifest), name)
    if located is None:
        if _has_files(folder / name):
            why = "there is no manifest.json beside it" if manifest is None else "the manifest.json does not list it"
            failures.append(FormatError(f"{folder / name}.*: {why}, so nothing says what these files should hold"))
        return None
    opened = open_listed(located, failures)
    return None if opened is None else opened._replace(name=f"{category}/{name}")


def open_listed(located: Located, failures: list[FormatError]) -> Found | None:
    """Open a model of a library, if manifest, metadata and file agree on what it is.

    Parameters
    ----------
    located
        The model.
    failures
        Collects the errors of files that are missing, cannot be used or contradict the others.
    """
    base = located.base
    try:
        meta, identity = listed(located.library.manifest, located.model, base)
    except FormatError as error:
        failures.append(error)
        return None
    except OSError as error:
        failures.append(FormatError(f"{base}.meta: cannot be read: {error.strerror or error}"))
        return None
    before = len(failures)
    dag = open_unchecked(base, failures, identity)
    if dag is None:
        if len(failures) == before:
            failures.append(FormatError(f"{base}.safetensors, .json: missing; the manifest.json lists the model"))
        return None
    return Found(dag, base, located.library.layer, located.name, located.library.category, meta)


def _has_files(base: Path) -> bool:
    return any(os.path.isfile(f"{base}{suffix}") for suffix in MODEL_SUFFIXES)  # noqa: PTH113 - a path object costs more


def _check_use(meta: ModelMeta, base: Path) -> None:
    """Raise if the model does not fit the installed versions, and warn if it was retracted."""
    from .. import compat

    compat.check(meta, source=f"{base}.meta")
    if meta.status == "retracted":
        reason = f": {meta.retraction}" if meta.retraction is not None else ""
        warn_user(f"the model {meta.model_name} was retracted by its authors{reason}", UserWarning)


def open_unchecked(base: Path, failures: list[FormatError], identity: Identity | None = None) -> SymbolicDAG | None:
    """Open ``<base>.safetensors``, else ``<base>.json``, whatever the versions that it was made for.

    Parameters
    ----------
    base
        Path without suffix.
    failures
        Collects the errors of files that exist and cannot be used.
    identity
        The required content. A file with other content belongs to another model.

    Returns
    -------
    SymbolicDAG or None
        None where there is no usable file.
    """
    from .. import formats

    for suffix in MODEL_SUFFIXES:
        path = base.parent / (base.name + suffix)
        try:
            dag = formats.open_dag(path, format_version=None if identity is None else identity.format_version)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except FormatError as error:
            failures.append(error)
        except OSError as error:
            failures.append(FormatError(f"{path}: cannot be read: {error.strerror or error}"))
        else:
            problem = None if identity is None else identity.problem(dag, path)
            if problem is None:
                return dag
            failures.append(FormatError(problem))
    return None


def _located(library: Library, name: str) -> Located | None:
    """Find a model by its name in the manifest, or, where files are named by hash, by the name in its metadata."""
    for model in library.manifest.models:
        if model.name == name:
            return Located(library, model)
    if _has_files(library.folder / name):
        return None
    for model in library.manifest.models:
        if is_hash(model.hash) and name == _meta_name(library.folder / (model.hash + ".meta")):
            return Located(library, model)
    return None


def _meta_name(path: Path) -> str | None:
    from ..formats import read_meta

    try:
        return read_meta(path).model_name
    except (FormatError, OSError):
        return None


def _load_hash(key: str, layers: list[Layer]) -> Found:
    failures: list[FormatError] = []
    for layer in layers:
        for folder in entry_folders(layer.symbolic, key):
            base = folder / key
            if not _has_files(base):
                continue
            try:
                dag = open_unchecked(base, failures, of_entry(base))
            except (FormatError, OSError) as error:
                failures.append(FormatError(f"{error}. Remove this entry: SymbolicCache().remove({key!r})"))
                continue
            if dag is not None:
                return Found(dag, base, layer, key, None)
    for located in find_by_hash(key, layers):
        found = open_listed(located, failures)
        if found is not None:
            return found
    if failures:
        raise failures[0]
    raise ModelNotFoundError(f"no cache layer holds the graph hash {key}; searched:\n{prefix.describe(layers)}")


def _complete(name: str, layers: list[Layer]) -> tuple[str, str]:
    """Turn a bare model name into category and name."""
    found = sorted({located.library.category for located in models(layers=layers) if located.model.name == name})
    if not found:
        raise _not_found(name, layers)
    if len(found) > 1:
        choices = ", ".join(f"{category}/{name}" for category in found)
        raise ModelNotFoundError(f"{name!r} is in several libraries; ask for one of {choices}")
    return found[0], name


def _not_found(name: str, layers: list[Layer]) -> ModelNotFoundError:
    import difflib

    category, _, bare = name.rpartition("/")
    known = sorted({located.name for located in models(layers=layers)}, key=natural_key)
    lines = [f"no model {name!r} in any cache layer"]
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.6)
    near += [other for other in known if other.split("/")[1] == bare and other not in near]
    if near:
        lines.append("did you mean " + " or ".join(near) + "?")
    installed = {other.split("/")[0] for other in known}
    if category in installed:
        have = [other.split("/")[1] for other in known if other.startswith(category + "/")]
        lines.append(f"the installed library {category!r} has: {', '.join(have)}")
    else:
        wanted = category or "<category>"
        lines.append(f"install its library with: pixi add phasic-models-{wanted}   or: ptd-cache install {wanted}")
    lines.append(f"searched:\n{prefix.describe(layers)}")
    return ModelNotFoundError("\n".join(lines))


def library_folders(layers: list[Layer], *, hidden: bool = False) -> list[tuple[str, Path, Layer]]:
    """List category, folder and layer of every folder with a manifest, readable or not, in look-up order."""
    found: list[tuple[str, Path, Layer]] = []
    seen: set[str] = set()
    for layer in layers:
        for category in categories(layer):
            folder = layer.symbolic / category
            if (hidden or category not in seen) and (folder / MANIFEST_NAME).exists():
                seen.add(category)
                found.append((category, folder, layer))
    return found


def library_folder(category: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of an installed library, at its first place.

    Raises
    ------
    ModelNotFoundError
        It is not installed.
    """
    layers = prefix.layers(cache_dir)
    for name, folder, _ in library_folders(layers):
        if name == category:
            return folder
    raise ModelNotFoundError(
        f"the library {category!r} is not installed; ptd-cache install {category}; searched:\n{prefix.describe(layers)}"
    )
