"""Changes of population size and of migration, against msprime's simulations and a coalescent integral."""

import math

import numpy as np
import pytest
import scipy  # its parts are imported when they are used
from lazily import lazily

from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

pytestmark = pytest.mark.slow

msprime = lazily("msprime")

REPLICATES = 4000


def agree(samples, expected):
    """Compare the mean of each column with what is expected."""
    samples = np.asarray(samples, float)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    z = (samples.mean(axis=0) - np.asarray(expected, float)) / error
    assert np.all(np.abs(z) < 4.5), z


def coalescent(n):
    rate = params("rate")
    return Graph(
        lambda s: [((int(s[0]) - 1,), s[0] * (s[0] - 1) / 2 * rate)] if s[0] > 1 else [], ipv=[n], param_names=["rate"]
    ).model()


def simulated(demography, samples, seed):
    """Heights and total branch lengths of simulated trees."""
    found = msprime.sim_ancestry(
        samples=samples, demography=demography, ploidy=1, num_replicates=REPLICATES, random_seed=seed
    )
    return np.array([(tree.time(tree.root), tree.total_branch_length) for tree in (ts.first() for ts in found)])


@pytest.mark.parametrize(
    ("starts", "sizes"),
    [([0.0, 0.3], [1.0, 0.2]), ([0.0, 0.1, 0.4], [2.0, 0.1, 5.0]), ([0.0, 1.0, 1.5, 4.0], [0.5, 10.0, 0.01, 1.0])],
)
def test_population_sizes(starts, sizes):
    demography = msprime.Demography.isolated_model([sizes[0]])
    for start, size in zip(starts[1:], sizes[1:], strict=True):
        demography.add_population_parameters_change(time=start, initial_size=size)
    n = 6
    draws = simulated(demography, n, seed=21)
    model = coalescent(n)
    past, theta = model.epochs(starts), [[1 / size] for size in sizes]
    lineages = model.states[:, 0].astype(float)
    agree(draws, [past.expectation(theta), past.expectation(theta, lineages)])
    points = np.quantile(draws[:, 0], [0.1, 0.5, 0.9])
    agree(draws[:, :1] > points, past.sf(theta, points))
    centred = draws - draws.mean(axis=0)
    agree(centred**2, [past.variance(theta), past.variance(theta, lineages)])


def test_exponential_growth_in_steps():
    """A growing population, cut in steps of constant size; the time of two lineages has a known density."""
    growth, steps = 1.3, 2000
    starts = np.arange(steps) * 0.003
    theta = np.exp(growth * (starts + 0.0015))[:, None]
    past = coalescent(2).epochs(starts)

    def density(t):
        return math.exp(growth * t - math.expm1(growth * t) / growth)

    mean = scipy.integrate.quad(lambda t: t * density(t), 0, 6)[0]
    assert past.expectation(theta) == pytest.approx(mean, rel=1e-5)
    demography = msprime.Demography.isolated_model([1.0], growth_rate=[growth])
    draws = simulated(demography, 2, seed=22)[:, :1]
    points = np.array([0.2, 0.6, 1.2])
    agree(np.hstack([draws, draws > points]), [past.expectation(theta), *past.sf(theta, points)])


def test_islands_that_were_one():
    """Two islands exchange migrants until they join: before that, migration is fast enough to be one population."""
    coal, mig = params("coal", "mig")

    def callback(state):
        here, there = state.tolist()
        if here + there == 1:
            return []
        moves = []
        if here:
            moves += [((here - 1, there), here * (here - 1) / 2 * coal), ((here - 1, there + 1), here * mig)]
        if there:
            moves += [((here, there - 1), there * (there - 1) / 2 * coal), ((here + 1, there - 1), there * mig)]
        return moves

    model = Graph(callback, ipv=[2, 2], param_names=["coal", "mig"]).model()
    demography = msprime.Demography.island_model([1.0, 1.0], migration_rate=0.1)
    demography.add_migration_rate_change(time=1.5, rate=20.0)
    draws = simulated(demography, {0: 2, 1: 2}, seed=23)
    past, theta = model.epochs([0.0, 1.5]), [[1.0, 0.1], [1.0, 20.0]]
    lineages = model.states.sum(axis=1).astype(float)
    points = np.array([0.5, 1.5, 2.5, 6.0])
    agree(
        np.hstack([draws, draws[:, :1] > points]),
        [past.expectation(theta), past.expectation(theta, lineages), *past.sf(theta, points)],
    )
