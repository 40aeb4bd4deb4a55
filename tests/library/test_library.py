"""A library folder: read and checked with all mistakes at once, built reproducibly, compared with its lock."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phasic_models import formats, library
from phasic_models.errors import LibraryError
from phasic_models.library import (
    LibraryMistakes,
    Limits,
    Lock,
    Workers,
    discover,
    json_schema,
    load_library,
    lock_differences,
    render_readme,
    update_readme,
    updated_lock,
)
from phasic_models.library.mistakes import Mistake

# The processes of all builds here; starting them takes longer than most builds.
WORKERS = Workers(Limits())
build_library = functools.partial(library.build_library, workers=WORKERS)

ROOT = Path(__file__).parents[2]
SHIPPED = discover(ROOT / "libraries")

MODELS = """\
def count(state, n):
    if len(state) == 0:
        return [([n], 1.0, [1.0])]
    return [([int(state[0]) - 1], 0.0, [1.0])] if state[0] else []


def down(state):
    return count(state, 2)
"""

YAML = """\
category: demo
version: 1.0.0
description: Two small models
license: MIT
compatible:
  phasic: ">=0.21,<0.33"
  phasic-models: ">=0.1,<1"
models:
  - name: first
    function: count
    arguments: {n: 3}
    description: Three steps
    parameters: &parameters
      - {name: rate, description: Rate of a step, unit: 1/time, example: 2.0}
    citation: &citation
      authors: [Erlang]
      year: 1909
      title: The theory of probabilities and telephone conversations
      url: https://example.org/erlang
  - name: second
    function: down
    description: Two steps
    parameters: *parameters
    citation: *citation
    status: verified
