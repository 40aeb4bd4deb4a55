"""The binding of the core: batches, threads, memory, and what comes back from it."""

import gc
import math
import os
import sys
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reaching import reaches
from strategies import any_chains, chains, thetas

from phasic_models.core import threads
from phasic_models.elimination import plan
from phasic_models.elimination.plan import Plan
from phasic_models.elimination.symbolic import symbolic
from phasic_models.errors import GraphError, ParameterError
from phasic_models.evaluation.arguments import as_float_array
from phasic_models.graph import Graph
from phasic_models.statespace.table import WeightTable


def repairable(n):
    """Each of n components fails at rate theta[0] and is repaired at rate theta[1]; the system ends when all are down."""

    def callback(state):
        if len(state) == 0:
            return [([1] * n, 1.0, [1.0, 0.0])]
        if not state.any():
            return []
        moves = []
        for i in range(n):
            flipped = state.copy()
            flipped[i] = 1 - state[i]
            moves.append((flipped, 0.0, [1.0, 0.0] if state[i] else [0.0, 1.0]))
        return moves

    return Graph(callback)


@pytest.fixture(scope="module")
def model():
    return repairable(4).model()


def flat(theta, parts):
    """Several results of one call in one row, or one row for each θ."""
    lead = np.ndim(theta) - 1
    rows = [part.reshape(*part.shape[:lead], math.prod(part.shape[lead:])) for part in parts]
    return np.concatenate(rows, axis=-1)


CALLS = {
    "expectation": lambda m, theta, **o: m.expectation(theta, **o),
    "rewarded": lambda m, theta, **o: m.expectation(theta, np.arange(m.states.shape[0]), **o),
    "many rewards": lambda m, theta, **o: m.expectation(
        theta, np.sqrt(np.arange(5.0 * m.states.shape[0])).reshape(5, -1), **o
    ),
    "moments": lambda m, theta, **o: m.moments(theta, 4, **o),
    "variance": lambda m, theta, **o: m.variance(theta, **o),
    "covariance_matrix": lambda m, theta, **o: m.covariance_matrix(theta, np.eye(m.states.shape[0])[2:5], **o),
    "joint_moment": lambda m, theta, **o: m.joint_moment(theta, np.ones((3, m.states.shape[0])), **o),
    "sojourn": lambda m, theta, **o: m.sojourn(theta, **o),
    "moments_and_grad": lambda m, theta, **o: flat(theta, m.moments_and_grad(theta, 3, **o)),
    "pdf": lambda m, theta, **o: m.pdf(theta, [0.0, 0.5, 3.0], **o),
    "cdf": lambda m, theta, **o: m.cdf(theta, [0.0, 0.5, 3.0], **o),
    "sf": lambda m, theta, **o: m.sf(theta, [0.0, 0.5, 3.0], **o),
    "pdf_and_grad": lambda m, theta, **o: m.pdf_and_grad(theta, [0.5, 3.0], **o)[1],
    "quantile": lambda m, theta, **o: m.quantile(theta, [0.1, 0.5, 0.9], **o),
    "laplace": lambda m, theta, **o: m.laplace(theta, [0.0, 0.3, 2.0], **o),
}


def some_thetas(n, seed=0):
    return 0.2 + np.random.default_rng(seed).random((n, 2))


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 23])
def test_a_batch_equals_single_calls_to_the_last_bit(model, name, n):
    batch = some_thetas(n)
    together = CALLS[name](model, batch)
    single = np.stack([np.asarray(CALLS[name](model, theta)) for theta in batch])
    assert together.shape == single.shape
    assert together.tobytes() == single.tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_threads_change_no_bit(model, name):
    batch = some_thetas(41)
    alone = CALLS[name](model, batch)
    for n_threads in (2, 3, 64, -1):
        assert CALLS[name](model, batch, n_threads=n_threads).tobytes() == alone.tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_large_patterns_are_evaluated_one_at_a_time(model, name, monkeypatch):
    batch = some_thetas(11)
    expected = CALLS[name](model, batch)
    monkeypatch.setattr(plan, "_MAX_LANED_FILL", 0)
    assert CALLS[name](model, batch).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", CALLS)
def test_an_empty_batch_has_a_shape(model, name):
    some = CALLS[name](model, some_thetas(3))
    none = CALLS[name](model, np.empty((0, 2)))
    assert none.shape == (0, *some.shape[1:])


def test_samples_do_not_depend_on_threads(model):
    batch = some_thetas(3)
    alone = model.sample(batch, 5000, seed=1)
    assert alone.shape == (3, 5000)
    assert model.sample(batch, 5000, seed=1, n_threads=3).tobytes() == alone.tobytes()
    assert model.sample(batch, 5000, seed=2).tobytes() != alone.tobytes()
    assert len(np.unique(alone)) == alone.size


