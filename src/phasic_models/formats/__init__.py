"""Files of format 1.0: the interchange document, the engine's arrays, and the records beside them.

``docs/format.md`` describes the files; `phasic_models.schemas` holds their JSON Schemas.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import FormatError
from ..files.atomic import TEMPORARY_PREFIX, write_atomic
from ..files.checksums import sha256_file
from ..files.names import MANIFEST_SUM_NAME, MODEL_SUFFIXES
from .arrays import dag_from_bytes, dag_to_bytes
from .decoding import FORMAT_VERSION, check_version
from .folder import (
    foreign_files,
    manifest_problems,
    manifest_sum_problems,
    write_manifest,
    write_manifest_bytes,
)
from .model_json import EXPRESSION_LIMIT, dag_from_json, dag_to_json
from .records import (
    Citation,
    Erratum,
    Manifest,
    ManifestModel,
    ModelMeta,
    Parameter,
    Retraction,
    Stats,
    decode_manifest,
    decode_meta,
    encode_manifest,
    encode_meta,
    read_manifest,
    read_meta,
    write_meta,
)
from .schema import json_schema

if TYPE_CHECKING:
    from ..dag import SymbolicDAG

__all__ = [
    "EXPRESSION_LIMIT",
    "FORMAT_VERSION",
    "MANIFEST_SUM_NAME",
    "TEMPORARY_PREFIX",
    "Citation",
    "Erratum",
    "Manifest",
    "ManifestModel",
    "ModelMeta",
    "Parameter",
    "Retraction",
    "Stats",
    "check_version",
    "dag_from_bytes",
    "dag_from_json",
    "dag_to_bytes",
    "dag_to_json",
    "decode_manifest",
    "decode_meta",
    "encode_manifest",
    "encode_meta",
    "foreign_files",
    "json_schema",
    "manifest_problems",
    "manifest_sum_problems",
    "open_dag",
    "read_manifest",
    "read_meta",
    "save_dag",
    "sha256_file",
    "write_atomic",
    "write_manifest",
    "write_manifest_bytes",
    "write_meta",
]


def open_dag(path: str | os.PathLike[str], *, format_version: str | None = None) -> SymbolicDAG:
    """Open a model file, ``.safetensors`` or ``.json``.

    Parameters
    ----------
    path : path-like
        The file; its suffix says which form it has.
    format_version : str, optional
        The version that its format must have; by default any that can be read.

    Returns
    -------
    SymbolicDAG
        The model, verified.

    Raises
    ------
    FormatError
        The file is truncated, altered or of another format, or the suffix is neither of the two.
    OSError
        The file cannot be read.
    """
    # The whole file is read, not mapped: if another process cut or rewrote it under a mapping, this one would die of
    # a bus error or use indices that nobody checked. Reading costs a fraction of the checksum.
    suffix = _suffix(path)
    data = Path(path).read_bytes()
    read = dag_from_bytes if suffix == ".safetensors" else dag_from_json
    return read(data, source=os.fspath(path), format_version=format_version)


def save_dag(dag: SymbolicDAG, path: str | os.PathLike[str]) -> None:
    """Write a model file, ``.safetensors`` or ``.json`` by its suffix, atomically.

    Parameters
    ----------
    dag : SymbolicDAG
        The model.
    path : path-like
        Where to; the folder must exist.
    """
    write_atomic(path, dag_to_bytes(dag) if _suffix(path) == ".safetensors" else dag_to_json(dag))


def _suffix(path: str | os.PathLike[str]) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in MODEL_SUFFIXES:
        raise FormatError(
            f"{os.fspath(path)}: the name of a model file ends in .safetensors or .json, not in {suffix!r}"
        )
    return suffix
