"""Export and import: what goes out comes in elsewhere with the same numbers, and nothing damaged or hostile comes in at all."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from cache_helpers import death, expectation, harmonic, only_these_layers, place_library, snapshot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import any_chains, thetas

from phasic_models import SymbolicCache, list_models, load_model
from phasic_models.errors import FormatError, ModelNotFoundError, PhasicModelsError
from phasic_models.files.archive import make_tarball
from phasic_models.files.checksums import sha256_file
from phasic_models.formats import manifest_problems, read_manifest
from phasic_models.remote.take_over import import_from

__all__ = ["only_these_layers"]  # a fixture for every test here


@pytest.fixture
def author(tmp_path):
    """A cache with two entries."""
    cache = SymbolicCache(tmp_path / "author")
    for n in (3, 4):
        cache.save(death(n).eliminate(), model_name=f"death_{n}", description="from the author")
    return cache


@pytest.fixture
def exported(author, tmp_path):
    return author.export_library(tmp_path / "out" / "deaths")


@pytest.fixture
def reader(tmp_path):
    return SymbolicCache(tmp_path / "reader")


def test_manifest_of_an_export(author, exported):
    manifest = read_manifest(exported / "manifest.json")
    assert (manifest.category, manifest.version) == ("deaths", "1.0.0")
    assert sorted(model.description for model in manifest.models) == [
        "death_3: from the author",
        "death_4: from the author",
    ]
    assert manifest_problems(exported) == []
    # The metadata is there to be completed by hand, so that no checksum covers it.
    assert not any(name.endswith(".meta") for name in manifest.checksums)


def test_an_export_is_the_same_every_time(author, exported, tmp_path):
    again = author.export_library(tmp_path / "again" / "deaths")
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == {
        path.name: path.read_bytes() for path in again.iterdir()
    }


def test_choice_of_entries_and_labels(author, tmp_path):
    key = death(3).content_hash()
    folder = author.export_library(tmp_path / "one", [key, key], category="c", version="2.1.0", description="d")
    manifest = read_manifest(folder / "manifest.json")
    assert (manifest.category, manifest.version, manifest.description) == ("c", "2.1.0", "d")
    assert [model.hash for model in manifest.models] == [key]


def test_unknown_entries_are_refused_before_anything_is_written(author, tmp_path):
    with pytest.raises(ModelNotFoundError, match="0000"):
        author.export_library(tmp_path / "none", [death(3).content_hash(), "0" * 64])
    assert not (tmp_path / "none").exists()


def test_a_library_model_can_be_exported(author, tmp_path):
    place_library(tmp_path / "author")
    folder = author.export_library(tmp_path / "out", [death(2).content_hash()])
    assert read_manifest(folder / "manifest.json").models[0].description.startswith("n_2")


def test_import_a_folder(exported, reader):
    keys = reader.import_library(exported)
    assert sorted(keys) == sorted(death(n).content_hash() for n in (3, 4))
    assert expectation(reader.get_or_compute(death(3))) == pytest.approx(harmonic(3))
    assert (reader.hits, reader.misses) == (1, 0)
    assert reader.meta(death(3).content_hash()).model_name == "death_3"
    assert reader.info(death(3).content_hash()).own


def test_import_an_archive(exported, reader, tmp_path):
    make_tarball(exported, tmp_path / "a.tar.gz")
    assert len(reader.import_library(tmp_path / "a.tar.gz")) == 2
    with pytest.raises(FileNotFoundError):
        reader.import_library(tmp_path / "absent.tar.gz")
    (tmp_path / "page.tar.gz").write_text("<!DOCTYPE html><html></html>")
    with pytest.raises(FormatError):
        reader.import_library(tmp_path / "page.tar.gz")


def test_import_documents_alone(exported, reader):
    """No manifest, no metadata, no engine's files: the documents say all that is needed."""
    for path in exported.iterdir():
        if path.suffix != ".json" or path.name == "manifest.json":
            path.unlink()
    assert len(reader.import_library(exported)) == 2
    key = death(4).content_hash()
    assert len(reader.info(key).files) == 3


def test_import_a_library_with_names(tmp_path, reader):
    folder = place_library(tmp_path / "elsewhere")
    assert len(reader.import_library(folder)) == 2
    assert list_models(cache_dir=tmp_path / "reader") == ["deaths/n_2", "deaths/n_3"]
    assert float(load_model("n_3", cache_dir=tmp_path / "reader").expectation([1.0])) == pytest.approx(harmonic(3))
    assert reader.list_entries() == []


