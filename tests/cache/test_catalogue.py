"""Models by name: every layer is searched, nothing corrupt is believed, and a wrong name gets a helpful answer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time

import pytest
from cache_helpers import death, expectation, harmonic, only_these_layers, place_library, snapshot

from phasic_models import SymbolicCache, list_models, load_model
from phasic_models.cache import catalogue
from phasic_models.cache.entries import CacheWarning
from phasic_models.errors import CompatibilityError, FormatError, ModelNotFoundError
from phasic_models.formats import (
    Manifest,
    ManifestModel,
    ModelMeta,
    Retraction,
    read_manifest,
    write_manifest,
    write_meta,
)

__all__ = ["only_these_layers"]  # a fixture for every test here


def mean(name: str, **options) -> float:
    return float(load_model(name, **options).expectation([1.0]))


@pytest.mark.parametrize("place", ["argument", "PHASIC_CACHE_DIR", "sys.prefix", "CONDA_PREFIX", "shared", "home"])
def test_every_layer_is_searched(tmp_path, monkeypatch, place):
    root = {
        "sys.prefix": tmp_path / "env" / "share" / "phasic_cache",
        "CONDA_PREFIX": tmp_path / "a conda prefix" / "share" / "phasic_cache",
        "home": tmp_path / "home" / ".phasic_cache",
    }.get(place, tmp_path / "root")
    place_library(root)
    options = {}
    if place == "argument":
        options["cache_dir"] = root
    elif place == "PHASIC_CACHE_DIR":
        monkeypatch.setenv(place, str(root))
    elif place == "CONDA_PREFIX":
        monkeypatch.setenv(place, str(tmp_path / "a conda prefix"))
    elif place == "shared":
        monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(root))
    before = snapshot(root)
    assert mean("deaths/n_3", **options) == pytest.approx(harmonic(3), rel=1e-14)
    assert list_models(**options) == ["deaths/n_2", "deaths/n_3"]
    assert snapshot(root) == before


def test_first_layer_wins(tmp_path, monkeypatch):
    place_library(tmp_path / "one", sizes=(2, 3))
    place_library(tmp_path / "two", sizes=(4,), names={4: "n_3"})
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(tmp_path / "two"))
    assert mean("deaths/n_3", cache_dir=tmp_path / "one") == pytest.approx(harmonic(3))
    assert mean("deaths/n_3") == pytest.approx(harmonic(4))


def test_without_the_engines_file(tmp_path):
    """The guide's libraries have the document and the metadata only."""
    folder = place_library(tmp_path)
    (folder / "n_3.safetensors").unlink()
    assert mean("deaths/n_3", cache_dir=tmp_path) == pytest.approx(harmonic(3))


def test_bare_names(tmp_path):
    place_library(tmp_path, sizes=(2, 3))
    place_library(tmp_path, category="others", sizes=(3, 4))
    assert mean("n_4", cache_dir=tmp_path) == pytest.approx(harmonic(4))
    with pytest.raises(ModelNotFoundError, match="deaths/n_3, others/n_3"):
        load_model("n_3", cache_dir=tmp_path)


def test_by_hash(tmp_path):
    place_library(tmp_path)
    key = SymbolicCache(tmp_path).save(death(9).eliminate())
    assert mean(key, cache_dir=tmp_path) == pytest.approx(harmonic(9))
    assert mean(death(2).content_hash(), cache_dir=tmp_path) == pytest.approx(harmonic(2))
    with pytest.raises(ModelNotFoundError, match="graph hash 0000"):
        load_model("0" * 64, cache_dir=tmp_path)


