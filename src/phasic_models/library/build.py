"""Building a library: graph, elimination and files of every model, the same bytes at any time and with any jobs."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from .. import formats
from ..compat import VersionRange, metadata_fields
from ..errors import LibraryError, PhasicModelsError
from .loading import Library, load_library
from .lock import Lock, LockedModel
from .mistakes import LibraryMistakes, Mistake
from .spec import FORMAT_VERSION, ModelSpec

Progress = Callable[[int, int, str], None]

# Windows cannot wait for more processes than that.
_MAX_JOBS = 60
_ATTEMPTS = 8
_ABANDONED_AFTER = 24 * 3600.0


@dataclass(frozen=True)
class ModelBuild:
    """One model that was built.

    Attributes
    ----------
    name : str
        Its name.
    graph_hash : str
        Content hash of the graph.
    vertices, edges, operations : int
        Size of the graph, and multiply-adds of one elimination.
    files : dict
        File name to SHA-256.
    bytes : int
        Size of all its files.
    seconds : float
        Wall time of the build.
    created, elimination_time_ms
        What its metadata say; from the lock, unless the content is new.
    """

    name: str
    graph_hash: str
    vertices: int
    edges: int
    operations: int
    files: dict[str, str]
    bytes: int
    seconds: float
    created: str
    elimination_time_ms: float


@dataclass(frozen=True)
class LibraryBuild:
    """A library that was built.

    Attributes
    ----------
    category, version, build
        The library.
    folder : Path
        Where its files are.
    models : list of ModelBuild
        In the order of library.yaml.
    manifest : str
        SHA-256 of manifest.json.
    created : str
        When anything in the library last changed, UTC; from the lock, unless the content is new.
    """

    category: str
    version: str
    build: int
    folder: Path
    models: list[ModelBuild]
    manifest: str
    created: str


def build_library(
    library: Library | str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    lock: Lock | None = None,
    jobs: int = 1,
    progress: Progress | None = None,
) -> LibraryBuild:
    """Build all models of a library into ``out_dir/<category>/``.

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
        Number of processes. The bytes do not depend on it.
    progress : callable, optional
        Called as ``progress(done, total, model name)`` after each model.

    Returns
    -------
    LibraryBuild
        What was built.

    Raises
    ------
    LibraryMistakes
        Callbacks raise or are not what library.yaml says; the message lists all of them, and nothing is written.
    LibraryError
        ``out_dir/<category>`` holds something else than a library.
    """
    loaded = library if isinstance(library, Library) else load_library(library)
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, not {jobs}")
    target = Path(out_dir) / loaded.category
    _check_target(target)
    now = _now()
    with _staging(target) as folder:
        tasks = [_Task(str(loaded.folder), name, _locked(lock, name), str(folder), now) for name in loaded.model_names]
        built, mistakes = _run(loaded, tasks, min(jobs, len(tasks), _MAX_JOBS), progress)
        if mistakes:
            raise LibraryMistakes(mistakes)
        models = [built[name] for name in loaded.model_names]
        manifest = _manifest(loaded, models)
        formats.write_manifest(folder / "manifest.json", manifest)
    digest = hashlib.sha256(formats.encode_manifest(manifest)).hexdigest()
    same = lock is not None and (lock.version, lock.build, lock.manifest) == (loaded.version, loaded.spec.build, digest)
    created = lock.created if lock is not None and same else now
    return LibraryBuild(loaded.category, loaded.version, loaded.spec.build, target, models, digest, created)


@dataclass(frozen=True)
class _Task:
    library: str
    model: str
    locked: LockedModel | None
    folder: str
    now: str


def _run(
    library: Library, tasks: list[_Task], jobs: int, progress: Progress | None
) -> tuple[dict[str, ModelBuild], list[Mistake]]:
    """Build every model, also after one has failed, so that all mistakes are found."""
    built: dict[str, ModelBuild] = {}
    mistakes: list[Mistake] = []

    def take(result: ModelBuild | LibraryMistakes, task: _Task) -> None:
        if isinstance(result, LibraryMistakes):
            mistakes.extend(result.mistakes)
        else:
            built[task.model] = result
        if progress is not None:
            progress(len(built) + len(mistakes), len(tasks), task.model)

    if jobs == 1:
        for task in tasks:
            take(_build_model(library, task), task)
        return built, mistakes
    # Spawned, not forked: a progress bar's thread may hold a lock at the time of the fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, context, _start_worker, (str(library.folder),)) as pool:
        futures = {pool.submit(_work, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                take(future.result(), futures[future])
        except BrokenProcessPool:
            raise LibraryError(
                f"{library.category}: a build process died (out of memory?); try again with fewer jobs"
            ) from None
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return built, mistakes


_worker_library: Library | None = None


def _start_worker(folder: str) -> None:
    global _worker_library
    _worker_library = load_library(folder)


def _work(task: _Task) -> ModelBuild | LibraryMistakes:
    assert _worker_library is not None
    return _build_model(_worker_library, task)


def _build_model(library: Library, task: _Task) -> ModelBuild | LibraryMistakes:
    """Build one model into the staging folder. Mistakes are returned, so that the other models are still tried."""
    start = time.perf_counter()
    spec = library.model(task.model)
    try:
        graph = library.graph(spec)
        elimination_start = time.perf_counter()
        dag = graph.eliminate()
        measured = round((time.perf_counter() - elimination_start) * 1e3, 3)
        dag.model().expectation(spec.example)
        contents = {
            f"{spec.name}.json": formats.dag_to_json(dag).encode(),
            f"{spec.name}.safetensors": formats.dag_to_bytes(dag),
        }
    except LibraryMistakes as error:
        return error
    except PhasicModelsError as error:
        return LibraryMistakes(
            [library.mistake(spec, f"at the example parameters {spec.example}: {error}", "parameters")]
        )
    except Exception as error:
        return LibraryMistakes([library.mistake(spec, f"{type(error).__name__}: {error}")])
    stats = formats.Stats(
        vertices=graph.vertices_length(),
        edges=graph.n_edges,
        operations=int(dag.operations),
        elimination_time_ms=measured,
    )
    meta = _meta(library, spec, graph.content_hash(), stats)
    created, measured, text = _stamp(meta, stats, contents, task)
    contents[f"{spec.name}.meta"] = text
    folder = Path(task.folder)
    for name, data in contents.items():
        formats.write_atomic(folder / name, data)
    return ModelBuild(
        name=spec.name,
        graph_hash=meta.graph_hash,
        vertices=graph.vertices_length(),
        edges=graph.n_edges,
        operations=int(dag.operations),
        files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(contents.items())},
        bytes=sum(map(len, contents.values())),
        seconds=time.perf_counter() - start,
        created=created,
        elimination_time_ms=measured,
    )


def _stamp(
    meta: formats.ModelMeta, stats: formats.Stats, contents: Mapping[str, bytes], task: _Task
) -> tuple[str, float, bytes]:
    """Complete the metadata with the lock's times if that gives the locked content, and with new ones otherwise."""
    import msgspec

    def encoded(created: str, milliseconds: float) -> bytes:
        timed = msgspec.structs.replace(stats, elimination_time_ms=milliseconds)
        return formats.encode_meta(msgspec.structs.replace(meta, created=created, stats=timed))

    locked = task.locked
    if locked is not None:
        text = encoded(locked.created, locked.elimination_time_ms)
        files = {**contents, f"{task.model}.meta": text}
        if {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == locked.files:
            return locked.created, locked.elimination_time_ms, text
    measured = stats.elimination_time_ms or 0.0
    return task.now, measured, encoded(task.now, measured)


def _meta(library: Library, spec: ModelSpec, graph_hash: str, stats: formats.Stats) -> formats.ModelMeta:
    citation = spec.citation
    retraction = spec.retraction
    return formats.ModelMeta(
        model_name=spec.name,
        description=spec.description,
        format_version=FORMAT_VERSION,
        phasic_version=VersionRange.parse(library.spec.compatible.phasic).min_version,
        graph_hash=graph_hash,
        stats=stats,
        parameters=dict(spec.arguments),
        **metadata_fields(library.spec.compatible),
        is_discrete=spec.discrete,
        theta=[
            formats.Parameter(name=item.name, description=item.description, unit=item.unit, example=item.example)
            for item in spec.parameters
        ],
        license=library.spec.license,
        citation=formats.Citation(
            authors=list(citation.authors), year=citation.year, title=citation.title, doi=citation.doi, url=citation.url
        ),
        status=spec.status,
        retraction=None
        if retraction is None
        else formats.Retraction(reason=retraction.reason, fixed_in=retraction.fixed_in),
        errata=[
            formats.Erratum(description=item.description, date=item.date, affects=item.affects, fixed_in=item.fixed_in)
            for item in spec.errata
        ],
    )


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


def _locked(lock: Lock | None, name: str) -> LockedModel | None:
    return lock.models.get(name) if lock is not None else None


def _now() -> str:
    """Present time, or SOURCE_DATE_EPOCH where a packager sets it."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    try:
        moment = datetime.fromtimestamp(int(epoch) if epoch else time.time(), timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise LibraryError(
            f"the environment variable SOURCE_DATE_EPOCH is {epoch!r}, not a number of seconds"
        ) from None
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _check_target(target: Path) -> None:
    """Refuse to take the place of anything that is not an earlier build, such as the sources themselves."""
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise LibraryError(f"{target} is not a folder; choose another place for the build, or remove it")
    if target.is_dir() and any(target.iterdir()) and not (target / "manifest.json").is_file():
        raise LibraryError(
            f"{target} holds files that are not a built library (there is no manifest.json); "
            "choose another place for the build, or remove it"
        )


@contextlib.contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A new folder beside `target` that takes its place at the end, or disappears if anything goes wrong."""
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
    """Remove what builds left here that were killed; a build of a day ago is surely not running any more."""
    for path in target.parent.glob(f"{_staging_prefix(target)}*"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER:
                shutil.rmtree(path)


def _staging_prefix(target: Path) -> str:
    return f"{formats.TEMPORARY_PREFIX}{target.name}-"
