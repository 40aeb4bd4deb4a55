"""pixi.toml and the toolkit's recipe: valid, and saying the same as the files that they repeat."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from conda_helpers import ROOT, read_toml

PLATFORMS = {"linux-64", "linux-aarch64", "linux-ppc64le", "osx-64", "osx-arm64", "win-64", "win-arm64", "noarch"}
#: pixi's own schema is too large to keep a copy of. It lies beside the checkout where it was fetched, or where the
#: variable says; the other tests here need none.
SCHEMA = Path(os.environ.get("PIXI_SCHEMA", ROOT.parent / "shared" / "pixi-schema.json"))
MANIFESTS = [ROOT / "pixi.toml", ROOT / "examples" / "pixi-project" / "pixi.toml"]


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    return read_toml(ROOT / "pixi.toml")


def tasks_of(manifest: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tasks = dict(manifest["tasks"])
    for feature in manifest["feature"].values():
        tasks |= feature.get("tasks", {})
    return tasks


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_valid_by_the_schema_of_pixi(path: Path) -> None:
    if not SCHEMA.is_file():
        pytest.skip("pixi's schema is not here; PIXI_SCHEMA may name it")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [f"{error.json_path}: {error.message}" for error in validator.iter_errors(read_toml(path))] == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_platforms_exist(path: Path) -> None:
    """The schema takes any text for a platform."""
    assert set(read_toml(path)["workspace"]["platforms"]) <= PLATFORMS


def test_toml_1_0() -> None:
    """pixi reads TOML 1.1 too, other readers of the file do not: no inline table may span lines."""
    for path in MANIFESTS:
        for line in path.read_text(encoding="utf-8").splitlines():
            assert line.count("{") == line.count("}"), line


def test_environments_name_their_features(manifest: dict[str, Any]) -> None:
    for environment in manifest["environments"].values():
        assert set(environment["features"]) <= set(manifest["feature"])
    used = {feature for environment in manifest["environments"].values() for feature in environment["features"]}
    assert used == set(manifest["feature"])


def test_the_tasks_that_are_promised(manifest: dict[str, Any]) -> None:
    tasks = tasks_of(manifest)
    promised = {"build", "test", "lint", "typecheck", "package", "channel", "serve", "publish", "bench"}
    assert promised <= set(tasks)
    for task in tasks.values():
        assert task.get("description")
        for dependency in task.get("depends-on", []):
            assert dependency in tasks


def test_tasks_call_the_commands_of_the_readme(manifest: dict[str, Any]) -> None:
    tasks = tasks_of(manifest)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("build", "test"):
        command = tasks[name]["cmd"].split(" {{")[0]
        assert command in readme
        assert f"pixi run {name}" in readme
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for name in ("lint", "typecheck", "test"):
        for command in tasks[name]["cmd"].split(" {{")[0].split(" && "):
            # `.ci/run` adds what the plain test command leaves out.
            assert f"check {command}\n" in ci or f'check {command} -m ""' in ci


def test_every_argument_of_a_task_is_used(manifest: dict[str, Any]) -> None:
    for name, task in tasks_of(manifest).items():
        arguments = {item if isinstance(item, str) else item["arg"] for item in task.get("args", [])}
        assert set(re.findall(r"{{ *(\w+) *}}", task.get("cmd", ""))) == arguments, name


def test_the_scripts_that_tasks_start_exist_and_take_the_options(manifest: dict[str, Any]) -> None:
    options: dict[str, str] = {}
    for task in tasks_of(manifest).values():
        for command in task.get("cmd", "").split("&&"):
            words = shlex.split(re.sub(r"{{.*?}}", "", command))
            if words[:2] != ["uv", "run"] or not words[2].endswith(".py"):
                continue
            script = ROOT / words[2]
            assert script.is_file()
            if script.name not in options:
                done = subprocess.run(
                    [sys.executable, str(script), "--help"], capture_output=True, text=True, check=True
                )
                options[script.name] = done.stdout
            for word in words[3:]:
                if word.startswith("--"):
                    assert word in options[script.name]
    assert "build_models.py" in options


def test_inputs_of_the_build_exist(manifest: dict[str, Any]) -> None:
    for task in ("build", "package"):
        for pattern in manifest["tasks"][task]["inputs"]:
            assert any(ROOT.glob(pattern)), pattern


# -- the toolkit's own package ------------------------------------------------------------------------------------


def render(platform: str) -> dict[str, Any]:
    rattler_build = pytest.importorskip("rattler_build", reason="needs the build group")
    folder = ROOT / "recipes" / "phasic-models"
    target = rattler_build.PlatformConfig(target_platform=platform)
    jinja = rattler_build.JinjaConfig(platform=target)
    variants = rattler_build.VariantConfig.from_file_with_context(folder / "variants.yaml", jinja)
    rendered = rattler_build.Stage0Recipe.from_file(folder / "recipe.yaml").render(
        variants, rattler_build.RenderConfig(target)
    )
    assert len(rendered) == 1, "one build for every Python"
    return dict(rendered[0].recipe.to_dict())


@pytest.mark.parametrize("platform", ["linux-64", "linux-aarch64", "osx-64", "osx-arm64", "win-64"])
def test_the_toolkits_recipe_renders(platform: str) -> None:
    recipe = render(platform)
    assert recipe["package"]["name"] == "phasic-models"
    assert recipe["build"]["python"]["version_independent"] is True
    assert any(name.startswith(("gcc", "clang", "vs2")) for name in recipe["requirements"]["build"])
    for path in recipe["about"]["license_file"]:
        assert (ROOT / path).is_file()


def test_the_toolkits_recipe_agrees_with_pyproject() -> None:
    recipe, project = render("linux-64"), read_toml(ROOT / "pyproject.toml")["project"]
    assert recipe["package"]["version"] == project["version"]
    stated = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    expected = {re.sub(r"(?=[<>=!~])", " ", requirement, count=1) for requirement in stated}
    assert set(recipe["requirements"]["run"]) == expected | {f"python {project['requires-python']}"}
    constrained = {re.sub(r"(?=[<>=!~])", " ", text, count=1) for text in project["optional-dependencies"]["cloud"]}
    assert set(recipe["requirements"]["run_constraints"]) == constrained
    entry_points = [f"{name} = {target}" for name, target in project["scripts"].items()]
    assert recipe["build"]["python"]["entry_points"] == entry_points


def test_the_libraries_accept_this_version_of_the_toolkit() -> None:
    from phasic_models.compat import VersionRange
    from phasic_models.library import discover, load_library

    version = read_toml(ROOT / "pyproject.toml")["project"]["version"]
    for folder in discover(ROOT / "libraries"):
        allowed = load_library(folder).spec.compatible.phasic_models
        assert VersionRange.parse(allowed).allows(version), folder.name


def test_ci_run_is_a_valid_script() -> None:
    if shutil.which("bash") is None:
        pytest.skip("the scripts of CI are bash")
    for script in (ROOT / ".ci").iterdir():
        if script.is_file():
            subprocess.run(["bash", "-n", str(script)], check=True)
            assert os.name == "nt" or os.access(script, os.X_OK), script
