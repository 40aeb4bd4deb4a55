"""Building libraries: graph, elimination and files of every model, the same bytes at any time and with any jobs."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from .. import formats
from ..compat import metadata_fields
from ..errors import LibraryError
from .dispatch import Runner, run_locally
from .isolation import Failure, Workers
from .loading import Library, callback_mistakes, examine, shown_path
from .lock import Lock
from .mistakes import LibraryMistakes, Mistake
from .one_model import Problem, Task, task_of
from .records import LibraryBuild, ModelBuild
from .spec import FORMAT_VERSION
from .worker import Limits

#: Called with the models that are done, the models there are, and the name of the last one.
Progress = Callable[[int, int, str], None]

_ATTEMPTS = 8
_ABANDONED_AFTER = 24 * 3600.0


def build_library(
    library: Library | str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    lock: Lock | None = None,
    jobs: int = 1,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> LibraryBuild:
    """Build all models of a library into ``out_dir/<category>/``, each in a process of its own.

    Parameters
    ----------
    library : Library or path-like
        The library, or its folder.
    out_dir : path-like
        Folder for the library's folder, made if it is missing. A library that was built there before is replaced, in
        one step, when the new one is complete.
    lock : Lock, optional
        Times of creation and elimination are taken from here wherever the content is the same.
    jobs : int
        Number of models that are built at the same time. The bytes do not depend on it.
    workers : Workers, optional
        Processes in which it happens; they have the limits of time and memory. By default some are started for this
        build, with a limit of 10 minutes and 4 GiB for each model.
    progress : callable, optional
        Called as ``progress(done, total, model name)`` after each model.

    Returns
    -------
    LibraryBuild
        The build.

    Raises
    ------
    LibraryMistakes
        Callbacks raise, end their process, exceed a limit, give another graph each time or are not what library.yaml
        says; the message lists all of them, and nothing is written.
    LibraryError
        ``out_dir/<category>`` holds something else than a library.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    with contextlib.nullcontext(workers) if workers is not None else Workers(Limits()) as running:
        [loaded] = [library] if isinstance(library, Library) else load_isolated([Path(library)], running)

        def report(done: int, total: int, task: Task) -> None:
            if progress is not None:
                progress(done, total, task.spec.name)

        runner = partial(run_locally, workers=running, jobs=jobs)
        [build] = build_libraries([loaded], Path(out_dir), {loaded.category: lock}, runner, report)
    return build


def load_isolated(folders: Sequence[Path], workers: Workers) -> list[Library]:
    """Read library folders; their models.py run in processes of their own, so that this one cannot be ended by them.

    Raises
    ------
    LibraryMistakes
        The mistakes in all of the folders.
    """
    libraries: list[Library] = []
    mistakes: list[Mistake] = []
    for folder in folders:
        answer = workers.call(examine, folder)
        if answer.failure is not None:
            mistakes.append(_while_run(folder, answer.failure))
        elif isinstance(answer.value, Library):
            libraries.append(answer.value)
        else:
            mistakes += answer.value
            answer = workers.call(callback_mistakes, folder)
            mistakes += [_while_run(folder, answer.failure)] if answer.failure is not None else answer.value
    if mistakes:
        raise LibraryMistakes(list(dict.fromkeys(mistakes)))
    return libraries


def _while_run(folder: Path, failure: Failure) -> Mistake:
    path = folder / "models.py"
    line = failure.line_in(str(path))
    return Mistake(shown_path(path), line, "", f"while it was run, {failure.message}", failure.trace)


def build_libraries(
    libraries: Sequence[Library],
    out_dir: Path,
    locks: Mapping[str, Lock | None],
    runner: Runner,
    progress: Callable[[int, int, Task], None],
) -> list[LibraryBuild]:
    """Build libraries into the folders of their names, all of them or, where anything is wrong, none.

    Parameters
    ----------
    libraries, locks
        The libraries, and their locks by category.
    out_dir
        Folder for the libraries' folders.
    runner
        Builds the models, or has them from somewhere.
    progress
        Called after each model with the number of those that are done, of all, and the model.

    Raises
    ------
    LibraryMistakes
        The mistakes of all models.
    """
    targets = {library.category: out_dir / library.category for library in libraries}
    tasks = tasks_of(libraries, locks)
    with contextlib.ExitStack() as stack:
        folders = {
            category: stack.enter_context(replacing(target, "manifest.json")) for category, target in targets.items()
        }
        built = collect(libraries, tasks, runner, folders, progress)
        return [
            _finish(
                library, [built[f"{library.category}/{name}"] for name in library.model_names], folders, targets, locks
            )
            for library in libraries
        ]


def tasks_of(libraries: Sequence[Library], locks: Mapping[str, Lock | None]) -> list[Task]:
    """Every model of some libraries, in the order of their library.yaml."""
    now = present_time()
    tasks = []
    for library in libraries:
        lock = locks.get(library.category)
        locked = lock.models if lock is not None else {}
        tasks += [task_of(library, model, locked.get(model.name), now) for model in library.models]
    return tasks


