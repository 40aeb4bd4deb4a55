"""Chains that may be caught before they are absorbed: what is finite is returned, what is not is an error that says why."""

import math
import re
from fractions import Fraction

import numpy as np
import pytest
from trap_truth import TrapChain, random_chain, random_theta

from phasic_models.errors import InfiniteExpectationError, NumericalError
from phasic_models.graph import Graph

SEEDS = range(24)
kinds = pytest.mark.parametrize("discrete", [False, True], ids=["continuous", "discrete"])


def cases(seed, discrete):
    """Model, truth, θ and rewards by state and by vertex, at some θ; traps in most of them."""
    chain = random_chain(seed, discrete)
    model = chain.graph().model()
    rng = np.random.default_rng([seed, 1])
    for _ in range(3):
        theta = random_theta(rng)
        truth = chain.at(theta)
        rewards = {i: int(rng.integers(0, 4)) for i in truth.states}
        if rng.random() < 0.7:  # most often nothing that makes the sum infinite
            rewards.update(dict.fromkeys(truth.caught, 0))
        yield model, truth, theta, rewards, by_vertex(model, rewards)


def by_vertex(model, rewards):
    # What start and absorbing states earn counts for nothing.
    return np.array([rewards.get(int(s[0]), 5) for s in model.states], dtype=float)


def close(value, exact, rel=1e-12):
    assert value == pytest.approx(float(exact), rel=rel, abs=1e-300)


def refused_for_ever(model, theta, r, truth, rewards):
    for call in (
        lambda: model.expectation(theta, r),
        lambda: model.variance(theta, r),
        lambda: model.moments(theta, 3, r),
        lambda: model.joint_moment(theta, [r, 0 * r]),
        lambda: model.expectation(theta, [0 * r, r]),
    ):
        with pytest.raises(InfiniteExpectationError, match="its reward is earned for ever") as caught:
            call()
        state = int(re.search(r"state \((\d+)\)", str(caught.value))[1])
        assert state in truth.caught
        assert rewards[state] > 0


# --- exact values --------------------


@kinds
@pytest.mark.parametrize("seed", SEEDS)
def test_moments(seed, discrete):
    for model, truth, theta, rewards, r in cases(seed, discrete):
        if truth.endless(rewards):
            refused_for_ever(model, theta, r, truth, rewards)
            continue
        exact = truth.moments(3, rewards)
        for value, wanted in zip(model.moments(theta, 3, r), exact, strict=True):
            close(value, wanted)
        assert model.expectation(theta, r) == pytest.approx(float(exact[0]), rel=1e-12)
        other = {i: (3 * i) % 4 * (i not in truth.caught) for i in truth.states}
        o = by_vertex(model, other)
        scale = math.sqrt(float(truth.covariance(rewards, rewards) * truth.covariance(other, other)))
        assert model.variance(theta, r) == pytest.approx(float(truth.covariance(rewards, rewards)), rel=1e-11)
        assert model.covariance(theta, r, o) == pytest.approx(
            float(truth.covariance(rewards, other)), rel=1e-11, abs=1e-12 * scale
        )
        close(model.joint_moment(theta, [r, o, r]), truth.joint(rewards, other, rewards))
        assert model.expectation(theta, [r, o]) == pytest.approx(
            [float(exact[0]), float(truth.joint(other))], rel=1e-12
        )


@kinds
@pytest.mark.parametrize("seed", SEEDS)
def test_sojourn(seed, discrete):
    for model, truth, theta, _, _ in cases(seed, discrete):
        exact = truth.sojourn()
        for state, value in zip(model.states[1:, 0].tolist(), model.sojourn(theta)[1:].tolist(), strict=True):
            assert value == pytest.approx(exact.get(state, 0.0), rel=1e-12)


@kinds
@pytest.mark.parametrize("seed", SEEDS)
def test_transforms(seed, discrete):
    for model, truth, theta, rewards, r in cases(seed, discrete):
        s = [0.0, 1e-310, 0.25, 3.0]
        assert model.laplace(theta, s, r) == pytest.approx([truth.laplace(x, rewards) for x in s], rel=1e-12)
        ones = dict.fromkeys(truth.states, 1)
        assert model.laplace(theta, s) == pytest.approx([truth.laplace(x, ones) for x in s], rel=1e-12)
        close(model.laplace(theta, 0.0), truth.finite(ones))


