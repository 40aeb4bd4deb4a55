import copy
import doctest
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import phasic_models.statespace.expr
from phasic_models.errors import GraphError, ParameterError
from phasic_models.graph import Graph
from phasic_models.statespace.expr import Expr, params
from phasic_models.statespace.table import WeightTable
from phasic_models.statespace.weights import AffineRows, build_table, check_canonical_order

A, B, C = params("a", "b", "c")
THETA = [0.7, 1.3, 2.1]

numbers = st.one_of(st.integers(-6, 6), st.floats(-1e3, 1e3, allow_nan=False).map(lambda x: round(x, 3)))
leaves = st.one_of(st.sampled_from([A, B, C]), numbers)
trees = st.recursive(
    leaves.map(lambda leaf: ("leaf", leaf)),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/"]), inner, inner),
        st.tuples(st.just("**"), inner, st.integers(-2, 3)),
    ),
    max_leaves=10,
)


def build(tree, swap=False):
    """Build a tree as an expression; with `swap`, write sums and products the other way round."""
    if tree[0] == "leaf":
        # Python would round what is made of floats alone before an expression sees it.
        return tree[1] if isinstance(tree[1], Expr) else Fraction(tree[1])
    if tree[0] == "**":
        return build(tree[1], swap) ** tree[2]
    left, right = build(tree[1], swap), build(tree[2], swap)
    if swap and tree[0] in "+*":
        left, right = right, left
    if tree[0] == "+":
        return left + right
    if tree[0] == "-":
        return left - right
    return left * right if tree[0] == "*" else left / right


def exact(tree, theta):
    """Evaluate a tree in fractions, straight from the way it was written."""
    if tree[0] == "leaf":
        leaf = tree[1]
        if isinstance(leaf, Expr):
            (parameter,) = leaf.parameters()
            return Fraction(theta[parameter.index])
        return Fraction(leaf)
    if tree[0] == "**":
        return exact(tree[1], theta) ** tree[2]
    left, right = exact(tree[1], theta), exact(tree[2], theta)
    if tree[0] == "+":
        return left + right
    if tree[0] == "-":
        return left - right
    return left * right if tree[0] == "*" else left / right


def table_of(*expressions):
    rows = AffineRows.from_keys([])
    table, _, slots = build_table(rows, expressions, lambda p: p.index)
    return table, slots


def as_expr(value):
    return value if isinstance(value, Expr) else Expr.constant(value)


def try_build(tree, swap=False):
    try:
        return as_expr(build(tree, swap))
    except (ZeroDivisionError, OverflowError):
        return None


@given(trees)
def test_order_of_writing_plays_no_part(tree):
    first, second = try_build(tree), try_build(tree, swap=True)
    if first is None or second is None:
        return
    assert first == second
    assert hash(first) == hash(second)
    assert repr(first) == repr(second)


def magnitude(expression, theta):
    """Bound the size of all intermediate sums, to judge cancellation by."""
    total = 0.0
    for monomial, coefficient in expression.terms.items():
        value = abs(float(coefficient))
        for atom, exponent in monomial:
            if isinstance(atom, Expr):
                base = atom.evaluate(theta)
                spread = magnitude(atom, theta) / abs(base) if base else math.inf
                value *= abs(base) ** exponent * spread ** abs(exponent) if base else math.inf
            else:
                value *= float(theta[atom.index]) ** exponent
        total += value
    return total


@given(trees)
@settings(max_examples=300)
def test_table_evaluates_what_was_written(tree):
    try:
        expected = exact(tree, THETA)
    except (ZeroDivisionError, OverflowError):
        return
    expression = try_build(tree)
    if expression is None:
        return
    try:
        table, slots = table_of(expression)
        scale = magnitude(expression, THETA)
    except (GraphError, OverflowError, ZeroDivisionError):
        return
    if not scale < 1e200:
        return
    value = table.evaluate(THETA)[slots[0]]
    # Powers and divisions of sums multiply relative errors by a few; cancellation is bounded by `scale`.
    assert abs(value - float(expected)) <= 1e-12 * scale


