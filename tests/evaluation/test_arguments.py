"""Bad input: each its own error that names the entry, never a number, and the model is still good afterwards."""

import contextlib
import pickle
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phasic_models.errors import InfiniteExpectationError, NumericalError, ParameterError, PhasicModelsError
from phasic_models.evaluation import arguments
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

HUGE = 10**400


def islands(state):
    """Two lineages in two islands: they meet at rate coal, move at rate mig."""
    if len(state) == 0:
        return [([1, 1, 0], 1.0, [1.0, 0.0])]
    here, there, done = state.tolist()
    if done:
        return []
    moves = []
    if here == 2 or there == 2:
        moves.append(([0, 0, 1], 0.0, [1.0, 0.0]))
    if here:
        moves.append(([here - 1, there + 1, 0], 0.0, [0.0, float(here)]))
    if there:
        moves.append(([here + 1, there - 1, 0], 0.0, [0.0, float(there)]))
    return moves


def coin(state):
    """A discrete chain: heads with probability p ends it."""
    if len(state) == 0:
        return [([1], 1.0, [1.0])]
    return [([0], 0.0, [1.0])] if state[0] else []


def fraction(state):
    """A rate x / y and an initial probability x - 1."""
    x, y = params("x", "y")
    if len(state) == 0:
        return [([1], x - 1), ([2], y)]
    return [([0], x / y)] if state[0] else []


@pytest.fixture(scope="module")
def model():
    return Graph(islands, param_names=["coal", "mig"]).model()


@pytest.fixture(scope="module")
def discrete():
    return Graph(coin, discrete=True, param_names=["p"]).model()


@contextlib.contextmanager
def refused(model, error, *texts, theta=(1.0, 0.5)):
    """Expect an error whose message holds all `texts`; before and after the model gives the same answer."""
    before = model.expectation(theta), model.pdf(theta, [1.0]).tolist()
    with pytest.raises(error) as caught:
        yield
    for text in texts:
        assert text in str(caught.value)
    assert isinstance(caught.value, (PhasicModelsError, MemoryError))
    assert (model.expectation(theta), model.pdf(theta, [1.0]).tolist()) == before


METHODS = {
    "expectation": lambda m, theta: m.expectation(theta),
    "moments": lambda m, theta: m.moments(theta, 2),
    "variance": lambda m, theta: m.variance(theta),
    "sojourn": lambda m, theta: m.sojourn(theta),
    "moments_and_grad": lambda m, theta: m.moments_and_grad(theta, 1),
    "pdf": lambda m, theta: m.pdf(theta, [1.0]),
    "cdf": lambda m, theta: m.cdf(theta, [1.0]),
    "sf": lambda m, theta: m.sf(theta, [1.0]),
    "pdf_and_grad": lambda m, theta: m.pdf_and_grad(theta, [1.0]),
    "quantile": lambda m, theta: m.quantile(theta, 0.5),
    "sample": lambda m, theta: m.sample(theta, 3, seed=1),
    "laplace": lambda m, theta: m.laplace(theta, 1.0),
    "covariance_matrix": lambda m, theta: m.covariance_matrix(theta, np.ones((2, m.states.shape[0]))),
    "joint_moment": lambda m, theta: m.joint_moment(theta, np.ones((2, m.states.shape[0]))),
    "call": lambda m, theta: m(theta, [1.0]),
    "rewarded": lambda m, theta: m.cdf(theta, [1.0], np.arange(m.states.shape[0])),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)


