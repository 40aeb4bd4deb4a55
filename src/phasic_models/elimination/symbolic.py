"""Symbolic elimination: the order and fill pattern of a graph, within a budget of work and memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..core.binding import copy_of, into
from ..core.native import ffi, lib
from ..core.refusals import check
from ..core.stopping import new_control, raise_if_stopped, run
from ..errors import GraphError, NumericalError, ParameterError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..graph import Graph
    from ..progress import Progress

#: Operations that an elimination may take unless the caller says otherwise: a parameter vector takes ten seconds then.
MAX_OPERATIONS = 1e11
#: Memory for each entry of the pattern: twice its index while arrays grow, two copies of it, and one number.
BYTES_PER_ENTRY = 28
# Beyond any work that can be done.
_NO_LIMIT = 2**60
_STAGES = {
    lib.PM_STAGE_ORDER: "order of least fill",
    lib.PM_STAGE_TRIAL: "other orders",
    lib.PM_STAGE_PATTERN: "pattern",
    lib.PM_STAGE_CHECK: "check of the pattern",
}
_ORDER_KINDS = ("trivial", "least_fill", "bfs", "reverse_bfs", "dissection", "given")


class Pattern(NamedTuple):
    """Order and fill pattern of an elimination, as `phasic_models.dag.SymbolicDAG` describes them."""

    order: npt.NDArray[np.int32]
    block_ptr: npt.NDArray[np.int32]
    lower_ptr: npt.NDArray[np.int64]
    lower_col: npt.NDArray[np.int32]
    upper_ptr: npt.NDArray[np.int64]
    upper_col: npt.NDArray[np.int32]


PATTERN_DTYPES = (np.int32, np.int32, np.int64, np.int32, np.int64, np.int32)


class Elimination(NamedTuple):
    """What `symbolic` finds."""

    pattern: Pattern
    operations: int
    ordering: str


def default_memory() -> int:
    """Return half of the memory of this machine, in bytes; 8 GiB where it is unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, OSError, ValueError):
        return 2**33


def _budget(max_operations: float | None, max_memory: float | None) -> Any:
    budget = ffi.new("pm_budget *")
    for name, value in (("max_operations", max_operations), ("max_memory", max_memory)):
        if value is not None and not (isinstance(value, Real) and value >= 0):
            raise ParameterError(f"{name} must be a number, 0 or more, or None, not {value!r}")
    budget.operations = int(min(_NO_LIMIT if max_operations is None else max_operations, _NO_LIMIT))
    entries = _NO_LIMIT if max_memory is None else min(max_memory / BYTES_PER_ENTRY, _NO_LIMIT)
    budget.entries = int(entries)
    return budget


def _over_budget(where: Any, graph: Graph, max_operations: float | None, max_memory: float | None) -> NumericalError:
    """The error for a graph that is too expensive; `where` as the core has filled it in."""
    rows, value = int(where.at), float(where.value)
    if where.which == lib.PM_LIMIT_EDGES:
        return NumericalError(f"a component of the graph has {value:.3g} edges, more than an elimination can number")
    at_least = "at least" if where.which & lib.PM_LIMIT_AT_LEAST else "up to"
    if where.which & ~lib.PM_LIMIT_AT_LEAST == lib.PM_LIMIT_OPERATIONS:
        cost, limit = f"{value:.2g} operations", f"max_operations={max_operations:.3g}"
    else:
        cost, limit = f"{value * BYTES_PER_ENTRY / 2**30:.2g} GiB of memory", f"max_memory={max_memory:.3g} bytes"
    return NumericalError(
        f"the elimination of this graph of {graph.vertices_length()} vertices would take {at_least} {cost}, for a component of "
        f"{rows} states, more than {limit} allows. Distributions need no elimination: Graph.model().cdf; for moments raise the "
        "limit: Graph.eliminate(max_operations=..., max_memory=...)"
    )


