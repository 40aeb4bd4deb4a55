"""The binding of the C core: arrays in, arrays out, and threads and workspaces."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core._core import ffi, lib
from ..errors import FormatError, GraphError, NumericalError, ParameterError
from ..statespace.owned import own
from .status import check, theta_text

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..graph import Graph

    Floats = npt.NDArray[np.float64]

LANES = 8
# Entries of a pattern above which parameter vectors are taken one at a time: scratch for eight would need gigabytes.
_MAX_LANED_FILL = 2**25
_DRAWS_AT_ONCE = 4096
_ORDER_KINDS = ("trivial", "least_fill", "bfs", "reverse_bfs", "dissection", "given")


class Pattern(NamedTuple):
    """Order and fill pattern of an elimination, as `phasic_models.dag.SymbolicDAG` describes them."""

    order: npt.NDArray[np.int32]
    block_ptr: npt.NDArray[np.int32]
    lower_ptr: npt.NDArray[np.int64]
    lower_col: npt.NDArray[np.int32]
    upper_ptr: npt.NDArray[np.int64]
    upper_col: npt.NDArray[np.int32]


_PATTERN_DTYPES = (np.int32, np.int32, np.int64, np.int32, np.int64, np.int32)


def reachable(ptr: npt.NDArray[Any], target: npt.NDArray[Any], roots: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which vertices can be reached from `roots`, shape (n,).

    Parameters
    ----------
    ptr, target
        Edges by source; `ptr` has n + 1 entries, and every target lies in [0, n).
    roots
        Where to start.
    """
    n = ptr.size - 1
    seen = np.empty(n, dtype=np.uint8)
    status = lib.pm_reachable(
        n,
        _in("int64_t[]", np.ascontiguousarray(ptr, dtype=np.int64)),
        _in("int32_t[]", np.ascontiguousarray(target, dtype=np.int32)),
        roots.size,
        _in("int32_t[]", np.ascontiguousarray(roots, dtype=np.int32)),
        ffi.from_buffer("uint8_t[]", seen, require_writable=True),
    )
    if status == lib.PM_E_MEMORY:
        raise MemoryError(f"out of memory for a graph of {n} vertices")
    if status != lib.PM_OK:
        raise IndexError("a root is no vertex of the graph")
    return seen.view(np.bool_)


def symbolic(graph: Graph, order: Any = None, block_ptr: Any = None) -> tuple[Pattern, int, str]:
    """Find the order and fill pattern of a graph.

    Parameters
    ----------
    graph
        The graph to eliminate.
    order, block_ptr
        An order to use instead of the best one found: vertices by position, and the first position of each block.

    Returns
    -------
    pattern : Pattern
    operations : int
        Multiply-adds of one numeric elimination.
    ordering : str
        How many blocks were ordered by which rule, for example ``"least_fill=9,trivial=40"``.

    Raises
    ------
    GraphError
        If a given order does not belong to the graph.
    """
    arrays = _GraphArrays(graph)
    where = ffi.new("pm_where *")
    check(lib.pm_graph_check(arrays.graph, arrays.sizes, where), where, graph)
    out = ffi.new("pm_symbolic **")
    if order is None:
        status = lib.pm_symbolic_new(arrays.graph, 0, 0, ffi.NULL, ffi.NULL, out, where)
    else:
        order = np.ascontiguousarray(order, dtype=np.int32)
        block_ptr = np.ascontiguousarray(block_ptr, dtype=np.int32)
        status = lib.pm_symbolic_new(
            arrays.graph,
            order.size,
            block_ptr.size - 1,
            _in("int32_t[]", order),
            _in("int32_t[]", block_ptr),
            out,
            where,
        )
        if status == lib.PM_E_PATTERN:
            raise GraphError(f"the elimination order does not belong to the graph (at position {where.a})")
    check(status, where, graph)
    handle = ffi.gc(out[0], lib.pm_symbolic_free)
    c = ffi.new("pm_pattern *")
    lib.pm_symbolic_pattern(handle, c)
    lower_ptr = _copy(c.lower_ptr, c.n_rows + 1, np.int64)
    upper_ptr = _copy(c.upper_ptr, c.n_rows + 1, np.int64)
    pattern = Pattern(
        _copy(c.order, c.n_rows, np.int32),
        _copy(c.block_ptr, c.n_blocks + 1, np.int32),
        lower_ptr,
        _copy(c.lower_col, int(lower_ptr[-1]), np.int32),
        upper_ptr,
        _copy(c.upper_col, int(upper_ptr[-1]), np.int32),
    )
    counts = ffi.new("int64_t[]", len(_ORDER_KINDS))
    lib.pm_symbolic_ordering(handle, counts)
    ordering = ",".join(f"{kind}={counts[i]}" for i, kind in enumerate(_ORDER_KINDS) if counts[i])
    return pattern, int(lib.pm_symbolic_operations(handle)), ordering


