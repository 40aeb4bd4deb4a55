"""Draw a curve with characters, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

# Bits of a braille character's dots, by row and column within its cell of 4 × 2.
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def draw(
    times: Sequence[float], values: Sequence[float], *, width: int = 64, height: int = 10, discrete: bool = False
) -> str:
    """Draw values over times.

    Parameters
    ----------
    times, values
        The curve; times ascend. Values that are not finite are left out.
    width, height
        Size of the drawing in characters, without axes.
    discrete
        Draw each value as a column instead of joining them.

    Returns
    -------
    str
        Lines with an axis on the left and below.
    """
    points = [(t, v) for t, v in zip(times, values, strict=True) if math.isfinite(t) and math.isfinite(v)]
    top = max((v for _, v in points), default=0.0)
    if not points or top <= 0.0:
        return "(nothing to draw: the curve is zero everywhere)"
    start, end = points[0][0], points[-1][0]
    columns, rows = 2 * width, 4 * height
    # Halves, because the difference of two finite times may overflow.
    span = (end / 2 - start / 2) or 1.0

    def place(t: float, v: float) -> tuple[int, int]:
        return round((t / 2 - start / 2) / span * (columns - 1)), round(max(v, 0.0) / top * (rows - 1))

    cells = [[0] * width for _ in range(height)]

    def dot(x: int, y: int) -> None:
        cells[height - 1 - y // 4][x // 2] |= _DOTS[3 - y % 4][x % 2]

    previous = None
    for point in points:
        x, y = place(*point)
        if discrete:
            for below in range(y + 1):
                dot(x, below)
        elif previous is None:
            dot(x, y)
        else:
            _line(previous, (x, y), dot)
        previous = (x, y)
    label = f"{top:.3g}"
    margin = len(label)
    lines = []
    for number, row in enumerate(cells):
        left = label if number == 0 else "0".rjust(margin) if number == height - 1 else " " * margin
        lines.append(f"{left} ┤{''.join(chr(0x2800 + bits) for bits in row)}")
    first, last = f"{start:.3g}", f"{end:.3g}"
    lines.append(f"{' ' * margin} └{'─' * width}")
    lines.append(f"{' ' * margin}  {first}{last.rjust(width - len(first))}")
    return "\n".join(lines)


def _line(start: tuple[int, int], end: tuple[int, int], dot: Callable[[int, int], None]) -> None:
    (x0, y0), (x1, y1) = start, end
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for step in range(steps + 1):
        dot(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps))
