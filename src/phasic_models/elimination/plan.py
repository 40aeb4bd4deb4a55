"""The engine: numbers at parameter vectors, from the core, by many threads."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.binding import into, into_or_null, out_of
from ..core.native import ffi, lib
from ..core.refusals import check, theta_text
from ..core.stopping import holding, new_control, raise_if_stopped, run
from ..core.threads import run_parts, useful
from ..errors import NumericalError
from .prepared import LANES, Prepared, Scratch
from .symbolic import GraphArrays, Pattern, default_memory, symbolic

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..graph import Graph
    from ..progress import Progress

    Floats = npt.NDArray[np.float64]

# Entries of a pattern above which parameter vectors are taken one at a time: scratch for eight would need gigabytes.
_MAX_LANED_FILL = 2**25
_DRAWS_AT_ONCE = 4096
# Nanoseconds, measured on one core: for each operation and edge of an elimination, and each edge of a jump.
_PER_OPERATION = 0.5
_PER_EDGE = 5.0
PER_JUMP = 1.2


class Plan:
    """A graph, ready for evaluation; its elimination is made when it is first needed.

    Safe to use from many threads: each call takes its own workspace from a pool. Distributions and samples use the graph
    alone, whether or not it has been eliminated, so that their last bits do not depend on it.

    Parameters
    ----------
    graph
        The graph.
    pattern
        Its elimination, which is checked; None to find it when it is needed.
    ordering
        How the order was found, as a text.
    progress
        Called with the progress of the check of the pattern.

    Raises
    ------
    FormatError
        If the pattern does not belong to the graph.
    """

    def __init__(
        self, graph: Graph, pattern: Pattern | None = None, ordering: str = "", progress: Progress | None = None
    ) -> None:
        self.graph = graph
        self.ordering = ordering
        # The graph owns its arrays; these are pointers into them, so `graph` must be kept as long.
        self._arrays = GraphArrays(graph)
        # Held while the graph is eliminated. Lock order: this one or that of a CensoredChain, never both; then that of a Call.
        self._lock = threading.Lock()
        self._pattern = pattern
        # With a pattern one plan serves everything.
        self._any = Prepared(graph, self._arrays, pattern, progress)
        self._full = None if pattern is None else self._any

    @property
    def is_eliminated(self) -> bool:
        """Whether the elimination has been made."""
        return self._full is not None

    @property
    def pattern(self) -> Pattern:
        """Order and fill pattern; found now if they are not known yet."""
        self.eliminated()
        assert self._pattern is not None
        return self._pattern

    @property
    def operations(self) -> int:
        """Multiply-adds of one elimination."""
        return self.eliminated().operations

    def eliminated(self) -> Prepared:
        """Return the plan with its elimination, which is made once.

        Raises
        ------
        NumericalError
            If it would take more work or memory than `Graph.eliminate` allows by default.
        """
        if self._full is None:
            with holding(self._lock):
                if self._full is None:
                    found = symbolic(self.graph, max_memory=default_memory())
                    self._pattern, self.ordering = found.pattern, found.ordering
                    self._full = Prepared(self.graph, self._arrays, found.pattern)
        return self._full

    def __reduce__(self) -> tuple[type[Plan], tuple[Graph, Pattern | None]]:
        # Memory of the core is not pickled; it is made and checked again.
        return Plan, (self.graph, self._pattern)

    # -- moments ------------------------------------------------------------------------------------------------------

    def moments(self, theta: Floats, k: int, rewards: Floats | None, n_threads: int) -> Floats:
        """Raw moments 1..k, shape (batch, k); theta (batch, p), rewards (V,) or None."""
        out = np.empty((theta.shape[0], k))
        c_rewards = into_or_null(rewards)

        eliminated = self.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_moments(eliminated.plan, ws, n, c_theta, k, c_rewards, out_of(out[rows]), where)

        self.batches(eliminated, theta, n_threads, call, times_work=k)
        return out

    def joint_moment(self, theta: Floats, rewards: Floats, n_threads: int) -> Floats:
        """E[Y_1 … Y_k], shape (batch,); rewards (k, V)."""
        out = np.empty(theta.shape[0])
        c_rewards = into("double[]", rewards)

        eliminated = self.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_joint_moment(
                eliminated.plan, ws, n, c_theta, rewards.shape[0], c_rewards, out_of(out[rows]), where
            )

        self.batches(eliminated, theta, n_threads, call, times_work=2.0 ** rewards.shape[0])
        return out

    def sojourn(self, theta: Floats, n_threads: int) -> Floats:
        """Expected time in each vertex, shape (batch, V); infinite where the process is caught."""
        out = np.empty((theta.shape[0], self.graph.vertices_length()))

        eliminated = self.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_sojourn(eliminated.plan, ws, n, c_theta, out_of(out[rows]), where)

        self.batches(eliminated, theta, n_threads, call, times_work=1)
        return out

    def covariance(self, theta: Floats, rewards: Floats, n_threads: int) -> tuple[Floats, Floats]:
        """Means (batch, m) and covariances (batch, m, m); rewards (m, V)."""
        m = rewards.shape[0]
        mean, covariance = np.empty((theta.shape[0], m)), np.empty((theta.shape[0], m, m))
        c_rewards = into("double[]", rewards)

        eliminated = self.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_covariance(
                eliminated.plan, ws, n, c_theta, m, c_rewards, out_of(mean[rows]), out_of(covariance[rows]), where
            )

        self.batches(eliminated, theta, n_threads, call, times_work=m * m)
        return mean, covariance

    def moments_grad(self, theta: Floats, k: int, rewards: Floats | None, n_threads: int) -> tuple[Floats, Floats]:
        """Moments (batch, k) and their derivatives by theta (batch, k, p)."""
        out, grad = np.empty((theta.shape[0], k)), np.empty((theta.shape[0], k, theta.shape[1]))
        c_rewards = into_or_null(rewards)

        eliminated = self.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_moments_grad(
                eliminated.plan, ws, n, c_theta, k, c_rewards, out_of(out[rows]), out_of(grad[rows]), where
            )

        self.batches(eliminated, theta, n_threads, call, times_work=4 * k)
        return out, grad

    # -- distribution -------------------------------------------------------------------------------------------------

    def uniformize(
        self,
        theta: Floats,
        times: Floats,
        what: tuple[str, ...],
        tol: float,
        max_steps: int,
        n_threads: int,
        initial: Floats | None = None,
        stay: Floats | None = None,
    ) -> dict[str, Floats]:
        """Any of pdf, cdf and sf at `times`, each of shape (batch, T).

        `initial`, shape (V,), is the mass in each vertex at time 0, with what is absorbed already in entry 0. `stay`, shape
        (batch, V), is the probability to stay in each vertex of a discrete graph, if more is known of it than what the edges leave.
        """
        results = {name: np.empty((theta.shape[0], times.size)) for name in what}
        c_times = into("double[]", times)
        c_initial = into_or_null(initial)

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            uniform = self._any.take_uniform()
            try:
                pdf, cdf, sf = (
                    out_of(results[name][rows]) if name in results else ffi.NULL for name in ("pdf", "cdf", "sf")
                )
                return lib.pm_uniform_eval(
                    self._any.plan,
                    ws,
                    uniform,
                    n,
                    c_theta,
                    c_initial,
                    ffi.NULL if stay is None else into("double[]", stay[rows]),
                    times.size,
                    c_times,
                    tol,
                    max_steps,
                    pdf,
                    cdf,
                    sf,
                    where,
                )
            finally:
                self._any.free_uniform.append(uniform)

        n_threads = self._threads_for_sweeps(theta, times, n_threads, 1.0)
        self.batches(self._any, theta, n_threads, call, lanes=1, times=times)
        return results

    def uniformize_grad(
        self, theta: Floats, times: Floats, tol: float, max_steps: int, n_threads: int
    ) -> tuple[Floats, Floats]:
        """Density at `times`, (batch, T), and its derivatives by theta, (batch, T, p)."""
        value = np.empty((theta.shape[0], times.size))
        grad = np.zeros((theta.shape[0], times.size, theta.shape[1]))
        c_times = into("double[]", times)

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            uniform = self._any.take_uniform()
            try:
                return lib.pm_uniform_grad(
                    self._any.plan,
                    ws,
                    uniform,
                    n,
                    c_theta,
                    times.size,
                    c_times,
                    tol,
                    max_steps,
                    out_of(value[rows]),
                    out_of(grad[rows]),
                    where,
                )
            finally:
                self._any.free_uniform.append(uniform)

        n_threads = self._threads_for_sweeps(theta, times, n_threads, 1.0 + theta.shape[1])
        self.batches(self._any, theta, n_threads, call, lanes=1, times=times)
        return value, grad

    def _threads_for_sweeps(self, theta: Floats, times: Floats, n_threads: int, times_work: float) -> int:
        """Return how many threads are worth waking for the uniformization of a batch."""
        if n_threads <= 1 or theta.shape[0] <= 1:
            return 1
        with np.errstate(over="ignore"):
            jumps = float(self.rate(theta).sum()) * float(times.max(initial=0.0))
        return useful(n_threads, jumps * (self.graph.n_edges + self.graph.vertices_length()) * PER_JUMP * times_work)

    def advance(self, theta: Floats, duration: float, state: Floats, rewards: Floats | None, max_steps: int) -> Floats:
        """Carry mass and moments through `duration` at one parameter vector, theta (1, p).

        Level j of `state`, shape (k + 1, V), holds E[Y^j; in v] and, in entry 0, E[Y^j; absorbed].
        """
        out = np.empty_like(state)
        c_rewards = into_or_null(rewards)

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            uniform = self._any.take_uniform()
            try:
                return lib.pm_uniform_advance(
                    self._any.plan,
                    ws,
                    uniform,
                    c_theta,
                    duration,
                    state.shape[0] - 1,
                    c_rewards,
                    max_steps,
                    into("double[]", state),
                    out_of(out),
                    where,
                )
            finally:
                self._any.free_uniform.append(uniform)

        self.batches(self._any, theta, 1, call, lanes=1)
        return out

    def vertex_moments(self, theta: Floats, k: int, rewards: Floats | None, mass: Floats | None = None) -> Floats:
        """Raw moments 1..k from every vertex, shape (batch, k, V).

        They have a meaning for vertices that are reached from where `mass`, shape (V,), is not zero, entry 0 left out; None
        stands for the starting vertex.
        """
        out = np.empty((theta.shape[0], k, self.graph.vertices_length()))
        c_rewards, c_mass = into_or_null(rewards), into_or_null(mass)
        eliminated = self.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_vertex_moments(
                eliminated.plan, ws, n, c_theta, k, c_rewards, c_mass, out_of(out[rows]), where
            )

        self.batches(eliminated, theta, 1, call)
        return out

    def vertex_variances(self, theta: Floats, rewards: Floats | None, mass: Floats | None = None) -> Floats:
        """Variances of the rewarded sum from every vertex on, shape (batch, V); `mass` as in `vertex_moments`."""
        out = np.empty((theta.shape[0], self.graph.vertices_length()))
        c_rewards, c_mass = into_or_null(rewards), into_or_null(mass)
        eliminated = self.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_vertex_variance(eliminated.plan, ws, n, c_theta, c_rewards, c_mass, out_of(out[rows]), where)

        self.batches(eliminated, theta, 1, call)
        return out

    def sample(
        self, theta: Floats, size: int, seed: int, rewards: Floats | None, max_jumps: int, n_threads: int
    ) -> Floats:
        """Draws of the rewarded sum, (batch, size), infinite where it is; row i, column k is draw i * size + k of the
        stream of `seed`.
        """
        out = np.empty((theta.shape[0], size))
        c_rewards = into_or_null(rewards)
        samplers: dict[Prepared, Any] = {}
        for row in range(theta.shape[0]):
            of, sampler = self._set_sampler(samplers, theta, row, c_rewards)
            # Shared by the threads: each takes the next draws that nobody has taken. `next` of a counter needs no lock.
            firsts = itertools.count(0, _DRAWS_AT_ONCE)

            def draw(
                row: int = row,
                firsts: itertools.count[int] = firsts,
                of: Prepared = of,
                sampler: Any = sampler,
            ) -> None:
                where, control = ffi.new("pm_where *"), new_control()
                for first in firsts:
                    if first >= size:
                        return
                    part = out[row, first : first + _DRAWS_AT_ONCE]
                    status = lib.pm_sampler_draw(
                        of.plan,
                        sampler,
                        seed,
                        row * size + first,
                        part.size,
                        max_jumps,
                        control,
                        out_of(part),
                        where,
                    )
                    raise_if_stopped(control)
                    if status == lib.PM_E_LIMIT:
                        raise NumericalError(
                            f"a draw took more than max_jumps = {max_jumps} jumps{theta_text(theta, row)}"
                        )
                    check(status, where, self.graph, theta)

            n_parts = min(n_threads, -(-size // _DRAWS_AT_ONCE))
            if n_parts <= 1:
                run(draw)
            else:
                run_parts([draw] * n_parts)
        return out

    def _set_sampler(
        self, samplers: dict[Prepared, Any], theta: Floats, row: int, c_rewards: Any
    ) -> tuple[Prepared, Any]:
        """Prepare draws at one parameter vector; return the plan and its sampler, which is kept in `samplers`.

        The graph alone serves if absorption is certain; else the elimination is needed, to find the traps.
        """
        where = ffi.new("pm_where *")
        c_theta = into("double[]", theta[row])
        of = self._any
        while True:
            if of not in samplers:
                made = ffi.new("pm_sampler **")
                check(lib.pm_sampler_new(of.plan, made), None, self.graph)
                samplers[of] = ffi.gc(made[0], lib.pm_sampler_free)
            scratch = of.take(1)
            status: list[int] = []

            def work(of: Prepared = of, scratch: Scratch = scratch, status: list[int] = status) -> None:
                status.append(lib.pm_sampler_set(of.plan, scratch.workspace, samplers[of], c_theta, c_rewards, where))

            try:
                run(work)
                raise_if_stopped(scratch.control)
            finally:
                of.free[1].append(scratch)
            if status[0] != lib.PM_E_UNCERTAIN:
                where.theta = row
                check(status[0], where, self.graph, theta)
                return of, samplers[of]
            of = self.eliminated()

    def check_times(self, times: Floats) -> None:
        """Raise the core's error for a bad time, without evaluating anything."""
        where = ffi.new("pm_where *")
        check(
            lib.pm_check_times(self._any.plan, times.size, into("double[]", times), where),
            where,
            self.graph,
            None,
            times,
        )

    def rate(self, theta: Floats) -> Floats:
        """Uniformization rate, shape (batch,)."""
        out = np.empty(theta.shape[0])

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_uniform_rate(self._any.plan, ws, n, c_theta, out_of(out[rows]), where)

        self.batches(self._any, theta, 1, call, lanes=1)
        return out

    def edge_weights(self, theta: Floats) -> Floats:
        """Weight of every edge, shape (batch, n_edges)."""
        out = np.empty((theta.shape[0], self.graph.n_edges))

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_weights(self._any.plan, ws, n, c_theta, out_of(out[rows]), where)

        self.batches(self._any, theta, 1, call, lanes=1)
        return out

    # -- workspaces and threads ---------------------------------------------------------------------------------------

    def batches(
        self,
        of: Prepared,
        theta: Floats,
        n_threads: int,
        call: Callable[[Any, int, Any, slice, Any], Any],
        *,
        lanes: int | None = None,
        times: Floats | None = None,
        times_work: float = 1.0,
    ) -> None:
        """Call the core on consecutive parts of the batch, one part per thread; it releases the GIL.

        `times_work`: how much more a parameter vector takes than its elimination. Calls that do not eliminate have chosen
        the number of their threads themselves.
        """
        n = theta.shape[0]
        if n == 0:
            return
        lanes = lanes or (1 if n == 1 or of.fill > _MAX_LANED_FILL else LANES)

        def part(first: int, stop: int) -> None:
            where = ffi.new("pm_where *")
            scratch = of.take(lanes)
            try:
                rows = slice(first, stop)
                status = call(scratch.workspace, stop - first, into("double[]", theta[rows]), rows, where)
                raise_if_stopped(scratch.control)
            finally:
                of.free[lanes].append(scratch)
            if status != lib.PM_OK:
                if where.theta >= 0:
                    where.theta += first
                check(status, where, self.graph, theta, times)

        groups = -(-n // lanes)
        if n_threads > 1 and of is self._full and lanes != 1:
            each = _PER_OPERATION * of.operations + _PER_EDGE * self.graph.n_edges
            n_threads = useful(n_threads, n * times_work * each)
        n_parts = min(n_threads, groups)
        if n_parts <= 1:
            run(lambda: part(0, n))
            return
        bounds = [min(n, i * groups // n_parts * lanes) for i in range(n_parts)] + [n]
        run_parts([partial(part, first, stop) for first, stop in pairwise(bounds)])
