"""A model is opened only where manifest, metadata and file agree on what it is, and `verify` names what does not fit.

The wrong numbers in the comments are what came out, in silence or with a warning, before these checks.
"""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path

import pytest
from cache_helpers import only_these_layers
from hypothesis import given, settings
from hypothesis import strategies as st

from phasic_models import Graph, SymbolicCache, load_model, params
from phasic_models.cache import catalogue
from phasic_models.cache.entries import entry_file, entry_folders
from phasic_models.errors import FormatError, PhasicModelsError
from phasic_models.formats import (
    Manifest,
    ManifestModel,
    ModelMeta,
    Parameter,
    dag_from_bytes,
    dag_to_bytes,
    dag_to_json,
    sha256_file,
    write_manifest,
    write_meta,
)
from phasic_models.upkeep.verify import verify

__all__ = ["only_these_layers"]  # a fixture for every test here

RANGES = {
    "format_version": "1.0",
    "compatible_versions": ["0.21.x", "0.22.x"],
    "phasic_min_version": "0.21.0",
    "phasic_max_version": "0.22.x",
    "phasic_models_min_version": "0.1.0",
    "phasic_models_max_version": "0.99.x",
}
THETA = [2.0, 0.5]


def chain(n: int, names: tuple[str, str] = ("up", "down")) -> Graph:
    """n stages at rate `up`, then one at rate `down` / 2: mean n / up + 2 / down."""
    up, down = params(*names)
    states = [[i] for i in range(n + 2)]
    return Graph.from_arrays(states, range(n + 1), range(1, n + 2), [up] * n + [down / 2], initial=0, param_names=names)


def mean(n: int) -> float:
    return n / THETA[0] + 2 / THETA[1]


@pytest.fixture
def built(tmp_path):
    """A library of three models as a build writes it."""
    folder = tmp_path / "root" / "symbolic" / "stages"
    folder.mkdir(parents=True)
    models = []
    for n in (3, 4):
        put(folder, f"n_{n}", chain(n))
        models.append(entry(f"n_{n}", chain(n)))
    write(folder, models)
    catalogue.forget()
    return folder


def entry(name: str, graph: Graph) -> ManifestModel:
    return ManifestModel(name=name, hash=graph.content_hash(), parameters=list(graph.param_names), status="verified")


def put(folder: Path, name: str, graph: Graph) -> None:
    dag = graph.eliminate()
    (folder / f"{name}.json").write_text(dag_to_json(dag))
    (folder / f"{name}.safetensors").write_bytes(dag_to_bytes(dag))
    theta = [Parameter(name=label) for label in graph.param_names]
    meta = ModelMeta(model_name=name, graph_hash=graph.content_hash(), theta=theta, status="verified", **RANGES)
    write_meta(folder / f"{name}.meta", meta)


def write(folder: Path, models: list[ManifestModel]) -> None:
    checksums = {
        path.name: f"sha256:{sha256_file(path)}" for path in folder.iterdir() if not path.name.startswith("manifest")
    }
    manifest = Manifest(category="stages", version="1.0.0", models=models, checksums=checksums, **RANGES)
    write_manifest(folder / "manifest.json", manifest)


def opened(folder: Path, name: str = "n_3") -> float:
    return float(load_model(f"stages/{name}", cache_dir=folder.parents[1]).expectation(THETA))


def problems(folder: Path) -> list[str]:
    [found] = verify(cache_dir=folder.parents[1])
    return list(found.problems)


def edit(path: Path, **fields: object) -> None:
    document = json.loads(path.read_text())
    for key, value in fields.items():
        if value is None:
            document.pop(key, None)
        else:
            document[key] = value
    path.write_text(json.dumps(document, indent=2))


def sign(folder: Path) -> None:
    """Make all checksums right again, as somebody who edits on purpose would, but for the manifest's own."""
    document = json.loads((folder / "manifest.json").read_text())
    document["checksums"] = {
        name: f"sha256:{sha256_file(folder / name)}" for name in document["checksums"] if (folder / name).exists()
    }
    (folder / "manifest.json").write_text(json.dumps(document))


