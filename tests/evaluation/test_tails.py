"""Far tails and many jumps: both methods, and the gradient, against closed forms and ball arithmetic (FLINT)."""

import flint
import numpy as np
import pytest
from test_squaring import squared

from phasic_models.errors import NumericalError, ParameterError
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

NAMES = ("pdf", "cdf", "sf")
#: What is promised down to 1e-280 and over 2e7 jumps.
PROMISE = 1e-12


def chain(n, edges, initial, names=None):
    """Return a model of n transient states; edges are (source, target, constant, coefficients), target -1 absorbs."""
    return Graph.from_arrays(
        [[i + 1] for i in range(n)] + [[0]],
        [e[0] for e in edges],
        [e[1] if e[1] >= 0 else n for e in edges],
        [float(e[2]) for e in edges],
        [list(map(float, e[3])) for e in edges] if names else None,
        initial={i: a for i, a in enumerate(initial) if a},
        param_names=names,
    ).model()


def exponential(matrix):
    """exp of a ball matrix, by its series after halving; the balls say how many digits are right."""
    n, norm = matrix.nrows(), max((float(abs(x).upper()) for x in matrix.entries()), default=0.0)
    halvings = max(0, int(np.ceil(np.log2(max(norm, 1e-9))))) + 12
    small, one = (
        matrix * flint.arb(2) ** -halvings,
        flint.arb_mat(n, n, [int(i == j) for i in range(n) for j in range(n)]),
    )
    total, term = one, one
    for k in range(1, 130):
        term = term * small * (flint.arb(1) / k)
        total = total + term
    for _ in range(halvings):
        total = total * total
    return total


def exact(n, edges, initial, t, theta=()):
    """Density, distribution and survival function at t, and the derivatives of the density, from the weights as listed."""
    with flint.ctx.workprec(1400):

        def rate(e):
            return flint.arb(e[2]) + sum(
                (flint.arb(c) * flint.arb(x) for c, x in zip(e[3], theta, strict=False)), flint.arb(0)
            )

        def matrices(weight):
            inner, exits = [[flint.arb(0)] * n for _ in range(n)], [flint.arb(0)] * n
            for e in edges:
                w = weight(e)
                inner[e[0]][e[0]] -= w
                if e[1] >= 0:
                    inner[e[0]][e[1]] += w
                else:
                    exits[e[0]] += w
            return inner, exits

        inner, exits = matrices(rate)
        gradient, time = [], flint.arb(t)
        total = sum((flint.arb(a) for a in initial), flint.arb(0))
        start = [flint.arb(a) / total for a in initial]
        for j in range(max(len(theta), 1)):
            slope, exit_slope = matrices(lambda e, j=j: flint.arb(e[3][j]) if theta else flint.arb(0))
            rows = [inner[i] + slope[i] for i in range(n)] + [[flint.arb(0)] * n + inner[i] for i in range(n)]
            after = flint.arb_mat([start + [flint.arb(0)] * n]) * exponential(flint.arb_mat(rows) * time)
            mass, change = [after[0, i] for i in range(n)], [after[0, n + i] for i in range(n)]
            gradient.append(
                sum((c * x + m * d for c, x, m, d in zip(change, exits, mass, exit_slope, strict=True)), flint.arb(0))
            )
        sf = sum(mass, flint.arb(0))
        pdf = sum((m * x for m, x in zip(mass, exits, strict=True)), flint.arb(0))
        assert min(sf.rel_accuracy_bits(), pdf.rel_accuracy_bits()) > 80
        return [float(x.mid()) for x in (pdf, 1 - sf, sf)], [float(x.mid()) for x in gradient][: len(theta)]


def swept(model, times, names=NAMES):
    values = model.dag.plan.uniformize(np.zeros((1, 0)), np.asarray(times, dtype=float), names, PROMISE, 10**8, 1)
    return {name: value[0] for name, value in values.items()}


def test_the_exponential_distribution_down_to_the_smallest_numbers():
    model = chain(1, [(0, -1, 1.0, ())], [1.0])
    # sf(675) by mpmath with 40 digits; uniformization once gave 0.0.
    assert model.sf([], 675.0) == pytest.approx(7.09945017032607e-294, rel=PROMISE, abs=0)
    times = np.array([1e-9, 1.0, 100.0, 500.0, 640.0])
    for got in (
        swept(model, times),
        {"pdf": model.pdf([], times), "sf": model.sf([], times), "cdf": model.cdf([], times)},
    ):
        assert got["sf"] == pytest.approx(np.exp(-times), rel=2e-13, abs=0)
        assert got["pdf"] == pytest.approx(np.exp(-times), rel=2e-13, abs=0)
        assert got["cdf"] == pytest.approx(-np.expm1(-times), rel=2e-13, abs=0)


