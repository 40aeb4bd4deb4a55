"""Tests of phasic_bridge against the real phasic.

Not collected by name: `test_phasic_bridge.py` runs this file in an environment that has phasic.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import phasic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phasic_models import Graph, params
from phasic_models.errors import CompatibilityError, GraphError, ParameterError
from phasic_models.phasic_bridge import from_phasic, to_phasic

THETA = np.array([1.5, 0.7])


def coalescent(n: int = 5) -> Any:
    """phasic's two-island coalescent by lineage counts, parameters (coalescence, migration)."""

    def callback(state: Any) -> list[Any]:
        if sum(state) <= 1:
            return []
        out: list[Any] = []
        for here in range(2):
            if state[here]:
                moved = list(state)
                moved[here] -= 1
                merged = list(moved)
                moved[1 - here] += 1
                out.append((moved, [0.0, float(state[here])]))
                if state[here] > 1:
                    out.append((merged, [state[here] * (state[here] - 1) / 2, 0.0]))
        return out

    return phasic.Graph(callback, ipv=[[[n, 0], 0.5], [[n - 1, 1], 0.5]], graph_cache=False)


def constant() -> Any:
    graph = phasic.Graph(1)
    states = [graph.find_or_create_vertex([i]) for i in (1, 2, 0)]
    graph.starting_vertex().add_edge(states[0], 0.25)
    graph.starting_vertex().add_edge(states[1], 0.75)
    states[0].add_edge(states[1], 2.0)
    states[0].add_edge(states[2], 0.5)
    states[1].add_edge(states[0], 1.0)
    states[1].add_edge(states[2], 3.0)
    return graph


def small(first: list[float], second: list[float], n_params: int | None = None) -> Any:
    """Two states in a row, with the coefficients of their rates."""
    graph = phasic.Graph(1)
    if n_params is not None:
        graph.set_param_length(n_params)
    one, two = graph.find_or_create_vertex([2]), graph.find_or_create_vertex([1])
    graph.starting_vertex().add_edge(one, 1.0)
    one.add_edge(two, first)
    two.add_edge(graph.find_or_create_vertex([0]), second)
    return graph


def check_moments(theirs: Any, ours: Graph, theta: Any, callback: Any = None) -> None:
    if ours.param_length():
        theirs.update_weights(np.asarray(theta), callback=callback)
    model = ours.model()
    assert model.expectation(theta) == pytest.approx(theirs.expectation(), rel=1e-12)
    if not ours.discrete:
        # phasic's variance of a discrete graph is wrong.
        assert model.variance(theta) == pytest.approx(theirs.variance(), rel=1e-11)


def test_parameterised_graph_keeps_states_edges_and_moments() -> None:
    theirs = coalescent()
    ours = from_phasic(theirs, param_names=["coalescence", "migration"])
    assert ours.param_names == ("coalescence", "migration")
    assert ours.vertices_length() == len(theirs)
    assert sorted(map(tuple, ours.states()[1:].tolist())) == sorted(
        tuple(v.state().tolist()) for v in theirs if v.index()
    )
    check_moments(theirs, ours, THETA)


def test_the_order_in_which_phasic_lists_edges_does_not_matter() -> None:
    assert from_phasic(coalescent()).content_hash() == from_phasic(coalescent()).content_hash()
    assert from_phasic(coalescent(4)).content_hash() != from_phasic(coalescent(5)).content_hash()


def test_rewards_fit_both() -> None:
    ours = from_phasic(coalescent())
    theirs = to_phasic(ours)
    theirs.update_weights(THETA)
    rewards = ours.states().sum(axis=1).astype(float)
    assert ours.model().expectation(THETA, rewards) == pytest.approx(theirs.expectation(rewards), rel=1e-12)


def test_constant_graph() -> None:
    ours = from_phasic(constant())
    assert ours.param_length() == 0
    check_moments(constant(), ours, [])
    check_moments(to_phasic(ours), ours, [])


