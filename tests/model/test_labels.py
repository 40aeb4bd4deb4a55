"""θ with labels is matched by name, whatever the order; labels that do not fit are named.

The truth is the value at the same numbers by position, and for two rates in a row the closed form 1/a + 1/b.
"""

import subprocess
import sys
from collections import namedtuple
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lazily import lazily

from phasic_models.errors import ParameterError
from phasic_models.evaluation.labels import by_position
from phasic_models.graph import Graph
from phasic_models.statespace.expr import params

pd, xr = lazily("pandas"), lazily("xarray")
first, second = params("first", "second")
VALUES = {"second": 4.0, "first": 0.5}
MEAN = 1 / 0.5 + 2 / 4.0
RECORD = np.dtype([("second", np.float32), ("first", np.float64)])
Rates = namedtuple("Rates", "second first")


@pytest.fixture(scope="module")
def model():
    """A time at rate `first`, then one at rate `second` / 2: the names are not interchangeable."""
    return Graph.from_arrays([[2], [1], [0]], [0, 1], [1, 2], [first, second / 2], initial=0).model()


def frame(*rows):
    return pd.DataFrame(list(rows))


SINGLE = {
    "dict": lambda: dict(VALUES),
    "other mapping": lambda: MappingProxyType(VALUES),
    "numbers of other types": lambda: {"second": np.float32(4), "first": np.array(0.5)},
    "named tuple": lambda: Rates(4.0, 0.5),
    "Series": lambda: pd.Series(VALUES),
    "row of a frame": lambda: frame(VALUES).iloc[0],
    "structured scalar": lambda: np.array((4.0, 0.5), dtype=RECORD)[()],
    "structured array without axes": lambda: np.array((4.0, 0.5), dtype=RECORD),
    "Dataset": lambda: xr.Dataset(VALUES),
    "DataArray": lambda: xr.DataArray([4.0, 0.5], dims="parameter", coords={"parameter": ["second", "first"]}),
    "DataArray with a further coordinate": lambda: xr.DataArray(
        [4.0, 0.5], dims="i", coords={"i": [7, 8], "name": ("i", ["second", "first"])}
    ),
    "Series with the default index": lambda: pd.Series([0.5, 4.0]),
    "DataArray without coordinates": lambda: xr.DataArray([0.5, 4.0], dims="x"),
}

OTHER = {"first": 1.0, "second": 8.0}
BATCH = {
    "dict of arrays": lambda: {"second": [4.0, 8.0], "first": np.array([0.5, 1.0])},
    "dict of an array and a number": lambda: {"second": [4.0, 8.0], "first": [0.5, 1.0]},
    "dict of Series": lambda: {
        "second": pd.Series([4.0, 8.0], index=[5, 9]),
        "first": pd.Series([0.5, 1.0], index=[5, 9]),
    },
    "DataFrame": lambda: frame(VALUES, OTHER),
    "DataFrame with names of rows": lambda: frame(VALUES, OTHER).set_index(pd.Index(["x", "y"])),
    "DataFrame of two types": lambda: pd.DataFrame({"second": [4, 8], "first": [0.5, 1.0]}),
    "structured array": lambda: np.array([(4.0, 0.5), (8.0, 1.0)], dtype=RECORD),
    "record array": lambda: np.rec.array([(4.0, 0.5), (8.0, 1.0)], dtype=RECORD),
    "masked structured array": lambda: np.ma.array([(4.0, 0.5), (8.0, 1.0)], dtype=RECORD),
    "Dataset": lambda: xr.Dataset({"second": ("draw", [4.0, 8.0]), "first": ("draw", [0.5, 1.0])}),
    "DataArray": lambda: xr.DataArray(
        [[4.0, 8.0], [0.5, 1.0]], dims=("parameter", "draw"), coords={"parameter": ["second", "first"]}
    ),
    "list of dicts": lambda: [VALUES, OTHER],
    "tuple of different kinds": lambda: (pd.Series(VALUES), Rates(8.0, 1.0)),
    "list of structured scalars": lambda: list(np.array([(4.0, 0.5), (8.0, 1.0)], dtype=RECORD)),
    "DataFrame with default columns": lambda: pd.DataFrame([[0.5, 4.0], [1.0, 8.0]]),
}


@pytest.mark.parametrize("kind", SINGLE)
def test_one_vector(model, kind):
    value = model.expectation(SINGLE[kind]())
    assert isinstance(value, float)
    assert value == pytest.approx(MEAN, rel=1e-15)


@pytest.mark.parametrize("kind", BATCH)
def test_a_batch(model, kind):
    assert model.expectation(BATCH[kind]()) == pytest.approx([MEAN, MEAN / 2], rel=1e-15)


def test_a_number_beside_an_array_is_for_all(model):
    assert model.expectation({"second": [4.0, 8.0], "first": 0.5}) == pytest.approx([2.5, 2.25], rel=1e-15)


