"""The compiled core. Only `core` and `elimination` may import this module; import-linter checks that."""

from ._core import ffi, lib

__all__ = ["ffi", "lib"]
