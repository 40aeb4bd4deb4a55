"""The command ``ptd-cache``: it calls functions of the other packages and prints their results.

Exit codes: 0 done; 1 a check found problems, or a package is missing; 2 wrong usage; 3 not found; 4 damaged or unreadable file;
5 network; 6 incompatible versions; 7 the disk or a permission.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``ptd-cache``."""
    try:
        # Some versions of typer notice only when they print that rich is missing.
        import rich  # noqa: F401

        from .app import app
    except ImportError as error:
        if (error.name or "").split(".")[0] not in ("typer", "rich", "click"):
            raise
        sys.exit(
            f"ptd-cache needs the package {error.name!r}, which is not installed: "
            "pip install 'phasic-models[cli]', or pixi add typer rich"
        )
    app(prog_name="ptd-cache")
