"""Which method computes a distribution: uniformization, or repeated squaring where that is cheaper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..elimination.plan import PER_JUMP
from ..errors import NumericalError
from . import squaring

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..elimination.plan import Plan
    from ..graph import Graph

    Floats = npt.NDArray[np.float64]

# Nanoseconds, measured on one core; only their ratios matter.
_PER_TERM = 3.0
_PER_MULTIPLY = 0.25
#: Up to this many jumps, and wherever it takes a millisecond at most, uniformization serves: a density may be made of more jumps
#: than squaring follows in a short step where few are expected.
_FEW_JUMPS = 2_000.0
_SHORT_SWEEP = 1e6


def evaluate(
    plan: Plan,
    theta: Floats,
    times: Floats,
    what: tuple[str, ...],
    tol: float,
    max_steps: int,
    n_threads: int,
    initial: Floats | None = None,
) -> dict[str, Floats]:
    """Return any of pdf, cdf and sf, each of shape (batch, T).

    Each parameter vector takes the method that the cost model prefers; most batches use uniformization throughout.
    `initial`, shape (V,), is the mass in each vertex at time 0, with what is absorbed already in entry 0; None stands for
    that of the graph.

    Raises
    ------
    ParameterError
        If weights or times are out of range.
    NumericalError
        If neither method can do the work.
    """
    plan.check_times(times)
    graph = plan.graph
    rates = plan.rate(theta)
    longest = float(times.max(initial=0.0))
    stiff = np.array(
        [_prefers_squaring(graph, float(rate), longest, times.size, max_steps) for rate in rates], dtype=bool
    )
    if not stiff.any():
        return _bounded(plan.uniformize(theta, times, what, tol, max_steps, n_threads, initial))
    results = {name: np.empty((theta.shape[0], times.size)) for name in what}
    rows = np.flatnonzero(~stiff)
    if rows.size:
        for name, values in plan.uniformize(theta[rows], times, what, tol, max_steps, n_threads, initial).items():
            results[name][rows] = values
    for row in np.flatnonzero(stiff):
        with np.errstate(over="ignore"):  # infinitely many jumps are many
            short = rates[row] * times <= _FEW_JUMPS
        if short.any():
            swept = plan.uniformize(theta[row : row + 1], times[short], what, tol, max_steps, 1, initial)
        if not short.all():
            chain = squaring.TransientChain(graph, plan.edge_weights(theta[row : row + 1])[0], initial)
            squared = squaring.distribution(chain, times[~short], float(rates[row]), graph.discrete)
        for name in what:
            if short.any():
                results[name][row, short] = swept[name][0]
            if not short.all():
                results[name][row, ~short] = squared[name]
    return _bounded(results)


def carry(plan: Plan, theta: Floats, duration: float, state: Floats, max_steps: int) -> Floats:
    """Return the mass in each vertex after `duration`, shape (V,), with what is absorbed in entry 0.

    `state` is the same at the start. Takes one parameter vector, theta (1, p), and chooses the method as `evaluate` does.
    """
    rate = float(plan.rate(theta)[0])
    if not _prefers_squaring(plan.graph, rate, duration, 1, max_steps):
        swept: Floats = plan.advance(theta, duration, state[None], None, max_steps)[0]
        return swept
    chain = squaring.TransientChain(plan.graph, plan.edge_weights(theta)[0], state)
    after = squaring.distribution(chain, np.array([duration]), rate, plan.graph.discrete)
    if duration > squaring.MAX_JUMPS / rate and after["state"].any():
        raise NumericalError(
            f"mass is left after {squaring.MAX_JUMPS:.0e} jumps, and more are expected in such an epoch"
        )
    out = np.zeros_like(state)
    out[0] = after["cdf"][0]
    out[chain.vertices] = after["state"][0]
    return out


def _bounded(results: dict[str, Floats]) -> dict[str, Floats]:
    """Take off what rounding has put on top of a survival function of one."""
    if "sf" in results:
        np.minimum(results["sf"], 1.0, out=results["sf"])
    return results


def _prefers_squaring(graph: Graph, rate: float, longest: float, n_times: int, max_steps: int) -> bool:
    """Compare the two costs; False wherever squaring is no choice."""
    n = graph.vertices_length()
    jumps = rate * longest
    if n > squaring.MAX_STATES or jumps <= _FEW_JUMPS or not math.isfinite(rate):
        return False
    if jumps > max_steps:
        return True
    sweep = jumps * (graph.n_edges + n) * PER_JUMP + n_times * 20 * math.sqrt(jumps) * _PER_TERM
    products = math.log2(jumps) + 6 + squaring.TERMS
    return sweep > _SHORT_SWEEP and products * (n**3 + n_times * n**2) * _PER_MULTIPLY < sweep