@pytest.mark.parametrize("kind", [*SINGLE, *BATCH])
def test_every_method(model, kind):
    """The same numbers as by position, bit for bit, and of the same shape."""
    theta = (SINGLE | BATCH)[kind]() if kind not in ("Dataset", "DataArray") else SINGLE[kind]()
    plain = [0.5, 4.0] if kind in SINGLE else [[0.5, 4.0], [1.0, 8.0]]
    rewards = np.array([[0.0, 0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 1.0]])
    for ask in (
        lambda t: model(t, [0.5, 1.0]),
        lambda t: model.cdf(t, 0.5, rewards[0]),
        lambda t: model.quantile(t, [0.5]),
        lambda t: model.sample(t, 3, seed=1),
        lambda t: model.laplace(t, 1.0),
        lambda t: model.moments(t, 2),
        lambda t: model.expectation(t, rewards),
        lambda t: model.variance(t),
        lambda t: model.covariance(t, rewards[0], rewards[1]),
        lambda t: model.covariance_matrix(t, rewards),
        lambda t: model.joint_moment(t, rewards),
        lambda t: model.sojourn(t),
        lambda t: model.moments_and_grad(t, 2)[1],
        lambda t: model.pdf_and_grad(t, [1.0])[1],
    ):
        found, expected = ask(theta), ask(plain)
        assert type(found) is type(expected)
        assert np.array_equal(found, expected)
        assert np.shape(found) == np.shape(expected)


def test_epochs(model):
    """θ of each epoch by name; the labels of the epochs themselves count for nothing."""
    past = model.epochs([0.0, 1.0])
    expected = past.expectation([[0.5, 4.0], [1.0, 8.0]])
    for kind, theta in BATCH.items():
        assert past.expectation(theta()) == expected, kind
    several = [frame(VALUES, OTHER), frame(OTHER, VALUES)]
    assert (
        past.expectation(several).tolist()
        == past.expectation(np.array([[[0.5, 4], [1, 8]], [[1, 8], [0.5, 4]]])).tolist()
    )
    assert past.pdf([VALUES, OTHER], [0.5, 2.0]).tolist() == past.pdf([[0.5, 4.0], [1.0, 8.0]], [0.5, 2.0]).tolist()
    with pytest.raises(ParameterError, match="epochs by parameters"):
        past.expectation(VALUES)
    with pytest.raises(ParameterError, match=r"theta\[1\] lacks 'second'"):
        past.expectation([VALUES, {"first": 1.0}])


MISFITS = [
    (lambda: {"first": 1.0}, "lacks 'second'"),
    (lambda: {**VALUES, "third": 1.0}, "has the unknown 'third'"),
    (lambda: {"First": 1.0, "second": 1.0}, "lacks 'first' and has the unknown 'First'"),
    (lambda: {first: 1.0, second: 1.0}, "lacks 'first', 'second'"),
    (lambda: pd.Series([1.0, 2.0, 3.0], index=["first", "second", "first"]), "has more than once 'first'"),
    (lambda: pd.Series([1.0, 2.0], index=[1, 2]), "has the unknown 1, 2"),
    (lambda: pd.Series([1.0, 2.0], index=pd.RangeIndex(1, 3)), "has the unknown 1, 2"),
    (lambda: pd.Series([1.0, 2.0], index=[0, 1]), "has the unknown 0, 1"),
    (lambda: pd.DataFrame([[1.0, 2.0]], columns=["first", "first"]), "lacks 'second' and has more than once 'first'"),
    (lambda: pd.DataFrame([[1.0, 2.0, 3.0]], columns=["first", "second", "weight"]), "has the unknown 'weight'"),
    (lambda: pd.DataFrame({"draw": VALUES}), "parameters as rows"),
    (lambda: pd.DataFrame([[1.0, 2.0], [1.0, 2.0]], index=["first", "second"]), "parameters as rows"),
    (lambda: np.zeros(2, dtype=[("first", float), ("other", float)]), "lacks 'second' and has the unknown 'other'"),
    (lambda: np.zeros(2, dtype=[("first", float), ("second", float, (2,))]), "different shapes"),
    (lambda: namedtuple("Wrong", "first third")(1.0, 2.0), "lacks 'second' and has the unknown 'third'"),
    (lambda: xr.Dataset({"first": 1.0}), "lacks 'second'"),
    (lambda: xr.Dataset({"first": ("x", [1.0, 2.0]), "second": ("y", [1.0, 2.0])}), "different labels"),
    (lambda: xr.DataArray([1.0, 2.0], dims="p", coords={"p": ["first", "third"]}), "has the unknown 'third'"),
    (lambda: xr.DataArray([1.0, 2.0], dims="p", coords={"p": ["x", "y"]}), "has the unknown 'x', 'y'"),
    (lambda: xr.DataArray([1.0, 2.0], dims="p", coords={"p": [0, 1]}), "has the unknown 0, 1"),
    (
        lambda: xr.DataArray(
            np.ones((2, 2)), dims=("p", "q"), coords={"p": ["first", "second"], "q": ["first", "second"]}
        ),
        "along several dimensions: 'p', 'q'",
    ),
    (lambda: {"first": [1.0, 2.0], "second": [1.0, 2.0, 3.0]}, r"different shapes: 'first' \(2,\), 'second' \(3,\)"),
    (lambda: {"first": pd.Series([1.0, 2.0]), "second": pd.Series([1.0, 2.0], index=[1, 0])}, "different labels"),
    (lambda: {"first": "1.0", "second": 2.0}, r"theta\['first'\] must be real numbers"),
    (lambda: {"first": None, "second": 2.0}, r"theta\['first'\] must be real numbers"),
    (lambda: pd.Series({"first": pd.NA, "second": 1.0}), r"theta\['first'\] must be real numbers"),
    (lambda: pd.DataFrame({"first": [1.0, np.nan], "second": [1.0, 2.0]}), r"theta\[1, 0\] \(first\) is nan"),
    (lambda: [VALUES, [1.0, 2.0]], r"theta\[0\] is labelled with names, theta\[1\] is not"),
    (lambda: [VALUES, {"first": [1.0], "second": [1.0]}], "different shapes"),
    (lambda: np.ma.array([1.0, 2.0], mask=[False, True]), "theta has masked entries"),
    (
        lambda: np.ma.array(np.zeros(2, dtype=RECORD), mask=[(False, True), (False, False)]),
        r"theta\['first'\] has masked",
    ),
]


