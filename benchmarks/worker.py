"""One task of one engine on one model, in a process of its own: a crash of an engine is a result, not an end.

Run by `run.py`; writes one JSON document to the path it is given.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

import models


def limit_memory(size: int) -> None:
    """Limit this process's address space, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    except (ImportError, ValueError, OSError):
        print("this system sets no memory limit")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine")
    parser.add_argument("task")
    parser.add_argument("model")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where the engine may store files")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds to spend on repeats")
    parser.add_argument(
        "--memory-gb", type=float, help="fail beyond this much address space, rather than exhaust the machine"
    )
    options = parser.parse_args()
    if options.memory_gb:
        limit_memory(int(options.memory_gb * 1e9))
    engine = importlib.import_module(f"engine_{options.engine}")
    if options.task == "version":
        result = {"version": engine.version()}
    else:
        run = getattr(engine, options.task)
        result = run(models.get(options.model), options.repeats, options.budget, options.folder)
    options.output.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
