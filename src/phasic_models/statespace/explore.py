"""From a callback to raw transitions: every callback form, explored breadth first."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.stopping import check
from ..errors import GraphError
from .expr import Expr
from .weights import AffineKey, AffineRows

if TYPE_CHECKING:
    import numpy.typing as npt

State = tuple[int, ...]
Progress = Callable[[int, int], object]
Callback = Callable[..., Any]

_PROGRESS_EVERY = 4096
_INT64 = np.iinfo(np.int64)


@dataclass(frozen=True)
class RawTransitions:
    """A chain as it was described: states in order of discovery, transitions in the order given.

    A weight is a number: ``w < len(rows)`` is an affine row, ``len(rows) + j`` is ``expressions[j]``.
    """

    states: npt.NDArray[np.int64]
    initial: npt.NDArray[np.int64]
    initial_weight: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[np.int64]
    rows: AffineRows
    expressions: Sequence[Expr]
    n_params: int | None


def show_state(state: Iterable[int]) -> str:
    """Return a state as it is named in messages."""
    return "(" + ", ".join(map(str, state)) + ")"


class WeightPool:
    """Collects distinct weights and numbers them; affine forms and expressions are numbered apart."""

    def __init__(self, n_params: int | None) -> None:
        self.n_params = n_params
        self.affine: dict[AffineKey, int] = {}
        self.expressions: dict[Expr, int] = {}

    def constant(self, value: float) -> int:
        """Return the number of a constant."""
        return self.affine.setdefault((value + 0.0, (), ()), len(self.affine))

    def affine_form(self, base: float, coefficients: Sequence[float]) -> int:
        """Return the number of ``base + coefficients·theta``."""
        indices = tuple(i for i, c in enumerate(coefficients) if c)
        key = (base + 0.0, indices, tuple(coefficients[i] for i in indices))
        return self.affine.setdefault(key, len(self.affine))

    def expression(self, value: Expr) -> int:
        """Return the number of an expression: ``-1 - j``, until the number of affine forms is known."""
        return -1 - self.expressions.setdefault(value, len(self.expressions))

    def resolve(self, numbers: Sequence[int]) -> npt.NDArray[np.int64]:
        """Return weight numbers in the form that `RawTransitions` states."""
        array = np.array(numbers, dtype=np.int64)
        return np.where(array < 0, len(self.affine) - 1 - array, array)

    def rows(self) -> AffineRows:
        """Return the affine forms."""
        return AffineRows.from_keys(list(self.affine))


def parse_state(value: Any, length: int | None, where: str) -> State:
    """Return a state as a tuple of ints, or raise GraphError saying what `where` holds instead."""
    try:
        items = value.tolist() if isinstance(value, np.ndarray) else list(value)
        state = tuple(int(x) if isinstance(x, float) and x.is_integer() else operator.index(x) for x in items)
    except TypeError:
        raise GraphError(f"{where}: a state must be a sequence of integers, not {value!r}") from None
    if not state:
        raise GraphError(f"{where}: a state must not be empty")
    if length is not None and len(state) != length:
        raise GraphError(f"{where}: state {show_state(state)} has length {len(state)}, expected {length}")
    if min(state) < _INT64.min or max(state) > _INT64.max:
        raise GraphError(f"{where}: state {show_state(state)} does not fit into 64-bit integers")
    return state


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _number(value: Any, what: str, where: str) -> float:
    try:
        if not _is_number(value):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise GraphError(f"{where}: {what} must be a real number, not {value!r}") from None
    if not math.isfinite(number):
        raise GraphError(f"{where}: {what} is {number}; it must be finite")
    return number


class StateExplorer:
    """Runs a callback that is called once per state."""

    def __init__(
        self,
        callback: Callback,
        *,
        parameterized: bool | None,
        max_states: int,
        n_params: int | None,
        progress: Progress | None,
    ) -> None:
        self.callback = callback
        self.parameterized = parameterized
        self.max_states = max_states
        self.progress = progress
        self.pool = WeightPool(n_params)
        self.index: dict[State, int] = {}
        self.states: list[State] = []
        self.length: int | None = None

    def run(self, ipv: Any) -> RawTransitions:
        """Explore from the initial states and return every transition."""
        initial, initial_weight = self._initial(ipv)
        source: list[int] = []
        target: list[int] = []
        weight: list[int] = []
        done = 0
        while done < len(self.states):
            check()
            state = self.states[done]
            for number, item in enumerate(self._call(state)):
                where = f"state {show_state(state)}, transition {number}"
                next_state, value = self._transition(item, where)
                if value is None:
                    continue
                source.append(done)
                target.append(self._add_state(next_state, where))
                weight.append(value)
            done += 1
            if self.progress is not None and done % _PROGRESS_EVERY == 0:
                self.progress(done, len(self.states))
        if self.progress is not None:
            self.progress(done, done)
        return RawTransitions(
            states=np.array(self.states, dtype=np.int64).reshape(len(self.states), -1),
            initial=np.array(initial, dtype=np.int64),
            initial_weight=self.pool.resolve(initial_weight),
            source=np.array(source, dtype=np.int64),
            target=np.array(target, dtype=np.int64),
            weight=self.pool.resolve(weight),
            rows=self.pool.rows(),
            expressions=list(self.pool.expressions),
            n_params=self.pool.n_params,
        )

    def _call(self, state: State) -> list[Any]:
        array = np.array(state, dtype=np.int64)
        # A callback that changes the state in place would make wrong transitions without a word.
        array.setflags(write=False)
        where = f"state {show_state(state)}" if state else "the initial call (empty state)"
        try:
            result = self.callback(array)
            if result is not None:
                return list(result)
        except MemoryError:
            raise
        except Exception as error:
            hint = "; copy the state before changing it" if "read-only" in str(error) else ""
            raise GraphError(f"{where}: the callback raised {type(error).__name__}: {error}{hint}") from error
        raise GraphError(f"{where}: the callback returned None; return an empty list for an absorbing state")

    def _initial(self, ipv: Any) -> tuple[list[int], list[int]]:
        pairs = initial_pairs(*((self._call(()), "initial transition") if ipv is None else (ipv, "ipv entry")))
        self.length = len(pairs[0][0])
        weights = [self.pool.expression(p) if isinstance(p, Expr) else self.pool.constant(p) for _, p in pairs]
        return [self._add_state(state, "initial transition") for state, _ in pairs], weights

    def _transition(self, item: Any, where: str) -> tuple[State, int | None]:
        """Return the next state and the weight's number, None where the weight is zero."""
        parts = _parts(item, where)
        state = parse_state(parts[0], self.length, where)
        where = f"{where} to {show_state(state)}"
        value = parts[1]
        if isinstance(value, Expr):
            if len(parts) == 3 and np.size(parts[2]):
                raise GraphError(f"{where}: give either an expression or coefficients, not both")
            return state, self._expression(value, where)
        if len(parts) == 3:
            base, coefficients = _number(value, "the base weight", where), parts[2]
        elif _is_number(value):
            base, coefficients = _number(value, "the weight", where), ()
        else:
            base, coefficients = 0.0, value
        numbers = self._coefficients(coefficients, where, required=len(parts) == 3 or coefficients is value)
        if not any(numbers):
            if base < 0:
                raise GraphError(f"{where}: the weight {base} is negative")
            return state, self.pool.constant(base) if base else None
        return state, self.pool.affine_form(base, numbers)

    def _coefficients(self, value: Any, where: str, *, required: bool) -> list[float]:
        if not required:
            return []
        try:
            items = value.tolist() if isinstance(value, np.ndarray) else list(value)
        except TypeError:
            raise GraphError(f"{where}: coefficients must be a sequence of numbers, not {value!r}") from None
        numbers = [_number(c, f"coefficient {i}", where) for i, c in enumerate(items)]
        if self.parameterized is False:
            if any(numbers):
                raise GraphError(f"{where}: has coefficients, but the graph was declared parameterized=False")
            return []
        if self.pool.n_params is None:
            self.pool.n_params = len(numbers)
        elif len(numbers) != self.pool.n_params:
            raise GraphError(f"{where}: has {len(numbers)} coefficients, expected {self.pool.n_params}")
        return numbers

    def _expression(self, value: Expr, where: str) -> int | None:
        if value.is_constant():
            base = _number(value.constant_part(), "the weight", where)
            if base < 0:
                raise GraphError(f"{where}: the weight {base} is negative")
            return self.pool.constant(base) if base else None
        if self.parameterized is False:
            raise GraphError(
                f"{where}: weight {value!r} has parameters, but the graph was declared parameterized=False"
            )
        return self.pool.expression(value)

    def _add_state(self, state: State, where: str) -> int:
        known = self.index.get(state)
        if known is not None:
            return known
        if len(self.states) >= self.max_states:
            raise too_many_states(self.max_states, f"{where} to {show_state(state)}")
        self.index[state] = len(self.states)
        self.states.append(state)
        return len(self.states) - 1


