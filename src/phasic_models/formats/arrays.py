"""The binary form ``<name>.safetensors``: the engine's arrays, opened without a parse.

The file is ordinary safetensors. Its metadata has one key, because safetensors writes several in random order; the
value is a JSON text with the labels of the model and a SHA-256 over those labels and all tensor bytes.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from ..dag import SymbolicDAG
from ..errors import FormatError
from ..graph import Graph
from ..statespace.table import WeightTable
from .decoding import FORMAT_VERSION, check_version

METADATA_KEY = "phasic_models"

_I32, _I64, _F64, _U8 = "I32", "I64", "F64", "U8"
_NUMPY: dict[str, np.dtype[Any]] = {
    _I32: np.dtype("<i4"),
    _I64: np.dtype("<i8"),
    _F64: np.dtype("<f8"),
    _U8: np.dtype("u1"),
}

# Tensor: dtype. A file holds exactly these.
_GRAPH = {"state_array": _I64, "edge_ptr": _I64, "edge_target": _I32, "edge_slot": _I32}
_WEIGHTS = {
    "affine_base": _F64,
    "affine_ptr": _I64,
    "affine_param": _I32,
    "affine_coef": _F64,
    "program_op": _U8,
    "program_a": _I32,
    "program_b": _I32,
}
_PATTERN = {
    "order": _I32,
    "block_ptr": _I32,
    "lower_ptr": _I64,
    "lower_col": _I32,
    "upper_ptr": _I64,
    "upper_col": _I32,
}
TENSORS = _GRAPH | _WEIGHTS | _PATTERN


class Labels(msgspec.Struct, frozen=True):
    """The labels of a model, which are not in the arrays."""

    format_version: str
    graph_hash: str
    param_names: list[str]
    is_discrete: bool
    ordering: str
    operations: int


class _Metadata(msgspec.Struct, frozen=True):
    sha256: str
    model: msgspec.Raw


class _Header(msgspec.Struct):
    metadata: dict[str, str] = msgspec.field(name="__metadata__", default_factory=dict)


def dag_to_bytes(dag: SymbolicDAG) -> bytes:
    """Write a model as safetensors; the same model gives the same bytes on any machine.

    Parameters
    ----------
    dag : SymbolicDAG
        The eliminated model.
    """
    return _encode(
        _graph_tensors(dag.graph) | _tensors(dag, _PATTERN), _labels(dag.graph, dag.ordering, int(dag.operations))
    )


def graph_to_bytes(graph: Graph) -> bytes:
    """Write a graph without an elimination: the same file without the tensors of the pattern."""
    return _encode(_graph_tensors(graph), _labels(graph, "", 0))


def _tensors(holder: object, names: dict[str, str]) -> dict[str, npt.NDArray[Any]]:
    return {name: np.ascontiguousarray(getattr(holder, name), dtype=_NUMPY[dtype]) for name, dtype in names.items()}


def _graph_tensors(graph: Graph) -> dict[str, npt.NDArray[Any]]:
    return _tensors(graph, _GRAPH) | _tensors(graph.weights, _WEIGHTS)


def _labels(graph: Graph, ordering: str, operations: int) -> Labels:
    names = list(graph.param_names)
    return Labels(FORMAT_VERSION, graph.content_hash(), names, bool(graph.discrete), ordering, operations)


def _encode(tensors: dict[str, npt.NDArray[Any]], labels: Labels) -> bytes:
    try:
        model = msgspec.json.encode(labels)
    except UnicodeEncodeError as error:
        raise FormatError(f"a parameter name cannot be written: {error}") from None
    # The digest covers the bytes behind the header, in the order that the library gives them; so it is laid out twice.
    blank = save(tensors, {METADATA_KEY: _metadata("0" * 64, model)})
    digest = hashlib.sha256(model)
    digest.update(memoryview(blank)[_data_start(blank, "<bytes>") :])
    return bytes(save(tensors, {METADATA_KEY: _metadata(digest.hexdigest(), model)}))


def _metadata(digest: str, model: bytes) -> str:
    return f'{{"sha256":"{digest}","model":{model.decode()}}}'


def dag_from_bytes(data: bytes, *, source: str = "<bytes>", format_version: str | None = None) -> SymbolicDAG:
    """Read a model from safetensors bytes and verify all of it.

    Checked are the header (by the safetensors library), the digest over labels and tensor bytes, the graph and its
    hash, and (in C) the bounds, order and closure of the elimination pattern.

    Parameters
    ----------
    data : bytes
        The content of a ``.safetensors`` file.
    source : str
        File name or other origin, for messages.
    format_version : str, optional
        The version that it must have; by default any that can be read.

    Returns
    -------
    SymbolicDAG
        The model.

    Raises
    ------
    FormatError
        The bytes are not such a file, or were altered.
    """
    labels, arrays = _read(data, TENSORS, source, format_version)
    return _build(labels, arrays, source)


def graph_from_bytes(data: bytes, *, source: str = "<bytes>") -> Graph:
    """Read what `graph_to_bytes` wrote, and verify all of it; errors as for `dag_from_bytes`."""
    labels, arrays = _read(data, _GRAPH | _WEIGHTS, source, None)
    try:
        return _graph(labels, arrays)
    except ValueError as error:
        raise FormatError(f"{source}: {error}") from None


def _read(
    data: bytes, tensors: dict[str, str], source: str, format_version: str | None
) -> tuple[Labels, dict[str, npt.NDArray[Any]]]:
    try:
        found = deserialize(data)  # type: ignore[no-untyped-call]
    except SafetensorError as error:
        raise FormatError(f"{source}: not a safetensors file (truncated or altered?): {error}") from None
    labels = _read_labels(data, _data_start(data, source), source, format_version)
    return labels, _read_arrays(dict(found), tensors, source)


def _data_start(data: bytes, source: str) -> int:
    """Where the tensor bytes begin: after the header's length and the header."""
    start = 8 + int.from_bytes(data[:8], "little")
    if len(data) < 8 or start > len(data):
        raise FormatError(f"{source}: not a safetensors file: truncated in its header")
    return start


