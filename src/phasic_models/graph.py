"""Graph: the state space of a phase-type distribution, in canonical form."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import GraphError
from .statespace.arrays import transitions_from_arrays
from .statespace.callbacks import CallbackReader, parse_state
from .statespace.canonical import CanonicalArrays, canonicalise, check_canonical
from .statespace.discretize import discretize, names_with_rate
from .statespace.explore import Callback, Explorer, Progress, Transitions, resolve_names, show_state
from .statespace.expr import Expr, Parameter, check_param_names
from .statespace.frontier import FrontierReader
from .statespace.table import WeightTable

if TYPE_CHECKING:
    import numpy.typing as npt

    from .dag import SymbolicDAG
    from .model import Model
    from .progress import Progress as LabelledProgress

_HASH_HEADER = b"phasic-models graph 1\0"
DEFAULT_MAX_STATES = 2_000_000


class Graph:
    """A continuous or discrete phase-type distribution as a weighted graph of states.

    Vertex 0 is the starting vertex and has no state; its out-edges are initial probabilities. Constant ones must sum to
    one; where one of them depends on parameters, all are divided by their sum at each θ. A vertex without out-edges is
    absorbing. Weights are rates or, if `discrete`, jump probabilities; the remaining probability is the probability of staying.
    Transitions of a state to itself do nothing in continuous time and are part of staying in discrete time; they are
    dropped, and so are transitions whose weight is zero whatever θ is. A state that is left with none is absorbing.

    Parameters
    ----------
    callback
        Describes the chain. It is called with a read-only integer array that holds a state and returns a list of
        transitions, each in one of the forms

        * ``(next_state, base, coefficients)``: the weight is ``base + coefficients · theta``;
        * ``(next_state, coefficients)``: the same with base 0;
        * ``(next_state, rate)``: a constant weight;
        * ``(next_state, expression)``: a rational function made from `params`.

        Without `ipv` it is first called with an empty state and returns the initial states:
        ``(state, probability, coefficients)`` triples, whose coefficients are ignored, or ``(state, probability)``
        pairs. A probability may be an expression.
    ipv
        Initial ``(state, probability)`` pairs, or one state; the callback is then never called with an empty state.
    parameterized
        True: raise if no weight depends on a parameter. False: raise if one does. None: either.
    discrete
        Whether weights are probabilities of a jump per time step.
    max_states
        A larger state space is an error.
    param_names
        Names of the parameters. The default is the names given to `params`, or ``theta_0``, ``theta_1``, …
    vectorized
        Whether the callback handles many states per call; see Notes.
    progress
        Called now and then as ``progress(explored, found)``. Without it, an exploration of more than two seconds reports to a
        terminal or notebook, and says which entry of the state grows most.
    **kwargs
        Passed on to the callback.

    Notes
    -----
    A vectorised callback is called with a read-only int64 array of shape (m, state_length) that holds m states. It
    returns one block of transitions as a tuple, or a list of such blocks (say, one per kind of event):

    * ``(source, next_states, weights)``: `source` has shape (t,) and holds row numbers of the states given, or is a
      mask over them; `next_states` has shape (t, state_length); `weights` has shape (t,) for constant weights or
      expressions, (t, p) for coefficients, and may be a single number or expression;
    * ``(source, next_states, base, coefficients)``: with `base` of shape (t,) or one number, and `coefficients` of
      shape (t, p) or (p,).

    A state without transitions is absorbing. Without `ipv` the callback is first called with an array of shape (0, 0)
    and returns ``(states, probabilities)``. It is called with at most 65,536 states at a time. Next states may be of any
    integer type; long states of small numbers are handled most quickly as int8.

    `SymbolicCache.graph` stores the graph of a callback for later processes.

    Attributes
    ----------
    state_array : numpy.ndarray
        States, shape (V, state_length), int64: zeros for the starting vertex, then all states in lexicographic order.
    edge_ptr, edge_target, edge_slot : numpy.ndarray
        Edges by source: those of vertex v are ``edge_ptr[v]`` to ``edge_ptr[v + 1]``, by ascending target. `edge_slot`
        is the place of the weight in `weights`.
    weights : WeightTable
        The distinct weights.
    discrete : bool
    param_names : tuple of str

    Raises
    ------
    GraphError
        If the callback raises, or what it returns is not a phase-type distribution. The message names state and
        transition.

    Examples
    --------
    >>> def coalescent(state, n=4):
    ...     if len(state) == 0:
    ...         return [([n], 1.0, [1.0])]
    ...     k = state[0]
    ...     return [([k - 1], 0.0, [k * (k - 1) / 2])] if k > 1 else []
    >>> Graph(coalescent, n=3)
    Graph(4 vertices, 3 edges, 1 parameter (theta_0), continuous)
    """

    state_array: npt.NDArray[np.int64]
    edge_ptr: npt.NDArray[np.int64]
    edge_target: npt.NDArray[np.int32]
    edge_slot: npt.NDArray[np.int32]
    weights: WeightTable
    discrete: bool
    param_names: tuple[str, ...]

    def __init__(
        self,
        callback: Callback,
        *,
        ipv: Any = None,
        parameterized: bool | None = None,
        discrete: bool = False,
        max_states: int = DEFAULT_MAX_STATES,
        param_names: Sequence[str] | None = None,
        vectorized: bool = False,
        progress: Progress | None = None,
        **kwargs: Any,
    ) -> None:
        if not callable(callback):
            raise TypeError(f"callback must be callable, not {callback!r}")
        if max_states < 1:
            raise ValueError(f"max_states must be positive, not {max_states}")
        given = _given_names(param_names)
        bound = (lambda states: callback(states, **kwargs)) if kwargs else callback
        reader = (FrontierReader if vectorized else CallbackReader)(
            bound, parameterized=parameterized, n_params=None if given is None else len(given)
        )
        explorer = Explorer(reader, max_states=max_states, progress=progress)
        self._set_raw(explorer.run(ipv), discrete=discrete, given=given, parameterized=parameterized)

    def _set_raw(
        self,
        raw: Transitions,
        *,
        discrete: bool,
        given: tuple[str, ...] | None,
        parameterized: bool | None = None,
    ) -> None:
        names = resolve_names(raw, given)
        if parameterized and not names:
            raise GraphError("the graph was declared parameterized=True, but no transition has coefficients")
        # Parameters keep their place unless param_names= orders them by name.
        if given is None:
            arrays = canonicalise(raw, discrete=discrete, index_of=lambda p: p.index, names=names)
        else:
            place = {name: i for i, name in enumerate(names)}
            arrays = canonicalise(raw, discrete=discrete, index_of=lambda p: _place(p, place), names=names)
        self._set(arrays, discrete, names)

    def _set(self, arrays: CanonicalArrays, discrete: bool, names: tuple[str, ...]) -> None:
        self.state_array = arrays.state_array
        self.edge_ptr = arrays.edge_ptr
        self.edge_target = arrays.edge_target
        self.edge_slot = arrays.edge_slot
        self.weights = arrays.weights
        self.discrete = bool(discrete)
        self.param_names = names
        self._hash: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        arrays = (self.state_array, self.edge_ptr, self.edge_target, self.edge_slot, self.weights)
        return {"arrays": arrays, "discrete": self.discrete, "param_names": self.param_names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # An array that was unpickled can be changed, so that it has to be owned again.
        self._set(CanonicalArrays.of(*state["arrays"]), state["discrete"], state["param_names"])

    @classmethod
    def from_arrays(
        cls,
        states: npt.ArrayLike,
        sources: npt.ArrayLike,
        targets: npt.ArrayLike,
        weights: npt.ArrayLike | Sequence[Expr | float],
        coefficients: npt.ArrayLike | None = None,
        *,
        initial: int | Mapping[int, float | Expr] | Sequence[float] | npt.NDArray[np.float64],
        discrete: bool = False,
        param_names: Sequence[str] | None = None,
    ) -> Graph:
        """Make a graph from arrays of states and transitions.

        Parameters
        ----------
        states
            Distinct states, shape (n, state_length); the starting vertex is not among them.
        sources, targets
            Rows of `states`, one entry per transition, in any order.
        weights
            One weight per transition: numbers or expressions, shape (m,); or coefficients, shape (m, p).
        coefficients
            Shape (m, p); a weight is then ``weights[i] + coefficients[i] · theta``.
        initial
            The row of the initial state, a mapping from rows to probabilities, or a probability for every row. Constant
            probabilities must sum to one.
        discrete, param_names
            As for `Graph`.

        Raises
        ------
        GraphError
            If the arrays do not describe a phase-type distribution. States that cannot be reached are left out.

        Examples
        --------
        >>> Graph.from_arrays([[2], [1], [0]], [0, 1], [1, 2], [2.0, 1.0], initial=0)
        Graph(4 vertices, 3 edges, no parameters, continuous)
        """
        given = _given_names(param_names)
        raw = transitions_from_arrays(
            states, sources, targets, weights, coefficients, initial, None if given is None else len(given)
        )
        graph = cls.__new__(cls)
        graph._set_raw(raw, discrete=discrete, given=given)
        return graph

    @classmethod
    def from_canonical_arrays(
        cls,
        state_array: npt.ArrayLike,
        edge_ptr: npt.ArrayLike,
        edge_target: npt.ArrayLike,
        edge_slot: npt.ArrayLike,
        weights: WeightTable,
        *,
        discrete: bool,
        param_names: Sequence[str],
    ) -> Graph:
        """Make a graph from arrays that are in canonical form, as the attributes of a graph are; for readers of files.

        Raises
        ------
        GraphError
            If the arrays are not a graph in canonical form.
        """
        names = _given_names(param_names) or ()
        arrays = CanonicalArrays.of(state_array, edge_ptr, edge_target, edge_slot, weights)
        check_canonical(arrays, discrete=discrete, n_params=len(names))
        graph = cls.__new__(cls)
        graph._set(arrays, discrete, names)
        return graph

    @property
    def state_length(self) -> int:
        """Length of a state."""
        return int(self.state_array.shape[1])

    @property
    def n_edges(self) -> int:
        """Number of edges, initial ones included."""
        return int(self.edge_target.size)

    def vertices_length(self) -> int:
        """Return the number of vertices, the starting vertex included."""
        return int(self.state_array.shape[0])

    def param_length(self) -> int:
        """Return the number of parameters."""
        return len(self.param_names)

    def states(self) -> npt.NDArray[np.int64]:
        """Return the states, shape (V, state_length); row 0 is the starting vertex, all zeros."""
        return self.state_array

    def vertex_of(self, state: Sequence[int] | npt.NDArray[np.integer]) -> int:
        """Return the row of `state` in `states`.

        Raises
        ------
        GraphError
            If the graph has no such state.

        Examples
        --------
        >>> Graph.from_arrays([[2], [1], [0]], [0, 1], [1, 2], [2.0, 1.0], initial=0).vertex_of([2])
        3
        """
        wanted = parse_state(state, self.state_length)
        low, high = 1, self.vertices_length()
        for column, value in enumerate(wanted):
            part = self.state_array[low:high, column]
            low, high = low + int(part.searchsorted(value)), low + int(part.searchsorted(value, side="right"))
        if low == high:
            raise GraphError(f"the graph has no state {show_state(wanted)}")
        return low

    def content_hash(self) -> str:
        """Return the SHA-256 of the canonical form, as hex.

        It depends on states, edges, exact weights and on whether the graph is discrete; not on names, nor on the
        order in which anything was listed.
        """
        if self._hash is None:
            digest = hashlib.sha256(_HASH_HEADER)
            dims = (*self.state_array.shape, self.n_edges, self.param_length(), int(self.discrete))
            sizes = tuple(array.size for array in self.weights.arrays().values())
            digest.update(np.array(dims + sizes, dtype="<i8").tobytes())
            arrays: list[npt.NDArray[Any]] = [self.state_array, self.edge_ptr, self.edge_target, self.edge_slot]
            for array in (*arrays, *self.weights.arrays().values()):
                digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
            self._hash = digest.hexdigest()
        return self._hash

    def eliminate(
        self,
        *,
        max_operations: float | None = 1e11,
        max_memory: float | None = None,
        progress: LabelledProgress | None = None,
    ) -> SymbolicDAG:
        """Eliminate the graph symbolically: find an order and the pattern of the result, valid for every θ.

        Parameters
        ----------
        max_operations
            Multiply-adds that one elimination may take. With the default a θ takes about ten seconds on one core, and finding the
            pattern some minutes. None: no limit.
        max_memory
            Bytes that pattern and numbers may take, at 24 for each entry; None for half of the memory of the machine (8 GiB where
            the system does not tell). ``math.inf``: no limit.
        progress
            Called now and then as ``progress(label, done, total)``: what is being done, and how many rows of the component at
            hand are finished.

        Raises
        ------
        NumericalError
            If the elimination would take more than that. The estimate, which the message holds, is made before the work
            begins: components of up to 8,192 states are tried out on their pattern, for larger ones the fill of the symmetric
            pattern is counted, which is an upper bound.

        References
        ----------
        J. W. H. Liu (1990), The role of elimination trees in sparse factorization. SIAM Journal on Matrix Analysis and Applications
        11(1), 134-172. https://doi.org/10.1137/0611010

        Examples
        --------
        >>> Graph.from_arrays([[2], [1], [0]], [0, 1], [1, 2], [2.0, 1.0], initial=0).eliminate()
        SymbolicDAG(4 vertices, 3 blocks, 0 entries of fill, 0 operations)
        """
        # Imported here because dag builds on graph, not the other way round.
        from .dag import SymbolicDAG

        return SymbolicDAG.from_graph(self, max_operations=max_operations, max_memory=max_memory, progress=progress)

    def model(self) -> Model:
        """Return the model of this graph, without looking into a cache.

        The graph is eliminated when this is first needed: by moments, sojourn times, quantiles, transforms and everything with
        rewards. `pdf`, `cdf`, `sf`, `pdf_and_grad` and `sample` of the time until absorption need the graph alone, so that they
        are also available where the elimination would be too large.
        """
        # Imported here because model builds on graph, not the other way round.
        from .model import Model

        return Model.from_graph(self)

    def discretize(self, rate: float | str, rewards: Any = None) -> tuple[Graph, npt.NDArray[np.float64]]:
        """Count events of a Poisson process instead of time, for example mutations on the branches of a coalescent.

        Parameters
        ----------
        rate
            Rate of events per unit of reward: a positive number, or the name of a new parameter, which becomes the last of θ.
        rewards
            Shape (V,): what a unit of time in each vertex counts for; None for ones.

        Returns
        -------
        graph : Graph
            A discrete graph that takes one step per jump and per event. States have one more entry: 1 for an event, 0 else.
        rewards : numpy.ndarray
            Shape (V',), 1 for events: ``graph.model().pdf(theta, counts, rewards)`` is the distribution of their number.

        Raises
        ------
        GraphError
            If the graph is discrete already.
        ParameterError
            If the rate is not positive, or its name is taken.

        References
        ----------
        A. Hobolth, A. Siri-Jégousse, M. Bladt (2019), Phase-type distributions in population genetics. Theoretical Population
        Biology 127, 16-32. https://doi.org/10.1016/j.tpb.2019.02.001

        Examples
        --------
        Events at rate 2 until a time that is exponential with rate 3; their number is geometric.

        >>> graph = Graph.from_arrays([[1], [0]], [0], [1], [3.0], initial=0)
        >>> counted, events = graph.discretize(2.0)
        >>> counted.model().pdf([], [0, 1, 2], events).round(6)
        array([0.6  , 0.24 , 0.096])
        """
        if self.discrete:
            raise GraphError("the graph is discrete already")
        arrays = CanonicalArrays(self.state_array, self.edge_ptr, self.edge_target, self.edge_slot, self.weights)
        names = names_with_rate(self.param_names, rate)
        counted = Graph.__new__(Graph)
        counted._set_raw(discretize(arrays, names, rate, rewards), discrete=True, given=names or None)
        return counted, (counted.state_array[:, -1] == 1).astype(np.float64)

    @staticmethod
    def pmf_from_graph(graph: Graph, discrete: bool = False) -> Model:
        """Return the model of `graph`; the elimination is taken from the symbolic cache or added to it.

        Parameters
        ----------
        graph
            A graph with or without parameters.
        discrete
            Must be true only for a graph that was built with ``discrete=True``; such a graph gives a discrete model
            anyway.

        Raises
        ------
        GraphError
            If `discrete` is true and the graph is continuous.

        Examples
        --------
        >>> graph = Graph.from_arrays([[2], [1], [0]], [0, 1], [1, 2], [2.0, 1.0], initial=0)
        >>> Graph.pmf_from_graph(graph).expectation([])
        1.5
        """
        if discrete and not graph.discrete:
            raise GraphError(
                "discrete=True asks for a discrete model of a continuous graph; build it with Graph(..., discrete=True)"
            )
        # Imported here because the cache builds on graph, not the other way round.
        from .symbolic_cache import SymbolicCache

        return SymbolicCache().get_or_compute(graph).model()

    def __repr__(self) -> str:
        n_params = self.param_length()
        shown = ", ".join(self.param_names[:4]) + (", …" if n_params > 4 else "")
        params = f"{_count(n_params, 'parameter')} ({shown})" if n_params else "no parameters"
        return (
            f"Graph({_count(self.vertices_length(), 'vertex', 'vertices')}, {_count(self.n_edges, 'edge')}, "
            f"{params}, {'discrete' if self.discrete else 'continuous'})"
        )


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _given_names(param_names: Sequence[str] | None) -> tuple[str, ...] | None:
    if param_names is None:
        return None
    if isinstance(param_names, str):
        raise ValueError(f"param_names must be a sequence of names, not the string {param_names!r}")
    names = tuple(param_names)
    try:
        check_param_names(names)
    except ValueError as error:
        raise GraphError(f"param_names: {error}") from None
    return names


def _place(parameter: Parameter, place: Mapping[str, int]) -> int:
    if parameter.name not in place:
        raise GraphError(f"the weights use parameter {parameter.name!r}, which param_names does not list")
    return place[parameter.name]
