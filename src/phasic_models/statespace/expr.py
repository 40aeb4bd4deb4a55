"""Weights as rational functions of the parameters: expressions, and the table of weights that a graph holds.

An `Expr` is kept in a normal form whose coefficients are exact fractions. Sums and products of the same things
therefore give equal expressions in whatever order they were written, and nothing is rounded before the weight table is
made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from ..errors import GraphError, ParameterError

if TYPE_CHECKING:
    import numpy.typing as npt

OP_ADD = 1
OP_MUL = 2
OP_DIV = 3

_MAX_EXPONENT = 1024
# Content is only taken out of a sum where the integers that are left are exact as float64.
_MAX_EXACT = 2**53


@dataclass(frozen=True)
class Parameter:
    """One parameter: its position in the `params` call that declared it."""

    names: tuple[str, ...]
    index: int

    @property
    def name(self) -> str:
        """The name under which it was declared."""
        return self.names[self.index]


Atom = Union[Parameter, "Expr"]
Monomial = frozenset[tuple[Atom, int]]

_ONE: Monomial = frozenset()


class Expr:
    """A rational function of the parameters, immutable, in normal form.

    Made by `params` and the operators ``+ - * /`` and ``**`` with an integer exponent. Numbers that take part must be
    finite. Two expressions compare equal if their normal forms are the same; that covers commutativity, associativity,
    constant factors and cancelling of equal factors, but not the expansion of products of sums.

    Notes
    -----
    The form is a sum of ``fraction * monomial``; a monomial is a product of integer powers of parameters and of sums.
    Products are never expanded, so no cancellation appears that the author did not write.
    """

    __slots__ = ("_hash", "_terms")
    _hash: int
    _terms: dict[Monomial, Fraction]

    # Makes `numpy_scalar * expr` come to `Expr.__rmul__` rather than to an array of objects.
    __array_ufunc__ = None

    def __init__(self, terms: Mapping[Monomial, Fraction]) -> None:
        self._terms = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
        # Hashed once: the parts are hashed already, so nesting costs nothing.
        self._hash = hash(frozenset(self._terms.items()))

    @classmethod
    def constant(cls, value: Any) -> Expr:
        """Return the expression of a finite number."""
        return cls({_ONE: _fraction(value)})

    @classmethod
    def parameter(cls, names: tuple[str, ...], index: int) -> Expr:
        """Return the expression of the parameter at `index` of `names`."""
        return cls({frozenset({(Parameter(names, index), 1)}): Fraction(1)})

    @property
    def terms(self) -> Mapping[Monomial, Fraction]:
        """The normal form: exact coefficient of every monomial."""
        return self._terms

    def is_constant(self) -> bool:
        """Whether no parameter is left in the normal form."""
        return not self._terms or (len(self._terms) == 1 and _ONE in self._terms)

    def constant_part(self) -> Fraction:
        """Return the exact coefficient of the empty monomial."""
        return self._terms.get(_ONE, Fraction(0))

    def parameters(self) -> frozenset[Parameter]:
        """Return every parameter that occurs."""
        found: set[Parameter] = set()
        stack: list[Expr] = [self]
        seen: set[int] = set()
        while stack:
            expression = stack.pop()
            if id(expression) in seen:
                continue
            seen.add(id(expression))
            for monomial in expression._terms:
                for atom, _ in monomial:
                    if isinstance(atom, Parameter):
                        found.add(atom)
                    else:
                        stack.append(atom)
        return frozenset(found)

    def evaluate(self, theta: Sequence[float] | Mapping[str, float]) -> float:
        """Return the value at `theta`, given by position or by name; meant for a look, not for speed."""
        total = []
        for monomial, coefficient in self._terms.items():
            value = float(coefficient)
            for atom, exponent in monomial:
                if isinstance(atom, Expr):
                    base = atom.evaluate(theta)
                else:
                    base = float(theta[atom.name] if isinstance(theta, Mapping) else theta[atom.index])
                value *= base**exponent
            total.append(value)
        return math.fsum(total)

    # An operator between an expression and an array gives an array of expressions, hence the return type.
    def __add__(self, other: object) -> Any:
        right = _operand(other)
        if right is None:
            return _elementwise(other, self.__add__)
        terms = dict(self._terms)
        for monomial, coefficient in right._terms.items():
            terms[monomial] = terms.get(monomial, Fraction(0)) + coefficient
        return Expr(terms)

    __radd__ = __add__

    def __neg__(self) -> Expr:
        return self._scaled(Fraction(-1))

    def __pos__(self) -> Expr:
        return self

    def __sub__(self, other: object) -> Any:
        right = _operand(other)
        return _elementwise(other, self.__sub__) if right is None else self + (-right)

    def __rsub__(self, other: object) -> Any:
        left = _operand(other)
        return _elementwise(other, self.__rsub__) if left is None else left + (-self)

    def __mul__(self, other: object) -> Any:
        right = _operand(other)
        if right is None:
            return _elementwise(other, self.__mul__)
        if right.is_constant():
            return self._scaled(right.constant_part())
        if self.is_constant():
            return right._scaled(self.constant_part())
        left_coefficient, factors = self._as_product()
        right_coefficient, more = right._as_product()
        for atom, exponent in more.items():
            factors[atom] = factors.get(atom, 0) + exponent
        return _from_product(left_coefficient * right_coefficient, factors)

    __rmul__ = __mul__

    def __truediv__(self, other: object) -> Any:
        right = _operand(other)
        return _elementwise(other, self.__truediv__) if right is None else self * right**-1

    def __rtruediv__(self, other: object) -> Any:
        left = _operand(other)
        return _elementwise(other, self.__rtruediv__) if left is None else left * self**-1

    def __pow__(self, exponent: object) -> Expr:
        if isinstance(exponent, Real) and float(exponent).is_integer():
            exponent = int(float(exponent))
        if not isinstance(exponent, Integral):
            raise TypeError(f"an expression can only be raised to an integer power, not to {exponent!r}")
        power = int(exponent)
        if abs(power) > _MAX_EXPONENT:
            raise ValueError(f"exponent {power} is out of range: at most {_MAX_EXPONENT} in size")
        if power < 0 and not self._terms:
            raise ZeroDivisionError("division of an expression by zero")
        if power == 0:
            return Expr({_ONE: Fraction(1)})
        coefficient, factors = self._as_product()
        return _from_product(coefficient**power, {atom: k * power for atom, k in factors.items()})

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Expr):
            return self is other or (self._hash == other._hash and self._terms == other._terms)
        return NotImplemented

    def __hash__(self) -> int:
        return self._hash

    def __reduce__(self) -> tuple[type[Expr], tuple[dict[Monomial, Fraction]]]:
        # The hash of a string differs between processes, so it is made anew.
        return Expr, (self._terms,)

    def __bool__(self) -> bool:
        raise TypeError(
            "whether an expression is zero is only known once the parameters are; test the state, not the weight"
        )

    def __repr__(self) -> str:
        text = ""
        for _, coefficient, piece in sorted(_term_text(m, c) for m, c in self._terms.items()):
            if text:
                text += f" - {piece}" if coefficient < 0 else f" + {piece}"
            else:
                text = f"-{piece}" if coefficient < 0 else piece
        return text or "0"

    def _scaled(self, factor: Fraction) -> Expr:
        return Expr({monomial: coefficient * factor for monomial, coefficient in self._terms.items()})

    def _as_product(self) -> tuple[Fraction, dict[Atom, int]]:
        """Split into a coefficient and a product of powers."""
        if len(self._terms) == 1:
            ((monomial, coefficient),) = self._terms.items()
            return coefficient, dict(monomial)
        if not self._terms:
            return Fraction(0), {}
        content = self._content()
        return content, {(self if content == 1 else self._scaled(1 / content)): 1}

    def _content(self) -> Fraction:
        """Return the positive fraction that leaves coprime integers, or 1 where those would not be exact as floats."""
        numerators = math.gcd(*(c.numerator for c in self._terms.values()))
        denominators = math.lcm(*(c.denominator for c in self._terms.values()))
        content = Fraction(numerators, denominators)
        largest = max(abs(c) for c in self._terms.values()) / content
        return content if largest <= _MAX_EXACT else Fraction(1)


def _from_product(coefficient: Fraction, factors: Mapping[Atom, int]) -> Expr:
    kept = {atom: exponent for atom, exponent in factors.items() if exponent}
    if len(kept) == 1:
        ((atom, exponent),) = kept.items()
        # A number times a sum is a sum again, so that 2*(a + b) and 2*a + 2*b are one thing.
        if exponent == 1 and isinstance(atom, Expr):
            return atom._scaled(coefficient)
    return Expr({frozenset(kept.items()): coefficient})


def _elementwise(array: object, operation: Callable[[Any], Expr]) -> Any:
    """Apply an operator to each entry of an array, for vectorised callbacks; NotImplemented for anything else."""
    if not isinstance(array, np.ndarray):
        return NotImplemented
    out = np.empty(array.shape, dtype=object)
    for place, value in np.ndenumerate(array):
        out[place] = operation(value)
    return out


def _operand(value: object) -> Expr | None:
    if isinstance(value, Expr):
        return value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value.item()
    return Expr.constant(value) if isinstance(value, Real) else None


def _fraction(value: Any) -> Fraction:
    if isinstance(value, Integral):
        return Fraction(int(value))
    if isinstance(value, Fraction):
        return value
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"a number in an expression must be finite, not {number}")
    return Fraction(number)


def _number_text(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    try:
        number = float(value)
    except OverflowError:
        return str(value)
    return repr(number) if Fraction(number) == value or value.denominator > 10**6 else str(value)


def _term_text(monomial: Monomial, coefficient: Fraction) -> tuple[list[str], Fraction, str]:
    """Return a key to sort terms by, the coefficient, and the text of the term without its sign."""
    above = sorted(_power_text(atom, exponent) for atom, exponent in monomial if exponent > 0)
    below = sorted(_power_text(atom, -exponent) for atom, exponent in monomial if exponent < 0)
    size = abs(coefficient)
    product = above if size == 1 and above else [_number_text(size), *above]
    return above + below, coefficient, "/".join(["*".join(product), *below])


def _power_text(atom: Atom, exponent: int) -> str:
    text = atom.name if isinstance(atom, Parameter) else f"({atom!r})"
    return text if exponent == 1 else f"{text}**{exponent}"


def params(*names: str) -> Any:
    """Declare the parameters of a model and return an expression for each.

    Parameters
    ----------
    *names
        Distinct names, in the order in which θ will hold their values.

    Returns
    -------
    Expr or tuple of Expr
        A tuple if there are several names, the expression itself if there is one.

    Examples
    --------
    >>> coal, mig = params("coal", "mig")
    >>> 3 * coal + mig / (coal + mig)
    3*coal + mig/(coal + mig)
    """
    check_param_names(names)
    if not names:
        raise ValueError("params() needs at least one name")
    made = tuple(Expr.parameter(names, index) for index in range(len(names)))
    return made[0] if len(made) == 1 else made


def check_param_names(names: Sequence[object]) -> None:
    """Raise ValueError unless `names` are distinct, non-empty strings."""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"a parameter name must be a non-empty string, not {name!r}")
    for name in names:
        if list(names).count(name) > 1:
            raise ValueError(f"the parameter name {name!r} occurs more than once")


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
    """Return `array` as a C-contiguous, aligned array that nobody can change: the C core checks it once and then relies
    on it. Data that cannot be changed is not copied.

    Raises
    ------
    GraphError
        If a value changes in the conversion to `dtype`.
    """
    given = np.asarray(array)
    with np.errstate(invalid="ignore"):
        view = np.require(given, dtype, ["C_CONTIGUOUS", "ALIGNED"]).view()
    if given.dtype != view.dtype and not np.array_equal(given, view):
        raise GraphError(f"an array of {given.dtype} does not fit into {view.dtype}")
    if view.flags.writeable and np.may_share_memory(view, given):
        view = view.copy()
    view.setflags(write=False)
    checked: npt.NDArray[Any] = view
    return checked
