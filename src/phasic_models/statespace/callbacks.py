"""Callbacks that are called once per state: what they return, read into blocks.

Most transitions look like their neighbours. These take a short way: a state is packed into bytes, which refuses what
is not an integer, and a weight that equals one seen before has its number. Everything else goes the long way, which
knows every form and writes the messages.
"""

from __future__ import annotations

import math
import operator
import struct
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from .explore import Block, Callback, show_state
from .expr import Expr
from .keys import packer, states_of
from .weights import Weights

if TYPE_CHECKING:
    import numpy.typing as npt

State = tuple[int, ...]

_INT64 = np.iinfo(np.int64)


class CallbackReader:
    """Runs a callback that is called once per state.

    Parameters
    ----------
    callback
        As `Graph` takes it.
    parameterized
        Whether weights may, or must not, depend on parameters.
    n_params
        Number of parameters, if known.
    """

    chunk = 1024

    def __init__(self, callback: Callback, *, parameterized: bool | None, n_params: int | None) -> None:
        self.callback = callback
        self.parameterized = parameterized
        self.n_params = n_params
        self.weights = Weights()
        self.length: int | None = None
        # Numbers of weights by what was given and found right, None for zero.
        self.known: dict[Any, int | None] = {}
        self.pack = packer(0)

    def initial(self, ipv: Any) -> tuple[npt.NDArray[np.int64], list[int]]:
        """Return the initial states and the numbers of their weights."""
        if ipv is None:
            pairs = initial_pairs(self._call(np.zeros(0, dtype=np.int64)), "initial transition")
        else:
            pairs = initial_pairs(ipv, "ipv entry")
        self.length = len(pairs[0][0])
        self.pack = packer(self.length)
        numbers = [self.weights.add(p) if isinstance(p, Expr) else self.weights.constant(p) for _, p in pairs]
        return np.array([state for state, _ in pairs], dtype=np.int64), numbers

    def read(self, states: npt.NDArray[np.int64], first: int) -> Iterator[Block]:
        """Yield the transitions out of `states`; see `Reader`."""
        source: list[int] = []
        target: list[bytes] = []
        weight: list[int] = []
        ordinal: list[int] = []

        def name(i: int) -> str:
            reached = states_of([target[i]], states.shape[1])[0].tolist()
            return f"{_origin(states[source[i] - first])}, transition {ordinal[i]} to {show_state(reached)}"

        block = Block(source, target, weight, name)
        try:
            for row, state in enumerate(states, first):
                for number, item in enumerate(self._call(state)):
                    key, value = self._transition(item, state, number)
                    if value is not None:
                        source.append(row)
                        target.append(key)
                        weight.append(value)
                        ordinal.append(number)
        except GraphError:
            yield block
            raise
        yield block

    def _call(self, state: npt.NDArray[np.int64]) -> list[Any]:
        try:
            result = self.callback(state)
            if result is not None:
                return result if type(result) is list else list(result)
        except MemoryError:
            raise
        except Exception as error:
            hint = "; copy the state before changing it" if "read-only" in str(error) else ""
            raise GraphError(f"{_origin(state)}: the callback raised {type(error).__name__}: {error}{hint}") from error
        raise GraphError(f"{_origin(state)}: the callback returned None; return an empty list for an absorbing state")

    def _transition(self, item: Any, state: npt.NDArray[np.int64], number: int) -> tuple[bytes, int | None]:
        """Return the key of the next state and the weight's number, None where the weight is zero."""
        weight = None
        if type(item) is tuple or type(item) is list:
            try:
                weight = _weight_key(item)
                value = self.known[weight]
                target = item[0].tolist() if type(item[0]) is np.ndarray else item[0]
                # Only these types: reading a generator would use it up before the checks below read it.
                if type(target) is list or type(target) is tuple:
                    return self.pack(*target), value
            except KeyError:
                pass
            except (TypeError, struct.error):
                weight = None
        try:
            parts = _parts(item)
            reached = parse_state(parts[0], self.length)
        except GraphError as error:
            raise GraphError(f"{_origin(state)}, transition {number}: {error}") from None
        try:
            value = self._weight(parts)
        except GraphError as error:
            raise GraphError(f"{_origin(state)}, transition {number} to {show_state(reached)}: {error}") from None
        if weight is not None:
            self.known[weight] = value
        return self.pack(*reached), value

    def _weight(self, parts: Sequence[Any]) -> int | None:
        """Return the number of the weight of a transition, None where it is zero."""
        value = parts[1]
        if isinstance(value, Expr):
            if len(parts) == 3 and np.size(parts[2]):
                raise GraphError("give either an expression or coefficients, not both")
            return self._expression(value)
        if len(parts) == 3:
            base, numbers = _number(value, "the base weight"), self._coefficients(parts[2])
        elif _is_number(value):
            base, numbers = _number(value, "the weight"), []
        else:
            base, numbers = 0.0, self._coefficients(value)
        if not any(numbers):
            return self._constant(base)
        indices = tuple(i for i, c in enumerate(numbers) if c)
        return self.weights.add((base + 0.0, indices, tuple(numbers[i] for i in indices)))

    def _constant(self, value: float) -> int | None:
        if value < 0:
            raise GraphError(f"the weight {value} is negative")
        return self.weights.constant(value) if value else None

    def _coefficients(self, value: Any) -> list[float]:
        try:
            items = value.tolist() if isinstance(value, np.ndarray) else list(value)
        except TypeError:
            raise GraphError(f"coefficients must be a sequence of numbers, not {value!r}") from None
        numbers = [_number(c, f"coefficient {i}") for i, c in enumerate(items)]
        if self.parameterized is False:
            if any(numbers):
                raise GraphError("has coefficients, but the graph was declared parameterized=False")
            return []
        if self.n_params is None:
            self.n_params = len(numbers)
        elif len(numbers) != self.n_params:
            raise GraphError(f"has {len(numbers)} coefficients, expected {self.n_params}")
        return numbers

    def _expression(self, value: Expr) -> int | None:
        if value.is_constant():
            return self._constant(_number(value.constant_part(), "the weight"))
        if self.parameterized is False:
            raise GraphError(f"weight {value!r} has parameters, but the graph was declared parameterized=False")
        return self.weights.add(value)


