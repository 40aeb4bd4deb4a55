"""Quantiles: the distribution function inverted by bracketed Newton steps, all probabilities at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .distribution import evaluate
from .errors import NumericalError

if TYPE_CHECKING:
    import numpy.typing as npt

    from .engine import Plan

    Floats = npt.NDArray[np.float64]

_MAX_ROUNDS = 200


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
    low = np.zeros(todo.size)
    high = np.full(todo.size, max(mean, np.finfo(float).tiny))
    for _ in range(_MAX_ROUNDS):
        short = _compare(plan, theta, high, wanted, options)[0] < 0
        if not short.any():
            break
        low[short] = high[short]
        high[short] *= 2.0
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
            wide & (low[active] > 0), np.sqrt(low[active] * high[active]), 0.5 * (low[active] + high[active])
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
        short = _compare(plan, theta, high, wanted, options)[0] < 0
        if not short.any():
            break
        low[short] = high[short]
        high[short] *= 2.0
    while (high - low > 1).any():
        middle = np.clip(np.floor(0.5 * (low + high)), 0.0, None)
        enough = _compare(plan, theta, middle, wanted, options)[0] >= 0
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle)
    result[todo] = high
    return result
