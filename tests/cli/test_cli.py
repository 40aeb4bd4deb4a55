"""The command ptd-cache: output for people and programs, exit codes, and no traceback for a mistake."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cache_helpers import death, harmonic, only_these_layers, place_library, posix, snapshot

from phasic_models import SymbolicCache
from phasic_models.cache import catalogue
from phasic_models.cache.entries import entry_file
from phasic_models.files.archive import make_tarball
from phasic_models.formats import Citation, Parameter

pytest.importorskip("typer")
from typer.testing import CliRunner

from phasic_models.cli.app import app

__all__ = ["only_these_layers"]  # a fixture for every test here

COMMANDS = ["install", "import", "export", "list", "search", "info", "eval", "verify", "validate", "remove", "prune"]
COMMANDS += ["path", "publish", "migrate", "doctor"]


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The root that ptd-cache writes to, with one library."""
    folder = tmp_path / "root"
    place_library(
        folder,
        description="Time until the last of some items has failed",
        theta=[Parameter(name="rate", description="failures of one item", unit="1/h", example=2.0)],
        citation=Citation(authors=["Rényi, A."], year=1953, title="On the theory of order statistics", doi="10.1/x"),
        phasic_min_version="0.21.0",
        phasic_max_version="0.32.x",
        license="MIT",
    )
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(folder))
    monkeypatch.setenv("PHASIC_MODELS_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def run(*arguments: str, code: int = 0) -> str:
    """Run a command; returns its standard output."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.stdout


def mistake(*arguments: str, code: int) -> str:
    """Run a command that must fail; returns what it says."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    assert "Traceback" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.output


def test_help_lists_every_command():
    text = run("--help")
    assert [name for name in COMMANDS if name not in text] == []
    assert "Exit codes" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example(command):
    text = run(command, "--help")
    assert "Example" in text
    assert f"ptd-cache {command}" in text
    assert "--json" in text


def test_entry_point(root):
    script = "from phasic_models.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, "list", "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert [model["name"] for model in json.loads(done.stdout)] == ["deaths/n_2", "deaths/n_3"]
    done = subprocess.run([sys.executable, "-c", script, "eval"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "Usage: ptd-cache eval" in done.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_package_is_named(missing):
    script = f"import sys; sys.modules[{missing!r}] = None\nfrom phasic_models.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ptd-cache needs the package '{missing}'")
    assert len(done.stderr.splitlines()) == 1


@posix
def test_a_closed_pipe_is_no_error(root):
    script = "from phasic_models.cli import main; main()"
    command = f"{sys.executable!r} -c {script!r} info deaths/n_3 | head -n 1"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("deaths/n_3")
    assert "Traceback" not in done.stderr


# -- list, search, info, eval -----------------------------------------------------------------------------------------


def test_list(root):
    lines = run("list").splitlines()
    assert lines[0].split("\t") == ["model", "version", "vertices", "parameters", "description"]
    assert lines[1].split("\t")[0] == "deaths/n_2"
    models = json.loads(run("list", "deaths", "--json"))
    assert [model["name"] for model in models] == ["deaths/n_2", "deaths/n_3"]
    assert models[0]["layer"] == "PHASIC_CACHE_DIR"
    assert "ptd-cache install coalescent" in mistake("list", "coalescent", code=3)


def test_list_entries(root):
    key = SymbolicCache().save(death(4).eliminate())
    assert key in run("list", "--entries")
    [entry] = json.loads(run("list", "--entries", "--json"))
    assert (entry["hash"], entry["own"]) == (key, True)


def test_list_without_libraries(tmp_path, monkeypatch):
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(tmp_path))
    assert json.loads(run("list", "--json")) == []
    assert "ptd-cache install" in mistake("list", code=0)


def test_search(root):
    assert "deaths/n_3" in run("search", "3", "ITEMS", "--installed")
    assert [hit["name"] for hit in json.loads(run("search", "death", "--json"))] == ["deaths/n_2", "deaths/n_3"]
    assert json.loads(run("search", "no such word", "--installed", "--json")) == []


def test_info(root):
    text = run("info", "deaths/n_3")
    for expected in (
        "rate [1/h] failures of one item, for example 2",
        "Rényi",
        "https://doi.org/10.1/x",
        "phasic >=0.21,<0.33",
        "MIT",
    ):
        assert expected in text
    assert f"mean         {harmonic(3) / 2:.6g}" in text
    assert "density at rate = 2" in text
    assert any("⠀" <= letter <= "⣿" for letter in text)
    assert "density at" not in run("info", "deaths/n_3", "--no-plot")
    shown = json.loads(run("info", "n_3", "--theta", "rate=1", "--json"))
    assert shown["mean"] == pytest.approx(harmonic(3))
    assert shown["hash"] == death(3).content_hash()
    assert len(shown["density"]["times"]) == len(shown["density"]["values"])


def test_eval(root):
    lines = run("eval", "deaths/n_2", "--theta", "1", "--times", "0:2:3").splitlines()
    assert float(lines[0].split("\t")[1]) == pytest.approx(1.5)
    assert len(lines) == 2 + 1 + 3
    result = json.loads(run("eval", "deaths/n_2", "-t", "rate=2", "-x", "0.5,1", "-x", "2", "--json"))
    assert result["expectation"] == pytest.approx(0.75)
    assert result["variance"] == pytest.approx((1 + 1 / 4) / 4)
    assert result["times"] == [0.5, 1.0, 2.0]
    # The larger of two exponentials with rate 2.
    assert result["cdf"] == pytest.approx([(1 - math.exp(-2 * t)) ** 2 for t in result["times"]], abs=1e-12)
    assert [c + s for c, s in zip(result["cdf"], result["sf"], strict=True)] == pytest.approx([1.0] * 3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-t", "x"], "'x' is not a number"),
        (["-t", "1,2"], "1 parameter: rate"),
        ([], "1 parameter: rate"),
        (["-t", "speed=1"], "no parameter 'speed'"),
        (["-t", "rate=1,rate=2"], "twice"),
        (["-t", "rate=1", "-t", "3"], "one or the other"),
        (["-t", "nan"], "nan"),
        (["-t", "-1"], "negative"),
        (["-t", "1", "-x", "0:1"], "start:stop:count"),
        (["-t", "1", "-x", "-3"], "-3"),
        (["-t", "1", "-x", "0:1:99999999999"], "start:stop:count"),
    ],
)
def test_eval_mistakes(root, arguments, said):
    assert said.lower() in mistake("eval", "deaths/n_2", *arguments, code=2).lower()


