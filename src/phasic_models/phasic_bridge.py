"""Between phasic's graphs and ours: `from_phasic` and `to_phasic`.

phasic is imported only when one of the two is called; nothing else in this package needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CompatibilityError, GraphError, ParameterError
from .evaluation.arguments import check_theta
from .graph import Graph
from .statespace.explore import show_state
from .statespace.expr import Expr, params

if TYPE_CHECKING:
    import numpy.typing as npt

    from .dag import SymbolicDAG
    from .model import Model
    from .statespace.table import WeightTable

__all__ = ["PHASIC_VERSIONS", "from_phasic", "to_phasic"]

#: The versions of phasic whose graphs are understood. The wheels before 0.28 do not import without a rebuild.
PHASIC_VERSIONS = ">=0.28,<0.33"

_State = tuple[int, ...]
# A weight as our callbacks give it: base and coefficients, or an expression.
_Weight = tuple[float, list[float]] | Expr


def from_phasic(graph: Any, *, discrete: bool | None = None, param_names: Sequence[str] | None = None) -> Graph:
    """Turn a phasic graph into a `Graph`, for exact densities, gradients and small files.

    Parameters
    ----------
    graph
        Any ``phasic.Graph``. It is only read. If its weights come from a ``weight_callback``, that is called once per
        edge with symbols for θ, and has to be a rational function of them.
    discrete
        Whether the weights are jump probabilities; None asks the graph.
    param_names
        Names of the parameters; the default is ``theta_0``, ``theta_1``, … Their number is taken from here, where
        given: a graph with a ``weight_callback`` may have more coefficients than parameters.

    Returns
    -------
    Graph
        Its states are phasic's. Where several vertices of `graph` share a state, as auxiliary ones do, each state gets
        one more entry at its end: 0 for the first vertex with that state, then 1, 2, … Initial probabilities are
        normalised to sum to one.

    Raises
    ------
    CompatibilityError
        If phasic is missing or of a version outside `PHASIC_VERSIONS`.
    GraphError
        If `graph` is not a phase-type distribution, or its weights are not rational functions of θ.
    """
    phasic = _import_phasic()
    if not isinstance(graph, phasic.phasic_pybind.Graph):
        raise TypeError(f"from_phasic expects a phasic.Graph, not {type(graph).__name__}")
    if discrete is None:
        discrete = bool(getattr(graph, "is_discrete", False) or graph.get_was_dph())
    vertices = list(graph.vertices())
    states = _unique_states([tuple(int(x) for x in vertex.state()) for vertex in vertices])
    state_of = {vertex.index(): state for vertex, state in zip(vertices, states, strict=True)}
    start = graph.starting_vertex().index()
    parameterized = bool(graph.parameterized())
    n_params = (len(param_names) if param_names is not None else int(graph.param_length())) if parameterized else 0
    weigh = _phasic_weights(graph, n_params)
    # phasic divides by a vertex's total whenever it sets the weights of such a graph.
    normalises = parameterized and discrete and bool(graph.get_was_dph())
    transitions: dict[_State, list[tuple[Any, ...]]] = {}
    initial: list[tuple[_State, float]] = []
    for vertex in vertices:
        if vertex.index() == start:
            initial = [(state_of[edge.to().index()], edge.weight()) for edge in vertex.edges() if edge.weight()]
            continue
        state = state_of[vertex.index()]
        where = f"phasic vertex {vertex.index()} {show_state(vertex.state().tolist())}"
        out = _out_edges(vertex, parameterized, n_params, weigh, where)
        transitions[state] = _as_transitions(out, state_of, normalises, n_params)
    if not initial:
        raise GraphError("the phasic graph has no edge out of its starting vertex, so it has no initial state")

    def callback(state: npt.NDArray[np.int64]) -> list[tuple[Any, ...]]:
        return transitions[tuple(state.tolist())]

    return Graph(
        callback,
        ipv=initial,
        discrete=discrete,
        param_names=param_names if param_names is not None else [f"theta_{i}" for i in range(n_params)],
        max_states=max(len(vertices), 1),
    )


def to_phasic(model: Model | SymbolicDAG | Graph, theta: npt.ArrayLike | None = None) -> Any:
    """Build a phasic graph from a stored model, for phasic's inference, without running the model's callback.

    Parameters
    ----------
    model
        A model, its elimination or its graph.
    theta
        None keeps the parameters; a vector of them gives a graph with constant weights.

    Returns
    -------
    phasic.Graph
        Its vertex i is row i of ``model.states``, so that reward vectors fit both. With parameters, its weights are

        * phasic's own ``coefficients · theta``, where every weight of the model is linear in θ;
        * the same with one more parameter, to be held at 1, where some weight has a constant part, which is then its
          last coefficient. phasic itself has no such weights; its ``svgd`` takes ``fixed=[(index, 1.0)]``;
        * a ``weight_callback``, where some weight is any other function: pass it on as
          ``graph.update_weights(theta, callback=graph.weight_callback)``.

    Raises
    ------
    CompatibilityError
        If phasic is missing or of a version outside `PHASIC_VERSIONS`, or cannot express the model: initial
        probabilities that depend on θ, states outside 32-bit integers.
    ParameterError
        If `theta` is not one finite number per parameter.
    """
    phasic = _import_phasic()
    source: Graph = model if isinstance(model, Graph) else getattr(model, "dag", model).graph
    states = source.state_array
    if states.size and (states.min() < np.iinfo(np.int32).min or states.max() > np.iinfo(np.int32).max):
        raise CompatibilityError("phasic keeps states as 32-bit integers; this model has larger entries")
    graph = phasic.Graph(source.state_length)
    graph.is_discrete = source.discrete
    vertices = [graph.starting_vertex()]
    vertices += [graph.find_or_create_vertex(state) for state in states[1:].tolist()]
    _add_initial(vertices, source, theta)
    constant = theta is not None or not source.param_length()
    weight = _constant_weights(source, theta) if constant else _parameterized_weights(graph, source)
    ptr = source.edge_ptr.tolist()
    targets, slots = source.edge_target.tolist(), source.edge_slot.tolist()
    for v in range(1, len(vertices)):
        for edge in range(ptr[v], ptr[v + 1]):
            vertices[v].add_edge(vertices[targets[edge]], weight(slots[edge]))
    return graph


def _import_phasic() -> Any:
    """Import phasic, or say what to install."""
    # Imported here because it is needed by this module alone, and only for the message.
    from packaging.specifiers import SpecifierSet

    hint = f"install one with: pip install 'phasic{PHASIC_VERSIONS}'"
    try:
        # phasic.__version__ is out of date in some releases, so the installed metadata is asked.
        version = metadata.version("phasic")
    except metadata.PackageNotFoundError:
        raise CompatibilityError(f"phasic is not installed, and this function needs it; {hint}") from None
    if not SpecifierSet(PHASIC_VERSIONS).contains(version, prereleases=True):
        raise CompatibilityError(f"phasic {version} is installed, but phasic{PHASIC_VERSIONS} is needed; {hint}")
    try:
        return import_module("phasic")
    except Exception as error:
        raise CompatibilityError(f"phasic {version} is installed, but does not import: {error}") from error


def _unique_states(states: list[_State]) -> list[_State]:
    """Distinguish vertices with the same state by one more entry; vertex 0, which has no state, does not count."""
    if len(set(states[1:])) == len(states) - 1:
        return states
    seen: dict[_State, int] = {}
    out = [(*states[0], 0)]
    for state in states[1:]:
        seen[state] = seen.get(state, -1) + 1
        out.append((*state, seen[state]))
    return out


def _symbols(n_params: int) -> list[Expr]:
    """An expression for each parameter."""
    if n_params < 2:
        return [params("theta_0")] * n_params
    return list(params(*(f"theta_{i}" for i in range(n_params))))


def _phasic_weights(graph: Any, n_params: int) -> Callable[[list[float], str], _Weight]:
    """Return how `graph` makes a weight of an edge's coefficients."""
    mode = getattr(graph, "weight_mode", "linear")
    theta = _symbols(n_params)

    def linear(coefficients: list[float], where: str) -> _Weight:
        if len(coefficients) != n_params:
            raise GraphError(
                f"{where}: an edge has {len(coefficients)} coefficients for {n_params} parameters; "
                "set graph.weight_callback to what makes a weight of them"
            )
        return 0.0, coefficients

    def product(coefficients: list[float], where: str) -> _Weight:
        linear(coefficients, where)
        result: Expr = reduce(lambda a, b: a * b, (c * t for c, t in zip(coefficients, theta, strict=True)))
        return result

    def called(coefficients: list[float], where: str) -> _Weight:
        try:
            value = graph.weight_callback(np.array(theta, dtype=object), np.array(coefficients))
        except Exception as error:
            raise GraphError(
                f"{where}: graph.weight_callback is not a rational function of theta, of + - * / and integer powers "
                f"({type(error).__name__}: {error})"
            ) from error
        return value if isinstance(value, Expr) else (float(value), [0.0] * n_params)

    return {"linear": linear, "log": product, "callback": called}[mode]


