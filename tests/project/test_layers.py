"""The rooms of the package import downwards only, and the check that says so notices an import that climbs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter")
ROOT = Path(__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from importlinter.cli import lint_imports_command as go; go([])"
    )
    command = [sys.executable, "-c", code, str(folder / "src")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def test_imports_go_downwards_and_in_no_circle():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("cache/entries.py", "from ..remote import stores"),
        ("files/atomic.py", "from .staging import staging_folder"),
    ],
)
def test_an_import_that_climbs_is_noticed(tmp_path, file, line):
    for path in [*(ROOT / "src").rglob("*.py"), ROOT / "pyproject.toml"]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    place = tmp_path / "src" / "phasic_models" / file
    place.write_text(f"{place.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    done = lint(tmp_path)
    assert done.returncode == 1
    assert "BROKEN" in done.stdout
