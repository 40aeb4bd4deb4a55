"""Exploration: callbacks of every kind, blocks, keys of states, numbers of weights, and what is said of long runs."""

import io
import math
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phasic_models.errors import GraphError
from phasic_models.graph import Graph
from phasic_models.statespace.callbacks import CallbackReader
from phasic_models.statespace.explore import Explorer
from phasic_models.statespace.expr import Expr, params
from phasic_models.statespace.growth import Watch, growing_entry
from phasic_models.statespace.keys import keys_of, packer, states_of
from phasic_models.statespace.weights import AffineRows, Weights, WeightSums

A, B = params("a", "b")
C = params("c")

# --- keys of states --------------------

entries = st.integers(-(2**63), 2**63 - 1) | st.integers(-130, 130)


@given(
    st.integers(1, 12).flatmap(lambda n: st.lists(st.lists(entries, min_size=n, max_size=n), min_size=1, max_size=9))
)
def test_a_key_is_its_state(rows):
    states = np.array(rows, dtype=np.int64)
    keys = keys_of(states)
    pack = packer(states.shape[1])
    assert keys == [pack(*row) for row in rows]
    assert len(set(keys)) == len({tuple(row) for row in rows})
    found = states_of(keys, states.shape[1])
    assert found.tolist() == rows
    assert found.dtype == np.int64
    assert not found.flags.writeable


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64])
@pytest.mark.parametrize("length", [1, 8, 9, 40])
def test_keys_do_not_depend_on_the_type_of_an_array(dtype, length):
    states = np.arange(3 * length).reshape(3, length) % 100 - 50
    assert keys_of(states.astype(dtype)) == keys_of(states)


# --- numbers of weights --------------------

forms = st.tuples(st.floats(0.5, 2.0), st.just((0,)), st.tuples(st.floats(0.5, 2.0))) | st.tuples(
    st.floats(0.0, 1.0), st.just(()), st.just(())
)
added = st.one_of(forms, st.sampled_from([A * B, A / B, B / A, 1 / (A + B)]), st.lists(forms, max_size=3))


@given(st.lists(added, max_size=12))
def test_a_weight_keeps_its_number(steps):
    weights = Weights()
    expected = {}
    for step in steps:
        if isinstance(step, list):
            first = weights.add_rows(AffineRows.from_keys(step))
            expected.update(enumerate(step, first))
        else:
            expected[weights.add(step)] = step
        assert all(weights.get(number) == value for number, value in expected.items())
    assert sorted(expected) == list(range(len(weights)))
    assert len(weights.rows()) == len(weights)
    for number, value in enumerate(weights.constants()):
        plain = not isinstance(expected[number], Expr) and not expected[number][1]
        assert value == expected[number][0] if plain else math.isnan(value)


def test_sums_are_made_once_and_in_any_order():
    weights = Weights()
    numbers = [weights.constant(0.1), weights.add((0.2, (1,), (3.0,))), weights.add(A * B), weights.constant(0.3)]
    sums = WeightSums(weights, ("a", "b"))
    total = sums.add(numbers, lambda: "here")
    assert sums.add(numbers[::-1], lambda: "here") == total
    assert weights.constant(0.1) == numbers[0]
    assert weights.add(B * A) == numbers[2]
    exact = sum(map(Fraction, (0.1, 0.2, 0.3)))
    assert weights.get(total) == A * B + 3 * B + Expr({frozenset(): exact})
    assert weights.get(sums.add([numbers[0], numbers[3], numbers[0]], lambda: "here")) == (
        math.fsum((0.1, 0.3, 0.1)),
        (),
        (),
    )
    huge = weights.constant(1.7e308)
    sums = WeightSums(weights, ("a", "b"))
    with pytest.raises(GraphError, match="here: the sum of parallel transitions is too large"):
        sums.add([huge, huge], lambda: "here")


def test_the_table_holds_what_is_in_use():
    weights = Weights()
    three, product, unused, form = (
        weights.constant(3.0),
        weights.add(A * B),
        weights.add(A / B),
        weights.add((1.0, (0,), (2.0,))),
    )
    assert unused == 2
    table, slots = weights.table(np.array([form, three, product, form]), lambda p: p.index)
    assert table.evaluate([5.0, 7.0])[slots].tolist() == [11.0, 3.0, 35.0, 11.0]
    # 3, 1 + 2 a, and a and b, which the product is made of; not the quotient.
    assert len(table) == 5


# --- forms of states and weights --------------------


class Odd:
    """An integer of its own kind."""

    def __index__(self):
        return 2


