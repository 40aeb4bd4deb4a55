"""`ptd-cache migrate` completes a library in the guide's minimal form and refuses what cannot be converted."""

from __future__ import annotations

import json

import pytest
from cache_helpers import death, harmonic, only_these_layers, place_library, snapshot
from hypothesis import given
from hypothesis import strategies as st

from phasic_models import SymbolicCache, list_models, load_model
from phasic_models.errors import FormatError
from phasic_models.formats import FORMAT_VERSION, manifest_problems
from phasic_models.upkeep.migration import STEPS, migrate, migrate_document

__all__ = ["only_these_layers"]  # a fixture for every test here

BEFORE_1_0 = {
    "vertices_length": 4,
    "state_length": 1,
    "param_length": 1,
    "is_acyclic": True,
    "is_discrete": False,
    "vertices": [],
    "expressions": [],
}


@pytest.fixture
def minimal(tmp_path):
    """A library as the guide shows it: documents and metadata, no format versions."""
    folder = place_library(tmp_path / "old")
    for path in folder.glob("*.safetensors"):
        path.unlink()
    for path in folder.glob("*.meta"):
        path.write_text(
            json.dumps({key: value for key, value in json.loads(path.read_text()).items() if key != "format_version"})
        )
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["format_version"]
    manifest["checksums"] = {name: sha for name, sha in manifest["checksums"].items() if name.endswith(".json")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "manifest.sha256").unlink()
    return folder


def test_a_minimal_library_is_completed(minimal, tmp_path):
    before = snapshot(minimal)
    shown = migrate([minimal], dry_run=True)
    assert snapshot(minimal) == before
    assert migrate([minimal]) == shown
    assert {line.path.name: line.state for line in shown} == {
        "n_2.json": "current",
        "n_3.json": "current",
        "n_2.meta": "changed",
        "n_3.meta": "changed",
        "n_2.safetensors": "added",
        "n_3.safetensors": "added",
        "manifest.json": "changed",
    }
    assert manifest_problems(minimal) == []
    assert json.loads((minimal / "n_2.meta").read_text())["format_version"] == FORMAT_VERSION
    assert float(load_model("deaths/n_3", cache_dir=tmp_path / "old").expectation([1.0])) == pytest.approx(harmonic(3))
    again = snapshot(minimal)
    assert {line.state for line in migrate([minimal])} == {"current"}
    assert {name: rest[2] for name, rest in snapshot(minimal).items()} == {n: rest[2] for n, rest in again.items()}


def test_the_export_of_the_guide(tmp_path):
    """Format 0 as the guide's second step leaves it: flat, files named by hash, none for the engine, no format version."""
    cache = SymbolicCache(tmp_path / "own")
    for n in (2, 3):
        cache.get_or_compute(death(n))
    folder = cache.export_library(tmp_path / "root" / "symbolic" / "deaths", description="Deaths")
    for path in folder.glob("*.safetensors"):
        path.unlink()
    for path in folder.glob("*.meta"):
        meta = json.loads(path.read_text())
        assert meta.pop("format_version") == FORMAT_VERSION
        path.write_text(json.dumps(meta))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest.pop("format_version") == FORMAT_VERSION
    manifest["checksums"] = {name: sha for name, sha in manifest["checksums"].items() if name.endswith(".json")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    states = [(line.path.suffix, line.state) for line in migrate([folder])]
    assert states.count((".safetensors", "added")) == states.count((".meta", "changed")) == 2
    assert manifest_problems(folder) == []
    means = [
        float(load_model(name, cache_dir=tmp_path / "root").expectation([1.0]))
        for name in list_models(cache_dir=tmp_path / "root")
    ]
    assert sorted(means) == pytest.approx([harmonic(2), harmonic(3)])


def test_into_another_folder(minimal, tmp_path):
    (minimal / "README.md").write_text("about")
    before = snapshot(minimal)
    migrate([minimal], output_dir=tmp_path / "new")
    assert snapshot(minimal) == before
    assert manifest_problems(tmp_path / "new") == []
    assert (tmp_path / "new" / "README.md").read_text() == "about"


def test_single_files(minimal, tmp_path):
    [line] = migrate([minimal / "n_2.meta"], output_dir=tmp_path / "out")
    assert (line.state, line.path) == ("changed", tmp_path / "out" / "n_2.meta")
    [line] = migrate([minimal / "n_2.json"])
    assert line.state == "current"
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="neither"):
        migrate([tmp_path / "x.txt"])
    with pytest.raises(FileNotFoundError, match="no such"):
        migrate([tmp_path / "absent"])
    with pytest.raises(FormatError, match=r"no manifest\.json"):
        migrate([tmp_path / "empty"])


def test_what_cannot_be_converted_leaves_the_library_alone(minimal):
    (minimal / "old.json").write_text(json.dumps(BEFORE_1_0))
    before = snapshot(minimal)
    with pytest.raises(FormatError, match="build it anew"):
        migrate([minimal])
    assert snapshot(minimal) == before
    (minimal / "old.json").unlink()
    (minimal / "n_2.json").write_text((minimal / "n_3.json").read_text())
    before = snapshot(minimal)
    with pytest.raises(FormatError, match="damaged"):
        migrate([minimal])
    assert snapshot(minimal) == before


def test_a_step_is_applied(monkeypatch):
    """A future version 1 to 2 would look like this: here, 0 wrapped the current document in one more object."""
    text = death(3).eliminate().to_json()
    monkeypatch.setitem(STEPS, 0, lambda document, _: document["wrapped"])
    assert json.loads(migrate_document(json.dumps({"wrapped": json.loads(text)}))) == json.loads(text)
    assert migrate_document(text) is text


def test_newer_documents_are_named_as_such():
    text = death(3).eliminate().to_json().replace('"format_version": "1.0"', '"format_version": "7.0"')
    with pytest.raises(FormatError, match="newer"):
        migrate_document(text)


@given(st.one_of(st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps)))
def test_nonsense_is_refused(text):
    with pytest.raises(FormatError):
        migrate_document(text)


@pytest.mark.parametrize("version", [None, 3, "", "x", "-1.0", "٣.0", "9" * 400])
def test_nonsense_versions_are_refused(version):
    with pytest.raises(FormatError):
        migrate_document(json.dumps({"format_version": version}))
