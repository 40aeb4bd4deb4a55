"""Piecewise-constant parameters: against products of matrix exponentials, quadrature and closed forms."""

import copy
import math
import multiprocessing
import pickle

import mpmath
import numpy as np
import pytest
import scipy  # its parts are imported when they are used
from dense import expm
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import chains, thetas

from phasic_models.errors import InfiniteExpectationError, NumericalError, ParameterError
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

RATE = params("rate")


def stages(n, discrete=False):
    return Graph(
        lambda s: [((int(s[0]) - 1,), RATE)] if s[0] else [], ipv=[n], discrete=discrete, param_names=["rate"]
    ).model()


def coalescent(n):
    return Graph(
        lambda s: [((int(s[0]) - 1,), s[0] * (s[0] - 1) / 2 * RATE)] if s[0] > 1 else [], ipv=[n], param_names=["rate"]
    ).model()


durations = st.lists(st.floats(0.01, 5.0), max_size=3)
histories = st.lists(thetas(2), min_size=4, max_size=4)


def starts_of(lengths):
    return np.concatenate([[0.0], np.cumsum(lengths)])


def carried(chain, theta, starts, t, right=True):
    """The state at time t, and the matrix of the epoch that holds from then on."""
    here, matrix, _ = chain.dense(theta[0])
    for k, start in enumerate(starts):
        _, matrix, _ = chain.dense(theta[k])
        end = starts[k + 1] if k + 1 < len(starts) else math.inf
        stop = min(t, end)
        here = here @ expm(matrix * (stop - start))
        if t < end or (t == end and not right):
            break
    return here, matrix


@settings(max_examples=40)
@given(chains(n_params=2, max_transient=5), histories, durations, st.lists(st.floats(0.0, 20.0), max_size=4))
def test_products_of_matrix_exponentials(chain, theta, lengths, times):
    starts, theta = starts_of(lengths), theta[: len(lengths) + 1]
    past = chain.graph().model().epochs(starts)
    times = np.array([*times, *starts])
    pdf, cdf, sf = past.pdf(theta, times), past.cdf(theta, times), past.sf(theta, times)
    assert past(theta, times).tolist() == pdf.tolist()
    for i, t in enumerate(times):
        here, matrix = carried(chain, theta, starts, t)
        assert sf[i] == pytest.approx(here.sum(), abs=1e-12)
        assert cdf[i] == pytest.approx(1 - here.sum(), abs=1e-12)
        assert pdf[i] == pytest.approx(-here @ matrix.sum(axis=1), abs=1e-11 * max(1.0, abs(matrix).max(initial=0.0)))


@settings(max_examples=25)
@given(chains(n_params=2, max_transient=4), histories, durations, st.integers(0, 2**32))
def test_moments_by_quadrature(chain, theta, lengths, seed):
    """E[Y] and E[Y²] by integrals over the state at each time, with rewards that may be zero."""
    starts, theta = starts_of(lengths), theta[: len(lengths) + 1]
    model = chain.graph().model()
    rewards = np.random.default_rng(seed).choice([0.0, 1.0, 0.25, 3.0], size=model.states.shape[0])
    states = chain.dense(theta[0])[2]
    by_state = np.array([rewards[model.graph.vertex_of(s)] for s in states])
    n = len(states)
    if n == 0:
        return
    # E_v[Y from t on], backwards: what is left after the last epoch is a linear solve.
    later = np.linalg.solve(-chain.dense(theta[-1])[1], by_state)
    second = np.linalg.solve(-chain.dense(theta[-1])[1], 2 * by_state * later)
    for k in reversed(range(len(lengths))):
        matrix = chain.dense(theta[k])[1]

        def slope(_, y, matrix=matrix):
            return np.concatenate([matrix @ y[:n] + by_state, matrix @ y[n:] + 2 * by_state * y[:n]])

        solved = scipy.integrate.solve_ivp(
            slope, (0, lengths[k]), np.concatenate([later, second]), method="Radau", rtol=1e-9, atol=1e-12
        )
        later, second = solved.y[:n, -1], solved.y[n:, -1]
    alpha = chain.dense(theta[0])[0]
    got = model.epochs(starts).moments(theta, 2, rewards)
    assert got == pytest.approx([alpha @ later, alpha @ second], rel=1e-6, abs=1e-9)


