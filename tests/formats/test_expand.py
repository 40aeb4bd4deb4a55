"""The expanded document: anybody who evaluates the table in order gets the engine's numbers to the last bit."""

from __future__ import annotations

import contextlib
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import Chain, any_chains, thetas

from phasic_models.dag import SymbolicDAG
from phasic_models.errors import InfiniteExpectationError, NumericalError
from phasic_models.formats import EXPRESSION_LIMIT, dag_to_json
from phasic_models.formats.expand import expand, expression_bound
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params


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


def expectation(document: dict, value: list[float], rewards: list[float]) -> float:
    """The expected reward until absorption, from the document and the values of its expressions alone."""
    vertices = document["vertices"]
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


def carry_out(document: dict, theta: list[float]) -> tuple[dict, list[float]]:
    """Eliminate as docs/format.md tells the reader of a document that is not expanded; indices are positions here."""
    weight = evaluate(document, theta)
    order, blocks = document["elimination"]["order"], document["elimination"]["blocks"]
    place = {v: i for i, v in enumerate(order)}
    values: list[float] = []
    vertices: list[dict] = [{} for _ in document["vertices"]]
    a: dict[int, dict[int, float]] = {}
    exit_: dict[int, float] = {}
    rate: dict[int, float] = {}

    def store(value: float) -> int:
        values.append(value)
        return len(values) - 1

    for first, last in pairwise(blocks):
        for i in range(first, last):
            v = order[i]
            a[i], exit_[i] = {}, 0.0
            vertices[v] = {"leaving": [], "edges": [], "updates": []}
            for source, target, e in document["graph"]["edges"]:
                if source != v:
                    continue
                if first <= place.get(target, -1) < last:
                    a[i][place[target]] = weight[e]
                    continue
                exit_[i] += weight[e]
                if target in place:
                    vertices[v]["leaving"].append([target, store(weight[e])])
            for j in range(first, i):
                if j in a[i]:
                    f = a[i][j] / rate[j]
                    vertices[v]["updates"].append([order[j], store(f)])
                    exit_[i] += f * exit_[j]
                    for k, entry in a[j].items():
                        if k > j and k != i:
                            a[i][k] = a[i].get(k, 0.0) + f * entry
            rate[i] = exit_[i]
            for k in sorted(a[i]):
                if k > i:
                    rate[i] += a[i][k]
                    vertices[v]["edges"].append([order[k], store(a[i][k])])
            vertices[v]["rate"] = store(rate[i])
    return {"vertices": vertices, "elimination": document["elimination"], "expressions": []}, values


def check(graph: Graph, theta: list[float], rewards: list[float] | None = None) -> None:
    dag = graph.eliminate()
    document = json.loads(dag.to_json())
    try:
        expected = dag.model().expectation(theta, None if rewards is None else np.array(rewards))
    except (InfiniteExpectationError, NumericalError):
        assume(False)
    rewards = rewards or [1.0] * graph.vertices_length()
    assert expectation(document, evaluate(document, theta), rewards) == expected
    compact = json.loads(dag_to_json(dag, expression_limit=0))
    assert not compact["expanded"]
    assert expectation(*carry_out(compact, theta), rewards) == expected


def test_the_example_of_the_documentation() -> None:
    """Code, document, values and answer in docs/format.md are those of this package."""
    text = (Path(__file__).parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    code, written, values = (content for _, content in blocks[:3])
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/format.md", "exec"), {})
    assert printed.getvalue() == written + "\n"
    document, theta = json.loads(written), [1.0, 3.0]
    found = evaluate(document, theta)
    assert "".join(f"{index} {value!r}\n" for index, value in enumerate(found)) == values
    assert expectation(document, found, [1.0] * 4) == 9.0
    assert SymbolicDAG.from_json(written).model().expectation(theta) == 9.0
    assert "the machine lives for 9 units of time" in text
    assert f"{EXPRESSION_LIMIT:,}" in text


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
        np.concatenate(lower).astype(np.int32),
        np.cumsum([0, *map(len, upper)]),
        np.concatenate(upper).astype(np.int32),
    )
    assert full.operations >= dag.operations
    assert expand(full) == expand(dag)


@pytest.mark.parametrize("discrete", [False, True])
def test_a_chain_that_is_absorbed_at_once(discrete: bool) -> None:
    graph = Graph(lambda state: [([0], 1.0, [1.0])] if len(state) == 0 else [], discrete=discrete)
    document = json.loads(graph.eliminate().to_json())
    assert expectation(document, evaluate(document, []), [1.0, 1.0]) == 0.0
