"""High-precision reference values: numpy's long double, by methods that share no code with any engine.

The expectation is scipy's sparse solution refined with residuals in long double; the density is plain uniformization
in long double with Poisson weights normalised by their own sum. On x86 a long double has 64 bits of mantissa, so both
are right to about 1e-15; where it has only 53, `digits` in the result says so and the reference is no better than the
engines.
"""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
from engine_scipy import Generator
from models import Model, explore
from scipy.sparse.linalg import splu
from timing import sample, summary

Long = np.longdouble


def _expectation(generator: Generator, theta: Any) -> Any:
    matrix, _ = generator.parts(theta)
    factors = splu(-matrix)
    coordinates = matrix.tocoo()
    order = np.argsort(coordinates.row, kind="stable")
    row, column = coordinates.row[order], coordinates.col[order]
    first = np.searchsorted(row, np.arange(generator.size))
    # The diagonal has to be the exact sum of the rates, not its double: a rounding there is a change of the model.
    rate = generator.coefficients.astype(Long) @ np.asarray(theta, dtype=Long)
    total = np.zeros(generator.size, dtype=Long)
    np.add.at(total, generator.source, rate)
    pairs = {(r, c): i for i, (r, c) in enumerate(zip(row.tolist(), column.tolist(), strict=True))}
    values = np.zeros(len(row), dtype=Long)
    for r, c, w in zip(
        generator.rows.tolist(),
        generator.columns.tolist(),
        np.concatenate([rate[generator.inside], -total]),
        strict=True,
    ):
        values[pairs[r, c]] += w
    x = np.zeros(generator.size, dtype=Long)
    for _ in range(12):
        residual = 1 + np.add.reduceat(values * x[column], first)
        x += factors.solve(residual.astype(np.float64))
    return x[0]


def _poisson(mean: Any, last: int) -> Any:
    """Poisson weights 0..last, by recursion away from the mode, normalised by their sum."""
    mode = min(int(mean), last)
    below = np.cumprod(np.arange(mode, 0, -1, dtype=Long) / mean)[::-1]
    above = np.cumprod(mean / np.arange(mode + 1, last + 1, dtype=Long))
    weights = np.concatenate([below, [Long(1)], above])
    return weights / weights.sum()


def _density(generator: Generator, theta: Any, times: Any) -> Any:
    rate = generator.coefficients.astype(Long) @ np.asarray(theta, dtype=Long)
    total = np.zeros(generator.size, dtype=Long)
    np.add.at(total, generator.source, rate)
    absorbing = np.zeros(generator.size, dtype=Long)
    np.add.at(absorbing, generator.source[~generator.inside], rate[~generator.inside])
    q = total.max()
    source = np.concatenate([generator.rows[: -generator.size], np.arange(generator.size)])
    target = np.concatenate([generator.columns[: -generator.size], np.arange(generator.size)])
    jump = np.concatenate([rate[generator.inside], q - total]) / q
    order = np.argsort(target, kind="stable")
    source, target, jump = source[order], target[order], jump[order]
    first = np.searchsorted(target, np.arange(generator.size))
    means = q * np.asarray(times, dtype=Long)
    last = int(means[-1] + 14 * np.sqrt(means[-1]) + 80)
    vector = np.zeros(generator.size, dtype=Long)
    vector[0] = 1
    series = np.empty(last + 1, dtype=Long)
    for k in range(last + 1):
        series[k] = vector @ absorbing
        vector = np.add.reduceat(vector[source] * jump, first)
    return np.array([_poisson(mean, last) @ series for mean in means])


def evaluate(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    return {
        "expectation": float(_expectation(Generator(explore(model)), model.theta)),
        "digits": int(np.finfo(Long).nmant),
    }


def density(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    values = _density(Generator(explore(model)), model.theta, model.times())
    return {"values": values.astype(np.float64).tolist(), "digits": int(np.finfo(Long).nmant)}


def machine(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    """The speed of one core: multiply-adds per second in a large matrix product, and bytes per second in a copy."""
    size = 768
    a, b, c = np.random.default_rng(1).random((3, size, size))
    product = summary(sample(lambda: np.matmul(a, b, out=c), repeats, budget))
    # Twice the size of a large last-level cache.
    source, target = np.ones(1 << 24), np.empty(1 << 24)
    copy = summary(sample(lambda: np.copyto(target, source), repeats, budget))
    return {
        "multiply_adds_per_second": size**3 / product["cpu"]["min"],
        "bytes_per_second": 2 * source.nbytes / copy["cpu"]["min"],
    }


def version() -> str:
    return f"numpy {np.__version__} long double ({np.finfo(Long).nmant + 1} bits), Python {platform.python_version()}"
