"""Model: a phase-type distribution, evaluated at parameter vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..elimination.plan import Plan
from ..evaluation.epochs import PiecewiseModel
from .base import DEFAULT_MAX_STEPS
from .distribution import Distribution
from .moments import Moments

if TYPE_CHECKING:
    from ..dag import SymbolicDAG
    from ..graph import Graph

__all__ = ["DEFAULT_MAX_STEPS", "Model"]


class Model(Distribution, Moments):
    """A phase-type distribution whose rates are functions of a parameter vector θ.

    In every method `theta` has shape (p,) or (batch, p), and results gain a leading batch axis with it; a model without
    parameters takes ``None`` or ``[]``. Values with labels are matched by the names of the parameters, and other labels
    are an error: a mapping or named tuple (arrays as values are a batch), a structured array, a pandas Series
    (its index) or DataFrame (its columns; rows are the batch), an xarray Dataset (its variables) or DataArray (a
    coordinate), and a sequence of those (a batch). A pandas index that only counts 0, 1, … is no label. Times are in
    the unit of 1/rate, or whole steps if the model is discrete.
    Rewards have shape (V,), in the order of `states`; those of the starting vertex and of absorbing vertices count
    for nothing. With rewards r, Y = Σ_v r_v T_v is meant, where T_v is the time (or number of steps) spent in v
    before absorption; without, the time until absorption. Absorption need not be certain: Y is then infinite where
    the process is caught in states with a reward, and finite where there is none. Everything is float64. Methods may
    be called from many threads at once.

    Parameters
    ----------
    dag
        The eliminated graph.

    Examples
    --------
    >>> from phasic_models import Graph
    >>> def coalescent(state, n=4):
    ...     if len(state) == 0:
    ...         return [([n], 1.0, [1.0])]
    ...     k = state[0]
    ...     return [([k - 1], 0.0, [k * (k - 1) / 2])] if k > 1 else []
    >>> model = Graph(coalescent).model()
    >>> model.expectation([1.0])
    1.5
    """

    def __init__(self, dag: SymbolicDAG) -> None:
        self._set(dag.plan, dag)

    @classmethod
    def from_graph(cls, graph: Graph) -> Model:
        """Return the model of a graph, which is eliminated when the first moment is asked for; see `Graph.model`."""
        model = cls.__new__(cls)
        model._set(Plan(graph), None)
        return model

    def epochs(self, starts: Any) -> PiecewiseModel:
        """Return the model with a θ of its own from each of the times in `starts` on; see `PiecewiseModel`.

        Parameters
        ----------
        starts
            When each epoch begins: ascending, the first 0.

        Examples
        --------
        Time runs backwards: the population was ten times as large before time 0.5.

        >>> from phasic_models import Graph
        >>> model = Graph.from_arrays([[2], [1]], [0], [1], [[1.0]], initial=0).model()
        >>> past = model.epochs([0.0, 0.5])
        >>> round(past.expectation([[1.0], [0.1]]), 6)
        6.458776
        """
        return PiecewiseModel(self._plan, starts)

    def __reduce__(self) -> tuple[Callable[..., Model], tuple[SymbolicDAG | Graph]]:
        # Chains with rewards are made again when they are needed; an elimination is pickled with the model.
        return (Model, (self.dag,)) if self._plan.is_eliminated else (Model.from_graph, (self.graph,))

    def __repr__(self) -> str:
        kind = "discrete" if self.discrete else "continuous"
        names = ", ".join(self.param_names) or "no parameters"
        return f"Model({kind}, {self.graph.vertices_length()} vertices, {names})"