EQUAL_STATES = [[2, 1], (2, 1), np.array([2, 1]), np.array([2.0, 1.0]), [2.0, 1], np.array([2, 1], dtype=np.uint8)]
EQUAL_STATES += [[np.int32(2), True], [Odd(), 1], range(2, 0, -1), {2: 0, 1: 0}, np.array([2, 1], dtype=object)]


@pytest.mark.parametrize("state", EQUAL_STATES)
@pytest.mark.parametrize("known", [False, True])
def test_every_form_of_a_state(state, known):
    """Whether or not the weight was seen before, which takes another way."""
    first = [([0, 0], 1.0)] if known else []
    graph = Graph(lambda s: [*first, (state, 1.0)] if s[0] == 3 else [], ipv=[3, 3])
    assert [2, 1] in graph.states().tolist()


def test_a_state_that_can_be_read_once():
    graph = Graph(lambda s: [([0, 0], 1.0), ((i for i in (2, 1)), 1.0)] if s[0] == 3 else [], ipv=[3, 3])
    assert [2, 1] in graph.states().tolist()
    with pytest.raises(GraphError, match=r"transition 1: state \(2\) has length 1"):
        Graph(lambda s: [([0, 0], 1.0), ((i for i in (2,)), 1.0)] if s[0] == 3 else [], ipv=[3, 3])


EQUAL_CONSTANTS = [
    2.0,
    2,
    np.float64(2),
    np.float32(2),
    np.int8(2),
    Fraction(2),
    np.array(2.0),
    Expr.constant(2),
]
FORMS = [
    (b, c)
    for b in (2.0, 2, np.int64(2), Fraction(2))
    for c in ([0.0, 3.0], (0, 3), np.array([0, 3]), [0.0, Fraction(3)], [0, np.array(3.0)])
]


@pytest.mark.parametrize("value", EQUAL_CONSTANTS)
@pytest.mark.parametrize("before", [[], [([5], 2.0)], [([5], 2.0, [0.0, 0.0])]])
def test_every_form_of_a_constant(value, before):
    def build(weight):
        return Graph(lambda s: [*before, ([0], weight)] if s[0] == 1 else [], ipv=[1]).content_hash()

    assert build(value) == build(2.0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("before", [[], [([5], 2.0, [0.0, 3.0])]])
def test_every_form_of_coefficients(form, before):
    def build(*weight):
        return Graph(lambda s: [*before, ([0], *weight)] if s[0] == 1 else [], ipv=[1]).content_hash()

    assert build(*form) == build(2.0, [0.0, 3.0])
    assert (
        Graph(lambda s: [([0], form[1])] if s[0] else [], ipv=[1]).content_hash()
        == Graph(lambda s: [([0], 0.0, [0.0, 3.0])] if s[0] else [], ipv=[1]).content_hash()
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (([0], np.complex128(2 + 1j), [0.0]), r"transition 1 to \(0\): the base weight must be a real number"),
        (([0], 2.0, [np.complex128(1j)]), "coefficient 0 must be a real number"),
        (([0], np.complex128(2)), "coefficients must be a sequence"),
        (([0], 2.0, [[0.0]]), "coefficient 0 must be a real number"),
        (([0], "2"), "coefficient 0 must be a real number"),
        (([0], 2.0, "0"), "coefficient 0 must be a real number"),
        (([0], 2.0, [0.0, 0.0]), "has 2 coefficients, expected 1"),
        (([0], 2.0, []), "has 0 coefficients, expected 1"),
        (([0], []), "has 0 coefficients, expected 1"),
        (([0], math.nan, [0.0]), "the base weight is nan"),
        (([0], 2**1100, [0.0]), "the base weight must be a real number"),
        (([np.complex128(1)], 2.0, [0.0]), "sequence of integers"),
        (([Fraction(1)], 2.0, [0.0]), "sequence of integers"),
        (([math.inf], 2.0, [0.0]), "sequence of integers"),
        (([2**63], 2.0, [0.0]), "64-bit"),
        (([0, 0], 2.0, [0.0]), r"transition 1: state \(0, 0\) has length 2, expected 1"),
        ({(0,): 1, 2.0: 2}, "expected"),
        (np.array([[0], [2.0]], dtype=object), "expected"),
        ((), "expected"),
        (([0], -2.0, [0.0]), "the weight -2.0 is negative"),
    ],
)
def test_what_is_wrong_is_named_though_its_neighbour_was_right(bad, message):
    """The first transition teaches the reader the weight 2 and the number of parameters."""
    with pytest.raises(GraphError, match=message) as caught:
        Graph(lambda s: [([0], 2.0, [0.0]), bad] if s[0] == 1 else [], ipv=[1])
    assert str(caught.value).startswith("state (1), transition 1")


