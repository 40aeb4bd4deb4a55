"""Benchmark phasic-models beside phasic 0.32.1 and scipy: one command, one run, one table.

    uv run benchmarks/run.py            every row, with plots (about a quarter of an hour)
    uv run benchmarks/run.py --quick    the small models only (a minute, after the first time)

Every engine works on the same models in a process of its own, so that a crash is a result and peak memory is its own.
Tables go to benchmarks/results/ as Markdown and JSON, plots beside them as SVG.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import environment
import report
import targets
import timing

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
Key = tuple[str, str, str]

# Module and names for the import rows.
IMPORTS = {
    "ours": ("phasic_models", "Graph", "SymbolicDAG", "Model", "params", "load_model", "list_models", "SymbolicCache"),
    "phasic": ("phasic", "Graph"),
}


@dataclass
class Runner:
    """Runs tasks in subprocesses and remembers their results."""

    pythons: dict[str, str]
    folder: Path
    repeats: int
    budget: float
    timeout: float
    memory_gb: float
    results: dict[Key, dict[str, Any]] = field(default_factory=dict)

    def task(self, engine: str, task: str, model: str) -> dict[str, Any]:
        """The result of one task; ``status`` is 'ok' or says what happened instead."""
        key = (engine, task, model)
        if key not in self.results:
            if task == "open_stored":
                self.task(engine, "store", model)
            print(f"  {engine:7} {task:12} {model:14}", end=" ", flush=True)
            start = time.perf_counter()
            self.results[key] = self._imports(engine) if task == "import" else self._run(engine, task, model)
            print(f"{self.results[key]['status']} ({time.perf_counter() - start:.1f} s)", flush=True)
        return self.results[key]

    def _imports(self, engine: str) -> dict[str, Any]:
        """The median of five imports, after one that may have to compile and to read from disk."""
        runs = [self._run(engine, "import", "") for _ in range(6)][1:]
        failed = [run for run in runs if run["status"] != "ok"]
        if failed:
            return failed[0]
        peak = statistics.median(run["peak_mb"] for run in runs)
        return {"status": "ok", "time": timing.summary([run["spent"] for run in runs]), "peak_mb": peak}

    def _run(self, engine: str, task: str, model: str) -> dict[str, Any]:
        stored = self.folder / engine
        stored.mkdir(parents=True, exist_ok=True)
        output = self.folder / "result.json"
        output.unlink(missing_ok=True)
        command = [self.pythons[engine]]
        if task == "import":
            command += [str(HERE / "import_probe.py"), *IMPORTS[engine]]
        elif task == "build":
            command += [str(ROOT / "build_models.py"), "--out", str(self.folder / "build")]
        else:
            command += [str(HERE / "worker.py"), engine, task, model or "tandem:5", "--output", str(output)]
            command += ["--folder", str(stored), "--repeats", str(self.repeats), "--budget", str(self.budget)]
            command += ["--memory-gb", str(self.memory_gb)]
        # phasic reads a cache folder from the environment; a private one keeps the user's out of the run.
        env = {**os.environ, "PHASIC_CACHE_DIR": str(stored), "HOME": str(self.folder), "PYTHONPATH": str(HERE)}
        log = self.folder / "log.txt"
        start = time.perf_counter()
        with log.open("wb") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=env, cwd=self.folder)
            try:
                code = process.wait(self.timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                return {"status": f"unfinished after {self.timeout:.0f} s"}
        seconds = time.perf_counter() - start
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if code < 0:
            return {"status": f"crashed (signal {-code})"}
        if code:
            # The last line that says something: some tools frame their messages.
            reason = next((line for line in reversed(lines) if any(c.isalnum() for c in line)), f"exit code {code}")
            return {"status": f"failed: {reason.strip()}"}
        if task == "import":
            return {"status": "ok", **json.loads(lines[-1])}
        if task == "build":
            return {"status": "ok", "seconds": seconds}
        return {"status": "ok", **json.loads(output.read_text(encoding="utf-8"))}


def machine() -> dict[str, Any]:
    """Describe the machine and the versions, on which the figures depend."""
    name = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    load = [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None
    return {"processor": name, "cores": os.cpu_count(), "system": platform.platform(), "load_before": load}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small models only, fewer repeats, no plots")
    parser.add_argument(
        "--peers",
        type=Path,
        default=environment.DEFAULT,
        help="folder of the peers' environment, made if missing",
    )
    parser.add_argument("--peers-python", help="an interpreter that has phasic and scipy already; nothing is installed")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--model", action="append", help="only rows of this model, e.g. two_island:10; may be repeated")
    parser.add_argument("--engines", default="ours,phasic,scipy,storm,truth")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="which clock the table shows; 'cpu' is the fairer one on a busy machine",
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--budget", type=float, default=2.0, help="seconds spent on repeats of one task")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which a task is given up")
    parser.add_argument("--memory-gb", type=float, default=8.0, help="address space beyond which a task fails")
    parser.add_argument("--no-plots", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.budget, options.no_plots = min(options.repeats, 7), min(options.budget, 0.5), True

    peers = options.peers_python or str(environment.prepare(options.peers))
    engines = options.engines.split(",")
    rows = [
        row
        for row in targets.ROWS
        if (not options.quick or (row.model in targets.QUICK_MODELS and row.task != "build"))
        and (not options.model or row.model in options.model)
    ]
    about = machine()
    # Not in the results folder: what phasic stores for one model can be close to a gigabyte.
    with tempfile.TemporaryDirectory(prefix="phasic-models-benchmark-") as scratch:
        pythons = {engine: sys.executable if engine == "ours" else peers for engine in targets.TASKS}
        runner = Runner(pythons, Path(scratch), options.repeats, options.budget, options.timeout, options.memory_gb)
        versions = {engine: runner.task(engine, "version", "").get("version", "not available") for engine in engines}
        lines = [report.measure(row, engines, runner.task, options.clock) for row in rows]
        compares = {"ours", "truth"} <= set(engines) and not options.quick
        limits = report.limits(runner.task, options.clock) if compares else []
        curves = {} if options.no_plots else report.curves(engines, runner.task)
        growth = {} if options.no_plots or "ours" not in engines else report.growth(runner.task)
    document = {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "clock": options.clock,
        "memory_limit_gb": options.memory_gb,
        "machine": about,
        "versions": versions,
        "rows": lines,
        "limits": limits,
        "curves": curves,
        "growth": growth,
    }
    options.results.mkdir(parents=True, exist_ok=True)
    table = report.markdown(document)
    (options.results / "results.json").write_text(json.dumps(document, indent=1, ensure_ascii=False), encoding="utf-8")
    (options.results / "results.md").write_text(table, encoding="utf-8")
    if curves:
        subprocess.run([peers, str(HERE / "plots.py"), str(options.results / "results.json")], check=True)
    print("\n" + table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
