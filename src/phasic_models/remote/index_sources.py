"""The addresses of release indexes, the order in which to ask them, and the base of the relative addresses in an index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DownloadError, FormatError
from ..files.addresses import is_remote, join, local_path
from ..files.names import INDEX_NAME
from ..formats.release_index import Artefact, Index, parse_index
from .download import fetch_bytes
from .options import TransferOptions

DEFAULT_INDEX = "https://github.com/munch-group/phasic-models/releases/latest/download/index.json"


def config_path() -> Path:
    """Return the user's configuration file (PHASIC_MODELS_CONFIG names another)."""
    named = os.environ.get("PHASIC_MODELS_CONFIG", "").strip()
    if named:
        return Path(named).expanduser()
    from platformdirs import user_config_path

    return user_config_path("phasic-models", appauthor=False) / "config.yaml"


def index_addresses(index: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None) -> list[str]:
    """Return where to look for the index, in order.

    An argument comes first, then PHASIC_MODELS_INDEX, then ``index:`` (one address or a list of mirrors) in the
    configuration file, then the project's GitHub release. A folder stands for the index.json in it.
    """
    if index is None:
        named = os.environ.get("PHASIC_MODELS_INDEX", "").strip()
        found: Any = [named] if named else _configured() or [DEFAULT_INDEX]
    else:
        found = [index] if isinstance(index, (str, os.PathLike)) else list(index)
    if not found:
        raise DownloadError("an empty list of index addresses was given")
    return [_index_file(os.fspath(address)) for address in found]


def _configured() -> list[str]:
    path = config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FormatError(f"{path}: cannot be read: {error.strerror}") from error
    import yaml

    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FormatError(f"{path}: not valid YAML: {error}") from error
    value = document.get("index") if isinstance(document, dict) else None
    if document is not None and not isinstance(document, dict):
        raise FormatError(f"{path}: it must hold keys and values, as in 'index: https://example.org/index.json'")
    if value is None:
        return []
    addresses = [value] if isinstance(value, str) else value
    if not isinstance(addresses, list) or not all(isinstance(a, str) and a for a in addresses):
        raise FormatError(f"{path}: 'index' must be an address or a list of addresses")
    return addresses


def _index_file(address: str) -> str:
    if is_remote(address):
        return address + INDEX_NAME if address.endswith("/") else address
    path = local_path(address)
    return str(path / INDEX_NAME) if path.is_dir() else str(path)


def read_index(
    index: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    *,
    options: TransferOptions | None = None,
) -> tuple[Index, str]:
    """Read the first index that can be had.

    Parameters
    ----------
    index : address, path or list of them, optional
        See `index_addresses`.
    options : TransferOptions, optional
        How patiently.

    Returns
    -------
    (Index, str)
        The index, and the address it came from (relative addresses in it count from there).
    """
    return read_first(index_addresses(index), options or TransferOptions.from_environment())


def read_first(addresses: Sequence[str], options: TransferOptions) -> tuple[Index, str]:
    """Read the first index that can be had of some addresses; result as for `read_index`."""
    failures: list[DownloadError | FormatError] = []
    for address in addresses:
        try:
            return parse_index(fetch_bytes(address, options=options, expect="index"), source=address), address
        except (DownloadError, FormatError) as error:
            failures.append(error)
    if len(failures) == 1:
        raise failures[0]
    listed = "\n".join(f"  - {failure}" for failure in failures)
    raise DownloadError(f"none of {len(addresses)} indexes could be read:\n{listed}")


def artefact_addresses(artefact: Artefact, index_address: str) -> list[str]:
    """Return an artefact's mirrors as absolute addresses, in the order in which to try them."""
    addresses = [join(index_address, url) for url in artefact.urls]
    if is_remote(index_address):
        # An index from the network must not name files of this machine.
        addresses = [address for address in addresses if is_remote(address)]
    return addresses


def absolute(index: Index, address: str) -> Index:
    """Return an index that does not depend on ``address``: all addresses in it are absolute."""
    libraries = {}
    for name, entry in index.libraries.items():
        versions = {}
        for number, release in entry.versions.items():
            artefacts = [
                msgspec.structs.replace(artefact, urls=list(dict.fromkeys(artefact_addresses(artefact, address))))
                for artefact in release.artefacts
            ]
            versions[number] = msgspec.structs.replace(release, artefacts=artefacts)
        libraries[name] = msgspec.structs.replace(entry, versions=versions)
    return msgspec.structs.replace(index, libraries=libraries, checksum="")