def test_unknown_model(root):
    text = mistake("info", "deaths/n_4", code=3)
    assert "did you mean" in text
    assert "searched" in text


# -- verify, validate, doctor, prune, path, remove ---------------------------------------------------------------------


def test_verify(root):
    assert run("verify").startswith("ok\tdeaths\t6 files")
    key = SymbolicCache().save(death(4).eliminate())
    assert {result["name"] for result in json.loads(run("verify", "--all", "--json"))} == {"deaths", key}
    folder = root / "symbolic" / "deaths"
    for name, data in (("n_2.json", b"{"), ("n_3.meta", None)):
        if data is None:
            (folder / name).unlink()
        else:
            (folder / name).write_bytes(data)
    entry_file(root / "symbolic", key, ".safetensors").write_bytes(b"")
    text = mistake("verify", "--all", code=1)
    assert "n_2.json" in text
    assert "n_3.meta: missing" in text
    assert f"{key}.safetensors" in text
    assert "deaths: mend it with: ptd-cache install deaths" in text
    assert f"{key}: mend it with: nothing to do" in text
    results = {result["name"]: result for result in json.loads(run("verify", "--all", "--json", code=1))}
    assert len(results["deaths"]["problems"]) == 2
    assert "not installed" in mistake("verify", "coalescent", code=3)


