"""Expand a symbolic elimination into a table of scalar expressions.

The engine keeps the elimination as an order and a sparsity pattern. The interchange document spells it out instead:
every addition, multiplication and division that the engine performs on weights becomes one row of a table, in
topological order, and equal rows are stored once. Evaluating the rows in order in IEEE-754 double precision, without
fused multiply-adds, gives the engine's numbers to the last bit.

Two things differ from the engine, both exact in floating point: the operands of an addition or a multiplication are sorted, and
nothing is added to a structural zero (the first contribution to a sum *is* the sum).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..errors import FormatError

if TYPE_CHECKING:
    from ..dag import SymbolicDAG

ADD, MUL, DIV = 1, 2, 3
OPERATION_NAMES = {ADD: "add", MUL: "mul", DIV: "div"}

# A pair of operands packs into one int, which is smaller and hashes faster than a tuple.
_INDEX_BITS = 30


@dataclass
class EliminatedVertex:
    """One transient vertex after the elimination; numbers are vertices and indices into the expression table.

    Attributes
    ----------
    rate : int
        Total rate out of the vertex: `exit` plus all of `edges`.
    exit : int or None
        Rate out of the vertex's block; None where it is structurally zero.
    leaving : list of (int, int)
        Original edges (target, weight) to transient vertices of earlier blocks.
    edges : list of (int, int)
        Edges (target, weight) to later vertices of the same block, after the elimination.
    updates : list of (int, int)
        Reward updates (source, factor): the vertex's reward grows by factor times the source's.
    """

    rate: int
    exit: int | None
    leaving: list[tuple[int, int]] = field(default_factory=list)
    edges: list[tuple[int, int]] = field(default_factory=list)
    updates: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Expansion:
    """The expanded elimination.

    Attributes
    ----------
    n_weights : int
        The first `n_weights` expressions are the graph's weight table, one for one.
    operation, left, right : list of int
        The expressions after those: operation code (`ADD`, `MUL`, `DIV`) and its two operands.
    vertices : dict of int to EliminatedVertex
        The transient vertices, in elimination order.
    """

    n_weights: int
    operation: list[int]
    left: list[int]
    right: list[int]
    vertices: dict[int, EliminatedVertex]


class _Table:
    """Hash-consed rows (operation, left, right) that continue the weight table."""

    def __init__(self, n_weights: int, operation: list[int], left: list[int], right: list[int]) -> None:
        self.operation: list[int] = []
        self.left: list[int] = []
        self.right: list[int] = []
        self.size = n_weights
        self._rows: dict[int, dict[int, int]] = {ADD: {}, MUL: {}, DIV: {}}
        first = n_weights - len(operation)
        for index, (op, a, b) in enumerate(zip(operation, left, right, strict=True), start=first):
            if op != DIV and a > b:
                a, b = b, a
            self._rows[op].setdefault(a << _INDEX_BITS | b, index)

    def row(self, op: int, a: int, b: int) -> int:
        """Index of the expression ``a op b``, which is added if it is new."""
        if a > b and op != DIV:
            a, b = b, a
        key = a << _INDEX_BITS | b
        rows = self._rows[op]
        index = rows.get(key)
        if index is None:
            index = rows[key] = self.size
            self.size = index + 1
            self.operation.append(op)
            self.left.append(a)
            self.right.append(b)
        return index

    def sum(self, total: int | None, term: int) -> int:
        """Index of ``total + term``; the first term of a sum (no `total` yet) is the sum."""
        return term if total is None else self.row(ADD, total, term)


def expression_bound(dag: SymbolicDAG) -> int:
    """Upper bound of the number of expressions of a DAG, known without expanding it.

    The bound counts every weight and every scalar operation of the elimination, as if no two were equal. It depends
    on the graph, the order and the pattern only, so every reader and writer finds the same number.
    """
    weights = dag.graph.weights
    n_lower, n_upper = len(dag.lower_col), len(dag.upper_col)
    # Divisions: one for each multiplier. Sums: each weight, and each entry of a row, joins at most one sum.
    linear = len(dag.graph.edge_target) + n_lower + n_upper
    return len(weights.affine_base) + len(weights.program_op) + linear + 2 * int(dag.operations)


def expand(dag: SymbolicDAG, *, limit: int | None = None) -> Expansion:
    """Expand the elimination of a DAG.

    Parameters
    ----------
    dag : SymbolicDAG
        The elimination; its pattern has been checked by its constructor.
    limit : int, optional
        Raise when the table grows longer than this.

    Returns
    -------
    Expansion
        All expressions, and the eliminated graph in terms of them.

    Raises
    ------
    FormatError
        The table has more than `limit` expressions.
    """
    graph, weights = dag.graph, dag.graph.weights
    n_weights = len(weights.affine_base) + len(weights.program_op)
    table = _Table(n_weights, _ints(weights.program_op), _ints(weights.program_a), _ints(weights.program_b))
    edge_ptr, targets, slots = _ints(graph.edge_ptr), _ints(graph.edge_target), _ints(graph.edge_slot)
    order, block_ptr = _ints(dag.order), _ints(dag.block_ptr)
    lower_ptr, lower_col = _ints(dag.lower_ptr), _ints(dag.lower_col)
    upper_ptr, upper_col = _ints(dag.upper_ptr), _ints(dag.upper_col)
    position = np.full(graph.vertices_length(), -1, dtype=np.int64)
    position[dag.order] = np.arange(len(order))
    place = _ints(position)

    rates: list[int] = []
    exits: list[int | None] = []
    uppers: list[list[tuple[int, int]]] = []
    vertices: dict[int, EliminatedVertex] = {}
    for first, last in pairwise(block_ptr):
        for i in range(first, last):
            vertex = order[i]
            edges = slice(edge_ptr[vertex], edge_ptr[vertex + 1])
            located = [
                (place[target], target, weight) for target, weight in zip(targets[edges], slots[edges], strict=True)
            ]
            current = {where: weight for where, _, weight in located if first <= where < last}
            outside = [(where, target, weight) for where, target, weight in located if not first <= where < last]
            leaving = [(target, weight) for where, target, weight in outside if where >= 0]
            exit_: int | None = None
            for _, _, weight in outside:
                exit_ = table.sum(exit_, weight)

            updates: list[tuple[int, int]] = []
            for j in lower_col[lower_ptr[i] : lower_ptr[i + 1]]:
                if j not in current:
                    continue
                factor = table.row(DIV, current[j], rates[j])
                updates.append((order[j], factor))
                exit_j = exits[j]
                if exit_j is not None:
                    exit_ = table.sum(exit_, table.row(MUL, factor, exit_j))
                for k, weight in uppers[j]:
                    if k != i:
                        current[k] = table.sum(current.get(k), table.row(MUL, factor, weight))

            upper = [(k, current[k]) for k in upper_col[upper_ptr[i] : upper_ptr[i + 1]] if k in current]
            rate = exit_
            for _, weight in upper:
                rate = table.sum(rate, weight)
            if rate is None:  # the constructor of the DAG has refused such a graph
                raise AssertionError(f"vertex {vertex} has no way out")
            rates.append(rate)
            exits.append(exit_)
            uppers.append(upper)
            within = [(order[k], weight) for k, weight in upper]
            vertices[vertex] = EliminatedVertex(rate, exit_, leaving, within, updates)
            if limit is not None and table.size > limit:
                raise FormatError(f"the elimination has more than {limit} expressions")
    return Expansion(n_weights, table.operation, table.left, table.right, vertices)


def _ints(values: npt.NDArray[Any]) -> list[int]:
    """The array as Python ints, which loop several times faster than numpy's scalars."""
    result: list[int] = values.tolist()
    return result
