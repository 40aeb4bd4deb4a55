"""Work in several threads: one pool for the process, made when it is first needed.

The calling thread works on the first part itself, and on every part that no thread of the pool has begun by then, so a pool
that is busy (or missing, in a forked process) costs time at most.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from numbers import Integral

from ..errors import ParameterError
from .stopping import Call

#: Nanoseconds of work that a thread must have to be worth waking: handing over a part takes some ten microseconds.
WORTH_A_THREAD = 200_000.0


class _Pool:
    """The threads of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.executor: ThreadPoolExecutor | None = None
        self.calls = 0

    def begin(self) -> ThreadPoolExecutor:
        with self.lock:
            if self.executor is None:
                self.executor = ThreadPoolExecutor(processors(), thread_name_prefix="phasic_models")
            self.calls += 1
            return self.executor

    def end(self) -> None:
        with self.lock:
            self.calls -= 1

    def close_if_idle(self) -> None:
        """End the threads if nobody uses them: a fork of a process with threads is better avoided."""
        with self.lock:
            executor = self.executor if self.calls == 0 else None
            if executor is not None:
                self.executor = None
        if executor is not None:
            executor.shutdown(wait=True)


_pool = _Pool()


def _forget() -> None:
    # The child has none of the threads, and a lock may have been held while it was made.
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=lambda: _pool.close_if_idle(), after_in_child=_forget)


def processors() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_count(n_threads: int | None) -> int:
    """Return the number of threads to use: what was asked for, else 1; -1 stands for all processors.

    Raises
    ------
    ParameterError
        If it is neither positive nor -1.
    """
    if n_threads is None:
        return 1
    whole = isinstance(n_threads, Integral) and not isinstance(n_threads, bool)
    if whole and n_threads == -1:
        return processors()
    if not whole or n_threads < 1:
        raise ParameterError(f"n_threads must be a positive integer, or -1 for all processors, not {n_threads!r}")
    return int(n_threads)


def useful(n_threads: int, nanoseconds: float) -> int:
    """Return how many of the threads are worth waking for so much work."""
    return n_threads if n_threads == 1 else max(1, min(n_threads, int(min(nanoseconds / WORTH_A_THREAD, 2.0**31))))


def run_parts(parts: Sequence[Callable[[], None]]) -> None:
    """Run every part, the first in this thread, the others in threads of the pool.

    An error of a part stops those after it, and an interrupt of this thread all; the error of the first part that failed is
    raised when no part is at work any more.
    """
    call = Call()
    pool = _pool
    executor = pool.begin()
    futures: list[Future[None]] = []
    try:
        for i in range(1, len(parts)):
            futures.append(executor.submit(call.run, i, parts[i]))
        call.run(0, parts[0])
        for i, future in enumerate(futures, 1):
            if future.cancel():
                call.run(i, parts[i])
    except BaseException as error:  # a signal between two parts
        _stop(call, futures, error)
    finally:
        _wait(call, futures)
        pool.end()
    call.raise_first()


def _wait(call: Call, futures: Sequence[Future[None]]) -> None:
    """Wait until no part is at work; a signal stops them all."""
    while True:
        try:
            wait([future for future in futures if not future.cancelled()])
        except BaseException as error:
            _stop(call, futures, error)
        else:
            return


def _stop(call: Call, futures: Sequence[Future[None]], error: BaseException) -> None:
    call.fail(-1, error)
    for future in futures:
        future.cancel()