def test_verify_compares_models_with_the_manifest(root):
    """A consistent swap of two models' files has good files and wrong names."""
    folder = root / "symbolic" / "deaths"
    (folder / "n_2.json").write_bytes((folder / "n_3.json").read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["checksums"]["n_2.json"] = "sha256:" + hashlib.sha256((folder / "n_2.json").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    catalogue.forget()
    assert "holds another model" in mistake("verify", code=1)
    (folder / "manifest.json").write_text("{")
    assert "manifest.json" in mistake("verify", code=1)


def test_validate(root, monkeypatch):
    assert "ok" in run("validate")
    folder = root / "symbolic" / "deaths"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"phasic_min_version": "0.21.0", "phasic_max_version": "0.22.x"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr("phasic_models.compat.installed_version", {"phasic": "0.32.1", "phasic-models": "0.1.0"}.get)
    text = mistake("validate", code=1)
    assert "0.32.1" in text
    assert "ptd-cache install deaths" in text
    [row] = json.loads(run("validate", "--json", code=1))
    assert (row["category"], row["fits"]) == ("deaths", False)


def test_validate_prints_the_command_that_mends(root, tmp_path, monkeypatch):
    """The command of the table is run as it stands; then the table has nothing to complain of."""
    run("publish", "deaths", "--to", tmp_path / "shelf")
    monkeypatch.setenv("PHASIC_MODELS_INDEX", str(tmp_path / "shelf"))
    (root / "symbolic" / "deaths" / "manifest.json").write_text("{")
    catalogue.forget()
    [row] = json.loads(run("validate", "--json", code=1))
    program, *arguments = shlex.split(row["remedy"])
    assert program == "ptd-cache"
    run(*arguments)
    catalogue.forget()
    [row] = json.loads(run("validate", "--json"))
    assert (row["fits"], row["remedy"]) == (True, "")


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ("shared", "ptd-cache install packaged --cache-dir {root}"),
        ("conda", "conda install --prefix {environment} --force-reinstall phasic-models-packaged"),
        (".pixi/envs/default", "pixi reinstall phasic-models-packaged"),
        (".pixi/envs/paper", "pixi reinstall --environment paper phasic-models-packaged"),
    ],
)
def test_what_others_installed_is_mended_by_their_means(root, tmp_path, monkeypatch, environment, words):
    prefix = tmp_path / environment
    cache_root = prefix / "share" / "phasic_cache"
    folder = place_library(cache_root, category="packaged")
    if environment == "shared":
        monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(cache_root))
    else:
        monkeypatch.setenv("CONDA_PREFIX", str(prefix))
    (folder / "manifest.json").write_text("{")
    catalogue.forget()
    expected = words.format(root=cache_root, environment=prefix)
    row = next(row for row in json.loads(run("validate", "--json", code=1)) if row["category"] == "packaged")
    assert row["remedy"] == expected
    assert f"mend it with: {expected}" in mistake("verify", "packaged", code=1)


def test_doctor(root):
    text = run("doctor")
    assert "engine: works" in text
    assert "PHASIC_CACHE_DIR" in text
    before = snapshot(root)
    findings = json.loads(run("doctor", "--json"))
    assert {finding["level"] for finding in findings} <= {"ok", "note"}
    assert snapshot(root) == before


def test_doctor_finds_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(tmp_path / "file"))
    assert "cannot be written" in mistake("doctor", code=1)


