"""From time to counts: the events that fall on a continuous chain before it is absorbed, as a discrete graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError, ParameterError
from ..graph import Graph
from ..statespace.expr import Expr, params
from ..statespace.table import OP_ADD, OP_MUL
from .arguments import check_rewards

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def discretize(graph: Graph, rate: float | str, rewards: Any = None) -> tuple[Graph, npt.NDArray[np.float64]]:
    """Return the discrete graph of jumps and events; see `phasic_models.Graph.discretize`."""
    if graph.discrete:
        raise GraphError("the graph is discrete already")
    earned = check_rewards(rewards, graph)
    earned = np.ones(graph.vertices_length()) if earned is None else earned
    if earned.ndim != 1:
        raise ParameterError(f"rewards must be one vector of shape ({graph.vertices_length()},), not {earned.shape}")
    names = graph.param_names
    if isinstance(rate, str):
        if rate in names:
            raise ParameterError(f"the graph has a parameter {rate!r} already; give the rate of events another name")
        names = (*names, rate)
    elif not (isinstance(rate, (int, float, np.number)) and np.isfinite(rate) and rate > 0):
        raise ParameterError(f"rate must be a positive number, or the name of a new parameter, not {rate!r}")
    symbols = _symbols(names)
    weights = _weights(graph, symbols)
    event_rate: Any = symbols[-1] if isinstance(rate, str) else float(rate)

    def transitions(state: npt.NDArray[np.int64]) -> list[tuple[Any, Any]]:
        if state.size == 0:
            return [((*_state(graph, target), 0), weight) for target, weight in _edges(graph, weights, 0)]
        vertex = graph.vertex_of(state[:-1])
        if state[-1] == 1:
            return [((*state[:-1].tolist(), 0), 1.0)]
        out = list(_edges(graph, weights, vertex))
        if not out:
            return []
        event = event_rate * float(earned[vertex])
        total = sum((weight for _, weight in out), event)
        jumps: list[tuple[Any, Any]] = [((*_state(graph, target), 0), weight / total) for target, weight in out]
        if earned[vertex] > 0:
            jumps.append(((*state[:-1].tolist(), 1), event / total))
        return jumps

    counted = Graph(transitions, discrete=True, param_names=names or None, max_states=2 * graph.vertices_length())
    return counted, (counted.state_array[:, -1] == 1).astype(np.float64)


def _state(graph: Graph, vertex: int) -> list[int]:
    return [int(entry) for entry in graph.state_array[vertex]]


def _edges(graph: Graph, weights: Sequence[Any], vertex: int) -> list[tuple[int, Any]]:
    edges = range(int(graph.edge_ptr[vertex]), int(graph.edge_ptr[vertex + 1]))
    return [(int(graph.edge_target[e]), weights[int(graph.edge_slot[e])]) for e in edges]


def _symbols(names: tuple[str, ...]) -> tuple[Expr, ...]:
    if not names:
        return ()
    made = params(*names)
    return made if isinstance(made, tuple) else (made,)


def _weights(graph: Graph, symbols: tuple[Expr, ...]) -> list[Any]:
    """Every distinct weight as an expression, or as a number where it is one."""
    table = graph.weights
    slots: list[Any] = []
    for s in range(table.n_affine):
        value: Any = float(table.affine_base[s])
        for k in range(int(table.affine_ptr[s]), int(table.affine_ptr[s + 1])):
            value = value + symbols[int(table.affine_param[k])] * float(table.affine_coef[k])
        slots.append(value)
    for op, a, b in zip(table.program_op, table.program_a, table.program_b, strict=True):
        left, right = slots[int(a)], slots[int(b)]
        slots.append(left + right if op == OP_ADD else left * right if op == OP_MUL else left / right)
    return slots
