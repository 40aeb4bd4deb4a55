"""Piecewise-constant parameters: a model whose θ changes at given times."""

from __future__ import annotations

from math import comb, prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.binding import reachable
from ..errors import NumericalError, ParameterError
from ..statespace.owned import own
from .arguments import (
    MAX_MOMENT,
    check_count,
    check_reward_vector,
    check_theta,
    check_times,
    check_tolerance,
)
from .distribution import carry, evaluate
from .labels import by_position
from .numbers import as_float_array

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..elimination.plan import Plan

    Floats = npt.NDArray[np.float64]

_DEFAULT_MAX_STEPS = 20_000_000
#: A variance is right to this share of itself.
_ACCURACY = 1e-9
#: A variance below this share of the square of the mean is zero.
_NOTHING = 1e-25
#: Error of one number, relative: some roundings.
_ROUNDING = 2e-15
#: So many steps of a discrete chain are followed one by one to find where the process may be; after more, it may be anywhere ahead.
_STEPS_APART = 10_000


def _second_moment(ended: list[tuple[Floats, float]], alive: Floats, after: Floats, spread: Floats) -> float:
    """Return the variance of Y from what its paths have earned; everything is counted from one origin.

    Parameters
    ----------
    ended
        For each way to have ended, E[X^j; ended], j = 0, 1, 2, with X >= 0, and what Y is beyond X.
    alive
        E[Y^j; in v] for the paths that have not ended, shape (3, n).
    after, spread
        Mean and variance of what is still to be earned from each v, shape (n,).

    Raises
    ------
    NumericalError
        If rounding leaves fewer digits than promised, or the variance overflows.
    """
    mean = float((alive[1] + alive[0] * after).sum()) + sum(float(x[1] + x[0] * shift) for x, shift in ended)
    beyond = after - mean
    off = _ROUNDING * (after + abs(mean))
    terms = [alive[2], 2.0 * alive[1] * beyond, alive[0] * spread, alive[0] * beyond * beyond]
    error = float((2.0 * alive[1] * off + alive[0] * (2.0 * np.abs(beyond) + off) * off).sum())
    for levels, origin in ended:
        shift = origin - mean
        terms.append(np.array([levels[2], 2.0 * shift * levels[1], shift * shift * levels[0]]))
    every = np.concatenate(terms)
    total = float(every.sum())
    error += _ROUNDING * float(np.abs(every).sum())
    if not np.isfinite(total):
        raise NumericalError("the variance is too large for a float")
    if error > _ACCURACY * total and not (total <= error <= _NOTHING * mean * mean):
        raise NumericalError(f"the variance is about {total:.1e}, of which rounding leaves too few digits")
    return total


