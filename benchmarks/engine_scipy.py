"""The benchmark's tasks, done by scipy: sparse factorisation at each theta, action of the matrix exponential."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
from models import Explored, Model, explore
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import expm_multiply, splu
from timing import once, peak_mb, sample, summary


class Generator:
    """The transient part of a model's generator, refilled at each theta."""

    def __init__(self, space: Explored) -> None:
        size = len(space.states)
        self.coefficients = np.array(space.coefficients)
        source, target = np.array(space.sources), np.array(space.targets)
        transient = np.zeros(size, dtype=bool)
        transient[source] = True
        position = np.cumsum(transient) - 1
        self.size = int(transient.sum())
        self.source = position[source]
        self.inside = transient[target]
        self.rows = np.concatenate([self.source[self.inside], np.arange(self.size)])
        self.columns = np.concatenate([position[target[self.inside]], np.arange(self.size)])

    def parts(self, theta: Any) -> tuple[Any, Any]:
        """The matrix at `theta`, rates off its diagonal and minus their sums on it, and the rates of absorption."""
        rate = self.coefficients @ np.asarray(theta)
        total = np.bincount(self.source, rate, self.size)
        absorbing = np.bincount(self.source[~self.inside], rate[~self.inside], self.size)
        values = np.concatenate([rate[self.inside], -total])
        return csc_matrix((values, (self.rows, self.columns)), shape=(self.size, self.size)), absorbing

    def expectation(self, theta: Any) -> float:
        matrix, _ = self.parts(theta)
        return float(splu(-matrix).solve(np.ones(self.size))[0])

    def density(self, theta: Any, times: Any) -> Any:
        matrix, absorbing = self.parts(theta)
        start = np.zeros(self.size)
        start[0] = 1.0
        rows = expm_multiply(matrix.T, start, start=0.0, stop=times[-1], num=len(times) + 1)
        return rows[1:] @ absorbing


def evaluate(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    generator = Generator(explore(model))
    theta = np.array(model.theta)
    value, spent = once(lambda: generator.expectation(theta))
    single = summary(
        [spent] if spent["wall"] > budget else sample(lambda: generator.expectation(theta), repeats, budget)
    )
    return {"expectation": value, "single": single, "batch": single, "peak_mb": peak_mb()}


def density(model: Model, repeats: int, budget: float, folder: Path) -> dict[str, Any]:
    generator = Generator(explore(model))
    theta, times = np.array(model.theta), np.array(model.times())
    values, spent = once(lambda: generator.density(theta, times))
    samples = [spent] if spent["wall"] > budget else sample(lambda: generator.density(theta, times), repeats, budget)
    return {"values": values.tolist(), "time": summary(samples)}


def version() -> str:
    import scipy

    return f"scipy {scipy.__version__}, Python {platform.python_version()}"
