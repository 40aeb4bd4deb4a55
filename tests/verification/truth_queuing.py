"""What the queuing library must come to: Kronecker products of small matrices, closed forms, event by event.

Nothing here uses phasic_models.
"""

from __future__ import annotations

import itertools

import numpy as np
from laws import BandedLaw, BirthDeath, DiscreteLaw, ErlangMixture, MatrixLaw, explored, started


def until_empty(start, servers, capacity):
    def law(theta):
        arrival, service = theta
        customers = np.arange(1, capacity + 1)
        birth = np.where(customers < capacity, arrival, 0.0)
        return (BandedLaw if capacity > 100 else BirthDeath)(start - 1, birth, service * np.minimum(customers, servers))

    return law


def until_loss(servers, capacity):
    def law(theta):
        arrival, service = theta
        customers = np.arange(capacity + 1)
        return BirthDeath(0, np.full(capacity + 1, arrival), service * np.minimum(customers, servers))

    return law


def impatient(theta):
    arrival, service, abandonment = theta
    customers = np.arange(1, 101)
    death = service * np.minimum(customers, 5) + abandonment * np.maximum(customers - 5, 0)
    return BirthDeath(19, np.where(customers < 100, arrival, 0.0), death)


def sojourn(theta):
    arrival, service = theta
    return ErlangMixture((arrival / service) ** np.arange(10), service)


def sharing(theta):
    arrival, service = theta
    others = np.arange(50)
    S = np.diag(np.full(49, arrival), 1) + np.diag((service * others / (others + 1))[1:], -1)
    leave = service / (others + 1)
    return MatrixLaw(started(50, 5), S - np.diag(S.sum(axis=1) + leave))


def quasi_birth_death(arrivals, phases, services, levels, start):
    """Blocks: `arrivals` one level up, `phases` within a level, `services` one level down, and out of level 1."""
    up, down = np.diag(np.ones(levels - 1), 1), np.diag(np.ones(levels - 1), -1)
    S = np.kron(up, arrivals) + np.kron(np.eye(levels), phases) + np.kron(down, services)
    leaving = np.kron(np.eye(levels)[0], services.sum(axis=1))
    S -= np.diag(S.sum(axis=1) + leaving)
    alpha = np.zeros(len(S))
    alpha[: len(start)] = start
    return MatrixLaw(alpha, S)


def erlang_service(theta):
    arrival, service = theta
    k = 3
    next_phase = np.diag(np.full(k - 1, k * service), 1)
    renewed = np.zeros((k, k))
    renewed[-1, 0] = k * service
    return quasi_birth_death(arrival * np.eye(k), next_phase, renewed, 50, started(k))


def hyperexponential_service(theta):
    arrival, rate_1, rate_2, chance = theta
    kinds = np.array([chance, 1 - chance])
    return quasi_birth_death(arrival * np.eye(2), np.zeros((2, 2)), np.outer([rate_1, rate_2], kinds), 50, kinds)


def modulated(theta):
    arrival_1, arrival_2, switch_12, switch_21, service = theta
    switch = np.array([[0, switch_12], [switch_21, 0]])
    return quasi_birth_death(np.diag([arrival_1, arrival_2]), switch, service * np.eye(2), 50, [1, 0])


def unreliable(theta):
    arrival, service, breakdown, repair = theta
    change = np.array([[0, breakdown], [repair, 0]])
    return quasi_birth_death(arrival * np.eye(2), change, np.diag([service, 0.0]), 50, [1, 0])


def retrial(theta):
    arrival, service, again = theta
    size = 51
    orbit = np.arange(size)
    S = np.zeros((2 * size, 2 * size))
    idle, busy = S[:size], S[size:]
    idle[:, size:] = arrival * np.eye(size) + np.diag(again * orbit[1:], -1)
    busy[:, :size] = service * np.eye(size)
    busy[:, size:] = np.diag(np.full(size - 1, arrival), 1)
    S -= np.diag(S.sum(axis=1))
    # The empty system, an idle server with nobody in orbit, is absorbing.
    keep = np.arange(1, 2 * size)
    return MatrixLaw(started(2 * size - 1, size - 1), S[np.ix_(keep, keep)])


def priority(theta):
    arrival_1, arrival_2, service_1, service_2 = theta
    size = 11
    up, down = np.diag(np.ones(size - 1), 1), np.diag(np.ones(size - 1), -1)
    none, any_ = np.diag(started(size)), np.eye(size)
    S = (
        arrival_1 * np.kron(up, any_)
        + arrival_2 * np.kron(any_, up)
        + service_1 * np.kron(down, any_)
        + service_2 * np.kron(none, down)
    )
    return without_state_zero(S, size)


def without_state_zero(S, start):
    S = S - np.diag(S.sum(axis=1))
    return MatrixLaw(started(len(S) - 1, start - 1), S[1:, 1:])


def tandem(capacity):
    def law(theta):
        arrival, service_1, service_2 = theta
        size = capacity + 1
        up, down, eye = np.diag(np.ones(size - 1), 1), np.diag(np.ones(size - 1), -1), np.eye(size)
        S = arrival * np.kron(up, eye) + service_1 * np.kron(down, up) + service_2 * np.kron(eye, down)
        return without_state_zero(S, size)

    return law


def polling(theta):
    """Events one by one; the server is at a queue (0 or 1) or walks to it (True)."""
    arrivals, services, walk = theta[:2], theta[2:4], theta[4]

    def events(state):
        line, place, walking = state
        for queue in (0, 1):
            if line[queue] < 10:
                longer = tuple(number + (k == queue) for k, number in enumerate(line))
                yield arrivals[queue], (longer, place, walking)
        if walking:
            yield walk, (line, place, False)
            return
        shorter = tuple(number - (k == place) for k, number in enumerate(line))
        if shorter == (0, 0):
            yield services[place], None
        elif shorter[place]:
            yield services[place], (shorter, place, False)
        else:
            yield services[place], (shorter, 1 - place, True)

    states, S = explored(((1, 0), 0, False), events)
    return MatrixLaw(started(len(states)), S)


def slotted(theta):
    """Each slot: whether one arrives, whether one leaves, and what comes of it at the end of the slot."""
    P = np.zeros((51, 51))
    for customers, arrives, leaves in itertools.product(range(1, 51), (0, 1), (0, 1)):
        chance = (theta[0] if arrives else 1 - theta[0]) * (theta[1] if leaves else 1 - theta[1])
        P[customers, min(customers + arrives - leaves, 50)] += chance
    return DiscreteLaw(started(50), P[1:, 1:])


TRUTH = {
    "mm1_queue": until_empty(1, 1, 100),
    "mm1k_full": until_empty(10, 1, 10),
    "mm1k_loss": until_loss(1, 10),
    "mm1k_sojourn": sojourn,
    "mm1_sharing": sharing,
    "mmk_queue": until_empty(1, 3, 100),
    "mmk_backlog": until_empty(1000, 3, 1000),
    "mmk_full": until_empty(10, 3, 10),
    "erlang_loss_5": until_loss(5, 5),
    "erlang_loss_20": until_loss(20, 20),
    "erlang_a": impatient,
    "me3_1_queue": erlang_service,
    "mh2_1_queue": hyperexponential_service,
    "mmpp_queue": modulated,
    "unreliable_server": unreliable,
    "retrial_queue": retrial,
    "priority_queue": priority,
    "tandem_5": tandem(5),
    "tandem_10": tandem(10),
    "tandem_20": tandem(20),
    "polling_queue": polling,
    "geo_geo_1": slotted,
}
