"""The symbolic cache: what is found, what is written, and what happens when the disk or other processes misbehave."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

import cache_helpers
import numpy as np
import pytest
from cache_helpers import UNKNOWN, death, expectation, harmonic, only_these_layers, place_library, posix, snapshot
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from phasic_models import Graph, SymbolicCache, SymbolicDAG, load_model, symbolic_cache
from phasic_models.cache import catalogue
from phasic_models.cache.entries import CacheWarning, entry_file, entry_folders
from phasic_models.errors import FormatError, ModelNotFoundError
from phasic_models.formats import (
    dag_to_bytes,
    dag_to_json,
)
from phasic_models.symbolic_cache import waiting

__all__ = ["only_these_layers"]  # a fixture for every test here


@pytest.fixture
def cache(tmp_path):
    return SymbolicCache(tmp_path / "cache")


# -- one process, nothing wrong ---------------------------------------------------------------------------------------


def test_first_computes_then_finds(cache):
    graph = death(5)
    dag = cache.get_or_compute(graph)
    assert (cache.hits, cache.misses) == (0, 1)
    again = SymbolicCache(cache.cache_dir)
    found = again.get_or_compute(graph)
    assert (again.hits, again.misses) == (1, 0)
    assert expectation(dag) == expectation(found) == pytest.approx(harmonic(5), rel=1e-14)
    assert sorted(path.suffix for path in entry_folders(cache.cache_dir, graph.content_hash())[0].iterdir()) == [
        ".json",
        ".meta",
        ".safetensors",
    ]


def test_key_is_the_chain_not_the_callback(cache):
    """Two callbacks, one chain: one entry. One callback, two constants: two entries."""

    def backwards(state):
        if len(state) == 0:
            return [((4,), 1.0, [7.0])]
        return [((int(state[0]) - 1,), 0.0, [float(state[0])])] if state[0] > 0 else []

    assert cache._compute_graph_hash(death(4)) == cache._compute_graph_hash(Graph(backwards, parameterized=True))
    cache.get_or_compute(death(4))
    cache.get_or_compute(Graph(backwards, parameterized=True))
    cache.get_or_compute(death(3))
    assert (cache.hits, cache.misses) == (1, 2)
    assert len(cache.list_entries()) == 2


def test_parameter_names_are_the_graphs_own(cache):
    cache.get_or_compute(death(4, ("mu",)))
    dag = cache.get_or_compute(death(4, ("nu",)))
    assert cache.hits == 1
    assert dag.model().param_names == ("nu",)
    assert expectation(dag) == pytest.approx(harmonic(4), rel=1e-14)


def test_load_returns_the_document(cache):
    graph = death(3)
    cache.get_or_compute(graph)
    text = cache.load(graph.content_hash())
    assert json.loads(text)["graph_hash"] == graph.content_hash()
    assert expectation(SymbolicDAG.from_json(text)) == pytest.approx(harmonic(3))


def test_load_makes_the_document_of_a_large_model(cache, monkeypatch):
    monkeypatch.setattr("phasic_models.cache.entry_files.EAGER_JSON_OPERATIONS", -1)
    graph = death(3)
    cache.get_or_compute(graph)
    key = graph.content_hash()
    assert not entry_file(cache.cache_dir, key, ".json").exists()
    assert SymbolicDAG.from_json(cache.load(key)).graph.content_hash() == key


@pytest.mark.parametrize("key", [UNKNOWN, "", "nonsense", "../../etc/passwd", "A" * 64, None, 7])
def test_unknown_keys(cache, key):
    assert cache.load(key) is None
    assert cache.load_dag(key) is None
    assert not cache.exists(key)
    assert not cache.remove(key)
    assert cache.misses == 2


def test_save_takes_a_dag_or_its_document(cache, tmp_path):
    dag = death(4).eliminate()
    key = cache.save(dag, model_name="death_4", description="four items")
    assert cache.meta(key).model_name == "death_4"
    other = SymbolicCache(tmp_path / "other")
    assert other.save(dag.to_json()) == key
    assert expectation(other.load_dag(key)) == expectation(dag)
    with pytest.raises(FormatError):
        other.save(dag.to_json()[:-40])


def test_info(cache):
    key = cache.save(death(4).eliminate())
    entry = cache.info(key)
    assert entry.hash == key
    assert entry.own
    assert entry.bytes == sum(path.stat().st_size for path in cache.cache_dir.rglob("*") if path.is_file())
    info = cache.info()
    assert (info.cache_dir, info.entries, info.bytes) == (cache.cache_dir, 1, entry.bytes)
    with pytest.raises(ModelNotFoundError, match="searched"):
        cache.info(UNKNOWN)


def test_the_place_of_earlier_versions_is_read_and_cleared(cache):
    """They put an entry's files directly into the folder ``symbolic``; what is written now goes to its own folder."""
    key = cache.save(death(4).eliminate(), model_name="death_4")
    new, old = entry_folders(cache.cache_dir, key)
    for path in list(new.iterdir()):
        path.rename(old / path.name)
    again = SymbolicCache(cache.cache_dir)
    assert expectation(again.get_or_compute(death(4))) == pytest.approx(harmonic(4), rel=1e-14)
    assert (again.hits, again.misses) == (1, 0)
    assert again.meta(key).model_name == "death_4"
    assert [(entry.hash, entry.own, len(entry.files)) for entry in again.list_entries()] == [(key, True, 3)]
    assert float(load_model(key, cache_dir=cache.cache_dir).expectation([1.0])) == pytest.approx(harmonic(4), rel=1e-14)
    again.save(death(4).eliminate())
    assert len(list(new.iterdir())) == len(list(old.glob("*.*"))) == 3
    assert again.info(key).bytes < again._store().size(key)
    assert again.remove(key)
    assert list(cache.cache_dir.rglob("*.*")) == []


