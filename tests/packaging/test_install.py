"""From library sources to an installed conda package and back to numbers: a real channel and real installs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rattler", reason="needs the build group")

import rattler
from conda_helpers import ROOT, bare_environment, index, install, mini_repository, names, serve, solve, stub
from rattler.exceptions import SolverError

from phasic_models.packaging.conda import CACHE_FOLDER, read_package
from phasic_models.packaging.release import Release, make_release

pytestmark = pytest.mark.slow

LOAD = "import phasic_models as pm, sys; m = pm.load_model('coalescent/n_samples_10'); print(m.expectation([1.0]))"


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    root = tmp_path_factory.mktemp("repository")
    mini_repository(root)
    return make_release(root, root / "build", update=True)


@pytest.fixture(scope="session")
def channel_folder(release: Release) -> Path:
    return release.packages[0].parent.parent


@pytest.fixture
def stubbed(channel_folder: Path, tmp_path: Path) -> Path:
    """The built channel with stub packages of phasic and of the toolkit beside the libraries."""
    channel = tmp_path / "channel"
    shutil.copytree(channel_folder / "noarch", channel / "noarch")
    for version in ("0.20.9", "0.21.0", "0.32.9", "0.33.0rc1", "0.33.0", "1.0.0"):
        stub(channel, "phasic", version)
    for version in ("0.0.9", "0.1.0", "0.9.9", "1.0.0"):
        stub(channel, "phasic-models", version)
    index(channel)
    return channel


@pytest.fixture(params=["file", "http"])
def channel_url(request: pytest.FixtureRequest, channel_folder: Path) -> Iterator[str]:
    if request.param == "file":
        yield channel_folder.as_uri()
    else:
        with serve(channel_folder) as url:
            yield url


def run(python: str | Path, code: str, environment: dict[str, str], **kwargs: object) -> str:
    done = subprocess.run([str(python), "-c", code], env=environment, capture_output=True, text=True, **kwargs)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout.strip())


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("folder", ["prefix", "a prefix with spaces & ümlauts"])
def test_installed_and_found_by_conda_prefix(channel_url: str, folder: str, tmp_path: Path) -> None:
    prefix = tmp_path / folder
    records = solve(channel_url, "phasic-models-coalescent")
    assert names(records) == ["phasic-models-coalescent 1.0.0"]
    install(records, prefix, tmp_path / "package cache")
    before = snapshot(prefix)
    assert f"{CACHE_FOLDER}/coalescent/n_samples_10.safetensors" in before
    home = tmp_path / "home"
    home.mkdir()
    # The mean height of a coalescent tree of n samples is 2 (1 - 1/n).
    assert float(run(sys.executable, LOAD, bare_environment(home, CONDA_PREFIX=str(prefix)))) == pytest.approx(1.8)
    assert snapshot(prefix) == before
    assert snapshot(home) == {}


def test_installed_and_found_by_sys_prefix_without_activation(channel_folder: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "an environment"
    venv.create(prefix, with_pip=False)
    scheme = {"base": str(prefix), "platbase": str(prefix)}
    packages = Path(sysconfig.get_path("purelib", "venv" if "venv" in sysconfig.get_scheme_names() else None, scheme))
    packages.mkdir(parents=True, exist_ok=True)
    # addsitedir also follows the .pth file of an editable install.
    own = sysconfig.get_path("purelib")
    (packages / "toolkit.pth").write_text(f"import site; site.addsitedir({own!r})\n", encoding="utf-8")
    install(solve(channel_folder.as_uri(), "phasic-models-coalescent"), prefix, tmp_path / "cache")
    python = prefix / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    assert float(run(python, LOAD, bare_environment(tmp_path))) == pytest.approx(1.8)
    with_other = bare_environment(tmp_path, CONDA_PREFIX=str(tmp_path / "an outer environment"))
    assert float(run(python, LOAD, with_other)) == pytest.approx(1.8)


def test_not_installed_is_a_clear_error(tmp_path: Path) -> None:
    environment = bare_environment(tmp_path, CONDA_PREFIX=str(tmp_path / "empty"))
    done = subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ModelNotFoundError" in done.stderr
    assert "coalescent/n_samples_10" in done.stderr
    assert "phasic-models-coalescent" in done.stderr


@pytest.mark.parametrize("version", ["0.21.0", "0.32.9"])
def test_phasic_at_the_edges_of_the_range(stubbed: Path, version: str) -> None:
    records = solve(stubbed.as_uri(), "phasic-models-coalescent", f"phasic =={version}")
    assert names(records) == [f"phasic {version}", "phasic-models-coalescent 1.0.0"]


def test_the_newest_phasic_that_fits_is_chosen(stubbed: Path) -> None:
    assert names(solve(stubbed.as_uri(), "phasic-models-all", "phasic", "phasic-models")) == [
        "phasic 0.32.9",
        "phasic-models 0.9.9",
        "phasic-models-all 1.0.0",
        "phasic-models-coalescent 1.0.0",
        f"phasic-models-queuing {queuing_version()}",
    ]


@pytest.mark.parametrize("version", ["0.20.9", "0.33.0rc1", "0.33.0", "1.0.0"])
def test_phasic_outside_of_the_range_is_refused_by_the_solver(stubbed: Path, version: str) -> None:
    with pytest.raises(SolverError) as refused:
        solve(stubbed.as_uri(), "phasic-models-coalescent", f"phasic =={version}")
    message = str(refused.value)
    assert "phasic-models-coalescent 1.0.0 would constrain" in message
    assert "phasic >=0.21,<0.33.0a0, which conflicts with any installable versions" in message


@pytest.mark.parametrize(("version", "fits"), [("0.0.9", False), ("0.1.0", True), ("1.0.0", False)])
def test_the_toolkit_is_constrained_too(stubbed: Path, version: str, fits: bool) -> None:
    specs = ("phasic-models-coalescent", f"phasic-models =={version}")
    if fits:
        assert f"phasic-models {version}" in names(solve(stubbed.as_uri(), *specs))
    else:
        with pytest.raises(SolverError, match=r"phasic-models >=0\.1,<1\.0a0, which conflicts"):
            solve(stubbed.as_uri(), *specs)


def test_no_path_is_owned_twice(release: Release) -> None:
    owner: dict[str, str] = {}
    for package in release.packages:
        for path in read_package(package).files:
            if not path.startswith("info/"):
                assert path.casefold() not in owner, f"{path} is in {package.name} and in {owner[path.casefold()]}"
                owner[path.casefold()] = package.name
                assert path.split("/")[:3] == CACHE_FOLDER.split("/")
    assert len(owner) == 2 * (3 * 2) - 3 + 2 * 2


def test_every_library_by_one_name_then_removed(channel_folder: Path, tmp_path: Path) -> None:
    prefix = tmp_path / "prefix"
    install(solve(channel_folder.as_uri(), "phasic-models-all"), prefix, tmp_path / "cache")
    symbolic = prefix / CACHE_FOLDER
    assert sorted(path.name for path in symbolic.iterdir()) == ["coalescent", "queuing"]
    listed = "import phasic_models as pm; print(*sorted(str(m) for m in pm.list_models()), sep='\\n')"
    shown = run(sys.executable, listed, bare_environment(tmp_path, CONDA_PREFIX=str(prefix)))
    assert "coalescent/n_samples_10" in shown
    assert "queuing/mm1_queue" in shown
    install(solve(channel_folder.as_uri(), "phasic-models-queuing"), prefix, tmp_path / "cache")
    assert sorted(path.name for path in symbolic.iterdir()) == ["queuing"]
    install([], prefix, tmp_path / "cache")
    assert not symbolic.exists() or list(symbolic.rglob("*.*")) == []


def test_upgrade_and_downgrade(channel_folder: Path, tmp_path: Path) -> None:
    channel = tmp_path / "channel"
    shutil.copytree(channel_folder / "noarch", channel / "noarch")
    root = tmp_path / "next"
    mini_repository(root, version="1.1.0", models=("n_samples_3", "n_samples_5", "n_samples_10"))
    for package in make_release(root, root / "build", update=True).packages:
        shutil.copy(package, channel / "noarch")
    url = index(channel)
    prefix, cache = tmp_path / "prefix", tmp_path / "cache"
    folder = prefix / CACHE_FOLDER / "coalescent"

    install(solve(url, "phasic-models-coalescent ==1.0.0"), prefix, cache)
    assert sorted(path.name for path in folder.glob("*.json")) == [
        "manifest.json",
        "n_samples_10.json",
        "n_samples_3.json",
    ]
    old = snapshot(folder)
    install(solve(url, "phasic-models-coalescent"), prefix, cache)
    assert json.loads((folder / "manifest.json").read_text())["version"] == "1.1.0"
    assert (folder / "n_samples_5.safetensors").is_file()
    install(solve(url, "phasic-models-coalescent ==1.0.0"), prefix, cache)
    assert {name: data for name, (data, _) in snapshot(folder).items()} == {
        name: data for name, (data, _) in old.items()
    }
    assert names(solve(url, "phasic-models-all ==1.0.0"))[1] == "phasic-models-coalescent 1.0.0"
    assert names(solve(url, "phasic-models-all"))[1] == "phasic-models-coalescent 1.1.0"


def test_a_date_in_the_solve(release: Release, channel_folder: Path) -> None:
    """The package bears the time of the lock; a dated solve (exclude-newer) also asks when the channel was indexed."""
    import asyncio
    from datetime import datetime, timezone

    package = next(item for item in release.libraries if item.build.category == "coalescent").package
    made = read_package(package).index["timestamp"]
    repodata = json.loads((channel_folder / "noarch" / "repodata.json").read_text(encoding="utf-8"))
    assert repodata["packages.conda"][package.name]["timestamp"] == made

    async def solve_at(moment: datetime) -> list[rattler.RepoDataRecord]:
        return await rattler.solve(
            [rattler.Channel(channel_folder.as_uri())],
            ["phasic-models-coalescent"],
            platforms=["noarch"],
            exclude_newer=moment,
            timestamp_policy="require-timestamp",
        )

    later = datetime.now(timezone.utc) + timedelta(hours=1)
    assert names(asyncio.run(solve_at(later))) == ["phasic-models-coalescent 1.0.0"]
    with pytest.raises(SolverError):
        asyncio.run(solve_at(datetime.fromtimestamp(made / 1000, timezone.utc) - timedelta(seconds=1)))


def queuing_version() -> str:
    text = (ROOT / "libraries" / "queuing" / "library.yaml").read_text(encoding="utf-8")
    return str(yaml.safe_load(text)["version"])
