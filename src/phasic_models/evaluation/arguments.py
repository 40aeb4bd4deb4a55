"""Checks of the arguments of a model's methods: parameter vectors, times, rewards, tolerances."""

from __future__ import annotations

import secrets
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParameterError
from .labels import by_position
from .numbers import as_float_array

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..graph import Graph

#: Relative error that distributions keep whatever the method, down to 1e-280 and over 2e7 jumps.
SMALLEST_TOLERANCE = 1e-12
MAX_MOMENT = 64
MAX_JOINT = 8


def check_theta(theta: Any, graph: Graph) -> tuple[npt.NDArray[np.float64], bool]:
    """Return theta with shape (batch, p), and whether it was a batch.

    Entries with labels are put in the order of the parameters' names; see `labels.by_position`.

    Raises
    ------
    ParameterError
        If it has another number of parameters, its labels are not the parameters' names, or an entry is NaN or
        infinite; the message names the entry.
    """
    p = graph.param_length()
    array = as_float_array(() if theta is None else by_position(theta, graph.param_names), "theta")
    shape = array.shape
    if array.ndim == 0 and p == 1:
        array = array.reshape(1)
    if array.ndim == 0 or array.ndim > 2 or array.shape[-1] != p:
        names = ", ".join(graph.param_names)
        hint = "; a batch of values of one parameter has shape (batch, 1)" if p == 1 and array.ndim == 1 else ""
        raise ParameterError(
            f"theta must have shape ({p},) or (batch, {p}) for the parameters ({names}), not {shape}{hint}"
        )
    batch = np.atleast_2d(array)
    finite = np.isfinite(batch)
    if not finite.all():
        row, column = (int(i) for i in np.argwhere(~finite)[0])
        at = f"theta[{row}, {column}]" if array.ndim == 2 else f"theta[{column}]"
        raise ParameterError(f"{at} ({graph.param_names[column]}) is {batch[row, column]}; it must be finite")
    return np.ascontiguousarray(batch), array.ndim == 2


def check_times(times: Any) -> npt.NDArray[np.float64]:
    """Return times as an array of any shape; the core checks the values.

    Raises
    ------
    ParameterError
        If they are not numeric.
    """
    return as_float_array(times, "times")


def check_rewards(rewards: Any, graph: Graph) -> npt.NDArray[np.float64] | None:
    """Return rewards with shape (V,) or (m, V), or None for ones.

    Raises
    ------
    ParameterError
        If the length is not the number of vertices, or a reward is negative, NaN or infinite.
    """
    if rewards is None:
        return None
    array = as_float_array(rewards, "rewards")
    n = graph.vertices_length()
    if array.ndim not in (1, 2) or array.shape[-1] != n:
        raise ParameterError(
            f"rewards must have shape ({n},) or (m, {n}), one per vertex in the order of .states, not {array.shape}"
        )
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        raise ParameterError(
            f"rewards[{', '.join(map(str, at))}] is {array[at]}; rewards must be 0 or more, and finite"
        )
    return array


def check_reward_vector(rewards: Any, graph: Graph, name: str = "rewards") -> npt.NDArray[np.float64] | None:
    """Return one reward vector of shape (V,), or None; as `check_rewards`, but refuses several at once."""
    array = check_rewards(rewards, graph)
    if array is not None and array.ndim != 1:
        raise ParameterError(f"{name} must be one vector of shape ({graph.vertices_length()},), not {array.shape}")
    return array


def check_probabilities(q: Any) -> npt.NDArray[np.float64]:
    """Return probabilities of any shape.

    Raises
    ------
    ParameterError
        If one is outside [0, 1] or NaN.
    """
    array = as_float_array(q, "q")
    bad = ~((array >= 0) & (array <= 1))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        name = f"q[{', '.join(map(str, at))}]" if at else "q"
        raise ParameterError(f"{name} is {array[at]}; probabilities lie between 0 and 1")
    return array


def check_transform_arguments(s: Any) -> npt.NDArray[np.float64]:
    """Return arguments of a Laplace transform, any shape.

    Raises
    ------
    ParameterError
        If one is negative, NaN or infinite.
    """
    array = as_float_array(s, "s")
    bad = ~(np.isfinite(array) & (array >= 0))
    if bad.any():
        at = tuple(int(i) for i in np.argwhere(bad)[0])
        name = f"s[{', '.join(map(str, at))}]" if at else "s"
        raise ParameterError(f"{name} is {array[at]}; it must be 0 or more, and finite")
    return array


def check_size(size: Any) -> tuple[int, ...]:
    """Return the shape of a sample.

    Raises
    ------
    ParameterError
        If a length is negative or not an integer.
    """
    lengths = size if isinstance(size, tuple) else (size,)
    return tuple(check_count(length, "size", 0, 2**40) for length in lengths)


def check_seed(seed: Any) -> int:
    """Return a seed for the core; None draws one from the operating system.

    Raises
    ------
    ParameterError
        If it is not an integer from 0 to 2^64 - 1.
    """
    if seed is None:
        return secrets.randbits(64)
    return check_count(seed, "seed", 0, 2**64 - 1)


def check_count(value: Any, name: str, low: int, high: int) -> int:
    """Return an integer in [low, high].

    Raises
    ------
    ParameterError
        If it is something else.
    """
    number = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else None
    if number is None or not low <= number <= high:
        raise ParameterError(f"{name} must be an integer from {low} to {high}, not {value!r}")
    return number


def check_tolerance(tol: Any) -> float:
    """Return a tolerance in [1e-12, 0.1]: rounding over many jumps does not allow less.

    Raises
    ------
    ParameterError
        If it is outside of that range.
    """
    try:
        value = float(tol)
    except (TypeError, ValueError, OverflowError):
        raise ParameterError(f"tol must be a number, not {tol!r}") from None
    if not SMALLEST_TOLERANCE <= value <= 0.1:
        raise ParameterError(f"tol must lie between {SMALLEST_TOLERANCE} and 0.1, not {value}")
    return value
