"""Model: every method against closed forms and dense algebra, shapes, and the ends of the range of floats."""

import numpy as np
import pytest
import scipy  # its parts are imported when they are used
from dense import expm
from hypothesis import given, settings
from hypothesis import strategies as st
from reaching import reaches
from strategies import any_chains, chains, thetas

from phasic_models.errors import PhasicModelsError
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params


def erlang(n, discrete=False):
    """n phases with rate (or probability) theta."""

    def callback(state):
        if len(state) == 0:
            return [([n], 1.0, [1.0])]
        return [([state[0] - 1], 0.0, [1.0])] if state[0] else []

    return Graph(callback, discrete=discrete)


def queue(n):
    """From n customers to none: arrivals theta[0] while there is room for 2 n, services theta[1]."""

    def callback(state):
        if len(state) == 0:
            return [([n], 1.0, [1.0, 0.0])]
        k = int(state[0])
        if k == 0:
            return []
        return [([k - 1], 0.0, [0.0, 1.0])] + ([([k + 1], 0.0, [1.0, 0.0])] if k < 2 * n else [])

    return Graph(callback)


# -- closed forms ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 7, 60])
@pytest.mark.parametrize("rate", [1e-8, 0.3, 1.0, 1e8])
def test_erlang(n, rate):
    model, law = erlang(n).model(), scipy.stats.gamma(n, scale=1 / rate)
    times = np.array([0.0, 1e-3, 0.1, 0.5, 1.0, 2.0, 10.0]) * n / rate
    assert model.pdf([rate], times) == pytest.approx(law.pdf(times), rel=1e-11, abs=1e-250)
    assert model.cdf([rate], times) == pytest.approx(law.cdf(times), rel=1e-11, abs=1e-250)
    assert model.sf([rate], times) == pytest.approx(law.sf(times), rel=1e-11, abs=1e-250)
    assert model([rate], times).tolist() == model.pdf([rate], times).tolist()
    assert model.expectation([rate]) == pytest.approx(n / rate, rel=1e-14)
    assert model.variance([rate]) == pytest.approx(n / rate**2, rel=1e-14)
    assert model.moments([rate], 4) == pytest.approx([law.moment(k) for k in (1, 2, 3, 4)], rel=1e-12)
    q = np.array([1e-6, 0.1, 0.5, 0.9, 0.999999])
    assert model.quantile([rate], q) == pytest.approx(law.ppf(q), rel=1e-10)
    s = np.array([0.0, 0.1, 1.0, 10.0]) * rate
    assert model.laplace([rate], s) == pytest.approx((rate / (rate + s)) ** n, rel=1e-13)
    values, gradient = model.pdf_and_grad([rate], times[1:])
    assert values == pytest.approx(law.pdf(times[1:]), rel=1e-11)
    exact = law.pdf(times[1:]) * (n / rate - times[1:])
    assert gradient[:, 0] == pytest.approx(exact, rel=1e-9, abs=1e-12 * law.pdf(times[1:]).max() * n / rate)


@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("p", [1e-4, 0.25, 0.999, 1.0])
def test_negative_binomial(n, p):
    # scipy counts failures, we count trials.
    model, law = erlang(n, discrete=True).model(), scipy.stats.nbinom(n, p)
    steps = np.unique(np.array([0, 1, n - 1, n, n + 1, int(n / p), int(3 * n / p)]))
    assert model.pdf([p], steps) == pytest.approx(law.pmf(steps - n), rel=1e-10, abs=1e-250)
    assert model.cdf([p], steps) == pytest.approx(law.cdf(steps - n), rel=1e-10, abs=1e-250)
    assert model.sf([p], steps) == pytest.approx(law.sf(steps - n), rel=1e-9, abs=1e-15)
    assert model.expectation([p]) == pytest.approx(n / p, rel=1e-14)
    assert model.variance([p]) == pytest.approx(n * (1 - p) / p**2, rel=1e-12, abs=1e-300)
    mean, variance, skew = law.stats("mvs")
    third = skew * variance**1.5 if p < 1 else 0.0
    mean = mean + n
    assert model.moments([p], 3) == pytest.approx(
        [mean, variance + mean**2, third + 3 * mean * variance + mean**3], rel=1e-11
    )
    q = np.array([0.01, 0.3, 0.5, 0.99])
    assert model.quantile([p], q).tolist() == (law.ppf(q) + n).tolist()


