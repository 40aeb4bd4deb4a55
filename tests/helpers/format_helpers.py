"""Models and comparisons that the tests of the file formats share."""

from __future__ import annotations

import json

from phasic_models.dag import SymbolicDAG
from phasic_models.formats import arrays, model_json
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

HASH = "0123456789abcdef" * 4


def machine() -> Graph:
    """The worked example of docs/format.md: a machine works (2), is broken (1) or scrapped (0)."""
    failure, repair = params("failure", "repair")

    def callback(state):
        if len(state) == 0:
            return [([2], 1.0)]
        return {2: [([1], failure)], 1: [([2], repair), ([0], 0.5)], 0: []}[int(state[0])]

    return Graph(callback, param_names=["failure", "repair"])


def rational() -> Graph:
    a, b = params("a", "b")

    def callback(state):
        if len(state) == 0:
            return [([3], a / (a + b)), ([1], b / (a + b))]
        k = int(state[0])
        return [([k + 1], a * b / (1 + b**2))] * (0 < k < 4) + [([k - 1], (a + 2 * b) ** 2 / 3)] * (k > 0)

    return Graph(callback)


def same_model(found: SymbolicDAG, expected: SymbolicDAG) -> None:
    """Every array, name and label is the same to the last bit."""
    for holder in (lambda dag: dag, lambda dag: dag.graph, lambda dag: dag.graph.weights):
        for name in arrays.TENSORS:
            wanted = getattr(holder(expected), name, None)
            if wanted is not None:
                array = getattr(holder(found), name)
                assert array.dtype == wanted.dtype
                assert array.shape == wanted.shape
                assert array.tobytes() == wanted.tobytes()
    assert found.graph.param_names == expected.graph.param_names
    assert found.graph.discrete == expected.graph.discrete
    assert found.graph.content_hash() == expected.graph.content_hash()
    assert found.operations == expected.operations
    assert found.ordering == expected.ordering


def altered(path: str, value: object, *, sign: bool = True) -> str:
    """The example's document with one entry replaced, and labels_hash made to fit again."""
    document = json.loads(rational().eliminate().to_json())
    *parents, last = path.split("/")
    place = document
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    if value is ...:
        del place[int(last) if isinstance(place, list) else last]
    else:
        place[int(last) if isinstance(place, list) else last] = value
    if sign:
        document["labels_hash"] = model_json.labels_hash(
            document.get("format_version", ""),
            document.get("graph_hash", ""),
            document.get("elimination", {}).get("ordering", ""),
            map(str, document.get("param_names", [])),
        )
    return json.dumps(document)
