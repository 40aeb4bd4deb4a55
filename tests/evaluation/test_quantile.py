"""Quantiles: the way back from the distribution function, in the far tails and for stiff models too."""

import math

import numpy as np
import pytest
import scipy  # its parts are imported when they are used
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import any_chains, chains, thetas

from phasic_models.errors import NumericalError, ParameterError
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

RATE = params("rate")
PROBABILITIES = [1e-279, 1e-200, 1e-60, 1e-16, 1e-3, 0.3, 0.5, 0.7, 1 - 1e-3, 1 - 1e-12, 1 - 1e-16]


def stages(n, discrete=False):
    return Graph(
        lambda s: [((int(s[0]) - 1,), RATE)] if s[0] else [], ipv=[n], discrete=discrete, param_names=["rate"]
    ).model()


@pytest.mark.parametrize("rate", [1e-100, 1e-9, 1.0, 1e9, 1e20])
def test_exponential(rate):
    q = np.array(PROBABILITIES)
    assert stages(1).quantile([rate], q) == pytest.approx(-np.log1p(-q) / rate, rel=1e-12)


@pytest.mark.parametrize("n", [2, 5, 40])
def test_erlang(n):
    model = stages(n)
    q = np.array(PROBABILITIES)
    times = model.quantile([2.0], q)
    assert times == pytest.approx(scipy.stats.gamma.ppf(q, n, scale=0.5), rel=1e-10)
    low = q < 0.5
    # A relative error of 1e-12 in the time makes one of n x 1e-12 in a tail that is a power of it.
    assert model.cdf([2.0], times[low]) == pytest.approx(q[low], rel=n * 1e-12)
    assert model.sf([2.0], times[~low]) == pytest.approx(1 - q[~low], rel=1e-10)


@settings(max_examples=25)
@given(
    any_chains(max_transient=6),
    thetas(2),
    st.lists(st.one_of(st.floats(1e-12, 1 - 1e-12), st.sampled_from(PROBABILITIES)), min_size=1, max_size=5),
)
def test_round_trip(chain, theta, chances):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    q = np.array(chances)
    at = model.quantile(theta, q)
    pdf, cdf, sf = (getattr(model, name)(theta, at) for name in ("pdf", "cdf", "sf"))
    atom = float(model.cdf(theta, 0.0))
    if chain.discrete:
        assert (at == np.floor(at)).all()
        assert ((cdf >= q * (1 - 1e-12)) | (sf <= (1 - q) * (1 + 1e-12))).all()
        before = np.maximum(at - 1, 0)
        assert ((at == 0) | (model.cdf(theta, before) < q * (1 + 1e-12))).all()
        return
    assert (at[q <= atom * (1 - 1e-12)] == 0).all()
    inner = at > 0
    error = np.where(q > 0.5, np.abs(sf - (1 - q)) / (1 - q), np.abs(cdf - q) / q)
    slack = 2e-12 * pdf * at / np.where(q > 0.5, 1 - q, q)
    assert (error[inner] <= 2e-11 + slack[inner]).all()


@settings(max_examples=15)
@given(
    chains(decades=2.0, max_transient=5),
    st.lists(st.one_of(st.just(0.0), st.floats(1e-280, 1)), min_size=2, max_size=8),
)
def test_monotone(chain, chances):
    times = chain.graph().model().quantile([], np.sort(chances))
    finite = times[np.isfinite(times)]
    assert (np.diff(finite) >= -1e-12 * finite[1:]).all()
    assert np.isinf(times[np.sort(chances) == 1.0]).all()


@pytest.mark.parametrize("failure", [1e-3, 1e-6, 1e-11])
def test_stiff(failure):
    """Two units with repair: all but exponential, with a mean of up to 1e22 repairs."""
    model = Graph(
        lambda s: {2: [((1,), 2 * failure)], 1: [((2,), 1.0), ((0,), failure)], 0: []}[int(s[0])], ipv=[2]
    ).model()
    root = math.sqrt(failure**2 + 6 * failure + 1)
    slow = 4 * failure**2 / (3 * failure + 1 + root)
    fast = (3 * failure + 1 + root) / 2
    q = np.array([0.1, 0.5, 0.9, 1 - 1e-12, 1 - 1e-15])
    # The fast exponential has died out by then.
    expected = (np.log(fast / (fast - slow)) - np.log1p(-q)) / slow
    assert model.quantile([], q) == pytest.approx(expected, rel=1e-11)
    early = np.array([1e-250, 1e-100, 1e-30])
    assert model.cdf([], model.quantile([], early)) == pytest.approx(early, rel=1e-11)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("p", [1.0, 0.75, 0.5, 0.1, 1e-3, 1e-6])