def test_exact_density_where_phasic_approximates() -> None:
    from scipy.linalg import expm

    theirs = constant()
    ours = from_phasic(theirs).model()
    times = np.linspace(0.1, 3, 7)
    matrices = theirs.as_matrices()
    exit_rates = -matrices.sim.sum(axis=1)
    exact = [matrices.ipv @ expm(matrices.sim * t) @ exit_rates for t in times]
    assert ours.pdf([], times) == pytest.approx(exact, rel=1e-11)


def test_defective_start_is_normalised() -> None:
    graph = phasic.Graph(1)
    one, end = graph.find_or_create_vertex([1]), graph.find_or_create_vertex([0])
    graph.starting_vertex().add_edge(one, 0.5)
    graph.starting_vertex().add_edge(end, 0.5)
    one.add_edge(end, 3.0)
    assert from_phasic(graph).model().expectation([]) == pytest.approx(1 / 6, rel=1e-15)


def test_constant_edges_and_auxiliary_vertices() -> None:
    theirs = small([1.0, 2.0], [3.0, 0.0])
    theirs.vertex_at(1).add_aux_vertex_constant(4.0)
    theirs.vertex_at(1).add_aux_vertex([1.0, 1.0])
    ours = from_phasic(theirs)
    # States of auxiliary vertices coincide with the absorbing one, so every state gets a number.
    assert ours.state_length == 2
    assert ours.vertices_length() == len(theirs)
    check_moments(theirs, ours, THETA)


@pytest.mark.parametrize("theta", [[2.0, 1.0, 1.0], [0.3, 4.0, 1.0]])
def test_discretised_graph_is_normalised_as_phasic_does(theta: list[float]) -> None:
    theirs = coalescent().discretize(0.25)
    ours = from_phasic(theirs)
    assert ours.discrete
    check_moments(theirs, ours, theta)


def test_discretised_constant_graph() -> None:
    theirs = constant().discretize(0.25)
    check_moments(theirs, from_phasic(theirs), [])


def test_log_weights() -> None:
    theirs = small([1.0, 2.0], [3.0, 0.5])
    theirs.weight_mode = "log"
    ours = from_phasic(theirs)
    theirs.update_weights(THETA, log=True)
    assert ours.model().expectation(THETA) == pytest.approx(theirs.expectation(), rel=1e-12)


def test_weight_callback_becomes_expressions() -> None:
    theirs = small([1.0, 5.0], [2.0, 0.25], n_params=1)
    theirs.weight_callback = lambda theta, coefficients: theta[0] ** 2 * coefficients[0] + coefficients[1]
    ours = from_phasic(theirs)
    assert ours.param_length() == 1
    check_moments(theirs, ours, [1.5], callback=theirs.weight_callback)


def test_weight_callback_that_is_not_rational_is_refused() -> None:
    theirs = small([1.0, 5.0], [2.0, 0.25])
    theirs.weight_callback = lambda theta, coefficients: np.exp(theta[0])
    with pytest.raises(GraphError, match=r"phasic vertex 1 \(2\): graph.weight_callback is not a rational function"):
        from_phasic(theirs)


def test_spare_coefficients_need_a_callback() -> None:
    with pytest.raises(GraphError, match="2 coefficients for 1 parameters"):
        from_phasic(small([1.0, 5.0], [2.0, 0.25], n_params=1))


def test_no_initial_state() -> None:
    with pytest.raises(GraphError, match="no initial state"):
        from_phasic(phasic.Graph(1))


def test_not_a_phasic_graph() -> None:
    with pytest.raises(TypeError, match=r"phasic\.Graph"):
        from_phasic(from_phasic(constant()))


def test_round_trip_is_the_same_graph() -> None:
    for graph in (from_phasic(coalescent()), from_phasic(constant())):
        assert (
            from_phasic(to_phasic(graph), param_names=graph.param_names or None).content_hash() == graph.content_hash()
        )


def test_vertices_keep_their_rows() -> None:
    ours = from_phasic(coalescent())
    theirs = to_phasic(ours.model())
    assert [v.index() for v in theirs] == list(range(ours.vertices_length()))
    assert [v.state().tolist() for v in theirs][1:] == ours.states()[1:].tolist()


