"""Distributions of stiff models by repeated squaring: cost grows with the logarithm of rate x time, not with rate x
time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..core.stopping import check
from ..errors import NumericalError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..graph import Graph

    Floats = npt.NDArray[np.float64]

#: Largest number of transient states: two dense matrices of this size take a quarter of a gigabyte.
MAX_STATES = 4096
#: Rate x length of the short step, and the number of jumps in it that are followed: more have probability 1e-33.
_MEAN = 1.0 / 64.0
TERMS = 13
#: Transition probabilities below this, given survival, are set to zero at first, so that no product of two is subnormal.
_SMALL = 1e-145
#: Where a result is below this, they may be all that it is made of. Then those down to _TINY count, too.
_ENOUGH = 1e-120
_TINY = 1e-290
#: Unit of those from _TINY to _SMALL in products.
_SMALL_UNIT = 2.0**-480
#: Mass below which a row counts as absorbed, and a number above minus the logarithm of any mass that a float holds.
_DEAD = 1e-305
_GONE = 800.0
#: Most jumps that are followed: what was set to zero below _TINY adds up to nothing over so many.
MAX_JUMPS = 1e130
#: How far a row of a product may be from its known sum before it is scaled back; rounding gives about states x 1e-16.
_MAX_DRIFT = 1e-9
#: Multiply-adds of a matrix product between two looks at the deadline: some 0.02 s on one core.
_MULTIPLY_AT_ONCE = 2**28


def staying(leaving: list[Floats], rate: float = 1.0) -> list[float]:
    """Return the probability to stay in each state for one jump, if all are left at the same `rate`; `leaving` are the weights of
    its edges.
    """
    # fsum, because staying may be as improbable as the rounding of a plain sum.
    return [max(0.0, math.fsum([rate, *(-weights)]) / rate) for weights in leaving]


class TransientChain:
    """The transient states of a graph at one parameter vector, as dense arrays.

    Parameters
    ----------
    graph
        The graph.
    weights
        Weight of every edge, shape (n_edges,).
    initial
        Mass in each vertex at time 0, shape (V,), with what is absorbed already in entry 0; None for that of the graph.
    stay
        Probability to stay in each vertex of a discrete graph, shape (V,); None for what the edges leave.

    Attributes
    ----------
    vertices : numpy.ndarray
        Vertex of each transient state, shape (n,).
    initial : numpy.ndarray
        Probability to start in each transient state, shape (n,).
    absorbed : float
        Probability to be absorbed at once.
    jump : numpy.ndarray
        Rates (discrete: probabilities) between transient states, shape (n, n), zero on the diagonal.
    exit : numpy.ndarray
        Rates (discrete: probabilities) of absorption, shape (n,).
    """

    def __init__(
        self, graph: Graph, weights: Floats, initial: Floats | None = None, stay: Floats | None = None
    ) -> None:
        degree = np.diff(graph.edge_ptr)
        transient = np.flatnonzero(degree > 0)[1:]
        self._stay = None if stay is None else stay[transient]
        self._leaving = [weights[graph.edge_ptr[v] : graph.edge_ptr[v + 1]] for v in transient]
        place = np.full(graph.vertices_length(), -1)
        place[transient] = np.arange(transient.size)
        source = place[np.repeat(np.arange(degree.size), degree)]
        target = place[graph.edge_target]
        first = int(graph.edge_ptr[1])
        self.vertices = transient
        if initial is None:
            start = weights[:first] / weights[:first].sum()
            inside = target[:first] >= 0
            self.initial = np.zeros(transient.size)
            self.initial[target[:first][inside]] = start[inside]
            self.absorbed = float(start[~inside].sum())
        else:
            self.initial, self.absorbed = initial[transient], float(initial[0])
        source, target, weights = source[first:], target[first:], weights[first:]
        inside = target >= 0
        self.jump = np.zeros((transient.size, transient.size))
        self.jump[source[inside], target[inside]] = weights[inside]
        self.exit: Floats = np.bincount(source[~inside], weights[~inside], transient.size).astype(np.float64)

    def step(self, rate: float) -> Floats:
        """Return the transition probabilities of one jump, if all states are left at the same `rate`."""
        matrix = self.jump / rate
        np.fill_diagonal(matrix, staying(self._leaving, rate) if self._stay is None else self._stay)
        return matrix


def distribution(chain: TransientChain, times: Floats, rate: float, discrete: bool) -> dict[str, Floats]:
    """Return state, pdf, cdf and sf at `times` of a chain, however large rate x time is.

    Parameters
    ----------
    chain
        The transient states.
    times
        Shape (T,), 0 or more; whole steps if discrete.
    rate
        Largest total rate of a state; 1 for a discrete chain.
    discrete
        Whether the chain is discrete.

    Returns
    -------
    dict
        ``pdf``, ``cdf`` and ``sf``, each of shape (T,), and ``state``, the mass in each transient state, shape (T, n).

    Raises
    ------
    NumericalError
        If a row of a transition matrix drifts from its known sum by more than rounding explains, or if mass that can
        still be absorbed is left after 1e130 jumps. Beyond, ``state`` says no more than that mass is caught.

    Notes
    -----
    With P(τ) the transition matrix over a short step, P(2τ) = P(τ)². All terms are positive, so products keep the
    relative accuracy of every entry (Xue and Ye 2013), but for a rounding error of one sign that would double with each
    squaring. Therefore P(τ) is kept as diag(e^−h) U: the rows of U sum to one and are scaled back to it after every
    product, which is the device of Grassmann, Taksar and Heyman (1985), and h_i, minus the logarithm of the probability
    to survive the step, follows from sums of positive terms: h_i(2τ) = h_i − log Σ_l U_il e^(−h_l). The relative error of
    h does not grow, so that of a survival function e^−h is about h x 1e-16, down to the smallest numbers. What is
    common to all h_i is doubled exactly and kept apart.

    References
    ----------
    J. Xue, Q. Ye (2013), Computing exponentials of essentially non-negative matrices entrywise to high relative
    accuracy. Mathematics of Computation 82, 1577-1596. https://doi.org/10.1090/S0025-5718-2013-02677-4
    """
    found = _evaluate(chain, times, rate, discrete, _SMALL)
    unit = 1.0 if discrete else rate
    poor = (found["pdf"] < _ENOUGH * unit) | (found["sf"] < _ENOUGH) | (found["cdf"] < _ENOUGH)
    if poor.any():
        finer = _evaluate(chain, times[poor], rate, discrete, _TINY)
        for name, values in finer.items():
            found[name][poor] = values
    return found


def _evaluate(chain: TransientChain, times: Floats, rate: float, discrete: bool, floor: float) -> dict[str, Floats]:
    """As `distribution`; transition probabilities below `floor`, given survival, are set to zero."""
    reach = MAX_JUMPS / rate
    too_long, times = times > reach, np.minimum(times, reach)
    if discrete:
        step = _Step.of(chain.step(1.0), chain.exit, floor)
        whole = np.maximum(times - 1.0, 0.0)
        total = float(chain.initial.sum())
        unit = np.repeat(chain.initial[None] / (total if total > 0.0 else 1.0), times.size, axis=0)
        rows = _Rows(unit, np.zeros(times.size), total)
    else:
        length = _MEAN / rate
        step = _short_step(chain, rate, floor)
        whole = np.floor(times / length)
        rows = _remainder(chain, rate, np.clip(times - whole * length, 0.0, length))
    single = step
    while whole.any() and step.unit.any() and step.least <= _GONE:
        half = np.floor(whole / 2)
        rows.advance(np.flatnonzero(whole != 2 * half), step)
        whole = half
        if whole.any():
            step = step.doubled()
    rows.end(whole > 0)  # no mass survives that many steps
    if too_long.any() and rows.state()[np.ix_(too_long, ~_trapped(chain))].any():
        raise NumericalError(f"mass is left after {MAX_JUMPS:.0e} jumps, and more are expected in such a time")
    pdf = rows.state() @ chain.exit
    if discrete:
        # One step short of the time: the last step is taken with the absorption probabilities themselves.
        at_zero = times == 0
        rows.advance(np.flatnonzero(~at_zero), single)
        pdf[at_zero] = chain.absorbed
    survival = rows.survival()
    # The larger of the two is the complement of the smaller.
    below = np.where(survival < 0.5, 1.0 - survival, np.minimum(chain.absorbed + rows.absorbed(), 1.0))
    return {"state": rows.state(), "pdf": pdf, "sf": survival, "cdf": below}


@dataclass(frozen=True)
class _Step:
    """Transition probabilities over a step: e^-(least + least_low + more_i) unit_ij; every row of `unit` sums to one.

    A row of zeros, with infinite `more`, belongs to a state that no mass survives in.
    """

    unit: Floats
    more: Floats
    least: float
    least_low: float
    floor: float

    @staticmethod
    def of(matrix: Floats, absorbed: Floats, floor: float) -> _Step:
        """Take a step apart. `absorbed` must be known to full relative accuracy, as all entries of the matrix."""
        sums = matrix.sum(axis=1)
        drift = float(np.max(np.abs(sums + absorbed - 1.0), initial=0.0))
        if not drift <= _MAX_DRIFT:
            raise NumericalError(f"repeated squaring lost accuracy: the probabilities add up to 1 ± {drift:.1e}")
        with np.errstate(divide="ignore"):
            decay = np.where(absorbed < 0.5, -np.log1p(-np.minimum(absorbed, 0.5)), -np.log(sums))
        unit = matrix / np.where(sums > 0.0, sums, 1.0)[:, None]
        unit[unit < floor] = 0.0
        return _Step._centred(unit, decay, 0.0, 0.0, floor)

    @staticmethod
    def _centred(unit: Floats, more: Floats, least: float, least_low: float, floor: float) -> _Step:
        """Move what all states have in common to `least`, with the rounding in `least_low`."""
        alive = np.isfinite(more)
        common = float(more[alive].min()) if alive.any() else 0.0
        total = least + common
        back = total - least
        rounding = (least - (total - back)) + (common - back)
        return _Step(unit, more - common, total, least_low + rounding, floor)

    def doubled(self) -> _Step:
        """Return the step of twice the length."""
        tilted, decay = _survive(self.unit, self.more, self.floor)
        unit = _normalised(_product(tilted, self.unit))
        unit[unit < self.floor] = 0.0
        return self._centred(unit, self.more + decay, 2.0 * self.least, 2.0 * self.least_low, self.floor)


class _Rows:
    """Mass left at several times: total x e^-(decay + decay_low) x a distribution over the states, a row for each time."""

    def __init__(self, unit: Floats, decay: Floats, total: float) -> None:
        self._unit, self._total = unit, total
        self._decay, self._decay_low = decay, np.zeros_like(decay)

    def advance(self, which: npt.NDArray[np.intp], step: _Step) -> None:
        """Let a step pass at some of the times."""
        if which.size == 0:
            return
        tilted, more = _survive(self._unit[which], step.more, step.floor)
        self._unit[which] = _normalised(_product(tilted, step.unit))
        self._decay_low[which] += step.least_low
        for term in (step.least, more):
            old = self._decay[which]
            with np.errstate(invalid="ignore"):  # infinity less infinity, where nothing is left
                new = old + term
                back = new - old
                low = (old - (new - back)) + (term - back)
            self._decay[which] = new
            self._decay_low[which] += np.where(np.isfinite(new), low, 0.0)
        self.end(self._decay > _GONE)

    def end(self, which: npt.NDArray[np.bool_]) -> None:
        """Let all mass be absorbed at some of the times."""
        self._unit[which] = 0.0
        self._decay[which] = np.inf
        self._decay_low[which] = 0.0

    def survival(self) -> Floats:
        """Return the mass left at each time."""
        left: Floats = self._total * np.exp(-self._decay) * np.exp(-self._decay_low)
        return left

    def absorbed(self) -> Floats:
        """Return what has been absorbed since time 0, to full relative accuracy also where it is small."""
        gone: Floats = self._total * -np.expm1(-(self._decay + self._decay_low))
        return gone

    def state(self) -> Floats:
        """Return the mass in each state, shape (T, n)."""
        mass: Floats = self.survival()[:, None] * self._unit
        return mass


def _survive(unit: Floats, more: Floats, floor: float) -> tuple[Floats, Floats]:
    """Distributions given survival of a step, one per row, and minus the logarithm of the probability to survive it."""
    tilted = unit * np.exp(-more)
    left = tilted.sum(axis=1)
    lost = unit @ -np.expm1(-more)
    with np.errstate(divide="ignore"):
        decay = np.where(lost < 0.5, -np.log1p(-np.minimum(lost, 0.5)), -np.log(left))
    # Of less than this nothing is known; it is no part of a probability above 1e-300.
    alive = left > _DEAD
    tilted /= np.where(alive, left, np.inf)[:, None]
    tilted[tilted < floor] = 0.0
    return tilted, np.where(alive, decay, np.inf)


def _product(left: Floats, right: Floats) -> Floats:
    """Matrix product of numbers that are zero or between _TINY and 1, without subnormal products."""
    if not (_has_small(left) or _has_small(right)):
        return _multiply(left, right)
    large, small = _split(left)
    other_large, other_small = _split(right)
    mixed = _multiply(large, other_small) + _multiply(small, other_large)
    product: Floats = (
        _multiply(large, other_large) + (mixed + _multiply(small, other_small) * _SMALL_UNIT) * _SMALL_UNIT
    )
    return product


def _has_small(matrix: Floats) -> bool:
    return bool(((matrix < _SMALL) & (matrix > 0.0)).any())


def _split(matrix: Floats) -> tuple[Floats, Floats]:
    """Entries from _SMALL on, and those below in units of _SMALL_UNIT."""
    small = matrix < _SMALL
    return np.where(small, 0.0, matrix), np.where(small, matrix / _SMALL_UNIT, 0.0)


def _multiply(a: Floats, b: Floats) -> Floats:
    """Multiply matrices, one part of the result after the other: between two parts the call can be stopped."""
    n = a.shape[1]
    # Square parts, since each needs the rows of one matrix and the columns of the other.
    side = max(1, math.isqrt(_MULTIPLY_AT_ONCE // max(n, 1)))
    rows, columns = a.shape[0], b.shape[1]
    if rows <= side and columns <= side:
        check()
        return a @ b
    out = np.empty((rows, columns))
    for row in range(0, rows, side):
        for column in range(0, columns, side):
            check()
            part = out[row : row + side, column : column + side]
            np.matmul(a[row : row + side], b[:, column : column + side], out=part)
    return out


def _trapped(chain: TransientChain) -> npt.NDArray[np.bool_]:
    """States from which absorption cannot be reached: what is there after long is there for ever."""
    leaves = chain.exit > 0
    new = leaves
    while new.any():
        new = (chain.jump[:, new] > 0).any(axis=1) & ~leaves
        leaves = leaves | new
    return ~leaves


def _short_step(chain: TransientChain, rate: float, floor: float) -> _Step:
    """Return the step of rate x length = _MEAN, by uniformization."""
    chain_step, leaves = chain.step(rate), chain.exit / rate
    power, ahead = np.eye(leaves.size), leaves
    weights, beyond = _poisson(np.array([_MEAN]))
    matrix, absorbed = weights[0, 0] * power, beyond[0, 0] * ahead
    for k in range(1, TERMS):
        power = _multiply(power, chain_step)
        ahead = chain_step @ ahead
        check()
        matrix += weights[k, 0] * power
        absorbed = absorbed + beyond[k, 0] * ahead
    return _Step.of(matrix, absorbed, floor)


def _remainder(chain: TransientChain, rate: float, rest: Floats) -> _Rows:
    """Return what is left after times of at most one short step."""
    chain_step, leaves = chain.step(rate), chain.exit / rate
    weights, beyond = _poisson(rate * rest)
    total = float(chain.initial.sum())
    now = chain.initial / (total if total > 0.0 else 1.0)
    state, done = weights[0][:, None] * now, beyond[0] * float(now @ leaves)
    for k in range(1, TERMS):
        now = now @ chain_step
        state += weights[k][:, None] * now
        done = done + beyond[k] * float(now @ leaves)
    return _Rows(_normalised(state / (1.0 - done)[:, None]), -np.log1p(-done), total)


def _poisson(mean: Floats) -> tuple[Floats, Floats]:
    """Probabilities of k jumps and of more than k jumps, k < TERMS, each of shape (TERMS, *mean.shape)."""
    terms = np.empty((2 * TERMS, *mean.shape))
    terms[0] = np.exp(-mean)
    for k in range(1, 2 * TERMS):
        terms[k] = terms[k - 1] * mean / k
    # Summed from the far end: small terms first, none subtracted.
    tails = np.cumsum(terms[::-1], axis=0)[::-1]
    return terms[:TERMS], tails[1 : TERMS + 1]


def _normalised(matrix: Floats) -> Floats:
    """Scale rows to a sum of one; rows of zeros stay. How far they were from it is the check."""
    sums = matrix.sum(axis=1)
    some = sums > 0.0
    drift = float(np.max(np.abs(sums[some] - 1.0), initial=0.0))
    if not drift <= _MAX_DRIFT:
        raise NumericalError(
            f"repeated squaring lost accuracy: a row of the transition matrix is off by {drift:.1e} of its sum"
        )
    check()
    matrix /= np.where(some, sums, 1.0)[:, None]
    return matrix