@kinds
@pytest.mark.parametrize("seed", SEEDS)
def test_distributions_of_rewards(seed, discrete):
    for model, truth, theta, rewards, r in cases(seed, discrete):
        times = np.array([0.0, 1.0, 2.0, 5.0] if discrete else [0.0, 0.3, 2.0, 9.0])
        exact = np.array([truth.cdf(t, rewards) for t in times])
        assert model.cdf(theta, times, r) == pytest.approx(exact, abs=1e-12)
        assert model.sf(theta, times, r) == pytest.approx(1 - exact, abs=1e-12)
        endless = float(1 - truth.finite(rewards))
        assert model.sf(theta, 1e140, r) == pytest.approx(endless, abs=1e-12)
        if discrete:
            mass = model.pdf(theta, np.arange(6.0), r)
            assert np.cumsum(mass)[[0, 1, 2, 5]] == pytest.approx(exact, abs=1e-12)
        else:
            # By Simpson's rule over a short interval.
            a, b = 0.4, 0.41
            density = model.pdf(theta, [a, (a + b) / 2, b], r) @ np.array([1.0, 4.0, 1.0]) / 6.0
            assert density * (b - a) == pytest.approx(truth.cdf(b, rewards) - truth.cdf(a, rewards), abs=1e-9)


@kinds
@pytest.mark.parametrize("seed", SEEDS)
def test_quantiles(seed, discrete):
    for model, truth, theta, rewards, r in cases(seed, discrete):
        total = float(truth.finite(rewards))
        q = np.array([0.0, 0.3 * total, 0.5, 0.999 * total, total + 1e-12, 1.0])
        q = np.minimum(q, 1.0)
        t = model.quantile(theta, q, r)
        assert t[0] == 0.0
        assert t[-1] == math.inf
        for value, probability in zip(t.tolist(), q.tolist(), strict=True):
            if value == math.inf:
                assert probability >= total - 1e-12
                continue
            assert probability < total + 1e-12
            here = model.cdf(theta, value, r)
            if discrete:
                assert here >= probability - 1e-13
                assert value == 0 or model.cdf(theta, value - 1, r) < probability + 1e-13
            else:
                assert value == 0 or here == pytest.approx(probability, rel=1e-10)
                assert here >= probability * (1 - 1e-10)


@kinds
@pytest.mark.parametrize("seed", range(8))
def test_samples(seed, discrete):
    size = 20_000
    for model, truth, theta, rewards, r in cases(seed, discrete):
        draws = model.sample(theta, size, seed, r)
        for t in (0.0, 1.0, 4.0, math.inf):
            below = float(truth.finite(rewards)) if t == math.inf else truth.cdf(t, rewards)
            share = np.mean(draws < math.inf) if t == math.inf else np.mean(draws <= t)
            assert share == pytest.approx(below, abs=5 * math.sqrt(abs(below * (1 - below)) / size) + 1e-12)


@kinds
def test_lanes_do_not_disturb_each_other(discrete):
    """A batch in which some θ have traps gives the same bits as each θ alone, and as a batch without them."""
    for seed in range(20):
        chain = random_chain(seed, discrete)
        model = chain.graph().model()
        rng = np.random.default_rng(seed)
        thetas = np.array([random_theta(rng) if k % 3 else [0.5, 1.0, 0.25] for k in range(21)])
        caught = set().union(*(chain.at(theta).caught for theta in thetas.tolist()))
        r = by_vertex(model, {i: 0 if i in caught else i for i in range(1, chain.n + 1)})
        s = [0.0, 0.5]
        calls = [
            lambda theta, m=model, r=r: m.moments(theta, 3, r),
            lambda theta, m=model, r=r: m.variance(theta, r),
            lambda theta, m=model, r=r: m.joint_moment(theta, [r, r]),
            lambda theta, m=model, r=r: m.sojourn(theta),
            lambda theta, m=model, r=r: m.expectation(theta, [r, 2 * r]),
            lambda theta, m=model, r=r, s=s: m.laplace(theta, s, r),
            lambda theta, m=model, r=r, s=s: m.laplace(theta, s),
            lambda theta, m=model, r=r: m.cdf(theta, [0.0, 3.0], r),
            lambda theta, m=model, r=r: m.quantile(theta, [0.1, 0.9], r),
        ]
        for call in calls:
            together = call(thetas)
            assert together[::3].tobytes() == call(thetas[::3]).tobytes()
            for row, theta in zip(together, thetas, strict=True):
                assert np.asarray(row).tobytes() == np.asarray(call(theta)).tobytes()