def test_the_folder_of_entries_is_no_library(cache, tmp_path):
    cache.save(death(4).eliminate())
    assert catalogue.categories(cache.layers[0]) == []
    folder = place_library(tmp_path / "elsewhere", category="entries")
    with pytest.raises(FormatError, match="the cache's own folder"):
        cache.import_library(folder)


def test_clear_leaves_libraries_and_strangers(cache, tmp_path):
    folder = place_library(tmp_path / "cache")
    before = snapshot(folder)
    stranger = death(6).eliminate()
    (cache.cache_dir / f"{stranger.graph.content_hash()}.json").write_text(stranger.to_json())
    keys = [cache.save(death(n).eliminate()) for n in (4, 5)]
    assert cache.clear() == 2
    assert not any(cache.exists(key) for key in keys)
    assert cache.exists(stranger.graph.content_hash())
    assert snapshot(folder) == before


def test_no_limit_means_no_eviction_and_bad_limits_are_refused(tmp_path):
    for bad in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="max_cache_size_gb"):
            SymbolicCache(tmp_path, max_cache_size_gb=bad)


# -- eviction ---------------------------------------------------------------------------------------------------------


def tick() -> None:
    """Let the file system's clock move on."""
    time.sleep(0.02)


def test_least_recently_used_goes_first(tmp_path):
    size = SymbolicCache(tmp_path / "probe")
    size.save(death(9).eliminate())
    limit = 3.5 * size.info().bytes / 1e9
    cache = SymbolicCache(tmp_path / "cache", max_cache_size_gb=limit)
    keys = []
    for n in (5, 6, 7):
        keys.append(cache.save(death(n).eliminate()))
        tick()
    cache.load_dag(keys[0])
    tick()
    keys.append(cache.save(death(8).eliminate()))
    assert [cache.exists(key) for key in keys] == [True, False, True, True]
    tick()
    # Another process's cache sees the same order.
    keys.append(SymbolicCache(tmp_path / "cache", max_cache_size_gb=limit).save(death(9).eliminate()))
    assert [cache.exists(key) for key in keys] == [True, False, False, True, True]
    assert cache.info().bytes <= cache.max_bytes


def test_eviction_leaves_libraries_strangers_and_read_only_layers(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    SymbolicCache(shared).save(death(20).eliminate())
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(shared))
    library = place_library(tmp_path / "cache")
    stranger = death(30).eliminate()
    (library.parent / f"{stranger.graph.content_hash()}.json").write_text(stranger.to_json())
    before = snapshot(shared), snapshot(library)
    cache = SymbolicCache(tmp_path / "cache", max_cache_size_gb=12_000 / 1e9)
    for n in range(2, 15):
        cache.save(death(n).eliminate())
    assert cache.info().bytes <= 12_000
    assert 0 < cache.info().entries < 13
    assert (snapshot(shared), snapshot(library)) == before
    assert cache.exists(stranger.graph.content_hash())