def test_a_whole_library(built):
    assert opened(built) == pytest.approx(mean(3), rel=1e-15)
    assert opened(built, "n_4") == pytest.approx(mean(4), rel=1e-15)
    assert problems(built) == []
    assert (built / "manifest.sha256").read_text() == f"{sha256_file(built / 'manifest.json')}  manifest.json\n"


@pytest.mark.parametrize("what", ["gone", "cut", "empty", "another's"])
def test_another_models_files_and_no_good_metadata(built, what):
    """1.6 for 1.8 without a word, or with a warning about versions."""
    for suffix in (".json", ".safetensors"):
        shutil.copyfile(built / f"n_4{suffix}", built / f"n_3{suffix}")
    meta = built / "n_3.meta"
    if what == "gone":
        meta.unlink()
    else:
        data = (built / "n_4.meta").read_bytes() if what == "another's" else meta.read_bytes()
        meta.write_bytes({"cut": data[:100], "empty": b"", "another's": data}[what])
    with pytest.raises(FormatError, match=r"(?s)verify stages.*reinstall.*n_3\.meta"):
        opened(built)
    assert len(problems(built)) >= 3
    sign(built)
    with pytest.raises(FormatError, match=r"n_3\.meta"):
        opened(built)
    assert any("n_3.meta" in problem for problem in problems(built))


def test_exchanged_names_of_parameters(built):
    """7.678 by names for 4.575: the graph hash does not depend on names, and the file was signed anew."""
    swapped = chain(3, ("down", "up")).eliminate()
    assert swapped.content_hash() == chain(3).content_hash()
    (built / "n_3.safetensors").write_bytes(dag_to_bytes(swapped))
    with pytest.warns(UserWarning, match=r"parameters are \(down, up\), and n_3\.meta says \(up, down\)"):
        assert opened(built) == pytest.approx(mean(3))
    (built / "n_3.json").write_text(dag_to_json(swapped))
    with pytest.raises(FormatError, match=r"parameters are \(down, up\)"):
        opened(built)
    sign(built)
    with pytest.raises(FormatError, match=r"parameters are \(down, up\)"):
        opened(built)
    assert sum("parameters are (down, up)" in problem for problem in problems(built)) == 2


CONTRADICTIONS = [
    ("n_3.meta", {"graph_hash": "0" * 64}, "graph_hash"),
    ("n_3.meta", {"theta": [{"name": "down"}, {"name": "up"}]}, r"parameters are \(down, up\)"),
    ("n_3.meta", {"theta": [{"name": "up"}]}, r"parameters are \(up\)"),
    ("n_3.meta", {"theta": None}, r"parameters are \(\)"),
    ("n_3.meta", {"format_version": "1.7"}, "format_version"),
    ("n_3.meta", {"format_version": None}, "format_version"),
    ("n_3.meta", {"phasic_models_max_version": "9.x"}, "phasic_models_max_version"),
    ("n_3.meta", {"phasic_models_max_version": None}, "phasic_models_max_version"),
    ("n_3.meta", {"phasic_min_version": "0.1.0"}, "phasic_min_version"),
    ("n_3.meta", {"compatible_versions": ["0.1.x"]}, "compatible_versions"),
    ("n_3.meta", {"model_name": "n_4"}, "model_name"),
    ("n_3.meta", {"status": "retracted"}, "status"),
    ("n_3.meta", {"graph_hash": 3}, "graph_hash"),
    ("manifest.json", {"format_version": "1.7"}, "format_version"),
    ("manifest.json", {"format_version": "2.0"}, "newer"),
    ("manifest.json", {"phasic_max_version": "0.99.x"}, "phasic_max_version"),
    ("manifest.json", {"phasic_models_min_version": None}, "phasic_models_min_version"),
    ("manifest.json", {"models": []}, "does not list it"),
    ("manifest.json", {"models": [{"name": "n_3", "hash": "0" * 64}]}, "graph_hash"),
    ("manifest.json", {"models": None}, "models"),
]


