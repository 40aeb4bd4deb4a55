"""Arrays to and from the C core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .native import ffi, lib

if TYPE_CHECKING:
    import numpy.typing as npt


def into(ctype: str, array: npt.NDArray[Any]) -> Any:
    """Return a pointer to the entries of an array that the core reads."""
    # Arrays come from this package's own classes, which fix dtype and contiguity; from_buffer refuses anything else.
    return ffi.from_buffer(ctype, array)


def into_or_null(array: npt.NDArray[np.float64] | None) -> Any:
    """Return a pointer to numbers that the core reads, or the null pointer for None."""
    return ffi.NULL if array is None else into("double[]", array)


def out_of(array: npt.NDArray[np.float64]) -> Any:
    """Return a pointer to the entries of an array that the core fills."""
    return ffi.from_buffer("double[]", array, require_writable=True)


def copy_of(pointer: Any, size: int, dtype: Any) -> npt.NDArray[Any]:
    """Return what the core has at a pointer, as an array of its own that nobody can change."""
    if size == 0:
        return np.empty(0, dtype)
    # Into `bytes`, which nobody can change.
    copied: npt.NDArray[Any] = np.frombuffer(ffi.buffer(pointer, size * np.dtype(dtype).itemsize)[:], dtype)
    return copied


def reachable(ptr: npt.NDArray[Any], target: npt.NDArray[Any], roots: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which vertices can be reached from `roots`, shape (n,).

    Parameters
    ----------
    ptr, target
        Edges by source; `ptr` has n + 1 entries, and every target lies in [0, n).
    roots
        Where to start.
    """
    n = ptr.size - 1
    seen = np.empty(n, dtype=np.uint8)
    status = lib.pm_reachable(
        n,
        into("int64_t[]", np.ascontiguousarray(ptr, dtype=np.int64)),
        into("int32_t[]", np.ascontiguousarray(target, dtype=np.int32)),
        roots.size,
        into("int32_t[]", np.ascontiguousarray(roots, dtype=np.int32)),
        ffi.from_buffer("uint8_t[]", seen, require_writable=True),
    )
    if status == lib.PM_E_MEMORY:
        raise MemoryError(f"out of memory for a graph of {n} vertices")
    if status != lib.PM_OK:
        raise IndexError("a root is no vertex of the graph")
    return seen.view(np.bool_)
