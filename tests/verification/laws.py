"""Phase-type laws by slow, general methods: dense matrices, sums of exponentials, mixtures. Shared by the truths here.

Nothing in this file uses phasic_models.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import scipy  # its parts are imported when they are used


class MatrixLaw:
    """Continuous phase-type law with initial vector `alpha` and sub-generator `S`."""

    def __init__(self, alpha, S):
        self.alpha, self.S = np.asarray(alpha, float), np.asarray(S, float)
        self.exit = -self.S.sum(axis=1)
        self.factors = scipy.linalg.lu_factor(-self.S)

    def mean(self, reward=None):
        reward = np.ones(len(self.alpha)) if reward is None else np.asarray(reward, float)
        return self.alpha @ scipy.linalg.lu_solve(self.factors, reward)

    def covariance(self, first, second):
        first, second = np.asarray(first, float), np.asarray(second, float)
        solve = lambda r: scipy.linalg.lu_solve(self.factors, r)  # noqa: E731
        both = self.alpha @ (solve(first * solve(second)) + solve(second * solve(first)))
        return both - self.mean(first) * self.mean(second)

    def variance(self):
        ones = np.ones(len(self.alpha))
        return self.covariance(ones, ones)

    def curve(self, step, doublings):
        """Density and distribution function at ``step * 2**k``: one matrix exponential, squared again and again."""
        power = scipy.linalg.expm(self.S * step)
        pdf, cdf = [], []
        for _ in range(doublings):
            after = self.alpha @ power
            pdf.append(after @ self.exit)
            cdf.append(1 - after.sum())
            power = power @ power
        return pdf, cdf


class BirthDeath(MatrixLaw):
    """`birth[i]` and `death[i]` are the rates out of state i; leaving at either end is absorption."""

    def __init__(self, start, birth, death):
        birth, death = np.asarray(birth, float), np.asarray(death, float)
        S = np.diag(birth[:-1], 1) + np.diag(death[1:], -1) - np.diag(birth + death)
        super().__init__(started(len(birth), start), S)


class BandedLaw:
    """A birth-death law on many states: banded solves, and the action of the matrix exponential on a vector."""

    def __init__(self, start, birth, death):
        birth, death = np.asarray(birth, float), np.asarray(death, float)
        self.start = start
        self.total = birth + death
        self.banded = np.zeros((3, len(birth)))
        self.banded[0, 1:], self.banded[1], self.banded[2, :-1] = -birth[:-1], self.total, -death[1:]
        self.S = scipy.sparse.diags([birth[:-1], -self.total, death[1:]], [1, 0, -1], format="csr")
        self.exit = np.zeros(len(birth))
        self.exit[0] += death[0]
        self.exit[-1] += birth[-1]

    def _solve(self, reward):
        return scipy.linalg.solve_banded((1, 1), self.banded, reward)

    def mean(self):
        return self._solve(np.ones(len(self.total)))[self.start]

    def variance(self):
        once = self._solve(np.ones(len(self.total)))
        return 2 * self._solve(once)[self.start] - once[self.start] ** 2

    def _after(self, t, vector):
        from scipy.sparse.linalg import expm_multiply

        return expm_multiply(self.S * t, vector, traceA=-self.total.sum() * t)[self.start]

    def cdf(self, t):
        return 1 - self._after(t, np.ones(len(self.total)))

    def pdf(self, t):
        return self._after(t, self.exit)


class DiscreteLaw:
    """Discrete phase-type law with initial vector `alpha` and sub-stochastic matrix `P`."""

    def __init__(self, alpha, P):
        self.alpha, self.P = np.asarray(alpha, float), np.asarray(P, float)

    def mean(self):
        n = len(self.alpha)
        return self.alpha @ np.linalg.solve(np.eye(n) - self.P, np.ones(n))

    def variance(self):
        n = len(self.alpha)
        once = np.linalg.solve(np.eye(n) - self.P, np.ones(n))
        second_factorial = 2 * self.alpha @ np.linalg.solve(np.eye(n) - self.P, self.P @ once)
        return second_factorial + self.mean() - self.mean() ** 2

    def cdf(self, t):
        return 1 - self.alpha @ np.linalg.matrix_power(self.P, int(t)) @ np.ones(len(self.alpha))

    def pdf(self, t):
        return self.cdf(t) - self.cdf(t - 1)


class ExponentialSum:
    """A law whose survival function is ``sum(c * exp(-r t))``, in the coordinates of inclusion and exclusion."""

    def __init__(self, terms: Iterable[tuple[float, float]]):
        self.terms = list(terms)

    def mean(self):
        return math.fsum(c / r for c, r in self.terms)

    def variance(self):
        return math.fsum(2 * c / r**2 for c, r in self.terms) - self.mean() ** 2

    def cdf(self, t):
        return 1 - math.fsum(c * math.exp(-r * t) for c, r in self.terms)

    def pdf(self, t):
        return math.fsum(c * r * math.exp(-r * t) for c, r in self.terms)


class ErlangMixture:
    """Erlang laws of one rate, `weights[i]` being the chance of i + 1 phases."""

    def __init__(self, weights, rate):
        self.weights, self.rate = np.asarray(weights, float) / np.sum(weights), rate
        self.phases = np.arange(1, len(self.weights) + 1)

    def mean(self):
        return self.weights @ self.phases / self.rate

    def variance(self):
        return self.weights @ (self.phases * (self.phases + 1)) / self.rate**2 - self.mean() ** 2

    def cdf(self, t):
        return self.weights @ scipy.stats.gamma.cdf(t, self.phases, scale=1 / self.rate)

    def pdf(self, t):
        return self.weights @ scipy.stats.gamma.pdf(t, self.phases, scale=1 / self.rate)


def structure(paths: Sequence[Iterable[int]], rates: Sequence[float]) -> ExponentialSum:
    """A system without repair that works while all components of one path work."""
    terms = []
    for size in range(1, len(paths) + 1):
        for chosen in itertools.combinations(paths, size):
            together = set().union(*chosen)
            terms.append(((-1.0) ** (size + 1), sum(rates[i] for i in together)))
    return ExponentialSum(terms)


def explored(start: Hashable, events: Callable) -> tuple[list, np.ndarray]:
    """States and sub-generator of a chain; `events(state)` yields ``(rate, next state)``, None for absorption."""
    states, index, rows = [start], {start: 0}, []
    for state in states:
        row = {}
        for rate, target in events(state):
            if target is not None and target not in index:
                index[target] = len(states)
                states.append(target)
            row[target] = row.get(target, 0.0) + rate
        rows.append(row)
    S = np.zeros((len(states), len(states)))
    for i, row in enumerate(rows):
        for target, rate in row.items():
            S[i, i] -= rate
            if target is not None:
                S[i, index[target]] += rate
    return states, S


def started(n: int, at: int = 0) -> np.ndarray:
    """The initial vector that starts in one state."""
    alpha = np.zeros(n)
    alpha[at] = 1
    return alpha


def kronecker_sum(*generators: np.ndarray) -> np.ndarray:
    """Generator of independent chains side by side."""
    total = np.zeros((1, 1))
    for generator in generators:
        total = np.kron(total, np.eye(len(generator))) + np.kron(np.eye(len(total)), generator)
    return total