def test_an_entry_above_the_limit_is_computed_and_not_kept(tmp_path):
    cache = SymbolicCache(tmp_path / "cache", max_cache_size_gb=100 / 1e9)
    with pytest.warns(CacheWarning, match="max_cache_size_gb"):
        dag = cache.get_or_compute(death(5))
    assert expectation(dag) == pytest.approx(harmonic(5))
    assert cache.list_entries() == []


# -- layers -----------------------------------------------------------------------------------------------------------


def test_reads_from_a_shared_layer_and_writes_to_its_own(tmp_path, monkeypatch):
    shared, own = tmp_path / "shared", tmp_path / "own"
    SymbolicCache(shared).get_or_compute(death(4))
    before = snapshot(shared)
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(shared))
    monkeypatch.setenv("PHASIC_CACHE_DIR", str(own))
    cache = SymbolicCache()
    cache.get_or_compute(death(4))
    assert (cache.hits, cache.misses) == (1, 0)
    assert not own.exists()
    cache.get_or_compute(death(5))
    assert (cache.hits, cache.misses) == (1, 1)
    assert len(list((own / "symbolic").rglob("*.*"))) == 3
    assert cache.clear() == 1
    assert snapshot(shared) == before


def test_a_corrupt_entry_in_a_read_only_layer_is_skipped_not_touched(tmp_path, monkeypatch):
    shared, own = tmp_path / "shared", tmp_path / "own"
    writer = SymbolicCache(shared)
    writer.get_or_compute(death(4))
    for path in writer.cache_dir.rglob("*.*"):
        path.write_bytes(path.read_bytes()[:-9])
    before = snapshot(shared)
    monkeypatch.setenv("PHASIC_SHARED_CACHE_DIRS", str(shared))
    cache = SymbolicCache(own)
    with pytest.warns(CacheWarning, match="skipped"):
        dag = cache.get_or_compute(death(4))
    assert expectation(dag) == pytest.approx(harmonic(4))
    assert snapshot(shared) == before
    assert cache.exists(death(4).content_hash())


def test_a_hard_linked_entry_is_not_written_through(tmp_path, cache):
    """Package clients hard-link: a save must never change the other name's content."""
    key = cache.save(death(4).eliminate())
    path = entry_file(cache.cache_dir, key, ".meta")
    linked = tmp_path / "linked.meta"
    os.link(path, linked)
    before = linked.read_bytes()
    cache.save(death(4).eliminate(), model_name="another")
    assert path.read_bytes() != before
    assert linked.read_bytes() == before


def test_get_or_compute_finds_a_librarys_model(tmp_path, monkeypatch):
    """Guide, Quick Start: the library is installed, so that the user's own graph needs no elimination."""
    place_library(tmp_path / "env" / "share" / "phasic_cache")
    cache = SymbolicCache(tmp_path / "own")
    dag = cache.get_or_compute(death(3))
    assert (cache.hits, cache.misses) == (1, 0)
    assert expectation(dag) == pytest.approx(harmonic(3))
    assert cache.load(death(3).content_hash()) is not None
    assert cache.exists(death(3).content_hash())
    assert cache.meta(death(3).content_hash()).model_name == "n_3"
    assert cache.info(death(3).content_hash()).layer.name == "deaths"
    assert not (tmp_path / "own").exists()


# -- things go wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "other"])
def test_corrupt_entries_are_set_aside_reported_and_recomputed(cache, suffix, damage):
    graph = death(5)
    key = graph.content_hash()
    cache.get_or_compute(graph)
    path = entry_file(cache.cache_dir, key, suffix)
    if suffix == ".json":
        path.with_suffix(".safetensors").unlink()
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "flip":
        # A digit of a number or a byte of an array: what a reader without a checksum would believe.
        at = data.rindex(b"5") if suffix == ".json" else len(data) - 12
        data[at] ^= 1
    elif damage == "empty":
        data = bytearray()
    else:
        other = death(6).eliminate()
        data = bytearray(dag_to_json(other).encode() if suffix == ".json" else dag_to_bytes(other))
    path.write_bytes(data)
    with pytest.warns(CacheWarning, match="set aside"):
        dag = cache.get_or_compute(graph)
    assert expectation(dag) == pytest.approx(harmonic(5), rel=1e-14)
    assert path.with_name(path.name + ".corrupt").read_bytes() == bytes(data)
    assert expectation(cache.load_dag(key)) == expectation(dag)
    assert cache.load(key) is not None


