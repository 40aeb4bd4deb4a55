"""Content hashes against those that an independent script works out; a change here orphans every file ever written."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from golden.make_hashes import CHAINS, canonical_hash, library_hashes, parts

from phasic_models.graph import Graph
from phasic_models.library.callbacks import graph_of
from phasic_models.library.loading import load_library
from phasic_models.statespace.expr import Expr

ROOT = Path(__file__).parents[2]
HASHES = json.loads((Path(__file__).parent / "golden" / "hashes.json").read_text(encoding="utf-8"))
LIBRARIES = sorted(folder for folder in (ROOT / "libraries").iterdir() if (folder / "library.lock").exists())


def symbols(n):
    names = tuple(f"theta_{i}" for i in range(n))
    return names, [Expr.parameter(names, i) for i in range(n)]


def as_expression(weight, theta):
    base, linear, products = parts(weight)
    result = Expr.constant(base)
    for i, c in linear.items():
        result = result + theta[i] * c
    for coefficient, factors in products:
        term = Expr.constant(Fraction(coefficient))
        for atom, exponent in factors:
            term = term * (theta[atom] if isinstance(atom, int) else as_expression(atom, theta)) ** exponent
        result = result + term
    return result


def as_given(weight, theta):
    """Return the weight in the plainest form that a callback may return."""
    base, linear, products = parts(weight)
    if products:
        return (as_expression(weight, theta),)
    coefficients = [float(linear.get(i, 0)) for i in range(len(theta))]
    return (float(base), coefficients) if theta else (float(base),)


def initial_of(initial, theta):
    return [(state, as_expression(w, theta) if isinstance(w, tuple) else w) for state, w in initial]


def from_callback(chain):
    n, discrete, initial, moves = chain
    names, theta = symbols(n)
    leaving = {}
    for source, target, weight in moves:
        leaving.setdefault(source, []).append((target, *as_given(weight, theta)))
    return Graph(
        lambda state: leaving.get(tuple(state.tolist()), []),
        ipv=initial_of(initial, theta),
        discrete=discrete,
        param_names=names,
    )


def from_blocks(chain):
    n, discrete, initial, moves = chain
    names, theta = symbols(n)

    def callback(states):
        place = {tuple(state): i for i, state in enumerate(states.tolist())}
        blocks = []
        for source, target, weight in moves:
            if source in place:
                base, *more = as_given(weight, theta)
                blocks.append(([place[source]], np.array([target]), base, *more))
        return blocks

    return Graph(callback, ipv=initial_of(initial, theta), discrete=discrete, param_names=names, vectorized=True)


def from_arrays(chain):
    n, discrete, initial, moves = chain
    names, theta = symbols(n)
    states = sorted({state for state, _ in initial} | {state for move in moves for state in move[:2]})
    row = {state: i for i, state in enumerate(states)}
    weights = np.empty(len(moves), dtype=object)
    weights[:] = [as_expression(weight, theta) for _, _, weight in moves]
    return Graph.from_arrays(
        states,
        np.array([row[source] for source, _, _ in moves], dtype=np.int64),
        np.array([row[target] for _, target, _ in moves], dtype=np.int64),
        weights,
        initial={row[state]: w for state, w in initial_of(initial, theta)},
        discrete=discrete,
        param_names=names,
    )


@pytest.mark.parametrize("build", [from_callback, from_blocks, from_arrays])
@pytest.mark.parametrize("name", CHAINS)
def test_hashes_of_chains(name, build):
    assert build(CHAINS[name]).content_hash() == HASHES[name]


def test_the_script_gives_the_hashes_that_are_kept():
    assert {name: canonical_hash(*chain) for name, chain in CHAINS.items()} == HASHES


@pytest.mark.parametrize("folder", LIBRARIES, ids=lambda folder: folder.name)
def test_hashes_of_libraries(folder):
    """Every model's hash is the lock's; the independent script agrees wherever no weight is an expression."""
    lock = json.loads((folder / "library.lock").read_text(encoding="utf-8"))["models"]
    checked = list(library_hashes(folder, largest=1000))
    assert len(checked) >= 15
    assert [name for name, found, locked in checked if found != locked] == []
    library = load_library(folder)
    assert {m.name for m in library.spec.models} == set(lock)
    for model in library.spec.models:
        if lock[model.name]["vertices"] <= 6000:
            graph = graph_of(library.functions[model.function], model, folder / "models.py")
            assert graph.content_hash() == lock[model.name]["graph_hash"], model.name