# --- closed forms --------------------


def single(chain):
    """Return the model of a chain that starts in state 1 alone."""

    def callback(state):
        if len(state) == 0:
            return [([1], 1.0, [0.0] * chain.n_params)]
        return [
            ([j], c if p is None else 0.0, [c if k == p else 0.0 for k in range(chain.n_params)])
            for (i, j), (c, p) in chain.edges.items()
            if i == int(state[0])
        ]

    return Graph(callback, discrete=chain.discrete).model()


def door():
    """1 is left at rate 1 for absorption and at rate 1 for 2 <-> 3; 3 -> 0 has weight θ. And a reward in 1 only."""
    edges = {(1, 0): (1.0, None), (1, 2): (1.0, None), (2, 3): (1.0, None), (3, 2): (1.0, None), (3, 0): (1.0, 0)}
    model = single(TrapChain(3, False, edges, 1))
    return model, (model.states[:, 0] == 1).astype(float)


def test_the_door_that_is_shut():
    model, r = door()
    theta = [0.0]
    assert model.laplace(theta, [0.0, 0.5]) == pytest.approx([0.5, 1 / 2.5], rel=1e-15)
    assert model.quantile(theta, [0.25, 0.75, 1.0]) == pytest.approx([math.log(2) / 2, math.inf, math.inf], rel=1e-14)
    assert model.expectation(theta, r) == 0.5
    assert model.variance(theta, r) == 0.25
    t = np.array([0.1, 1.0, 7.0])
    assert model.cdf(theta, t, r) == pytest.approx(-np.expm1(-2 * t), rel=1e-13)
    assert model.sf(theta, t, r) == pytest.approx(np.exp(-2 * t), rel=1e-12)
    assert model.pdf(theta, t) == pytest.approx(np.exp(-2 * t), rel=1e-12)
    assert model.sf(theta, [1e140, 1e300]) == pytest.approx([0.5, 0.5], rel=1e-12)
    assert model.cdf(theta, [1e140, 1e300]) == pytest.approx([0.5, 0.5], rel=1e-12)
    assert model.quantile(theta, [0.25, 1e-200], r) == pytest.approx([-math.log(0.75) / 2, 5e-201], rel=1e-12)


@pytest.mark.parametrize("share", [0.9, 1e-3, 1e-6, 1e-9, 1e-12])
def test_a_quantile_near_the_probability_of_absorption(share):
    """F(t) = (1 - exp(-2 t)) / 2, so the quantile of q is -log(1 - 2 q) / 2."""
    model, _ = door()
    q = 0.5 * (1 - share)
    left = float(1 - 2 * Fraction(q))
    assert model.quantile([0.0], q) == pytest.approx(-math.log(left) / 2, rel=1e-12 + 1e-15 / left)


def test_quantiles_at_the_probability_of_absorption():
    model, _ = door()
    assert model.quantile([0.0], [0.5, 0.5 * (1 - 1e-15)]).tolist() == [math.inf, math.inf]
    assert model.quantile([[0.0], [1.0]], 0.5)[0] == math.inf
    assert model.quantile([[0.0], [1.0]], 0.5)[1] == model.quantile([1.0], 0.5)


