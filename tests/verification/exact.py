"""Moments in exact fractions and densities in ball arithmetic (FLINT), from the description of a chain.

Nothing here goes through phasic_models: dense matrices are made from the transitions as they were listed, with every
float taken for the fraction that it is.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import flint
from strategies import Chain


def fraction(x: float) -> flint.fmpq:
    numerator, denominator = float(x).as_integer_ratio()
    return flint.fmpq(numerator, denominator)


class ExactChain:
    """The matrix A of a chain at θ: A = -T for rates, A = I - P for probabilities, over the transient states."""

    def __init__(self, chain: Chain, theta: Sequence[float]) -> None:
        self.chain = chain
        self.theta = [fraction(t) for t in theta]
        leaving = {m.source for m in chain.moves if m.source != m.target}
        self.transient = [s for s in chain.states if s in leaving]
        self.place = {s: i for i, s in enumerate(self.transient)}
        self.n = len(self.transient)
        total = sum((fraction(p) for _, p in chain.initial), flint.fmpq(0))
        self.alpha = [flint.fmpq(0)] * self.n
        for s, p in chain.initial:
            if s in self.place:
                self.alpha[self.place[s]] += fraction(p) / total
        self.A = self._matrix(lambda m: fraction(m.base) + sum(self._terms(m), flint.fmpq(0)))

    def _terms(self, move) -> list[flint.fmpq]:
        return [fraction(c) * t for c, t in zip(move.coefficients, self.theta, strict=True)]

    def _matrix(self, weight) -> flint.fmpq_mat:
        entries = [[flint.fmpq(0)] * self.n for _ in range(self.n)]
        for m in self.chain.moves:
            if m.source == m.target:
                continue
            i, w = self.place[m.source], weight(m)
            entries[i][i] += w
            if m.target in self.place:
                entries[i][self.place[m.target]] -= w
        return flint.fmpq_mat(entries)

    def derivative(self, parameter: int) -> flint.fmpq_mat:
        """Return dA/dθ_parameter."""
        return self._matrix(lambda m: fraction(m.coefficients[parameter]))

    def rewards(self, by_state: dict) -> list[flint.fmpq]:
        return [fraction(by_state[s]) for s in self.transient]

    def solve(self, right: Sequence[flint.fmpq]) -> list[flint.fmpq]:
        if not self.n:
            return []
        x = self.A.solve(flint.fmpq_mat(self.n, 1, list(right)))
        return [x[i, 0] for i in range(self.n)]

    def start(self, x: Sequence[flint.fmpq]) -> flint.fmpq:
        return sum((a * b for a, b in zip(self.alpha, x, strict=True)), flint.fmpq(0))

    def step(self, x: Sequence[flint.fmpq]) -> list[flint.fmpq]:
        """Return P x = x - A x, for probabilities."""
        return [x[i] - sum((self.A[i, j] * x[j] for j in range(self.n)), flint.fmpq(0)) for i in range(self.n)]

    def right_sides(self, k: int, r: Sequence[flint.fmpq]) -> Iterator[list[flint.fmpq]]:
        """Yield the solutions x_1, …, x_k; their values at the start are the raw moments."""
        found: list[list[flint.fmpq]] = []
        for j in range(1, k + 1):
            if not self.chain.discrete:
                last = found[-1] if found else [flint.fmpq(1)] * self.n
                right = [j * a * b for a, b in zip(r, last, strict=True)]
            else:
                right = [a**j for a in r]
                for i, earlier in enumerate(found, 1):
                    ahead = self.step(earlier)
                    right = [b + math.comb(j, i) * a ** (j - i) * h for a, b, h in zip(r, right, ahead, strict=True)]
            found.append(self.solve(right))
            yield found[-1]

    def moments(self, k: int, r: Sequence[flint.fmpq]) -> list[flint.fmpq]:
        return [self.start(x) for x in self.right_sides(k, r)]

    def moment_gradients(self, k: int, r: Sequence[flint.fmpq]) -> list[list[flint.fmpq]]:
        """Return d moment_j / dθ_i of a continuous chain: differentiate A x_j = j R x_(j-1)."""
        gradients = [[] for _ in range(k)]
        for parameter in range(self.chain.n_params):
            slope = self.derivative(parameter)
            before = [flint.fmpq(0)] * self.n
            for j, x in enumerate(self.right_sides(k, r), 1):
                right = [
                    j * r[i] * before[i] - sum((slope[i, c] * x[c] for c in range(self.n)), flint.fmpq(0))
                    for i in range(self.n)
                ]
                before = self.solve(right)
                gradients[j - 1].append(self.start(before))
        return gradients

    def joint(self, r: Sequence[flint.fmpq], s: Sequence[flint.fmpq]) -> flint.fmpq:
        """Return E[Y Z] of the sums Y and Z of two rewards."""
        x, y = self.solve(r), self.solve(s)
        if self.chain.discrete:
            x_ahead, y_ahead = self.step(x), self.step(y)
            right = [a * b + a * v + b * u for a, b, u, v in zip(r, s, x_ahead, y_ahead, strict=True)]
        else:
            right = [a * v + b * u for a, b, u, v in zip(r, s, x, y, strict=True)]
        return self.start(self.solve(right))

    def covariance(self, r: Sequence[flint.fmpq], s: Sequence[flint.fmpq]) -> flint.fmpq:
        return self.joint(r, s) - self.start(self.solve(r)) * self.start(self.solve(s))

    def distribution(self, time: float) -> tuple[float, float, float]:
        """Return pdf, cdf and sf of a continuous chain, or pmf, cdf and sf of a discrete one, right to the last bit."""
        if self.chain.discrete:
            return self._discrete_distribution(int(time))
        fastest = max((as_float(self.A[i, i]) for i in range(self.n)), default=0.0)
        halvings = max(0, math.ceil(math.log2(fastest * time + 1.0)))
        bits = 192
        while True:
            with precision(bits):
                part = fraction(time) / 2**halvings
                power = flint.arb_mat(
                    [[flint.arb(-self.A[i, j] * part) for j in range(self.n)] for i in range(self.n)]
                ).exp()
                # Squared by hand: all entries are positive, so a squaring costs one bit, where exp() of a large matrix
                # would allow for cancellation.
                for _ in range(halvings):
                    power = power * power
                row = [
                    sum((flint.arb(self.alpha[i]) * power[i, j] for i in range(self.n)), flint.arb(0))
                    for j in range(self.n)
                ]
                leave = [sum((self.A[i, j] for j in range(self.n)), flint.fmpq(0)) for i in range(self.n)]
                pdf = sum((p * flint.arb(q) for p, q in zip(row, leave, strict=True)), flint.arb(0))
                sf = sum(row, flint.arb(0))
                values = [pdf, 1 - sf, sf]
                if all(v.rel_accuracy_bits() > 60 or abs(v) < flint.arb("1e-300") for v in values):
                    return tuple(float(v.mid()) for v in values)
            bits *= 2

    def _discrete_distribution(self, steps: int) -> tuple[float, float, float]:
        with precision(200):
            leave = [flint.arb(sum((self.A[i, j] for j in range(self.n)), flint.fmpq(0))) for i in range(self.n)]
            matrix = [[flint.arb((i == j) - self.A[i, j]) for j in range(self.n)] for i in range(self.n)]
            row = [flint.arb(a) for a in self.alpha]
            # Subtracted as fractions: a ball around zero would not tell zero from a small number.
            pmf = cdf = flint.arb(1 - sum(self.alpha, flint.fmpq(0)))
            for _ in range(steps):
                pmf = sum((p * q for p, q in zip(row, leave, strict=True)), flint.arb(0))
                cdf += pmf
                row = [sum((row[i] * matrix[i][j] for i in range(self.n)), flint.arb(0)) for j in range(self.n)]
            return float(pmf.mid()), float(cdf.mid()), float(sum(row, flint.arb(0)).mid())


@contextmanager
def precision(bits: int) -> Iterator[None]:
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def relative_error(value: float, truth: flint.fmpq) -> float:
    """Return |value - truth| / |truth|, computed exactly."""
    if truth == 0:
        return 0.0 if value == 0.0 else math.inf
    return as_float(abs((fraction(value) - truth) / truth))


def as_float(x: flint.fmpq) -> float:
    """Return the nearest float or nearly so."""
    with precision(100):
        return float(flint.arb(x).mid())
