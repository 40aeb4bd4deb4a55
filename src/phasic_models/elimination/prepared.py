"""Plans of the C core, and the scratch that threads take from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.binding import into
from ..core.native import ffi, lib
from ..core.refusals import check
from ..core.stopping import new_control, raise_if_stopped, run
from ..errors import FormatError
from ..statespace.owned import own
from .symbolic import PATTERN_DTYPES, GraphArrays, Pattern, reporting

if TYPE_CHECKING:
    from ..graph import Graph
    from ..progress import Progress

LANES = 8


class Scratch:
    """The workspace of one thread, and how its calls are stopped."""

    __slots__ = ("control", "workspace")

    def __init__(self, plan: Any, lanes: int, graph: Graph) -> None:
        out = ffi.new("pm_workspace **")
        check(lib.pm_workspace_new(plan, lanes, out), None, graph)
        self.workspace = ffi.gc(out[0], lib.pm_workspace_free)
        self.control = new_control()
        lib.pm_workspace_control(self.workspace, self.control)


class Prepared:
    """A plan of the core: a graph with its elimination pattern, checked against each other, or the graph alone.

    Parameters
    ----------
    graph
        The graph.
    arrays
        The same for the core.
    pattern
        Its elimination, which is checked; None if only distributions, samples and weights will be asked for.
    progress
        Called with the progress of the check.

    Raises
    ------
    FormatError
        If the pattern does not belong to the graph.
    """

    def __init__(
        self, graph: Graph, arrays: GraphArrays, pattern: Pattern | None, progress: Progress | None = None
    ) -> None:
        self._graph = graph
        c_pattern, fill = _to_core(_checked_lengths(pattern))
        out, where, control = ffi.new("pm_plan **"), ffi.new("pm_where *"), new_control()

        def work() -> None:
            status = lib.pm_plan_new(arrays.graph, arrays.sizes, c_pattern[0], *fill, control, out, where)
            raise_if_stopped(control)
            if status == lib.PM_E_PATTERN:
                raise FormatError(f"the elimination pattern does not belong to the graph (at row {where.at})")
            check(status, where, graph)

        run(work, reporting(control, progress))
        self.fill = sum(fill)
        self.plan = ffi.gc(out[0], lib.pm_plan_free)
        self.operations = int(lib.pm_plan_operations(self.plan))
        # Lists of scratch that is not in use; taking from and adding to a list needs no lock.
        self.free: dict[int, list[Scratch]] = {1: [], LANES: []}
        self.free_uniform: list[Any] = []

    def take(self, lanes: int) -> Scratch:
        """Return scratch that no other thread uses; give it back to `free`."""
        try:
            return self.free[lanes].pop()
        except IndexError:
            return Scratch(self.plan, lanes, self._graph)

    def take_uniform(self) -> Any:
        """Return scratch of the uniformization; give it back to `free_uniform`."""
        try:
            return self.free_uniform.pop()
        except IndexError:
            out = ffi.new("pm_uniform **")
            check(lib.pm_uniform_new(self.plan, out), None, self._graph)
            return ffi.gc(out[0], lib.pm_uniform_free)


def _checked_lengths(pattern: Pattern | None) -> Pattern | None:
    if pattern is None:
        return None
    # The core borrows these arrays for as long as the plan lives.
    arrays: list[Any] = [own(np.asarray(a, dtype)) for a, dtype in zip(pattern, PATTERN_DTYPES, strict=True)]
    p = Pattern(*arrays)
    if p.block_ptr.size < 2 or p.lower_ptr.size != p.order.size + 1 or p.upper_ptr.size != p.order.size + 1:
        raise FormatError("the arrays of the elimination pattern have lengths that do not fit together")
    return p


def _to_core(pattern: Pattern | None) -> tuple[tuple[Any, ...], tuple[int, int]]:
    """Return a pm_pattern, which the core copies, with what it borrows behind it, and its lengths of lower_col and upper_col."""
    if pattern is None:
        return (ffi.NULL,), (0, 0)
    c = ffi.new("pm_pattern *")
    c.n_rows, c.n_blocks = pattern.order.size, pattern.block_ptr.size - 1
    c_types = ("int32_t[]", "int32_t[]", "int64_t[]", "int32_t[]", "int64_t[]", "int32_t[]")
    arrays: tuple[Any, ...] = pattern
    borrowed = [into(c_type, array) for c_type, array in zip(c_types, arrays, strict=True)]
    c.order, c.block_ptr, c.lower_ptr, c.lower_col, c.upper_ptr, c.upper_col = borrowed
    return (c, *borrowed), (pattern.lower_col.size, pattern.upper_col.size)