@pytest.mark.parametrize("theta", [1e-12, 1e-150, 1e-290])
def test_a_door_that_is_almost_shut(theta):
    """The limits of θ → 0, and numbers that are huge but finite: E[T] = 1/2 + 1/2 (2/θ + 1), of which 3 has 1/(2θ)."""
    model, r = door()
    assert model.laplace([theta], [0.0, 0.5]) == pytest.approx([1.0, 0.4], rel=1e-11)
    assert model.expectation([theta], r) == 0.5
    assert model.variance([theta], r) == 0.25
    assert model.expectation([theta]) == pytest.approx(1 / theta, rel=1e-11)
    assert model.sojourn([theta])[1:] == pytest.approx(
        [{0: 0.0, 1: 0.5, 2: 0.5 / theta, 3: 0.5 / theta}[int(s)] for s in model.states[1:, 0]], rel=1e-11
    )


def test_a_weight_too_small_to_divide_by():
    model, r = door()
    for call in (model.expectation, model.sojourn, model.variance, lambda theta: model.expectation(theta, r)):
        with pytest.raises(NumericalError, match="too large for a double"):
            call([1e-310])


def test_draws():
    model, r = door()
    time, earned = model.sample([0.0], 10_000, 3), model.sample([0.0], 10_000, 3, r)
    lost = np.isinf(time)
    assert np.mean(lost) == pytest.approx(0.5, abs=0.025)
    # The same draws: what was earned by then is the time itself.
    assert (time[~lost] == earned[~lost]).all()
    assert np.mean(earned) == pytest.approx(0.5, abs=0.025)
    # None goes round in the trap.
    assert (model.sample([0.0], 10_000, 3, max_jumps=1) == time).all()
    with pytest.raises(NumericalError, match="more than max_jumps = 1000"):
        model.sample([1e-9], 100, 3, max_jumps=1000)


def test_epochs_end_in_a_trap():
    """Left at the rates 2, then 1: what is earned in 1 has the mean (1 - exp(-2)) / 2 + exp(-2)."""

    def spur(state):
        if len(state) == 0:
            return [([1], 1.0, [0.0, 0.0])]
        return {1: [([0], 1.0, [0.0, 0.0]), ([2], 0.0, [1.0, 0.0])], 2: [([0], 0.0, [0.0, 1.0])], 0: []}[int(state[0])]

    model = Graph(spur).model()
    past = model.epochs([0.0, 1.0])
    theta = [[1.0, 1.0], [0.0, 0.0]]
    r = (model.states[:, 0] == 1).astype(float)
    assert past.expectation(theta, r) == pytest.approx((1 - math.exp(-2)) / 2 + math.exp(-2), rel=1e-13)
    # State 2 is not reached in the second epoch, but the process may be there when it begins.
    with pytest.raises(
        InfiniteExpectationError, match=r"theta = \[0. 0.\]: state \(2\) is reached and never left for good"
    ):
        past.expectation(theta)
    with pytest.raises(InfiniteExpectationError, match=r"state \(2\) .* its reward is earned for ever"):
        past.moments(theta, 2, 1 - r)


@kinds
def test_a_trap_that_is_entered_with_a_probability_below_the_smallest_float(discrete):
    """After 2,000 units of time nearly nothing is left in state 1, but what is left stays there for ever."""
    chain = TrapChain(1, discrete, {(1, 0): (0.75 if discrete else 1.0, 0)}, 1)
    model = single(chain)
    past = model.epochs([0, 2000])
    assert past.sf([[1.0], [0.0]], 2000) == 0.0
    with pytest.raises(InfiniteExpectationError, match=r"state \(1\) is reached"):
        past.expectation([[1.0], [0.0]])
    assert past.expectation([[1.0], [1e-9]]) == pytest.approx(1 / 0.75 if discrete else 1.0, rel=1e-12)
    nothing = np.zeros(model.states.shape[0])
    assert past.expectation([[1.0], [0.0]], nothing) == 0.0


