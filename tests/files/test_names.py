"""One rule says which names a library may have: what may be installed is also found, listed and indexed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasic_models import list_models
from phasic_models.cache.installation import install_folder
from phasic_models.errors import FormatError
from phasic_models.files.names import name_problem, path_problem


@pytest.mark.parametrize(
    "name", ["coalescent", "n_samples_10.json", "a-b", "0", "Ärzte", "two words", "a+b", "x" * 240]
)
def test_names_that_every_system_takes(name: str) -> None:
    assert name_problem(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "/a",
        "a\\b",
        "C:x",
        "a.",
        "a ",
        "con",
        "COM1.json",
        "lpt0",
        "a\nb",
        "a*",
        "x" * 241,
    ],
)
def test_names_that_some_system_refuses(name: str) -> None:
    assert name_problem(name)


@given(st.text(max_size=20))
def test_a_name_is_a_path_of_one_part(name: str) -> None:
    if name_problem(name) is None:
        assert path_problem(name) is None
        assert "/" not in name


@pytest.mark.parametrize("category", ["two words", "Ärzte", "a+b"])
def test_what_may_be_installed_is_found(make_library, tmp_path, category: str) -> None:
    install_folder(make_library(category), tmp_path / "root" / "symbolic")
    assert category in {name.split("/")[0] for name in list_models(cache_dir=tmp_path / "root")}


def test_what_may_not_be_installed_is_refused(make_library, tmp_path) -> None:
    folder = make_library("con")
    with pytest.raises(FormatError, match="device name on Windows"):
        install_folder(folder, tmp_path / "root" / "symbolic")
