"""Rewarded distributions, transforms, quantiles, gradients of densities and samples against exact truths."""

import math

import numpy as np
import pytest
import scipy  # its parts are imported when they are used
from exact import ExactChain, fraction
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import Chain, Move, any_chains, chains, thetas

seeds = st.integers(0, 2**32)


def rewards_of(graph, seed, values):
    """Return rewards by vertex, and by state."""
    by_vertex = np.random.default_rng(seed).choice(values, size=graph.vertices_length()).astype(float)
    by_state = dict(zip(map(tuple, graph.states()[1:].tolist()), by_vertex[1:].tolist(), strict=True))
    return by_vertex, by_state


@settings(max_examples=150)
@given(
    st.one_of(chains(max_transient=6), chains(n_params=2, max_transient=6), chains(decades=3.0, max_transient=5)),
    thetas(2),
    seeds,
    st.lists(st.floats(-3, 1.5), min_size=1, max_size=3),
)
def test_continuous_rewards(chain, theta, seed, exponents):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    by_vertex, by_state = rewards_of(model.graph, seed, [0.0, 0.0, 1.0, 0.25, 40.0])
    plain = ExactChain(chain, theta)
    truth = plain.rewarded(plain.rewards(by_state))
    times = np.array([10.0**e for e in exponents]) * (model.expectation(theta, by_vertex) or 1.0)
    for name, values in zip(("pdf", "cdf", "sf"), np.array([truth.distribution(t) for t in times]).T, strict=True):
        assert getattr(model, name)(theta, times, by_vertex) == pytest.approx(values, rel=1e-10, abs=1e-140), name
    atom = float(truth.absorbed_at_once().p) / float(truth.absorbed_at_once().q)
    assert model.cdf(theta, 0.0, by_vertex) == pytest.approx(atom, rel=1e-12, abs=1e-15)


@settings(max_examples=100)
@given(chains(discrete=True, max_transient=6), seeds)
def test_discrete_rewards(chain, seed):
    model = chain.graph().model()
    by_vertex, by_state = rewards_of(model.graph, seed, [0, 0, 1, 1, 2, 5])
    truth = ExactChain(chain, [])
    steps = 60
    expected = truth.rewarded_probabilities([int(by_state[s]) for s in truth.transient], steps)
    # Between rewarded states the chance to stay is one minus a sum of rounded numbers, so it is known to 1e-16 only.
    floor = 5e-16
    got = model.pdf([], np.arange(steps + 1), by_vertex)
    assert got == pytest.approx(expected, rel=1e-11, abs=floor)
    assert model.cdf([], np.arange(steps + 1), by_vertex) == pytest.approx(np.cumsum(expected), rel=1e-11, abs=floor)


@settings(max_examples=150)
@given(any_chains(max_transient=6), thetas(2), seeds, st.lists(st.floats(-4, 4), min_size=1, max_size=3))
def test_laplace_transform(chain, theta, seed, exponents):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    by_vertex, by_state = rewards_of(model.graph, seed, [0.0, 1.0, 0.25, 3.0])
    at = np.array([0.0, *(10.0**e for e in exponents)])
    for given_rewards, exact_rewards in ((None, [fraction(1)] * truth.n), (by_vertex, truth.rewards(by_state))):
        expected = [truth.laplace(s, exact_rewards) for s in at]
        assert model.laplace(theta, at, given_rewards) == pytest.approx(expected, rel=1e-11, abs=1e-300)


@settings(max_examples=100)
@given(chains(n_params=2, max_transient=5), thetas(2), st.lists(st.floats(-2, 1.3), min_size=1, max_size=3))
def test_gradient_of_the_density(chain, theta, exponents):
    model = chain.graph().model()
    truth = ExactChain(chain, theta)
    assume(truth.n)
    times = np.array([10.0**e for e in exponents]) * max(model.expectation(theta), 1e-9)
    values, gradient = model.pdf_and_grad(theta, times)
    assert values == pytest.approx(model.pdf(theta, times), rel=1e-11)
    for t, value, row in zip(times, values, gradient, strict=True):
        # Each derivative is a difference; what it may lose is judged by the density and by how many jumps there were.
        scale = value * (1.0 + float(model.dag.plan.rate(np.array([theta]))[0]) * t)
        for got, right, parameter in zip(row, truth.density_gradient(t), theta, strict=True):
            assert got == pytest.approx(right, rel=1e-10, abs=1e-11 * scale / parameter)


