"""Which method computes a distribution, and what holds whatever the method."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import any_chains, thetas

from phasic_models.errors import NumericalError, ParameterError
from phasic_models.evaluation import distribution, squaring
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

NAMES = ("pdf", "cdf", "sf")


@pytest.fixture
def used(monkeypatch):
    """Record the times that go to repeated squaring."""
    calls = []
    right = squaring.distribution

    def recorded(chain, times, rate, discrete):
        calls.append(times.tolist())
        return right(chain, times, rate, discrete)

    monkeypatch.setattr(squaring, "distribution", recorded)
    return calls


@pytest.fixture(scope="module")
def repairable():
    """Three units that fail at rate theta[0] and are repaired at rate theta[1]."""
    failure, repair = params("failure", "repair")

    def callback(state):
        up = int(state[0])
        if up == 0:
            return []
        return [((up - 1,), up * failure), *([((up + 1,), (3 - up) * repair)] if up < 3 else [])]

    return Graph(callback, ipv=[3]).model()


def test_few_jumps_are_followed_one_by_one(repairable, used):
    repairable.pdf([1e-3, 1.0], [0.0, 1.0, 500.0])
    assert used == []


def test_many_jumps_are_squared_and_short_times_are_not(repairable, used):
    times = np.array([1e9, 0.0, 1.0, 1e7, 3.0])
    values = repairable.sf([1e-3, 1.0], times)
    assert used == [[1e9, 1e7]]
    few = times <= 3.0
    assert values[few].tolist() == repairable.sf([1e-3, 1.0], times[few]).tolist()


def test_a_batch_takes_a_method_for_each_row(repairable, used):
    batch = np.array([[1.0, 1.0], [1e-3, 1e6], [2.0, 0.5], [1e-6, 1e9]])
    times = np.array([0.5, 10.0, 100.0])
    for name in NAMES:
        used.clear()
        together = getattr(repairable, name)(batch, times)
        assert len(used) == 2
        single = np.stack([getattr(repairable, name)(theta, times) for theta in batch])
        assert together.tobytes() == single.tobytes()
        assert getattr(repairable, name)(batch, times, n_threads=3).tobytes() == together.tobytes()


def test_both_methods_meet(repairable, monkeypatch):
    """Around the change from one to the other there is no step."""
    theta, times = [1e-3, 1.0], np.array([1990.0, 2000.0, 2010.0]) / 3
    monkeypatch.setattr(distribution, "_SHORT_SWEEP", 0.0)
    monkeypatch.setattr(distribution, "_PER_MULTIPLY", 0.0)
    for name in NAMES:
        mixed = getattr(repairable, name)(theta, times)
        with monkeypatch.context() as patch:
            patch.setattr(squaring, "MAX_STATES", 0)
            assert mixed == pytest.approx(getattr(repairable, name)(theta, times), rel=1e-12)


def test_a_model_too_large_for_squaring_names_the_steps(repairable, monkeypatch):
    monkeypatch.setattr(squaring, "MAX_STATES", 2)
    with pytest.raises(NumericalError, match=r"would need 2e\+09 steps at theta = .*max_steps"):
        repairable.pdf([1e-6, 1.0], [1e9])
    with pytest.raises(NumericalError, match=r"at theta\[1\] = "):
        repairable.pdf([[1.0, 1.0], [1e-6, 1.0]], [1.0, 1e9])
    # What needs few steps, or has been absorbed long before, is still answered.
    assert repairable.sf([1e-6, 1.0], [1.0]) == pytest.approx([1.0], abs=1e-10)
    assert repairable.sf([1.0, 1.0], [1e9]).tolist() == [0.0]


@pytest.mark.parametrize("max_steps", [1, 10, 1000])
def test_max_steps_chooses_squaring(repairable, used, max_steps):
    theta, times = [0.01, 1.0], [1e4]
    values = repairable.sf(theta, times, max_steps=max_steps)
    assert used == [[1e4]]
    assert values == pytest.approx(repairable.sf(theta, times), rel=1e-12)


@settings(max_examples=40)
@given(any_chains(max_transient=7), thetas(2), st.lists(st.floats(-3, 9), min_size=1, max_size=6))
def test_what_holds_for_every_distribution(chain, theta, exponents):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    mean = model.expectation(theta) or 1.0
    times = np.sort(np.concatenate([[0.0], 10.0 ** np.array(exponents) * mean]))
    if chain.discrete:
        times = np.floor(times)
    pdf, cdf, sf = (getattr(model, name)(theta, times) for name in NAMES)
    assert cdf + sf == pytest.approx(np.ones_like(times), abs=1e-12)
    assert (pdf >= 0).all()
    assert ((cdf >= 0) & (cdf <= 1)).all()
    assert ((sf >= 0) & (sf <= 1)).all()
    assert (np.diff(cdf) >= -1e-12).all()
    assert (np.diff(sf) <= 1e-12).all()
    if chain.discrete:
        before = np.maximum(times - 1, 0)
        step = np.where(times > 0, cdf - model.cdf(theta, before), cdf)
        assert pdf == pytest.approx(step, abs=1e-12)
    # Markov: P(T > t) t <= E[T]
    assert (sf * times <= mean * (1 + 1e-12)).all()


@settings(max_examples=25)
@given(any_chains(max_transient=5), thetas(2), st.floats(1e-12, 1e-2))
def test_a_tolerance_is_kept(chain, theta, tol):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    times = np.array([0.1, 1.0, 5.0]) * (model.expectation(theta) or 1.0)
    if chain.discrete:
        times = np.floor(times)
    for name in NAMES:
        fine = getattr(model, name)(theta, times)
        assert getattr(model, name)(theta, times, tol=tol) == pytest.approx(fine, rel=tol + 1e-12, abs=1e-292)


@pytest.mark.parametrize("rate", [1e-300, 1e-10, 1.0, 1e10, 1e300])
def test_times_from_nothing_to_the_largest(rate):
    model = Graph(lambda s: [((0,), params("rate"))] if s[0] else [], ipv=[1]).model()
    times = np.array([0.0, 5e-324, 1e-300, 1e-10, 1.0, 1e10, 1e300, 1.7e308])
    with np.errstate(over="ignore", under="ignore"):
        x = rate * times
        sf = np.exp(-x)
        cdf = -np.expm1(-x)
    assert model.sf([rate], times) == pytest.approx(sf, rel=1e-12)
    assert model.pdf([rate], times) == pytest.approx(rate * sf, rel=1e-12)
    assert model.cdf([rate], times) == pytest.approx(cdf, rel=1e-12, abs=1e-280)


def test_rates_of_almost_any_size_in_one_model():
    model = Graph(lambda s: {2: [((1,), 1e300)], 1: [((0,), 1e-300)], 0: []}[int(s[0])], ipv=[2]).model()
    assert model.sf([], [0.0, 1e-300, 1e-180]) == pytest.approx([1.0, 1.0, 1.0], rel=1e-12)
    # 1e300 jumps cannot be followed, and this is said.
    with pytest.raises(NumericalError, match="mass is left"):
        model.sf([], [1.0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), ()])
def test_empty_and_odd_shapes(repairable, name, shape):
    evaluate = getattr(repairable, name)
    times = np.ones(shape)
    assert evaluate([1.0, 1.0], times).shape == shape
    assert evaluate(np.ones((2, 2)), times).shape == (2, *shape)
    assert evaluate(np.ones((0, 2)), times).shape == (0, *shape)


@pytest.mark.parametrize("name", NAMES)
def test_order_and_repetition_of_times(repairable, name):
    times = np.array([3.0, 0.0, 1e7, 3.0, 0.5, 1e7])
    values = getattr(repairable, name)([1e-3, 1.0], times)
    for t, value in zip(times, values, strict=True):
        assert getattr(repairable, name)([1e-3, 1.0], t) == pytest.approx(value, rel=1e-13)
    assert values[0] == values[3]
    assert values[2] == values[5]


def test_errors_come_before_work(repairable, used):
    with pytest.raises(ParameterError, match=r"times\[1\] is -1.0"):
        repairable.pdf([1e-6, 1.0], [1e12, -1.0])
    with pytest.raises(ParameterError, match=r"negative, -1.0 at theta\[1\]"):
        repairable.pdf([[1e-6, 1.0], [-1.0, 1.0]], [1e12])
    assert used == []


def test_the_model_that_fails_once_in_an_age():
    """Six units of mean life 1e4 and repair in an hour: 1e22 hours to failure, exponential to 1e-4 of itself."""

    def callback(state):
        up = int(state[0])
        return [((up - 1,), 1e-4 * up), *([((up + 1,), 6.0 - up)] if up < 6 else [])] if up else []

    model = Graph(callback, ipv=[6]).model()
    mean = model.expectation([])
    x = np.array([1e-3, 0.1, 1.0, 5.0, 20.0])
    assert model.sf([], x * mean) == pytest.approx(np.exp(-x), rel=1e-3)
    assert model.pdf([], x * mean) * mean == pytest.approx(np.exp(-x), rel=1e-3)
    assert math.log10(mean) > 20
