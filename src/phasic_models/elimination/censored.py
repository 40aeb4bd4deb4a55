"""The chain of a plan, watched only in some of its states."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.binding import copy_of, into, out_of
from ..core.native import ffi, lib
from ..core.refusals import check
from ..core.stopping import holding, new_control, raise_if_stopped, run
from ..errors import NumericalError

if TYPE_CHECKING:
    import numpy.typing as npt

    from .plan import Plan

    Floats = npt.NDArray[np.float64]


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
        # The handle below points into the plan, so the plan is kept as long.
        self._owner = plan
        # Held while the scratch in the handle is used. The plan is eliminated before, so that its lock is not taken inside.
        self._lock = threading.Lock()
        out = ffi.new("pm_censored **")
        flags = np.ascontiguousarray(keep, dtype=np.uint8)
        where, control = ffi.new("pm_where *"), new_control()
        eliminated = plan.eliminated()

        def work() -> None:
            status = lib.pm_censored_new(eliminated.plan, into("uint8_t[]", flags), control, out, where)
            raise_if_stopped(control)
            if status == lib.PM_E_LIMIT:
                raise NumericalError(
                    f"the graph has {where.value:.3g} edges, too many to eliminate states without reward"
                )
            check(status, where, plan.graph)

        run(work)
        self._handle = ffi.gc(out[0], lib.pm_censored_free)
        n, vertices = ffi.new("int32_t *"), ffi.new("const int32_t **")
        ptr, target = ffi.new("const int64_t **"), ffi.new("const int32_t **")
        lib.pm_censored_edges(self._handle, n, vertices, ptr, target)
        # Copies: the core frees its arrays together with the handle.
        self.vertices = copy_of(vertices[0], n[0], np.int32)
        self.edge_ptr = copy_of(ptr[0], n[0] + 1, np.int64)
        self.edge_target = copy_of(target[0], int(self.edge_ptr[-1]), np.int32)

    def weights(self, theta: Floats) -> tuple[Floats, Floats | None]:
        """Weight of every edge, shape (batch, n_edges), and of a discrete chain the probability to stay in each row, shape
        (batch, rows): the weights give it to the rounding of their sum only.
        """
        out = np.empty((theta.shape[0], self.edge_target.size))
        stay = np.empty((theta.shape[0], self.vertices.size)) if self._owner.graph.discrete else None

        eliminated = self._owner.eliminated()

        def call(ws: Any, n: int, c_theta: Any, rows: slice, where: Any) -> Any:
            # The scratch arrays belong to the handle, which all threads share.
            with holding(self._lock):
                c_stay = ffi.NULL if stay is None else out_of(stay[rows])
                return lib.pm_censored_weights(
                    eliminated.plan, ws, self._handle, n, c_theta, out_of(out[rows]), c_stay, where
                )

        self._owner.batches(eliminated, theta, 1, call, lanes=1)
        return out, stay
