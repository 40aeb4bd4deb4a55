"""Version ranges: what library.yaml says, what the metadata say, what conda is told, and what is refused at load."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet

from phasic_models import compat
from phasic_models.compat import VersionRange
from phasic_models.errors import CompatibilityError, LibraryError
from phasic_models.formats import Manifest, ModelMeta

HASH = "a" * 64


@dataclass
class Compatible:
    phasic: str = ">=0.21,<0.33"
    phasic_models: str = ">=0.1,<1"


def test_the_example_of_the_design() -> None:
    found = VersionRange.parse(">=0.21,<0.33")
    assert found.min_version == "0.21.0"
    assert found.max_version == "0.32.x"
    assert found.compatible_versions == [f"0.{minor}.x" for minor in range(21, 33)]
    assert found.specifier == ">=0.21,<0.33"
    assert found.conda_constraint == ">=0.21,<0.33.0a0"


def test_metadata_and_conda_come_from_the_same_ranges() -> None:
    assert compat.metadata_fields(Compatible(phasic=">=0.31.2,<0.33")) == {
        "compatible_versions": ["0.31.x", "0.32.x"],
        "phasic_min_version": "0.31.2",
        "phasic_max_version": "0.32.x",
        "phasic_models_min_version": "0.1.0",
        "phasic_models_max_version": "0.x",
    }
    assert VersionRange.parse(">=0.1,<1").conda_constraint == ">=0.1,<1.0a0"


@pytest.mark.parametrize(
    ("text", "series"),
    [
        (">=1,<3", ["1.x", "2.x"]),
        (">=1,<2.2", ["1.x", "2.0.x", "2.1.x"]),
        (" >= 0.21.3 , < 0.22.0 ", ["0.21.x"]),
        ("<0.23,>=0.21", ["0.21.x", "0.22.x"]),
    ],
)
def test_series(text: str, series: list[str]) -> None:
    assert VersionRange.parse(text).compatible_versions == series


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (">=0.21", "open end"),
        ("<0.33", "open end"),
        ("", "not a version range"),
        ("0.21", "not a version range"),
        (">=0.21,<=0.33", "not a version range"),
        (">=0.21,<0.33,<0.34", "not a version range"),
        (">=0.21,<0.33rc1", "not a version range"),
        (">=0.21,<0.33,", "not a version range"),
        (">=0.33,<0.33", "empty"),
        (">=0.34,<0.33", "empty"),
        (">=0.21,<0.33.4", "within a series"),
        (">=0.٢١,<0.33", "not a version range"),
    ],
)
def test_bad_ranges(text: str, message: str) -> None:
    with pytest.raises(LibraryError, match=message):
        VersionRange.parse(text)


def test_series_that_cannot_be_listed() -> None:
    with pytest.raises(LibraryError, match="end the range within major version 0"):
        _ = VersionRange.parse(">=0.21,<2").compatible_versions


numbers = st.integers(0, 40)


@st.composite
def ranges(draw: st.DrawFn) -> VersionRange:
    major, minor, patch = draw(st.integers(0, 3)), draw(numbers), draw(st.integers(0, 5))
    return VersionRange.parse(f">={major}.{minor}.{patch},<{major}.{minor + draw(st.integers(1, 5))}")


versions = st.builds(
    lambda a, b, c, end: f"{a}.{b}.{c}{end}",
    st.integers(0, 3),
    numbers,
    st.integers(0, 6),
    st.sampled_from(["", "rc1", ".post1"]),
)


@given(ranges(), versions)
def test_pip_and_the_check_at_load_agree(range_: VersionRange, version: str) -> None:
    assert range_.allows(version) == SpecifierSet(range_.specifier).contains(version, prereleases=True)


@given(ranges())
def test_metadata_lead_back_to_the_range(range_: VersionRange) -> None:
    assert range_.allows(range_.min_version)
    assert range_.allows(range_.max_version.replace("x", "99"))
    assert range_.upper is not None
    assert not range_.allows(".".join(map(str, range_.upper)))
    fields = range_.fields("phasic")
    assert VersionRange.from_fields(fields["phasic_min_version"], fields["phasic_max_version"], "x") == range_
    assert range_.compatible_versions[0] == f"{range_.lower[0]}.{range_.lower[1]}.x"
    assert range_.compatible_versions[-1] == range_.max_version


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Install a stub distribution, as pip leaves it behind, in front of whatever else is installed."""

    def stub(name: str, version: str) -> None:
        folder = tmp_path / f"{name}-{version}"
        record = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        record.mkdir(parents=True)
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        monkeypatch.syspath_prepend(str(folder))

    return stub


