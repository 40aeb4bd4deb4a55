"""From raw transitions to the canonical arrays of a graph, and the checks that every graph must pass.

Two descriptions of the same chain give the same arrays: states are sorted, parallel edges merged with correctly rounded
sums, self-loops, zero weights and unreachable states dropped, and weights put into a canonical table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.binding import reachable
from ..errors import GraphError
from .explore import Transitions, show_state
from .expr import Expr, Parameter
from .table import WeightTable, is_pointer, read_only
from .weights import Weights, WeightSums, check_canonical_order

if TYPE_CHECKING:
    import numpy.typing as npt

# Probabilities that a callback computes may exceed one by rounding.
PROBABILITY_SLACK = 1e-10
# So may initial probabilities; a sum further from one than this is a mistake.
INITIAL_SLACK = 1e-9
# A sum this close to one is one up to rounding; dividing by it again would only change the last bits.
_ROUNDING = 2.0**-51


@dataclass(frozen=True)
class CanonicalArrays:
    """The arrays that define a graph; see `Graph` for their meaning."""

    state_array: npt.NDArray[np.int64]
    edge_ptr: npt.NDArray[np.int64]
    edge_target: npt.NDArray[np.int32]
    edge_slot: npt.NDArray[np.int32]
    weights: WeightTable

    @classmethod
    def of(
        cls,
        state_array: npt.ArrayLike,
        edge_ptr: npt.ArrayLike,
        edge_target: npt.ArrayLike,
        edge_slot: npt.ArrayLike,
        weights: WeightTable,
    ) -> CanonicalArrays:
        """Take arrays of any integer type; raise GraphError if their values do not fit."""
        return cls(
            read_only(state_array, np.int64),
            read_only(edge_ptr, np.int64),
            read_only(edge_target, np.int32),
            read_only(edge_slot, np.int32),
            weights,
        )


def canonicalise(
    raw: Transitions, *, discrete: bool, index_of: Callable[[Parameter], int], names: tuple[str, ...]
) -> CanonicalArrays:
    """Bring raw transitions into canonical form.

    Parameters
    ----------
    raw
        Transitions in any order.
    discrete
        Whether weights are jump probabilities.
    index_of
        Position in θ of a declared parameter.
    names
        Names of the parameters.

    Raises
    ------
    GraphError
        If the chain is not a phase-type distribution; names the state.
    """
    weights = raw.weights
    if discrete:
        _check_constant_probabilities(raw)
    n = raw.states.shape[0]
    order = np.lexsort(raw.states.T[::-1])
    states = raw.states[order]
    _refuse_duplicates(states)
    vertex = np.empty(n, dtype=np.int64)
    vertex[order] = np.arange(1, n + 1)

    moves = raw.source != raw.target
    source = np.concatenate([np.zeros(raw.initial.size, dtype=np.int64), vertex[raw.source[moves]]])
    target = np.concatenate([vertex[raw.initial], vertex[raw.target[moves]]])
    number = np.concatenate([raw.initial_weight, raw.weight[moves]])

    source, target, number = _merge_parallel(source, target, number, WeightSums(weights, names), states)
    source, target, number, states = _prune(source, target, number, states)
    edge_ptr = _pointers(source, states.shape[0] + 1)
    number = _normalise_initial(number, int(edge_ptr[1]), weights)
    check_absorption(edge_ptr, target, lambda v: show_state(states[v - 1].tolist()))
    table, slots = weights.table(number, index_of)
    state_array = np.zeros((states.shape[0] + 1, states.shape[1]), dtype=np.int64)
    state_array[1:] = states
    state_array.setflags(write=False)
    return CanonicalArrays.of(state_array, edge_ptr, target, slots, table)


def _refuse_duplicates(states: npt.NDArray[np.int64]) -> None:
    same = (states[1:] == states[:-1]).all(axis=1)
    if same.any():
        raise GraphError(f"state {show_state(states[int(same.argmax())].tolist())} is listed more than once")


def _merge_parallel(
    source: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    number: npt.NDArray[np.int64],
    sums: WeightSums,
    states: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Sort edges by source and target, sum parallel ones and drop those whose weight is zero."""
    key = source * (states.shape[0] + 1) + target
    order = np.argsort(key)  # the order of parallel edges plays no part in their sum
    source, target, number, key = source[order], target[order], number[order], key[order]
    first = np.ones(key.size, dtype=np.bool_)
    first[1:] = key[1:] != key[:-1]
    starts = np.flatnonzero(first)
    sizes = np.diff(np.append(starts, key.size))
    merged = number[starts]
    for group in np.flatnonzero(sizes > 1).tolist():
        begin = int(starts[group])
        merged[group] = sums.add(
            number[begin : begin + int(sizes[group])].tolist(),
            lambda begin=begin: _edge_name(int(source[begin]), int(target[begin]), states),  # type: ignore[misc]
        )
    source, target = source[starts], target[starts]
    keep = sums.weights.constants()[merged] != 0.0
    return source[keep], target[keep], merged[keep]


