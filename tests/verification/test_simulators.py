"""Shipped models against simulators that others wrote: msprime for genealogies, ciw for queues.

Seeds are fixed. A mean may lie 4.5 standard errors away, which a right model does once in 150,000 comparisons.
"""

from __future__ import annotations

import numpy as np
import pytest
from lazily import lazily
from test_libraries import model_of

pytestmark = pytest.mark.slow

msprime, ciw = lazily("msprime"), lazily("ciw")

REPLICATES = 4000


def agree(samples, expected):
    """Compare the mean of each column with what is expected."""
    samples = np.asarray(samples, float)
    error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    z = (samples.mean(axis=0) - np.asarray(expected, float)) / error
    assert np.all(np.abs(z) < 4.5), z


def genealogies(**options):
    return msprime.sim_ancestry(num_replicates=REPLICATES, ploidy=1, **options)


def spectra(simulated, sample_sets=None):
    """Branch-length frequency spectrum of each genealogy."""
    return [
        ts.allele_frequency_spectrum(sample_sets, mode="branch", polarised=True, span_normalise=True)
        for ts in simulated
    ]


def heights(simulated):
    return [[tree.time(tree.root) for tree in ts.trees()] for ts in simulated]


def test_kingman_spectrum_and_height():
    theta, n = [0.5], 10
    simulated = list(genealogies(samples=n, population_size=2.0, random_seed=1))
    model = model_of("coalescent/sfs_10")
    expected = [model.expectation(theta, rewards=model.states[:, i]) for i in range(n - 1)]
    agree(np.array(spectra(simulated))[:, 1:n], expected)
    times = np.array(heights(simulated))[:, 0]
    agree(
        times[:, None] > [1, 3, 6, 12], model_of("coalescent/n_samples_10").sf(theta, np.array([1.0, 3.0, 6.0, 12.0]))
    )
    # Products, too: the covariances of branch lengths.
    lengths = np.array(spectra(simulated))[:, 1:n]
    centred = lengths - lengths.mean(axis=0)
    for i, j in [(0, 0), (0, 1), (1, 4), (8, 8)]:
        agree(centred[:, [i]] * centred[:, [j]], [model.covariance(theta, model.states[:, i], model.states[:, j])])


def test_two_islands():
    demography = msprime.Demography.island_model([2.0, 2.0], migration_rate=0.15)
    simulated = genealogies(samples={0: 5, 1: 5}, demography=demography, random_seed=2)
    model = model_of("coalescent/two_island_10")
    blocks = model.states[:, :10] + model.states[:, 10:]
    agree(
        np.array(spectra(simulated))[:, 1:10],
        [model.expectation([0.5, 0.15], rewards=blocks[:, i]) for i in range(9)],
    )


def test_joint_spectrum():
    demography = msprime.Demography.island_model([2.0, 2.0], migration_rate=0.15)
    simulated = genealogies(samples={0: 3, 1: 3}, demography=demography, random_seed=8)
    model = model_of("coalescent/joint_sfs_3_3")
    kinds = model.states[:, :15] + model.states[:, 15:]
    expected = [model.expectation([0.5, 0.15], rewards=kinds[:, kind]) for kind in range(14)]
    # Entry (i, j) of msprime's spectrum is kind 4 i + j - 1; the first one is empty and the last one is the root.
    agree(np.array(spectra(simulated, [[0, 1, 2], [3, 4, 5]])).reshape(REPLICATES, 16)[:, 1:15], expected)


def test_unequal_islands():
    demography = msprime.Demography.isolated_model([1.0, 4.0])
    # msprime names migration backwards in time, as we do: the rate from `source` to `dest` for a lineage in `source`.
    demography.set_migration_rate(0, 1, 0.3)
    demography.set_migration_rate(1, 0, 0.05)
    simulated = genealogies(samples={0: 5, 1: 5}, demography=demography, random_seed=3)
    times = np.array(heights(simulated))
    model, theta = model_of("coalescent/unequal_islands_10"), [1.0, 0.25, 0.3, 0.05]
    points = np.array([6.0, 10.0, 15.0, 25.0])
    agree(np.hstack([times, times > points]), [model.expectation(theta), *model.sf(theta, points)])


def test_island_model():
    demography = msprime.Demography.island_model([1.0] * 4, migration_rate=0.2 / 3)
    simulated = genealogies(samples={0: 1, 1: 1, 2: 1, 3: 1}, demography=demography, random_seed=4)
    agree(heights(simulated), [model_of("coalescent/four_demes_4").expectation([1.0, 0.2])])


