"""A build in parts: each machine builds every n-th model into a folder, and one of them puts the folders together."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from .. import __version__, formats
from ..errors import LibraryError
from .build import collect, replacing, tasks_of
from .dispatch import Results, Runner
from .loading import Library
from .lock import Lock
from .one_model import Built, Task
from .records import ModelBuild

RECORD = "shard.json"
_SOURCES = ("library.yaml", "models.py", "library.lock")


class Shard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a build: the content of shard.json.

    Attributes
    ----------
    number, of : int
        Which part of how many.
    version : str
        The phasic-models that built it.
    sources : dict
        SHA-256 of the sources of every library that was asked for.
    asked : list of str
        Every model of the whole build, in order, as ``library/model``.
    built : dict
        The models that this part built.
    """

    number: int
    of: int
    version: str
    sources: dict[str, str]
    asked: list[str]
    built: dict[str, ModelBuild]


@dataclass(frozen=True)
class Part:
    """A part of a build, by number: ``Part.parse("2/4")``."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read ``I/N``, where I is from 1 to N.

        Raises
        ------
        LibraryError
            It is something else.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        part = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= part.number <= part.of:
            raise LibraryError(f"a shard is given as I/N, such as 2/4, with I from 1 to N; got {text!r}")
        return part

    @property
    def folder_name(self) -> str:
        """Name of the folder that this part is built into."""
        return f"{self.number}-of-{self.of}"


def build_shard(
    libraries: Sequence[Library],
    out_dir: Path,
    part: Part,
    locks: Mapping[str, Lock | None],
    runner: Runner,
    progress: Callable[[int, int, Task], None],
) -> Path:
    """Build one part of the models of some libraries.

    Parameters
    ----------
    libraries, locks, runner, progress
        As in `build_libraries`.
    out_dir
        Receives a folder such as ``2-of-4``, with shard.json and the files of the models.
    part
        Which part: every `of`-th model, beginning with that of this number.

    Returns
    -------
    Path
        The folder.
    """
    tasks = tasks_of(libraries, locks)
    mine = tasks[part.number - 1 :: part.of]
    target = out_dir / part.folder_name
    with replacing(target, RECORD) as folder:
        folders = {library.category: folder / library.category for library in libraries}
        for path in folders.values():
            path.mkdir()
        built = collect(libraries, mine, runner, folders, progress)
        shard = Shard(part.number, part.of, __version__, _sources(libraries), [task.name for task in tasks], built)
        formats.write_atomic(folder / RECORD, msgspec.json.format(msgspec.json.encode(shard), indent=1) + b"\n")
    return target


def merging(libraries: Sequence[Library], folders: Sequence[Path]) -> Runner:
    """A runner that takes models from the parts of a build instead of building them.

    Parameters
    ----------
    libraries
        The libraries that are asked for.
    folders
        Folders of parts, or folders that hold such.

    Raises
    ------
    LibraryError
        A part is missing, there twice, damaged, of another split, of other sources, or built with another version.
    """
    shards = {path: _read(path) for folder in folders for path in _parts(folder)}
    if not shards:
        raise LibraryError(f"{', '.join(map(str, folders))}: there is no part of a build, that is, no {RECORD}")
    asked = [f"{library.category}/{name}" for library in libraries for name in library.model_names]
    sources = _sources(libraries)
    for path, shard in shards.items():
        _check(path, shard, asked, sources)
    _check_numbers(shards)
    where = {name: (path, record) for path, shard in shards.items() for name, record in shard.built.items()}

    def run(tasks: Sequence[Task]) -> Results:
        for task in tasks:
            if task.name in where:
                yield task, _taken(task, *where[task.name])

    return run


def _parts(folder: Path) -> list[Path]:
    return [folder] if (folder / RECORD).is_file() else sorted(path.parent for path in folder.glob(f"*/{RECORD}"))


def _read(path: Path) -> Shard:
    try:
        return msgspec.json.decode((path / RECORD).read_bytes(), type=Shard)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise LibraryError(f"{path / RECORD}: not the record of a part of a build: {error}") from None


def _check(path: Path, shard: Shard, asked: list[str], sources: dict[str, str]) -> None:
    if shard.version != __version__:
        raise LibraryError(f"{path}: was built with phasic-models {shard.version}, and this is {__version__}")
    if shard.asked != asked:
        raise LibraryError(
            f"{path}: is part of a build of {len(shard.asked)} models, and this is one of {len(asked)}; give the same "
            "--category options to every part and to the merge"
        )
    if changed := [name for name in sources if shard.sources.get(name) != sources[name]]:
        raise LibraryError(f"{path}: was built from another {', '.join(changed)} than are here; build it again")
    if sorted(shard.built) != sorted(asked[shard.number - 1 :: shard.of]):
        raise LibraryError(f"{path}: does not hold the models of part {shard.number} of {shard.of}; build it again")


def _check_numbers(shards: Mapping[Path, Shard]) -> None:
    splits = {shard.of: path for path, shard in shards.items()}
    if len(splits) > 1:
        found = ", ".join(f"{path} is one of {of}" for of, path in sorted(splits.items()))
        raise LibraryError(f"these are parts of different splits: {found}")
    [of] = splits
    count = Counter(shard.number for shard in shards.values())
    for number, times in count.items():
        if times > 1:
            twice = ", ".join(str(path) for path, shard in shards.items() if shard.number == number)
            raise LibraryError(f"part {number} of {of} is there {times} times: {twice}")
    if missing := [str(number) for number in range(1, of + 1) if number not in count]:
        raise LibraryError(f"part {', '.join(missing)} of {of} is missing; there is only {', '.join(map(str, shards))}")


def _taken(task: Task, path: Path, record: ModelBuild) -> Built:
    contents = {}
    for name, expected in record.files.items():
        file = path / task.category / name
        try:
            contents[name] = file.read_bytes()
        except FileNotFoundError:
            raise LibraryError(f"{file}: missing") from None
        if (found := hashlib.sha256(contents[name]).hexdigest()) != expected:
            raise LibraryError(f"{file}: altered or damaged: its sha256 is {found}, {RECORD} says {expected}")
    return Built(record, contents)


def _sources(libraries: Sequence[Library]) -> dict[str, str]:
    """SHA-256 of the files that the models are made from; empty for one that is not there."""
    return {
        f"{library.category}/{name}": formats.sha256_file(path) if path.is_file() else ""
        for library in libraries
        for name in _SOURCES
        for path in [library.folder / name]
    }
