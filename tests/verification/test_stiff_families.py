"""Chains in which absorption is rare: moments, their derivatives and variances against exact passage times.

The truths are recursions over the levels of birth-death chains in fractions (`passage`), while the models are the shipped ones
or are made by the callbacks of the libraries. Equal components are lumped in the truth; by symmetry each of n parameters that
are equal takes 1/n of the derivative.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import passage
import pytest
from passage import Moments
from questions import relative
from rational import RationalChain, as_float

from phasic_models import Graph, params
from phasic_models.errors import NumericalError
from phasic_models.library import load_library

ROOT = Path(__file__).parents[2] / "libraries"
MOMENT, DERIVATIVE, VARIANCE = 1e-13, 1e-9, 1e-9
#: Above this a truth is no double; below this the model has to give it.
LARGEST = 1e300


@functools.cache
def model_of(name: str):
    category, _, model = name.partition("/")
    return load_library(ROOT / category).graph(model).model()


@functools.cache
def repairable_model(n: int):
    return _from_callback("reliability", "repairable", components=n)


def _from_callback(category: str, function: str, **arguments: int):
    namespace: dict[str, Callable] = {}
    exec(compile((ROOT / category / "models.py").read_text(), f"{category}/models.py", "exec"), namespace)
    return Graph(namespace[function], **arguments).model()


@dataclass(frozen=True)
class Family:
    """A model at θ, and its truth, which may have one parameter where the model has `shares[i]` equal ones."""

    name: str
    model: Callable[[], object]
    theta: tuple[float, ...]
    truth: Callable[[], Moments]
    shares: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name


def shipped(name: str, theta: Sequence[float], truth: Callable[[], Moments]) -> Family:
    text = ", ".join(f"{t:g}" for t in theta)
    return Family(f"{name} [{text}]", functools.partial(model_of, name), tuple(theta), truth)


def families() -> list[Family]:
    out = []
    for n, ratio in itertools.product(range(2, 9), (1e-1, 1e-3, 1e-6, 1e-9, 1e-12)):
        out.append(
            Family(
                f"repairable {n} of {n} [{ratio:g}, 1]",
                functools.partial(repairable_model, n),
                (ratio,) * n + (1.0,) * n,
                functools.partial(passage.repairable, n, ratio, 1.0),
                (n, n),
            )
        )
    for ratio in (1e-1, 1e-4, 1e-8, 1e-12):
        for name, k, n, crews in (("two_of_three_repair", 2, 3, 1), ("three_of_five_repair", 3, 5, 2)):
            out.append(
                shipped(
                    f"reliability/{name}", (ratio, 1.0), functools.partial(passage.with_crews, k, n, crews, ratio, 1.0)
                )
            )
    for load in (1e-3, 1e-2, 0.1, 0.5, 1.0, 3.0):
        for name, servers, capacity in (("mm1k_loss", 1, 10), ("erlang_loss_5", 5, 5), ("erlang_loss_20", 20, 20)):
            out.append(
                shipped(
                    f"queuing/{name}",
                    (load, 1.0),
                    functools.partial(passage.first_loss, 0, servers, capacity, load, 1.0),
                )
            )
    for load in (0.3, 0.9, 1.0, 1.2, 2.0, 8.0):
        out.append(
            shipped("queuing/mm1_queue", (load, 1.0), functools.partial(passage.until_empty, 1, 1, 100, load, 1.0))
        )
        out.append(
            shipped(
                "queuing/mmk_queue", (3 * load, 1.0), functools.partial(passage.until_empty, 1, 3, 100, 3 * load, 1.0)
            )
        )
        out.append(
            shipped("queuing/mm1k_full", (load, 1.0), functools.partial(passage.until_empty, 10, 1, 10, load, 1.0))
        )
        out.append(
            shipped(
                "queuing/mmk_full", (3 * load, 1.0), functools.partial(passage.until_empty, 10, 3, 10, 3 * load, 1.0)
            )
        )
    return out


FAMILIES = families()


@functools.cache
def exact(index: int) -> Moments:
    return FAMILIES[index].truth()


def orders(moments: Moments) -> int:
    """Return how many moments are doubles, with their derivatives."""
    sizes = [max([m.value, *map(abs, m.slope)]) for m in moments[1:]]
    return sum(1 for _ in itertools.takewhile(lambda x: as_float(x) < LARGEST, sizes))


cases = pytest.mark.parametrize("index", range(len(FAMILIES)), ids=[family.name for family in FAMILIES])


@cases
def test_moments_and_derivatives(index):
    family, truth = FAMILIES[index], exact(index)
    k = orders(truth)
    assert k
    values, gradient = family.model().moments_and_grad(family.theta, k)
    shares = family.shares or (1,) * len(truth[1].slope)
    for j in range(k):
        assert relative(values[j], truth[j + 1].value) <= MOMENT
        expected = [slope / n for slope, n in zip(truth[j + 1].slope, shares, strict=True) for _ in range(n)]
        for i, right in enumerate(expected):
            got = gradient[j, i]
            assert relative(got, right) <= DERIVATIVE, (
                f"order {j + 1} by parameter {i}: {got!r} for {as_float(right)!r}"
            )


@cases
def test_variance(index):
    family, truth = FAMILIES[index], passage.variance(exact(index))
    if as_float(exact(index)[2].value) > 1e308:
        with pytest.raises(NumericalError):
            family.model().variance(family.theta)
        return
    got = family.model().variance(family.theta)
    assert relative(got, truth) <= VARIANCE, f"{got!r} for {as_float(truth)!r}"


def test_ten_components_with_repair():
    """The largest of the family; its elimination takes a second."""
    model, n = repairable_model(10), 10
    for ratio in (1e-3, 1e-12):
        truth = passage.repairable(n, ratio, 1.0)
        _, gradient = model.moments_and_grad((ratio,) * n + (1.0,) * n, orders(truth))
        for i in range(2 * n):
            right = truth[1].slope[i // n] / n
            assert relative(gradient[0, i], right) <= DERIVATIVE, f"{ratio}: {gradient[0, i]!r} for {as_float(right)!r}"
        assert relative(model.variance((ratio,) * n + (1.0,) * n), passage.variance(truth)) <= VARIANCE


@pytest.mark.parametrize("load", [0.3, 0.9, 1.2, 3.0])
@pytest.mark.parametrize("retry", [1e-6, 0.1, 10.0])
def test_retrials(load, retry):
    theta = (load, 1.0, retry)
    truth = passage.retrial_mean(50, theta)
    values, gradient = model_of("queuing/retrial_queue").moments_and_grad(theta, 1)
    assert relative(values[0], truth.value) <= MOMENT
    for i, right in enumerate(truth.slope):
        assert relative(gradient[0, i], right) <= DERIVATIVE, (
            f"by parameter {i}: {gradient[0, i]!r} for {as_float(right)!r}"
        )


# -- figures that were printed elsewhere, and the smallest inputs -------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "theta", "slope", "digits"),
    [
        (lambda: repairable_model(6), (1e-3,) * 6 + (1.0,) * 6, -1.6753e20, 1e-4),
        (lambda: repairable_model(4), (1e-6,) * 4 + (1.0,) * 4, -2.5e29, 1e-4),
        (lambda: model_of("reliability/three_of_five_repair"), (1e-9, 1.0), -1.0e35, 1e-4),
    ],
)
def test_derivatives_that_had_the_wrong_sign(model, theta, slope, digits):
    _, gradient = model().moments_and_grad(theta, 1)
    assert gradient[0, 0] == pytest.approx(slope, rel=digits)


def test_relative_derivatives():
    value, gradient = repairable_model(8).moments_and_grad((1e-3,) * 8 + (1.0,) * 8, 1)
    assert 1e-3 * gradient[0, :8] / value[0] == pytest.approx([-0.99898313] * 8, abs=1e-8)
    value, gradient = model_of("queuing/mm1_queue").moments_and_grad((2.0, 1.0), 1)
    assert 2.0 * gradient[0, 0] / value[0] == pytest.approx(98.0, rel=1e-12)


def test_slow_step_behind_a_quick_one():
    a, b = params("a", "b")
    moves = {2: [([1], a)], 1: [([0], b)], 0: []}
    model = Graph(lambda state: [([2], 1.0)] if len(state) == 0 else moves[int(state[0])]).model()
    values, gradient = model.moments_and_grad([1.0, 1e-17], 2)
    assert gradient[0] == pytest.approx([-1.0, -1e34], rel=1e-12)
    # E[T²] = 2/a² + 2/(ab) + 2/b².
    assert gradient[1] == pytest.approx([-2e17, -4e51], rel=1e-12)
    assert values == pytest.approx([1e17, 2e34], rel=1e-12)


def test_loss_system_with_a_small_variance_for_its_length():
    got = model_of("queuing/erlang_loss_20").variance([0.1, 1.0])
    assert got == pytest.approx(7.3024e78, rel=1e-4)


def test_a_coin_before_a_large_reward():
    """Discrete: a fair coin with reward 0 or 1, then a sure step with reward 1e17."""
    moves = {1: [([2], 0.5), ([3], 0.5)], 2: [([4], 1.0)], 3: [([4], 1.0)], 4: [([0], 1.0)], 0: []}
    model = Graph(lambda state: [([1], 1.0)] if len(state) == 0 else moves[int(state[0])], discrete=True).model()
    rewards = np.zeros(model.graph.vertices_length())
    rewards[model.graph.vertex_of((3,))], rewards[model.graph.vertex_of((4,))] = 1.0, 1e17
    assert model.variance(None, rewards) == pytest.approx(0.25, rel=1e-12)


@pytest.mark.parametrize("rho", [1e-6, 1.0, 1e3, 1e8, 1e12])
def test_two_loci_far_apart(rho):
    """Covariance of the heights at two loci in a sample of two: (ρ + 18) / (ρ² + 13 ρ + 18)."""
    model = model_of("coalescent/two_locus_2")
    both, left, right = model.states.T
    values = model.covariance([1.0, rho / 2], (both + left == 2) * 1.0, (both + right == 2) * 1.0)
    assert values == pytest.approx((rho + 18) / (rho**2 + 13 * rho + 18), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(("isolated", "rate"), [(1e6, 1.0), (3e6, 0.02), (1e9, 1.0)])
def test_variance_after_a_long_time_apart(isolated, rate):
    """A pair of lineages that cannot meet before a time: Var = 1/rate², beside a mean of `isolated`."""
    meet = params("meet")
    model = Graph(lambda state: [([2], 1.0)] if len(state) == 0 else [([1], meet)] if state[0] == 2 else []).model()
    past = model.epochs([0.0, isolated])
    assert past.expectation([[0.0], [rate]]) == pytest.approx(isolated + 1 / rate, rel=1e-13)
    assert past.variance([[0.0], [rate]]) == pytest.approx(rate**-2, rel=1e-9)


# -- the recursions themselves ------------------------------------------------------------------------------------------


def test_recursions_agree_with_whole_chains():
    """Two truths of different making, in fractions: they must be equal."""
    n, failure, repair = 3, 0.125, 0.75
    edges = []
    for state in range(1, 2**n):
        for i in range(n):
            up = state >> i & 1
            target = state ^ (1 << i)
            weight = ("theta", 0) if up else ("theta", 1)
            edges.append((state - 1, target - 1 if target else 2**n - 1, weight))
    chain = RationalChain(2**n - 1, [0.0] * (2**n - 2) + [1.0], edges, (failure, repair))
    ones = [chain.alpha[0] * 0 + 1] * chain.n
    truth = passage.repairable(n, failure, repair)
    assert [m.value for m in truth[1:]] == chain.moments(3, ones)
    assert [list(m.slope) for m in truth[1:]] == chain.gradients_of_system(3, ones)


def test_retrial_recursion_agrees_with_the_whole_chain():
    orbit, theta = 3, (0.75, 1.5, 0.25)
    alpha, nu, gamma = (("theta", i) for i in range(3))
    busy = {j: j for j in range(orbit + 1)}
    idle = {j: orbit + j for j in range(1, orbit + 1)} | {0: 2 * orbit + 1}
    edges = []
    for j in range(orbit + 1):
        edges.append((busy[j], idle[j], nu))
        if j < orbit:
            edges.append((busy[j], busy[j + 1], alpha))
        if j:
            edges += [(idle[j], busy[j], alpha), (idle[j], busy[j - 1], ("*", float(j), gamma))]
    chain = RationalChain(2 * orbit + 1, [1.0] + [0.0] * (2 * orbit), edges, theta)
    ones = [chain.alpha[0]] * chain.n
    truth = passage.retrial_mean(orbit, theta)
    assert truth.value == chain.moments(1, ones)[0]
    assert list(truth.slope) == chain.gradients_of_system(1, ones)[0]


def test_busy_period_without_a_cut():
    """M/M/1: mean 1/(ν - α), second moment 2ν/(ν - α)³; the cut at 400 customers is beyond all digits."""
    arrival, service = 0.5, 1.0
    truth = passage.until_empty(1, 1, 400, arrival, service)
    assert as_float(truth[1].value) == pytest.approx(1 / (service - arrival), rel=1e-14)
    assert as_float(truth[2].value) == pytest.approx(2 * service / (service - arrival) ** 3, rel=1e-14)
    assert as_float(truth[1].slope[0]) == pytest.approx((service - arrival) ** -2, rel=1e-14)
