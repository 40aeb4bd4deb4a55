"""The benchmark's tasks, done by phasic.

phasic's graph cache is off throughout: it is keyed by the callback's source, and returns another model's graph for a
closure.
"""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import models
import numpy as np
import phasic
from models import Model
from timing import once, peak_mb, sample, summary


def _graph(model: Model) -> Any:
    def callback(state: Any, **_: Any) -> list[tuple[list[int], list[float]]]:
        return [(list(target), coefs) for target, coefs in model.moves(tuple(int(x) for x in state))]

    return phasic.Graph(callback, ipv=[[list(model.initial), 1.0]], graph_cache=False)


def _answer(graph: Any, theta: Any) -> float:
    graph.update_weights(theta)
    return float(graph.expectation())


def eliminate(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """From a graph to its first expectation, less a later expectation."""
    _answer(_graph(models.get("tandem:1")), np.ones(3))
    theta = np.array(model.theta)
    samples: list[dict[str, float]] = []
    out: dict[str, Any] = {}
    spent = 0.0
    while len(samples) < repeats and (not samples or spent < budget):
        graph, build = once(lambda: _graph(model))
        value, first = once(lambda g=graph: _answer(g, theta))
        if not samples:
            out = {"vertices": len(graph), "expectation": value, "peak_mb": peak_mb(), "build": build["wall"]}
        again = [once(lambda g=graph: _answer(g, theta))[1] for _ in range(3)]
        samples.append({c: max(first[c] - min(a[c] for a in again), 0.0) for c in first})
        spent += build["wall"] + first["wall"]
        del graph
    return {**out, "time": summary(samples)}


def evaluate(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """The expectation at a new theta; phasic has no batch, so 'batch' is the same figure."""
    graph = _graph(model)
    theta = np.array(model.theta)
    value = _answer(graph, theta)
    scale = iter(range(1, 10**9))
    single = summary(sample(lambda: _answer(graph, theta * (1 + 1e-6 * next(scale))), repeats, budget))
    return {"expectation": value, "single": single, "batch": single}


def density(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """The density at 100 times at a new theta."""
    graph = _graph(model)
    theta, times = np.array(model.theta), np.array(model.times())
    _answer(graph, theta)

    def run() -> Any:
        graph.update_weights(theta)
        return graph.pdf(times)

    first, spent = once(run)
    samples = [spent] if spent["wall"] > budget else sample(run, repeats, budget)
    values = [float(x) for x in first]
    return {"values": values, "time": summary(samples)}


def store(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """Write phasic's `.bin` of this model's elimination into `folder`."""
    phasic.configure(reward_compute_cache=True, cache_dir=str(folder))
    _answer(_graph(model), np.array(model.theta))
    files = list(folder.rglob("*.bin"))
    if not files:
        raise RuntimeError(f"phasic wrote no .bin file into {folder}")
    return {"bytes": sum(f.stat().st_size for f in files)}


def open_stored(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """From the stored `.bin` to an expectation; building the graph by its callback is not counted."""
    phasic.configure(reward_compute_cache=True, cache_dir=str(folder))
    theta = np.array(model.theta)
    graphs = [_graph(model) for _ in range(min(repeats, 7))]
    samples = [once(lambda g=g: _answer(g, theta))[1] for g in graphs]
    return {"expectation": _answer(graphs[0], theta), "time": summary(samples)}


def version() -> str:
    # phasic.__version__ is out of date in some releases; the installed metadata is right.
    return f"phasic {metadata.version('phasic')}, Python {platform.python_version()}"
