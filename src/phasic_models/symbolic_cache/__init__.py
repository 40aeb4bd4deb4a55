"""The symbolic cache: eliminated models by graph hash, in the layers of the cache prefix.

The key is the hash of the graph's canonical form, never of the callback's source: two callbacks that describe one chain
share an entry, and one callback with two constants has two.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from ..cache import catalogue, prefix
from ..cache.entries import CacheWarning, EntryStore, entry_file, is_hash, stamp, stored_keys
from ..cache.prefix import Layer
from ..cache.warn import warn_user
from ..errors import FormatError, ModelNotFoundError
from ..files.names import FILE_SUFFIXES, MODEL_SUFFIXES
from .relabel import of_graph
from .reports import CacheEntry, CacheInfo
from .waiting import one_at_a_time

if TYPE_CHECKING:
    from ..dag import SymbolicDAG
    from ..formats import ModelMeta
    from ..graph import Graph

__all__ = ["CacheEntry", "CacheInfo", "CacheWarning", "SymbolicCache"]


class SymbolicCache:
    """Eliminated models, looked up in every layer of the cache prefix and stored in the user's own.

    Parameters
    ----------
    cache_dir
        The cache root to search first and to write to; by default ``PHASIC_CACHE_DIR``, else ``~/.phasic_cache``. The
        folder ``symbolic`` in a root may be given as well.
    max_cache_size_gb
        Size in GB (10⁹ bytes) above which the least recently used entries of the user's own are removed after a save.
        Libraries and read-only layers do not count and are never touched. No limit by default.

    Attributes
    ----------
    hits, misses : int
        Look-ups by ``get_or_compute``, ``load`` and ``load_dag`` of this object that found an entry, or did not.

    Notes
    -----
    Safe to use from any number of processes at once and on file systems without locks. Where the cache cannot be
    written (full disk, read-only home) results are computed all the same, with a :class:`CacheWarning`.

    Examples
    --------
    >>> from phasic_models import Graph
    >>> cache = SymbolicCache()
    >>> graph = Graph.from_arrays([[2], [1], [0]], [0, 1], [1, 2], [2.0, 1.0], initial=0)
    >>> dag = cache.get_or_compute(graph)
    >>> cache.exists(graph.content_hash()), cache.hits, cache.misses
    (True, 0, 1)
    """

    def __init__(self, cache_dir: str | os.PathLike[str] | None = None, max_cache_size_gb: float | None = None) -> None:
        if max_cache_size_gb is not None and not max_cache_size_gb > 0:
            raise ValueError(f"max_cache_size_gb is {max_cache_size_gb!r}; give a positive size, or None for no limit")
        self.layers = prefix.layers(cache_dir)
        self.max_bytes = None if max_cache_size_gb is None else int(max_cache_size_gb * 1e9)
        self.hits = 0
        self.misses = 0
        writable = [layer for layer in self.layers if layer.writable]
        self._own = EntryStore(writable[0].root) if writable else None

    @property
    def cache_dir(self) -> Path:
        """The folder ``symbolic`` of the layer that is written to; it may not exist yet.

        Raises
        ------
        OSError
            No folder to write to is known.
        """
        return self._store().folder

    def _store(self) -> EntryStore:
        if self._own is None:
            raise OSError(f"no home folder is known; set {prefix.CACHE_DIR_VARIABLE} to a folder that may be written")
        return self._own

    # -- looking up ---------------------------------------------------------------------------------------------------

    def get_or_compute(self, graph: Graph) -> SymbolicDAG:
        """Return the eliminated form of `graph`, from the cache where it is there, else computed and stored.

        Parameters
        ----------
        graph
            Any graph; names of parameters do not enter the key and are those of `graph` in the result.

        Returns
        -------
        SymbolicDAG
            A file that cannot be read or stored is reported by a :class:`CacheWarning`, and is no error.
        """
        key = graph.content_hash()
        dag = self._find(key)
        if dag is None:
            with one_at_a_time(None if self._own is None else self._own.root, key, graph.n_edges) as waited:
                if waited:
                    dag = self._find(key)
                if dag is None:
                    self.misses += 1
                    started = time.perf_counter()
                    dag = graph.eliminate()
                    self._try_to_store(dag, (time.perf_counter() - started) * 1e3)
                    return dag
        self.hits += 1
        return of_graph(dag, graph)

    def graph(self, callback: Callable[..., Any], **options: Any) -> Graph:
        """Return ``Graph(callback, **options)``, explored once and read from the user's own folder after that.

        The key of a stored graph is made from the code of the callback and of the plain functions that it uses, the plain
        values, arrays and expressions that it closes over or reads, the options, and the versions of Python, NumPy and this
        package. A callback that uses instances, classes of its own, random numbers, files or other packages has no key: it
        is explored each time.

        Parameters
        ----------
        callback, **options
            As for `Graph`.

        Raises
        ------
        GraphError
            As for `Graph`; an error is not stored.

        Examples
        --------
        >>> def coalescent(state, n=4):
        ...     if len(state) == 0:
        ...         return [([n], 1.0, [1.0])]
        ...     k = state[0]
        ...     return [([k - 1], 0.0, [k * (k - 1) / 2])] if k > 1 else []
        >>> SymbolicCache().graph(coalescent, n=3)
        Graph(4 vertices, 3 edges, 1 parameter (theta_0), continuous)
        """
        from ..cache.graphs import remembered_graph

        return remembered_graph(self._own, self.max_bytes, callback, options)

    def load_dag(self, hash_key: str) -> SymbolicDAG | None:
        """Return the eliminated model with this graph hash, or None where no layer holds an intact one."""
        dag = self._find(hash_key) if is_hash(hash_key) else None
        self._count(dag is not None)
        return dag

    def load(self, hash_key: str) -> str | None:
        """Return the interchange document (format 1.0, JSON) of an entry.

        Parameters
        ----------
        hash_key
            A graph hash: 64 hexadecimal digits.

        Returns
        -------
        str or None
            The checked text, which ``SymbolicDAG.from_json`` reads; None where no layer holds an intact entry of this
            hash (as for a string that is no hash).
        """
        text = None
        if is_hash(hash_key):
            from ..formats import dag_to_json

            text = self._stored_document(hash_key)
            if text is None:
                dag = self._find(hash_key)
                text = None if dag is None else dag_to_json(dag)
        self._count(text is not None)
        return text

    def exists(self, hash_key: str) -> bool:
        """Whether a layer or installed library has a file for this graph hash (which is checked when it is loaded)."""
        return self._entry(hash_key) is not None

    def _count(self, found: bool) -> None:
        if found:
            self.hits += 1
        else:
            self.misses += 1

    def _find(self, key: str) -> SymbolicDAG | None:
        for layer in self.layers:
            for suffix in MODEL_SUFFIXES:
                dag = self._open(layer, key, suffix)
                if dag is None:
                    continue
                if layer.writable:
                    self._store().touch(key)
                    if suffix == ".json":
                        # Only the document is here (a killed writer, or a copied file): the next reader shall not parse it again.
                        self._try_to_store(dag, None, only=".safetensors")
                return dag
        for located in catalogue.find_by_hash(key, self.layers):
            failures: list[FormatError] = []
            found = catalogue.open_listed(located, failures)
            for failure in failures:
                warn_user(f"passed over a corrupt file of the library {located.library.category}: {failure}")
            if found is not None:
                return found.dag
        return None

    def _open(self, layer: Layer, key: str, suffix: str) -> SymbolicDAG | None:
        """Open one file of an entry; a corrupt one is reported, and renamed if this cache owns it."""
        path = entry_file(layer.symbolic, key, suffix)
        seen = stamp(path)
        if seen is None:
            return None
        from ..formats import open_dag

        try:
            dag = open_dag(path)
            found = dag.graph.content_hash()
            if found != key:
                raise FormatError(f"{path}: holds the graph {found}, not the one that its name says")
        except FileNotFoundError:
            return None
        except OSError as error:
            warn_user(f"cannot read {path}: {error.strerror or error}")
            return None
        except FormatError as error:
            aside = layer.writable and self._store().set_aside(path, seen)
            done = "set aside as *.corrupt" if aside else "skipped"
            warn_user(f"corrupt cache entry {done}; it is computed again when it is needed: {error}")
            return None
        return dag

    def _stored_document(self, key: str) -> str | None:
        """Return the text of a stored ``.json``, checked; corrupt ones are handled by `_open`."""
        for layer in self.layers:
            path = entry_file(layer.symbolic, key, ".json")
            if self._open(layer, key, ".json") is not None:
                with contextlib.suppress(OSError):
                    text = path.read_text(encoding="utf-8")
                    if layer.writable:
                        self._store().touch(key)
                    return text
        return None

    # -- storing ------------------------------------------------------------------------------------------------------

    def save(self, model: SymbolicDAG | str, *, model_name: str = "", description: str = "") -> str:
        """Store an eliminated model in the user's own layer.

        Parameters
        ----------
        model
            A SymbolicDAG, or the text of an interchange document (which is checked).
        model_name, description
            For the entry's ``.meta``.

        Returns
        -------
        str
            The graph hash, under which :meth:`load` finds it.

        Raises
        ------
        FormatError
            The text is not an intact document.
        OSError
            The layer cannot be written; no incomplete file remains.
        """
        from ..cache.entry_files import encode_entry
        from ..formats import dag_from_json

        dag = dag_from_json(model) if isinstance(model, str) else model
        key = dag.graph.content_hash()
        self.put_files(key, encode_entry(dag, None, model_name, description))
        return key

    def put_files(self, key: str, files: Mapping[str, bytes | str]) -> None:
        """Store the files of an entry as they are; the caller knows that they hold the graph `key`.

        Raises
        ------
        OSError
            The layer cannot be written, or the entry alone is larger than the cache may be.
        """
        store = self._store()
        if self.max_bytes is not None:
            size = sum(len(data.encode() if isinstance(data, str) else data) for data in files.values())
            if size > self.max_bytes:
                raise OSError(f"the entry has {size:,} bytes and max_cache_size_gb allows {self.max_bytes:,} in all")
        store.put(key, files)
        if self.max_bytes is not None:
            store.evict(self.max_bytes, keep=key)

    def _try_to_store(self, dag: SymbolicDAG, milliseconds: float | None, only: str | None = None) -> None:
        from ..cache.entry_files import encode_entry

        key = dag.graph.content_hash()
        try:
            files = encode_entry(dag, milliseconds)
            self.put_files(key, files if only is None else {only: files[only]})
        except (OSError, FormatError) as error:
            where = "the cache" if self._own is None else str(self._own.folder)
            warn_user(
                f"could not store an entry in {where}: {error}. The result is right, but will be computed again; "
                f"free some space, or name another folder in {prefix.CACHE_DIR_VARIABLE}"
            )

    # -- inspecting ---------------------------------------------------------------------------------------------------

    @overload
    def info(self) -> CacheInfo: ...

    @overload
    def info(self, hash_key: str) -> CacheEntry: ...

    def info(self, hash_key: str | None = None) -> CacheInfo | CacheEntry:
        """Describe the cache, or one entry.

        Parameters
        ----------
        hash_key
            An entry; without it the whole cache is described (which counts the files of the user's own layer).

        Raises
        ------
        ModelNotFoundError
            No layer holds the entry.
        """
        if hash_key is not None:
            entry = self._entry(hash_key)
            if entry is None:
                raise self._missing([hash_key])
            return entry
        own = [entry for entry in self.list_entries() if entry.own]
        folder = None if self._own is None else self._own.folder
        size = sum(entry.bytes for entry in own)
        if self._own is not None:
            size += sum(map(self._own.size, self._own.remembered()))
        return CacheInfo(folder, tuple(self.layers), len(own), size, self.max_bytes, self.hits, self.misses)

    def list_entries(self) -> list[CacheEntry]:
        """List the entries of all layers, each hash once, at its first place; libraries' models are not among them."""
        found: dict[str, CacheEntry] = {}
        for layer in self.layers:
            for key in stored_keys(layer.symbolic):
                if key not in found and (entry := self._entry_in(layer, key)) is not None:
                    found[key] = entry
        return sorted(found.values())

    def meta(self, hash_key: str) -> ModelMeta | None:
        """Return the metadata of the entry or library model with this hash; None where none can be read."""
        from ..formats import read_meta

        places = [entry_file(layer.symbolic, hash_key, ".meta") for layer in self.layers] if is_hash(hash_key) else []
        for path in places:
            with contextlib.suppress(OSError, FormatError):
                return read_meta(path)
        for located in catalogue.find_by_hash(hash_key, self.layers):
            with contextlib.suppress(OSError, FormatError):
                return read_meta(located.path(".meta"))
        return None

    def _entry_in(self, layer: Layer, key: str) -> CacheEntry | None:
        paths = [entry_file(layer.symbolic, key, suffix) for suffix in FILE_SUFFIXES]
        sizes = {path: seen.size for path in paths if (seen := stamp(path)) is not None}
        if not any(path.suffix in MODEL_SUFFIXES for path in sizes):
            return None
        last_used = self._store().last_used(key) if layer.writable else None
        names = tuple(path.relative_to(layer.symbolic).as_posix() for path in sizes)
        return CacheEntry(key, layer.symbolic, names, sum(sizes.values()), last_used is not None, last_used)

    def _entry(self, key: str) -> CacheEntry | None:
        if not is_hash(key):
            return None
        for layer in self.layers:
            entry = self._entry_in(layer, key)
            if entry is not None:
                return entry
        for located in catalogue.find_by_hash(key, self.layers):
            paths = [path for suffix in FILE_SUFFIXES if (path := located.path(suffix)).is_file()]
            size = sum(path.stat().st_size for path in paths)
            return CacheEntry(key, located.library.folder, tuple(path.name for path in paths), size, False, None)
        return None

    def _missing(self, keys: Iterable[str]) -> ModelNotFoundError:
        listed = "\n".join(f"  {key}" for key in keys)
        return ModelNotFoundError(f"no cache layer holds:\n{listed}\nsearched:\n{prefix.describe(self.layers)}")

    # -- removing -----------------------------------------------------------------------------------------------------

    def remove(self, hash_key: str) -> bool:
        """Remove one entry of the user's own; returns whether there was one. Read-only layers are left as they are."""
        if self._own is None or not is_hash(hash_key) or not self._own.owns(hash_key):
            return False
        return self._own.remove(hash_key) > 0

    def clear(self) -> int:
        """Remove every entry and stored graph that this user's cache wrote, and temporary files of killed writers.

        Installed libraries, files that were put into the folder by hand and read-only layers stay.

        Returns
        -------
        int
            The number of entries and graphs removed.
        """
        if self._own is None:
            return 0
        removed = sum(self._own.remove(key) > 0 for key in list(self._own.own()))
        for path in self._own.leftovers():
            with contextlib.suppress(OSError):
                path.unlink()
        return removed

    # -- exchange -----------------------------------------------------------------------------------------------------

    def export_library(
        self,
        output_dir: str | os.PathLike[str],
        hash_keys: Iterable[str] | None = None,
        *,
        category: str | None = None,
        version: str = "1.0.0",
        description: str = "",
    ) -> Path:
        """Write entries into a folder that can be packed, published and imported elsewhere.

        Parameters
        ----------
        output_dir
            The folder; created where it is missing. It receives ``<hash>.json``, ``<hash>.meta``,
            ``<hash>.safetensors`` and ``manifest.json``, the manifest last.
        hash_keys
            The entries; by default all of the user's own.
        category
            The library's name; by default the folder's.
        version, description
            For the manifest.

        Returns
        -------
        Path
            The folder.

        Raises
        ------
        ModelNotFoundError
            An entry is in no layer; nothing was written.
        """
        from .exchange import export_entries

        keys = None if hash_keys is None else list(hash_keys)
        if keys is None:
            keys = sorted(entry.hash for entry in self.list_entries() if entry.own)
        missing = [key for key in keys if not self.exists(key)]
        if missing:
            raise self._missing(missing)
        return export_entries(self, Path(output_dir).expanduser(), keys, category, version, description)

    def import_library(self, source: str | os.PathLike[str]) -> list[str]:
        """Take over an exported or published library.

        Parameters
        ----------
        source
            A folder, or a tarball of one. Files that are named by hash (as :meth:`export_library` writes them) become
            entries of the user's own; a library with named models is placed as ``symbolic/<category>/``.

        Returns
        -------
        list of str
            The graph hashes that are now there.

        Raises
        ------
        FormatError
            A file is damaged, differs from the manifest's checksum, or is of another format; nothing was taken over.
        """
        from .exchange import import_entries

        return import_entries(self, Path(source).expanduser())

    def _compute_graph_hash(self, graph: Graph) -> str:
        """Return the key of `graph`: ``graph.content_hash()``."""
        return graph.content_hash()

    def __repr__(self) -> str:
        folder = None if self._own is None else self._own.folder
        return f"<SymbolicCache {folder}, {len(self.layers)} layers, {self.hits} hits, {self.misses} misses>"
