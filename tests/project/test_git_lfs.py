"""The guide's second way to publish on GitHub, with the real git-lfs and a repository that is pushed to and cloned."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from phasic_models.cache.installation import check_library, install_folder
from phasic_models.errors import FormatError

pytestmark = pytest.mark.slow

GUIDE = Path(__file__).parent / "guide"


@pytest.fixture(scope="session")
def git_lfs() -> Path:
    """The folder of git-lfs: an installed one, or Debian's package, unpacked into the user's cache folder."""
    installed = shutil.which("git-lfs")
    if installed:
        return Path(installed).parent
    home = user_cache_path("phasic-models-tests", appauthor=False) / "git-lfs"
    program = home / "usr" / "bin" / "git-lfs"
    if program.is_file():
        return program.parent
    if shutil.which("git") is None or shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        pytest.skip("git-lfs is not installed")
    home.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        done = subprocess.run(
            ["apt-get", "download", "git-lfs"], cwd=scratch, capture_output=True, text=True, timeout=120
        )
        packages = list(Path(scratch).glob("git-lfs_*.deb"))
        if done.returncode != 0 or not packages:
            pytest.skip(f"git-lfs is not installed and cannot be fetched: {done.stderr[-200:]}")
        unpacked = Path(scratch) / "unpacked"
        subprocess.run(["dpkg", "-x", str(packages[0]), str(unpacked)], check=True, timeout=60)
        try:
            unpacked.rename(home)
        except OSError:  # another test run was faster
            assert program.is_file()
    return program.parent


@pytest.fixture
def shell(git_lfs, tmp_path):
    """Return a function that runs shell lines in a folder, as somebody with an empty home."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    (home / ".gitconfig").write_text(
        "[user]\n\tname = An Author\n\temail = author@example.org\n[init]\n\tdefaultBranch = main\n"
        "[push]\n\tautoSetupRemote = true\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    environment["PATH"] = f"{git_lfs}{os.pathsep}{environment['PATH']}"

    def run(script: str, folder: Path, **variables: str) -> str:
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=folder,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_guide_s_route(shell, make_library, tmp_path):
    shell("git init --quiet --bare hub.git", tmp_path)
    shell(f"git clone --quiet file://{tmp_path}/hub.git work", tmp_path)
    work = tmp_path / "work"
    library = make_library()
    shutil.copytree(library, work / "coalescent")
    shell((GUIDE / "git_lfs.sh").read_text(), work)
    assert "*.json filter=lfs diff=lfs merge=lfs -text" in (work / ".gitattributes").read_text()
    tracked = shell("git lfs ls-files --name-only", work).split()
    assert tracked == sorted(f"coalescent/{path.name}" for path in library.glob("*.json"))

    url = f"file://{tmp_path}/hub.git"
    shell(f"git clone --quiet {url} pointers", tmp_path, GIT_LFS_SKIP_SMUDGE="1")
    pointers = tmp_path / "pointers" / "coalescent"
    assert (pointers / "n_samples_0.json").read_bytes().startswith(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(FormatError, match=r"is a Git LFS pointer.*git lfs pull"):
        install_folder(pointers, tmp_path / "symbolic")
    shutil.copy(library / "manifest.json", pointers / "manifest.json")
    with pytest.raises(FormatError, match=r"n_samples_0\.json is a Git LFS pointer.*git lfs pull"):
        install_folder(pointers, tmp_path / "symbolic")
    assert not list((tmp_path / "symbolic").rglob("*.json"))
    (pointers / "manifest.json").unlink()
    shell("git checkout --quiet . && git lfs pull", tmp_path / "pointers", GIT_LFS_SKIP_SMUDGE="1")
    assert install_folder(pointers, tmp_path / "symbolic").version == "1.0.0"
    check_library(tmp_path / "symbolic" / "coalescent")

    shell(f"git clone --quiet {url} whole", tmp_path)
    assert check_library(tmp_path / "whole" / "coalescent").version == "1.0.0"
