"""Timing and memory of one process, with nothing but the standard library."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

# Below this a single call is lost in the clock's noise, so calls are timed in groups.
GROUP_SECONDS = 0.005


def peak_mb() -> float | None:
    """Largest resident memory of this process so far, in MB; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def once(function: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Call `function` once; its result, and the wall and CPU seconds it took."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = function()
    return result, {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def sample(function: Callable[[], Any], repeats: int, budget: float) -> list[dict[str, float]]:
    """Time `function`: up to `repeats` samples in about `budget` seconds, each the mean of a group of calls.

    The first call, which pays for caches and page faults, is not among the samples, unless it alone uses up the budget.
    """
    _, first = once(function)
    if first["wall"] > budget:
        return [first]
    group = max(1, round(GROUP_SECONDS / max(first["wall"], 1e-7)))
    samples: list[dict[str, float]] = []
    end = time.perf_counter() + budget
    while len(samples) < repeats and (len(samples) < 3 or time.perf_counter() < end):
        _, spent = once(lambda: [function() for _ in range(group)])
        samples.append({clock: seconds / group for clock, seconds in spent.items()})
    return samples


def summary(samples: list[dict[str, float]]) -> dict[str, Any]:
    """Median and minimum of `samples`, by clock."""
    out: dict[str, Any] = {"count": len(samples)}
    for clock in ("wall", "cpu"):
        values = [s[clock] for s in samples]
        out[clock] = {"median": statistics.median(values), "min": min(values)}
    return out
