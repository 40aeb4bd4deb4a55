"""Every shipped model against an independent truth.

The truths (`truth_*.py`) are built from the definitions or from the literature, by other means than the callbacks of
the libraries. The truths of a library are in ``truth_<category>.py``. A model that calls itself verified fails here without
one; a provisional model is skipped.
"""

from __future__ import annotations

import importlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import truth_coalescent

from phasic_models.library import discover, load_library

ROOT = Path(__file__).parents[2] / "libraries"
LIBRARIES = {path.name: load_library(path) for path in discover(ROOT)}


def truths_of(category):
    """The laws of a library's models by their names; none where nobody has written them yet."""
    module = f"truth_{category.replace('-', '_')}"
    if not (Path(__file__).parent / f"{module}.py").is_file():
        return {}
    return importlib.import_module(module).TRUTH


TRUTHS = {category: truths_of(category) for category in LIBRARIES}
MODELS = [f"{category}/{name}" for category, library in LIBRARIES.items() for name in library.model_names]

_models: dict[str, object] = {}


def model_of(name):
    if name not in _models:
        category, _, model = name.partition("/")
        _models[name] = LIBRARIES[category].graph(model).eliminate().model()
    return _models[name]


def thetas(name):
    """The example of library.yaml, and two points around it."""
    category, _, model = name.partition("/")
    spec = LIBRARIES[category].model(model)
    if model.startswith("wright_fisher"):
        return [[0.01], [0.1], [0.001]]  # a whole number of parents
    points = [spec.example]
    for scale in (0.8, 1.17):
        point = []
        for index, parameter in enumerate(spec.parameters):
            value = parameter.example * scale ** (1 + index % 3)
            if parameter.name == "alpha":
                value = 1 + 0.7 * scale
            elif parameter.unit == "1":
                value = min(value, 0.97)
            point.append(value)
        points.append(point)
    return points


def curve(law, step, doublings):
    """Density and distribution function of a law at ``step * 2**k``."""
    if hasattr(law, "curve"):
        return law.curve(step, doublings)
    times = [step * 2**k for k in range(doublings)]
    return [law.pdf(t) for t in times], [law.cdf(t) for t in times]


def test_every_model_has_a_truth():
    for category, library in LIBRARIES.items():
        verified = {model.name for model in library.models if model.status == "verified"}
        missing = sorted(verified - set(TRUTHS[category]))
        assert not missing, f"{category}: verified, but not in the TRUTH of truth_{category}.py: {', '.join(missing)}"
        assert set(TRUTHS[category]) <= set(library.model_names)


