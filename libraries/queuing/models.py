"""State spaces of the queuing library.

Each function is a callback as ``phasic_models.Graph`` takes it. It is called with an empty state for the initial
states, then once for every state that it has named. ``library.yaml`` says with which arguments each model calls its
function, and in which order the parameters stand in theta.

A customer who arrives at a full queue is lost, unless the function says otherwise.
"""

from phasic_models import params


def birth_death(state, start, servers, capacity):
    """M/M/c/K until it is empty; the state is ``[customers]``; theta is ``[arrival_rate, service_rate]``."""
    if len(state) == 0:
        return [([start], 1.0, [1.0, 0.0])]
    customers = int(state[0])
    if customers == 0:
        return []
    transitions = [([customers - 1], 0.0, [0.0, min(customers, servers)])]
    if customers < capacity:
        transitions.append(([customers + 1], 0.0, [1.0, 0.0]))
    return transitions


def first_loss(state, start, servers, capacity):
    """M/M/c/K until it first turns a customer away; theta is ``[arrival_rate, service_rate]``.

    The state is ``[customers]``; ``[capacity + 1]`` stands for the first loss.
    """
    if len(state) == 0:
        return [([start], 1.0, [1.0, 0.0])]
    customers = int(state[0])
    if customers > capacity:
        return []
    transitions = [([customers + 1], 0.0, [1.0, 0.0])]
    if customers > 0:
        transitions.append(([customers - 1], 0.0, [0.0, min(customers, servers)]))
    return transitions


def abandonment(state, start, servers, capacity):
    """M/M/c/K with impatient customers (Erlang A) until it is empty; the state is ``[customers]``.

    Each waiting customer leaves at the abandonment rate; theta is ``[arrival_rate, service_rate, abandonment_rate]``.
    """
    if len(state) == 0:
        return [([start], 1.0, [1.0, 0.0, 0.0])]
    customers = int(state[0])
    if customers == 0:
        return []
    transitions = [([customers - 1], 0.0, [0.0, min(customers, servers), max(customers - servers, 0)])]
    if customers < capacity:
        transitions.append(([customers + 1], 0.0, [1.0, 0.0, 0.0]))
    return transitions


def sojourn(state, capacity):
    """Time in the system of a customer who is let into a stationary M/M/1/K queue.

    The state is ``[customers up to and including this one]``. The chance to find i others is proportional to
    (arrival_rate / service_rate)^i; theta is ``[arrival_rate, service_rate]``.
    """
    arrival_rate, service_rate = params("arrival_rate", "service_rate")
    if len(state) == 0:
        # Multiplied by service_rate^(capacity - 1), so that no power is negative; the engine normalises the sum to one.
        return [([i + 1], arrival_rate**i * service_rate ** (capacity - 1 - i)) for i in range(capacity)]
    ahead = int(state[0])
    return [([ahead - 1], service_rate)] if ahead > 0 else []


def processor_sharing(state, others, capacity):
    """Time in an M/M/1/K queue with processor sharing of a customer who finds ``others`` others there.

    The state is ``[this customer is present, other customers]``; theta is ``[arrival_rate, service_rate]``.
    """
    if len(state) == 0:
        return [([1, others], 1.0, [1.0, 0.0])]
    present, there = (int(count) for count in state)
    if present == 0:
        return []
    total = there + 1
    # The customer leaves behind a queue that nobody watches: one absorbing state for all its lengths.
    transitions = [([0, 0], 0.0, [0.0, 1 / total])]
    if there > 0:
        transitions.append(([1, there - 1], 0.0, [0.0, there / total]))
    if total < capacity:
        transitions.append(([1, there + 1], 0.0, [1.0, 0.0]))
    return transitions


def erlang_service(state, phases, capacity):
    """M/E_k/1/K until it is empty; the state is ``[customers, phases left for the one in service]``.

    Each of the k phases of a service is passed at rate k * service_rate; theta is ``[arrival_rate, service_rate]``.
    """
    if len(state) == 0:
        return [([1, phases], 1.0, [1.0, 0.0])]
    customers, left = (int(count) for count in state)
    if customers == 0:
        return []
    after = [customers, left - 1] if left > 1 else [customers - 1, phases if customers > 1 else 0]
    transitions = [(after, 0.0, [0.0, phases])]
    if customers < capacity:
        transitions.append(([customers + 1, left], 0.0, [1.0, 0.0]))
    return transitions


