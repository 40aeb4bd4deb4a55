"""A short run of fuzz_loader.py, in a process of its own: a crash must not take the test run with it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[1] / "fuzz_loader.py"


def run(*arguments):
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_hostile_files():
    counts = run("-X", "dev", str(SCRIPT), "--seconds", "6", "--seed", "1")
    assert all(kind["files"] > 20 for kind in counts.values())
    assert counts["raw"]["accepted"] == 0
    # Some changes do no harm, and without them nothing would be evaluated.
    assert counts["signed"]["accepted"] > 0


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not os.environ.get("PHASIC_MODELS_SANITIZE"),
    reason="builds the package once more; set PHASIC_MODELS_SANITIZE=1",
)
def test_hostile_files_under_the_sanitizers():
    run(str(SCRIPT), "--seconds", "60", "--seed", "2", "--sanitize")
