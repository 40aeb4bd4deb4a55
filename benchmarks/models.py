"""The models of the benchmark, defined once for every engine.

A model is a callback in the form that both phasic and phasic-models take: from a state to a list of
``(next state, coefficients)`` pairs, where the rate is the inner product of the coefficients with theta. Only the
standard library is needed here, because each engine runs in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

State = tuple[int, ...]
Moves = list[tuple[State, list[float]]]


@dataclass(frozen=True)
class Model:
    """One benchmark model at one size.

    Attributes
    ----------
    spec : str
        ``family:size``, the name under which results are filed.
    title : str
        Its name in the tables.
    moves : callable
        From a state to its ``(next state, coefficients)`` pairs.
    initial : tuple of int
        The state in which the chain starts.
    param_names : tuple of str
    theta : tuple of float
        Where it is evaluated.
    horizon : float
        The last time point: about four times the mean, so that body and tail of the density are both covered.
    """

    spec: str
    title: str
    moves: Callable[[State], Moves]
    initial: State
    param_names: tuple[str, ...]
    theta: tuple[float, ...]
    horizon: float

    def times(self, count: int = 100) -> list[float]:
        """Equally spaced times in (0, horizon]; equal steps are what scipy's expm_multiply is best at."""
        return [self.horizon * (k + 1) / count for k in range(count)]


def two_island(n: int) -> Model:
    """Coalescent of `n` samples on two islands; the state counts lineages by island and by number of descendants."""

    def moves(state: State) -> Moves:
        if sum(state) <= 1:
            return []
        out: Moves = []
        for island in range(2):
            first, other = island * n, (1 - island) * n
            for i in range(n):
                count = state[first + i]
                if count == 0:
                    continue
                moved = list(state)
                moved[first + i] -= 1
                moved[other + i] += 1
                out.append((tuple(moved), [0.0, float(count)]))
                for j in range(i, n):
                    pairs = count * (count - 1) / 2 if i == j else count * state[first + j]
                    if pairs <= 0:
                        continue
                    merged = list(state)
                    merged[first + i] -= 1
                    merged[first + j] -= 1
                    merged[first + i + j + 1] += 1
                    out.append((tuple(merged), [float(pairs), 0.0]))
        return out

    initial = (n,) + (0,) * (2 * n - 1)
    return Model(
        f"two_island:{n}",
        f"two-island coalescent n = {n}",
        moves,
        initial,
        ("coalescence", "migration"),
        (1.0, 0.5),
        16.0,
    )


def repairable(n: int) -> Model:
    """A parallel system of `n` components, each with its own failure and repair rate, until all are down."""

    def moves(state: State) -> Moves:
        if not any(state):
            return []
        out: Moves = []
        for i, up in enumerate(state):
            flipped = (*state[:i], 1 - up, *state[i + 1 :])
            weight = 1.0 + i / 8
            out.append((flipped, [weight, 0.0] if up else [0.0, weight]))
        return out

    # Repair is twice as fast as failure, so the mean time to failure is about 3^n / n.
    horizon = 2.5 * 3.0**n / n
    return Model(
        f"repairable:{n}",
        f"repairable system, {n} components",
        moves,
        (1,) * n,
        ("failure", "repair"),
        (1.0, 2.0),
        horizon,
    )


def mmc(capacity: int, servers: int = 3) -> Model:
    """M/M/c queue of finite capacity, from full to empty."""

    def moves(state: State) -> Moves:
        (k,) = state
        if k == 0:
            return []
        out: Moves = [((k - 1,), [0.0, float(min(k, servers))])]
        if k < capacity:
            out.append(((k + 1,), [1.0, 0.0]))
        return out

    theta = (2.0, 1.0)
    return Model(
        f"mmc:{capacity}",
        f"M/M/{servers}/{capacity}, full to empty",
        moves,
        (capacity,),
        ("arrival", "service"),
        theta,
        # The drift is servers·service − arrival = 1, and the spread around the mean is of order √capacity: a quarter
        # beyond the mean is far in the tail.
        1.25 * capacity,
    )


def rabbits(n: int) -> Model:
    """The rabbits of the PtDAlgorithms paper: `n` rabbits jump between two islands until floods have taken all."""

    def moves(state: State) -> Moves:
        left, right = state
        out: Moves = []
        if left > 0:
            out.append(((left - 1, right + 1), [1.0, 0.0, 0.0]))
            out.append(((0, right), [0.0, 1.0, 0.0]))
        if right > 0:
            out.append(((left + 1, right - 1), [1.0, 0.0, 0.0]))
            out.append(((left, 0), [0.0, 0.0, 1.0]))
        return out

    return Model(
        f"rabbits:{n}", f"rabbits {n}", moves, (n, 0), ("jump", "flood_left", "flood_right"), (1.0, 2.0, 4.0), 6.0
    )


def tandem(capacity: int) -> Model:
    """Two queues in tandem, each holding at most `capacity`, from both full to both empty."""

    def moves(state: State) -> Moves:
        first, second = state
        if first == second == 0:
            return []
        out: Moves = []
        if first < capacity:
            out.append(((first + 1, second), [1.0, 0.0, 0.0]))
        if first > 0 and second < capacity:
            out.append(((first - 1, second + 1), [0.0, 1.0, 0.0]))
        if second > 0:
            out.append(((first, second - 1), [0.0, 0.0, 1.0]))
        return out

    return Model(
        f"tandem:{capacity}",
        f"tandem queue {capacity}×{capacity}",
        moves,
        (capacity, capacity),
        ("arrival", "service_1", "service_2"),
        (0.5, 1.0, 1.5),
        11.0 * capacity,
    )


FAMILIES: dict[str, Callable[[int], Model]] = {
    "two_island": two_island,
    "repairable": repairable,
    "mmc": mmc,
    "rabbits": rabbits,
    "tandem": tandem,
}


def get(spec: str) -> Model:
    """The model called `spec`, for example ``two_island:10``."""
    family, _, size = spec.partition(":")
    if family not in FAMILIES or not size.isdigit():
        raise ValueError(f"unknown benchmark model {spec!r}; write family:size with a family of {', '.join(FAMILIES)}")
    return FAMILIES[family](int(size))


@dataclass(frozen=True)
class Explored:
    """The state space of a model as plain lists; state 0 is the initial one."""

    states: list[State]
    sources: list[int]
    targets: list[int]
    coefficients: list[list[float]]


def explore(model: Model) -> Explored:
    """Breadth-first search of `model`, for the engines that want arrays."""
    index = {model.initial: 0}
    found: list[State] = [model.initial]
    sources: list[int] = []
    targets: list[int] = []
    coefficients: list[list[float]] = []
    position = 0
    while position < len(found):
        for state, coefs in model.moves(found[position]):
            if state not in index:
                index[state] = len(found)
                found.append(state)
            sources.append(position)
            targets.append(index[state])
            coefficients.append(coefs)
        position += 1
    return Explored(found, sources, targets, coefficients)


def rates(coefficients: Sequence[Sequence[float]], theta: Sequence[float]) -> list[float]:
    """The rate of every edge at `theta`."""
    return [sum(c * t for c, t in zip(row, theta, strict=True)) for row in coefficients]
