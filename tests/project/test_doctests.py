"""Every example in the docstrings of the package runs and prints what it shows."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

import phasic_models.formats
from phasic_models import Graph

ROOT = Path(phasic_models.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(("phasic_models", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_the_public_classes_have_examples() -> None:
    modules = ["graph", "dag", "model", "model.distribution", "model.moments", "symbolic_cache"]
    assert {f"phasic_models.{module}" for module in modules} <= set(WITH_EXAMPLES)


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache with one model, coalescent/n_samples_3."""
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(tmp_path))
    dag = Graph.from_arrays([[3], [2], [1]], [0, 1], [1, 2], [[3.0], [1.0]], initial=0).eliminate()
    folder = tmp_path / "symbolic" / "coalescent"
    folder.mkdir(parents=True)
    dag.save(folder / "n_samples_3.safetensors")
    formats = phasic_models.formats
    digest = dag.content_hash()
    formats.write_meta(folder / "n_samples_3.meta", formats.ModelMeta(model_name="n_samples_3", graph_hash=digest))
    listed = formats.ManifestModel(name="n_samples_3", hash=digest, parameters=list(dag.graph.param_names))
    formats.write_manifest(folder / "manifest.json", formats.Manifest(category="coalescent", models=[listed]))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
