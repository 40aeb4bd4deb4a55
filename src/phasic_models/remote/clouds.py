"""Buckets and containers: s3://, gs:// and az:// through obstore, which is imported only when one is opened."""

from __future__ import annotations

import configparser
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from ..errors import DownloadError
from ..files.addresses import REMOTE_SCHEMES, scheme_of
from .http import ca_bundle
from .options import USER_AGENT, TransferOptions, require_online

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")


@dataclass(frozen=True)
class RemoteObject:
    """One object in an opened store; ``url`` names it in messages."""

    store: ObjectStore
    key: str
    url: str


def client_options(options: TransferOptions, *, plain: bool) -> Any:
    """Return obstore's client options: time-outs and certificate authorities (proxies it reads itself)."""
    settings: dict[str, Any] = {
        "allow_http": plain,
        "connect_timeout": timedelta(seconds=options.connect_timeout),
        # A limit on the whole request would cut off every large file on a slow line; only silence counts.
        "timeout": timedelta(days=7),
        "read_timeout": timedelta(seconds=options.timeout),
        "user_agent": USER_AGENT,
    }
    # A redirect may lead from plain HTTP to TLS, but not to a private server's; and to parse a bundle takes its time.
    bundle = None if plain else ca_bundle()
    if bundle is not None:
        settings["root_certificate"] = bundle
    return settings


def _obstore() -> Any:
    try:
        import obstore
        import obstore.store
    except ImportError as error:
        raise DownloadError(
            "buckets need the package obstore; install it with `pip install 'phasic-models[cloud]'` "
            "or `pixi add obstore`"
        ) from error
    return obstore


# object_store retries by itself in ways that its caller cannot see; the retries of download.py are the only ones.
_NO_RETRIES: Any = {"max_retries": 0}


def _opened(address: str, build: Callable[[], T]) -> T:
    """Build a store; an error of obstore about the settings becomes one that names the address."""
    try:
        return build()
    except Exception as error:  # obstore's exceptions have no common base with a useful meaning
        text = str(error).split("\n\nDebug source", 1)[0]
        raise DownloadError(f"cannot open {address}: {text}") from error


def s3_store(
    bucket: str,
    options: TransferOptions,
    *,
    region: str | None = None,
    profile: str | None = None,
    endpoint: str | None = None,
    writing: bool = False,
) -> ObjectStore:
    """Open an S3 bucket (or one of MinIO, R2, … by ``endpoint`` or AWS_ENDPOINT_URL)."""
    require_online(f"s3://{bucket}", options)
    _obstore()
    from obstore.store import S3Store

    settings: Any = {}
    profile = profile or os.environ.get("AWS_PROFILE") or None
    in_environment = bool(os.environ.get("AWS_ACCESS_KEY_ID"))
    found = _aws_profile(profile or "default", required=profile is not None) if profile or not in_environment else {}
    provider = found.pop("provider", None)
    from_profile = found.pop("endpoint", None)
    endpoint = endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or from_profile
    if endpoint:
        settings["endpoint"] = endpoint
    from_profile = found.pop("region", None)
    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    settings["region"] = region or named or from_profile or "us-east-1"
    settings.update(found)
    has_credentials = in_environment or provider is not None or "access_key_id" in settings
    if not (has_credentials or writing or _AWS_INDIRECT.intersection(os.environ)):
        # Without any credentials the engine would look for those of a cloud machine and hang for seconds elsewhere;
        # published libraries are readable by everyone.
        settings["skip_signature"] = True
    plain = str(endpoint or "").startswith("http://")
    client = client_options(options, plain=plain)
    return _opened(
        f"s3://{bucket}",
        lambda: S3Store(
            bucket,
            config=settings,
            client_options=client,
            retry_config=_NO_RETRIES,
            credential_provider=provider,
        ),
    )


_AWS_INDIRECT = frozenset(
    {
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_SKIP_SIGNATURE",
        "AWS_METADATA_ENDPOINT",
    }
)


