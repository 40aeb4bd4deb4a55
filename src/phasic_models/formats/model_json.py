"""The interchange document ``<name>.json``: a model that a program in any language can read and evaluate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np

from ..dag import SymbolicDAG
from ..errors import FormatError
from ..graph import Graph
from ..statespace.table import WeightTable
from .decoding import FORMAT_VERSION, decode_json, encode_text
from .expand import ADD, DIV, MUL, OPERATION_NAMES, Expansion, expand, expression_bound

EXPRESSION_LIMIT = 2_000_000
"""A document is expanded if the bound of its number of expressions (`expand.expression_bound`) is at most this."""

Index = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
Coordinate = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


# gc=False below: these hold numbers only, and a million of them should not slow the garbage collector.


class Constant(msgspec.Struct, array_like=True, tag="const", forbid_unknown_fields=True, frozen=True, gc=False):
    """``["const", value]``."""

    value: float


class Affine(msgspec.Struct, array_like=True, tag="affine", forbid_unknown_fields=True, frozen=True, gc=False):
    """``["affine", base, [[parameter, coefficient], …]]``."""

    base: float
    terms: tuple[tuple[Index, float], ...]


class Add(msgspec.Struct, array_like=True, tag="add", forbid_unknown_fields=True, frozen=True, gc=False):
    """``["add", a, b]``."""

    left: Index
    right: Index


class Multiply(msgspec.Struct, array_like=True, tag="mul", forbid_unknown_fields=True, frozen=True, gc=False):
    """``["mul", a, b]``."""

    left: Index
    right: Index


class Divide(msgspec.Struct, array_like=True, tag="div", forbid_unknown_fields=True, frozen=True, gc=False):
    """``["div", a, b]``."""

    left: Index
    right: Index


Expression = Constant | Affine | Add | Multiply | Divide
_OPERATIONS: dict[type, int] = {Add: ADD, Multiply: MUL, Divide: DIV}
_CLASSES: dict[int, type[Add | Multiply | Divide]] = {ADD: Add, MUL: Multiply, DIV: Divide}


class Vertex(msgspec.Struct, omit_defaults=True, frozen=True, gc=False):
    """A vertex of the eliminated graph; an absorbing vertex has nothing but a state."""

    state: tuple[Coordinate, ...]
    rate: Index | None = None
    exit: Index | None = None
    leaving: tuple[tuple[Index, Index], ...] = ()
    edges: tuple[tuple[Index, Index], ...] = ()
    updates: tuple[tuple[Index, Index], ...] = ()


class Elimination(msgspec.Struct, frozen=True):
    """The order of the elimination: block b is ``order[blocks[b]:blocks[b + 1]]``."""

    ordering: str
    operations: Count
    blocks: list[Index]
    order: list[Index]


class OriginalGraph(msgspec.Struct, frozen=True):
    """The graph before the elimination: the first expressions are its weights; edges: (source, target, weight)."""

    weights_length: Index
    edges: list[tuple[Index, Index, Index]]


class Document(msgspec.Struct, frozen=True):
    """All of a model document, in the order in which it is written."""

    format_version: str
    graph_hash: str
    labels_hash: str
    vertices_length: Index
    state_length: Index
    param_length: Index
    param_names: list[str]
    is_acyclic: bool
    is_discrete: bool
    expanded: bool
    elimination: Elimination
    graph: OriginalGraph
    vertices: list[Vertex]
    expressions: list[Expression]


def labels_hash(version: str, graph_hash: str, ordering: str, param_names: Iterable[str]) -> str:
    """SHA-256 of what the graph hash leaves out: a flipped bit in a name shall be noticed too."""
    return hashlib.sha256(encode_text("\n".join([version, graph_hash, ordering, *param_names]), "labels")).hexdigest()


# ---- writing


def dag_to_json(dag: SymbolicDAG, *, expression_limit: int = EXPRESSION_LIMIT) -> str:
    """Write a model as an interchange document.

    Parameters
    ----------
    dag : SymbolicDAG
        The eliminated model.
    expression_limit : int
        Above this bound the document holds graph and elimination order, but not the expanded table.

    Returns
    -------
    str
        The document; the same model gives the same text on any machine.
    """
    graph = dag.graph
    expansion = expand(dag) if expression_bound(dag) <= expression_limit else None
    graph_hash = graph.content_hash()
    head = {
        "format_version": FORMAT_VERSION,
        "graph_hash": graph_hash,
        "labels_hash": labels_hash(FORMAT_VERSION, graph_hash, dag.ordering, graph.param_names),
        "vertices_length": graph.vertices_length(),
        "state_length": int(graph.state_array.shape[1]),
        "param_length": graph.param_length(),
        "param_names": list(graph.param_names),
        "is_acyclic": True,
        "is_discrete": bool(graph.discrete),
        "expanded": expansion is not None,
    }
    elimination = {
        "ordering": dag.ordering,
        "operations": int(dag.operations),
        "blocks": dag.block_ptr.tolist(),
        "order": dag.order.tolist(),
    }
    sources = np.repeat(np.arange(graph.vertices_length()), np.diff(graph.edge_ptr))
    edges = np.column_stack((sources, graph.edge_target, graph.edge_slot)).tolist()
    parts = ["{\n"]
    parts += [f'  "{key}": {_compact(value)},\n' for key, value in head.items()]
    parts += [f'  "elimination": {_block(elimination)},\n']
    parts += [f'  "graph": {{\n    "weights_length": {len(graph.weights)},\n    "edges": ']
    parts += [_lines(map(_compact, edges), "    "), "\n  },\n"]
    parts += ['  "vertices": ', _lines(map(_compact, _vertices(graph, expansion)), "  "), ",\n"]
    parts += ['  "expressions": ', _lines(_expression_texts(graph, expansion), "  "), "\n}\n"]
    return "".join(parts)


def _vertices(graph: Graph, expansion: Expansion | None) -> Iterator[Vertex]:
    for vertex, state in enumerate(graph.state_array.tolist()):
        eliminated = expansion.vertices.get(vertex) if expansion else None
        if eliminated is None:
            yield Vertex(tuple(state))
        else:
            yield Vertex(
                tuple(state),
                eliminated.rate,
                eliminated.exit,
                tuple(eliminated.leaving),
                tuple(eliminated.edges),
                tuple(eliminated.updates),
            )


def _weights(graph: Graph) -> Iterator[Expression]:
    """The weight table, which is the head of the expression table."""
    weights = graph.weights
    terms = list(zip(weights.affine_param.tolist(), weights.affine_coef.tolist(), strict=True))
    for base, (first, last) in zip(weights.affine_base.tolist(), pairwise(weights.affine_ptr.tolist()), strict=True):
        yield Affine(base, tuple(terms[first:last])) if last > first else Constant(base)
    for op, a, b in zip(
        weights.program_op.tolist(), weights.program_a.tolist(), weights.program_b.tolist(), strict=True
    ):
        yield _CLASSES[op](a, b)


def _expression_texts(graph: Graph, expansion: Expansion | None) -> Iterator[str]:
    for expression in _weights(graph):
        # Floats by repr: the shortest digits that read back to the same bits, the same on every platform.
        if isinstance(expression, Constant):
            yield f'["const",{expression.value!r}]'
        elif isinstance(expression, Affine):
            terms = ",".join(f"[{parameter},{coefficient!r}]" for parameter, coefficient in expression.terms)
            yield f'["affine",{expression.base!r},[{terms}]]'
        else:
            name = OPERATION_NAMES[_OPERATIONS[type(expression)]]
            yield f'["{name}",{expression.left},{expression.right}]'
    if expansion is not None:
        names = OPERATION_NAMES
        for op, a, b in zip(expansion.operation, expansion.left, expansion.right, strict=True):
            yield f'["{names[op]}",{a},{b}]'


def _compact(value: object) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except UnicodeEncodeError as error:
        raise FormatError(f"a parameter name cannot be written: {error}") from None


def _block(values: dict[str, object]) -> str:
    return "{\n" + ",\n".join(f'    "{key}": {_compact(value)}' for key, value in values.items()) + "\n  }"


def _lines(items: Iterable[str], indent: str) -> str:
    """A JSON array with one element on a line, so that two versions of a file can be compared line by line."""
    body = f",\n{indent}  ".join(items)
    return f"[\n{indent}  {body}\n{indent}]" if body else "[]"


# ---- reading


def dag_from_json(text: str | bytes, *, source: str = "<string>", format_version: str | None = None) -> SymbolicDAG:
    """Read an interchange document and verify all of it.

    The graph hash is computed anew; the elimination order is checked against the graph; the pattern is derived from
    graph and order, never taken from the file; and an expanded table must equal the one that these give.

    Parameters
    ----------
    text : str or bytes
        The document.
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
        The text is not such a document, or contradicts itself.
    """
    data = encode_text(text, source) if isinstance(text, str) else text
    document = decode_json(data, Document, source, bulk="expressions", version=format_version)
    _check_lengths(document, source)
    graph = _read_graph(document, source)
    order = np.array(document.elimination.order, dtype=np.int32)
    block_ptr = np.array(document.elimination.blocks, dtype=np.int32)
    try:
        dag = SymbolicDAG.from_order(graph, order, block_ptr, ordering=document.elimination.ordering)
    except ValueError as error:
        raise FormatError(f"{source}: elimination: {error} - at `$.elimination.order`") from None
    if dag.operations != document.elimination.operations:
        raise FormatError(
            f"{source}: this order takes {dag.operations} operations, the document says "
            f"{document.elimination.operations} - at `$.elimination.operations`"
        )
    expansion = None
    if document.expanded:
        try:
            expansion = expand(dag, limit=len(document.expressions))
        except FormatError as error:
            raise FormatError(f"{source}: {error} - at `$.expressions`") from None
    _check_expansion(document, graph, expansion, source)
    return dag


def _check_lengths(document: Document, source: str) -> None:
    if not document.is_acyclic:
        raise FormatError(f"{source}: an eliminated graph is acyclic; the document denies it - at `$.is_acyclic`")
    for key, stated, found in (
        ("vertices_length", document.vertices_length, len(document.vertices)),
        ("param_length", document.param_length, len(document.param_names)),
    ):
        if stated != found:
            raise FormatError(f"{source}: says {stated}, but there are {found} - at `$.{key}`")
    for index, vertex in enumerate(document.vertices):
        if len(vertex.state) != document.state_length:
            raise FormatError(
                f"{source}: the state has {len(vertex.state)} entries instead of {document.state_length} "
                f"- at `$.vertices[{index}].state`"
            )


def _read_graph(document: Document, source: str) -> Graph:
    edges = np.array(document.graph.edges, dtype=np.int32).reshape(-1, 3)
    n_vertices = len(document.vertices)
    disordered = np.flatnonzero(np.diff(edges[:, 0]) < 0)
    if disordered.size:
        raise FormatError(
            f"{source}: edges are not in order of their sources - at `$.graph.edges[{disordered[0] + 1}]`"
        )
    if edges.size and edges[-1, 0] >= n_vertices:
        raise FormatError(f"{source}: there is no vertex {edges[-1, 0]} - at `$.graph.edges`")
    affine, program = _weight_rows(document, source)
    terms = [row.terms if isinstance(row, Affine) else () for row in affine]
    flat = [term for row in terms for term in row]
    states = np.array([vertex.state for vertex in document.vertices], dtype=np.int64)
    try:
        graph = Graph.from_canonical_arrays(
            state_array=states.reshape(n_vertices, document.state_length),
            edge_ptr=np.searchsorted(edges[:, 0], np.arange(n_vertices + 1)).astype(np.int64),
            edge_target=edges[:, 1],
            edge_slot=edges[:, 2],
            weights=WeightTable(
                affine_base=np.array([row.base if isinstance(row, Affine) else row.value for row in affine]),
                affine_ptr=np.cumsum([0, *map(len, terms)]),
                affine_param=np.array([parameter for parameter, _ in flat]),
                affine_coef=np.array([coefficient for _, coefficient in flat]),
                program_op=np.array([_OPERATIONS[type(row)] for row in program]),
                program_a=np.array([row.left for row in program]),
                program_b=np.array([row.right for row in program]),
            ),
            discrete=document.is_discrete,
            param_names=tuple(document.param_names),
        )
    except ValueError as error:  # GraphError, and what is said of bad parameter names
        raise FormatError(f"{source}: {error} - at `$.graph`") from None
    check_hashes(
        graph, document.graph_hash, document.labels_hash, document.format_version, document.elimination.ordering, source
    )
    return graph


def check_hashes(graph: Graph, graph_hash: str, labels: str, version: str, ordering: str, source: str) -> None:
    """Raise FormatError unless the recomputed hashes are those that the file states."""
    found = graph.content_hash()
    if found != graph_hash:
        raise FormatError(
            f"{source}: altered: the graph's hash is {found}, the file says {graph_hash!r} - at `$.graph_hash`"
        )
    found = labels_hash(version, graph_hash, ordering, graph.param_names)
    if found != labels:
        raise FormatError(
            f"{source}: altered: the labels' hash is {found}, the file says {labels!r} - at `$.labels_hash`"
        )


def _weight_rows(document: Document, source: str) -> tuple[list[Constant | Affine], list[Add | Multiply | Divide]]:
    """The head of the expression table: first the forms of the parameters, then the operations on them."""
    table, n_weights = document.expressions, document.graph.weights_length
    if n_weights > len(table):
        raise FormatError(f"{source}: there are {len(table)} expressions only - at `$.graph.weights_length`")
    forms: list[Constant | Affine] = []
    program: list[Add | Multiply | Divide] = []
    for index, row in enumerate(table[:n_weights]):
        if not isinstance(row, Constant | Affine):
            program.append(row)
        elif program:
            raise FormatError(f"{source}: a form of the parameters after an operation - at `$.expressions[{index}]`")
        else:
            forms.append(row)
    return forms, program


def _check_expansion(document: Document, graph: Graph, expansion: Expansion | None, source: str) -> None:
    for index, expected in enumerate(_vertices(graph, expansion)):
        if document.vertices[index] != expected:
            raise FormatError(f"{source}: the vertex is not what the elimination gives - at `$.vertices[{index}]`")
    n_weights = len(graph.weights)
    table = document.expressions
    n_expected = n_weights + (len(expansion.operation) if expansion else 0)
    if len(table) != n_expected:
        raise FormatError(f"{source}: {len(table)} expressions instead of {n_expected} - at `$.expressions`")
    if expansion is None:
        return
    operations = _OPERATIONS
    rows = zip(table[n_weights:], expansion.operation, expansion.left, expansion.right, strict=True)
    for index, (row, op, a, b) in enumerate(rows, start=n_weights):
        if isinstance(row, Constant | Affine) or operations[type(row)] != op or row.left != a or row.right != b:
            raise FormatError(
                f"{source}: the expression is not what the elimination gives - at `$.expressions[{index}]`"
            )
