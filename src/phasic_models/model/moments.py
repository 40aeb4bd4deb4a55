"""The moments of a model, and what is computed by the same elimination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.refusals import check_earned
from ..core.threads import thread_count
from ..errors import NumericalError
from ..evaluation.arguments import (
    MAX_JOINT,
    MAX_MOMENT,
    check_count,
    check_reward_vector,
    check_rewards,
    check_theta,
)
from .base import ModelBase

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


class Moments(ModelBase):
    """Methods of `Model` about expectations."""

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

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> round(model.expectation([1.0]), 6)
        1.333333
        >>> model.expectation([[1.0], [2.0]], model.states[:, 0]).round(6)  # the total branch length
        array([3. , 1.5])
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
        """Return Var[Y], a float or shape (batch,), right to 1e-9 of itself; in squared units of Y.

        Errors as for `expectation`, and a NumericalError if fewer digits would be left.

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> round(model.variance([1.0]), 6)
        1.111111
        """
        return self.covariance(theta, rewards, rewards, n_threads=n_threads)

    def covariance(
        self, theta: Any, rewards1: Any = None, rewards2: Any = None, *, n_threads: int | None = None
    ) -> Any:
        """Return the covariance of the sums of two rewards, a float or shape (batch,); None stands for ones.

        Errors as for `covariance_matrix`.

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> round(model.covariance([1.0], model.states[:, 0]), 6)  # time and total branch length
        2.333333
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

        It is infinite in states that are reached and visited for ever, because absorption is not certain.

        Raises
        ------
        ParameterError
            If an argument is out of range.
        NumericalError
            If a finite result overflows.

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> model.sojourn([1.0])  # by row of model.states: start, 1, 2 and 3 lineages
        array([0.        , 0.        , 1.        , 0.33333333])
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

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> moments, gradient = model.moments_and_grad([1.0], 1)
        >>> moments.round(6), gradient.round(6)
        (array([1.333333]), array([[-1.333333]]))
        """
        batch, is_batch = check_theta(theta, self.graph)
        count = check_count(k, "k", 1, MAX_MOMENT)
        checked = check_reward_vector(rewards, self.graph)
        values, gradient = self._plan.moments_grad(batch, count, checked, thread_count(n_threads))
        return (values, gradient) if is_batch else (values[0], gradient[0])

    def _moments(self, theta: Any, k: int, rewards: Floats | None, n_threads: int | None) -> tuple[Floats, bool]:
        batch, is_batch = check_theta(theta, self.graph)
        return self._plan.moments(batch, k, rewards, thread_count(n_threads)), is_batch