def _aws_profile(name: str, *, required: bool) -> dict[str, Any]:
    """Read a profile from the AWS credential and configuration files."""
    credentials_file = Path(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser()
    config_file = Path(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser()
    values: dict[str, str] = {}
    for path, section in ((config_file, name if name == "default" else f"profile {name}"), (credentials_file, name)):
        parser = configparser.RawConfigParser()
        try:
            with path.open(encoding="utf-8") as stream:
                parser.read_file(stream)
        except OSError:
            continue
        except configparser.Error as error:
            raise DownloadError(f"{path} is not a valid AWS configuration file: {error}") from error
        if parser.has_section(section):
            values.update(parser[section])
    if not values:
        if required:
            raise DownloadError(
                f"there is no AWS profile {name!r} in {credentials_file} or {config_file}; "
                "create it with `aws configure --profile " + name + "`"
            )
        return {}
    found: dict[str, Any] = {}
    if "region" in values:
        found["region"] = values["region"]
    if "endpoint_url" in values:
        found["endpoint"] = values["endpoint_url"]
    if "aws_access_key_id" in values and "aws_secret_access_key" in values:
        found["access_key_id"] = values["aws_access_key_id"]
        found["secret_access_key"] = values["aws_secret_access_key"]
        if values.get("aws_session_token"):
            found["session_token"] = values["aws_session_token"]
    elif values.keys() & {"sso_session", "sso_start_url", "role_arn", "credential_process"}:
        found["provider"] = _boto3_provider(name)
    return found


def _boto3_provider(profile: str) -> Any:
    """Let boto3 answer for profiles that need a dialogue (single sign-on, assumed roles, external programs)."""
    try:
        import boto3  # type: ignore[import-untyped,unused-ignore]
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise DownloadError(
            f"AWS profile {profile!r} uses single sign-on, a role or an external program, which needs boto3; "
            "install it with `pip install boto3`"
        ) from error
    return _opened(f"AWS profile {profile!r}", lambda: Boto3CredentialProvider(boto3.Session(profile_name=profile)))


def gcs_store(
    bucket: str, options: TransferOptions, *, credentials_path: str | None = None, writing: bool = False
) -> ObjectStore:
    """Open a Google Cloud Storage bucket; STORAGE_EMULATOR_HOST or GOOGLE_BASE_URL name another endpoint."""
    require_online(f"gs://{bucket}", options)
    _obstore()
    from obstore.store import GCSStore

    settings: Any = {}
    provider = None
    endpoint = os.environ.get("GOOGLE_BASE_URL") or os.environ.get("STORAGE_EMULATOR_HOST")
    if endpoint:
        settings["base_url"] = endpoint if "://" in endpoint else f"http://{endpoint}"
    if credentials_path is not None:
        settings["application_credentials"] = os.fspath(Path(credentials_path).expanduser())
    elif not any(os.environ.get(name) for name in _GOOGLE_CREDENTIALS):
        default = Path("~/.config/gcloud/application_default_credentials.json").expanduser()
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            # An emulator takes any token, but the engine does not write without one.
            provider = _emulator_token
        elif not (writing or default.exists()):
            settings["skip_signature"] = True
    client = client_options(options, plain=str(settings.get("base_url", "")).startswith("http://"))
    return _opened(
        f"gs://{bucket}",
        lambda: GCSStore(
            bucket,
            config=settings,
            client_options=client,
            retry_config=_NO_RETRIES,
            credential_provider=provider,
        ),
    )


def _emulator_token() -> Any:
    return {"token": "emulator", "expires_at": None}


_GOOGLE_CREDENTIALS = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_BEARER_TOKEN",
)


def azure_store(
    container: str,
    options: TransferOptions,
    *,
    account: str | None = None,
    account_key: str | None = None,
    connection_string: str | None = None,
    writing: bool = False,
) -> ObjectStore:
    """Open an Azure container; AZURE_STORAGE_CONNECTION_STRING and the AZURE_STORAGE_* variables name account and key."""
    require_online(f"az://{container}", options)
    _obstore()
    from obstore.store import AzureStore

    text = connection_string or os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    parts = dict(part.strip().split("=", 1) for part in text.split(";") if "=" in part)
    settings: Any = {}
    account = account or os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") or parts.get("AccountName")
    if not account:
        raise DownloadError(
            f"az://{container}: which storage account? Set AZURE_STORAGE_ACCOUNT_NAME or AZURE_STORAGE_CONNECTION_STRING, "
            "or pass account_name=…"
        )
    settings["account_name"] = account
    if account_key or "AccountKey" in parts:
        settings["account_key"] = account_key or parts["AccountKey"]
    if "SharedAccessSignature" in parts:
        settings["sas_key"] = parts["SharedAccessSignature"]
    endpoint = os.environ.get("AZURE_STORAGE_ENDPOINT") or parts.get("BlobEndpoint")
    if endpoint:
        settings["endpoint"] = endpoint
    known = {"account_key", "sas_key"} & settings.keys() or any(os.environ.get(name) for name in _AZURE_CREDENTIALS)
    if not known and not writing:
        settings["skip_signature"] = True
    client = client_options(options, plain=str(endpoint or "").startswith("http://"))
    return _opened(
        f"az://{container}",
        lambda: AzureStore(container, config=settings, client_options=client, retry_config=_NO_RETRIES),
    )


_AZURE_CREDENTIALS = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_USE_AZURE_CLI",
)


def open_address(url: str, options: TransferOptions, *, writing: bool = False) -> tuple[ObjectStore, str]:
    """Return the store that holds an object, and the object's key in it."""
    scheme = scheme_of(url)
    openers: dict[str, Callable[..., ObjectStore]] = {"s3": s3_store, "gs": gcs_store, "az": azure_store}
    if scheme not in openers:
        raise DownloadError(f"{url}: cannot read {scheme}:// addresses; known are {', '.join(REMOTE_SCHEMES)} and file")
    parts = urlsplit(url)
    if not parts.netloc:
        raise DownloadError(f"{url}: an address of this kind names a bucket, as in {scheme}://bucket/folder/file")
    return openers[scheme](parts.netloc, options, writing=writing), unquote(parts.path).lstrip("/")