def _weight_key(item: Sequence[Any]) -> Any:
    """Return the weight of a transition in a form that can be looked up: equal ones are the same weight. None where it
    has no such form.
    """
    if len(item) == 3:
        _, base, more = item
    elif len(item) == 2:
        base, more = 0.0, item[1]
        if isinstance(more, (float, int, Expr, np.number)):
            return more
    else:
        return None
    if type(more) is np.ndarray and more.ndim == 1:
        more = more.tolist()
    return (base, *more) if type(more) is list or type(more) is tuple else None


def _origin(state: npt.NDArray[np.int64]) -> str:
    return f"state {show_state(state.tolist())}" if state.size else "the initial call (empty state)"


def parse_state(value: Any, length: int | None) -> State:
    """Return a state as a tuple of ints.

    Raises
    ------
    GraphError
        If it is not one, or has another length.
    """
    try:
        items = value.tolist() if isinstance(value, np.ndarray) else list(value)
        state = tuple(int(x) if isinstance(x, float) and x.is_integer() else operator.index(x) for x in items)
    except TypeError:
        raise GraphError(f"a state must be a sequence of integers, not {value!r}") from None
    if not state:
        raise GraphError("a state must not be empty")
    if length is not None and len(state) != length:
        raise GraphError(f"state {show_state(state)} has length {len(state)}, expected {length}")
    if min(state) < _INT64.min or max(state) > _INT64.max:
        raise GraphError(f"state {show_state(state)} does not fit into 64-bit integers")
    return state


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) or (isinstance(value, np.ndarray) and value.ndim == 0)


def _number(value: Any, what: str) -> float:
    try:
        if not _is_number(value):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise GraphError(f"{what} must be a real number, not {value!r}") from None
    if not math.isfinite(number):
        raise GraphError(f"{what} is {number}; it must be finite")
    return number


def _parts(item: Any) -> Sequence[Any]:
    """Return a transition as a pair or triple."""
    if isinstance(item, (tuple, list)) and len(item) in (2, 3):
        return item
    raise GraphError(
        "expected (next_state, base, coefficients), (next_state, coefficients), (next_state, rate) "
        f"or (next_state, expression), not {item!r}"
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
        try:
            parts = _parts(item)
            state = parse_state(parts[0], len(pairs[0][0]) if pairs else None)
        except GraphError as error:
            raise GraphError(f"{where}: {error}") from None
        value = parts[1]
        if isinstance(value, Expr) and value.is_constant():
            value = float(value.constant_part())
        if not isinstance(value, Expr):
            value = initial_probability(value, f"{where} to {show_state(state)}")
        pairs.append((state, value))
    return pairs


def initial_probability(value: Any, where: str) -> float:
    """Return a positive, finite initial probability or raise GraphError."""
    try:
        probability = _number(value, "the initial probability")
    except GraphError as error:
        raise GraphError(f"{where}: {error}") from None
    if probability <= 0:
        raise GraphError(f"{where}: the initial probability {probability} is not positive")
    return probability
