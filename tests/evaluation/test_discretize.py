"""Counts of events on a chain, against Poisson mixtures and what is known of segregating sites."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import chains, thetas

from phasic_models.errors import GraphError, ParameterError
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

RATE = params("rate")


def coalescent(n):
    return Graph(
        lambda s: [((int(s[0]) - 1,), s[0] * (s[0] - 1) / 2 * RATE)] if s[0] > 1 else [], ipv=[n], param_names=["rate"]
    )


def watterson(n, mutation):
    """Return P(S = 0), E[S] and Var[S] of n samples, mutations at rate `mutation` on each lineage."""
    theta = 2 * mutation
    none = math.prod(k / (k + theta) for k in range(1, n))
    first, second = math.fsum(1 / k for k in range(1, n)), math.fsum(1 / k**2 for k in range(1, n))
    return none, theta * first, theta * first + theta**2 * second


def sites(n, mutation, k):
    """Tavaré (1984), equation 9.5: the law of the number of segregating sites, an alternating sum."""
    with mpmath.workdps(60):
        theta = mpmath.mpf(2 * mutation)
        total = mpmath.fsum(
            (-1) ** j * mpmath.binomial(n - 1, j - 1) * (j - 1) / (theta + j - 1) * (theta / (theta + j - 1)) ** k
            for j in range(2, n + 1)
        )
        return float(total)


@pytest.mark.parametrize("n", [2, 3, 10, 25])
@pytest.mark.parametrize("mutation", [1e-6, 0.5, 3.0])
def test_segregating_sites(n, mutation):
    graph = coalescent(n)
    counted, rewards = graph.discretize(mutation, graph.states()[:, 0].astype(float))
    assert counted.discrete
    model = counted.model()
    none, mean, variance = watterson(n, mutation)
    assert model.pdf([1.0], 0, rewards) == pytest.approx(none, rel=1e-12)
    assert model.expectation([1.0], rewards) == pytest.approx(mean, rel=1e-12)
    assert model.variance([1.0], rewards) == pytest.approx(variance, rel=1e-11)
    steps = np.arange(30)
    law = np.array([sites(n, mutation, int(k)) for k in steps])
    assert model.pdf([1.0], steps, rewards) == pytest.approx(law, rel=1e-9, abs=1e-30)
    assert model.cdf([1.0], steps, rewards) == pytest.approx(np.cumsum(law), rel=1e-10)


@pytest.mark.parametrize("name", ["mu", "rate2"])
def test_the_rate_as_a_parameter(name):
    graph = coalescent(6)
    lineages = graph.states()[:, 0].astype(float)
    counted, rewards = graph.discretize(name, lineages)
    assert counted.param_names == ("rate", name)
    model = counted.model()
    for mutation, rate in ((0.5, 1.0), (1e-3, 0.1), (7.0, 20.0)):
        fixed, same = graph.discretize(mutation, lineages)
        steps = np.arange(20)
        expected = fixed.model().pdf([rate], steps, same)
        assert model.pdf([rate, mutation], steps, rewards) == pytest.approx(expected, rel=1e-11)
    # Gradients reach the new parameter: E[S] = mu E[L], and E[L] goes with 1 / rate.
    length = graph.model().expectation([2.0], lineages)
    value, gradient = model.moments_and_grad([2.0, 0.5], 1, rewards)
    assert value[0] == pytest.approx(0.5 * length, rel=1e-12)
    assert gradient[0] == pytest.approx([-0.25 * length, length], rel=1e-12)


@settings(max_examples=30)
@given(chains(n_params=2, max_transient=5), thetas(2), st.floats(0.01, 10.0), st.integers(0, 2**32))
def test_mean_and_variance_of_a_mixed_poisson_law(chain, theta, mutation, seed):
    """Given the path the count is Poisson: E[N] = μ E[Y], Var[N] = μ E[Y] + μ² Var[Y]."""
    graph = chain.graph()
    earned = np.random.default_rng(seed).choice([0.0, 1.0, 0.5, 3.0], size=graph.vertices_length())
    counted, rewards = graph.discretize(mutation, earned)
    model, plain = counted.model(), graph.model()
    mean, variance = plain.expectation(theta, earned), plain.variance(theta, earned)
    assert model.expectation(theta, rewards) == pytest.approx(mutation * mean, rel=1e-11)
    assert model.variance(theta, rewards) == pytest.approx(mutation * mean + mutation**2 * variance, rel=1e-10)


@settings(max_examples=30)
@given(chains(n_params=2, max_transient=5), thetas(2), st.floats(0.01, 5.0), st.integers(0, 2**32))
def test_generating_function_is_the_laplace_transform(chain, theta, mutation, seed):
    """E[z^N] = E[exp(-μ (1 - z) Y)]; at z = 0 this is the chance of no event."""
    graph = chain.graph()
    earned = np.random.default_rng(seed).choice([0.0, 1.0, 0.5, 3.0], size=graph.vertices_length())
    counted, rewards = graph.discretize(mutation, earned)
    model, plain = counted.model(), graph.model()
    z = np.array([0.05, 0.5, 0.9])
    expected = plain.laplace(theta, mutation * (1 - z), earned)
    assert model.laplace(theta, -np.log(z), rewards) == pytest.approx(expected, rel=1e-10)
    assert model.pdf(theta, 0, rewards) == pytest.approx(float(plain.laplace(theta, mutation, earned)), rel=1e-10)


def test_events_on_one_exponential_are_geometric():
    graph = Graph(lambda s: [((0,), RATE)] if s[0] else [], ipv=[1], param_names=["rate"])
    counted, rewards = graph.discretize(3.0)
    p, steps = 2.0 / 5.0, np.arange(40)
    assert counted.model().pdf([2.0], steps, rewards) == pytest.approx(p * (1 - p) ** steps, rel=1e-12)


def test_rational_weights():
    a, b = params("a", "b")
    graph = Graph(
        lambda s: {2: [((1,), a / (a + b)), ((0,), b * b)], 1: [((2,), a * b / 2), ((0,), 1.0)], 0: []}[int(s[0])],
        ipv=[((2,), a), ((1,), b)],
        param_names=["a", "b"],
    )
    counted, rewards = graph.discretize("events")
    theta = [0.7, 1.9]
    mean, variance = graph.model().expectation(theta), graph.model().variance(theta)
    model = counted.model()
    assert model.expectation([*theta, 0.3], rewards) == pytest.approx(0.3 * mean, rel=1e-13)
    assert model.variance([*theta, 0.3], rewards) == pytest.approx(0.3 * mean + 0.09 * variance, rel=1e-12)


def test_without_parameters():
    graph = Graph(lambda s: [((int(s[0]) - 1,), 2.0)] if s[0] else [], ipv=[3])
    counted, rewards = graph.discretize(1.0)
    assert counted.param_names == ()
    assert counted.model().expectation([], rewards) == pytest.approx(1.5, rel=1e-14)
    named, rewards = graph.discretize("mu")
    assert named.param_names == ("mu",)
    assert named.model().expectation([2.0], rewards) == pytest.approx(3.0, rel=1e-14)


def test_a_start_in_absorption():
    graph = Graph(lambda s: [((0,), 2.0)] if s[0] else [], ipv=[((0,), 0.25), ((1,), 0.75)])
    counted, rewards = graph.discretize(2.0)
    assert counted.model().pdf([], [0, 1, 2], rewards) == pytest.approx([0.25 + 0.375, 0.1875, 0.09375], rel=1e-13)


def test_no_rewards_no_events():
    graph = coalescent(4)
    counted, rewards = graph.discretize(1.0, np.zeros(graph.vertices_length()))
    assert not rewards.any()
    assert counted.states()[:, 0].tolist() == graph.states()[:, 0].tolist()
    assert counted.model().pdf([1.0], [0, 1], rewards).tolist() == [1.0, 0.0]


def test_states_and_steps():
    """A state keeps its entries and gets one more: 1 for an event. All steps together are jumps and events twice."""
    graph = coalescent(3)
    counted, rewards = graph.discretize(1.5)
    assert counted.states()[1:].tolist() == [[1, 0], [2, 0], [2, 1], [3, 0], [3, 1]]
    assert rewards.tolist() == [0.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    model = counted.model()
    events = model.expectation([1.0], rewards)
    assert model.expectation([1.0]) == pytest.approx(2 + 2 * events, rel=1e-13)


def test_samples_of_counts():
    graph = coalescent(5)
    lineages = graph.states()[:, 0].astype(float)
    counted, rewards = graph.discretize(1.0, lineages)
    draws = counted.model().sample([1.0], 20_000, seed=4, rewards=rewards)
    _, mean, variance = watterson(5, 1.0)
    assert (draws == np.floor(draws)).all()
    assert abs(draws.mean() - mean) < 5 * math.sqrt(variance / draws.size)
    assert draws.var() == pytest.approx(variance, rel=0.1)


@pytest.mark.parametrize("rate", [0.0, -1.0, np.nan, np.inf, None, [1.0]])
def test_rates_out_of_range(rate):
    with pytest.raises(ParameterError, match="rate must be a positive number, or the name of a new parameter"):
        coalescent(3).discretize(rate)


def test_a_name_that_is_taken():
    with pytest.raises(
        ParameterError, match="the graph has a parameter 'rate' already; give the rate of events another"
    ):
        coalescent(3).discretize("rate")


@pytest.mark.parametrize(
    ("rewards", "message"),
    [([1.0], "one per vertex"), ([0.0, 1.0, -1.0, 1.0], r"rewards\[2\] is -1.0"), (np.ones((2, 4)), "one vector")],
)
def test_rewards_out_of_range(rewards, message):
    with pytest.raises(ParameterError, match=message):
        coalescent(3).discretize(1.0, rewards)


def test_a_graph_that_is_discrete():
    graph = Graph(lambda s: [((0,), 0.5)] if s[0] else [], ipv=[1], discrete=True)
    with pytest.raises(GraphError, match="discrete already"):
        graph.discretize(1.0)


def test_rates_that_are_too_large_together():
    graph = Graph(lambda s: [((0,), 1e308), ((-1,), 1e308)] if s[0] > 0 else [], ipv=[1])
    with pytest.raises(GraphError, match=r"state \(1\): the rates sum to more than a 64-bit float holds"):
        graph.discretize(1.0)