def test_initial_probabilities_that_depend_on_theta():
    x, y, z = params("x", "y", "z")

    def callback(state):
        if len(state) == 0:
            return [([2], x), ([1], y * y), ([0], z)]
        return [([0], float(state[0]))] if state[0] else []

    model = Graph(callback).model()
    theta = np.array([0.5, 2.0, 1.5])
    weights = np.array([0.5, 4.0, 1.5]) / 6.0
    times = np.array([0.0, 0.3, 4.0])
    density = weights[0] * 2 * np.exp(-2 * times) + weights[1] * np.exp(-times)
    assert model.pdf(theta, times) == pytest.approx(density, rel=1e-13)
    assert model.cdf(theta, 0.0) == pytest.approx(0.25, rel=1e-14)
    assert model.sf(theta, 0.0) == pytest.approx(0.75, rel=1e-14)
    assert model.expectation(theta) == pytest.approx(weights[0] / 2 + weights[1], rel=1e-14)
    assert model.quantile(theta, [0.0, 0.2, 0.25]).tolist() == [0.0, 0.0, 0.0]
    gradient = model.moments_and_grad(theta, 1)[1][0]
    mean = weights[0] / 2 + weights[1]
    assert gradient == pytest.approx(np.array([0.5 - mean, (1 - mean) * 4.0, -mean]) / 6.0, rel=1e-13)
    # A start that cannot happen at this theta.
    assert model.expectation([0.0, 1.0, 0.0]) == 1.0
    assert model.expectation([1.0, 0.0, 0.0]) == 0.5
    assert model.expectation([0.0, 0.0, 1.0]) == 0.0
    draws = model.sample(theta, 4000, seed=3)
    assert abs((draws == 0).mean() - 0.25) < 0.05


# -- dense algebra --------------------------------------------------------------------------------------------------------


def by_state(chain, model, transient, rewards):
    return np.array([rewards[[tuple(s) for s in model.states.tolist()].index(state, 1)] for state in transient])


@given(any_chains(max_transient=7), thetas(2), st.integers(0, 2**32 - 1))
@settings(max_examples=60)
def test_moments_of_rewards(chain, theta, seed):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    alpha, matrix, transient = chain.dense(theta)
    rng = np.random.default_rng(seed)
    rewards = rng.choice([0.0, 1.0, 2.0, 5.0], size=(2, model.states.shape[0]))
    one, two = (by_state(chain, model, transient, r) for r in rewards)
    a = np.eye(len(alpha)) - matrix if chain.discrete else -matrix
    # Stiff chains are compared with exact arithmetic in tests/verification.
    if np.linalg.cond(a) > 1e8:
        return

    def solve(r):
        return np.linalg.solve(a, r)

    first = [alpha @ solve(r) for r in (one, two)]
    if chain.discrete:
        ahead = [matrix @ solve(r) for r in (one, two)]
        product = alpha @ solve(one * two + one * ahead[1] + two * ahead[0])
        square = alpha @ solve(one**2 + 2 * one * ahead[0])
    else:
        product = alpha @ (solve(one * solve(two)) + solve(two * solve(one)))
        square = 2 * alpha @ solve(one * solve(one))
    close = {"rel": 1e-7, "abs": 1e-9}
    assert model.expectation(theta, rewards) == pytest.approx(first, **close)
    assert model.expectation(theta, rewards[0]) == pytest.approx(first[0], **close)
    assert model.moments(theta, 2, rewards[0]) == pytest.approx([first[0], square], **close)
    assert model.joint_moment(theta, rewards) == pytest.approx(product, **close)
    assert model.joint_moment(theta, rewards[:1]) == pytest.approx(first[0], **close)
    scale = abs(product) + abs(square)
    assert abs(model.covariance(theta, *rewards) - (product - first[0] * first[1])) <= 1e-7 * scale + 1e-9
    assert abs(model.variance(theta, rewards[0]) - (square - first[0] ** 2)) <= 1e-7 * scale + 1e-9
    matrix_of = model.covariance_matrix(theta, rewards)
    assert matrix_of[0, 1] == matrix_of[1, 0]
    assert matrix_of[0, 0] == model.variance(theta, rewards[0])
    assert model.sojourn(theta) @ rewards[0] == pytest.approx(first[0], **close)