@pytest.mark.parametrize(
    ("n", "up", "down", "times"),
    [
        (1500, 300.1, 700.3, [1.0, 230.0]),
        (300, 30.01, 70.03, [1.0, 230.0, 600.0, 640.0]),
        (20, 30001.0, 70003.0, [0.01, 1.0, 100.0, 200.0]),
    ],
)
def test_every_state_is_left_for_good_at_rate_one(n, up, down, times):
    """Then sf = exp(-t), whatever else the chain does; 2e7 jumps in the last case."""
    edges = [(i, -1, 1.0, ()) for i in range(n)]
    edges += [(i, i + 1, up, ()) for i in range(n - 1)] + [(i + 1, i, down, ()) for i in range(n - 1)]
    model = chain(n, edges, [1.0] + [0.0] * (n - 1))
    right = np.exp(-np.array(times))
    methods = [swept(model, times)] if n > 1000 else [swept(model, times), squared(model, times)]
    for got in methods:
        assert got["sf"] == pytest.approx(right, rel=PROMISE, abs=0)
        assert got["pdf"] == pytest.approx(right, rel=PROMISE, abs=0)
        assert got["cdf"] == pytest.approx(-np.expm1(-np.array(times)), rel=PROMISE, abs=0)


TAILS = {
    "mixture": (3, [(0, -1, 1.0, ()), (1, -1, 2.0, ()), (2, -1, 0.97, ())], [0.25, 0.5, 0.25], [1.0, 100.0, 640.0]),
    "mixture, slow": (2, [(0, -1, 1.0, ()), (1, -1, 0.001, ())], [0.5, 0.5], [1.0, 100.0, 5000.0, 6e5]),
    "mixture, stiff": (3, [(0, -1, 1.0, ()), (1, -1, 0.1, ()), (2, -1, 3e4, ())], [0.25, 0.25, 0.5], [1.0, 600.0, 5e3]),
    "erlang": (6, [(i, i + 1 if i < 5 else -1, 2.0, ()) for i in range(6)], [1.0] + [0.0] * 5, [1e-3, 10.0, 330.0]),
    "repair": (2, [(0, 1, 3e-2, ()), (1, 0, 1.0, ()), (1, -1, 2e-2, ())], [1.0, 0.0], [10.0, 1e4, 1.05e6]),
    # Each jump absorbs less than the rounding of the mass that is left.
    "hardly ever": (2, [(0, 1, 0.71, ()), (1, 0, 0.93, ()), (1, -1, 2.3e-17, ())], [1.0, 0.0], [1e4, 2e7]),
    # Two pairs of states that flicker, joined by rare transitions: each would leak at another rate.
    "two speeds": (
        4,
        [
            (0, 1, 0.71, ()),
            (1, 0, 0.93, ()),
            (0, -1, 1.1e-7, ()),
            (1, 2, 0.9e-7, ()),
            (2, 3, 0.61, ()),
            (3, 2, 0.61, ()),
            (3, -1, 1e-8, ()),
        ],
        [0.5, 0.125, 0.125, 0.25],
        [1e3, 1e6, 2e7],
    ),
}


@pytest.mark.parametrize("name", TAILS)
def test_both_methods_keep_the_promise(name):
    n, edges, initial, times = TAILS[name]
    model, times = chain(n, edges, initial), np.array(times)
    right = dict(zip(NAMES, np.array([exact(n, edges, initial, t)[0] for t in times]).T, strict=True))
    rate = float(model.dag.plan.rate(np.zeros((1, 0)))[0])
    sweeps, squares = rate * times < 3e7, rate * times > 13
    found = [(sweeps, swept(model, times[sweeps])), (squares, squared(model, times[squares]))]
    for which, got in found:
        for key in NAMES:
            promised = right[key][which] >= 1e-280
            assert got[key][promised] == pytest.approx(right[key][which][promised], rel=PROMISE, abs=0), key


@pytest.mark.parametrize("failure", [1e-2, 1e-20, 1e-60])
def test_a_density_made_of_rare_paths_only(failure):
    """Four failures in a row before a repair: probabilities far below what a product of two doubles holds."""
    edges = [(i, i + 1 if i < 3 else -1, failure, ()) for i in range(4)] + [(i, i - 1, 1.0, ()) for i in range(1, 4)]
    model, t = chain(4, edges, [1.0, 0.0, 0.0, 0.0]), 1e4
    right, _ = exact(4, edges, [1.0, 0.0, 0.0, 0.0], t)
    for got in (swept(model, [t]), squared(model, [t])):
        for name, value in zip(NAMES, right, strict=True):
            assert got[name][0] == pytest.approx(value, rel=PROMISE, abs=0), name


