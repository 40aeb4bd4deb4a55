"""Status codes of the C core as exceptions: every code comes through here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..errors import GraphError, InfiniteExpectationError, NumericalError, ParameterError, PhasicModelsError
from .native import ffi, lib

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


class ChainView(Protocol):
    """The part of a graph that messages need."""

    @property
    def state_array(self) -> npt.NDArray[np.int64]:
        """States, shape (V, state_length)."""
        ...

    @property
    def edge_ptr(self) -> npt.NDArray[np.int64]:
        """First edge of each vertex, shape (V + 1,)."""
        ...

    @property
    def edge_target(self) -> npt.NDArray[np.int32]:
        """Target of each edge."""
        ...

    @property
    def edge_slot(self) -> npt.NDArray[np.int32]:
        """Weight of each edge, by number."""
        ...

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        ...

    @property
    def discrete(self) -> bool:
        """Whether time goes in whole steps."""
        ...

    def vertices_length(self) -> int:
        """Return the number of vertices."""
        ...


def _state_text(graph: ChainView, vertex: int) -> str:
    if vertex == 0:
        return "the starting vertex"
    return f"state ({', '.join(map(str, graph.state_array[vertex].tolist()))})"


def _slot_text(graph: ChainView, slot: int) -> str:
    """Describe the first edge that has this weight."""
    edge = int(np.flatnonzero(graph.edge_slot == slot)[0])
    source = int(np.searchsorted(graph.edge_ptr, edge, side="right")) - 1
    target = int(graph.edge_target[edge])
    return f"the transition from {_state_text(graph, source)} to {_state_text(graph, target)}"


def _negative_text(graph: ChainView, theta: Floats | None, row: int) -> str:
    """Name the first negative parameter, the likely cause of a negative weight; empty if there is none."""
    negative = np.flatnonzero(theta[row] < 0) if theta is not None else np.empty(0, dtype=np.intp)
    if theta is None or negative.size == 0:
        return ""
    j = int(negative[0])
    where = f"theta[{row}, {j}]" if theta.shape[0] > 1 else f"theta[{j}]"
    return f"{where} ({graph.param_names[j]}) is {theta[row, j]}: "


def theta_text(theta: Floats | None, row: int) -> str:
    """Say where in the batch something happened; empty if there are no parameters."""
    if theta is None or theta.shape[1] == 0 or row < 0:
        return ""
    at = f"theta[{row}] = " if theta.shape[0] > 1 else "theta = "
    return f" at {at}{np.array2string(theta[row], max_line_width=1000, threshold=8)}"


def _infinite_text(state: str, at: str, why: float) -> str:
    if why == lib.PM_INFINITE_IF_ENTERED:
        return (
            f"the expectation has no derivative{at}: with a weight that is zero there, {state} would be reached, and "
            "absorption would not be certain"
        )
    if why == lib.PM_INFINITE_IF_LEFT:
        return (
            f"the expectation has no derivative{at}: {state} is reached and never left for good, but with a weight that "
            "is zero there it would be left, and more would be earned"
        )
    earned = ", and its reward is earned for ever" if why == lib.PM_INFINITE_REWARD else ""
    return (
        f"absorption is not certain{at}: {state} is reached and never left for good{earned}, so the expectation is "
        "infinite"
    )


def check_earned(graph: ChainView, theta: Floats, sojourn: Floats, rewards: Floats) -> None:
    """Raise the error of an expectation that is infinite: a reward, (m, V), where a sojourn time, (batch, V), is."""
    earned = np.isinf(sojourn) & (rewards > 0).any(axis=0)
    if earned.any():
        row, vertex = np.argwhere(earned)[0]
        text = _infinite_text(_state_text(graph, int(vertex)), theta_text(theta, int(row)), lib.PM_INFINITE_REWARD)
        raise InfiniteExpectationError(text)


def _place(where: Any, graph: ChainView, times: Floats | None) -> str:
    """Say what `where` points at; empty if at nothing that has a name."""
    at = int(where.at)
    if where.kind == lib.PM_AT_SLOT:
        return _slot_text(graph, at)
    if where.kind == lib.PM_AT_VERTEX:
        return _state_text(graph, at)
    if where.kind == lib.PM_AT_ARRAY:
        return f"array {where.which}, entry {at}"
    if where.kind == lib.PM_AT_ARGUMENT:
        return f"argument {at}"
    if where.kind == lib.PM_AT_ROW:
        return f"position {at}"
    if where.kind == lib.PM_AT_ENTRY:
        return f"times[{at}]" if times is None or times.size > 1 else "the time"
    return ""


def check(status: int, where: Any, graph: ChainView, theta: Floats | None = None, times: Floats | None = None) -> None:
    """Raise the exception of a status code.

    Parameters
    ----------
    status
        The code that a function of the core returned.
    where
        The pm_where that it filled in, or None.
    graph, theta, times
        The arguments of the call, to name the entry at fault.
    """
    if status == lib.PM_OK:
        return
    message = ffi.string(lib.pm_message(status)).decode()
    if status == lib.PM_E_MEMORY:
        raise MemoryError(f"out of memory for a model of {graph.vertices_length()} vertices")
    if where is None:
        raise PhasicModelsError(message)
    row, value = int(where.theta), float(where.value)
    at, place = theta_text(theta, row), _place(where, graph, times)
    if status == lib.PM_E_INDEX:
        raise GraphError(f"{message} ({place})")
    if status == lib.PM_E_NOT_FINITE:
        raise ParameterError(f"the weight of {place} is {value}{at}")
    if status == lib.PM_E_NEGATIVE:
        raise ParameterError(f"{_negative_text(graph, theta, row)}the weight of {place} is negative, {value}{at}")
    if status == lib.PM_E_PROBABILITY:
        raise ParameterError(f"the jump probabilities out of {place} sum to {value}{at}, more than 1")
    if status == lib.PM_E_INFINITE:
        raise InfiniteExpectationError(_infinite_text(place, at, value))
    if status == lib.PM_E_INITIAL:
        raise ParameterError(f"the initial probabilities sum to zero{at}")
    if status == lib.PM_E_OVERFLOW:
        raise NumericalError(f"{message}{at}")
    if status == lib.PM_E_ACCURACY:
        raise NumericalError(f"{message}{at}: of result {where.at} too little is left, {value}")
    if status == lib.PM_E_TIME:
        rule = "a whole number of steps, 0 or more" if graph.discrete else "0 or more, and finite"
        raise ParameterError(f"{place} is {value}; it must be {rule}")
    if status == lib.PM_E_LIMIT:
        raise NumericalError(f"uniformization would need {value:.3g} steps{at}, more than max_steps allows")
    raise ParameterError(f"{message} ({place})" if place else message)