def test_the_first_mistake_is_the_one_that_is_named():
    """Whatever a later state of the same chunk does: too many states, then a bad weight, then an exception."""

    def callback(state):
        k = int(state[0])
        if k == 0:
            return [([i], 1.0) for i in range(1, 10)]
        if k == 2:
            return [([20], 1.0), ([21], 1.0)]
        if k == 3:
            return [([0], -1.0)]
        if k == 4:
            raise RuntimeError
        return []

    with pytest.raises(GraphError, match=r"^state \(2\), transition 1 to \(21\): more than max_states=11 states"):
        Graph(callback, ipv=[0], max_states=11)
    with pytest.raises(GraphError, match=r"^state \(3\), transition 0 to \(0\): the weight -1.0 is negative"):
        Graph(callback, ipv=[0])
    with pytest.raises(GraphError, match=r"^state \(4\): the callback raised RuntimeError"):
        Graph(callback, ipv=[4])


def test_mistakes_in_order():
    def callback(state):
        k = int(state[0])
        return {0: [([1], 1.0), ([2], 1.0), ([3], 1.0)], 1: [], 2: [([0], 1.0), ([0], math.nan)], 3: [([0, 0], 1.0)]}[k]

    with pytest.raises(GraphError, match=r"^state \(2\), transition 1 to \(0\): the weight is nan"):
        Graph(callback, ipv=[0])


@pytest.mark.parametrize("order", [1, -1])
def test_forms_are_not_taken_for_each_other(order):
    """Numbers that look alike: a base, a coefficient, a rate, and an expression."""
    weights = [(1.0, [3.0]), ([3.0],), (3.0,), (3.0, [1.0]), (0.0, [1.0]), (1.0, [0.0]), (C * C,), (C + 1,)]
    graph = Graph(lambda s: [([i], *w) for i, w in enumerate(weights)][::order] if s[0] == 99 else [], ipv=[99])
    assert graph.weights.evaluate([5.0])[graph.edge_slot[1:]].tolist() == [16.0, 15.0, 3.0, 8.0, 5.0, 1.0, 25.0, 6.0]


def test_a_weight_is_read_once(monkeypatch):
    read = []
    weight = CallbackReader._weight
    monkeypatch.setattr(CallbackReader, "_weight", lambda self, parts: read.append(parts) or weight(self, parts))
    Graph(lambda s: [([s[0] - 1], 0.0, [2.0]), ([0], C), ([0], 0.0)] if s[0] else [], ipv=[500])
    assert len(read) == 3


def test_zero_weights_do_not_shift_names():
    """Even states lead to 0 (at rate zero), k + 1 and k + 2, odd ones to k + 2 alone."""

    def callback(states):
        k = states[:, 0]
        rates = np.concatenate([0.0 * k, 1.0 - k % 2, np.ones(k.size)])
        return np.tile(np.arange(k.size), 3), np.concatenate([0 * states, states + 1, states + 2]), rates

    with pytest.raises(GraphError, match=r"^state \(4\), transition to \(6\): more than max_states=6"):
        Graph(callback, ipv=[0], vectorized=True, max_states=6)


def test_an_empty_callback():
    assert Graph(lambda s: (), ipv=[3]).vertices_length() == 2
    assert Graph(lambda s: iter([]), ipv=[3]).vertices_length() == 2
    assert Graph(lambda s: [], ipv=[3], vectorized=True).n_edges == 1


def test_states_of_long_rows_that_outgrow_a_byte():
    def single(state):
        k = int(state[0])
        return [([k + 100, *[0] * 9, -k], 1.0)] if k < 1000 else []

    def many(states):
        up = states[:, 0] < 1000
        out = np.zeros_like(states[up])
        out[:, 0], out[:, -1] = states[up, 0] + 100, -states[up, 0]
        return up, out, 1.0

    start = [0] * 11
    graph = Graph(single, ipv=start)
    assert graph.states()[-1].tolist() == [1000, *[0] * 9, -900]
    assert Graph(many, ipv=start, vectorized=True).content_hash() == graph.content_hash()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, np.float64])
def test_next_states_of_any_type(dtype):
    graph = Graph(lambda s: (s[:, 0] > 0, (s[s[:, 0] > 0] - 1).astype(dtype), 1.0), ipv=[50] * 12, vectorized=True)
    assert graph.vertices_length() == 52


