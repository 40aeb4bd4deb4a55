"""Where remote files live: one way to open s3://, gs://, az://, http(s)://, file:// and plain paths.

Everything that is not on this machine goes through obstore, which is imported only when a remote address is opened.
"""

from __future__ import annotations

import configparser
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

from ..errors import DownloadError, OfflineError
from ..files.addresses import REMOTE_SCHEMES, scheme_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")
USER_AGENT = "phasic-models"

_TRUE = frozenset({"1", "true", "yes", "on"})
# Names that other clients read for a private certificate authority, the most specific first.
# SSL_CERT_FILE is not among them: the TLS libraries read it themselves.
_CA_VARIABLES = ("PHASIC_MODELS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")


def flag(name: str) -> bool:
    """Return whether environment variable ``name`` is switched on (1, true, yes or on)."""
    return os.environ.get(name, "").strip().lower() in _TRUE


@dataclass(frozen=True)
class TransferOptions:
    """How patiently to transfer.

    Parameters
    ----------
    offline : bool
        Contact nobody: every remote address raises OfflineError.
    timeout : float
        Seconds without a single byte after which a connection counts as dead.
    connect_timeout : float
        Seconds to wait for a connection.
    attempts : int
        Tries in a row that may fail without progress before an address is given up.
    first_wait, longest_wait : float
        Seconds before the second try; each further wait doubles, up to the longest.
    longest_asked : float
        Seconds that a server may ask to be left alone (``Retry-After``); where it asks for more, it is given up.
    max_bytes : int
        Largest file taken where no size was announced beforehand.
    """

    offline: bool = False
    timeout: float = 60.0
    connect_timeout: float = 15.0
    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 30.0
    longest_asked: float = 120.0
    max_bytes: int = 16 * 2**30

    @classmethod
    def from_environment(cls, offline: bool | None = None) -> TransferOptions:
        """Read PHASIC_MODELS_OFFLINE, PHASIC_MODELS_TIMEOUT and PHASIC_MODELS_RETRIES; an argument wins over its variable."""
        options = cls(offline=flag("PHASIC_MODELS_OFFLINE") if offline is None else offline)
        timeout = _number("PHASIC_MODELS_TIMEOUT")
        if timeout is not None:
            options = replace(options, timeout=timeout, connect_timeout=min(timeout, options.connect_timeout))
        retries = _number("PHASIC_MODELS_RETRIES")
        if retries is not None:
            options = replace(options, attempts=int(retries) + 1)
        return options


def _number(name: str) -> float | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise DownloadError(f"environment variable {name} is {text!r}; it must be a number that is not negative")
    return value


@dataclass(frozen=True)
class RemoteObject:
    """One object in an opened store; ``url`` names it in messages."""

    store: ObjectStore
    key: str
    url: str


def require_online(address: str, options: TransferOptions) -> None:
    """Raise OfflineError where the network is switched off."""
    if options.offline:
        raise OfflineError(
            f"{address} is not on this machine and the network is switched off (PHASIC_MODELS_OFFLINE or --offline). "
            "Unset it, or name a local copy with --index or PHASIC_MODELS_INDEX."
        )


def ca_bundle() -> bytes | None:
    """Return the PEM text of the private certificate authorities that the environment names, if any."""
    for name in _CA_VARIABLES:
        path = os.environ.get(name, "").strip()
        if not path:
            continue
        if Path(path).is_dir():
            continue
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise DownloadError(f"{name} names {path}, which cannot be read: {error.strerror}") from error
    return None


def ssl_context() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and those of the environment."""
    context = ssl.create_default_context()
    bundle = ca_bundle()
    if bundle is not None:
        context.load_verify_locations(cadata=bundle.decode("ascii", "ignore"))
    return context


def client_options(options: TransferOptions, *, plain: bool, headers: Mapping[str, str] | None = None) -> Any:
    """Return obstore's client options: time-outs, certificate authorities and headers (proxies it reads itself)."""
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
    if headers:
        settings["default_headers"] = dict(headers)
    return settings


def _obstore() -> Any:
    try:
        import obstore
        import obstore.store
    except ImportError as error:
        raise DownloadError(
            "remote addresses need the package obstore; install it with `pip install 'phasic-models[cloud]'` "
            "or `pixi add obstore`"
        ) from error
    return obstore


# object_store retries by itself in ways that its caller cannot see; the retries of download.py are the only ones.
_NO_RETRIES: Any = {"max_retries": 0}


def _opened(address: str, build: Callable[[], T]) -> T:
    """Build a store; what the engine dislikes in the settings becomes an error that names the address."""
    try:
        return build()
    except Exception as error:  # obstore's exceptions have no common base with a useful meaning
        text = str(error).split("\n\nDebug source", 1)[0]
        raise DownloadError(f"cannot open {address}: {text}") from error


def http_store(url: str, options: TransferOptions, headers: Mapping[str, str] | None = None) -> ObjectStore:
    """Open one http(s) address as a store whose only object has the empty path (which keeps a query string intact)."""
    require_online(url, options)
    _obstore()
    from obstore.store import HTTPStore

    client = client_options(options, plain=url.lower().startswith("http:"), headers=headers)
    return _opened(url, lambda: HTTPStore(url, client_options=client, retry_config=_NO_RETRIES))


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


def open_address(
    url: str, options: TransferOptions, *, writing: bool = False, headers: Mapping[str, str] | None = None
) -> tuple[ObjectStore, str]:
    """Return the store that holds a remote address, and the object's key in it."""
    scheme = scheme_of(url)
    if scheme in ("http", "https"):
        return http_store(url, options, headers), ""
    parts = urlsplit(url)
    key = unquote(parts.path).lstrip("/")
    if not parts.netloc:
        raise DownloadError(f"{url}: an address of this kind names a bucket, as in {scheme}://bucket/folder/file")
    if scheme == "s3":
        return s3_store(parts.netloc, options, writing=writing), key
    if scheme == "gs":
        return gcs_store(parts.netloc, options, writing=writing), key
    if scheme == "az":
        return azure_store(parts.netloc, options, writing=writing), key
    raise DownloadError(f"{url}: cannot read {scheme}:// addresses; known are {', '.join(REMOTE_SCHEMES)} and file")