def test_prune(root):
    key = SymbolicCache().save(death(4).eliminate())
    symbolic = root / "symbolic"
    old = [symbolic / ".tmp-0123456789abcdef", symbolic / f"{key}.json.corrupt", root / "own" / ("f" * 64)]
    for path in old:
        path.write_text("left over")
        os.utime(path, (0, 0))
    (symbolic / ".tmp-fresh").write_text("another process writes this now")
    before = snapshot(root)
    shown = json.loads(run("prune", "--dry-run", "--json"))
    assert {item["path"] for item in shown["items"]} == {str(path) for path in old}
    assert snapshot(root) == before
    run("prune")
    assert not any(path.exists() for path in old)
    assert (symbolic / ".tmp-fresh").exists()
    assert SymbolicCache().exists(key)
    assert json.loads(run("prune", "--max-size-gb", "0", "--json"))["items"][0]["path"].endswith(key)
    assert not SymbolicCache().exists(key)
    assert (symbolic / "deaths" / "n_2.json").exists()


def test_path(root):
    assert run("path") == f"{root / 'symbolic'}\n"
    assert run("path", "deaths") == f"{root / 'symbolic' / 'deaths'}\n"
    assert json.loads(run("path", "--json")) == {"path": str(root / "symbolic")}
    layers = json.loads(run("path", "--all", "--json"))
    assert [layer["origin"] for layer in layers] == ["PHASIC_CACHE_DIR", "sys.prefix", "home"]
    mistake("path", "coalescent", code=3)


def test_remove(root, tmp_path, monkeypatch):
    packaged = place_library(tmp_path / "env" / "share" / "phasic_cache", category="packaged")
    assert "pixi remove phasic-models-packaged" in mistake("remove", "packaged", code=3)
    assert packaged.is_dir()
    run("remove", "deaths")
    assert not (root / "symbolic" / "deaths").exists()
    mistake("remove", "deaths", code=3)
    mistake("remove", "../symbolic", code=3)


# -- export, import, install, publish ----------------------------------------------------------------------------------


def test_export_and_import(root, tmp_path):
    keys = sorted(SymbolicCache().save(death(n).eliminate()) for n in (4, 5))
    shown = json.loads(run("export", tmp_path / "out", "--json"))
    assert shown == {"path": str(tmp_path / "out"), "models": 2}
    other = tmp_path / "other"
    assert "imported 2 models" in run("import", tmp_path / "out", "--cache-dir", other)
    assert [entry.hash for entry in SymbolicCache(other).list_entries() if entry.own] == keys
    assert "no cache layer holds" in mistake("export", tmp_path / "none", "0" * 64, code=3)
    assert not (tmp_path / "none").exists()


def test_import_a_tarball(root, tmp_path):
    archive = tmp_path / "deaths.tar.gz"
    make_tarball(root / "symbolic" / "deaths", archive)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    other = tmp_path / "other"
    run("import", archive, "--symbolic", "--sha256", digest, "--cache-dir", other)
    assert [model["name"] for model in json.loads(run("list", "--cache-dir", other, "--json"))][:2] == [
        "deaths/n_2",
        "deaths/n_3",
    ]
    assert (other / "symbolic" / "deaths" / "manifest.json").is_file()
    assert "SHA-256" in mistake("import", archive, "--sha256", "0" * 64, "--cache-dir", other, code=4)


def test_a_damaged_import_leaves_nothing(root, tmp_path):
    archive = tmp_path / "deaths.tar.gz"
    make_tarball(root / "symbolic" / "deaths", archive)
    archive.write_bytes(archive.read_bytes()[:-100])
    other = tmp_path / "other"
    mistake("import", archive, "--cache-dir", other, code=4)
    assert "no such" in mistake("import", tmp_path / "absent.tar.gz", "--cache-dir", other, code=3).lower()
    (tmp_path / "empty").mkdir()
    assert "no model in it" in mistake("import", tmp_path / "empty", "--cache-dir", other, code=4)
    assert not other.exists() or list(other.rglob("*.json")) == []


