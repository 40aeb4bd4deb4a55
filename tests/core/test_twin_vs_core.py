"""The C core against the plain Python of twin.py, on random graphs: the same bits where the core promises an order."""

from itertools import pairwise

import numpy as np
import pytest
import twin
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_chains, chains, thetas

from phasic_models.dag import SymbolicDAG
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params


def rows(ptr, col):
    return [col[a:b].tolist() for a, b in pairwise(ptr)]


@given(any_chains(max_transient=14))
def test_pattern_and_operation_count(chain):
    dag = chain.graph().eliminate()
    other = twin.Twin(dag.graph, dag.order, dag.block_ptr)
    assert rows(dag.lower_ptr, dag.lower_col) == other.lower
    assert rows(dag.upper_ptr, dag.upper_col) == other.upper
    assert dag.operations == other.operations


@given(any_chains(max_transient=14))
def test_blocks_are_strong_components_downstream_first(chain):
    dag = chain.graph().eliminate()
    blocks = rows(dag.block_ptr, dag.order)
    assert {frozenset(b) for b in blocks} == {frozenset(c) for c in twin.strong_components(dag.graph)}
    assert blocks[-1] == [0]
    block_of = {v: i for i, block in enumerate(blocks) for v in block}
    for v, i in block_of.items():
        for w in dag.graph.edge_target[dag.graph.edge_ptr[v] : dag.graph.edge_ptr[v + 1]].tolist():
            assert block_of.get(w, -1) <= i


@given(any_chains(max_transient=12), thetas(2), st.integers(0, 2**32))
def test_expectation_to_the_last_bit(chain, theta, seed):
    theta = theta[: chain.n_params]
    graph = chain.graph()
    rewards = np.random.default_rng(seed).choice([0.0, 1.0, 0.25, 3.7], size=graph.vertices_length())
    given_order = SymbolicDAG.from_order(graph, *twin.an_order(graph))
    for dag in (graph.eliminate(), given_order):
        other = twin.Twin(graph, dag.order, dag.block_ptr)
        model = dag.model()
        assert model.expectation(theta) == other.expectation(theta)
        assert model.expectation(theta, rewards) == other.expectation(theta, rewards)


@given(chains(n_params=2), st.lists(thetas(2), max_size=20))
def test_every_lane_of_a_batch_to_the_last_bit(chain, batch):
    dag = chain.graph().eliminate()
    other = twin.Twin(dag.graph, dag.order, dag.block_ptr)
    values = dag.model().expectation(np.array(batch).reshape(-1, 2))
    assert values.tolist() == [other.expectation(theta) for theta in batch]


A, B = params("a", "b")
WEIGHTS = [A, B, A * B, A / (A + B), (A + 1) ** 3 / B, 2 * A + B / 3 + 0.1, 1 / (A * A + B), 0.7]


@given(st.lists(st.sampled_from(WEIGHTS), min_size=3, max_size=9), thetas(2))
def test_rational_weights_to_the_last_bit(weights, theta):
    n = len(weights)

    def callback(state):
        k = int(state[0])
        return [((k - 1,), weights[k - 1]), ((min(k + 1, n),), weights[k % n])] if k else []

    dag = Graph(callback, ipv=[n], param_names=["a", "b"]).eliminate()
    values = twin.slot_values(dag.graph, theta)
    assert dag.plan.edge_weights(np.array([theta]))[0].tolist() == [values[s] for s in dag.graph.edge_slot.tolist()]
    assert dag.graph.weights.evaluate(theta).tolist() == values
    assert dag.model().expectation(theta) == twin.Twin(dag.graph, dag.order, dag.block_ptr).expectation(theta)


@given(any_chains(), thetas(2), st.integers(0, 2**32))
def test_moments(chain, theta, seed):
    theta = theta[: chain.n_params]
    dag = chain.graph().eliminate()
    other = twin.Twin(dag.graph, dag.order, dag.block_ptr)
    rewards = np.random.default_rng(seed).choice([0.0, 1.0, 0.25, 3.7], size=dag.vertices_length())
    for r in (None, rewards):
        assert dag.model().moments(theta, 5, r) == pytest.approx(other.moments(theta, 5, r), rel=1e-13)


@given(any_chains(max_transient=6), thetas(2), st.lists(st.floats(0.0, 3.0), min_size=1, max_size=4))
def test_distribution(chain, theta, times):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    if chain.discrete:
        times = [float(int(4 * t)) for t in times]
    else:
        # The twin starts from exp(-rate * time).
        fastest = float(model.dag.plan.rate(np.array([theta]).reshape(1, -1))[0])
        times = [t / max(1.0, fastest / 20) for t in times]
    expected = np.array([twin.distribution(model.graph, theta, t) for t in times]).T
    for name, values in zip(("pdf", "cdf", "sf"), expected, strict=True):
        got = getattr(model, name)(theta, times)
        assert got == pytest.approx(values, rel=1e-11, abs=1e-290), name


def test_point_mass_at_zero():
    model = Graph(lambda s: [((0,), 1.0)] if s[0] else [], ipv=[((0,), 0.25), ((1,), 0.75)]).model()
    assert model.cdf([], [0.0]).tolist() == [0.25]
    assert model.sf([], [0.0]).tolist() == [0.75]
    assert model.expectation([]) == 0.75
