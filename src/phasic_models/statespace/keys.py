"""States as bytes: exact for any integers, quick to hash, and small where the entries are.

The key of a state is the bytes of its entries: of 8-bit integers where the state is long and all entries fit, else of
64-bit integers. Which of the two depends on the state alone, so that equal states have equal keys.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

# Shorter keys than this many entries of 8 bytes are not worth a second form.
_LONG = 8


def packer(length: int) -> Callable[..., bytes]:
    """Return a function from the entries of a state, `length` integers, to its key.

    It raises struct.error for anything that is not an integer of 64 bits, and for another number of entries.
    """
    wide = struct.Struct(f"={length}q").pack
    if length <= _LONG:
        return wide
    narrow = struct.Struct(f"={length}b").pack

    def pack(*state: int) -> bytes:
        try:
            return narrow(*state)
        except struct.error:
            return wide(*state)

    return pack


def keys_of(states: npt.NDArray[np.signedinteger]) -> list[bytes]:
    """Return the key of every row of an array of shape (m, state_length)."""
    if states.shape[1] <= _LONG:
        return _rows(states.astype(np.int64, copy=False))
    if states.dtype == np.int8:
        return _rows(states)
    narrow = states.astype(np.int8)
    fits = (narrow == states).all(axis=1)
    if fits.all():
        return _rows(narrow)
    wide = iter(_rows(states[~fits].astype(np.int64, copy=False)))
    short = iter(_rows(narrow[fits]))
    return [next(short if small else wide) for small in fits.tolist()]


def _rows(states: npt.NDArray[np.signedinteger]) -> list[bytes]:
    rows = np.ascontiguousarray(states)
    keys: list[bytes] = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))).ravel().tolist()
    return keys


def states_of(keys: Sequence[bytes], length: int) -> npt.NDArray[np.int64]:
    """Return the states of keys as a read-only array of shape (m, length)."""
    states: npt.NDArray[np.int64]
    data = b"".join(keys)
    if len(data) == 8 * length * len(keys):
        return np.frombuffer(data, dtype=np.int64).reshape(-1, length)
    if len(data) == length * len(keys):
        states = np.frombuffer(data, dtype=np.int8).reshape(-1, length).astype(np.int64)
    else:
        wide = np.array([len(key) > length for key in keys])
        states = np.empty((len(keys), length), dtype=np.int64)
        states[wide] = np.frombuffer(b"".join(k for k in keys if len(k) > length), dtype=np.int64).reshape(-1, length)
        states[~wide] = np.frombuffer(b"".join(k for k in keys if len(k) == length), dtype=np.int8).reshape(-1, length)
    states.setflags(write=False)
    return states
