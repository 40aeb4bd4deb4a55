"""Parameters and times as a person writes them, descriptions, and curves drawn with characters."""

from __future__ import annotations

import math

import numpy as np
import pytest
from cache_helpers import death, harmonic, only_these_layers
from hypothesis import given
from hypothesis import strategies as st
from reaching import reaches

from phasic_models import Graph, SymbolicCache
from phasic_models.cache.entries import entry_file
from phasic_models.cli.parsing import parse_theta, parse_times
from phasic_models.cli.terminal_plot import draw
from phasic_models.errors import ParameterError
from phasic_models.upkeep.model_info import describe_model, evaluate_model

__all__ = ["only_these_layers"]  # a fixture for every test here

finite = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(finite, min_size=1, max_size=6), st.randoms())
def test_theta_in_order_and_by_name(values, random):
    names = [f"p{number}" for number in range(len(values))]
    texts = [repr(value) for value in values]
    assert parse_theta([",".join(texts)], names) == values
    assert parse_theta(texts, names) == values
    named = [f"{name} = {text}" for name, text in zip(names, texts, strict=True)]
    random.shuffle(named)
    assert parse_theta(named, names) == values


pieces = st.sampled_from(["a=1", "b=0.5", "b = 3", "1", "0.5", "a", "c=1", "=", "a=x"]) | st.text(max_size=12)
numerals = st.floats(allow_nan=False, allow_infinity=False).map(repr)
pairs = st.tuples(numerals, numerals) | st.tuples(numerals.map("a={}".format), numerals.map("b = {}".format))


@reaches(0.1)
@given(st.lists(pieces, max_size=4) | pairs.map(list))
def test_nonsense_for_theta_is_named(texts):
    try:
        values = parse_theta(texts, ["a", "b"])
    except ParameterError:
        return False
    pieces_of = [piece for text in texts for piece in text.split(",") if piece.strip()]
    numbers = [float(piece.rpartition("=")[2]) for piece in pieces_of]
    assert sorted(values) == sorted(numbers)
    assert len(values) == 2
    return True


@given(st.lists(finite, max_size=6))
def test_times(values):
    assert parse_times([",".join(map(repr, values))]) == values


@given(finite, finite, st.integers(1, 50))
def test_ranges_of_times(start, stop, count):
    with np.errstate(over="ignore", invalid="ignore"):
        assert parse_times([f"{start!r}:{stop!r}:{count}"]) == pytest.approx(
            np.linspace(start, stop, count).tolist(), nan_ok=True
        )


@reaches(0.1)
@given(
    st.lists(st.text(alphabet="0123456789.:,-e x", max_size=12) | st.sampled_from(["1", "0.5,2", "1:2:3"]), max_size=3)
)
def test_nonsense_for_times_is_named(texts):
    try:
        times = parse_times(texts)
    except ParameterError:
        return False
    assert all(isinstance(time, float) for time in times)
    return bool(times)


def test_a_model_without_metadata(tmp_path):
    """An entry of the user's own, whose writer was killed."""
    key = SymbolicCache(tmp_path).save(death(3).eliminate())
    entry_file(tmp_path / "symbolic", key, ".meta").unlink()
    found = describe_model(key, cache_dir=tmp_path)
    assert found.notes == ["the file .meta is missing"]
    assert found.mean == pytest.approx(harmonic(3))


def test_a_discrete_model_is_drawn_at_whole_times(tmp_path):
    def geometric(state):
        if len(state) == 0:
            return [([1], 1.0)]
        return [([0], 0.25)] if state[0] else []

    key = SymbolicCache(tmp_path).save(Graph(geometric, discrete=True).eliminate())
    found = describe_model(key, cache_dir=tmp_path)
    assert found.discrete
    assert all(time == int(time) for time in found.density.times)
    assert found.density.values[1] == pytest.approx(0.25)
    assert "⢸" in draw(found.density.times, found.density.values, discrete=True)
    result = evaluate_model(key, theta=lambda _: [], times=[1.0, 2.0, 3.0], cache_dir=tmp_path)
    assert result.pdf == pytest.approx([0.25, 0.25 * 0.75, 0.25 * 0.75**2])


def test_example_values_that_do_not_fit_are_a_note(tmp_path):
    """A point mass at zero has no density; θ = 1 may be out of range for a probability."""

    def coin(state):
        if len(state) == 0:
            return [([1], 1.0, [1.0])]
        return [([0], 0.5, [1.0])] if state[0] else []

    key = SymbolicCache(tmp_path).save(Graph(coin, parameterized=True, discrete=True).eliminate())
    found = describe_model(key, cache_dir=tmp_path)
    assert found.density is None
    assert "no density" in found.notes[0]
    with pytest.raises(ParameterError):
        describe_model(key, theta=lambda names: parse_theta(["1"], names), cache_dir=tmp_path)
    assert describe_model(
        key, theta=lambda names: parse_theta(["0.25"], names), cache_dir=tmp_path
    ).mean == pytest.approx(4 / 3)


def test_entries_are_described_too(tmp_path):
    key = SymbolicCache(tmp_path).save(death(4).eliminate(), model_name="mine", description="of my own")
    found = describe_model(key, cache_dir=tmp_path)
    assert (found.category, found.version, found.description) == (None, None, "of my own")


@given(
    st.lists(st.tuples(finite, st.floats()), max_size=40),
    st.integers(4, 80),
    st.integers(2, 20),
    st.booleans(),
)
def test_drawings_have_their_size(points, width, height, discrete):
    points.sort(key=lambda point: point[0])
    text = draw([t for t, _ in points], [v for _, v in points], width=width, height=height, discrete=discrete)
    lines = text.splitlines()
    if not any(math.isfinite(value) and value > 0 for _, value in points):
        assert len(lines) == 1
        return
    assert len(lines) == height + 2
    assert all(len(line.split("┤")[1]) == width for line in lines[:height])
    assert any(letter > "⠀" for letter in lines[0].split("┤")[1])
