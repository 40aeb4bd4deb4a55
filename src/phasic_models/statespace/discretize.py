"""From time to counts: the events that fall on a continuous chain before it is absorbed, as a discrete chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError, ParameterError
from .canonical import CanonicalArrays
from .explore import Transitions
from .expr import Expr
from .table import OP_ADD, OP_MUL, WeightTable
from .weights import Weights

if TYPE_CHECKING:
    import numpy.typing as npt


def names_with_rate(names: tuple[str, ...], rate: float | str) -> tuple[str, ...]:
    """Return the names of the parameters, that of the rate of events included; raise ParameterError for a bad rate."""
    if isinstance(rate, str):
        if rate in names:
            raise ParameterError(f"the graph has a parameter {rate!r} already; give the rate of events another name")
        return (*names, rate)
    if not (isinstance(rate, (int, float, np.number)) and np.isfinite(rate) and rate > 0):
        raise ParameterError(f"rate must be a positive number, or the name of a new parameter, not {rate!r}")
    return names


def discretize(arrays: CanonicalArrays, names: tuple[str, ...], rate: float | str, rewards: Any) -> Transitions:
    """Return the transitions of jumps and events; see `phasic_models.Graph.discretize`.

    Parameters
    ----------
    arrays
        A continuous graph.
    names
        Names of the parameters, as `names_with_rate` returns them.
    rate, rewards
        As for `Graph.discretize`.
    """
    n = arrays.state_array.shape[0]
    earned = _checked_rewards(rewards, n)
    symbols = [Expr.parameter(names, i) for i in range(len(names))]
    event_rate = symbols[-1] if isinstance(rate, str) else float(rate)
    weights = Weights()
    jumps, events = _probabilities(arrays, _values(arrays.weights, symbols), event_rate, earned, weights)

    # Row v - 1 is vertex v; those where events happen have a second row, after all of these.
    vertex = np.flatnonzero(events >= 0)
    rows = np.zeros((n - 1 + vertex.size, arrays.state_array.shape[1] + 1), dtype=np.int64)
    rows[: n - 1, :-1] = arrays.state_array[1:]
    rows[n - 1 :, :-1] = arrays.state_array[vertex]
    rows[n - 1 :, -1] = 1
    event = np.arange(n - 1, rows.shape[0])
    first = int(arrays.edge_ptr[1])
    source = np.repeat(np.arange(n), np.diff(arrays.edge_ptr))[first:]
    # A probability that is too small for a float is none.
    kept = jumps[first:] >= 0
    certain = np.full(vertex.size, weights.constant(1.0))
    return Transitions(
        states=rows,
        initial=arrays.edge_target[:first].astype(np.int64) - 1,
        initial_weight=jumps[:first],
        source=np.concatenate([source[kept] - 1, vertex - 1, event]),
        target=np.concatenate([arrays.edge_target[first:][kept].astype(np.int64) - 1, event, vertex - 1]),
        weight=np.concatenate([jumps[first:][kept], events[vertex], certain]),
        weights=weights,
        n_params=None,
    )


def _checked_rewards(rewards: Any, n: int) -> npt.NDArray[np.float64]:
    if rewards is None:
        return np.ones(n)
    try:
        earned = np.asarray(rewards, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"rewards must be real numbers: {error}") from None
    if earned.shape != (n,):
        raise ParameterError(
            f"rewards must be one vector of shape ({n},), one per vertex in the order of .states, not {earned.shape}"
        )
    bad = ~(np.isfinite(earned) & (earned >= 0))
    if bad.any():
        raise ParameterError(
            f"rewards[{bad.argmax()}] is {earned[bad.argmax()]}; rewards must be 0 or more, and finite"
        )
    return earned


def _probabilities(
    arrays: CanonicalArrays,
    values: Sequence[Any],
    event_rate: Any,
    earned: npt.NDArray[np.float64],
    weights: Weights,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the weights of all edges, shape (edges,), and of the events in every vertex, shape (V,); -1 for none.

    Vertices with the same weights in the same order, and the same reward, are worked out once.
    """
    counts = np.diff(arrays.edge_ptr)
    jumps = np.full(arrays.edge_target.size, -1, dtype=np.int64)
    events = np.full(counts.size, -1, dtype=np.int64)
    first = arrays.edge_slot[: arrays.edge_ptr[1]].tolist()
    jumps[: len(first)] = [_number(values[slot], weights) for slot in first]
    for count in np.unique(counts[1:][counts[1:] > 0]).tolist():
        vertices = 1 + np.flatnonzero(counts[1:] == count)
        edges = arrays.edge_ptr[vertices][:, None] + np.arange(count)
        keys = np.empty((vertices.size, count + 1), dtype=np.int64)
        keys[:, :-1] = arrays.edge_slot[edges]
        keys[:, -1] = earned[vertices].view(np.int64)
        _, representative, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
        found = np.empty((representative.size, count + 1), dtype=np.int64)
        for i, vertex in enumerate(vertices[representative].tolist()):
            rates = [values[slot] for slot in arrays.edge_slot[edges[representative[i]]].tolist()]
            event = event_rate * float(earned[vertex])
            total = sum(rates, event)
            if isinstance(total, float) and not math.isfinite(total):
                state = ", ".join(map(str, arrays.state_array[vertex].tolist()))
                raise GraphError(f"state ({state}): the rates sum to more than a 64-bit float holds")
            found[i] = [_number(rate / total, weights) for rate in (*rates, event)]
        jumps[edges] = found[group.reshape(-1), :-1]
        events[vertices] = found[group.reshape(-1), -1]
    return jumps, events


def _number(value: Any, weights: Weights) -> int:
    """Return the number of a weight, -1 where it is zero."""
    if isinstance(value, Expr):
        if not value.is_constant():
            return weights.add(value)
        value = float(value.constant_part())
    return weights.constant(value) if value else -1


def _values(table: WeightTable, symbols: Sequence[Expr]) -> list[Any]:
    """Every distinct weight as an expression, or as a number where it is one."""
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
