"""Transitions given as arrays: checks on states and weights, many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from .callbacks import initial_probability
from .explore import Transitions, show_state
from .expr import Expr
from .owned import is_masked
from .weights import AffineRows, Weights

if TYPE_CHECKING:
    import numpy.typing as npt

Namer = Callable[[int], str]


@dataclass(frozen=True)
class GivenWeights:
    """Weights of t transitions: their numbers, which of them are not the number zero, whether parameters occur."""

    number: npt.NDArray[np.int64]
    keep: npt.NDArray[np.bool_]
    parametric: bool
    n_params: int | None


def integer_rows(value: Any, length: int | None, what: str, name: Namer | None = None) -> npt.NDArray[np.signedinteger]:
    """Return `value` as states of shape (t, length) in signed integers of any size, or raise GraphError.

    Parameters
    ----------
    value
        An array of integers, or of floats that are whole numbers.
    length
        Length of a state, None if any will do.
    what
        Names the array in messages.
    name
        Names row i in messages.
    """
    _refuse_masked(value, what)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise GraphError(f"{what}: not a rectangular array of integers ({error})") from None
    if array.size == 0 and array.ndim < 2:
        return np.zeros((0, length or 1), dtype=np.int64)
    if array.ndim != 2 or array.shape[1] < 1 or (length is not None and array.shape[1] != length):
        raise GraphError(f"{what}: expected shape (number, {length or 'state length'}), not {array.shape}")
    if array.dtype.kind not in "iuf":
        raise GraphError(f"{what}: states must be integers, not {array.dtype}")
    if array.dtype.kind == "i":
        return array
    with np.errstate(invalid="ignore"):
        rows = np.ascontiguousarray(array, dtype=np.int64)
    changed = (rows != array) if array.dtype.kind == "f" else (array > np.iinfo(np.int64).max)
    if changed.any():
        row = int(np.argmax(changed.any(axis=1)))
        where = name(row) if name else f"{what}, row {row}"
        raise GraphError(f"{where}: {show_state(array[row].tolist())} is not a state of 64-bit integers")
    return rows


def read_weights(
    owner: Weights, weights: Any, coefficients: Any, count: int, *, n_params: int | None, what: str, name: Namer
) -> GivenWeights:
    """Read the weights of `count` transitions.

    Parameters
    ----------
    owner
        Receives the weights and gives them their numbers.
    weights
        Numbers or expressions, shape (count,) or a single one for all; or, if `coefficients` is None, coefficients of
        shape (count, p).
    coefficients
        Coefficients of shape (count, p) or (p,), which `weights` is the base of; or None.
    n_params
        Number of parameters, if known.
    what, name
        Name the whole and transition i in messages.
    """
    _refuse_masked(weights, what)
    _refuse_masked(coefficients, f"{what}, coefficients")
    if isinstance(weights, Expr):
        weights = np.full(count, weights, dtype=object)
    try:
        array = np.asarray(weights)
        if array.dtype != object:
            array = array.astype(np.float64, casting="same_kind")
        if coefficients is not None:
            coefficients = np.asarray(coefficients).astype(np.float64, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise GraphError(f"{what}: the weights are not an array of real numbers or expressions ({error})") from None
    if array.dtype == object:
        if coefficients is not None:
            raise GraphError(f"{what}: give either expressions or coefficients, not both")
        return _expressions(owner, _shaped(array, (count,), what), n_params, name)
    if coefficients is None and array.ndim == 2:
        array, coefficients = np.zeros(()), array
    base = _shaped(array, (count,), what)
    _demand(np.isfinite(base), base, "the weight", name)
    if coefficients is None:
        coefficients = np.zeros((count, 0))
    elif coefficients.ndim not in (1, 2):
        raise GraphError(f"{what}: coefficients must have shape ({count}, parameters), not {coefficients.shape}")
    else:
        if n_params is not None and coefficients.shape[-1] != n_params:
            raise GraphError(f"{what}: has {coefficients.shape[-1]} coefficients, expected {n_params}")
        n_params = int(coefficients.shape[-1])
        coefficients = _shaped(coefficients, (count, n_params), what)
        _demand(np.isfinite(coefficients).all(axis=1), coefficients, "a coefficient", name)
    rows, place = AffineRows.from_dense(base, coefficients).unique()
    plain = rows.plain()
    _demand(~((rows.base < 0.0) & plain)[place], base, "the weight", name, "is negative")
    keep = ~((rows.base == 0.0) & plain)[place]
    return GivenWeights(place + owner.add_rows(rows), keep, not plain.all(), n_params)


def _expressions(owner: Weights, array: npt.NDArray[np.object_], n_params: int | None, name: Namer) -> GivenWeights:
    number = np.zeros(array.size, dtype=np.int64)
    keep = np.ones(array.size, dtype=np.bool_)
    parametric = False
    for i, item in enumerate(array.tolist()):
        try:
            value = item if isinstance(item, Expr) else Expr.constant(item)
        except (TypeError, ValueError, OverflowError):
            raise GraphError(f"{name(i)}: the weight must be a finite number or an expression, not {item!r}") from None
        if not value.is_constant():
            number[i] = owner.add(value)
            parametric = True
        elif value.constant_part() < 0:
            raise GraphError(f"{name(i)}: the weight {float(value.constant_part())} is negative")
        elif value.constant_part():
            number[i] = owner.constant(float(value.constant_part()))
        else:
            keep[i] = False
    return GivenWeights(number, keep, parametric, n_params)


def _refuse_masked(value: Any, what: str) -> None:
    if is_masked(value):
        raise GraphError(f"{what}: has masked entries")


def _shaped(array: npt.NDArray[Any], shape: tuple[int, ...], what: str) -> npt.NDArray[Any]:
    try:
        return np.broadcast_to(array, shape)
    except ValueError:
        raise GraphError(f"{what}: expected weights of shape {shape}, not {array.shape}") from None


def _demand(
    good: npt.NDArray[np.bool_], values: npt.NDArray[np.float64], what: str, name: Namer, fault: str = "is not finite"
) -> None:
    if not good.all():
        row = int(np.argmin(good))
        raise GraphError(f"{name(row)}: {what} {fault} ({values[row].tolist()})")


def transitions_from_arrays(
    states: Any, sources: Any, targets: Any, weights: Any, coefficients: Any, initial: Any, n_params: int | None
) -> Transitions:
    """Read a whole graph that is given as arrays; see `Graph.from_arrays`."""
    rows = integer_rows(states, None, "states").astype(np.int64)
    if not rows.shape[0]:
        raise GraphError("states: there is no state")
    source = _indices(sources, rows.shape[0], "sources")
    target = _indices(targets, rows.shape[0], "targets")
    if source.size != target.size:
        raise GraphError(f"sources and targets differ in length: {source.size} and {target.size}")

    def name(i: int) -> str:
        return f"state {show_state(rows[source[i]].tolist())}, transition to {show_state(rows[target[i]].tolist())}"

    owner = Weights()
    given = read_weights(owner, weights, coefficients, source.size, n_params=n_params, what="weights", name=name)
    places, chances = _initial(initial, rows)
    first = read_weights(
        owner, chances, None, places.size, n_params=None, what="initial", name=lambda i: _initial_name(rows, places[i])
    )
    return Transitions(
        states=rows,
        initial=places,
        initial_weight=first.number,
        source=source[given.keep],
        target=target[given.keep],
        weight=given.number[given.keep],
        weights=owner,
        n_params=given.n_params,
    )


def _initial_name(rows: npt.NDArray[np.int64], row: int) -> str:
    return f"initial state {show_state(rows[row].tolist())}"


def _indices(value: Any, n: int, what: str) -> npt.NDArray[np.int64]:
    _refuse_masked(value, what)
    array = np.asarray(value)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise GraphError(f"{what}: expected a one-dimensional array of row numbers, not {array.dtype} {array.shape}")
    bad = (array < 0) | (array >= n)
    if bad.any():
        raise GraphError(f"{what}: entry {int(bad.argmax())} is {array[bad.argmax()]}; there are {n} states")
    return array.astype(np.int64)


def _initial(initial: Any, rows: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], list[Any]]:
    """Return rows and probabilities of the initial states."""
    n = rows.shape[0]
    if isinstance(initial, (int, np.integer)) and not isinstance(initial, bool):
        pairs: list[tuple[Any, Any]] = [(initial, 1.0)]
    elif isinstance(initial, Mapping):
        pairs = list(initial.items())
    else:
        _refuse_masked(initial, "initial")
        chances = np.asarray(initial)
        if chances.shape != (n,):
            raise GraphError(
                f"initial: expected a row number, a mapping from row numbers to probabilities, or {n} probabilities, "
                f"not an array of shape {chances.shape}"
            )
        pairs = [(i, p) for i, p in enumerate(chances.tolist()) if isinstance(p, Expr) or p != 0]
    if not pairs:
        raise GraphError("initial: there is no initial state")
    places = _indices([row for row, _ in pairs], n, "initial")
    checked = [
        p if isinstance(p, Expr) else initial_probability(p, _initial_name(rows, place))
        for place, (_, p) in zip(places.tolist(), pairs, strict=True)
    ]
    return places, checked