@every_method
class TestTheta:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_that_is_not_finite(self, model, method, value):
        with refused(model, ParameterError, "theta[1]", "(mig)", str(value)):
            method(model, [1.0, value])
        with refused(model, ParameterError, "theta[2, 0]", "(coal)", str(value)):
            method(model, [[1.0, 1.0], [1.0, 1.0], [value, 1.0]])

    @pytest.mark.parametrize("theta", [[], [1.0], [1.0, 1.0, 1.0], [[1.0]], [[[1.0, 1.0]]], 1.0, None, [[], []]])
    def test_of_another_shape(self, model, method, theta):
        shape = str(np.shape(() if theta is None else theta))
        with refused(model, ParameterError, "theta", "(2,)", "(batch, 2)", "coal, mig", shape):
            method(model, theta)

    @pytest.mark.parametrize(
        "theta", ["1 2", ["a", "b"], [object(), 1.0], [[1.0, 2.0], [1.0]], [1.0, HUGE], {}, [1j, 1.0], [None, 1.0]]
    )
    def test_that_is_no_number(self, model, method, theta):
        with refused(model, ParameterError, "theta"):
            method(model, theta)

    @pytest.mark.parametrize(
        "theta",
        [
            np.array([1.0, 2.0 + 0j]),
            np.array(["1", "2"]),
            np.array([1, 2], "m8[s]"),
            np.array(["2020-01-01"] * 2, "M8[D]"),
        ],
    )
    def test_arrays_of_another_kind(self, model, method, theta):
        with refused(model, ParameterError, "theta"):
            method(model, theta)

    def test_that_makes_a_rate_negative(self, model, method):
        with refused(model, ParameterError, "negative", "-0.5", "state (1, 1, 0)", "theta = [ 1.  -0.5]"):
            method(model, [1.0, -0.5])
        with refused(model, ParameterError, "negative", "theta[1] = ", "(0, 0, 1)"):
            method(model, [[1.0, 1.0], [-1.0, 0.5]])


FINITE = {
    name: METHODS[name]
    for name in ("expectation", "moments", "variance", "moments_and_grad", "covariance_matrix", "joint_moment")
}


@pytest.mark.parametrize("method", FINITE.values(), ids=FINITE)
def test_absorption_that_is_not_certain(model, method):
    # Without migration the two lineages never meet.
    with refused(model, InfiniteExpectationError, "absorption is not certain", "state (1, 1, 0)", "theta = [1. 0.]"):
        method(model, [1.0, 0.0])
    with refused(model, InfiniteExpectationError, "theta[9] = [0. 1.]"):
        method(model, [[1.0, 0.1]] * 9 + [[0.0, 1.0]] + [[1.0, 0.2]] * 3)


def test_distributions_may_be_defective(model):
    assert model.pdf([1.0, 0.0], [0.0, 1.0, 1e6]).tolist() == [0.0, 0.0, 0.0]
    assert model.cdf([1.0, 0.0], 10.0) == 0.0
    assert model.sf([1.0, 0.0], 10.0) == pytest.approx(1.0, abs=1e-12)
    assert model.laplace([1.0, 0.0], 2.0) == 0.0


def test_a_transform_where_no_clock_runs(model):
    assert model.laplace([[1.0, 0.5], [1.0, 0.0]], [0.0]).tolist() == [[1.0], [0.0]]


def test_a_derivative_that_does_not_exist():
    def spur(state):
        if len(state) == 0:
            return [([1], 1.0, [1.0, 0.0])]
        return {1: [([0], 1.0, [0.0, 0.0]), ([2], 0.0, [1.0, 0.0])], 2: [([0], 0.0, [0.0, 1.0])], 0: []}[int(state[0])]

    model = Graph(spur).model()
    assert model.expectation([0.0, 0.0]) == 1.0
    with refused(model, InfiniteExpectationError, "no derivative", "state (2)", theta=(1.0, 1.0)):
        model.moments_and_grad([0.0, 0.0], 1)
    assert model.moments_and_grad([0.0, 2.0], 1)[1].tolist() == [[0.5 - 1.0, 0.0]]


def test_weights_that_are_not_finite():
    model = Graph(fraction).model()
    with refused(model, ParameterError, "the transition from state (1) to state (0)", "inf", theta=(2.0, 2.0)):
        model.expectation([1.0, 0.0])
    with refused(model, ParameterError, "inf", theta=(2.0, 2.0)):
        model.expectation([1e300, 1e-300])
    text = "the transition from the starting vertex to state (1)"
    with refused(model, ParameterError, text, "negative", "-0.5", theta=(2.0, 2.0)):
        model.expectation([0.5, 1.0])


def test_nothing_to_start_from():
    x, y = params("x", "y")
    model = Graph(lambda s: [([1], x), ([2], y)] if len(s) == 0 else ([([0], 1 + x)] if s[0] else [])).model()
    for method in METHODS.values():
        with refused(model, ParameterError, "initial probabilities", "zero", "theta[1] = [0. 0.]"):
            method(model, [[1.0, 1.0], [0.0, 0.0]])
    assert model.expectation([0.0, 3.0]) == 1.0


