"""Moments, gradients and densities of random chains against exact fractions and ball arithmetic."""

import numpy as np
import pytest
from exact import ExactChain, as_float, fraction, relative_error
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import any_chains, chains, thetas

TIGHT = 1e-12

wild = st.one_of(
    any_chains(max_transient=9),
    chains(decades=6.0, cyclic=True, max_transient=9),
    chains(decades=6.0, n_params=2, cyclic=True, max_transient=7),
    chains(decades=6.0, nearly_reducible=True, cyclic=True, min_transient=4, max_transient=9),
)
seeds = st.integers(0, 2**32)


def draw_rewards(graph, seed, values=(0.0, 1.0, 0.25, 3.7, 1e-3)):
    """Return rewards by vertex and by state."""
    by_vertex = np.random.default_rng(seed).choice(values, size=graph.vertices_length())
    by_state = dict(zip(map(tuple, graph.states()[1:].tolist()), by_vertex[1:].tolist(), strict=True))
    return by_vertex, by_state


@settings(max_examples=300)
@given(wild, thetas(2), seeds)
def test_moments_and_variance(chain, theta, seed):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    rewards, by_state = draw_rewards(model.graph, seed)
    for by_vertex, exact_rewards in ((None, [fraction(1)] * truth.n), (rewards, truth.rewards(by_state))):
        expected = truth.moments(4, exact_rewards)
        for value, right in zip(model.moments(theta, 4, by_vertex), expected, strict=True):
            assert relative_error(value, right) <= TIGHT
        assert relative_error(model.expectation(theta, by_vertex), expected[0]) <= TIGHT
        variance = truth.covariance(exact_rewards, exact_rewards)
        assert relative_error(model.variance(theta, by_vertex), variance) <= TIGHT


@settings(max_examples=150)
@given(wild, thetas(2), seeds)
def test_covariance_joint_moment_and_sojourn(chain, theta, seed):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    r1, s1 = draw_rewards(model.graph, seed)
    r2, s2 = draw_rewards(model.graph, seed + 1)
    e1, e2 = truth.rewards(s1), truth.rewards(s2)
    assert relative_error(model.joint_moment(theta, np.stack([r1, r2])), truth.joint(e1, e2)) <= TIGHT
    # Covariances of both signs are added up, so the error is judged by the two standard deviations.
    scale = np.sqrt(as_float(truth.covariance(e1, e1)) * as_float(truth.covariance(e2, e2)))
    error = abs(as_float(fraction(model.covariance(theta, r1, r2)) - truth.covariance(e1, e2)))
    assert error <= TIGHT * scale
    sojourn = model.sojourn(theta)
    for i, state in enumerate(truth.transient):
        unit = [fraction(float(i == j)) for j in range(truth.n)]
        assert relative_error(float(sojourn[model.graph.vertex_of(state)]), truth.start(truth.solve(unit))) <= TIGHT


@settings(max_examples=100)
@given(chains(n_params=2, max_transient=6), thetas(2), seeds)
def test_gradients_of_moments(chain, theta, seed):
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    rewards, by_state = draw_rewards(model.graph, seed)
    values, gradient = model.moments_and_grad(theta, 3, rewards)
    assert values.tolist() == model.moments(theta, 3, rewards).tolist()
    expected = truth.moment_gradients(3, truth.rewards(by_state))
    for row, exact_row, value in zip(gradient, expected, values, strict=True):
        for got, right, t in zip(row, exact_row, theta, strict=True):
            # A derivative is a difference of expectations; what may be lost is judged by the moment itself.
            assert abs(as_float(fraction(got) - right)) <= 1e-11 * (abs(as_float(right)) + value / t)


def fastest_rate(model, theta) -> float:
    return float(model.dag.plan.rate(np.array([theta]).reshape(1, -1))[0])


@settings(max_examples=150)
@given(
    st.one_of(chains(max_transient=6), chains(n_params=2, max_transient=6), chains(decades=3.0, max_transient=6)),
    thetas(2),
    st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=4),
)
def test_uniformization_keeps_relative_accuracy(chain, theta, times):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    times = np.array([min(t, 2e4 / fastest_rate(model, theta)) for t in times])
    batch = np.array([theta]).reshape(1, -1)
    got = model.dag.plan.uniformize(batch, times, ("pdf", "cdf", "sf"), 1e-12, 10**6, 1)
    for name, values in zip(("pdf", "cdf", "sf"), np.array([truth.distribution(t) for t in times]).T, strict=True):
        assert got[name][0] == pytest.approx(values, rel=1e-10, abs=1e-200), name


@settings(max_examples=150)
@given(
    st.one_of(
        chains(max_transient=6),
        chains(decades=6.0, n_params=2, max_transient=6),
        chains(decades=6.0, nearly_reducible=True, cyclic=True, min_transient=4, max_transient=6),
    ),
    thetas(2),
    st.lists(st.floats(-6, 6), min_size=1, max_size=4),
)
def test_continuous_distribution_however_stiff(chain, theta, exponents):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    assume(truth.n)
    # Around the mean, where the density has fallen from its peak or not yet risen.
    times = np.array([10.0**e for e in exponents]) * max(model.expectation(theta), 1e-9)
    for name, values in zip(("pdf", "cdf", "sf"), np.array([truth.distribution(t) for t in times]).T, strict=True):
        assert getattr(model, name)(theta, times) == pytest.approx(values, rel=1e-10, abs=1e-140), name


@settings(max_examples=100)
@given(
    st.one_of(chains(discrete=True, max_transient=6), chains(discrete=True, n_params=2, max_transient=6)),
    thetas(2),
    st.lists(st.integers(0, 300), min_size=1, max_size=4),
)
def test_discrete_distribution(chain, theta, times):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    expected = np.array([truth.distribution(t) for t in times]).T
    # The weights are rounded, and what they lack to one may be as small as that rounding.
    for name, values in zip(("pdf", "cdf", "sf"), expected, strict=True):
        assert getattr(model, name)(theta, times) == pytest.approx(values, rel=1e-11, abs=1e-15), name
