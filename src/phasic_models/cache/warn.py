"""Warnings that name the user's line."""

from __future__ import annotations

import sys
import warnings

from .entries import CacheWarning

_PACKAGE = __name__.partition(".")[0]


def warn_user(message: str, category: type[Warning] = CacheWarning) -> None:
    """Warn, and give as the place the innermost call from outside of this package.

    The number of frames in between (`stacklevel`) differs: `load_model` and `Graph.pmf_from_graph` reach one warning
    through different functions.
    """
    level = 2  # the function that calls this one
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