def queue(state: Any) -> list[Any]:
    """Arrivals at a constant rate, service at a rate with a constant part."""
    if len(state) == 0:
        return [([3], 1.0, [1.0])]
    (k,) = state
    return [([k - 1], 1.0, [0.5])] + ([([k + 1], 0.75, [0.0])] if k < 5 else []) if k else []


def test_affine_weights_get_one_more_parameter() -> None:
    ours = Graph(queue)
    theirs = to_phasic(ours)
    assert theirs.param_length() == 2
    theirs.update_weights([2.0, 1.0])
    assert theirs.expectation() == pytest.approx(ours.model().expectation([2.0]), rel=1e-12)


def test_rational_weights_by_callback() -> None:
    a, b = params("a", "b")

    def callback(state: Any) -> list[Any]:
        (k,) = state
        return [([k - 1], a / (a + b)), ([k - 1 if k == 1 else k - 2], b**2 + 1)] if k else []

    ours = Graph(callback, ipv=[[[4], 1.0]])
    theirs = to_phasic(ours.eliminate())
    theirs.update_weights(THETA, callback=theirs.weight_callback)
    assert theirs.expectation() == pytest.approx(ours.model().expectation(THETA), rel=1e-12)
    fixed = to_phasic(ours, THETA)
    assert not fixed.parameterized()
    assert fixed.expectation() == pytest.approx(ours.model().expectation(THETA), rel=1e-12)
    density = phasic.Graph.pmf_from_graph(theirs)(THETA, np.array([0.5]))
    assert float(density[0]) == pytest.approx(ours.model().pdf(THETA, 0.5), rel=0.1)


def test_initial_probabilities_that_depend_on_theta() -> None:
    p, rate = params("p", "rate")

    def callback(state: Any) -> list[Any]:
        if len(state) == 0:
            return [([2], p), ([1], 1 - p)]
        return [([state[0] - 1], rate)] if state[0] else []

    ours = Graph(callback)
    with pytest.raises(CompatibilityError, match="give theta="):
        to_phasic(ours)
    assert to_phasic(ours, [0.25, 2.0]).expectation() == pytest.approx(0.625, rel=1e-14)


@pytest.mark.parametrize("theta", [[1.0], [1.0, 2.0, 3.0], [1.0, float("nan")], [[1.0, 2.0]]])
def test_theta_of_the_wrong_kind(theta: Any) -> None:
    with pytest.raises(ParameterError, match="theta"):
        to_phasic(from_phasic(coalescent()), theta)


def test_states_beyond_32_bits() -> None:
    ours = Graph(lambda state: [([0], 1.0)] if state[0] else [], ipv=[[[1 << 40], 1.0]])
    with pytest.raises(CompatibilityError, match="32-bit"):
        to_phasic(ours)


def test_discrete_model() -> None:
    ours = Graph(lambda state: [([state[0] - 1], 0.25)] if state[0] else [], ipv=[[[3], 1.0]], discrete=True)
    theirs = to_phasic(ours)
    assert theirs.is_discrete
    assert theirs.expectation() == pytest.approx(12.0, rel=1e-14)
    assert from_phasic(theirs).content_hash() == ours.content_hash()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_graphs(data: st.DataObject) -> None:
    """Any chain on a few states, cyclic or not: the same moments in both packages, both ways."""
    n = data.draw(st.integers(1, 5))
    rate = st.floats(0.1, 10)
    edges = {(i, i - 1): data.draw(st.tuples(rate, rate)) for i in range(1, n + 1)}
    for pair in data.draw(st.sets(st.tuples(st.integers(1, n), st.integers(0, n)).filter(lambda p: p[0] != p[1]))):
        edges.setdefault(pair, data.draw(st.tuples(st.floats(0, 10), rate)))
    theirs = phasic.Graph(1)
    vertices = [theirs.find_or_create_vertex([i]) for i in range(n + 1)]
    theirs.starting_vertex().add_edge(vertices[n], 1.0)
    for (source, target), coefficients in edges.items():
        vertices[source].add_edge(vertices[target], list(coefficients))
    ours = from_phasic(theirs)
    check_moments(theirs, ours, THETA)
    check_moments(to_phasic(ours), ours, THETA)
