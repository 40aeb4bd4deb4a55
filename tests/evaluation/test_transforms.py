"""Chains made from chains: rewards in the place of time, and a clock that rings."""

import math

import numpy as np
import pytest
import scipy  # its parts are imported when they are used
from dense import expm
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import any_chains, chains, thetas

from phasic_models.errors import NumericalError, ParameterError
from phasic_models.evaluation import transforms
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

RATE = params("rate")
seeds = st.integers(0, 2**32)


def stages(n, discrete=False):
    return Graph(
        lambda s: [((int(s[0]) - 1,), RATE)] if s[0] else [], ipv=[n], discrete=discrete, param_names=["rate"]
    ).model()


def rewards_of(model, chain, seed, values):
    """Return rewards by vertex, and in the order of ``chain.dense``."""
    by_vertex = np.random.default_rng(seed).choice(values, size=model.states.shape[0]).astype(float)
    states = chain.dense([0.5] * chain.n_params)[2]
    return by_vertex, np.array([by_vertex[model.graph.vertex_of(s)] for s in states])


# --- rewards --------------------


@settings(max_examples=50)
@given(
    st.one_of(chains(max_transient=6), chains(n_params=2, max_transient=6)),
    thetas(2),
    seeds,
    st.lists(st.floats(0.0, 10.0), min_size=1, max_size=4),
)
def test_rewarded_density_by_matrix_exponential(chain, theta, seed, times):
    """The transformed chain of Bladt and Nielsen (2017), theorem 3.1.33, by dense matrices."""
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    by_vertex, by_state = rewards_of(model, chain, seed, [0.0, 0.0, 1.0, 0.25, 4.0])
    alpha, matrix, _ = chain.dense(theta)
    up, zero = by_state > 0, by_state == 0
    inner = np.linalg.solve(-matrix[np.ix_(zero, zero)], matrix[np.ix_(zero, up)])
    start = alpha[up] + alpha[zero] @ inner
    generator = (matrix[np.ix_(up, up)] + matrix[np.ix_(up, zero)] @ inner) / by_state[up][:, None]
    for t in times:
        after = start @ expm(generator * t)
        assert model.sf(theta, t, by_vertex) == pytest.approx(after.sum(), abs=1e-12)
        assert model.cdf(theta, t, by_vertex) == pytest.approx(1 - after.sum(), abs=1e-12)
        scale = max(1.0, abs(generator).max(initial=0.0))
        assert model.pdf(theta, t, by_vertex) == pytest.approx(-after @ generator.sum(axis=1), abs=1e-11 * scale)


@settings(max_examples=40)
@given(any_chains(max_transient=6), thetas(2), seeds)
def test_moments_of_the_transformed_chain_are_rewarded_moments(chain, theta, seed):
    theta = np.array([theta[: chain.n_params]]).reshape(1, -1)
    model = chain.graph().model()
    by_vertex, _ = rewards_of(model, chain, seed, [0, 0, 1, 2, 3] if chain.discrete else [0.0, 0.5, 1.0, 7.0])
    rewarded = transforms.RewardedChain(model.dag.plan, by_vertex)
    got = rewarded.plan.moments(rewarded.theta(theta), 3, None, 1)[0]
    assert got == pytest.approx(model.moments(theta[0], 3, by_vertex), rel=1e-10)


@settings(max_examples=40)
@given(any_chains(max_transient=6), thetas(2), st.floats(-2, 1.5))
def test_rewards_of_one_are_time(chain, theta, exponent):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    t = 10.0**exponent * (model.expectation(theta) or 1.0)
    t = math.floor(t) if chain.discrete else t
    ones = np.ones(model.states.shape[0])
    for name in ("pdf", "cdf", "sf"):
        assert getattr(model, name)(theta, t, ones) == pytest.approx(
            getattr(model, name)(theta, t), rel=1e-10, abs=1e-130
        )


@settings(max_examples=30)
@given(chains(n_params=1, max_transient=6), thetas(1), st.floats(1e-6, 1e6), st.floats(0.01, 5.0))
def test_a_reward_for_all_is_a_unit_of_time(chain, theta, unit, t):
    model = chain.graph().model()
    t *= model.expectation(theta) or 1.0
    scaled = np.full(model.states.shape[0], unit)
    assert model.sf(theta, t * unit, scaled) == pytest.approx(model.sf(theta, t), rel=1e-10)
    assert model.pdf(theta, t * unit, scaled) * unit == pytest.approx(model.pdf(theta, t), rel=1e-10)


