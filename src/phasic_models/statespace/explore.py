"""The explorer: from initial states and blocks of transitions to a whole state space, breadth first."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ..core.stopping import check
from ..errors import GraphError
from .expr import parameters_of
from .growth import Growth, Watch, growing_entry
from .keys import keys_of, states_of
from .weights import Weights

if TYPE_CHECKING:
    import numpy.typing as npt

Callback = Callable[..., Any]
Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Transitions:
    """A chain as it was described: states in order of discovery, transitions in the order given.

    `initial`, `source` and `target` are rows of `states`; `initial_weight` and `weight` are numbers of `weights`.
    """

    states: npt.NDArray[np.int64]
    initial: npt.NDArray[np.int64]
    initial_weight: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    weight: npt.NDArray[np.int64]
    weights: Weights
    n_params: int | None


@dataclass
class Block:
    """Transitions out of some states: row of the source among all states, key of the target, number of the weight.

    `name` says for messages which transition number i is.
    """

    source: Sequence[int] | npt.NDArray[np.int64]
    target: Sequence[bytes]
    weight: Sequence[int] | npt.NDArray[np.int64]
    name: Callable[[int], str]


class Reader(Protocol):
    """Calls a callback and checks what it returns; one class for each way of calling."""

    weights: Weights
    n_params: int | None
    #: States handed over at once.
    chunk: int

    def initial(self, ipv: Any) -> tuple[npt.NDArray[np.int64], list[int]]:
        """Return the initial states, shape (m, state_length), and the numbers of their weights."""

    def read(self, states: npt.NDArray[np.int64], first: int) -> Iterator[Block]:
        """Yield the transitions out of `states`, whose rows among all states start at `first`; those of weight zero are
        left out. An error comes after the block of what was given before it.
        """


class Explorer:
    """Finds every state that can be reached, and every transition.

    Parameters
    ----------
    reader
        Gives the transitions out of states.
    max_states
        More states than this are an error.
    progress
        Called now and then with the numbers of states explored and found; None reports a long exploration to a
        terminal.
    """

    def __init__(self, reader: Reader, *, max_states: int, progress: Progress | None) -> None:
        self.reader = reader
        self.max_states = max_states
        self.watch = Watch(progress, self._growing)
        # Numbers of the states by key; a key that is looked up for the first time gets the next number.
        self.index: defaultdict[bytes, int] = defaultdict(count().__next__)
        self.keys: list[bytes] = []
        self.length = 0
        self.source: array[int] = array("q")
        self.target: array[int] = array("q")
        self.weight: array[int] = array("q")

    def run(self, ipv: Any) -> Transitions:
        """Explore from the initial states and return every transition."""
        states, initial_weight = self.reader.initial(ipv)
        self.length = states.shape[1]
        initial = self._numbers(keys_of(states), lambda i: f"initial state {show_state(states[i].tolist())}")
        done = 0
        with self.watch:
            while done < len(self.keys):
                check()
                states = self._states(done, done + self.reader.chunk)
                for block in self.reader.read(states, done):
                    self._keep(block)
                done += states.shape[0]
                self.watch(done, len(self.keys))
        return Transitions(
            states=self._states(0, len(self.keys)),
            initial=np.array(initial, dtype=np.int64),
            initial_weight=np.array(initial_weight, dtype=np.int64),
            source=np.asarray(self.source, dtype=np.int64),
            target=np.asarray(self.target, dtype=np.int64),
            weight=np.asarray(self.weight, dtype=np.int64),
            weights=self.reader.weights,
            n_params=self.reader.n_params,
        )

    def _states(self, begin: int, end: int) -> npt.NDArray[np.int64]:
        """Return rows `begin` to `end` of the states; read-only, since a callback that changed them would make wrong
        transitions without a word.
        """
        return states_of(self.keys[begin:end], self.length)

    def _keep(self, block: Block) -> None:
        numbers = self._numbers(block.target, block.name)
        for column, values in ((self.source, block.source), (self.target, numbers), (self.weight, block.weight)):
            if isinstance(values, np.ndarray):
                column.frombytes(values.tobytes())
            else:
                column.extend(values)

    def _numbers(self, keys: Sequence[bytes], name: Callable[[int], str]) -> list[int]:
        """Return the numbers of states, giving new ones to those not seen before."""
        numbers = list(map(self.index.__getitem__, keys))
        if fresh := len(self.index) - len(self.keys):
            self.keys += list(islice(reversed(self.index), fresh))[::-1]
            if len(self.keys) > self.max_states:
                where = name(next(i for i, number in enumerate(numbers) if number >= self.max_states))
                growth = self._growing()
                raise GraphError(
                    f"{where}: more than max_states={self.max_states} states; {f'{growth}; ' if growth else ''}"
                    "bound the state space, or raise max_states if it is finite"
                )
        return numbers

    def _growing(self) -> Growth | None:
        return growing_entry(self.keys, self.length)


def show_state(state: Iterable[int]) -> str:
    """Return a state as it is named in messages."""
    return "(" + ", ".join(map(str, state)) + ")"


def resolve_names(raw: Transitions, given: tuple[str, ...] | None) -> tuple[str, ...]:
    """Return the names of the parameters, in the order of θ."""
    if given is not None:
        return given
    # By identity first: a tuple's hash is computed each time, over all of its names.
    declared = set({id(p.names): p.names for p in parameters_of(raw.weights.expressions.values())}.values())
    longest = max(declared, key=len, default=())
    for names in declared:
        if longest[: len(names)] != names:
            raise GraphError(
                f"the weights use parameters of separate params() calls, {names} and {longest}; "
                "declare them in one call, or give their order by param_names="
            )
    n = raw.n_params or 0
    if declared and n and n != len(longest):
        raise GraphError(f"some weights have {n} coefficients, others are expressions of {len(longest)} parameters")
    return longest or tuple(f"theta_{i}" for i in range(n))
