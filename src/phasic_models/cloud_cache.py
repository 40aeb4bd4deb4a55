"""Publish libraries to, and fetch them from, S3, Google Cloud Storage, Azure, GitHub releases and any address.

Buckets are reached through obstore, everything else by the HTTP client of `phasic_models.remote.http`. What arrives is checked
against a size and a SHA-256 before it takes its place, and ``PHASIC_MODELS_OFFLINE=1`` uses no network.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cache.installation import InstalledLibrary, install_archive, library_staging
from .errors import ParameterError
from .progress import Progress, reporting
from .remote.choosing import parse_requirement
from .remote.clouds import azure_store, gcs_store, s3_store
from .remote.download import download
from .remote.folders import ObjectFolder, TransferReport, download_folder, upload
from .remote.index_sources import index_addresses
from .remote.installing import install_from_index
from .remote.options import TransferOptions

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = [
    "AzureBlobBackend",
    "GCSBackend",
    "InstalledLibrary",
    "S3Backend",
    "TransferReport",
    "download_from_github_release",
    "download_from_url",
    "install_model_library",
]


class _Backend(ABC):
    """A prefix in a bucket or container, to and from which cache folders are copied."""

    def __init__(self, scheme: str, bucket: str, prefix: str, offline: bool | None) -> None:
        if not bucket or "/" in bucket:
            raise ParameterError(f"{bucket!r} is not the name of a bucket; a folder in it is named by prefix=…")
        self.prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._bucket = bucket
        self._scheme = scheme
        self._offline = offline

    @property
    def url(self) -> str:
        """The address of the prefix."""
        return f"{self._scheme}://{self._bucket}/{self.prefix}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    @abstractmethod
    def _open(self, options: TransferOptions, writing: bool) -> ObjectStore:
        """Return the store, opened with this cloud's credentials."""

    def _folder(self, remote_prefix: str, *, writing: bool) -> ObjectFolder:
        options = TransferOptions.from_environment(self._offline)
        store = self._open(options, writing)
        return ObjectFolder(store, self.prefix.strip("/"), self.url, options).sub(remote_prefix)

    def upload_cache(
        self,
        local_cache_dir: str | os.PathLike[str],
        remote_prefix: str = "",
        include_patterns: Sequence[str] | None = None,
        progress: Progress | bool | None = None,
    ) -> TransferReport:
        """Copy a local folder to the bucket; files that are there already with the right content are not sent again.

        Parameters
        ----------
        local_cache_dir : path
            A library folder or a cache's ``symbolic`` folder. Hidden, temporary and lock files stay behind.
        remote_prefix : str
            Folder below the backend's prefix.
        include_patterns : sequence of str, optional
            Shell patterns of the files to send; all by default.
        progress : callable, bool, optional
            ``progress(label, done, total)``; by default a bar at a terminal.

        Returns
        -------
        TransferReport
        """
        with reporting(progress) as report:
            folder = self._folder(remote_prefix, writing=True)
            return upload(local_cache_dir, folder, patterns=include_patterns, progress=report)

    def download_cache(
        self,
        local_cache_dir: str | os.PathLike[str],
        remote_prefix: str = "",
        progress: Progress | bool | None = None,
    ) -> TransferReport:
        """Copy what lies below the prefix into a cache's ``symbolic`` folder; files that are there and correct are not fetched.

        Parameters
        ----------
        local_cache_dir : path
            The ``symbolic`` folder, such as ``~/.phasic_cache/symbolic``. A library (a folder with a manifest.json)
            lands in ``<category>/``, whole and checked, or not at all; other entries at the same relative place.
        remote_prefix : str
            Folder below the backend's prefix.
        progress : callable, bool, optional
            ``progress(label, done, total)``; by default a bar at a terminal.

        Returns
        -------
        TransferReport
        """
        with reporting(progress) as report:
            return download_folder(self._folder(remote_prefix, writing=False), local_cache_dir, progress=report)

    def list_files(self, prefix: str = "") -> list[str]:
        """Return the names of all objects below the prefix, relative to it."""
        return sorted(self._folder(prefix, writing=False).sizes())


