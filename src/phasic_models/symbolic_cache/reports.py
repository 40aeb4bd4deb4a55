"""Descriptions of the cache and of its entries."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..cache.prefix import Layer


class CacheEntry(NamedTuple):
    """One entry: a model under its graph hash; `files` are relative to the folder `layer`."""

    hash: str
    layer: Path
    files: tuple[str, ...]
    bytes: int
    own: bool
    last_used: float | None


class CacheInfo(NamedTuple):
    """The state of a cache."""

    cache_dir: Path | None
    layers: tuple[Layer, ...]
    entries: int
    bytes: int
    max_bytes: int | None
    hits: int
    misses: int