def _out_edges(
    vertex: Any, parameterized: bool, n_params: int, weigh: Callable[[list[float], str], _Weight], where: str
) -> list[tuple[int, _Weight]]:
    """The edges of a phasic vertex: index of the target, and weight."""
    zeros = [0.0] * n_params
    if not parameterized:
        return [(edge.to().index(), (edge.weight(), zeros)) for edge in vertex.edges()]
    # Edges without coefficients keep their weight whatever theta is.
    out: list[tuple[int, _Weight]] = [
        (edge.to().index(), (edge.weight(), zeros)) for edge in vertex.edges() if edge.coefficients_length() == 0
    ]
    for edge in vertex.parameterized_edges():
        out.append((edge.to().index(), weigh(list(edge.edge_state(edge.coefficients_length())), where)))
    return out


def _as_transitions(
    edges: Iterable[tuple[int, _Weight]], state_of: dict[int, _State], normalises: bool, n_params: int
) -> list[tuple[Any, ...]]:
    """The transitions of our callback."""
    edges = list(edges)
    if not normalises:
        return [
            (state_of[target], weight) if isinstance(weight, Expr) else (state_of[target], *weight)
            for target, weight in edges
        ]
    theta = _symbols(n_params)
    weights = [
        weight if isinstance(weight, Expr) else sum((c * t for c, t in zip(weight[1], theta, strict=True)), weight[0])
        for _, weight in edges
    ]
    total = sum(weights[1:], weights[0]) if weights else 1.0
    return [
        (state_of[target], Expr.constant(1) * weight / total)
        for (target, _), weight in zip(edges, weights, strict=True)
    ]


