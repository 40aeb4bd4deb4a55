"""SymbolicDAG: its pattern, whatever arrays it is given, and what can be done with it."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import any_chains, chains, thetas

from phasic_models.dag import SymbolicDAG
from phasic_models.errors import FormatError, GraphError, PhasicModelsError
from phasic_models.graph import Graph

ARRAYS = ("order", "block_ptr", "lower_ptr", "lower_col", "upper_ptr", "upper_col")


def arrays(dag):
    return {name: getattr(dag, name).copy() for name in ARRAYS}


def ring(n, discrete=False):
    """n states in a ring, both directions, absorbed from the first: one component."""

    def callback(state):
        if len(state) == 0:
            return [([n], 1.0, [1.0])]
        i = int(state[0])
        if i == 0:
            return []
        moves = {i % n + 1: 0.25, (i - 2) % n + 1: 0.25}
        return [([j], 0.0, [w]) for j, w in moves.items() if j != i] + ([([0], 0.25, [0.0])] if i == 1 else [])

    return Graph(callback, discrete=discrete)


@given(any_chains(max_transient=10))
def test_what_is_recorded(chain):
    dag = chain.graph().eliminate()
    assert dag.n_blocks == dag.block_ptr.size - 1
    assert dag.fill == dag.lower_col.size + dag.upper_col.size
    assert dag.is_acyclic == (dag.fill == 0)
    assert dag.operations >= dag.lower_col.size
    assert dag.vertices_length() == chain.graph().vertices_length()
    assert dag.content_hash() == chain.graph().content_hash()
    kinds = dict(part.split("=") for part in dag.ordering.split(","))
    assert sum(map(int, kinds.values())) == dag.n_blocks
    assert str(dag.operations) in repr(dag)


def test_order_of_a_ring():
    dag = ring(30).eliminate()
    # Around the ring, two neighbours each time: one operation less where the last two meet.
    assert dag.operations <= 4 * 30
    assert dag.ordering == "trivial=1,least_fill=1"


@given(any_chains(max_transient=8), thetas(2))
def test_another_order_is_another_way_to_the_same_numbers(chain, theta):
    theta = theta[: chain.n_params]
    dag = chain.graph().eliminate()
    # Reversed inside each block.
    order = np.concatenate([dag.order[a:b][::-1] for a, b in zip(dag.block_ptr, dag.block_ptr[1:], strict=False)])
    other = SymbolicDAG.from_order(dag.graph, order, dag.block_ptr)
    # One block for everything.
    whole = SymbolicDAG.from_order(dag.graph, dag.order, [0, dag.order.size])
    expected = dag.model().moments(theta, 3)
    assert other.model().moments(theta, 3) == pytest.approx(expected, rel=1e-12)
    assert whole.model().moments(theta, 3) == pytest.approx(expected, rel=1e-12)
    assert other.ordering == f"given={dag.n_blocks}"
    assert whole.ordering == "given=1"


@given(any_chains(max_transient=8), thetas(2))
def test_pickles_and_copies(chain, theta):
    theta = theta[: chain.n_params]
    dag = chain.graph().eliminate()
    value = dag.model().moments(theta, 2).tolist()
    for again in (pickle.loads(pickle.dumps(dag)), copy.copy(dag), copy.deepcopy(dag)):
        assert {k: v.tolist() for k, v in arrays(again).items()} == {k: v.tolist() for k, v in arrays(dag).items()}
        assert again.ordering == dag.ordering
        assert again.content_hash() == dag.content_hash()
        assert again.model().moments(theta, 2).tolist() == value
    model = pickle.loads(pickle.dumps(dag.model()))
    assert model.moments(theta, 2).tolist() == value


def test_a_model_that_was_used_can_be_pickled():
    model = ring(4).model()
    model.pdf([1.0], [1.0])
    model.pdf([1.0], [1.0], np.arange(6.0))
    model.laplace([1.0], 1.0)
    model.sample([1.0], 3, seed=1)
    again = pickle.loads(pickle.dumps(model))
    assert again.laplace([1.0], 1.0) == model.laplace([1.0], 1.0)
    assert again.pdf([1.0], [1.0], np.arange(6.0)) == model.pdf([1.0], [1.0], np.arange(6.0))


def test_pickled_damage_is_refused():
    dag = ring(5).eliminate()
    state = dag.__getstate__()
    order, *others = state["pattern"]
    state["pattern"] = (np.roll(order, 1), *others)
    with pytest.raises(FormatError):
        dag.__setstate__(state)


def try_arrays(graph, parts, **kwargs):
    """Make a SymbolicDAG; if it accepts the arrays it must be right."""
    try:
        dag = SymbolicDAG(graph, *(parts[name] for name in ARRAYS), **kwargs)
    except PhasicModelsError:
        return False
    expected = graph.eliminate().model().moments(np.ones(graph.param_length()), 3)
    assert dag.model().moments(np.ones(graph.param_length()), 3) == pytest.approx(expected, rel=1e-11)
    return True


numbers = st.one_of(
    st.integers(-2, 20),
    st.sampled_from([2**31 - 1, -(2**31), 2**31, 2**32, 2**32 + 1, 2**62, 2**63 - 1, -(2**63)]),
)


@given(
    st.integers(2, 9), st.lists(st.tuples(st.sampled_from(ARRAYS), st.integers(0, 60), numbers), min_size=1, max_size=4)
)
@settings(max_examples=400)
@example(4, [("order", 0, 2**32)])
@example(4, [("upper_col", 0, 2**32 + 1)])
def test_entries_changed(n, changes):
    graph = ring(n)
    parts = {name: array.astype(np.int64) for name, array in arrays(graph.eliminate()).items()}
    before = {name: array.copy() for name, array in parts.items()}
    for name, at, value in changes:
        parts[name][at % parts[name].size] = value
    same = all((parts[name] == before[name]).all() for name in ARRAYS)
    assert try_arrays(graph, parts) or not same


@given(
    st.integers(2, 9),
    st.sampled_from(ARRAYS),
    st.integers(0, 60),
    st.sampled_from(["delete", "insert", "truncate", "empty", "double", "reverse", "swap"]),
    numbers,
)
@settings(max_examples=300)
def test_arrays_cut_and_shuffled(n, name, at, how, value):
    graph = ring(n)
    parts = {key: array.astype(np.int64) for key, array in arrays(graph.eliminate()).items()}
    array = parts[name]
    at %= array.size
    if how == "delete":
        parts[name] = np.delete(array, at)
    elif how == "insert":
        parts[name] = np.insert(array, at, value)
    elif how == "truncate":
        parts[name] = array[:at]
    elif how == "empty":
        parts[name] = array[:0]
    elif how == "double":
        parts[name] = np.concatenate([array, array])
    elif how == "reverse":
        parts[name] = array[::-1]
    else:
        parts[name][[at, at - 1]] = array[[at - 1, at]]
    try_arrays(graph, parts)


@given(st.integers(1, 5), st.data())
@settings(max_examples=200)
def test_arrays_made_up(n, data):
    lists = st.lists(numbers, max_size=12)
    try_arrays(ring(n), {name: data.draw(lists, label=name) for name in ARRAYS})


@given(chains(cyclic=True, max_transient=7), chains(cyclic=True, max_transient=7))
@settings(max_examples=60)
def test_the_pattern_of_another_graph(one, other):
    try_arrays(one.graph(), arrays(other.graph().eliminate()))


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize(
    "value",
    [
        None,
        "abc",
        1.5,
        [0.5, 1.5],
        [np.nan],
        [[0, 1], [2]],
        [None],
        [2**64],
        [1e300],
        object(),
        b"\0\0\0\0",
        [[0], [1]],
    ],
    ids=lambda value: "object" if type(value) is object else repr(value),
)
def test_arrays_of_another_kind(name, value):
    graph = ring(4)
    parts = arrays(graph.eliminate())
    parts[name] = value
    with pytest.raises(FormatError):
        SymbolicDAG(graph, **parts)


def test_lists_will_do():
    graph = ring(4)
    parts = {name: array.tolist() for name, array in arrays(graph.eliminate()).items()}
    assert try_arrays(graph, parts)


@pytest.mark.parametrize("operations", [0, -1, 10**6])
def test_a_wrong_operation_count(operations):
    graph = ring(4)
    with pytest.raises(FormatError, match="operations"):
        SymbolicDAG(graph, **arrays(graph.eliminate()), operations=operations)


def test_arrays_that_change_later():
    """The core borrows the arrays, so nobody else may have a way to change them."""
    graph = ring(6)
    parts = arrays(graph.eliminate())
    dag = SymbolicDAG(graph, **parts)
    model = dag.model()
    expected = model.expectation([1.0])
    for array in parts.values():
        array[:] = 1_000_000
    assert model.expectation([1.0]) == expected
    for name in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(dag, name)[0] = 1_000_000
    assert model.expectation([1.0]) == expected


@pytest.mark.parametrize("how", ["unaligned", "big-endian", "strided", "int64", "fortran"])
def test_arrays_of_other_layouts(how):
    graph = ring(6)
    parts = arrays(graph.eliminate())
    for name, array in parts.items():
        if how == "unaligned":
            raw = np.frombuffer(b"\0" + array.tobytes(), dtype=np.uint8)[1:]
            parts[name] = np.ndarray(array.shape, array.dtype, raw)
            assert not parts[name].flags.aligned
        elif how == "big-endian":
            parts[name] = array.astype(array.dtype.newbyteorder(">"))
        elif how == "strided":
            parts[name] = np.repeat(array, 2)[::2]
        elif how == "int64":
            parts[name] = array.astype(np.int64)
        else:
            parts[name] = np.asfortranarray(array)
    dag = SymbolicDAG(graph, **parts)
    assert all(getattr(dag, name).flags.aligned for name in ARRAYS)
    assert dag.model().expectation([1.0]) == graph.model().expectation([1.0])


def test_a_graph_alone_says_what_is_wrong():
    with pytest.raises(GraphError, match="order"):
        SymbolicDAG.from_order(ring(3), [1, 2, 3], [0, 3])
