"""Recipes and packages: what library.yaml says is what the package says, and the same sources give the same bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("rattler_build", reason="needs the build group")

from conda_helpers import TIMESTAMP, make_spec
from hypothesis import given, settings
from hypothesis import strategies as st
from rattler_build import RattlerBuildError, Stage0Recipe

from phasic_models.errors import FormatError, LibraryError
from phasic_models.library.spec import Compatible, Retraction
from phasic_models.packaging.conda import (
    all_recipe_text,
    package_all,
    package_differences,
    package_library,
    read_package,
    recipe_text,
)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    folder = tmp_path / "libraries" / "coalescent"
    folder.mkdir(parents=True)
    for suffix in ("json", "meta", "safetensors"):
        (folder / f"n_samples_3.{suffix}").write_text(f"{suffix} of n_samples_3\n" * 100)
    (folder / "manifest.json").write_text("{}\n")
    return folder


@pytest.fixture
def license_file(tmp_path: Path) -> Path:
    (tmp_path / "LICENSE").write_text("MIT License\n")
    return tmp_path / "LICENSE"


def package(built: Path, license_file: Path, out: Path, recipe: str | None = None, when: datetime = TIMESTAMP) -> Path:
    return package_library(recipe or recipe_text(make_spec()), built, out, timestamp=when, license_file=license_file)


def test_the_package_says_what_library_yaml_says(built: Path, license_file: Path, tmp_path: Path) -> None:
    spec = make_spec(version="1.4.2", build=3)
    path = package(built, license_file, tmp_path / "noarch", recipe_text(spec))
    content = read_package(path)
    build = content.index.pop("build")
    assert path.name == f"phasic-models-coalescent-1.4.2-{build}.conda"
    assert build.endswith("_3")
    assert content.index == {
        "name": "phasic-models-coalescent",
        "version": "1.4.2",
        "build_number": 3,
        "constrains": ["phasic >=0.21,<0.33.0a0", "phasic-models >=0.1,<1.0a0"],
        "depends": [],
        "license": "MIT",
        "noarch": "generic",
        "subdir": "noarch",
        "timestamp": int(TIMESTAMP.timestamp() * 1000),
    }
    data = {name: digest for name, digest in content.files.items() if not name.startswith("info/")}
    assert data == {
        f"share/phasic_cache/symbolic/coalescent/{file.name}": hashlib.sha256(file.read_bytes()).hexdigest()
        for file in built.iterdir()
    }
    assert sorted(name for name in content.files if name.startswith("info/")) == [
        "info/about.json",
        "info/licenses/LICENSE",
        "info/paths.json",
        "info/recipe/recipe.yaml",
    ]
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name]


def test_nothing_of_the_machine_is_in_the_package(built: Path, license_file: Path, tmp_path: Path) -> None:
    from rattler.package_streaming import extract

    extract(package(built, license_file, tmp_path / "noarch"), tmp_path / "unpacked")
    for path in (tmp_path / "unpacked").rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes()
    paths = json.loads((tmp_path / "unpacked" / "info" / "paths.json").read_text())["paths"]
    assert {entry["path_type"] for entry in paths} == {"hardlink"}
    assert not any("file_mode" in entry or "prefix_placeholder" in entry for entry in paths)


BUILD_ELSEWHERE = """
import os, sys
from datetime import datetime
from pathlib import Path
os.umask(int(sys.argv[5], 8))
sys.path.insert(0, sys.argv[6])
from conda_helpers import make_spec
from phasic_models.packaging.conda import package_library, recipe_text
built, license_file, out = map(Path, sys.argv[1:4])
when = datetime.fromisoformat(sys.argv[4])
print(package_library(recipe_text(make_spec()), built, out, timestamp=when, license_file=license_file))
"""


@pytest.mark.parametrize(("umask", "zone", "seed"), [("022", "UTC", "0"), ("077", "Asia/Kolkata", "12345")])
def test_same_bytes_anywhere(umask: str, zone: str, seed: str, built: Path, license_file: Path, tmp_path: Path) -> None:
    here = package(built, license_file, tmp_path / "noarch")
    elsewhere = tmp_path / f"another folder {umask}" / "coalescent"
    elsewhere.mkdir(parents=True)
    for path in sorted(built.iterdir(), reverse=True):
        (elsewhere / path.name).write_bytes(path.read_bytes())
        (elsewhere / path.name).chmod(0o640)
        os.utime(elsewhere / path.name, (1_000_000_000, 1_000_000_000))
    same_moment = TIMESTAMP.astimezone(timezone(timedelta(hours=5, minutes=30))).isoformat()
    arguments = [
        elsewhere,
        license_file,
        tmp_path / "out" / umask,
        same_moment,
        umask,
        Path(__file__).parents[1] / "helpers",
    ]
    environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": seed, "TMPDIR": str(tmp_path), "LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD_ELSEWHERE, *map(str, arguments)],
        env=environment,
        cwd=tmp_path,
        text=True,
        capture_output=True,
        check=True,
    )
    there = Path(done.stdout.strip())
    assert there.name == here.name
    assert there.read_bytes() == here.read_bytes()


def test_any_change_of_content_changes_the_build_string(built: Path, license_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "noarch"
    names = [package(built, license_file, out).name]
    names.append(package(built, license_file, out, when=TIMESTAMP + timedelta(seconds=1)).name)
    names.append(package(built, license_file, out, recipe_text(make_spec(description="Other words"))).name)
    narrower = make_spec(compatible=Compatible(phasic=">=0.21,<0.32", phasic_models=">=0.1,<1"))
    names.append(package(built, license_file, out, recipe_text(narrower)).name)
    license_file.write_text("Another licence\n")
    names.append(package(built, license_file, out).name)
    (built / "manifest.json").write_text('{"a": 1}\n')
    names.append(package(built, license_file, out).name)
    (built / "manifest.json").rename(built / "manifest2.json")
    names.append(package(built, license_file, out).name)
    assert len(set(names)) == len(names)


def test_a_retracted_model_is_named_in_the_package(built: Path, license_file: Path, tmp_path: Path) -> None:
    from rattler.package_streaming import extract

    spec = make_spec()
    model = msgspec.structs.replace(
        spec.models[0], status="retracted", retraction=Retraction(reason="The rates are off by 2", fixed_in="1.0.1")
    )
    recipe = recipe_text(msgspec.structs.replace(spec, models=[model]))
    extract(package(built, license_file, tmp_path / "noarch", recipe), tmp_path / "unpacked")
    about = json.loads((tmp_path / "unpacked" / "info" / "about.json").read_text())
    assert about["description"].endswith("Retracted: n_samples_3: The rates are off by 2 (mended in 1.0.1).")


def test_the_package_of_all_libraries_pins_each(tmp_path: Path) -> None:
    specs = [make_spec("queuing", "2.0.1"), make_spec("coalescent", "1.4.2")]
    text = all_recipe_text(specs, "0.3.0")
    assert text == all_recipe_text(reversed(specs), "0.3.0")
    content = read_package(package_all(text, tmp_path / "noarch", timestamp=TIMESTAMP))
    assert content.index["name"] == "phasic-models-all"
    assert content.index["version"] == "0.3.0"
    assert content.index["depends"] == ["phasic-models-coalescent ==1.4.2", "phasic-models-queuing ==2.0.1"]
    assert all(name.startswith("info/") for name in content.files)


def test_a_plain_build_of_the_recipe_gives_the_same_files(built: Path, license_file: Path, tmp_path: Path) -> None:
    """The recipe is a real one: rattler-build builds it in the layout of the repository and runs its tests."""
    recipe = tmp_path / "recipes" / "phasic-models-coalescent" / "recipe.yaml"
    recipe.parent.mkdir(parents=True)
    recipe.write_text(recipe_text(make_spec()))
    (tmp_path / "build").mkdir()
    built.parent.rename(tmp_path / "build" / "libraries")
    result = Stage0Recipe.from_file(recipe).run_build(output_dir=tmp_path / "plain", channels=[])
    plain = read_package(Path(result[0].packages[0]))
    ours = read_package(package(tmp_path / "build" / "libraries" / "coalescent", license_file, tmp_path / "noarch"))
    assert {k: v for k, v in plain.files.items() if not k.startswith("info/")} == {
        k: v for k, v in ours.files.items() if not k.startswith("info/")
    }
    for key in ("name", "version", "build_number", "constrains", "depends", "license", "noarch", "subdir"):
        assert plain.index[key] == ours.index[key]
    # The recipe's own test of the content ran with the build; it would have told.
    recipe.write_text(recipe.read_text().replace("/manifest.json\n", "/no-manifest.json\n"))
    with pytest.raises(RattlerBuildError, match=r"No match for files glob: .*/coalescent/no-manifest\.json"):
        Stage0Recipe.from_file(recipe).run_build(output_dir=tmp_path / "plain", channels=[])


@settings(deadline=None, max_examples=60)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=80).filter(lambda text: text.strip()))
def test_any_description_survives_the_recipe(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    from phasic_models.packaging.conda import _render

    folder = tmp_path_factory.mktemp("recipe")
    (folder / "recipe.yaml").write_text(recipe_text(make_spec(description=text)), encoding="utf-8", newline="\n")
    assert _render(folder / "recipe.yaml").summary == " ".join(text.split()).replace("${{", "$ {{")


@pytest.mark.parametrize("text", ["${{ undefined }}", "a: b # c", "- x", "'\"", "{% if %}", "back\\slash", "ünï – ç"])
def test_a_description_is_not_evaluated(text: str, tmp_path: Path) -> None:
    from phasic_models.packaging.conda import _render

    (tmp_path / "recipe.yaml").write_text(recipe_text(make_spec(description=text)), encoding="utf-8")
    assert _render(tmp_path / "recipe.yaml").summary == text.replace("${{", "$ {{")


def test_what_cannot_be_packaged(built: Path, license_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(LibraryError, match="empty: there is no file to package; build the library first"):
        package(tmp_path / "empty", license_file, tmp_path / "noarch")
    (built / "aux.json").write_text("{}")
    with pytest.raises(LibraryError, match=r"aux\.json: .* device name on Windows"):
        package(built, license_file, tmp_path / "noarch")
    (built / "aux.json").unlink()
    (built / "link.json").symlink_to("manifest.json")
    with pytest.raises(LibraryError, match=r"link\.json: only plain files"):
        package(built, license_file, tmp_path / "noarch")
    (built / "link.json").unlink()
    good = recipe_text(make_spec())
    for bad, match in [
        ("nonsense: [", "cannot be rendered"),
        (good.replace("noarch: generic", "noarch: python"), "must be noarch: generic"),
        (good.replace("  run_constraints:", "  host:"), "with run and run_constraints only"),
        (good.replace("phasic >=0.21", "phasic >=>0.21"), "cannot be rendered"),
    ]:
        with pytest.raises(LibraryError, match=match):
            package(built, license_file, tmp_path / "noarch", bad)
    assert not (tmp_path / "noarch").exists()


def test_differences_are_readable(built: Path, license_file: Path, tmp_path: Path) -> None:
    ours = read_package(package(built, license_file, tmp_path / "a"))
    assert package_differences(ours, ours) == []
    (built / "manifest.json").write_text("[]\n")
    (built / "n_samples_3.json").rename(built / "n_samples_4.json")
    theirs = read_package(package(built, license_file, tmp_path / "b", recipe_text(make_spec(version="1.1.0"))))
    lines = "\n".join(package_differences(ours, theirs))
    assert "version: '1.1.0' is now '1.0.0'" in lines
    assert "share/phasic_cache/symbolic/coalescent/manifest.json: sha256" in lines
    assert "share/phasic_cache/symbolic/coalescent/n_samples_3.json: is new" in lines
    assert "share/phasic_cache/symbolic/coalescent/n_samples_4.json: is gone" in lines
    assert "paths.json" not in lines


@pytest.mark.parametrize("kept", [0, 1, 100, 1000])
def test_a_damaged_package_is_named(kept: int, built: Path, license_file: Path, tmp_path: Path) -> None:
    path = package(built, license_file, tmp_path / "noarch")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FormatError, match=r"\.conda: not a conda package"):
        read_package(path)
