"""The expanded document: anybody who evaluates the table in order gets the engine's numbers to the last bit."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import Chain, any_chains, thetas

from phasic_models.dag import SymbolicDAG
from phasic_models.errors import InfiniteExpectationError, NumericalError
from phasic_models.expand import expand, expression_bound
from phasic_models.expr import params
from phasic_models.graph import Graph


def evaluate(document: dict, theta: list[float]) -> list[float]:
    """The values of all expressions; written from docs/format.md alone, as a reader in another language would be."""
    values: list[float] = []
    for kind, *arguments in document["expressions"]:
        if kind == "const":
            value = float(arguments[0])
        elif kind == "affine":
            value = float(arguments[0])
            for parameter, coefficient in arguments[1]:
                value += coefficient * theta[parameter]
        else:
            a, b = (values[index] for index in arguments)
            value = a + b if kind == "add" else a * b if kind == "mul" else a / b
        values.append(value)
    return values


def expectation(document: dict, theta: list[float], rewards: list[float]) -> float:
    """The expected reward until absorption, from the document alone."""
    value, vertices = evaluate(document, theta), document["vertices"]
    x, y = [0.0] * len(vertices), [0.0] * len(vertices)
    for first, last in pairwise(document["elimination"]["blocks"]):
        block = document["elimination"]["order"][first:last]
        for v in block:
            y[v] = rewards[v] if v != 0 else 0.0
            for target, weight in vertices[v].get("leaving", []):
                y[v] += value[weight] * x[target]
            for source, factor in vertices[v].get("updates", []):
                y[v] += value[factor] * y[source]
        for v in reversed(block):
            x[v] = y[v]
            for target, weight in vertices[v].get("edges", []):
                x[v] += value[weight] * x[target]
            x[v] /= value[vertices[v]["rate"]]
    return x[0]


def check(graph: Graph, theta: list[float], rewards: list[float] | None = None) -> None:
    dag = graph.eliminate()
    document = json.loads(dag.to_json())
    try:
        expected = dag.model().expectation(theta, None if rewards is None else np.array(rewards))
    except (InfiniteExpectationError, NumericalError):
        assume(False)
    assert expectation(document, theta, rewards or [1.0] * graph.vertices_length()) == expected


@given(chain=any_chains(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_same_bits_as_the_engine(chain: Chain, data: st.DataObject) -> None:
    graph = chain.graph()
    rewards = data.draw(st.lists(st.floats(0, 1e3), min_size=graph.vertices_length(), max_size=graph.vertices_length()))
    check(graph, data.draw(thetas(chain.n_params)), rewards)
    check(graph, data.draw(thetas(chain.n_params)))


@given(theta=st.lists(st.floats(0.01, 100), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_same_bits_on_a_dense_component(theta: list[float]) -> None:
    check(repairable(4), theta)


@given(theta=st.lists(st.floats(0.01, 100), min_size=2, max_size=2))
@settings(max_examples=30, deadline=None)
def test_same_bits_for_rational_weights(theta: list[float]) -> None:
    a, b = params("a", "b")

    def callback(state):
        if len(state) == 0:
            return [([2], a / (a + b)), ([1], b / (a + b))]
        k = int(state[0])
        up = [([k + 1], a * b / (1 + b**2))] if 0 < k < 5 else []
        return up + ([([k - 1], (a + 2 * b) ** 2 / 3)] if k else [])

    check(Graph(callback), theta)


def repairable(n: int) -> Graph:
    """Components that fail and are repaired; the system dies when all are down, or by a shock."""

    def callback(state):
        if len(state) == 0:
            return [([1] * n, 1.0, [1.0])]
        if not any(state):
            return []
        moves = [([0] * n, 0.0, [0.0, 0.0, 1.0])]
        for i in range(n):
            flipped = state.copy()
            flipped[i] = 1 - state[i]
            rate = [0.5 + 0.25 * i, 0.0, 0.0] if state[i] else [0.0, 1.0, 0.0]
            moves.append((flipped, 0.0, rate))
        return moves

    return Graph(callback)


def test_every_row_is_used_once_and_refers_backwards() -> None:
    document = json.loads(repairable(4).eliminate().to_json())
    table = document["expressions"]
    rows = {(kind, *arguments) for kind, *arguments in table if kind in ("add", "mul", "div")}
    assert len(rows) == sum(row[0] in ("add", "mul", "div") for row in table)
    used = {index for vertex in document["vertices"] for index in (vertex.get("rate"), vertex.get("exit"))}
    used |= {weight for _, _, weight in document["graph"]["edges"]}
    for vertex in document["vertices"]:
        for key in ("leaving", "edges", "updates"):
            used |= {weight for _, weight in vertex.get(key, [])}
    for index, (kind, *arguments) in enumerate(table):
        if kind in ("add", "mul", "div"):
            assert max(arguments) < index
            used.update(arguments)
    assert used - {None} == set(range(len(table)))


@given(chain=any_chains())
@settings(max_examples=60, deadline=None)
def test_the_bound_is_a_bound(chain: Chain) -> None:
    dag = chain.graph().eliminate()
    expansion = expand(dag)
    assert expansion.n_weights + len(expansion.operation) <= expression_bound(dag)


def test_equal_operations_are_stored_once() -> None:
    """Independent copies of a component share rows: the table grows with what differs."""

    def ladder(width: int) -> int:
        def callback(state):
            if len(state) == 0:
                return [([i, 3], 1.0 / width, [1.0]) for i in range(width)]
            i, k = map(int, state)
            if k == 0:
                return []
            return [([i, k - 1], 0.0, [1.0, 0.0])] + ([([i, k + 1], 0.0, [0.0, 1.0])] if k < 3 else [])

        return len(expand(Graph(callback).eliminate()).operation)

    assert ladder(1) == ladder(2) - 1  # the starting vertex sums one more probability
    assert ladder(8) == ladder(1) + 7


def test_a_pattern_with_room_to_spare_gives_the_same_table() -> None:
    """A stored pattern may hold entries that stay zero; they leave no trace in the table."""
    dag = repairable(3).eliminate()
    rows = len(dag.order)
    lower, upper = [], []
    for first, last in pairwise(dag.block_ptr.tolist()):
        for i in range(first, last):
            lower.append(list(range(first, i)))
            upper.append(list(range(i + 1, last)))
    assert rows == len(lower)
    full = SymbolicDAG(
        dag.graph,
        dag.order,
        dag.block_ptr,
        np.cumsum([0, *map(len, lower)]),
        np.concatenate(lower),
        np.cumsum([0, *map(len, upper)]),
        np.concatenate(upper),
    )
    assert full.operations >= dag.operations
    assert expand(full) == expand(dag)


@pytest.mark.parametrize("discrete", [False, True])
def test_a_chain_that_is_absorbed_at_once(discrete: bool) -> None:
    graph = Graph(lambda state: [([0], 1.0, [1.0])] if len(state) == 0 else [], discrete=discrete)
    document = json.loads(graph.eliminate().to_json())
    assert expectation(document, [], [1.0, 1.0]) == 0.0
