"""The helper that counts how often a property test reaches its assertion notices a test that seldom does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reaching import reaches


def property_with(share):
    @reaches(share)
    @given(st.sampled_from(["refused", "compared"]))
    def examples(kind):
        return kind == "compared"

    return examples


def test_enough_examples():
    property_with(0.01)()


def test_too_few_examples():
    with pytest.raises(AssertionError, match="reached the assertion, less than 99%"):
        property_with(0.99)()


def test_a_failing_example_still_fails():
    @reaches(0.0)
    @given(st.integers())
    def examples(number):
        assert number < 1000
        return True

    with pytest.raises(AssertionError, match="1000"):
        examples()
