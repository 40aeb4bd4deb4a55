"""Moments of passage times of birth-death chains and of the M/M/1 retrial queue, with derivatives, in fractions.

Nothing here uses phasic_models, and no matrix of a chain is made. In a birth-death chain the time from i to i + 1 is a
sojourn of mean 1/(λ_i + μ_i), followed, with probability μ_i/(λ_i + μ_i), by a passage from i - 1 to i and another one from i to
i + 1 (Keilson 1979, Markov Chain Models - Rarity and Exponentiality, chapter 5); passages over different levels are
independent. All is differentiated by carrying `Jet`s through the recursions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import flint
from rational import ONE, ZERO, Jet, fraction

Moments = list[Jet]


def parameters(theta: Sequence[float]) -> list[Jet]:
    """Return θ as numbers that know their derivatives."""
    n = len(theta)
    unit = [tuple(ONE if i == j else ZERO for j in range(n)) for i in range(n)]
    return [Jet(fraction(t), unit[i], unit[i]) for i, t in enumerate(theta)]


def number(value: int | float | flint.fmpq, like: Jet) -> Jet:
    """Return a constant."""
    nothing = (ZERO,) * len(like.slope)
    return Jet(value if isinstance(value, flint.fmpq) else fraction(value), nothing, nothing)


def convolved(a: Moments, b: Moments) -> Moments:
    """Return the moments (order 0 first) of the sum of two independent times."""
    out = []
    for k in range(len(a)):
        total = number(0, a[0])
        for j in range(k + 1):
            total = total + number(math.comb(k, j), a[0]) * a[j] * b[k - j]
        out.append(total)
    return out


def one_level(up: Jet, down: Jet | None, below: Moments | None, order: int) -> Moments:
    """Return the moments of the time from a level to the next one; `below` are those of the level below."""
    one = number(1, up)
    if down is None or below is None:
        return [number(math.factorial(k), up) / up**k if k else one for k in range(order + 1)]
    leave = up + down
    back, stay = down / leave, [number(math.factorial(k), up) / leave**k if k else one for k in range(order + 1)]
    found = [one]
    for k in range(1, order + 1):
        # E[S^k] + back Σ_j binomial(k, j) E[S^(k-j)] E[(below + again)^j], solved for E[again^k] on both sides.
        total = stay[k]
        for j in range(1, k + 1):
            both = number(0, up)
            for i in range(j + 1):
                if j == k and i == 0:
                    continue
                both = both + number(math.comb(j, i), up) * below[i] * found[j - i]
            total = total + number(math.comb(k, j), up) * stay[k - j] * back * both
        found.append(total / (one - back))
    return found


def birth_death(ups: Sequence[Jet], downs: Sequence[Jet | None], start: int, order: int = 3) -> Moments:
    """Return E[T^k], k = 0 … order, of the time from level `start` to level len(ups); downs[0] is None."""
    total: Moments | None = None
    level: Moments | None = None
    for i, (up, down) in enumerate(zip(ups, downs, strict=True)):
        level = one_level(up, down, level, order)
        if i >= start:
            total = level if total is None else convolved(total, level)
    assert total is not None
    return total


def variance(moments: Moments) -> flint.fmpq:
    return moments[2].value - moments[1].value ** 2


def repairable(n: int, failure: float, repair: float) -> Moments:
    """Equal components, each repaired on its own, until all n are down: the lumped chain counts those that are down."""
    f, r = parameters([failure, repair])
    return birth_death([number(n - i, f) * f for i in range(n)], [number(i, f) * r if i else None for i in range(n)], 0)


def with_crews(k: int, n: int, crews: int, failure: float, repair: float) -> Moments:
    """k-out-of-n system: until n - k + 1 are down."""
    f, r = parameters([failure, repair])
    down = range(n - k + 1)
    return birth_death(
        [number(n - i, f) * f for i in down], [number(min(i, crews), f) * r if i else None for i in down], 0
    )


def first_loss(start: int, servers: int, capacity: int, arrival: float, service: float) -> Moments:
    """M/M/c/K until a customer finds it full."""
    a, s = parameters([arrival, service])
    levels = range(capacity + 1)
    return birth_death([a for _ in levels], [number(min(i, servers), a) * s if i else None for i in levels], start)


def until_empty(start: int, servers: int, capacity: int, arrival: float, service: float) -> Moments:
    """M/M/c/K until it is empty: levels are counted from the capacity down."""
    a, s = parameters([arrival, service])
    customers = range(capacity, 0, -1)
    return birth_death(
        [number(min(c, servers), a) * s for c in customers],
        [a if c < capacity else None for c in customers],
        capacity - start,
    )


def retrial_mean(orbit: int, theta: Sequence[float]) -> Jet:
    """Mean time until the M/M/1 retrial queue with one customer in service and an empty orbit is empty.

    The orbit passes every level on the way. From (idle, j) the server becomes busy with j in orbit after an arrival, with j - 1
    after a retrial. Let m_j be the mean time from (idle, j) to (idle, j - 1), and c_j that from (busy, j) to (idle, j); α, ν and γ
    are the rates of arrival, service and retrial, K the capacity of the orbit. Then

        c_j = 1/(α + ν) + α/(α + ν) (c_(j+1) + m_(j+1)),        c_K = 1/ν,
        m_j = 1/(α + jγ) + α/(α + jγ) (c_j + m_j) + jγ/(α + jγ) c_(j-1),
        c_(j-1) = 1/(α + ν) + α/(α + ν) (c_j + m_j).

    The last two are solved for m_j, downwards from j = K.
    """
    arrival, service, retry = parameters(theta)
    one = number(1, arrival)
    c = one / service
    for j in range(orbit, 0, -1):
        again = number(j, arrival) * retry
        both, leave = arrival + service, arrival + again
        # m (1 - α/(α+jγ) - jγ/(α+jγ) α/(α+ν)) = 1/(α+jγ) + α/(α+jγ) c + jγ/(α+jγ) (1/(α+ν) + α/(α+ν) c).
        left = again / leave * service / both
        m = (one / leave + arrival / leave * c + again / leave * (one / both + arrival / both * c)) / left
        c = one / both + arrival / both * (c + m)
    return c