def test_a_trap_that_cannot_be_entered_at_that_step():
    """Every step leads from 1 to 2 or to the end, or from 2 to 1; so after an even number of steps, the process is not in 2."""
    edges = {(1, 0): (0.5, None), (1, 2): (0.5, 0), (2, 1): (1.0, 0)}
    model = single(TrapChain(2, True, edges, 1))
    theta = [[1.0], [0.0]]  # in the second epoch, 2 is never left, and 1 for the end
    # One step with probability 1/2; else two, and then half the time until the next success again.
    assert model.epochs([0, 2]).expectation(theta) == pytest.approx(0.5 + 0.5 * (2 + 2), rel=1e-14)
    assert model.epochs([0, 9_000]).expectation(theta) == pytest.approx(3.0, rel=1e-13)
    for odd in (1, 3, 9_001):
        with pytest.raises(InfiniteExpectationError, match=r"state \(2\) is reached"):
            model.epochs([0, odd]).expectation(theta)


# --- derivatives --------------------


@kinds
@pytest.mark.parametrize("seed", SEEDS)
def test_derivatives_where_they_exist(seed, discrete):
    """By exact difference quotients over 1e-40, each parameter by itself and all together."""
    chain = random_chain(seed, discrete)
    h = Fraction(1, 10**40)
    for model, truth, theta, rewards, r in cases(seed, discrete):
        if truth.endless(rewards):
            continue
        try:
            value, slope = model.moments_and_grad(theta, 2, r)
        except InfiniteExpectationError as error:
            assert "has no derivative" in str(error)  # noqa: PT017
            continue
        exact = truth.moments(2, rewards)
        assert value == pytest.approx([float(x) for x in exact], rel=1e-12)
        for step, along in [*((np.eye(3)[j], slope[:, j]) for j in range(3)), (np.ones(3), slope.sum(axis=1))]:
            there = chain.at([Fraction(x) + h * Fraction(d) for x, d in zip(theta, step.tolist(), strict=True)])
            assert not there.endless(rewards)
            quotients = [float((a - b) / h) for a, b in zip(there.moments(2, rewards), exact, strict=True)]
            assert along == pytest.approx(quotients, rel=1e-9, abs=1e-9 * float(max(exact)))


def test_derivatives():
    """E[Y] = 1 / (1 + x) with Y earned in 1, x the rate into the trap, y the weight of the way out of it."""
    edges = {(1, 0): (1.0, None), (1, 2): (1.0, 0), (2, 3): (1.0, None), (3, 2): (1.0, None), (3, 0): (1.0, 1)}
    model = single(TrapChain(3, False, edges, 2))
    r = (model.states[:, 0] == 1).astype(float)
    for x in (0.0, 1.0, 3.0):
        value, slope = model.moments_and_grad([x, 0.0], 2, r)
        assert value == pytest.approx([1 / (1 + x), 2 / (1 + x) ** 2], rel=1e-14)
        assert slope[:, 0] == pytest.approx([-1 / (1 + x) ** 2, -4 / (1 + x) ** 3], rel=1e-13)
        assert slope[:, 1].tolist() == [0.0, 0.0]
    text = (
        "the expectation has no derivative at theta = [0. 0.]: with a weight that is zero there, state (2) would be "
        "reached, and absorption would not be certain"
    )
    with pytest.raises(InfiniteExpectationError, match=re.escape(text)):
        model.moments_and_grad([0.0, 0.0], 1)


def test_a_derivative_by_the_way_out_of_a_trap():
    """With y > 0 the process comes back until it is absorbed, and E[Y] is 1; with y = 0 it is ½."""
    edges = {(1, 0): (1.0, None), (1, 2): (1.0, None), (2, 1): (1.0, 0)}
    model = single(TrapChain(2, False, edges, 1))
    r = (model.states[:, 0] == 1).astype(float)
    assert model.expectation([0.0], r) == 0.5
    assert model.expectation([1e-9], r) == pytest.approx(1.0, rel=1e-13)
    text = (
        "the expectation has no derivative at theta = [0.]: state (2) is reached and never left for good, but with a "
        "weight that is zero there it would be left, and more would be earned"
    )
    with pytest.raises(InfiniteExpectationError, match=re.escape(text)):
        model.moments_and_grad([0.0], 1, r)


