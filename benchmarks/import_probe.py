"""Import names from a module in a fresh interpreter; print the time it took, and peak memory in MB.

Names are asked for one by one, so that a module which imports its parts lazily pays for them here.
"""

import importlib
import json
import sys

from timing import once, peak_mb


def load() -> None:
    module = importlib.import_module(sys.argv[1])
    for name in sys.argv[2:]:
        getattr(module, name)


if __name__ == "__main__":
    _, spent = once(load)
    print(json.dumps({"spent": spent, "peak_mb": peak_mb()}))