@settings(max_examples=25)
@given(chains(n_params=2, max_transient=5), thetas(2), durations)
def test_epochs_that_change_nothing(chain, theta, lengths):
    model = chain.graph().model()
    past = model.epochs(starts_of(lengths))
    same = [theta] * (len(lengths) + 1)
    times = np.array([0.0, 0.3, 2.0, 11.0])
    for name in ("pdf", "cdf", "sf"):
        assert getattr(past, name)(same, times) == pytest.approx(
            getattr(model, name)(theta, times), rel=1e-10, abs=1e-250
        )
    assert past.moments(same, 3) == pytest.approx(model.moments(theta, 3), rel=1e-12)
    assert past.expectation(same) == pytest.approx(model.expectation(theta), rel=1e-12)
    assert past.variance(same) == pytest.approx(model.variance(theta), rel=1e-9, abs=1e-12)


@settings(max_examples=25)
@given(
    chains(n_params=1, discrete=True, max_transient=5),
    st.lists(thetas(1), min_size=3, max_size=3),
    st.integers(1, 9),
    st.integers(1, 9),
)
def test_discrete_matrix_powers(chain, theta, first, second):
    starts = np.array([0.0, first, first + second])
    past = chain.graph().model().epochs(starts)
    steps = np.arange(first + second + 12)
    pmf, cdf, sf = past.pdf(theta, steps), past.cdf(theta, steps), past.sf(theta, steps)
    here = chain.dense(theta[0])[0]
    assert pmf[0] == pytest.approx(1 - here.sum(), abs=1e-15)
    for k in steps:
        assert sf[k] == pytest.approx(here.sum(), rel=1e-11, abs=1e-14)
        assert cdf[k] == pytest.approx(1 - here.sum(), abs=1e-12)
        matrix = chain.dense(theta[int(np.searchsorted(starts, k, side="right")) - 1])[1]
        after = here @ matrix
        if k + 1 < len(steps):
            assert pmf[k + 1] == pytest.approx(here.sum() - after.sum(), abs=1e-14)
        here = after
    direct = np.arange(1, 20_000)
    mass = past.pdf(theta, direct)
    if past.sf(theta, 20_000.0) < 1e-13:
        assert past.moments(theta, 2) == pytest.approx([mass @ direct, mass @ direct**2], rel=1e-6)


# --- population sizes -----------------


def cumulative(t, starts, rates):
    """Integral of a piecewise-constant rate."""
    ends = [*starts[1:], math.inf]
    return math.fsum(r * max(0.0, min(t, b) - a) for r, a, b in zip(rates, starts, ends, strict=True))


@pytest.mark.parametrize(
    ("starts", "sizes"),
    [
        ([0.0, 0.5], [1.0, 0.1]),
        ([0.0, 0.01, 0.3, 2.0], [20.0, 0.05, 3.0, 1.0]),
        ([0.0, 1e-6, 100.0], [1e-3, 1e3, 1.0]),
        ([0.0, 30.0], [1.0, 1e6]),
    ],
)
def test_two_lineages(starts, sizes):
    """The time to coalescence has the hazard 1 / N(t)."""
    past = coalescent(2).epochs(starts)
    rates = 1 / np.array(sizes)
    theta = rates[:, None]
    times = np.array([*starts, 1e-7, 0.2, 0.7, 5.0, 40.0, 300.0])
    hazard = rates[np.searchsorted(starts, times, side="right") - 1]
    survival = np.array([math.exp(-cumulative(t, starts, rates)) for t in times])
    assert past.sf(theta, times) == pytest.approx(survival, rel=1e-12)
    assert past.pdf(theta, times) == pytest.approx(hazard * survival, rel=1e-12)
    cdf = np.array([-math.expm1(-cumulative(t, starts, rates)) for t in times])
    assert past.cdf(theta, times) == pytest.approx(cdf, rel=1e-12)
    # E[T^k] = k times the integral of t^(k-1) sf(t), epoch by epoch in closed form.
    with mpmath.workdps(40):
        moments = []
        for k in (1, 2, 3):
            total, before = mpmath.mpf(0), mpmath.mpf(0)
            for a, b, r in zip(starts, [*starts[1:], mpmath.inf], rates, strict=True):
                a, r = mpmath.mpf(a), mpmath.mpf(r)
                up = mpmath.gammainc(k, r * a, r * b) if b != mpmath.inf else mpmath.gammainc(k, r * a)
                total += k * mpmath.exp(r * a - before) * up / r**k
                before += r * (b - a)
            moments.append(float(total))
    assert past.moments(theta, 3) == pytest.approx(moments, rel=1e-11)


