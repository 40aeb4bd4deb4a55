"""Small models, libraries and layers for the tests of whatever searches the cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from phasic_models import Graph, SymbolicDAG
from phasic_models.cache import catalogue
from phasic_models.files.checksums import sha256_file
from phasic_models.formats import (
    Manifest,
    ManifestModel,
    ModelMeta,
    Parameter,
    dag_to_bytes,
    dag_to_json,
    write_manifest,
    write_meta,
)

UNKNOWN = "0" * 64
posix = pytest.mark.skipif(os.name == "nt", reason="signals, fork and permissions are POSIX's")


@pytest.fixture(autouse=True)
def only_these_layers(monkeypatch, tmp_path):
    """No layer but those that a test makes."""
    for name in ("PHASIC_CACHE_DIR", "PHASIC_SHARED_CACHE_DIRS", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "env"))
    catalogue.forget()


def death(n: int, param_names: tuple[str, ...] = ("rate",)) -> Graph:
    """A pure death process from n with rate k·θ in state k: its expectation is the harmonic number H_n at θ = 1."""

    def callback(state):
        if len(state) == 0:
            return [([n], 1.0, [1.0])]
        return [([state[0] - 1], 0.0, [float(state[0])])] if state[0] else []

    return Graph(callback, parameterized=True, param_names=list(param_names))


def harmonic(n: int) -> float:
    return sum(1 / k for k in range(1, n + 1))


def expectation(dag: SymbolicDAG) -> float:
    return float(dag.model().expectation([1.0]))


def snapshot(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file below a folder: inode, time and content."""
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def place_library(
    root: Path, category: str = "deaths", sizes: tuple[int, ...] = (2, 3), names: dict[int, str] | None = None, **meta
) -> Path:
    """Write a library into a root, as a package would; `meta` are fields of every model's metadata."""
    folder = root / "symbolic" / category
    folder.mkdir(parents=True)
    models = []
    for n in sizes:
        dag = death(n).eliminate()
        key = dag.graph.content_hash()
        name = (names or {}).get(n, f"n_{n}")
        labels = dag.graph.param_names
        (folder / f"{name}.json").write_text(dag_to_json(dag))
        (folder / f"{name}.safetensors").write_bytes(dag_to_bytes(dag))
        fields = {"theta": [Parameter(name=label) for label in labels], "format_version": "1.0", **meta}
        record = ModelMeta(model_name=name, graph_hash=key, **fields)
        write_meta(folder / f"{name}.meta", record)
        text = f"{n} items"
        models.append(
            ManifestModel(
                name=name, hash=key, description=text, vertices=n + 2, parameters=list(labels), status=record.status
            )
        )
    checksums = {path.name: f"sha256:{sha256_file(path)}" for path in folder.iterdir()}
    shared = {field: value for field, value in meta.items() if field in Manifest.__struct_fields__}
    manifest = Manifest(category=category, models=models, checksums=checksums, format_version="1.0", **shared)
    write_manifest(folder / "manifest.json", manifest)
    catalogue.forget()
    return folder
