"""Uniformization and repeated squaring, each by itself, against ball arithmetic: rates x time from below 1 to 1e12."""

import flint
import numpy as np
import pytest
from exact import ExactChain, precision
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from strategies import Chain, Move, chains, thetas

from phasic_models.evaluation import squaring

NAMES = ("pdf", "cdf", "sf")

stiff = st.one_of(
    chains(decades=6.0, max_transient=6),
    chains(decades=6.0, cyclic=True, n_params=2, max_transient=6),
    chains(decades=6.0, nearly_reducible=True, cyclic=True, min_transient=4, max_transient=6),
)


def by_both(model, theta, times, least, most=2e4):
    """Yield the results of both methods, each with the times that it was asked for: what it takes for few or many jumps."""
    batch = np.array([theta], dtype=float).reshape(1, -1)
    rate = float(model.dag.plan.rate(batch)[0])
    dense = squaring.TransientChain(model.graph, model.dag.plan.edge_weights(batch)[0])
    many = rate * times >= least
    yield many, squaring.distribution(dense, times[many], rate, model.discrete)
    few = rate * times <= most
    swept = model.dag.plan.uniformize(batch, np.ascontiguousarray(times[few]), NAMES, 1e-12, 10**7, 1)
    yield few, {name: values[0] for name, values in swept.items()}


def agree(model, theta, times, truth, least=0.0):
    """Compare with `truth`, of shape (3, T): what is absorbed is known to 1e-15, all else to its last digits."""
    for which, got in by_both(model, theta, times, least):
        for name, values in zip(NAMES, truth[:, which], strict=True):
            floor = 1e-15 if name == "cdf" else 1e-292
            assert got[name] == pytest.approx(values, rel=1e-12, abs=floor), name


@settings(max_examples=120)
@given(stiff, thetas(2), st.lists(st.floats(-3, 12), min_size=1, max_size=4))
def test_continuous(chain, theta, exponents):
    theta = theta[: chain.n_params]
    model, exact = chain.graph().model(), ExactChain(chain, theta)
    assume(exact.n)
    rate = float(model.dag.plan.rate(np.array([theta]).reshape(1, -1))[0])
    times = 10.0 ** np.array(exponents) / rate
    agree(model, theta, times, np.array([exact.distribution(t) for t in times]).T)


@settings(max_examples=60)
@given(stiff, thetas(2))
def test_error_relative_to_the_peak(chain, theta):
    """Times around the mean, however far apart the scales are; the peak is the largest density that is seen."""
    theta = theta[: chain.n_params]
    model, exact = chain.graph().model(), ExactChain(chain, theta)
    assume(exact.n)
    times = np.array([1e-6, 1e-3, 0.1, 0.5, 1.0, 3.0, 30.0]) * model.expectation(theta)
    truth = np.array([exact.distribution(t) for t in times]).T
    for name, values in zip(NAMES, truth, strict=True):
        error = np.abs(getattr(model, name)(theta, times) - values)
        assert error.max() <= 1e-11 * values.max(), name


def powers(exact, steps):
    """Distribution of a discrete chain after many steps, by powers of balls."""
    with precision(600):
        n = exact.n
        matrix = flint.arb_mat([[flint.arb((i == j) - exact.A[i, j]) for j in range(n)] for i in range(n)])
        row = flint.arb_mat([[flint.arb(a) for a in exact.alpha]])
        leave = flint.arb_mat([[flint.arb(a)] for a in exact.leaving()])
        ones = flint.arb_mat([[1]] * n)
        before, left, factor = row, steps - 1, matrix
        while left:
            if left & 1:
                before = before * factor
            factor, left = factor * factor, left >> 1
        sf = (before * matrix * ones)[0, 0]
        return float((before * leave)[0, 0].mid()), float((1 - sf).mid()), float(sf.mid())


@settings(max_examples=100)
@given(chains(discrete=True, max_transient=6), st.lists(st.floats(0, 12), min_size=1, max_size=4))
@example(
    # The chance to stay in the first state is less than the rounding of the sum of the others.
    Chain(
        states=((1,), (3,), (0,)),
        initial=(((1,), 0.75), ((3,), 0.25)),
        moves=(
            Move((1,), (0,), 0.9999999992789363),
            Move((1,), (3,), 7.201542765304477e-10),
            Move((3,), (0,), 0.9999999999990905),
        ),
        discrete=True,
    ),
    [0.0, 1.0, 1.1],
)
def test_discrete(chain, exponents):
    model, exact = chain.graph().model(), ExactChain(chain, [])
    assume(exact.n)
    steps = np.floor(10.0 ** np.array(exponents))
    agree(model, [], steps, np.array([powers(exact, int(k)) for k in steps]).T)


def birth_death(n, up, down):
    """Start in the middle of n states; both ends absorb."""
    states = tuple((i,) for i in range(n + 2))
    moves = [Move((i,), (i + 1,), up) for i in range(1, n + 1)] + [Move((i,), (i - 1,), down) for i in range(1, n + 1)]
    return Chain(states, (((n // 2,), 1.0),), tuple(moves))


@pytest.mark.parametrize(("n", "up", "down"), [(40, 1.0, 0.8), (40, 0.5, 2.0), (25, 1.0, 1e-4)])
def test_far_from_normal(n, up, down):
    """The matrix has eigenvalues close together and eigenvectors almost parallel, which undoes many methods."""
    chain = birth_death(n, up, down)
    model, exact = chain.graph().model(), ExactChain(chain, [])
    times = np.array([0.1, 3.0, 20.0, 100.0, 1000.0])
    # In a short step of squaring 13 jumps are followed, so tails of more jumps are not for it, nor given to it.
    agree(model, [], times, np.array([exact.distribution(t) for t in times]).T, least=2.0)
