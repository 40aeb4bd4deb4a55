"""Chains made from a model's chain: with rewards instead of time, and with a clock that kills it.

Both keep the structure and take one parameter per edge: the weights of the original, at θ, changed by numbers.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..core.binding import reachable
from ..elimination.censored import Censored
from ..elimination.plan import Plan
from ..errors import NumericalError, ParameterError
from ..graph import Graph
from ..statespace.table import WeightTable

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.integer]
    Bools = npt.NDArray[np.bool_]

#: A discrete state with reward r becomes r states; this bounds their number.
MAX_EXPANDED = 2_000_000


def edge_graph(edge_ptr: Ints, edge_target: Ints, n_vertices: int, discrete: bool) -> Graph:
    """Return a graph with one parameter per edge, that edge's weight. The state of vertex v is (v,).

    Vertices beyond the rows of `edge_ptr` are absorbing.
    """
    m = int(edge_target.size)
    rows = np.full(n_vertices + 1, m, dtype=np.int64)
    rows[: edge_ptr.size] = edge_ptr
    weights = WeightTable(
        affine_base=np.zeros(m),
        affine_ptr=np.arange(m + 1, dtype=np.int64),
        affine_param=np.arange(m, dtype=np.int32),
        affine_coef=np.ones(m),
        program_op=np.empty(0, np.uint8),
        program_a=np.empty(0, np.int32),
        program_b=np.empty(0, np.int32),
    )
    return Graph.from_canonical_arrays(
        np.arange(n_vertices, dtype=np.int64)[:, None],
        rows,
        edge_target,
        np.arange(m, dtype=np.int32),
        weights,
        discrete=discrete,
        param_names=[f"w{e}" for e in range(m)],
    )


class RewardedChain:
    """The chain whose time until absorption is the rewarded sum Y of another.

    Where a reward is positive, rates are divided by it (discrete: the state is repeated that many times); states
    without reward are eliminated, and paths that never meet a reward become a mass at 0.

    Parameters
    ----------
    plan
        The original chain.
    rewards
        Shape (V,), 0 or more.

    Raises
    ------
    ParameterError
        If the chain is discrete and a reward is no whole number.

    References
    ----------
    V. G. Kulkarni (1989), A new class of multivariate phase type distributions. Operations Research 37, 151-158.
    https://doi.org/10.1287/opre.37.1.151
    """

    def __init__(self, plan: Plan, rewards: Floats) -> None:
        graph = plan.graph
        self._censored = Censored(plan, rewards > 0)
        self._rewards = rewards[self._censored.vertices]
        self._rewards[0] = 1.0
        ptr, target = self._censored.edge_ptr, self._censored.edge_target
        self._source = np.repeat(np.arange(ptr.size - 1), np.diff(ptr))
        self._copies: Ints | None = None
        if graph.discrete:
            if (self._rewards != np.floor(self._rewards)).any():
                vertex = int(self._censored.vertices[np.flatnonzero(self._rewards != np.floor(self._rewards))[0]])
                raise ParameterError(f"rewards[{vertex}] is {rewards[vertex]}; a discrete model needs whole numbers")
            if float(self._rewards.sum()) > MAX_EXPANDED:
                raise ParameterError(f"the rewards add up to more than {MAX_EXPANDED} states of a discrete model")
            ptr, target = self._repeat_states(ptr, target)
        derived = edge_graph(ptr, target, ptr.size, graph.discrete)
        self.plan = Plan(derived)

    def theta(self, theta: Floats) -> Floats:
        """Return the parameter vectors of `plan` that belong to `theta`, shape (batch, edges)."""
        weights = self._censored.weights(theta)
        if self._copies is None:
            with np.errstate(over="ignore"):
                scaled: Floats = weights / self._rewards[self._source]
            if not np.isfinite(scaled).all():
                raise NumericalError("a rate divided by its reward is too large for a float")
            return scaled
        stay = np.zeros((theta.shape[0], self._rewards.size))
        for row in np.flatnonzero(self._rewards > 1):
            edges = slice(self._censored.edge_ptr[row], self._censored.edge_ptr[row + 1])
            # fsum, because staying may be as improbable as the rounding of a plain sum.
            stay[:, row] = [max(0.0, math.fsum([1.0, *(-values[edges])])) for values in weights]
        values = np.concatenate([weights, stay, np.ones((theta.shape[0], 1))], axis=1)
        return np.ascontiguousarray(values[:, self._copies])

    def _repeat_states(self, ptr: Ints, target: Ints) -> tuple[Ints, Ints]:
        """Give each state as many copies as its reward; `_copies` says which number each new edge takes as its
        weight.
        """
        n = self._rewards.size
        repeats = self._rewards.astype(np.int64)
        first = np.concatenate([[0], np.cumsum(repeats)])
        one = target.size + n  # place of the constant 1, after the weights and the probabilities to stay
        sources, targets, places = [], [], []
        inner = np.setdiff1d(np.arange(first[-1]), first[1:] - 1)  # all but the last copies step on
        sources.append(inner)
        targets.append(inner + 1)
        places.append(np.full(inner.size, one))
        several = np.flatnonzero(repeats > 1)
        # The last copy may go back to the first: the state is kept for one more step.
        sources.append(first[several + 1] - 1)
        targets.append(first[several])
        places.append(target.size + several)
        sources.append(first[self._source + 1] - 1)
        targets.append(first[target])  # the absorbing vertex n comes after all copies
        places.append(np.arange(target.size))
        source, to, place = (np.concatenate(parts) for parts in (sources, targets, places))
        by_row = np.lexsort((to, source))
        self._copies = place[by_row]
        new_ptr = np.searchsorted(source[by_row], np.arange(first[-1] + 1))
        return new_ptr.astype(np.int64), to[by_row].astype(np.int32)


class KilledChain:
    """A chain with one more way out of every state: a clock.

    Parameters
    ----------
    plan
        The original chain.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        graph = plan.graph
        n = graph.vertices_length()
        degree = np.diff(graph.edge_ptr)
        source = np.repeat(np.arange(n), degree)
        self._transient = np.flatnonzero(degree > 0)[1:]
        leaving = (degree[graph.edge_target] == 0) & (source > 0)
        self._exit_edge, self._exit_from = np.flatnonzero(leaving), source[leaving]
        self._source = source
        self._absorbing = degree == 0
        self._by_target = np.argsort(graph.edge_target, kind="stable")
        self._killed: Plan | None = None
        if self._transient.size == 0:
            return  # all mass is absorbed at once, and no clock runs
        # The killed state is one more absorbing vertex, after all others, so its edge is the last of each row.
        all_source = np.concatenate([source, self._transient])
        all_target = np.concatenate([graph.edge_target, np.full(self._transient.size, n)])
        self._by_row = np.lexsort((all_target, all_source))
        new_ptr = np.searchsorted(all_source[self._by_row], np.arange(n + 2)).astype(np.int64)
        derived = edge_graph(new_ptr, all_target[self._by_row].astype(np.int32), n + 1, graph.discrete)
        self._killed = Plan(derived)

    def survival(self, theta: Floats, s: Floats, rewards: Floats, n_threads: int) -> Floats:
        """Probability that the clock, which rings at rate s r_v in state v, never rings; shape (batch, S).

        At s = 0 it is the limit from above: the probability that Σ_v r_v T_v is finite.
        """
        weights = self._plan.edge_weights(theta)
        # Also checks initial and jump probabilities, while an error can still name a state of the original chain.
        at_once = self._plan.uniformize(theta, np.zeros(1), ("cdf",), 1e-12, 1000, n_threads)["cdf"][:, 0]
        out = np.repeat(at_once[:, None], s.size, axis=1)
        if self._killed is None:
            return np.minimum(out, 1.0)
        caught, safe = self._caught(weights, rewards)
        for k, value in enumerate(s):
            with np.errstate(over="ignore"):
                clock = value * rewards
            if self._plan.graph.discrete:
                # One step survives with probability exp(-s r).
                survive = np.exp(-clock)
                scaled = weights * np.where(self._source == 0, 1.0, survive[self._source])
                kill = -np.expm1(-clock[self._transient])
            else:
                scaled, kill = weights, clock[self._transient]
                if not np.isfinite(kill).all():
                    raise NumericalError(f"s = {value} times a reward is too large for a float")
            kill = np.broadcast_to(kill, (theta.shape[0], kill.size))
            if caught.any():
                scaled = np.where(caught[:, self._source], 0.0, scaled)
                kill = np.where(caught[:, self._transient], 1.0, kill)
            both = np.concatenate([scaled, kill], axis=1)
            sojourn = self._killed.sojourn(np.ascontiguousarray(both[:, self._by_row]), n_threads)
            out[:, k] += np.sum(sojourn[:, self._exit_from] * scaled[:, self._exit_edge], axis=1)
            if caught.any():
                out[:, k] += np.sum(sojourn[:, :-1], axis=1, where=safe)
        return np.minimum(out, 1.0)

    def _caught(self, weights: Floats, rewards: Floats) -> tuple[Bools, Bools]:
        """Vertices from which absorption is impossible and where it is certain already whether a clock will ring, each of
        shape (batch, V); and those of them where none will. They are made to be left at rate 1.
        """
        caught = np.zeros((weights.shape[0], self._absorbing.size), dtype=bool)
        safe = caught.copy()
        earning = (rewards > 0) & ~self._absorbing
        for row in np.flatnonzero((weights == 0).any(axis=1)):
            edges = weights[row] > 0
            earns = self._leads_to(edges, earning)
            stuck = ~self._leads_to(edges, self._absorbing)
            safe[row] = stuck & ~earns
            caught[row] = safe[row] | ~self._leads_to(edges, ~earns)
        caught[:, 0] = safe[:, 0] = False
        return caught, safe

    def _leads_to(self, edges: Bools, goal: Bools) -> Bools:
        """Return from which vertices the `goal` can be reached along those of the edges."""
        order = self._by_target[edges[self._by_target]]
        ptr = np.searchsorted(self._plan.graph.edge_target[order], np.arange(goal.size + 1))
        return reachable(ptr, self._source[order], np.flatnonzero(goal))
