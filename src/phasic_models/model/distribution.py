"""The distribution of a model: densities, quantiles, samples, transforms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.threads import thread_count
from ..evaluation.arguments import (
    check_count,
    check_probabilities,
    check_reward_vector,
    check_seed,
    check_size,
    check_theta,
    check_times,
    check_tolerance,
    check_transform_arguments,
)
from ..evaluation.distribution import evaluate
from ..evaluation.quantile import quantiles
from ..evaluation.transforms import KilledChain
from .base import DEFAULT_MAX_STEPS, ModelBase

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]


class Distribution(ModelBase):
    """Methods of `Model` about the law of Y."""

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

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> model.pdf([1.0], [0.5, 1.0]).round(6)
        array([0.575101, 0.477139])
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

        A step that is short of its probability by less than 4e-15 (of `q`, or above one half of 1 - `q`) has reached it.

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
            If a probability is outside [0, 1] or NaN, or as for `pdf`.
        NumericalError
            If a probability is positive but below 1e-280 in a continuous model, or its quantile too large for a float.

        Notes
        -----
        Where absorption is not certain, the quantile is that of the chain under the condition that Y is finite (Doob's
        transform: weights times the probability from their target on, over that from their source on). P(Y < ∞)
        is known to about 1e-15, so that a `q` that is closer to it than 1e-14 of it gives infinity, and the quantile of a
        `q` that falls short of it by a share δ has a relative accuracy of about 1e-15/δ, if that is more than `tol`.

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> round(float(model.quantile([1.0], 0.5)), 6)
        1.057577
        """
        batch, is_batch = check_theta(theta, self.graph)
        probabilities = check_probabilities(q)
        steps = check_count(max_steps, "max_steps", 1, 2**62)
        flat = probabilities.reshape(-1)
        accuracy, threads = check_tolerance(tol), thread_count(n_threads)
        chain, rates, stay = self._chain(batch, rewards)
        values = quantiles(chain, rates, flat, stay, tol=accuracy, max_steps=steps, n_threads=threads)
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

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> model.sample([1.0], size=(2, 3), seed=1).shape
        (2, 3)
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
        chain, rates, stay = self._chain(batch, rewards)
        flat = np.ascontiguousarray(at.reshape(-1))
        threads = thread_count(n_threads)
        values = evaluate(chain, rates, flat, (what,), check_tolerance(tol), steps, threads, stay=stay)[what]
        shaped = values.reshape(batch.shape[0], *at.shape)
        return shaped if is_batch else shaped[0]

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

        Examples
        --------
        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).model()
        >>> model.laplace([1.0], [0.0, 1.0]).round(6)
        array([1.   , 0.375])
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