def test_import_several_libraries(tmp_path, reader):
    for category in ("one", "two"):
        place_library(tmp_path / "elsewhere", category=category)
    reader.import_library(tmp_path / "elsewhere" / "symbolic")
    assert len(list_models(cache_dir=tmp_path / "reader")) == 4


def test_wrong_names_are_refused(exported, reader):
    one, two = (exported / f"{death(n).content_hash()}.json" for n in (3, 4))
    (exported / "manifest.json").unlink()
    one.with_suffix(".safetensors").unlink()
    two.with_suffix(".safetensors").unlink()
    shutil.copy(one, two)
    with pytest.raises(FormatError, match=r"holds another model.*its name says"):
        reader.import_library(exported)
    assert not reader.cache_dir.exists()


@pytest.mark.parametrize("category", ["../outside", "/tmp/x", "a/b", ".hidden", "con", ""])
def test_a_hostile_category_cannot_leave_the_cache(tmp_path, reader, category):
    folder = place_library(tmp_path / "elsewhere")
    document = json.loads((folder / "manifest.json").read_text())
    document["category"] = category
    (folder / "manifest.json").write_text(json.dumps(document))
    before = snapshot(tmp_path)
    with pytest.raises(PhasicModelsError):
        reader.import_library(folder)
    assert snapshot(tmp_path) == before


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_comes_in(exported, tmp_path, data):
    """Any flipped, lost or added byte in any file: the import is refused as a whole, or what came in is right."""
    copy = tmp_path / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(exported, copy)
    path = data.draw(st.sampled_from(sorted(copy.iterdir())))
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "insert", "lose"]))
    if kind == "flip":
        content[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del content[at:]
    elif kind == "insert":
        content[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    path.write_bytes(content)
    if kind == "lose":
        path.unlink()
    root = tmp_path / "victim"
    shutil.rmtree(root, ignore_errors=True)
    victim = SymbolicCache(root)
    try:
        keys = victim.import_library(copy)
    except PhasicModelsError:
        assert not root.exists() or list(root.rglob("*.json")) == []
        return
    for key in keys:
        n = {death(n).content_hash(): n for n in (3, 4)}[key]
        assert expectation(victim.load_dag(key)) == pytest.approx(harmonic(n), rel=1e-14)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chain=any_chains(), data=st.data())
def test_any_model_survives_the_round_trip(tmp_path, chain, data):
    """Save, export, import and load give the same numbers to the last bit."""
    graph = chain.graph()
    theta = data.draw(thetas(graph.param_length()))
    root = Path(tmp_path / "round")
    shutil.rmtree(root, ignore_errors=True)
    first = SymbolicCache(root / "one")
    dag = first.get_or_compute(graph)
    second = SymbolicCache(root / "two")
    [key] = second.import_library(first.export_library(root / "out"))
    found = second.get_or_compute(graph)
    assert second.hits == 1
    assert found.model().moments(theta, 3).tobytes() == dag.model().moments(theta, 3).tobytes()
    assert second.load(key) == first.load(key)


def test_import_from_an_address(exported, tmp_path, site):
    make_tarball(exported, tmp_path / "a.tar.gz")
    address = site.serve("/models/a.tar.gz", (tmp_path / "a.tar.gz").read_bytes())
    assert len(import_from(address, cache_dir=tmp_path / "one")) == 2
    assert len(import_from(str(tmp_path / "a.tar.gz"), cache_dir=tmp_path / "two")) == 2
    assert len(import_from(str(exported), cache_dir=tmp_path / "three")) == 2
    with pytest.raises(PhasicModelsError, match="switched off"):
        import_from(address, cache_dir=tmp_path / "four", offline=True)
    with pytest.raises(PhasicModelsError, match="SHA-256"):
        import_from(str(tmp_path / "a.tar.gz"), cache_dir=tmp_path / "four", sha256="0" * 64)
    assert not (tmp_path / "four").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_an_import_hashes_each_file_once(tmp_path, reader, monkeypatch, packed):
    folder = place_library(tmp_path / "elsewhere")
    source = make_tarball(folder, tmp_path / "a.tar.gz") if packed else folder
    hashed = []

    def counted(path):
        hashed.append(Path(path).name)
        return sha256_file(path)

    for module in [module for name, module in sys.modules.items() if name.startswith("phasic_models")]:
        if hasattr(module, "sha256_file"):
            monkeypatch.setattr(module, "sha256_file", counted)
    reader.import_library(source)
    assert len(hashed) == len(set(hashed))
    assert set(hashed) >= set(read_manifest(folder / "manifest.json").checksums)
    assert len(list_models(cache_dir=tmp_path / "reader")) == 2
