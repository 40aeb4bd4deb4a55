"""Fetch one file: resumed after a cut, retried with growing waits, checked for size and SHA-256, then renamed into place.

The file grows under a temporary name beside its target, so nothing half-fetched ever has the target's name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ..errors import DownloadError, OfflineError
from ..files.addresses import is_remote, local_path, scheme_of
from ..files.atomic import TEMPORARY_PREFIX
from ..files.checksums import normalise_sha256, sha256_file
from ..files.ownership import is_abandoned, owner_tag, released_tag
from ..files.wrong_content import explain_wrong_content
from ..progress import Progress
from .clouds import RemoteObject, open_address
from .http import Answer, fetch, public
from .options import TransferOptions, require_online
from .retrying import ConflictError, Retry, classify_failure, wait_as_asked, waits

_CHUNK = 1 << 18
# Progress below this does not renew the number of tries: a server that trickles would keep us for ever.
_REAL_PROGRESS = 1 << 16
_PART = ".part"
# Disk space, in bytes, that a download leaves free.
_RESERVE = 16 << 20


def _hash_stream(stream: IO[bytes], digest: Any) -> int:
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    total = 0
    while count := stream.readinto(buffer):  # type: ignore[attr-defined]
        digest.update(view[:count])
        total += count
    return total


def _write_all(stream: IO[bytes], chunk: Any) -> None:
    """Write a whole chunk to an unbuffered stream, which may take less at a time."""
    view = memoryview(chunk)
    while view:
        view = view[stream.write(view) :]


def check_free_space(folder: Path, needed: int, what: str) -> None:
    """Raise DownloadError where the file system of ``folder`` cannot hold ``needed`` more bytes."""
    free = shutil.disk_usage(folder).free
    if needed + _RESERVE > free:
        raise _with_errno(
            errno.ENOSPC,
            f"not enough disk space for {what}: it needs {needed:,} bytes "
            f"(and {_RESERVE:,} to spare), {folder} has {free:,} free",
        )


class MissingFileError(DownloadError, FileNotFoundError):
    """A file of this machine, to be copied or read, is not there."""


def _unreadable(path: Path, error: OSError, why: str = "") -> DownloadError:
    message = f"cannot read {path}{why}: {error.strerror or error}"
    return MissingFileError(message) if isinstance(error, FileNotFoundError) else _with_errno(error.errno, message)


def _with_errno(number: int | None, message: str) -> DownloadError:
    """Return a DownloadError that carries ``errno`` without printing it as a number."""
    error = DownloadError(message)
    error.errno = number
    return error


def download(
    source: str | RemoteObject,
    target: str | os.PathLike[str],
    *,
    size: int | None = None,
    room: int | None = None,
    sha256: str | None = None,
    progress: Progress | None = None,
    options: TransferOptions | None = None,
    headers: Mapping[str, str] | None = None,
    expect: str = "file",
    part_folder: Path | None = None,
) -> Path:
    """Fetch one address into one file.

    Parameters
    ----------
    source : str or RemoteObject
        http(s)://, s3://, gs://, az://, file:// or a plain path; or an object in an opened store.
    target : path
        Where the file goes. A target that already has the right SHA-256 is not changed, and the network is not used.
    size, sha256 : int, str, optional
        The required size in bytes, and the required checksum.
    room : int, optional
        Bytes that must be free on the disk before anything is fetched; by default `size`.
    progress : callable, optional
        Called as ``progress(label, done, total)``.
    options : TransferOptions, optional
        Time-outs, tries, offline; by default from the environment.
    headers : mapping, optional
        Extra HTTP request headers.
    expect : str
        The expected kind of file, for messages; all but 'file' also reject an HTML page.
    part_folder : pathlib.Path, optional
        A folder on the same file system for the growing file, by default that of the target. Where ``sha256`` is given,
        a later call takes up there what a stopped one left.

    Returns
    -------
    pathlib.Path
        The target.

    Raises
    ------
    DownloadError
        Naming the address, the target, and what was expected and found.
    OfflineError
        The address is remote and the network is switched off.
    """
    options = options or TransferOptions.from_environment()
    url = source if isinstance(source, str) else source.url
    path = Path(target).expanduser()
    wanted = None if sha256 is None else normalise_sha256(sha256)
    if wanted is not None and path.is_file() and size in (None, path.stat().st_size) and sha256_file(path) == wanted:
        return path
    if is_remote(url):
        require_online(url, options)
    folder = part_folder or path.parent
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _with_errno(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    if (needed := size if room is None else room) is not None:
        check_free_space(folder, needed, path.name)
    with _partial_file(folder, path.name, wanted) as part:
        _Transfer(source, path, part, size, wanted, progress, options, headers, expect).run()
        try:
            part.replace(path)
        except OSError as error:
            raise _with_errno(error.errno, f"cannot write {path}: {error.strerror or error}") from error
    return path


def download_first(urls: Sequence[str], target: str | os.PathLike[str], **arguments: Any) -> Path:
    """Fetch from the first of several mirrors that has the right file; arguments are those of `download`."""
    if not urls:
        raise DownloadError(f"no address is known for {Path(target).name}")
    failures: list[str] = []
    offline: OfflineError | None = None
    for url in urls:
        try:
            return download(url, target, **arguments)
        except OfflineError as error:
            offline = error
        except DownloadError as error:
            if error.errno == errno.ENOSPC:
                raise
            failures.append(str(error))
    if offline is not None and not failures:
        raise offline
    if len(failures) == 1:
        raise DownloadError(failures[0])
    raise DownloadError(
        f"none of {len(urls)} mirrors gave {Path(target).name}:\n" + "\n".join(f"  - {f}" for f in failures)
    )


def fetch_bytes(
    url: str,
    *,
    limit: int = 64 << 20,
    options: TransferOptions | None = None,
    headers: Mapping[str, str] | None = None,
    expect: str = "file",
) -> bytes:
    """Return a small file's content; more than ``limit`` bytes is an error. Arguments otherwise as in `download`."""
    options = options or TransferOptions.from_environment()
    if not is_remote(url):
        path = local_path(url)
        try:
            with path.open("rb") as stream:
                data = stream.read(limit + 1)
        except OSError as error:
            raise _unreadable(path, error) from error
        if len(data) > limit:
            raise DownloadError(f"{path} is larger than the {limit:,} bytes that a {expect} may have")
        return data
    with tempfile.TemporaryDirectory(prefix="phasic-models-") as folder:
        target = Path(folder) / "content"
        small = replace(options, max_bytes=limit)
        try:
            return download(url, target, options=small, headers=headers, expect=expect).read_bytes()
        except DownloadError as error:
            # The reader of the message does not know the temporary file, which no longer exists then.
            error.args = (str(error).replace(f" into {target}", "").replace(f" (to become {target})", ""),)
            raise