@pytest.mark.parametrize(("theta", "message"), MISFITS)
def test_what_does_not_fit_is_named(model, theta, message):
    wrong = theta()
    with pytest.raises(ParameterError, match=message):
        model.expectation(wrong)


def test_masked_entries_are_refused_everywhere(model):
    """Under a mask stands a number that nobody meant."""
    theta, masked = [0.5, 4.0], np.ma.array([1.0, 2.0], mask=[True, False])
    rewards = np.ma.array(np.ones(4), mask=[False, False, False, True])
    for ask in (
        lambda: model.expectation([np.ma.masked, 1.0]),
        lambda: model.expectation([[0.5, 4.0], masked]),
        lambda: model.pdf(theta, masked),
        lambda: model.pdf(theta, [[0.5, 1.0], masked]),
        lambda: model.quantile(theta, masked / 4),
        lambda: model.laplace(theta, masked),
        lambda: model.expectation(theta, rewards),
        lambda: model.expectation(theta, [np.ones(4), rewards]),
        lambda: model.epochs(masked - 1),
    ):
        with pytest.raises(ParameterError, match="masked entries"):
            ask()
    unmasked = np.ma.array([1.0, 2.0], mask=[False, False])
    assert model.expectation(unmasked) == 2.0
    with pytest.raises(ValueError, match="masked"):
        Graph.from_arrays([[1], [0]], [0], [1], np.ma.array([1.0], mask=[True]), initial=0)
    with pytest.raises(ValueError, match="masked"):
        Graph.from_arrays(np.ma.array([[1], [0]], mask=[[True], [False]]), [0], [1], [1.0], initial=0)


def test_models_without_parameters():
    model = Graph.from_arrays([[1], [0]], [0], [1], [2.0], initial=0).model()
    assert model.expectation({}) == 0.5
    assert model.expectation(pd.DataFrame(index=range(3))).tolist() == [0.5] * 3
    with pytest.raises(ParameterError, match="has the unknown 'x'"):
        model.expectation({"x": 1.0})


# Fixed-width strings of numpy lose NULs at the end, which is found out and refused.
NAME = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=4).filter(str.strip)
NAMES = st.lists(NAME, min_size=1, max_size=6, unique=True)


@given(names=NAMES, data=st.data())
def test_any_order_gives_the_same(names, data):
    values = {name: float(i) for i, name in enumerate(names)}
    order = data.draw(st.permutations(names))
    kinds = [
        {name: values[name] for name in order},
        pd.Series([values[name] for name in order], index=order),
        xr.DataArray([values[name] for name in order], dims="of θ", coords={"of θ": order}),
    ]
    for theta in kinds:
        assert by_position(theta, names).tolist() == list(range(len(names)))
    assert by_position(pd.DataFrame([[values[name] for name in order]] * 2, columns=order), names).shape == (
        2,
        len(names),
    )


def test_many_parameters_take_no_time():
    """58,020 names, as the chain of a spectrum with rewards has."""
    names = tuple(f"w{i}" for i in range(58_020))
    assert by_position(dict.fromkeys(reversed(names), 1.0), names).shape == (58_020,)


def test_neither_pandas_nor_xarray_is_imported():
    script = (
        "import sys; from phasic_models import Graph\n"
        "m = Graph.from_arrays([[1], [0]], [0], [1], [[1.0]], initial=0).model()\n"
        "assert m.expectation({'theta_0': 2.0}) == 0.5\n"
        "assert not {'pandas', 'xarray'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