@given(st.lists(trees, min_size=1, max_size=5), st.randoms())
def test_table_does_not_depend_on_the_order_of_weights(forest, rng):
    expressions = [e for e in map(try_build, forest) if e is not None]
    shuffled = list(expressions)
    rng.shuffle(shuffled)
    try:
        first, slots = table_of(*expressions)
    except GraphError:
        return
    second, other = table_of(*shuffled)
    for name, array in first.arrays().items():
        assert array.tobytes() == second.arrays()[name].tobytes()
    assert dict(zip(expressions, slots.tolist(), strict=True)) == dict(zip(shuffled, other.tolist(), strict=True))
    first.check(3)
    check_canonical_order(first)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (A + B, B + A),
        ((A + B) + C, A + (B + C)),
        (0.1 * A + 0.2 * A + 0.3 * A, 0.3 * A + (0.2 * A + 0.1 * A)),
        (2 * (A + B), 2 * A + 2 * B),
        ((2 * A + 2 * B) * C, 2 * (A + B) * C),
        ((0.5 * A + 0.5 * B) ** 2, (A + B) ** 2 / 4),
        (A * B / B, A),
        (A / (B / C), A * C / B),
        (1 / (1 / A), A),
        (A - A, Expr.constant(0)),
        ((A + B) ** 0, Expr.constant(1)),
        ((A * B) ** -2, A**-2 / B**2),
        ((A + B) * (A + B), (A + B) ** 2),
        (3 * (A + B) + A, 4 * A + 3 * B),
        (+A, A),
        (A / 3, A * Fraction(1, 3)),
        (np.float64(2) * A, 2 * A),
        (np.int64(2) * A, A * 2),
        (np.array(2) * A, A * 2),
    ],
)
def test_equal_forms(left, right):
    assert left == right
    assert hash(left) == hash(right)


def test_products_are_not_expanded():
    # (3 - a)(3 + a) near a = 3 must not become 9 - a².
    table, slots = table_of((3 - A) * (3 + A))
    near = 3 - 2**-50
    assert table.evaluate([near, 0, 0])[slots[0]] == 2**-50 * (3 + near)


def test_array_times_expression_is_elementwise():
    product = np.array([1, 2, 3]) * A
    assert product.dtype == object
    assert product.tolist() == [A, 2 * A, 3 * A]
    assert (A * np.array([1.5, 2.5])).tolist() == [1.5 * A, 2.5 * A]
    assert (np.array([1.0, 2.0]) + A).tolist() == [1 + A, 2 + A]
    assert (A / np.array([2, 4])).tolist() == [A / 2, A / 4]
    assert (np.array([2, 4]) / A).tolist() == [2 / A, 4 / A]
    assert (np.array([2, 4]) - A).tolist() == [2 - A, 4 - A]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        (2 * B + A, "a + 2*b"),
        (-A, "-a"),
        (A - B, "a - b"),
        (A * 0, "0"),
        (A / (A + B), "a/(a + b)"),
        (1 / A / (A + B) ** 2 - 3, "-3 + 1/(a + b)**2/a"),
        (0.5 * A, "0.5*a"),
        (A / 3, "1/3*a"),
        (Expr.constant(2), "2"),
    ],
)
def test_repr(expression, text):
    assert repr(expression) == text


def test_evaluate_by_position_and_by_name():
    rate = A * B / (A + C) - 1
    assert rate.evaluate([1.0, 6.0, 2.0]) == pytest.approx(1.0)
    assert rate.evaluate({"a": 1.0, "b": 6.0, "c": 2.0}) == pytest.approx(1.0)


def test_params_gives_one_or_several():
    assert isinstance(params("x"), Expr)
    x, y = params("x", "y")
    assert x != y


@pytest.mark.parametrize("names", [(), ("a", "a"), ("",), (" ",), (1,)])
def test_params_refuses_bad_names(names):
    with pytest.raises(ValueError, match="name"):
        params(*names)


def test_bad_operations():
    with pytest.raises(TypeError, match="integer power"):
        A**0.5
    with pytest.raises(TypeError, match="integer power"):
        A**B
    with pytest.raises(ValueError, match="out of range"):
        A**5000
    with pytest.raises(ZeroDivisionError):
        A / 0
    with pytest.raises(ZeroDivisionError):
        A / (B - B)
    with pytest.raises(ValueError, match="finite"):
        A * math.nan
    with pytest.raises(ValueError, match="finite"):
        A + math.inf
    with pytest.raises(TypeError):
        A + "1"
    with pytest.raises(TypeError):
        2**A
    with pytest.raises(TypeError, match="parameters are"):
        bool(A)


def test_numbers_beyond_floats_are_refused():
    with pytest.raises(GraphError, match="too large or too small"):
        table_of(A * 10**200 * 10**200)
    with pytest.raises(GraphError, match="too large or too small"):
        table_of(A * Fraction(1, 10**400))


def test_any_depth_of_nesting():
    """The continued fraction of 1s, whose value is the golden ratio's inverse; no limit of recursion stands in the way."""
    deep = A
    for _ in range(20_000):
        deep = 1 / (1 + deep)
    table, slots = table_of(deep)
    assert table.evaluate(THETA)[slots[0]] == pytest.approx((math.sqrt(5) - 1) / 2, rel=1e-15)
    assert deep.evaluate(THETA) == pytest.approx((math.sqrt(5) - 1) / 2, rel=1e-15)
    assert deep.parameters() == A.parameters()
    assert pickle.loads(pickle.dumps(deep)) is deep
    assert copy.deepcopy(deep) is deep
    assert len(repr(deep)) < 10_000
    model = Graph.from_arrays([[1], [0]], [0], [1], [deep], initial=0).model()
    assert model.expectation(THETA) == pytest.approx((1 + math.sqrt(5)) / 2, rel=1e-14)


