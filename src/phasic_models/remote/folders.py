"""Copy whole cache folders to and from an object store: in parallel, without files that are there and correct, manifests last.

``SHA256SUMS`` is stored beside the files; ``sha256sum --check`` reads it too. A second upload or download reads from it
which files are already correct, by content and not by name, and every file that arrives is checked.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from ..cache.installation import CheckedLibrary, check_library, library_staging, place
from ..errors import DownloadError, FormatError
from ..files.checksums import merged_checksums, read_checksums, sha256_file
from ..files.names import CHECKSUMS_NAME, MANIFEST_NAME, category_problem, path_problem
from ..formats import decode_manifest
from ..progress import Progress
from .clouds import RemoteObject
from .download import check_free_space, download
from .options import TransferOptions
from .retrying import ConflictError, with_retries

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_PARALLEL = 8
# Below this, one request carries a file; above, the engine sends it in parts.
_MULTIPART_FROM = 64 << 20

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True)
class TransferReport:
    """The result of an upload or download.

    Attributes
    ----------
    transferred : list of str
        Files that were sent or fetched, relative to the folder.
    skipped : list of str
        Files that were there already, with the right content.
    bytes : int
        Bytes of the transferred files.
    folder : str
        Where they went.
    """

    transferred: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    bytes: int = 0
    folder: str = ""


@dataclass(frozen=True)
class ObjectFolder:
    """A prefix in an object store.

    Parameters
    ----------
    store : obstore store
        The bucket or container.
    prefix : str
        Without slashes at its ends; may be empty.
    url : str
        Its address, for messages.
    options : TransferOptions
        How patiently.
    """

    store: ObjectStore
    prefix: str
    url: str
    options: TransferOptions

    def sub(self, relative: str) -> ObjectFolder:
        """Return a folder below this one."""
        relative = relative.strip("/")
        if not relative:
            return self
        return replace(self, prefix=f"{self.prefix}/{relative}".strip("/"), url=f"{self.url.rstrip('/')}/{relative}")

    def object(self, relative: str) -> RemoteObject:
        """Return one object of the folder."""
        return RemoteObject(self.store, f"{self.prefix}/{relative}".strip("/"), f"{self.url.rstrip('/')}/{relative}")

    def call(self, action: Callable[[], T], what: str) -> T:
        """Do something with the store, again after a failure that may pass."""
        return with_retries(action, what, self.url, self.options)

    def sizes(self) -> dict[str, int]:
        """Return the size of every object below the prefix, by its path relative to the folder."""
        import obstore

        def listing() -> dict[str, int]:
            found = {}
            for batch in obstore.list(self.store, prefix=self.prefix or None):
                for meta in batch:
                    relative = meta["path"][len(self.prefix) :].lstrip("/") if self.prefix else meta["path"]
                    found[relative] = meta["size"]
            return found

        return self.call(listing, "list")

    def read(self, relative: str, limit: int = 64 << 20) -> tuple[bytes, dict[str, str]] | None:
        """Return an object's bytes and the version that they have, or None where there is no such object."""
        import obstore

        def get() -> tuple[bytes, dict[str, str]] | None:
            try:
                result = obstore.get(self.store, self.object(relative).key)
            except FileNotFoundError:
                return None
            if result.meta["size"] > limit:
                raise DownloadError(f"{self.url}/{relative} has {result.meta['size']:,} bytes, more than {limit:,}")
            meta = result.meta
            version = {key: value for key in ("e_tag", "version") if isinstance(value := meta.get(key), str)}
            return bytes(result.bytes()), version

        return self.call(get, f"read {relative} in")

    def write(self, relative: str, content: bytes | Path, mode: Any = "overwrite") -> None:
        """Write an object; ``mode`` is 'overwrite', 'create' or the version that is to be replaced."""
        import obstore

        key = self.object(relative).key
        parts = isinstance(content, Path) and mode == "overwrite" and content.stat().st_size >= _MULTIPART_FROM

        def put() -> None:
            obstore.put(self.store, key, content, mode=mode, use_multipart=parts)

        self.call(put, f"write {relative} to")

    def size(self, relative: str) -> int | None:
        """Return an object's size, or None where there is no such object."""
        import obstore

        def head() -> int | None:
            try:
                return obstore.head(self.store, self.object(relative).key)["size"]
            except FileNotFoundError:
                return None

        return self.call(head, f"look for {relative} in")

    def checksums(self) -> dict[str, str]:
        """Return what SHA256SUMS says, or nothing where there is none."""
        found = self.read(CHECKSUMS_NAME)
        if found is None:
            return {}
        return dict(read_checksums(found[0].decode("utf-8", "replace"), source=f"{self.url}/{CHECKSUMS_NAME}"))

    def add_checksums(self, new: Mapping[str, str]) -> None:
        """Merge lines into SHA256SUMS and keep those that another process writes meanwhile."""
        update(self, CHECKSUMS_NAME, lambda old: merged_checksums(old, new, f"{self.url}/{CHECKSUMS_NAME}"))


