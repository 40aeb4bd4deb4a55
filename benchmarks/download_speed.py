"""Compare downloads with curl: the same bytes from the same server on loopback, turn by turn.

    python benchmarks/download_speed.py            # 256 MB, five turns
    python benchmarks/download_speed.py --megabytes 64

Prints medians. The fair comparison for a download that checks its SHA-256 and reaches the disk is curl, then sync, then sha256sum.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from phasic_models.remote.download import download


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A server in a process of its own, so that it does not share an interpreter with what is measured; gives its address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.search(r"port (\d+)", server.stdout.readline())
            if found is None:
                raise RuntimeError("the server did not say where it listens")
            yield f"http://127.0.0.1:{found[1]}"
        finally:
            server.terminate()


def seconds(work: Callable[[], object], target: Path) -> float:
    target.unlink(missing_ok=True)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(url: str, target: Path, digest: str, turns: int) -> dict[str, list[float]]:
    """Seconds of each contender, turn by turn."""
    curl = ["curl", "--silent", "--fail", "--output", str(target), url]

    def curl_and_check() -> None:
        subprocess.run(curl, check=True)
        subprocess.run(["sync", str(target)], check=True)
        subprocess.run(["sha256sum", str(target)], check=True, capture_output=True)

    contenders: dict[str, Callable[[], object]] = {
        "curl": lambda: subprocess.run(curl, check=True),
        "download, no checksum": lambda: download(url, target),
        "curl, sync, sha256sum": curl_and_check,
        "download with SHA-256": lambda: download(url, target, sha256=digest),
    }
    taken: dict[str, list[float]] = {label: [] for label in contenders}
    for _ in range(turns):
        for label, work in contenders.items():
            taken[label].append(seconds(work, target))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--turns", type=int, default=5)
    options = parser.parse_args()
    if shutil.which("curl") is None or shutil.which("sha256sum") is None:
        parser.error("curl and sha256sum are needed to compare with")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        served = folder / "served"
        served.mkdir()
        data = os.urandom(1_000_000) * options.megabytes
        (served / "data.bin").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        with serving(served) as address:
            taken = measure(f"{address}/data.bin", folder / "fetched.bin", digest, options.turns)
    middle = {label: statistics.median(values) for label, values in taken.items()}
    for label, value in middle.items():
        print(f"{label:24} {options.megabytes / value:8.0f} MB/s")
    print(f"without checksum, against curl:              {middle['curl'] / middle['download, no checksum']:.2f}×")
    checked = middle["curl, sync, sha256sum"] / middle["download with SHA-256"]
    print(f"with checksum, against curl, sync, sha256sum: {checked:.2f}×")


if __name__ == "__main__":
    main()