def test_time_without_movement_is_time():
    """In the first epoch nothing moves; what is earned there is earned all the same."""
    past = stages(1).epochs([0.0, 1.0, 2.0])
    theta = [[0.0], [2.0], [1.0]]
    second = -math.expm1(-2) / 2
    assert past.expectation(theta) == pytest.approx(1 + second + math.exp(-2), rel=1e-14)
    assert past.sf(theta, [0.5, 1.0, 1.5]) == pytest.approx([1.0, 1.0, math.exp(-1)], rel=1e-13)
    assert past.pdf(theta, [0.5, 1.0]).tolist() == [0.0, pytest.approx(2.0)]


@pytest.mark.parametrize("rate", [0.0, 5e-324, 1e-310, 1e-200, 1e-100, 1e-30, 1e-8])
@pytest.mark.parametrize("duration", [1e-9, 1.0, 1e9])
def test_chains_that_hardly_move(rate, duration):
    """Moments of a shifted exponential: the rate before the shift is next to nothing."""
    past = stages(1).epochs([0.0, duration])
    theta = [[rate * min(1.0, 1e-9 / duration)], [1 / duration]]
    raw = [math.fsum(math.comb(k, i) * math.factorial(i) for i in range(k + 1)) for k in range(1, 9)]
    expected = [value * duration**k for k, value in enumerate(raw, 1)]
    assert past.moments(theta, 8) == pytest.approx(expected, rel=1e-12 + 3 * rate * 1e-9)


def test_a_long_time_without_absorption_does_not_hide_the_variance():
    """All paths wait alike, however long, and then spread by one."""
    for shift in (1e3, 1e6, 1e12, 1e100):
        assert stages(1).epochs([0.0, shift]).variance([[0.0], [1.0]]) == pytest.approx(1.0, rel=1e-12)


def test_two_populations_that_were_one():
    """One line in each of two populations for three million generations, then one of 50: the variance is that of 50."""

    def lines(state):
        if len(state) == 0:
            return [([1, 1], 1.0, [0.0, 0.0])]
        if list(state) == [1, 1]:
            return [([2, 0], 0.0, [0.0, 1.0])]
        return [([1, 0], 0.0, [1.0, 0.0])] if list(state) == [2, 0] else []

    past = Graph(lines).model().epochs([0.0, 3e6])
    assert past.variance([[1 / 50, 0.0], [1 / 50, 1e6]]) == pytest.approx(2500 + 1e-12, rel=1e-12)


def test_variance_of_rewards_that_differ_before_a_long_wait():
    """A coin sends half of the paths where they earn twice as much; exact by conditioning on the coin."""

    def coin(state):
        if len(state) == 0:
            return [([1], 0.5, [0.0]), ([2], 0.5, [0.0])]
        return [([0], 0.0, [1.0])] if state[0] in (1, 2) else []

    model = Graph(coin).model()
    rewards = np.where(model.states[:, 0] == 2, 2.0, 1.0)
    rewards[0] = 0.0
    wait, rate = 1e4, 0.5
    # Y = r (wait + Exp(rate)), r = 1 or 2: E Var = 2.5 / rate^2, Var E = (wait + 1 / rate)^2 / 4.
    exact = 2.5 / rate**2 + (wait + 1 / rate) ** 2 / 4
    assert model.epochs([0.0, wait]).variance([[0.0], [rate]], rewards) == pytest.approx(exact, rel=1e-13)


