"""Quantiles: the distribution function inverted by bracketed Newton steps, all probabilities at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.binding import reachable
from ..elimination.plan import Plan
from ..errors import InfiniteExpectationError, NumericalError
from .distribution import evaluate
from .transforms import edge_graph

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..graph import Graph

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.integer]

_MAX_ROUNDS = 200
#: Distribution functions of continuous models have no relative accuracy below.
_SMALLEST = 1e-280
#: A probability that is closer than this, relatively, to that of absorption cannot be told from it.
_EDGE = 1e-14


@dataclass(frozen=True)
class _Law:
    """A chain at one parameter vector, and the same under the condition that it is absorbed, where that is not certain."""

    plan: Plan
    theta: Floats
    mean: float
    #: Probability of absorption.
    total: float = 1.0
    #: The chain itself, if the above is conditional.
    whole: tuple[Plan, Floats] | None = None


def quantiles(plan: Plan, theta: Floats, q: Floats, *, tol: float, max_steps: int, n_threads: int) -> Floats:
    """Return the quantiles of each parameter vector, shape (batch, Q); arguments are checked already."""
    find = _discrete if plan.graph.discrete else _continuous
    options: dict[str, Any] = {"tol": tol, "max_steps": max_steps, "n_threads": 1}
    try:
        means = plan.moments(theta, 1, None, n_threads)[:, 0]
    except InfiniteExpectationError:
        means = None
    values = np.empty((theta.shape[0], q.size))
    for i in range(theta.shape[0]):
        row = theta[i : i + 1]
        values[i] = find(_law(plan, row) if means is None else _Law(plan, row, float(means[i])), q, options)
    return values


def _law(plan: Plan, theta: Floats) -> _Law:
    try:
        return _Law(plan, theta, float(plan.moments(theta, 1, None, 1)[0, 0]))
    except InfiniteExpectationError:
        return _absorbed(plan, theta)


def _absorbed(plan: Plan, theta: Floats) -> _Law:
    """Return the law under the condition of absorption: each weight u → v times h(v) / h(u), with h the probability of
    absorption from a vertex on (Doob's transform).
    """
    graph = plan.graph
    weights = plan.edge_weights(theta)[0]
    degree = np.diff(graph.edge_ptr)
    source = np.repeat(np.arange(degree.size), degree)
    absorbing = degree == 0
    # The rates of absorption as rewards: what is earned in all is the probability.
    exits: Floats = np.bincount(source, weights * absorbing[graph.edge_target], degree.size).astype(np.float64)
    inner = plan.vertex_moments(theta, 1, exits)[0, 0]
    inner[absorbing] = 1.0
    at_once = exits[0] / weights[: graph.edge_ptr[1]].sum()
    total = min(1.0, float(inner[0] + at_once))
    if total == 0.0:
        return _Law(plan, theta, 0.0, total, (plan, theta))
    inner[0] = 1.0
    possible = _possible(graph, source, weights) & (inner[graph.edge_target] > 0)
    tilted = np.zeros_like(weights)
    tilted[possible] = weights[possible] * (inner[graph.edge_target[possible]] / inner[source[possible]])
    conditional = Plan(edge_graph(graph.edge_ptr, graph.edge_target, degree.size, graph.discrete), plan.pattern)
    mean = float(conditional.moments(tilted[None], 1, None, 1)[0, 0])
    return _Law(conditional, tilted[None], mean, total, (plan, theta))


def _possible(graph: Graph, source: Ints, weights: Floats) -> npt.NDArray[np.bool_]:
    """Return which edges may be gone along."""
    positive = weights > 0
    ptr = np.searchsorted(source[positive], np.arange(graph.vertices_length() + 1))
    found: npt.NDArray[np.bool_] = positive & reachable(ptr, graph.edge_target[positive], np.zeros(1, np.int32))[source]
    return found


def _compare(law: _Law, times: Floats, q: Floats, rest: Floats, options: dict[str, Any]) -> tuple[Floats, Floats]:
    """F(t) - q, and where Newton's method would go from t; `rest` is 1 - q.

    Below the median the step is taken on log F over log t, where the left tail, a power of t, is a straight line; above it on
    log(1 - F) over t, where the exponential right tail is one.
    """
    values = evaluate(law.plan, law.theta, times, ("pdf", "cdf", "sf"), **options)
    density, below, above = values["pdf"][0], values["cdf"][0], values["sf"][0]
    upper = q > 0.5
    with np.errstate(all="ignore"):
        lower_step = times * np.exp(np.log(q / below) * below / (times * density))
        upper_step = times + np.log(above / rest) * above / density
    return np.where(upper, rest - above, below - q), np.where(upper, upper_step, lower_step)


def _split(law: _Law, q: Floats, options: dict[str, Any]) -> tuple[Floats, npt.NDArray[np.intp]]:
    """Return the quantiles that are known already, 0 or infinity, and the numbers of the others."""
    plan, theta = law.whole or (law.plan, law.theta)
    at_once = float(evaluate(plan, theta, np.zeros(1), ("cdf",), **options)["cdf"][0, 0])
    endless = q == 1.0
    if law.whole is not None:
        endless |= (q >= law.total * (1.0 - _EDGE)) & (q > at_once)
    return np.where(endless, np.inf, 0.0), np.flatnonzero((q > at_once) & ~endless)


def _continuous(law: _Law, q: Floats, options: dict[str, Any]) -> Floats:
    result, todo = _split(law, q, options)
    if todo.size == 0:
        return result
    wanted, rest = q[todo] / law.total, (law.total - q[todo]) / law.total
    if (q[todo] < _SMALLEST).any():
        raise NumericalError(
            f"the quantile of {q[todo].min()} cannot be found; the distribution function is known down to {_SMALLEST}"
        )
    low = np.zeros(todo.size)
    high = np.full(todo.size, max(law.mean, np.finfo(float).tiny))
    for _ in range(_MAX_ROUNDS):
        short = _compare(law, high, wanted, rest, options)[0] < 0
        if not short.any():
            break
        low[short] = high[short]
        high[short] = _doubled(high[short], q[todo][short])
    times = 0.5 * (low + high)
    active = np.arange(todo.size)
    for _ in range(_MAX_ROUNDS):
        excess, newton = _compare(law, times[active], wanted[active], rest[active], options)
        above = excess > 0
        high[active[above]] = times[active[above]]
        low[active[~above]] = times[active[~above]]
        inside = (newton > low[active]) & (newton < high[active])
        # Quantiles may differ by many powers of ten, and then the geometric mean halves what is unknown.
        wide = high[active] > 4.0 * low[active]
        middle = np.where(
            wide & (low[active] > 0), np.sqrt(low[active]) * np.sqrt(high[active]), 0.5 * (low[active] + high[active])
        )
        middle = np.where(wide & (low[active] == 0), high[active] / 16.0, middle)
        step = np.where(inside, newton, middle)
        done = (np.abs(step - times[active]) <= 0.25 * options["tol"] * step) | (excess == 0)
        done |= high[active] - low[active] <= 4 * np.finfo(float).eps * high[active]
        times[active] = np.where(excess == 0, times[active], step)
        active = active[~done]
        if active.size == 0:
            break
    else:
        raise NumericalError(
            f"the quantile of {q[todo][active[0]]} was not found to a relative accuracy of {options['tol']}"
        )
    result[todo] = times
    return result


def _discrete(law: _Law, q: Floats, options: dict[str, Any]) -> Floats:
    """The first step k with F(k) >= q, by bisection over whole numbers."""
    result, todo = _split(law, q, options)
    if todo.size == 0:
        return result
    wanted = q[todo]
    low = np.full(todo.size, -1.0)  # F(low) < q
    high = np.full(todo.size, max(1.0, np.ceil(law.mean)))
    for _ in range(_MAX_ROUNDS):
        short = ~_reached(law, high, wanted, options)
        if not short.any():
            break
        low[short] = high[short]
        high[short] = _doubled(high[short], q[todo][short])
    active = np.arange(todo.size)
    while True:
        below, above = low[active], high[active]
        # Where the two are many powers of ten apart, the geometric mean halves what is unknown.
        half_way = np.where(
            above > 4.0 * np.maximum(below, 1.0),
            np.sqrt(np.maximum(below, 1.0)) * np.sqrt(above),
            below + 0.5 * (above - below),
        )
        middle = np.floor(half_way)
        # Beyond 2^53 two floats with none between them may be more than 1 apart.
        between = (middle > below) & (middle < above)
        active, middle = active[between], middle[between]
        if active.size == 0:
            break
        enough = _reached(law, middle, wanted[active], options)
        high[active[enough]] = middle[enough]
        low[active[~enough]] = middle[~enough]
    result[todo] = high
    return result


def _reached(law: _Law, steps: Floats, q: Floats, options: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Whether F(steps) >= q. Rounding may keep F below a q that is almost all there is, so 1 - F <= 1 - q will do, too."""
    if law.whole is None:
        values = evaluate(law.plan, law.theta, steps, ("cdf", "sf"), **options)
        return np.asarray((values["cdf"][0] >= q) | ((q > 0.5) & (values["sf"][0] <= 1.0 - q)))
    plan, theta = law.whole
    enough = evaluate(plan, theta, steps, ("cdf",), **options)["cdf"][0] >= q
    above = evaluate(law.plan, law.theta, steps, ("sf",), **options)["sf"][0]
    return np.asarray(enough | ((q > 0.5 * law.total) & (above <= (law.total - q) / law.total)))


def _doubled(times: Floats, q: Floats) -> Floats:
    if (times > 0.5 * np.finfo(float).max).any():
        raise NumericalError(f"the quantile of {q[np.argmax(times)]} is too large for a float")
    return 2.0 * times
