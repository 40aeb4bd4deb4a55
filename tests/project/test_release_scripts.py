"""The shell steps of the release workflow, run as they are, with stand-ins for uv (no environment is made) and gh."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rattler_build", reason="needs the build group")

from conda_helpers import ROOT, mini_repository
from servers.clouds import Bucket
from servers.github import GitHub

from phasic_models.cloud_cache import install_model_library
from phasic_models.files.checksums import read_checksums, sha256_file
from phasic_models.formats.release_index import parse_index
from phasic_models.packaging.release import make_release
from phasic_models.remote.index_sources import read_index

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="the stand-ins are POSIX scripts"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are bash"),
    pytest.mark.skipif(shutil.which("shasum") is None, reason="the scripts use shasum"),
]

REPO = "our-org/models"

UV = f"""#!/bin/sh
# Runs in the environment of the tests what 'uv run --project FOLDER' would run in one of its own.
case "$1" in
run)
    shift 3
    case "$1" in
    python) shift; exec '{sys.executable}' "$@" ;;
    *.py) exec '{sys.executable}' "$@" ;;
    ptd-cache) shift; exec '{sys.executable}' -c 'from phasic_models.cli import main; main()' "$@" ;;
    esac ;;
export)
    for last; do :; done
    echo '{{"bomFormat": "CycloneDX"}}' > "$last"
    exit 0 ;;
esac
echo "uv $*: not expected" >&2
exit 64
"""

GH = """#!/bin/sh
# Keeps one release in a folder: its state in a file, its assets as copies.
echo "gh $*" >> "$GH_STATE/log"
case "$2" in
view)
    test -f "$GH_STATE/state" || exit 1
    test "$(cat "$GH_STATE/state")" = draft && echo true || echo false ;;
create) echo draft > "$GH_STATE/state" ;;
upload)
    test -z "$GH_BREAK" || exit 1
    shift 4
    cp "$@" "$GH_STATE/assets/" ;;
edit) echo published > "$GH_STATE/state" ;;
esac
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "a repository"
    mini_repository(root, models=("n_samples_3",))
    make_release(root, root / "build", update=True)
    shutil.copytree(ROOT / ".ci", root / ".ci", ignore=shutil.ignore_patterns(".venv"))
    shutil.copyfile(ROOT / "build_models.py", root / "build_models.py")
    (root / "CHANGELOG.md").write_text(
        "# Changelog\n\n## 1.0.0 - 2026-12-01\n\n- The first.\n\n## 0.9.0\n\n- Earlier.\n"
    )
    return root


