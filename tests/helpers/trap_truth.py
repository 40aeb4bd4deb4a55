"""Random chains in which weights may be zero, so that the process may be caught, and their numbers over exact fractions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import mpmath
import numpy as np
from dense import expm

from phasic_models.graph import Graph

INFINITE = math.inf
ZERO, ONE = Fraction(0), Fraction(1)


@dataclass(frozen=True)
class TrapChain:
    """States 1 .. n are transient, 0 is absorbing; an edge's weight is coefficient x one parameter (None: the constant 1)."""

    n: int
    discrete: bool
    edges: dict[tuple[int, int], tuple[float, int | None]]
    n_params: int = 3

    def graph(self) -> Graph:
        def callback(state):
            if len(state) == 0:
                return [([1], 0.5, self._row(None, 1.0)), ([self.n], 0.5, self._row(None, 1.0))]
            source = int(state[0])
            return [
                ([j], c if p is None else 0.0, self._row(p, c)) for (i, j), (c, p) in self.edges.items() if i == source
            ]

        return Graph(callback, discrete=self.discrete)

    def _row(self, param: int | None, value: float) -> list[float]:
        return [value if j == param else 0.0 for j in range(self.n_params)]

    def at(self, theta) -> Truth:
        weights = {e: Fraction(c) * (ONE if p is None else Fraction(theta[p])) for e, (c, p) in self.edges.items()}
        return Truth(self.n, self.discrete, {e: w for e, w in weights.items() if w > 0})


def random_chain(seed: int, discrete: bool) -> TrapChain:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 8))
    targets = {i: {int(rng.integers(0, i))} for i in range(1, n + 1)}
    for a, b in pairwise(rng.permutation(np.arange(1, n + 1)).tolist()):
        targets[a].add(b)  # all are reached
    for i in targets:
        targets[i] |= set(rng.integers(0, n + 1, size=int(rng.integers(0, 3))).tolist())
        targets[i].discard(i)
    edges: dict[tuple[int, int], tuple[float, int | None]] = {}
    for i, row in targets.items():
        for j in sorted(row):
            # Binary fractions, so that the probabilities of a state sum to one at most, and weights are exact.
            weight = float(rng.integers(1, 9)) / (64 if discrete else 4)
            edges[i, j] = (weight, None if rng.random() < 0.35 else int(rng.integers(0, 3)))
    return TrapChain(n, discrete, edges)


def random_theta(rng: np.random.Generator) -> list[float]:
    return rng.choice([0.0, 0.0, 0.0, 0.5, 1.0], size=3).tolist()


def solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    """Gaussian elimination over fractions."""
    n = len(right)
    rows = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for i in range(n):
            if i != k and rows[i][k] != 0:
                f = rows[i][k] / rows[k][k]
                rows[i] = [a - f * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [rows[i][n] / rows[i][i] for i in range(n)]


class Truth:
    """A chain at one θ, over fractions; starts in 1 or n with probability ½ each."""

    def __init__(self, n: int, discrete: bool, weights: dict[tuple[int, int], Fraction]) -> None:
        self.n, self.discrete, self.weights = n, discrete, weights
        self.states = list(range(1, n + 1))
        self.start = {s: Fraction((s == 1) + (s == n), 2) for s in self.states}
        ahead = {i: self._ahead(i) for i in self.states}
        self.reached = ahead[1] | ahead[n]
        # A closed class: whatever is ahead leads back.
        self.caught = {i for i in self.states if i in self.reached and all(j > 0 and i in ahead[j] for j in ahead[i])}
        self.ahead = ahead

    def _ahead(self, i: int) -> set[int]:
        found, stack = {i}, [i]
        while stack:
            here = stack.pop()
            for a, b in self.weights:
                if a == here and b not in found:
                    found.add(b)
                    stack.append(b)
        return found

    def endless(self, rewards) -> bool:
        """Whether Y may be infinite."""
        return any(rewards[i] > 0 for i in self.caught)

    @property
    def moving(self) -> list[int]:
        """States that are reached and left for good."""
        return [i for i in self.states if i in self.reached and i not in self.caught]

    def _matrix(self, states, extra=None, damp=None) -> list[list[Fraction]]:
        """D - W over the states: total rates, plus `extra`; jumps times `damp`."""
        return [[self._entry(i, j, extra or {}, damp or {}) for j in states] for i in states]

    def _entry(self, i, j, extra, damp):
        f = damp.get(i, ONE)
        if i != j:
            return -f * self.weights.get((i, j), ZERO)
        total = sum((w for (a, _), w in self.weights.items() if a == i), ZERO)
        if self.discrete:  # I - f P
            return 1 - f * (1 - total) + extra.get(i, ZERO)
        return total + extra.get(i, ZERO)

    def _solve(self, right: dict[int, Fraction]) -> dict[int, Fraction]:
        states = self.moving
        return dict(zip(states, solve(self._matrix(states), [right[i] for i in states]), strict=True))

    def _next(self, h: dict[int, Fraction], i: int) -> Fraction:
        """P h of a discrete chain."""
        total = sum((w for (a, _), w in self.weights.items() if a == i), ZERO)
        jumps = sum((w * h.get(b, ZERO) for (a, b), w in self.weights.items() if a == i), ZERO)
        return (1 - total) * h.get(i, ZERO) + jumps

    def joint(self, *rewards) -> Fraction:
        """E[Y_1 ... Y_k]; none of them may be infinite. What is earned is zero from every caught state on."""
        return sum((self.start[i] * h for i, h in self._joint(rewards).items()), ZERO)

    def _joint(self, rewards) -> dict[int, Fraction]:
        k = len(rewards)
        found = {0: dict.fromkeys(self.states, ONE)}
        for subset in range(1, 1 << k):
            right = dict.fromkeys(self.moving, ZERO)
            part = subset
            while part:
                chosen = [rewards[j] for j in range(k) if part >> j & 1]
                if self.discrete or len(chosen) == 1:
                    rest = found[subset ^ part]
                    for i in right:
                        r = math.prod(Fraction(c[i]) for c in chosen)
                        one = subset == part
                        right[i] += r * (ONE if one else self._next(rest, i) if self.discrete else rest[i])
                part = (part - 1) & subset
            found[subset] = self._solve(right)
        return found[(1 << k) - 1]

    def moments(self, k: int, rewards) -> list[Fraction]:
        return [self.joint(*[rewards] * j) for j in range(1, k + 1)]

    def covariance(self, a, b) -> Fraction:
        return self.joint(a, b) - self.joint(a) * self.joint(b)

    def sojourn(self) -> dict[int, float]:
        single = {i: {j: int(i == j) for j in self.states} for i in self.states}
        out = {i: float(self.joint(single[i])) for i in self.moving}
        return {i: INFINITE if i in self.caught else out.get(i, 0.0) for i in self.states}

    def laplace(self, s: float, rewards) -> float:
        """E[exp(-s Y)], with exp(-s ∞) = 0."""
        safe = {i for i in self.caught if not any(rewards[j] > 0 for j in self.ahead[i])}
        clock = {i: Fraction(s) * Fraction(rewards[i]) for i in self.states}
        damp: dict[int, Fraction] = {}
        if self.discrete:
            with mpmath.workdps(60):
                for i in self.states:
                    x = mpmath.exp(-mpmath.mpf(s) * mpmath.mpf(rewards[i]))
                    damp[i] = Fraction(int(x * mpmath.mpf(10) ** 55), 10**55)
            clock = {}
        states = self.moving
        gain = {
            i: damp.get(i, ONE)
            * sum((w for (a, b), w in self.weights.items() if a == i and (b == 0 or b in safe)), ZERO)
            for i in states
        }
        h = dict(zip(states, solve(self._matrix(states, clock, damp), [gain[i] for i in states]), strict=True))
        h.update(dict.fromkeys(safe, ONE))
        return float(sum(self.start[i] * h.get(i, ZERO) for i in self.states))

    def finite(self, rewards) -> Fraction:
        """P(Y < ∞)."""
        return self._watched(rewards)[3]

    def _watched(self, rewards):
        """The chain in its states with a reward: states, initial mass, jumps i → j, and P(Y < ∞)."""
        safe = {i for i in self.caught if not any(rewards[j] > 0 for j in self.ahead[i])}
        kept = [i for i in self.states if i in self.reached and rewards[i] > 0]
        passed = [i for i in self.states if i in self.reached and i not in safe and rewards[i] == 0]
        matrix = self._matrix(passed)
        hit = {
            j: dict(zip(passed, solve(matrix, [self.weights.get((i, j), ZERO) for i in passed]), strict=True))
            for j in kept
        }
        alpha = {j: self.start[j] + sum((self.start[i] * hit[j][i] for i in passed), ZERO) for j in kept}
        jump = {
            (i, j): self.weights.get((i, j), ZERO)
            + sum((self.weights.get((i, m), ZERO) * hit[j][m] for m in passed), ZERO)
            for i in kept
            for j in kept
        }
        done = {
            i: sum((w for (a, b), w in self.weights.items() if a == i and (b == 0 or b in safe)), ZERO)
            for i in self.moving
        }
        inside = self.moving
        h = dict(zip(inside, solve(self._matrix(inside), [done[i] for i in inside]), strict=True))
        total = sum((self.start[i] * h.get(i, ONE if i in safe else ZERO) for i in self.states), ZERO)
        return kept, alpha, jump, total

    def cdf(self, y: float, rewards) -> float:
        """P(Y <= y); for a discrete chain y and the rewards are whole numbers."""
        kept, alpha, jump, _ = self._watched(rewards)
        total = {i: sum((w for (a, _), w in self.weights.items() if a == i), ZERO) for i in kept}
        if self.discrete:
            return float(1 - self._alive(int(y), rewards, kept, alpha, jump, total))
        generator = np.array(
            [[float((jump[i, j] - (total[i] if i == j else 0)) / Fraction(rewards[i])) for j in kept] for i in kept]
        ).reshape(len(kept), len(kept))
        start = np.array([float(alpha[i]) for i in kept])
        return 1.0 - float((start @ expm(generator * y)).sum()) if kept else 1.0

    def _alive(self, y, rewards, kept, alpha, jump, total) -> Fraction:
        """P(Y > y): visits by the sum after them, one more step at a time."""
        visit = [dict.fromkeys(kept, ZERO) for _ in range(y + 1)]
        over = ZERO
        for s in range(-1, y + 1):
            for i in kept:
                if s < 0:
                    flow = {j: alpha[j] for j in kept} if i == kept[0] else {}
                else:
                    stay = {i: 1 - total[i]}
                    flow = {j: visit[s][i] * (jump[i, j] + stay.get(j, ZERO)) for j in kept}
                for j, mass in flow.items():
                    after = max(s, 0) + int(rewards[j])
                    if after > y:
                        over += mass
                    else:
                        visit[after][j] += mass
        return over