def test_probabilities_above_one(discrete):
    for name, method in METHODS.items():
        if name == "rewarded":
            continue
        with refused(discrete, ParameterError, "state (1)", "1.25", "more than 1", theta=(0.5,)):
            method(discrete, [1.25])


@pytest.mark.parametrize("value", [-1.0, -1e-300, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["pdf", "cdf", "sf", "pdf_and_grad"])
def test_times_out_of_range(model, name, value):
    evaluate = getattr(model, name)
    with refused(model, ParameterError, "times[3]", str(value), "0 or more"):
        evaluate([1.0, 1.0], [1.0, 0.0, 2.0, value, value])
    with refused(model, ParameterError, "the time is", str(value)):
        evaluate([1.0, 1.0], value)


@pytest.mark.parametrize("times", ["soon", [None], [[1.0], [1.0, 2.0]], [HUGE], [1j], np.array([1j]), np.array(["1"])])
@pytest.mark.parametrize("name", ["pdf", "cdf", "sf", "pdf_and_grad"])
def test_times_that_are_no_numbers(model, name, times):
    with refused(model, ParameterError, "time"):
        getattr(model, name)([1.0, 1.0], times)


def test_steps_that_are_not_whole(discrete):
    for value in (0.5, 1 + 1e-15, -1.0):
        with refused(discrete, ParameterError, "times[1]", "whole", theta=(0.5,)):
            discrete.pdf([0.5], [1.0, value])


REWARDED = {
    "expectation": lambda m, r: m.expectation([1.0, 0.5], r),
    "moments": lambda m, r: m.moments([1.0, 0.5], 2, r),
    "variance": lambda m, r: m.variance([1.0, 0.5], r),
    "covariance": lambda m, r: m.covariance([1.0, 0.5], None, r),
    "covariance_matrix": lambda m, r: m.covariance_matrix([1.0, 0.5], r),
    "joint_moment": lambda m, r: m.joint_moment([1.0, 0.5], r),
    "moments_and_grad": lambda m, r: m.moments_and_grad([1.0, 0.5], 1, r),
    "pdf": lambda m, r: m.pdf([1.0, 0.5], 1.0, r),
    "sample": lambda m, r: m.sample([1.0, 0.5], 1, 1, r),
    "quantile": lambda m, r: m.quantile([1.0, 0.5], 0.5, r),
    "laplace": lambda m, r: m.laplace([1.0, 0.5], 0.5, r),
}


@pytest.mark.parametrize("method", REWARDED.values(), ids=REWARDED)
class TestRewards:
    @pytest.mark.parametrize("value", [-1.0, -1e-300, np.nan, np.inf])
    def test_out_of_range(self, model, method, value):
        rewards = np.ones(model.states.shape[0])
        rewards[2] = value
        with refused(model, ParameterError, "rewards", "[2]", str(value)):
            method(model, rewards)

    @pytest.mark.parametrize("shape", [(0,), (1,), (4,), (6,), (1, 4), (1, 1, 5), ()])
    def test_of_another_shape(self, model, method, shape):
        with refused(model, ParameterError, "rewards", "5"):
            method(model, np.ones(shape))

    @pytest.mark.parametrize("rewards", ["many", [None] * 5, [HUGE] * 5, np.ones(5) * 1j])
    def test_that_are_no_numbers(self, model, method, rewards):
        with refused(model, ParameterError, "rewards"):
            method(model, rewards)


def test_rewards_that_a_method_cannot_take(model, discrete):
    with refused(model, ParameterError, "one vector", "(2, 5)"):
        model.moments([1.0, 1.0], 2, np.ones((2, 5)))
    with refused(model, ParameterError, "number of rewards", "8"):
        model.joint_moment([1.0, 1.0], np.ones((9, 5)))
    with refused(model, ParameterError, "number of rewards"):
        model.joint_moment([1.0, 1.0], np.ones((0, 5)))
    with refused(discrete, ParameterError, "whole numbers", "0.5", theta=(0.5,)):
        discrete.pdf([0.5], [1.0], [0.0, 0.0, 0.5])


@pytest.mark.parametrize("k", [0, -1, 65, 2.0, "2", None, True, HUGE, np.float64(3)])
def test_number_of_moments(model, k):
    with refused(model, ParameterError, "k must be an integer from 1 to 64"):
        model.moments([1.0, 1.0], k)
    with refused(model, ParameterError, "k must be"):
        model.moments_and_grad([1.0, 1.0], k)


@pytest.mark.parametrize("tol", [0.0, -1e-3, 1e-16, 0.2, 1.0, np.nan, np.inf, "small", None, [1e-3, 1e-4], HUGE, 1j])
def test_tolerances(model, tol):
    for method in (model.pdf, model.cdf, model.sf, model.pdf_and_grad, model.quantile):
        with refused(model, ParameterError, "tol"):
            method([1.0, 1.0], 0.5, tol=tol)


@pytest.mark.parametrize("steps", [0, -1, 1.5, "many", None, True, 2**80])
def test_limits_of_work(model, steps):
    with refused(model, ParameterError, "max_steps"):
        model.pdf([1.0, 1.0], 0.5, max_steps=steps)
    with refused(model, ParameterError, "max_jumps"):
        model.sample([1.0, 1.0], 1, 1, max_jumps=steps)


def test_more_work_than_allowed(model, discrete):
    with refused(model, NumericalError, "max_steps", "theta = [1. 1.]"):
        model.pdf_and_grad([1.0, 1.0], [1.0, 1e9], max_steps=1000)
    with refused(model, NumericalError, "max_jumps = 2", "theta = [   1. 1000.]"):
        model.sample([1.0, 1e3], 1, 1, max_jumps=2)


@pytest.mark.parametrize("q", [-1e-9, 1 + 1e-9, np.nan, np.inf, "half", [0.5, 2.0], HUGE])
def test_probabilities(model, q):
    with refused(model, ParameterError, "q"):
        model.quantile([1.0, 1.0], q)


@pytest.mark.parametrize("s", [-1.0, np.nan, np.inf, "s", [1.0, -1.0], 1j])
def test_arguments_of_the_transform(model, s):
    with refused(model, ParameterError, "s"):
        model.laplace([1.0, 1.0], s)


@pytest.mark.parametrize("size", [-1, 1.5, "3", None, (2, -1), [2, 2], True])
def test_sizes_of_samples(model, size):
    with refused(model, ParameterError, "size"):
        model.sample([1.0, 1.0], size)


@pytest.mark.parametrize("seed", [-1, 1.5, "3", 2**64, True])
def test_seeds(model, seed):
    with refused(model, ParameterError, "seed"):
        model.sample([1.0, 1.0], 2, seed)


def test_results_that_overflow(model):
    with refused(model, NumericalError, "too large", "theta = [1.e-250 1.e-250]"):
        model.moments([1e-250, 1e-250], 2)
    with refused(model, NumericalError, "too large"):
        model.variance([1e-250, 1e-250])
    with refused(model, NumericalError, "too large"):
        model.expectation([5e-324, 5e-324])


def test_rewards_that_overflow(model):
    big = np.full((2, 5), 1e200)
    with refused(model, NumericalError, "too large"):
        model.expectation([1e-200, 1e-200], big)
    with refused(model, NumericalError, "too large"):
        model.expectation([1e-200, 1e-200], big[0])


def test_rates_that_sum_to_infinity():
    moves = {1: [([0], 0.0, [1.0]), ([2], 0.0, [1.0])], 0: [], 2: []}
    model = Graph(lambda s: moves[int(s[0])] if len(s) else [([1], 1.0, [1.0])]).model()
    for name, method in METHODS.items():
        if name != "rewarded":
            with refused(model, NumericalError, "too large", "theta = [1.e+308]", theta=(0.5,)):
                method(model, [1e308])


@pytest.mark.parametrize(
    "starts", [[], [1.0], [0.0, 0.0], [0.0, 2.0, 1.0], [0.0, np.nan], [0.0, np.inf], "now", [[0.0]], [0.0, HUGE]]
)
def test_epochs(model, starts):
    with refused(model, ParameterError, "starts"):
        model.epochs(starts)


def test_theta_of_epochs(model):
    past = model.epochs([0.0, 1.0])
    with refused(model, ParameterError, "theta"):
        past.expectation([1.0, 1.0])
    with refused(model, ParameterError, "theta", "mig"):
        past.expectation([[1.0, 1.0], [1.0, np.nan]])
    with refused(model, ParameterError, "negative"):
        past.pdf([[1.0, 1.0], [1.0, -1.0]], [2.0])
    with refused(model, ParameterError, "times"):
        past.pdf([[1.0, 1.0], [1.0, 1.0]], [2.0, -1.0])


@pytest.mark.parametrize(
    "theta", [0.5, [0.5], (0.5,), np.float32(0.5), np.array(0.5), np.array([0.5]), [np.float64(0.5)]]
)
def test_one_parameter_may_come_as_a_number(discrete, theta):
    assert discrete.expectation(theta) == 2.0
    assert isinstance(discrete.expectation(theta), float)
    assert discrete.pdf(theta, 1).shape == ()


def test_a_row_of_values_of_one_parameter_is_refused_with_a_hint(discrete):
    with refused(discrete, ParameterError, "(batch, 1)", theta=(0.5,)):
        discrete.expectation([0.5, 0.25])


def test_no_parameters():
    model = Graph(
        lambda s: [([1], 1.0)] if len(s) == 0 else ([([0], 2.0)] if s[0] else []), parameterized=False
    ).model()
    for theta in (None, [], (), np.empty(0)):
        assert model.expectation(theta) == 0.5
    assert model.expectation(np.empty((3, 0))).tolist() == [0.5] * 3
    values, gradient = model.moments_and_grad(None, 2)
    assert values.shape == (2,)
    assert gradient.shape == (2, 0)
    assert model.pdf_and_grad([], [1.0, 2.0])[1].shape == (2, 0)
    with refused(model, ParameterError, "theta", theta=None):
        model.expectation([1.0])


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.lists(st.one_of(st.floats(), st.integers(-3, 3), st.none(), st.text(max_size=2)), max_size=6),
    st.lists(st.lists(st.floats(), max_size=3), max_size=6),
    st.dictionaries(st.text(max_size=1), st.floats(), max_size=2),
    st.just(object()),
    st.just(np.ma.masked_array([1.0, 2.0], [False, True])),
    st.just(np.array([(1.0, 2)], dtype="f8,i4")),
)