def test_publish_then_install(root, tmp_path, monkeypatch):
    """One machine publishes to a folder, another installs from it."""
    published = json.loads(run("publish", root / "symbolic" / "deaths", "--to", tmp_path / "shelf", "--json"))
    assert published["changed"] is True
    assert "was published already" in run("publish", root / "symbolic" / "deaths", "--to", tmp_path / "shelf")
    other = tmp_path / "other"
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(other))
    catalogue.forget()
    installed = json.loads(run("install", "deaths", "--index", tmp_path / "shelf", "--json"))
    assert [done["path"] for done in installed] == [str(other / "symbolic" / "deaths")]
    assert "already installed" in run("install", "deaths", "--index", tmp_path / "shelf")
    assert json.loads(run("eval", "deaths/n_3", "-t", "1", "--json"))["expectation"] == pytest.approx(harmonic(3))
    mistake("install", "nothing", "--index", tmp_path / "shelf", code=3)


def test_offline_install_says_so(root):
    assert "PHASIC_MODELS_OFFLINE" in mistake("install", "coalescent", code=5)


def test_completion_script():
    environment = dict(os.environ, _PTD_CACHE_COMPLETE="source_bash")
    script = "from phasic_models.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert "complete" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [("info dea", ["deaths/n_2", "deaths/n_3"]), ("remove d", ["deaths"]), ("path d", ["deaths"])],
)
def test_names_are_completed(root, words, expected):
    environment = dict(os.environ, _PTD_CACHE_COMPLETE="complete_bash", COMP_WORDS=f"ptd-cache {words}", COMP_CWORD="2")
    command = [sys.executable, "-m", "phasic_models.cli"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == expected, done.stderr


def test_without_the_engine_of_the_network(root, tmp_path):
    """What is installed can be used; only what needs the network names the package that is missing."""
    script = "import sys; sys.modules['obstore'] = None\nfrom phasic_models.cli import main; main()"
    command = [sys.executable, "-c", script]
    done = subprocess.run([*command, "list"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    environment = dict(os.environ, PHASIC_MODELS_OFFLINE="0")
    install = [*command, "install", "deaths", "--index", "s3://bucket/index.json"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert "phasic-models[" in done.stderr
    assert "Traceback" not in done.stderr


def test_exit_codes(root, tmp_path):
    """One mistake for each code that docs/cli.md lists."""
    assert mistake("list", "--cache-dir", "", code=2)
    assert "not a range" in mistake("install", "deaths=>1", code=2)
    for place in ("ftp://host/x", "github:owner/repo", "s3://"):
        assert "write s3://bucket/folder" in mistake("publish", "deaths", "--to", place, code=2)
    assert "ptd-cache list" in mistake("publish", "nothing", "--to", tmp_path / "shelf", code=3)
    mistake("install", "deaths", "--index", tmp_path / "absent.json", code=3)
    run("publish", "deaths", "--to", tmp_path / "shelf")
    (tmp_path / "index.json").write_text("{")
    mistake("install", "deaths", "--index", tmp_path / "index.json", code=4)
    mistake("import", "https://models.example.org/x.tar.gz", code=5)
    folder = root / "symbolic" / "deaths"
    texts = {path: path.read_text() for path in (folder / "n_2.meta", folder / "manifest.json")}
    for path, text in texts.items():
        path.write_text(json.dumps(json.loads(text) | {"phasic_models_min_version": "99.0.0"}))
    mistake("info", "deaths/n_2", code=6)
    (tmp_path / "file").write_text("")
    for path, text in texts.items():
        path.write_text(text)
    mistake("install", "deaths", "--index", tmp_path / "shelf", "--cache-dir", tmp_path / "file", code=7)


def test_an_empty_export_says_so(root, tmp_path):
    assert "no entries of its own" in mistake("export", tmp_path / "out", code=0)


def test_unknown_command_and_option(root):
    mistake("frobnicate", code=2)
    mistake("list", "--nonsense", code=2)


def test_unwritable_cache(tmp_path, monkeypatch, root):
    (tmp_path / "file").write_text("")
    assert mistake("import", root / "symbolic" / "deaths", "--cache-dir", Path(tmp_path / "file"), code=7)