@settings(max_examples=75)
@given(
    st.one_of(chains(max_transient=5), chains(decades=3.0, max_transient=5)),
    st.lists(
        st.one_of(st.floats(1e-9, 1 - 1e-9), st.sampled_from([1e-250, 1e-60, 1e-12, 0.5, 1 - 2**-53])), max_size=4
    ),
)
def test_continuous_quantiles(chain, chances):
    model = chain.graph().model()
    truth = ExactChain(chain, [])
    for q, t in zip(chances, model.quantile([], chances), strict=True):
        atom = 1 - float(sum(truth.alpha, fraction(0)).p) / float(sum(truth.alpha, fraction(0)).q)
        if q <= atom * (1 + 1e-12):
            assert t == 0.0
            continue
        # An error of 1e-12 in t shows in the distribution as pdf × t.
        pdf, cdf, sf = truth.distribution(float(t))
        if q < 0.5:
            assert cdf == pytest.approx(q, rel=1e-10, abs=1e-11 * pdf * t)
        else:
            assert sf == pytest.approx(1 - q, rel=1e-10, abs=1e-11 * pdf * t)


@settings(max_examples=75)
@given(chains(discrete=True, max_transient=5), st.lists(st.floats(1e-6, 0.999), max_size=4))
def test_discrete_quantiles(chain, chances):
    model = chain.graph().model()
    truth = ExactChain(chain, [])
    for q, k in zip(chances, model.quantile([], chances).tolist(), strict=True):
        assert k == int(k)
        assert truth.distribution(k)[1] >= q * (1 - 1e-12)
        if k:
            assert truth.distribution(k - 1)[1] < q * (1 + 1e-12)


def test_quantile_of_zero_and_one():
    model = Chain(((1,), (0,)), (((1,), 1.0),), (Move((1,), (0,), 2.0),)).graph().model()
    assert model.quantile([], [0.0, 1.0]).tolist() == [0.0, math.inf]


CYCLE = Chain(
    states=((1,), (2,), (3,), (0,)),
    initial=(((1,), 0.5), ((2,), 0.25), ((0,), 0.25)),
    moves=(
        Move((1,), (2,), 0.0, (1.0, 0.0)),
        Move((2,), (1,), 0.5, (0.0, 1.0)),
        Move((2,), (3,), 1.0, (0.0, 0.0)),
        Move((3,), (0,), 0.0, (0.5, 2.0)),
        Move((1,), (0,), 0.1, (0.0, 0.0)),
    ),
    n_params=2,
)


@pytest.mark.parametrize("rewards", [None, [0, 0, 1.0, 0.0, 3.0]])
def test_samples_follow_the_distribution(rewards):
    model = CYCLE.graph().model()
    theta, size = [0.7, 1.3], 40_000
    draws = model.sample(theta, size, seed=7, rewards=rewards)
    atom = float(model.cdf(theta, 0.0, rewards))
    spread = math.sqrt(atom * (1 - atom) * size)
    assert abs(np.count_nonzero(draws == 0.0) - atom * size) < 5 * spread
    positive = draws[draws > 0]
    result = scipy.stats.kstest(positive, lambda t: (model.cdf(theta, t, rewards) - atom) / (1 - atom))
    assert result.pvalue > 1e-4
    error = math.sqrt(model.variance(theta, rewards) / size)
    assert abs(draws.mean() - model.expectation(theta, rewards)) < 5 * error


def test_discrete_samples_follow_the_distribution():
    chain = Chain(
        states=((1,), (2,), (0,)),
        initial=(((1,), 1.0),),
        moves=(Move((1,), (2,), 0.3), Move((2,), (1,), 0.2), Move((2,), (0,), 0.5), Move((1,), (0,), 0.1)),
        discrete=True,
    )
    model = chain.graph().model()
    draws = model.sample([], 40_000, seed=3)
    steps = np.arange(1, 30)
    seen = np.array([np.count_nonzero(draws == k) for k in steps])
    expected = model.pdf([], steps) * draws.size
    assert (
        scipy.stats.chisquare([*seen, draws.size - seen.sum()], [*expected, draws.size - expected.sum()]).pvalue > 1e-4
    )


def test_samples_depend_on_the_seed_only():
    model = CYCLE.graph().model()
    batch = [[0.7, 1.3], [2.0, 0.1]]
    one = model.sample(batch, (500, 3), seed=11, n_threads=1)
    assert one.shape == (2, 500, 3)
    assert np.array_equal(one, model.sample(batch, (500, 3), seed=11, n_threads=2))
    assert not np.array_equal(one, model.sample(batch, (500, 3), seed=12))
