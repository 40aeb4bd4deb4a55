"""Search models by words, among those installed and those that the release index offers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from ..errors import DownloadError, FormatError
from . import catalogue


class Hit(NamedTuple):
    """A model that matches."""

    name: str
    version: str
    description: str
    parameters: list[str]
    installed: bool


def search_models(
    words: Sequence[str],
    *,
    ask_index: bool = True,
    index: Sequence[str] | None = None,
    offline: bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[list[Hit], str]:
    """Find the models in which every word occurs, in whatever case.

    Parameters
    ----------
    words
        Searched in names, descriptions, parameters, and the library's description.
    ask_index
        Whether to look into the release index as well.
    index, offline
        As for :func:`phasic_models.cloud_cache.install_model_library`.
    cache_dir
        A cache root to search first.

    Returns
    -------
    (list of Hit, str)
        The hits, and why the index could not be asked (or an empty string).
    """
    wanted = [word.casefold() for word in words]
    found: dict[str, Hit] = {}

    def consider(hit: Hit, library: str) -> None:
        text = " ".join((hit.name, hit.description, library, *hit.parameters)).casefold()
        if all(word in text for word in wanted):
            found.setdefault(hit.name, hit)

    for located in catalogue.models(cache_dir=cache_dir):
        manifest = located.library.manifest
        model = located.model
        consider(
            Hit(located.name, manifest.version, model.description, list(model.parameters), True), manifest.description
        )
    note = ""
    if ask_index:
        try:
            for hit, library in _offered(index, offline):
                consider(hit, library)
        except (DownloadError, FormatError, ImportError) as error:
            # What is installed is an answer as well; an unreachable index should not take it away.
            note = f"only installed models were searched: {error}"
    return sorted(found.values(), key=lambda hit: catalogue.natural_key(hit.name)), note


def _offered(index: Sequence[str] | None, offline: bool | None) -> list[tuple[Hit, str]]:
    from packaging.version import Version

    from ..remote.index import read_index
    from ..remote.stores import TransferOptions

    read, _ = read_index(index, options=TransferOptions.from_environment(offline))
    hits = []
    for category, library in read.libraries.items():
        version = max(library.versions, key=Version)
        for model in library.versions[version].models:
            hit = Hit(f"{category}/{model.name}", version, model.description, list(model.parameters), False)
            hits.append((hit, library.description))
    return hits
