"""Exact truths in rational arithmetic (FLINT): moments of a chain of any order, and their derivatives by θ.

Nothing here uses phasic_models. Every double that goes in is taken for the fraction that it is, weights are evaluated
without rounding, and every result is a fraction. Distributions, which are no fractions, are in `balls`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import flint

ZERO, ONE = flint.fmpq(0), flint.fmpq(1)

#: A weight: a number, ("theta", i), or (operator, left, right) with + - * / and, with an integer on the right, **.
Tree = Any


@contextmanager
def precision(bits: int) -> Iterator[None]:
    before = flint.ctx.prec
    flint.ctx.prec = bits
    try:
        yield
    finally:
        flint.ctx.prec = before


def fraction(x: float) -> flint.fmpq:
    numerator, denominator = float(x).as_integer_ratio()
    return flint.fmpq(numerator, denominator)


def as_float(x: flint.fmpq) -> float:
    """Return the nearest float or nearly so."""
    with precision(100):
        return float(flint.arb(x).mid())


@dataclass(frozen=True)
class Jet:
    """A fraction with its derivatives by θ, and with the sums of the absolute terms of which these were made up."""

    value: flint.fmpq
    slope: tuple[flint.fmpq, ...]
    size: tuple[flint.fmpq, ...]

    def _linear(self, a: flint.fmpq, other: Jet, b: flint.fmpq, value: flint.fmpq) -> Jet:
        slope = tuple(a * x + b * y for x, y in zip(self.slope, other.slope, strict=True))
        size = tuple(abs(a) * x + abs(b) * y for x, y in zip(self.size, other.size, strict=True))
        return Jet(value, slope, size)

    def __add__(self, other: Jet) -> Jet:
        return self._linear(ONE, other, ONE, self.value + other.value)

    def __sub__(self, other: Jet) -> Jet:
        return self._linear(ONE, other, -ONE, self.value - other.value)

    def __mul__(self, other: Jet) -> Jet:
        return self._linear(other.value, other, self.value, self.value * other.value)

    def __truediv__(self, other: Jet) -> Jet:
        quotient = self.value / other.value
        return self._linear(1 / other.value, other, -quotient / other.value, quotient)

    def __pow__(self, exponent: int) -> Jet:
        factor = exponent * self.value ** (exponent - 1)
        return self._linear(factor, self, ZERO, self.value**exponent)


def evaluate(tree: Tree, constant: Callable[[float], Any], parameters: Sequence[Any]) -> Any:
    """Evaluate a weight in whatever arithmetic its leaves bring along."""
    if not isinstance(tree, tuple):
        return constant(tree)
    operator, left, *rest = tree
    if operator == "theta":
        return parameters[left]
    x = evaluate(left, constant, parameters)
    if operator == "**":
        return x ** rest[0]
    y = evaluate(rest[0], constant, parameters)
    return x + y if operator == "+" else x - y if operator == "-" else x * y if operator == "*" else x / y


def jet(tree: Tree, theta: Sequence[float]) -> Jet:
    """Evaluate a weight exactly, with its derivatives."""
    none = (ZERO,) * len(theta)
    unit = [tuple(ONE if i == j else ZERO for j in range(len(theta))) for i in range(len(theta))]
    return evaluate(
        tree,
        lambda x: Jet(fraction(x), none, none),
        [Jet(fraction(t), unit[i], unit[i]) for i, t in enumerate(theta)],
    )


@dataclass(frozen=True)
class Slope:
    """A derivative: its value, and the sum of the absolute terms of a formula that subtracts nothing but those."""

    value: flint.fmpq
    terms: flint.fmpq


def add_up(values: Any) -> flint.fmpq:
    return sum(values, ZERO)


class RationalChain:
    """A chain at θ in fractions.

    Parameters
    ----------
    n
        Number of states that are not absorbing, 0 … n - 1.
    initial
        Probability of each of the states 0 … n - 1.
    edges
        (source, target, weight) with a target of n or more for an absorbing state.
    theta
        Where the weights are evaluated.
    discrete
        Whether weights are probabilities of jumps; what they lack to one is the probability of staying.

    Notes
    -----
    States that cannot reach an absorbing state are *traps*. Where a reward is zero in all of them, its sum has finite
    moments, so `live` holds the other states and the moments are those of the chain that ends where a trap begins.
    """

    def __init__(
        self,
        n: int,
        initial: Sequence[float],
        edges: Sequence[tuple[int, int, Tree]],
        theta: Sequence[float],
        discrete: bool = False,
    ) -> None:
        self.discrete, self.p = discrete, len(theta)
        weights = [(u, v, jet(tree, theta)) for u, v, tree in edges]
        self.live = self._live(n, weights)
        place = {s: i for i, s in enumerate(self.live)}
        self.n = len(self.live)
        self.alpha = [fraction(initial[s]) for s in self.live]
        #: Probability of starting in a trap, which holds for ever; the rest of what `alpha` lacks is absorbed at once.
        self.start_trapped = add_up(fraction(initial[s]) for s in range(n) if s not in place)
        self.A = flint.fmpq_mat(self.n, self.n)
        self.exit, self.trap = [ZERO] * self.n, [ZERO] * self.n
        #: (source, target or None, weight) among the states that are alive.
        self.edges: list[tuple[int, int | None, Jet]] = []
        for u, v, w in weights:
            if u not in place or w.value == 0:
                continue
            i = place[u]
            self.A[i, i] += w.value
            if v in place:
                self.A[i, place[v]] -= w.value
            elif v >= n:
                self.exit[i] += w.value
            else:
                self.trap[i] += w.value
            self.edges.append((i, place.get(v), w))
        self.N = self.A.inv() if self.n else self.A
        self.visits = [add_up(self.alpha[i] * self.N[i, j] for i in range(self.n)) for j in range(self.n)]

    @staticmethod
    def _live(n: int, weights: Sequence[tuple[int, int, Jet]]) -> list[int]:
        found = {v for _, v, _ in weights if v >= n}
        while True:
            more = {u for u, v, w in weights if v in found and w.value != 0} - found
            if not more:
                return sorted(s for s in found if s < n)
            found |= more

    @property
    def certain(self) -> bool:
        """Whether absorption is certain from where the chain starts."""
        reached = [v != 0 for v in self.visits]
        return not self.start_trapped and not any(t for t, r in zip(self.trap, reached, strict=True) if r)

    def solve(self, right: Sequence[flint.fmpq]) -> list[flint.fmpq]:
        return [add_up(self.N[i, j] * right[j] for j in range(self.n)) for i in range(self.n)]

    def start(self, x: Sequence[flint.fmpq]) -> flint.fmpq:
        return add_up(a * b for a, b in zip(self.alpha, x, strict=True))

    def ahead(self, x: Sequence[flint.fmpq]) -> list[flint.fmpq]:
        """Return P x = x - A x, for probabilities."""
        return [x[i] - add_up(self.A[i, j] * x[j] for j in range(self.n)) for i in range(self.n)]

    # -- moments ------------------------------------------------------------------------------------------------------

    def vertex_moments(self, k: int, r: Sequence[flint.fmpq]) -> list[list[flint.fmpq]]:
        """Return x_0 … x_k: the moments of the sum of rewards from each state on."""
        found = [[ONE] * self.n]
        for j in range(1, k + 1):
            if not self.discrete:
                right = [j * a * b for a, b in zip(r, found[-1], strict=True)]
            else:
                right = [a**j for a in r]
                for i in range(1, j):
                    factor = math.comb(j, i)
                    right = [
                        b + factor * a ** (j - i) * h for a, b, h in zip(r, right, self.ahead(found[i]), strict=True)
                    ]
            found.append(self.solve(right))
        return found

    def moments(self, k: int, r: Sequence[flint.fmpq]) -> list[flint.fmpq]:
        return [self.start(x) for x in self.vertex_moments(k, r)[1:]]

    def joint(self, rewards: Sequence[Sequence[flint.fmpq]]) -> flint.fmpq:
        """Return E[Y_1 … Y_m] of the sums of m rewards."""
        m = len(rewards)
        x: dict[tuple[int, ...], list[flint.fmpq]] = {(): [ONE] * self.n}
        for size in range(1, m + 1):
            for chosen in combinations(range(m), size):
                right = [ZERO] * self.n
                for kept in (size - 1,) if not self.discrete else range(size):
                    for rest in combinations(chosen, kept):
                        # One visit earns for those that are not in `rest`; these are earned from the next state on.
                        now = [
                            math.prod((rewards[c][i] for c in chosen if c not in rest), start=ONE)
                            for i in range(self.n)
                        ]
                        later = x[rest] if not self.discrete or not rest else self.ahead(x[rest])
                        right = [a + b * c for a, b, c in zip(right, now, later, strict=True)]
                x[chosen] = self.solve(right)
        return self.start(x[tuple(range(m))])

    def covariance(self, r: Sequence[flint.fmpq], s: Sequence[flint.fmpq]) -> flint.fmpq:
        return self.joint([r, s]) - self.joint([r]) * self.joint([s])

    # -- derivatives --------------------------------------------------------------------------------------------------

    def gradients(self, k: int, r: Sequence[flint.fmpq]) -> list[list[Slope]]:
        """Return the derivatives of the first k moments by each parameter.

        Let one more visit's edge u → v weigh dw more. Those who take it have earned W with this visit, and go on from v
        instead of u: the i-th moment of what follows is x_i(v) for x_i(u). With c_i(u) the weight of that difference,

            d moment_k / dw = Σ_i c_i(u) (x_i(v) - x_i(u)).

        To pass from v to the next visit to u, or to absorption, earns something positive, and with probability b there
        is no next visit, which takes b x_i(u) off: so the absolute terms of the difference, of which none is itself a
        difference, add up to (x_i(v) - x_i(u) + b x_i(u)) + b x_i(u).
        """
        x = self.vertex_moments(k, r)
        weight = self._weights_of_visits(k, r)
        out = []
        for order in range(1, k + 1):
            values, terms = [ZERO] * self.p, [ZERO] * self.p
            for u, v, w in self.edges:
                if not any(w.size):
                    continue
                no_return = ONE if v is None else 1 - self.N[v, u] / self.N[u, u]
                difference = total = ZERO
                for i in range(1, order + 1):
                    c = weight[order, i][u]
                    after = ZERO if v is None else x[i][v]
                    taken = no_return * x[i][u]
                    difference += c * (after - x[i][u])
                    total += c * (abs(after - x[i][u] + taken) + taken)
                for parameter in range(self.p):
                    values[parameter] += w.slope[parameter] * difference
                    terms[parameter] += w.size[parameter] * total
            out.append([Slope(a, b) for a, b in zip(values, terms, strict=True)])
        return out

    def _weights_of_visits(self, k: int, r: Sequence[flint.fmpq]) -> dict[tuple[int, int], list[flint.fmpq]]:
        """Return c_i(u) for the moment of order j, under (j, i): see `gradients`."""
        # earned[m][u]: the sum over the visits to u of W^m, or in continuous time the integral of W^m over the time in u.
        earned: list[list[flint.fmpq]] = []
        before: list[list[flint.fmpq]] = []
        for m in range(k):
            if not self.discrete:
                row = self.alpha if m == 0 else [m * a * b for a, b in zip(earned[-1], r, strict=True)]
                earned.append(self._from_row(row))
                continue
            row = list(self.alpha) if m == 0 else [ZERO] * self.n
            if m:
                moved = [
                    add_up(math.comb(m, j) * before[j][u] * r[u] ** (m - j) for j in range(m)) for u in range(self.n)
                ]
                row = [moved[v] - add_up(moved[u] * self.A[u, v] for u in range(self.n)) for v in range(self.n)]
            before.append(self._from_row(row))
            earned.append(
                [add_up(math.comb(m, j) * before[j][u] * r[u] ** (m - j) for j in range(m + 1)) for u in range(self.n)]
            )
        return {
            (order, i): [math.comb(order, i) * e for e in earned[order - i]]
            for order in range(1, k + 1)
            for i in range(1, order + 1)
        }

    def _from_row(self, row: Sequence[flint.fmpq]) -> list[flint.fmpq]:
        return [add_up(row[i] * self.N[i, j] for i in range(self.n)) for j in range(self.n)]

    def slopes(self, parameter: int) -> tuple[flint.fmpq_mat, list[flint.fmpq]]:
        """Return dA/dθ, and the derivatives of the rates (or probabilities) of absorption."""
        return self._matrix(lambda w: w.slope[parameter], -1)

    def sizes(self, parameter: int) -> tuple[flint.fmpq_mat, list[flint.fmpq]]:
        """Return the sums of the absolute terms of `slopes`."""
        return self._matrix(lambda w: w.size[parameter], 1)

    def _matrix(self, part: Callable[[Jet], flint.fmpq], sign: int) -> tuple[flint.fmpq_mat, list[flint.fmpq]]:
        matrix, exits = flint.fmpq_mat(self.n, self.n), [ZERO] * self.n
        for u, v, w in self.edges:
            matrix[u, u] += part(w)
            if v is None:
                exits[u] += part(w)
            else:
                matrix[u, v] += sign * part(w)
        return matrix, exits

    def gradients_of_system(self, k: int, r: Sequence[flint.fmpq]) -> list[list[flint.fmpq]]:
        """Return the same derivatives as `gradients` from the differentiated systems; both must be equal exactly."""
        x = self.vertex_moments(k, r)
        out: list[list[flint.fmpq]] = [[] for _ in range(k)]
        for parameter in range(self.p):
            matrix, _ = self.slopes(parameter)

            def times(column: Sequence[flint.fmpq], matrix: flint.fmpq_mat = matrix) -> list[flint.fmpq]:
                return [add_up(matrix[i, j] * column[j] for j in range(self.n)) for i in range(self.n)]

            dx = [[ZERO] * self.n]
            for j in range(1, k + 1):
                right = [-a for a in times(x[j])]
                if not self.discrete:
                    right = [b + j * a * d for a, b, d in zip(r, right, dx[-1], strict=True)]
                else:
                    for i in range(1, j):
                        moved = [a - b for a, b in zip(self.ahead(dx[i]), times(x[i]), strict=True)]
                        right = [
                            b + math.comb(j, i) * a ** (j - i) * h for a, b, h in zip(r, right, moved, strict=True)
                        ]
                dx.append(self.solve(right))
                out[j - 1].append(self.start(dx[j]))
        return out

    # -- transforms ---------------------------------------------------------------------------------------------------

    def laplace(self, s: float, r: Sequence[flint.fmpq], ends: Sequence[flint.fmpq], at_once: flint.fmpq) -> Any:
        """Return E[exp(-s Y)], a fraction; for a discrete chain a ball, since exp(-s) is no fraction.

        `ends` holds the rates of what counts as the end of Y, `at_once` the probability that it is over from the start.
        """
        if not self.discrete:
            matrix = flint.fmpq_mat(self.A)
            for i in range(self.n):
                matrix[i, i] += fraction(s) * r[i]
            x = matrix.solve(flint.fmpq_mat(self.n, 1, list(ends))) if self.n else []
            return at_once + add_up(a * x[i, 0] for i, a in enumerate(self.alpha))
        # Y = r + Y' gives x = z^r (P x' + a), so (z^-r - P) x = a.
        z = [(flint.arb(fraction(s) * a)).exp() for a in r]
        left = flint.arb_mat(
            [
                [(z[i] if i == j else 0) - flint.arb(ONE * (i == j) - self.A[i, j]) for j in range(self.n)]
                for i in range(self.n)
            ]
        )
        x = left.solve(flint.arb_mat(self.n, 1, [flint.arb(a) for a in ends]))
        return sum((flint.arb(a) * x[i, 0] for i, a in enumerate(self.alpha)), flint.arb(at_once))
