"""Distributions of stiff models by repeated squaring: cost grows with the logarithm of rate x time, not with rate x
time.
"""

from __future__ import annotations

import math
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
#: Products of numbers below this would be subnormal, which some processors handle very slowly.
_TINY = 1e-150
#: Most jumps that are followed: what was set to zero below _TINY adds up to less than 1e-15 over so many.
MAX_JUMPS = 1e130
#: How far a row may be from its known sum before it is scaled back; rounding gives about states x 1e-16.
_MAX_DRIFT = 1e-9
#: Multiply-adds of a matrix product between two looks at the deadline: some 0.02 s on one core.
_MULTIPLY_AT_ONCE = 2**28


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

    def __init__(self, graph: Graph, weights: Floats, initial: Floats | None = None) -> None:
        degree = np.diff(graph.edge_ptr)
        transient = np.flatnonzero(degree > 0)[1:]
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
        # fsum, because staying may be as improbable as the rounding of a plain sum.
        stay = [max(0.0, math.fsum([rate, *(-weights)]) / rate) for weights in self._leaving]
        np.fill_diagonal(matrix, stay)
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
    With P(τ) the transition matrix over a short step and a(τ) the probabilities to be absorbed in it, P(2τ) = P(τ)² and
    a(2τ) = a(τ) + P(τ) a(τ). All terms are positive, so each product keeps the relative accuracy of every entry (Xue
    and Ye 2013). Rounding would still make mass leak slowly; since what a row must sum to, 1 - a, is known to full
    accuracy, each row is scaled back to it, which is the device of Grassmann, Taksar and Heyman (1985). The drift
    that is taken out is also the check.

    References
    ----------
    J. Xue, Q. Ye (2013), Computing exponentials of essentially non-negative matrices entrywise to high relative
    accuracy. Mathematics of Computation 82, 1577-1596. https://doi.org/10.1090/S0025-5718-2013-02677-4
    """
    reach = MAX_JUMPS / rate
    too_long, times = times > reach, np.minimum(times, reach)
    if discrete:
        matrix, absorbed = chain.step(1.0), chain.exit.copy()
        whole = np.maximum(times - 1.0, 0.0)
        state = np.repeat(chain.initial[None], times.size, axis=0)
        done = np.full(times.size, chain.absorbed)
    else:
        step = _MEAN / rate
        matrix, absorbed = _short_step(chain, rate)
        whole = np.floor(times / step)
        state, done = _remainder(chain, rate, np.clip(times - whole * step, 0.0, step))
    while whole.any() and matrix.any():
        half = np.floor(whole / 2)
        odd = np.flatnonzero(whole != 2 * half)
        if odd.size:
            done[odd] += state[odd] @ absorbed
            state[odd] = state[odd] @ matrix
        whole = half
        if whole.any():
            absorbed = absorbed + matrix @ absorbed
            matrix = _normalised(_product(matrix, matrix), absorbed)
    # No mass survives that many steps.
    done[whole > 0] += state[whole > 0].sum(axis=1)
    state[whole > 0] = 0.0
    _check_mass(done, state)
    if too_long.any() and state[np.ix_(too_long, ~_trapped(chain))].any():
        raise NumericalError(f"mass is left after {MAX_JUMPS:.0e} jumps, and more are expected in such a time")
    if discrete:
        # One step short of the time: the last step is taken with the absorption probabilities themselves.
        pdf = state @ chain.exit
        done, state = done + pdf, state @ chain.step(1.0)
        at_zero = times == 0
        pdf[at_zero] = chain.absorbed
        done[at_zero] = chain.absorbed
        state[at_zero] = chain.initial
    else:
        pdf = state @ chain.exit
    survival = state.sum(axis=1)
    # The larger of the two is the complement of the smaller.
    below = np.where(survival < 0.5, 1.0 - survival, np.minimum(done, 1.0))
    return {"state": state, "pdf": pdf, "sf": survival, "cdf": below}


def _product(a: Floats, b: Floats) -> Floats:
    """Multiply square matrices, one part of the result after the other: between two parts the call can be stopped."""
    n = a.shape[0]
    # Square parts, since each needs the rows of one matrix and the columns of the other.
    side = max(1, math.isqrt(_MULTIPLY_AT_ONCE // max(n, 1)))
    if n <= side:
        check()
        return a @ b
    out = np.empty((n, n))
    for row in range(0, n, side):
        for column in range(0, n, side):
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


def _short_step(chain: TransientChain, rate: float) -> tuple[Floats, Floats]:
    """Transition matrix and absorption probabilities over rate x step = _MEAN, by uniformization."""
    chain_step, leaves = chain.step(rate), chain.exit / rate
    power, ahead = np.eye(leaves.size), leaves
    weights, beyond = _poisson(np.array([_MEAN]))
    matrix, absorbed = weights[0, 0] * power, beyond[0, 0] * ahead
    for k in range(1, TERMS):
        power = _product(power, chain_step)
        ahead = chain_step @ ahead
        check()
        matrix += weights[k, 0] * power
        absorbed = absorbed + beyond[k, 0] * ahead
    return _normalised(matrix, absorbed), absorbed


def _remainder(chain: TransientChain, rate: float, rest: Floats) -> tuple[Floats, Floats]:
    """State and absorbed mass after times of at most one short step."""
    chain_step, leaves = chain.step(rate), chain.exit / rate
    weights, beyond = _poisson(rate * rest)
    now = chain.initial
    state, done = weights[0][:, None] * now, chain.absorbed + beyond[0] * float(now @ leaves)
    for k in range(1, TERMS):
        now = now @ chain_step
        state += weights[k][:, None] * now
        done = done + beyond[k] * float(now @ leaves)
    return state, done


def _poisson(mean: Floats) -> tuple[Floats, Floats]:
    """Probabilities of k jumps and of more than k jumps, k < TERMS, each of shape (TERMS, *mean.shape)."""
    terms = np.empty((2 * TERMS, *mean.shape))
    terms[0] = np.exp(-mean)
    for k in range(1, 2 * TERMS):
        terms[k] = terms[k - 1] * mean / k
    # Summed from the far end: small terms first, none subtracted.
    tails = np.cumsum(terms[::-1], axis=0)[::-1]
    return terms[:TERMS], tails[1 : TERMS + 1]


def _check_mass(done: Floats, state: Floats) -> None:
    """What is absorbed and what is not must add up to one; neither was computed from the other."""
    drift = float(np.max(np.abs(done + state.sum(axis=1) - 1.0), initial=0.0))
    if not drift <= _MAX_DRIFT:
        raise NumericalError(f"repeated squaring lost accuracy: the probabilities add up to 1 ± {drift:.1e}")


def _normalised(matrix: Floats, absorbed: Floats) -> Floats:
    """Scale rows to what they must sum to, where that is known without cancellation."""
    sums = matrix.sum(axis=1)
    wanted = 1.0 - absorbed
    known = absorbed < 0.5
    drift = float(np.max(np.abs(sums[known] / wanted[known] - 1.0), initial=0.0))
    if not drift <= _MAX_DRIFT:
        raise NumericalError(
            f"repeated squaring lost accuracy: a row of the transition matrix is off by {drift:.1e} of its sum"
        )
    check()
    scale = np.ones_like(sums)
    scale[known] = wanted[known] / sums[known]
    matrix *= scale[:, None]
    matrix[matrix < _TINY] = 0.0
    return matrix
