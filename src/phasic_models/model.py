"""Model: a phase-type distribution, evaluated at parameter vectors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .core.refusals import check_earned
from .core.threads import thread_count
from .elimination.plan import Plan
from .errors import NumericalError
from .evaluation.arguments import (
    MAX_JOINT,
    MAX_MOMENT,
    check_count,
    check_probabilities,
    check_reward_vector,
    check_rewards,
    check_seed,
    check_size,
    check_theta,
    check_times,
    check_tolerance,
    check_transform_arguments,
)
from .evaluation.distribution import evaluate
from .evaluation.epochs import PiecewiseModel
from .evaluation.quantile import quantiles
from .evaluation.transforms import KilledChain, RewardedChain

if TYPE_CHECKING:
    import numpy.typing as npt

    from .dag import SymbolicDAG
    from .graph import Graph

    Floats = npt.NDArray[np.float64]

#: Largest number of uniformization steps before a density is refused.
DEFAULT_MAX_STEPS = 20_000_000
# Chains with rewards that a model remembers; each is about as large as the model.
_REWARDED_KEPT = 4


class Model:
    """A phase-type distribution whose rates are functions of a parameter vector θ.

    In every method `theta` has shape (p,) or (batch, p), and results gain a leading batch axis with it; a model without
    parameters takes ``None`` or ``[]``. What has labels is matched by the names of the parameters, and other labels
    than those are an error: a mapping or named tuple (arrays as values are a batch), a structured array, a pandas Series
    (its index) or DataFrame (its columns; rows are the batch), an xarray Dataset (its variables) or DataArray (a
    coordinate), and a sequence of those (a batch). A pandas index that only counts 0, 1, … is no label. Times are in
    the unit of 1/rate, or whole steps if the model is discrete.
    Rewards have shape (V,), in the order of `states`; those of the starting vertex and of absorbing vertices count
    for nothing. With rewards r, Y = Σ_v r_v T_v is meant, where T_v is the time (or number of steps) spent in v
    before absorption; without, the time until absorption. Absorption need not be certain: Y is then infinite where
    the process is caught in states with a reward, and finite where there is none. Everything is float64. Methods may
    be called from many threads at once.

    Parameters
    ----------
    dag
        The eliminated graph.

    Examples
    --------
    >>> from phasic_models import Graph
    >>> def coalescent(state, n=4):
    ...     if len(state) == 0:
    ...         return [([n], 1.0, [1.0])]
    ...     k = state[0]
    ...     return [([k - 1], 0.0, [k * (k - 1) / 2])] if k > 1 else []
    >>> model = Graph(coalescent).model()
    >>> model.expectation([1.0])
    1.5
    """

    def __init__(self, dag: SymbolicDAG) -> None:
        self._set(dag.plan, dag)

    @classmethod
    def from_graph(cls, graph: Graph) -> Model:
        """Return the model of a graph, which is eliminated when the first moment is asked for; see `Graph.model`."""
        model = cls.__new__(cls)
        model._set(Plan(graph), None)
        return model

    def _set(self, plan: Plan, dag: SymbolicDAG | None) -> None:
        self._plan = plan
        self._dag = dag
        self._rewarded: dict[bytes, RewardedChain] = {}
        self._killed: KilledChain | None = None

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self._plan.graph

    @property
    def dag(self) -> SymbolicDAG:
        """The elimination of the graph, made now if nothing has needed it yet.

        Raises
        ------
        NumericalError
            If it would take more work or memory than `Graph.eliminate` allows by default.
        """
        if self._dag is None:
            from .dag import SymbolicDAG

            self._dag = SymbolicDAG.from_plan(self._plan)
        return self._dag

    @property
    def param_names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of θ."""
        return self.graph.param_names

    @property
    def states(self) -> npt.NDArray[np.int64]:
        """States, shape (V, state_length); row 0 is the starting vertex, all zeros."""
        return self.graph.state_array

    @property
    def discrete(self) -> bool:
        """Whether time goes in whole steps."""
        return self.graph.discrete

    # -- distribution -------------------------------------------------------------------------------------------------

    def __call__(self, theta: Any, times: Any, **options: Any) -> Floats:
        """Return the density (discrete: the probability mass) at `times`; see `pdf`."""
        return self.pdf(theta, times, **options)

    def pdf(
        self,
        theta: Any,
        times: Any,
        rewards: Any = None,
        *,
        tol: float = 1e-12,
        max_steps: int = DEFAULT_MAX_STEPS,
        n_threads: int | None = None,
    ) -> Floats:
        """Return the density of Y; for a discrete model its probability mass.

        Parameters
        ----------
        theta
            Shape (p,) or (batch, p).
        times
            Any shape; 0 or more, finite, and whole numbers if the model is discrete.
        rewards
            Shape (V,); None for the time until absorption. Whole numbers if the model is discrete.
        tol
            Bound of the error relative to the value, for values down to 1e-280 and up to 2e7 jumps; from 1e-12 to 0.1.
        max_steps
            Bound of the number of uniformization steps, about largest rate × largest time.
        n_threads
            Threads over the batch; -1 for all processors.

        Returns
        -------
        numpy.ndarray
            Shape of `times`, or (batch, *shape of `times`).

        Raises
        ------
        ParameterError
            If an argument is out of range; the message names the entry.
        NumericalError
            If more than `max_steps` steps are needed.

        Notes
        -----
        A mass at 0, from absorption at once or from paths without reward, is no part of the density of a continuous
        model; ``cdf(theta, 0)`` is that mass. Where absorption is not certain, Y may be infinite: the density then
        sums to P(Y < ∞) and the survival function does not fall below P(Y = ∞). Distributions come from
        uniformization, or from repeated squaring where the model is so stiff that this is cheaper. With rewards,
        rates are divided by them and states without reward are eliminated (Kulkarni 1989; Bladt and Nielsen 2017,
        theorem 3.1.33).

        References
        ----------
        A. Jensen (1953), Markoff chains as an aid in the study of Markoff processes. Scandinavian Actuarial Journal 36,
        87-91. https://doi.org/10.1080/03461238.1953.10419459
        """
        return self._distribution("pdf", theta, times, rewards, tol, max_steps, n_threads)

    def cdf(
        self,
        theta: Any,
        times: Any,
        rewards: Any = None,
        *,
        tol: float = 1e-12,
        max_steps: int = DEFAULT_MAX_STEPS,
        n_threads: int | None = None,
    ) -> Floats:
        """Return P(Y ≤ t) at each time; parameters and errors as for `pdf`."""
        return self._distribution("cdf", theta, times, rewards, tol, max_steps, n_threads)

    def sf(
        self,
        theta: Any,
        times: Any,
        rewards: Any = None,
        *,
        tol: float = 1e-12,
        max_steps: int = DEFAULT_MAX_STEPS,
        n_threads: int | None = None,
    ) -> Floats:
        """Return the survival function P(Y > t), to relative accuracy `tol` down to 1e-280; otherwise as `pdf`."""
        return self._distribution("sf", theta, times, rewards, tol, max_steps, n_threads)

    def pdf_and_grad(
        self,
        theta: Any,
        times: Any,
        *,
        tol: float = 1e-12,
        max_steps: int = DEFAULT_MAX_STEPS,
        n_threads: int | None = None,
    ) -> tuple[Floats, Floats]:
        """Return the density and its exact derivatives by θ.

        Returns
        -------
        density : numpy.ndarray
            Shape of `times`, or (batch, *shape of `times`), as from `pdf`.
        gradient : numpy.ndarray
            The same with a last axis of length p.

        Notes
        -----
        Parameters and errors as for `pdf`. Sensitivities are carried through the sweep of uniformization. The time
        grows with p: measured 5.7 times that of the density for p = 1, 8.5 for p = 3, 19 for p = 20 and 52 for
        p = 100. Repeated squaring, which `pdf` uses for stiff models, is not available here.
        """
        batch, is_batch = check_theta(theta, self.graph)
        at = check_times(times)
        steps = check_count(max_steps, "max_steps", 1, 2**62)
        values, gradient = self._plan.uniformize_grad(
            batch, np.ascontiguousarray(at.reshape(-1)), check_tolerance(tol), steps, thread_count(n_threads)
        )
        values = values.reshape(batch.shape[0], *at.shape)
        gradient = gradient.reshape(batch.shape[0], *at.shape, batch.shape[1])
        return (values, gradient) if is_batch else (values[0], gradient[0])

    def quantile(
        self,
        theta: Any,
        q: Any,
        rewards: Any = None,
        *,
        tol: float = 1e-12,
        max_steps: int = DEFAULT_MAX_STEPS,
        n_threads: int | None = None,
    ) -> Floats:
        """Return the times at which the distribution function reaches `q`; for a discrete model the first such step.

        Parameters
        ----------
        theta
            Shape (p,) or (batch, p).
        q
            Probabilities in [0, 1], any shape. 1 gives infinity, and so does what is not below P(Y < ∞) where absorption is
            not certain.
        rewards
            Shape (V,); None for the time until absorption.
        tol
            Relative accuracy of the times; also the tolerance of the distribution function.
        max_steps, n_threads
            As for `pdf`.

        Returns
        -------
        numpy.ndarray
            Shape of `q`, or (batch, *shape of `q`).

        Raises
        ------
        ParameterError
            If a probability lies outside [0, 1] or is NaN, or as for `pdf`.
        NumericalError
            If a probability is positive but below 1e-280 in a continuous model, or its quantile too large for a float.

        Notes
        -----
        Where absorption is not certain, the quantile is that of the chain under the condition that Y is finite (Doob's
        transform: weights times the probability from their target on, over that from their source on). P(Y < ∞)
        is known to about 1e-15, so that a `q` that is closer to it than 1e-14 of it gives infinity, and the quantile of a
        `q` that falls short of it by a share δ has a relative accuracy of about 1e-15/δ, if that is more than `tol`.
        """
        batch, is_batch = check_theta(theta, self.graph)
        probabilities = check_probabilities(q)
        steps = check_count(max_steps, "max_steps", 1, 2**62)
        flat = probabilities.reshape(-1)
        accuracy, threads = check_tolerance(tol), thread_count(n_threads)
        chain, rates = self._chain(batch, rewards)
        values = quantiles(chain, rates, flat, tol=accuracy, max_steps=steps, n_threads=threads)
        values = values.reshape(batch.shape[0], *probabilities.shape)
        return values if is_batch else values[0]

    def sample(
        self,
        theta: Any,
        size: int | tuple[int, ...] = 1,
        seed: int | None = None,
        rewards: Any = None,
        *,
        max_jumps: int = DEFAULT_MAX_STEPS,
        n_threads: int | None = None,
    ) -> Floats:
        """Draw from the distribution of Y by simulating the chain.

        Parameters
        ----------
        theta
            Shape (p,) or (batch, p).
        size
            Number or shape of the draws.
        seed
            Non-negative integer; the same seed gives the same draws, whatever the number of threads. None: a new one
            each time.
        rewards
            Shape (V,); None for the time until absorption.
        max_jumps
            Bound of the number of jumps in one draw.
        n_threads
            Threads over the draws; -1 for all processors.

        Returns
        -------
        numpy.ndarray
            Shape `size`, or (batch, *size). A draw is infinite if it ends in states that are never left for good (the
            time until absorption always, a sum of rewards if there is a reward among them).

        Raises
        ------
        ParameterError
            If an argument is out of range.
        NumericalError
            If a draw takes more than `max_jumps` jumps.
        """
        batch, is_batch = check_theta(theta, self.graph)
        shape = check_size(size)
        values = self._plan.sample(
            batch,
            math.prod(shape),
            check_seed(seed),
            check_reward_vector(rewards, self.graph),
            check_count(max_jumps, "max_jumps", 1, 2**62),
            thread_count(n_threads),
        ).reshape(batch.shape[0], *shape)
        return values if is_batch else values[0]

    def _distribution(
        self, what: str, theta: Any, times: Any, rewards: Any, tol: float, max_steps: int, n_threads: int | None
    ) -> Floats:
        batch, is_batch = check_theta(theta, self.graph)
        at = check_times(times)
        steps = check_count(max_steps, "max_steps", 1, 2**62)
        chain, rates = self._chain(batch, rewards)
        flat = np.ascontiguousarray(at.reshape(-1))
        values = evaluate(chain, rates, flat, (what,), check_tolerance(tol), steps, thread_count(n_threads))[what]
        shaped = values.reshape(batch.shape[0], *at.shape)
        return shaped if is_batch else shaped[0]

    def _chain(self, batch: Floats, rewards: Any) -> tuple[Plan, Floats]:
        """Return the chain whose time until absorption is Y, and its parameter vectors."""
        checked = check_reward_vector(rewards, self.graph)
        if checked is None:
            return self._plan, batch
        key = checked.tobytes()
        found = self._rewarded.get(key)
        if found is None:
            found = RewardedChain(self._plan, checked)
            while len(self._rewarded) >= _REWARDED_KEPT:
                self._rewarded.pop(next(iter(self._rewarded)), None)
            self._rewarded[key] = found
        return found.plan, found.theta(batch)

    def epochs(self, starts: Any) -> PiecewiseModel:
        """Return the model with a θ of its own from each of the times in `starts` on; see `PiecewiseModel`.

        Parameters
        ----------
        starts
            When each epoch begins: ascending, the first 0.

        Examples
        --------
        A population that was ten times as large before time 0.5:

        >>> past = model.epochs([0.0, 0.5])  # doctest: +SKIP
        >>> past.expectation([[1.0], [0.1]])  # doctest: +SKIP
        """
        return PiecewiseModel(self._plan, starts)

    def laplace(self, theta: Any, s: Any, rewards: Any = None, *, n_threads: int | None = None) -> Floats:
        """Return the Laplace transform E[exp(-s Y)] at real `s`, 0 or more; at 0 it is P(Y < ∞), its limit from above.

        Parameters
        ----------
        theta
            Shape (p,) or (batch, p).
        s
            Any shape.
        rewards
            Shape (V,); None for the time until absorption.
        n_threads
            Threads over the batch; -1 for all processors.

        Returns
        -------
        numpy.ndarray
            Shape of `s`, or (batch, *shape of `s`). For a discrete model the generating function at z is
            ``laplace(theta, -log(z))``.

        Raises
        ------
        ParameterError
            If an argument is out of range.

        Notes
        -----
        The transform is the probability that the chain is absorbed before a clock of rate s r_v rings; one
        elimination with the clock as a further way out gives it, without subtraction.
        """
        batch, is_batch = check_theta(theta, self.graph)
        at = check_transform_arguments(s)
        checked = self._ones_if_none(check_reward_vector(rewards, self.graph))
        if self._killed is None:
            self._killed = KilledChain(self._plan)
        values = self._killed.survival(batch, at.reshape(-1), checked, thread_count(n_threads))
        shaped = values.reshape(batch.shape[0], *at.shape)
        return shaped if is_batch else shaped[0]

    # -- moments ------------------------------------------------------------------------------------------------------

    def expectation(self, theta: Any, rewards: Any = None, *, n_threads: int | None = None) -> Any:
        """Return E[Y].

        Parameters
        ----------
        theta
            Shape (p,) or (batch, p).
        rewards
            Shape (V,) for one reward, or (m, V) for several at the cost of one.
        n_threads
            Threads over the batch; -1 for all processors.

        Returns
        -------
        float or numpy.ndarray
            A float; shape (m,) with several rewards; with a leading batch axis if `theta` has one.

        Raises
        ------
        ParameterError
            If an argument is out of range.
        InfiniteExpectationError
            If at this θ the process may be caught for ever in states with a reward; the message names one. Without a
            reward there, what is earned before counts, and is finite.
        NumericalError
            If the result overflows.
        """
        checked = check_rewards(rewards, self.graph)
        if checked is not None and checked.ndim == 2:
            batch, is_batch = check_theta(theta, self.graph)
            sojourn = self.dag.plan.sojourn(batch, thread_count(n_threads))
            check_earned(self.graph, batch, sojourn, checked)
            sojourn[np.isinf(sojourn)] = 0.0  # without a reward
            # Not @, whose last bits depend on the size of the batch.
            sums = np.einsum("...v,mv->...m", sojourn if is_batch else sojourn[0], checked)
            if not np.isfinite(sums).all():
                raise NumericalError("the expectation of a reward is too large for a float")
            return sums
        values, is_batch = self._moments(theta, 1, checked, n_threads)
        return values[:, 0] if is_batch else float(values[0, 0])

    def moments(self, theta: Any, k: int, rewards: Any = None, *, n_threads: int | None = None) -> Floats:
        """Return the first `k` raw moments E[Y], …, E[Y^k], shape (k,) or (batch, k).

        Errors as for `expectation`; `k` is at most 64.

        References
        ----------
        M. Bladt, B. F. Nielsen (2017), Matrix-Exponential Distributions in Applied Probability, Springer, theorem
        3.1.16; for discrete models the recursion over the first step.
        """
        count = check_count(k, "k", 1, MAX_MOMENT)
        values, is_batch = self._moments(theta, count, check_reward_vector(rewards, self.graph), n_threads)
        return values if is_batch else values[0]

    def variance(self, theta: Any, rewards: Any = None, *, n_threads: int | None = None) -> Any:
        """Return Var[Y], a float or shape (batch,), right to 1e-9 of itself.

        Errors as for `expectation`, and a NumericalError if fewer digits would be left.
        """
        return self.covariance(theta, rewards, rewards, n_threads=n_threads)

    def covariance(
        self, theta: Any, rewards1: Any = None, rewards2: Any = None, *, n_threads: int | None = None
    ) -> Any:
        """Return the covariance of the sums of two rewards, a float or shape (batch,); None stands for ones.

        Errors as for `covariance_matrix`.
        """
        first = self._ones_if_none(check_reward_vector(rewards1, self.graph, "rewards1"))
        if rewards2 is rewards1:
            matrix = self.covariance_matrix(theta, first[None], n_threads=n_threads)
        else:
            second = self._ones_if_none(check_reward_vector(rewards2, self.graph, "rewards2"))
            matrix = self.covariance_matrix(theta, np.stack([first, second]), n_threads=n_threads)
        value = matrix[..., 0, -1]
        return value if value.ndim else float(value)

    def covariance_matrix(self, theta: Any, rewards: Any, *, n_threads: int | None = None) -> Floats:
        """Return the covariances of the sums of m rewards, shape (m, m) or (batch, m, m); rewards (m, V).

        Errors as for `expectation`, and a NumericalError if fewer digits would be left than the notes say.

        Notes
        -----
        Each entry is right to 1e-9 of itself, or to 1e-13 of the product of both standard deviations: the better of the law
        of total covariance over the first jump and of E[Y_a Y_b] - E[Y_a] E[Y_b], or the sum of the jumps of a martingale,
        Σ_u z_u Σ_v w_uv (h_a(v) - h_a(u)) (h_b(v) - h_b(u)) with h(v) = E_v[Y] and z the expected time in each state.
        """
        batch, is_batch = check_theta(theta, self.graph)
        checked = self._ones_if_none(check_rewards(rewards, self.graph))
        _, matrix = self._plan.covariance(batch, np.atleast_2d(checked), thread_count(n_threads))
        return matrix if is_batch else matrix[0]

    def joint_moment(self, theta: Any, rewards: Any, *, n_threads: int | None = None) -> Any:
        """Return E[Y_1 Y_2 … Y_m] for m ≤ 8 rewards of shape (m, V); a float or shape (batch,).

        Errors as for `expectation`.
        """
        batch, is_batch = check_theta(theta, self.graph)
        checked = np.atleast_2d(self._ones_if_none(check_rewards(rewards, self.graph)))
        check_count(checked.shape[0], "the number of rewards", 1, MAX_JOINT)
        values = self._plan.joint_moment(batch, np.ascontiguousarray(checked), thread_count(n_threads))
        return values if is_batch else float(values[0])

    def sojourn(self, theta: Any, *, n_threads: int | None = None) -> Floats:
        """Return the expected time (or number of steps) in each vertex, shape (V,) or (batch, V).

        It is infinite in states that are reached and visited again and again for ever, because absorption is not certain.

        Raises
        ------
        ParameterError
            If an argument is out of range.
        NumericalError
            If a finite result overflows.
        """
        batch, is_batch = check_theta(theta, self.graph)
        values = self._plan.sojourn(batch, thread_count(n_threads))
        return values if is_batch else values[0]

    def moments_and_grad(
        self, theta: Any, k: int, rewards: Any = None, *, n_threads: int | None = None
    ) -> tuple[Floats, Floats]:
        """Return the first `k` moments and their exact derivatives by θ, in reverse mode.

        Returns
        -------
        moments : numpy.ndarray
            Shape (k,) or (batch, k).
        gradient : numpy.ndarray
            Shape (k, p) or (batch, k, p).

        Raises
        ------
        InfiniteExpectationError
            Also where weights that are zero would, if they were positive, let the process be caught or get free.

        Notes
        -----
        Errors as for `expectation`, and a NumericalError if a derivative would have fewer than nine digits though it is not
        negligible. With A x = r the reduced system, the derivative of x at the start by the weight of an edge u → v is
        z_u (x_v - x_u), where z solves the transposed system; the chain rule leads to θ. Where absorption is rare, the
        differences are computed without subtracting nearly equal numbers (docs/engine.md).
        """
        batch, is_batch = check_theta(theta, self.graph)
        count = check_count(k, "k", 1, MAX_MOMENT)
        checked = check_reward_vector(rewards, self.graph)
        values, gradient = self._plan.moments_grad(batch, count, checked, thread_count(n_threads))
        return (values, gradient) if is_batch else (values[0], gradient[0])

    def _moments(self, theta: Any, k: int, rewards: Floats | None, n_threads: int | None) -> tuple[Floats, bool]:
        batch, is_batch = check_theta(theta, self.graph)
        return self._plan.moments(batch, k, rewards, thread_count(n_threads)), is_batch

    def _ones_if_none(self, rewards: Floats | None) -> Floats:
        return np.ones(self.graph.vertices_length()) if rewards is None else rewards

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[SymbolicDAG | Graph]]:
        # What was derived along the way is made again when it is asked for; an elimination travels along.
        return (Model, (self.dag,)) if self._plan.is_eliminated else (Model.from_graph, (self.graph,))

    def __repr__(self) -> str:
        kind = "discrete" if self.discrete else "continuous"
        names = ", ".join(self.param_names) or "no parameters"
        return f"Model({kind}, {self.graph.vertices_length()} vertices, {names})"
