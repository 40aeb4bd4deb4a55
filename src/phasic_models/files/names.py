"""Names of files and folders: those that are fixed, and the one rule for those that a library brings along."""

from __future__ import annotations

MANIFEST_NAME = "manifest.json"
#: The checksum of the manifest, in the form of ``sha256sum``.
MANIFEST_SUM_NAME = "manifest.sha256"
CHECKSUMS_NAME = "SHA256SUMS"
INDEX_NAME = "index.json"
#: The files that hold a model, in the order in which they are tried: the engine's own needs no parse.
MODEL_SUFFIXES = (".safetensors", ".json")
META_SUFFIX = ".meta"
#: All files of a model, in the order of writing: if a writer is killed, the files so far are never read as a complete set.
FILE_SUFFIXES = (META_SUFFIX, ".json", ".safetensors")
#: Where an environment has its cache root, and where a root has libraries and entries.
PREFIX_FOLDER = "share/phasic_cache"
SYMBOLIC_FOLDER = "symbolic"
#: In there: the entries of the cache, so that listing the libraries does not go through them.
ENTRIES_FOLDER = "entries"

_WINDOWS_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{device}{i}" for device in ("com", "lpt") for i in range(10))]
)


def path_problem(name: str) -> str | None:
    """Say why a path inside an archive or package is not acceptable on every platform.

    Parameters
    ----------
    name
        A path with forward slashes.

    Returns
    -------
    str or None
        The mistake, in words that follow the name; None if there is none.
    """
    if not name or name.startswith("/"):
        return "is empty or absolute"
    if any(ord(c) < 32 or ord(c) == 127 or 0xD800 <= ord(c) <= 0xDFFF or c in '\\:*?"<>|' for c in name):
        return "holds a character that is not allowed in a file name on every platform"
    if len(name) > 240:
        return "is longer than 240 characters"
    for part in name.split("/"):
        if part == "..":
            return "leads out of the target folder"
        if part in ("", "."):
            return "has an empty component"
        if part[-1] in ". ":
            return "has a component that ends in a dot or a space"
        if is_device_name(part.split(".")[0]):
            return "has a component that is a device name on Windows"
    return None


def is_device_name(name: str) -> bool:
    """Whether Windows keeps this name for a device."""
    return name.lower() in _WINDOWS_DEVICES


def name_problem(name: str) -> str | None:
    """Say why a name cannot be that of one file or folder in a library, on every platform.

    Parameters
    ----------
    name
        A category, the name of a model, or a file's name.

    Returns
    -------
    str or None
        The mistake, in words that follow the name; None if there is none.
    """
    if "/" in name:
        return "holds a separator of folders"
    if name.startswith("."):
        return "begins with a dot"
    return path_problem(name)


def category_problem(category: str) -> str | None:
    """Say why a library cannot have this name, or None where it can."""
    if category.casefold() == ENTRIES_FOLDER:
        return "is the name of the cache's own folder"
    return name_problem(category)


def is_junk(name: str) -> bool:
    """Whether macOS added a file or folder of this name to an archive or folder."""
    return name.startswith("._") or name in (".DS_Store", "__MACOSX")