@given(values, values, values)
@example(HUGE, 1.0, None)
@example([1.0, 0.5], [1.0], b"\0" * 5)
def test_whatever_is_given_the_error_is_ours(theta, times, rewards):
    model = SHARED
    calls = [
        lambda: model.expectation(theta),
        lambda: model.moments([1.0, 0.5], times),
        lambda: model.expectation([1.0, 0.5], rewards),
        lambda: model.pdf([1.0, 0.5], times, tol=1e-6, max_steps=10_000),
        lambda: model.cdf([1.0, 0.5], 1.0, rewards),
        lambda: model.covariance([1.0, 0.5], rewards, times),
        lambda: model.quantile([1.0, 0.5], times),
        lambda: model.laplace([1.0, 0.5], times),
        lambda: model.expectation([1.0, 0.5], n_threads=times),
        lambda: model.pdf([1.0, 0.5], 1.0, tol=times),
        lambda: model.epochs(times),
    ]
    for call in calls:
        with contextlib.suppress(PhasicModelsError):
            result = call()
            if isinstance(result, (float, np.ndarray)):
                assert not np.isnan(result).any()
    assert model.expectation([1.0, 0.5]) == 3.0


SHARED = Graph(islands).model()


def test_messages_fit_on_a_screen(model):
    with pytest.raises(ParameterError) as caught:
        model.expectation(np.full((1000, 2), -1.0))
    assert len(str(caught.value)) < 300
    assert re.search(r"theta\[0\]", str(caught.value))


def test_exceptions_survive_pickling(model):
    # They come back from worker processes.
    with pytest.raises(ParameterError) as caught:
        model.expectation([1.0, -1.0])
    again = pickle.loads(pickle.dumps(caught.value))
    assert type(again) is ParameterError
    assert str(again) == str(caught.value)


def test_out_of_memory():
    # A thousand times 2^40 draws do not fit anywhere.
    with refused(SHARED, MemoryError):
        SHARED.sample([1.0, 0.5], (2**40, 1000))


def test_checks_give_back_what_they_were_given(model):
    array = np.array([1.0, 2.0])
    batch, is_batch = arguments.check_theta(array, model.graph)
    assert batch.shape == (1, 2)
    assert not is_batch
    assert arguments.check_times([[1, 2]]).shape == (1, 2)
    assert arguments.check_count(np.int32(3), "k", 1, 3) == 3
    assert arguments.check_tolerance(np.float32(0.01)) == np.float32(0.01)
    assert arguments.as_float_array([Fraction(1, 4), Decimal("0.5")], "x").tolist() == [0.25, 0.5]
