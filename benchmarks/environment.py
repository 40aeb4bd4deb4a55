"""The environment in which the peers run: phasic, scipy, and matplotlib for the plots.

``python benchmarks/environment.py [FOLDER]`` makes it and prints its interpreter.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

PHASIC = "phasic==0.32.1"
# Packages that phasic imports, named here because its own requirements pull in far more than that.
REQUIREMENTS = (
    "numpy", "scipy", "matplotlib", "jax", "json5", "requests", "graphviz", "seaborn", "pyyaml", "psutil", "rich",
    "tqdm", "multiprocess", "ipython", "ipywidgets",
)  # fmt: skip
# Packages that phasic-models imports, and pytest: the tests of phasic_bridge run here too.
OURS = ("cffi", "filelock", "hypothesis", "msgspec", "packaging", "platformdirs", "pytest", "safetensors")
OPTIONAL = ("stormpy",)


#: Where `prepare` makes it unless told otherwise; ignored by git.
DEFAULT = Path(__file__).resolve().parent.parent / "build" / "benchmark-environment"


def python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def prepare(folder: Path) -> Path:
    """Make the environment in `folder`, unless it is there already and complete; return its interpreter."""
    wanted = hashlib.sha256(json.dumps([PHASIC, REQUIREMENTS, OURS, OPTIONAL, sys.version]).encode()).hexdigest()
    python, stamp = python_of(folder), folder / "complete"
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"making the peers' environment in {folder} (once; a few minutes)", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *REQUIREMENTS, *OURS], check=True)
    subprocess.run([*pip, "--no-deps", PHASIC], check=True)
    for name in OPTIONAL:
        if subprocess.run([*pip, name], check=False).returncode:
            print(f"{name} does not install here; its rows will say so", flush=True)
    stamp.write_text(wanted)
    return python


if __name__ == "__main__":
    print(prepare(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT))