def test_a_document_alone_is_enough_and_is_completed(cache):
    graph = death(5)
    cache.get_or_compute(graph)
    path = entry_file(cache.cache_dir, graph.content_hash(), ".safetensors")
    path.unlink()
    assert expectation(cache.get_or_compute(graph)) == pytest.approx(harmonic(5))
    assert path.is_file()
    assert cache.misses == 1


def test_read_only_home(tmp_path, monkeypatch):
    """A folder cannot be made where a file is; permissions would not stop root, who runs many test machines."""
    (tmp_path / "home").write_text("not a folder")
    cache = SymbolicCache()
    with pytest.warns(CacheWarning, match="could not store"):
        dag = cache.get_or_compute(death(4))
    assert expectation(dag) == pytest.approx(harmonic(4))
    with pytest.raises(OSError, match=r"directory|folder|exists"):
        cache.save(dag)


@posix
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_without_permission(mode):
    """Read-only, or closed altogether: the result comes with a warning. As another user where root runs the tests."""
    folder = Path(tempfile.mkdtemp())
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    try:
        SymbolicCache(folder / "root").get_or_compute(death(3))
        for path in (folder / "root" / "symbolic", folder / "root" / "own", folder / "root", folder):
            path.chmod(mode if path != folder else 0o755)
        process = context.Process(target=_as_somebody_else, args=(folder / "root", results))
        process.start()
        assert results.get() == [round(harmonic(4), 14), ["CacheWarning"]]
        process.join(60)
    finally:
        for path in (folder / "root", folder / "root" / "symbolic", folder / "root" / "own"):
            path.chmod(0o755)
        shutil.rmtree(folder)


def _as_somebody_else(root: Path, results) -> None:
    try:
        if os.geteuid() == 0:
            os.setuid(65534)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            value = expectation(SymbolicCache(root).get_or_compute(death(4)))
        results.put([round(value, 14), [warning.category.__name__ for warning in seen]])
    except BaseException as error:
        results.put(repr(error))


def test_without_any_home(tmp_path, monkeypatch):
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    cache = SymbolicCache()
    with pytest.warns(CacheWarning, match="PHASIC_CACHE_DIR"):
        assert expectation(cache.get_or_compute(death(4))) == pytest.approx(harmonic(4))
    with pytest.raises(OSError, match="PHASIC_CACHE_DIR"):
        _ = cache.cache_dir
    assert cache.info().cache_dir is None
    assert cache.clear() == 0
    assert "0 hits" in repr(cache)


@posix
def test_full_disk(tmp_path):
    """A process that may write 2 kB at most to a file: the result comes, and a warning; no torn file is left."""
    script = f"""
import resource, signal, warnings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
import cache_helpers as t
from phasic_models import SymbolicCache
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    dag = SymbolicCache({str(tmp_path / "cache")!r}).get_or_compute(t.death(40))
assert abs(t.expectation(dag) - t.harmonic(40)) < 1e-12
assert [type(w.message).__name__ for w in seen] == ["CacheWarning"], seen
print(seen[0].message)
"""
    done = run_python(script)
    assert "could not store" in done
    assert not any(path.name.startswith(".tmp-") for path in (tmp_path / "cache").rglob("*"))
    # What was written before the disk filled up is whole.
    cache = SymbolicCache(tmp_path / "cache")
    assert expectation(cache.get_or_compute(death(40))) == pytest.approx(harmonic(40))
    assert cache.exists(death(40).content_hash())


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 kB, where this user may make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, timeout=20
    )
    if not mounted or mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True, timeout=20)