def test_discrete_round_trip(n, p):
    """The quantile of F(k) is k, not its neighbour: distribution functions of steps are compared as they are."""
    model = stages(n, discrete=True)
    k = np.unique(np.concatenate([np.arange(n, 60), np.logspace(1, 4, 40).astype(int)]))
    cdf = model.cdf([p], k)
    found = model.quantile([p], cdf)
    distinct = model.cdf([p], k - 1) < cdf
    assert found[distinct & (cdf < 1)].tolist() == k[distinct & (cdf < 1)].tolist()


@pytest.mark.parametrize("p", [1e-9, 1e-17, 1e-40, 1e-100])
def test_more_steps_than_a_float_counts_one_by_one(p):
    """Beyond 2^53 neighbouring floats are further apart than one step; this once went on for ever."""
    q = np.array([0.1, 0.5, 0.9, 0.999])
    steps = np.log1p(-q) / np.log1p(-p)
    assert stages(1, discrete=True).quantile([p], q) == pytest.approx(steps, rel=1e-11, abs=1.0)


def test_discrete_tails():
    model = stages(2, discrete=True)
    assert model.quantile([1e-9], [5e-324, 1e-200]).tolist() == [2.0, 2.0]
    steps = model.quantile([1e-9], [1 - 1e-12])
    assert model.sf([1e-9], steps) == pytest.approx([1e-12], rel=1e-4)


def test_ends():
    for model in (stages(3), stages(3, discrete=True)):
        assert model.quantile([0.5], [0.0, 1.0]).tolist() == [0.0, math.inf]
        assert model.quantile([0.5], 1.0) == math.inf


def test_a_mass_at_zero():
    model = Graph(lambda s: [((0,), 2.0)] if s[0] else [], ipv=[((0,), 0.25), ((1,), 0.75)]).model()
    q = np.array([0.0, 0.1, 0.25, 0.25 + 1e-9, 0.5, 0.99])
    expected = np.maximum(0.0, -np.log((1 - q) / 0.75) / 2)
    assert model.quantile([], q) == pytest.approx(expected, rel=1e-6, abs=1e-15)
    only = Graph(lambda s: [((0,), 1.0)] if s[0] else [], ipv=[((0,), 1.0)]).model()
    assert only.quantile([], [0.0, 0.5, 0.999]).tolist() == [0.0, 0.0, 0.0]


def test_rewards():
    model = stages(2)
    # Only the second stage earns, and it earns 3 per unit of time.
    rewards = np.where(model.states[:, 0] == 1, 3.0, 0.0)
    q = np.array([1e-9, 0.2, 0.9])
    assert model.quantile([2.0], q, rewards) == pytest.approx(-np.log1p(-q) * 1.5, rel=1e-12)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (0, 2)])
def test_shapes(shape):
    model = stages(2)
    q = np.full(shape, 0.25)
    assert model.quantile([1.0], q).shape == shape
    assert model.quantile([[1.0], [2.0]], q).shape == (2, *shape)
    assert model.quantile(np.ones((0, 1)), q).shape == (0, *shape)


@pytest.mark.parametrize("tol", [1e-2, 1e-6, 1e-12])
def test_tolerance(tol):
    assert stages(3).quantile([1.0], 0.3, tol=tol) == pytest.approx(scipy.stats.gamma.ppf(0.3, 3), rel=10 * tol)


def test_a_probability_too_small():
    with pytest.raises(NumericalError, match=r"quantile of 1e-290 cannot be found.*down to 1e-280"):
        stages(2).quantile([1.0], [0.5, 1e-290])


def test_a_quantile_too_large():
    with pytest.raises(NumericalError, match=r"quantile of 0.9999999999999999 is too large for a float"):
        stages(1).quantile([1e-307], [0.1, 1 - 1e-16])


def test_absorption_that_is_not_certain():
    assert stages(2).quantile([0.0], [0.0, 0.5, 1e-300]).tolist() == [0.0, math.inf, math.inf]


@pytest.mark.parametrize(("q", "name"), [(-0.1, "q is -0.1"), ([0.5, 1.5], r"q\[1\] is 1.5"), (np.nan, "q is nan")])
def test_out_of_range(q, name):
    with pytest.raises(ParameterError, match=name):
        stages(2).quantile([1.0], q)
