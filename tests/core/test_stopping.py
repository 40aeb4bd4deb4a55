"""Calls that are stopped by signals, by deadlines and by each other; budgets; models that are not eliminated."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import phasic_models as pm
from phasic_models import Graph, Model
from phasic_models.core import stopping, threads
from phasic_models.errors import NumericalError, ParameterError, PhasicModelsError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
#: Seconds from the signal to the end of the call, on a machine that does much else; benchmarks/stopping.py has the real times.
BOUND = 2.0


@pytest.fixture(scope="module")
def cases() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import stopping as module

        yield module
    sys.modules.pop("stopping", None)


def coalescent(state: np.ndarray, n: int = 6) -> list[object]:
    if len(state) == 0:
        return [([n], 1.0, [1.0])]
    k = state[0]
    return [([k - 1], 0.0, [k * (k - 1) / 2])] if k > 1 else []


SIGNALLED = [
    "eliminate 18,292 states",
    "eliminate 8,000 states",
    "pdf",
    "pdf, 2 threads",
    "pdf_and_grad",
    "cdf at 1,000,000 times",
    "expectation",
    "moments, 2 threads",
    "moments_and_grad",
    "sojourn",
    "covariance_matrix, 1,200 rewards",
    "sample, 2 threads",
    "sample, one draw",
    "epochs",
    "epochs, discrete",
    "squaring, 2,000 states",
    "rewards, numbers",
    "Graph(callback)",
]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT to another process")
@pytest.mark.parametrize("case", SIGNALLED)
def test_an_interrupt_ends_every_kind_of_call(cases: ModuleType, case: str) -> None:
    assert cases.measure(case) < BOUND


@pytest.mark.parametrize(
    "case", ["eliminate 18,292 states", "pdf, 2 threads", "squaring, 2,000 states", "Graph(callback)"]
)
def test_a_deadline_ends_a_call(cases: ModuleType, case: str) -> None:
    assert cases.measure(case, by_deadline=True) < BOUND


# -- signals and their handlers ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def alarm(handler: object, seconds: float = 0.2) -> Iterator[None]:
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def slow(cases: ModuleType) -> Model:
    return cases.line(8_001).model()


needs_alarm = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs an alarm")


@needs_alarm
@pytest.mark.parametrize("n_threads", [1, 2])
def test_any_exception_of_a_handler_comes_through(slow: Model, n_threads: int) -> None:
    class Odd(Exception):
        pass

    def handler(*_: object) -> None:
        raise Odd("from the handler")

    start = time.monotonic()
    with alarm(handler), pytest.raises(Odd, match="from the handler"):
        slow.pdf(np.ones((n_threads, 2)), [1e6], n_threads=n_threads)
    assert time.monotonic() - start < 0.2 + BOUND
    # What was stopped has left the model as it was.
    again = slow.pdf([1.0, 1.0], [3.0])
    assert np.array_equal(again, pickle.loads(pickle.dumps(slow)).pdf([1.0, 1.0], [3.0]))


@needs_alarm
def test_a_handler_that_returns_stops_nothing_and_may_use_models(slow: Model) -> None:
    small = Graph(coalescent).model()
    seen = []
    with alarm(lambda *_: seen.append(small.expectation([1.0]))):
        value = slow.pdf([1.0, 1.0], [20_000.0])
    assert seen == [pytest.approx(2 * (1 - 1 / 6), rel=1e-14)]
    assert np.array_equal(value, slow.pdf([1.0, 1.0], [20_000.0]))


@needs_alarm
def test_a_stop_in_the_main_thread_leaves_other_threads_alone(slow: Model) -> None:
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(slow.pdf([1.0, 1.0], [20_000.0])))
    thread.start()

    def handler(*_: object) -> None:
        raise KeyboardInterrupt

    with alarm(handler), pytest.raises(KeyboardInterrupt):
        slow.pdf([1.0, 1.0], [1e6])
    thread.join()
    assert np.array_equal(results[0], slow.pdf([1.0, 1.0], [20_000.0]))


# -- deadlines --------------------------------------------------------------------------------------------------------


def test_a_deadline_stops_in_time_and_only_inside(slow: Model) -> None:
    start = time.monotonic()
    with pytest.raises(pm.DeadlineExceededError) as caught, pm.deadline(0.2):
        slow.pdf([1.0, 1.0], [1e6])
    assert 0.2 <= time.monotonic() - start < BOUND
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, PhasicModelsError)
    assert slow.cdf([1.0, 1.0], [1.0]).shape == (1,)


def test_the_earliest_deadline_counts(slow: Model) -> None:
    start = time.monotonic()
    with pm.deadline(0.2), pm.deadline(1000.0), pytest.raises(pm.DeadlineExceededError):
        slow.pdf([1.0, 1.0], [1e6])
    with pm.deadline(1000.0):
        with pm.deadline(0.2), pytest.raises(pm.DeadlineExceededError):
            slow.pdf_and_grad([1.0, 1.0], [1e6])
        assert slow.cdf([1.0, 1.0], [1.0]).shape == (1,)
    assert time.monotonic() - start < 2 * BOUND


def test_after_the_deadline_no_call_begins() -> None:
    model = Graph(coalescent).model()
    with pm.deadline(0.0):
        for call in (
            lambda: model.pdf([1.0], [1.0]),
            lambda: model.expectation([1.0]),
            lambda: model.sample([1.0], 3),
            lambda: Graph(coalescent),
            lambda: model.graph.eliminate(),
        ):
            with pytest.raises(pm.DeadlineExceededError):
                call()
    assert model.expectation([1.0]) == pytest.approx(5 / 3, rel=1e-14)


def test_deadlines_belong_to_a_thread(slow: Model) -> None:
    done: list[object] = []
    with pm.deadline(0.0):
        thread = threading.Thread(target=lambda: done.append(slow.cdf([1.0, 1.0], [1.0])))
        thread.start()
        thread.join()
    assert len(done) == 1


def test_a_deadline_also_ends_the_wait_for_another_threads_elimination(cases: ModuleType) -> None:
    lock = threading.Lock()
    with lock, pm.deadline(0.1), pytest.raises(pm.DeadlineExceededError), stopping.holding(lock):
        pass


@pytest.mark.parametrize("bad", [-1.0, math.nan, "soon", None])
def test_a_bad_deadline(bad: object) -> None:
    with pytest.raises(ParameterError, match="deadline"), pm.deadline(bad):  # type: ignore[arg-type]
        pass


def test_an_infinite_deadline_never_comes() -> None:
    with pm.deadline(math.inf):
        assert Graph(coalescent).model().expectation([1.0]) == pytest.approx(5 / 3, rel=1e-14)


# -- threads ----------------------------------------------------------------------------------------------------------


def test_the_first_part_that_fails_decides_and_ends_those_after_it() -> None:
    looked = threading.Event()

    def good() -> None:
        looked.wait(10.0)

    def bad() -> None:
        looked.set()
        raise ValueError("the second part")

    def later() -> None:
        looked.wait(10.0)
        raise ValueError("the third part")

    for _ in range(20):
        looked.clear()
        with pytest.raises(ValueError, match="second"):
            threads.run_parts([good, bad, later, later])


def test_the_error_of_a_batch_does_not_depend_on_threads(slow: Model) -> None:
    theta = np.ones((400, 2))
    theta[150, 0] = theta[390, 0] = -1.0
    for n_threads in (1, 2, 4):
        with pytest.raises(ParameterError, match=r"theta\[150, 0\]"):
            slow.pdf(theta, [5.0], n_threads=n_threads)


def test_no_thread_is_woken_for_little_work(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Graph(coalescent).model()
    theta = np.ones((64, 1))
    monkeypatch.setattr(threads._pool, "begin", lambda: pytest.fail("asked for threads"))
    model.expectation(theta, n_threads=2)
    model.pdf(theta, [1.0], n_threads=2)
    model.pdf_and_grad(theta, [1.0], n_threads=2)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("n_threads", [2])
def test_threads_after_a_fork(slow: Model, n_threads: int) -> None:
    theta = np.ones((8, 2))
    expected = slow.pdf(theta, [500.0], n_threads=n_threads)
    child = os.fork()
    if child == 0:
        same = np.array_equal(expected, slow.pdf(theta, [500.0], n_threads=n_threads))
        os._exit(0 if same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert np.array_equal(expected, slow.pdf(theta, [500.0], n_threads=n_threads))


def test_many_threads_share_the_pool(slow: Model) -> None:
    theta = np.ones((6, 2))
    expected = slow.pdf(theta, [300.0])
    results: list[np.ndarray] = []
    callers = [threading.Thread(target=lambda: results.append(slow.pdf(theta, [300.0], n_threads=4))) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 5
    assert all(np.array_equal(result, expected) for result in results)


def test_the_process_ends_while_threads_exist() -> None:
    program = (
        "import numpy as np, phasic_models as pm\n"
        "g = pm.Graph.from_arrays([[1], [0]], [0], [1], [0.0], coefficients=[[1.0]], initial=0)\n"
        "print(g.model().pdf(np.ones((4000, 1)), [5000.0], n_threads=2).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "(4000, 1)\n", "")


# -- budgets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("states", [400, 9_000])
def test_an_elimination_above_the_budget_is_refused_with_its_cost(cases: ModuleType, states: int) -> None:
    graph = cases.random_graph(states, 6)
    start = time.monotonic()
    with pytest.raises(
        NumericalError, match=rf"up to .* operations, for a component of {states} states.*max_operations"
    ):
        graph.eliminate(max_operations=1e5)
    with pytest.raises(NumericalError, match=r"up to .* GiB of memory.*max_memory"):
        graph.eliminate(max_memory=1e5, max_operations=None)
    assert time.monotonic() - start < 60.0
    # The graph's distribution asks for none of it.
    model = graph.model()
    assert 0.0 < model.cdf([], [50.0])[0] < 1.0
    assert not model._plan.is_eliminated


def test_a_budget_that_is_enough_changes_nothing(cases: ModuleType) -> None:
    graph = cases.random_graph(300, 5)
    free = graph.eliminate(max_operations=None, max_memory=math.inf)
    bound = graph.eliminate(max_operations=free.operations, max_memory=24 * free.fill)
    assert np.array_equal(free.order, bound.order)
    assert np.array_equal(free.upper_col, bound.upper_col)
    with pytest.raises(NumericalError):
        graph.eliminate(max_operations=free.operations - 1)


@pytest.mark.parametrize("name", ["max_operations", "max_memory"])
def test_a_bad_budget(name: str) -> None:
    for bad in (-1, math.nan, "much"):
        with pytest.raises(ParameterError, match=name):
            Graph(coalescent).eliminate(**{name: bad})


def test_progress_of_an_elimination(cases: ModuleType) -> None:
    told: list[tuple[str, int, int | None]] = []
    graph = cases.random_graph(1_200, 30)
    dag = graph.eliminate(progress=lambda label, done, total: told.append((label, done, total)))
    assert dag.operations > 10**6
    assert told
    assert all(0 <= done <= (total or 0) for _, done, total in told)
    assert all(label for label, _, _ in told)


def test_a_progress_that_raises_ends_the_elimination(cases: ModuleType) -> None:
    def refuse(label: str, done: int, total: int | None) -> None:
        raise OSError("no more progress")

    with pytest.raises(OSError, match="no more progress"):
        cases.random_graph(1_200, 30).eliminate(progress=refuse)


# -- models that are not eliminated -----------------------------------------------------------------------------------


def some_graphs(cases: ModuleType) -> list[Graph]:
    return [
        Graph(coalescent),
        cases.grid(9),
        cases.line(30),
        cases.discrete_line(20),
        cases.random_graph(60, 4),
        Graph.from_arrays(
            [[3], [2], [1], [0]], [0, 0, 1, 2], [1, 3, 2, 3], [1.0, 0.1, 3.0, 0.2], initial=[0.3, 0.2, 0.1, 0.4]
        ),
    ]


def answers(model: Model, theta: np.ndarray, times: np.ndarray) -> list[np.ndarray]:
    """Everything that needs no elimination."""
    return [
        model.pdf(theta, times),
        model.cdf(theta, times),
        model.sf(theta, times),
        model.sample(theta, 50, seed=3),
        *model.pdf_and_grad(theta, times),
        model.epochs([0.0, 2.0]).pdf(np.stack([theta, theta]), times),
    ]


def test_the_same_bits_with_and_without_an_elimination(cases: ModuleType) -> None:
    for graph in some_graphs(cases):
        theta = np.full(graph.param_length(), 0.7)
        times = np.array([0.0, 1.0, 3.0, 40.0])
        alone, eliminated = graph.model(), graph.eliminate().model()
        expected = answers(eliminated, theta, times)
        first = answers(alone, theta, times)
        assert not alone._plan.is_eliminated
        mean = alone.expectation(theta)
        assert alone._plan.is_eliminated
        assert mean == eliminated.expectation(theta)
        for values in (first, answers(alone, theta, times)):
            assert all(np.array_equal(x, y) for x, y in zip(values, expected, strict=True))


def test_a_model_is_eliminated_once(monkeypatch: pytest.MonkeyPatch, cases: ModuleType) -> None:
    from phasic_models.elimination import plan as engine

    calls: list[int] = []
    real = engine.symbolic

    def counting(*args: object, **options: object) -> object:
        calls.append(1)
        time.sleep(0.05)
        return real(*args, **options)

    monkeypatch.setattr(engine, "symbolic", counting)
    model = cases.grid(12).model()
    callers = [threading.Thread(target=lambda: model.expectation([])) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert model.dag.operations > 0
    assert len(calls) == 1


def test_pickles_of_models(cases: ModuleType) -> None:
    model = cases.grid(8).model()
    copy = pickle.loads(pickle.dumps(model))
    assert not copy._plan.is_eliminated
    value = model.expectation([])
    again = pickle.loads(pickle.dumps(model))
    assert again._plan.is_eliminated
    assert copy.expectation([]) == again.expectation([]) == value


def test_samples_find_traps_and_bad_probabilities_themselves() -> None:
    trap = Graph.from_arrays(
        [[3], [2], [1], [0]],
        [0, 0, 1, 2, 1],
        [3, 1, 2, 1, 3],
        [1.0, 1.0, 1.0, 1.0, 0.0],
        coefficients=[[0.0], [0.0], [0.0], [0.0], [1.0]],
        initial=0,
    ).model()
    assert np.isfinite(trap.sample([1.0], 5, seed=1)).all()
    assert not trap._plan.is_eliminated
    # Half of the paths come to 1 and 2 and are caught there, which an elimination finds.
    assert np.isinf(trap.sample([0.0], 2000, max_jumps=10)).mean() == pytest.approx(0.5, abs=0.06)
    assert trap._plan.is_eliminated
    coins = Graph.from_arrays(
        [[2], [1], [0]],
        [0, 0, 1],
        [1, 2, 2],
        [0.0, 0.5, 0.5],
        coefficients=[[1.0], [0.0], [0.0]],
        initial=0,
        discrete=True,
    ).model()
    with pytest.raises(ParameterError, match="sum to"):
        coins.sample([0.6], 5)
    assert not coins._plan.is_eliminated