def test_the_quick_search_finds_what_importlib_finds() -> None:
    for distribution in {d.metadata["Name"] for d in importlib.metadata.distributions()}:
        assert compat.installed_version(distribution) == importlib.metadata.version(distribution)


def test_an_older_form_of_installation_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tmp_path / "phasic_stub.egg-info"
    record.mkdir()
    (record / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: phasic-stub\nVersion: 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert compat.installed_version("phasic-stub") == "0.5"


def test_the_remains_of_an_installation_do_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "phasic_stub-0.5.dist-info").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert compat.installed_version("phasic-stub") is None


def test_a_version_that_cannot_be_compared_is_no_obstacle(install) -> None:
    install("phasic", "unknown")
    compat.check(meta(**compat.metadata_fields(Compatible())))


def meta(**fields: object) -> ModelMeta:
    return ModelMeta(model_name="coalescent/n_samples_10", graph_hash=HASH, **fields)


@pytest.mark.parametrize("version", ["0.21.0", "0.32.1", "0.32.99", "0.22rc1"])
def test_a_phasic_in_the_range_is_accepted(install, version: str) -> None:
    install("phasic", version)
    compat.check(meta(**compat.metadata_fields(Compatible())))


@pytest.mark.parametrize("version", ["0.20.9", "0.33.0", "0.33.0rc1", "1.0", "0.21.0rc1"])
def test_a_phasic_outside_the_range_is_refused(install, version: str) -> None:
    install("phasic", version)
    with pytest.raises(CompatibilityError) as caught:
        compat.check(meta(**compat.metadata_fields(Compatible())))
    assert "coalescent/n_samples_10 was made for phasic >=0.21,<0.33" in str(caught.value)
    assert f"phasic {version} is installed" in str(caught.value)
    assert "pip install 'phasic>=0.21,<0.33'" in str(caught.value)


def test_this_package_outside_the_range_is_refused(install) -> None:
    install("phasic-models", "2.0.0")
    with pytest.raises(CompatibilityError, match=r"made for phasic-models >=0\.1,<1, but phasic-models 2\.0\.0"):
        compat.check(Manifest(category="coalescent", models=[], **compat.metadata_fields(Compatible())))


def test_a_list_of_series_alone_is_checked_too(install) -> None:
    """The guide's metadata have `compatible_versions`, but neither a minimum nor a maximum."""
    install("phasic", "0.23.0")
    compat.check(meta(compatible_versions=["0.21.x", "0.23.x"]))
    with pytest.raises(CompatibilityError, match=r">=0\.21,<0\.22 or >=0\.22,<0\.23, but phasic 0\.23\.0"):
        compat.check(meta(compatible_versions=["0.21.x", "0.22.x"]))


def test_open_ends_and_silence_are_accepted(install) -> None:
    install("phasic", "7.1.0")
    compat.check(meta())
    compat.check(meta(phasic_min_version="0.21.0"))
    with pytest.raises(CompatibilityError, match=r"made for phasic <0\.33"):
        compat.check(meta(phasic_max_version="0.32.x"))


@pytest.mark.parametrize(
    ("lowest", "highest", "specifier"),
    [
        ("0.21.0", "0.32.x", ">=0.21,<0.33"),
        ("0.21.3", "0.x", ">=0.21.3,<1"),
        ("1.0", "1.2.3", ">=1,<1.2.4"),
        (None, "0.32.x", "<0.33"),
        ("0.21", None, ">=0.21"),
    ],
)
def test_fields_of_a_metadata_file(lowest: str | None, highest: str | None, specifier: str) -> None:
    found = VersionRange.from_fields(lowest, highest, "x")
    assert found is not None
    assert found.specifier == specifier
    assert SpecifierSet(found.specifier).contains("0.21.3") == found.allows("0.21.3")


def test_what_metadata_leave_open_has_no_range() -> None:
    assert VersionRange.from_fields(None, None, "x") is None
    assert compat.stated_ranges(meta()) == {}
    assert (
        compat.requirements(meta(**compat.metadata_fields(Compatible())))
        == "phasic >=0.21,<0.33; phasic-models >=0.1,<1"
    )


def test_a_version_that_is_none_is_refused() -> None:
    with pytest.raises(CompatibilityError, match=r"'new' is not a version"):
        compat.check(meta(phasic_min_version="new"))


def test_a_phasic_that_is_not_installed_is_no_obstacle() -> None:
    assert compat.installed_version("no-such-distribution") is None
    compat.check(meta(**compat.metadata_fields(Compatible())))