@contextlib.contextmanager
def _partial_file(folder: Path, name: str, sha256: str | None) -> Iterator[Path]:
    """Yield the temporary file's path; what a stopped run left is taken up where the content is known beforehand.

    Every run writes to a file of its own; it takes a left-over by renaming it, which only one can.
    """
    # A name as long as the target's could pass the limit of the file system or of Windows.
    stem = f"{TEMPORARY_PREFIX}{name[:24]}-{'any' if sha256 is None else sha256[:16]}-"
    part = folder / f"{stem}{owner_tag()}{_PART}"
    if sha256 is not None:
        for leftover in sorted(folder.iterdir()):
            owner = leftover.name.removeprefix(stem).removesuffix(_PART)
            if f"{stem}{owner}{_PART}" == leftover.name and is_abandoned(leftover, owner):
                with contextlib.suppress(OSError):
                    leftover.replace(part)
    keep = False
    try:
        yield part
    except _Interrupted:
        keep = sha256 is not None
        raise
    except DownloadError:
        # A refused file is of no use to a later run.
        raise
    except BaseException:
        keep = sha256 is not None
        raise
    finally:
        with contextlib.suppress(OSError):
            if keep:
                part.replace(folder / f"{stem}{released_tag()}{_PART}")
            else:
                part.unlink()


class _Interrupted(DownloadError):
    """The transfer stopped in the middle: a later run may continue from the bytes so far."""


