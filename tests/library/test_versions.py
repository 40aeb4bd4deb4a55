"""The version that is due follows from what changed, not from what an author feels."""

from __future__ import annotations

from pathlib import Path

import pytest
from conda_helpers import ROOT, make_spec
from hypothesis import given
from hypothesis import strategies as st

from phasic_models.library import LibraryBuild, Lock, ModelBuild, discover, load_library, updated_lock
from phasic_models.library.spec import Compatible
from phasic_models.packaging.versions import Change, bumped, change_between, compatibility_text, version_due


def model(name: str = "a", graph: str = "1", json: str = "1", meta: str = "1") -> ModelBuild:
    files = {f"{name}.json": json * 64, f"{name}.meta": meta * 64, f"{name}.safetensors": json * 64}
    return ModelBuild(name, graph * 64, 3, 2, 1, files, 10, 0.1, "2026-01-01T00:00:00Z", 1.0)


def build(*models: ModelBuild, version: str = "1.4.2", number: int = 0, manifest: str = "1") -> LibraryBuild:
    folder = Path("coalescent")
    return LibraryBuild("coalescent", version, number, folder, list(models), manifest * 64, "2026-01-01T00:00:00Z")


def lock_of(*models: ModelBuild) -> Lock:
    return updated_lock(build(*models), None)


@pytest.mark.parametrize(
    ("after", "change", "phrase"),
    [
        (build(model()), Change.NONE, ""),
        (build(model(), number=1, manifest="2"), Change.NONE, ""),
        (build(model(), manifest="2"), Change.PATCH, "the library is described differently"),
        (build(model(meta="2"), manifest="2"), Change.PATCH, "a is described differently"),
        (build(model(), model("b"), manifest="2"), Change.MINOR, "b is new"),
        (build(model(meta="2"), model("b"), manifest="2"), Change.MINOR, "b is new"),
        (build(model(json="2"), manifest="2"), Change.MAJOR, "a is stored differently"),
        (build(model(graph="2"), model("b"), manifest="2"), Change.MAJOR, "a is another model"),
        (build(model("b"), manifest="2"), Change.MAJOR, "a is gone"),
    ],
)
def test_the_change_decides(after: LibraryBuild, change: Change, phrase: str) -> None:
    found, phrases = change_between(lock_of(model()), after)
    assert found is change
    assert phrases == ([phrase] if phrase else [])


def test_a_version_that_is_due_is_named() -> None:
    lock = lock_of(model())
    lines = version_due(lock, build(*(model(name) for name in "abcdef"), version="1.4.9", manifest="2"))
    assert lines == [
        "coalescent: version 1.5.0 is due once 1.4.2 is published, library.yaml has 1.4.9 "
        "(minor: b is new, c is new, d is new and 2 more)"
    ]
    assert version_due(lock, build(model(), model("b"), version="1.5.0", manifest="2")) == []
    assert version_due(lock, build(model(), model("b"), version="2.0.0", manifest="2")) == []
    assert version_due(lock, build(model())) == []


@pytest.mark.parametrize(
    ("version", "change", "due"),
    [
        ("1.4.2", Change.MAJOR, "2.0.0"),
        ("1.4.2", Change.MINOR, "1.5.0"),
        ("1.4.2", Change.PATCH, "1.4.3"),
        ("1.4.2", Change.NONE, "1.4.2"),
        ("0.4.2", Change.MAJOR, "0.5.0"),
        ("0.4.2", Change.MINOR, "0.5.0"),
        ("0.4.2", Change.PATCH, "0.4.3"),
    ],
)
def test_bumped(version: str, change: Change, due: str) -> None:
    assert bumped(version, change) == due


@given(st.tuples(*[st.integers(0, 99)] * 3), st.sampled_from([Change.PATCH, Change.MINOR, Change.MAJOR]))
def test_a_change_always_raises_the_version(numbers: tuple[int, int, int], change: Change) -> None:
    due = bumped(".".join(map(str, numbers)), change)
    assert tuple(map(int, due.split("."))) > numbers


def test_the_compatibility_matrix() -> None:
    older = make_spec("queuing", "2.0.0", compatible=Compatible(phasic=">=0.9,<0.11", phasic_models=">=0.1,<0.5"))
    newer = make_spec("coalescent", "1.2.3", compatible=Compatible(phasic=">=0.10,<0.12", phasic_models=">=0.1,<1"))
    lines = compatibility_text([older, newer]).splitlines()
    assert lines[lines.index("| phasic | coalescent 1.2.3 | queuing 2.0.0 |") :] == [
        "| phasic | coalescent 1.2.3 | queuing 2.0.0 |",
        "|---|---|---|",
        "| 0.9.x | no | yes |",
        "| 0.10.x | yes | yes |",
        "| 0.11.x | yes | no |",
        "| toolkit | >=0.1,<1 | >=0.1,<0.5 |",
        "| format of the files | 1.0 | 1.0 |",
    ]


def test_the_committed_matrix_is_what_the_libraries_say() -> None:
    specs = [load_library(folder).spec for folder in discover(ROOT / "libraries")]
    assert (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8") == compatibility_text(specs)
