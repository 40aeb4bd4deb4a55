"""The guide's snippets run as written, with the package called phasic_models.

``tests/project/guide/`` holds them word for word; each runs in a process of its own, in an empty working directory and with an
empty home, as a newcomer would run it. What the guide leaves to the reader (a callback, θ and times) is stated here.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from phasic_models.cache.entries import entry_file
from phasic_models.files.archive import make_tarball
from phasic_models.files.checksums import read_checksums, sha256_file
from phasic_models.formats import read_manifest, read_meta
from phasic_models.remote.publish import publish
from phasic_models.symbolic_cache import SymbolicCache

GUIDE = Path(__file__).parent / "guide"
posix = pytest.mark.skipif(os.name == "nt", reason="the guide's commands are for a POSIX shell")
STEPS = ("step_1_build.py", "step_2_export.py", "step_3_metadata.py")


@pytest.fixture
def newcomer(clean_environment, tmp_path):
    """Environment variables and working directory of somebody who has just installed the package."""
    work = tmp_path / "work"
    work.mkdir()
    return dict(os.environ), work


def run(newcomer, source: str) -> str:
    environment, work = newcomer
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env=environment,
        cwd=work,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def snippets(*names: str) -> str:
    return "\n".join((GUIDE / name).read_text(encoding="utf-8") for name in names)


def test_steps_1_to_3(newcomer):
    output = run(newcomer, snippets(*STEPS))
    environment, work = newcomer
    assert output.startswith("Models cached:\n  coalescent_n3: ")
    key = output.split()[-1]

    folder = work / "coalescent_models"
    written = sorted(path.name for path in folder.iterdir())
    assert written == [f"{key}.json", f"{key}.meta", f"{key}.safetensors", "manifest.json"]
    assert read_meta(folder / f"{key}.meta").model_name == "coalescent_n3"
    manifest = read_manifest(folder / "manifest.json")
    assert [model.hash for model in manifest.models] == [key]
    # The .meta was rewritten by hand after the export, and the library is still whole.
    other = SymbolicCache(work / "other")
    assert other.import_library(folder) == [key]
    # Step 1 asked for the model through the cache of its home.
    assert entry_file(Path(environment["HOME"]) / ".phasic_cache" / "symbolic", key, ".json").is_file()


def test_quick_start_use(newcomer):
    """`Graph.pmf_from_graph` finds the elimination, and the model is the coalescent's."""
    given = """
import numpy as np

def coalescent_callback(state):
    if len(state) == 0:
        return [(np.array([4]), 1.0, [1.0])]
    if state[0] > 1:
        k = state[0]
        return [(np.array([k - 1]), 0.0, [k * (k - 1) / 2])]
    return []

theta = [1.0]
times = np.linspace(0, 4, 9)
"""
    then = """
import json
print(json.dumps({"pdf": list(pdf), "hash": g.content_hash()}))
"""
    shown = json.loads(run(newcomer, given + snippets("quick_start_use.py") + then))
    # The density of a sum of exponentials with rates 6, 3 and 1.
    rates = (6.0, 3.0, 1.0)
    for time, value in zip([0.5 * i for i in range(9)], shown["pdf"], strict=True):
        exact = math.prod(rates) * sum(
            math.exp(-rate * time) / math.prod(other - rate for other in rates if other != rate) for rate in rates
        )
        assert value == pytest.approx(exact, abs=1e-11)


def test_testing_snippet(newcomer):
    """The guide's test of a cached model passes for a key of Step 1."""
    output = run(newcomer, snippets("step_1_build.py", "testing.py") + "\ntest_cached_model(hash3)\nprint('passed')\n")
    assert output.endswith("passed\n")


