"""The search for wrong numbers: some hundred graphs in every run, the truths themselves, and that a wrong number is found.

Thousands of graphs: ``uv run tests/verification/search.py --graphs 2000 --seed 1``.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import balls
import flint
import numpy as np
import pytest
import search
from questions import ROWS, Examination, relative
from random_graphs import KINDS, random_case
from rational import ONE, RationalChain, as_float, fraction, jet, precision

from phasic_models import Model
from phasic_models.evaluation.epochs import PiecewiseModel

#: Graphs of each kind in every run; the truth takes longest where rates are far apart.
GRAPHS = dict.fromkeys(KINDS, 30) | {"rare": 25, "120 decades": 15}
DOCS = Path(__file__).parents[2] / "docs" / "accuracy.md"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_graphs_every_time(kind):
    tally = search.search(GRAPHS[kind], 1, [kind])
    assert not tally.failures, f"{len(tally.failures)} of {GRAPHS[kind]} graphs:\n\n" + "\n\n".join(tally.failures[:3])


def test_new_graphs_every_time():
    seed = secrets.randbelow(10**6)
    tally = search.search(2 * len(KINDS), seed)
    again = f"uv run tests/verification/search.py --graphs {2 * len(KINDS)} --seed {seed}"
    assert not tally.failures, f"{again}\n\n" + "\n\n".join(tally.failures[:3])


def test_every_question_is_asked():
    tally = search.search(8, 1, ["mild"])
    assert {row for _, row in tally.asked} == set(ROWS)
    assert set(search.BOUNDS) == set(ROWS)


# -- a wrong number is found --------------------------------------------------------------------------------------------


def off(answer: Any, factor: float) -> Any:
    if isinstance(answer, tuple):
        return tuple(off(a, factor) for a in answer)
    return np.asarray(answer) * factor if np.ndim(answer) else float(answer) * factor


def broken(part: Callable[[Examination], None]) -> set[str]:
    """Return the rows whose bounds are broken in a part of the examination of some graphs."""
    rows = set()
    for kind in ("mild", "discrete"):
        for seed in range(8):
            examination = Examination(random_case(kind, seed))
            part(examination)
            rows |= {f.row for f in examination.findings if f.error is not None and f.error > search.bound(f.row, kind)}
    return rows


GRADIENT_ROWS = {row for row in ROWS if row.startswith("moments_and_grad")}
DENSITY_ROWS = {row for row in ROWS if row.startswith("pdf_and_grad")}


@pytest.mark.parametrize(
    ("owner", "name", "part", "rows", "factor"),
    [
        (Model, "expectation", Examination.moments, {"expectation"}, 1 + 3e-13),
        (Model, "moments", Examination.moments, {"moments"}, 1 + 3e-13),
        (Model, "variance", Examination.moments, {"variance"}, 1 + 3e-13),
        (Model, "sojourn", Examination.moments, {"sojourn"}, 1 + 3e-13),
        (Model, "joint_moment", Examination.covariances, {"joint_moment"}, 1 + 3e-13),
        (Model, "covariance_matrix", Examination.covariances, {"covariance_matrix"}, 1 + 3e-13),
        (Model, "covariance", Examination.covariances, {"covariance"}, 1 + 1e-12),
        (Model, "laplace", Examination.transforms, {"laplace"}, 1 + 3e-13),
        (Model, "moments_and_grad", Examination.gradients, GRADIENT_ROWS, 1 + 1e-8),
        (Model, "pdf_and_grad", Examination.densities_with_gradients, DENSITY_ROWS, 1 + 1e-8),
        (Model, "pdf", Examination.distributions, {"pdf", "pdf, rewards"}, 1 + 1e-10),
        (Model, "cdf", Examination.distributions, {"cdf", "cdf, rewards"}, 1 + 1e-10),
        (Model, "sf", Examination.distributions, {"sf", "sf, rewards"}, 1 + 1e-10),
        (Model, "quantile", Examination.quantiles, {"quantile"}, 1.5),
        (Model, "sample", Examination.samples, {"sample"}, 2.0),
        (PiecewiseModel, "pdf", Examination.epochs, {"epochs: pdf"}, 1 + 1e-10),
        (PiecewiseModel, "cdf", Examination.epochs, {"epochs: cdf"}, 1 + 1e-10),
        (PiecewiseModel, "sf", Examination.epochs, {"epochs: sf"}, 1 + 1e-10),
        (PiecewiseModel, "moments", Examination.epochs, {"epochs: moments"}, 1 + 1e-10),
        (PiecewiseModel, "variance", Examination.epochs, {"epochs: variance"}, 1 + 1e-8),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_an_answer_that_is_a_little_off_is_found(monkeypatch, owner, name, part, rows, factor):
    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, lambda self, *a, **k: off(original(self, *a, **k), factor))
    assert rows <= broken(part)


# -- the truths ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "defective"])
def test_derivatives_of_moments_by_two_formulas(kind):
    """Both are fractions, so they must be equal; no derivative is larger than the sum of its absolute terms."""
    for seed in range(15):
        case = random_case(kind, seed)
        chain = case.exact()
        rewards = [fraction(case.rewards[0][s]) for s in chain.live]
        gradients = chain.gradients(3, rewards)
        assert [[slope.value for slope in row] for row in gradients] == chain.gradients_of_system(3, rewards)
        assert all(abs(slope.value) <= slope.terms for row in gradients for slope in row)


def test_derivative_of_a_weight():
    tree = ("/", ("*", ("theta", 0), ("-", 3.0, ("theta", 1))), ("**", ("theta", 0), 3))
    found = jet(tree, [2.0, 0.5])
    # (3 - b) / a².
    assert (found.value, found.slope) == (flint.fmpq(5, 8), (flint.fmpq(-5, 8), flint.fmpq(-1, 4)))
    assert all(abs(a) <= b for a, b in zip(found.slope, found.size, strict=True))


def test_distribution_of_two_stages():
    """Rates 1 and 3: closed forms of the density and of its derivatives."""
    chain = RationalChain(2, [1.0, 0.0], [(0, 1, ("theta", 0)), (1, 2, ("theta", 1))], [1.0, 3.0])
    for t in (1e-9, 0.5, 40.0):
        law = balls.law_of_time(chain, gradient=True)
        here = law.at(t)
        density, slopes, terms = law.density_gradient(t)
        with precision(300):
            x = flint.arb(fraction(t))
            slow, quick = (-x).exp(), (-3 * x).exp()
            pdf = flint.arb(3) / 2 * (slow - quick)
            # f = ab (e^-at - e^-bt) / (b - a).
            by_a = pdf * (1 + flint.arb(1) / 2) - 3 * x * slow / 2
            by_b = pdf * (flint.arb(1) / 3 - flint.arb(1) / 2) + 3 * x * quick / 2
            for got, right in (
                (here["pdf"], pdf),
                (here["sf"], (3 * slow - quick) / 2),
                (here["cdf"], 1 - (3 * slow - quick) / 2),
                (density, pdf),
                (slopes[0], by_a),
                (slopes[1], by_b),
            ):
                assert got.overlaps(right)
                assert abs(float((got - right).rad())) <= 1e-60 * abs(float(right.mid()))
            assert all(abs(s) <= z or (abs(s) - z).contains(0) for s, z in zip(slopes, terms, strict=True))


def test_distribution_keeps_its_digits_however_far_apart_the_rates_are():
    chain = RationalChain(2, [1.0, 0.0], [(0, 1, 1e60), (1, 0, 1.0), (1, 2, 1e-60)], [])
    here = balls.law_of_time(chain).at(1e62)
    assert all(value.rel_accuracy_bits() > 900 for value in here.values())
    # Slower than all else by 60 decades, absorption is exponential.
    assert float(here["sf"].mid()) == pytest.approx(math.exp(-100), rel=1e-14)


def test_discrete_distribution_with_rewards():
    """A coin that is thrown until heads: 2 for every tail, 3 for the head; so P(Y = 3 + 2k) = 2^-(k+1)."""
    edges = [(0, 0, 0.5), (0, 1, 0.5), (1, 2, 1.0)]
    chain = RationalChain(2, [1.0, 0.0], [e for e in edges if e[0] != e[1]], [], discrete=True)
    law = balls.law_of_reward(chain, [flint.fmpq(2), flint.fmpq(1)])
    found = [float(law.at(k)["pdf"].mid()) for k in range(9)]
    assert found == [0, 0, 0, 0.5, 0, 0.25, 0, 0.125, 0]


@pytest.mark.parametrize("kind", ["mild", "discrete"])
def test_moments_over_two_equal_epochs(kind):
    for seed in range(6):
        case = random_case(kind, seed)
        chain = case.exact()
        rewards = [fraction(case.whole[s]) for s in chain.live]
        found = balls.epoch_moments(chain, chain, 3.0, 2, rewards)
        for got, right in zip(found, chain.moments(2, rewards), strict=True):
            with precision(1000):
                assert got.overlaps(flint.arb(right))
                assert got.rel_accuracy_bits() > 900 or right == 0


def test_traps():
    """1 → absorbed or trapped, at rate 1 each (a half of all, at rate 2)."""
    chain = RationalChain(2, [1.0, 0.0], [(0, 2, 1.0), (0, 1, 1.0), (1, 2, ("theta", 0))], [0.0])
    assert not chain.certain
    assert as_float(chain.moments(1, [ONE])[0]) == 0.5
    assert as_float(chain.covariance([ONE], [ONE])) == 0.25
    here = balls.law_of_time(chain).at(1.0)
    assert float(here["sf"].mid()) == pytest.approx(1 - (1 - math.exp(-2)) / 2, rel=1e-15)
    assert float(balls.law_of_reward(chain, [ONE]).at(1.0)["sf"].mid()) == pytest.approx(math.exp(-2), rel=1e-15)
    assert as_float(chain.laplace(0.5, [ONE], chain.exit, flint.fmpq(0))) == 1 / 2.5


def test_relative_errors_are_rounded_up():
    assert relative(1.0, flint.fmpq(1)) == 0
    assert relative(1 + 2.0**-52, flint.fmpq(1)) == pytest.approx(2.0**-52)
    assert relative(math.nan, flint.fmpq(1)) == relative(math.inf, flint.fmpq(1)) == math.inf
    assert relative(1e-281, flint.fmpq(0), tiny=1e-280) == 0
    assert relative(1e-17, flint.fmpq(0), tiny=1e-280) == pytest.approx(1e263)


# -- the table ----------------------------------------------------------------------------------------------------------


def test_errors_are_printed_rounded_up():
    assert [search.rounded(x) for x in (0.0, 1e-16, 1.01e-16, 9.5e-3, 1.0, 41.0, math.inf)] == [
        "0",
        "1e-16",
        "2e-16",
        "1e-2",
        "1e0",
        "5e1",
        "inf",
    ]


def test_one_command_writes_the_page(tmp_path, capsys):
    page = tmp_path / "accuracy.md"
    search.main(["--graphs", "7", "--seed", "3", "--write", str(page)])
    assert "7 graphs, seed 3" in capsys.readouterr().out
    text = page.read_text(encoding="utf-8")
    assert all(f"| {row} |" in text for row in ROWS)
    assert all(f"{kind} (1)" in text for kind in KINDS)


def test_the_page_in_the_documentation_is_from_that_command():
    """Its words, rows and bounds are those of today; its figures are renewed by the command that it names."""
    text = DOCS.read_text(encoding="utf-8")
    for row in ROWS:
        bounds = " or ".join(f"{x:g}" for x in sorted({search.bound(row, kind) for kind in KINDS}))
        assert f"| {row} | {bounds} |" in text
    assert search.PAGE.partition("## Kinds of graphs")[2].partition("{cancelled")[0] in text
