"""State spaces of the coalescent library.

Each function is a callback as ``phasic_models.Graph`` takes it. It is called with an empty state for the initial
states, then once for every state that it has named. ``library.yaml`` says with which arguments each model calls its
function, and in which order the parameters stand in theta.

Time runs backwards, from the sample to its most recent common ancestor.
"""

from itertools import product
from math import comb, factorial

from phasic_models import params


def kingman(state, n):
    """Kingman's coalescent of ``n`` samples; the state is ``[lineages]``; theta is ``[coalescence_rate]``."""
    if len(state) == 0:
        return [([n], 1.0, [1.0])]
    k = int(state[0])
    if k == 1:
        return []
    return [([k - 1], 0.0, [comb(k, 2)])]


def block_counting(state, n):
    """Kingman's coalescent with branches told apart by the number of samples below them.

    ``state[i - 1]`` is the number of branches with ``i`` samples below; theta is ``[coalescence_rate]``.
    """
    if len(state) == 0:
        return [([n] + [0] * (n - 1), 1.0, [1.0])]
    return [(target, 0.0, [pairs]) for target, pairs in _pair_mergers(state)]


def two_island_blocks(state, samples):
    """Two islands, one coalescence rate, one migration rate, branches told apart by the number of samples below them.

    With ``n`` samples in all, ``state[i - 1]`` and ``state[n + i - 1]`` are the numbers of branches with ``i`` samples
    below on the first and on the second island; theta is ``[coalescence_rate, migration_rate]``.
    """
    n = sum(samples)
    if len(state) == 0:
        first, second = [0] * n, [0] * n
        first[0], second[0] = samples
        return [(first + second, 1.0, [1.0, 0.0])]
    if sum(state) == 1:
        return []
    islands = [[int(count) for count in state[:n]], [int(count) for count in state[n:]]]
    transitions = []
    for here in (0, 1):
        for merged, pairs in _pair_mergers(islands[here]):
            target = merged + islands[1] if here == 0 else islands[0] + merged
            transitions.append((target, 0.0, [pairs, 0.0]))
        for size, count in enumerate(islands[here]):
            if count > 0:
                moved = [list(islands[0]), list(islands[1])]
                moved[here][size] -= 1
                moved[1 - here][size] += 1
                transitions.append((moved[0] + moved[1], 0.0, [0.0, count]))
    return transitions


def two_island_joint(state, samples):
    """Two islands as in `two_island_blocks`, with branches told apart by where the samples below them were taken.

    With samples ``[a, b]`` there are ``(a + 1)(b + 1) - 1`` kinds of branches, of i samples from the first island and j
    from the second; kind ``(i, j)`` is number ``i(b + 1) + j - 1``, counted from 0. The state holds the numbers of branches
    of each kind on the first island, then those on the second; theta is ``[coalescence_rate, migration_rate]``.
    """
    a, b = samples
    kinds = (a + 1) * (b + 1) - 1
    if len(state) == 0:
        counts = [0] * (2 * kinds)
        counts[b] = a  # kind (1, 0), on the first island
        counts[kinds] = b  # kind (0, 1), on the second
        return [(counts, 1.0, [1.0, 0.0])]
    if sum(state) == 1:
        return []
    transitions = []
    for island in (0, kinds):
        present = [kind for kind in range(kinds) if state[island + kind] > 0]
        for kind in present:
            count = int(state[island + kind])
            target = [int(number) for number in state]
            target[island + kind] -= 1
            target[kinds - island + kind] += 1
            transitions.append((target, 0.0, [0.0, count]))
            for other in present:
                pairs = comb(count, 2) if other == kind else count * int(state[island + other])
                if other < kind or pairs == 0:
                    continue
                target = [int(number) for number in state]
                target[island + kind] -= 1
                target[island + other] -= 1
                # Numbers of kinds add up like (i, j) do, since both parts stay below their place value.
                target[island + kind + other + 1] += 1
                transitions.append((target, 0.0, [pairs, 0.0]))
    return transitions


