"""How fast state spaces are explored: microseconds an edge and states a second, for callbacks of both kinds.

    uv run benchmarks/exploration.py [--quick]

Seconds are CPU seconds of this process. What the callback takes alone is measured by calling it on every state of the
graph, and shown apart from what `Graph` adds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import once, peak_mb
from vectorised import rabbits

from phasic_models import Graph


def countdown(state: Any, n: int) -> list[Any]:
    """A queue of n places: a narrow state space, one new state a step."""
    if len(state) == 0:
        return [([n // 2], 1.0)]
    k = int(state[0])
    return [([k - 1], [0.0, 1.0]), ([k + 1], [1.0, 0.0])] if 0 < k < n else []


def blocks(state: Any, samples: list[int]) -> list[Any]:
    """Two islands; the state counts lineages by island and by number of samples below them."""
    n = sum(samples)
    if len(state) == 0:
        first, second = [0] * n, [0] * n
        first[0], second[0] = samples
        return [(first + second, 1.0, [1.0, 0.0])]
    counts = state.tolist()
    return merge_and_move(counts, n, lambda i, j: i + j + 1)


def joint(state: Any, samples: list[int]) -> list[Any]:
    """Isolation with migration; the state counts lineages by island and by how many samples of each island are below."""
    a, b = samples
    kinds = (a + 1) * (b + 1) - 1
    if len(state) == 0:
        counts = [0] * (2 * kinds)
        counts[b], counts[kinds] = a, b
        return [(counts, 1.0, [1.0, 0.0])]
    return merge_and_move(state.tolist(), kinds, lambda i, j: i + j + 1)


def merge_and_move(counts: list[int], kinds: int, merged: Callable[[int, int], int]) -> list[Any]:
    """Transitions of lineages of `kinds` kinds on two islands."""
    if sum(counts) == 1:
        return []
    out = []
    for island in (0, kinds):
        present = [kind for kind in range(kinds) if counts[island + kind]]
        for place, kind in enumerate(present):
            count = counts[island + kind]
            target = counts.copy()
            target[island + kind] -= 1
            target[kinds - island + kind] += 1
            out.append((target, 0.0, [0.0, count]))
            for other in present[place:]:
                pairs = count * (count - 1) // 2 if other == kind else count * counts[island + other]
                if pairs:
                    target = counts.copy()
                    target[island + kind] -= 1
                    target[island + other] -= 1
                    target[island + merged(kind, other)] += 1
                    out.append((target, 0.0, [pairs, 0.0]))
    return out


def joint_vectorised(states: Any, samples: list[int]) -> Any:
    """The same as `joint`, for many states at once."""
    a, b = samples
    kinds = (a + 1) * (b + 1) - 1
    if states.size == 0:
        start = np.zeros((1, 2 * kinds), dtype=np.int64)
        start[0, [b, kinds]] = samples
        return start, [1.0]
    # Counts are small; narrow integers are quicker to move about.
    states = states.astype(np.int8)
    row, place = np.nonzero(states * (states.sum(axis=1) > 1)[:, None])
    count = states[row, place].astype(np.int64)
    out = []
    # Each lineage moves; each pair of entries of one row and one island merges.
    target = states[row]
    edge = np.arange(row.size)
    target[edge, place] -= 1
    target[edge, (place + kinds) % (2 * kinds)] += 1
    out.append((row, target, 0.0, np.stack([np.zeros(count.size), count], axis=1)))
    for apart in range(int(np.bincount(row).max(initial=0))):
        first = edge[: edge.size - apart]
        second = first + apart
        same = (row[first] == row[second]) & (place[first] // kinds == place[second] // kinds)
        first, second = first[same], second[same]
        pairs = count[first] * (count[second] - 1) // 2 if apart == 0 else count[first] * count[second]
        some = pairs > 0
        first, second, pairs = first[some], second[some], pairs[some]
        if not first.size:
            continue
        target = states[row[first]]
        edges = np.arange(first.size)
        island = place[first] // kinds * kinds
        target[edges, place[first]] -= 1
        target[edges, place[second]] -= 1
        target[edges, place[first] + place[second] - island + 1] += 1
        out.append((row[first], target, 0.0, np.stack([pairs, np.zeros(pairs.size)], axis=1)))
    return out


def report(name: str, callback: Callable[[Any], Any], **options: Any) -> str:
    """Build the graph once and print what an edge and a state cost; return its hash."""
    graph, spent = once(lambda: Graph(callback, **options))
    states = graph.states()[1:]
    size = 65536 if options.get("vectorized") else 1

    def call() -> None:
        for first in range(0, len(states), size):
            callback(states[first : first + size] if size > 1 else states[first])

    _, alone = once(call)
    edges = graph.n_edges
    print(
        f"{name:32s} {graph.vertices_length():9,} vertices {edges:10,} edges {spent['cpu']:7.2f} s, callback alone "
        f"{alone['cpu']:6.2f} s; {1e6 * (spent['cpu'] - alone['cpu']) / edges:6.2f} us an edge beside it, "
        f"{graph.vertices_length() / spent['cpu']:11,.0f} states/s"
    )
    return graph.content_hash()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="leave out what takes longer than a few seconds")
    quick = parser.parse_args().quick
    report("queue of 20,000 places", lambda s: countdown(s, 20_000))
    report("two islands 7 + 7", lambda s: blocks(s, [7, 7]))
    size = 447 if quick else 1412
    report(f"rabbits {size}, vectorised", rabbits, ipv=[size, 0], vectorized=True)
    samples = [4, 4] if quick else [7, 7]
    name = f"isolation with migration {samples[0]} + {samples[1]}"
    many = report(f"{name}, vect.", lambda s: joint_vectorised(s, samples), vectorized=True)
    one = report(name, lambda s: joint(s, samples))
    print("the two forms agree" if one == many else "THE TWO FORMS DIFFER")
    print(f"peak {peak_mb():,.0f} MB")


if __name__ == "__main__":
    main()