def update(folder: ObjectFolder, relative: str, change: Callable[[bytes | None], bytes]) -> bool:
    """Replace a small object by a function of its content; False where nothing changed.

    Where another writer is faster, its content is changed in turn.
    """
    for _ in range(20):
        found = folder.read(relative)
        content = change(found[0] if found else None)
        if found is not None and content == found[0]:
            return False
        try:
            folder.write(relative, content, mode="create" if found is None else found[1] or "overwrite")
        except ConflictError:
            continue
        except NotImplementedError:
            # Some stores have no conditional writes; there, two writers at the same time are on their own.
            folder.write(relative, content)
        return True
    raise DownloadError(f"{folder.url}/{relative}: others keep changing it; try again later")


def upload(
    source: str | os.PathLike[str],
    folder: ObjectFolder,
    *,
    patterns: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> TransferReport:
    """Copy a local folder to an object store.

    Parameters
    ----------
    source : path
        The local folder.
    folder : ObjectFolder
        Where to.
    patterns : sequence of str, optional
        Shell patterns; only files whose name or relative path matches one of them are sent.
    progress : callable, optional
        ``progress(label, done, total)`` in bytes of all files.

    Returns
    -------
    TransferReport
    """
    root = Path(source).expanduser()
    if not root.is_dir():
        raise DownloadError(f"{root}: there is no such folder to upload")
    files = _plain_files(root, patterns)
    if not files:
        raise DownloadError(f"{root}: there is no file to upload")
    for name in files:
        # A file that some system could not fetch again is not sent.
        if problem := path_problem(name):
            raise FormatError(f"{root}: the file name {name!r} {problem}")
    local = {name: sha256_file(path) for name, path in files.items()}
    remote_sizes = folder.sizes()
    remote_sums = folder.checksums() if CHECKSUMS_NAME in remote_sizes else {}
    skipped = [
        name
        for name, path in files.items()
        if remote_sums.get(name) == local[name] and remote_sizes.get(name) == path.stat().st_size
    ]
    pending = [name for name in files if name not in set(skipped)]
    tally = _TransferProgress("upload", sum(files[name].stat().st_size for name in pending), progress)

    def send(name: str) -> None:
        folder.write(name, files[name])
        tally.add(files[name].stat().st_size)

    # The manifests last, so that a reader who finds one finds all that it lists.
    _in_parallel(send, [name for name in pending if PurePosixPath(name).name != MANIFEST_NAME])
    _in_parallel(send, [name for name in pending if PurePosixPath(name).name == MANIFEST_NAME])
    if pending:
        folder.add_checksums({name: local[name] for name in pending})
    return TransferReport(pending, skipped, tally.total, folder.url)


def _plain_files(root: Path, patterns: Sequence[str] | None) -> dict[str, Path]:
    """Return the files worth copying by relative name: no hidden, temporary, lock or set-aside ones."""
    found = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        name = relative.as_posix()
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in relative.parts)
        if hidden or path.suffix in (".lock", ".corrupt", ".part") or name == CHECKSUMS_NAME:
            continue
        if path.is_symlink() or not path.is_file():
            continue
        if patterns is None or any(fnmatch(name, pattern) or fnmatch(path.name, pattern) for pattern in patterns):
            found[name] = path
    return found


class _TransferProgress:
    """Bytes of many files, counted from several threads."""

    def __init__(self, label: str, total: int, progress: Progress | None) -> None:
        self.label, self.total, self.progress = label, total, progress
        self.done: dict[str, int] = {}
        self.sum = 0
        self.lock = threading.Lock()

    def add(self, count: int) -> None:
        with self.lock:
            self.sum += count
            if self.progress is not None:
                self.progress(self.label, self.sum, self.total)

    def follow(self, name: str, done: int, total: int | None) -> None:
        """Take over the progress of one file."""
        with self.lock:
            before = self.done.get(name, 0)
            self.done[name] = done
        self.add(done - before)


def _in_parallel(work: Callable[[U], None], items: Iterable[U]) -> None:
    """Do the work for all items with a few threads; the first failure stops what has not begun."""
    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="phasic-models") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            for future in futures:
                future.cancel()
            raise


def download_folder(
    folder: ObjectFolder, target: str | os.PathLike[str], *, progress: Progress | None = None
) -> TransferReport:
    """Copy what an object store holds below a prefix into a ``symbolic`` cache folder.

    A library (a folder with a manifest.json) goes to ``target/<category>/``, whole and checked, by one rename; other
    entries go to the same relative place, file by file.

    Parameters
    ----------
    folder : ObjectFolder
        Where from.
    target : path
        A cache's ``symbolic`` folder.
    progress : callable, optional
        ``progress(label, done, total)`` in bytes of all files.

    Returns
    -------
    TransferReport
    """
    root = Path(target).expanduser()
    sizes = folder.sizes()
    sums = _all_checksums(folder, sizes)
    names = [name for name in sizes if PurePosixPath(name).name != CHECKSUMS_NAME and not _unwanted(name)]
    if not names:
        raise DownloadError(f"{folder.url} holds no files; check bucket and prefix")
    for name in names:
        if problem := path_problem(name):
            raise FormatError(f"{folder.url}: the object {name!r} {problem}")
    places = _target_paths(names, _categories(folder, names), root.name)
    with library_staging(root) as staging:
        present = {name for name in names if _is_right(root / places[name], sizes[name], sums.get(name))}
        pending = [name for name in names if name not in present]
        check_free_space(staging, sum(sizes[name] for name in names), folder.url)
        tally = _TransferProgress("download", sum(sizes[name] for name in pending), progress)

        def fetch(name: str) -> None:
            download(
                folder.object(name),
                staging / "new" / name,
                size=sizes[name],
                sha256=sums.get(name),
                progress=lambda _, done, total: tally.follow(name, done, total),
                options=folder.options,
            )

        _in_parallel(fetch, pending)
        changed = _install_arrived(names, places, present, staging, root, folder.url)
    return TransferReport(sorted(changed), sorted(set(names) - changed), tally.total, str(root))