@posix
def test_organisation_pack_and_unpack(newcomer, tmp_path):
    """Step 4's tarball, made by the guide's own commands, can be imported elsewhere."""
    run(newcomer, snippets(*STEPS))
    environment, work = newcomer
    script = "set -e\n" + (GUIDE / "step_4_package.sh").read_text(encoding="utf-8").replace(
        # The guide's second command runs where the first one left the shell; the tarball lies one folder up.
        "sha256sum coalescent",
        "cd ..\nsha256sum coalescent",
    )
    subprocess.run(["bash", "-c", script], cwd=work, env=environment, check=True, timeout=60)
    archive = work / "coalescent_models_v1.0.0.tar.gz"
    assert (work / f"{archive.name}.sha256").read_text().split()[1] == archive.name
    cache = SymbolicCache(tmp_path / "receiver")
    [key] = cache.import_library(archive)
    assert cache.load(key) is not None


@pytest.fixture
def released(newcomer, tmp_path):
    """A library `coalescent`, published to a folder whose index the newcomer's environment names."""
    environment, _ = newcomer
    folder = tmp_path / "library" / "coalescent"
    folder.mkdir(parents=True)
    run(newcomer, (GUIDE / "step_1_build.py").read_text(encoding="utf-8"))
    cache = SymbolicCache(Path(environment["HOME"]) / ".phasic_cache")
    cache.export_library(folder, version="1.0.0")
    cache.clear()
    publish(folder, str(tmp_path / "shelf"))
    environment["PHASIC_MODELS_INDEX"] = str(tmp_path / "shelf" / "index.json")
    return Path(environment["HOME"]) / ".phasic_cache" / "symbolic" / "coalescent"


def test_quick_start_install(newcomer, released):
    run(newcomer, snippets("quick_start_install.py"))
    assert (released / "manifest.json").is_file()


def shell(newcomer, script: str) -> str:
    """Run a shell snippet with ptd-cache on the path."""
    environment, work = newcomer
    programs = work.parent / "bin"
    programs.mkdir()
    command = programs / "ptd-cache"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from phasic_models.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    environment["PATH"] = f"{programs}{os.pathsep}{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", script], env=environment, cwd=work, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@posix
def test_quick_start_install_by_command(newcomer, released):
    assert "coalescent 1.0.0 installed" in shell(newcomer, (GUIDE / "quick_start_install.sh").read_text())
    assert (released / "manifest.json").is_file()


@posix
def test_via_cli(newcomer, released, site, tmp_path):
    """The three commands, with the address of a server that exists here."""
    _, work = newcomer
    archive = next((tmp_path / "shelf").glob("*.tar.gz")).read_bytes()
    address = site.serve("/models/coalescent_v1.tar.gz", archive)
    (work / "downloaded_models.tar.gz").write_bytes(archive)
    script = (GUIDE / "use_cli.sh").read_text().replace("https://example.com/models/coalescent_v1.tar.gz", address)
    output = shell(newcomer, script)
    assert output.count("imported 1 model ") == 2
    assert (released / "manifest.json").is_file()


@pytest.fixture
def models(newcomer):
    """Steps 1 to 3 were done: the working directory has the folder coalescent_models."""
    _, work = newcomer
    run(newcomer, snippets(*STEPS))
    return work / "coalescent_models"


def cloud(newcomer, *prefixes: str) -> None:
    """Hand the fixtures' settings of a server on to the newcomer."""
    environment, _ = newcomer
    environment |= {name: value for name, value in os.environ.items() if name.startswith(prefixes)}


def forget_home(newcomer) -> Path:
    """Go to another machine: nothing is in the cache there. Returns its symbolic folder."""
    environment, _ = newcomer
    folder = Path(environment["HOME"]) / ".phasic_cache"
    shutil.rmtree(folder)
    return folder / "symbolic"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def bucket_named(endpoint: str, name: str) -> None:
    request = urllib.request.Request(f"{endpoint}/{name}", method="PUT")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20).close()


