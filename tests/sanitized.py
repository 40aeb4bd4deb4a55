"""Runs Python on a copy of the package that is built with the address and undefined-behaviour sanitizers (Linux).

``python tests/sanitized.py -m pytest tests/model tests/elimination``
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -g -O1"


def build(folder: Path) -> dict[str, str]:
    """Build the copy in `folder`; return the environment to run it in."""
    for name in ("src", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        (folder / name).symlink_to(ROOT / name)
    environment = {**os.environ, "CFLAGS": FLAGS, "LDFLAGS": FLAGS}
    command = ["setup.py", "-q", "build", "--build-base", str(folder / "base"), "--build-lib", str(folder / "lib")]
    subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=True)
    compiler = os.environ.get("CC", "cc")
    libraries = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        # The interpreter does not free everything at its end, so leaks would drown in noise.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:abort_on_error=1",
        "PYTHONPATH": str(folder / "lib"),
        # Python's own allocator would hide what happens inside its blocks.
        "PYTHONMALLOC": "malloc",
    }


def run(arguments: list[str]) -> int:
    """Run Python with `arguments` on the sanitized copy; return its exit code."""
    with tempfile.TemporaryDirectory() as folder:
        environment = build(Path(folder))
        return subprocess.run([sys.executable, *arguments], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
