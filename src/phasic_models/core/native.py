"""The compiled core, by its one door: only the rooms on the core may come through here."""

from ._core import ffi, lib

__all__ = ["ffi", "lib"]