def _add_initial(vertices: list[Any], source: Graph, theta: npt.ArrayLike | None) -> None:
    """Add the edges out of the starting vertex; phasic keeps them constant."""
    stop = int(source.edge_ptr[1])
    slots = source.edge_slot[:stop]
    if theta is None and not source.weights.constants()[slots].all():
        raise CompatibilityError(
            "the model's initial probabilities depend on its parameters, and phasic's are constant; give theta="
        )
    weights = source.weights.evaluate(_theta(source, theta))[slots].tolist()
    total = math.fsum(weights)
    for target, weight in zip(source.edge_target[:stop].tolist(), weights, strict=True):
        vertices[0].add_edge(vertices[target], weight / total)


def _theta(source: Graph, theta: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    if theta is None:
        # Only constants are read from the table then, so any value serves.
        return np.ones(source.param_length())
    vectors, is_batch = check_theta(theta, source)
    if is_batch:
        raise ParameterError(
            f"theta must be one vector of {source.param_length()} numbers, not a batch of {len(vectors)}"
        )
    vector: npt.NDArray[np.float64] = vectors[0]
    return vector


def _constant_weights(source: Graph, theta: npt.ArrayLike | None) -> Callable[[int], float | list[float]]:
    values: list[float] = source.weights.evaluate(_theta(source, theta)).tolist()
    return values.__getitem__


def _parameterized_weights(graph: Any, source: Graph) -> Callable[[int], float | list[float]]:
    """Return what to give to phasic's ``add_edge`` for a weight slot, and prepare `graph` for it."""
    table, n_params = source.weights, source.param_length()
    used = np.unique(source.edge_slot[int(source.edge_ptr[1]) :])
    if used.size and used[-1] >= table.n_affine:
        graph.set_param_length(n_params)
        graph.weight_callback = _Evaluator(table)
        # phasic wants as many coefficients as there are parameters, so the slot is followed by zeros.
        return lambda slot: [float(slot), *[0.0] * (n_params - 1)]
    affine = bool(table.affine_base[used].any())

    def coefficients(slot: int) -> list[float]:
        out = [0.0] * n_params + ([float(table.affine_base[slot])] if affine else [])
        for j in range(int(table.affine_ptr[slot]), int(table.affine_ptr[slot + 1])):
            out[int(table.affine_param[j])] = float(table.affine_coef[j])
        return out

    return coefficients


class _Evaluator:
    """A phasic weight callback that looks the weight up in a table, which it evaluates once per θ."""

    def __init__(self, table: WeightTable) -> None:
        self.table = table
        self.theta: bytes | None = None
        self.values: npt.NDArray[np.float64] = np.empty(0)

    def __call__(self, theta: npt.ArrayLike, coefficients: npt.ArrayLike) -> float:
        vector = np.asarray(theta, dtype=np.float64)
        if vector.tobytes() != self.theta:
            self.values = self.table.evaluate(vector)
            self.theta = vector.tobytes()
        return float(self.values[int(np.asarray(coefficients)[0])])