def test_an_exported_library_placed_as_a_folder(tmp_path):
    """Guide, Steps 1 to 3, unpacked into symbolic/<category>: files by hash, names in the metadata."""
    cache = SymbolicCache(tmp_path / "author")
    key = cache.save(death(5).eliminate(), model_name="death_5")
    cache.export_library(tmp_path / "reader" / "symbolic" / "deaths")
    assert mean("deaths/death_5", cache_dir=tmp_path / "reader") == pytest.approx(harmonic(5))
    assert mean(f"deaths/{key}", cache_dir=tmp_path / "reader") == pytest.approx(harmonic(5))
    folder = tmp_path / "reader" / "symbolic" / "deaths"
    models = [ManifestModel(name="five", hash=key)]
    write_manifest(folder / "manifest.json", Manifest(category="deaths", models=models))
    assert mean("deaths/five", cache_dir=tmp_path / "reader") == pytest.approx(harmonic(5))
    assert list_models(cache_dir=tmp_path / "reader") == ["deaths/five"]


def test_unknown_names_get_a_helpful_answer(tmp_path):
    place_library(tmp_path)
    with pytest.raises(ModelNotFoundError) as caught:
        load_model("coalescent/n_samples_10", cache_dir=tmp_path)
    text = str(caught.value)
    assert "pixi add phasic-models-coalescent" in text
    assert "ptd-cache install coalescent" in text
    assert str(tmp_path / "symbolic") in text
    assert "sys.prefix" in text
    with pytest.raises(ModelNotFoundError, match="did you mean deaths/n_3"):
        load_model("death/n_3", cache_dir=tmp_path)
    with pytest.raises(ModelNotFoundError, match=r"'deaths' has: n_2, n_3"):
        load_model("deaths/zzz", cache_dir=tmp_path)
    with pytest.raises(LookupError):
        load_model("nothing")


@pytest.mark.parametrize(
    "name", ["", "/", "../x", "deaths/../deaths/n_2", "/etc/passwd", "a/b/c", ".hidden/x", "a\\b", "a\0"]
)
def test_names_cannot_leave_the_layer(tmp_path, name):
    place_library(tmp_path)
    with pytest.raises(ModelNotFoundError, match="not a model's name"):
        load_model(name, cache_dir=tmp_path)


def test_a_corrupt_copy_is_passed_over(tmp_path, monkeypatch):
    one, two = place_library(tmp_path / "one"), place_library(tmp_path / "two")
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", os.pathsep.join([str(tmp_path / "one"), str(tmp_path / "two")]))
    path = one / "n_3.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 4
    path.write_bytes(data)
    with pytest.warns(CacheWarning, match="altered"):
        assert mean("deaths/n_3") == pytest.approx(harmonic(3))
    (one / "n_3.json").write_text("{")
    with pytest.warns(CacheWarning):
        assert mean("deaths/n_3") == pytest.approx(harmonic(3))
    for suffix in (".json", ".safetensors"):
        (two / f"n_3{suffix}").write_bytes(b"")
    before = snapshot(tmp_path / "one"), snapshot(tmp_path / "two")
    with pytest.raises(FormatError, match="ptd-cache verify deaths"):
        load_model("deaths/n_3")
    # In a library nothing is renamed: `verify` shall find it, and a reinstallation mends it.
    assert (snapshot(tmp_path / "one"), snapshot(tmp_path / "two")) == before


def test_a_damaged_manifest_is_named(tmp_path, monkeypatch):
    folder = place_library(tmp_path / "one")
    (folder / "manifest.json").write_text('{"category": 3}')
    with pytest.raises(FormatError, match=r"verify deaths(.|\n)*manifest\.json: Expected `str`"):
        load_model("deaths/n_2", cache_dir=tmp_path / "one")
    place_library(tmp_path / "two")
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(tmp_path / "two"))
    with pytest.warns(CacheWarning, match=r"manifest\.json"):
        assert mean("deaths/n_2", cache_dir=tmp_path / "one") == pytest.approx(harmonic(2))
    monkeypatch.delenv("PHASIC_SHARED_CACHE_DIRS")
    tmp_path = tmp_path / "one"
    with pytest.warns(CacheWarning, match=r"manifest\.json"):
        assert list_models(cache_dir=tmp_path) == []