class PiecewiseModel:
    """A phase-type distribution whose parameters change at given times, for example with the size of a population.

    In every method `theta` has shape (epochs, p) or (batch, epochs, p), and results gain a leading batch axis with
    it. Labels count as for `Model`: a sequence of labelled θ, one for each epoch, or a DataFrame whose rows are the
    epochs. Made by `Model.epochs`.

    Parameters
    ----------
    plan
        The chain.
    starts
        When each epoch begins, ascending, the first 0; whole steps if the model is discrete. The last epoch has no end.

    Raises
    ------
    ParameterError
        If `starts` is something else.

    Notes
    -----
    The chain may start in any state at the beginning of an epoch, so its state is carried from one to the next, by
    uniformization or, where that is cheaper, repeated squaring. Moments are carried along by uniformization: with m_j
    the vector of E[Y^j; in v], m_j' = m_j S + j m_{j-1} R, a linear equation without negative terms off the
    diagonal.
    """

    def __init__(self, plan: Plan, starts: Any) -> None:
        self._plan = plan
        self.starts = own(as_float_array(starts, "starts"))
        s = self.starts
        if s.ndim != 1 or s.size == 0 or s[0] != 0 or not np.isfinite(s).all() or (np.diff(s) <= 0).any():
            raise ParameterError(f"starts must ascend from 0, one time for each epoch; not {starts!r}")
        if plan.graph.discrete and (s != np.floor(s)).any():
            raise ParameterError(f"the epochs of a discrete model begin at whole steps; not {starts!r}")

    def __call__(self, theta: Any, times: Any, **options: Any) -> Floats:
        """Return the density at `times`; see `pdf`."""
        return self.pdf(theta, times, **options)

    def pdf(self, theta: Any, times: Any, *, tol: float = 1e-12, max_steps: int = _DEFAULT_MAX_STEPS) -> Floats:
        """Return the density of the time until absorption (discrete: its probability mass).

        Where the density jumps, at the beginning of an epoch, the value is that of the new epoch.

        Parameters
        ----------
        theta
            Shape (epochs, p) or (batch, epochs, p).
        times
            Any shape.
        tol, max_steps
            As for `Model.pdf`; the steps are counted in each epoch.

        Returns
        -------
        numpy.ndarray
            Shape of `times`, or (batch, *shape of `times`).

        Raises
        ------
        ParameterError
            If an argument is out of range.
        NumericalError
            If more than `max_steps` steps are needed.
        """
        return self._distribution("pdf", theta, times, tol, max_steps)

    def cdf(self, theta: Any, times: Any, *, tol: float = 1e-12, max_steps: int = _DEFAULT_MAX_STEPS) -> Floats:
        """Return the probability to be absorbed by each time; otherwise as `pdf`."""
        return self._distribution("cdf", theta, times, tol, max_steps)

    def sf(self, theta: Any, times: Any, *, tol: float = 1e-12, max_steps: int = _DEFAULT_MAX_STEPS) -> Floats:
        """Return the survival function 1 - cdf; otherwise as `pdf`."""
        return self._distribution("sf", theta, times, tol, max_steps)

    def expectation(self, theta: Any, rewards: Any = None, *, max_steps: int = _DEFAULT_MAX_STEPS) -> Any:
        """Return E[Y], a float or shape (batch,); see `moments`."""
        values = self.moments(theta, 1, rewards, max_steps=max_steps)[..., 0]
        return values if values.ndim else float(values)

    def variance(self, theta: Any, rewards: Any = None, *, max_steps: int = _DEFAULT_MAX_STEPS) -> Any:
        """Return Var[Y], a float or shape (batch,).

        Errors as for `moments`, and a NumericalError if rounding would leave fewer than nine digits.

        Notes
        -----
        Added up over the ways to end, each measured from the mean: absorption in an epoch, and for the last epoch the
        variance from each state on (law of total variance). What every path earns alike, the smallest reward times
        the duration, is set apart, so a long time without absorption does not hide a small variance.
        """
        batch, is_batch = self._check_theta(theta)
        checked = check_reward_vector(rewards, self._plan.graph)
        steps = check_count(max_steps, "max_steps", 1, 2**62)
        values = np.array([self._variance(rows, checked, steps) for rows in batch])
        return values if is_batch else float(values[0])

    def moments(self, theta: Any, k: int, rewards: Any = None, *, max_steps: int = _DEFAULT_MAX_STEPS) -> Floats:
        """Return the first `k` raw moments of Y = Σ_v r_v T_v, shape (k,) or (batch, k).

        Parameters
        ----------
        theta
            Shape (epochs, p) or (batch, epochs, p).
        k
            At most 64.
        rewards
            Shape (V,); None for the time until absorption.
        max_steps
            Bound of the number of uniformization steps in each epoch.

        Raises
        ------
        ParameterError
            If an argument is out of range.
        InfiniteExpectationError
            If the process may be caught in the last epoch in states with a reward.
        NumericalError
            If more than `max_steps` steps are needed, or the result overflows.
        """
        batch, is_batch = self._check_theta(theta)
        count = check_count(k, "k", 1, MAX_MOMENT)
        checked = check_reward_vector(rewards, self._plan.graph)
        steps = check_count(max_steps, "max_steps", 1, 2**62)
        values = np.empty((batch.shape[0], count))
        for i, rows in enumerate(batch):
            values[i] = self._moments(rows, count, checked, steps)
        return values if is_batch else values[0]

    def __reduce__(self) -> tuple[type[PiecewiseModel], tuple[Plan, Floats]]:
        return PiecewiseModel, (self._plan, self.starts)

    # -- one parameter history ----------------------------------------------------------------------------------------

    def _moments(self, theta: Floats, k: int, rewards: Floats | None, max_steps: int) -> Floats:
        state = np.zeros((k + 1, self._plan.graph.vertices_length()))
        state[0] = self._initial(theta[0])
        for epoch, duration in enumerate(np.diff(self.starts)):
            state = self._plan.advance(theta[epoch : epoch + 1], float(duration), state, rewards, max_steps)
        after = self._plan.vertex_moments(theta[-1:], k, rewards, self._entered(theta))[0]
        total = np.empty(k)
        for j in range(1, k + 1):
            # What was earned before the last epoch, i times, and what is earned from each state on, j - i times.
            mixed = (comb(j, i) * float(state[i, 1:] @ after[j - i - 1, 1:]) for i in range(j))
            total[j - 1] = state[j].sum() + sum(mixed)
        return total

    def _variance(self, theta: Floats, rewards: Floats | None, max_steps: int) -> float:
        graph = self._plan.graph
        earns = np.ones(graph.vertices_length()) if rewards is None else rewards
        transient = np.diff(graph.edge_ptr) > 0
        transient[0] = False
        least = float(earns[transient].min()) if transient.any() else 0.0
        # Level j of `state` holds E[X^j; in v], where X is what a path has earned beyond the least that it can have.
        state = np.zeros((3, graph.vertices_length()))
        state[0] = self._initial(theta[0])
        earned = least * self.starts
        ended = [(state[:, 0].copy(), -float(earned[-1]))]
        for epoch, duration in enumerate(np.diff(self.starts)):
            state[:, 0] = 0.0
            here = theta[epoch : epoch + 1]
            levels = self._plan.advance(here, float(duration), state, earns, max_steps)[:, 0]
            ended.append((levels, float(earned[epoch] - earned[-1])))
            state = self._plan.advance(here, float(duration), state, np.where(transient, earns - least, 0.0), max_steps)
        mass = self._entered(theta)
        after = self._plan.vertex_moments(theta[-1:], 1, rewards, mass)[0, 0, 1:]
        spread = self._plan.vertex_variances(theta[-1:], rewards, mass)[0, 1:]
        return _second_moment(ended, state[:, 1:], after, spread)

    def _entered(self, theta: Floats) -> Floats | None:
        """Return where the last epoch may be entered, which matters only if it has a weight of zero; else None."""
        return None if self._plan.edge_weights(theta[-1:]).all() else self._possible(theta)

    def _possible(self, theta: Floats) -> Floats:
        """Return 1 for the vertices where the process may be when the last epoch begins, shape (V,), however improbable."""
        graph = self._plan.graph
        source = np.repeat(np.arange(graph.vertices_length()), np.diff(graph.edge_ptr))
        may = self._initial(theta[0]) > 0
        may[0] = False
        for epoch, duration in enumerate(np.diff(self.starts)):
            weights = self._plan.edge_weights(theta[epoch : epoch + 1])[0]
            edges = (weights > 0) & (source > 0)
            steps = int(min(duration, _STEPS_APART)) if graph.discrete else 0
            stays = np.bincount(source, weights, may.size) < 1.0
            for _ in range(steps):
                ahead = may & stays
                ahead[graph.edge_target[edges & may[source]]] = True
                if (ahead == may).all():
                    break
                may = ahead
            else:
                if not graph.discrete or duration > steps:
                    ptr = np.searchsorted(source[edges], np.arange(may.size + 1))
                    may = reachable(ptr, graph.edge_target[edges], np.flatnonzero(may))
        return may.astype(np.float64)

    def _distribution(self, what: str, theta: Any, times: Any, tol: float, max_steps: int) -> Floats:
        batch, is_batch = self._check_theta(theta)
        at = check_times(times)
        flat = np.ascontiguousarray(at.reshape(-1))
        self._plan.check_times(flat)
        tolerance, steps = check_tolerance(tol), check_count(max_steps, "max_steps", 1, 2**62)
        values = np.empty((batch.shape[0], flat.size))
        for i, rows in enumerate(batch):
            values[i] = self._values(what, rows, flat, tolerance, steps)
        shaped = values.reshape(batch.shape[0], *at.shape)
        return shaped if is_batch else shaped[0]

    def _values(self, what: str, theta: Floats, times: Floats, tol: float, max_steps: int) -> Floats:
        values = np.empty(times.size)
        state = self._initial(theta[0])
        # A discrete mass at the step where an epoch begins was decided by the step before, in the old epoch.
        discrete = self._plan.graph.discrete
        epoch_of = np.maximum(np.searchsorted(self.starts, times, side="left" if discrete else "right") - 1, 0)
        for epoch, start in enumerate(self.starts):
            rows = theta[epoch : epoch + 1]
            here = epoch_of == epoch
            if here.any():
                since = np.ascontiguousarray(times[here] - start)
                values[here] = evaluate(self._plan, rows, since, (what,), tol, max_steps, 1, state)[what][0]
            if epoch + 1 < self.starts.size and (epoch_of > epoch).any():
                state = carry(self._plan, rows, float(self.starts[epoch + 1] - start), state, max_steps)
        return values

    def _initial(self, theta: Floats) -> Floats:
        """Mass in each vertex at time 0, what is absorbed at once in entry 0; the first epoch's θ counts."""
        graph = self._plan.graph
        n = int(graph.edge_ptr[1])
        weights = self._plan.edge_weights(theta[None])[0, :n]
        if not weights.sum() > 0:
            raise ParameterError("the initial probabilities sum to zero")
        mass = np.zeros(graph.vertices_length())
        mass[graph.edge_target[:n]] = weights / weights.sum()
        absorbing = np.diff(graph.edge_ptr) == 0
        at_once = mass[absorbing].sum()
        mass[absorbing] = 0.0
        mass[0] = at_once
        return mass

    def _check_theta(self, theta: Any) -> tuple[Floats, bool]:
        array = as_float_array(by_position(theta, self._plan.graph.param_names), "theta")
        n, p = self.starts.size, self._plan.graph.param_length()
        if array.ndim not in (2, 3) or array.shape[-2:] != (n, p):
            raise ParameterError(
                f"theta must have shape ({n}, {p}) or (batch, {n}, {p}), epochs by parameters, not {array.shape}"
            )
        checked, _ = check_theta(array.reshape(prod(array.shape[:-1]), p), self._plan.graph)
        # Every epoch must have rates that make sense, also those that no asked time reaches.
        self._plan.rate(checked)
        return checked.reshape(checked.shape[0] // n, n, p), array.ndim == 3