def test_many_epochs_follow_a_smooth_change():
    """Exponential growth in a thousand steps, and its limit: the integral of the hazard at mid-points."""
    starts = np.arange(1000) * 0.003
    rates = np.exp(starts + 0.0015)
    past = coalescent(2).epochs(starts)
    for t in (0.3, 1.5, 2.7):
        assert past.sf(rates[:, None], t) == pytest.approx(math.exp(-math.expm1(t)), rel=1e-5)


def test_branch_lengths_in_a_bottleneck():
    """The total length is a sum over lineages; its mean is the sum of sojourns times the number of lineages."""
    model = coalescent(4)
    past = model.epochs([0.0, 0.2, 0.4])
    theta = [[1.0], [25.0], [0.5]]
    lineages = model.states[:, 0].astype(float)
    parts = [past.expectation(theta, (lineages == k).astype(float)) for k in (2, 3, 4)]
    assert past.expectation(theta, lineages) == pytest.approx(2 * parts[0] + 3 * parts[1] + 4 * parts[2], rel=1e-13)
    assert past.expectation(theta) == pytest.approx(sum(parts), rel=1e-13)
    assert past.expectation(theta, np.zeros(len(lineages))) == 0.0
    assert past.variance(theta, np.zeros(len(lineages))) == 0.0
    # Rewards of absorbing states and of the start count for nothing.
    spoilt = lineages + 100.0 * (np.diff(model.graph.edge_ptr) == 0)
    spoilt[0] = 7.0
    assert past.moments(theta, 3, spoilt).tolist() == past.moments(theta, 3, lineages).tolist()


def test_discrete_closed_form():
    """Never in the first three steps, then geometric."""
    past = stages(1, discrete=True).epochs([0.0, 3.0])
    theta = [[0.0], [0.25]]
    assert past.pdf(theta, np.arange(6)).tolist() == [0.0, 0.0, 0.0, 0.0, 0.25, 0.1875]
    assert past.expectation(theta) == pytest.approx(7.0, rel=1e-14)
    assert past.variance(theta) == pytest.approx(12.0, rel=1e-12)


def test_a_mass_at_zero():
    model = Graph(
        lambda s: [((0,), RATE)] if s[0] else [], ipv=[((0,), 0.25), ((1,), 0.75)], param_names=["rate"]
    ).model()
    past = model.epochs([0.0, 1.0])
    theta = [[1.0], [2.0]]
    assert past.cdf(theta, [0.0]) == pytest.approx([0.25], rel=1e-15)
    assert past.expectation(theta) == pytest.approx(0.75 * (-math.expm1(-1) + math.exp(-1) / 2), rel=1e-13)


# --- shapes and errors -----------------


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 2), (0, 3)])
def test_shapes(shape):
    past = stages(2).epochs([0.0, 1.0])
    one, batch = np.ones((2, 1)), np.ones((5, 2, 1))
    times = np.full(shape, 0.5)
    for evaluate in (past, past.pdf, past.cdf, past.sf):
        assert evaluate(one, times).shape == shape
        assert evaluate(batch, times).shape == (5, *shape)
        assert evaluate(batch[:0], times).shape == (0, *shape)


def test_shapes_of_moments():
    past = stages(2).epochs([0.0, 1.0])
    rng = np.random.default_rng(0)
    batch = 0.5 + rng.random((3, 2, 1))
    assert isinstance(past.expectation(batch[0]), float)
    assert isinstance(past.variance(batch[0]), float)
    assert past.moments(batch[:0], 4).shape == (0, 4)
    assert past.expectation(batch[:0]).shape == (0,)
    together = past.moments(batch, 4)
    assert together.tolist() == [past.moments(theta, 4).tolist() for theta in batch]
    assert past.expectation(batch).tolist() == together[:, 0].tolist()
    assert past.variance(batch).tolist() == [past.variance(theta) for theta in batch]