def test_callers_in_many_threads(model):
    batch = some_thetas(300)
    expected = {
        name: CALLS[name](model, batch).tobytes() for name in ("moments", "pdf", "covariance_matrix", "laplace")
    }
    wrong = []

    def work(name):
        for _ in range(3):
            if CALLS[name](model, batch).tobytes() != expected[name]:
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(name,)) for name in expected for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_more_rewards_than_a_model_remembers_in_many_threads():
    model = repairable(3).model()
    rewards = np.random.default_rng(5).random((40, model.states.shape[0]))
    expected = [model.cdf([1.0, 0.5], 1.0, row) for row in rewards]
    wrong = []

    def work(seed):
        for i in np.random.default_rng(seed).permutation(len(rewards)):
            try:
                if model.cdf([1.0, 0.5], 1.0, rewards[i]) != expected[i]:
                    wrong.append(i)
            except Exception as error:
                wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_error_in_one_thread_is_the_first_of_the_batch(model):
    batch = some_thetas(64)
    batch[17] = batch[60] = [1.0, -1.0]
    for n_threads in (1, 4):
        with pytest.raises(ParameterError, match=r"theta\[17\] = "):
            model.expectation(batch, n_threads=n_threads)
        with pytest.raises(ParameterError, match=r"theta\[17\] = "):
            model.pdf(batch, [1.0], n_threads=n_threads)
    batch[17] = batch[60] = 1.0
    assert np.isfinite(model.expectation(batch)).all()


@given(any_chains(max_transient=6), thetas(2))
@settings(max_examples=40)
def test_arrays_of_other_layouts(chain, theta):
    model = chain.graph().model()
    row = np.array(theta[: chain.n_params])
    batch = np.tile(row, (5, 1))
    expected = model.expectation(batch)
    strided = np.empty((10, chain.n_params * 2))
    strided[::2, ::2] = batch
    unaligned = np.ndarray(batch.shape, batch.dtype, np.frombuffer(b"\0" + batch.tobytes(), np.uint8)[1:])
    others = (np.asfortranarray(batch), strided[::2, ::2], batch.astype(">f8"), batch[::-1], batch.tolist(), unaligned)
    assert all(as_float_array(other, "theta").flags.aligned for other in others)
    for other in others:
        assert model.expectation(other).tobytes() == expected.tobytes()
    rewards = np.linspace(0, 1, model.states.shape[0])
    assert model.expectation(row, rewards.astype(">f8")) == model.expectation(row, rewards)
    times = np.array([[0.0, 1.0], [2.0, 5.0]])
    plain = model.pdf(row, times)
    assert plain.shape == (2, 2)
    assert model.pdf(row, np.asfortranarray(times)).tobytes() == plain.tobytes()
    assert model.pdf(row, times.ravel()).tobytes() == plain.tobytes()


def test_arguments_are_not_changed(model):
    batch, times, rewards = some_thetas(9), np.linspace(0, 3, 5), np.ones(model.states.shape[0])
    kept = batch.copy(), times.copy(), rewards.copy()
    model.pdf(batch, times)
    model.moments(batch, 3, rewards)
    model.quantile(batch, [0.5])
    for array, copy in zip((batch, times, rewards), kept, strict=True):
        assert array.tobytes() == copy.tobytes()
    for array in (batch, times, rewards):
        array.flags.writeable = False
    model.pdf(batch, times)
    model.moments(batch, 3, rewards)


@pytest.mark.parametrize("n_threads", [0, -2, -100])
def test_thread_counts_that_make_no_sense(model, n_threads):
    with pytest.raises(ParameterError, match="n_threads"):
        model.expectation([1.0, 1.0], n_threads=n_threads)


@pytest.mark.parametrize("n_threads", [1.5, "2", True, [1]])
def test_thread_counts_of_another_type(model, n_threads):
    with pytest.raises(ParameterError, match="n_threads"):
        model.expectation([1.0, 1.0], n_threads=n_threads)


def test_thread_count_of_all_processors():
    assert threads.thread_count(-1) >= 1
    assert threads.thread_count(None) == 1
    assert threads.thread_count(np.int64(3)) == 3


@given(chains(max_transient=8))
def test_a_given_order_that_is_wrong(chain):
    graph = chain.graph()
    pattern, _, _ = symbolic(graph)
    with pytest.raises(GraphError, match="order"):
        symbolic(graph, pattern.order[::-1], pattern.block_ptr)
    with pytest.raises(GraphError, match="order"):
        symbolic(graph, pattern.order[:-1], pattern.block_ptr)
    with pytest.raises(GraphError, match="order"):
        symbolic(graph, pattern.order, pattern.block_ptr[:-1])
    with pytest.raises(GraphError, match="order"):
        symbolic(graph, pattern.order, [])


