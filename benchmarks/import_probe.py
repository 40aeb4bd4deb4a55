"""Import one module in a fresh interpreter; print seconds, and resident memory in MB. Standard library only."""

import json
import sys
import time

from timing import peak_mb

if __name__ == "__main__":
    start = time.perf_counter()
    __import__(sys.argv[1])
    print(json.dumps({"seconds": time.perf_counter() - start, "peak_mb": peak_mb()}))
