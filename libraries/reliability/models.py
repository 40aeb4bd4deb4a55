"""State spaces of the reliability library.

Each function is a callback as ``phasic_models.Graph`` takes it. It is called with an empty state for the initial
states, then once for every state that it has named. ``library.yaml`` says with which arguments each model calls its
function, and in which order the parameters stand in theta.

The time is the time to failure of the system, which is as good as new in the beginning.
"""

from math import comb

from phasic_models import params


def series(state, components):
    """Series system: the first failure ends it.

    The state is ``[1 + number of the component that failed]``, or ``[0]`` while all work, so that the absorbing states
    tell the causes apart; theta holds the failure rates.
    """
    if len(state) == 0:
        return [([0], 1.0, [1.0] * components)]
    if state[0] > 0:
        return []
    return [([1 + i], 0.0, _unit(i, components)) for i in range(components)]


def parallel(state, components):
    """Parallel system without repair: it works while one component does.

    The state holds one bit for each component, 1 while it works; theta holds the failure rates.
    """
    if len(state) == 0:
        return [([1] * components, 1.0, [1.0] * components)]
    return [(_flip(state, i), 0.0, _unit(i, components)) for i in range(components) if state[i] == 1]


def repairable(state, components):
    """Parallel system, each component with a failure rate and a repair rate of its own, until all are down at once.

    The state holds one bit for each component, 1 while it works; theta holds the failure rates, then the repair rates.
    """
    if len(state) == 0:
        return [([1] * components, 1.0, [1.0] * (2 * components))]
    if sum(state) == 0:
        return []
    return [
        (_flip(state, i), 0.0, _unit(i if state[i] == 1 else components + i, 2 * components)) for i in range(components)
    ]


def k_of_n(state, k, n):
    """k-out-of-n system of equal components without repair: it works while at least ``k`` work.

    The state is ``[working components]``; theta is ``[failure_rate]``.
    """
    if len(state) == 0:
        return [([n], 1.0, [1.0])]
    working = int(state[0])
    return [([working - 1], 0.0, [working])] if working >= k else []


def k_of_n_repair(state, k, n, crews):
    """k-out-of-n system of equal components with ``crews`` repair crews.

    The state is ``[working components]``; theta is ``[failure_rate, repair_rate]``.
    """
    if len(state) == 0:
        return [([n], 1.0, [1.0, 0.0])]
    working = int(state[0])
    if working < k:
        return []
    transitions = [([working - 1], 0.0, [working, 0.0])]
    if working < n:
        transitions.append(([working + 1], 0.0, [0.0, min(n - working, crews)]))
    return transitions


def k_of_n_mixed(state, k, components):
    """k-out-of-n system of components with failure rates of their own, without repair.

    The state holds one bit for each component, 1 while it works; theta holds the failure rates.
    """
    if len(state) > 0 and sum(state) < k:
        return []
    return parallel(state, components)


def standby(state, spares):
    """One unit at work, ``spares`` units in cold standby, and a switch to the next one that may fail.

    The state is ``[units left]``; theta is ``[failure_rate, switch_probability]``.
    """
    if len(state) == 0:
        return [([1 + spares], 1.0)]
    left = int(state[0])
    if left == 0:
        return []
    failure_rate, switch_probability = params("failure_rate", "switch_probability")
    if left == 1:
        return [([0], failure_rate)]
    return [([left - 1], failure_rate * switch_probability), ([0], failure_rate * (1 - switch_probability))]


def warm_standby(state, working, spares, crews):
    """``working`` units at work, ``spares`` in warm standby, and repair, until fewer than ``working`` units are left.

    The state is ``[units that are not failed]``; theta is ``[failure_rate, standby_failure_rate, repair_rate]``.
    """
    total = working + spares
    if len(state) == 0:
        return [([total], 1.0, [1.0, 0.0, 0.0])]
    good = int(state[0])
    if good < working:
        return []
    transitions = [([good - 1], 0.0, [working, good - working, 0.0])]
    if good < total:
        transitions.append(([good + 1], 0.0, [0.0, 0.0, min(total - good, crews)]))
    return transitions


def raid(state, disks, parity):
    """Disk array that survives ``parity`` failed disks at a time; every failed disk is rebuilt at the rebuild rate.

    The state is ``[failed disks]``; theta is ``[failure_rate, rebuild_rate]``.
    """
    if len(state) == 0:
        return [([0], 1.0, [1.0, 0.0])]
    failed = int(state[0])
    if failed > parity:
        return []
    transitions = [([failed + 1], 0.0, [disks - failed, 0.0])]
    if failed > 0:
        transitions.append(([failed - 1], 0.0, [0.0, failed]))
    return transitions


def bridge(state, repair):
    """Bridge network of five components, until no path of working components joins its two ends.

    Components 1 and 2 start at the source, 4 and 5 end at the sink, 3 is the bridge: the paths are 1-4, 2-5, 1-3-5 and
    2-3-4. The state holds one bit for each component, 1 while it works; theta holds the five failure rates and,
    with ``repair``, the five repair rates.
    """
    length = 10 if repair else 5
    if len(state) == 0:
        return [([1] * 5, 1.0, [1.0] * length)]
    one, two, three, four, five = (bool(bit) for bit in state)
    if not ((one and four) or (two and five) or (one and three and five) or (two and three and four)):
        return []
    transitions = [(_flip(state, i), 0.0, _unit(i, length)) for i in range(5) if state[i] == 1]
    if repair:
        transitions += [(_flip(state, i), 0.0, _unit(5 + i, length)) for i in range(5) if state[i] == 0]
    return transitions


