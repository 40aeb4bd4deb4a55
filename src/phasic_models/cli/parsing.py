"""Parameters and times as a person writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import ParameterError


def parse_theta(texts: Sequence[str], names: Sequence[str]) -> list[float]:
    """Read θ from texts such as ``0.5,2.0`` (in order) or ``coal=0.5`` (by name).

    Raises
    ------
    ParameterError
        A value is missing, unknown, given twice or no number; the message names the parameters.
    """
    expected = ", ".join(names) or "none"
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    named = [part for part in parts if "=" in part]
    if named and len(named) < len(parts):
        raise ParameterError("θ is given partly by name and partly in order; do one or the other")
    if not named:
        if len(parts) != len(names):
            count = f"{len(parts)} value{'' if len(parts) == 1 else 's'}"
            ending = "" if len(names) == 1 else "s"
            raise ParameterError(f"θ has {count}, the model has {len(names)} parameter{ending}: {expected}")
        return [_number(part, name) for part, name in zip(parts, names, strict=True)]
    values: dict[str, float] = {}
    for part in named:
        name, _, text = (piece.strip() for piece in part.partition("="))
        if name not in names:
            raise ParameterError(f"the model has no parameter {name!r}; it has: {expected}")
        if name in values:
            raise ParameterError(f"the parameter {name!r} is given twice")
        values[name] = _number(text, name)
    missing = [name for name in names if name not in values]
    if missing:
        raise ParameterError(f"no value for {', '.join(missing)}")
    return [values[name] for name in names]


def parse_times(texts: Sequence[str]) -> list[float]:
    """Read times from texts such as ``0.5,1,2`` or ``0:5:51`` (start, stop, count; both ends included).

    Raises
    ------
    ParameterError
        A text is neither.
    """
    times: list[float] = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        pieces = part.split(":")
        if not part:
            continue
        if len(pieces) == 1:
            times.append(_number(part, "times"))
        elif len(pieces) == 3 and pieces[2].isdigit() and 0 < int(pieces[2]) <= 1_000_000:
            start, stop = _number(pieces[0], "times"), _number(pieces[1], "times")
            times += np.linspace(start, stop, int(pieces[2])).tolist()
        else:
            raise ParameterError(f"{part!r} is not a time, and not start:stop:count such as 0:5:51")
    return times


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ParameterError(f"{what}: {text!r} is not a number") from None