@pytest.mark.parametrize(("name", "fields", "message"), CONTRADICTIONS)
@pytest.mark.parametrize("signed", [False, True])
def test_contradictions(built, name, fields, message, signed):
    edit(built / name, **fields)
    if signed and fields != {"models": None}:
        sign(built)
    with pytest.raises(FormatError, match=rf"(?s)reinstall.*{message}"):
        opened(built)
    assert problems(built) != []


def test_models_of_the_manifest_with_other_parameters(built):
    document = json.loads((built / "manifest.json").read_text())
    for model in document["models"]:
        model["parameters"].reverse()
    (built / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match=r"parameters are \(up, down\), and manifest\.json says \(down, up\)"):
        opened(built)


def test_a_file_of_another_minor_version(built, monkeypatch):
    """Read alone it is good: an unknown minor version is. But nobody said that this library has one."""
    with monkeypatch.context() as patch:
        patch.setattr("phasic_models.formats.arrays.FORMAT_VERSION", "1.9")
        newer = dag_to_bytes(chain(3).eliminate())
    assert dag_from_bytes(newer).content_hash() == chain(3).content_hash()
    (built / "n_3.safetensors").write_bytes(newer)
    (built / "n_3.json").unlink()
    with pytest.raises(FormatError, match=r"format version is '1\.9', and its metadata say '1\.0'"):
        opened(built)


@pytest.mark.parametrize("name", ["manifest.json", "n_3.meta"])
def test_what_is_missing(built, name):
    (built / name).unlink()
    with pytest.raises(FormatError, match=name):
        opened(built)
    if name == "n_3.meta":
        assert any("n_3.meta: missing" in problem for problem in problems(built))


def test_a_model_without_a_file(built):
    (built / "n_3.json").unlink()
    assert opened(built) == mean(3)
    (built / "n_3.safetensors").unlink()
    with pytest.raises(FormatError, match=r"n_3\.safetensors, \.json: missing"):
        opened(built)


def test_a_good_copy_in_a_later_layer_is_taken(built, tmp_path, monkeypatch):
    shutil.copytree(built, tmp_path / "shared" / "symbolic" / "stages")
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(tmp_path / "shared"))
    (built / "n_3.meta").unlink()
    with pytest.warns(UserWarning, match=r"n_3\.meta: missing"):
        assert opened(built) == mean(3)


@pytest.mark.parametrize(
    "fields",
    [{"version": "9.0.0"}, {"description": "x"}, {"phasic_max_version": "0.99.x"}, {"license": "none"}, {"x": 1}],
)
def test_verify_covers_the_manifest(built, fields):
    """All of these were "ok"."""
    edit(built / "manifest.json", **fields)
    assert any("manifest.json: altered or damaged: its SHA-256" in problem for problem in problems(built))
    (built / "manifest.sha256").unlink()
    assert any("manifest.sha256: missing" in problem for problem in problems(built))
    (built / "manifest.sha256").write_bytes(b"\xff\xfe")
    assert any("manifest.sha256: cannot be read" in problem for problem in problems(built))


def test_verify_names_what_does_not_belong(built):
    """`sitecustomize.py`, metadata of no model and sub-folders were "ok"."""
    (built / "sitecustomize.py").write_text("import os")
    (built / "n_9.meta").write_text("{}")
    (built / "n_9.json").write_text("{}")
    (built / "README.py").write_text("")
    (built / "nested").mkdir()
    (built / "nested" / "n_3.json").write_text("{}")
    (built / "README.md").write_text("What people read.")
    (built / "LICENSE").write_text("MIT")
    listed = {Path(problem.split(": ")[0]).name for problem in problems(built)}
    assert listed == {"sitecustomize.py", "n_9.meta", "n_9.json", "README.py", "nested"}
    assert opened(built) == mean(3)


# -- entries of the user's own ---------------------------------------------------------------------------------------


