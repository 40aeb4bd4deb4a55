"""Import names from a module in a fresh interpreter; print seconds, and peak memory in MB. Standard library only.

Names are asked for one by one, so that a module which imports its parts lazily pays for them here.
"""

import importlib
import json
import sys
import time

from timing import peak_mb

if __name__ == "__main__":
    start = time.perf_counter()
    module = importlib.import_module(sys.argv[1])
    for name in sys.argv[2:]:
        getattr(module, name)
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": peak_mb()}))