@pytest.mark.parametrize("starts", [[], [1.0], [0.0, 0.0], [0.0, 2.0, 1.0], [0.0, np.nan], [0.0, np.inf], 0.0, [[0.0]]])
def test_starts_that_do_not_ascend_from_zero(starts):
    with pytest.raises(ParameterError, match="starts must ascend from 0, one time for each epoch"):
        stages(1).epochs(starts)


def test_starts_between_steps():
    with pytest.raises(ParameterError, match="epochs of a discrete model begin at whole steps"):
        stages(1, discrete=True).epochs([0.0, 1.5])


@pytest.mark.parametrize("shape", [(2,), (1, 1), (3, 1), (2, 2), (4, 3, 1), (2, 2, 2, 1), (), (0,)])
def test_theta_of_another_shape(shape):
    past = stages(1).epochs([0.0, 1.0])
    for call in (lambda theta: past.pdf(theta, 1.0), past.expectation):
        with pytest.raises(ParameterError, match=r"theta must have shape \(2, 1\) or \(batch, 2, 1\)"):
            call(np.ones(shape))


def test_theta_out_of_range_in_any_epoch():
    past = stages(1).epochs([0.0, 1.0, 2.0])
    with pytest.raises(ParameterError, match=r"theta\[1, 0\] \(rate\) is nan; it must be finite"):
        past.pdf([[1.0], [np.nan], [1.0]], [0.5])
    # Also where no asked time lies in that epoch.
    for call in (lambda theta: past.pdf(theta, [0.5]), past.expectation):
        with pytest.raises(ParameterError, match=r"negative, -1.0 at theta\[2\] = \[-1.\]"):
            call([[1.0], [1.0], [-1.0]])


@pytest.mark.parametrize("k", [0, -1, 65, 1.5, None])
def test_number_of_moments(k):
    with pytest.raises(ParameterError, match="k must be an integer from 1 to 64"):
        stages(1).epochs([0.0]).moments([[1.0]], k)


@pytest.mark.parametrize(
    ("rewards", "message"),
    [([1.0], "one per vertex"), ([0.0, 1.0, -1.0], r"rewards\[2\] is -1.0"), (np.ones((2, 3)), "one vector")],
)
def test_rewards_out_of_range(rewards, message):
    past = stages(1).epochs([0.0, 1.0])
    for call in (past.expectation, past.variance, lambda theta, r: past.moments(theta, 2, r)):
        with pytest.raises(ParameterError, match=message):
            call([[1.0], [2.0]], rewards)


@pytest.mark.parametrize("name", ["pdf", "cdf", "sf"])
def test_times_and_options_out_of_range(name):
    evaluate = getattr(stages(1).epochs([0.0, 1.0]), name)
    theta = [[1.0], [2.0]]
    for times, message in (([1.0, -1.0], r"times\[1\] is -1.0"), (np.nan, "the time is nan"), ("soon", "times")):
        with pytest.raises(ParameterError, match=message):
            evaluate(theta, times)
    with pytest.raises(ParameterError, match="tol must lie between"):
        evaluate(theta, 1.0, tol=0.5)
    with pytest.raises(ParameterError, match="max_steps must be an integer"):
        evaluate(theta, 1.0, max_steps=0)
    with pytest.raises(NumericalError, match=r"would need .* steps at theta = \[1000.\], more than max_steps"):
        evaluate([[1000.0], [1.0]], 3.0, max_steps=10)


