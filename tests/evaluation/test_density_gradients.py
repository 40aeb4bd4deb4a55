"""Derivatives of densities beside others that are larger by many powers of ten: closed forms, and ball arithmetic."""

import numpy as np
import pytest
from test_tails import PROMISE, chain, exact

from phasic_models.errors import NumericalError
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

#: Below this, a derivative only has to be small.
SMALL = 1e-280


def mixture(rates, discrete=False):
    """A mixture of exponential or geometric distributions, of which each has a parameter of its own."""
    names = [f"x{i}" for i in range(len(rates))]

    def callback(state):
        if not len(state):
            return [([i + 1], 1 / len(rates)) for i in range(len(rates))]
        return [([0], params(*names)[int(state[0]) - 1])] if state[0] else []

    return Graph(callback, discrete=discrete).model()


@pytest.mark.parametrize(
    ("rates", "time"),
    [
        ((1e4, 1e-3), 24.0),
        ((1e60, 1e30), 1e-57),
        ((1e3, 2.0, 1e-40), 0.6),
        ((300.0, 1.0), 2.0),
        ((1e-30, 1e-55), 1e31),
    ],
)
def test_a_density_that_is_gone_beside_one_that_is_not(rates, time):
    rates = np.array(rates)
    _, gradient = mixture(rates).pdf_and_grad(rates, time)
    left = np.exp(-rates * time) / len(rates)
    right, terms = (1 - rates * time) * left, (1 + rates * time) * left
    assert (np.abs(gradient - right) <= np.maximum(PROMISE * terms, SMALL)).all()


@pytest.mark.parametrize(("p", "k"), [((0.9375, 2.0**-4), 1049), ((0.5, 2.0**-30), 500), ((1 - 2.0**-40, 0.25), 30)])
def test_the_same_in_steps(p, k):
    p = np.array(p)
    _, gradient = mixture(p, discrete=True).pdf_and_grad(p, float(k))
    left = (1 - p) ** (k - 2.0) / len(p)
    right, terms = (1 - p * k) * left, (1 + p * k) * left
    assert (np.abs(gradient - right) <= np.maximum(PROMISE * terms, SMALL)).all()


def test_a_derivative_that_outlives_the_mass():
    """The slow state is reached with probability x = 0 only; its derivative is larger than the density by 10^400 and more."""
    x = params("x")
    model = Graph(
        lambda s: {2: [((0,), 0.75), ((1,), x)], 1: [((0,), 0.125)], 0: []}[int(s[0])], ipv=[2], discrete=True
    ).model()
    steps = np.array([1.0, 2.0, 10.0, 400.0, 2000.0])
    values, gradients = model.pdf_and_grad([0.0], steps)
    assert values[:3] == pytest.approx(0.75 * 0.25 ** (steps[:3] - 1), rel=1e-13, abs=0)
    # From 2 to 1 in one of k - 1 steps, or less to absorb in each of them because of what goes to 1.
    n = steps[1:] - 1
    slow, fast = 0.875, 0.25
    right = 0.125 * (slow**n - fast**n) / (slow - fast) - 0.75 * n * fast ** (n - 1)
    assert gradients[0, 0] == 0.0
    assert gradients[1:, 0] == pytest.approx(right, rel=1e-12, abs=0)


LONG = {
    # The derivative by the third parameter cancels between two states at every jump.
    "two speeds": (
        4,
        [
            (0, 1, 0, (0.71, 0, 0)),
            (1, 0, 0.93, (0, 0, 0)),
            (0, -1, 0, (0, 1.1e-7, 0)),
            (1, 2, 0, (0, 0.9e-7, 0)),
            (2, 3, 0.61, (0, 0, 0)),
            (3, 2, 0, (0, 0, 0.61)),
            (3, -1, 0, (0, 0, 1e-8)),
        ],
        [0.5, 0.125, 0.125, 0.25],
        1e6,
    ),
    # The way to the last two states is taken once in 10^17 jumps: flows that are small beside others are not lost twice.
    "hardly ever": (
        4,
        [
            (0, 1, 0.645, (0, 0, 0)),
            (1, 0, 0.624, (0, 0, 0)),
            (1, 2, 0, (3.4e-17, 0, 0)),
            (2, 3, 0, (0, 1.12, 0)),
            (3, 2, 0, (0, 0, 0.8)),
            (3, -1, 5.8e-17, (0, 0, 0)),
        ],
        [1.0, 0.0, 0.0, 0.0],
        1e6,
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_a_million_jumps(name):
    n, edges, initial, time = LONG[name]
    theta = [1.0, 1.0, 1.0]
    value, gradient = chain(n, edges, initial, ["a", "b", "c"]).pdf_and_grad(theta, time)
    (pdf, _, _), right = exact(n, edges, initial, time, theta)
    assert value == pytest.approx(pdf, rel=PROMISE, abs=0)
    assert (np.abs(gradient - right) <= PROMISE * (np.abs(right) + pdf)).all()


@pytest.mark.parametrize("y", [1e-3, 1e-9, 1e-20])
def test_a_weight_whose_derivative_cancels(y):
    """The rate x/(x + y) of y << x: its derivative by x is y/(x + y)^2, of two terms that are nearly equal."""
    a, b = params("a", "b")
    model = Graph(lambda s: [((0,), a / (a + b))] if s[0] else [], ipv=[1]).model()
    x, t = 3.0, 0.25
    r = x / (x + y)
    slope = (1 - r * t) * np.exp(-r * t) * np.array([y, -x]) / (x + y) ** 2
    assert model.pdf_and_grad([x, y], t)[1] == pytest.approx(slope, rel=1e-13, abs=0)


@pytest.mark.parametrize("t", [0.0, 0.5, 1.0, 800.0])
def test_a_derivative_of_a_weight_that_no_double_holds(t):
    a, b = params("a", "b")
    model = Graph(lambda s: [((0,), a / b)] if s[0] else [], ipv=[1]).model()
    with pytest.raises(NumericalError, match="too large for a double"):
        model.pdf_and_grad([1e-310, 1e-310], t)
