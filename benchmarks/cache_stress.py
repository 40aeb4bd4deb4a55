"""Stress the symbolic cache and print what happened: many processes, killed writers, many entries, verification.

    python benchmarks/cache_stress.py                 # everything, a few minutes
    python benchmarks/cache_stress.py latency --entries 10 1000

Every number is measured in this run, on this machine, in a temporary folder (``--folder`` names a file system to test).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np

from phasic_models import Graph, SymbolicCache
from phasic_models.cache import catalogue
from phasic_models.cache.entries import EntryStore, entry_file
from phasic_models.cache.entry_files import encode_entry
from phasic_models.upkeep.verify import verify

FORK = multiprocessing.get_context("fork")


def death(n: int, rate: float = 1.0) -> Graph:
    def callback(state):
        if len(state) == 0:
            return [([n], 1.0, [1.0])]
        return [([state[0] - 1], 0.0, [rate * float(state[0])])] if state[0] else []

    return Graph(callback, parameterized=True)


def exact(n: int, rate: float = 1.0) -> float:
    return sum(1 / k for k in range(1, n + 1)) / rate


def right(dag, n: int, rate: float = 1.0) -> bool:
    return abs(float(dag.model().expectation([1.0])) - exact(n, rate)) < 1e-11


# -- many processes ---------------------------------------------------------------------------------------------------


def _worker(root: Path, graphs: dict[int, Graph], seed: int, rounds: int, results) -> None:
    warnings.simplefilter("error")
    random = np.random.default_rng(seed)
    wrong = torn = 0
    drawn = set()
    cache = SymbolicCache(root)
    for _ in range(rounds):
        n = int(random.choice(list(graphs)))
        drawn.add(n)
        try:
            dag = cache.get_or_compute(graphs[n])
            cache.save(dag)
            if not right(dag, n) or cache.load(graphs[n].content_hash()) is None:
                wrong += 1
        except Exception:  # a warning is an error here: it would report a torn file
            torn += 1
    results.put((wrong, torn, drawn))


def processes(folder: Path, count: int, rounds: int) -> dict[str, object]:
    root = folder / "processes"
    graphs = {n: death(n) for n in range(5, 55)}
    results = FORK.SimpleQueue()
    started = time.perf_counter()
    workers = [FORK.Process(target=_worker, args=(root, graphs, seed, rounds, results)) for seed in range(count)]
    for worker in workers:
        worker.start()
    collected = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - started
    cache = SymbolicCache(root)
    lost = sum(not cache.exists(graphs[n].content_hash()) for n in set().union(*(drawn for _, _, drawn in collected)))
    torn_files = sum(bool(result.problems) for result in verify(everything=True, cache_dir=root))
    return {
        "processes": count,
        "look-ups and saves each": rounds,
        "torn files": torn_files + sum(torn for _, torn, _ in collected),
        "lost entries": lost,
        "wrong answers": sum(wrong for wrong, _, _ in collected),
        "left over": len(EntryStore(root).leftovers(older_than=0)),
        "crashed processes": sum(worker.exitcode != 0 for worker in workers),
        "seconds": round(seconds, 1),
    }


# -- killed writers ---------------------------------------------------------------------------------------------------


def _save_for_ever(root: Path, n: int, ready) -> None:
    cache = SymbolicCache(root)
    dag = death(n).eliminate()
    ready.set()
    while True:
        cache.save(dag)
        cache.remove(dag.graph.content_hash())


def kills(folder: Path, count: int) -> dict[str, object]:
    root = folder / "kills"
    random = np.random.default_rng(7)
    torn = 0
    for number in range(count):
        ready = FORK.Event()
        process = FORK.Process(target=_save_for_ever, args=(root, 30 + number % 5, ready))
        process.start()
        ready.wait(60)
        time.sleep(random.uniform(0, 0.02))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        torn += sum(bool(result.problems) for result in verify(everything=True, cache_dir=root))
    incomplete = 0
    for n in range(30, 35):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            cache = SymbolicCache(root)
            incomplete += not right(cache.get_or_compute(death(n)), n)
            incomplete += not cache.exists(death(n).content_hash())
    store = EntryStore(root)
    left = store.leftovers(older_than=0)
    return {
        "kill -9 during a save": count,
        "torn files seen by a reader": torn,
        "next run incomplete": incomplete,
        "temporary files that prune finds": len(left),
        "of these not temporary": sum(not path.name.startswith(".tmp-") for path in left),
    }


# -- many entries -----------------------------------------------------------------------------------------------------


def _fill(root: Path, entries: int) -> None:
    """Put files of a real entry under random names; nothing but their number matters to a look-up."""
    files = {suffix: data if isinstance(data, bytes) else data.encode() for suffix, data in _encoded().items()}
    (root / "own").mkdir(parents=True, exist_ok=True)
    for _ in range(entries):
        key = secrets.token_hex(32)
        for suffix, data in files.items():
            path = entry_file(root / "symbolic", key, suffix)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        (root / "own" / key).touch()


def _encoded() -> dict[str, bytes | str]:
    return encode_entry(death(10).eliminate())


def _microseconds(function, repeats: int) -> float:
    times = []
    for number in range(repeats):
        started = time.perf_counter()
        function(number)
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1e6, 1)


_COLD = """
import sys, time
from phasic_models import SymbolicCache, formats, model
from phasic_models.cache import catalogue
cache = SymbolicCache(sys.argv[1])
started = time.perf_counter()
dag = cache.load_dag(sys.argv[2])
print((time.perf_counter() - started) * 1e6)
"""


def latency(folder: Path, entries: int) -> dict[str, object]:
    root = folder / f"entries-{entries}"
    graphs = [death(10, 1 + n / 1000) for n in range(10)]
    cache = SymbolicCache(root)
    for graph in graphs:
        cache.get_or_compute(graph)
    _fill(root, entries - len(graphs))
    keys = [graph.content_hash() for graph in graphs]
    cold = [
        float(subprocess.run([sys.executable, "-c", _COLD, str(root), key], capture_output=True, check=True).stdout)
        for key in [*keys[:5], *([secrets.token_hex(32)] * 5)]
    ]
    catalogue.forget()
    result = {
        "entries": entries,
        "hit, µs": _microseconds(lambda n: cache.load_dag(keys[n % 10]), 400),
        "miss, µs": _microseconds(lambda _: cache.load_dag(secrets.token_hex(32)), 400),
        "first hit of a process, µs": round(statistics.median(cold[:5]), 1),
        "first miss of a process, µs": round(statistics.median(cold[5:]), 1),
    }
    dags = [death(10, 3 + n / 1000).eliminate() for n in range(40)]
    result["save, µs"] = _microseconds(lambda n: cache.save(dags[n]), 20)
    full = SymbolicCache(root, max_cache_size_gb=cache.info().bytes / 1e9)
    full.save(dags[20])
    result["save into a full cache, with eviction, µs"] = _microseconds(lambda n: full.save(dags[21 + n]), 19)
    shutil.rmtree(root)
    return result


# -- verification -----------------------------------------------------------------------------------------------------


def throughput(folder: Path) -> dict[str, object]:
    from phasic_models.files.checksums import sha256_file
    from phasic_models.formats import Manifest, ManifestModel, manifest_problems, write_manifest

    library = folder / "verify" / "symbolic" / "large"
    library.mkdir(parents=True)
    data = np.random.default_rng(1).bytes(64 << 20)
    for number in range(8):
        (library / f"model_{number}.safetensors").write_bytes(data)
    names = sorted(path.name for path in library.iterdir())
    models = [ManifestModel(name=Path(name).stem, hash="0" * 64) for name in names]
    checksums = {name: f"sha256:{sha256_file(library / name)}" for name in names}
    write_manifest(library / "manifest.json", Manifest(category="large", models=models, checksums=checksums))
    size = 8 * len(data)

    def best(function) -> float:
        times = []
        for _ in range(3):
            started = time.perf_counter()
            function()
            times.append(time.perf_counter() - started)
        return min(times)

    ours = best(lambda: manifest_problems(library))
    theirs = best(lambda: subprocess.run(["sha256sum", *names], cwd=library, stdout=subprocess.DEVNULL, check=True))
    return {
        "checksums of a library, MB/s": round(size / ours / 1e6),
        "sha256sum of the same files, MB/s": round(size / theirs / 1e6),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="processes, kills, latency, throughput")
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--entries", type=int, nargs="+", default=[10, 1_000, 100_000])
    parser.add_argument("--folder", type=Path, help="work below this folder, for example on a network file system")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    parts = arguments.parts or ["processes", "kills", "latency", "throughput"]
    # Only the folder under test: the layers of the user who runs this stay out.
    for name in ("PHASIC_CACHE_DIR", "PHASIC_SHARED_CACHE_DIRS", "CONDA_PREFIX"):
        os.environ.pop(name, None)
    results: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="cache-stress-") as name:
        folder = Path(name)
        os.environ["HOME"] = str(folder / "home")
        steps = {
            "processes": lambda: [processes(folder, arguments.processes, arguments.rounds)],
            "kills": lambda: [kills(folder, arguments.kills)],
            "latency": lambda: [latency(folder, entries) for entries in arguments.entries],
            "throughput": lambda: [throughput(folder)],
        }
        for part in parts:
            for result in steps[part]():
                results.append({"part": part, **result})
                if not arguments.json:
                    print("\n".join(f"{key:<45} {value}" for key, value in results[-1].items()), flush=True)
                    print(flush=True)
    if arguments.json:
        print(json.dumps(results, indent=2, ensure_ascii=False))
    failures = sum(int(str(result.get(key, 0))) for result in results for key in FAILURES)
    sys.exit(failures > 0)


FAILURES = (
    "torn files",
    "lost entries",
    "wrong answers",
    "crashed processes",
    "torn files seen by a reader",
    "next run incomplete",
    "of these not temporary",
)

if __name__ == "__main__":
    main()
