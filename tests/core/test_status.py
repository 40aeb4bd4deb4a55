"""Every status code of the core has a text and an exception, and the exception says where."""

import re

import numpy as np
import pytest

from phasic_models.core.native import ffi, lib
from phasic_models.core.refusals import check, theta_text
from phasic_models.errors import (
    GraphError,
    InfiniteExpectationError,
    NumericalError,
    ParameterError,
    PhasicModelsError,
)
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

CODES = {name: getattr(lib, name) for name in dir(lib) if re.fullmatch(r"PM_(OK|E_[A-Z_]+)", name)}


@pytest.fixture(scope="module")
def graph():
    """Vertices: start, (0, 9), (1, 4), (2, 7); the second slot belongs to the way from (2, 7) to (1, 4)."""
    a, b = params("a", "b")
    moves = {(2, 7): [((1, 4), b)], (1, 4): [((0, 9), a)], (0, 9): []}
    return Graph(lambda s: moves[tuple(s.tolist())], ipv=[2, 7], param_names=["a", "b"])


def raised(error, graph, code, a=0, b=0, value=0.0, **arrays):
    where = ffi.new("pm_where *")
    where.a, where.b, where.value = a, b, value
    with pytest.raises(error) as caught:
        check(code, where, graph, **arrays)
    assert type(caught.value) is error
    return str(caught.value)


def slot_of(graph, source, target):
    first, last = graph.edge_ptr[source : source + 2]
    edge = first + graph.edge_target[first:last].tolist().index(target)
    return int(graph.edge_slot[edge])


THETA = np.array([[1.0, 2.0], [3.0, -0.5]])


def test_codes_are_distinct_and_have_texts():
    assert len(set(CODES.values())) == len(CODES) >= 12
    texts = {name: ffi.string(lib.pm_message(code)).decode() for name, code in CODES.items()}
    assert len(set(texts.values())) == len(texts)
    assert "unknown status" not in texts.values()
    for code in (1, 99, -99, min(CODES.values()) - 1, 2**31 - 1, -(2**31)):
        assert ffi.string(lib.pm_message(code)).decode() == "unknown status"


def test_all_is_well(graph):
    assert check(lib.PM_OK, None, graph) is None
    assert check(lib.PM_OK, ffi.new("pm_where *"), graph, THETA) is None


@pytest.mark.parametrize("code", [code for code in CODES.values() if code != lib.PM_OK])
def test_no_error_passes_in_silence(graph, code):
    where = ffi.new("pm_where *")
    for given in (where, None):
        with pytest.raises((PhasicModelsError, MemoryError)) as caught:
            check(code, given, graph, THETA, np.array([1.0]))
        assert str(caught.value)


def test_an_unknown_code_is_an_error(graph):
    with pytest.raises(PhasicModelsError, match="unknown status"):
        check(-99, ffi.new("pm_where *"), graph)
    with pytest.raises(PhasicModelsError, match="unknown status"):
        check(7, None, graph)


def test_memory(graph):
    assert raised(MemoryError, graph, lib.PM_E_MEMORY) == "out of memory for a model of 4 vertices"


def test_index(graph):
    text = raised(GraphError, graph, lib.PM_E_INDEX, a=3, b=17)
    assert text == "an index of the graph is out of bounds or out of order (array 3, entry 17)"


def test_weights(graph):
    slot = slot_of(graph, 3, 2)
    where = "the transition from state (2, 7) to state (1, 4)"
    text = raised(ParameterError, graph, lib.PM_E_NEGATIVE, a=1, b=slot, value=-0.5, theta=THETA)
    assert text == f"theta[1, 1] (b) is -0.5: the weight of {where} is negative, -0.5 at theta[1] = [ 3.  -0.5]"
    text = raised(ParameterError, graph, lib.PM_E_NOT_FINITE, a=0, b=slot, value=np.nan, theta=THETA[:1])
    assert text == f"the weight of {where} is nan at theta = [1. 2.]"
    start = slot_of(graph, 0, 3)
    text = raised(ParameterError, graph, lib.PM_E_NEGATIVE, b=start, value=-1.0)
    assert text == "the weight of the transition from the starting vertex to state (2, 7) is negative, -1.0"


def test_probabilities(graph):
    text = raised(ParameterError, graph, lib.PM_E_PROBABILITY, a=0, b=2, value=1.25, theta=THETA)
    assert text == "the jump probabilities out of state (1, 4) sum to 1.25 at theta[0] = [1. 2.], more than 1"


def test_infinite(graph):
    text = raised(InfiniteExpectationError, graph, lib.PM_E_INFINITE, a=1, b=3, theta=THETA)
    assert text.startswith(
        "absorption is not certain at theta[1] = [ 3.  -0.5]: state (2, 7) is reached and never left"
    )
    text = raised(
        InfiniteExpectationError, graph, lib.PM_E_INFINITE, a=1, b=3, value=lib.PM_INFINITE_REWARD, theta=THETA
    )
    assert text.endswith(
        "state (2, 7) is reached and never left for good, and its reward is earned for ever, so the expectation is infinite"
    )
    text = raised(
        InfiniteExpectationError, graph, lib.PM_E_INFINITE, a=1, b=3, value=lib.PM_INFINITE_IF_ENTERED, theta=THETA
    )
    assert text.startswith("the expectation has no derivative at theta[1]")
    assert text.endswith("state (2, 7) would be reached, and absorption would not be certain")
    text = raised(
        InfiniteExpectationError, graph, lib.PM_E_INFINITE, a=1, b=3, value=lib.PM_INFINITE_IF_LEFT, theta=THETA
    )
    assert text.startswith("the expectation has no derivative at theta[1]")
    assert text.endswith("with a weight that is zero there it would be left, and more would be earned")


def test_initial(graph):
    text = raised(ParameterError, graph, lib.PM_E_INITIAL, a=1, theta=THETA)
    assert text == "the initial probabilities sum to zero at theta[1] = [ 3.  -0.5]"


def test_overflow(graph):
    text = raised(NumericalError, graph, lib.PM_E_OVERFLOW, theta=THETA[:1])
    assert text == "the result is too large for a double at theta = [1. 2.]"


def test_times(graph):
    times = np.array([0.0, 1.0, -2.0])
    text = raised(ParameterError, graph, lib.PM_E_TIME, b=2, value=-2.0, times=times)
    assert text == "times[2] is -2.0; it must be 0 or more, and finite"
    text = raised(ParameterError, graph, lib.PM_E_TIME, value=np.nan, times=times[:1])
    assert text == "the time is nan; it must be 0 or more, and finite"
    steps = Graph(lambda s: [((0,), 0.5)] if s[0] else [], ipv=[1], discrete=True)
    text = raised(ParameterError, steps, lib.PM_E_TIME, b=1, value=0.5, times=times)
    assert text == "times[1] is 0.5; it must be a whole number of steps, 0 or more"


def test_limit(graph):
    text = raised(NumericalError, graph, lib.PM_E_LIMIT, value=1.25e9, theta=THETA[:1])
    assert text == "uniformization would need 1.25e+09 steps at theta = [1. 2.], more than max_steps allows"


def test_where_in_the_batch():
    assert theta_text(None, 0) == ""
    assert theta_text(np.empty((3, 0)), 2) == ""
    assert theta_text(np.array([[0.1]]), 0) == " at theta = [0.1]"
    assert theta_text(np.array([[0.1], [0.2]]), 1) == " at theta[1] = [0.2]"
    long = theta_text(np.arange(1000.0)[None], 0)
    assert "..." in long
    assert len(long) < 80
    assert "\n" not in theta_text(np.full((1, 8), 1 / 3), 0)
