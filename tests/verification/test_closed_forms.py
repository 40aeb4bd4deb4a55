"""The engine against closed forms from the literature."""

import math

import mpmath
import numpy as np
import pytest
import scipy  # its parts are imported when they are used
from dense import expm
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import chains, thetas

from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

mpmath.mp.dps = 50


def series(rates, discrete=False):
    """Return a chain that passes through states with these rates (numbers or expressions), one after the other."""
    n = len(rates)
    return Graph(
        lambda s: [((int(s[0]) - 1,), rates[n - int(s[0])])] if s[0] else [], ipv=[([n], 1)], discrete=discrete
    ).model()


# --- sums of exponentials --------------------


@pytest.mark.parametrize("n", [1, 2, 7, 60])
@pytest.mark.parametrize("rate", [1e-6, 0.3, 2.0, 1e7])
def test_erlang(n, rate):
    model = series([params("rate")] * n)
    theta = [rate]
    for k, value in enumerate(model.moments(theta, 6), 1):
        assert value == pytest.approx(math.prod(range(n, n + k)) / rate**k, rel=1e-13)
    assert model.variance(theta) == pytest.approx(n / rate**2, rel=1e-13)
    times = np.array([1e-3, 0.1, 0.5, 1.0, 2.0, 5.0]) * n / rate
    with mpmath.workdps(60):
        for t in times:
            x = mpmath.mpf(rate) * mpmath.mpf(t)
            pdf = float(rate * mpmath.exp(-x) * x ** (n - 1) / mpmath.factorial(n - 1))
            sf = float(mpmath.gammainc(n, x, mpmath.inf, regularized=True))
            cdf = float(mpmath.gammainc(n, 0, x, regularized=True))
            assert model.pdf(theta, t) == pytest.approx(pdf, rel=1e-12)
            assert model.sf(theta, t) == pytest.approx(sf, rel=1e-12)
            assert model.cdf(theta, t) == pytest.approx(cdf, rel=1e-12)


def hypoexponential(rates, t):
    """Return pdf and sf of a sum of exponentials with distinct rates, by partial fractions in high precision."""
    exact = [mpmath.mpf(r) for r in rates]
    # The terms alternate in sign and may exceed the sum by many orders.
    with mpmath.workdps(400):
        weights = [mpmath.fprod(b / (b - a) for b in exact if b != a) for a in exact]
        pdf = mpmath.fsum(w * a * mpmath.exp(-a * mpmath.mpf(t)) for w, a in zip(weights, exact, strict=True))
        sf = mpmath.fsum(w * mpmath.exp(-a * mpmath.mpf(t)) for w, a in zip(weights, exact, strict=True))
        return float(pdf), float(sf)


@settings(max_examples=50)
@given(st.lists(st.floats(0.05, 20.0), min_size=1, max_size=12, unique=True), st.floats(0.01, 30.0))
def test_hypoexponential(rates, t):
    model = series(rates)
    pdf, sf = hypoexponential(rates, t)
    assert model.pdf([], t) == pytest.approx(pdf, rel=1e-11, abs=1e-250)
    assert model.sf([], t) == pytest.approx(sf, rel=1e-11, abs=1e-250)
    assert model.expectation([]) == pytest.approx(math.fsum(1 / r for r in rates), rel=1e-14)
    assert model.variance([]) == pytest.approx(math.fsum(1 / r**2 for r in rates), rel=1e-13)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.floats(0.1, 9.0), st.floats(0.05, 0.95)), min_size=1, max_size=7, unique_by=lambda x: x[0]),
    st.floats(0.01, 8.0),
)
def test_coxian(stages, t):
    rates, on = [s[0] for s in stages], [s[1] for s in stages]
    n = len(stages)

    def callback(state):
        i = int(state[0])
        if i == n:
            return []
        if i == n - 1:
            return [((n,), rates[i])]
        return [((i + 1,), rates[i] * on[i]), ((n,), rates[i] * (1 - on[i]))]

    model = Graph(callback, ipv=[0]).model()
    # Leaving after stage i makes the time a sum of the first i exponentials.
    leave = [math.prod(on[:i]) * (1 - on[i] if i < n - 1 else 1.0) for i in range(n)]
    parts = [hypoexponential(rates[: i + 1], t) for i in range(n)]
    assert model.pdf([], t) == pytest.approx(sum(w * p for w, (p, _) in zip(leave, parts, strict=True)), rel=1e-11)
    assert model.sf([], t) == pytest.approx(sum(w * s for w, (_, s) in zip(leave, parts, strict=True)), rel=1e-11)
    means = np.cumsum([1 / r for r in rates])
    assert model.expectation([]) == pytest.approx(float(np.dot(leave, means)), rel=1e-13)