class S3Backend(_Backend):
    """A prefix in an S3 bucket, or one of MinIO, R2 and the like (AWS_ENDPOINT_URL or ``endpoint_url``).

    Parameters
    ----------
    bucket_name : str
        The bucket.
    prefix : str
        Folder in the bucket.
    region : str, optional
        By default AWS_REGION, then the profile's.
    profile : str, optional
        Section of the AWS credential and configuration files; by default AWS_PROFILE, or the AWS_* variables. Without
        any credentials, reading is anonymous.
    endpoint_url : str, optional
        Another server than Amazon's.
    offline : bool, optional
        Use no network; by default PHASIC_MODELS_OFFLINE.
    """

    def __init__(
        self,
        bucket_name: str,
        prefix: str = "",
        region: str | None = None,
        profile: str | None = None,
        *,
        endpoint_url: str | None = None,
        offline: bool | None = None,
    ) -> None:
        super().__init__("s3", bucket_name, prefix, offline)
        self.bucket_name = bucket_name
        self.region = region
        self.profile = profile
        self.endpoint_url = endpoint_url

    def _open(self, options: TransferOptions, writing: bool) -> ObjectStore:
        return s3_store(
            self.bucket_name,
            options,
            region=self.region,
            profile=self.profile,
            endpoint=self.endpoint_url,
            writing=writing,
        )


class GCSBackend(_Backend):
    """A prefix in a Google Cloud Storage bucket (STORAGE_EMULATOR_HOST or GOOGLE_BASE_URL name another server).

    Parameters
    ----------
    bucket_name : str
        The bucket.
    prefix : str
        Folder in the bucket.
    credentials_path : str, optional
        A service account's JSON file; by default GOOGLE_APPLICATION_CREDENTIALS and the like. Without any, reading is
        anonymous.
    offline : bool, optional
        Use no network; by default PHASIC_MODELS_OFFLINE.
    """

    def __init__(
        self,
        bucket_name: str,
        prefix: str = "",
        *,
        credentials_path: str | None = None,
        offline: bool | None = None,
    ) -> None:
        super().__init__("gs", bucket_name, prefix, offline)
        self.bucket_name = bucket_name
        self.credentials_path = credentials_path

    def _open(self, options: TransferOptions, writing: bool) -> ObjectStore:
        return gcs_store(self.bucket_name, options, credentials_path=self.credentials_path, writing=writing)


class AzureBlobBackend(_Backend):
    """A prefix in an Azure Blob Storage container.

    Parameters
    ----------
    container_name : str
        The container.
    prefix : str
        Folder in the container.
    account_name : str, optional
        The storage account; by default AZURE_STORAGE_ACCOUNT_NAME or that of the connection string.
    account_key, connection_string : str, optional
        Credentials; by default the AZURE_STORAGE_* variables. Without any, reading is anonymous.
    offline : bool, optional
        Use no network; by default PHASIC_MODELS_OFFLINE.
    """

    def __init__(
        self,
        container_name: str,
        prefix: str = "",
        account_name: str | None = None,
        account_key: str | None = None,
        connection_string: str | None = None,
        *,
        offline: bool | None = None,
    ) -> None:
        super().__init__("az", container_name, prefix, offline)
        self.container_name = container_name
        self._account = {"account": account_name, "account_key": account_key, "connection_string": connection_string}

    def _open(self, options: TransferOptions, writing: bool) -> ObjectStore:
        return azure_store(self.container_name, options, **self._account, writing=writing)


def download_from_url(
    url: str,
    output_path: str | os.PathLike[str] | None = None,
    extract_to: str | os.PathLike[str] | None = None,
    verify_checksum: str | None = None,
    progress: Progress | bool | None = None,
    *,
    offline: bool | None = None,
) -> list[InstalledLibrary] | Path:
    """Fetch a tarball of model libraries, and install or keep it.

    Parameters
    ----------
    url : str
        http(s)://, s3://, gs://, az://, file:// or a path.
    output_path : path, optional
        Where to keep the file itself.
    extract_to : path, optional
        A ``symbolic`` cache folder to install into; by default, where no ``output_path`` is given either, the user's
        own.
    verify_checksum : str, optional
        The SHA-256 that the file must have.
    progress : callable, bool, optional
        ``progress(label, done, total)``; by default a bar at a terminal.
    offline : bool, optional
        Use no network; by default PHASIC_MODELS_OFFLINE.

    Returns
    -------
    list of InstalledLibrary, or pathlib.Path
        The installed version and its place; with ``output_path``, the file.
    """
    from .cache.prefix import writable_layer

    options = TransferOptions.from_environment(offline)
    arguments: dict[str, Any] = {"sha256": verify_checksum, "options": options, "expect": "archive"}
    with reporting(progress) as report:
        if output_path is not None:
            kept = download(url, output_path, progress=report, **arguments)
            return kept if extract_to is None else install_archive(kept, extract_to, source=url)
        symbolic = writable_layer().symbolic if extract_to is None else Path(extract_to).expanduser()
        with library_staging(symbolic) as staging:
            archive = download(url, staging / "archive.tar.gz", progress=report, **arguments)
            return install_archive(archive, symbolic, source=url, staging=staging)


