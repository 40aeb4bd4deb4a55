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

from cloud_servers import Bucket
from conda_helpers import ROOT, mini_repository

from phasic_models.formats import sha256_file
from phasic_models.packaging.archive import read_checksums
from phasic_models.packaging.release import make_release

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="the stand-ins are POSIX scripts"),
    pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts are bash"),
    pytest.mark.skipif(shutil.which("shasum") is None, reason="the scripts use shasum"),
]

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
def environment(tmp_path: Path) -> dict[str, str]:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("uv", UV), ("gh", GH)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "gh" / "assets").mkdir(parents=True)
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "GH_STATE": str(tmp_path / "gh")}


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
    again = script(repository, environment, "release-files", "v1.0.0", "release")
    assert again.returncode == 1
    assert "release is there already" in again.stderr


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