def too_many_states(max_states: int, where: str) -> GraphError:
    """Return the error for a state space that outgrew its limit."""
    return GraphError(
        f"{where}: more than max_states={max_states} states; bound the state space, or raise max_states if it is finite"
    )


def initial_pairs(ipv: Any, origin: str) -> list[tuple[State, float | Expr]]:
    """Return initial states with their probabilities, checked; a bare state stands for that state with certainty.

    Parameters
    ----------
    ipv
        ``(state, probability)`` pairs, ``(state, probability, coefficients)`` triples, or one state.
    origin
        Names an entry in messages.
    """
    try:
        items = ipv.tolist() if isinstance(ipv, np.ndarray) else list(ipv)
    except TypeError:
        raise GraphError(f"ipv must be a list of (state, probability) pairs, not {ipv!r}") from None
    if items and all(_is_number(x) for x in items):
        items = [(items, 1.0)]
    if not items:
        raise GraphError(
            "there is no initial state: the callback, called with an empty state, must return "
            "(state, probability, coefficients) triples, or ipv= must list (state, probability) pairs"
        )
    pairs: list[tuple[State, float | Expr]] = []
    for number, item in enumerate(items):
        where = f"{origin} {number}"
        parts = _parts(item, where)
        state = parse_state(parts[0], len(pairs[0][0]) if pairs else None, where)
        value = parts[1]
        if isinstance(value, Expr) and value.is_constant():
            value = float(value.constant_part())
        if not isinstance(value, Expr):
            value = initial_probability(value, f"{where} to {show_state(state)}")
        pairs.append((state, value))
    return pairs


def initial_probability(value: Any, where: str) -> float:
    """Return a positive, finite initial probability or raise GraphError."""
    probability = _number(value, "the initial probability", where)
    if probability <= 0:
        raise GraphError(f"{where}: the initial probability {probability} is not positive")
    return probability


def _parts(item: Any, where: str) -> Sequence[Any]:
    """Return a transition as a pair or triple."""
    if isinstance(item, (tuple, list)) and len(item) in (2, 3):
        return item
    raise GraphError(
        f"{where}: expected (next_state, base, coefficients), (next_state, coefficients), (next_state, rate) "
        f"or (next_state, expression), not {item!r}"
    )
