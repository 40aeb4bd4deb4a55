"""Quantiles: the distribution function inverted by bracketed Newton steps, all probabilities at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import NumericalError
from .distribution import evaluate

if TYPE_CHECKING:
    import numpy.typing as npt

    from .engine import Plan

    Floats = npt.NDArray[np.float64]

_MAX_ROUNDS = 200
#: Distribution functions of continuous models have no relative accuracy below.
_SMALLEST = 1e-280


def quantiles(plan: Plan, theta: Floats, q: Floats, *, tol: float, max_steps: int, n_threads: int) -> Floats:
    """Return the quantiles of each parameter vector, shape (batch, Q); arguments are checked already."""
    # Also finds out whether absorption is certain.
    means = plan.moments(theta, 1, None, n_threads)[:, 0]
    find = _discrete if plan.graph.discrete else _continuous
    options: dict[str, Any] = {"tol": tol, "max_steps": max_steps, "n_threads": 1}
    values = np.empty((theta.shape[0], q.size))
    for i in range(theta.shape[0]):
        values[i] = find(plan, theta[i : i + 1], q, float(means[i]), options)
    return values


def _compare(plan: Plan, theta: Floats, times: Floats, q: Floats, options: dict[str, Any]) -> tuple[Floats, Floats]:
    """F(t) - q, and where Newton's method would go from t.

    Below the median the step is taken on log F over log t, where the left tail, a power of t, is a straight line; above it on
    log(1 - F) over t, where the exponential right tail is one.
    """
    values = evaluate(plan, theta, times, ("pdf", "cdf", "sf"), **options)
    density, below, above = values["pdf"][0], values["cdf"][0], values["sf"][0]
    upper = q > 0.5
    with np.errstate(all="ignore"):
        lower_step = times * np.exp(np.log(q / below) * below / (times * density))
        upper_step = times + np.log(above / (1.0 - q)) * above / density
    return np.where(upper, (1.0 - q) - above, below - q), np.where(upper, upper_step, lower_step)


def _continuous(plan: Plan, theta: Floats, q: Floats, mean: float, options: dict[str, Any]) -> Floats:
    result = np.where(q == 1.0, np.inf, 0.0)
    at_once = float(evaluate(plan, theta, np.zeros(1), ("cdf",), **options)["cdf"][0, 0])
    todo = np.flatnonzero((q > at_once) & (q < 1.0))
    if todo.size == 0:
        return result
    wanted = q[todo]
    if (wanted < _SMALLEST).any():
        raise NumericalError(
            f"the quantile of {wanted.min()} cannot be found; the distribution function is known down to {_SMALLEST}"
        )
    low = np.zeros(todo.size)
    high = np.full(todo.size, max(mean, np.finfo(float).tiny))
    for _ in range(_MAX_ROUNDS):
        short = _compare(plan, theta, high, wanted, options)[0] < 0
        if not short.any():
            break
        low[short] = high[short]
        high[short] = _doubled(high[short], wanted[short])
    times = 0.5 * (low + high)
    active = np.arange(todo.size)
    for _ in range(_MAX_ROUNDS):
        excess, newton = _compare(plan, theta, times[active], wanted[active], options)
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
            f"the quantile of {wanted[active[0]]} was not found to a relative accuracy of {options['tol']}"
        )
    result[todo] = times
    return result


def _discrete(plan: Plan, theta: Floats, q: Floats, mean: float, options: dict[str, Any]) -> Floats:
    """The first step k with F(k) >= q, by bisection over whole numbers."""
    result = np.where(q == 1.0, np.inf, 0.0)
    todo = np.flatnonzero((q > 0.0) & (q < 1.0))
    if todo.size == 0:
        return result
    wanted = q[todo]
    low = np.full(todo.size, -1.0)  # F(low) < q
    high = np.full(todo.size, max(1.0, np.ceil(mean)))
    for _ in range(_MAX_ROUNDS):
        short = ~_reached(plan, theta, high, wanted, options)
        if not short.any():
            break
        low[short] = high[short]
        high[short] = _doubled(high[short], wanted[short])
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
        enough = _reached(plan, theta, middle, wanted[active], options)
        high[active[enough]] = middle[enough]
        low[active[~enough]] = middle[~enough]
    result[todo] = high
    return result


def _reached(plan: Plan, theta: Floats, steps: Floats, q: Floats, options: dict[str, Any]) -> npt.NDArray[np.bool_]:
    """Whether F(steps) >= q. Rounding may keep F below a q that is almost 1, so 1 - F <= 1 - q will do, too."""
    values = evaluate(plan, theta, steps, ("cdf", "sf"), **options)
    return np.asarray((values["cdf"][0] >= q) | ((q > 0.5) & (values["sf"][0] <= 1.0 - q)))


def _doubled(times: Floats, q: Floats) -> Floats:
    if (times > 0.5 * np.finfo(float).max).any():
        raise NumericalError(f"the quantile of {q[np.argmax(times)]} is too large for a float")
    return 2.0 * times
