"""Repeated squaring: against closed forms in high precision, against uniformization, and where it has to give up."""

import math

import mpmath
import numpy as np
import pytest
from dense import expm
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import any_chains, chains, thetas

from phasic_models.errors import NumericalError
from phasic_models.evaluation import squaring
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

NAMES = ("pdf", "cdf", "sf")


def squared(model, times, theta=()):
    batch = np.array([theta], dtype=float).reshape(1, -1)
    chain = squaring.TransientChain(model.graph, model.dag.plan.edge_weights(batch)[0])
    rate = float(model.dag.plan.rate(batch)[0])
    return squaring.distribution(chain, np.asarray(times, dtype=float), rate, model.discrete)


def swept(model, times, theta=()):
    batch = np.array([theta], dtype=float).reshape(1, -1)
    values = model.dag.plan.uniformize(batch, np.asarray(times, dtype=float), NAMES, 1e-12, 10**8, 1)
    return {name: value[0] for name, value in values.items()}


def pair(failure, repair):
    """Two units in parallel; the system fails when both are down."""
    return Graph(
        lambda s: {2: [((1,), 2 * failure)], 1: [((2,), repair), ((0,), failure)], 0: []}[int(s[0])], ipv=[2]
    ).model()


def pair_truth(failure, repair, t):
    """Density, distribution and survival function of `pair`, by the two eigenvalues."""
    with mpmath.workdps(120):
        a, b, t = mpmath.mpf(failure), mpmath.mpf(repair), mpmath.mpf(t)
        root = mpmath.sqrt(a * a + 6 * a * b + b * b)
        slow, fast = (3 * a + b - root) / 2, (3 * a + b + root) / 2
        pdf = slow * fast / (fast - slow) * (mpmath.exp(-slow * t) - mpmath.exp(-fast * t))
        sf = (fast * mpmath.exp(-slow * t) - slow * mpmath.exp(-fast * t)) / (fast - slow)
        return float(pdf), float(1 - sf), float(sf)


@pytest.mark.parametrize("failure", [1.0, 1e-2, 1e-4, 1e-6, 1e-12, 1e-30])
def test_rare_failures(failure):
    model = pair(failure, 1.0)
    times = np.concatenate([10.0 ** np.arange(-3, 13), model.expectation([]) * np.array([1e-3, 0.5, 1.0, 30.0])])
    got = squared(model, times)
    for name, values in zip(NAMES, np.array([pair_truth(failure, 1.0, t) for t in times]).T, strict=True):
        # What survives less than 1e-280 is beyond the relative accuracy that is promised.
        assert got[name] == pytest.approx(values, rel=1e-12, abs=1e-292), name


@pytest.mark.parametrize("jumps", [1, 10, 1e3, 1e6, 1e9, 1e12])
@pytest.mark.parametrize("n", [1, 3, 20])
def test_erlang_inside_a_fast_cycle(jumps, n):
    """Phases that flicker between two states at the rate `jumps`; flickering changes nothing."""

    def callback(state):
        left, side = state.tolist()
        return [((left, 1 - side), float(jumps)), ((left - 1, side), 2.0)] if left else []

    model = Graph(callback, ipv=[n, 0]).model()
    times = np.array([0.01, 0.5, 1.0, 2.0, 10.0])
    with mpmath.workdps(40):
        pdf = [float(2 * mpmath.exp(-2 * t) * (2 * mpmath.mpf(t)) ** (n - 1) / mpmath.factorial(n - 1)) for t in times]
        sf = [float(mpmath.gammainc(n, 2 * mpmath.mpf(t), mpmath.inf, regularized=True)) for t in times]
    got = squared(model, times)
    assert got["pdf"] == pytest.approx(pdf, rel=1e-12)
    assert got["sf"] == pytest.approx(sf, rel=1e-12)


