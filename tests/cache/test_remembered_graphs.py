"""Graphs that callbacks gave, remembered: never another model's, and none where it cannot be known."""

import functools
import itertools
import math
import os
import random
import subprocess
import sys
import textwrap
from fractions import Fraction

import numpy as np
import pytest

from phasic_models import params
from phasic_models.cache.entries import CacheWarning, EntryStore, entry_file
from phasic_models.cache.fingerprint import callback_key
from phasic_models.graph import Graph
from phasic_models.statespace.explore import Explorer
from phasic_models.symbolic_cache import SymbolicCache

RATE = 2.0
TABLE = {"a": [1, 2.0], "b": (3, None)}
ARRAY = np.arange(6.0).reshape(2, 3)
COAL, MIG = params("coal", "mig")


def coalescent(state, n=4):
    if len(state) == 0:
        return [(np.array([n]), 1.0, [1.0])]
    k = int(state[0])
    return [(np.array([k - 1]), 0.0, [math.comb(k, 2)])] if k > 1 else []


def helper(k):
    return RATE * k


def with_helper(state, n=3):
    return [([state[0] - 1], helper(int(state[0])))] if len(state) and state[0] else [([n], 1.0)] * (len(state) == 0)


def make(source, **names):
    """Compile a callback whose globals are `names`; None of the names of this module."""
    scope = dict(names)
    exec(textwrap.dedent(source), scope)
    return scope["callback"]


def closure(value):
    def callback(state):
        return [([0], value)] if state[0] else []

    return callback


@pytest.fixture
def cache(tmp_path):
    return SymbolicCache(tmp_path / "cache")


@pytest.fixture
def explored(monkeypatch):
    """Count the explorations."""
    runs = []
    run = Explorer.run

    def counted(self, ipv):
        runs.append(self)
        return run(self, ipv)

    monkeypatch.setattr(Explorer, "run", counted)
    return runs


REMEMBERED = [
    (coalescent, {}),
    (coalescent, {"n": 6}),
    (functools.partial(coalescent, n=6), {}),
    (with_helper, {"n": 2, "discrete": False}),
    (lambda s: [([0], COAL / (COAL + MIG))] if s[0] else [], {"ipv": [1]}),
    (lambda s: [([0], Fraction(1, 3))] if s[0] else [], {"ipv": [([1], 1.0)]}),
    (lambda s: [([0], ARRAY[0, 1] + TABLE["a"][1])] if s[0] else [], {"ipv": np.array([1])}),
    (lambda s: [([i], 1.0) for i in itertools.chain(range(2), [5])] if s[0] == 9 else [], {"ipv": [9]}),
    (closure(3.0), {"ipv": [1]}),
    (lambda s: (s[:, 0] > 0, s[s[:, 0] > 0] - 1, 1.0), {"ipv": [4], "vectorized": True}),
]


@pytest.mark.parametrize(("callback", "options"), REMEMBERED)
def test_the_second_time_nothing_is_explored(cache, explored, callback, options):
    plain = Graph(callback, **options)
    first = cache.graph(callback, **options)
    assert len(explored) == 2
    again = SymbolicCache(cache.cache_dir).graph(callback, **options, progress=lambda *numbers: None)
    assert len(explored) == 2
    assert plain.content_hash() == first.content_hash() == again.content_hash()
    assert plain.param_names == again.param_names
    assert np.array_equal(plain.states(), again.states())


