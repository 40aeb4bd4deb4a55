"""The table of the distinct weights of a graph, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import GraphError, ParameterError
from .owned import is_masked, own

if TYPE_CHECKING:
    import numpy.typing as npt

OP_ADD = 1
OP_MUL = 2
OP_DIV = 3


@dataclass(frozen=True, eq=False)
class WeightTable:
    """The distinct weights of a graph, as arrays: affine forms first, then operations on earlier entries.

    Entry (slot) ``s < A`` is ``affine_base[s] + Σ affine_coef[j] * theta[affine_param[j]]`` over
    ``affine_ptr[s] <= j < affine_ptr[s + 1]``, evaluated from left to right without fused multiply-add. Slot
    ``A + i`` is ``program_op[i]`` (1 add, 2 multiply, 3 divide) on the earlier slots ``program_a[i]`` and
    ``program_b[i]``.
    """

    affine_base: npt.NDArray[np.float64]
    affine_ptr: npt.NDArray[np.int64]
    affine_param: npt.NDArray[np.int32]
    affine_coef: npt.NDArray[np.float64]
    program_op: npt.NDArray[np.uint8]
    program_a: npt.NDArray[np.int32]
    program_b: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, read_only(getattr(self, field.name), _DTYPES[field.name]))

    def __reduce__(self) -> tuple[type[WeightTable], tuple[npt.NDArray[Any], ...]]:
        # An array that was unpickled can be changed, so that it has to be owned again.
        return WeightTable, tuple(self.arrays().values())

    def __len__(self) -> int:
        return int(self.affine_base.size + self.program_op.size)

    @property
    def n_affine(self) -> int:
        """Number of affine forms (A)."""
        return int(self.affine_base.size)

    @property
    def n_program(self) -> int:
        """Number of operations (P)."""
        return int(self.program_op.size)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays by name, in a fixed order."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def constants(self) -> npt.NDArray[np.bool_]:
        """Return for each slot whether it is a plain number (an affine form without coefficients)."""
        constant = np.zeros(len(self), dtype=np.bool_)
        constant[: self.n_affine] = np.diff(self.affine_ptr) == 0
        return constant

    def evaluate(self, theta: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return the value of every slot; the slow reference for the C core.

        Parameters
        ----------
        theta
            Shape (p,) or (batch, p).

        Returns
        -------
        numpy.ndarray
            Shape (slots,) or (batch, slots).
        """
        values = np.asarray(theta, dtype=np.float64)
        if values.ndim not in (1, 2):
            raise ParameterError(f"theta must have shape (p,) or (batch, p), not {values.shape}")
        if self.affine_param.size and int(self.affine_param.max()) >= values.shape[-1]:
            raise ParameterError(
                f"theta has {values.shape[-1]} entries; the weights use {int(self.affine_param.max()) + 1}"
            )
        n_affine = self.n_affine
        out = np.empty((*values.shape[:-1], len(self)), dtype=np.float64)
        out[..., :n_affine] = self.affine_base
        counts = np.diff(self.affine_ptr)
        for k in range(int(counts.max(initial=0))):
            rows = np.flatnonzero(counts > k)
            at = self.affine_ptr[rows] + k
            out[..., rows] += self.affine_coef[at] * values[..., self.affine_param[at]]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            for i in range(self.n_program):
                left, right = out[..., self.program_a[i]], out[..., self.program_b[i]]
                op = self.program_op[i]
                result = left + right if op == OP_ADD else left * right if op == OP_MUL else left / right
                out[..., n_affine + i] = result
        return out

    def check(self, n_params: int) -> None:
        """Raise GraphError unless the arrays are a well-formed table over `n_params` parameters.

        Everything that an evaluation relies on is checked; that the slots are in canonical order is not.
        """
        n_affine, n_program = self.n_affine, self.n_program
        for name, array in self.arrays().items():
            if array.ndim != 1:
                raise GraphError(f"weight table: {name} must be one-dimensional, not of shape {array.shape}")
        ptr = self.affine_ptr
        if ptr.size != n_affine + 1 or not is_pointer(ptr, self.affine_param.size):
            raise GraphError("weight table: affine_ptr does not fit affine_base and affine_param")
        if self.affine_coef.size != self.affine_param.size:
            raise GraphError("weight table: affine_coef and affine_param differ in length")
        if not np.isfinite(self.affine_base).all() or not np.isfinite(self.affine_coef).all():
            raise GraphError("weight table: a base or coefficient is not finite")
        if (self.affine_coef == 0.0).any():
            raise GraphError("weight table: a coefficient is zero")
        if self.affine_param.size:
            if int(self.affine_param.min()) < 0 or int(self.affine_param.max()) >= n_params:
                raise GraphError(f"weight table: a parameter index is outside 0..{n_params - 1}")
            # Ascending within a row: where a step does not start a new row, the index must grow.
            inner = np.ones(self.affine_param.size, dtype=np.bool_)
            inner[ptr[:-1][np.diff(ptr) > 0]] = False
            if (np.diff(self.affine_param)[inner[1:]] <= 0).any():
                raise GraphError("weight table: parameters of an affine form are not in ascending order")
        if self.program_a.size != n_program or self.program_b.size != n_program:
            raise GraphError("weight table: program_op, program_a and program_b differ in length")
        if n_program:
            limit = n_affine + np.arange(n_program)
            for name, operand in (("program_a", self.program_a), ("program_b", self.program_b)):
                if (operand < 0).any() or (operand >= limit).any():
                    raise GraphError(f"weight table: {name} refers to a slot that is not earlier")
            if (self.program_op < OP_ADD).any() or (self.program_op > OP_DIV).any():
                raise GraphError("weight table: program_op holds an unknown operation")


_DTYPES: dict[str, Any] = {
    "affine_base": np.float64,
    "affine_ptr": np.int64,
    "affine_param": np.int32,
    "affine_coef": np.float64,
    "program_op": np.uint8,
    "program_a": np.int32,
    "program_b": np.int32,
}


def is_pointer(ptr: npt.NDArray[np.int64], end: int) -> bool:
    """Whether `ptr` ascends from 0 to `end`, so that it cuts an array of that length into rows."""
    # Without the bounds, a difference that wraps around could pass for an ascent.
    inside = bool((ptr >= 0).all()) and bool((ptr <= end).all())
    return inside and ptr[0] == 0 and ptr[-1] == end and bool((np.diff(ptr) >= 0).all())


def read_only(array: npt.ArrayLike, dtype: Any) -> npt.NDArray[Any]:
    """Return `array` as a C-contiguous, aligned array that cannot be changed; see `own`.

    Raises
    ------
    GraphError
        If a value changes in the conversion to `dtype`, or is masked.
    """
    if is_masked(array):
        raise GraphError("an array has masked entries")
    given = np.asarray(array)
    with np.errstate(invalid="ignore"):
        converted = np.require(given, dtype, ["C_CONTIGUOUS", "ALIGNED"])
    if given.dtype != converted.dtype and not np.array_equal(given, converted):
        raise GraphError(f"an array of {given.dtype} does not fit into {converted.dtype}")
    return own(converted)