@settings(max_examples=60)
@given(
    st.one_of(chains(decades=5.0, max_transient=7), chains(n_params=2, max_transient=7, decades=2.0)),
    thetas(2),
    st.lists(st.floats(-2, 4), min_size=1, max_size=5),
)
def test_agrees_with_uniformization(chain, theta, exponents):
    model, theta = chain.graph().model(), theta[: chain.n_params]
    batch = np.array([theta], dtype=float).reshape(1, -1)
    rate = float(model.dag.plan.rate(batch)[0])
    if rate == 0:
        return
    times = 10.0 ** np.array(exponents) / rate
    one, other = squared(model, times, theta), swept(model, times, theta)
    for name in NAMES:
        assert one[name] == pytest.approx(other[name], rel=1e-12, abs=1e-16 if name == "cdf" else 1e-292), name


@settings(max_examples=60)
@given(chains(discrete=True, max_transient=7), st.lists(st.integers(0, 20_000), min_size=1, max_size=5))
def test_discrete_agrees_with_step_by_step(chain, steps):
    model = chain.graph().model()
    one, other = squared(model, steps), swept(model, steps)
    for name in NAMES:
        assert one[name] == pytest.approx(other[name], rel=1e-12, abs=1e-16 if name == "cdf" else 1e-292), name


@pytest.mark.parametrize("p", [1.0, 0.5, 1e-3, 1e-9, 1e-15])
def test_geometric(p):
    model = Graph(lambda s: [((0,), p)] if s[0] else [], ipv=[1], discrete=True).model()
    steps = np.array([0.0, 1.0, 2.0, 7.0, 1e3, 1e9, 1e15, 2.0**60])
    got = squared(model, steps)
    with mpmath.workdps(60):
        q = 1 - mpmath.mpf(p)
        sf = [float(q**k) for k in steps.astype(int).tolist()]
        pmf = [float(p * q ** (k - 1)) if k else 0.0 for k in steps.astype(int).tolist()]
    assert got["sf"] == pytest.approx(sf, rel=1e-12, abs=1e-292)
    assert got["pdf"] == pytest.approx(pmf, rel=1e-12, abs=1e-292)
    assert got["cdf"] == pytest.approx(1 - np.array(sf), abs=1e-15)


def test_staying_less_likely_than_rounding():
    """The chance to stay is a difference of numbers that are one but for 1e-13."""
    out = 0.9999999999999
    model = Graph(lambda s: [((0,), out / 2), ((-1,), out / 2)] if s[0] > 0 else [], ipv=[1], discrete=True).model()
    got = squared(model, [1.0, 2.0, 9.0])
    stay = 1 - mpmath.mpf(out)
    assert got["sf"] == pytest.approx([float(stay**k) for k in (1, 2, 9)], rel=1e-12, abs=0)


def test_far_from_normal():
    """M/M/1/150 from a full queue: the contour that a prototype tried was off by powers of ten here."""
    model = Graph(
        lambda s: [((int(s[0]) - 1,), 1.0), *([((int(s[0]) + 1,), 0.9)] if s[0] < 150 else [])] if s[0] else [],
        ipv=[150],
    ).model()
    # A density at 1.0 is made of 150 jumps where 2 are expected; squaring follows 13 in a short step.
    times = np.array([50.0, 500.0, 2000.0, 1e4, 2e4])
    one, other = squared(model, times), swept(model, times)
    for name in NAMES:
        assert one[name] == pytest.approx(other[name], rel=1e-12, abs=1e-292), name


@settings(max_examples=40)
@given(any_chains(max_transient=6), thetas(2))
def test_the_dense_chain_is_the_chain(chain, theta):
    theta = theta[: chain.n_params]
    model = chain.graph().model()
    dense = squaring.TransientChain(model.graph, model.dag.plan.edge_weights(np.array([theta]).reshape(1, -1))[0])
    alpha, matrix, states = chain.dense(theta)
    order = [states.index(tuple(s)) for s in model.states[1:].tolist() if tuple(s) in states]
    assert dense.initial == pytest.approx(alpha[order], rel=1e-15)
    assert dense.absorbed == pytest.approx(1 - alpha.sum(), abs=1e-15)
    generator = matrix[np.ix_(order, order)] - (np.eye(len(order)) if chain.discrete else 0)
    largest = 1.0 if chain.discrete else abs(generator).max(initial=0.0)
    assert dense.jump == pytest.approx(generator - np.diag(np.diag(generator)), rel=1e-14, abs=1e-15 * largest)
    assert dense.exit == pytest.approx(-generator.sum(axis=1), rel=1e-12, abs=1e-15 * largest)