@st.composite
def orders(draw):
    """The right order with the vertices of its blocks mixed, now and then with a number or two replaced by others."""
    pattern, _, _ = symbolic(repairable(3))
    order, ends = list(map(int, pattern.order)), list(map(int, pattern.block_ptr))
    for start, end in pairwise(ends):
        order[start:end] = draw(st.permutations(order[start:end]))
    for numbers in (order, ends):
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            numbers[draw(st.integers(0, len(numbers) - 1))] = draw(st.integers(-3, 12))
    return order, ends


wild = st.tuples(st.lists(st.integers(-3, 12), max_size=10), st.lists(st.integers(-3, 12), max_size=10))


@reaches(0.05)
@given(orders() | wild)
def test_any_order_is_refused_or_right(given_order):
    order, block_ptr = given_order
    graph = repairable(3)
    try:
        pattern, _, _ = symbolic(graph, order, block_ptr)
    except GraphError:
        return False
    assert Plan(graph, pattern).moments(np.array([[1.0, 1.0]]), 1, None, 1)[0, 0] == pytest.approx(10 / 3, rel=1e-14)
    return True


def resident():
    with open("/proc/self/statm") as file:  # noqa: PTH123  (a file that changes while it is read)
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_does_not_grow():
    model = repairable(5).model()
    batch = some_thetas(24)

    def work(rounds):
        for _ in range(rounds):
            for call in CALLS.values():
                call(model, batch)
            model.sample(batch[0], 100, seed=1)
            repairable(3).model().expectation([1.0, 1.0])
            for bad in ([-1.0, 1.0], [0.0, 1.0]):
                with pytest.raises(ParameterError):
                    model.expectation(bad)
        gc.collect()

    work(3)
    before = resident()
    work(12)
    assert resident() - before < 6_000_000


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_scratch_of_a_long_sweep_is_given_back():
    model = repairable(2).model()
    model.sf([1.0, 1.0], [1.0])
    before = resident()
    model.dag.plan.uniformize(np.array([[1e-4, 1e3]]), np.array([1000.0]), ("sf",), 1e-12, 10**7, 1)
    assert resident() - before < 30_000_000


ARRAYS = ("state_array", "edge_ptr", "edge_target", "edge_slot")
TABLE = ("affine_base", "affine_ptr", "affine_param", "affine_coef", "program_op", "program_a", "program_b")


def rebuilt(graph, change):
    """The same graph from arrays that the caller made, and the arrays."""
    parts = {name: change(getattr(graph, name)) for name in ARRAYS}
    table = {name: change(getattr(graph.weights, name)) for name in TABLE}
    made = Graph.from_canonical_arrays(
        **parts, weights=WeightTable(**table), discrete=graph.discrete, param_names=graph.param_names
    )
    return made, [*parts.values(), *table.values()]


def test_a_graph_does_not_follow_the_arrays_it_was_made_from():
    """The core has checked them once; what it reads must not change behind its back."""
    graph, given = rebuilt(repairable(3), np.copy)
    model = graph.model()
    expected = model.expectation([1.0, 2.0]), model.pdf([1.0, 2.0], 0.5)
    for array in given:
        array[...] = 99
    assert (model.expectation([1.0, 2.0]), model.pdf([1.0, 2.0], 0.5)) == expected
    assert graph.content_hash() == repairable(3).content_hash()


def test_unaligned_arrays_of_a_graph():
    def unaligned(array):
        raw = np.frombuffer(b"\0" + array.tobytes(), dtype=np.uint8)[1:]
        return np.ndarray(array.shape, array.dtype, raw)

    graph, _ = rebuilt(repairable(3), unaligned)
    holders = [getattr(graph, name) for name in ARRAYS] + [getattr(graph.weights, name) for name in TABLE]
    assert all(array.flags.aligned for array in holders)
    assert graph.model().expectation([1.0, 2.0]) == repairable(3).model().expectation([1.0, 2.0])


def test_zero_weights_in_a_long_chain_take_no_longer():
    """Whether absorption is certain is found in one pass, however far it is away; this took minutes once."""
    n = 60_000
    states = np.arange(n + 2)[:, None]
    up, down = np.arange(1, n), np.arange(1, n + 1)
    # To and fro between 1 and n, absorbed at 0; a spur n + 1 that is entered at rate theta[0] and left at theta[1].
    sources = np.concatenate([up, down, [n, n + 1]])
    targets = np.concatenate([up + 1, down - 1, [n + 1, 0]])
    weights = np.ones(sources.size)
    weights[-2:] = 0
    coefficients = np.zeros((sources.size, 2))
    coefficients[-2, 0] = coefficients[-1, 1] = 1
    model = Graph.from_arrays(states, sources, targets, weights, coefficients, initial=n).model()
    start = time.perf_counter()
    assert model.expectation([0.0, 0.0]) == pytest.approx(n * (n + 1) / 2, rel=1e-9)
    with pytest.raises(ParameterError, match="not certain"):
        model.expectation([1.0, 0.0])
    assert time.perf_counter() - start < 10
