"""Calls in processes of their own: what they run may end, crash or block, and the caller still gets an answer."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Any

from .worker import Call, Limits, Raised, frame, receive, unframed

# A fork copies only the thread that forks. macOS loads libraries that do not survive that, and Windows has none.
_FORKS = sys.platform == "linux"
# A call that does not end by itself at its limit, in seconds.
_GRACE = 30.0
_START = "import sys; sys.path[:] = {path!r}; from phasic_models.library.worker import serve; serve({forks})"


@dataclass(frozen=True)
class Failure:
    """A call that gave no value.

    Attributes
    ----------
    message : str
        The event, in words that follow a name: "the process ended with exit code 0".
    trace : str
        Traceback, where there is one.
    """

    message: str
    trace: str = ""

    def line_in(self, path: str) -> int | None:
        """Line of a file at which the call was, innermost; None where the traceback does not lead through the file."""
        lines = [int(line) for line in re.findall(rf'File "{re.escape(path)}", line (\d+)', self.trace)]
        # The interpreter writes the innermost first in a crash, and last for an exception.
        innermost = 0 if "(most recent call first)" in self.trace else -1
        return lines[innermost] if lines else None


@dataclass(frozen=True)
class Answer:
    """The result of a call: a value or a failure, and the hash seed of the process in which it ran."""

    value: Any
    failure: Failure | None
    seed: int


class Workers:
    """Processes that run functions of this package, each call in a process of its own; a context manager.

    Parameters
    ----------
    limits : Limits
        The limits of each call.
    forks : bool
        Whether a process is forked for each call, or a new interpreter started.

    Notes
    -----
    Each worker has a ``PYTHONHASHSEED`` of its own, so that the order of sets differs from one to the next. Calls may be made
    from several threads; each worker runs one at a time.
    """

    def __init__(self, limits: Limits, *, forks: bool = _FORKS) -> None:
        self.limits = limits
        self._forks = forks
        # Guards `_idle` and `_all`. It is not held while a worker runs or ends, which may take long.
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._closed = False

    def __enter__(self) -> Workers:
        """Return the workers, none of which runs yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all of them."""
        self.close()

    def close(self) -> None:
        """End all workers, and the calls that still run; no call can follow."""
        self._closed = True
        self.stop()

    def stop(self) -> None:
        """End all workers, and the calls that still run; the next call starts another."""
        with self._lock:
            workers = list(self._all)
            self._all.clear()
            self._idle.clear()
        for worker in workers:
            worker.end()

    def call(self, function: Callable[..., Any], *arguments: Any, apart_from: int | None = None) -> Answer:
        """Run a function of a module of this package in a process of its own.

        Parameters
        ----------
        function, arguments
            The call.
        apart_from : int, optional
            A hash seed that the process shall not have.
        """
        worker = self._take(apart_from)
        try:
            value, failure = worker.call(Call(function, arguments, self.limits))
        except BaseException:
            self._drop(worker)
            raise
        with self._lock:
            if usable := worker.usable and worker in self._all:
                self._idle.append(worker)
        if not usable:
            self._drop(worker)
            if not self._forks and not self._closed:
                # Started now, it is there when the next call needs it.
                with self._lock:
                    self._idle.append(self._start())
        return Answer(value, failure, worker.seed)

    def _take(self, apart_from: int | None) -> _Worker:
        with self._lock:
            for index, worker in enumerate(self._idle):
                if worker.seed != apart_from:
                    return self._idle.pop(index)
            return self._start()

    def _start(self) -> _Worker:
        if self._closed:
            raise RuntimeError("these workers have been ended")
        taken = {worker.seed for worker in self._all}
        while (seed := secrets.randbelow(2**32)) in taken:
            pass
        worker = _Worker(seed, self._forks)
        self._all.add(worker)
        return worker

    def _drop(self, worker: _Worker) -> None:
        with self._lock:
            self._all.discard(worker)
        worker.end()


class _Worker:
    """One process that serves calls, in a group of its own, so that Ctrl-C reaches the caller alone."""

    def __init__(self, seed: int, forks: bool) -> None:
        self.seed = seed
        self.usable = True
        self._forks = forks
        # Threads of a linear algebra library would not survive a fork, and nothing here needs them.
        single = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        code = _START.format(path=sys.path, forks=forks)
        group: dict[str, Any] = {"start_new_session": True}
        if sys.platform == "win32":
            group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        self._process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **single, "PYTHONHASHSEED": str(seed)},
            **group,
        )

    def call(self, call: Call) -> tuple[Any, Failure | None]:
        """Run one call; gives its value or what became of it."""
        seconds = call.limits.seconds
        late = threading.Event()

        def stop() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(seconds + _GRACE, stop)
        timer.daemon = True
        timer.start()
        try:
            code, data = self._ask(pickle.dumps(call))
        finally:
            timer.cancel()
        if late.is_set():
            return None, Failure(_too_long(seconds))
        content = unframed(data)
        if content is not None:
            value = pickle.loads(content)
            return (None, Failure(value.message, value.trace)) if isinstance(value, Raised) else (value, None)
        trace = data.decode("utf-8", "replace")
        return None, Failure(_too_long(seconds) if trace.startswith("Timeout (") else _end(code), trace)

    def _ask(self, message: bytes) -> tuple[int, bytes]:
        """Send a call; gives the exit code of the process that ran it, and everything that it wrote."""
        sender, receiver = _pipe(self._process.stdin), _pipe(self._process.stdout)
        with contextlib.suppress(BrokenPipeError):
            sender.write(frame(message))
            sender.flush()
        if self._forks and (reply := receive(receiver)) is not None:
            code, data = pickle.loads(reply)
            return int(code), data
        self.usable = False
        data = b"" if self._forks else receiver.read()
        code = self._process.wait()
        self._kill()
        return code, data

    def end(self) -> None:
        """End the process and what it started."""
        self.usable = False
        if self._process.returncode is None:
            self._kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            # Data that could not be sent are not needed any more.
            with contextlib.suppress(OSError):
                _pipe(stream).close()

    def _kill(self) -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                self._process.kill()
            else:
                # The whole group: what the call has started, too, outlives neither it nor its worker.
                os.killpg(self._process.pid, signal.SIGKILL)


def _pipe(stream: IO[bytes] | None) -> Any:
    assert stream is not None
    return stream


def _too_long(seconds: float) -> str:
    return f"the time limit of {seconds:g} s is over"


def _end(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"the process ended with exit code {code} and gave nothing"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"the process was killed by {name}" + (" (is there too little memory?)" if name == "SIGKILL" else "")
