"""Plots of time and error against size, as SVG; run with the peers' interpreter, which has matplotlib."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt

COLOURS = {"ours": "#0072b2", "phasic": "#d55e00", "scipy": "#009e73", "storm": "#cc79a7"}
TITLES = {"eliminate": "elimination", "evaluate": "expectation at a new θ", "density": "density at 100 times"}


def main(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    for family, tasks in document["curves"].items():
        figure, axes = plt.subplots(1, len(tasks) + 1, figsize=(4 * (len(tasks) + 1), 3.4), constrained_layout=True)
        for axis, (task, engines) in zip(axes, tasks.items(), strict=False):
            for engine, points in engines.items():
                axis.plot(
                    [p["size"] for p in points],
                    [p["seconds"] for p in points],
                    "o-",
                    color=COLOURS[engine],
                    label=engine,
                )
            axis.set(title=f"{TITLES[task]}", xlabel="size", ylabel="seconds", yscale="log")
            axis.legend(frameon=False)
        for engine, points in tasks.get("density", {}).items():
            # An error of exactly zero has no place on a logarithmic axis; the rounding unit stands in for it.
            known = [(p["size"], max(p["error"], 1e-17)) for p in points if p["error"] is not None]
            axes[-1].plot([s for s, _ in known], [e for _, e in known], "o-", color=COLOURS[engine], label=engine)
        axes[-1].set(title="error of the density", xlabel="size", ylabel="largest error / peak", yscale="log")
        figure.suptitle(family.replace("_", " "))
        figure.savefig(path.parent / f"{family}.svg")
        plt.close(figure)
    growth(document["growth"], path.parent / "elimination.svg")


def growth(families: dict[str, list[dict[str, float]]], target: Path) -> None:
    """Elimination time against the number of multiply-adds: slope one means that it grows no faster."""
    figure, axis = plt.subplots(figsize=(5, 4), constrained_layout=True)
    for family, points in families.items():
        axis.plot(
            [p["operations"] for p in points], [p["seconds"] for p in points], "o-", label=family.replace("_", " ")
        )
    axis.set(title="elimination", xlabel="multiply-adds", ylabel="seconds", xscale="log", yscale="log")
    axis.legend(frameon=False)
    figure.savefig(target)
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