def test_two_loci():
    recombination = 0.4
    simulated = genealogies(samples=5, recombination_rate=recombination, sequence_length=2, random_seed=5)
    # A genealogy without recombination has one tree for both loci.
    times = np.array([found if len(found) == 2 else found * 2 for found in heights(simulated)])
    model, theta = model_of("coalescent/two_locus_5"), [1.0, recombination]
    both, left, right = model.states.T
    left, right = (both + left > 1).astype(float), (both + right > 1).astype(float)
    agree(times, [model.expectation(theta, rewards=reward) for reward in (left, right)])
    agree(times.max(axis=1, keepdims=True), [model.expectation(theta)])
    centred = times - times.mean(axis=0)
    agree(centred[:, :1] * centred[:, 1:], [model.covariance(theta, left, right)])


@pytest.mark.parametrize(
    ("name", "theta", "simulated_model"),
    [
        ("beta_sfs_10", [1.0, 1.3], lambda: msprime.BetaCoalescent(alpha=1.3)),
        ("beta_sfs_10", [1.0, 1.7], lambda: msprime.BetaCoalescent(alpha=1.7)),
        # c is so large that the ordinary pair mergers, which msprime adds, do not show.
        ("psi_sfs_10", [1.0, 0.3], lambda: msprime.DiracCoalescent(psi=0.3, c=1e7)),
    ],
)
def test_multiple_mergers(name, theta, simulated_model):
    """msprime has its own unit of time here: shares of the branch length do not depend on it."""
    simulated = genealogies(samples=10, model=simulated_model(), population_size=1000, random_seed=6)
    lengths = np.array(spectra(simulated))[:, 1:10]
    model = model_of(f"coalescent/{name}")
    expected = np.array([model.expectation(theta, rewards=model.states[:, i]) for i in range(9)])
    unit = lengths.sum(axis=1).mean() / expected.sum()
    agree(lengths / unit - expected / expected.sum() * (lengths / unit).sum(axis=1, keepdims=True), np.zeros(9))


def busy_periods(network, until, seed):
    """Lengths of the busy periods of a simulated queue, from the first arrival until it is empty."""
    ciw.seed(seed)
    simulation = ciw.Simulation(network)
    simulation.simulate_until_max_time(until)
    records = sorted((record.arrival_date, record.exit_date) for record in simulation.get_all_records())
    periods, start, end = [], None, -1.0
    for arrival, leaving in records:
        if arrival > end:
            if start is not None:
                periods.append(end - start)
            start, end = arrival, leaving
        end = max(end, leaving)
    return np.array(periods)


@pytest.mark.parametrize(
    ("name", "theta", "service", "servers"),
    [
        ("mm1_queue", [0.5, 1.0], lambda: ciw.dists.Exponential(1.0), 1),
        ("mmk_queue", [1.5, 1.0], lambda: ciw.dists.Exponential(1.0), 3),
        ("me3_1_queue", [0.5, 1.0], lambda: ciw.dists.Erlang(3.0, 3), 1),
        ("mh2_1_queue", [0.4, 2.0, 0.5, 0.8], lambda: ciw.dists.HyperExponential([2.0, 0.5], [0.8, 0.2]), 1),
    ],
)
def test_busy_periods(name, theta, service, servers):
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(theta[0])],
        service_distributions=[service()],
        number_of_servers=[servers],
    )
    periods = busy_periods(network, 8000, seed=7)
    model = model_of(f"queuing/{name}")
    points = np.array([0.5, 1.0, 2.0, 5.0, 10.0])
    agree(
        np.hstack([periods[:, None], periods[:, None] > points]),
        [model.expectation(theta), *model.sf(theta, points)],
    )


def test_time_in_a_full_queue():
    """Means of independent runs: customers of one run depend on each other."""
    network = ciw.create_network(
        arrival_distributions=[ciw.dists.Exponential(0.9)],
        service_distributions=[ciw.dists.Exponential(1.0)],
        number_of_servers=[1],
        queue_capacities=[9],
    )
    means = []
    for seed in range(30):
        ciw.seed(seed)
        simulation = ciw.Simulation(network)
        simulation.simulate_until_max_time(900)
        times = [
            record.exit_date - record.arrival_date
            for record in simulation.get_all_records()
            if record.record_type == "service" and 100 < record.arrival_date < 850
        ]
        means.append([np.mean(times)])
    agree(means, [model_of("queuing/mm1k_sojourn").expectation([0.9, 1.0])])