@pytest.mark.parametrize("discrete", [False, True])
def test_no_reward_at_all(discrete):
    model = stages(3, discrete)
    nothing = np.zeros(model.states.shape[0])
    assert model.cdf([0.5], [0.0, 2.0], nothing).tolist() == [1.0, 1.0]
    assert model.sf([0.5], [0.0, 2.0], nothing).tolist() == [0.0, 0.0]
    assert model.pdf([0.5], [0.0, 2.0], nothing).tolist() == [1.0 if discrete else 0.0, 0.0]
    assert model.quantile([0.5], [0.3, 0.999], nothing).tolist() == [0.0, 0.0]
    assert model.sample([0.5], 4, 1, nothing).tolist() == [0.0] * 4
    assert model.laplace([0.5], [0.0, 3.0], nothing) == pytest.approx([1.0, 1.0], rel=1e-14)


@pytest.mark.parametrize("discrete", [False, True])
def test_start_and_absorption_earn_nothing(discrete):
    model = stages(2, discrete)
    plain = np.ones(model.states.shape[0])
    odd = plain.copy()
    odd[0], odd[model.graph.vertex_of((0,))] = 5.0, 9.0
    times = np.array([0.0, 1.0, 2.0, 5.0])
    for name in ("pdf", "cdf", "sf"):
        assert getattr(model, name)([0.3], times, odd).tolist() == getattr(model, name)([0.3], times, plain).tolist()
    assert model.laplace([0.3], times, odd).tolist() == model.laplace([0.3], times, plain).tolist()


def test_a_path_that_earns_nothing_is_a_mass_at_zero():
    """From the first state either to a paid stage or out."""
    paid, free = params("paid", "free")
    model = Graph(lambda s: {2: [((1,), paid), ((0,), free)], 1: [((0,), 2.0)], 0: []}[int(s[0])], ipv=[2]).model()
    rewards = (model.states[:, 0] == 1).astype(float)
    for theta in ([1.0, 3.0], [0.0, 1.0], [1.0, 0.0], [1e-12, 1.0]):
        atom = theta[1] / sum(theta)
        times = np.array([0.0, 0.5, 4.0])
        assert model.cdf(theta, 0.0, rewards) == pytest.approx(atom, rel=1e-14)
        assert model.sf(theta, times, rewards) == pytest.approx((1 - atom) * np.exp(-2 * times), rel=1e-11)
        assert model.pdf(theta, times, rewards) == pytest.approx(2 * (1 - atom) * np.exp(-2 * times), rel=1e-11)


@settings(max_examples=25)
@given(chains(discrete=True, max_transient=4), seeds)
def test_discrete_rewards_step_by_step(chain, seed):
    """The joint law of state and sum, carried along by hand."""
    model = chain.graph().model()
    by_vertex, by_state = rewards_of(model, chain, seed, [1, 1, 2, 3])
    alpha, matrix, _ = chain.dense()
    leave, top = 1 - matrix.sum(axis=1), 40
    mass = np.zeros((top + 1, len(alpha)))
    mass[0] = alpha
    pmf = np.zeros(top + 1)
    pmf[0] = 1 - alpha.sum()
    for y in range(top + 1):
        for i, r in enumerate(by_state.astype(int)):
            if y + r <= top:
                pmf[y + r] += mass[y, i] * leave[i]
                mass[y + r] += mass[y, i] * matrix[i]
    got = model.pdf([], np.arange(top + 1), by_vertex)
    assert got == pytest.approx(pmf, abs=1e-13)
    assert model.cdf([], np.arange(top + 1), by_vertex) == pytest.approx(np.cumsum(pmf), abs=1e-12)


def test_a_discrete_reward_counts_several_steps():
    model = stages(1, discrete=True)
    three = 3.0 * (model.states[:, 0] == 1)
    steps = np.arange(13)
    expected = np.where((steps % 3 == 0) & (steps > 0), 0.25 * 0.75 ** (steps / 3 - 1), 0.0)
    assert model.pdf([0.25], steps, three) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("rewards", [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 2.0, 5.0], [0.0, 0.0, 1.0, 0.0]])