def test_a_disk_that_fills_up(tiny_disk):
    """Save until the disk is full: every result is right, what is there is whole, and after a clean-up all goes on."""
    warned = 0
    for n in range(30, 80):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            dag = SymbolicCache(tiny_disk).get_or_compute(death(n))
        assert expectation(dag) == pytest.approx(harmonic(n))
        assert {warning.category for warning in seen} <= {CacheWarning}
        warned += len(seen)
    assert warned > 0
    assert not any(path.name.startswith(".tmp-") for path in tiny_disk.rglob("*"))
    cache = SymbolicCache(tiny_disk)
    entries = cache.list_entries()
    assert entries
    assert all(cache.load_dag(entry.hash) is not None for entry in entries)
    cache.clear()
    cache.get_or_compute(death(81))
    assert cache.exists(death(81).content_hash())


def run_python(script: str) -> str:
    environment = dict(os.environ, PYTHONPATH=str(Path(cache_helpers.__file__).parent), PYTHONDONTWRITEBYTECODE="1")
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@posix
def test_killed_writers(tmp_path):
    """kill -9 at 40 moments during a save: nothing torn is ever visible, and the next run completes."""
    root = tmp_path / "cache"
    moments = np.random.default_rng(1).uniform(0.0, 0.012, size=40)
    context = multiprocessing.get_context("fork")
    for number, moment in enumerate(moments):
        n = 20 + number % 4
        started = context.Event()
        process = context.Process(target=_save_for_ever, args=(root, n, started))
        process.start()
        assert started.wait(30)
        time.sleep(moment)
        os.kill(process.pid, signal.SIGKILL)
        process.join(30)
        cache = SymbolicCache(root)
        for entry in cache.list_entries():
            # Any warning is an error here: a torn file would be reported as corrupt.
            assert cache.load_dag(entry.hash).graph.content_hash() == entry.hash
    for n in range(20, 24):
        assert expectation(SymbolicCache(root).get_or_compute(death(n))) == pytest.approx(harmonic(n))
    left = symbolic_cache.EntryStore(root)
    left_over = left.leftovers(older_than=0)
    assert all(path.name.startswith(".tmp-") for path in left_over)
    assert left.leftovers() == []


def _save_for_ever(root: Path, n: int, started) -> None:
    cache = SymbolicCache(root)
    dag = death(n).eliminate()
    started.set()
    while True:
        cache.save(dag)
        cache.remove(dag.graph.content_hash())


@posix
def test_a_hundred_processes(tmp_path):
    """100 processes look up and save 12 models in one cache: no torn file, no wrong answer, no lost entry."""
    root = tmp_path / "cache"
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    graphs = [death(n) for n in range(3, 15)]
    processes = [context.Process(target=_hammer, args=(root, graphs, seed, results)) for seed in range(100)]
    for process in processes:
        process.start()
    wrong = [mistake for _ in processes for mistake in results.get()]
    for process in processes:
        process.join(60)
    assert wrong == []
    assert [process.exitcode for process in processes] == [0] * 100
    cache = SymbolicCache(root)
    assert len(cache.list_entries()) == 12
    assert all(cache.load(graph.content_hash()) for graph in graphs)
    assert cache.clear() == 12
    assert symbolic_cache.EntryStore(root).leftovers(older_than=0) == []


def _hammer(root: Path, graphs: list[Graph], seed: int, results) -> None:
    wrong: list[str] = []
    random = np.random.default_rng(seed)
    try:
        cache = SymbolicCache(root)
        for _ in range(6):
            which = int(random.integers(len(graphs)))
            dag = cache.get_or_compute(graphs[which])
            if random.integers(3) == 0:
                cache.save(dag)
            if abs(expectation(dag) - harmonic(which + 3)) > 1e-12:
                wrong.append(f"model {which}")
    except BaseException as error:  # a warning counts: a torn file would be reported by one
        wrong.append(repr(error))
    results.put(wrong)


def test_a_stale_or_failing_lock_does_not_hang(cache, monkeypatch):
    monkeypatch.setattr(waiting, "LOCK_FROM_EDGES", 0)
    monkeypatch.setattr(waiting, "LOCK_PATIENCE", 0.2)
    from filelock import FileLock

    graph = death(5)
    path = cache.cache_dir.parent / "locks" / f"{graph.content_hash()[:2]}.lock"
    path.parent.mkdir(parents=True)
    with FileLock(path):
        started = time.monotonic()
        assert expectation(cache.get_or_compute(graph)) == pytest.approx(harmonic(5))
        assert time.monotonic() - started < 5

    def no_locks(*_, **__):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(FileLock, "acquire", no_locks)
    assert expectation(cache.get_or_compute(death(6))) == pytest.approx(harmonic(6))


