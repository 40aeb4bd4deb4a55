"""Large packages that few tests need are imported by the first test that uses one, and not when tests are collected."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import pytest


class Lazy:
    """Stands for a module that is imported when something is taken from it."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("_"):
            raise AttributeError(attribute)  # pytest looks for marks on whatever a test file holds
        return getattr(importlib.import_module(self._name), attribute)


def lazily(name: str) -> Lazy:
    """Return a module that is imported when it is used; skip the tests of a file whose module is not installed."""
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
    return Lazy(name)