def test_equal_expressions_are_one_object():
    """Two that share their parts have a number of paths through them that is exponential in the depth."""

    def shared(depth):
        made = A
        for _ in range(depth):
            made = (made + A) / (made + B)
        return made

    first, second = shared(60), shared(60)
    assert first is second
    assert first != shared(59)
    assert math.isfinite(first.evaluate(THETA))
    assert len(repr(first)) < 10_000


def test_long_sum_is_one_affine_form():
    total = sum((k * A + B for k in range(1, 301)), Expr.constant(0))
    table, slots = table_of(total)
    assert len(table) == 1
    assert table.evaluate([1.0, 2.0, 0.0])[slots[0]] == 300 * 301 / 2 + 600


def test_expressions_pickle():
    rate = (A + B) / C
    assert pickle.loads(pickle.dumps(rate)) == rate


def test_evaluate_of_a_batch():
    table, slots = table_of(A + 2 * B, A * B / (A + B))
    theta = np.array([[1.0, 2.0, 0.0], [0.5, 0.25, 0.0]])
    batch = table.evaluate(theta)
    assert batch.shape == (2, len(table))
    for row, one in zip(batch, theta, strict=True):
        assert row.tolist() == table.evaluate(one).tolist()
    assert batch[0, slots].tolist() == pytest.approx([5.0, 2 / 3])


@pytest.mark.parametrize("theta", [[1.0], [[[1.0]]], 1.0])
def test_evaluate_refuses_bad_theta(theta):
    table, _ = table_of(A + B)
    with pytest.raises(ParameterError):
        table.evaluate(theta)


def plain_table(**changes):
    arrays = {
        "affine_base": [0.0, 1.0],
        "affine_ptr": [0, 2, 2],
        "affine_param": [0, 1],
        "affine_coef": [1.0, 2.0],
        "program_op": [1],
        "program_a": [0],
        "program_b": [1],
    }
    return WeightTable(**{**arrays, **changes})


def test_check_accepts_a_good_table():
    plain_table().check(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"affine_ptr": [0, 2]}, "affine_ptr"),
        ({"affine_ptr": [0, 3, 2]}, "affine_ptr"),
        ({"affine_ptr": [1, 2, 2]}, "affine_ptr"),
        ({"affine_coef": [1.0]}, "length"),
        ({"affine_coef": [1.0, 0.0]}, "zero"),
        ({"affine_coef": [1.0, math.nan]}, "finite"),
        ({"affine_base": [0.0, math.inf]}, "finite"),
        ({"affine_param": [0, 2]}, "outside"),
        ({"affine_param": [-1, 1]}, "outside"),
        ({"affine_param": [1, 0]}, "ascending"),
        ({"affine_param": [1, 1]}, "ascending"),
        ({"program_a": [2]}, "earlier"),
        ({"program_b": [-1]}, "earlier"),
        ({"program_op": [4]}, "unknown"),
        ({"program_op": [0]}, "unknown"),
        ({"program_op": [1, 1]}, "length"),
        ({"affine_base": [[0.0, 1.0]]}, "one-dimensional"),
    ],
)
def test_check_refuses(changes, message):
    with pytest.raises(GraphError, match=message):
        plain_table(**changes).check(2)


@pytest.mark.parametrize("changes", [{"affine_param": [0, 2**40]}, {"affine_param": [0, 0.5]}, {"program_op": [257]}])
def test_table_refuses_values_that_do_not_fit(changes):
    with pytest.raises(GraphError, match="does not fit"):
        plain_table(**changes)


def test_table_does_not_write_to_or_lock_the_callers_arrays():
    base = np.array([0.0, 1.0])
    table = plain_table(affine_base=base)
    base[0] = 0.0
    with pytest.raises(ValueError, match="read-only"):
        table.affine_base[0] = 3.0


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.lists(
        st.tuples(finite, st.dictionaries(st.integers(0, 4), finite.filter(bool), max_size=3)), min_size=1, max_size=12
    )
)
def test_unique_sorts_rows_as_tuples(rows):
    keys = [(base + 0.0, tuple(sorted(c)), tuple(c[i] for i in sorted(c))) for base, c in rows]
    given_rows = AffineRows.from_keys(keys)
    distinct, place = given_rows.unique()
    assert [distinct.key(i) for i in range(len(distinct))] == sorted(set(keys))
    assert [distinct.key(i) for i in place.tolist()] == keys
    slow, slow_place = given_rows._unique_by_tuples()
    assert [slow.key(i) for i in range(len(slow))] == sorted(set(keys))
    assert slow_place.tolist() == place.tolist()


def test_examples_in_docstrings():
    assert doctest.testmod(phasic_models.statespace.expr).failed == 0