def test_own_entries_need_no_manifest(tmp_path):
    cache = SymbolicCache(tmp_path)
    cache.get_or_compute(chain(3))
    key = chain(3).content_hash()
    assert load_model(key, cache_dir=tmp_path).param_names == ("up", "down")
    # The key does not depend on names, so the same entry serves a graph with others, under its own names.
    again = SymbolicCache(tmp_path)
    assert again.get_or_compute(chain(3, ("down", "up"))).graph.param_names == ("down", "up")
    assert (again.hits, again.misses) == (1, 0)
    entry_file(tmp_path / "symbolic", key, ".meta").unlink()
    assert load_model(key, cache_dir=tmp_path).expectation(THETA) == mean(3)


def test_own_entries_agree_with_their_metadata(tmp_path):
    key = SymbolicCache(tmp_path).save(chain(3).eliminate())
    folder = entry_folders(tmp_path / "symbolic", key)[0]
    for name in (f"{key}.safetensors", f"{key}.json"):
        chain(3, ("down", "up")).eliminate().save(folder / name)
    with pytest.raises(FormatError, match=r"parameters are \(down, up\)"):
        load_model(key, cache_dir=tmp_path)
    [found] = verify(everything=True, cache_dir=tmp_path)
    assert len(found.problems) == 2
    for data in (b"", (folder / f"{key}.meta").read_bytes()[:100]):
        (folder / f"{key}.meta").write_bytes(data)
        with pytest.raises(FormatError, match=rf"(?s){key}\.meta.*remove"):
            load_model(key, cache_dir=tmp_path)
    # A graph that is at hand knows its names itself.
    assert SymbolicCache(tmp_path).get_or_compute(chain(3)).model().expectation(THETA) == mean(3)


def test_an_export_may_be_completed_by_hand(tmp_path):
    """The guide's steps 2 and 3: no checksum covers the metadata, and what they do not say is no contradiction."""
    cache = SymbolicCache(tmp_path / "own")
    key = cache.save(chain(3).eliminate())
    folder = cache.export_library(tmp_path / "root" / "symbolic" / "stages")
    assert not (folder / "manifest.sha256").exists()
    meta = folder / f"{key}.meta"
    meta.write_text(json.dumps({"model_name": "three", "description": "Three stages", "graph_hash": key}))
    assert opened(folder, "three") == mean(3)
    assert problems(folder) == []
    meta.write_text(json.dumps({"model_name": "three", "graph_hash": key, "theta": [{"name": "down"}, {"name": "up"}]}))
    with pytest.raises(FormatError, match=r"parameters are \(down, up\)"):
        opened(folder, key)
    edit(folder / "manifest.json", models=[{"name": "three", "hash": key}])
    with pytest.raises(FormatError, match=r"parameters are \(up, down\)"):
        opened(folder, "three")


def test_a_contradiction_is_not_imported(built, tmp_path):
    swapped = chain(3, ("down", "up")).eliminate()
    (built / "n_3.safetensors").write_bytes(dag_to_bytes(swapped))
    document = json.loads((built / "manifest.json").read_text())
    document["checksums"]["n_3.safetensors"] = f"sha256:{sha256_file(built / 'n_3.safetensors')}"
    (built / "manifest.json").write_text(json.dumps(document))
    (built / "manifest.sha256").write_text(f"{sha256_file(built / 'manifest.json')}  manifest.json\n")
    with pytest.raises(FormatError, match=r"nothing was imported.*parameters are \(down, up\)"):
        SymbolicCache(tmp_path / "reader").import_library(built)
    assert not (tmp_path / "reader").exists()


@settings(max_examples=60)
@given(data=st.data())
def test_no_damage_gives_another_number(tmp_path_factory, data):
    """Any byte of any of the four files changed, or any of them cut: the right number or an error."""
    folder = tmp_path_factory.mktemp("damaged") / "root" / "symbolic" / "stages"
    folder.mkdir(parents=True)
    put(folder, "n_3", chain(3))
    write(folder, [entry("n_3", chain(3))])
    name = data.draw(st.sampled_from(sorted(path.name for path in folder.iterdir())))
    content = bytearray((folder / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content[at] ^= data.draw(st.integers(1, 255))
    else:
        del content[at:]
    (folder / name).write_bytes(content)
    catalogue.forget()
    # `verify` sees every change.
    assert problems(folder) != []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = opened(folder)
        except PhasicModelsError:
            return
    assert value == mean(3)
