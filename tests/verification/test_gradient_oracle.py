"""Every `*_and_grad` against exact derivatives, over chains whose weights are made of + - * / and powers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import search
from questions import Examination
from random_graphs import random_case

from phasic_models import Graph, Model, params
from phasic_models.errors import NumericalError

ORACLES = {"moments_and_grad": Examination.gradients, "pdf_and_grad": Examination.densities_with_gradients}


def test_every_gradient_has_an_oracle():
    assert {name for name in dir(Model) if name.endswith("_and_grad")} == set(ORACLES)


@pytest.mark.parametrize("kind", ["mild", "discrete", "12 decades"])
@pytest.mark.parametrize("name", ORACLES)
def test_against_exact_derivatives(name, kind):
    wrong, seen, operators = [], 0, set()
    for seed in range(5000, 5040):
        case = random_case(kind, seed)
        if not case.p:
            continue
        operators |= operators_of([tree for _, _, tree in case.edges])
        examination = Examination(case)
        ORACLES[name](examination)
        seen += len(examination.findings)
        for f in examination.findings:
            if f.error is None or f.error > search.bound(f.row, kind):
                wrong.append(f"{f.row}: error {f.error}, {f.detail}\n{case}")
    assert seen > 100
    assert operators == {"+", "-", "*", "/", "**"}
    assert not wrong, "\n\n".join(wrong[:3])


def operators_of(trees):
    found = set()
    for tree in trees:
        if isinstance(tree, tuple) and tree[0] != "theta":
            found |= {tree[0]} | operators_of(tree[1:])
    return found


def single(weight, *names):
    """Return the model of one state that is left at a rate."""
    rate = weight(*params(*names))
    return Graph(lambda state: [([1], 1.0)] if len(state) == 0 else [([0], rate)] if state[0] == 1 else []).model()


def test_product_of_parameters():
    """Rate ab at a = 2, b = 3: f = ab e^(-abt), so df/da = b (1 - abt) e^(-abt)."""
    model = single(lambda a, b: a * b, "a", "b")
    t = 0.25
    decay = math.exp(-6 * t)
    values, gradient = model.pdf_and_grad([2.0, 3.0], [t])
    assert values == pytest.approx([6 * decay], rel=1e-12)
    assert gradient[0] == pytest.approx([3 * (1 - 6 * t) * decay, 2 * (1 - 6 * t) * decay], rel=1e-12)
    assert gradient[0] == pytest.approx([-0.335, -0.223], abs=5e-4)


def test_quotient_and_power():
    """Rate a³/b: dE/da = -3b/a⁴, dE/db = 1/a³."""
    model = single(lambda a, b: a**3 / b, "a", "b")
    _, gradient = model.moments_and_grad([2.0, 5.0], 1)
    assert gradient[0] == pytest.approx([-15 / 16, 1 / 8], rel=1e-14)
    _, gradient = model.pdf_and_grad([2.0, 5.0], [0.0, 1.0])
    rate = 8 / 5
    by_rate = np.array([1.0, (1 - rate) * math.exp(-rate)])
    assert gradient[:, 0] == pytest.approx(by_rate * 12 / 5, rel=1e-12)
    assert gradient[:, 1] == pytest.approx(by_rate * -8 / 25, rel=1e-12)


def test_derivatives_too_large_for_a_double():
    """2 → 1 → 0 at rates of 1e-250: the mean is 2e250, its derivatives are -1e500."""
    a, b = params("a", "b")
    moves = {2: [([1], a)], 1: [([0], b)], 0: []}
    model = Graph(lambda state: [([2], 1.0)] if len(state) == 0 else moves[int(state[0])]).model()
    assert model.expectation([1e-250, 1e-250]) == pytest.approx(2e250, rel=1e-14)
    with pytest.raises(NumericalError):
        model.moments_and_grad([1e-250, 1e-250], 1)
    with pytest.raises(NumericalError):
        model.moments_and_grad([[1.0, 1.0], [1e-250, 1.0]], 1)
    with pytest.raises(NumericalError):
        model.moments_and_grad([1e-100, 1.0], 4)


def test_derivatives_of_a_density_too_large_for_a_double():
    """Rate a/b at a = b is 1, its derivatives are ±1/b."""
    model = single(lambda a, b: a / b, "a", "b")
    _, gradient = model.pdf_and_grad([1e-200, 1e-200], [0.5])
    assert gradient[0] == pytest.approx([0.5 * math.exp(-0.5) * 1e200, -0.5 * math.exp(-0.5) * 1e200], rel=1e-12)
    _, gradient = model.moments_and_grad([1e-200, 1e-200], 1)
    assert gradient[0] == pytest.approx([-1e200, 1e200], rel=1e-12)
    with pytest.raises(NumericalError):
        model.pdf_and_grad([1e-310, 1e-310], [0.5])
    with pytest.raises(NumericalError):
        model.moments_and_grad([1e-310, 1e-310], 1)