def common_cause(state, components):
    """Marshall-Olkin model: each component fails on its own, and a common shock takes down all that still work.

    The state holds one bit for each component, 1 while it works. The system is parallel; theta holds the failure rates
    of the components, then the rate of the common shock.
    """
    length = components + 1
    if len(state) == 0:
        return [([1] * components, 1.0, [1.0] * length)]
    if sum(state) == 0:
        return []
    transitions = [(_flip(state, i), 0.0, _unit(i, length)) for i in range(components) if state[i] == 1]
    transitions.append(([0] * components, 0.0, _unit(components, length)))
    return transitions


def beta_factor(state, k, n):
    """k-out-of-n system whose failures have, with chance beta, a common cause that takes down every component.

    The state is ``[working components]``. A component's failure rate is split into (1 - beta) of its own and beta
    in common; theta is ``[failure_rate, beta]``.
    """
    if len(state) == 0:
        return [([n], 1.0)]
    working = int(state[0])
    if working < k:
        return []
    failure_rate, beta = params("failure_rate", "beta")
    return [([working - 1], working * failure_rate * (1 - beta)), ([0], failure_rate * beta)]


def wear(state, stages):
    """Wear through stages with a rate each, one after the other (hypoexponential); the state is ``[stage]``."""
    if len(state) == 0:
        return [([0], 1.0, [1.0] * stages)]
    stage = int(state[0])
    return [([stage + 1], 0.0, _unit(stage, stages))] if stage < stages else []


def coxian(state, stages):
    """Coxian wear: from each stage but the last the unit wears on or fails at once.

    The state is ``[stage]``, with ``[stages]`` for failed; theta holds the ``stages - 1`` wear rates, then the
    ``stages`` failure rates.
    """
    length = 2 * stages - 1
    if len(state) == 0:
        return [([0], 1.0, [1.0] * length)]
    stage = int(state[0])
    if stage == stages:
        return []
    transitions = [([stages], 0.0, _unit(stages - 1 + stage, length))]
    if stage < stages - 1:
        transitions.append(([stage + 1], 0.0, _unit(stage, length)))
    return transitions


def maintained_wear(state, stages, alarm):
    """Wear through ``stages`` equal stages, with inspections that renew a unit found at stage ``alarm`` or later.

    The state is ``[stage]``, with ``[stages]`` for failed; theta is ``[wear_rate, inspection_rate]``.
    """
    if len(state) == 0:
        return [([0], 1.0, [1.0, 0.0])]
    stage = int(state[0])
    if stage == stages:
        return []
    transitions = [([stage + 1], 0.0, [1.0, 0.0])]
    if stage >= alarm:
        transitions.append(([0], 0.0, [0.0, 1.0]))
    return transitions


def cumulative_shocks(state, threshold, largest):
    """Shocks whose damages add up, until the sum reaches ``threshold``; the state is ``[damage]``.

    Theta holds the rates of the shocks of damage 1, 2, ..., ``largest``.
    """
    if len(state) == 0:
        return [([0], 1.0, [1.0] * largest)]
    damage = int(state[0])
    if damage == threshold:
        return []
    rates = {}
    for size in range(1, largest + 1):
        rates.setdefault(min(damage + size, threshold), [0.0] * largest)[size - 1] = 1.0
    return [([target], 0.0, coefficients) for target, coefficients in rates.items()]


def shock_run(state, run):
    """Shocks that are critical or harmless, until ``run`` critical ones come in a row; the state is ``[run so far]``.

    Theta is ``[shock_rate, critical_probability]``.
    """
    if len(state) == 0:
        return [([0], 1.0)]
    length = int(state[0])
    if length == run:
        return []
    shock_rate, critical = params("shock_rate", "critical_probability")
    transitions = [([length + 1], shock_rate * critical)]
    if length > 0:
        transitions.append(([0], shock_rate * (1 - critical)))
    return transitions


def failed_demands(state, run):
    """Number of demands until ``run`` of them fail in a row (discrete time); the state is ``[failures in a row]``.

    Theta is ``[failure_probability]``.
    """
    if len(state) == 0:
        return [([0], 1.0, [1.0])]
    length = int(state[0])
    if length == run:
        return []
    transitions = [([length + 1], 0.0, [1.0])]
    if length > 0:
        transitions.append(([0], 1.0, [-1.0]))
    return transitions


def redundant_missions(state, k, n):
    """Number of missions until fewer than ``k`` of ``n`` equal components are left (discrete time, no repair).

    The state is ``[working components]``. In a mission each working component fails with the same chance, independently
    of the others, so several may fail at once; theta is ``[failure_probability]``.
    """
    if len(state) == 0:
        return [([n], 1.0)]
    working = int(state[0])
    if working < k:
        return []
    q = params("failure_probability")
    return [
        ([working - failed], comb(working, failed) * q**failed * (1 - q) ** (working - failed))
        for failed in range(1, working + 1)
    ]


def _unit(index, length):
    """Coefficients that pick one parameter out of theta."""
    coefficients = [0.0] * length
    coefficients[index] = 1.0
    return coefficients


def _flip(state, index):
    """The state with one component's bit turned over."""
    bits = [int(bit) for bit in state]
    bits[index] = 1 - bits[index]
    return bits
