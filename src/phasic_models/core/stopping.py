"""Calls that can be stopped: by a signal, by a deadline, and by a part that failed in another thread.

The C core asks `pm_python_poll` about fifty times a second whether to go on. In the main thread, asking runs the handlers of
pending signals, as any Python code does; what they raise is kept here and raised again when the core has returned.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from ..errors import DeadlineExceededError, ParameterError
from .native import ffi, lib

#: When the innermost and all outer deadlines of this context are over, on the monotonic clock.
_deadline: ContextVar[float | None] = ContextVar("phasic_models_deadline", default=None)
# How often a thread that waits for a lock looks at its deadline, in seconds.
_LOOK_EVERY = 0.05
#: Above every number of a part: no part has failed.
_NONE_FAILED = 2**62


@contextlib.contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Stop every call of this package inside a ``with`` block that is not done after `seconds`.

    Parameters
    ----------
    seconds
        From now on, 0 or more. In nested blocks the earliest deadline counts.

    Raises
    ------
    DeadlineExceededError
        In the block, by the call that is stopped (usually within 0.05 s), and by calls that begin later. It is also a
        `TimeoutError`. A block in which nothing is asked of this package raises nothing.
    ParameterError
        If `seconds` is negative or not a number.

    Notes
    -----
    The deadline belongs to the context (`contextvars`): it holds for the threads that a call starts itself (``n_threads``), not
    for other threads, which set their own. A stopped call leaves models and graphs as they were.

    Examples
    --------
    >>> import phasic_models as pm
    >>> with pm.deadline(10.0):
    ...     graph = pm.Graph.from_arrays([[1], [0]], [0], [1], [2.0], initial=0)
    ...     graph.model().expectation([])
    0.5
    """
    try:
        allowed = float(seconds)
    except (TypeError, ValueError):
        allowed = math.nan
    if not allowed >= 0.0:
        raise ParameterError(f"a deadline must be a number of seconds, 0 or more, not {seconds!r}")
    outer = _deadline.get()
    at = time.monotonic() + allowed
    token = _deadline.set(at if outer is None else min(at, outer))
    try:
        yield
    finally:
        _deadline.reset(token)


def _exceeded() -> DeadlineExceededError:
    return DeadlineExceededError("the deadline has passed before the call was done")


def check() -> None:
    """Raise DeadlineExceededError after the deadline; for loops in Python, where signals need no help."""
    at = _deadline.get()
    if at is not None and time.monotonic() >= at:
        raise _exceeded()


@contextlib.contextmanager
def holding(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock; a deadline also ends the wait for it."""
    while not lock.acquire(timeout=_LOOK_EVERY):
        check()
    try:
        yield
    finally:
        lock.release()


class Call:
    """One call, shared by the threads that work on its parts, numbered from 0.

    Parameters
    ----------
    report
        Called now and then, in the thread of part 0, while the core works; may raise to stop the call.
    """

    def __init__(self, report: Callable[[], None] | None = None) -> None:
        self._at = _deadline.get()
        self._report = report
        # Guards `_errors` and `_failed`; always the last lock to be taken.
        self._lock = threading.Lock()
        self._errors: dict[int, BaseException] = {}
        self._failed = _NONE_FAILED

    def look(self, part: int) -> bool:
        """Return whether this part shall stop: an earlier one has failed, or the time is over."""
        # Later parts do not stop earlier ones: which error is raised must not depend on which thread was quicker.
        if self._failed < part:
            return True
        if self._at is not None and time.monotonic() >= self._at:
            self.fail(part, _exceeded())
            return True
        if part == 0 and self._report is not None:
            self._report()
        return False

    def fail(self, part: int, error: BaseException) -> None:
        """Keep the error of a part; -1 stops all parts."""
        with self._lock:
            self._errors.setdefault(part, error)
            self._failed = min(self._failed, part)

    def run(self, part: int, work: Callable[[], None]) -> None:
        """Do the work of one part in this thread; keep what it raises."""
        previous = getattr(_thread, "part", None)
        _thread.part = (self, part)
        try:
            if not self.look(part):
                work()
        except _StoppedError:
            pass  # by a part whose error is kept already
        except Exception as error:
            self.fail(part, error)
        except BaseException as error:
            self.fail(-1, error)
        finally:
            _thread.part = previous

    def raise_first(self) -> None:
        """Raise the error of the lowest part that failed, if any."""
        if self._errors:
            try:
                raise self._errors[min(self._errors)]
            finally:
                self._errors.clear()  # a traceback and the objects that it refers to would keep each other in memory


class _StoppedError(BaseException):
    """Ends a part after a request to stop; never leaves `Call.run`."""


class _Thread(threading.local):
    part: tuple[Call, int] | None = None
    error: BaseException | None = None


_thread = _Thread()


def _keep(kind: Any, error: BaseException, traceback: Any) -> None:
    """Keep what a handler of a signal, or a progress report, has raised; the poll then answers that the core shall stop."""
    if _thread.part is None:
        _thread.error = error
    else:
        call, part = _thread.part
        call.fail(part if isinstance(error, Exception) else -1, error)


@ffi.def_extern(name="pm_python_poll", error=1, onerror=_keep)  # type: ignore[untyped-decorator, unused-ignore]
def _poll(context: Any) -> int:
    return _look()


def _look() -> int:
    # Pending signals are handled on the way here: at the call of this function, by the interpreter.
    if _thread.part is None:
        return 0
    call, part = _thread.part
    return int(call.look(part))


def new_control() -> Any:
    """Return a pm_control for calls from any one thread at a time."""
    control = ffi.new("pm_control *")
    control.poll = lib.pm_python_poll
    return control


def raise_if_stopped(control: Any) -> None:
    """After a call of the core: raise why it was stopped, if it was. Whatever it returned is no result then."""
    if not control.stopped:
        return
    control.stopped = 0
    error, _thread.error = _thread.error, None
    if _thread.part is not None:
        raise _StoppedError
    # A second signal during the first one's handler leaves no exception here.
    raise error if error is not None else KeyboardInterrupt


def run(work: Callable[[], None], report: Callable[[], None] | None = None) -> None:
    """Do work that calls the core, in this thread, so that it can be stopped."""
    if report is None and _deadline.get() is None:
        # Signals need no more than the poll itself.
        previous, _thread.part = _thread.part, None
        try:
            work()
        finally:
            _thread.part = previous
        return
    call = Call(report)
    call.run(0, work)
    call.raise_first()
