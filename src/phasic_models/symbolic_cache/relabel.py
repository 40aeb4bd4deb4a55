"""A stored elimination with the names of the graph that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..dag import SymbolicDAG
    from ..graph import Graph


def of_graph(dag: SymbolicDAG, graph: Graph) -> SymbolicDAG:
    """Give a stored elimination the parameter names of the graph that was asked for."""
    if dag.graph.param_names == graph.param_names:
        return dag
    from ..dag import SymbolicDAG

    pattern = (dag.order, dag.block_ptr, dag.lower_ptr, dag.lower_col, dag.upper_ptr, dag.upper_col)
    return SymbolicDAG(graph, *pattern, dag.operations, dag.ordering)
