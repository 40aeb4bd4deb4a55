"""Where models are built: in processes of this machine, or on the workers of a dask cluster."""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from .. import __version__
from ..errors import LibraryError
from .isolation import Failure, Workers
from .one_model import Built, Problem, Task, build_model, explore_model
from .worker import Limits

Result = Built | Problem
#: Builds tasks, in any order; gives each with what became of it.
Results = Generator[tuple[Task, Result], None, None]
Runner = Callable[[Sequence[Task]], Results]

# How long a cluster may take to answer and to have a worker, in seconds.
_CLUSTER_WAIT = 60


def build_checked(task: Task, workers: Workers) -> Result:
    """Build a model in one process and explore its graph once more in another, with another order of sets.

    Parameters
    ----------
    task : Task
        The model.
    workers : Workers
        Where.

    Returns
    -------
    Built or Problem
        A problem also if either process ended early, or both give different graphs.
    """
    first = workers.call(build_model, task)
    if first.failure is not None:
        return _failed(task, first.failure, "")
    built: Result = first.value
    if isinstance(built, Problem):
        return built
    second = workers.call(explore_model, task, apart_from=first.seed)
    if second.failure is not None:
        return _failed(task, second.failure, "when explored a second time, ")
    again = second.value
    name, record = task.spec.name, built.record
    if isinstance(again, Problem):
        return Problem(f"{name}: explored a second time: {again.message}", again.key, again.line, again.trace)
    if again.graph_hash != record.graph_hash:
        counts = (record.vertices, record.edges), (again.vertices, again.edges)
        sizes = " and ".join(f"{vertices} vertices and {edges} edges" for vertices, edges in counts)
        return Problem(
            f"{name}: {task.spec.function} gives another graph each time ({sizes}"
            f"{', with other weights or states' if counts[0] == counts[1] else ''}); it must depend on nothing but its "
            "arguments: no random numbers, no clock, no order of a set",
            line=_definition(task),
        )
    return built


def run_locally(tasks: Sequence[Task], workers: Workers, jobs: int) -> Results:
    """Build models on this machine, `jobs` at a time."""
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(build_checked, task, workers): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            # An interrupt: what still runs is ended, not waited for.
            pool.shutdown(wait=False, cancel_futures=True)
            workers.stop()
            raise


def run_on_dask(tasks: Sequence[Task], address: str, limits: Limits) -> Results:
    """Build models on a dask.distributed cluster, whose workers need phasic-models in this version, and no common disk.

    Parameters
    ----------
    tasks : sequence of Task
        The models.
    address : str
        The scheduler, such as ``tcp://host:8786``.
    limits : Limits
        The limits of each model on its worker.

    Raises
    ------
    LibraryError
        dask.distributed is missing, the cluster cannot be reached or has no worker, or a worker has another version.
    """
    try:
        import distributed
    except ImportError:
        raise LibraryError("--dask needs dask.distributed: pip install 'phasic-models[dask]'") from None
    try:
        client = distributed.Client(address, timeout=_CLUSTER_WAIT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise LibraryError(f"{address}: no dask scheduler can be reached there: {error}") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=_CLUSTER_WAIT)
        except distributed.TimeoutError:
            raise LibraryError(f"{address}: the dask scheduler has no worker") from None
        # A task whose worker is lost is given to another one; the scheduler stops trying after some of them.
        futures = client.map(_on_a_cluster, tasks, limits=limits, version=__version__, pure=False)
        names = {future.key: task for future, task in zip(futures, tasks, strict=True)}
        for future in distributed.as_completed(futures, loop=client.loop):
            task = names[future.key]
            try:
                result = future.result()
            except distributed.KilledWorker as error:
                result = Problem(f"{task.spec.name}: every dask worker that built it was lost: {error}")
            except LibraryError:
                raise
            except Exception as error:
                raise LibraryError(f"{task.name}: {address}: {type(error).__name__}: {error}") from error
            yield task, result
            future.release()


def _on_a_cluster(task: Task, *, limits: Limits, version: str) -> Result:
    if version != __version__:
        raise LibraryError(f"a dask worker has phasic-models {__version__}, the build {version}; both need the same")
    return build_checked(task, _cluster_workers(limits))


@functools.lru_cache(maxsize=1)
def _cluster_workers(limits: Limits) -> Workers:
    """Processes of this dask worker; they end with it, when their input ends."""
    return Workers(limits)


def _failed(task: Task, failure: Failure, when: str) -> Problem:
    line = failure.line_in(task.path)
    found: Any = _definition(task) if line is None else line
    text = f"{task.spec.name}: {task.spec.function}: {when}{failure.message}"
    return Problem(text, line=found, trace=failure.trace)


def _definition(task: Task) -> int | None:
    """Line at which the model's function is defined; None where models.py makes it in another way."""
    for node in ast.parse(task.code).body:
        if isinstance(node, ast.FunctionDef) and node.name == task.spec.function:
            return node.lineno
    return None
