"""Vectorised callbacks for state spaces too large for one Python call per state."""

from __future__ import annotations

from typing import Any

import numpy as np


def rabbits(states: Any) -> tuple[Any, Any, Any]:
    """The rabbits of `models.rabbits`: source row, next state and coefficients of each move out of a frontier."""
    left, right = states[:, 0], states[:, 1]
    zero = np.zeros_like(left)
    some_left, some_right = np.flatnonzero(left > 0), np.flatnonzero(right > 0)
    moves = (
        (some_left, left - 1, right + 1, 0),
        (some_left, zero, right, 1),
        (some_right, left + 1, right - 1, 0),
        (some_right, left, zero, 2),
    )
    sources = np.concatenate([rows for rows, *_ in moves])
    targets = np.concatenate(
        [np.stack([to_left[rows], to_right[rows]], axis=1) for rows, to_left, to_right, _ in moves]
    )
    coefficients = np.repeat(
        np.eye(3)[[parameter for *_, parameter in moves]], [len(rows) for rows, *_ in moves], axis=0
    )
    return sources, targets, coefficients
