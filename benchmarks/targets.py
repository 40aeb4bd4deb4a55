"""The rows of the benchmark: what is measured, and the number to reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes
    ----------
    what : str
        A description of the measurement.
    model : str
        The model's spec.
    task : str
        The worker's task that measures it.
    figure : str
        Which figure of that task's result: a dotted path whose last part may be a timing summary.
    unit : str
        ``s``, ``MB`` or ``bytes``.
    ratio : float or None
        At least this many times smaller than phasic's.
    limit : float or None
        At most this, in `unit`.
    error : float or None
        At most this largest error, relative to the peak, against the high-precision reference.
    """

    what: str
    model: str
    task: str
    figure: str
    unit: str = "s"
    ratio: float | None = None
    limit: float | None = None
    error: float | None = None


ROWS: tuple[Row, ...] = (
    *(Row("elimination", f"two_island:{n}", "eliminate", "time", ratio=5) for n in (8, 10, 12)),
    Row("elimination", "repairable:8", "eliminate", "time", ratio=30),
    Row("peak memory of elimination", "repairable:8", "eliminate", "peak_mb", "MB", limit=100),
    Row("elimination", "repairable:10", "eliminate", "time", limit=1),
    Row("peak memory of elimination", "repairable:10", "eliminate", "peak_mb", "MB", limit=200),
    *(
        row
        for spec in ("two_island:10", "two_island:12", "repairable:8")
        for row in (
            Row("expectation at a new θ, alone", spec, "evaluate", "single", ratio=20),
            Row("expectation, per θ in a batch of 1000", spec, "evaluate", "batch", ratio=40),
        )
    ),
    *(
        Row("pdf at 100 times at a new θ", spec, "density", "time", ratio=100, error=1e-10)
        for spec in ("two_island:10", "mmc:1000", "repairable:8")
    ),
    *(Row("open to the first expectation", f"two_island:{n}", "open_stored", "time", ratio=3) for n in (10, 12)),
    *(
        Row("size of what is opened", spec, "store", "bytes", "bytes", ratio=50)
        for spec in ("two_island:10", "two_island:12", "repairable:8")
    ),
    Row("import, time", "", "import", "time", limit=0.3),
    Row("import, memory", "", "import", "peak_mb", "MB", limit=60),
    Row("state space and expectation, vectorised callback", "rabbits:1000", "large", "time", limit=20),
    Row("the same, peak memory", "rabbits:1000", "large", "peak_mb", "MB", limit=2000),
    Row("symbolic elimination, as expressions", "tandem:5", "symbolic", "time", limit=0.010),
    Row("build, package and index every library", "", "build", "seconds", limit=120),
)

# A short run: seconds, not minutes, and every kind of row.
QUICK_MODELS = frozenset({"", "two_island:8", "two_island:10", "tandem:5"})

# Sizes for the plots of time and error against size.
PLOT_SIZES: dict[str, tuple[int, ...]] = {
    "two_island": (4, 6, 8, 10, 12),
    "repairable": (4, 5, 6, 7, 8),
    "mmc": (30, 100, 300),
}

# Sizes for the plot of elimination time against multiply-adds, ours only.
GROWTH_SIZES: dict[str, tuple[int, ...]] = {
    "two_island": (6, 8, 10, 12, 14),
    "repairable": (6, 7, 8, 9, 10),
    "tandem": (5, 10, 20, 30, 40),
}

# Models whose speed is compared with the machine's own.
LIMIT_MODELS = ("two_island:10", "two_island:12", "repairable:8", "mmc:1000")

# Which tasks an engine has; what is missing shows as a dash.
TASKS: dict[str, frozenset[str]] = {
    "ours": frozenset(
        {"eliminate", "evaluate", "density", "store", "open_stored", "symbolic", "large", "import", "build"}
    ),
    "phasic": frozenset({"eliminate", "evaluate", "density", "store", "open_stored", "import"}),
    "scipy": frozenset({"evaluate", "density"}),
    "storm": frozenset({"symbolic"}),
    "truth": frozenset({"evaluate", "density"}),
}
