"""The build: what it makes, what it refuses, and that it always gives the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
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
from phasic_models.packaging import release as release_module
from phasic_models.packaging.conda import all_recipe_text, package_name, read_package, recipe_text
from phasic_models.packaging.release import Release, check, make_release, release_version
from phasic_models.remote.publish import publish

pytestmark = pytest.mark.slow

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


# -- what a build must not do -------------------------------------------------------------------------------------


def test_a_models_py_cannot_end_the_build_well(root: Path) -> None:
    models = root / "libraries" / "coalescent" / "models.py"
    text = models.read_text(encoding="utf-8")
    before = {**sources(root), **outputs(root / "build")}
    models.write_text(text + "\nimport os\nos._exit(0)\n", encoding="utf-8")
    for options in (("--check",), ("--shard", "1/2"), ("--update-lock",)):
        done = command(root, *options)
        assert done.returncode == 1, options
        assert done.stdout.strip() == ""
        assert done.stderr.strip() == f"{models}: while it was run, the process ended with exit code 0 and gave nothing"
    function = "kingman" if "def kingman(" in text else text.partition("def ")[2].partition("(")[0]
    start = text.index(f"def {function}(")
    line = text[:start].count("\n") + 2
    body = f"def {function}(*arguments, **named):\n    raise SystemExit(0)\n\ndef _old"
    models.write_text(text[:start] + body + text[start + 4 + len(function) :], encoding="utf-8")
    done = command(root, "--update-lock")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0] == "2 mistakes:"
    assert lines[1] == f"{models}:{line}: n_samples_3: SystemExit in {function}: 0"
    assert lines[3:] == ["--verbose shows the tracebacks"]
    done = command(root, "--verbose", "--category", "coalescent")
    assert done.stderr.count("Traceback (most recent call last)") >= 2
    assert "raise SystemExit(0)" in done.stderr
    models.write_text(text, encoding="utf-8")
    assert {**sources(root), **outputs(root / "build")} == before


def test_a_random_model_is_refused_however_often_the_lock_is_renewed(root: Path) -> None:
    models = root / "libraries" / "coalescent" / "models.py"
    text = models.read_text(encoding="utf-8").replace("from itertools", "import random\nfrom itertools", 1)
    start = text.index("def kingman(")
    body = (
        "def kingman(state, n):\n"
        "    return [([1], 1.0, [1.0])] if len(state) == 0 else [([0], 0.0, [random.random()])] if state[0] else []\n\n\n"
    )
    models.write_text(text[:start] + body + "def _old" + text[start + 11 :], encoding="utf-8")
    lock = (root / "libraries" / "coalescent" / "library.lock").read_bytes()
    for _ in range(2):
        done = command(root, "--update-lock", "--category", "coalescent")
        assert done.returncode == 1
        assert "n_samples_3: kingman gives another graph each time" in done.stderr
        assert (root / "libraries" / "coalescent" / "library.lock").read_bytes() == lock


def test_limits_by_the_command(root: Path) -> None:
    models = root / "libraries" / "coalescent" / "models.py"
    text = models.read_text(encoding="utf-8")
    start = text.index("def kingman(")
    slow = "def kingman(state, n):\n    while n == 5: pass\n    return _old(state, n)\n\n\ndef _old"
    models.write_text(text[:start] + slow + text[start + 11 :], encoding="utf-8")
    done = command(root, "--category", "coalescent", "--time-limit", "2")
    assert done.returncode == 1
    line = text[:start].count("\n") + 2
    assert done.stderr.splitlines()[0] == f"{models}:{line}: n_samples_5: kingman: the time limit of 2 s is over"
    models.write_text(
        text.replace("def kingman(state, n):", "def kingman(state, n):\n    bytes(3 << 30)"), encoding="utf-8"
    )
    done = command(root, "--category", "coalescent", "--memory-limit", "0.5")
    if sys.platform == "linux":
        assert done.returncode == 1
        assert "n_samples_3: kingman: MemoryError: more than 0.5 GiB of memory" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_all_as_it_was(root: Path, how: signal.Signals) -> None:
    models = root / "libraries" / "queuing" / "models.py"
    text = models.read_text(encoding="utf-8")
    wait = f"    open({str(root / 'begun')!r}, 'w').close()\n    import time; time.sleep(600)\n    return"
    models.write_text(text.replace("    return", wait), encoding="utf-8")
    before = outputs(root / "build")
    arguments = [sys.executable, str(ROOT / "build_models.py"), "--root", str(root), "--jobs", "2"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True) as process:
        end = time.monotonic() + 120
        while not (root / "begun").exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(how)
        _, errors = process.communicate(timeout=60)
    if how is signal.SIGINT:
        assert process.returncode == 130
        assert errors.splitlines() == ["interrupted; no file is half-written, and the next run starts anew"]
    else:
        assert (process.returncode, errors) == (143, "")
    assert outputs(root / "build") == before
    assert sorted(path.name for path in (root / "build" / "libraries").iterdir()) == ["coalescent", "queuing"]


def test_what_is_missing_at_the_end_is_no_success(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(archives: Path) -> None:
        (root / "build" / "libraries" / "coalescent" / "n_samples_5.safetensors").unlink()
        next(archives.glob("queuing*.tar.gz")).unlink()

    monkeypatch.setattr(release_module, "write_release_files", lose)
    with pytest.raises(LibraryError) as caught:
        make_release(root, root / "build")
    first, *others = str(caught.value).splitlines()
    assert first == "the build is not complete:"
    assert [re.sub(r".*[/\\]", "", line) for line in others] == [
        f"queuing_models_v{load_library(root / 'libraries' / 'queuing').version}.tar.gz: missing",
        "n_samples_5.safetensors: missing",
        "n_samples_5: missing",
    ]


def test_a_build_in_parts(root: Path) -> None:
    before = outputs(root / "build")
    shutil.rmtree(root / "build")
    for number in (1, 2):
        done = command(root, "--shard", f"{number}/2")
        assert done.returncode == 0, done.stderr
        assert f"{number}-of-2" in done.stdout
    (root / "build" / "shards" / "2-of-2").rename(root / "elsewhere")
    done = command(root, "--merge", str(root / "build" / "shards"))
    assert (done.returncode, "part 2 of 2 is missing" in done.stderr) == (1, True), done.stderr
    done = command(root, "--merge", str(root / "build" / "shards"), "--merge", str(root / "elsewhere"))
    assert done.returncode == 0, done.stderr
    assert outputs(root / "build") == before
    assert command(root, "--shard", "1/2", "--update-lock").returncode == 2
    empty = command(root, "--shard", "")
    assert (empty.returncode, "a shard is given as I/N" in empty.stderr) == (1, True), "not a build of everything"


def test_somebody_else_s_repository(root: Path) -> None:
    """It needs no pyproject.toml, gets no package in this project's name, and is built beside itself."""
    (root / "pyproject.toml").unlink()
    shutil.rmtree(root / "build")
    shutil.rmtree(root / "docs")
    shutil.rmtree(root / "recipes")
    done = subprocess.run(
        [sys.executable, str(ROOT / "build_models.py"), "--root", str(root), "--update-lock"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    channel = root / "build" / "channel" / "noarch"
    packages = sorted(path.name.rsplit("-", 2)[0] for path in channel.glob("*.conda"))
    assert packages == ["phasic-models-coalescent", "phasic-models-queuing"]
    assert sorted(path.name for path in (root / "recipes").iterdir()) == packages
    assert not (root / "docs").exists()
    assert check(root, built=root / "build") == []
    (root / "LICENSE").unlink()
    with pytest.raises(LibraryError, match=r"coalescent: a package holds its licence, and there is neither .* nor "):
        make_release(root, root / "build")


def test_a_patch_release_of_one_library(root: Path, tmp_path: Path) -> None:
    channel = str(tmp_path / "channel")
    assert command(root, "--channel", channel).returncode == 0
    replace(root / "libraries" / "coalescent" / "library.yaml", "version: 1.0.0", "version: 1.0.1")
    done = command(root, "--update-lock", "--channel", channel)
    assert done.returncode == 1
    assert "phasic-models-all 1.0.0 build 0 is already in" in done.stderr
    assert "raise 'version' in pyproject.toml, which is that of this package, or add the libraries" in done.stderr
    done = command(root, "--category", "coalescent", "--channel", channel)
    assert done.returncode == 0, done.stderr
    assert f"Added to {channel}: phasic-models-coalescent-1.0.1-" in done.stdout


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
