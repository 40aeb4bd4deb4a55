"""The benchmark runs, measures the same models on every engine, and survives an engine that does not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from phasic_models import Graph

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    known = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import models

    yield models
    # Their names are short and common; other tests should not meet them.
    for path in BENCHMARKS.glob("*.py"):
        if path.stem not in known:
            sys.modules.pop(path.stem, None)


def test_both_rabbits_are_the_same_graph(models: ModuleType) -> None:
    import vectorised

    model = models.get("rabbits:12")
    one_by_one = Graph(lambda s: model.moves(tuple(s.tolist())), ipv=[[list(model.initial), 1.0]])
    at_once = Graph(vectorised.rabbits, ipv=[[list(model.initial), 1.0]], vectorized=True)
    assert at_once.content_hash() == one_by_one.content_hash()
    assert one_by_one.vertices_length() == 13 * 14 // 2 + 1


@pytest.mark.parametrize(("spec", "vertices"), [("two_island:10", 482), ("repairable:8", 257), ("tandem:5", 37)])
def test_sizes_are_those_that_are_reported(models: ModuleType, spec: str, vertices: int) -> None:
    model = models.get(spec)
    assert len(models.explore(model).states) + 1 == vertices


@pytest.mark.parametrize("spec", ["two_island", "two_island:x", "unknown:3", ""])
def test_unknown_model(models: ModuleType, spec: str) -> None:
    with pytest.raises(ValueError, match="unknown benchmark model"):
        models.get(spec)


def test_run(tmp_path: Path) -> None:
    """A run on one small model; phasic is not in this environment, so it is the engine that fails."""
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--engines", "ours,scipy,phasic,truth"]
    command += ["--peers-python", sys.executable, "--model", "two_island:8", "--budget", "0.05", "--repeats", "3"]
    run = subprocess.run([*command, "--results", str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    (row,) = document["rows"]
    assert row["what"] == "elimination"
    assert row["engines"]["ours"]["status"] == "ok"
    assert row["engines"]["ours"]["error"] < 1e-12
    assert row["engines"]["ours"]["figure"] > 0
    table = (tmp_path / "results.md").read_text(encoding="utf-8")
    assert "two-island coalescent n = 8" in table


def test_truth_is_true(models: ModuleType) -> None:
    """The long-double reference against the closed form of an Erlang distribution."""
    import engine_truth
    from scipy.stats import gamma

    chain = models.Model(
        "erlang:5", "Erlang", lambda s: [((s[0] - 1,), [1.0])] if s[0] else [], (5,), ("rate",), (2.0,), 10.0
    )
    assert engine_truth.evaluate(chain, 1, 1.0, Path())["expectation"] == pytest.approx(2.5, rel=1e-15)
    values = engine_truth.density(chain, 1, 1.0, Path())["values"]
    assert values == pytest.approx(gamma.pdf(np.array(chain.times()), 5, scale=0.5), rel=1e-13)
