"""What the reliability library must come to: inclusion and exclusion, Kronecker sums of components, closed forms.

Nothing here uses phasic_models.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import scipy  # its parts are imported when they are used
from laws import BirthDeath, DiscreteLaw, ErlangMixture, ExponentialSum, MatrixLaw, kronecker_sum, started, structure

BRIDGE = [{0, 3}, {1, 4}, {0, 2, 4}, {1, 2, 3}]


def at_least(k, n):
    """Minimal paths of a k-out-of-n system."""
    return [set(chosen) for chosen in itertools.combinations(range(n), k)]


def repairable(paths, n):
    """Independent components, each a chain of two states, watched until no path works."""

    def law(theta):
        # Component states in the order up, down: state 0 of the product is "all up".
        pairs = [np.array([[-f, f], [r, -r]]) for f, r in zip(theta[:n], theta[n:], strict=True)]
        S = kronecker_sum(*pairs)
        works = [
            any(all(state[i] == 0 for i in path) for path in paths) for state in itertools.product((0, 1), repeat=n)
        ]
        keep = np.flatnonzero(works)
        return MatrixLaw(started(len(keep)), S[np.ix_(keep, keep)])

    return law


def failed_units(total, allowed, fail, repair):
    """Birth-death chain of the number of failed units, absorbed above `allowed`."""
    failed = np.arange(allowed + 1)
    return BirthDeath(0, [fail(total - i, i) for i in failed], [repair(i) for i in failed])


def repair_crews(k, n, crews):
    return lambda theta: failed_units(
        n, n - k, lambda good, _: good * theta[0], lambda failed: min(failed, crews) * theta[1]
    )


def raid(parity):
    return lambda theta: failed_units(8, parity, lambda good, _: good * theta[0], lambda failed: failed * theta[1])


def warm_standby(working, spares):
    return lambda theta: failed_units(
        working + spares,
        spares,
        lambda good, _: working * theta[0] + (good - working) * theta[1],
        lambda failed: min(failed, 1) * theta[2],
    )


def cold_standby(spares):
    """A geometric number of units, at most all of them, each with an exponential life."""

    def law(theta):
        failure, switch = theta
        weights = [switch**i * (1 - switch) for i in range(spares)] + [switch**spares]
        return ErlangMixture(weights, failure)

    return law


def marshall_olkin(n):
    """Component n is 'no shock yet', and every path needs it."""
    return lambda theta: structure([{i, n} for i in range(n)], theta)


def beta_factor(theta):
    failure, beta = theta
    return structure([path | {4} for path in at_least(2, 4)], [failure * (1 - beta)] * 4 + [failure * beta])


def hypoexponential(theta):
    """Partial fractions; the rates must differ."""
    rates = list(theta)
    return ExponentialSum(
        (math.prod(other / (other - rate) for j, other in enumerate(rates) if j != i), rate)
        for i, rate in enumerate(rates)
    )


def coxian(theta):
    wear, failure = np.array(theta[:3]), np.array(theta[3:])
    S = np.diag(wear, 1)
    return MatrixLaw(started(4), S - np.diag(np.append(wear, 0) + failure))


def maintained(theta):
    wear, inspection = theta
    S = np.diag(np.full(4, wear), 1)
    S[3:, 0] = inspection
    return MatrixLaw(started(5), S - np.diag(S.sum(axis=1) + wear * (np.arange(5) == 4)))


class CompoundPoisson:
    """Time at which shocks of damage 1, 2 and 3 add up to 10: three independent Poisson processes."""

    def __init__(self, theta):
        self.rates = np.array(theta)
        self.counts = [
            counts for counts in itertools.product(range(10), range(5), range(4)) if np.dot(counts, (1, 2, 3)) < 10
        ]
        total = self.rates.sum()
        # Given its counts, the system spends 1/total in the state; the counts are met with multinomial chance.
        self.visits = {
            counts: scipy.stats.multinomial.pmf(counts, sum(counts), self.rates / total) for counts in self.counts
        }
        self.total = total

    def mean(self):
        return math.fsum(self.visits.values()) / self.total

    def cdf(self, t):
        return 1 - math.fsum(np.prod(scipy.stats.poisson.pmf(counts, self.rates * t)) for counts in self.counts)

    def pdf(self, t):
        """A shock that reaches 10 comes while the counts are those."""
        return math.fsum(
            np.prod(scipy.stats.poisson.pmf(counts, self.rates * t))
            * sum(rate for size, rate in enumerate(self.rates, start=1) if np.dot(counts, (1, 2, 3)) + size >= 10)
            for counts in self.counts
        )


def shock_run(theta):
    rate, critical = theta
    S = np.diag(np.full(2, rate * critical), 1)
    S[1:, 0] = rate * (1 - critical)
    return MatrixLaw(started(3), S - np.diag([rate * critical, rate, rate]))


def run_of_failures(theta):
    p = theta[0]
    P = np.diag(np.full(2, p), 1)
    P[:, 0] += 1 - p
    return DiscreteLaw(started(3), P)


class Missions:
    """2 out of 4 components that each survive t missions with chance (1 - q)^t."""

    def __init__(self, theta):
        self.q = theta[0]

    def sf(self, t):
        return scipy.stats.binom.sf(1, 4, (1 - self.q) ** t)

    def _terms(self):
        """sf as a sum of powers: chances of 2, 3 and 4 survivors, expanded in s = (1 - q)^t."""
        return [(6, 2), (-8, 3), (3, 4)]

    def mean(self):
        return math.fsum(c / (1 - (1 - self.q) ** k) for c, k in self._terms())

    def variance(self):
        powers = [(c, (1 - self.q) ** k) for c, k in self._terms()]
        second_factorial = math.fsum(2 * c * x / (1 - x) ** 2 for c, x in powers)
        return second_factorial + self.mean() - self.mean() ** 2

    def cdf(self, t):
        return 1 - self.sf(t)

    def pdf(self, t):
        return self.sf(t - 1) - self.sf(t)


TRUTH = {
    "series_system": lambda theta: structure([{0, 1, 2}], theta),
    "series_5": lambda theta: structure([set(range(5))], theta),
    "parallel_system": lambda theta: structure(at_least(1, 3), theta),
    "parallel_5": lambda theta: structure(at_least(1, 5), theta),
    "two_of_three": lambda theta: structure(at_least(2, 3), theta),
    "three_of_five": lambda theta: structure(at_least(3, 5), list(theta) * 5),
    "bridge": lambda theta: structure(BRIDGE, theta),
    **{f"repairable_{n}": repairable(at_least(1, n), n) for n in (4, 6, 8)},
    "two_of_three_repair": repair_crews(2, 3, 1),
    "three_of_five_repair": repair_crews(3, 5, 2),
    "bridge_repair": repairable(BRIDGE, 5),
    "raid5_8": raid(1),
    "raid6_8": raid(2),
    "cold_standby_1": cold_standby(1),
    "cold_standby_3": cold_standby(3),
    "warm_standby_2": warm_standby(1, 1),
    "warm_standby_5": warm_standby(3, 2),
    "common_cause_2": marshall_olkin(2),
    "common_cause_4": marshall_olkin(4),
    "beta_factor_4": beta_factor,
    "hypoexponential_5": hypoexponential,
    "coxian_4": coxian,
    "maintained_wear_5": maintained,
    "cumulative_shock_10": CompoundPoisson,
    "shock_run_3": shock_run,
    "failed_demands_3": run_of_failures,
    "missions_2_of_4": Missions,
}