@settings(max_examples=40)
@given(chains(max_transient=6), st.floats(0.0, 30.0))
def test_matrix_exponential(chain, t):
    model = chain.graph().model()
    alpha, matrix, _ = chain.dense()
    got = squared(model, [t])
    after = alpha @ expm(matrix * t)
    assert got["sf"][0] == pytest.approx(after.sum(), abs=1e-12)
    assert got["pdf"][0] == pytest.approx(-after @ matrix.sum(axis=1), abs=1e-11 * max(1.0, abs(matrix).max()))


def test_times_at_the_ends():
    model = pair(1e-3, 1.0)
    got = squared(model, [0.0, 5e-324, 1e-300, 1e150, 1e300, 1.7e308])
    assert got["pdf"].tolist() == [0.0, 0.0, pytest.approx(2e-306), 0.0, 0.0, 0.0]
    assert got["sf"].tolist() == [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]
    assert got["cdf"][3:].tolist() == [1.0, 1.0, 1.0]
    nothing = squared(model, [])
    assert nothing.pop("state").shape == (0, model.graph.vertices_length() - 2)
    assert all(values.shape == (0,) for values in nothing.values())


@pytest.mark.parametrize("scale", [1e-290, 1e-100, 1e100, 1e290])
def test_units_of_time_do_not_matter(scale):
    plain, scaled = pair(1e-3, 1.0), pair(1e-3 * scale, scale)
    times = np.array([0.1, 10.0, 1e4, 1e6])
    one, other = squared(plain, times), squared(scaled, times / scale)
    assert other["sf"] == pytest.approx(one["sf"], rel=1e-12)
    assert other["pdf"] / scale == pytest.approx(one["pdf"], rel=1e-12)


def test_a_mass_at_zero():
    model = Graph(lambda s: [((0,), 2.0)] if s[0] else [], ipv=[((0,), 0.25), ((1,), 0.75)]).model()
    got = squared(model, [0.0, 1.0, 1e9])
    assert got["cdf"] == pytest.approx([0.25, 1 - 0.75 * math.exp(-2), 1.0], rel=1e-14)
    assert got["sf"] == pytest.approx([0.75, 0.75 * math.exp(-2), 0.0], rel=1e-13)


def test_absorption_that_is_not_certain():
    door = params("door")
    model = Graph(lambda s: {2: [((1,), 1.0), ((0,), door)], 1: [((0,), door)], 0: []}[int(s[0])], ipv=[2]).model()
    got = squared(model, [1e3, 1e100], theta=[0.0])
    assert got["sf"] == pytest.approx([1.0, 1.0], rel=1e-12)
    got = squared(model, [1e140, 1e300], theta=[0.0])
    assert got["sf"] == pytest.approx([1.0, 1.0], rel=1e-12)
    assert got["cdf"].tolist() == got["pdf"].tolist() == [0.0, 0.0]
    with pytest.raises(NumericalError, match=r"mass is left after 1e\+130 jumps"):
        squared(model, [1e140], theta=[1e-139])
    carried = model.epochs([0.0, 1e140])
    with pytest.raises(
        NumericalError, match=r"mass is left after 1e\+130 jumps, and more are expected in such an epoch"
    ):
        carried.sf([[0.0], [0.0]], 2e140)


def test_a_drift_is_an_error(monkeypatch):
    """Squaring checks itself: matrices that lose mass do not become numbers."""
    right = squaring._product
    monkeypatch.setattr(squaring, "_product", lambda left, other: right(left, other) * (1 - 1e-7))
    with pytest.raises(NumericalError, match="lost accuracy: a row"):
        squared(pair(1e-3, 1.0), [1e5])
    monkeypatch.undo()
    step = squaring.TransientChain.step
    monkeypatch.setattr(squaring.TransientChain, "step", lambda chain, rate: step(chain, rate) * (1 - 1e-7))
    with pytest.raises(NumericalError, match="add up to 1"):
        squared(pair(1e-3, 1.0), [1e5])
