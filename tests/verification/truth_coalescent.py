"""What the coalescent library must come to, from the definitions of the processes: individual lineages and what befalls
each of them, or the closed forms of the literature. Nothing here uses phasic_models.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import mpmath
import numpy as np
import scipy  # its parts are imported when they are used
from laws import DiscreteLaw, MatrixLaw, explored, started


class TreeHeight:
    """Height of Kingman's tree: Tavaré (1984), with alternating signs and therefore in high precision."""

    def __init__(self, n, rate):
        self.rate = rate
        with mpmath.workdps(80):
            self.terms = [
                (
                    (-1) ** k * (2 * k - 1) * mpmath.ff(n, k) / mpmath.rf(n, k),
                    mpmath.mpf(k * (k - 1)) / 2 * mpmath.mpf(rate),
                )
                for k in range(2, n + 1)
            ]
        self.pairs = [math.comb(k, 2) * rate for k in range(2, n + 1)]

    def mean(self):
        return math.fsum(1 / pair for pair in self.pairs)

    def variance(self):
        return math.fsum(1 / pair**2 for pair in self.pairs)

    def cdf(self, t):
        with mpmath.workdps(80):
            return float(1 - mpmath.fsum(c * mpmath.exp(-r * t) for c, r in self.terms))

    def pdf(self, t):
        with mpmath.workdps(80):
            return float(mpmath.fsum(c * r * mpmath.exp(-r * t) for c, r in self.terms))


def fu_covariance(n, i, j):
    """Covariance of the lengths of branches of size i and j at pair rate 1; Fu (1995), equations 1 to 3, times four."""
    a = [0.0, *itertools.accumulate(1 / k for k in range(1, n + 1))]

    def harmonic(k):
        return a[k - 1]

    def beta(k):
        return 2 * n / ((n - k + 1) * (n - k)) * (harmonic(n + 1) - harmonic(k)) - 2 / (n - k)

    if i < j:
        i, j = j, i
    if i == j:
        if 2 * i < n:
            value = beta(i + 1)
        elif 2 * i == n:
            value = 2 * (harmonic(n) - harmonic(i)) / (n - i) - 1 / i**2
        else:
            value = beta(i) - 1 / i**2
    elif i + j < n:
        value = (beta(i + 1) - beta(i)) / 2
    elif i + j == n:
        value = (
            (harmonic(n) - harmonic(i)) / (n - i)
            + (harmonic(n) - harmonic(j)) / (n - j)
            - (beta(i) + beta(j + 1)) / 2
            - 1 / (i * j)
        )
    else:
        value = (beta(j) - beta(j + 1)) / 2 - 1 / (i * j)
    return 4 * value


def structured(samples, coalescence, migration, *, below=None):
    """Structured coalescent of individual lineages ``(deme, samples below)``.

    Every pair in the same deme meets at the deme's rate and every lineage moves at its rate. `below` says what is kept of
    the samples below a lineage: their number ("size"), their number by deme ("origin"), or nothing, which makes the
    chain smaller and leaves the time the same.
    """
    one = {"origin": lambda deme: tuple(int(k == deme) for k in range(len(samples)))}.get(below, lambda deme: (1,))
    start = tuple(sorted((deme, one(deme)) for deme, number in enumerate(samples) for _ in range(number)))

    def events(lineages):
        for x, y in itertools.combinations(range(len(lineages)), 2):
            (deme, size), (other_deme, other_size) = lineages[x], lineages[y]
            if deme == other_deme:
                rest = [lineage for k, lineage in enumerate(lineages) if k not in (x, y)]
                together = tuple(map(sum, zip(size, other_size, strict=True))) if below else size
                yield coalescence[deme], tuple(sorted([*rest, (deme, together)])) if rest else None
        for x, (deme, size) in enumerate(lineages):
            for target, rate in enumerate(migration[deme]):
                if target != deme and rate > 0:
                    rest = [lineage for k, lineage in enumerate(lineages) if k != x]
                    yield rate, tuple(sorted([*rest, (target, size)]))

    states, S = explored(start, events)
    return states, MatrixLaw(started(len(states)), S)


def two_loci(n, coalescence, recombination):
    """Lineages that carry the left locus, the right one or both; every pair meets, and one with both may split."""
    done = {"L": 1, "R": 1}

    def count(lineages):
        return {locus: sum(locus in lineage for lineage in lineages) for locus in "LR"}

    def events(lineages):
        for x, y in itertools.combinations(range(len(lineages)), 2):
            union = "".join(sorted(set(lineages[x]) | set(lineages[y])))
            merged = tuple(sorted([*(lin for k, lin in enumerate(lineages) if k not in (x, y)), union]))
            yield coalescence, None if count(merged) == done else merged
        for x, lineage in enumerate(lineages):
            if lineage == "LR":
                yield recombination, tuple(sorted([*lineages[:x], *lineages[x + 1 :], "L", "R"]))

    states, S = explored(("LR",) * n, events)
    left = [float(count(state)["L"] > 1) for state in states]
    right = [float(count(state)["R"] > 1) for state in states]
    return MatrixLaw(started(len(states)), S), left, right