@pytest.mark.parametrize("method", ["expectation", "variance", "moments"])
def test_every_moment_keeps_to_the_limit_on_steps(method):
    rate = params("rate")
    past = Graph(lambda s: [((0,), rate)] if s[0] else [], ipv=[1], param_names=["rate"]).model().epochs([0.0, 3.0])
    ask = {
        "expectation": past.expectation,
        "variance": past.variance,
        "moments": lambda theta, **options: past.moments(theta, 2, **options),
    }[method]
    with pytest.raises(NumericalError, match="more than max_steps"):
        ask([[1000.0], [1.0]], max_steps=10)


def test_absorption_that_is_not_certain_in_the_end():
    past = stages(1).epochs([0.0, 1.0])
    with pytest.raises(InfiniteExpectationError, match=r"state \(1\) is reached and never left for good"):
        past.expectation([[1.0], [0.0]])
    # The distribution has a meaning there.
    assert past.sf([[1.0], [0.0]], [1e9]) == pytest.approx([math.exp(-1)], rel=1e-12)


def test_stiff_epochs():
    """An epoch of 10⁹ jumps, which uniformization refuses, is crossed by repeated squaring."""
    model = repairable_pair().model()
    theta, other = [1e-5, 1.0], [2e-5, 1.0]
    long = model.epochs([0.0, 1e9])
    times = np.array([5e8, 1e9, 1.5e9, 4e9, 2e10])
    for name in ("pdf", "cdf", "sf"):
        assert getattr(long, name)([theta, theta], times) == pytest.approx(getattr(model, name)(theta, times), rel=1e-9)
    # Components are repaired at once, so after the change the chain has forgotten all but that it is not absorbed.
    after = long.sf([theta, other], times[3:]) / long.sf([theta, other], times[1])
    assert after == pytest.approx(model.sf(other, times[3:] - times[1]), rel=1e-4)


def test_an_epoch_long_after_everything_is_absorbed():
    model = Graph(lambda state: [([1], 2.0)] if state[0] == 0 else [], ipv=[([0], 1.0)]).model()
    long = model.epochs([0.0, 1e9])
    assert long.moments([[], []], 3) == pytest.approx([0.5, 0.5, 0.75], rel=1e-12)
    assert long.cdf([[], []], [1.0, 2e9]) == pytest.approx([-math.expm1(-2.0), 1.0], rel=1e-12)
    steps = Graph(lambda state: [([1], 0.5)] if state[0] == 0 else [], ipv=[([0], 1.0)], discrete=True).model()
    assert steps.epochs([0, 10**9]).moments([[], []], 2) == pytest.approx([2.0, 6.0], rel=1e-12)


def repairable_pair():
    """Two components that fail and are repaired, until both are down; theta is (failure, repair)."""

    def moves(state):
        (up,) = (int(entry) for entry in state)
        if up == 0:
            return []
        out = [([up - 1], [float(up), 0.0])]
        return [*out, ([up + 1], [0.0, 2.0 - up])] if up < 2 else out

    return Graph(moves, ipv=[([2], 1.0)], param_names=["failure", "repair"])


def two_rates():
    a, b = params("a", "b")
    return Graph.from_arrays([[2], [1], [0]], [0, 1], [1, 2], [a, b], initial=0).model()


def test_epochs_travel():
    """As a pickle, as a copy and into a process that was spawned: the same numbers, bit for bit."""
    past = two_rates().epochs([0.0, 1.0])
    theta, times = [[0.5, 2.0], [1.0, 3.0]], [0.5, 2.0]
    expected = past.pdf(theta, times).tolist()
    rates = [0.5, 2.0]
    # Before the first change the density is that of two rates in a row.
    closed = rates[0] * rates[1] / (rates[1] - rates[0]) * (math.exp(-0.25) - math.exp(-1.0))
    assert expected[0] == pytest.approx(closed, rel=1e-12)
    for other in (pickle.loads(pickle.dumps(past)), copy.copy(past), copy.deepcopy(past)):
        assert other.pdf(theta, times).tolist() == expected
        assert other.moments(theta, 2).tolist() == past.moments(theta, 2).tolist()
        assert other.starts.tolist() == [0.0, 1.0]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(past.pdf, (theta, times)).tolist() == expected
