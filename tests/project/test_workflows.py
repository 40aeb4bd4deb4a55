"""GitHub workflows: valid, without known weaknesses, pinned, and calling commands that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conda_helpers import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
COPIED = sorted((ROOT / "examples" / "github").glob("*.yml"))


def tool(name: str) -> str:
    """Return the path of a program of the lint group, which stands beside the interpreter."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it is in the lint group")
    return found


def load(path: Path) -> dict[str, Any]:
    # A bare `on` is a truth value in YAML 1.1, which PyYAML reads.
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["on"] = content.pop(True, content.get("on"))
    return dict(content)


def test_valid_by_the_schema_of_github() -> None:
    files = [str(path) for path in (*WORKFLOWS, *COPIED)]
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dependabot_is_valid() -> None:
    command = [
        tool("check-jsonschema"),
        "--builtin-schema",
        "vendor.dependabot",
        str(ROOT / ".github" / "dependabot.yml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_issue_forms_are_valid() -> None:
    folder = ROOT / ".github" / "ISSUE_TEMPLATE"
    forms = [str(path) for path in sorted(folder.glob("*.yml")) if path.name != "config.yml"]
    for schema, files in (("issue-forms", forms), ("issue-config", [str(folder / "config.yml")])):
        command = [tool("check-jsonschema"), "--builtin-schema", f"vendor.github-{schema}", *files]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_no_weakness_that_zizmor_knows() -> None:
    command = [tool("zizmor"), "--offline", "--no-progress", "--pedantic", "--format=plain"]
    done = subprocess.run([*command, *map(str, (*WORKFLOWS, *COPIED))], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", [*WORKFLOWS, *COPIED], ids=lambda path: path.name)
def test_actions_are_pinned_and_rights_are_few(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] in ({"contents": "read"}, {})
    uses = re.findall(r"uses: *(\S+)(.*)", path.read_text(encoding="utf-8"))
    assert uses
    for action, comment in uses:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", action), action
        assert re.match(r" # v\d+\.\d+", comment), f"{action} needs the version as a comment"
    for job in workflow["jobs"].values():
        assert "timeout-minutes" in job
        if "write" in str(job.get("permissions", "")):
            assert path.name == "release.yml"


def test_one_commit_per_action() -> None:
    commits: dict[str, set[str]] = {}
    for path in (*WORKFLOWS, *COPIED):
        for action, commit in re.findall(r"uses: *([\w./-]+)@(\w+)", path.read_text(encoding="utf-8")):
            commits.setdefault(action, set()).add(commit)
    assert {action: found for action, found in commits.items() if len(found) > 1} == {}


def test_ci_runs_what_the_readme_promises() -> None:
    jobs = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    matrix = jobs["test"]["strategy"]["matrix"]
    assert {"ubuntu-latest", "macos-latest", "windows-latest"} <= set(matrix["os"])
    commands = [step["run"] for step in jobs["test"]["steps"] if "run" in step]
    assert commands == ["uv run build_models.py", 'uv run pytest -m ""']


def test_ci_runs_the_core_under_sanitizers_and_valgrind() -> None:
    jobs = load(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]
    commands = [step.get("run", "") for job in jobs.values() for step in job["steps"]]
    for wanted in (
        "tests/c_runner.py",
        "tests/c_runner.py --compiler clang",
        "tests/c_runner.py --valgrind",
        "tests/c_runner.py --threads threads",
        "tests/sanitized.py tests/verification/search.py --graphs 140 --seed 2",
        "tests/fuzz_loader.py --sanitize --seconds 120",
        "tests/sanitized.py -m pytest tests/model tests/elimination/test_dag.py tests/evaluation/test_arguments.py",
    ):
        assert any(command.endswith(wanted) for command in commands), wanted


def test_thousands_of_graphs_are_searched_every_week() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "search.yml")
    (when,) = workflow["on"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", when["cron"])
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    graphs = [re.search(r"search\.py --graphs (\d+) --seed", command) for command in commands]
    assert sum(int(found[1]) for found in graphs if found) >= 2000
    # The checks of every change run it too, under sanitizers.
    assert "tests/sanitized.py tests/verification/search.py" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_scripts_that_workflows_call_exist() -> None:
    for path in WORKFLOWS:
        for script in re.findall(r"(?:\.ci|tests)/[\w./-]+", path.read_text(encoding="utf-8")):
            assert (ROOT / script).exists(), f"{path.name} calls {script}"


def test_mistakes_are_put_into_the_code_every_week() -> None:
    workflow = load(ROOT / ".github" / "workflows" / "mutants.yml")
    (when,) = workflow["on"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \d", when["cron"])
    commands = [step.get("run", "") for job in workflow["jobs"].values() for step in job["steps"]]
    assert any("tests/mutants.py --number 60" in command for command in commands)