@pytest.mark.parametrize("name", MODELS)
def test_model_agrees_with_independent_truth(name):
    category, _, short = name.partition("/")
    spec = LIBRARIES[category].model(short)
    if short not in TRUTHS[category]:
        assert spec.status != "verified", f"{name}: verified, but not in the TRUTH of truth_{category}.py"
        pytest.skip(f"{name} is {spec.status}: truth_{category}.py has no truth for it")
    model = model_of(name)
    for number, theta in enumerate(thetas(name)):
        law = TRUTHS[category][short](theta)
        mean = law.mean()
        assert model.expectation(theta) == pytest.approx(mean, rel=1e-10)
        if hasattr(law, "variance"):
            assert model.variance(theta) == pytest.approx(law.variance(), rel=1e-8)
        if number > 0 and model.states.shape[0] > 200:
            continue  # the densities of the large ones take the truth some seconds each
        step, doublings = mean / 16, 7
        if spec.discrete:
            step = max(round(step), 1)
        times = step * 2.0 ** np.arange(doublings)
        pdf, cdf = curve(law, step, doublings)
        np.testing.assert_allclose(model(theta, times), pdf, rtol=1e-8, atol=1e-10 * max(pdf))
        np.testing.assert_allclose(model.cdf(theta, times), cdf, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("n", [5, 10, 15, 20, 25])
def test_site_frequency_spectrum(n):
    model = model_of(f"coalescent/sfs_{n}")
    theta = [0.7]
    for i in range(1, n):
        assert model.expectation(theta, rewards=model.states[:, i - 1]) == pytest.approx(2 / (i * 0.7), rel=1e-11)
    for i, j in [(1, 1), (1, 2), (2, 2), (1, n - 1), (2, n - 2), (n - 1, n - 1), (n // 2, n // 2), (2, n - 1)]:
        covariance = model.covariance(theta, model.states[:, i - 1], model.states[:, j - 1])
        expected = truth_coalescent.fu_covariance(n, i, j) / 0.7**2
        assert covariance == pytest.approx(expected, rel=1e-8, abs=1e-10), (i, j)


@pytest.mark.parametrize("n", [2, 4, 6, 8, 10])
def test_two_island_branch_lengths(n):
    theta = (1.3, 0.4)
    states, law = truth_coalescent.structured([n // 2] * 2, [1.3, 1.3], [[0, 0.4], [0.4, 0]], below="size")
    model = model_of(f"coalescent/two_island_{n}")
    assert len(model.states) == len(states) + 3  # the starting vertex and a common ancestor on either island
    for island in (0, 1):
        for size in range(1, n):
            reward = [state.count((island, (size,))) for state in states]
            ours = model.expectation(theta, rewards=model.states[:, island * n + size - 1])
            assert ours == pytest.approx(law.mean(reward), rel=1e-10)


@pytest.mark.parametrize("n", [2, 3, 4])
def test_joint_branch_lengths(n):
    theta = (1.3, 0.4)
    states, law = truth_coalescent.structured([n, n], [1.3, 1.3], [[0, 0.4], [0.4, 0]], below="origin")
    model = model_of(f"coalescent/joint_sfs_{n}_{n}")
    assert len(model.states) == len(states) + 3
    kinds = (n + 1) ** 2 - 1
    for i, j in itertools.product(range(n + 1), repeat=2):
        if 0 < i + j < 2 * n:
            kind = i * (n + 1) + j - 1
            for island in (0, 1):
                reward = [state.count((island, (i, j))) for state in states]
                ours = model.expectation(theta, rewards=model.states[:, island * kinds + kind])
                assert ours == pytest.approx(law.mean(reward), rel=1e-10)


def test_vertex_counts_of_the_literature():
    """Partitions of n, and pairs of partitions that add up to n, and the starting vertex."""
    assert len(model_of("coalescent/sfs_25").states) == 1958 + 1
    assert len(model_of("coalescent/two_island_10").states) == 481 + 1
    assert len(model_of("reliability/repairable_8").states) == 256 + 1


@pytest.mark.parametrize(("name", "between"), [("four_demes_same", 0), ("four_demes_different", 1)])
def test_island_model_mean_coalescence_time(name, between):
    """Slatkin (1991): d / c within a deme, and (d - 1) / (2 m) more between demes."""
    theta = [0.8, 0.05]
    expected = 4 / 0.8 + between * 3 / (2 * 0.05)
    assert model_of(f"coalescent/{name}").expectation(theta) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("rho", [0.0001, 0.5, 3.0, 40.0])
def test_two_locus_covariance_of_heights(rho):
    """Griffiths (1981): (rho + 18) / (rho² + 13 rho + 18) for two samples, at recombination rate rho / 2."""
    model = model_of("coalescent/two_locus_2")
    left, right = _heights(model)
    expected = (rho + 18) / (rho**2 + 13 * rho + 18)
    assert model.covariance([1.0, rho / 2], left, right) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("n", [2, 5, 10])
def test_two_locus_trees(n):
    model = model_of(f"coalescent/two_locus_{n}")
    theta = [1.5, 0.7]
    left, right = _heights(model)
    law, law_left, law_right = truth_coalescent.two_loci(n, *theta)
    kingman = truth_coalescent.TreeHeight(n, 1.5)
    for reward in (left, right):
        assert model.expectation(theta, rewards=reward) == pytest.approx(kingman.mean(), rel=1e-11)
        assert model.variance(theta, rewards=reward) == pytest.approx(kingman.variance(), rel=1e-9)
    expected = law.covariance(law_left, law_right)
    assert model.covariance(theta, left, right) == pytest.approx(expected, rel=1e-9)


def _heights(model):
    both, left, right = model.states.T
    return (both + left > 1).astype(float), (both + right > 1).astype(float)


@pytest.mark.parametrize(("family", "rate"), [("beta", truth_coalescent.beta_rate), ("psi", truth_coalescent.psi_rate)])
def test_multiple_merger_branch_lengths(family, rate):
    theta = (1.2, 1.4) if family == "beta" else (1.2, 0.35)
    states, law = truth_coalescent.lambda_coalescent(10, rate(*theta), sizes=True)
    model = model_of(f"coalescent/{family}_sfs_10")
    for size in range(1, 10):
        reward = [state.count(size) for state in states]
        ours = model.expectation(theta, rewards=model.states[:, size - 1])
        assert ours == pytest.approx(law.mean(reward), rel=1e-10)


def test_beta_coalescent_tends_to_kingman():
    assert model_of("coalescent/beta_20").expectation([1.0, 2.0]) == pytest.approx(2 * (1 - 1 / 20), rel=1e-12)


@pytest.mark.parametrize("load", [0.1, 0.5, 0.8])
def test_busy_periods_of_unlimited_queues(load):
    """M/G/1: E[B] = E[S] / (1 - load), E[B²] = E[S²] / (1 - load)³; the cut at 50 or 100 customers must not show."""
    service = 1.25
    # name, theta, second moment of a service time whose mean is 1 / service
    cases = [("mm1_queue", [load * service, service], 2 / service**2)]
    if load <= 0.5:
        cases += [
            ("me3_1_queue", [load * service, service], (1 + 1 / 3) / service**2),
            (
                "mh2_1_queue",
                [load * service, 2 * service, service * 0.4 / 0.8, 0.6 / 0.75],
                2 * (0.8 / (2 * service) ** 2 + 0.2 / (service * 0.5) ** 2),
            ),
        ]
    for name, theta, second in cases:
        if name == "mh2_1_queue":
            mean_service = 0.8 / theta[1] + 0.2 / theta[2]
            theta[0] = load / mean_service
        else:
            mean_service = 1 / service
        model = model_of(f"queuing/{name}")
        mean = mean_service / (1 - load)
        assert model.expectation(theta) == pytest.approx(mean, rel=1e-8)
        assert model.variance(theta) == pytest.approx(second / (1 - load) ** 3 - mean**2, rel=1e-5)


def test_unreliable_server_completion_times():
    """White and Christie (1958): M/G/1 whose service is the time to completion, repairs included."""
    arrival, service, breakdown, repair = theta = [0.3, 1.0, 0.1, 0.5]
    mean = (1 + breakdown / repair) / service
    load = arrival * mean
    assert model_of("queuing/unreliable_server").expectation(theta) == pytest.approx(mean / (1 - load), rel=1e-9)


def test_raid_mean_time_to_data_loss():
    failure, rebuild = 1e-3, 5.0
    expected = (15 * failure + rebuild) / (8 * 7 * failure**2)
    assert model_of("reliability/raid5_8").expectation([failure, rebuild]) == pytest.approx(expected, rel=1e-12)


def test_causes_of_a_series_failure():
    """Rewards in the working state, split by the failure rates, add up to certainty."""
    model = model_of("reliability/series_5")
    rates = [1.0, 2.0, 3.0, 4.0, 5.0]
    assert model.expectation(rates) == pytest.approx(1 / 15, rel=1e-14)
    assert sorted(model.states[1:, 0]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_runs_of_failures(p):
    """Philippou, Georghiou and Philippou (1983), mean and variance of the geometric law of order k."""
    q, k = 1 - p, 3
    model = model_of("reliability/failed_demands_3")
    assert model.expectation([p]) == pytest.approx((1 - p**k) / (q * p**k), rel=1e-12)
    variance = (1 - (2 * k + 1) * q * p**k - p ** (2 * k + 1)) / (q**2 * p ** (2 * k))
    assert model.variance([p]) == pytest.approx(variance, rel=1e-10)
    assert model_of("reliability/shock_run_3").expectation([2.0, p]) == pytest.approx(
        (1 - p**k) / (q * p**k) / 2.0, rel=1e-12
    )


def test_wright_fisher_of_a_large_population_is_kingmans():
    model = model_of("coalescent/wright_fisher_10")
    assert model.expectation([1e-7]) * 1e-7 == pytest.approx(2 * (1 - 1 / 10), rel=1e-5)


def test_examples_are_finite_and_positive():
    for name in MODELS:
        category, _, short = name.partition("/")
        value = float(model_of(name).expectation(LIBRARIES[category].model(short).example))
        assert value > 0, name
        assert math.isfinite(value), name