def test_a_derivative_by_a_weight_of_two_edges():
    """1 -> 2 -> 3 both with x: for any x > 0 the trap 3 is reached with probability x² / (1 + x)²."""
    edges = {(1, 0): (1.0, None), (1, 2): (1.0, 0), (2, 0): (1.0, None), (2, 3): (1.0, 0), (3, 0): (1.0, 1)}
    model = single(TrapChain(3, False, edges, 2))
    assert model.expectation([0.0, 0.0]) == 1.0
    with pytest.raises(InfiniteExpectationError, match=r"no derivative .* state \(3\) would be reached"):
        model.moments_and_grad([0.0, 0.0], 1)


# --- words --------------------


def test_the_error_says_which_and_why():
    model, r = door()
    text = "absorption is not certain at theta = [0.]: state (2) is reached and never left for good"
    with pytest.raises(InfiniteExpectationError, match=re.escape(text + ", so the expectation is infinite")):
        model.expectation([0.0])
    earned = ", and its reward is earned for ever, so the expectation is infinite"
    for call in (
        lambda: model.expectation([0.0], 1 - r),
        lambda: model.variance([0.0], 1 - r),
        lambda: model.expectation([0.0], [r, 1 - r]),
        lambda: model.covariance([0.0], r, 1 - r),
        lambda: model.joint_moment([0.0], [r, 1 - r]),
    ):
        with pytest.raises(InfiniteExpectationError, match=re.escape(text + earned)):
            call()
    with pytest.raises(InfiniteExpectationError, match=re.escape("at theta[1] = [0.]: state (2)")):
        model.expectation([[1.0], [0.0]], [r, 1 - r])


# --- few digits --------------------


def rare(discrete):
    """Repaired again and again in 1 and 2, and at rates far below left for 3, a trap at θ₂ = 0, or for 4.

    In 4 as much is earned at once. From 5 nearly all goes to 1, so that what is earned in 5 and afterwards is nearly uncorrelated.

    Without the weight of zero, every way out would lead through 4.
    """
    tiny = 2.0**-40
    edges = {
        (6, 5): (0.25, None),
        (5, 1): (0.25, None),
        (5, 3): (2.0**-30, None),
        (1, 2): (0.25, 0),
        (2, 1): (0.5, None),
        (2, 3): (tiny, 1),
        (2, 4): (tiny, None),
        (3, 4): (1.0, 2),
        (4, 0): (0.25, None),
    }
    return TrapChain(6, discrete, edges, 3)


@kinds
def test_covariances_where_absorption_is_rare(discrete):
    chain = rare(discrete)
    model = chain.graph().model()
    theta = [1.0, 3.0, 0.0]
    truth = chain.at(theta)
    sums = [
        {1: 1, 2: 1, 3: 0, 4: 2**36, 5: 0, 6: 0},
        {1: 0, 2: 0, 3: 0, 4: 1, 5: 0, 6: 0},
        {1: 2, 2: 0, 3: 0, 4: 0, 5: 1, 6: 1},
        {1: 0, 2: 0, 3: 0, 4: 0, 5: 1, 6: 0},
    ]
    rewards = np.array([by_vertex(model, r) for r in sums])
    batch = np.array([theta, [1.0, 3.0, 0.5], theta])
    plan = model.dag.plan
    for found in (plan.covariance(batch[:1], rewards, 1)[1][0], plan.covariance(batch, rewards, 1)[1][2]):
        for i, a in enumerate(sums):
            close(found[i, i], truth.covariance(a, a), 2e-9)
            for j, b in enumerate(sums):
                deviations = math.sqrt(truth.covariance(a, a) * truth.covariance(b, b))
                assert found[i, j] == pytest.approx(float(truth.covariance(a, b)), rel=2e-9, abs=1e-12 * deviations)


@kinds
def test_variances_from_every_vertex_where_absorption_is_rare(discrete):
    """At θ₂ = 0 no path from 3 comes to 4, though in the graph all do."""
    chain = rare(discrete)
    model = chain.graph().model()
    rewards = {1: 1, 2: 1, 3: 0, 4: 2**36, 5: 0, 6: 0}
    truth = chain.at([1.0, 3.0, 0.0])
    first, second = truth._joint([rewards]), truth._joint([rewards] * 2)
    values = model.dag.plan.vertex_variances(np.array([[1.0, 3.0, 0.0]]), by_vertex(model, rewards))[0]
    for v, state in enumerate(model.states[:, 0].tolist()):
        if v > 0 and state in truth.moving:
            close(values[v], second[state] - first[state] ** 2, 2e-9)
        elif v > 0:
            assert values[v] == 0.0


