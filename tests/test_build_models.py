"""The build: what it makes, what it refuses, and that it always gives the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rattler_build", reason="needs the build group")

import jsonschema
import yaml
from conda_helpers import ROOT, mini_repository, serve
from rattler.package_streaming import extract

from phasic_models import load_model
from phasic_models.cloud_cache import install_model_library
from phasic_models.errors import LibraryError
from phasic_models.files.archive import safe_extract
from phasic_models.files.checksums import read_checksums
from phasic_models.library import Lock, discover, load_library
from phasic_models.packaging.conda import all_recipe_text, package_name, read_package, recipe_text
from phasic_models.packaging.release import Release, check, make_release, release_version
from phasic_models.remote.publish import publish

MODELS = ("n_samples_3", "n_samples_5")


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built") / "repository"
    mini_repository(root, models=MODELS)
    make_release(root, root / "build", update=True)
    return root


@pytest.fixture
def root(built_once: Path, tmp_path: Path) -> Path:
    """A repository of two small libraries whose locks and recipes are committed and whose build is there."""
    return Path(shutil.copytree(built_once, tmp_path / "repository"))


def outputs(build: Path) -> dict[str, bytes]:
    """Return everything that a build made, but for the channel's index, which holds the time of indexing."""
    kept = [*(build / "libraries").rglob("*"), *build.glob("channel/noarch/*.conda"), *build.glob("archives/*")]
    return {path.relative_to(build).as_posix(): path.read_bytes() for path in kept if path.is_file()}


