"""A folder of models as a whole: its manifest, the checksum of the manifest, and all other files in it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from ..files.atomic import write_atomic
from ..files.checksums import sha256_file
from ..files.names import FILE_SUFFIXES, MANIFEST_NAME, MANIFEST_SUM_NAME, MODEL_SUFFIXES
from .records import Manifest, encode_manifest, read_manifest

# Texts that people put beside their models; no program reads them.
_TEXTS = re.compile(r"(README|LICENSE|LICENCE|CHANGELOG|CITATION)(\.(md|txt|rst|cff))?\Z", re.IGNORECASE)


def write_manifest(path: str | os.PathLike[str], manifest: Manifest) -> None:
    """Write a ``manifest.json`` atomically, and its checksum beside it where one belongs there."""
    write_manifest_bytes(path, encode_manifest(manifest), manifest)


def write_manifest_bytes(path: str | os.PathLike[str], data: bytes, manifest: Manifest) -> None:
    """Write the text of a manifest as it is; otherwise as `write_manifest`."""
    target = Path(path)
    write_atomic(target, data)
    beside = target.with_name(MANIFEST_SUM_NAME)
    if covers_metadata(manifest) or beside.exists():
        write_atomic(beside, _sum_text(hashlib.sha256(data).hexdigest()))


def _sum_text(digest: str) -> str:
    return f"{digest}  {MANIFEST_NAME}\n"


def covers_metadata(manifest: Manifest) -> bool:
    """Whether the checksums cover ``.meta`` files: then a build wrote the library, and nobody is to edit its manifest."""
    return any(name.endswith(".meta") for name in manifest.checksums)


def manifest_problems(folder: str | os.PathLike[str], manifest: Manifest | None = None) -> list[str]:
    """Compare the files of a folder with its manifest, and the manifest with its checksum.

    Parameters
    ----------
    folder : path-like
        The folder that holds ``manifest.json``.
    manifest : Manifest, optional
        Its manifest, if it has been read already.

    Returns
    -------
    list of str
        One sentence for each file that is missing or differs, and for each model without a ``.json`` or
        ``.safetensors`` file that a checksum covers; empty if all is well.
    """
    root = Path(folder)
    if manifest is None:
        manifest = read_manifest(root / MANIFEST_NAME)
    problems = manifest_sum_problems(root, manifest)
    for name, expected in sorted(manifest.checksums.items()):
        path = root / name
        try:
            found = f"sha256:{sha256_file(path)}"
        except FileNotFoundError:
            problems.append(f"{path}: missing")
        except OSError as error:
            problems.append(f"{path}: cannot be read: {error.strerror or error}")
        else:
            if found != expected:
                problems.append(f"{path}: altered or damaged: its checksum is {found}, the manifest says {expected}")
    covered = {name.removesuffix(suffix) for name in manifest.checksums for suffix in MODEL_SUFFIXES}
    for model in manifest.models:
        if model.name not in covered and model.hash not in covered:
            problems.append(f"{root}: no checksum covers a file of the model {model.name!r}")
    return problems


def manifest_sum_problems(root: Path, manifest: Manifest) -> list[str]:
    """Return the mistake of a manifest by the checksum beside it; a library that was written by hand may have none."""
    path = root / MANIFEST_SUM_NAME
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return [f"{path}: missing"] if covers_metadata(manifest) else []
    except (OSError, UnicodeDecodeError) as error:
        return [f"{path}: cannot be read: {error}"]
    found = sha256_file(root / MANIFEST_NAME)
    if text != _sum_text(found):
        return [
            f"{root / MANIFEST_NAME}: altered or damaged: its SHA-256 is {found}, {path.name} says {text.strip()!r}"
        ]
    return []


def foreign_files(folder: str | os.PathLike[str], manifest: Manifest) -> list[Path]:
    """List the files and folders in a folder of models that do not belong there, by name.

    To the folder belong the manifest and its checksum, the files of the models that it lists, whatever else it has a
    checksum of, and texts such as README.md and LICENSE. Everything else, sub-folders included, does not.
    """
    stems = {name for model in manifest.models for name in (model.name, model.hash)}
    known = {MANIFEST_NAME, MANIFEST_SUM_NAME, *manifest.checksums}
    known |= {stem + suffix for stem in stems for suffix in FILE_SUFFIXES}
    found = []
    for path in sorted(Path(folder).iterdir()):
        # A package manager may have linked a file to its own copy.
        if not path.is_file() or not (path.name in known or _TEXTS.match(path.name)):
            found.append(path)
    return found