@kinds
def test_derivatives_where_absorption_is_rare(discrete):
    """Simple differences have no digit left: the expectations from 1 and 2 are equal to 1e-12 of themselves."""
    tiny = 2.0**-40
    edges = {
        (3, 1): (0.25, None),
        (1, 2): (0.25, 0),
        (2, 1): (0.5, None),
        (2, 4): (tiny, 1),
        (2, 0): (tiny, None),
        (4, 5): (0.5, None),
        (5, 4): (0.5, 0),
        (4, 0): (0.25, 2),
    }
    chain = TrapChain(5, discrete, edges, 3)
    rewards = {1: 1, 2: 3, 3: 1, 4: 0, 5: 0}
    model = chain.graph().model()
    r = by_vertex(model, rewards)
    theta = [1.0, 3.0, 0.0]
    # The process starts in 3 only with 1/2; in 5, a state of the trap, otherwise.
    moments, grad = model.moments_and_grad(theta, 2, r)
    exact = chain.at(theta).moments(2, rewards)
    step = Fraction(1, 2**80)
    for j, value in enumerate(exact):
        close(moments[j], value)
        assert grad[j, 2] == 0.0
        for p in (0, 1):
            ends = [[Fraction(x) + sign * step * (k == p) for k, x in enumerate(theta)] for sign in (1, -1)]
            up, down = (chain.at(end).moments(2, rewards)[j] for end in ends)
            close(grad[j, p], (up - down) / (2 * step), 2e-9)


@kinds
def test_epochs_that_never_meet_the_trap_with_rewards(discrete):
    """In the second epoch 3 is never left, but the process is past it, or in a trap without reward; 2 is left at rate 1/4."""
    edges = {(1, 2): (0.5, 0), (2, 0): (0.25, None), (1, 3): (0.25, 1), (3, 0): (0.25, 2), (4, 1): (0.5, 0)}
    chain = TrapChain(4, discrete, edges, 3)
    model = chain.graph().model()
    past = model.epochs([0, 3])
    r = by_vertex(model, {1: 0, 2: 1, 3: 1, 4: 0})
    # 3 is not entered in the first epoch; in the second nothing is left but 2, so 1 and 4 are traps without reward.
    theta = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    moments = past.moments(theta, 2, r)
    variance = past.variance(theta, r)
    assert math.isfinite(variance)
    assert variance == pytest.approx(moments[1] - moments[0] ** 2, rel=1e-9)
    # Y is Z with the probability that 2 was entered, Z geometric or exponential of mean 4, and that is known from the mean.
    entered = moments[0] / 4
    assert 0 < entered < 1
    second = 4 * 4 * 2 - (4 if discrete else 0)
    assert variance == pytest.approx(entered * second - (4 * entered) ** 2, rel=1e-9)
    with pytest.raises(InfiniteExpectationError, match=r"state \(3\) .* its reward is earned for ever"):
        past.variance([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]], r)


@kinds
def test_the_graph_alone_draws_as_the_elimination_does(discrete):
    """Where absorption is certain, no elimination is made; where it is not, one is made, and no draw goes round for ever."""
    for seed in range(8):
        chain = random_chain(seed, discrete)
        eliminated = chain.graph().model()
        assert eliminated.dag.plan.is_eliminated
        for theta in ([0.5, 1.0, 0.25], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]):
            alone = chain.graph().model()
            assert not alone._plan.is_eliminated
            draws = alone.sample([theta, [0.5, 0.5, 0.5]], 3000, seed, max_jumps=100_000)
            assert draws.tobytes() == eliminated.sample([theta, [0.5, 0.5, 0.5]], 3000, seed).tobytes()
            certain = not chain.at(theta).caught
            assert alone._plan.is_eliminated is not certain
            assert np.isfinite(draws[0]).all() or not certain
