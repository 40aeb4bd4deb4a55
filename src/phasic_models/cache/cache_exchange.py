"""Entries of the symbolic cache as files: how one is encoded, and how folders of them are exported and taken over."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FormatError, ModelNotFoundError
from ..files.names import FILE_SUFFIXES, MANIFEST_NAME, MODEL_SUFFIXES
from . import catalogue
from .entries import is_hash

if TYPE_CHECKING:
    from ..dag import SymbolicDAG
    from ..symbolic_cache import SymbolicCache

#: Up to this many operations the readable document is stored beside the engine's file; a larger one is written when it
#: is asked for, because writing it would take longer than the elimination.
EAGER_JSON_OPERATIONS = 20_000


def encode_entry(
    dag: SymbolicDAG, milliseconds: float | None = None, model_name: str = "", description: str = ""
) -> dict[str, bytes | str]:
    """Encode the files of one entry, by suffix.

    Parameters
    ----------
    dag
        The eliminated model.
    milliseconds
        How long the elimination took, where it was measured.
    model_name, description
        For the metadata; an entry without a name has its hash for one.
    """
    from ..formats import ModelMeta, Parameter, Stats, dag_to_bytes, dag_to_json, encode_meta

    graph = dag.graph
    key = graph.content_hash()
    meta = ModelMeta(
        model_name=model_name or key,
        description=description,
        format_version="1.0",
        created=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        graph_hash=key,
        stats=Stats(
            vertices=graph.vertices_length(),
            edges=graph.n_edges,
            operations=dag.operations,
            elimination_time_ms=None if milliseconds is None else round(milliseconds, 3),
        ),
        is_discrete=graph.discrete,
        theta=[Parameter(name=name) for name in graph.param_names],
    )
    files: dict[str, bytes | str] = {".meta": encode_meta(meta), ".safetensors": dag_to_bytes(dag)}
    if dag.operations <= EAGER_JSON_OPERATIONS:
        files[".json"] = dag_to_json(dag)
    return files


def export_entries(
    cache: SymbolicCache,
    folder: Path,
    keys: Iterable[str],
    category: str | None,
    version: str,
    description: str,
) -> Path:
    """Write entries and their manifest into a folder; see :meth:`SymbolicCache.export_library`."""
    from ..files.atomic import write_atomic
    from ..files.checksums import sha256_file
    from ..formats import Manifest, ManifestModel, dag_to_json, encode_meta, write_manifest

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
        format_version="1.0",
        models=models,
        checksums=checksums,
    )
    write_manifest(folder / MANIFEST_NAME, manifest)
    return folder


def _label(key: str, name: str, description: str) -> str:
    parts = [part for part in (name, description) if part and part != key]
    return ": ".join(parts)


def import_entries(cache: SymbolicCache, source: Path) -> list[str]:
    """Take over a folder or an archive; see :meth:`SymbolicCache.import_library`."""
    if source.is_dir():
        return _import_folder(cache, source)
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or archive")
    from ..files.archive import safe_extract
    from .installation import remove_junk

    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        unpacked = Path(scratch) / "unpacked"
        safe_extract(source, unpacked)
        remove_junk(unpacked)
        return _import_folder(cache, unpacked, source=str(source))


def import_from(
    source: str,
    *,
    cache_dir: str | os.PathLike[str] | None = None,
    sha256: str | None = None,
    offline: bool | None = None,
) -> list[str]:
    """Take over a folder, an archive or an address of one.

    Parameters
    ----------
    source
        A path, or an address that :mod:`phasic_models.cloud_cache` can fetch.
    cache_dir
        The cache root to write to.
    sha256
        The checksum that an archive must have.
    offline
        Contact nobody; by default PHASIC_MODELS_OFFLINE.

    Returns
    -------
    list of str
        The graph hashes that are now there.
    """
    from ..files.addresses import is_remote, local_path
    from ..files.checksums import normalise_sha256, sha256_file
    from ..remote.download import download
    from ..remote.stores import TransferOptions
    from ..symbolic_cache import SymbolicCache

    cache = SymbolicCache(cache_dir)
    if not is_remote(source):
        path = local_path(source)
        if sha256 is not None and path.is_file() and sha256_file(path) != normalise_sha256(sha256):
            raise FormatError(f"{path}: its SHA-256 is {sha256_file(path)}, expected {sha256}")
        return cache.import_library(path)
    with tempfile.TemporaryDirectory(prefix="phasic-models-") as scratch:
        archive = download(
            source,
            Path(scratch) / "archive.tar.gz",
            sha256=sha256,
            options=TransferOptions.from_environment(offline),
            expect="archive",
        )
        return cache.import_library(archive)


def _import_folder(cache: SymbolicCache, folder: Path, source: str | None = None) -> list[str]:
    from .installation import check_library, find_libraries, install_folder

    roots = find_libraries(folder) or [folder]
    plans = [_checked(root, source) for root in roots]
    if not any(plans):
        raise FormatError(f"{source or folder}: no model in it: neither a manifest.json nor files named by graph hash")
    imported: list[str] = []
    for root, plan in zip(roots, plans, strict=True):
        if all(base.name == key for key, base in plan.items()):
            for key, base in plan.items():
                cache.put_files(key, _files(key, base))
        else:
            check_library(root, source=source)
            install_folder(root, cache.cache_dir)
            catalogue.forget()
        imported += plan
    return list(dict.fromkeys(imported))


def _checked(root: Path, source: str | None) -> dict[str, Path]:
    """Verify every model of a folder before anything is taken over; returns path without suffix by graph hash."""
    from ..formats import manifest_problems, read_manifest

    where = source or str(root)
    manifest = None
    if (root / MANIFEST_NAME).is_file():
        manifest = read_manifest(root / MANIFEST_NAME)
        problems = manifest_problems(root, manifest)
        if problems:
            raise FormatError(f"{where}: nothing was imported:\n" + "\n".join(f"  {problem}" for problem in problems))
        bases = [(model.hash, _base(root, model.name, model.hash)) for model in manifest.models]
    else:
        stems = {path.stem for path in root.iterdir() if path.suffix in MODEL_SUFFIXES and is_hash(path.stem)}
        bases = [(stem, root / stem) for stem in sorted(stems)]
    found = {}
    for key, base in bases:
        failures: list[FormatError] = []
        dag = catalogue.open_unchecked(base, failures)
        if failures:
            raise FormatError(f"{where}: nothing was imported: {failures[0]}")
        if dag is None or dag.graph.content_hash() != key:
            stated = "no file" if dag is None else f"the graph {dag.graph.content_hash()}"
            raise FormatError(f"{where}: nothing was imported: {base.name} should hold {key} and has {stated}")
        found[key] = base
    return found


def _base(root: Path, name: str, key: str) -> Path:
    if is_hash(key) and any((root / (key + suffix)).is_file() for suffix in MODEL_SUFFIXES):
        return root / key
    return root / name


def _files(key: str, base: Path) -> dict[str, bytes | str]:
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