@given(chains(max_transient=6, decades=0.7), st.lists(st.floats(0, 20), min_size=1, max_size=4))
@settings(max_examples=40)
def test_distributions(chain, times):
    model = chain.graph().model()
    alpha, matrix, _ = chain.dense()
    at_once = 1 - alpha.sum()
    for t, pdf, cdf, sf in zip(
        times, model.pdf(None, times), model.cdf(None, times), model.sf(None, times), strict=True
    ):
        state = alpha @ expm(matrix * t)
        assert sf == pytest.approx(state.sum(), rel=1e-9, abs=1e-12)
        assert cdf == pytest.approx(1 - state.sum(), rel=1e-9, abs=1e-12)
        assert pdf == pytest.approx(-(state @ matrix).sum(), rel=1e-9, abs=1e-12)
        assert cdf >= at_once - 1e-12


@given(chains(max_transient=6, n_params=2, decades=0.7), thetas(2))
@settings(max_examples=30)
def test_derivatives(chain, theta):
    model = chain.graph().model()
    theta = np.array(theta)
    times = np.array([0.2, 1.0, 4.0])
    values, gradient = model.moments_and_grad(theta, 3)
    density, slope = model.pdf_and_grad(theta, times)
    assert values.tolist() == pytest.approx(model.moments(theta, 3).tolist(), rel=1e-13)
    assert density == pytest.approx(model.pdf(theta, times), rel=1e-12)
    step = 1e-3 * theta
    for j in range(2):
        shifts = [theta + k * step * np.eye(2)[j] for k in (-2, -1, 1, 2)]
        weights = np.array([1, -8, 8, -1]) / (12 * step[j])
        moved = weights @ model.moments(np.array(shifts), 3)
        assert gradient[:, j] == pytest.approx(moved, rel=1e-6, abs=1e-8 * values.max())
        moved = weights @ model.pdf(np.array(shifts), times)
        assert slope[:, j] == pytest.approx(moved, rel=1e-6, abs=1e-7 * (1 + density.max()))


@given(any_chains(max_transient=7), thetas(2))
@settings(max_examples=40)
def test_the_distribution_and_the_moments_agree(chain, theta):
    """E[Y] is minus the slope of the transform at 0; the quantile inverts the distribution function."""
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    mean = model.expectation(theta)
    if mean == 0:
        return
    small = 1e-5 / mean
    square = model.moments(theta, 2)[1]
    assert -np.log(model.laplace(theta, small)) / small == pytest.approx(mean, rel=1e-4 + small * square / mean)
    at_once = float(model.cdf(theta, 0))
    q = np.array([0.1, 0.5, 0.9])
    q = q[q > at_once + 1e-6]
    found = model.quantile(theta, q)
    reached = model.cdf(theta, found)
    if chain.discrete:
        assert (reached >= q - 1e-12).all()
        assert (model.cdf(theta, np.maximum(found - 1, 0)) <= q + 1e-12).all()
    else:
        assert reached == pytest.approx(q, rel=1e-9)
    assert model.quantile(theta, [0.0, 1.0]).tolist() == [0.0, np.inf]


# -- shapes ---------------------------------------------------------------------------------------------------------------


def test_shapes():
    model = queue(3).model()
    one, many = np.array([0.5, 1.0]), np.tile([0.5, 1.0], (4, 1))
    v = model.states.shape[0]
    for name in ("pdf", "cdf", "sf", "quantile", "laplace"):
        method = getattr(model, name)
        for shape in ((), (0,), (3,), (2, 3), (1, 0, 2)):
            at = np.full(shape, 0.5)
            assert method(one, at).shape == shape
            assert method(many, at).shape == (4, *shape)
    for shape in ((), (3,), (2, 2)):
        values, gradient = model.pdf_and_grad(many, np.full(shape, 0.5))
        assert values.shape == (4, *shape)
        assert gradient.shape == (4, *shape, 2)
        assert model.pdf_and_grad(one, np.full(shape, 0.5))[1].shape == (*shape, 2)
    for name in ("expectation", "variance"):
        assert isinstance(getattr(model, name)(one), float)
        assert getattr(model, name)(many).shape == (4,)
    assert isinstance(model.covariance(one), float)
    assert model.covariance(many, np.ones(v), np.zeros(v)).tolist() == [0.0] * 4
    assert isinstance(model.joint_moment(one, np.ones((2, v))), float)
    assert model.joint_moment(many, np.ones((2, v))).shape == (4,)
    assert model.expectation(one, np.ones((3, v))).shape == (3,)
    assert model.expectation(many, np.ones((3, v))).shape == (4, 3)
    assert model.expectation(many, np.ones((0, v))).shape == (4, 0)
    assert model.moments(many, 5).shape == (4, 5)
    assert model.covariance_matrix(many, np.ones((3, v))).shape == (4, 3, 3)
    assert model.sojourn(many).shape == (4, v)
    values, gradient = model.moments_and_grad(many, 3)
    assert values.shape == (4, 3)
    assert gradient.shape == (4, 3, 2)
    for size, shape in ((2, (2,)), ((), ()), ((2, 0), (2, 0)), ((2, 3), (2, 3))):
        assert model.sample(one, size, seed=1).shape == shape
        assert model.sample(many, size, seed=1).shape == (4, *shape)


