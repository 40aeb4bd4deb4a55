"""Numbers from callers as float64 arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ParameterError
from ..statespace.owned import is_masked

if TYPE_CHECKING:
    import numpy.typing as npt


def as_float_array(value: Any, what: str) -> npt.NDArray[np.float64]:
    """Return `value` as a C-contiguous, aligned float64 array.

    Raises
    ------
    ParameterError
        If it is not made of real numbers that a float64 can hold, or an entry is masked.
    """
    if type(value) is not np.ndarray and is_masked(value):
        raise ParameterError(f"{what} has masked entries; fill them, or leave them out")
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O":
            # Fractions and decimals are numbers; None would become NaN if numpy converted it.
            array = np.array([_number(entry) for entry in array.flat], dtype=np.float64).reshape(array.shape)
        elif array.dtype.kind not in "buif":
            raise TypeError(f"found {array.dtype}")
        return np.require(array, np.float64, ["C_CONTIGUOUS", "ALIGNED"])
    except (TypeError, ValueError, OverflowError) as error:
        raise ParameterError(f"{what} must be real numbers: {error}") from None


def _number(entry: Any) -> float:
    if isinstance(entry, str | bytes) or entry is np.ma.masked:
        raise TypeError(f"found {entry!r}")
    return float(entry)
