"""The benchmark's tasks, done by phasic-models."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import models
import numpy as np
from models import Model
from timing import once, peak_mb, sample, summary

from phasic_models import Graph, SymbolicDAG

BATCH = 1000


def _graph(model: Model) -> Any:
    def callback(state: Any) -> list[tuple[tuple[int, ...], list[float]]]:
        return model.moves(tuple(int(x) for x in state))

    return Graph(callback, ipv=[[list(model.initial), 1.0]], param_names=model.param_names)


def eliminate(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """From a graph to its first expectation, less a later expectation."""
    # A small model first: what is imported on first use is in the import rows.
    _graph(models.get("tandem:1")).eliminate().model().expectation((1.0, 1.0, 1.0))
    samples: list[dict[str, float]] = []
    out: dict[str, Any] = {}
    spent = 0.0
    while len(samples) < repeats and (not samples or spent < budget):
        graph, build = once(lambda: _graph(model))

        def first_answer(graph: Any = graph) -> tuple[Any, float]:
            evaluator = graph.eliminate().model()
            return evaluator, float(evaluator.expectation(model.theta))

        (evaluator, value), first = once(first_answer)
        if not samples:
            out = {
                "vertices": graph.vertices_length(),
                "operations": evaluator.dag.operations,
                "expectation": value,
                "peak_mb": peak_mb(),
                "build": build["wall"],
            }
        again = [once(lambda e=evaluator: e.expectation(model.theta))[1] for _ in range(3)]
        samples.append({c: max(first[c] - min(a[c] for a in again), 0.0) for c in first})
        spent += build["wall"] + first["wall"]
    return {**out, "time": summary(samples)}


def evaluate(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """The expectation at a new theta, alone and per theta in a batch."""
    evaluator = _graph(model).eliminate().model()
    theta = np.array(model.theta)
    scale = iter(range(1, 10**9))
    single = sample(lambda: evaluator.expectation(theta * (1 + 1e-6 * next(scale))), repeats, budget)
    thetas = theta * np.linspace(0.9, 1.1, BATCH)[:, None]
    batch = [
        {c: t / BATCH for c, t in s.items()} for s in sample(lambda: evaluator.expectation(thetas), repeats, budget)
    ]
    return {
        "expectation": float(evaluator.expectation(theta)),
        "operations": evaluator.dag.operations,
        "single": summary(single),
        "batch": summary(batch),
    }


def density(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """The density at 100 times at a new theta."""
    evaluator = _graph(model).eliminate().model()
    theta, times = np.array(model.theta), np.array(model.times())
    samples = sample(lambda: evaluator.pdf(theta, times), repeats, budget)
    graph = evaluator.graph
    weights = graph.weights.evaluate(theta)[graph.edge_slot]
    leaving = np.add.reduceat(weights, graph.edge_ptr[1:-1][np.diff(graph.edge_ptr[1:]) > 0])
    # One step of uniformization multiplies and adds once per edge; about this many steps have weight.
    mean = leaving.max() * times[-1]
    return {
        "values": [float(x) for x in evaluator.pdf(theta, times)],
        "operations": int((mean + 6 * mean**0.5) * graph.n_edges),
        "time": summary(samples),
    }


def _file(model: Model, folder: Path) -> Path:
    return folder / f"{model.spec.replace(':', '_')}.safetensors"


def store(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    path = _file(model, folder)
    _graph(model).eliminate().save(path)
    return {"bytes": path.stat().st_size}


def open_stored(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """From the stored file, checks included, to an expectation."""
    path = _file(model, folder)
    samples = sample(lambda: SymbolicDAG.load(path).model().expectation(model.theta), repeats, budget)
    return {"expectation": float(SymbolicDAG.load(path).model().expectation(model.theta)), "time": summary(samples)}


def symbolic(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """From a graph to an explicit table of expressions in theta, the one the interchange file holds."""
    graph = _graph(model)
    samples = sample(lambda: graph.eliminate().to_json(), repeats, budget)
    return {"bytes": len(graph.eliminate().to_json()), "time": summary(samples)}


def large(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """A state space of half a million states, by the vectorised callback, and its expectation."""
    from vectorised import rabbits

    def run() -> tuple[Any, float]:
        graph = Graph(rabbits, ipv=[[list(model.initial), 1.0]], vectorized=True, param_names=model.param_names)
        return graph, float(graph.eliminate().model().expectation(np.array(model.theta)))

    (graph, value), spent = once(run)
    return {
        "vertices": graph.vertices_length(),
        "expectation": value,
        "peak_mb": peak_mb(),
        "time": summary([spent]),
    }


def version() -> str:
    try:
        number = metadata.version("phasic-models")
    except metadata.PackageNotFoundError:
        number = "(source tree, not installed)"
    return f"phasic-models {number}, Python {platform.python_version()}, numpy {np.__version__}"