def two_island_lineages(state, samples):
    """Two islands that differ in size and in migration; the state is ``[lineages on island 1, on island 2]``.

    Theta is ``[coalescence_rate_1, coalescence_rate_2, migration_rate_12, migration_rate_21]``, where ``12`` is the
    move, backwards in time, from island 1 to island 2.
    """
    if len(state) == 0:
        return [(list(samples), 1.0, [1.0, 0.0, 0.0, 0.0])]
    a, b = (int(count) for count in state)
    if a + b == 1:
        return []
    transitions = []
    if a > 1:
        transitions.append(([a - 1, b], 0.0, [comb(a, 2), 0.0, 0.0, 0.0]))
    if b > 1:
        transitions.append(([a, b - 1], 0.0, [0.0, comb(b, 2), 0.0, 0.0]))
    if a > 0:
        transitions.append(([a - 1, b + 1], 0.0, [0.0, 0.0, a, 0.0]))
    if b > 0:
        transitions.append(([a + 1, b - 1], 0.0, [0.0, 0.0, 0.0, b]))
    return transitions


def island_model(state, samples):
    """Wright's symmetric island model; ``state[i]`` is the number of lineages in deme ``i``.

    A lineage leaves its deme at the migration rate and goes to each other deme with the same chance; theta is
    ``[coalescence_rate, migration_rate]``.
    """
    if len(state) == 0:
        return [(list(samples), 1.0, [1.0, 0.0])]
    if sum(state) == 1:
        return []
    demes = range(len(samples))
    transitions = []
    for i in demes:
        here = int(state[i])
        if here > 1:
            transitions.append(([int(state[d]) - (d == i) for d in demes], 0.0, [comb(here, 2), 0.0]))
        for j in demes:
            if here > 0 and j != i:
                target = [int(state[d]) - (d == i) + (d == j) for d in demes]
                transitions.append((target, 0.0, [0.0, here / (len(samples) - 1)]))
    return transitions


def seed_bank(state, n):
    """Coalescent with a strong seed bank; the state is ``[active lineages, dormant lineages]``.

    Only active lineages coalesce; theta is ``[coalescence_rate, dormancy_rate, wake_rate]``.
    """
    if len(state) == 0:
        return [([n, 0], 1.0, [1.0, 0.0, 0.0])]
    active, dormant = (int(count) for count in state)
    if active + dormant == 1:
        return []
    transitions = []
    if active > 1:
        transitions.append(([active - 1, dormant], 0.0, [comb(active, 2), 0.0, 0.0]))
    if active > 0:
        transitions.append(([active - 1, dormant + 1], 0.0, [0.0, active, 0.0]))
    if dormant > 0:
        transitions.append(([active + 1, dormant - 1], 0.0, [0.0, 0.0, dormant]))
    return transitions


def two_locus(state, n):
    """Coalescent with recombination between two loci; the state is ``[both, left, right]``.

    These are the numbers of lineages that are ancestral to the sample at both loci, at the left one only and at the
    right one only. The chain ends when each locus has found its most recent common ancestor; theta is
    ``[coalescence_rate, recombination_rate]``.
    """
    if len(state) == 0:
        return [([n, 0, 0], 1.0, [1.0, 0.0])]
    both, left, right = (int(count) for count in state)
    if both + left == 1 and both + right == 1:
        return []
    events = [
        ([both - 1, left + 1, right + 1], 0.0, [0.0, both]),
        ([both - 1, left, right], 0.0, [comb(both, 2), 0.0]),
        # A lineage that carries one locus only disappears into one that carries that locus as well.
        ([both, left - 1, right], 0.0, [comb(left, 2) + left * both, 0.0]),
        ([both, left, right - 1], 0.0, [comb(right, 2) + right * both, 0.0]),
        ([both + 1, left - 1, right - 1], 0.0, [left * right, 0.0]),
    ]
    return [(target, base, rates) for target, base, rates in events if any(rates)]


def beta(state, n):
    """Beta(2 - alpha, alpha)-coalescent; the state is ``[lineages]``; theta is ``[coalescence_rate, alpha]``."""
    return _multiple_mergers(state, n, _beta_rate)