def symbolic(
    graph: Graph,
    order: Any = None,
    block_ptr: Any = None,
    *,
    max_operations: float | None = MAX_OPERATIONS,
    max_memory: float | None = None,
    progress: Progress | None = None,
) -> Elimination:
    """Find the order and fill pattern of a graph.

    Parameters
    ----------
    graph
        The graph to eliminate.
    order, block_ptr
        An order to use instead of the best one found: vertices by position, and the first position of each block.
    max_operations, max_memory, progress
        As for `Graph.eliminate`; here None stands for no limit, also of the memory.

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
    NumericalError
        If it would take more than the limits allow.
    """
    arrays = GraphArrays(graph)
    where = ffi.new("pm_where *")
    check(lib.pm_graph_check(arrays.graph, arrays.sizes, where), where, graph)
    out = ffi.new("pm_symbolic **")
    limits, control = _budget(max_operations, max_memory), new_control()
    given: tuple[int, int, Any, Any] = (0, 0, ffi.NULL, ffi.NULL)
    if order is not None:
        order = np.ascontiguousarray(order, dtype=np.int32)
        block_ptr = np.ascontiguousarray(block_ptr, dtype=np.int32)
        given = (order.size, block_ptr.size - 1, into("int32_t[]", order), into("int32_t[]", block_ptr))

    def work() -> None:
        status = lib.pm_symbolic_new(arrays.graph, *given, limits, control, out, where)
        raise_if_stopped(control)
        if status == lib.PM_E_LIMIT:
            raise _over_budget(where, graph, max_operations, max_memory)
        if status == lib.PM_E_PATTERN and order is not None:
            raise GraphError(f"the elimination order does not belong to the graph (at position {where.at})")
        check(status, where, graph)

    run(work, reporting(control, progress))
    handle = ffi.gc(out[0], lib.pm_symbolic_free)
    c = ffi.new("pm_pattern *")
    lib.pm_symbolic_pattern(handle, c)
    lower_ptr = copy_of(c.lower_ptr, c.n_rows + 1, np.int64)
    upper_ptr = copy_of(c.upper_ptr, c.n_rows + 1, np.int64)
    pattern = Pattern(
        copy_of(c.order, c.n_rows, np.int32),
        copy_of(c.block_ptr, c.n_blocks + 1, np.int32),
        lower_ptr,
        copy_of(c.lower_col, int(lower_ptr[-1]), np.int32),
        upper_ptr,
        copy_of(c.upper_col, int(upper_ptr[-1]), np.int32),
    )
    counts = ffi.new("int64_t[]", len(_ORDER_KINDS))
    lib.pm_symbolic_ordering(handle, counts)
    ordering = ",".join(f"{kind}={counts[i]}" for i, kind in enumerate(_ORDER_KINDS) if counts[i])
    return Elimination(pattern, int(lib.pm_symbolic_operations(handle)), ordering)


def reporting(control: Any, progress: Progress | None) -> Callable[[], None] | None:
    """Return a function that reports the progress of the core to `progress`, or None."""
    if progress is None:
        return None
    return lambda: progress(_STAGES.get(control.stage, "elimination"), control.done, control.total)


class GraphArrays:
    """A pm_graph that borrows the arrays of a Graph, and keeps them in memory."""

    def __init__(self, graph: Graph) -> None:
        w = graph.weights
        self.graph = ffi.new("pm_graph *")
        self.sizes = ffi.new("pm_graph_sizes *")
        c = self.graph
        c.n_vertices, c.n_params, c.discrete = graph.vertices_length(), graph.param_length(), graph.discrete
        c.n_affine, c.n_program = w.affine_base.size, w.program_op.size
        self.sizes.n_edges, self.sizes.n_affine_terms = graph.edge_target.size, w.affine_coef.size
        self._buffers = [
            into("int64_t[]", graph.edge_ptr),
            into("int32_t[]", graph.edge_target),
            into("int32_t[]", graph.edge_slot),
            into("double[]", w.affine_base),
            into("int64_t[]", w.affine_ptr),
            into("int32_t[]", w.affine_param),
            into("double[]", w.affine_coef),
            into("uint8_t[]", w.program_op),
            into("int32_t[]", w.program_a),
            into("int32_t[]", w.program_b),
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