def _edge_name(source: int, target: int, states: npt.NDArray[np.int64]) -> str:
    origin = f"state {show_state(states[source - 1].tolist())}" if source else "the starting vertex"
    return f"{origin}, transition to {show_state(states[target - 1].tolist())}"


def _prune(
    source: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    number: npt.NDArray[np.int64],
    states: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Drop what the starting vertex cannot reach."""
    reached = reachable(_pointers(source, states.shape[0] + 1), target, np.zeros(1, dtype=np.int64))
    if reached.all():
        return source, target, number, states
    new = np.cumsum(reached) - 1
    keep = reached[source]
    return new[source[keep]], new[target[keep]], number[keep], states[reached[1:]]


def _pointers(source: npt.NDArray[np.integer], n: int) -> npt.NDArray[np.int64]:
    ptr = np.zeros(n + 1, dtype=np.int64)
    np.cumsum(np.bincount(source, minlength=n), out=ptr[1:])
    return ptr


def _normalise_initial(number: npt.NDArray[np.int64], n_initial: int, weights: Weights) -> npt.NDArray[np.int64]:
    """Take the rounding out of the sum of constant initial probabilities; expressions are left to the evaluation."""
    keys = [weights.get(w) for w in number[:n_initial].tolist()]
    values = [key[0] for key in keys if not isinstance(key, Expr) and not key[1]]
    if len(values) < n_initial:
        return number
    scaled = normalised(values)
    return np.concatenate([np.array([weights.constant(v) for v in scaled], dtype=np.int64), number[n_initial:]])


def normalised(values: Sequence[float]) -> list[float]:
    """Return initial probabilities without the rounding of their sum; a second call changes nothing.

    Raises
    ------
    GraphError
        If they do not sum to one.
    """
    try:
        total = math.fsum(values)
    except OverflowError:
        total = math.inf
    if not abs(total - 1.0) <= INITIAL_SLACK:
        raise GraphError(f"the initial probabilities sum to {total:.10g}, not to one")
    if abs(total - 1.0) <= _ROUNDING:
        return list(values)
    return [value / total for value in values]


def _check_constant_probabilities(raw: Transitions) -> None:
    """Raise GraphError if the constant probabilities out of a state exceed one, staying included."""
    values = np.nan_to_num(raw.weights.constants(), nan=0.0)[raw.weight]
    total = np.bincount(raw.source, weights=values, minlength=raw.states.shape[0])
    worst = int(total.argmax())
    if total[worst] > 1.0 + PROBABILITY_SLACK:
        raise GraphError(
            f"state {show_state(raw.states[worst].tolist())}: the jump probabilities sum to {total[worst]:.17g}, "
            "which is more than one (discrete=True)"
        )


def check_absorption(ptr: npt.NDArray[np.int64], target: npt.NDArray[np.integer], name: Callable[[int], str]) -> None:
    """Raise GraphError unless every vertex has a path to one without out-edges."""
    counts = np.diff(ptr)
    source = np.repeat(np.arange(counts.size), counts)
    order = np.argsort(target)
    reached = reachable(_pointers(target, counts.size), source[order], np.flatnonzero(counts == 0))
    if not reached.all():
        stuck = np.flatnonzero(~reached)
        vertex = int(stuck[1] if stuck[0] == 0 and stuck.size > 1 else stuck[0])
        raise GraphError(
            f"state {name(vertex)}: no path leads from here to an absorbing state (one without transitions), "
            "so the time to absorption is infinite"
        )


def check_canonical(arrays: CanonicalArrays, *, discrete: bool, n_params: int) -> None:
    """Raise GraphError unless `arrays` are a graph in canonical form.

    For arrays that come from a file: everything is checked that `canonicalise` makes sure of.
    """
    states, ptr, target, slot = arrays.state_array, arrays.edge_ptr, arrays.edge_target, arrays.edge_slot
    if states.ndim != 2 or states.shape[0] < 2 or states.shape[1] < 1:
        raise GraphError(f"states must have shape (vertices >= 2, length >= 1), not {states.shape}")
    n = states.shape[0]
    if ptr.ndim != 1 or ptr.size != n + 1 or target.ndim != 1 or slot.shape != target.shape:
        raise GraphError("edge_ptr, edge_target and edge_slot do not fit the number of vertices")
    if not is_pointer(ptr, target.size):
        raise GraphError("edge_ptr must ascend from 0 to the number of edges")
    if states[0].any():
        raise GraphError("the state of the starting vertex (row 0) must be all zeros")
    _check_sorted_states(states)
    source = np.repeat(np.arange(n), np.diff(ptr))
    if (target < 1).any() or (target >= n).any():
        raise GraphError(f"an edge leads to a vertex outside 1..{n - 1}")
    if (target == source).any():
        raise GraphError("an edge leads from a vertex to itself")
    if ((np.diff(target) <= 0) & (source[1:] == source[:-1])).any():
        raise GraphError("the edges of a vertex are not in ascending order of their targets")
    arrays.weights.check(n_params)
    _check_slots(arrays, source, discrete=discrete)
    check_canonical_order(arrays.weights)
    if not reachable(ptr, target, np.zeros(1, dtype=np.int64)).all():
        raise GraphError("a vertex cannot be reached from the starting vertex")
    check_absorption(ptr, target, lambda v: show_state(states[v].tolist()))


def _check_sorted_states(states: npt.NDArray[np.int64]) -> None:
    # Row i + 1 must exceed row i at the first column where they differ.
    earlier, later = states[1:-1], states[2:]
    differs = earlier != later
    column = differs.argmax(axis=1)
    rows = np.arange(column.size)
    if not (later[rows, column] > earlier[rows, column]).all():
        raise GraphError("states are not distinct and in lexicographic order")


def _check_slots(arrays: CanonicalArrays, source: npt.NDArray[np.intp], *, discrete: bool) -> None:
    table, slot = arrays.weights, arrays.edge_slot
    if (slot < 0).any() or (slot >= len(table)).any():
        raise GraphError(f"an edge refers to a weight outside 0..{len(table) - 1}")
    used = np.zeros(len(table), dtype=np.bool_)
    for references in (slot, table.program_a, table.program_b):
        used[references] = True
    if not used.all():
        raise GraphError("the weight table holds a weight that no edge uses")
    values = np.full(len(table), np.nan)
    values[table.constants()] = table.affine_base[np.diff(table.affine_ptr) == 0]
    weight = values[slot]
    if (weight <= 0.0).any():
        vertex = int(source[(weight <= 0.0).argmax()])
        raise GraphError(f"state {show_state(arrays.state_array[vertex].tolist())}: a constant weight is not positive")
    initial = weight[: arrays.edge_ptr[1]]
    if not np.isnan(initial).any() and normalised(initial.tolist()) != initial.tolist():
        raise GraphError("the initial probabilities do not sum to one")
    if discrete:
        total = np.bincount(source, weights=np.nan_to_num(weight, nan=0.0), minlength=arrays.state_array.shape[0])
        if (total > 1.0 + PROBABILITY_SLACK).any():
            state = show_state(arrays.state_array[int(total.argmax())].tolist())
            raise GraphError(f"state {state}: the jump probabilities sum to more than one")
