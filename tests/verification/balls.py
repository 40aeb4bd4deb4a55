"""Distributions of a chain in ball arithmetic (FLINT arb), with derivatives by θ; also over two epochs.

Nothing here uses phasic_models. All matrices have entries that are nonnegative, and are only added and multiplied, so
every ball keeps its relative accuracy, however far apart the rates are; derivatives have both signs and are accompanied by
the sums of their absolute terms, which keep theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import flint
from rational import ONE, ZERO, RationalChain, add_up, fraction, precision

#: Bits that are left after the squarings have taken theirs.
BITS = 1024
_SCALE = 28


@dataclass(frozen=True)
class Sensitive:
    """A matrix of nonnegative balls, its derivatives by each parameter, and the sums of their absolute terms."""

    value: flint.arb_mat
    slopes: tuple[flint.arb_mat, ...] = ()
    terms: tuple[flint.arb_mat, ...] = ()

    def __add__(self, other: Sensitive) -> Sensitive:
        return Sensitive(
            self.value + other.value,
            tuple(a + b for a, b in zip(self.slopes, other.slopes, strict=True)),
            tuple(a + b for a, b in zip(self.terms, other.terms, strict=True)),
        )

    def __mul__(self, other: Sensitive) -> Sensitive:
        return Sensitive(
            self.value * other.value,
            tuple(a * other.value + self.value * b for a, b in zip(self.slopes, other.slopes, strict=True)),
            tuple(a * other.value + self.value * b for a, b in zip(self.terms, other.terms, strict=True)),
        )

    def scaled(self, factor: flint.arb) -> Sensitive:
        return Sensitive(
            self.value * factor, tuple(a * factor for a in self.slopes), tuple(a * factor for a in self.terms)
        )

    def power(self, exponent: int) -> Sensitive:
        result, factor = None, self
        while True:
            if exponent & 1:
                result = factor if result is None else result * factor
            exponent >>= 1
            if not exponent:
                return result if result is not None else self._identity()
            factor = factor * factor

    def _identity(self) -> Sensitive:
        n = self.value.nrows()
        nothing = flint.arb_mat(n, n)
        return Sensitive(identity(n), (nothing,) * len(self.slopes), (nothing,) * len(self.terms))


def identity(n: int) -> flint.arb_mat:
    return flint.arb_mat([[flint.arb(i == j) for j in range(n)] for i in range(n)])


def exponential(m: Sensitive, norm: flint.fmpq) -> Sensitive:
    """Return exp(M) for nonnegative M with row sums of at most `norm` <= 2^-28, by its Taylor series.

    A walk of j steps from a to b is a path of l < 2n steps with closed walks in between, so the entries of M^j are at most
    Σ_paths w(path) binomial(j, l) norm^(j - l), while those of the series are at least Σ_paths w(path) / l!. What is cut
    off beyond N steps is therefore, relative to each entry, at most 2 norm^(N + 1 - l) / (N + 1 - l)!, which goes into the
    radius; with one step along a derivative, l < 2n as well, relative to the sum of absolute terms.
    """
    n = m.value.nrows()
    longest = 2 * n
    term = total = m._identity()
    count = 0
    while True:
        count += 1
        term = (term * m).scaled(1 / flint.arb(count))
        total = total + term
        left = count + 1 - longest
        if left > 0 and _SCALE * left + math.lgamma(left + 1) / math.log(2) > flint.ctx.prec + 8:
            break
    left = count + 1 - longest
    cut = (2 * flint.arb(norm) ** left / flint.arb(left).fac()).abs_upper()
    around_one, around_zero = flint.arb(1, cut), flint.arb(0, cut)
    return Sensitive(
        total.value * around_one,
        tuple(a + b * around_zero for a, b in zip(total.slopes, total.terms, strict=True)),
        tuple(b * around_one for b in total.terms),
    )


def balls(matrix: flint.fmpq_mat, factor: flint.fmpq = ONE) -> flint.arb_mat:
    rows, columns = matrix.nrows(), matrix.ncols()
    return flint.arb_mat(
        [[flint.arb(matrix[i, j] * factor) for j in range(columns)] for i in range(rows)] if rows else [[]]
    )


def over(
    duration: float,
    generator: flint.fmpq_mat,
    discrete: bool,
    slopes: Sequence[flint.fmpq_mat] = (),
    sizes: Sequence[flint.fmpq_mat] = (),
) -> Sensitive:
    """Return what a generator comes to in a time, or a matrix of one step in a number of steps.

    `slopes` are its derivatives, `sizes` the sums of their absolute terms.
    """
    if discrete:
        with precision(BITS + 2 * max(1, int(duration)).bit_length()):
            step = Sensitive(balls(generator), tuple(map(balls, slopes)), tuple(map(balls, sizes)))
            return step.power(int(duration))
    n = generator.nrows()
    fastest = max(-generator[i, i] for i in range(n))
    # Row sums of the nonnegative matrix G + qI; more than 2q where rewards stand beside the diagonal.
    rows = [add_up(generator[i, j] + (fastest if i == j else ZERO) for j in range(n)) for i in range(n)]
    norm = max(rows) * fraction(duration)
    ceiling = int(norm.ceil()) if norm else 0
    halvings = ceiling.bit_length() + _SCALE
    small = fraction(duration) / flint.fmpq(2**halvings)
    nonnegative = flint.fmpq_mat(generator)
    for i in range(n):
        nonnegative[i, i] += fastest
    with precision(BITS + 2 * halvings):
        m = Sensitive(
            balls(nonnegative, small), tuple(balls(s, small) for s in slopes), tuple(balls(s, small) for s in sizes)
        )
        step = exponential(m, max(rows) * small).scaled((-flint.arb(fastest * small)).exp())
        for _ in range(halvings):
            step = step * step
        return step


class Law:
    """Distribution of the time until a chain is absorbed; what ends in a trap is never absorbed.

    Parameters
    ----------
    A
        The matrix of the chain: -T for rates, I - P for probabilities.
    alpha, exits, traps
        Initial probabilities, and rates (or probabilities) of absorption and of being trapped, by state.
    at_once, trapped
        Probabilities of being absorbed and of being trapped from the start.
    slopes, sizes
        The derivatives of A and of `exits` by each parameter, and the sums of their absolute terms.
    """

    def __init__(
        self,
        A: flint.fmpq_mat,
        alpha: Sequence[flint.fmpq],
        exits: Sequence[flint.fmpq],
        traps: Sequence[flint.fmpq],
        at_once: flint.fmpq,
        trapped: flint.fmpq,
        discrete: bool,
        slopes: Sequence[tuple[flint.fmpq_mat, list[flint.fmpq]]] = (),
        sizes: Sequence[tuple[flint.fmpq_mat, list[flint.fmpq]]] = (),
    ) -> None:
        self.n, self.discrete = len(alpha), discrete
        self.row = [*alpha, at_once, trapped]
        self.exits, self.at_once = exits, at_once
        self.exit_slopes, self.exit_sizes = [s for _, s in slopes], [s for _, s in sizes]
        self.matrix = self._extended(A, exits, traps, diagonal=ONE if discrete else ZERO)
        nothing = [ZERO] * self.n
        self.slopes = [self._extended(S, e, nothing, ZERO) for S, e in slopes]
        # Of the absolute terms none is taken off.
        self.sizes = [self._extended(-1 * S, e, nothing, ZERO) for S, e in sizes]

    def _extended(
        self, A: flint.fmpq_mat, exits: Sequence[flint.fmpq], traps: Sequence[flint.fmpq], diagonal: flint.fmpq
    ) -> flint.fmpq_mat:
        n = self.n
        matrix = flint.fmpq_mat(n + 2, n + 2)
        for i in range(n):
            for j in range(n):
                matrix[i, j] = (diagonal if i == j else ZERO) - A[i, j]
            matrix[i, n], matrix[i, n + 1] = exits[i], traps[i]
        matrix[n, n] = matrix[n + 1, n + 1] = diagonal
        return matrix

    def after(self, time: float, row: Sequence[flint.arb] | None = None) -> list[flint.arb]:
        """Return the masses after a time, those absorbed and trapped last; from `row` or from the start."""
        transition = over(time, self.matrix, self.discrete).value
        with precision(2 * BITS):
            masses = row if row is not None else [flint.arb(a) for a in self.row]
            return [sum((a * transition[i, j] for i, a in enumerate(masses)), flint.arb(0)) for j in range(self.n + 2)]

    def density(self, row: Sequence[flint.arb]) -> flint.arb:
        with precision(2 * BITS):
            return sum((a * flint.arb(b) for a, b in zip(row, self.exits, strict=False)), flint.arb(0))

    def at(self, time: float, row: Sequence[flint.arb] | None = None) -> dict[str, flint.arb]:
        """Return pdf (or pmf), cdf and sf."""
        later = self.after(time, row)
        if not self.discrete:
            pdf = self.density(later)
        elif time == 0:
            pdf = later[self.n]
        else:
            pdf = self.density(self.after(time - 1, row))
        with precision(2 * BITS):
            return {"pdf": pdf, "cdf": later[self.n], "sf": sum(later[: self.n], later[self.n + 1])}

    def density_gradient(self, time: float) -> tuple[flint.arb, list[flint.arb], list[flint.arb]]:
        """Return the density, its derivatives and the sums of the absolute terms of these."""
        steps = time - 1 if self.discrete else time
        if steps < 0:
            nothing = [flint.arb(0)] * len(self.slopes)
            return flint.arb(self.at_once), nothing, nothing
        step = over(steps, self.matrix, self.discrete, self.slopes, self.sizes)
        with precision(2 * BITS):
            start = flint.arb_mat(1, self.n + 2, [flint.arb(a) for a in self.row])
            ends = [flint.arb(a) for a in self.exits]

            def reach(matrix: flint.arb_mat, exits: Sequence[flint.arb]) -> flint.arb:
                row = start * matrix
                return sum((row[0, i] * exits[i] for i in range(self.n)), flint.arb(0))

            found, terms = [], []
            for slope, exits in zip(step.slopes, self.exit_slopes, strict=True):
                found.append(reach(slope, ends) + reach(step.value, [flint.arb(e) for e in exits]))
            for size, exits in zip(step.terms, self.exit_sizes, strict=True):
                terms.append(reach(size, ends) + reach(step.value, [flint.arb(e) for e in exits]))
            return reach(step.value, ends), found, terms


def law_of_time(chain: RationalChain, gradient: bool = False) -> Law:
    """Return the law of the time until absorption."""
    at_once = 1 - add_up(chain.alpha) - chain.start_trapped
    parameters = range(chain.p if gradient else 0)
    slopes, sizes = [chain.slopes(i) for i in parameters], [chain.sizes(i) for i in parameters]
    return Law(
        chain.A, chain.alpha, chain.exit, chain.trap, at_once, chain.start_trapped, chain.discrete, slopes, sizes
    )


def law_of_reward(chain: RationalChain, r: Sequence[flint.fmpq]) -> Law:
    """Return the law of the sum of rewards, which are zero in traps; whole numbers if the chain is discrete.

    States without reward are passed in no time. Others are passed at their rate divided by the reward or, in discrete
    time, as a row of so many states.
    """
    up, zero = [i for i in range(chain.n) if r[i] != 0], [i for i in range(chain.n) if r[i] == 0]
    ends = [a + b for a, b in zip(chain.exit, chain.trap, strict=True)]

    def part(rows: Sequence[int], columns: Sequence[int]) -> flint.fmpq_mat:
        return flint.fmpq_mat(len(rows), len(columns), [chain.A[i, j] for i in rows for j in columns])

    A, alpha, leave = part(up, up), [chain.alpha[i] for i in up], [ends[i] for i in up]
    at_once = 1 - add_up(chain.alpha)
    if zero:
        back = part(zero, zero).inv()
        away = back * flint.fmpq_mat(len(zero), 1, [ends[i] for i in zero])
        start = flint.fmpq_mat(1, len(zero), [chain.alpha[i] for i in zero])
        at_once += (start * away)[0, 0]
        if up:
            through = back * part(zero, up)
            A, more = A - part(up, zero) * through, start * through
            alpha = [a - more[0, j] for j, a in enumerate(alpha)]
            lost = part(up, zero) * away
            leave = [a - lost[i, 0] for i, a in enumerate(leave)]
    rewards = [r[i] for i in up]
    n = len(up)
    if not chain.discrete:
        A = flint.fmpq_mat(n, n, [A[i, j] / rewards[i] for i in range(n) for j in range(n)])
        leave = [a / b for a, b in zip(leave, rewards, strict=True)]
        return Law(A, alpha, leave, [ZERO] * n, at_once, ZERO, False)
    return _in_stages(A, alpha, leave, [int(x.p) for x in rewards], at_once)


def _in_stages(
    A: flint.fmpq_mat,
    alpha: Sequence[flint.fmpq],
    leave: Sequence[flint.fmpq],
    lengths: Sequence[int],
    at_once: flint.fmpq,
) -> Law:
    first = [sum(lengths[:i]) for i in range(len(lengths))]
    n = sum(lengths)
    matrix, start, exits = flint.fmpq_mat(n, n), [ZERO] * n, [ZERO] * n
    for i, length in enumerate(lengths):
        start[first[i]] = alpha[i]
        for step in range(length - 1):
            matrix[first[i] + step, first[i] + step] = ONE
            matrix[first[i] + step, first[i] + step + 1] = -ONE
        last = first[i] + length - 1
        matrix[last, last] = ONE
        for j in range(len(lengths)):
            matrix[last, first[j]] += A[i, j] - (ONE if i == j else ZERO)
        exits[last] = leave[i]
    return Law(matrix, start, exits, [ZERO] * n, at_once, ZERO, True)


def epoch_moments(
    first: RationalChain, second: RationalChain, change: float, k: int, r: Sequence[flint.fmpq]
) -> list[flint.arb]:
    """Return the moments of the sum of rewards of a chain whose parameters change at one time.

    Blocks of a matrix carry E[Y^j; in v], j = 0 … k, up to the change.
    """
    n = first.n
    size = n * (k + 1)
    matrix = flint.fmpq_mat(size, size)
    for j in range(k + 1):
        for u in range(n):
            for v in range(n):
                if not first.discrete:
                    matrix[j * n + u, j * n + v] = -first.A[u, v]
                    continue
                jump = (ONE if u == v else ZERO) - first.A[u, v]
                for i in range(j, k + 1):
                    matrix[j * n + u, i * n + v] = math.comb(i, j) * r[u] ** (i - j) * jump
            if not first.discrete and j < k:
                matrix[j * n + u, (j + 1) * n + u] = (j + 1) * r[u]
    # In discrete time what is earned by the step that is absorbed would be lost, so it is kept in states of its own.
    transition, absorbed = _carried(first, matrix, change, k, r)
    after = second.vertex_moments(k, r)
    with precision(2 * BITS):
        start = [flint.arb(a) for a in first.alpha]
        mass = [
            [sum((start[u] * transition[u, j * n + v] for u in range(n)), flint.arb(0)) for v in range(n)]
            for j in range(k + 1)
        ]
        out = []
        for order in range(1, k + 1):
            total = sum((start[u] * absorbed[order - 1][u] for u in range(n)), flint.arb(0))
            for j in range(order + 1):
                for v in range(n):
                    total += math.comb(order, j) * mass[j][v] * flint.arb(after[order - j][v])
            out.append(total)
        return out


def _carried(
    chain: RationalChain, matrix: flint.fmpq_mat, change: float, k: int, r: Sequence[flint.fmpq]
) -> tuple[flint.arb_mat, list[list[flint.arb]]]:
    """Return the matrix over the epoch, and from each state the moments of Y of those who are absorbed in it."""
    n, size = chain.n, chain.n * (k + 1)
    ends = [a + b for a, b in zip(chain.exit, chain.trap, strict=True)]
    whole = flint.fmpq_mat(size + k, size + k)
    for i in range(size):
        for j in range(size):
            whole[i, j] = matrix[i, j]
    for order in range(1, k + 1):
        for u in range(n):
            if not chain.discrete:
                whole[order * n + u, size + order - 1] = ends[u]
            else:
                for j in range(order + 1):
                    whole[j * n + u, size + order - 1] = math.comb(order, j) * r[u] ** (order - j) * ends[u]
        if chain.discrete:
            whole[size + order - 1, size + order - 1] = ONE
    transition = over(change, whole, chain.discrete).value
    return transition, [[transition[u, size + order - 1] for u in range(n)] for order in range(1, k + 1)]
