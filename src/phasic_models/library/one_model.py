"""One model of a library: what is needed to build it, and the functions that do it, which run in a process of their own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .. import formats
from ..compat import VersionRange, metadata_fields
from ..errors import PhasicModelsError
from .callbacks import WrongCallback, details, graph_of, load_functions
from .loading import Library
from .lock import LockedModel
from .mistakes import Mistake
from .records import ModelBuild
from .spec import FORMAT_VERSION, Compatible, ModelSpec

if TYPE_CHECKING:
    from ..graph import Graph


@dataclass(frozen=True)
class Task:
    """All that a model is built from; it can be sent to another machine.

    Attributes
    ----------
    category, license, compatible
        The library's part of library.yaml.
    spec : ModelSpec
        The model's entry.
    path : str
        The models.py, as tracebacks name it.
    code : bytes
        Its content.
    locked : LockedModel or None
        The model's entry in the lock.
    now : str
        Time of creation where the content is not the locked one.
    """

    category: str
    license: str
    compatible: Compatible
    spec: ModelSpec
    path: str
    code: bytes
    locked: LockedModel | None
    now: str

    @property
    def name(self) -> str:
        """Library and model."""
        return f"{self.category}/{self.spec.name}"


@dataclass(frozen=True)
class Built:
    """A model that was built: its record and the content of its files."""

    record: ModelBuild
    contents: dict[str, bytes]


@dataclass(frozen=True)
class Problem:
    """A model that cannot be built: the reason, the key of its entry that is wrong, and the line of models.py if known."""

    message: str
    key: str = "function"
    line: int | None = None
    trace: str = ""


@dataclass(frozen=True)
class Explored:
    """A graph, as two explorations are compared."""

    graph_hash: str
    vertices: int
    edges: int


def task_of(library: Library, spec: ModelSpec, locked: LockedModel | None, now: str) -> Task:
    """The input of the build of one model."""
    whole = library.spec
    path = str(library.models_path)
    return Task(whole.category, whole.license, whole.compatible, spec, path, library.code, locked, now)


def explore_model(task: Task) -> Explored | Problem:
    """Run a model's callback, and say which graph it gives."""
    graph = _graph(task)
    if isinstance(graph, Problem):
        return graph
    return Explored(graph.content_hash(), graph.vertices_length(), graph.n_edges)


def build_model(task: Task) -> Built | Problem:
    """Run a model's callback, eliminate its graph, evaluate it once and encode its files."""
    start = time.perf_counter()
    spec = task.spec
    graph = _graph(task)
    if isinstance(graph, Problem):
        return graph
    elimination_start = time.perf_counter()
    dag = graph.eliminate()
    measured = round((time.perf_counter() - elimination_start) * 1e3, 3)
    try:
        dag.model().expectation(spec.example)
    except PhasicModelsError as error:
        return Problem(f"{spec.name}: at the example parameters {spec.example}: {error}", "parameters")
    contents = {
        f"{spec.name}.json": formats.dag_to_json(dag).encode(),
        f"{spec.name}.safetensors": formats.dag_to_bytes(dag),
    }
    stats = formats.Stats(
        vertices=graph.vertices_length(),
        edges=graph.n_edges,
        operations=int(dag.operations),
        elimination_time_ms=measured,
    )
    meta = _meta(task, graph.content_hash(), stats)
    created, measured, contents[f"{spec.name}.meta"] = _stamp(meta, stats, contents, task)
    record = ModelBuild(
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
    return Built(record, contents)


def _graph(task: Task) -> Graph | Problem:
    spec, path = task.spec, Path(task.path)
    mistakes: list[Mistake] = []
    functions = load_functions(task.code, path, task.path, mistakes)
    if functions is None or spec.function not in functions:
        # It ran when library.yaml was compared with it.
        found = mistakes[0] if mistakes else Mistake(task.path, None, "", f"{spec.function} is not there")
        return Problem(f"{spec.name}: models.py, run once more: {found.message}", "function", found.line, found.details)
    try:
        return graph_of(functions[spec.function], spec, path)
    except WrongCallback as error:
        return Problem(str(error), error.key, error.line, details(error))


def _stamp(
    meta: formats.ModelMeta, stats: formats.Stats, contents: Mapping[str, bytes], task: Task
) -> tuple[str, float, bytes]:
    """Complete the metadata with the lock's times if that gives the locked content, and with new ones otherwise."""

    def encoded(created: str, milliseconds: float) -> bytes:
        timed = msgspec.structs.replace(stats, elimination_time_ms=milliseconds)
        return formats.encode_meta(msgspec.structs.replace(meta, created=created, stats=timed))

    locked = task.locked
    if locked is not None:
        text = encoded(locked.created, locked.elimination_time_ms)
        files = {**contents, f"{task.spec.name}.meta": text}
        if {name: hashlib.sha256(data).hexdigest() for name, data in files.items()} == locked.files:
            return locked.created, locked.elimination_time_ms, text
    measured = stats.elimination_time_ms or 0.0
    return task.now, measured, encoded(task.now, measured)


def _meta(task: Task, graph_hash: str, stats: formats.Stats) -> formats.ModelMeta:
    spec = task.spec
    return formats.ModelMeta(
        model_name=spec.name,
        description=spec.description,
        format_version=FORMAT_VERSION,
        phasic_version=VersionRange.parse(task.compatible.phasic).min_version,
        graph_hash=graph_hash,
        stats=stats,
        parameters=dict(spec.arguments),
        **metadata_fields(task.compatible),
        is_discrete=spec.discrete,
        theta=list(spec.parameters),
        license=task.license,
        citation=spec.citation,
        status=spec.status,
        retraction=spec.retraction,
        errata=list(spec.errata),
    )