@pytest.mark.parametrize("discrete", [False, True])
def test_samples_of_rewards(discrete, rewards):
    """A cycle of two states, left from the second."""
    model = Graph(
        lambda s: {2: [((1,), 0.5)], 1: [((2,), 0.25), ((0,), 0.5)], 0: []}[int(s[0])],
        ipv=[((2,), 0.6), ((1,), 0.4)],
        discrete=discrete,
    ).model()
    draws = model.sample([], 30_000, seed=5, rewards=rewards)
    assert np.array_equal(draws, model.sample([], 30_000, seed=5, rewards=rewards, n_threads=2))
    atom = float(model.cdf([], 0.0, rewards))
    assert abs((draws == 0).sum() - atom * draws.size) <= 5 * math.sqrt(atom * (1 - atom) * draws.size)
    if discrete:
        values, seen = np.unique(draws[draws < 25], return_counts=True)
        expected = model.pdf([], values, rewards) * draws.size
        enough = expected > 10
        assert scipy.stats.chi2.sf(((seen - expected) ** 2 / expected)[enough].sum(), enough.sum()) > 1e-4
        return
    positive = draws[draws > 0]
    law = scipy.stats.kstest(positive, lambda t: (model.cdf([], t, rewards) - atom) / (1 - atom))
    assert law.pvalue > 1e-4


def test_fractions_of_steps():
    model = stages(2, discrete=True)
    with pytest.raises(ParameterError, match=r"rewards\[3\] is 0.5; a discrete model needs whole numbers"):
        model.pdf([0.5], [1.0], [0.0, 0.0, 1.0, 0.5])
    with pytest.raises(ParameterError, match="add up to more than 2000000 states"):
        model.pdf([0.5], [1.0], [0.0, 0.0, 1.0, 3e6])
    # Where nothing is earned a fraction does no harm.
    assert model.pdf([0.5], 2.0, [0.5, 0.5, 1.0, 1.0]) == 0.25


def test_rewards_of_almost_any_size():
    model = stages(2)
    rewards = np.array([0.0, 0.0, 1e-60, 1e60])
    assert model.sf([1.0], [1e60], rewards) == pytest.approx([math.exp(-1)], rel=1e-12)


def test_a_chain_with_rewards_is_made_once(monkeypatch):
    made = []
    right = transforms.RewardedChain.__init__

    def counted(self, plan, rewards):
        made.append(rewards.copy())
        right(self, plan, rewards)

    monkeypatch.setattr(transforms.RewardedChain, "__init__", counted)
    model = stages(3)
    rewards = np.array([0.0, 0.0, 1.0, 2.0, 3.0])
    for theta in ([1.0], [2.0], [[1.0], [3.0]]):
        model.pdf(theta, [1.0], rewards)
        model.quantile(theta, 0.5, rewards)
    assert len(made) == 1
    rewards[2] = 4.0  # the caller's array may change
    assert model.cdf([1.0], 3.0, rewards) != model.cdf([1.0], 3.0, made[0])
    assert len(made) == 2


def test_edge_graph():
    ptr, target = np.array([0, 1, 3]), np.array([1, 2, 3], dtype=np.int32)
    graph = transforms.edge_graph(ptr, target, 4, False)
    assert graph.states()[:, 0].tolist() == [0, 1, 2, 3]
    assert graph.edge_ptr.tolist() == [0, 1, 3, 3, 3]
    assert graph.param_names == ("w0", "w1", "w2")
    assert graph.weights.evaluate([5.0, 6.0, 7.0])[graph.edge_slot].tolist() == [5.0, 6.0, 7.0]


# --- Laplace transform --------------------


