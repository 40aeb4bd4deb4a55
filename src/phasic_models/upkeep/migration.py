"""Bring libraries and files of older formats to the current one.

Each older major version of the model document has one function in `STEPS`, which turns a decoded document of that
version into one of the next. Beside that, a library in the guide's minimal form (documents and metadata only) is
completed: engine's files, format versions and missing checksums are added.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..errors import FormatError
from ..files.atomic import write_atomic
from ..files.checksums import sha256_file
from ..files.names import FILE_SUFFIXES, MANIFEST_NAME
from ..formats import (
    FORMAT_VERSION,
    dag_from_json,
    dag_to_bytes,
    decode_manifest,
    decode_meta,
    encode_manifest,
    encode_meta,
    manifest_sum_problems,
    open_dag,
    write_manifest_bytes,
)

Document = dict[str, Any]


class Migrated(NamedTuple):
    """The result for one file, or with a dry run the expected one; ``state`` is ``current``, ``changed`` or ``added``."""

    path: Path
    state: str
    text: str


def _from_0(document: Document, source: str) -> Document:
    """Raise at a document from before format 1.0: it lacks the original graph, which a density needs."""
    raise FormatError(
        f"{source}: a document without a format version, as phasic wrote them before 1.0. It holds only the eliminated "
        "graph, which preserves expectations but not distributions, so no model can be made from it; build it anew from "
        "its callback: SymbolicCache().get_or_compute(Graph(callback))"
    )


#: From a major version to the function that makes a document of the next one.
STEPS: dict[int, Callable[[Document, str], Document]] = {0: _from_0}


def migrate_document(text: str, *, source: str = "<string>") -> str:
    """Turn a model document of any known version into one of the current version.

    Parameters
    ----------
    text
        The document.
    source
        File name or other origin, for messages.

    Returns
    -------
    str
        The document of the current version, verified; `text` itself where it is current.

    Raises
    ------
    FormatError
        It is no such document, is newer than this package, or cannot be converted.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: not valid JSON (truncated or altered?): {error}") from None
    if not isinstance(document, dict):
        raise FormatError(f"{source}: not a model document: its top level is not an object")
    current = int(FORMAT_VERSION.split(".")[0])
    version = _major(document, source)
    changed = False
    while version in STEPS and version < current:
        document, changed = STEPS[version](document, source), True
        version += 1
    if changed:
        text = json.dumps(document, ensure_ascii=False)
    dag_from_json(text, source=source)  # also names the version, where no step leads to the current one
    return text


def _major(document: Document, source: str) -> int:
    version = document.get("format_version", "0")
    major = version.split(".")[0] if isinstance(version, str) else ""
    if not (major.isascii() and major.isdigit() and len(major) < 9):
        raise FormatError(f"{source}: {version!r} is not a format version - at `$.format_version`")
    return int(major)


def migrate(
    paths: Iterable[str | os.PathLike[str]],
    *,
    output_dir: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
) -> list[Migrated]:
    """Migrate library folders and single files.

    Parameters
    ----------
    paths
        Folders with a manifest.json, or ``.json`` and ``.meta`` files.
    output_dir
        Where the result goes; by default in place. A single folder's content goes into it, of several each gets a
        sub-folder.
    dry_run
        Change nothing; the result is the same.

    Returns
    -------
    list of Migrated
        One line for each file.

    Raises
    ------
    FormatError
        A file is damaged or cannot be converted; then no file of that folder was changed.
    """
    sources = [Path(path).expanduser() for path in paths]
    target = None if output_dir is None else Path(output_dir).expanduser()
    results = []
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source}: no such file or folder")
        where = source if target is None else target if len(sources) == 1 else target / source.name
        if source.is_dir():
            results += _migrate_folder(source, where, dry_run)
        else:
            file = where / source.name if target is not None else source
            results.append(_migrate_file(source, file, dry_run))
    return results


def _migrate_file(source: Path, target: Path, dry_run: bool) -> Migrated:
    data = source.read_bytes()
    new = _converted(source, data)
    if not dry_run and (new != data or source != target):
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(target, new)
    return Migrated(target, *_what(data, new))


def _converted(path: Path, data: bytes) -> bytes:
    if path.suffix == ".json":
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(f"{path}: not valid UTF-8 (altered?): {error}") from None
        new = migrate_document(text, source=str(path))
        return data if new is text else new.encode("utf-8")
    if path.suffix == ".meta":
        meta = decode_meta(data, source=str(path))
        if meta.format_version is None:
            return encode_meta(msgspec.structs.replace(meta, format_version=FORMAT_VERSION))
        return data
    if path.suffix == ".safetensors":
        open_dag(path)
        return data
    raise FormatError(f"{path}: neither a model document (.json), nor metadata (.meta), nor .safetensors")


def _what(old: bytes, new: bytes) -> tuple[str, str]:
    return ("current", f"format {FORMAT_VERSION}") if old == new else ("changed", f"now format {FORMAT_VERSION}")


def _migrate_folder(source: Path, target: Path, dry_run: bool) -> list[Migrated]:
    path = source / MANIFEST_NAME
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise FormatError(f"{source}: no {MANIFEST_NAME} in it, so it is not a library") from None
    manifest = decode_manifest(data, source=str(path))
    if problems := manifest_sum_problems(source, manifest):
        raise FormatError(f"{problems[0]}; reinstall the library first")
    results = []
    # Everything is made in a scratch folder first, so that a file that cannot be converted leaves the library as it
    # was.
    with tempfile.TemporaryDirectory(prefix="phasic-models-") as name:
        scratch = Path(name)
        checksums = dict(manifest.checksums)
        for file in sorted(item for item in source.iterdir() if item.suffix in FILE_SUFFIXES):
            if file.name == MANIFEST_NAME:
                continue
            stated = checksums.get(file.name)
            if stated is not None and stated != f"sha256:{sha256_file(file)}":
                raise FormatError(f"{file}: damaged: its checksum is not the manifest's; reinstall the library first")
            old = file.read_bytes()
            new = _converted(file, old)
            (scratch / file.name).write_bytes(new)
            results.append(Migrated(target / file.name, *_what(old, new)))
        for file in sorted(scratch.glob("*.json")):
            engine = file.with_suffix(".safetensors")
            if not engine.exists():
                engine.write_bytes(dag_to_bytes(open_dag(file)))
                results.append(Migrated(target / engine.name, "added", "the engine's file, opened without a parse"))
        # A .meta that no checksum covers is meant to be edited by hand, and stays so.
        covered = {file.name for file in scratch.iterdir() if file.suffix != ".meta" or file.name in checksums}
        checksums |= {file: f"sha256:{sha256_file(scratch / file)}" for file in covered}
        new = encode_manifest(msgspec.structs.replace(manifest, format_version=FORMAT_VERSION, checksums=checksums))
        same = decode_manifest(new) == manifest
        results.append(Migrated(target / MANIFEST_NAME, *_what(data, data if same else new)))
        if not dry_run:
            target.mkdir(parents=True, exist_ok=True)
            for file in sorted(scratch.iterdir()):
                if source != target or not _equal(file, source / file.name):
                    write_atomic(target / file.name, file.read_bytes())
            if source != target:
                _copy_rest(source, target)
            written = data if same else new
            write_manifest_bytes(target / MANIFEST_NAME, written, decode_manifest(written))
    return results


def _equal(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def _copy_rest(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.is_file() and not (target / file.name).exists():
            shutil.copyfile(file, target / file.name)