def test_what_a_model_shows():
    graph = queue(2)
    model = graph.model()
    assert model.graph is graph
    assert model.param_names == ("theta_0", "theta_1")
    assert model.states.shape == (6, 1)
    assert not model.states[0].any()
    assert not model.discrete
    assert "6 vertices" in repr(model)


def test_rewards_of_start_and_absorbing_vertices_count_for_nothing():
    model = queue(2).model()
    states = model.states[:, 0]
    rewards = np.where(states > 0, states, 1e9).astype(float)
    rewards[0] = 1e9
    zeroed = np.where(states > 0, states, 0.0)
    theta = [0.5, 1.0]
    assert model.expectation(theta, rewards) == model.expectation(theta, zeroed)
    assert model.variance(theta, rewards) == model.variance(theta, zeroed)
    assert model.pdf(theta, 1.0, rewards) == model.pdf(theta, 1.0, zeroed)
    assert model.sample(theta, 5, 1, rewards).tolist() == model.sample(theta, 5, 1, zeroed).tolist()


# -- the ends of the range ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [0.0, 5e-324, 1e-300, 1e-100, 1e-20])
def test_very_early(t):
    model = erlang(2).model()
    assert model.pdf([3.0], t) == pytest.approx(9 * t, rel=1e-12, abs=1e-280)
    assert model.sf([3.0], t) == 1.0
    assert model.cdf([3.0], t) == pytest.approx(4.5 * t * t, rel=1e-12, abs=1e-280)


@pytest.mark.parametrize("t", [1e4, 1e10, 1e100, 1e300, 1.7e308])
def test_very_late(t):
    for model in (erlang(2).model(), queue(3).model()):
        theta = [1.0] * len(model.param_names)
        assert 0 <= model.pdf(theta, t) < 1e-250
        assert 0 <= model.sf(theta, t) < 1e-250
        assert model.cdf(theta, t) == 1.0


def test_very_early_and_very_late_in_one_call():
    model = queue(3).model()
    times = np.array([0.0, 1e-300, 1.0, 1e300, 2.0])
    values = model.pdf([0.5, 1.0], times)
    for t, value in zip(times, values, strict=True):
        assert model.pdf([0.5, 1.0], t) == pytest.approx(value, rel=1e-11, abs=1e-280)


@pytest.mark.parametrize("scale", [1e-300, 1e-100, 1e100, 1e300])
def test_units_do_not_matter(scale):
    model = queue(3).model()
    plain, scaled = np.array([0.5, 1.0]), np.array([0.5, 1.0]) * scale
    assert model.expectation(scaled) * scale == pytest.approx(model.expectation(plain), rel=1e-14)
    assert model.pdf(scaled, 2.0 / scale) / scale == pytest.approx(model.pdf(plain, 2.0), rel=1e-11)
    assert model.quantile(scaled, 0.5) * scale == pytest.approx(model.quantile(plain, 0.5), rel=1e-10)


def test_a_step_beyond_counting():
    model = erlang(1, discrete=True).model()
    assert model.pdf([0.5], 1e300) == 0.0
    assert model.cdf([0.5], 1e300) == 1.0
    assert model.pdf([0.5], 2.0**60) == 0.0


def test_probability_one():
    model = erlang(3, discrete=True).model()
    assert model.pdf([1.0], [0, 1, 2, 3, 4]).tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert model.variance([1.0]) == 0.0
    assert set(model.sample([1.0], 10, seed=0)) == {3.0}


