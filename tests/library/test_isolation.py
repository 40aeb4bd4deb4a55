"""Models that end, crash or block their process, or are another model each time: each is an error that names it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phasic_models.errors import LibraryError
from phasic_models.library import LibraryMistakes, Limits, Workers, build_library, load_library
from phasic_models.library.build import load_isolated, tasks_of
from phasic_models.library.dispatch import build_checked
from phasic_models.library.one_model import Problem

YAML = """\
category: demo
version: 1.0.0
description: Two small models
license: MIT
compatible:
  phasic: ">=0.21,<0.33"
  phasic-models: ">=0.1,<1"
models:
  - name: fine
    function: fine
    description: One step
    parameters: &parameters
      - {name: rate, description: Rate of a step, unit: 1/time, example: 2.0}
    citation: &citation {authors: [Erlang], year: 1909, title: The theory, url: https://example.org/erlang}
  - name: second
    function: lie
    description: What is tried
    parameters: *parameters
    citation: *citation
"""

HEAD = """\
import os, random, signal, sys, time

def fine(state):
    return [([1], 1.0, [1.0])] if len(state) == 0 else [([0], 0.0, [1.0])] if state[0] else []

def lie(state):
"""
# The function is defined in line 6, and its body begins in line 7.
LIMITS = Limits(seconds=2.0, memory=256 << 20)


@pytest.fixture(scope="module")
def workers():
    with Workers(LIMITS) as running:
        yield running


def library_folder(where: Path, body: str, head: str = HEAD, yaml: str = YAML) -> Path:
    folder = where / "demo"
    folder.mkdir(parents=True)
    (folder / "library.yaml").write_text(yaml)
    (folder / "models.py").write_text(head + "".join(f"    {line}\n" for line in body.splitlines()))
    return folder


LIES = {
    "sys.exit": ("sys.exit(0)", r"second: SystemExit in lie: 0", 7),
    "os._exit": ("os._exit(0)", r"second: lie: the process ended with exit code 0 and gave nothing", 6),
    "os._exit with a code": ("os._exit(7)", r"second: lie: the process ended with exit code 7", 6),
    "a crash": ("import ctypes\nctypes.string_at(0)", r"second: lie: the process was killed by SIGSEGV", 8),
    "abort": ("os.abort()", r"second: lie: the process was killed by SIGABRT", 7),
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", r"second: lie: the process was killed by SIGKILL", 6),
    "an endless callback": ("x = 1\nwhile True:\n    x += 1", r"second: lie: the time limit of 2 s is over", None),
    "an endless callback that catches all": (
        "while True:\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass",
        r"second: lie: the time limit of 2 s is over",
        9,
    ),
    "an endless state space": (
        "return [([len(state) and state[0] + 1], 1.0, [1.0])]",
        r"second: .*(the time limit of 2 s is over|max_states)",
        None,
    ),
    "too much memory": ("x = bytearray(1 << 33)", r"second: lie: MemoryError: more than 0.25 GiB of memory", 7),
    "more and more memory": (
        "x = []\nwhile True:\n    x.append(bytearray(1 << 20))",
        r"second: lie: MemoryError: more than 0.25 GiB of memory",
        9,
    ),
    "an interrupt": ("raise KeyboardInterrupt", r"second: lie: KeyboardInterrupt", 7),
    "closed files": ("os.closerange(3, 99)\nreturn fine(state)", r"second: lie: the process ended with exit code", 6),
    "random rates": (
        "return [(s, p, [random.random()]) for s, p, _ in fine(state)]",
        r"second: lie gives another graph each time \(3 vertices and 2 edges and 3 vertices and 2 edges, with other",
        6,
    ),
    "the clock": ("return [(s, p, [time.time()]) for s, p, _ in fine(state)]", "second: lie gives another graph", 6),
    "the order of a set": (
        "if len(state) == 0:\n"
        "    return [([1], 1.0, [1.0])]\n"
        "first = ''.join(sorted({str(k) for k in range(40)}, key=hash))\n"
        "return [([0], 0.0, [float(first[:9])])] if state[0] else []",
        "second: lie gives another graph",
        6,
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="signals, forks and the limit of memory are those of Linux")
@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_an_error_that_names_model_and_line(tmp_path, workers, lie):
    body, message, line = LIES[lie]
    folder = library_folder(tmp_path, body)
    with pytest.raises(LibraryMistakes, match=message) as caught:
        build_library(folder, tmp_path / "out", workers=workers)
    [mistake] = caught.value.mistakes
    assert mistake.file == str(folder / "models.py"), "the folder is that of the library"
    if line is not None:
        assert mistake.line == line
    else:
        assert mistake.line in (6, 7, 8, 9)
    assert "\n" not in str(mistake)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("lie", ["sys.exit", "os._exit", "a crash", "an endless callback", "random rates"])
def test_where_the_system_cannot_fork(tmp_path, lie):
    """On macOS and Windows each model has a new interpreter."""
    body, message, line = LIES[lie]
    library = load_library(library_folder(tmp_path, body))
    with Workers(LIMITS, forks=False) as workers:
        fine, second = (build_checked(task, workers) for task in tasks_of([library], {}))
    assert not isinstance(fine, Problem)
    assert isinstance(second, Problem)
    if sys.platform != "win32":
        assert re.search(message, second.message)
    assert second.line == line or line is None


@pytest.mark.parametrize(
    ("first", "line", "message"),
    [
        ("import os; os._exit(0)", None, "while it was run, the process ended with exit code 0 and gave nothing"),
        ("import sys; sys.exit(0)", 1, "SystemExit while it was run: 0"),
        ("while True: pass", 1, "while it was run, the time limit of 2 s is over"),
    ],
)
def test_a_models_py_that_ends_or_blocks_whoever_runs_it(tmp_path, workers, first, line, message):
    folder = library_folder(tmp_path, "return fine(state)", head=first + "\n" + HEAD)
    with pytest.raises(LibraryMistakes, match=re.escape(message)) as caught:
        build_library(folder, tmp_path / "out", workers=workers)
    assert [(mistake.file, mistake.line) for mistake in caught.value.mistakes] == [(str(folder / "models.py"), line)]
    assert not (tmp_path / "out").exists()


def test_mistakes_in_library_yaml_beside_a_callback_that_ends_the_process(tmp_path, workers):
    folder = library_folder(tmp_path, "os._exit(0)", yaml=YAML.replace("license: MIT", "licence: MIT"))
    with pytest.raises(LibraryMistakes) as caught:
        load_isolated([folder], workers)
    text = str(caught.value)
    assert "did you mean 'license'?" in text
    assert "models.py: while it was run, the process ended with exit code 0" in text


def test_a_worker_that_is_killed_does_not_take_the_build_along(tmp_path, workers):
    """The first call of a model kills the worker that forked it; the next calls get another one."""
    library = load_library(library_folder(tmp_path, "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(60)"))
    for _ in range(2):
        second, fine = (build_checked(task, workers) for task in reversed(tasks_of([library], {})))
        assert isinstance(second, Problem)
        assert not isinstance(fine, Problem)


def test_what_a_model_starts_ends_with_the_build(tmp_path):
    mark = tmp_path / "pid"
    body = (
        "import subprocess\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(mark)!r}, 'w').write(str(child.pid))\n"
        "time.sleep(60)"
    )
    with Workers(LIMITS) as workers, pytest.raises(LibraryMistakes, match="time limit"):
        build_library(library_folder(tmp_path, body), tmp_path / "out", workers=workers)
    if sys.platform == "linux":
        assert not is_running(int(mark.read_text()))


def is_running(process: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.02)
    return True


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_a_fork_in_a_callback_blocks_nothing(tmp_path, workers):
    folder = library_folder(tmp_path, "os.fork()\nreturn fine(state)")
    begin = time.monotonic()
    assert len(build_library(folder, tmp_path / "out", workers=workers).models) == 2
    assert time.monotonic() - begin < 20


def test_the_parent_is_gone(tmp_path):
    """A build that is killed leaves no process behind, not even one that would never end."""
    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    mark = tmp_path / "pid"
    body = f"open({str(mark)!r}, 'w').write(str(os.getpid()))\nprint('here', flush=True)\nwhile True: pass"
    folder = library_folder(tmp_path, body)
    code = "import sys; from phasic_models.library import build_library; build_library(sys.argv[1], sys.argv[2])"
    with subprocess.Popen([sys.executable, "-c", code, folder, tmp_path / "out"], stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"here\n"
        process.kill()
    assert not is_running(int(mark.read_text()))


def test_a_script_needs_no_guard(tmp_path):
    """Other processes do not run the main script again, so that a build may stand at its top level."""
    folder = library_folder(tmp_path, "return fine(state)")
    script = tmp_path / "script.py"
    script.write_text(
        "print('once')\nfrom phasic_models.library import build_library\n"
        f"print(len(build_library({str(folder)!r}, {str(tmp_path / 'out')!r}, jobs=2).models))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["once", "2"], "")


def test_both_explorations_have_another_order_of_sets(tmp_path):
    with Workers(LIMITS) as workers:
        first = workers.call(os.getpid)
        seeds = {first.seed} | {workers.call(os.getpid, apart_from=first.seed).seed for _ in range(3)}
        assert len(seeds) == 2, "and no more processes than are needed"
        asked = workers.call(os.getenv, "PYTHONHASHSEED", apart_from=first.seed)
        assert asked.value == str(asked.seed)
    with pytest.raises(RuntimeError, match="have been ended"):
        workers.call(os.getpid)


def test_nothing_is_asked_of_a_library_that_is_not_there(tmp_path):
    with pytest.raises(LibraryError, match="cannot be read"):
        build_library(tmp_path / "nowhere", tmp_path / "out")
