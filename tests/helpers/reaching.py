"""Property tests that count how often they reach their assertion.

A property of the form "refused, or right" holds vacuously where everything is refused. Such a test returns True from each
example that has compared something, and fails if their share is too small.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any


def reaches(share: float) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a hypothesis test whose examples return True if they have reached their assertion.

    The test fails if less than `share` of its examples did. It goes above ``@given``.
    """

    def decorate(test: Any) -> Callable[..., None]:
        inner = test.hypothesis.inner_test
        counts = {True: 0, False: 0}

        @functools.wraps(inner)
        def counted(*args: Any, **options: Any) -> None:
            counts[bool(inner(*args, **options))] += 1

        test.hypothesis.inner_test = counted

        @functools.wraps(test)
        def checked(*args: Any, **options: Any) -> None:
            counts.update({True: 0, False: 0})
            test(*args, **options)
            reached = counts[True] / sum(counts.values())
            assert reached >= share, f"{reached:.1%} of the examples reached the assertion, less than {share:.0%}"

        return checked

    return decorate
