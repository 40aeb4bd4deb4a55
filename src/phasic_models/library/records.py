"""The results of a build of a library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


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
        The same as in its metadata; from the lock, unless the content is new.
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