class _Transfer:
    """One download's state across tries."""

    def __init__(
        self,
        source: str | RemoteObject,
        target: Path,
        part: Path,
        size: int | None,
        sha256: str | None,
        progress: Progress | None,
        options: TransferOptions,
        headers: Mapping[str, str] | None,
        expect: str,
    ) -> None:
        self.source = source
        self.url = public(source if isinstance(source, str) else source.url)
        self.target = target
        self.part = part
        self.size = size
        self.sha256 = sha256
        self.progress = progress
        self.options = options
        self.headers = headers
        self.expect = expect
        self.etag: str | None = None
        self.digest = hashlib.sha256()
        self.done = 0
        # Whether the bytes so far came in more than one answer, so that a wrong checksum may mean a bad joint.
        self.mixed = False

    def run(self) -> None:
        """Try until the whole file is there and right."""
        self.stream = self._open_part()
        try:
            if self.sha256 is not None:
                self.done = _hash_stream(self.stream, self.digest)
                self.mixed = self.done > 0
            if self.size is not None and self.done > self.size:
                self._restart()
            self._try()
            os.fsync(self.stream.fileno())
        finally:
            self.stream.close()

    def _try(self) -> None:
        tries, mark = 0, self.done
        pauses = waits(self.options)
        while True:
            tries += 1
            try:
                if self.done == 0 or self.digest.hexdigest() != self.sha256:
                    self._receive()
                self._verify()
                return
            except Retry as failure:
                if failure.from_start:
                    self._restart()
                    mark = 0
                elif self.done - mark >= _REAL_PROGRESS:
                    tries, mark = 1, self.done
                    pauses = waits(self.options)
                if tries >= self.options.attempts:
                    raise _Interrupted(
                        f"could not fetch {self.url} into {self.target}: {failure} "
                        f"({tries} tries; {self._so_far()} received)"
                    ) from failure.__cause__
                try:
                    pause = wait_as_asked(failure, next(pauses), self._named(), self.options)
                except DownloadError as error:
                    raise _Interrupted(str(error)) from failure.__cause__
            time.sleep(pause)

    def _open_part(self) -> IO[bytes]:
        try:
            # Not tempfile.mkstemp, whose files only their owner may read. Unbuffered, so that a full disk shows where it
            # is met, and not when the file is closed.
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
            return os.fdopen(os.open(self.part, flags, 0o666), "r+b", buffering=0)
        except OSError as error:
            raise _with_errno(error.errno, f"cannot write {self.target}: {error.strerror or error}") from error

    def _so_far(self) -> str:
        return f"{self.done:,} bytes" if self.size is None else f"{self.done:,} of {self.size:,} bytes"

    def _restart(self) -> None:
        # A new file, not the old one cut to nothing: should its first owner be alive after all, it shall not harm us nor
        # we it.
        self.stream.close()
        self.part.unlink(missing_ok=True)
        self.stream = self._open_part()
        self.digest = hashlib.sha256()
        self.done = 0
        self.etag = None
        self.mixed = False

    def _named(self) -> str:
        return f"{self.url} (to become {self.target})"

    def _refuse(self, why: str) -> DownloadError:
        return DownloadError(f"{self._named()} {why}")

    def _receive(self) -> None:
        """Append what the server sends from where we are."""
        # Without a checksum, only an entity tag shows that the second half belongs to the first.
        if self.done and self.sha256 is None and self.etag is None:
            self._restart()
        answer = self._open()
        try:
            self._append(answer)
        finally:
            answer.close()
        expected = self.size if self.size is not None else answer.size
        if expected is not None and self.done < expected:
            raise Retry(f"the server stopped at {self.done:,} of {expected:,} bytes")

    def _append(self, answer: Answer) -> None:
        if answer.start != self.done:
            self._restart()
            if answer.start != 0:
                raise Retry(f"the server sent byte {answer.start} onwards, not from the start", from_start=True)
        self.etag = answer.etag
        self._check_claim(answer)
        limit = self.options.max_bytes if self.size is None else self.size
        self.stream.seek(self.done)
        first = self.done == 0
        self.mixed = not first
        try:
            for chunk in answer.chunks:
                if first:
                    self._refuse_impostor(bytes(chunk[:65536]), answer.content_type)
                    first = False
                if self.done + len(chunk) > limit:
                    raise self._refuse(f"sends more than the {limit:,} bytes {'expected' if self.size else 'allowed'}")
                _write_all(self.stream, chunk)
                if self.sha256 is not None:
                    self.digest.update(chunk)
                self.done += len(chunk)
                if self.progress is not None:
                    self.progress(self.target.name, self.done, self.size or answer.size)
        except OSError as error:
            if isinstance(error, DownloadError):
                raise
            # The source has failures of its own kinds; this one is of the disk.
            raise _with_errno(
                error.errno, f"cannot write {self.target}: {error.strerror} (after {self._so_far()} of {self.url})"
            ) from error

    def _check_claim(self, answer: Answer) -> None:
        """Refuse an answer whose announced size cannot be right."""
        if answer.size is None:
            return
        if self.size is not None and answer.size != self.size:
            # The content of the wrong file explains more than its size.
            self._refuse_impostor(bytes(next(answer.chunks, b"")[:65536]), answer.content_type)
            raise self._refuse(
                f"has {answer.size:,} bytes where {self.size:,} are expected: it was replaced, or the server is wrong"
            )
        if answer.size > self.options.max_bytes and self.size is None:
            raise self._refuse(f"has {answer.size:,} bytes, more than the {self.options.max_bytes:,} allowed")
        if self.size is None:
            check_free_space(self.part.parent, answer.size - self.done, self.target.name)

    def _refuse_impostor(self, head: bytes, content_type: str) -> None:
        # Any file may be HTML or a pointer where nobody knows what it should be.
        if self.expect != "file" and (found := explain_wrong_content(head, content_type)) is not None:
            raise self._refuse(f"is not the {self.expect} that was expected but {found}")

    def _verify(self) -> None:
        if self.size is not None and self.done != self.size:
            raise Retry(f"{self.done:,} bytes arrived where {self.size:,} are expected", from_start=True)
        if self.sha256 is not None and (actual := self.digest.hexdigest()) != self.sha256:
            why = (
                f"has SHA-256 {actual} ({self.done:,} bytes) where {self.sha256} is expected: "
                "it was altered on the way or replaced after publication"
            )
            if self.mixed:
                raise Retry(why, from_start=True)
            raise self._refuse(why)

    def _open(self) -> Answer:
        """Ask for the bytes from where we are."""
        if not is_remote(self.url):
            return _open_local(self.url, self.done, self.target)
        try:
            return self._open_remote()
        except (DownloadError, Retry):
            raise
        except Exception as error:  # obstore's exceptions have no common base with a useful meaning
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> Retry | DownloadError:
        verdict = classify_failure(error, self._named())
        if isinstance(verdict, ConflictError):
            return Retry("the file changed while it was fetched", from_start=True)
        return verdict

    def _open_remote(self) -> Answer:
        if isinstance(self.source, str) and scheme_of(self.url) in ("http", "https"):
            return fetch(self.source, self.options, headers=self.headers, start=self.done, etag=self.etag)
        if isinstance(self.source, str):
            store, key = open_address(self.source, self.options)
        else:
            store, key = self.source.store, self.source.key
        import obstore

        request: Any = {}
        if self.done:
            request["range"] = {"offset": self.done}
            if self.etag is not None:
                request["if_match"] = self.etag
        result = obstore.get(store, key, options=request)
        meta = result.meta
        content_type = str(result.attributes.get("Content-Type", ""))
        return Answer(result.range[0], meta["size"], meta.get("e_tag"), content_type, self._chunks(result))

    def _chunks(self, result: Any) -> Iterator[Any]:
        try:
            yield from result.stream(min_chunk_size=_CHUNK)
        except Exception as error:
            raise self._failed(error) from error


def _open_local(url: str, offset: int, target: Path) -> Answer:
    path = local_path(url)
    try:
        stream = path.open("rb")
        size = os.fstat(stream.fileno()).st_size
        stream.seek(offset)
    except OSError as error:
        raise _unreadable(path, error, f" (to become {target})") from error

    return Answer(offset, size, None, "", iter(lambda: stream.read(_CHUNK), b""), stream.close)