def _read_labels(data: bytes, start: int, source: str, format_version: str | None) -> Labels:
    try:
        text = msgspec.json.decode(data[8:start], type=_Header).metadata.get(METADATA_KEY)
        if text is None:
            raise FormatError(
                f"{source}: a safetensors file, but not of phasic-models: its metadata has no key {METADATA_KEY!r}"
            )
        metadata = msgspec.json.decode(text, type=_Metadata)
        labels = msgspec.json.decode(metadata.model, type=Labels)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{source}: metadata (altered?): {error}") from None
    check_version(labels.format_version, source, format_version)
    digest = hashlib.sha256(metadata.model)
    digest.update(memoryview(data)[start:])
    if digest.hexdigest() != metadata.sha256:
        raise FormatError(
            f"{source}: altered or damaged: the SHA-256 of its content is {digest.hexdigest()}, it says "
            f"{metadata.sha256!r}; fetch or build it again"
        )
    return labels


def _read_arrays(found: dict[str, dict[str, Any]], tensors: dict[str, str], source: str) -> dict[str, npt.NDArray[Any]]:
    arrays = {}
    for name, dtype in tensors.items():
        tensor = found.get(name)
        if tensor is None:
            raise FormatError(f"{source}: the tensor {name!r} is missing")
        dimensions = 2 if name == "state_array" else 1
        if tensor["dtype"] != dtype or len(tensor["shape"]) != dimensions:
            raise FormatError(
                f"{source}: the tensor {name!r} has type {tensor['dtype']} and shape {tensor['shape']}; "
                f"expected {dtype} and {dimensions} dimension(s)"
            )
        stored = _NUMPY[dtype]
        array = np.frombuffer(tensor["data"], dtype=stored).reshape(tensor["shape"])
        arrays[name] = array if stored.isnative else array.astype(stored.newbyteorder("="))
    return arrays


def _build(labels: Labels, arrays: dict[str, npt.NDArray[Any]], source: str) -> SymbolicDAG:
    try:
        dag = SymbolicDAG(
            _graph(labels, arrays),
            **{name: arrays[name] for name in _PATTERN},
            operations=labels.operations,
            ordering=labels.ordering,
        )
    except ValueError as error:  # GraphError, FormatError, and what is said of bad parameter names
        raise FormatError(f"{source}: {error}") from None
    return dag


def _graph(labels: Labels, arrays: dict[str, npt.NDArray[Any]]) -> Graph:
    from ..graph import Graph

    graph = Graph.from_canonical_arrays(
        **{name: arrays[name] for name in _GRAPH},
        weights=WeightTable(**{name: arrays[name] for name in _WEIGHTS}),
        discrete=labels.is_discrete,
        param_names=tuple(labels.param_names),
    )
    if graph.content_hash() != labels.graph_hash:
        raise FormatError(f"the graph's hash is {graph.content_hash()}, the file says {labels.graph_hash!r}")
    return graph