@pytest.fixture
def environment(tmp_path: Path, github: GitHub) -> dict[str, str]:
    """The variables of a run on GitHub, whose releases are on loopback."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("uv", UV), ("gh", GH)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "gh" / "assets").mkdir(parents=True)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "GH_STATE": str(tmp_path / "gh"),
        "GITHUB_REPOSITORY": REPO,
    }


def script(
    repository: Path, environment: dict[str, str], name: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = ["bash", f".ci/{name}", *arguments]
    return subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)


def test_the_files_of_a_release(repository: Path, environment: dict[str, str]) -> None:
    done = script(repository, environment, "release-files", "v1.0.0", "release")
    assert done.returncode == 0, done.stderr
    folder = repository / "release"
    sums = read_checksums((folder / "SHA256SUMS").read_text())
    assert {path.name for path in folder.iterdir()} == {*sums, "SHA256SUMS"}
    assert all(sha256_file(folder / name) == digest for name, digest in sums.items())
    assert {"coalescent_models_v1.0.0.tar.gz", "index.json", "sbom.cdx.json", "RELEASE_NOTES.md"} <= set(sums)
    assert sum(name.endswith(".conda") for name in sums) == 3
    assert (folder / "RELEASE_NOTES.md").read_text().strip() == "- The first."
    assert list(parse_index((folder / "index.json").read_bytes()).libraries["coalescent"].versions) == ["1.0.0"]
    again = script(repository, environment, "release-files", "v1.0.0", "release")
    assert again.returncode == 1
    assert "release is there already" in again.stderr


def test_older_versions_stay_installable(
    repository: Path, environment: dict[str, str], github: GitHub, tmp_path: Path
) -> None:
    """The tag v1.1.0 has coalescent 1.1.0; who asks its index, the default one, for 1.0.0 gets that as well."""
    done = script(repository, environment, "release-files", "v1.0.0", "first")
    assert done.returncode == 0, done.stderr
    github.attach(REPO, "v1.0.0", repository / "first")
    for path, old, new in (
        (repository / "pyproject.toml", 'version = "1.0.0"', 'version = "1.1.0"'),
        (repository / "libraries" / "coalescent" / "library.yaml", "version: 1.0.0", "version: 1.1.0"),
        (repository / "CHANGELOG.md", "## 1.0.0", "## 1.1.0\n\n- The second.\n\n## 1.0.0"),
    ):
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
    make_release(repository, repository / "build", update=True)
    done = script(repository, environment, "release-files", "v1.1.0", "second")
    assert done.returncode == 0, done.stderr
    assert not (repository / "second" / "coalescent_models_v1.0.0.tar.gz").exists()
    github.attach(REPO, "v1.1.0", repository / "second")
    latest = f"{github.url}/{REPO}/releases/latest/download/index.json"
    index, _ = read_index(latest)
    assert list(index.libraries["coalescent"].versions) == ["1.1.0", "1.0.0"]
    for wanted, version in (("coalescent==1.0.0", "1.0.0"), ("coalescent", "1.1.0")):
        assert install_model_library(wanted, index=latest, cache_dir=tmp_path / "cache").version == version
    # What is compared to the byte does not know of the release before.
    alone = parse_index((repository / "build" / "archives" / "index.json").read_bytes())
    assert list(alone.libraries["coalescent"].versions) == ["1.1.0"]


@pytest.mark.parametrize("trouble", ["damaged index", "wrong token"])
def test_a_release_does_not_forget_the_ones_before(
    repository: Path, environment: dict[str, str], github: GitHub, tmp_path: Path, trouble: str
) -> None:
    """Better no release than one whose index has lost the older versions."""
    before = tmp_path / "before"
    before.mkdir()
    (before / "index.json").write_bytes(b"{}")
    github.attach(REPO, "v0.9.0", before)
    if trouble == "wrong token":
        environment["GITHUB_TOKEN"] = "wrong"
    done = script(repository, environment, "release-files", "v1.0.0", "release")
    assert done.returncode == 1
    assert ("401" if trouble == "wrong token" else "not a release index") in done.stderr
    assert "Traceback" not in done.stderr
    assert not (repository / "release").exists()


@pytest.mark.parametrize(
    ("tag", "changelog", "message"),
    [
        ("v1.0.1", "## 1.0.1\n\n- x\n", "the tag is v1.0.1, but pyproject.toml has version 1.0.0"),
        ("1.0.0", "## 1.0.0\n\n- x\n", "expected the tag v1.0.0"),
        ("v1.0.0", "## 0.9.0\n\n- x\n", "CHANGELOG.md has no section '## 1.0.0'"),
    ],
)
def test_a_tag_that_does_not_fit(
    repository: Path, environment: dict[str, str], tag: str, changelog: str, message: str
) -> None:
    (repository / "CHANGELOG.md").write_text(changelog)
    done = script(repository, environment, "release-files", tag, "release")
    assert done.returncode == 1
    assert message in done.stderr
    assert not (repository / "release").exists()


def test_a_build_that_disagrees_with_its_lock_is_not_released(repository: Path, environment: dict[str, str]) -> None:
    lock = repository / "libraries" / "coalescent" / "library.lock"
    content = json.loads(lock.read_text())
    content["models"]["n_samples_3"]["graph_hash"] = "0" * 64
    lock.write_text(json.dumps(content))
    done = script(repository, environment, "release-files", "v1.0.0", "release")
    assert done.returncode == 1
    assert "coalescent/n_samples_3: graph hash is" in done.stderr
    assert not (repository / "release").exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="the script packs what git knows")
def test_two_builds_are_the_same_or_the_script_says_which_file_is_not(
    repository: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=repository, check=True, capture_output=True)

    (repository / ".gitignore").write_text("build/\n__pycache__/\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    done = script(repository, environment, "reproduce", str(tmp_path / "sums"))
    assert done.returncode == 0, done.stderr
    sums = read_checksums((tmp_path / "sums").read_text())
    assert {name.rpartition("/")[2].split("_models_v")[0] for name in sums if name.endswith(".tar.gz")} == {
        "coalescent",
        "queuing",
    }
    assert sum(name.endswith(".conda") for name in sums) == 3
    assert all(sha256_file(repository / "build" / name) == digest for name, digest in sums.items())
    # A packer that lets the seed of hashes into the bytes, such as one that writes a set in its order.
    door = repository / "build_models.py"
    door.write_text(
        door.read_text(encoding="utf-8").replace(
            'if __name__ == "__main__":\n',
            'if __name__ == "__main__":\n'
            "    import atexit\n\n"
            "    out = Path(__file__).parent / 'build' / 'archives' / 'more.tar.gz'\n"
            "    atexit.register(lambda: out.write_text(str(hash('a text'))))\n",
        ),
        encoding="utf-8",
    )
    git("commit", "--quiet", "--all", "--message", "second")
    done = script(repository, environment, "reproduce")
    assert done.returncode == 1
    assert "more.tar.gz" in done.stdout
    assert "coalescent" not in done.stdout


def test_the_github_release(repository: Path, environment: dict[str, str], tmp_path: Path) -> None:
    script(repository, environment, "release-files", "v1.0.0", "release")
    state = tmp_path / "gh"
    broken = script(repository, {**environment, "GH_BREAK": "1"}, "github-release", "v1.0.0", "release")
    assert broken.returncode != 0
    assert (state / "state").read_text().strip() == "draft", "nobody sees a release before its files are there"
    done = script(repository, environment, "github-release", "v1.0.0", "release")
    assert done.returncode == 0, done.stderr
    assert (state / "state").read_text().strip() == "published"
    files = {path.name: path.read_bytes() for path in (repository / "release").iterdir()}
    assert {path.name: path.read_bytes() for path in (state / "assets").iterdir()} == files
    log = (state / "log").read_text()
    assert log.count("gh release create v1.0.0 --verify-tag --draft") == 1
    again = script(repository, environment, "github-release", "v1.0.0", "release")
    assert again.returncode == 1
    assert "a published release is never changed" in again.stderr


def test_a_file_that_was_altered_is_not_released(repository: Path, environment: dict[str, str], tmp_path: Path) -> None:
    script(repository, environment, "release-files", "v1.0.0", "release")
    with (repository / "release" / "index.json").open("ab") as stream:
        stream.write(b" ")
    done = script(repository, environment, "github-release", "v1.0.0", "release")
    assert done.returncode != 0
    assert "index.json" in done.stdout + done.stderr
    assert not (tmp_path / "gh" / "log").exists()


def test_the_mirror(repository: Path, environment: dict[str, str], s3: Bucket) -> None:
    import obstore
    from obstore.store import S3Store

    environment |= {name: os.environ[name] for name in os.environ if name.startswith("AWS_")} | {"AWS_REGION": ""}
    for _ in range(2):  # a second run changes nothing
        done = script(repository, environment, "mirror", f"{s3.url}/models/")
        assert done.returncode == 0, done.stderr
    store = S3Store(
        s3.name, endpoint=s3.endpoint, client_options={"allow_http": True}, virtual_hosted_style_request=False
    )
    names = {item["path"] for batch in obstore.list(store) for item in batch}
    assert {"models/index.json", "models/SHA256SUMS", "models/channel/noarch/repodata.json"} <= names
    assert any(name.startswith("models/channel/noarch/phasic-models-coalescent-1.0.0-") for name in names)
    assert any(name.endswith("coalescent_models_v1.0.0.tar.gz") for name in names)
