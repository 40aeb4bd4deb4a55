"""Arrays that a public constructor took cannot be changed afterwards, by whatever way: the core relies on their indices."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasic_models.dag import SymbolicDAG
from phasic_models.elimination.plan import Pattern, Plan
from phasic_models.formats import dag_from_bytes, dag_to_bytes
from phasic_models.graph import Graph
from phasic_models.model import Model
from phasic_models.statespace.expr import params
from phasic_models.statespace.owned import own
from phasic_models.statespace.table import WeightTable

GRAPH_ARRAYS = ("state_array", "edge_ptr", "edge_target", "edge_slot")
PATTERN_ARRAYS = Pattern._fields
THETA = [0.5, 2.0]


def cyclic() -> Graph:
    """A chain with a cycle, products of parameters and several edges out of each state."""
    a, b = params("a", "b")
    return Graph.from_arrays(
        [[3], [2], [1], [0]], [0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 1, 3], [a, b, a * b, 1 + a, b / (a + b), a], initial=0
    )


def answers(model: Model) -> list[float]:
    return [
        model.expectation(THETA),
        model.variance(THETA),
        *model.pdf(THETA, [0.5, 2.0]),
        *model.sojourn(THETA),
        *model.moments_and_grad(THETA, 2)[1].ravel(),
        *model.expectation([THETA] * 9),
    ]


def as_it_is(array):
    return array


def read_only_view(array):
    """The view cannot be written to, the memory can."""
    view = array[:]
    view.flags.writeable = False
    return view


def view_of_a_view(array):
    return read_only_view(read_only_view(array)[...].view(np.ndarray))


def locked(array):
    """Whoever holds it can unlock it again."""
    array.flags.writeable = False
    return array


def over_a_bytearray(array):
    memory = np.frombuffer(bytearray(array.tobytes()), array.dtype).reshape(array.shape)
    memory.flags.writeable = False
    return memory


DISGUISES = [as_it_is, read_only_view, view_of_a_view, locked, over_a_bytearray]


class Given:
    """Arrays as a caller hands them over; `spoil` writes nonsense into the memory behind all of them."""

    def __init__(self, disguise):
        self.disguise = disguise
        self.kept = []

    def __call__(self, array):
        handed = self.disguise(np.array(array))
        self.kept.append(handed)
        return handed

    def spoil(self):
        for array in self.kept:
            owner = array
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            if isinstance(owner.base, memoryview | bytearray):
                owner = np.frombuffer(owner.base, owner.dtype)
            owner.flags.writeable = True
            owner[...] = 2**30 if owner.dtype.itemsize > 1 else 77


def assemble(given):
    """Make a model through every public constructor that takes arrays."""
    graph = cyclic()
    dag = graph.eliminate()
    table = WeightTable(**{name: given(array) for name, array in graph.weights.arrays().items()})
    arrays = {name: given(getattr(graph, name)) for name in GRAPH_ARRAYS}
    built = Graph.from_canonical_arrays(**arrays, weights=table, discrete=False, param_names=graph.param_names)
    pattern = {name: given(getattr(dag, name)) for name in PATTERN_ARRAYS}
    return SymbolicDAG(built, **pattern)


@pytest.mark.parametrize("disguise", DISGUISES)
def test_what_was_given_can_be_changed_without_effect(disguise):
    given = Given(disguise)
    model = assemble(given).model()
    expected = answers(cyclic().model())
    given.spoil()
    assert answers(model) == expected
    assert model.graph.content_hash() == cyclic().content_hash()
    # The plan is checked and made anew from the arrays that were taken.
    assert answers(pickle.loads(pickle.dumps(model))) == expected


@pytest.mark.parametrize("disguise", DISGUISES)
def test_from_arrays_and_from_an_order(disguise):
    given = Given(disguise)
    graph = Graph.from_arrays(
        given([[2], [1], [0]]),
        given([0, 0, 1]),
        given([1, 2, 2]),
        given([1.0, 2.0, 3.0]),
        initial=given([0.5, 0.5, 0.0]),
    )
    before = graph.eliminate()
    dag = SymbolicDAG.from_order(graph, given(before.order), given(before.block_ptr))
    expected = graph.model().expectation(None)
    assert expected == pytest.approx(0.5 * (1 / 3 + (1 / 3) * (1 / 3)) + 0.5 / 3, rel=1e-14)
    given.spoil()
    assert dag.model().expectation(None) == graph.model().expectation(None) == expected


@pytest.mark.parametrize("disguise", DISGUISES)
def test_starts_of_epochs(disguise):
    given = Given(disguise)
    past = cyclic().model().epochs(given([0.0, 1.0, 2.0]))
    theta = [THETA, [1.0, 1.0], THETA]
    expected = past.expectation(theta)
    given.spoil()
    assert past.expectation(theta) == expected


@pytest.mark.parametrize("disguise", DISGUISES)
def test_rewards_that_are_remembered(disguise):
    given = Given(disguise)
    model = cyclic().model()
    rewards = [0.0, 1.0, 0.0, 2.0, 1.0]
    expected = model.cdf(THETA, [0.5, 1.0], given(rewards)).tolist()
    given.spoil()
    assert model.cdf(THETA, [0.5, 1.0], rewards).tolist() == expected


def every_array(model):
    yield from (getattr(model.graph, name) for name in GRAPH_ARRAYS)
    yield from model.graph.weights.arrays().values()
    yield from (getattr(model.dag, name) for name in PATTERN_ARRAYS)
    yield from (
        model.dag.plan.graph.edge_slot,
        *model.dag.plan._pattern,
        *model.dag.plan.graph.weights.arrays().values(),
    )
    yield model.epochs([0.0, 1.0]).starts


def through_a_file(model):
    return dag_from_bytes(dag_to_bytes(model.dag)).model()


def through_a_pickle(model):
    return pickle.loads(pickle.dumps(model))


def through_buffers(model):
    buffers = []
    data = pickle.dumps(model, protocol=5, buffer_callback=buffers.append)
    return pickle.loads(data, buffers=[bytearray(buffer.raw()) for buffer in buffers])


@pytest.mark.parametrize(
    "path",
    [as_it_is, through_a_file, through_a_pickle, through_buffers, copy.copy, copy.deepcopy],
    ids=lambda f: f.__name__,
)
def test_no_array_that_a_model_shows_can_be_unlocked(path):
    model = path(cyclic().model())
    for array in every_array(model):
        if array.size == 0:
            continue
        with pytest.raises(ValueError, match=r"WRITEABLE|read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
    assert answers(model) == answers(cyclic().model())


def test_a_plan_of_its_own():
    """The binding of the core borrows what it is given, so it owns that as well."""
    graph = cyclic()
    given = Given(read_only_view)
    plan = Plan(graph, Pattern(*(given(getattr(graph.eliminate(), name)) for name in PATTERN_ARRAYS)))
    expected = plan.moments(np.array([THETA]), 1, None, 1).tolist()
    given.spoil()
    assert plan.moments(np.array([THETA]), 1, None, 1).tolist() == expected


@given(
    shape=st.lists(st.integers(0, 4), min_size=1, max_size=2),
    kind=st.sampled_from(["u1", "i4", "i8", "f8"]),
    step=st.sampled_from([1, 2, -1]),
    offset=st.integers(0, 3),
)
def test_owned_arrays(shape, kind, step, offset):
    dtype = np.dtype(kind)
    size = int(np.prod(shape))
    raw = np.arange(3 + size * dtype.itemsize, dtype=np.uint8).tobytes()
    # Also what is not aligned, and what is not contiguous.
    values = np.frombuffer(raw, dtype, size, offset).reshape(shape)[::step]
    owned = own(values)
    assert owned.flags.c_contiguous
    assert owned.flags.aligned
    assert not owned.flags.writeable
    assert owned.dtype == values.dtype
    assert owned.tobytes() == values.tobytes()
    assert owned.shape == values.shape
    # What cannot be changed anyway is not copied.
    good = values.flags.c_contiguous and values.flags.aligned
    assert (owned is values) == good
