"""Transitions given as arrays: checks on states and weights, many at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from .explore import RawTransitions, initial_probability, show_state
from .expr import Expr
from .owned import is_masked
from .weights import AffineRows

if TYPE_CHECKING:
    import numpy.typing as npt

Namer = Callable[[int], str]


@dataclass(frozen=True)
class GivenWeights:
    """Weights of t transitions: `number` is a row of `rows`, or ``-1 - j`` for ``expressions[j]``."""

    rows: AffineRows
    number: npt.NDArray[np.int64]
    expressions: list[Expr]
    n_params: int | None

    def nonzero(self) -> npt.NDArray[np.bool_]:
        """Return which transitions have a weight other than the number zero."""
        if not len(self.rows):
            return np.ones(self.number.size, dtype=np.bool_)
        zero_row = (self.rows.base == 0.0) & (np.diff(self.rows.ptr) == 0)
        # Expressions are never plain numbers here, so their (negative) numbers must not index the rows.
        return np.asarray(~(zero_row[np.maximum(self.number, 0)] & (self.number >= 0)))


def integer_rows(value: Any, length: int | None, what: str, name: Namer | None = None) -> npt.NDArray[np.int64]:
    """Return `value` as states of shape (t, length), or raise GraphError.

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
    with np.errstate(invalid="ignore"):
        rows = np.ascontiguousarray(array, dtype=np.int64)
    changed = (rows != array) if array.dtype.kind == "f" else (array > np.iinfo(np.int64).max)
    if changed.any():
        row = int(np.argmax(changed.any(axis=1)))
        where = name(row) if name else f"{what}, row {row}"
        raise GraphError(f"{where}: {show_state(array[row].tolist())} is not a state of 64-bit integers")
    return rows


def given_weights(
    weights: Any, coefficients: Any, count: int, *, n_params: int | None, what: str, name: Namer
) -> GivenWeights:
    """Read the weights of `count` transitions.

    Parameters
    ----------
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
        return _expressions(_shaped(array, (count,), what), n_params, name)
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
    rows, number = AffineRows.from_dense(base, coefficients).unique()
    negative = (rows.base < 0.0) & (np.diff(rows.ptr) == 0)
    _demand(~negative[number], base, "the weight", name, "is negative")
    return GivenWeights(rows, number.astype(np.int64), [], n_params)


def _expressions(array: npt.NDArray[np.object_], n_params: int | None, name: Namer) -> GivenWeights:
    constants: dict[float, int] = {}
    expressions: dict[Expr, int] = {}
    number = np.empty(array.size, dtype=np.int64)
    for i, item in enumerate(array.tolist()):
        try:
            value = item if isinstance(item, Expr) else Expr.constant(item)
        except (TypeError, ValueError, OverflowError):
            raise GraphError(f"{name(i)}: the weight must be a finite number or an expression, not {item!r}") from None
        if not value.is_constant():
            number[i] = -1 - expressions.setdefault(value, len(expressions))
        elif value.constant_part() < 0:
            raise GraphError(f"{name(i)}: the weight {float(value.constant_part())} is negative")
        else:
            number[i] = constants.setdefault(float(value.constant_part()), len(constants))
    rows = AffineRows.from_keys([(value, (), ()) for value in constants])
    return GivenWeights(rows, number, list(expressions), n_params)


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


def raw_from_arrays(
    states: Any, sources: Any, targets: Any, weights: Any, coefficients: Any, initial: Any, n_params: int | None
) -> RawTransitions:
    """Read a whole graph that is given as arrays; see `Graph.from_arrays`."""
    rows = integer_rows(states, None, "states")
    if not rows.shape[0]:
        raise GraphError("states: there is no state")
    source = _indices(sources, rows.shape[0], "sources")
    target = _indices(targets, rows.shape[0], "targets")
    if source.size != target.size:
        raise GraphError(f"sources and targets differ in length: {source.size} and {target.size}")

    def name(i: int) -> str:
        return f"state {show_state(rows[source[i]].tolist())}, transition to {show_state(rows[target[i]].tolist())}"

    given = given_weights(weights, coefficients, source.size, n_params=n_params, what="weights", name=name)
    keep = given.nonzero()
    places, chances = _initial(initial, rows)
    first = given_weights(
        chances, None, places.size, n_params=None, what="initial", name=lambda i: _initial_name(rows, places[i])
    )
    initial_weights, expressions = first.number, [*given.expressions, *first.expressions]
    table = given.rows.extended([first.rows.key(i) for i in range(len(first.rows))])
    shift = len(given.rows)
    return RawTransitions(
        states=rows,
        initial=places,
        initial_weight=np.where(
            initial_weights < 0, len(table) - 1 - initial_weights + len(given.expressions), initial_weights + shift
        ),
        source=source[keep],
        target=target[keep],
        weight=np.where(given.number < 0, len(table) - 1 - given.number, given.number)[keep],
        rows=table,
        expressions=expressions,
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
