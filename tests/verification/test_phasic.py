"""Moments of random chains against phasic's, which are right to 1e-13 (its densities are approximate).

phasic runs in an interpreter of its own: in the benchmarks' environment (``python benchmarks/environment.py`` makes
it), or in this one if phasic is installed here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import util
from pathlib import Path

import numpy as np
import pytest

from phasic_models.graph import Graph

pytestmark = pytest.mark.slow

HERE = Path(__file__).resolve().parent
PEERS = HERE.parent.parent / "build" / "benchmark-environment"
MOMENTS = 4


def interpreter() -> Path:
    if util.find_spec("phasic") is not None:
        return Path(sys.executable)
    if not (PEERS / "complete").exists():
        pytest.skip("phasic is not installed; `python benchmarks/environment.py` makes an environment that has it")
    return PEERS / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def random_chain(rng: np.random.Generator) -> dict:
    """A chain of up to 12 states, the last one absorbing, half of them with cycles."""
    n = int(rng.integers(2, 13))
    cyclic, decades = rng.random() < 0.5, rng.choice([0.5, 2.0, 4.0])
    moves = {}
    for i in range(n - 1):
        moves[i, int(rng.integers(i + 1, n))] = 0.0
        for j in rng.integers(0 if cyclic else i + 1, n, size=3).tolist():
            if j != i:
                moves[i, j] = 0.0
    weighted = [[i, j, float(10.0 ** rng.uniform(-decades, decades))] for i, j in moves]
    second = int(rng.integers(1, n - 1)) if n > 2 else 0
    initial = [[0, 1.0]] if second == 0 else [[0, 0.75], [second, 0.25]]
    # Both sides want every state to be reachable.
    seen, stack = set(), [i for i, _ in initial]
    while stack:
        here = stack.pop()
        if here not in seen:
            seen.add(here)
            stack += [j for i, j, _ in weighted if i == here]
    kept = {old: new for new, old in enumerate(sorted(seen))}
    return {
        "initial": [[kept[i], p] for i, p in initial],
        "moves": [[kept[i], kept[j], w] for i, j, w in weighted if i in kept],
        "rewards": rng.choice([0.0, 1.0, 0.25, 3.5], size=len(kept)).tolist(),
        "k": MOMENTS,
    }


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    rng = np.random.default_rng(20)
    chains = [random_chain(rng) for _ in range(60)]
    home = str(tmp_path_factory.mktemp("phasic"))
    run = subprocess.run(
        [str(interpreter()), str(HERE / "phasic_cases.py")],
        input=json.dumps(chains),
        env={**os.environ, "HOME": home, "PHASIC_CACHE_DIR": home},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    return list(zip(chains, json.loads(run.stdout.splitlines()[-1]), strict=True))


@pytest.fixture(scope="module")
def models(cases):
    made = []
    for chain, _ in cases:
        moves = {}
        for source, target, weight in chain["moves"]:
            moves.setdefault(source, []).append(((target,), weight))
        graph = Graph(lambda s, moves=moves: moves.get(int(s[0]), []), ipv=[((i,), p) for i, p in chain["initial"]])
        rewards = np.zeros(graph.vertices_length())
        for i, reward in enumerate(chain["rewards"]):
            rewards[graph.vertex_of((i,))] = reward
        made.append((graph.model(), rewards))
    return made


def test_moments(cases, models):
    for (_, theirs), (model, _) in zip(cases, models, strict=True):
        assert model.expectation([]) == pytest.approx(theirs["expectation"], rel=1e-11)
        assert model.moments([], MOMENTS) == pytest.approx(theirs["moments"], rel=1e-11)


def test_rewarded_moments(cases, models):
    for (_, theirs), (model, rewards) in zip(cases, models, strict=True):
        assert model.moments([], MOMENTS, rewards) == pytest.approx(theirs["rewarded"], rel=1e-11)


def test_variance_and_covariance(cases, models):
    """Theirs are differences of moments, so their error is judged by these."""
    for (_, theirs), (model, rewards) in zip(cases, models, strict=True):
        assert model.variance([]) == pytest.approx(theirs["variance"], rel=1e-11, abs=1e-11 * theirs["moments"][1])
        scale = np.sqrt(theirs["moments"][1] * theirs["rewarded"][1])
        ours = model.covariance([], rewards, None)
        assert ours == pytest.approx(theirs["covariance"], rel=1e-11, abs=1e-11 * scale)