def test_unsigned_next_states_beyond_64_bits():
    with pytest.raises(GraphError, match="64-bit integers"):
        Graph(
            lambda s: ([0], np.array([[2**64 - 1]], dtype=np.uint64), 1.0) if s[0, 0] else [], ipv=[1], vectorized=True
        )


def test_many_distinct_weights():
    rates = np.random.default_rng(1).random(2000)
    single = Graph(lambda s: [([s[0] - 1], rates[s[0] - 1])] if s[0] else [], ipv=[2000])
    many = Graph(lambda s: (s[:, 0] > 0, s[s[:, 0] > 0] - 1, rates[s[s[:, 0] > 0, 0] - 1]), ipv=[2000], vectorized=True)
    assert single.content_hash() == many.content_hash()
    assert single.weights.evaluate([])[single.edge_slot[1:]].tolist() == rates.tolist()


# --- long and endless explorations --------------------


def walk(state):
    """An open queue with a switch: the first entry grows without end."""
    k, on = state.tolist()
    return [([k + 1, on], 1.0), ([max(k - 1, 0), on], 1.0), ([k, 1 - on], 1.0)]


def test_an_endless_space_names_the_entry_that_grows():
    message = r"more than max_states=2000 states; entry 0 of the state grows: the largest value is \d+ in"
    with pytest.raises(GraphError, match=message) as caught:
        Graph(walk, ipv=[0, 0], max_states=2000)
    words = [int(word) for word in str(caught.value).replace(",", "").split() if word.isdigit()]
    assert 450 < words[-2] < 550
    assert words[-1] > 950


def test_an_endless_space_that_falls():
    with pytest.raises(GraphError, match=r"entry 1 of the state grows: the smallest value is -\d+ in"):
        Graph(lambda s: [([5, s[1] - 3], 1.0)], ipv=[5, 0], max_states=100)
    with pytest.raises(GraphError, match=r"entry 1 of the state grows: the smallest value is -\d+ in"):
        Graph(lambda s: (np.arange(len(s)), s - [0, 3], 1.0), ipv=[5, 0], max_states=100, vectorized=True)


def test_two_entries_that_grow_slowly():
    """On a quarter of the plane an entry grows with the square root of the number of states."""
    with pytest.raises(GraphError, match=r"entry [01] of the state grows"):
        Graph(lambda s: [([s[0] + 1, s[1], 0], 1.0), ([s[0], s[1] + 1, 0], 1.0)], ipv=[0, 0, 0], max_states=3000)


def test_a_space_that_is_merely_large_names_no_entry():
    rng = np.random.default_rng(0)
    keys = keys_of(rng.integers(0, 10, (5000, 3)))
    assert growing_entry(keys, 3) is None
    assert growing_entry(keys[:1], 3) is None
    assert growing_entry([], 3) is None


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_long_exploration_reports_to_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("COLUMNS", "80")
    now = iter(range(0, 10**9, 1))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    with pytest.raises(GraphError, match="max_states"):
        Graph(walk, ipv=[0, 0], max_states=4000)
    shown = screen.getvalue()
    assert "states found" in shown
    assert "; entry 0 of the state grows, now " in shown
    assert max(map(len, shown.split("\r"))) < 80
    assert shown.endswith("\r")


def test_nothing_is_said_where_nobody_looks(monkeypatch, capsys):
    now = iter(range(0, 10**9, 10))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    Graph(lambda s: [([s[0] - 1], 1.0)] if s[0] else [], ipv=[100])
    assert capsys.readouterr().err == ""


def test_a_short_exploration_says_nothing(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    Graph(lambda s: [([s[0] - 1], 1.0)] if s[0] else [], ipv=[100])
    assert screen.getvalue() == ""


def test_progress_is_called_now_and_then_and_at_the_end():
    calls = []
    Graph(lambda s: [([s[0] - 1], 1.0)] if s[0] else [], ipv=[10_000], progress=lambda *numbers: calls.append(numbers))
    assert len(calls) == 3
    assert calls[-1] == (10_001, 10_001)
    watch = Watch(lambda *numbers: calls.append(numbers), lambda: None)
    with pytest.raises(ZeroDivisionError), watch:
        raise ZeroDivisionError
    assert len(calls) == 3


def test_an_exploration_can_be_interrupted():
    def callback(state):
        if state[0] == 50:
            raise KeyboardInterrupt
        return [([state[0] + 1], 1.0)]

    explorer = Explorer(CallbackReader(callback, parameterized=None, n_params=None), max_states=100, progress=None)
    with pytest.raises(KeyboardInterrupt):
        explorer.run([0])
