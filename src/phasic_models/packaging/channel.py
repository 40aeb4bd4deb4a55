"""Conda channels: a folder or a bucket of packages with an index, to which packages are added and never replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ..errors import DownloadError, LibraryError
from ..files.atomic import TEMPORARY_PREFIX
from ..files.checksums import sha256_file
from .conda import PackageContent, package_differences, read_package, require_tools
from .published import find_package, refusal
from .upload import upload_packages

if TYPE_CHECKING:
    from rattler import Client

__all__ = ["add_packages", "against", "index_channel"]


def index_channel(channel_dir: Path) -> None:
    """Write the index of a channel folder: repodata.json, its compressed form and its shards.

    Parameters
    ----------
    channel_dir
        The folder that holds ``noarch``.
    """
    from rattler.index import index_fs

    (channel_dir / "noarch").mkdir(parents=True, exist_ok=True)
    asyncio.run(index_fs(channel_dir))


def add_packages(packages: Iterable[Path], channel: str) -> list[str]:
    """Add packages to an existing or new channel and index it; what is there stays as it is.

    Parameters
    ----------
    packages
        ``noarch`` packages.
    channel
        A folder; ``s3://bucket/folder``, with credentials, region and endpoint from the usual ``AWS_…`` variables; or
        ``prefix:channel`` or ``anaconda:owner`` for the servers of `phasic_models.packaging.upload`.

    Returns
    -------
    list of str
        File names of the packages that were not there yet.

    Raises
    ------
    LibraryError
        Where a package of the same name, version and build number, but with other bytes, is there. Then nothing is
        added.
    """
    require_tools()
    contents = {path: read_package(path) for path in packages}
    kind, _, name = channel.partition(":")
    if kind in ("prefix", "anaconda"):
        return upload_packages(list(contents), kind, name)
    if channel.startswith("s3://"):
        return _add_to_bucket(contents, channel)
    return _add_to_folder(contents, Path(channel))


def _add_to_folder(contents: Mapping[Path, PackageContent], channel: Path) -> list[str]:
    folder = channel / "noarch"
    folder.mkdir(parents=True, exist_ok=True)
    present = {path.name: path for path in folder.glob("*.conda")}
    new = []
    for path, content in contents.items():
        _refuse_other_build(path, content, present, str(channel))
        if path.name not in present:
            new.append(path)
        elif sha256_file(present[path.name]) != content.sha256:
            raise LibraryError(refusal(path, content, str(channel), read_package(present[path.name])))
    for path in new:
        # A reader of the channel must never see half a package.
        temporary = folder / f"{TEMPORARY_PREFIX}{path.name}.part"
        shutil.copyfile(path, temporary)
        temporary.replace(folder / path.name)
    index_channel(channel)
    return [path.name for path in new]


def _add_to_bucket(contents: Mapping[Path, PackageContent], channel: str) -> list[str]:
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError
    from obstore.store import S3Store
    from rattler.index import S3Credentials, index_s3

    address = urlsplit(channel)
    folder = f"{address.path.strip('/')}/noarch".lstrip("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    options: dict[str, Any] = {"region": region}
    if endpoint:
        # A server that is not Amazon's has no wildcard name for buckets, and in a test no certificate either.
        options |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
        options["client_options"] = {"allow_http": endpoint.startswith("http://")}
    try:
        store = S3Store(address.netloc, **options)
        listed = [item["path"] for batch in obstore.list(store, folder + "/") for item in batch]
        present = {name.rpartition("/")[2]: name for name in listed if name.endswith(".conda")}
        new = []
        for path, content in contents.items():
            _refuse_other_build(path, content, present, channel)
            if path.name not in present:
                new.append(path)
            elif bytes(obstore.get(store, present[path.name]).bytes()) != path.read_bytes():
                raise LibraryError(refusal(path, content, channel))
        for path in new:
            try:
                obstore.put(store, f"{folder}/{path.name}", path.read_bytes(), mode="create")
            except AlreadyExistsError:
                raise LibraryError(refusal(path, contents[path], channel)) from None
    except BaseError as error:
        raise DownloadError(f"{channel}: {error}") from error
    credentials = None
    if endpoint:
        credentials = S3Credentials(
            endpoint,
            region,
            os.environ.get("AWS_ACCESS_KEY_ID"),
            os.environ.get("AWS_SECRET_ACCESS_KEY"),
            os.environ.get("AWS_SESSION_TOKEN"),
            addressing_style="path",
        )
    asyncio.run(index_s3(channel, credentials))
    return [path.name for path in new]


def _refuse_other_build(path: Path, content: PackageContent, present: Iterable[str], channel: str) -> None:
    """Refuse a second package of the same version and build number, whose name differs by its hash only."""
    name, version, number = content.identity
    for other in present:
        stem = other.removesuffix(".conda").rsplit("-", 2)
        if other != path.name and stem[:2] == [name, version] and stem[2].endswith(f"_{number}"):
            raise LibraryError(refusal(path, content, f"{channel} as {other}"))


def against(package: Path, published: str, scratch: Path) -> list[str] | None:
    """Compare a package with the published one.

    Parameters
    ----------
    package
        Our package.
    published
        A package (a file, or a URL that ends in ``.conda``) or a channel (a folder or URL).
    scratch
        A folder for what has to be fetched.

    Returns
    -------
    list of str or None
        The differences; empty where both are the same to the byte. None where there is nothing to compare with: the
        channel has no such package yet, or the given package is another one.

    Raises
    ------
    DownloadError
        Where the published package cannot be had.
    """
    from rattler import Client
    from rattler.package_streaming import download_to_path

    ours = read_package(package)
    url = published
    if not published.endswith(".conda"):
        found = find_package(published, ours.identity, scratch)
        if found is None:
            return None
        if found[1] == ours.sha256:
            return []
        url = found[0]
    if url.startswith("file://"):
        url = url2pathname(urlsplit(url).path)
    if "://" not in url:
        theirs = read_package(Path(url))
    else:
        target = scratch / "published.conda"
        client: Client = Client()
        try:
            asyncio.run(download_to_path(client, url, target))
        except Exception as error:  # the client raises a bare Exception
            raise DownloadError(f"{url}: {error}") from error
        theirs = read_package(target)
    if ours.identity != theirs.identity:
        return None
    return package_differences(ours, theirs)
