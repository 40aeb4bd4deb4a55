"""Moments in exact fractions and densities in ball arithmetic (FLINT), from the description of a chain.

Nothing here goes through phasic_models: dense matrices are made from the transitions as they were listed, with every
float taken for the fraction that it is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import flint
from rational import as_float, fraction, precision
from strategies import Chain


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

    def rewarded(self, r: Sequence[flint.fmpq]) -> ExactChain:
        """Return the continuous chain whose time until absorption is the sum of rewards; see `absorbed_at_once`."""
        up = [i for i in range(self.n) if r[i] != 0]
        zero = [i for i in range(self.n) if r[i] == 0]

        def part(rows: Sequence[int], columns: Sequence[int]) -> flint.fmpq_mat:
            return flint.fmpq_mat(len(rows), len(columns), [self.A[i, j] for i in rows for j in columns])

        other = copy.copy(self)
        other.n = len(up)
        other.A, start = part(up, up), flint.fmpq_mat(1, len(up), [self.alpha[i] for i in up])
        if zero and up:
            through = part(zero, zero).solve(part(zero, up))
            other.A -= part(up, zero) * through
            start -= flint.fmpq_mat(1, len(zero), [self.alpha[i] for i in zero]) * through
        other.A = flint.fmpq_mat(
            other.n, other.n, [other.A[i, j] / r[up[i]] for i in range(other.n) for j in range(other.n)]
        )
        other.alpha = [start[0, i] for i in range(other.n)]
        return other

    def absorbed_at_once(self) -> flint.fmpq:
        return 1 - sum(self.alpha, flint.fmpq(0))

    def leaving(self) -> list[flint.fmpq]:
        """Return the rate (or probability) of absorption of each transient state."""
        return [sum((self.A[i, j] for j in range(self.n)), flint.fmpq(0)) for i in range(self.n)]

    def laplace(self, s: float, r: Sequence[flint.fmpq]) -> float:
        """Return E[exp(-s Y)] of the sum Y of rewards."""
        if not self.n:
            return 1.0
        with precision(400):
            if self.chain.discrete:
                # Y = r + Y' with x = z^r (P x' + a), so (1 - z^r P) x = z^r a.
                z = [(-flint.arb(fraction(s) * a)).exp() for a in r]
                left = [
                    [(i == j) - z[i] * flint.arb((i == j) - self.A[i, j]) for j in range(self.n)] for i in range(self.n)
                ]
                right = [z[i] * flint.arb(a) for i, a in enumerate(self.leaving())]
            else:
                left = [
                    [flint.arb(self.A[i, j] + (fraction(s) * r[i] if i == j else 0)) for j in range(self.n)]
                    for i in range(self.n)
                ]
                right = [flint.arb(a) for a in self.leaving()]
            x = flint.arb_mat(left).solve(flint.arb_mat(self.n, 1, right))
            value = sum((flint.arb(a) * x[i, 0] for i, a in enumerate(self.alpha)), flint.arb(self.absorbed_at_once()))
            return float(value.mid())

    def distribution(self, time: float) -> tuple[float, float, float]:
        """Return pdf, cdf and sf of a continuous chain, or pmf, cdf and sf of a discrete one, right to the last bit."""
        if self.chain.discrete:
            return self._discrete_distribution(int(time))
        bits = 192
        while True:
            with precision(bits):
                row = self._row_at(self.A, self.alpha, time)
                pdf = sum((p * flint.arb(q) for p, q in zip(row, self.leaving(), strict=True)), flint.arb(0))
                sf = sum(row, flint.arb(0))
                values = [pdf, 1 - sf, sf]
                if all(v.rel_accuracy_bits() > 60 or abs(v) < flint.arb("1e-300") for v in values):
                    return tuple(float(v.mid()) for v in values)
            bits *= 2

    def density_gradient(self, time: float) -> list[float]:
        """Return the derivatives of the density by θ: those of exp(-A t) stand beside it in a block matrix."""
        found = []
        for parameter in range(self.chain.n_params):
            slope, n = self.derivative(parameter), self.n
            blocks = flint.fmpq_mat(2 * n, 2 * n)
            for i in range(n):
                for j in range(n):
                    blocks[i, j] = blocks[n + i, n + j] = self.A[i, j]
                    blocks[i, n + j] = slope[i, j]
            bits = 256
            while True:
                with precision(bits):
                    row = self._row_at(blocks, [*self.alpha, *[flint.fmpq(0)] * n], time)
                    leave = [flint.arb(a) for a in self.leaving()]
                    more = [flint.arb(sum((slope[i, j] for j in range(n)), flint.fmpq(0))) for i in range(n)]
                    value = sum((row[i] * more[i] + row[n + i] * leave[i] for i in range(n)), flint.arb(0))
                    if value.rel_accuracy_bits() > 60 or abs(value) < flint.arb("1e-200"):
                        found.append(float(value.mid()))
                        break
                bits *= 2
        return found

    @staticmethod
    def _row_at(A: flint.fmpq_mat, alpha: Sequence[flint.fmpq], time: float) -> list[flint.arb]:
        """Return alpha exp(-A time)."""
        n = len(alpha)
        if not n:
            return []
        fastest = max(as_float(A[i, i]) for i in range(n))
        halvings = max(0, math.ceil(math.log2(fastest * time + 1.0)))
        part = fraction(time) / 2**halvings
        power = flint.arb_mat([[flint.arb(-A[i, j] * part) for j in range(n)] for i in range(n)]).exp()
        # Squared by hand: all entries are positive, so a squaring costs one bit, where exp() of a large matrix would
        # allow for cancellation.
        for _ in range(halvings):
            power = power * power
        return [sum((flint.arb(alpha[i]) * power[i, j] for i in range(n)), flint.arb(0)) for j in range(n)]

    def rewarded_probabilities(self, r: Sequence[int], steps: int) -> list[float]:
        """Return P(Y = y), y = 0 … steps, of a discrete chain with whole rewards."""
        up = [i for i in range(self.n) if r[i]]
        zero = [i for i in range(self.n) if not r[i]]
        leave = self.leaving()
        # Jumps from one rewarded state to the next, and the ways out, with what happens in between summed up.
        jump = {i: {j: (i == j) - self.A[i, j] for j in up} for i in range(self.n)}
        out = dict(enumerate(leave))
        if zero:
            inner = flint.fmpq_mat(len(zero), len(zero), [self.A[i, j] for i in zero for j in zero])
            right = [[*(jump[i][j] for j in up), leave[i]] for i in zero]
            through = inner.solve(flint.fmpq_mat(len(zero), len(up) + 1, [x for row in right for x in row]))
            for k, i in enumerate(zero):
                jump[i] = {j: through[k, c] for c, j in enumerate(up)}
                out[i] = through[k, len(up)]
            for i in up:
                for k in zero:
                    for j in up:
                        jump[i][j] += -self.A[i, k] * jump[k][j]
                    out[i] += -self.A[i, k] * out[k]
        with precision(200):
            # mass[y][i]: to be in the rewarded state i with y collected before it.
            mass = [dict.fromkeys(up, flint.arb(0)) for _ in range(steps + 1)]
            pmf = [flint.arb(0) for _ in range(steps + 1)]
            pmf[0] += flint.arb(self.absorbed_at_once() + sum((self.alpha[i] * out[i] for i in zero), flint.fmpq(0)))
            for i in up:
                mass[0][i] += flint.arb(self.alpha[i] + sum((self.alpha[k] * jump[k][i] for k in zero), flint.fmpq(0)))
            for y in range(steps + 1):
                for i in up:
                    if y + r[i] <= steps:
                        pmf[y + r[i]] += mass[y][i] * flint.arb(out[i])
                        for j in up:
                            mass[y + r[i]][j] += mass[y][i] * flint.arb(jump[i][j])
            return [float(p.mid()) for p in pmf]

    def _discrete_distribution(self, steps: int) -> tuple[float, float, float]:
        with precision(200):
            leave = [flint.arb(a) for a in self.leaving()]
            matrix = [[flint.arb((i == j) - self.A[i, j]) for j in range(self.n)] for i in range(self.n)]
            row = [flint.arb(a) for a in self.alpha]
            # Subtracted as fractions: a ball around zero would not tell zero from a small number.
            pmf = cdf = flint.arb(self.absorbed_at_once())
            for _ in range(steps):
                pmf = sum((p * q for p, q in zip(row, leave, strict=True)), flint.arb(0))
                cdf += pmf
                row = [sum((row[i] * matrix[i][j] for i in range(self.n)), flint.arb(0)) for j in range(self.n)]
            return float(pmf.mid()), float(cdf.mid()), float(sum(row, flint.arb(0)).mid())


def relative_error(value: float, truth: flint.fmpq) -> float:
    """Return |value - truth| / |truth|, computed exactly."""
    if truth == 0:
        return 0.0 if value == 0.0 else math.inf
    return as_float(abs((fraction(value) - truth) / truth))