def lambda_coalescent(n, rate, *, sizes):
    """Every set of k out of b individual lineages merges at ``rate(b, k)``."""

    def events(blocks):
        b = len(blocks)
        if not sizes:
            for k in range(2, b + 1):
                yield math.comb(b, k) * rate(b, k), None if k == b else (1,) * (b - k + 1)
            return
        subsets = Counter()
        for k in range(2, b + 1):
            for chosen in itertools.combinations(range(b), k):
                merged = sum(blocks[i] for i in chosen)
                rest = [block for i, block in enumerate(blocks) if i not in chosen]
                subsets[k, None if not rest else tuple(sorted([*rest, merged]))] += 1
        for (k, target), ways in subsets.items():
            yield ways * rate(b, k), target

    states, S = explored((1,) * n, events)
    return states, MatrixLaw(started(len(states)), S)


def beta_rate(coalescence, alpha):
    return lambda b, k: (
        coalescence * scipy.special.beta(k - alpha, b - k + alpha) / scipy.special.beta(2 - alpha, alpha)
    )


def psi_rate(coalescence, psi):
    """Events come at rate coalescence / psi², and in each of them every lineage takes part with chance psi."""
    return lambda b, k: coalescence / psi**2 * scipy.stats.binom.pmf(k, b, psi) / math.comb(b, k)


def wright_fisher(n, pair_probability):
    """Each lineage picks one of N parents; the chance of j parents grows lineage by lineage."""
    N = round(1 / pair_probability)
    P = np.zeros((n + 1, n + 1))
    for k in range(1, n + 1):
        hit = np.zeros(n + 2)
        hit[0] = 1
        for _ in range(k):
            hit[1:] = hit[1:] * np.arange(1, n + 2) / N + hit[:-1] * (1 - np.arange(n + 1) / N)
            hit[0] = 0
        P[k] = hit[: n + 1]
    return DiscreteLaw(started(n - 1, n - 2), P[2:, 2:])


def two_island(n):
    def law(theta):
        coalescence, migration = theta
        half = n // 2
        return structured([half, n - half], [coalescence] * 2, [[0, migration], [migration, 0]])[1]

    return law


def unequal_islands(n):
    def law(theta):
        c1, c2, m12, m21 = theta
        return structured([n // 2, n - n // 2], [c1, c2], [[0, m12], [m21, 0]])[1]

    return law


def island_model(samples):
    def law(theta):
        coalescence, migration = theta
        d = len(samples)
        moves = [[0.0 if i == j else migration / (d - 1) for j in range(d)] for i in range(d)]
        return structured(samples, [coalescence] * d, moves)[1]

    return law


def seed_bank(n):
    def law(theta):
        coalescence, dormancy, wake = theta
        return structured([n, 0], [coalescence, 0.0], [[0, dormancy], [wake, 0]])[1]

    return law


TRUTH = {
    **{f"n_samples_{n}": lambda theta, n=n: TreeHeight(n, theta[0]) for n in (3, 5, 10, 20, 50, 100)},
    **{f"sfs_{n}": lambda theta, n=n: TreeHeight(n, theta[0]) for n in (5, 10, 15, 20, 25)},
    **{f"two_island_{n}": two_island(n) for n in (2, 4, 6, 8, 10, 12)},
    **{f"joint_sfs_{n}_{n}": two_island(2 * n) for n in (2, 3, 4)},
    **{f"unequal_islands_{n}": unequal_islands(n) for n in (2, 10, 20)},
    "four_demes_same": island_model([2, 0, 0, 0]),
    "four_demes_different": island_model([1, 1, 0, 0]),
    "four_demes_4": island_model([1, 1, 1, 1]),
    **{f"seed_bank_{n}": seed_bank(n) for n in (2, 10, 20)},
    **{f"two_locus_{n}": lambda theta, n=n: two_loci(n, *theta)[0] for n in (2, 5, 10)},
    **{f"beta_{n}": lambda theta, n=n: lambda_coalescent(n, beta_rate(*theta), sizes=False)[1] for n in (5, 10, 20)},
    "beta_sfs_10": lambda theta: lambda_coalescent(10, beta_rate(*theta), sizes=True)[1],
    **{f"psi_{n}": lambda theta, n=n: lambda_coalescent(n, psi_rate(*theta), sizes=False)[1] for n in (5, 10, 20)},
    "psi_sfs_10": lambda theta: lambda_coalescent(10, psi_rate(*theta), sizes=True)[1],
    **{f"wright_fisher_{n}": lambda theta, n=n: wright_fisher(n, theta[0]) for n in (5, 10)},
}