class Plan:
    """A graph and its elimination pattern, checked against each other by the core and ready for evaluation.

    Safe to use from many threads: each call takes its own workspace from a pool.

    Parameters
    ----------
    graph
        The graph.
    pattern
        Its elimination; need not be trusted.

    Raises
    ------
    FormatError
        If the pattern does not belong to the graph.
    """

    def __init__(self, graph: Graph, pattern: Pattern) -> None:
        self.graph = graph
        self._arrays = _GraphArrays(graph)
        # The core borrows these arrays for as long as the plan lives.
        arrays: list[Any] = [own(np.asarray(a, dtype)) for a, dtype in zip(pattern, _PATTERN_DTYPES, strict=True)]
        self._pattern = Pattern(*arrays)
        p = self._pattern
        if p.block_ptr.size < 2 or p.lower_ptr.size != p.order.size + 1 or p.upper_ptr.size != p.order.size + 1:
            raise FormatError("the arrays of the elimination pattern have lengths that do not fit together")
        self._c_pattern = ffi.new("pm_pattern *")
        c = self._c_pattern
        c.n_rows, c.n_blocks = p.order.size, p.block_ptr.size - 1
        self._buffers = [
            _in("int32_t[]", p.order),
            _in("int32_t[]", p.block_ptr),
            _in("int64_t[]", p.lower_ptr),
            _in("int32_t[]", p.lower_col),
            _in("int64_t[]", p.upper_ptr),
            _in("int32_t[]", p.upper_col),
        ]
        c.order, c.block_ptr, c.lower_ptr, c.lower_col, c.upper_ptr, c.upper_col = self._buffers
        out = ffi.new("pm_plan **")
        where = ffi.new("pm_where *")
        status = lib.pm_plan_new(
            self._arrays.graph, self._arrays.sizes, c, p.lower_col.size, p.upper_col.size, out, where
        )
        if status == lib.PM_E_PATTERN:
            raise FormatError(f"the elimination pattern does not belong to the graph (at row {where.a})")
        check(status, where, graph)
        self._plan = ffi.gc(out[0], lib.pm_plan_free)
        self.operations = int(lib.pm_plan_operations(self._plan))
        self._pool: dict[int, list[Any]] = {1: [], LANES: []}
        self._uniform_pool: list[Any] = []

    def __reduce__(self) -> tuple[type[Plan], tuple[Graph, Pattern]]:
        # The core's own memory does not travel; it is made and checked again.
        return Plan, (self.graph, self._pattern)

    # -- moments ------------------------------------------------------------------------------------------------------

    def moments(self, theta: Floats, k: int, rewards: Floats | None, n_threads: int) -> Floats:
        """Raw moments 1..k, shape (batch, k); theta (batch, p), rewards (V,) or None."""
        out = np.empty((theta.shape[0], k))
        c_rewards = ffi.NULL if rewards is None else _in("double[]", rewards)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_moments(self._plan, ws, n, c_theta, k, c_rewards, _out(out[rows]), where)

        self._batches(theta, n_threads, run)
        return out

    def joint_moment(self, theta: Floats, rewards: Floats, n_threads: int) -> Floats:
        """E[Y_1 … Y_k], shape (batch,); rewards (k, V)."""
        out = np.empty(theta.shape[0])
        c_rewards = _in("double[]", rewards)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_joint_moment(self._plan, ws, n, c_theta, rewards.shape[0], c_rewards, _out(out[rows]), where)

        self._batches(theta, n_threads, run)
        return out

    def sojourn(self, theta: Floats, n_threads: int) -> Floats:
        """Expected time in each vertex, shape (batch, V)."""
        out = np.empty((theta.shape[0], self.graph.vertices_length()))

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_sojourn(self._plan, ws, n, c_theta, _out(out[rows]), where)

        self._batches(theta, n_threads, run)
        return out

    def covariance(self, theta: Floats, rewards: Floats, n_threads: int) -> tuple[Floats, Floats]:
        """Means (batch, m) and covariances (batch, m, m); rewards (m, V)."""
        m = rewards.shape[0]
        mean, covariance = np.empty((theta.shape[0], m)), np.empty((theta.shape[0], m, m))
        c_rewards = _in("double[]", rewards)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_covariance(
                self._plan, ws, n, c_theta, m, c_rewards, _out(mean[rows]), _out(covariance[rows]), where
            )

        self._batches(theta, n_threads, run)
        return mean, covariance

    def moments_grad(self, theta: Floats, k: int, rewards: Floats | None, n_threads: int) -> tuple[Floats, Floats]:
        """Moments (batch, k) and their derivatives by theta (batch, k, p)."""
        out, grad = np.empty((theta.shape[0], k)), np.empty((theta.shape[0], k, theta.shape[1]))
        c_rewards = ffi.NULL if rewards is None else _in("double[]", rewards)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_moments_grad(
                self._plan, ws, n, c_theta, k, c_rewards, _out(out[rows]), _out(grad[rows]), where
            )

        self._batches(theta, n_threads, run)
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
    ) -> dict[str, Floats]:
        """Any of pdf, cdf and sf at `times`, each of shape (batch, T).

        `initial`, shape (V,), is the mass in each vertex at time 0, with what is absorbed already in entry 0.
        """
        results = {name: np.empty((theta.shape[0], times.size)) for name in what}
        c_times = _in("double[]", times)
        c_initial = ffi.NULL if initial is None else _in("double[]", initial)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            uniform = self._take_uniform()
            try:
                outs = [_out(results[name][rows]) if name in results else ffi.NULL for name in ("pdf", "cdf", "sf")]
                return lib.pm_uniform_eval(
                    self._plan, ws, uniform, n, c_theta, c_initial, times.size, c_times, tol, max_steps, *outs, where
                )
            finally:
                self._uniform_pool.append(uniform)

        self._batches(theta, n_threads, run, lanes=1, times=times)
        return results

    def uniformize_grad(
        self, theta: Floats, times: Floats, tol: float, max_steps: int, n_threads: int
    ) -> tuple[Floats, Floats]:
        """Density at `times`, (batch, T), and its derivatives by theta, (batch, T, p)."""
        value = np.empty((theta.shape[0], times.size))
        grad = np.zeros((theta.shape[0], times.size, theta.shape[1]))
        c_times = _in("double[]", times)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            uniform = self._take_uniform()
            try:
                return lib.pm_uniform_grad(
                    self._plan,
                    ws,
                    uniform,
                    n,
                    c_theta,
                    times.size,
                    c_times,
                    tol,
                    max_steps,
                    _out(value[rows]),
                    _out(grad[rows]),
                    where,
                )
            finally:
                self._uniform_pool.append(uniform)

        self._batches(theta, n_threads, run, lanes=1, times=times)
        return value, grad

    def advance(self, theta: Floats, duration: float, state: Floats, rewards: Floats | None, max_steps: int) -> Floats:
        """Carry mass and moments through `duration` at one parameter vector, theta (1, p).

        Level j of `state`, shape (k + 1, V), holds E[Y^j; in v] and, in entry 0, E[Y^j; absorbed].
        """
        out = np.empty_like(state)
        c_rewards = ffi.NULL if rewards is None else _in("double[]", rewards)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            uniform = self._take_uniform()
            try:
                return lib.pm_uniform_advance(
                    self._plan,
                    ws,
                    uniform,
                    c_theta,
                    duration,
                    state.shape[0] - 1,
                    c_rewards,
                    max_steps,
                    _in("double[]", state),
                    _out(out),
                    where,
                )
            finally:
                self._uniform_pool.append(uniform)

        self._batches(theta, 1, run, lanes=1)
        return out

    def vertex_moments(self, theta: Floats, k: int, rewards: Floats | None) -> Floats:
        """Raw moments 1..k from every vertex, shape (batch, k, V)."""
        out = np.empty((theta.shape[0], k, self.graph.vertices_length()))
        c_rewards = ffi.NULL if rewards is None else _in("double[]", rewards)

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_vertex_moments(self._plan, ws, n, c_theta, k, c_rewards, _out(out[rows]), where)

        self._batches(theta, 1, run)
        return out

    def sample(
        self, theta: Floats, size: int, seed: int, rewards: Floats | None, max_jumps: int, n_threads: int
    ) -> Floats:
        """Draws of the rewarded sum, (batch, size); row i, column k is draw i * size + k of the stream of `seed`."""
        out = np.empty((theta.shape[0], size))
        c_rewards = ffi.NULL if rewards is None else _in("double[]", rewards)
        made = ffi.new("pm_sampler **")
        check(lib.pm_sampler_new(self._plan, made), None, self.graph)
        sampler = ffi.gc(made[0], lib.pm_sampler_free)
        for row in range(theta.shape[0]):
            self._set_sampler(sampler, theta, row)

            def draw(first: int, row: int = row) -> None:
                where = ffi.new("pm_where *")
                part = out[row, first : first + _DRAWS_AT_ONCE]
                status = lib.pm_sampler_draw(
                    self._plan, sampler, c_rewards, seed, row * size + first, part.size, max_jumps, _out(part), where
                )
                if status == lib.PM_E_LIMIT:
                    raise NumericalError(f"a draw took more than max_jumps = {max_jumps} jumps{theta_text(theta, row)}")
                check(status, where, self.graph, theta)

            # Short parts, so that an interrupt is seen between them.
            firsts = range(0, size, _DRAWS_AT_ONCE)
            if n_threads <= 1 or len(firsts) <= 1:
                for first in firsts:
                    draw(first)
            else:
                with ThreadPoolExecutor(n_threads) as pool:
                    list(pool.map(draw, firsts))
        return out

    def _set_sampler(self, sampler: Any, theta: Floats, row: int) -> None:
        where = ffi.new("pm_where *")
        ws = self._take_workspace(1)
        try:
            status = lib.pm_sampler_set(self._plan, ws, sampler, _in("double[]", theta[row]), where)
        finally:
            self._pool[1].append(ws)
        where.a = row
        check(status, where, self.graph, theta)

    def censor(self, keep: npt.NDArray[np.bool_]) -> Censored:
        """Watch the chain only in the vertices that `keep` (V,) marks."""
        return Censored(self, keep)

    def check_times(self, times: Floats) -> None:
        """Raise the core's error for a bad time, without evaluating anything."""
        where = ffi.new("pm_where *")
        check(lib.pm_check_times(self._plan, times.size, _in("double[]", times), where), where, self.graph, None, times)

    def rate(self, theta: Floats) -> Floats:
        """Uniformization rate, shape (batch,)."""
        out = np.empty(theta.shape[0])

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_uniform_rate(self._plan, ws, n, c_theta, _out(out[rows]), where)

        self._batches(theta, 1, run, lanes=1)
        return out

    def edge_weights(self, theta: Floats) -> Floats:
        """Weight of every edge, shape (batch, n_edges)."""
        out = np.empty((theta.shape[0], self.graph.n_edges))

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            return lib.pm_weights(self._plan, ws, n, c_theta, _out(out[rows]), where)

        self._batches(theta, 1, run, lanes=1)
        return out

    # -- workspaces and threads ---------------------------------------------------------------------------------------

    def _batches(
        self,
        theta: Floats,
        n_threads: int,
        run: Callable[[Any, int, Any, slice, Any], Any],
        *,
        lanes: int | None = None,
        times: Floats | None = None,
    ) -> None:
        """Call `run` on consecutive parts of the batch, one part per thread; the core releases the GIL."""
        n = theta.shape[0]
        if n == 0:
            return
        large = self._pattern.lower_col.size + self._pattern.upper_col.size > _MAX_LANED_FILL
        lanes = lanes or (1 if n == 1 or large else LANES)

        def part(first: int, stop: int) -> None:
            where = ffi.new("pm_where *")
            ws = self._take_workspace(lanes)
            try:
                rows = slice(first, stop)
                status = run(ws, stop - first, _in("double[]", theta[rows]), rows, where)
            finally:
                self._pool[lanes].append(ws)
            if status != lib.PM_OK:
                where.a += first
                check(status, where, self.graph, theta, times)

        groups = -(-n // lanes)
        n_parts = min(n_threads, groups)
        if n_parts <= 1:
            part(0, n)
            return
        bounds = [min(n, i * groups // n_parts * lanes) for i in range(n_parts)] + [n]
        with ThreadPoolExecutor(n_parts) as pool:
            for done in [pool.submit(part, *pair) for pair in pairwise(bounds)]:
                done.result()

    def _take_workspace(self, lanes: int) -> Any:
        try:
            return self._pool[lanes].pop()
        except IndexError:
            out = ffi.new("pm_workspace **")
            check(lib.pm_workspace_new(self._plan, lanes, out), None, self.graph)
            return ffi.gc(out[0], lib.pm_workspace_free)

    def _take_uniform(self) -> Any:
        try:
            return self._uniform_pool.pop()
        except IndexError:
            out = ffi.new("pm_uniform **")
            check(lib.pm_uniform_new(self._plan, out), None, self.graph)
            return ffi.gc(out[0], lib.pm_uniform_free)


class Censored:
    """The chain of a plan, watched only in some vertices; what it does elsewhere is eliminated.

    Parameters
    ----------
    plan
        The plan of the whole chain.
    keep
        Shape (V,): which vertices are watched; the starting vertex always is.

    Attributes
    ----------
    vertices : numpy.ndarray
        Vertex of each row, the starting vertex first.
    edge_ptr, edge_target : numpy.ndarray
        Edges by row; a target equal to the number of rows stands for absorption.
    """

    def __init__(self, plan: Plan, keep: npt.NDArray[np.bool_]) -> None:
        self._owner = plan
        self._lock = threading.Lock()
        out = ffi.new("pm_censored **")
        flags = np.ascontiguousarray(keep, dtype=np.uint8)
        check(lib.pm_censored_new(plan._plan, _in("uint8_t[]", flags), out), None, plan.graph)
        self._handle = ffi.gc(out[0], lib.pm_censored_free)
        n, vertices = ffi.new("int32_t *"), ffi.new("const int32_t **")
        ptr, target = ffi.new("const int64_t **"), ffi.new("const int32_t **")
        lib.pm_censored_edges(self._handle, n, vertices, ptr, target)
        self.vertices = _copy(vertices[0], n[0], np.int32)
        self.edge_ptr = _copy(ptr[0], n[0] + 1, np.int64)
        self.edge_target = _copy(target[0], int(self.edge_ptr[-1]), np.int32)

    def weights(self, theta: Floats) -> Floats:
        """Weight of every edge, shape (batch, n_edges)."""
        out = np.empty((theta.shape[0], self.edge_target.size))

        def run(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            # The scratch arrays stand in the handle itself.
            with self._lock:
                return lib.pm_censored_weights(self._owner._plan, ws, self._handle, n, c_theta, _out(out[rows]), where)

        self._owner._batches(theta, 1, run, lanes=1)
        return out


def thread_count(n_threads: int | None) -> int:
    """Return the number of threads to use: what was asked for, else 1; -1 stands for all processors.

    Raises
    ------
    ParameterError
        If it is neither positive nor -1.
    """
    if n_threads is None:
        return 1
    whole = isinstance(n_threads, Integral) and not isinstance(n_threads, bool)
    if whole and n_threads == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not whole or n_threads < 1:
        raise ParameterError(f"n_threads must be a positive integer, or -1 for all processors, not {n_threads!r}")
    return int(n_threads)


class _GraphArrays:
    """A pm_graph that borrows the arrays of a Graph, and keeps them alive."""

    def __init__(self, graph: Graph) -> None:
        w = graph.weights
        self.graph = ffi.new("pm_graph *")
        self.sizes = ffi.new("pm_graph_sizes *")
        c = self.graph
        c.n_vertices, c.n_params, c.discrete = graph.vertices_length(), graph.param_length(), graph.discrete
        c.n_affine, c.n_program = w.affine_base.size, w.program_op.size
        self.sizes.n_edges, self.sizes.n_affine_terms = graph.edge_target.size, w.affine_coef.size
        self._buffers = [
            _in("int64_t[]", graph.edge_ptr),
            _in("int32_t[]", graph.edge_target),
            _in("int32_t[]", graph.edge_slot),
            _in("double[]", w.affine_base),
            _in("int64_t[]", w.affine_ptr),
            _in("int32_t[]", w.affine_param),
            _in("double[]", w.affine_coef),
            _in("uint8_t[]", w.program_op),
            _in("int32_t[]", w.program_a),
            _in("int32_t[]", w.program_b),
        ]
        (
            c.edge_ptr,
            c.edge_target,
            c.edge_slot,
            c.affine_base,
            c.affine_ptr,
            c.affine_param,
            c.affine_coef,
            c.program_op,
            c.program_a,
            c.program_b,
        ) = self._buffers


def _in(ctype: str, array: npt.NDArray[Any]) -> Any:
    # Arrays come from this package's own classes, which fix dtype and contiguity; from_buffer refuses anything else.
    return ffi.from_buffer(ctype, array)


def _out(array: npt.NDArray[np.float64]) -> Any:
    return ffi.from_buffer("double[]", array, require_writable=True)


def _copy(pointer: Any, size: int, dtype: Any) -> npt.NDArray[Any]:
    if size == 0:
        return np.empty(0, dtype)
    # Into `bytes`, which nobody can change.
    copied: npt.NDArray[Any] = np.frombuffer(ffi.buffer(pointer, size * np.dtype(dtype).itemsize)[:], dtype)
    return copied