def test_a_lock_saves_the_second_computation(cache, monkeypatch):
    monkeypatch.setattr(waiting, "LOCK_FROM_EDGES", 0)
    counted = []
    eliminate = Graph.eliminate

    def slowly(graph):
        counted.append(graph)
        time.sleep(0.3)
        return eliminate(graph)

    monkeypatch.setattr(Graph, "eliminate", slowly)
    threads = [
        threading.Thread(target=SymbolicCache(cache.cache_dir).get_or_compute, args=(death(5),)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(counted) == 1


# -- a random history -------------------------------------------------------------------------------------------------


class CacheMachine(RuleBasedStateMachine):
    """Any sequence of operations and accidents: an answer is right, and the read-only layer never changes."""

    keys = Bundle("keys")

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.shared = self.folder / "shared"
        self.graphs = {n: death(n) for n in range(1, 6)}
        self.numbers = {graph.content_hash(): n for n, graph in self.graphs.items()}
        SymbolicCache(self.shared).get_or_compute(self.graphs[1])
        self.before = snapshot(self.shared)
        self.own = self.folder / "own"
        self.limit = None
        self.stored: set[str] = set()
        catalogue.forget()

    def cache(self) -> SymbolicCache:
        patched = pytest.MonkeyPatch()
        with patched.context() as patch:
            patch.setenv("PHASIC_SHARED_CACHE_DIRS", str(self.shared))
            return SymbolicCache(self.own, max_cache_size_gb=self.limit)

    def quietly(self, function):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CacheWarning)
            return function()

    @rule(target=keys, n=st.integers(1, 5))
    def compute(self, n):
        dag = self.quietly(lambda: self.cache().get_or_compute(self.graphs[n]))
        assert expectation(dag) == pytest.approx(harmonic(n), rel=1e-14)
        key = self.graphs[n].content_hash()
        assert self.cache().exists(key)
        if n > 1 or (self.own / "own" / key).exists():
            self.stored.add(key)
        return key

    @rule(target=keys, n=st.integers(2, 5), as_text=st.booleans())
    def save(self, n, as_text):
        dag = self.graphs[n].eliminate()
        key = self.cache().save(dag.to_json() if as_text else dag)
        self.stored.add(key)
        return key

    @rule(key=keys)
    def load(self, key):
        cache = self.cache()
        text = self.quietly(lambda: cache.load(key))
        if text is not None:
            assert expectation(SymbolicDAG.from_json(text)) == pytest.approx(harmonic(self.numbers[key]))
        assert cache.hits + cache.misses == 1

    @rule(key=keys)
    def remove(self, key):
        self.cache().remove(key)
        self.stored.discard(key)

    # Nothing is drawn that depends on the file: its size is not the same in two runs, since it holds a measured time.
    @rule(
        key=keys,
        suffix=st.sampled_from([".json", ".safetensors", ".meta"]),
        where=st.floats(0, 1, exclude_max=True),
        kind=st.sampled_from(["flip", "cut", "lose"]),
        bits=st.integers(1, 255),
    )
    def accident(self, key, suffix, where, kind, bits):
        path = entry_file(self.own / "symbolic", key, suffix)
        if path.exists():
            content = bytearray(path.read_bytes())
            at = int(where * len(content))
            if kind == "lose":
                path.unlink()
            elif kind == "cut":
                path.write_bytes(content[:at])
            elif content:
                content[at] ^= bits
                path.write_bytes(content)

    @rule()
    def clear(self):
        self.cache().clear()
        self.stored.clear()
        assert [entry for entry in self.cache().list_entries() if entry.own] == []

    @rule(kilobytes=st.sampled_from([None, 4, 9]))
    def change_limit(self, kilobytes):
        self.limit = None if kilobytes is None else kilobytes * 1e3 / 1e9

    @invariant()
    def read_only_layer_is_as_it_was(self):
        assert snapshot(self.shared) == self.before

    @invariant()
    def listing_and_look_up_agree(self):
        cache = self.cache()
        for entry in cache.list_entries():
            assert cache.exists(entry.hash)
            assert entry.bytes == sum((entry.layer / name).stat().st_size for name in entry.files)

    def teardown(self):
        shutil.rmtree(self.folder)


CacheMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)
TestHistory = CacheMachine.TestCase
