"""Moments of random chains by phasic, as JSON.

Run by `test_phasic.py` with a Python that has phasic. Reads a JSON list of chains from standard input, each with
``states``, ``initial`` [[state, probability]], ``moves`` [[source, target, rate]], ``rewards`` and ``k``; writes a list
of {"expectation", "variance", "moments", "rewarded", "covariance"}.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any


def moments(case: dict[str, Any]) -> dict[str, Any]:
    import numpy as np
    import phasic

    graph = phasic.Graph(1)
    vertex = {i: graph.find_or_create_vertex([i + 1]) for i in range(len(case["rewards"]))}
    for i, probability in case["initial"]:
        graph.starting_vertex().add_edge(vertex[i], probability)
    for source, target, rate in case["moves"]:
        vertex[source].add_edge(vertex[target], rate)
    rewards = np.zeros(graph.vertices_length())
    for i, v in vertex.items():
        rewards[v.index()] = case["rewards"][i]
    return {
        "expectation": float(graph.expectation()),
        "variance": float(graph.variance()),
        "moments": [float(m) for m in graph.moments(case["k"])],
        "rewarded": [float(m) for m in graph.moments(case["k"], rewards=rewards)],
        "covariance": float(graph.covariance(rewards, np.ones(graph.vertices_length()))),
    }


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    answers = [moments(case) for case in json.load(sys.stdin)]
    # phasic may print while it is imported; the answer is the last line.
    print("\n" + json.dumps(answers))
