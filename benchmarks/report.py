"""From results to a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import models
import targets
from targets import Row

Task = Callable[[str, str, str], dict[str, Any]]


def _figure(row: Row, result: dict[str, Any], clock: str) -> float | None:
    value = result.get(row.figure) if result.get("status") == "ok" else None
    return value[clock]["median"] if isinstance(value, dict) else value


def _error(result: dict[str, Any], truth: dict[str, Any]) -> float | None:
    """Largest absolute error of a density relative to its peak, or the relative error of an expectation."""
    if "values" in result and "values" in truth:
        peak = max(abs(x) for x in truth["values"])
        return max(abs(a - b) for a, b in zip(result["values"], truth["values"], strict=True)) / peak
    if "expectation" in result and "expectation" in truth:
        return abs(result["expectation"] / truth["expectation"] - 1)
    return None


def measure(row: Row, engines: list[str], task: Task, clock: str) -> dict[str, Any]:
    """Run what `row` asks for on every engine that can, and judge it."""
    title = models.get(row.model).title if row.model else ""
    line: dict[str, Any] = {"what": row.what, "model": title, "unit": row.unit, "engines": {}}
    results = {e: task(e, row.task, row.model) for e in engines if row.task in targets.TASKS[e]}
    truth_task = row.task if row.task in targets.TASKS["truth"] else "evaluate"
    large = row.task == "large" or row.model == "repairable:10"
    truth = task("truth", truth_task, row.model) if "truth" in engines and row.model and not large else {}
    for engine, result in results.items():
        if engine == "truth":
            continue
        entry: dict[str, Any] = {"status": result["status"], "figure": _figure(row, result, clock)}
        if isinstance(result.get(row.figure), dict):
            entry["samples"] = result[row.figure]
        error = _error(result, truth)
        if error is not None:
            entry["error"] = error
        entry |= {k: result[k] for k in ("operations", "vertices", "build") if k in result}
        line["engines"][engine] = entry
    ours = line["engines"].get("ours", {})
    theirs = line["engines"].get("phasic", {}).get("figure")
    line["ratio"] = theirs / ours["figure"] if theirs and ours.get("figure") else None
    wanted: list[tuple[str, bool | None]] = []
    if row.ratio is not None:
        wanted.append((f"≥ {row.ratio:g}×", None if line["ratio"] is None else line["ratio"] >= row.ratio))
    if row.limit is not None:
        figure = ours.get("figure")
        wanted.append((f"≤ {_show(row.limit, row.unit)}", None if figure is None else figure <= row.limit))
    if row.error is not None:
        error = ours.get("error")
        wanted.append((f"error ≤ {row.error:g}", None if error is None else error <= row.error))
    line["target"] = ", ".join(text for text, _ in wanted)
    verdicts = [verdict for _, verdict in wanted]
    line["reached"] = False if False in verdicts else None if None in verdicts else True
    return line


def curves(engines: list[str], task: Task) -> dict[str, Any]:
    """Elimination, evaluation and density against size, for the plots."""
    out: dict[str, Any] = {}
    for family, sizes in targets.PLOT_SIZES.items():
        for size in sizes:
            spec = f"{family}:{size}"
            for name, figure in (("eliminate", "time"), ("evaluate", "single"), ("density", "time")):
                truth = task("truth", name, spec) if "truth" in engines and name in targets.TASKS["truth"] else {}
                for engine in engines:
                    if engine == "truth" or name not in targets.TASKS[engine]:
                        continue
                    result = task(engine, name, spec)
                    if result["status"] == "ok":
                        point = {
                            "size": size,
                            "seconds": result[figure]["wall"]["median"],
                            "error": _error(result, truth),
                        }
                        point |= {k: result[k] for k in ("vertices", "operations") if k in result}
                        out.setdefault(family, {}).setdefault(name, {}).setdefault(engine, []).append(point)
    return out


def limits(task: Task, clock: str) -> list[dict[str, Any]]:
    """How near to the machine's own speed our evaluations come."""
    machine = task("truth", "machine", "")
    if machine["status"] != "ok":
        return []
    out = []
    for spec in targets.LIMIT_MODELS:
        for name, figure, what in (
            ("evaluate", "batch", "expectation per θ, batch"),
            ("density", "time", "pdf, 100 times"),
        ):
            result = task("ours", name, spec)
            if result["status"] == "ok":
                seconds = result[figure][clock]["median"]
                least = result["operations"] / machine["multiply_adds_per_second"]
                out.append(
                    {
                        "what": what,
                        "model": models.get(spec).title,
                        "operations": result["operations"],
                        "seconds": seconds,
                        "rate": result["operations"] / seconds,
                        "share": least / seconds,
                    }
                )
    return out


def growth(task: Task) -> dict[str, Any]:
    """Elimination time against multiply-adds, per family."""
    out: dict[str, Any] = {}
    for family, sizes in targets.GROWTH_SIZES.items():
        for size in sizes:
            result = task("ours", "eliminate", f"{family}:{size}")
            if result["status"] == "ok":
                point = {"size": size, "operations": result["operations"], "seconds": result["time"]["cpu"]["min"]}
                out.setdefault(family, []).append(point)
    return out


def _show(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "MB":
        return f"{value:.0f} MB"
    if unit == "bytes":
        return f"{value / 1e6:.3g} MB" if value >= 1e5 else f"{value / 1e3:.3g} kB"
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value / 1e-9:.3g} ns"


def _cell(entry: dict[str, Any] | None, unit: str) -> str:
    if entry is None:
        return "–"
    if entry["figure"] is None:
        return entry["status"] if entry["status"] != "ok" else "–"
    text = _show(entry["figure"], unit)
    return f"{text} (error {entry['error']:.0e})" if "error" in entry and unit == "s" else text


def markdown(document: dict[str, Any]) -> str:
    """The table, headed by what the figures depend on."""
    about = document["machine"]
    lines = [
        "# Benchmark",
        "",
        f"{document['created']}, {about['processor']}, {about['cores']} cores, {about['system']}; load before the run "
        f"{about['load_before']}. Medians by the {document['clock']} clock; "
        f"a task may use {document['memory_limit_gb']:g} GB.",
        "",
        *(f"- {engine}: {version}" for engine, version in document["versions"].items()),
        "",
        "An error is the largest one over the 100 times relative to the density's peak, or an expectation's relative "
        "error, against long-double references.",
        "",
        "| what | model | ours | phasic | phasic / ours | scipy | target | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in document["rows"]:
        cells = [_cell(row["engines"].get(e), row["unit"]) for e in ("ours", "phasic", "scipy")]
        if "storm" in row["engines"]:
            cells[1] = "Storm: " + _cell(row["engines"]["storm"], row["unit"])
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.3g}×"
        reached = {True: "yes", False: "**no**", None: "–"}[row["reached"]]
        columns = (row["what"], row["model"], cells[0], cells[1], ratio, cells[2], row["target"], reached)
        lines.append("| " + " | ".join(columns) + " |")
    if document["limits"]:
        lines += [
            "",
            "Against the machine: multiply-adds of the elimination, or of the steps of uniformization; the limit is",
            "what one core does in a large matrix product.",
            "",
            "| what | model | multiply-adds | time | per second | of the limit |",
            "|---|---|---|---|---|---|",
        ]
        for row in document["limits"]:
            lines.append(
                f"| {row['what']} | {row['model']} | {row['operations']:,} | {_show(row['seconds'], 's')} "
                f"| {row['rate'] / 1e9:.2f} × 10⁹ | {row['share']:.1%} |"
            )
    return "\n".join(lines) + "\n"
