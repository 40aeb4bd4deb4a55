"""Search models by words, among those installed and those that the release index offers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..cache import catalogue
from ..errors import DownloadError, FormatError
from ..formats import read_meta

if TYPE_CHECKING:
    from ..cache.catalogue import Located
    from ..formats.release_index import Index


class Hit(NamedTuple):
    """A model that matches."""

    name: str
    version: str
    description: str
    parameters: list[str]
    installed: bool
    #: Why it must not be used any more, and the version that corrects it; empty for nearly all.
    retraction: str = ""


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
            Hit(
                located.name,
                manifest.version,
                model.description,
                list(model.parameters),
                True,
                retraction(located),
            ),
            manifest.description,
        )
    note = ""
    if ask_index:
        try:
            read = _index(index, offline)
            for name, hit in found.items():
                found[name] = hit._replace(retraction=hit.retraction or _stated(read, hit))
            for hit, library in _offered(read):
                consider(hit, library)
        except (DownloadError, FormatError, ImportError) as error:
            # Installed models are an answer as well, also where the index cannot be reached.
            note = f"only installed models were searched: {error}"
    return sorted(found.values(), key=lambda hit: catalogue.natural_key(hit.name)), note


def retraction(located: Located) -> str:
    """Return why an installed model was retracted, and the version that corrects it, or an empty text."""
    if located.model.status != "retracted":
        return ""
    try:
        stated = read_meta(located.path(".meta")).retraction
    except (FormatError, OSError):
        stated = None
    return str(stated or "its authors give no reason")


def _index(index: Sequence[str] | None, offline: bool | None) -> Index:
    from .index_sources import read_index
    from .options import TransferOptions

    return read_index(index, options=TransferOptions.from_environment(offline))[0]


def _stated(index: Index, hit: Hit) -> str:
    """Return what the index says of a model that is installed: it may have been retracted since."""
    from .choosing import retracted_models

    category, _, name = hit.name.partition("/")
    library = index.libraries.get(category)
    if library is None or hit.version not in library.versions:
        return ""
    return str(retracted_models(library, hit.version).get(name, ""))


def _offered(index: Index) -> list[tuple[Hit, str]]:
    from packaging.version import Version

    from .choosing import retracted_models

    hits = []
    for category, library in index.libraries.items():
        version = max(library.versions, key=Version)
        retracted = retracted_models(library, version)
        for model in library.versions[version].models:
            hit = Hit(
                f"{category}/{model.name}",
                version,
                model.description,
                list(model.parameters),
                False,
                str(retracted.get(model.name, "")),
            )
            hits.append((hit, library.description))
    return hits