def test_publish_to_s3_and_use(newcomer, models, s3):
    bucket_named(s3.endpoint, "phasic-models")
    cloud(newcomer, "AWS_")
    run(newcomer, snippets("publish_s3.py"))
    symbolic = forget_home(newcomer)
    run(newcomer, snippets("use_s3.py"))
    assert [path.name for path in symbolic.rglob("manifest.json")] == ["manifest.json"]
    assert {path.name for path in symbolic.rglob("*.json")} == {path.name for path in models.glob("*.json")}
    [key] = [path.stem for path in models.glob("*.meta")]
    assert "found\n" in run(newcomer, given_hash(key))


def given_hash(key: str) -> str:
    return f"""
from phasic_models.symbolic_cache import SymbolicCache
print("found" if SymbolicCache().load({key!r}) is not None else "missing")
"""


def test_publish_to_gcs(newcomer, models, gcs):
    body = json.dumps({"name": "phasic-models"}).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{gcs.endpoint}/storage/v1/b", method="POST", headers=headers, data=body)
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20).close()
    cloud(newcomer, "STORAGE_")
    run(newcomer, snippets("publish_gcs.py"))
    then = """
import pathlib
backend.download_cache(local_cache_dir="fetched")
print(*sorted(path.name for path in pathlib.Path("fetched").rglob("*.*")))
"""
    output = run(newcomer, snippets("publish_gcs.py") + then)
    assert set(names(models)) <= set(output.split())


def test_an_organisations_library(newcomer, models, s3):
    bucket_named(s3.endpoint, "my-org-models")
    environment, _ = newcomer
    aws = Path(environment["HOME"]) / ".aws"
    aws.mkdir()
    (aws / "credentials").write_text("[my-aws-profile]\naws_access_key_id = key\naws_secret_access_key = secret\n")
    environment["AWS_ENDPOINT_URL"] = s3.endpoint
    environment.pop("AWS_ACCESS_KEY_ID", None)
    environment.pop("AWS_SECRET_ACCESS_KEY", None)
    [key] = [path.stem for path in models.glob("*.meta")]
    lines = (GUIDE / "organization.py").read_text(encoding="utf-8")
    sending, fetching = lines.split("# Team members download:")
    setting_up = sending.split("backend.upload_cache")[0]
    run(newcomer, sending)
    symbolic = forget_home(newcomer)
    run(newcomer, setting_up + fetching)
    assert entry_file(symbolic, key, ".safetensors").is_file()
    assert "found\n" in run(newcomer, given_hash(key))


def test_from_github_releases(newcomer, models, github, tmp_path):
    """As written but for the checksum, which the guide abbreviates to its first eight digits."""
    asset = tmp_path / "assets" / "coalescent_models_v1.0.0.tar.gz"
    asset.parent.mkdir()
    make_tarball(models, asset)
    github.attach("munch-group/phasic-models", "v1.0.0", asset.parent)
    cloud(newcomer, "GITHUB_")
    symbolic = forget_home(newcomer)
    source = snippets("use_github.py")
    assert "a3f2e9c8..." in source
    run(newcomer, source.replace("a3f2e9c8...", sha256_file(asset)))
    [key] = [path.stem for path in models.glob("*.meta")]
    assert symbolic.is_dir()
    assert "found\n" in run(newcomer, given_hash(key))


@posix
def test_checksums(newcomer):
    _, work = newcomer
    for name in ("a.tar.gz", "b.tar.gz"):
        (work / name).write_bytes(name.encode())
    shell(newcomer, (GUIDE / "checksums.sh").read_text())
    stated = read_checksums((work / "SHA256SUMS").read_text())
    assert dict(stated) == {name: sha256_file(work / name) for name in ("a.tar.gz", "b.tar.gz")}


def test_migration_function_runs(newcomer):
    """The guide's placeholder is valid Python; the real migration is `ptd-cache migrate`."""
    run(newcomer, snippets("migrate_v1_to_v2.py").replace("# ... conversion logic ...", "new_json = old_json"))
