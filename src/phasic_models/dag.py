"""SymbolicDAG: a graph with its elimination, still a function of the parameters."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .elimination.plan import Plan
from .elimination.symbolic import MAX_OPERATIONS, Pattern, default_memory, symbolic
from .errors import FormatError
from .statespace.owned import is_masked, own

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

    from .graph import Graph
    from .model import Model
    from .progress import Progress


def _indices(values: npt.ArrayLike, dtype: Any, name: str) -> npt.NDArray[Any]:
    """Return whole numbers as an array that cannot be changed: the core checks it once and then relies on it.

    Raises
    ------
    FormatError
        If they are something else, or do not fit.
    """
    try:
        array = np.empty(0, dtype=object) if is_masked(values) else np.asarray(values)
    except (TypeError, ValueError, OverflowError):
        array = np.empty(0, dtype=object)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu") or array.dtype.kind == "O":
        raise FormatError(f"{name} must be one row of whole numbers")
    limits = np.iinfo(dtype)
    if array.size and array.dtype != dtype and not (limits.min <= array.min() and array.max() <= limits.max):
        raise FormatError(f"{name} holds a number that is no index")
    return own(np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"]))


class SymbolicDAG:
    """The elimination of a graph: which vertices to remove in which order, and the edges that this leaves and makes.

    Made by `Graph.eliminate` or read from a file. The elimination is that of Grassmann, Taksar and Heyman (1985), which
    subtracts nothing. The graph is cut into its strongly connected components (blocks), and only edges inside a block
    are eliminated. The result has no cycle and gives the expectation of any reward at any parameter vector.

    Parameters
    ----------
    graph
        The graph.
    order
        Vertices with out-edges by position, shape (n_rows,). Blocks come one after the other, downstream ones first;
        the starting vertex is last.
    block_ptr
        First position of each block, and n_rows.
    lower_ptr, lower_col
        ``lower_col[lower_ptr[i]:lower_ptr[i + 1]]`` are the earlier positions of the same block that row i eliminates.
    upper_ptr, upper_col
        The later positions of the same block that row i leads to when its turn comes.
    operations
        Multiply-adds of one elimination; checked.
    ordering
        How the order was found, as a text.

    Raises
    ------
    FormatError
        If order and pattern do not belong to the graph.

    References
    ----------
    W. K. Grassmann, M. I. Taksar, D. P. Heyman (1985), Regenerative analysis and steady state distributions for Markov
    chains. Operations Research 33(5), 1107-1116. https://doi.org/10.1287/opre.33.5.1107

    Examples
    --------
    >>> from phasic_models import Graph
    >>> graph = Graph.from_arrays([[2], [1], [0]], [0, 1, 1], [1, 2, 0], [1.0, 1.0, 0.5], initial=0)
    >>> dag = graph.eliminate()
    >>> dag.n_blocks, dag.is_acyclic
    (2, False)
    >>> SymbolicDAG.from_json(dag.to_json()).content_hash() == graph.content_hash()
    True
    """

    def __init__(
        self,
        graph: Graph,
        order: npt.ArrayLike,
        block_ptr: npt.ArrayLike,
        lower_ptr: npt.ArrayLike,
        lower_col: npt.ArrayLike,
        upper_ptr: npt.ArrayLike,
        upper_col: npt.ArrayLike,
        operations: int | None = None,
        ordering: str = "",
    ) -> None:
        self.graph = graph
        self.ordering = ordering
        self._pattern = Pattern(
            _indices(order, np.int32, "order"),
            _indices(block_ptr, np.int32, "block_ptr"),
            _indices(lower_ptr, np.int64, "lower_ptr"),
            _indices(lower_col, np.int32, "lower_col"),
            _indices(upper_ptr, np.int64, "upper_ptr"),
            _indices(upper_col, np.int32, "upper_col"),
        )
        self.plan = Plan(graph, self._pattern, ordering)
        if operations is not None and operations != self.plan.operations:
            raise FormatError(f"the elimination takes {self.plan.operations} operations, not {operations} as recorded")

    @classmethod
    def from_graph(
        cls,
        graph: Graph,
        *,
        max_operations: float | None = MAX_OPERATIONS,
        max_memory: float | None = None,
        progress: Progress | None = None,
    ) -> SymbolicDAG:
        """Eliminate `graph`: try several orders on the pattern, keep the cheapest; see `Graph.eliminate`."""
        memory = default_memory() if max_memory is None else max_memory
        found = symbolic(graph, max_operations=max_operations, max_memory=memory, progress=progress)
        return cls.from_plan(Plan(graph, found.pattern, found.ordering, progress))

    @classmethod
    def from_plan(cls, plan: Plan) -> SymbolicDAG:
        """Return the elimination of a plan, which is made now if it has not been needed yet."""
        dag = cls.__new__(cls)
        dag.graph, dag.plan, dag._pattern, dag.ordering = plan.graph, plan, plan.pattern, plan.ordering
        return dag

    @classmethod
    def from_order(
        cls, graph: Graph, order: npt.ArrayLike, block_ptr: npt.ArrayLike, *, ordering: str | None = None
    ) -> SymbolicDAG:
        """Eliminate `graph` in a given order.

        Raises
        ------
        GraphError
            If the order does not list every vertex with out-edges once, the starting vertex last, with no edge to a
            later block.
        """
        found = symbolic(graph, order, block_ptr, max_operations=None)
        return cls.from_plan(Plan(graph, found.pattern, found.ordering if ordering is None else ordering))

    # -- the pattern --------------------------------------------------------------------------------------------------

    @property
    def order(self) -> npt.NDArray[np.int32]:
        """Vertices by position."""
        return self._pattern.order

    @property
    def block_ptr(self) -> npt.NDArray[np.int32]:
        """First position of each block, and the number of positions."""
        return self._pattern.block_ptr

    @property
    def lower_ptr(self) -> npt.NDArray[np.int64]:
        """Where the row of each position begins in `lower_col`."""
        return self._pattern.lower_ptr

    @property
    def lower_col(self) -> npt.NDArray[np.int32]:
        """Earlier positions of the same block that each row eliminates."""
        return self._pattern.lower_col

    @property
    def upper_ptr(self) -> npt.NDArray[np.int64]:
        """Where the row of each position begins in `upper_col`."""
        return self._pattern.upper_ptr

    @property
    def upper_col(self) -> npt.NDArray[np.int32]:
        """Later positions of the same block that each row keeps."""
        return self._pattern.upper_col

    @property
    def operations(self) -> int:
        """Multiply-adds of one elimination."""
        return self.plan.operations

    @property
    def fill(self) -> int:
        """Entries of the pattern, lower and upper."""
        return int(self.lower_col.size + self.upper_col.size)

    @property
    def n_blocks(self) -> int:
        """Number of strongly connected components."""
        return int(self.block_ptr.size - 1)

    @cached_property
    def is_acyclic(self) -> bool:
        """Whether the graph itself has no cycle."""
        return self.n_blocks == self.order.size

    def vertices_length(self) -> int:
        """Return the number of vertices, the starting vertex included."""
        return self.graph.vertices_length()

    def param_length(self) -> int:
        """Return the number of parameters."""
        return self.graph.param_length()

    def content_hash(self) -> str:
        """Return the hash of the graph."""
        return self.graph.content_hash()

    # -- modules that build on this one, so that they are imported when called -----------------------------------------

    def model(self) -> Model:
        """Return the model that evaluates this elimination."""
        from .model import Model

        return Model(self)

    def to_json(self) -> str:
        """Return the interchange document of format 1.0; see docs/format.md."""
        from .formats import dag_to_json

        return dag_to_json(self)

    @classmethod
    def from_json(cls, text: str) -> SymbolicDAG:
        """Read an interchange document.

        Raises
        ------
        FormatError
            If it is not one, or has been altered.
        """
        from .formats import dag_from_json

        return dag_from_json(text)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to `path`, whose suffix (.json or .safetensors) chooses the form; at once or not at all."""
        from .formats import save_dag

        save_dag(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SymbolicDAG:
        """Read what `save` has written.

        Raises
        ------
        FormatError
            If the file is truncated, altered or of another format.
        """
        from .formats import open_dag

        return open_dag(Path(path))

    def __getstate__(self) -> dict[str, Any]:
        return {"graph": self.graph, "pattern": tuple(self._pattern), "ordering": self.ordering}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["graph"], *state["pattern"], ordering=state["ordering"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return (
            f"SymbolicDAG({self.vertices_length()} vertices, {self.n_blocks} blocks, {self.fill} entries of fill, "
            f"{self.operations} operations)"
        )
