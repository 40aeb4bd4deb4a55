"""phasic_bridge: its messages without phasic here, and `bridge_cases.py` where phasic can be imported.

phasic and what it imports are large, and nothing else needs them, so they are not among the test dependencies. The
cases run in this environment if it has phasic, else in the benchmarks' (``python benchmarks/environment.py`` makes it).
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path

import pytest

import phasic_models
from phasic_models import phasic_bridge
from phasic_models.errors import CompatibilityError

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "build" / "benchmark-environment"


def interpreter() -> Path:
    if util.find_spec("phasic") is not None:
        return Path(sys.executable)
    python = PEERS / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (PEERS / "complete").exists():
        pytest.skip("phasic is not installed; `python benchmarks/environment.py` makes an environment that has it")
    return python


def test_against_the_real_phasic(tmp_path: Path) -> None:
    # PYTHONPATH rather than an installation: the environment then always tests these sources and their compiled core.
    source = Path(phasic_models.__file__).resolve().parent.parent
    env = {**os.environ, "PYTHONPATH": str(source), "PHASIC_CACHE_DIR": str(tmp_path), "HOME": str(tmp_path)}
    # An empty configuration: phasic's own imports warn, and this project's makes errors of warnings.
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(ROOT)]
    command = [str(interpreter()), "-m", "pytest", *options, str(ROOT / "tests" / "helpers" / "bridge_cases.py")]
    run = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_importing_the_bridge_does_not_import_phasic() -> None:
    code = "import sys, phasic_models.phasic_bridge; sys.exit('phasic' in sys.modules or 'jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(util.find_spec("phasic") is not None, reason="phasic is installed")
def test_without_phasic() -> None:
    with pytest.raises(CompatibilityError, match=r"phasic is not installed.*pip install 'phasic>=0\.28,<0\.33'"):
        phasic_bridge.from_phasic(object())
    with pytest.raises(CompatibilityError, match="phasic is not installed"):
        phasic_bridge.to_phasic(object())  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["0.27.9", "0.33.0", "1.0"])
def test_phasic_outside_the_range(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: version)
    with pytest.raises(CompatibilityError, match=rf"phasic {version} is installed, but phasic>=0\.28,<0\.33 is needed"):
        phasic_bridge.from_phasic(object())
