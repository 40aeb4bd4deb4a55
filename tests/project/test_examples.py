"""What a user copies from examples/ works with the channel that the build makes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rattler", reason="needs the build group")

from conda_helpers import (
    ROOT,
    bare_environment,
    index,
    install,
    mini_repository,
    names,
    read_toml,
    reduced_library,
    solve,
    stub,
)

from phasic_models.packaging.release import make_release

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"
PROJECT = EXAMPLES / "pixi-project"


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models that the examples use in their real libraries, with stubs of the packages that conda-forge has."""
    root = tmp_path_factory.mktemp("examples")
    reduced_library(root, "coalescent", ["n_samples_10"])
    reduced_library(root, "reliability", ["two_of_three_repair"])
    shutil.copyfile(ROOT / "LICENSE", root / "LICENSE")
    (root / "pyproject.toml").write_text('[project]\nname = "phasic-models"\nversion = "0.1.0"\n')
    make_release(root, root / "build", update=True)
    folder = root / "build" / "channel"
    stub(folder, "python", "3.12.1")
    stub(folder, "phasic-models", "0.1.0")
    index(folder)
    return folder


@pytest.fixture
def expected(channel: Path) -> list[str]:
    found = {path.name.rsplit("-", 2)[0]: path.name.rsplit("-", 2)[1] for path in (channel / "noarch").glob("*.conda")}
    wanted = ("phasic-models", "phasic-models-coalescent", "phasic-models-reliability", "python")
    return [f"{name} {found[name]}" for name in wanted]


def run_analysis(environment: Mapping[str, str], cwd: Path = PROJECT) -> str:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "analysis.py")], env=environment, cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_output(text: str) -> None:
    # 2 (1 - 1/10), and (5 l + m) / (6 l^2) for two of three components at rates l of failure and m of repair.
    assert "mean height of the tree: 1.8000" in text
    assert "repair rate   1.0: mean time to failure 1.00" in text
    assert "repair rate 100.0: mean time to failure 17.50" in text


def test_the_pixi_project(channel: Path, expected: list[str], tmp_path: Path) -> None:
    manifest = read_toml(PROJECT / "pixi.toml")
    specs = [f"{name} {version}" for name, version in manifest["dependencies"].items()]
    records = solve(channel.as_uri(), *specs)
    assert names(records) == expected
    install(records, tmp_path / "environment", tmp_path / "cache")
    assert manifest["tasks"] == {"analysis": "python analysis.py"}
    check_output(run_analysis(bare_environment(tmp_path, CONDA_PREFIX=str(tmp_path / "environment"))))


def test_the_environment_file(channel: Path, expected: list[str]) -> None:
    content = yaml.safe_load((EXAMPLES / "environment.yml").read_text(encoding="utf-8"))
    assert names(solve(channel.as_uri(), *content["dependencies"])) == expected
    assert content["channels"] == read_toml(PROJECT / "pixi.toml")["workspace"]["channels"]


def test_the_offline_install_and_job(channel: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shared folder" / "channel"
    (folder / "noarch").mkdir(parents=True)
    for package in (channel / "noarch").glob("*.conda"):
        shutil.copy(package, folder / "noarch")
    prefix = tmp_path / "shared folder" / "environment"
    wanted = ["phasic-models-coalescent", "phasic-models-reliability"]
    environment = bare_environment(tmp_path)
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "offline" / "install.py"), str(folder), str(prefix), *wanted],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in sorted(done.stdout.splitlines())] == wanted
    if shutil.which("bash") is None:
        pytest.skip("the job is a bash script")
    shutil.copy(PROJECT / "analysis.py", tmp_path / "shared folder")
    done = subprocess.run(
        ["bash", str(EXAMPLES / "offline" / "job.slurm")],
        env={**environment, "PYTHON": sys.executable},
        cwd=tmp_path / "shared folder",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    check_output(done.stdout)


def test_the_job_says_what_is_missing(tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("the job is a bash script")
    done = subprocess.run(
        ["bash", str(EXAMPLES / "offline" / "job.slurm")],
        env={**bare_environment(tmp_path), "PYTHON": sys.executable, "ANALYSIS": str(PROJECT / "analysis.py")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "coalescent/n_samples_10" in done.stderr
    assert done.stdout == ""


def test_the_snakefile(tmp_path: Path) -> None:
    text = (EXAMPLES / "cluster" / "Snakefile").read_text(encoding="utf-8")
    known = subprocess.run(
        [sys.executable, str(ROOT / "build_models.py"), "--help"],
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
    ).stdout
    options = set(re.findall(r" (--(?:root|out|shard|merge|jobs))\b", text))
    assert options == {"--root", "--out", "--shard", "--merge", "--jobs"}
    assert all(option in known for option in options)
    if shutil.which("snakemake") is None:
        pytest.skip("needs Snakemake; only the options of its commands were looked at")
    mini_repository(tmp_path / "models", models=("n_samples_3", "n_samples_5"))
    make_release(tmp_path / "models", tmp_path / "whole", update=True)
    build = f"{sys.executable} {ROOT / 'build_models.py'}"
    command = ["snakemake", "--snakefile", EXAMPLES / "cluster" / "Snakefile", "--cores", "2", "--config"]
    done = subprocess.run(
        [*command, f"root={tmp_path / 'models'}", f"build={build}", "shards=2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for place in ("libraries/*/*", "channel/noarch/*.conda", "archives/*"):
        expected = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob(place)}
        assert {path.name: path.read_bytes() for path in (tmp_path / "models" / "build").glob(place)} == expected
        assert expected
