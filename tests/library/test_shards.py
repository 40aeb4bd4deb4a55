"""A build in parts: the same bytes as in one piece, or an error that says which part is wrong; and a build on a cluster."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from test_isolation import HEAD, YAML

from phasic_models.errors import LibraryError
from phasic_models.library import LibraryMistakes, Limits, Lock, Workers, build_library, load_library, updated_lock
from phasic_models.library.build import build_libraries, tasks_of
from phasic_models.library.dispatch import run_locally, run_on_dask
from phasic_models.library.one_model import Built, Problem
from phasic_models.library.shards import Part, build_shard, merging

pytestmark = pytest.mark.slow

STEPS = """\
def steps(state, n):
    if len(state) == 0:
        return [([n], 1.0, [1.0])]
    return [([int(state[0]) - 1], 0.0, [1.0])] if state[0] else []
"""


def entry(n: int) -> str:
    return (
        f"  - {{name: steps_{n}, function: steps, arguments: {{n: {n}}}, description: Steps,\n"
        "     parameters: *parameters, citation: *citation}\n"
    )


@pytest.fixture(scope="module")
def workers():
    with Workers(Limits()) as running:
        yield running


@pytest.fixture
def libraries(tmp_path, workers):
    """Two libraries of 9 and 2 models with committed locks."""
    loaded = []
    for name, yaml in (
        ("demo", YAML.replace("function: lie", "function: fine") + "".join(map(entry, range(1, 8)))),
        ("small", YAML.replace("category: demo", "category: small").replace("function: lie", "function: fine")),
    ):
        folder = tmp_path / "libraries" / name
        folder.mkdir(parents=True)
        (folder / "library.yaml").write_text(yaml)
        (folder / "models.py").write_text(HEAD.partition("def lie")[0] + STEPS)
        updated_lock(build_library(folder, tmp_path / "first", workers=workers), None).write(folder / "library.lock")
        loaded.append(load_library(folder))
    return loaded


def locks(libraries):
    return {library.category: Lock.read(library.lock_path) for library in libraries}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def quiet(*_):
    return None


def whole(libraries, out, workers, runner=None):
    runner = runner or partial(run_locally, workers=workers, jobs=2)
    build_libraries(libraries, out, locks(libraries), runner, quiet)
    return contents(out)


def parts(libraries, out, workers, of):
    runner = partial(run_locally, workers=workers, jobs=1)
    return [build_shard(libraries, out, Part(i, of), locks(libraries), runner, quiet) for i in range(1, of + 1)]


@pytest.mark.parametrize("of", [1, 3, 20])
def test_parts_give_the_same_bytes(libraries, tmp_path, workers, of):
    expected = whole(libraries, tmp_path / "whole", workers)
    assert len(expected) == 3 * 11 + 4
    made = parts(libraries, tmp_path / "shards", workers, of)
    assert [path.name for path in made] == [f"{i}-of-{of}" for i in range(1, of + 1)]
    counts = [len(json.loads((path / "shard.json").read_text())["built"]) for path in made]
    assert sum(counts) == 11
    assert max(counts) - min(counts) <= 1
    for folders in ([tmp_path / "shards"], made):
        assert whole(libraries, tmp_path / "merged", workers, merging(libraries, folders)) == expected
    # A part is replaced by a later build of the same part, and nothing is left beside it.
    parts(libraries, tmp_path / "shards", workers, of)
    assert len(list((tmp_path / "shards").iterdir())) == of


def test_parts_that_do_not_fit_together(libraries, tmp_path, workers):
    made = parts(libraries, tmp_path / "shards", workers, 3)
    one, two, three = made

    def refused(match, *folders):
        with pytest.raises(LibraryError, match=match):
            whole(libraries, tmp_path / "merged", workers, merging(libraries, folders))
        assert not (tmp_path / "merged").exists() or list((tmp_path / "merged").iterdir()) == []

    refused("part 2 of 3 is missing; there is only .*1-of-3, .*3-of-3", one, three)
    refused("part 1, 3 of 3 is missing", two)
    copy = shutil.copytree(one, tmp_path / "copy")
    refused("part 1 of 3 is there 2 times: .*1-of-3, .*copy", *made, copy)
    refused("there is no part of a build", tmp_path / "libraries")
    other = parts(libraries, tmp_path / "other", workers, 2)
    refused("parts of different splits: .* is one of 2, .* is one of 3", one, two, other[0])
    record = json.loads((two / "shard.json").read_text())
    for change, match in (
        ({"version": "9.9.9"}, r"2-of-3: was built with phasic-models 9\.9\.9, and this is"),
        (
            {"sources": record["sources"] | {"demo/models.py": "0" * 64}},
            "2-of-3: was built from another demo/models.py",
        ),
        ({"asked": record["asked"][:-1]}, "2-of-3: is part of a build of 10 models, and this is one of 11"),
        ({"built": {}}, "2-of-3: does not hold the models of part 2 of 3"),
        ({"number": "2"}, "shard.json: not the record"),
    ):
        (two / "shard.json").write_text(json.dumps(record | change))
        refused(match, *made)
    (two / "shard.json").write_text(json.dumps(record))
    name = next(iter(record["built"]))
    file = two / name.partition("/")[0] / f"{name.partition('/')[2]}.json"
    text = file.read_bytes()
    file.write_bytes(text + b" ")
    refused(r"\.json: altered or damaged", *made)
    file.unlink()
    refused(r"\.json: missing", *made)
    file.write_bytes(text)
    assert len(whole(libraries, tmp_path / "merged", workers, merging(libraries, made))) == 3 * 11 + 4


def test_parts_of_sources_that_changed_since(libraries, tmp_path, workers):
    made = parts(libraries, tmp_path / "shards", workers, 2)
    path = libraries[1].folder / "library.yaml"
    path.write_text(path.read_text().replace("What is tried", "What was tried"))
    again = [libraries[0], load_library(libraries[1].folder)]
    with pytest.raises(LibraryError, match=r"was built from another small/library\.yaml than are here; build it again"):
        merging(again, made)
    with pytest.raises(LibraryError, match="give the same --category options to every part and to the merge"):
        merging(again[:1], made)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1/0", "a/b", "1/2/3", "-1/2", "", "1/ 2"])
def test_what_is_no_part(text):
    with pytest.raises(LibraryError, match="given as I/N"):
        Part.parse(text)


def test_a_part_with_a_mistake_is_not_there(libraries, tmp_path, workers):
    path = libraries[1].folder / "models.py"
    path.write_text("def fine(state):\n    raise ValueError('now')\n")
    broken = load_library(libraries[1].folder)
    runner = partial(run_locally, workers=workers, jobs=1)
    with pytest.raises(LibraryMistakes, match="ValueError in fine"):
        build_shard([broken], tmp_path / "shards", Part(1, 2), {}, runner, quiet)
    assert list((tmp_path / "shards").iterdir()) == []


# -- a cluster ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def cluster(folder: Path, count: int):
    """A scheduler and workers of dask, each a process, in folders of their own; gives the address and the workers."""
    file = folder / "scheduler.json"
    module = [sys.executable, "-m"]
    log = (folder / "log").open("wb")
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    processes = [
        subprocess.Popen(
            [*module, "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *options], stderr=log
        )
    ]
    try:
        wait_until(file.is_file)
        for number in range(count):
            place = folder / f"worker-{number}"
            place.mkdir()
            command = [
                *module,
                "distributed.cli.dask_worker",
                "--nthreads",
                "1",
                "--no-nanny",
                "--local-directory",
                place,
            ]
            processes.append(subprocess.Popen([*command, *options], cwd=place, stderr=log))
        yield json.loads(file.read_text())["address"], processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        log.close()


def wait_until(condition):
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def test_a_cluster_of_which_a_worker_is_killed(libraries, tmp_path, workers):
    distributed = pytest.importorskip("distributed", reason="needs dask.distributed")
    expected = whole(libraries, tmp_path / "whole", workers)
    with cluster(tmp_path, 3) as (address, processes):
        with distributed.Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=120)
        killed = []

        def runner(tasks):
            for task, result in run_on_dask(tasks, address, Limits()):
                if not killed:
                    processes[0].kill()
                    killed.append(task.name)
                yield task, result

        assert whole(libraries, tmp_path / "merged", workers, runner) == expected
        assert killed
        assert processes[0].wait() != 0
        # What ends a process on this machine ends none of the cluster's workers either.
        models = libraries[1].folder / "models.py"
        models.write_text("import os\ndef fine(state):\n    os._exit(0)\n")
        lies = tasks_of([load_library(libraries[1].folder)], {})
        results = [result for _, result in run_on_dask(lies, address, Limits())]
        assert all(isinstance(result, Problem) and "exit code 0" in result.message for result in results)
        [(_, result)] = run_on_dask(tasks_of([libraries[1]], {})[:1], address, Limits())
        assert isinstance(result, Built)
        assert processes[1].poll() is None


def test_a_cluster_that_is_not_there():
    pytest.importorskip("distributed", reason="needs dask.distributed")
    with pytest.raises(LibraryError, match="nonsense://x: no dask scheduler can be reached there"):
        list(run_on_dask([], "nonsense://x", Limits()))


def test_dask_is_not_imported_unless_it_is_asked_for():
    code = "import sys, phasic_models.packaging.release; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