GRADIENTS = {
    "2 of 3, repaired": (
        2,
        [(0, 1, 0, (3, 0)), (1, 0, 0, (0, 1)), (1, -1, 0, (2, 0))],
        [1, 0],
        [1e-4, 1.0],
        [1.0, 1e3, 1e6],
    ),
    "the same, far out": (
        2,
        [(0, 1, 0, (3, 0)), (1, 0, 0, (0, 1)), (1, -1, 0, (2, 0))],
        [1, 0],
        [1e-2, 1.0],
        [1e5, 1e6],
    ),
    "erlang": (
        5,
        [(i, i + 1 if i < 4 else -1, 0, (1,)) for i in range(5)],
        [1, 0, 0, 0, 0],
        [2.0],
        [1e-3, 0.5, 10.0, 300.0],
    ),
    "two classes": (
        3,
        [
            (0, 1, 0, (0.71, 0)),
            (1, 0, 0.93, (0, 0)),
            (0, -1, 0, (0, 1.1e-5)),
            (1, 2, 0, (0, 0.9e-5)),
            (2, -1, 1.3e-5, (0, 0)),
        ],
        [0.5, 0.25, 0.25],
        [1.0, 1.0],
        [1e3, 1e6],
    ),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    n, edges, initial, theta, times = GRADIENTS[name]
    model = chain(n, edges, initial, [f"x{j}" for j in range(len(theta))])
    values, gradients = model.pdf_and_grad(theta, times)
    for i, t in enumerate(times):
        (pdf, _, _), right = exact(n, edges, initial, t, theta)
        assert values[i] == pytest.approx(pdf, rel=PROMISE, abs=0)
        # A derivative that crosses zero has the size of the density over the parameter.
        error = np.abs(gradients[i] - right) / (np.abs(right) + pdf / np.array(theta))
        assert error.max() < PROMISE


A, B = params("a", "b")
WEIGHTS = {
    "product": (A * B, lambda a, b: (a * b, b, a), (2.0, 3.0)),
    "quotient": (A / B, lambda a, b: (a / b, 1 / b, -a / b**2), (2.0, 3.0)),
    "powers": (
        A**3 / (B**2 + A),
        lambda a, b: (
            a**3 / (b**2 + a),
            (3 * a**2 * (b**2 + a) - a**3) / (b**2 + a) ** 2,
            -2 * b * a**3 / (b**2 + a) ** 2,
        ),
        (1.5, 0.75),
    ),
    "sum and difference": (2 * A + A * B - B / 4, lambda a, b: (2 * a + a * b - b / 4, 2 + b, a - 0.25), (0.5, 3.0)),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_gradients_by_weights_that_are_no_sums(name):
    """The density r e^(-r t) of a rate r(a, b) has the derivatives (1 - r t) e^(-r t) dr/da and the like."""
    weight, derivatives, theta = WEIGHTS[name]
    model = Graph(lambda s: [((0,), weight)] if s[0] else [], ipv=[1]).model()
    r, *slopes = derivatives(*theta)
    for t in (0.0, 0.25, 3.0):
        value, gradient = model.pdf_and_grad(theta, t)
        assert value == pytest.approx(r * np.exp(-r * t), rel=PROMISE, abs=0)
        assert gradient == pytest.approx([(1 - r * t) * np.exp(-r * t) * slope for slope in slopes], rel=PROMISE, abs=0)


def test_the_gradient_of_a_product():
    model = Graph(lambda s: [((0,), A * B)] if s[0] else [], ipv=[1]).model()
    _, gradient = model.pdf_and_grad([2.0, 3.0], 0.25)
    assert gradient == pytest.approx([-0.3346952402226447, -0.2231301601484298], rel=1e-14, abs=0)


def test_a_gradient_that_no_float_holds():
    model = Graph(lambda s: [((0,), A / B)] if s[0] else [], ipv=[1]).model()
    assert model.pdf([1e-309, 1e-309], 1.0) == pytest.approx(np.exp(-1.0), rel=1e-12)
    with pytest.raises(NumericalError, match="too large for a double"):
        model.pdf_and_grad([1e-309, 1e-309], 1.0)


def test_a_gradient_where_no_mass_is_left():
    """At p = 1 all mass is absorbed in the first step, but more or less of it would be left at another p."""
    p = params("p")
    model = Graph(
        lambda s: {2: [((0,), p), ((1,), 1 - p)], 1: [((0,), 0.25)], 0: []}[int(s[0])], ipv=[2], discrete=True
    ).model()
    steps = np.array([0.0, 1.0, 2.0, 3.0, 40.0])
    values, gradients = model.pdf_and_grad([1.0], steps)
    assert values.tolist() == [0.0, 1.0, 0.0, 0.0, 0.0]
    assert gradients[:, 0] == pytest.approx([0.0, 1.0, *(-0.25 * 0.75 ** (steps[2:] - 2))], rel=1e-13, abs=0)


@pytest.mark.parametrize("tol", [9e-13, 1e-15, 0.0, -1.0, np.nan, 0.2])
def test_a_tolerance_that_cannot_be_kept_is_refused(tol):
    model = chain(1, [(0, -1, 1.0, ())], [1.0])
    with pytest.raises(ParameterError, match=r"tol must lie between 1e-12 and 0\.1"):
        model.sf([], 1.0, tol=tol)