def download_from_github_release(
    repo: str,
    tag: str,
    asset_name: str,
    extract_to: str | os.PathLike[str] | None = None,
    verify_checksum: str | None = None,
    progress: Progress | bool | None = None,
    *,
    offline: bool | None = None,
) -> list[InstalledLibrary]:
    """Install the model libraries of a tarball that is attached to a GitHub release.

    Parameters
    ----------
    repo : str
        ``owner/name``. GITHUB_SERVER_URL and GITHUB_API_URL name another server; GITHUB_TOKEN or GH_TOKEN open private
        ones.
    tag : str
        The release's tag, or ``latest``.
    asset_name : str
        The attached file.
    extract_to : path, optional
        A ``symbolic`` cache folder; by default the user's own.
    verify_checksum : str, optional
        The SHA-256 that the file must have; by default the one in the release's SHA256SUMS, where it has such a file.
    progress : callable, bool, optional
        ``progress(label, done, total)``; by default a bar at a terminal.
    offline : bool, optional
        Use no network; by default PHASIC_MODELS_OFFLINE.

    Returns
    -------
    list of InstalledLibrary
    """
    from .cache.prefix import writable_layer
    from .remote.github import Repository

    options = TransferOptions.from_environment(offline)
    repository = Repository(repo, options)
    asset = repository.asset(tag, asset_name)
    expected = verify_checksum or repository.published_checksum(tag, asset_name)
    symbolic = writable_layer().symbolic if extract_to is None else Path(extract_to).expanduser()
    with library_staging(symbolic) as staging, reporting(progress) as report:
        archive = download(
            asset.url,
            staging / asset_name,
            sha256=expected,
            progress=report,
            options=options,
            headers=asset.headers,
            expect="archive",
        )
        return install_archive(archive, symbolic, source=asset.url, staging=staging)


def install_model_library(
    name: str,
    version: str | None = None,
    index: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    offline: bool | None = None,
    progress: Progress | bool | None = None,
) -> InstalledLibrary:
    """Install a library from a release index into the user's cache.

    Parameters
    ----------
    name : str
        ``coalescent``, ``coalescent==1.2.0`` or ``coalescent>=1.1``: the newest version that works with the installed
        phasic and this toolkit.
    version : str, optional
        A version or range, in place of one in ``name``.
    index : str, path or list of them, optional
        An index.json: an address (http, https, s3, gs, az, file) or a path; a list is tried in order. By default
        PHASIC_MODELS_INDEX, the configuration file, then the project's GitHub release.
    cache_dir : path, optional
        Cache root to install into; by default PHASIC_CACHE_DIR, then ``~/.phasic_cache``.
    offline : bool, optional
        Use no network; by default PHASIC_MODELS_OFFLINE.
    progress : callable, bool, optional
        ``progress(label, done, total)``; True or False forces or suppresses the bar, which by default appears at a
        terminal.

    Returns
    -------
    InstalledLibrary
        The installed version and its place. Nothing is fetched where the same version is there already, complete and
        unaltered.

    Raises
    ------
    ModelNotFoundError, CompatibilityError
        The index has no such library or version, or none that works here (the message says why of each).
    DownloadError, OfflineError
        It could not be fetched, or what came is not what the index says.
    FormatError
        The index or the library in the archive is damaged.
    """
    with reporting(progress) as report:
        return install_from_index(
            parse_requirement(name, version),
            index_addresses(index),
            cache_dir=cache_dir,
            options=TransferOptions.from_environment(offline),
            progress=report,
        )