def test_versions_are_checked_at_load(tmp_path, monkeypatch):
    place_library(tmp_path, phasic_min_version="0.21.0", phasic_max_version="0.22.x")
    monkeypatch.setattr("phasic_models.compat.installed_version", {"phasic": "0.32.1"}.get)
    with pytest.raises(CompatibilityError, match=r"0\.32\.1"):
        load_model("deaths/n_2", cache_dir=tmp_path)
    # The same chain from the user's own callback needs no phasic.
    assert expectation(SymbolicCache(tmp_path).get_or_compute(death(2))) == pytest.approx(harmonic(2))


def test_a_retracted_model_warns(tmp_path):
    place_library(tmp_path, status="retracted", retraction=Retraction(reason="rates were doubled"))
    with pytest.warns(UserWarning, match="retracted.*rates were doubled"):
        load_model("deaths/n_2", cache_dir=tmp_path)


def test_names_are_listed_in_numerical_order(tmp_path):
    place_library(tmp_path, sizes=(10, 2, 3))
    assert list_models(cache_dir=tmp_path) == ["deaths/n_2", "deaths/n_3", "deaths/n_10"]
    assert list_models("others", cache_dir=tmp_path) == []


def test_a_new_library_is_seen_soon(tmp_path):
    """No restart is needed after an installation, even by another process."""
    place_library(tmp_path)
    assert len(list_models(cache_dir=tmp_path)) == 2
    other = tmp_path / "symbolic" / "others"
    other.mkdir()
    dag = death(4).eliminate()
    (other / "four.json").write_text(dag.to_json())
    write_meta(other / "four.meta", ModelMeta(model_name="four", graph_hash=dag.content_hash()))
    write_manifest(
        other / "manifest.json",
        Manifest(category="others", models=[ManifestModel(name="four", hash=dag.graph.content_hash())]),
    )
    deadline = time.monotonic() + 5
    while len(list_models(cache_dir=tmp_path)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "others/four" in list_models(cache_dir=tmp_path)
    assert mean("others/four", cache_dir=tmp_path) == pytest.approx(harmonic(4))


def test_opening_a_model_imports_little(tmp_path):
    """The way to the first number does not touch the modules that only commands need."""
    place_library(tmp_path)
    script = (
        "import sys, json, phasic_models as pm\n"
        f"m = pm.load_model('deaths/n_3', cache_dir={str(tmp_path)!r})\n"
        "assert abs(float(m.expectation([1.0])) - 11 / 6) < 1e-12\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    modules = set(json.loads(done.stdout))
    heavy = {"typer", "rich", "obstore", "yaml", "filelock", "difflib", "platformdirs", "urllib.request", "rattler"}
    assert modules & heavy == set()


def test_find_by_hash_survives_a_library_that_disappears(tmp_path):
    folder = place_library(tmp_path)
    assert SymbolicCache(tmp_path).exists(death(2).content_hash())
    (folder / "manifest.json").unlink()
    assert not SymbolicCache(tmp_path).exists(death(2).content_hash())
    catalogue.forget()
    assert list(catalogue.libraries(cache_dir=tmp_path)) == []


def test_manifest_of_the_fixture_is_whole(tmp_path):
    assert [model.name for model in read_manifest(place_library(tmp_path) / "manifest.json").models] == ["n_2", "n_3"]


def test_a_file_in_the_place_of_another_gives_no_number(tmp_path):
    """Both files are whole; only the hash in the metadata says that one of them does not belong here."""
    folder = place_library(tmp_path, sizes=(3, 4))
    shutil.copyfile(folder / "n_4.safetensors", folder / "n_3.safetensors")
    with pytest.warns(CacheWarning, match=r"n_3\.safetensors: holds another model"):
        assert mean("deaths/n_3", cache_dir=tmp_path) == pytest.approx(harmonic(3))
    shutil.copyfile(folder / "n_4.json", folder / "n_3.json")
    with pytest.raises(FormatError, match=r"no copy of it is intact(.|\n)*holds another model"):
        load_model("deaths/n_3", cache_dir=tmp_path)