def _all_checksums(folder: ObjectFolder, names: Iterable[str]) -> dict[str, str]:
    """Return what all SHA256SUMS below a folder say, by path relative to it; the nearest one has the last word."""
    found: dict[str, str] = {}
    homes = [PurePosixPath(name).parent for name in names if PurePosixPath(name).name == CHECKSUMS_NAME]
    for home in sorted(homes, key=lambda path: len(path.parts)):
        for name, digest in folder.sub(str(home).strip(".")).checksums().items():
            found[str(home / name)] = digest
    return found


def _unwanted(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _is_right(path: Path, size: int, sha256: str | None) -> bool:
    """Whether a local file has the content that is known of the remote one; without a checksum nothing is known."""
    try:
        return sha256 is not None and path.stat().st_size == size and sha256_file(path) == sha256
    except OSError:
        return False


def _categories(folder: ObjectFolder, names: Sequence[str]) -> dict[str, str]:
    """Return the category of every library, by its folder."""
    found = {}
    for name in names:
        if PurePosixPath(name).name == MANIFEST_NAME:
            content = folder.read(name)
            if content is None:
                raise DownloadError(f"{folder.url}/{name} vanished while it was fetched; try again")
            manifest = decode_manifest(content[0], source=f"{folder.url}/{name}")
            if problem := category_problem(manifest.category):
                raise FormatError(f"{folder.url}/{name}: category {manifest.category!r} {problem}")
            found[str(PurePosixPath(name).parent)] = manifest.category
    return found


def _target_paths(names: Sequence[str], categories: Mapping[str, str], target_name: str) -> dict[str, PurePosixPath]:
    """Return the place of every object below the target folder.

    A library's files go to the folder of its category. What `upload` took from a folder ``symbolic`` and put below a
    prefix of that name belongs into the local folder of that name, not into another one in it.
    """
    nested = f"{target_name}/" if all(name.startswith(f"{target_name}/") for name in names) else ""
    places = {}
    for name in names:
        path = PurePosixPath(name)
        category = categories.get(str(path.parent))
        places[name] = PurePosixPath(category, path.name) if category else PurePosixPath(name.removeprefix(nested))
    return places


def _install_arrived(
    names: Sequence[str],
    places: Mapping[str, PurePosixPath],
    present: set[str],
    staging: Path,
    root: Path,
    source: str,
) -> set[str]:
    """Move what arrived to its place, and return the names of what changed."""
    manifests = [name for name in names if PurePosixPath(name).name == MANIFEST_NAME]
    homes = {PurePosixPath(name).parent: name for name in manifests}
    changed: set[str] = set()
    loose = []
    members: dict[PurePosixPath, list[str]] = {home: [] for home in homes}
    for name in names:
        home = PurePosixPath(name).parent
        if home in homes:
            members[home].append(name)
        else:
            loose.append(name)
    checked: list[tuple[CheckedLibrary, list[str]]] = []
    for number, (home, files) in enumerate(members.items()):
        library = staging / f"library-{number}"
        library.mkdir()
        for name in files:
            _take_file(name, staging, root / places[name], library / PurePosixPath(name).name)
        arrived = check_library(library, source=f"{source}/{home}".removesuffix("/."))
        target = root / arrived.category
        whole = all(name in present and (root / places[name]).parent == target for name in files)
        if not (whole and _same_names(target, library)):
            checked.append((arrived, files))
    # Nothing is moved before everything was checked.
    for arrived, files in checked:
        place(arrived, root, staging, source)
        changed.update(files)
    for name in sorted(loose):
        if name not in present:
            target = root / places[name]
            target.parent.mkdir(parents=True, exist_ok=True)
            (staging / "new" / name).replace(target)
            changed.add(name)
    return changed


def _take_file(name: str, staging: Path, present: Path, target: Path) -> None:
    """Put a file that was fetched, or is there already, into a library that is being put together."""
    arrived = staging / "new" / name
    if arrived.exists():
        arrived.replace(target)
        return
    try:
        # Nothing in a cache is ever changed in place, so two names for one file are safe.
        os.link(present, target)
    except OSError:
        shutil.copyfile(present, target)


def _same_names(first: Path, second: Path) -> bool:
    return {path.name for path in first.iterdir()} == {path.name for path in second.iterdir()}
