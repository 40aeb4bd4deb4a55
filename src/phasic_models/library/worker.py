"""Calls in a process of their own: functions of this package, one process for each call where it can fork.

A worker reads calls from its standard input and writes their results to its standard output. It has the toolkit
loaded, and forks for each call; where the system cannot fork safely, it runs one call itself and ends. Either way a call
that ends or blocks its process does not affect other calls. `isolation` is the calling side.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import pickle
import select
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

_MAGIC = b"PMANSWER"
_LENGTH = 8


@dataclass(frozen=True)
class Limits:
    """The limits of one call.

    Attributes
    ----------
    seconds : float
        Wall time.
    memory : int
        Bytes of address space beyond those of the process at its start. Kept on Linux only: other systems have no such
        limit, or do not obey it.
    """

    seconds: float = 600.0
    memory: int = 4 << 30


@dataclass(frozen=True)
class Call:
    """A function of a module, so that another process finds it, with its arguments."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    limits: Limits


@dataclass(frozen=True)
class Raised:
    """A call that raised: the exception as a text, and its traceback."""

    message: str
    trace: str


def frame(content: bytes) -> bytes:
    """A message as it goes through a pipe."""
    return _MAGIC + len(content).to_bytes(_LENGTH, "big") + content


def unframed(data: bytes | bytearray) -> bytes | None:
    """Content of the message with which data begin, or None where that is something else or was cut off."""
    start = len(_MAGIC) + _LENGTH
    end = start + int.from_bytes(data[len(_MAGIC) : start], "big")
    return bytes(data[start:end]) if data.startswith(_MAGIC) and start <= len(data) and end <= len(data) else None


def receive(stream: BinaryIO) -> bytes | None:
    """The next message of a stream; None at its end."""
    head = _exactly(stream, len(_MAGIC) + _LENGTH)
    return _exactly(stream, int.from_bytes(head[len(_MAGIC) :], "big")) if head is not None else None


def _exactly(stream: BinaryIO, count: int) -> bytes | None:
    data = bytearray()
    while len(data) < count:
        piece = stream.read(count - len(data))
        if not piece:
            return None
        data += piece
    return bytes(data)


def serve(forks: bool) -> None:
    """Run the calls that come from standard input, until it ends; what they print goes to standard error."""
    calls = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    _preload()
    while (message := receive(calls)) is not None:
        call: Call = pickle.loads(message)
        if not forks:
            _answer(call, answers)
            return
        _write(answers, frame(pickle.dumps(_in_a_child(call, calls, answers))))


def _preload() -> None:
    """Do once, before the first fork, what every call would do for the first time: imports above all."""
    from .. import formats
    from ..graph import Graph
    from . import one_model  # noqa: F401

    graph = Graph(lambda state: [([1], 1.0, [1.0])] if len(state) == 0 else [([0], 0.0, [1.0])] if state[0] else [])
    dag = graph.eliminate()
    dag.model().expectation([1.0])
    formats.dag_to_bytes(dag)
    formats.dag_to_json(dag)
    graph.content_hash()
    # The collector shall not touch, and so copy, the memory that the forks share.
    gc.collect()
    gc.freeze()


def _in_a_child(call: Call, calls: BinaryIO, answers: int) -> tuple[int, bytes]:
    """Run a call in a fork; gives its exit code and everything that it wrote."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            for descriptor in (reader, calls.fileno(), answers):
                os.close(descriptor)
            _answer(call, writer)
        finally:
            os._exit(0)
    os.close(writer)
    data = bytearray()
    # Not to the end of the stream: what the call has started may live on, and hold it open.
    while unframed(data) is None:
        ready, _, _ = select.select([reader, calls.fileno()], [], [])
        if calls.fileno() in ready:
            # Nothing is sent before the answer, so this is the end of the stream: the calling process has ended.
            os.kill(child, signal.SIGKILL)
            os._exit(1)
        piece = os.read(reader, 1 << 20)
        if not piece:
            break
        data += piece
    os.close(reader)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), bytes(data)


def _answer(call: Call, descriptor: int) -> None:
    """Run a call here. A crash, and the end of the time, leave the stack of the interpreter instead of an answer."""
    faulthandler.enable(descriptor, all_threads=False)
    faulthandler.dump_traceback_later(call.limits.seconds, exit=True, file=descriptor)
    lift = _limit_memory(call.limits.memory)
    result: Any
    try:
        result = call.function(*call.arguments)
    except BaseException as error:
        # First, since there may be no memory for the rest.
        lift()
        text = (
            f"more than {call.limits.memory / 2**30:g} GiB of memory" if isinstance(error, MemoryError) else str(error)
        )
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        result = Raised(f"{type(error).__name__}: {text}", trace)
    lift()
    content = frame(pickle.dumps(result))
    faulthandler.cancel_dump_traceback_later()
    faulthandler.disable()
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    _write(descriptor, content)


def _limit_memory(memory: int) -> Callable[[], None]:
    """Limit the address space of this process; gives a function that lifts the limit."""
    if sys.platform != "linux":
        return lambda: None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm", "rb") as stream:  # noqa: PTH123
        present = int(stream.read().split()[0]) * resource.getpagesize()
    bound = present + memory
    for limit in (soft, hard):
        bound = bound if limit == resource.RLIM_INFINITY else min(bound, limit)
    resource.setrlimit(resource.RLIMIT_AS, (bound, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