# --- queues --------------------


@pytest.mark.parametrize(("arrival", "service"), [(0.5, 1.0), (2.0, 3.0), (1.0, 10.0)])
def test_busy_period_of_mm1(arrival, service):
    # Truncated where the queue practically never gets: the chance to exceed 400 is below (arrival/service)^400.
    up, down = params("arrival", "service")

    def callback(state):
        n = int(state[0])
        if n == 0:
            return []
        return [((n - 1,), down), *([((n + 1,), up)] if n < 400 else [])]

    model = Graph(callback, ipv=[1]).model()
    theta = [arrival, service]
    rho = arrival / service
    assert model.expectation(theta) == pytest.approx(1 / (service - arrival), rel=1e-12)
    assert model.moments(theta, 2)[1] == pytest.approx(2 / (service**2 * (1 - rho) ** 3), rel=1e-12)
    assert model.variance(theta) == pytest.approx((1 + rho) / (service**2 * (1 - rho) ** 3), rel=1e-12)
    # Density by Takács: exp(-(λ+μ)t) I₁(2t√(λμ)) / (t√ρ); ive is I₁ without its growth.
    for t in (0.01, 0.5, 1.0, 7.0, 30.0):
        root = math.sqrt(arrival * service)
        with mpmath.workdps(40):
            truth = mpmath.exp(-(arrival + service) * mpmath.mpf(t)) * mpmath.besseli(1, 2 * root * t)
            truth /= t * mpmath.sqrt(mpmath.mpf(arrival) / service)
        assert model.pdf(theta, t) == pytest.approx(float(truth), rel=1e-11)


# --- coalescents --------------------


@pytest.mark.parametrize("n", [2, 3, 10, 100])
def test_kingman(n):
    def callback(state, n):
        if len(state) == 0:
            return [([n], 1.0, [1.0])]
        k = int(state[0])
        return [((k - 1,), 0.0, [k * (k - 1) / 2])] if k > 1 else []

    model = Graph(callback, n=n).model()
    for rate in (1.0, 0.125):
        assert model.expectation([rate]) == pytest.approx(2 * (1 - 1 / n) / rate, rel=1e-13)
        variance = math.fsum((2 / (k * (k - 1))) ** 2 for k in range(2, n + 1)) / rate**2
        assert model.variance([rate]) == pytest.approx(variance, rel=1e-13)
        # Total branch length: mean 2 Σ 1/i, variance 4 Σ 1/i².
        length = model.states[:, 0]
        assert model.expectation([rate], length) == pytest.approx(
            2 * math.fsum(1 / i for i in range(1, n)) / rate, rel=1e-13
        )
        assert model.variance([rate], length) == pytest.approx(
            4 * math.fsum(1 / i**2 for i in range(1, n)) / rate**2, rel=1e-13
        )
    if n <= 10:
        rates = [k * (k - 1) / 2 for k in range(n, 1, -1)]
        for t in (0.01, 0.3, 1.0, 4.0, 40.0):
            pdf, sf = hypoexponential(rates, t)
            assert model.pdf([1.0], t) == pytest.approx(pdf, rel=1e-11)
            assert model.sf([1.0], t) == pytest.approx(sf, rel=1e-11)


