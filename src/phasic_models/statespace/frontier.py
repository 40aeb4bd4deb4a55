"""Callbacks that take many states at once; their results are read into blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from .arrays import integer_rows, read_weights
from .callbacks import initial_pairs
from .explore import Block, Callback, show_state
from .expr import Expr
from .keys import keys_of
from .owned import is_masked
from .weights import Weights

if TYPE_CHECKING:
    import numpy.typing as npt


class FrontierReader:
    """Runs a callback that is called with an array of states; `Graph` states the protocol.

    Parameters are those of `CallbackReader`.
    """

    # So that memory stays bounded on wide frontiers.
    chunk = 1 << 16

    def __init__(self, callback: Callback, *, parameterized: bool | None, n_params: int | None) -> None:
        self.callback = callback
        self.parameterized = parameterized
        self.n_params = n_params
        self.weights = Weights()

    def initial(self, ipv: Any) -> tuple[npt.NDArray[np.int64], list[int]]:
        """Return the initial states and the numbers of their weights."""
        pairs = initial_pairs(self._initial_items() if ipv is None else ipv, "ipv entry" if ipv else "initial state")
        numbers = [self.weights.add(p) if isinstance(p, Expr) else self.weights.constant(p) for _, p in pairs]
        return np.array([state for state, _ in pairs], dtype=np.int64), numbers

    def _call(self, states: npt.NDArray[np.int64], where: str) -> Any:
        try:
            result = self.callback(states)
        except MemoryError:
            raise
        except Exception as error:
            hint = "; copy the states before changing them" if "read-only" in str(error) else ""
            raise GraphError(f"{where}: the callback raised {type(error).__name__}: {error}{hint}") from error
        if result is None:
            raise GraphError(f"{where}: the callback returned None; return an empty list where nothing leaves")
        return result

    def _initial_items(self) -> list[Any]:
        where = "the initial call (an array of shape (0, 0))"
        result = self._call(np.zeros((0, 0), dtype=np.int64), where)
        if not isinstance(result, tuple) or len(result) != 2:
            raise GraphError(f"{where}: expected (states, probabilities), not {result!r}; or give ipv=")
        states = integer_rows(result[0], None, "initial states")
        chances = np.asarray(result[1]).reshape(-1).tolist()
        if len(chances) != states.shape[0]:
            raise GraphError(f"{where}: {states.shape[0]} initial states, but {len(chances)} probabilities")
        return list(zip(states.tolist(), chances, strict=True))

    def read(self, states: npt.NDArray[np.int64], first: int) -> Iterator[Block]:
        """Yield the transitions out of `states`; see `Reader`."""
        here = f"states {show_state(states[0].tolist())} to {show_state(states[-1].tolist())}"
        result = self._call(states, here)
        for number, block in enumerate([result] if isinstance(result, tuple) else list(result)):
            what = f"{here}, block {number}"
            if not isinstance(block, (tuple, list)) or len(block) not in (3, 4):
                raise GraphError(
                    f"{what}: expected (source, next_states, weights) or (source, next_states, base, coefficients), "
                    f"not {type(block).__name__}"
                )
            yield self._block(block, states, first, what)

    def _block(self, block: Sequence[Any], states: npt.NDArray[np.int64], first: int, what: str) -> Block:
        source = _sources(block[0], states.shape[0], what)
        targets = integer_rows(
            block[1],
            states.shape[1],
            f"{what}, next_states",
            lambda i: f"state {show_state(states[source[i]].tolist())}, transition {i}" if i < source.size else what,
        )
        if targets.shape[0] != source.size:
            raise GraphError(f"{what}: {source.size} sources, but {targets.shape[0]} next states")
        if not source.size:
            return Block([], [], [], lambda i: what)

        def name(i: int) -> str:
            return f"state {show_state(states[source[i]].tolist())}, transition to {show_state(targets[i].tolist())}"

        given = read_weights(
            self.weights,
            block[2],
            block[3] if len(block) == 4 else None,
            source.size,
            n_params=self.n_params,
            what=what,
            name=name,
        )
        if self.parameterized is False and given.parametric:
            raise GraphError(f"{what}: has parameters, but the graph was declared parameterized=False")
        self.n_params = given.n_params
        if given.keep.all():
            return Block(source + first, keys_of(targets), given.number, name)
        kept = np.flatnonzero(given.keep)
        return Block(source[kept] + first, keys_of(targets[kept]), given.number[kept], lambda i: name(int(kept[i])))


def _sources(value: Any, n: int, what: str) -> npt.NDArray[np.int64]:
    """Return the rows that transitions leave from; a mask over the states will do."""
    if is_masked(value):
        raise GraphError(f"{what}: source has masked entries")
    array = np.asarray(value)
    if array.dtype == np.bool_ and array.shape == (n,):
        return np.flatnonzero(array).astype(np.int64)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise GraphError(f"{what}: source must be row numbers or a mask of {n} states, not {array.dtype} {array.shape}")
    if (array < 0).any() or (array >= n).any():
        raise GraphError(f"{what}: source holds a row number outside 0..{n - 1}")
    return array.astype(np.int64)