@settings(max_examples=50)
@given(
    st.one_of(chains(max_transient=7), chains(n_params=2, max_transient=6), chains(discrete=True, max_transient=6)),
    thetas(2),
    seeds,
    st.lists(st.floats(0.0, 50.0), min_size=1, max_size=4),
)
def test_laplace_by_linear_solves(chain, theta, seed, at):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    by_vertex, by_state = rewards_of(model, chain, seed, [0.0, 1.0, 0.25, 3.0])
    alpha, matrix, _ = chain.dense(theta)
    n = len(alpha)
    for rewards, r in ((None, np.ones(n)), (by_vertex, by_state)):
        got = model.laplace(theta, at, rewards)
        for s, value in zip(at, got, strict=True):
            if chain.discrete:
                z = np.exp(-s * r)
                x = np.linalg.solve(np.eye(n) - z[:, None] * matrix, z * (1 - matrix.sum(axis=1)))
            else:
                x = np.linalg.solve(np.diag(s * r) - matrix, -matrix.sum(axis=1))
            assert value == pytest.approx(1 - alpha.sum() + alpha @ x, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("n", [1, 4])
def test_laplace_of_erlang(n):
    model = stages(n)
    s = np.array([0.0, 5e-324, 1e-300, 1e-9, 0.5, 3.0, 1e9, 1e70, 1e300, 1.7e308])
    for rate in (1e-9, 1.0, 1e9):
        with np.errstate(over="ignore", under="ignore"):
            expected = (rate / (rate + s)) ** n
        assert model.laplace([rate], s) == pytest.approx(expected, rel=1e-13, abs=1e-300)


def test_generating_function():
    model = stages(3, discrete=True)
    z = np.array([1.0, 0.9, 0.5, 1e-3, 1e-90])
    expected = (0.25 * z / (1 - 0.75 * z)) ** 3
    assert model.laplace([0.25], -np.log(z)) == pytest.approx(expected, rel=1e-12, abs=1e-290)


@settings(max_examples=25)
@given(any_chains(max_transient=5), thetas(2))
def test_laplace_falls_from_one(chain, theta):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    mean = model.expectation(theta) or 1.0
    s = np.array([0.0, 1e-3, 0.1, 1.0, 10.0, 1e3]) / mean
    values = model.laplace(theta, s)
    assert values[0] == pytest.approx(1.0, rel=1e-12)
    assert (np.diff(values) <= 1e-14).all()
    # Jensen: E[exp(-s Y)] >= exp(-s E[Y]), and 1 - s E[Y] to first order.
    assert (values >= np.exp(-s * mean) * (1 - 1e-12)).all()
    assert values[1] == pytest.approx(1.0, abs=1e-3 * (1 + 1e-9))


def test_laplace_where_absorption_is_not_certain():
    """At s = 0 it is the chance to be absorbed at all; the clock makes the rest finite."""
    door = params("door")
    model = Graph(
        lambda s: {2: [((1,), 1.0), ((0,), 1.0)], 1: [((0,), door)], 0: []}[int(s[0])], ipv=[2], param_names=["door"]
    ).model()
    assert model.laplace([0.0], [0.5, 2.0]) == pytest.approx([1 / 2.5, 1 / 4.0], rel=1e-14)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2)])
def test_shapes_and_threads(shape):
    model = stages(2)
    s = np.full(shape, 0.5)
    assert model.laplace([1.0], s).shape == shape
    batch = np.linspace(0.1, 3.0, 20)[:, None]
    together = model.laplace(batch, s)
    assert together.shape == (20, *shape)
    assert together.tobytes() == model.laplace(batch, s, n_threads=2).tobytes()
    assert together == pytest.approx(np.stack([model.laplace(theta, s) for theta in batch]), rel=1e-15)
    assert model.laplace(batch[:0], s).shape == (0, *shape)


@pytest.mark.parametrize(
    ("s", "message"),
    [
        (-1.0, "s is -1.0; it must be 0 or more"),
        ([0.0, np.nan], r"s\[1\] is nan"),
        (np.inf, "s is inf"),
        ("x", "s must"),
    ],
)
def test_arguments_out_of_range(s, message):
    with pytest.raises(ParameterError, match=message):
        stages(1).laplace([1.0], s)


def test_a_clock_that_is_too_fast():
    model = stages(1)
    rewards = np.array([1e300, 1e300, 10.0])
    with pytest.raises(NumericalError, match=r"s = 1.7e\+308 times a reward is too large"):
        model.laplace([1.0], [1.0, 1.7e308], rewards)
    # Only what counts is multiplied; in steps, an infinite clock rings at once.
    assert model.laplace([1.0], 1e300, rewards) == pytest.approx(1e-301, rel=1e-13)
    assert stages(1, discrete=True).laplace([0.5], [1.7e308], rewards).tolist() == [0.0]


def test_errors_name_the_original_chain():
    model = stages(2)
    rewards = np.array([0.0, 0.0, 1.0, 0.0])
    for call in (
        lambda theta: model.laplace(theta, 1.0),
        lambda theta: model.cdf(theta, 1.0, rewards),
        lambda theta: model.pdf(theta, 1.0, np.ones(4)),
    ):
        with pytest.raises(ParameterError, match=r"the transition from state \(1\) to state \(0\) is negative, -1.0"):
            call([-1.0])


def test_a_rate_that_a_reward_makes_infinite():
    with pytest.raises(NumericalError, match="a rate divided by its reward is too large"):
        stages(1).sf([1e300], [1.0], [0.0, 0.0, 1e-300])
