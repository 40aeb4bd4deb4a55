"""Graphs of callbacks, kept for the next process: files ``graphs/<key>.safetensors`` of the user's cache.

Only the user's own folder is read, because a reader cannot check that a file belongs to the key in its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import FormatError
from .entries import EntryStore, stamp
from .fingerprint import callback_key
from .warn import warn_user

if TYPE_CHECKING:
    from ..graph import Graph


def remembered_graph(
    store: EntryStore | None, limit: int | None, callback: Callable[..., Any], options: Mapping[str, Any]
) -> Graph:
    """Return the graph of a callback, read from the store or explored and written there.

    Parameters
    ----------
    store
        The user's own store, where there is one.
    limit
        Bytes that it may take.
    callback, options
        As for `Graph`.
    """
    from ..graph import Graph

    key = callback_key(callback, {name: value for name, value in options.items() if name != "progress"})
    if store is None or key is None:
        return Graph(callback, **options)
    graph = _read(store, key)
    if graph is None:
        graph = Graph(callback, **options)
        _write(store, limit, key, graph)
    return graph


def _read(store: EntryStore, key: str) -> Graph | None:
    from ..formats.arrays import graph_from_bytes

    path = store.graph_path(key)
    seen = stamp(path)
    if seen is None:
        return None
    try:
        graph = graph_from_bytes(path.read_bytes(), source=str(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        warn_user(f"cannot read {path}: {error.strerror or error}")
        return None
    except FormatError as error:
        done = "set aside as *.corrupt" if store.set_aside(path, seen) else "skipped"
        warn_user(f"corrupt graph {done}; it is explored again: {error}")
        return None
    store.touch(key)
    return graph


def _write(store: EntryStore, limit: int | None, key: str, graph: Graph) -> None:
    from ..formats.arrays import graph_to_bytes

    try:
        data = graph_to_bytes(graph)
        if limit is not None and len(data) > limit:
            raise OSError(f"the graph has {len(data):,} bytes and max_cache_size_gb allows {limit:,} in all")
        store.put_graph(key, data)
        if limit is not None:
            store.evict(limit, keep=key)
    except (OSError, FormatError) as error:
        warn_user(f"could not store a graph in {store.graphs}: {error}. The graph is right, but will be explored again")