def hyperexponential_service(state, capacity):
    """M/H_2/1/K until it is empty; the state is ``[customers, kind of the service under way]``.

    A service is of kind 1 with chance ``probability_1`` and of kind 2 otherwise; theta is
    ``[arrival_rate, service_rate_1, service_rate_2, probability_1]``.
    """
    arrival_rate, rate_1, rate_2, chance = params("arrival_rate", "service_rate_1", "service_rate_2", "probability_1")
    if len(state) == 0:
        return [([1, 1], chance), ([1, 2], 1 - chance)]
    customers, kind = (int(count) for count in state)
    if customers == 0:
        return []
    service_rate = rate_1 if kind == 1 else rate_2
    if customers == 1:
        transitions = [([0, 0], service_rate)]
    else:
        transitions = [([customers - 1, 1], service_rate * chance), ([customers - 1, 2], service_rate * (1 - chance))]
    if customers < capacity:
        transitions.append(([customers + 1, kind], arrival_rate))
    return transitions


def modulated_arrivals(state, capacity):
    """MMPP/M/1/K until it is empty: arrivals come at one of two rates, and a switch turns between the two.

    The state is ``[customers, position of the switch]``; the switch stands at 1 in the beginning. Theta is
    ``[arrival_rate_1, arrival_rate_2, switch_rate_12, switch_rate_21, service_rate]``.
    """
    if len(state) == 0:
        return [([1, 1], 1.0, [1.0, 0.0, 0.0, 0.0, 0.0])]
    customers, position = (int(value) for value in state)
    if customers == 0:
        return []
    first = position == 1
    transitions = [
        ([customers - 1, position if customers > 1 else 0], 0.0, [0.0, 0.0, 0.0, 0.0, 1.0]),
        ([customers, 3 - position], 0.0, [0.0, 0.0, float(first), float(not first), 0.0]),
    ]
    if customers < capacity:
        transitions.append(([customers + 1, position], 0.0, [float(first), float(not first), 0.0, 0.0, 0.0]))
    return transitions


def unreliable_server(state, capacity):
    """M/M/1/K whose server breaks down while it works, until the queue is empty.

    The state is ``[customers, server is up]``; a repair resumes the service. Theta is
    ``[arrival_rate, service_rate, breakdown_rate, repair_rate]``.
    """
    if len(state) == 0:
        return [([1, 1], 1.0, [1.0, 0.0, 0.0, 0.0])]
    customers, up = (int(value) for value in state)
    if customers == 0:
        return []
    if up:
        after = [customers - 1, 1]
        transitions = [(after, 0.0, [0.0, 1.0, 0.0, 0.0]), ([customers, 0], 0.0, [0.0, 0.0, 1.0, 0.0])]
    else:
        transitions = [([customers, 1], 0.0, [0.0, 0.0, 0.0, 1.0])]
    if customers < capacity:
        transitions.append(([customers + 1, up], 0.0, [1.0, 0.0, 0.0, 0.0]))
    return transitions


def retrial(state, orbit_capacity):
    """M/M/1 retrial queue until it is empty; the state is ``[server is busy, customers in orbit]``.

    A customer who finds the server busy goes into orbit and tries again at the retrial rate, each on their own. One who
    finds the orbit full is lost. Theta is ``[arrival_rate, service_rate, retrial_rate]``.
    """
    if len(state) == 0:
        return [([1, 0], 1.0, [1.0, 0.0, 0.0])]
    busy, orbit = (int(value) for value in state)
    if busy == 0 and orbit == 0:
        return []
    if busy == 0:
        return [([1, orbit], 0.0, [1.0, 0.0, 0.0]), ([1, orbit - 1], 0.0, [0.0, 0.0, orbit])]
    transitions = [([0, orbit], 0.0, [0.0, 1.0, 0.0])]
    if orbit < orbit_capacity:
        transitions.append(([1, orbit + 1], 0.0, [1.0, 0.0, 0.0]))
    return transitions