"""


@pytest.fixture(scope="module", autouse=True)
def _workers_end():
    with WORKERS:
        yield


@pytest.fixture
def folder(tmp_path):
    return library_folder(tmp_path)


def library_folder(where: Path, yaml: str | bytes = YAML, models: str = MODELS, name: str = "demo") -> Path:
    folder = where / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "library.yaml").write_bytes(yaml if isinstance(yaml, bytes) else yaml.encode())
    (folder / "models.py").write_text(models)
    return folder


def mistakes_of(folder: Path) -> list[Mistake]:
    with pytest.raises(LibraryMistakes) as caught:
        load_library(folder)
    for mistake in caught.value.mistakes:
        assert str(mistake) in str(caught.value)
    return list(caught.value.mistakes)


# Reading


def test_load(folder):
    library = load_library(folder)
    assert (library.category, library.version, library.model_names) == ("demo", "1.0.0", ("first", "second"))
    assert library.models[0].example == [2.0]
    assert library.models[1].parameters == library.models[0].parameters
    assert library.models[0].citation.link == "https://example.org/erlang"
    graph = library.graph("first")
    assert (graph.vertices_length(), graph.param_names) == (5, ("rate",))
    with pytest.raises(LookupError, match=r"no model 'third'; it has first, second"):
        library.graph("third")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_libraries_are_complete(path):
    library = load_library(path)
    assert {file.name for file in path.iterdir()} == {"library.yaml", "models.py", "library.lock", "README.md"}
    assert len(library.models) >= 10
    for model in library.models:
        assert model.parameters, model.name
        assert model.citation.link
    # The callbacks lean on nothing but the standard library and params.
    imports = [line for line in (path / "models.py").read_text().splitlines() if "import" in line.split()]
    assert set(imports) <= {
        "from itertools import product",
        "from math import comb, factorial",
        "from math import comb",
        "from phasic_models import params",
    }


def test_names_of_the_guide():
    names = {f"{path.name}/{name}" for path in SHIPPED for name in load_library(path).model_names}
    assert names >= {
        "coalescent/n_samples_3",
        "coalescent/n_samples_5",
        "coalescent/n_samples_10",
        "queuing/mm1_queue",
        "queuing/mmk_queue",
        "reliability/series_system",
        "reliability/parallel_system",
    }


def test_yaml_is_read_by_the_core_schema_of_yaml_1_2(tmp_path):
    text = YAML.replace("license: MIT", "license: no").replace("example: 2.0", "example: 1e-3")
    library = load_library(library_folder(tmp_path, text))
    assert library.spec.license == "no"
    assert library.models[0].example == [1e-3]


def test_models_py_leaves_no_trace(folder):
    before = set(sys.modules)
    (folder / "models.py").write_text(
        MODELS + "import dataclasses\n@dataclasses.dataclass\nclass State:\n    here: 'int'\n"
    )
    load_library(folder).graph("first")
    assert {name for name in set(sys.modules) - before if name == "models" or name.startswith("demo")} == set()
    assert "models" not in sys.modules
    assert sorted(path.name for path in folder.iterdir()) == ["library.yaml", "models.py"]


def test_arguments_may_be_called_as_options_of_graph(tmp_path):
    models = MODELS.replace("def count(state, n):", "def count(state, max_states):").replace("[n]", "[max_states]")
    models = models.replace("count(state, 2)", "count(state, max_states=2)")
    library = load_library(library_folder(tmp_path, YAML.replace("{n: 3}", "{max_states: 3}"), models))
    assert library.graph("first").vertices_length() == 5


# Bad input


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "expected"),
    [
        ("category: demo", "category: Demo", 1, "category", "expected a name of at most 40 lower-case letters"),
        ("category: demo", "category: other", 1, "category", "expected 'demo', the name of the folder"),
        ("version: 1.0.0", "version: 1.0", 2, "version", "such as 1.4.0, got float 1.0"),
        ("version: 1.0.0", "version: 01.0.0", 2, "version", "such as 1.4.0"),
        ("version: 1.0.0", "version: |\n  1.0.0", 2, "version", "such as 1.4.0"),
        ("description: Two small models\n", "", 1, "", "the key 'description' is missing"),
        ("Two small models", "' '", 3, "description", "a text that is not empty"),
        ("license:", "licence:", 4, "licence", "unknown key; did you mean 'license'?"),
        ('">=0.21,<0.33"', '"0.21 to 0.33"', 6, "compatible.phasic", "'0.21 to 0.33' is not a version range"),
        ('">=0.21,<0.33"', '">=0.33,<0.21"', 6, "compatible.phasic", "is empty"),
        ('">=0.21,<0.33"', '">=0.21"', 6, "compatible.phasic", "open end"),
        ('">=0.21,<0.33"', '">=0.21,<2"', 6, "compatible.phasic", "cannot be listed"),
        ('">=0.21,<0.33"', "0.21", 6, "compatible.phasic", "got float 0.21"),
        ("phasic-models:", "phasic_models:", 7, "compatible.phasic_models", "did you mean 'phasic-models'?"),
        ("name: first", "name: First", 9, "models[0].name", "a name of at most 64 lower-case letters"),
        ("name: first", "name: ../first", 9, "models[0].name", "a name of at most 64 lower-case letters"),
        ("name: first", "name: aux", 9, "models[0].name", "not a legal file name on Windows"),
        ("name: first", "name: com1", 9, "models[0].name", "not a legal file name on Windows"),
        ("name: first", "name: manifest", 9, "models[0].name", "taken by a file of the library"),
        ("name: second", "name: first", 20, "models[1].name", "second model of the name 'first'; the first is in"),
        ("function: count", "function: cout", 10, "models[0].function", "did you mean 'count'?"),
        ("function: count", "function: queue", 10, "models[0].function", "it has count, down"),
        ("{n: 3}", "{m: 3}", 11, "models[0].arguments", "missing a required argument: 'n'"),
        ("{n: 3}", "{n: 3, k: 1}", 11, "models[0].arguments", "unexpected keyword argument 'k'"),
        ("{n: 3}", "{n: {m: 3}}", 11, "models[0].arguments.n", "got a mapping"),
        ("{n: 3}", "[3]", 11, "models[0].arguments", "got a list"),
        ("description: Three", "descripton: Three", 12, "models[0].descripton", "did you mean 'description'?"),
        ("description: Three steps", "color: red", 12, "models[0].color", "unknown key; the keys are name, function"),
        ("example: 2.0", "example: two", 14, "models[0].parameters[0].example", "expected a number, got str 'two'"),
        ("example: 2.0", "example: .inf", 14, "models[0].parameters[0].example", "a finite number"),
        ("name: rate,", "name: 1rate,", 14, "models[0].parameters[0].name", "a Python name"),
        ("name: rate,", "", 14, "models[0].parameters[0]", "the key 'name' is missing"),
        ("[Erlang]", "Erlang", 16, "models[0].citation.authors", "a list of authors"),
        ("[Erlang]", "[]", 16, "models[0].citation.authors", "a list of authors"),
        ("[Erlang]", "[1909]", 16, "models[0].citation.authors", "a list of authors"),
        ("year: 1909", "year: '1909'", 17, "models[0].citation.year", "a year"),
        ("url: https://example.org/erlang", "doi: https://doi.org/1", 19, "models[0].citation.doi", "without https"),
        ("url: https://example.org/erlang", "url: ftp://example.org", 19, "models[0].citation.url", "with https://"),
        ("      url: https://example.org/erlang\n", "", 15, "models[0].citation", "either a doi or a url"),
        ("year: 1909", "year: 1909\n      doi: 10.1234/a", 15, "models[0].citation", "either a doi or a url"),
        ("status: verified", "status: good", 25, "models[1].status", "'provisional' or 'verified' or 'retracted'"),
        ("status: verified", "status: retracted", 25, "models[1].status", "needs the key 'retraction'"),
        ("status: verified", "retraction: {reason: wrong}", 20, "models[1].status", "no other model has one"),
        ("status: verified", "discrete: yes", 25, "models[1].discrete", "expected true or false, got str 'yes'"),
        (
            "status: verified",
            "errata: [{description: Sign, affects: before 1.1}]",
            25,
            "models[1].errata[0].affects",
            "such as '<1.1', got 'before 1.1'",
        ),
        ("status: verified", "name: third", 25, "models[1].name", "given twice; the first is in line 20"),
        ("status: verified", "function: !!python/name:os.system x", 25, "models[1].function", "given twice"),
        ("license: MIT", "license: !!python/name:os.system x", 4, "license", "is not supported"),
        ("license: MIT", "license: &loop [*loop]", 4, "license[0]", "it contains itself"),
        ("license: MIT", "license: MIT\n? [a]\n: b", 5, "", "a key must be a text"),
        ("license: MIT", "license: ~", 4, "license", "got nothing"),
        ("license: MIT", "license: *nobody", 4, "", "not valid YAML"),
        ("license: MIT", "license: [MIT", 5, "", "not valid YAML"),
        ("license: MIT", "license: MIT\nbuild: -1", 5, "build", "a build number, 0 or more, got int -1"),
        ("license: MIT", "license: MIT\nformat_version: '2.0'", 5, "format_version", "expected '1.0', got str '2.0'"),
    ],
)  # fmt: skip
def test_mistakes_in_library_yaml(tmp_path, old, new, line, key, expected):
    assert old in YAML
    found = mistakes_of(library_folder(tmp_path, YAML.replace(old, new, 1)))
    matching = [mistake for mistake in found if expected in mistake.message]
    assert matching, [str(mistake) for mistake in found]
    assert (matching[0].line, matching[0].key) == (line, key)
    assert matching[0].file.endswith("library.yaml")


def test_a_mistake_is_said_once_although_it_is_used_twice(tmp_path):
    found = mistakes_of(library_folder(tmp_path, YAML.replace("unit: 1/time, ", "", 1)))
    assert [(mistake.line, mistake.message.split(" is")[0]) for mistake in found] == [(14, "the key 'unit'")]


def test_all_mistakes_at_once(tmp_path):
    text = (
        YAML.replace("version: 1.0.0", "version: one", 1)
        .replace("license: MIT", "licence: MIT")
        .replace('">=0.21,<0.33"', '"new"')
        .replace("function: count", "function: missing")
        .replace("example: 2.0", "example: two")
        .replace("status: verified", "status: fine")
    )
    found = mistakes_of(library_folder(tmp_path, text))
    assert [mistake.line for mistake in found] == [1, 2, 4, 6, 10, 14, 25]
    with pytest.raises(LibraryMistakes, match=r"^7 mistakes:\n"):
        load_library(tmp_path / "demo")


def test_mistakes_in_both_files_are_said_together(tmp_path):
    folder = library_folder(tmp_path, YAML.replace("version: 1.0.0", "version: 1"), "def count(state:\n    pass\n")
    found = mistakes_of(folder)
    assert [(Path(mistake.file).name, mistake.line) for mistake in found] == [("library.yaml", 2), ("models.py", 1)]
    assert "SyntaxError" in found[1].message


@pytest.mark.parametrize(
    ("models", "line", "message"),
    [
        ("def count(state, n):\n  return (\n", 2, "SyntaxError"),
        ("import does_not_exist_anywhere\n", 1, "ModuleNotFoundError"),
        ("\nx = 1 / 0\n", 2, "ZeroDivisionError while it was run: division by zero"),
        ("def f():\n    raise SystemExit(3)\nf()\n", 2, "SystemExit"),
        ("\x00", None, "null bytes"),
    ],
)
def test_models_py_that_cannot_be_run(tmp_path, models, line, message):
    [mistake] = mistakes_of(library_folder(tmp_path, YAML, models))
    assert mistake.file.endswith("models.py")
    assert message in mistake.message
    if line is not None:
        assert mistake.line == line


def test_files_that_are_missing_or_unreadable(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert [Path(mistake.file).name for mistake in mistakes_of(empty)] == ["library.yaml", "models.py"]
    folder = library_folder(tmp_path, b"\xff\xfe\x00")
    assert "not UTF-8" in mistakes_of(folder)[0].message
    (folder / "library.yaml").write_bytes(b"")
    assert "empty" in mistakes_of(folder)[0].message
    (folder / "library.yaml").write_text("- a\n- b\n")
    assert "expected a mapping, got a list" in mistakes_of(folder)[0].message
    (folder / "library.yaml").write_text("a: " + "[" * 2000)
    assert mistakes_of(folder)
    (folder / "library.yaml").write_bytes(b"#" * (5 << 20))
    assert "larger than" in mistakes_of(folder)[0].message
    with pytest.raises(LibraryError, match="not a folder"):
        discover(tmp_path / "nowhere")
    assert discover(tmp_path) == [folder]


def test_a_text_of_aliases_does_not_grow_without_bound(tmp_path):
    lines = ["x0: &x0 [1, 2]"] + [f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 10)}]" for i in range(1, 25)]
    found = mistakes_of(library_folder(tmp_path, YAML + "\n".join(lines)))
    assert any("too large" in mistake.message for mistake in found)
    text = YAML.replace("{n: 3}", "{n: *x24}").replace("category:", "\n".join(lines) + "\ncategory:")
    assert mistakes_of(library_folder(tmp_path, text))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_library_yaml_holds_the_answer_is_a_library_or_a_list_of_mistakes(tmp_path, data):
    lines = YAML.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(lines) - 1))
        action = data.draw(st.sampled_from(["drop", "repeat", "cut", "text", "indent"]))
        if action == "drop":
            lines[where] = ""
        elif action == "repeat":
            lines[where] *= 2
        elif action == "cut":
            lines[where] = lines[where][: data.draw(st.integers(0, len(lines[where])))]
        elif action == "indent":
            lines[where] = "  " + lines[where]
        else:
            lines[where] += data.draw(st.text(max_size=20))
    folder = library_folder(tmp_path, "".join(lines).encode("utf-8", "surrogatepass"))
    with contextlib.suppress(LibraryMistakes):
        assert load_library(folder).category == "demo"


# Callbacks


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no rate')", r"models\.py:8: second: RuntimeError in down: .*no rate"),
        ("return undefined", r"models\.py:8: second: NameError in down: .*undefined"),
        ("return [([1], 1.0, [1.0])] if len(state) == 0 else [([0], float('nan'), [1.0])]", "state .*nan"),
        ("return [([1], 1.0, [1.0])] if len(state) == 0 else [([0], -1.0, [0.0])]", "state .*-1"),
        ("return [([1], 1.0, [1.0])] if len(state) == 0 else [([0, 0], 0.0, [1.0])]", r"state \(1\)"),
        ("return [([1], 1.0, [1.0])] if len(state) == 0 else [([1 - state[0]], 0.0, [1.0])]", "absor"),
        (
            "return [([1], 1.0)] if len(state) == 0 else [([0], 1.0)] if state[0] else []",
            "no transition of down depends on rate",
        ),
        ("return 3", "'int'"),
    ],
)
def test_callbacks_that_are_wrong(tmp_path, body, message):
    models = MODELS.replace("    return count(state, 2)\n", f"    {body}\n").replace("def down", "def down")
    library = load_library(library_folder(tmp_path, YAML, models))
    with pytest.raises(LibraryMistakes, match=message) as caught:
        library.graph("second")
    assert "second: " in str(caught.value)
    with pytest.raises(LibraryMistakes, match=message):
        build_library(library, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_wrong_number_of_parameters(tmp_path):
    text = YAML.replace("parameters: *parameters", "parameters: []")
    library = load_library(library_folder(tmp_path, text))
    with pytest.raises(LibraryMistakes, match=r"library\.yaml:\d+: models\[1\]\.\w+: second: .*parameter"):
        library.graph("second")


def test_other_names_of_parameters_than_the_callback_has(tmp_path):
    models = MODELS.replace("[1.0])] if", "[1.0])] if") + textwrap.dedent(
        """
        from phasic_models import params
        def down(state):
            if len(state) == 0:
                return [([1], 1.0)]
            return [([0], params("speed"))] if state[0] else []
        """
    )
    library = load_library(library_folder(tmp_path, YAML, models))
    with pytest.raises(LibraryMistakes, match="speed"):
        library.graph("second")


def test_mistakes_of_callbacks_are_said_together_with_those_of_library_yaml(tmp_path):
    models = MODELS.replace("    return count(state, 2)\n", "    raise RuntimeError('no rate')\n")
    found = mistakes_of(library_folder(tmp_path, YAML.replace("license:", "licence:"), models))
    assert [(Path(mistake.file).name, mistake.line) for mistake in found] == [
        ("library.yaml", 1),
        ("library.yaml", 4),
        ("models.py", 8),
    ]


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_build_reports_the_mistakes_of_all_models(tmp_path, jobs):
    models = MODELS.replace("return [([int", "raise OSError('gone')\n    return [([int")
    text = YAML.replace("example: 2.0", "example: -2.0")
    library = load_library(
        library_folder(tmp_path, text, models + "\n\ndef fine(state):\n    return count(state, 1)\n")
    )
    with pytest.raises(LibraryMistakes) as caught:
        build_library(library, tmp_path / "out", jobs=jobs)
    assert [mistake.message.split(":")[0] for mistake in caught.value.mistakes] == ["first", "second"]
    assert list((tmp_path / "out").iterdir()) == []


def test_an_example_that_the_model_refuses(tmp_path):
    library = load_library(library_folder(tmp_path, YAML.replace("example: 2.0", "example: -2.0")))
    with pytest.raises(LibraryMistakes, match=r"library\.yaml:13: .*at the example parameters \[-2\.0\]"):
        build_library(library, tmp_path / "out")


# Building


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_a_build_writes(folder, tmp_path):
    seen = []
    build = build_library(folder, tmp_path / "out", progress=lambda *step: seen.append(step))
    assert seen == [(1, 2, "first"), (2, 2, "second")]
    assert build.folder == tmp_path / "out" / "demo"
    assert sorted(path.name for path in build.folder.iterdir()) == sorted(
        [
            "manifest.json",
            "manifest.sha256",
            *(f"{name}.{kind}" for name in ("first", "second") for kind in ("json", "meta", "safetensors")),
        ]
    )
    manifest = formats.read_manifest(build.folder / "manifest.json")
    assert formats.manifest_problems(build.folder, manifest) == []
    assert manifest.category == "demo"
    assert [model.name for model in manifest.models] == ["first", "second"]
    assert manifest.models[0].parameters == ["rate"]
    assert len(manifest.checksums) == 6  # the metadata are covered too
    meta = formats.read_meta(build.folder / "first.meta")
    assert meta.parameters == {"n": 3}
    assert meta.compatible_versions[0] == "0.21.x"
    assert (meta.phasic_min_version, meta.phasic_max_version) == ("0.21.0", "0.32.x")
    assert (meta.status, meta.theta[0].unit, meta.citation.authors) == ("provisional", "1/time", ["Erlang"])
    assert meta.stats.vertices == 5
    assert meta.created == build.models[0].created
    for kind in ("json", "safetensors"):
        dag = formats.open_dag(build.folder / f"first.{kind}")
        assert dag.graph.content_hash() == build.models[0].graph_hash == meta.graph_hash
        assert dag.model().expectation([2.0]) == 1.5
    assert build.models[0].bytes == sum(len((build.folder / name).read_bytes()) for name in build.models[0].files)


def test_the_same_bytes_in_any_folder_with_any_jobs(folder, tmp_path, monkeypatch):
    first = build_library(folder, tmp_path / "one")
    lock = updated_lock(first, None)
    moved = shutil.copytree(folder, tmp_path / "else where" / "demo")
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    old = os.umask(0o077)
    try:
        second = build_library(moved, tmp_path / "two", lock=lock, jobs=2)
    finally:
        os.umask(old)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert lock_differences(second, lock) == []
    assert updated_lock(second, lock) is lock


def test_creation_time(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    build = build_library(folder, tmp_path / "out")
    assert {model.created for model in build.models} == {"2023-11-14T22:13:20Z"}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(LibraryError, match="SOURCE_DATE_EPOCH is 'soon'"):
        build_library(folder, tmp_path / "out")


def test_a_build_takes_the_place_of_an_earlier_one(folder, tmp_path):
    out = tmp_path / "out"
    build_library(folder, out)
    (out / "demo" / "left over.json").write_text("{}")
    build_library(folder, out)
    assert "left over.json" not in {path.name for path in (out / "demo").iterdir()}
    assert [path.name for path in out.iterdir()] == ["demo"]


def test_a_failed_build_leaves_the_earlier_one(folder, tmp_path):
    out = tmp_path / "out"
    build_library(folder, out)
    before = contents(out)
    (folder / "models.py").write_text(MODELS.replace("return count(state, 2)", "raise ValueError('x')"))
    with pytest.raises(LibraryMistakes):
        build_library(folder, out)
    assert contents(out) == before


def test_a_build_that_is_interrupted_leaves_nothing(folder, tmp_path):
    def interrupt(*step):
        raise KeyboardInterrupt

    for jobs in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            build_library(folder, tmp_path / "out", jobs=jobs, progress=interrupt)
        assert list((tmp_path / "out").iterdir()) == []


BUILD_PROCESS = "import sys; from phasic_models.library import build_library; build_library(sys.argv[1], sys.argv[2])"


def test_a_build_that_is_killed_leaves_the_earlier_one(folder, tmp_path):
    out = tmp_path / "out"
    build_library(folder, out)
    before = contents(out)
    slow = "    import time\n    print('here', flush=True)\n    time.sleep(60)\n    return count(state, 2)\n"
    (folder / "models.py").write_text(MODELS.replace("    return count(state, 2)\n", slow))
    with subprocess.Popen([sys.executable, "-c", BUILD_PROCESS, folder, out], stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == b"here\n"
        process.kill()
        process.wait()
    [left] = [path for path in out.iterdir() if path.name != "demo"]
    assert {name: data for name, data in contents(out).items() if name.startswith("demo")} == before
    (folder / "models.py").write_text(MODELS)
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(left, (long_ago, long_ago))
    build_library(folder, out)
    assert [path.name for path in out.iterdir()] == ["demo"]


def test_builds_at_the_same_time(folder, tmp_path):
    lock = updated_lock(build_library(folder, tmp_path / "out"), None)
    (folder / "library.lock").write_bytes(lock.encode())
    code = BUILD_PROCESS.replace("sys.argv[2])", "sys.argv[2], lock=Lock.read(sys.argv[1] + '/library.lock'))").replace(
        "build_library;", "Lock, build_library;"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, folder, tmp_path / "out"]) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["demo"]
    build = build_library(folder, tmp_path / "single", lock=lock)
    assert lock_differences(build, lock) == []
    assert contents(tmp_path / "out") == contents(tmp_path / "single")


def test_a_build_never_replaces_anything_else(folder, tmp_path):
    before = contents(folder)
    with pytest.raises(LibraryError, match=r"not a built library"):
        build_library(folder, folder.parent)
    assert contents(folder) == before
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "demo").write_text("a file")
    with pytest.raises(LibraryError, match="is not a folder"):
        build_library(folder, tmp_path / "out")
    with pytest.raises(ValueError, match="jobs must be at least 1"):
        build_library(folder, tmp_path / "other", jobs=0)


def test_retraction_and_errata_reach_the_metadata(tmp_path):
    text = YAML.replace(
        "status: verified",
        "status: retracted\n    retraction: {reason: A rate was doubled., fixed_in: 1.0.1}\n"
        '    errata: [{description: A rate was doubled., affects: "<1.0.1", fixed_in: 1.0.1, date: 2026-11-23}]',
    )
    build = build_library(library_folder(tmp_path, text), tmp_path / "out")
    meta = formats.read_meta(build.folder / "second.meta")
    assert (meta.status, meta.retraction.reason, meta.retraction.fixed_in) == (
        "retracted",
        "A rate was doubled.",
        "1.0.1",
    )
    assert meta.errata[0].affects == "<1.0.1"


# The lock


def test_lock_round_trip(folder, tmp_path):
    lock = updated_lock(build_library(folder, tmp_path / "out"), None)
    lock.write(folder / "library.lock")
    assert Lock.read(folder / "library.lock") == lock
    assert Lock.read_if_present(tmp_path / "library.lock") is None
    plain = json.loads(lock.encode())
    assert list(plain["models"]) == ["first", "second"]
    assert lock.encode().endswith(b"}\n")


def test_only_what_changed_is_locked_anew(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    first = updated_lock(build_library(folder, tmp_path / "out"), None)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    (folder / "models.py").write_text(MODELS.replace("count(state, 2)", "count(state, 4)"))
    build = build_library(folder, tmp_path / "out", lock=first)
    differences = lock_differences(build, first)
    assert [line.split(":")[0] for line in differences] == ["demo/second"] * 4
    assert "graph hash is" in differences[0]
    assert "(6 vertices and 5 edges; locked: 4 and 3)" in differences[0]
    second = updated_lock(build, first)
    assert second.models["first"] is first.models["first"]
    assert second.models["second"].created == "2023-11-14T22:13:20Z"
    assert second.created == "2023-11-14T22:13:20Z"
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    again = build_library(folder, tmp_path / "again", lock=second)
    assert lock_differences(again, second) == []
    assert contents(tmp_path / "again") == contents(tmp_path / "out")


def test_metadata_count_as_content(folder, tmp_path):
    lock = updated_lock(build_library(folder, tmp_path / "out"), None)
    (folder / "library.yaml").write_text(YAML.replace("Three steps", "3 steps"))
    build = build_library(folder, tmp_path / "out", lock=lock)
    assert [line.split(": sha256")[0] for line in lock_differences(build, lock)] == ["demo/first: first.meta"]
    renewed = updated_lock(build, lock)
    assert renewed.models["first"].files["first.json"] == lock.models["first"].files["first.json"]
    assert renewed.models["second"] is lock.models["second"]


def test_differences_of_the_library_itself(folder, tmp_path):
    lock = updated_lock(build_library(folder, tmp_path / "out"), None)
    (folder / "library.yaml").write_text(YAML.replace("version: 1.0.0", "version: 1.1.0"))
    build = build_library(folder, tmp_path / "out", lock=lock)
    assert lock_differences(build, lock) == ["demo: version is '1.1.0', the lock has '1.0.0'"]
    renewed = updated_lock(build, lock)
    assert renewed.models == lock.models
    assert renewed.version == "1.1.0"
    (folder / "library.yaml").write_text(YAML.replace("Two small models", "Small models"))
    [line] = lock_differences(build_library(folder, tmp_path / "out", lock=lock), lock)
    assert line.startswith("demo/manifest.json: sha256 is ")
    (folder / "library.yaml").write_text(YAML[: YAML.index("  - name: second")].replace("name: first", "name: third"))
    lines = lock_differences(build_library(folder, tmp_path / "out", lock=lock), lock)
    assert lines == [
        "demo/third: not in the lock",
        "demo/first: in the lock, but not in library.yaml",
        "demo/second: in the lock, but not in library.yaml",
    ]
    assert lock_differences(build, None) == ["demo: there is no library.lock yet"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "not a library lock"),
        (lambda text: text.replace('"graph_hash"', '"hash"', 1), "not a library lock"),
        (lambda text: text.replace('"build": 0', '"build": "0"'), r"\$\.build"),
        (
            lambda text: text.replace('"lock_version": 1', '"lock_version": 2'),
            "lock_version is 2, .*update phasic-models",
        ),
        (lambda text: text.replace('"lock_version": 1', '"lock_version": 0'), "lock_version is 0, .*lock anew"),
        (lambda text: text.replace("Z", "", 1), "created"),
        (lambda text: "<<<<<<< HEAD\n" + text, "not a library lock"),
        (lambda text: "[" * 100_000, "not a library lock"),
        (lambda text: "", "not a library lock"),
    ],
)
def test_a_lock_that_is_not_one(folder, tmp_path, change, message):
    text = updated_lock(build_library(folder, tmp_path / "out"), None).encode().decode()
    (folder / "library.lock").write_text(change(text))
    with pytest.raises(LibraryError, match=message) as caught:
        Lock.read(folder / "library.lock")
    assert "library.lock" in str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_a_lock_of_any_bytes(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("lock") / "library.lock"
    path.write_bytes(data)
    with pytest.raises(LibraryError):
        Lock.read(path)


# What is generated from the types and from library.yaml


def test_the_published_schema_is_that_of_the_types():
    published = ROOT / "src" / "phasic_models" / "schemas" / "library.schema.json"
    assert published.read_bytes() == json_schema(), "renew it with phasic_models.library.json_schema()"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_libraries_fit_the_schema(path):
    schema = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    plain = msgspec.to_builtins(load_library(path).spec)
    jsonschema.validate(plain, schema)
    plain["models"][0]["nmae"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(plain, schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_readmes_are_up_to_date(path):
    text = (path / "README.md").read_text(encoding="utf-8")
    assert render_readme(load_library(path), text) == text, "renew it with build_models.py --update-lock"


@pytest.fixture(scope="module")
def shipped_builds(tmp_path_factory):
    """A cache root that holds all libraries, and what the builds came to."""
    root = tmp_path_factory.mktemp("cache")
    return root, {
        path.name: build_library(path, root / "symbolic", lock=Lock.read(path / "library.lock")) for path in SHIPPED
    }


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_committed_lock_holds(path, shipped_builds):
    differences = lock_differences(shipped_builds[1][path.name], Lock.read(path / "library.lock"))
    assert differences == [], "if that is meant: uv run build_models.py --update-lock"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_code_of_shipped_readmes_runs(path, shipped_builds, monkeypatch, capsys):
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(shipped_builds[0]))
    blocks = re.findall(r"```python\n(.*?)```", (path / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(path / "README.md"), "exec"), {})
    printed = capsys.readouterr().out
    assert "nan" not in printed
    first = {"coalescent": 2 * (1 - 1 / 10), "queuing": 1 / (1.0 - 0.5), "reliability": None}[path.name]
    if first is not None:
        assert float(printed.split()[0]) == pytest.approx(first, rel=1e-12)


def test_the_example_of_the_authoring_guide(tmp_path):
    text = (ROOT / "docs" / "authoring.md").read_text(encoding="utf-8")
    callback, rational = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    [entry] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    head = YAML[: YAML.index("  - name: first")]
    library = load_library(library_folder(tmp_path, head + entry, rational + callback))
    # The time from `up` to `up - 1` machines by the recursion of birth-death chains, failure rate 1 and repair rate 4.
    steps = [1 / 4]
    for up in (3, 2, 1):
        steps.append((1 + 4 * steps[-1]) / up)
    assert library.graph("repair_shop_4").eliminate().model().expectation([1.0, 4.0]) == pytest.approx(sum(steps))


def test_readme_tables(folder):
    readme = folder / "README.md"
    readme.write_text("# demo\n")
    with pytest.raises(LibraryError, match=r"README\.md: expected the lines"):
        update_readme(load_library(folder))
    begin, end = "<!-- generated from library.yaml: begin -->", "<!-- generated from library.yaml: end -->"
    readme.write_text(f"# demo\n\nMine.\n\n{begin}\nold\n{end}\n\nMine too.\n")
    assert update_readme(load_library(folder))
    assert not update_readme(load_library(folder))
    text = readme.read_text()
    assert "old" not in text
    assert text.startswith("# demo\n\nMine.\n")
    assert text.endswith("Mine too.\n")
    assert "| `first` | Three steps | provisional | [1] |" in text
    assert "| `rate` | Rate of a step | 1/time | 2.0 |" in text
    assert "`first`, `second`:" in text
    assert "<https://example.org/erlang>" in text


def test_adding_a_library_is_adding_a_folder(tmp_path):
    root = tmp_path / "libraries"
    shutil.copytree(SHIPPED[0], root / SHIPPED[0].name)
    library_folder(root)
    assert [path.name for path in discover(root)] == [SHIPPED[0].name, "demo"]
    assert build_library(root / "demo", tmp_path / "out").models[0].name == "first"
