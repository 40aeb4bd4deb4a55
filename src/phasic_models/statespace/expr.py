"""Weights as rational functions of the parameters.

An `Expr` is kept in a normal form whose coefficients are exact fractions. Sums and products of the same things
therefore give equal expressions in whatever order they were written, and nothing is rounded before the weight table is
made. Expressions may be nested to any depth, so whatever walks through one does so without recursion.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Container, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from numbers import Integral, Real
from typing import Any, Union
from weakref import WeakValueDictionary

import numpy as np

_MAX_EXPONENT = 1024
# Content is only taken out of a sum where the integers that are left are exact as float64.
_MAX_EXACT = 2**53
# A part whose text is longer is not spelled out where the whole is printed.
_MAX_TEXT = 2000


@dataclass(frozen=True, eq=False)
class Parameter:
    """One parameter: its position in the `params` call that declared it."""

    names: tuple[str, ...]
    index: int

    @property
    def name(self) -> str:
        """The name under which it was declared."""
        return self.names[self.index]

    # All names of a long list are neither hashed nor, where it is the same list, compared.

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameter):
            return NotImplemented
        return self.index == other.index and (self.names is other.names or self.names == other.names)

    def __hash__(self) -> int:
        return hash((self.name, self.index, len(self.names)))


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

    __slots__ = ("__weakref__", "_terms")
    _terms: dict[Monomial, Fraction]

    # Makes `numpy_scalar * expr` come to `Expr.__rmul__` rather than to an array of objects.
    __array_ufunc__ = None

    def __new__(cls, terms: Mapping[Monomial, Fraction]) -> Expr:
        """Return the one expression with these terms: equal ones are the same object, so that comparing takes no time."""
        kept = {monomial: coefficient for monomial, coefficient in terms.items() if coefficient}
        key = frozenset((_identity(monomial), coefficient) for monomial, coefficient in kept.items())
        with _lock:
            known = _known.get(key)
            if known is None:
                known = object.__new__(cls)
                known._terms = kept
                _known[key] = known
        return known

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
        return parameters_of([self])

    def evaluate(self, theta: Sequence[float] | Mapping[str, float]) -> float:
        """Return the value at `theta`, given by position or by name; meant for a look, not for speed."""
        values: dict[Expr, float] = {}
        for part in parts([self]):
            total = []
            for monomial, coefficient in part._terms.items():
                value = float(coefficient)
                for atom, exponent in monomial:
                    if isinstance(atom, Expr):
                        base = values[atom]
                    else:
                        base = float(theta[atom.name] if isinstance(theta, Mapping) else theta[atom.index])
                    value *= base**exponent
                total.append(value)
            values[part] = math.fsum(total)
        return values[self]

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

    # Equal expressions are one object, so that the inherited __eq__ and __hash__, which go by identity, are right.

    def __reduce__(self) -> tuple[Callable[[list[_Row]], Expr], tuple[list[_Row]]]:
        place: dict[Expr, int] = {}
        rows: list[_Row] = []
        for part in parts([self]):
            place[part] = len(rows)
            rows.append(
                [
                    (coefficient, [(place[atom] if isinstance(atom, Expr) else atom, k) for atom, k in monomial])
                    for monomial, coefficient in part._terms.items()
                ]
            )
        return _restored, (rows,)

    def __bool__(self) -> bool:
        raise TypeError(
            "whether an expression is zero is only known once the parameters are; test the state, not the weight"
        )

    def __repr__(self) -> str:
        texts: dict[Expr, str] = {}
        for part in parts([self]):
            text = part._text(texts)
            texts[part] = text if part is self or len(text) <= _MAX_TEXT else "…"
        return texts[self]

    def _text(self, texts: Mapping[Expr, str]) -> str:
        text = ""
        for _, coefficient, piece in sorted(_term_text(m, c, texts) for m, c in self._terms.items()):
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


# One line of a pickle: the terms of an expression, whose atoms are parameters or numbers of earlier lines.
_Row = list[tuple[Fraction, list[tuple[Parameter | int, int]]]]

_known: WeakValueDictionary[Hashable, Expr] = WeakValueDictionary()
# Guards `_known`, so that two threads never make equal expressions twice. Re-entrant, for a signal handler that makes some.
_lock = threading.RLock()


def _identity(monomial: Monomial) -> Hashable:
    """Return a key that identifies a monomial as long as its expressions exist; the key does not keep them in memory."""
    for atom, _ in monomial:
        if isinstance(atom, Expr):
            return frozenset((id(a) if isinstance(a, Expr) else a, exponent) for a, exponent in monomial)
    return monomial


def _restored(rows: list[_Row]) -> Expr:
    made: list[Expr] = []
    for row in rows:
        terms: dict[Monomial, Fraction] = {}
        for coefficient, factors in row:
            atoms = ((made[atom] if isinstance(atom, int) else atom, exponent) for atom, exponent in factors)
            terms[frozenset(atoms)] = coefficient
        made.append(Expr(terms))
    return made[-1]


def parts(expressions: Iterable[Expr], known: Container[Expr] = ()) -> list[Expr]:
    """Return all expressions that occur in these, themselves included: each once, after those that occur in it.

    Parameters
    ----------
    expressions
        Where to begin.
    known
        Expressions to leave out, with what occurs in them.
    """
    found: dict[Expr, None] = {}
    for expression in expressions:
        stack: list[tuple[Expr, bool]] = [(expression, False)]
        while stack:
            part, ready = stack.pop()
            if ready:
                found[part] = None
            elif part not in found and part not in known:
                stack.append((part, True))
                stack.extend((atom, False) for m in part.terms for atom, _ in m if isinstance(atom, Expr))
    return list(found)


def parameters_of(expressions: Iterable[Expr]) -> frozenset[Parameter]:
    """Return every parameter that occurs in the expressions."""
    atoms = (atom for part in parts(expressions) for monomial in part.terms for atom, _ in monomial)
    return frozenset(atom for atom in atoms if isinstance(atom, Parameter))


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


def _term_text(monomial: Monomial, coefficient: Fraction, texts: Mapping[Expr, str]) -> tuple[list[str], Fraction, str]:
    """Return a key to sort terms by, the coefficient, and the text of the term without its sign."""
    above = sorted(_power_text(atom, exponent, texts) for atom, exponent in monomial if exponent > 0)
    below = sorted(_power_text(atom, -exponent, texts) for atom, exponent in monomial if exponent < 0)
    size = abs(coefficient)
    product = above if size == 1 and above else [_number_text(size), *above]
    return above + below, coefficient, "/".join(["*".join(product), *below])


def _power_text(atom: Atom, exponent: int, texts: Mapping[Expr, str]) -> str:
    text = atom.name if isinstance(atom, Parameter) else f"({texts[atom]})"
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
    names = _shared(names)
    made = tuple(Expr.parameter(names, index) for index in range(len(names)))
    return made[0] if len(made) == 1 else made


@lru_cache(maxsize=256)
def _shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the same tuple for the same names."""
    return names


def check_param_names(names: Sequence[object]) -> None:
    """Raise ValueError unless `names` are distinct, non-empty strings."""
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"a parameter name must be a non-empty string, not {name!r}")
    seen: set[object] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"the parameter name {name!r} occurs more than once")
        seen.add(name)