@pytest.mark.parametrize("migration", [1e-6, 0.05, 1.0, 300.0])
def test_two_islands(migration):
    coal, mig = params("coal", "mig")

    def callback(state):
        together, apart = state.tolist()
        if together:
            return [((0, 0), coal), ((0, 1), 2 * mig)]
        return [((1, 0), 2 * mig)] if apart else []

    within = Graph(callback, ipv=[1, 0]).model()
    between = Graph(callback, ipv=[0, 1]).model()
    theta = [1.0, migration]
    # Two lineages on one island coalesce after 2 in the mean, whatever the migration (Strobeck 1987).
    assert within.expectation(theta) == pytest.approx(2.0, rel=1e-13)
    assert between.expectation(theta) == pytest.approx(2 + 1 / (2 * migration), rel=1e-13)
    assert within.moments(theta, 2)[1] == pytest.approx(8 + 1 / migration, rel=1e-13)
    assert within.variance(theta) == pytest.approx(4 + 1 / migration, rel=1e-13)
    _, gradient = within.moments_and_grad(theta, 2)
    assert gradient[0] == pytest.approx([-2.0, 0.0], rel=1e-12, abs=1e-12 / migration)
    assert gradient[1, 1] == pytest.approx(-1 / migration**2, rel=1e-9)


# --- discrete time --------------------


@pytest.mark.parametrize("p", [1e-9, 0.01, 0.5, 1.0])
def test_geometric(p):
    model = series([params("p")], discrete=True)
    assert model.expectation([p]) == pytest.approx(1 / p, rel=1e-14)
    assert model.variance([p]) == pytest.approx((1 - p) / p**2, rel=1e-13)
    third = (p * p - 6 * p + 6) / p**3
    assert model.moments([p], 3)[2] == pytest.approx(third, rel=1e-13)
    for k in (0, 1, 2, 10, 1000):
        assert model.pdf([p], k) == pytest.approx(p * (1 - p) ** (k - 1) if k else 0.0, rel=1e-11)
        assert model.sf([p], k) == pytest.approx(math.exp(k * math.log1p(-p)) if p < 1 else float(k == 0), rel=1e-11)


@pytest.mark.parametrize(("n", "p"), [(2, 0.3), (5, 0.9), (20, 0.02)])
def test_negative_binomial(n, p):
    model = series([p] * n, discrete=True)
    truth = scipy.stats.nbinom(n, p)
    steps = np.arange(0, 6 * int(n / p))
    assert model.pdf([], steps) == pytest.approx(truth.pmf(steps - n), rel=1e-9, abs=1e-280)
    assert model.expectation([]) == pytest.approx(n / p, rel=1e-13)
    assert model.variance([]) == pytest.approx(n * (1 - p) / p**2, rel=1e-13)


def test_coupon_collector():
    n = 30
    model = Graph(lambda s: [((int(s[0]) + 1,), 1 - s[0] / n)] if s[0] < n else [], ipv=[0], discrete=True).model()
    assert model.expectation([]) == pytest.approx(n * math.fsum(1 / i for i in range(1, n + 1)), rel=1e-13)
    variance = math.fsum((1 - i / n) / (i / n) ** 2 for i in range(1, n + 1))
    assert model.variance([]) == pytest.approx(variance, rel=1e-13)
    # The chance to have all after t draws, by inclusion and exclusion.
    for t in (30, 50, 100, 300):
        with mpmath.workdps(60):
            cdf = mpmath.fsum((-1) ** k * mpmath.binomial(n, k) * (1 - mpmath.mpf(k) / n) ** t for k in range(n + 1))
        assert model.cdf([], t) == pytest.approx(float(cdf), rel=1e-11)


def test_gamblers_ruin():
    # Duration of play from z with fair coins and bounds 0 and N: z (N - z).
    bound = 50
    fair = Graph(
        lambda s: [((s[0] - 1,), 0.5), ((s[0] + 1,), 0.5)] if 0 < s[0] < bound else [], ipv=[20], discrete=True
    ).model()
    assert fair.expectation([]) == pytest.approx(20 * 30, rel=1e-12)


# --- matrix exponential --------------------


@settings(max_examples=100)
@given(chains(n_params=2), thetas(2), st.floats(0.01, 20.0))
def test_matrix_exponential(chain, theta, t):
    alpha, matrix, _ = chain.dense(theta)
    model = chain.graph().model()
    power = expm(matrix * t)
    ones = np.ones(len(alpha))
    scale = max(1.0, abs(matrix).max())
    assert model.sf(theta, t) == pytest.approx(alpha @ power @ ones, abs=1e-11)
    assert model.pdf(theta, t) == pytest.approx(-alpha @ power @ matrix @ ones, abs=1e-10 * scale)
