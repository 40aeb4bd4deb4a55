"""library.lock: what a rebuild cannot know, and what it must come to.

The lock is committed beside library.yaml. For each model it holds the time at which the present content was first made,
how long its elimination took then, and the checksums of its files. A build takes the first two from here, so that the
same sources give the same bytes at any time, and is compared with the rest.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from ..errors import LibraryError

if TYPE_CHECKING:
    import os

    from .records import LibraryBuild, ModelBuild

LOCK_VERSION = 1

Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)")]
Time = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$(?!\n)")]
Count = Annotated[int, Meta(ge=0)]


class LockedModel(Struct, frozen=True, forbid_unknown_fields=True):
    """One model in a lock.

    Attributes
    ----------
    graph_hash : str
        Content hash of the graph.
    created : str
        When the present content was first built, UTC.
    elimination_time_ms : float
        Time of the symbolic elimination then.
    vertices, edges, operations : int
        Size of the graph, and multiply-adds of one elimination.
    files : dict
        File name to SHA-256.
    """

    graph_hash: Sha256
    created: Time
    elimination_time_ms: Annotated[float, Meta(ge=0)]
    vertices: Count
    edges: Count
    operations: Count
    files: dict[str, Sha256]


class Lock(Struct, frozen=True, forbid_unknown_fields=True):
    """Content of a library.lock.

    Attributes
    ----------
    lock_version : int
        Version of this file's form.
    category, version, build
        The library that was locked.
    created : str
        When anything in the library last changed, UTC; packages carry this time.
    manifest : str
        SHA-256 of manifest.json.
    models : dict
        Model name to `LockedModel`.
    """

    lock_version: int
    category: str
    version: str
    build: int
    created: Time
    manifest: Sha256
    models: dict[str, LockedModel]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Lock:
        """Read a lock.

        Raises
        ------
        LibraryError
            The file is not a lock of this version; the message names the file and the key.
        FileNotFoundError
            There is none.
        """
        data = Path(path).read_bytes()
        try:
            # The version first: a newer lock should be called that, and not be refused for its first new key.
            version = msgspec.json.decode(data, type=_VersionOnly).lock_version
            if version != LOCK_VERSION:
                advice = "update phasic-models" if version > LOCK_VERSION else "delete it and lock anew"
                raise LibraryError(
                    f"{path}: lock_version is {version}, but this phasic-models reads version {LOCK_VERSION}; {advice}"
                )
            return msgspec.json.decode(data, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LibraryError(f"{path}: not a library lock: {error}; restore it, or delete it and lock anew") from None

    @classmethod
    def read_if_present(cls, path: str | os.PathLike[str]) -> Lock | None:
        """Read a lock, or None where there is no file; see `read`."""
        try:
            return cls.read(path)
        except FileNotFoundError:
            return None

    def encode(self) -> bytes:
        """The lock as text: keys in a fixed order, one per line."""
        ordered = msgspec.structs.replace(self, models=dict(sorted(self.models.items())))
        return msgspec.json.format(msgspec.json.encode(ordered), indent=2) + b"\n"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the lock, atomically."""
        from ..formats import write_atomic

        write_atomic(path, self.encode())


class _VersionOnly(Struct):
    lock_version: int


def lock_differences(build: LibraryBuild, lock: Lock | None) -> list[str]:
    """Say where a build disagrees with its lock.

    Parameters
    ----------
    build : LibraryBuild
        A finished build.
    lock : Lock or None
        The lock, None if the library has none yet.

    Returns
    -------
    list of str
        One sentence for each difference; empty if all agree.
    """
    if lock is None:
        return [f"{build.category}: there is no library.lock yet"]
    found = [
        f"{build.category}: {key} is {now!r}, the lock has {then!r}"
        for key, now, then in (
            ("category", build.category, lock.category),
            ("version", build.version, lock.version),
            ("build", build.build, lock.build),
        )
        if now != then
    ]
    for model in build.models:
        name = f"{build.category}/{model.name}"
        locked = lock.models.get(model.name)
        if locked is None:
            found.append(f"{name}: not in the lock")
            continue
        found += _model_differences(name, model, locked)
    built = {model.name for model in build.models}
    gone = [name for name in lock.models if name not in built]
    found += [f"{build.category}/{name}: in the lock, but not in library.yaml" for name in gone]
    if not found and build.manifest != lock.manifest:
        # Said only if nothing else differs: every other difference changes the manifest too.
        found.append(f"{build.category}/manifest.json: sha256 is {build.manifest}, the lock has {lock.manifest}")
    return found


def _model_differences(name: str, model: ModelBuild, locked: LockedModel) -> list[str]:
    found = []
    if model.graph_hash != locked.graph_hash:
        found.append(
            f"{name}: graph hash is {model.graph_hash}, the lock has {locked.graph_hash} "
            f"({model.vertices} vertices and {model.edges} edges; locked: {locked.vertices} and {locked.edges})"
        )
    for file in sorted({*model.files, *locked.files}):
        now, then = model.files.get(file), locked.files.get(file)
        if now != then:
            found.append(f"{name}: {file}: sha256 is {now or 'absent'}, the lock has {then or 'no such file'}")
    return found


def updated_lock(build: LibraryBuild, lock: Lock | None) -> Lock:
    """The lock that agrees with a build; entries whose content did not change are kept as they are.

    Parameters
    ----------
    build : LibraryBuild
        A finished build.
    lock : Lock or None
        The present lock.
    """
    if lock is not None and not lock_differences(build, lock):
        return lock
    models = {}
    for model in build.models:
        locked = lock.models.get(model.name) if lock is not None else None
        if locked is not None and not _model_differences(model.name, model, locked):
            models[model.name] = locked
        else:
            models[model.name] = LockedModel(
                graph_hash=model.graph_hash,
                created=model.created,
                elimination_time_ms=model.elimination_time_ms,
                vertices=model.vertices,
                edges=model.edges,
                operations=model.operations,
                files=dict(sorted(model.files.items())),
            )
    return Lock(
        lock_version=LOCK_VERSION,
        category=build.category,
        version=build.version,
        build=build.build,
        created=build.created,
        manifest=build.manifest,
        models=models,
    )
