"""From weights as they were given to the canonical weight table of a graph.

The order of the slots depends on the structure of the weights only: affine forms are sorted by value, operations by
depth and then by a digest of what they compute. So two descriptions of the same weights make the same table.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GraphError
from .expr import Expr, Parameter, parts
from .table import OP_ADD, OP_DIV, OP_MUL, WeightTable

if TYPE_CHECKING:
    import numpy.typing as npt

# Above this many padded cells the affine forms are sorted as Python tuples, which need no padding.
_MAX_PADDED_CELLS = 20_000_000

AffineKey = tuple[float, tuple[int, ...], tuple[float, ...]]


@dataclass(frozen=True)
class AffineRows:
    """Affine forms in compressed rows: ``base + Σ coef * theta[param]``, params ascending, no zero coefficients."""

    base: npt.NDArray[np.float64]
    ptr: npt.NDArray[np.int64]
    param: npt.NDArray[np.int32]
    coef: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return int(self.base.size)

    @classmethod
    def from_dense(cls, base: npt.NDArray[np.float64], coefficients: npt.NDArray[np.float64]) -> AffineRows:
        """Make rows from bases of shape (m,) and coefficients of shape (m, p)."""
        rows, columns = np.nonzero(coefficients)
        ptr = np.zeros(base.size + 1, dtype=np.int64)
        np.cumsum(np.bincount(rows, minlength=base.size), out=ptr[1:])
        # Adding 0.0 turns -0.0 into 0.0.
        return cls(base + 0.0, ptr, columns.astype(np.int32), coefficients[rows, columns])

    @classmethod
    def from_keys(cls, keys: Sequence[AffineKey]) -> AffineRows:
        """Make rows from ``(base, params, coefficients)`` tuples."""
        ptr = np.zeros(len(keys) + 1, dtype=np.int64)
        np.cumsum([len(key[1]) for key in keys], out=ptr[1:])
        return cls(
            np.array([key[0] for key in keys], dtype=np.float64) + 0.0,
            ptr,
            np.array([i for key in keys for i in key[1]], dtype=np.int32),
            np.array([c for key in keys for c in key[2]], dtype=np.float64),
        )

    def key(self, row: int) -> AffineKey:
        """Return one row as a tuple."""
        span = slice(int(self.ptr[row]), int(self.ptr[row + 1]))
        return float(self.base[row]), tuple(self.param[span].tolist()), tuple(self.coef[span].tolist())

    def take(self, rows: npt.NDArray[np.intp]) -> AffineRows:
        """Return the given rows."""
        counts = np.diff(self.ptr)[rows]
        ptr = np.zeros(rows.size + 1, dtype=np.int64)
        np.cumsum(counts, out=ptr[1:])
        at = np.arange(ptr[-1]) + np.repeat(self.ptr[:-1][rows] - ptr[:-1], counts)
        return AffineRows(self.base[rows], ptr, self.param[at], self.coef[at])

    def extended(self, keys: Sequence[AffineKey]) -> AffineRows:
        """Return these rows followed by `keys`."""
        return concatenate_rows([self, AffineRows.from_keys(keys)]) if keys else self

    def plain(self) -> npt.NDArray[np.bool_]:
        """Return which rows have no coefficients."""
        return np.asarray(np.diff(self.ptr) == 0)

    def unique(self) -> tuple[AffineRows, npt.NDArray[np.intp]]:
        """Return the distinct rows, sorted by (base, params, coefficients), and for each row its place among them."""
        n = len(self)
        counts = np.diff(self.ptr)
        width = int(counts.max(initial=0))
        if n * (1 + 2 * width) > _MAX_PADDED_CELLS:
            return self._unique_by_tuples()
        # Shorter rows are padded with parameter -1, which sorts a tuple before its extensions.
        keys = [self.base]
        for k in range(width):
            has = counts > k
            column = np.full(n, -1, dtype=np.int32)
            column[has] = self.param[self.ptr[:-1][has] + k]
            keys.append(column)  # type: ignore[arg-type]
        for k in range(width):
            has = counts > k
            values = np.zeros(n)
            values[has] = self.coef[self.ptr[:-1][has] + k]
            keys.append(values)
        order = np.lexsort(keys[::-1]) if width else np.argsort(self.base, kind="stable")
        new = np.zeros(n, dtype=np.bool_)
        new[:1] = True
        for column_values in keys:
            ordered = column_values[order]
            new[1:] |= ordered[1:] != ordered[:-1]
        place = np.empty(n, dtype=np.intp)
        place[order] = np.cumsum(new) - 1
        return self.take(order[new]), place

    def _unique_by_tuples(self) -> tuple[AffineRows, npt.NDArray[np.intp]]:
        keys = [self.key(row) for row in range(len(self))]
        distinct = sorted(set(keys))
        rank = {key: i for i, key in enumerate(distinct)}
        return AffineRows.from_keys(distinct), np.array([rank[key] for key in keys], dtype=np.intp)


def concatenate_rows(pieces: Sequence[AffineRows]) -> AffineRows:
    """Return the rows of all pieces, one after another."""
    ends = np.cumsum([0, *(piece.param.size for piece in pieces)])
    return AffineRows(
        np.concatenate([piece.base for piece in pieces]),
        np.concatenate([[0], *(piece.ptr[1:] + end for piece, end in zip(pieces, ends, strict=False))]),
        np.concatenate([piece.param for piece in pieces]),
        np.concatenate([piece.coef for piece in pieces]),
    )


# The row of an expression in the table of affine forms.
_NO_FORM: AffineKey = (math.nan, (), ())


class Weights:
    """The weights of a chain while it is read; the only owner of their numbers.

    A weight's number is its place in the order in which the weights were added, and never changes. Every weight has a
    row in one table of affine forms; the row of an expression holds NaN. So a number means the same for affine forms and
    expressions, and does not depend on how many there are of either kind.

    Attributes
    ----------
    expressions : dict
        The expressions by number; all other weights are affine forms.
    """

    def __init__(self) -> None:
        self.expressions: dict[int, Expr] = {}
        self._numbers: dict[AffineKey | Expr, int] = {}
        self._values: dict[int, AffineKey] = {}
        self._joined = AffineRows.from_keys([])
        # Rows after the joined ones: first arrays, then single rows.
        self._pieces: list[AffineRows] = []
        self._single: list[AffineKey] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, value: AffineKey | Expr) -> int:
        """Return the number of a weight; equal ones that are added here share it."""
        known = self._numbers.get(value)
        if known is not None:
            return known
        number = self._numbers[value] = self._size
        if isinstance(value, Expr):
            self.expressions[number] = value
            self._single.append(_NO_FORM)
        else:
            self._values[number] = value
            self._single.append(value)
        self._size += 1
        return number

    def constant(self, value: float) -> int:
        """Return the number of a constant."""
        return self.add((value + 0.0, (), ()))

    def add_rows(self, rows: AffineRows) -> int:
        """Add affine forms and return the number of the first; the others follow it."""
        self._close_single()
        self._pieces.append(rows)
        first = self._size
        self._size += len(rows)
        return first

    def _close_single(self) -> None:
        if self._single:
            self._pieces.append(AffineRows.from_keys(self._single))
            self._single = []

    def rows(self) -> AffineRows:
        """Return the row of every weight, in the order of their numbers."""
        self._close_single()
        if self._pieces:
            self._joined = concatenate_rows([self._joined, *self._pieces])
            self._pieces = []
        return self._joined

    def get(self, number: int) -> AffineKey | Expr:
        """Return the weight with this number."""
        if number in self.expressions:
            return self.expressions[number]
        if number in self._values:
            return self._values[number]
        return (self._joined if number < len(self._joined) else self.rows()).key(number)

    def constants(self) -> npt.NDArray[np.float64]:
        """Return the value of every weight that is a plain number, NaN for the others."""
        rows = self.rows()
        return np.where(rows.plain(), rows.base, np.nan)

    def table(
        self, numbers: npt.NDArray[np.int64], index_of: Callable[[Parameter], int]
    ) -> tuple[WeightTable, npt.NDArray[np.int32]]:
        """Build the canonical table of the weights in use; return it with the slot of each of `numbers`.

        Parameters
        ----------
        numbers
            Numbers of the weights in use, in any order and as often as they are used.
        index_of
            Position in θ of a declared parameter.
        """
        occurs = np.zeros(len(self), dtype=np.bool_)
        occurs[numbers] = True
        rational = np.zeros(len(self), dtype=np.bool_)
        rational[list(self.expressions)] = True
        used = np.flatnonzero(occurs)
        rational = rational[used]
        expressions = [self.expressions[number] for number in used[rational].tolist()]
        table, row_slots, expression_slots = build_table(self.rows().take(used[~rational]), expressions, index_of)
        slots = np.zeros(len(self), dtype=np.int32)
        slots[used[~rational]] = row_slots
        slots[used[rational]] = expression_slots
        return table, slots[numbers]


class WeightSums:
    """Sums of weights, each group computed once.

    Parameters
    ----------
    weights
        Where the summands are already, and the sums go.
    names
        Names of the parameters, for affine forms that are added to expressions.
    """

    def __init__(self, weights: Weights, names: tuple[str, ...]) -> None:
        self.weights = weights
        self.names = names
        self.known: dict[tuple[int, ...], int] = {}
        # The plain numbers among the weights that were there at the beginning, NaN for the others.
        self.plain: list[float] = weights.constants().tolist()

    def add(self, numbers: Sequence[int], where: Callable[[], str]) -> int:
        """Return the number of the sum of weights; the order of `numbers` plays no part."""
        group = tuple(sorted(numbers))
        known = self.known.get(group)
        if known is None:
            plain = [self.plain[number] for number in group]
            if math.isnan(sum(plain)):
                total = self._sum([self.weights.get(number) for number in group], where)
            else:
                total = self._sum([(value, (), ()) for value in plain], where)
            known = self.known[group] = self.weights.add(total)
        return known

    def _sum(self, parts: Sequence[AffineKey | Expr], where: Callable[[], str]) -> AffineKey | Expr:
        keys = [part for part in parts if not isinstance(part, Expr)]
        try:
            if len(keys) < len(parts):
                total = sum((p if isinstance(p, Expr) else self._as_expression(p) for p in parts), Expr({}))
                return (float(total.constant_part()), (), ()) if total.is_constant() else total
            by_param: dict[int, list[float]] = {}
            for _, indices, coefficients in keys:
                for i, c in zip(indices, coefficients, strict=True):
                    by_param.setdefault(i, []).append(c)
            summed = [(i, math.fsum(by_param[i])) for i in sorted(by_param)]
            base = math.fsum(key[0] for key in keys)
        except OverflowError:
            base, summed = math.inf, []
        if not all(map(math.isfinite, (base, *(c for _, c in summed)))):
            raise GraphError(f"{where()}: the sum of parallel transitions is too large for a 64-bit float")
        return base, tuple(i for i, c in summed if c), tuple(c for _, c in summed if c)

    def _as_expression(self, key: AffineKey) -> Expr:
        total = Expr.constant(key[0])
        for i, c in zip(key[1], key[2], strict=True):
            total = total + Expr.parameter(self.names, i) * c
        return total


@dataclass(frozen=True)
class _Node:
    """An operation whose operands are named by digest."""

    op: int
    a: bytes
    b: bytes
    depth: int


class _Lowering:
    """Turns expressions into affine keys and operations, each distinct one once."""

    def __init__(self, index_of: Callable[[Parameter], int]) -> None:
        self.index_of = index_of
        self.affine: dict[bytes, AffineKey] = {}
        self.nodes: dict[bytes, _Node] = {}
        self.memo: dict[Expr, bytes] = {}

    def lower(self, expression: Expr) -> bytes:
        """Return the digest of the slot that holds `expression`."""
        for part in parts([expression], self.memo):
            self.memo[part] = self._lowered(part)
        return self.memo[expression]

    def _lowered(self, expression: Expr) -> bytes:
        base = expression.constant_part()
        linear: dict[int, Fraction] = {}
        products: list[bytes] = []
        for monomial, coefficient in expression.terms.items():
            if not monomial:
                continue
            factors = list(monomial)
            if len(factors) == 1 and factors[0][1] == 1 and isinstance(factors[0][0], Parameter):
                index = self.index_of(factors[0][0])
                linear[index] = linear.get(index, Fraction(0)) + coefficient
            else:
                products.append(self._product(coefficient, factors))
        pieces = sorted(products)
        if base or linear or not pieces:
            indices = sorted(i for i, c in linear.items() if c)
            key = (_to_float(base), tuple(indices), tuple(_to_float(linear[i]) for i in indices))
            pieces.insert(0, self._affine(key))
        digest = pieces[0]
        for piece in pieces[1:]:
            digest = self._operation(OP_ADD, digest, piece)
        return digest

    def _product(self, coefficient: Fraction, factors: Sequence[tuple[Parameter | Expr, int]]) -> bytes:
        above: list[bytes] = []
        below: list[bytes] = []
        for atom, exponent in factors:
            (above if exponent > 0 else below).append(self._power(self._atom(atom), abs(exponent)))
        above.sort()
        below.sort()
        if coefficient != 1 or not above:
            above.insert(0, self._affine((_to_float(coefficient), (), ())))
        numerator = self._chain(above)
        return self._operation(OP_DIV, numerator, self._chain(below)) if below else numerator

    def _atom(self, atom: Parameter | Expr) -> bytes:
        return self.memo[atom] if isinstance(atom, Expr) else self._affine((0.0, (self.index_of(atom),), (1.0,)))

    def _chain(self, factors: Sequence[bytes]) -> bytes:
        digest = factors[0]
        for factor in factors[1:]:
            digest = self._operation(OP_MUL, digest, factor)
        return digest

    def _power(self, slot: bytes, exponent: int) -> bytes:
        result = slot
        for bit in bin(exponent)[3:]:
            result = self._operation(OP_MUL, result, result)
            if bit == "1":
                result = self._operation(OP_MUL, result, slot)
        return result

    def _affine(self, key: AffineKey) -> bytes:
        digest = _affine_digest(key)
        self.affine[digest] = key
        return digest

    def _operation(self, op: int, a: bytes, b: bytes) -> bytes:
        # Both commutative operations are exactly commutative in floating point.
        if op != OP_DIV and b < a:
            a, b = b, a
        digest = _operation_digest(op, a, b)
        if digest not in self.nodes:
            self.nodes[digest] = _Node(op, a, b, 1 + max(self._depth(a), self._depth(b)))
        return digest

    def _depth(self, digest: bytes) -> int:
        node = self.nodes.get(digest)
        return node.depth if node else 0


def _affine_digest(key: AffineKey) -> bytes:
    base, indices, coefficients = key
    data = struct.pack(f"<cd{len(indices)}i{len(indices)}d", b"\0", base, *indices, *coefficients)
    return hashlib.sha256(data).digest()


def _operation_digest(op: int, a: bytes, b: bytes) -> bytes:
    return hashlib.sha256(bytes([op]) + a + b).digest()


def _to_float(value: Fraction) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if abs(number) == float("inf") or (number == 0.0 and value):
        raise GraphError("a number in an expression is too large or too small for a 64-bit float")
    return number


def build_table(
    rows: AffineRows, expressions: Sequence[Expr], index_of: Callable[[Parameter], int]
) -> tuple[WeightTable, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Build the canonical table that holds `rows` and `expressions`.

    Returns
    -------
    table : WeightTable
    row_slots, expression_slots : numpy.ndarray
        The slot of every row and of every expression.
    """
    lowering = _Lowering(index_of)
    digests = [lowering.lower(expression) for expression in expressions]
    affine_digests = list(lowering.affine)
    distinct, place = rows.extended([lowering.affine[d] for d in affine_digests]).unique()
    slot_of = {digest: int(place[len(rows) + i]) for i, digest in enumerate(affine_digests)}
    nodes = sorted(lowering.nodes.items(), key=lambda item: (item[1].depth, item[0]))
    for i, (digest, _) in enumerate(nodes):
        slot_of[digest] = len(distinct) + i
    table = WeightTable(
        affine_base=distinct.base,
        affine_ptr=distinct.ptr,
        affine_param=distinct.param,
        affine_coef=distinct.coef,
        program_op=np.array([node.op for _, node in nodes], dtype=np.uint8),
        program_a=np.array([slot_of[node.a] for _, node in nodes], dtype=np.int32),
        program_b=np.array([slot_of[node.b] for _, node in nodes], dtype=np.int32),
    )
    return table, place[: len(rows)].astype(np.int32), np.array([slot_of[d] for d in digests], dtype=np.int32)


def check_canonical_order(table: WeightTable) -> None:
    """Raise GraphError unless the slots of a well-formed table are distinct and in canonical order."""
    rows = AffineRows(table.affine_base, table.affine_ptr, table.affine_param, table.affine_coef)
    _, place = rows.unique()
    if (place != np.arange(place.size)).any() or np.signbit(table.affine_base[table.affine_base == 0.0]).any():
        raise GraphError("weight table: the affine forms are not distinct and sorted")
    if not table.n_program:
        return
    digests = [_affine_digest(rows.key(row)) for row in range(len(rows))]
    depths = [0] * len(rows)
    last = (0, b"")
    operations = zip(table.program_op.tolist(), table.program_a.tolist(), table.program_b.tolist(), strict=True)
    for op, a, b in operations:
        this = (1 + max(depths[a], depths[b]), _operation_digest(op, digests[a], digests[b]))
        if this <= last or (op != OP_DIV and digests[b] < digests[a]):
            raise GraphError("weight table: the operations are not distinct and in canonical order")
        depths.append(this[0])
        digests.append(this[1])
        last = this