def test_another_process_explores_nothing(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys
        from math import comb
        from phasic_models import Graph, SymbolicCache
        from phasic_models.statespace.explore import Explorer

        def kingman(state, n):
            if len(state) == 0:
                return [([n], 1.0, [1.0])]
            k = int(state[0])
            return [([k - 1], 0.0, [comb(k, 2)])] if k > 1 else []

        if sys.argv[1] == "again":
            Explorer.run = None
        cache = SymbolicCache(sys.argv[2])
        model = cache.get_or_compute(cache.graph(kingman, n=7)).model()
        print(model.expectation([1.0]))
        """)
    )
    outputs = [
        subprocess.run(
            [sys.executable, script, which, tmp_path / "cache"], capture_output=True, text=True, check=True
        ).stdout
        for which in ("first", "again")
    ]
    # 2 (1 - 1/n), Kingman (1982).
    assert [float(text) for text in outputs] == pytest.approx([2 * (1 - 1 / 7)] * 2, rel=1e-14)


class Thing:
    rate = 1.0

    def __call__(self, state):
        return []

    def method(self, state):
        return []


def counted_callback():
    calls = []

    def callback(state):
        calls.append(1)
        return []

    return callback


THING = Thing()
CACHED = functools.lru_cache(lambda k: k)
GENERATOR = (i for i in range(3))


@pytest.mark.parametrize(
    "callback",
    [
        Thing(),
        Thing().method,
        Thing,
        lambda s: THING.rate,
        lambda s: Thing().rate,
        lambda s: CACHED(3),
        lambda s: next(GENERATOR),
        lambda s: random.random(),
        lambda s: np.random.rand(),  # noqa: NPY002
        lambda s: np.load("x"),
        lambda s: open("x"),  # noqa: SIM115, PTH123
        lambda s: getattr(np, "random"),  # noqa: B009
        lambda s: hash("x"),
        lambda s: (lambda: pytest)(),
        lambda s: s.__class__,
        lambda s: undefined_name,  # noqa: F821
        make("def callback(s):\n    import random\n    return random.random()"),
        make("def callback(s):\n    from random import random\n    return random()"),
        make("def callback(s):\n    global x\n    x = 1\n    return []"),
        make("def callback(s):\n    class A: pass\n    return []"),
        make("def callback(s):\n    return x", x=np.array([None])),
        make("def callback(s):\n    return [f() for f in x]", x=[random.random]),
        functools.partial(lambda s, x: [], x=THING),
    ],
)
def test_no_key_where_it_cannot_be_known(callback):
    assert callback_key(callback, {}) is None


def test_no_key_for_options_that_cannot_be_known():
    assert callback_key(coalescent, {"thing": THING}) is None
    looped: list = []
    looped.append(looped)
    assert callback_key(coalescent, {"n": looped}) is None


def test_a_callback_without_a_key_is_explored_each_time(cache, explored):
    for _ in range(2):
        cache.graph(lambda s: [([0], THING.rate)] if s[0] else [], ipv=[1])
    assert len(explored) == 2
    assert not cache.cache_dir.parent.joinpath("graphs").exists()


RETURN = "def callback(s):\n    return {}"
DIFFERENT = [
    [
        make(RETURN.format(text))
        for text in ("1", "2", "1.0", "True", "None", "'1'", "b'1'", "(1,)", "[1]", "-s", "0.0", "-0.0")
    ],
    [make(RETURN.format("x"), x=x) for x in (1, 1.0, True, "1", b"1", (1,), [1], {1: 1}, range(1), slice(1), 1j, None)],
    [make(RETURN.format("x"), x=x) for x in (math.nan, math.inf, 0.0, -0.0, 5e-324, 2**70, -(2**70), Fraction(1, 3))],
    [make(RETURN.format("x"), x=x) for x in ([1, [2]], [[1], 2], [1, 2], [[1, 2]], ["1", "2"], ["12"], ["", "12"])],
    [
        make(RETURN.format("x"), x=x)
        for x in (COAL, MIG, COAL + MIG, COAL * MIG, COAL / MIG, MIG / COAL, 2 * COAL, COAL**2)
    ],
    [
        make(RETURN.format("x"), x=np.array(x, dtype=d))
        for x in ([1, 2], [[1, 2]], [[1], [2]], [2, 1])
        for d in ("i8", "f8")
    ],
    [make(RETURN.format("x"), x=x) for x in (np.int64(1), np.int32(1), np.float64(1), np.bool_(True))],
    [make(RETURN.format("f(s)"), f=f) for f in (math.exp, math.log, np.array, abs, make(RETURN.format("s")), COAL)],
    [make(RETURN.format("f(s)"), f=make(RETURN.format("y"), y=y)) for y in (1, 2)],
    [make(f"def callback(s, n={n}):\n    return n") for n in (1, 2)],
    [make(f"def callback(s, *, n={n}):\n    return n") for n in (1, 2)],
    [make(f"def callback(s):\n    return [i + {n} for i in s]") for n in (1, 2)],
    [make(f"def callback(s):\n    return s in {{{n}, 7}}") for n in (1, 2)],
    [make("def callback(s):\n    return m.floor(s)", m=math), make("def callback(s):\n    return m.floor(s)", m=np)],
    [make("def callback(s):\n    return s.min()"), make("def callback(s):\n    return s.max()")],
    [closure(1.0), closure(2.0), closure((1.0,)), closure(closure(1.0)), closure(closure(2.0))],
    [functools.partial(coalescent, n=n) for n in (1, 2)],
    [make(f"def callback(s, n):\n    return callback(s, n - {step}) if n else 0") for step in (1, 2)],
]


@pytest.mark.parametrize("callbacks", DIFFERENT)
def test_other_callbacks_have_other_keys(callbacks):
    keys = [callback_key(callback, {}) for callback in callbacks]
    assert None not in keys
    assert len(set(keys)) == len(keys)


def test_functions_that_use_each_other():
    keys = set()
    for itself in (True, False):
        helper = make("def callback(s):\n    return h(s)")
        callback = make("def callback(s):\n    return g(s)", g=helper)
        helper.__globals__["h"] = helper if itself else callback
        keys.add(callback_key(callback, {}))
    assert len(keys) == 2
    assert None not in keys


def test_attributes_of_a_function_enter_the_key():
    callback = make("def callback(s):\n    return callback.rate")
    callback.rate = 1.0
    key = callback_key(callback, {})
    callback.rate = 2.0
    assert callback_key(callback, {}) not in (key, None)
    callback.rate = THING
    assert callback_key(callback, {}) is None


def test_options_enter_the_key():
    options = [
        {},
        {"n": 3},
        {"n": 3.0},
        {"n": 4},
        {"discrete": True},
        {"ipv": [3]},
        {"ipv": [[3], 1.0]},
        {"param_names": ["n"]},
    ]
    assert len({callback_key(coalescent, chosen) for chosen in options}) == len(options)
    assert callback_key(coalescent, {"n": 3, "discrete": True}) == callback_key(coalescent, {"discrete": True, "n": 3})


def test_calls_do_not_change_the_key():
    """Python rewrites the code of a function that is called often."""
    key = callback_key(with_helper, {})
    Graph(with_helper, n=500)
    assert callback_key(with_helper, {}) == key


def test_versions_enter_the_key(monkeypatch):
    key = callback_key(coalescent, {})
    for module, name in ((np, "__version__"), (sys, "version"), (sys, "platform")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, "other")
            assert callback_key(coalescent, {}) != key
    assert callback_key(coalescent, {}) == key


def test_other_builtins(monkeypatch):
    total = make("def callback(s):\n    return sum(s)")
    key = callback_key(total, {})
    monkeypatch.setattr("builtins.sum", max)
    assert callback_key(total, {}) not in (key, None)
    monkeypatch.setattr("builtins.sum", lambda s: 0)
    assert callback_key(total, {}) is not None
    monkeypatch.undo()
    assert callback_key(total, {}) == key
    assert callback_key(make("def callback(s):\n    return sum(s)", __builtins__={"sum": max}), {}) is None


def test_a_changed_global_is_another_model(cache, monkeypatch):
    first = cache.graph(with_helper)
    monkeypatch.setattr(sys.modules[__name__], "RATE", 5.0)
    second = cache.graph(with_helper)
    assert second.content_hash() == Graph(with_helper).content_hash() != first.content_hash()


def test_a_damaged_file_is_set_aside_and_explored_again(cache, explored):
    graph = cache.graph(coalescent)
    (path,) = cache.cache_dir.parent.glob("graphs/*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.warns(CacheWarning, match="set aside") as caught:
        again = cache.graph(coalescent)
    assert caught[0].filename == __file__
    assert again.content_hash() == graph.content_hash()
    assert len(explored) == 2
    aside = path.with_name(path.name + ".corrupt")
    assert aside.exists()
    assert EntryStore(path.parents[1]).leftovers() == [aside]
    assert cache.graph(coalescent).content_hash() == graph.content_hash()
    assert len(explored) == 2


def test_a_file_of_an_elimination_is_no_graph(cache):
    graph = cache.graph(coalescent)
    (path,) = cache.cache_dir.parent.glob("graphs/*.safetensors")
    cache.get_or_compute(graph)
    path.write_bytes(entry_file(cache.cache_dir, graph.content_hash(), ".safetensors").read_bytes()[:-8])
    with pytest.warns(CacheWarning, match="set aside"):
        assert cache.graph(coalescent).content_hash() == graph.content_hash()


def test_errors_are_not_remembered(cache):
    for _ in range(2):
        with pytest.raises(ValueError, match="negative"):
            cache.graph(lambda s: [([0], -1.0)] if s[0] else [], ipv=[1])


def test_graphs_count_and_are_evicted_and_cleared(tmp_path):
    cache = SymbolicCache(tmp_path)
    cache.graph(coalescent, n=4)
    one = cache.info().bytes
    assert one == sum(path.stat().st_size for path in tmp_path.glob("graphs/*")) > 0
    small = SymbolicCache(tmp_path, max_cache_size_gb=2.5 * one / 1e9)
    for n in range(5, 9):
        small.graph(coalescent, n=n)
    left = list(tmp_path.glob("graphs/*.safetensors"))
    assert len(left) == 2
    assert EntryStore(tmp_path).leftovers(older_than=0.0) == []
    with pytest.warns(CacheWarning, match="could not store a graph"):
        SymbolicCache(tmp_path, max_cache_size_gb=one / 2e9).graph(coalescent, n=20)
    assert small.clear() == 2
    assert not list(tmp_path.glob("graphs/*"))


def test_the_graph_that_was_used_last_stays(tmp_path):
    cache = SymbolicCache(tmp_path)
    for n in (20, 21):
        cache.graph(coalescent, n=n)
        os.utime(tmp_path / "own" / callback_key(coalescent, {"n": n}), (n, n))
    cache.graph(coalescent, n=20)
    size = max(path.stat().st_size for path in tmp_path.glob("graphs/*"))
    small = SymbolicCache(tmp_path, max_cache_size_gb=2.5 * size / 1e9)
    small.graph(coalescent, n=22)
    kept = {
        n: (tmp_path / "graphs" / f"{callback_key(coalescent, {'n': n})}.safetensors").exists() for n in (20, 21, 22)
    }
    assert kept == {20: True, 21: False, 22: True}


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "graphs").write_text("in the way")
    with pytest.warns(CacheWarning, match="could not store a graph"):
        assert SymbolicCache(tmp_path).graph(coalescent).vertices_length() == 5
