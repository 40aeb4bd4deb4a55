"""Folders and archives of entries and libraries: how they are written, and how they are taken over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..cache import catalogue
from ..cache.entries import is_hash
from ..cache.entry_files import encode_entry
from ..cache.identity import Identity, listed
from ..cache.installation import (
    CheckedLibrary,
    check_library,
    copy_files,
    find_libraries,
    library_staging,
    place,
    unpack,
)
from ..errors import FormatError, ModelNotFoundError
from ..files.atomic import write_atomic
from ..files.checksums import sha256_file
from ..files.names import FILE_SUFFIXES, MANIFEST_NAME, MODEL_SUFFIXES
from ..formats import (
    FORMAT_VERSION,
    Manifest,
    ManifestModel,
    ModelMeta,
    dag_to_json,
    encode_meta,
    write_manifest,
)

if TYPE_CHECKING:
    from ..dag import SymbolicDAG


class Entries(Protocol):
    """The methods of a cache that are used here; see :class:`phasic_models.symbolic_cache.SymbolicCache`."""

    @property
    def cache_dir(self) -> Path:
        """The folder ``symbolic`` of the layer that is written to."""

    def load_dag(self, hash_key: str) -> SymbolicDAG | None:
        """Return an entry's model."""

    def meta(self, hash_key: str) -> ModelMeta | None:
        """Return an entry's metadata."""

    def put_files(self, key: str, files: Mapping[str, bytes | str]) -> None:
        """Store the files of an entry."""


def export_entries(
    cache: Entries,
    folder: Path,
    keys: Iterable[str],
    category: str | None,
    version: str,
    description: str,
) -> Path:
    """Write entries and their manifest into a folder; see :meth:`SymbolicCache.export_library`."""
    folder.mkdir(parents=True, exist_ok=True)
    models = []
    checksums = {}
    for key in dict.fromkeys(keys):
        dag = cache.load_dag(key)
        if dag is None:
            raise ModelNotFoundError(
                f"{key}: no layer holds an intact copy any more; compute it again before it is exported"
            )
        files = encode_entry(dag)
        files[".json"] = files.get(".json") or dag_to_json(dag)
        meta = cache.meta(key)
        if meta is not None:
            files[".meta"] = encode_meta(meta)
        for suffix in FILE_SUFFIXES:
            write_atomic(folder / (key + suffix), files[suffix])
            # Not the .meta: it is there to be completed by hand.
            if suffix in MODEL_SUFFIXES:
                checksums[key + suffix] = f"sha256:{sha256_file(folder / (key + suffix))}"
        models.append(
            ManifestModel(
                name=key,
                hash=key,
                description=_label(key, meta.model_name, meta.description) if meta is not None else "",
                vertices=dag.graph.vertices_length(),
                parameters=list(dag.graph.param_names),
            )
        )
    manifest = Manifest(
        category=category or folder.resolve().name,
        description=description,
        version=version,
        format_version=FORMAT_VERSION,
        models=models,
        checksums=checksums,
    )
    write_manifest(folder / MANIFEST_NAME, manifest)
    return folder


def _label(key: str, name: str, description: str) -> str:
    parts = [part for part in (name, description) if part and part != key]
    return ": ".join(parts)


def import_entries(cache: Entries, source: Path) -> list[str]:
    """Take over a folder or an archive; see :meth:`SymbolicCache.import_library`."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or archive")
    # Everything is checked in a copy of its own, and what was checked is what is kept.
    with library_staging(cache.cache_dir) as staging:
        if source.is_dir():
            roots = [
                copy_files(root, staging / f"library-{number}")
                for number, root in enumerate(find_libraries(source) or [source])
            ]
        else:
            roots = unpack(source, staging / "unpacked") or [staging / "unpacked"]
        plans = [_checked(root, str(source)) for root in roots]
        if not any(bases for _, bases in plans):
            raise FormatError(f"{source}: no model in it: neither a {MANIFEST_NAME} nor files named by graph hash")
        imported: list[str] = []
        for library, bases in plans:
            if library is None or all(base.name == key for key, base in bases.items()):
                for key, base in bases.items():
                    cache.put_files(key, _files(base))
            else:
                place(library, cache.cache_dir, staging, str(source))
                catalogue.forget()
            imported += bases
        return list(dict.fromkeys(imported))


def _checked(root: Path, where: str) -> tuple[CheckedLibrary | None, dict[str, Path]]:
    """Check every model of a folder; returns the library, if it is one, and paths without suffix by graph hash."""
    library = None
    if (root / MANIFEST_NAME).is_file():
        library = check_library(root, source=f"nothing was imported: {where}")
        bases = [_listed(library.manifest, model, root, where) for model in library.manifest.models]
    else:
        stems = {path.stem for path in root.iterdir() if path.suffix in MODEL_SUFFIXES and is_hash(path.stem)}
        bases = [(root / stem, Identity("its name", stem)) for stem in sorted(stems)]
    found = {}
    for base, identity in bases:
        failures: list[FormatError] = []
        dag = catalogue.open_unchecked(base, failures, identity)
        if failures:
            raise FormatError(f"{where}: nothing was imported: {failures[0]}")
        if dag is None:
            raise FormatError(f"{where}: nothing was imported: no file holds {base.name}")
        found[identity.graph_hash] = base
    return library, found


def _listed(manifest: Manifest, model: ManifestModel, root: Path, where: str) -> tuple[Path, Identity]:
    base = _base(root, model.name, model.hash)
    try:
        return base, listed(manifest, model, base)[1]
    except FormatError as error:
        raise FormatError(f"{where}: nothing was imported: {error}") from None


def _base(root: Path, name: str, key: str) -> Path:
    if is_hash(key) and any((root / (key + suffix)).is_file() for suffix in MODEL_SUFFIXES):
        return root / key
    return root / name


def _files(base: Path) -> dict[str, bytes | str]:
    """Return the files of an entry as they are; a missing engine's file is made, to spare the next reader the parse."""
    files: dict[str, bytes | str] = {}
    for suffix in FILE_SUFFIXES:
        path = base.parent / (base.name + suffix)
        if path.is_file():
            files[suffix] = path.read_bytes()
    if ".safetensors" not in files or ".meta" not in files:
        dag = catalogue.open_unchecked(base, [])
        if dag is not None:
            files = {**encode_entry(dag), **files}
    return files