def test_only_a_mass_at_zero():
    model = Graph(lambda state: [([0], 1.0)] if len(state) == 0 else [], parameterized=False).model()
    assert model.expectation(None) == 0.0
    assert model.variance(None) == 0.0
    assert model.pdf(None, [0.0, 1.0]).tolist() == [0.0, 0.0]
    assert model.cdf(None, [0.0, 1.0]).tolist() == [1.0, 1.0]
    assert model.quantile(None, [0.0, 0.5]).tolist() == [0.0, 0.0]
    assert model.sample(None, 3, seed=1).tolist() == [0.0] * 3
    assert model.laplace(None, [0.0, 5.0]).tolist() == [1.0, 1.0]
    assert model.moments_and_grad(None, 2)[0].tolist() == [0.0, 0.0]


# -- two methods for one thing --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jumps", [1_900, 2_100, 1e5, 1e6])
def test_uniformization_and_squaring_agree(jumps):
    """Around the number of jumps where the choice changes, and far from it."""
    model = queue(4).model()
    theta = np.array([[0.5, 1.0], [1e-3, 1.0], [0.999, 1.0]])
    for row in theta:
        rate = row.sum()
        times = np.array([1e-3, 0.01, 0.1, 0.5, 1.0]) * jumps / rate
        swept = model.dag.plan.uniformize(row[None], times, ("pdf", "cdf", "sf"), 1e-12, 10**8, 1)
        chosen = {name: getattr(model, name)(row, times) for name in swept}
        for name, values in chosen.items():
            peak = 1.0 if name != "pdf" else model.pdf(row, np.linspace(0, 20, 50)).max()
            assert values == pytest.approx(swept[name][0], rel=1e-8, abs=1e-12 * peak)


def test_epochs_of_one_theta_change_nothing():
    model = queue(3).model()
    theta = np.array([0.5, 1.0])
    times = np.array([0.0, 0.5, 1.0, 2.5, 7.0, 40.0])
    split = model.epochs([0.0, 1.0, 3.0])
    rows = np.tile(theta, (3, 1))
    for name in ("pdf", "cdf", "sf"):
        assert getattr(split, name)(rows, times) == pytest.approx(getattr(model, name)(theta, times), rel=1e-10)
    assert split.moments(rows, 3) == pytest.approx(model.moments(theta, 3), rel=1e-10)
    assert split.expectation(rows) == pytest.approx(model.expectation(theta), rel=1e-11)
    assert split.variance(rows) == pytest.approx(model.variance(theta), rel=1e-9)


def test_samples_follow_the_distribution():
    model = queue(3).model()
    theta = [0.5, 1.0]
    draws = np.sort(model.sample(theta, 20_000, seed=11))
    cdf = model.cdf(theta, draws)
    n = draws.size
    distance = max((np.arange(1, n + 1) / n - cdf).max(), (cdf - np.arange(n) / n).max())
    # Exceeded with probability 1e-6.
    assert distance * np.sqrt(n) < 2.7


rates = st.floats(1e-3, 1e3) | st.floats(allow_nan=True)


@reaches(0.2)
@given(
    st.sampled_from(["expectation", "pdf", "sample", "quantile", "moments_and_grad", "pdf_and_grad"]),
    st.lists(rates, min_size=2, max_size=2),
)
@settings(max_examples=120)
def test_a_number_is_never_nan_and_never_negative(name, theta):
    model = SHARED
    calls = {
        "expectation": lambda: model.expectation(theta),
        "pdf": lambda: model.pdf(theta, [0.0, 1.0], max_steps=100_000),
        "sample": lambda: model.sample(theta, 2, seed=1, max_jumps=10_000),
        "quantile": lambda: model.quantile(theta, [0.1, 0.9], max_steps=100_000),
        "moments_and_grad": lambda: model.moments_and_grad(theta, 2),
        "pdf_and_grad": lambda: model.pdf_and_grad(theta, [0.5, 1.0], max_steps=100_000),
    }
    try:
        result = calls[name]()
    except PhasicModelsError:
        return False
    values, slopes = result if name.endswith("_and_grad") else (result, 0.0)
    assert not np.isnan(values).any()
    assert not np.isnan(slopes).any()
    assert (np.asarray(values) >= 0).all()
    return True


SHARED = queue(2).model()