def sources(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for folder in ("libraries", "recipes")
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def command(root: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    arguments = [
        sys.executable,
        str(ROOT / "build_models.py"),
        "--root",
        str(root),
        "--out",
        str(root / "build"),
        *options,
    ]
    wide = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1", **environment}
    return subprocess.run(arguments, env=wide, capture_output=True, text=True)


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_what_a_build_leaves(root: Path) -> None:
    done = command(root, "--jobs", "2")
    assert done.returncode == 0, done.stderr
    for text in ("coalescent/n_samples_5", "queuing/mm1_queue", "vertices", "operations", "3 models in 2 libraries"):
        assert text in done.stdout
    build = root / "build"
    assert sorted(path.name for path in (build / "archives").iterdir()) == [
        "SHA256SUMS",
        "coalescent_models_v1.0.0.tar.gz",
        "index.json",
        f"queuing_models_v{load_library(root / 'libraries' / 'queuing').version}.tar.gz",
    ]
    sums = read_checksums((build / "archives" / "SHA256SUMS").read_text())
    assert len(sums) == 2
    packages = sorted(path.name.rsplit("-", 2)[0] for path in (build / "channel" / "noarch").glob("*.conda"))
    assert packages == ["phasic-models-all", "phasic-models-coalescent", "phasic-models-queuing"]
    repodata = json.loads((build / "channel" / "noarch" / "repodata.json").read_text())
    assert len(repodata["packages.conda"]) == 3
    assert (build / "channel" / "noarch" / "repodata_shards.msgpack.zst").is_file()
    files = safe_extract(build / "archives" / "coalescent_models_v1.0.0.tar.gz", root / "unpacked")
    unpacked = {path.name: (root / "unpacked" / path).read_bytes() for path in files}
    assert unpacked == {path.name: path.read_bytes() for path in (build / "libraries" / "coalescent").iterdir()}


def test_the_same_bytes_in_another_folder_under_other_conditions(root: Path, tmp_path: Path) -> None:
    first = outputs(root / "build")
    other = tmp_path / "quite another folder" / "ü"
    other.mkdir(parents=True)
    for name in ("libraries", "recipes", "docs", "LICENSE", "pyproject.toml"):
        source = root / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, other / name)
    mask = os.umask(0o077)
    try:
        done = command(other, "--jobs", "3", TZ="Asia/Kathmandu", PYTHONHASHSEED="777", LC_ALL="C", LANG="C")
    finally:
        os.umask(mask)
    assert done.returncode == 0, done.stderr
    assert outputs(other / "build") == first
    assert set(first) >= {"libraries/coalescent/manifest.json", "archives/SHA256SUMS"}


def test_a_changed_model_is_refused_and_nothing_is_packaged(root: Path) -> None:
    replace(root / "libraries" / "coalescent" / "library.yaml", "arguments:\n    n: 5", "arguments:\n    n: 6")
    before_sources, before_packages = sources(root), list((root / "build" / "channel" / "noarch").iterdir())
    done = command(root)
    assert done.returncode == 1
    assert "coalescent/n_samples_5: graph hash is" in done.stderr
    assert "7 vertices and 6 edges; locked: 6 and 5" in done.stderr
    assert "build_models.py --update-lock" in done.stderr
    assert "Traceback" not in done.stderr
    assert sources(root) == before_sources
    assert list((root / "build" / "channel" / "noarch").iterdir()) == before_packages


def test_update_lock_renews_what_changed_and_says_which_version_is_due(root: Path) -> None:
    lock_path = root / "libraries" / "coalescent" / "library.lock"
    before, other = json.loads(lock_path.read_text()), (root / "libraries" / "queuing" / "library.lock").read_bytes()
    replace(root / "libraries" / "coalescent" / "library.yaml", "arguments:\n    n: 5", "arguments:\n    n: 6")
    done = command(root, "--update-lock", SOURCE_DATE_EPOCH="1893456000")
    assert done.returncode == 0, done.stderr
    after = json.loads(lock_path.read_text())
    assert after["models"]["n_samples_3"] == before["models"]["n_samples_3"]
    assert after["models"]["n_samples_5"]["created"] == after["created"] == "2030-01-01T00:00:00Z"
    assert (root / "libraries" / "queuing" / "library.lock").read_bytes() == other
    assert "coalescent: version 2.0.0 is due once 1.0.0 is published" in done.stdout
    assert "major: n_samples_5 is another model" in done.stdout
    package = next((root / "build" / "channel" / "noarch").glob("phasic-models-coalescent-*.conda"))
    assert read_package(package).index["timestamp"] == 1893456000000
    assert make_release(root, root / "build").written == []


def test_publishing_an_installed_library_gives_the_tarball_of_the_build(root: Path, tmp_path: Path) -> None:
    # The library's time in the lock is now later than that of its files, which are all that an installed copy has.
    lock = root / "libraries" / "coalescent" / "library.lock"
    content = json.loads(lock.read_text())
    assert "created" in content
    content["created"] = "2031-01-01T00:00:00Z"
    lock.write_text(json.dumps(content))
    make_release(root, root / "build", update=True)
    assert json.loads(lock.read_text())["created"] == "2031-01-01T00:00:00Z"
    built = root / "build" / "archives" / "coalescent_models_v1.0.0.tar.gz"
    install_model_library("coalescent", index=root / "build" / "archives", cache_dir=tmp_path / "cache")
    done = publish("coalescent", str(tmp_path / "mirror"), cache_dir=tmp_path / "cache")
    assert (tmp_path / "mirror" / done.file).read_bytes() == built.read_bytes()
    publish(root / "build" / "libraries" / "coalescent", str(tmp_path / "other"))
    assert (tmp_path / "other" / done.file).read_bytes() == built.read_bytes()


def test_a_retracted_model_is_named_wherever_it_is_offered(root: Path, tmp_path: Path) -> None:
    """1.0.0 is published, then found to be wrong: 1.0.1 says so, of itself and, in the index, of 1.0.0 too."""
    mirror = str(tmp_path / "mirror")
    publish(root / "build" / "libraries" / "coalescent", mirror)
    path = root / "libraries" / "coalescent" / "library.yaml"
    replace(path, "version: 1.0.0", "version: 1.0.1")
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    [model] = [model for model in document["models"] if model["name"] == "n_samples_5"]
    model |= {"status": "retracted", "retraction": {"reason": "A rate was doubled.", "fixed_in": "2.0.0"}}
    path.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    make_release(root, root / "build", update=True)
    publish(root / "build" / "libraries" / "coalescent", mirror)
    reason = "A rate was doubled. (mended in 2.0.0)"

    schema = json.loads((ROOT / "src" / "phasic_models" / "schemas" / "index.schema.json").read_text())
    document = json.loads((tmp_path / "mirror" / "index.json").read_text())
    jsonschema.validate(document, schema)
    models = document["libraries"]["coalescent"]["versions"]["1.0.1"]["models"]
    assert [model.get("retraction") for model in models] == [
        None,
        {"reason": "A rate was doubled.", "fixed_in": "2.0.0"},
    ]
    package = next((root / "build" / "channel" / "noarch").glob("phasic-models-coalescent-1.0.1-*.conda"))
    extract(package, tmp_path / "package")
    about = json.loads((tmp_path / "package" / "info" / "about.json").read_text())
    assert about["description"].endswith(f"Retracted: n_samples_5: {reason}.")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        call = [sys.executable, "-c", "from phasic_models.cli import main; main()", *arguments]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PHASIC", "CONDA"))}
        variables = kept | {"PHASIC_CACHE_DIR": str(tmp_path / "cache"), "HOME": str(tmp_path), "COLUMNS": "300"}
        done = subprocess.run(call, env=variables | {"NO_COLOR": "1"}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done

    assert f"RETRACTED: {reason}" in run("search", "n_samples_5", "--index", mirror).stdout
    old = run("install", "coalescent==1.0.0", "--index", mirror)
    assert f"coalescent/n_samples_5 was retracted by its authors: {reason}" in old.stderr
    assert "RETRACTED" not in run("list").stdout, "its files are what they were"
    assert f"RETRACTED: {reason}" in run("search", "n_samples_5", "--index", mirror).stdout
    new = run("install", "coalescent", "--index", mirror)
    assert "coalescent 1.0.1 installed" in new.stdout
    assert f"coalescent/n_samples_5 was retracted by its authors: {reason}" in new.stderr
    assert "n_samples_3" not in new.stderr
    [line] = [line for line in run("list").stdout.splitlines() if "RETRACTED" in line]
    assert line.startswith("coalescent/n_samples_5")
    assert reason in line
    listed = {entry["name"]: entry["retraction"] for entry in json.loads(run("list", "--json").stdout)}
    assert listed == {"coalescent/n_samples_3": "", "coalescent/n_samples_5": reason}
    assert reason in run("info", "coalescent/n_samples_5", "--no-plot").stdout
    with pytest.warns(UserWarning, match=r"retracted by its authors: A rate was doubled\. \(mended in 2\.0\.0\)"):
        load_model("coalescent/n_samples_5", cache_dir=tmp_path / "cache")


def test_one_category(root: Path) -> None:
    replace(root / "libraries" / "queuing" / "library.yaml", "version:", "versionn:")
    before = {path.name for path in (root / "build" / "channel" / "noarch").glob("*.conda")}
    release = make_release(root, root / "build", categories=["coalescent"])
    assert [library.build.category for library in release.libraries] == ["coalescent"]
    assert {path.name for path in (root / "build" / "channel" / "noarch").glob("*.conda")} == before
    done = command(root, "--category", "coalescence", "--category", "reliability")
    assert done.returncode == 1
    assert "no library is called coalescence, reliability; there are coalescent, queuing" in done.stderr


def test_a_library_needs_only_its_folder(root: Path) -> None:
    shutil.copytree(root / "libraries" / "coalescent", root / "libraries" / "genealogy")
    (root / "libraries" / "genealogy" / "library.lock").unlink()
    replace(root / "libraries" / "genealogy" / "library.yaml", "category: coalescent", "category: genealogy")
    done = command(root, "--update-lock")
    assert done.returncode == 0, done.stderr
    packages = {path.name.rsplit("-", 2)[0]: path for path in (root / "build" / "channel" / "noarch").glob("*.conda")}
    assert "phasic-models-genealogy ==1.0.0" in read_package(packages["phasic-models-all"]).index["depends"]
    assert "genealogy" in (root / "recipes" / "phasic-models-genealogy" / "recipe.yaml").read_text()
    assert check(root, built=root / "build") == []
    shutil.rmtree(root / "libraries" / "genealogy")
    shutil.rmtree(root / "recipes" / "phasic-models-genealogy")
    make_release(root, root / "build", update=True)
    assert not list((root / "build").glob("*/noarch/phasic-models-genealogy*"))
    assert not list((root / "build").glob("archives/genealogy*"))


@pytest.mark.parametrize("package", ["phasic-models-coalescent", "phasic-models-all"])
def test_a_recipe_that_drifted_is_refused(root: Path, package: str) -> None:
    recipe = root / "recipes" / package / "recipe.yaml"
    recipe.write_text(recipe.read_text() + "# by hand\n")
    with pytest.raises(LibraryError, match=rf"recipes/{package}/recipe\.yaml: not what library\.yaml gives"):
        make_release(root, root / "build")
    assert make_release(root, root / "build", update=True).written == [recipe]


def test_mistakes_of_every_library_at_once(root: Path) -> None:
    before = sources(root)
    replace(root / "libraries" / "coalescent" / "library.yaml", "license: MIT", "licence: MIT")
    replace(root / "libraries" / "queuing" / "library.yaml", "status: verified", "status: verfied")
    done = command(root, "--update-lock")
    assert done.returncode == 1
    for text in ("coalescent/library.yaml:", "licence", "queuing/library.yaml:", "verfied"):
        assert text in done.stderr
    assert sorted(set(sources(root)) ^ set(before)) == []


def test_check_says_what_differs_and_changes_nothing(root: Path) -> None:
    before = {**sources(root), **outputs(root / "build")}
    done = command(root, "--check")
    assert (done.returncode, "Nothing differs" in done.stdout) == (0, True), done.stdout
    tarball = next((root / "build" / "archives").glob("coalescent*.tar.gz"))
    tarball.write_bytes(tarball.read_bytes() + b"\0")
    done = command(root, "--check")
    assert done.returncode == 1
    assert f"{tarball.name}: sha256" in done.stdout
    tarball.write_bytes(before[f"archives/{tarball.name}"])
    replace(root / "libraries" / "coalescent" / "library.yaml", "description: Kingman", "description: Sir Kingman")
    done = command(root, "--check")
    assert done.returncode == 1
    assert "coalescent/n_samples_3: n_samples_3.meta: sha256 is" in done.stdout
    replace(root / "libraries" / "coalescent" / "library.yaml", "description: Sir Kingman", "description: Kingman")
    assert {**sources(root), **outputs(root / "build")} == before


def test_check_against_what_is_published(root: Path) -> None:
    channel = root / "build" / "channel"
    package = next((channel / "noarch").glob("phasic-models-coalescent-*.conda"))
    with serve(channel) as url:
        for published in (str(channel), url, str(package), f"{url}/noarch/{package.name}"):
            assert check(root, published=published) == []
        # As if library.yaml had been changed after the publication, without another version.
        replace(root / "libraries" / "coalescent" / "library.yaml", "description: Kingman", "description: Sir Kingman")
        make_release(root, root / "build-2", update=True)
        for published in (str(channel), url, str(package), f"{url}/noarch/{package.name}"):
            lines = "\n".join(check(root, published=published))
            assert "phasic-models-coalescent-1.0.0-" in lines
            assert "share/phasic_cache/symbolic/coalescent/n_samples_3.meta: sha256" in lines
            assert "n_samples_3.json" not in lines
    replace(root / "libraries" / "coalescent" / "library.yaml", "version: 1.0.0", "version: 1.0.1")
    make_release(root, root / "build-2", update=True)
    lines = check(root, published=str(channel))
    assert {line.split("-1.0.0-")[0] for line in lines} == {"phasic-models-all"}, "it pins another version now"
    replace(root / "pyproject.toml", 'version = "1.0.0"', 'version = "1.0.1"')
    make_release(root, root / "build-2", update=True)
    assert check(root, published=str(channel)) == []
    replace(root / "libraries" / "queuing" / "library.yaml", "\nversion: ", "\nversion: 9")
    make_release(root, root / "build-2", update=True)
    [line] = check(root, categories=["queuing"], published=str(channel))
    assert line.startswith(f"{channel}: nothing was compared")
    assert "phasic-models-queuing-9" in line
    [line] = check(root, categories=["queuing"], published=str(package))
    assert line.startswith(f"{package}: nothing was compared")


def test_channel_and_check_by_the_command(root: Path, tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    done = command(root, "--channel", str(channel))
    assert done.returncode == 0, done.stderr
    assert f"Added to {channel}: phasic-models-coalescent-1.0.0-" in done.stdout
    again = command(root, "--channel", str(channel))
    assert "nothing, all were there" in again.stdout
    same = command(root, "--check", "--against", str(channel))
    assert (same.returncode, "Nothing differs" in same.stdout) == (0, True), same.stdout
    replace(root / "libraries" / "coalescent" / "library.yaml", "description: Kingman", "description: Sir Kingman")
    make_release(root, root / "build", update=True)
    other = command(root, "--check", "--against", str(channel))
    assert other.returncode == 1
    assert "n_samples_3.meta: sha256" in other.stdout
    before = {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()}
    refused = command(root, "--channel", str(channel))
    assert refused.returncode == 1
    assert "with other bytes. A published build is never replaced" in refused.stderr
    assert {path: path.read_bytes() for path in channel.rglob("*") if path.is_file()} == before
    nowhere = command(root, "--check", "--against", str(tmp_path / "nowhere"))
    assert nowhere.returncode == 1
    assert "nowhere" in nowhere.stderr
    assert "Traceback" not in nowhere.stderr


def test_no_library_at_all(tmp_path: Path) -> None:
    (tmp_path / "libraries").mkdir()
    with pytest.raises(LibraryError, match="there is no library"):
        make_release(tmp_path, tmp_path / "build")


@pytest.mark.parametrize(
    "text", ["", "[project]\nname = 'x'\n", '[tool.x]\nversion = "1"\n', '[project.x]\nversion = "1"\n']
)
def test_no_version_of_the_release(tmp_path: Path, text: str) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(LibraryError, match=r"pyproject\.toml: expected \[project\] with version"):
        release_version(tmp_path)


# -- this repository ----------------------------------------------------------------------------------------------


def test_committed_recipes_are_what_library_yaml_gives() -> None:
    libraries = [load_library(folder) for folder in discover(ROOT / "libraries")]
    expected = {package_name(library.category): recipe_text(library.spec) for library in libraries}
    expected["phasic-models-all"] = all_recipe_text([library.spec for library in libraries], release_version(ROOT))
    committed = {
        path.parent.name: path.read_text(encoding="utf-8")
        for path in (ROOT / "recipes").glob("*/recipe.yaml")
        if path.parent.name != "phasic-models"
    }
    assert committed == expected


def test_locks_are_committed_and_of_the_present_version() -> None:
    for folder in discover(ROOT / "libraries"):
        library, lock = load_library(folder), Lock.read(folder / "library.lock")
        assert (lock.category, lock.version, lock.build) == (library.category, library.version, library.spec.build)
        assert sorted(lock.models) == sorted(library.model_names)


def test_the_release_type_is_what_the_door_shows(root: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    release = make_release(root, root / "build", progress=lambda *step: seen.append(step))
    assert isinstance(release, Release)
    assert [step[1:] for step in seen] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    assert sorted(step[0] for step in seen[:-1]) == [
        "coalescent/n_samples_3",
        "coalescent/n_samples_5",
        "queuing/mm1_queue",
    ]
    assert seen[-1][0] == "packaging"
