"""Exploration with a vectorised callback, which is handed many states at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError
from .arrays import Namer, given_weights, integer_rows
from .explore import (
    Callback,
    Progress,
    RawTransitions,
    State,
    WeightPool,
    initial_pairs,
    show_state,
    too_many_states,
)
from .expr import Expr
from .owned import is_masked
from .weights import AffineRows, concatenate_rows

if TYPE_CHECKING:
    import numpy.typing as npt

# States handed to the callback at once, so that memory stays bounded on wide frontiers.
_CHUNK = 1 << 16
# Pieces are joined whenever this many have gathered; a deep, narrow state space makes one per level.
_MAX_PIECES = 1024


class _Column:
    """A growing array of 64-bit integers."""

    def __init__(self) -> None:
        self.pieces: list[npt.NDArray[np.int64]] = []

    def append(self, piece: npt.NDArray[np.int64]) -> None:
        self.pieces.append(piece)
        if len(self.pieces) >= _MAX_PIECES:
            self.pieces = [np.concatenate(self.pieces)]

    def joined(self) -> npt.NDArray[np.int64]:
        return np.concatenate(self.pieces) if self.pieces else np.zeros(0, dtype=np.int64)


class FrontierExplorer:
    """Runs a callback that is called with an array of states; `Graph` states the protocol."""

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
        self.n_params = n_params
        self.progress = progress
        # Rows as bytes: exact for any integers, and a dict of them is fast enough for millions.
        self.index: dict[bytes, int] = {}
        self.found: list[npt.NDArray[np.int64]] = []
        self.source, self.target, self.weight = _Column(), _Column(), _Column()
        self.rows: list[AffineRows] = []
        self.n_rows = 0
        self.expressions: dict[Expr, int] = {}

    def run(self, ipv: Any) -> RawTransitions:
        """Explore from the initial states and return every transition."""
        pairs = initial_pairs(self._initial_items() if ipv is None else ipv, "ipv entry" if ipv else "initial state")
        pool = WeightPool(None)
        initial_weight = [self._number(p) if isinstance(p, Expr) else pool.constant(p) for _, p in pairs]
        self._add_rows(pool.rows())
        states: list[State] = [state for state, _ in pairs]
        length = len(states[0])
        initial = self._add_states(np.array(states, dtype=np.int64), lambda i: f"initial state {show_state(states[i])}")
        done = level = 0
        while level < len(self.found):
            block = np.concatenate(self.found[level:])
            level = len(self.found)
            for begin in range(0, block.shape[0], _CHUNK):
                chunk = block[begin : begin + _CHUNK]
                self._expand(chunk, done, length)
                done += chunk.shape[0]
                if self.progress is not None:
                    self.progress(done, len(self.index))
        return RawTransitions(
            states=np.concatenate(self.found),
            initial=initial,
            initial_weight=self._resolved(np.array(initial_weight, dtype=np.int64)),
            source=self.source.joined(),
            target=self.target.joined(),
            weight=self._resolved(self.weight.joined()),
            rows=concatenate_rows(self.rows),
            expressions=list(self.expressions),
            n_params=self.n_params,
        )

    def _call(self, states: npt.NDArray[np.int64], where: str) -> Any:
        view = states.view()
        view.setflags(write=False)
        try:
            result = self.callback(view)
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

    def _expand(self, chunk: npt.NDArray[np.int64], first: int, length: int) -> None:
        """Call the callback on `chunk`, whose first state has number `first`, and keep what it returns."""
        here = f"states {show_state(chunk[0].tolist())} to {show_state(chunk[-1].tolist())}"
        result = self._call(chunk, here)
        for number, block in enumerate([result] if isinstance(result, tuple) else list(result)):
            what = f"{here}, block {number}"
            if not isinstance(block, (tuple, list)) or len(block) not in (3, 4):
                raise GraphError(
                    f"{what}: expected (source, next_states, weights) or (source, next_states, base, coefficients), "
                    f"not {type(block).__name__}"
                )
            self._keep(block, chunk, first, length, what)

    def _keep(self, block: Sequence[Any], chunk: npt.NDArray[np.int64], first: int, length: int, what: str) -> None:
        source = _sources(block[0], chunk.shape[0], what)
        targets = integer_rows(
            block[1],
            length,
            f"{what}, next_states",
            lambda i: f"state {show_state(chunk[source[i]].tolist())}, transition {i}" if i < source.size else what,
        )
        if targets.shape[0] != source.size:
            raise GraphError(f"{what}: {source.size} sources, but {targets.shape[0]} next states")
        if not source.size:
            return

        def name(i: int) -> str:
            return f"state {show_state(chunk[source[i]].tolist())}, transition to {show_state(targets[i].tolist())}"

        given = given_weights(
            block[2],
            block[3] if len(block) == 4 else None,
            source.size,
            n_params=self.n_params,
            what=what,
            name=name,
        )
        if self.parameterized is False and (given.expressions or given.rows.param.size):
            raise GraphError(f"{what}: has parameters, but the graph was declared parameterized=False")
        self.n_params = given.n_params
        keep = given.nonzero()
        numbers = given.number + self.n_rows
        for i in np.flatnonzero(given.number < 0).tolist():
            numbers[i] = self._number(given.expressions[-1 - int(given.number[i])])
        self._add_rows(given.rows)
        self.source.append(source[keep] + first)
        kept = np.flatnonzero(keep)
        self.target.append(self._add_states(targets[keep], lambda i: name(int(kept[i]))))
        self.weight.append(numbers[keep])

    def _add_rows(self, rows: AffineRows) -> None:
        self.rows.append(rows)
        self.n_rows += len(rows)
        if len(self.rows) >= _MAX_PIECES:
            self.rows = [concatenate_rows(self.rows)]

    def _number(self, expression: Expr) -> int:
        """Number an expression from -1 downwards; how many rows there will be is not known yet."""
        return -1 - self.expressions.setdefault(expression, len(self.expressions))

    def _resolved(self, numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.where(numbers < 0, self.n_rows - 1 - numbers, numbers)

    def _add_states(self, states: npt.NDArray[np.int64], name: Namer) -> npt.NDArray[np.int64]:
        """Return the numbers of `states`, giving new ones to those not seen before."""
        old = len(self.index)
        index = self.index
        rows = np.ascontiguousarray(states).view(np.dtype((np.void, states.shape[1] * 8))).ravel().tolist()
        numbers = np.array([index.setdefault(row, len(index)) for row in rows], dtype=np.int64)
        if len(index) > self.max_states:
            raise too_many_states(self.max_states, name(int(np.argmax(numbers >= self.max_states))))
        if len(index) > old:
            # New numbers ascend in order of first occurrence.
            fresh = np.flatnonzero(numbers >= old)
            _, first = np.unique(numbers[fresh], return_index=True)
            self.found.append(states[fresh[first]])
        return numbers


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