def collect(
    libraries: Sequence[Library],
    tasks: Sequence[Task],
    runner: Runner,
    folders: Mapping[str, Path],
    progress: Callable[[int, int, Task], None],
) -> dict[str, ModelBuild]:
    """Build tasks, write their files into the folders of their libraries, and give their records by ``library/model``.

    Every model is tried, also after one has failed, so that all mistakes are found.
    """
    by_category = {library.category: library for library in libraries}
    mistakes: dict[str, Mistake] = {}
    built: dict[str, ModelBuild] = {}
    with contextlib.closing(runner(tasks)) as running:
        for task, result in running:
            if isinstance(result, Problem):
                mistakes[task.name] = by_category[task.category].mistake(
                    task.spec, result.message, result.key, result.line, result.trace
                )
            else:
                for name, data in result.contents.items():
                    formats.write_atomic(folders[task.category] / name, data)
                built[task.name] = result.record
            progress(len(built) + len(mistakes), len(tasks), task)
    if mistakes:
        # In the order of library.yaml, whichever was ready first.
        raise LibraryMistakes([mistakes[task.name] for task in tasks if task.name in mistakes])
    if lost := [task.name for task in tasks if task.name not in built]:
        raise LibraryError(f"asked for {len(tasks)} models, built {len(built)}: not built: {', '.join(lost)}")
    return built


def _finish(
    library: Library,
    models: list[ModelBuild],
    folders: Mapping[str, Path],
    targets: Mapping[str, Path],
    locks: Mapping[str, Lock | None],
) -> LibraryBuild:
    spec = library.spec
    manifest = _manifest(library, models)
    formats.write_manifest(folders[spec.category] / "manifest.json", manifest)
    digest = hashlib.sha256(formats.encode_manifest(manifest)).hexdigest()
    lock = locks.get(spec.category)
    same = lock is not None and (lock.version, lock.build, lock.manifest) == (spec.version, spec.build, digest)
    created = lock.created if lock is not None and same else present_time()
    return LibraryBuild(spec.category, spec.version, spec.build, targets[spec.category], models, digest, created)


def _manifest(library: Library, models: list[ModelBuild]) -> formats.Manifest:
    spec = library.spec
    return formats.Manifest(
        category=spec.category,
        description=spec.description,
        version=spec.version,
        format_version=FORMAT_VERSION,
        license=spec.license,
        **metadata_fields(spec.compatible),
        models=[
            formats.ManifestModel(
                name=built.name,
                hash=built.graph_hash,
                description=item.description,
                vertices=built.vertices,
                parameters=list(item.parameter_names),
                status=item.status,
            )
            for item, built in zip(spec.models, models, strict=True)
        ],
        checksums={name: f"sha256:{digest}" for built in models for name, digest in built.files.items()},
    )


def present_time() -> str:
    """Present time as metadata state it, or SOURCE_DATE_EPOCH where a packager sets it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        moment = datetime.fromtimestamp(int(epoch) if epoch else time.time(), timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise LibraryError(
            f"the environment variable SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds"
        ) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def replacing(target: Path, marker: str) -> Iterator[Path]:
    """A new folder beside `target` that takes its place at the end, or disappears if anything goes wrong.

    Parameters
    ----------
    target : Path
        May be absent, empty, or of an earlier build.
    marker : str
        Name of a file that every build leaves there; a folder without it is something else, such as the sources.

    Raises
    ------
    LibraryError
        The target is something else.
    """
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise LibraryError(f"{target} is not a folder; choose another place for the build, or remove it")
    if target.is_dir() and any(target.iterdir()) and not (target / marker).is_file():
        raise LibraryError(
            f"{target} holds files that are not a built library (there is no {marker}); "
            "choose another place for the build, or remove it"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    folder = target.with_name(f"{_staging_prefix(target)}{secrets.token_hex(8)}")
    folder.mkdir()
    try:
        yield folder
        _take_place(folder, target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _take_place(folder: Path, target: Path) -> None:
    """Rename `folder` to `target`; what was there is moved away first, and back if the rename fails."""
    for attempt in range(_ATTEMPTS):
        old = target.with_name(f"{_staging_prefix(target)}{secrets.token_hex(8)}-old")
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)
        try:
            folder.rename(target)
        except OSError:
            # Either another build of this library was quicker, and its folder is there now, or something is really wrong.
            if target.exists() and attempt < _ATTEMPTS - 1:
                shutil.rmtree(old, ignore_errors=True)
                continue
            if old.exists():
                old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
        return


def _remove_abandoned(target: Path) -> None:
    """Remove the files of killed builds; a build that began more than a day ago is not running any more."""
    for path in target.parent.glob(f"{_staging_prefix(target)}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(path)


def _staging_prefix(target: Path) -> str:
    return f"{formats.TEMPORARY_PREFIX}{target.name}-"