def priority(state, capacity):
    """One server, two classes, preemptive priority of class 1, until both queues are empty.

    The state is ``[customers of class 1, of class 2]``, each at most ``capacity``; a customer of class 1 is there in
    the beginning. Theta is ``[arrival_rate_1, arrival_rate_2, service_rate_1, service_rate_2]``.
    """
    if len(state) == 0:
        return [([1, 0], 1.0, [1.0, 0.0, 0.0, 0.0])]
    high, low = (int(count) for count in state)
    if high + low == 0:
        return []
    transitions = []
    if high > 0:
        transitions.append(([high - 1, low], 0.0, [0.0, 0.0, 1.0, 0.0]))
    else:
        transitions.append(([high, low - 1], 0.0, [0.0, 0.0, 0.0, 1.0]))
    if high < capacity:
        transitions.append(([high + 1, low], 0.0, [1.0, 0.0, 0.0, 0.0]))
    if low < capacity:
        transitions.append(([high, low + 1], 0.0, [0.0, 1.0, 0.0, 0.0]))
    return transitions


def tandem(state, capacity):
    """Two stations in a row until both are empty; the state is ``[customers at station 1, at station 2]``.

    Station 1 stops while station 2 is full; a customer is at station 1 in the beginning. Theta is
    ``[arrival_rate, service_rate_1, service_rate_2]``.
    """
    if len(state) == 0:
        return [([1, 0], 1.0, [1.0, 0.0, 0.0])]
    first, second = (int(count) for count in state)
    if first + second == 0:
        return []
    transitions = []
    if first < capacity:
        transitions.append(([first + 1, second], 0.0, [1.0, 0.0, 0.0]))
    if first > 0 and second < capacity:
        transitions.append(([first - 1, second + 1], 0.0, [0.0, 1.0, 0.0]))
    if second > 0:
        transitions.append(([first, second - 1], 0.0, [0.0, 0.0, 1.0]))
    return transitions


def polling(state, capacity):
    """One server that goes to and fro between two queues and empties each (exhaustive service), until both are empty.

    The state is ``[customers in queue 1, in queue 2, server]``, where the server is 1 or 2 while it serves that queue,
    and 3 or 4 while it walks to queue 1 or 2. Theta is
    ``[arrival_rate_1, arrival_rate_2, service_rate_1, service_rate_2, walk_rate]``.
    """
    if len(state) == 0:
        return [([1, 0, 1], 1.0, [1.0, 0.0, 0.0, 0.0, 0.0])]
    queues, server = [int(state[0]), int(state[1])], int(state[2])
    if sum(queues) == 0:
        return []
    transitions = []
    for i in (0, 1):
        if queues[i] < capacity:
            longer = [queues[j] + (j == i) for j in (0, 1)]
            transitions.append(([*longer, server], 0.0, [float(i == 0), float(i == 1), 0.0, 0.0, 0.0]))
    if server > 2:
        transitions.append(([*queues, server - 2], 0.0, [0.0, 0.0, 0.0, 0.0, 1.0]))
        return transitions
    at = server - 1
    shorter = [queues[j] - (j == at) for j in (0, 1)]
    if sum(shorter) == 0:
        after = [0, 0, 0]
    elif shorter[at] == 0:
        after = [*shorter, 3 + (1 - at)]
    else:
        after = [*shorter, server]
    transitions.append((after, 0.0, [0.0, 0.0, float(at == 0), float(at == 1), 0.0]))
    return transitions


def geo_geo(state, capacity):
    """Geo/Geo/1/K in slots of equal length, until it is empty; the state is ``[customers]``.

    In each slot a customer arrives with chance ``arrival_probability``, and the one in service (who was there before
    the slot) leaves with chance ``service_probability``; theta holds these two.
    """
    if len(state) == 0:
        return [([1], 1.0)]
    customers = int(state[0])
    if customers == 0:
        return []
    arrival, service = params("arrival_probability", "service_probability")
    transitions = [([customers - 1], service * (1 - arrival))]
    if customers < capacity:
        transitions.append(([customers + 1], arrival * (1 - service)))
    return transitions
