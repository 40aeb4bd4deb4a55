"""Arrays from callers: masked entries are found, and memory is made that cannot be changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_NUMBERS = frozenset((int, float, bool, str, np.float64, np.int64))


def is_masked(value: Any) -> bool:
    """Whether a masked entry is in `value`, or in an array inside it: numpy would take the number under the mask."""
    if isinstance(value, np.ma.MaskedArray):
        names = value.dtype.names
        return any(is_masked(value[name]) for name in names) if names else bool(np.ma.getmaskarray(value).any())
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "O" and any(map(is_masked, value.flat))
    if isinstance(value, list | tuple):
        return any(is_masked(entry) for entry in value if type(entry) not in _NUMBERS)
    return False


def own(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return a C-contiguous, aligned array with these values that cannot be changed.

    The core checks indices once and then relies on them. A read-only flag is not enough for that: it can be set back, and
    another view of the same memory need not have it. Memory of a `bytes` object cannot be changed through numpy, so
    such an array is returned as it is; any other one is copied into one.
    """
    if isinstance(_owner(array), bytes) and array.flags.c_contiguous and array.flags.aligned:
        return array
    if array.size == 0:
        empty = np.empty(array.shape, array.dtype)
        empty.flags.writeable = False
        return empty
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def _owner(array: npt.NDArray[Any]) -> Any:
    """Return the object whose memory an array shows."""
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    return owner
