"""How long every kind of call takes from Ctrl-C to the prompt: ``uv run python benchmarks/stopping.py [CASE …]``.

Each case runs in a process of its own, which says when its call begins; soon after it gets SIGINT, and must leave the call
with KeyboardInterrupt. ``--deadline`` stops by `phasic_models.deadline` instead. tests/core/test_stopping.py uses the same cases.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

import phasic_models as pm
from phasic_models import Graph

STARTED, STOPPED = "started", "stopped"


def line(n: int) -> Graph:
    """Counts from 1 to n, up and down at rates of their own parameters; absorbed below 1."""
    up, down = np.arange(n - 1), np.arange(1, n)
    sources = np.concatenate([up, down, [0]])
    targets = np.concatenate([up + 1, down - 1, [n]])
    coefficients = np.zeros((sources.size, 2))
    coefficients[: n - 1, 0] = 1.0
    coefficients[n - 1 :, 1] = 1.0
    states = np.arange(1, n + 2)[:, None]
    weights = np.zeros(sources.size)
    return Graph.from_arrays(states, sources, targets, weights, coefficients=coefficients, initial=n - 1)


def random_graph(n: int, degree: int, seed: int = 1) -> Graph:
    """A cycle through n states and edges by chance: one component that fills up when it is eliminated."""
    rng = np.random.default_rng(seed)
    source = np.repeat(np.arange(n), degree)
    pairs = np.stack([source, rng.integers(0, n, source.size)], axis=1)
    pairs = np.concatenate([pairs, np.stack([np.arange(n), (np.arange(n) + 1) % n], axis=1)])
    pairs = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
    sources, targets = np.append(pairs[:, 0], 0), np.append(pairs[:, 1], n)
    return Graph.from_arrays(np.arange(1, n + 2)[:, None], sources, targets, np.full(sources.size, 0.5), initial=n - 1)


def grid(n: int) -> Graph:
    """Two counts from 0 to n - 1, each up and down; absorbed at (0, 0)."""
    i, j = np.divmod(np.arange(n * n), n)
    moves = [(i + 1 < n, n), (i > 0, -n), (j + 1 < n, 1), (j > 0, -1)]
    sources = np.concatenate([np.flatnonzero(can) for can, _ in moves])
    targets = np.concatenate([np.flatnonzero(can) + by for can, by in moves])
    keep = sources > 0  # (0, 0) is absorbing
    return Graph.from_arrays(
        np.stack([i, j], 1), sources[keep], targets[keep], np.full(keep.sum(), 1.0), initial=n * n - 1
    )


def discrete_line(n: int) -> Graph:
    """As `line`, by whole steps."""
    up, down = np.arange(n - 1), np.arange(1, n)
    sources, targets = np.concatenate([up, down, [0]]), np.concatenate([up + 1, down - 1, [n]])
    return Graph.from_arrays(
        np.arange(1, n + 2)[:, None], sources, targets, np.full(sources.size, 0.3), initial=n - 1, discrete=True
    )


TIMES = 1e4 + np.arange(1_000_000) * 0.01


def _eliminate() -> Callable[[], object]:
    graph = random_graph(18_292, 6)
    return lambda: graph.eliminate(max_operations=None)


def _least_fill() -> Callable[[], object]:
    graph = random_graph(8_000, 40)
    return lambda: graph.eliminate(max_operations=None)


def _theta(n: int) -> np.ndarray:
    return np.tile([1.0, 1.0], (n, 1))


def _pdf(n_threads: int) -> Callable[[], object]:
    model, theta = line(8_001).model(), _theta(n_threads)
    return lambda: model.pdf(theta, [1e6], n_threads=n_threads)


def _pdf_and_grad() -> Callable[[], object]:
    model = line(8_001).model()
    return lambda: model.pdf_and_grad([1.0, 1.0], [1e6])


def _mixing() -> Callable[[], object]:
    model = line(3).model()
    return lambda: model.cdf([1e4, 1.0], TIMES)


def _elimination(ask: Callable[[pm.Model], object], size: int = 1_500) -> Callable[[], object]:
    # Dense after a few rows: the elimination of one parameter vector takes long.
    model = random_graph(size, 40).model()
    model.dag  # noqa: B018 the symbolic part is another case
    return lambda: ask(model)


def _many(ask: Callable[[pm.Model], object]) -> Callable[[], object]:
    model = grid(120).model()
    model.dag  # noqa: B018
    return lambda: ask(model)


def _covariance() -> Callable[[], object]:
    graph = grid(60)
    model = graph.model()
    rewards = np.random.default_rng(1).random((1_200, graph.vertices_length()))
    model.dag  # noqa: B018
    return lambda: model.covariance_matrix([], rewards)


def _sample(n_threads: int) -> Callable[[], object]:
    model = line(300).model()
    return lambda: model.sample([1.0, 1.0], 10_000_000, seed=1, n_threads=n_threads)


def _one_draw() -> Callable[[], object]:
    model = line(300).model()
    return lambda: model.sample([1.0, 1e-3], 1, seed=1, max_jumps=10**15)


def _epochs() -> Callable[[], object]:
    model = line(5_000).model().epochs([0.0, 1e6, 2e6])
    return lambda: model.expectation(_theta(3))


def _epochs_discrete() -> Callable[[], object]:
    model = discrete_line(5_000).model().epochs([0.0, 1e7])
    return lambda: model.expectation(np.zeros((2, 0)))


def _squaring(n: int) -> Callable[[], object]:
    model = line(n).model()
    return lambda: model.cdf([1.0, 1.0], [1e12])


def _rewards() -> Callable[[], object]:
    graph = random_graph(3_000, 40)
    model = graph.model()
    rewards = (np.arange(graph.vertices_length()) % 200 == 0).astype(float)
    model.dag  # noqa: B018
    return lambda: model.cdf([], [1.0], rewards)


def _rewards_numbers() -> Callable[[], object]:
    graph = random_graph(1_500, 40)
    model = graph.model()
    rewards = (np.arange(graph.vertices_length()) % 200 == 0).astype(float)
    model.cdf([], [1.0], rewards)

    def work() -> None:
        while True:
            model.cdf([], [1.0], rewards)

    return work


def _explore() -> Callable[[], object]:
    def step(state: np.ndarray) -> list[object]:
        return [([0], 1.0, [])] if len(state) == 0 else [([state[0] + 1], 1.0, [])]

    return lambda: Graph(step, max_states=10**9)


#: Name of a case: what prepares it, which returns the call that takes long.
CASES: dict[str, Callable[[], Callable[[], object]]] = {
    "eliminate 18,292 states": _eliminate,
    "eliminate 8,000 states": _least_fill,
    "pdf": lambda: _pdf(1),
    "pdf, 2 threads": lambda: _pdf(2),
    "pdf_and_grad": _pdf_and_grad,
    "cdf at 1,000,000 times": _mixing,
    "expectation": lambda: _elimination(lambda m: [m.expectation([]) for _ in range(1000)]),
    "expectation, one large": lambda: _elimination(lambda m: m.expectation([]), 3_000),
    "moments": lambda: _many(lambda m: m.moments(np.zeros((2_000, 0)), 64)),
    "moments, 2 threads": lambda: _many(lambda m: m.moments(np.zeros((2_000, 0)), 64, n_threads=2)),
    "moments_and_grad": lambda: _many(lambda m: m.moments_and_grad(np.zeros((2_000, 0)), 16)),
    "joint_moment": lambda: _many(lambda m: m.joint_moment([], np.ones((8, m.graph.vertices_length())))),
    "sojourn": lambda: _many(lambda m: m.sojourn(np.zeros((10_000, 0)))),
    "covariance_matrix, 1,200 rewards": _covariance,
    "sample": lambda: _sample(1),
    "sample, 2 threads": lambda: _sample(2),
    "sample, one draw": _one_draw,
    "epochs": _epochs,
    "epochs, discrete": _epochs_discrete,
    "squaring": lambda: _squaring(4_000),
    "squaring, 2,000 states": lambda: _squaring(2_000),
    "rewards, symbolic": _rewards,
    "rewards, numbers": _rewards_numbers,
    "Graph(callback)": _explore,
}


def child(case: str, seconds: float | None) -> None:
    """Run one case until it is stopped, and say when."""
    call = CASES[case]()
    print(STARTED, time.monotonic(), flush=True)
    try:
        if seconds is None:
            call()
        else:
            with pm.deadline(seconds):
                call()
    except KeyboardInterrupt:
        print(STOPPED, time.monotonic(), flush=True)
    except pm.DeadlineExceededError:
        print(STOPPED, time.monotonic(), flush=True)


def _words(text: str) -> tuple[str, str]:
    words = text.split()
    return (words[0], words[1]) if len(words) == 2 else ("", "")


def measure(case: str, *, after: float = 0.3, by_deadline: bool = False, patience: float = 60.0) -> float:
    """Return the seconds from the signal, or from the deadline, to the end of the call.

    Raises
    ------
    RuntimeError
        If the call ends before, or not in time, or with anything but the right exception.
    """
    command = [sys.executable, __file__, "--child", case, *(["--after", str(after)] if by_deadline else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        word, started = _words(process.stdout.readline())
        if word != STARTED:
            raise RuntimeError(f"{case}: did not start")
        asked = float(started) + after
        if not by_deadline:
            time.sleep(max(0.0, asked - time.monotonic()))
            asked = time.monotonic()
            os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=after + patience)
        word, stopped = _words(output)
        if word != STOPPED or process.returncode != 0:
            raise RuntimeError(f"{case}: ended with exit code {process.returncode} and said {output!r}")
        if float(stopped) < asked:
            raise RuntimeError(f"{case}: was done before it could be stopped")
        return float(stopped) - asked
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def main() -> int:
    """Measure the cases that the command line names, by default all; print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--after", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--deadline", action="store_true", help="stop by a deadline instead of SIGINT")
    parser.add_argument("cases", nargs="*", help=f"default all: {', '.join(CASES)}")
    options = parser.parse_args()
    if options.child:
        child(options.child, options.after)
        return 0
    failed = 0
    print(f"| call | ms from {'the deadline' if options.deadline else 'SIGINT'} to the prompt |\n|---|--:|")
    for case in options.cases or CASES:
        try:
            print(f"| {case} | {measure(case, by_deadline=options.deadline) * 1e3:.0f} |", flush=True)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            print(f"| {case} | {error} |", flush=True)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