def psi(state, n):
    """Psi-coalescent of Eldon and Wakeley; the state is ``[lineages]``; theta is ``[coalescence_rate, psi]``."""
    return _multiple_mergers(state, n, _psi_rate)


def beta_block_counting(state, n):
    """Beta(2 - alpha, alpha)-coalescent with branches told apart by the number of samples below them."""
    return _multiple_block_mergers(state, n, _beta_rate)


def psi_block_counting(state, n):
    """Psi-coalescent with branches told apart by the number of samples below them."""
    return _multiple_block_mergers(state, n, _psi_rate)


def wright_fisher(state, n):
    """Exact ancestral process of a haploid Wright-Fisher population, in generations; the state is ``[lineages]``.

    Theta is ``[pair_probability]``, the chance 1/N that two lineages have the same parent. ``k`` lineages throw
    themselves on N parents, and ``j`` parents are hit with chance S(k, j) N(N-1)...(N-j+1) / N^k, where S is a Stirling
    number of the second kind.
    """
    if len(state) == 0:
        return [([n], 1.0)]
    k = int(state[0])
    p = params("pair_probability")
    transitions = []
    for j in range(1, k):
        chance = _stirling2(k, j) * p ** (k - j)
        for taken in range(1, j):
            chance = chance * (1 - taken * p)
        transitions.append(([j], chance))
    return transitions


def _pair_mergers(counts):
    """Every way to merge two blocks, as ``(counts afterwards, number of such pairs)``; index 0 is block size 1."""
    mergers = []
    for i, count_i in enumerate(counts):
        for j in range(i, len(counts)):
            pairs = comb(int(count_i), 2) if i == j else int(count_i) * int(counts[j])
            if pairs > 0:
                target = [int(count) for count in counts]
                target[i] -= 1
                target[j] -= 1
                target[i + j + 1] += 1
                mergers.append((target, pairs))
    return mergers


def _multiple_mergers(state, n, rate):
    """Lineage counts of a Lambda-coalescent in which each set of k out of b lineages merges at ``rate(b, k)``."""
    if len(state) == 0:
        return [([n], 1.0)]
    b = int(state[0])
    return [([b - k + 1], comb(b, k) * rate(b, k)) for k in range(2, b + 1)]


def _multiple_block_mergers(state, n, rate):
    """Block counts of a Lambda-coalescent in which each set of k out of b blocks merges at ``rate(b, k)``."""
    if len(state) == 0:
        return [([n] + [0] * (n - 1), 1.0)]
    counts = [int(count) for count in state]
    b = sum(counts)
    transitions = []
    for chosen in product(*(range(count + 1) for count in counts)):
        k = sum(chosen)
        if k < 2:
            continue
        ways = 1
        for count, taken in zip(counts, chosen, strict=True):
            ways *= comb(count, taken)
        target = [count - taken for count, taken in zip(counts, chosen, strict=True)]
        target[sum(size * taken for size, taken in enumerate(chosen, start=1)) - 1] += 1
        transitions.append((target, ways * rate(b, k)))
    return transitions


def _beta_rate(b, k):
    """B(k - alpha, b - k + alpha) / B(2 - alpha, alpha), which is a polynomial in alpha of degree b - 2."""
    coalescence_rate, alpha = params("coalescence_rate", "alpha")
    rate = coalescence_rate / factorial(b - 1)
    for i in range(k - 2):
        rate = rate * (2 + i - alpha)
    for i in range(b - k):
        rate = rate * (alpha + i)
    return rate


def _psi_rate(b, k):
    """psi^(k - 2) (1 - psi)^(b - k): everyone takes part in the merger with chance psi, given that two do."""
    coalescence_rate, psi = params("coalescence_rate", "psi")
    return coalescence_rate * psi ** (k - 2) * (1 - psi) ** (b - k)


def _stirling2(k, j):
    """Number of ways to split k things into j groups that are not empty."""
    return sum((-1) ** i * comb(j, i) * (j - i) ** k for i in range(j + 1)) // factorial(j)
